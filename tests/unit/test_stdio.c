// SPDX-License-Identifier: Apache-2.0
/* test_stdio: vm/stdio.c between a guest's streams (over a real vsock device) and pipes, files and sockets. */
#include "vm/stdio.h"

#include "lib/util.h"
#include "pod/abi.h"
#include "pod/wire.h"
#include "tests/unit/test.h"
#include "tests/unit/vsock_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define OP(name) VIRTIO_VSOCK_OP_##name

enum { TURNS = 4, MAX_BYTES = 4 << 20, CONTAINERS = 64, EXEC = WIRE_EXEC_FIRST + 7 };

struct pod {
	struct guest guest;
	struct streams *streams;
	struct stdio *stdio;
	unsigned drained, lost[3];
	int err[3];
};

static void on_drained(void *ctx)
{
	((struct pod *)ctx)->drained++;
}

static void on_lost(void *ctx, int fd, int err)
{
	struct pod *pod = ctx;

	pod->lost[fd]++;
	pod->err[fd] = err;
}

static const struct stdio_user user = {on_drained, on_lost};

static void start_with(struct pod *pod, const struct stdio_config *like)
{
	struct stdio_config config = *like;

	*pod = (struct pod){0};
	guest_init(&pod->guest, true);
	config.streams = pod->streams = streams_new(pod->guest.vsock);
	config.loop = pod->guest.rig.loop;
	pod->stdio = stdio_new(&config, &user, pod);
}

/* As the pod has it: all its containers. */
static void start(struct pod *pod, int in, int out, int err)
{
	start_with(pod, &(struct stdio_config){.count = CONTAINERS, .fds = {in, out, err}});
}

/* As an exec has it: one target, not the first. */
static void start_exec(struct pod *pod, int in, int out, int err)
{
	start_with(pod, &(struct stdio_config){.first = EXEC, .count = 1, .fds = {in, out, err}, .hang_up = true});
}

static void end(struct pod *pod)
{
	stdio_free(pod->stdio);
	streams_free(pod->streams);
	guest_fini(&pod->guest);
}

static void turn(struct pod *pod)
{
	for (unsigned i = 0; i < TURNS; i++)
		rig_turn(&pod->guest.rig);
}

static void pipe_new(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC))
		abort();
}

static void pipe_close(int ends[2])
{
	close(ends[0]);
	close(ends[1]);
}

/* Opens a stream; its guest port is the number to speak of it. */
static bool stream_open(struct pod *pod, uint32_t port, uint32_t container, enum wire_stream stream)
{
	struct wire_stream_hello hello = {.magic = WIRE_STREAM_MAGIC, .target = container, .stream = stream};

	if (!guest_connect(&pod->guest, port, ABI_PORT_STREAM))
		return false;
	guest_send(&pod->guest, OP(RW), port, ABI_PORT_STREAM, 0, &hello, sizeof(hello));
	return true;
}

static void stream_send(struct pod *pod, uint32_t port, const void *bytes, size_t count)
{
	guest_send(&pod->guest, OP(RW), port, ABI_PORT_STREAM, 0, bytes, count);
}

