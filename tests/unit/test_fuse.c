/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE server, with requests made by hand against a directory of its own. Half of it is about what must be refused.
 *
 * With an argument, a directory, it writes sequences of requests there as a corpus for tests/fuzz/fuzz_fuse.c.
 */
#include "devices/fuse.h"
#include "lib/util.h"
#include "tests/fuzz/fuse_ids.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SUID_MODE 04755

static struct fuse *fuse;
static char base[] = "/tmp/test_fuse.XXXXXX";

/* The last reply, without its header. */
static _Alignas(8) uint8_t reply[2 << 20];
static size_t reply_bytes;
static uint64_t unique;

/* The request under way. */
static _Alignas(8) uint8_t request[2 << 20];
static size_t request_bytes;

/* Where the corpus is recorded, as fuzz_fuse.c reads it; its numbers, and how many requests there are so far. */
static FILE *corpus;
static struct fuse_ids ids;
static unsigned recorded;

enum { RECORD_REQUESTS = 60, RECORD_BYTES = 1000 };

static void record(size_t bytes)
{
	static uint8_t copy[RECORD_BYTES];
	uint8_t length[2] = {(uint8_t)bytes, (uint8_t)(bytes >> 8)};

	if (!corpus || bytes > RECORD_BYTES || recorded++ >= RECORD_REQUESTS)
		return;
	memcpy(copy, request, bytes);
	ids_translate(&ids, copy, bytes, false);
	fwrite(length, 1, sizeof(length), corpus);
	fwrite(copy, 1, bytes, corpus);
}

static void begin(uint32_t opcode, uint64_t nodeid)
{
	struct fuse_in_header head = {
		.opcode = opcode,
		.unique = ++unique,
		.nodeid = nodeid,
		.uid = geteuid(),
		.gid = getegid(),
	};

	memcpy(request, &head, sizeof(head));
	request_bytes = sizeof(head);
}

static void add(const void *bytes, size_t count)
{
	memcpy(request + request_bytes, bytes, count);
	request_bytes += count;
}

static void add_text(const char *text)
{
	add(text, strlen(text) + 1);
}

/* Sends what begin() and add() made, cut to `bytes`; the reply's status, 1 for no reply, 2 for a broken one. */
static int send_cut(size_t bytes, size_t room)
{
	static uint8_t raw[sizeof(reply) + sizeof(struct fuse_out_header)];
	struct fuse_in_header *head = (struct fuse_in_header *)request;
	/* In pieces, so that nothing depends on where a buffer ends. */
	struct iovec out[3] = {{request, MIN(bytes, 17)},
			       {request + MIN(bytes, 17), MIN(bytes, 60) - MIN(bytes, 17)},
			       {request + MIN(bytes, 60), bytes - MIN(bytes, 60)}};
	struct iovec in[2] = {{raw, MIN(room, 20)}, {raw + MIN(room, 20), room - MIN(room, 20)}};
	struct fuse_out_header answer;
	ssize_t got;

	head->len = (uint32_t)bytes;
	record(bytes);
	got = fuse_handle(fuse, out, 3, in, 2);
	reply_bytes = 0;
	if (got <= 0)
		return got ? (int)got : 1;
	memcpy(&answer, raw, sizeof(answer));
	if (got < (ssize_t)sizeof(answer) || got > (ssize_t)room || answer.len != got ||
	    answer.unique != head->unique || (answer.error && got != sizeof(answer)))
		return 2;
	reply_bytes = (size_t)got - sizeof(answer);
	memcpy(reply, raw + sizeof(answer), reply_bytes);
	if (!answer.error)
		ids_learn(&ids, head->opcode, reply, reply_bytes);
	return answer.error;
}

static int send_it(void)
{
	return send_cut(request_bytes, sizeof(reply));
}

/* Operations, as a guest's kernel would send them */

static int do_init(void)
{
	struct fuse_init_in in = {.major = 7, .minor = 38, .max_readahead = 131072, .flags = 0xffffffff};

	begin(FUSE_INIT, 0);
	add(&in, sizeof(in));
	return send_it();
}

static int lookup(uint64_t dir, const char *name, uint64_t *nodeid)
{
	int ret;

	begin(FUSE_LOOKUP, dir);
	add_text(name);
	ret = send_it();
	if (!ret && nodeid)
		*nodeid = ((struct fuse_entry_out *)reply)->nodeid;
	return ret;
}

static void forget(uint64_t nodeid, uint64_t count)
{
	struct fuse_forget_in in = {count};

	begin(FUSE_FORGET, nodeid);
	add(&in, sizeof(in));
	CHECK_INT(send_it(), 1);
}

static int getattr(uint64_t nodeid)
{
	struct fuse_getattr_in in = {0};

	begin(FUSE_GETATTR, nodeid);
	add(&in, sizeof(in));
	return send_it();
}

static const struct fuse_attr *attr(void)
{
	return &((struct fuse_attr_out *)reply)->attr;
}

static int open_node(uint32_t opcode, uint64_t nodeid, uint32_t flags, uint64_t *fh)
{
	struct fuse_open_in in = {.flags = flags};
	int ret;

	begin(opcode, nodeid);
	add(&in, sizeof(in));
	ret = send_it();
	if (!ret && fh)
		*fh = ((struct fuse_open_out *)reply)->fh;
	return ret;
}

static int release(uint32_t opcode, uint64_t nodeid, uint64_t fh)
{
	struct fuse_release_in in = {.fh = fh};

	begin(opcode, nodeid);
	add(&in, sizeof(in));
	return send_it();
}

static int create(uint64_t dir, const char *name, uint32_t flags, uint32_t mode, uint64_t *nodeid, uint64_t *fh)
{
	struct fuse_create_in in = {.flags = flags, .mode = mode};
	int ret;

	begin(FUSE_CREATE, dir);
	add(&in, sizeof(in));
	add_text(name);
	ret = send_it();
	if (ret)
		return ret;
	CHECK_INT(reply_bytes, sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out));
	*nodeid = ((struct fuse_entry_out *)reply)->nodeid;
	*fh = ((struct fuse_open_out *)(reply + sizeof(struct fuse_entry_out)))->fh;
	return 0;
}

static int write_at(uint64_t nodeid, uint64_t fh, uint64_t offset, const void *data, uint32_t bytes)
{
	struct fuse_write_in in = {.fh = fh, .offset = offset, .size = bytes};

	begin(FUSE_WRITE, nodeid);
	add(&in, sizeof(in));
	add(data, bytes);
	return send_it();
}

static int write_flags(uint64_t nodeid, uint64_t fh, uint64_t offset, const void *data, uint32_t bytes, uint32_t flags,
		       uint32_t write_flags)
{
	struct fuse_write_in in = {.fh = fh, .offset = offset, .size = bytes, .flags = flags, .write_flags = write_flags};

	begin(FUSE_WRITE, nodeid);
	add(&in, sizeof(in));
	add(data, bytes);
	return send_it();
}

static int read_at(uint32_t opcode, uint64_t nodeid, uint64_t fh, uint64_t offset, uint32_t bytes)
{
	struct fuse_read_in in = {.fh = fh, .offset = offset, .size = bytes};

	begin(opcode, nodeid);
	add(&in, sizeof(in));
	return send_it();
}

static int by_name(uint32_t opcode, uint64_t dir, const char *name)
{
	begin(opcode, dir);
	add_text(name);
	return send_it();
}

static int mkdir_in(uint64_t dir, const char *name, uint64_t *nodeid)
{
	struct fuse_mkdir_in in = {.mode = 0755};
	int ret;

	begin(FUSE_MKDIR, dir);
	add(&in, sizeof(in));
	add_text(name);
	ret = send_it();
	if (!ret && nodeid)
		*nodeid = ((struct fuse_entry_out *)reply)->nodeid;
	return ret;
}

static int rename2_in(uint64_t dir, const char *from, uint64_t newdir, const char *to, uint32_t flags)
{
	struct fuse_rename2_in in = {.newdir = newdir, .flags = flags};

	begin(FUSE_RENAME2, dir);
	add(&in, sizeof(in));
	add_text(from);
	add_text(to);
	return send_it();
}

static int setattr(uint64_t nodeid, struct fuse_setattr_in in)
{
	begin(FUSE_SETATTR, nodeid);
	add(&in, sizeof(in));
	return send_it();
}

static int link_in(uint64_t dir, uint64_t node, const char *name)
{
	struct fuse_link_in in = {node};

	begin(FUSE_LINK, dir);
	add(&in, sizeof(in));
	add_text(name);
	return send_it();
}

static int symlink_in(uint64_t dir, const char *name, const char *target)
{
	begin(FUSE_SYMLINK, dir);
	add_text(name);
	add_text(target);
	return send_it();
}

static int mknod_in(uint64_t dir, const char *name, uint32_t mode, uint32_t rdev)
{
	struct fuse_mknod_in in = {.mode = mode, .rdev = rdev};

	begin(FUSE_MKNOD, dir);
	add(&in, sizeof(in));
	add_text(name);
	return send_it();
}

/* The host's side */

