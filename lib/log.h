/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: one line per event on stderr, each beginning "podvm: ".
 *
 * Host set-up faults use die(): they happen before the guest runs and end the process with EXIT_PODVM.
 * After that nothing dies: log_warn() for the user, log_guest() for what a guest can provoke.
 */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum {
	EXIT_PODVM = 125,	 /* podvm could not start the pod */
	EXIT_NOT_EXECUTABLE = 126, /* command found, but it can not be run */
	EXIT_NOT_FOUND = 127,	 /* command not found */
};

/* What failed: why; what to do. Never returns. die_errno() adds strerror(err), err being positive. */
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die_errno(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Only with log_verbose set (--verbose). */
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
extern bool log_verbose;

/* The word that opens every line; "podvm" unless set. In the guest "podvm-init". The text is not copied. */
void log_set_name(const char *name);

/*
 * A line that a guest can cause: at most LOG_GUEST_BURST per ten seconds and limiter; what was held back is
 * counted and told with the next line. A zeroed limiter is ready to use.
 */
enum { LOG_GUEST_BURST = 5 };
struct log_limit {
	uint64_t window_start_ns;
	unsigned lines, held_back;
};
void log_guest(struct log_limit *limit, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
