// SPDX-License-Identifier: Apache-2.0
/*
 * fs_model DIR SEED STEPS: random operations on a tree below DIR, each repeated on a model in memory and compared:
 * result, content, size, links, mode, time, attribute, listing. For volumes of a pod, and on any other file system to
 * see that the model is right. Ends with 0, or 1 after telling seed and step: the same seed does the same again.
 * Leaves the tree.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { NAMES = 24, DIRS = 3, NODES = NAMES + 8, SIZE_MAX_BYTES = 200000, HELD = 4 };

struct node {
	unsigned links, held; /* names, descriptors; free when both are 0 */
	size_t size;
	mode_t mode;
	int64_t mtime_ns; /* 0: not known */
	int xattr;	  /* value of user.model, 0: none */
	uint8_t bytes[SIZE_MAX_BYTES];
};

static struct node nodes[NODES];
static int names[NAMES]; /* node of a name, -1: none; name i lies in directory i % DIRS */
static struct {
	int fd, node;
} held[HELD];
static uint8_t buffer[SIZE_MAX_BYTES];
static uint64_t state, seed, step;
static bool have_xattrs, have_tmpfile;

static uint32_t rnd(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 33) % below;
}

__attribute__((format(printf, 2, 3))) static void must(bool held_true, const char *fmt, ...)
{
	int error = errno;
	va_list args;

	if (held_true)
		return;
	va_start(args, fmt);
	printf("fs_model: seed %llu step %llu: ", (unsigned long long)seed, (unsigned long long)step);
	vprintf(fmt, args);
	printf(" (errno %d, %s)\n", error, strerror(error));
	va_end(args);
	exit(1);
}

static const char *path_of(unsigned name)
{
	static char paths[4][32];
	static unsigned turn;

	turn = (turn + 1) % 4;
	snprintf(paths[turn], sizeof(paths[turn]), "d%u/n%u", name % DIRS, name);
	return paths[turn];
}

static int node_new(void)
{
	for (int i = 0; i < NODES; i++)
		if (!nodes[i].links && !nodes[i].held) {
			nodes[i].size = 0;
			nodes[i].mtime_ns = nodes[i].xattr = 0;
			nodes[i].mode = 0644;
			return i;
		}
	must(false, "model: no node");
	return 0;
}

static void name_set(unsigned name, int node)
{
	if (node >= 0)
		nodes[node].links++;
	if (names[name] >= 0)
		nodes[names[name]].links--;
	names[name] = node;
}

static void model_write(struct node *node, size_t at, size_t bytes)
{
	if (at > node->size)
		memset(node->bytes + node->size, 0, at - node->size);
	memcpy(node->bytes + at, buffer, bytes);
	if (bytes && at + bytes > node->size)
		node->size = at + bytes;
	if (bytes)
		node->mtime_ns = 0;
}

static void model_truncate(struct node *node, size_t size)
{
	if (size > node->size)
		memset(node->bytes + node->size, 0, size - node->size);
	node->size = size;
	node->mtime_ns = 0;
}

static size_t fill(size_t most)
{
	size_t bytes = rnd(4) ? rnd(5000) : rnd(SIZE_MAX_BYTES);

	if (bytes > most)
		bytes = most;
	for (size_t i = 0; i < bytes; i++)
		buffer[i] = (uint8_t)(state >> (i % 7)) ^ (uint8_t)i;
	return bytes;
}

/* A name and its node, or a held descriptor: an open fd to work with. */
static int open_some(int *node, int flags)
{
	unsigned name = rnd(NAMES), slot = rnd(HELD);
	int fd;

	if (held[slot].fd >= 0 && !rnd(3)) {
		*node = held[slot].node;
		return dup(held[slot].fd);
	}
	fd = open(path_of(name), flags);
	*node = names[name];
	if (*node < 0) {
		must(fd < 0 && errno == ENOENT, "open of %s, which is not there", path_of(name));
		return -1;
	}
	must(fd >= 0, "open of %s", path_of(name));
	return fd;
}

static void do_create(void)
{
	unsigned name = rnd(NAMES);
	bool excl = rnd(2);
	int fd = open(path_of(name), O_RDWR | O_CREAT | (excl ? O_EXCL : 0), 0644);

	if (names[name] >= 0 && excl) {
		must(fd < 0 && errno == EEXIST, "exclusive create of %s", path_of(name));
		return;
	}
	must(fd >= 0, "create of %s", path_of(name));
	close(fd);
	if (names[name] < 0)
		name_set(name, node_new());
}

