/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse: owns the order of things in a request: copy, check, look up the opcode, run it, write the reply. Must not know
 * what any operation does (fuse_name.c, fuse_attr.c, fuse_xattr.c, fuse_file.c, fuse_dir.c), nor virtqueues.
 *
 * Theory of operation
 *
 * A request is header, fixed arguments, names; in guest memory, which the guest may rewrite meanwhile. Header and
 * arguments are copied once into fuse->args and only the copy is used; file data is never copied: READ and WRITE hand
 * the guest's own buffers to preadv() and pwritev(). What every operation needs before it runs stands in one table:
 * least length, least room for the reply, whether the share must be writable. A handler that is reached needs no check
 * of these, and a new one can not forget them.
 *
 * I/O blocks the caller, a thread that does nothing else (vmm.c): page cache hits are most of it and a pool of threads
 * costs each of them a switch. So one file system of the host that hangs stalls all shares of its pod, and nothing but
 * them. Nothing of our own can wait for ever: no fifo, socket or device is opened, files are opened O_NONBLOCK (a
 * lease of another process then fails the open instead of waiting), no locks are taken (flock() and fcntl() locks live
 * in the guest's kernel: they hold between all processes of the pod, not towards the host), copies are bounded.
 *
 * Caching: for read-only shares the guest may keep names, attributes and data for a day, so a change made by the host
 * in a read-only share under a running pod may go unseen. For the others names and attributes are good for one second,
 * that a name does not exist is not remembered, and file data is kept across opens only when the file provably did not
 * change (fuse_file.c). Writes go through at once, those to shared mappings when the guest's kernel writes them back.
 * The host's changes are not announced: inotify in the guest tells what the guest does.
 */
#include "devices/fuse_req.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	PROTOCOL_MINOR = 38,
	PROTOCOL_MINOR_MIN = 31, /* what our structures need; the guest's kernel comes with us and is newer */
	MAX_BACKGROUND = 64,
};

/*
 * Not FUSE_WRITEBACK_CACHE: what a pod writes is in the host's file when write() returns, as with a bind mount. Not the
 * locks: see above. Not FUSE_SUBMOUNTS: a share is one file system to the guest. Not FUSE_POSIX_ACL: see fuse_xattr.c.
 */
#define INIT_FLAGS                                                                                                     \
	((uint32_t)(FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_AUTO_INVAL_DATA |                   \
		    FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |              \
		    FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_HANDLE_KILLPRIV_V2))

/* Flags of an operation. */
enum {
	OP_NODE = 1,	 /* head.nodeid must be known */
	OP_DIR = 2,	 /* and be a directory */
	OP_MODIFIES = 4, /* and lie in a writable share */
	OP_NO_REPLY = 8,
};

static fuse_handler do_init, do_destroy, do_interrupt;

