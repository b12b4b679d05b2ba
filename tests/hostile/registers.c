// SPDX-License-Identifier: Apache-2.0
/* registers: the hostile kernel's abuse of the virtio-mmio registers (virtio 1.2, 4.2.2) and of kicks. */
#include "tests/hostile/hostile.h"

enum {
	KICKS = 100000,
	KICKS_OF_OTHERS = 2000,
	KICKS_BY_EXIT = 1000,
	REFILLS = 500,
	RESETS = 200,
	CONFIG_LOOKED_AT = 0x40,
};

/* ---- every register in every state ---- */

/* step: 1 looks at every byte; an odd one at all registers and alignments, but not at each with each. */
static void read_all(const struct device *dev, unsigned step)
{
	static const unsigned widths[] = {1, 2, 4, 8};

	for (unsigned offset = 0; offset < REG_CONFIG + CONFIG_LOOKED_AT; offset += step)
		for (unsigned w = 0; w < 4; w++)
			probe_read(dev->gpa + offset, widths[w]);
	for (unsigned offset = MMIO_SLOT_BYTES - 16; offset < MMIO_SLOT_BYTES + 8; offset++)
		probe_read(dev->gpa + offset, 8);
}

/* Values that fit nothing; narrow and unaligned ones first, as they must not count at all. */
static void write_all(const struct device *dev, uint64_t value, unsigned step)
{
	for (unsigned offset = 0; offset < REG_CONFIG + CONFIG_LOOKED_AT; offset += step) {
		probe_write(dev->gpa + offset, 1, value);
		probe_write(dev->gpa + offset, 2, value);
		if (offset % 4)
			probe_write(dev->gpa + offset, 4, value);
		if (offset % 8)
			probe_write(dev->gpa + offset, 8, value);
	}
}

static void write_whole(const struct device *dev, uint32_t value)
{
	for (unsigned offset = 0; offset < REG_CONFIG + CONFIG_LOOKED_AT; offset += 4)
		if (offset != REG_STATUS)
			reg_write(dev, offset, value);
}

struct state {
	const char *name;
	bool queues; /* of an honest start up to FEATURES_OK, with queues */
	uint32_t status;
};

static const struct state states[] = {
	{"reset", false, 0},
	{"acknowledged", false, ST_ACKNOWLEDGE},
	{"with a driver", false, ST_ACKNOWLEDGE | ST_DRIVER},
	{"features accepted", true, 0},
	{"running", true, 15},
	{"failed", false, 128},
	{"running and failed", true, 15 | 128},
};

static void state_reach(struct device *dev, const struct state *state)
{
	device_reset(dev);
	if (state->queues)
		device_negotiate(dev, F_EVENT_IDX);
	if (state->status == 15)
		device_start(dev, F_EVENT_IDX);
	else if (state->status)
		reg_write(dev, REG_STATUS, reg_read(dev, REG_STATUS) | state->status);
}

static void states_try(struct device *dev)
{
	for (unsigned i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		unsigned step = states[i].status == 15 ? 1 : 5;
		uint32_t before;

		state_reach(dev, &states[i]);
		before = reg_read(dev, REG_STATUS);
		read_all(dev, step);
		write_all(dev, UINT64_MAX, step);
		check(reg_read(dev, REG_STATUS) == before, "narrow and unaligned accesses change nothing", dev->name);
		write_whole(dev, UINT32_MAX);
		write_whole(dev, 0x12345678);
		check_world(dev, states[i].name);
	}
}

/* ---- single rules ---- */

