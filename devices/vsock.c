// SPDX-License-Identifier: Apache-2.0
/*
 * vsock: virtio-vsock (virtio 1.2, section 5.10): the device, its rings and packets, and the ports that are listened on.
 * Connections, their credit and what waits for the guest are in vsock_conn.c. Knows nothing of what is said on them.
 *
 * Theory of operation
 * -------------------
 * Everything begins in kick(): packets from the guest are taken from the TX queue and acted upon, then flush() fills
 * the buffers of the RX queue. The calls of a user (vsock_send() and the like) only note in the connection what is to
 * be said and ask for a kick in the next turn: they call nobody back and free nothing. So a user may call anything
 * from inside a callback, and code here only has to look whether the connection still has a user after one.
 *
 * What is to be said is state, not a list of packets: a bit per control packet and the ring of bytes. A packet can
 * not be lost for want of a buffer, and a guest that never gives buffers makes us hold no more than that. Connections
 * that have something to say stand in line (waiting_*) and give one packet each in turn. Only the answers to packets
 * that belong to no connection need a list; it is short and what does not fit is dropped: the driver that floods us
 * is then the one that waits.
 *
 * Life of a connection:
 *
 *	OPENING -> OPEN -> CLOSING    both ways shut down, the user was told; waits for the guest's RST
 *	       \       \-> DEAD       no user any more; an RST is to go out, then it is freed
 *	        any -----> GONE       the device was reset; the user is told on the loop, then it is freed
 *
 * closed() after a reset is put off to a task because the reset comes on a vCPU thread. OPENING ends after connect_ms
 * if the guest says nothing.
 *
 * A saved device has no connections: their host ends are this process's, and the user that would answer on them does not
 * come back with the state. The guest is told by an event after loading (5.10.6.7, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET)
 * and then drops those it believes open. That event is not for a connection of which the guest only asked: so the state
 * holds the RSTs that were still to be sent, and one for every REQUEST that has no answer yet. Before the event went
 * out nothing of the guest's is looked at.
 *
 * Credit (5.10.6.3): counters are 32 bits and wrap. We announce VSOCK_WINDOW_BYTES and tell what was consumed with every
 * packet, and by a packet of its own each time a quarter of the window was consumed since we last told: half a window
 * used up means at least one such packet is out, so a guest that sends steadily never waits for a reader that keeps
 * up. A guest's fwd_cnt only ever moves forward within what is under way; anything else is stale (a driver with
 * several threads may queue packets out of order) or nonsense and is not believed.
 */
#include "devices/vsock.h"

#include "devices/vsock_conn.h"
#include "lib/util.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_COUNT = VSOCK_QUEUE_EVENT + 1 };

enum {
	HEADER_BYTES = sizeof(struct virtio_vsock_hdr),
	EVENT_BYTES = sizeof(struct virtio_vsock_event),
	PACKET_BYTES_MAX = 64 * 1024, /* most payload the Linux driver takes in one packet */
	COPY_BYTES = 16 * 1024,
	HOST_PORT_FIRST = 1024,
	SHUTDOWN_BOTH = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND,
};

static_assert(sizeof(struct virtio_vsock_hdr) == 44, "virtio 1.2, 5.10.6");

struct listener {
	uint32_t port;
	vsock_accept_fn *accept;
	void *ctx;
};

/* Header fields in the order of this CPU. */
struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len, flags, buf_alloc, fwd_cnt;
	uint16_t type, op;
};

struct orphan {
	uint32_t host_port, guest_port;
	uint16_t type;
};

struct vsock {
	struct virtio_dev dev;
	struct virtio_vsock_config config;
	struct listener listeners[VSOCK_LISTENERS_MAX];
	unsigned listener_count;
	struct vsock_table table;
	struct orphan orphans[VSOCK_RSTS_MAX]; /* RSTs to packets of no connection: a ring */
	unsigned orphan_at, orphan_count;
	bool lost; /* loaded, and the guest was not told yet that its connections are gone */
	uint32_t next_port;
	struct virtq_chain chain; /* too large for the stack */
	uint8_t copy[COPY_BYTES]; /* what a user is shown must not change under its hands */
};

