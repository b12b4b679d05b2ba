/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_spec: pod files made of any bytes. Oracles: no sanitizer report; a refused file has at least one error told, an
 * accepted one none; every message is one line that begins with the file's name and a place inside the file; an accepted
 * pod survives print, parse, and is then equal, without a warning. The same bytes are also read as a process (spec_exec).
 */
#include "pod/spec.h"
#include "tests/fuzz/input.h"
#include "tests/unit/spec_equal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct told {
	unsigned errors, warnings;
};

static void fail(const char *what, const char *detail)
{
	fprintf(stderr, "fuzz_spec: %s: %s\n", what, detail);
	abort();
}

static void told(void *ctx, enum spec_level level, const char *message)
{
	struct told *counts = ctx;

	if (strncmp(message, "f:", 2) || strchr(message, '\n'))
		fail("bad message", message);
	*(level == SPEC_ERROR ? &counts->errors : &counts->warnings) += 1;
}

static void pod_check(const char *text, size_t bytes)
{
	struct told first = {0}, second = {0};
	struct spec_pod *pod = spec_parse(text, bytes, "f", false, told, &first), *again;
	char *printed;

	if (!pod != (first.errors > 0))
		fail("result and errors disagree", "");
	if (!pod)
		return;
	printed = spec_print(pod);
	again = spec_parse(printed, strlen(printed), "f", true, told, &second);
	if (!again || second.errors || second.warnings)
		fail("the printed pod is not accepted", printed);
	if (!spec_equal(pod, again))
		fail("the printed pod is another", printed);
	free(printed);
	spec_free(again);
	spec_free(pod);
}

static void exec_check(const char *text, size_t bytes)
{
	struct told first = {0}, second = {0};
	struct spec_exec *exec = spec_exec_parse(text, bytes, "f", told, &first), *again;
	char *printed;

	if (!exec != (first.errors > 0))
		fail("result and errors of a process disagree", "");
	if (!exec)
		return;
	printed = spec_exec_print(exec);
	again = spec_exec_parse(printed, strlen(printed), "f", told, &second);
	if (!again || second.errors || second.warnings)
		fail("the printed process is not accepted", printed);
	if (!spec_exec_equal(exec, again))
		fail("the printed process is another", printed);
	free(printed);
	spec_exec_free(again);
	spec_exec_free(exec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	pod_check((const char *)data, size);
	exec_check((const char *)data, size);
	return 0;
}
