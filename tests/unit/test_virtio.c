// SPDX-License-Identifier: Apache-2.0
/*
 * test_virtio: rings and registers, with the smallest device there is (rng) and one that does nothing, against
 * drivers that keep the rules and drivers that break each of them.
 */
#include "devices/rng.h"
#include "devices/virtio.h"
#include "tests/unit/count_dev.h"
#include "tests/unit/ring.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <unistd.h>

/* A device that counts what happens to it. */
struct idle {
	struct virtio_dev dev;
	unsigned kicks, starts, resets, config_writes;
	uint8_t config[6];
	struct virtq_chain chain;
};

static void idle_kick(struct virtio_dev *dev, unsigned queue)
{
	(void)queue;
	((struct idle *)dev)->kicks++;
}

static void idle_start(struct virtio_dev *dev)
{
	((struct idle *)dev)->starts++;
}

static void idle_reset(struct virtio_dev *dev)
{
	((struct idle *)dev)->resets++;
}

static void idle_config_write(struct virtio_dev *dev, unsigned offset, const void *data, unsigned bytes)
{
	struct idle *idle = (struct idle *)dev;

	idle->config_writes++;
	memcpy(idle->config + offset, data, bytes);
}

static const struct virtio_ops idle_ops = {
	.kick = idle_kick, .start = idle_start, .reset = idle_reset, .config_write = idle_config_write};

static struct rig rig;
static struct idle idle;

static void idle_make(void)
{
	rig_init(&rig);
	idle = (struct idle){.dev = {.ops = &idle_ops, .name = "idle", .device_id = 42, .queue_count = 2}};
	idle.dev.config = idle.config;
	idle.dev.config_bytes = sizeof(idle.config);
	virtio_init(&idle.dev, &rig.env);
	rig.dev = &idle.dev;
}

static void idle_end(void)
{
	virtio_fini(&idle.dev);
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
	struct rng *rng;
	struct ring *ring;

	rig_init(&rig);
	rng = rng_new(&rig.env);
	CHECK(rig_start(&rig, rng_dev(rng), 0));
	ring = &rig.rings[0];
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
	rng_free(rng);
	rig_fini(&rig);
}

static void queue_try(uint32_t num, uint64_t desc, uint64_t avail, uint64_t used)
{
	rig_write(&rig, VIRTIO_MMIO_STATUS, 0);
	rig_write(&rig, VIRTIO_MMIO_STATUS, RIG_ACKNOWLEDGE | RIG_DRIVER);
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	rig_write(&rig, VIRTIO_MMIO_STATUS, RIG_ACKNOWLEDGE | RIG_DRIVER | RIG_FEATURES_OK);
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
		queue_try(bad[i].num, bad[i].desc, bad[i].avail, bad[i].used);
		CHECK_INT(rig_read(&rig, VIRTIO_MMIO_QUEUE_READY), 0);
		CHECK(rig_read(&rig, VIRTIO_MMIO_STATUS) & RIG_NEEDS_RESET);
	}
	queue_try(4, 0x1000, 0x2000, 0x3000);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_QUEUE_READY), 1);
	CHECK(!(rig_read(&rig, VIRTIO_MMIO_STATUS) & RIG_NEEDS_RESET));
	idle_end();
}

/* ---- rings ---- */

static struct ring *ring_make(uint64_t features)
{
	idle_make();
	CHECK(rig_start(&rig, &idle.dev, features));
	return &rig.rings[0];
}

static int pop(void)
{
	return virtq_pop(&idle.dev.queues[0], &idle.chain);
}

