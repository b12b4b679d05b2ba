/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containers: owns, per container, the running process. What starts and stops when is supervise's; how it starts is
 * process's and rootfs's; its pipes or terminal and its streams are channels'; this file joins them.
 *
 * The container's ends of its pipes: without a restart policy PID 1 closes them once the process has them, so that
 * closing standard output or input means to the host what it means to a pipe. With one, PID 1 keeps them
 * for the next process, and the streams end when the container has ended for good.
 */
#define _GNU_SOURCE

#include "init/containers.h"

#include "init/cgroup.h"
#include "init/channels.h"
#include "init/disks.h"
#include "init/process.h"
#include "init/rootfs.h"
#include "init/stats.h"
#include "init/steps.h"
#include "init/supervise.h"
#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct container {
	struct containers *all;
	unsigned index;
	const struct spec_container *spec;
	struct rootfs rootfs;
	struct process process; /* pid 0: none */
	struct events_watch report;
	struct process_report failure; /* kind 0: none */
	int main_status;	       /* -1: not told */
	bool has_run;	       /* ever */
	bool is_up, is_frozen; /* its main process executes; it was stopped */
	struct channels channels;
	uint64_t oom_kills;
	struct wire_exited exited; /* once it has ended for good */
};

struct containers {
	struct events *events;
	struct agent *agent;
	const struct spec_pod *pod;
	const struct wire_pod *wire;
	const struct containers_user *user;
	void *ctx;
	struct supervise *supervise;
	struct events_timer timer;
	bool has_failed;
	unsigned left; /* not yet reported as ended */
	struct container table[];
};

/* ---- streams ---- */

/* The process has gone and all it wrote was sent: only now the host is told. */
static void on_over(void *ctx)
{
	struct container *container = ctx;
	struct containers *all = container->all;

	agent_send(all->agent, WIRE_EXITED, container->index, &container->exited, sizeof(container->exited));
	if (--all->left == 0)
		all->user->done(all->ctx);
}

static int connect_stream(void *ctx)
{
	struct containers *all = ((struct container *)ctx)->all;

	return all->user->connect(all->ctx);
}

static const struct channels_user channels_user = {.connect = connect_stream, .over = on_over};

static int open_channels(struct container *container)
{
	char *ptmx;
	int err;

	if (!container->spec->tty)
		return channels_open_pipes(&container->channels);
	ptmx = rootfs_ptmx_path(container->index);
	err = channels_open_terminal(&container->channels, ptmx);
	free(ptmx);
	return err;
}

/* ---- processes ---- */

static void fail(struct containers *all, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct containers *all, const char *fmt, ...)
{
	char text[PROCESS_TEXT_BYTES + 128];
	va_list args;

	if (all->has_failed)
		return;
	all->has_failed = true;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	all->user->failed(all->ctx, text);
}

static void take_report(struct container *container, const struct process_report *report)
{
	struct containers *all = container->all;

	switch (report->kind) {
	case PROCESS_RUNNING:
		if (container->failure.kind)
			return;
		container->has_run = container->is_up = true;
		agent_send(all->agent, WIRE_STARTED, container->index, NULL, 0);
		return;
	case PROCESS_FAILED:
		container->failure = *report;
		return;
	case PROCESS_ENDED:
		container->main_status = report->value;
		return;
	}
}

static void on_report(void *ctx, uint32_t happened)
{
	struct container *container = ctx;
	struct process_report report;

	while (process_report_read(container->report.fd, &report))
		take_report(container, &report);
	/* Nobody is left who could write; how it ended comes with SIGCHLD. */
	if (happened & (EPOLLHUP | EPOLLERR))
		events_want(container->all->events, &container->report, 0);
}

static int enter(void *ctx, char *text, size_t room)
{
	return rootfs_enter(ctx, text, room);
}

/* Without limits that were asked for a container must not run; any other can do without its own cgroup (-1). */
static int open_cgroup(struct container *container)
{
	char text[PROCESS_TEXT_BYTES] = "";
	int fd = cgroup_open(container->all->pod, container->index, text, sizeof(text));

	if (fd >= 0)
		return fd;
	if (cgroup_is_needed(container->spec)) {
		fail(container->all, "container %s: %s: %s", container->spec->name, text, strerror(-fd));
		return fd;
	}
	log_warn("container %s: %s: errno %d", container->spec->name, text, -fd);
	return -1;
}

