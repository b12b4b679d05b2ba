// SPDX-License-Identifier: Apache-2.0
/* test_clock: vm/clock.c. The host's clock is not set for a test: its timerfd is made to expire, which reads the same. */
#include "vm/clock.h"

#include "lib/util.h"
#include "tests/unit/ring.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void on_tell(void *ctx)
{
	++*(unsigned *)ctx;
}

/* The timerfd among our descriptors, -1 for none; their number in *count. */
static int timerfd_find(unsigned *count)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	int found = -1;

	*count = 0;
	while (dir && (entry = readdir(dir))) {
		char path[300], target[64] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		if (readlink(path, target, sizeof(target) - 1) > 0 && !strcmp(target, "anon_inode:[timerfd]"))
			found = atoi(entry->d_name);
		++*count;
	}
	if (dir)
		closedir(dir);
	return found;
}

TEST(tells_by_period)
{
	unsigned told = 0;
	struct clock *clock;
	struct rig rig;

	rig_init(&rig);
	clock = clock_new(rig.loop, on_tell, &told);
	rig_run_ms(&rig, 30);
	CHECK_INT(told, 0);
	clock_period(clock, 20);
	rig_run_ms(&rig, 130);
	CHECK(told >= 2 && told <= 7);
	clock_period(clock, CLOCK_PERIOD_MS);
	told = 0;
	rig_run_ms(&rig, 50);
	CHECK_INT(told, 0);
	clock_free(clock);
	rig_run_ms(&rig, 10);
	clock_free(NULL);
	rig_fini(&rig);
}

TEST(tells_when_the_clock_was_set)
{
	struct itimerspec soon = {.it_value.tv_nsec = 1}, armed;
	unsigned told = 0, before, after;
	struct clock *clock;
	struct rig rig;
	int fd;

	rig_init(&rig);
	CHECK_INT(timerfd_find(&before), -1);
	clock = clock_new(rig.loop, on_tell, &told);
	fd = timerfd_find(&after);
	CHECK(fd >= 0);
	/* far away, and armed */
	CHECK(!timerfd_gettime(fd, &armed) && armed.it_value.tv_sec > 100l * 365 * 86400);
	rig_turn(&rig);
	CHECK_INT(told, 0);
	for (unsigned i = 1; i < 4; i++) {
		CHECK(!timerfd_settime(fd, 0, &soon, NULL));
		usleep(1000);
		rig_turn(&rig);
		CHECK_INT(told, i);
		rig_turn(&rig);
		CHECK_INT(told, i); /* once each */
	}
	clock_free(clock);
	CHECK_INT(timerfd_find(&after), -1);
	CHECK_INT(after, before);
	rig_fini(&rig);
}

int main(void)
{
	RUN(tells_by_period);
	RUN(tells_when_the_clock_was_set);
	return test_done();
}
