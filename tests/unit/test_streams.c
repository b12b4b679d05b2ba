// SPDX-License-Identifier: Apache-2.0
/* test_streams: vm/streams.c, the port where a guest opens streams, over a real vsock device. */
#include "vm/streams.h"

#include "lib/util.h"
#include "pod/abi.h"
#include "tests/unit/test.h"
#include "tests/unit/vsock_guest.h"

#include <errno.h>

#define OP(name) VIRTIO_VSOCK_OP_##name

struct pod {
	struct guest guest;
	struct streams *streams;
	struct streams_owner owner;
	unsigned taken, closed;
	uint32_t target, stream;
	bool refuses;
	char data[64];
	size_t bytes;
};

static void on_conn(void *ctx, struct vsock_conn *conn)
{
	(void)ctx;
	(void)conn;
}

static void on_data(void *ctx, struct vsock_conn *conn, const void *bytes, size_t count)
{
	struct pod *pod = ctx;

	memcpy(pod->data + pod->bytes, bytes, MIN(count, sizeof(pod->data) - pod->bytes));
	pod->bytes += count;
	vsock_consumed(conn, count);
}

static void on_closed(void *ctx, struct vsock_conn *conn)
{
	(void)conn;
	((struct pod *)ctx)->closed++;
}

static const struct vsock_user conn_user = {on_conn, on_data, on_conn, on_conn, on_closed};

static bool on_take(void *ctx, struct vsock_conn *conn, const struct wire_stream_hello *hello,
		    const struct vsock_user **user, void **user_ctx, const char **why)
{
	struct pod *pod = ctx;

	pod->taken++;
	pod->target = hello->target;
	pod->stream = hello->stream;
	if (pod->refuses) {
		*why = "the test does not want it";
		return false;
	}
	vsock_send(conn, "hi", 2);
	*user = &conn_user;
	*user_ctx = pod;
	return true;
}

static void start(struct pod *pod, uint32_t first, uint32_t count)
{
	*pod = (struct pod){.owner = {.first = first, .count = count, .take = on_take, .ctx = pod}};
	guest_init(&pod->guest, true);
	pod->streams = streams_new(pod->guest.vsock);
	CHECK(pod->streams);
	CHECK_INT(streams_own(pod->streams, &pod->owner), 0);
}

static void end(struct pod *pod)
{
	streams_disown(pod->streams, &pod->owner);
	streams_free(pod->streams);
	guest_fini(&pod->guest);
}

static void send_bytes(struct pod *pod, uint32_t port, const void *bytes, size_t count)
{
	guest_send(&pod->guest, OP(RW), port, ABI_PORT_STREAM, 0, bytes, count);
}

/* Opens a connection and says hello; true when the host reset it. */
static bool is_refused(struct pod *pod, uint32_t port, struct wire_stream_hello hello)
{
	guest_pump(&pod->guest, true);
	CHECK(guest_connect(&pod->guest, port, ABI_PORT_STREAM));
	send_bytes(pod, port, &hello, sizeof(hello));
	return guest_expect(&pod->guest, OP(RST), port, ABI_PORT_STREAM);
}

TEST(a_stream_is_handed_on)
{
	struct pod pod;

	start(&pod, 5, 3);
	CHECK(!is_refused(&pod, 1, (struct wire_stream_hello){WIRE_STREAM_MAGIC, 7, WIRE_TTY}));
	CHECK_INT(pod.taken, 1);
	CHECK_INT(pod.target, 7);
	CHECK_INT(pod.stream, WIRE_TTY);
	CHECK_INT(pod.guest.hdr.op, OP(RW)); /* what was sent while it was taken */
	CHECK_MEM(pod.guest.payload, "hi", 2);
	send_bytes(&pod, 1, "abc", 3);
	CHECK_INT(pod.bytes, 3);
	CHECK_MEM(pod.data, "abc", 3);
	guest_send(&pod.guest, OP(RST), 1, ABI_PORT_STREAM, 0, NULL, 0);
	CHECK_INT(pod.closed, 1);
	end(&pod);
}

/* Every cut, and bytes behind the hello in its packet. */
TEST(hello_in_pieces_with_data_behind)
{
	struct wire_stream_hello hello = {WIRE_STREAM_MAGIC, 0, WIRE_STDOUT};
	uint8_t bytes[sizeof(hello) + 3];

	memcpy(bytes, &hello, sizeof(hello));
	memcpy(bytes + sizeof(hello), "abc", 3);
	for (size_t cut = 0; cut < sizeof(bytes); cut++) {
		struct pod pod;

		start(&pod, 0, 1);
		CHECK(guest_connect(&pod.guest, 1, ABI_PORT_STREAM));
		if (cut)
			send_bytes(&pod, 1, bytes, cut);
		CHECK_INT(pod.taken, cut >= sizeof(hello));
		send_bytes(&pod, 1, bytes + cut, sizeof(bytes) - cut);
		CHECK_INT(pod.taken, 1);
		CHECK_INT(pod.bytes, 3);
		CHECK_MEM(pod.data, "abc", 3);
		/* all of it is credit again */
		guest_pump(&pod.guest, true);
		guest_send(&pod.guest, OP(CREDIT_REQUEST), 1, ABI_PORT_STREAM, 0, NULL, 0);
		CHECK(guest_expect(&pod.guest, OP(CREDIT_UPDATE), 1, ABI_PORT_STREAM));
		CHECK_INT(pod.guest.hdr.fwd_cnt, sizeof(bytes));
		end(&pod);
	}
}

