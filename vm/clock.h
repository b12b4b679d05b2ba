/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock: says when the guest should hear the time: every CLOCK_PERIOD_MS, because guest and host drift apart (the
 * host's clock is disciplined, the guest's counts the same TSC undisciplined), and at once when the host's clock was set
 * or the host woke from sleep.
 */
#ifndef VM_CLOCK_H
#define VM_CLOCK_H

#include "vm/loop.h"

enum { CLOCK_PERIOD_MS = 10 * 60 * 1000 };

struct clock;
/* tell is called on the loop. Without a timerfd it tells by period alone. */
struct clock *clock_new(struct loop *loop, void (*tell)(void *ctx), void *ctx);
/* Another period, counted from now. */
void clock_period(struct clock *clock, unsigned ms);
void clock_free(struct clock *clock); /* NULL is fine */

#endif
