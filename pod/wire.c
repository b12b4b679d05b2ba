/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire: see wire.h. Owns how bytes become frames and back; must not know sockets or what a frame means.
 *
 * The reader keeps at most one unfinished frame plus what one wire_feed() brought. Whole frames are handed out where
 * they lie, and what is left moves to the front once per call, not once per frame. A payload's NUL is put over the
 * first byte of what follows, which is put back after the call: no frame is ever copied.
 */
#include "pod/wire.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

enum { ROOM_FIRST_BYTES = 4096 };

static bool type_known(uint32_t type)
{
	return (type >= WIRE_READY && type <= WIRE_STATS) || (type >= WIRE_POD && type <= WIRE_TIME);
}

static int header_check(const struct wire_header *header)
{
	return header->payload_bytes <= WIRE_PAYLOAD_MAX && type_known(header->type) ? 0 : -EPROTO;
}

/* One byte stays free behind what there is, for the NUL. */
static void reader_append(struct wire_reader *reader, const void *bytes, size_t count)
{
	size_t need = reader->have + count + 1;

	if (need > reader->room) {
		reader->room = MAX(MAX(need, reader->room * 2), (size_t)ROOM_FIRST_BYTES);
		reader->buffer = xrealloc(reader->buffer, reader->room);
	}
	if (count)
		memcpy(reader->buffer + reader->have, bytes, count);
	reader->have += count;
}

static int frame_deliver(uint8_t *payload, const struct wire_header *header, wire_frame_fn *frame, void *ctx)
{
	uint8_t *end = payload + header->payload_bytes, kept = *end;
	int err;

	*end = '\0';
	err = frame(ctx, header, payload);
	*end = kept;
	return err < 0 ? err : 0;
}

int wire_feed(struct wire_reader *reader, const void *bytes, size_t count, wire_frame_fn *frame, void *ctx)
{
	size_t at = 0;
	int err = 0;

	reader_append(reader, bytes, count);
	while (reader->have - at >= sizeof(struct wire_header)) {
		struct wire_header header;

		memcpy(&header, reader->buffer + at, sizeof(header));
		err = header_check(&header);
		if (err || reader->have - at - sizeof(header) < header.payload_bytes)
			break;
		err = frame_deliver(reader->buffer + at + sizeof(header), &header, frame, ctx);
		at += sizeof(header) + header.payload_bytes;
		if (err)
			break;
	}
	if (at)
		memmove(reader->buffer, reader->buffer + at, reader->have - at);
	reader->have -= at;
	return err;
}

void wire_reader_free(struct wire_reader *reader)
{
	free(reader->buffer);
	memset(reader, 0, sizeof(*reader));
}

void *wire_frame_new(enum wire_type type, uint32_t target, const void *payload, size_t payload_bytes, size_t *bytes)
{
	struct wire_header header = {.payload_bytes = (uint32_t)payload_bytes, .type = type, .target = target};
	uint8_t *frame;

	assert(payload_bytes <= WIRE_PAYLOAD_MAX);
	frame = xmalloc(sizeof(header) + payload_bytes);
	memcpy(frame, &header, sizeof(header));
	if (payload_bytes)
		memcpy(frame + sizeof(header), payload, payload_bytes);
	*bytes = sizeof(header) + payload_bytes;
	return frame;
}