static const char *host(const char *path)
{
	static char full[2][PATH_MAX];
	static unsigned turn;

	turn ^= 1;
	snprintf(full[turn], sizeof(full[turn]), "%s/%s", base, path);
	return full[turn];
}

static void host_write(const char *path, const char *text)
{
	FILE *file = fopen(host(path), "w");

	if (!CHECK(file))
		return;
	fputs(text, file);
	fclose(file);
}

static void host_append(const char *path, const char *text)
{
	FILE *file = fopen(host(path), "a");

	if (!CHECK(file))
		return;
	fputs(text, file);
	fclose(file);
}

static const char *host_read(const char *path)
{
	static char text[256];
	FILE *file = fopen(host(path), "r");

	if (!file)
		return NULL;
	text[fread(text, 1, sizeof(text) - 1, file)] = 0;
	fclose(file);
	return text;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static uint64_t rw, ro;

static const struct fuse_limits roomy = {.inodes = 4096, .inode_fds = 64, .inode_fds_max = 256, .handles = 64};

/* A new server on a new tree: rw/ (writable), ro/ (not), secret (outside both), one (a file as a share). */
static void begin_test(const struct fuse_limits *limits)
{
	strcpy(base + sizeof(base) - 7, "XXXXXX");
	CHECK(mkdtemp(base));
	mkdir(host("rw"), 0755);
	mkdir(host("ro"), 0755);
	mkdir(host("ro/sub"), 0755);
	host_write("secret", "secret");
	host_write("one", "one");
	host_write("ro/file", "read only");
	host_write("rw/file", "hello");
	fuse = fuse_new(limits);
	CHECK_INT(fuse_share_add(fuse, "rw", host("rw"), false), 0);
	CHECK_INT(fuse_share_add(fuse, "ro", host("ro"), true), 0);
	CHECK_INT(fuse_share_add(fuse, "one", host("one"), false), 0);
	CHECK_INT(do_init(), 0);
	CHECK_INT(lookup(FUSE_ROOT_ID, "rw", &rw), 0);
	CHECK_INT(lookup(FUSE_ROOT_ID, "ro", &ro), 0);
}

static void end_test(void)
{
	fuse_free(fuse);
	nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TEST(init_negotiates)
{
	struct fuse_init_in in = {.major = 8, .minor = 1};
	const struct fuse_init_out *out = (const void *)reply;

	begin_test(&roomy);
	CHECK_INT(do_init(), 0);
	CHECK_INT(out->major, 7);
	CHECK_INT(out->max_write, 1 << 20);
	CHECK_INT(out->max_pages, 256);
	CHECK(out->flags & FUSE_DO_READDIRPLUS);
	CHECK(!(out->flags & (FUSE_WRITEBACK_CACHE | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS | FUSE_EXPORT_SUPPORT)));
	CHECK_INT(getattr(rw), -ESTALE); /* another session */
	begin(FUSE_INIT, 0);
	add(&in, sizeof(in));
	CHECK_INT(send_it(), 0);
	CHECK_INT(out->major, 7);
	in.major = 7;
	in.minor = 12;
	begin(FUSE_INIT, 0);
	add(&in, sizeof(in));
	CHECK_INT(send_it(), -EPROTO);
	end_test();
}

TEST(root_lists_shares)
{
	uint64_t fh, node, name_at;
	size_t at = 0, entries = 0;

	begin_test(&roomy);
	CHECK_INT(getattr(FUSE_ROOT_ID), 0);
	CHECK_INT(attr()->mode, S_IFDIR | 0555);
	CHECK_INT(lookup(FUSE_ROOT_ID, "nothing", NULL), -ENOENT);
	CHECK_INT(lookup(FUSE_ROOT_ID, "one", &node), 0);
	CHECK_INT(((struct fuse_entry_out *)reply)->attr.mode & S_IFMT, S_IFREG);
	CHECK_INT(open_node(FUSE_OPEN, node, O_RDWR, &fh), 0);
	CHECK_INT(read_at(FUSE_READ, node, fh, 0, 100), 0);
	CHECK_INT(reply_bytes, 3);
	CHECK_INT(release(FUSE_RELEASE, node, fh), 0);
	CHECK_INT(open_node(FUSE_OPENDIR, FUSE_ROOT_ID, O_RDONLY, &fh), 0);
	CHECK_INT(read_at(FUSE_READDIRPLUS, FUSE_ROOT_ID, fh, 0, 4096), 0);
	name_at = sizeof(struct fuse_entry_out);
	for (; at < reply_bytes; entries++) {
		const struct fuse_dirent *dirent = (const void *)(reply + at + name_at);

		at += FUSE_REC_ALIGN(name_at + FUSE_NAME_OFFSET + dirent->namelen);
	}
	CHECK_INT(entries, 5);
	CHECK_INT(mkdir_in(FUSE_ROOT_ID, "new", NULL), -EROFS);
	CHECK_INT(by_name(FUSE_RMDIR, FUSE_ROOT_ID, "rw"), -EROFS);
	CHECK_INT(rename2_in(FUSE_ROOT_ID, "rw", FUSE_ROOT_ID, "x", 0), -EROFS);
	CHECK_INT(by_name(FUSE_STATFS, FUSE_ROOT_ID, ""), 0);
	CHECK_INT(fuse_share_add(fuse, "rw", "/", false), -EEXIST);
	CHECK_INT(fuse_share_add(fuse, "..", "/", false), -EINVAL);
	CHECK_INT(fuse_share_add(fuse, "a/b", "/", false), -EINVAL);
	CHECK_INT(fuse_share_add(fuse, "null", "/dev/null", false), -EINVAL);
	CHECK_INT(fuse_share_add(fuse, "gone", "/nowhere/at/all", false), -ENOENT);
	end_test();
}

TEST(files_are_read_and_written)
{
	static uint8_t big[1 << 20];
	uint64_t node, fh;

	begin_test(&roomy);
	CHECK_INT(lookup(rw, "file", &node), 0);
	CHECK_INT(((struct fuse_entry_out *)reply)->attr.size, 5);
	CHECK_INT(((struct fuse_entry_out *)reply)->attr_valid, 1);
	CHECK_INT(open_node(FUSE_OPEN, node, O_RDWR, &fh), 0);
	CHECK_INT(read_at(FUSE_READ, node, fh, 1, 3), 0);
	CHECK_INT(reply_bytes, 3);
	CHECK_MEM(reply, "ell", 3);
	CHECK_INT(read_at(FUSE_READ, node, fh, 5, 3), 0);
	CHECK_INT(reply_bytes, 0);
	CHECK_INT(write_at(node, fh, 4, "O there", 7), 0);
	CHECK_INT(((struct fuse_write_out *)reply)->size, 7);
	CHECK_STR(host_read("rw/file"), "hellO there");
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7 + i / 251);
	CHECK_INT(write_at(node, fh, 3, big, sizeof(big)), 0);
	CHECK_INT(read_at(FUSE_READ, node, fh, 3, sizeof(big)), 0);
	CHECK_INT(reply_bytes, sizeof(big));
	CHECK_MEM(reply, big, sizeof(big));
	/* offsets that are no offsets */
	CHECK_INT(read_at(FUSE_READ, node, fh, UINT64_MAX, 10), -EINVAL);
	CHECK_INT(write_at(node, fh, UINT64_MAX - 3, "x", 1), -EINVAL);
	/* handles that are none, or another's */
	CHECK_INT(read_at(FUSE_READ, node, fh + 1, 0, 10), -EBADF);
	CHECK_INT(read_at(FUSE_READ, rw, fh, 0, 10), -EBADF);
	CHECK_INT(release(FUSE_RELEASE, node, fh), 0);
	CHECK_INT(release(FUSE_RELEASE, node, fh), -EBADF);
	CHECK_INT(open_node(FUSE_OPEN, node, O_RDONLY, &fh), 0);
	CHECK_INT(write_at(node, fh, 0, "x", 1), -EBADF);
	CHECK_INT(open_node(FUSE_OPEN, node, 3, NULL), -EINVAL);
	CHECK_INT(open_node(FUSE_OPEN, node, O_RDONLY | O_PATH, &fh), 0);
	CHECK_INT(read_at(FUSE_READ, node, fh, 0, 10), 0);
	CHECK_INT(open_node(FUSE_OPEN, node, O_WRONLY | O_TRUNC, &fh), 0);
	CHECK_STR(host_read("rw/file"), "");
	/* pages that are written back through a descriptor opened for appending: their offset counts */
	CHECK_INT(open_node(FUSE_OPEN, node, O_WRONLY | O_APPEND, &fh), 0);
	CHECK_INT(write_flags(node, fh, 0, "abc", 3, O_APPEND, FUSE_WRITE_CACHE), 0);
	CHECK_INT(write_flags(node, fh, 0, "X", 1, O_APPEND, FUSE_WRITE_CACHE), 0);
	CHECK_STR(host_read("rw/file"), "Xbc");
	/* what is appended goes to the end that the file has now, not where the guest last saw it */
	host_append("rw/file", "+host");
	CHECK_INT(write_flags(node, fh, 3, "+guest", 6, O_APPEND, 0), 0);
	CHECK_INT(((struct fuse_write_out *)reply)->size, 6);
	CHECK_STR(host_read("rw/file"), "Xbc+host+guest");
	end_test();
}

TEST(write_needs_its_data)
{
	struct fuse_write_in in = {.size = 100};
	uint64_t node;

	begin_test(&roomy);
	CHECK_INT(lookup(rw, "file", &node), 0);
	CHECK_INT(open_node(FUSE_OPEN, node, O_RDWR, &in.fh), 0);
	begin(FUSE_WRITE, node);
	add(&in, sizeof(in));
	add("ten bytes.", 10);
	CHECK_INT(send_it(), -EINVAL);
	CHECK_STR(host_read("rw/file"), "hello");
	end_test();
}

TEST(create_makes_files)
{
	uint64_t node, fh, again;
	struct stat st;

	begin_test(&roomy);
	CHECK_INT(create(rw, "new", O_RDWR, 0640, &node, &fh), 0);
	CHECK_INT(write_at(node, fh, 0, "data", 4), 0);
	CHECK_STR(host_read("rw/new"), "data");
	CHECK_INT(stat(host("rw/new"), &st), 0);
	CHECK_INT(st.st_mode, S_IFREG | 0640);
	CHECK_INT(create(rw, "new", O_RDWR | O_EXCL, 0640, &again, &fh), -EEXIST);
	CHECK_INT(create(rw, "new", O_RDWR, 0640, &again, &fh), 0);
	CHECK_INT(again, node);
	CHECK_STR(host_read("rw/new"), "data");
	CHECK_INT(create(rw, "new", O_RDWR | O_TRUNC, 0640, &again, &fh), 0);
	CHECK_STR(host_read("rw/new"), "");
	CHECK_INT(lookup(rw, "new", &again), 0);
	CHECK_INT(again, node);
	/* what is there may not be opened */
	CHECK_INT(mknod_in(rw, "fifo", S_IFIFO | 0644, 0), 0);
	CHECK_INT(create(rw, "fifo", O_WRONLY, 0644, &again, &fh), -ENXIO);
	CHECK_INT(symlink_in(rw, "out", "../secret"), 0);
	CHECK_INT(create(rw, "out", O_RDWR | O_TRUNC, 0644, &again, &fh), -ELOOP);
	CHECK_INT(symlink_in(rw, "dangling", "../made"), 0);
	CHECK_INT(create(rw, "dangling", O_RDWR, 0644, &again, &fh), -ELOOP);
	CHECK(access(host("made"), F_OK));
	CHECK_STR(host_read("secret"), "secret");
	end_test();
}

TEST(tmpfile_can_be_linked)
{
	struct fuse_create_in in = {.flags = O_RDWR, .mode = 0600};
	struct fuse_entry_out *entry = (struct fuse_entry_out *)reply;
	uint64_t node, fh;
	int ret;

	begin_test(&roomy);
	begin(FUSE_TMPFILE, rw);
	add(&in, sizeof(in));
	add_text("/");
	ret = send_it();
	if (ret == -EOPNOTSUPP) {
		end_test();
		SKIP("the file system of /tmp has no O_TMPFILE");
	}
	CHECK_INT(ret, 0);
	node = entry->nodeid;
	fh = ((struct fuse_open_out *)(entry + 1))->fh;
	CHECK_INT(write_at(node, fh, 0, "named", 5), 0);
	CHECK_INT(getattr(node), 0);
	CHECK_INT(attr()->nlink, 0);
	CHECK_INT(link_in(rw, node, "named"), 0);
	CHECK_INT(entry->nodeid, node);
	CHECK_STR(host_read("rw/named"), "named");
	end_test();
}

/* Counts entries by reading the directory in replies of `room` bytes; each must be met once. */
static unsigned list_all(uint32_t opcode, uint64_t dir, uint32_t room)
{
	static bool seen[3000];
	size_t head = opcode == FUSE_READDIRPLUS ? sizeof(struct fuse_entry_out) : 0, at;
	unsigned count = 0, number;
	uint64_t fh, offset = 0;

	memset(seen, 0, sizeof(seen));
	CHECK_INT(open_node(FUSE_OPENDIR, dir, O_RDONLY, &fh), 0);
	while (CHECK_INT(read_at(opcode, dir, fh, offset, room), 0) && reply_bytes) {
		CHECK(reply_bytes <= room);
		for (at = 0; at < reply_bytes;) {
			const struct fuse_dirent *dirent = (const void *)(reply + at + head);
			char name[NAME_MAX + 1] = "";

			memcpy(name, dirent->name, dirent->namelen);
			if (sscanf(name, "entry%u", &number) == 1 && CHECK(number < ARRAY_SIZE(seen))) {
				CHECK(!seen[number]);
				seen[number] = true;
				count++;
				if (head)
					CHECK(((struct fuse_entry_out *)(reply + at))->nodeid);
			} else if (head) {
				CHECK_INT(((struct fuse_entry_out *)(reply + at))->nodeid, 0);
			}
			offset = dirent->off;
			at += FUSE_REC_ALIGN(head + FUSE_NAME_OFFSET + dirent->namelen);
		}
	}
	CHECK_INT(read_at(opcode, dir, fh, 0, 8), -EINVAL);
	CHECK_INT(release(FUSE_RELEASEDIR, dir, fh), 0);
	return count;
}

TEST(many_entries_are_listed)
{
	char name[32];
	uint64_t dir;
	unsigned i;

	begin_test(&roomy);
	CHECK_INT(mkdir_in(rw, "dir", &dir), 0);
	for (i = 0; i < 1500; i++) {
		snprintf(name, sizeof(name), "rw/dir/entry%u", i);
		host_write(name, "");
	}
	CHECK_INT(list_all(FUSE_READDIR, dir, 4096), 1500);
	CHECK_INT(list_all(FUSE_READDIR, dir, 1 << 20), 1500);
	CHECK_INT(list_all(FUSE_READDIRPLUS, dir, 4096), 1500);
	CHECK_INT(open_node(FUSE_OPEN, dir, O_RDONLY, NULL), -EISDIR);
	end_test();
}

/* A program that removes what it lists, as rm -r does, meets every entry; tmpfs counts positions in what is left. */
TEST(listed_files_can_be_removed)
{
	char shm[] = "/dev/shm/test_fuse.XXXXXX", name[PATH_MAX];
	uint64_t dir, fh, offset = 0;
	const struct fuse_dirent *dirent;
	unsigned i, removed = 0;
	struct statfs fs;
	size_t at;

	if (statfs("/dev/shm", &fs) || fs.f_type != TMPFS_MAGIC || !mkdtemp(shm))
		SKIP("no tmpfs in /dev/shm");
	begin_test(&roomy);
	for (i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "%s/entry%u", shm, i);
		close(creat(name, 0600));
	}
	CHECK_INT(fuse_share_add(fuse, "shm", shm, false), 0);
	CHECK_INT(lookup(FUSE_ROOT_ID, "shm", &dir), 0);
	CHECK_INT(open_node(FUSE_OPENDIR, dir, O_RDONLY, &fh), 0);
	while (CHECK_INT(read_at(FUSE_READDIR, dir, fh, offset, 1000), 0) && reply_bytes) {
		for (at = 0; at < reply_bytes; at += FUSE_REC_ALIGN(FUSE_NAME_OFFSET + dirent->namelen)) {
			dirent = (const void *)(reply + at);
			offset = dirent->off;
			snprintf(name, sizeof(name), "%s/%.*s", shm, (int)dirent->namelen, dirent->name);
			removed += !unlink(name);
		}
	}
	CHECK_INT(removed, 300);
	/* from the beginning again: what is there now */
	snprintf(name, sizeof(name), "%s/late", shm);
	close(creat(name, 0600));
	CHECK_INT(read_at(FUSE_READDIR, dir, fh, 0, 1000), 0);
	CHECK(memmem(reply, reply_bytes, "late", 4) != NULL);
	CHECK_INT(read_at(FUSE_READDIR, dir, fh, UINT64_MAX, 1000), -EINVAL);
	CHECK_INT(release(FUSE_RELEASEDIR, dir, fh), 0);
	unlink(name);
	rmdir(shm);
	end_test();
}

