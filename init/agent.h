/* SPDX-License-Identifier: Apache-2.0 */
/* agent: the guest's end of the control connection: frames out in order, frames in to one function. */
#ifndef INIT_AGENT_H
#define INIT_AGENT_H

#include "init/events.h"
#include "pod/wire.h"

struct agent;

/*
 * fd is connected and becomes the agent's. frame gets what the host sends; lost is called once, when the connection
 * ends or the host breaks the protocol, from the loop.
 */
struct agent *agent_new(struct events *events, int fd, wire_frame_fn *frame, void (*lost)(void *ctx), void *ctx);
void agent_free(struct agent *agent);

/* Never blocks: what the host does not take now waits. payload may be NULL with 0 bytes. */
void agent_send(struct agent *agent, enum wire_type type, uint32_t target, const void *payload, size_t bytes);

/* A line for the user, to the kernel's log and to the host. Dropped when the host lets too many lie. */
void agent_log(struct agent *agent, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The last act: sends what waits, then waits for the host to hang up, at most timeout_ms in all. Blocks. */
void agent_drain(struct agent *agent, int timeout_ms);

#endif
