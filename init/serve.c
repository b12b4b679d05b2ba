/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve: owns the order of a pod's life in the guest: ready, pod, containers, done, reset. Knows frames by their
 * meaning; how the machine was set up is init.c's.
 *
 * THE RULE OF PID 1: before the first container is started any fault may end the machine, loudly. Afterwards none may,
 * for that would take the user's work along: what fails is logged, and life goes on.
 */
#define _GNU_SOURCE

#include "init/serve.h"

#include "init/agent.h"
#include "init/containers.h"
#include "init/disks.h"
#include "init/events.h"
#include "init/joined.h"
#include "init/milestone.h"
#include "init/network.h"
#include "init/rootfs.h"
#include "init/stats.h"
#include "init/timekeeping.h"
#include "lib/log.h"
#include "lib/util.h"
#include "pod/abi.h"
#include "pod/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/random.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef RNDRESEEDCRNG
#define RNDRESEEDCRNG _IO('R', 0x07)
#endif

enum {
	HOSTNAME_BYTES_MAX = 63,
	LEAVE_MS = 200, /* for the host to take the last frames and hang up */
	EXECS_MS = 1000, /* for further processes' output to go, once all containers have ended */
};

struct serve {
	struct serve_link link;
	struct events *events;
	struct agent *agent;
	struct events_watch signals;
	struct wire_pod wire;
	struct spec_pod *pod;
	char *hostname;
	struct containers *containers;
	struct joined *execs;
	struct events_timer execs_limit;
	bool containers_done;
};

/* ---- the end ---- */

/* Nothing writes any more, and what was written is on the disks: before the host is told that it may end the machine. */
static void put_down(struct serve *serve)
{
	containers_kill(serve->containers);
	disks_leave();
}

static _Noreturn void leave(struct serve *serve)
{
	put_down(serve);
	agent_drain(serve->agent, LEAVE_MS);
	serve->link.leave();
	abort();
}

static void on_failed(void *ctx, const char *text)
{
	struct serve *serve = ctx;

	log_warn("%s", text);
	put_down(serve);
	agent_send(serve->agent, WIRE_FAILED, 0, text, strlen(text));
	leave(serve);
}

static _Noreturn void finish(struct serve *serve)
{
	/* Only what came from the host can hold anything that outlives the machine. */
	if (serve->pod && rootfs_needs_fs(serve->pod, &serve->wire))
		sync();
	put_down(serve);
	agent_send(serve->agent, WIRE_DONE, 0, NULL, 0);
	leave(serve);
}

static void on_execs_limit(void *ctx)
{
	finish(ctx);
}

/* Every container has ended, and with them every further process; what those wrote last may still be on its way. */
static void on_done(void *ctx)
{
	struct serve *serve = ctx;

	if (joined_is_idle(serve->execs))
		finish(serve);
	serve->containers_done = true;
	events_timer_set(serve->events, &serve->execs_limit, clock_mono_ns() + EXECS_MS * UINT64_C(1000000));
}

static void on_execs_idle(void *ctx)
{
	struct serve *serve = ctx;

	if (serve->containers_done)
		finish(serve);
}

static void on_lost(void *ctx)
{
	leave(ctx);
}

/* ---- the pod ---- */

/* What a clone of a template has in common with all others, and must not have. */
static void renew_identity(const struct wire_pod *wire)
{
	const struct timespec now = {.tv_sec = (time_t)(wire->realtime_ns / 1000000000),
				     .tv_nsec = (long)(wire->realtime_ns % 1000000000)};
	struct {
		struct rand_pool_info info;
		uint8_t bytes[sizeof(wire->entropy)];
	} pool = {.info = {.entropy_count = sizeof(wire->entropy) * 8, .buf_size = sizeof(wire->entropy)}};
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

	if (clock_settime(CLOCK_REALTIME, &now) < 0)
		log_warn("setting the clock: errno %d", errno);
	/* buf of the info is a flexible array: its bytes are the ones that follow. */
	memcpy((uint8_t *)&pool + offsetof(struct rand_pool_info, buf), wire->entropy, sizeof(wire->entropy));
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		log_warn("seeding the random numbers: errno %d", errno);
	explicit_bzero(&pool, sizeof(pool));
	if (fd >= 0)
		close(fd);
}

