// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_vsock: what a hostile guest can say by vsock: packets of any content in chains of any shape, to a listener that
 * does all a user may do inside its callbacks, to the control connection and to the streams.
 *
 * An input is a list of records: one byte what to do, then its fields (see act()); a record that is cut short has
 * zeros for the rest. Ports and sizes are drawn from small sets so that packets meet.
 *
 * Oracles: no sanitizer report; every user hears its callbacks in order and nothing after the last; no more bytes come
 * than credit was given; every packet to the guest is well-formed and as long as it says; nothing runs for ever.
 */
#include "devices/vsock.h"
#include "lib/util.h"
#include "pod/abi.h"
#include "tests/fuzz/input.h"
#include "tests/unit/ring.h"
#include "vm/control.h"
#include "vm/stdio.h"

#include <fcntl.h>
#include <linux/virtio_vsock.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	RX,
	TX,
	EVENT,
	RECORDS_MAX = 512,
	PORT_USER = 7,
	USERS_MAX = 64,
	TX_BYTES_MAX = 80 * 1024,
	RX_BYTES_TOTAL = 4 << 20,
	PIECES_MAX = 64,
};

enum what { PACKET, RAW_BYTES, POST, TAKE, TURN, HOST_CONNECT, HOST_SEND, HOST_END, POD, RESTART, EVENT_BUFFER, EVENT_TAKE, MOVE, KINDS };

/* Bits of a user's temper, from the guest's port. */
enum { HOLDS = 1, CLOSES_IN_DATA = 2, ENDS_IN_EOF = 4, ECHOES = 8, CLOSES_OTHERS = 16, REFUSES = 32 };

struct talk {
	struct vsock_conn *conn; /* NULL: free */
	unsigned temper;
	bool eof, ended, ours, open;
	size_t held;
};

static struct rig rig;
static struct vsock *vsock;
static struct control *control;
static struct streams *streams;
static struct stdio *stdio;
static struct talk talks[USERS_MAX];
static uint64_t tx_gpa;
static size_t rx_bytes;
static bool pod_over;
static int fds[3] = {-1, -1, -1};
static volatile unsigned summed; /* of bytes users were given: they must be there to be read */

/* A user of the listener and of connections from the host */

static struct talk *talk_new(struct vsock_conn *conn, unsigned temper)
{
	for (unsigned i = 0; i < USERS_MAX; i++)
		if (!talks[i].conn) {
			talks[i] = (struct talk){.conn = conn, .temper = temper, .open = true};
			return &talks[i];
		}
	return NULL;
}

static void talk_end(struct talk *talk)
{
	struct vsock_conn *conn = talk->conn;

	talk->conn = NULL;
	vsock_close(conn);
}

static void on_open(void *ctx, struct vsock_conn *conn)
{
	struct talk *talk = ctx;

	must(talk->conn == conn && talk->ours && !talk->open, "open() out of order");
	talk->open = true;
}

static void on_data(void *ctx, struct vsock_conn *conn, const void *bytes, size_t count)
{
	struct talk *talk = ctx;

	must(talk->conn == conn && talk->open && !talk->eof && count, "data() out of order");
	summed += ((const uint8_t *)bytes)[0] + ((const uint8_t *)bytes)[count - 1];
	talk->held += count;
	must(talk->held <= VSOCK_WINDOW_BYTES, "more data than credit");
	if (!(talk->temper & HOLDS)) {
		vsock_consumed(conn, talk->held);
		talk->held = 0;
	}
	if ((talk->temper & ECHOES) && !talk->ended)
		vsock_send(conn, bytes, count);
	if ((talk->temper & CLOSES_OTHERS) && talks[0].conn && talks[0].conn != conn)
		talk_end(&talks[0]);
	if (talk->temper & CLOSES_IN_DATA)
		talk_end(talk);
}

static void on_writable(void *ctx, struct vsock_conn *conn)
{
	static const uint8_t more[4096];
	struct talk *talk = ctx;

	must(talk->conn == conn, "writable() out of order");
	if (!talk->ended)
		vsock_send(conn, more, sizeof(more));
	must(vsock_send_pending(conn) <= VSOCK_SEND_BYTES, "send buffer over its bound");
}

static void on_eof(void *ctx, struct vsock_conn *conn)
{
	struct talk *talk = ctx;

	must(talk->conn == conn && talk->open && !talk->eof, "eof() out of order");
	talk->eof = true;
	if (talk->temper & ENDS_IN_EOF) {
		talk->ended = true;
		vsock_shutdown_send(conn);
	} else if (talk->temper & CLOSES_IN_DATA) {
		talk_end(talk);
	}
}

static void on_closed(void *ctx, struct vsock_conn *conn)
{
	struct talk *talk = ctx;

	must(talk->conn == conn, "closed() out of order");
	talk->conn = NULL;
}

