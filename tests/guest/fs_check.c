// SPDX-License-Identifier: Apache-2.0
/*
 * fs_check DIR: what programs rely on in a directory they may write to, one check after the other; for volumes of a
 * pod, and on any other file system to see that the checks are right. As root. Prints what failed; ends with the
 * number of the first check that did (counted from 1), 0 when none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

/* A failed expectation leaves the check it stands in. */
#define MUST(cond)                                                                                                     \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			printf("line %d: %s (errno %d, %s)\n", __LINE__, #cond, errno, strerror(errno));               \
			return false;                                                                                  \
		}                                                                                                      \
	} while (0)

static bool is_content(const char *name, const char *text)
{
	char have[256];
	int fd = open(name, O_RDONLY);
	ssize_t bytes = read(fd, have, sizeof(have));

	close(fd);
	return bytes == (ssize_t)strlen(text) && !memcmp(have, text, (size_t)bytes);
}

static int file_make(const char *name, const char *text)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	if (fd >= 0 && write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		return -1;
	return fd;
}

/* Runs fn in another process; its result. */
static bool elsewhere(bool (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(fn() ? 0 : 1);
	return waitpid(pid, &status, 0) == pid && status == 0;
}

static bool creates(void)
{
	struct stat st;
	int fd;

	umask(027);
	fd = open("made", O_RDWR | O_CREAT | O_EXCL, 0666);
	MUST(fd >= 0 && !fstat(fd, &st) && st.st_mode == (S_IFREG | 0640));
	umask(0);
	MUST(open("made", O_RDWR | O_CREAT | O_EXCL, 0666) < 0 && errno == EEXIST);
	MUST(write(fd, "0123456789", 10) == 10 && !close(fd));
	fd = open("made", O_WRONLY | O_TRUNC);
	MUST(fd >= 0 && !fstat(fd, &st) && st.st_size == 0);
	MUST(!close(fd) && !unlink("made") && stat("made", &st) && errno == ENOENT);
	MUST(!mkdir("dir", 0777) && mkdir("dir", 0777) && errno == EEXIST);
	MUST(!stat("dir", &st) && st.st_mode == (S_IFDIR | 0777) && !rmdir("dir"));
	return true;
}

static bool appends(void)
{
	int a = file_make("log", "start"), b = open("log", O_WRONLY | O_APPEND), c = open("log", O_WRONLY | O_APPEND);

	MUST(a >= 0 && b >= 0 && c >= 0);
	MUST(write(b, "+b", 2) == 2 && write(c, "+c", 2) == 2 && write(b, "+b", 2) == 2);
	MUST(is_content("log", "start+b+c+b"));
	MUST(!close(a) && !close(b) && !close(c) && !unlink("log"));
	return true;
}

static bool renames(void)
{
	MUST(close(file_make("a", "A")) == 0 && close(file_make("b", "B")) == 0);
	MUST(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 1 /* NOREPLACE */) < 0 && errno == EEXIST);
	MUST(!syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 2 /* EXCHANGE */));
	MUST(is_content("a", "B") && is_content("b", "A"));
	MUST(!rename("a", "b") && is_content("b", "B") && access("a", F_OK));
	MUST(!mkdir("d1", 0755) && !mkdir("d2", 0755) && !rename("b", "d1/b") && !rename("d1", "d2/d1"));
	MUST(is_content("d2/d1/b", "B"));
	MUST(rename("d2", "d2/d1/x") && errno == EINVAL);
	MUST(rmdir("d2") && errno == ENOTEMPTY);
	MUST(!unlink("d2/d1/b") && !rmdir("d2/d1") && !rmdir("d2"));
	return true;
}

static bool links(void)
{
	char target[64];
	struct stat st;

	MUST(close(file_make("a", "A")) == 0 && !link("a", "b") && !stat("a", &st) && st.st_nlink == 2);
	MUST(!symlink("a", "s") && readlink("s", target, sizeof(target)) == 1 && target[0] == 'a');
	MUST(is_content("s", "A") && !lstat("s", &st) && S_ISLNK(st.st_mode));
	MUST(!unlink("a") && is_content("b", "A") && access("s", F_OK) && !unlink("s") && !unlink("b"));
	return true;
}

