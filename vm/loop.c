/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: the event loop of vm/loop.h. Owns the poll set, the timers, the tasks and the lock; never a descriptor that
 * it watches. Must not know devices or virtual machines.
 *
 * Theory of operation
 *
 * A turn: build the poll set, let go of the lock, ppoll(), take the lock, then descriptors, the poller, timers, tasks.
 *
 * Callbacks may add, change and remove anything. Three rules make that safe:
 * - polls[] is a copy made before ppoll() and not touched by loop_fd_*(); only watches[] is. A watch removed while
 *   descriptors are dispatched leaves a hole (fd -1) at its index and one added goes behind the end, so index i means
 *   the same watch in both arrays until the next turn closes the holes. A descriptor number that is closed, opened
 *   anew and watched again within a turn therefore never sees the revents of its predecessor.
 * - Timers that are due, and tasks that wait, are first moved to a list of their own and taken from there one at a
 *   time. Cancelling looks in both lists. What is set or posted meanwhile lands in the other list and waits for the
 *   next turn, so neither can keep a turn from ending.
 * - now_ns is fixed during a turn.
 *
 * The lock is two mutexes. Whoever wants it takes the gate first, then the lock, and opens the gate. With one mutex
 * a busy loop, which lets go of it only for the instant of a ppoll() that does not sleep, would nearly always win it
 * back before a waiting vCPU thread has woken up. A thread that waits holds the gate, so the loop must queue behind it.
 */
#define _GNU_SOURCE
#include "vm/loop.h"

#include "lib/log.h"
#include "lib/util.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { NS_PER_MS = 1000000, NS_PER_S = 1000000000 };

struct watch {
	int fd; /* -1: removed, a hole until the next turn */
	short events;
	loop_fd_fn *fn;
	void *ctx;
};

struct loop {
	pthread_mutex_t gate, lock;
	int wake_fd;
	bool running, asleep, stop;
	unsigned gather_wanted;
	bool gathers;
	uint64_t now_ns;

	struct watch *watches;
	unsigned watch_count, watch_room;
	bool holes;
	int *slot_of; /* descriptor -> index into watches, -1 for none */
	int slot_room;

	/* polls[0] is wake_fd, then the watches in their order, then what the poller added */
	struct pollfd *polls;
	unsigned poll_count, poll_room;
	unsigned polled_watches;

	struct loop_timer *timers, *timers_due; /* sorted by deadline */
	struct loop_task *tasks, **tasks_end, *tasks_now;
	struct loop_poller poller;
	bool filled; /* the poller asked in this turn and wants to hear */
	struct log_limit limit;
};

struct loop *loop_new(void)
{
	struct loop *loop = xcalloc(1, sizeof(*loop));

	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0)
		die_errno(errno, "cannot make an eventfd for the event loop");
	pthread_mutex_init(&loop->gate, NULL);
	pthread_mutex_init(&loop->lock, NULL);
	loop->tasks_end = &loop->tasks;
	return loop;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	close(loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
	pthread_mutex_destroy(&loop->gate);
	free(loop->watches);
	free(loop->slot_of);
	free(loop->polls);
	free(loop);
}

void loop_lock(struct loop *loop)
{
	pthread_mutex_lock(&loop->gate);
	pthread_mutex_lock(&loop->lock);
	pthread_mutex_unlock(&loop->gate);
}

static struct timespec real_in_ms(unsigned ms)
{
	uint64_t ns = clock_real_ns() + (uint64_t)ms * NS_PER_MS;

	return (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S) };
}

bool loop_lock_within(struct loop *loop, unsigned ms)
{
	struct timespec until = real_in_ms(ms);
	bool held;

	if (pthread_mutex_timedlock(&loop->gate, &until))
		return false;
	held = !pthread_mutex_timedlock(&loop->lock, &until);
	pthread_mutex_unlock(&loop->gate);
	return held;
}

void loop_unlock(struct loop *loop)
{
	pthread_mutex_unlock(&loop->lock);
}

void loop_wake(struct loop *loop)
{
	int saved = errno; /* may run in a signal handler */
	uint64_t one = 1;

	/* The one error possible is a counter that is full: then the loop is being woken anyway. */
	if (write(loop->wake_fd, &one, sizeof(one)) < 0)
		errno = saved;
}

