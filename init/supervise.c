/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervise: owns the table of what each container is doing and the restart policy. Must not know of processes, file
 * systems, sockets or the time of day, so that a test can live through a day in a millisecond.
 */
#include "init/supervise.h"

#include "lib/log.h"
#include "lib/util.h"

#include <signal.h>
#include <stdlib.h>

static const uint64_t never_ns = UINT64_MAX;
static const uint64_t ms_ns = 1000000;

struct entry {
	enum wire_state state;
	enum spec_restart policy;
	int stop_signal;
	unsigned restarts; /* in all */
	unsigned delays;   /* restarts since the last stable run */
	uint64_t since_ns; /* start of this run */
	uint64_t due_ns;   /* of the next one, while backing off */
	struct wire_exited last;
};

struct supervise {
	const struct supervise_user *user;
	void *ctx;
	bool stopping;
	uint64_t kill_ns;
	unsigned count;
	struct entry entries[];
};

struct supervise *supervise_new(unsigned count, const enum spec_restart *policies, const int *stop_signals,
				const struct supervise_user *user, void *ctx)
{
	struct supervise *supervise = xcalloc(1, sizeof(*supervise) + count * sizeof(supervise->entries[0]));

	supervise->user = user;
	supervise->ctx = ctx;
	supervise->kill_ns = never_ns;
	supervise->count = count;
	for (unsigned i = 0; i < count; i++) {
		supervise->entries[i].policy = policies[i];
		supervise->entries[i].stop_signal = stop_signals[i];
	}
	return supervise;
}

void supervise_free(struct supervise *supervise)
{
	free(supervise);
}

unsigned supervise_backoff_ms(unsigned n)
{
	/* 100 ms doubled nine times is over the limit: no shift grows beyond. */
	return n >= 9 ? SUPERVISE_BACKOFF_MAX_MS :
			MIN((unsigned)SUPERVISE_BACKOFF_MIN_MS << n, (unsigned)SUPERVISE_BACKOFF_MAX_MS);
}

static void end(struct supervise *supervise, unsigned index, const struct wire_exited *exited)
{
	supervise->entries[index].state = WIRE_STATE_ENDED;
	supervise->user->ended(supervise->ctx, index, exited);
}

static void start(struct supervise *supervise, unsigned index, uint64_t now_ns)
{
	static const struct wire_exited not_started = {.code = EXIT_PODVM};
	struct entry *entry = &supervise->entries[index];

	entry->state = WIRE_STATE_RUNNING;
	entry->since_ns = now_ns;
	if (supervise->user->start(supervise->ctx, index) < 0)
		end(supervise, index, &not_started);
}

void supervise_start(struct supervise *supervise, uint64_t now_ns)
{
	for (unsigned i = 0; i < supervise->count; i++)
		if (supervise->entries[i].state == WIRE_STATE_PENDING)
			start(supervise, i, now_ns);
}

static bool starts_again(const struct supervise *supervise, const struct entry *entry, const struct wire_exited *exited)
{
	if (supervise->stopping || entry->policy == SPEC_RESTART_NEVER)
		return false;
	return entry->policy == SPEC_RESTART_ALWAYS || exited->code != 0;
}

void supervise_exited(struct supervise *supervise, unsigned container, const struct wire_exited *exited, bool final,
		      uint64_t now_ns)
{
	struct entry *entry = &supervise->entries[container];
	unsigned delay_ms;

	if (entry->state != WIRE_STATE_RUNNING)
		return;
	if (final || !starts_again(supervise, entry, exited)) {
		end(supervise, container, exited);
		return;
	}
	if (now_ns - entry->since_ns >= SUPERVISE_STABLE_MS * ms_ns)
		entry->delays = 0;
	delay_ms = supervise_backoff_ms(entry->delays++);
	entry->state = WIRE_STATE_WAITING;
	entry->last = *exited;
	entry->due_ns = now_ns + delay_ms * ms_ns;
	supervise->user->again(supervise->ctx, container, exited, delay_ms);
}

void supervise_signal(struct supervise *supervise, uint32_t target, int signo)
{
	for (unsigned i = 0; i < supervise->count; i++)
		if ((target == WIRE_ALL || target == i) && supervise->entries[i].state == WIRE_STATE_RUNNING)
			supervise->user->signal(supervise->ctx, i, signo);
}

void supervise_stop(struct supervise *supervise, uint32_t grace_ms, uint64_t now_ns)
{
	bool first = !supervise->stopping;

	supervise->stopping = true;
	supervise->kill_ns = MIN(supervise->kill_ns, now_ns + grace_ms * ms_ns);
	for (unsigned i = 0; i < supervise->count && first; i++) {
		struct entry *entry = &supervise->entries[i];

		if (entry->state == WIRE_STATE_RUNNING)
			supervise->user->signal(supervise->ctx, i, entry->stop_signal);
		else if (entry->state == WIRE_STATE_WAITING)
			end(supervise, i, &entry->last);
	}
	supervise_tick(supervise, now_ns);
}

uint64_t supervise_deadline_ns(const struct supervise *supervise)
{
	uint64_t soonest = supervise->kill_ns;

	for (unsigned i = 0; i < supervise->count; i++)
		if (supervise->entries[i].state == WIRE_STATE_WAITING)
			soonest = MIN(soonest, supervise->entries[i].due_ns);
	return soonest;
}

void supervise_tick(struct supervise *supervise, uint64_t now_ns)
{
	if (supervise->kill_ns <= now_ns) {
		supervise->kill_ns = never_ns;
		supervise_signal(supervise, WIRE_ALL, SIGKILL);
	}
	for (unsigned i = 0; i < supervise->count; i++)
		if (supervise->entries[i].state == WIRE_STATE_WAITING && supervise->entries[i].due_ns <= now_ns) {
			supervise->entries[i].restarts++;
			start(supervise, i, now_ns);
		}
}

bool supervise_is_running(const struct supervise *supervise, unsigned container)
{
	return supervise->entries[container].state == WIRE_STATE_RUNNING;
}

enum wire_state supervise_state(const struct supervise *supervise, unsigned container)
{
	return supervise->entries[container].state;
}

unsigned supervise_restarts(const struct supervise *supervise, unsigned container)
{
	return supervise->entries[container].restarts;
}