static void do_write(void)
{
	int node, fd = open_some(&node, O_RDWR);
	size_t at = rnd(SIZE_MAX_BYTES), bytes = fill(SIZE_MAX_BYTES - at);

	if (fd < 0)
		return;
	must(pwrite(fd, buffer, bytes, (off_t)at) == (ssize_t)bytes, "write");
	model_write(&nodes[node], at, bytes);
	must(!close(fd), "close");
}

static void do_append(void)
{
	unsigned name = rnd(NAMES);
	int fd = open(path_of(name), O_WRONLY | O_APPEND), node = names[name];
	size_t bytes;

	must((fd >= 0) == (node >= 0), "open for appending");
	if (fd < 0)
		return;
	bytes = fill(SIZE_MAX_BYTES - nodes[node].size);
	must(write(fd, buffer, bytes) == (ssize_t)bytes, "append");
	model_write(&nodes[node], nodes[node].size, bytes);
	close(fd);
}

static void do_read(void)
{
	int node, fd = open_some(&node, O_RDWR);
	size_t at = rnd(SIZE_MAX_BYTES), bytes = rnd(SIZE_MAX_BYTES), want;

	if (fd < 0)
		return;
	want = at >= nodes[node].size ? 0 : nodes[node].size - at < bytes ? nodes[node].size - at : bytes;
	must(pread(fd, buffer, bytes, (off_t)at) == (ssize_t)want, "read of %zu at %zu of %zu", bytes, at, nodes[node].size);
	must(!memcmp(buffer, nodes[node].bytes + at, want), "data of %zu at %zu", want, at);
	close(fd);
}

static void do_truncate(void)
{
	int node, fd = open_some(&node, O_RDWR);
	size_t size = rnd(SIZE_MAX_BYTES);

	if (fd < 0)
		return;
	must(!ftruncate(fd, (off_t)size), "truncate");
	model_truncate(&nodes[node], size);
	close(fd);
}

static void do_open_truncate(void)
{
	unsigned name = rnd(NAMES);
	int fd = open(path_of(name), O_WRONLY | O_TRUNC);

	must((fd >= 0) == (names[name] >= 0), "open to truncate");
	if (fd < 0)
		return;
	model_truncate(&nodes[names[name]], 0);
	close(fd);
}

static void do_unlink(void)
{
	unsigned name = rnd(NAMES);
	int ret = unlink(path_of(name));

	must(names[name] >= 0 ? !ret : ret && errno == ENOENT, "unlink of %s", path_of(name));
	name_set(name, -1);
}

static void do_rename(void)
{
	unsigned from = rnd(NAMES), to = rnd(NAMES), flags = rnd(3);
	long ret = syscall(SYS_renameat2, AT_FDCWD, path_of(from), AT_FDCWD, path_of(to), flags);
	int moved = names[from], victim = names[to];

	if (moved < 0 || (flags == 2 && victim < 0)) {
		must(ret && errno == ENOENT, "rename of nothing, flags %u", flags);
	} else if (flags == 1 && victim >= 0) {
		must(ret && errno == EEXIST, "rename over %s with NOREPLACE", path_of(to));
	} else {
		must(!ret, "rename of %s to %s, flags %u", path_of(from), path_of(to), flags);
		if (moved == victim)
			return; /* two names of one file: nothing happens */
		nodes[moved].links++;
		name_set(from, flags == 2 ? victim : -1);
		name_set(to, moved);
		nodes[moved].links--;
	}
}

static void do_link(void)
{
	unsigned from = rnd(NAMES), to = rnd(NAMES);
	int ret = link(path_of(from), path_of(to));

	if (names[from] < 0) {
		must(ret && errno == ENOENT, "link to nothing");
	} else if (names[to] >= 0) {
		must(ret && errno == EEXIST, "link over %s", path_of(to));
	} else {
		must(!ret, "link of %s", path_of(from));
		name_set(to, names[from]);
	}
}

static void do_stat(void)
{
	unsigned name = rnd(NAMES);
	struct stat st;
	int ret = stat(path_of(name), &st);
	struct node *node;

	must((names[name] >= 0) == !ret, "stat of %s", path_of(name));
	if (ret)
		return;
	node = &nodes[names[name]];
	must(st.st_size == (off_t)node->size && st.st_nlink == node->links && (st.st_mode & 07777) == node->mode,
	     "%s: size %lld (%zu) links %u (%u) mode %o (%o)", path_of(name), (long long)st.st_size, node->size,
	     (unsigned)st.st_nlink, node->links, st.st_mode & 07777, node->mode);
	if (node->mtime_ns)
		must(st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec == node->mtime_ns, "time of %s", path_of(name));
}

