/* SPDX-License-Identifier: Apache-2.0 */
/* test_stream: the pump between a pipe and a socket, against a host that is slow, silent or gone. */
#define _GNU_SOURCE

#include "init/stream.h"
#include "lib/util.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

static struct {
	struct events *events;
	struct stream *stream;
	int host, process; /* the ends that are not the stream's */
	unsigned finished;
	struct events_timer timer;
	bool timed_out;
} rig;

static void on_finished(void *ctx)
{
	(void)ctx;
	rig.finished++;
}

static void on_timer(void *ctx)
{
	(void)ctx;
	rig.timed_out = true;
}

/* Turns until nothing has happened for a while. */
static void settle(void)
{
	rig.timed_out = false;
	rig.timer.fn = on_timer;
	events_timer_set(rig.events, &rig.timer, clock_mono_ns() + 20 * 1000000);
	while (!rig.timed_out)
		events_turn(rig.events);
}

static void begin_on(enum wire_stream kind, int local, int process)
{
	struct wire_stream_hello hello;
	int sockets[2];

	memset(&rig, 0, sizeof(rig));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) < 0)
		abort();
	rig.events = events_new();
	rig.host = sockets[1];
	rig.process = process;
	rig.stream = stream_new(rig.events, sockets[0], local, 5, kind, on_finished, NULL);
	settle();
	CHECK_INT(read(rig.host, &hello, sizeof(hello)), sizeof(hello));
	CHECK_INT(hello.magic, WIRE_STREAM_MAGIC);
	CHECK_INT(hello.target, 5);
	CHECK_INT(hello.stream, kind);
}

static void begin(enum wire_stream kind)
{
	int pipes[2], ours = kind == WIRE_STDIN ? 1 : 0;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		abort();
	begin_on(kind, pipes[ours], pipes[!ours]);
}

static void finish(void)
{
	stream_free(rig.stream);
	events_free(rig.events);
	if (rig.host >= 0)
		close(rig.host);
	if (rig.process >= 0)
		close(rig.process);
}

static void close_fd(int *fd)
{
	close(*fd);
	*fd = -1;
}

TEST(output_arrives_and_ends)
{
	char text[16];

	begin(WIRE_STDOUT);
	CHECK_INT(write(rig.process, "hello", 5), 5);
	settle();
	CHECK_INT(read(rig.host, text, sizeof(text)), 5);
	CHECK_MEM(text, "hello", 5);
	CHECK_INT(rig.finished, 0);
	close_fd(&rig.process);
	settle();
	CHECK_INT(read(rig.host, text, sizeof(text)), 0);
	CHECK_INT(rig.finished, 1);
	stream_end(rig.stream);
	CHECK_INT(rig.finished, 1);
	finish();
}

/* Every byte, in order, past a host that takes nothing until the pipe is full as well. */
TEST(slow_host_loses_nothing)
{
	enum { CHUNK = 4093 };
	uint8_t chunk[CHUNK], got[8192];
	size_t written = 0, taken = 0, blocked = 0;
	bool same = true;
	ssize_t bytes;

	begin(WIRE_STDERR);
	fd_nonblock(rig.process);
	while (blocked < 3) {
		for (size_t i = 0; i < CHUNK; i++)
			chunk[i] = (uint8_t)((written + i) % 251);
		bytes = write(rig.process, chunk, CHUNK);
		written += bytes > 0 ? (size_t)bytes : 0;
		blocked = bytes < 0 ? blocked + 1 : 0;
		if (blocked)
			settle();
	}
	CHECK(written > STREAM_BUFFER_BYTES);
	close_fd(&rig.process); /* the container is gone */
	stream_end(rig.stream);
	CHECK_INT(rig.finished, 0);
	while ((bytes = read(rig.host, got, sizeof(got))) != 0) {
		for (ssize_t i = 0; i < bytes; i++)
			same = same && got[i] == (uint8_t)((taken + (size_t)i) % 251);
		taken += bytes > 0 ? (size_t)bytes : 0;
		if (bytes < 0)
			settle();
		if (bytes < 0 && rig.finished && errno != EAGAIN)
			break;
	}
	CHECK(same);
	CHECK_INT(taken, written);
	CHECK_INT(rig.finished, 1);
	finish();
}

/* Another container may hold the pipe: once ours is gone, what is in it is all there will be. */
TEST(end_does_not_wait_for_a_stranger)
{
	char text[16];

	begin(WIRE_STDOUT);
	CHECK_INT(write(rig.process, "last", 4), 4);
	stream_end(rig.stream);
	CHECK_INT(rig.finished, 1);
	CHECK_INT(read(rig.host, text, sizeof(text)), 4);
	CHECK_INT(read(rig.host, text, sizeof(text)), 0);
	finish();
}

