/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame: Internet checksums (RFC 1071) in Ethernet frames: where the one of TCP or UDP lies, and making it. Pure
 * functions on bytes that nobody else changes meanwhile; any content.
 */
#ifndef DEVICES_FRAME_H
#define DEVICES_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAME_HEADER_BYTES = 14 };

/*
 * A checksum left for another to complete: the 16 bits at start + offset hold the sum of the pseudo header,
 * uncomplemented, and what is to be summed goes from start to the end of the frame (virtio 1.2, 5.1.6.2).
 */
struct frame_sum {
	uint16_t start, offset;
};

/*
 * True when the frame is a whole TCP or UDP packet in IPv4 or IPv6 and no fragment, with the place of its checksum.
 * IPv6 extension headers are not looked behind: false.
 */
bool frame_sum_find(const uint8_t *frame, size_t bytes, struct frame_sum *sum);

/* True when a sum lies inside a frame of so many bytes. Ask before the two below. */
bool frame_sum_fits(const struct frame_sum *sum, size_t bytes);

/* The checksum as it belongs into the frame (network order, in memory as it stands there); never 0, as UDP wants it. */
uint16_t frame_sum_make(const uint8_t *frame, size_t bytes, const struct frame_sum *sum);
/* Makes it and puts it in its place. */
void frame_sum_complete(uint8_t *frame, size_t bytes, const struct frame_sum *sum);

#endif