TEST(chain_both_ways)
{
	struct ring *ring = ring_make(0);
	uint64_t gpa = rig_alloc(&rig, 64);
	struct ring_buf out[2] = {{gpa, 4}, {gpa + 8, 2}}, in[2] = {{gpa + 16, 3}, {gpa + 32, 5}};
	char got[8] = "";

	memcpy(rig_at(&rig, gpa), "abcd", 4);
	memcpy(rig_at(&rig, gpa + 8), "ef", 2);
	ring_add(ring, out, 2, in, 2);
	CHECK_INT(pop(), 1);
	CHECK_INT(idle.chain.out_bytes, 6);
	CHECK_INT(idle.chain.in_bytes, 8);
	CHECK_INT(chain_read(&idle.chain, got, 5), 5);
	CHECK_STR(got, "abcde");
	CHECK_INT(chain_read(&idle.chain, got, 5), 1);
	CHECK_INT(chain_read(&idle.chain, got, 5), 0);
	CHECK_INT(chain_write(&idle.chain, "12345", 5), 5);
	CHECK_INT(chain_skip_write(&idle.chain, 100), 3);
	CHECK_INT(idle.chain.written_bytes, 8);
	CHECK_MEM(rig_at(&rig, gpa + 16), "123", 3);
	CHECK_MEM(rig_at(&rig, gpa + 32), "45", 2);
	virtq_push(&idle.dev.queues[0], idle.chain.head, 5);
	CHECK_INT(ring_take(ring, NULL, 0), 5);
	CHECK_INT(pop(), 0);
	idle_end();
}

TEST(rest_as_iovecs)
{
	struct ring *ring = ring_make(0);
	uint64_t gpa = rig_alloc(&rig, 64);
	struct ring_buf out[2] = {{gpa, 4}, {gpa + 8, 2}};
	struct iovec iov[4];

	ring_add(ring, out, 2, NULL, 0);
	CHECK_INT(pop(), 1);
	CHECK_INT(chain_skip_read(&idle.chain, 1), 1);
	CHECK_INT(chain_iov_out(&idle.chain, iov, 4), 2);
	CHECK_INT(iov[0].iov_len, 3);
	CHECK(iov[0].iov_base == (char *)rig_at(&rig, gpa) + 1);
	CHECK_INT(chain_iov_out(&idle.chain, iov, 1), 1);
	CHECK_INT(chain_skip_read(&idle.chain, 3), 3);
	CHECK_INT(chain_iov_out(&idle.chain, iov, 4), 1);
	CHECK_INT(chain_iov_in(&idle.chain, iov, 4), 0);
	idle_end();
}

TEST(unpop_gives_the_chain_again)
{
	struct ring *ring = ring_make(0);

	ring_post(ring, 16);
	ring_post(ring, 32);
	CHECK_INT(pop(), 1);
	CHECK_INT(idle.chain.in_bytes, 16);
	virtq_unpop(&idle.dev.queues[0], 1);
	CHECK_INT(pop(), 1);
	CHECK_INT(idle.chain.in_bytes, 16);
	idle_end();
}

TEST(indices_wrap_at_65536)
{
	struct ring *ring = ring_make(RIG_F_EVENT_IDX);

	for (unsigned i = 0; i < 70000; i++) {
		rig_alloc_reset(&rig);
		ring_post(ring, 8);
		if (pop() != 1)
			break;
		virtq_push(&idle.dev.queues[0], idle.chain.head, 8);
		if (ring_take(ring, NULL, 0) != 8)
			break;
	}
	CHECK_INT(idle.dev.queues[0].used_idx, (uint16_t)70000);
	idle_end();
}

TEST(indirect_when_negotiated)
{
	struct ring *ring = ring_make(RIG_F_INDIRECT_DESC);
	uint64_t gpa = rig_alloc(&rig, 64);
	struct ring_buf out = {gpa, 4}, in[2] = {{gpa + 16, 3}, {gpa + 32, 5}};

	ring_add_indirect(ring, &out, 1, in, 2);
	CHECK_INT(pop(), 1);
	CHECK_INT(idle.chain.out_count, 1);
	CHECK_INT(idle.chain.in_bytes, 8);
	idle_end();
	ring = ring_make(0);
	ring_add_indirect(ring, &out, 1, in, 2);
	CHECK_INT(pop(), -EPROTO);
	idle_end();
}

