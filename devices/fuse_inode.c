/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_inode: owns shares, inodes and their O_PATH descriptors. Must not know requests or open files.
 *
 * Theory of operation
 *
 * A guest names a file by a node number, or by a directory's number and one name. We never walk a path: every step is
 * one name below the descriptor of a directory that the guest reached the same way, the name is neither ".." nor holds
 * a slash, and links are not followed. So what is reached lies in a share or was moved out of one by the host itself.
 * openat2(RESOLVE_BENEATH) says the same to the kernel once more.
 *
 * Mounts below a share belong to it, as with a recursive bind mount: the guest sees one file system, files of
 * different ones are told apart by their inode numbers, and a rename or link across is refused by the host (EXDEV).
 * Not what the host's kernel makes up, /proc above all: read there, a read-only share of "/" would give the memory of
 * every process of podvm's user. Such a mount is sealed: an empty directory. Unless it is the share itself: then
 * somebody asked for it.
 *
 * Identity is (share, device, inode number): a host directory shared twice, once read-only, gives two sets of inodes,
 * and what the guest may do with one never leaks into the other.
 *
 * Descriptors are scarce (a guest caches hundreds of thousands of files, RLIMIT_NOFILE may be 20,000) and each pins
 * host kernel memory. So an inode holds where it was last seen, (parent, name), and fd is only a cache: LOOKUP and
 * GETATTR of a child need none, the directory's will do. Reopening checks device, inode number and type; when they are
 * not what they were the answer is -ESTALE, upon which the guest's kernel looks the path up again. inodes_trim()
 * closes the least recently used between requests, never within one, so a handler may hold several. Not closed:
 * descriptors of open files, and of files without a name (unlinked: they could not be found again; while the
 * descriptor is held their inode number can not be used anew either). Rejected: a descriptor per inode (runs out),
 * file handles (need CAP_DAC_READ_SEARCH).
 *
 * A child holds its parent's struct (refs), so parents outlive children. The guest's idea of the tree and the host's
 * may differ, so a loop of parents is possible in principle: inode_name_set() refuses to make one.
 */
#include "devices/fuse_inode.h"

#include "lib/util.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	BUCKETS_MIN = 256,
	REOPEN_DEPTH_MAX = 512, /* closed directories in a row above a file */
	ANCESTORS_MAX = 4096,	/* looked at for a loop */
};

/* Identity and hash */

static uint32_t bucket_of(const struct fuse_inodes *inodes, const struct fuse_share *share, uint64_t dev, uint64_t ino)
{
	uint64_t h = ino * UINT64_C(0x9e3779b97f4a7c15) ^ dev * UINT64_C(0xc2b2ae3d27d4eb4f);

	h ^= (uint64_t)(share - inodes->shares) * UINT64_C(0x165667b19e3779f9);
	h ^= h >> 32;
	return (uint32_t)h & (inodes->bucket_count - 1);
}

static struct fuse_inode *hash_find(struct fuse_inodes *inodes, const struct fuse_share *share, uint64_t dev,
				    uint64_t ino)
{
	struct fuse_inode *inode = inodes->buckets[bucket_of(inodes, share, dev, ino)];

	while (inode && (inode->ino != ino || inode->dev != dev || inode->share != share))
		inode = inode->hash_next;
	return inode;
}

static void hash_link(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	struct fuse_inode **bucket = &inodes->buckets[bucket_of(inodes, inode->share, inode->dev, inode->ino)];

	inode->hash_next = *bucket;
	*bucket = inode;
	inode->hashed = true;
}

static void hash_unlink(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	struct fuse_inode **link;

	if (!inode->hashed)
		return;
	link = &inodes->buckets[bucket_of(inodes, inode->share, inode->dev, inode->ino)];
	while (*link != inode)
		link = &(*link)->hash_next;
	*link = inode->hash_next;
	inode->hashed = false;
}

static void hash_grow(struct fuse_inodes *inodes)
{
	struct fuse_inode **old = inodes->buckets, *inode, *next;
	uint32_t i, old_count = inodes->bucket_count;

	inodes->bucket_count = old_count ? old_count * 2 : BUCKETS_MIN;
	inodes->buckets = xcalloc(inodes->bucket_count, sizeof(inodes->buckets[0]));
	for (i = 0; i < old_count; i++) {
		for (inode = old[i]; inode; inode = next) {
			next = inode->hash_next;
			hash_link(inodes, inode);
		}
	}
	free(old);
}

/* The list of descriptors that may be closed */

static void list_remove(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	if (!inode->listed)
		return;
	*(inode->newer ? &inode->newer->older : &inodes->newest) = inode->older;
	*(inode->older ? &inode->older->newer : &inodes->oldest) = inode->newer;
	inode->newer = inode->older = NULL;
	inode->listed = false;
}

