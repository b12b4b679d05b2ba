/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_mmio: the register file under a driver that keeps no rule: accesses of any width at any offset of the bus, to rng
 * and to a device of five queues that answers everything; rings anywhere in memory; resets, stopped queues, changes of
 * config space, turns of the loop in between; and now and then the machine is saved and goes on in new devices.
 *
 * An input is a list of records, one byte what to do and its fields, see act(). Queue registers take addresses from a
 * small window so that rings overlap each other, their buffers and the end of memory.
 *
 * Oracles, after each record: status, features, queues and interrupts are as the specification lets them be; what is
 * ready or running does not change but by a reset or a stop; reads of a wrong width give 0; one kick answers no more
 * chains than the ring holds; a saved state always loads and saves the same again.
 */
#include "devices/rng.h"
#include "lib/util.h"
#include "tests/fuzz/input.h"
#include "tests/unit/count_dev.h"
#include "tests/unit/ring.h"

#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	RNG,
	COUNT,
	DEVICES,
	RECORDS_MAX = 400,
	FIRST_GPA = 0x1000, /* of the slots on the fuzzer's own bus */
	WINDOW_GPA = RIG_BYTES - 0x10000,
	STATUS_OK = RIG_ACKNOWLEDGE | RIG_DRIVER | RIG_FEATURES_OK | RIG_DRIVER_OK,
};

enum what { READ, WRITE, WRITE_REGISTER, NOTIFY, START, OFFER, DESCRIBE, DRIVER_WRITES, TURN, MOVE, CONFIG_CHANGED, RESET,
	    STOP_QUEUE, ADDRESSES, KINDS };

/* What may not change while a queue is ready. */
struct frozen {
	uint64_t desc_gpa, avail_gpa, used_gpa;
	uint16_t num;
	bool ready;
};

static struct rig rig;
static struct bus bus;
static struct rng *rng;
static struct count_dev count;
static struct virtio_dev *devs[DEVICES];
static struct frozen frozen[DEVICES][VIRTIO_QUEUES_MAX];

static uint64_t slot(unsigned which)
{
	return FIRST_GPA + (uint64_t)which * VIRTIO_MMIO_BYTES;
}

static void reg_write(unsigned which, unsigned reg, uint32_t value)
{
	bus_write(&bus, slot(which) + reg, 4, value);
}

static uint32_t reg_read(unsigned which, unsigned reg)
{
	return (uint32_t)bus_read(&bus, slot(which) + reg, 4);
}

static void devices_make(void)
{
	rng = rng_new(&rig.env);
	count_dev_init(&count, &rig.env, VIRTIO_QUEUES_MAX);
	devs[RNG] = rng_dev(rng);
	devs[COUNT] = &count.dev;
	bus.count = 0;
	for (unsigned i = 0; i < DEVICES; i++)
		must(!bus_add(&bus, slot(i), VIRTIO_MMIO_BYTES, &virtio_mmio_ops, devs[i]), "the bus is full");
}

static void devices_free(void)
{
	rng_free(rng);
	count_dev_fini(&count);
}

static bool ring_fits(const struct virtq *vq)
{
	return vq->num && vq->num <= VIRTQ_NUM_MAX && !(vq->num & (vq->num - 1)) && vq->desc_gpa % 16 == 0 &&
	       vq->avail_gpa % 2 == 0 && vq->used_gpa % 4 == 0 && mem_ptr(&rig.mem, vq->desc_gpa, 16u * vq->num) &&
	       mem_ptr(&rig.mem, vq->avail_gpa, 6 + 2u * vq->num) && mem_ptr(&rig.mem, vq->used_gpa, 6 + 8u * vq->num);
}