static bool no_longer_there(void)
{
	int fd = file_make("gone", "still");
	char have[8];
	struct stat st;

	MUST(fd >= 0 && !unlink("gone") && pwrite(fd, " here", 3, 5) == 3 && pread(fd, have, 8, 0) == 8);
	MUST(!memcmp(have, "still he", 8) && !fstat(fd, &st) && st.st_nlink == 0 && st.st_size == 8);
	MUST(!ftruncate(fd, 3) && !fchmod(fd, 0600) && !fsync(fd) && !close(fd));
	return true;
}

static bool nameless(void)
{
	int fd = open(".", O_TMPFILE | O_RDWR, 0600);
	char path[64];

	if (fd < 0 && errno == EOPNOTSUPP)
		return true;
	MUST(fd >= 0 && write(fd, "named later", 11) == 11);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	MUST(!linkat(AT_FDCWD, path, AT_FDCWD, "later", AT_SYMLINK_FOLLOW) && is_content("later", "named later"));
	MUST(!close(fd) && !unlink("later"));
	return true;
}

static bool attributes(void)
{
	struct timespec times[2] = {{1000000000, 123456789}, {1500000000, 987654321}};
	struct stat st;
	int fd = file_make("a", "A");

	MUST(fd >= 0 && !futimens(fd, times) && !stat("a", &st));
	MUST(st.st_atim.tv_sec == 1000000000 && st.st_mtim.tv_sec == 1500000000 && st.st_mtim.tv_nsec == 987654321);
	MUST(!chmod("a", 04711) && !stat("a", &st) && st.st_mode == (S_IFREG | 04711));
	MUST(!truncate("a", 100000) && !stat("a", &st) && st.st_size == 100000);
	MUST(truncate("a", -1) && errno == EINVAL);
	MUST(!close(fd) && !unlink("a"));
	return true;
}

static bool extended_attributes(void)
{
	static char big[70000];
	char have[64], list[64];
	int fd = file_make("x", "");

	if (fsetxattr(fd, "user.one", "1", 1, 0) && errno == EOPNOTSUPP)
		return !unlink("x");
	MUST(!setxattr("x", "user.two", "22", 2, XATTR_CREATE));
	MUST(setxattr("x", "user.two", "22", 2, XATTR_CREATE) && errno == EEXIST);
	MUST(setxattr("x", "user.three", "", 0, XATTR_REPLACE) && errno == ENODATA);
	MUST(getxattr("x", "user.two", have, sizeof(have)) == 2 && getxattr("x", "user.two", NULL, 0) == 2);
	MUST(getxattr("x", "user.two", have, 1) < 0 && errno == ERANGE);
	MUST(listxattr("x", list, sizeof(list)) >= 18 && listxattr("x", list, 3) < 0 && errno == ERANGE);
	MUST(setxattr("x", "user.big", big, sizeof(big), 0) && (errno == E2BIG || errno == ENOSPC || errno == ERANGE));
	MUST(!removexattr("x", "user.one") && getxattr("x", "user.one", have, 1) < 0 && errno == ENODATA);
	MUST(!close(fd) && !unlink("x"));
	return true;
}

static bool allocates(void)
{
	int fd = file_make("f", "");
	char have[4096], zeros[4096] = "";
	struct stat st;

	MUST(fd >= 0 && !fallocate(fd, 0, 0, 65536) && !fstat(fd, &st) && st.st_size == 65536);
	memset(have, 'x', sizeof(have));
	MUST(pwrite(fd, have, sizeof(have), 8192) == sizeof(have));
	MUST(!fallocate(fd, 3 /* PUNCH_HOLE | KEEP_SIZE */, 8192, 4096) || errno == EOPNOTSUPP);
	MUST(pread(fd, have, sizeof(have), 8192) == sizeof(have) && !memcmp(have, zeros, sizeof(have)));
	MUST(!ftruncate(fd, 0) && pwrite(fd, "end", 3, 1 << 20) == 3);
	MUST(lseek(fd, 0, SEEK_DATA) >= 0 && lseek(fd, 0, SEEK_HOLE) >= 0 && lseek(fd, 1 << 21, SEEK_DATA) < 0 && errno == ENXIO);
	MUST(!close(fd) && !unlink("f"));
	return true;
}

static bool copies(void)
{
	int from = file_make("from", "some data to be copied"), to = file_make("to", "");
	off_t at = 5;

	MUST(from >= 0 && to >= 0);
	MUST(copy_file_range(from, &at, to, NULL, 1000, 0) == 17 && at == 22 && is_content("to", "data to be copied"));
	MUST(!close(from) && !close(to) && !unlink("from") && !unlink("to"));
	return true;
}

