/* SPDX-License-Identifier: Apache-2.0 */
/* test_spec_exec: a further process of a container: what is refused and in which words, print and parse, what it inherits. */
#include "tests/unit/test.h"

#include <stdlib.h>

#include "lib/util.h"
#include "pod/spec_exec.h"
#include "tests/unit/spec_equal.h"

static char told[2048];

static void tell(void *ctx, enum spec_level level, const char *message)
{
	size_t used = strlen(told);

	(void)ctx;
	snprintf(told + used, sizeof(told) - used, "%s%s: %s", used ? "\n" : "", level == SPEC_ERROR ? "E" : "W",
		 strncmp(message, "x:", 2) ? message : message + 2);
}

static struct spec_exec *parse(const char *text)
{
	told[0] = '\0';
	return spec_exec_parse(text, strlen(text), "x", tell, NULL);
}

static const char everything[] =
	"{\"command\":[\"sh\",\"-c\",\"\",\"a b\"],\"workdir\":\"/srv\",\"user\":{\"name\":\"www\",\"group\":\"7\","
	"\"additionalGroups\":[\"mail\",\"8\"]},\"envs\":[{\"env\":\"A\",\"value\":\"1\"},{\"env\":\"B\",\"value\":\"\"}],"
	"\"tty\":true}";

TEST(everything_is_read_and_printed)
{
	struct spec_exec *exec = parse(everything), *again;
	char *printed;

	CHECK_STR(told, "");
	if (!CHECK(exec))
		return;
	CHECK_INT(exec->command_count, 4);
	CHECK_STR(exec->command[3], "a b");
	CHECK_STR(exec->workdir, "/srv");
	CHECK_STR(exec->user.name, "www");
	CHECK_INT(exec->user.additional_group_count, 2);
	CHECK_INT(exec->env_count, 2);
	CHECK(exec->tty);
	printed = spec_exec_print(exec);
	CHECK_STR(printed, everything);
	again = parse(printed);
	CHECK(again && spec_exec_equal(exec, again));
	free(printed);
	spec_exec_free(again);
	spec_exec_free(exec);
}

TEST(only_a_command_is_needed)
{
	struct spec_exec *exec = parse("{\"Command\":[\"true\"]}");

	if (!CHECK(exec))
		return;
	CHECK_STR(exec->command[0], "true");
	CHECK_STR(exec->workdir, "");
	CHECK_STR(exec->user.name, "");
	CHECK_INT(exec->env_count, 0);
	CHECK(!exec->tty);
	spec_exec_free(exec);
}

TEST(bad_ones_are_refused)
{
	static const struct {
		const char *text, *said;
	} rows[] = {
		{"", "E: 1:1: the file is empty; expected {...}"},
		{"[]", "E: 1:1: [] is not an object: {\"command\": [...]}"},
		{"{}", "E: 1:1: command: missing; expected an array of strings, the program first"},
		{"{\"command\":[]}", "E: 1:1: no command; expected at least a program"},
		{"{\"command\":\"ls\"}", "E: 1:12: command: \"ls\" is not an array of strings, the program first"},
		{"{\"command\":[1]}", "E: 1:13: command[0]: 1 is not a string"},
		{"{\"command\":[\"a\"],\"workdir\":\"x\"}",
		 "E: 1:28: workdir: \"x\" is not an absolute path without \"..\""},
		{"{\"command\":[\"a\"],\"envs\":[{\"env\":\"a=b\"}]}",
		 "E: 1:33: envs[0].env: \"a=b\" is not a name without \"=\""},
		{"{\"command\":[\"a\"],\"image\":\"b\"}", "E: 1:18: image: unknown key, ignored"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct spec_exec *exec = parse(rows[i].text);

		CHECK_MSG(!exec, rows[i].text);
		CHECK_STR(told, rows[i].said);
		spec_exec_free(exec);
	}
}

/* A pod of one container that has everything an exec may take from it. */
static struct spec_pod *pod_make(void)
{
	static const char text[] = "{\"containers\":[{\"image\":\"a\",\"entrypoint\":[\"init\"],\"command\":[\"x\"],"
				   "\"workdir\":\"/w\",\"user\":{\"name\":\"u\",\"additionalGroups\":[\"g\"]},\"tty\":true,"
				   "\"envs\":[{\"env\":\"A\",\"value\":\"a\"},{\"env\":\"C\",\"value\":\"c\"}]}]}";

	return spec_parse(text, sizeof(text) - 1, "x", true, tell, NULL);
}

TEST(what_is_left_out_is_the_containers)
{
	struct spec_pod *pod = pod_make();
	struct spec_exec *exec = parse("{\"command\":[\"ls\",\"-l\"]}");
	struct spec_container seen = spec_exec_apply(&pod->containers[0], exec);

	CHECK_INT(seen.entrypoint_count, 0);
	CHECK_INT(seen.command_count, 2);
	CHECK_STR(seen.workdir, "/w");
	CHECK_STR(seen.user.name, "u");
	CHECK_INT(seen.user.additional_group_count, 1);
	CHECK(!seen.tty); /* of the process alone */
	CHECK_INT(seen.env_count, 2);
	free(seen.envs);
	spec_exec_free(exec);
	spec_free(pod);
}

TEST(what_is_said_counts)
{
	struct spec_pod *pod = pod_make();
	struct spec_exec *exec = parse(everything);
	struct spec_container seen = spec_exec_apply(&pod->containers[0], exec);

	CHECK_STR(seen.workdir, "/srv");
	CHECK_STR(seen.user.name, "www");
	CHECK_INT(seen.user.additional_group_count, 2);
	CHECK(seen.tty);
	if (CHECK_INT(seen.env_count, 4)) {
		CHECK_STR(seen.envs[0].value, "a");
		CHECK_STR(seen.envs[2].value, "1"); /* later, so it wins */
	}
	free(seen.envs);
	spec_exec_free(exec);
	spec_free(pod);
}

int main(void)
{
	RUN(everything_is_read_and_printed);
	RUN(only_a_command_is_needed);
	RUN(bad_ones_are_refused);
	RUN(what_is_left_out_is_the_containers);
	RUN(what_is_said_counts);
	return test_done();
}
