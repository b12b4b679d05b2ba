/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_slirp: libslirp as the backend of devices/net. Owns the libslirp instance, its timers and the frames that wait
 * for the guest to have room; must not know rings or virtual machines.
 *
 * Theory of operation
 *
 * libslirp has no thread: it lives in the loop's poller. fill() collects its sockets, drain() lets it work on them.
 * A frame from the guest goes in by slirp_input(), frames for the guest come out by the send_packet callback, also
 * from inside slirp_input() (an ARP reply). That way a frame may arrive at send_frame() while the queue is being
 * flushed or the guest's transmit queue served: the queue is a ring of owned buffers, each step leaves it whole, and
 * a frame never passes one that waits.
 *
 * Beyond the queue's bounds frames are dropped, as a network does; TCP sends again.
 *
 * What the guest may reach: any address that a process of the user could, save the host's loopback, which opens by
 * host_loopback alone. That covers 127.0.0.1 written into a frame as such (deps/patches/libslirp). Ethernet types other
 * than ARP, IPv4 and IPv6 are dropped here: libslirp would answer NC-SI, which no pod needs.
 *
 * Ping. libslirp forwards ICMP echo by datagram ICMP sockets, which the host's net.ipv4.ping_group_range must allow.
 * Where it does not, pings to the outside get no answer (10.0.2.2 itself always answers).
 *
 * The DNS forwarder reads /etc/resolv.conf when the file changed: it must stay readable in the sandbox.
 *
 * Where the guest may send to beyond that is devices/egress's to decide; libslirp asks for each connection and datagram
 * at the place where it opens or uses a socket (deps/patches/libslirp). A refused connection is reset, a datagram
 * answered with "network unreachable", so that programs fail at once and not by a time limit.
 *
 * Who may reach a published port libslirp asks where a client has connected or a datagram was read, by the client's own
 * address: a refused connection is closed before the guest hears of it.
 *
 * Checksums. Nothing can be corrupted between libslirp and the guest, so neither side sums what the other would check.
 * From the guest: where its driver left the sum to the card (NEEDS_CSUM) and it is that of the packet itself, libslirp
 * is told not to look. A lie harms the liar alone, since what leaves the host is summed by the host's kernel. Any other
 * partial sum, of a packet inside the guest's own tunnel say, is payload to us and made right here before it leaves. A
 * driver that makes its sums has them verified as ever. To the guest: libslirp leaves TCP's and UDP's to the card,
 * which passes that on or, for a driver that can not, makes them. Fragments and ICMP carry whole sums both ways.
 *
 * A slow or dead peer stalls nobody. All of libslirp's sockets are non-blocking from the start, connect() included; the
 * resolver's address is read from a local file, names are never looked up. What a peer does not take stays in the
 * connection's buffer (128 KiB each way), whose window then closes towards the guest. A datagram the host has no room
 * for is lost, one too large for it is answered to the guest with an ICMP error.
 *
 * What a guest can make us hold is bounded: sockets to an eighth of the descriptors we may have and SOCKETS_MAX,
 * packets (waiting fragments, segments out of order, a copy per UDP port for ICMP errors) to PACKETS_SPARE more than
 * that, and the queue here. At the most that is 2048 * 256 KiB of TCP buffers and 3072 packets of one MTU, all of it
 * filled.
 */
#include "devices/net_slirp.h"

#include "lib/util.h"
#include "pod/abi.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum {
	QUEUE_FRAMES = 256, /* a power of two */
	QUEUE_BYTES_MAX = 4 << 20,
	LISTEN_BACKLOG = 128, /* libslirp asks for 1: a burst of connections would wait for SYNs to be sent again */
	FD_SCAN_MAX = 4096,
	SOCKETS_MIN = 32,
	SOCKETS_MAX = 2048,
	PACKETS_SPARE = 1024,

	TYPE_AT = 12,
};

#define NETWORK6 "fd00::"
#define GATEWAY6 "fd00::2"
#define DNS6 "fd00::3"

