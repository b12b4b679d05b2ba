/* SPDX-License-Identifier: Apache-2.0 */
/*
 * joined: owns the table of further processes. How one comes into its container is join's, its streams are channels';
 * which containers run is the user's to say.
 *
 * Theory of operation. An exec lives from joined_start() until its process was reaped and, after that, all its output was
 * sent; then the host hears of its end.
 *
 * The end of output. A pipe ends when nobody holds it, but a program may leave a process behind that does, a daemon it
 * started, say; waiting for that would make "podvm exec" hang as "docker exec" does. For a container the end of the PID
 * namespace settles it; here the end of the program does: what is in the pipe or terminal at that moment is sent, then
 * the streams end, and who writes later meets EPIPE, or a terminal that hung up. A program whose output is to be seen
 * whole waits for those who write it, as a shell does for a pipeline.
 *
 * Streams call back from deep inside, so an exec is freed by a timer that is due at once, not where it ends.
 *
 * What a container can do to its own exec and no more: make /etc/passwd a fifo, so that it waits there for ever, which
 * SIGKILL ends. PID 1 opens nothing of the container.
 */
#define _GNU_SOURCE

#include "init/joined.h"

#include "init/cgroup.h"
#include "init/channels.h"
#include "init/join.h"
#include "lib/log.h"
#include "lib/util.h"
#include "pod/spec_exec.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

struct exec {
	struct joined *all;
	struct exec *next;
	uint32_t number, container;
	struct channels channels;
	struct events_watch report; /* fd -1: closed */
	pid_t pid;		    /* 0: none, or reaped */
	uint64_t oom_kills;	    /* of the container, when it began */
	int32_t failure;	    /* what it failed to start with; 0: it did not */
	bool is_over;		    /* the host knows its end */
	struct wire_exited exited;
};

struct joined {
	struct events *events;
	struct agent *agent;
	const struct joined_user *user;
	void *ctx;
	struct exec *first;
	unsigned count;
	struct events_timer sweep;
};

/* ---- the end ---- */

static void free_exec(struct exec *exec)
{
	if (exec->report.fd >= 0) {
		events_want(exec->all->events, &exec->report, 0);
		close(exec->report.fd);
	}
	channels_free(&exec->channels);
	free(exec);
}

static void on_sweep(void *ctx)
{
	struct joined *all = ctx;

	for (struct exec **at = &all->first; *at;) {
		struct exec *exec = *at;

		if (!exec->is_over) {
			at = &exec->next;
			continue;
		}
		*at = exec->next;
		all->count--;
		free_exec(exec);
	}
}

bool joined_is_idle(const struct joined *all)
{
	for (const struct exec *exec = all->first; exec; exec = exec->next)
		if (!exec->is_over)
			return false;
	return true;
}

/* All it wrote was sent. */
static void on_over(void *ctx)
{
	struct exec *exec = ctx;
	struct joined *all = exec->all;

	exec->is_over = true;
	agent_send(all->agent, WIRE_EXITED, exec->number, &exec->exited, sizeof(exec->exited));
	events_timer_set(all->events, &all->sweep, 0);
	if (joined_is_idle(all))
		all->user->idle(all->ctx);
}

static void say_refused(struct exec *exec, int32_t code, const char *text)
{
	exec->failure = code;
	agent_send(exec->all->agent, WIRE_REFUSED, exec->number, text, strlen(text));
}

/* There is no process of it any more, or there never was. */
static void end(struct exec *exec, int wait_status)
{
	exec->pid = 0;
	if (exec->failure) {
		exec->exited = (struct wire_exited){.code = (uint32_t)exec->failure};
	} else {
		exec->exited = process_exit_of(wait_status);
		exec->exited.oom_killed = exec->exited.code == 128 + SIGKILL &&
					  cgroup_oom_kills(exec->container) > exec->oom_kills;
	}
	channels_end(&exec->channels);
}

