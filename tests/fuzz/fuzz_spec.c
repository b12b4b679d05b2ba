/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_spec: pod files made of any bytes. Oracles: no sanitizer report; a refused file has at least one error told, an
 * accepted one none; every message is one line that begins with the file's name and a place inside the file; an accepted
 * pod survives print, parse, and is then equal, without a warning.
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct told first = {0}, second = {0};
	struct spec_pod *pod, *again;
	char *printed;

	pod = spec_parse((const char *)data, size, "f", false, told, &first);
	if (!pod != (first.errors > 0))
		fail("result and errors disagree", "");
	if (!pod)
		return 0;
	printed = spec_print(pod);
	again = spec_parse(printed, strlen(printed), "f", true, told, &second);
	if (!again || second.errors || second.warnings)
		fail("the printed pod is not accepted", printed);
	if (!spec_equal(pod, again))
		fail("the printed pod is another", printed);
	free(printed);
	spec_free(again);
	spec_free(pod);
	return 0;
}