/* Puts inode where it belongs after a use or a change of fd, opens or name. */
static void list_update(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	if (inode->listed && inodes->newest == inode && inode->parent && !inode->opens)
		return;
	list_remove(inodes, inode);
	if (inode->fd < 0 || inode->fd_borrowed || inode->opens || !inode->parent)
		return;
	inode->older = inodes->newest;
	*(inodes->newest ? &inodes->newest->newer : &inodes->oldest) = inode;
	inodes->newest = inode;
	inode->listed = true;
}

static void fd_close(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	list_remove(inodes, inode);
	if (inode->fd >= 0 && !inode->fd_borrowed) {
		close(inode->fd);
		inodes->fds--;
	}
	inode->fd = -1;
}

void inodes_trim(struct fuse_inodes *inodes)
{
	while (inodes->fds > inodes->fds_keep && inodes->oldest)
		fd_close(inodes, inodes->oldest);
}

/* Life of an inode */

static void inode_free(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	fd_close(inodes, inode);
	hash_unlink(inodes, inode);
	slots_remove(&inodes->slots, &inode->slot);
	free(inode->name);
	free(inode);
}

/* A loop, not recursion: a guest can make a path as deep as it likes. */
static void inode_unref(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	struct fuse_inode *parent;

	while (inode != &inodes->root && !inode->nlookup && !inode->refs) {
		parent = inode->parent;
		inode_free(inodes, inode);
		if (!parent)
			return;
		parent->refs--;
		inode = parent;
	}
}

void inode_drop_unused(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	inode_unref(inodes, inode);
}

void inode_remember(struct fuse_inode *inode)
{
	inode->nlookup++;
}

void inode_forget(struct fuse_inodes *inodes, struct fuse_inode *inode, uint64_t nlookup)
{
	inode->nlookup -= MIN(nlookup, inode->nlookup);
	inode_unref(inodes, inode);
}

void inode_open_ref(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	inode->refs++;
	inode->opens++;
	list_update(inodes, inode);
}

void inode_open_unref(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	inode->refs--;
	inode->opens--;
	list_update(inodes, inode);
	inode_unref(inodes, inode);
}

struct fuse_inode *inode_get(struct fuse_inodes *inodes, uint64_t nodeid)
{
	struct fuse_inode *inode;

	if (nodeid == FUSE_ROOT_ID)
		return &inodes->root;
	inode = (struct fuse_inode *)slots_get(&inodes->slots, nodeid);
	return inode && inode->nlookup ? inode : NULL;
}

static void name_drop(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	struct fuse_inode *parent = inode->parent;

	if (!parent)
		return;
	free(inode->name);
	inode->name = NULL;
	inode->parent = NULL;
	list_update(inodes, inode);
	parent->refs--;
	inode_unref(inodes, parent);
}

static bool is_ancestor(const struct fuse_inode *inode, const struct fuse_inode *of)
{
	unsigned depth;

	for (depth = 0; of; of = of->parent) {
		if (of == inode || ++depth > ANCESTORS_MAX)
			return true;
	}
	return false;
}

void inode_name_set(struct fuse_inodes *inodes, struct fuse_inode *inode, struct fuse_inode *dir, const char *name)
{
	char *copy;

	if (!inode || inode->fd_borrowed || (inode->parent == dir && !strcmp(inode->name, name)))
		return;
	if (inode->refs && is_ancestor(inode, dir))
		return;
	copy = xstrdup(name);
	dir->refs++;
	name_drop(inodes, inode);
	inode->parent = dir;
	inode->name = copy;
	list_update(inodes, inode);
}

void inode_name_gone(struct fuse_inodes *inodes, struct fuse_inode *inode, struct fuse_inode *dir, const char *name)
{
	if (!inode || inode->parent != dir || strcmp(inode->name, name) != 0)
		return;
	name_drop(inodes, inode);
	/* Without a descriptor nothing keeps the inode number from being used again. */
	if (inode->fd < 0)
		hash_unlink(inodes, inode);
}

void inode_pin(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	if (inode)
		inode_fd(inodes, inode);
}

static struct fuse_inode *inode_new(struct fuse_inodes *inodes, struct fuse_share *share, const struct stat *st)
{
	struct fuse_inode *inode = xcalloc(1, sizeof(*inode));

	if (!slots_add(&inodes->slots, &inode->slot)) {
		free(inode);
		return NULL;
	}
	if (inodes->slots.count > inodes->bucket_count)
		hash_grow(inodes);
	inode->share = share;
	inode->dev = st->st_dev;
	inode->ino = st->st_ino;
	inode->type = st->st_mode & S_IFMT;
	inode->fd = -1;
	hash_link(inodes, inode);
	return inode;
}

