/* SPDX-License-Identifier: Apache-2.0 */
/* test_egress: the policy as who carries packets meets it, with DNS answers made by hand. */
#include "devices/egress.h"

#include "lib/util.h"
#include "tests/unit/test.h"

#include <netinet/in.h>
#include <stdlib.h>

#define S UINT64_C(1000000000)
#define NOW (1000 * S)

static struct egress *egress;

static struct netaddr addr(const char *text)
{
	struct netaddr made;

	CHECK(netaddr_parse(text, &made));
	return made;
}

static void begin(enum egress_mode mode, const char *const *allow)
{
	struct netrule rules[8];
	struct netaddr resolver = addr("10.0.2.3");
	size_t count = 0;

	for (; allow && allow[count]; count++)
		CHECK(netrule_parse(allow[count], &rules[count]));
	egress = egress_new(mode, rules, count);
	egress_resolver_add(egress, &resolver);
}

static void end(void)
{
	egress_free(egress);
}

static bool tcp(const char *to, uint16_t port, uint64_t now_ns)
{
	struct netaddr dst = addr(to);

	return egress_allows(egress, IPPROTO_TCP, &dst, port, 0, now_ns);
}

static bool udp(const char *to, uint16_t port, uint16_t own_port, uint64_t now_ns)
{
	struct netaddr dst = addr(to);

	return egress_allows(egress, IPPROTO_UDP, &dst, port, own_port, now_ns);
}

static bool ping(const char *to)
{
	struct netaddr dst = addr(to);

	return egress_allows(egress, IPPROTO_ICMP, &dst, 0, 0, NOW);
}

static void heard(const char *from, uint16_t port, uint16_t own_port, bool solicited, const uint8_t *bytes, size_t count)
{
	struct netaddr src = addr(from);

	egress_received(egress, &src, port, own_port, solicited, bytes, count, NOW);
}

/* ---- a DNS answer ---- */

static uint8_t message[2000];
static size_t bytes;

static void put16(unsigned value)
{
	message[bytes++] = (uint8_t)(value >> 8);
	message[bytes++] = (uint8_t)value;
}

static void put_name(const char *name)
{
	while (*name) {
		size_t label = strcspn(name, ".");

		message[bytes++] = (uint8_t)label;
		memcpy(message + bytes, name, label);
		bytes += label;
		name += label + (name[label] == '.');
	}
	message[bytes++] = 0;
}

static void answer_begin(const char *question)
{
	bytes = 0;
	put16(77);
	put16(0x8180);
	put16(1);
	put16(0); /* counted by record_begin() */
	put16(0);
	put16(0);
	put_name(question);
	put16(1);
	put16(1);
}

static void record_begin(const char *owner, unsigned type, uint32_t ttl_s)
{
	message[7]++;
	if (owner)
		put_name(owner);
	else
		put16(0xc00c); /* the question's */
	put16(type);
	put16(1);
	put16(ttl_s >> 16);
	put16(ttl_s & 0xffff);
}

static void record_a(const char *owner, const char *address, uint32_t ttl_s)
{
	struct netaddr a = addr(address);

	record_begin(owner, a.is_v6 ? 28 : 1, ttl_s);
	put16(a.is_v6 ? 16 : 4);
	memcpy(message + bytes, a.bytes, a.is_v6 ? 16 : 4);
	bytes += a.is_v6 ? 16 : 4;
}

static void record_cname(const char *owner, const char *target)
{
	size_t at;

	record_begin(owner, 5, 60);
	at = bytes;
	put16(0);
	put_name(target);
	message[at + 1] = (uint8_t)(bytes - at - 2);
}

/* From memory of just its size, so that a read past the end shows. */
static void learn(size_t count)
{
	uint8_t *exact = xmalloc(count ? count : 1);

	memcpy(exact, message, count);
	egress_dns_answer(egress, exact, count, NOW);
	free(exact);
}

