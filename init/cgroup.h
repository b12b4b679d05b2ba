/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup: a container's cgroup: its limits, its freezer and what the OOM killer did in it. */
#ifndef INIT_CGROUP_H
#define INIT_CGROUP_H

#include "pod/spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Processes and threads of a container whose file does not say. */
uint64_t cgroup_pids_default(uint64_t pod_memory_mb);

/*
 * The cgroup of a container of the pod, made at the first call with its limits set: a descriptor of its directory, the
 * caller's. Or -errno and what failed in text.
 */
int cgroup_open(const struct spec_pod *pod, unsigned container, char *text, size_t room);

/* True when the container's file asks for a limit that only a cgroup gives. */
bool cgroup_is_needed(const struct spec_container *container);

/* The directory of a container's cgroup into path, of CGROUP_PATH_BYTES. */
enum { CGROUP_PATH_BYTES = 64 };
void cgroup_path(unsigned container, char *path);

/* How many of its processes the OOM killer took so far, for a limit of its own or for want of memory in the pod. */
uint64_t cgroup_oom_kills(unsigned container);

/* Stops all its processes, or lets them go on. 0 or -errno. */
int cgroup_freeze(unsigned container, bool frozen);

#endif