/* Positions of long ago are still good. */
TEST(listings_can_go_back)
{
	static uint8_t first[1000];
	const struct fuse_dirent *dirent;
	uint64_t dir, fh, offset;
	size_t first_bytes;
	char name[32];
	unsigned i;

	begin_test(&roomy);
	CHECK_INT(mkdir_in(rw, "dir", &dir), 0);
	for (i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "rw/dir/entry%u", i);
		host_write(name, "");
	}
	CHECK_INT(open_node(FUSE_OPENDIR, dir, O_RDONLY, &fh), 0);
	CHECK_INT(read_at(FUSE_READDIR, dir, fh, 0, sizeof(first)), 0);
	dirent = (const void *)reply;
	offset = dirent->off; /* behind the first entry */
	first_bytes = FUSE_REC_ALIGN(FUSE_NAME_OFFSET + dirent->namelen);
	memcpy(first, reply, reply_bytes);
	for (i = 0; i < 3; i++) {
		CHECK_INT(read_at(FUSE_READDIR, dir, fh, offset, sizeof(first)), 0);
		CHECK_MEM(reply, first + first_bytes, 500);
	}
	CHECK_INT(release(FUSE_RELEASEDIR, dir, fh), 0);
	end_test();
}

TEST(names_move)
{
	uint64_t dir, file, other, fh, node;

	begin_test(&roomy);
	CHECK_INT(mkdir_in(rw, "dir", &dir), 0);
	CHECK_INT(lookup(rw, "file", &file), 0);
	CHECK_INT(rename2_in(rw, "file", dir, "moved", 0), 0);
	CHECK_INT(lookup(rw, "file", NULL), -ENOENT);
	CHECK_STR(host_read("rw/dir/moved"), "hello");
	/* the node goes along */
	CHECK_INT(open_node(FUSE_OPEN, file, O_RDONLY, &fh), 0);
	CHECK_INT(create(rw, "other", O_RDWR, 0644, &other, &fh), 0);
	CHECK_INT(rename2_in(rw, "other", dir, "moved", 1 /* NOREPLACE */), -EEXIST);
	CHECK_INT(rename2_in(rw, "other", dir, "moved", 2 /* EXCHANGE */), 0);
	CHECK_INT(lookup(rw, "other", &node), 0);
	CHECK_INT(node, file);
	CHECK_INT(rename2_in(rw, "other", dir, "moved", 64), -EINVAL);
	/* over a file: what was there lives on for who has it */
	CHECK_INT(rename2_in(rw, "other", dir, "moved", 0), 0);
	CHECK_INT(getattr(other), 0);
	CHECK_INT(attr()->nlink, 0);
	CHECK_INT(rename2_in(rw, "dir", ro, "x", 0), -EXDEV);
	CHECK_INT(rename2_in(ro, "file", rw, "x", 0), -EROFS);
	CHECK_INT(rename2_in(rw, "dir", dir, "x", 0), -EINVAL);
	CHECK_INT(rename2_in(rw, "dir", file, "x", 0), -ENOTDIR);
	CHECK_INT(by_name(FUSE_RMDIR, rw, "dir"), -ENOTEMPTY);
	CHECK_INT(by_name(FUSE_UNLINK, dir, "moved"), 0);
	CHECK_INT(by_name(FUSE_RMDIR, rw, "dir"), 0);
	end_test();
}

