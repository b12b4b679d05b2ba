// SPDX-License-Identifier: Apache-2.0
/* test_vsock: devices/vsock.c as a guest sees it (through rings) and as its users see it (through callbacks). */
#include "tests/unit/vsock_guest.h"

#include "lib/util.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>

enum { PORT = 7, GUEST_PORT = 5000 };
#define OP(name) VIRTIO_VSOCK_OP_##name

/* A user of one connection: counts what it is told and does what the test asks for inside data(). */
struct peer {
	struct vsock_conn *conn;
	unsigned opens, eofs, closes, writables;
	uint8_t *bytes;
	size_t count;
	bool hold;		       /* gives no credit back */
	bool close_in_data, close_in_eof, shutdown_in_eof, answer;
	struct vsock_conn *close_other; /* in data() */
	const void *more;	       /* sent by writable() */
	size_t more_bytes;
};

struct host {
	struct guest guest;
	struct peer peers[4];
	unsigned accepts;
	bool refuse, close_in_accept;
};

static void on_open(void *ctx, struct vsock_conn *conn)
{
	(void)conn;
	((struct peer *)ctx)->opens++;
}

static void on_data(void *ctx, struct vsock_conn *conn, const void *bytes, size_t count)
{
	struct peer *peer = ctx;

	peer->bytes = xrealloc(peer->bytes, peer->count + count);
	memcpy(peer->bytes + peer->count, bytes, count);
	peer->count += count;
	if (!peer->hold)
		vsock_consumed(conn, count);
	if (peer->answer)
		vsock_send(conn, bytes, count);
	if (peer->close_other) {
		vsock_close(peer->close_other);
		peer->close_other = NULL;
	}
	if (peer->close_in_data)
		vsock_close(conn);
}

static void on_writable(void *ctx, struct vsock_conn *conn)
{
	struct peer *peer = ctx;
	size_t taken;

	peer->writables++;
	taken = vsock_send(conn, peer->more, peer->more_bytes);
	peer->more = (const char *)peer->more + taken;
	peer->more_bytes -= taken;
}

static void on_eof(void *ctx, struct vsock_conn *conn)
{
	struct peer *peer = ctx;

	peer->eofs++;
	if (peer->shutdown_in_eof)
		vsock_shutdown_send(conn);
	if (peer->close_in_eof)
		vsock_close(conn);
}

static void on_closed(void *ctx, struct vsock_conn *conn)
{
	(void)conn;
	((struct peer *)ctx)->closes++;
}

static const struct vsock_user peer_user = {on_open, on_data, on_writable, on_eof, on_closed};

static bool on_accept(void *ctx, struct vsock_conn *conn, const struct vsock_user **user, void **user_ctx)
{
	struct host *host = ctx;
	struct peer *peer = &host->peers[host->accepts % ARRAY_SIZE(host->peers)];

	host->accepts++;
	if (host->refuse)
		return false;
	peer->conn = conn;
	*user = &peer_user;
	*user_ctx = peer;
	if (host->close_in_accept)
		vsock_close(conn);
	return true;
}

static struct guest *start(struct host *host, bool post)
{
	*host = (struct host){0};
	guest_init(&host->guest, post);
	vsock_listen(host->guest.vsock, PORT, on_accept, host);
	return &host->guest;
}

static void end(struct host *host)
{
	guest_fini(&host->guest);
	for (unsigned i = 0; i < ARRAY_SIZE(host->peers); i++)
		free(host->peers[i].bytes);
}

static uint8_t *pattern(size_t bytes)
{
	uint8_t *data = xmalloc(bytes);

	for (size_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	return data;
}

TEST(shows_its_cid)
{
	struct host host;
	struct guest *guest = start(&host, false);

	CHECK_INT(rig_read(&guest->rig, RIG_REG_DEVICE_ID), 19);
	CHECK_INT(rig_read(&guest->rig, RIG_REG_CONFIG), VSOCK_GUEST_CID);
	CHECK_INT(rig_read(&guest->rig, RIG_REG_CONFIG + 4), 0);
	end(&host);
}

TEST(listens)
{
	struct host host;
	struct guest *guest = start(&host, false);

	CHECK_INT(vsock_listen(guest->vsock, PORT, on_accept, &host), -EEXIST);
	for (uint32_t i = 1; i < VSOCK_LISTENERS_MAX; i++)
		CHECK_INT(vsock_listen(guest->vsock, 100 + i, on_accept, &host), 0);
	CHECK_INT(vsock_listen(guest->vsock, 99, on_accept, &host), -ENOSPC);
	end(&host);
}

TEST(guest_connects_and_both_talk)
{
	struct host host;
	struct guest *guest = start(&host, true);

	host.peers[0].answer = true;
	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	CHECK_INT(guest->hdr.buf_alloc, VSOCK_WINDOW_BYTES);
	CHECK_INT(guest->hdr.type, VIRTIO_VSOCK_TYPE_STREAM);
	CHECK_INT(host.accepts, 1);
	CHECK_INT(vsock_guest_port(host.peers[0].conn), GUEST_PORT);
	guest_send(guest, OP(RW), GUEST_PORT, PORT, 0, "hello", 5);
	CHECK_INT(host.peers[0].count, 5);
	CHECK_MEM(host.peers[0].bytes, "hello", 5);
	if (CHECK(guest_expect(guest, OP(RW), GUEST_PORT, PORT))) {
		CHECK_INT(guest->hdr.len, 5);
		CHECK_MEM(guest->payload, "hello", 5);
		CHECK_INT(guest->hdr.fwd_cnt, 5);
	}
	CHECK(!guest_take(guest));
	CHECK_INT(host.peers[0].closes, 0);
	end(&host);
}

TEST(nobody_listens)
{
	struct host host;
	struct guest *guest = start(&host, true);

	guest_send(guest, OP(REQUEST), GUEST_PORT, PORT + 1, 0, NULL, 0);
	CHECK(guest_expect(guest, OP(RST), GUEST_PORT, PORT + 1));
	host.refuse = true;
	guest_send(guest, OP(REQUEST), GUEST_PORT, PORT, 0, NULL, 0);
	CHECK(guest_expect(guest, OP(RST), GUEST_PORT, PORT));
	host.refuse = false;
	host.close_in_accept = true;
	guest_send(guest, OP(REQUEST), GUEST_PORT, PORT, 0, NULL, 0);
	CHECK(guest_expect(guest, OP(RST), GUEST_PORT, PORT));
	CHECK(!guest_take(guest));
	CHECK_INT(host.accepts, 2);
	end(&host);
}

TEST(unknown_connections_get_rst_but_no_rst_does)
{
	struct host host;
	struct guest *guest = start(&host, true);

	for (uint16_t op = 0; op < 12; op++) {
		guest_send(guest, op, GUEST_PORT + op, PORT + 1, 0, NULL, 0);
		if (op == OP(RST))
			CHECK(!guest_take(guest));
		else
			CHECK(guest_expect(guest, OP(RST), GUEST_PORT + op, PORT + 1));
	}
	end(&host);
}

TEST(foreign_addresses_are_dropped)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct virtio_vsock_hdr hdr = guest_header(guest, OP(REQUEST), GUEST_PORT, PORT, 0);

	hdr.src_cid = 4;
	guest_send_raw(guest, &hdr, NULL, 0);
	hdr = guest_header(guest, OP(REQUEST), GUEST_PORT, PORT, 0);
	hdr.dst_cid = 1;
	guest_send_raw(guest, &hdr, NULL, 0);
	hdr.dst_cid = UINT64_C(1) << 32 | VSOCK_HOST_CID;
	guest_send_raw(guest, &hdr, NULL, 0);
	CHECK(!guest_take(guest));
	CHECK_INT(host.accepts, 0);
	end(&host);
}

