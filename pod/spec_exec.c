/* SPDX-License-Identifier: Apache-2.0 */
/* spec_exec: see spec_exec.h. Owns which of a container's keys a further process has; must not know how they are read. */
#include "pod/spec_exec.h"

#include <cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "pod/spec_walk.h"

static void exec_init(struct walk *walk, void *target)
{
	struct spec_exec *exec = target;

	(void)walk;
	text_set(&exec->workdir, "");
	text_set(&exec->user.name, "");
	text_set(&exec->user.group, "");
}

static const struct key exec_keys[] = {
	LIST("command", "an array of strings, the program first", spec_exec, command, command_count, SPEC_ARGS_MAX,
	     spec_argument, .required = true),
	KEY("workdir", value_text, "an absolute path without \"..\"", AT(spec_exec, workdir), .check = check_path),
	KEY("user", value_object, "an object: {\"name\": ..., \"group\": ...}", AT(spec_exec, user), .shape = &spec_user),
	LIST("envs", "an array of {\"env\": ..., \"value\": ...}", spec_exec, envs, env_count, SPEC_LIST_MAX, spec_env),
	KEY("tty", value_bool, "true or false", AT(spec_exec, tty)),
};

static void exec_finish(struct walk *walk, void *target)
{
	struct spec_exec *exec = target;

	if (!walk->errors && !exec->command_count)
		walk_note(walk, SPEC_ERROR, "no command; expected at least a program");
}

static const struct shape exec_shape = SHAPE(exec_keys, .init = exec_init, .finish = exec_finish);
static const struct key exec_root = ELEMENT(value_object, "an object: {\"command\": [...]}", .shape = &exec_shape);

struct spec_exec *spec_exec_parse(const char *text, size_t bytes, const char *file, spec_report_fn *report, void *ctx)
{
	struct walk walk = {.text = text, .bytes = bytes, .file = file, .strict = true};
	struct spec_exec *exec = xcalloc(1, sizeof(*exec));

	if (walk_text(&walk, &exec_root, exec, NULL, report, ctx))
		return exec;
	spec_exec_free(exec);
	return NULL;
}

void spec_exec_free(struct spec_exec *exec)
{
	if (!exec)
		return;
	texts_free(exec->command, exec->command_count);
	free(exec->workdir);
	spec_user_free(&exec->user);
	spec_envs_free(exec->envs, exec->env_count);
	free(exec);
}

char *spec_exec_print(const struct spec_exec *exec)
{
	cJSON *root = spec_print_begin();
	char *text;

	spec_print_texts(root, "command", exec->command, exec->command_count);
	cJSON_AddStringToObject(root, "workdir", exec->workdir);
	spec_print_user(root, &exec->user);
	spec_print_envs(root, exec->envs, exec->env_count);
	cJSON_AddBoolToObject(root, "tty", exec->tty);
	text = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return text;
}

struct spec_container spec_exec_apply(const struct spec_container *container, const struct spec_exec *exec)
{
	struct spec_container seen = *container;

	seen.entrypoint = NULL;
	seen.entrypoint_count = 0;
	seen.command = exec->command;
	seen.command_count = exec->command_count;
	if (*exec->workdir)
		seen.workdir = exec->workdir;
	if (*exec->user.name)
		seen.user = exec->user;
	seen.tty = exec->tty;
	seen.env_count = container->env_count + exec->env_count;
	seen.envs = xcalloc(seen.env_count + 1, sizeof(*seen.envs));
	if (container->env_count)
		memcpy(seen.envs, container->envs, container->env_count * sizeof(*seen.envs));
	if (exec->env_count)
		memcpy(seen.envs + container->env_count, exec->envs, exec->env_count * sizeof(*seen.envs));
	return seen;
}
