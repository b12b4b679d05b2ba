/* SPDX-License-Identifier: Apache-2.0 */
/* fuse_devs: owns the table of file systems; must not know inodes or shares. */
#include "devices/fuse_devs.h"

#include "lib/util.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/vfs.h>

/* Not in linux/magic.h. */
enum {
	CONFIGFS_TYPE = 0x62656570,
	FUSECTL_TYPE = 0x65735543,
	RPC_PIPEFS_TYPE = 0x67596969,
	NFSD_TYPE = 0x6e667364,
	MQUEUE_TYPE = 0x19800202,
};

static bool is_kernels(const struct statfs *fs)
{
	static const uint32_t types[] = {
		PROC_SUPER_MAGIC, SYSFS_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC, SECURITYFS_MAGIC, SELINUX_MAGIC,
		SMACK_MAGIC, BPF_FS_MAGIC, EFIVARFS_MAGIC, DEVPTS_SUPER_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
		PSTOREFS_MAGIC, BINFMTFS_MAGIC, NSFS_MAGIC, RDTGROUP_SUPER_MAGIC, USBDEVICE_SUPER_MAGIC,
		XENFS_SUPER_MAGIC, CONFIGFS_TYPE, FUSECTL_TYPE, RPC_PIPEFS_TYPE, NFSD_TYPE, MQUEUE_TYPE,
	};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if ((uint32_t)fs->f_type == types[i])
			return true;
	return false;
}

/* Its place in the table; the table's end when that is full. */
static unsigned place(struct fuse_devs *devs, uint64_t dev)
{
	unsigned i;

	for (i = 0; i < devs->count && devs->devs[i] != dev; i++)
		;
	if (i == devs->count && i < FUSE_DEVS_MAX)
		devs->devs[devs->count++] = dev;
	return i;
}

uint64_t devs_number(struct fuse_devs *devs, uint64_t dev, uint64_t ino)
{
	return ino ^ (uint64_t)place(devs, dev) << 56;
}

enum fuse_dev_kind devs_kind(struct fuse_devs *devs, uint64_t dev)
{
	unsigned i = place(devs, dev);

	return i < FUSE_DEVS_MAX ? devs->kinds[i] : FUSE_DEV_UNKNOWN;
}

int devs_find_kind(struct fuse_devs *devs, uint64_t dev, int fd)
{
	unsigned i = place(devs, dev);
	enum fuse_dev_kind kind;
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return -errno;
	kind = is_kernels(&fs) ? FUSE_DEV_KERNEL : FUSE_DEV_FILES;
	if (i < FUSE_DEVS_MAX)
		devs->kinds[i] = kind;
	return (int)kind;
}
