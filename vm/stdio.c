// SPDX-License-Identifier: Apache-2.0
/*
 * stdio: see stdio.h. Owns the streams of its targets, the bytes that wait for a descriptor and how each kind of
 * descriptor is used without blocking; must not know what a target is, nor what the bytes mean.
 *
 * Theory of operation
 * -------------------
 * Output: a stream (one vsock connection) belongs to a sink (stdout or stderr). What arrives is written at once when
 * nothing waits before it; the rest waits in the stream's fifo and the streams of a sink take turns when poll() says
 * that it takes more. A byte is only given back as credit when it was written, so a stream never holds more than
 * VSOCK_WINDOW_BYTES and the guest's writer blocks as it would on a pipe.
 *
 * Not blocking is the hard part, for O_NONBLOCK lives in the open file, which the shell and other processes share:
 * setting it breaks them, and they may clear it. Hence per kind:
 *	pipe, terminal	opened anew through /proc/self/fd: an open file of our own, O_NONBLOCK
 *	  if refused	poll(), then at most PIPE_BUF bytes: a pipe that polls writable has room for these. When another
 *			process fills it in between we do wait; that is the price where /proc is missing
 *	socket		send(MSG_DONTWAIT)
 *	file, device	just written: it is always ready, and an open file of our own would have another offset
 * Input is not opened anew: a reader that opens a pipe after its last writer has gone is never told of the hang-up
 * by poll(). After POLLIN a read() returns at once unless another process takes the bytes first.
 *
 * Life of an output stream: taken over, bytes, end (eof or reset), written to the last byte, then our side is shut down
 * too; so a guest that waits for the connection to close knows that all was written.
 */
#define _GNU_SOURCE
#include "vm/stdio.h"

#include "lib/log.h"
#include "lib/util.h"
#include "pod/wire.h"
#include "vm/fifo.h"
#include "vm/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	WRITE_BYTES_MAX = 64 * 1024,
	TERMINAL_WRITE_BYTES = 512, /* what a terminal that polls writable takes at once */
	TURN_BYTES_MAX = 256 * 1024, /* then the loop goes on with other work */
	READ_BYTES = 16 * 1024,
	BACKGROUND_RETRY_MS = 500,
};

enum sink_kind {
	SINK_NONE,	/* -1 was given */
	SINK_BAD,	/* not an open descriptor */
	SINK_NONBLOCK,	/* an open file of our own */
	SINK_SOCKET,
	SINK_FILE,	/* never blocks for long */
	SINK_POLLED,	/* poll(), then little */
};

struct stream;

struct sink {
	struct stdio *stdio;
	int number; /* 1 or 2 */
	int fd;	    /* ours; -1 for none */
	enum sink_kind kind;
	size_t limit; /* most bytes per write */
	bool lost;
	size_t waiting_bytes; /* in the fifos of its streams */
	struct stream *turn;  /* who writes next; NULL: the first */
};

/* Where input comes from. What was read and not yet taken by vsock waits in held. */
struct source {
	int fd; /* ours; -1 for none */
	bool ended, socket, terminal;
	struct stream *stream; /* who reads it */
	struct fifo held;
	struct loop_timer retry;
};

struct stream {
	struct stdio *stdio;
	struct stream *next;
	struct vsock_conn *conn; /* NULL once it is gone */
	struct wire_stream_hello hello;
	struct sink *sink; /* NULL: stdin */
	struct fifo fifo;
	bool ended;   /* no more bytes from the guest */
	bool settled; /* and all of them written: not counted in outputs any more */
};

struct stdio {
	struct streams *port;
	struct streams_owner owner;
	struct loop *loop;
	const struct stdio_user *user;
	void *ctx;
	struct source source;
	struct sink sinks[3]; /* by descriptor; [0] is not used */
	struct stream *streams;
	unsigned stream_count;
	unsigned outputs; /* streams that are not settled */
	bool hang_up;
};

/* Streams */