void loop_refill(struct loop *loop)
{
	if (loop->asleep)
		loop_wake(loop);
}

uint64_t loop_now_ns(const struct loop *loop)
{
	return loop->running && !loop->asleep ? loop->now_ns : clock_mono_ns();
}

/* Descriptors */

static struct watch *find_watch(struct loop *loop, int fd)
{
	if (fd < 0 || fd >= loop->slot_room || loop->slot_of[fd] < 0)
		return NULL;
	return &loop->watches[loop->slot_of[fd]];
}

static void make_slot(struct loop *loop, int fd)
{
	int room = loop->slot_room ? loop->slot_room : 64;

	if (fd < loop->slot_room)
		return;
	while (room <= fd)
		room *= 2;
	loop->slot_of = xrealloc(loop->slot_of, (size_t)room * sizeof(*loop->slot_of));
	for (int i = loop->slot_room; i < room; i++)
		loop->slot_of[i] = -1;
	loop->slot_room = room;
}

void loop_fd_add(struct loop *loop, int fd, short events, loop_fd_fn *fn, void *ctx)
{
	assert(fd >= 0 && !find_watch(loop, fd));
	make_slot(loop, fd);
	if (loop->watch_count == loop->watch_room) {
		loop->watch_room = loop->watch_room ? 2 * loop->watch_room : 16;
		loop->watches = xrealloc(loop->watches, loop->watch_room * sizeof(*loop->watches));
	}
	loop->slot_of[fd] = (int)loop->watch_count;
	loop->watches[loop->watch_count++] = (struct watch){ .fd = fd, .events = events, .fn = fn, .ctx = ctx };
	loop_refill(loop);
}

void loop_fd_events(struct loop *loop, int fd, short events)
{
	struct watch *watch = find_watch(loop, fd);

	assert(watch);
	if (watch->events == events)
		return;
	watch->events = events;
	loop_refill(loop);
}

void loop_fd_del(struct loop *loop, int fd)
{
	struct watch *watch = find_watch(loop, fd);

	if (!watch)
		return;
	watch->fd = -1;
	loop->slot_of[fd] = -1;
	loop->holes = true;
	loop_refill(loop);
}

static void close_holes(struct loop *loop)
{
	unsigned kept = 0;

	if (!loop->holes)
		return;
	for (unsigned i = 0; i < loop->watch_count; i++) {
		if (loop->watches[i].fd < 0)
			continue;
		loop->slot_of[loop->watches[i].fd] = (int)kept;
		loop->watches[kept++] = loop->watches[i];
	}
	loop->watch_count = kept;
	loop->holes = false;
}

static void dispatch_fds(struct loop *loop)
{
	for (unsigned i = 0; i < loop->polled_watches; i++) {
		struct watch watch = loop->watches[i]; /* a copy: the callback may make the array move */
		short revents = loop->polls[1 + i].revents;

		/* An earlier callback of this turn may have removed the watch or asked for less. */
		revents &= (short)(watch.events | POLLHUP | POLLERR | POLLNVAL);
		if (revents && watch.events && watch.fd >= 0)
			watch.fn(watch.ctx, watch.fd, revents);
	}
}

/* Timers */

static bool unlink_timer(struct loop_timer **list, struct loop_timer *timer)
{
	for (; *list; list = &(*list)->next)
		if (*list == timer) {
			*list = timer->next;
			return true;
		}
	return false;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	if (!timer->armed)
		return;
	if (!unlink_timer(&loop->timers, timer))
		unlink_timer(&loop->timers_due, timer);
	timer->armed = false;
	timer->next = NULL;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns)
{
	struct loop_timer **at = &loop->timers;

	loop_timer_cancel(loop, timer);
	while (*at && (*at)->deadline_ns <= deadline_ns)
		at = &(*at)->next;
	timer->deadline_ns = deadline_ns;
	timer->next = *at;
	timer->armed = true;
	*at = timer;
	if (loop->timers == timer)
		loop_refill(loop);
}

