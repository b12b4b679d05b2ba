// SPDX-License-Identifier: Apache-2.0
/*
 * execs: see execs.h. Owns what is under way, each with its streams; must not know who asked, nor what the bytes are.
 *
 * Theory of operation
 * -------------------
 * An exec is over when two things came, in either order: init's word that it exited, and the last byte of its output
 * written (or lost). Both lead to settle(), which leaves the rest to a task: the end frees the streams, and they may just
 * be calling.
 *
 * One whose client hung up has no user and no streams any more, but stays in the list until init says that it exited, so
 * that its SIGKILL finds it; streams that its guest still opens meanwhile are refused without a word.
 */
#include "vm/execs.h"

#include "lib/log.h"
#include "lib/util.h"
#include "vm/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

struct exec {
	struct execs *execs;
	struct exec *next;
	uint32_t number;
	const struct execs_user *user; /* NULL: the client hung up */
	void *ctx;
	struct stdio *stdio;	      /* NULL after a hang-up, then refuse owns its target */
	struct streams_owner refuse;
	bool told;		      /* started or refused */
	bool exited;		      /* and how: */
	struct wire_exited how;
	struct loop_timer kill;
	struct loop_task end;
};

struct execs {
	struct control *control;
	struct streams *streams;
	struct loop *loop;
	struct exec *first;
	bool pod_ended;
	void (*idle)(void *ctx); /* NULL once called */
	void *idle_ctx;
};

static struct exec *exec_find(const struct execs *execs, uint32_t number)
{
	struct exec *exec = execs->first;

	while (exec && exec->number != number)
		exec = exec->next;
	return exec;
}

static void idle_tell(struct execs *execs)
{
	void (*idle)(void *ctx) = execs->idle;

	if (execs->first || !idle)
		return;
	execs->idle = NULL;
	idle(execs->idle_ctx);
}

static void exec_free(struct exec *exec)
{
	struct execs *execs = exec->execs;
	struct exec **at = &execs->first;

	while (*at != exec)
		at = &(*at)->next;
	*at = exec->next;
	loop_timer_cancel(execs->loop, &exec->kill);
	loop_task_cancel(execs->loop, &exec->end);
	stdio_free(exec->stdio);
	streams_disown(execs->streams, &exec->refuse);
	free(exec);
}

static void refused_tell(struct exec *exec, const char *why)
{
	exec->told = true;
	if (exec->user)
		exec->user->refused(exec->ctx, why);
}

/* ---- the end ---- */

static void end_run(void *ctx)
{
	struct exec *exec = ctx;
	struct execs *execs = exec->execs;
	const struct execs_user *user = exec->user;
	struct wire_exited how = exec->how;
	void *user_ctx = exec->ctx;

	/* A new stream may have come since. */
	if (exec->stdio && !stdio_drained(exec->stdio))
		return;
	exec_free(exec);
	if (user)
		user->exited(user_ctx, &how);
	idle_tell(execs);
}

/* Looks whether both came. */
static void settle(struct exec *exec)
{
	if (exec->exited && (!exec->stdio || stdio_drained(exec->stdio)))
		loop_task_post(exec->execs->loop, &exec->end);
}

static void exited_note(struct exec *exec, const struct wire_exited *how)
{
	exec->exited = true;
	exec->how = *how;
	settle(exec);
}

/* ---- its streams ---- */

static void output_drained(void *ctx)
{
	settle(ctx);
}

/* The streams are reset, and its writer in the guest meets EPIPE: no more is to be done. */
static void output_lost(void *ctx, int fd, int err)
{
	(void)ctx;
	(void)fd;
	(void)err;
}

static const struct stdio_user stdio_user = {
	.drained = output_drained,
	.output_lost = output_lost,
};

static bool stream_refuse(void *ctx, struct vsock_conn *conn, const struct wire_stream_hello *hello,
			  const struct vsock_user **user, void **user_ctx, const char **why)
{
	(void)ctx;
	(void)conn;
	(void)hello;
	(void)user;
	(void)user_ctx;
	*why = NULL;
	return false;
}