TEST(links_are_made)
{
	uint64_t file, link, node;
	struct stat st;

	begin_test(&roomy);
	CHECK_INT(lookup(rw, "file", &file), 0);
	CHECK_INT(link_in(rw, file, "hard"), 0);
	CHECK_INT(((struct fuse_entry_out *)reply)->nodeid, file);
	CHECK_INT(((struct fuse_entry_out *)reply)->attr.nlink, 2);
	CHECK_INT(by_name(FUSE_UNLINK, rw, "file"), 0);
	CHECK_INT(getattr(file), 0);
	CHECK_INT(attr()->nlink, 1);
	CHECK_INT(symlink_in(rw, "soft", "hard"), 0);
	CHECK_INT(lookup(rw, "soft", &link), 0);
	CHECK_INT(((struct fuse_entry_out *)reply)->attr.mode & S_IFMT, S_IFLNK);
	begin(FUSE_READLINK, link);
	CHECK_INT(send_it(), 0);
	CHECK_INT(reply_bytes, 4);
	CHECK_MEM(reply, "hard", 4);
	/* a link to a link is to the link itself */
	CHECK_INT(link_in(rw, link, "soft2"), 0);
	CHECK_INT(lstat(host("rw/soft2"), &st), 0);
	CHECK(S_ISLNK(st.st_mode));
	CHECK_INT(lookup(ro, "file", &node), 0);
	CHECK_INT(link_in(rw, node, "stolen"), -EXDEV);
	CHECK_INT(link_in(rw, 12345678, "none"), -ESTALE);
	begin(FUSE_READLINK, rw);
	CHECK_INT(send_it(), -EINVAL);
	end_test();
}

TEST(nothing_outside_is_reached)
{
	static const char *const names[] = {".", "..", "", "/", "a/b", "../secret", "/etc", "sub/..", "./file"};
	uint64_t out, dir, etc, fh, node;
	char longest[NAME_MAX + 2];
	size_t i;

	begin_test(&roomy);
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		CHECK_INT(lookup(rw, names[i], NULL), -EINVAL);
		CHECK_INT(lookup(FUSE_ROOT_ID, names[i], NULL), -EINVAL);
		CHECK_INT(mkdir_in(rw, names[i], NULL), -EINVAL);
		CHECK_INT(create(rw, names[i], O_RDWR, 0644, &node, &fh), -EINVAL);
		CHECK_INT(symlink_in(rw, names[i], "x"), -EINVAL);
		CHECK_INT(mknod_in(rw, names[i], S_IFREG, 0), -EINVAL);
		CHECK_INT(by_name(FUSE_UNLINK, rw, names[i]), -EINVAL);
		CHECK_INT(by_name(FUSE_RMDIR, rw, names[i]), -EINVAL);
		CHECK_INT(rename2_in(rw, "file", rw, names[i], 0), -EINVAL);
		CHECK_INT(rename2_in(rw, names[i], rw, "x", 0), -EINVAL);
		CHECK_INT(link_in(rw, rw, names[i]), -EINVAL);
	}
	memset(longest, 'a', sizeof(longest));
	longest[NAME_MAX + 1] = 0;
	CHECK_INT(lookup(rw, longest, NULL), -ENAMETOOLONG);
	/* a link as the last component: a link, never what it points to */
	CHECK_INT(symlink_in(rw, "out", "../secret"), 0);
	CHECK_INT(lookup(rw, "out", &out), 0);
	CHECK_INT(open_node(FUSE_OPEN, out, O_RDONLY, &fh), -ELOOP);
	CHECK_INT(setattr(out, (struct fuse_setattr_in){.valid = FATTR_SIZE}), -ELOOP);
	CHECK(setattr(out, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0777}) < 0);
	/* and as one on the way */
	CHECK_INT(symlink_in(rw, "etc", "/etc"), 0);
	CHECK_INT(lookup(rw, "etc", &etc), 0);
	CHECK_INT(lookup(etc, "passwd", NULL), -ENOTDIR);
	CHECK_INT(open_node(FUSE_OPENDIR, etc, O_RDONLY, NULL), -ENOTDIR);
	CHECK_INT(mkdir_in(etc, "x", NULL), -ENOTDIR);
	/* a directory that the host replaces by a link once it is known */
	CHECK_INT(mkdir_in(rw, "dir", &dir), 0);
	CHECK_INT(create(dir, "secret", O_RDWR, 0644, &node, &fh), 0);
	fuse_reset(fuse);
	CHECK_INT(lookup(FUSE_ROOT_ID, "rw", &rw), 0);
	CHECK_INT(lookup(rw, "dir", &dir), 0);
	CHECK_INT(rename(host("rw/dir"), host("rw/away")), 0);
	CHECK_INT(symlink("..", host("rw/dir")), 0);
	CHECK_INT(lookup(dir, "secret", &node), -ESTALE);
	CHECK_STR(host_read("secret"), "secret");
	end_test();
}

TEST(special_files_are_not_opened)
{
	uint64_t node;

	begin_test(&roomy);
	CHECK_INT(mknod_in(rw, "fifo", S_IFIFO | 0666, 0), 0);
	CHECK_INT(mknod_in(rw, "sock", S_IFSOCK | 0666, 0), 0);
	CHECK_INT(mknod_in(rw, "mem", S_IFCHR | 0666, 1 << 8 | 1), -EPERM);
	CHECK_INT(mknod_in(rw, "disk", S_IFBLK | 0666, 0), -EPERM);
	CHECK_INT(lookup(rw, "fifo", &node), 0);
	CHECK_INT(open_node(FUSE_OPEN, node, O_RDONLY, NULL), -ENXIO);
	CHECK_INT(open_node(FUSE_OPEN, node, O_RDWR, NULL), -ENXIO);
	CHECK_INT(setattr(node, (struct fuse_setattr_in){.valid = FATTR_SIZE}), -ENXIO);
	CHECK_INT(setattr(node, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0600}), 0);
	CHECK_INT(attr()->mode, S_IFIFO | 0600);
	CHECK_INT(lookup(rw, "sock", &node), 0);
	CHECK_INT(open_node(FUSE_OPEN, node, O_RDWR, NULL), -ENXIO);
	if (!mknod(host("rw/null"), S_IFCHR | 0666, makedev(1, 3))) {
		CHECK_INT(lookup(rw, "null", &node), 0);
		CHECK_INT(((struct fuse_entry_out *)reply)->attr.rdev, 1 << 8 | 3);
		CHECK_INT(open_node(FUSE_OPEN, node, O_WRONLY, NULL), -ENXIO);
	}
	end_test();
}

