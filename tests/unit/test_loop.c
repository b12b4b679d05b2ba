/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_loop: what vm/loop.h promises, above all that callbacks may change anything while a turn goes on.
 */
#define _GNU_SOURCE
#include "vm/loop.h"

#include "lib/util.h"
#include "tests/unit/test.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;
static char story[64]; /* what happened, a letter each */

static void tell(char letter)
{
	size_t length = strlen(story);

	if (length + 1 < sizeof(story)) {
		story[length] = letter;
		story[length + 1] = 0;
	}
}

static void begin(void)
{
	loop = loop_new();
	story[0] = 0;
}

static void end_turn(void *ctx)
{
	(void)ctx;
	loop_stop(loop);
}

/* One turn, without sleep. */
static void turn(void)
{
	struct loop_task stop = { .fn = end_turn };

	loop_task_post(loop, &stop);
	loop_run(loop);
}

static void run_ms(unsigned ms)
{
	struct loop_timer timer = { .fn = end_turn };

	loop_timer_set(loop, &timer, clock_mono_ns() + ms * UINT64_C(1000000));
	loop_run(loop);
	loop_timer_cancel(loop, &timer);
}

static void pair(int fds[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		abort();
}

static void close_pair(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static void fd_tells(void *ctx, int fd, short revents)
{
	char byte;

	if (revents & POLLIN && read(fd, &byte, 1) == 1)
		tell(byte);
	else if (revents & POLLHUP)
		tell('H');
	(void)ctx;
}

TEST(fd_readable_is_told_until_removed)
{
	int fds[2];

	begin();
	pair(fds);
	loop_fd_add(loop, fds[0], POLLIN, fd_tells, NULL);
	turn();
	CHECK_STR(story, "");
	CHECK_INT(write(fds[1], "abc", 3), 3);
	turn();
	turn();
	CHECK_STR(story, "ab");
	loop_fd_events(loop, fds[0], 0);
	turn();
	CHECK_STR(story, "ab");
	loop_fd_events(loop, fds[0], POLLIN);
	turn();
	CHECK_STR(story, "abc");
	loop_fd_del(loop, fds[0]);
	CHECK_INT(write(fds[1], "d", 1), 1);
	turn();
	CHECK_STR(story, "abc");
	close_pair(fds);
	loop_free(loop);
}

TEST(no_events_no_hangup)
{
	int fds[2];

	begin();
	pair(fds);
	loop_fd_add(loop, fds[0], 0, fd_tells, NULL);
	close(fds[1]);
	turn();
	CHECK_STR(story, "");
	loop_fd_events(loop, fds[0], POLLOUT);
	turn();
	CHECK_STR(story, "H");
	close(fds[0]);
	loop_free(loop);
}

/* Removes the other watch of a pair of watches, closes its descriptor and watches a new one of the same number. */
struct swap {
	int victim, far;
};

static void fd_tells_twin(void *ctx, int fd, short revents)
{
	(void)ctx, (void)fd, (void)revents;
	tell('!');
}

static void fd_swaps(void *ctx, int fd, short revents)
{
	struct swap *swap = ctx;
	int fresh[2];

	fd_tells(NULL, fd, revents);
	loop_fd_del(loop, swap->victim);
	close(swap->victim);
	pair(fresh);
	if (fresh[0] != swap->victim)
		tell('?');
	swap->far = fresh[1];
	loop_fd_add(loop, fresh[0], POLLIN, fd_tells_twin, NULL);
	for (int i = 0; i < 40; i++) { /* the tables must be able to move */
		int more = dup(fd);

		loop_fd_add(loop, more, 0, fd_tells, NULL);
		loop_fd_del(loop, more);
		close(more);
	}
}

TEST(watch_replaced_within_a_turn_hears_nothing_old)
{
	int one[2], two[2];
	struct swap swap;

	begin();
	pair(one);
	pair(two);
	swap.victim = two[0];
	loop_fd_add(loop, one[0], POLLIN, fd_swaps, &swap);
	loop_fd_add(loop, two[0], POLLIN, fd_tells, NULL);
	CHECK_INT(write(one[1], "a", 1), 1);
	CHECK_INT(write(two[1], "b", 1), 1);
	turn();
	CHECK_STR(story, "a");
	CHECK_INT(write(swap.far, "c", 1), 1);
	turn();
	CHECK_STR(story, "a!");
	loop_fd_del(loop, two[0]);
	close(swap.far);
	close_pair(one);
	close_pair(two);
	loop_free(loop);
}

static char letters[] = "abc";
static struct loop_timer timers[3];

static void timer_tells(void *ctx)
{
	tell(*(char *)ctx);
}

static void timer_again(void *ctx)
{
	tell(*(char *)ctx);
	loop_timer_set(loop, &timers[0], 1); /* due at once, but in the next turn */
	loop_timer_cancel(loop, &timers[2]); /* due in this turn */
}

TEST(timers_come_in_order_and_can_be_moved)
{
	uint64_t now = clock_mono_ns();

	begin();
	for (int i = 0; i < 3; i++)
		timers[i] = (struct loop_timer){ .fn = timer_tells, .ctx = &letters[i] };
	loop_timer_set(loop, &timers[0], now + 4000000);
	loop_timer_set(loop, &timers[1], now + 2000000);
	loop_timer_set(loop, &timers[2], now + 3000000);
	run_ms(10);
	CHECK_STR(story, "bca");
	CHECK(!timers[0].armed && !timers[1].armed && !timers[2].armed);
	loop_timer_set(loop, &timers[0], 2);
	loop_timer_set(loop, &timers[1], 1);
	loop_timer_set(loop, &timers[1], 3);
	turn();
	CHECK_STR(story, "bcaab");
	loop_free(loop);
}

TEST(timer_may_set_itself_and_cancel_a_due_one)
{
	begin();
	timers[0] = (struct loop_timer){ .fn = timer_again, .ctx = "a" };
	timers[1] = (struct loop_timer){ .fn = timer_tells, .ctx = "b" };
	timers[2] = (struct loop_timer){ .fn = timer_tells, .ctx = "c" };
	for (unsigned i = 0; i < 3; i++)
		loop_timer_set(loop, &timers[i], i + 1);
	turn();
	CHECK_STR(story, "ab");
	CHECK(timers[0].armed && !timers[2].armed);
	turn();
	CHECK_STR(story, "aba");
	loop_timer_cancel(loop, &timers[0]);
	turn();
	CHECK_STR(story, "aba");
	loop_free(loop);
}

static struct loop_task tasks[3];

static void task_tells(void *ctx)
{
	tell(*(char *)ctx);
}

static void task_again(void *ctx)
{
	tell(*(char *)ctx);
	loop_task_post(loop, &tasks[0]);
	loop_task_cancel(loop, &tasks[1]);
}

TEST(tasks_have_one_go_per_turn)
{
	begin();
	tasks[0] = (struct loop_task){ .fn = task_again, .ctx = "a" };
	tasks[1] = (struct loop_task){ .fn = task_tells, .ctx = "b" };
	tasks[2] = (struct loop_task){ .fn = task_tells, .ctx = "c" };
	for (unsigned i = 0; i < 3; i++) {
		loop_task_post(loop, &tasks[i]);
		loop_task_post(loop, &tasks[i]); /* does nothing */
	}
	turn();
	CHECK_STR(story, "ac");
	turn();
	CHECK_STR(story, "aca");
	loop_task_cancel(loop, &tasks[0]);
	loop_task_post(loop, &tasks[1]); /* the list's end is right after a cancel */
	turn();
	CHECK_STR(story, "acab");
	loop_free(loop);
}

static int polled_fd, polled_index;

static void poller_fill(void *ctx, struct loop *l, int *timeout_ms)
{
	(void)ctx;
	polled_index = loop_poll_add(l, polled_fd, POLLIN);
	*timeout_ms = 5;
}

static void poller_drain(void *ctx, struct loop *l, bool failed)
{
	(void)ctx;
	tell(failed ? 'F' : loop_poll_revents(l, polled_index) & POLLIN ? 'r' : '-');
	if (strlen(story) == 3)
		loop_stop(l);
	CHECK_INT(loop_poll_revents(l, 1000), 0);
}

TEST(poller_is_asked_each_turn_and_lowers_the_sleep)
{
	struct loop_poller poller = { .fill = poller_fill, .drain = poller_drain };
	uint64_t start;
	int fds[2];

	begin();
	pair(fds);
	polled_fd = fds[0];
	loop_poller_set(loop, &poller);
	turn();
	CHECK_STR(story, "-");
	CHECK_INT(write(fds[1], "x", 1), 1);
	turn();
	CHECK_STR(story, "-r");
	CHECK_INT(read(fds[0], &(char){ 0 }, 1), 1);
	start = clock_mono_ns();
	loop_run(loop); /* nothing to wake it but the poller's 5 ms */
	CHECK_STR(story, "-r-");
	CHECK(clock_mono_ns() - start >= 5000000);
	loop_poller_set(loop, NULL);
	turn();
	CHECK_STR(story, "-r-");
	close_pair(fds);
	loop_free(loop);
}

static void *post_from_thread(void *ctx)
{
	usleep(2000);
	loop_lock(loop);
	loop_task_post(loop, ctx);
	loop_unlock(loop);
	return NULL;
}

TEST(task_of_another_thread_ends_the_sleep)
{
	struct loop_task stop = { .fn = end_turn };
	pthread_t thread;

	begin();
	CHECK_INT(pthread_create(&thread, NULL, post_from_thread, &stop), 0);
	loop_run(loop); /* sleeps for ever unless woken */
	pthread_join(thread, NULL);
	loop_free(loop);
}

static struct loop_task spin;
static unsigned spins;
static bool passed;

static void spin_again(void *ctx)
{
	uint64_t until = clock_mono_ns() + 100000;

	(void)ctx;
	while (clock_mono_ns() < until)
		;
	loop_task_post(loop, &spin);
	if (++spins == 20000 || passed)
		loop_stop(loop);
}

static void *pass_lock(void *ctx)
{
	for (int i = 0; i < 50; i++) {
		loop_lock(loop);
		loop_unlock(loop);
	}
	loop_lock(loop);
	passed = true;
	loop_unlock(loop);
	return ctx;
}

TEST(busy_loop_lets_others_have_the_lock)
{
	pthread_t thread;

	begin();
	spin = (struct loop_task){ .fn = spin_again };
	loop_task_post(loop, &spin);
	CHECK_INT(pthread_create(&thread, NULL, pass_lock, NULL), 0);
	loop_run(loop);
	CHECK(passed);
	CHECK(spins < 2000); /* 3 with the gate; without it about one per hand-over where the scheduler is kind */
	pthread_join(thread, NULL);
	loop_task_cancel(loop, &spin);
	loop_free(loop);
}

TEST(stop_before_run_counts_and_time_goes_on)
{
	uint64_t before = clock_mono_ns();

	begin();
	CHECK(loop_now_ns(loop) >= before);
	loop_stop(loop);
	loop_run(loop);
	loop_wake(loop);
	loop_wake(loop);
	turn();
	loop_free(loop);
}

/* Only while somebody wants it, and only the loop's own thread, which is this one. */
TEST(gathering_is_a_way_of_scheduling)
{
	begin();
	turn();
	CHECK_INT(sched_getscheduler(0), SCHED_OTHER);
	loop_gather(loop, true);
	loop_gather(loop, true);
	CHECK_INT(sched_getscheduler(0), SCHED_OTHER);
	turn();
	CHECK_INT(sched_getscheduler(0), SCHED_BATCH);
	loop_gather(loop, false);
	turn();
	CHECK_INT(sched_getscheduler(0), SCHED_BATCH);
	loop_gather(loop, false);
	turn();
	CHECK_INT(sched_getscheduler(0), SCHED_OTHER);
	loop_free(loop);
}

int main(void)
{
	RUN(fd_readable_is_told_until_removed);
	RUN(no_events_no_hangup);
	RUN(watch_replaced_within_a_turn_hears_nothing_old);
	RUN(timers_come_in_order_and_can_be_moved);
	RUN(timer_may_set_itself_and_cancel_a_due_one);
	RUN(tasks_have_one_go_per_turn);
	RUN(poller_is_asked_each_turn_and_lowers_the_sleep);
	RUN(task_of_another_thread_ends_the_sleep);
	RUN(busy_loop_lets_others_have_the_lock);
	RUN(stop_before_run_counts_and_time_goes_on);
	RUN(gathering_is_a_way_of_scheduling);
	return test_done();
}