/* From the guest */

static void orphan_add(struct vsock *vsock, const struct packet *packet)
{
	if (packet->op == VIRTIO_VSOCK_OP_RST || vsock->orphan_count == VSOCK_RSTS_MAX)
		return;
	vsock->orphans[(vsock->orphan_at + vsock->orphan_count++) % VSOCK_RSTS_MAX] = (struct orphan){
		.host_port = packet->dst_port, .guest_port = packet->src_port, .type = packet->type};
	vsock_table_schedule(&vsock->table);
}

static const struct listener *listener_find(const struct vsock *vsock, uint32_t port)
{
	for (unsigned i = 0; i < vsock->listener_count; i++)
		if (vsock->listeners[i].port == port)
			return &vsock->listeners[i];
	return NULL;
}

static void conn_accept(struct vsock *vsock, const struct packet *packet)
{
	const struct listener *listener = listener_find(vsock, packet->dst_port);
	struct vsock_conn *conn = listener ? vsock_conn_new(&vsock->table, packet->dst_port, packet->src_port) : NULL;
	const struct vsock_user *user = NULL;
	void *ctx = NULL;

	if (!conn) {
		orphan_add(vsock, packet);
		return;
	}
	conn->state = CONN_OPEN;
	conn->say = SAY_RESPONSE;
	conn->peer_buffer = packet->buf_alloc;
	conn->peer_consumed = conn->sent = packet->fwd_cnt; /* 0 from a sane driver: only differences count */
	if (!listener->accept(listener->ctx, conn, &user, &ctx)) {
		if (conn->state == CONN_OPEN)
			vsock_conn_kill(conn);
		return;
	}
	if (conn->state != CONN_OPEN) /* it called vsock_close() */
		return;
	conn->user = user;
	conn->ctx = ctx;
	vsock_conn_wait(conn);
}

/* len was checked against the chain. */
static void conn_data(struct vsock *vsock, struct vsock_conn *conn, struct virtq_chain *chain, uint32_t len)
{
	uint32_t held = conn->received - conn->consumed;

	if (conn->guest_sends_no_more || conn->state == CONN_OPENING) {
		vsock_conn_fault(conn, "data out of season");
		return;
	}
	if (len > VSOCK_WINDOW_BYTES - held) {
		vsock_conn_fault(conn, "more data than credit");
		return;
	}
	conn->received += len;
	while (len && conn->user) {
		size_t part = chain_read(chain, vsock->copy, MIN(len, (uint32_t)COPY_BYTES));

		conn->user->data(conn->ctx, conn, vsock->copy, part);
		len -= (uint32_t)part;
	}
}

static void conn_packet(struct vsock *vsock, struct vsock_conn *conn, const struct packet *packet,
			struct virtq_chain *chain)
{
	if (packet->op == VIRTIO_VSOCK_OP_RST) {
		conn->state = CONN_DEAD;
		vsock_conn_tell_closed(conn);
		vsock_conn_free(conn);
		return;
	}
	if (conn->state == CONN_DEAD) /* our RST is on its way and answers this as well */
		return;
	vsock_conn_credit(conn, packet->buf_alloc, packet->fwd_cnt);
	switch (packet->op) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		vsock_conn_answered(conn);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		vsock_conn_shutdown(conn, packet->flags);
		break;
	case VIRTIO_VSOCK_OP_RW:
		conn_data(vsock, conn, chain, packet->len);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		conn->say |= SAY_CREDIT_UPDATE;
		vsock_conn_wait(conn);
		break;
	case VIRTIO_VSOCK_OP_REQUEST:
		vsock_conn_fault(conn, "opened twice");
		break;
	default:
		vsock_conn_fault(conn, "unknown operation");
	}
}

