// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_balloon: what a hostile guest can do with a balloon: page numbers of any value in chains of any shape, reports of
 * any range (its own rings among them), its config fields, in any order, with resets and moved states between.
 *
 * An input is a list of records: one byte what to do, then its fields (see act()); a record that is cut short has
 * zeros for the rest.
 *
 * Oracles: no sanitizer report; not a byte outside guest memory changes (CANARY_BYTES behind it); every chain taken is
 * given back at once; the balloon never holds more than there is; nothing runs for ever.
 */
#include "devices/balloon.h"
#include "lib/util.h"
#include "tests/fuzz/input.h"
#include "tests/unit/ring.h"

#include <linux/virtio_balloon.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	RECORDS_MAX = 512,
	CANARY_BYTES = 1 << 20,
	GUEST_BYTES = RIG_BYTES - CANARY_BYTES,
	CANARY = 0xaa,
	QUEUES = BALLOON_QUEUE_REPORT + 1,
	BUFS_MAX = 8,
	LIST_BYTES = 16 * 1024,
	TABLE_BYTES = 4096, /* more than an indirect table of BUFS_MAX takes */
};

enum what { PAGES, RUN_OF_PAGES, RANGES, RAW_CHAIN, CONFIG, TARGET, TURN, RESTART, MOVE, KINDS };

static struct rig rig;
static struct balloon *balloon;
static uint64_t list_gpa;
static uint16_t skew[QUEUES]; /* of a queue's two counters, from a state that was spoilt */

static void start(uint64_t features)
{
	rig_alloc_reset(&rig);
	memset(skew, 0, sizeof(skew));
	must(rig_start(&rig, balloon_dev(balloon), features), "start refused");
	list_gpa = rig_alloc(&rig, LIST_BYTES);
}

static uint64_t draw_features(struct input *in)
{
	uint8_t bits = (uint8_t)input_number(in, 1);

	return (bits & 1 ? UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING : 0) |
	       (bits & 2 ? UINT64_C(1) << VIRTIO_BALLOON_F_PAGE_POISON : 0) |
	       (bits & 4 ? UINT64_C(1) << VIRTIO_BALLOON_F_DEFLATE_ON_OOM : 0) | (bits & 8 ? RIG_F_EVENT_IDX : 0) |
	       RIG_F_INDIRECT_DESC;
}

/* Descriptors are never taken back, as the guest may have had its rings discarded: it starts again before they run out. */
static struct ring *ring_for(unsigned queue, unsigned descriptors)
{
	unsigned left = 0;

	for (unsigned i = 0; i < RING_NUM; i++)
		left += !rig.rings[queue].taken[i];
	if (left < descriptors || rig.next_gpa + TABLE_BYTES > GUEST_BYTES)
		start(balloon_dev(balloon)->driver_features);
	return &rig.rings[queue];
}

static void send_list(unsigned queue, size_t bytes)
{
	struct ring *ring = ring_for(queue, 1);
	struct ring_buf buf = {list_gpa, (uint32_t)bytes};

	if (!bytes)
		return;
	ring_add(ring, &buf, 1, NULL, 0);
	ring_kick(ring);
}

/* Page numbers as the input has them: near the guest's memory, or anything. */
static void send_pages(struct input *in)
{
	unsigned queue = input_number(in, 1) & 1, count = (unsigned)input_number(in, 1);
	uint32_t *list = rig_at(&rig, list_gpa);

	for (unsigned i = 0; i < count && in->bytes; i++)
		list[i] = (uint32_t)(input_number(in, 1) & 1 ? input_number(in, 4) : input_number(in, 2) % (GUEST_BYTES / 4096 + 2));
	send_list(queue, count * sizeof(*list));
}

static void send_run(struct input *in)
{
	uint32_t first = (uint32_t)input_number(in, 4), step = (uint32_t)input_number(in, 1) % 4;
	size_t count = MIN((size_t)input_number(in, 2), LIST_BYTES / sizeof(uint32_t));
	uint32_t *list = rig_at(&rig, list_gpa);

	for (size_t i = 0; i < count; i++)
		list[i] = first + step * (uint32_t)i;
	send_list(BALLOON_QUEUE_INFLATE, count * sizeof(*list));
}

