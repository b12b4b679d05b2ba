// SPDX-License-Identifier: Apache-2.0
/*
 * session: the conversation with a running pod, and its result.
 *
 * Theory of operation
 * -------------------
 * Every way a pod can end leads to finish(), which notes the first code, ends what clients run in the pod (vm/execs.h), and
 * stops the loop when they have been told, or after SESSION_EXECS_MS:
 * - all containers ended (done) and all their output is written (drained): the containers' result;
 * - init could not set the pod up (failed): 125 and its line;
 * - the machine ended, or the connection was lost, before that: 125, with the end of the guest's console;
 * - a stop that took too long: 137.
 * The containers' result is the code of the first container, in the file's order, that did not end with 0.
 */
#include "vm/session.h"

#include "lib/log.h"
#include "lib/util.h"
#include "vm/askers.h"
#include "vm/clock.h"
#include "vm/control.h"
#include "vm/execs.h"
#include "vm/stdio.h"
#include "vm/streams.h"
#include "vm/terminal.h"
#include "vm/trace.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { CONSOLE_LINES_SHOWN = 12, CONSOLE_BYTES_SHOWN = 2048, SIGNAL_EXIT = 128 };

struct session {
	struct session_config config;
	struct control *control;
	struct streams *streams;
	struct stdio *stdio;
	struct execs *execs;
	struct clock *clock;
	int signal_fd;
	struct loop_timer deadline;
	unsigned stops; /* how often we were asked to stop */
	bool pod_sent, paused, done, finished;
	bool clients_ended, execs_ended;
	int code;
	bool output_lost;
	int output_lost_code;
	struct session_container containers[SPEC_CONTAINERS_MAX];
	struct askers askers;
	uint32_t next_token;
	struct log_limit limit;
};

static void deadline_set(struct session *session, uint64_t ms)
{
	loop_timer_set(session->config.loop, &session->deadline, clock_mono_ns() + ms * UINT64_C(1000000));
}

static void execs_ended(void *ctx)
{
	struct session *session = ctx;

	session->execs_ended = true;
	if (session->finished)
		loop_stop(session->config.loop);
}

/* Clients that wait for the pod hear that it is over; once. */
static void clients_end(struct session *session)
{
	if (session->clients_ended)
		return;
	session->clients_ended = true;
	askers_end(&session->askers);
	execs_on_pod_ended(session->execs, execs_ended, session);
}

/* Notes the result; the first one counts. */
static void finish(struct session *session, int code)
{
	if (session->finished)
		return;
	session->finished = true;
	session->code = code;
	deadline_set(session, SESSION_EXECS_MS);
	clients_end(session);
	if (session->execs_ended)
		loop_stop(session->config.loop);
}

static int containers_code(const struct session *session)
{
	for (size_t i = 0; i < session->config.spec->container_count; i++)
		if (session->containers[i].code)
			return session->containers[i].code;
	return 0;
}

static void finish_when_drained(struct session *session)
{
	if (session->done && stdio_drained(session->stdio))
		finish(session, session->output_lost ? session->output_lost_code : containers_code(session));
}

/* The last lines of the guest's console, each marked as such. */
static void console_show(const struct session *session)
{
	char tail[CONSOLE_BYTES_SHOWN + 1], *line, *rest = tail;
	size_t have = session->config.console_tail(session->config.machine_ctx, tail, CONSOLE_BYTES_SHOWN);
	unsigned lines = 0;

	tail[have] = '\0';
	for (size_t i = 0; i < have; i++)
		if (!tail[i])
			tail[i] = '?'; /* else it would hide what comes behind it */
	for (char *at = tail + have; at > tail; at--) {
		if (at[-1] == '\n' && lines++ == CONSOLE_LINES_SHOWN) {
			rest = at;
			break;
		}
	}
	while ((line = strsep(&rest, "\r\n"))) {
		if (!*line)
			continue;
		for (char *c = line; *c; c++)
			if ((unsigned char)*c < ' ' && *c != '\t')
				*c = '?';
		log_warn("guest console: %s", line);
	}
}

