/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_net: devices/net.c from the driver's side, against a backend that keeps what it is given.
 */
#include "devices/net.h"

#include "lib/util.h"
#include "tests/unit/ring.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>

enum { F_CSUM = 1 << 0, F_GUEST_CSUM = 1 << 1, F_MRG_RXBUF = 1 << 15 };
enum { HEADER = 12, F_MTU = 1 << 3, F_MAC = 1 << 5, F_STATUS = 1 << 16, F_ALL = F_MTU | F_MAC | F_STATUS };
enum { NEEDS_CSUM = 1, CSUM_START_AT = 6, CSUM_OFFSET_AT = 8 };
enum { GSO_TYPE_AT = 1, NUM_BUFFERS_AT = 10, GSO_TCPV4 = 1 };

static const uint8_t mac[6] = { 0x02, 0, 0, 0x11, 0x22, 0x33 };

static struct rig rig;
static struct net *net;
static struct ring *rx = &rig.rings[0], *tx = &rig.rings[1];

/* The backend: counts frames, keeps the last one. */
static struct {
	unsigned frames, ready_calls;
	size_t bytes;
	unsigned pieces;
	uint8_t last[NET_FRAME_BYTES_MAX];
	bool echo, refill, has_sum;
	struct frame_sum sum;
} wire;

static void wire_transmit(void *ctx, const struct iovec *frame, unsigned count, size_t bytes, const struct frame_sum *sum)
{
	size_t at = 0;

	(void)ctx;
	wire.frames++;
	wire.has_sum = sum != NULL;
	if (sum)
		wire.sum = *sum;
	wire.pieces = count;
	for (unsigned i = 0; i < count && at + frame[i].iov_len <= sizeof(wire.last); i++) {
		memcpy(wire.last + at, frame[i].iov_base, frame[i].iov_len);
		at += frame[i].iov_len;
	}
	wire.bytes = at;
	CHECK_INT(at, bytes);
	if (wire.echo)
		net_receive(net, wire.last, wire.bytes, NULL);
	if (wire.refill) /* a driver on another vCPU that never lets the ring run dry */
		ring_offer(tx, 0);
}

static void wire_ready(void *ctx)
{
	(void)ctx;
	wire.ready_calls++;
}

static void begin(uint64_t features)
{
	const struct net_backend backend = { .transmit = wire_transmit, .receive_ready = wire_ready };

	memset(&wire, 0, sizeof(wire));
	rig_init(&rig);
	net = net_new(&rig.env, mac, 1500);
	net_backend_set(net, &backend);
	CHECK(rig_start(&rig, net_dev(net), features));
}

static void end(void)
{
	net_free(net);
	rig_fini(&rig);
}

static void fill_pattern(uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
}

static bool is_broken(void)
{
	return rig_read(&rig, RIG_REG_STATUS) & RIG_NEEDS_RESET;
}

TEST(identity)
{
	begin(F_ALL);
	CHECK_INT(rig_read(&rig, RIG_REG_DEVICE_ID), 1);
	CHECK_INT(rig_features(&rig) & F_ALL, F_ALL);
	for (unsigned i = 0; i < sizeof(mac); i++)
		CHECK_INT(virtio_mmio_ops.read(rig.dev, RIG_REG_CONFIG + i, 1), mac[i]);
	CHECK_INT(virtio_mmio_ops.read(rig.dev, RIG_REG_CONFIG + 6, 2), 1);
	CHECK_INT(virtio_mmio_ops.read(rig.dev, RIG_REG_CONFIG + 10, 2), 1500);
	end();
}

TEST(frame_goes_out_without_its_header)
{
	uint8_t bytes[HEADER + 100] = { 0 };

	begin(F_ALL);
	fill_pattern(bytes + HEADER, 100);
	ring_send(tx, bytes, sizeof(bytes));
	CHECK_INT(wire.frames, 1);
	CHECK_INT(wire.bytes, 100);
	CHECK_MEM(wire.last, bytes + HEADER, 100);
	CHECK_INT(ring_take(tx, NULL, 0), 0);
	CHECK_INT(rig.irqs, 0); /* that it was sent is told when something else is, */
	rig_run_ms(&rig, 20);
	CHECK_INT(rig.irqs, 1); /* or soon */
	end();
}

