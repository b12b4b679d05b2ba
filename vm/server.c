// SPDX-License-Identifier: Apache-2.0
/*
 * server: see server.h. Owns the clients and their answers; what a request leads to is vm/session's and vm/execs's.
 *
 * Theory of operation
 * -------------------
 * A client is a reader of lines, a fifo of answers, and at most one thing under way: statistics it waits for, or the exec
 * it has on its leash. While it waits, its next lines stay unread, so answers keep their order; while its exec runs, only
 * signals and sizes are taken. A client that can not be gone on with is not freed where that shows, which may be deep in a
 * call from execs, but by a task.
 *
 * Of the lines that came in one read only so many are taken in a turn, the rest by a task in the next ones, while nothing
 * more is read. Where nothing is read, a client that hung up is still noticed, by POLLHUP: it closed both ways then. One
 * that only shut down its sending is one that asked all it wants to, and is hung up on when that was answered.
 */
#include "vm/server.h"

#include "lib/log.h"
#include "lib/util.h"
#include "live/talk.h"
#include "pod/spec_exec.h"
#include "vm/execs.h"
#include "vm/fifo.h"
#include "vm/usage.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	ANSWERS_BYTES_MAX = 4 << 20, /* not taken by the client */
	GRACE_MS_MAX = 24 * 3600 * 1000,
	LINES_PER_TURN = 64,
	ACCEPT_AGAIN_MS = 1000,
};

struct client {
	struct server *server;
	struct client *next;
	int fd;
	struct talk_reader reader;
	struct fifo out;
	struct loop_task drop;
	struct loop_task more; /* posted: lines that were read wait for the next turn */
	bool gone;	    /* drop is posted */
	bool waits;	    /* for statistics */
	bool execs;	    /* exec runs */
	uint32_t exec;
	char *refused; /* why exec did not start */
};

struct server {
	struct server_config config;
	int fd;
	uint64_t started_ns; /* CLOCK_REALTIME */
	struct client *clients;
	unsigned client_count;
	struct loop_timer accept_again;
};

/* ---- answers ---- */

static void client_lose(struct client *client)
{
	client->gone = true;
	loop_task_post(client->server->config.loop, &client->drop);
}

/* Its next lines are not wanted yet. */
static bool client_held(const struct client *client)
{
	return client->waits || client->more.posted;
}

static void client_watch(struct client *client)
{
	short events = client_held(client) ? POLLHUP : POLLIN;

	if (!client->gone)
		loop_fd_events(client->server->config.loop, client->fd, (short)(events | (client->out.count ? POLLOUT : 0)));
}

static void answers_send(struct client *client)
{
	while (client->out.count) {
		ssize_t sent = send(client->fd, fifo_head(&client->out), client->out.count, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno != EAGAIN)
			client_lose(client);
		if (sent < 0)
			break;
		fifo_drop(&client->out, (size_t)sent);
	}
	client_watch(client);
}

/* Takes the message over. */
static void answer(struct client *client, struct message *message)
{
	char *text = message_print(message), *line = xasprintf("%s\n", text);

	message_free(message);
	free(text);
	if (!client->gone && client->out.count + strlen(line) > ANSWERS_BYTES_MAX)
		client_lose(client);
	if (!client->gone) {
		fifo_append(&client->out, line, strlen(line));
		answers_send(client);
	}
	free(line);
}

static void answer_ok(struct client *client)
{
	answer(client, message_set_bool(message_new(), "ok", true));
}

