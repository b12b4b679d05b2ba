/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent: owns the control socket and the bytes that wait for it. Knows frames, not what they mean.
 */
#define _GNU_SOURCE

#include "init/agent.h"

#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	READ_BYTES = 64 << 10,
	LOG_LINE_MAX = 1000,
	LOG_WAITING_MAX = 256 << 10, /* bytes unsent at which lines are dropped, never other frames */
};

struct agent {
	struct events *events;
	struct events_watch watch;
	struct wire_reader reader;
	wire_frame_fn *frame;
	void (*lost)(void *ctx);
	void *ctx;
	bool is_lost;
	uint8_t *out;
	size_t out_at, out_end, out_room;
};

static void lose(struct agent *agent)
{
	events_want(agent->events, &agent->watch, 0);
	if (agent->is_lost)
		return;
	agent->is_lost = true;
	agent->lost(agent->ctx);
}

/* As much as the socket takes. 0 or -errno; full is no fault. */
static int flush(struct agent *agent)
{
	while (agent->out_at < agent->out_end) {
		ssize_t sent = send(agent->watch.fd, agent->out + agent->out_at, agent->out_end - agent->out_at,
				    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EAGAIN ? 0 : -errno;
		agent->out_at += (size_t)sent;
	}
	agent->out_at = agent->out_end = 0;
	return 0;
}

static void want(struct agent *agent)
{
	events_want(agent->events, &agent->watch, EPOLLIN | (agent->out_end ? EPOLLOUT : 0));
}

/* Reads what there is, in one piece: large pods come in many turns, and nothing else runs yet. */
static void take(struct agent *agent)
{
	static uint8_t bytes[READ_BYTES];
	ssize_t got = recv(agent->watch.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	int err;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		log_warn("the host has hung up");
		lose(agent);
		return;
	}
	err = wire_feed(&agent->reader, bytes, (size_t)got, agent->frame, agent->ctx);
	if (err < 0) {
		log_warn("the host sent what this init does not understand: errno %d", -err);
		lose(agent);
	}
}

static void on_ready(void *ctx, uint32_t happened)
{
	struct agent *agent = ctx;

	if (happened & EPOLLOUT && flush(agent) < 0) {
		lose(agent);
		return;
	}
	if (happened & (EPOLLIN | EPOLLHUP | EPOLLERR))
		take(agent);
	if (!agent->is_lost)
		want(agent);
}

struct agent *agent_new(struct events *events, int fd, wire_frame_fn *frame, void (*lost)(void *ctx), void *ctx)
{
	struct agent *agent = xcalloc(1, sizeof(*agent));

	agent->events = events;
	agent->watch = (struct events_watch){.fd = fd, .fn = on_ready, .ctx = agent};
	agent->frame = frame;
	agent->lost = lost;
	agent->ctx = ctx;
	want(agent);
	return agent;
}

void agent_free(struct agent *agent)
{
	if (!agent)
		return;
	events_want(agent->events, &agent->watch, 0);
	close(agent->watch.fd);
	wire_reader_free(&agent->reader);
	free(agent->out);
	free(agent);
}

void agent_send(struct agent *agent, enum wire_type type, uint32_t target, const void *payload, size_t bytes)
{
	size_t count;
	uint8_t *frame;

	if (agent->is_lost)
		return;
	frame = wire_frame_new(type, target, payload, bytes, &count);
	if (agent->out_end + count > agent->out_room) {
		agent->out_room = agent->out_end + count;
		agent->out = xrealloc(agent->out, agent->out_room);
	}
	memcpy(agent->out + agent->out_end, frame, count);
	agent->out_end += count;
	free(frame);
	/* A fault is found again, and told, when the loop sees the socket: the caller may be anywhere. */
	flush(agent);
	want(agent);
}

void agent_log(struct agent *agent, const char *fmt, ...)
{
	char text[LOG_LINE_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_warn("%s", text);
	if (agent->out_end - agent->out_at < LOG_WAITING_MAX)
		agent_send(agent, WIRE_LOG, 0, text, strlen(text));
}

void agent_drain(struct agent *agent, int timeout_ms)
{
	uint64_t deadline_ns = clock_mono_ns() + (uint64_t)timeout_ms * 1000000;
	struct pollfd poller = {.fd = agent->watch.fd};
	uint8_t bytes[256];

	for (;;) {
		uint64_t now_ns = clock_mono_ns();

		if (agent->is_lost || flush(agent) < 0 || now_ns >= deadline_ns)
			return;
		poller.events = (short)(POLLIN | (agent->out_end ? POLLOUT : 0));
		poll(&poller, 1, (int)((deadline_ns - now_ns + 999999) / 1000000));
		if (poller.revents & (POLLHUP | POLLERR))
			return;
		/* Nothing the host still asks for counts; its end does. */
		if (poller.revents & POLLIN && recv(agent->watch.fd, bytes, sizeof(bytes), MSG_DONTWAIT) == 0)
			return;
	}
}
