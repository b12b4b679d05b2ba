/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: see log.h. Owns the shape of a line and when it is held back; must not know who logs.
 *
 * A line is formatted into a buffer and written by one write(), so that lines of several threads do not mix. Text may
 * come from a guest or a file: bytes that could steer a terminal are shown as '?'.
 */
#include "lib/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/util.h"

enum { LINE_BYTES = 4096 };
#define LIMIT_WINDOW_NS 10000000000ull

bool log_verbose;

static const char *log_name = "podvm";

void log_set_name(const char *name)
{
	log_name = name;
}

/*
 * A tab is harmless; all other controls are not, a newline would forge a line. Bytes from 0x80 stay, being UTF-8, save
 * U+0080 to U+009F (0xc2 and the number): some terminals take these for escape sequences as well.
 */
static void tame(char *text)
{
	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text, next = (unsigned char)text[1];

		if (byte == 0xc2 && next >= 0x80 && next < 0xa0) {
			*text++ = '?';
			*text = '?';
		} else if ((byte < 0x20 && byte != '\t') || byte == 0x7f) {
			*text = '?';
		}
	}
}

/* suffix is put behind the message: the error's name, or what was held back. A message that is too long is cut. */
static void put_line(const char *suffix, const char *fmt, va_list args)
{
	char line[LINE_BYTES];
	size_t room = sizeof(line) - 1, used; /* one byte kept for the newline */
	int length;

	snprintf(line, room, "%s: ", log_name);
	used = strlen(line);
	length = vsnprintf(line + used, room - used, fmt, args);
	if (length > 0)
		used = MIN(used + (size_t)length, room - 1);
	snprintf(line + used, room - used, "%s", suffix);
	tame(line);
	used = strlen(line);
	line[used++] = '\n';
	write_all(STDERR_FILENO, line, used); /* nowhere left to tell that stderr is gone */
}

void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	put_line("", fmt, args);
	va_end(args);
	exit(EXIT_PODVM);
}

void die_errno(int err, const char *fmt, ...)
{
	char suffix[256];
	va_list args;

	snprintf(suffix, sizeof(suffix), ": %s", strerror(err));
	va_start(args, fmt);
	put_line(suffix, fmt, args);
	va_end(args);
	exit(EXIT_PODVM);
}

void log_warn(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	put_line("", fmt, args);
	va_end(args);
}

void log_debug(const char *fmt, ...)
{
	va_list args;

	if (!log_verbose)
		return;
	va_start(args, fmt);
	put_line("", fmt, args);
	va_end(args);
}

void log_guest(struct log_limit *limit, const char *fmt, ...)
{
	uint64_t now = clock_mono_ns();
	char suffix[64] = "";
	va_list args;

	if (!limit->lines || now - limit->window_start_ns >= LIMIT_WINDOW_NS) {
		limit->window_start_ns = now;
		limit->lines = 0;
	}
	if (limit->lines >= LOG_GUEST_BURST) {
		limit->held_back++;
		return;
	}
	limit->lines++;
	if (limit->held_back)
		snprintf(suffix, sizeof(suffix), " (%u more like it were held back)", limit->held_back);
	limit->held_back = 0;
	va_start(args, fmt);
	put_line(suffix, fmt, args);
	va_end(args);
}