static void queue_check(const struct virtio_dev *dev, const struct virtq *vq, struct frozen *old)
{
	struct frozen now = {vq->desc_gpa, vq->avail_gpa, vq->used_gpa, vq->num, vq->ready};

	must(vq->mem == &rig.mem, "a queue lost its memory");
	if (vq->ready) {
		must(ring_fits(vq), "a ready queue that is not sane");
		must(dev->status & RIG_FEATURES_OK, "a queue ready before FEATURES_OK");
		must(vq->event_idx == virtio_has(dev, 29) && vq->indirect == virtio_has(dev, 28), "features of a queue");
	}
	if (old->ready && vq->ready)
		must(now.desc_gpa == old->desc_gpa && now.avail_gpa == old->avail_gpa && now.used_gpa == old->used_gpa &&
			     now.num == old->num, "a ready queue moved");
	must(!vq->broken || dev->status & RIG_NEEDS_RESET, "a broken queue and no NEEDS_RESET");
	*old = now;
}

static void dev_check(unsigned which)
{
	const struct virtio_dev *dev = devs[which];
	uint32_t status = dev->status;

	must(!(status & ~(uint32_t)(STATUS_OK | RIG_NEEDS_RESET | 128)), "status bits that do not exist");
	must(!(status & RIG_DRIVER_OK) || status & RIG_FEATURES_OK, "DRIVER_OK without FEATURES_OK");
	must(!(status & RIG_FEATURES_OK) || status & RIG_DRIVER, "FEATURES_OK without DRIVER");
	must(!(status & RIG_FEATURES_OK) || virtio_has(dev, 32), "FEATURES_OK without VERSION_1");
	must(!(status & RIG_FEATURES_OK) || !(dev->driver_features & ~dev->device_features), "features not offered");
	must(!(dev->interrupt_status & ~3u), "interrupts that do not exist");
	must(status || !dev->interrupt_status, "an interrupt of a device in reset");
	must(reg_read(which, VIRTIO_MMIO_STATUS) == status, "status as it is read");
	for (unsigned i = 0; i < dev->queue_count; i++)
		queue_check(dev, &dev->queues[i], &frozen[which][i]);
}

/* Any place of the two slots and a little around them. */
static uint64_t address(struct input *in)
{
	uint16_t at = (uint16_t)input_number(in, 2);
	unsigned which = at >> 15;

	/* Most registers lie in the first half KiB. */
	return at & 0x4000 ? slot(which) - 8 + (at & 0x1fff) : slot(which) + (at & 0x1ff);
}

static void read_any(struct input *in)
{
	uint64_t at = address(in), value;
	unsigned width = 1 + input_byte(in) % 8u, offset = (unsigned)((at - FIRST_GPA) % VIRTIO_MMIO_BYTES);

	value = bus_read(&bus, at, width);
	must(width == 8 || value < UINT64_C(1) << (8 * width), "a read wider than asked");
	if (at >= FIRST_GPA && at + width <= slot(DEVICES) && offset < VIRTIO_MMIO_CONFIG && (width != 4 || offset % 4))
		must(value == 0, "a register of another width");
}

static void status_check(unsigned which, uint32_t before, uint32_t written)
{
	uint32_t after = devs[which]->status;

	must(written ? (before & ~after) == 0 : after == 0, "status bits taken back, or a reset that was none");
}

static void write_any(struct input *in)
{
	uint64_t at = address(in);
	unsigned width = 1 + input_byte(in) % 8u;

	bus_write(&bus, at, width, input_number(in, width));
}

/* A queue's address or size in the window; everything else as the input has it. */
static void write_register(struct input *in)
{
	static const uint32_t sizes[] = {0, 1, 2, 3, 8, 256, 257, 65535};
	uint8_t pick = input_byte(in), reg = input_byte(in);
	unsigned which = pick % DEVICES, offset = reg * 4u % VIRTIO_MMIO_CONFIG;
	uint32_t value = (uint32_t)input_number(in, 4), before = devs[which]->status;

	if (offset == VIRTIO_MMIO_QUEUE_NUM)
		value = sizes[value % ARRAY_SIZE(sizes)];
	else if (offset == VIRTIO_MMIO_QUEUE_SEL)
		value = value & 0x80 ? value : value % 8;
	else if (offset >= VIRTIO_MMIO_QUEUE_DESC_LOW && offset <= VIRTIO_MMIO_QUEUE_USED_HIGH)
		value = offset % 16 ? value & 1 : WINDOW_GPA + value % 0x10100;
	else if (offset == VIRTIO_MMIO_STATUS)
		value &= 0x1ff;
	reg_write(which, offset, value);
	if (offset == VIRTIO_MMIO_STATUS)
		status_check(which, before, value);
}