static const struct vsock_user user = {on_open, on_data, on_writable, on_eof, on_closed};

static bool on_accept(void *ctx, struct vsock_conn *conn, const struct vsock_user **conn_user, void **conn_ctx)
{
	unsigned temper = vsock_guest_port(conn);
	struct talk *talk;

	(void)ctx;
	if ((temper & REFUSES) || !(talk = talk_new(conn, temper)))
		return false;
	*conn_user = &user;
	*conn_ctx = talk;
	if ((temper & (ECHOES | HOLDS)) == (ECHOES | HOLDS))
		vsock_send(conn, "greeting", 8);
	return true;
}

/* Users of control and stdio: only order is checked */

static void on_ready(void *ctx)
{
	static const struct wire_pod pod;

	(void)ctx;
	must(!pod_over, "ready() after the last");
	control_send_pod(control, &pod, 3, "{}", 2);
}

static void on_started(void *ctx, unsigned container)
{
	(void)ctx;
	must(!pod_over && container < 3, "started() out of order");
	control_signal(control, container, 15);
}

static void on_exited(void *ctx, unsigned container, const struct wire_exited *exited)
{
	(void)ctx;
	must(!pod_over && container < 3 && exited->code < 256, "exited() out of order");
}

static void on_log(void *ctx, const char *text)
{
	(void)ctx;
	must(!pod_over && strlen(text) <= CONTROL_TEXT_MAX, "log() out of order");
}

static void on_text(void *ctx, const char *text)
{
	on_log(ctx, text);
	pod_over = true;
}

static void on_done(void *ctx)
{
	on_text(ctx, "");
}

static void on_exec_started(void *ctx, uint32_t exec)
{
	(void)ctx;
	must(!pod_over && exec >= WIRE_EXEC_FIRST, "exec_started() out of order");
}

static void on_exec_refused(void *ctx, uint32_t exec, const char *why)
{
	on_exec_started(ctx, exec);
	on_log(ctx, why);
}

static void on_exec_exited(void *ctx, uint32_t exec, const struct wire_exited *exited)
{
	on_exec_started(ctx, exec);
	must(exited->code < 256, "exec_exited() with a code too large");
}

static void on_stats(void *ctx, uint32_t token, const struct wire_stats *pod, const struct wire_use *uses)
{
	(void)ctx;
	must(!pod_over && token == 7 && pod->containers == 3 && uses[2].state <= WIRE_STATE_ENDED, "stats() out of order");
}

static const struct control_user control_user = {on_ready, on_started, on_exited, on_log, on_text, on_done, on_text,
						 on_exec_started, on_exec_refused, on_exec_exited, on_stats};

static void on_drained(void *ctx)
{
	(void)ctx;
	must(stdio_drained(stdio), "drained() too early");
}

static void on_lost(void *ctx, int fd, int err)
{
	(void)ctx;
	must((fd == 1 || fd == 2) && err > 0, "output_lost() of what?");
}

static const struct stdio_user stdio_user = {on_drained, on_lost};

static struct stdio *stdio_make(void)
{
	struct stdio_config config = {.loop = rig.loop, .count = 3, .fds = {fds[0], fds[1], fds[2]}};

	config.streams = streams = streams_new(vsock);
	return streams ? stdio_new(&config, &stdio_user, NULL) : NULL;
}

/* The guest */

static unsigned descriptors_left(const struct ring *ring)
{
	unsigned left = 0;

	for (unsigned i = 0; i < RING_NUM; i++)
		left += !ring->taken[i];
	return left;
}

static void start(void)
{
	rig_alloc_reset(&rig);
	must(rig_start(&rig, vsock_dev(vsock), RIG_F_INDIRECT_DESC), "start refused");
	tx_gpa = rig_alloc(&rig, TX_BYTES_MAX);
	rx_bytes = 0;
}

/* bytes at tx_gpa as a chain of pieces of step bytes. */
static void send_chain(size_t bytes, size_t step)
{
	struct ring_buf bufs[PIECES_MAX];
	unsigned pieces = 0;

	step = MAX(step, (bytes + PIECES_MAX - 1) / PIECES_MAX);
	for (size_t at = 0; at < bytes; at += step)
		bufs[pieces++] = (struct ring_buf){tx_gpa + at, (uint32_t)MIN(step, bytes - at)};
	if (!pieces || descriptors_left(&rig.rings[TX]) < pieces)
		return;
	ring_add(&rig.rings[TX], bufs, pieces, NULL, 0);
	ring_kick(&rig.rings[TX]);
	while (ring_take(&rig.rings[TX], NULL, 0) >= 0)
		;
}

