/* SPDX-License-Identifier: Apache-2.0 */
/* base64: see base64.h. */
#include "lib/base64.h"

#include <string.h>

#include "lib/util.h"

static const char digits64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *bytes, size_t count)
{
	const uint8_t *at = bytes;
	char *text = xmalloc(BASE64_CHARACTERS(count) + 1), *end = text;

	for (size_t i = 0; i < count; i += 3) {
		size_t left = count - i;
		unsigned bits = (unsigned)at[i] << 16 | (left > 1 ? (unsigned)at[i + 1] << 8 : 0) | (left > 2 ? at[i + 2] : 0);

		*end++ = digits64[bits >> 18];
		*end++ = digits64[bits >> 12 & 63];
		*end++ = left > 1 ? digits64[bits >> 6 & 63] : '=';
		*end++ = left > 2 ? digits64[bits & 63] : '=';
	}
	*end = '\0';
	return text;
}

static int digit_of(char c)
{
	const char *at = c ? strchr(digits64, c) : NULL;

	return at ? (int)(at - digits64) : -1;
}

bool base64_decode(const char *text, uint8_t *bytes, size_t *count)
{
	unsigned bits = 0, digits = 0, pads = 0;

	*count = 0;
	for (; *text; text++) {
		int digit = digit_of(*text);

		if (*text == '\n' || *text == '\r')
			continue;
		if (*text == '=' && digits % 4 >= 2 && pads < 4 - digits % 4) {
			pads++;
			continue;
		}
		if (digit < 0 || pads)
			return false;
		bits = (bits << 6 | (unsigned)digit) & 0xffffff;
		digits++;
		if (digits % 4 == 0) {
			bytes[(*count)++] = (uint8_t)(bits >> 16);
			bytes[(*count)++] = (uint8_t)(bits >> 8);
			bytes[(*count)++] = (uint8_t)bits;
		}
	}
	if (digits % 4 == 1 || (digits % 4 && pads != 4 - digits % 4))
		return false;
	if (digits % 4 >= 2)
		bytes[(*count)++] = (uint8_t)(digits % 4 == 2 ? bits >> 4 : bits >> 10);
	if (digits % 4 == 3)
		bytes[(*count)++] = (uint8_t)(bits >> 2);
	return true;
}
