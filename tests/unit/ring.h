/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring: the driver's side of a virtio device, for unit tests and fuzzers: guest memory, an event loop, an interrupt
 * counter and split virtqueues (virtio 1.2, section 2.7) as a guest lays them out. Everything a test does goes
 * through registers and rings, as from a real guest. A device test reads like this:
 *
 *	struct rig rig;
 *	rig_init(&rig);
 *	struct net *net = net_new(&rig.env, mac, 1500);
 *	CHECK(rig_start(&rig, net_dev(net), 1ull << VIRTIO_NET_F_MAC)); // reset .. DRIVER_OK, all queues of 256
 *
 *	struct ring *rx = &rig.rings[0], *tx = &rig.rings[1];
 *	ring_post(rx, 2048);			// one chain of one buffer to be written to
 *	ring_send(tx, frame, sizeof(frame));	// one chain of one buffer to be read from; kicks
 *	CHECK_INT(ring_take(tx, NULL, 0), 0);	// it came back, nothing written
 *	rig_turn(&rig);				// tasks, timers and descriptors have their turn
 *	CHECK_INT(ring_take(rx, buf, sizeof(buf)), 1512);
 *	CHECK_INT(rig.irqs, 2);
 *
 *	net_free(net);
 *	rig_fini(&rig);
 *
 * For chains of many buffers use ring_add() (rig_alloc() gives memory); for a guest that breaks the rules write
 * descriptors with ring_desc() and offer them with ring_offer(). A rig that is misused by its test aborts.
 */
#ifndef TESTS_UNIT_RING_H
#define TESTS_UNIT_RING_H

#include "devices/virtio.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	RIG_BYTES = 8 << 20,	     /* guest memory, from GPA 0 */
	RIG_DATA_GPA = 320 << 10,    /* rig_alloc() hands out from here on; below are the rings */
	RING_NUM = VIRTQ_NUM_MAX,    /* size of every ring */
	RING_DESC_NEXT = 1,
	RING_DESC_WRITE = 2,
	RING_DESC_INDIRECT = 4,
};

/* Device status bits and the features of the base. */
enum {
	RIG_ACKNOWLEDGE = 1,
	RIG_DRIVER = 2,
	RIG_DRIVER_OK = 4,
	RIG_FEATURES_OK = 8,
	RIG_NEEDS_RESET = 64,
};
#define RIG_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define RIG_F_EVENT_IDX (UINT64_C(1) << 29)
#define RIG_F_VERSION_1 (UINT64_C(1) << 32)

/* Registers of virtio-mmio version 2 that tests name. */
enum {
	RIG_REG_MAGIC = 0x00,
	RIG_REG_DEVICE_ID = 0x08,
	RIG_REG_NOTIFY = 0x50,
	RIG_REG_INTERRUPT_STATUS = 0x60,
	RIG_REG_INTERRUPT_ACK = 0x64,
	RIG_REG_STATUS = 0x70,
	RIG_REG_CONFIG = 0x100,
};

struct ring_desc {
	uint64_t gpa;
	uint32_t bytes;
	uint16_t flags, next;
};

/* A buffer in guest memory. */
struct ring_buf {
	uint64_t gpa;
	uint32_t bytes;
};

struct rig;

struct ring {
	struct rig *rig;
	unsigned queue;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	uint16_t avail_idx; /* next entry to offer */
	uint16_t used_idx;  /* next entry to take */
	uint16_t last_head; /* head of the chain ring_take() gave last */
	bool taken[RING_NUM]; /* descriptor is part of a chain that is under way */
};

struct rig {
	uint8_t *memory;
	struct mem mem;
	struct loop *loop;
	struct virtio_env env; /* what a device under test is made with */
	unsigned irqs;	       /* interrupts so far */
	struct virtio_dev *dev;
	struct ring rings[VIRTIO_QUEUES_MAX];
	uint64_t next_gpa;
	struct loop_task stop;
};

/* Memory, loop and env. rig_fini() after the device was freed. */
void rig_init(struct rig *rig);
void rig_fini(struct rig *rig);

/*
 * Brings the device from reset to DRIVER_OK, accepting features (VERSION_1 is added), all queues with RING_NUM
 * entries. False when the device refuses FEATURES_OK. May be called again: it begins with a reset and empty rings.
 */
bool rig_start(struct rig *rig, struct virtio_dev *dev, uint64_t features);
/* The first half of it, with rig->dev: from reset to FEATURES_OK, no queue set up. False when that is refused. */
bool rig_negotiate(struct rig *rig, uint64_t features);
/* Writes 0 to status. */
void rig_reset(struct rig *rig);

/* A register of dev, 4 bytes wide. */
uint32_t rig_read(struct rig *rig, unsigned reg);
void rig_write(struct rig *rig, unsigned reg, uint32_t value);
/* The features the device offers. rig_start() need not have been called, but rig->dev must be set. */
uint64_t rig_features(struct rig *rig);

/* One turn of the loop that does not sleep. rig_run_ms(): turns until ms have passed. */
void rig_turn(struct rig *rig);
void rig_run_ms(struct rig *rig, unsigned ms);

/* Fresh guest memory (16-byte aligned), and the host's view of a GPA. rig_alloc_reset() takes all of it back. */
uint64_t rig_alloc(struct rig *rig, size_t bytes);
void rig_alloc_reset(struct rig *rig);
void *rig_at(struct rig *rig, uint64_t gpa);

/* Makes a chain of out buffers, then in buffers, and offers it. No kick. Returns its head. */
uint16_t ring_add(struct ring *ring, const struct ring_buf *out, unsigned out_count, const struct ring_buf *in,
		  unsigned in_count);
/* The same by one indirect descriptor. */
uint16_t ring_add_indirect(struct ring *ring, const struct ring_buf *out, unsigned out_count,
			   const struct ring_buf *in, unsigned in_count);
void ring_kick(struct ring *ring);

/* A chain of one buffer with these bytes for the device to read; kicks. Returns its head. */
uint16_t ring_send(struct ring *ring, const void *bytes, size_t count);
/* A chain of one buffer for the device to write to; kicks. Returns its head. */
uint16_t ring_post(struct ring *ring, size_t bytes);

/*
 * Takes back the next chain the device is done with: returns how many bytes the device says it wrote, and copies up
 * to room of them from the chain's in buffers. -1 when there is none. The head is in ring->last_head.
 */
int64_t ring_take(struct ring *ring, void *dst, size_t room);
/* How many chains are there to take. */
unsigned ring_takeable(const struct ring *ring);

/* For rule breakers: descriptor i of the table, and putting any head into the avail ring (no kick). */
struct ring_desc *ring_desc(struct ring *ring, unsigned i);
void ring_offer(struct ring *ring, uint16_t head);
/* Sets the avail ring's index to anything. */
void ring_set_avail_idx(struct ring *ring, uint16_t idx);

#endif
