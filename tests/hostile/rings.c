// SPDX-License-Identifier: Apache-2.0
/* rings: the hostile kernel's abuse of virtqueues: chains, indexes and rings that break each rule of virtio 1.2, 2.7. */
#include "tests/hostile/hostile.h"

enum { FLOOD_TURNS = 20, RESETS_IN_FLIGHT = 100, RING_MAX = 256 };

/* What a device must say to it. */
enum verdict { BROKEN, ANY };

struct bad_chain {
	const char *name;
	void (*lay)(struct queue *queue);
	enum verdict verdict;
	uint64_t features;
};

static struct desc table[300] __attribute__((aligned(4096)));

static void one(struct queue *queue, uint64_t gpa, uint32_t bytes, uint16_t flags, uint16_t next)
{
	queue->desc[0] = (struct desc){gpa, bytes, flags, next};
	queue_offer(queue, 0);
}

static uint64_t buffer(struct queue *queue)
{
	return (uint64_t)queue->buffer[0];
}

static void head_at_size(struct queue *queue)
{
	queue_offer(queue, RING);
}

static void head_65535(struct queue *queue)
{
	queue_offer(queue, 65535);
}

static void index_one_too_far(struct queue *queue)
{
	queue->avail.idx = RING + 1;
}

static void index_backwards(struct queue *queue)
{
	queue->avail.idx = 65535;
}

static void index_half_way(struct queue *queue)
{
	queue->avail.idx = 32768;
}

static void loop_of_one(struct queue *queue)
{
	one(queue, buffer(queue), 8, DESC_NEXT, 0);
}

static void loop_of_two(struct queue *queue)
{
	queue->desc[1] = (struct desc){buffer(queue), 8, DESC_NEXT, 0};
	one(queue, buffer(queue), 8, DESC_NEXT, 1);
}

static void next_outside(struct queue *queue)
{
	one(queue, buffer(queue), 8, DESC_NEXT, RING);
}

static void behind_memory(struct queue *queue)
{
	one(queue, ram_end_gpa, 8, 0, 0);
}

static void over_the_end(struct queue *queue)
{
	one(queue, ram_end_gpa - 8, 9, 0, 0);
}

static void wraps_around(struct queue *queue)
{
	one(queue, UINT64_MAX - 7, 16, 0, 0);
}

static void wraps_to_memory(struct queue *queue)
{
	one(queue, UINT64_MAX - 0xfff, 0x3000, DESC_WRITE, 0);
}

static void longest_length(struct queue *queue)
{
	one(queue, buffer(queue), UINT32_MAX, 0, 0);
}

static void no_bytes(struct queue *queue)
{
	one(queue, buffer(queue), 0, 0, 0);
}

static void on_registers(struct queue *queue)
{
	one(queue, MMIO_FIRST_GPA, 64, DESC_WRITE, 0);
}

static void on_the_local_apic(struct queue *queue)
{
	one(queue, 0xfee00000, 64, DESC_WRITE, 0);
}

static void out_behind_in(struct queue *queue)
{
	queue->desc[1] = (struct desc){buffer(queue), 8, 0, 0};
	one(queue, buffer(queue), 8, DESC_WRITE | DESC_NEXT, 1);
}

static void four_gigabytes(struct queue *queue)
{
	for (unsigned i = 0; i < RING; i++)
		queue->desc[i] = (struct desc){0, (uint32_t)ram_end_gpa, i < RING - 1 ? DESC_NEXT : 0, (uint16_t)(i + 1)};
	queue_offer(queue, 0);
}

static void indirect(struct queue *queue)
{
	table[0] = (struct desc){buffer(queue), 8, 0, 0};
	one(queue, (uint64_t)table, 16, DESC_INDIRECT, 0);
}

static void indirect_nested(struct queue *queue)
{
	table[0] = (struct desc){(uint64_t)table, 16, DESC_INDIRECT, 0};
	one(queue, (uint64_t)table, 16, DESC_INDIRECT, 0);
}

static void indirect_loop(struct queue *queue)
{
	table[0] = (struct desc){buffer(queue), 8, DESC_NEXT, 1};
	table[1] = (struct desc){buffer(queue), 8, DESC_NEXT, 0};
	one(queue, (uint64_t)table, 32, DESC_INDIRECT, 0);
}

static void indirect_odd(struct queue *queue)
{
	one(queue, (uint64_t)table, 17, DESC_INDIRECT, 0);
}

static void indirect_empty(struct queue *queue)
{
	one(queue, (uint64_t)table, 0, DESC_INDIRECT, 0);
}

static void indirect_long(struct queue *queue)
{
	for (unsigned i = 0; i < 300; i++)
		table[i] = (struct desc){buffer(queue), 1, i < 299 ? DESC_NEXT : 0, (uint16_t)(i + 1)};
	one(queue, (uint64_t)table, 300 * 16, DESC_INDIRECT, 0);
}

static void indirect_huge(struct queue *queue)
{
	one(queue, (uint64_t)table, 0xfffffff0, DESC_INDIRECT, 0);
}