static void refuse(struct client *client, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void refuse(struct client *client, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	answer(client, message_set_number(message_set_text(message_new(), "error", text), "code", EXIT_PODVM));
}

/* For -errno of a call into the session. */
static void answer_result(struct client *client, int err, const char *what)
{
	const char *name = dir_pod_name(client->server->config.dir);

	if (!err)
		answer_ok(client);
	else if (err == -ENOTCONN)
		refuse(client, "%s does not run", name);
	else if (err == -EALREADY)
		refuse(client, "%s is %s already", name, what);
	else
		refuse(client, "%s: %s", name, strerror(-err));
}

/* ---- what may be asked ---- */

/* The container that a request names, or -1 after a refusal. */
static int container_find(struct client *client, const char *name)
{
	const struct spec_pod *spec = client->server->config.spec;
	char *names = xstrdup("");

	for (size_t i = 0; i < spec->container_count; i++) {
		char *longer = xasprintf("%s%s%s", names, i ? ", " : "", spec->containers[i].name);

		free(names);
		names = longer;
		if (!strcmp(spec->containers[i].name, name)) {
			free(names);
			return (int)i;
		}
	}
	refuse(client, "%s has no container %s; it has %s", dir_pod_name(client->server->config.dir), name, names);
	free(names);
	return -1;
}

static const char *phase_name(const struct session *session)
{
	static const char *const names[] = {[SESSION_STARTING] = "starting",
					    [SESSION_RUNNING] = "running",
					    [SESSION_PAUSED] = "paused",
					    [SESSION_STOPPING] = "stopping",
					    [SESSION_ENDED] = "ended"};

	return names[session_phase(session)];
}

static void ask_status(struct client *client, const struct message *ask)
{
	static const char *const states[] = {[SESSION_CONTAINER_PENDING] = "pending",
					     [SESSION_CONTAINER_RUNNING] = "running",
					     [SESSION_CONTAINER_ENDED] = "ended"};
	const struct server_config *config = &client->server->config;
	const struct session_container *containers = session_containers(config->session);
	struct message *message = message_set_text(message_new(), "podvm", PODVM_VERSION);
	uint64_t started_ms = client->server->started_ns / 1000000;

	(void)ask;
	message_set_text(message, "name", dir_pod_name(config->dir));
	message_set_number(message, "pid", getpid());
	message_set_text(message, "phase", phase_name(config->session));
	message_set_number(message, "startedMs", (double)started_ms);
	message_add(message, "containers", NULL);
	for (size_t i = 0; i < config->spec->container_count; i++) {
		struct message *one = message_set_text(message_new(), "name", config->spec->containers[i].name);

		message_set_text(one, "state", states[containers[i].state]);
		if (containers[i].state == SESSION_CONTAINER_ENDED) {
			message_set_number(one, "code", containers[i].code);
			message_set_bool(one, "oomKilled", containers[i].oom_killed);
		}
		message_add(message, "containers", one);
	}
	answer(client, message);
}

static void lines_take(struct client *client);

static void stats_came(void *ctx, const struct wire_stats *pod, const struct wire_use *uses)
{
	struct client *client = ctx;

	client->waits = false;
	if (!pod)
		refuse(client, "%s has ended", dir_pod_name(client->server->config.dir));
	else
		answer(client, message_set(message_new(), "stats", usage_message(client->server->config.spec, pod, uses)));
	lines_take(client);
}

static void ask_stats(struct client *client, const struct message *ask)
{
	int err;

	(void)ask;
	if (session_phase(client->server->config.session) == SESSION_PAUSED) {
		refuse(client, "%s is paused; podvm unpause lets it go on", dir_pod_name(client->server->config.dir));
		return;
	}
	err = session_stats(client->server->config.session, stats_came, client);
	if (err)
		answer_result(client, err, "");
	client->waits = !err;
	client_watch(client);
}

static void ask_stop(struct client *client, const struct message *ask)
{
	unsigned grace_ms = (unsigned)message_count(ask, "graceMs", GRACE_MS_MAX, SESSION_GRACE_MS);

	answer_result(client, session_stop(client->server->config.session, grace_ms), "");
}

/* KILL to all of them is the end of the pod: else a restart policy would start them again. */
static void ask_kill(struct client *client, const struct message *ask)
{
	struct session *session = client->server->config.session;
	unsigned signo = (unsigned)message_count(ask, "signal", NSIG - 1, 0);
	const char *name = message_text(ask, "container");
	int container = name ? container_find(client, name) : 0;

	if (container < 0)
		return;
	if (!signo)
		refuse(client, "no signal is named");
	else if (!name && signo == SIGKILL)
		answer_result(client, session_stop(session, 0), "");
	else
		answer_result(client, session_signal(session, name ? (uint32_t)container : WIRE_ALL, signo), "");
}

static void ask_pause(struct client *client, const struct message *ask)
{
	bool paused = !strcmp(message_text(ask, "do"), "pause");

	answer_result(client, session_pause(client->server->config.session, paused), paused ? "paused" : "running");
}

/* ---- exec ---- */

static void exec_started(void *ctx)
{
	answer(ctx, message_set_bool(message_new(), "started", true));
}

static void exec_refused(void *ctx, const char *why)
{
	struct client *client = ctx;

	free(client->refused);
	client->refused = xstrdup(why);
}

static void exec_exited(void *ctx, const struct wire_exited *exited)
{
	struct client *client = ctx;
	struct message *how = message_new();

	client->execs = false;
	message_set_number(how, "code", exited->code);
	if (client->refused) {
		message_set_text(how, "error", client->refused);
		answer(client, how);
		return;
	}
	message_set_number(how, "signal", exited->signal);
	message_set_bool(how, "oomKilled", exited->oom_killed != 0);
	answer(client, message_set(message_new(), "exited", how));
}

static const struct execs_user execs_user = {
	.started = exec_started,
	.refused = exec_refused,
	.exited = exec_exited,
};

/* The first problem, without its place: what is asked was not written by hand. */
static void keep_problem(void *ctx, enum spec_level level, const char *message)
{
	char **problem = ctx;
	const char *at = message;

	(void)level;
	for (int colons = 0; colons < 3 && at; colons++)
		at = strchr(at, ':') ? strchr(at, ':') + 1 : NULL;
	if (!*problem)
		*problem = xstrdup(at ? at + strspn(at, " ") : message);
}

/* The process as the guest is told it, fresh; NULL after a refusal. */
static char *process_read(struct client *client, const struct message *ask)
{
	char *text = message_json(ask, "process"), *problem = NULL, *json = NULL;
	struct spec_exec *exec = text ? spec_exec_parse(text, strlen(text), "process", keep_problem, &problem) : NULL;

	if (exec)
		json = spec_exec_print(exec);
	else
		refuse(client, "%s", problem ? problem : "no process is named");
	spec_exec_free(exec);
	free(problem);
	free(text);
	return json;
}

static void exec_begin(struct client *client, const struct message *ask, const int fds[3], const char *json)
{
	const struct server_config *server = &client->server->config;
	struct execs_config config = {.json = json, .json_bytes = strlen(json), .fds = {fds[0], fds[1], fds[2]}};
	struct execs *execs = session_execs(server->session);
	const char *name = message_text(ask, "container");
	int container = name ? container_find(client, name) : 0, err;

	if (container < 0)
		return;
	config.wire.container = (uint32_t)container;
	config.wire.rows = (uint16_t)message_count(ask, "rows", UINT16_MAX, 0);
	config.wire.cols = (uint16_t)message_count(ask, "cols", UINT16_MAX, 0);
	if (session_phase(server->session) == SESSION_PAUSED) {
		refuse(client, "%s is paused; podvm unpause lets it go on", dir_pod_name(server->dir));
		return;
	}
	err = execs ? execs_start(execs, &config, &execs_user, client, &client->exec) : -ENOTCONN;
	client->execs = !err;
	if (err == -EAGAIN)
		refuse(client, "%s runs %d such processes already", dir_pod_name(server->dir), WIRE_EXECS_MAX);
	else if (err)
		answer_result(client, err, "");
}

static void ask_exec(struct client *client, const struct message *ask)
{
	int fds[TALK_FDS_MAX];
	char *json;

	free(client->refused);
	client->refused = NULL;
	if (!talk_take_fds(&client->reader, fds)) {
		refuse(client, "three descriptors have to come with exec");
		return;
	}
	json = process_read(client, ask);
	if (json)
		exec_begin(client, ask, fds, json);
	free(json);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

/* To the client's exec. One that ends just now needs no answer. */
static void exec_told(struct client *client, const struct message *ask)
{
	struct execs *execs = session_execs(client->server->config.session);
	const char *what = message_text(ask, "do");

	if (what && !strcmp(what, "signal"))
		(void)execs_signal(execs, client->exec, (unsigned)message_count(ask, "signal", NSIG - 1, 0));
	else if (what && !strcmp(what, "winsize"))
		(void)execs_winsize(execs, client->exec, (uint16_t)message_count(ask, "rows", UINT16_MAX, 0),
				    (uint16_t)message_count(ask, "cols", UINT16_MAX, 0));
	else
		client_lose(client);
}

/* ---- clients ---- */

static void request(struct client *client, const struct message *ask)
{
	static const struct {
		const char *what;
		void (*take)(struct client *client, const struct message *ask);
	} requests[] = {
		{"status", ask_status}, {"stats", ask_stats},	{"stop", ask_stop}, {"kill", ask_kill},
		{"pause", ask_pause},	{"unpause", ask_pause}, {"exec", ask_exec},
	};
	const char *what = message_text(ask, "do");

	if (client->execs) {
		exec_told(client, ask);
		return;
	}
	for (size_t i = 0; what && i < ARRAY_SIZE(requests); i++) {
		if (!strcmp(requests[i].what, what)) {
			requests[i].take(client, ask);
			return;
		}
	}
	/* Just too late for what had ended. */
	if (!what || (strcmp(what, "signal") && strcmp(what, "winsize")))
		refuse(client, "this podvm (" PODVM_VERSION ") does not know what \"%s\" is", what ? what : "");
}

/* What follows such a line can not be told from it. */
static void line_bad(struct client *client, int err)
{
	if (err == -EMSGSIZE)
		refuse(client, "a line has more than %d bytes", TALK_LINE_BYTES_MAX);
	else
		refuse(client, "a line has to be one JSON object");
	client_lose(client);
}

static void lines_take(struct client *client)
{
	struct message *ask;
	unsigned taken = 0;
	int got = 1;

	while (!client->gone && !client->waits && taken < LINES_PER_TURN && (got = talk_next(&client->reader, &ask)) > 0) {
		taken++;
		request(client, ask);
		message_free(ask);
	}
	if (client->gone)
		return;
	if (got < 0)
		line_bad(client, got);
	else if (taken == LINES_PER_TURN && !client->waits)
		loop_task_post(client->server->config.loop, &client->more);
	client_watch(client);
}

static void client_goes_on(void *ctx)
{
	lines_take(ctx);
}

/* All but its place in the list. */
static void client_free(struct client *client)
{
	struct server *server = client->server;

	if (client->execs)
		execs_hangup(session_execs(server->config.session), client->exec);
	session_stats_cancel(server->config.session, client);
	loop_task_cancel(server->config.loop, &client->drop);
	loop_task_cancel(server->config.loop, &client->more);
	loop_fd_del(server->config.loop, client->fd);
	close(client->fd);
	talk_reader_free(&client->reader);
	fifo_free(&client->out);
	free(client->refused);
	free(client);
}

static void client_dropped(void *ctx)
{
	struct client *client = ctx;
	struct server *server = client->server;
	struct client **at = &server->clients;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	server->client_count--;
	client_free(client);
}

static void client_ready(void *ctx, int fd, short revents)
{
	struct client *client = ctx;
	long got;

	if (client->gone)
		return;
	if (revents & POLLOUT)
		answers_send(client);
	if (client->gone || !(revents & (POLLIN | POLLHUP | POLLERR)))
		return;
	got = talk_receive(&client->reader, fd, MSG_DONTWAIT);
	if (got > 0)
		lines_take(client);
	else if (got != -EAGAIN)
		client_lose(client);
}

/* The same user, or root: who may signal this process may ask it. */
static bool client_allowed(int fd)
{
	struct ucred peer;
	socklen_t bytes = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 && (peer.uid == geteuid() || peer.uid == 0);
}

/* No descriptors or memory for it just now: who waits stays so, and is no reason to wake up until then. */
static void accept_rests(struct server *server)
{
	struct loop *loop = server->config.loop;

	loop_fd_events(loop, server->fd, 0);
	loop_timer_set(loop, &server->accept_again, loop_now_ns(loop) + ACCEPT_AGAIN_MS * UINT64_C(1000000));
}

static void accept_goes_on(void *ctx)
{
	struct server *server = ctx;

	loop_fd_events(server->config.loop, server->fd, POLLIN);
}

static void client_comes(void *ctx, int fd, short revents)
{
	struct server *server = ctx;
	struct client *client;
	int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)revents;
	if (peer < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			accept_rests(server);
		return;
	}
	if (server->client_count == SERVER_CLIENTS_MAX || !client_allowed(peer)) {
		close(peer);
		return;
	}
	client = xcalloc(1, sizeof(*client));
	client->server = server;
	client->fd = peer;
	client->drop = (struct loop_task){.fn = client_dropped, .ctx = client};
	client->more = (struct loop_task){.fn = client_goes_on, .ctx = client};
	client->next = server->clients;
	server->clients = client;
	server->client_count++;
	loop_fd_add(server->config.loop, peer, POLLIN, client_ready, client);
}

struct server *server_new(const struct server_config *config)
{
	struct server *server;
	int fd = dir_pod_listen(config->dir);

	if (fd < 0) {
		log_warn("no control socket for %s: %s; other commands can not reach it", dir_pod_name(config->dir),
			 strerror(-fd));
		return NULL;
	}
	server = xcalloc(1, sizeof(*server));
	server->config = *config;
	server->fd = fd;
	server->started_ns = clock_real_ns();
	server->accept_again = (struct loop_timer){.fn = accept_goes_on, .ctx = server};
	loop_fd_add(config->loop, fd, POLLIN, client_comes, server);
	return server;
}

void server_free(struct server *server)
{
	struct client *client, *next;

	if (!server)
		return;
	for (client = server->clients; client; client = next) {
		next = client->next;
		client_free(client);
	}
	loop_timer_cancel(server->config.loop, &server->accept_again);
	loop_fd_del(server->config.loop, server->fd);
	close(server->fd);
	free(server);
}
