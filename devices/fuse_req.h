/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_req: one request as the handlers see it. Between devices/fuse*.c only.
 *
 * Before a handler runs the dispatcher has copied the arguments, checked that the fixed part is there and that the
 * reply's fixed part has room, resolved the node, and refused what the table in fuse.c says a share does not allow.
 */
#ifndef DEVICES_FUSE_REQ_H
#define DEVICES_FUSE_REQ_H

#include "devices/fuse.h"
#include "devices/fuse_inode.h"
#include "devices/fuse_slots.h"

#include <linux/fuse.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	FUSE_ARGS_BYTES_MAX = 65536 + 1024, /* the longest is SETXATTR: a value of 64 KiB and a name */
	FUSE_REPLY_BYTES_MAX = 65536,	    /* all but READ, which goes straight to the guest */
};

/* An open file or directory. */
struct fuse_handle {
	struct fuse_slot slot; /* slot.id is fh */
	struct fuse_inode *inode;
	int fd; /* -1: the device's root */
	bool dir, writable;
	bool append; /* fd has O_APPEND now */
	/* Of a directory (fuse_dir.c): the position of the next entry to send, and entries read but not sent yet. */
	uint64_t dir_offset;
	uint8_t *rest;
	size_t rest_bytes;
};

struct fuse {
	struct fuse_inodes inodes;
	struct fuse_slots handles;
	int proc_fd;	/* /proc/self/fd */
	uid_t uid;	/* podvm's own; when not root they are the guest's 0, see fuse_attr.c */
	gid_t gid;
	uint32_t minor, flags; /* of FUSE_INIT */
	size_t rest_bytes;     /* in the handles of directories */
	_Alignas(8) uint8_t args[FUSE_ARGS_BYTES_MAX];
	_Alignas(8) uint8_t reply[FUSE_REPLY_BYTES_MAX];
	_Alignas(8) uint8_t scratch[FUSE_REPLY_BYTES_MAX];
};

struct fuse_req {
	struct fuse *fuse;
	struct fuse_in_header head;
	struct fuse_inode *inode; /* that head.nodeid names */
	const uint8_t *args;
	size_t args_bytes, args_used;
	const struct iovec *out; /* the whole request, for WRITE's payload */
	unsigned out_count;
	size_t data_bytes; /* of payload behind the fixed part, not copied */
	const struct iovec *in;
	unsigned in_count;
	size_t in_room;	    /* for what follows the reply's header */
	size_t reply_bytes; /* of fuse->reply to send, or already in place */
	bool reply_in_place;
};

/* 0 or -errno, which is the reply then. */
typedef int fuse_handler(struct fuse_req *req);

fuse_handler fuse_do_lookup, fuse_do_forget, fuse_do_batch_forget, fuse_do_readlink, fuse_do_symlink, fuse_do_mknod,
	fuse_do_mkdir, fuse_do_unlink, fuse_do_rmdir, fuse_do_rename, fuse_do_rename2, fuse_do_link;
fuse_handler fuse_do_getattr, fuse_do_setattr, fuse_do_statfs, fuse_do_syncfs, fuse_do_access;
fuse_handler fuse_do_setxattr, fuse_do_getxattr, fuse_do_listxattr, fuse_do_removexattr;
fuse_handler fuse_do_open, fuse_do_read, fuse_do_write, fuse_do_release, fuse_do_fsync, fuse_do_flush, fuse_do_create,
	fuse_do_tmpfile, fuse_do_fallocate, fuse_do_lseek, fuse_do_copy_file_range;
fuse_handler fuse_do_opendir, fuse_do_readdir, fuse_do_readdirplus, fuse_do_releasedir;
/* Forgets entries read ahead (fuse_dir.c). */
void fuse_dir_rest_drop(struct fuse *fuse, struct fuse_handle *handle);

/* Arguments (fuse.c). req_take(): the next bytes, NULL when fewer are left. */
const void *req_take(struct fuse_req *req, size_t bytes);
/* The next NUL-terminated text. 0, -EINVAL when it does not end in the request. */
int req_take_text(struct fuse_req *req, const char **text);
/* The same for a name of one component, checked. */
int req_take_name(struct fuse_req *req, const char **name);
/* Zeroed room for a reply of this size, at most FUSE_REPLY_BYTES_MAX. */
void *req_reply(struct fuse_req *req, size_t bytes);

/* Copies of or views into scattered buffers (fuse.c): bytes copied, iovecs filled. */
size_t fuse_iov_read(const struct iovec *iov, unsigned count, size_t skip, void *dst, size_t bytes);
size_t fuse_iov_write(const struct iovec *iov, unsigned count, size_t skip, const void *src, size_t bytes);
unsigned fuse_iov_slice(const struct iovec *iov, unsigned count, size_t skip, size_t bytes, struct iovec *slice);

/* Attributes as told to the guest (fuse_attr.c). The entry counts as a reference of the guest's. */
void fuse_fill_attr(struct fuse *fuse, struct fuse_attr *attr, const struct stat *st);
void fuse_fill_entry(struct fuse *fuse, struct fuse_entry_out *entry, struct fuse_inode *inode, const struct stat *st);
uint64_t fuse_valid_seconds(const struct fuse_inode *inode);
int fuse_stat(struct fuse *fuse, struct fuse_inode *inode, struct stat *st);
/*
 * Gives a file just made by podvm (fd: any descriptor, O_PATH too) the requester's ids when podvm is root; st is
 * refreshed. dir_st: of its directory, whose set-group-id bit decides the group; unused when fuse_may_give() is false.
 */
void fuse_own_new(struct fuse_req *req, int fd, const struct stat *dir_st, struct stat *st);
static inline bool fuse_may_give(const struct fuse *fuse)
{
	return fuse->uid == 0;
}

/* Opens what an O_PATH descriptor stands for. Regular files and directories only, never blocking. fd or -errno. */
int fuse_reopen(struct fuse *fuse, struct fuse_inode *inode, int flags);
/* A text for the calls that take a name in fuse->proc_fd. */
struct fuse_fd_name {
	char text[12];
};
struct fuse_fd_name fuse_fd_name(int fd);
/* Is the requester somebody who loses set-id bits of what he writes to? */
static inline bool req_drops_suid(const struct fuse_req *req)
{
	return req->head.uid != 0;
}
/* Clears set-user-id, and set-group-id of group-executable files, as the kernel does for writers without CAP_FSETID. */
int fuse_drop_suid(int fd);

/* Open handles (fuse_file.c). Takes fd, also on failure. fh or -errno through the pointer's target. */
int fuse_handle_add(struct fuse *fuse, struct fuse_inode *inode, int fd, bool dir, bool writable, uint64_t *fh);
struct fuse_handle *fuse_handle_get(struct fuse_req *req, uint64_t fh, bool dir);
void fuse_handle_close(struct fuse *fuse, struct fuse_handle *handle);

#endif
