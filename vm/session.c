// SPDX-License-Identifier: Apache-2.0
/*
 * session: the conversation with a running pod, and its result.
 *
 * Theory of operation
 * -------------------
 * Every way a pod can end leads to finish(), which notes the first code and stops the loop:
 * - all containers ended (done) and all their output is written (drained): the containers' result;
 * - init could not set the pod up (failed): 125 and its line;
 * - the machine ended, or the connection was lost, before that: 125, with the end of the guest's console;
 * - a stop that took too long: 137.
 * The containers' result is the code of the first container, in the file's order, that did not end with 0.
 */
#include "vm/session.h"

#include "lib/log.h"
#include "lib/util.h"
#include "vm/control.h"
#include "vm/stdio.h"
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
	struct stdio *stdio;
	int signal_fd;
	struct loop_timer deadline;
	unsigned stops; /* how often we were asked to stop */
	bool pod_sent, done, finished;
	int code;
	bool output_lost;
	int output_lost_code;
	uint8_t exit_codes[SPEC_CONTAINERS_MAX];
	struct log_limit limit;
};

/* Notes the result; the first one counts. */
static void finish(struct session *session, int code)
{
	if (session->finished)
		return;
	session->finished = true;
	session->code = code;
	loop_stop(session->config.loop);
}

static int containers_code(const struct session *session)
{
	for (size_t i = 0; i < session->config.spec->container_count; i++)
		if (session->exit_codes[i])
			return session->exit_codes[i];
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
	size_t have = session->config.console_tail(session->config.console_ctx, tail, CONSOLE_BYTES_SHOWN);
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

static void deadline_set(struct session *session, unsigned ms)
{
	loop_timer_set(session->config.loop, &session->deadline, clock_mono_ns() + ms * UINT64_C(1000000));
}

/* The first time politely, then at once. */
static void pod_stop(struct session *session, int signo)
{
	unsigned grace_ms = session->stops++ ? 0 : SESSION_GRACE_MS;

	if (session->finished)
		return;
	/* All that is left then is output that nobody takes: it is given up. */
	if (!session->pod_sent || session->done) {
		finish(session, SIGNAL_EXIT + signo);
		return;
	}
	if (session->stops == 1 && isatty(STDERR_FILENO))
		log_warn("stopping the pod; once more kills it");
	(void)control_stop(session->control, grace_ms);
	deadline_set(session, grace_ms + SESSION_FORCE_MS);
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
			pod_stop(session, (int)info.ssi_signo);
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
	char *json = spec_print(spec);
	int err;

	trace_mark("guest ready (template point)");
	wire.realtime_ns = clock_real_ns();
	if (getrandom(wire.entropy, sizeof(wire.entropy), 0) != sizeof(wire.entropy))
		log_warn("the host gave no entropy; the guest seeds itself");
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
	(void)ctx;
	(void)container;
	trace_mark("first container started");
}

static void guest_exited(void *ctx, unsigned container, const struct wire_exited *exited)
{
	struct session *session = ctx;
	const struct spec_container *spec = &session->config.spec->containers[container];
	const char *name = spec->name;

	session->exit_codes[container] = (uint8_t)exited->code;
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

	session->done = true;
	loop_timer_cancel(session->config.loop, &session->deadline);
	finish_when_drained(session);
}

static void guest_lost(void *ctx, const char *why)
{
	struct session *session = ctx;

	if (!session->done)
		session_machine_ended(session, why);
}

static const struct control_user control_user = {
	.ready = guest_ready,
	.started = guest_started,
	.exited = guest_exited,
	.log = guest_log,
	.failed = guest_failed,
	.done = guest_done,
	.lost = guest_lost,
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
	if (!session->done)
		pod_stop(session, SIGPIPE);
}

static const struct stdio_user stdio_user = {
	.drained = output_drained,
	.output_lost = output_lost,
};

struct session *session_new(const struct session_config *config)
{
	static const int fds[3] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
	struct session *session = xcalloc(1, sizeof(*session));

	session->config = *config;
	session->code = EXIT_PODVM;
	session->deadline = (struct loop_timer){.fn = deadline_passed, .ctx = session};
	signals_take(session);
	session->control = control_new(config->vsock, &control_user, session);
	session->stdio = stdio_new(config->vsock, config->loop, fds, &stdio_user, session);
	if (!session->control || !session->stdio)
		die("the ports of the control connection are taken");
	deadline_set(session, SESSION_BOOT_LIMIT_MS);
	return session;
}

void session_free(struct session *session)
{
	terminal_restore();
	loop_timer_cancel(session->config.loop, &session->deadline);
	loop_fd_del(session->config.loop, session->signal_fd);
	close(session->signal_fd);
	control_free(session->control);
	stdio_free(session->stdio);
	free(session);
}

int session_code(const struct session *session)
{
	return session->code;
}
