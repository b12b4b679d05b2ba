/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_file: open files and what is done through them. Owns the table of open handles. Must not know how nodes are
 * found.
 *
 * A file is opened through /proc/self/fd/N of its O_PATH descriptor, so it is the very file the guest named, whatever
 * happened to its name since. Only regular files are: opening anything else could wait or have effects of its own.
 *
 * Data the guest has cached survives an open only when the file can not have changed since the open before: same size,
 * same ctime, and that ctime was already a second old then, so that a later change must have moved it. That gives
 * close-to-open consistency without dropping the cache of a binary each time it is run.
 */
#include "devices/fuse_req.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SETTLED_NS INT64_C(1000000000)
/* One COPY_FILE_RANGE; the guest asks again for the rest. */
#define COPY_BYTES_MAX (UINT64_C(8) << 20)

/* What of the guest's open flags reaches the host. O_APPEND: see append_set(); O_DIRECT: its
 * memory need not be aligned as the host wants; the rest is not the guest's to choose. */
#define OPEN_FLAGS (ACCESS_MODE | O_TRUNC | O_SYNC | O_DSYNC)
/* Not O_ACCMODE: musl counts O_PATH among its bits, and that is not the guest's to set. */
#define ACCESS_MODE (O_RDONLY | O_WRONLY | O_RDWR)

int fuse_handle_add(struct fuse *fuse, struct fuse_inode *inode, int fd, bool dir, bool writable, uint64_t *fh)
{
	struct fuse_handle *handle = xcalloc(1, sizeof(*handle));

	if (!slots_add(&fuse->handles, &handle->slot)) {
		free(handle);
		if (fd >= 0)
			close(fd);
		return -ENFILE;
	}
	handle->inode = inode;
	handle->fd = fd;
	handle->dir = dir;
	handle->writable = writable;
	inode_open_ref(&fuse->inodes, inode);
	*fh = handle->slot.id;
	return 0;
}

struct fuse_handle *fuse_handle_get(struct fuse_req *req, uint64_t fh, bool dir)
{
	struct fuse_handle *handle = (struct fuse_handle *)slots_get(&req->fuse->handles, fh);

	return handle && handle->inode->slot.id == req->head.nodeid && handle->dir == dir ? handle : NULL;
}

void fuse_handle_close(struct fuse *fuse, struct fuse_handle *handle)
{
	slots_remove(&fuse->handles, &handle->slot);
	fuse_dir_rest_drop(fuse, handle);
	if (handle->fd >= 0)
		close(handle->fd);
	inode_open_unref(&fuse->inodes, handle->inode);
	free(handle);
}

