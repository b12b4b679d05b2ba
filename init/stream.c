/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream: owns the two descriptors and the buffers between them. Knows no container, only its number.
 *
 * Theory of operation. A stream has up to two flows: to the host (stdout, stderr, tty) and to the process (stdin,
 * tty). A flow reads from its source into a buffer while there is room, and writes the buffer to its sink while there
 * is something. Which events are asked for follows from that and nothing else (want_all()): a flow without
 * room does not look at its source, so the pipe or the connection fills up and the writer waits. A descriptor nobody
 * asks anything of is out of epoll altogether, because hang-ups come unasked and would keep the loop spinning.
 *
 * End of output. A pipe is at its end when the last writer is gone, but a process of another container, or one that an
 * exec left behind, may hold one; and PID 1 keeps a terminal's other end open. Once the process has ended, therefore, a
 * source found empty is at its end. That is exact for a terminal, too: before it says EAGAIN the kernel hands over what
 * is under way. And since such a holder may write on and on, no more is read than the source can have held by then.
 *
 * Buffers. A flow has one only while something is in it, and gives it back when it is empty: silent streams cost nothing,
 * however many. One that was given back is kept, so that a flow that fills and empties its buffer in the same turn,
 * which is what most do, asks for no memory.
 */
#define _GNU_SOURCE

#include "init/stream.h"

#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TTY_REST_BYTES = 128 << 10 }; /* twice what the kernel lets wait between a terminal's two sides */

struct flow {
	bool used;
	bool source_ended; /* nothing more will be read */
	bool sink_gone;	   /* what is read is thrown away */
	bool closed;	   /* the end was passed on to the sink */
	size_t at, end;
	size_t left;	 /* of the source, at most: it is at its end after that */
	uint8_t *buffer; /* STREAM_BUFFER_BYTES; NULL while nothing is in it */
};

struct stream {
	struct events *events;
	struct events_watch socket, local;
	unsigned container;
	enum wire_stream kind;
	bool connecting, ending, is_finished;
	struct flow out, in; /* to the host, to the process */
	void (*finished)(void *ctx);
	void *ctx;
};

static bool is_tty(const struct stream *stream)
{
	return stream->kind == WIRE_TTY;
}

static bool has_room(const struct flow *flow)
{
	return flow->used && !flow->source_ended && flow->end < STREAM_BUFFER_BYTES;
}

static void want_all(struct stream *stream)
{
	uint32_t socket = 0, local = 0;

	if (stream->connecting || stream->out.at < stream->out.end)
		socket |= EPOLLOUT;
	if (!stream->connecting && has_room(&stream->in))
		socket |= EPOLLIN;
	if (has_room(&stream->out))
		local |= EPOLLIN;
	if (stream->in.at < stream->in.end)
		local |= EPOLLOUT;
	if (stream->socket.fd >= 0)
		events_want(stream->events, &stream->socket, socket);
	if (stream->local.fd >= 0)
		events_want(stream->events, &stream->local, local);
}

static void close_watch(struct stream *stream, struct events_watch *watch)
{
	if (watch->fd < 0)
		return;
	events_want(stream->events, watch, 0);
	close(watch->fd);
	watch->fd = -1;
}

static void finish(struct stream *stream)
{
	if (stream->is_finished)
		return;
	stream->is_finished = true;
	if (stream->kind != WIRE_STDIN)
		stream->finished(stream->ctx);
}

static uint8_t *spare;

static void take_buffer(struct flow *flow)
{
	if (flow->buffer)
		return;
	flow->buffer = spare ? spare : xmalloc(STREAM_BUFFER_BYTES);
	spare = NULL;
}

static void give_buffer(struct flow *flow)
{
	flow->at = flow->end = 0;
	if (spare)
		free(flow->buffer);
	else
		spare = flow->buffer;
	flow->buffer = NULL;
}

/* Reads once. A source that has ended, or is broken, which is the same to us, is marked so. */
static void fill(struct flow *flow, int source, bool empty_is_end)
{
	ssize_t got;

	if (!has_room(flow))
		return;
	take_buffer(flow);
	got = read(source, flow->buffer + flow->end, MIN(flow->left, (size_t)STREAM_BUFFER_BYTES - flow->end));
	if (got > 0) {
		flow->end += (size_t)got;
		flow->left -= (size_t)got;
		flow->source_ended = flow->left == 0;
	} else if (got == 0 || (errno != EAGAIN && errno != EINTR) || (errno == EAGAIN && empty_is_end)) {
		flow->source_ended = true;
	}
	if (flow->at == flow->end)
		give_buffer(flow);
}

/* Writes once. Never raises SIGPIPE: PID 1 has it blocked. */
static void pour(struct flow *flow, int sink)
{
	ssize_t put = flow->sink_gone ? (ssize_t)(flow->end - flow->at) : 0;

	if (flow->at < flow->end && !flow->sink_gone)
		put = write(sink, flow->buffer + flow->at, flow->end - flow->at);
	if (put > 0)
		flow->at += (size_t)put;
	else if (put < 0 && errno != EAGAIN && errno != EINTR)
		flow->sink_gone = true;
	if (flow->sink_gone || flow->at == flow->end)
		give_buffer(flow);
}