TEST(host_that_hangs_up_closes_the_pipe)
{
	begin(WIRE_STDOUT);
	close_fd(&rig.host);
	CHECK_INT(write(rig.process, "x", 1), 1);
	settle();
	CHECK_INT(rig.finished, 1);
	CHECK_INT(write(rig.process, "x", 1), -1);
	CHECK_INT(errno, EPIPE);
	stream_end(rig.stream);
	CHECK_INT(rig.finished, 1);
	finish();
}

TEST(input_arrives_and_ends)
{
	char text[16];

	begin(WIRE_STDIN);
	CHECK_INT(write(rig.host, "typed", 5), 5);
	shutdown(rig.host, SHUT_WR);
	settle();
	CHECK_INT(read(rig.process, text, sizeof(text)), 5);
	CHECK_INT(read(rig.process, text, sizeof(text)), 0);
	finish();
	CHECK_INT(rig.finished, 0);
}

TEST(input_nobody_reads_is_refused)
{
	begin(WIRE_STDIN);
	close_fd(&rig.process);
	CHECK_INT(write(rig.host, "typed", 5), 5);
	settle();
	CHECK_INT(send(rig.host, "more", 4, MSG_NOSIGNAL), -1);
	CHECK_INT(errno, EPIPE);
	finish();
}

TEST(input_waits_for_its_reader)
{
	static char block[4096];
	size_t sent = 0;
	ssize_t bytes;

	begin(WIRE_STDIN);
	for (unsigned full = 0; full < 3;) {
		bytes = send(rig.host, block, sizeof(block), MSG_NOSIGNAL);
		sent += bytes > 0 ? (size_t)bytes : 0;
		full = bytes < 0 ? full + 1 : 0;
		if (full)
			settle();
	}
	/* Pipe, buffer and socket hold it; that it stopped at all is the point. */
	CHECK(sent >= 2 * STREAM_BUFFER_BYTES);
	shutdown(rig.host, SHUT_WR);
	fd_nonblock(rig.process);
	while ((bytes = read(rig.process, block, sizeof(block))) != 0) {
		sent -= bytes > 0 ? (size_t)bytes : 0;
		if (bytes < 0)
			settle();
	}
	CHECK_INT(sent, 0);
	finish();
}

/* A process that holds the stream's other end and writes on and on. */
static pid_t start_writer(void)
{
	static const char lines[4096] = "x\n";
	pid_t pid = fork();

	if (!pid)
		dup2(rig.process, 0);
	for (int fd = 1; !pid && fd < 256; fd++)
		close(fd); /* ours are not its to hold */
	while (!pid)
		if (write(0, lines, sizeof(lines)) < 0)
			_exit(0); /* as by SIGPIPE, which is blocked here */
	return pid;
}

/* The process has ended, the writer has not: what is sent after that is bounded, and so is the stream's life. */
static void check_end_despite_writer(size_t bytes_max)
{
	enum { FAR_TOO_MUCH = 32 << 20 };
	pid_t writer = start_writer();
	size_t taken = 0;
	char bytes[8192];
	ssize_t got = -1;
	int status;

	settle(); /* all is full by now: the host reads nothing */
	stream_end(rig.stream);
	while (got && taken < FAR_TOO_MUCH) {
		got = recv(rig.host, bytes, sizeof(bytes), MSG_DONTWAIT);
		taken += got > 0 ? (size_t)got : 0;
		if (got < 0)
			settle();
	}
	CHECK_INT(got, 0);
	CHECK(taken <= bytes_max);
	CHECK_INT(rig.finished, 1);
	/* It learns that nobody reads, without being killed. */
	close_fd(&rig.process);
	for (unsigned i = 0; i < 1000 && !waitpid(writer, &status, WNOHANG); i++)
		usleep(10000);
	if (!CHECK(kill(writer, SIGKILL) < 0 && errno == ESRCH))
		waitpid(writer, &status, 0);
	finish();
}

TEST(end_does_not_wait_for_who_writes_on)
{
	int room = 0;
	socklen_t bytes = sizeof(room);

	begin(WIRE_STDOUT);
	getsockopt(rig.host, SOL_SOCKET, SO_SNDBUF, &room, &bytes);
	/* What the socket, the buffer and the pipe can hold; the last piece that a socket takes may go beyond its room. */
	check_end_despite_writer(2 * (size_t)room + STREAM_BUFFER_BYTES + (size_t)fcntl(rig.process, F_GETPIPE_SZ));
}

