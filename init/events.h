/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events: PID 1's one loop: descriptors by epoll, one-shot timers. One thread, no locks; callbacks never block.
 */
#ifndef INIT_EVENTS_H
#define INIT_EVENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct events;

struct events *events_new(void);
void events_free(struct events *events);

/* A descriptor to look at. Owned by the caller, who fills fd, fn and ctx and zeroes the rest; fn gets EPOLL* bits. */
struct events_watch {
	int fd;
	void (*fn)(void *ctx, uint32_t happened);
	void *ctx;
	uint32_t mask;
};

/*
 * Asks for mask from now on; 0 takes the descriptor out, hang-ups included, and must be done before it is closed or
 * the watch is freed. Inside any callback, too. 0 or -errno.
 */
int events_want(struct events *events, struct events_watch *watch, uint32_t mask);

/* Owned by the caller, zeroed but for fn and ctx. Setting it again moves it. Deadlines are CLOCK_MONOTONIC. */
struct events_timer {
	void (*fn)(void *ctx);
	void *ctx;
	uint64_t deadline_ns;
	struct events_timer *next;
	bool armed;
};
void events_timer_set(struct events *events, struct events_timer *timer, uint64_t deadline_ns);
void events_timer_cancel(struct events *events, struct events_timer *timer);

/* Sleeps until something happens and calls who waits for it. */
void events_turn(struct events *events);

#endif
