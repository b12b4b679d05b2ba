// SPDX-License-Identifier: Apache-2.0
/*
 * virtio: the virtio-mmio register file, version 2 (virtio 1.2, 4.2.2), and the life of a device (3.1).
 *
 * Theory of operation
 * -------------------
 * A driver may write any register at any time. What a register accepts depends on the status bits: features before
 * FEATURES_OK, queue addresses while the queue is not ready and the device not yet DRIVER_OK; a write out of season
 * is ignored, so nothing a device relies on changes while it runs, save that a queue may be stopped for good (QueueReady 0,
 * 4.2.2.2): its rings are not touched again before the next reset. Status bits may only be added (2.1.1), save by
 * writing 0, which resets in any state. Registers are 32 bits wide and answer 4-byte accesses alone; config space
 * answers any width inside its size.
 *
 * A kick is remembered nowhere: the ring is the memory. It may arrive late (after reset) or never have been
 * needed; kick handlers look at the ring.
 */
#include "devices/virtio.h"

#include "lib/util.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>

enum {
	MMIO_VENDOR_ID = 0x4d564450, /* "PDVM" */
	MMIO_MAGIC = 0x74726976,     /* "virt" */
	BUSY_LIMIT_MS = 2000,
	STATUS_ALL = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |
		     VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED,
};

#define FEATURES_BASE \
	(UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX | \
	 UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)

static uint32_t status_get(const struct virtio_dev *dev)
{
	return __atomic_load_n(&dev->status, __ATOMIC_ACQUIRE);
}

/* Changes come under the loop's lock; readers may hold none. */
static void status_set(struct virtio_dev *dev, uint32_t status)
{
	__atomic_store_n(&dev->status, status, __ATOMIC_RELEASE);
}

static bool status_has(const struct virtio_dev *dev, uint32_t bits)
{
	return (status_get(dev) & bits) == bits;
}

bool virtio_running(const struct virtio_dev *dev)
{
	return (status_get(dev) & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET)) == VIRTIO_CONFIG_S_DRIVER_OK;
}

static void again_run(void *ctx)
{
	struct virtio_dev *dev = ctx;
	uint32_t queues = dev->again_queues;

	dev->again_queues = 0;
	for (unsigned i = 0; i < dev->queue_count; i++)
		if (queues >> i & 1)
			virtio_kick(dev, i);
}

void virtio_init(struct virtio_dev *dev, const struct virtio_env *env)
{
	assert(dev->queue_count <= VIRTIO_QUEUES_MAX);
	dev->env = *env;
	dev->device_features |= FEATURES_BASE;
	dev->again = (struct loop_task){.fn = again_run, .ctx = dev};
	for (unsigned i = 0; i < dev->queue_count; i++)
		dev->queues[i] = (struct virtq){.mem = env->mem};
}

void virtio_fini(struct virtio_dev *dev)
{
	loop_task_cancel(dev->env.loop, &dev->again);
}

void virtio_kick(struct virtio_dev *dev, unsigned queue)
{
	if (queue < dev->queue_count && virtio_running(dev) && dev->queues[queue].ready)
		dev->ops->kick(dev, queue);
}

void virtio_kick_again(struct virtio_dev *dev, unsigned queue)
{
	dev->again_queues |= UINT32_C(1) << queue;
	loop_task_post(dev->env.loop, &dev->again);
}

static void interrupt(struct virtio_dev *dev, uint32_t why)
{
	__atomic_or_fetch(&dev->interrupt_status, why, __ATOMIC_ACQ_REL);
	irq_raise(&dev->env.irq);
}

void virtio_interrupt(struct virtio_dev *dev, unsigned queue)
{
	if (virtio_running(dev) && virtq_wants_irq(&dev->queues[queue]))
		interrupt(dev, VIRTIO_MMIO_INT_VRING);
}

void virtio_interrupt_all(struct virtio_dev *dev)
{
	bool wanted = false;

	for (unsigned i = 0; virtio_running(dev) && i < dev->queue_count; i++)
		wanted |= virtq_wants_irq(&dev->queues[i]);
	if (wanted)
		interrupt(dev, VIRTIO_MMIO_INT_VRING);
}

void virtio_config_changed(struct virtio_dev *dev)
{
	__atomic_add_fetch(&dev->config_generation, 1, __ATOMIC_ACQ_REL);
	if (status_has(dev, VIRTIO_CONFIG_S_DRIVER_OK))
		interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
}

void virtio_broken(struct virtio_dev *dev, const char *why)
{
	if (status_has(dev, VIRTIO_CONFIG_S_NEEDS_RESET))
		return;
	status_set(dev, dev->status | VIRTIO_CONFIG_S_NEEDS_RESET);
	log_guest(&dev->limit, "%s: the guest broke the virtio protocol: %s; the device waits for a reset", dev->name,
		  why);
	if (status_has(dev, VIRTIO_CONFIG_S_DRIVER_OK))
		interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
}

