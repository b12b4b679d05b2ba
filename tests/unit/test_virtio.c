// SPDX-License-Identifier: Apache-2.0
/*
 * test_virtio: registers and the life of a device, with the smallest device there is (rng) and ones made for tests, against
 * drivers that keep the rules and drivers that break each of them. Rings alone are test_virtq's.
 */
#include "devices/rng.h"
#include "devices/virtio.h"
#include "tests/unit/count_dev.h"
#include "tests/unit/idle.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <unistd.h>

static struct rng *rng;

/* An rng that runs with features; its ring. */
static struct ring *rng_make(uint64_t features)
{
	rig_init(&rig);
	rng = rng_new(&rig.env);
	CHECK(rig_start(&rig, rng_dev(rng), features));
	return &rig.rings[0];
}

static void rng_end(void)
{
	rng_free(rng);
	rig_fini(&rig);
}

TEST(identity_registers)
{
	idle_make();
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_VERSION), 2);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_DEVICE_ID), 42);
	CHECK(rig_features(&rig) & RIG_F_VERSION_1);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_QUEUE_NUM_MAX), VIRTQ_NUM_MAX);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_SEL, 2);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_SEL, UINT32_MAX);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_QUEUE_READY), 0);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_NUM, 8);
	idle_end();
}

TEST(registers_are_four_bytes_wide)
{
	idle_make();
	CHECK_INT(virtio_mmio_ops.read(&idle.dev, VIRTIO_MMIO_MAGIC_VALUE, 1), 0);
	CHECK_INT(virtio_mmio_ops.read(&idle.dev, VIRTIO_MMIO_MAGIC_VALUE, 8), 0);
	CHECK_INT(virtio_mmio_ops.read(&idle.dev, VIRTIO_MMIO_MAGIC_VALUE + 1, 4), 0);
	virtio_mmio_ops.write(&idle.dev, VIRTIO_MMIO_STATUS, 1, 1);
	virtio_mmio_ops.write(&idle.dev, VIRTIO_MMIO_STATUS, 2, 1);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_STATUS), 0);
	idle_end();
}

TEST(config_space_is_bounded)
{
	idle_make();
	memcpy(idle.config, "abcdef", 6);
	CHECK_INT(virtio_mmio_ops.read(&idle.dev, VIRTIO_MMIO_CONFIG, 4), 0x64636261);
	CHECK_INT(virtio_mmio_ops.read(&idle.dev, VIRTIO_MMIO_CONFIG + 5, 1), 'f');
	CHECK_INT(virtio_mmio_ops.read(&idle.dev, VIRTIO_MMIO_CONFIG + 5, 2), 0);
	CHECK_INT(virtio_mmio_ops.read(&idle.dev, VIRTIO_MMIO_CONFIG + 4, 4), 0);
	CHECK_INT(virtio_mmio_ops.read(&idle.dev, VIRTIO_MMIO_CONFIG + 6, 1), 0);
	virtio_mmio_ops.write(&idle.dev, VIRTIO_MMIO_CONFIG + 4, 4, 0);
	virtio_mmio_ops.write(&idle.dev, VIRTIO_MMIO_BYTES - 8, 8, 0);
	CHECK_INT(idle.config_writes, 0);
	virtio_mmio_ops.write(&idle.dev, VIRTIO_MMIO_CONFIG + 5, 1, 'x');
	CHECK_INT(idle.config[5], 'x');
	idle_end();
}

TEST(life_of_a_device)
{
	idle_make();
	CHECK(rig_start(&rig, &idle.dev, 0));
	CHECK_INT(idle.starts, 1);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_NOTIFY, 2); /* no such queue */
	rig_write(&rig, VIRTIO_MMIO_QUEUE_NOTIFY, UINT32_MAX);
	CHECK_INT(idle.kicks, 1);
	rig_reset(&rig);
	CHECK_INT(idle.resets, 1);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_STATUS), 0);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_NOTIFY, 0); /* a dead queue */
	CHECK_INT(idle.kicks, 1);
	CHECK(rig_start(&rig, &idle.dev, 0));
	CHECK_INT(idle.starts, 2);
	idle_end();
}

