/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server: the pod's control socket: answers other podvm commands of the same user. Knows what may be asked and in which
 * words (live/talk.h); what it leads to is vm/session.h's and vm/execs.h's.
 *
 * Clients are trusted with the pod, as they are the same user or root (SO_PEERCRED; others are hung up on), but not with
 * podvm: bad words are answered with an error, a client that does not read is dropped when its answers exceed a bound, and
 * nothing a client does blocks the loop.
 */
#ifndef VM_SERVER_H
#define VM_SERVER_H

#include "live/dir.h"
#include "pod/spec.h"
#include "vm/loop.h"
#include "vm/session.h"

enum { SERVER_CLIENTS_MAX = 512 };

struct server_config {
	struct loop *loop;
	struct session *session;
	const struct spec_pod *spec;
	struct dir_pod *dir; /* stays the caller's */
};

struct server;
/* Listens from now on. NULL, with a warning to the user, when there can be no socket: the pod runs without. */
struct server *server_new(const struct server_config *config);
/* Hangs up on all clients. Before session_free(). NULL is fine. */
void server_free(struct server *server);

#endif
