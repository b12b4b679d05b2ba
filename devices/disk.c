// SPDX-License-Identifier: Apache-2.0
/*
 * disk: see disk.h. Owns the file, its lock, and how a request becomes steps that an engine carries out. Must not know
 * virtio or how a system call is made (devices/disk_uring.c, devices/disk_threads.c).
 *
 * Theory of operation
 * -------------------
 * A request has one step under way at a time. Its way says what the step was and so what follows from its result:
 * a read or write that came short goes on behind what was moved; with O_DIRECT and a buffer the file system would not
 * take, pieces go through an aligned bounce buffer; zeroes that fallocate() can not make are written in pieces. What
 * has to last is followed by a sync where the step itself could not promise it. Requests that need no system call
 * (early) are put on a list and are done in the loop's next turn, so that done() never comes from disk_submit().
 *
 * Refused alternatives: bouncing through a second, buffered descriptor (writing one page through the cache while
 * another sector of it is written directly can lose the latter), and a bounce buffer as large as the request (the guest
 * would decide how much memory podvm takes).
 */
#define _GNU_SOURCE
#include "devices/disk.h"

#include "lib/log.h"
#include "lib/util.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/stat.h>

enum {
	PIECE_BYTES = 64 << 10,	  /* of a bounced transfer and of zeroes written */
	DIRECT_ALIGN_GUESS = 4096, /* where the kernel does not tell: no disk asks for more */
	RETRIES_MAX = 100,
	REAP_MAX = 2 * DISK_REQUESTS_MAX, /* per turn of the loop */
};

enum way { WAY_EARLY, WAY_DIRECT, WAY_BOUNCE, WAY_FALLOCATE, WAY_ZEROES, WAY_SYNC };

struct disk {
	struct loop *loop;
	struct disk_engine *engine;
	int fd, event_fd;
	char *path;
	uint64_t bytes;
	bool read_only, durable, direct, unsafe;
	unsigned mem_align, block_bytes; /* what O_DIRECT asks of buffers and of offsets; else 1 and 512 */
	bool no_punch, no_zero_range;	  /* the file system said so */
	bool cancelling;
	unsigned in_flight;
	struct disk_io_list early;
	void (*batch)(void *ctx);
	void *batch_ctx;
	struct log_limit limit;
};

/* Never written to. Not const, so that it takes no room in podvm's file. */
static uint8_t zeroes[PIECE_BYTES] __attribute__((aligned(DIRECT_ALIGN_GUESS)));

/* ---- a request, step by step ---- */

static void early_put(struct disk *disk, struct disk_request *request, int err)
{
	request->way = WAY_EARLY;
	request->io.result = err;
	disk_io_list_put(&disk->early, &request->io);
	disk_event_write(disk->event_fd, &disk->limit);
}

static const char *const op_names[] = {
	[DISK_READ] = "read", [DISK_WRITE] = "write", [DISK_FLUSH] = "flush", [DISK_DISCARD] = "discard",
	[DISK_ZERO] = "writing zeroes",
};

static void request_finish(struct disk_request *request, int err)
{
	struct disk *disk = request->disk;

	free(request->bounce);
	request->bounce = NULL;
	disk->in_flight--;
	if (err && err != -ECANCELED)
		log_guest(&disk->limit, "disk %s: %s failed: %s", disk->path, op_names[request->op], strerror(-err));
	request->done(request, err);
}

static void step(struct disk_request *request, enum way way, struct disk_io io)
{
	struct disk *disk = request->disk;

	request->way = way;
	request->io = io;
	request->io.fd = disk->fd;
	disk->engine->ops->submit(disk->engine, &request->io);
}

static void step_sync(struct disk_request *request)
{
	step(request, WAY_SYNC, (struct disk_io){.op = DISK_IO_SYNC});
}

static bool must_last(const struct disk_request *request)
{
	return (request->durable || request->disk->durable) && !request->disk->unsafe;
}

static int write_flags(const struct disk_request *request)
{
	return must_last(request) ? RWF_DSYNC : 0;
}

static void step_move(struct disk_request *request, enum way way, const struct iovec *iov, unsigned iov_count)
{
	bool reads = request->op == DISK_READ;

	step(request, way, (struct disk_io){.op = reads ? DISK_IO_READ : DISK_IO_WRITE,
					    .flags = reads ? 0 : write_flags(request),
					    .offset = request->offset + request->moved_bytes,
					    .iov = iov, .iov_count = iov_count});
}