TEST(read_only_is_kept)
{
	struct fuse_fallocate_in falloc_in = {.length = 100};
	struct fuse_access_in access_in = {.mask = W_OK};
	uint64_t file, sub, fh, node;

	begin_test(&roomy);
	CHECK_INT(lookup(ro, "file", &file), 0);
	CHECK_INT(((struct fuse_entry_out *)reply)->attr_valid, 86400);
	CHECK_INT(lookup(ro, "sub", &sub), 0);
	CHECK_INT(lookup(ro, "none", &node), 0); /* "no such file", to be remembered */
	CHECK_INT(node, 0);
	CHECK(((struct fuse_entry_out *)reply)->entry_valid);
	CHECK_INT(open_node(FUSE_OPEN, file, O_WRONLY, NULL), -EROFS);
	CHECK_INT(open_node(FUSE_OPEN, file, O_RDWR, NULL), -EROFS);
	CHECK_INT(open_node(FUSE_OPEN, file, O_RDONLY | O_TRUNC, NULL), -EROFS);
	CHECK_INT(open_node(FUSE_OPEN, file, O_RDONLY, &fh), 0);
	CHECK(((struct fuse_open_out *)reply)->open_flags & FOPEN_KEEP_CACHE);
	CHECK_INT(read_at(FUSE_READ, file, fh, 0, 100), 0);
	CHECK_INT(reply_bytes, 9);
	CHECK_INT(write_at(file, fh, 0, "x", 1), -EROFS);
	CHECK_INT(create(sub, "new", O_RDWR, 0644, &node, &fh), -EROFS);
	CHECK_INT(create(ro, "file", O_RDONLY, 0644, &node, &fh), -EROFS);
	CHECK_INT(mkdir_in(sub, "new", NULL), -EROFS);
	CHECK_INT(mknod_in(sub, "new", S_IFREG, 0), -EROFS);
	CHECK_INT(symlink_in(sub, "new", "x"), -EROFS);
	CHECK_INT(link_in(sub, file, "new"), -EROFS);
	CHECK_INT(by_name(FUSE_UNLINK, ro, "file"), -EROFS);
	CHECK_INT(by_name(FUSE_RMDIR, ro, "sub"), -EROFS);
	CHECK_INT(rename2_in(ro, "file", ro, "new", 0), -EROFS);
	CHECK_INT(rename2_in(rw, "file", ro, "new", 0), -EXDEV);
	CHECK_INT(setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0777}), -EROFS);
	CHECK_INT(setattr(file, (struct fuse_setattr_in){.valid = FATTR_SIZE}), -EROFS);
	CHECK_INT(setattr(file, (struct fuse_setattr_in){.valid = FATTR_MTIME_NOW}), -EROFS);
	CHECK_INT(by_name(FUSE_REMOVEXATTR, file, "user.x"), -EROFS);
	begin(FUSE_FALLOCATE, file);
	add(&falloc_in, sizeof(falloc_in));
	CHECK_INT(send_it(), -EROFS);
	begin(FUSE_ACCESS, file);
	add(&access_in, sizeof(access_in));
	CHECK_INT(send_it(), -EROFS);
	CHECK_STR(host_read("ro/file"), "read only");
	end_test();
}

/* One directory as two shares, of which one is read-only. */
TEST(shares_do_not_mix)
{
	uint64_t view, file, same;

	begin_test(&roomy);
	CHECK_INT(fuse_share_add(fuse, "view", host("rw"), true), 0);
	CHECK_INT(lookup(FUSE_ROOT_ID, "view", &view), 0);
	CHECK(view != rw);
	CHECK_INT(lookup(rw, "file", &file), 0);
	CHECK_INT(lookup(view, "file", &same), 0);
	CHECK(file != same);
	CHECK_INT(open_node(FUSE_OPEN, file, O_RDWR, NULL), 0);
	CHECK_INT(open_node(FUSE_OPEN, same, O_RDWR, NULL), -EROFS);
	CHECK_INT(link_in(rw, same, "x"), -EXDEV);
	end_test();
}

TEST(attributes_are_set)
{
	struct fuse_setattr_in times = {
		.valid = FATTR_ATIME | FATTR_MTIME, .atime = 1000, .mtime = 2000, .mtimensec = 5};
	uint64_t file, fh;

	begin_test(&roomy);
	CHECK_INT(lookup(rw, "file", &file), 0);
	CHECK_INT(setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = S_IFREG | 0604}), 0);
	CHECK_INT(attr()->mode, S_IFREG | 0604);
	CHECK_INT(setattr(file, (struct fuse_setattr_in){.valid = FATTR_SIZE, .size = 2}), 0);
	CHECK_INT(attr()->size, 2);
	CHECK_INT(setattr(file, (struct fuse_setattr_in){.valid = FATTR_SIZE, .size = UINT64_MAX}), -EINVAL);
	CHECK_INT(setattr(file, times), 0);
	CHECK_INT(attr()->atime, 1000);
	CHECK_INT(attr()->mtime, 2000);
	CHECK_INT(attr()->mtimensec, 5);
	times.mtimensec = UTIME_NOW;
	CHECK_INT(setattr(file, times), -EINVAL);
	CHECK_INT(setattr(file, (struct fuse_setattr_in){.valid = FATTR_MTIME_NOW}), 0);
	CHECK(attr()->mtime > 2000);
	CHECK_INT(attr()->atime, 1000);
	CHECK_INT(setattr(file, (struct fuse_setattr_in){.valid = FATTR_UID | FATTR_GID, .uid = geteuid(),
							   .gid = getegid()}), 0);
	if (geteuid())
		CHECK_INT(setattr(file, (struct fuse_setattr_in){.valid = FATTR_UID, .uid = 0}), -EPERM);
	/* set-user-id goes when the guest's kernel says that the writer may not keep it */
	CHECK_INT(setattr(file, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = SUID_MODE}), 0);
	CHECK_INT(attr()->mode, S_IFREG | SUID_MODE);
	CHECK_INT(open_node(FUSE_OPEN, file, O_RDWR, &fh), 0);
	CHECK_INT(setattr(file, (struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_FH | FATTR_KILL_SUIDGID,
							   .fh = fh}), 0);
	CHECK_INT(attr()->mode, S_IFREG | (SUID_MODE & 0777));
	CHECK_INT(setattr(file, (struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_FH, .fh = 7}), -EBADF);
	end_test();
}

/* Files are the requester's when podvm is root. */
TEST(root_makes_files_for_others)
{
	struct fuse_in_header *head = (struct fuse_in_header *)request;
	struct fuse_mknod_in in = {.mode = S_IFREG | SUID_MODE};
	struct stat st;

	if (geteuid())
		SKIP("not root");
	begin_test(&roomy);
	begin(FUSE_MKNOD, rw);
	add(&in, sizeof(in));
	add_text("theirs");
	head->uid = 1234;
	head->gid = 1235;
	CHECK_INT(send_it(), 0);
	CHECK_INT(((struct fuse_entry_out *)reply)->attr.uid, 1234);
	CHECK_INT(stat(host("rw/theirs"), &st), 0);
	CHECK_INT(st.st_uid, 1234);
	CHECK_INT(st.st_gid, 1235);
	CHECK_INT(st.st_mode, S_IFREG | SUID_MODE);
	end_test();
}

TEST(xattrs_pass_by_name)
{
	struct fuse_getxattr_in get = {.size = 100};
	uint32_t set[2] = {5, 0};
	uint64_t file;

	begin_test(&roomy);
	CHECK_INT(lookup(rw, "file", &file), 0);
	if (setxattr(host("rw/file"), "user.test", "x", 1, 0)) {
		end_test();
		SKIP("the file system of /tmp has no user xattrs");
	}
	begin(FUSE_SETXATTR, file);
	add(set, sizeof(set));
	add_text("user.mine");
	add("value", 5);
	CHECK_INT(send_it(), 0);
	begin(FUSE_GETXATTR, file);
	add(&get, sizeof(get));
	add_text("user.mine");
	CHECK_INT(send_it(), 0);
	CHECK_INT(reply_bytes, 5);
	CHECK_MEM(reply, "value", 5);
	get.size = 4;
	begin(FUSE_GETXATTR, file);
	add(&get, sizeof(get));
	add_text("user.mine");
	CHECK_INT(send_it(), -ERANGE);
	begin(FUSE_SETXATTR, file);
	add(set, sizeof(set));
	add_text("system.posix_acl_access");
	add("value", 5);
	CHECK_INT(send_it(), -EOPNOTSUPP);
	/* create and replace are told apart */
	set[1] = XATTR_CREATE;
	begin(FUSE_SETXATTR, file);
	add(set, sizeof(set));
	add_text("user.mine");
	add("value", 5);
	CHECK_INT(send_it(), -EEXIST);
	set[1] = XATTR_REPLACE;
	begin(FUSE_SETXATTR, file);
	add(set, sizeof(set));
	add_text("user.other");
	add("value", 5);
	CHECK_INT(send_it(), -ENODATA);
	set[1] = 0;
	/* trusted names can be read, where podvm may, and never set */
	begin(FUSE_SETXATTR, file);
	add(set, sizeof(set));
	add_text("trusted.overlay.redirect");
	add("/root", 5);
	CHECK_INT(send_it(), -EOPNOTSUPP);
	CHECK_INT(by_name(FUSE_REMOVEXATTR, file, "trusted.overlay.redirect"), -EOPNOTSUPP);
	if (!setxattr(host("rw/file"), "trusted.test", "seen", 4, 0)) {
		get.size = 100;
		begin(FUSE_GETXATTR, file);
		add(&get, sizeof(get));
		add_text("trusted.test");
		CHECK_INT(send_it(), 0);
		CHECK_MEM(reply, "seen", 4);
		CHECK_INT(removexattr(host("rw/file"), "trusted.test"), 0);
	}
	/* more than any value may have, and a name too long */
	set[0] = 65537;
	begin(FUSE_SETXATTR, file);
	add(set, sizeof(set));
	add_text("user.big");
	memset(request + request_bytes, 'v', 65537);
	request_bytes += 65537;
	CHECK(send_it() < 0);
	get.size = 0;
	begin(FUSE_LISTXATTR, file);
	add(&get, sizeof(get));
	CHECK_INT(send_it(), 0);
	CHECK_INT(((struct fuse_getxattr_out *)reply)->size, strlen("user.test") + strlen("user.mine") + 2);
	CHECK_INT(by_name(FUSE_REMOVEXATTR, file, "user.mine"), 0);
	CHECK_INT(by_name(FUSE_REMOVEXATTR, file, "user.mine"), -ENODATA);
	end_test();
}

