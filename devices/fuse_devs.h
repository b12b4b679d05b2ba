/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_devs: the file systems (st_dev) met below the shares: a number for each, and whether its files are the host
 * kernel's own. The guest sees a single device.
 */
#ifndef DEVICES_FUSE_DEVS_H
#define DEVICES_FUSE_DEVS_H

#include <stdbool.h>
#include <stdint.h>

enum { FUSE_DEVS_MAX = 255 };

struct fuse_devs {
	uint64_t devs[FUSE_DEVS_MAX];
	enum fuse_dev_kind { FUSE_DEV_UNKNOWN, FUSE_DEV_FILES, FUSE_DEV_KERNEL } kinds[FUSE_DEVS_MAX];
	unsigned count;
};

/* Inode number for the guest: the host's, told apart by device. */
uint64_t devs_number(struct fuse_devs *devs, uint64_t dev, uint64_t ino);

/* What is known already; FUSE_DEV_UNKNOWN also when the table is full. */
enum fuse_dev_kind devs_kind(struct fuse_devs *devs, uint64_t dev);
/* Finds out and remembers; fd: any file of it, O_PATH too. The kind or -errno. */
int devs_find_kind(struct fuse_devs *devs, uint64_t dev, int fd);

#endif
