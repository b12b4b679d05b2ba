// SPDX-License-Identifier: Apache-2.0
/*
 * egress: see egress.h. Must not know the network behind, frames or the pod file.
 *
 * Theory of operation
 *
 * Where it is asked. Not at the card: what a frame is addressed to can be hidden there in fragments, behind IP options
 * or extension headers, and would have to be taken apart a second time and exactly as the network behind does it. It is
 * asked where a packet has become a call on a host's socket (devices/net_slirp); what does not pass there does not
 * leave the host. The address is the one the guest named, before the gateway's and name server's own are translated.
 * That the host's loopback is closed is decided behind this and not opened by any rule.
 *
 * Connections are decided when they are opened, datagrams one by one. Published TCP ports are never asked about: their
 * connections come from outside. UDP has none, so who wrote to a published port is remembered, and may be answered from
 * that port alone. Without that, a published UDP port would be a hole through every policy.
 *
 * Names. The guest resolves them itself, by a resolver we know; we read along in the answers and open the addresses.
 * Neither the question nor the guest is believed: an answer counts when it really was sent by the resolver, its
 * question is an allowed name, and the address belongs to that name or to what its chain of CNAMEs leads to, in the
 * order in which resolvers give them. So a guest can open only what the resolver says of an allowed name. An address
 * shared by two names opens for both, which enforcing by address can not tell apart. Answers by TCP are not read; a
 * resolver that cut a UDP answer short opens what it holds.
 *
 * DNS itself leads out: a guest can talk to whoever serves a name it may ask for. With EGRESS_ALLOW that is the price
 * of names; who does not want to pay it uses EGRESS_OFF.
 */
#include "devices/egress.h"

#include "lib/util.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum {
	PORT_DNS = 53,
	DNS_HEADER_BYTES = 12,
	DNS_RECORD_BYTES = 10, /* behind its name: type, class, ttl, length */
	DNS_POINTERS_MAX = 16,
	DNS_ANSWER = 0x8000,
	DNS_OPCODE_AND_CODE = 0x780f,
	TYPE_A = 1,
	TYPE_CNAME = 5,
	TYPE_AAAA = 28,
	CLASS_IN = 1,
};
#define NS_PER_S UINT64_C(1000000000)

struct learned {
	struct netaddr addr;
	uint16_t port; /* 0: any */
	uint64_t until_ns; /* 0: unused */
};

struct peer {
	struct netaddr addr;
	uint16_t port, own_port;
	uint64_t until_ns;
};

struct egress {
	enum egress_mode mode;
	struct netrule *rules;
	size_t rule_count;
	struct netaddr resolvers[EGRESS_RESOLVERS_MAX];
	unsigned resolver_count;
	struct learned learned[EGRESS_LEARNED_MAX];
	struct peer peers[EGRESS_PEERS_MAX];
};

struct egress *egress_new(enum egress_mode mode, const struct netrule *rules, size_t count)
{
	struct egress *egress = xcalloc(1, sizeof(*egress));

	egress->mode = mode;
	egress->rules = xcalloc(count + 1, sizeof(*rules));
	if (count)
		memcpy(egress->rules, rules, count * sizeof(*rules));
	egress->rule_count = count;
	return egress;
}

void egress_free(struct egress *egress)
{
	if (!egress)
		return;
	free(egress->rules);
	free(egress);
}

void egress_resolver_add(struct egress *egress, const struct netaddr *addr)
{
	if (egress->resolver_count < EGRESS_RESOLVERS_MAX)
		egress->resolvers[egress->resolver_count++] = *addr;
}

static bool is_resolver(const struct egress *egress, const struct netaddr *addr, uint16_t port)
{
	for (unsigned i = 0; port == PORT_DNS && i < egress->resolver_count; i++)
		if (netaddr_equal(&egress->resolvers[i], addr))
			return true;
	return false;
}

/* Published UDP ports: who may be answered */

static void peer_note(struct egress *egress, const struct netaddr *from, uint16_t port, uint16_t own_port,
		      uint64_t now_ns)
{
	struct peer *place = &egress->peers[0];

	for (unsigned i = 0; i < EGRESS_PEERS_MAX; i++) {
		struct peer *peer = &egress->peers[i];

		if (peer->own_port == own_port && peer->port == port && netaddr_equal(&peer->addr, from)) {
			place = peer;
			break;
		}
		if (peer->until_ns < place->until_ns)
			place = peer; /* the one silent for longest makes room */
	}
	*place = (struct peer){ .addr = *from, .port = port, .own_port = own_port,
				.until_ns = now_ns + EGRESS_PEER_S * NS_PER_S };
}