TEST(sent_frames_are_told_by_the_quarter)
{
	uint8_t bytes[HEADER + 64] = { 0 };

	begin(F_ALL);
	for (unsigned i = 0; i < RING_NUM / 4; i++) {
		CHECK_INT(rig.irqs, 0);
		ring_send(tx, bytes, sizeof(bytes));
	}
	CHECK_INT(rig.irqs, 1);
	rig_run_ms(&rig, 5);
	CHECK_INT(rig.irqs, 1);
	/* a reset forgets it */
	ring_send(tx, bytes, sizeof(bytes));
	rig_write(&rig, RIG_REG_STATUS, 0);
	rig_run_ms(&rig, 5);
	CHECK_INT(rig.irqs, 1);
	end();
}

TEST(frame_comes_in_behind_a_plain_header)
{
	uint8_t frame[200], got[400];

	begin(F_ALL);
	fill_pattern(frame, sizeof(frame));
	ring_post(rx, 1600);
	CHECK(net_receive(net, frame, sizeof(frame), NULL));
	CHECK(net_receive(net, frame, 13, NULL)); /* no frame at all: dropped, the guest is not bothered */
	rig_turn(&rig);
	CHECK_INT(ring_take(rx, got, sizeof(got)), HEADER + sizeof(frame));
	for (unsigned i = 0; i < HEADER; i++)
		CHECK_INT(got[i], i == NUM_BUFFERS_AT);
	CHECK_MEM(got + HEADER, frame, sizeof(frame));
	CHECK_INT(rig.irqs, 1);
	end();
}

TEST(no_room_then_room)
{
	uint8_t frame[64] = { 0 };

	begin(F_ALL);
	CHECK(!net_receive(net, frame, sizeof(frame), NULL));
	CHECK_INT(wire.ready_calls, 0);
	ring_post(rx, 1600);
	CHECK_INT(wire.ready_calls, 1);
	CHECK(net_receive(net, frame, sizeof(frame), NULL));
	ring_post(rx, 1600);
	ring_post(rx, 1600);
	CHECK_INT(wire.ready_calls, 1); /* nobody waits: no news */
	end();
}

TEST(refused_before_the_driver_is_up_is_told_at_start)
{
	const struct net_backend backend = { .receive_ready = wire_ready };
	uint8_t frame[64] = { 0 };

	begin(F_ALL);
	net_backend_set(net, &backend);
	rig_reset(&rig);
	CHECK(!net_receive(net, frame, sizeof(frame), NULL));
	CHECK(rig_start(&rig, net_dev(net), F_ALL));
	CHECK_INT(wire.ready_calls, 0);
	ring_post(rx, 1600);
	CHECK_INT(wire.ready_calls, 1);
	end();
}

TEST(burst_in_is_one_interrupt)
{
	uint8_t frame[64] = { 0 };

	begin(F_ALL);
	for (unsigned i = 0; i < 20; i++)
		ring_post(rx, 1600);
	for (unsigned i = 0; i < 20; i++)
		CHECK(net_receive(net, frame, sizeof(frame), NULL));
	CHECK_INT(rig.irqs, 0);
	rig_turn(&rig);
	CHECK_INT(rig.irqs, 1);
	CHECK_INT(ring_takeable(rx), 20);
	end();
}

TEST(event_idx_works_the_same)
{
	uint8_t frame[HEADER + 64] = { 0 };

	begin(F_ALL | RIG_F_EVENT_IDX | RIG_F_INDIRECT_DESC);
	for (unsigned i = 0; i < 3 * RING_NUM; i++) {
		rig_alloc_reset(&rig);
		ring_post(rx, 1600);
		ring_send(tx, frame, sizeof(frame));
		CHECK(net_receive(net, frame, 64, NULL));
		rig_turn(&rig);
		CHECK_INT(ring_take(tx, NULL, 0), 0);
		CHECK_INT(ring_take(rx, NULL, 0), HEADER + 64);
	}
	CHECK_INT(wire.frames, 3 * RING_NUM);
	CHECK_INT(rig.irqs, 3 * RING_NUM); /* one for both directions */
	end();
}

TEST(answer_from_inside_transmit)
{
	uint8_t bytes[HEADER + 60] = { 0 }, got[100];

	begin(F_ALL);
	wire.echo = true;
	fill_pattern(bytes + HEADER, 60);
	ring_post(rx, 1600);
	ring_send(tx, bytes, sizeof(bytes));
	CHECK_INT(ring_take(tx, NULL, 0), 0);
	CHECK_INT(ring_take(rx, got, sizeof(got)), HEADER + 60);
	CHECK_MEM(got + HEADER, bytes + HEADER, 60);
	end();
}

