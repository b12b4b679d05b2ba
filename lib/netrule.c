// SPDX-License-Identifier: Apache-2.0
/* netrule: see netrule.h. */
#include "lib/netrule.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL_BYTES_MAX = 63, TEXT_BYTES_MAX = 300, V4_BITS = 32, V6_BITS = 128 };

struct netaddr netaddr_of(const void *bytes, bool is_v6)
{
	struct netaddr addr = {.is_v6 = is_v6};

	memcpy(addr.bytes, bytes, is_v6 ? 16 : 4);
	return addr;
}

bool netaddr_parse(const char *text, struct netaddr *addr)
{
	*addr = (struct netaddr){.is_v6 = strchr(text, ':') != NULL};
	return inet_pton(addr->is_v6 ? AF_INET6 : AF_INET, text, addr->bytes) == 1;
}

bool netaddr_equal(const struct netaddr *a, const struct netaddr *b)
{
	return a->is_v6 == b->is_v6 && !memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool netrule_name(const char *text, size_t bytes, char name[NETRULE_NAME_BYTES])
{
	size_t label = 0;

	if (bytes && text[bytes - 1] == '.')
		bytes--;
	if (!bytes || bytes >= NETRULE_NAME_BYTES)
		return false;
	for (size_t i = 0; i < bytes; i++) {
		char c = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);

		label = c == '.' ? 0 : label + 1;
		if (c == '.' ? i == 0 || text[i - 1] == '.' : !is_name_char(c) || label > LABEL_BYTES_MAX)
			return false;
		name[i] = c;
	}
	name[bytes] = '\0';
	return true;
}

/* Digits only, 0..max. */
static bool number(const char *text, unsigned long max, unsigned *value)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long n;

	if (!digits || digits > 5 || text[digits])
		return false;
	n = strtoul(text, NULL, 10);
	*value = (unsigned)n;
	return n <= max;
}

/* Cuts ":port" off text. In front of it stands an address in brackets, or what has no other colon. */
static bool port_cut(char **text, struct netrule *rule)
{
	char *colon = strrchr(*text, ':'), *close = strchr(*text, ']');
	unsigned port;

	if (**text == '[') {
		if (!close || (close[1] && close + 1 != colon))
			return false;
		*close = '\0';
		++*text;
		if (!strchr(*text, ':')) /* brackets are for IPv6 */
			return false;
		if (close + 1 != colon)
			return true;
	} else if (!colon || strchr(*text, ':') != colon) {
		return true;
	}
	if (!number(colon + 1, UINT16_MAX, &port) || port == 0)
		return false;
	*colon = '\0';
	rule->port = (uint16_t)port;
	return true;
}

static bool has_bits_behind(const struct netaddr *addr, unsigned bits)
{
	for (unsigned i = bits; i < V6_BITS; i++)
		if (addr->bytes[i / 8] & 0x80 >> i % 8)
			return true;
	return false;
}

/* An address, or a network; false when text is neither. */
static bool network_parse(char *text, struct netrule *rule)
{
	char *slash = strchr(text, '/');
	unsigned max;

	if (slash)
		*slash = '\0';
	if (!netaddr_parse(text, &rule->addr))
		return false;
	max = rule->addr.is_v6 ? V6_BITS : V4_BITS;
	rule->prefix_bits = max;
	if (slash && !number(slash + 1, max, &rule->prefix_bits))
		return false;
	return !has_bits_behind(&rule->addr, rule->prefix_bits);
}

/* "1.2.3" and "300.1.2.3" are slips of the pen and not names: no top level domain is a number. */
static bool looks_like_address(const char *name)
{
	const char *last = strrchr(name, '.');

	last = last ? last + 1 : name;
	return last[strspn(last, "0123456789")] == '\0';
}

bool netrule_parse(const char *text, struct netrule *rule)
{
	char copy[TEXT_BYTES_MAX], *rest = copy;
	size_t bytes = strlen(text);

	*rule = (struct netrule){.is_name = false};
	if (bytes >= sizeof(copy))
		return false;
	memcpy(copy, text, bytes + 1);
	if (!port_cut(&rest, rule))
		return false;
	if (strpbrk(rest, ":/") || *copy == '[')
		return network_parse(rest, rule);
	if (network_parse(rest, rule))
		return true;
	rule->is_name = true;
	rule->below = !strncmp(rest, "*.", 2);
	rest += rule->below ? 2 : 0;
	return netrule_name(rest, strlen(rest), rule->name) && !looks_like_address(rule->name);
}

bool netrule_has_name(const struct netrule *rule, const char *name)
{
	size_t bytes = strlen(name), own = strlen(rule->name);

	if (!rule->is_name)
		return false;
	if (!rule->below)
		return !strcmp(name, rule->name);
	return bytes > own + 1 && name[bytes - own - 1] == '.' && !strcmp(name + bytes - own, rule->name);
}

bool netrule_has_addr(const struct netrule *rule, const struct netaddr *addr)
{
	unsigned bytes = rule->prefix_bits / 8, bits = rule->prefix_bits % 8;
	uint8_t differ;

	if (rule->is_name || rule->addr.is_v6 != addr->is_v6 || memcmp(rule->addr.bytes, addr->bytes, bytes))
		return false;
	if (!bits)
		return true;
	differ = rule->addr.bytes[bytes] ^ addr->bytes[bytes];
	return differ >> (8 - bits) == 0;
}
