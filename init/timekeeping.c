/* SPDX-License-Identifier: Apache-2.0 */
/* timekeeping: see timekeeping.h. */
#include "init/timekeeping.h"

#include "lib/util.h"

#include <errno.h>
#include <sys/time.h>
#include <time.h>

/* Below a millisecond the way of the message is as long as the difference. */
enum { IGNORED_NS = 1000000, NS_PER_MS = 1000000 };

enum timekeeping timekeeping_decide(uint64_t now_ns, uint64_t host_ns)
{
	uint64_t apart_ns = now_ns > host_ns ? now_ns - host_ns : host_ns - now_ns;

	if (apart_ns < IGNORED_NS)
		return TIMEKEEPING_NOTHING;
	return apart_ns < (uint64_t)TIMEKEEPING_STEP_MS * NS_PER_MS ? TIMEKEEPING_SLEW : TIMEKEEPING_STEP;
}

static int step(uint64_t host_ns)
{
	const struct timespec time = {.tv_sec = (time_t)(host_ns / 1000000000), .tv_nsec = (long)(host_ns % 1000000000)};

	return clock_settime(CLOCK_REALTIME, &time) < 0 ? -errno : 0;
}

static int slew(uint64_t now_ns, uint64_t host_ns)
{
	int64_t us = ((int64_t)host_ns - (int64_t)now_ns) / 1000;
	const struct timeval by = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};

	return adjtime(&by, NULL) < 0 ? -errno : 0;
}

int timekeeping_follow(uint64_t host_ns)
{
	uint64_t now_ns = clock_real_ns();

	switch (timekeeping_decide(now_ns, host_ns)) {
	case TIMEKEEPING_STEP:
		return step(host_ns);
	case TIMEKEEPING_SLEW:
		return slew(now_ns, host_ns);
	case TIMEKEEPING_NOTHING:
		break;
	}
	return 0;
}