static int adopt(struct fuse_inodes *inodes, struct fuse_inode *dir, const char *name, const struct stat *st,
		 bool sealed, struct fuse_inode **inode)
{
	struct fuse_inode *found = hash_find(inodes, dir->share, st->st_dev, st->st_ino);

	/* The number was given to another file while we did not hold the old one. */
	if (found && found->type != (st->st_mode & S_IFMT)) {
		hash_unlink(inodes, found);
		found = NULL;
	}
	if (!found)
		found = inode_new(inodes, dir->share, st);
	if (!found)
		return -ENFILE;
	found->sealed = sealed;
	if (name)
		inode_name_set(inodes, found, dir, name);
	*inode = found;
	return 0;
}

int inode_made(struct fuse_inodes *inodes, struct fuse_inode *dir, const char *name, const struct stat *st,
	       struct fuse_inode **inode)
{
	struct fuse_inode *found = hash_find(inodes, dir->share, st->st_dev, st->st_ino);

	if (found && found->fd < 0)
		hash_unlink(inodes, found);
	return adopt(inodes, dir, name, st, false, inode);
}

void inode_fd_give(struct fuse_inodes *inodes, struct fuse_inode *inode, int fd)
{
	if (fd < 0)
		return;
	if (inode->fd >= 0 || inodes->fds >= inodes->fds_max) {
		close(fd);
		return;
	}
	inode->fd = fd;
	inodes->fds++;
	list_update(inodes, inode);
}

/* Shares: the entries of the root */

static int share_inode(struct fuse_inodes *inodes, struct fuse_share *share, struct fuse_inode **inode, struct stat *st)
{
	struct fuse_inode *found;

	if (fstat(share->fd, st))
		return -errno;
	found = hash_find(inodes, share, st->st_dev, st->st_ino);
	if (!found)
		found = inode_new(inodes, share, st);
	if (!found)
		return -ENFILE;
	/* Found below itself before (a bind mount of the host's)? From now on it is the share's root. */
	if (!found->fd_borrowed) {
		name_drop(inodes, found);
		fd_close(inodes, found);
		found->fd = share->fd;
		found->fd_borrowed = true;
	}
	*inode = found;
	return 0;
}

static struct fuse_share *share_find(struct fuse_inodes *inodes, const char *name)
{
	unsigned i;

	for (i = 0; i < inodes->share_count; i++) {
		if (!strcmp(inodes->shares[i].name, name))
			return &inodes->shares[i];
	}
	return NULL;
}

int inodes_share_add(struct fuse_inodes *inodes, const char *name, const char *path, bool read_only)
{
	struct fuse_share *share = &inodes->shares[inodes->share_count];
	struct stat st;
	int fd;

	if (inode_name_check(name) || strlen(name) > FUSE_SHARE_NAME_MAX)
		return -EINVAL;
	if (share_find(inodes, name))
		return -EEXIST;
	if (inodes->share_count == FUSE_SHARES_MAX)
		return -ENOSPC;
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))) {
		close(fd);
		return -EINVAL;
	}
	inodes_number(inodes, st.st_dev, 0);
	strcpy(share->name, name);
	share->fd = fd;
	share->dev = st.st_dev;
	share->read_only = read_only;
	inodes->share_count++;
	return 0;
}

/* Names and descriptors */

int inode_name_check(const char *name)
{
	size_t bytes = strlen(name);

	if (bytes > NAME_MAX)
		return -ENAMETOOLONG;
	if (!bytes || !strcmp(name, ".") || !strcmp(name, "..") || memchr(name, '/', bytes))
		return -EINVAL;
	return 0;
}

static int stat_child(int dirfd, const char *name, struct stat *st)
{
	return fstatat(dirfd, name, st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) ? -errno : 0;
}