/* The host does not read any more: the process learns it as it would from any pipe. A terminal hangs up. */
static void host_gone(struct stream *stream)
{
	stream->out.source_ended = stream->out.closed = true;
	stream->in.source_ended = stream->in.closed = true;
	close_watch(stream, &stream->local);
	close_watch(stream, &stream->socket);
	finish(stream);
}

static void settle_out(struct stream *stream)
{
	struct flow *flow = &stream->out;

	if (!flow->used || flow->closed)
		return;
	if (flow->sink_gone) {
		host_gone(stream);
		return;
	}
	if (!flow->source_ended || flow->at < flow->end || stream->connecting)
		return;
	flow->closed = true;
	shutdown(stream->socket.fd, SHUT_WR);
	close_watch(stream, &stream->local);
	finish(stream);
}

static void settle_in(struct stream *stream)
{
	struct flow *flow = &stream->in;

	if (!flow->used || flow->closed)
		return;
	if (flow->sink_gone) {
		/* Nobody reads: the host shall not send more. */
		flow->source_ended = true;
		if (stream->socket.fd >= 0)
			shutdown(stream->socket.fd, SHUT_RD);
	}
	if (flow->source_ended && flow->at == flow->end) {
		flow->closed = true;
		/* A terminal has no end of input that would not also be the end of its output. */
		if (!is_tty(stream))
			close_watch(stream, &stream->local);
	}
}

static void work(struct stream *stream)
{
	if (stream->ending && stream->local.fd >= 0)
		fill(&stream->out, stream->local.fd, true);
	if (!stream->connecting) {
		if (stream->out.used && stream->socket.fd >= 0)
			pour(&stream->out, stream->socket.fd);
		if (stream->in.used && stream->local.fd >= 0)
			pour(&stream->in, stream->local.fd);
	}
	settle_out(stream);
	settle_in(stream);
	want_all(stream);
}

static void say_hello(struct stream *stream)
{
	const struct wire_stream_hello hello = {
		.magic = WIRE_STREAM_MAGIC, .target = stream->container, .stream = stream->kind};

	/* The first bytes of a connection always fit. */
	stream->connecting = false;
	if (send(stream->socket.fd, &hello, sizeof(hello), MSG_NOSIGNAL) == (ssize_t)sizeof(hello))
		return;
	log_warn("container %u: stream %d: no connection to the host: errno %d", stream->container, stream->kind,
		 errno);
	host_gone(stream);
}

static void on_socket(void *ctx, uint32_t happened)
{
	struct stream *stream = ctx;

	if (stream->connecting && happened & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		say_hello(stream);
	else if (happened & (EPOLLIN | EPOLLHUP | EPOLLERR))
		fill(&stream->in, stream->socket.fd, false);
	work(stream);
}

static void on_local(void *ctx, uint32_t happened)
{
	struct stream *stream = ctx;

	if (happened & (EPOLLIN | EPOLLHUP | EPOLLERR))
		fill(&stream->out, stream->local.fd, stream->ending);
	work(stream);
}

struct stream *stream_new(struct events *events, int socket, int local, unsigned container, enum wire_stream kind,
			  void (*finished)(void *ctx), void *ctx)
{
	struct stream *stream = xcalloc(1, sizeof(*stream));

	fd_nonblock(local);
	stream->events = events;
	stream->socket = (struct events_watch){.fd = socket, .fn = on_socket, .ctx = stream};
	stream->local = (struct events_watch){.fd = local, .fn = on_local, .ctx = stream};
	stream->container = container;
	stream->kind = kind;
	stream->connecting = true;
	stream->out.used = kind != WIRE_STDIN;
	stream->in.used = kind == WIRE_STDIN || kind == WIRE_TTY;
	stream->out.left = stream->in.left = SIZE_MAX;
	stream->finished = finished;
	stream->ctx = ctx;
	want_all(stream);
	return stream;
}

void stream_free(struct stream *stream)
{
	if (!stream)
		return;
	close_watch(stream, &stream->local);
	close_watch(stream, &stream->socket);
	give_buffer(&stream->out);
	give_buffer(&stream->in);
	free(stream);
}

/* What there is to read of a source whose writer has gone. */
static size_t rest_of(const struct stream *stream)
{
	int bytes = 0;

	if (is_tty(stream))
		return TTY_REST_BYTES;
	return ioctl(stream->local.fd, FIONREAD, &bytes) < 0 ? 0 : (size_t)bytes;
}

void stream_end(struct stream *stream)
{
	stream->ending = true;
	if (stream->in.used) {
		stream->in.source_ended = stream->in.closed = true;
		give_buffer(&stream->in);
	}
	if (stream->kind == WIRE_STDIN) {
		close_watch(stream, &stream->local);
		close_watch(stream, &stream->socket);
		return;
	}
	if (stream->local.fd >= 0 && !stream->out.source_ended) {
		stream->out.left = rest_of(stream);
		stream->out.source_ended = stream->out.left == 0;
	}
	/* Reads on until it is empty or full; if full, work() goes on when the host has taken some. */
	do
		work(stream);
	while (stream->local.fd >= 0 && has_room(&stream->out));
	if (stream->out.closed)
		finish(stream);
}
