/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring: implementation of the driver's side (ring.h). Knows the split ring layout and the register file as the
 * specification has them and shares no code with devices/virtq.c, so that an error there is not repeated here.
 */
#include "tests/unit/ring.h"

#include "lib/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	REG_DEVICE_FEATURES = 0x10,
	REG_DEVICE_FEATURES_SEL = 0x14,
	REG_DRIVER_FEATURES = 0x20,
	REG_DRIVER_FEATURES_SEL = 0x24,
	REG_QUEUE_SEL = 0x30,
	REG_QUEUE_NUM = 0x38,
	REG_QUEUE_READY = 0x44,
	REG_QUEUE_DESC = 0x80,
	REG_QUEUE_DRIVER = 0x90,
	REG_QUEUE_DEVICE = 0xa0,
	RING_GPA_STEP = 64 << 10, /* one ring's three parts lie within this */
	RING_AVAIL_OFFSET = 8 << 10,
	RING_USED_OFFSET = 16 << 10,
};

/* After flags and idx: ring[RING_NUM], then used_event or avail_event. */
struct avail {
	uint16_t flags, idx, ring[RING_NUM], used_event;
};
struct used_entry {
	uint32_t head, bytes;
};
struct used {
	uint16_t flags, idx;
	struct used_entry ring[RING_NUM];
	uint16_t avail_event;
};

static void misuse(const char *what)
{
	fprintf(stderr, "ring: %s\n", what);
	abort();
}

static void count_irq(void *ctx)
{
	((struct rig *)ctx)->irqs++;
}

static void stop_loop(void *ctx)
{
	loop_stop(((struct rig *)ctx)->loop);
}

void rig_init(struct rig *rig)
{
	*rig = (struct rig){ .next_gpa = RIG_DATA_GPA };
	rig->memory = aligned_alloc(4096, RIG_BYTES);
	if (!rig->memory)
		misuse("no memory");
	memset(rig->memory, 0, RIG_BYTES);
	mem_init_buffer(&rig->mem, rig->memory, RIG_BYTES);
	rig->loop = loop_new();
	rig->stop = (struct loop_task){ .fn = stop_loop, .ctx = rig };
	rig->env = (struct virtio_env){ .mem = &rig->mem, .loop = rig->loop,
					.irq = { .raise = count_irq, .ctx = rig } };
}

void rig_fini(struct rig *rig)
{
	loop_free(rig->loop);
	mem_fini(&rig->mem);
	free(rig->memory);
}

uint32_t rig_read(struct rig *rig, unsigned reg)
{
	return (uint32_t)virtio_mmio_ops.read(rig->dev, reg, 4);
}

void rig_write(struct rig *rig, unsigned reg, uint32_t value)
{
	virtio_mmio_ops.write(rig->dev, reg, 4, value);
}

static void write_gpa(struct rig *rig, unsigned reg, uint64_t gpa)
{
	rig_write(rig, reg, (uint32_t)gpa);
	rig_write(rig, reg + 4, (uint32_t)(gpa >> 32));
}

uint64_t rig_features(struct rig *rig)
{
	uint64_t low, high;

	rig_write(rig, REG_DEVICE_FEATURES_SEL, 0);
	low = rig_read(rig, REG_DEVICE_FEATURES);
	rig_write(rig, REG_DEVICE_FEATURES_SEL, 1);
	high = rig_read(rig, REG_DEVICE_FEATURES);
	return high << 32 | low;
}

static void start_ring(struct rig *rig, unsigned queue)
{
	struct ring *ring = &rig->rings[queue];
	uint64_t gpa = (uint64_t)queue * RING_GPA_STEP;

	*ring = (struct ring){ .rig = rig, .queue = queue, .desc_gpa = gpa, .avail_gpa = gpa + RING_AVAIL_OFFSET,
			       .used_gpa = gpa + RING_USED_OFFSET };
	memset(rig->memory + gpa, 0, RING_GPA_STEP);
	rig_write(rig, REG_QUEUE_SEL, queue);
	rig_write(rig, REG_QUEUE_NUM, RING_NUM);
	write_gpa(rig, REG_QUEUE_DESC, ring->desc_gpa);
	write_gpa(rig, REG_QUEUE_DRIVER, ring->avail_gpa);
	write_gpa(rig, REG_QUEUE_DEVICE, ring->used_gpa);
	rig_write(rig, REG_QUEUE_READY, 1);
}

