/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_net_slirp: devices/net_slirp.c with the real libslirp, seen from the guest's end of the cable: frames by hand.
 */
#include "devices/net_slirp.h"

#include "lib/util.h"
#include "tests/unit/ring.h"
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	HEADER = 12,
	BUFFER_BYTES = 2048,
	ARP_BYTES = 42,
	SYN_BYTES = 54,
	TCP_SYN = 2,
	TCP_ACK = 16,
	TCP_RST = 4,
	GUEST_PORT = 80,
	OWN_PORT = 40000, /* the guest's, where it calls itself */
	F_CSUM = 1,
	F_GUEST_CSUM = 2,
	NEEDS_CSUM = 1,
};

static const uint8_t mac[6] = { 0x02, 0, 0, 0x11, 0x22, 0x33 };
static const uint8_t guest_ip[4] = { 10, 0, 2, 15 }, gateway_ip[4] = { 10, 0, 2, 2 };

static struct rig rig;
static struct net *net;
static struct net_slirp *slirp;
static struct ring *rx = &rig.rings[0], *tx = &rig.rings[1];
static uint8_t got[BUFFER_BYTES]; /* the frame taken last, without virtio header */
static uint8_t got_header[HEADER];

static void begin_as(bool host_loopback, struct egress *egress, uint64_t features)
{
	const struct net_slirp_config config = { .hostname = "pod", .mac = mac, .egress = egress, .mtu = 1500,
						 .host_loopback = host_loopback };

	rig_init(&rig);
	net = net_new(&rig.env, mac, 1500);
	slirp = net_slirp_new(rig.loop, net, &config);
	CHECK(slirp != NULL);
	CHECK(rig_start(&rig, net_dev(net), features));
}

static void begin_with(bool host_loopback)
{
	begin_as(host_loopback, NULL, 0);
}

static void begin(void)
{
	begin_with(false);
}

static void end(void)
{
	net_slirp_free(slirp);
	net_free(net);
	rig_fini(&rig);
}

static void post_buffers(unsigned count)
{
	while (count--)
		ring_post(rx, BUFFER_BYTES);
}

static void send_frame(const uint8_t *frame, size_t bytes)
{
	uint8_t *with_header = xcalloc(1, HEADER + bytes);

	memcpy(with_header + HEADER, frame, bytes);
	ring_send(tx, with_header, HEADER + bytes);
	free(with_header);
}

/* The next frame for the guest, waiting up to ms for it; 0 when none came. */
static size_t take_frame(unsigned ms)
{
	uint8_t bytes[HEADER + BUFFER_BYTES];
	uint64_t until = clock_mono_ns() + ms * UINT64_C(1000000);
	int64_t count;

	while ((count = ring_take(rx, bytes, sizeof(bytes))) < 0 && clock_mono_ns() < until)
		rig_run_ms(&rig, 2);
	if (count <= HEADER)
		return 0;
	memcpy(got_header, bytes, HEADER);
	memcpy(got, bytes + HEADER, MIN((size_t)count - HEADER, sizeof(got)));
	return (size_t)count - HEADER;
}

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static uint32_t sum16(const uint8_t *at, size_t bytes, uint32_t sum)
{
	for (size_t i = 0; i < bytes; i += 2)
		sum += get16(at + i);
	return sum;
}

static unsigned fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

static void make_arp(uint8_t frame[ARP_BYTES], unsigned operation, const uint8_t target_ip[4])
{
	static const uint8_t fixed[] = { 0, 1, 8, 0, 6, 4 };

	memset(frame, 0xff, 6);
	memcpy(frame + 6, mac, 6);
	put16(frame + 12, 0x0806);
	memcpy(frame + 14, fixed, sizeof(fixed));
	put16(frame + 20, operation);
	memcpy(frame + 22, mac, 6);
	memcpy(frame + 28, guest_ip, 4);
	memset(frame + 32, 0, 6);
	memcpy(frame + 38, target_ip, 4);
}

/* A TCP segment without data, from the guest to an address and port. */
static void make_syn(uint8_t frame[SYN_BYTES], const uint8_t to_ip[4], unsigned to_port)
{
	uint8_t *ip = frame + 14, *tcp = ip + 20;

	memset(frame, 0, SYN_BYTES);
	memcpy(frame, (const uint8_t[]){ 0x52, 0x55, 10, 0, 2, 2 }, 6);
	memcpy(frame + 6, mac, 6);
	put16(frame + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, 40);
	ip[8] = 64;
	ip[9] = IPPROTO_TCP;
	memcpy(ip + 12, guest_ip, 4);
	memcpy(ip + 16, to_ip, 4);
	put16(ip + 10, fold(sum16(ip, 20, 0)));
	put16(tcp, OWN_PORT);
	put16(tcp + 2, to_port);
	tcp[12] = 5 << 4;
	tcp[13] = TCP_SYN;
	put16(tcp + 14, 64000);
	put16(tcp + 16, fold(sum16(ip + 12, 28, IPPROTO_TCP + 20)));
}

/* Says hello, so that libslirp knows the guest's address. */
static void announce(void)
{
	uint8_t arp[ARP_BYTES];

	make_arp(arp, 1, gateway_ip);
	send_frame(arp, sizeof(arp));
	CHECK(take_frame(100) >= ARP_BYTES);
}

