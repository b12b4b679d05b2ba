/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket: a token bucket. So many units (bytes, operations) per second, saved up to a burst while nothing is used.
 * A taker may go into debt, so that one request larger than the burst still passes; the next one then waits longer.
 */
#ifndef DEVICES_BUCKET_H
#define DEVICES_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
	uint64_t rate_per_s; /* 0: no limit */
	uint64_t burst;
	int64_t tokens; /* below 0: debt */
	uint64_t filled_ns;
};

/* rate_per_s 0 is no limit; burst 0 is a tenth of a second's worth, at least 1. Starts full. */
void bucket_init(struct bucket *bucket, uint64_t rate_per_s, uint64_t burst, uint64_t now_ns);

/*
 * Takes amount and returns 0, or takes nothing and returns after how many ns it may be asked again: when there is no
 * debt any more. now_ns never runs backwards.
 */
uint64_t bucket_take(struct bucket *bucket, uint64_t amount, uint64_t now_ns);

/* As bucket_take(), but only looks. */
uint64_t bucket_wait_ns(struct bucket *bucket, uint64_t now_ns);

#endif
