/* SPDX-License-Identifier: Apache-2.0 */
/* base64: RFC 4648 section 4, padded. Pure functions. */
#ifndef LIB_BASE64_H
#define LIB_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Characters that count bytes become, without the NUL behind them. */
#define BASE64_CHARACTERS(count) (((count) + 2) / 3 * 4)

/* Fresh text of BASE64_CHARACTERS(count), on one line. */
char *base64_encode(const void *bytes, size_t count);

/*
 * bytes has room for 3 of every 4 characters, begun ones counted; how many were written is in *count. Line ends are let
 * pass, as Go does. False when the text is not base64.
 */
bool base64_decode(const char *text, uint8_t *bytes, size_t *count);

#endif