static const struct netaddr loopback4 = { .bytes = { 127, 0, 0, 1 } };

static struct in_addr loopback(void)
{
	return (struct in_addr){ htonl(INADDR_LOOPBACK) };
}

/* A socket of ours on 127.0.0.1; listening when it is TCP. The port goes to *port. */
static int own_socket(int type, uint16_t *port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr = loopback() };
	socklen_t bytes = sizeof(addr);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || (type == SOCK_STREAM && listen(fd, 8)) ||
	    getsockname(fd, (struct sockaddr *)&addr, &bytes))
		abort();
	*port = ntohs(addr.sin_port);
	return fd;
}

static int connect_to(int port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr = loopback(), .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		close(fd);
		return -1;
	}
	return fd;
}

TEST(gateway_answers_arp)
{
	uint8_t arp[ARP_BYTES];

	begin();
	post_buffers(4);
	make_arp(arp, 1, gateway_ip);
	send_frame(arp, sizeof(arp));
	CHECK(take_frame(100) >= ARP_BYTES); /* from inside transmit(): no turn of the loop needed */
	CHECK_INT(get16(got + 12), 0x0806);
	CHECK_INT(get16(got + 20), 2);
	CHECK_MEM(got + 28, gateway_ip, 4);
	CHECK_MEM(got, mac, 6);
	CHECK_INT(take_frame(0), 0);
	end();
}

TEST(other_ethertypes_get_no_answer)
{
	uint8_t frame[64] = { 0 };

	begin();
	post_buffers(4);
	put16(frame + 12, 0x88f8); /* NC-SI, which libslirp would answer */
	frame[14 + 1] = 1;
	frame[14 + 4] = 0x15; /* get version id */
	send_frame(frame, sizeof(frame));
	CHECK_INT(take_frame(20), 0);
	end();
}

TEST(frames_wait_in_order_until_there_is_room)
{
	const uint8_t dns_ip[4] = { 10, 0, 2, 3 };
	uint8_t arp[ARP_BYTES];

	begin();
	for (unsigned i = 0; i < 1000; i++) { /* far beyond the queue: the rest is dropped */
		rig_alloc_reset(&rig);
		make_arp(arp, 1, i % 2 ? dns_ip : gateway_ip);
		send_frame(arp, sizeof(arp));
		ring_take(tx, NULL, 0);
	}
	for (unsigned i = 0; i < 256; i++) {
		rig_alloc_reset(&rig);
		post_buffers(1);
		if (!CHECK(take_frame(0) >= ARP_BYTES) || !CHECK_INT(got[31], i % 2 ? 3 : 2))
			break;
	}
	post_buffers(1);
	CHECK_INT(take_frame(0), 0);
	end();
}

TEST(no_frame_passes_one_that_waits)
{
	const uint8_t dns_ip[4] = { 10, 0, 2, 3 };
	struct ring_buf buf = { .bytes = BUFFER_BYTES };
	uint8_t arp[ARP_BYTES];

	begin();
	make_arp(arp, 1, gateway_ip);
	send_frame(arp, sizeof(arp)); /* its answer waits */
	for (unsigned i = 0; i < 2; i++) {
		buf.gpa = rig_alloc(&rig, BUFFER_BYTES);
		ring_add(rx, NULL, 0, &buf, 1); /* room, but the kick is still on its way */
	}
	make_arp(arp, 1, dns_ip);
	send_frame(arp, sizeof(arp));
	ring_kick(rx);
	CHECK(take_frame(0) >= ARP_BYTES);
	CHECK_INT(got[31], 2);
	CHECK(take_frame(0) >= ARP_BYTES);
	CHECK_INT(got[31], 3);
	end();
}

TEST(publish_a_taken_port)
{
	uint16_t port;
	int fd;

	begin();
	fd = own_socket(SOCK_STREAM, &port);
	CHECK_INT(net_slirp_publish(slirp, false, &loopback4, port, GUEST_PORT), -EADDRINUSE);
	close(fd);
	fd = own_socket(SOCK_DGRAM, &port);
	CHECK_INT(net_slirp_publish(slirp, true, &loopback4, port, GUEST_PORT), -EADDRINUSE);
	close(fd);
	CHECK_INT(net_slirp_publish(slirp, false, &(const struct netaddr){ .bytes = { 1, 2, 3, 4 } }, 0, GUEST_PORT),
		  -EADDRNOTAVAIL);
	CHECK_INT(net_slirp_publish(slirp, false, &loopback4, 0, 0), -EINVAL);
	end();
}

TEST(publish_unpublish_publish)
{
	int port, again;

	begin();
	for (unsigned udp = 0; udp < 2; udp++) {
		port = net_slirp_publish(slirp, udp, &loopback4, 0, GUEST_PORT);
		again = net_slirp_publish(slirp, udp, &loopback4, 0, GUEST_PORT + 1);
		CHECK(port > 0 && again > 0 && port != again);
		CHECK_INT(net_slirp_publish(slirp, udp, &loopback4, (uint16_t)port, GUEST_PORT), -EADDRINUSE);
		CHECK_INT(net_slirp_unpublish(slirp, udp, &loopback4, (uint16_t)port), 0);
		CHECK_INT(net_slirp_unpublish(slirp, udp, &loopback4, (uint16_t)port), -ENOENT);
		CHECK_INT(net_slirp_publish(slirp, udp, &loopback4, (uint16_t)port, GUEST_PORT), port);
	}
	end();
}

