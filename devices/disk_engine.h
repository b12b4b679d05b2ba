/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_engine: how disk.c has single steps of input and output carried out. Two engines, io_uring and threads; a test
 * brings its own. An engine knows system calls; not requests, not retries, not alignment.
 */
#ifndef DEVICES_DISK_ENGINE_H
#define DEVICES_DISK_ENGINE_H

#include "lib/log.h"

#include <stdint.h>
#include <sys/uio.h>

enum disk_io_op { DISK_IO_READ, DISK_IO_WRITE, DISK_IO_SYNC, DISK_IO_FALLOCATE };

/* One system call. Stays where it is until it was reaped. */
struct disk_io {
	enum disk_io_op op;
	int fd;
	int flags; /* of a write RWF_*, of fallocate FALLOC_FL_* */
	uint64_t offset, bytes; /* bytes: of fallocate; reads and writes have iov */
	const struct iovec *iov;
	unsigned iov_count;
	int64_t result; /* what the call returned, or -errno */
	struct disk_io *next; /* for whoever holds it */
};

/* Steps in the order they came. Zeroed it is empty. take: NULL when there is none. */
struct disk_io_list {
	struct disk_io *first, *last; /* last: while there is a first */
};
void disk_io_list_put(struct disk_io_list *list, struct disk_io *io);
struct disk_io *disk_io_list_take(struct disk_io_list *list);

/* Has the disk reap. */
void disk_event_write(int event_fd, struct log_limit *limit);

struct disk_engine;

/* All on the thread of the disk's loop, or under its lock. At most DISK_REQUESTS_MAX steps are under way. */
struct disk_engine_ops {
	const char *name;
	void (*submit)(struct disk_engine *engine, struct disk_io *io);
	/* Sets off what was submitted. What is done at once need not write event_fd: reap until NULL is to follow. */
	void (*go)(struct disk_engine *engine);
	/* The next one that is done, or NULL. event_fd is written when there were none and then some. */
	struct disk_io *(*reap)(struct disk_engine *engine);
	/* What has not begun is given up (-ECANCELED), and what has begun as far as that is possible. */
	void (*cancel)(struct disk_engine *engine);
	/* Nothing is under way. */
	void (*free)(struct disk_engine *engine);
};

/* First member of every engine. */
struct disk_engine {
	const struct disk_engine_ops *ops;
};

/* event_fd stays the caller's. NULL with errno set when the kernel has or allows no io_uring. */
struct disk_engine *disk_uring_new(int event_fd);
struct disk_engine *disk_threads_new(int event_fd);

#endif