struct faults {
	char first[512];
};

static void keep_fault(void *ctx, enum spec_level level, const char *message)
{
	struct faults *faults = ctx;

	if (level == SPEC_ERROR && !faults->first[0])
		snprintf(faults->first, sizeof(faults->first), "%s", message);
}

static int connect_stream(void *ctx)
{
	struct serve *serve = ctx;

	return serve->link.connect(serve->link.ctx);
}

static const struct containers_user containers_user = {.connect = connect_stream, .failed = on_failed, .done = on_done};

static int find_home(void *ctx, uint32_t container, struct joined_home *home, char *text, size_t room)
{
	struct serve *serve = ctx;

	return containers_home(serve->containers, container, home, text, room);
}

static const struct joined_user joined_user = {.connect = connect_stream, .find = find_home, .idle = on_execs_idle};

static void adapt_network(const struct spec_pod *pod)
{
	const char *what;
	int err = network_adapt(&pod->interface, &what);

	if (err)
		log_warn("network: %s: errno %d", what, -err);
}

static int on_pod(struct serve *serve, uint32_t target, const void *payload, size_t bytes)
{
	struct faults faults = {.first = ""};
	const char *name;

	(void)target;
	if (serve->pod || bytes < sizeof(serve->wire))
		return -EPROTO;
	milestone(ABI_TRACE_POD_RECEIVED);
	memcpy(&serve->wire, payload, sizeof(serve->wire));
	renew_identity(&serve->wire);
	serve->pod = spec_parse((const char *)payload + sizeof(serve->wire), bytes - sizeof(serve->wire), "pod", false,
				keep_fault, &faults);
	if (!serve->pod)
		on_failed(serve, faults.first[0] ? faults.first : "the pod can not be read");
	name = *serve->pod->hostname ? serve->pod->hostname : *serve->pod->id ? serve->pod->id : "podvm";
	serve->hostname = xasprintf("%.*s", HOSTNAME_BYTES_MAX, name);
	if (sethostname(serve->hostname, strlen(serve->hostname)) < 0)
		log_warn("setting the host name: errno %d", errno);
	adapt_network(serve->pod);
	serve->containers = containers_new(serve->events, serve->agent, serve->pod, &serve->wire, serve->hostname,
					   &containers_user, serve);
	containers_start(serve->containers);
	milestone(ABI_TRACE_SPAWNED);
	return 0;
}

/* ---- frames ---- */

static bool is_exec(uint32_t target)
{
	return target >= WIRE_EXEC_FIRST && target != WIRE_ALL;
}

static int on_signal(struct serve *serve, uint32_t target, const void *payload, size_t bytes)
{
	struct wire_signal frame;

	if (bytes != sizeof(frame))
		return -EPROTO;
	memcpy(&frame, payload, sizeof(frame));
	if (!serve->containers || !frame.signo || frame.signo >= NSIG)
		return 0;
	if (is_exec(target))
		joined_signal(serve->execs, target, (int)frame.signo);
	else
		containers_signal(serve->containers, target, (int)frame.signo);
	return 0;
}

static int on_winsize(struct serve *serve, uint32_t target, const void *payload, size_t bytes)
{
	struct wire_winsize frame;

	if (bytes != sizeof(frame))
		return -EPROTO;
	memcpy(&frame, payload, sizeof(frame));
	if (is_exec(target))
		joined_winsize(serve->execs, target, &frame);
	else if (serve->containers)
		containers_winsize(serve->containers, target, &frame);
	return 0;
}

static int on_stop(struct serve *serve, uint32_t target, const void *payload, size_t bytes)
{
	struct wire_stop frame;

	(void)target;
	if (bytes != sizeof(frame))
		return -EPROTO;
	memcpy(&frame, payload, sizeof(frame));
	if (serve->containers)
		containers_stop(serve->containers, frame.grace_ms);
	else
		finish(serve); /* there was nothing to stop */
	return 0;
}

