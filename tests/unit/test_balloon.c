// SPDX-License-Identifier: Apache-2.0
/* test_balloon: devices/balloon.c as a driver sees it; what is discarded shows as zeros in the rig's memory. */
#include "devices/balloon.h"

#include "lib/util.h"
#include "tests/unit/ring.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <stdlib.h>

enum { PAGE = BALLOON_PAGE_BYTES, AREA_PAGES = 64, CONFIG_TARGET = 0, CONFIG_ACTUAL = 4, CONFIG_POISON = 12 };
#define F(name) (UINT64_C(1) << VIRTIO_BALLOON_F_##name)
#define F_LINUX (F(DEFLATE_ON_OOM) | F(REPORTING))

static struct rig rig;
static struct balloon *balloon;
static uint64_t area_gpa; /* AREA_PAGES pages, each byte 0xaa */

static uint32_t area_page(unsigned page)
{
	return (uint32_t)(area_gpa / PAGE + page);
}

static void area_fill(void)
{
	memset(rig_at(&rig, area_gpa), 0xaa, AREA_PAGES * PAGE);
}

static void start(uint64_t features)
{
	rig_init(&rig);
	balloon = balloon_new(&rig.env);
	CHECK(rig_start(&rig, balloon_dev(balloon), features));
	area_gpa = (rig_alloc(&rig, (AREA_PAGES + 1) * PAGE) + PAGE - 1) / PAGE * PAGE;
	area_fill();
}

static void end(void)
{
	balloon_free(balloon);
	rig_fini(&rig);
}

/* True when just the pages first..last of the area are zero and all others as they were. */
static bool only_gone(unsigned first, unsigned last)
{
	const uint8_t *area = rig_at(&rig, area_gpa);

	for (unsigned i = 0; i < AREA_PAGES * PAGE; i++)
		if (area[i] != (i / PAGE >= first && i / PAGE <= last ? 0 : 0xaa))
			return false;
	return true;
}

static bool nothing_gone(void)
{
	return only_gone(1, 0);
}

static void inflate(const uint32_t *pages, unsigned count)
{
	ring_send(&rig.rings[BALLOON_QUEUE_INFLATE], pages, count * sizeof(*pages));
	CHECK_INT(ring_take(&rig.rings[BALLOON_QUEUE_INFLATE], NULL, 0), 0);
}

static void report(unsigned queue, uint64_t gpa, uint32_t bytes)
{
	struct ring_buf buf = {gpa, bytes};

	ring_add(&rig.rings[queue], NULL, 0, &buf, 1);
	ring_kick(&rig.rings[queue]);
	CHECK_INT(ring_take(&rig.rings[queue], NULL, 0), 0);
}

TEST(offers_what_it_does)
{
	start(0);
	CHECK_INT(rig_read(&rig, RIG_REG_DEVICE_ID), 5);
	CHECK_INT(rig_features(&rig) & 0xffff, F_LINUX | F(PAGE_POISON));
	CHECK_INT(rig_read(&rig, RIG_REG_CONFIG + CONFIG_TARGET), 0);
	end();
}

TEST(target_is_told)
{
	start(0);
	balloon_target_set(balloon, 5 * PAGE + 100);
	CHECK_INT(rig.irqs, 1);
	CHECK_INT(rig_read(&rig, RIG_REG_INTERRUPT_STATUS), 2);
	CHECK_INT(rig_read(&rig, RIG_REG_CONFIG + CONFIG_TARGET), 5);
	balloon_target_set(balloon, UINT64_MAX);
	CHECK_INT(rig_read(&rig, RIG_REG_CONFIG + CONFIG_TARGET), RIG_BYTES / PAGE);
	end();
}

TEST(actual_is_the_drivers_word_within_reason)
{
	start(0);
	rig_write(&rig, RIG_REG_CONFIG + CONFIG_ACTUAL, 3);
	CHECK_INT(balloon_actual_bytes(balloon), 3 * PAGE);
	rig_write(&rig, RIG_REG_CONFIG + CONFIG_ACTUAL, UINT32_MAX);
	CHECK_INT(balloon_actual_bytes(balloon), RIG_BYTES);
	/* the target is not the driver's */
	rig_write(&rig, RIG_REG_CONFIG + CONFIG_TARGET, 7);
	CHECK_INT(rig_read(&rig, RIG_REG_CONFIG + CONFIG_TARGET), 0);
	virtio_mmio_ops.write(balloon_dev(balloon), RIG_REG_CONFIG + CONFIG_ACTUAL, 2, 5);
	CHECK_INT(balloon_actual_bytes(balloon), RIG_BYTES);
	rig_reset(&rig);
	CHECK_INT(balloon_actual_bytes(balloon), 0);
	end();
}