/* ---- modes and rules ---- */

TEST(open_is_open)
{
	begin(EGRESS_OPEN, NULL);
	CHECK(tcp("192.0.2.1", 80, NOW));
	CHECK(udp("2001:db8::1", 53, 0, NOW));
	CHECK(ping("192.0.2.1"));
	end();
}

TEST(off_is_off)
{
	begin(EGRESS_OFF, NULL);
	CHECK(!tcp("192.0.2.1", 80, NOW));
	CHECK(!udp("10.0.2.3", 53, 0, NOW));
	CHECK(!tcp("10.0.2.3", 53, NOW));
	CHECK(!tcp("10.0.2.2", 80, NOW));
	CHECK(!ping("192.0.2.1"));
	end();
}

TEST(rules_open_addresses_and_ports)
{
	begin(EGRESS_ALLOW, (const char *[]){ "192.0.2.0/24:443", "198.51.100.7", "2001:db8::/32", NULL });
	CHECK(tcp("192.0.2.9", 443, NOW));
	CHECK(udp("192.0.2.9", 443, 0, NOW));
	CHECK(!tcp("192.0.2.9", 80, NOW));
	CHECK(!ping("192.0.2.9")); /* a port was meant */
	CHECK(ping("198.51.100.7"));
	CHECK(tcp("198.51.100.7", 1, NOW));
	CHECK(!tcp("198.51.100.8", 1, NOW));
	CHECK(tcp("2001:db8:1::1", 1, NOW));
	CHECK(udp("10.0.2.3", 53, 0, NOW));
	CHECK(tcp("10.0.2.3", 53, NOW));
	CHECK(!udp("10.0.2.3", 54, 0, NOW));
	CHECK(!udp("8.8.8.8", 53, 0, NOW));
	end();
}

TEST(published_udp_ports_answer_who_wrote)
{
	for (int mode = EGRESS_OFF; mode <= EGRESS_ALLOW; mode++) {
		begin((enum egress_mode)mode, NULL);
		heard("192.0.2.1", 5000, 80, false, NULL, 0);
		CHECK(udp("192.0.2.1", 5000, 80, NOW));
		CHECK(!udp("192.0.2.1", 5001, 80, NOW));
		CHECK(!udp("192.0.2.2", 5000, 80, NOW));
		CHECK(!udp("192.0.2.1", 5000, 81, NOW)); /* from another published port */
		CHECK(!udp("192.0.2.1", 5000, 0, NOW));	 /* from one of its own */
		CHECK(!tcp("192.0.2.1", 5000, NOW));
		CHECK(udp("192.0.2.1", 5000, 80, NOW + (EGRESS_PEER_S - 1) * S));
		CHECK(!udp("192.0.2.1", 5000, 80, NOW + EGRESS_PEER_S * S));
		end();
	}
}

TEST(peers_are_bounded)
{
	begin(EGRESS_OFF, NULL);
	for (unsigned i = 0; i < EGRESS_PEERS_MAX; i++) {
		struct netaddr from = addr("192.0.2.1");

		egress_received(egress, &from, (uint16_t)(1000 + i), 80, false, NULL, 0, NOW + i);
	}
	CHECK(udp("192.0.2.1", 1000, 80, NOW + 300));
	egress_received(egress, &(struct netaddr){ .bytes = { 9, 9, 9, 9 } }, 7, 80, false, NULL, 0, NOW + 300);
	CHECK(!udp("192.0.2.1", 1000, 80, NOW + 300)); /* the oldest went */
	CHECK(udp("192.0.2.1", 1001, 80, NOW + 300));
	CHECK(udp("9.9.9.9", 7, 80, NOW + 300));
	end();
}

/* ---- names ---- */

static const char *const names[] = { "example.org:443", "*.example.net", NULL };