TEST(one_byte_buffers)
{
	struct ring_buf bufs[HEADER + 70];
	uint8_t frame[70], got[HEADER + 70];
	uint64_t gpa;

	begin(F_ALL | RIG_F_INDIRECT_DESC);
	fill_pattern(frame, sizeof(frame));
	gpa = rig_alloc(&rig, sizeof(got));
	memcpy((uint8_t *)rig_at(&rig, gpa) + HEADER, frame, sizeof(frame));
	for (unsigned i = 0; i < ARRAY_SIZE(bufs); i++)
		bufs[i] = (struct ring_buf){ gpa + i, 1 };
	ring_add(tx, bufs, ARRAY_SIZE(bufs), NULL, 0);
	ring_add_indirect(tx, bufs, ARRAY_SIZE(bufs), NULL, 0);
	ring_kick(tx);
	CHECK_INT(wire.frames, 2);
	CHECK_INT(wire.pieces, sizeof(frame));
	CHECK_MEM(wire.last, frame, sizeof(frame));

	ring_add_indirect(rx, NULL, 0, bufs, ARRAY_SIZE(bufs));
	ring_kick(rx);
	CHECK(net_receive(net, frame, sizeof(frame), NULL));
	CHECK_INT(ring_take(rx, got, sizeof(got)), sizeof(got));
	CHECK_MEM(got + HEADER, frame, sizeof(frame));
	end();
}

/* Sends count zero bytes with this gso_type in the header and tells how many frames came of it. */
static unsigned frames_of(size_t count, uint8_t gso_type)
{
	uint8_t *bytes = xcalloc(1, count);
	unsigned before = wire.frames;

	if (count > GSO_TYPE_AT)
		bytes[GSO_TYPE_AT] = gso_type;
	ring_send(tx, bytes, count);
	CHECK_INT(ring_take(tx, NULL, 0), 0); /* given back in any case */
	CHECK_INT(ring_take(tx, NULL, 0), -1);
	free(bytes);
	return wire.frames - before;
}

TEST(what_is_no_frame_is_dropped)
{
	begin(F_ALL);
	CHECK_INT(frames_of(1, 0), 0);
	CHECK_INT(frames_of(HEADER - 1, 0), 0);
	CHECK_INT(frames_of(HEADER, 0), 0);
	CHECK_INT(frames_of(HEADER + 13, 0), 0);
	CHECK_INT(frames_of(HEADER + 14, 0), 1);
	CHECK_INT(frames_of(HEADER + 60, GSO_TCPV4), 0);
	CHECK_INT(frames_of(HEADER + NET_FRAME_BYTES_MAX, 0), 1);
	CHECK_INT(frames_of(HEADER + NET_FRAME_BYTES_MAX + 1, 0), 0);
	CHECK(!is_broken());
	end();
}

TEST(giant_chain_and_wrong_direction)
{
	struct ring_buf bufs[64], in;
	uint64_t gpa;

	begin(F_ALL);
	gpa = rig_alloc(&rig, 1 << 20);
	for (unsigned i = 0; i < ARRAY_SIZE(bufs); i++)
		bufs[i] = (struct ring_buf){ gpa, 1 << 20 };
	ring_add(tx, bufs, ARRAY_SIZE(bufs), NULL, 0);
	in = (struct ring_buf){ gpa, 1600 };
	ring_add(tx, NULL, 0, &in, 1);
	ring_kick(tx);
	CHECK_INT(wire.frames, 0);
	CHECK_INT(ring_take(tx, NULL, 0), 0);
	CHECK_INT(ring_take(tx, NULL, 0), 0);

	ring_add(rx, &in, 1, NULL, 0); /* nothing to write to */
	ring_kick(rx);
	CHECK(net_receive(net, wire.last, 64, NULL));
	CHECK_INT(ring_take(rx, NULL, 0), 0);
	CHECK(!is_broken());
	end();
}

