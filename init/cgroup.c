/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup: owns the cgroups below the root of version 2, whose controllers init.c has enabled. Named by the container's
 * index: a name of the pod file could be that of a file that the kernel has there. Knows no process.
 *
 * The default for processes. Without one a fork bomb fills the pod's memory, and the OOM killer, which takes the
 * largest, takes the others' programs. A shell, forked or started, costs 116 to 133 kB (kernel stack, page tables, the
 * pages it has written; measured by memory.current in a pod of 64 MB), so two for each megabyte of the pod are a quarter
 * of its memory. The kernel lets the whole machine have about six threads per megabyte, so that two containers at their
 * default leave it some. A program that needs more than that has a special need, and can say so. At most half of the
 * kernel's process ids (pid_max).
 */
#define _GNU_SOURCE

#include "init/cgroup.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup"

enum {
	FILE_BYTES_MAX = 4096,
	PIDS_PER_MB = 2,
	PIDS_MAX = 16384,
	CPU_PERIOD_US = 100000,
};

uint64_t cgroup_pids_default(uint64_t pod_memory_mb)
{
	return MIN(pod_memory_mb * PIDS_PER_MB, (uint64_t)PIDS_MAX);
}

bool cgroup_is_needed(const struct spec_container *container)
{
	return container->pids || container->memory_mb || container->cpu_milli;
}

void cgroup_path(unsigned container, char *path)
{
	snprintf(path, CGROUP_PATH_BYTES, ROOT "/c%u", container);
}

static void path_of(unsigned container, const char *file, char *path)
{
	snprintf(path, CGROUP_PATH_BYTES, ROOT "/c%u/%s", container, file);
}

static int put(unsigned container, const char *file, const char *value)
{
	char path[CGROUP_PATH_BYTES];
	int fd, err;

	path_of(container, file, path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = write_all(fd, value, strlen(value));
	close(fd);
	return err;
}

static int set_pids(const struct spec_pod *pod, unsigned index)
{
	uint64_t pids = pod->containers[index].pids;
	char value[32];

	if (pids == SPEC_UNLIMITED)
		return 0;
	snprintf(value, sizeof(value), "%llu", (unsigned long long)(pids ? pids : cgroup_pids_default(pod->memory_mb)));
	return put(index, "pids.max", value);
}

/* Whole or not at all: half a container is nothing that a restart policy could mend. */
static int set_memory(const struct spec_pod *pod, unsigned index)
{
	char value[32];
	int err;

	if (!pod->containers[index].memory_mb)
		return 0;
	snprintf(value, sizeof(value), "%lluM", (unsigned long long)pod->containers[index].memory_mb);
	err = put(index, "memory.max", value);
	return err ? err : put(index, "memory.oom.group", "1");
}

static int set_cpus(const struct spec_pod *pod, unsigned index)
{
	char value[32];

	if (!pod->containers[index].cpu_milli)
		return 0;
	snprintf(value, sizeof(value), "%llu %d",
		 pod->containers[index].cpu_milli * (unsigned long long)CPU_PERIOD_US / 1000, CPU_PERIOD_US);
	return put(index, "cpu.max", value);
}

static int set_limits(const struct spec_pod *pod, unsigned index, char *text, size_t room)
{
	static const struct {
		const char *what;
		int (*set)(const struct spec_pod *pod, unsigned index);
	} limits[] = {{"pids", set_pids}, {"memory", set_memory}, {"cpus", set_cpus}};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		int err = limits[i].set(pod, index);

		if (err) {
			snprintf(text, room, "limit of %s", limits[i].what);
			return err;
		}
	}
	return 0;
}

int cgroup_open(const struct spec_pod *pod, unsigned container, char *text, size_t room)
{
	char path[CGROUP_PATH_BYTES];
	int fd, err;

	path_of(container, "", path);
	if (!mkdir(path, 0755)) {
		err = set_limits(pod, container, text, room);
		if (err)
			return err;
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	err = -errno;
	snprintf(text, room, "%s", path);
	return err;
}

uint64_t cgroup_oom_kills(unsigned container)
{
	char path[CGROUP_PATH_BYTES], *text, *at;
	size_t bytes;
	uint64_t count = 0;

	path_of(container, "memory.events", path);
	if (file_read(path, FILE_BYTES_MAX, &text, &bytes) == 0) {
		at = strstr(text, "oom_kill ");
		count = at ? strtoull(at + strlen("oom_kill "), NULL, 10) : 0;
		free(text);
	}
	return count;
}

int cgroup_freeze(unsigned container, bool frozen)
{
	return put(container, "cgroup.freeze", frozen ? "1" : "0");
}
