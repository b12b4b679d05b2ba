/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_fake: an engine for devices/disk.h that keeps its bytes in memory and does as it is told: at once or when
 * released, in any order, short, or with an error. For unit tests and fuzzers.
 */
#ifndef TESTS_UNIT_DISK_FAKE_H
#define TESTS_UNIT_DISK_FAKE_H

#include "devices/disk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DISK_FAKE_LOG_MAX = 512 };

struct disk_fake_entry {
	enum disk_io_op op;
	int flags;
	uint64_t offset, bytes;
};

struct disk_fake {
	struct disk_engine engine;
	int event_fd;
	uint8_t *bytes;
	size_t size;
	bool hold;		/* steps wait for disk_fake_release() */
	bool ignore_cancel;	/* held steps are stuck */
	bool late;		/* what go() carried out is not yet done when it returns, but soon after */
	size_t short_bytes;	/* move at most so many in one step; 0: all */
	/* Decides a step: the result is *result when it returns true, else it is carried out. May be NULL. */
	bool (*decide)(struct disk_fake *fake, const struct disk_io *io, int64_t *result);
	unsigned errors_left; /* for decide() */
	struct disk_io_list held, done;
	bool hidden; /* from the next reap */
	struct disk_fake_entry log[DISK_FAKE_LOG_MAX]; /* what was submitted */
	unsigned log_count, cancels;
	bool *freed; /* set to true when the engine is freed; may be NULL */
};

/* A disk on it; both go with disk_close(). */
struct disk *disk_fake_new(struct loop *loop, const struct disk_config *config, size_t bytes, struct disk_fake **fake);
/* Carries out held steps: the oldest, the newest, all. False when none is held. */
bool disk_fake_release(struct disk_fake *fake);
bool disk_fake_release_newest(struct disk_fake *fake);
void disk_fake_release_all(struct disk_fake *fake);
unsigned disk_fake_held(const struct disk_fake *fake);

#endif