static uint32_t draw_port(uint8_t from)
{
	static const uint32_t ports[] = {PORT_USER, ABI_PORT_CONTROL, ABI_PORT_STREAM, 1024, 1025, 99};

	return ports[from % ARRAY_SIZE(ports)];
}

static uint32_t draw_credit(uint8_t from)
{
	static const uint32_t credits[] = {256 << 10, 0, 1, 100, 65536, UINT32_MAX, 1u << 31, 4096};

	return credits[from % ARRAY_SIZE(credits)];
}

/* op, guest port, host port, flags, length, its lie, credit, forwarded; then the payload comes from the input. */
static void send_packet(struct input *in)
{
	struct virtio_vsock_hdr hdr = {.src_cid = VSOCK_GUEST_CID, .dst_cid = VSOCK_HOST_CID};
	uint8_t *packet = rig_at(&rig, tx_gpa), lie, step;
	uint32_t bytes;

	hdr.op = input_byte(in);
	hdr.type = hdr.op & 0x40 ? VIRTIO_VSOCK_TYPE_SEQPACKET : VIRTIO_VSOCK_TYPE_STREAM;
	hdr.src_cid += hdr.op >> 7;
	hdr.op &= 0x3f;
	hdr.src_port = input_byte(in);
	hdr.dst_port = draw_port(input_byte(in));
	hdr.flags = input_byte(in);
	bytes = input_number(in, 2);
	lie = input_byte(in);
	hdr.buf_alloc = draw_credit(input_byte(in));
	hdr.fwd_cnt = input_number(in, 2);
	step = input_byte(in);
	hdr.len = lie & 0x80 ? bytes + (lie & 0x7f) : bytes;
	memcpy(packet, &hdr, sizeof(hdr));
	memset(packet + sizeof(hdr), 0, bytes);
	memcpy(packet + sizeof(hdr), in->data, MIN(bytes, in->bytes));
	/* Payload over a page is made of zeros, so that small inputs can fill windows. */
	if (bytes <= 4096) {
		bytes = (uint32_t)MIN(bytes, in->bytes);
		in->data += bytes;
		in->bytes -= bytes;
	}
	send_chain(sizeof(hdr) + bytes, step ? step : 65536);
}

static void send_raw(struct input *in)
{
	size_t bytes = input_byte(in);

	bytes = MIN(bytes, in->bytes);
	memcpy(rig_at(&rig, tx_gpa), in->data, bytes);
	in->data += bytes;
	in->bytes -= bytes;
	send_chain(bytes, 65536);
}

/* Any driver posts at least a byte more than a header; one in 256 does not. */
static void post(uint8_t size, uint8_t count)
{
	size_t bytes = size == 255 ? 20 : 45 + (size_t)size * size;

	for (unsigned i = 0; i <= count % 64u; i++) {
		if (descriptors_left(&rig.rings[RX]) == 0 || rx_bytes + bytes > RX_BYTES_TOTAL)
			return;
		rx_bytes += bytes + 16;
		ring_post(&rig.rings[RX], bytes);
	}
}

static void check_packet(const struct virtio_vsock_hdr *hdr, int64_t bytes)
{
	must(hdr->src_cid == VSOCK_HOST_CID && hdr->dst_cid == VSOCK_GUEST_CID, "packet to or from nowhere");
	must(hdr->op >= VIRTIO_VSOCK_OP_REQUEST && hdr->op <= VIRTIO_VSOCK_OP_CREDIT_REQUEST, "packet of no kind");
	must((int64_t)sizeof(*hdr) + hdr->len == bytes, "packet of a length it does not say");
	must(hdr->len == 0 || hdr->op == VIRTIO_VSOCK_OP_RW, "payload where none belongs");
	must(hdr->len != 0 || hdr->op != VIRTIO_VSOCK_OP_RW, "data packet without data");
}

static void take(void)
{
	struct ring *rx = &rig.rings[RX];
	struct virtio_vsock_hdr hdr;
	int64_t bytes;

	for (unsigned i = 0; i < RING_NUM; i++) {
		struct ring_buf buf;

		bytes = ring_take(rx, &hdr, sizeof(hdr));
		if (bytes < 0)
			break;
		if (bytes == 0) /* a buffer without room */
			continue;
		check_packet(&hdr, bytes);
		buf = (struct ring_buf){ring_desc(rx, rx->last_head)->gpa, ring_desc(rx, rx->last_head)->bytes};
		ring_add(rx, NULL, 0, &buf, 1);
	}
	ring_kick(rx);
}

/* The host */

