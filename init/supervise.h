/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervise: which container runs, starts again, is to be stopped or has ended for good. Decides and tells; starts
 * and kills nothing itself, and takes the time from its caller.
 */
#ifndef INIT_SUPERVISE_H
#define INIT_SUPERVISE_H

#include "pod/spec.h"
#include "pod/wire.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	SUPERVISE_BACKOFF_MIN_MS = 100, /* before the first restart; doubles with each */
	SUPERVISE_BACKOFF_MAX_MS = 30000,
	SUPERVISE_STABLE_MS = 10000, /* a run of this length brings the first delay back */
};

struct supervise_user {
	/* Starts the container. 0, or -errno: it has then ended for good with EXIT_PODVM. */
	int (*start)(void *ctx, unsigned container);
	/* SIGKILL ends all of the container, others go to its main process. It runs. */
	void (*signal)(void *ctx, unsigned container, int signo);
	/* It will be started again in delay_ms. */
	void (*again)(void *ctx, unsigned container, const struct wire_exited *exited, unsigned delay_ms);
	/* It will not run again. Once per container. */
	void (*ended)(void *ctx, unsigned container, const struct wire_exited *exited);
};

struct supervise;

/* stop_signal is a number per container; both arrays are copied. */
struct supervise *supervise_new(unsigned count, const enum spec_restart *policies, const int *stop_signals,
				const struct supervise_user *user, void *ctx);
void supervise_free(struct supervise *supervise);

/* Starts all, in order. */
void supervise_start(struct supervise *supervise, uint64_t now_ns);

/* A container's run is over; final: whatever its policy, it is not to start again (its program can not be run). */
void supervise_exited(struct supervise *supervise, unsigned container, const struct wire_exited *exited, bool final,
		      uint64_t now_ns);

/* Passes a signal on to a container, or WIRE_ALL, that runs. SIGSTOP and SIGCONT included. */
void supervise_signal(struct supervise *supervise, uint32_t target, int signo);

/* Nothing starts again. Stop signals now, SIGKILL after grace_ms. Again: the sooner of both deadlines counts. */
void supervise_stop(struct supervise *supervise, uint32_t grace_ms, uint64_t now_ns);

/* When to call supervise_tick() next: UINT64_MAX for never. */
uint64_t supervise_deadline_ns(const struct supervise *supervise);
void supervise_tick(struct supervise *supervise, uint64_t now_ns);

bool supervise_is_running(const struct supervise *supervise, unsigned container);

/* What it does, and how often it was started again. */
enum wire_state supervise_state(const struct supervise *supervise, unsigned container);
unsigned supervise_restarts(const struct supervise *supervise, unsigned container);

/* The delay before restart number n (0: the first). */
unsigned supervise_backoff_ms(unsigned n);

#endif
