/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locate: is a text strict JSON, and where in it is a value? cJSON builds the tree but keeps no positions and is
 * lenient in places; this knows the text only, and neither cJSON nor pods. Allocates nothing.
 */
#ifndef POD_LOCATE_H
#define POD_LOCATE_H

#include <stdbool.h>
#include <stddef.h>

enum { LOCATE_NUMBER_BYTES_MAX = 60 }; /* cJSON reads no longer ones */

struct locate_fault {
	size_t at; /* offset of the byte that is wrong */
	char what[128]; /* in plain words: "trailing comma: nothing follows it" */
};

/*
 * True when text is one JSON value (RFC 8259) in valid UTF-8 without NUL, bytes or escaped, nested at most depth_max
 * deep. A byte order mark at the front is let pass. Otherwise the first fault is told.
 */
bool locate_syntax(const char *text, size_t bytes, size_t depth_max, struct locate_fault *fault);

struct locate_span {
	size_t key, value, end; /* offsets: of the member's key (value's own in an array), value, first byte after it */
};

/*
 * Finds the value that path leads to from the outermost one; each step is a member's or element's place in its object or
 * array, from 0, so equal keys are no question. The text must have passed locate_syntax(). False when the path leads
 * nowhere; span is then that of the last value on it.
 */
bool locate_find(const char *text, size_t bytes, const size_t *path, size_t steps, struct locate_span *span);

/* Line and column of an offset, both from 1, the column in characters. */
void locate_line(const char *text, size_t at, unsigned *line, unsigned *column);

#endif
