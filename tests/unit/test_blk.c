// SPDX-License-Identifier: Apache-2.0
/*
 * test_blk: a driver against the block device, its disk being a fake that is slow or broken at will, or a real file by
 * both engines.
 */
#define _GNU_SOURCE
#include "devices/blk.h"

#include "lib/util.h"
#include "tests/unit/disk_fake.h"
#include "tests/unit/ring.h"
#include "tests/unit/test.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

enum { DISK_BYTES = 2 << 20, SECTORS = DISK_BYTES / 512, HEADER = 16 };

#define FLUSHES (UINT64_C(1) << VIRTIO_BLK_F_FLUSH)

static struct rig rig;
static struct ring *ring = &rig.rings[0];
static struct disk *disk;
static struct disk_fake *fake;
static struct blk *blk;
static uint64_t gather_gpa;

static void blk_make(const struct disk_config *disk_config, uint64_t bytes_per_s, uint64_t ops_per_s)
{
	struct blk_config config = {.serial = "vol3", .bytes_per_s = bytes_per_s, .ops_per_s = ops_per_s};

	rig_init(&rig);
	config.disk = disk = disk_fake_new(rig.loop, disk_config, DISK_BYTES, &fake);
	blk = blk_new(&rig.env, &config);
	CHECK(rig_start(&rig, blk_dev(blk), FLUSHES));
}

static void blk_end(void)
{
	blk_free(blk);
	disk_close(disk);
	rig_fini(&rig);
}

/* A request in guest memory. */
struct guest_request {
	uint64_t header_gpa, data_gpa, status_gpa;
	uint32_t bytes;
	uint16_t head;
};

static uint8_t *status_of(const struct guest_request *request)
{
	return rig_at(&rig, request->status_gpa);
}

static void *data_of(const struct guest_request *request)
{
	return rig_at(&rig, request->data_gpa);
}

static struct guest_request request_make(uint32_t type, uint64_t sector, uint32_t bytes)
{
	struct guest_request request = {.header_gpa = rig_alloc(&rig, HEADER),
					.data_gpa = rig_alloc(&rig, bytes + 16), .status_gpa = rig_alloc(&rig, 1),
					.bytes = bytes};
	struct virtio_blk_outhdr *header = rig_at(&rig, request.header_gpa);

	*header = (struct virtio_blk_outhdr){.type = htole32(type), .sector = htole64(sector)};
	*status_of(&request) = 0x77;
	return request;
}

static void offer(struct guest_request *request, bool data_is_in)
{
	struct ring_buf header = {request->header_gpa, HEADER}, data = {request->data_gpa, request->bytes},
			status = {request->status_gpa, 1}, out[2] = {header, data}, in[2] = {data, status};

	if (!request->bytes)
		request->head = ring_add(ring, &header, 1, &status, 1);
	else if (data_is_in)
		request->head = ring_add(ring, &header, 1, in, 2);
	else
		request->head = ring_add(ring, out, 2, &status, 1);
}

static struct guest_request start(uint32_t type, uint64_t sector, uint32_t bytes)
{
	struct guest_request request = request_make(type, sector, bytes);

	offer(&request, type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID);
	ring_kick(ring);
	return request;
}

/* The next that is done: its status. */
static int take(const struct guest_request *request)
{
	if (!CHECK_INT(ring_takeable(ring) >= 1, 1))
		return -1;
	CHECK(ring_take(ring, NULL, 0) >= 1);
	CHECK_INT(ring->last_head, request->head);
	return *status_of(request);
}

static int finish(const struct guest_request *request)
{
	for (unsigned i = 0; i < 8 && !ring_takeable(ring); i++)
		rig_turn(&rig); /* some take two steps */
	return take(request);
}

static int simple(uint32_t type, uint64_t sector, uint32_t bytes)
{
	struct guest_request request = start(type, sector, bytes);

	return finish(&request);
}

static int ranges(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	struct guest_request request = request_make(type, 0, sizeof(struct virtio_blk_discard_write_zeroes));
	struct virtio_blk_discard_write_zeroes *range = data_of(&request);

	*range = (struct virtio_blk_discard_write_zeroes){
		.sector = htole64(sector), .num_sectors = htole32(sectors), .flags = htole32(flags)};
	offer(&request, false);
	ring_kick(ring);
	return finish(&request);
}

static struct virtio_blk_config config_read(void)
{
	struct virtio_blk_config config;

	for (unsigned i = 0; i < sizeof(config); i++)
		((uint8_t *)&config)[i] = (uint8_t)virtio_mmio_ops.read(rig.dev, RIG_REG_CONFIG + i, 1);
	return config;
}

/* ---- what the driver is told ---- */

