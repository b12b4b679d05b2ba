/* SPDX-License-Identifier: Apache-2.0 */
/*
 * util: the few helpers every part needs. Knows nothing of virtual machines.
 */
#ifndef LIB_UTIL_H
#define LIB_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Memory that must be there: never NULL; the process ends when there is none. Freed with free(). */
void *xmalloc(size_t bytes);
void *xcalloc(size_t count, size_t bytes);
void *xrealloc(void *old, size_t bytes);
char *xstrdup(const char *text);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Writes or reads all of it, through EINTR and short counts. 0 or -errno; a read that meets the end early is -EIO. */
int write_all(int fd, const void *buf, size_t bytes);
int read_all(int fd, void *buf, size_t bytes);

/*
 * Reads a whole file of at most max_bytes into fresh memory (NUL put behind it, not counted in *bytes).
 * 0 or -errno; -EFBIG when the file is longer.
 */
int file_read(const char *path, size_t max_bytes, char **text, size_t *bytes);

/* O_NONBLOCK and FD_CLOEXEC on an open descriptor; 0 or -errno. */
int fd_nonblock(int fd);
int fd_cloexec(int fd);

/* CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds. */
uint64_t clock_mono_ns(void);
uint64_t clock_real_ns(void);

/* True when a + b does not fit in 64 bits. */
static inline bool add_overflows(uint64_t a, uint64_t b)
{
	return a + b < a;
}

#endif
