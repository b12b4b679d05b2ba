/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtq: split virtqueues, device side (virtio 1.2, section 2.7). Knows rings; not registers, not requests.
 *
 * The guest is hostile: descriptors are copied once, checked, and only the copy is used. A ring that breaks the
 * rules makes virtq_pop() return -EPROTO; the device then calls virtio_broken() (devices/virtio.h) and lives on.
 * Every popped chain must be given back exactly once with virtq_push(), also on error.
 * A device handles at most vq->num chains per kick and then posts itself again: its own writes may land in the ring
 * and make new entries for ever.
 */
#ifndef DEVICES_VIRTQ_H
#define DEVICES_VIRTQ_H

#include "devices/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
	VIRTQ_NUM_MAX = 256,   /* largest ring offered */
	VIRTQ_CHAIN_MAX = 256, /* most buffers in one chain, indirect ones included */
};

/* Longest chain in bytes, both directions together. */
#define VIRTQ_CHAIN_BYTES_MAX (UINT64_C(1) << 32)

struct virtq {
	const struct mem *mem;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	uint16_t num;		 /* ring size, a power of two, 0 < num <= VIRTQ_NUM_MAX */
	uint16_t last_avail;	 /* next entry of the avail ring to look at */
	uint16_t used_idx;	 /* next entry of the used ring to fill */
	uint16_t signalled_used; /* used_idx when the driver was last told */
	bool ready;		 /* the driver enabled it */
	bool event_idx, indirect; /* negotiated */
	bool broken;		 /* a rule was broken: nothing is popped until reset */
};

/*
 * A request. out is what the driver wrote for us, in is where we answer. The buffers lie in guest memory and are
 * checked; their content may change at any time. The cursor fields belong to virtq.c.
 */
struct virtq_chain {
	struct iovec iov[VIRTQ_CHAIN_MAX];
	unsigned out_count, in_count; /* iov[0..out_count), then in_count more */
	uint64_t out_bytes, in_bytes;
	uint64_t read_bytes, written_bytes; /* cursors of chain_read() and chain_write() */
	unsigned read_iov, write_iov;
	size_t read_skip, write_skip;
	uint16_t head;
};

/* Takes the next chain: 1, 0 when there is none, -EPROTO when the ring is broken. */
int virtq_pop(struct virtq *vq, struct virtq_chain *chain);

/*
 * Puts the count chains last popped back, as if never taken. Only while none of them, and nothing popped after them, was
 * pushed.
 */
void virtq_unpop(struct virtq *vq, unsigned count);

/* Gives a chain back, written_bytes of its in part having been filled. */
void virtq_push(struct virtq *vq, uint16_t head, uint32_t written_bytes);

/*
 * virtq_push() in two steps, for chains the driver must see together: fill the first with ahead 0, the next with 1 and
 * so on, then publish their count. No push in between.
 */
void virtq_fill(struct virtq *vq, unsigned ahead, uint16_t head, uint32_t written_bytes);
void virtq_publish(struct virtq *vq, unsigned count);

/* True when the driver wants an interrupt for what was pushed since the last true. Call after a batch of pushes. */
bool virtq_wants_irq(struct virtq *vq);

/*
 * Asks for (or waves off) kicks. Enabling returns true when chains came in meanwhile: then go on popping.
 * Right after reset kicks are on.
 */
bool virtq_kick_enable(struct virtq *vq);
void virtq_kick_disable(struct virtq *vq);

/* True when there is something to pop (a hint: the ring may still prove broken). */
bool virtq_has_work(const struct virtq *vq);

/* Copies from the out part / into the in part, going on where the last call ended; returns bytes copied. */
size_t chain_read(struct virtq_chain *chain, void *dst, size_t bytes);
size_t chain_write(struct virtq_chain *chain, const void *src, size_t bytes);
/* Goes past bytes without copying: of the in part they count as written. Returns bytes skipped. */
size_t chain_skip_read(struct virtq_chain *chain, size_t bytes);
size_t chain_skip_write(struct virtq_chain *chain, size_t bytes);
/* What is left of out / in as iovecs (for readv and writev); returns how many, at most max. Cursors stay. */
unsigned chain_iov_out(const struct virtq_chain *chain, struct iovec *iov, unsigned max);
unsigned chain_iov_in(const struct virtq_chain *chain, struct iovec *iov, unsigned max);

#endif