TEST(config_and_features)
{
	const struct disk_config read_only = {.read_only = true}, lasting = {.cache = DISK_WRITETHROUGH},
				 direct = {.cache = DISK_NONE};
	struct virtio_blk_config config;
	uint64_t features;

	blk_make(NULL, 0, 0);
	CHECK_INT(rig_read(&rig, RIG_REG_DEVICE_ID), 2);
	config = config_read();
	CHECK_INT(le64toh(config.capacity), SECTORS);
	CHECK_INT(le32toh(config.seg_max), 254);
	CHECK_INT(le32toh(config.blk_size), 512);
	CHECK_INT(config.physical_block_exp, 3);
	CHECK_INT(le32toh(config.max_discard_seg) | le32toh(config.max_write_zeroes_seg), 1);
	CHECK_INT(config.write_zeroes_may_unmap, 1);
	features = rig_features(&rig);
	CHECK(features & FLUSHES && features >> VIRTIO_BLK_F_DISCARD & 1 && features >> VIRTIO_BLK_F_WRITE_ZEROES & 1);
	CHECK(!(features >> VIRTIO_BLK_F_RO & 1));
	blk_end();

	rig_init(&rig);
	for (unsigned i = 0; i < 3; i++) {
		const struct disk_config *configs[] = {&read_only, &lasting, &direct};
		struct blk_config blk_config = {.serial = "", .disk = disk_fake_new(rig.loop, configs[i], DISK_BYTES, &fake)};

		blk = blk_new(&rig.env, &blk_config);
		rig.dev = blk_dev(blk);
		features = rig_features(&rig);
		CHECK_INT(features >> VIRTIO_BLK_F_RO & 1, i == 0);
		CHECK_INT(features >> VIRTIO_BLK_F_DISCARD & 1, i != 0);
		CHECK_INT(features >> VIRTIO_BLK_F_FLUSH & 1, i != 1);
		CHECK_INT(le32toh(config_read().blk_size), i == 2 ? 4096 : 512);
		blk_free(blk);
		disk_close(blk_config.disk);
	}
	rig_fini(&rig);
}

/* ---- requests ---- */