static void indirect_outside(struct queue *queue)
{
	one(queue, ram_end_gpa - 8, 16, DESC_INDIRECT, 0);
}

static void indirect_and_next(struct queue *queue)
{
	one(queue, (uint64_t)table, 16, DESC_INDIRECT | DESC_NEXT, 1);
}

/* The rest keeps the letter of the ring's rules; what a device makes of it is its own affair. */

static void whole_ring_of_single_bytes(struct queue *queue)
{
	for (unsigned i = 0; i < RING; i++)
		queue->desc[i] = (struct desc){buffer(queue) + i, 1, i < RING - 1 ? DESC_NEXT : 0, (uint16_t)(i + 1)};
	queue_offer(queue, 0);
}

static void room_only(struct queue *queue)
{
	one(queue, buffer(queue), 4096, DESC_WRITE, 0);
}

/* The device's answer changes the ring it is working on. */
static void onto_avail(struct queue *queue)
{
	for (unsigned i = 0; i < RING; i++) {
		queue->desc[i] = (struct desc){(uint64_t)&queue->avail, sizeof(queue->avail), DESC_WRITE, 0};
		queue_offer(queue, (uint16_t)i);
	}
}

static void onto_used(struct queue *queue)
{
	for (unsigned i = 0; i < RING; i++) {
		queue->desc[i] = (struct desc){(uint64_t)&queue->used, sizeof(queue->used), DESC_WRITE, 0};
		queue_offer(queue, (uint16_t)i);
	}
}

static void onto_descriptors(struct queue *queue)
{
	for (unsigned i = 0; i < RING; i++) {
		queue->desc[i] = (struct desc){(uint64_t)queue->desc, sizeof(queue->desc), DESC_WRITE, 0};
		queue_offer(queue, (uint16_t)i);
	}
}

static void same_head_again(struct queue *queue)
{
	queue->desc[0] = (struct desc){buffer(queue), 64, DESC_WRITE, 0};
	for (unsigned i = 0; i < RING; i++)
		queue_offer(queue, 0);
}

static void garbage(struct queue *queue)
{
	uint64_t seed = rdtsc();

	for (unsigned i = 0; i < sizeof(queue->desc); i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1;
		((uint8_t *)queue->desc)[i] = (uint8_t)(seed >> 56);
	}
	for (unsigned i = 0; i < RING; i++)
		queue_offer(queue, (uint16_t)i);
}

static const struct bad_chain bad_chains[] = {
	{"head just outside", head_at_size, BROKEN, 0},
	{"head 65535", head_65535, BROKEN, 0},
	{"index one too far", index_one_too_far, BROKEN, 0},
	{"index backwards", index_backwards, BROKEN, 0},
	{"index half way round", index_half_way, BROKEN, F_EVENT_IDX},
	{"loop of one", loop_of_one, BROKEN, 0},
	{"loop of two", loop_of_two, BROKEN, 0},
	{"next outside", next_outside, BROKEN, 0},
	{"buffer behind memory", behind_memory, BROKEN, 0},
	{"buffer over the end of memory", over_the_end, BROKEN, 0},
	{"buffer that wraps", wraps_around, BROKEN, 0},
	{"buffer that wraps to memory", wraps_to_memory, BROKEN, 0},
	{"longest length", longest_length, BROKEN, 0},
	{"no bytes", no_bytes, BROKEN, 0},
	{"buffer on registers", on_registers, BROKEN, 0},
	{"buffer on the local APIC", on_the_local_apic, BROKEN, 0},
	{"out behind in", out_behind_in, BROKEN, 0},
	{"all of memory, 64 times", four_gigabytes, ANY, 0},
	{"indirect, not negotiated", indirect, BROKEN, 0},
	{"indirect in indirect", indirect_nested, BROKEN, F_INDIRECT},
	{"loop in an indirect table", indirect_loop, BROKEN, F_INDIRECT},
	{"indirect of odd length", indirect_odd, BROKEN, F_INDIRECT},
	{"indirect of no length", indirect_empty, BROKEN, F_INDIRECT},
	{"indirect of 300", indirect_long, BROKEN, F_INDIRECT},
	{"indirect of 4 GiB", indirect_huge, BROKEN, F_INDIRECT},
	{"indirect outside", indirect_outside, BROKEN, F_INDIRECT},
	{"indirect and next", indirect_and_next, BROKEN, F_INDIRECT},
	{"a ring full of single bytes", whole_ring_of_single_bytes, ANY, F_INDIRECT},
	{"room only", room_only, ANY, 0},
	{"answers onto the avail ring", onto_avail, ANY, 0},
	{"answers onto the used ring", onto_used, ANY, F_EVENT_IDX},
	{"answers onto the descriptors", onto_descriptors, ANY, F_INDIRECT},
	{"the same head again and again", same_head_again, ANY, F_EVENT_IDX},
	{"garbage", garbage, ANY, F_INDIRECT | F_EVENT_IDX},
};

