/* SPDX-License-Identifier: Apache-2.0 */
/* test_base64: lib/base64.c against the vectors of RFC 4648, section 10, and against itself. */
#include "lib/base64.h"

#include "lib/util.h"
#include "tests/unit/test.h"

#include <stdlib.h>

static const struct {
	const char *bytes, *text;
} vectors[] = {{"", ""},	 {"f", "Zg=="},	    {"fo", "Zm8="},	  {"foo", "Zm9v"},
	       {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};

TEST(vectors_of_the_rfc)
{
	for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) {
		char *text = base64_encode(vectors[i].bytes, strlen(vectors[i].bytes));
		uint8_t bytes[16] = {0};
		size_t count;

		CHECK_STR(text, vectors[i].text);
		CHECK_INT(BASE64_CHARACTERS(strlen(vectors[i].bytes)), strlen(text));
		CHECK(base64_decode(text, bytes, &count));
		CHECK_INT(count, strlen(vectors[i].bytes));
		CHECK_STR((char *)bytes, vectors[i].bytes);
		free(text);
	}
}

/* All bytes, at every length, in memory of just that length. */
TEST(there_and_back)
{
	for (size_t length = 0; length < 600; length++) {
		uint8_t *bytes = xmalloc(length + 1), *again = xmalloc((length + 2) / 3 * 3 + 1);
		char *text;
		size_t count;

		for (size_t i = 0; i < length; i++)
			bytes[i] = (uint8_t)(i * 7 + length);
		text = base64_encode(bytes, length);
		CHECK(base64_decode(text, again, &count));
		CHECK_INT(count, length);
		CHECK(!memcmp(bytes, again, length));
		free(text);
		free(again);
		free(bytes);
	}
}

TEST(what_is_none)
{
	static const char *const texts[] = {"Zg", "Zg=", "Zg===", "Z===", "=", "Zm9v=", "Zg==Zg==", "Zm 9v", "Zm9-", "Z"};
	uint8_t bytes[16];
	size_t count;

	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
		CHECK_MSG(!base64_decode(texts[i], bytes, &count), texts[i]);
	CHECK(base64_decode("Zm\r\n9v\n", bytes, &count));
	CHECK_INT(count, 3);
}

int main(void)
{
	RUN(vectors_of_the_rfc);
	RUN(there_and_back);
	RUN(what_is_none);
	return test_done();
}
