/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control: the host's half of the pod's control connection (pod/wire.h): tells init what to run, hears what became
 * of it. Knows frames and the order they may come in; not streams (vm/stdio.h), not the VM, not what the user sees.
 *
 * The guest is hostile: an unknown frame, one out of order or a container that was not sent ends the connection with
 * one call of lost(); nothing a guest sends ends podvm. Texts handed on are printable, one line of at most
 * CONTROL_TEXT_MAX bytes. How many of them to show is the user's business (log_guest()).
 */
#ifndef VM_CONTROL_H
#define VM_CONTROL_H

#include "devices/vsock.h"
#include "pod/wire.h"

#include <stddef.h>
#include <stdint.h>

enum {
	CONTROL_TEXT_MAX = 1024,
	CONTROL_QUEUE_BYTES_MAX = 16 << 20, /* frames waiting for the guest to take them */
	CONTROL_STATS_MAX = 1024,	    /* questions for statistics without an answer */
};

/*
 * On the loop, in this order: ready, then per container started (again after each restart) and exited (once), then
 * one of done, failed, lost as the last call of all. log may come at any time before. Entries may not be NULL. Calls
 * into control are fine from inside, save control_free().
 */
struct control_user {
	void (*ready)(void *ctx); /* init waits for control_send_pod(); nothing pod-specific has happened yet */
	void (*started)(void *ctx, unsigned container);
	void (*exited)(void *ctx, unsigned container, const struct wire_exited *exited); /* code is 0..255 */
	void (*log)(void *ctx, const char *text);
	void (*failed)(void *ctx, const char *text); /* the pod could not be set up */
	void (*done)(void *ctx);		     /* all containers ended; the guest resets now */
	void (*lost)(void *ctx, const char *why);    /* the guest hung up or broke the protocol */
	/*
	 * Of an exec that control_exec() began, in this order, between ready and the last call: started, if it runs; or
	 * refused, if it can not; then exited, once (init may leave the first out). None comes for those that are under way
	 * at the last call of all.
	 */
	void (*exec_started)(void *ctx, uint32_t exec);
	void (*exec_refused)(void *ctx, uint32_t exec, const char *why);
	void (*exec_exited)(void *ctx, uint32_t exec, const struct wire_exited *exited);
	/* The answer to control_stats(): uses has pod->containers entries, as many as the pod has. */
	void (*stats)(void *ctx, uint32_t token, const struct wire_stats *pod, const struct wire_use *uses);
};

/* Listens on ABI_PORT_CONTROL and takes one connection in its life. NULL when the port is taken. */
struct control *control_new(struct vsock *vsock, const struct control_user *user, void *ctx);
/* Hangs up without a callback. Before vsock_free(); the guest must not run any more. NULL is fine. */
void control_free(struct control *control);

/*
 * Frames to init. 0; -ENOTCONN before ready() and after the last callback; -ENOBUFS when CONTROL_QUEUE_BYTES_MAX are
 * waiting. They never block.
 */
/* The pod of that many containers, json being spec_print()'s text. Once; again is -EALREADY. -EMSGSIZE, -EINVAL. */
int control_send_pod(struct control *control, const struct wire_pod *pod, unsigned containers, const char *json,
		     size_t json_bytes);
/*
 * To containers and execs, so -ENOTCONN before the pod was sent; -EINVAL for one that is not there. target may be WIRE_ALL.
 */
int control_signal(struct control *control, uint32_t target, unsigned signo);
int control_winsize(struct control *control, uint32_t target, uint16_t rows, uint16_t cols);
int control_stop(struct control *control, unsigned grace_ms);
/*
 * A further process in a container, json being spec_exec_print()'s text. Its number, from WIRE_EXEC_FIRST on and never
 * used again, comes in *exec and is a target of the two above until it has exited. -EAGAIN when WIRE_EXECS_MAX are under way;
 * -EINVAL for a container the pod does not have; -EMSGSIZE.
 */
int control_exec(struct control *control, const struct wire_exec *wire, const char *json, size_t json_bytes,
		 uint32_t *exec);
/*
 * Asks for statistics; the answer has token, and answers come in the order of the questions. A guest that does not answer
 * is not noticed. -ENOTCONN before the pod was sent; -EAGAIN when CONTROL_STATS_MAX have no answer yet.
 */
int control_stats(struct control *control, uint32_t token);
/* Tells the guest the time of now. -ENOTCONN before the pod was sent, which tells it as well. */
int control_time(struct control *control);

#endif