/* Goes bytes further in the caller's buffers, copying to or from at on the way unless it is NULL. */
static void iov_move(struct disk_request *request, uint8_t *at, size_t bytes, bool out)
{
	while (bytes && request->iov_count) {
		struct iovec *iov = request->iov;
		size_t part = MIN(bytes, iov->iov_len);

		if (at) {
			memcpy(out ? at : iov->iov_base, out ? iov->iov_base : at, part);
			at += part;
		}
		iov->iov_base = (uint8_t *)iov->iov_base + part;
		iov->iov_len -= part;
		bytes -= part;
		if (!iov->iov_len) {
			request->iov++;
			request->iov_count--;
		}
	}
}

static void step_bounce(struct disk_request *request)
{
	size_t bytes = (size_t)MIN(request->bytes - request->moved_bytes, (uint64_t)PIECE_BYTES);

	if (!request->bounce)
		request->bounce = aligned_alloc(DIRECT_ALIGN_GUESS, PIECE_BYTES);
	if (!request->bounce) {
		early_put(request->disk, request, -ENOMEM);
		return;
	}
	if (request->op == DISK_WRITE)
		iov_move(request, request->bounce, bytes, true);
	request->piece = (struct iovec){request->bounce, bytes};
	step_move(request, WAY_BOUNCE, &request->piece, 1);
}

static void step_zeroes(struct disk_request *request)
{
	request->piece = (struct iovec){zeroes, (size_t)MIN(request->bytes - request->moved_bytes, sizeof(zeroes))};
	step_move(request, WAY_ZEROES, &request->piece, 1);
}

static void step_fallocate(struct disk_request *request, int mode)
{
	step(request, WAY_FALLOCATE, (struct disk_io){.op = DISK_IO_FALLOCATE, .flags = mode | FALLOC_FL_KEEP_SIZE,
						      .offset = request->offset, .bytes = request->bytes});
}

/* Discards and zeroes: the best way that is left. */
static void step_range(struct disk_request *request)
{
	struct disk *disk = request->disk;
	bool may_punch = request->op == DISK_DISCARD || request->unmap;

	if (may_punch && !disk->no_punch)
		step_fallocate(request, FALLOC_FL_PUNCH_HOLE);
	else if (request->op == DISK_DISCARD)
		early_put(disk, request, 0);
	else if (!disk->no_zero_range)
		step_fallocate(request, FALLOC_FL_ZERO_RANGE);
	else
		step_zeroes(request);
}

/* The length of every buffer matters as well: a request that is split in mid-sector is not one the kernel takes. */
static bool needs_bounce(const struct disk_request *request)
{
	const struct disk *disk = request->disk;

	if (!disk->direct)
		return false;
	for (unsigned i = 0; i < request->iov_count; i++)
		if ((uintptr_t)request->iov[i].iov_base % disk->mem_align ||
		    request->iov[i].iov_len % disk->block_bytes)
			return true;
	return false;
}

static void start_move(struct disk_request *request)
{
	struct disk *disk = request->disk;

	if (request->bytes == 0)
		early_put(disk, request, 0);
	else if (needs_bounce(request))
		step_bounce(request);
	else
		step_move(request, WAY_DIRECT, request->iov, request->iov_count);
}

static bool is_refused(const struct disk *disk, const struct disk_request *request)
{
	bool changes = request->op == DISK_WRITE || request->op == DISK_DISCARD || request->op == DISK_ZERO;

	return (changes && disk->read_only) || request->offset > disk->bytes ||
	       request->bytes > disk->bytes - request->offset || request->offset % disk->block_bytes ||
	       request->bytes % disk->block_bytes;
}

void disk_submit(struct disk *disk, struct disk_request *request)
{
	request->disk = disk;
	request->moved_bytes = 0;
	request->bounce = NULL;
	request->retries = 0;
	disk->in_flight++;
	if (request->op == DISK_FLUSH) {
		if (disk->read_only || disk->unsafe)
			early_put(disk, request, 0);
		else
			step_sync(request);
		return;
	}
	if (is_refused(disk, request))
		early_put(disk, request, -EINVAL);
	else if (request->op == DISK_READ || request->op == DISK_WRITE)
		start_move(request);
	else if (request->bytes == 0)
		early_put(disk, request, 0);
	else
		step_range(request);
}

