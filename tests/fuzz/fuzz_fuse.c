/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_fuse: what a hostile guest can ask of the FUSE server, on a small tree of real files.
 *
 * An input is a list of requests: two bytes (little-endian: low 13 bits length, high 3 bits how much room the reply
 * has), then the request. Node and handle numbers may be small ones (fuse_ids.h); len in the header is set right
 * unless it is 0xffffffff.
 *
 * Oracles: no sanitizer report; a reply fits its room and says its own length; nothing outside the writable share
 * changed and the secret beside the shares never shows up in a reply; all descriptors are given back. Where mounting is
 * allowed, the read-only share has a /proc below it, of which nothing may be read.
 */
#include "devices/fuse.h"
#include "lib/util.h"
#include "tests/fuzz/fuse_ids.h"
#include "tests/fuzz/input.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	REQUESTS_MAX = 64,
	LENGTH_BITS = 13,
	ROOM_MAX = 1 << 17,
	FILE_BYTES_MAX = 1 << 20, /* of what the guest writes: the tree lies in memory */
};

static const char secret[] = "SECRET-THAT-NOBODY-MAY-READ", proc_secret[] = "Linux version ";

static char base[PATH_MAX];
static int base_fd, rw_fd;
static struct fuse *fuse;
static bool proc_mounted;
static struct timespec ro_changed, sub_changed, secret_changed, base_changed;

/* By descriptors: a guest can make paths longer than PATH_MAX, and directories nobody may enter. */
static void empty_dir(int dirfd)
{
	DIR *dir = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *entry;
	int fd;

	must(dir, "directory can not be opened");
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (!unlinkat(dirfd, entry->d_name, 0))
			continue;
		fchmodat(dirfd, entry->d_name, 0700, 0);
		fd = openat(dirfd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		must(fd >= 0, "directory can not be entered");
		empty_dir(fd);
		close(fd);
		must(!unlinkat(dirfd, entry->d_name, AT_REMOVEDIR), "directory can not be removed");
	}
	closedir(dir);
}

static void put_file(int dirfd, const char *name, const char *text)
{
	int fd = openat(dirfd, name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);

	must(fd >= 0 && !write_all(fd, text, strlen(text)), "file can not be made");
	close(fd);
}

static struct timespec changed(const char *name)
{
	struct stat st;

