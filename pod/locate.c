/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locate: see locate.h. Owns the grammar of JSON (RFC 8259); must not know cJSON or what a pod is.
 *
 * One recursive scanner serves both questions: to check a text is to skip its one value, to find a value is to skip
 * those before it. Recursion is bounded by depth_max. The scanner stops at the first fault: what follows one in a broken
 * text is guesswork, and guesses bury the real fault.
 */
#include "pod/locate.h"

#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct scan {
	const char *text;
	size_t bytes, at;
	size_t depth, depth_max;
	struct locate_fault *fault;
};

static bool scan_value(struct scan *scan);

__attribute__((format(printf, 3, 4))) static bool wrong(struct scan *scan, size_t at, const char *fmt, ...)
{
	va_list args;

	scan->fault->at = at;
	va_start(args, fmt);
	vsnprintf(scan->fault->what, sizeof(scan->fault->what), fmt, args);
	va_end(args);
	return false;
}

/* The byte at hand, -1 at the end. */
static int peek(const struct scan *scan)
{
	return scan->at < scan->bytes ? (unsigned char)scan->text[scan->at] : -1;
}

static int peek_next(const struct scan *scan)
{
	return scan->at + 1 < scan->bytes ? (unsigned char)scan->text[scan->at + 1] : -1;
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static void skip_space(struct scan *scan)
{
	while (scan->at < scan->bytes && memchr(" \t\r\n", scan->text[scan->at], 4))
		scan->at++;
}

static bool is_comment(const struct scan *scan)
{
	return peek(scan) == '#' || (peek(scan) == '/' && (peek_next(scan) == '/' || peek_next(scan) == '*'));
}

/* A value of four hex digits, or -1. */
static int scan_hex4(const struct scan *scan, size_t at)
{
	int value = 0;

	for (size_t i = at; i < at + 4; i++) {
		int c = i < scan->bytes ? (unsigned char)scan->text[i] : 0;

		if (is_digit(c))
			value = value * 16 + c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			value = value * 16 + (c | 0x20) - 'a' + 10;
		else
			return -1;
	}
	return value;
}

/* At the backslash of \uXXXX. */
static bool scan_unicode(struct scan *scan)
{
	size_t start = scan->at;
	int code = scan_hex4(scan, start + 2), low;

	if (code < 0)
		return wrong(scan, start, "\\u without four hex digits behind it");
	if (code == 0)
		return wrong(scan, start, "\\u0000 in a string: NUL is not allowed");
	scan->at += 6;
	if (code < 0xd800 || code > 0xdfff)
		return true;
	low = peek(scan) == '\\' && peek_next(scan) == 'u' ? scan_hex4(scan, scan->at + 2) : -1;
	if (code > 0xdbff || low < 0xdc00 || low > 0xdfff)
		return wrong(scan, start, "half of a surrogate pair; both halves are needed");
	scan->at += 6;
	return true;
}

/* At a backslash. */
static bool scan_escape(struct scan *scan)
{
	int c = peek_next(scan);

	if (c == 'u')
		return scan_unicode(scan);
	if (c < 0 || !memchr("\"\\/bfnrt", c, 8)) {
		if (c > 0x20 && c < 0x7f)
			return wrong(scan, scan->at, "unknown escape \\%c in a string; a backslash is written \\\\", c);
		return wrong(scan, scan->at, "backslash that escapes nothing; a backslash is written \\\\");
	}
	scan->at += 2;
	return true;
}

/* At the opening quote. */
static bool scan_string(struct scan *scan)
{
	size_t start = scan->at++;

	for (;;) {
		int c = peek(scan);

		if (c == '"')
			break;
		if (c < 0 || c == '\n' || c == '\r')
			return wrong(scan, start, "missing closing quote");
		if (c == '\t')
			return wrong(scan, scan->at, "tab in a string; it is written \\t");
		if (c < 0x20)
			return wrong(scan, scan->at, "control character 0x%02x in a string; it is written \\u00%02x", c,
				     c);
		if (c != '\\')
			scan->at++;
		else if (!scan_escape(scan))
			return false;
	}
	scan->at++;
	return true;
}

static size_t skip_digits(struct scan *scan)
{
	size_t start = scan->at;

	while (is_digit(peek(scan)))
		scan->at++;
	return scan->at - start;
}

/* At a digit or minus. */
static bool scan_number(struct scan *scan)
{
	size_t start = scan->at, digits;
	bool zero;

	if (peek(scan) == '-')
		scan->at++;
	zero = peek(scan) == '0';
	digits = skip_digits(scan);
	if (!digits)
		return wrong(scan, start, "minus without a number");
	if (zero && digits > 1)
		return wrong(scan, start, "number with a leading zero");
	if (peek(scan) == '.') {
		scan->at++;
		if (!skip_digits(scan))
			return wrong(scan, start, "number that ends in a point");
	}
	if (peek(scan) == 'e' || peek(scan) == 'E') {
		scan->at++;
		if (peek(scan) == '+' || peek(scan) == '-')
			scan->at++;
		if (!skip_digits(scan))
			return wrong(scan, start, "number with an empty exponent");
	}
	if (is_letter(peek(scan)) || peek(scan) == '.')
		return wrong(scan, start, "malformed number; text needs quotes");
	if (scan->at - start > LOCATE_NUMBER_BYTES_MAX)
		return wrong(scan, start, "number of more than %d characters", LOCATE_NUMBER_BYTES_MAX);
	return true;
}

/* At a letter: true, false, null; or what people write in their place. */
static bool scan_word(struct scan *scan)
{
	static const char *const words[] = {"true", "false", "null"};
	size_t start = scan->at, length;

	while (is_letter(peek(scan)) || is_digit(peek(scan)))
		scan->at++;
	length = scan->at - start;
	for (size_t i = 0; i < 3; i++)
		if (length == strlen(words[i]) && !memcmp(scan->text + start, words[i], length))
			return true;
	return wrong(scan, start, "unknown word %.*s; text needs quotes, else only true, false and null are known",
		     length < 24 ? (int)length : 24, scan->text + start);
}

/* Where a value must begin and none does. */
static bool wrong_value(struct scan *scan)
{
	int c = peek(scan);

	if (c < 0)
		return wrong(scan, scan->at, "the text ends where a value is expected");
	if (is_comment(scan))
		return wrong(scan, scan->at, "comment; JSON has none");
	if (c == '\'')
		return wrong(scan, scan->at, "single quote; text needs double quotes");
	if (c == ',' || c == '}' || c == ']' || c == ':')
		return wrong(scan, scan->at, "missing value before this %c", c);
	if (c == '+' || c == '.')
		return wrong(scan, scan->at, "number that begins with %c", c);
	if (c > 0x20 && c < 0x7f)
		return wrong(scan, scan->at, "unexpected %c; expected a value", c);
	return wrong(scan, scan->at, "unexpected character; expected a value");
}

/*
 * After a member or element. Eats a comma: *more is true and another one must follow; or the closing bracket. start is
 * that of the object or array.
 */
static bool scan_separator(struct scan *scan, size_t start, int close, bool *more)
{
	size_t at;
	int c;

	skip_space(scan);
	at = scan->at;
	c = peek(scan);
	*more = c == ',';
	if (c < 0)
		return wrong(scan, start, "this %c is never closed", scan->text[start]);
	if (c == close) {
		scan->at++;
		return true;
	}
	if (c == ',') {
		scan->at++;
		skip_space(scan);
		if (peek(scan) == '}' || peek(scan) == ']')
			return wrong(scan, at, "trailing comma: nothing follows it");
		return true;
	}
	if (is_comment(scan))
		return wrong(scan, at, "comment; JSON has none");
	if (c == '}' || c == ']')
		return wrong(scan, at, "this %c does not close the %c that is open; expected %c", c, scan->text[start],
			     close);
	if (c == ':')
		return wrong(scan, at, "unexpected :; expected a comma or %c", close);
	if (c == '"' && scan->text[at - 1] == '"')
		return wrong(scan, at, "quote too many, or a missing comma; a quote in text is written \\\"");
	return wrong(scan, at, "missing comma before this");
}

/* Key and colon; left at the value. start is that of the object. */
static bool scan_key(struct scan *scan, size_t start)
{
	skip_space(scan);
	if (peek(scan) < 0)
		return wrong(scan, start, "this { is never closed");
	if (is_letter(peek(scan)))
		return wrong(scan, scan->at, "missing quote: keys need double quotes");
	if (peek(scan) == '\'')
		return wrong(scan, scan->at, "single quote; keys need double quotes");
	if (is_comment(scan))
		return wrong(scan, scan->at, "comment; JSON has none");
	if (peek(scan) != '"')
		return wrong(scan, scan->at, "missing key; expected one in double quotes");
	if (!scan_string(scan))
		return false;
	skip_space(scan);
	if (peek(scan) < 0)
		return wrong(scan, start, "this { is never closed");
	if (peek(scan) != ':')
		return wrong(scan, scan->at, "missing colon after the key");
	scan->at++;
	skip_space(scan);
	return true;
}

/* At the opening bracket: past it, and past the closing one when there is nothing between. */
static bool scan_open(struct scan *scan, int close, bool *more)
{
	size_t start = scan->at++;

	skip_space(scan);
	*more = peek(scan) != close;
	if (!*more)
		scan->at++;
	if (peek(scan) < 0 && *more)
		return wrong(scan, start, "this %c is never closed", scan->text[start]);
	return true;
}

/* At the opening bracket. */
static bool scan_nest(struct scan *scan)
{
	size_t start = scan->at;
	bool object = peek(scan) == '{', more;
	int close = object ? '}' : ']';

	if (scan->depth == scan->depth_max)
		return wrong(scan, start, "nested deeper than %zu", scan->depth_max);
	scan->depth++;
	if (!scan_open(scan, close, &more))
		return false;
	while (more) {
		if (object && !scan_key(scan, start))
			return false;
		if (peek(scan) < 0)
			return wrong(scan, start, "this %c is never closed", scan->text[start]);
		if (!scan_value(scan) || !scan_separator(scan, start, close, &more))
			return false;
	}
	scan->depth--;
	return true;
}

static bool scan_value(struct scan *scan)
{
	int c;

	skip_space(scan);
	c = peek(scan);
	if (c == '{' || c == '[')
		return scan_nest(scan);
	if (c == '"')
		return scan_string(scan);
	if (c == '-' || is_digit(c))
		return scan_number(scan);
	if (is_letter(c))
		return scan_word(scan);
	return wrong_value(scan);
}

/* Bytes of the UTF-8 character at hand, 0 when it is none: over-long forms, surrogates, past U+10FFFF, cut off. */
static size_t utf8_length(const unsigned char *at, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length = at[0] < 0x80 ? 1 : (at[0] & 0xe0) == 0xc0 ? 2 : (at[0] & 0xf0) == 0xe0 ? 3 : 4;
	uint32_t code = at[0] & (0x7f >> length);

	if (length == 1)
		return 1;
	if ((at[0] & 0xc0) != 0xc0 || at[0] > 0xf4 || length > left)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (at[i] & 0x3f);
	}
	if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return length;
}

