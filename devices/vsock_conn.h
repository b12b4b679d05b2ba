/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_conn: INTERNAL to devices/vsock: its connections, their credit and what waits for the guest. Users of vsock
 * include devices/vsock.h alone. How the two files work together stands on top of vsock.c.
 *
 * Functions here that tell a user something (vsock_conn_reset(), _fault(), _tell_closed()) come from the loop only; those
 * that free say so.
 */
#ifndef DEVICES_VSOCK_CONN_H
#define DEVICES_VSOCK_CONN_H

#include "devices/vsock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VSOCK_BUCKETS = 256 };

enum conn_state { CONN_OPENING, CONN_OPEN, CONN_CLOSING, CONN_DEAD, CONN_GONE };

/* Control packets to be sent, a bit each. */
enum {
	SAY_RST = 1 << 0,
	SAY_REQUEST = 1 << 1,
	SAY_RESPONSE = 1 << 2,
	SAY_SHUTDOWN = 1 << 3,
	SAY_CREDIT_UPDATE = 1 << 4,
	SAY_CREDIT_REQUEST = 1 << 5,
};

struct vsock_conn {
	struct vsock_table *table;
	struct vsock_conn *chained;			/* in its bucket, or in table->gone */
	struct vsock_conn *waiting_prev, *waiting_next; /* while waiting is true */
	const struct vsock_user *user;			/* NULL: nobody to be told */
	void *ctx;
	uint32_t host_port, guest_port;
	enum conn_state state;
	unsigned say;
	bool waiting;
	bool guest_sends_no_more, guest_reads_no_more; /* the guest shut down */
	bool host_sends_no_more;		       /* vsock_shutdown_send() */
	bool shutdown_sent;			       /* and the guest was told */
	bool want_writable;
	bool credit_asked; /* CREDIT_REQUEST sent, no news since */
	struct loop_timer deadline; /* OPENING: until the guest has answered */
	/* from the guest: bytes received, consumed, and told to be consumed */
	uint32_t received, consumed, consumed_told;
	/* to the guest: bytes sent; its buffer and what it consumed */
	uint32_t sent, peer_buffer, peer_consumed;
	/* bytes not yet sent: ring_bytes from ring_at; ring_room is a power of two, 0 without ring */
	uint8_t *ring;
	size_t ring_room, ring_at, ring_bytes;
};

/* All connections of a device, and the line of those that have something to say. */
struct vsock_table {
	struct virtio_dev *dev;
	struct vsock_conn *buckets[VSOCK_BUCKETS];
	unsigned count;
	struct vsock_conn *waiting_first, *waiting_last;
	struct vsock_conn *gone;
	struct loop_task gone_task;
	unsigned connect_ms; /* how long an OPENING connection may last */
};

void vsock_table_init(struct vsock_table *table, struct virtio_dev *dev);
/* Frees all that is left; users hear nothing. */
void vsock_table_fini(struct vsock_table *table);
/* Has the device look at the line in the next turn. */
void vsock_table_schedule(struct vsock_table *table);
/* All connections end without a word to the guest; their users hear of it in the next turn. */
void vsock_table_abandon(struct vsock_table *table);

struct vsock_conn *vsock_conn_find(const struct vsock_table *table, uint32_t host_port, uint32_t guest_port);
/* OPENING, with nothing to say and no deadline. NULL when there are VSOCK_CONNS_MAX. */
struct vsock_conn *vsock_conn_new(struct vsock_table *table, uint32_t host_port, uint32_t guest_port);
void vsock_conn_free(struct vsock_conn *conn);

/* The packet this connection should send next: enum virtio_vsock_op, 0 for none. */
uint16_t vsock_conn_op(const struct vsock_conn *conn);
/* Puts the connection at the end of the line if it has something to say; takes it out. */
void vsock_conn_wait(struct vsock_conn *conn);
void vsock_conn_unwait(struct vsock_conn *conn);

/* How many bytes the guest has room for; bytes wait and it has none: asks once whether it has by now. */
uint32_t vsock_conn_room(const struct vsock_conn *conn);
void vsock_conn_ask_credit(struct vsock_conn *conn);
/* What a packet of the guest says of its buffer. */
void vsock_conn_credit(struct vsock_conn *conn, uint32_t buf_alloc, uint32_t fwd_cnt);
/* Moves bytes that wait into the guest's buffer, which has room for them; or throws all away. */
void vsock_conn_take(struct vsock_conn *conn, struct virtq_chain *chain, size_t bytes);
void vsock_conn_drop_bytes(struct vsock_conn *conn);

/* Asks the guest (REQUEST) and gives it connect_ms to answer. */
void vsock_conn_open(struct vsock_conn *conn);
/* The guest said RESPONSE, or SHUTDOWN. conn may be dead after it, but is not freed. */
void vsock_conn_answered(struct vsock_conn *conn);
void vsock_conn_shutdown(struct vsock_conn *conn, uint32_t flags);

/* Nothing but an RST is left to be said; the user is forgotten. */
void vsock_conn_kill(struct vsock_conn *conn);
/* The user is told closed() and forgotten; nothing else. */
void vsock_conn_tell_closed(struct vsock_conn *conn);
/* The connection is over: the guest gets an RST, the user closed(). fault: with a line in the log. */
void vsock_conn_reset(struct vsock_conn *conn);
void vsock_conn_fault(struct vsock_conn *conn, const char *why);

#endif