TEST(connection_to_a_published_port_reaches_the_guest)
{
	int port, fd;

	begin();
	post_buffers(8);
	announce();
	port = net_slirp_publish(slirp, false, &loopback4, 0, GUEST_PORT);
	fd = connect_to(port);
	CHECK(fd >= 0);
	CHECK_INT(take_frame(1000), 14 + 20 + 24);
	CHECK_INT(get16(got + 12), 0x0800);
	CHECK_MEM(got + 14 + 16, guest_ip, 4);
	CHECK_INT(get16(got + 14 + 20 + 2), GUEST_PORT);
	CHECK_INT(got[14 + 20 + 13], TCP_SYN);
	close(fd);
	end();
}

TEST(datagram_to_a_published_port_reaches_the_guest)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr = loopback() };
	uint16_t own_port;
	int port, fd;

	begin();
	post_buffers(8);
	announce();
	port = net_slirp_publish(slirp, true, &loopback4, 0, GUEST_PORT);
	addr.sin_port = htons((uint16_t)port);
	fd = own_socket(SOCK_DGRAM, &own_port);
	CHECK_INT(sendto(fd, "hello", 5, 0, (struct sockaddr *)&addr, sizeof(addr)), 5);
	CHECK_INT(take_frame(1000), 14 + 20 + 8 + 5);
	CHECK_MEM(got + 14 + 28, "hello", 5);
	close(fd);
	end();
}

TEST(burst_of_connections_is_accepted)
{
	int fds[40], port;

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = -1;
	begin();
	port = net_slirp_publish(slirp, false, &loopback4, 0, GUEST_PORT);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) { /* the loop does not run: all wait in the backlog */
		struct timeval patience = { .tv_usec = 200000 };
		struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr = loopback(),
					    .sin_port = htons((uint16_t)port) };

		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		setsockopt(fds[i], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		if (!CHECK_INT(connect(fds[i], (struct sockaddr *)&addr, sizeof(addr)), 0))
			break;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	end();
}

/* Sends a SYN to an address and port of our own listening socket; true when a connection arrives there. */
static bool guest_reaches(const uint8_t ip[4], int listener, uint16_t port)
{
	uint8_t syn[SYN_BYTES];
	int fd;

	make_syn(syn, ip, port);
	send_frame(syn, sizeof(syn));
	rig_run_ms(&rig, 30);
	fd = accept(listener, NULL, NULL);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

TEST(host_loopback_opens_only_when_asked)
{
	static const uint8_t ways[][4] = { { 10, 0, 2, 2 }, { 127, 0, 0, 1 }, { 0, 0, 0, 0 }, { 10, 0, 2, 3 } };
	uint16_t port;
	int listener = own_socket(SOCK_STREAM, &port);

	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		begin_with(false);
		post_buffers(8);
		announce();
		CHECK(!guest_reaches(ways[i], listener, port));
		end();
	}
	begin_with(true);
	post_buffers(8);
	announce();
	CHECK(guest_reaches(ways[0], listener, port));
	CHECK_INT(take_frame(100), SYN_BYTES + 4);
	CHECK_INT(got[14 + 20 + 13], TCP_SYN | TCP_ACK);
	end();
	close(listener);
}

TEST(bad_config_is_refused)
{
	const struct net_slirp_config config = { .mac = mac, .mtu = 20 };

	rig_init(&rig);
	net = net_new(&rig.env, mac, 1500);
	CHECK(!net_slirp_new(rig.loop, net, &config));
	net_free(net);
	rig_fini(&rig);
}

TEST(freed_with_everything_under_way)
{
	uint8_t frame[NET_FRAME_BYTES_MAX] = { 0 };
	int port, fd;

	begin();
	make_arp(frame, 1, gateway_ip);
	send_frame(frame, ARP_BYTES); /* no buffer posted: the answer waits */
	port = net_slirp_publish(slirp, false, &loopback4, 0, GUEST_PORT);
	fd = connect_to(port);
	rig_run_ms(&rig, 5);
	put16(frame + 12, 0x0800);
	send_frame(frame, sizeof(frame)); /* a giant that is no packet */
	send_frame(frame, 14);
	close(fd);
	end();
}

/* ---- IPv4 by hand ---- */

enum { ETH = 14, IP = 20, DATA_MAX = 1200 };

/* A packet from the guest in a frame; returns the frame's bytes. Sums are right but for TCP's and UDP's. */
static size_t make_ip4(uint8_t *frame, const uint8_t to_ip[4], uint8_t protocol, const void *payload, size_t bytes)
{
	uint8_t *ip = frame + ETH;

	memset(frame, 0, ETH + IP);
	memcpy(frame, (const uint8_t[]){ 0x52, 0x55, 10, 0, 2, 2 }, 6);
	memcpy(frame + 6, mac, 6);
	put16(frame + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, (unsigned)(IP + bytes));
	ip[8] = 64;
	ip[9] = protocol;
	memcpy(ip + 12, guest_ip, 4);
	memcpy(ip + 16, to_ip, 4);
	put16(ip + 10, fold(sum16(ip, IP, 0)));
	memcpy(ip + IP, payload, bytes);
	return ETH + IP + bytes;
}