struct waiting_frame {
	size_t bytes;
	uint8_t *data;
	struct frame_sum sum;
	bool has_sum;
};

/* libslirp's timers live until it frees them, whatever else happens. */
struct slirp_timer {
	struct loop_timer timer;
	struct net_slirp *owner;
	SlirpTimerId id;
	void *ctx;
};

struct net_slirp {
	struct loop *loop;
	struct net *net;
	Slirp *slirp;
	struct egress *egress;
	struct netrule *clients;
	size_t client_count;
	struct in_addr guest4, dns4;
	struct in6_addr guest6;
	struct waiting_frame queue[QUEUE_FRAMES];
	unsigned queue_first, queue_count;
	size_t queue_bytes;
	/* A frame from the guest in one piece; libslirp does not keep it, and reads 16- and 32-bit fields. */
	_Alignas(16) uint8_t flat[NET_FRAME_BYTES_MAX];
};

/* Frames for the guest */

static void queue_frame(struct net_slirp *slirp, const void *frame, size_t bytes, const struct frame_sum *sum)
{
	struct waiting_frame *at = &slirp->queue[(slirp->queue_first + slirp->queue_count) % QUEUE_FRAMES];

	if (slirp->queue_count == QUEUE_FRAMES || bytes > QUEUE_BYTES_MAX - slirp->queue_bytes)
		return; /* dropped */
	at->data = malloc(bytes);
	if (!at->data)
		return;
	memcpy(at->data, frame, bytes);
	at->bytes = bytes;
	at->has_sum = sum != NULL;
	if (sum)
		at->sum = *sum;
	slirp->queue_count++;
	slirp->queue_bytes += bytes;
}

static ssize_t send_frame(const void *frame, size_t bytes, void *opaque)
{
	struct net_slirp *slirp = opaque;
	struct frame_sum place, *sum = frame_sum_find(frame, bytes, &place) ? &place : NULL;

	if (slirp->queue_count || !net_receive(slirp->net, frame, bytes, sum))
		queue_frame(slirp, frame, bytes, sum);
	return (ssize_t)bytes; /* anything else makes libslirp log a line that the guest can provoke at will */
}

static void drop_first(struct net_slirp *slirp)
{
	struct waiting_frame *first = &slirp->queue[slirp->queue_first];

	slirp->queue_bytes -= first->bytes;
	slirp->queue_first = (slirp->queue_first + 1) % QUEUE_FRAMES;
	slirp->queue_count--;
	free(first->data);
	*first = (struct waiting_frame){ 0 };
}

static void guest_has_room(void *ctx)
{
	struct net_slirp *slirp = ctx;

	while (slirp->queue_count) {
		const struct waiting_frame *first = &slirp->queue[slirp->queue_first];

		if (!net_receive(slirp->net, first->data, first->bytes, first->has_sum ? &first->sum : NULL))
			return;
		drop_first(slirp);
	}
}

/* Frames from the guest */

static bool is_wanted(const uint8_t *frame)
{
	switch (frame[TYPE_AT] << 8 | frame[TYPE_AT + 1]) {
	case ETHERTYPE_ARP:
	case ETHERTYPE_IP:
	case ETHERTYPE_IPV6:
		return true;
	}
	return false;
}

/* The sum the guest left is the packet's own, which libslirp need not look at. */
static bool is_own_sum(const uint8_t *frame, size_t bytes, const struct frame_sum *sum)
{
	struct frame_sum own;

	return frame_sum_find(frame, bytes, &own) && own.start == sum->start && own.offset == sum->offset;
}

