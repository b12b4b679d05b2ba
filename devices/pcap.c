// SPDX-License-Identifier: Apache-2.0
/*
 * pcap: see pcap.h. Owns the file and the buffer before it; must not know who captures.
 *
 * The file stays whole whatever the disk does: a write that came out short is cut off again, so that it ends with a
 * whole frame and reading goes on behind the gap. A regular file's write may take the time of the disk, which is what
 * who asks for a capture pays; it is never waited for a reader (a FIFO or socket is refused).
 */
#include "devices/pcap.h"

#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	BUFFER_BYTES = 1 << 20,
	LINK_ETHERNET = 1,
};
#define MAGIC_NANOSECONDS UINT32_C(0xa1b23c4d)
#define FLUSH_NS UINT64_C(1000000000)

struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zone, accuracy, frame_bytes_max, link;
};

struct frame_header {
	uint32_t seconds, nanoseconds, kept_bytes, bytes;
};
_Static_assert(sizeof(struct file_header) == 24 && sizeof(struct frame_header) == 16, "as in the file");
_Static_assert(BUFFER_BYTES >= PCAP_FRAME_BYTES_MAX + sizeof(struct frame_header), "any frame fits");

struct pcap {
	struct loop *loop;
	struct loop_timer timer;
	int fd;
	off_t good_bytes; /* how far the file is whole */
	bool warned;
	char *path;
	size_t used;
	uint8_t buffer[BUFFER_BYTES];
};

static void write_failed(struct pcap *pcap, int err)
{
	/* Fails only where the file is no longer one; then there is nothing better to do. */
	if (ftruncate(pcap->fd, pcap->good_bytes) || lseek(pcap->fd, pcap->good_bytes, SEEK_SET) < 0)
		err = errno;
	if (!pcap->warned)
		log_warn("%s can not be written to: %s; frames are missing in it", pcap->path, strerror(err));
	pcap->warned = true;
}

static void flush(struct pcap *pcap)
{
	size_t done = 0;

	loop_timer_cancel(pcap->loop, &pcap->timer);
	while (done < pcap->used) {
		ssize_t wrote = write(pcap->fd, pcap->buffer + done, pcap->used - done);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0) {
			write_failed(pcap, wrote < 0 ? errno : ENOSPC);
			pcap->used = 0;
			return;
		}
		done += (size_t)wrote;
	}
	pcap->good_bytes += (off_t)pcap->used;
	pcap->used = 0;
}

static void timer_fired(void *ctx)
{
	flush(ctx);
}

static void append(struct pcap *pcap, const void *bytes, size_t count)
{
	memcpy(pcap->buffer + pcap->used, bytes, count);
	pcap->used += count;
}

void pcap_frame(struct pcap *pcap, const struct iovec *frame, unsigned count, size_t bytes,
		const struct frame_sum *sum)
{
	struct frame_header header = { .bytes = (uint32_t)bytes, .kept_bytes = MIN(bytes, PCAP_FRAME_BYTES_MAX) };
	struct timespec now;
	size_t left = header.kept_bytes;
	uint8_t *copy;

	clock_gettime(CLOCK_REALTIME, &now);
	header.seconds = (uint32_t)now.tv_sec;
	header.nanoseconds = (uint32_t)now.tv_nsec;
	if (sizeof(header) + left > sizeof(pcap->buffer) - pcap->used)
		flush(pcap);
	if (pcap->used == 0)
		loop_timer_set(pcap->loop, &pcap->timer, loop_now_ns(pcap->loop) + FLUSH_NS);
	append(pcap, &header, sizeof(header));
	copy = pcap->buffer + pcap->used;
	for (unsigned i = 0; i < count && left; i++) {
		size_t part = MIN(frame[i].iov_len, left);

		append(pcap, frame[i].iov_base, part);
		left -= part;
	}
	memset(pcap->buffer + pcap->used, 0, left); /* pieces that do not add up: the file stays whole */
	pcap->used += left;
	if (sum && bytes == header.kept_bytes && frame_sum_fits(sum, bytes))
		frame_sum_complete(copy, bytes, sum);
}

int pcap_new(struct loop *loop, const char *path, struct pcap **made)
{
	const struct file_header header = { .magic = MAGIC_NANOSECONDS, .major = 2, .minor = 4,
					    .frame_bytes_max = PCAP_FRAME_BYTES_MAX, .link = LINK_ETHERNET };
	/* Non-blocking, so that a FIFO without a reader does not hold up the start. */
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600), err;
	struct pcap *pcap;
	struct stat st;

	if (fd < 0)
		return -errno;
	/* An old file is given new rights before anything is in it. */
	if (fstat(fd, &st) < 0 || (S_ISREG(st.st_mode) && (fchmod(fd, 0600) < 0 || ftruncate(fd, 0) < 0))) {
		err = -errno;
		close(fd);
		return err;
	}
	if (!S_ISREG(st.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	pcap = xcalloc(1, sizeof(*pcap));
	pcap->loop = loop;
	pcap->fd = fd;
	pcap->path = xstrdup(path);
	pcap->timer = (struct loop_timer){ .fn = timer_fired, .ctx = pcap };
	append(pcap, &header, sizeof(header));
	flush(pcap);
	*made = pcap;
	return 0;
}

void pcap_free(struct pcap *pcap)
{
	if (!pcap)
		return;
	flush(pcap);
	loop_timer_cancel(pcap->loop, &pcap->timer);
	close(pcap->fd);
	free(pcap->path);
	free(pcap);
}