void session_machine_ended(struct session *session, const char *detail)
{
	if (session->finished)
		return;
	session->paused = false; /* nothing is left to go on */
	if (session->done) {
		stdio_guest_gone(session->stdio);
		finish_when_drained(session);
		return;
	}
	if (session->stops > 1) {
		finish(session, SIGNAL_EXIT + SIGKILL);
		return;
	}
	log_warn("the guest died before the pod ended: %s; what its console said last follows, if anything", detail);
	console_show(session);
	finish(session, EXIT_PODVM);
}

/* ---- the terminal ---- */

static void winsize_send(struct session *session)
{
	const struct spec_pod *spec = session->config.spec;
	uint16_t rows, cols;

	if (terminal_size(STDIN_FILENO, &rows, &cols) && terminal_size(STDOUT_FILENO, &rows, &cols))
		return;
	for (unsigned i = 0; i < spec->container_count; i++)
		if (spec->containers[i].tty)
			(void)control_winsize(session->control, i, rows, cols);
}

/* The first container has the terminal when it wants one and there is one. */
static void terminal_take(struct session *session)
{
	if (session->config.spec->containers[0].tty && isatty(STDIN_FILENO))
		(void)terminal_raw(STDIN_FILENO);
}

/* ---- stopping ---- */

static void deadline_passed(void *ctx)
{
	struct session *session = ctx;

	if (session->finished) {
		loop_stop(session->config.loop);
		return;
	}
	if (!session->pod_sent) {
		log_warn("the guest did not come up within %d s; what its console said last follows, if anything",
			 SESSION_BOOT_LIMIT_MS / 1000);
		console_show(session);
		finish(session, EXIT_PODVM);
		return;
	}
	log_warn("the pod did not stop in time; its machine is switched off");
	finish(session, SIGNAL_EXIT + SIGKILL);
}

static void pause_set(struct session *session, bool paused)
{
	session->paused = paused;
	session->config.pause(session->config.machine_ctx, paused);
	if (!paused)
		(void)control_time(session->control);
}

/* code is what podvm returns when there is nothing to be waited for. A guest that is paused could not stop. */
static void pod_stop(struct session *session, uint32_t grace_ms, int code)
{
	session->stops++;
	if (session->finished) {
		loop_stop(session->config.loop);
		return;
	}
	/* All that is left then is output that nobody takes: it is given up. */
	if (!session->pod_sent || session->done) {
		finish(session, code);
		return;
	}
	if (session->paused)
		pause_set(session, false);
	(void)control_stop(session->control, grace_ms);
	deadline_set(session, (uint64_t)grace_ms + SESSION_FORCE_MS);
}

/* The first time politely, then at once. */
static void pod_stop_by(struct session *session, int signo)
{
	bool again = session->stops > 0;

	if (!again && session->pod_sent && !session->done && !session->finished && isatty(STDERR_FILENO))
		log_warn("stopping the pod; once more kills it");
	pod_stop(session, again ? 0 : SESSION_GRACE_MS, SIGNAL_EXIT + signo);
}

static void signals_arrived(void *ctx, int fd, short revents)
{
	struct session *session = ctx;
	struct signalfd_siginfo info;

	(void)revents;
	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGWINCH)
			winsize_send(session);
		else
			pod_stop_by(session, (int)info.ssi_signo);
	}
}

static void signals_take(struct session *session)
{
	sigset_t handled;

	sigemptyset(&handled);
	sigaddset(&handled, SIGINT);
	sigaddset(&handled, SIGTERM);
	sigaddset(&handled, SIGHUP);
	sigaddset(&handled, SIGQUIT);
	sigaddset(&handled, SIGWINCH);
	sigprocmask(SIG_BLOCK, &handled, NULL);
	signal(SIGPIPE, SIG_IGN); /* a closed reader is an error of write(), see output_lost() */
	session->signal_fd = signalfd(-1, &handled, SFD_NONBLOCK | SFD_CLOEXEC);
	if (session->signal_fd < 0)
		die_errno(errno, "no descriptor for signals");
	loop_fd_add(session->config.loop, session->signal_fd, POLLIN, signals_arrived, session);
}