static void transmit(void *ctx, const struct iovec *frame, unsigned count, size_t bytes, const struct frame_sum *sum)
{
	struct net_slirp *slirp = ctx;
	size_t filled = 0;

	if (bytes < FRAME_HEADER_BYTES || bytes > sizeof(slirp->flat))
		return;
	/* Copied before anything is looked at: the guest may write to its buffers meanwhile. */
	for (unsigned i = 0; i < count && filled < bytes; i++) {
		size_t part = MIN(frame[i].iov_len, bytes - filled);

		memcpy(slirp->flat + filled, frame[i].iov_base, part);
		filled += part;
	}
	if (filled != bytes || !is_wanted(slirp->flat))
		return;
	if (sum && is_own_sum(slirp->flat, bytes, sum)) {
		slirp_input_summed(slirp->slirp, slirp->flat, (int)bytes);
	} else {
		if (sum)
			frame_sum_complete(slirp->flat, bytes, sum);
		slirp_input(slirp->slirp, slirp->flat, (int)bytes);
	}
	loop_refill(slirp->loop); /* it may have opened sockets */
}

/* What may leave */

static struct netaddr address_of(const struct sockaddr *addr, uint16_t *port)
{
	if (addr->sa_family == AF_INET6) {
		const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)addr;

		*port = ntohs(sin6->sin6_port);
		return netaddr_of(&sin6->sin6_addr, true);
	} else {
		const struct sockaddr_in *sin = (const struct sockaddr_in *)addr;

		*port = ntohs(sin->sin_port);
		return netaddr_of(&sin->sin_addr, false);
	}
}

static bool may_send(int protocol, const struct sockaddr *to, uint16_t forwarded, void *opaque)
{
	struct net_slirp *slirp = opaque;
	uint16_t port;
	struct netaddr addr = address_of(to, &port);

	return egress_allows(slirp->egress, protocol, &addr, port, forwarded, loop_now_ns(slirp->loop));
}

static void received(const struct sockaddr *from, uint16_t forwarded, bool solicited, const void *data, size_t bytes,
		     void *opaque)
{
	struct net_slirp *slirp = opaque;
	uint16_t port;
	struct netaddr addr = address_of(from, &port);

	egress_received(slirp->egress, &addr, port, forwarded, solicited, data, bytes, loop_now_ns(slirp->loop));
}

static bool may_enter(int protocol, const struct sockaddr *from, uint16_t port, void *opaque)
{
	struct net_slirp *slirp = opaque;
	uint16_t client_port;
	struct netaddr addr = address_of(from, &client_port);

	(void)protocol, (void)port;
	for (size_t i = 0; i < slirp->client_count; i++)
		if (netrule_has_addr(&slirp->clients[i], &addr))
			return true;
	return false;
}

static void resolvers_add(const struct net_slirp *slirp)
{
	struct netaddr addr = netaddr_of(&slirp->dns4, false);

	egress_resolver_add(slirp->egress, &addr);
	if (netaddr_parse(DNS6, &addr))
		egress_resolver_add(slirp->egress, &addr);
}

/* Most descriptors are the file share's and the streams'. */
static unsigned sockets_max(void)
{
	struct rlimit limit = { .rlim_cur = 1024 };

	getrlimit(RLIMIT_NOFILE, &limit);
	return (unsigned)MAX(MIN(limit.rlim_cur / 8, SOCKETS_MAX), SOCKETS_MIN);
}

static void policy_set(struct net_slirp *slirp)
{
	SlirpPolicy policy = { .max_sockets = sockets_max(), .opaque = slirp };

	policy.max_packets = policy.max_sockets + PACKETS_SPARE;
	if (slirp->egress) {
		policy.may_send = may_send;
		policy.received = received;
		resolvers_add(slirp);
	}
	if (slirp->client_count)
		policy.may_enter = may_enter;
	slirp_set_policy(slirp->slirp, &policy);
}

/* The loop: time, timers, descriptors */

static int64_t clock_ns(void *opaque)
{
	struct net_slirp *slirp = opaque;

	return (int64_t)loop_now_ns(slirp->loop);
}

static void timer_fired(void *ctx)
{
	struct slirp_timer *timer = ctx;

	slirp_handle_timer(timer->owner->slirp, timer->id, timer->ctx);
}

