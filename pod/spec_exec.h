/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_exec: a further process of a container that runs ("podvm exec"), as plain data and as JSON. Its keys are those of
 * a container with the same names and rules; what it leaves out, it takes from the container.
 */
#ifndef POD_SPEC_EXEC_H
#define POD_SPEC_EXEC_H

#include "pod/spec.h"

struct spec_exec {
	char **command; /* at least one word */
	size_t command_count;
	char *workdir;	       /* "": the container's */
	struct spec_user user; /* name "": the container's user, groups included; group "": the user's own */
	struct spec_env *envs; /* over those of the container */
	size_t env_count;
	bool tty;
};

/* As spec_parse(): a fresh one, or NULL when there was any error, all of them reported. Unknown keys are errors. */
struct spec_exec *spec_exec_parse(const char *text, size_t bytes, const char *file, spec_report_fn *report, void *ctx);
void spec_exec_free(struct spec_exec *exec); /* NULL is fine */

/* As JSON; parses back to the same. Freed by the caller. */
char *spec_exec_print(const struct spec_exec *exec);

/*
 * The container as this process sees it: a copy whose command, workdir, user, envs and tty are those the process is to
 * have (envs: both, the process's last). What it points to belongs to container and exec, save envs, an array that the
 * caller frees.
 */
struct spec_container spec_exec_apply(const struct spec_container *container, const struct spec_exec *exec);

#endif