bool rig_negotiate(struct rig *rig, uint64_t features)
{
	uint32_t status = RIG_ACKNOWLEDGE;

	features |= RIG_F_VERSION_1;
	rig_reset(rig);
	rig_write(rig, RIG_REG_STATUS, status);
	rig_write(rig, RIG_REG_STATUS, status |= RIG_DRIVER);
	rig_write(rig, REG_DRIVER_FEATURES_SEL, 0);
	rig_write(rig, REG_DRIVER_FEATURES, (uint32_t)features);
	rig_write(rig, REG_DRIVER_FEATURES_SEL, 1);
	rig_write(rig, REG_DRIVER_FEATURES, (uint32_t)(features >> 32));
	rig_write(rig, RIG_REG_STATUS, status |= RIG_FEATURES_OK);
	return rig_read(rig, RIG_REG_STATUS) & RIG_FEATURES_OK;
}

bool rig_start(struct rig *rig, struct virtio_dev *dev, uint64_t features)
{
	uint32_t status = RIG_ACKNOWLEDGE | RIG_DRIVER | RIG_FEATURES_OK;

	rig->dev = dev;
	if (!rig_negotiate(rig, features))
		return false;
	for (unsigned i = 0; i < dev->queue_count; i++)
		start_ring(rig, i);
	rig_write(rig, RIG_REG_STATUS, status |= RIG_DRIVER_OK);
	return rig_read(rig, RIG_REG_STATUS) == status;
}

void rig_reset(struct rig *rig)
{
	rig_write(rig, RIG_REG_STATUS, 0);
}

void rig_turn(struct rig *rig)
{
	/* A waiting task makes the turn sleepless; posted last, this one ends it after all others ran. */
	loop_task_post(rig->loop, &rig->stop);
	loop_run(rig->loop);
}

void rig_run_ms(struct rig *rig, unsigned ms)
{
	struct loop_timer timer = { .fn = stop_loop, .ctx = rig };

	loop_timer_set(rig->loop, &timer, clock_mono_ns() + (uint64_t)ms * 1000000);
	loop_run(rig->loop);
	loop_timer_cancel(rig->loop, &timer);
}

uint64_t rig_alloc(struct rig *rig, size_t bytes)
{
	uint64_t gpa = rig->next_gpa;

	if (bytes > RIG_BYTES - gpa)
		misuse("guest memory is used up");
	rig->next_gpa = (gpa + bytes + 15) & ~UINT64_C(15);
	return gpa;
}

void rig_alloc_reset(struct rig *rig)
{
	rig->next_gpa = RIG_DATA_GPA;
}

void *rig_at(struct rig *rig, uint64_t gpa)
{
	if (gpa >= RIG_BYTES)
		misuse("address outside guest memory");
	return rig->memory + gpa;
}

struct ring_desc *ring_desc(struct ring *ring, unsigned i)
{
	if (i >= RING_NUM)
		misuse("no such descriptor");
	return (struct ring_desc *)rig_at(ring->rig, ring->desc_gpa) + i;
}

void ring_set_avail_idx(struct ring *ring, uint16_t idx)
{
	struct avail *avail = rig_at(ring->rig, ring->avail_gpa);

	__atomic_store_n(&avail->idx, idx, __ATOMIC_RELEASE);
	ring->avail_idx = idx;
}

void ring_offer(struct ring *ring, uint16_t head)
{
	struct avail *avail = rig_at(ring->rig, ring->avail_gpa);

	avail->ring[ring->avail_idx % RING_NUM] = head;
	ring_set_avail_idx(ring, (uint16_t)(ring->avail_idx + 1));
}

static uint16_t take_desc(struct ring *ring)
{
	for (unsigned i = 0; i < RING_NUM; i++)
		if (!ring->taken[i]) {
			ring->taken[i] = true;
			return (uint16_t)i;
		}
	misuse("no free descriptor");
	return 0;
}

uint16_t ring_add(struct ring *ring, const struct ring_buf *out, unsigned out_count, const struct ring_buf *in,
		  unsigned in_count)
{
	unsigned count = out_count + in_count;
	uint16_t head = 0, last = 0;

	if (!count)
		misuse("a chain has at least one buffer");
	for (unsigned i = 0; i < count; i++) {
		const struct ring_buf *buf = i < out_count ? &out[i] : &in[i - out_count];
		uint16_t index = take_desc(ring);

		*ring_desc(ring, index) = (struct ring_desc){ .gpa = buf->gpa, .bytes = buf->bytes,
							      .flags = i < out_count ? 0 : RING_DESC_WRITE };
		if (i == 0) {
			head = index;
		} else {
			ring_desc(ring, last)->flags |= RING_DESC_NEXT;
			ring_desc(ring, last)->next = index;
		}
		last = index;
	}
	ring_offer(ring, head);
	return head;
}