TEST(receive_chain_too_small_drops_and_goes_on)
{
	uint8_t frame[100] = { 0 };

	begin(F_ALL);
	ring_post(rx, 1);
	ring_post(rx, HEADER + sizeof(frame) - 1);
	ring_post(rx, HEADER + sizeof(frame));
	for (unsigned i = 0; i < 3; i++)
		CHECK(net_receive(net, frame, sizeof(frame), NULL));
	CHECK(!net_receive(net, frame, sizeof(frame), NULL));
	CHECK_INT(ring_take(rx, NULL, 0), 0);
	CHECK_INT(ring_take(rx, NULL, 0), 0);
	CHECK_INT(ring_take(rx, NULL, 0), HEADER + sizeof(frame));
	CHECK(net_receive(net, frame, NET_FRAME_BYTES_MAX + 1, NULL)); /* never read */
	end();
}

TEST(empty_buffer_breaks_the_device_not_us)
{
	uint8_t frame[HEADER + 64] = { 0 };

	begin(F_ALL);
	*ring_desc(tx, 0) = (struct ring_desc){ .gpa = RIG_DATA_GPA, .bytes = 0 };
	ring_offer(tx, 0);
	ring_kick(tx);
	CHECK_INT(wire.frames, 0);
	CHECK(is_broken());
	CHECK(!net_receive(net, frame, 64, NULL));
	CHECK(rig_start(&rig, net_dev(net), F_ALL));
	ring_send(tx, frame, sizeof(frame));
	CHECK_INT(wire.frames, 1);
	end();
}

TEST(endless_ring_yields)
{
	uint8_t frame[HEADER + 64] = { 0 };

	begin(F_ALL);
	wire.refill = true;
	ring_send(tx, frame, sizeof(frame));
	CHECK_INT(wire.frames, RING_NUM);
	rig_turn(&rig);
	CHECK_INT(wire.frames, 2 * RING_NUM);
	wire.refill = false;
	rig_turn(&rig);
	CHECK_INT(wire.frames, 2 * RING_NUM + 1);
	end();
}

TEST(reset_with_work_left)
{
	uint8_t frame[HEADER + 64] = { 0 };

	begin(F_ALL);
	wire.refill = true;
	ring_post(rx, 1600);
	CHECK(net_receive(net, frame, 64, NULL));
	ring_send(tx, frame, sizeof(frame));
	rig_reset(&rig);
	rig.irqs = 0;
	rig_turn(&rig);
	CHECK_INT(wire.frames, RING_NUM);
	CHECK_INT(rig.irqs, 0);
	end();
}

/* Takes chains until a frame is whole, each but the last full; returns its bytes with header, -1 when there is none. */
static int64_t take_merged(uint8_t *dst, size_t room, unsigned *chains)
{
	int64_t bytes = ring_take(rx, dst, room), more;

	if (bytes < HEADER)
		return bytes;
	*chains = dst[NUM_BUFFERS_AT] | (unsigned)dst[NUM_BUFFERS_AT + 1] << 8;
	for (unsigned i = 1; i < *chains; i++) {
		more = ring_take(rx, dst + bytes, room - (size_t)bytes);
		if (!CHECK(more > 0))
			return -1;
		bytes += more;
	}
	return bytes;
}

TEST(frame_is_spread_over_chains)
{
	static uint8_t frame[NET_FRAME_BYTES_MAX], got[sizeof(frame) + HEADER];
	static const size_t sizes[] = { 14, 88, 89, 188, 189, 5000, NET_FRAME_BYTES_MAX - 1, NET_FRAME_BYTES_MAX };
	unsigned chains;

	fill_pattern(frame, sizeof(frame));
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t chain = sizes[i] > 5000 ? 1500 : 100;

		begin(F_ALL | F_MRG_RXBUF);
		for (unsigned c = 0; c < 60; c++)
			ring_post(rx, chain);
		CHECK(net_receive(net, frame, sizes[i], NULL));
		rig_turn(&rig);
		CHECK_INT(rig.irqs, 1);
		memset(got, 0xaa, sizeof(got));
		CHECK_INT(take_merged(got, sizeof(got), &chains), HEADER + sizes[i]);
		CHECK_INT(chains, (HEADER + sizes[i] + chain - 1) / chain);
		CHECK_INT(got[0], 0);
		CHECK_MEM(got + HEADER, frame, sizes[i]);
		CHECK_INT(ring_take(rx, NULL, 0), -1);
		end();
	}
}