TEST(status_bits_only_grow)
{
	idle_make();
	CHECK(rig_start(&rig, &idle.dev, 0));
	rig_write(&rig, VIRTIO_MMIO_STATUS, RIG_ACKNOWLEDGE);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_STATUS),
		  RIG_ACKNOWLEDGE | RIG_DRIVER | RIG_FEATURES_OK | RIG_DRIVER_OK);
	idle_end();
}

TEST(driver_ok_needs_features_ok)
{
	idle_make();
	rig_write(&rig, VIRTIO_MMIO_STATUS, RIG_ACKNOWLEDGE | RIG_DRIVER | RIG_DRIVER_OK);
	CHECK(!(rig_read(&rig, VIRTIO_MMIO_STATUS) & RIG_DRIVER_OK));
	CHECK_INT(idle.starts, 0);
	idle_end();
}

TEST(features_not_offered_are_refused)
{
	idle_make();
	CHECK(!rig_start(&rig, &idle.dev, UINT64_C(1) << 5));
	CHECK_INT(idle.starts, 0);
	/* nor a driver that does not speak version 1 */
	rig_write(&rig, VIRTIO_MMIO_STATUS, 0);
	rig_write(&rig, VIRTIO_MMIO_STATUS, RIG_ACKNOWLEDGE | RIG_DRIVER);
	rig_write(&rig, VIRTIO_MMIO_STATUS, RIG_ACKNOWLEDGE | RIG_DRIVER | RIG_FEATURES_OK);
	CHECK(!(rig_read(&rig, VIRTIO_MMIO_STATUS) & RIG_FEATURES_OK));
	idle_end();
}

TEST(queues_are_frozen_while_running)
{
	idle_make();
	CHECK(rig_start(&rig, &idle.dev, 0));
	struct virtq before = idle.dev.queues[0];

	rig_write(&rig, VIRTIO_MMIO_QUEUE_SEL, 0);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_NUM, 2);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_USED_HIGH, 1);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_READY, 1);
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
	CHECK_MEM(&before, &idle.dev.queues[0], sizeof(before));
	CHECK_INT(idle.dev.driver_features, RIG_F_VERSION_1);
	idle_end();
}

/* 4.2.2.2: the driver writes 0, reads 0, and then the rings are its own. There is no way back but a reset. */
TEST(stopped_queue_is_left_alone)
{
	struct ring *ring = rng_make(0);

	ring_post(ring, 16);
	CHECK_INT(ring_take(ring, NULL, 0), 16);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_SEL, 0);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_READY, 0);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_QUEUE_READY), 0);
	ring_post(ring, 16);
	virtio_kick_again(rng_dev(rng), 0);
	rig_turn(&rig);
	virtq_push(&rng_dev(rng)->queues[0], 0, 16);
	CHECK_INT(ring_takeable(ring), 0);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_READY, 1);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_QUEUE_READY), 0);
	CHECK_INT(rng_dev(rng)->queues[0].desc_gpa, ring->desc_gpa);
	CHECK(rig_start(&rig, rng_dev(rng), 0));
	ring_post(ring, 16);
	CHECK_INT(ring_take(ring, NULL, 0), 16);
	rng_end();
}

/* Up to DRIVER_OK, with a first queue as the driver says. */
static void queue_try(uint64_t features, uint32_t num, uint64_t desc, uint64_t avail, uint64_t used)
{
	CHECK(rig_negotiate(&rig, features));
	rig_write(&rig, VIRTIO_MMIO_QUEUE_SEL, 0);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_NUM, num);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)desc);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(desc >> 32));
	rig_write(&rig, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)avail);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(avail >> 32));
	rig_write(&rig, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)used);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(used >> 32));
	rig_write(&rig, VIRTIO_MMIO_QUEUE_READY, 1);
}

