/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace: the time line of a start (--trace-boot). A mark costs one clock read; without --trace-boot nothing.
 */
#ifndef VM_TRACE_H
#define VM_TRACE_H

#include "devices/bus.h"

#include <stdint.h>

enum { TRACE_PORT_COUNT = 1 };

/* Starts the time line; time 0 is start_ns (CLOCK_MONOTONIC). Marks before it are dropped. */
void trace_start(uint64_t start_ns);
/* Notes that the phase with this name (static text) ended now. The first mark of a name counts. Any thread. */
void trace_mark(const char *phase);
/* Prints the line, one phase per row, microseconds, to stderr. */
void trace_print(void);

/* The port on which the guest's init marks its own phases (pod/abi.h). */
extern const struct bus_ops trace_port_ops;

#endif