/* One descriptor table per broken rule; head 0 is offered. */
static void broken_try(const struct ring_desc *descs, unsigned count, uint64_t features)
{
	struct ring *ring = ring_make(features);

	for (unsigned i = 0; i < count; i++)
		*ring_desc(ring, i) = descs[i];
	ring_offer(ring, 0);
	CHECK_INT(pop(), -EPROTO);
	CHECK_INT(pop(), -EPROTO); /* and stays broken */
	CHECK(idle.dev.queues[0].broken);
	idle_end();
}

#define BROKEN(features, ...)                                                                                          \
	do {                                                                                                           \
		static const struct ring_desc descs[] = {__VA_ARGS__};                                                 \
		broken_try(descs, sizeof(descs) / sizeof(descs[0]), features);                                         \
	} while (0)

TEST(broken_chains)
{
	/* a loop of one, of two */
	BROKEN(0, {RIG_DATA_GPA, 8, RING_DESC_NEXT, 0});
	BROKEN(0, {RIG_DATA_GPA, 8, RING_DESC_NEXT, 1}, {RIG_DATA_GPA, 8, RING_DESC_NEXT, 0});
	/* next outside the table */
	BROKEN(0, {RIG_DATA_GPA, 8, RING_DESC_NEXT, RING_NUM});
	/* outside memory, at the end, wrapping */
	BROKEN(0, {RIG_BYTES, 1, 0, 0});
	BROKEN(0, {RIG_BYTES - 1, 2, 0, 0});
	BROKEN(0, {UINT64_MAX, 2, 0, 0});
	BROKEN(0, {RIG_DATA_GPA, UINT32_MAX, 0, 0});
	/* no bytes at all */
	BROKEN(0, {RIG_DATA_GPA, 0, 0, 0});
	/* out behind in */
	BROKEN(0, {RIG_DATA_GPA, 8, RING_DESC_NEXT | RING_DESC_WRITE, 1}, {RIG_DATA_GPA, 8, 0, 0});
	/* indirect: odd size, none, too long, outside memory, together with next */
	BROKEN(RIG_F_INDIRECT_DESC, {RIG_DATA_GPA, 17, RING_DESC_INDIRECT, 0});
	BROKEN(RIG_F_INDIRECT_DESC, {RIG_DATA_GPA, 0, RING_DESC_INDIRECT, 0});
	BROKEN(RIG_F_INDIRECT_DESC, {RIG_DATA_GPA, 16 * (VIRTQ_CHAIN_MAX + 1), RING_DESC_INDIRECT, 0});
	BROKEN(RIG_F_INDIRECT_DESC, {RIG_BYTES - 8, 16, RING_DESC_INDIRECT, 0});
	BROKEN(RIG_F_INDIRECT_DESC, {RIG_DATA_GPA, 16, RING_DESC_INDIRECT | RING_DESC_NEXT, 1});
}

TEST(nested_indirect_is_broken)
{
	struct ring *ring = ring_make(RIG_F_INDIRECT_DESC);
	uint64_t table = rig_alloc(&rig, 16);
	struct ring_desc inner = {table, 16, RING_DESC_INDIRECT, 0};

	memcpy(rig_at(&rig, table), &inner, sizeof(inner));
	*ring_desc(ring, 0) = (struct ring_desc){table, 16, RING_DESC_INDIRECT, 0};
	ring_offer(ring, 0);
	CHECK_INT(pop(), -EPROTO);
	idle_end();
}

/* All that could be reached by a wrong index is a good descriptor: only the index itself is wrong. */
static struct ring *ring_of_good(uint64_t features)
{
	struct ring *ring = ring_make(features);
	struct ring_desc *table = rig_at(&rig, ring->desc_gpa);

	for (unsigned i = 0; i < 2 * RING_NUM; i++)
		table[i] = (struct ring_desc){RIG_DATA_GPA, 8, 0, 0};
	return ring;
}

