/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disks: owns the mounts below /run/podvm/disk. Knows a disk by its serial, which the host has set to the volume's index:
 * so neither the order of the slots nor that of the kernel's names matters.
 *
 * The end: a file system is made read-only as a whole before it is unmounted. Unmounting alone would take away only our
 * mount; a container's own, if its namespace is still being taken down, would keep the file system going, and the
 * machine's reset would find it in use. Read-only it is clean on the disk, whoever still holds it.
 */
#define _GNU_SOURCE

#include "init/disks.h"

#include "init/steps.h"
#include "lib/log.h"
#include "lib/util.h"
#include "pod/abi.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A disk of the user's brings no devices into the pod; set-user-ID programs on it are the pod's own affair. */
enum { DISK_FLAGS = MS_NODEV, LEAVE_MS = 2000, STEP_MS = 10, SERIAL_BYTES = 20 };

static char *mounted[SPEC_DISKS_MAX];
static unsigned mounted_count;

static bool serial_is(const char *directory, const char *name, const char *serial)
{
	char *path = xasprintf("%s/%s/serial", directory, name), *text;
	size_t bytes;
	bool same = false;

	if (file_read(path, SERIAL_BYTES + 1, &text, &bytes) == 0) {
		text[strcspn(text, "\n")] = '\0';
		same = !strcmp(text, serial);
		free(text);
	}
	free(path);
	return same;
}

int disks_find(const char *directory, unsigned index, char *name, size_t room)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	char serial[SERIAL_BYTES + 1];
	int err = -ENOENT;

	if (!dir)
		return -errno;
	snprintf(serial, sizeof(serial), ABI_DISK_SERIAL_FMT, index);
	while (err && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "vd", 2) != 0 || !serial_is(directory, entry->d_name, serial))
			continue;
		snprintf(name, room, "%s", entry->d_name);
		err = 0;
	}
	closedir(dir);
	return err;
}

static void explain(const struct spec_volume *volume, int err, char *text, size_t room)
{
	const char *name = volume->name, *type = volume->fstype;

	if (err == -ENODEV)
		snprintf(text, room, "volume %s: the kernel of the guest has no file system \"%s\"", name, type);
	else if (err == -EINVAL)
		snprintf(text, room, "volume %s: there is no sound %s file system on its disk", name, type);
	else if (err == -EROFS)
		snprintf(text, room, "volume %s: %s wants to repair it, but it is read-only: mount it writable once", name,
			 type);
	else
		snprintf(text, room, "volume %s: mounting it as %s: %s", name, type, strerror(-err));
}

static int mount_one(const struct spec_pod *pod, unsigned index, char *text, size_t room)
{
	const struct spec_volume *volume = &pod->volumes[index];
	unsigned long flags = DISK_FLAGS | (spec_volume_read_only(pod, index) ? MS_RDONLY : 0);
	char name[32], *device, *target;
	int err = disks_find("/sys/block", index, name, sizeof(name));

	if (err) {
		snprintf(text, room, "volume %s: its disk is not there", volume->name);
		return err;
	}
	device = xasprintf("/dev/%s", name);
	target = xasprintf("/" DISKS_PATH_FMT, index);
	err = steps_mkdirs(target, 0755);
	if (!err && mount(device, target, volume->fstype, flags, NULL) < 0)
		err = -errno;
	free(device);
	if (err) {
		explain(volume, err, text, room);
		free(target);
		return err;
	}
	mounted[mounted_count++] = target;
	return 0;
}

int disks_mount(const struct spec_pod *pod, char *text, size_t room)
{
	int err = 0;

	for (unsigned i = 0; i < pod->volume_count && !err; i++)
		if (pod->volumes[i].kind == SPEC_VOLUME_RAW)
			err = mount_one(pod, i, text, room);
	return err;
}

/* Busy as long as a file is open for writing. */
static bool make_read_only(const char *path)
{
	const struct timespec pause = {.tv_nsec = STEP_MS * 1000000};

	for (unsigned ms = 0; mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY | DISK_FLAGS, NULL) < 0; ms += STEP_MS) {
		if (errno != EBUSY || ms >= LEAVE_MS)
			return false;
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		nanosleep(&pause, NULL);
	}
	return true;
}

void disks_leave(void)
{
	while (mounted_count) {
		char *path = mounted[--mounted_count];

		if (!make_read_only(path)) {
			log_warn("%s stays in use: errno %d", path, errno);
			sync();
		}
		umount2(path, MNT_DETACH);
		free(path);
	}
}