/* 0, or -errno when the descriptors that an exec takes are not to be had: better known before it is asked for. */
static int descriptors_try(const int fds[3])
{
	int tried[3] = {-1, -1, -1}, err = 0;

	for (unsigned i = 0; i < 3 && !err; i++) {
		tried[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		if (fds[i] >= 0 && tried[i] < 0)
			err = -errno;
	}
	for (unsigned i = 0; i < 3; i++)
		if (tried[i] >= 0)
			close(tried[i]);
	return err;
}

/* ---- a hang-up ---- */

static void kill_due(void *ctx)
{
	struct exec *exec = ctx;
	struct execs *execs = exec->execs;

	/* The guest does not take frames now: again later. */
	if (control_signal(execs->control, exec->number, SIGKILL) == -ENOBUFS)
		loop_timer_set(execs->loop, &exec->kill, loop_now_ns(execs->loop) + EXECS_HANGUP_MS * UINT64_C(1000000));
}

void execs_hangup(struct execs *execs, uint32_t number)
{
	struct exec *exec = exec_find(execs, number);

	if (!exec || !exec->user)
		return;
	exec->user = NULL;
	stdio_free(exec->stdio);
	exec->stdio = NULL;
	if (exec->exited) {
		settle(exec);
		return;
	}
	(void)streams_own(execs->streams, &exec->refuse);
	(void)control_signal(execs->control, number, SIGHUP);
	loop_timer_set(execs->loop, &exec->kill, loop_now_ns(execs->loop) + EXECS_HANGUP_MS * UINT64_C(1000000));
}

/* ---- the beginning ---- */

static struct exec *exec_new(struct execs *execs, const struct execs_config *config, uint32_t number)
{
	struct exec *exec = xcalloc(1, sizeof(*exec));
	struct stdio_config streams = {
		.streams = execs->streams,
		.loop = execs->loop,
		.first = number,
		.count = 1,
		.fds = {config->fds[0], config->fds[1], config->fds[2]},
		.hang_up = true,
	};

	exec->execs = execs;
	exec->number = number;
	exec->refuse = (struct streams_owner){.first = number, .count = 1, .take = stream_refuse};
	exec->kill = (struct loop_timer){.fn = kill_due, .ctx = exec};
	exec->end = (struct loop_task){.fn = end_run, .ctx = exec};
	/* Nobody else has a number that is new. */
	exec->stdio = stdio_new(&streams, &stdio_user, exec);
	exec->next = execs->first;
	execs->first = exec;
	return exec;
}

int execs_start(struct execs *execs, const struct execs_config *config, const struct execs_user *user, void *ctx,
		uint32_t *number)
{
	struct exec *exec;
	int err;

	if (execs->pod_ended)
		return -ENOTCONN;
	err = descriptors_try(config->fds);
	if (!err)
		err = control_exec(execs->control, &config->wire, config->json, config->json_bytes, number);
	if (err)
		return err;
	exec = exec_new(execs, config, *number);
	exec->user = user;
	exec->ctx = ctx;
	return 0;
}

int execs_signal(struct execs *execs, uint32_t number, unsigned signo)
{
	const struct exec *exec = exec_find(execs, number);

	return exec && !exec->exited ? control_signal(execs->control, number, signo) : -ESRCH;
}

int execs_winsize(struct execs *execs, uint32_t number, uint16_t rows, uint16_t cols)
{
	const struct exec *exec = exec_find(execs, number);

	return exec && !exec->exited ? control_winsize(execs->control, number, rows, cols) : -ESRCH;
}

/* ---- what init says ---- */

void execs_on_started(struct execs *execs, uint32_t number)
{
	struct exec *exec = exec_find(execs, number);

	if (!exec || exec->told)
		return;
	exec->told = true;
	if (exec->user)
		exec->user->started(exec->ctx);
}

void execs_on_refused(struct execs *execs, uint32_t number, const char *why)
{
	struct exec *exec = exec_find(execs, number);

	if (exec && !exec->told)
		refused_tell(exec, why);
}

void execs_on_exited(struct execs *execs, uint32_t number, const struct wire_exited *exited)
{
	struct exec *exec = exec_find(execs, number);

	if (!exec || exec->exited)
		return;
	/* Noted first: the user may hang up from inside. */
	exited_note(exec, exited);
	if (!exec->told)
		refused_tell(exec, "it ended before it started");
}

void execs_on_pod_ended(struct execs *execs, void (*idle)(void *ctx), void *ctx)
{
	static const struct wire_exited ended = {.code = EXIT_PODVM};

	execs->pod_ended = true;
	execs->idle = idle;
	execs->idle_ctx = ctx;
	for (struct exec *exec = execs->first; exec; exec = exec->next) {
		loop_timer_cancel(execs->loop, &exec->kill);
		if (exec->stdio)
			stdio_guest_gone(exec->stdio);
		if (exec->exited)
			continue;
		exited_note(exec, &ended);
		refused_tell(exec, "the pod has ended");
	}
	idle_tell(execs);
}

struct execs *execs_new(struct control *control, struct streams *streams, struct loop *loop)
{
	struct execs *execs = xcalloc(1, sizeof(*execs));

	execs->control = control;
	execs->streams = streams;
	execs->loop = loop;
	return execs;
}

void execs_free(struct execs *execs)
{
	struct exec *exec, *next;

	if (!execs)
		return;
	for (exec = execs->first; exec; exec = next) {
		next = exec->next;
		exec_free(exec);
	}
	free(execs);
}
