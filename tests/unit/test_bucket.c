// SPDX-License-Identifier: Apache-2.0
/* test_bucket: rates, bursts and debt of a token bucket, on a clock of our own. */
#include "devices/bucket.h"
#include "tests/unit/test.h"

#define S UINT64_C(1000000000)

TEST(no_rate_no_limit)
{
	struct bucket bucket;

	bucket_init(&bucket, 0, 0, 5);
	for (unsigned i = 0; i < 100; i++)
		CHECK_INT(bucket_take(&bucket, UINT64_MAX, 5), 0);
	bucket_init(&bucket, UINT64_MAX, 0, 5);
	CHECK_INT(bucket_take(&bucket, UINT64_MAX, 5), 0);
	CHECK_INT(bucket_take(&bucket, 1, 5), 0);
}

TEST(burst_then_rate)
{
	struct bucket bucket;
	uint64_t now = 7 * S;

	bucket_init(&bucket, 1000, 50, now);
	CHECK_INT(bucket_take(&bucket, 50, now), 0);
	CHECK_INT(bucket_take(&bucket, 1, now), S / 1000);
	CHECK_INT(bucket_take(&bucket, 1, now + S / 1000 - 1), 1);
	CHECK_INT(bucket_take(&bucket, 1, now + S / 1000), 0);
	CHECK_INT(bucket_wait_ns(&bucket, now + S / 1000), S / 1000);
}

TEST(debt_is_paid_back)
{
	struct bucket bucket;

	bucket_init(&bucket, 100, 10, 0);
	CHECK_INT(bucket_take(&bucket, 210, 0), 0); /* 200 of it owed */
	CHECK_INT(bucket_take(&bucket, 1, 0), 2 * S + S / 100);
	CHECK_INT(bucket_take(&bucket, 1, 2 * S), S / 100);
	CHECK_INT(bucket_take(&bucket, 1, 2 * S + S / 100), 0);
}

TEST(asking_often_loses_nothing)
{
	struct bucket bucket;
	uint64_t taken = 0;

	bucket_init(&bucket, 3, 1, 0);
	for (uint64_t now = 0; now <= 10 * S; now += S / 1000)
		taken += bucket_take(&bucket, 1, now) == 0;
	CHECK(taken >= 30 && taken <= 31);
}

TEST(a_long_rest_fills_it_and_no_more)
{
	struct bucket bucket;

	bucket_init(&bucket, UINT64_C(1) << 40, 1000, 0);
	CHECK_INT(bucket_take(&bucket, 1000, 0), 0);
	CHECK_INT(bucket_take(&bucket, 999, UINT64_MAX / 2), 0);
	CHECK_INT(bucket_take(&bucket, 1, UINT64_MAX / 2), 0);
	CHECK(bucket_take(&bucket, 1, UINT64_MAX / 2) > 0);
}

int main(void)
{
	RUN(no_rate_no_limit);
	RUN(burst_then_rate);
	RUN(debt_is_paid_back);
	RUN(asking_often_loses_nothing);
	RUN(a_long_rest_fills_it_and_no_more);
	return test_done();
}