static void send_udp(const uint8_t to_ip[4], unsigned from_port, unsigned to_port)
{
	uint8_t datagram[13] = "12345678hello", frame[ETH + IP + sizeof(datagram)];

	put16(datagram, from_port);
	put16(datagram + 2, to_port);
	put16(datagram + 4, sizeof(datagram));
	put16(datagram + 6, 0);
	send_frame(frame, make_ip4(frame, to_ip, IPPROTO_UDP, datagram, sizeof(datagram)));
}

/* Whether a datagram came to one of our sockets; it is taken. */
static bool arrived(int fd)
{
	char bytes[64];

	rig_run_ms(&rig, 20);
	return recv(fd, bytes, sizeof(bytes), 0) > 0;
}

static struct egress *policy(enum egress_mode mode, const char *allow)
{
	struct netrule rule;

	if (allow)
		CHECK(netrule_parse(allow, &rule));
	return egress_new(mode, &rule, allow ? 1 : 0);
}

TEST(policy_decides_over_connections)
{
	static const struct {
		enum egress_mode mode;
		const char *allow;
		bool passes;
	} cases[] = { { EGRESS_OPEN, NULL, true },
		      { EGRESS_OFF, NULL, false },
		      { EGRESS_ALLOW, NULL, false },
		      { EGRESS_ALLOW, "10.0.2.2:1", false },
		      { EGRESS_ALLOW, "10.0.0.0/16", true } };
	uint16_t port;
	int listener = own_socket(SOCK_STREAM, &port);

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct egress *egress = policy(cases[i].mode, cases[i].allow);

		begin_as(true, egress, 0);
		post_buffers(8);
		announce();
		CHECK_INT(guest_reaches(gateway_ip, listener, port), cases[i].passes);
		CHECK_INT(take_frame(100), cases[i].passes ? SYN_BYTES + 4 : SYN_BYTES);
		CHECK_INT(got[ETH + IP + 13], cases[i].passes ? TCP_SYN | TCP_ACK : TCP_RST | TCP_ACK);
		end();
		egress_free(egress);
	}
	close(listener);
}

TEST(policy_opens_no_loopback)
{
	static const uint8_t ways[][4] = { { 10, 0, 2, 2 }, { 127, 0, 0, 1 }, { 0, 0, 0, 0 }, { 255, 255, 255, 255 } };
	struct egress *egress = policy(EGRESS_ALLOW, "0.0.0.0/0");
	uint16_t port;
	int listener = own_socket(SOCK_STREAM, &port);

	begin_as(false, egress, 0);
	post_buffers(16);
	announce();
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++)
		CHECK(!guest_reaches(ways[i], listener, port));
	end();
	egress_free(egress);
	close(listener);
}

TEST(policy_decides_over_datagrams)
{
	uint16_t port, other_port;
	int fd = own_socket(SOCK_DGRAM, &port), other = own_socket(SOCK_DGRAM, &other_port);
	struct egress *egress;
	char allow[32];

	snprintf(allow, sizeof(allow), "10.0.2.2:%u", port);
	egress = policy(EGRESS_ALLOW, allow);
	begin_as(true, egress, 0);
	post_buffers(16);
	announce();
	send_udp(gateway_ip, 5000, port);
	CHECK(arrived(fd));
	send_udp(gateway_ip, 5000, other_port); /* from the same port, for which there is a socket now */
	CHECK(!arrived(other));
	CHECK(take_frame(100) > ETH + IP);
	CHECK_INT(got[ETH + 9], IPPROTO_ICMP);
	CHECK_INT(got[ETH + IP], 3);
	send_udp(gateway_ip, 5000, port);
	CHECK(arrived(fd));
	end();
	egress_free(egress);
	close(fd);
	close(other);
}

/* The first fragment names an allowed port, the second puts another one over it. */
TEST(policy_is_asked_for_what_leaves)
{
	uint8_t first[ETH + IP + 8] = { 0 }, second[ETH + IP + 8] = { 0 }, options[ETH + IP + 12], datagram[16] = { 0 };
	uint16_t port;
	int fd = own_socket(SOCK_DGRAM, &port);
	struct egress *egress = policy(EGRESS_ALLOW, "10.0.2.2:9");

	begin_as(true, egress, 0);
	post_buffers(16);
	announce();
	put16(datagram, 5000);
	put16(datagram + 2, port);
	put16(datagram + 4, sizeof(datagram));
	make_ip4(second, gateway_ip, IPPROTO_UDP, datagram + 8, 8);
	make_ip4(first, gateway_ip, IPPROTO_UDP, datagram, 8);
	put16(first + ETH + 6, 0x2000);
	put16(second + ETH + 6, 1);
	for (uint8_t *ip = first + ETH; ip; ip = ip == first + ETH ? second + ETH : NULL) {
		put16(ip + 10, 0);
		put16(ip + 10, fold(sum16(ip, IP, 0)));
	}
	send_frame(second, sizeof(second));
	send_frame(first, sizeof(first));
	CHECK(!arrived(fd));
	make_ip4(options, gateway_ip, IPPROTO_UDP, "\x01\x01\x01\x01" "5678", 8);
	options[ETH] = 0x46; /* four bytes of options in front of the ports */
	put16(datagram + 4, 8);
	memcpy(options + ETH + IP + 4, datagram, 8);
	put16(options + ETH + 2, IP + 12);
	put16(options + ETH + 10, 0);
	put16(options + ETH + 10, fold(sum16(options + ETH, IP + 4, 0)));
	send_frame(options, sizeof(options));
	CHECK(!arrived(fd));
	end();
	egress_free(egress);
	close(fd);
}