TEST(terminal_does_not_wait_for_who_writes_on)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), slave = -1, unlock = 0, room = 0;
	socklen_t bytes = sizeof(room);

	if (master >= 0 && ioctl(master, TIOCSPTLCK, &unlock) == 0)
		slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0) {
		close(master);
		SKIP("no pseudo terminals here");
	}
	begin_on(WIRE_TTY, master, slave);
	getsockopt(rig.host, SOL_SOCKET, SO_SNDBUF, &room, &bytes);
	check_end_despite_writer(2 * (size_t)room + STREAM_BUFFER_BYTES + (128 << 10));
}

extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t allocated_bytes(void)
{
	return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes() : mallinfo2().uordblks;
}

enum { MANY = 40 };

static struct {
	struct stream *stream;
	int host, process;
} many[MANY];

static void open_many(enum wire_stream kind)
{
	memset(&rig, 0, sizeof(rig));
	rig.events = events_new();
	for (unsigned i = 0; i < MANY; i++) {
		int sockets[2], pipes[2], ours = kind == WIRE_STDIN ? 1 : 0, room = 4096;

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) < 0 ||
		    pipe2(pipes, O_CLOEXEC) < 0)
			abort();
		setsockopt(sockets[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
		many[i].host = sockets[1];
		many[i].process = pipes[!ours];
		fd_nonblock(many[i].process);
		many[i].stream = stream_new(rig.events, sockets[0], pipes[ours], i, kind, on_finished, NULL);
	}
	settle();
}

static void close_many(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		stream_free(many[i].stream);
		close(many[i].host);
		close(many[i].process);
	}
	events_free(rig.events);
}

/* Passes bytes through each of them, from or to the host; what is left of the hello comes with them. */
static void pass_through_many(size_t bytes, size_t hello_bytes, bool to_host)
{
	static char block[8192];
	size_t passed = 0, wanted = MANY * (bytes + hello_bytes);
	uint64_t end_ns = clock_mono_ns() + UINT64_C(20000000000);

	for (unsigned i = 0; i < MANY; i++)
		for (size_t left = bytes; left; left -= MIN(left, sizeof(block)))
			CHECK(write(to_host ? many[i].process : many[i].host, block, MIN(left, sizeof(block))) > 0);
	settle();
	while (passed < wanted && clock_mono_ns() < end_ns) {
		for (unsigned i = 0; i < MANY; i++) {
			ssize_t got = read(to_host ? many[i].host : many[i].process, block, sizeof(block));

			passed += got > 0 ? (size_t)got : 0;
		}
		settle();
	}
	CHECK_INT(passed, wanted);
}

/* What they carried is gone, and so is what they carried it in, but for one that is kept. */
TEST(silent_streams_hold_no_buffer)
{
	size_t before, held;

	open_many(WIRE_STDOUT);
	before = allocated_bytes();
	for (unsigned i = 0; i < MANY; i++)
		CHECK_INT(write(many[i].process, (char[32768]){0}, 32768), 32768);
	settle();
	held = allocated_bytes() - before;
	CHECK(held >= (MANY - 1) * (size_t)STREAM_BUFFER_BYTES); /* the host has taken next to nothing */
	close_many();
	before = allocated_bytes();
	open_many(WIRE_STDOUT);
	pass_through_many(32768, sizeof(struct wire_stream_hello), true);
	CHECK(allocated_bytes() - before < 2 * (size_t)STREAM_BUFFER_BYTES);
	pass_through_many(1, 0, true);
	CHECK(allocated_bytes() - before < 2 * (size_t)STREAM_BUFFER_BYTES);
	close_many();
}

TEST(silent_inputs_hold_no_buffer)
{
	size_t before = allocated_bytes();

	open_many(WIRE_STDIN);
	pass_through_many(1, 0, false);
	CHECK(allocated_bytes() - before < 2 * (size_t)STREAM_BUFFER_BYTES);
	/* And none is kept for what nobody will read any more. */
	for (unsigned i = 0; i < MANY; i++)
		close_fd(&many[i].process);
	for (unsigned i = 0; i < MANY; i++)
		CHECK_INT(write(many[i].host, "x", 1), 1);
	settle();
	CHECK(allocated_bytes() - before < 2 * (size_t)STREAM_BUFFER_BYTES);
	for (unsigned i = 0; i < MANY; i++)
		stream_end(many[i].stream);
	close_many();
}

int main(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	RUN(output_arrives_and_ends);
	RUN(slow_host_loses_nothing);
	RUN(end_does_not_wait_for_a_stranger);
	RUN(host_that_hangs_up_closes_the_pipe);
	RUN(input_arrives_and_ends);
	RUN(input_nobody_reads_is_refused);
	RUN(input_waits_for_its_reader);
	RUN(end_does_not_wait_for_who_writes_on);
	RUN(terminal_does_not_wait_for_who_writes_on);
	RUN(silent_streams_hold_no_buffer);
	RUN(silent_inputs_hold_no_buffer);
	return test_done();
}