TEST(bad_queues_need_a_reset)
{
	static const struct {
		uint32_t num;
		uint64_t desc, avail, used;
	} bad[] = {
		{0, 0x1000, 0x2000, 0x3000},
		{3, 0x1000, 0x2000, 0x3000},
		{512, 0x1000, 0x2000, 0x3000},
		{65536 + 4, 0x1000, 0x2000, 0x3000},
		{4, 0x1008, 0x2000, 0x3000},
		{4, 0x1000, 0x2001, 0x3000},
		{4, 0x1000, 0x2000, 0x3002},
		{4, RIG_BYTES - 32, 0x2000, 0x3000},
		{4, UINT64_MAX - 15, 0x2000, 0x3000},
		{4, 0x1000, RIG_BYTES - 12, 0x3000},
		{4, 0x1000, 0x2000, RIG_BYTES - 36},
	};

	idle_make();
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		queue_try(0, bad[i].num, bad[i].desc, bad[i].avail, bad[i].used);
		CHECK_INT(rig_read(&rig, VIRTIO_MMIO_QUEUE_READY), 0);
		CHECK(rig_read(&rig, VIRTIO_MMIO_STATUS) & RIG_NEEDS_RESET);
	}
	queue_try(0, 4, 0x1000, 0x2000, 0x3000);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_QUEUE_READY), 1);
	CHECK(!(rig_read(&rig, VIRTIO_MMIO_STATUS) & RIG_NEEDS_RESET));
	idle_end();
}

TEST(broken_ring_lets_the_rest_live)
{
	struct ring *ring = rng_make(0);

	ring_offer(ring, RING_NUM);
	ring_kick(ring);
	CHECK(rig_read(&rig, VIRTIO_MMIO_STATUS) & RIG_NEEDS_RESET);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	CHECK(rig_start(&rig, rng_dev(rng), 0)); /* a reset heals it */
	ring = &rig.rings[0];
	ring_post(ring, 16);
	CHECK_INT(ring_take(ring, NULL, 0), 16);
	rng_end();
}

TEST(rng_fills_and_caps)
{
	struct ring *ring = rng_make(0);
	uint8_t bytes[64], zero[64] = {0};

	ring_post(ring, sizeof(bytes));
	CHECK_INT(ring_take(ring, bytes, sizeof(bytes)), sizeof(bytes));
	CHECK(memcmp(bytes, zero, sizeof(bytes)) != 0);
	ring_post(ring, 1 << 20);
	CHECK_INT(ring_take(ring, NULL, 0), RNG_REQUEST_BYTES_MAX);
	ring_send(ring, "no room", 7); /* a chain that can not be answered still comes back */
	CHECK_INT(ring_take(ring, NULL, 0), 0);
	CHECK_INT(rig.irqs, 3);
	rng_end();
}

/* What a vCPU does with every interrupt needs no lock; nothing else goes that way. */
TEST(interrupt_registers_need_no_lock)
{
	struct ring *ring = rng_make(0);
	uint64_t value = 0;

	ring_post(ring, 16);
	ring_kick(ring);
	CHECK(virtio_mmio_ops.unlocked(rig.dev, VIRTIO_MMIO_INTERRUPT_STATUS, 4, false, &value));
	CHECK_INT(value, VIRTIO_MMIO_INT_VRING);
	CHECK(virtio_mmio_ops.unlocked(rig.dev, VIRTIO_MMIO_INTERRUPT_ACK, 4, true, &value));
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	value = 77;
	for (uint64_t offset = 0; offset < 0x200; offset++) {
		for (unsigned width = 1; width <= 8; width *= 2) {
			if (offset != VIRTIO_MMIO_INTERRUPT_STATUS || width != 4)
				CHECK(!virtio_mmio_ops.unlocked(rig.dev, offset, width, false, &value));
			if (offset != VIRTIO_MMIO_INTERRUPT_ACK || width != 4)
				CHECK(!virtio_mmio_ops.unlocked(rig.dev, offset, width, true, &value));
		}
	}
	CHECK_INT(value, 77);
	rng_end();
}