TEST(policy_decides_over_pings)
{
	static const uint8_t far_ip[4] = { 192, 0, 2, 1 };
	struct egress *egress = policy(EGRESS_OFF, NULL);
	uint8_t echo[16] = { 8 }, frame[ETH + IP + sizeof(echo)];

	begin_as(false, egress, 0);
	post_buffers(8);
	announce();
	put16(echo + 2, fold(sum16(echo, sizeof(echo), 0)));
	send_frame(frame, make_ip4(frame, far_ip, IPPROTO_ICMP, echo, sizeof(echo)));
	CHECK(take_frame(100) > ETH + IP);
	CHECK_INT(got[ETH + IP], 3); /* unreachable, and at once */
	send_frame(frame, make_ip4(frame, gateway_ip, IPPROTO_ICMP, echo, sizeof(echo)));
	CHECK_INT(take_frame(100), sizeof(frame)); /* who answers is the gateway itself */
	CHECK_INT(got[ETH + IP], 0);
	end();
	egress_free(egress);
}

TEST(published_port_answers_but_does_not_call)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr = loopback() };
	struct egress *egress = policy(EGRESS_OFF, NULL);
	uint16_t client_port, other_port;
	int client = own_socket(SOCK_DGRAM, &client_port), other = own_socket(SOCK_DGRAM, &other_port), port;

	begin_as(false, egress, 0);
	post_buffers(16);
	announce();
	port = net_slirp_publish(slirp, true, &loopback4, 0, GUEST_PORT);
	addr.sin_port = htons((uint16_t)port);
	send_udp(gateway_ip, GUEST_PORT, client_port);
	CHECK(!arrived(client));
	CHECK(take_frame(100) > 0); /* the refusal */
	CHECK_INT(sendto(client, "hello", 5, 0, (struct sockaddr *)&addr, sizeof(addr)), 5);
	CHECK_INT(take_frame(1000), ETH + IP + 8 + 5);
	send_udp(gateway_ip, GUEST_PORT, client_port);
	CHECK(arrived(client));
	send_udp(gateway_ip, GUEST_PORT, other_port);
	CHECK(!arrived(other));
	port = net_slirp_publish(slirp, false, &loopback4, 0, GUEST_PORT);
	close(other);
	other = connect_to(port);
	CHECK(other >= 0);
	CHECK(take_frame(1000) > 0);
	while (got[ETH + 9] != IPPROTO_TCP && take_frame(100) > 0)
		;
	CHECK_INT(got[ETH + IP + 13], TCP_SYN);
	end();
	egress_free(egress);
	close(client);
	close(other);
}

/* A client at a loopback address of ours: its socket, connected to a published port. */
static int client_at(const char *address, int type, int port)
{
	struct sockaddr_in from = { .sin_family = AF_INET }, to = { .sin_family = AF_INET, .sin_addr = loopback() };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, address, &from.sin_addr);
	to.sin_port = htons((uint16_t)port);
	CHECK(!bind(fd, (struct sockaddr *)&from, sizeof(from)));
	CHECK(!connect(fd, (struct sockaddr *)&to, sizeof(to)));
	return fd;
}

static void begin_for(const char *clients)
{
	static struct netrule rule;
	const struct net_slirp_config config = { .mac = mac, .mtu = 1500, .clients = &rule, .client_count = 1 };

	CHECK(netrule_parse(clients, &rule));
	rig_init(&rig);
	net = net_new(&rig.env, mac, 1500);
	slirp = net_slirp_new(rig.loop, net, &config);
	memset(&rule, 0, sizeof(rule)); /* it was copied */
	CHECK(rig_start(&rig, net_dev(net), 0));
	post_buffers(16);
	announce();
}

TEST(clients_of_published_tcp_ports)
{
	int port, fd;
	char byte;

	begin_for("127.0.0.2/31");
	port = net_slirp_publish(slirp, false, &loopback4, 0, GUEST_PORT);
	fd = client_at("127.0.0.1", SOCK_STREAM, port);
	CHECK_INT(take_frame(100), 0);
	CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET); /* closed at once */
	close(fd);
	fd = client_at("127.0.0.3", SOCK_STREAM, port);
	CHECK_INT(take_frame(1000), 14 + 20 + 24);
	CHECK_INT(got[14 + 20 + 13], TCP_SYN);
	CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	close(fd);
	end();
}

TEST(clients_of_published_udp_ports)
{
	int port, fd;

	begin_for("127.0.0.2");
	port = net_slirp_publish(slirp, true, &loopback4, 0, GUEST_PORT);
	fd = client_at("127.0.0.1", SOCK_DGRAM, port);
	CHECK_INT(send(fd, "hello", 5, 0), 5);
	CHECK_INT(take_frame(100), 0);
	close(fd);
	fd = client_at("127.0.0.2", SOCK_DGRAM, port);
	CHECK_INT(send(fd, "hello", 5, 0), 5);
	CHECK_INT(take_frame(1000), 14 + 20 + 8 + 5);
	close(fd);
	end();
}

/* ---- IPv6 ---- */

enum { IP6 = 40, NEXT6_AT = ETH + 6 };