static void rules_try(struct device *dev)
{
	struct queue *queue = &dev->queue[dev->work];

	device_reset(dev);
	reg_write(dev, REG_STATUS, ST_ACKNOWLEDGE | ST_DRIVER | ST_DRIVER_OK);
	check(!(reg_read(dev, REG_STATUS) & ST_DRIVER_OK), "DRIVER_OK without FEATURES_OK is refused", dev->name);
	check(!device_negotiate(dev, UINT64_C(1) << 63), "features not offered are refused", dev->name);
	check(!device_negotiate(dev, UINT64_C(1) << 27), "a low feature not offered is refused", dev->name);
	device_reset(dev);
	reg_write(dev, REG_STATUS, ST_ACKNOWLEDGE);
	reg_write(dev, REG_STATUS, ST_ACKNOWLEDGE | ST_DRIVER);
	reg_write(dev, REG_STATUS, ST_ACKNOWLEDGE | ST_DRIVER | ST_FEATURES_OK);
	check(!(reg_read(dev, REG_STATUS) & ST_FEATURES_OK), "a driver without VERSION_1 is refused", dev->name);
	device_start(dev, 0);
	reg_write(dev, REG_STATUS, ST_ACKNOWLEDGE);
	check(reg_read(dev, REG_STATUS) == 15, "status bits are not taken back", dev->name);
	for (unsigned i = 0; i < dev->queues; i++)
		queue_set(dev, i, 4, 0, 0, 0);
	reg_write(dev, REG_DRIVER_FEATURES, UINT32_MAX);
	write_whole(dev, 0);
	check(!(reg_read(dev, REG_STATUS) & ST_NEEDS_RESET), "a running device's queues are frozen", dev->name);
	reg_write(dev, REG_QUEUE_SEL, dev->work);
	reg_write(dev, REG_QUEUE_READY, 0);
	check(!reg_read(dev, REG_QUEUE_READY), "a queue can be stopped", dev->name);
	queue->desc[0] = (struct desc){0, UINT32_MAX, 0, 0};
	queue_offer(queue, 0);
	queue_kick(dev, dev->work);
	check_world(dev, "a stopped queue");
	/* and with the device's own bits asked for in one write from the start */
	device_reset(dev);
	reg_write(dev, REG_STATUS, UINT32_MAX);
	check(!(reg_read(dev, REG_STATUS) & (ST_DRIVER_OK | ST_NEEDS_RESET)), "all status bits at once", dev->name);
	check_world(dev, "all status bits at once");
}

void abuse_registers(void)
{
	for (unsigned i = 0; i < device_count; i++) {
		rules_try(&devices[i]);
		states_try(&devices[i]);
	}
}

/* ---- kicks ---- */

static void kick_many(struct device *dev, uint32_t queue, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		reg_write(dev, REG_NOTIFY, queue);
}

/* A ring that is never empty: all of it is offered anew before each kick. */
static void refill_try(struct device *dev)
{
	struct queue *queue = &dev->queue[dev->work];
	unsigned round = 0;

	device_start(dev, 0);
	for (unsigned i = 0; i < RING; i++) {
		queue->desc[i] = (struct desc){(uint64_t)queue->buffer[i % 2], 16, i % 2 ? DESC_WRITE : 0, 0};
		queue->avail.ring[i] = (uint16_t)i;
	}
	for (; round < REFILLS && !(reg_read(dev, REG_STATUS) & ST_NEEDS_RESET); round++) {
		queue->avail.idx = (uint16_t)(__atomic_load_n(&queue->used.idx, __ATOMIC_ACQUIRE) + RING);
		queue_kick(dev, dev->work);
	}
	say("rounds of a ring that is never empty:", round);
	check_world(dev, "a ring that is never empty");
}

static void kicks_try(struct device *dev)
{
	struct queue *queue = &dev->queue[dev->work];
	/* One device has the full number: an emulated host takes its time, and podvm gives a guest 120 s to come up. */
	unsigned kicks = dev->id == ID_RNG ? KICKS : KICKS_OF_OTHERS;

	device_reset(dev);
	kick_many(dev, dev->work, kicks);
	check_world(dev, "many kicks in reset");
	for (uint32_t number = 0; number < 65536; number += 251)
		reg_write(dev, REG_NOTIFY, number);
	kick_many(dev, UINT32_MAX, KICKS_BY_EXIT);
	check_world(dev, "kicks of every number");
	refill_try(dev);
	/* Answers land on avail->idx itself. */
	device_start(dev, 0);
	for (unsigned i = 0; i < RING; i++)
		queue->desc[i] = (struct desc){(uint64_t)&queue->avail + 2, 2, DESC_WRITE, 0};
	for (unsigned i = 0; i < RING; i++)
		queue_offer(queue, (uint16_t)i);
	kick_many(dev, dev->work, KICKS_OF_OTHERS);
	check_world(dev, "kicks of a ring that is answered onto");
	/* A broken device is told about it, again and again. */
	device_start(dev, 0);
	queue_offer(queue, RING);
	kick_many(dev, dev->work, KICKS_BY_EXIT);
	check_world(dev, "kicks of a broken ring");
	/* Broken and reset, over and over: each time podvm has something to say. */
	for (unsigned i = 0; i < RESETS; i++) {
		device_negotiate(dev, 0);
		queue_set(dev, 0, 3, 0, 0, 0);
	}
	check_world(dev, "broken and reset, over and over");
}

void abuse_kicks(void)
{
	for (unsigned i = 0; i < device_count; i++)
		kicks_try(&devices[i]);
}