TEST(pages_put_in_are_gone)
{
	uint32_t backwards[3];

	start(0);
	for (unsigned i = 0; i < 3; i++)
		backwards[i] = area_page(9 - i);
	inflate(backwards, 3);
	CHECK(only_gone(7, 9));
	/* once more, one of them in use again; a page named twice */
	area_fill();
	backwards[1] = area_page(9);
	backwards[2] = area_page(9);
	inflate(backwards, 3);
	CHECK(only_gone(9, 9));
	ring_send(&rig.rings[BALLOON_QUEUE_DEFLATE], backwards, sizeof(backwards));
	CHECK_INT(ring_take(&rig.rings[BALLOON_QUEUE_DEFLATE], NULL, 0), 0);
	CHECK(only_gone(9, 9));
	end();
}

TEST(scattered_pages_leave_their_neighbours)
{
	uint32_t pages[AREA_PAGES / 2];
	const uint8_t *area;

	start(0);
	for (unsigned i = 0; i < AREA_PAGES / 2; i++)
		pages[(i * 7) % (AREA_PAGES / 2)] = area_page(2 * i);
	inflate(pages, AREA_PAGES / 2);
	area = rig_at(&rig, area_gpa);
	for (unsigned i = 0; i < AREA_PAGES * PAGE; i++)
		if (!CHECK_INT(area[i], i / PAGE % 2 ? 0xaa : 0))
			break;
	end();
}

TEST(hostile_page_numbers)
{
	uint32_t pages[] = {UINT32_MAX, RIG_BYTES / PAGE, 0, 0x80000000, 0};

	start(0);
	pages[2] = area_page(3);
	pages[4] = area_page(63);
	inflate(pages, 4);
	CHECK(only_gone(3, 3));
	/* three bytes of a number are none */
	ring_send(&rig.rings[0], &pages[4], 3);
	CHECK_INT(ring_take(&rig.rings[0], NULL, 0), 0);
	ring_post(&rig.rings[0], 64); /* nothing to read */
	CHECK_INT(ring_take(&rig.rings[0], NULL, 0), 0);
	CHECK(only_gone(3, 3));
	CHECK_INT(rig_read(&rig, RIG_REG_STATUS), 15);
	end();
}

TEST(long_requests_are_cut)
{
	uint32_t *pages = xcalloc(BALLOON_CHAIN_PAGES_MAX + 2, sizeof(*pages));

	start(0);
	for (unsigned i = 0; i < BALLOON_CHAIN_PAGES_MAX + 2; i++)
		pages[i] = area_page(i < BALLOON_CHAIN_PAGES_MAX ? 1 : 2);
	inflate(pages, BALLOON_CHAIN_PAGES_MAX + 2);
	CHECK(only_gone(1, 1));
	free(pages);
	end();
}

TEST(work_per_kick_is_bounded)
{
	struct ring *ring;
	struct ring_buf buf = {0, BALLOON_CHAIN_PAGES_MAX * 4};

	start(0);
	ring = &rig.rings[0];
	buf.gpa = rig_alloc(&rig, buf.bytes);
	memset(rig_at(&rig, buf.gpa), 0xff, buf.bytes);
	for (unsigned i = 0; i < 10; i++)
		ring_add(ring, &buf, 1, NULL, 0);
	ring_kick(ring);
	CHECK_INT(ring_takeable(ring), 4);
	rig_turn(&rig);
	rig_turn(&rig);
	rig_turn(&rig);
	CHECK_INT(ring_takeable(ring), 10);
	end();
}

TEST(reports_on_either_queue)
{
	start(F_LINUX);
	report(BALLOON_QUEUE_REPORT_LINUX, area_gpa + 4 * PAGE, 3 * PAGE);
	CHECK(only_gone(4, 6));
	area_fill();
	report(BALLOON_QUEUE_REPORT, area_gpa + 10 * PAGE, 2 * PAGE);
	CHECK(only_gone(10, 11));
	area_fill();
	report(3, area_gpa, 2 * PAGE); /* free page hints, not offered */
	CHECK(nothing_gone());
	end();
}

