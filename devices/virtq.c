// SPDX-License-Identifier: Apache-2.0
/*
 * virtq: split virtqueues, device side (virtio 1.2, section 2.7). Owns ring indexes; knows no device.
 *
 * Theory of operation
 * -------------------
 * The driver writes descriptors, then the avail ring entry, then avail->idx with release semantics; we read
 * avail->idx with acquire and so see what lies behind it. The other way round we write the used element, then
 * used->idx with release. Between "nothing to pop" and "kicks on" new work can slip in, hence the full fence in
 * virtq_kick_enable() and the second look after it; the same holds mirrored in virtq_wants_irq().
 *
 * Everything in guest memory may change at any moment. A descriptor is copied to the stack in one go and only the
 * copy is judged. The walk is bounded twice: by VIRTQ_CHAIN_MAX buffers and by the size of the table it walks,
 * so a loop ends as a broken ring. Lengths are added in 64 bits.
 *
 * Refused alternative: caching host pointers to the three ring parts at DRIVER_OK. It would save mem_ptr() per
 * access but makes a second path from guest address to pointer; mem_ptr() is two compares.
 */
#include "devices/virtq.h"

#include "lib/util.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

/* Offsets in the avail and used rings (2.7.6, 2.7.8). */
static uint64_t avail_ring_gpa(const struct virtq *vq, uint16_t index)
{
	return vq->avail_gpa + 4 + 2 * (uint64_t)(index % vq->num);
}

static uint64_t used_event_gpa(const struct virtq *vq)
{
	return vq->avail_gpa + 4 + 2 * (uint64_t)vq->num;
}

static uint64_t used_ring_gpa(const struct virtq *vq, uint16_t index)
{
	return vq->used_gpa + 4 + 8 * (uint64_t)(index % vq->num);
}

static uint64_t avail_event_gpa(const struct virtq *vq)
{
	return vq->used_gpa + 4 + 8 * (uint64_t)vq->num;
}

/* One 16-bit ring field. 2-byte alignment was checked when the queue was made ready. */
static bool load16(const struct virtq *vq, uint64_t gpa, uint16_t *value)
{
	const uint16_t *at = mem_ptr(vq->mem, gpa, sizeof(*at));

	if (!at)
		return false;
	*value = __atomic_load_n(at, __ATOMIC_ACQUIRE);
	return true;
}

static void store16(const struct virtq *vq, uint64_t gpa, uint16_t value)
{
	uint16_t *at = mem_ptr(vq->mem, gpa, sizeof(*at));

	if (at)
		__atomic_store_n(at, value, __ATOMIC_RELEASE);
}

/* How many chains wait: 0..num, or -EPROTO when the driver claims more than the ring holds. */
static int chains_waiting(const struct virtq *vq)
{
	uint16_t avail_idx, waiting;

	if (!load16(vq, vq->avail_gpa + 2, &avail_idx))
		return -EPROTO;
	waiting = (uint16_t)(avail_idx - vq->last_avail);
	return waiting > vq->num ? -EPROTO : waiting;
}

bool virtq_has_work(const struct virtq *vq)
{
	return vq->ready && !vq->broken && chains_waiting(vq) != 0;
}

/* Appends one buffer; out buffers must come before in buffers (2.7.4.2). */
static int chain_add(struct virtq *vq, struct virtq_chain *chain, const struct vring_desc *desc)
{
	unsigned count = chain->out_count + chain->in_count;
	bool in = desc->flags & VRING_DESC_F_WRITE;
	void *base = mem_ptr(vq->mem, desc->addr, desc->len);

	if (count == VIRTQ_CHAIN_MAX || (!in && chain->in_count))
		return -EPROTO;
	/* A buffer of no bytes has no valid pointer to check; drivers do not make them. */
	if (!base)
		return -EPROTO;
	chain->iov[count] = (struct iovec){.iov_base = base, .iov_len = desc->len};
	if (in) {
		chain->in_count++;
		chain->in_bytes += desc->len;
	} else {
		chain->out_count++;
		chain->out_bytes += desc->len;
	}
	return chain->in_bytes + chain->out_bytes > VIRTQ_CHAIN_BYTES_MAX ? -EPROTO : 0;
}