static bool packet_read(struct virtq_chain *chain, struct packet *packet)
{
	struct virtio_vsock_hdr header;

	if (chain_read(chain, &header, sizeof(header)) != sizeof(header))
		return false;
	*packet = (struct packet){
		.src_cid = le64toh(header.src_cid),
		.dst_cid = le64toh(header.dst_cid),
		.src_port = le32toh(header.src_port),
		.dst_port = le32toh(header.dst_port),
		.len = le32toh(header.len),
		.flags = le32toh(header.flags),
		.buf_alloc = le32toh(header.buf_alloc),
		.fwd_cnt = le32toh(header.fwd_cnt),
		.type = le16toh(header.type),
		.op = le16toh(header.op),
	};
	return true;
}

static void packet_take(struct vsock *vsock, struct virtq_chain *chain)
{
	struct packet packet;
	struct vsock_conn *conn;

	if (!packet_read(chain, &packet)) {
		log_guest(&vsock->dev.limit, "vsock: dropped a packet shorter than its header");
		return;
	}
	if (packet.src_cid != VSOCK_GUEST_CID || packet.dst_cid != VSOCK_HOST_CID)
		return; /* not from the guest, or to another machine: nobody to answer (as Linux' vhost does) */
	conn = vsock_conn_find(&vsock->table, packet.dst_port, packet.src_port);
	if (packet.type != VIRTIO_VSOCK_TYPE_STREAM)
		conn = NULL;
	if (conn && packet.len > chain->out_bytes - HEADER_BYTES && conn->state != CONN_DEAD)
		vsock_conn_fault(conn, "packet shorter than it says");
	else if (conn)
		conn_packet(vsock, conn, &packet, chain);
	else if (packet.op == VIRTIO_VSOCK_OP_REQUEST && packet.type == VIRTIO_VSOCK_TYPE_STREAM)
		conn_accept(vsock, &packet);
	else
		orphan_add(vsock, &packet);
}

static void receive(struct vsock *vsock)
{
	struct virtq *vq = &vsock->dev.queues[VSOCK_QUEUE_TX];
	unsigned budget = vq->num;

	do {
		while (budget && virtio_pop(&vsock->dev, VSOCK_QUEUE_TX, &vsock->chain)) {
			uint16_t head = vsock->chain.head;

			budget--;
			packet_take(vsock, &vsock->chain);
			virtq_push(vq, head, 0);
		}
		if (!budget) {
			virtio_kick_again(&vsock->dev, VSOCK_QUEUE_TX);
			break;
		}
	} while (virtq_kick_enable(vq));
	virtio_interrupt(&vsock->dev, VSOCK_QUEUE_TX);
}

/* To the guest */

static void header_write(struct virtq_chain *chain, const struct packet *packet)
{
	struct virtio_vsock_hdr header = {
		.src_cid = htole64(VSOCK_HOST_CID),
		.dst_cid = htole64(VSOCK_GUEST_CID),
		.src_port = htole32(packet->src_port),
		.dst_port = htole32(packet->dst_port),
		.len = htole32(packet->len),
		.type = htole16(packet->type),
		.op = htole16(packet->op),
		.flags = htole32(packet->flags),
		.buf_alloc = htole32(packet->buf_alloc),
		.fwd_cnt = htole32(packet->fwd_cnt),
	};

	chain_write(chain, &header, sizeof(header));
}

static void orphan_send(struct vsock *vsock, struct virtq_chain *chain)
{
	const struct orphan *orphan = &vsock->orphans[vsock->orphan_at];
	struct packet packet = {.src_port = orphan->host_port,
				.dst_port = orphan->guest_port,
				.type = orphan->type,
				.op = VIRTIO_VSOCK_OP_RST};

	header_write(chain, &packet);
	vsock->orphan_at = (vsock->orphan_at + 1) % VSOCK_RSTS_MAX;
	vsock->orphan_count--;
}

static uint32_t shutdown_flags(const struct vsock_conn *conn)
{
	return conn->guest_sends_no_more ? SHUTDOWN_BOTH : VIRTIO_VSOCK_SHUTDOWN_SEND;
}