TEST(bad_hellos)
{
	static const struct wire_stream_hello hellos[] = {
		{WIRE_STREAM_MAGIC + 1, 5, 0}, {WIRE_STREAM_MAGIC, 4, 1},  {WIRE_STREAM_MAGIC, 7, 1},
		{WIRE_STREAM_MAGIC, 0, 1},     {WIRE_STREAM_MAGIC, UINT32_MAX, 1}, {WIRE_STREAM_MAGIC, 5, 4},
		{WIRE_STREAM_MAGIC, 5, UINT32_MAX},
	};
	struct pod pod;

	start(&pod, 5, 2);
	for (uint32_t i = 0; i < ARRAY_SIZE(hellos); i++)
		CHECK(is_refused(&pod, 10 + i, hellos[i]));
	CHECK_INT(pod.taken, 0);
	pod.refuses = true;
	CHECK(is_refused(&pod, 1, (struct wire_stream_hello){WIRE_STREAM_MAGIC, 6, 1}));
	CHECK_INT(pod.taken, 1);
	CHECK_INT(pod.closed, 0);
	end(&pod);
}

TEST(owners)
{
	struct pod pod;
	struct streams_owner other = {.take = on_take, .ctx = &pod};
	static const struct {
		uint32_t first, count;
		int err;
	} rows[] = {
		{0, 5, 0}, {0, 6, -EEXIST}, {7, 1, 0}, {6, 1, -EEXIST}, {5, 1, -EEXIST}, {3, 9, -EEXIST}, {5, 2, -EEXIST},
		{UINT32_MAX, 1, 0}, {WIRE_EXEC_FIRST, 1, 0},
	};

	start(&pod, 5, 2);
	CHECK(!streams_new(pod.guest.vsock)); /* the port is taken */
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		other.first = rows[i].first;
		other.count = rows[i].count;
		CHECK_INT(streams_own(pod.streams, &other), rows[i].err);
		streams_disown(pod.streams, &other);
	}
	streams_disown(pod.streams, &other);
	CHECK_INT(streams_own(pod.streams, &other), 0);
	CHECK(!is_refused(&pod, 1, (struct wire_stream_hello){WIRE_STREAM_MAGIC, WIRE_EXEC_FIRST, 1}));
	CHECK(!is_refused(&pod, 2, (struct wire_stream_hello){WIRE_STREAM_MAGIC, 5, 1}));
	streams_disown(pod.streams, &other);
	CHECK(is_refused(&pod, 3, (struct wire_stream_hello){WIRE_STREAM_MAGIC, WIRE_EXEC_FIRST, 1}));
	send_bytes(&pod, 1, "x", 1); /* what was taken stays */
	CHECK_INT(pod.bytes, 1);
	end(&pod);
}

/* A connection that never says what it is, and each way it can go. */
TEST(those_that_say_nothing)
{
	struct pod pod;

	start(&pod, 0, 1);
	for (uint32_t port = 1; port <= 5; port++) {
		CHECK(guest_connect(&pod.guest, port, ABI_PORT_STREAM));
		send_bytes(&pod, port, "12345", port);
	}
	guest_send(&pod.guest, OP(RST), 2, ABI_PORT_STREAM, 0, NULL, 0);
	guest_send(&pod.guest, OP(SHUTDOWN), 3, ABI_PORT_STREAM, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	CHECK(guest_expect(&pod.guest, OP(RST), 3, ABI_PORT_STREAM));
	guest_send(&pod.guest, OP(SHUTDOWN), 4, ABI_PORT_STREAM, 3, NULL, 0);
	CHECK(guest_expect(&pod.guest, OP(RST), 4, ABI_PORT_STREAM));
	rig_reset(&pod.guest.rig);
	rig_turn(&pod.guest.rig);
	CHECK_INT(pod.taken, 0);
	end(&pod);
	streams_free(NULL);
	/* and two that are there at the end */
	start(&pod, 0, 1);
	CHECK(guest_connect(&pod.guest, 1, ABI_PORT_STREAM));
	CHECK(guest_connect(&pod.guest, 2, ABI_PORT_STREAM));
	end(&pod);
}

TEST(they_are_bounded)
{
	struct wire_stream_hello hello = {WIRE_STREAM_MAGIC, 0, WIRE_STDOUT};
	struct pod pod;
	uint32_t port = 1;

	start(&pod, 0, 1);
	while (port < 2000 && guest_connect(&pod.guest, port, ABI_PORT_STREAM))
		port++;
	CHECK_INT(port - 1, STREAMS_UNKNOWN_MAX);
	CHECK_INT(pod.guest.hdr.op, OP(RST));
	send_bytes(&pod, 17, &hello, sizeof(hello)); /* now it is known: another may come */
	CHECK_INT(pod.taken, 1);
	guest_pump(&pod.guest, true);
	CHECK(guest_connect(&pod.guest, 3000, ABI_PORT_STREAM));
	CHECK(!guest_connect(&pod.guest, 3001, ABI_PORT_STREAM));
	end(&pod);
}

int main(void)
{
	RUN(a_stream_is_handed_on);
	RUN(hello_in_pieces_with_data_behind);
	RUN(bad_hellos);
	RUN(owners);
	RUN(those_that_say_nothing);
	RUN(they_are_bounded);
	return test_done();
}
