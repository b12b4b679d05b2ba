/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs: virtio-fs (virtio 1.2, section 5.11; FUSE protocol 7.x of linux/fuse.h), served in this process.
 *
 * One device, one tag; its root is a virtual read-only directory whose entries are the shares: a host directory or a
 * single host file each. Nothing is reached outside a share: paths are walked one component at a time below an
 * O_PATH descriptor, links are never followed by the host, device nodes, sockets and fifos are not opened.
 */
#ifndef DEVICES_FS_H
#define DEVICES_FS_H

#include "devices/virtio.h"

#include <stdbool.h>

enum {
	FS_SHARES_MAX = 64,
	FS_SHARE_NAME_MAX = 32,
};

struct fs;
struct fs *fs_new(const struct virtio_env *env, const char *tag);
void fs_free(struct fs *fs);
struct virtio_dev *fs_dev(struct fs *fs);

/*
 * Adds a share seen as /NAME in the device's root. path is opened now and held. read_only is enforced here, whatever
 * the guest mounts. 0 or -errno (of opening path); -ENOSPC, -EEXIST for the table.
 */
int fs_share_add(struct fs *fs, const char *name, const char *path, bool read_only);

#endif