static bool is_peer(const struct egress *egress, const struct netaddr *to, uint16_t port, uint16_t own_port,
		    uint64_t now_ns)
{
	for (unsigned i = 0; i < EGRESS_PEERS_MAX; i++) {
		const struct peer *peer = &egress->peers[i];

		if (peer->own_port == own_port && peer->port == port && peer->until_ns > now_ns &&
		    netaddr_equal(&peer->addr, to))
			return true;
	}
	return false;
}

/* Addresses opened by name */

static void learn(struct egress *egress, const struct netaddr *addr, uint16_t port, uint32_t ttl_s, uint64_t now_ns)
{
	uint64_t until_ns = now_ns + MIN(MAX(ttl_s, (uint32_t)EGRESS_TTL_S_MIN), (uint32_t)EGRESS_TTL_S_MAX) * NS_PER_S;
	struct learned *place = &egress->learned[0];

	for (unsigned i = 0; i < EGRESS_LEARNED_MAX; i++) {
		struct learned *known = &egress->learned[i];

		if (known->until_ns && known->port == port && netaddr_equal(&known->addr, addr)) {
			known->until_ns = MAX(known->until_ns, until_ns);
			return;
		}
		if (known->until_ns < place->until_ns)
			place = known; /* unused, over, or the one that ends first */
	}
	*place = (struct learned){ .addr = *addr, .port = port, .until_ns = until_ns };
}

static bool is_learned(const struct egress *egress, const struct netaddr *to, uint16_t port, uint64_t now_ns)
{
	for (unsigned i = 0; i < EGRESS_LEARNED_MAX; i++) {
		const struct learned *known = &egress->learned[i];

		if (known->until_ns > now_ns && (!known->port || known->port == port) &&
		    netaddr_equal(&known->addr, to))
			return true;
	}
	return false;
}

unsigned egress_learned(const struct egress *egress, uint64_t now_ns)
{
	unsigned count = 0;

	for (unsigned i = 0; i < EGRESS_LEARNED_MAX; i++)
		count += egress->learned[i].until_ns > now_ns;
	return count;
}

static bool is_in_rules(const struct egress *egress, const struct netaddr *to, uint16_t port)
{
	for (size_t i = 0; i < egress->rule_count; i++) {
		const struct netrule *rule = &egress->rules[i];

		if ((!rule->port || rule->port == port) && netrule_has_addr(rule, to))
			return true;
	}
	return false;
}

bool egress_allows(struct egress *egress, int protocol, const struct netaddr *to, uint16_t port, uint16_t own_port,
		   uint64_t now_ns)
{
	if (egress->mode == EGRESS_OPEN)
		return true;
	if (protocol == IPPROTO_UDP && own_port && is_peer(egress, to, port, own_port, now_ns))
		return true;
	if (egress->mode == EGRESS_OFF)
		return false;
	if (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP)
		port = 0;
	return is_resolver(egress, to, port) || is_in_rules(egress, to, port) || is_learned(egress, to, port, now_ns);
}

/* DNS answers. Any bytes: every read is bounded by count, and every loop by something that is used up. */

struct message {
	const uint8_t *bytes;
	size_t count, at;
	bool bad;
};

static unsigned take8(struct message *message)
{
	if (message->at >= message->count) {
		message->bad = true;
		return 0;
	}
	return message->bytes[message->at++];
}

static unsigned take16(struct message *message)
{
	unsigned high = take8(message);

	return high << 8 | take8(message);
}

static uint32_t take32(struct message *message)
{
	uint32_t high = take16(message);

	return high << 16 | take16(message);
}

/*
 * A name at message->at, which moves behind it. Pointers lead backwards only, as RFC 1035 has it, and few suffice. A
 * name that is no host name comes out as "", which is no name of anybody.
 */
