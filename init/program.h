/* SPDX-License-Identifier: Apache-2.0 */
/*
 * program: the last steps of a process of a container, from its descriptors to execve(), whether it is the container's
 * main process (init/process.h) or a further one (init/join.h). All but the questions at the end run in the child only.
 */
#ifndef INIT_PROGRAM_H
#define INIT_PROGRAM_H

#include "init/process.h"
#include "init/user.h"
#include "pod/spec.h"

#include <stdint.h>

enum {
	PROGRAM_REPORT_FD = 3, /* in the child, behind the three streams */
	PROGRAM_FDS_MAX = 5,
};

/* Descriptors fds[0..count-1] become 0..count-1, from PROGRAM_REPORT_FD on close-on-exec; there is no other then. */
void program_place(const int *fds, unsigned count);

/* Through PROGRAM_REPORT_FD. */
void program_report(enum process_report_kind kind, int value, const char *text);
/* PROCESS_FAILED with code and text; the process ends. */
_Noreturn void program_give_up(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* While /proc is PID 1's: what of PID 1's own must not be handed on. */
void program_shed(void);
/* 0 or -errno. */
int program_set_capabilities(uint64_t permitted, uint64_t inheritable);

/* In the container's root: its user, rights, environment, limits; then its command. With a terminal the session is made. */
_Noreturn void program_run(const struct process_plan *plan);

/* Bounding set of a container: Docker's default, and what its file adds and drops. */
uint64_t program_capabilities(const struct spec_container *container);

/* The environment, ending in NULL: podvm's defaults under what the container sets. Freed by program_env_free(). */
char **program_env(const struct spec_container *container, const struct user *user, const char *hostname);
void program_env_free(char **env);
const char *program_env_get(char *const *env, const char *name); /* NULL when it is not set */

#endif
