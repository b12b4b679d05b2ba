/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_virtq: the ring code alone, on memory whose every byte is the guest's: what a driver writes between any two steps
 * of a device that pops, answers, puts back and publishes in any order a device may.
 *
 * An input: one byte features (bit 0 EVENT_IDX, bit 1 INDIRECT, bit 2: memory has a second region), one byte log2 of the
 * ring's size, two bytes each where descriptors, avail and used lie (times their alignment, so they overlap as they like),
 * two bytes each last_avail and used_idx, then two bytes n and n bytes that memory begins with, then steps: see step().
 *
 * Oracles: every buffer of a chain lies inside memory and none is empty; counts and sums agree; out comes before in;
 * no more chains than the ring holds are handed out without an answer in one turn; cursors move as many bytes as they
 * say and never past the end; a broken ring hands out nothing more; used->idx counts what was published.
 */
#include "devices/virtq.h"
#include "lib/util.h"
#include "tests/fuzz/input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MEMORY_BYTES = 64 << 10,
	STEPS_MAX = 256,
	TAKEN_MAX = VIRTQ_NUM_MAX,
	MOVE_MAX = 4096,
};

/* Heads that were popped and not answered yet, oldest first. */
struct taken {
	uint16_t heads[TAKEN_MAX];
	unsigned count;
	bool pushed; /* since the oldest was popped: then virtq_unpop() is not allowed */
};

static struct mem mem;
static struct virtq vq;
static struct virtq_chain chain;
static struct taken taken;
static uint8_t *memory;

static bool queue_fits(void)
{
	return mem_ptr(&mem, vq.desc_gpa, 16u * vq.num) && mem_ptr(&mem, vq.avail_gpa, 6u + 2u * vq.num) &&
	       mem_ptr(&mem, vq.used_gpa, 6u + 8u * vq.num);
}

static bool inside(const struct iovec *iov)
{
	const uint8_t *base = iov->iov_base;

	return iov->iov_len && base >= memory && base < memory + MEMORY_BYTES &&
	       iov->iov_len <= (size_t)(memory + MEMORY_BYTES - base);
}

static void chain_check(void)
{
	uint64_t out = 0, in = 0;

	must(chain.out_count + chain.in_count >= 1, "a chain without a buffer");
	must(chain.out_count + chain.in_count <= VIRTQ_CHAIN_MAX, "a chain of too many buffers");
	must(chain.head < vq.num, "a head outside the ring");
	for (unsigned i = 0; i < chain.out_count + chain.in_count; i++) {
		must(inside(&chain.iov[i]), "a buffer outside memory");
		if (i < chain.out_count)
			out += chain.iov[i].iov_len;
		else
			in += chain.iov[i].iov_len;
	}
	must(out == chain.out_bytes && in == chain.in_bytes, "sums of a chain");
	must(out + in <= VIRTQ_CHAIN_BYTES_MAX, "a chain of too many bytes");
}

static void pop(void)
{
	bool was_broken = vq.broken;
	uint16_t before = vq.last_avail;
	int got;

	/* A device never holds more than the ring has: the ring itself may lie about it. */
	if (taken.count == MIN((unsigned)vq.num, (unsigned)TAKEN_MAX))
		return;
	got = virtq_pop(&vq, &chain);
	must(got == 1 || got == 0 || got == -EPROTO, "pop's answer");
	must(vq.last_avail == (uint16_t)(before + (got == 1)), "last_avail");
	if (!vq.ready) {
		must(got == 0 && vq.broken == was_broken, "a stopped ring gave something");
		return;
	}
	must(got == -EPROTO || !was_broken, "a broken ring gave something");
	must((got == -EPROTO) == vq.broken, "broken is not what pop said");
	if (got != 1)
		return;
	if (!taken.count)
		taken.pushed = false;
	chain_check();
	taken.heads[taken.count++] = chain.head;
}

static uint16_t used_idx_in_memory(void)
{
	uint16_t idx;

	must(mem_read(&mem, vq.used_gpa + 2, &idx, sizeof(idx)), "used->idx is gone");
	return idx;
}

/* The oldest count chains together. */
static void answer(unsigned count, uint32_t written)
{
	uint16_t before = vq.used_idx;

	count = MIN(count, taken.count);
	if (!count)
		return;
	for (unsigned i = 0; i < count; i++)
		virtq_fill(&vq, i, taken.heads[i], written);
	must(vq.used_idx == before, "fill published");
	virtq_publish(&vq, count);
	if (vq.ready && !vq.broken) {
		must(vq.used_idx == (uint16_t)(before + count), "publish's count");
		must(used_idx_in_memory() == vq.used_idx, "used->idx in memory");
	} else {
		must(vq.used_idx == before, "a dead ring was written to");
	}
	taken.count -= count;
	memmove(taken.heads, taken.heads + count, taken.count * sizeof(taken.heads[0]));
	taken.pushed = true;
}

static void put_back(unsigned count)
{
	uint16_t before = vq.last_avail;

	count = MIN(count, taken.count);
	if (taken.pushed)
		return;
	virtq_unpop(&vq, count);
	must(vq.last_avail == (uint16_t)(before - count), "unpop's count");
	taken.count -= count;
}