static void take_name(struct message *message, char name[NETRULE_NAME_BYTES])
{
	char text[NETRULE_NAME_BYTES + 1];
	size_t used = 0, behind = 0, start = message->at;
	unsigned pointers = 0, length;

	name[0] = '\0';
	while ((length = take8(message)) && !message->bad) {
		if (length >= 0xc0) {
			size_t to = (length & 0x3f) << 8 | take8(message);

			if (message->bad || to >= start || pointers == DNS_POINTERS_MAX) {
				message->bad = true;
				return;
			}
			if (pointers++ == 0)
				behind = message->at;
			message->at = start = to;
			continue;
		}
		if (length > 63 || message->at + length > message->count || used + length + 1 > sizeof(text)) {
			message->bad = true;
			return;
		}
		memcpy(text + used, message->bytes + message->at, length);
		/* A dot inside a label would make another name of it. */
		if (memchr(text + used, '.', length))
			text[used] = '\0';
		used += length;
		text[used++] = '.';
		message->at += length;
	}
	if (pointers)
		message->at = behind;
	if (!message->bad && !netrule_name(text, used, name))
		name[0] = '\0';
}

/* The question's name and what it is an alias of. */
struct aliases {
	char names[EGRESS_ALIASES_MAX][NETRULE_NAME_BYTES];
	unsigned count;
};

static bool aliases_have(const struct aliases *aliases, const char *name)
{
	for (unsigned i = 0; i < aliases->count; i++)
		if (!strcmp(aliases->names[i], name))
			return true;
	return false;
}

/* Opens an address for every rule that has the name in question. */
static void open_address(struct egress *egress, const char *question, const struct netaddr *addr, uint32_t ttl_s,
			 uint64_t now_ns)
{
	for (size_t i = 0; i < egress->rule_count; i++)
		if (netrule_has_name(&egress->rules[i], question))
			learn(egress, addr, egress->rules[i].port, ttl_s, now_ns);
}

static void take_record(struct egress *egress, struct message *message, struct aliases *aliases, uint64_t now_ns)
{
	char owner[NETRULE_NAME_BYTES];
	unsigned type, class, bytes;
	struct netaddr addr;
	uint32_t ttl_s;
	size_t data;

	take_name(message, owner);
	type = take16(message);
	class = take16(message);
	ttl_s = take32(message);
	bytes = take16(message);
	data = message->at;
	if (message->bad || bytes > message->count - data) {
		message->bad = true;
		return;
	}
	if (class == CLASS_IN && *owner && aliases_have(aliases, owner)) {
		if (type == TYPE_CNAME && aliases->count < EGRESS_ALIASES_MAX) {
			take_name(message, aliases->names[aliases->count]);
			aliases->count += !message->bad && *aliases->names[aliases->count];
		} else if ((type == TYPE_A && bytes == 4) || (type == TYPE_AAAA && bytes == 16)) {
			addr = netaddr_of(message->bytes + data, type == TYPE_AAAA);
			/* the top bit makes it negative, which is none (RFC 2181, section 8) */
			open_address(egress, aliases->names[0], &addr, ttl_s >> 31 ? 0 : ttl_s, now_ns);
		}
	}
	message->at = data + bytes;
}

static bool is_allowed_name(const struct egress *egress, const char *name)
{
	for (size_t i = 0; i < egress->rule_count; i++)
		if (netrule_has_name(&egress->rules[i], name))
			return true;
	return false;
}

void egress_dns_answer(struct egress *egress, const uint8_t *bytes, size_t count, uint64_t now_ns)
{
	struct message message = { .bytes = bytes, .count = count };
	struct aliases aliases = { .count = 1 };
	unsigned flags, questions, answers;

	if (egress->mode != EGRESS_ALLOW || count < DNS_HEADER_BYTES)
		return;
	take16(&message); /* the guest's own number */
	flags = take16(&message);
	questions = take16(&message);
	answers = take16(&message);
	if (!(flags & DNS_ANSWER) || flags & DNS_OPCODE_AND_CODE || questions != 1)
		return;
	message.at = DNS_HEADER_BYTES;
	take_name(&message, aliases.names[0]);
	take32(&message); /* type and class */
	if (message.bad || !is_allowed_name(egress, aliases.names[0]))
		return;
	for (unsigned i = 0; i < MIN(answers, (unsigned)EGRESS_RECORDS_MAX) && !message.bad; i++)
		take_record(egress, &message, &aliases, now_ns);
}

void egress_received(struct egress *egress, const struct netaddr *from, uint16_t port, uint16_t own_port,
		     bool solicited, const void *bytes, size_t count, uint64_t now_ns)
{
	if (egress->mode == EGRESS_OPEN)
		return;
	if (own_port)
		peer_note(egress, from, port, own_port, now_ns);
	else if (solicited && is_resolver(egress, from, port))
		egress_dns_answer(egress, bytes, count, now_ns);
}