/* Walks num descriptors at most from index of the table at table_gpa. An indirect table may not nest. */
static int table_walk(struct virtq *vq, struct virtq_chain *chain, uint64_t table_gpa, uint32_t num, uint16_t index,
		      bool nested)
{
	for (uint32_t steps = 0; steps < num; steps++) {
		struct vring_desc desc;
		int err;

		if (index >= num || !mem_read(vq->mem, table_gpa + sizeof(desc) * (uint64_t)index, &desc, sizeof(desc)))
			return -EPROTO;
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			/* 2.7.5.3.1: no nesting, no NEXT beside INDIRECT, length a multiple of a descriptor. */
			if (nested || !vq->indirect || (desc.flags & VRING_DESC_F_NEXT) || desc.len == 0 ||
			    desc.len % sizeof(desc) || desc.len / sizeof(desc) > VIRTQ_CHAIN_MAX)
				return -EPROTO;
			return table_walk(vq, chain, desc.addr, desc.len / sizeof(desc), 0, true);
		}
		err = chain_add(vq, chain, &desc);
		if (err)
			return err;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return 0;
		index = desc.next;
	}
	return -EPROTO; /* a loop */
}

static void chain_reset(struct virtq_chain *chain, uint16_t head)
{
	chain->out_count = chain->in_count = 0;
	chain->out_bytes = chain->in_bytes = 0;
	chain->read_bytes = chain->written_bytes = 0;
	chain->read_iov = chain->write_iov = 0;
	chain->read_skip = chain->write_skip = 0;
	chain->head = head;
}

int virtq_pop(struct virtq *vq, struct virtq_chain *chain)
{
	uint16_t head;
	int waiting;

	if (!vq->ready)
		return 0;
	if (vq->broken)
		return -EPROTO;
	waiting = chains_waiting(vq);
	if (waiting == 0)
		return 0;
	if (waiting < 0 || !load16(vq, avail_ring_gpa(vq, vq->last_avail), &head) || head >= vq->num)
		goto broken;
	chain_reset(chain, head);
	if (table_walk(vq, chain, vq->desc_gpa, vq->num, head, false))
		goto broken;
	vq->last_avail++;
	return 1;

broken:
	vq->broken = true;
	return -EPROTO;
}

void virtq_unpop(struct virtq *vq, unsigned count)
{
	vq->last_avail = (uint16_t)(vq->last_avail - count);
}

void virtq_fill(struct virtq *vq, unsigned ahead, uint16_t head, uint32_t written_bytes)
{
	struct vring_used_elem elem = {.id = head, .len = written_bytes};

	if (!vq->ready || vq->broken)
		return;
	mem_write(vq->mem, used_ring_gpa(vq, (uint16_t)(vq->used_idx + ahead)), &elem, sizeof(elem));
}

void virtq_publish(struct virtq *vq, unsigned count)
{
	if (!vq->ready || vq->broken)
		return;
	vq->used_idx = (uint16_t)(vq->used_idx + count);
	store16(vq, vq->used_gpa + 2, vq->used_idx); /* pairs with the driver's read of used->idx */
}

void virtq_push(struct virtq *vq, uint16_t head, uint32_t written_bytes)
{
	virtq_fill(vq, 0, head, written_bytes);
	virtq_publish(vq, 1);
}

