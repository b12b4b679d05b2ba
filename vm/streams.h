/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streams: the port where the guest opens its streams (ABI_PORT_STREAM): reads from each connection whose it is, and
 * hands it to who asked for that target. Knows no descriptor of the host.
 *
 * The guest is hostile: a connection that does not say what it is, or for a target that nobody has, is reset, with a line
 * to the user within log_guest()'s limit; no more than STREAMS_UNKNOWN_MAX may still have to say it at a time. How many
 * a target may have is its owner's business.
 */
#ifndef VM_STREAMS_H
#define VM_STREAMS_H

#include "devices/vsock.h"
#include "pod/wire.h"

#include <stdbool.h>
#include <stdint.h>

enum { STREAMS_UNKNOWN_MAX = 3 * WIRE_EXECS_MAX }; /* as if all execs began at once */

/*
 * Takes a stream over: hello is complete and names a target of the owner's and a kind of stream; *user and *user_ctx get
 * all that comes from now on (conn's callbacks), also what came behind the hello. conn may be sent to, not closed.
 * False: it is reset; why, unless NULL, is told to the user.
 */
typedef bool streams_take_fn(void *ctx, struct vsock_conn *conn, const struct wire_stream_hello *hello,
			     const struct vsock_user **user, void **user_ctx, const char **why);

struct streams;
/* NULL when the port is taken. */
struct streams *streams_new(struct vsock *vsock);
/* Connections that nobody took are closed. Before vsock_free(), after all owners; the guest must not run. NULL is fine. */
void streams_free(struct streams *streams);

/* An owner of targets first to first + count - 1, kept by the caller, zeroed but for these. */
struct streams_owner {
	uint32_t first, count;
	streams_take_fn *take;
	void *ctx;
	struct streams_owner *next;
};
/* 0, or -EEXIST when another owner has one of the targets. */
int streams_own(struct streams *streams, struct streams_owner *owner);
/* Streams that it took stay its own. Does nothing for one that owns nothing. */
void streams_disown(struct streams *streams, struct streams_owner *owner);

/* Tells the user that a stream of the guest's was cut off, within the limit for all streams. */
void streams_complain(struct streams *streams, const char *why);

#endif
