/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_wire: frames survive any cutting of the byte stream, and hostile headers end the connection.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/util.h"
#include "pod/wire.h"

enum { SEEN_MAX = 16 };

/* Everything the reader delivered. */
struct seen {
	struct wire_header headers[SEEN_MAX];
	char *payloads[SEEN_MAX];
	unsigned count;
	int answer; /* what frame() returns */
	bool nul_missing;
};

static int see(void *ctx, const struct wire_header *header, const void *payload)
{
	struct seen *seen = ctx;
	char *copy = xcalloc(1, header->payload_bytes + 1u);

	memcpy(copy, payload, header->payload_bytes);
	if (((const char *)payload)[header->payload_bytes])
		seen->nul_missing = true;
	if (seen->count < SEEN_MAX) {
		seen->headers[seen->count] = *header;
		seen->payloads[seen->count++] = copy;
	} else {
		free(copy);
	}
	return seen->answer;
}

static void seen_free(struct seen *seen)
{
	while (seen->count)
		free(seen->payloads[--seen->count]);
}

static size_t frame_put(uint8_t *to, enum wire_type type, uint32_t target, const char *payload)
{
	size_t bytes;
	void *frame = wire_frame_new(type, target, payload, payload ? strlen(payload) : 0, &bytes);

	memcpy(to, frame, bytes);
	free(frame);
	return bytes;
}

static size_t three_frames(uint8_t *to)
{
	size_t bytes = frame_put(to, WIRE_STARTED, 3, NULL);

	bytes += frame_put(to + bytes, WIRE_LOG, 0, "hello");
	return bytes + frame_put(to + bytes, WIRE_POD, WIRE_ALL, "{\"containers\":[]}");
}

static void check_three(const struct seen *seen)
{
	if (!CHECK_INT(seen->count, 3))
		return;
	CHECK(!seen->nul_missing);
	CHECK_INT(seen->headers[0].type, WIRE_STARTED);
	CHECK_INT(seen->headers[0].target, 3);
	CHECK_INT(seen->headers[0].payload_bytes, 0);
	CHECK_INT(seen->headers[1].type, WIRE_LOG);
	CHECK_STR(seen->payloads[1], "hello");
	CHECK_INT(seen->headers[2].type, WIRE_POD);
	CHECK_INT(seen->headers[2].target, (uint32_t)WIRE_ALL);
	CHECK_STR(seen->payloads[2], "{\"containers\":[]}");
}

TEST(frame_layout)
{
	size_t bytes;
	uint8_t *frame = wire_frame_new(WIRE_SIGNAL, 7, "abcd", 4, &bytes);
	const uint8_t expected[16] = {4, 0, 0, 0, 65, 0, 0, 0, 7, 0, 0, 0, 'a', 'b', 'c', 'd'};

	if (CHECK_INT(bytes, sizeof(expected)))
		CHECK_MEM(frame, expected, sizeof(expected));
	free(frame);
}

TEST(three_frames_at_once)
{
	struct wire_reader reader = {0};
	struct seen seen = {0};
	uint8_t stream[256];
	size_t bytes = three_frames(stream);

	CHECK_INT(wire_feed(&reader, stream, bytes, see, &seen), 0);
	check_three(&seen);
	CHECK_INT(reader.have, 0);
	seen_free(&seen);
	wire_reader_free(&reader);
}

/* Cut in pieces of every size from one byte on, so that a cut falls on every place of a header and payload. */
TEST(three_frames_in_pieces)
{
	uint8_t stream[256];
	size_t bytes = three_frames(stream);

	for (size_t piece = 1; piece < bytes; piece++) {
		struct wire_reader reader = {0};
		struct seen seen = {0};

		for (size_t at = 0; at < bytes; at += piece)
			CHECK_INT(wire_feed(&reader, stream + at, MIN(piece, bytes - at), see, &seen), 0);
		check_three(&seen);
		seen_free(&seen);
		wire_reader_free(&reader);
	}
}

