/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_net: what a hostile guest can send by its network card: chains of any shape into net's queues and frames of any
 * content into libslirp.
 *
 * An input is a list of records: one byte what to do, two bytes length (little-endian), that many bytes. Checksums of
 * IPv4, TCP, UDP and ICMP are put right where a record asks for it, as libslirp stops at the first wrong one.
 *
 * RESTART has bytes of its own, each may be missing: features to accept (1 MRG_RXBUF, 2 CSUM, 4 GUEST_CSUM, 8 EVENT_IDX; 128: no
 * restart), 1 pulls the cable and 2 sets limits, and two for the size of a frame that comes in. The first byte of an input
 * opens the host's loopback (128) and sets an egress policy (64).
 *
 * Frames make libslirp open real sockets, so the process first goes into a network of its own with nothing in it but
 * loopback. Where the machine refuses that, frames end at the card and a line says so.
 */
#include "devices/net_slirp.h"
#include "lib/util.h"
#include "tests/fuzz/input.h"
#include "tests/unit/ring.h"

#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	HEADER = 12,
	RECORDS_MAX = 64,
	PIECES_MAX = 64,
};

enum what {
	SEND_FRAME,	 /* one buffer: virtio header of zeros, then the bytes */
	SEND_SUMMED,	 /* the same with checksums put right */
	SEND_IN_PIECES,	 /* first byte: size of a piece; header is part of the bytes */
	SEND_INDIRECT,	 /* the same by an indirect descriptor */
	POST_BUFFER,	 /* first two bytes: how large */
	TURN,		 /* the loop has a turn */
	RAW_DESCRIPTORS, /* bytes become the start of tx's table; head 0 is offered */
	RAW_RECEIVE,	 /* the same for rx */
	RESTART,	 /* reset and bring-up */
	KINDS,
};

static struct rig rig;
static struct net *net;
static bool isolated;
static unsigned spent; /* descriptors since the rings were fresh */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	isolated = !unshare(CLONE_NEWUSER | CLONE_NEWNET) || !unshare(CLONE_NEWNET);
	if (!isolated)
		fprintf(stderr, "fuzz_net: no network namespace to be had: frames end at the card\n");
	rig_init(&rig);
	return 0;
}

static uint32_t sum16(const uint8_t *at, size_t bytes, uint32_t sum)
{
	for (size_t i = 0; i + 1 < bytes; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	return bytes % 2 ? sum + ((uint32_t)at[bytes - 1] << 8) : sum;
}

static void put_sum(uint8_t *at, uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	at[0] = (uint8_t)(~sum >> 8);
	at[1] = (uint8_t)~sum;
}

/* Where the checksum of a protocol lies in its header; 0: no such protocol here. */
static size_t sum_at(uint8_t protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return 16;
	case IPPROTO_UDP:
		return 6;
	case IPPROTO_ICMP:
		return 2;
	}
	return 0;
}

static void put_sums_right(uint8_t *frame, size_t bytes)
{
	uint8_t *ip = frame + 14, *payload;
	size_t head, total, at;
	uint32_t sum = 0;

	if (bytes < 34 || frame[12] != 8 || frame[13] != 0)
		return;
	head = (size_t)(ip[0] & 15) * 4;
	total = (size_t)ip[2] << 8 | ip[3];
	if (head < 20 || total > bytes - 14 || head > total)
		return;
	ip[10] = ip[11] = 0;
	put_sum(ip + 10, sum16(ip, head, 0));
	at = sum_at(ip[9]);
	payload = ip + head;
	if (!at || total - head < at + 2)
		return;
	payload[at] = payload[at + 1] = 0;
	if (ip[9] != IPPROTO_ICMP)
		sum = sum16(ip + 12, 8, ip[9] + (uint32_t)(total - head));
	put_sum(payload + at, sum16(payload, total - head, sum));
}

static void send_frame(const uint8_t *frame, size_t bytes, bool summed)
{
	uint8_t *with_header = xcalloc(1, HEADER + bytes);

	memcpy(with_header + HEADER, frame, bytes);
	if (summed)
		put_sums_right(with_header + HEADER, bytes);
	ring_send(&rig.rings[1], with_header, HEADER + bytes);
	free(with_header);
}

static void send_in_pieces(const uint8_t *bytes, size_t count, bool indirect)
{
	struct ring_buf bufs[PIECES_MAX];
	unsigned pieces = 0;
	uint64_t gpa;
	size_t step;

	if (count < 2)
		return;
	step = bytes[0] ? bytes[0] : 1;
	bytes++, count--;
	gpa = rig_alloc(&rig, count);
	memcpy(rig_at(&rig, gpa), bytes, count);
	for (size_t at = 0; at < count && pieces < PIECES_MAX; at += step)
		bufs[pieces++] = (struct ring_buf){ gpa + at, (uint32_t)MIN(step, count - at) };
	if (indirect)
		ring_add_indirect(&rig.rings[1], bufs, pieces, NULL, 0);
	else
		ring_add(&rig.rings[1], bufs, pieces, NULL, 0);
	ring_kick(&rig.rings[1]);
}