static void dispatch_timers(struct loop *loop)
{
	struct loop_timer **end = &loop->timers;

	while (*end && (*end)->deadline_ns <= loop->now_ns)
		end = &(*end)->next;
	if (end == &loop->timers)
		return;
	loop->timers_due = loop->timers;
	loop->timers = *end;
	*end = NULL;

	while (loop->timers_due) {
		struct loop_timer *timer = loop->timers_due;

		loop->timers_due = timer->next;
		timer->next = NULL;
		timer->armed = false;
		timer->fn(timer->ctx);
	}
}

/* Tasks */

void loop_task_post(struct loop *loop, struct loop_task *task)
{
	if (task->posted)
		return;
	task->posted = true;
	task->next = NULL;
	*loop->tasks_end = task;
	loop->tasks_end = &task->next;
	loop_refill(loop);
}

static bool unlink_task(struct loop_task **list, struct loop_task *task)
{
	for (; *list; list = &(*list)->next)
		if (*list == task) {
			*list = task->next;
			return true;
		}
	return false;
}

void loop_task_cancel(struct loop *loop, struct loop_task *task)
{
	if (!task->posted)
		return;
	if (!unlink_task(&loop->tasks_now, task))
		unlink_task(&loop->tasks, task);
	for (loop->tasks_end = &loop->tasks; *loop->tasks_end;)
		loop->tasks_end = &(*loop->tasks_end)->next;
	task->posted = false;
	task->next = NULL;
}

static void dispatch_tasks(struct loop *loop)
{
	loop->tasks_now = loop->tasks;
	loop->tasks = NULL;
	loop->tasks_end = &loop->tasks;
	while (loop->tasks_now) {
		struct loop_task *task = loop->tasks_now;

		loop->tasks_now = task->next;
		task->next = NULL;
		task->posted = false;
		task->fn(task->ctx);
	}
}

void loop_gather(struct loop *loop, bool want)
{
	assert(want || loop->gather_wanted);
	if (want)
		loop->gather_wanted++;
	else
		loop->gather_wanted--;
}

/* On the loop's thread, whoever asked for it. A kernel that refuses (a filter on system calls) leaves all as it was. */
static void gather_follow(struct loop *loop)
{
	struct sched_param param = {0};

	if (loop->gathers == (loop->gather_wanted > 0))
		return;
	loop->gathers = !loop->gathers;
	pthread_setschedparam(pthread_self(), loop->gathers ? SCHED_BATCH : SCHED_OTHER, &param);
}

/* The poller and the poll set */

void loop_poller_set(struct loop *loop, const struct loop_poller *poller)
{
	loop->poller = poller ? *poller : (struct loop_poller){ 0 };
	loop->filled = false;
	loop_refill(loop);
}

int loop_poll_add(struct loop *loop, int fd, short events)
{
	if (loop->poll_count == loop->poll_room) {
		loop->poll_room = loop->poll_room ? 2 * loop->poll_room : 32;
		loop->polls = xrealloc(loop->polls, loop->poll_room * sizeof(*loop->polls));
	}
	loop->polls[loop->poll_count] = (struct pollfd){ .fd = fd, .events = events };
	return (int)loop->poll_count++;
}

short loop_poll_revents(struct loop *loop, int index)
{
	return index >= 0 && (unsigned)index < loop->poll_count ? loop->polls[index].revents : 0;
}

/* Fills polls[]; returns how long to sleep, -1 for as long as nothing happens. */
static int64_t prepare(struct loop *loop)
{
	int64_t timeout_ns = -1;
	int poller_ms = -1;

	gather_follow(loop);
	close_holes(loop);
	loop->poll_count = 0;
	loop_poll_add(loop, loop->wake_fd, POLLIN);
	/* A negative descriptor is what poll() skips: hang-ups can not be masked in any other way. */
	for (unsigned i = 0; i < loop->watch_count; i++)
		loop_poll_add(loop, loop->watches[i].events ? loop->watches[i].fd : -1, loop->watches[i].events);
	loop->polled_watches = loop->watch_count;
	loop->filled = loop->poller.fill;
	if (loop->filled)
		loop->poller.fill(loop->poller.ctx, loop, &poller_ms);

	/* After fill(), which may set timers and post tasks. */
	if (loop->tasks)
		return 0;
	if (loop->timers) {
		uint64_t now_ns = clock_mono_ns(), deadline_ns = loop->timers->deadline_ns;

		timeout_ns = deadline_ns > now_ns ? (int64_t)MIN(deadline_ns - now_ns, (uint64_t)INT64_MAX) : 0;
	}
	if (poller_ms >= 0 && (timeout_ns < 0 || timeout_ns > (int64_t)poller_ms * NS_PER_MS))
		timeout_ns = (int64_t)poller_ms * NS_PER_MS;
	return timeout_ns;
}

