/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk: virtio block device (virtio 1.2, section 5.2) on a disk (devices/disk.h), which stays its owner's and outlives it.
 *
 * Without a disk it has no capacity and every request fails: so a machine can be saved before it is known whose disk
 * it will have.
 */
#ifndef DEVICES_BLK_H
#define DEVICES_BLK_H

#include "devices/disk.h"
#include "devices/virtio.h"

enum {
	BLK_SERIAL_BYTES = 20,		     /* what GET_ID gives, NULs behind it */
	BLK_SEGMENTS_MAX = VIRTQ_CHAIN_MAX - 2, /* data buffers of a request */
	BLK_ZERO_BYTES_MAX = 32 << 20,	     /* of one request: it may have to be written out */
	BLK_DISCARD_BYTES_MAX = 1 << 30,
};

struct blk_config {
	struct disk *disk; /* NULL: none yet */
	const char *serial; /* copied */
	uint64_t bytes_per_s, ops_per_s; /* limits, 0: none; reads, writes and zeroes count as bytes, all as ops */
};

struct blk;
struct blk *blk_new(const struct virtio_env *env, const struct blk_config *config);
/* Waits for what is under way. Before its disk is closed. */
void blk_free(struct blk *blk);
struct virtio_dev *blk_dev(struct blk *blk);

/* The disk became larger or smaller: looks again and tells the driver. */
void blk_disk_changed(struct blk *blk);
/*
 * Another disk, serial and limits, as a clone has them. Nothing is under way (blk_quiesce()). -EINVAL when its blocks are
 * larger than the driver was told; that it is read-only no driver learns, its writes fail.
 */
int blk_disk_set(struct blk *blk, const struct blk_config *config);

/*
 * Takes no more requests, and waits until those under way are done and given back: true when that was within timeout_ms.
 * Either way blk_resume() goes on.
 */
bool blk_quiesce(struct blk *blk, int timeout_ms);
void blk_resume(struct blk *blk);

/* See virtio_save() and virtio_load(). Saved only after blk_quiesce() has given true. */
struct blk_state {
	struct virtio_state virtio;
	uint64_t capacity; /* in sectors, as the driver knows it */
};
void blk_save(const struct blk *blk, struct blk_state *state);
/* A disk of another size than the saved one is told to the driver. */
int blk_load(struct blk *blk, const struct blk_state *state);

#endif
