// SPDX-License-Identifier: Apache-2.0
/* test_sockets: vm/sockets.c between a guest (over a real vsock device) and Unix sockets in a directory of its own. */
#include "vm/sockets.h"

#include "lib/util.h"
#include "tests/unit/test.h"
#include "tests/unit/vsock_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define OP(name) VIRTIO_VSOCK_OP_##name

enum { PORT = 1024, GUEST_PORT = 5000, IN_PORT = 2000, MAX_BYTES = 4 << 20 };

static char directory[] = "/tmp/test_sockets.XXXXXX";
static char path[64];
static struct guest guest;
static struct sockets *sockets;

static void start(void)
{
	guest_init(&guest, true);
	sockets = sockets_new(guest.vsock, guest.rig.loop);
}

static void end(void)
{
	sockets_free(sockets);
	guest_fini(&guest);
	unlink(path);
}

static void turn(void)
{
	for (unsigned i = 0; i < 4; i++)
		rig_turn(&guest.rig);
}

static struct sockaddr_un addr_of(const char *where)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	memcpy(addr.sun_path, where, strlen(where));
	return addr;
}

/* A program of the host that listens; one that connects. */
static int host_listens(void)
{
	struct sockaddr_un addr = addr_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 5))
		abort();
	return fd;
}

static int host_connects(void)
{
	struct sockaddr_un addr = addr_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* What the host's program finds to read; -1 when there is nothing yet. */
static ssize_t host_reads(int fd, void *buf, size_t room)
{
	return recv(fd, buf, room, MSG_DONTWAIT);
}

static uint8_t *pattern(size_t bytes)
{
	uint8_t *data = xmalloc(bytes);

	for (size_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)(i * 13 + i / 509);
	return data;
}

/* A connection from the guest to a program of the host; its end there. */
static int out_open(int listener)
{
	CHECK(guest_connect(&guest, GUEST_PORT, PORT));
	return accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

TEST(guest_reaches_the_host)
{
	int listener = host_listens(), fd;
	char buf[100];

	start();
	CHECK_INT(sockets_out(sockets, PORT, path), 0);
	CHECK_INT(sockets_out(sockets, PORT, path), -EEXIST);
	fd = out_open(listener);
	guest_send(&guest, OP(RW), GUEST_PORT, PORT, 0, "question", 8);
	CHECK_INT(host_reads(fd, buf, sizeof(buf)), 8);
	CHECK_MEM(buf, "question", 8);
	CHECK_INT(send(fd, "answer", 6, 0), 6);
	turn();
	if (CHECK(guest_expect(&guest, OP(RW), GUEST_PORT, PORT))) {
		CHECK_INT(guest.hdr.len, 6);
		CHECK_MEM(guest.payload, "answer", 6);
		CHECK_INT(guest.hdr.fwd_cnt, 8);
	}
	close(fd);
	close(listener);
	end();
}

TEST(nobody_listens_on_the_host)
{
	start();
	CHECK_INT(sockets_out(sockets, PORT, path), 0);
	guest_send(&guest, OP(REQUEST), GUEST_PORT, PORT, 0, NULL, 0);
	CHECK(guest_expect(&guest, OP(RST), GUEST_PORT, PORT));
	/* and no other port leads anywhere */
	guest_send(&guest, OP(REQUEST), GUEST_PORT, PORT + 1, 0, NULL, 0);
	CHECK(guest_expect(&guest, OP(RST), GUEST_PORT, PORT + 1));
	end();
}

TEST(half_close_goes_both_ways)
{
	int listener = host_listens(), fd;
	char buf[100];

	start();
	CHECK_INT(sockets_out(sockets, PORT, path), 0);
	fd = out_open(listener);
	guest_send(&guest, OP(RW), GUEST_PORT, PORT, 0, "last", 4);
	guest_send(&guest, OP(SHUTDOWN), GUEST_PORT, PORT, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	CHECK_INT(host_reads(fd, buf, sizeof(buf)), 4);
	CHECK_INT(host_reads(fd, buf, sizeof(buf)), 0);
	CHECK_INT(send(fd, "still", 5, MSG_NOSIGNAL), 5);
	turn();
	CHECK(guest_expect(&guest, OP(RW), GUEST_PORT, PORT));
	CHECK_MEM(guest.payload, "still", 5);
	shutdown(fd, SHUT_WR);
	turn();
	CHECK(guest_expect(&guest, OP(SHUTDOWN), GUEST_PORT, PORT));
	CHECK_INT(guest.hdr.flags, 3);
	close(fd);
	/* the host ends first */
	guest_send(&guest, OP(RST), GUEST_PORT, PORT, 0, NULL, 0);
	fd = out_open(listener);
	shutdown(fd, SHUT_WR);
	turn();
	CHECK(guest_expect(&guest, OP(SHUTDOWN), GUEST_PORT, PORT));
	CHECK_INT(guest.hdr.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_send(&guest, OP(RW), GUEST_PORT, PORT, 0, "late", 4);
	CHECK_INT(host_reads(fd, buf, sizeof(buf)), 4);
	close(fd);
	close(listener);
	end();
}

TEST(ends_that_fail_reset_the_other)
{
	int listener = host_listens(), fd;
	char buf[100];

	start();
	CHECK_INT(sockets_out(sockets, PORT, path), 0);
	fd = out_open(listener);
	close(fd);
	turn();
	CHECK(guest_expect(&guest, OP(SHUTDOWN), GUEST_PORT, PORT));
	guest_send(&guest, OP(RW), GUEST_PORT, PORT, 0, "void", 4);
	CHECK(guest_expect(&guest, OP(RST), GUEST_PORT, PORT));
	fd = out_open(listener);
	guest_send(&guest, OP(RST), GUEST_PORT, PORT, 0, NULL, 0);
	CHECK_INT(host_reads(fd, buf, sizeof(buf)), 0);
	close(fd);
	close(listener);
	end();
}

/* The host's program does not read: the guest gets no more credit than a window, and none is lost. */
TEST(a_slow_host_holds_the_guest)
{
	int listener = host_listens(), fd;
	uint8_t *data = pattern(MAX_BYTES), *got = xmalloc(MAX_BYTES);
	size_t sent = 0, have = 0;
	uint32_t credit = VSOCK_WINDOW_BYTES;

	start();
	CHECK_INT(sockets_out(sockets, PORT, path), 0);
	fd = out_open(listener);
	for (unsigned round = 0; round < 10000 && have < MAX_BYTES; round++) {
		ssize_t count;

		while (sent < MAX_BYTES && sent < credit) {
			size_t part = MIN(MIN((size_t)65536, credit - sent), MAX_BYTES - sent);

			guest_send(&guest, OP(RW), GUEST_PORT, PORT, 0, data + sent, part);
			sent += part;
			if (sent == MAX_BYTES)
				guest_send(&guest, OP(SHUTDOWN), GUEST_PORT, PORT, 3, NULL, 0); /* close(2) at once */
			while (guest_take(&guest))
				if (guest.hdr.op == OP(CREDIT_UPDATE))
					credit = guest.hdr.fwd_cnt + guest.hdr.buf_alloc;
		}
		if (round == 0)
			CHECK(sent < MAX_BYTES / 2); /* the socket's buffer and a window */
		count = host_reads(fd, got + have, MAX_BYTES - have);
		if (count > 0)
			have += (size_t)count;
		turn();
		while (guest_take(&guest))
			if (guest.hdr.op == OP(CREDIT_UPDATE))
				credit = guest.hdr.fwd_cnt + guest.hdr.buf_alloc;
	}
	CHECK_INT(have, MAX_BYTES);
	CHECK_MEM(got, data, MAX_BYTES);
	CHECK_INT(host_reads(fd, got, 1), 0);
	free(data);
	free(got);
	close(fd);
	close(listener);
	end();
}

/* The guest does not read: the host's program stalls, and nothing is lost. */
TEST(a_slow_guest_holds_the_host)
{
	int listener = host_listens(), fd;
	uint8_t *data = pattern(MAX_BYTES);
	size_t sent = 0;

	start();
	CHECK_INT(sockets_out(sockets, PORT, path), 0);
	guest.buf_alloc = 1000;
	fd = out_open(listener);
	for (unsigned i = 0; i < 1000; i++) {
		ssize_t count = send(fd, data + sent, MAX_BYTES - sent, MSG_DONTWAIT);

		sent += count > 0 ? (size_t)count : 0;
		turn();
	}
	CHECK(sent < MAX_BYTES / 2);
	guest.buf_alloc = GUEST_BUFFER_BYTES;
	for (unsigned i = 0; i < 10000 && guest.stream_bytes < MAX_BYTES; i++) {
		ssize_t count = send(fd, data + sent, MAX_BYTES - sent, MSG_DONTWAIT);

		sent += count > 0 ? (size_t)count : 0;
		if (sent == MAX_BYTES)
			shutdown(fd, SHUT_WR);
		guest_pump(&guest, true);
		guest_send(&guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0, NULL, 0);
		turn();
	}
	guest_pump(&guest, true);
	if (CHECK_INT(guest.stream_bytes, MAX_BYTES))
		CHECK_MEM(guest.stream, data, MAX_BYTES);
	CHECK_INT(guest.ops[OP(SHUTDOWN)], 1);
	free(data);
	close(fd);
	close(listener);
	end();
}

TEST(host_reaches_the_guest)
{
	uint32_t port;
	char buf[100];
	struct stat st;
	int fd;

	start();
	CHECK_INT(sockets_in(sockets, IN_PORT, path), 0);
	CHECK_INT(stat(path, &st), 0);
	CHECK_INT(st.st_mode, S_IFSOCK | 0600);
	fd = host_connects();
	CHECK_INT(send(fd, "early", 5, 0), 5);
	turn();
	if (!CHECK(guest_take(&guest)))
		return;
	CHECK_INT(guest.hdr.op, OP(REQUEST));
	CHECK_INT(guest.hdr.dst_port, IN_PORT);
	port = guest.hdr.src_port;
	turn();
	CHECK(!guest_take(&guest)); /* nothing is read before the guest has accepted */
	guest_send(&guest, OP(RESPONSE), IN_PORT, port, 0, NULL, 0);
	turn();
	CHECK(guest_expect(&guest, OP(RW), IN_PORT, port));
	CHECK_MEM(guest.payload, "early", 5);
	guest_send(&guest, OP(RW), IN_PORT, port, 0, "hello", 5);
	CHECK_INT(host_reads(fd, buf, sizeof(buf)), 5);
	close(fd);
	turn();
	CHECK(guest_expect(&guest, OP(SHUTDOWN), IN_PORT, port));
	/* refused by the guest */
	fd = host_connects();
	turn();
	CHECK(guest_take(&guest));
	guest_send(&guest, OP(RST), IN_PORT, guest.hdr.src_port, 0, NULL, 0);
	CHECK_INT(host_reads(fd, buf, sizeof(buf)), 0);
	close(fd);
	sockets_free(sockets);
	sockets = NULL;
	CHECK(lstat(path, &st) < 0 && errno == ENOENT);
	end();
}

TEST(sockets_of_the_dead_are_replaced)
{
	char file[80], buf[1];
	int listener = host_listens(), fd;

	start();
	CHECK_INT(sockets_in(sockets, IN_PORT, path), -EADDRINUSE); /* alive */
	close(listener);
	CHECK_INT(sockets_in(sockets, IN_PORT, path), 0); /* dead, its file is there */
	fd = host_connects();
	CHECK(fd >= 0);
	close(fd);
	/* one of our own is alive as well */
	CHECK_INT(sockets_in(sockets, IN_PORT + 1, path), -EADDRINUSE);
	/* another's file in our place stays when we go */
	unlink(path);
	listener = host_listens();
	sockets_free(sockets);
	sockets = NULL;
	CHECK_INT(access(path, F_OK), 0);
	close(listener);
	/* what is no socket stays in any case */
	snprintf(file, sizeof(file), "%s/file", directory);
	fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CHECK_INT(write(fd, "x", 1), 1);
	close(fd);
	sockets = sockets_new(guest.vsock, guest.rig.loop);
	CHECK_INT(sockets_in(sockets, IN_PORT, file), -EEXIST);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	CHECK_INT(read(fd, buf, 1), 1);
	close(fd);
	unlink(file);
	end();
}

TEST(paths_that_can_not_be)
{
	char text[200];

	start();
	memset(text, 'a', sizeof(text));
	text[0] = '/';
	text[108] = '\0';
	CHECK_INT(sockets_in(sockets, IN_PORT, text), -ENAMETOOLONG);
	CHECK_INT(sockets_out(sockets, PORT, text), -ENAMETOOLONG);
	CHECK_INT(sockets_in(sockets, IN_PORT, "/nonexistent/a.sock"), -ENOENT);
	end();
}

/* More at once than there may be: they wait, and have their turn. */
TEST(connections_are_bounded)
{
	static int fds[SOCKETS_LINKS_MAX + 20];
	unsigned requests = 0;
	uint32_t ports[SOCKETS_LINKS_MAX + 20];

	start();
	CHECK_INT(sockets_in(sockets, IN_PORT, path), 0);
	CHECK_INT(sockets_out(sockets, PORT, path), 0);
	for (unsigned i = 0; i < SOCKETS_LINKS_MAX + 20; i++) {
		fds[i] = host_connects();
		if (i % 10 == 0)
			turn();
	}
	turn();
	while (guest_take(&guest))
		if (guest.hdr.op == OP(REQUEST))
			ports[requests++ % ARRAY_SIZE(ports)] = guest.hdr.src_port;
	CHECK_INT(requests, SOCKETS_LINKS_MAX);
	guest_send(&guest, OP(REQUEST), GUEST_PORT, PORT, 0, NULL, 0);
	CHECK(guest_expect(&guest, OP(RST), GUEST_PORT, PORT));
	for (unsigned i = 0; i < 20; i++)
		guest_send(&guest, OP(RST), IN_PORT, ports[i], 0, NULL, 0);
	rig_run_ms(&guest.rig, 150);
	turn();
	while (guest_take(&guest))
		requests += guest.hdr.op == OP(REQUEST);
	CHECK_INT(requests, SOCKETS_LINKS_MAX + 20);
	for (unsigned i = 0; i < SOCKETS_LINKS_MAX + 20; i++)
		close(fds[i]);
	end();
}

/* The device is reset, or the guest is gone, in the middle. */
TEST(reset_in_the_middle)
{
	int listener = host_listens(), fd;
	char buf[1];

	start();
	CHECK_INT(sockets_out(sockets, PORT, path), 0);
	fd = out_open(listener);
	rig_reset(&guest.rig);
	CHECK_INT(send(fd, "void", 4, 0), 4);
	turn();
	CHECK(host_reads(fd, buf, 1) <= 0);
	close(fd);
	close(listener);
	end();
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(directory))
		return 1;
	snprintf(path, sizeof(path), "%s/a.sock", directory);
	RUN(guest_reaches_the_host);
	RUN(nobody_listens_on_the_host);
	RUN(half_close_goes_both_ways);
	RUN(ends_that_fail_reset_the_other);
	RUN(a_slow_host_holds_the_guest);
	RUN(a_slow_guest_holds_the_host);
	RUN(host_reaches_the_guest);
	RUN(sockets_of_the_dead_are_replaced);
	RUN(paths_that_can_not_be);
	RUN(connections_are_bounded);
	RUN(reset_in_the_middle);
	rmdir(directory);
	return test_done();
}
