/* SPDX-License-Identifier: Apache-2.0 */
/* spec_read: see spec_read.h. Must not know the keys' rules, which are the parser's, nor who reads the file and why. */
#include "pod/spec_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/util.h"

void spec_read_log(void *ctx, enum spec_level level, const char *message)
{
	(void)ctx;
	log_warn("%s%s", level == SPEC_WARNING ? "warning: " : "", message);
}

static void unreadable(const char *path, int err, spec_report_fn *report, void *ctx)
{
	char *message;

	if (err == -EFBIG)
		message = xasprintf("%s is longer than %d MB: no pod file", path, SPEC_TEXT_BYTES_MAX >> 20);
	else
		message = xasprintf("%s can not be read: %s", path, strerror(-err));
	report(ctx, SPEC_ERROR, message);
	free(message);
}

struct spec_pod *spec_read(const char *path, bool strict, spec_report_fn *report, void *ctx)
{
	struct spec_pod *pod;
	size_t bytes;
	char *text;
	int err = file_read(path, SPEC_TEXT_BYTES_MAX, &text, &bytes);

	if (err) {
		unreadable(path, err, report, ctx);
		return NULL;
	}
	pod = spec_parse(text, bytes, path, strict, report, ctx);
	free(text);
	return pod;
}
