/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_net: devices/net.c from the driver's side, against a backend that keeps what it is given.
 */
#include "devices/net.h"

#include "lib/util.h"
#include "tests/unit/ring.h"
#include "tests/unit/test.h"

#include <stdlib.h>

enum { HEADER = 12, F_MTU = 1 << 3, F_MAC = 1 << 5, F_STATUS = 1 << 16, F_ALL = F_MTU | F_MAC | F_STATUS };
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
	bool echo, refill;
} wire;

static void wire_transmit(void *ctx, const struct iovec *frame, unsigned count, size_t bytes)
{
	size_t at = 0;

	(void)ctx;
	wire.frames++;
	wire.pieces = count;
	for (unsigned i = 0; i < count && at + frame[i].iov_len <= sizeof(wire.last); i++) {
		memcpy(wire.last + at, frame[i].iov_base, frame[i].iov_len);
		at += frame[i].iov_len;
	}
	wire.bytes = at;
	CHECK_INT(at, bytes);
	if (wire.echo)
		net_receive(net, wire.last, wire.bytes);
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
	CHECK_INT(rig.irqs, 1);
	end();
}

TEST(frame_comes_in_behind_a_plain_header)
{
	uint8_t frame[200], got[400];

	begin(F_ALL);
	fill_pattern(frame, sizeof(frame));
	ring_post(rx, 1600);
	CHECK(net_receive(net, frame, sizeof(frame)));
	CHECK(net_receive(net, frame, 13)); /* no frame at all: dropped, the guest is not bothered */
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
	CHECK(!net_receive(net, frame, sizeof(frame)));
	CHECK_INT(wire.ready_calls, 0);
	ring_post(rx, 1600);
	CHECK_INT(wire.ready_calls, 1);
	CHECK(net_receive(net, frame, sizeof(frame)));
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
	CHECK(!net_receive(net, frame, sizeof(frame)));
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
		CHECK(net_receive(net, frame, sizeof(frame)));
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
		CHECK(net_receive(net, frame, 64));
		rig_turn(&rig);
		CHECK_INT(ring_take(tx, NULL, 0), 0);
		CHECK_INT(ring_take(rx, NULL, 0), HEADER + 64);
	}
	CHECK_INT(wire.frames, 3 * RING_NUM);
	CHECK_INT(rig.irqs, 2 * 3 * RING_NUM);
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
	CHECK(net_receive(net, frame, sizeof(frame)));
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
	CHECK(net_receive(net, wire.last, 64));
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
		CHECK(net_receive(net, frame, sizeof(frame)));
	CHECK(!net_receive(net, frame, sizeof(frame)));
	CHECK_INT(ring_take(rx, NULL, 0), 0);
	CHECK_INT(ring_take(rx, NULL, 0), 0);
	CHECK_INT(ring_take(rx, NULL, 0), HEADER + sizeof(frame));
	CHECK(net_receive(net, frame, NET_FRAME_BYTES_MAX + 1)); /* never read */
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
	CHECK(!net_receive(net, frame, 64));
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
	CHECK(net_receive(net, frame, 64));
	ring_send(tx, frame, sizeof(frame));
	rig_reset(&rig);
	rig.irqs = 0;
	rig_turn(&rig);
	CHECK_INT(wire.frames, RING_NUM);
	CHECK_INT(rig.irqs, 0);
	end();
}

int main(void)
{
	RUN(identity);
	RUN(frame_goes_out_without_its_header);
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
	return test_done();
}
