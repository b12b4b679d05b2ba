/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse: a FUSE file server (protocol of linux/fuse.h) for host directories. One request in plain buffers goes in, one
 * reply comes out; it does not know what carried them (devices/fs.c: a virtqueue; a test: an array).
 *
 * What the server promises is in devices/fs.h. File I/O happens inside the request, on the caller's thread, which may
 * block as long as the host's file system does.
 */
#ifndef DEVICES_FUSE_H
#define DEVICES_FUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum {
	FUSE_SHARES_MAX = 64,
	FUSE_SHARE_NAME_MAX = 32,
	FUSE_INODES_MAX = 1 << 20,
	FUSE_IOV_MAX = 256,		/* buffers looked at on either side; what lies beyond is not used */
	FUSE_DATA_BYTES_MAX = 1 << 20,	/* payload of one READ or WRITE */
};

/* How much a guest can make us hold. All at least 1, inodes and handles at most FUSE_INODES_MAX. */
struct fuse_limits {
	unsigned inodes;       /* files the guest may know of at a time */
	unsigned inode_fds;    /* descriptors kept for them between requests */
	unsigned inode_fds_max; /* never more than this: some can not be given up (open or unlinked files) */
	unsigned handles;      /* open files and directories, a descriptor each */
};

struct fuse;
/*
 * Needs /proc/self/fd, which is opened here and held: call it in the process that will serve (after the last fork),
 * before /proc goes away. NULL with errno set when it can not be had.
 */
struct fuse *fuse_new(const struct fuse_limits *limits);
void fuse_free(struct fuse *fuse);

/*
 * path (links in it are followed: it is the host's word) appears as /name. It must be a directory or a regular file.
 * 0 or -errno of opening; -EINVAL for another kind of file or a bad name, -EEXIST, -ENOSPC.
 */
int fuse_share_add(struct fuse *fuse, const char *name, const char *path, bool read_only);

/* What was agreed upon in the guest's FUSE_INIT; all 0 before it. Plain data. */
struct fuse_state {
	uint32_t minor, flags;
};
/* -EBUSY when the guest knows a file or has one open: what that means on another day nobody can tell. */
int fuse_save(const struct fuse *fuse, struct fuse_state *state);
/* Into a server that has served nothing yet. Not trusted: 0, or -EINVAL and nothing has changed. */
int fuse_load(struct fuse *fuse, const struct fuse_state *state);

/* Forgets all the guest knew and had open; shares stay. */
void fuse_reset(struct fuse *fuse);

/*
 * Serves one request. out holds the request, in takes the reply. Their memory may change under our hands: header and
 * arguments are copied once. Returns bytes written to in, 0 for requests that have no reply, or -EPROTO when there is
 * not even a header to read or room for one to answer with (nothing was done then).
 */
ssize_t fuse_handle(struct fuse *fuse, const struct iovec *out, unsigned out_count, const struct iovec *in,
		    unsigned in_count);

#endif
