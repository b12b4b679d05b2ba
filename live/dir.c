// SPDX-License-Identifier: Apache-2.0
/*
 * dir: see dir.h. Owns where the state directory is, what lies in a pod's part of it and who holds it; must not know what
 * the files say.
 *
 * Theory of operation
 * -------------------
 * A pod is alive while its lock is held, by fcntl() on the open file (F_OFD_SETLK): the kernel drops it with the process,
 * and others can ask for it without taking it (F_OFD_GETLK), so that looking never keeps a pod from starting. flock() can
 * not be asked.
 *
 * Who ends removes its files, the lock last of them, then the directory, and only then lets go. Who begins may have opened
 * what is being removed; so after it took the lock it looks whether directory and lock still are those at their names, and
 * begins again if not. Between the removal of the lock and that of the directory another may put a new lock there: then the
 * directory is not empty and stays, being the other's.
 */
#include "live/dir.h"

#include "lib/util.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	TRIES_MAX = 1000, /* against pods that end while we begin */
	NAME_TRIES_MAX = 20,
	SUFFIX_LETTERS = 5,
	LISTEN_BACKLOG = 64,
	LOOK_AGAIN_MS = 10,
	PID_BYTES_MAX = 32,
};

struct dir_pod {
	char name[DIR_NAME_BYTES_MAX + 1];
	int base, dir, lock;
};

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool dir_name_good(const char *name)
{
	size_t bytes = strlen(name);

	if (!is_alnum(*name) || bytes > DIR_NAME_BYTES_MAX)
		return false;
	for (size_t i = 0; i < bytes; i++)
		if (!is_alnum(name[i]) && !strchr("-_.", name[i]))
			return false;
	return true;
}

/* ---- the state directory ---- */

/* XDG_RUNTIME_DIR only when it is ours: sudo may leave that of another user. Freed by the caller. */
static char *base_path(void)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	struct stat st;

	if (runtime && *runtime == '/' && stat(runtime, &st) == 0 && st.st_uid == geteuid())
		return xasprintf("%s/podvm", runtime);
	if (geteuid() == 0)
		return xstrdup("/run/podvm");
	return xasprintf("/tmp/podvm-%u", (unsigned)geteuid());
}

/* What others may write to, or have made, is not trusted: whoever controls it would be handed the user's terminal. */
static int base_check(int fd, const char *path, char **why)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (st.st_uid != geteuid())
		*why = xasprintf("%s belongs to another user (uid %u)", path, (unsigned)st.st_uid);
	else if (st.st_mode & 077)
		*why = xasprintf("%s is open to other users (mode %04o); chmod 700 it", path, (unsigned)st.st_mode & 07777);
	else
		return 0;
	return -EPERM;
}

/* A descriptor, or -errno, then with *why (freed by the caller) where why is not NULL. */
static int base_open(bool make, char **why)
{
	char *path = base_path(), *text = NULL;
	int fd = -1, err = 0;

	if (make && mkdir(path, 0700) && errno != EEXIST)
		err = -errno;
	if (!err) {
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		err = fd < 0 ? -errno : base_check(fd, path, &text);
	}
	if (err && why)
		*why = text ? text : xasprintf("%s: %s", path, err == -ENOTDIR || err == -ELOOP ? "not a directory" : strerror(-err));
	else
		free(text);
	if (err && fd >= 0)
		close(fd);
	free(path);
	return err ? err : fd;
}

/* ---- locks ---- */