TEST(merged_chains_appear_at_once_or_not_at_all)
{
	uint8_t frame[1000], got[2000];
	unsigned chains;

	begin(F_ALL | F_MRG_RXBUF);
	fill_pattern(frame, sizeof(frame));
	for (unsigned i = 0; i < 4; i++)
		ring_post(rx, 100);
	CHECK(!net_receive(net, frame, sizeof(frame), NULL));
	rig_turn(&rig);
	CHECK_INT(ring_takeable(rx), 0);
	CHECK_INT(rig.irqs, 0);
	CHECK(net_receive(net, frame, 200, NULL)); /* the same chains serve a smaller one */
	CHECK_INT(ring_takeable(rx), 3);
	CHECK_INT(take_merged(got, sizeof(got), &chains), HEADER + 200);
	CHECK_MEM(got + HEADER, frame, 200);
	CHECK_INT(wire.ready_calls, 0);
	ring_post(rx, 1000);
	CHECK_INT(wire.ready_calls, 1);
	CHECK(net_receive(net, frame, sizeof(frame), NULL));
	CHECK_INT(take_merged(got, sizeof(got), &chains), HEADER + sizeof(frame));
	CHECK_INT(chains, 2);
	CHECK_MEM(got + HEADER, frame, sizeof(frame));
	end();
}

TEST(merged_around_the_end_of_the_ring)
{
	uint8_t frame[1000], got[2000];
	unsigned chains;

	begin(F_ALL | F_MRG_RXBUF | RIG_F_EVENT_IDX);
	fill_pattern(frame, sizeof(frame));
	for (unsigned i = 0; i < RING_NUM; i++) {
		rig_alloc_reset(&rig);
		for (unsigned c = 0; c < 11; c++)
			ring_post(rx, 100);
		CHECK(net_receive(net, frame, sizeof(frame), NULL));
		rig_turn(&rig);
		if (!CHECK_INT(take_merged(got, sizeof(got), &chains), HEADER + sizeof(frame)) || !CHECK_INT(chains, 11))
			break;
		CHECK_MEM(got + HEADER, frame, sizeof(frame));
	}
	CHECK_INT(rig.irqs, RING_NUM);
	end();
}

TEST(merge_with_a_ring_that_can_never_hold_it)
{
	static uint8_t frame[NET_FRAME_BYTES_MAX];

	begin(F_ALL | F_MRG_RXBUF);
	for (unsigned i = 0; i < RING_NUM; i++)
		ring_post(rx, 20);
	CHECK(net_receive(net, frame, sizeof(frame), NULL)); /* dropped: no kick would ever change it */
	CHECK(net_receive(net, frame, 100, NULL));
	CHECK_INT(ring_takeable(rx), 6);
	end();
}

TEST(merge_needs_room_for_the_header_in_the_first)
{
	uint8_t frame[100] = { 0 };

	begin(F_ALL | F_MRG_RXBUF);
	ring_post(rx, HEADER - 1);
	ring_post(rx, HEADER);
	ring_post(rx, 1);
	ring_post(rx, 200);
	CHECK(net_receive(net, frame, sizeof(frame), NULL)); /* dropped, and its chain is back */
	CHECK_INT(ring_take(rx, NULL, 0), 0);
	CHECK(net_receive(net, frame, sizeof(frame), NULL));
	CHECK_INT(ring_take(rx, NULL, 0), HEADER);
	CHECK_INT(ring_take(rx, NULL, 0), 1);
	CHECK_INT(ring_take(rx, NULL, 0), sizeof(frame) - 1);
	CHECK(!is_broken());
	end();
}

TEST(merge_meets_a_broken_ring)
{
	uint8_t frame[1000] = { 0 };

	begin(F_ALL | F_MRG_RXBUF);
	ring_post(rx, 100);
	*ring_desc(rx, 5) = (struct ring_desc){ .gpa = UINT64_MAX, .bytes = 9, .flags = RING_DESC_WRITE };
	ring_offer(rx, 5);
	CHECK(!net_receive(net, frame, sizeof(frame), NULL));
	CHECK(is_broken());
	CHECK_INT(ring_takeable(rx), 0);
	end();
}

/* ---- checksums ---- */

enum { SUM_START = 34, SUM_OFFSET = 16, SUM_AT = SUM_START + SUM_OFFSET };

/* RFC 1071, by the letter. */
static unsigned plain_sum(const uint8_t *bytes, size_t count)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