static void stream_free(struct stream *stream)
{
	struct stdio *stdio = stream->stdio;
	struct stream **at = &stdio->streams;

	while (*at != stream)
		at = &(*at)->next;
	*at = stream->next;
	stdio->stream_count--;
	for (unsigned i = 1; i < ARRAY_SIZE(stdio->sinks); i++)
		if (stdio->sinks[i].turn == stream)
			stdio->sinks[i].turn = stream->next;
	if (stdio->source.stream == stream)
		stdio->source.stream = NULL;
	fifo_free(&stream->fifo);
	free(stream);
}

/* Looks whether the stream came to its end. May free it. */
static void stream_settle(struct stream *stream)
{
	struct stdio *stdio = stream->stdio;
	bool drained = false;

	if (!stream->ended || stream->fifo.count)
		return;
	if (stream->sink && !stream->settled) {
		stream->settled = true;
		drained = --stdio->outputs == 0;
	}
	if (stream->conn)
		vsock_shutdown_send(stream->conn); /* closed() comes, and with it we here again */
	else
		stream_free(stream);
	if (drained)
		stdio->user->drained(stdio->ctx);
}

/* count bytes went where they should, or nowhere for good. */
static void stream_consumed(struct stream *stream, size_t count)
{
	if (stream->conn)
		vsock_consumed(stream->conn, count);
}

/* Output */

static void stream_hang_up(struct stream *stream);

static void sink_watch(struct sink *sink)
{
	if (sink->fd >= 0)
		loop_fd_events(sink->stdio->loop, sink->fd, sink->waiting_bytes && !sink->lost ? POLLOUT : 0);
}