TEST(rng_work_is_bounded_per_kick)
{
	struct ring *ring = rng_make(0);

	/* The device writes into the avail ring itself: every answer may make new work. It must not go on for ever. */
	for (unsigned i = 0; i < RING_NUM; i++) {
		*ring_desc(ring, i) = (struct ring_desc){ring->avail_gpa, 4 + 2 * RING_NUM, RING_DESC_WRITE, 0};
		ring_offer(ring, (uint16_t)i);
	}
	ring_kick(ring);
	CHECK(ring_takeable(ring) <= RING_NUM);
	rng_end();
}

/* A full ring is as much as one kick may do: what is there then waits for the next turn. */
TEST(rng_goes_on_in_the_next_turn)
{
	struct ring *ring = rng_make(0);

	for (unsigned i = 0; i < RING_NUM; i++)
		ring_add(ring, NULL, 0, &(struct ring_buf){RIG_DATA_GPA, 16}, 1);
	ring_kick(ring);
	CHECK_INT(ring_takeable(ring), RING_NUM);
	CHECK_INT(rng_dev(rng)->again_queues, 1);
	rig_turn(&rig);
	CHECK_INT(rng_dev(rng)->again_queues, 0);
	rng_end();
}

/* A ring of one whose answer makes the next chain: the device copies what it reads over avail->idx. */
TEST(work_that_makes_work_waits_for_its_turn)
{
	struct count_dev count;
	const uint64_t desc = 0x1000, avail = 0x2000, used = 0x3000, next = 0x4000;
	struct ring_desc table[] = {{next, 2, RING_DESC_NEXT, 1}, {avail + 2, 2, RING_DESC_WRITE, 0}};
	uint16_t one = 1, two = 2;

	rig_init(&rig);
	count_dev_init(&count, &rig.env, 1);
	rig.dev = &count.dev;
	queue_try(RIG_F_INDIRECT_DESC, 1, desc, avail, used);
	rig_write(&rig, VIRTIO_MMIO_STATUS, 15);
	memcpy(rig_at(&rig, 0x5000), table, sizeof(table));
	memcpy(rig_at(&rig, desc), &(struct ring_desc){0x5000, sizeof(table), RING_DESC_INDIRECT, 0}, 16);
	memcpy(rig_at(&rig, next), &two, 2);
	memset(rig_at(&rig, avail), 0, 8);
	memcpy(rig_at(&rig, avail + 2), &one, 2);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	CHECK_INT(count.answered_total, 1);
	rig_turn(&rig);
	CHECK_INT(count.answered_total, 2);
	rig_turn(&rig);
	CHECK_INT(count.answered_total, 2);
	CHECK_INT(count.dev.status, 15);
	count_dev_fini(&count);
	rig_fini(&rig);
}

TEST(a_reset_forgets_everything)
{
	struct ring *ring = ring_make(RIG_F_EVENT_IDX | RIG_F_INDIRECT_DESC);

	ring_post(ring, 8);
	CHECK_INT(pop(), 1);
	virtq_push(&idle.dev.queues[0], idle.chain.head, 8);
	virtio_interrupt(&idle.dev, 0);
	virtio_kick_again(&idle.dev, 0);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_SEL, 1);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	rig_reset(&rig);
	CHECK_INT(idle.dev.driver_features, 0);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	CHECK_INT(idle.dev.queue_sel, 0);
	CHECK_INT(idle.dev.again_queues, 0);
	for (unsigned i = 0; i < 2; i++) {
		const struct virtq *vq = &idle.dev.queues[i];

		CHECK(!vq->ready && !vq->broken && !vq->event_idx && !vq->indirect);
		CHECK(!vq->num && !vq->desc_gpa && !vq->avail_gpa && !vq->used_gpa);
		CHECK(!vq->last_avail && !vq->used_idx && !vq->signalled_used);
	}
	idle.kicks = 0;
	rig_turn(&rig);
	CHECK_INT(idle.kicks, 0);
	/* A driver that takes no feature now has none. */
	CHECK(rig_start(&rig, &idle.dev, 0));
	CHECK(!idle.dev.queues[0].event_idx && !idle.dev.queues[0].indirect);
	idle_end();
}