static void stream_end(struct pod *pod, uint32_t port)
{
	guest_send(&pod->guest, OP(SHUTDOWN), port, ABI_PORT_STREAM, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
}

static void stream_close(struct pod *pod, uint32_t port)
{
	guest_send(&pod->guest, OP(SHUTDOWN), port, ABI_PORT_STREAM, 3, NULL, 0);
}

/* Bytes that lie ready in a pipe or socket, at most room. */
static size_t take(int fd, uint8_t *bytes, size_t room)
{
	int flags = fcntl(fd, F_GETFL);
	size_t count = 0;
	ssize_t got;

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while (count < room && (got = read(fd, bytes + count, room - count)) > 0)
		count += (size_t)got;
	fcntl(fd, F_SETFL, flags);
	return count;
}

static uint8_t *pattern(size_t bytes, uint8_t seed)
{
	uint8_t *data = xmalloc(bytes);

	for (size_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)(seed + i * 7 + i / 251);
	return data;
}

TEST(output_goes_to_its_descriptor)
{
	struct pod pod;
	int out[2], err[2];
	uint8_t got[64];

	pipe_new(out);
	pipe_new(err);
	start(&pod, -1, out[1], err[1]);
	CHECK(stdio_drained(pod.stdio));
	CHECK(stream_open(&pod, 1, 0, WIRE_STDOUT));
	CHECK(stream_open(&pod, 2, 0, WIRE_STDERR));
	CHECK(stream_open(&pod, 3, 5, WIRE_STDOUT));
	CHECK(!stdio_drained(pod.stdio));
	stream_send(&pod, 1, "one\0", 4);
	stream_send(&pod, 2, "two", 3);
	stream_send(&pod, 3, "three", 5);
	CHECK_INT(take(out[0], got, sizeof(got)), 9);
	CHECK_MEM(got, "one\0three", 9);
	CHECK_INT(take(err[0], got, sizeof(got)), 3);
	CHECK_MEM(got, "two", 3);
	stream_end(&pod, 1);
	CHECK(guest_expect(&pod.guest, OP(SHUTDOWN), 1, ABI_PORT_STREAM));
	stream_close(&pod, 2);
	CHECK_INT(pod.drained, 0);
	guest_send(&pod.guest, OP(RST), 3, ABI_PORT_STREAM, 0, NULL, 0);
	CHECK_INT(pod.drained, 1);
	CHECK(stdio_drained(pod.stdio));
	/* started again: new streams */
	CHECK(guest_expect(&pod.guest, OP(RST), 2, ABI_PORT_STREAM));
	CHECK(stream_open(&pod, 4, 0, WIRE_STDOUT));
	CHECK(!stdio_drained(pod.stdio));
	stream_close(&pod, 4);
	CHECK_INT(pod.drained, 2);
	end(&pod);
	pipe_close(out);
	pipe_close(err);
}

TEST(flags_of_the_user_stay)
{
	struct pod pod;
	int in[2], out[2];

	pipe_new(in);
	pipe_new(out);
	start(&pod, in[0], out[1], out[1]);
	CHECK(stream_open(&pod, 1, 0, WIRE_STDOUT));
	CHECK(stream_open(&pod, 2, 0, WIRE_STDIN));
	stream_send(&pod, 1, "x", 1);
	turn(&pod);
	CHECK(!(fcntl(in[0], F_GETFL) & O_NONBLOCK));
	CHECK(!(fcntl(out[1], F_GETFL) & O_NONBLOCK));
	end(&pod);
	pipe_close(in);
	pipe_close(out);
}

/* A full pipe: the guest may use up its window, nothing blocks, and all bytes come when the reader reads. */
static void slow_reader(int reader, int writer)
{
	enum { BYTES = VSOCK_WINDOW_BYTES };
	uint8_t *data = pattern(BYTES, 1), *got = xmalloc(MAX_BYTES);
	struct pod pod;
	size_t count = 0;

	start(&pod, -1, writer, -1);
	CHECK(stream_open(&pod, 1, 0, WIRE_STDOUT));
	for (size_t at = 0; at < BYTES; at += 16384)
		stream_send(&pod, 1, data + at, 16384);
	stream_close(&pod, 1);
	turn(&pod);
	CHECK(!stdio_drained(pod.stdio));
	for (unsigned i = 0; i < 1000 && !stdio_drained(pod.stdio); i++) {
		count += take(reader, got + count, MAX_BYTES - count);
		turn(&pod);
	}
	count += take(reader, got + count, MAX_BYTES - count);
	CHECK_INT(pod.drained, 1);
	if (CHECK_INT(count, BYTES))
		CHECK_MEM(got, data, BYTES);
	end(&pod);
	free(data);
	free(got);
}

TEST(slow_pipe)
{
	int out[2];

	pipe_new(out);
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	slow_reader(out[0], out[1]);
	pipe_close(out);
}

/* A pipe of somebody else's can not be opened anew; then it is written in small bites. */
TEST(slow_pipe_of_another_user)
{
	int out[2];

	pipe_new(out);
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	if (geteuid() != 0 || seteuid(65534))
		SKIP("only root can be another user");
	slow_reader(out[0], out[1]);
	CHECK(!seteuid(0));
	pipe_close(out);
}

TEST(slow_socket)
{
	int out[2], small = 4096;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out))
		abort();
	setsockopt(out[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	slow_reader(out[0], out[1]);
	pipe_close(out);
}

TEST(credit_only_for_written_bytes)
{
	enum { BYTES = VSOCK_WINDOW_BYTES - sizeof(struct wire_stream_hello) };
	uint8_t *data = pattern(BYTES, 1), *got = xmalloc(MAX_BYTES);
	struct pod pod;
	int out[2];

	pipe_new(out);
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	start(&pod, -1, out[1], -1);
	CHECK(stream_open(&pod, 1, 0, WIRE_STDOUT));
	stream_send(&pod, 1, data, BYTES);
	guest_send(&pod.guest, OP(CREDIT_REQUEST), 1, ABI_PORT_STREAM, 0, NULL, 0);
	CHECK(guest_expect(&pod.guest, OP(CREDIT_UPDATE), 1, ABI_PORT_STREAM));
	CHECK_INT(pod.guest.hdr.fwd_cnt, sizeof(struct wire_stream_hello) + 4096);
	take(out[0], got, 4096);
	turn(&pod);
	guest_send(&pod.guest, OP(CREDIT_REQUEST), 1, ABI_PORT_STREAM, 0, NULL, 0);
	CHECK(guest_expect(&pod.guest, OP(CREDIT_UPDATE), 1, ABI_PORT_STREAM));
	CHECK_INT(pod.guest.hdr.fwd_cnt, sizeof(struct wire_stream_hello) + 2 * 4096);
	end(&pod);
	pipe_close(out);
	free(data);
	free(got);
}

TEST(streams_take_turns)
{
	enum { BYTES = 100000 };
	uint8_t *got = xmalloc(MAX_BYTES), *data = xmalloc(BYTES);
	size_t count = 0, ones = 0, early_twos = 0;
	struct pod pod;
	int out[2];

	pipe_new(out);
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	start(&pod, -1, out[1], -1);
	for (uint32_t i = 1; i <= 2; i++) {
		CHECK(stream_open(&pod, i, i, WIRE_STDOUT));
		memset(data, (int)i, BYTES);
		stream_send(&pod, i, data, BYTES);
		stream_end(&pod, i);
	}
	for (unsigned i = 0; i < 1000 && !stdio_drained(pod.stdio); i++) {
		count += take(out[0], got + count, MAX_BYTES - count);
		turn(&pod);
	}
	count += take(out[0], got + count, MAX_BYTES - count);
	CHECK_INT(count, 2 * BYTES);
	for (size_t i = 0; i < count; i++) {
		ones += got[i] == 1;
		early_twos += i < BYTES && got[i] == 2;
	}
	CHECK_INT(ones, BYTES);
	CHECK(early_twos > BYTES / 3 && early_twos < BYTES * 2 / 3);
	end(&pod);
	pipe_close(out);
	free(got);
	free(data);
}

TEST(no_byte_overtakes)
{
	uint8_t data[10000], got[16384];
	size_t count;
	struct pod pod;
	int out[2];

	pipe_new(out);
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	start(&pod, -1, out[1], -1);
	CHECK(stream_open(&pod, 1, 0, WIRE_STDOUT));
	memset(data, 'a', sizeof(data));
	stream_send(&pod, 1, data, sizeof(data));
	count = take(out[0], got, sizeof(got)); /* room again, of which the loop does not know yet */
	stream_send(&pod, 1, "z", 1);
	for (unsigned i = 0; i < 10; i++) {
		turn(&pod);
		count += take(out[0], got + count, sizeof(got) - count);
	}
	CHECK_INT(count, sizeof(data) + 1);
	CHECK_INT(got[sizeof(data)], 'z');
	end(&pod);
	pipe_close(out);
}

TEST(a_stream_goes_when_its_turn_would_come)
{
	uint8_t data[10000] = {0}, got[16384];
	struct pod pod;
	int out[2];

	pipe_new(out);
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	start(&pod, -1, out[1], -1);
	CHECK(stream_open(&pod, 1, 1, WIRE_STDOUT));
	CHECK(stream_open(&pod, 2, 2, WIRE_STDOUT));
	for (unsigned round = 0; round < 2; round++) {
		stream_send(&pod, 2, data, sizeof(data));
		for (unsigned i = 0; i < 4; i++) {
			turn(&pod);
			take(out[0], got, sizeof(got));
		}
		if (round == 0)
			stream_close(&pod, 1); /* it had nothing to write and was next */
	}
	stream_close(&pod, 2);
	CHECK_INT(pod.drained, 1);
	end(&pod);
	pipe_close(out);
}

TEST(regular_files)
{
	char path[] = "/tmp/test_stdio.XXXXXX";
	uint8_t *data = pattern(100000, 3), *got = xmalloc(MAX_BYTES);
	int file = mkstemp(path), in = open(path, O_RDONLY | O_CLOEXEC);
	struct pod pod;

	/* The offset is shared: what was written before is not overwritten. */
	CHECK(!write_all(file, "before", 6));
	start(&pod, in, file, -1);
	CHECK(stream_open(&pod, 1, 0, WIRE_STDOUT));
	stream_send(&pod, 1, data, 100000);
	stream_end(&pod, 1);
	CHECK(stdio_drained(pod.stdio));
	CHECK_INT(lseek(file, 0, SEEK_CUR), 100006);
	guest_pump(&pod.guest, true);
	CHECK(stream_open(&pod, 2, 0, WIRE_STDIN));
	for (unsigned i = 0; i < 20; i++) {
		guest_pump(&pod.guest, true);
		guest_send(&pod.guest, OP(CREDIT_UPDATE), 2, ABI_PORT_STREAM, 0, NULL, 0);
	}
	if (CHECK_INT(pod.guest.stream_bytes, 100006)) {
		CHECK_MEM(pod.guest.stream, "before", 6);
		CHECK_MEM(pod.guest.stream + 6, data, 100000);
	}
	CHECK_INT(pod.guest.hdr.op, OP(SHUTDOWN));
	end(&pod);
	close(file);
	close(in);
	unlink(path);
	free(data);
	free(got);
}

TEST(reader_gone)
{
	struct pod pod;
	int out[2];
	uint8_t *data = pattern(65536, 0);

	pipe_new(out);
	start(&pod, -1, out[1], -1);
	CHECK(stream_open(&pod, 1, 0, WIRE_STDOUT));
	close(out[0]);
	stream_send(&pod, 1, "x", 1);
	CHECK_INT(pod.lost[1], 1);
	CHECK_INT(pod.err[1], EPIPE);
	/* The rest is taken and thrown away, without an end. */
	for (unsigned i = 0; i < 64; i++)
		stream_send(&pod, 1, data, 65536);
	CHECK_INT(pod.lost[1], 1);
	guest_pump(&pod.guest, false);
	CHECK_INT(pod.guest.ops[OP(RST)], 0);
	CHECK(pod.guest.ops[OP(CREDIT_UPDATE)] > 0);
	stream_end(&pod, 1);
	CHECK_INT(pod.drained, 1);
	end(&pod);
	close(out[1]);
	free(data);
}

TEST(reader_gone_while_bytes_wait)
{
	struct pod pod;
	int out[2];
	uint8_t *data = pattern(65536, 0);

	pipe_new(out);
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	start(&pod, -1, out[1], -1);
	for (uint32_t i = 1; i < 4; i++) {
		CHECK(stream_open(&pod, i, i, WIRE_STDOUT));
		stream_send(&pod, i, data, 65536);
	}
	stream_close(&pod, 1);
	CHECK(guest_expect(&pod.guest, OP(RST), 1, ABI_PORT_STREAM));
	stream_end(&pod, 2);
	turn(&pod);
	CHECK_INT(pod.lost[1], 0);
	close(out[0]);
	turn(&pod);
	CHECK_INT(pod.lost[1], 1);
	CHECK_INT(pod.err[1], EPIPE);
	CHECK_INT(pod.drained, 0);
	/* What waited counts as consumed, lest the guest waits for ever. */
	while (guest_take(&pod.guest))
		;
	guest_send(&pod.guest, OP(CREDIT_REQUEST), 3, ABI_PORT_STREAM, 0, NULL, 0);
	CHECK(guest_expect(&pod.guest, OP(CREDIT_UPDATE), 3, ABI_PORT_STREAM));
	CHECK_INT(pod.guest.hdr.fwd_cnt, sizeof(struct wire_stream_hello) + 65536);
	stream_close(&pod, 3);
	CHECK_INT(pod.drained, 1);
	end(&pod);
	close(out[1]);
	free(data);
}

TEST(disk_full)
{
	struct pod pod;
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	if (full < 0)
		SKIP("no /dev/full here");
	start(&pod, -1, full, full);
	CHECK(stream_open(&pod, 1, 0, WIRE_STDOUT));
	CHECK(stream_open(&pod, 2, 0, WIRE_STDERR));
	stream_send(&pod, 1, "x", 1);
	stream_send(&pod, 1, "x", 1);
	stream_send(&pod, 2, "x", 1);
	CHECK_INT(pod.lost[1], 1);
	CHECK_INT(pod.err[1], ENOSPC);
	CHECK_INT(pod.lost[2], 1);
	end(&pod);
	close(full);
}

TEST(no_descriptors)
{
	struct pod pod;
	enum { gone = 987 }; /* no such descriptor */

	start(&pod, gone, gone, -1);
	CHECK(stream_open(&pod, 1, 0, WIRE_STDOUT));
	CHECK(stream_open(&pod, 2, 0, WIRE_STDERR));
	stream_send(&pod, 1, "x", 1);
	stream_send(&pod, 2, "x", 1);
	CHECK_INT(pod.lost[1], 1);
	CHECK_INT(pod.err[1], EBADF);
	CHECK_INT(pod.lost[2], 0); /* -1: nobody wanted it */
	CHECK(stream_open(&pod, 3, 0, WIRE_STDIN));
	CHECK(guest_expect(&pod.guest, OP(SHUTDOWN), 3, ABI_PORT_STREAM));
	end(&pod);
}

TEST(input_goes_to_the_first_container)
{
	struct pod pod;
	int in[2];

	pipe_new(in);
	CHECK(!write_all(in[1], "early", 5));
	start(&pod, in[0], -1, -1);
	turn(&pod);
	CHECK(stream_open(&pod, 1, 1, WIRE_STDIN));
	CHECK(guest_expect(&pod.guest, OP(SHUTDOWN), 1, ABI_PORT_STREAM));
	CHECK(stream_open(&pod, 2, 0, WIRE_STDIN));
	turn(&pod);
	CHECK(guest_expect(&pod.guest, OP(RW), 2, ABI_PORT_STREAM));
	CHECK_INT(pod.guest.hdr.len, 5);
	CHECK_MEM(pod.guest.payload, "early", 5);
	CHECK(!write_all(in[1], "late", 4));
	close(in[1]);
	turn(&pod);
	CHECK(guest_expect(&pod.guest, OP(RW), 2, ABI_PORT_STREAM));
	CHECK_MEM(pod.guest.payload, "late", 4);
	turn(&pod);
	CHECK(guest_expect(&pod.guest, OP(SHUTDOWN), 2, ABI_PORT_STREAM));
	CHECK_INT(pod.guest.hdr.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	CHECK(stdio_drained(pod.stdio));
	/* it starts again, and finds the end again */
	stream_close(&pod, 2);
	CHECK(guest_expect(&pod.guest, OP(RST), 2, ABI_PORT_STREAM));
	CHECK(stream_open(&pod, 3, 0, WIRE_STDIN));
	CHECK(guest_expect(&pod.guest, OP(SHUTDOWN), 3, ABI_PORT_STREAM));
	end(&pod);
	close(in[0]);
}

TEST(input_waits_for_the_guest)
{
	enum { BYTES = 1 << 20 };
	char path[] = "/tmp/test_stdio.XXXXXX";
	uint8_t *data = pattern(BYTES, 9);
	int file = mkstemp(path);
	struct pod pod;
	size_t before;

	CHECK(!write_all(file, data, BYTES));
	lseek(file, 0, SEEK_SET);
	start(&pod, file, -1, -1);
	pod.guest.buf_alloc = 5000;
	CHECK(stream_open(&pod, 1, 0, WIRE_STDIN));
	for (unsigned i = 0; i < 100; i++)
		turn(&pod);
	/* what was read ahead is bounded */
	CHECK(lseek(file, 0, SEEK_CUR) <= VSOCK_SEND_BYTES + 32768);
	pod.guest.buf_alloc = 1 << 20;
	do {
		before = pod.guest.stream_bytes;
		guest_send(&pod.guest, OP(CREDIT_UPDATE), 1, ABI_PORT_STREAM, 0, NULL, 0);
		guest_pump(&pod.guest, true);
		turn(&pod);
		guest_pump(&pod.guest, true);
	} while (pod.guest.stream_bytes != before);
	if (CHECK_INT(pod.guest.stream_bytes, BYTES))
		CHECK_MEM(pod.guest.stream, data, BYTES);
	CHECK_INT(pod.guest.ops[OP(SHUTDOWN)], 1);
	end(&pod);
	close(file);
	unlink(path);
	free(data);
}

TEST(input_that_can_not_be_read)
{
	struct pod pod;
	int in = open("/dev/null", O_WRONLY | O_CLOEXEC);

	start(&pod, in, -1, -1);
	CHECK(stream_open(&pod, 1, 0, WIRE_STDIN));
	turn(&pod);
	CHECK(guest_expect(&pod.guest, OP(SHUTDOWN), 1, ABI_PORT_STREAM));
	end(&pod);
	close(in);
}

TEST(tty_goes_both_ways)
{
	struct pod pod;
	int in[2], out[2];
	uint8_t got[16];

	pipe_new(in);
	pipe_new(out);
	start(&pod, in[0], out[1], -1);
	CHECK(stream_open(&pod, 1, 0, WIRE_TTY));
	CHECK(!write_all(in[1], "ls\r", 3));
	turn(&pod);
	CHECK(guest_expect(&pod.guest, OP(RW), 1, ABI_PORT_STREAM));
	CHECK_MEM(pod.guest.payload, "ls\r", 3);
	stream_send(&pod, 1, "file\r\n", 6);
	CHECK_INT(take(out[0], got, sizeof(got)), 6);
	CHECK_MEM(got, "file\r\n", 6);
	stream_end(&pod, 1);
	CHECK_INT(pod.drained, 1);
	CHECK(guest_expect(&pod.guest, OP(SHUTDOWN), 1, ABI_PORT_STREAM));
	CHECK(!write_all(in[1], "more", 4));
	turn(&pod);
	CHECK(!guest_take(&pod.guest));
	end(&pod);
	pipe_close(in);
	pipe_close(out);
}

TEST(bad_streams_are_cut_off)
{
	struct pod pod;

	start(&pod, -1, -1, -1);
	CHECK(stream_open(&pod, 1, 0, WIRE_STDOUT));
	CHECK(stream_open(&pod, 2, 0, WIRE_STDOUT)); /* one like it is there */
	CHECK(guest_expect(&pod.guest, OP(RST), 2, ABI_PORT_STREAM));
	CHECK(stream_open(&pod, 3, 1, WIRE_STDIN));
	CHECK(guest_expect(&pod.guest, OP(SHUTDOWN), 3, ABI_PORT_STREAM));
	stream_send(&pod, 3, "x", 1);
	CHECK(guest_expect(&pod.guest, OP(RST), 3, ABI_PORT_STREAM));
	CHECK_INT(pod.drained, 0);
	end(&pod);
}

TEST(hello_in_pieces_with_data_behind)
{
	struct wire_stream_hello hello = {WIRE_STREAM_MAGIC, 0, WIRE_STDOUT};
	uint8_t bytes[sizeof(hello) + 3], got[16];
	struct pod pod;
	int out[2];

	pipe_new(out);
	start(&pod, -1, out[1], -1);
	memcpy(bytes, &hello, sizeof(hello));
	memcpy(bytes + sizeof(hello), "abc", 3);
	CHECK(guest_connect(&pod.guest, 1, ABI_PORT_STREAM));
	stream_send(&pod, 1, bytes, 5);
	stream_send(&pod, 1, bytes + 5, sizeof(bytes) - 5);
	CHECK_INT(take(out[0], got, sizeof(got)), 3);
	CHECK_MEM(got, "abc", 3);
	end(&pod);
	pipe_close(out);
}

/* Streams that ended but still wait for their descriptor: as many as a guest can pile up. */
TEST(streams_are_bounded)
{
	enum { MAX = STDIO_STREAMS_PER_TARGET };
	uint8_t *data = pattern(8192, 1);
	struct pod pod;
	int out[2];

	pipe_new(out);
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	start_exec(&pod, -1, out[1], -1);
	for (uint32_t port = 1; port <= MAX; port++) {
		CHECK(stream_open(&pod, port, EXEC, WIRE_STDOUT));
		stream_send(&pod, port, data, 8192);
		guest_send(&pod.guest, OP(RST), port, ABI_PORT_STREAM, 0, NULL, 0);
	}
	CHECK(stream_open(&pod, MAX + 1, EXEC, WIRE_STDERR));
	CHECK(guest_expect(&pod.guest, OP(RST), MAX + 1, ABI_PORT_STREAM));
	CHECK_INT(pod.drained, 0);
	end(&pod);
	pipe_close(out);
	free(data);
}

TEST(targets_have_one_owner)
{
	struct pod pod;
	struct stdio_config config = {.first = CONTAINERS - 1, .count = 2, .fds = {-1, -1, -1}};
	struct stdio *other;

	start(&pod, -1, -1, -1);
	config.streams = pod.streams;
	config.loop = pod.guest.rig.loop;
	CHECK(!stdio_new(&config, &user, &pod));
	config.first = CONTAINERS;
	other = stdio_new(&config, &user, &pod);
	CHECK(other);
	CHECK(stream_open(&pod, 1, CONTAINERS, WIRE_STDOUT));
	CHECK(stdio_drained(pod.stdio) && !stdio_drained(other));
	/* let go in the middle: the guest hears of it, and nobody has the target any more */
	stdio_free(other);
	CHECK(guest_expect(&pod.guest, OP(RST), 1, ABI_PORT_STREAM));
	CHECK(stream_open(&pod, 2, CONTAINERS, WIRE_STDOUT));
	CHECK(guest_expect(&pod.guest, OP(RST), 2, ABI_PORT_STREAM));
	end(&pod);
}

TEST(an_exec_has_input_and_output)
{
	struct pod pod;
	int in[2], out[2];
	uint8_t got[16];

	pipe_new(in);
	pipe_new(out);
	start_exec(&pod, in[0], out[1], -1);
	CHECK(!write_all(in[1], "in", 2));
	CHECK(stream_open(&pod, 1, EXEC, WIRE_STDIN));
	CHECK(stream_open(&pod, 2, EXEC, WIRE_STDOUT));
	CHECK(stream_open(&pod, 3, EXEC, WIRE_STDERR));
	stream_send(&pod, 2, "out", 3);
	stream_send(&pod, 3, "err", 3); /* to nobody, which is no loss */
	turn(&pod);
	CHECK(guest_expect(&pod.guest, OP(RW), 1, ABI_PORT_STREAM));
	CHECK_MEM(pod.guest.payload, "in", 2);
	CHECK_INT(take(out[0], got, sizeof(got)), 3);
	CHECK_INT(pod.lost[2], 0);
	guest_pump(&pod.guest, true);
	CHECK_INT(pod.guest.ops[OP(RST)], 0);
	end(&pod);
	pipe_close(in);
	pipe_close(out);
}

/* hang_up: the writer meets EPIPE. Bytes may wait or not, and one stream's loss is not the other's. */
static void check_hang_up(bool waiting)
{
	uint8_t *data = pattern(65536, 0);
	struct pod pod;
	int out[2], err[2];

	pipe_new(out);
	pipe_new(err);
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	start_exec(&pod, -1, out[1], err[1]);
	CHECK(stream_open(&pod, 1, EXEC, WIRE_STDOUT));
	CHECK(stream_open(&pod, 2, EXEC, WIRE_STDERR));
	if (waiting)
		stream_send(&pod, 1, data, 65536);
	close(out[0]);
	if (!waiting)
		stream_send(&pod, 1, "x", 1);
	turn(&pod);
	CHECK_INT(pod.lost[1], 1);
	CHECK_INT(pod.err[1], EPIPE);
	CHECK(guest_expect(&pod.guest, OP(RST), 1, ABI_PORT_STREAM));
	CHECK(stream_open(&pod, 3, EXEC, WIRE_STDOUT)); /* and so does a later one */
	CHECK(guest_expect(&pod.guest, OP(RST), 3, ABI_PORT_STREAM));
	CHECK(!stdio_drained(pod.stdio));
	stream_send(&pod, 2, "y", 1);
	CHECK_INT(take(err[0], data, 10), 1);
	stream_end(&pod, 2);
	CHECK_INT(pod.drained, 1);
	CHECK_INT(pod.lost[2], 0);
	end(&pod);
	close(out[1]);
	pipe_close(err);
	free(data);
}

TEST(a_lost_output_is_hung_up)
{
	check_hang_up(false);
	check_hang_up(true);
}

/* A guest that resets its device, or one that is no more: its bytes are still written. */
static void check_bytes_outlive(bool gone)
{
	struct pod pod;
	int out[2];
	uint8_t *data = pattern(50000, 2), *got = xmalloc(MAX_BYTES);
	size_t count = 0;

	pipe_new(out);
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	start(&pod, -1, out[1], -1);
	CHECK(stream_open(&pod, 1, 0, WIRE_STDOUT));
	stream_send(&pod, 1, data, 50000);
	if (gone)
		stdio_guest_gone(pod.stdio);
	else
		rig_reset(&pod.guest.rig);
	turn(&pod);
	CHECK_INT(pod.drained, 0);
	for (unsigned i = 0; i < 100 && !stdio_drained(pod.stdio); i++) {
		count += take(out[0], got + count, MAX_BYTES - count);
		turn(&pod);
	}
	count += take(out[0], got + count, MAX_BYTES - count);
	CHECK_INT(pod.drained, 1);
	if (CHECK_INT(count, 50000))
		CHECK_MEM(got, data, 50000);
	end(&pod);
	pipe_close(out);
	free(data);
	free(got);
}

TEST(reset_ends_streams_but_not_their_bytes)
{
	check_bytes_outlive(false);
}

TEST(guest_that_is_gone_ends_them_too)
{
	struct pod pod;
	int out[2];

	check_bytes_outlive(true);
	/* and streams with nothing to write, and one that reads, at once */
	pipe_new(out);
	start(&pod, out[0], out[1], -1);
	CHECK(stream_open(&pod, 1, 0, WIRE_STDOUT));
	CHECK(stream_open(&pod, 2, 0, WIRE_STDIN));
	stdio_guest_gone(pod.stdio);
	CHECK_INT(pod.drained, 1);
	CHECK(stdio_drained(pod.stdio));
	end(&pod);
	pipe_close(out);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	RUN(output_goes_to_its_descriptor);
	RUN(flags_of_the_user_stay);
	RUN(slow_pipe);
	RUN(slow_pipe_of_another_user);
	RUN(slow_socket);
	RUN(credit_only_for_written_bytes);
	RUN(streams_take_turns);
	RUN(no_byte_overtakes);
	RUN(a_stream_goes_when_its_turn_would_come);
	RUN(regular_files);
	RUN(reader_gone);
	RUN(reader_gone_while_bytes_wait);
	RUN(disk_full);
	RUN(no_descriptors);
	RUN(input_goes_to_the_first_container);
	RUN(input_waits_for_the_guest);
	RUN(input_that_can_not_be_read);
	RUN(tty_goes_both_ways);
	RUN(bad_streams_are_cut_off);
	RUN(hello_in_pieces_with_data_behind);
	RUN(streams_are_bounded);
	RUN(targets_have_one_owner);
	RUN(an_exec_has_input_and_output);
	RUN(a_lost_output_is_hung_up);
	RUN(reset_ends_streams_but_not_their_bytes);
	RUN(guest_that_is_gone_ends_them_too);
	return test_done();
}
