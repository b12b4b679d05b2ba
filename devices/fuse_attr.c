/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_attr: attributes and their caching times. Must not know names or directories.
 *
 * Ids. When podvm is root, what the host has is what the guest sees, and what the guest asks for is what the host is
 * asked for: a new file is made by podvm and given to the requester, as fsuid and fsgid of the request say. Making it
 * as the requester (setfsuid) was rejected: more calls, and the host knows nothing of the requester's further groups.
 * Who may do what was decided before by the guest's kernel, which knows them.
 *
 * An ordinary user's podvm owns one pair of ids, its own. They are the guest's 0: the pod's root is the user, as in
 * other rootless containers. All others are nobody's (65534). Whatever the pod makes is the user's, so the pod's
 * root's. A change of owner to what is shown already succeeds (tar and cp -p do that all the time), any other fails
 * with EPERM. Remembering it in an extended attribute was rejected: every look at a file would cost two calls more,
 * links and sockets can have none, and other programs of the host would see other owners than the pod. Ids appear
 * nowhere but here.
 */
#include "devices/fuse_req.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum {
	VALID_READ_ONLY_S = 86400,
	VALID_WRITABLE_S = 1,
	ID_NOBODY = 65534,
};

static uint32_t id_shown(const struct fuse *fuse, uint32_t id, uint32_t own)
{
	if (fuse->uid == 0)
		return id;
	return id == own ? 0 : ID_NOBODY;
}

uint64_t fuse_valid_seconds(const struct fuse_inode *inode)
{
	/* The root's entries may change: shares are added when a pod arrives. */
	if (inode_is_root(inode))
		return VALID_WRITABLE_S;
	return inode->share->read_only ? VALID_READ_ONLY_S : VALID_WRITABLE_S;
}

/* The protocol has the kernel's 32-bit encoding of a device number. */
static uint32_t encode_dev(dev_t dev)
{
	uint32_t ma = major(dev), mi = minor(dev);

	return (mi & 0xff) | ma << 8 | (mi & ~0xffu) << 12;
}

void fuse_fill_attr(struct fuse *fuse, struct fuse_attr *attr, const struct stat *st)
{
	*attr = (struct fuse_attr){
		.ino = inodes_number(&fuse->inodes, st->st_dev, st->st_ino),
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.atime = (uint64_t)st->st_atim.tv_sec,
		.mtime = (uint64_t)st->st_mtim.tv_sec,
		.ctime = (uint64_t)st->st_ctim.tv_sec,
		.atimensec = (uint32_t)st->st_atim.tv_nsec,
		.mtimensec = (uint32_t)st->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink,
		.uid = id_shown(fuse, st->st_uid, fuse->uid),
		.gid = id_shown(fuse, st->st_gid, fuse->gid),
		.rdev = encode_dev(st->st_rdev),
		.blksize = (uint32_t)st->st_blksize,
	};
}

void fuse_fill_entry(struct fuse *fuse, struct fuse_entry_out *entry, struct fuse_inode *inode, const struct stat *st)
{
	inode_remember(inode);
	entry->nodeid = inode->slot.id;
	entry->entry_valid = entry->attr_valid = fuse_valid_seconds(inode);
	fuse_fill_attr(fuse, &entry->attr, st);
}

int fuse_stat(struct fuse *fuse, struct fuse_inode *inode, struct stat *st)
{
	if (!inode_is_root(inode))
		return inode_stat(&fuse->inodes, inode, st);
	memset(st, 0, sizeof(*st));
	st->st_dev = fuse->inodes.devs.devs[0];
	st->st_ino = FUSE_ROOT_ID;
	st->st_mode = S_IFDIR | 0555;
	st->st_nlink = 2 + fuse->inodes.share_count;
	st->st_blksize = 4096;
	return 0;
}

static int reply_attr(struct fuse_req *req, const struct stat *st)
{
	struct fuse_attr_out *out = req_reply(req, sizeof(*out));

	out->attr_valid = fuse_valid_seconds(req->inode);
	fuse_fill_attr(req->fuse, &out->attr, st);
	return 0;
}