int virtio_pop(struct virtio_dev *dev, unsigned queue, struct virtq_chain *chain)
{
	int got = virtq_pop(&dev->queues[queue], chain);

	if (got >= 0)
		return got;
	virtio_broken(dev, "bad descriptor chain");
	return 0;
}

static void reset(struct virtio_dev *dev)
{
	bool used = dev->status != 0;

	status_set(dev, 0);
	dev->driver_features = 0;
	dev->device_features_sel = dev->driver_features_sel = dev->queue_sel = 0;
	__atomic_store_n(&dev->interrupt_status, 0, __ATOMIC_RELEASE);
	dev->again_queues = 0;
	loop_task_cancel(dev->env.loop, &dev->again);
	for (unsigned i = 0; i < dev->queue_count; i++)
		dev->queues[i] = (struct virtq){.mem = dev->env.mem};
	if (used && dev->ops->reset)
		dev->ops->reset(dev);
}

/* Features are final: the driver must not have taken what was not offered, and must speak virtio 1. */
static bool features_accept(struct virtio_dev *dev)
{
	if (dev->driver_features & ~dev->device_features || !virtio_has(dev, VIRTIO_F_VERSION_1))
		return false;
	for (unsigned i = 0; i < dev->queue_count; i++) {
		dev->queues[i].event_idx = virtio_has(dev, VIRTIO_RING_F_EVENT_IDX);
		dev->queues[i].indirect = virtio_has(dev, VIRTIO_RING_F_INDIRECT_DESC);
	}
	return true;
}

