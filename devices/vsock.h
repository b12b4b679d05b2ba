/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock: virtio-vsock (virtio 1.2, section 5.10), stream sockets between the guest and this process.
 *
 * The host end of every connection is in here: no AF_VSOCK, no file descriptor. Host CID is 2. Credit flow control
 * bounds what either side may hold; a connection that breaks it is reset, the others live on.
 */
#ifndef DEVICES_VSOCK_H
#define DEVICES_VSOCK_H

#include "devices/virtio.h"

#include <stddef.h>
#include <stdint.h>

enum {
	VSOCK_HOST_CID = 2,
	VSOCK_GUEST_CID = 3,
	VSOCK_WINDOW_BYTES = 256 * 1024, /* credit given to the guest per connection */
	VSOCK_SEND_BYTES = 256 * 1024,	 /* most that vsock_send() holds per connection */
	VSOCK_CONNS_MAX = 1024,
	VSOCK_LISTENERS_MAX = 32,
	VSOCK_CONNECT_MS = 10000, /* how long the guest may take to answer vsock_connect() */
	VSOCK_RSTS_MAX = 64,	  /* answers to packets of no connection that wait for the guest */
	VSOCK_QUEUE_RX = 0,
	VSOCK_QUEUE_TX = 1,
	VSOCK_QUEUE_EVENT = 2,
};

struct vsock;
struct vsock_conn;

/*
 * What a connection tells its user. data() must take all of it (the window bounds it) and, once the bytes went
 * on their way, give the credit back with vsock_consumed(). After closed() the conn pointer is dead. Entries may
 * not be NULL. Calls into vsock are fine from inside, also vsock_close(). They all come on the loop thread, and none
 * comes from inside a call below: vsock_send() and the others only take note.
 */
struct vsock_user {
	void (*open)(void *ctx, struct vsock_conn *conn); /* host-initiated: the guest accepted */
	void (*data)(void *ctx, struct vsock_conn *conn, const void *bytes, size_t count);
	void (*writable)(void *ctx, struct vsock_conn *conn); /* after a short vsock_send(): room again */
	void (*eof)(void *ctx, struct vsock_conn *conn);      /* the guest sends no more */
	void (*closed)(void *ctx, struct vsock_conn *conn);   /* over: reset, refused or shut down both ways */
};

struct vsock *vsock_new(const struct virtio_env *env);
void vsock_free(struct vsock *vsock);
struct virtio_dev *vsock_dev(struct vsock *vsock);

/*
 * Guest connections to a host port: accept() names the user and ctx of a new connection, true to take it.
 * 0, -EEXIST, -ENOSPC.
 */
typedef bool vsock_accept_fn(void *ctx, struct vsock_conn *conn, const struct vsock_user **user, void **user_ctx);
int vsock_listen(struct vsock *vsock, uint32_t port, vsock_accept_fn *accept, void *ctx);

/*
 * Connects to a guest port; open() or closed() tells how it went, closed() also when the guest has not answered after
 * VSOCK_CONNECT_MS. NULL when VSOCK_CONNS_MAX is reached. vsock_connect_limit(): another time, for connections to come.
 */
void vsock_connect_limit(struct vsock *vsock, unsigned ms);
struct vsock_conn *vsock_connect(struct vsock *vsock, uint32_t port, const struct vsock_user *user, void *ctx);

/*
 * Takes up to count bytes for the guest; returns how many (0 when VSOCK_SEND_BYTES are waiting: await writable()).
 * Once the guest reads no more all are taken and thrown away. Not after vsock_shutdown_send().
 */
size_t vsock_send(struct vsock_conn *conn, const void *bytes, size_t count);
/* Bytes taken but not yet handed to the guest. */
size_t vsock_send_pending(const struct vsock_conn *conn);
/* Gives credit for bytes that data() delivered back to the guest. */
void vsock_consumed(struct vsock_conn *conn, size_t bytes);
/* No more will be sent; what was taken by vsock_send() still goes out first. */
void vsock_shutdown_send(struct vsock_conn *conn);
/* Resets the connection at once; closed() is not called. conn is dead. */
void vsock_close(struct vsock_conn *conn);
/* Hands the connection to another user, who hears all that comes from now on, also from inside a callback of the old one. */
void vsock_user_set(struct vsock_conn *conn, const struct vsock_user *user, void *ctx);
/* Port of the guest's end. */
uint32_t vsock_guest_port(const struct vsock_conn *conn);

/*
 * See virtio_save() and virtio_load(). Connections are not part of it, their host ends being this process's: after
 * loading the guest is told that all are gone (VIRTIO_VSOCK_EVENT_TRANSPORT_RESET). Nor are listeners: their owners
 * listen anew, before the loop runs. A connect of the guest's that had no answer yet is refused.
 */
struct vsock_rst_state {
	uint32_t host_port, guest_port, type;
};
struct vsock_state {
	struct virtio_state virtio;
	uint32_t next_port, rst_count;
	struct vsock_rst_state rsts[VSOCK_RSTS_MAX];
};
void vsock_save(const struct vsock *vsock, struct vsock_state *state);
int vsock_load(struct vsock *vsock, const struct vsock_state *state);

#endif
