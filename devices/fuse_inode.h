/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_inode: the files a guest knows of, and the shares they lie in. Turns a node number into a descriptor and a
 * directory plus one name into a node. Knows host files; not requests, not open files.
 */
#ifndef DEVICES_FUSE_INODE_H
#define DEVICES_FUSE_INODE_H

#include "devices/fuse.h"
#include "devices/fuse_devs.h"
#include "devices/fuse_slots.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct fuse_share {
	char name[FUSE_SHARE_NAME_MAX + 1];
	int fd; /* O_PATH */
	uint64_t dev;
	bool read_only;
};

struct fuse_inode {
	struct fuse_slot slot; /* slot.id is the node number */
	uint64_t nlookup;      /* references the guest holds */
	uint64_t dev, ino;
	uint32_t type;	      /* S_IFMT bits: a change of type makes another inode */
	unsigned refs;	      /* children and open handles, that need this struct */
	unsigned opens;	      /* open handles: fd stays meanwhile */
	int fd;		      /* O_PATH, or -1: inode_fd() opens it */
	bool fd_borrowed;     /* fd is the share's */
	bool hashed;	      /* found by (share, dev, ino) */
	bool sealed;	      /* of a file system of the host's kernel: shown, empty, never opened */
	struct fuse_share *share; /* NULL only for the device's root */
	struct fuse_inode *parent; /* where it was last seen; NULL: no name known, then fd can not be reopened */
	char *name;
	struct fuse_inode *hash_next;
	struct fuse_inode *newer, *older; /* list of those whose fd may be closed */
	bool listed;
	/* content as of the last open, to tell whether the guest's cache is still good (fuse_file.c) */
	int64_t seen_ctime_s, seen_ctime_ns, seen_size;
	bool seen_settled;
};

struct fuse_inodes {
	struct fuse_share shares[FUSE_SHARES_MAX];
	unsigned share_count;
	struct fuse_inode root;
	struct fuse_slots slots;
	struct fuse_inode **buckets;
	uint32_t bucket_count; /* a power of two */
	unsigned fds, fds_keep, fds_max;
	struct fuse_inode *newest, *oldest;
	bool no_openat2;
	struct fuse_devs devs;
};

void inodes_init(struct fuse_inodes *inodes, const struct fuse_limits *limits);
void inodes_fini(struct fuse_inodes *inodes);
/* Drops every inode but the root. No handle may be open. */
void inodes_reset(struct fuse_inodes *inodes);
int inodes_share_add(struct fuse_inodes *inodes, const char *name, const char *path, bool read_only);

/* NULL when the guest may not use this number (now). */
struct fuse_inode *inode_get(struct fuse_inodes *inodes, uint64_t nodeid);

static inline bool inode_read_only(const struct fuse_inode *inode)
{
	return !inode->share || inode->share->read_only || inode->sealed;
}

static inline bool inode_is_root(const struct fuse_inode *inode)
{
	return !inode->share;
}

/*
 * What a name in a directory is: 0 or -errno. The inode has no reference yet: inode_remember() gives the guest one;
 * without it, inode_drop_unused() must follow.
 */
int inode_lookup(struct fuse_inodes *inodes, struct fuse_inode *dir, const char *name, struct fuse_inode **inode,
		 struct stat *st);
/*
 * The same for a file just made, of which st is known: none that the guest knew before, even if it has the number of
 * one. name NULL: it has none (O_TMPFILE).
 */
int inode_made(struct fuse_inodes *inodes, struct fuse_inode *dir, const char *name, const struct stat *st,
	       struct fuse_inode **inode);
/* Its O_PATH descriptor, where one is at hand; taken. -1 does nothing. */
void inode_fd_give(struct fuse_inodes *inodes, struct fuse_inode *inode, int fd);
/* Like inode_lookup(), but only what the guest knows already; NULL otherwise. */
struct fuse_inode *inode_known(struct fuse_inodes *inodes, struct fuse_inode *dir, const char *name);

void inode_remember(struct fuse_inode *inode);
void inode_forget(struct fuse_inodes *inodes, struct fuse_inode *inode, uint64_t nlookup);
void inode_drop_unused(struct fuse_inodes *inodes, struct fuse_inode *inode);

/* An open handle needs inode and its fd. */
void inode_open_ref(struct fuse_inodes *inodes, struct fuse_inode *inode);
void inode_open_unref(struct fuse_inodes *inodes, struct fuse_inode *inode);

/* Its O_PATH descriptor, good until inodes_trim(); or -errno, -ESTALE when the host changed what the name means. */
int inode_fd(struct fuse_inodes *inodes, struct fuse_inode *inode);
int inode_stat(struct fuse_inodes *inodes, struct fuse_inode *inode, struct stat *st);

/* The name (dir, name) is about to go: keep what the guest may still hold of inode. May be NULL. */
void inode_pin(struct fuse_inodes *inodes, struct fuse_inode *inode);
/* The name is gone, or now means inode. May be NULL. */
void inode_name_gone(struct fuse_inodes *inodes, struct fuse_inode *inode, struct fuse_inode *dir, const char *name);
void inode_name_set(struct fuse_inodes *inodes, struct fuse_inode *inode, struct fuse_inode *dir, const char *name);

/* Closes descriptors nobody needs, down to the limit. Between requests. */
void inodes_trim(struct fuse_inodes *inodes);

/* Inode number for the guest: the host's, told apart by device (the guest sees a single one). */
uint64_t inodes_number(struct fuse_inodes *inodes, uint64_t dev, uint64_t ino);

/* One component: not empty, not "." or "..", no '/', at most NAME_MAX bytes. 0, -EINVAL, -ENAMETOOLONG. */
int inode_name_check(const char *name);

#endif