TEST(bad_indices)
{
	struct ring *ring = ring_of_good(0);

	ring_offer(ring, RING_NUM); /* head outside the table */
	CHECK_INT(pop(), -EPROTO);
	idle_end();
	ring = ring_of_good(0);
	*ring_desc(ring, 0) = (struct ring_desc){RIG_DATA_GPA, 8, RING_DESC_NEXT, RING_NUM};
	ring_offer(ring, 0); /* next outside the table */
	CHECK_INT(pop(), -EPROTO);
	idle_end();
	ring = ring_of_good(0);
	ring_set_avail_idx(ring, RING_NUM); /* as much as the ring holds */
	CHECK_INT(pop(), 1);
	idle_end();
	ring = ring_of_good(0);
	ring_set_avail_idx(ring, RING_NUM + 1); /* more */
	CHECK_INT(pop(), -EPROTO);
	idle_end();
	ring = ring_of_good(0);
	ring_set_avail_idx(ring, UINT16_MAX); /* backwards */
	CHECK_INT(pop(), -EPROTO);
	/* and a ring that was repaired behind our back stays broken */
	ring_set_avail_idx(ring, 1);
	CHECK_INT(pop(), -EPROTO);
	CHECK(!virtq_kick_enable(&idle.dev.queues[0]));
	idle_end();
}

/* direct buffers, then an indirect table of more, all of them good. */
static int pop_of(unsigned direct, unsigned indirect)
{
	struct ring *ring = ring_of_good(RIG_F_INDIRECT_DESC);
	uint64_t table_gpa = rig_alloc(&rig, 16 * (size_t)indirect);
	struct ring_desc *table = rig_at(&rig, table_gpa);
	int got;

	for (unsigned i = 0; i < direct; i++)
		*ring_desc(ring, i) = (struct ring_desc){RIG_DATA_GPA, 1, RING_DESC_NEXT, (uint16_t)(i + 1)};
	*ring_desc(ring, direct) = (struct ring_desc){table_gpa, 16 * indirect, RING_DESC_INDIRECT, 0};
	for (unsigned i = 0; i < indirect; i++)
		table[i] = (struct ring_desc){RIG_DATA_GPA, 1, i + 1 < indirect ? RING_DESC_NEXT : 0, (uint16_t)(i + 1)};
	ring_offer(ring, 0);
	got = pop();
	idle_end();
	return got;
}

TEST(chains_are_bounded)
{
	struct ring *ring = ring_of_good(RIG_F_INDIRECT_DESC);
	uint64_t table_gpa = rig_alloc(&rig, 16 * (VIRTQ_CHAIN_MAX + 1));

	/* a table that is too long, of which one descriptor is used */
	memcpy(rig_at(&rig, table_gpa), ring_desc(ring, 0), sizeof(struct ring_desc));
	*ring_desc(ring, 0) = (struct ring_desc){table_gpa, 16 * (VIRTQ_CHAIN_MAX + 1), RING_DESC_INDIRECT, 0};
	ring_offer(ring, 0);
	CHECK_INT(pop(), -EPROTO);
	idle_end();
	CHECK_INT(pop_of(0, VIRTQ_CHAIN_MAX), 1);
	CHECK_INT(pop_of(3, 5), 1);
	CHECK_INT(pop_of(200, 56), 1);
	CHECK_INT(pop_of(200, 57), -EPROTO);
	CHECK_INT(pop_of(255, 256), -EPROTO);
}

/* Memory of which nothing is touched but the rings; count descriptors over nearly all of it. */
static int pop_of_bytes(unsigned count, uint32_t bytes_each)
{
	enum { BYTES = 64 << 20, DESC = 0, AVAIL = 0x2000, USED = 0x3000 };
	struct virtq vq = {.desc_gpa = DESC, .avail_gpa = AVAIL, .used_gpa = USED, .num = 128, .ready = true};
	const uint16_t one = 1;
	struct mem mem;
	int got;

	if (!CHECK_INT(mem_init(&mem, BYTES), 0))
		return -ENOMEM;
	vq.mem = &mem;
	for (unsigned i = 0; i < count; i++) {
		struct ring_desc desc = {0, bytes_each, i + 1 < count ? RING_DESC_NEXT : 0, (uint16_t)(i + 1)};

		CHECK(mem_write(&mem, DESC + 16 * i, &desc, sizeof(desc)));
	}
	CHECK(mem_write(&mem, AVAIL + 2, &one, 2));
	got = virtq_pop(&vq, &idle.chain);
	mem_fini(&mem);
	return got;
}