TEST(write_then_read)
{
	struct guest_request request;

	blk_make(NULL, 0, 0);
	fake->late = true;
	request = request_make(VIRTIO_BLK_T_OUT, 3, 1536);
	memset(data_of(&request), 0x5a, 1536);
	offer(&request, false);
	ring_kick(ring);
	CHECK_INT(ring_takeable(ring), 0);
	CHECK_INT(finish(&request), VIRTIO_BLK_S_OK);
	CHECK_INT(fake->bytes[3 * 512 - 1], 0);
	CHECK_INT(fake->bytes[3 * 512] & fake->bytes[6 * 512 - 1], 0x5a);
	CHECK_INT(fake->bytes[6 * 512], 0);
	CHECK_INT(fake->log[0].flags, 0);
	CHECK_INT(rig.irqs, 1);
	fake->bytes[5 * 512] = 0x11;
	request = start(VIRTIO_BLK_T_IN, 5, 512);
	rig_turn(&rig);
	CHECK_INT(ring_take(ring, NULL, 0), 513);
	CHECK_INT(*status_of(&request), VIRTIO_BLK_S_OK);
	CHECK_MEM(data_of(&request), fake->bytes + 5 * 512, 512);
	CHECK_INT(simple(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	CHECK_INT(fake->log[2].op, DISK_IO_SYNC);
	CHECK_INT(fake->log_count, 3);
	blk_end();
}

/* Header, data and status cut anywhere, direct and by an indirect table. */
TEST(any_layout)
{
	static const uint32_t cuts[][5] = {{16, 512, 0}, {1, 15, 100, 412, 0}, {8, 8 + 1, 511, 0}, {528, 0}, {15, 513, 0}};
	static const uint32_t in_cuts[][5] = {{512, 1, 0}, {513, 0}, {1, 512, 0}, {511, 2, 0}, {200, 200, 112, 1, 0}};

	for (unsigned i = 0; i < ARRAY_SIZE(cuts) * 2; i++) {
		uint64_t gpa, in_gpa;
		struct virtio_blk_outhdr header = {.sector = htole64(7), .type = htole32(VIRTIO_BLK_T_OUT)};
		struct ring_buf bufs[5], in_bufs[5], status;
		unsigned count = 0, in_count = 0;
		uint32_t at = 0;
		bool indirect = i % 2;

		blk_make(NULL, 0, 0);
		CHECK(rig_start(&rig, blk_dev(blk), RIG_F_INDIRECT_DESC));
		gpa = rig_alloc(&rig, 16 + 512 + 1);
		memcpy(rig_at(&rig, gpa), &header, 16);
		memset(rig_at(&rig, gpa + 16), (int)(i + 1), 512);
		status = (struct ring_buf){gpa + 528, 1};
		*(uint8_t *)rig_at(&rig, gpa + 528) = 0x77;
		for (const uint32_t *cut = cuts[i / 2]; *cut; at += *cut++)
			bufs[count++] = (struct ring_buf){gpa + at, *cut};
		(indirect ? ring_add_indirect : ring_add)(ring, bufs, count, &status, 1);
		ring_kick(ring);
		rig_turn(&rig);
		CHECK_INT(ring_take(ring, NULL, 0), 1);
		CHECK_INT(*(uint8_t *)rig_at(&rig, gpa + 528), VIRTIO_BLK_S_OK);
		CHECK_MEM(fake->bytes + 7 * 512, rig_at(&rig, gpa + 16), 512);
		CHECK_INT(fake->bytes[8 * 512], 0);

		header.type = htole32(VIRTIO_BLK_T_IN);
		memcpy(rig_at(&rig, gpa), &header, 16);
		in_gpa = rig_alloc(&rig, 514);
		memset(rig_at(&rig, in_gpa), 0x77, 514);
		at = 0;
		for (const uint32_t *cut = in_cuts[i / 2]; *cut; at += *cut++)
			in_bufs[in_count++] = (struct ring_buf){in_gpa + at, *cut};
		bufs[0] = (struct ring_buf){gpa, 16};
		(indirect ? ring_add_indirect : ring_add)(ring, bufs, 1, in_bufs, in_count);
		ring_kick(ring);
		rig_turn(&rig);
		CHECK_INT(ring_take(ring, NULL, 0), 513);
		CHECK_MEM(rig_at(&rig, in_gpa), fake->bytes + 7 * 512, 512);
		CHECK_INT(*(uint8_t *)rig_at(&rig, in_gpa + 512), VIRTIO_BLK_S_OK);
		CHECK_INT(*(uint8_t *)rig_at(&rig, in_gpa + 513), 0x77);
		blk_end();
	}
}

/* As many buffers as config space allows. */
TEST(many_segments)
{
	static struct ring_buf bufs[1 + BLK_SEGMENTS_MAX];
	struct guest_request request;
	struct ring_buf status;

	blk_make(NULL, 0, 0);
	request = request_make(VIRTIO_BLK_T_OUT, 0, BLK_SEGMENTS_MAX * 512);
	memset(data_of(&request), 0x21, request.bytes);
	bufs[0] = (struct ring_buf){request.header_gpa, HEADER};
	for (unsigned i = 0; i < BLK_SEGMENTS_MAX; i++)
		bufs[1 + i] = (struct ring_buf){request.data_gpa + 512 * i, 512};
	status = (struct ring_buf){request.status_gpa, 1};
	request.head = ring_add(ring, bufs, 1 + BLK_SEGMENTS_MAX, &status, 1);
	ring_kick(ring);
	CHECK_INT(finish(&request), VIRTIO_BLK_S_OK);
	CHECK_MEM(fake->bytes, data_of(&request), request.bytes);
	CHECK_INT(fake->log_count, 1);
	blk_end();
}

TEST(identity)
{
	static const char expected[BLK_SERIAL_BYTES] = "vol3";
	struct guest_request request;

	blk_make(NULL, 0, 0);
	request = start(VIRTIO_BLK_T_GET_ID, 0, BLK_SERIAL_BYTES);
	CHECK_INT(finish(&request), VIRTIO_BLK_S_OK);
	CHECK_MEM(data_of(&request), expected, BLK_SERIAL_BYTES);
	request = start(VIRTIO_BLK_T_GET_ID, 0, 3); /* as much as there is room for */
	CHECK_INT(finish(&request), VIRTIO_BLK_S_OK);
	CHECK_MEM(data_of(&request), "vol", 4);
	blk_end();
}

TEST(ranges_become_zeroes)
{
	blk_make(NULL, 0, 0);
	memset(fake->bytes, 0xaa, DISK_BYTES);
	CHECK_INT(ranges(VIRTIO_BLK_T_WRITE_ZEROES, 1, 2, 0), VIRTIO_BLK_S_OK);
	CHECK_INT(fake->bytes[511] & fake->bytes[1536], 0xaa);
	CHECK_INT(fake->bytes[512] | fake->bytes[1535], 0);
	CHECK_INT(ranges(VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 1), VIRTIO_BLK_S_OK);
	CHECK_INT(ranges(VIRTIO_BLK_T_DISCARD, 16, 8, 0), VIRTIO_BLK_S_OK);
	CHECK(fake->log[0].flags != fake->log[1].flags && fake->log[1].flags == fake->log[2].flags);
	CHECK_INT(ranges(VIRTIO_BLK_T_WRITE_ZEROES, 0, SECTORS, 1), VIRTIO_BLK_S_OK);
	blk_end();
}

TEST(bad_ranges_are_refused)
{
	blk_make(NULL, 0, 0);
	CHECK_INT(ranges(VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP); /* unmap is for zeroes */
	CHECK_INT(ranges(VIRTIO_BLK_T_DISCARD, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	CHECK_INT(ranges(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0x80000000), VIRTIO_BLK_S_UNSUPP);
	CHECK_INT(ranges(VIRTIO_BLK_T_WRITE_ZEROES, SECTORS, 1, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(ranges(VIRTIO_BLK_T_WRITE_ZEROES, UINT64_MAX, 8, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(ranges(VIRTIO_BLK_T_WRITE_ZEROES, UINT64_MAX / 512, 8, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(ranges(VIRTIO_BLK_T_DISCARD, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(ranges(VIRTIO_BLK_T_DISCARD, 1, SECTORS, 0), VIRTIO_BLK_S_IOERR);
	/* Two ranges, none, a part of one. */
	CHECK_INT(simple(VIRTIO_BLK_T_DISCARD, 0, 32), VIRTIO_BLK_S_IOERR);
	CHECK_INT(simple(VIRTIO_BLK_T_DISCARD, 0, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(simple(VIRTIO_BLK_T_WRITE_ZEROES, 0, 15), VIRTIO_BLK_S_IOERR);
	CHECK_INT(fake->log_count, 0);
	CHECK(!(rig_read(&rig, RIG_REG_STATUS) & RIG_NEEDS_RESET));
	blk_end();
}

TEST(bad_requests_are_refused)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t bytes;
		int status;
	} bad[] = {
		{VIRTIO_BLK_T_IN, SECTORS, 512, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_IN, SECTORS - 1, 1024, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_IN, UINT64_MAX, 512, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_IN, UINT64_MAX / 512 + 1, 512, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_IN, 0, 511, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_IN, 0, 513, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, SECTORS, 512, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, UINT64_MAX - 1, 1024, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, 0, 100, VIRTIO_BLK_S_IOERR},
		{2, 0, 512, VIRTIO_BLK_S_UNSUPP}, /* SCSI of old */
		{VIRTIO_BLK_T_SECURE_ERASE, 0, 16, VIRTIO_BLK_S_UNSUPP},
		{UINT32_MAX, 0, 0, VIRTIO_BLK_S_UNSUPP},
	};

	blk_make(NULL, 0, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_INT(simple(bad[i].type, bad[i].sector, bad[i].bytes), bad[i].status);
	CHECK_INT(fake->log_count, 0);
	/* The last sector, and nothing behind it. */
	CHECK_INT(simple(VIRTIO_BLK_T_IN, SECTORS - 1, 512), VIRTIO_BLK_S_OK);
	CHECK_INT(simple(VIRTIO_BLK_T_IN, SECTORS, 0), VIRTIO_BLK_S_OK);
	CHECK(!(rig_read(&rig, RIG_REG_STATUS) & RIG_NEEDS_RESET));
	blk_end();
}

TEST(malformed_requests)
{
	struct ring_buf out, in;

	blk_make(NULL, 0, 0);
	/* A header cut off. */
	out = (struct ring_buf){rig_alloc(&rig, 16), 15};
	in = (struct ring_buf){rig_alloc(&rig, 600), 513};
	ring_add(ring, &out, 1, &in, 1);
	ring_kick(ring);
	CHECK_INT(ring_take(ring, NULL, 0), 513);
	CHECK_INT(*(uint8_t *)rig_at(&rig, in.gpa + 512), VIRTIO_BLK_S_IOERR);
	/* None at all. */
	ring_add(ring, NULL, 0, &in, 1);
	ring_kick(ring);
	CHECK_INT(ring_take(ring, NULL, 0), 513);
	CHECK_INT(*(uint8_t *)rig_at(&rig, in.gpa + 512), VIRTIO_BLK_S_IOERR);
	/* No room for a status: given back, but nobody could tell the driver. */
	out.bytes = 16;
	ring_add(ring, &out, 1, NULL, 0);
	ring_kick(ring);
	CHECK_INT(ring_take(ring, NULL, 0), 0);
	CHECK(rig_read(&rig, RIG_REG_STATUS) & RIG_NEEDS_RESET);
	CHECK(rig_start(&rig, blk_dev(blk), FLUSHES));
	CHECK_INT(simple(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	blk_end();
}

TEST(read_only_is_kept)
{
	const struct disk_config config = {.read_only = true};

	blk_make(&config, 0, 0);
	CHECK_INT(simple(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	CHECK_INT(ranges(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(ranges(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(simple(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	CHECK_INT(simple(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	CHECK_INT(fake->log_count, 1);
	blk_end();
}

static bool fail_all(struct disk_fake *self, const struct disk_io *io, int64_t *result)
{
	(void)self;
	(void)io;
	*result = -ENOSPC;
	return true;
}

TEST(disk_errors_reach_the_driver)
{
	blk_make(NULL, 0, 0);
	fake->decide = fail_all;
	CHECK_INT(simple(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_IOERR);
	CHECK_INT(simple(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	CHECK_INT(simple(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(ranges(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	fake->decide = NULL;
	CHECK_INT(simple(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	blk_end();
}

/* A driver that did not take FLUSH relies on what is done being done. */
TEST(without_flush_writes_last)
{
	blk_make(NULL, 0, 0);
	CHECK(rig_start(&rig, blk_dev(blk), 0));
	CHECK_INT(simple(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	CHECK_INT(fake->log[0].flags, RWF_DSYNC);
	CHECK_INT(ranges(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_OK);
	CHECK_INT(fake->log[2].op, DISK_IO_SYNC);
	blk_end();
}

/* ---- many at a time ---- */

TEST(done_in_any_order)
{
	struct guest_request first, second;

	blk_make(NULL, 0, 0);
	fake->hold = true;
	first = start(VIRTIO_BLK_T_IN, 0, 512);
	second = start(VIRTIO_BLK_T_IN, 1, 512);
	CHECK_INT(disk_fake_held(fake), 2);
	disk_fake_release_newest(fake);
	CHECK_INT(finish(&second), VIRTIO_BLK_S_OK);
	CHECK_INT(*status_of(&first), 0x77);
	disk_fake_release(fake);
	CHECK_INT(finish(&first), VIRTIO_BLK_S_OK);
	blk_end();
}

TEST(one_interrupt_for_many)
{
	struct guest_request requests[20];

	blk_make(NULL, 0, 0);
	fake->hold = true;
	for (unsigned i = 0; i < 20; i++)
		requests[i] = start(VIRTIO_BLK_T_IN, i, 512);
	rig.irqs = 0;
	disk_fake_release_all(fake);
	rig_turn(&rig);
	CHECK_INT(rig.irqs, 1);
	for (unsigned i = 0; i < 20; i++)
		CHECK_INT(take(&requests[i]), VIRTIO_BLK_S_OK);
	blk_end();
}

/* A driver that offers the same chain again and again, while it is under way, does not make podvm grow. */
TEST(as_many_as_the_ring_has)
{
	struct guest_request request;

	blk_make(NULL, 0, 0);
	fake->hold = true;
	request = start(VIRTIO_BLK_T_IN, 0, 512);
	for (unsigned i = 0; i < 2 * RING_NUM - 1; i++) {
		ring_offer(ring, request.head);
		ring_kick(ring);
	}
	CHECK_INT(disk_fake_held(fake), RING_NUM);
	CHECK(!(rig_read(&rig, RIG_REG_STATUS) & RIG_NEEDS_RESET));
	fake->hold = false;
	disk_fake_release_all(fake);
	for (unsigned i = 0; i < 8; i++)
		rig_turn(&rig);
	CHECK_INT(disk_in_flight(disk), 0);
	CHECK_INT(fake->log_count, 2 * RING_NUM);
	blk_end();
}

/* ---- reset ---- */

TEST(reset_gives_up_what_is_under_way)
{
	struct guest_request request;

	blk_make(NULL, 0, 0);
	fake->hold = true;
	for (unsigned i = 0; i < 10; i++)
		request = start(VIRTIO_BLK_T_IN, i, 512);
	rig_reset(&rig);
	CHECK_INT(fake->cancels, 1);
	CHECK_INT(disk_in_flight(disk), 0);
	CHECK_INT(*status_of(&request), 0x77);
	fake->hold = false;
	CHECK(rig_start(&rig, blk_dev(blk), FLUSHES));
	rig.irqs = 0;
	rig_turn(&rig);
	CHECK_INT(ring_takeable(ring), 0);
	CHECK_INT(rig.irqs, 0);
	CHECK_INT(simple(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	blk_end();
}

/* A disk that hangs: reset comes back all the same, and what comes home late touches nothing. */
TEST(reset_while_the_disk_hangs)
{
	struct guest_request old, request;
	uint64_t before_ns;

	blk_make(NULL, 0, 0);
	fake->hold = fake->ignore_cancel = true;
	old = start(VIRTIO_BLK_T_IN, 1, 512);
	before_ns = clock_mono_ns();
	rig_reset(&rig);
	CHECK((clock_mono_ns() - before_ns) / 1000000 < 5000);
	CHECK(rig_start(&rig, blk_dev(blk), FLUSHES));
	fake->ignore_cancel = false;
	request = start(VIRTIO_BLK_T_IN, 2, 512);
	rig_turn(&rig);
	CHECK_INT(disk_fake_held(fake), 1); /* the old one; nothing new is begun */
	CHECK_INT(ring_takeable(ring), 0);
	disk_fake_release(fake);
	fake->hold = false;
	rig_turn(&rig);
	CHECK_INT(*status_of(&old), 0x77);
	CHECK_INT(finish(&request), VIRTIO_BLK_S_OK);
	CHECK_INT(ring_takeable(ring), 0);
	blk_end();
}

/* What the host has at hand is answered with the kick, all of it with one interrupt. */
TEST(done_at_once)
{
	struct guest_request requests[8];

	blk_make(NULL, 0, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		requests[i] = request_make(VIRTIO_BLK_T_IN, i, 512);
		fake->bytes[512 * i] = (uint8_t)(i + 1);
		offer(&requests[i], true);
	}
	fake->short_bytes = 100; /* each in several steps */
	ring_kick(ring);
	CHECK_INT(ring_takeable(ring), ARRAY_SIZE(requests));
	CHECK_INT(rig.irqs, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		CHECK_INT(take(&requests[i]), VIRTIO_BLK_S_OK);
		CHECK_INT(*(uint8_t *)data_of(&requests[i]), i + 1);
	}
	rig_turn(&rig);
	CHECK_INT(rig.irqs, 1);
	blk_end();
}

TEST(freed_with_work_under_way)
{
	bool freed = false;

	blk_make(NULL, 0, 0);
	fake->freed = &freed;
	fake->late = true;
	rig.irqs = 0;
	start(VIRTIO_BLK_T_IN, 0, 512);
	blk_end();
	CHECK(freed);
	CHECK_INT(rig.irqs, 0); /* the machine may be gone by then */
}

/* ---- gathering ---- */

/* Kicks with some requests each, that many ms apart. */
static void kicks(unsigned count, unsigned requests, unsigned ms)
{
	while (count--) {
		for (unsigned i = 0; i < requests; i++) {
			struct guest_request request = {.header_gpa = gather_gpa, .data_gpa = gather_gpa + HEADER,
							.status_gpa = gather_gpa + HEADER + 512, .bytes = 512};

			offer(&request, true);
		}
		ring_kick(ring);
		usleep(ms * 1000);
		rig_turn(&rig);
		while (ring_takeable(ring))
			ring_take(ring, NULL, 0);
	}
}

static void gather_make(void)
{
	struct guest_request request;

	blk_make(NULL, 0, 0);
	request = request_make(VIRTIO_BLK_T_IN, 0, 512);
	gather_gpa = request.header_gpa;
	rig_turn(&rig);
	kicks(17, 1, 2);
	kicks(1, 1, 0); /* the turn that follows the loop's wish */
	CHECK_INT(sched_getscheduler(0), SCHED_BATCH);
}

TEST(gathers_while_that_is_better)
{
	gather_make();
	kicks(16 + 100, 4, 0);
	CHECK_INT(sched_getscheduler(0), SCHED_BATCH);
	/* it is looked again from time to time */
	kicks(513 - 100 + 1, 4, 0);
	CHECK_INT(sched_getscheduler(0), SCHED_OTHER);
	blk_end();
}

TEST(gathers_no_longer_than_it_is_better)
{
	gather_make();
	kicks(16 + 1, 1, 0); /* faster, but no more at a time */
	CHECK_INT(sched_getscheduler(0), SCHED_OTHER);
	blk_end();
	gather_make();
	kicks(16 + 1, 4, 20); /* more at a time, but slower */
	CHECK_INT(sched_getscheduler(0), SCHED_OTHER);
	blk_end();
}

TEST(reset_ends_gathering)
{
	gather_make();
	rig_write(&rig, RIG_REG_STATUS, 0);
	rig_turn(&rig);
	CHECK_INT(sched_getscheduler(0), SCHED_OTHER);
	blk_end();
	gather_make();
	blk_end(); /* the loop is freed with it */
}

/* ---- limits ---- */

static unsigned served(void)
{
	unsigned count = ring_takeable(ring);

	for (unsigned i = 0; i < count; i++)
		ring_take(ring, NULL, 0);
	return count;
}

static unsigned ms_since(uint64_t before_ns)
{
	return (unsigned)((clock_mono_ns() - before_ns) / 1000000);
}

/* 100 kB/s with a tenth of a second saved up: 20 requests of 5 kB need most of a second. */
TEST(bytes_are_limited)
{
	unsigned early, turns = 0;
	uint64_t before_ns;

	blk_make(NULL, 100000, 0);
	before_ns = clock_mono_ns();
	for (unsigned i = 0; i < 20; i++)
		start(VIRTIO_BLK_T_OUT, 0, 5120);
	rig_turn(&rig);
	early = served();
	CHECK(early >= 2 && early <= 3 + ms_since(before_ns) / 51 + 1); /* however slow this machine is */
	while (early < 20 && turns < 1000) {
		rig_run_ms(&rig, 20);
		early += served();
		turns++;
	}
	CHECK_INT(early, 20);
	CHECK(ms_since(before_ns) >= 800); /* (102400 - 10000 - 5120) / 100000 s */
	blk_end();
}

TEST(operations_are_limited)
{
	uint64_t before_ns;
	unsigned count;

	blk_make(NULL, 0, 50);
	before_ns = clock_mono_ns();
	for (unsigned i = 0; i < 25; i++)
		start(VIRTIO_BLK_T_FLUSH, 0, 0);
	rig_turn(&rig);
	count = served();
	CHECK(count >= 5 && count <= 5 + ms_since(before_ns) / 20 + 1);
	for (unsigned turns = 0; count < 25 && turns < 1000; turns++) {
		rig_run_ms(&rig, 10);
		count += served();
	}
	CHECK_INT(count, 25);
	CHECK(ms_since(before_ns) >= 350);
	blk_end();
}

static void count_turn(void *ctx, struct loop *loop, int *timeout_ms)
{
	(void)loop;
	(void)timeout_ms;
	++*(unsigned *)ctx;
}

static void no_drain(void *ctx, struct loop *loop, bool failed)
{
	(void)ctx;
	(void)loop;
	(void)failed;
}

/* While a limit holds the loop sleeps. */
TEST(waiting_costs_nothing)
{
	unsigned turns = 0;
	const struct loop_poller poller = {.fill = count_turn, .drain = no_drain, .ctx = &turns};

	blk_make(NULL, 0, 2);
	for (unsigned i = 0; i < 4; i++)
		start(VIRTIO_BLK_T_FLUSH, 0, 0);
	rig_turn(&rig);
	loop_poller_set(rig.loop, &poller);
	turns = 0;
	rig_run_ms(&rig, 200);
	CHECK(turns <= 3);
	loop_poller_set(rig.loop, NULL);
	blk_end();
}

TEST(reset_forgets_the_limit_s_timer)
{
	blk_make(NULL, 0, 10);
	for (unsigned i = 0; i < 5; i++)
		start(VIRTIO_BLK_T_FLUSH, 0, 0);
	rig_turn(&rig);
	rig_reset(&rig);
	rig_run_ms(&rig, 250);
	CHECK(fake->log_count < 5);
	blk_end();
}

/* ---- other disks, saving ---- */

TEST(capacity_may_change)
{
	struct blk_config config = {.serial = "new"};
	struct disk *other;
	struct disk_fake *other_fake;
	uint32_t generation;

	blk_make(NULL, 0, 0);
	config.disk = other = disk_fake_new(rig.loop, NULL, 2 * DISK_BYTES, &other_fake);
	generation = rig_read(&rig, 0xfc);
	CHECK(blk_quiesce(blk, 100));
	rig.irqs = 0;
	CHECK_INT(blk_disk_set(blk, &config), 0);
	blk_resume(blk);
	CHECK_INT(rig.irqs, 1);
	CHECK_INT(rig_read(&rig, RIG_REG_INTERRUPT_STATUS) & 2, 2);
	CHECK(rig_read(&rig, 0xfc) != generation);
	CHECK_INT(le64toh(config_read().capacity), 2 * SECTORS);
	CHECK_INT(simple(VIRTIO_BLK_T_IN, SECTORS, 512), VIRTIO_BLK_S_OK);
	CHECK_INT(other_fake->log_count, 1);
	CHECK_INT(fake->log_count, 0);
	/* None at all: every request fails. */
	CHECK(blk_quiesce(blk, 100));
	config.disk = NULL;
	CHECK_INT(blk_disk_set(blk, &config), 0);
	blk_resume(blk);
	CHECK_INT(le64toh(config_read().capacity), 0);
	CHECK_INT(simple(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_IOERR);
	CHECK_INT(simple(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	CHECK_INT(ranges(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	blk_free(blk);
	disk_close(other);
	disk_close(disk);
	rig_fini(&rig);
}

TEST(larger_blocks_come_too_late)
{
	const struct disk_config direct = {.cache = DISK_NONE};
	struct blk_config config = {.serial = ""};
	struct disk_fake *other;

	blk_make(NULL, 0, 0);
	config.disk = disk_fake_new(rig.loop, &direct, DISK_BYTES, &other);
	CHECK(blk_quiesce(blk, 100));
	CHECK_INT(blk_disk_set(blk, &config), -EINVAL);
	blk_resume(blk);
	CHECK_INT(simple(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	CHECK_INT(fake->log_count, 1);
	disk_close(config.disk);
	blk_end();
}

TEST(quiesce_brings_all_to_an_end)
{
	struct guest_request first, second;

	blk_make(NULL, 0, 0);
	fake->hold = true;
	first = start(VIRTIO_BLK_T_OUT, 0, 512);
	CHECK(!blk_quiesce(blk, 30));
	second = start(VIRTIO_BLK_T_OUT, 1, 512);
	CHECK_INT(disk_fake_held(fake), 1); /* the second stays in the ring */
	disk_fake_release(fake);
	CHECK(blk_quiesce(blk, 1000));
	CHECK_INT(take(&first), VIRTIO_BLK_S_OK);
	CHECK_INT(ring_takeable(ring), 0);
	fake->hold = false;
	blk_resume(blk);
	rig_turn(&rig);
	CHECK_INT(finish(&second), VIRTIO_BLK_S_OK);
	blk_end();
}

/* Two done, one under way, one in the ring; the other device goes on with the rest. */
TEST(state_moves_in_mid_work)
{
	struct guest_request requests[4];
	struct blk_state state;
	struct blk_config config = {.serial = "vol3"};
	struct disk *old_disk;
	struct blk *old;

	blk_make(NULL, 0, 0);
	requests[0] = start(VIRTIO_BLK_T_OUT, 0, 512);
	requests[1] = start(VIRTIO_BLK_T_OUT, 1, 512);
	rig_turn(&rig);
	CHECK_INT(take(&requests[0]), VIRTIO_BLK_S_OK);
	fake->hold = true;
	requests[2] = start(VIRTIO_BLK_T_OUT, 2, 512);
	CHECK(!blk_quiesce(blk, 0));
	requests[3] = request_make(VIRTIO_BLK_T_IN, 2, 512);
	offer(&requests[3], true); /* its kick is on its way */
	disk_fake_release_all(fake);
	CHECK(blk_quiesce(blk, 1000));
	blk_save(blk, &state);
	CHECK_INT(state.capacity, SECTORS);

	old = blk;
	old_disk = disk;
	config.disk = disk = disk_fake_new(rig.loop, NULL, DISK_BYTES / 2, &fake);
	memset(fake->bytes, 0x42, DISK_BYTES / 2);
	blk = blk_new(&rig.env, &config);
	rig.dev = blk_dev(blk);
	rig.irqs = 0;
	CHECK_INT(blk_load(blk, &state), 0);
	/* The smaller disk is told, as a change. */
	CHECK(rig.irqs >= 1);
	CHECK_INT(rig_read(&rig, RIG_REG_INTERRUPT_STATUS) & 2, 2);
	CHECK_INT(le64toh(config_read().capacity), SECTORS / 2);
	rig_turn(&rig);
	rig_turn(&rig);
	CHECK_INT(take(&requests[1]), VIRTIO_BLK_S_OK);
	CHECK_INT(take(&requests[2]), VIRTIO_BLK_S_OK);
	CHECK_INT(take(&requests[3]), VIRTIO_BLK_S_OK);
	CHECK_INT(*(uint8_t *)data_of(&requests[3]), 0x42);
	CHECK_INT(ring_takeable(ring), 0);
	blk_free(old);
	disk_close(old_disk);
	blk_end();
}

TEST(state_is_not_trusted)
{
	struct blk_state state, bad;

	blk_make(NULL, 0, 0);
	CHECK(blk_quiesce(blk, 0));
	blk_save(blk, &state);
	bad = state;
	bad.virtio.queues[0].num = 3;
	CHECK_INT(blk_load(blk, &bad), -EINVAL);
	bad = state;
	bad.virtio.driver_features |= UINT64_C(1) << VIRTIO_BLK_F_RO;
	CHECK_INT(blk_load(blk, &bad), -EINVAL);
	bad = state;
	bad.virtio.device_id = 4;
	CHECK_INT(blk_load(blk, &bad), -EINVAL);
	CHECK_INT(blk_load(blk, &state), 0);
	blk_end();
}

/* ---- a real file ---- */

static void try_file(enum disk_engine_kind kind)
{
	struct disk_config disk_config = {.engine = kind, .cache = DISK_WRITEBACK};
	struct blk_config config = {.serial = "file"};
	struct guest_request write_request, read_request;
	char path[] = "/tmp/test_blk.XXXXXX", why[200];
	int fd = mkstemp(path);

	if (fd < 0 || ftruncate(fd, DISK_BYTES) < 0)
		abort();
	close(fd);
	rig_init(&rig);
	disk_config.path = path;
	config.disk = disk = disk_open(rig.loop, &disk_config, why, sizeof(why));
	unlink(path);
	if (!CHECK_MSG(disk, why))
		return;
	blk = blk_new(&rig.env, &config);
	CHECK(rig_start(&rig, blk_dev(blk), FLUSHES));
	for (unsigned i = 0; i < 50; i++) {
		write_request = request_make(VIRTIO_BLK_T_OUT, 8 * i, 4096);
		memset(data_of(&write_request), (int)i + 1, 4096);
		offer(&write_request, false);
		ring_kick(ring);
	}
	for (unsigned i = 0; i < 500 && ring_takeable(ring) < 50; i++)
		rig_run_ms(&rig, 10);
	CHECK_INT(served(), 50);
	start(VIRTIO_BLK_T_FLUSH, 0, 0);
	read_request = start(VIRTIO_BLK_T_IN, 8 * 49, 4096);
	for (unsigned i = 0; i < 500 && ring_takeable(ring) < 2; i++)
		rig_run_ms(&rig, 10);
	CHECK_INT(served(), 2);
	CHECK_INT(*status_of(&read_request), VIRTIO_BLK_S_OK);
	CHECK_MEM(data_of(&read_request), data_of(&write_request), 4096);
	/* A reset with the ring full. */
	for (unsigned i = 0; i < 50; i++)
		start(VIRTIO_BLK_T_OUT, 8 * i, 4096);
	rig_reset(&rig);
	CHECK_INT(disk_in_flight(disk), 0);
	blk_end();
}

TEST(a_file_by_threads)
{
	try_file(DISK_ENGINE_THREADS);
}

TEST(a_file_by_io_uring)
{
	struct disk_engine *engine = disk_uring_new(STDOUT_FILENO);

	if (!engine && errno != EINVAL) /* EINVAL: standard output is no eventfd, so the ring itself was made */
		SKIP("this kernel has or allows no io_uring");
	try_file(DISK_ENGINE_URING);
}

int main(void)
{
	RUN(config_and_features);
	RUN(write_then_read);
	RUN(any_layout);
	RUN(many_segments);
	RUN(identity);
	RUN(ranges_become_zeroes);
	RUN(bad_ranges_are_refused);
	RUN(bad_requests_are_refused);
	RUN(malformed_requests);
	RUN(read_only_is_kept);
	RUN(disk_errors_reach_the_driver);
	RUN(without_flush_writes_last);
	RUN(done_in_any_order);
	RUN(one_interrupt_for_many);
	RUN(as_many_as_the_ring_has);
	RUN(reset_gives_up_what_is_under_way);
	RUN(reset_while_the_disk_hangs);
	RUN(done_at_once);
	RUN(gathers_while_that_is_better);
	RUN(gathers_no_longer_than_it_is_better);
	RUN(reset_ends_gathering);
	RUN(freed_with_work_under_way);
	RUN(bytes_are_limited);
	RUN(operations_are_limited);
	RUN(waiting_costs_nothing);
	RUN(reset_forgets_the_limit_s_timer);
	RUN(capacity_may_change);
	RUN(larger_blocks_come_too_late);
	RUN(quiesce_brings_all_to_an_end);
	RUN(state_moves_in_mid_work);
	RUN(state_is_not_trusted);
	RUN(a_file_by_threads);
	RUN(a_file_by_io_uring);
	return test_done();
}
