/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idle: the device of test_virtio and test_virtq: it counts what happens to it and takes nothing from its rings, so that
 * the test pops and pushes itself. All of it is static: each of the two is a program of one file.
 */
#ifndef TESTS_UNIT_IDLE_H
#define TESTS_UNIT_IDLE_H

#include "devices/virtio.h"
#include "tests/unit/ring.h"
#include "tests/unit/test.h"

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

/* Running with features; its first ring. */
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

#endif
