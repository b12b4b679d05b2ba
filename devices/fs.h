/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs: virtio-fs (virtio 1.2, section 5.11; FUSE protocol 7.x of linux/fuse.h), served in this process.
 *
 * One device, one tag; its root is a virtual read-only directory whose entries are the shares: a host directory or a
 * single host file each. Nothing is reached outside a share: paths are walked one component at a time below an O_PATH
 * descriptor, links are never followed by the host, device nodes, sockets and fifos are not opened (fifos and sockets
 * that a pod makes are nodes here, and work inside the pod). What lies mounted below a shared directory belongs to it,
 * save the file systems of the host's kernel (/proc, /sys): they are empty.
 *
 * Requests are carried out on the thread of env->loop and may block as long as the host's file systems do; therefore
 * env->own_loop. Owners of files: devices/fuse_attr.c; what is cached how long: devices/fuse.c.
 */
#ifndef DEVICES_FS_H
#define DEVICES_FS_H

#include "devices/fuse.h"
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
 * the guest mounts. 0 or -errno (of opening path); -ENOSPC, -EEXIST for the table. Before the thread of env->loop is
 * started, or under that loop's lock.
 */
int fs_share_add(struct fs *fs, const char *name, const char *path, bool read_only);

/*
 * See virtio_save() and virtio_load(); both take the lock of a loop that is the device's own. A request is answered
 * before the next is taken, so what waits in the rings is all there is. Shares are not part of it: they are the pod's,
 * and added to the device that is loaded. fs_save(): -EBUSY while the guest knows files, so a machine is saved before
 * its guest mounts (or after it has unmounted and forgotten); fs_load(): -EINVAL for what can not be.
 */
struct fs_state {
	struct virtio_state virtio;
	struct fuse_state fuse;
};
int fs_save(const struct fs *fs, struct fs_state *state);
int fs_load(struct fs *fs, const struct fs_state *state);

#endif