TEST(sum_is_left_to_a_driver_that_can)
{
	const struct frame_sum sum = { SUM_START, SUM_OFFSET };
	uint8_t frame[101], got[200];

	begin(F_ALL | F_GUEST_CSUM);
	fill_pattern(frame, sizeof(frame));
	ring_post(rx, 200);
	CHECK(net_receive(net, frame, sizeof(frame), &sum));
	CHECK_INT(ring_take(rx, got, sizeof(got)), HEADER + sizeof(frame));
	CHECK_INT(got[0], NEEDS_CSUM);
	CHECK_INT(got[CSUM_START_AT], SUM_START);
	CHECK_INT(got[CSUM_OFFSET_AT], SUM_OFFSET);
	CHECK_MEM(got + HEADER, frame, sizeof(frame));
	end();
}

TEST(sum_is_made_for_a_driver_that_can_not)
{
	const struct frame_sum sum = { SUM_START, SUM_OFFSET };
	uint8_t frame[101], want[101], got[200];
	unsigned made, chains;

	fill_pattern(frame, sizeof(frame));
	memcpy(want, frame, sizeof(want));
	made = plain_sum(frame + SUM_START, sizeof(frame) - SUM_START);
	want[SUM_AT] = (uint8_t)(made >> 8);
	want[SUM_AT + 1] = (uint8_t)made;
	for (unsigned merged = 0; merged < 2; merged++) {
		begin(F_ALL | (merged ? F_MRG_RXBUF : 0));
		for (unsigned i = 0; i < 10; i++)
			ring_post(rx, merged ? HEADER + SUM_AT + 1 : 200); /* merged: the sum is torn apart */
		CHECK(net_receive(net, frame, sizeof(frame), &sum));
		CHECK_INT(take_merged(got, sizeof(got), &chains), HEADER + sizeof(frame));
		CHECK_INT(chains, merged ? 2 : 1);
		CHECK_INT(got[0], 0);
		CHECK_INT(got[CSUM_START_AT], 0);
		CHECK_MEM(got + HEADER, want, sizeof(want));
		end();
	}
}

TEST(sum_outside_the_frame_never_arrives)
{
	const struct frame_sum sums[] = { { 100, 0 }, { 98, 1 }, { 0, 99 }, { 65535, 65535 }, { 65535, 1 } };
	uint8_t frame[100] = { 0 };

	begin(F_ALL);
	ring_post(rx, 200);
	for (unsigned i = 0; i < ARRAY_SIZE(sums); i++)
		CHECK(net_receive(net, frame, sizeof(frame), &sums[i]));
	CHECK_INT(ring_takeable(rx), 0);
	end();
}

/* Sends 100 bytes that ask for a checksum; what came of it is in wire. */
static bool sends_with_sum(unsigned start, unsigned offset)
{
	uint8_t bytes[HEADER + 100] = { NEEDS_CSUM };
	unsigned before = wire.frames;

	memcpy(bytes + CSUM_START_AT, &(uint16_t){ (uint16_t)start }, 2);
	memcpy(bytes + CSUM_OFFSET_AT, &(uint16_t){ (uint16_t)offset }, 2);
	ring_send(tx, bytes, sizeof(bytes));
	CHECK_INT(ring_take(tx, NULL, 0), 0);
	return wire.frames > before;
}

TEST(guests_sum_is_checked_and_handed_on)
{
	begin(F_ALL | F_CSUM);
	CHECK(sends_with_sum(SUM_START, SUM_OFFSET));
	CHECK(wire.has_sum);
	CHECK_INT(wire.sum.start, SUM_START);
	CHECK_INT(wire.sum.offset, SUM_OFFSET);
	CHECK(sends_with_sum(98, 0));
	CHECK(sends_with_sum(0, 98));
	CHECK(!sends_with_sum(99, 0));
	CHECK(!sends_with_sum(98, 1));
	CHECK(!sends_with_sum(65535, 65535));
	CHECK(!sends_with_sum(65535, 3));
	CHECK(!is_broken());
	end();
	begin(F_ALL); /* not negotiated: not believed */
	CHECK(sends_with_sum(SUM_START, SUM_OFFSET));
	CHECK(!wire.has_sum);
	end();
}

/* ---- cable, limits, state, capture ---- */