/* Writes the packet of vsock_conn_op() and forgets what it said. */
static void conn_write(struct vsock_conn *conn, struct virtq_chain *chain, uint16_t op)
{
	static const unsigned said[] = {
		[VIRTIO_VSOCK_OP_REQUEST] = SAY_REQUEST,
		[VIRTIO_VSOCK_OP_RESPONSE] = SAY_RESPONSE,
		[VIRTIO_VSOCK_OP_RST] = SAY_RST,
		[VIRTIO_VSOCK_OP_SHUTDOWN] = SAY_SHUTDOWN,
		[VIRTIO_VSOCK_OP_RW] = 0,
		[VIRTIO_VSOCK_OP_CREDIT_UPDATE] = 0,
		[VIRTIO_VSOCK_OP_CREDIT_REQUEST] = SAY_CREDIT_REQUEST,
	};
	struct packet packet = {.src_port = conn->host_port,
				.dst_port = conn->guest_port,
				.type = VIRTIO_VSOCK_TYPE_STREAM,
				.op = op,
				.buf_alloc = VSOCK_WINDOW_BYTES,
				.fwd_cnt = conn->consumed};

	if (op == VIRTIO_VSOCK_OP_SHUTDOWN)
		packet.flags = shutdown_flags(conn);
	if (op == VIRTIO_VSOCK_OP_RW) {
		size_t room = MIN(chain->in_bytes - HEADER_BYTES, (uint64_t)PACKET_BYTES_MAX);

		packet.len = (uint32_t)MIN(MIN(conn->ring_bytes, room), (size_t)vsock_conn_room(conn));
	}
	header_write(chain, &packet);
	if (packet.len)
		vsock_conn_take(conn, chain, packet.len);
	conn->sent += packet.len;
	/* Every packet carries our credit. */
	conn->consumed_told = conn->consumed;
	conn->say &= ~(said[op] | SAY_CREDIT_UPDATE);
}

/* What follows from a packet having gone out. May free conn. */
static void conn_sent(struct vsock_conn *conn, uint16_t op)
{
	switch (op) {
	case VIRTIO_VSOCK_OP_RST:
		vsock_conn_free(conn);
		return;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		conn->shutdown_sent = true;
		if (conn->guest_sends_no_more) {
			conn->state = CONN_CLOSING;
			vsock_conn_tell_closed(conn);
		}
		break;
	case VIRTIO_VSOCK_OP_RW:
		vsock_conn_ask_credit(conn);
		if (conn->want_writable && conn->ring_bytes <= VSOCK_SEND_BYTES / 2) {
			conn->want_writable = false;
			conn->user->writable(conn->ctx, conn);
		}
		break;
	}
	vsock_conn_wait(conn);
}

/* One packet into one chain of the RX queue; there is one to be sent. */
static void send_one(struct vsock *vsock)
{
	struct virtq *vq = &vsock->dev.queues[VSOCK_QUEUE_RX];
	struct virtq_chain *chain = &vsock->chain;
	struct vsock_conn *conn = vsock->table.waiting_first;
	uint16_t op;

	/* A buffer that holds no byte of data would let a connection send empty packets for ever. */
	if (chain->in_bytes <= HEADER_BYTES) {
		virtq_push(vq, chain->head, 0);
		virtio_broken(&vsock->dev, "receive buffer without room");
		return;
	}
	if (vsock->orphan_count) {
		orphan_send(vsock, chain);
		virtq_push(vq, chain->head, HEADER_BYTES);
		return;
	}
	op = vsock_conn_op(conn);
	vsock_conn_unwait(conn);
	conn_write(conn, chain, op);
	virtq_push(vq, chain->head, (uint32_t)chain->written_bytes);
	conn_sent(conn, op);
}

