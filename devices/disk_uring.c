// SPDX-License-Identifier: Apache-2.0
/*
 * disk_uring: steps of input and output by io_uring (liburing). The ring belongs to one disk.
 *
 * What the page cache holds is copied during disk_go(), on the loop thread, which is faster than any hand-over, and is
 * reaped there; all that would wait goes on without us, and a completion writes event_fd. The ring is not set up for a
 * single issuer: a vCPU thread that holds the loop's lock may submit and reap as well.
 *
 * While everything is done at once nobody waits for event_fd, and writing it would only wake the loop in vain: after
 * QUIET_AFTER such rounds the kernel is told not to. The first round that leaves something under way has it write again.
 * A step that ends in that very moment may have been seen by neither side, so event_fd is written by us once, then.
 */
#define _GNU_SOURCE
#include "devices/disk_engine.h"

#include "devices/disk.h"
#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

enum { QUIET_AFTER = 16 };

struct uring {
	struct disk_engine engine;
	struct io_uring ring;
	unsigned queued;    /* submission entries filled, but not handed over */
	unsigned under_way; /* handed over, not reaped */
	unsigned rounds;    /* in a row that left nothing under way */
	bool went, quiet;   /* something was handed over since the last look; event_fd is not written */
	struct disk_io_list refused; /* the kernel would not take them */
	int event_fd;
	struct log_limit limit;
};

static struct uring *uring_of(struct disk_engine *engine)
{
	return CONTAINER_OF(engine, struct uring, engine);
}

static void io_refuse(struct uring *uring, struct disk_io *io, int err)
{
	io->result = err;
	disk_io_list_put(&uring->refused, io);
	disk_event_write(uring->event_fd, &uring->limit);
}

/*
 * The kernel may be short of memory for a moment: its entries stay for the next call, which comes with the next turn
 * of the loop. No other error is known for a ring that was set up; it is told, and tried again as well.
 */
static void uring_go(struct disk_engine *engine)
{
	struct uring *uring = uring_of(engine);
	int err;

	if (!uring->queued)
		return;
	err = io_uring_submit(&uring->ring);
	uring->under_way += uring->queued - io_uring_sq_ready(&uring->ring);
	uring->queued = io_uring_sq_ready(&uring->ring);
	uring->went = true;
	if (err < 0 && err != -EAGAIN && err != -EBUSY && err != -EINTR)
		log_guest(&uring->limit, "disk: io_uring takes no requests: errno %d", -err);
	if (uring->queued)
		disk_event_write(uring->event_fd, &uring->limit);
}

static void sqe_fill(struct io_uring_sqe *sqe, struct disk_io *io)
{
	switch (io->op) {
	case DISK_IO_READ:
		io_uring_prep_readv(sqe, io->fd, io->iov, io->iov_count, io->offset);
		break;
	case DISK_IO_WRITE:
		io_uring_prep_writev2(sqe, io->fd, io->iov, io->iov_count, io->offset, io->flags);
		break;
	case DISK_IO_SYNC:
		io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC);
		break;
	case DISK_IO_FALLOCATE:
		io_uring_prep_fallocate(sqe, io->fd, io->flags, (off_t)io->offset, (off_t)io->bytes);
		break;
	}
	io_uring_sqe_set_data(sqe, io);
}

static void uring_submit(struct disk_engine *engine, struct disk_io *io)
{
	struct uring *uring = uring_of(engine);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	if (!sqe) {
		uring_go(engine);
		sqe = io_uring_get_sqe(&uring->ring);
	}
	if (!sqe) {
		io_refuse(uring, io, -EAGAIN);
		return;
	}
	sqe_fill(sqe, io);
	uring->queued++;
}

/* All that is done was reaped. */
static void uring_rest(struct uring *uring)
{
	if (!uring->under_way && uring->went && ++uring->rounds >= QUIET_AFTER && !uring->quiet)
		uring->quiet = !io_uring_cq_eventfd_toggle(&uring->ring, false);
	uring->went = false;
	if (!uring->under_way)
		return;
	uring->rounds = 0;
	if (!uring->quiet)
		return;
	uring->quiet = false;
	io_uring_cq_eventfd_toggle(&uring->ring, true);
	disk_event_write(uring->event_fd, &uring->limit);
}

static struct disk_io *uring_reap(struct disk_engine *engine)
{
	struct uring *uring = uring_of(engine);
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
		struct disk_io *io = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&uring->ring, cqe);
		uring->under_way--;
		if (!io)
			continue; /* the answer to a cancellation */
		io->result = result;
		return io;
	}
	uring_rest(uring);
	return disk_io_list_take(&uring->refused);
}

/* Kernels before 5.19 know no "all of them": they answer EINVAL, and everything is waited for. */
static void uring_cancel(struct disk_engine *engine)
{
	struct uring *uring = uring_of(engine);
	struct io_uring_sqe *sqe;

	uring_go(engine);
	sqe = io_uring_get_sqe(&uring->ring);
	if (!sqe)
		return;
	io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data(sqe, NULL);
	uring->queued++;
	uring_go(engine);
}

static void uring_free(struct disk_engine *engine)
{
	struct uring *uring = uring_of(engine);

	io_uring_queue_exit(&uring->ring);
	free(uring);
}

static const struct disk_engine_ops uring_ops = {
	.name = "io_uring",
	.submit = uring_submit,
	.go = uring_go,
	.reap = uring_reap,
	.cancel = uring_cancel,
	.free = uring_free,
};

struct disk_engine *disk_uring_new(int event_fd)
{
	struct uring *uring = xcalloc(1, sizeof(*uring));
	int err = io_uring_queue_init(DISK_REQUESTS_MAX, &uring->ring, 0);

	if (err < 0) {
		free(uring);
		errno = -err;
		return NULL;
	}
	uring->engine.ops = &uring_ops;
	uring->event_fd = event_fd;
	err = io_uring_register_eventfd(&uring->ring, event_fd);
	if (err < 0) {
		uring_free(&uring->engine);
		errno = -err;
		return NULL;
	}
	return &uring->engine;
}