uint16_t ring_add_indirect(struct ring *ring, const struct ring_buf *out, unsigned out_count,
			   const struct ring_buf *in, unsigned in_count)
{
	unsigned count = out_count + in_count;
	uint64_t table_gpa = rig_alloc(ring->rig, count * sizeof(struct ring_desc));
	struct ring_desc *table = rig_at(ring->rig, table_gpa);
	uint16_t head = take_desc(ring);

	for (unsigned i = 0; i < count; i++) {
		const struct ring_buf *buf = i < out_count ? &out[i] : &in[i - out_count];

		table[i] = (struct ring_desc){ .gpa = buf->gpa, .bytes = buf->bytes,
					       .flags = i < out_count ? 0 : RING_DESC_WRITE };
		if (i + 1 < count) {
			table[i].flags |= RING_DESC_NEXT;
			table[i].next = (uint16_t)(i + 1);
		}
	}
	*ring_desc(ring, head) = (struct ring_desc){ .gpa = table_gpa, .flags = RING_DESC_INDIRECT,
						     .bytes = (uint32_t)(count * sizeof(struct ring_desc)) };
	ring_offer(ring, head);
	return head;
}

void ring_kick(struct ring *ring)
{
	rig_write(ring->rig, RIG_REG_NOTIFY, ring->queue);
}

uint16_t ring_send(struct ring *ring, const void *bytes, size_t count)
{
	struct ring_buf buf = { rig_alloc(ring->rig, count), (uint32_t)count };
	uint16_t head;

	memcpy(rig_at(ring->rig, buf.gpa), bytes, count);
	head = ring_add(ring, &buf, 1, NULL, 0);
	ring_kick(ring);
	return head;
}

uint16_t ring_post(struct ring *ring, size_t bytes)
{
	struct ring_buf buf = { rig_alloc(ring->rig, bytes), (uint32_t)bytes };
	uint16_t head = ring_add(ring, NULL, 0, &buf, 1);

	ring_kick(ring);
	return head;
}

unsigned ring_takeable(const struct ring *ring)
{
	const struct used *used = rig_at(ring->rig, ring->used_gpa);

	return (uint16_t)(__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) - ring->used_idx);
}

/* Copies the bytes the device wrote; at most as many descriptors as a ring has, whatever a hostile test linked. */
static void gather(struct ring *ring, struct ring_desc desc, size_t written, uint8_t *dst, size_t room)
{
	const struct ring_desc *table = ring_desc(ring, 0);

	if (desc.flags & RING_DESC_INDIRECT) {
		table = rig_at(ring->rig, desc.gpa);
		desc = table[0];
	}
	room = MIN(room, written);
	for (unsigned i = 0; i < RING_NUM && room; i++, desc = table[desc.next % RING_NUM]) {
		if (desc.flags & RING_DESC_WRITE) {
			size_t bytes = MIN(room, (size_t)desc.bytes);

			memcpy(dst, rig_at(ring->rig, desc.gpa), bytes);
			dst += bytes;
			room -= bytes;
		}
		if (!(desc.flags & RING_DESC_NEXT))
			break;
	}
}

static void release(struct ring *ring, uint16_t head)
{
	for (unsigned i = 0; i < RING_NUM; i++) {
		ring->taken[head] = false;
		if (!(ring_desc(ring, head)->flags & RING_DESC_NEXT))
			break;
		head = ring_desc(ring, head)->next % RING_NUM;
	}
}

int64_t ring_take(struct ring *ring, void *dst, size_t room)
{
	struct used *used = rig_at(ring->rig, ring->used_gpa);
	struct avail *avail = rig_at(ring->rig, ring->avail_gpa);
	struct used_entry entry;

	if (!ring_takeable(ring))
		return -1;
	entry = used->ring[ring->used_idx++ % RING_NUM];
	/* With EVENT_IDX: tell me of the very next one. */
	avail->used_event = ring->used_idx;
	if (entry.head >= RING_NUM)
		misuse("the device returned a head that does not exist");
	ring->last_head = (uint16_t)entry.head;
	if (room)
		gather(ring, *ring_desc(ring, entry.head), entry.bytes, dst, room);
	release(ring, (uint16_t)entry.head);
	return entry.bytes;
}