static bool scan_bytes(struct scan *scan)
{
	const unsigned char *text = (const unsigned char *)scan->text;
	size_t length;

	for (size_t at = 0; at < scan->bytes; at += length) {
		if (!text[at])
			return wrong(scan, at, "NUL byte; a pod file is text");
		length = utf8_length(text + at, scan->bytes - at);
		if (!length)
			return wrong(scan, at, "byte 0x%02x is not valid UTF-8", text[at]);
	}
	return true;
}

static void skip_mark(struct scan *scan)
{
	if (scan->bytes >= 3 && !memcmp(scan->text, "\xef\xbb\xbf", 3))
		scan->at = 3;
	skip_space(scan);
}

bool locate_syntax(const char *text, size_t bytes, size_t depth_max, struct locate_fault *fault)
{
	struct scan scan = {.text = text, .bytes = bytes, .depth_max = depth_max, .fault = fault};

	if (!scan_bytes(&scan))
		return false;
	skip_mark(&scan);
	if (peek(&scan) < 0)
		return wrong(&scan, 0, "the file is empty; expected {...}");
	if (!scan_value(&scan))
		return false;
	skip_space(&scan);
	if (peek(&scan) == '}' || peek(&scan) == ']')
		return wrong(&scan, scan.at, "this %c closes nothing", peek(&scan));
	if (is_comment(&scan))
		return wrong(&scan, scan.at, "comment; JSON has none");
	if (peek(&scan) >= 0)
		return wrong(&scan, scan.at, "text after the end");
	return true;
}

