/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio: the virtio-mmio register file, version 2 (virtio 1.2, section 4.2.2), and what all devices share.
 *
 * The base owns queues, features, status and interrupts; a device implements the few calls of struct virtio_ops. Every
 * callback comes on the thread of env.loop or under its loop_lock() (vm/loop.h). Most devices share the machine's
 * loop, whose lock a register access holds already. One whose work may block has a loop and a thread of its own
 * (env.own_loop): then the base takes that loop's lock as well for whatever changes the device, and without it answers
 * what a driver does all the time, reading the status and acknowledging interrupts. So a vCPU waits for a slow request
 * only when it resets that device or writes another such register, and then for two seconds at most: the write is
 * ignored when the device is still busy.
 */
#ifndef DEVICES_VIRTIO_H
#define DEVICES_VIRTIO_H

#include "devices/bus.h"
#include "devices/irq.h"
#include "devices/mem.h"
#include "devices/virtq.h"
#include "lib/log.h"
#include "vm/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	VIRTIO_QUEUES_MAX = 5,
	VIRTIO_MMIO_BYTES = 0x1000,
	VIRTIO_MMIO_NOTIFY = 0x50, /* offset of QueueNotify: where the ioeventfds go */
};

struct virtio_dev;

struct virtio_ops {
	/*
	 * The driver put chains into a queue (or may have: spurious kicks happen). Do at most vq->num chains, then
	 * virtio_kick_again(). Only called between DRIVER_OK and reset, with the queue ready.
	 */
	void (*kick)(struct virtio_dev *dev, unsigned queue);
	/* DRIVER_OK was set: features and queues are final. May be NULL. */
	void (*start)(struct virtio_dev *dev);
	/* Back to the state after creation; no chain may be pushed for requests from before. May be NULL. */
	void (*reset)(struct virtio_dev *dev);
	/* The driver wrote to config space; dev->config was not touched. May be NULL: then writes are ignored. */
	void (*config_write)(struct virtio_dev *dev, unsigned offset, const void *data, unsigned bytes);
};

/* What a device is given instead of the VM. */
struct virtio_env {
	const struct mem *mem;
	struct loop *loop;
	struct irq_line irq;
	bool own_loop; /* loop is this device's alone, run by a thread of its own */
};

/* First member of every device's own struct. */
struct virtio_dev {
	const struct virtio_ops *ops;
	const char *name; /* for messages */
	struct virtio_env env;
	uint32_t device_id;	  /* virtio 1.2, section 5 */
	uint64_t device_features; /* offered; the base adds VERSION_1, EVENT_IDX and INDIRECT_DESC */
	uint64_t driver_features; /* accepted */
	const void *config;	  /* little-endian config space, owned by the device */
	unsigned config_bytes;
	unsigned queue_count;
	struct virtq queues[VIRTIO_QUEUES_MAX];
	/* register file */
	uint32_t device_features_sel, driver_features_sel, queue_sel;
	uint32_t status, interrupt_status; /* atomic: read without env.loop's lock */
	uint32_t config_generation; /* atomic as well */
	/* queues whose budget ran out go on from here */
	struct loop_task again;
	uint32_t again_queues; /* bit per queue */
	struct log_limit limit;
};

/* The mmio register file; register it on the bus with ctx = the struct virtio_dev. */
extern const struct bus_ops virtio_mmio_ops;

/*
 * Sets up the base. The device has filled in ops, name, device_id, device_features, config, config_bytes and
 * queue_count; env is copied.
 */
void virtio_init(struct virtio_dev *dev, const struct virtio_env *env);
void virtio_fini(struct virtio_dev *dev);

/* A kick arrived (ioeventfd, or a write to QueueNotify). Any queue number; a bad one is ignored. */
void virtio_kick(struct virtio_dev *dev, unsigned queue);
/* The device stopped early: call kick again in the next turn of the loop. */
void virtio_kick_again(struct virtio_dev *dev, unsigned queue);

/* Interrupts the driver if it wants one for what was pushed to this queue. */
void virtio_interrupt(struct virtio_dev *dev, unsigned queue);
/* One interrupt for all queues of the device, when the driver waits for one of any of them. */
void virtio_interrupt_all(struct virtio_dev *dev);
/* Config space changed: generation moves on, the driver is told. */
void virtio_config_changed(struct virtio_dev *dev);

/* The guest broke the protocol: DEVICE_NEEDS_RESET, queues stop, one log line; the VMM lives. why is a short text. */
void virtio_broken(struct virtio_dev *dev, const char *why);

/* virtq_pop() that calls virtio_broken() for a broken ring: 1 with a chain, else 0. */
int virtio_pop(struct virtio_dev *dev, unsigned queue, struct virtq_chain *chain);

/* True between DRIVER_OK and reset, while nothing is broken. */
bool virtio_running(const struct virtio_dev *dev);

/*
 * The base's part of a saved device, plain data. Every device has a struct of its own that begins with this one:
 * struct rng_state, rng_save(), rng_load().
 */
enum { VIRTIO_STATE_VERSION = 1 };

struct virtio_queue_state {
	uint64_t desc_gpa, avail_gpa, used_gpa;
	uint16_t num, last_avail, used_idx, signalled_used;
	uint32_t ready, broken;
};

struct virtio_state {
	uint32_t version, device_id;
	uint64_t driver_features;
	uint32_t device_features_sel, driver_features_sel, queue_sel;
	uint32_t status, interrupt_status, config_generation;
	uint32_t queue_count, reserved;
	struct virtio_queue_state queues[VIRTIO_QUEUES_MAX];
};

/*
 * vCPUs stand still. Chains the device has taken and not yet given back are not part of the state: a device brings its
 * requests to an end before, or puts them back (virtq_unpop()).
 */
void virtio_save(const struct virtio_dev *dev, struct virtio_state *state);
/*
 * Into a device as its constructor left it, guest memory being in place already. The state is not trusted: 0, or
 * -EINVAL for anything no driver could have brought about, and then nothing has changed. start() is not called; all
 * queues are kicked in the next turn and an interrupt that was not acknowledged is raised again.
 */
int virtio_load(struct virtio_dev *dev, const struct virtio_state *state);

static inline bool virtio_has(const struct virtio_dev *dev, unsigned feature_bit)
{
	return dev->driver_features >> feature_bit & 1;
}

#endif