static const struct operation {
	fuse_handler *handler;
	size_t min_in, min_out;
	unsigned flags;
} operations[] = {
	[FUSE_INIT] = {do_init, 16, sizeof(struct fuse_init_out), 0},
	[FUSE_DESTROY] = {do_destroy, 0, 0, 0},
	[FUSE_INTERRUPT] = {do_interrupt, sizeof(struct fuse_interrupt_in), 0, OP_NO_REPLY},
	/* names */
	[FUSE_LOOKUP] = {fuse_do_lookup, 1, sizeof(struct fuse_entry_out), OP_NODE | OP_DIR},
	[FUSE_FORGET] = {fuse_do_forget, sizeof(struct fuse_forget_in), 0, OP_NO_REPLY},
	[FUSE_BATCH_FORGET] = {fuse_do_batch_forget, sizeof(struct fuse_batch_forget_in), 0, OP_NO_REPLY},
	[FUSE_READLINK] = {fuse_do_readlink, 0, 0, OP_NODE},
	[FUSE_SYMLINK] = {fuse_do_symlink, 2, sizeof(struct fuse_entry_out), OP_NODE | OP_DIR | OP_MODIFIES},
	[FUSE_MKNOD] = {fuse_do_mknod, sizeof(struct fuse_mknod_in), sizeof(struct fuse_entry_out),
			OP_NODE | OP_DIR | OP_MODIFIES},
	[FUSE_MKDIR] = {fuse_do_mkdir, sizeof(struct fuse_mkdir_in), sizeof(struct fuse_entry_out),
			OP_NODE | OP_DIR | OP_MODIFIES},
	[FUSE_UNLINK] = {fuse_do_unlink, 1, 0, OP_NODE | OP_DIR | OP_MODIFIES},
	[FUSE_RMDIR] = {fuse_do_rmdir, 1, 0, OP_NODE | OP_DIR | OP_MODIFIES},
	[FUSE_RENAME] = {fuse_do_rename, sizeof(struct fuse_rename_in), 0, OP_NODE | OP_DIR | OP_MODIFIES},
	[FUSE_RENAME2] = {fuse_do_rename2, sizeof(struct fuse_rename2_in), 0, OP_NODE | OP_DIR | OP_MODIFIES},
	[FUSE_LINK] = {fuse_do_link, sizeof(struct fuse_link_in), sizeof(struct fuse_entry_out),
		       OP_NODE | OP_DIR | OP_MODIFIES},
	/* attributes */
	[FUSE_GETATTR] = {fuse_do_getattr, sizeof(struct fuse_getattr_in), sizeof(struct fuse_attr_out), OP_NODE},
	[FUSE_SETATTR] = {fuse_do_setattr, sizeof(struct fuse_setattr_in), sizeof(struct fuse_attr_out),
			  OP_NODE | OP_MODIFIES},
	[FUSE_STATFS] = {fuse_do_statfs, 0, sizeof(struct fuse_statfs_out), OP_NODE},
	[FUSE_SYNCFS] = {fuse_do_syncfs, sizeof(struct fuse_syncfs_in), 0, OP_NODE},
	[FUSE_ACCESS] = {fuse_do_access, sizeof(struct fuse_access_in), 0, OP_NODE},
	[FUSE_SETXATTR] = {fuse_do_setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE, 0, OP_NODE | OP_MODIFIES},
	[FUSE_GETXATTR] = {fuse_do_getxattr, sizeof(struct fuse_getxattr_in), 0, OP_NODE},
	[FUSE_LISTXATTR] = {fuse_do_listxattr, sizeof(struct fuse_getxattr_in), 0, OP_NODE},
	[FUSE_REMOVEXATTR] = {fuse_do_removexattr, 1, 0, OP_NODE | OP_MODIFIES},
	/* files; those without OP_MODIFIES need a handle that was opened for it */
	[FUSE_OPEN] = {fuse_do_open, sizeof(struct fuse_open_in), sizeof(struct fuse_open_out), OP_NODE},
	[FUSE_CREATE] = {fuse_do_create, sizeof(struct fuse_create_in),
			 sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out), OP_NODE | OP_DIR | OP_MODIFIES},
	[FUSE_TMPFILE] = {fuse_do_tmpfile, sizeof(struct fuse_create_in),
			  sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out), OP_NODE | OP_DIR | OP_MODIFIES},
	[FUSE_READ] = {fuse_do_read, sizeof(struct fuse_read_in), 0, OP_NODE},
	[FUSE_WRITE] = {fuse_do_write, sizeof(struct fuse_write_in), sizeof(struct fuse_write_out),
			OP_NODE | OP_MODIFIES},
	/* no OP_NODE: FORGET has a queue of its own and may overtake it; the handle must not stay then */
	[FUSE_RELEASE] = {fuse_do_release, sizeof(struct fuse_release_in), 0, 0},
	[FUSE_FLUSH] = {fuse_do_flush, sizeof(struct fuse_flush_in), 0, OP_NODE},
	[FUSE_FSYNC] = {fuse_do_fsync, sizeof(struct fuse_fsync_in), 0, OP_NODE},
	[FUSE_FALLOCATE] = {fuse_do_fallocate, sizeof(struct fuse_fallocate_in), 0, OP_NODE | OP_MODIFIES},
	[FUSE_LSEEK] = {fuse_do_lseek, sizeof(struct fuse_lseek_in), sizeof(struct fuse_lseek_out), OP_NODE},
	[FUSE_COPY_FILE_RANGE] = {fuse_do_copy_file_range, sizeof(struct fuse_copy_file_range_in),
				  sizeof(struct fuse_write_out), OP_NODE},
	/* directories */
	[FUSE_OPENDIR] = {fuse_do_opendir, sizeof(struct fuse_open_in), sizeof(struct fuse_open_out), OP_NODE | OP_DIR},
	[FUSE_READDIR] = {fuse_do_readdir, sizeof(struct fuse_read_in), 0, OP_NODE | OP_DIR},
	[FUSE_READDIRPLUS] = {fuse_do_readdirplus, sizeof(struct fuse_read_in), 0, OP_NODE | OP_DIR},
	[FUSE_RELEASEDIR] = {fuse_do_releasedir, sizeof(struct fuse_release_in), 0, 0},
	[FUSE_FSYNCDIR] = {fuse_do_fsync, sizeof(struct fuse_fsync_in), 0, OP_NODE | OP_DIR},
};

/* Scattered buffers */

unsigned fuse_iov_slice(const struct iovec *iov, unsigned count, size_t skip, size_t bytes, struct iovec *slice)
{
	unsigned i, used = 0;
	size_t piece;

	for (i = 0; i < count && bytes && used < FUSE_IOV_MAX; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		piece = MIN(iov[i].iov_len - skip, bytes);
		slice[used].iov_base = (char *)iov[i].iov_base + skip;
		slice[used++].iov_len = piece;
		bytes -= piece;
		skip = 0;
	}
	return used;
}