	must(!fstatat(base_fd, name, &st, AT_SYMLINK_NOFOLLOW), "a file outside is gone");
	return st.st_ctim;
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static void fill_rw(void)
{
	fchmod(rw_fd, 0755);
	empty_dir(rw_fd);
	put_file(rw_fd, "file", "hello");
	must(!mkdirat(rw_fd, "dir", 0755) && !symlinkat("../secret", rw_fd, "out") &&
	     !symlinkat("..", rw_fd, "up") && !mkfifoat(rw_fd, "fifo", 0666), "tree can not be made");
	put_file(rw_fd, "dir/inner", "below");
}

static void clean_up(void)
{
	char proc[PATH_MAX + 8];

	snprintf(proc, sizeof(proc), "%s/ro/proc", base);
	if (proc_mounted)
		umount2(proc, MNT_DETACH);
	empty_dir(base_fd);
	rmdir(base);
}

/* On the first input: also when replayed, and after libFuzzer took SIGXFSZ for itself. */
static void set_up(void)
{
	const struct fuse_limits limits = {.inodes = 64, .inode_fds = 3, .inode_fds_max = 24, .handles = 8};
	const struct rlimit file_size = {FILE_BYTES_MAX, FILE_BYTES_MAX};
	char ro[PATH_MAX + 8];

	setrlimit(RLIMIT_FSIZE, &file_size);
	signal(SIGXFSZ, SIG_IGN);
	snprintf(base, sizeof(base), "%s/fuzz_fuse.XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	must(mkdtemp(base), "no directory to work in");
	base_fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(base_fd >= 0 && !mkdirat(base_fd, "rw", 0755) && !mkdirat(base_fd, "ro", 0755) &&
	     !mkdirat(base_fd, "ro/sub", 0755), "tree can not be made");
	atexit(clean_up);
	rw_fd = openat(base_fd, "rw", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	put_file(base_fd, "secret", secret);
	put_file(base_fd, "ro/file", "read only");
	ro_changed = changed("ro/file");
	must(!mkdirat(base_fd, "ro/proc", 0755), "tree can not be made");
	snprintf(ro, sizeof(ro), "%s/ro/proc", base);
	if (!unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		proc_mounted = !mount("proc", ro, "proc", 0, NULL);
	sub_changed = changed("ro/sub");
	secret_changed = changed("secret");
	base_changed = changed(".");
	fuse = fuse_new(&limits);
	snprintf(ro, sizeof(ro), "%s/rw", base);
	must(fuse && !fuse_share_add(fuse, "rw", ro, false), "share refused");
	snprintf(ro, sizeof(ro), "%s/ro", base);
	must(!fuse_share_add(fuse, "ro", ro, true), "share refused");
	snprintf(ro, sizeof(ro), "%s/ro/file", base);
	must(!fuse_share_add(fuse, "one", ro, true), "share refused");
	fill_rw();
}

/* Not memmem(): libFuzzer looks over its shoulder and would write the secret into a file of its own. */
static bool holds(const uint8_t *reply, size_t bytes, const char *text)
{
	size_t length = strlen(text), at, same;
	unsigned differ;

	for (at = 0; at + length <= bytes; at++) {
		for (same = 0, differ = 0; same < length; same++)
			differ |= (unsigned)(reply[at + same] ^ (uint8_t)text[same]);
		if (!differ)
			return true;
	}
	return false;
}

static void serve(struct fuse_ids *ids, uint8_t *request, size_t bytes, size_t room)
{
	static uint8_t reply[ROOM_MAX];
	size_t cut = MIN(bytes, 70);
	struct iovec out[2] = {{request, cut}, {request + cut, bytes - cut}}, in = {reply, room};
	struct fuse_out_header answer;
	struct fuse_in_header head;
	ssize_t got;

	if (bytes >= sizeof(head)) {
		memcpy(&head, request, sizeof(head));
		if (head.len != UINT32_MAX)
			head.len = (uint32_t)bytes;
		memcpy(request, &head, sizeof(head));
	}
	ids_translate(ids, request, bytes, true);
	got = fuse_handle(fuse, out, 2, &in, 1);
	if (got <= 0) {
		must(got == 0 || got == -EPROTO, "neither reply nor refusal");
		return;
	}
	must(got >= (ssize_t)sizeof(answer) && (size_t)got <= room, "reply larger than its room");
	memcpy(&answer, reply, sizeof(answer));
	must(answer.len == got && answer.unique == head.unique, "reply is not one to this request");
	must(answer.error <= 0 && answer.error > -512 && (!answer.error || got == sizeof(answer)), "odd status");
	must(!holds(reply, (size_t)got, secret), "the secret is out");
	must(!holds(reply, (size_t)got, proc_secret), "/proc was read");
	if (!answer.error)
		ids_learn(ids, head.opcode, reply + sizeof(answer), (size_t)got - sizeof(answer));
}

static int lowest_fd(void)
{
	int fd = fcntl(base_fd, F_DUPFD_CLOEXEC, 0);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static const size_t rooms[] = {ROOM_MAX, 0, 16, 40, 144, 160, 300, 4096};
	static struct fuse_ids ids;
	uint8_t request[1 << LENGTH_BITS];
	unsigned count, word;
	size_t length;
	int fd;

	if (!fuse)
		set_up();
	fd = lowest_fd();
	memset(&ids, 0, sizeof(ids));
	for (count = 0; count < REQUESTS_MAX && bytes >= 2; count++) {
		word = data[0] | (unsigned)data[1] << 8;
		length = MIN(word & ((1u << LENGTH_BITS) - 1), bytes - 2);
		memcpy(request, data + 2, length);
		serve(&ids, request, length, rooms[word >> LENGTH_BITS]);
		data += 2 + length;
		bytes -= 2 + length;
	}
	fuse_reset(fuse);
	must(lowest_fd() == fd, "a descriptor was not given back");
	must(same_time(ro_changed, changed("ro/file")) && same_time(sub_changed, changed("ro/sub")) &&
	     same_time(secret_changed, changed("secret")) && same_time(base_changed, changed(".")),
	     "something outside the writable share changed");
	fill_rw();
	return 0;
}
