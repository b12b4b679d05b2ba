/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_slirp: what our patches to libslirp are for (patches/libslirp). Plays a guest's TCP against the real libslirp, with
 * a listener on this host's loopback as the peer. TAP on stdout, 1 when any check failed.
 *
 * Urgent data: a guest that lies with its urgent pointer gets nothing but its own bytes sent (CVE-2026-9539). Without the
 * patch one byte makes libslirp send without end, and all five cases fail.
 * Refused connections: their SYN is freed once, also while the guest's address is not known (AddressSanitizer sees it).
 * Loopback: with disable_host_loopback no destination a guest can forge leads to this host's loopback.
 */
#include <slirp/libslirp.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FIN = 1, SYN = 2, PSH = 8, ACK = 16, URG = 32 };
enum { GUEST_PORT = 4000, MAX_POLLS = 16, PAYLOAD_MAX = 1400, RECEIVED_MAX = 1 << 20 };
enum { ETH_BYTES = 14, IP_BYTES = 20, TCP_BYTES = 20, HEADER_BYTES = ETH_BYTES + IP_BYTES + TCP_BYTES };

static const uint8_t guest_mac[6] = { 0x52, 0x54, 0, 0, 0, 1 };
static const uint8_t gateway_ip[4] = { 10, 0, 2, 2 }, guest_ip[4] = { 10, 0, 2, 15 };

static int number, failed;
static Slirp *slirp;
static struct pollfd polls[MAX_POLLS];
static int poll_count;

/* The guest's side of its one connection. */
static uint8_t peer_ip[4];
static uint16_t port;
static uint32_t seq, ack;
static bool established, unreachable;

/* The host's side. */
static uint8_t received[RECEIVED_MAX];
static size_t received_bytes;

static void check(bool good, const char *what)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++number, what);
	failed |= !good;
}

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t sum(const uint8_t *at, size_t bytes, uint32_t total)
{
	for (size_t i = 0; i < bytes; i++)
		total += i & 1 ? at[i] : (uint32_t)at[i] << 8;
	return total;
}

static unsigned fold(uint32_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return ~total & 0xffff;
}

/* One segment from the guest. */
static void guest_send(unsigned flags, uint32_t at_seq, unsigned urgent, const uint8_t *data, size_t bytes)
{
	uint8_t frame[HEADER_BYTES + PAYLOAD_MAX] = { 0 };
	uint8_t *ip = frame + ETH_BYTES, *tcp = ip + IP_BYTES;

	memcpy(frame, (uint8_t[]){ 0x52, 0x55, 10, 0, 2, 2 }, 6);
	memcpy(frame + 6, guest_mac, 6);
	put16(frame + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, (unsigned)(IP_BYTES + TCP_BYTES + bytes));
	ip[8] = 64;
	ip[9] = IPPROTO_TCP;
	memcpy(ip + 12, guest_ip, 4);
	memcpy(ip + 16, peer_ip, 4);
	put16(ip + 10, fold(sum(ip, IP_BYTES, 0)));
	put16(tcp, GUEST_PORT);
	put16(tcp + 2, port);
	put32(tcp + 4, at_seq);
	put32(tcp + 8, flags & ACK ? ack : 0);
	tcp[12] = TCP_BYTES / 4 << 4;
	tcp[13] = (uint8_t)flags;
	put16(tcp + 14, 65535);
	put16(tcp + 18, urgent);
	if (bytes)
		memcpy(tcp + TCP_BYTES, data, bytes);
	put16(tcp + 16, fold(sum(tcp, TCP_BYTES + bytes, sum(ip + 12, 8, (uint32_t)(IPPROTO_TCP + TCP_BYTES + bytes)))));
	slirp_input(slirp, frame, (int)(HEADER_BYTES + bytes));
}

static void guest_answer_arp(void)
{
	uint8_t frame[42] = { 0 };

	memset(frame, 0xff, 6);
	memcpy(frame + 6, guest_mac, 6);
	memcpy(frame + 12, (uint8_t[]){ 8, 6, 0, 1, 8, 0, 6, 4, 0, 2 }, 10);
	memcpy(frame + 22, guest_mac, 6);
	memcpy(frame + 28, guest_ip, 4);
	memcpy(frame + 38, gateway_ip, 4);
	slirp_input(slirp, frame, sizeof(frame));
}

/* What libslirp sends to the guest: only how the handshake ends matters here. */
static ssize_t on_packet(const void *buf, size_t len, void *ctx)
{
	const uint8_t *frame = buf, *ip = frame + ETH_BYTES, *tcp = ip + IP_BYTES;

	(void)ctx;
	if (len < HEADER_BYTES || frame[12] != 8 || frame[13] != 0)
		return (ssize_t)len;
	if (ip[9] == IPPROTO_TCP && (tcp[13] & (SYN | ACK)) == (SYN | ACK)) {
		ack = get32(tcp + 4) + 1;
		established = true;
	}
	unreachable |= ip[9] == IPPROTO_ICMP && tcp[0] == 3;
	return (ssize_t)len;
}