/* 2.7.4: a chain is 2^32 bytes at most. */
TEST(chains_of_four_gigabytes_are_bounded)
{
	CHECK_INT(pop_of_bytes(64, 64 << 20), 1);
	CHECK_INT(pop_of_bytes(65, 64 << 20), -EPROTO);
	CHECK_INT(pop_of_bytes(128, 64 << 20), -EPROTO);
}

TEST(interrupts_as_asked)
{
	struct ring *ring = ring_make(0);
	uint16_t one = 1, zero = 0;

	ring_post(ring, 8);
	pop();
	CHECK(!virtq_wants_irq(&idle.dev.queues[0])); /* nothing pushed yet */
	virtq_push(&idle.dev.queues[0], idle.chain.head, 0);
	CHECK(virtq_wants_irq(&idle.dev.queues[0]));
	CHECK(!virtq_wants_irq(&idle.dev.queues[0])); /* said once */
	memcpy(rig_at(&rig, ring->avail_gpa), &one, 2); /* VRING_AVAIL_F_NO_INTERRUPT */
	ring_post(ring, 8);
	pop();
	virtq_push(&idle.dev.queues[0], idle.chain.head, 0);
	CHECK(!virtq_wants_irq(&idle.dev.queues[0]));
	memcpy(rig_at(&rig, ring->avail_gpa), &zero, 2);
	idle_end();
}

TEST(interrupts_by_event_index)
{
	struct ring *ring = ring_make(RIG_F_EVENT_IDX);
	uint16_t event = 2;

	memcpy(rig_at(&rig, ring->avail_gpa + 4 + 2 * RING_NUM), &event, 2); /* wake me after the third */
	for (unsigned i = 0; i < 4; i++) {
		ring_post(ring, 8);
		CHECK_INT(pop(), 1);
		virtq_push(&idle.dev.queues[0], idle.chain.head, 0);
		CHECK_INT(virtq_wants_irq(&idle.dev.queues[0]), i == 2);
	}
	idle_end();
}

/* The one the driver waits for lies in the middle of what was pushed together, also where the index wraps. */
TEST(event_index_within_a_batch)
{
	struct ring *ring = ring_make(RIG_F_EVENT_IDX);
	struct virtq *vq = &idle.dev.queues[0];
	static const struct {
		uint16_t from, count, event;
		bool wanted;
	} batches[] = {
		{0, 4, 1, true}, {0, 4, 0, true}, {0, 4, 3, true}, {0, 4, 4, false}, {0, 4, 65535, false},
		{65534, 4, 65535, true}, {65534, 4, 1, true}, {65534, 4, 2, false}, {65534, 4, 65533, false},
	};

	for (unsigned i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
		vq->used_idx = vq->signalled_used = batches[i].from;
		memcpy(rig_at(&rig, ring->avail_gpa + 4 + 2 * RING_NUM), &batches[i].event, 2);
		for (unsigned k = 0; k < batches[i].count; k++)
			virtq_push(vq, 0, 0);
		CHECK_INT(virtq_wants_irq(vq), batches[i].wanted);
	}
	idle_end();
}

TEST(kicks_switched_off_and_on)
{
	struct ring *ring = ring_make(0);
	uint16_t flags;

	virtq_kick_disable(&idle.dev.queues[0]);
	memcpy(&flags, rig_at(&rig, ring->used_gpa), 2);
	CHECK_INT(flags, VRING_USED_F_NO_NOTIFY);
	CHECK(!virtq_kick_enable(&idle.dev.queues[0]));
	memcpy(&flags, rig_at(&rig, ring->used_gpa), 2);
	CHECK_INT(flags, 0);
	ring_post(ring, 8);
	CHECK(virtq_kick_enable(&idle.dev.queues[0])); /* came in between */
	idle_end();
}