static void do_chmod(void)
{
	unsigned name = rnd(NAMES);
	mode_t mode = 0600 | rnd(0100);
	int ret = chmod(path_of(name), mode);

	must((names[name] >= 0) == !ret, "chmod of %s", path_of(name));
	if (!ret)
		nodes[names[name]].mode = mode;
}

static void do_times(void)
{
	unsigned name = rnd(NAMES);
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000000000 + rnd(1000000), .tv_nsec = rnd(1000000000)}};
	int ret = utimensat(AT_FDCWD, path_of(name), times, 0);

	must((names[name] >= 0) == !ret, "utimensat of %s", path_of(name));
	if (!ret)
		nodes[names[name]].mtime_ns = times[1].tv_sec * 1000000000ll + times[1].tv_nsec;
}

static void do_xattr(void)
{
	unsigned name = rnd(NAMES);
	int value = (int)rnd(100), have = 0;
	const char *path = path_of(name);
	ssize_t ret;

	if (!have_xattrs || names[name] < 0)
		return;
	ret = getxattr(path, "user.model", &have, sizeof(have));
	must(nodes[names[name]].xattr ? ret == sizeof(have) && have == nodes[names[name]].xattr : ret < 0 && errno == ENODATA,
	     "attribute of %s", path);
	if (value)
		must(!setxattr(path, "user.model", &value, sizeof(value), 0), "setxattr of %s", path);
	else
		must(!removexattr(path, "user.model") == !!nodes[names[name]].xattr, "removexattr of %s", path);
	nodes[names[name]].xattr = value;
}

static void do_fallocate(void)
{
	static const int modes[] = {0, 1 /* KEEP_SIZE */, 3 /* PUNCH_HOLE | KEEP_SIZE */};
	int node, fd = open_some(&node, O_RDWR), mode = modes[rnd(3)];
	size_t at = rnd(SIZE_MAX_BYTES), bytes = 1 + rnd((uint32_t)(SIZE_MAX_BYTES - at));
	struct node *n = &nodes[node];

	if (fd < 0)
		return;
	must(!fallocate(fd, mode, (off_t)at, (off_t)bytes), "fallocate %d", mode);
	if (mode == 0 && at + bytes > n->size)
		model_truncate(n, at + bytes);
	if (mode == 3 && at < n->size)
		memset(n->bytes + at, 0, at + bytes < n->size ? bytes : n->size - at);
	n->mtime_ns = 0;
	close(fd);
}

static void do_copy(void)
{
	int from, to, in = open_some(&from, O_RDONLY | O_RDWR), out = open_some(&to, O_RDWR);
	off_t at_in = rnd(SIZE_MAX_BYTES / 2), at_out = rnd(SIZE_MAX_BYTES / 2);
	size_t want = rnd(SIZE_MAX_BYTES / 2), left;

	if (in >= 0 && out >= 0 && from != to) {
		left = at_in >= (off_t)nodes[from].size ? 0 : nodes[from].size - (size_t)at_in;
		left = left < want ? left : want;
		memcpy(buffer, nodes[from].bytes + at_in, left);
		model_write(&nodes[to], (size_t)at_out, left);
		while (left) {
			ssize_t got = copy_file_range(in, &at_in, out, &at_out, left, 0);

			must(got > 0 && (size_t)got <= left, "copy_file_range");
			left -= (size_t)got;
		}
	}
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
}

