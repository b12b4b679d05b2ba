// SPDX-License-Identifier: Apache-2.0
/*
 * vsock_conn: see vsock_conn.h; INTERNAL to devices/vsock, whose theory of operation stands on top of vsock.c. Owns
 * connections, their credit (virtio 1.2, 5.10.6.3) and what waits for the guest. Knows no packets and no listeners.
 */
#include "devices/vsock_conn.h"

#include "lib/util.h"

#include <assert.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <string.h>

enum { RING_BYTES_MIN = 4096 };

static_assert(VSOCK_SEND_BYTES % RING_BYTES_MIN == 0, "the ring doubles up to it");

/* The send ring */

void vsock_conn_drop_bytes(struct vsock_conn *conn)
{
	free(conn->ring);
	conn->ring = NULL;
	conn->ring_room = conn->ring_at = conn->ring_bytes = 0;
}

/* Up to two pieces from offset on; returns the length of the first, the rest begins at ring[0]. */
static size_t ring_piece(const struct vsock_conn *conn, size_t offset, size_t bytes, size_t *at)
{
	*at = (conn->ring_at + offset) & (conn->ring_room - 1);
	return MIN(bytes, conn->ring_room - *at);
}

static void ring_grow(struct vsock_conn *conn, size_t need)
{
	size_t room = conn->ring_room ? conn->ring_room : RING_BYTES_MIN, at, first;
	uint8_t *ring;

	if (need <= conn->ring_room)
		return;
	while (room < need)
		room *= 2;
	ring = xmalloc(room);
	if (conn->ring_bytes) {
		first = ring_piece(conn, 0, conn->ring_bytes, &at);
		memcpy(ring, conn->ring + at, first);
		memcpy(ring + first, conn->ring, conn->ring_bytes - first);
	}
	free(conn->ring);
	conn->ring = ring;
	conn->ring_room = room;
	conn->ring_at = 0;
}

static void ring_put(struct vsock_conn *conn, const uint8_t *bytes, size_t count)
{
	size_t at, first;

	if (!count)
		return;
	ring_grow(conn, conn->ring_bytes + count);
	first = ring_piece(conn, conn->ring_bytes, count, &at);
	memcpy(conn->ring + at, bytes, first);
	memcpy(conn->ring, bytes + first, count - first);
	conn->ring_bytes += count;
}

/* Moves bytes from the ring into the guest's buffer, which has room for them. An empty ring costs nothing. */
void vsock_conn_take(struct vsock_conn *conn, struct virtq_chain *chain, size_t bytes)
{
	size_t at, first = ring_piece(conn, 0, bytes, &at);

	chain_write(chain, conn->ring + at, first);
	chain_write(chain, conn->ring, bytes - first);
	conn->ring_at = (conn->ring_at + bytes) & (conn->ring_room - 1);
	conn->ring_bytes -= bytes;
	if (!conn->ring_bytes)
		vsock_conn_drop_bytes(conn);
}

/* The table */

static unsigned bucket_of(uint32_t host_port, uint32_t guest_port)
{
	return (guest_port * 31 + host_port) % VSOCK_BUCKETS;
}

struct vsock_conn *vsock_conn_find(const struct vsock_table *table, uint32_t host_port, uint32_t guest_port)
{
	struct vsock_conn *conn = table->buckets[bucket_of(host_port, guest_port)];

	while (conn && (conn->host_port != host_port || conn->guest_port != guest_port))
		conn = conn->chained;
	return conn;
}

struct vsock_conn *vsock_conn_new(struct vsock_table *table, uint32_t host_port, uint32_t guest_port)
{
	struct vsock_conn **bucket = &table->buckets[bucket_of(host_port, guest_port)], *conn;

	if (table->count == VSOCK_CONNS_MAX)
		return NULL;
	conn = xcalloc(1, sizeof(*conn));
	conn->table = table;
	conn->host_port = host_port;
	conn->guest_port = guest_port;
	conn->chained = *bucket;
	*bucket = conn;
	table->count++;
	return conn;
}

