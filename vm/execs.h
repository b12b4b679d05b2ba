/* SPDX-License-Identifier: Apache-2.0 */
/*
 * execs: further processes in the pod's containers, from the wish to the exit code, with three descriptors each. Joins
 * vm/control.h and vm/stdio.h; knows neither who asks nor what is run.
 */
#ifndef VM_EXECS_H
#define VM_EXECS_H

#include "vm/control.h"
#include "vm/loop.h"
#include "vm/streams.h"

#include <stddef.h>
#include <stdint.h>

enum { EXECS_HANGUP_MS = 5000 };

/*
 * On the loop: started, or refused with a line for the user; then exited as the last call, when all output was written
 * to the descriptors or lost. code is 0..255; when the pod ended first, EXIT_PODVM after refused(). Not from inside a call
 * into execs.
 */
struct execs_user {
	void (*started)(void *ctx);
	void (*refused)(void *ctx, const char *why);
	void (*exited)(void *ctx, const struct wire_exited *exited);
};

struct execs_config {
	struct wire_exec wire;
	const char *json; /* spec_exec_print()'s text */
	size_t json_bytes;
	int fds[3]; /* as in struct stdio_config, but sockets, pipes or files: a terminal is the client's business. They stay
		       the caller's, who may close them at once: these are duplicates */
};

struct execs;
struct execs *execs_new(struct control *control, struct streams *streams, struct loop *loop);
/* Before control_free() and streams_free(). Those under way get no call any more. NULL is fine. */
void execs_free(struct execs *execs);

/* 0 with its number in *exec, or -errno of control_exec() or for want of descriptors, then without any call. */
int execs_start(struct execs *execs, const struct execs_config *config, const struct execs_user *user, void *ctx,
		uint32_t *exec);

/* 0; -ESRCH when it has ended; -errno of control's. */
int execs_signal(struct execs *execs, uint32_t exec, unsigned signo);
int execs_winsize(struct execs *execs, uint32_t exec, uint16_t rows, uint16_t cols);

/*
 * Its client is gone: no call comes any more. Its descriptors are let go, so that it meets the end of its input and EPIPE;
 * it gets SIGHUP, and after EXECS_HANGUP_MS SIGKILL.
 */
void execs_hangup(struct execs *execs, uint32_t exec);

/* For the owner of the control connection: what it hears of execs. */
void execs_on_started(struct execs *execs, uint32_t exec);
void execs_on_refused(struct execs *execs, uint32_t exec, const char *why);
void execs_on_exited(struct execs *execs, uint32_t exec, const struct wire_exited *exited);
/*
 * The pod has ended, or its guest is gone: what is under way ends here, output that came still being written. idle is
 * called once when nothing is left, also from inside. Once.
 */
void execs_on_pod_ended(struct execs *execs, void (*idle)(void *ctx), void *ctx);

#endif
