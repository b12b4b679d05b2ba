/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netrule: one word of a list of allowed destinations: "192.0.2.7", "10.1.0.0/16", "2001:db8::/32", "example.org",
 * "*.example.org", each with ":port" behind it if wanted, an IPv6 address then in brackets. Both who reads a pod file
 * and who enforces it go by this. Pure functions.
 */
#ifndef LIB_NETRULE_H
#define LIB_NETRULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NETRULE_NAME_BYTES = 254, /* RFC 1035: 253 characters, and a NUL */
	NETADDR_TEXT_BYTES = 46,
};

/* An IPv4 address lies in the first 4 bytes, the others being 0. Network order. */
struct netaddr {
	uint8_t bytes[16];
	bool is_v6;
};

struct netrule {
	bool is_name;
	bool below; /* "*.": any name below it, and not itself */
	char name[NETRULE_NAME_BYTES]; /* lower case, without a dot at the end */
	struct netaddr addr;
	unsigned prefix_bits; /* an address alone has all: 32 or 128 */
	uint16_t port; /* 0: any */
};

/* False when text is none of the above; address bits behind the prefix must be 0. */
bool netrule_parse(const char *text, struct netrule *rule);

/* A name as it is compared: lower case, no dot at its end. False when it is none (RFC 1123 labels, and "_"). */
bool netrule_name(const char *text, size_t bytes, char name[NETRULE_NAME_BYTES]);

/* name is as netrule_name() made it. */
bool netrule_has_name(const struct netrule *rule, const char *name);
bool netrule_has_addr(const struct netrule *rule, const struct netaddr *addr);

/* 4 or 16 bytes as they stand in a packet. */
struct netaddr netaddr_of(const void *bytes, bool is_v6);
bool netaddr_parse(const char *text, struct netaddr *addr);
bool netaddr_equal(const struct netaddr *a, const struct netaddr *b);

#endif