/* ---- what became of a step ---- */

static bool is_unsupported(int64_t result)
{
	return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENODEV || result == -ENOTTY;
}

static void fallocate_over(struct disk_request *request, int64_t result)
{
	struct disk *disk = request->disk;

	if (is_unsupported(result)) {
		if (request->io.flags & FALLOC_FL_PUNCH_HOLE)
			disk->no_punch = true;
		else
			disk->no_zero_range = true;
		step_range(request);
	} else if (result == 0 && must_last(request)) {
		step_sync(request);
	} else {
		request_finish(request, (int)result);
	}
}

/* Bytes were moved, at least one: is that all? */
static void move_over(struct disk_request *request, size_t bytes)
{
	bool bounced = request->way == WAY_BOUNCE;

	if (bounced && request->op == DISK_READ)
		iov_move(request, request->bounce, bytes, false);
	if (request->way == WAY_DIRECT)
		iov_move(request, NULL, bytes, false);
	request->moved_bytes += bytes;
	if (bounced && request->op == DISK_WRITE && bytes < request->piece.iov_len) {
		/* The rest of this piece first: it was taken from the caller's buffers already. */
		request->piece.iov_base = (uint8_t *)request->piece.iov_base + bytes;
		request->piece.iov_len -= bytes;
		step_move(request, WAY_BOUNCE, &request->piece, 1);
	} else if (request->moved_bytes == request->bytes) {
		request_finish(request, 0);
	} else if (bounced) {
		step_bounce(request);
	} else if (request->way == WAY_ZEROES) {
		step_zeroes(request);
	} else {
		step_move(request, WAY_DIRECT, request->iov, request->iov_count);
	}
}

/* The call was interrupted, or the kernel short of something for a moment. Not a loop without end. */
static bool is_worth_another(struct disk_request *request, int64_t result)
{
	return (result == -EINTR || result == -EAGAIN) && request->retries++ < RETRIES_MAX;
}

static void step_over(struct disk_request *request)
{
	struct disk *disk = request->disk;
	int64_t result = request->io.result;

	if (request->way == WAY_EARLY) {
		request_finish(request, (int)result);
	} else if (disk->cancelling) {
		/* Whether it was carried out, in part or not at all, nobody will ask. */
		request_finish(request, -ECANCELED);
	} else if (is_worth_another(request, result)) {
		disk->engine->ops->submit(disk->engine, &request->io);
	} else if (request->way == WAY_SYNC) {
		request_finish(request, (int)result);
	} else if (request->way == WAY_FALLOCATE) {
		fallocate_over(request, result);
	} else if (result <= 0) {
		/* Nothing moved: the file became shorter under our hands. */
		request_finish(request, result ? (int)result : -EIO);
	} else {
		move_over(request, (size_t)result);
	}
}

/* ---- the loop's side ---- */

static unsigned reap_early(struct disk *disk)
{
	struct disk_io_list early = disk->early;
	struct disk_io *io;
	unsigned count = 0;

	/* What is added meanwhile wrote event_fd again. */
	disk->early = (struct disk_io_list){0};
	for (; (io = disk_io_list_take(&early)); count++)
		step_over(CONTAINER_OF(io, struct disk_request, io));
	return count;
}

/* Steps that follow from others are set off on the way, and may be done at once as well. */
static unsigned reap(struct disk *disk)
{
	unsigned count = 0, before;
	struct disk_io *io;

	do {
		before = count;
		disk->engine->ops->go(disk->engine);
		count += reap_early(disk);
		while (count < REAP_MAX && (io = disk->engine->ops->reap(disk->engine))) {
			step_over(CONTAINER_OF(io, struct disk_request, io));
			count++;
		}
	} while (count > before && count < REAP_MAX);
	if (count >= REAP_MAX)
		disk_event_write(disk->event_fd, &disk->limit);
	if (disk->in_flight == 0)
		disk->cancelling = false;
	return count;
}

bool disk_go(struct disk *disk)
{
	return reap(disk) > 0;
}

static void reap_and_tell(struct disk *disk)
{
	if (reap(disk) && disk->batch)
		disk->batch(disk->batch_ctx);
}