size_t fuse_iov_read(const struct iovec *iov, unsigned count, size_t skip, void *dst, size_t bytes)
{
	struct iovec slice[FUSE_IOV_MAX];
	unsigned i, used = fuse_iov_slice(iov, count, skip, bytes, slice);
	size_t done = 0;

	for (i = 0; i < used; i++) {
		memcpy((char *)dst + done, slice[i].iov_base, slice[i].iov_len);
		done += slice[i].iov_len;
	}
	return done;
}

size_t fuse_iov_write(const struct iovec *iov, unsigned count, size_t skip, const void *src, size_t bytes)
{
	struct iovec slice[FUSE_IOV_MAX];
	unsigned i, used = fuse_iov_slice(iov, count, skip, bytes, slice);
	size_t done = 0;

	for (i = 0; i < used; i++) {
		memcpy(slice[i].iov_base, (const char *)src + done, slice[i].iov_len);
		done += slice[i].iov_len;
	}
	return done;
}

static size_t iov_bytes(const struct iovec *iov, unsigned count)
{
	size_t sum = 0;

	while (count--)
		sum += (iov++)->iov_len;
	return sum;
}

/* Arguments and reply */

const void *req_take(struct fuse_req *req, size_t bytes)
{
	const void *at = req->args + req->args_used;

	if (req->args_bytes - req->args_used < bytes)
		return NULL;
	req->args_used += bytes;
	return at;
}

int req_take_text(struct fuse_req *req, const char **text)
{
	const char *at = (const char *)req->args + req->args_used;
	const char *end = memchr(at, 0, req->args_bytes - req->args_used);

	if (!end)
		return -EINVAL;
	req->args_used += (size_t)(end - at) + 1;
	*text = at;
	return 0;
}

int req_take_name(struct fuse_req *req, const char **name)
{
	int ret = req_take_text(req, name);

	return ret ? ret : inode_name_check(*name);
}

void *req_reply(struct fuse_req *req, size_t bytes)
{
	req->reply_bytes = bytes;
	return memset(req->fuse->reply, 0, bytes);
}

/* The session */

/*
 * New files get exactly the mode that is asked for: the guest's kernel has applied its umask. Ours belongs to the
 * process, so the serving thread first takes one of its own; INIT is what it serves first.
 */
static void umask_clear(void)
{
	if (!unshare(CLONE_FS))
		umask(0);
}

static int do_init(struct fuse_req *req)
{
	const struct fuse_init_in *in = req_take(req, 16); /* the rest came later and holds nothing we use */
	struct fuse_init_out *out = req_reply(req, sizeof(*out));

	out->major = FUSE_KERNEL_VERSION;
	out->minor = PROTOCOL_MINOR;
	if (in->major > FUSE_KERNEL_VERSION)
		return 0; /* it will ask again with our major */
	if (in->major < FUSE_KERNEL_VERSION || in->minor < PROTOCOL_MINOR_MIN)
		return -EPROTO;
	/* A new session: whatever the one before left is void. */
	fuse_reset(req->fuse);
	umask_clear();
	req->fuse->minor = MIN(in->minor, PROTOCOL_MINOR);
	req->fuse->flags = in->flags & INIT_FLAGS;
	out->max_readahead = in->max_readahead;
	out->flags = req->fuse->flags;
	out->max_background = MAX_BACKGROUND;
	out->congestion_threshold = MAX_BACKGROUND * 3 / 4;
	out->max_write = FUSE_DATA_BYTES_MAX;
	out->max_pages = FUSE_DATA_BYTES_MAX / 4096;
	out->time_gran = 1;
	return 0;
}

static int do_destroy(struct fuse_req *req)
{
	fuse_reset(req->fuse);
	return 0;
}

/* Nothing waits long enough to be worth interrupting; the request it means was answered already. */
static int do_interrupt(struct fuse_req *req)
{
	(void)req;
	return 0;
}

/* Dispatch */

static int copy_args(struct fuse_req *req, size_t min_in)
{
	size_t bytes;

	if (req->head.len < sizeof(req->head) ||
	    req->head.len > iov_bytes(req->out, req->out_count))
		return -EINVAL;
	bytes = req->head.len - sizeof(req->head);
	if (req->head.opcode == FUSE_WRITE && bytes > min_in) {
		req->data_bytes = bytes - min_in;
		bytes = min_in;
	}
	if (bytes < min_in)
		return -EINVAL;
	if (bytes > FUSE_ARGS_BYTES_MAX)
		return -E2BIG;
	req->args = req->fuse->args;
	req->args_bytes = fuse_iov_read(req->out, req->out_count, sizeof(req->head), req->fuse->args, bytes);
	return req->args_bytes == bytes ? 0 : -EINVAL;
}

