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
 * To containers, so -ENOTCONN before the pod was sent; -EINVAL for one the pod does not have. target may be WIRE_ALL.
 */
int control_signal(struct control *control, uint32_t target, unsigned signo);
int control_winsize(struct control *control, unsigned container, uint16_t rows, uint16_t cols);
int control_stop(struct control *control, unsigned grace_ms);

#endif
