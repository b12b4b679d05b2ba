// SPDX-License-Identifier: Apache-2.0
/*
 * sockets: see sockets.h. Owns the joined pairs of connections and the socket files it made; must not know the pod file.
 *
 * Theory of operation
 * -------------------
 * A link joins a descriptor and a vsock connection. Each way has one place where bytes wait, and it is bounded:
 *
 *	guest -> host	what the descriptor does not take lies in to_host. data() has to take all, but credit is given back
 *			only for what was written, so that is a window at most (VSOCK_WINDOW_BYTES).
 *	host -> guest	read in blocks. What vsock_send() does not take of one lies in to_guest, and nothing is read before
 *			writable() came for the rest.
 *
 * An end of file goes on once all before it went: to_host empty, then shutdown(); to_guest is empty whenever one is read,
 * and vsock_shutdown_send() keeps the order itself. A link is over when the vsock connection is, save that bytes the
 * guest sent before a proper end are still written (conn NULL, to_host not empty).
 *
 * The file of a dead podvm is told from one in use by connecting to it. Two that start at once must not both find it
 * dead, so this is done under a lock on the directory.
 */
#include "vm/sockets.h"

#include "lib/util.h"
#include "vm/fifo.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BLOCK_BYTES = 16 * 1024, BACKLOG = 128, ACCEPTS_PER_TURN = 16, PAUSE_MS = 100 };

/* A port and its path. */
struct rule {
	struct sockets *sockets;
	struct rule *next;
	uint32_t port;
	struct sockaddr_un addr;
	/* in: */
	int listen_fd; /* -1: out */
	struct stat made;
	struct loop_timer pause; /* no connection can be taken: asked again when it ends */
};

struct link {
	struct sockets *sockets;
	struct link *prev, *next;
	struct vsock_conn *conn; /* NULL: over */
	int fd;
	bool open;	 /* the guest has accepted */
	bool host_ended; /* end of file was read from fd */
	bool guest_ended;
	struct fifo to_host;
	uint8_t *to_guest; /* BLOCK_BYTES while something waits */
	size_t to_guest_at, to_guest_bytes;
};

struct sockets {
	struct vsock *vsock;
	struct loop *loop;
	struct rule *rules;
	struct link *links;
	unsigned link_count;
};

/* ---- links ---- */

static void link_ready(void *ctx, int fd, short revents);

static struct link *link_new(struct sockets *sockets, int fd)
{
	struct link *link = xcalloc(1, sizeof(*link));

	link->sockets = sockets;
	link->fd = fd;
	link->next = sockets->links;
	if (link->next)
		link->next->prev = link;
	sockets->links = link;
	sockets->link_count++;
	loop_fd_add(sockets->loop, fd, 0, link_ready, link);
	return link;
}

static void link_free(struct link *link)
{
	struct sockets *sockets = link->sockets;

	*(link->prev ? &link->prev->next : &sockets->links) = link->next;
	if (link->next)
		link->next->prev = link->prev;
	sockets->link_count--;
	loop_fd_del(sockets->loop, link->fd);
	close(link->fd);
	if (link->conn)
		vsock_close(link->conn);
	fifo_free(&link->to_host);
	free(link->to_guest);
	free(link);
}

/* What there is to be waited for. */
static void link_watch(struct link *link)
{
	bool reads = link->conn && link->open && !link->host_ended && !link->to_guest;

	loop_fd_events(link->sockets->loop, link->fd,
		       (short)((reads ? POLLIN : 0) | (link->to_host.count ? POLLOUT : 0)));
}

/* The guest sends no more and all it sent was written. */
static void host_end_when_written(struct link *link)
{
	if (link->guest_ended && !link->to_host.count)
		(void)shutdown(link->fd, SHUT_WR);
}