TEST(only_whole_pages_of_a_report)
{
	start(F_LINUX);
	report(2, area_gpa + 100, PAGE); /* part of two */
	report(2, area_gpa + PAGE, PAGE - 1);
	report(2, area_gpa + 5, 7);
	CHECK(nothing_gone());
	report(2, area_gpa + PAGE - 1, 2 * PAGE + 2);
	CHECK(only_gone(1, 2));
	end();
}

TEST(reports_need_the_feature)
{
	start(F(DEFLATE_ON_OOM));
	report(2, area_gpa, 2 * PAGE);
	CHECK(nothing_gone());
	end();
}

TEST(poison_is_kept)
{
	uint32_t page;

	start(F_LINUX | F(PAGE_POISON));
	rig_write(&rig, RIG_REG_CONFIG + CONFIG_POISON, 0xaaaaaaaa);
	CHECK_INT(rig_read(&rig, RIG_REG_CONFIG + CONFIG_POISON), 0xaaaaaaaa);
	report(2, area_gpa, 2 * PAGE);
	CHECK(nothing_gone());
	/* into the balloon goes what the driver fills again by itself */
	page = area_page(5);
	inflate(&page, 1);
	CHECK(only_gone(5, 5));
	area_fill();
	/* init_on_free: zeros are what a discarded page holds */
	rig_write(&rig, RIG_REG_CONFIG + CONFIG_POISON, 0);
	report(2, area_gpa, 2 * PAGE);
	CHECK(only_gone(0, 1));
	/* but not of every kind of memory */
	area_fill();
	rig.mem.zeroes = false;
	report(2, area_gpa, 2 * PAGE);
	CHECK(nothing_gone());
	end();
}

TEST(poison_counts_only_if_negotiated)
{
	start(F_LINUX);
	rig_write(&rig, RIG_REG_CONFIG + CONFIG_POISON, 0xaaaaaaaa);
	report(2, area_gpa, 2 * PAGE);
	CHECK(only_gone(0, 1));
	end();
}

/* Half of the work is done, half waits in the ring when the state moves to another device on the same memory. */
TEST(state_moves_in_mid_work)
{
	struct balloon_state state, bad;
	struct balloon *other;
	struct ring_buf buf;

	start(F_LINUX | F(PAGE_POISON));
	balloon_target_set(balloon, 10 * PAGE);
	rig_write(&rig, RIG_REG_CONFIG + CONFIG_ACTUAL, 4);
	rig_write(&rig, RIG_REG_CONFIG + CONFIG_POISON, 0x55);
	report(2, area_gpa, PAGE);
	buf = (struct ring_buf){rig_alloc(&rig, 4), 4};
	memcpy(rig_at(&rig, buf.gpa), &(uint32_t){area_page(20)}, 4);
	ring_add(&rig.rings[0], &buf, 1, NULL, 0); /* offered, not kicked */
	balloon_save(balloon, &state);
	other = balloon_new(&rig.env);
	bad = state;
	bad.target_pages = RIG_BYTES / PAGE + 1;
	CHECK_INT(balloon_load(other, &bad), -EINVAL);
	bad = state;
	bad.virtio.device_id = 4;
	CHECK_INT(balloon_load(other, &bad), -EINVAL);
	CHECK_INT(balloon_load(other, &state), 0);
	balloon_free(balloon);
	balloon = other;
	rig.dev = balloon_dev(balloon);
	rig_turn(&rig);
	CHECK_INT(ring_take(&rig.rings[0], NULL, 0), 0);
	CHECK(only_gone(20, 20)); /* the report was left alone, for its poison */
	CHECK_INT(balloon_actual_bytes(balloon), 4 * PAGE);
	CHECK_INT(rig_read(&rig, RIG_REG_CONFIG + CONFIG_TARGET), 10);
	CHECK_INT(rig_read(&rig, RIG_REG_CONFIG + CONFIG_POISON), 0x55);
	end();
}

int main(void)
{
	RUN(offers_what_it_does);
	RUN(target_is_told);
	RUN(actual_is_the_drivers_word_within_reason);
	RUN(pages_put_in_are_gone);
	RUN(scattered_pages_leave_their_neighbours);
	RUN(hostile_page_numbers);
	RUN(long_requests_are_cut);
	RUN(work_per_kick_is_bounded);
	RUN(reports_on_either_queue);
	RUN(only_whole_pages_of_a_report);
	RUN(reports_need_the_feature);
	RUN(poison_is_kept);
	RUN(poison_counts_only_if_negotiated);
	RUN(state_moves_in_mid_work);
	return test_done();
}