/* ---- what the guest says ---- */

static void guest_ready(void *ctx)
{
	struct session *session = ctx;
	const struct spec_pod *spec = session->config.spec;
	struct wire_pod wire = *session->config.wire;
	char *json;
	int err;

	if (session->finished)
		return;
	trace_mark("guest ready (template point)");
	wire.realtime_ns = clock_real_ns();
	if (getrandom(wire.entropy, sizeof(wire.entropy), 0) != sizeof(wire.entropy))
		log_warn("the host gave no entropy; the guest seeds itself");
	json = spec_print(spec);
	err = control_send_pod(session->control, &wire, (unsigned)spec->container_count, json, strlen(json));
	free(json);
	if (err) {
		log_warn("the pod can not be sent to its guest: %s", strerror(-err));
		finish(session, EXIT_PODVM);
		return;
	}
	session->pod_sent = true;
	loop_timer_cancel(session->config.loop, &session->deadline);
	winsize_send(session);
	terminal_take(session);
}

static void guest_started(void *ctx, unsigned container)
{
	struct session *session = ctx;

	session->containers[container].state = SESSION_CONTAINER_RUNNING;
	trace_mark("first container started");
}

static void guest_exited(void *ctx, unsigned container, const struct wire_exited *exited)
{
	struct session *session = ctx;
	const struct spec_container *spec = &session->config.spec->containers[container];
	const char *name = spec->name;

	session->containers[container] = (struct session_container){
		.state = SESSION_CONTAINER_ENDED, .code = (uint8_t)exited->code, .oom_killed = exited->oom_killed != 0};
	if (exited->oom_killed)
		log_warn("container %s ran out of memory and was killed; give %s", name,
			 spec->memory_mb ? "it more (its podvm.memory)" : "the pod more (resource.memory)");
	log_debug("container %s ended with %u", name, exited->code);
}

static void guest_log(void *ctx, const char *text)
{
	struct session *session = ctx;

	log_guest(&session->limit, "%s", text);
}

static void guest_failed(void *ctx, const char *text)
{
	struct session *session = ctx;

	log_warn("the pod could not be started: %s", text);
	finish(session, EXIT_PODVM);
}

static void guest_done(void *ctx)
{
	struct session *session = ctx;

	if (session->finished)
		return;
	session->done = true;
	loop_timer_cancel(session->config.loop, &session->deadline);
	clients_end(session);
	finish_when_drained(session);
}

static void guest_lost(void *ctx, const char *why)
{
	struct session *session = ctx;

	if (!session->done)
		session_machine_ended(session, why);
}

static void guest_exec_started(void *ctx, uint32_t exec)
{
	execs_on_started(((struct session *)ctx)->execs, exec);
}

static void guest_exec_refused(void *ctx, uint32_t exec, const char *why)
{
	execs_on_refused(((struct session *)ctx)->execs, exec, why);
}

static void guest_exec_exited(void *ctx, uint32_t exec, const struct wire_exited *exited)
{
	execs_on_exited(((struct session *)ctx)->execs, exec, exited);
}

/* The token says nothing more: control sees to the order. */
static void guest_stats(void *ctx, uint32_t token, const struct wire_stats *pod, const struct wire_use *uses)
{
	(void)token;
	askers_answer(&((struct session *)ctx)->askers, pod, uses);
}

static const struct control_user control_user = {
	.ready = guest_ready,
	.started = guest_started,
	.exited = guest_exited,
	.log = guest_log,
	.failed = guest_failed,
	.done = guest_done,
	.lost = guest_lost,
	.exec_started = guest_exec_started,
	.exec_refused = guest_exec_refused,
	.exec_exited = guest_exec_exited,
	.stats = guest_stats,
};

/* ---- what its streams say ---- */

static void output_drained(void *ctx)
{
	finish_when_drained(ctx);
}

