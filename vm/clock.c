// SPDX-License-Identifier: Apache-2.0
/*
 * clock: see clock.h. Owns one timerfd and one timer; must not know who hears the time.
 *
 * The kernel tells of a clock that was set (and of one that jumped while the host slept) by cancelling timers that asked
 * for it: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET. So there is one that would expire long after us; reading it then
 * gives ECANCELED and arms the watch anew. CLOCK_MONOTONIC, by which the loop counts, stands still while the host sleeps,
 * so the period alone would not do.
 */
#include "vm/clock.h"

#include "lib/util.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { NS_PER_MS = 1000000 };

#define FAR_AWAY_S ((time_t)1 << 33) /* the year 2242 */

struct clock {
	struct loop *loop;
	void (*tell)(void *ctx);
	void *ctx;
	int fd; /* -1: there is none */
	unsigned period_ms;
	struct loop_timer period;
};

static void period_set(struct clock *clock)
{
	loop_timer_set(clock->loop, &clock->period, loop_now_ns(clock->loop) + (uint64_t)clock->period_ms * NS_PER_MS);
}

static void clock_tell(struct clock *clock)
{
	period_set(clock);
	clock->tell(clock->ctx);
}

static void period_passed(void *ctx)
{
	clock_tell(ctx);
}

static int watch_arm(int fd)
{
	struct itimerspec far_away = {.it_value.tv_sec = FAR_AWAY_S};

	return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far_away, NULL);
}

static void clock_was_set(void *ctx, int fd, short revents)
{
	struct clock *clock = ctx;
	uint64_t expired;

	(void)revents;
	if (read(fd, &expired, sizeof(expired)) < 0 && errno != ECANCELED) {
		if (errno != EAGAIN)
			loop_fd_events(clock->loop, fd, 0); /* the period remains */
		return;
	}
	clock_tell(clock);
}

struct clock *clock_new(struct loop *loop, void (*tell)(void *ctx), void *ctx)
{
	struct clock *clock = xcalloc(1, sizeof(*clock));

	clock->loop = loop;
	clock->tell = tell;
	clock->ctx = ctx;
	clock->period = (struct loop_timer){.fn = period_passed, .ctx = clock};
	clock->fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (clock->fd >= 0 && watch_arm(clock->fd)) {
		close(clock->fd);
		clock->fd = -1;
	}
	if (clock->fd >= 0)
		loop_fd_add(loop, clock->fd, POLLIN, clock_was_set, clock);
	clock_period(clock, CLOCK_PERIOD_MS);
	return clock;
}

void clock_period(struct clock *clock, unsigned ms)
{
	clock->period_ms = ms;
	period_set(clock);
}

void clock_free(struct clock *clock)
{
	if (!clock)
		return;
	loop_timer_cancel(clock->loop, &clock->period);
	if (clock->fd >= 0) {
		loop_fd_del(clock->loop, clock->fd);
		close(clock->fd);
	}
	free(clock);
}