static void write_descriptors(struct ring *ring, const uint8_t *bytes, size_t count)
{
	memcpy(ring_desc(ring, 0), bytes, MIN(count, RING_NUM * sizeof(struct ring_desc)));
	ring_offer(ring, 0);
	ring_kick(ring);
}

static uint64_t features;

static void start(void)
{
	spent = 0;
	rig_start(&rig, net_dev(net), features | RIG_F_INDIRECT_DESC);
}

static void receive(size_t bytes)
{
	static uint8_t frame[NET_FRAME_BYTES_MAX];
	struct frame_sum sum;

	bytes = MIN(bytes, sizeof(frame));
	memcpy(frame + 12, "\x08\x00\x45", 3);
	frame[23] = IPPROTO_TCP;
	net_receive(net, frame, bytes, frame_sum_find(frame, bytes, &sum) ? &sum : NULL);
}

static void restart(const uint8_t *bytes, size_t count)
{
	static const struct net_rate slow = { 10000, 100, 10000, 100 }, none = { 0, 0, 0, 0 };
	uint8_t wish = count > 0 ? bytes[0] : 0;

	features = (wish & 1 ? UINT64_C(1) << 15 : 0) | (wish & 2 ? 1 : 0) | (wish & 4 ? 2 : 0) |
		   (wish & 8 ? RIG_F_EVENT_IDX : 0);
	net_link_set(net, !(count > 1 && bytes[1] & 1));
	net_rate_set(net, count > 1 && bytes[1] & 2 ? &slow : &none);
	if (!(wish & 128))
		start();
	if (count > 3)
		receive(bytes[2] | (size_t)bytes[3] << 8);
}

static void act(enum what what, const uint8_t *bytes, size_t count)
{
	switch (what) {
	case SEND_FRAME:
	case SEND_SUMMED:
		if (count)
			send_frame(bytes, count, what == SEND_SUMMED);
		break;
	case SEND_IN_PIECES:
	case SEND_INDIRECT:
		send_in_pieces(bytes, count, what == SEND_INDIRECT);
		break;
	case POST_BUFFER:
		if (count >= 2)
			ring_post(&rig.rings[0], 1u + bytes[0] + 256u * bytes[1]);
		break;
	case TURN:
		rig_turn(&rig);
		break;
	case RAW_DESCRIPTORS:
		write_descriptors(&rig.rings[1], bytes, count);
		break;
	case RAW_RECEIVE:
		write_descriptors(&rig.rings[0], bytes, count);
		break;
	case RESTART:
	case KINDS:
		restart(bytes, count);
		break;
	}
}

static void play(const uint8_t *data, size_t bytes)
{
	struct input in = { data, bytes };

	for (unsigned i = 0; i < RECORDS_MAX && in.bytes >= INPUT_RECORD_HEAD; i++) {
		size_t count;
		enum what what = input_byte(&in) % KINDS;
		const uint8_t *record = input_record(&in, &count);

		act(what, record, count);
		/* Chains are not taken back: a receive buffer may lie on the used ring and fill it with nonsense. */
		spent += what == SEND_IN_PIECES ? PIECES_MAX : 1;
		if (spent > RING_NUM - PIECES_MAX || rig_read(&rig, RIG_REG_STATUS) & RIG_NEEDS_RESET)
			start();
	}
	rig_turn(&rig);
}

static struct egress *policy(void)
{
	static const char *const words[] = { "10.0.2.2", "*.example.org", "[2001:db8::/32]:80" };
	struct netrule rules[ARRAY_SIZE(words)];

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (!netrule_parse(words[i], &rules[i]))
			abort();
	return egress_new(EGRESS_ALLOW, rules, ARRAY_SIZE(words));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static const uint8_t mac[6] = { 0x02, 0, 0, 0x11, 0x22, 0x33 };
	struct egress *egress = bytes && data[0] & 0x40 ? policy() : NULL;
	const struct net_slirp_config config = { .hostname = "pod", .mac = mac, .mtu = 1500, .egress = egress,
						 .host_loopback = bytes && data[0] & 0x80 };
	struct net_slirp *slirp = NULL;

	rig_alloc_reset(&rig);
	net = net_new(&rig.env, mac, 1500);
	if (isolated)
		slirp = net_slirp_new(rig.loop, net, &config);
	if (isolated && !slirp)
		abort();
	features = 0;
	start();
	play(data, bytes);
	net_slirp_free(slirp);
	net_free(net);
	egress_free(egress);
	return 0;
}
