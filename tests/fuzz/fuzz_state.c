/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_state: a saved device is input like any other. Arbitrary bytes as struct rng_state and struct virtio_state: loading
 * never does harm, a refused state leaves the device as it was, and an accepted one then stands kicks, writes by the driver
 * and turns of the loop, and saves to something that loads again.
 *
 * An input: one byte: bit 0: rng or the counting device, bit 1: the state below is laid over an honest one of a running
 * device (byte by byte exclusive or), so that small inputs reach deep; then the state's bytes; then up to STEPS_MAX steps
 * of one byte what to do, two bytes where, one byte what.
 */
#include "devices/rng.h"
#include "lib/util.h"
#include "tests/fuzz/input.h"
#include "tests/unit/count_dev.h"
#include "tests/unit/ring.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 128 };

static struct rig rig;
static struct rng *rng;
static struct count_dev count;
static struct virtio_dev *dev;

static void device_make(bool is_rng)
{
	if (is_rng)
		rng = rng_new(&rig.env);
	else
		count_dev_init(&count, &rig.env, 3);
	dev = is_rng ? rng_dev(rng) : &count.dev;
}

static void device_free(bool is_rng)
{
	if (is_rng)
		rng_free(rng);
	else
		count_dev_fini(&count);
}

static void save(bool is_rng, struct virtio_state *state)
{
	struct rng_state whole;

	if (is_rng) {
		rng_save(rng, &whole);
		*state = whole.virtio;
	} else {
		virtio_save(dev, state);
	}
}

static int load(bool is_rng, const struct virtio_state *state)
{
	struct rng_state whole = {.virtio = *state};

	return is_rng ? rng_load(rng, &whole) : virtio_load(dev, state);
}

/* Of a device in mid-work: one chain answered, one waiting. */
static void honest_state(bool is_rng, struct virtio_state *state)
{
	device_make(is_rng);
	must(rig_start(&rig, dev, RIG_F_EVENT_IDX | RIG_F_INDIRECT_DESC), "start refused");
	ring_post(&rig.rings[0], 64);
	must(ring_take(&rig.rings[0], NULL, 0) == 64, "an honest device does not work");
	ring_add(&rig.rings[0], NULL, 0, &(struct ring_buf){RIG_DATA_GPA, 100}, 1);
	save(is_rng, state);
	device_free(is_rng);
}

/* The state of a device that nobody drove. */
static void check_untouched(bool is_rng, const struct virtio_state *fresh)
{
	struct virtio_state now;

	save(is_rng, &now);
	must(!memcmp(fresh, &now, sizeof(now)), "a refused state changed the device");
}

static void check_accepted(const struct virtio_state *state)
{
	for (unsigned i = 0; i < dev->queue_count; i++) {
		const struct virtq *vq = &dev->queues[i];

		if (!vq->ready)
			continue;
		must(vq->num && vq->num <= VIRTQ_NUM_MAX && !(vq->num & (vq->num - 1)), "a ring of a wrong size");
		must(mem_ptr(&rig.mem, vq->desc_gpa, 16u * vq->num) && mem_ptr(&rig.mem, vq->avail_gpa, 6 + 2u * vq->num) &&
			     mem_ptr(&rig.mem, vq->used_gpa, 6 + 8u * vq->num), "a ring outside memory");
		must(state->status & RIG_FEATURES_OK, "a ring before FEATURES_OK");
	}
}

static void act(uint8_t what, uint16_t where, uint8_t value)
{
	const struct virtq *vq = &dev->queues[where % dev->queue_count];

	switch (what % 5) {
	case 0:
		virtio_mmio_ops.write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 4, value % 4);
		break;
	case 1: /* into the ring, wherever it is */
		mem_write(&rig.mem, vq->desc_gpa + where % 4096, &value, 1);
		break;
	case 2:
		mem_write(&rig.mem, vq->avail_gpa + where % 600, &value, 1);
		break;
	case 3:
		rig_turn(&rig);
		break;
	case 4: /* resets are rare: they end what the state brought about */
		virtio_mmio_ops.write(dev, where & 0xfc, 4, where & 0x300 ? value | 0x40 : value);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	bool is_rng, laid_over;
	struct virtio_state state, fresh, honest, again;
	int err;

	if (bytes < 1 + sizeof(state))
		return 0;
	if (!rig.memory)
		rig_init(&rig);
	rig_alloc_reset(&rig);
	is_rng = data[0] & 1;
	laid_over = data[0] & 2;
	memcpy(&state, data + 1, sizeof(state));
	data += 1 + sizeof(state);
	bytes -= 1 + sizeof(state);
	honest_state(is_rng, &honest);
	for (size_t i = 0; laid_over && i < sizeof(state); i++)
		((uint8_t *)&state)[i] ^= ((uint8_t *)&honest)[i];
	device_make(is_rng);
	rig.dev = dev;
	save(is_rng, &fresh);
	err = load(is_rng, &state);
	must(err == 0 || err == -EINVAL, "load's answer");
	if (err)
		check_untouched(is_rng, &fresh);
	else
		check_accepted(&state);
	for (unsigned i = 0; i < STEPS_MAX && bytes >= 4; i++, data += 4, bytes -= 4)
		act(data[0], (uint16_t)(data[1] | data[2] << 8), data[3]);
	rig_turn(&rig);
	save(is_rng, &again);
	device_free(is_rng);
	device_make(is_rng);
	must(!load(is_rng, &again), "a state that was accepted once saves to one that is not");
	rig_turn(&rig);
	device_free(is_rng);
	return 0;
}
