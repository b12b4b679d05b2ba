// SPDX-License-Identifier: Apache-2.0
/* test_mem: guest addresses at every edge, and the bus that finds devices. */
#include "devices/bus.h"
#include "devices/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>

static uint8_t buffer[8192];

TEST(ptr_inside_and_at_the_edges)
{
	struct mem mem;

	mem_init_buffer(&mem, buffer, sizeof(buffer));
	CHECK(mem_ptr(&mem, 0, 1) == buffer);
	CHECK(mem_ptr(&mem, 0, sizeof(buffer)) == buffer);
	CHECK(mem_ptr(&mem, sizeof(buffer) - 1, 1) == buffer + sizeof(buffer) - 1);
	CHECK(mem_ptr(&mem, 0, sizeof(buffer) + 1) == NULL);
	CHECK(mem_ptr(&mem, sizeof(buffer), 1) == NULL);
	CHECK(mem_ptr(&mem, sizeof(buffer) - 1, 2) == NULL);
	CHECK(mem_ptr(&mem, 16, 0) == NULL);
}

TEST(ptr_does_not_wrap)
{
	struct mem mem;

	mem_init_buffer(&mem, buffer, sizeof(buffer));
	CHECK(mem_ptr(&mem, 16, UINT64_MAX) == NULL);
	CHECK(mem_ptr(&mem, 16, UINT64_MAX - 15) == NULL);
	CHECK(mem_ptr(&mem, UINT64_MAX, 1) == NULL);
	CHECK(mem_ptr(&mem, UINT64_MAX, 2) == NULL);
	CHECK(mem_ptr(&mem, UINT64_MAX - 7, 16) == NULL);
}

TEST(read_and_write_are_all_or_nothing)
{
	struct mem mem;
	uint8_t bytes[4] = {1, 2, 3, 4}, back[4] = {0};

	mem_init_buffer(&mem, buffer, sizeof(buffer));
	CHECK(mem_write(&mem, 100, bytes, 4));
	CHECK(mem_read(&mem, 100, back, 4));
	CHECK_MEM(back, bytes, 4);
	memset(buffer + sizeof(buffer) - 2, 7, 2);
	CHECK(!mem_write(&mem, sizeof(buffer) - 2, bytes, 4));
	CHECK_INT(buffer[sizeof(buffer) - 2], 7);
	CHECK(!mem_read(&mem, sizeof(buffer) - 2, back, 4));
}

TEST(discards_whole_pages_inside)
{
	enum { PAGE = 4096, PAGES = 8 };
	struct mem mem;
	uint8_t *at;
	uint64_t gpa;

	if (!CHECK_INT(mem_init(&mem, PAGES * PAGE), 0))
		return;
	at = mem_ptr(&mem, 0, PAGES * PAGE);
	memset(at, 1, PAGES * PAGE);
	CHECK_INT(mem_discard(&mem, PAGE - 1, PAGE), 0); /* no whole page */
	CHECK_INT(at[PAGE - 1] + at[PAGE] + at[2 * PAGE - 1], 3);
	CHECK_INT(mem_discard(&mem, PAGE - 1, 2 * PAGE + 1), 0);
	CHECK_INT(at[PAGE - 1], 1);
	CHECK_INT(at[PAGE] + at[3 * PAGE - 1], 0);
	CHECK_INT(at[3 * PAGE], 1);
	CHECK_INT(mem_discard(&mem, (PAGES - 1) * PAGE, PAGE + 1), -EINVAL);
	CHECK_INT(mem_discard(&mem, PAGES * PAGE, PAGE), -EINVAL);
	CHECK_INT(mem_discard(&mem, UINT64_MAX - PAGE + 1, PAGE), -EINVAL);
	CHECK_INT(mem_discard(&mem, 0, UINT64_MAX), -EINVAL);
	CHECK_INT(at[PAGES * PAGE - 1], 1);
	CHECK(mem_discard_zeroes(&mem));
	CHECK(mem_gpa(&mem, at + 5000, &gpa));
	CHECK_INT(gpa, 5000);
	CHECK(!mem_gpa(&mem, at + PAGES * PAGE, &gpa));
	CHECK(!mem_gpa(&mem, &mem, &gpa));
	mem_fini(&mem);
}

TEST(gap_of_the_devices)
{
	struct mem mem;
	uint64_t high = 64 << 20;

	/* only address space: not a page of it is touched but the three below */
	if (mem_init(&mem, MEM_GAP_GPA + high))
		SKIP("no address space for 3 GiB");
	CHECK_INT(mem.count, 2);
	CHECK(mem_ptr(&mem, MEM_GAP_GPA - 1, 1) != NULL);
	CHECK(mem_ptr(&mem, MEM_GAP_GPA - 1, 2) == NULL);
	CHECK(mem_ptr(&mem, MEM_GAP_GPA, 1) == NULL);
	CHECK(mem_ptr(&mem, MEM_HIGH_GPA - 1, 2) == NULL);
	CHECK(mem_ptr(&mem, MEM_HIGH_GPA, high) != NULL);
	CHECK(mem_ptr(&mem, MEM_HIGH_GPA, high + 1) == NULL);
	mem_fini(&mem);
}

static uint64_t seen_offset, seen_value;