TEST(broken_ring_lets_the_rest_live)
{
	struct rng *rng;
	struct ring *ring;

	rig_init(&rig);
	rng = rng_new(&rig.env);
	CHECK(rig_start(&rig, rng_dev(rng), 0));
	ring = &rig.rings[0];
	ring_offer(ring, RING_NUM);
	ring_kick(ring);
	CHECK(rig_read(&rig, VIRTIO_MMIO_STATUS) & RIG_NEEDS_RESET);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	CHECK(rig_start(&rig, rng_dev(rng), 0)); /* a reset heals it */
	ring = &rig.rings[0];
	ring_post(ring, 16);
	CHECK_INT(ring_take(ring, NULL, 0), 16);
	rng_free(rng);
	rig_fini(&rig);
}

TEST(rng_fills_and_caps)
{
	struct rng *rng;
	uint8_t bytes[64], zero[64] = {0};
	struct ring *ring;

	rig_init(&rig);
	rng = rng_new(&rig.env);
	CHECK(rig_start(&rig, rng_dev(rng), 0));
	ring = &rig.rings[0];
	ring_post(ring, sizeof(bytes));
	CHECK_INT(ring_take(ring, bytes, sizeof(bytes)), sizeof(bytes));
	CHECK(memcmp(bytes, zero, sizeof(bytes)) != 0);
	ring_post(ring, 1 << 20);
	CHECK_INT(ring_take(ring, NULL, 0), RNG_REQUEST_BYTES_MAX);
	ring_send(ring, "no room", 7); /* a chain that can not be answered still comes back */
	CHECK_INT(ring_take(ring, NULL, 0), 0);
	CHECK_INT(rig.irqs, 3);
	rng_free(rng);
	rig_fini(&rig);
}

TEST(rng_work_is_bounded_per_kick)
{
	struct rng *rng;
	struct ring *ring;

	rig_init(&rig);
	rng = rng_new(&rig.env);
	CHECK(rig_start(&rig, rng_dev(rng), 0));
	ring = &rig.rings[0];
	/* The device writes into the avail ring itself: every answer may make new work. It must not go on for ever. */
	for (unsigned i = 0; i < RING_NUM; i++) {
		*ring_desc(ring, i) = (struct ring_desc){ring->avail_gpa, 4 + 2 * RING_NUM, RING_DESC_WRITE, 0};
		ring_offer(ring, (uint16_t)i);
	}
	ring_kick(ring);
	CHECK(ring_takeable(ring) <= RING_NUM);
	rng_free(rng);
	rig_fini(&rig);
}

/* A full ring is as much as one kick may do: what is there then waits for the next turn. */
TEST(rng_goes_on_in_the_next_turn)
{
	struct rng *rng;
	struct ring *ring;

	rig_init(&rig);
	rng = rng_new(&rig.env);
	CHECK(rig_start(&rig, rng_dev(rng), 0));
	ring = &rig.rings[0];
	for (unsigned i = 0; i < RING_NUM; i++)
		ring_add(ring, NULL, 0, &(struct ring_buf){RIG_DATA_GPA, 16}, 1);
	ring_kick(ring);
	CHECK_INT(ring_takeable(ring), RING_NUM);
	CHECK_INT(rng_dev(rng)->again_queues, 1);
	rig_turn(&rig);
	CHECK_INT(rng_dev(rng)->again_queues, 0);
	rng_free(rng);
	rig_fini(&rig);
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
	rig_write(&rig, VIRTIO_MMIO_STATUS, RIG_ACKNOWLEDGE);
	rig_write(&rig, VIRTIO_MMIO_STATUS, RIG_ACKNOWLEDGE | RIG_DRIVER);
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)RIG_F_INDIRECT_DESC);
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	rig_write(&rig, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	rig_write(&rig, VIRTIO_MMIO_STATUS, RIG_ACKNOWLEDGE | RIG_DRIVER | RIG_FEATURES_OK);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_NUM, 1);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)desc);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)avail);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)used);
	rig_write(&rig, VIRTIO_MMIO_QUEUE_READY, 1);
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