static int open_child(struct fuse_inodes *inodes, int dirfd, const char *name)
{
	struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	if (!inodes->no_openat2) {
		fd = (int)syscall(SYS_openat2, dirfd, name, &how, sizeof(how));
		/* ELOOP: RESOLVE_NO_SYMLINKS minds the link itself too; EAGAIN: a rename raced. */
		if (fd >= 0 || (errno != ENOSYS && errno != EPERM && errno != ELOOP && errno != EAGAIN))
			return fd < 0 ? -errno : fd;
		if (errno == ENOSYS || errno == EPERM)
			inodes->no_openat2 = true;
	}
	/* As safe for a single checked component, only said once instead of twice. */
	fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* A name whose file lies on another device than its directory: 1 when it is to be sealed, 0 when not, or -errno. */
static int is_sealed(struct fuse_inodes *inodes, const struct fuse_inode *dir, int dirfd, const char *name,
		     uint64_t dev)
{
	int kind = (int)devs_kind(&inodes->devs, dev), fd;

	if (dev == dir->share->dev)
		return 0;
	if (kind == FUSE_DEV_UNKNOWN) {
		fd = open_child(inodes, dirfd, name);
		if (fd < 0)
			return fd;
		kind = devs_find_kind(&inodes->devs, dev, fd);
		close(fd);
	}
	return kind < 0 ? kind : kind == FUSE_DEV_KERNEL;
}

int inode_lookup(struct fuse_inodes *inodes, struct fuse_inode *dir, const char *name, struct fuse_inode **inode,
		 struct stat *st)
{
	struct fuse_share *share;
	int fd, ret, sealed = 0;

	if (inode_is_root(dir)) {
		share = share_find(inodes, name);
		return share ? share_inode(inodes, share, inode, st) : -ENOENT;
	}
	if (dir->sealed)
		return -ENOENT;
	fd = inode_fd(inodes, dir);
	if (fd < 0)
		return fd;
	ret = stat_child(fd, name, st);
	if (!ret && st->st_dev != dir->dev)
		sealed = is_sealed(inodes, dir, fd, name, st->st_dev);
	if (ret || sealed < 0)
		return ret ? ret : sealed;
	return adopt(inodes, dir, name, st, sealed, inode);
}

struct fuse_inode *inode_known(struct fuse_inodes *inodes, struct fuse_inode *dir, const char *name)
{
	struct fuse_inode *inode;
	struct stat st;
	int fd = inode_fd(inodes, dir);

	if (fd < 0 || stat_child(fd, name, &st))
		return NULL;
	inode = hash_find(inodes, dir->share, st.st_dev, st.st_ino);
	return inode && inode->type == (st.st_mode & S_IFMT) ? inode : NULL;
}

static bool same_file(const struct fuse_inode *inode, const struct stat *st)
{
	return inode->dev == st->st_dev && inode->ino == st->st_ino && inode->type == (st->st_mode & S_IFMT);
}

static int reopen(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	struct stat st;
	int fd;

	if (inodes->fds >= inodes->fds_max)
		return -ENFILE;
	fd = open_child(inodes, inode->parent->fd, inode->name);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
	if (fstat(fd, &st) || !same_file(inode, &st)) {
		close(fd);
		return -ESTALE;
	}
	inode->fd = fd;
	inodes->fds++;
	list_update(inodes, inode);
	return 0;
}

int inode_fd(struct fuse_inodes *inodes, struct fuse_inode *inode)
{
	struct fuse_inode *closed[REOPEN_DEPTH_MAX], *at;
	unsigned count = 0;
	int ret;

	for (at = inode; at->fd < 0; at = at->parent) {
		if (!at->parent)
			return -ESTALE;
		if (count == REOPEN_DEPTH_MAX)
			return -ENAMETOOLONG;
		closed[count++] = at;
	}
	list_update(inodes, at);
	while (count) {
		ret = reopen(inodes, closed[--count]);
		if (ret)
			return ret;
	}
	return inode->fd;
}

int inode_stat(struct fuse_inodes *inodes, struct fuse_inode *inode, struct stat *st)
{
	int fd, ret;

	if (inode->fd >= 0)
		return fstat(inode->fd, st) ? -errno : 0;
	if (!inode->parent)
		return -ESTALE;
	fd = inode_fd(inodes, inode->parent);
	if (fd < 0)
		return fd;
	ret = stat_child(fd, inode->name, st);
	if (ret)
		return ret == -ENOENT || ret == -ENOTDIR ? -ESTALE : ret;
	return same_file(inode, st) ? 0 : -ESTALE;
}

uint64_t inodes_number(struct fuse_inodes *inodes, uint64_t dev, uint64_t ino)
{
	return devs_number(&inodes->devs, dev, ino);
}

/* The table */

void inodes_init(struct fuse_inodes *inodes, const struct fuse_limits *limits)
{
	memset(inodes, 0, sizeof(*inodes));
	slots_init(&inodes->slots, limits->inodes);
	inodes->fds_keep = limits->inode_fds;
	inodes->fds_max = limits->inode_fds_max;
	inodes->root.slot.id = FUSE_ROOT_ID;
	inodes->root.type = S_IFDIR;
	inodes->root.fd = -1;
	hash_grow(inodes);
}

void inodes_reset(struct fuse_inodes *inodes)
{
	struct fuse_slot *item;
	uint32_t from = 0;

	while ((item = slots_any(&inodes->slots, &from)))
		inode_free(inodes, (struct fuse_inode *)item);
	inodes->root.refs = 0;
	assert(!inodes->fds && !inodes->newest);
}

void inodes_fini(struct fuse_inodes *inodes)
{
	unsigned i;

	inodes_reset(inodes);
	for (i = 0; i < inodes->share_count; i++)
		close(inodes->shares[i].fd);
	slots_fini(&inodes->slots);
	free(inodes->buckets);
}
