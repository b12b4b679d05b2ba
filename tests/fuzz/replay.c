/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay: a main() for fuzz targets without libFuzzer: runs the target once over each file given, as `make check` does
 * with the corpus. A fault ends the process as in the fuzzer. Must not know any target.
 */
#include "lib/log.h"
#include "lib/util.h"
#include "tests/fuzz/input.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_BYTES_MAX = 16 << 20 };

static unsigned inputs;

/* Into memory of just its size, so that AddressSanitizer sees a read past the end. */
static void replay_file(const char *path)
{
	char *text;
	uint8_t *data;
	size_t bytes;
	int err = file_read(path, INPUT_BYTES_MAX, &text, &bytes);

	if (err)
		die_errno(-err, "can not read %s", path);
	data = xmalloc(bytes);
	memcpy(data, text, bytes);
	free(text);
	printf("# %s\n", path);
	fflush(stdout); /* names the culprit when the target ends the process */
	LLVMFuzzerTestOneInput(data, bytes);
	free(data);
	inputs++;
}

/* A directory stands for the files in it. */
static void replay(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;

	if (!dir) {
		replay_file(path);
		return;
	}
	while ((entry = readdir(dir))) {
		char *file;

		if (entry->d_name[0] == '.')
			continue;
		file = xasprintf("%s/%s", path, entry->d_name);
		replay_file(file);
		free(file);
	}
	closedir(dir);
}

int main(int argc, char **argv)
{
	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	printf("ok 1 - %u inputs replayed\n1..1\n", inputs);
	if (!inputs)
		die("no input: name files or directories");
	return 0;
}