TEST(feeding_nothing)
{
	struct wire_reader reader = {0};
	struct seen seen = {0};

	CHECK_INT(wire_feed(&reader, NULL, 0, see, &seen), 0);
	CHECK_INT(seen.count, 0);
	wire_reader_free(&reader);
	CHECK(!reader.buffer);
}

TEST(longest_payload)
{
	struct wire_reader reader = {0};
	struct seen seen = {0};
	char *payload = xmalloc(WIRE_PAYLOAD_MAX);
	size_t bytes;
	void *frame;

	memset(payload, 'x', WIRE_PAYLOAD_MAX);
	frame = wire_frame_new(WIRE_LOG, 0, payload, WIRE_PAYLOAD_MAX, &bytes);
	CHECK_INT(wire_feed(&reader, frame, bytes, see, &seen), 0);
	if (CHECK_INT(seen.count, 1))
		CHECK_INT(seen.headers[0].payload_bytes, WIRE_PAYLOAD_MAX);
	CHECK(!seen.nul_missing);
	seen_free(&seen);
	wire_reader_free(&reader);
	free(frame);
	free(payload);
}

/* Refused as soon as the header is there: the reader must not first collect the payload. */
TEST(over_long_payload_is_refused)
{
	struct wire_reader reader = {0};
	struct seen seen = {0};
	const struct wire_header lengths[] = {
		{.payload_bytes = WIRE_PAYLOAD_MAX + 1, .type = WIRE_LOG},
		{.payload_bytes = UINT32_MAX, .type = WIRE_LOG},
		{.payload_bytes = UINT32_MAX - 11, .type = WIRE_LOG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		CHECK_INT(wire_feed(&reader, &lengths[i], sizeof(lengths[i]), see, &seen), -EPROTO);
		CHECK_INT(seen.count, 0);
		wire_reader_free(&reader);
	}
}

TEST(unknown_type_is_refused)
{
	const uint32_t types[] = {0, WIRE_STATS + 1, WIRE_POD - 1, WIRE_TIME + 1, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct wire_header header = {.type = types[i]};
		struct wire_reader reader = {0};
		struct seen seen = {0};

		CHECK_INT(wire_feed(&reader, &header, sizeof(header), see, &seen), -EPROTO);
		CHECK_INT(seen.count, 0);
		wire_reader_free(&reader);
	}
}

/* What came before the bad frame is still delivered, and nothing after it. */
TEST(frames_before_a_bad_one)
{
	struct wire_reader reader = {0};
	struct seen seen = {0};
	uint8_t stream[256];
	size_t bytes = frame_put(stream, WIRE_LOG, 0, "first");
	size_t bad = bytes;

	bytes += frame_put(stream + bytes, WIRE_LOG, 0, "bad");
	bytes += frame_put(stream + bytes, WIRE_LOG, 0, "after");
	stream[bad + 4] = 99;
	CHECK_INT(wire_feed(&reader, stream, bytes, see, &seen), -EPROTO);
	if (CHECK_INT(seen.count, 1))
		CHECK_STR(seen.payloads[0], "first");
	seen_free(&seen);
	wire_reader_free(&reader);
}

TEST(handler_ends_the_feed)
{
	struct wire_reader reader = {0};
	struct seen seen = {.answer = -ECANCELED};
	uint8_t stream[256];
	size_t bytes = three_frames(stream);

	CHECK_INT(wire_feed(&reader, stream, bytes, see, &seen), -ECANCELED);
	CHECK_INT(seen.count, 1);
	seen.answer = 5; /* not negative: goes on, and is not handed up; the refused frame does not come again */
	CHECK_INT(wire_feed(&reader, NULL, 0, see, &seen), 0);
	CHECK_INT(seen.count, 3);
	seen_free(&seen);
	wire_reader_free(&reader);
}

int main(void)
{
	RUN(frame_layout);
	RUN(three_frames_at_once);
	RUN(three_frames_in_pieces);
	RUN(feeding_nothing);
	RUN(longest_payload);
	RUN(over_long_payload_is_refused);
	RUN(unknown_type_is_refused);
	RUN(frames_before_a_bad_one);
	RUN(handler_ends_the_feed);
	return test_done();
}
