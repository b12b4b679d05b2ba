/* SPDX-License-Identifier: Apache-2.0 */
/*
 * egress: which destinations a guest may send to. Decides and remembers; it has no socket and sees no frame. Who
 * carries the guest's packets asks egress_allows() for each connection and datagram, and tells of datagrams that come
 * in. Times are CLOCK_MONOTONIC and never run backwards.
 */
#ifndef DEVICES_EGRESS_H
#define DEVICES_EGRESS_H

#include "lib/netrule.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum egress_mode {
	EGRESS_OPEN,  /* everything */
	EGRESS_OFF,   /* answers to who wrote to a published port */
	EGRESS_ALLOW, /* that, DNS, and what the rules name */
};

enum {
	EGRESS_LEARNED_MAX = 1024, /* addresses opened by name */
	EGRESS_PEERS_MAX = 256,	   /* who may be answered from published UDP ports */
	EGRESS_RESOLVERS_MAX = 72,
	EGRESS_RECORDS_MAX = 256,  /* of one DNS answer that are looked at */
	EGRESS_ALIASES_MAX = 16,   /* in a chain of CNAMEs */
	EGRESS_TTL_S_MIN = 300,	   /* programs look up once and connect a while later */
	EGRESS_TTL_S_MAX = 86400,
	EGRESS_PEER_S = 240,	   /* as long as a UDP port without traffic lives */
};

struct egress;

/* rules are copied. */
struct egress *egress_new(enum egress_mode mode, const struct netrule *rules, size_t count);
void egress_free(struct egress *egress);

/* With EGRESS_ALLOW port 53 of this address is open and its answers are learned from. Beyond the most: ignored. */
void egress_resolver_add(struct egress *egress, const struct netaddr *addr);

/*
 * May the guest send there? protocol is IPPROTO_TCP or IPPROTO_UDP; anything else has no ports, so only rules without
 * one count. own_port: the guest's own port when that is a published one of UDP, else 0.
 */
bool egress_allows(struct egress *egress, int protocol, const struct netaddr *to, uint16_t port, uint16_t own_port,
		   uint64_t now_ns);

/*
 * A UDP datagram is about to be given to the guest. own_port as above. solicited: it comes from the very address and
 * port the guest last wrote to from there.
 */
void egress_received(struct egress *egress, const struct netaddr *from, uint16_t port, uint16_t own_port,
		     bool solicited, const void *bytes, size_t count, uint64_t now_ns);

/*
 * A DNS message (RFC 1035) from a resolver: when its question is an allowed name, the addresses of the answer open for
 * as long as they live. Any bytes.
 */
void egress_dns_answer(struct egress *egress, const uint8_t *bytes, size_t count, uint64_t now_ns);

/* How many addresses are open by name. */
unsigned egress_learned(const struct egress *egress, uint64_t now_ns);

#endif