/* What the host's kernel makes up, mounted below a share: there, empty, and nothing can be done with it. */
TEST(kernel_file_systems_are_sealed)
{
	uint64_t dir, proc, other, fh, node;
	struct fuse_getxattr_in list = {.size = 100};
	struct stat st;

	begin_test(&roomy);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		end_test();
		SKIP("not allowed to mount");
	}
	mkdir(host("rw/proc"), 0755);
	mkdir(host("rw/tmp"), 0755);
	host_write("rw/status", "");
	/* a share is made of what is mounted when it is added */
	if (mount("proc", host("rw/proc"), "proc", 0, NULL)) {
		end_test();
		SKIP("not allowed to mount");
	}
	CHECK_INT(mount("tmpfs", host("rw/tmp"), "tmpfs", 0, NULL), 0);
	host_write("rw/tmp/inner", "in");
	CHECK_INT(mount(host("rw/proc/self/status"), host("rw/status"), NULL, MS_BIND, NULL), 0);
	CHECK_INT(fuse_share_add(fuse, "dir", host("rw"), false), 0);
	CHECK_INT(fuse_share_add(fuse, "proc", host("rw/proc"), true), 0);
	CHECK_INT(lookup(FUSE_ROOT_ID, "dir", &dir), 0);
	CHECK_INT(lookup(dir, "proc", &proc), 0);
	CHECK_INT(lookup(proc, "self", &node), 0); /* "no such file" */
	CHECK_INT(node, 0);
	CHECK_INT(lookup(proc, "version", &node), 0);
	CHECK_INT(node, 0);
	CHECK_INT(open_node(FUSE_OPENDIR, proc, O_RDONLY, &fh), 0);
	CHECK_INT(read_at(FUSE_READDIR, proc, fh, 0, 4096), 0);
	CHECK_INT(reply_bytes, 0);
	CHECK_INT(read_at(FUSE_READDIRPLUS, proc, fh, 0, 4096), 0);
	CHECK_INT(reply_bytes, 0);
	CHECK_INT(release(FUSE_RELEASEDIR, proc, fh), 0);
	CHECK_INT(getattr(proc), 0);
	CHECK_INT(mkdir_in(proc, "x", NULL), -EROFS);
	CHECK_INT(rename2_in(dir, "file", proc, "x", 0), -EROFS);
	CHECK_INT(setattr(proc, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0777}), -EROFS);
	begin(FUSE_LISTXATTR, proc);
	add(&list, sizeof(list));
	CHECK_INT(send_it(), 0);
	CHECK_INT(reply_bytes, 0);
	/* the same for a single file of it */
	CHECK_INT(lookup(dir, "status", &node), 0);
	CHECK_INT(open_node(FUSE_OPEN, node, O_RDONLY, NULL), -EACCES);
	/* other mounts belong to the share, told apart by number */
	CHECK_INT(lookup(dir, "tmp", &other), 0);
	CHECK_INT(stat(host("rw/tmp"), &st), 0);
	CHECK(((struct fuse_entry_out *)reply)->attr.ino != st.st_ino);
	CHECK_INT(lookup(other, "inner", &node), 0);
	CHECK_INT(open_node(FUSE_OPEN, node, O_RDONLY, &fh), 0);
	CHECK_INT(read_at(FUSE_READ, node, fh, 0, 10), 0);
	CHECK_MEM(reply, "in", 2);
	CHECK_INT(rename2_in(other, "inner", dir, "moved", 0), -EXDEV);
	/* who names it himself means it */
	CHECK_INT(lookup(FUSE_ROOT_ID, "proc", &proc), 0);
	CHECK_INT(lookup(proc, "version", &node), 0);
	CHECK_INT(open_node(FUSE_OPEN, node, O_RDONLY, &fh), 0);
	fuse_reset(fuse);
	umount2(host("rw/status"), MNT_DETACH);
	umount2(host("rw/tmp"), MNT_DETACH);
	umount2(host("rw/proc"), MNT_DETACH);
	end_test();
}

TEST(everything_writable_is_synced)
{
	struct fuse_syncfs_in in = {0};

	begin_test(&roomy);
	begin(FUSE_SYNCFS, FUSE_ROOT_ID);
	add(&in, sizeof(in));
	CHECK_INT(send_it(), 0);
	end_test();
}

/* A pod of an ordinary user: the user is its root. */
TEST(ordinary_users_are_the_guests_root)
{
	struct fuse_setattr_in owner = {.valid = FATTR_UID | FATTR_GID};
	uint64_t file, theirs, fh;
	struct stat st;

	if (geteuid())
		SKIP("not root");
	CHECK_INT(setegid(1235) | seteuid(1234), 0);
	prctl(PR_SET_DUMPABLE, 1); /* /proc/self is root's otherwise */
	begin_test(&roomy);
	CHECK_INT(seteuid(0), 0);
	host_write("rw/theirs", "x");
	CHECK_INT(chown(host("rw/theirs"), 77, 1235), 0);
	CHECK_INT(seteuid(1234), 0);

	CHECK_INT(lookup(rw, "file", &file), 0);
	CHECK_INT(((struct fuse_entry_out *)reply)->attr.uid, 0);
	CHECK_INT(((struct fuse_entry_out *)reply)->attr.gid, 0);
	CHECK_INT(lookup(rw, "theirs", &theirs), 0);
	CHECK_INT(((struct fuse_entry_out *)reply)->attr.uid, 65534);
	CHECK_INT(((struct fuse_entry_out *)reply)->attr.gid, 0);
	CHECK_INT(setattr(file, owner), 0);
	CHECK_INT(setattr(theirs, (struct fuse_setattr_in){.valid = FATTR_UID, .uid = 65534}), 0);
	CHECK_INT(setattr(theirs, (struct fuse_setattr_in){.valid = FATTR_UID, .uid = 0}), -EPERM);
	owner.uid = 1000;
	CHECK_INT(setattr(file, owner), -EPERM);
	owner.uid = 1234; /* the host's own number means nothing */
	CHECK_INT(setattr(file, owner), -EPERM);
	owner.uid = 0;
	owner.gid = 5;
	CHECK_INT(setattr(file, owner), -EPERM);
	/* whoever in the guest makes it */
	begin(FUSE_MKDIR, rw);
	((struct fuse_in_header *)request)->uid = 1000;
	add(&(struct fuse_mkdir_in){.mode = 0755}, sizeof(struct fuse_mkdir_in));
	add_text("made");
	CHECK_INT(send_it(), 0);
	CHECK_INT(((struct fuse_entry_out *)reply)->attr.uid, 0);
	CHECK_INT(create(rw, "new", O_RDWR, 0666, &file, &fh), 0);
	CHECK_INT(stat(host("rw/new"), &st), 0);
	CHECK_INT(st.st_uid, 1234);
	CHECK_INT(st.st_gid, 1235);
	CHECK_INT(st.st_mode & 0777, 0666); /* no umask of ours */
	CHECK_INT(seteuid(0) | setegid(0), 0);
	end_test();
}

