// SPDX-License-Identifier: Apache-2.0
/*
 * frame: see frame.h. The sum is made of 32-bit words in a 64-bit accumulator: the order of bytes does not matter to a
 * one's complement sum as long as it is the same throughout, and no frame is long enough to overflow it.
 */
#include "devices/frame.h"

#include <net/ethernet.h>
#include <netinet/in.h>
#include <string.h>

enum {
	TYPE_AT = 12,
	IP4_BYTES_MIN = 20,
	IP6_BYTES = 40,
	TCP_SUM_AT = 16,
	TCP_BYTES_MIN = 20,
	UDP_SUM_AT = 6,
	UDP_BYTES = 8,
};

static unsigned get16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

/* Both headers are there up to the end of their fixed part. */
static bool transport_find(uint8_t protocol, size_t start, size_t bytes, struct frame_sum *sum)
{
	if (protocol == IPPROTO_TCP && bytes >= start + TCP_BYTES_MIN)
		*sum = (struct frame_sum){ .start = (uint16_t)start, .offset = TCP_SUM_AT };
	else if (protocol == IPPROTO_UDP && bytes >= start + UDP_BYTES)
		*sum = (struct frame_sum){ .start = (uint16_t)start, .offset = UDP_SUM_AT };
	else
		return false;
	return true;
}

static bool ip4_find(const uint8_t *frame, size_t bytes, struct frame_sum *sum)
{
	const uint8_t *ip = frame + FRAME_HEADER_BYTES;
	size_t head;

	if (bytes < FRAME_HEADER_BYTES + IP4_BYTES_MIN || ip[0] >> 4 != 4)
		return false;
	head = (size_t)(ip[0] & 15) * 4;
	if (head < IP4_BYTES_MIN || (get16(ip + 6) & 0x3fff)) /* more to come, or not the first */
		return false;
	return transport_find(ip[9], FRAME_HEADER_BYTES + head, bytes, sum);
}

static bool ip6_find(const uint8_t *frame, size_t bytes, struct frame_sum *sum)
{
	const uint8_t *ip = frame + FRAME_HEADER_BYTES;

	if (bytes < FRAME_HEADER_BYTES + IP6_BYTES || ip[0] >> 4 != 6)
		return false;
	return transport_find(ip[6], FRAME_HEADER_BYTES + IP6_BYTES, bytes, sum);
}

bool frame_sum_find(const uint8_t *frame, size_t bytes, struct frame_sum *sum)
{
	if (bytes < FRAME_HEADER_BYTES)
		return false;
	switch (get16(frame + TYPE_AT)) {
	case ETHERTYPE_IP:
		return ip4_find(frame, bytes, sum);
	case ETHERTYPE_IPV6:
		return ip6_find(frame, bytes, sum);
	}
	return false;
}

bool frame_sum_fits(const struct frame_sum *sum, size_t bytes)
{
	return (size_t)sum->start + sum->offset + sizeof(uint16_t) <= bytes;
}

static uint64_t words_add(const uint8_t *at, size_t bytes)
{
	uint64_t total = 0;
	uint32_t word = 0;

	for (; bytes >= sizeof(word); at += sizeof(word), bytes -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		total += word;
	}
	word = 0;
	memcpy(&word, at, bytes); /* the rest, zeros behind it */
	return total + word;
}

uint16_t frame_sum_make(const uint8_t *frame, size_t bytes, const struct frame_sum *sum)
{
	uint64_t total = words_add(frame + sum->start, bytes - sum->start);

	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return total == 0xffff ? 0xffff : (uint16_t)~total;
}

void frame_sum_complete(uint8_t *frame, size_t bytes, const struct frame_sum *sum)
{
	uint16_t made = frame_sum_make(frame, bytes, sum);

	memcpy(frame + sum->start + sum->offset, &made, sizeof(made));
}