/* The only place where the loop thread is without the lock. True when polls[] holds answers. */
static bool sleep_unlocked(struct loop *loop, int64_t timeout_ns)
{
	struct timespec ts = { .tv_sec = timeout_ns / NS_PER_S, .tv_nsec = timeout_ns % NS_PER_S };
	int ready, err;

	loop->asleep = true;
	loop_unlock(loop);
	/* Nobody else touches polls[] while we sleep: loop_fd_*() changes watches[] and wakes us. */
	ready = ppoll(loop->polls, loop->poll_count, timeout_ns < 0 ? NULL : &ts, NULL);
	err = errno;
	loop_lock(loop);
	loop->asleep = false;
	if (ready < 0 && err != EINTR)
		log_guest(&loop->limit, "event loop: poll failed: %s", strerror(err));
	return ready >= 0;
}

static void turn(struct loop *loop)
{
	int64_t timeout_ns = prepare(loop);
	bool polled = sleep_unlocked(loop, timeout_ns);
	uint64_t count;

	loop->now_ns = clock_mono_ns();
	if (!polled)
		for (unsigned i = 0; i < loop->poll_count; i++)
			loop->polls[i].revents = 0;
	/* A failed read leaves the counter up: one empty turn more, no harm. */
	if (loop->polls[0].revents && read(loop->wake_fd, &count, sizeof(count)) < 0)
		errno = 0;
	/* A watch that another thread removed while we slept is a hole by now and is skipped. */
	dispatch_fds(loop);
	if (loop->filled)
		loop->poller.drain(loop->poller.ctx, loop, !polled);
	dispatch_timers(loop);
	dispatch_tasks(loop);
}

void loop_run(struct loop *loop)
{
	loop_lock(loop);
	loop->now_ns = clock_mono_ns();
	loop->running = true;
	while (!__atomic_load_n(&loop->stop, __ATOMIC_ACQUIRE))
		turn(loop);
	loop->stop = false; /* so that it can be run again; a stop before the run counts */
	loop->running = false;
	loop_unlock(loop);
}

void loop_stop(struct loop *loop)
{
	__atomic_store_n(&loop->stop, true, __ATOMIC_RELEASE);
	loop_refill(loop);
}

/* ---- a thread of its own ---- */

struct loop_thread {
	struct loop *loop;
	pthread_t thread;
};

static void *thread_main(void *ctx)
{
	loop_run(ctx);
	return NULL;
}

struct loop_thread *loop_thread_start(struct loop *loop, const char *name)
{
	struct loop_thread *thread = xcalloc(1, sizeof(*thread));
	sigset_t all, before;
	int err;

	thread->loop = loop;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread->thread, NULL, thread_main, loop);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		die_errno(err, "no thread for %s", name);
	pthread_setname_np(thread->thread, name);
	return thread;
}

/* Without the lock: a callback that does not come back has it. */
static void thread_ask_to_stop(struct loop_thread *thread)
{
	__atomic_store_n(&thread->loop->stop, true, __ATOMIC_RELEASE);
	loop_wake(thread->loop);
}

void loop_thread_stop(struct loop_thread *thread)
{
	if (!thread)
		return;
	thread_ask_to_stop(thread);
	pthread_join(thread->thread, NULL);
	free(thread);
}

bool loop_thread_stop_within(struct loop_thread *thread, unsigned ms)
{
	struct timespec until = real_in_ms(ms);

	if (!thread)
		return true;
	thread_ask_to_stop(thread);
	if (pthread_timedjoin_np(thread->thread, NULL, &until))
		return false;
	free(thread);
	return true;
}
