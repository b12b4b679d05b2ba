// SPDX-License-Identifier: Apache-2.0
/*
 * test_virtq: rings: what is popped, pushed, put back and told, against drivers that keep the rules and drivers that break
 * each of them.
 */
#include "devices/virtq.h"
#include "tests/unit/idle.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>

TEST(chain_both_ways)
{
	struct ring *ring = ring_make(0);
	uint64_t gpa = rig_alloc(&rig, 64);
	struct ring_buf out[2] = {{gpa, 4}, {gpa + 8, 2}}, in[2] = {{gpa + 16, 3}, {gpa + 32, 5}};
	char got[8] = "";

	memcpy(rig_at(&rig, gpa), "abcd", 4);
	memcpy(rig_at(&rig, gpa + 8), "ef", 2);
	ring_add(ring, out, 2, in, 2);
	CHECK_INT(pop(), 1);
	CHECK_INT(idle.chain.out_bytes, 6);
	CHECK_INT(idle.chain.in_bytes, 8);
	CHECK_INT(chain_read(&idle.chain, got, 5), 5);
	CHECK_STR(got, "abcde");
	CHECK_INT(chain_read(&idle.chain, got, 5), 1);
	CHECK_INT(chain_read(&idle.chain, got, 5), 0);
	CHECK_INT(chain_write(&idle.chain, "12345", 5), 5);
	CHECK_INT(chain_skip_write(&idle.chain, 100), 3);
	CHECK_INT(idle.chain.written_bytes, 8);
	CHECK_MEM(rig_at(&rig, gpa + 16), "123", 3);
	CHECK_MEM(rig_at(&rig, gpa + 32), "45", 2);
	virtq_push(&idle.dev.queues[0], idle.chain.head, 5);
	CHECK_INT(ring_take(ring, NULL, 0), 5);
	CHECK_INT(pop(), 0);
	idle_end();
}

TEST(rest_as_iovecs)
{
	struct ring *ring = ring_make(0);
	uint64_t gpa = rig_alloc(&rig, 64);
	struct ring_buf out[2] = {{gpa, 4}, {gpa + 8, 2}};
	struct iovec iov[4];

	ring_add(ring, out, 2, NULL, 0);
	CHECK_INT(pop(), 1);
	CHECK_INT(chain_skip_read(&idle.chain, 1), 1);
	CHECK_INT(chain_iov_out(&idle.chain, iov, 4), 2);
	CHECK_INT(iov[0].iov_len, 3);
	CHECK(iov[0].iov_base == (char *)rig_at(&rig, gpa) + 1);
	CHECK_INT(chain_iov_out(&idle.chain, iov, 1), 1);
	CHECK_INT(chain_skip_read(&idle.chain, 3), 3);
	CHECK_INT(chain_iov_out(&idle.chain, iov, 4), 1);
	CHECK_INT(chain_iov_in(&idle.chain, iov, 4), 0);
	idle_end();
}

TEST(unpop_gives_the_chain_again)
{
	struct ring *ring = ring_make(0);

	ring_post(ring, 16);
	ring_post(ring, 32);
	CHECK_INT(pop(), 1);
	CHECK_INT(idle.chain.in_bytes, 16);
	virtq_unpop(&idle.dev.queues[0], 1);
	CHECK_INT(pop(), 1);
	CHECK_INT(idle.chain.in_bytes, 16);
	idle_end();
}

TEST(indices_wrap_at_65536)
{
	struct ring *ring = ring_make(RIG_F_EVENT_IDX);

	for (unsigned i = 0; i < 70000; i++) {
		rig_alloc_reset(&rig);
		ring_post(ring, 8);
		if (pop() != 1)
			break;
		virtq_push(&idle.dev.queues[0], idle.chain.head, 8);
		if (ring_take(ring, NULL, 0) != 8)
			break;
	}
	CHECK_INT(idle.dev.queues[0].used_idx, (uint16_t)70000);
	idle_end();
}

TEST(indirect_when_negotiated)
{
	struct ring *ring = ring_make(RIG_F_INDIRECT_DESC);
	uint64_t gpa = rig_alloc(&rig, 64);
	struct ring_buf out = {gpa, 4}, in[2] = {{gpa + 16, 3}, {gpa + 32, 5}};

	ring_add_indirect(ring, &out, 1, in, 2);
	CHECK_INT(pop(), 1);
	CHECK_INT(idle.chain.out_count, 1);
	CHECK_INT(idle.chain.in_bytes, 8);
	idle_end();
	ring = ring_make(0);
	ring_add_indirect(ring, &out, 1, in, 2);
	CHECK_INT(pop(), -EPROTO);
	idle_end();
}

