/* SPDX-License-Identifier: Apache-2.0 */
/* test_netrule: what lib/netrule takes for a destination, and what each destination holds. */
#include "lib/netrule.h"

#include "lib/util.h"
#include "tests/unit/test.h"

static struct netrule parsed(const char *text)
{
	struct netrule rule;

	if (!CHECK(netrule_parse(text, &rule)))
		printf("# %s\n", text);
	return rule;
}

static bool holds(const char *text, const char *address)
{
	struct netrule rule = parsed(text);
	struct netaddr addr;

	CHECK(netaddr_parse(address, &addr));
	return netrule_has_addr(&rule, &addr);
}

static bool names(const char *text, const char *name)
{
	struct netrule rule = parsed(text);

	return netrule_has_name(&rule, name);
}

TEST(networks_hold_their_addresses)
{
	CHECK(holds("192.0.2.7", "192.0.2.7"));
	CHECK(!holds("192.0.2.7", "192.0.2.6"));
	CHECK(holds("10.1.0.0/16", "10.1.255.3"));
	CHECK(!holds("10.1.0.0/16", "10.2.0.0"));
	CHECK(holds("10.1.128.0/17", "10.1.128.0"));
	CHECK(!holds("10.1.128.0/17", "10.1.127.255"));
	CHECK(holds("0.0.0.0/0", "255.255.255.255"));
	CHECK(!holds("0.0.0.0/0", "::1"));
	CHECK(!holds("::/0", "1.2.3.4"));
	CHECK(holds("::/0", "2001:db8::1"));
	CHECK(holds("2001:db8::/33", "2001:db8:7fff::1"));
	CHECK(!holds("2001:db8::/33", "2001:db8:8000::1"));
	CHECK(holds("2001:db8::1", "2001:db8:0::1"));
	CHECK(holds("10.0.0.0/31", "10.0.0.1"));
	CHECK(!holds("10.0.0.0/31", "10.0.0.2"));
	CHECK(!holds("example.org", "0.0.0.0"));
}

TEST(names_match_as_domains)
{
	CHECK(names("example.org", "example.org"));
	CHECK(names("EXAMPLE.org.", "example.org"));
	CHECK(!names("example.org", "www.example.org"));
	CHECK(!names("example.org", "badexample.org"));
	CHECK(names("*.example.org", "www.example.org"));
	CHECK(names("*.example.org", "a.b.example.org"));
	CHECK(!names("*.example.org", "example.org"));
	CHECK(!names("*.example.org", "badexample.org"));
	CHECK(!names("*.example.org", ".example.org"));
	CHECK(!names("192.0.2.7", "192.0.2.7"));
	CHECK(names("_srv._tcp.example.org", "_srv._tcp.example.org"));
}

TEST(ports_are_cut_off)
{
	CHECK_INT(parsed("192.0.2.7:443").port, 443);
	CHECK_INT(parsed("10.0.0.0/8:53").port, 53);
	CHECK_INT(parsed("10.0.0.0/8:53").prefix_bits, 8);
	CHECK_INT(parsed("[2001:db8::/32]:443").port, 443);
	CHECK_INT(parsed("[2001:db8::/32]:443").prefix_bits, 32);
	CHECK_INT(parsed("[::1]").prefix_bits, 128);
	CHECK_INT(parsed("2001:db8::1").port, 0);
	CHECK_INT(parsed("*.example.org:65535").port, 65535);
	CHECK(parsed("*.example.org:65535").below);
	CHECK_STR(parsed("*.Example.org:65535").name, "example.org");
}

TEST(slips_of_the_pen_are_refused)
{
	static const char *const bad[] = {
		"", "*", "*.", ".", "a..b", ".a", "10.1.0.0/33", "10.1.2.3/16", "2001:db8::1/32", "::/129", "300.1.2.3", "1.2.3",
		"10.0.0.0/", "10.0.0.0/a", "10.0.0.0/8/8", "example.org:0", "example.org:65536", "example.org:", "example.org:x",
		"example.org:80:80", "[10.0.0.0/8]:80", "[::1]x", "[::1", "[::1]:", "::1]:80", "exa mple.org", "a.*.org", "*x.org",
		"http://example.org", "example.org/", "-\n", "[]", "[]:1", ":80", "a.b.12", "[example.org]:1",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.org",
	};
	struct netrule rule;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		if (!CHECK(!netrule_parse(bad[i], &rule)))
			printf("# \"%s\"\n", bad[i]);
}

TEST(long_texts)
{
	char text[400], name[NETRULE_NAME_BYTES];
	struct netrule rule;

	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	CHECK(!netrule_parse(text, &rule));
	for (unsigned i = 60; i < 254; i += 60)
		text[i] = '.';
	CHECK(netrule_name(text, 253, name));
	CHECK(!netrule_name(text, 254, name));
	CHECK(!netrule_name("", 0, name));
}

int main(void)
{
	RUN(networks_hold_their_addresses);
	RUN(names_match_as_domains);
	RUN(ports_are_cut_off);
	RUN(slips_of_the_pen_are_refused);
	RUN(long_texts);
	return test_done();
}
