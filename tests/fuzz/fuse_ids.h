/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_ids: small numbers for nodes and handles in recorded FUSE requests. What the server hands out is never the same
 * twice; an input that names "the third node I was told of" stays meaningful when a fuzzer cuts and joins inputs.
 * Shared by tests/fuzz/fuzz_fuse.c, which replaces small by real, and tests/unit/test_fuse.c, which records.
 */
#ifndef TESTS_FUZZ_FUSE_IDS_H
#define TESTS_FUZZ_FUSE_IDS_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { FUSE_IDS_MAX = 200 };

/* Node k + 2 is nodes[k] (0 and 1 are themselves), handle k is handles[k]. */
struct fuse_ids {
	uint64_t nodes[FUSE_IDS_MAX], handles[FUSE_IDS_MAX];
	unsigned node_count, handle_count;
};

static inline void ids_add(uint64_t *list, unsigned *count, const void *id)
{
	uint64_t value;

	memcpy(&value, id, sizeof(value));
	if (value && *count < FUSE_IDS_MAX)
		list[(*count)++] = value;
}

/* Takes note of what a reply (without its header) tells. */
static inline void ids_learn(struct fuse_ids *ids, uint32_t opcode, const uint8_t *reply, size_t bytes)
{
	bool entry = opcode == FUSE_LOOKUP || opcode == FUSE_MKDIR || opcode == FUSE_MKNOD || opcode == FUSE_SYMLINK ||
		     opcode == FUSE_LINK || opcode == FUSE_CREATE || opcode == FUSE_TMPFILE;
	size_t handle_at = opcode == FUSE_CREATE || opcode == FUSE_TMPFILE ? sizeof(struct fuse_entry_out) : 0;

	if (entry && bytes >= 8)
		ids_add(ids->nodes, &ids->node_count, reply);
	if ((handle_at || opcode == FUSE_OPEN || opcode == FUSE_OPENDIR) && bytes >= handle_at + 8)
		ids_add(ids->handles, &ids->handle_count, reply + handle_at);
}

static inline uint64_t ids_replace(const uint64_t *list, unsigned count, uint64_t base, bool to_real, uint64_t value)
{
	unsigned i;

	if (to_real)
		return value >= base && value - base < count ? list[value - base] : value;
	for (i = count; i-- > 0;) {
		if (list[i] == value)
			return base + i;
	}
	return value;
}

static inline void ids_field(const struct fuse_ids *ids, uint8_t *request, size_t bytes, size_t at, bool handle,
			     bool to_real)
{
	uint64_t value;

	if (at + sizeof(value) > bytes)
		return;
	memcpy(&value, request + at, sizeof(value));
	value = handle ? ids_replace(ids->handles, ids->handle_count, 0, to_real, value) :
			 ids_replace(ids->nodes, ids->node_count, 2, to_real, value);
	memcpy(request + at, &value, sizeof(value));
}

/* Replaces the numbers in a request, header included: small by real ones, or back. */
static inline void ids_translate(const struct fuse_ids *ids, uint8_t *request, size_t bytes, bool to_real)
{
	const size_t args = sizeof(struct fuse_in_header);
	struct fuse_in_header head;

	if (bytes < sizeof(head))
		return;
	memcpy(&head, request, sizeof(head));
	ids_field(ids, request, bytes, offsetof(struct fuse_in_header, nodeid), false, to_real);
	switch (head.opcode) {
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
		ids_field(ids, request, bytes, args, false, to_real);
		break;
	case FUSE_COPY_FILE_RANGE:
		ids_field(ids, request, bytes, args + offsetof(struct fuse_copy_file_range_in, nodeid_out), false,
			  to_real);
		ids_field(ids, request, bytes, args + offsetof(struct fuse_copy_file_range_in, fh_out), true, to_real);
		ids_field(ids, request, bytes, args, true, to_real);
		break;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		ids_field(ids, request, bytes, args + 8, true, to_real);
		break;
	case FUSE_READ:
	case FUSE_WRITE:
	case FUSE_RELEASE:
	case FUSE_FSYNC:
	case FUSE_FLUSH:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_RELEASEDIR:
	case FUSE_FSYNCDIR:
	case FUSE_FALLOCATE:
	case FUSE_LSEEK:
		ids_field(ids, request, bytes, args, true, to_real);
		break;
	default:
		break;
	}
}

#endif