static int resolve_node(struct fuse_req *req, unsigned flags)
{
	if (!(flags & OP_NODE))
		return 0;
	req->inode = inode_get(&req->fuse->inodes, req->head.nodeid);
	if (!req->inode)
		return -ESTALE;
	if (flags & OP_DIR && !S_ISDIR(req->inode->type))
		return -ENOTDIR;
	if (flags & OP_MODIFIES && inode_read_only(req->inode))
		return -EROFS;
	return 0;
}

static const struct operation *operation_find(uint32_t opcode)
{
	if (opcode >= ARRAY_SIZE(operations) || !operations[opcode].handler)
		return NULL;
	return &operations[opcode];
}

static int run(struct fuse_req *req, const struct operation *op)
{
	int ret;

	if (!op)
		return -ENOSYS;
	ret = copy_args(req, op->min_in);
	if (!ret && req->in_room < op->min_out)
		ret = -EINVAL;
	if (!ret)
		ret = resolve_node(req, op->flags);
	return ret ? ret : op->handler(req);
}

static ssize_t finish(struct fuse_req *req, int error)
{
	struct fuse_out_header head = {.error = error, .unique = req->head.unique};

	if (error)
		req->reply_bytes = 0;
	head.len = (uint32_t)(sizeof(head) + req->reply_bytes);
	if (req->reply_bytes && !req->reply_in_place)
		fuse_iov_write(req->in, req->in_count, sizeof(head), req->fuse->reply, req->reply_bytes);
	fuse_iov_write(req->in, req->in_count, 0, &head, sizeof(head));
	return head.len;
}

ssize_t fuse_handle(struct fuse *fuse, const struct iovec *out, unsigned out_count, const struct iovec *in,
		    unsigned in_count)
{
	struct fuse_req req = {
		.fuse = fuse,
		.out = out,
		.out_count = MIN(out_count, FUSE_IOV_MAX),
		.in = in,
		.in_count = MIN(in_count, FUSE_IOV_MAX),
	};
	const struct operation *op;
	size_t room = iov_bytes(in, req.in_count);
	bool reply;
	int ret;

	if (fuse_iov_read(out, req.out_count, 0, &req.head, sizeof(req.head)) < sizeof(req.head))
		return -EPROTO;
	op = operation_find(req.head.opcode);
	reply = !op || !(op->flags & OP_NO_REPLY);
	if (reply && room < sizeof(struct fuse_out_header))
		return -EPROTO;
	req.in_room = reply ? room - sizeof(struct fuse_out_header) : 0;
	ret = run(&req, op);
	/* Room for the fixed part was checked; what varies in length is cut by its handler. This is the last line. */
	if (!ret && req.reply_bytes > req.in_room)
		ret = -EINVAL;
	inodes_trim(&fuse->inodes);
	return reply ? finish(&req, ret) : 0;
}

/* Life */

struct fuse *fuse_new(const struct fuse_limits *limits)
{
	int proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct fuse *fuse;

	if (proc_fd < 0)
		return NULL;
	fuse = xcalloc(1, sizeof(*fuse));
	fuse->proc_fd = proc_fd;
	fuse->uid = geteuid();
	fuse->gid = getegid();
	inodes_init(&fuse->inodes, limits);
	slots_init(&fuse->handles, limits->handles);
	return fuse;
}

void fuse_reset(struct fuse *fuse)
{
	struct fuse_slot *item;
	uint32_t from = 0;

	while ((item = slots_any(&fuse->handles, &from)))
		fuse_handle_close(fuse, (struct fuse_handle *)item);
	inodes_reset(&fuse->inodes);
	fuse->minor = fuse->flags = 0;
}

int fuse_save(const struct fuse *fuse, struct fuse_state *state)
{
	if (fuse->inodes.slots.count || fuse->handles.count)
		return -EBUSY;
	*state = (struct fuse_state){.minor = fuse->minor, .flags = fuse->flags};
	return 0;
}

int fuse_load(struct fuse *fuse, const struct fuse_state *state)
{
	if (state->flags & ~INIT_FLAGS || state->minor > PROTOCOL_MINOR ||
	    (state->minor ? state->minor < PROTOCOL_MINOR_MIN : state->flags))
		return -EINVAL;
	fuse->minor = state->minor;
	fuse->flags = state->flags;
	return 0;
}

void fuse_free(struct fuse *fuse)
{
	if (!fuse)
		return;
	fuse_reset(fuse);
	inodes_fini(&fuse->inodes);
	slots_fini(&fuse->handles);
	close(fuse->proc_fd);
	free(fuse);
}

int fuse_share_add(struct fuse *fuse, const char *name, const char *path, bool read_only)
{
	return inodes_share_add(&fuse->inodes, name, path, read_only);
}