static void *timer_new(SlirpTimerId id, void *ctx, void *opaque)
{
	struct slirp_timer *timer = xcalloc(1, sizeof(*timer));

	*timer = (struct slirp_timer){ .owner = opaque, .id = id, .ctx = ctx,
				       .timer = { .fn = timer_fired, .ctx = timer } };
	return timer;
}

static void timer_free(void *opaque_timer, void *opaque)
{
	struct net_slirp *slirp = opaque;
	struct slirp_timer *timer = opaque_timer;

	loop_timer_cancel(slirp->loop, &timer->timer);
	free(timer);
}

static void timer_mod(void *opaque_timer, int64_t expire_ms, void *opaque)
{
	struct net_slirp *slirp = opaque;
	struct slirp_timer *timer = opaque_timer;

	loop_timer_set(slirp->loop, &timer->timer, expire_ms > 0 ? (uint64_t)expire_ms * 1000000 : 0);
}

/* Every turn all of libslirp's descriptors are collected anew: there is nothing to keep. */
static void ignore_fd(int fd, void *opaque)
{
	(void)fd, (void)opaque;
}

/* A socket's buffer has room again, so fill() would ask for more than it did. */
static void refill(void *opaque)
{
	struct net_slirp *slirp = opaque;

	loop_refill(slirp->loop);
}

static void guest_error(const char *message, void *opaque)
{
	(void)opaque;
	log_debug("network: guest error: %s", message);
}

static const SlirpCb callbacks = {
	.send_packet = send_frame,
	.guest_error = guest_error,
	.clock_get_ns = clock_ns,
	.timer_new_opaque = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = ignore_fd,
	.unregister_poll_fd = ignore_fd,
	.notify = refill,
};

static const struct {
	int slirp;
	short poll;
} event_names[] = {
	{ SLIRP_POLL_IN, POLLIN }, { SLIRP_POLL_OUT, POLLOUT }, { SLIRP_POLL_PRI, POLLPRI },
	{ SLIRP_POLL_ERR, POLLERR }, { SLIRP_POLL_HUP, POLLHUP },
};

static int add_fd(int fd, int events, void *opaque)
{
	struct net_slirp *slirp = opaque;
	short wanted = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(event_names); i++)
		if (events & event_names[i].slirp)
			wanted |= event_names[i].poll;
	return loop_poll_add(slirp->loop, fd, wanted);
}

static int get_events(int index, void *opaque)
{
	struct net_slirp *slirp = opaque;
	short revents = loop_poll_revents(slirp->loop, index);
	int events = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(event_names); i++)
		if (revents & event_names[i].poll)
			events |= event_names[i].slirp;
	return events;
}

static void fill(void *ctx, struct loop *loop, int *timeout_ms)
{
	struct net_slirp *slirp = ctx;
	uint32_t sleep_ms = UINT32_MAX;

	(void)loop;
	slirp_pollfds_fill(slirp->slirp, &sleep_ms, add_fd, slirp);
	/* It says 1000 when it needs nothing at all, less only while its TCP timers run: an idle pod stays asleep. */
	if (sleep_ms < 1000)
		*timeout_ms = (int)sleep_ms;
}

static void drain(void *ctx, struct loop *loop, bool poll_failed)
{
	struct net_slirp *slirp = ctx;

	(void)loop;
	slirp_pollfds_poll(slirp->slirp, poll_failed, get_events, slirp);
}

/* Making and freeing */