TEST(filled_chains_appear_together)
{
	struct ring *ring = ring_make(0);
	uint16_t heads[3];

	for (unsigned i = 0; i < 3; i++) {
		ring_post(ring, 16);
		CHECK_INT(pop(), 1);
		heads[i] = idle.chain.head;
	}
	virtq_fill(&idle.dev.queues[0], 0, heads[0], 1);
	virtq_fill(&idle.dev.queues[0], 1, heads[1], 2);
	CHECK_INT(ring_takeable(ring), 0);
	virtq_publish(&idle.dev.queues[0], 2);
	CHECK_INT(ring_takeable(ring), 2);
	CHECK_INT(ring_take(ring, NULL, 0), 1);
	CHECK_INT(ring_take(ring, NULL, 0), 2);
	virtq_unpop(&idle.dev.queues[0], 1);
	CHECK_INT(pop(), 1);
	CHECK_INT(idle.chain.head, heads[2]);
	idle_end();
}

/* Half of the work is done, half waits in the ring when the state moves to another device on the same memory. */
TEST(state_moves_in_mid_work)
{
	struct rng *rng, *other;
	struct rng_state state;
	struct ring *ring;
	unsigned irqs;

	rig_init(&rig);
	rng = rng_new(&rig.env);
	other = rng_new(&rig.env);
	CHECK(rig_start(&rig, rng_dev(rng), RIG_F_EVENT_IDX | RIG_F_INDIRECT_DESC));
	ring = &rig.rings[0];
	ring_post(ring, 64);
	ring_add(ring, NULL, 0, &(struct ring_buf){rig_alloc(&rig, 100), 100}, 1); /* offered, not kicked */
	rng_save(rng, &state);
	CHECK_INT(state.virtio.queues[0].last_avail, 1);
	rng_free(rng);
	irqs = rig.irqs;
	CHECK_INT(rng_load(other, &state), 0);
	CHECK_INT(rig.irqs, irqs + 1); /* the one that nobody acknowledged */
	rig.dev = rng_dev(other);
	CHECK_INT(rig_read(&rig, VIRTIO_MMIO_STATUS), 15);
	rig_turn(&rig);
	CHECK_INT(ring_take(ring, NULL, 0), 64);
	CHECK_INT(ring_take(ring, NULL, 0), 100);
	ring_post(ring, 5);
	CHECK_INT(ring_take(ring, NULL, 0), 5);
	rng_free(other);
	rig_fini(&rig);
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
	RUN(chain_both_ways);
	RUN(rest_as_iovecs);
	RUN(unpop_gives_the_chain_again);
	RUN(indices_wrap_at_65536);
	RUN(indirect_when_negotiated);
	RUN(broken_chains);
	RUN(nested_indirect_is_broken);
	RUN(bad_indices);
	RUN(chains_are_bounded);
	RUN(chains_of_four_gigabytes_are_bounded);
	RUN(interrupts_as_asked);
	RUN(interrupts_by_event_index);
	RUN(event_index_within_a_batch);
	RUN(kicks_switched_off_and_on);
	RUN(broken_ring_lets_the_rest_live);
	RUN(rng_fills_and_caps);
	RUN(rng_work_is_bounded_per_kick);
	RUN(rng_goes_on_in_the_next_turn);
	RUN(work_that_makes_work_waits_for_its_turn);
	RUN(a_reset_forgets_everything);
	RUN(config_changes_are_told);
	RUN(features_can_be_tried_again);
	RUN(filled_chains_appear_together);
	RUN(state_moves_in_mid_work);
	RUN(state_is_not_trusted);
	RUN(slow_device_stops_nobody);
	return test_done();
}
