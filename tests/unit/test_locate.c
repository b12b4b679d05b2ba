/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_locate: values are found where they are, whatever stands between, and the grammar is just JSON's. The words for
 * each fault are in test_spec's table.
 */
#include "tests/unit/test.h"

#include <stdlib.h>

#include "lib/util.h"
#include "pod/locate.h"

enum { DEPTH_MAX = 8, STEPS_MAX = 4 };

static bool valid(const char *text)
{
	size_t bytes = strlen(text);
	char *copy = memcpy(xmalloc(bytes), text, bytes);
	struct locate_fault fault = {0};
	bool good = locate_syntax(copy, bytes, DEPTH_MAX, &fault);

	if (!good) /* every fault has words, and a place in the text or just behind it */
		CHECK_MSG(*fault.what && fault.at <= bytes, text);
	free(copy);
	return good;
}

TEST(valid_json)
{
	static const char *const texts[] = {
		"{}",
		"[]",
		" [ ] ",
		"{ }",
		"\t\r\n null\n",
		"0",
		"-0",
		"-1",
		"10",
		"0.5",
		"1e5",
		"1E+5",
		"1.25e-3",
		"\"\"",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
		"\"\\ud83d\\ude00\"",
		"\"\xf0\x9f\x98\x80\x7f\"",
		"[1,2,[3,{\"a\":[]}]]",
		"{\"a\":{\"a\":1},\"a\":2}",
		"{\"\":null}",
		"[[[[[[[[]]]]]]]]",
		"\xef\xbb\xbf[]",
		"true",
		"false",
		"[true,false,null]",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		CHECK_MSG(valid(texts[i]), texts[i]);
}

TEST(invalid_json)
{
	static const char *const texts[] = {
		"",
		" ",
		"\xef\xbb\xbf",
		"{",
		"}",
		"[",
		"]",
		"\"",
		"\"\\",
		"\"\\u",
		"\"\\u123",
		"\"\\u123\"",
		"nul",
		"nullx",
		"-",
		"--1",
		"00",
		"01",
		"-01",
		"1.",
		".1",
		"1.e1",
		"1e",
		"1e+",
		"0x1",
		"1a",
		"1_0",
		"Infinity",
		"-Infinity",
		"[,]",
		"[1,]",
		"[1 2]",
		"[1}",
		"{1:2}",
		"{\"a\"}",
		"{\"a\":}",
		"{\"a\":1,}",
		"{\"a\":1]",
		"{\"a\" \"b\"}",
		"{\"a\"",
		"{\"a\":",
		"{\"a\":1",
		"{\"a\":1,",
		"[1",
		"[1,",
		"1 2",
		"{}{}",
		"[]]",
		"'a'",
		"\"a\nb\"",
		"\"\x1f\"",
		"\f1",
		"\v1",
		"1\xc2\xa0",
		"[[[[[[[[[]]]]]]]]]",
		"/**/1",
		"1//",
		"\"\\x41\"",
		"\"\\ud800x\"",
		"\xff",
		"\"\xc0\xaf\"",
		"\"\xe0\x80\xaf\"",
		"\"\xf8\x88\x80\x80\x80\"",
		"\xef\xbb\xbf\xef\xbb\xbf[]",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		CHECK_MSG(!valid(texts[i]), texts[i]);
}

/* Every beginning of a text is refused, none is read past its end. */
TEST(cut_off_anywhere)
{
	static const char text[] = "{\"a\":[1,-2.5e3,\"\\ud83d\\ude00\xc3\xa9\"],\"b\":{\"c\":true}}";

	for (size_t bytes = 0; bytes < sizeof(text) - 1; bytes++) {
		char *cut = memcpy(xmalloc(bytes), text, bytes);
		struct locate_fault fault;

		CHECK(!locate_syntax(cut, bytes, DEPTH_MAX, &fault));
		free(cut);
	}
}

struct place {
	const char *text;
	size_t steps, path[STEPS_MAX];
	const char *key, *value; /* what is found begins and ends with */
	unsigned line, column;
};

static const struct place places[] = {
	{" 5 ", 0, {0}, "5", "5", 1, 2},
	{"[1,2,3]", 1, {2}, "3", "3", 1, 6},
	{"[ 1 , \"]\" , 3 ]", 1, {2}, "3", "3", 1, 13},
	{"{\"a\":1,\"b\":[{},{\"c\":\"x\"}]}", 3, {1, 1, 0}, "\"c\":\"x\"}", "\"x\"", 1, 21},
	{"{\"a\":1,\"b\":[{},{\"c\":\"x\"}]}", 2, {1, 1}, "{\"c\"", "{\"c\":\"x\"}", 1, 16},
	{"{\"a\":1,\"a\":2}", 1, {1}, "\"a\":2", "2", 1, 12},
	{"{\n\t\"a\" :\n\t\t[ 1,\n 2 ]\n}", 2, {0, 1}, "2", "2", 4, 2},
	{"{\"\xc3\xa9\xf0\x9f\x98\x80\":1}", 1, {0}, "\"\xc3", "1", 1, 7},
	{"{\"a\\\"}\":{\"b\\\\\":7}}", 2, {0, 0}, "\"b", "7", 1, 16},
	{"\xef\xbb\xbf[1]", 1, {0}, "1", "1", 1, 2},
	{"[\r\n1]", 1, {0}, "1", "1", 2, 1},
};

TEST(values_are_found)
{
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		const struct place *place = &places[i];
		struct locate_span span;
		unsigned line, column;

		CHECK_MSG(locate_find(place->text, strlen(place->text), place->path, place->steps, &span), place->text);
		CHECK_MSG(!strncmp(place->text + span.key, place->key, strlen(place->key)), place->text);
		CHECK_INT(span.end - span.value, strlen(place->value));
		CHECK_MSG(!strncmp(place->text + span.value, place->value, strlen(place->value)), place->text);
		locate_line(place->text, span.value, &line, &column);
		CHECK_INT(line, place->line);
		CHECK_INT(column, place->column);
	}
}

/* The last value on the way is what is told then. */
TEST(paths_that_lead_nowhere)
{
	static const char text[] = "{\"a\":[1,{}],\"b\":5}";
	struct locate_span span;

	CHECK(!locate_find(text, sizeof(text) - 1, (const size_t[]){2}, 1, &span));
	CHECK_INT(span.value, 0);
	CHECK_INT(span.end, sizeof(text) - 1);
	CHECK(!locate_find(text, sizeof(text) - 1, (const size_t[]){0, 2}, 2, &span));
	CHECK_INT(span.value, 5);
	CHECK(!locate_find(text, sizeof(text) - 1, (const size_t[]){0, 1, 0}, 3, &span));
	CHECK_INT(span.value, 8);
	CHECK_INT(span.end, 10);
	CHECK(!locate_find(text, sizeof(text) - 1, (const size_t[]){1, 0}, 2, &span));
	CHECK_INT(span.key, 12);
	CHECK_INT(span.value, 16);
}

int main(void)
{
	RUN(valid_json);
	RUN(invalid_json);
	RUN(cut_off_anywhere);
	RUN(values_are_found);
	RUN(paths_that_lead_nowhere);
	return test_done();
}
