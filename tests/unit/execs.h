/* SPDX-License-Identifier: Apache-2.0 */
/*
 * execs: what test_joined and test_joined_tty have in common: a PID 1 with an empty table of further processes, and a host.
 * The processes are real. They stay in our own namespaces, so that an ordinary user can run these tests. All of it is
 * static: each of the two is a program of one file.
 *
 * The host is this same thread: after each turn of the loop it takes the frames and what the streams brought. Whenever it
 * takes an EXITED it looks whether all output of that process is there and ended: that holds in every test.
 */
#ifndef TESTS_UNIT_EXECS_H
#define TESTS_UNIT_EXECS_H

#include "init/joined.h"
#include "lib/log.h"
#include "lib/util.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	FIRST = WIRE_EXEC_FIRST,
	TURN_MS = 5,
	PATIENCE_MS = 20000, /* on a machine that does much else */
	CONNECTIONS_MAX = 3 * WIRE_EXECS_MAX + 8,
	FRAMES_MAX = 2 * WIRE_EXECS_MAX + 64,
};

/* The host's end of a stream. */
struct connection {
	int fd; /* -1: closed by the host */
	bool has_hello, ended;
	struct wire_stream_hello hello;
	size_t total;
	char text[8192]; /* the first of it */
};

struct told {
	enum wire_type type;
	uint32_t target;
	struct wire_exited exited;
	char text[256];
};

static struct {
	struct events *events;
	struct agent *agent;
	struct joined *joined;
	struct wire_reader reader;
	int host;
	struct events_timer timer;
	struct spec_container container;
	char *ptmx;	       /* what find() says */
	pid_t init;	       /* as well */
	int find_result;
	unsigned connects_left; /* until connect() fails */
	int send_room;		/* bytes of a stream's socket; 0: the default */
	bool is_slow;		/* the host does not look at the streams */
	unsigned idles, strangers, lost;
	struct connection *connections;
	unsigned connection_count;
	struct told *frames;
	unsigned frame_count;
	unsigned descriptors; /* open before all this */
} rig;