TEST(cable_is_pulled_and_plugged_in)
{
	uint8_t frame[HEADER + 64] = { 0 };
	unsigned irqs;

	begin(F_ALL);
	ring_post(rx, 200);
	irqs = rig.irqs;
	net_link_set(net, true); /* it is */
	CHECK_INT(rig.irqs, irqs);
	net_link_set(net, false);
	CHECK_INT(rig.irqs, irqs + 1);
	CHECK_INT(rig_read(&rig, RIG_REG_INTERRUPT_STATUS) & 2, 2);
	CHECK_INT(virtio_mmio_ops.read(rig.dev, RIG_REG_CONFIG + 6, 2), 0);
	ring_send(tx, frame, sizeof(frame));
	CHECK_INT(ring_take(tx, NULL, 0), 0);
	CHECK_INT(wire.frames, 0);
	CHECK(net_receive(net, frame, 64, NULL));
	CHECK_INT(ring_takeable(rx), 0);
	net_link_set(net, true);
	CHECK_INT(virtio_mmio_ops.read(rig.dev, RIG_REG_CONFIG + 6, 2), 1);
	ring_send(tx, frame, sizeof(frame));
	CHECK_INT(wire.frames, 1);
	CHECK(net_receive(net, frame, 64, NULL));
	CHECK_INT(ring_takeable(rx), 1);
	end();
}

TEST(pulled_cable_lets_nobody_wait)
{
	uint8_t frame[64] = { 0 };

	begin(F_ALL);
	CHECK(!net_receive(net, frame, sizeof(frame), NULL));
	net_link_set(net, false);
	CHECK_INT(wire.ready_calls, 1);
	end();
}

TEST(transmit_keeps_to_its_limit)
{
	const struct net_rate rate = { .transmit_frames = 1000 }; /* burst: 100 */
	uint8_t frame[HEADER + 64] = { 0 };
	uint64_t start_ns, spent_ns;

	begin(F_ALL);
	rig_turn(&rig);
	net_rate_set(net, &rate);
	start_ns = clock_mono_ns();
	for (unsigned i = 0; i < 200; i++)
		ring_send(tx, frame, sizeof(frame));
	CHECK(wire.frames >= 100 && wire.frames <= 120);
	CHECK_INT(ring_takeable(tx), wire.frames); /* what was not sent is still the ring's */
	for (unsigned i = 0; i < 100 && wire.frames < 200; i++)
		rig_run_ms(&rig, 10);
	spent_ns = clock_mono_ns() - start_ns;
	CHECK_INT(wire.frames, 200);
	CHECK_INT(ring_takeable(tx), 200);
	CHECK(spent_ns >= 90000000);
	ring_send(tx, frame, sizeof(frame));
	rig_run_ms(&rig, 10);
	CHECK_INT(wire.frames, 201);
	end();
}

TEST(large_frames_count_by_bytes)
{
	const struct net_rate rate = { .transmit_bytes = 1000000 }; /* burst: 100,000 */
	static uint8_t frame[HEADER + 60000];

	begin(F_ALL);
	rig_turn(&rig);
	net_rate_set(net, &rate);
	for (unsigned i = 0; i < 4; i++)
		ring_send(tx, frame, sizeof(frame));
	CHECK_INT(wire.frames, 2); /* the second one in debt */
	rig_reset(&rig);
	rig_run_ms(&rig, 50);
	CHECK_INT(wire.frames, 2); /* the timer went with the driver */
	end();
}

TEST(receive_keeps_to_its_limit)
{
	const struct net_rate rate = { .receive_frames = 1000 };
	uint8_t frame[64] = { 0 };
	unsigned given = 0;

	begin(F_ALL);
	rig_turn(&rig);
	for (unsigned i = 0; i < 200; i++)
		ring_post(rx, 200);
	net_rate_set(net, &rate);
	while (given < 200 && net_receive(net, frame, sizeof(frame), NULL))
		given++;
	CHECK(given >= 100 && given <= 120);
	CHECK_INT(wire.ready_calls, 0);
	rig_run_ms(&rig, 20);
	CHECK_INT(wire.ready_calls, 1);
	CHECK(net_receive(net, frame, sizeof(frame), NULL));
	end();
}