static void do_map(void)
{
	int node, fd = open_some(&node, O_RDWR);
	struct node *n = &nodes[node];
	size_t at, bytes;
	uint8_t *map;

	if (fd < 0)
		return;
	if (n->size) {
		at = rnd((uint32_t)n->size);
		bytes = fill(n->size - at);
		map = mmap(NULL, n->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		must(map != MAP_FAILED && !memcmp(map, n->bytes, n->size), "mapping of %zu", n->size);
		memcpy(map + at, buffer, bytes);
		if (rnd(2))
			must(!msync(map, n->size, MS_SYNC), "msync");
		must(!munmap(map, n->size), "munmap");
		model_write(n, at, bytes);
	}
	n->mtime_ns = 0;
	close(fd);
}

static void do_hold(void)
{
	unsigned slot = rnd(HELD), name = rnd(NAMES);

	if (held[slot].fd >= 0) {
		must(!close(held[slot].fd), "close");
		nodes[held[slot].node].held--;
		held[slot].fd = -1;
	} else if (names[name] >= 0) {
		held[slot].fd = open(path_of(name), O_RDWR);
		must(held[slot].fd >= 0, "open of %s", path_of(name));
		held[slot].node = names[name];
		nodes[names[name]].held++;
	}
}

static void do_tmpfile(void)
{
	unsigned name = rnd(NAMES);
	char fd_path[64];
	size_t bytes;
	int fd, node, ret;

	if (!have_tmpfile)
		return;
	fd = open("d1", O_TMPFILE | O_RDWR, 0644);
	must(fd >= 0, "O_TMPFILE");
	bytes = fill(SIZE_MAX_BYTES);
	must(write(fd, buffer, bytes) == (ssize_t)bytes, "write to a nameless file");
	snprintf(fd_path, sizeof(fd_path), "/proc/self/fd/%d", fd);
	ret = linkat(AT_FDCWD, fd_path, AT_FDCWD, path_of(name), AT_SYMLINK_FOLLOW);
	must(names[name] >= 0 ? ret && errno == EEXIST : !ret, "link of a nameless file");
	if (!ret) {
		node = node_new();
		name_set(name, node);
		model_write(&nodes[node], 0, bytes);
	}
	close(fd);
}

static void do_list(void)
{
	bool seen[NAMES] = {false};
	unsigned which = rnd(DIRS), name;
	char path[8];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "d%u", which);
	dir = opendir(path);
	must(dir, "opendir");
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		must(sscanf(entry->d_name, "n%u", &name) == 1 && name < NAMES && !seen[name], "%s twice or never made", entry->d_name);
		seen[name] = true;
	}
	closedir(dir);
	for (name = which; name < NAMES; name += DIRS)
		must(seen[name] == (names[name] >= 0), "listing of %s", path_of(name));
}

static void do_directory(void)
{
	struct stat st;
	char target[64];

	must(!mkdir("d0/sub", 0755) && !symlink("../n0", "d0/sub/link") && rmdir("d0/sub") && errno == ENOTEMPTY, "mkdir");
	must(readlink("d0/sub/link", target, sizeof(target)) == 5, "readlink");
	must(!rename("d0/sub", "d1/sub") && !lstat("d1/sub/link", &st) && S_ISLNK(st.st_mode), "rename of a directory");
	must(!unlink("d1/sub/link") && !rmdir("d1/sub"), "rmdir");
}

static void do_sync(void)
{
	int node, fd = open_some(&node, O_RDWR);

	if (fd < 0)
		return;
	must(!(rnd(2) ? fsync(fd) : fdatasync(fd)), "fsync");
	close(fd);
}

static void set_up(void)
{
	char path[8];
	int fd;

	for (unsigned i = 0; i < DIRS; i++) {
		snprintf(path, sizeof(path), "d%u", i);
		must(!mkdir(path, 0755), "mkdir %s: the directory must be empty", path);
	}
	for (unsigned i = 0; i < NAMES; i++)
		names[i] = -1;
	for (unsigned i = 0; i < HELD; i++)
		held[i].fd = -1;
	have_xattrs = !setxattr("d0", "user.model", "x", 1, 0);
	fd = open("d1", O_TMPFILE | O_RDWR, 0644);
	have_tmpfile = fd >= 0;
	close(fd);
}

int main(int argc, char **argv)
{
	static void (*const steps[])(void) = {
		do_create, do_create, do_create, do_write, do_write, do_append, do_read, do_read, do_read, do_truncate, do_open_truncate,
		do_unlink, do_rename, do_rename, do_link, do_stat, do_stat, do_stat, do_chmod, do_times, do_xattr, do_fallocate,
		do_copy, do_map, do_map, do_hold, do_hold, do_tmpfile, do_list, do_directory, do_sync,
	};
	uint64_t count;

	setvbuf(stdout, NULL, _IONBF, 0);
	if (argc != 4 || chdir(argv[1])) {
		fprintf(stderr, "usage: fs_model DIR SEED STEPS\n");
		return 2;
	}
	umask(0);
	seed = strtoull(argv[2], NULL, 0);
	count = strtoull(argv[3], NULL, 0);
	state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	set_up();
	for (step = 0; step < count; step++)
		steps[rnd(sizeof(steps) / sizeof(steps[0]))]();
	printf("fs_model: seed %llu, %llu steps%s%s\n", (unsigned long long)seed, (unsigned long long)count,
	       have_xattrs ? "" : ", no attributes", have_tmpfile ? "" : ", no nameless files");
	return 0;
}