static SlirpConfig make_config(const struct net_slirp_config *config)
{
	SlirpConfig slirp = {
		.version = 4,
		.in_enabled = true,
		.in6_enabled = true,
		.vprefix_len = 64,
		.vhostname = config->hostname,
		.if_mtu = config->mtu,
		.if_mru = config->mtu,
		.disable_host_loopback = !config->host_loopback,
	};

	inet_pton(AF_INET, ABI_NET_GATEWAY, &slirp.vhost);
	inet_pton(AF_INET, ABI_NET_GUEST, &slirp.vdhcp_start);
	inet_pton(AF_INET, ABI_NET_DNS, &slirp.vnameserver);
	if (config->prefix_bits) {
		slirp.vhost.s_addr = htonl(config->gateway);
		slirp.vdhcp_start.s_addr = htonl(config->guest);
		slirp.vnameserver.s_addr = htonl(config->dns);
	}
	slirp.vnetmask.s_addr = htonl(UINT32_MAX << (32 - (config->prefix_bits ? config->prefix_bits : ABI_NET_PREFIX)));
	slirp.vnetwork.s_addr = slirp.vhost.s_addr & slirp.vnetmask.s_addr;
	inet_pton(AF_INET6, NETWORK6, &slirp.vprefix_addr6);
	inet_pton(AF_INET6, GATEWAY6, &slirp.vhost6);
	inet_pton(AF_INET6, DNS6, &slirp.vnameserver6);
	return slirp;
}

/* What the guest makes of the advertised prefix and its MAC address (RFC 4291, appendix A). */
static struct in6_addr guest6_make(const uint8_t mac[6])
{
	struct in6_addr addr;

	inet_pton(AF_INET6, NETWORK6, &addr);
	memcpy(addr.s6_addr + 8, mac, 3);
	addr.s6_addr[8] ^= 2;
	addr.s6_addr[11] = 0xff;
	addr.s6_addr[12] = 0xfe;
	memcpy(addr.s6_addr + 13, mac + 3, 3);
	return addr;
}

struct net_slirp *net_slirp_new(struct loop *loop, struct net *net, const struct net_slirp_config *config)
{
	struct net_slirp *slirp = xcalloc(1, sizeof(*slirp));
	const struct net_backend backend = { .transmit = transmit, .receive_ready = guest_has_room, .ctx = slirp };
	const struct loop_poller poller = { .fill = fill, .drain = drain, .ctx = slirp };
	SlirpConfig wanted = make_config(config);

	slirp->loop = loop;
	slirp->net = net;
	slirp->egress = config->egress;
	slirp->guest4 = wanted.vdhcp_start;
	slirp->dns4 = wanted.vnameserver;
	slirp->guest6 = guest6_make(config->mac);
	slirp->client_count = config->client_count;
	slirp->clients = xcalloc(config->client_count + 1, sizeof(*slirp->clients));
	for (size_t i = 0; i < config->client_count; i++)
		slirp->clients[i] = config->clients[i];
	slirp->slirp = slirp_new(&wanted, &callbacks, slirp);
	if (!slirp->slirp) {
		free(slirp->clients);
		free(slirp);
		return NULL;
	}
	slirp_set_partial_sums(slirp->slirp, true);
	policy_set(slirp);
	net_backend_set(net, &backend);
	loop_poller_set(loop, &poller);
	return slirp;
}

void net_slirp_free(struct net_slirp *slirp)
{
	if (!slirp)
		return;
	loop_poller_set(slirp->loop, NULL);
	net_backend_set(slirp->net, NULL);
	slirp_cleanup(slirp->slirp);
	while (slirp->queue_count)
		drop_first(slirp);
	free(slirp->clients);
	free(slirp);
}

/*
 * Published ports. libslirp opens the listening socket itself and tells neither its descriptor nor, for host port 0,
 * the port the kernel chose. But it names all its sockets to whoever fills a poll set, so the new one is found as the
 * one that was not there before. (Probing for a free port first would leave a gap for another process to take it.)
 * An answer of -1 means "not polled", so this does not disturb a turn of the loop that is between fill and drain.
 */
struct fd_scan {
	int fds[FD_SCAN_MAX];
	unsigned count;
};

static int scan_fd(int fd, int events, void *opaque)
{
	struct fd_scan *scan = opaque;

	(void)events;
	if (scan->count < FD_SCAN_MAX)
		scan->fds[scan->count++] = fd;
	return -1;
}

static void scan_fds(struct net_slirp *slirp, struct fd_scan *scan)
{
	uint32_t timeout_ms = UINT32_MAX;

	scan->count = 0;
	slirp_pollfds_fill(slirp->slirp, &timeout_ms, scan_fd, scan);
}