static inline unsigned descriptors_open(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	while (directory && readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* ---- the host ---- */

static inline void read_stream(struct connection *connection)
{
	char bytes[4096];
	ssize_t got;

	if (connection->fd < 0 || connection->ended)
		return;
	if (!connection->has_hello) {
		got = recv(connection->fd, &connection->hello, sizeof(connection->hello), MSG_DONTWAIT);
		if (got < 0)
			return;
		connection->has_hello = got == sizeof(connection->hello);
		connection->ended = got == 0;
		CHECK(connection->ended || connection->hello.magic == WIRE_STREAM_MAGIC);
	}
	/* Bounded: one that writes on and on must not keep us here. */
	for (unsigned i = 0; i < 64 && !connection->ended; i++) {
		size_t room = sizeof(connection->text) - 1 - MIN(connection->total, sizeof(connection->text) - 1);

		got = recv(connection->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (got < 0 && errno == EAGAIN)
			return;
		connection->ended = got <= 0;
		if (got > 0 && room)
			memcpy(connection->text + connection->total, bytes, MIN(room, (size_t)got));
		connection->total += got > 0 ? (size_t)got : 0;
	}
}

static inline struct connection *stream_of(uint32_t number, enum wire_stream kind)
{
	for (unsigned i = 0; i < rig.connection_count; i++) {
		struct connection *connection = &rig.connections[i];

		if (!connection->has_hello)
			read_stream(connection);
		if (connection->has_hello && connection->hello.target == number && connection->hello.stream == (uint32_t)kind)
			return connection;
	}
	return NULL;
}

static inline const char *output_of(uint32_t number, enum wire_stream kind)
{
	const struct connection *connection = stream_of(number, kind);

	return connection ? connection->text : NULL;
}

/* All that was written must be on its way, and its end, before EXITED. */
static inline void check_output_ended(uint32_t number)
{
	for (unsigned i = 0; i < rig.connection_count; i++) {
		struct connection *connection = &rig.connections[i];

		read_stream(connection);
		if (connection->fd >= 0 && connection->has_hello && connection->hello.target == number)
			CHECK(connection->ended || connection->hello.stream == WIRE_STDIN);
	}
}

static inline int on_frame(void *ctx, const struct wire_header *header, const void *payload)
{
	struct told *told = &rig.frames[rig.frame_count];

	(void)ctx;
	if (!CHECK(rig.frame_count < FRAMES_MAX))
		return 0;
	rig.frame_count++;
	*told = (struct told){.type = (enum wire_type)header->type, .target = header->target};
	if (header->type == WIRE_EXITED && CHECK_INT(header->payload_bytes, sizeof(told->exited)))
		memcpy(&told->exited, payload, sizeof(told->exited));
	else
		snprintf(told->text, sizeof(told->text), "%s", (const char *)payload);
	if (header->type == WIRE_EXITED)
		check_output_ended(header->target);
	return 0;
}

static inline void read_frames(void)
{
	char bytes[4096];
	ssize_t got;

	while ((got = recv(rig.host, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		wire_feed(&rig.reader, bytes, (size_t)got, on_frame, NULL);
}

static inline const struct told *told(enum wire_type type, uint32_t target)
{
	for (unsigned i = 0; i < rig.frame_count; i++)
		if (rig.frames[i].type == type && rig.frames[i].target == target)
			return &rig.frames[i];
	return NULL;
}

static inline const char *text_told(enum wire_type type, uint32_t target)
{
	const struct told *frame = told(type, target);

	return frame ? frame->text : NULL;
}

static inline unsigned told_times(enum wire_type type, uint32_t target)
{
	unsigned count = 0;

	for (unsigned i = 0; i < rig.frame_count; i++)
		count += rig.frames[i].type == type && rig.frames[i].target == target;
	return count;
}

/* ---- PID 1 ---- */

static inline int on_connect(void *ctx)
{
	int pair[2];

	(void)ctx;
	if (!rig.connects_left)
		return -ECONNREFUSED;
	rig.connects_left--;
	if (rig.connection_count == CONNECTIONS_MAX ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -EMFILE;
	if (rig.send_room)
		setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &rig.send_room, sizeof(rig.send_room));
	rig.connections[rig.connection_count] = (struct connection){.fd = pair[1]};
	rig.connection_count++;
	return pair[0];
}

static inline int on_find(void *ctx, uint32_t container, struct joined_home *home, char *text, size_t room)
{
	(void)ctx;
	/* What was filled in is joined's also when it fails. */
	home->spec = &rig.container;
	home->hostname = "pod";
	home->ptmx = rig.ptmx ? xstrdup(rig.ptmx) : NULL;
	home->init = rig.init;
	if (rig.find_result)
		snprintf(text, room, "container %u has ended", container);
	return rig.find_result;
}

static inline void on_idle(void *ctx)
{
	(void)ctx;
	CHECK(joined_is_idle(rig.joined));
	rig.idles++;
}

static const struct joined_user user = {.connect = on_connect, .find = on_find, .idle = on_idle};

static inline int on_host_frame(void *ctx, const struct wire_header *header, const void *payload)
{
	(void)ctx;
	(void)header;
	(void)payload;
	return 0;
}

static inline void on_lost(void *ctx)
{
	(void)ctx;
	rig.lost++;
}

static inline void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		rig.strangers += !joined_reaped(rig.joined, pid, status);
}

static inline void on_timer(void *ctx)
{
	(void)ctx;
}

static inline void turn(void)
{
	events_timer_set(rig.events, &rig.timer, clock_mono_ns() + TURN_MS * UINT64_C(1000000));
	events_turn(rig.events);
	events_timer_cancel(rig.events, &rig.timer);
	reap();
	for (unsigned i = 0; i < rig.connection_count && !rig.is_slow; i++)
		read_stream(&rig.connections[i]);
	read_frames();
}

static inline void settle(unsigned ms)
{
	uint64_t end_ns = clock_mono_ns() + ms * UINT64_C(1000000);

	while (clock_mono_ns() < end_ns)
		turn();
}

/* Turns until the frame comes; false when it does not. */
static inline bool wait_for(enum wire_type type, uint32_t target)
{
	uint64_t end_ns = clock_mono_ns() + PATIENCE_MS * UINT64_C(1000000);

	while (!told(type, target) && clock_mono_ns() < end_ns)
		turn();
	return CHECK(told(type, target));
}

/* Until its output has the text. */
static inline bool wait_output(uint32_t number, enum wire_stream kind, const char *text)
{
	uint64_t end_ns = clock_mono_ns() + PATIENCE_MS * UINT64_C(1000000);
	const char *output;

	while (((output = output_of(number, kind)) == NULL || !strstr(output, text)) && clock_mono_ns() < end_ns)
		turn();
	return CHECK(output && strstr(output, text));
}

static inline void check_exit(uint32_t number, uint32_t code)
{
	if (!wait_for(WIRE_EXITED, number))
		return;
	CHECK_INT(told(WIRE_EXITED, number)->exited.code, code);
	CHECK_INT(told(WIRE_EXITED, number)->exited.oom_killed, 0);
	CHECK_INT(told_times(WIRE_EXITED, number), 1);
}

static inline void begin(void)
{
	int pair[2];

	memset(&rig, 0, sizeof(rig));
	rig.descriptors = descriptors_open();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	rig.connections = xcalloc(CONNECTIONS_MAX, sizeof(*rig.connections));
	rig.frames = xcalloc(FRAMES_MAX, sizeof(*rig.frames));
	rig.container = (struct spec_container){
		.name = (char *)"c", .workdir = (char *)"/", .user = {.name = (char *)"", .group = (char *)""}};
	rig.timer.fn = on_timer;
	rig.connects_left = UINT32_MAX;
	rig.host = pair[1];
	rig.events = events_new();
	rig.agent = agent_new(rig.events, pair[0], on_host_frame, on_lost, NULL);
	rig.joined = joined_new(rig.events, rig.agent, &user, NULL);
}

/* Whatever happened: no process, no descriptor and nothing of the host's stays behind. */
static inline void finish(void)
{
	uint64_t end_ns = clock_mono_ns() + PATIENCE_MS * UINT64_C(1000000);

	joined_free(rig.joined);
	agent_free(rig.agent);
	events_free(rig.events);
	CHECK_INT(rig.lost, 0);
	for (unsigned i = 0; i < rig.connection_count; i++)
		if (rig.connections[i].fd >= 0)
			close(rig.connections[i].fd);
	close(rig.host);
	wire_reader_free(&rig.reader);
	free(rig.connections);
	free(rig.frames);
	while (waitpid(-1, NULL, WNOHANG) >= 0 && clock_mono_ns() < end_ns)
		usleep(1000);
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	/* Our own namespace is opened once, to come back to. */
	CHECK(descriptors_open() - rig.descriptors <= (rig.init ? 1 : 0));
}

static inline void start_json(uint32_t number, const char *json)
{
	const struct wire_exec wire = {.container = 0, .rows = 33, .cols = 99};

	fflush(stdout); /* or the child would have a copy */
	joined_start(rig.joined, number, &wire, json, strlen(json));
}

/* A script without quotes of JSON's. */
static inline void start(uint32_t number, const char *script)
{
	char *json = xasprintf("{\"command\":[\"sh\",\"-c\",\"%s\"]}", script);

	start_json(number, json);
	free(json);
}

/* Before the first test: as PID 1 has it. */
static inline void prepare(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

#endif
