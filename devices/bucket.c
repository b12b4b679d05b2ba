// SPDX-License-Identifier: Apache-2.0
/*
 * bucket: see bucket.h. Whole tokens only: time that did not make one yet is kept by moving filled_ns just as far as
 * the tokens that were given, so that asking often loses nothing.
 */
#include "devices/bucket.h"

#include "lib/util.h"

#define NS_PER_S UINT64_C(1000000000)

void bucket_init(struct bucket *bucket, uint64_t rate_per_s, uint64_t burst, uint64_t now_ns)
{
	/* Rates no machine reaches would overflow the arithmetic below; they are no limit. */
	if (rate_per_s > (UINT64_C(1) << 40))
		rate_per_s = 0;
	if (burst == 0)
		burst = MAX(rate_per_s / 10, UINT64_C(1));
	*bucket = (struct bucket){
		.rate_per_s = rate_per_s,
		.burst = MIN(burst, UINT64_C(1) << 40),
		.filled_ns = now_ns,
	};
	bucket->tokens = (int64_t)bucket->burst;
}

static void fill(struct bucket *bucket, uint64_t now_ns)
{
	uint64_t missing = (uint64_t)((int64_t)bucket->burst - bucket->tokens), passed_ns = now_ns - bucket->filled_ns, seconds;
	uint64_t gained;

	if (now_ns <= bucket->filled_ns)
		return;
	seconds = passed_ns / NS_PER_S;
	if (seconds > missing / bucket->rate_per_s) { /* full, and no product below overflows */
		bucket->tokens = (int64_t)bucket->burst;
		bucket->filled_ns = now_ns;
		return;
	}
	gained = seconds * bucket->rate_per_s + (uint64_t)((unsigned __int128)(passed_ns % NS_PER_S) * bucket->rate_per_s / NS_PER_S);
	if (gained >= missing) {
		bucket->tokens = (int64_t)bucket->burst;
		bucket->filled_ns = now_ns;
		return;
	}
	bucket->tokens += (int64_t)gained;
	bucket->filled_ns += (uint64_t)((unsigned __int128)gained * NS_PER_S / bucket->rate_per_s);
}

uint64_t bucket_wait_ns(struct bucket *bucket, uint64_t now_ns)
{
	uint64_t debt, wait_ns;

	if (bucket->rate_per_s == 0)
		return 0;
	fill(bucket, now_ns);
	if (bucket->tokens > 0)
		return 0;
	debt = (uint64_t)(1 - bucket->tokens);
	wait_ns = (uint64_t)(((unsigned __int128)debt * NS_PER_S + bucket->rate_per_s - 1) / bucket->rate_per_s);
	wait_ns -= MIN(wait_ns, now_ns - bucket->filled_ns);
	return MAX(wait_ns, UINT64_C(1));
}

uint64_t bucket_take(struct bucket *bucket, uint64_t amount, uint64_t now_ns)
{
	uint64_t wait_ns = bucket_wait_ns(bucket, now_ns);

	if (wait_ns == 0 && bucket->rate_per_s)
		bucket->tokens -= (int64_t)MIN(amount, UINT64_C(1) << 40);
	return wait_ns;
}
