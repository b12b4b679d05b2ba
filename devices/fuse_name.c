/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_name: the operations on names in directories. Must not know open files or the reply's framing.
 *
 * Each takes one name (or two) and acts with an *at() call on the directory's descriptor; none follows a link. Files
 * are made by podvm and then given to the requester: fuse_own_new().
 */
#include "devices/fuse_req.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE /* musl has neither these nor the call */
#define RENAME_NOREPLACE (1 << 0)
#define RENAME_EXCHANGE (1 << 1)
#define RENAME_WHITEOUT (1 << 2)
#endif

int fuse_do_lookup(struct fuse_req *req)
{
	struct fuse_entry_out *entry = req_reply(req, sizeof(*entry));
	struct fuse_inode *inode;
	const char *name;
	struct stat st;
	int ret;

	ret = req_take_name(req, &name);
	if (ret)
		return ret;
	ret = inode_lookup(&req->fuse->inodes, req->inode, name, &inode, &st);
	if (!ret) {
		fuse_fill_entry(req->fuse, entry, inode, &st);
		return 0;
	}
	/* Node 0 lets the guest remember that there is no such file: half of all lookups along a search path. */
	if (ret == -ENOENT && !inode_is_root(req->inode) && inode_read_only(req->inode)) {
		entry->entry_valid = fuse_valid_seconds(req->inode);
		return 0;
	}
	return ret;
}

static void forget(struct fuse_req *req, uint64_t nodeid, uint64_t nlookup)
{
	struct fuse_inode *inode = inode_get(&req->fuse->inodes, nodeid);

	if (inode && !inode_is_root(inode))
		inode_forget(&req->fuse->inodes, inode, nlookup);
}

int fuse_do_forget(struct fuse_req *req)
{
	const struct fuse_forget_in *in = req_take(req, sizeof(*in));

	forget(req, req->head.nodeid, in->nlookup);
	return 0;
}

int fuse_do_batch_forget(struct fuse_req *req)
{
	const struct fuse_batch_forget_in *in = req_take(req, sizeof(*in));
	const struct fuse_forget_one *one;
	uint32_t i;

	for (i = 0; i < in->count && (one = req_take(req, sizeof(*one))); i++)
		forget(req, one->nodeid, one->nlookup);
	return 0;
}

int fuse_do_readlink(struct fuse_req *req)
{
	size_t room = MIN(req->in_room, PATH_MAX);
	ssize_t bytes;
	int fd;

	if (!S_ISLNK(req->inode->type))
		return -EINVAL;
	fd = inode_fd(&req->fuse->inodes, req->inode);
	if (fd < 0)
		return fd;
	if (!room)
		return -EINVAL;
	bytes = readlinkat(fd, "", (char *)req->fuse->reply, room);
	if (bytes < 0)
		return -errno;
	req->reply_bytes = (size_t)bytes;
	return 0;
}

/* The directory and, as seen before the name was made, its attributes, where fuse_own_new() needs them. */
static int dir_open(struct fuse_req *req, struct stat *st)
{
	int fd = inode_fd(&req->fuse->inodes, req->inode);

	if (fd >= 0 && fuse_may_give(req->fuse) && fstat(fd, st))
		return -errno;
	return fd;
}

/*
 * Replies with the entry for a name that was just made. It is given to the requester only when it still is what we
 * made: of our type and our owner. In a directory others can write to, they may have put something else there.
 */
static int reply_made(struct fuse_req *req, const char *name, const struct stat *dir_st, mode_t mode)
{
	struct fuse_inode *inode;
	struct stat st;
	int fd, ret;

	fd = inode_fd(&req->fuse->inodes, req->inode);
	if (fd < 0)
		return fd;
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	ret = inode_made(&req->fuse->inodes, req->inode, name, &st, &inode);
	if (ret)
		return ret;
	if (fuse_may_give(req->fuse) && st.st_uid == req->fuse->uid && (st.st_mode & S_IFMT) == (mode & S_IFMT)) {
		fd = inode_fd(&req->fuse->inodes, inode);
		if (fd >= 0)
			fuse_own_new(req, fd, dir_st, &st);
	}
	fuse_fill_entry(req->fuse, req_reply(req, sizeof(struct fuse_entry_out)), inode, &st);
	return 0;
}

int fuse_do_symlink(struct fuse_req *req)
{
	const char *name, *target;
	struct stat dir_st;
	int dirfd, ret;

	ret = req_take_name(req, &name);
	if (!ret)
		ret = req_take_text(req, &target);
	if (ret)
		return ret;
	dirfd = dir_open(req, &dir_st);
	if (dirfd < 0)
		return dirfd;
	if (symlinkat(target, dirfd, name))
		return -errno;
	return reply_made(req, name, &dir_st, S_IFLNK);
}

/* Regular files, fifos and sockets; of devices only 0:0, overlayfs' whiteout, that no driver answers to. */
static bool may_make(mode_t mode, uint32_t rdev)
{
	return S_ISREG(mode) || S_ISFIFO(mode) || S_ISSOCK(mode) || (S_ISCHR(mode) && !rdev);
}