int fuse_reopen(struct fuse *fuse, struct fuse_inode *inode, int flags)
{
	int fd;

	if (inode->sealed)
		return -EACCES;
	if (S_ISDIR(inode->type) && (flags & ACCESS_MODE) != O_RDONLY)
		return -EISDIR;
	if (S_ISLNK(inode->type))
		return -ELOOP;
	if (!S_ISREG(inode->type) && !S_ISDIR(inode->type))
		return -ENXIO;
	fd = inode_fd(&fuse->inodes, inode);
	if (fd < 0)
		return fd;
	/* O_NONBLOCK: fail rather than wait for somebody's lease on the file. */
	fd = openat(fuse->proc_fd, fuse_fd_name(fd).text, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

static bool cache_still_good(struct fuse_inode *inode, const struct stat *st)
{
	int64_t now_ns = (int64_t)clock_real_ns();
	int64_t ctime_ns = st->st_ctim.tv_sec * INT64_C(1000000000) + st->st_ctim.tv_nsec;
	bool same = inode->seen_settled && inode->seen_size == st->st_size &&
		    inode->seen_ctime_s == st->st_ctim.tv_sec && inode->seen_ctime_ns == st->st_ctim.tv_nsec;

	inode->seen_size = st->st_size;
	inode->seen_ctime_s = st->st_ctim.tv_sec;
	inode->seen_ctime_ns = st->st_ctim.tv_nsec;
	inode->seen_settled = now_ns - ctime_ns > SETTLED_NS;
	return same;
}

/* A handle for an open descriptor, which is taken. keep_cache: what the guest has of the data is still good. */
static int reply_open(struct fuse_req *req, struct fuse_inode *inode, int fd, int flags, bool keep_cache,
		      struct fuse_open_out *out)
{
	bool writable = (flags & ACCESS_MODE) != O_RDONLY;

	out->open_flags = 0;
	if (keep_cache)
		out->open_flags |= FOPEN_KEEP_CACHE;
	if (!writable)
		out->open_flags |= FOPEN_NOFLUSH;
	return fuse_handle_add(req->fuse, inode, fd, false, writable, &out->fh);
}

static int open_inode(struct fuse_req *req, struct fuse_inode *inode, uint32_t guest_flags, uint32_t open_flags,
		      struct fuse_open_out *out)
{
	int flags = (int)guest_flags & OPEN_FLAGS, fd, ret;
	struct stat st;
	bool keep_cache;

	if ((flags & ACCESS_MODE) == ACCESS_MODE)
		return -EINVAL;
	if (inode_read_only(inode) && ((flags & ACCESS_MODE) != O_RDONLY || flags & O_TRUNC))
		return -EROFS;
	if (S_ISDIR(inode->type))
		return -EISDIR;
	fd = fuse_reopen(req->fuse, inode, flags);
	if (fd < 0)
		return fd;
	if (open_flags & FUSE_OPEN_KILL_SUIDGID && flags & O_TRUNC) {
		ret = fuse_drop_suid(fd);
		if (ret) {
			close(fd);
			return ret;
		}
	}
	keep_cache = inode_read_only(inode) || (!fstat(fd, &st) && cache_still_good(inode, &st));
	return reply_open(req, inode, fd, flags, keep_cache, out);
}

int fuse_do_open(struct fuse_req *req)
{
	const struct fuse_open_in *in = req_take(req, sizeof(*in));
	struct fuse_open_out *out = req_reply(req, sizeof(*out));

	return open_inode(req, req->inode, in->flags, in->open_flags, out);
}

/* The file behind fd, just made as `name` (NULL: without a name), becomes a node and a handle. fd is taken. */
static int reply_created(struct fuse_req *req, const char *name, int fd, int flags, const struct stat *dir_st)
{
	struct fuse_inodes *inodes = &req->fuse->inodes;
	struct fuse_entry_out *entry = req_reply(req, sizeof(*entry) + sizeof(struct fuse_open_out));
	struct fuse_inode *inode;
	struct stat st;
	int ret;

	ret = fstat(fd, &st) ? -errno : 0;
	if (!ret) {
		fuse_own_new(req, fd, dir_st, &st);
		ret = inode_made(inodes, req->inode, name, &st, &inode);
	}
	if (ret) {
		close(fd);
		return ret;
	}
	inode_fd_give(inodes, inode,
		      openat(req->fuse->proc_fd, fuse_fd_name(fd).text, O_PATH | O_CLOEXEC));
	ret = reply_open(req, inode, fd, flags, false, (struct fuse_open_out *)(entry + 1));
	if (ret)
		inode_drop_unused(inodes, inode);
	else
		fuse_fill_entry(req->fuse, entry, inode, &st);
	return ret;
}

/* CREATE met a file that is there: an open, of what the name means now. */
static int open_existing(struct fuse_req *req, const char *name, const struct fuse_create_in *in)
{
	struct fuse_entry_out *entry = req_reply(req, sizeof(*entry) + sizeof(struct fuse_open_out));
	struct fuse_inode *inode;
	struct stat st;
	int ret;

	ret = inode_lookup(&req->fuse->inodes, req->inode, name, &inode, &st);
	if (ret)
		return ret;
	ret = open_inode(req, inode, in->flags, in->open_flags, (struct fuse_open_out *)(entry + 1));
	if (!ret && in->flags & O_TRUNC)
		ret = inode_stat(&req->fuse->inodes, inode, &st);
	if (ret)
		inode_drop_unused(&req->fuse->inodes, inode);
	else
		fuse_fill_entry(req->fuse, entry, inode, &st);
	return ret;
}

static int create_file(struct fuse_req *req, const char *name, const struct fuse_create_in *in, int extra_flags)
{
	int flags = (int)in->flags & OPEN_FLAGS & ~O_TRUNC, dirfd, fd;
	struct stat dir_st;

	if ((flags & ACCESS_MODE) == ACCESS_MODE)
		return -EINVAL;
	dirfd = inode_fd(&req->fuse->inodes, req->inode);
	if (dirfd < 0)
		return dirfd;
	if (fuse_may_give(req->fuse) && fstat(dirfd, &dir_st))
		return -errno;
	if (req->fuse->handles.count >= req->fuse->handles.limit)
		return -ENFILE; /* before there is a file that was not asked for */
	fd = openat(dirfd, name ? name : ".", flags | extra_flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		    in->mode & 07777);
	return fd < 0 ? -errno : reply_created(req, name, fd, flags, &dir_st);
}

/* Always O_EXCL first: without it open() would open whatever somebody put there, a device for instance. */
int fuse_do_create(struct fuse_req *req)
{
	const struct fuse_create_in *in = req_take(req, sizeof(*in));
	const char *name;
	int ret;

	ret = req_take_name(req, &name);
	if (ret)
		return ret;
	ret = create_file(req, name, in, O_CREAT | O_EXCL);
	if (ret == -EEXIST && !(in->flags & O_EXCL))
		ret = open_existing(req, name, in);
	return ret;
}

int fuse_do_tmpfile(struct fuse_req *req)
{
	const struct fuse_create_in *in = req_take(req, sizeof(*in));

	return create_file(req, NULL, in, O_TMPFILE | ((int)in->flags & O_EXCL));
}

int fuse_do_read(struct fuse_req *req)
{
	const struct fuse_read_in *in = req_take(req, sizeof(*in));
	struct fuse_handle *handle = fuse_handle_get(req, in->fh, false);
	struct iovec iov[FUSE_IOV_MAX];
	unsigned count;
	ssize_t bytes;

	if (!handle)
		return -EBADF;
	count = fuse_iov_slice(req->in, req->in_count, sizeof(struct fuse_out_header),
			       MIN(MIN(in->size, req->in_room), FUSE_DATA_BYTES_MAX), iov);
	bytes = preadv(handle->fd, iov, (int)count, (off_t)in->offset);
	if (bytes < 0)
		return -errno;
	req->reply_bytes = (size_t)bytes;
	req->reply_in_place = true;
	return 0;
}

/*
 * To append means to the file's end, which somebody else may have moved since the guest's kernel looked: two pods with
 * one log. Pages that are written back (FUSE_WRITE_CACHE) know where they belong, whatever descriptor carries them. So
 * the descriptor follows what each request says. RWF_APPEND would be simpler, but overlayfs drops it (Linux 6.1).
 */
static int append_set(struct fuse_handle *handle, bool append)
{
	if (handle->append == append)
		return 0;
	if (fcntl(handle->fd, F_SETFL, O_NONBLOCK | (append ? O_APPEND : 0)) < 0)
		return -errno;
	handle->append = append;
	return 0;
}

int fuse_do_write(struct fuse_req *req)
{
	const struct fuse_write_in *in = req_take(req, sizeof(*in));
	struct fuse_write_out *out = req_reply(req, sizeof(*out));
	struct fuse_handle *handle = fuse_handle_get(req, in->fh, false);
	struct iovec iov[FUSE_IOV_MAX];
	unsigned count;
	ssize_t bytes;
	int ret;

	if (!handle || !handle->writable)
		return -EBADF;
	if (in->size > req->data_bytes || in->size > FUSE_DATA_BYTES_MAX)
		return -EINVAL;
	if (in->write_flags & FUSE_WRITE_KILL_SUIDGID) {
		ret = fuse_drop_suid(handle->fd);
		if (ret)
			return ret;
	}
	ret = append_set(handle, in->flags & O_APPEND && !(in->write_flags & FUSE_WRITE_CACHE));
	if (ret)
		return ret;
	count = fuse_iov_slice(req->out, req->out_count, sizeof(req->head) + sizeof(*in), in->size, iov);
	bytes = pwritev(handle->fd, iov, (int)count, (off_t)in->offset);
	if (bytes < 0)
		return -errno;
	out->size = (uint32_t)bytes;
	return 0;
}

int fuse_do_release(struct fuse_req *req)
{
	const struct fuse_release_in *in = req_take(req, sizeof(*in));
	struct fuse_handle *handle = fuse_handle_get(req, in->fh, false);

	if (!handle)
		return -EBADF;
	fuse_handle_close(req->fuse, handle);
	return 0;
}

/* Closing a descriptor of the file is when file systems on a network tell what became of earlier writes. */
int fuse_do_flush(struct fuse_req *req)
{
	const struct fuse_flush_in *in = req_take(req, sizeof(*in));
	struct fuse_handle *handle = fuse_handle_get(req, in->fh, false);
	int fd;

	if (!handle)
		return -EBADF;
	if (!handle->writable)
		return 0;
	fd = fcntl(handle->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 || close(fd) ? -errno : 0;
}

int fuse_do_fsync(struct fuse_req *req)
{
	const struct fuse_fsync_in *in = req_take(req, sizeof(*in));
	struct fuse_handle *handle = fuse_handle_get(req, in->fh, req->head.opcode == FUSE_FSYNCDIR);

	if (!handle)
		return -EBADF;
	if (inode_read_only(handle->inode))
		return 0; /* the guest has nothing of its own there; making the host write is not its business */
	return (in->fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(handle->fd) : fsync(handle->fd)) ? -errno : 0;
}

int fuse_do_fallocate(struct fuse_req *req)
{
	const struct fuse_fallocate_in *in = req_take(req, sizeof(*in));
	struct fuse_handle *handle = fuse_handle_get(req, in->fh, false);
	/* What the guest's kernel lets through; the others would move data behind the back of its cache. */
	const uint32_t modes = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
	int ret;

	if (!handle || !handle->writable)
		return -EBADF;
	if (in->mode & ~modes)
		return -EOPNOTSUPP;
	ret = req_drops_suid(req) ? fuse_drop_suid(handle->fd) : 0;
	if (ret)
		return ret;
	return fallocate(handle->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) ? -errno : 0;
}

int fuse_do_lseek(struct fuse_req *req)
{
	const struct fuse_lseek_in *in = req_take(req, sizeof(*in));
	struct fuse_lseek_out *out = req_reply(req, sizeof(*out));
	struct fuse_handle *handle = fuse_handle_get(req, in->fh, false);
	off_t at;

	if (!handle)
		return -EBADF;
	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE)
		return -EINVAL; /* the guest's kernel does the others */
	at = lseek(handle->fd, (off_t)in->offset, (int)in->whence);
	if (at < 0)
		return -errno;
	out->offset = (uint64_t)at;
	return 0;
}

int fuse_do_copy_file_range(struct fuse_req *req)
{
	const struct fuse_copy_file_range_in *in = req_take(req, sizeof(*in));
	struct fuse_write_out *out = req_reply(req, sizeof(*out));
	struct fuse_handle *from = fuse_handle_get(req, in->fh_in, false), *to;
	off_t off_in = (off_t)in->off_in, off_out = (off_t)in->off_out;
	ssize_t bytes;
	int ret;

	to = (struct fuse_handle *)slots_get(&req->fuse->handles, in->fh_out);
	if (!from || !to || to->dir || !to->writable || to->inode->slot.id != in->nodeid_out)
		return -EBADF;
	if (in->flags)
		return -EINVAL;
	ret = req_drops_suid(req) ? fuse_drop_suid(to->fd) : 0;
	if (!ret)
		ret = append_set(to, false);
	if (ret)
		return ret;
	bytes = copy_file_range(from->fd, &off_in, to->fd, &off_out, MIN(in->len, COPY_BYTES_MAX), 0);
	if (bytes < 0)
		return -errno;
	out->size = (uint32_t)bytes;
	return 0;
}
