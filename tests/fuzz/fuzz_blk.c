/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_blk: what a hostile guest can do to its disk: requests of any type, place and shape, descriptors of any content,
 * resets, limits and saving at any moment, on a fake disk that is slow, short or broken as the input says.
 *
 * An input is a list of records: one byte what to do, two bytes length (little-endian), that many bytes. After each
 * the books are checked: no more under way than the ring has entries.
 */
#define _GNU_SOURCE
#include "devices/blk.h"
#include "lib/util.h"
#include "tests/fuzz/input.h"
#include "tests/unit/disk_fake.h"
#include "tests/unit/ring.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>

enum {
	DISK_BYTES = 256 << 10,
	RECORDS_MAX = 128,
	PIECES_MAX = 32,
	HEADER = 16,
};

enum what {
	REQUEST,	 /* a header's 16 bytes, in bytes (2), then the data */
	PIECES,		 /* first byte: size of a piece; then as REQUEST, indirect */
	OFFER,		 /* heads, one a byte, whatever they are */
	TURN,
	HOLD,		 /* first byte: bit 0: steps wait */
	RELEASE,	 /* first byte: bit 0 the newest, else all */
	TROUBLE,	 /* first byte: steps fail; second: short moves */
	RAW_DESCRIPTORS, /* bytes become the start of the table; head 0 is offered */
	RESTART,	 /* first byte: features */
	SAVE,		 /* quiesce, save, load into a new device */
	QUIESCE,	 /* first byte: bit 0 quiesce, else resume */
	ANOTHER,	 /* capacity changes */
	KINDS,
};

static struct rig rig;
static struct disk *disk;
static struct disk_fake *fake;
static struct blk *blk;
static struct blk_config config;
static unsigned spent; /* descriptors since the rings were fresh */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	rig_init(&rig);
	return 0;
}

static bool decide(struct disk_fake *self, const struct disk_io *io, int64_t *result)
{
	static const int errors[] = {-EIO, -ENOSPC, -EINTR, -EOPNOTSUPP, -EAGAIN, 0};

	if (!self->errors_left)
		return false;
	self->errors_left--;
	*result = errors[(self->errors_left + (unsigned)io->op) % ARRAY_SIZE(errors)];
	return true;
}

static void start(uint8_t features)
{
	/* What is not offered, as FLUSH without a cache, must not be asked for: the device would refuse to start. */
	uint64_t wanted = RIG_F_INDIRECT_DESC | (features & 1 ? RIG_F_EVENT_IDX : 0) |
			  (features & 2 ? (UINT64_C(1) << VIRTIO_BLK_F_FLUSH) & blk_dev(blk)->device_features : 0);

	spent = 0;
	rig_alloc_reset(&rig);
	must(rig_start(&rig, blk_dev(blk), wanted), "start refused");
}

static struct ring_buf buffer(const uint8_t *bytes, size_t count)
{
	struct ring_buf buf = {rig_alloc(&rig, count), (uint32_t)count};

	if (bytes)
		memcpy(rig_at(&rig, buf.gpa), bytes, count);
	return buf;
}

static unsigned cut(struct ring_buf whole, size_t piece, struct ring_buf *bufs, unsigned max)
{
	unsigned count = 0;

	for (uint32_t at = 0; at < whole.bytes && count < max; count++) {
		uint32_t part = count + 1 == max ? whole.bytes - at : (uint32_t)MIN(piece, whole.bytes - at);

		bufs[count] = (struct ring_buf){whole.gpa + at, part};
		at += part;
	}
	return count;
}

static void request(const uint8_t *bytes, size_t count, size_t piece, bool indirect)
{
	struct ring_buf out[PIECES_MAX], in[PIECES_MAX];
	unsigned out_count, in_count = 0;
	size_t in_bytes;

	if (count < 3)
		return;
	in_bytes = bytes[0] | (size_t)bytes[1] << 8;
	out_count = cut(buffer(bytes + 2, count - 2), piece, out, PIECES_MAX);
	if (in_bytes)
		in_count = cut(buffer(NULL, in_bytes), piece, in, PIECES_MAX);
	(indirect ? ring_add_indirect : ring_add)(&rig.rings[0], out, out_count, in, in_count);
	ring_kick(&rig.rings[0]);
	spent += indirect ? 1 : out_count + in_count;
}

