/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_mount DIR MOUNTPOINT [ro]: mounts the FUSE server of devices/fuse.c, with one share "s" of DIR, on this
 * machine: what a guest's kernel asks through virtio-fs, this one asks through /dev/fuse. So real programs meet the
 * server at native speed and under sanitizers, without a virtual machine. Runs until unmounted. Needs root. DIR is
 * then at MOUNTPOINT/s.
 */
#include "devices/fuse.h"

#include "lib/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

enum { ROOM = FUSE_DATA_BYTES_MAX + 8192 };

static void serve(struct fuse *fuse, int dev)
{
	static _Alignas(8) char request[ROOM], reply[ROOM];
	struct iovec out = {.iov_base = request}, in = {.iov_base = reply};
	ssize_t bytes;

	for (;;) {
		bytes = read(dev, request, sizeof(request));
		if (bytes < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
			continue;
		if (bytes < 0)
			return; /* ENODEV: unmounted */
		out.iov_len = (size_t)bytes;
		in.iov_len = sizeof(reply);
		bytes = fuse_handle(fuse, &out, 1, &in, 1);
		if (bytes < 0)
			die("a request was no request");
		/* ENOENT: interrupted meanwhile */
		if (bytes && write(dev, reply, (size_t)bytes) != bytes && errno != ENOENT)
			die_errno(errno, "reply refused");
	}
}

int main(int argc, char **argv)
{
	const struct fuse_limits limits = {.inodes = FUSE_INODES_MAX, .inode_fds = 200, .inode_fds_max = 600, .handles = 300};
	struct fuse *fuse;
	char options[128];
	int dev, err;

	if (argc < 3)
		die("usage: fuse_mount DIR MOUNTPOINT [ro]");
	dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		die_errno(errno, "/dev/fuse");
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", dev);
	if (mount("podvm", argv[2], "fuse.podvm", MS_NODEV, options))
		die_errno(errno, "mount at %s", argv[2]);
	fuse = fuse_new(&limits);
	err = fuse_share_add(fuse, "s", argv[1], argc > 3);
	if (err)
		die_errno(-err, "%s", argv[1]);
	printf("mounted\n");
	fflush(stdout);
	serve(fuse, dev);
	fuse_free(fuse);
	close(dev);
	return 0;
}