/* Moves both cursors; the chain is the one popped last, whatever became of it: its buffers stay memory. */
static void cursors(size_t bytes, bool copy)
{
	static uint8_t buffer[MOVE_MAX];
	struct iovec iov[VIRTQ_CHAIN_MAX];
	uint64_t out = chain.out_bytes - chain.read_bytes, in = chain.in_bytes - chain.written_bytes, rest = 0;
	size_t moved;
	unsigned count;

	bytes = MIN(bytes, (size_t)MOVE_MAX);
	moved = copy ? chain_read(&chain, buffer, bytes) : chain_skip_read(&chain, bytes);
	must(moved == MIN(bytes, out), "read's count");
	/* Writing may change the rings: they are the guest's. */
	moved = copy ? chain_write(&chain, buffer, bytes) : chain_skip_write(&chain, bytes);
	must(moved == MIN(bytes, in), "write's count");
	must(chain.read_bytes <= chain.out_bytes && chain.written_bytes <= chain.in_bytes, "a cursor past the end");
	count = chain_iov_out(&chain, iov, VIRTQ_CHAIN_MAX);
	for (unsigned i = 0; i < count; rest += iov[i++].iov_len)
		must(inside(&iov[i]), "the rest to read lies outside");
	must(rest == chain.out_bytes - chain.read_bytes, "the rest to read");
	rest = 0;
	count = chain_iov_in(&chain, iov, VIRTQ_CHAIN_MAX);
	for (unsigned i = 0; i < count; rest += iov[i++].iov_len)
		must(inside(&iov[i]), "the rest to write lies outside");
	must(rest == chain.in_bytes - chain.written_bytes, "the rest to write");
}

/* The driver writes; the low bit of at makes it one of the two indexes, which matter most. */
static void driver_writes(struct input *in)
{
	uint32_t at = input_word(in);
	uint16_t value = input_word(in);

	if (at & 1)
		mem_write(&mem, vq.avail_gpa + 2, &value, sizeof(value));
	else
		mem_write(&mem, at, &value, sizeof(value));
}

enum { DRIVER_WRITES, OFFER, POP, ANSWER, PUT_BACK, CURSORS, SKIP, KICK_ENABLE, KICK_DISABLE, WANTS_IRQ, DRAIN, STOP, STEPS };

/* As a device's kick handler: until empty or num chains. */
static void drain(void)
{
	for (unsigned budget = vq.num; budget; budget--) {
		unsigned before = taken.count;

		pop();
		if (taken.count == before)
			break;
		cursors(64, true);
		answer(1, (uint32_t)chain.written_bytes);
	}
}

static void offer(struct input *in)
{
	uint16_t idx = 0, head = input_byte(in);

	if (!mem_read(&mem, vq.avail_gpa + 2, &idx, sizeof(idx)))
		return;
	mem_write(&mem, vq.avail_gpa + 4 + 2 * (uint64_t)(idx % vq.num), &head, sizeof(head));
	idx++;
	mem_write(&mem, vq.avail_gpa + 2, &idx, sizeof(idx));
}

static void step(struct input *in)
{
	switch (input_byte(in) % STEPS) {
	case DRIVER_WRITES:
		driver_writes(in);
		break;
	case OFFER:
		offer(in);
		break;
	case POP:
		pop();
		break;
	case ANSWER:
		answer(input_byte(in), input_word(in));
		break;
	case PUT_BACK:
		put_back(input_byte(in));
		break;
	case CURSORS:
		cursors(input_word(in), true);
		break;
	case SKIP:
		cursors(input_word(in), false);
		break;
	case KICK_ENABLE:
		must(!virtq_kick_enable(&vq) || !vq.broken, "kicks of a broken ring");
		break;
	case KICK_DISABLE:
		virtq_kick_disable(&vq);
		break;
	case WANTS_IRQ:
		virtq_wants_irq(&vq);
		must(vq.broken || !virtq_wants_irq(&vq), "an interrupt for nothing");
		break;
	case DRAIN:
		drain();
		break;
	case STOP:
		vq.ready = input_byte(in) & 1;
		break;
	}
}

/* A ring as the register file lets a driver make it, or none. */
static bool set_up(struct input *in)
{
	uint8_t features = input_byte(in);
	unsigned log = input_byte(in) % 9;
	uint16_t count;

	mem_init_buffer(&mem, memory, MEMORY_BYTES);
	if (features & 4) { /* as above 4 GiB: the same host memory in two parts */
		mem.regions[0].bytes = MEMORY_BYTES / 2;
		mem.regions[1] = (struct mem_region){.gpa = MEM_HIGH_GPA, .bytes = MEMORY_BYTES / 2,
						     .host = memory + MEMORY_BYTES / 2};
		mem.count = 2;
	}
	vq = (struct virtq){.mem = &mem, .num = (uint16_t)(1u << log), .event_idx = features & 1,
			    .indirect = features >> 1 & 1, .ready = true};
	vq.desc_gpa = 16 * (uint64_t)(input_word(in) % (MEMORY_BYTES / 16));
	vq.avail_gpa = 2 * (uint64_t)(input_word(in) % (MEMORY_BYTES / 2));
	vq.used_gpa = 4 * (uint64_t)(input_word(in) % (MEMORY_BYTES / 4));
	vq.last_avail = input_word(in);
	vq.used_idx = vq.signalled_used = input_word(in);
	taken = (struct taken){0};
	memset(&chain, 0, sizeof(chain));
	count = input_word(in);
	count = (uint16_t)MIN(count, in->bytes);
	memset(memory, 0, MEMORY_BYTES);
	memcpy(memory, in->data, count);
	in->data += count;
	in->bytes -= count;
	return queue_fits();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = {data, bytes};

	/* Of just its size, so that a step past the end is seen; aligned as guest memory is. */
	if (!memory)
		memory = aligned_alloc(4096, MEMORY_BYTES);
	if (!memory || !set_up(&in))
		return 0;
	for (unsigned i = 0; i < STEPS_MAX && in.bytes; i++)
		step(&in);
	return 0;
}