TEST(answers_open_addresses)
{
	begin(EGRESS_ALLOW, names);
	CHECK(!tcp("192.0.2.1", 443, NOW));
	answer_begin("Example.ORG");
	record_a(NULL, "192.0.2.1", 1000);
	record_a("example.org", "2001:db8::1", 1000);
	heard("10.0.2.3", 53, 0, true, message, bytes);
	CHECK_INT(egress_learned(egress, NOW), 2);
	CHECK(tcp("192.0.2.1", 443, NOW));
	CHECK(udp("2001:db8::1", 443, 0, NOW));
	CHECK(!tcp("192.0.2.1", 80, NOW)); /* the rule's port */
	CHECK(!tcp("192.0.2.2", 443, NOW));
	end();
}

TEST(only_the_resolver_is_heard)
{
	begin(EGRESS_ALLOW, names);
	answer_begin("example.org");
	record_a(NULL, "192.0.2.1", 1000);
	heard("10.0.2.3", 53, 0, false, message, bytes); /* sent by somebody else */
	heard("10.0.2.3", 54, 0, true, message, bytes);
	heard("192.0.2.9", 53, 0, true, message, bytes);
	heard("10.0.2.3", 53, 80, true, message, bytes); /* to a published port */
	CHECK_INT(egress_learned(egress, NOW), 0);
	end();
}

TEST(other_names_open_nothing)
{
	begin(EGRESS_ALLOW, names);
	answer_begin("evil.example");
	record_a(NULL, "192.0.2.1", 1000);
	record_a("example.org", "192.0.2.2", 1000);
	record_cname(NULL, "example.org");
	record_a("example.org", "192.0.2.3", 1000);
	learn(bytes);
	answer_begin("example.org");
	record_a("evil.example", "192.0.2.4", 1000);
	learn(bytes);
	answer_begin("example.net"); /* not below itself */
	record_a(NULL, "192.0.2.5", 1000);
	learn(bytes);
	CHECK_INT(egress_learned(egress, NOW), 0);
	end();
}

TEST(chains_of_names_are_followed)
{
	begin(EGRESS_ALLOW, names);
	answer_begin("www.example.net");
	record_cname(NULL, "cdn.example.com");
	record_cname("cdn.example.com", "edge.example.com");
	record_a("edge.example.com", "192.0.2.1", 1000);
	record_a("other.example.com", "192.0.2.2", 1000);
	learn(bytes);
	CHECK_INT(egress_learned(egress, NOW), 1);
	CHECK(tcp("192.0.2.1", 80, NOW));
	end();
}

TEST(chains_are_bounded)
{
	char name[32], next[32];

	begin(EGRESS_ALLOW, names);
	answer_begin("n0.example.net");
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "n%u.example.net", i);
		snprintf(next, sizeof(next), "n%u.example.net", i + 1);
		record_cname(name, next);
	}
	record_a("n40.example.net", "192.0.2.1", 1000);
	record_a("n3.example.net", "192.0.2.2", 1000);
	learn(bytes);
	CHECK_INT(egress_learned(egress, NOW), 1);
	end();
}

TEST(addresses_close_again)
{
	begin(EGRESS_ALLOW, names);
	answer_begin("a.example.net");
	record_a(NULL, "192.0.2.1", 1);
	record_a(NULL, "192.0.2.2", 1000);
	record_a(NULL, "192.0.2.3", 0x7fffffff);
	record_a(NULL, "192.0.2.4", 0x80000000);
	learn(bytes);
	CHECK(tcp("192.0.2.1", 1, NOW + (EGRESS_TTL_S_MIN - 1) * S));
	CHECK(!tcp("192.0.2.1", 1, NOW + EGRESS_TTL_S_MIN * S));
	CHECK(tcp("192.0.2.2", 1, NOW + 999 * S));
	CHECK(!tcp("192.0.2.2", 1, NOW + 1000 * S));
	CHECK(tcp("192.0.2.3", 1, NOW + (EGRESS_TTL_S_MAX - 1) * S));
	CHECK(!tcp("192.0.2.3", 1, NOW + EGRESS_TTL_S_MAX * S));
	CHECK(!tcp("192.0.2.4", 1, NOW + EGRESS_TTL_S_MIN * S));
	learn(bytes); /* told again: no second entry */
	CHECK_INT(egress_learned(egress, NOW), 4);
	end();
}

