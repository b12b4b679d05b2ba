/* SPDX-License-Identifier: Apache-2.0 */
/* test_supervise: restart policy, back-off and stopping, on a clock of our own. */
#include "init/supervise.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <signal.h>

enum { CONTAINERS = 2 };

static struct {
	unsigned starts[CONTAINERS], ends[CONTAINERS], agains;
	int last_signal[CONTAINERS];
	uint32_t code[CONTAINERS];
	unsigned delay_ms;
	int start_result;
} seen;

static int start(void *ctx, unsigned index)
{
	(void)ctx;
	seen.starts[index]++;
	return seen.start_result;
}

static void send_signal(void *ctx, unsigned index, int signo)
{
	(void)ctx;
	seen.last_signal[index] = signo;
}

static void again(void *ctx, unsigned index, const struct wire_exited *exited, unsigned delay_ms)
{
	(void)ctx;
	(void)index;
	(void)exited;
	seen.agains++;
	seen.delay_ms = delay_ms;
}

static void ended(void *ctx, unsigned index, const struct wire_exited *exited)
{
	(void)ctx;
	seen.ends[index]++;
	seen.code[index] = exited->code;
}

static const struct supervise_user user = {.start = start, .signal = send_signal, .again = again, .ended = ended};
static const uint64_t ms = 1000000;

static struct supervise *begin(enum spec_restart first, enum spec_restart second)
{
	const enum spec_restart policies[CONTAINERS] = {first, second};
	const int signals[CONTAINERS] = {SIGTERM, SIGINT};
	struct supervise *supervise;

	memset(&seen, 0, sizeof(seen));
	supervise = supervise_new(CONTAINERS, policies, signals, &user, NULL);
	supervise_start(supervise, 0);
	return supervise;
}

static void exit_with(struct supervise *supervise, unsigned container, uint32_t code, uint64_t now_ms)
{
	const struct wire_exited exited = {.code = code};

	supervise_exited(supervise, container, &exited, false, now_ms * ms);
}

TEST(backoff_doubles_up_to_thirty_seconds)
{
	static const unsigned expected[] = {100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};

	for (unsigned n = 0; n < sizeof(expected) / sizeof(expected[0]); n++)
		CHECK_INT(supervise_backoff_ms(n), expected[n]);
	CHECK_INT(supervise_backoff_ms(40), 30000);
	CHECK_INT(supervise_backoff_ms(UINT32_MAX), 30000);
}

TEST(never_ends_for_good)
{
	struct supervise *supervise = begin(SPEC_RESTART_NEVER, SPEC_RESTART_NEVER);

	CHECK_INT(seen.starts[0] + seen.starts[1], 2);
	exit_with(supervise, 0, 3, 5);
	CHECK_INT(seen.ends[0], 1);
	CHECK_INT(seen.code[0], 3);
	CHECK(!supervise_is_running(supervise, 0));
	CHECK(supervise_is_running(supervise, 1));
	CHECK(supervise_deadline_ns(supervise) == UINT64_MAX);
	exit_with(supervise, 0, 4, 6); /* told twice: the first counts */
	CHECK_INT(seen.ends[0], 1);
	supervise_free(supervise);
}

TEST(on_failure_starts_again_only_after_failure)
{
	struct supervise *supervise = begin(SPEC_RESTART_ON_FAILURE, SPEC_RESTART_ON_FAILURE);

	exit_with(supervise, 0, 0, 1);
	CHECK_INT(seen.ends[0], 1);
	exit_with(supervise, 1, 1, 1);
	CHECK_INT(seen.ends[1], 0);
	CHECK_INT(seen.delay_ms, 100);
	CHECK(supervise_deadline_ns(supervise) == 101 * ms);
	supervise_tick(supervise, 100 * ms);
	CHECK_INT(seen.starts[1], 1);
	supervise_tick(supervise, 101 * ms);
	CHECK_INT(seen.starts[1], 2);
	exit_with(supervise, 1, 1, 150);
	CHECK_INT(seen.delay_ms, 200);
	supervise_free(supervise);
}