static void on_guest_error(const char *message, void *ctx)
{
	(void)ctx;
	fprintf(stderr, "guest error: %s\n", message);
}

static int64_t on_clock(void *ctx)
{
	struct timespec now;

	(void)ctx;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void *on_timer_new(SlirpTimerCb fn, void *fn_ctx, void *ctx)
{
	(void)fn, (void)fn_ctx, (void)ctx;
	return &slirp;
}

static void on_timer_free(void *timer, void *ctx)
{
	(void)timer, (void)ctx;
}

static void on_timer_mod(void *timer, int64_t when_ms, void *ctx)
{
	(void)timer, (void)when_ms, (void)ctx;
}

static void on_fd(int fd, void *ctx)
{
	(void)fd, (void)ctx;
}

static void on_notify(void *ctx)
{
	(void)ctx;
}

static int on_add_poll(int fd, int events, void *ctx)
{
	short wanted = 0;

	(void)ctx;
	wanted |= events & SLIRP_POLL_IN ? POLLIN : 0;
	wanted |= events & SLIRP_POLL_OUT ? POLLOUT : 0;
	wanted |= events & SLIRP_POLL_PRI ? POLLPRI : 0;
	if (poll_count == MAX_POLLS)
		return -1;
	polls[poll_count] = (struct pollfd){ .fd = fd, .events = wanted };
	return poll_count++;
}

static int on_revents(int index, void *ctx)
{
	short got = polls[index].revents;

	(void)ctx;
	return (got & POLLIN ? SLIRP_POLL_IN : 0) | (got & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (got & POLLPRI ? SLIRP_POLL_PRI : 0) | (got & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (got & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static void turn(int max_ms)
{
	uint32_t timeout_ms = (uint32_t)max_ms;

	poll_count = 0;
	slirp_pollfds_fill(slirp, &timeout_ms, on_add_poll, NULL);
	slirp_pollfds_poll(slirp, poll(polls, (nfds_t)poll_count, (int)timeout_ms) < 0, on_revents, NULL);
}

/* Turns until the host side has been quiet for a while or has what was expected. */
static void host_receive(int fd, size_t expected)
{
	for (int quiet = 0; quiet < 10;) {
		ssize_t got;

		turn(1);
		got = recv(fd, received + received_bytes, RECEIVED_MAX - received_bytes, MSG_DONTWAIT);
		if (got > 0)
			received_bytes += (size_t)got;
		quiet = got > 0 || received_bytes < expected ? quiet + 1 : quiet + 4;
	}
}

static int guest_connect(int listener)
{
	const int on = 1;
	int fd;

	established = unreachable = false;
	seq = 1000;
	guest_send(SYN, seq++, 0, NULL, 0);
	for (int i = 0; i < 100 && !established && !unreachable; i++)
		turn(10);
	if (!established)
		return -1;
	guest_send(ACK, seq, 0, NULL, 0);
	fd = accept(listener, NULL, NULL);
	setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
	received_bytes = 0;
	return fd;
}

/* The n-th byte the guest sends is known, so that a byte that is not the guest's shows. */
static uint8_t pattern(size_t n)
{
	return (uint8_t)(n * 7 + (n >> 8) + 1);
}

static size_t sent_bytes;

static void guest_data(unsigned flags, unsigned urgent, size_t bytes)
{
	uint8_t data[PAYLOAD_MAX];

	for (size_t i = 0; i < bytes; i++)
		data[i] = pattern(sent_bytes + i);
	guest_send(flags | ACK | PSH, seq, urgent, data, bytes);
	seq += (uint32_t)bytes;
	sent_bytes += bytes;
}

static bool received_what_was_sent(void)
{
	if (received_bytes != sent_bytes) {
		printf("# %zu bytes sent, %zu received\n", sent_bytes, received_bytes);
		return false;
	}
	for (size_t i = 0; i < received_bytes; i++)
		if (received[i] != pattern(i))
			return false;
	return true;
}

static void scenario(int listener, void (*play)(int fd), const char *what)
{
	int fd;

	sent_bytes = 0;
	fd = guest_connect(listener);
	if (fd < 0) {
		check(false, "connects");
		return;
	}
	play(fd);
	host_receive(fd, sent_bytes);
	check(received_what_was_sent(), what);
	guest_send(FIN | ACK, seq, 0, NULL, 0);
	close(fd);
	for (int i = 0; i < 5; i++)
		turn(5);
	slirp_cleanup(slirp);
}

static void play_honest(int fd)
{
	(void)fd;
	guest_data(0, 0, 100);
	guest_data(URG, 5, 5);
	guest_data(0, 0, 100);
	guest_data(URG, 50, 20);
	guest_data(0, 0, 30);
	guest_data(0, 0, 100);
}

static void play_more_than_sent(int fd)
{
	(void)fd;
	guest_data(URG, 2000, 1);
}

static void play_behind_window(int fd)
{
	guest_data(0, 0, 1000);
	host_receive(fd, 1000);
	guest_send(URG | ACK, seq - 900, 500, NULL, 0);
	guest_data(0, 0, 1);
}

static void play_ahead_of_window(int fd)
{
	(void)fd;
	guest_send(URG | ACK, seq + 60000, 65535, NULL, 0);
	guest_data(0, 0, 1);
}

/* Far enough for the receive buffer (128 KiB) to wrap twice. */
static void play_around_the_buffer(int fd)
{
	for (int i = 0; i < 300; i++) {
		guest_data(URG, 2000, 997);
		host_receive(fd, sent_bytes);
	}
}

static void start_silent(bool loopback, const char *peer)
{
	static const SlirpCb callbacks = {
		.send_packet = on_packet,
		.guest_error = on_guest_error,
		.clock_get_ns = on_clock,
		.timer_new = on_timer_new,
		.timer_free = on_timer_free,
		.timer_mod = on_timer_mod,
		.register_poll_fd = on_fd,
		.unregister_poll_fd = on_fd,
		.notify = on_notify,
	};
	SlirpConfig config = { .version = 4, .in_enabled = true, .disable_host_loopback = !loopback };

	inet_pton(AF_INET, "10.0.2.0", &config.vnetwork);
	inet_pton(AF_INET, "255.255.255.0", &config.vnetmask);
	inet_pton(AF_INET, "10.0.2.2", &config.vhost);
	inet_pton(AF_INET, "10.0.2.3", &config.vnameserver);
	inet_pton(AF_INET, "10.0.2.15", &config.vdhcp_start);
	inet_pton(AF_INET, peer, peer_ip);
	slirp = slirp_new(&config, &callbacks, NULL);
	if (!slirp)
		exit(1);
}

static void start(bool loopback, const char *peer)
{
	start_silent(loopback, peer);
	guest_answer_arp();
}

static bool refuse(int protocol, const struct sockaddr *to, uint16_t forwarded, void *ctx)
{
	(void)protocol, (void)to, (void)forwarded, (void)ctx;
	return false;
}

/*
 * More SYNs than libslirp keeps buffers for, refused, from a guest that does not answer ARP. By policy, since not every
 * kernel's connect() to a closed port of its own fails at once.
 */
static void test_refused(void)
{
	const SlirpPolicy policy = { .may_send = refuse };

	start_silent(true, "10.0.2.2");
	slirp_set_policy(slirp, &policy);
	for (int i = 0; i < 60; i++) {
		seq += 1000;
		guest_send(SYN, seq, 0, NULL, 0);
	}
	turn(1);
	guest_answer_arp();
	turn(1);
	slirp_cleanup(slirp);
	check(true, "refused connections leave nothing behind");
}

static void test_loopback(int listener)
{
	static const char *const peers[] = { "10.0.2.2", "255.255.255.255", "127.0.0.1", "127.8.9.10", "0.0.0.0" };

	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		start(false, peers[i]);
		printf("# %s\n", peers[i]);
		check(guest_connect(listener) < 0 && unreachable, "loopback is closed");
		slirp_cleanup(slirp);
	}
}

int main(void)
{
	static const struct {
		void (*play)(int fd);
		const char *what;
	} plays[] = {
		{ play_honest, "honest urgent data arrives as it is" },
		{ play_more_than_sent, "more urgent data announced than sent" },
		{ play_behind_window, "urgent data in front of the window" },
		{ play_ahead_of_window, "urgent data far behind the window" },
		{ play_around_the_buffer, "announced ahead, all around the buffer" },
	};
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t addr_bytes = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	alarm(120); /* what corrupts a list may never end */
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(listener, 8) < 0 ||
	    getsockname(listener, (struct sockaddr *)&addr, &addr_bytes) < 0) {
		perror("no listener on the loopback");
		return 1;
	}
	port = ntohs(addr.sin_port);
	for (size_t i = 0; i < sizeof(plays) / sizeof(plays[0]); i++) {
		start(true, "10.0.2.2");
		scenario(listener, plays[i].play, plays[i].what);
	}
	test_loopback(listener);
	test_refused();
	printf("1..%d\n", number);
	close(listener);
	return failed;
}