static const uint8_t guest6[16] = { 0xfd, [8] = 0, 0, 0, 0xff, 0xfe, 0x11, 0x22, 0x33 }; /* of mac */
static const uint8_t gateway6[16] = { 0xfd, [15] = 2 };

static size_t make_ip6(uint8_t *frame, const uint8_t to[16], uint8_t protocol, size_t sum_at, const void *payload, size_t bytes)
{
	uint8_t *ip = frame + ETH;

	memset(frame, 0, ETH + IP6);
	memcpy(frame, (const uint8_t[]){ 0x52, 0x56, 0, 0, 0, 2 }, 6);
	memcpy(frame + 6, mac, 6);
	put16(frame + 12, 0x86dd);
	ip[0] = 0x60;
	put16(ip + 4, (unsigned)bytes);
	ip[6] = protocol;
	ip[7] = 255;
	memcpy(ip + 8, guest6, 16);
	memcpy(ip + 24, to, 16);
	memcpy(ip + IP6, payload, bytes);
	put16(ip + IP6 + sum_at, 0);
	put16(ip + IP6 + sum_at, fold(sum16(ip + 8, 32 + bytes, protocol + (uint32_t)bytes)));
	return ETH + IP6 + bytes;
}

/* The next frame that is ICMPv6 of this type; false when none comes. */
static bool take_icmp6(uint8_t type, unsigned ms)
{
	while (take_frame(ms))
		if (get16(got + 12) == 0x86dd && got[NEXT6_AT] == IPPROTO_ICMPV6 && got[ETH + IP6] == type)
			return true;
	return false;
}

TEST(router_is_advertised)
{
	static const uint8_t routers[16] = { 0xff, 2, [15] = 2 };
	uint8_t solicit[8] = { 133 }, frame[ETH + IP6 + sizeof(solicit)];
	bool prefix = false;

	begin();
	post_buffers(8);
	send_frame(frame, make_ip6(frame, routers, IPPROTO_ICMPV6, 2, solicit, sizeof(solicit)));
	if (!CHECK(take_icmp6(134, 200)))
		return;
	/* options of 8 bytes each: 3 is a prefix; autonomous, 64 bits, fd00:: */
	for (const uint8_t *at = got + ETH + IP6 + 16; at[1] && at < got + ETH + IP6 + get16(got + ETH + 4); at += 8 * at[1])
		prefix |= at[0] == 3 && at[2] == 64 && (at[3] & 0x40) && at[16] == 0xfd && at[17] == 0;
	CHECK(prefix);
	end();
}

/* A SYN to a listener of our own at ::1, which the gateway's address leads to. */
TEST(connections_by_ipv6)
{
	static const struct {
		const char *allow; /* NULL: no policy */
		bool passes;
	} cases[] = { { NULL, true }, { "fd00::/64", true }, { "2001:db8::/32", false }, { "0.0.0.0/0", false } };
	struct sockaddr_in6 addr = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t bytes = sizeof(addr);
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0), fd;
	uint8_t syn[20] = { 0 }, frame[ETH + IP6 + sizeof(syn)];

	if (listener < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(listener, 4)) {
		printf("# no IPv6 here\n");
		close(listener);
		return;
	}
	getsockname(listener, (struct sockaddr *)&addr, &bytes);
	put16(syn, OWN_PORT);
	put16(syn + 2, ntohs(addr.sin6_port));
	syn[12] = 5 << 4;
	syn[13] = TCP_SYN;
	put16(syn + 14, 64000);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct egress *egress = cases[i].allow ? policy(EGRESS_ALLOW, cases[i].allow) : NULL;

		begin_as(true, egress, 0);
		post_buffers(8);
		send_frame(frame, make_ip6(frame, gateway6, IPPROTO_TCP, 16, syn, sizeof(syn)));
		rig_run_ms(&rig, 30);
		fd = accept(listener, NULL, NULL);
		if (!CHECK_INT(fd >= 0, cases[i].passes))
			printf("# case %u\n", i);
		if (fd >= 0)
			close(fd);
		end();
		egress_free(egress);
	}
	close(listener);
}

