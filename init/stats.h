/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats: what the guest and its containers use, read from the kernel's files. A file that is missing, as where a kernel
 * has no such controller, leaves UINT64_MAX, or 0 where something is counted; it is no fault.
 */
#ifndef INIT_STATS_H
#define INIT_STATS_H

#include "pod/wire.h"

#include <stddef.h>
#include <stdint.h>

/* The whole guest; processes and containers stay the caller's. */
void stats_of_machine(struct wire_stats *stats);

/* A cgroup's directory; state and restarts stay the caller's. */
void stats_of_cgroup(const char *path, struct wire_use *use);

/* The parsers, on the files' texts. */
/* "NAME VALUE" lines (cpu.stat, memory.stat, memory.events): the value, or otherwise. */
uint64_t stats_field(const char *text, const char *name, uint64_t otherwise);
/* A file of one number; "max" and what is none are UINT64_MAX. */
uint64_t stats_number(const char *text);
void stats_parse_io(const char *text, struct wire_use *use);	       /* io.stat: all devices */
void stats_parse_cpu(const char *text, struct wire_stats *stats);     /* /proc/stat */
void stats_parse_memory(const char *text, struct wire_stats *stats);  /* /proc/meminfo */
void stats_parse_network(const char *text, struct wire_stats *stats); /* /proc/net/dev: all but lo */

#endif