TEST(others_writing_lose_set_user_id)
{
	struct fuse_fallocate_in fill = {.length = 10};
	struct fuse_copy_file_range_in copy = {.len = 5};
	struct stat st;
	uint64_t file, from;

	begin_test(&roomy);
	CHECK_INT(lookup(rw, "file", &file), 0);
	CHECK_INT(open_node(FUSE_OPEN, file, O_RDWR, &fill.fh), 0);
	CHECK_INT(chmod(host("rw/file"), SUID_MODE), 0);
	begin(FUSE_FALLOCATE, file);
	((struct fuse_in_header *)request)->uid = 1000;
	add(&fill, sizeof(fill));
	CHECK_INT(send_it(), 0);
	CHECK_INT(stat(host("rw/file"), &st), 0);
	CHECK_INT(st.st_mode, S_IFREG | (SUID_MODE & 0777));
	CHECK_INT(chmod(host("rw/file"), SUID_MODE), 0);
	host_write("rw/from", "hello");
	CHECK_INT(lookup(rw, "from", &from), 0);
	CHECK_INT(open_node(FUSE_OPEN, from, O_RDONLY, &copy.fh_in), 0);
	copy.fh_out = fill.fh;
	copy.nodeid_out = file;
	begin(FUSE_COPY_FILE_RANGE, from);
	((struct fuse_in_header *)request)->uid = 1000;
	add(&copy, sizeof(copy));
	CHECK_INT(send_it(), 0);
	CHECK_INT(stat(host("rw/file"), &st), 0);
	CHECK_INT(st.st_mode, S_IFREG | (SUID_MODE & 0777));
	CHECK_INT(chmod(host("rw/file"), SUID_MODE), 0);
	CHECK_INT(write_flags(file, fill.fh, 0, "x", 1, 0, FUSE_WRITE_KILL_SUIDGID), 0);
	CHECK_INT(stat(host("rw/file"), &st), 0);
	CHECK_INT(st.st_mode, S_IFREG | (SUID_MODE & 0777));
	end_test();
}

/* Holes, and the ways of allocating that pass. */
TEST(files_have_holes)
{
	static const uint32_t passes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE};
	static const uint32_t refused[] = {FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, 0x80000000};
	struct fuse_fallocate_in in = {.offset = 1 << 20, .length = 1 << 16};
	struct fuse_lseek_in seek = {.whence = SEEK_DATA};
	uint64_t file;
	size_t i;

	begin_test(&roomy);
	CHECK_INT(create(rw, "holes", O_RDWR, 0644, &file, &in.fh), 0);
	seek.fh = in.fh;
	for (i = 0; i < ARRAY_SIZE(passes); i++) {
		in.mode = passes[i];
		begin(FUSE_FALLOCATE, file);
		add(&in, sizeof(in));
		CHECK_INT(send_it(), 0);
	}
	CHECK_INT(getattr(file), 0);
	CHECK_INT(attr()->size, in.offset + in.length);
	for (i = 0; i < ARRAY_SIZE(refused); i++) {
		in.mode = refused[i];
		begin(FUSE_FALLOCATE, file);
		add(&in, sizeof(in));
		CHECK_INT(send_it(), -EOPNOTSUPP);
	}
	CHECK_INT(write_at(file, in.fh, 1 << 20, "data", 4), 0);
	begin(FUSE_LSEEK, file);
	add(&seek, sizeof(seek));
	CHECK_INT(send_it(), 0);
	CHECK(((struct fuse_lseek_out *)reply)->offset <= 1 << 20);
	seek.offset = in.offset + in.length;
	begin(FUSE_LSEEK, file);
	add(&seek, sizeof(seek));
	CHECK_INT(send_it(), -ENXIO);
	seek.whence = SEEK_SET;
	begin(FUSE_LSEEK, file);
	add(&seek, sizeof(seek));
	CHECK_INT(send_it(), -EINVAL);
	end_test();
}

TEST(data_moves_inside_the_host)
{
	struct fuse_copy_file_range_in copy = {.len = UINT64_MAX};
	struct fuse_lseek_in seek = {.whence = SEEK_HOLE};
	uint64_t from, to;

	begin_test(&roomy);
	CHECK_INT(lookup(rw, "file", &from), 0);
	CHECK_INT(open_node(FUSE_OPEN, from, O_RDONLY, &copy.fh_in), 0);
	CHECK_INT(create(rw, "copy", O_RDWR, 0644, &to, &copy.fh_out), 0);
	copy.nodeid_out = to;
	begin(FUSE_COPY_FILE_RANGE, from);
	add(&copy, sizeof(copy));
	CHECK_INT(send_it(), 0);
	CHECK_INT(((struct fuse_write_out *)reply)->size, 5);
	CHECK_STR(host_read("rw/copy"), "hello");
	seek.fh = copy.fh_out;
	begin(FUSE_LSEEK, to);
	add(&seek, sizeof(seek));
	CHECK_INT(send_it(), 0);
	CHECK_INT(((struct fuse_lseek_out *)reply)->offset, 5);
	/* into a file opened for reading */
	copy.fh_out = copy.fh_in;
	copy.nodeid_out = from;
	begin(FUSE_COPY_FILE_RANGE, from);
	add(&copy, sizeof(copy));
	CHECK_INT(send_it(), -EBADF);
	end_test();
}

TEST(forged_forgets_do_no_harm)
{
	struct fuse_forget_one many[3];
	struct fuse_batch_forget_in batch = {.count = UINT32_MAX};
	uint64_t file, again, fh;

	begin_test(&roomy);
	CHECK_INT(lookup(rw, "file", &file), 0);
	CHECK_INT(lookup(rw, "file", &again), 0);
	CHECK_INT(again, file);
	forget(file, 1);
	CHECK_INT(getattr(file), 0);
	forget(file, UINT64_MAX);
	CHECK_INT(getattr(file), -ESTALE);
	forget(file, 1);
	forget(0, 1);
	forget(UINT64_MAX, UINT64_MAX);
	forget(FUSE_ROOT_ID, UINT64_MAX);
	CHECK_INT(getattr(FUSE_ROOT_ID), 0);
	/* a number is never used again */
	CHECK_INT(lookup(rw, "file", &again), 0);
	CHECK(again != file);
	/* open files survive it, directories outlive their children */
	CHECK_INT(open_node(FUSE_OPEN, again, O_RDONLY, &fh), 0);
	forget(again, 1);
	forget(rw, 1);
	CHECK_INT(read_at(FUSE_READ, again, fh, 0, 10), -ESTALE);
	CHECK_INT(release(FUSE_RELEASE, again, fh), 0); /* its queue is slower than FORGET's */
	many[0] = (struct fuse_forget_one){again, 5};
	many[1] = (struct fuse_forget_one){ro, 1};
	many[2] = (struct fuse_forget_one){99, 1};
	begin(FUSE_BATCH_FORGET, 0);
	add(&batch, sizeof(batch));
	add(many, sizeof(many));
	CHECK_INT(send_it(), 1);
	CHECK_INT(getattr(ro), -ESTALE);
	end_test();
}

TEST(unlinked_files_live_on)
{
	uint64_t file, fh, again, nodes[100];
	char name[16];
	unsigned i;

	begin_test(&roomy);
	CHECK_INT(create(rw, "gone", O_RDWR, 0644, &file, &fh), 0);
	CHECK_INT(by_name(FUSE_UNLINK, rw, "gone"), 0);
	CHECK_INT(write_at(file, fh, 0, "still here", 10), 0);
	CHECK_INT(getattr(file), 0);
	CHECK_INT(attr()->size, 10);
	/* enough others to have its descriptor closed, could that be */
	for (i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		CHECK_INT(mkdir_in(rw, name, &nodes[i]), 0);
		CHECK_INT(lookup(nodes[i], "none", NULL), -ENOENT);
	}
	CHECK_INT(release(FUSE_RELEASE, file, fh), 0);
	CHECK_INT(getattr(file), 0);
	CHECK_INT(create(rw, "gone", O_RDWR, 0644, &again, &fh), 0);
	CHECK(again != file);
	/* not open, only known: as a guest's O_PATH descriptor or working directory would have it */
	CHECK_INT(lookup(rw, "file", &file), 0);
	CHECK_INT(by_name(FUSE_UNLINK, rw, "file"), 0);
	CHECK_INT(getattr(file), 0);
	CHECK_INT(attr()->nlink, 0);
	CHECK_INT(attr()->size, 5);
	end_test();
}

/* Many more files than descriptors: all stay usable, few are open. */
TEST(descriptors_are_bounded)
{
	struct fuse_limits tight = {.inodes = 600, .inode_fds = 8, .inode_fds_max = 40, .handles = 4};
	uint64_t dirs[200], file, fh[4];
	unsigned i, before;
	char name[16];

	begin_test(&tight);
	before = open_fds();
	for (i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		CHECK_INT(mkdir_in(i ? dirs[i / 2] : rw, name, &dirs[i]), 0);
	}
	CHECK(open_fds() <= before + tight.inode_fds);
	for (i = 0; i < 200; i++)
		CHECK_INT(mkdir_in(dirs[i], "below", NULL), 0);
	CHECK(open_fds() <= before + tight.inode_fds);
	/* a directory above closed ones moves */
	CHECK_INT(rename2_in(rw, "d0", rw, "moved", 0), 0);
	CHECK_INT(lookup(dirs[199], "below", NULL), 0);
	CHECK_INT(lookup(rw, "file", &file), 0);
	for (i = 0; i < 4; i++)
		CHECK_INT(open_node(FUSE_OPEN, file, O_RDONLY, &fh[i]), 0);
	CHECK_INT(open_node(FUSE_OPEN, file, O_RDONLY, NULL), -ENFILE);
	CHECK_INT(create(rw, "new", O_RDWR, 0644, &file, &fh[0]), -ENFILE);
	CHECK(access(host("rw/new"), F_OK)); /* refused before anything was made */
	for (i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "e%u", i);
		if (mkdir_in(rw, name, NULL) == -ENFILE)
			break;
	}
	CHECK(i < 300);
	CHECK(open_fds() <= before + tight.inode_fds + tight.handles + 1);
	fuse_reset(fuse);
	CHECK_INT(open_fds(), before);
	end_test();
}