static void on_event(void *ctx, int fd, short revents)
{
	struct disk *disk = ctx;
	uint64_t count;

	(void)revents;
	/* Many completions are one read. That it is empty is no matter: another thread may have drained the disk. */
	if (read(fd, &count, sizeof(count)) < 0)
		errno = 0;
	reap_and_tell(disk);
}

bool disk_drain(struct disk *disk, bool cancel, int timeout_ms)
{
	uint64_t end_ns = clock_mono_ns() + (uint64_t)MAX(timeout_ms, 0) * 1000000;
	struct pollfd poll_fd = {.fd = disk->event_fd, .events = POLLIN};

	reap_and_tell(disk);
	if (cancel && disk->in_flight) {
		disk->cancelling = true;
		disk->engine->ops->cancel(disk->engine);
	}
	for (;;) {
		uint64_t now_ns;

		on_event(disk, disk->event_fd, POLLIN);
		now_ns = clock_mono_ns();
		if (disk->in_flight == 0 || (timeout_ms >= 0 && now_ns >= end_ns))
			break;
		poll(&poll_fd, 1, timeout_ms < 0 ? -1 : (int)((end_ns - now_ns) / 1000000 + 1));
	}
	return disk->in_flight == 0;
}

unsigned disk_in_flight(const struct disk *disk)
{
	return disk->in_flight;
}

void disk_batch_set(struct disk *disk, void (*batch)(void *ctx), void *ctx)
{
	disk->batch = batch;
	disk->batch_ctx = ctx;
}

/* ---- what kind of disk it is ---- */

uint64_t disk_bytes(const struct disk *disk)
{
	return disk->bytes;
}

unsigned disk_block_bytes(const struct disk *disk)
{
	return disk->block_bytes;
}

bool disk_read_only(const struct disk *disk)
{
	return disk->read_only;
}

bool disk_is_durable(const struct disk *disk)
{
	return disk->durable;
}

const char *disk_engine_name(const struct disk *disk)
{
	return disk->engine->ops->name;
}

/* Of files and block devices alike. */
static int size_read(int fd, uint64_t *bytes)
{
	off_t end = lseek(fd, 0, SEEK_END);

	if (end < 0)
		return -errno;
	*bytes = (uint64_t)end;
	return 0;
}

int disk_refresh(struct disk *disk)
{
	uint64_t bytes = 0;
	int err = size_read(disk->fd, &bytes);

	if (!err)
		disk->bytes = bytes - bytes % disk->block_bytes;
	return err;
}

/* What O_DIRECT asks for: the kernel tells since 6.1, a block device always. */
static void direct_ask(struct disk *disk)
{
	struct statx st = {0};
	int sector;

	disk->mem_align = disk->block_bytes = DIRECT_ALIGN_GUESS;
#ifdef STATX_DIOALIGN
	if (syscall(SYS_statx, disk->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) == 0 &&
	    st.stx_mask & STATX_DIOALIGN && st.stx_dio_offset_align && st.stx_dio_mem_align) {
		disk->mem_align = st.stx_dio_mem_align;
		disk->block_bytes = MAX(st.stx_dio_offset_align, (unsigned)DISK_SECTOR_BYTES);
		return;
	}
#endif
	if (ioctl(disk->fd, BLKSSZGET, &sector) == 0 && sector >= DISK_SECTOR_BYTES)
		disk->mem_align = disk->block_bytes = (unsigned)sector;
}

/* ---- opening ---- */

