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
};

static const uint8_t mac[6] = { 0x02, 0, 0, 0x11, 0x22, 0x33 };
static const uint8_t guest_ip[4] = { 10, 0, 2, 15 }, gateway_ip[4] = { 10, 0, 2, 2 };

static struct rig rig;
static struct net *net;
static struct net_slirp *slirp;
static struct ring *rx = &rig.rings[0], *tx = &rig.rings[1];
static uint8_t got[BUFFER_BYTES]; /* the frame taken last, without virtio header */

static void begin_with(bool host_loopback)
{
	const struct net_slirp_config config = { .hostname = "pod", .mac = mac, .mtu = 1500, .host_loopback = host_loopback };

	rig_init(&rig);
	net = net_new(&rig.env, mac, 1500);
	slirp = net_slirp_new(rig.loop, net, &config);
	CHECK(slirp != NULL);
	CHECK(rig_start(&rig, net_dev(net), 0));
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
	put16(tcp, 40000);
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
	return test_done();
}