static uint64_t probe_read(void *ctx, uint64_t offset, unsigned width)
{
	(void)ctx;
	(void)width;
	seen_offset = offset;
	return 0x1122334455667788;
}

static void probe_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx;
	(void)width;
	seen_offset = offset;
	seen_value = value;
}

static const struct bus_ops probe = {.read = probe_read, .write = probe_write};

/* Only then does KVM map a huge page of the host as one. */
TEST(memory_begins_at_a_huge_page)
{
	struct mem mem;
	uint8_t *host;

	for (uint64_t bytes = 4096; bytes < 64 << 20; bytes = bytes * 5 / 4096 * 4096) {
		if (!CHECK_INT(mem_init(&mem, bytes), 0))
			return;
		host = mem_ptr(&mem, 0, bytes);
		CHECK_INT((uintptr_t)host % (2 << 20), 0);
		host[0] = host[bytes - 1] = 1;
		mem_fini(&mem);
	}
}

TEST(bus_finds_the_range)
{
	struct bus bus = {.count = 0};

	CHECK_INT(bus_add(&bus, 0x1000, 0x100, &probe, NULL), 0);
	CHECK_INT(bus_read(&bus, 0x1010, 4), 0x55667788);
	CHECK_INT(seen_offset, 0x10);
	CHECK_INT(bus_read(&bus, 0x10ff, 1), 0x88);
	bus_write(&bus, 0x1020, 2, 0xffff1234);
	CHECK_INT(seen_value, 0x1234);
}

static bool probe_unlocked(void *ctx, uint64_t offset, unsigned width, bool write, uint64_t *value)
{
	(void)ctx;
	if (offset != 0x20 || width != 4)
		return false;
	*value = write ? *value + 1 : 0x99;
	return true;
}

TEST(bus_knows_what_needs_no_lock)
{
	static const struct bus_ops ops = {.read = probe_read, .write = probe_write, .unlocked = probe_unlocked};
	struct bus bus = {0};
	uint64_t value = 7;

	CHECK_INT(bus_add(&bus, 0x1000, 0x100, &ops, NULL), 0);
	CHECK_INT(bus_add(&bus, 0x2000, 0x100, &probe, NULL), 0);
	CHECK(bus_access_unlocked(&bus, 0x1020, 4, true, &value) && value == 8);
	CHECK(bus_access_unlocked(&bus, 0x1020, 4, false, &value) && value == 0x99);
	CHECK(!bus_access_unlocked(&bus, 0x1020, 2, false, &value));
	CHECK(!bus_access_unlocked(&bus, 0x1024, 4, false, &value));
	CHECK(!bus_access_unlocked(&bus, 0x2020, 4, false, &value));
	CHECK(!bus_access_unlocked(&bus, 0x3020, 4, false, &value));
	CHECK_INT(value, 0x99);
}

TEST(bus_answers_nobody_with_ones)
{
	struct bus bus = {.count = 0};

	CHECK_INT(bus_add(&bus, 0x1000, 0x100, &probe, NULL), 0);
	CHECK_INT(bus_read(&bus, 0x2000, 1), 0xff);
	CHECK_INT(bus_read(&bus, 0x2000, 4), 0xffffffff);
	CHECK(bus_read(&bus, 0x2000, 8) == UINT64_MAX);
	CHECK_INT(bus_read(&bus, 0x10fe, 4), 0xffffffff); /* straddles the end */
	CHECK_INT(bus_read(&bus, 0xffe, 4), 0xffffffff);
	seen_offset = 99;
	bus_write(&bus, 0x10fe, 4, 1);
	CHECK_INT(seen_offset, 99);
}

TEST(bus_refuses_overlap_and_too_many)
{
	struct bus bus = {.count = 0};

	CHECK_INT(bus_add(&bus, 0x1000, 0x100, &probe, NULL), 0);
	CHECK_INT(bus_add(&bus, 0x10ff, 1, &probe, NULL), -EEXIST);
	CHECK_INT(bus_add(&bus, 0xfff, 2, &probe, NULL), -EEXIST);
	CHECK_INT(bus_add(&bus, 0, 0x2000, &probe, NULL), -EEXIST);
	CHECK_INT(bus_add(&bus, 0x3000, 0, &probe, NULL), -EINVAL);
	CHECK_INT(bus_add(&bus, UINT64_MAX, 2, &probe, NULL), -EINVAL);
	for (unsigned i = 1; i < BUS_RANGES_MAX; i++)
		CHECK_INT(bus_add(&bus, 0x1000 + i * 0x100, 0x100, &probe, NULL), 0);
	CHECK_INT(bus_add(&bus, 0, 1, &probe, NULL), -ENOSPC);
}

int main(void)
{
	RUN(ptr_inside_and_at_the_edges);
	RUN(ptr_does_not_wrap);
	RUN(read_and_write_are_all_or_nothing);
	RUN(discards_whole_pages_inside);
	RUN(gap_of_the_devices);
	RUN(memory_begins_at_a_huge_page);
	RUN(bus_finds_the_range);
	RUN(bus_knows_what_needs_no_lock);
	RUN(bus_answers_nobody_with_ones);
	RUN(bus_refuses_overlap_and_too_many);
	return test_done();
}
