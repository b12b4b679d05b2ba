/* SPDX-License-Identifier: Apache-2.0 */
/*
 * util: see util.h. Owns no state; must not know what podvm does, so that host, guest init and tests share it.
 */
#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"

/* Written with one system call and no formatting: what reports that memory is gone must not ask for some. */
static _Noreturn void out_of_memory(void)
{
	static const char text[] = "podvm: out of memory\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(EXIT_PODVM);
	_exit(EXIT_PODVM);
}

void *xmalloc(size_t bytes)
{
	void *memory = malloc(bytes ? bytes : 1);

	if (!memory)
		out_of_memory();
	return memory;
}

void *xcalloc(size_t count, size_t bytes)
{
	void *memory = count && bytes ? calloc(count, bytes) : calloc(1, 1);

	if (!memory)
		out_of_memory();
	return memory;
}

void *xrealloc(void *old, size_t bytes)
{
	void *memory = realloc(old, bytes ? bytes : 1);

	if (!memory)
		out_of_memory();
	return memory;
}

char *xstrdup(const char *text)
{
	size_t bytes = strlen(text) + 1;

	return memcpy(xmalloc(bytes), text, bytes);
}

char *xasprintf(const char *fmt, ...)
{
	va_list args;
	char *text;
	int length;

	va_start(args, fmt);
	length = fmt ? vsnprintf(NULL, 0, fmt, args) : -1; /* the test only quiets gcc, which with UBSan warns */
	va_end(args);
	if (length < 0)
		out_of_memory();
	text = xmalloc((size_t)length + 1);
	va_start(args, fmt);
	vsnprintf(text, (size_t)length + 1, fmt, args);
	va_end(args);
	return text;
}

int write_all(int fd, const void *buf, size_t bytes)
{
	const char *at = buf;

	while (bytes) {
		ssize_t wrote = write(fd, at, bytes);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return -errno;
		at += wrote;
		bytes -= (size_t)wrote;
	}
	return 0;
}

int read_all(int fd, void *buf, size_t bytes)
{
	char *at = buf;

	while (bytes) {
		ssize_t got = read(fd, at, bytes);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -EIO;
		at += got;
		bytes -= (size_t)got;
	}
	return 0;
}

/* Reads until the end rather than up to st_size: /proc files and pipes say 0. One byte over the limit proves -EFBIG. */
static int read_to_end(int fd, size_t max_bytes, size_t room, char **text, size_t *bytes)
{
	char *buffer = xmalloc(room + 1);
	size_t have = 0;

	for (;;) {
		ssize_t got = read(fd, buffer + have, room - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int err = errno;

			free(buffer);
			return -err;
		}
		if (got == 0)
			break;
		have += (size_t)got;
		if (have > max_bytes) {
			free(buffer);
			return -EFBIG;
		}
		if (have == room) {
			room = MIN(room * 2, max_bytes + 1);
			buffer = xrealloc(buffer, room + 1);
		}
	}
	buffer[have] = '\0';
	*text = buffer;
	*bytes = have;
	return 0;
}

int file_read(const char *path, size_t max_bytes, char **text, size_t *bytes)
{
	enum { ROOM_FIRST_BYTES = 4096 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t room;
	int err;

	if (fd < 0)
		return -errno;
	max_bytes = MIN(max_bytes, SIZE_MAX / 4); /* so that sums above cannot wrap */
	room = MIN((size_t)ROOM_FIRST_BYTES, max_bytes + 1);
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0)
		room = MIN((uint64_t)st.st_size, max_bytes) + 1;
	err = read_to_end(fd, max_bytes, room, text, bytes);
	close(fd);
	return err;
}

int fd_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

int fd_cloexec(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0)
		return -errno;
	return 0;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now = {0};

	clock_gettime(clock, &now); /* can not fail for these two clocks */
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t clock_real_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}