bool virtq_wants_irq(struct virtq *vq)
{
	uint16_t before = vq->signalled_used, now = vq->used_idx, event, flags;

	if (!vq->ready || vq->broken || before == now)
		return false;
	/* Our used->idx must be visible before we read the driver's wish; it does the same the other way round. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	vq->signalled_used = now;
	if (vq->event_idx) {
		if (!load16(vq, used_event_gpa(vq), &event))
			return false;
		return vring_need_event(event, now, before);
	}
	return load16(vq, vq->avail_gpa, &flags) && !(flags & VRING_AVAIL_F_NO_INTERRUPT);
}

bool virtq_kick_enable(struct virtq *vq)
{
	if (!vq->ready || vq->broken)
		return false;
	if (vq->event_idx)
		store16(vq, avail_event_gpa(vq), vq->last_avail);
	else
		store16(vq, vq->used_gpa, 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return virtq_has_work(vq);
}

void virtq_kick_disable(struct virtq *vq)
{
	if (!vq->ready || vq->broken)
		return;
	/* With EVENT_IDX leaving avail_event behind is the way to say it (2.7.10). */
	if (!vq->event_idx)
		store16(vq, vq->used_gpa, VRING_USED_F_NO_NOTIFY);
}

/* A cursor over count iovecs: moves up to bytes, copying to or from buf when it is not NULL. */
struct cursor {
	const struct iovec *iov;
	unsigned count, *index;
	size_t *skip;
};

static size_t cursor_move(const struct cursor *cur, void *to, const void *from, size_t bytes)
{
	size_t done = 0;

	while (done < bytes && *cur->index < cur->count) {
		const struct iovec *iov = &cur->iov[*cur->index];
		size_t step = MIN(bytes - done, iov->iov_len - *cur->skip);

		if (to)
			memcpy((char *)to + done, (char *)iov->iov_base + *cur->skip, step);
		if (from)
			memcpy((char *)iov->iov_base + *cur->skip, (const char *)from + done, step);
		done += step;
		*cur->skip += step;
		if (*cur->skip == iov->iov_len) {
			*cur->skip = 0;
			++*cur->index;
		}
	}
	return done;
}

static size_t read_move(struct virtq_chain *chain, void *dst, size_t bytes)
{
	struct cursor cur = {chain->iov, chain->out_count, &chain->read_iov, &chain->read_skip};
	size_t done = cursor_move(&cur, dst, NULL, bytes);

	chain->read_bytes += done;
	return done;
}

static size_t write_move(struct virtq_chain *chain, const void *src, size_t bytes)
{
	struct cursor cur = {chain->iov + chain->out_count, chain->in_count, &chain->write_iov, &chain->write_skip};
	size_t done = cursor_move(&cur, NULL, src, bytes);

	chain->written_bytes += done;
	return done;
}

size_t chain_read(struct virtq_chain *chain, void *dst, size_t bytes)
{
	return read_move(chain, dst, bytes);
}

size_t chain_skip_read(struct virtq_chain *chain, size_t bytes)
{
	return read_move(chain, NULL, bytes);
}

size_t chain_write(struct virtq_chain *chain, const void *src, size_t bytes)
{
	return write_move(chain, src, bytes);
}

size_t chain_skip_write(struct virtq_chain *chain, size_t bytes)
{
	return write_move(chain, NULL, bytes);
}

static unsigned iov_rest(const struct iovec *from, unsigned count, unsigned index, size_t skip, struct iovec *iov,
			 unsigned max)
{
	unsigned n = 0;

	for (; index < count && n < max; index++, n++) {
		iov[n].iov_base = (char *)from[index].iov_base + skip;
		iov[n].iov_len = from[index].iov_len - skip;
		skip = 0;
	}
	return n;
}

unsigned chain_iov_out(const struct virtq_chain *chain, struct iovec *iov, unsigned max)
{
	return iov_rest(chain->iov, chain->out_count, chain->read_iov, chain->read_skip, iov, max);
}

unsigned chain_iov_in(const struct virtq_chain *chain, struct iovec *iov, unsigned max)
{
	return iov_rest(chain->iov + chain->out_count, chain->in_count, chain->write_iov, chain->write_skip, iov, max);
}