/* One descriptor table per broken rule; head 0 is offered. */
static void broken_try(const struct ring_desc *descs, unsigned count, uint64_t features)
{
	struct ring *ring = ring_make(features);

	for (unsigned i = 0; i < count; i++)
		*ring_desc(ring, i) = descs[i];
	ring_offer(ring, 0);
	CHECK_INT(pop(), -EPROTO);
	CHECK_INT(pop(), -EPROTO); /* and stays broken */
	CHECK(idle.dev.queues[0].broken);
	idle_end();
}

#define BROKEN(features, ...)                                                                                          \
	do {                                                                                                           \
		static const struct ring_desc descs[] = {__VA_ARGS__};                                                 \
		broken_try(descs, sizeof(descs) / sizeof(descs[0]), features);                                         \
	} while (0)

TEST(broken_chains)
{
	/* a loop of one, of two */
	BROKEN(0, {RIG_DATA_GPA, 8, RING_DESC_NEXT, 0});
	BROKEN(0, {RIG_DATA_GPA, 8, RING_DESC_NEXT, 1}, {RIG_DATA_GPA, 8, RING_DESC_NEXT, 0});
	/* next outside the table */
	BROKEN(0, {RIG_DATA_GPA, 8, RING_DESC_NEXT, RING_NUM});
	/* outside memory, at the end, wrapping */
	BROKEN(0, {RIG_BYTES, 1, 0, 0});
	BROKEN(0, {RIG_BYTES - 1, 2, 0, 0});
	BROKEN(0, {UINT64_MAX, 2, 0, 0});
	BROKEN(0, {RIG_DATA_GPA, UINT32_MAX, 0, 0});
	/* no bytes at all */
	BROKEN(0, {RIG_DATA_GPA, 0, 0, 0});
	/* out behind in */
	BROKEN(0, {RIG_DATA_GPA, 8, RING_DESC_NEXT | RING_DESC_WRITE, 1}, {RIG_DATA_GPA, 8, 0, 0});
	/* indirect: odd size, none, too long, outside memory, together with next */
	BROKEN(RIG_F_INDIRECT_DESC, {RIG_DATA_GPA, 17, RING_DESC_INDIRECT, 0});
	BROKEN(RIG_F_INDIRECT_DESC, {RIG_DATA_GPA, 0, RING_DESC_INDIRECT, 0});
	BROKEN(RIG_F_INDIRECT_DESC, {RIG_DATA_GPA, 16 * (VIRTQ_CHAIN_MAX + 1), RING_DESC_INDIRECT, 0});
	BROKEN(RIG_F_INDIRECT_DESC, {RIG_BYTES - 8, 16, RING_DESC_INDIRECT, 0});
	BROKEN(RIG_F_INDIRECT_DESC, {RIG_DATA_GPA, 16, RING_DESC_INDIRECT | RING_DESC_NEXT, 1});
}

TEST(nested_indirect_is_broken)
{
	struct ring *ring = ring_make(RIG_F_INDIRECT_DESC);
	uint64_t table = rig_alloc(&rig, 16);
	struct ring_desc inner = {table, 16, RING_DESC_INDIRECT, 0};

	memcpy(rig_at(&rig, table), &inner, sizeof(inner));
	*ring_desc(ring, 0) = (struct ring_desc){table, 16, RING_DESC_INDIRECT, 0};
	ring_offer(ring, 0);
	CHECK_INT(pop(), -EPROTO);
	idle_end();
}

/* All that could be reached by a wrong index is a good descriptor: only the index itself is wrong. */
static struct ring *ring_of_good(uint64_t features)
{
	struct ring *ring = ring_make(features);
	struct ring_desc *table = rig_at(&rig, ring->desc_gpa);

	for (unsigned i = 0; i < 2 * RING_NUM; i++)
		table[i] = (struct ring_desc){RIG_DATA_GPA, 8, 0, 0};
	return ring;
}

TEST(bad_indices)
{
	struct ring *ring = ring_of_good(0);

	ring_offer(ring, RING_NUM); /* head outside the table */
	CHECK_INT(pop(), -EPROTO);
	idle_end();
	ring = ring_of_good(0);
	*ring_desc(ring, 0) = (struct ring_desc){RIG_DATA_GPA, 8, RING_DESC_NEXT, RING_NUM};
	ring_offer(ring, 0); /* next outside the table */
	CHECK_INT(pop(), -EPROTO);
	idle_end();
	ring = ring_of_good(0);
	ring_set_avail_idx(ring, RING_NUM); /* as much as the ring holds */
	CHECK_INT(pop(), 1);
	idle_end();
	ring = ring_of_good(0);
	ring_set_avail_idx(ring, RING_NUM + 1); /* more */
	CHECK_INT(pop(), -EPROTO);
	idle_end();
	ring = ring_of_good(0);
	ring_set_avail_idx(ring, UINT16_MAX); /* backwards */
	CHECK_INT(pop(), -EPROTO);
	/* and a ring that was repaired behind our back stays broken */
	ring_set_avail_idx(ring, 1);
	CHECK_INT(pop(), -EPROTO);
	CHECK(!virtq_kick_enable(&idle.dev.queues[0]));
	idle_end();
}