/* A path deeper than what is reopened at once, or than the stack would take. */
TEST(deep_paths_work)
{
	struct fuse_limits limits = {.inodes = 8192, .inode_fds = 4, .inode_fds_max = 700, .handles = 4};
	static uint64_t nodes[1200];
	unsigned i;
	int ret;

	begin_test(&limits);
	for (i = 0; i < ARRAY_SIZE(nodes); i++) {
		if (!CHECK_INT(mkdir_in(i ? nodes[i - 1] : rw, "d", &nodes[i]), 0))
			break;
	}
	CHECK_INT(lookup(nodes[400], "d", NULL), 0);
	for (i = 0; i < 100; i++)
		CHECK_INT(lookup(nodes[i], "d", NULL), 0);
	ret = lookup(nodes[1100], "d", NULL);
	CHECK(!ret || ret == -ENAMETOOLONG);
	/* children first, then parents, then what only children held */
	for (i = 0; i < ARRAY_SIZE(nodes); i++)
		forget(nodes[i], UINT64_MAX);
	CHECK_INT(lookup(rw, "d", NULL), 0);
	end_test();
}

TEST(host_changes_are_noticed)
{
	uint64_t dir, file, others[20], fh;
	struct fuse_limits tight = {.inodes = 600, .inode_fds = 2, .inode_fds_max = 40, .handles = 4};
	char name[16];
	unsigned i;

	begin_test(&tight);
	CHECK_INT(mkdir_in(rw, "dir", &dir), 0);
	for (i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "o%u", i);
		CHECK_INT(mkdir_in(rw, name, &others[i]), 0);
		CHECK_INT(lookup(others[i], "x", NULL), -ENOENT);
	}
	CHECK_INT(rename(host("rw/dir"), host("rw/elsewhere")), 0);
	CHECK_INT(mkdir(host("rw/dir"), 0755), 0);
	CHECK_INT(mkdir_in(dir, "x", NULL), -ESTALE);
	CHECK_INT(lookup(rw, "elsewhere", &file), 0);
	CHECK_INT(file, dir);
	CHECK_INT(mkdir_in(dir, "x", NULL), 0);
	host_write("rw/swapped", "old");
	CHECK_INT(lookup(rw, "swapped", &file), 0);
	host_write("rw/new", "new");
	CHECK_INT(rename(host("rw/new"), host("rw/swapped")), 0);
	CHECK_INT(getattr(file), -ESTALE);
	CHECK_INT(open_node(FUSE_OPEN, file, O_RDWR, NULL), -ESTALE);
	/* cached data is dropped on open when the file was changed */
	CHECK_INT(lookup(rw, "file", &file), 0);
	CHECK_INT(open_node(FUSE_OPEN, file, O_RDONLY, &fh), 0);
	CHECK(!(((struct fuse_open_out *)reply)->open_flags & FOPEN_KEEP_CACHE));
	usleep(1100000);
	CHECK_INT(open_node(FUSE_OPEN, file, O_RDONLY, &fh), 0); /* settles */
	CHECK_INT(open_node(FUSE_OPEN, file, O_RDONLY, &fh), 0);
	CHECK(((struct fuse_open_out *)reply)->open_flags & FOPEN_KEEP_CACHE);
	host_write("rw/file", "HELLO");
	CHECK_INT(open_node(FUSE_OPEN, file, O_RDONLY, &fh), 0);
	CHECK(!(((struct fuse_open_out *)reply)->open_flags & FOPEN_KEEP_CACHE));
	end_test();
}

/* A request of every operation, complete. */
static void full_request(uint32_t opcode, uint64_t fh)
{
	static const uint8_t zeros[128];

	begin(opcode, rw);
	add(&fh, sizeof(fh));
	add(zeros, sizeof(zeros));
	add_text("name");
	add_text("other");
}

TEST(short_requests_are_refused)
{
	uint32_t opcode;
	size_t bytes, room;
	uint64_t fh;
	int ret;

	begin_test(&roomy);
	CHECK_INT(open_node(FUSE_OPENDIR, rw, O_RDONLY, &fh), 0);
	for (opcode = 1; opcode < 60; opcode++) {
		full_request(opcode, fh);
		if (opcode != FUSE_INIT && opcode != FUSE_DESTROY)
			CHECK(send_it() <= 1);
	}
	for (opcode = 0; opcode < 60; opcode++) {
		for (bytes = 0; bytes <= 190; bytes++) {
			CHECK_INT(do_init(), 0);
			CHECK_INT(lookup(FUSE_ROOT_ID, "rw", &rw), 0);
			CHECK_INT(open_node(FUSE_OPENDIR, rw, O_RDONLY, &fh), 0);
			full_request(opcode, fh);
			ret = send_cut(MIN(bytes, request_bytes), sizeof(reply));
			if (bytes < sizeof(struct fuse_in_header))
				CHECK_INT(ret, -EPROTO);
			else
				CHECK(ret <= 1);
		}
		/* the same with too little room for an answer */
		for (room = 0; room < 180; room++) {
			full_request(opcode, fh);
			ret = send_cut(request_bytes, room);
			CHECK(ret <= 1);
			CHECK(reply_bytes <= room);
		}
	}
	/* nothing is done that could not be told */
	begin(FUSE_MKDIR, rw);
	add(&(struct fuse_mkdir_in){.mode = 0755}, sizeof(struct fuse_mkdir_in));
	add_text("untold");
	CHECK_INT(send_cut(request_bytes, sizeof(struct fuse_out_header) + sizeof(struct fuse_entry_out) - 1), -EINVAL);
	CHECK(access(host("rw/untold"), F_OK));
	begin(4711, rw);
	CHECK_INT(send_it(), -ENOSYS);
	begin(FUSE_IOCTL, rw);
	CHECK_INT(send_it(), -ENOSYS);
	/* a header that promises more, or less, than there is */
	begin(FUSE_GETATTR, rw);
	CHECK_INT(send_it(), -EINVAL);
	end_test();
}

TEST(length_in_header_is_checked)
{
	struct fuse_in_header head = {.opcode = FUSE_STATFS, .nodeid = FUSE_ROOT_ID};
	struct fuse_out_header answer;
	uint8_t room[256];
	struct iovec out = {&head, sizeof(head)}, in = {room, sizeof(room)};
	uint32_t lengths[] = {0, 1, 39, 41, 80, 0x7fffffff, 0x80000000, 0xffffffff};
	size_t i;

	begin_test(&roomy);
	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		head.len = lengths[i];
		CHECK_INT(fuse_handle(fuse, &out, 1, &in, 1), sizeof(answer));
		memcpy(&answer, room, sizeof(answer));
		CHECK_INT(answer.error, -EINVAL);
	}
	head.len = sizeof(head);
	CHECK(fuse_handle(fuse, &out, 1, &in, 1) > (ssize_t)sizeof(answer));
	CHECK_INT(fuse_handle(fuse, &out, 0, &in, 1), -EPROTO);
	CHECK_INT(fuse_handle(fuse, &out, 1, &in, 0), -EPROTO);
	end_test();
}

static const struct {
	const char *name;
	void (*test)(void);
} tests[] = {
#define T(name) {#name, test_##name}
	T(init_negotiates), T(root_lists_shares), T(files_are_read_and_written), T(write_needs_its_data),
	T(create_makes_files), T(tmpfile_can_be_linked), T(many_entries_are_listed), T(listed_files_can_be_removed),
	T(listings_can_go_back), T(names_move), T(links_are_made),
	T(nothing_outside_is_reached), T(special_files_are_not_opened), T(read_only_is_kept), T(shares_do_not_mix),
	T(attributes_are_set), T(root_makes_files_for_others), T(xattrs_pass_by_name), T(kernel_file_systems_are_sealed),
	T(everything_writable_is_synced), T(ordinary_users_are_the_guests_root), T(others_writing_lose_set_user_id),
	T(files_have_holes), T(data_moves_inside_the_host),
	T(forged_forgets_do_no_harm), T(unlinked_files_live_on), T(descriptors_are_bounded), T(deep_paths_work),
	T(host_changes_are_noticed), T(short_requests_are_refused), T(length_in_header_is_checked),
};

int main(int argc, char **argv)
{
	char path[PATH_MAX];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (argc > 1) {
			snprintf(path, sizeof(path), "%s/%s", argv[1], tests[i].name);
			corpus = fopen(path, "w");
			memset(&ids, 0, sizeof(ids));
			recorded = 0;
		}
		test_run(tests[i].name, tests[i].test);
		if (corpus)
			fclose(corpus);
	}
	return test_done();
}
