/* SPDX-License-Identifier: Apache-2.0 */
/* containers: a pod's containers as running things: file systems, streams and processes put together. */
#ifndef INIT_CONTAINERS_H
#define INIT_CONTAINERS_H

#include "init/agent.h"
#include "init/events.h"
#include "init/joined.h"
#include "pod/spec.h"
#include "pod/wire.h"

#include <sys/types.h>

struct containers;

struct containers_user {
	/* A connection to the host's stream port, non-blocking and perhaps still on its way; or -errno. */
	int (*connect)(void *ctx);
	/* The pod can not be set up: nothing goes on. */
	void (*failed)(void *ctx, const char *text);
	/* All have ended for good and everything they wrote was sent. */
	void (*done)(void *ctx);
};

/* Everything stays the caller's and lives as long as the containers. Starts nothing. */
struct containers *containers_new(struct events *events, struct agent *agent, const struct spec_pod *pod,
				  const struct wire_pod *wire, const char *hostname, const struct containers_user *user,
				  void *ctx);

/* Mounts, streams, processes. Faults come by failed(). */
void containers_start(struct containers *containers);

/* A child of PID 1 was reaped. */
void containers_reaped(struct containers *containers, pid_t pid, int wait_status);

/* Frames of the host; a target that is no container is ignored. */
void containers_signal(struct containers *containers, uint32_t target, int signo);
void containers_winsize(struct containers *containers, uint32_t target, const struct wire_winsize *size);
void containers_stop(struct containers *containers, uint32_t grace_ms);

/* For a further process: 0 and *home, or -errno and in text why the container can take none. As joined_user's find(). */
int containers_home(const struct containers *containers, uint32_t container, struct joined_home *home, char *text,
		    size_t room);

/* An entry per container, in their order. */
void containers_use(const struct containers *containers, struct wire_use *uses);

/* SIGKILL to all that runs: the end is near. NULL is fine. */
void containers_kill(struct containers *containers);

#endif