static int start(void *ctx, unsigned index)
{
	struct containers *all = ctx;
	struct container *container = &all->table[index];
	struct process_plan plan = {.container = container->spec,
				    .hostname = container->rootfs.hostname,
				    .namespaces = CLONE_NEWNS | CLONE_NEWPID,
				    .confine = true,
				    .enter = enter,
				    .ctx = &container->rootfs};
	int err = container->spec->tty ? channels_renew_terminal(&container->channels) : 0;

	plan.cgroup_fd = open_cgroup(container);
	if (all->has_failed)
		return -ECANCELED;
	memcpy(plan.stdio, container->channels.ends, sizeof(plan.stdio));
	if (!err)
		err = process_spawn(&plan, &container->process);
	if (plan.cgroup_fd >= 0)
		close(plan.cgroup_fd);
	if (err) {
		container->process.pid = 0;
		fail(all, "container %s: starting a process: %s", container->spec->name, strerror(-err));
		return err;
	}
	if (container->spec->restart == SPEC_RESTART_NEVER && !container->spec->tty)
		channels_close_ends(&container->channels);
	container->rootfs.first = false;
	container->failure.kind = 0;
	container->main_status = -1;
	container->oom_kills = cgroup_oom_kills(index);
	container->report = (struct events_watch){
		.fd = container->process.report_fd, .fn = on_report, .ctx = container};
	events_want(all->events, &container->report, EPOLLIN);
	return 0;
}

/* SIGSTOP would stop container-init, not the main process; the freezer stops them all. */
static void freeze(struct container *container, bool frozen)
{
	if (container->is_frozen != frozen && !cgroup_freeze(container->index, frozen))
		container->is_frozen = frozen;
}

static void send_signal(void *ctx, unsigned index, int signo)
{
	struct container *container = &((struct containers *)ctx)->table[index];

	if (!container->process.pid)
		return;
	freeze(container, signo == SIGSTOP);
	if (signo != SIGSTOP && kill(container->process.pid, signo) < 0)
		log_warn("container %s: signal %d: errno %d", container->spec->name, signo, errno);
}

static void again(void *ctx, unsigned index, const struct wire_exited *exited, unsigned delay_ms)
{
	struct containers *all = ctx;

	agent_log(all->agent, "container %s %s code %u; it starts again in %u ms", all->table[index].spec->name,
		  exited->oom_killed ? "ran out of memory and was killed:" : "ended with", exited->code, delay_ms);
}

static void ended(void *ctx, unsigned index, const struct wire_exited *exited)
{
	struct container *container = &((struct containers *)ctx)->table[index];

	container->exited = *exited;
	channels_end(&container->channels);
}

static const struct supervise_user supervise_user = {
	.start = start, .signal = send_signal, .again = again, .ended = ended};

static void set_timer(struct containers *all)
{
	uint64_t deadline_ns = supervise_deadline_ns(all->supervise);

	if (deadline_ns == UINT64_MAX)
		events_timer_cancel(all->events, &all->timer);
	else
		events_timer_set(all->events, &all->timer, deadline_ns);
}

static void on_timer(void *ctx)
{
	struct containers *all = ctx;

	supervise_tick(all->supervise, clock_mono_ns());
	set_timer(all);
}

/* What became of a run, from the report and from container-init's own end. */
static struct wire_exited exit_of(struct container *container, int wait_status)
{
	struct wire_exited exited;

	if (container->failure.kind)
		return (struct wire_exited){.code = (uint32_t)container->failure.value};
	/* Killed as a whole, container-init had no time to tell: its own end is the container's. */
	exited = process_exit_of(container->main_status >= 0 ? container->main_status : wait_status);
	/* A shell whose last program was taken ends with that code by itself. */
	exited.oom_killed = exited.code == 128 + SIGKILL && cgroup_oom_kills(container->index) > container->oom_kills;
	return exited;
}

void containers_reaped(struct containers *all, pid_t pid, int wait_status)
{
	struct container *container = NULL;
	struct wire_exited exited;
	bool failed;

	for (unsigned i = 0; i < all->pod->container_count; i++)
		if (all->table[i].process.pid == pid)
			container = &all->table[i];
	if (!container)
		return;
	on_report(container, EPOLLHUP);
	close(container->report.fd);
	container->process.pid = 0;
	container->is_up = container->is_frozen = false;
	exited = exit_of(container, wait_status);
	failed = container->failure.kind != 0;
	if (failed && exited.code == EXIT_PODVM && !container->has_run) {
		fail(all, "container %s: %s", container->spec->name, container->failure.text);
		return;
	}
	if (failed)
		agent_log(all->agent, "%s", container->failure.text);
	supervise_exited(all->supervise, container->index, &exited, failed, clock_mono_ns());
	set_timer(all);
}

/* ---- the pod ---- */

static int stop_signal_of(const struct containers *all, const struct spec_container *container)
{
	int signo = spec_signal_number(container->stop_signal);

	if (!signo)
		agent_log(all->agent, "container %s: no signal \"%s\"; it is stopped with TERM", container->name,
			  container->stop_signal);
	return signo ? signo : SIGTERM;
}