TEST(other_socket_types_are_refused)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct virtio_vsock_hdr hdr = guest_header(guest, OP(REQUEST), GUEST_PORT, PORT, 0);

	hdr.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	guest_send_raw(guest, &hdr, NULL, 0);
	CHECK(guest_expect(guest, OP(RST), GUEST_PORT, PORT));
	CHECK_INT(guest->hdr.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
	CHECK_INT(host.accepts, 0);
	end(&host);
}

TEST(length_beyond_the_chain_resets)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct virtio_vsock_hdr hdr;

	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	hdr = guest_header(guest, OP(RW), GUEST_PORT, PORT, 5);
	guest_send_raw(guest, &hdr, "1234", 4);
	CHECK(guest_expect(guest, OP(RST), GUEST_PORT, PORT));
	CHECK_INT(host.peers[0].count, 0);
	CHECK_INT(host.peers[0].closes, 1);
	hdr.len = UINT32_MAX;
	guest_send_raw(guest, &hdr, NULL, 0);
	CHECK(guest_expect(guest, OP(RST), GUEST_PORT, PORT));
	end(&host);
}

TEST(short_header_is_returned)
{
	struct host host;
	struct guest *guest = start(&host, true);

	ring_send(&guest->rig.rings[1], "short", 5);
	CHECK_INT(ring_take(&guest->rig.rings[1], NULL, 0), 0);
	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	end(&host);
}

TEST(faults_reset_one_connection_only)
{
	static const struct {
		uint16_t op;
		const char *what;
	} faults[] = {{OP(REQUEST), "opened twice"}, {OP(RESPONSE), "answer unasked"}, {OP(INVALID), "op 0"}, {8, "op 8"},
		      {0xffff, "op 65535"}};

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		struct host host;
		struct guest *guest = start(&host, true);

		CHECK(guest_connect(guest, GUEST_PORT, PORT));
		CHECK(guest_connect(guest, GUEST_PORT + 1, PORT));
		guest_send(guest, faults[i].op, GUEST_PORT, PORT, 0, NULL, 0);
		CHECK_MSG(guest_expect(guest, OP(RST), GUEST_PORT, PORT), faults[i].what);
		CHECK_INT(host.peers[0].closes, 1);
		guest_send(guest, OP(RW), GUEST_PORT + 1, PORT, 0, "x", 1);
		CHECK_INT(host.peers[1].count, 1);
		CHECK_INT(host.peers[1].closes, 0);
		end(&host);
	}
}

/* Fills the window in packets of 64 KB, so that one byte more is too much. */
static void fill_window(struct guest *guest)
{
	uint8_t *data = pattern(65536);

	for (unsigned i = 0; i < VSOCK_WINDOW_BYTES / 65536; i++)
		guest_send(guest, OP(RW), GUEST_PORT, PORT, 0, data, 65536);
	free(data);
}

TEST(the_window_is_exact)
{
	struct host host;
	struct guest *guest = start(&host, true);

	host.peers[0].hold = true;
	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	fill_window(guest);
	CHECK_INT(host.peers[0].count, VSOCK_WINDOW_BYTES);
	CHECK(!guest_take(guest));
	CHECK_INT(host.peers[0].closes, 0);
	guest_send(guest, OP(RW), GUEST_PORT, PORT, 0, "x", 1);
	CHECK(guest_expect(guest, OP(RST), GUEST_PORT, PORT));
	CHECK_INT(host.peers[0].closes, 1);
	CHECK_INT(host.peers[0].count, VSOCK_WINDOW_BYTES);
	end(&host);
}