TEST(stable_run_brings_first_delay_back)
{
	struct supervise *supervise = begin(SPEC_RESTART_ALWAYS, SPEC_RESTART_NEVER);

	exit_with(supervise, 0, 0, 1);
	supervise_tick(supervise, 101 * ms);
	exit_with(supervise, 0, 0, 102);
	CHECK_INT(seen.delay_ms, 200);
	supervise_tick(supervise, 302 * ms);
	exit_with(supervise, 0, 0, 302 + SUPERVISE_STABLE_MS - 1);
	CHECK_INT(seen.delay_ms, 400);
	supervise_tick(supervise, 20000 * ms);
	exit_with(supervise, 0, 0, 20000 + SUPERVISE_STABLE_MS);
	CHECK_INT(seen.delay_ms, 100);
	supervise_free(supervise);
}

/* Of all restarts, a stable run in between or not; a start that was not yet is none. */
TEST(state_and_restarts_are_told)
{
	struct supervise *supervise;

	supervise = begin(SPEC_RESTART_ALWAYS, SPEC_RESTART_NEVER);
	CHECK_INT(supervise_state(supervise, 0), WIRE_STATE_RUNNING);
	exit_with(supervise, 0, 0, 1);
	CHECK_INT(supervise_state(supervise, 0), WIRE_STATE_WAITING);
	CHECK_INT(supervise_restarts(supervise, 0), 0);
	supervise_tick(supervise, 101 * ms);
	CHECK_INT(supervise_state(supervise, 0), WIRE_STATE_RUNNING);
	CHECK_INT(supervise_restarts(supervise, 0), 1);
	exit_with(supervise, 0, 0, 101 + SUPERVISE_STABLE_MS);
	CHECK_INT(seen.delay_ms, 100);
	supervise_tick(supervise, (uint64_t)(201 + SUPERVISE_STABLE_MS) * ms);
	CHECK_INT(supervise_restarts(supervise, 0), 2);
	exit_with(supervise, 1, 0, 1);
	CHECK_INT(supervise_state(supervise, 1), WIRE_STATE_ENDED);
	CHECK_INT(supervise_restarts(supervise, 1), 0);
	supervise_free(supervise);
}

/* The first delay comes back, and from there they double again: what was is forgotten, what is counted is not. */
TEST(delays_grow_again_after_a_stable_run)
{
	static const unsigned after[] = {100, 200, 400};
	struct supervise *supervise = begin(SPEC_RESTART_ALWAYS, SPEC_RESTART_NEVER);
	uint64_t now_ms = 0;

	for (unsigned round = 0; round < 2; round++) {
		now_ms += SUPERVISE_STABLE_MS;
		for (unsigned i = 0; i < 3; i++) {
			exit_with(supervise, 0, 0, now_ms);
			CHECK_INT(seen.delay_ms, after[i]);
			now_ms += after[i];
			supervise_tick(supervise, now_ms * ms);
			now_ms += 1;
		}
	}
	CHECK_INT(supervise_restarts(supervise, 0), 6);
	CHECK_INT(seen.starts[0], 7);
	supervise_free(supervise);
}

TEST(state_before_the_start_and_after_a_failed_one)
{
	const enum spec_restart policies[] = {SPEC_RESTART_ALWAYS, SPEC_RESTART_ALWAYS};
	const int signals[] = {SIGTERM, SIGTERM};
	struct supervise *supervise = supervise_new(CONTAINERS, policies, signals, &user, NULL);

	memset(&seen, 0, sizeof(seen));
	CHECK_INT(supervise_state(supervise, 0), WIRE_STATE_PENDING);
	CHECK(!supervise_is_running(supervise, 0));
	supervise_signal(supervise, WIRE_ALL, SIGHUP);
	CHECK_INT(seen.last_signal[0], 0);
	supervise_start(supervise, 0);
	CHECK_INT(supervise_state(supervise, 0), WIRE_STATE_RUNNING);
	CHECK_INT(supervise_restarts(supervise, 0), 0);
	exit_with(supervise, 0, 1, 1);
	seen.start_result = -EAGAIN;
	supervise_tick(supervise, 101 * ms);
	CHECK_INT(supervise_state(supervise, 0), WIRE_STATE_ENDED);
	CHECK_INT(supervise_restarts(supervise, 0), 1); /* it was tried */
	exit_with(supervise, 1, 1, 1);
	CHECK_INT(supervise_state(supervise, 1), WIRE_STATE_WAITING);
	supervise_stop(supervise, 1000, 2 * ms);
	CHECK_INT(supervise_state(supervise, 1), WIRE_STATE_ENDED);
	CHECK_INT(supervise_restarts(supervise, 1), 0);
	supervise_free(supervise);
}