TEST(state_goes_on_in_another_card)
{
	const struct net_rate rate = { .transmit_frames = 10 };
	static const uint8_t other_mac[6] = { 0x02, 1, 1, 1, 1, 1 };
	const struct net_backend backend = { .transmit = wire_transmit, .receive_ready = wire_ready };
	uint8_t frame[HEADER + 64] = { 0 }, got[200];
	struct net_state state;
	struct net *second;
	unsigned sent;

	begin(F_ALL | F_MRG_RXBUF | F_GUEST_CSUM);
	rig_turn(&rig);
	for (unsigned i = 0; i < 3; i++)
		ring_post(rx, 50);
	CHECK(net_receive(net, frame, 64, NULL)); /* driver not told yet */
	net_rate_set(net, &rate);
	for (unsigned i = 0; i < 20; i++)
		ring_send(tx, frame, sizeof(frame)); /* most wait in the ring */
	sent = wire.frames;
	CHECK(sent < 5);
	net_link_set(net, false);
	net_link_set(net, true);
	net_save(net, &state);
	net_free(net);

	second = net_new(&rig.env, other_mac, 1400);
	net_backend_set(second, &backend);
	CHECK_INT(net_load(second, &state), 0);
	net = second;
	rig.dev = net_dev(net);
	rig_turn(&rig);
	CHECK_INT(wire.frames, 20);
	CHECK_INT(ring_takeable(tx), 20);
	CHECK_INT(virtio_mmio_ops.read(rig.dev, RIG_REG_CONFIG + 5, 1), mac[5]);
	CHECK_INT(virtio_mmio_ops.read(rig.dev, RIG_REG_CONFIG + 10, 2), 1500);
	CHECK_INT(ring_take(rx, got, sizeof(got)), 50);
	CHECK_INT(ring_take(rx, NULL, 0), HEADER + 64 - 50);
	CHECK(net_receive(net, frame, 20, &(struct frame_sum){ 14, 4 }));
	CHECK_INT(ring_take(rx, got, sizeof(got)), HEADER + 20);
	CHECK_INT(got[0], NEEDS_CSUM); /* the features came along */
	end();
}

TEST(state_that_can_not_be_is_refused)
{
	struct net_state good, bad;

	begin(F_ALL);
	net_save(net, &good);
	rig_reset(&rig);
	bad = good, bad.mtu = 0;
	CHECK_INT(net_load(net, &bad), -EINVAL);
	bad = good, bad.link_up = 2;
	CHECK_INT(net_load(net, &bad), -EINVAL);
	bad = good, bad.mac[0] |= 1;
	CHECK_INT(net_load(net, &bad), -EINVAL);
	bad = good, bad.virtio.device_id = 2;
	CHECK_INT(net_load(net, &bad), -EINVAL);
	CHECK(!virtio_running(net_dev(net)));
	CHECK_INT(net_load(net, &good), 0);
	CHECK(virtio_running(net_dev(net)));
	end();
}

int main(void)
{
	RUN(identity);
	RUN(frame_goes_out_without_its_header);
	RUN(sent_frames_are_told_by_the_quarter);
	RUN(frame_comes_in_behind_a_plain_header);
	RUN(no_room_then_room);
	RUN(refused_before_the_driver_is_up_is_told_at_start);
	RUN(burst_in_is_one_interrupt);
	RUN(event_idx_works_the_same);
	RUN(answer_from_inside_transmit);
	RUN(one_byte_buffers);
	RUN(what_is_no_frame_is_dropped);
	RUN(giant_chain_and_wrong_direction);
	RUN(receive_chain_too_small_drops_and_goes_on);
	RUN(empty_buffer_breaks_the_device_not_us);
	RUN(endless_ring_yields);
	RUN(reset_with_work_left);
	RUN(frame_is_spread_over_chains);
	RUN(merged_chains_appear_at_once_or_not_at_all);
	RUN(merged_around_the_end_of_the_ring);
	RUN(merge_with_a_ring_that_can_never_hold_it);
	RUN(merge_needs_room_for_the_header_in_the_first);
	RUN(merge_meets_a_broken_ring);
	RUN(sum_is_left_to_a_driver_that_can);
	RUN(sum_is_made_for_a_driver_that_can_not);
	RUN(sum_outside_the_frame_never_arrives);
	RUN(guests_sum_is_checked_and_handed_on);
	RUN(cable_is_pulled_and_plugged_in);
	RUN(pulled_cable_lets_nobody_wait);
	RUN(transmit_keeps_to_its_limit);
	RUN(large_frames_count_by_bytes);
	RUN(receive_keeps_to_its_limit);
	RUN(state_goes_on_in_another_card);
	RUN(state_that_can_not_be_is_refused);
	return test_done();
}