/* Bytes written, or -errno; -EAGAIN when it takes none now. */
static ssize_t sink_write(const struct sink *sink, const uint8_t *bytes, size_t count)
{
	struct pollfd poll_fd = {.fd = sink->fd, .events = POLLOUT};
	ssize_t written;

	if (sink->kind == SINK_BAD)
		return -EBADF;
	/* POLLERR as well lets the write through: it tells why. */
	if (sink->kind == SINK_POLLED && poll(&poll_fd, 1, 0) <= 0)
		return -EAGAIN;
	count = MIN(count, sink->limit);
	if (sink->kind == SINK_SOCKET)
		written = send(sink->fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		written = write(sink->fd, bytes, count);
	if (written > 0) {
		trace_mark("first output");
		return written;
	}
	if (written == 0) /* not a thing descriptors do; going on would never end */
		return -EIO;
	return errno == EINTR ? -EAGAIN : -errno;
}

/* Nothing of this stream will be written any more. May free it. */
static void stream_lose(struct stream *stream)
{
	stream_consumed(stream, stream->fifo.count);
	fifo_free(&stream->fifo);
	if (stream->stdio->hang_up && !stream->ended)
		stream_hang_up(stream);
	else
		stream_settle(stream);
}

/* Nothing can be written any more: all that waits is given up. May free streams of the sink. */
static void sink_lose(struct sink *sink, int err)
{
	struct stdio *stdio = sink->stdio;
	struct stream *stream, *next;

	sink->lost = true;
	sink->waiting_bytes = 0;
	sink_watch(sink);
	stdio->user->output_lost(stdio->ctx, sink->number, err);
	for (stream = stdio->streams; stream; stream = next) {
		next = stream->next;
		if (stream->sink == sink)
			stream_lose(stream);
	}
}

/* Next stream of the sink with bytes that wait, in turn; there is one. */
static struct stream *sink_next(struct sink *sink)
{
	struct stream *stream = sink->turn;

	do {
		if (!stream)
			stream = sink->stdio->streams;
		if (stream->sink == sink && stream->fifo.count)
			break;
		stream = stream->next;
	} while (true);
	sink->turn = stream->next;
	return stream;
}

static void sink_ready(void *ctx, int fd, short revents)
{
	struct sink *sink = ctx;
	size_t done = 0;

	(void)fd;
	(void)revents;
	while (sink->waiting_bytes && done < TURN_BYTES_MAX) {
		struct stream *stream = sink_next(sink);
		ssize_t written = sink_write(sink, fifo_head(&stream->fifo), stream->fifo.count);

		if (written == -EAGAIN) {
			sink->turn = stream; /* it was not served */
			break;
		}
		if (written < 0) {
			sink_lose(sink, (int)-written);
			return;
		}
		done += (size_t)written;
		sink->waiting_bytes -= (size_t)written;
		fifo_drop(&stream->fifo, (size_t)written);
		stream_consumed(stream, (size_t)written);
		stream_settle(stream);
	}
	sink_watch(sink);
}

/* Bytes from the guest: written at once as far as the sink goes along, the rest waits. May free the stream. */
static void output(struct stream *stream, const uint8_t *bytes, size_t count)
{
	struct sink *sink = stream->sink;
	size_t done = 0;

	while (done < count && !sink->waiting_bytes && !sink->lost) {
		ssize_t written = sink_write(sink, bytes + done, count - done);

		if (written == -EAGAIN)
			break;
		if (written < 0) {
			stream_consumed(stream, count);
			sink_lose(sink, (int)-written);
			return;
		}
		done += (size_t)written;
	}
	if (sink->lost)
		done = count;
	stream_consumed(stream, done);
	if (done == count)
		return;
	fifo_append(&stream->fifo, bytes + done, count - done);
	sink->waiting_bytes += count - done;
	sink_watch(sink);
}

/* Input */

static void source_watch(struct source *source, struct loop *loop, bool on)
{
	if (source->fd >= 0)
		loop_fd_events(loop, source->fd, on ? POLLIN : 0);
}

/* Hands on what was read; true when all of it went. */
static bool source_push(struct source *source)
{
	struct fifo *held = &source->held;

	if (held->count)
		fifo_drop(held, vsock_send(source->stream->conn, fifo_head(held), held->count));
	return !held->count;
}

/* The reader gets what is left and then the end, or waits for more. */
static void source_go_on(struct stdio *stdio)
{
	struct source *source = &stdio->source;
	bool more = false;

	if (source->stream && source_push(source)) {
		more = !source->ended;
		if (source->ended)
			vsock_shutdown_send(source->stream->conn);
	}
	source_watch(source, stdio->loop, more && !source->retry.armed);
}

static void source_retry(void *ctx)
{
	source_go_on(ctx);
}

/* Bytes read, 0 at the end, -EAGAIN for none now. What can not be read is at its end. */
static ssize_t source_read(struct stdio *stdio, uint8_t *bytes, size_t count)
{
	struct source *source = &stdio->source;
	ssize_t got;

	/*
	 * In the background the terminal is another's: reading would stop us by SIGTTIN, or fail with EIO where that
	 * is ignored. Not an end: the user may bring us back to the foreground.
	 */
	if (source->terminal && tcgetpgrp(source->fd) != getpgrp()) {
		loop_timer_set(stdio->loop, &source->retry,
			       loop_now_ns(stdio->loop) + BACKGROUND_RETRY_MS * UINT64_C(1000000));
		return -EAGAIN;
	}
	got = source->socket ? recv(source->fd, bytes, count, MSG_DONTWAIT) : read(source->fd, bytes, count);
	if (got >= 0)
		return got;
	return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0;
}

static void source_ready(void *ctx, int fd, short revents)
{
	struct stdio *stdio = ctx;
	struct source *source = &stdio->source;
	uint8_t bytes[READ_BYTES];
	ssize_t got = source_read(stdio, bytes, sizeof(bytes));
	size_t taken;

	(void)fd;
	(void)revents;
	if (got == 0)
		source->ended = true;
	if (got > 0) {
		/* Only watched while there is a reader and nothing is held. */
		taken = vsock_send(source->stream->conn, bytes, (size_t)got);
		fifo_append(&source->held, bytes + taken, (size_t)got - taken);
	}
	source_go_on(stdio);
}

/* A stream that wants input. The first target has it; there is one reader at a time. */
static void input_attach(struct stream *stream)
{
	struct stdio *stdio = stream->stdio;

	if (stream->hello.target != stdio->owner.first || stdio->source.stream) {
		vsock_shutdown_send(stream->conn);
		return;
	}
	stdio->source.stream = stream;
	source_go_on(stdio);
}

static void input_detach(struct stream *stream)
{
	struct stdio *stdio = stream->stdio;

	if (stdio->source.stream != stream)
		return;
	stdio->source.stream = NULL;
	source_go_on(stdio);
}

/* Connections */

/* The stream ends here and now, reset. Frees it, unless bytes of it still wait. */
static void stream_hang_up(struct stream *stream)
{
	input_detach(stream);
	if (stream->conn)
		vsock_close(stream->conn);
	stream->conn = NULL;
	stream->ended = true;
	stream_settle(stream);
}

static void conn_open(void *ctx, struct vsock_conn *conn)
{
	(void)ctx;
	(void)conn; /* only for connections we make */
}

static void conn_data(void *ctx, struct vsock_conn *conn, const void *bytes, size_t count)
{
	struct stream *stream = ctx;

	(void)conn;
	if (stream->sink) {
		output(stream, bytes, count);
		return;
	}
	streams_complain(stream->stdio->port, "it sends where it should read");
	stream_hang_up(stream);
}

static void conn_writable(void *ctx, struct vsock_conn *conn)
{
	struct stream *stream = ctx;

	(void)conn;
	if (stream->stdio->source.stream == stream)
		source_go_on(stream->stdio);
}

static void conn_eof(void *ctx, struct vsock_conn *conn)
{
	struct stream *stream = ctx;

	(void)conn;
	/* One that only reads has nothing to send, so that this end means nothing. */
	if (!stream->sink)
		return;
	input_detach(stream);
	stream->ended = true;
	stream_settle(stream);
}

static void conn_closed(void *ctx, struct vsock_conn *conn)
{
	struct stream *stream = ctx;

	(void)conn;
	input_detach(stream);
	stream->conn = NULL;
	stream->ended = true;
	stream_settle(stream);
}

static const struct vsock_user conn_user = {
	.open = conn_open,
	.data = conn_data,
	.writable = conn_writable,
	.eof = conn_eof,
	.closed = conn_closed,
};

static bool is_twice(const struct stdio *stdio, const struct wire_stream_hello *hello)
{
	for (const struct stream *other = stdio->streams; other; other = other->next)
		if (!other->ended && other->hello.target == hello->target && other->hello.stream == hello->stream)
			return true;
	return false;
}

static struct sink *sink_of(struct stdio *stdio, uint32_t kind)
{
	if (kind == WIRE_STDIN)
		return NULL;
	return &stdio->sinks[kind == WIRE_STDERR ? 2 : 1];
}

static struct stream *stream_new(struct stdio *stdio, struct vsock_conn *conn, const struct wire_stream_hello *hello)
{
	struct stream *stream = xcalloc(1, sizeof(*stream));

	stream->stdio = stdio;
	stream->conn = conn;
	stream->hello = *hello;
	stream->sink = sink_of(stdio, hello->stream);
	stream->next = stdio->streams;
	stdio->streams = stream;
	stdio->stream_count++;
	stdio->outputs += stream->sink != NULL;
	return stream;
}

static bool stream_take(void *ctx, struct vsock_conn *conn, const struct wire_stream_hello *hello,
			const struct vsock_user **user, void **user_ctx, const char **why)
{
	struct stdio *stdio = ctx;
	const struct sink *sink = sink_of(stdio, hello->stream);
	struct stream *stream;

	if (is_twice(stdio, hello))
		*why = "there is one like it";
	else if (stdio->stream_count >= stdio->owner.count * STDIO_STREAMS_PER_TARGET)
		*why = "there are too many";
	else if (!stdio->hang_up || !sink || !sink->lost || sink->kind == SINK_NONE) {
		stream = stream_new(stdio, conn, hello);
		if (hello->stream == WIRE_STDIN || hello->stream == WIRE_TTY)
			input_attach(stream);
		*user = &conn_user;
		*user_ctx = stream;
		return true;
	}
	return false;
}

/* Descriptors */

/* An open file of our own for what fd leads to; -1 where there is none to be had. */
static int reopen(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void sink_kind_find(struct sink *sink, int fd)
{
	bool terminal = isatty(fd);
	struct stat st;

	sink->limit = WRITE_BYTES_MAX;
	if (fstat(fd, &st)) {
		sink->kind = SINK_BAD;
		return;
	}
	if (S_ISFIFO(st.st_mode) || terminal) {
		sink->fd = reopen(fd);
		sink->kind = SINK_NONBLOCK;
		if (sink->fd >= 0)
			return;
		sink->kind = SINK_POLLED;
		sink->limit = terminal ? TERMINAL_WRITE_BYTES : PIPE_BUF;
	} else {
		sink->kind = S_ISSOCK(st.st_mode) ? SINK_SOCKET : SINK_FILE;
	}
	/* A number of our own: the loop watches each once, and the caller may give one for two. */
	sink->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (sink->fd < 0)
		sink->kind = SINK_BAD;
}

static void sink_init(struct sink *sink, struct stdio *stdio, int number, int fd)
{
	*sink = (struct sink){.stdio = stdio, .number = number, .fd = -1, .kind = SINK_NONE, .lost = fd < 0};
	if (fd < 0)
		return;
	sink_kind_find(sink, fd);
	if (sink->fd >= 0)
		loop_fd_add(stdio->loop, sink->fd, 0, sink_ready, sink);
}

static void source_init(struct stdio *stdio, int fd)
{
	struct source *source = &stdio->source;
	struct stat st;

	source->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	source->ended = source->fd < 0;
	source->retry = (struct loop_timer){.fn = source_retry, .ctx = stdio};
	if (source->ended)
		return;
	source->terminal = isatty(source->fd);
	source->socket = !fstat(source->fd, &st) && S_ISSOCK(st.st_mode);
	loop_fd_add(stdio->loop, source->fd, 0, source_ready, stdio);
}

static void fd_release(struct loop *loop, int fd)
{
	if (fd < 0)
		return;
	loop_fd_del(loop, fd);
	close(fd);
}

struct stdio *stdio_new(const struct stdio_config *config, const struct stdio_user *user, void *ctx)
{
	struct stdio *stdio = xcalloc(1, sizeof(*stdio));

	stdio->port = config->streams;
	stdio->owner = (struct streams_owner){.first = config->first, .count = config->count, .take = stream_take, .ctx = stdio};
	stdio->loop = config->loop;
	stdio->user = user;
	stdio->ctx = ctx;
	stdio->hang_up = config->hang_up;
	if (streams_own(stdio->port, &stdio->owner)) {
		free(stdio);
		return NULL;
	}
	source_init(stdio, config->fds[0]);
	sink_init(&stdio->sinks[1], stdio, 1, config->fds[1]);
	sink_init(&stdio->sinks[2], stdio, 2, config->fds[2]);
	return stdio;
}

void stdio_free(struct stdio *stdio)
{
	struct stream *stream, *next;

	if (!stdio)
		return;
	streams_disown(stdio->port, &stdio->owner);
	for (stream = stdio->streams; stream; stream = next) {
		next = stream->next;
		if (stream->conn)
			vsock_close(stream->conn);
		fifo_free(&stream->fifo);
		free(stream);
	}
	loop_timer_cancel(stdio->loop, &stdio->source.retry);
	fd_release(stdio->loop, stdio->source.fd);
	fd_release(stdio->loop, stdio->sinks[1].fd);
	fd_release(stdio->loop, stdio->sinks[2].fd);
	fifo_free(&stdio->source.held);
	free(stdio);
}

void stdio_guest_gone(struct stdio *stdio)
{
	struct stream *stream, *next;

	for (stream = stdio->streams; stream; stream = next) {
		next = stream->next;
		stream_hang_up(stream); /* may free it */
	}
}

bool stdio_drained(const struct stdio *stdio)
{
	return stdio->outputs == 0;
}