/* What is to be said */

/* How many bytes the guest has room for. */
uint32_t vsock_conn_room(const struct vsock_conn *conn)
{
	uint32_t under_way = conn->sent - conn->peer_consumed;

	return under_way < conn->peer_buffer ? conn->peer_buffer - under_way : 0;
}

/* The packet this connection should send next: enum virtio_vsock_op, 0 for none. */
uint16_t vsock_conn_op(const struct vsock_conn *conn)
{
	if (conn->say & SAY_RST)
		return VIRTIO_VSOCK_OP_RST;
	if (conn->say & SAY_REQUEST)
		return VIRTIO_VSOCK_OP_REQUEST;
	if (conn->say & SAY_RESPONSE)
		return VIRTIO_VSOCK_OP_RESPONSE;
	if (conn->state != CONN_OPEN)
		return 0;
	if (conn->ring_bytes && vsock_conn_room(conn))
		return VIRTIO_VSOCK_OP_RW;
	if ((conn->say & SAY_SHUTDOWN) && !conn->ring_bytes)
		return VIRTIO_VSOCK_OP_SHUTDOWN;
	if (conn->say & SAY_CREDIT_REQUEST)
		return VIRTIO_VSOCK_OP_CREDIT_REQUEST;
	if (conn->say & SAY_CREDIT_UPDATE)
		return VIRTIO_VSOCK_OP_CREDIT_UPDATE;
	return 0;
}

/* Bytes wait and the guest has no room: asks once whether it has by now. */
void vsock_conn_ask_credit(struct vsock_conn *conn)
{
	if (conn->state != CONN_OPEN || !conn->ring_bytes || vsock_conn_room(conn) || conn->credit_asked)
		return;
	conn->credit_asked = true;
	conn->say |= SAY_CREDIT_REQUEST;
}

void vsock_conn_credit(struct vsock_conn *conn, uint32_t buf_alloc, uint32_t fwd_cnt)
{
	conn->peer_buffer = buf_alloc;
	if (fwd_cnt - conn->peer_consumed <= conn->sent - conn->peer_consumed)
		conn->peer_consumed = fwd_cnt;
	if (vsock_conn_room(conn)) {
		conn->credit_asked = false;
		conn->say &= ~(unsigned)SAY_CREDIT_REQUEST;
	}
	vsock_conn_wait(conn);
}

void vsock_table_schedule(struct vsock_table *table)
{
	if (virtio_running(table->dev))
		virtio_kick_again(table->dev, VSOCK_QUEUE_RX);
}

/* Puts the connection at the end of the line if it has something to say. */
void vsock_conn_wait(struct vsock_conn *conn)
{
	struct vsock_table *table = conn->table;

	if (conn->waiting || !vsock_conn_op(conn))
		return;
	conn->waiting = true;
	conn->waiting_prev = table->waiting_last;
	conn->waiting_next = NULL;
	*(table->waiting_last ? &table->waiting_last->waiting_next : &table->waiting_first) = conn;
	table->waiting_last = conn;
	vsock_table_schedule(table);
}

void vsock_conn_unwait(struct vsock_conn *conn)
{
	struct vsock_table *table = conn->table;

	if (!conn->waiting)
		return;
	conn->waiting = false;
	*(conn->waiting_prev ? &conn->waiting_prev->waiting_next : &table->waiting_first) = conn->waiting_next;
	*(conn->waiting_next ? &conn->waiting_next->waiting_prev : &table->waiting_last) = conn->waiting_prev;
}

/* The end of a connection */

static void deadline_cancel(struct vsock_conn *conn)
{
	loop_timer_cancel(conn->table->dev->env.loop, &conn->deadline);
}

