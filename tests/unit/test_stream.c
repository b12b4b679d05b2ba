/* SPDX-License-Identifier: Apache-2.0 */
/* test_stream: the pump between a pipe and a socket, against a host that is slow, silent or gone. */
#define _GNU_SOURCE

#include "init/stream.h"
#include "lib/util.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

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

static void begin(enum wire_stream kind)
{
	struct wire_stream_hello hello;
	int sockets[2], pipes[2], ours = kind == WIRE_STDIN ? 1 : 0;

	memset(&rig, 0, sizeof(rig));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) < 0 ||
	    pipe2(pipes, O_CLOEXEC) < 0)
		abort();
	rig.events = events_new();
	rig.host = sockets[1];
	rig.process = pipes[!ours];
	rig.stream = stream_new(rig.events, sockets[0], pipes[ours], 5, kind, on_finished, NULL);
	settle();
	CHECK_INT(read(rig.host, &hello, sizeof(hello)), sizeof(hello));
	CHECK_INT(hello.magic, WIRE_STREAM_MAGIC);
	CHECK_INT(hello.target, 5);
	CHECK_INT(hello.stream, kind);
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
	return test_done();
}
