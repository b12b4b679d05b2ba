/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: the one event loop. THE THREADING RULE OF PODVM STANDS HERE:
 *
 * One thread, the loop thread, owns every device, every timer and every connection. It holds the loop's lock
 * whenever it runs a callback and lets go of it only while it sleeps in poll(). vCPU threads run KVM and, for a
 * register access, take the same lock around bus_read()/bus_write(). So device code never meets itself on another
 * thread and needs no lock of its own. A callback must never block: no blocking I/O, no waiting for the guest.
 * One kind of device can not keep that and has a loop and a thread of its own, see loop_thread_start() and
 * devices/virtio.h; the rule then holds for that loop, save that its callbacks may block.
 * Everything below is called on the loop thread or under loop_lock(), save where it says "any thread".
 */
#ifndef VM_LOOP_H
#define VM_LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;

struct loop *loop_new(void);
void loop_free(struct loop *loop);

/* Any thread. The lock around device state; not recursive. */
void loop_lock(struct loop *loop);
void loop_unlock(struct loop *loop);
/* The same with an end: false when another thread kept it for ms, the lock is not held then. */
bool loop_lock_within(struct loop *loop, unsigned ms);

/*
 * Watches fd for the poll(2) events; fn gets revents (POLLHUP and POLLERR come unasked). The loop never closes fd.
 * One watch per fd. events 0 keeps the watch but asks for nothing (hang-ups are then not told either).
 */
typedef void loop_fd_fn(void *ctx, int fd, short revents);
void loop_fd_add(struct loop *loop, int fd, short events, loop_fd_fn *fn, void *ctx);
void loop_fd_events(struct loop *loop, int fd, short events);
void loop_fd_del(struct loop *loop, int fd);

/* A one-shot timer, owned by the caller, zeroed but for fn and ctx. Setting it again moves it. */
struct loop_timer {
	void (*fn)(void *ctx);
	void *ctx;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
	struct loop_timer *next;
	bool armed;
};
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);

/*
 * Work to be done in the next turn, after pending descriptors were looked at: how a device goes on with a queue
 * whose budget ran out without starving the others. Posting a task that waits already does nothing.
 */
struct loop_task {
	void (*fn)(void *ctx);
	void *ctx;
	struct loop_task *next;
	bool posted;
};
void loop_task_post(struct loop *loop, struct loop_task *task);
void loop_task_cancel(struct loop *loop, struct loop_task *task);

/*
 * While somebody wants it (calls with true and false are counted), the loop's thread does not push another thread off
 * its CPU when it wakes up, but waits until that one sleeps or its time slice ends (SCHED_BATCH). A vCPU that makes
 * work then makes more of it, which is done in one go. Without effect where a CPU is idle. Where all are busy, waking
 * up takes milliseconds: whoever wants this has to watch that it pays.
 */
void loop_gather(struct loop *loop, bool want);

/*
 * A part with descriptors of its own that change all the time (libslirp). Every turn fill() appends what it
 * wants with loop_poll_add() and may lower *timeout_ms (-1: none); after poll() drain() reads what came of it with
 * loop_poll_revents(). One poller suffices for podvm; a second loop_poller_set() replaces the first.
 */
struct loop_poller {
	void (*fill)(void *ctx, struct loop *loop, int *timeout_ms);
	void (*drain)(void *ctx, struct loop *loop, bool poll_failed);
	void *ctx;
};
void loop_poller_set(struct loop *loop, const struct loop_poller *poller);
int loop_poll_add(struct loop *loop, int fd, short events); /* returns an index for loop_poll_revents() */
short loop_poll_revents(struct loop *loop, int index);

/*
 * Under the lock: what the poller wants has changed outside its own calls; if the loop sleeps on the old question, it
 * asks anew. Costs nothing on the loop thread. Watches, timers and tasks do this by themselves.
 */
void loop_refill(struct loop *loop);

/* Any thread, also a signal handler: ends the sleep, so that tasks posted under the lock are seen. */
void loop_wake(struct loop *loop);

/* Runs until loop_stop(). The caller becomes the loop thread. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/*
 * Runs the loop on a thread of its own, which takes no signals, until loop_thread_stop(); name is at most 15 bytes.
 * For a device whose work may block (virtio-fs). Such a loop has its own lock; a thread that holds it must not take
 * another loop's. Dies when there is no thread to be had.
 */
struct loop_thread;
struct loop_thread *loop_thread_start(struct loop *loop, const char *name);
/* Waits for the callback that runs, then for the thread. Not under the loop's lock. NULL is fine. */
void loop_thread_stop(struct loop_thread *thread);
/*
 * The same with an end: false when a callback has not come back within ms. Then the thread still runs and everything
 * it may touch, the loop included, must stay; all that is left is to end the process. NULL is fine.
 */
bool loop_thread_stop_within(struct loop_thread *thread, unsigned ms);

/* Time of this turn (CLOCK_MONOTONIC), read once per turn. */
uint64_t loop_now_ns(const struct loop *loop);

#endif