static void status_write(struct virtio_dev *dev, uint32_t value)
{
	uint32_t added = value & ~dev->status & STATUS_ALL;

	if (value == 0) {
		reset(dev);
		return;
	}
	/* Bits can not be taken back and come in order; NEEDS_RESET is ours. */
	if ((dev->status & STATUS_ALL) & ~value)
		return;
	if (added & VIRTIO_CONFIG_S_FEATURES_OK) {
		if (!status_has(dev, VIRTIO_CONFIG_S_DRIVER) || !features_accept(dev))
			added &= ~(uint32_t)(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	}
	if ((added & VIRTIO_CONFIG_S_DRIVER_OK) && !((dev->status | added) & VIRTIO_CONFIG_S_FEATURES_OK))
		added &= ~(uint32_t)VIRTIO_CONFIG_S_DRIVER_OK;
	status_set(dev, dev->status | added);
	if ((added & VIRTIO_CONFIG_S_DRIVER_OK) && virtio_running(dev) && dev->ops->start)
		dev->ops->start(dev);
}

/* Sizes and alignment of the three parts (2.7): checked once, when the driver says the queue is ready. */
static bool queue_is_sane(const struct virtq *vq)
{
	uint64_t num = vq->num;

	if (num == 0 || num > VIRTQ_NUM_MAX || (num & (num - 1)))
		return false;
	if (vq->desc_gpa % 16 || vq->avail_gpa % 2 || vq->used_gpa % 4)
		return false;
	return mem_ptr(vq->mem, vq->desc_gpa, 16 * num) && mem_ptr(vq->mem, vq->avail_gpa, 6 + 2 * num) &&
	       mem_ptr(vq->mem, vq->used_gpa, 6 + 8 * num);
}

static void queue_ready_write(struct virtio_dev *dev, struct virtq *vq, uint32_t value)
{
	if (!(value & 1)) {
		/* The driver reads it back and then owns the ring again; what is still under way is not given back. */
		vq->ready = false;
		return;
	}
	if (!status_has(dev, VIRTIO_CONFIG_S_FEATURES_OK) || status_has(dev, VIRTIO_CONFIG_S_DRIVER_OK) || vq->ready)
		return;
	if (!queue_is_sane(vq)) {
		virtio_broken(dev, "queue outside memory, misaligned or of a wrong size");
		return;
	}
	vq->ready = true;
}

static void set_low(uint64_t *at, uint32_t value)
{
	*at = (*at & ~UINT64_C(0xffffffff)) | value;
}

static void set_high(uint64_t *at, uint32_t value)
{
	*at = (*at & UINT64_C(0xffffffff)) | (uint64_t)value << 32;
}

/* Registers of the selected queue; frozen once it is ready or the device runs. Only QueueReady 0 is heard at any time. */
static void queue_write(struct virtio_dev *dev, uint64_t offset, uint32_t value)
{
	struct virtq *vq = dev->queue_sel < dev->queue_count ? &dev->queues[dev->queue_sel] : NULL;

	if (!vq)
		return;
	if (offset == VIRTIO_MMIO_QUEUE_READY) {
		queue_ready_write(dev, vq, value);
		return;
	}
	if (vq->ready || status_has(dev, VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		vq->num = value <= VIRTQ_NUM_MAX ? (uint16_t)value : 0;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		set_low(&vq->desc_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_high(&vq->desc_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		set_low(&vq->avail_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_high(&vq->avail_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		set_low(&vq->used_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_high(&vq->used_gpa, value);
		break;
	}
}

static void driver_features_write(struct virtio_dev *dev, uint32_t value)
{
	if (status_has(dev, VIRTIO_CONFIG_S_FEATURES_OK) || !status_has(dev, VIRTIO_CONFIG_S_DRIVER))
		return;
	if (dev->driver_features_sel == 0)
		set_low(&dev->driver_features, value);
	else if (dev->driver_features_sel == 1)
		set_high(&dev->driver_features, value);
}

static void register_write(struct virtio_dev *dev, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		dev->device_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		dev->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		driver_features_write(dev, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		dev->queue_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		virtio_kick(dev, value); /* only without an ioeventfd */
		break;
	case VIRTIO_MMIO_STATUS:
		status_write(dev, value);
		break;
	default:
		queue_write(dev, offset, value);
	}
}

static uint32_t features_read(const struct virtio_dev *dev)
{
	if (dev->device_features_sel > 1)
		return 0;
	return (uint32_t)(dev->device_features >> (32 * dev->device_features_sel));
}

static uint32_t register_read(const struct virtio_dev *dev, uint64_t offset)
{
	bool selected = dev->queue_sel < dev->queue_count;

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MMIO_MAGIC;
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->device_id;
	case VIRTIO_MMIO_VENDOR_ID:
		return MMIO_VENDOR_ID;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return features_read(dev);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return selected ? VIRTQ_NUM_MAX : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return selected && dev->queues[dev->queue_sel].ready;
	case VIRTIO_MMIO_STATUS:
		return status_get(dev);
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return __atomic_load_n(&dev->config_generation, __ATOMIC_ACQUIRE);
	case VIRTIO_MMIO_SHM_LEN_LOW: /* no shared memory regions: length and base are all ones (4.2.2) */
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX;
	default:
		return 0;
	}
}

/* What an interrupt was for, and that it was seen: each a single access to an atomic. */
static bool mmio_unlocked(void *ctx, uint64_t offset, unsigned width, bool write, uint64_t *value)
{
	struct virtio_dev *dev = ctx;

	if (width != 4 || offset != (write ? VIRTIO_MMIO_INTERRUPT_ACK : VIRTIO_MMIO_INTERRUPT_STATUS))
		return false;
	if (write)
		__atomic_and_fetch(&dev->interrupt_status, ~(uint32_t)*value, __ATOMIC_ACQ_REL);
	else
		*value = __atomic_load_n(&dev->interrupt_status, __ATOMIC_ACQUIRE);
	return true;
}

/*
 * Reading takes no lock of the device's own: status and interrupts are atomic, all else is written by vCPUs alone, and
 * they hold the machine's lock. A device with a loop of its own must not change its config space while the guest runs.
 */
static uint64_t mmio_read(void *ctx, uint64_t offset, unsigned width)
{
	struct virtio_dev *dev = ctx;
	uint64_t value = 0;

	if (mmio_unlocked(dev, offset, width, false, &value))
		return value;
	if (offset < VIRTIO_MMIO_CONFIG)
		return width == 4 && offset % 4 == 0 ? register_read(dev, offset) : 0;
	offset -= VIRTIO_MMIO_CONFIG;
	if (offset < dev->config_bytes && width <= dev->config_bytes - offset)
		memcpy(&value, (const char *)dev->config + offset, width);
	return value;
}

static void change(struct virtio_dev *dev, uint64_t offset, unsigned width, uint64_t value)
{
	if (offset < VIRTIO_MMIO_CONFIG) {
		register_write(dev, offset, (uint32_t)value);
		return;
	}
	offset -= VIRTIO_MMIO_CONFIG;
	if (dev->ops->config_write && offset < dev->config_bytes && width <= dev->config_bytes - offset)
		dev->ops->config_write(dev, (unsigned)offset, &value, width);
}

/*
 * The vCPU holds the machine's lock, so waiting for a device with a loop of its own must end. A driver that was
 * ignored finds the status as it was; what it resets in the middle of a request can not be set up anew anyway before
 * that request ends.
 */
static void mmio_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	static struct log_limit busy_limit; /* under the machine's lock */
	struct virtio_dev *dev = ctx;

	if (offset < VIRTIO_MMIO_CONFIG && (width != 4 || offset % 4))
		return;
	if (mmio_unlocked(dev, offset, width, true, &value))
		return;
	if (dev->env.own_loop && !loop_lock_within(dev->env.loop, BUSY_LIMIT_MS)) {
		log_guest(&busy_limit, "%s: busy with a request that does not end; the guest's change is ignored",
			  dev->name);
		return;
	}
	change(dev, offset, width, value);
	if (dev->env.own_loop)
		loop_unlock(dev->env.loop);
}

const struct bus_ops virtio_mmio_ops = {
	.read = mmio_read,
	.write = mmio_write,
	.unlocked = mmio_unlocked,
};

/* ---- saving and loading ---- */

static struct virtio_queue_state queue_save(const struct virtq *vq)
{
	return (struct virtio_queue_state){
		.desc_gpa = vq->desc_gpa,
		.avail_gpa = vq->avail_gpa,
		.used_gpa = vq->used_gpa,
		.num = vq->num,
		.last_avail = vq->last_avail,
		.used_idx = vq->used_idx,
		.signalled_used = vq->signalled_used,
		.ready = vq->ready,
		.broken = vq->broken,
	};
}

static struct virtq queue_load(const struct virtio_dev *dev, const struct virtio_queue_state *state)
{
	return (struct virtq){
		.mem = dev->env.mem,
		.desc_gpa = state->desc_gpa,
		.avail_gpa = state->avail_gpa,
		.used_gpa = state->used_gpa,
		.num = state->num,
		.last_avail = state->last_avail,
		.used_idx = state->used_idx,
		.signalled_used = state->signalled_used,
		.ready = state->ready,
		.broken = state->broken,
		.event_idx = state->ready && dev->driver_features >> VIRTIO_RING_F_EVENT_IDX & 1,
		.indirect = state->ready && dev->driver_features >> VIRTIO_RING_F_INDIRECT_DESC & 1,
	};
}

void virtio_save(const struct virtio_dev *dev, struct virtio_state *state)
{
	*state = (struct virtio_state){
		.version = VIRTIO_STATE_VERSION,
		.device_id = dev->device_id,
		.driver_features = dev->driver_features,
		.device_features_sel = dev->device_features_sel,
		.driver_features_sel = dev->driver_features_sel,
		.queue_sel = dev->queue_sel,
		.status = dev->status,
		.interrupt_status = dev->interrupt_status,
		.config_generation = dev->config_generation,
		.queue_count = dev->queue_count,
	};
	for (unsigned i = 0; i < dev->queue_count; i++)
		state->queues[i] = queue_save(&dev->queues[i]);
}

/* What status_write() and features_accept() let happen. */
static bool status_is_possible(const struct virtio_dev *dev, const struct virtio_state *state)
{
	uint32_t status = state->status;

	if (status & ~(uint32_t)(STATUS_ALL | VIRTIO_CONFIG_S_NEEDS_RESET))
		return false;
	if (status & VIRTIO_CONFIG_S_DRIVER_OK && !(status & VIRTIO_CONFIG_S_FEATURES_OK))
		return false;
	if (!(status & VIRTIO_CONFIG_S_FEATURES_OK))
		return true;
	if (!(status & VIRTIO_CONFIG_S_DRIVER))
		return false;
	return !(state->driver_features & ~dev->device_features) && state->driver_features >> VIRTIO_F_VERSION_1 & 1;
}

static bool queue_is_possible(const struct virtio_dev *dev, const struct virtio_state *state, unsigned index)
{
	const struct virtio_queue_state *queue = &state->queues[index];
	struct virtq vq;

	if (queue->ready > 1 || queue->broken > 1)
		return false;
	vq = queue_load(dev, queue);
	return !vq.ready || (state->status & VIRTIO_CONFIG_S_FEATURES_OK && queue_is_sane(&vq));
}

int virtio_load(struct virtio_dev *dev, const struct virtio_state *state)
{
	if (state->version != VIRTIO_STATE_VERSION || state->device_id != dev->device_id ||
	    state->queue_count != dev->queue_count || !status_is_possible(dev, state))
		return -EINVAL;
	for (unsigned i = 0; i < dev->queue_count; i++)
		if (!queue_is_possible(dev, state, i))
			return -EINVAL;
	dev->driver_features = state->driver_features;
	dev->device_features_sel = state->device_features_sel;
	dev->driver_features_sel = state->driver_features_sel;
	dev->queue_sel = state->queue_sel;
	dev->interrupt_status = state->interrupt_status & (VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
	dev->config_generation = state->config_generation;
	status_set(dev, state->status);
	for (unsigned i = 0; i < dev->queue_count; i++) {
		dev->queues[i] = queue_load(dev, &state->queues[i]);
		virtio_kick_again(dev, i); /* a kick may have been on its way */
	}
	if (dev->interrupt_status)
		irq_raise(&dev->env.irq);
	return 0;
}
