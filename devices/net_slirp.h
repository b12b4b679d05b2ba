/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_slirp: the user-mode network behind devices/net: libslirp inside the event loop. No privileges needed.
 *
 * Where the config says nothing else: guest 10.0.2.15/24, and an address of fd00::/64 by router advertisement; gateway 10.0.2.2 and fd00::2, DNS 10.0.2.3
 * and, where the host has an IPv6 resolver, fd00::3.
 */
#ifndef DEVICES_NET_SLIRP_H
#define DEVICES_NET_SLIRP_H

#include "devices/egress.h"
#include "devices/net.h"
#include "lib/netrule.h"
#include "vm/loop.h"

#include <stdbool.h>
#include <stdint.h>

struct net_slirp;

struct net_slirp_config {
	const char *hostname;	/* may be NULL */
	const uint8_t *mac;	/* the guest's, 6 bytes: its IPv6 address follows from it */
	struct egress *egress;	/* asked for all the guest sends; stays the caller's. NULL: everything is open */
	/* Who may reach published ports; copied, addresses and networks alone. client_count 0: everyone. */
	const struct netrule *clients;
	size_t client_count;
	/* IPv4 in the host's byte order, all of one network; prefix_bits 0: those of pod/abi.h */
	uint32_t guest, gateway, dns;
	unsigned prefix_bits;
	uint16_t mtu;
	bool host_loopback; /* the guest may reach the host's 127.0.0.1 as 10.0.2.2 */
};

/* Becomes the loop's poller and net's backend. NULL when libslirp refuses (bad config). Free it before net. */
struct net_slirp *net_slirp_new(struct loop *loop, struct net *net, const struct net_slirp_config *config);
void net_slirp_free(struct net_slirp *slirp);

/*
 * Publishes a guest port at addr:host_port. host_port 0 picks a free one. Returns the host port or -errno
 * (-EADDRINUSE: taken). At an IPv6 address it leads to the guest's IPv6 address, and IPv4 clients are not taken.
 */
int net_slirp_publish(struct net_slirp *slirp, bool udp, const struct netaddr *addr, uint16_t host_port,
		      uint16_t guest_port);
int net_slirp_unpublish(struct net_slirp *slirp, bool udp, const struct netaddr *addr, uint16_t host_port);

#endif
