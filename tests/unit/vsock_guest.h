/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_guest: the guest's end of devices/vsock for unit tests: sends packets through the TX ring and takes those of
 * the RX ring, over tests/unit/ring.h. Says nothing by itself: credit and answers are the test's to give.
 */
#ifndef TESTS_UNIT_VSOCK_GUEST_H
#define TESTS_UNIT_VSOCK_GUEST_H

#include "devices/vsock.h"
#include "tests/unit/ring.h"

#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	GUEST_RX_BYTES = 4096,	      /* each receive buffer, as the Linux driver has them */
	GUEST_RX_COUNT = 64,	      /* buffers posted */
	GUEST_BUFFER_BYTES = 1 << 20, /* credit given with every packet unless changed */
};

struct guest {
	struct rig rig;
	struct vsock *vsock;
	uint32_t buf_alloc, fwd_cnt; /* what packets of guest_send() say */
	uint64_t tx_gpa;
	/* the packet guest_take() took */
	struct virtio_vsock_hdr hdr;
	uint8_t payload[GUEST_RX_BYTES];
	/* what guest_pump() gathered: bytes of all RW packets, and how many there were of each op */
	uint8_t *stream;
	size_t stream_bytes;
	unsigned ops[8];
};

/* A running device with receive buffers posted, or without. */
void guest_init(struct guest *guest, bool post);
/* After whatever uses guest->vsock was freed. */
void guest_fini(struct guest *guest);

/* Posts count receive buffers and kicks. */
void guest_post(struct guest *guest, unsigned count);

/* Sends a packet from guest_port to host_port; the device acts on it before this returns. */
void guest_send(struct guest *guest, uint16_t op, uint32_t guest_port, uint32_t host_port, uint32_t flags,
		const void *data, size_t bytes);
/* The same from a header of the test's making; kicks if told to. */
void guest_send_raw(struct guest *guest, const struct virtio_vsock_hdr *hdr, const void *data, size_t bytes);
/* A header as guest_send() makes it. */
struct virtio_vsock_hdr guest_header(const struct guest *guest, uint16_t op, uint32_t guest_port, uint32_t host_port,
				     size_t bytes);

/* Lets the loop turn, takes the next packet into hdr and payload and posts its buffer again. False: none. */
bool guest_take(struct guest *guest);
/* Takes a packet and says whether it is this one: from host_port to guest_port. */
bool guest_expect(struct guest *guest, uint16_t op, uint32_t guest_port, uint32_t host_port);
/* Takes all packets; bytes of data go to stream and, if consume, into fwd_cnt. */
void guest_pump(struct guest *guest, bool consume);
/* REQUEST, and the answer is RESPONSE. */
bool guest_connect(struct guest *guest, uint32_t guest_port, uint32_t host_port);

#endif
