/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events: owns the epoll descriptor and the list of timers. Knows nothing of containers or the host.
 *
 * One epoll_wait() may bring several events, and the callback of the first may take out the watch of the second.
 * events_want(0) therefore also strikes the watch from the rest of the batch in hand.
 */
#define _GNU_SOURCE

#include "init/events.h"

#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

enum { BATCH = 16 };

struct events {
	int epoll;
	int at, count;
	struct epoll_event batch[BATCH];
	struct events_timer *timers; /* soonest first */
};

struct events *events_new(void)
{
	struct events *events = xcalloc(1, sizeof(*events));

	events->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (events->epoll < 0)
		die_errno(errno, "epoll_create1");
	return events;
}

void events_free(struct events *events)
{
	if (!events)
		return;
	close(events->epoll);
	free(events);
}

int events_want(struct events *events, struct events_watch *watch, uint32_t mask)
{
	struct epoll_event event = {.events = mask, .data.ptr = watch};
	int op = !watch->mask ? EPOLL_CTL_ADD : mask ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;

	if (watch->mask == mask)
		return 0;
	if (epoll_ctl(events->epoll, op, watch->fd, &event) < 0)
		return -errno;
	watch->mask = mask;
	for (int i = events->at; !mask && i < events->count; i++)
		if (events->batch[i].data.ptr == watch)
			events->batch[i].data.ptr = NULL;
	return 0;
}

void events_timer_cancel(struct events *events, struct events_timer *timer)
{
	for (struct events_timer **at = &events->timers; timer->armed && *at; at = &(*at)->next) {
		if (*at == timer) {
			*at = timer->next;
			timer->armed = false;
			return;
		}
	}
}

void events_timer_set(struct events *events, struct events_timer *timer, uint64_t deadline_ns)
{
	struct events_timer **at = &events->timers;

	events_timer_cancel(events, timer);
	while (*at && (*at)->deadline_ns <= deadline_ns)
		at = &(*at)->next;
	timer->deadline_ns = deadline_ns;
	timer->armed = true;
	timer->next = *at;
	*at = timer;
}

/* Milliseconds to the soonest timer, rounded up so that it is due when the sleep ends; -1 without one. */
static int timeout_ms(const struct events *events)
{
	uint64_t now = clock_mono_ns(), left;

	if (!events->timers)
		return -1;
	if (events->timers->deadline_ns <= now)
		return 0;
	left = (events->timers->deadline_ns - now + 999999) / 1000000;
	return (int)MIN(left, (uint64_t)INT_MAX);
}

static void run_timers(struct events *events)
{
	uint64_t now = events->timers ? clock_mono_ns() : 0;

	while (events->timers && events->timers->deadline_ns <= now) {
		struct events_timer *due = events->timers;

		events_timer_cancel(events, due);
		due->fn(due->ctx);
	}
}

void events_turn(struct events *events)
{
	int count = epoll_wait(events->epoll, events->batch, BATCH, timeout_ms(events));

	if (count < 0 && errno != EINTR)
		log_warn("epoll_wait failed: errno %d", errno);
	events->count = MAX(count, 0);
	for (events->at = 0; events->at < events->count;) {
		struct epoll_event *event = &events->batch[events->at++];
		struct events_watch *watch = event->data.ptr;

		if (watch)
			watch->fn(watch->ctx, event->events);
	}
	run_timers(events);
}