/* False when the descriptor failed: the link is gone. */
static bool host_write(struct link *link)
{
	while (link->to_host.count) {
		ssize_t sent = send(link->fd, fifo_head(&link->to_host), link->to_host.count, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			break;
		if (sent < 0) {
			link_free(link);
			return false;
		}
		fifo_drop(&link->to_host, (size_t)sent);
		if (link->conn)
			vsock_consumed(link->conn, (size_t)sent);
	}
	host_end_when_written(link);
	return true;
}

/* Hands a block to the guest; what it does not take waits. */
static void guest_write(struct link *link, const uint8_t *block, size_t bytes)
{
	size_t taken = vsock_send(link->conn, block, bytes);

	if (taken == bytes)
		return;
	link->to_guest = xmalloc(BLOCK_BYTES);
	link->to_guest_at = 0;
	link->to_guest_bytes = bytes - taken;
	memcpy(link->to_guest, block + taken, bytes - taken);
}

/* False when the descriptor failed: the link is gone. */
static bool host_read(struct link *link)
{
	uint8_t block[BLOCK_BYTES];
	ssize_t got = recv(link->fd, block, sizeof(block), MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (got < 0) {
		link_free(link);
		return false;
	}
	if (got == 0) {
		link->host_ended = true;
		vsock_shutdown_send(link->conn);
	} else {
		guest_write(link, block, (size_t)got);
	}
	return true;
}

static void link_ready(void *ctx, int fd, short revents)
{
	struct link *link = ctx;
	bool writes = link->to_host.count;

	(void)fd;
	if (writes && revents & (POLLOUT | POLLERR | POLLHUP) && !host_write(link))
		return;
	if (!link->conn && !link->to_host.count) {
		link_free(link);
		return;
	}
	if (link->conn && link->open && !link->host_ended && !link->to_guest && revents & (POLLIN | POLLERR | POLLHUP) &&
	    !host_read(link))
		return;
	link_watch(link);
}

/* ---- what the guest's end says ---- */

static void conn_open(void *ctx, struct vsock_conn *conn)
{
	struct link *link = ctx;

	(void)conn;
	link->open = true;
	link_watch(link);
}

static void conn_data(void *ctx, struct vsock_conn *conn, const void *bytes, size_t count)
{
	struct link *link = ctx;

	(void)conn;
	fifo_append(&link->to_host, bytes, count);
	/* If something waited before, the descriptor is full. */
	if (link->to_host.count == count && !host_write(link))
		return;
	link_watch(link);
}

static void conn_writable(void *ctx, struct vsock_conn *conn)
{
	struct link *link = ctx;
	size_t taken;

	if (!link->to_guest)
		return;
	taken = vsock_send(conn, link->to_guest + link->to_guest_at, link->to_guest_bytes);
	link->to_guest_at += taken;
	link->to_guest_bytes -= taken;
	if (!link->to_guest_bytes) {
		free(link->to_guest);
		link->to_guest = NULL;
	}
	link_watch(link);
}

static void conn_eof(void *ctx, struct vsock_conn *conn)
{
	struct link *link = ctx;

	(void)conn;
	link->guest_ended = true;
	host_end_when_written(link);
}

static void conn_closed(void *ctx, struct vsock_conn *conn)
{
	struct link *link = ctx;

	(void)conn;
	link->conn = NULL;
	if (!link->guest_ended || !link->to_host.count)
		link_free(link);
	else
		link_watch(link);
}

static const struct vsock_user link_user = {conn_open, conn_data, conn_writable, conn_eof, conn_closed};

/* ---- out: the guest connects ---- */

static int socket_new(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* Unix sockets connect at once or not at all. */
static bool guest_connects(void *ctx, struct vsock_conn *conn, const struct vsock_user **user, void **user_ctx)
{
	struct rule *rule = ctx;
	struct link *link;
	int fd;

	if (rule->sockets->link_count >= SOCKETS_LINKS_MAX)
		return false;
	fd = socket_new();
	if (fd < 0)
		return false;
	if (connect(fd, (const struct sockaddr *)&rule->addr, sizeof(rule->addr)) < 0) {
		close(fd);
		return false;
	}
	link = link_new(rule->sockets, fd);
	link->conn = conn;
	link->open = true;
	link_watch(link);
	*user = &link_user;
	*user_ctx = link;
	return true;
}

/* ---- in: a program of the host connects ---- */

static void pause_over(void *ctx)
{
	struct rule *rule = ctx;

	loop_fd_events(rule->sockets->loop, rule->listen_fd, POLLIN);
}

/* Who connects waits in the backlog meanwhile. */
static void rule_pause(struct rule *rule)
{
	loop_fd_events(rule->sockets->loop, rule->listen_fd, 0);
	loop_timer_set(rule->sockets->loop, &rule->pause, clock_mono_ns() + PAUSE_MS * UINT64_C(1000000));
}

static void host_connected(struct rule *rule, int fd)
{
	struct link *link = link_new(rule->sockets, fd);

	link->conn = vsock_connect(rule->sockets->vsock, rule->port, &link_user, link);
	if (!link->conn)
		link_free(link);
}

static void host_connects(void *ctx, int listen_fd, short revents)
{
	struct rule *rule = ctx;

	(void)revents;
	for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd;

		if (rule->sockets->link_count >= SOCKETS_LINKS_MAX) {
			rule_pause(rule);
			return;
		}
		fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0) {
			if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
				rule_pause(rule); /* no descriptors left, say: it would be told again at once */
			return;
		}
		host_connected(rule, fd);
	}
}

/* ---- setting up ---- */

/* What a socket file at path means for one who wants to listen there: 0 when there is none any more. */
static int path_clear(const struct sockaddr_un *addr)
{
	struct stat st;
	int fd, err;

	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket_new();
	if (fd < 0)
		return -errno;
	err = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? errno : 0;
	close(fd);
	if (err == ENOENT)
		return 0;
	if (err != ECONNREFUSED) /* it answers, or its backlog is full */
		return err && err != EAGAIN ? -err : -EADDRINUSE;
	return unlink(addr->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

/* Locks the directory of path, for as long as the descriptor is open; -1 where that can not be done. */
static int directory_lock(const char *path)
{
	char *copy = xstrdup(path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	free(copy);
	if (fd >= 0)
		(void)flock(fd, LOCK_EX);
	return fd;
}

/* The mode of the file is that of the socket's own inode: no moment in which others could connect. */
static int socket_bind(int fd, const struct sockaddr_un *addr)
{
	if (fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		return -errno;
	return listen(fd, BACKLOG) < 0 ? -errno : 0;
}

static int rule_listen(struct rule *rule)
{
	int lock_fd = directory_lock(rule->addr.sun_path), err = path_clear(&rule->addr);

	if (!err) {
		rule->listen_fd = socket_new();
		err = rule->listen_fd < 0 ? -errno : socket_bind(rule->listen_fd, &rule->addr);
	}
	if (!err && lstat(rule->addr.sun_path, &rule->made) < 0)
		err = -errno;
	if (lock_fd >= 0)
		close(lock_fd);
	return err;
}

static struct rule *rule_new(struct sockets *sockets, uint32_t port, const char *path)
{
	struct rule *rule;
	size_t length = strlen(path);

	if (length >= sizeof(rule->addr.sun_path))
		return NULL;
	rule = xcalloc(1, sizeof(*rule));
	rule->sockets = sockets;
	rule->port = port;
	rule->listen_fd = -1;
	rule->pause = (struct loop_timer){.fn = pause_over, .ctx = rule};
	rule->addr.sun_family = AF_UNIX;
	memcpy(rule->addr.sun_path, path, length);
	return rule;
}

static void rule_keep(struct rule *rule)
{
	rule->next = rule->sockets->rules;
	rule->sockets->rules = rule;
}

int sockets_out(struct sockets *sockets, uint32_t port, const char *path)
{
	struct rule *rule = rule_new(sockets, port, path);
	int err = rule ? vsock_listen(sockets->vsock, port, guest_connects, rule) : -ENAMETOOLONG;

	if (err)
		free(rule);
	else
		rule_keep(rule);
	return err;
}

int sockets_in(struct sockets *sockets, uint32_t port, const char *path)
{
	struct rule *rule = rule_new(sockets, port, path);
	int err = rule ? rule_listen(rule) : -ENAMETOOLONG;

	if (err) {
		if (rule && rule->listen_fd >= 0)
			close(rule->listen_fd);
		free(rule);
		return err;
	}
	loop_fd_add(sockets->loop, rule->listen_fd, POLLIN, host_connects, rule);
	rule_keep(rule);
	return 0;
}

struct sockets *sockets_new(struct vsock *vsock, struct loop *loop)
{
	struct sockets *sockets = xcalloc(1, sizeof(*sockets));

	sockets->vsock = vsock;
	sockets->loop = loop;
	return sockets;
}

/* Only the file that was made here: another podvm may have put its own there. */
static void rule_free(struct rule *rule)
{
	struct stat st;

	if (rule->listen_fd >= 0) {
		loop_timer_cancel(rule->sockets->loop, &rule->pause);
		loop_fd_del(rule->sockets->loop, rule->listen_fd);
		if (lstat(rule->addr.sun_path, &st) == 0 && st.st_dev == rule->made.st_dev && st.st_ino == rule->made.st_ino)
			(void)unlink(rule->addr.sun_path);
		close(rule->listen_fd);
	}
	free(rule);
}

void sockets_free(struct sockets *sockets)
{
	if (!sockets)
		return;
	for (struct link *link = sockets->links, *next; link; link = next) {
		next = link->next;
		link_free(link);
	}
	while (sockets->rules) {
		struct rule *rule = sockets->rules;

		sockets->rules = rule->next;
		rule_free(rule);
	}
	free(sockets);
}