TEST(learned_addresses_are_bounded)
{
	char address[32];

	begin(EGRESS_ALLOW, names);
	for (unsigned i = 0; i < EGRESS_LEARNED_MAX + 10; i++) {
		snprintf(address, sizeof(address), "10.9.%u.%u", i >> 8, i & 255);
		answer_begin("a.example.net");
		record_a(NULL, address, 1000 + i);
		learn(bytes);
	}
	CHECK_INT(egress_learned(egress, NOW), EGRESS_LEARNED_MAX);
	CHECK(!tcp("10.9.0.9", 1, NOW));
	CHECK(tcp("10.9.0.10", 1, NOW));
	CHECK(tcp(address, 1, NOW));
	end();
}

TEST(answers_that_are_none)
{
	begin(EGRESS_ALLOW, names);
	answer_begin("example.org");
	record_a(NULL, "192.0.2.1", 1000);
	for (size_t cut = 0; cut < bytes; cut++)
		learn(cut);
	message[2] = 0x01; /* a question */
	learn(bytes);
	message[2] = 0x81, message[3] = 0x83; /* no such name */
	learn(bytes);
	message[3] = 0x80, message[5] = 2; /* two questions */
	learn(bytes);
	CHECK_INT(egress_learned(egress, NOW), 0);
	message[5] = 1;
	learn(bytes);
	CHECK_INT(egress_learned(egress, NOW), 1);
	end();
}

TEST(names_that_are_none)
{
	static const uint8_t dotted[] = "\x0b" "example.org" "\x00";
	static const uint8_t zero[] = "\x07" "example" "\x04" "org\x00";

	begin(EGRESS_ALLOW, names);
	bytes = 0;
	answer_begin("");
	bytes = 12;
	memcpy(message + bytes, dotted, sizeof(dotted) - 1);
	bytes += sizeof(dotted) - 1;
	put16(1), put16(1);
	record_a(NULL, "192.0.2.1", 1000);
	learn(bytes);
	answer_begin("");
	bytes = 12;
	memcpy(message + bytes, zero, sizeof(zero));
	bytes += sizeof(zero);
	put16(1), put16(1);
	record_a(NULL, "192.0.2.1", 1000);
	learn(bytes);
	answer_begin("example.org");
	message[7] = 1;
	put16(0xc000 | (unsigned)bytes); /* points at itself */
	bytes += 20;
	learn(bytes);
	answer_begin("example.org");
	message[7] = 1;
	put16(0xffff);
	bytes += 20;
	learn(bytes);
	answer_begin("example.org");
	message[7] = 1;
	put16(0xc000 | (unsigned)(bytes + 16)); /* points ahead, at what would do */
	put16(1), put16(1), put16(0), put16(60), put16(4), put16(0xc000), put16(0x0201);
	put_name("example.org");
	learn(bytes);
	CHECK_INT(egress_learned(egress, NOW), 0);
	end();
}

int main(void)
{
	RUN(open_is_open);
	RUN(off_is_off);
	RUN(rules_open_addresses_and_ports);
	RUN(published_udp_ports_answer_who_wrote);
	RUN(peers_are_bounded);
	RUN(answers_open_addresses);
	RUN(only_the_resolver_is_heard);
	RUN(other_names_open_nothing);
	RUN(chains_of_names_are_followed);
	RUN(chains_are_bounded);
	RUN(addresses_close_again);
	RUN(learned_addresses_are_bounded);
	RUN(answers_that_are_none);
	RUN(names_that_are_none);
	return test_done();
}