static void send_ranges(struct input *in)
{
	unsigned queue = (unsigned)input_number(in, 1) % QUEUES, count = 1 + (unsigned)input_number(in, 1) % BUFS_MAX;
	struct ring *ring = ring_for(queue, count);
	struct ring_buf bufs[BUFS_MAX];

	for (unsigned i = 0; i < count; i++) {
		bufs[i].gpa = input_number(in, 3);
		bufs[i].bytes = (uint32_t)input_number(in, 3);
	}
	if (count > 4)
		ring_add_indirect(ring, NULL, 0, bufs, count);
	else
		ring_add(ring, NULL, 0, bufs, count);
	ring_kick(ring);
}

static void send_raw(struct input *in)
{
	unsigned queue = (unsigned)input_number(in, 1) % QUEUES, first = (unsigned)input_number(in, 1);
	struct ring *ring = &rig.rings[queue];

	*ring_desc(ring, first) = (struct ring_desc){.gpa = input_number(in, 8),
						     .bytes = (uint32_t)input_number(in, 4),
						     .flags = (uint16_t)input_number(in, 1),
						     .next = (uint16_t)input_number(in, 2)};
	ring_offer(ring, (uint16_t)first);
	ring_kick(ring);
}

/* The state goes to another device; spoilt, it is refused or does no harm. */
static void move(struct input *in)
{
	struct balloon *other = balloon_new(&rig.env);
	struct balloon_state state;
	size_t at = input_number(in, 2);

	balloon_save(balloon, &state);
	balloon_free(balloon);
	balloon = other;
	rig.dev = balloon_dev(balloon);
	if (at < sizeof(state))
		((uint8_t *)&state)[at] ^= (uint8_t)input_number(in, 1);
	if (balloon_load(balloon, &state)) {
		start(0);
		return;
	}
	for (unsigned i = 0; i < QUEUES; i++)
		skew[i] = (uint16_t)(rig.dev->queues[i].used_idx - rig.dev->queues[i].last_avail);
}

static void act(enum what what, struct input *in)
{
	unsigned offset;

	switch (what) {
	case PAGES:
		send_pages(in);
		break;
	case RUN_OF_PAGES:
		send_run(in);
		break;
	case RANGES:
		send_ranges(in);
		break;
	case RAW_CHAIN:
		send_raw(in);
		break;
	case CONFIG:
		offset = (unsigned)input_number(in, 1) % 20;
		virtio_mmio_ops.write(rig.dev, RIG_REG_CONFIG + offset, 1u << input_number(in, 1) % 4, input_number(in, 8));
		break;
	case TARGET:
		balloon_target_set(balloon, input_number(in, 8));
		break;
	case TURN:
		rig_turn(&rig);
		break;
	case MOVE:
		move(in);
		break;
	case RESTART:
	case KINDS:
		start(draw_features(in));
		break;
	}
}

static void check(void)
{
	const struct virtio_dev *dev = balloon_dev(balloon);

	must(balloon_actual_bytes(balloon) <= GUEST_BYTES, "more in the balloon than there is");
	must(rig_read(&rig, RIG_REG_CONFIG) <= GUEST_BYTES / 4096, "a target beyond all memory");
	for (unsigned i = 0; i < dev->queue_count; i++)
		must((uint16_t)(dev->queues[i].used_idx - dev->queues[i].last_avail) == skew[i],
		     "a chain was kept or given back twice");
}

static void open_all(void)
{
	if (!rig.memory) {
		rig_init(&rig);
		mem_init_buffer(&rig.mem, rig.memory, GUEST_BYTES);
		memset(rig.memory + GUEST_BYTES, CANARY, CANARY_BYTES);
	}
	balloon = balloon_new(&rig.env);
	start(UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING | RIG_F_INDIRECT_DESC);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = {data, bytes};

	open_all();
	for (unsigned i = 0; i < RECORDS_MAX && in.bytes; i++) {
		act((enum what)(input_number(&in, 1) % KINDS), &in);
		if (rig_read(&rig, RIG_REG_STATUS) & RIG_NEEDS_RESET)
			start(draw_features(&in));
		check();
	}
	rig_turn(&rig);
	for (size_t i = 0; i < CANARY_BYTES; i += 64)
		must(rig.memory[GUEST_BYTES + i] == CANARY, "memory outside the guest's was discarded");
	balloon_free(balloon);
	return 0;
}