static void save(void)
{
	struct blk_state state;
	struct blk *old = blk;

	fake->hold = false;
	disk_fake_release_all(fake);
	must(blk_quiesce(blk, 1000), "requests in flight though the fake let go of everything");
	blk_save(blk, &state);
	blk = blk_new(&rig.env, &config);
	must(!blk_load(blk, &state), "a saved state is refused");
	rig.dev = blk_dev(blk);
	/* The old one lets go of the disk, which is the new one's by now. */
	blk_free(old);
	must(!blk_disk_set(blk, &config), "the same disk is refused");
}

static void trouble(const uint8_t *bytes, size_t count)
{
	fake->decide = decide;
	fake->errors_left = count ? bytes[0] : 0;
	fake->short_bytes = count > 1 ? (size_t)bytes[1] * 16 : 0;
}

static void act(enum what what, const uint8_t *bytes, size_t count)
{
	uint8_t first = count ? bytes[0] : 0;

	switch (what) {
	case REQUEST:
		request(bytes, count, 1 << 20, false);
		break;
	case PIECES:
		if (count)
			request(bytes + 1, count - 1, first ? first : 1, true);
		break;
	case OFFER:
		for (size_t i = 0; i < count; i++)
			ring_offer(&rig.rings[0], bytes[i]);
		ring_kick(&rig.rings[0]);
		break;
	case TURN:
		rig_turn(&rig);
		break;
	case HOLD:
		fake->hold = first & 1;
		break;
	case RELEASE:
		if (first & 1)
			disk_fake_release_newest(fake);
		else
			disk_fake_release_all(fake);
		break;
	case TROUBLE:
		trouble(bytes, count);
		break;
	case RAW_DESCRIPTORS:
		memcpy(ring_desc(&rig.rings[0], 0), bytes, MIN(count, RING_NUM * sizeof(struct ring_desc)));
		ring_offer(&rig.rings[0], 0);
		ring_kick(&rig.rings[0]);
		break;
	case RESTART:
	case KINDS:
		start(first);
		break;
	case SAVE:
		save();
		break;
	case QUIESCE:
		if (first & 1)
			blk_quiesce(blk, 0);
		else
			blk_resume(blk);
		break;
	case ANOTHER:
		blk_quiesce(blk, 0);
		if (disk_in_flight(disk) == 0)
			blk_disk_set(blk, &config);
		blk_resume(blk);
		break;
	}
}

static void play(const uint8_t *data, size_t bytes)
{
	struct input in = { data, bytes };

	for (unsigned i = 0; i < RECORDS_MAX && in.bytes >= INPUT_RECORD_HEAD; i++) {
		size_t count;
		enum what what = input_byte(&in) % KINDS;
		const uint8_t *record = input_record(&in, &count);

		act(what, record, count);
		must(disk_in_flight(disk) <= RING_NUM, "more in flight than the ring holds");
		/* Chains are not taken back, and guest memory not given back, before the next start. */
		if (spent > RING_NUM - 2 * PIECES_MAX || rig.next_gpa > RIG_BYTES / 2 ||
		    rig_read(&rig, RIG_REG_STATUS) & RIG_NEEDS_RESET)
			start(2);
	}
	fake->hold = false;
	disk_fake_release_all(fake);
	blk_resume(blk);
	for (unsigned i = 0; i < 4; i++)
		rig_turn(&rig);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	uint8_t kind = bytes ? data[0] : 0;
	const struct disk_config disk_config = {.read_only = kind & 0x80, .cache = (kind >> 4 & 7) % 5};

	disk = disk_fake_new(rig.loop, &disk_config, DISK_BYTES, &fake);
	config = (struct blk_config){.disk = disk, .serial = "fuzz", .ops_per_s = kind & 8 ? 1000000 : 0};
	blk = blk_new(&rig.env, &config);
	start(2);
	play(data + MIN(bytes, (size_t)1), bytes - MIN(bytes, (size_t)1));
	blk_free(blk);
	disk_close(disk);
	return 0;
}