static void chain_try(struct device *dev, const struct bad_chain *bad)
{
	if (!device_start(dev, bad->features)) {
		check(false, "an honest start", bad->name);
		return;
	}
	for (unsigned i = 0; i < dev->queues; i++) {
		bad->lay(&dev->queue[i]);
		queue_kick(dev, i);
	}
	if (bad->verdict == BROKEN && !device_wait_broken(dev))
		check(false, "it was not taken", bad->name);
	for (unsigned turn = 0; turn < FLOOD_TURNS; turn++)
		for (unsigned i = 0; i < dev->queues + 1; i++)
			queue_kick(dev, i);
	check_world(dev, bad->name);
}

/* ---- rings in odd places ---- */

struct bad_ring {
	const char *name;
	uint32_t num;
	uint64_t desc, avail, used;
	enum verdict verdict; /* BROKEN: refused at QueueReady */
};

/* Three pages for rings that overlap, and a copy of the page tables that the CPU uses. */
static uint8_t area[8 * 4096] __attribute__((aligned(4096)));

static void ring_try(struct device *dev, const struct bad_ring *bad)
{
	bool ready;

	device_negotiate(dev, F_INDIRECT | F_EVENT_IDX);
	memcpy(area, (const void *)UINT64_C(0x9000), 6 * 4096);
	for (unsigned i = 0; i < dev->queues; i++)
		queue_set(dev, i, bad->num, bad->desc, bad->avail, bad->used);
	ready = reg_read(dev, REG_QUEUE_READY);
	if (bad->verdict == BROKEN)
		check(!ready && reg_read(dev, REG_STATUS) & ST_NEEDS_RESET, bad->name, "a ring that was refused");
	reg_write(dev, REG_STATUS, ST_ACKNOWLEDGE | ST_DRIVER | ST_FEATURES_OK | ST_DRIVER_OK);
	for (unsigned turn = 0; turn < FLOOD_TURNS; turn++)
		for (unsigned i = 0; i < dev->queues; i++)
			queue_kick(dev, i);
	check_world(dev, bad->name);
}

static void rings_try(struct device *dev)
{
	const uint64_t at = (uint64_t)area, page = 4096;
	const struct bad_ring bad_rings[] = {
		{"no entries", 0, at, at + page, at + 2 * page, BROKEN},
		{"three entries", 3, at, at + page, at + 2 * page, BROKEN},
		{"512 entries", 512, at, at + 2 * page, at + 4 * page, BROKEN},
		{"65535 entries", 65535, at, at + page, at + 2 * page, BROKEN},
		{"65536 + 4 entries", 65540, at, at + page, at + 2 * page, BROKEN},
		{"2^31 entries", UINT32_C(1) << 31, at, at + page, at + 2 * page, BROKEN},
		{"descriptors unaligned", 4, at + 8, at + page, at + 2 * page, BROKEN},
		{"avail unaligned", 4, at, at + page + 1, at + 2 * page, BROKEN},
		{"used unaligned", 4, at, at + page, at + 2 * page + 2, BROKEN},
		{"descriptors on registers", 4, MMIO_FIRST_GPA, at, at + page, BROKEN},
		{"avail on registers", 4, at, MMIO_FIRST_GPA + 0x50, at + page, BROKEN},
		{"used on registers", 4, at, at + page, MMIO_FIRST_GPA + 0x50, BROKEN},
		{"used over the end", 256, at, at + page, ram_end_gpa - 2048, BROKEN},
		{"descriptors that wrap", 256, UINT64_MAX - 15, at, at + page, BROKEN},
		{"all in one place", 4, at, at, at, ANY},
		{"all in one place, 256", RING_MAX, at, at, at, ANY},
		{"on a copy of the page tables", RING_MAX, at, at + page, at + 2 * page, ANY},
		{"on page 0", 256, 0, 0, 0x1000, ANY},
	};

	for (unsigned i = 0; i < sizeof(bad_rings) / sizeof(bad_rings[0]); i++)
		ring_try(dev, &bad_rings[i]);
}

/* A full ring of work, and a reset before or while it is done. */
static void reset_in_flight(struct device *dev)
{
	for (unsigned i = 0; i < RESETS_IN_FLIGHT; i++) {
		device_start(dev, F_EVENT_IDX);
		same_head_again(&dev->queue[dev->work]);
		queue_kick(dev, dev->work);
		for (unsigned spin = 0; spin < i * 100; spin++)
			__asm__ volatile("pause");
		device_reset(dev);
	}
	check_world(dev, "resets in flight");
}

void abuse_rings(void)
{
	/* What "on page 0" may overwrite is podvm's first GDT: copied back, as interrupts need its code segment. */
	static uint8_t low[0x3000];

	for (unsigned i = 0; i < device_count; i++) {
		for (unsigned c = 0; c < sizeof(bad_chains) / sizeof(bad_chains[0]); c++)
			chain_try(&devices[i], &bad_chains[c]);
		memcpy(low, NULL, sizeof(low));
		rings_try(&devices[i]);
		memcpy(NULL, low, sizeof(low));
		reset_in_flight(&devices[i]);
	}
}