static int on_exec(struct serve *serve, uint32_t target, const void *payload, size_t bytes)
{
	struct wire_exec frame;

	if (bytes < sizeof(frame) || !serve->containers)
		return -EPROTO;
	memcpy(&frame, payload, sizeof(frame));
	joined_start(serve->execs, target, &frame, (const char *)payload + sizeof(frame), bytes - sizeof(frame));
	return 0;
}

static int on_stats(struct serve *serve, uint32_t target, const void *payload, size_t bytes)
{
	struct wire_use uses[SPEC_CONTAINERS_MAX];
	struct wire_stats stats;
	uint8_t answer[sizeof(stats) + sizeof(uses)];

	(void)payload;
	if (bytes || !serve->containers)
		return -EPROTO;
	stats_of_machine(&stats);
	containers_use(serve->containers, uses);
	stats.containers = (uint32_t)serve->pod->container_count;
	for (size_t i = 0; i < stats.containers; i++)
		stats.processes += uses[i].pids == UINT64_MAX ? 0 : (uint32_t)uses[i].pids;
	memcpy(answer, &stats, sizeof(stats));
	memcpy(answer + sizeof(stats), uses, stats.containers * sizeof(uses[0]));
	agent_send(serve->agent, WIRE_STATS, target, answer, sizeof(stats) + stats.containers * sizeof(uses[0]));
	return 0;
}

static int on_time(struct serve *serve, uint32_t target, const void *payload, size_t bytes)
{
	struct wire_time frame;
	int err;

	(void)serve;
	(void)target;
	if (bytes != sizeof(frame))
		return -EPROTO;
	memcpy(&frame, payload, sizeof(frame));
	err = timekeeping_follow(frame.realtime_ns);
	if (err)
		log_warn("following the host's clock: errno %d", -err);
	return 0;
}

static const struct {
	enum wire_type type;
	int (*take)(struct serve *serve, uint32_t target, const void *payload, size_t bytes);
} frames[] = {
	{WIRE_POD, on_pod},
	{WIRE_SIGNAL, on_signal},
	{WIRE_WINSIZE, on_winsize},
	{WIRE_STOP, on_stop},
	{WIRE_EXEC, on_exec},
	{WIRE_STATS_ASK, on_stats},
	{WIRE_TIME, on_time},
};

static int on_frame(void *ctx, const struct wire_header *header, const void *payload)
{
	for (size_t i = 0; i < ARRAY_SIZE(frames); i++)
		if (frames[i].type == header->type)
			return frames[i].take(ctx, header->target, payload, header->payload_bytes);
	return -EPROTO;
}

/* ---- children ---- */

static void on_child(void *ctx, uint32_t happened)
{
	struct serve *serve = ctx;
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	(void)happened;
	/* One signal may stand for many children. */
	while (read(serve->signals.fd, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (serve->containers && !joined_reaped(serve->execs, pid, status))
			containers_reaped(serve->containers, pid, status);
}

static void watch_children(struct serve *serve)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	serve->signals.fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (serve->signals.fd < 0)
		die_errno(errno, "signalfd");
	serve->signals.fn = on_child;
	serve->signals.ctx = serve;
	events_want(serve->events, &serve->signals, EPOLLIN);
}

_Noreturn void serve(const struct serve_link *link)
{
	static struct serve self;
	const struct wire_ready ready = {.abi_version = ABI_VERSION};

	self.link = *link;
	self.events = events_new();
	watch_children(&self);
	self.agent = agent_new(self.events, link->control, on_frame, on_lost, &self);
	self.execs = joined_new(self.events, self.agent, &joined_user, &self);
	self.execs_limit = (struct events_timer){.fn = on_execs_limit, .ctx = &self};
	/* The template point: nothing in this machine belongs to one pod yet. */
	agent_send(self.agent, WIRE_READY, 0, &ready, sizeof(ready));
	for (;;)
		events_turn(self.events);
}