static bool maps(void)
{
	int fd = file_make("m", "");
	char *at;

	MUST(fd >= 0 && !ftruncate(fd, 10000));
	at = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(at != MAP_FAILED);
	strcpy(at + 4090, "across a page");
	MUST(!msync(at, 10000, MS_SYNC) && !munmap(at, 10000));
	at = mmap(NULL, 10000, PROT_READ, MAP_PRIVATE, fd, 0);
	MUST(at != MAP_FAILED && !strcmp(at + 4090, "across a page") && !munmap(at, 10000) && !close(fd));
	return true; /* "m" stays: the host looks at it */
}

static bool cannot_lock(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10};
	int fd = open("lock", O_RDWR);

	MUST(fcntl(fd, F_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES));
	MUST(!fcntl(fd, F_GETLK, &lock) && lock.l_type == F_WRLCK && lock.l_pid == getppid());
	lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 20, .l_len = 10};
	MUST(!fcntl(fd, F_SETLK, &lock));
	MUST(flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK);
	return true;
}

static bool can_lock(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10};
	int fd = open("lock", O_RDWR);

	MUST(!fcntl(fd, F_SETLKW, &lock) && !flock(fd, LOCK_EX));
	return true;
}

static bool locks(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10};
	int fd = file_make("lock", ""), other = open("lock", O_RDWR);

	MUST(fd >= 0 && !fcntl(fd, F_SETLK, &lock) && !flock(other, LOCK_EX) && elsewhere(cannot_lock));
	lock.l_type = F_UNLCK;
	MUST(!fcntl(fd, F_SETLK, &lock) && !flock(other, LOCK_UN) && elsewhere(can_lock));
	MUST(!close(fd) && !close(other) && !unlink("lock"));
	return true;
}

static bool write_fifo(void)
{
	int fd = open("fifo", O_WRONLY);

	MUST(fd >= 0 && write(fd, "through", 7) == 7);
	return true;
}

static bool fifos(void)
{
	char have[16];
	pid_t pid;
	int fd;

	MUST(!mkfifo("fifo", 0600));
	pid = fork();
	if (pid == 0)
		_exit(write_fifo() ? 0 : 1);
	fd = open("fifo", O_RDONLY);
	MUST(fd >= 0 && read(fd, have, sizeof(have)) == 7 && !memcmp(have, "through", 7));
	MUST(waitpid(pid, NULL, 0) == pid && !close(fd) && !unlink("fifo"));
	return true;
}

static bool sockets(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "sock"};
	int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
	struct stat st;

	MUST(!bind(server, (struct sockaddr *)&at, sizeof(at)) && !listen(server, 1));
	MUST(!stat("sock", &st) && S_ISSOCK(st.st_mode));
	MUST(!connect(client, (struct sockaddr *)&at, sizeof(at)) && write(client, "hi", 2) == 2);
	MUST(open("sock", O_RDWR) < 0 && errno == ENXIO);
	MUST(!close(client) && !close(server) && !unlink("sock"));
	return true;
}

static bool refuses(void)
{
	struct pollfd poll_fd = {.events = POLLIN | POLLOUT};
	int fd = file_make("r", "x"), flags;
	bool on_fuse;

	MUST(fd >= 0);
	on_fuse = ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0;
	MUST(!on_fuse || errno == ENOTTY);
	MUST(ioctl(fd, 0x5401 /* TCGETS */, &flags) < 0 && errno == ENOTTY);
	MUST(!on_fuse || (mknod("null", S_IFCHR | 0666, makedev(1, 3)) < 0 && errno == EPERM));
	poll_fd.fd = fd;
	MUST(poll(&poll_fd, 1, 0) == 1 && poll_fd.revents == (POLLIN | POLLOUT));
	MUST(!close(fd) && !unlink("r"));
	return true;
}

static bool write_as_other(void)
{
	int fd;

	MUST(!setgid(1000) && !setuid(1000));
	fd = open("suid", O_WRONLY);
	MUST(fd >= 0 && write(fd, "x", 1) == 1 && !close(fd));
	return true;
}

static bool loses_set_user_id(void)
{
	struct stat st;

	MUST(!close(file_make("suid", "program")) && !chmod("suid", 06777) && elsewhere(write_as_other));
	MUST(!stat("suid", &st) && st.st_mode == (S_IFREG | 0777) && !unlink("suid"));
	return true;
}