static bool scan_has(const struct fd_scan *scan, int fd)
{
	for (unsigned i = 0; i < scan->count; i++)
		if (scan->fds[i] == fd)
			return true;
	return false;
}

static int new_fd(const struct fd_scan *before, const struct fd_scan *after)
{
	for (unsigned i = 0; i < after->count; i++)
		if (!scan_has(before, after->fds[i]))
			return after->fds[i];
	return -1;
}

/* What libslirp leaves to be wished on a listening socket. */
static void tune_listener(int fd, bool udp)
{
	if (udp)
		/* It sets SO_REUSEADDR, by which any process could take datagrams away. */
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 0 }, sizeof(int));
	else
		listen(fd, LISTEN_BACKLOG);
}

static int local_port(int fd)
{
	struct sockaddr_storage addr = { .ss_family = AF_UNSPEC };
	socklen_t bytes = sizeof(addr);
	uint16_t port;

	if (getsockname(fd, (struct sockaddr *)&addr, &bytes) || addr.ss_family == AF_UNSPEC)
		return -EIO;
	address_of((struct sockaddr *)&addr, &port);
	return port;
}

union any_sockaddr {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static union any_sockaddr sockaddr_make(const void *bytes, bool is_v6, uint16_t port, socklen_t *count)
{
	union any_sockaddr addr = { .any = { .sa_family = AF_UNSPEC } };

	if (is_v6) {
		addr.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
		memcpy(&addr.v6.sin6_addr, bytes, sizeof(addr.v6.sin6_addr));
		*count = sizeof(addr.v6);
	} else {
		addr.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
		memcpy(&addr.v4.sin_addr, bytes, sizeof(addr.v4.sin_addr));
		*count = sizeof(addr.v4);
	}
	return addr;
}

/* Listens; 0 or -errno. */
static int forward(struct net_slirp *slirp, bool udp, const struct netaddr *addr, uint16_t host_port,
		   uint16_t guest_port)
{
	socklen_t host_bytes, guest_bytes;
	union any_sockaddr host = sockaddr_make(addr->bytes, addr->is_v6, host_port, &host_bytes), guest;

	guest = sockaddr_make(addr->is_v6 ? (void *)&slirp->guest6 : &slirp->guest4, addr->is_v6, guest_port, &guest_bytes);
	errno = 0;
	if (slirp_add_hostxfwd(slirp->slirp, &host.any, host_bytes, &guest.any, guest_bytes,
			       (udp ? SLIRP_HOSTFWD_UDP : 0) | (addr->is_v6 ? SLIRP_HOSTFWD_V6ONLY : 0)))
		return errno ? -errno : -EIO;
	return 0;
}

int net_slirp_publish(struct net_slirp *slirp, bool udp, const struct netaddr *addr, uint16_t host_port,
		      uint16_t guest_port)
{
	struct fd_scan *scans;
	int fd, port;

	if (guest_port == 0)
		return -EINVAL;
	scans = xmalloc(2 * sizeof(*scans));
	scan_fds(slirp, &scans[0]);
	port = forward(slirp, udp, addr, host_port, guest_port);
	if (port == 0) {
		scan_fds(slirp, &scans[1]);
		fd = new_fd(&scans[0], &scans[1]);
		port = fd >= 0 ? local_port(fd) : host_port ? host_port : -EMFILE;
		if (fd >= 0)
			tune_listener(fd, udp);
		loop_refill(slirp->loop);
	}
	free(scans);
	return port;
}

int net_slirp_unpublish(struct net_slirp *slirp, bool udp, const struct netaddr *addr, uint16_t host_port)
{
	socklen_t bytes;
	union any_sockaddr host = sockaddr_make(addr->bytes, addr->is_v6, host_port, &bytes);

	return slirp_remove_hostxfwd(slirp->slirp, &host.any, bytes, udp ? SLIRP_HOSTFWD_UDP : 0) ? -ENOENT : 0;
}
