/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test: what a unit test is made of. Owns the TAP lines and the count; must not know what is tested.
 *
 * A test program is one file: TEST() functions, and a main() that names each once (an unused one is a compiler
 * warning, so none is forgotten):
 *
 *	#include "tests/unit/test.h"
 *
 *	TEST(adds_up)
 *	{
 *		CHECK_INT(1 + 1, 2);
 *	}
 *
 *	int main(void)
 *	{
 *		RUN(adds_up);
 *		return test_done();
 *	}
 *
 * Output is TAP: "ok 1 - adds_up", or "not ok 1 - adds_up" with a "# file:line: what differed" line before it for
 * each failed check, "ok 1 - adds_up # SKIP reason", and the plan "1..N" at the end. test_done() gives 1 when any test
 * failed, so that a runner needs no TAP parser. A failed check does not end its test: return after it where going on
 * makes no sense (every CHECK is an expression that says whether it held).
 */
#ifndef TESTS_UNIT_TEST_H
#define TESTS_UNIT_TEST_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static unsigned test_count, test_failures; /* whole tests */
static unsigned test_bad_checks; /* of the running test */
static const char *test_skip_reason; /* of the running test; NULL: it ran */

#define TEST(name) static void test_##name(void)
#define RUN(name) test_run(#name, test_##name)

/* true when it held. text says more than the expression could, as in a table's row. */
#define CHECK(cond) test_check((cond), __FILE__, __LINE__, #cond)
#define CHECK_MSG(cond, text) test_check((cond), __FILE__, __LINE__, (text))
/* Got first, then expected. Strings may be NULL. Numbers of any width, compared as signed 64-bit ones. */
#define CHECK_STR(got, expected) test_check_str((got), (expected), __FILE__, __LINE__, #got)
#define CHECK_INT(got, expected) test_check_int((int64_t)(got), (int64_t)(expected), __FILE__, __LINE__, #got)
/* The same number of bytes at both. */
#define CHECK_MEM(got, expected, bytes)                                                                                \
	test_check(!memcmp((got), (expected), (bytes)), __FILE__, __LINE__, #got " differs from " #expected)

/* Ends the running test as skipped; the reason is printed. Only directly in a TEST(). */
#define SKIP(reason)                                                                                                   \
	do {                                                                                                           \
		test_skip_reason = (reason);                                                                           \
		return;                                                                                                \
	} while (0)

static inline bool test_check(bool held, const char *file, int line, const char *what)
{
	if (!held) {
		printf("# %s:%d: failed: %s\n", file, line, what);
		test_bad_checks++;
	}
	return held;
}

static inline bool test_check_str(const char *got, const char *expected, const char *file, int line, const char *what)
{
	if (got == expected || (got && expected && !strcmp(got, expected)))
		return true;
	printf("# %s:%d: %s\n#   got      %s\n#   expected %s\n", file, line, what, got ? got : "NULL",
	       expected ? expected : "NULL");
	test_bad_checks++;
	return false;
}

static inline bool test_check_int(int64_t got, int64_t expected, const char *file, int line, const char *what)
{
	if (got == expected)
		return true;
	printf("# %s:%d: %s is %" PRId64 " (0x%" PRIx64 "), expected %" PRId64 " (0x%" PRIx64 ")\n", file, line, what,
	       got, (uint64_t)got, expected, (uint64_t)expected);
	test_bad_checks++;
	return false;
}

static inline void test_run(const char *name, void (*test)(void))
{
	test_bad_checks = 0;
	test_skip_reason = NULL;
	test();
	test_count++;
	if (test_bad_checks) {
		test_failures++;
		printf("not ok %u - %s\n", test_count, name);
	} else if (test_skip_reason) {
		printf("ok %u - %s # SKIP %s\n", test_count, name, test_skip_reason);
	} else {
		printf("ok %u - %s\n", test_count, name);
	}
	fflush(stdout); /* a crash in the next test must not take this line along */
}

static inline int test_done(void)
{
	printf("1..%u\n", test_count);
	fflush(stdout);
	return test_failures || !test_count;
}

#endif
