/* SPDX-License-Identifier: Apache-2.0 */
/* test_frame: checksums found and made, against RFC 1071 by the letter. */
#include "devices/frame.h"

#include "lib/util.h"
#include "tests/unit/test.h"

#include <stdlib.h>

static uint8_t frame[200];

static void make(unsigned type, unsigned first, unsigned protocol)
{
	memset(frame, 0, sizeof(frame));
	frame[12] = (uint8_t)(type >> 8);
	frame[13] = (uint8_t)type;
	frame[14] = (uint8_t)first;
	frame[14 + (type == 0x86dd ? 6 : 9)] = (uint8_t)protocol;
}

static int found(size_t bytes)
{
	struct frame_sum sum;
	uint8_t *exact = xmalloc(bytes + 1);
	bool is;

	memcpy(exact, frame, bytes);
	is = frame_sum_find(exact, bytes, &sum);
	free(exact);
	return is ? sum.start * 1000 + sum.offset : -1;
}

TEST(sums_are_found)
{
	make(0x0800, 0x45, 6);
	CHECK_INT(found(54), 34016);
	CHECK_INT(found(53), -1);
	CHECK_INT(found(0), -1);
	CHECK_INT(found(14), -1);
	frame[20] = 0x40; /* don't fragment */
	CHECK_INT(found(54), 34016);
	frame[20] = 0x20; /* more fragments */
	CHECK_INT(found(54), -1);
	frame[20] = 0, frame[21] = 1; /* not the first */
	CHECK_INT(found(54), -1);
	make(0x0800, 0x46, 17);
	CHECK_INT(found(46), 38006);
	CHECK_INT(found(45), -1);
	make(0x0800, 0x44, 17);
	CHECK_INT(found(200), -1);
	make(0x0800, 0x65, 17);
	CHECK_INT(found(200), -1);
	make(0x0800, 0x45, 1);
	CHECK_INT(found(200), -1);
	make(0x86dd, 0x60, 17);
	CHECK_INT(found(62), 54006);
	CHECK_INT(found(61), -1);
	make(0x86dd, 0x60, 44); /* a fragment */
	CHECK_INT(found(200), -1);
	make(0x86dd, 0x60, 58);
	CHECK_INT(found(200), -1);
	make(0x0806, 0x45, 6);
	CHECK_INT(found(200), -1);
}

static unsigned plain_sum(const uint8_t *bytes, size_t count)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

TEST(sums_are_right_at_any_length_and_place)
{
	for (size_t bytes = 20; bytes < 120; bytes++) {
		for (uint16_t start = 0; start < 9; start++) {
			struct frame_sum sum = { start, 6 };
			unsigned want;

			for (size_t i = 0; i < bytes; i++)
				frame[i] = (uint8_t)(255 - i * 5);
			want = plain_sum(frame + start, bytes - start);
			frame_sum_complete(frame, bytes, &sum);
			if (!CHECK_INT(frame[start + 6] << 8 | frame[start + 7], want ? want : 0xffff))
				return;
		}
	}
}

TEST(zero_is_sent_as_ones)
{
	const struct frame_sum sum = { 0, 0 };
	uint8_t bytes[4] = { 0xff, 0xff, 0, 0 };

	frame_sum_complete(bytes, sizeof(bytes), &sum);
	CHECK_INT(bytes[0] << 8 | bytes[1], 0xffff);
}

TEST(fits)
{
	CHECK(frame_sum_fits(&(struct frame_sum){ 98, 0 }, 100));
	CHECK(!frame_sum_fits(&(struct frame_sum){ 99, 0 }, 100));
	CHECK(!frame_sum_fits(&(struct frame_sum){ 65535, 65535 }, 65535));
}

int main(void)
{
	RUN(sums_are_found);
	RUN(sums_are_right_at_any_length_and_place);
	RUN(zero_is_sent_as_ones);
	RUN(fits);
	return test_done();
}
