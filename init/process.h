/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process: starts a container's main process under a small init of its own, and says how it went.
 */
#ifndef INIT_PROCESS_H
#define INIT_PROCESS_H

#include "pod/spec.h"
#include "pod/wire.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROCESS_TEXT_BYTES = 240 };

struct process_plan {
	const struct spec_container *container;
	const char *hostname;	/* for the environment */
	int stdio[3];		/* what become descriptors 0, 1 and 2; stay the caller's */
	uint64_t namespaces;	/* CLONE_NEW* flags; 0 in tests */
	int cgroup_fd;		/* directory of its cgroup, or -1 */
	bool confine;		/* drop capabilities and take on the user; needs root */
	/* Runs in the child, in its namespaces: makes the container's root the root. 0, or -errno and why in text. */
	int (*enter)(void *ctx, char *text, size_t room);
	void *ctx;
};

struct process {
	pid_t pid;     /* the container's init: SIGKILL ends all of the container, others reach the main process */
	int report_fd; /* struct process_report come here, non-blocking */
};

enum process_report_kind {
	PROCESS_RUNNING = 1, /* exec succeeded, unless PROCESS_FAILED came before */
	PROCESS_FAILED,	     /* it never ran: value is 125, 126 or 127 and text says why */
	PROCESS_ENDED,	     /* the main process has ended: value is its wait status */
};

/* Written in one piece. */
struct process_report {
	uint32_t kind;
	int32_t value;
	char text[PROCESS_TEXT_BYTES];
};

/*
 * Starts it. All signals must be blocked in the caller. 0 or -errno. The caller reaps process->pid and closes
 * report_fd.
 */
int process_spawn(const struct process_plan *plan, struct process *process);

/* clone() into plan's namespaces and cgroup: as fork(), or -1 with errno. */
pid_t process_clone(const struct process_plan *plan);

/* Next report; false when there is none now. */
bool process_report_read(int report_fd, struct process_report *report);

/* A wait status as the host wants it: code 0..255, 128+n for signal n. */
struct wire_exited process_exit_of(int wait_status);

#endif