TEST(config_changes_are_told)
{
	uint32_t generation;

	idle_make();
	generation = rig_read(&rig, VIRTIO_MMIO_CONFIG_GENERATION);
	virtio_config_changed(&idle.dev);
	CHECK(rig_read(&rig, VIRTIO_MMIO_CONFIG_GENERATION) != generation);
	CHECK_INT(rig.irqs, 0); /* nobody to tell */
	CHECK(rig_start(&rig, &idle.dev, 0));
	generation = rig_read(&rig, VIRTIO_MMIO_CONFIG_GENERATION);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	virtio_config_changed(&idle.dev);
	CHECK(rig_read(&rig, VIRTIO_MMIO_CONFIG_GENERATION) != generation);
	CHECK_INT(rig.irqs, 1);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	/* broken is told once, however often it is found */
	virtio_broken(&idle.dev, "a test");
	virtio_broken(&idle.dev, "a test");
	CHECK_INT(rig.irqs, 2);
	CHECK(!virtio_running(&idle.dev));
	rig_write(&rig, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	CHECK_INT(idle.kicks, 0);
	idle_end();
}

/* A refused FEATURES_OK can be tried again with fewer features (3.1.1, steps 4 to 6). */
TEST(features_can_be_tried_again)
{
	idle_make();
	rig_write(&rig, VIRTIO_MMIO_STATUS, RIG_ACKNOWLEDGE);
	rig_write(&rig, VIRTIO_MMIO_STATUS, RIG_ACKNOWLEDGE | RIG_DRIVER);
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES, 1 << 5);
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	rig_write(&rig, VIRTIO_MMIO_STATUS, RIG_ACKNOWLEDGE | RIG_DRIVER | RIG_FEATURES_OK);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_STATUS), RIG_ACKNOWLEDGE | RIG_DRIVER);
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 2);
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES, 1); /* there are no features 64 and up */
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES, 0);
	rig_write(&rig, VIRTIO_MMIO_STATUS, RIG_ACKNOWLEDGE | RIG_DRIVER | RIG_FEATURES_OK);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_STATUS), RIG_ACKNOWLEDGE | RIG_DRIVER | RIG_FEATURES_OK);
	CHECK_INT(idle.dev.driver_features, RIG_F_VERSION_1);
	/* and they are final */
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)RIG_F_EVENT_IDX);
	CHECK_INT(idle.dev.driver_features, RIG_F_VERSION_1);
	idle_end();
}

TEST(state_moves_in_mid_work)
{
	struct ring *ring = rng_make(RIG_F_EVENT_IDX | RIG_F_INDIRECT_DESC);
	struct rng *other = rng_new(&rig.env);
	struct rng_state state;
	unsigned irqs;

	ring_post(ring, 64);
	ring_add(ring, NULL, 0, &(struct ring_buf){rig_alloc(&rig, 100), 100}, 1); /* offered, not kicked */
	rng_save(rng, &state);
	CHECK_INT(state.virtio.queues[0].last_avail, 1);
	rng_free(rng);
	rng = other;
	irqs = rig.irqs;
	CHECK_INT(rng_load(rng, &state), 0);
	CHECK_INT(rig.irqs, irqs + 1); /* the one that nobody acknowledged */
	rig.dev = rng_dev(rng);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_STATUS), 15);
	rig_turn(&rig);
	CHECK_INT(ring_take(ring, NULL, 0), 64);
	CHECK_INT(ring_take(ring, NULL, 0), 100);
	ring_post(ring, 5);
	CHECK_INT(ring_take(ring, NULL, 0), 5);
	rng_end();
}