/* direct buffers, then an indirect table of more, all of them good. */
static int pop_of(unsigned direct, unsigned indirect)
{
	struct ring *ring = ring_of_good(RIG_F_INDIRECT_DESC);
	uint64_t table_gpa = rig_alloc(&rig, 16 * (size_t)indirect);
	struct ring_desc *table = rig_at(&rig, table_gpa);
	int got;

	for (unsigned i = 0; i < direct; i++)
		*ring_desc(ring, i) = (struct ring_desc){RIG_DATA_GPA, 1, RING_DESC_NEXT, (uint16_t)(i + 1)};
	*ring_desc(ring, direct) = (struct ring_desc){table_gpa, 16 * indirect, RING_DESC_INDIRECT, 0};
	for (unsigned i = 0; i < indirect; i++)
		table[i] = (struct ring_desc){RIG_DATA_GPA, 1, i + 1 < indirect ? RING_DESC_NEXT : 0, (uint16_t)(i + 1)};
	ring_offer(ring, 0);
	got = pop();
	idle_end();
	return got;
}

TEST(chains_are_bounded)
{
	struct ring *ring = ring_of_good(RIG_F_INDIRECT_DESC);
	uint64_t table_gpa = rig_alloc(&rig, 16 * (VIRTQ_CHAIN_MAX + 1));

	/* a table that is too long, of which one descriptor is used */
	memcpy(rig_at(&rig, table_gpa), ring_desc(ring, 0), sizeof(struct ring_desc));
	*ring_desc(ring, 0) = (struct ring_desc){table_gpa, 16 * (VIRTQ_CHAIN_MAX + 1), RING_DESC_INDIRECT, 0};
	ring_offer(ring, 0);
	CHECK_INT(pop(), -EPROTO);
	idle_end();
	CHECK_INT(pop_of(0, VIRTQ_CHAIN_MAX), 1);
	CHECK_INT(pop_of(3, 5), 1);
	CHECK_INT(pop_of(200, 56), 1);
	CHECK_INT(pop_of(200, 57), -EPROTO);
	CHECK_INT(pop_of(255, 256), -EPROTO);
}

/* Memory of which nothing is touched but the rings; count descriptors over nearly all of it. */
static int pop_of_bytes(unsigned count, uint32_t bytes_each)
{
	enum { BYTES = 64 << 20, DESC = 0, AVAIL = 0x2000, USED = 0x3000 };
	struct virtq vq = {.desc_gpa = DESC, .avail_gpa = AVAIL, .used_gpa = USED, .num = 128, .ready = true};
	const uint16_t one = 1;
	struct mem mem;
	int got;

	if (!CHECK_INT(mem_init(&mem, BYTES), 0))
		return -ENOMEM;
	vq.mem = &mem;
	for (unsigned i = 0; i < count; i++) {
		struct ring_desc desc = {0, bytes_each, i + 1 < count ? RING_DESC_NEXT : 0, (uint16_t)(i + 1)};

		CHECK(mem_write(&mem, DESC + 16 * i, &desc, sizeof(desc)));
	}
	CHECK(mem_write(&mem, AVAIL + 2, &one, 2));
	got = virtq_pop(&vq, &idle.chain);
	mem_fini(&mem);
	return got;
}

/* 2.7.4: a chain is 2^32 bytes at most. */
TEST(chains_of_four_gigabytes_are_bounded)
{
	CHECK_INT(pop_of_bytes(64, 64 << 20), 1);
	CHECK_INT(pop_of_bytes(65, 64 << 20), -EPROTO);
	CHECK_INT(pop_of_bytes(128, 64 << 20), -EPROTO);
}

