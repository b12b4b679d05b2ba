/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net: virtio network card (virtio 1.2, section 5.1): one receive and one transmit queue. Frames go to and come from
 * a backend it knows only by the calls below.
 */
#ifndef DEVICES_NET_H
#define DEVICES_NET_H

#include "devices/virtio.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct net;

struct net_backend {
	/* A whole Ethernet frame from the guest, without virtio header; must be used before returning. Never blocks. */
	void (*transmit)(void *ctx, const struct iovec *frame, unsigned count, size_t bytes);
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
 * Hands a frame to the guest: true when it was taken (or dropped because it can never fit), false when the guest has
 * no room now or no driver is up: receive_ready() follows when that changes.
 */
bool net_receive(struct net *net, const void *frame, size_t bytes);

#endif