static bool make_as_other(void)
{
	struct stat st;

	MUST(!setgid(1000) && !setuid(1001) && !close(file_make("open/theirs", "x")) && !stat("open/theirs", &st));
	/* with podvm of an ordinary user it is the pod's root's */
	MUST((st.st_uid == 1001 && st.st_gid == 1000) || (st.st_uid == 0 && st.st_gid == 0));
	return true;
}

static bool owners(void)
{
	MUST(!mkdir("open", 01777) && elsewhere(make_as_other) && !unlink("open/theirs") && !rmdir("open"));
	return true;
}

static bool syncs(void)
{
	int dir = open(".", O_RDONLY | O_DIRECTORY), fd = file_make("s", "x");
	struct statvfs vfs;

	MUST(dir >= 0 && !fsync(fd) && !fdatasync(fd) && !fsync(dir) && !syncfs(dir));
	MUST(!fstatvfs(dir, &vfs) && vfs.f_blocks && vfs.f_namemax == 255);
	MUST(!close(dir) && !close(fd) && !unlink("s"));
	return true;
}

static bool notifies(void)
{
	char event[512];
	int fd = inotify_init1(IN_NONBLOCK);

	MUST(fd >= 0 && inotify_add_watch(fd, ".", IN_CREATE) > 0 && !close(file_make("n", "x")));
	MUST(read(fd, event, sizeof(event)) > 0 && !close(fd) && !unlink("n"));
	return true;
}

/* O_DIRECT, mixed with the page cache; a file system may refuse it (EINVAL), as tmpfs did before Linux 6.6. */
static bool moves_directly(void)
{
	enum { BLOCK = 4096, BLOCKS = 300 }; /* more than one request */
	int fd = open("direct", O_RDWR | O_CREAT | O_DIRECT, 0644), cached;
	char *map, *buffer;

	if (fd < 0 && errno == EINVAL)
		return true;
	MUST(fd >= 0 && (buffer = aligned_alloc(BLOCK, BLOCK * BLOCKS)));
	for (unsigned i = 0; i < BLOCKS; i++)
		memset(buffer + BLOCK * i, 'a' + (int)i % 26, BLOCK);
	MUST(pwrite(fd, buffer, BLOCK * BLOCKS, 0) == BLOCK * BLOCKS);
	memset(buffer, 0, BLOCK * BLOCKS);
	MUST(pread(fd, buffer, BLOCK * BLOCKS, 0) == BLOCK * BLOCKS);
	for (unsigned i = 0; i < BLOCKS; i++)
		MUST(buffer[BLOCK * i] == 'a' + (char)(i % 26) && !memcmp(buffer + BLOCK * i, buffer + BLOCK * i + 1, BLOCK - 1));
	/* what is in the page cache is seen, and what goes past it does not leave the old there */
	cached = open("direct", O_RDWR);
	MUST(cached >= 0 && pwrite(cached, "CACHED", 6, BLOCK) == 6);
	MUST(pread(fd, buffer, BLOCK, BLOCK) == BLOCK && !memcmp(buffer, "CACHEDbb", 8));
	memset(buffer, '!', BLOCK);
	MUST(pwrite(fd, buffer, BLOCK, 0) == BLOCK && pread(cached, buffer + BLOCK, 8, 0) == 8);
	MUST(!memcmp(buffer + BLOCK, "!!!!!!!!", 8));
	map = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, cached, 0);
	MUST(map != MAP_FAILED && map[7] == '!' && !munmap(map, BLOCK));
	MUST(pread(fd, buffer, BLOCK, BLOCK * BLOCKS) == 0); /* the end */
	free(buffer);
	MUST(!close(cached) && !close(fd) && !unlink("direct"));
	return true;
}

int main(int argc, char **argv)
{
	static bool (*const checks[])(void) = {
		creates, appends, renames, links, no_longer_there, nameless, attributes, extended_attributes, allocates, copies, maps,
		locks, fifos, sockets, refuses, loses_set_user_id, owners, syncs, notifies,
		moves_directly,
	};
	size_t i;

	setvbuf(stdout, NULL, _IONBF, 0);
	if (argc != 2 || chdir(argv[1])) {
		fprintf(stderr, "usage: fs_check DIR\n");
		return 100;
	}
	umask(0);
	for (i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		if (!checks[i]())
			return (int)i + 1;
	printf("fs_check: %zu checks\n", i);
	return 0;
}