TEST(interrupts_as_asked)
{
	struct ring *ring = ring_make(0);
	uint16_t one = 1, zero = 0;

	ring_post(ring, 8);
	pop();
	CHECK(!virtq_wants_irq(&idle.dev.queues[0])); /* nothing pushed yet */
	virtq_push(&idle.dev.queues[0], idle.chain.head, 0);
	CHECK(virtq_wants_irq(&idle.dev.queues[0]));
	CHECK(!virtq_wants_irq(&idle.dev.queues[0])); /* said once */
	memcpy(rig_at(&rig, ring->avail_gpa), &one, 2); /* VRING_AVAIL_F_NO_INTERRUPT */
	ring_post(ring, 8);
	pop();
	virtq_push(&idle.dev.queues[0], idle.chain.head, 0);
	CHECK(!virtq_wants_irq(&idle.dev.queues[0]));
	memcpy(rig_at(&rig, ring->avail_gpa), &zero, 2);
	idle_end();
}

TEST(interrupts_by_event_index)
{
	struct ring *ring = ring_make(RIG_F_EVENT_IDX);
	uint16_t event = 2;

	memcpy(rig_at(&rig, ring->avail_gpa + 4 + 2 * RING_NUM), &event, 2); /* wake me after the third */
	for (unsigned i = 0; i < 4; i++) {
		ring_post(ring, 8);
		CHECK_INT(pop(), 1);
		virtq_push(&idle.dev.queues[0], idle.chain.head, 0);
		CHECK_INT(virtq_wants_irq(&idle.dev.queues[0]), i == 2);
	}
	idle_end();
}

/* The one the driver waits for lies in the middle of what was pushed together, also where the index wraps. */
TEST(event_index_within_a_batch)
{
	struct ring *ring = ring_make(RIG_F_EVENT_IDX);
	struct virtq *vq = &idle.dev.queues[0];
	static const struct {
		uint16_t from, count, event;
		bool wanted;
	} batches[] = {
		{0, 4, 1, true}, {0, 4, 0, true}, {0, 4, 3, true}, {0, 4, 4, false}, {0, 4, 65535, false},
		{65534, 4, 65535, true}, {65534, 4, 1, true}, {65534, 4, 2, false}, {65534, 4, 65533, false},
	};

	for (unsigned i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
		vq->used_idx = vq->signalled_used = batches[i].from;
		memcpy(rig_at(&rig, ring->avail_gpa + 4 + 2 * RING_NUM), &batches[i].event, 2);
		for (unsigned k = 0; k < batches[i].count; k++)
			virtq_push(vq, 0, 0);
		CHECK_INT(virtq_wants_irq(vq), batches[i].wanted);
	}
	idle_end();
}

TEST(kicks_switched_off_and_on)
{
	struct ring *ring = ring_make(0);
	uint16_t flags;

	virtq_kick_disable(&idle.dev.queues[0]);
	memcpy(&flags, rig_at(&rig, ring->used_gpa), 2);
	CHECK_INT(flags, VRING_USED_F_NO_NOTIFY);
	CHECK(!virtq_kick_enable(&idle.dev.queues[0]));
	memcpy(&flags, rig_at(&rig, ring->used_gpa), 2);
	CHECK_INT(flags, 0);
	ring_post(ring, 8);
	CHECK(virtq_kick_enable(&idle.dev.queues[0])); /* came in between */
	idle_end();
}

TEST(filled_chains_appear_together)
{
	struct ring *ring = ring_make(0);
	uint16_t heads[3];

	for (unsigned i = 0; i < 3; i++) {
		ring_post(ring, 16);
		CHECK_INT(pop(), 1);
		heads[i] = idle.chain.head;
	}
	virtq_fill(&idle.dev.queues[0], 0, heads[0], 1);
	virtq_fill(&idle.dev.queues[0], 1, heads[1], 2);
	CHECK_INT(ring_takeable(ring), 0);
	virtq_publish(&idle.dev.queues[0], 2);
	CHECK_INT(ring_takeable(ring), 2);
	CHECK_INT(ring_take(ring, NULL, 0), 1);
	CHECK_INT(ring_take(ring, NULL, 0), 2);
	virtq_unpop(&idle.dev.queues[0], 1);
	CHECK_INT(pop(), 1);
	CHECK_INT(idle.chain.head, heads[2]);
	idle_end();
}


int main(void)
{
	RUN(chain_both_ways);
	RUN(rest_as_iovecs);
	RUN(unpop_gives_the_chain_again);
	RUN(indices_wrap_at_65536);
	RUN(indirect_when_negotiated);
	RUN(broken_chains);
	RUN(nested_indirect_is_broken);
	RUN(bad_indices);
	RUN(chains_are_bounded);
	RUN(chains_of_four_gigabytes_are_bounded);
	RUN(interrupts_as_asked);
	RUN(interrupts_by_event_index);
	RUN(event_index_within_a_batch);
	RUN(kicks_switched_off_and_on);
	RUN(filled_chains_appear_together);
	return test_done();
}