/* ---- reports and children ---- */

static void on_report(void *ctx, uint32_t happened)
{
	struct exec *exec = ctx;
	struct process_report report;
	int got;

	(void)happened;
	if (exec->report.fd < 0)
		return;
	while ((got = join_report_read(exec->report.fd, &report)) > 0)
		say_refused(exec, report.value, report.text);
	if (got == -EAGAIN || got == -EINTR)
		return;
	events_want(exec->all->events, &exec->report, 0);
	close(exec->report.fd);
	exec->report.fd = -1;
	if (!exec->failure)
		agent_send(exec->all->agent, WIRE_STARTED, exec->number, NULL, 0);
}

bool joined_reaped(struct joined *all, pid_t pid, int wait_status)
{
	struct exec *exec = all->first;

	while (exec && exec->pid != pid)
		exec = exec->next;
	if (!exec)
		return false;
	/* How the start went may not have been read yet. Nobody writes any more, so its end is there. */
	on_report(exec, 0);
	end(exec, wait_status);
	return true;
}

/* ---- the start ---- */

static int connect_stream(void *ctx)
{
	struct joined *all = ((struct exec *)ctx)->all;

	return all->user->connect(all->ctx);
}

static const struct channels_user channels_user = {.connect = connect_stream, .over = on_over};

static struct exec *find_exec(const struct joined *all, uint32_t number)
{
	struct exec *exec = all->first;

	while (exec && exec->number != number)
		exec = exec->next;
	return exec;
}

static struct exec *add_exec(struct joined *all, uint32_t number, uint32_t container)
{
	struct exec *exec = xcalloc(1, sizeof(*exec));

	*exec = (struct exec){.all = all, .next = all->first, .number = number, .container = container,
			      .report = {.fd = -1, .fn = on_report, .ctx = exec}};
	channels_init(&exec->channels, all->events, number, &channels_user, exec);
	all->first = exec;
	all->count++;
	return exec;
}

static int open_channels(struct exec *exec, const struct joined_home *home, bool tty, const struct wire_exec *wire)
{
	int err;

	if (!tty)
		return channels_open_pipes(&exec->channels);
	err = channels_open_terminal(&exec->channels, home->ptmx);
	if (!err)
		err = channels_renew_terminal(&exec->channels);
	if (!err && (wire->rows || wire->cols))
		channels_winsize(&exec->channels, wire->rows, wire->cols);
	return err;
}

static int spawn(struct exec *exec, const struct joined_home *home, const struct spec_container *seen)
{
	struct join_plan plan = {.process = {.container = seen, .hostname = home->hostname,
					     .cgroup_fd = home->cgroup_fd, .confine = home->init != 0},
				 .container_init = -1};
	struct process process;
	int err;

	/* container-init was not reaped, so the number is still its own. */
	if (home->init) {
		plan.container_init = (int)syscall(SYS_pidfd_open, home->init, 0);
		if (plan.container_init < 0)
			return -errno;
	}
	memcpy(plan.process.stdio, exec->channels.ends, sizeof(plan.process.stdio));
	err = join_spawn(&plan, &process);
	if (plan.container_init >= 0)
		close(plan.container_init);
	if (err)
		return err;
	exec->pid = process.pid;
	exec->report.fd = process.report_fd;
	events_want(exec->all->events, &exec->report, EPOLLIN);
	return 0;
}

static void explain(int err, const char *container, char *text, size_t room)
{
	if (err == -EAGAIN)
		snprintf(text, room, "container %s has no process left of its limit", container);
	else if (err == -ESRCH || err == -ENOMEM)
		snprintf(text, room, "container %s is ending, or memory is short", container);
	else
		snprintf(text, room, "starting a process in container %s: %s", container, strerror(-err));
}