TEST(port_published_at_ipv6_leads_to_the_guests_address)
{
	static const struct netaddr loopback6 = { .bytes = { [15] = 1 }, .is_v6 = true };
	struct sockaddr_in6 addr = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int port, fd;

	begin();
	post_buffers(8);
	port = net_slirp_publish(slirp, false, &loopback6, 0, GUEST_PORT);
	if (port == -EADDRNOTAVAIL || port == -EAFNOSUPPORT) {
		printf("# no IPv6 here\n");
		end();
		return;
	}
	CHECK(port > 0);
	CHECK_INT(net_slirp_publish(slirp, false, &loopback6, (uint16_t)port, GUEST_PORT), -EADDRINUSE);
	CHECK(connect_to(port) < 0); /* IPv4 is not meant */
	addr.sin6_port = htons((uint16_t)port);
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	CHECK_INT(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	CHECK(take_icmp6(135, 1000)); /* who has the guest's address? */
	CHECK_MEM(got + ETH + IP6 + 8, guest6, sizeof(guest6));
	CHECK_INT(net_slirp_unpublish(slirp, false, &loopback6, (uint16_t)port), 0);
	CHECK_INT(net_slirp_unpublish(slirp, false, &loopback6, (uint16_t)port), -ENOENT);
	close(fd);
	end();
}

/* ---- checksums ---- */

/* Sends a SYN whose checksum is wrong, with what its header says of it. */
static bool reaches_unsummed(int listener, uint16_t port, uint8_t flags, uint16_t start, uint16_t offset)
{
	uint8_t bytes[HEADER + SYN_BYTES] = { flags };
	int fd;

	memcpy(bytes + 6, &start, 2);
	memcpy(bytes + 8, &offset, 2);
	make_syn(bytes + HEADER, gateway_ip, port);
	/* the pseudo header's alone, which is what a driver leaves there */
	put16(bytes + HEADER + ETH + IP + 16, (uint16_t)~fold(sum16(bytes + HEADER + ETH + 12, 8, IPPROTO_TCP + 20)));
	ring_send(tx, bytes, sizeof(bytes));
	rig_run_ms(&rig, 30);
	fd = accept(listener, NULL, NULL);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

TEST(sums_of_the_guest)
{
	static const struct {
		uint64_t features;
		uint8_t flags;
		uint16_t start, offset;
		bool passes;
	} cases[] = {
		{ F_CSUM, NEEDS_CSUM, ETH + IP, 16, true },
		{ F_CSUM, 0, ETH + IP, 16, false },	     /* it says that the sum is whole: verified */
		{ 0, NEEDS_CSUM, ETH + IP, 16, false },	     /* not negotiated: verified */
		{ F_CSUM, NEEDS_CSUM, ETH + IP, 4, false },  /* another place: completed there, and verified here */
		{ F_CSUM, NEEDS_CSUM, ETH, 10, false },
	};
	uint16_t port;
	int listener = own_socket(SOCK_STREAM, &port);

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		begin_as(true, NULL, cases[i].features);
		post_buffers(8);
		announce();
		if (!CHECK_INT(reaches_unsummed(listener, port, cases[i].flags, cases[i].start, cases[i].offset), cases[i].passes))
			printf("# case %u\n", i);
		end();
	}
	close(listener);
}

/* The frame in got has right sums; TCP's or UDP's may be zero where the header says that it is to be made. */
static bool has_right_sum(size_t bytes)
{
	unsigned total = get16(got + ETH + 2), length = total - IP;
	uint8_t *data = got + ETH + IP;

	(void)bytes;
	if (total & 1)
		data[length] = 0;
	return fold(sum16(got + ETH, IP, 0)) == 0 &&
	       fold(sum16(data, length + (total & 1), sum16(got + ETH + 12, 8, got[ETH + 9] + length))) == 0;
}

TEST(sums_to_the_guest)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr = loopback() };
	static char big[4000];
	uint16_t own_port;
	int port, fd = own_socket(SOCK_DGRAM, &own_port);
	unsigned fragments = 0;
	size_t bytes;

	for (unsigned offload = 0; offload < 2; offload++) {
		begin_as(false, NULL, offload ? F_GUEST_CSUM : 0);
		post_buffers(16);
		announce();
		port = net_slirp_publish(slirp, true, &loopback4, 0, GUEST_PORT);
		addr.sin_port = htons((uint16_t)port);
		CHECK_INT(sendto(fd, "hello", 5, 0, (struct sockaddr *)&addr, sizeof(addr)), 5);
		bytes = take_frame(1000);
		CHECK_INT(bytes, ETH + IP + 8 + 5);
		CHECK_INT(got_header[0], offload ? NEEDS_CSUM : 0);
		CHECK_INT(got_header[6], offload ? ETH + IP : 0);
		CHECK_INT(got_header[8], offload ? 6 : 0);
		CHECK_INT(has_right_sum(bytes), !offload);
		if (offload) { /* made from what is there, it is right */
			const struct frame_sum sum = { ETH + IP, 6 };

			frame_sum_complete(got, bytes, &sum);
			CHECK(has_right_sum(bytes));
		}
		CHECK_INT(sendto(fd, big, sizeof(big), 0, (struct sockaddr *)&addr, sizeof(addr)), sizeof(big));
		for (fragments = 0; (bytes = take_frame(200)); fragments++) {
			uint32_t zero_sum = sum16(got + ETH + 12, 8, IPPROTO_UDP + 8 + sizeof(big));

			CHECK_INT(got_header[0], 0);
			if (fragments == 0) { /* the rest is zeros, so the sum is that of its header */
				zero_sum = sum16(got + ETH + IP, 8, zero_sum);
				CHECK_INT(fold(zero_sum), 0);
			}
		}
		CHECK_INT(fragments, 3);
		end();
	}
	close(fd);
}

/* ---- peers that are slow or dead ---- */

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* A segment of an open connection to our own socket; with data it is all zeros. */
static void send_segment(uint16_t port, uint32_t seq, uint32_t ack, size_t bytes)
{
	uint8_t segment[20 + DATA_MAX] = { 0 }, frame[ETH + IP + sizeof(segment)];

	put16(segment, OWN_PORT);
	put16(segment + 2, port);
	put16(segment + 4, seq >> 16);
	put16(segment + 6, seq & 0xffff);
	put16(segment + 8, ack >> 16);
	put16(segment + 10, ack & 0xffff);
	segment[12] = 5 << 4;
	segment[13] = TCP_ACK;
	put16(segment + 14, 64000);
	make_ip4(frame, gateway_ip, IPPROTO_TCP, segment, 20 + bytes);
	put16(frame + ETH + IP + 16, fold(sum16(frame + ETH + IP, 20, sum16(frame + ETH + 12, 8, (uint32_t)(IPPROTO_TCP + 20 + bytes)))));
	send_frame(frame, ETH + IP + 20 + bytes);
}

