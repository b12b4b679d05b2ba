/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pods: whole pod files and what is said of them. tests/pods has examples in the style of hyper's own, NAME.json with
 * its messages in NAME.expect (none: nothing is said), and a table of small ones, cases, whose first lines say how it is
 * written. Every message is wanted word for word; what is in order must survive being printed and read back.
 *
 * Runs in the top directory of the source.
 */
#include "tests/unit/test.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/util.h"
#include "pod/spec_read.h"
#include "tests/unit/spec_equal.h"

#define PODS "tests/pods/"
enum { FILE_BYTES_MAX = 1 << 20, EXAMPLES_MIN = 20, CASES_MIN = 500 };

/* What was told, a line each: "E: 1:2: ...", the file's name left out. */
struct told {
	const char *file;
	char *text;
};

static void tell(void *ctx, enum spec_level level, const char *message)
{
	struct told *told = ctx;
	size_t bytes = strlen(told->file);
	const char *rest = message;
	char *longer;

	if (!strncmp(message, told->file, bytes) && message[bytes] == ':')
		rest = message + bytes + 1 + strspn(message + bytes + 1, " ");
	longer = xasprintf("%s%s: %s\n", told->text, level == SPEC_ERROR ? "E" : "W", rest);
	free(told->text);
	told->text = longer;
}

static char *text_of(const char *path)
{
	size_t bytes;
	char *text;

	return file_read(path, FILE_BYTES_MAX, &text, &bytes) ? NULL : text;
}

static void ignore(void *ctx, enum spec_level level, const char *message)
{
	(void)ctx;
	(void)level;
	CHECK_MSG(false, message); /* what was printed is in order */
}

static void check_round_trip(const struct spec_pod *pod, const char *name)
{
	char *printed = spec_print(pod);
	struct spec_pod *again = spec_parse(printed, strlen(printed), "printed", true, ignore, NULL);

	CHECK_MSG(again && spec_equal(pod, again), name);
	spec_free(again);
	free(printed);
}

static void check_file(const char *path, const char *name, const char *expected)
{
	struct told told = {.file = path, .text = xstrdup("")};
	struct spec_pod *pod = spec_read(path, false, tell, &told);

	CHECK_MSG(!strcmp(told.text, expected), name);
	if (strcmp(told.text, expected))
		printf("# got\n%s# expected\n%s", told.text, expected);
	CHECK_MSG(!pod == (!strncmp(told.text, "E: ", 3) || strstr(told.text, "\nE: ")), name);
	if (pod)
		check_round_trip(pod, name);
	spec_free(pod);
	free(told.text);
}

static void check_example(const char *name, size_t stem)
{
	char *path = xasprintf(PODS "%s", name), *expect = xasprintf(PODS "%.*s.expect", (int)stem, name);
	char *expected = text_of(expect);

	check_file(path, name, expected ? expected : "");
	free(expected);
	free(expect);
	free(path);
}

TEST(examples)
{
	DIR *dir = opendir(PODS);
	unsigned count = 0;

	if (!CHECK(dir))
		return;
	for (const struct dirent *entry; (entry = readdir(dir));) {
		size_t bytes = strlen(entry->d_name);

		if (bytes < 6 || strcmp(entry->d_name + bytes - 5, ".json"))
			continue;
		check_example(entry->d_name, bytes - 5);
		count++;
	}
	closedir(dir);
	CHECK(count >= EXAMPLES_MIN);
}

TEST(example_of_the_readme)
{
	check_file("pod.json.example", "pod.json.example", "");
}

/* The file of a case: template with "..." replaced by text. */
static void case_write(const char *path, const char *template, const char *text)
{
	const char *gap = strstr(template, "...");
	FILE *file = fopen(path, "w");

	if (CHECK(gap && file)) {
		fprintf(file, "%.*s%s%s", (int)(gap - template), template, text, gap + 3);
		CHECK(!ferror(file));
	}
	if (file)
		fclose(file);
}

/* The indented lines below a case, joined; *at is moved behind them. Those of "S: " are for tests/cli/schema.py. */
static char *case_messages(char **at)
{
	char *messages = xstrdup("");

	while (**at == '\t') {
		char *line = *at + 1, *end = strchr(line, '\n'), *longer;

		*at = end + 1;
		if (!strncmp(line, "S: ", 3))
			continue;
		longer = xasprintf("%s%.*s\n", messages, (int)(end - line), line);
		free(messages);
		messages = longer;
	}
	return messages;
}

static unsigned check_cases(char *table, const char *path)
{
	const char *template = "...";
	unsigned count = 0;

	for (char *at = table, *end; (end = strchr(at, '\n'));) {
		char *line = at, *messages;

		*end = '\0';
		at = end + 1;
		if (!*line || !strncmp(line, "# ", 2))
			continue;
		if (!strncmp(line, "@ ", 2)) {
			template = line + 2;
			continue;
		}
		messages = case_messages(&at);
		case_write(path, template, line);
		check_file(path, line, messages);
		free(messages);
		count++;
	}
	return count;
}

TEST(table_of_small_files)
{
	char path[] = "/tmp/test_pods.XXXXXX", *table = text_of(PODS "cases");
	int fd = mkstemp(path);

	if (CHECK(fd >= 0) && CHECK(table))
		CHECK(check_cases(table, path) >= CASES_MIN);
	close(fd);
	unlink(path);
	free(table);
}

static void check_unreadable(const char *path, const char *message)
{
	struct told told = {.file = "", .text = xstrdup("")};

	CHECK(!spec_read(path, false, tell, &told));
	CHECK_STR(told.text, message);
	free(told.text);
}

TEST(files_that_can_not_be_read)
{
	check_unreadable("tests/pods/none.json", "E: tests/pods/none.json can not be read: No such file or directory\n");
	check_unreadable("tests/pods", "E: tests/pods can not be read: Is a directory\n");
	check_unreadable("/dev/zero", "E: /dev/zero is longer than 4 MB: no pod file\n");
	check_unreadable("/dev/null", "E: /dev/null:1:1: the file is empty; expected {...}\n");
}

int main(void)
{
	RUN(examples);
	RUN(example_of_the_readme);
	RUN(table_of_small_files);
	RUN(files_that_can_not_be_read);
	return test_done();
}