static void host_connect(uint32_t port)
{
	struct vsock_conn *conn = vsock_connect(vsock, port, &user, NULL);
	struct talk *talk = conn ? talk_new(conn, port) : NULL;

	if (!conn)
		return;
	vsock_close(conn); /* its ctx was not known yet */
	if (!talk)
		return;
	talk->conn = NULL;
	conn = vsock_connect(vsock, port, &user, talk);
	if (!conn)
		return;
	talk->conn = conn;
	talk->ours = true;
	talk->open = false;
}

static void host_send(struct talk *talk, size_t bytes)
{
	static const uint8_t zeros[65536];

	if (talk->conn && !talk->ended)
		must(vsock_send(talk->conn, zeros, bytes) <= bytes, "more sent than given");
}

static void host_end(struct talk *talk, uint8_t how)
{
	if (!talk->conn)
		return;
	if (how & 1) {
		talk_end(talk);
		return;
	}
	if (how & 2) {
		vsock_consumed(talk->conn, talk->held);
		talk->held = 0;
		return;
	}
	talk->ended = true;
	vsock_shutdown_send(talk->conn);
}

/* Devices and their users, on the memory there is. */
static void make(void)
{
	memset(talks, 0, sizeof(talks));
	pod_over = false;
	vsock = vsock_new(&rig.env);
	must(!vsock_listen(vsock, PORT_USER, on_accept, NULL), "listen refused");
	control = control_new(vsock, &control_user, NULL);
	stdio = stdio_make();
	must(control && streams && stdio, "ports taken");
}

static void unmake(void)
{
	stdio_free(stdio);
	streams_free(streams);
	control_free(control);
	vsock_free(vsock);
}

static void event_take(void)
{
	uint32_t id = 1;
	int64_t bytes = ring_take(&rig.rings[EVENT], &id, sizeof(id));

	must(bytes != 4 || id == VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, "event of no kind");
	must(bytes <= 4, "event too long");
}

/* The state goes to another device; spoilt, it is refused or does no harm. */
static void move(struct input *in)
{
	struct vsock_state state;
	size_t at = input_number(in, 2);

	vsock_save(vsock, &state);
	unmake();
	make();
	rig.dev = vsock_dev(vsock);
	if (at < sizeof(state))
		((uint8_t *)&state)[at] ^= input_byte(in);
	if (vsock_load(vsock, &state))
		start();
}

static void act(enum what what, struct input *in)
{
	static const struct wire_exec wire = {.container = 1};
	uint8_t first;

	switch (what) {
	case PACKET:
		send_packet(in);
		break;
	case RAW_BYTES:
		send_raw(in);
		break;
	case POST:
		first = input_byte(in);
		post(first, input_byte(in));
		break;
	case TAKE:
		take();
		break;
	case TURN:
		rig_turn(&rig);
		break;
	case HOST_CONNECT:
		host_connect(input_byte(in));
		break;
	case HOST_SEND:
		first = input_byte(in);
		host_send(&talks[first % USERS_MAX], input_number(in, 2));
		break;
	case HOST_END:
		first = input_byte(in);
		host_end(&talks[first % USERS_MAX], input_byte(in));
		break;
	case POD:
		first = input_byte(in);
		control_stop(control, first);
		if (first & 0x80)
			(void)control_stats(control, 7);
		if (first & 0x40)
			(void)control_exec(control, &wire, "[]", 2, &(uint32_t){0});
		break;
	case EVENT_BUFFER:
		first = input_byte(in);
		if (descriptors_left(&rig.rings[EVENT]) && rx_bytes + 16 <= RX_BYTES_TOTAL) {
			rx_bytes += 16;
			ring_post(&rig.rings[EVENT], first ? 4u + first % 8 : 3);
		}
		break;
	case EVENT_TAKE:
		event_take();
		break;
	case MOVE:
		move(in);
		break;
	case RESTART:
	case KINDS:
		start();
		break;
	}
}

static void open_all(void)
{
	if (!rig.memory) {
		signal(SIGPIPE, SIG_IGN);
		rig_init(&rig);
		fds[0] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
		fds[1] = open("/dev/null", O_WRONLY | O_CLOEXEC);
		fds[2] = open("/dev/full", O_WRONLY | O_CLOEXEC);
	}
	make();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = {data, bytes};

	open_all();
	start();
	for (unsigned i = 0; i < RECORDS_MAX && in.bytes; i++) {
		act(input_byte(&in) % KINDS, &in);
		if (rig_read(&rig, RIG_REG_STATUS) & RIG_NEEDS_RESET)
			start();
	}
	rig_turn(&rig);
	/* After a reset and a turn nobody may believe in a connection any more. */
	rig_reset(&rig);
	rig_turn(&rig);
	for (unsigned i = 0; i < USERS_MAX; i++)
		must(!talks[i].conn, "a connection outlived the reset");
	must(stdio_drained(stdio), "a stream outlived the reset");
	unmake();
	return 0;
}