static void run(struct exec *exec, const struct joined_home *home, const struct spec_exec *wanted,
		const struct wire_exec *wire)
{
	struct spec_container seen = spec_exec_apply(home->spec, wanted);
	char text[PROCESS_TEXT_BYTES];
	int err = open_channels(exec, home, seen.tty, wire);

	exec->oom_kills = cgroup_oom_kills(exec->container);
	if (!err)
		err = spawn(exec, home, &seen);
	free(seen.envs);
	if (!err && !seen.tty)
		channels_close_ends(&exec->channels);
	if (!err)
		return;
	explain(err, home->spec->name, text, sizeof(text));
	say_refused(exec, EXIT_PODVM, text);
	end(exec, 0);
}

struct fault {
	char *text;
	size_t room;
};

static void keep_first(void *ctx, enum spec_level level, const char *message)
{
	struct fault *fault = ctx;

	if (level == SPEC_ERROR && !*fault->text)
		snprintf(fault->text, fault->room, "%s", message);
}

static struct spec_exec *parse(const char *json, size_t bytes, char *text, size_t room)
{
	struct fault fault = {.text = text, .room = room};
	struct spec_exec *wanted;

	*text = 0;
	wanted = spec_exec_parse(json, bytes, "exec", keep_first, &fault);
	if (!wanted && !*text)
		snprintf(text, room, "what to run can not be read");
	return wanted;
}

/* What there is no place for in the table, either. */
static void refuse(struct joined *all, uint32_t number, const char *text)
{
	static const struct wire_exited exited = {.code = EXIT_PODVM};

	agent_send(all->agent, WIRE_REFUSED, number, text, strlen(text));
	agent_send(all->agent, WIRE_EXITED, number, &exited, sizeof(exited));
}

void joined_start(struct joined *all, uint32_t number, const struct wire_exec *wire, const char *json, size_t bytes)
{
	struct joined_home home = {.cgroup_fd = -1};
	struct spec_exec *wanted = NULL;
	char text[PROCESS_TEXT_BYTES];

	if (number < WIRE_EXEC_FIRST || number == WIRE_ALL || find_exec(all, number)) {
		/* An answer would be taken for another's. */
		agent_log(all->agent, "a process was asked for under number %u, which is not free", number);
		return;
	}
	if (all->count >= WIRE_EXECS_MAX) {
		snprintf(text, sizeof(text), "%u further processes run already", all->count);
		refuse(all, number, text);
		return;
	}
	wanted = parse(json, bytes, text, sizeof(text));
	if (wanted && !all->user->find(all->ctx, wire->container, &home, text, sizeof(text)))
		run(add_exec(all, number, wire->container), &home, wanted, wire);
	else
		refuse(all, number, text);
	spec_exec_free(wanted);
	free(home.ptmx);
	if (home.cgroup_fd >= 0)
		close(home.cgroup_fd);
}

/* ---- the host's wishes ---- */

void joined_signal(struct joined *all, uint32_t number, int signo)
{
	struct exec *exec = find_exec(all, number);

	/* One that comes before execve() waits, blocked, until the command is there. */
	if (exec && exec->pid)
		kill(exec->pid, signo);
}

void joined_winsize(struct joined *all, uint32_t number, const struct wire_winsize *size)
{
	struct exec *exec = find_exec(all, number);

	if (exec)
		channels_winsize(&exec->channels, size->rows, size->cols);
}

struct joined *joined_new(struct events *events, struct agent *agent, const struct joined_user *user, void *ctx)
{
	struct joined *all = xcalloc(1, sizeof(*all));

	*all = (struct joined){.events = events, .agent = agent, .user = user, .ctx = ctx};
	all->sweep = (struct events_timer){.fn = on_sweep, .ctx = all};
	return all;
}

void joined_free(struct joined *all)
{
	events_timer_cancel(all->events, &all->sweep);
	while (all->first) {
		struct exec *exec = all->first;

		all->first = exec->next;
		free_exec(exec);
	}
	free(all);
}
