/* SPDX-License-Identifier: Apache-2.0 */
/* test_timekeeping: when the guest's clock is left alone, slewed or stepped. Nobody's clock is touched here. */
#include "init/timekeeping.h"
#include "tests/unit/test.h"

static const uint64_t us = 1000, ms = 1000000, year_ns = 365ull * 86400 * 1000000000;

/* Ahead or behind, the answer is the same. */
static void expect(uint64_t now_ns, uint64_t apart_ns, enum timekeeping wanted)
{
	CHECK_INT(timekeeping_decide(now_ns, now_ns + apart_ns), wanted);
	CHECK_INT(timekeeping_decide(now_ns + apart_ns, now_ns), wanted);
}

TEST(small_differences_are_left)
{
	expect(50 * year_ns, 0, TIMEKEEPING_NOTHING);
	expect(50 * year_ns, 1, TIMEKEEPING_NOTHING);
	expect(50 * year_ns, 999 * us, TIMEKEEPING_NOTHING);
	expect(50 * year_ns, ms - 1, TIMEKEEPING_NOTHING);
}

TEST(from_a_millisecond_on_it_is_slewed)
{
	expect(50 * year_ns, ms, TIMEKEEPING_SLEW);
	expect(50 * year_ns, 100 * ms, TIMEKEEPING_SLEW);
	expect(50 * year_ns, TIMEKEEPING_STEP_MS * ms - 1, TIMEKEEPING_SLEW);
}

TEST(from_half_a_second_on_it_is_stepped)
{
	CHECK_INT(TIMEKEEPING_STEP_MS, 500);
	expect(50 * year_ns, TIMEKEEPING_STEP_MS * ms, TIMEKEEPING_STEP);
	expect(50 * year_ns, 1000 * ms, TIMEKEEPING_STEP);
	expect(50 * year_ns, 50 * year_ns, TIMEKEEPING_STEP);
}

/* A guest that slept since 1970, and one whose host says what no clock can. */
TEST(ends_of_the_range)
{
	expect(0, 0, TIMEKEEPING_NOTHING);
	expect(0, ms, TIMEKEEPING_SLEW);
	expect(0, UINT64_MAX, TIMEKEEPING_STEP);
	expect(UINT64_MAX - ms, ms, TIMEKEEPING_SLEW);
}

int main(void)
{
	RUN(small_differences_are_left);
	RUN(from_a_millisecond_on_it_is_slewed);
	RUN(from_half_a_second_on_it_is_stepped);
	RUN(ends_of_the_range);
	return test_done();
}
