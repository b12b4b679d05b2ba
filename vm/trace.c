// SPDX-License-Identifier: Apache-2.0
/* trace: the time line of a start. Process-wide, as there is one start per process. */
#include "vm/trace.h"

#include "lib/util.h"
#include "pod/abi.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MARKS_MAX = 32 };

static struct {
	pthread_mutex_t lock;
	bool on;
	uint64_t start_ns;
	unsigned count;
	struct {
		const char *phase;
		uint64_t ns;
	} marks[MARKS_MAX];
} trace = {.lock = PTHREAD_MUTEX_INITIALIZER};

void trace_start(uint64_t start_ns)
{
	trace.on = true;
	trace.start_ns = start_ns;
}

static bool phase_known(const char *phase)
{
	for (unsigned i = 0; i < trace.count; i++)
		if (strcmp(trace.marks[i].phase, phase) == 0)
			return true;
	return false;
}

void trace_mark(const char *phase)
{
	uint64_t now;

	if (!trace.on)
		return;
	now = clock_mono_ns();
	pthread_mutex_lock(&trace.lock);
	if (trace.count < MARKS_MAX && !phase_known(phase)) {
		trace.marks[trace.count].phase = phase;
		trace.marks[trace.count++].ns = now;
	}
	pthread_mutex_unlock(&trace.lock);
}

void trace_print(void)
{
	uint64_t before = trace.start_ns;

	if (!trace.on)
		return;
	fprintf(stderr, "podvm: boot time line, microseconds since podvm began\n%12s %12s  %s\n", "at", "took", "phase");
	for (unsigned i = 0; i < trace.count; i++) {
		uint64_t at = trace.marks[i].ns;

		fprintf(stderr, "%12llu %12llu  %s\n", (unsigned long long)(at - trace.start_ns) / 1000,
			(unsigned long long)(at - before) / 1000, trace.marks[i].phase);
		before = at;
	}
}

static void port_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	static const char *const phases[] = {
		[ABI_TRACE_INIT_START] = "guest: kernel booted, init begins",
		[ABI_TRACE_MOUNTED] = "guest: pseudo file systems mounted",
		[ABI_TRACE_NETWORK] = "guest: network configured",
		[ABI_TRACE_CONNECTED] = "guest: control connection open",
		[ABI_TRACE_POD_RECEIVED] = "guest: pod received",
		[ABI_TRACE_SPAWNED] = "guest: containers started",
	};

	(void)ctx;
	(void)offset;
	(void)width;
	if (value < ARRAY_SIZE(phases) && phases[value])
		trace_mark(phases[value]);
}

const struct bus_ops trace_port_ops = {
	.write = port_write,
};