static void notify(struct input *in)
{
	uint8_t pick = input_byte(in);
	uint32_t queue = pick >> 1;
	unsigned before = count.kicks;

	count.answered = 0;
	reg_write(pick % DEVICES, VIRTIO_MMIO_QUEUE_NOTIFY, queue == 127 ? UINT32_MAX : queue);
	must(count.kicks - before <= 1, "one notification, many kicks");
	must(count.answered <= VIRTQ_NUM_MAX, "more answers than a ring holds");
}

/* Addresses and size of the selected queue from the input, so that the next START or READY finds odd ones. */
static void addresses(struct input *in)
{
	unsigned which = input_byte(in) % DEVICES;

	reg_write(which, VIRTIO_MMIO_QUEUE_SEL, input_byte(in) % 6u);
	reg_write(which, VIRTIO_MMIO_QUEUE_NUM, UINT32_C(1) << input_byte(in) % 9u);
	reg_write(which, VIRTIO_MMIO_QUEUE_DESC_LOW, WINDOW_GPA + (uint32_t)input_number(in, 2) / 16 * 16);
	reg_write(which, VIRTIO_MMIO_QUEUE_AVAIL_LOW, WINDOW_GPA + (uint32_t)input_number(in, 2) / 2 * 2);
	reg_write(which, VIRTIO_MMIO_QUEUE_USED_LOW, WINDOW_GPA + (uint32_t)input_number(in, 2) / 4 * 4);
	reg_write(which, VIRTIO_MMIO_QUEUE_READY, 1);
}

static void start(struct input *in)
{
	uint8_t pick = input_byte(in);
	uint64_t features = (pick & 2 ? RIG_F_EVENT_IDX : 0) | (pick & 4 ? RIG_F_INDIRECT_DESC : 0) |
			    (pick & 8 ? COUNT_F_OWN : 0);

	memset(frozen[pick % DEVICES], 0, sizeof(frozen[0]));
	must(rig_start(&rig, devs[pick % DEVICES], features) == (pick % DEVICES == COUNT || !(pick & 8)),
	     "an honest start refused, or a dishonest one taken");
}

/* Descriptor and avail entries of a queue wherever it lies. */
static struct virtq *queue_pick(struct input *in, unsigned *which, unsigned *queue)
{
	uint8_t pick = input_byte(in);

	*which = pick % DEVICES;
	*queue = (pick >> 1) % devs[*which]->queue_count;
	return &devs[*which]->queues[*queue];
}

static void offer(struct input *in)
{
	unsigned which, queue;
	const struct virtq *vq = queue_pick(in, &which, &queue);
	uint16_t idx, head = input_byte(in);

	if (!vq->ready || !mem_read(&rig.mem, vq->avail_gpa + 2, &idx, sizeof(idx)))
		return;
	mem_write(&rig.mem, vq->avail_gpa + 4 + 2 * (uint64_t)(idx % vq->num), &head, sizeof(head));
	idx++;
	mem_write(&rig.mem, vq->avail_gpa + 2, &idx, sizeof(idx));
}

static void describe(struct input *in)
{
	unsigned which, queue;
	const struct virtq *vq = queue_pick(in, &which, &queue);
	uint8_t index = input_byte(in);
	struct ring_desc desc;

	desc.flags = input_byte(in);
	desc.next = input_byte(in);
	desc.gpa = WINDOW_GPA + input_number(in, 2);
	desc.bytes = (uint32_t)input_number(in, 2);
	if (desc.flags & 8) /* far away */
		desc.gpa = input_number(in, 8);
	if (desc.flags & 16) /* onto its own avail ring */
		desc.gpa = vq->avail_gpa;
	if (vq->ready)
		mem_write(&rig.mem, vq->desc_gpa + 16 * (uint64_t)(index % vq->num), &desc, sizeof(desc));
}