/* Output that can not be delivered makes the rest pointless: the pod is stopped. */
static void output_lost(void *ctx, int fd, int err)
{
	struct session *session = ctx;
	const char *name = fd == STDERR_FILENO ? "standard error" : "standard output";

	if (err == EPIPE)
		log_warn("%s: nobody reads it any more; the pod is stopped", name);
	else
		log_warn("%s can not be written: %s; the pod is stopped", name, strerror(err));
	if (!session->output_lost)
		session->output_lost_code = err == EPIPE ? SESSION_OUTPUT_CLOSED : EXIT_PODVM;
	session->output_lost = true;
	if (!session->done && !session->finished)
		pod_stop_by(session, SIGPIPE);
}

static const struct stdio_user stdio_user = {
	.drained = output_drained,
	.output_lost = output_lost,
};

/* ---- the time ---- */

/* While it is paused the guest could not hear it, and does when it goes on; before the pod was sent it comes with that. */
static void time_tell(void *ctx)
{
	struct session *session = ctx;

	if (!session->paused)
		(void)control_time(session->control);
}

/* ---- for the server ---- */

enum session_phase session_phase(const struct session *session)
{
	if (session->finished || session->done)
		return SESSION_ENDED;
	if (session->stops)
		return SESSION_STOPPING;
	if (!session->pod_sent)
		return SESSION_STARTING;
	return session->paused ? SESSION_PAUSED : SESSION_RUNNING;
}

const struct session_container *session_containers(const struct session *session)
{
	return session->containers;
}

struct execs *session_execs(struct session *session)
{
	return session->pod_sent ? session->execs : NULL;
}

int session_stop(struct session *session, unsigned grace_ms)
{
	if (session_phase(session) == SESSION_ENDED)
		return -ENOTCONN;
	pod_stop(session, grace_ms, SIGNAL_EXIT + SIGTERM);
	return 0;
}

int session_signal(struct session *session, uint32_t target, unsigned signo)
{
	if (target != WIRE_ALL && target >= session->config.spec->container_count)
		return -EINVAL;
	return control_signal(session->control, target, signo);
}

int session_pause(struct session *session, bool paused)
{
	enum session_phase phase = session_phase(session);

	if (phase != SESSION_RUNNING && phase != SESSION_PAUSED)
		return -ENOTCONN;
	if (paused == session->paused)
		return -EALREADY;
	pause_set(session, paused);
	return 0;
}

int session_stats(struct session *session, session_stats_fn *fn, void *ctx)
{
	int err = session->clients_ended ? -ENOTCONN : control_stats(session->control, session->next_token);

	if (err)
		return err;
	session->next_token++;
	askers_add(&session->askers, fn, ctx);
	return 0;
}

void session_stats_cancel(struct session *session, void *ctx)
{
	askers_cancel(&session->askers, ctx);
}

/* ---- life ---- */

struct session *session_new(const struct session_config *config)
{
	struct session *session = xcalloc(1, sizeof(*session));
	struct stdio_config streams = {
		.loop = config->loop,
		.count = SPEC_CONTAINERS_MAX,
		.fds = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO},
	};

	session->config = *config;
	session->code = EXIT_PODVM;
	session->deadline = (struct loop_timer){.fn = deadline_passed, .ctx = session};
	signals_take(session);
	session->control = control_new(config->vsock, &control_user, session);
	session->streams = streams.streams = streams_new(config->vsock);
	if (!session->control || !session->streams)
		die("the ports of the control connection are taken");
	session->stdio = stdio_new(&streams, &stdio_user, session); /* the first owner: it gets what it asks for */
	session->execs = execs_new(session->control, session->streams, config->loop);
	session->clock = clock_new(config->loop, time_tell, session);
	deadline_set(session, SESSION_BOOT_LIMIT_MS);
	return session;
}

void session_free(struct session *session)
{
	terminal_restore();
	loop_timer_cancel(session->config.loop, &session->deadline);
	loop_fd_del(session->config.loop, session->signal_fd);
	close(session->signal_fd);
	clock_free(session->clock);
	execs_free(session->execs);
	control_free(session->control);
	stdio_free(session->stdio);
	streams_free(session->streams);
	askers_free(&session->askers);
	free(session);
}

int session_code(const struct session *session)
{
	return session->code;
}
