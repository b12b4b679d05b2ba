/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net: virtio network card (virtio 1.2, section 5.1): one receive and one transmit queue. Frames go to and come from
 * a backend it knows only by the calls below.
 */
#ifndef DEVICES_NET_H
#define DEVICES_NET_H

#include "devices/frame.h"
#include "devices/virtio.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct net;
struct pcap;

struct net_backend {
	/*
	 * A whole Ethernet frame from the guest, without virtio header; must be used before returning. Never blocks.
	 * sum: the guest left this checksum to be completed; it fits the frame, no more is known of it. NULL: none.
	 */
	void (*transmit)(void *ctx, const struct iovec *frame, unsigned count, size_t bytes,
			 const struct frame_sum *sum);
	/* The guest made room after net_receive() had said no. */
	void (*receive_ready)(void *ctx);
	void *ctx;
};

enum { NET_FRAME_BYTES_MAX = 65536 + 64 };

/* mac: 6 bytes; mtu offered to the guest (VIRTIO_NET_F_MTU). The backend may be set later but before the guest runs. */
struct net *net_new(const struct virtio_env *env, const uint8_t mac[6], uint16_t mtu);
void net_free(struct net *net);
struct virtio_dev *net_dev(struct net *net);
void net_backend_set(struct net *net, const struct net_backend *backend);

/*
 * Hands a frame to the guest: true when it was taken (or dropped because it can never fit or the link is down), false
 * when the guest has no room now, no driver is up or the limit is reached: receive_ready() follows when that changes.
 * sum: a checksum that is left to the guest, and completed here when its driver can not; NULL: none.
 */
bool net_receive(struct net *net, const void *frame, size_t bytes, const struct frame_sum *sum);

/* The cable: unplugged, frames are dropped both ways, and the driver is told. Plugged in after net_new(). */
void net_link_set(struct net *net, bool up);

/* Limits per second, each way; 0: none. Frames wait where they are, none is dropped. */
struct net_rate {
	uint64_t receive_bytes, receive_frames;	  /* to the guest */
	uint64_t transmit_bytes, transmit_frames; /* from it */
};
void net_rate_set(struct net *net, const struct net_rate *rate);

/* All frames that pass go there as well; NULL ends it. pcap stays the caller's. */
void net_capture(struct net *net, struct pcap *pcap);

/*
 * See virtio_save() and virtio_load(). Frames wait in the guest's ring or with the backend, never here. The driver has
 * read mac and mtu, so they come along; limits and capture do not.
 */
struct net_state {
	struct virtio_state virtio;
	uint8_t mac[6];
	uint16_t mtu;
	uint32_t link_up; /* 0 or 1 */
};
void net_save(const struct net *net, struct net_state *state);
int net_load(struct net *net, const struct net_state *state);

#endif
