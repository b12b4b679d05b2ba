/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_egress: what a hostile resolver or guest can tell devices/egress, and any text as a destination of a pod file.
 *
 * An input is a list of records: one byte what to do, two bytes length (little-endian), that many bytes. Besides what the
 * sanitizers see: a policy without names learns nothing, no more is remembered than there is room for, what was learned is
 * over after the longest time, and a policy that is off lets nothing out that was not written to first.
 */
#include "devices/egress.h"
#include "lib/util.h"
#include "tests/fuzz/input.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum { RECORDS_MAX = 256, TEXT_MAX = 512 };

enum what { ANSWER, RULE, ASK, HEAR, LATER, KINDS };

/* Three policies that are told the same. */
static struct egress *with_names, *without, *off;
static uint64_t now_ns;

static void tell(struct egress *egress, const uint8_t *bytes, size_t count)
{
	uint8_t *exact = memcpy(xmalloc(count + 1), bytes, count);

	egress_dns_answer(egress, exact, count, now_ns);
	free(exact);
}

static void rule(const uint8_t *bytes, size_t count)
{
	char text[TEXT_MAX];
	struct netrule parsed;

	count = MIN(count, sizeof(text) - 1);
	memcpy(text, bytes, count);
	text[count] = '\0';
	if (!netrule_parse(text, &parsed))
		return;
	if (parsed.prefix_bits > (parsed.addr.is_v6 ? 128u : 32u) || memchr(parsed.name, '\0', sizeof(parsed.name)) == NULL)
		abort();
	if (parsed.is_name ? !*parsed.name : !netrule_has_addr(&parsed, &parsed.addr))
		abort();
	if (parsed.is_name && !parsed.below && !netrule_has_name(&parsed, parsed.name))
		abort();
}

static void ask(const uint8_t *bytes, size_t count)
{
	struct netaddr addr;

	if (count < 20)
		return;
	addr = netaddr_of(bytes, bytes[16] & 1);
	egress_allows(with_names, bytes[17], &addr, (uint16_t)(bytes[18] | bytes[19] << 8), 0, now_ns);
	if (egress_allows(off, bytes[17], &addr, (uint16_t)(bytes[18] | bytes[19] << 8), 0, now_ns))
		abort(); /* from a port that is not published: never */
}

static void hear(const uint8_t *bytes, size_t count)
{
	struct egress *all[] = { with_names, without, off };
	struct netaddr addr;
	uint16_t port, own;

	if (count < 22)
		return;
	addr = netaddr_of(bytes, bytes[16] & 1);
	port = bytes[16] & 2 ? 53 : (uint16_t)(bytes[18] | bytes[19] << 8);
	own = bytes[16] & 4 ? 0 : (uint16_t)(bytes[20] | bytes[21] << 8);
	if (bytes[16] & 8)
		netaddr_parse("10.0.2.3", &addr);
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		egress_received(all[i], &addr, port, own, bytes[16] & 16, bytes + 22, count - 22, now_ns);
		if (own && !egress_allows(all[i], IPPROTO_UDP, &addr, port, own, now_ns))
			abort();
	}
}

static void act(enum what what, const uint8_t *bytes, size_t count)
{
	switch (what) {
	case ANSWER:
	case KINDS:
		tell(with_names, bytes, count);
		tell(without, bytes, count);
		tell(off, bytes, count);
		break;
	case RULE:
		rule(bytes, count);
		break;
	case ASK:
		ask(bytes, count);
		break;
	case HEAR:
		hear(bytes, count);
		break;
	case LATER:
		now_ns += count ? bytes[0] * UINT64_C(10000000000) : 0;
		break;
	}
}

static struct egress *make(enum egress_mode mode, const char *const *rules, size_t count)
{
	struct netrule parsed[4];
	struct netaddr resolver;
	struct egress *egress;

	for (size_t i = 0; i < count; i++)
		if (!netrule_parse(rules[i], &parsed[i]))
			abort();
	egress = egress_new(mode, parsed, count);
	netaddr_parse("10.0.2.3", &resolver);
	egress_resolver_add(egress, &resolver);
	return egress;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static const char *const rules[] = { "10.1.0.0/16", "[2001:db8::/32]:443", "example.org:443", "*.example.org" };
	struct input in = { data, bytes };

	now_ns = UINT64_C(1000000000000);
	with_names = make(EGRESS_ALLOW, rules, 4);
	without = make(EGRESS_ALLOW, rules, 2);
	off = make(EGRESS_OFF, NULL, 0);
	for (unsigned i = 0; i < RECORDS_MAX && in.bytes >= INPUT_RECORD_HEAD; i++) {
		size_t count;
		enum what what = input_byte(&in) % KINDS;
		const uint8_t *record = input_record(&in, &count);

		act(what, record, count);
	}
	if (egress_learned(without, now_ns) || egress_learned(off, now_ns))
		abort();
	if (egress_learned(with_names, now_ns) > EGRESS_LEARNED_MAX ||
	    egress_learned(with_names, now_ns + (EGRESS_TTL_S_MAX + UINT64_C(1)) * 1000000000))
		abort();
	egress_free(with_names);
	egress_free(without);
	egress_free(off);
	return 0;
}