TEST(credit_comes_back)
{
	struct host host;
	struct guest *guest = start(&host, true);

	host.peers[0].hold = true;
	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	fill_window(guest);
	vsock_consumed(host.peers[0].conn, VSOCK_WINDOW_BYTES / 4 - 1);
	CHECK(!guest_take(guest));
	vsock_consumed(host.peers[0].conn, 1);
	CHECK(guest_expect(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT));
	CHECK_INT(guest->hdr.fwd_cnt, VSOCK_WINDOW_BYTES / 4);
	vsock_consumed(host.peers[0].conn, 10);
	guest_send(guest, OP(CREDIT_REQUEST), GUEST_PORT, PORT, 0, NULL, 0);
	CHECK(guest_expect(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT));
	CHECK_INT(guest->hdr.fwd_cnt, VSOCK_WINDOW_BYTES / 4 + 10);
	CHECK(!guest_take(guest));
	end(&host);
}

TEST(much_data_both_ways)
{
	struct host host;
	struct guest *guest = start(&host, true);
	enum { BYTES = 3 << 20 };
	uint8_t *data = pattern(BYTES);

	host.peers[0].answer = true;
	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	for (size_t at = 0; at < BYTES; at += 65536) {
		guest_send(guest, OP(RW), GUEST_PORT, PORT, 0, data + at, 65536);
		guest_pump(guest, true);
	}
	CHECK_INT(host.peers[0].count, BYTES);
	CHECK_MEM(host.peers[0].bytes, data, BYTES);
	if (CHECK_INT(guest->stream_bytes, BYTES))
		CHECK_MEM(guest->stream, data, BYTES);
	CHECK_INT(guest->ops[OP(RST)], 0);
	free(data);
	end(&host);
}

TEST(guest_credit_is_kept)
{
	struct host host;
	struct guest *guest = start(&host, true);
	uint8_t *data = pattern(100000);

	guest->buf_alloc = 10000;
	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	CHECK_INT(vsock_send(host.peers[0].conn, data, 100000), 100000);
	guest_pump(guest, false);
	CHECK_INT(guest->stream_bytes, 10000);
	CHECK_INT(guest->ops[OP(CREDIT_REQUEST)], 1);
	/* nothing new: asked once only */
	guest_send(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0, NULL, 0);
	guest_pump(guest, false);
	CHECK_INT(guest->stream_bytes, 10000);
	CHECK_INT(vsock_send(host.peers[0].conn, "more", 4), 4);
	guest_pump(guest, false);
	CHECK_INT(guest->ops[OP(CREDIT_REQUEST)], 1);
	/* more was consumed than was sent: nonsense, not believed */
	guest->fwd_cnt = 10001;
	guest_send(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0, NULL, 0);
	guest_pump(guest, false);
	CHECK_INT(guest->stream_bytes, 10000);
	guest->fwd_cnt = 4000;
	guest_send(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0, NULL, 0);
	guest_pump(guest, false);
	CHECK_INT(guest->stream_bytes, 14000);
	/* a stale one takes nothing back, though its buffer counts */
	guest->fwd_cnt = 100;
	guest->buf_alloc = 24000;
	guest_send(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0, NULL, 0);
	guest_pump(guest, false);
	CHECK_INT(guest->stream_bytes, 28000);
	guest->fwd_cnt = 14000;
	guest->buf_alloc = 1 << 20;
	guest_send(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0, NULL, 0);
	guest_pump(guest, false);
	if (CHECK_INT(guest->stream_bytes, 100004))
		CHECK_MEM(guest->stream, data, 100000);
	CHECK_INT(vsock_send_pending(host.peers[0].conn), 0);
	free(data);
	end(&host);
}

TEST(credit_taken_back_while_waiting)
{
	struct host host;
	struct guest *guest = start(&host, false);

	CHECK_INT(guest_connect(guest, GUEST_PORT, PORT), false); /* no buffers yet */
	vsock_send(host.peers[0].conn, "x", 1);
	guest->buf_alloc = 0;
	guest_send(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0, NULL, 0);
	guest_post(guest, 8);
	CHECK(guest_expect(guest, OP(RESPONSE), GUEST_PORT, PORT));
	CHECK(!guest_take(guest));
	guest->buf_alloc = 10;
	guest_send(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0, NULL, 0);
	CHECK(guest_expect(guest, OP(RW), GUEST_PORT, PORT));
	end(&host);
}

TEST(counters_wrap)
{
	struct host host;
	struct guest *guest = start(&host, true);

	guest->buf_alloc = 100;
	guest->fwd_cnt = UINT32_MAX - 50; /* the device counts from here */
	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	for (unsigned i = 0; i < 4; i++) {
		char data[60];

		memset(data, 'a' + (int)i, sizeof(data));
		CHECK_INT(vsock_send(host.peers[0].conn, data, sizeof(data)), sizeof(data));
		guest_pump(guest, true);
		guest_send(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0, NULL, 0);
	}
	guest_pump(guest, true);
	CHECK_INT(guest->stream_bytes, 240);
	CHECK_INT(guest->fwd_cnt, 240 - 51);
	end(&host);
}

TEST(short_send_then_writable)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct peer *peer = &host.peers[0];
	enum { BYTES = 2 * VSOCK_SEND_BYTES + 777 };
	uint8_t *data = pattern(BYTES);
	size_t taken;

	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	taken = vsock_send(peer->conn, data, BYTES);
	CHECK_INT(taken, VSOCK_SEND_BYTES);
	CHECK_INT(vsock_send(peer->conn, data, 1), 0);
	CHECK_INT(vsock_send_pending(peer->conn), VSOCK_SEND_BYTES);
	peer->more = data + taken;
	peer->more_bytes = BYTES - taken;
	guest_pump(guest, true);
	guest_send(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0, NULL, 0);
	guest_pump(guest, true);
	CHECK(peer->writables > 0);
	if (CHECK_INT(guest->stream_bytes, BYTES))
		CHECK_MEM(guest->stream, data, BYTES);
	free(data);
	end(&host);
}

