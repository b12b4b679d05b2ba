/* SPDX-License-Identifier: Apache-2.0 */
/* join: starts a further process in a container that runs, and says how the start went. */
#ifndef INIT_JOIN_H
#define INIT_JOIN_H

#include "init/process.h"

struct join_plan {
	struct process_plan process; /* container: as the process is to see it; namespaces and enter are not used */
	int container_init; /* pidfd of the container's init, whose namespaces it gets; -1, in tests: none. The caller's */
};

/*
 * Starts it: process->pid is a child of the caller, which reaps it and closes report_fd. All signals must be blocked in the
 * caller. 0 or -errno: -ESRCH and -ENOMEM when the container is ending, -EAGAIN when it has no process left.
 */
int join_spawn(const struct join_plan *plan, struct process *process);

/*
 * 1 and PROCESS_FAILED in *report, once; 0 at the end, which means, if it did not fail, that the command runs; -EAGAIN when
 * there is nothing yet, or another -errno.
 */
int join_report_read(int report_fd, struct process_report *report);

#endif