int fuse_do_getattr(struct fuse_req *req)
{
	struct stat st;
	int ret = fuse_stat(req->fuse, req->inode, &st);

	return ret ? ret : reply_attr(req, &st);
}

struct fuse_fd_name fuse_fd_name(int fd)
{
	struct fuse_fd_name name;

	snprintf(name.text, sizeof(name.text), "%d", fd);
	return name;
}

int fuse_drop_suid(int fd)
{
	struct stat st;
	mode_t drop;

	if (fstat(fd, &st))
		return -errno;
	drop = st.st_mode & S_ISUID;
	if ((st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		drop |= S_ISGID;
	if (drop && fchmod(fd, st.st_mode & 07777 & ~drop))
		return -errno;
	return 0;
}

void fuse_own_new(struct fuse_req *req, int fd, const struct stat *dir_st, struct stat *st)
{
	struct fuse *fuse = req->fuse;
	gid_t gid;

	if (!fuse_may_give(fuse))
		return;
	gid = dir_st->st_mode & S_ISGID ? st->st_gid : req->head.gid;
	if (st->st_uid == req->head.uid && st->st_gid == gid)
		return;
	/* Root without CAP_CHOWN (dropped by the sandbox) keeps the file: as good as it gets, and as if not root. */
	if (fchownat(fd, "", req->head.uid, gid, AT_EMPTY_PATH))
		return;
	/* A change of owner clears these, also for root. */
	if (st->st_mode & (S_ISUID | S_ISGID) && !S_ISLNK(st->st_mode))
		fchmodat(fuse->proc_fd, fuse_fd_name(fd).text, st->st_mode & 07777, 0);
	fstat(fd, st);
}

/* The host's id for what the guest wants: -1 when nothing is to be changed. 0 or -EPERM. */
static int id_wanted(const struct fuse *fuse, uint32_t now, uint32_t own, uint32_t guest, uint32_t *id)
{
	*id = UINT32_MAX;
	if (guest == id_shown(fuse, now, own))
		return 0;
	if (fuse->uid != 0 && guest != 0)
		return -EPERM;
	*id = fuse->uid == 0 ? guest : own;
	return 0;
}

static int set_owner(const struct fuse *fuse, int fd, const struct fuse_setattr_in *in)
{
	uint32_t uid = UINT32_MAX, gid = UINT32_MAX;
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if ((in->valid & FATTR_UID && id_wanted(fuse, st.st_uid, fuse->uid, in->uid, &uid)) ||
	    (in->valid & FATTR_GID && id_wanted(fuse, st.st_gid, fuse->gid, in->gid, &gid)))
		return -EPERM;
	if (uid == UINT32_MAX && gid == UINT32_MAX)
		return 0;
	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) ? -errno : 0;
}

static int set_size(struct fuse_req *req, const struct fuse_setattr_in *in)
{
	struct fuse_handle *handle = NULL;
	int fd, ret = 0;

	if (in->valid & FATTR_FH) {
		handle = fuse_handle_get(req, in->fh, false);
		if (!handle || !handle->writable)
			return -EBADF;
	}
	fd = handle ? handle->fd : fuse_reopen(req->fuse, req->inode, O_WRONLY);
	if (fd < 0)
		return fd;
	if (in->valid & FATTR_KILL_SUIDGID)
		ret = fuse_drop_suid(fd);
	if (!ret && ftruncate(fd, (off_t)in->size))
		ret = -errno;
	if (!handle)
		close(fd);
	return ret;
}

static int pick_time(const struct fuse_setattr_in *in, uint32_t set, uint32_t now, uint64_t s, uint32_t ns,
		     struct timespec *time)
{
	*time = (struct timespec){.tv_nsec = UTIME_OMIT};
	if (in->valid & now) {
		time->tv_nsec = UTIME_NOW;
	} else if (in->valid & set) {
		if (ns >= 1000000000)
			return -EINVAL;
		*time = (struct timespec){.tv_sec = (time_t)s, .tv_nsec = ns};
	}
	return 0;
}

static int set_times(struct fuse_req *req, int fd, const struct fuse_setattr_in *in)
{
	struct timespec times[2];

	if (pick_time(in, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec, &times[0]) ||
	    pick_time(in, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec, &times[1]))
		return -EINVAL;
	return utimensat(req->fuse->proc_fd, fuse_fd_name(fd).text, times, 0) ? -errno : 0;
}

/* Owner before mode: a change of owner clears the set-id bits that the mode may be about to set. */
int fuse_do_setattr(struct fuse_req *req)
{
	const struct fuse_setattr_in *in = req_take(req, sizeof(*in));
	int fd = inode_fd(&req->fuse->inodes, req->inode), ret = 0;
	struct stat st;

	if (fd < 0)
		return fd;
	if (in->valid & (FATTR_UID | FATTR_GID))
		ret = set_owner(req->fuse, fd, in);
	if (!ret && in->valid & FATTR_MODE &&
	    fchmodat(req->fuse->proc_fd, fuse_fd_name(fd).text, in->mode & 07777, 0))
		ret = -errno;
	if (!ret && in->valid & FATTR_SIZE)
		ret = set_size(req, in);
	if (!ret && in->valid & (FATTR_ATIME | FATTR_ATIME_NOW | FATTR_MTIME | FATTR_MTIME_NOW))
		ret = set_times(req, fd, in);
	if (!ret && fstat(fd, &st))
		ret = -errno;
	return ret ? ret : reply_attr(req, &st);
}

int fuse_do_statfs(struct fuse_req *req)
{
	struct fuse_statfs_out *out = req_reply(req, sizeof(*out));
	struct statfs sf = {.f_bsize = 4096, .f_frsize = 4096, .f_namelen = 255};
	int fd;

	if (!inode_is_root(req->inode)) {
		fd = inode_fd(&req->fuse->inodes, req->inode);
		if (fd < 0)
			return fd;
		if (fstatfs(fd, &sf))
			return -errno;
	}
	out->st = (struct fuse_kstatfs){
		.blocks = sf.f_blocks,
		.bfree = sf.f_bfree,
		.bavail = sf.f_bavail,
		.files = sf.f_files,
		.ffree = sf.f_ffree,
		.bsize = (uint32_t)sf.f_bsize,
		.namelen = (uint32_t)sf.f_namelen,
		.frsize = (uint32_t)sf.f_frsize,
	};
	return 0;
}

static int sync_share(struct fuse *fuse, const struct fuse_share *share)
{
	int fd = openat(fuse->proc_fd, fuse_fd_name(share->fd).text, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), ret;

	if (fd < 0)
		return -errno;
	ret = syncfs(fd) ? -errno : 0;
	close(fd);
	return ret;
}

/* For sync(1) and syncfs(2): the guest knows one file system, so all that it may write to. */
int fuse_do_syncfs(struct fuse_req *req)
{
	struct fuse_inodes *inodes = &req->fuse->inodes;
	int ret = 0, one;
	unsigned i;

	for (i = 0; i < inodes->share_count; i++) {
		if (inodes->shares[i].read_only)
			continue;
		one = sync_share(req->fuse, &inodes->shares[i]);
		if (!ret)
			ret = one;
	}
	return ret;
}

/* The guest's kernel checks modes itself and hardly asks; this tells whether podvm could. */
int fuse_do_access(struct fuse_req *req)
{
	const struct fuse_access_in *in = req_take(req, sizeof(*in));
	int fd;

	if (in->mask & ~(uint32_t)(R_OK | W_OK | X_OK))
		return -EINVAL;
	if (in->mask & W_OK && inode_read_only(req->inode))
		return -EROFS;
	if (inode_is_root(req->inode))
		return 0;
	fd = inode_fd(&req->fuse->inodes, req->inode);
	if (fd < 0)
		return fd;
	return faccessat(req->fuse->proc_fd, fuse_fd_name(fd).text, (int)in->mask, 0) ? -errno : 0;
}