TEST(state_is_not_trusted)
{
	struct virtio_state good, bad;
	struct virtq before;

	ring_make(0);
	virtio_save(&idle.dev, &good);
	rig_reset(&rig);
	before = idle.dev.queues[0];
#define REFUSED(change)                                   \
	do {                                              \
		bad = good;                               \
		change;                                   \
		CHECK_INT(virtio_load(&idle.dev, &bad), -EINVAL); \
		CHECK_MEM(&before, &idle.dev.queues[0], sizeof(before)); \
		CHECK_INT(idle.dev.status, 0);            \
	} while (0)
	REFUSED(bad.version++);
	REFUSED(bad.device_id++);
	REFUSED(bad.queue_count--);
	REFUSED(bad.driver_features |= 1);
	REFUSED(bad.driver_features = 0);
	REFUSED(bad.status |= 0x100);
	REFUSED(bad.status = RIG_DRIVER_OK);
	REFUSED(bad.status = RIG_DRIVER_OK | RIG_FEATURES_OK); /* without DRIVER */
	REFUSED(bad.status = 0); /* but queues that are ready */
	REFUSED(bad.queues[1].num = 3);
	REFUSED(bad.queues[1].desc_gpa = RIG_BYTES - 16);
	REFUSED(bad.queues[1].used_gpa = UINT64_MAX - 3);
	REFUSED(bad.queues[1].ready = 2);
	REFUSED(bad.queues[1].broken = 2);
#undef REFUSED
	CHECK_INT(virtio_load(&idle.dev, &good), 0);
	CHECK_INT(idle.dev.status, 15);
	idle_end();
}

/* A device with a loop of its own: its request blocks, yet the driver reads and acknowledges. */
struct slow {
	struct virtio_dev dev;
	int entered[2], go[2];
	unsigned kicks;
};

static void slow_kick(struct virtio_dev *dev, unsigned queue)
{
	struct slow *slow = (struct slow *)dev;
	char byte = 0;

	(void)queue;
	slow->kicks++;
	virtio_config_changed(dev);
	CHECK_INT(write(slow->entered[1], &byte, 1), 1);
	CHECK_INT(read(slow->go[0], &byte, 1), 1);
}

TEST(slow_device_stops_nobody)
{
	static const struct virtio_ops ops = {.kick = slow_kick};
	struct slow slow = {.dev = {.ops = &ops, .name = "slow", .device_id = 42, .queue_count = 1}};
	struct loop_thread *thread;
	char byte = 0;

	rig_init(&rig);
	rig.env.loop = loop_new();
	rig.env.own_loop = true;
	CHECK_INT(pipe(slow.entered) | pipe(slow.go), 0);
	virtio_init(&slow.dev, &rig.env);
	thread = loop_thread_start(rig.env.loop, "slow");
	CHECK(rig_start(&rig, &slow.dev, 0));
	loop_lock(rig.env.loop);
	virtio_kick_again(&slow.dev, 0);
	loop_unlock(rig.env.loop);
	CHECK_INT(read(slow.entered[0], &byte, 1), 1);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_STATUS), 15);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	rig_write(&rig, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	CHECK_INT(write(slow.go[1], &byte, 1), 1);
	rig_reset(&rig); /* waits for it */
	CHECK_INT(slow.kicks, 1);
	loop_thread_stop(thread);
	virtio_fini(&slow.dev);
	loop_free(rig.env.loop);
	for (unsigned i = 0; i < 2; i++) {
		close(slow.entered[i]);
		close(slow.go[i]);
	}
	rig_fini(&rig);
}

int main(void)
{
	RUN(identity_registers);
	RUN(registers_are_four_bytes_wide);
	RUN(config_space_is_bounded);
	RUN(life_of_a_device);
	RUN(status_bits_only_grow);
	RUN(driver_ok_needs_features_ok);
	RUN(features_not_offered_are_refused);
	RUN(queues_are_frozen_while_running);
	RUN(stopped_queue_is_left_alone);
	RUN(bad_queues_need_a_reset);
	RUN(broken_ring_lets_the_rest_live);
	RUN(rng_fills_and_caps);
	RUN(interrupt_registers_need_no_lock);
	RUN(rng_work_is_bounded_per_kick);
	RUN(rng_goes_on_in_the_next_turn);
	RUN(work_that_makes_work_waits_for_its_turn);
	RUN(a_reset_forgets_everything);
	RUN(config_changes_are_told);
	RUN(features_can_be_tried_again);
	RUN(state_moves_in_mid_work);
	RUN(state_is_not_trusted);
	RUN(slow_device_stops_nobody);
	return test_done();
}
