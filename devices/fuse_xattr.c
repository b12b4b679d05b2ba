/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_xattr: extended attributes of regular files and directories. Must not know anything else of them.
 *
 * The calls need a real descriptor (an O_PATH one will not do, and a path through /proc may be gone), so the file is
 * opened for each. Only names that mean the same in guest and host pass: user.*, security.capability, and for reading
 * trusted.* (overlayfs). Setting those is the privilege of the host's root, whose file systems believe them (a
 * redirect of overlayfs names any directory): never the guest's, whoever runs podvm. ACLs and security labels are
 * neither shown nor set: the guest's kernel would not enforce them and the host's would.
 */
#include "devices/fuse_req.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

static bool name_may_change(const char *name)
{
	return !strncmp(name, "user.", 5) || !strcmp(name, "security.capability");
}

static bool name_passes(const char *name)
{
	return name_may_change(name) || !strncmp(name, "trusted.", 8);
}

static int take_xattr_name(struct fuse_req *req, bool to_change, const char **name)
{
	int ret = req_take_text(req, name);

	if (ret)
		return ret;
	if (strlen(*name) > XATTR_NAME_MAX)
		return -ERANGE;
	return (to_change ? name_may_change(*name) : name_passes(*name)) ? 0 : -EOPNOTSUPP;
}

static int open_for_xattr(struct fuse_req *req)
{
	if (inode_is_root(req->inode) || req->inode->sealed ||
	    (!S_ISREG(req->inode->type) && !S_ISDIR(req->inode->type)))
		return -EOPNOTSUPP;
	return fuse_reopen(req->fuse, req->inode, O_RDONLY);
}

int fuse_do_setxattr(struct fuse_req *req)
{
	/* The long form of the structure comes only with FUSE_SETXATTR_EXT, which is not asked for. */
	const struct fuse_setxattr_in *in = req_take(req, FUSE_COMPAT_SETXATTR_IN_SIZE);
	const char *name;
	const void *value;
	int fd, ret;

	ret = take_xattr_name(req, true, &name);
	if (ret)
		return ret;
	value = req_take(req, in->size);
	if (!value || in->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	fd = open_for_xattr(req);
	if (fd < 0)
		return fd;
	ret = fsetxattr(fd, name, value, in->size, (int)in->flags) ? -errno : 0;
	close(fd);
	return ret;
}

/* size 0 asks how much there is; else the value must fit in size (and in what the guest gave as room). */
static int reply_xattr(struct fuse_req *req, uint32_t size, size_t bytes)
{
	struct fuse_getxattr_out *out;

	if (!size) {
		if (req->in_room < sizeof(*out))
			return -EINVAL;
		out = req_reply(req, sizeof(*out));
		out->size = (uint32_t)bytes;
		return 0;
	}
	if (bytes > size || bytes > req->in_room)
		return -ERANGE;
	req->reply_bytes = bytes;
	return 0;
}

int fuse_do_getxattr(struct fuse_req *req)
{
	const struct fuse_getxattr_in *in = req_take(req, sizeof(*in));
	const char *name;
	ssize_t bytes;
	int fd, ret;

	ret = take_xattr_name(req, false, &name);
	if (ret)
		return ret;
	fd = open_for_xattr(req);
	if (fd < 0)
		return fd;
	bytes = fgetxattr(fd, name, req->fuse->reply, FUSE_REPLY_BYTES_MAX);
	ret = bytes < 0 ? -errno : 0;
	close(fd);
	return ret ? ret : reply_xattr(req, in->size, (size_t)bytes);
}

int fuse_do_listxattr(struct fuse_req *req)
{
	const struct fuse_getxattr_in *in = req_take(req, sizeof(*in));
	char *list = (char *)req->fuse->scratch, *to = (char *)req->fuse->reply;
	ssize_t bytes, at, length;
	int fd, ret;

	fd = open_for_xattr(req);
	if (fd == -EOPNOTSUPP)
		return reply_xattr(req, in->size, 0);
	if (fd < 0)
		return fd;
	bytes = flistxattr(fd, list, FUSE_REPLY_BYTES_MAX);
	ret = bytes < 0 ? -errno : 0;
	close(fd);
	if (ret)
		return ret;
	for (at = 0; at < bytes; at += length) {
		length = (ssize_t)strnlen(list + at, (size_t)(bytes - at - 1)) + 1;
		if (!name_passes(list + at))
			continue;
		memcpy(to, list + at, (size_t)length);
		to += length;
	}
	return reply_xattr(req, in->size, (size_t)(to - (char *)req->fuse->reply));
}

int fuse_do_removexattr(struct fuse_req *req)
{
	const char *name;
	int fd, ret;

	ret = take_xattr_name(req, true, &name);
	if (ret)
		return ret;
	fd = open_for_xattr(req);
	if (fd < 0)
		return fd;
	ret = fremovexattr(fd, name) ? -errno : 0;
	close(fd);
	return ret;
}