TEST(connections_take_turns)
{
	struct host host;
	struct guest *guest = start(&host, true);
	uint8_t *data = pattern(65536);
	unsigned turns = 0;

	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	CHECK(guest_connect(guest, GUEST_PORT + 1, PORT));
	vsock_send(host.peers[0].conn, data, 65536);
	vsock_send(host.peers[1].conn, data, 65536);
	for (uint32_t last = 0; guest_take(guest); last = guest->hdr.dst_port)
		turns += guest->hdr.dst_port != last;
	CHECK_INT(turns, 2 * ((65536 + GUEST_RX_BYTES - 45) / (GUEST_RX_BYTES - 44)));
	free(data);
	end(&host);
}

TEST(host_connects)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct peer *peer = &host.peers[0];
	uint32_t port;

	peer->conn = vsock_connect(guest->vsock, 80, &peer_user, peer);
	if (!CHECK(peer->conn))
		return;
	CHECK_INT(vsock_send(peer->conn, "early", 5), 5);
	CHECK(guest_take(guest));
	CHECK_INT(guest->hdr.op, OP(REQUEST));
	CHECK_INT(guest->hdr.dst_port, 80);
	port = guest->hdr.src_port;
	CHECK(!guest_take(guest));
	guest_send(guest, OP(RESPONSE), 80, port, 0, NULL, 0);
	CHECK_INT(peer->opens, 1);
	CHECK(guest_expect(guest, OP(RW), 80, port));
	CHECK_MEM(guest->payload, "early", 5);
	/* refused */
	peer = &host.peers[1];
	peer->conn = vsock_connect(guest->vsock, 80, &peer_user, peer);
	CHECK(guest_take(guest));
	CHECK(guest->hdr.src_port != port);
	guest_send(guest, OP(RST), 80, guest->hdr.src_port, 0, NULL, 0);
	CHECK_INT(peer->opens, 0);
	CHECK_INT(peer->closes, 1);
	end(&host);
}

TEST(data_before_the_answer_is_a_fault)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct peer *peer = &host.peers[0];

	peer->conn = vsock_connect(guest->vsock, 80, &peer_user, peer);
	CHECK(guest_take(guest));
	guest_send(guest, OP(RW), 80, guest->hdr.src_port, 0, "x", 1);
	CHECK(guest_expect(guest, OP(RST), 80, guest->hdr.src_port));
	CHECK_INT(peer->count, 0);
	CHECK_INT(peer->closes, 1);
	end(&host);
}

TEST(host_connects_before_the_guest_is_up)
{
	struct host host = {0};
	struct guest *guest = &host.guest;

	*guest = (struct guest){.buf_alloc = GUEST_BUFFER_BYTES};
	rig_init(&guest->rig);
	guest->vsock = vsock_new(&guest->rig.env);
	CHECK(vsock_connect(guest->vsock, 80, &peer_user, &host.peers[0]));
	rig_start(&guest->rig, vsock_dev(guest->vsock), 0);
	guest->tx_gpa = rig_alloc(&guest->rig, 4096);
	guest_post(guest, 4);
	CHECK(guest_take(guest));
	CHECK_INT(guest->hdr.op, OP(REQUEST));
	end(&host);
}

