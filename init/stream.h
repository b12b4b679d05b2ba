/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream: one connection to the host that carries a container's standard stream, and the pump behind it. No byte is
 * lost, nothing blocks, and no more than STREAM_BUFFER_BYTES wait per direction: a slow reader slows its writer.
 */
#ifndef INIT_STREAM_H
#define INIT_STREAM_H

#include "init/events.h"
#include "pod/wire.h"

enum { STREAM_BUFFER_BYTES = 64 << 10 };

struct stream;

/*
 * socket: non-blocking, its connection perhaps still on the way. local: PID 1's end of a pipe, or the master of a
 * pseudo terminal; made non-blocking. Both become the stream's. finished is called once, from the loop or from
 * stream_end(), when nothing more will go to the host; not for WIRE_STDIN.
 */
struct stream *stream_new(struct events *events, int socket, int local, unsigned container, enum wire_stream kind,
			  void (*finished)(void *ctx), void *ctx);
/* Closes at once; what waits is lost. NULL is fine. */
void stream_free(struct stream *stream);

/*
 * The container has ended and every process of it: what it left in the pipe is sent, then the stream finishes.
 * The caller has closed its copies of the container's end. For WIRE_STDIN: closes.
 */
void stream_end(struct stream *stream);

#endif
