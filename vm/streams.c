// SPDX-License-Identifier: Apache-2.0
/*
 * streams: see streams.h. Owns connections from the guest's REQUEST until their hello is complete, and the list of who
 * waits for which; must not know what a stream is for.
 */
#include "vm/streams.h"

#include "lib/log.h"
#include "lib/util.h"
#include "pod/abi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct streams {
	struct streams_owner *owners;
	struct unknown *unknowns;
	unsigned unknown_count;
	struct log_limit limit;
};

/* A connection that has not said yet what it is. */
struct unknown {
	struct streams *streams;
	struct unknown *next, **at;
	struct vsock_conn *conn;
	uint8_t hello[sizeof(struct wire_stream_hello)];
	size_t have;
};

void streams_complain(struct streams *streams, const char *why)
{
	log_guest(&streams->limit, "a stream of the guest is cut off: %s", why);
}

/* ---- owners ---- */

static struct streams_owner *owner_find(const struct streams *streams, uint32_t target)
{
	struct streams_owner *owner = streams->owners;

	while (owner && target - owner->first >= owner->count)
		owner = owner->next;
	return owner;
}

static bool ranges_meet(const struct streams_owner *a, const struct streams_owner *b)
{
	return b->first - a->first < a->count || a->first - b->first < b->count;
}

int streams_own(struct streams *streams, struct streams_owner *owner)
{
	for (const struct streams_owner *other = streams->owners; other; other = other->next)
		if (ranges_meet(other, owner))
			return -EEXIST;
	owner->next = streams->owners;
	streams->owners = owner;
	return 0;
}

void streams_disown(struct streams *streams, struct streams_owner *owner)
{
	for (struct streams_owner **at = &streams->owners; *at; at = &(*at)->next)
		if (*at == owner) {
			*at = owner->next;
			owner->next = NULL;
			return;
		}
}

/* ---- connections ---- */

static void unknown_free(struct unknown *unknown)
{
	*unknown->at = unknown->next;
	if (unknown->next)
		unknown->next->at = unknown->at;
	unknown->streams->unknown_count--;
	free(unknown);
}

/* Hands the connection to who wants it; false with *why, or NULL, when nobody does. */
static bool hand_on(struct streams *streams, struct vsock_conn *conn, const struct wire_stream_hello *hello,
		    const struct vsock_user **user, void **user_ctx, const char **why)
{
	struct streams_owner *owner = owner_find(streams, hello->target);

	*why = NULL;
	if (hello->magic != WIRE_STREAM_MAGIC || hello->stream > WIRE_TTY)
		*why = "it does not say what it is";
	else if (!owner)
		*why = "nothing runs that it could belong to";
	else
		return owner->take(owner->ctx, conn, hello, user, user_ctx, why);
	return false;
}

static void hello_done(struct unknown *unknown, const uint8_t *rest, size_t count)
{
	struct streams *streams = unknown->streams;
	struct vsock_conn *conn = unknown->conn;
	const struct vsock_user *user;
	struct wire_stream_hello hello;
	const char *why;
	void *user_ctx;

	memcpy(&hello, unknown->hello, sizeof(hello));
	unknown_free(unknown);
	if (!hand_on(streams, conn, &hello, &user, &user_ctx, &why)) {
		if (why)
			streams_complain(streams, why);
		vsock_close(conn);
		return;
	}
	vsock_user_set(conn, user, user_ctx);
	if (count)
		user->data(user_ctx, conn, rest, count);
}

static void conn_open(void *ctx, struct vsock_conn *conn)
{
	(void)ctx;
	(void)conn; /* only for connections we make */
}

static void conn_data(void *ctx, struct vsock_conn *conn, const void *bytes, size_t count)
{
	struct unknown *unknown = ctx;
	size_t part = MIN(count, sizeof(unknown->hello) - unknown->have);

	memcpy(unknown->hello + unknown->have, bytes, part);
	unknown->have += part;
	vsock_consumed(conn, part);
	if (unknown->have == sizeof(unknown->hello))
		hello_done(unknown, (const uint8_t *)bytes + part, count - part);
}

static void conn_writable(void *ctx, struct vsock_conn *conn)
{
	(void)ctx;
	(void)conn; /* nothing is sent before the hello */
}

/* It will never say what it is. */
static void conn_eof(void *ctx, struct vsock_conn *conn)
{
	unknown_free(ctx);
	vsock_close(conn);
}

static void conn_closed(void *ctx, struct vsock_conn *conn)
{
	(void)conn;
	unknown_free(ctx);
}

static const struct vsock_user conn_user = {
	.open = conn_open,
	.data = conn_data,
	.writable = conn_writable,
	.eof = conn_eof,
	.closed = conn_closed,
};

static bool conn_accept(void *ctx, struct vsock_conn *conn, const struct vsock_user **user, void **user_ctx)
{
	struct streams *streams = ctx;
	struct unknown *unknown;

	if (streams->unknown_count == STREAMS_UNKNOWN_MAX)
		return false;
	unknown = xcalloc(1, sizeof(*unknown));
	unknown->streams = streams;
	unknown->conn = conn;
	unknown->next = streams->unknowns;
	unknown->at = &streams->unknowns;
	if (unknown->next)
		unknown->next->at = &unknown->next;
	streams->unknowns = unknown;
	streams->unknown_count++;
	*user = &conn_user;
	*user_ctx = unknown;
	return true;
}

struct streams *streams_new(struct vsock *vsock)
{
	struct streams *streams = xcalloc(1, sizeof(*streams));

	if (vsock_listen(vsock, ABI_PORT_STREAM, conn_accept, streams)) {
		free(streams);
		return NULL;
	}
	return streams;
}

void streams_free(struct streams *streams)
{
	struct unknown *unknown, *next;

	if (!streams)
		return;
	for (unknown = streams->unknowns; unknown; unknown = next) {
		next = unknown->next;
		vsock_close(unknown->conn);
		unknown_free(unknown);
	}
	free(streams);
}