TEST(half_close_by_the_guest)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct peer *peer = &host.peers[0];

	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	guest_send(guest, OP(SHUTDOWN), GUEST_PORT, PORT, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	CHECK_INT(peer->eofs, 1);
	guest_send(guest, OP(SHUTDOWN), GUEST_PORT, PORT, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	CHECK_INT(peer->eofs, 1);
	CHECK_INT(peer->closes, 0);
	CHECK_INT(vsock_send(peer->conn, "still", 5), 5);
	CHECK(guest_expect(guest, OP(RW), GUEST_PORT, PORT));
	vsock_shutdown_send(peer->conn);
	CHECK(guest_expect(guest, OP(SHUTDOWN), GUEST_PORT, PORT));
	CHECK_INT(guest->hdr.flags, 3);
	CHECK_INT(peer->closes, 1);
	/* the guest may still read and say so; then it goes */
	guest_send(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0, NULL, 0);
	CHECK(!guest_take(guest));
	guest_send(guest, OP(RST), GUEST_PORT, PORT, 0, NULL, 0);
	CHECK(!guest_take(guest));
	CHECK_INT(peer->closes, 1);
	CHECK(guest_connect(guest, GUEST_PORT, PORT)); /* the ports are free again */
	end(&host);
}

TEST(half_close_by_the_host_after_its_data)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct peer *peer = &host.peers[0];
	uint8_t *data = pattern(20000);

	guest->buf_alloc = 15000;
	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	vsock_send(peer->conn, data, 20000);
	vsock_shutdown_send(peer->conn);
	guest_pump(guest, true);
	CHECK_INT(guest->stream_bytes, 15000);
	CHECK_INT(guest->ops[OP(SHUTDOWN)], 0);
	guest_send(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0, NULL, 0);
	guest_pump(guest, true);
	CHECK_INT(guest->stream_bytes, 20000);
	CHECK_INT(guest->ops[OP(SHUTDOWN)], 1);
	CHECK_INT(guest->hdr.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_send(guest, OP(RW), GUEST_PORT, PORT, 0, "late", 4);
	CHECK_INT(peer->count, 4);
	guest_send(guest, OP(SHUTDOWN), GUEST_PORT, PORT, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	CHECK_INT(peer->eofs, 1);
	CHECK(guest_expect(guest, OP(SHUTDOWN), GUEST_PORT, PORT));
	CHECK_INT(guest->hdr.flags, 3);
	CHECK_INT(peer->closes, 1);
	/* a guest that closes now is answered */
	guest_send(guest, OP(SHUTDOWN), GUEST_PORT, PORT, 3, NULL, 0);
	CHECK(guest_expect(guest, OP(RST), GUEST_PORT, PORT));
	CHECK_INT(peer->closes, 1);
	free(data);
	end(&host);
}

TEST(full_close_by_the_guest)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct peer *peer = &host.peers[0];

	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	guest->buf_alloc = 0;
	guest_send(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0, NULL, 0);
	vsock_send(peer->conn, "lost", 4);
	guest_send(guest, OP(SHUTDOWN), GUEST_PORT, PORT, 3, NULL, 0);
	CHECK_INT(peer->eofs, 1);
	CHECK_INT(peer->closes, 1);
	guest_pump(guest, false);
	CHECK_INT(guest->ops[OP(RST)], 1);
	CHECK_INT(guest->stream_bytes, 0);
	end(&host);
}

TEST(guest_that_reads_no_more)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct peer *peer = &host.peers[0];
	uint8_t *data = pattern(VSOCK_SEND_BYTES + 1);

	guest->buf_alloc = 0;
	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	CHECK_INT(vsock_send(peer->conn, data, VSOCK_SEND_BYTES + 1), VSOCK_SEND_BYTES);
	guest_send(guest, OP(SHUTDOWN), GUEST_PORT, PORT, VIRTIO_VSOCK_SHUTDOWN_RCV, NULL, 0);
	CHECK_INT(peer->writables, 1);
	CHECK_INT(vsock_send_pending(peer->conn), 0);
	CHECK_INT(vsock_send(peer->conn, data, 100), 100);
	guest_send(guest, OP(RW), GUEST_PORT, PORT, 0, "x", 1);
	CHECK_INT(peer->count, 1);
	CHECK_INT(peer->closes, 0);
	guest_send(guest, OP(SHUTDOWN), GUEST_PORT, PORT, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	CHECK_INT(peer->closes, 1);
	free(data);
	end(&host);
}

TEST(data_after_the_end_is_a_fault)
{
	struct host host;
	struct guest *guest = start(&host, true);

	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	guest_send(guest, OP(SHUTDOWN), GUEST_PORT, PORT, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	guest_send(guest, OP(RW), GUEST_PORT, PORT, 0, "x", 1);
	CHECK(guest_expect(guest, OP(RST), GUEST_PORT, PORT));
	CHECK_INT(host.peers[0].count, 0);
	CHECK_INT(host.peers[0].closes, 1);
	end(&host);
}

TEST(closing_inside_callbacks)
{
	struct host host;
	struct guest *guest = start(&host, true);
	uint8_t *data = pattern(65536);

	host.peers[0].close_in_data = true;
	host.peers[1].close_in_eof = true;
	host.peers[2].shutdown_in_eof = true;
	for (uint32_t i = 0; i < 4; i++)
		CHECK(guest_connect(guest, GUEST_PORT + i, PORT));
	/* more than one piece: what follows the close is not told */
	guest_send(guest, OP(RW), GUEST_PORT, PORT, 0, data, 65536);
	CHECK(host.peers[0].count < 65536);
	CHECK(guest_expect(guest, OP(RST), GUEST_PORT, PORT));
	guest_send(guest, OP(SHUTDOWN), GUEST_PORT + 1, PORT, 3, NULL, 0);
	CHECK(guest_expect(guest, OP(RST), GUEST_PORT + 1, PORT));
	guest_send(guest, OP(SHUTDOWN), GUEST_PORT + 2, PORT, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	CHECK(guest_expect(guest, OP(SHUTDOWN), GUEST_PORT + 2, PORT));
	for (unsigned i = 0; i < 4; i++)
		CHECK_INT(host.peers[i].closes, i == 2);
	free(data);
	end(&host);
}

TEST(closing_another_inside_a_callback)
{
	struct host host;
	struct guest *guest = start(&host, true);

	for (uint32_t i = 0; i < 3; i++)
		CHECK(guest_connect(guest, GUEST_PORT + i, PORT));
	vsock_send(host.peers[1].conn, "never", 5);
	host.peers[0].close_other = host.peers[1].conn;
	guest_send(guest, OP(RW), GUEST_PORT, PORT, 0, "x", 1);
	CHECK(guest_expect(guest, OP(RST), GUEST_PORT + 1, PORT));
	CHECK(!guest_take(guest));
	end(&host);
}

TEST(control_packets_wait_for_buffers)
{
	struct host host;
	struct guest *guest = start(&host, false);
	struct peer *peer = &host.peers[0];

	host.peers[1].hold = true;
	guest_send(guest, OP(REQUEST), GUEST_PORT, PORT, 0, NULL, 0);
	guest_send(guest, OP(REQUEST), GUEST_PORT + 1, PORT, 0, NULL, 0);
	guest_send(guest, OP(CREDIT_REQUEST), GUEST_PORT, PORT, 0, NULL, 0);
	guest_send(guest, OP(CREDIT_REQUEST), GUEST_PORT, PORT, 0, NULL, 0);
	vsock_send(peer->conn, "data", 4);
	vsock_close(host.peers[1].conn);
	guest_post(guest, 16);
	guest_pump(guest, false);
	CHECK_INT(guest->ops[OP(RESPONSE)], 1); /* the other one is only reset */
	CHECK_INT(guest->ops[OP(RST)], 1);
	CHECK_INT(guest->ops[OP(RW)], 1); /* and carries the credit asked for */
	CHECK_INT(guest->ops[OP(CREDIT_UPDATE)], 0);
	end(&host);
}

TEST(answers_to_nobody_are_bounded)
{
	struct host host;
	struct guest *guest = start(&host, false);

	for (uint32_t i = 0; i < 1000; i++)
		guest_send(guest, OP(RW), i, PORT + 1, 0, NULL, 0);
	guest_post(guest, 250);
	guest_pump(guest, false);
	CHECK_INT(guest->ops[OP(RST)], 64);
	end(&host);
}

/* Without EVENT_IDX the used ring's flags say whether we want to be kicked. */
TEST(kicks_for_buffers_are_wanted_only_while_something_waits)
{
	struct host host;
	struct guest *guest = start(&host, false);
	const uint16_t *used_flags = rig_at(&guest->rig, guest->rig.rings[0].used_gpa);

	rig_turn(&guest->rig);
	CHECK_INT(*used_flags, VRING_USED_F_NO_NOTIFY);
	guest_send(guest, OP(REQUEST), GUEST_PORT, PORT, 0, NULL, 0);
	CHECK_INT(*used_flags, 0);
	guest_post(guest, 1);
	CHECK(guest_expect(guest, OP(RESPONSE), GUEST_PORT, PORT));
	CHECK_INT(*used_flags, VRING_USED_F_NO_NOTIFY);
	end(&host);
}

TEST(the_table_is_bounded)
{
	struct host host;
	struct guest *guest = start(&host, true);

	for (uint32_t i = 0; i < VSOCK_CONNS_MAX; i++)
		if (!CHECK(guest_connect(guest, GUEST_PORT + i, PORT)))
			break;
	guest_send(guest, OP(REQUEST), 4000, PORT, 0, NULL, 0);
	CHECK(guest_expect(guest, OP(RST), 4000, PORT));
	CHECK(!vsock_connect(guest->vsock, 80, &peer_user, &host.peers[0]));
	guest_send(guest, OP(RST), GUEST_PORT, PORT, 0, NULL, 0);
	CHECK(guest_connect(guest, 4000, PORT));
	end(&host);
}

TEST(reset_closes_all_on_the_loop)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct peer *peer = &host.peers[0];

	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	CHECK(guest_connect(guest, GUEST_PORT + 1, PORT));
	CHECK(guest_connect(guest, GUEST_PORT + 2, PORT));
	vsock_send(peer->conn, "lost", 4);
	rig_reset(&guest->rig);
	CHECK_INT(peer->closes, 0); /* not on the thread of the vCPU that wrote the register */
	CHECK_INT(vsock_send(peer->conn, "void", 4), 4);
	vsock_shutdown_send(peer->conn);
	vsock_close(host.peers[1].conn);
	rig_turn(&guest->rig);
	CHECK_INT(peer->closes, 1);
	CHECK_INT(host.peers[1].closes, 0);
	CHECK_INT(host.peers[2].closes, 1);
	rig_alloc_reset(&guest->rig);
	CHECK(rig_start(&guest->rig, vsock_dev(guest->vsock), 0));
	guest->tx_gpa = rig_alloc(&guest->rig, 512 * 1024);
	guest_post(guest, 8);
	CHECK(!guest_take(guest));
	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	end(&host);
}

TEST(broken_ring_closes_all)
{
	struct host host;
	struct guest *guest = start(&host, true);

	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	ring_offer(&guest->rig.rings[1], RING_NUM);
	ring_kick(&guest->rig.rings[1]);
	CHECK(rig_read(&guest->rig, RIG_REG_STATUS) & RIG_NEEDS_RESET);
	rig_turn(&guest->rig);
	CHECK_INT(host.peers[0].closes, 1);
	end(&host);
}

TEST(receive_buffer_without_room_breaks_the_device)
{
	struct host host;
	struct guest *guest = start(&host, false);

	ring_post(&guest->rig.rings[0], 44);
	guest_send(guest, OP(REQUEST), GUEST_PORT, PORT, 0, NULL, 0);
	CHECK_INT(ring_takeable(&guest->rig.rings[0]), 1);
	CHECK(rig_read(&guest->rig, RIG_REG_STATUS) & RIG_NEEDS_RESET);
	end(&host);
}

TEST(tiny_receive_buffers_do)
{
	struct host host;
	struct guest *guest = start(&host, false);
	uint8_t packet[64];

	guest_send(guest, OP(REQUEST), GUEST_PORT, PORT, 0, NULL, 0);
	vsock_send(host.peers[0].conn, "abc", 3);
	for (unsigned i = 0; i < 4; i++)
		ring_post(&guest->rig.rings[0], 45);
	rig_turn(&guest->rig);
	CHECK_INT(ring_take(&guest->rig.rings[0], packet, sizeof(packet)), 44);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_INT(ring_take(&guest->rig.rings[0], packet, sizeof(packet)), 45);
		CHECK_INT(packet[44], "abc"[i]);
	}
	end(&host);
}

/* A kick does a ring's worth of work at most, and the rest is done in later turns. */
TEST(work_per_kick_is_bounded)
{
	struct host host;
	struct guest *guest = start(&host, false);
	struct ring *tx = &guest->rig.rings[1];
	struct virtio_vsock_hdr hdr = guest_header(guest, OP(CREDIT_UPDATE), GUEST_PORT, PORT, 0);
	struct ring_buf buf = {guest->tx_gpa, sizeof(hdr)};

	memcpy(rig_at(&guest->rig, buf.gpa), &hdr, sizeof(hdr));
	for (unsigned i = 0; i < RING_NUM; i++)
		ring_add(tx, &buf, 1, NULL, 0);
	ring_kick(tx);
	CHECK_INT(ring_takeable(tx), RING_NUM);
	rig_turn(&guest->rig);
	CHECK(rig_read(&guest->rig, RIG_REG_STATUS) != 0);
	end(&host);
}

/* A guest that never answers; one that never even had a buffer for the question. */
TEST(connecting_takes_its_time_and_no_longer)
{
	struct host host;
	struct guest *guest = start(&host, true);
	uint32_t port;

	vsock_connect_limit(guest->vsock, 30);
	CHECK(vsock_connect(guest->vsock, 80, &peer_user, &host.peers[0]));
	CHECK(guest_take(guest));
	CHECK_INT(guest->hdr.op, OP(REQUEST));
	CHECK_INT(host.peers[0].closes, 0);
	port = guest->hdr.src_port;
	rig_run_ms(&guest->rig, 60);
	CHECK_INT(host.peers[0].closes, 1);
	CHECK(guest_expect(guest, OP(RST), 80, port));
	guest_send(guest, OP(RESPONSE), 80, port, 0, NULL, 0); /* too late */
	CHECK(guest_expect(guest, OP(RST), 80, port));
	CHECK_INT(host.peers[0].opens, 0);
	/* one that is answered has no deadline any more */
	CHECK(vsock_connect(guest->vsock, 80, &peer_user, &host.peers[1]));
	CHECK(guest_take(guest));
	guest_send(guest, OP(RESPONSE), 80, guest->hdr.src_port, 0, NULL, 0);
	rig_run_ms(&guest->rig, 60);
	CHECK_INT(host.peers[1].opens, 1);
	CHECK_INT(host.peers[1].closes, 0);
	end(&host);
	guest = start(&host, false);
	vsock_connect_limit(guest->vsock, 10);
	CHECK(vsock_connect(guest->vsock, 80, &peer_user, &host.peers[0]));
	rig_run_ms(&guest->rig, 40);
	CHECK_INT(host.peers[0].closes, 1);
	guest_post(guest, 4);
	CHECK(!guest_take(guest));
	end(&host);
}

TEST(a_thousand_streams_at_once)
{
	struct host host;
	struct guest *guest = start(&host, true);
	unsigned rws = 0;

	host.peers[0].answer = host.peers[1].answer = host.peers[2].answer = host.peers[3].answer = true;
	for (uint32_t i = 0; i < VSOCK_CONNS_MAX; i++)
		CHECK(guest_connect(guest, GUEST_PORT + i, PORT));
	for (uint32_t round = 0; round < 3; round++)
		for (uint32_t i = 0; i < VSOCK_CONNS_MAX; i++) {
			guest_send(guest, OP(RW), GUEST_PORT + i, PORT, 0, &i, sizeof(i));
			if (guest_expect(guest, OP(RW), GUEST_PORT + i, PORT))
				rws += guest->hdr.len == sizeof(i) && !memcmp(guest->payload, &i, sizeof(i));
		}
	CHECK_INT(rws, 3 * VSOCK_CONNS_MAX);
	for (uint32_t i = 0; i < VSOCK_CONNS_MAX; i++) {
		guest_send(guest, OP(SHUTDOWN), GUEST_PORT + i, PORT, 3, NULL, 0);
		CHECK(guest_expect(guest, OP(RST), GUEST_PORT + i, PORT));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(host.peers); i++)
		CHECK_INT(host.peers[i].closes, VSOCK_CONNS_MAX / ARRAY_SIZE(host.peers));
	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	end(&host);
}

/* The device gives way to another one on the same memory, which is told what the first knew. */
static void move(struct host *host, struct vsock_state *state)
{
	struct guest *guest = &host->guest;

	vsock_save(guest->vsock, state);
	vsock_free(guest->vsock);
	guest->vsock = vsock_new(&guest->rig.env);
	CHECK_INT(vsock_listen(guest->vsock, PORT, on_accept, host), 0);
	CHECK_INT(vsock_load(guest->vsock, state), 0);
	guest->rig.dev = vsock_dev(guest->vsock);
}

TEST(state_moves_in_mid_work)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct ring *tx = &guest->rig.rings[1], *event = &guest->rig.rings[2];
	struct vsock_state state;
	struct virtio_vsock_hdr hdr = guest_header(guest, OP(REQUEST), 77, PORT, 0);
	struct ring_buf buf = {guest->tx_gpa, sizeof(hdr)};
	uint32_t id = 1, port;

	ring_post(event, 8);
	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	vsock_send(host.peers[0].conn, "lost", 4);
	vsock_connect(guest->vsock, 80, &peer_user, &host.peers[2]);
	CHECK(guest_expect(guest, OP(RW), GUEST_PORT, PORT));
	CHECK(guest_take(guest));
	port = guest->hdr.src_port;
	guest->rig.irqs = 0;
	/* offered, not looked at */
	memcpy(rig_at(&guest->rig, buf.gpa), &hdr, sizeof(hdr));
	ring_add(tx, &buf, 1, NULL, 0);
	move(&host, &state);
	rig_turn(&guest->rig);
	CHECK_INT(ring_take(event, &id, sizeof(id)), 4);
	CHECK_INT(id, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
	CHECK(guest->rig.irqs > 0);
	/* the request in the ring was for the new device; the old connections are unknown */
	CHECK(guest_expect(guest, OP(RESPONSE), 77, PORT));
	ring_take(tx, NULL, 0);
	guest_send(guest, OP(RW), GUEST_PORT, PORT, 0, "x", 1);
	CHECK(guest_expect(guest, OP(RST), GUEST_PORT, PORT));
	guest_send(guest, OP(RESPONSE), 80, port, 0, NULL, 0);
	CHECK(guest_expect(guest, OP(RST), 80, port));
	/* ports go on where they were */
	CHECK(vsock_connect(guest->vsock, 80, &peer_user, &host.peers[2]));
	CHECK(guest_take(guest));
	CHECK_INT(guest->hdr.src_port, port + 1);
	CHECK_INT(ring_takeable(event), 0); /* told once */
	end(&host);
}

/* A driver without event buffers is told when it gives one, and its packets wait for that. */
TEST(the_transport_reset_comes_first)
{
	struct host host;
	struct guest *guest = start(&host, false);
	struct ring *event = &guest->rig.rings[2];
	struct vsock_state state;

	guest_send(guest, OP(REQUEST), 70, PORT, 0, NULL, 0);		/* no buffer: its answer waits */
	guest_send(guest, OP(RW), 71, PORT, 0, NULL, 0);		/* and so does an RST */
	move(&host, &state);
	CHECK_INT(state.rst_count, 2);
	guest_post(guest, 8);
	guest_send(guest, OP(REQUEST), 72, PORT, 0, NULL, 0);
	CHECK(!guest_take(guest));
	CHECK_INT(host.accepts, 1);
	ring_post(event, 4);
	CHECK_INT(ring_takeable(event), 1);
	rig_turn(&guest->rig);
	CHECK(guest_expect(guest, OP(RST), 71, PORT));
	CHECK(guest_expect(guest, OP(RST), 70, PORT));
	CHECK(guest_expect(guest, OP(RESPONSE), 72, PORT));
	CHECK_INT(host.accepts, 2);
	end(&host);
	/* after a reset by the driver there is nothing to tell */
	guest = start(&host, false);
	move(&host, &state);
	rig_alloc_reset(&guest->rig);
	CHECK(rig_start(&guest->rig, vsock_dev(guest->vsock), 0));
	guest->tx_gpa = rig_alloc(&guest->rig, 4096);
	ring_post(&guest->rig.rings[2], 4);
	guest_post(guest, 8);
	CHECK(guest_connect(guest, GUEST_PORT, PORT));
	CHECK_INT(ring_takeable(&guest->rig.rings[2]), 0);
	end(&host);
}

TEST(event_buffer_without_room_breaks_the_device)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct vsock_state state;

	move(&host, &state);
	ring_post(&guest->rig.rings[2], 3);
	CHECK_INT(ring_take(&guest->rig.rings[2], NULL, 0), 3);
	CHECK(rig_read(&guest->rig, RIG_REG_STATUS) & RIG_NEEDS_RESET);
	end(&host);
}