/* At an object or array: goes to its member or element of that number. */
static bool find_member(struct scan *scan, size_t number, size_t *key)
{
	size_t start = scan->at;
	bool object = peek(scan) == '{', more;
	int close = object ? '}' : ']';

	if (!object && peek(scan) != '[')
		return false;
	if (!scan_open(scan, close, &more))
		return false;
	for (; more; number--) {
		skip_space(scan);
		*key = scan->at;
		if (object && !scan_key(scan, start))
			return false;
		if (!number)
			return true;
		if (!scan_value(scan) || !scan_separator(scan, start, close, &more))
			return false;
	}
	return false;
}

bool locate_find(const char *text, size_t bytes, const size_t *path, size_t steps, struct locate_span *span)
{
	struct locate_fault fault;
	struct scan scan = {.text = text, .bytes = bytes, .depth_max = SIZE_MAX, .fault = &fault};
	bool found = true;

	skip_mark(&scan);
	span->key = span->value = scan.at;
	for (size_t i = 0; i < steps && found; i++) {
		size_t key = scan.at;

		found = find_member(&scan, path[i], &key);
		if (found) {
			span->key = key;
			span->value = scan.at;
		}
	}
	scan.at = span->value;
	span->end = scan_value(&scan) ? scan.at : bytes;
	return found;
}

void locate_line(const char *text, size_t at, unsigned *line, unsigned *column)
{
	size_t start = at >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;

	*line = *column = 1;
	for (size_t i = start; i < at; i++) {
		if (text[i] == '\n') {
			++*line;
			*column = 1;
		} else if (((unsigned char)text[i] & 0xc0) != 0x80) {
			++*column;
		}
	}
}