/* True when there is a packet to be sent. What a connection waited for may be void since: the guest took credit back. */
static bool anything_to_send(struct vsock *vsock)
{
	while (!vsock->orphan_count && vsock->table.waiting_first && !vsock_conn_op(vsock->table.waiting_first))
		vsock_conn_unwait(vsock->table.waiting_first);
	return vsock->orphan_count || vsock->table.waiting_first;
}

static void flush(struct vsock *vsock)
{
	struct virtq *vq = &vsock->dev.queues[VSOCK_QUEUE_RX];
	unsigned budget = vq->num;

	while (virtio_running(&vsock->dev) && anything_to_send(vsock)) {
		if (!budget--) {
			virtio_kick_again(&vsock->dev, VSOCK_QUEUE_RX);
			break;
		}
		if (virtio_pop(&vsock->dev, VSOCK_QUEUE_RX, &vsock->chain))
			send_one(vsock);
		else if (!virtq_kick_enable(vq))
			break; /* the driver kicks when it gives new buffers */
	}
	/* While nothing waits, new buffers are no news. */
	if (!anything_to_send(vsock))
		virtq_kick_disable(vq);
	virtio_interrupt(&vsock->dev, VSOCK_QUEUE_RX);
}

/* Events */

/* True when the guest knows that its connections are gone: at once, unless the device was loaded. */
static bool loss_is_told(struct vsock *vsock)
{
	const struct virtio_vsock_event event = {.id = htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET)};
	struct virtq *vq = &vsock->dev.queues[VSOCK_QUEUE_EVENT];
	struct virtq_chain *chain = &vsock->chain;

	if (!vsock->lost || !vq->ready) /* not ready: a driver that wants no events */
		return true;
	while (!virtio_pop(&vsock->dev, VSOCK_QUEUE_EVENT, chain))
		if (!virtio_running(&vsock->dev) || !virtq_kick_enable(vq))
			return false; /* the driver kicks when it gives buffers */
	virtq_push(vq, chain->head, (uint32_t)chain_write(chain, &event, sizeof(event)));
	vsock->lost = false;
	if (chain->in_bytes < EVENT_BYTES)
		virtio_broken(&vsock->dev, "event buffer without room");
	virtio_interrupt(&vsock->dev, VSOCK_QUEUE_EVENT);
	/* What had to wait for this. */
	virtio_kick_again(&vsock->dev, VSOCK_QUEUE_TX);
	return virtio_running(&vsock->dev);
}

static void abandon(struct vsock *vsock)
{
	vsock_table_abandon(&vsock->table);
	vsock->orphan_count = 0;
	vsock->lost = false;
}

static void vsock_kick(struct virtio_dev *dev, unsigned queue)
{
	struct vsock *vsock = CONTAINER_OF(dev, struct vsock, dev);

	if (loss_is_told(vsock)) {
		if (queue == VSOCK_QUEUE_TX)
			receive(vsock);
		if (queue != VSOCK_QUEUE_EVENT)
			flush(vsock);
	}
	if (!virtio_running(dev)) /* broken: nothing will ever come or go again */
		abandon(vsock);
}

static void vsock_start(struct virtio_dev *dev)
{
	virtio_kick_again(dev, VSOCK_QUEUE_RX); /* for vsock_connect() before */
}

static void vsock_reset(struct virtio_dev *dev)
{
	abandon(CONTAINER_OF(dev, struct vsock, dev));
}

static const struct virtio_ops vsock_ops = {
	.kick = vsock_kick,
	.start = vsock_start,
	.reset = vsock_reset,
};

/* For users */

struct vsock *vsock_new(const struct virtio_env *env)
{
	struct vsock *vsock = xcalloc(1, sizeof(*vsock));

	vsock->config.guest_cid = htole64(VSOCK_GUEST_CID);
	vsock->next_port = HOST_PORT_FIRST;
	vsock->dev.ops = &vsock_ops;
	vsock->dev.name = "vsock";
	vsock->dev.device_id = VIRTIO_ID_VSOCK;
	vsock->dev.config = &vsock->config;
	vsock->dev.config_bytes = sizeof(vsock->config);
	vsock->dev.queue_count = QUEUE_COUNT;
	virtio_init(&vsock->dev, env);
	vsock_table_init(&vsock->table, &vsock->dev);
	return vsock;
}