TEST(state_is_not_trusted)
{
	struct host host;
	struct guest *guest = start(&host, true);
	struct vsock_state good, bad;

	vsock_save(guest->vsock, &good);
	rig_reset(&guest->rig);
#define REFUSED(change)                                            \
	do {                                                       \
		bad = good;                                        \
		change;                                            \
		CHECK_INT(vsock_load(guest->vsock, &bad), -EINVAL); \
	} while (0)
	REFUSED(bad.rst_count = VSOCK_RSTS_MAX + 1);
	REFUSED(bad.next_port = 1);
	REFUSED(bad.next_port = UINT32_MAX);
	REFUSED(bad.rst_count = 1; bad.rsts[0].type = 65536);
	REFUSED(bad.virtio.device_id = 4);
#undef REFUSED
	CHECK_INT(vsock_load(guest->vsock, &good), 0);
	end(&host);
}

int main(void)
{
	RUN(shows_its_cid);
	RUN(listens);
	RUN(guest_connects_and_both_talk);
	RUN(nobody_listens);
	RUN(unknown_connections_get_rst_but_no_rst_does);
	RUN(foreign_addresses_are_dropped);
	RUN(other_socket_types_are_refused);
	RUN(length_beyond_the_chain_resets);
	RUN(short_header_is_returned);
	RUN(faults_reset_one_connection_only);
	RUN(the_window_is_exact);
	RUN(credit_comes_back);
	RUN(much_data_both_ways);
	RUN(guest_credit_is_kept);
	RUN(credit_taken_back_while_waiting);
	RUN(counters_wrap);
	RUN(short_send_then_writable);
	RUN(connections_take_turns);
	RUN(host_connects);
	RUN(data_before_the_answer_is_a_fault);
	RUN(host_connects_before_the_guest_is_up);
	RUN(half_close_by_the_guest);
	RUN(half_close_by_the_host_after_its_data);
	RUN(full_close_by_the_guest);
	RUN(guest_that_reads_no_more);
	RUN(data_after_the_end_is_a_fault);
	RUN(closing_inside_callbacks);
	RUN(closing_another_inside_a_callback);
	RUN(control_packets_wait_for_buffers);
	RUN(answers_to_nobody_are_bounded);
	RUN(kicks_for_buffers_are_wanted_only_while_something_waits);
	RUN(the_table_is_bounded);
	RUN(reset_closes_all_on_the_loop);
	RUN(broken_ring_closes_all);
	RUN(receive_buffer_without_room_breaks_the_device);
	RUN(tiny_receive_buffers_do);
	RUN(work_per_kick_is_bounded);
	RUN(connecting_takes_its_time_and_no_longer);
	RUN(a_thousand_streams_at_once);
	RUN(state_moves_in_mid_work);
	RUN(the_transport_reset_comes_first);
	RUN(event_buffer_without_room_breaks_the_device);
	RUN(state_is_not_trusted);
	return test_done();
}
