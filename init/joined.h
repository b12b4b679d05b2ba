/* SPDX-License-Identifier: Apache-2.0 */
/*
 * joined: further processes in the pod's containers, by the number that the host gave each: from WIRE_EXEC to WIRE_EXITED.
 * No fault of one ends anything but itself.
 */
#ifndef INIT_JOINED_H
#define INIT_JOINED_H

#include "init/agent.h"
#include "init/events.h"
#include "pod/spec.h"
#include "pod/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct joined;

/* A container that can take one. */
struct joined_home {
	const struct spec_container *spec;
	const char *hostname;
	char *ptmx;    /* of its pseudo terminals; freed by joined_start() */
	pid_t init;    /* container-init, not reaped; 0, in tests: the process stays where and who we are */
	int cgroup_fd; /* directory of its cgroup, closed by it as well; -1: none */
};

struct joined_user {
	/* A connection to the host's stream port, non-blocking and perhaps still on its way; or -errno. */
	int (*connect)(void *ctx);
	/* 0 and *home; or -errno and the reason, for the user, in text. */
	int (*find)(void *ctx, uint32_t container, struct joined_home *home, char *text, size_t room);
	/* The last one has ended and the host was told. */
	void (*idle)(void *ctx);
};

/* Everything stays the caller's and lives as long as this. */
struct joined *joined_new(struct events *events, struct agent *agent, const struct joined_user *user, void *ctx);
/* Processes that run are let go. */
void joined_free(struct joined *joined);

/* WIRE_EXEC. */
void joined_start(struct joined *joined, uint32_t number, const struct wire_exec *wire, const char *json, size_t bytes);

/* A child of PID 1 was reaped; false when it is none of ours. */
bool joined_reaped(struct joined *joined, pid_t pid, int wait_status);

/* A number that no exec has is ignored. */
void joined_signal(struct joined *joined, uint32_t number, int signo);
void joined_winsize(struct joined *joined, uint32_t number, const struct wire_winsize *size);

/* True when the host has heard the end of all of them. */
bool joined_is_idle(const struct joined *joined);

#endif