struct containers *containers_new(struct events *events, struct agent *agent, const struct spec_pod *pod,
				  const struct wire_pod *wire, const char *hostname, const struct containers_user *user,
				  void *ctx)
{
	struct containers *all = xcalloc(1, sizeof(*all) + pod->container_count * sizeof(all->table[0]));
	enum spec_restart policies[SPEC_CONTAINERS_MAX];
	int stop_signals[SPEC_CONTAINERS_MAX];

	*all = (struct containers){
		.events = events, .agent = agent, .pod = pod, .wire = wire, .user = user, .ctx = ctx};
	all->timer = (struct events_timer){.fn = on_timer, .ctx = all};
	all->left = (unsigned)pod->container_count;
	for (unsigned i = 0; i < pod->container_count; i++) {
		const struct spec_container *spec = &pod->containers[i];

		all->table[i] = (struct container){
			.all = all, .index = i, .spec = spec,
			.rootfs = {.pod = pod, .wire = wire, .container = i, .hostname = hostname, .first = true}};
		channels_init(&all->table[i].channels, events, i, &channels_user, &all->table[i]);
		policies[i] = spec->restart;
		stop_signals[i] = stop_signal_of(all, spec);
	}
	all->supervise = supervise_new((unsigned)pod->container_count, policies, stop_signals, &supervise_user, all);
	return all;
}

static bool mount_all(struct containers *all)
{
	struct steps steps = {0};
	const struct step *failed;
	char text[PROCESS_TEXT_BYTES];
	int err = disks_mount(all->pod, text, sizeof(text));

	if (err) {
		fail(all, "%s", text);
		return false;
	}
	rootfs_pod_steps(&steps, all->pod, all->wire);
	for (size_t i = 0; i < steps.count && !err; i++) {
		step_print(&steps.at[i], text, sizeof(text));
		log_debug("%s", text);
		err = steps_run(&steps.at[i], 1, &failed);
	}
	if (err)
		fail(all, "%s: %s", text, strerror(-err));
	steps_free(&steps);
	return !err;
}

static bool has_command(const struct spec_container *container)
{
	return container->command_count + container->entrypoint_count > 0;
}

void containers_start(struct containers *all)
{
	/* The connections are on their way while file systems are mounted, and processes started, meanwhile. */
	if (!mount_all(all))
		return;
	for (unsigned i = 0; i < all->pod->container_count && !all->has_failed; i++) {
		struct container *container = &all->table[i];
		int err;

		if (!has_command(container->spec)) {
			fail(all, "container %s has no command", container->spec->name);
			return;
		}
		err = open_channels(container);
		if (err)
			fail(all, "container %s: streams: %s", container->spec->name, strerror(-err));
	}
	if (all->has_failed)
		return;
	supervise_start(all->supervise, clock_mono_ns());
	set_timer(all);
}

void containers_signal(struct containers *all, uint32_t target, int signo)
{
	supervise_signal(all->supervise, target, signo);
}

void containers_winsize(struct containers *all, uint32_t target, const struct wire_winsize *size)
{
	if (target < all->pod->container_count)
		channels_winsize(&all->table[target].channels, size->rows, size->cols);
}

static const char *why_not_up(const struct containers *all, uint32_t index)
{
	static const char *const reasons[] = {
		[WIRE_STATE_PENDING] = "has not started yet",
		[WIRE_STATE_RUNNING] = "is starting",
		[WIRE_STATE_WAITING] = "is not running; it waits to start again",
		[WIRE_STATE_ENDED] = "has ended",
	};

	return reasons[supervise_state(all->supervise, index)];
}

int containers_home(const struct containers *all, uint32_t index, struct joined_home *home, char *text, size_t room)
{
	const struct container *container;
	const char *why = NULL;

	if (index >= all->pod->container_count) {
		snprintf(text, room, "the pod has no container %u", index);
		return -ENOENT;
	}
	container = &all->table[index];
	if (!container->is_up)
		why = why_not_up(all, index);
	else if (container->is_frozen)
		why = "is stopped; it has to be continued first";
	if (why) {
		snprintf(text, room, "container %s %s", container->spec->name, why);
		return -EAGAIN;
	}
	home->cgroup_fd = cgroup_open(all->pod, index, text, room);
	if (home->cgroup_fd < 0 && cgroup_is_needed(container->spec))
		return home->cgroup_fd;
	home->spec = container->spec;
	home->hostname = container->rootfs.hostname;
	home->init = container->process.pid;
	home->ptmx = rootfs_ptmx_path(index);
	return 0;
}

void containers_use(const struct containers *all, struct wire_use *uses)
{
	char path[CGROUP_PATH_BYTES];

	for (unsigned i = 0; i < all->pod->container_count; i++) {
		cgroup_path(i, path);
		stats_of_cgroup(path, &uses[i]);
		uses[i].state = supervise_state(all->supervise, i);
		uses[i].restarts = supervise_restarts(all->supervise, i);
	}
}

void containers_stop(struct containers *all, uint32_t grace_ms)
{
	supervise_stop(all->supervise, grace_ms, clock_mono_ns());
	set_timer(all);
}

void containers_kill(struct containers *all)
{
	for (unsigned i = 0; all && i < all->pod->container_count; i++)
		if (all->table[i].process.pid)
			kill(all->table[i].process.pid, SIGKILL);
}
