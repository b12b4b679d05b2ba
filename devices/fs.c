/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs: virtio-fs, the device (virtio 1.2, section 5.11): config space, two queues, a chain per request. Must not know
 * what a request means; that is devices/fuse.h.
 *
 * Queue 0, hiprio, carries FORGET and INTERRUPT and is served like the other: a request is done before the next is
 * looked at, so none ever waits behind another.
 */
#include "devices/fs.h"

#include "lib/util.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
	DEVICE_ID_FS = 26,
	TAG_BYTES = 36,
	QUEUES = 2,
	INODE_FDS_MAX = 16384, /* kept open between requests: each pins a host inode */
	FDS_RESERVED = 256,    /* at least, for the rest of podvm */
};

static_assert((int)FS_SHARES_MAX == (int)FUSE_SHARES_MAX, "same table");
static_assert((int)FS_SHARE_NAME_MAX == (int)FUSE_SHARE_NAME_MAX, "same table");

struct fs_config {
	uint8_t tag[TAG_BYTES]; /* NUL-padded, not terminated */
	uint32_t num_request_queues;
} __attribute__((packed));

struct fs {
	struct virtio_dev dev;
	struct fs_config config;
	struct fuse *fuse;
	struct virtq_chain chain; /* large, and only one is looked at at a time */
};

/* Serves the chain last popped; false when it was none of the protocol's. */
static bool chain_serve(struct fs *fs, unsigned queue)
{
	struct virtq_chain *chain = &fs->chain;
	ssize_t written =
		fuse_handle(fs->fuse, chain->iov, chain->out_count, chain->iov + chain->out_count, chain->in_count);

	virtq_push(&fs->dev.queues[queue], chain->head, written < 0 ? 0 : (uint32_t)written);
	if (written < 0)
		virtio_broken(&fs->dev, "a request without header or without room for a reply");
	return written >= 0;
}

static void fs_kick(struct virtio_dev *dev, unsigned queue)
{
	struct fs *fs = CONTAINER_OF(dev, struct fs, dev);
	unsigned budget = dev->queues[queue].num;

	do {
		while (budget && virtio_pop(dev, queue, &fs->chain)) {
			budget--;
			if (!chain_serve(fs, queue))
				return;
		}
		if (!budget) {
			virtio_kick_again(dev, queue);
			break;
		}
		/* Asking for the next kick also says how far we came (2.7.10); without it none would follow. */
	} while (virtq_kick_enable(&dev->queues[queue]));
	virtio_interrupt(dev, queue);
}

static void fs_reset(struct virtio_dev *dev)
{
	fuse_reset(CONTAINER_OF(dev, struct fs, dev)->fuse);
}

static const struct virtio_ops fs_ops = {
	.kick = fs_kick,
	.reset = fs_reset,
};

/*
 * Every file the guest has open takes two descriptors, every directory it walks one, so podvm may have as many as it
 * is allowed to. A fourth of them, at least FDS_RESERVED, stays for the others.
 */
static struct fuse_limits limits_from_rlimit(void)
{
	struct rlimit limit = {.rlim_cur = 1024, .rlim_max = 1024};
	struct rlimit raised;
	unsigned fds;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < limit.rlim_max) {
		raised = (struct rlimit){.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
		if (!setrlimit(RLIMIT_NOFILE, &raised))
			limit = raised;
	}
	fds = (unsigned)MIN(limit.rlim_cur, 1 << 20);
	fds = fds > 2 * FDS_RESERVED ? fds - MAX(fds / 4, FDS_RESERVED) : fds / 2;
	return (struct fuse_limits){
		.inodes = FUSE_INODES_MAX,
		.inode_fds = MAX(MIN(fds / 4, INODE_FDS_MAX), 1),
		.inode_fds_max = MAX(fds / 3 * 2, 1),
		.handles = MAX(fds / 3, 1),
	};
}

struct fs *fs_new(const struct virtio_env *env, const char *tag)
{
	struct fuse_limits limits = limits_from_rlimit();
	struct fs *fs = xcalloc(1, sizeof(*fs));

	fs->fuse = fuse_new(&limits);
	if (!fs->fuse)
		die_errno(errno, "virtio-fs: /proc/self/fd can not be opened; is /proc mounted?");
	/* With a limit on file sizes a guest's write must fail, not end podvm. */
	signal(SIGXFSZ, SIG_IGN);
	memcpy(fs->config.tag, tag, strnlen(tag, sizeof(fs->config.tag)));
	fs->config.num_request_queues = QUEUES - 1;
	fs->dev.ops = &fs_ops;
	fs->dev.name = "fs";
	fs->dev.device_id = DEVICE_ID_FS;
	fs->dev.config = &fs->config;
	fs->dev.config_bytes = sizeof(fs->config);
	fs->dev.queue_count = QUEUES;
	virtio_init(&fs->dev, env);
	return fs;
}

void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	virtio_fini(&fs->dev);
	fuse_free(fs->fuse);
	free(fs);
}

struct virtio_dev *fs_dev(struct fs *fs)
{
	return &fs->dev;
}

int fs_share_add(struct fs *fs, const char *name, const char *path, bool read_only)
{
	return fuse_share_add(fs->fuse, name, path, read_only);
}

static void own_loop_lock(const struct fs *fs)
{
	if (fs->dev.env.own_loop)
		loop_lock(fs->dev.env.loop);
}

static void own_loop_unlock(const struct fs *fs)
{
	if (fs->dev.env.own_loop)
		loop_unlock(fs->dev.env.loop);
}

int fs_save(const struct fs *fs, struct fs_state *state)
{
	int ret;

	own_loop_lock(fs);
	ret = fuse_save(fs->fuse, &state->fuse);
	if (!ret)
		virtio_save(&fs->dev, &state->virtio);
	own_loop_unlock(fs);
	return ret;
}

int fs_load(struct fs *fs, const struct fs_state *state)
{
	struct fuse_state before;
	int ret;

	own_loop_lock(fs);
	ret = fuse_save(fs->fuse, &before);
	if (!ret)
		ret = fuse_load(fs->fuse, &state->fuse);
	if (!ret) {
		ret = virtio_load(&fs->dev, &state->virtio);
		if (ret)
			fuse_load(fs->fuse, &before);
	}
	own_loop_unlock(fs);
	return ret;
}