/* The guest sends to a peer that never reads: the window closes, and nothing we do takes long. */
TEST(peer_that_never_reads_stalls_nobody)
{
	uint64_t start_ns, longest_ns = 0, turn_ns;
	uint32_t seq = 1, ack;
	unsigned window = 65535;
	uint16_t port;
	int listener = own_socket(SOCK_STREAM, &port), fd;
	uint8_t syn[SYN_BYTES];

	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &(int){ 4096 }, sizeof(int));
	begin_with(true);
	post_buffers(8);
	announce();
	make_syn(syn, gateway_ip, port);
	send_frame(syn, sizeof(syn));
	CHECK(take_frame(200) > 0);
	ack = get32(got + ETH + IP + 4) + 1;
	send_segment(port, seq, ack, 0);
	fd = accept(listener, NULL, NULL);
	CHECK(fd >= 0);
	for (unsigned i = 0; i < 20000 && window >= DATA_MAX; i++) {
		rig_alloc_reset(&rig);
		start_ns = clock_mono_ns();
		post_buffers(1);
		send_segment(port, seq, ack, DATA_MAX);
		turn_ns = clock_mono_ns() - start_ns;
		longest_ns = MAX(longest_ns, turn_ns);
		ring_take(tx, NULL, 0);
		seq += DATA_MAX;
		if (take_frame(5))
			window = get16(got + ETH + IP + 14);
	}
	CHECK(window < DATA_MAX);
	printf("# %u bytes until the window closed\n", seq);
	CHECK(seq > 100000);
	CHECK(longest_ns < 500000000); /* a blocking send would never come back */
	rig_alloc_reset(&rig);
	post_buffers(4);
	announce(); /* others are served */
	close(fd);
	close(listener);
	end();
}

TEST(sockets_are_bounded)
{
	struct rlimit old, low;
	unsigned answered = 0, before;
	uint8_t syn[SYN_BYTES];
	uint16_t port;
	int listener = own_socket(SOCK_STREAM, &port), fd;

	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = 256; /* an eighth of it is 32 */
	setrlimit(RLIMIT_NOFILE, &low);
	begin_with(true);
	setrlimit(RLIMIT_NOFILE, &old);
	post_buffers(4);
	announce();
	fd = dup(0);
	before = (unsigned)fd;
	close(fd);
	for (unsigned i = 0; i < 300; i++) { /* datagrams: the oldest port makes room */
		rig_alloc_reset(&rig);
		send_udp(gateway_ip, 10000 + i, port);
		ring_take(tx, NULL, 0);
	}
	fd = dup(0);
	CHECK((unsigned)fd <= before + 33);
	close(fd);
	end();
	setrlimit(RLIMIT_NOFILE, &low);
	begin_with(true);
	setrlimit(RLIMIT_NOFILE, &old);
	post_buffers(1);
	announce();
	for (unsigned i = 0; i < 100; i++) { /* connections: beyond the bound they are refused */
		rig_alloc_reset(&rig);
		post_buffers(1);
		make_syn(syn, gateway_ip, port);
		put16(syn + ETH + IP, 10000 + i);
		put16(syn + ETH + IP + 16, 0);
		put16(syn + ETH + IP + 16, fold(sum16(syn + ETH + 12, 28, IPPROTO_TCP + 20)));
		send_frame(syn, sizeof(syn));
		ring_take(tx, NULL, 0);
		if (take_frame(50) && got[ETH + IP + 13] & TCP_RST)
			answered++;
		close(accept(listener, NULL, NULL));
	}
	CHECK(answered >= 60 && answered <= 70);
	end();
	close(listener);
}

int main(void)
{
	RUN(gateway_answers_arp);
	RUN(other_ethertypes_get_no_answer);
	RUN(frames_wait_in_order_until_there_is_room);
	RUN(no_frame_passes_one_that_waits);
	RUN(publish_a_taken_port);
	RUN(publish_unpublish_publish);
	RUN(connection_to_a_published_port_reaches_the_guest);
	RUN(datagram_to_a_published_port_reaches_the_guest);
	RUN(burst_of_connections_is_accepted);
	RUN(host_loopback_opens_only_when_asked);
	RUN(bad_config_is_refused);
	RUN(freed_with_everything_under_way);
	RUN(policy_decides_over_connections);
	RUN(policy_opens_no_loopback);
	RUN(policy_decides_over_datagrams);
	RUN(policy_is_asked_for_what_leaves);
	RUN(policy_decides_over_pings);
	RUN(published_port_answers_but_does_not_call);
	RUN(clients_of_published_tcp_ports);
	RUN(clients_of_published_udp_ports);
	RUN(router_is_advertised);
	RUN(connections_by_ipv6);
	RUN(port_published_at_ipv6_leads_to_the_guests_address);
	RUN(sums_of_the_guest);
	RUN(sums_to_the_guest);
	RUN(peer_that_never_reads_stalls_nobody);
	RUN(sockets_are_bounded);
	return test_done();
}