TEST(what_can_not_run_does_not_start_again)
{
	struct supervise *supervise = begin(SPEC_RESTART_ALWAYS, SPEC_RESTART_NEVER);
	const struct wire_exited exited = {.code = 127};

	supervise_exited(supervise, 0, &exited, true, ms);
	CHECK_INT(seen.agains, 0);
	CHECK_INT(seen.code[0], 127);
	supervise_free(supervise);
}

TEST(failed_start_ends_with_125)
{
	struct supervise *supervise = begin(SPEC_RESTART_ALWAYS, SPEC_RESTART_NEVER);

	exit_with(supervise, 0, 1, 1);
	seen.start_result = -EAGAIN;
	supervise_tick(supervise, 101 * ms);
	CHECK_INT(seen.ends[0], 1);
	CHECK_INT(seen.code[0], 125);
	supervise_free(supervise);
}

TEST(stop_signals_then_kills)
{
	struct supervise *supervise = begin(SPEC_RESTART_ALWAYS, SPEC_RESTART_ALWAYS);

	supervise_stop(supervise, 5000, 10 * ms);
	CHECK_INT(seen.last_signal[0], SIGTERM);
	CHECK_INT(seen.last_signal[1], SIGINT);
	CHECK(supervise_deadline_ns(supervise) == 5010 * ms);
	exit_with(supervise, 0, 143, 20);
	CHECK_INT(seen.ends[0], 1); /* policy always, but the pod stops */
	supervise_tick(supervise, 5009 * ms);
	CHECK_INT(seen.last_signal[1], SIGINT);
	supervise_tick(supervise, 5010 * ms);
	CHECK_INT(seen.last_signal[0], SIGTERM);
	CHECK_INT(seen.last_signal[1], SIGKILL);
	CHECK(supervise_deadline_ns(supervise) == UINT64_MAX);
	supervise_free(supervise);
}

TEST(second_stop_shortens_grace)
{
	struct supervise *supervise = begin(SPEC_RESTART_NEVER, SPEC_RESTART_NEVER);

	supervise_stop(supervise, 5000, 0);
	supervise_stop(supervise, 100, ms);
	CHECK(supervise_deadline_ns(supervise) == 101 * ms);
	supervise_stop(supervise, 9000, ms);
	CHECK(supervise_deadline_ns(supervise) == 101 * ms);
	supervise_stop(supervise, 0, 2 * ms);
	CHECK_INT(seen.last_signal[0], SIGKILL);
	supervise_free(supervise);
}

TEST(stop_ends_who_waits_for_a_restart)
{
	struct supervise *supervise = begin(SPEC_RESTART_ALWAYS, SPEC_RESTART_NEVER);

	exit_with(supervise, 0, 9, 1);
	CHECK_INT(seen.ends[0], 0);
	supervise_stop(supervise, 1000, 2 * ms);
	CHECK_INT(seen.ends[0], 1);
	CHECK_INT(seen.code[0], 9);
	supervise_tick(supervise, 200 * ms);
	CHECK_INT(seen.starts[0], 1);
	supervise_free(supervise);
}

TEST(signals_reach_one_or_all_that_run)
{
	struct supervise *supervise = begin(SPEC_RESTART_NEVER, SPEC_RESTART_NEVER);

	supervise_signal(supervise, 1, SIGHUP);
	CHECK_INT(seen.last_signal[0], 0);
	CHECK_INT(seen.last_signal[1], SIGHUP);
	exit_with(supervise, 1, 0, 1);
	supervise_signal(supervise, WIRE_ALL, SIGUSR1);
	CHECK_INT(seen.last_signal[0], SIGUSR1);
	CHECK_INT(seen.last_signal[1], SIGHUP);
	supervise_signal(supervise, 77, SIGUSR2);
	CHECK_INT(seen.last_signal[0], SIGUSR1);
	supervise_free(supervise);
}

int main(void)
{
	RUN(backoff_doubles_up_to_thirty_seconds);
	RUN(never_ends_for_good);
	RUN(on_failure_starts_again_only_after_failure);
	RUN(stable_run_brings_first_delay_back);
	RUN(state_and_restarts_are_told);
	RUN(delays_grow_again_after_a_stable_run);
	RUN(state_before_the_start_and_after_a_failed_one);
	RUN(what_can_not_run_does_not_start_again);
	RUN(failed_start_ends_with_125);
	RUN(stop_signals_then_kills);
	RUN(second_stop_shortens_grace);
	RUN(stop_ends_who_waits_for_a_restart);
	RUN(signals_reach_one_or_all_that_run);
	return test_done();
}