void vsock_conn_free(struct vsock_conn *conn)
{
	struct vsock_conn **at = &conn->table->buckets[bucket_of(conn->host_port, conn->guest_port)];

	while (*at != conn)
		at = &(*at)->chained;
	*at = conn->chained;
	conn->table->count--;
	deadline_cancel(conn);
	vsock_conn_unwait(conn);
	vsock_conn_drop_bytes(conn);
	free(conn);
}

/* Nothing but an RST is left to be said; the user is forgotten. */
void vsock_conn_kill(struct vsock_conn *conn)
{
	conn->user = NULL;
	conn->state = CONN_DEAD;
	conn->say = SAY_RST;
	deadline_cancel(conn);
	vsock_conn_drop_bytes(conn);
	vsock_conn_wait(conn);
}

void vsock_conn_tell_closed(struct vsock_conn *conn)
{
	const struct vsock_user *user = conn->user;

	conn->user = NULL;
	if (user)
		user->closed(conn->ctx, conn);
}

/* The connection is over: the guest gets an RST, the user closed(). */
void vsock_conn_reset(struct vsock_conn *conn)
{
	const struct vsock_user *user = conn->user;

	vsock_conn_kill(conn);
	conn->user = user;
	vsock_conn_tell_closed(conn);
}

void vsock_conn_fault(struct vsock_conn *conn, const char *why)
{
	log_guest(&conn->table->dev->limit, "vsock: connection from guest port %u to %u is reset: %s",
		  conn->guest_port, conn->host_port, why);
	vsock_conn_reset(conn);
}

/* The guest did not answer. One that never heard of the connection (no buffers) gets no RST for it either. */
static void deadline_passed(void *ctx)
{
	struct vsock_conn *conn = ctx;

	if (!(conn->say & SAY_REQUEST)) {
		vsock_conn_reset(conn);
		return;
	}
	conn->state = CONN_DEAD;
	vsock_conn_tell_closed(conn);
	vsock_conn_free(conn);
}

void vsock_conn_open(struct vsock_conn *conn)
{
	struct vsock_table *table = conn->table;

	conn->say = SAY_REQUEST;
	conn->deadline = (struct loop_timer){.fn = deadline_passed, .ctx = conn};
	loop_timer_set(table->dev->env.loop, &conn->deadline, clock_mono_ns() + table->connect_ms * UINT64_C(1000000));
	vsock_conn_wait(conn);
}

void vsock_conn_answered(struct vsock_conn *conn)
{
	if (conn->state != CONN_OPENING || (conn->say & SAY_REQUEST)) {
		vsock_conn_fault(conn, "answer without question");
		return;
	}
	deadline_cancel(conn);
	conn->state = CONN_OPEN;
	vsock_conn_wait(conn);
	conn->user->open(conn->ctx, conn);
}

/* The guest reads no more: what waits for it, and what will, goes nowhere. */
static void guest_stops_reading(struct vsock_conn *conn)
{
	bool want = conn->want_writable;

	conn->guest_reads_no_more = true;
	conn->want_writable = false;
	vsock_conn_drop_bytes(conn);
	vsock_conn_wait(conn); /* a SHUTDOWN may have waited for the ring */
	if (want && conn->user)
		conn->user->writable(conn->ctx, conn);
}

static void guest_stops_sending(struct vsock_conn *conn)
{
	conn->guest_sends_no_more = true;
	if (conn->shutdown_sent) {
		conn->say |= SAY_SHUTDOWN; /* once more, for both ways */
		vsock_conn_wait(conn);
	}
	if (conn->user)
		conn->user->eof(conn->ctx, conn);
}

