/* SPDX-License-Identifier: Apache-2.0 */
/* disk_fake: see disk_fake.h. */
#define _GNU_SOURCE
#include "tests/unit/disk_fake.h"

#include "lib/util.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct disk_fake *fake_of(struct disk_engine *engine)
{
	return CONTAINER_OF(engine, struct disk_fake, engine);
}

static int64_t move(struct disk_fake *fake, const struct disk_io *io)
{
	uint64_t at = io->offset;
	size_t left = fake->short_bytes ? fake->short_bytes : SIZE_MAX;

	for (unsigned i = 0; i < io->iov_count && left && at < fake->size; i++) {
		size_t part = MIN(MIN(io->iov[i].iov_len, left), fake->size - at);

		if (io->op == DISK_IO_READ)
			memcpy(io->iov[i].iov_base, fake->bytes + at, part);
		else
			memcpy(fake->bytes + at, io->iov[i].iov_base, part);
		at += part;
		left -= part;
	}
	return (int64_t)(at - io->offset);
}

static int64_t carry_out(struct disk_fake *fake, const struct disk_io *io)
{
	int64_t result;

	if (fake->decide && fake->decide(fake, io, &result))
		return result;
	switch (io->op) {
	case DISK_IO_READ:
	case DISK_IO_WRITE:
		return move(fake, io);
	case DISK_IO_SYNC:
		return 0;
	case DISK_IO_FALLOCATE:
		if (io->offset + io->bytes > fake->size)
			return -EFBIG;
		memset(fake->bytes + io->offset, 0, io->bytes);
		return 0;
	}
	return -EINVAL;
}

static void finish(struct disk_fake *fake, struct disk_io *io, int64_t result)
{
	uint64_t one = 1;

	io->result = result;
	disk_io_list_put(&fake->done, io);
	if (write(fake->event_fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

static void fake_submit(struct disk_engine *engine, struct disk_io *io)
{
	struct disk_fake *fake = fake_of(engine);
	uint64_t bytes = io->bytes;

	for (unsigned i = 0; i < io->iov_count; i++)
		bytes += io->iov[i].iov_len;
	fake->log[fake->log_count++ % DISK_FAKE_LOG_MAX] =
		(struct disk_fake_entry){io->op, io->flags, io->offset, bytes};
	disk_io_list_put(&fake->held, io);
}

static void fake_go(struct disk_engine *engine)
{
	struct disk_fake *fake = fake_of(engine);

	if (fake->hold || !fake->held.first)
		return;
	disk_fake_release_all(fake);
	fake->hidden = fake->late;
}

static struct disk_io *fake_reap(struct disk_engine *engine)
{
	struct disk_fake *fake = fake_of(engine);

	if (fake->hidden) {
		fake->hidden = false;
		return NULL;
	}
	return disk_io_list_take(&fake->done);
}

static void fake_cancel(struct disk_engine *engine)
{
	struct disk_fake *fake = fake_of(engine);
	struct disk_io *io;

	fake->cancels++;
	while (!fake->ignore_cancel && (io = disk_io_list_take(&fake->held)))
		finish(fake, io, -ECANCELED);
}

static void fake_free(struct disk_engine *engine)
{
	struct disk_fake *fake = fake_of(engine);

	if (fake->held.first || fake->done.first)
		abort(); /* something is under way */
	if (fake->freed)
		*fake->freed = true;
	free(fake->bytes);
	free(fake);
}

static const struct disk_engine_ops fake_ops = {
	.name = "fake",
	.submit = fake_submit,
	.go = fake_go,
	.reap = fake_reap,
	.cancel = fake_cancel,
	.free = fake_free,
};

struct disk *disk_fake_new(struct loop *loop, const struct disk_config *config, size_t bytes, struct disk_fake **fake)
{
	struct disk_config named = config ? *config : (struct disk_config){0};
	struct disk_fake *self = xcalloc(1, sizeof(*self));

	named.path = "fake";
	self->engine.ops = &fake_ops;
	self->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (self->event_fd < 0)
		abort();
	self->size = bytes;
	self->bytes = xcalloc(1, bytes);
	*fake = self;
	return disk_new(loop, &named, &self->engine, self->event_fd, bytes);
}

bool disk_fake_release(struct disk_fake *fake)
{
	struct disk_io *io = disk_io_list_take(&fake->held);

	if (!io)
		return false;
	finish(fake, io, carry_out(fake, io));
	return true;
}

bool disk_fake_release_newest(struct disk_fake *fake)
{
	struct disk_io_list older = {0};
	struct disk_io *io;

	while ((io = disk_io_list_take(&fake->held)) && fake->held.first)
		disk_io_list_put(&older, io);
	fake->held = older;
	if (!io)
		return false;
	finish(fake, io, carry_out(fake, io));
	return true;
}

void disk_fake_release_all(struct disk_fake *fake)
{
	while (disk_fake_release(fake))
		;
}

unsigned disk_fake_held(const struct disk_fake *fake)
{
	unsigned count = 0;

	for (const struct disk_io *io = fake->held.first; io; io = io->next)
		count++;
	return count;
}