static void driver_writes(struct input *in)
{
	uint64_t at = WINDOW_GPA + input_number(in, 2);
	uint64_t value = input_number(in, 4);

	mem_write(&rig.mem, at, &value, 4);
}

/* Into new devices, as after a restart of podvm. */
static void move(void)
{
	struct rng_state rng_saved, rng_again;
	struct virtio_state saved, again;

	rng_save(rng, &rng_saved);
	virtio_save(&count.dev, &saved);
	devices_free();
	devices_make();
	must(!rng_load(rng, &rng_saved), "a saved rng does not load");
	must(!virtio_load(&count.dev, &saved), "a saved device does not load");
	rng_save(rng, &rng_again);
	virtio_save(&count.dev, &again);
	must(!memcmp(&rng_saved, &rng_again, sizeof(rng_saved)), "rng's state changed by moving");
	must(!memcmp(&saved, &again, sizeof(saved)), "a state changed by moving");
}

static void config_changed(void)
{
	uint32_t before = reg_read(COUNT, VIRTIO_MMIO_CONFIG_GENERATION);

	count.config[0]++;
	virtio_config_changed(&count.dev);
	must(reg_read(COUNT, VIRTIO_MMIO_CONFIG_GENERATION) != before, "config changed, its generation did not");
	must(!(count.dev.status & RIG_DRIVER_OK) || count.dev.interrupt_status & VIRTIO_MMIO_INT_CONFIG, "nobody was told");
}

static void reset(unsigned which)
{
	reg_write(which, VIRTIO_MMIO_STATUS, 0);
	must(!devs[which]->status && !devs[which]->driver_features && !devs[which]->interrupt_status, "a reset left something");
	for (unsigned i = 0; i < devs[which]->queue_count; i++)
		must(!devs[which]->queues[i].ready && !devs[which]->queues[i].num && !devs[which]->queues[i].broken,
		     "a reset left a queue");
}

static void stop_queue(struct input *in)
{
	unsigned which = input_byte(in) % DEVICES;

	reg_write(which, VIRTIO_MMIO_QUEUE_SEL, input_byte(in) % 6u);
	reg_write(which, VIRTIO_MMIO_QUEUE_READY, 0);
	must(reg_read(which, VIRTIO_MMIO_QUEUE_READY) == 0, "a queue that does not stop");
}

static void act(enum what what, struct input *in)
{
	switch (what) {
	case READ:
		read_any(in);
		break;
	case WRITE:
		write_any(in);
		break;
	case WRITE_REGISTER:
		write_register(in);
		break;
	case NOTIFY:
		notify(in);
		break;
	case START:
		start(in);
		break;
	case OFFER:
		offer(in);
		break;
	case DESCRIBE:
		describe(in);
		break;
	case DRIVER_WRITES:
		driver_writes(in);
		break;
	case TURN:
		rig_turn(&rig);
		break;
	case MOVE:
		move();
		break;
	case CONFIG_CHANGED:
		config_changed();
		break;
	case RESET:
		reset(input_byte(in) % DEVICES);
		break;
	case STOP_QUEUE:
		stop_queue(in);
		break;
	case ADDRESSES:
	case KINDS:
		addresses(in);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = {data, bytes};

	if (!rig.memory)
		rig_init(&rig);
	rig_alloc_reset(&rig);
	memset(rig.memory + WINDOW_GPA, 0, RIG_BYTES - WINDOW_GPA);
	memset(frozen, 0, sizeof(frozen));
	devices_make();
	for (unsigned i = 0; i < RECORDS_MAX && in.bytes; i++) {
		act(input_byte(&in) % KINDS, &in);
		for (unsigned which = 0; which < DEVICES; which++)
			dev_check(which);
	}
	/* Whatever happened, a reset heals it. */
	for (unsigned which = 0; which < DEVICES; which++)
		must(rig_start(&rig, devs[which], 0), "a reset does not heal");
	ring_post(&rig.rings[0], 16);
	must(ring_take(&rig.rings[0], NULL, 0) == 16, "a healed device does not work");
	devices_free();
	return 0;
}