static int lock_open(int dir, int flags)
{
	int fd = openat(dir, "lock", flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	return fd < 0 ? -errno : fd;
}

static int lock_take(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static bool lock_held(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static bool still_at(int parent, const char *name, int fd)
{
	struct stat named, opened;

	return fstatat(parent, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &opened) == 0 &&
	       named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
}

/* ---- a pod's own ---- */

static int pod_dir_open(int base, const char *name)
{
	int fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* All files save the lock. */
static void files_remove(int dir)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	if (!list) {
		if (copy >= 0)
			close(copy);
		return;
	}
	while ((entry = readdir(list)))
		if (strcmp(entry->d_name, "lock") != 0 && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dir, entry->d_name, 0);
	closedir(list);
}

/* One attempt. 0; -EEXIST: a live pod has it; -EAGAIN: it was just being removed; -errno. */
static int pod_try(struct dir_pod *pod)
{
	int err;

	pod->lock = -1;
	if (mkdirat(pod->base, pod->name, 0700) && errno != EEXIST)
		return -errno;
	pod->dir = pod_dir_open(pod->base, pod->name);
	if (pod->dir < 0)
		return pod->dir == -ENOENT ? -EAGAIN : pod->dir;
	pod->lock = lock_open(pod->dir, O_RDWR | O_CREAT);
	if (pod->lock < 0)
		return pod->lock == -ENOENT ? -EAGAIN : pod->lock;
	err = lock_take(pod->lock);
	if (err)
		return err == -EAGAIN ? -EEXIST : err;
	return still_at(pod->base, pod->name, pod->dir) && still_at(pod->dir, "lock", pod->lock) ? 0 : -EAGAIN;
}

static int pod_take(struct dir_pod *pod)
{
	int err = -EAGAIN;

	for (unsigned i = 0; i < TRIES_MAX && err == -EAGAIN; i++) {
		err = pod_try(pod);
		if (err && pod->lock >= 0)
			close(pod->lock);
		if (err && pod->dir >= 0)
			close(pod->dir);
	}
	return err;
}

static void letters_random(char *dst)
{
	unsigned char bytes[SUFFIX_LETTERS];

	if (getrandom(bytes, sizeof(bytes), GRND_NONBLOCK) != (ssize_t)sizeof(bytes))
		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = (unsigned char)((clock_mono_ns() >> (4 * i)) ^ (unsigned)getpid());
	for (unsigned i = 0; i < sizeof(bytes); i++)
		dst[i] = (char)('a' + bytes[i] % 26);
	dst[sizeof(bytes)] = 0;
}

static int pod_take_near(struct dir_pod *pod, const char *name)
{
	char letters[SUFFIX_LETTERS + 1];
	int err = -EEXIST;

	if (*name) {
		snprintf(pod->name, sizeof(pod->name), "%s", name);
		err = pod_take(pod);
	}
	for (unsigned i = 0; i < NAME_TRIES_MAX && err == -EEXIST; i++) {
		letters_random(letters);
		snprintf(pod->name, sizeof(pod->name), "%.*s-%s", (int)(DIR_NAME_BYTES_MAX - sizeof(letters)),
			 *name ? name : "pod", letters);
		err = pod_take(pod);
	}
	return err;
}

int dir_pod_make(const char *name, bool exact, struct dir_pod **made, char **why)
{
	struct dir_pod *pod = xcalloc(1, sizeof(*pod));
	char pid[PID_BYTES_MAX];
	int err;

	*why = NULL;
	assert(!*name || dir_name_good(name));
	pod->base = base_open(true, why);
	if (pod->base < 0) {
		err = pod->base;
		free(pod);
		return err;
	}
	snprintf(pod->name, sizeof(pod->name), "%s", name);
	err = exact ? pod_take(pod) : pod_take_near(pod, name);
	if (err) {
		*why = err == -EEXIST ? xasprintf("a pod \"%s\" runs already", name)
				      : xasprintf("state directory of the pod: %s", strerror(-err));
		close(pod->base);
		free(pod);
		return err;
	}
	files_remove(pod->dir);
	snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	err = dir_pod_write(pod, "pid", pid, strlen(pid));
	if (err) {
		*why = xasprintf("state directory of the pod can not be written: %s", strerror(-err));
		dir_pod_free(pod);
		return err;
	}
	*made = pod;
	return 0;
}

const char *dir_pod_name(const struct dir_pod *pod)
{
	return pod->name;
}

int dir_pod_write(struct dir_pod *pod, const char *file, const void *bytes, size_t count)
{
	int fd = openat(pod->dir, ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int err;

	if (fd < 0)
		return -errno;
	err = write_all(fd, bytes, count);
	if (close(fd) && !err)
		err = -errno;
	if (!err && renameat(pod->dir, ".new", pod->dir, file))
		err = -errno;
	if (err)
		unlinkat(pod->dir, ".new", 0);
	return err;
}

/* A path in a socket's address is short; this one is short however long the directory's is. */
static void control_addr(int dir, struct sockaddr_un *addr)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/control", dir);
}

int dir_pod_listen(struct dir_pod *pod)
{
	struct sockaddr_un addr;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err;

	if (fd < 0)
		return -errno;
	control_addr(pod->dir, &addr);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || fchmodat(pod->dir, "control", 0600, 0) ||
	    listen(fd, LISTEN_BACKLOG)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

void dir_pod_free(struct dir_pod *pod)
{
	if (!pod)
		return;
	files_remove(pod->dir);
	unlinkat(pod->dir, "lock", 0);
	unlinkat(pod->base, pod->name, AT_REMOVEDIR);
	close(pod->lock);
	close(pod->dir);
	close(pod->base);
	free(pod);
}

/* ---- as commands see it ---- */

static int text_read(int dir, const char *file, size_t max, char **text, size_t *bytes)
{
	char path[64 + 256];
	struct stat st;

	if (strlen(file) > 255)
		return -ENAMETOOLONG;
	/* Opening what is none may wait for ever. */
	if (fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? -ENOENT : -EIO;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, file);
	return file_read(path, max, text, bytes);
}

static int entry_fill(int base, const char *name, struct dir_entry *entry)
{
	int dir = pod_dir_open(base, name), lock;
	size_t bytes;
	char *text;

	if (dir < 0)
		return -ENOENT;
	lock = lock_open(dir, O_RDWR);
	*entry = (struct dir_entry){.alive = lock >= 0 && lock_held(lock)};
	snprintf(entry->name, sizeof(entry->name), "%s", name);
	if (text_read(dir, "pid", PID_BYTES_MAX, &text, &bytes) == 0) {
		entry->pid = (pid_t)strtol(text, NULL, 10);
		free(text);
	}
	if (lock >= 0)
		close(lock);
	close(dir);
	return lock < 0 ? -ENOENT : 0; /* without a lock it is just being made or removed */
}

static int entry_compare(const void *a, const void *b)
{
	return strcmp(((const struct dir_entry *)a)->name, ((const struct dir_entry *)b)->name);
}

int dir_list(struct dir_entry **entries, size_t *count)
{
	int base = base_open(false, NULL);
	struct dirent *found;
	DIR *list;

	*entries = NULL;
	*count = 0;
	if (base < 0)
		return base == -ENOENT ? 0 : base;
	list = fdopendir(base);
	if (!list) {
		close(base);
		return -ENOMEM;
	}
	while ((found = readdir(list))) {
		if (!dir_name_good(found->d_name))
			continue;
		*entries = xrealloc(*entries, (*count + 1) * sizeof(**entries));
		if (entry_fill(base, found->d_name, &(*entries)[*count]) == 0)
			++*count;
	}
	closedir(list);
	if (*count)
		qsort(*entries, *count, sizeof(**entries), entry_compare);
	return 0;
}

/* The directory of a pod, or -errno. */
static int named_open(const char *name)
{
	int base, dir;

	if (!dir_name_good(name))
		return -ENOENT;
	base = base_open(false, NULL);
	if (base < 0)
		return base;
	dir = pod_dir_open(base, name);
	close(base);
	return dir;
}

int dir_find(const char *name, struct dir_entry *entry)
{
	int base, err;

	if (!dir_name_good(name))
		return -ENOENT;
	base = base_open(false, NULL);
	if (base < 0)
		return base;
	err = entry_fill(base, name, entry);
	close(base);
	return err;
}

int dir_connect(const char *name)
{
	int dir = named_open(name), fd, err = 0;
	struct sockaddr_un addr;

	if (dir < 0)
		return dir;
	control_addr(dir, &addr);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		err = errno == ENOENT ? -ECONNREFUSED : -errno;
	if (err && fd >= 0)
		close(fd);
	close(dir);
	return err ? err : fd;
}

int dir_read(const char *name, const char *file, size_t max, char **text, size_t *bytes)
{
	int dir = named_open(name), err;

	if (dir < 0)
		return dir;
	err = text_read(dir, file, max, text, bytes);
	close(dir);
	return err;
}

int dir_wait_gone(const char *name, int timeout_ms)
{
	const struct timespec pause = {.tv_nsec = LOOK_AGAIN_MS * 1000000};
	uint64_t end_ns = clock_mono_ns() + (uint64_t)MAX(timeout_ms, 0) * 1000000;
	int dir = named_open(name), lock, err = 0;

	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	lock = lock_open(dir, O_RDWR);
	close(dir);
	if (lock < 0)
		return lock == -ENOENT ? 0 : lock;
	while (!err && lock_held(lock)) {
		if (timeout_ms >= 0 && clock_mono_ns() >= end_ns)
			err = -ETIMEDOUT;
		else
			nanosleep(&pause, NULL);
	}
	close(lock);
	return err;
}

int dir_check(char **why)
{
	int base = base_open(false, why);

	if (base < 0)
		return base;
	close(base);
	return 0;
}