/* One that writes or many that read. Of the open file, not of the process: it goes with the descriptor. */
static int file_lock(int fd, bool read_only)
{
	struct flock lock = {.l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

static int open_flags(const struct disk_config *config, const struct stat *st)
{
	bool direct = config->cache == DISK_NONE || config->cache == DISK_DIRECTSYNC;

	/* O_EXCL on a block device is its lock: neither mounted by the host nor written by another. */
	return (config->read_only ? O_RDONLY : O_RDWR | (S_ISBLK(st->st_mode) ? O_EXCL : 0)) |
	       (direct ? O_DIRECT : 0) | O_CLOEXEC;
}

#define FAIL(...) (snprintf(why, room, __VA_ARGS__), false)

static bool file_open(struct disk *disk, const struct disk_config *config, char *why, size_t room)
{
	const char *path = config->path;
	struct stat st;
	int err;

	if (stat(path, &st) < 0)
		return FAIL("%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return FAIL("%s is neither a regular file nor a block device", path);
	disk->fd = open(path, open_flags(config, &st));
	if (disk->fd < 0 && errno == EINVAL && disk->direct)
		return FAIL("%s: its file system has no O_DIRECT; use another cache mode, such as \"writethrough\"", path);
	if (disk->fd < 0 && errno == EBUSY)
		return FAIL("%s is in use: mounted, or open in another podvm", path);
	if (disk->fd < 0)
		return FAIL("%s: %s", path, strerror(errno));
	err = file_lock(disk->fd, config->read_only);
	if (err == -EAGAIN || err == -EACCES)
		return FAIL("%s is in use by another podvm or program; only read-only volumes can be shared", path);
	if (err)
		log_warn("disk %s can not be locked: %s: nothing keeps another podvm from writing to it at the same time",
			 path, strerror(-err));
	return true;
}

static bool size_check(struct disk *disk, char *why, size_t room)
{
	int err = size_read(disk->fd, &disk->bytes);

	if (err)
		return FAIL("%s: %s", disk->path, strerror(-err));
	if (disk->bytes == 0)
		return FAIL("%s is empty: no disk image", disk->path);
	if (disk->bytes % disk->block_bytes)
		return FAIL("%s is %llu bytes long, no multiple of %u: no raw disk image, or cut off", disk->path,
			    (unsigned long long)disk->bytes, disk->block_bytes);
	return true;
}

static struct disk *disk_make(struct loop *loop, const struct disk_config *config)
{
	struct disk *disk = xcalloc(1, sizeof(*disk));

	disk->loop = loop;
	disk->path = xstrdup(config->path);
	disk->read_only = config->read_only;
	disk->durable = config->cache == DISK_WRITETHROUGH || config->cache == DISK_DIRECTSYNC;
	disk->direct = config->cache == DISK_NONE || config->cache == DISK_DIRECTSYNC;
	disk->unsafe = config->cache == DISK_UNSAFE;
	disk->fd = disk->event_fd = -1;
	disk->mem_align = 1;
	disk->block_bytes = DISK_SECTOR_BYTES;
	return disk;
}

static bool engine_make(struct disk *disk, enum disk_engine_kind kind, char *why, size_t room)
{
	disk->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (disk->event_fd < 0)
		return FAIL("%s: no eventfd: %s", disk->path, strerror(errno));
	if (kind != DISK_ENGINE_THREADS)
		disk->engine = disk_uring_new(disk->event_fd);
	if (!disk->engine && kind == DISK_ENGINE_URING)
		return FAIL("%s: no io_uring: %s", disk->path, strerror(errno));
	if (!disk->engine)
		disk->engine = disk_threads_new(disk->event_fd);
	loop_fd_add(disk->loop, disk->event_fd, POLLIN, on_event, disk);
	return true;
}

struct disk *disk_open(struct loop *loop, const struct disk_config *config, char *why, size_t why_bytes)
{
	struct disk *disk = disk_make(loop, config);

	if (!file_open(disk, config, why, why_bytes))
		goto failed;
	if (disk->direct)
		direct_ask(disk);
	if (!size_check(disk, why, why_bytes) || !engine_make(disk, config->engine, why, why_bytes))
		goto failed;
	return disk;

failed:
	disk_close(disk);
	return NULL;
}

struct disk *disk_new(struct loop *loop, const struct disk_config *config, struct disk_engine *engine, int event_fd,
		      uint64_t bytes)
{
	struct disk *disk = disk_make(loop, config);

	if (disk->direct)
		direct_ask(disk);
	disk->engine = engine;
	disk->event_fd = event_fd;
	disk->bytes = bytes;
	loop_fd_add(loop, event_fd, POLLIN, on_event, disk);
	return disk;
}

void disk_close(struct disk *disk)
{
	if (!disk)
		return;
	if (disk->engine) {
		disk_drain(disk, false, -1);
		loop_fd_del(disk->loop, disk->event_fd);
		disk->engine->ops->free(disk->engine);
	}
	if (disk->event_fd >= 0)
		close(disk->event_fd);
	if (disk->fd >= 0)
		close(disk->fd);
	free(disk->path);
	free(disk);
}