int fuse_do_mknod(struct fuse_req *req)
{
	const struct fuse_mknod_in *in = req_take(req, sizeof(*in));
	mode_t mode = in->mode & (S_IFMT | 07777);
	const char *name;
	struct stat dir_st;
	int dirfd, ret;

	ret = req_take_name(req, &name);
	if (ret)
		return ret;
	if (!may_make(mode, in->rdev))
		return -EPERM;
	dirfd = dir_open(req, &dir_st);
	if (dirfd < 0)
		return dirfd;
	if (mknodat(dirfd, name, mode, 0))
		return -errno;
	return reply_made(req, name, &dir_st, mode);
}

int fuse_do_mkdir(struct fuse_req *req)
{
	const struct fuse_mkdir_in *in = req_take(req, sizeof(*in));
	const char *name;
	struct stat dir_st;
	int dirfd, ret;

	ret = req_take_name(req, &name);
	if (ret)
		return ret;
	dirfd = dir_open(req, &dir_st);
	if (dirfd < 0)
		return dirfd;
	if (mkdirat(dirfd, name, in->mode & 07777))
		return -errno;
	return reply_made(req, name, &dir_st, S_IFDIR);
}

static int remove_name(struct fuse_req *req, int flags)
{
	struct fuse_inodes *inodes = &req->fuse->inodes;
	struct fuse_inode *victim;
	const char *name;
	int dirfd, ret;

	ret = req_take_name(req, &name);
	if (ret)
		return ret;
	dirfd = inode_fd(inodes, req->inode);
	if (dirfd < 0)
		return dirfd;
	victim = inode_known(inodes, req->inode, name);
	inode_pin(inodes, victim);
	if (unlinkat(dirfd, name, flags))
		return -errno;
	inode_name_gone(inodes, victim, req->inode, name);
	return 0;
}

int fuse_do_unlink(struct fuse_req *req)
{
	return remove_name(req, 0);
}

int fuse_do_rmdir(struct fuse_req *req)
{
	return remove_name(req, AT_REMOVEDIR);
}

/* The second directory of a rename, or the file of a link: known, and in the same share. */
static int other_node(struct fuse_req *req, uint64_t nodeid, struct fuse_inode **other)
{
	*other = inode_get(&req->fuse->inodes, nodeid);
	if (!*other)
		return -ESTALE;
	return (*other)->share == req->inode->share ? 0 : -EXDEV;
}

static int rename_name(struct fuse_req *req, uint64_t newdir_id, uint32_t flags)
{
	struct fuse_inodes *inodes = &req->fuse->inodes;
	struct fuse_inode *newdir, *moved, *victim;
	const char *old, *new;
	int oldfd, newfd, ret;

	ret = req_take_name(req, &old);
	if (!ret)
		ret = req_take_name(req, &new);
	if (!ret)
		ret = other_node(req, newdir_id, &newdir);
	if (ret)
		return ret;
	if (!S_ISDIR(newdir->type))
		return -ENOTDIR;
	if (inode_read_only(newdir))
		return -EROFS;
	oldfd = inode_fd(inodes, req->inode);
	newfd = oldfd < 0 ? oldfd : inode_fd(inodes, newdir);
	if (newfd < 0)
		return newfd;
	moved = inode_known(inodes, req->inode, old);
	victim = inode_known(inodes, newdir, new);
	inode_pin(inodes, victim);
	if (syscall(SYS_renameat2, oldfd, old, newfd, new, flags))
		return -errno;
	if (flags & RENAME_EXCHANGE)
		inode_name_set(inodes, victim, req->inode, old);
	else
		inode_name_gone(inodes, victim, newdir, new);
	inode_name_set(inodes, moved, newdir, new);
	return 0;
}

int fuse_do_rename(struct fuse_req *req)
{
	const struct fuse_rename_in *in = req_take(req, sizeof(*in));

	return rename_name(req, in->newdir, 0);
}

int fuse_do_rename2(struct fuse_req *req)
{
	const struct fuse_rename2_in *in = req_take(req, sizeof(*in));

	if (in->flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
		return -EINVAL;
	return rename_name(req, in->newdir, in->flags);
}

int fuse_do_link(struct fuse_req *req)
{
	const struct fuse_link_in *in = req_take(req, sizeof(*in));
	struct fuse_inode *file, *inode;
	const char *name;
	struct stat st;
	int fd, dirfd, ret;

	ret = req_take_name(req, &name);
	if (!ret)
		ret = other_node(req, in->oldnodeid, &file);
	if (ret)
		return ret;
	fd = inode_fd(&req->fuse->inodes, file);
	dirfd = fd < 0 ? fd : inode_fd(&req->fuse->inodes, req->inode);
	if (dirfd < 0)
		return dirfd;
	/* AT_SYMLINK_FOLLOW follows /proc's link to the very file, also when that is a symbolic link; not further. */
	if (linkat(req->fuse->proc_fd, fuse_fd_name(fd).text, dirfd, name, AT_SYMLINK_FOLLOW))
		return -errno;
	ret = inode_lookup(&req->fuse->inodes, req->inode, name, &inode, &st);
	if (ret)
		return ret;
	fuse_fill_entry(req->fuse, req_reply(req, sizeof(struct fuse_entry_out)), inode, &st);
	return 0;
}
