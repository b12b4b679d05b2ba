/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk: a raw image file or block device of the host, read and written without blocking the loop. The format is never
 * guessed: byte n of the disk is byte n of the file.
 *
 * Everything is called on the loop thread or under loop_lock(), see vm/loop.h; done() and batch() come there too.
 */
#ifndef DEVICES_DISK_H
#define DEVICES_DISK_H

#include "devices/disk_engine.h"
#include "vm/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
	DISK_SECTOR_BYTES = 512,
	DISK_REQUESTS_MAX = 256, /* under way at a time */
};

/* When a write counts as done, and whether the host's page cache is used. */
enum disk_cache {
	DISK_WRITEBACK,	   /* in the page cache; a flush makes it last */
	DISK_WRITETHROUGH, /* when it lasts */
	DISK_NONE,	   /* past the page cache (O_DIRECT); a flush makes it last */
	DISK_DIRECTSYNC,   /* past the page cache, when it lasts */
	DISK_UNSAFE,	   /* in the page cache; a flush does nothing: a power cut loses what was flushed */
};

enum disk_engine_kind { DISK_ENGINE_ANY, DISK_ENGINE_URING, DISK_ENGINE_THREADS };

struct disk_config {
	const char *path;
	bool read_only;
	enum disk_cache cache;
	enum disk_engine_kind engine; /* ANY: io_uring, or threads where the kernel refuses it */
};

struct disk;

/*
 * Opens and locks it: one who writes, or many who only read. NULL, with why in one line that names the path, when that
 * can not be: missing, in use, no multiple of 512 bytes, no O_DIRECT where the cache mode needs it.
 */
struct disk *disk_open(struct loop *loop, const struct disk_config *config, char *why, size_t why_bytes);
/* A disk of some bytes on an engine of the caller's, which becomes the disk's, as event_fd does: for tests. */
struct disk *disk_new(struct loop *loop, const struct disk_config *config, struct disk_engine *engine, int event_fd,
		      uint64_t bytes);
/* Waits for what is under way, however long that takes. NULL is fine. */
void disk_close(struct disk *disk);

uint64_t disk_bytes(const struct disk *disk); /* a multiple of 512 */
/* Offsets and lengths of requests are multiples of it: 512, or what O_DIRECT asks for. */
unsigned disk_block_bytes(const struct disk *disk);
bool disk_read_only(const struct disk *disk);
/* Every write lasts when it is done: flushes are not needed. */
bool disk_is_durable(const struct disk *disk);
const char *disk_engine_name(const struct disk *disk);

/* Looks again how large it is; a rest that is no whole sector is left out. 0 or -errno. */
int disk_refresh(struct disk *disk);

enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH,   /* what was done before is made to last */
	DISK_DISCARD, /* the range's content is not needed any more; a hint */
	DISK_ZERO,    /* the range becomes zeroes; with unmap it need not keep its space */
};

/* The caller's until disk_submit(), and again from done() on. */
struct disk_request {
	enum disk_op op;
	bool durable, unmap;   /* durable: as if the mode were DISK_WRITETHROUGH */
	uint64_t offset, bytes; /* within disk_bytes() */
	struct iovec *iov;	/* of READ and WRITE: bytes in all; used up on the way */
	unsigned iov_count;
	void (*done)(struct disk_request *request, int err); /* 0 or -errno; never called by disk_submit() */
	/* the disk's own */
	struct disk *disk;
	struct disk_io io; /* the step under way */
	uint64_t moved_bytes;
	struct iovec piece;
	void *bounce;
	unsigned way, retries;
};

/*
 * Takes a request; disk_go() sets off what was taken, and calls done() for what the host had at hand: true then, and
 * batch() is left to the caller.
 */
void disk_submit(struct disk *disk, struct disk_request *request);
bool disk_go(struct disk *disk);
unsigned disk_in_flight(const struct disk *disk);

/* batch is called after some requests were done by themselves, once for all of them. */
void disk_batch_set(struct disk *disk, void (*batch)(void *ctx), void *ctx);

/*
 * Waits until nothing is under way, with done() called from inside, at most timeout_ms (-1: for ever). True when
 * nothing is left. cancel: what can be given up is, and comes back as -ECANCELED. The one call here that blocks.
 */
bool disk_drain(struct disk *disk, bool cancel, int timeout_ms);

#endif