void vsock_conn_shutdown(struct vsock_conn *conn, uint32_t flags)
{
	if (conn->state == CONN_OPENING) {
		vsock_conn_fault(conn, "shutdown out of season");
		return;
	}
	if ((flags & VIRTIO_VSOCK_SHUTDOWN_SEND) && !conn->guest_sends_no_more)
		guest_stops_sending(conn);
	if ((flags & VIRTIO_VSOCK_SHUTDOWN_RCV) && !conn->guest_reads_no_more && conn->state != CONN_DEAD)
		guest_stops_reading(conn);
	/* 5.10.6.5: a shutdown of both ways is answered with RST. */
	if (conn->guest_sends_no_more && conn->guest_reads_no_more && conn->state != CONN_DEAD)
		vsock_conn_reset(conn);
}

/* All connections end without a word to the guest; their users hear of it in the next turn. */
void vsock_table_abandon(struct vsock_table *table)
{
	for (unsigned i = 0; i < VSOCK_BUCKETS; i++) {
		struct vsock_conn *conn;

		while ((conn = table->buckets[i])) {
			table->buckets[i] = conn->chained;
			deadline_cancel(conn);
			vsock_conn_unwait(conn);
			vsock_conn_drop_bytes(conn);
			conn->state = CONN_GONE;
			conn->say = 0;
			conn->chained = table->gone;
			table->gone = conn;
		}
	}
	table->count = 0;
	if (table->gone)
		loop_task_post(table->dev->env.loop, &table->gone_task);
}

static void gone_run(void *ctx)
{
	struct vsock_table *table = ctx;

	while (table->gone) {
		struct vsock_conn *conn = table->gone;

		table->gone = conn->chained;
		vsock_conn_tell_closed(conn);
		free(conn);
	}
}

void vsock_table_init(struct vsock_table *table, struct virtio_dev *dev)
{
	*table = (struct vsock_table){.dev = dev, .connect_ms = VSOCK_CONNECT_MS};
	table->gone_task = (struct loop_task){.fn = gone_run, .ctx = table};
}

void vsock_table_fini(struct vsock_table *table)
{
	vsock_table_abandon(table);
	loop_task_cancel(table->dev->env.loop, &table->gone_task);
	while (table->gone) {
		struct vsock_conn *conn = table->gone;

		table->gone = conn->chained;
		free(conn);
	}
}

/* For users */

size_t vsock_send(struct vsock_conn *conn, const void *bytes, size_t count)
{
	size_t taken;

	assert(!conn->host_sends_no_more);
	if (conn->guest_reads_no_more || conn->state > CONN_OPEN)
		return count;
	taken = MIN(count, VSOCK_SEND_BYTES - conn->ring_bytes);
	ring_put(conn, bytes, taken);
	if (taken < count)
		conn->want_writable = true;
	vsock_conn_ask_credit(conn);
	vsock_conn_wait(conn);
	return taken;
}

size_t vsock_send_pending(const struct vsock_conn *conn)
{
	return conn->ring_bytes;
}

void vsock_consumed(struct vsock_conn *conn, size_t bytes)
{
	assert(bytes <= conn->received - conn->consumed);
	conn->consumed += (uint32_t)bytes;
	if (conn->consumed - conn->consumed_told < VSOCK_WINDOW_BYTES / 4)
		return;
	conn->say |= SAY_CREDIT_UPDATE;
	vsock_conn_wait(conn);
}

void vsock_shutdown_send(struct vsock_conn *conn)
{
	if (conn->host_sends_no_more)
		return;
	conn->host_sends_no_more = true;
	if (conn->state > CONN_OPEN)
		return;
	conn->say |= SAY_SHUTDOWN;
	vsock_conn_wait(conn);
}

void vsock_close(struct vsock_conn *conn)
{
	assert(conn->state != CONN_DEAD);
	if (conn->state == CONN_GONE) /* freed by gone_run() */
		conn->user = NULL;
	else
		vsock_conn_kill(conn);
}

void vsock_user_set(struct vsock_conn *conn, const struct vsock_user *user, void *ctx)
{
	assert(conn->user);
	conn->user = user;
	conn->ctx = ctx;
}

uint32_t vsock_guest_port(const struct vsock_conn *conn)
{
	return conn->guest_port;
}
