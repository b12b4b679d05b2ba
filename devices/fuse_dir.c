/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_dir: reading directories, the device's root among them. Must not know how open files are served.
 *
 * The guest names a position (the d_off of the last entry it got) with every READDIR. Where it is the one the last reply
 * ended with, the listing goes on with the entries that did not fit then and the host's own position behind them, and
 * seeks only for others: on tmpfs a position counts the entries that are left, so a seek while a program deletes what
 * it lists (rm -r) skips some. What is kept has a limit; beyond it the listing seeks.
 *
 * READDIRPLUS adds to every name what a LOOKUP would have said, which costs a stat and no
 * descriptor; when many inodes are held already it gives names only, and the guest looks up what it needs.
 */
#include "devices/fuse_req.h"

#include "lib/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* getdents64(2), which musl does not declare under this name. */
struct host_dirent {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

enum {
	HOST_READ_MIN = 512,  /* room for one entry whatever its name */
	PLUS_ENTRY_RATIO = 4, /* an entry with attributes is some four times as long as the host's */
	REST_BYTES_MAX = 1 << 20, /* of all open directories together */
};

/* Must be sought first; lseek(2) refuses it. */
static const uint64_t OFFSET_UNKNOWN = UINT64_MAX;

/* A reply in the making. */
struct listing {
	struct fuse_req *req;
	bool plus;
	size_t room, used;
};

int fuse_do_opendir(struct fuse_req *req)
{
	struct fuse_open_out *out = req_reply(req, sizeof(*out));
	int fd = -1;

	if (!inode_is_root(req->inode) && !req->inode->sealed) {
		fd = fuse_reopen(req->fuse, req->inode, O_RDONLY | O_DIRECTORY);
		if (fd < 0)
			return fd;
		if (inode_read_only(req->inode))
			out->open_flags = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE;
	}
	return fuse_handle_add(req->fuse, req->inode, fd, true, false, &out->fh);
}

int fuse_do_releasedir(struct fuse_req *req)
{
	const struct fuse_release_in *in = req_take(req, sizeof(*in));
	struct fuse_handle *handle = fuse_handle_get(req, in->fh, true);

	if (!handle)
		return -EBADF;
	fuse_handle_close(req->fuse, handle);
	return 0;
}

/* Node 0 tells the guest that nothing is known of the entry but its name. */
static void fill_plus(struct listing *list, const char *name, struct fuse_entry_out *entry)
{
	struct fuse_inodes *inodes = &list->req->fuse->inodes;
	struct fuse_inode *inode;
	struct stat st;

	if (inode_name_check(name) || inodes->slots.count > inodes->slots.limit / 4 * 3)
		return;
	if (!inode_lookup(inodes, list->req->inode, name, &inode, &st))
		fuse_fill_entry(list->req->fuse, entry, inode, &st);
}

/* False when it does not fit. */
static bool list_add(struct listing *list, const char *name, uint64_t ino, uint32_t type, uint64_t off)
{
	size_t name_bytes = strlen(name), head = list->plus ? sizeof(struct fuse_entry_out) : 0;
	size_t bytes = FUSE_REC_ALIGN(head + offsetof(struct fuse_dirent, name) + name_bytes);
	uint8_t *at = list->req->fuse->reply + list->used;
	struct fuse_dirent *dirent = (struct fuse_dirent *)(at + head);

	if (bytes > list->room - list->used)
		return false;
	memset(at, 0, bytes);
	dirent->ino = ino;
	dirent->off = off;
	dirent->namelen = (uint32_t)name_bytes;
	dirent->type = type;
	memcpy(dirent->name, name, name_bytes);
	if (list->plus)
		fill_plus(list, name, (struct fuse_entry_out *)at);
	list->used += bytes;
	return true;
}

static int list_root(struct listing *list, uint64_t offset)
{
	struct fuse_inodes *inodes = &list->req->fuse->inodes;
	const char *name;
	struct stat st;

	for (; offset < 2 + (uint64_t)inodes->share_count; offset++) {
		name = !offset ? "." : offset == 1 ? ".." : inodes->shares[offset - 2].name;
		st.st_mode = S_IFDIR;
		st.st_dev = inodes->devs.devs[0];
		st.st_ino = FUSE_ROOT_ID;
		if (offset >= 2 && fstat(inodes->shares[offset - 2].fd, &st))
			return -errno;
		if (!list_add(list, name, inodes_number(inodes, st.st_dev, st.st_ino), st.st_mode >> 12, offset + 1))
			return list->used ? 0 : -EINVAL;
	}
	return 0;
}

/* A name no directory may hold: from a broken or hostile file system of the host's. */
static bool is_bad_name(const char *name)
{
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && inode_name_check(name);
}

/* Packs the host's entries: how many bytes of them the reply took. */
static size_t list_host_entries(struct listing *list, struct fuse_handle *handle, const uint8_t *buffer, size_t bytes)
{
	struct fuse_inode *dir = list->req->inode;
	const struct host_dirent *entry;
	size_t at;

	for (at = 0; at < bytes; at += entry->reclen) {
		entry = (const struct host_dirent *)(buffer + at);
		if (!is_bad_name(entry->name) &&
		    !list_add(list, entry->name, inodes_number(&list->req->fuse->inodes, dir->dev, entry->ino),
			      entry->type, (uint64_t)entry->off))
			break;
		handle->dir_offset = (uint64_t)entry->off;
	}
	return at;
}

void fuse_dir_rest_drop(struct fuse *fuse, struct fuse_handle *handle)
{
	fuse->rest_bytes -= handle->rest_bytes;
	free(handle->rest);
	handle->rest = NULL;
	handle->rest_bytes = 0;
}

static void rest_keep(struct fuse *fuse, struct fuse_handle *handle, const uint8_t *entries, size_t bytes)
{
	if (bytes > REST_BYTES_MAX - fuse->rest_bytes) {
		handle->dir_offset = OFFSET_UNKNOWN;
		return;
	}
	handle->rest = xmalloc(bytes);
	memcpy(handle->rest, entries, bytes);
	handle->rest_bytes = bytes;
	fuse->rest_bytes += bytes;
}

/* The entries that did not fit in the last reply. False when there are more of them than fit in this one. */
static bool list_rest(struct listing *list, struct fuse_handle *handle)
{
	struct fuse *fuse = list->req->fuse;
	size_t bytes = handle->rest_bytes, taken;

	memcpy(fuse->scratch, handle->rest, bytes);
	fuse_dir_rest_drop(fuse, handle);
	taken = list_host_entries(list, handle, fuse->scratch, bytes);
	if (taken < bytes)
		rest_keep(fuse, handle, fuse->scratch + taken, bytes - taken);
	return taken == bytes;
}

static int list_seek(struct listing *list, struct fuse_handle *handle, uint64_t offset)
{
	fuse_dir_rest_drop(list->req->fuse, handle);
	handle->dir_offset = OFFSET_UNKNOWN;
	if (lseek(handle->fd, (off_t)offset, SEEK_SET) < 0)
		return -errno;
	handle->dir_offset = offset;
	return 0;
}

static int list_host(struct listing *list, struct fuse_handle *handle, uint64_t offset)
{
	struct fuse *fuse = list->req->fuse;
	size_t want, taken;
	long bytes;
	int ret;

	if (offset != handle->dir_offset || offset == OFFSET_UNKNOWN) {
		ret = list_seek(list, handle, offset);
		if (ret)
			return ret;
	}
	if (handle->rest && !list_rest(list, handle))
		return list->used ? 0 : -EINVAL;
	for (;;) {
		want = (list->room - list->used) / (list->plus ? PLUS_ENTRY_RATIO : 1);
		bytes = syscall(SYS_getdents64, handle->fd, fuse->scratch,
				MIN(MAX(want, HOST_READ_MIN), sizeof(fuse->scratch)));
		if (bytes < 0)
			return list->used ? 0 : -errno;
		if (!bytes)
			return 0;
		taken = list_host_entries(list, handle, fuse->scratch, (size_t)bytes);
		if (taken < (size_t)bytes) {
			rest_keep(fuse, handle, fuse->scratch + taken, (size_t)bytes - taken);
			return list->used ? 0 : -EINVAL;
		}
	}
}

static int read_dir(struct fuse_req *req, bool plus)
{
	const struct fuse_read_in *in = req_take(req, sizeof(*in));
	struct fuse_handle *handle = fuse_handle_get(req, in->fh, true);
	struct listing list = {.req = req, .plus = plus};
	int ret;

	if (!handle)
		return -EBADF;
	list.room = MIN(MIN(in->size, req->in_room), FUSE_REPLY_BYTES_MAX);
	if (req->inode->sealed)
		return 0;
	ret = inode_is_root(req->inode) ? list_root(&list, in->offset) : list_host(&list, handle, in->offset);
	req->reply_bytes = list.used;
	return ret;
}

int fuse_do_readdir(struct fuse_req *req)
{
	return read_dir(req, false);
}

int fuse_do_readdirplus(struct fuse_req *req)
{
	return read_dir(req, true);
}