void vsock_free(struct vsock *vsock)
{
	if (!vsock)
		return;
	vsock_table_fini(&vsock->table);
	virtio_fini(&vsock->dev);
	free(vsock);
}

struct virtio_dev *vsock_dev(struct vsock *vsock)
{
	return &vsock->dev;
}

int vsock_listen(struct vsock *vsock, uint32_t port, vsock_accept_fn *accept, void *ctx)
{
	if (listener_find(vsock, port))
		return -EEXIST;
	if (vsock->listener_count == VSOCK_LISTENERS_MAX)
		return -ENOSPC;
	vsock->listeners[vsock->listener_count++] = (struct listener){.port = port, .accept = accept, .ctx = ctx};
	return 0;
}

/* There is one: VSOCK_CONNS_MAX and the listeners are far fewer than ports. */
static uint32_t free_port(struct vsock *vsock, uint32_t guest_port)
{
	uint32_t port;

	do {
		port = vsock->next_port++;
		if (vsock->next_port == UINT32_MAX) /* VMADDR_PORT_ANY */
			vsock->next_port = HOST_PORT_FIRST;
	} while (listener_find(vsock, port) || vsock_conn_find(&vsock->table, port, guest_port));
	return port;
}

void vsock_connect_limit(struct vsock *vsock, unsigned ms)
{
	vsock->table.connect_ms = ms;
}

struct vsock_conn *vsock_connect(struct vsock *vsock, uint32_t port, const struct vsock_user *user, void *ctx)
{
	struct vsock_conn *conn = vsock_conn_new(&vsock->table, free_port(vsock, port), port);

	if (!conn)
		return NULL;
	conn->user = user;
	conn->ctx = ctx;
	conn->state = CONN_OPENING;
	vsock_conn_open(conn);
	return conn;
}

/* Saved state */

static void rst_save(struct vsock_state *state, uint32_t host_port, uint32_t guest_port, uint16_t type)
{
	if (state->rst_count < VSOCK_RSTS_MAX)
		state->rsts[state->rst_count++] = (struct vsock_rst_state){host_port, guest_port, type};
}

void vsock_save(const struct vsock *vsock, struct vsock_state *state)
{
	*state = (struct vsock_state){.next_port = vsock->next_port};
	virtio_save(&vsock->dev, &state->virtio);
	for (unsigned i = 0; i < vsock->orphan_count; i++) {
		const struct orphan *orphan = &vsock->orphans[(vsock->orphan_at + i) % VSOCK_RSTS_MAX];

		rst_save(state, orphan->host_port, orphan->guest_port, orphan->type);
	}
	for (const struct vsock_conn *conn = vsock->table.waiting_first; conn; conn = conn->waiting_next)
		if (conn->say & (SAY_RESPONSE | SAY_RST))
			rst_save(state, conn->host_port, conn->guest_port, VIRTIO_VSOCK_TYPE_STREAM);
}

int vsock_load(struct vsock *vsock, const struct vsock_state *state)
{
	int err;

	if (state->rst_count > VSOCK_RSTS_MAX || state->next_port < HOST_PORT_FIRST || state->next_port == UINT32_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < state->rst_count; i++)
		if (state->rsts[i].type > UINT16_MAX)
			return -EINVAL;
	err = virtio_load(&vsock->dev, &state->virtio);
	if (err)
		return err;
	vsock->next_port = state->next_port;
	vsock->lost = virtio_running(&vsock->dev);
	for (uint32_t i = 0; i < state->rst_count; i++)
		vsock->orphans[i] = (struct orphan){.host_port = state->rsts[i].host_port,
						    .guest_port = state->rsts[i].guest_port,
						    .type = (uint16_t)state->rsts[i].type};
	vsock->orphan_at = 0;
	vsock->orphan_count = state->rst_count;
	return 0;
}
