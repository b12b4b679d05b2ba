/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stdio: connects the guest's streams (ABI_PORT_STREAM) with descriptors of the host, byte for byte.
 *
 * What all containers write to stdout goes to fds[1], stderr to fds[2]; what a container with a tty shows goes to
 * fds[1]. fds[0] feeds container 0 alone, its stdin or its tty; the others read an end of file. What a descriptor
 * does not take yet waits in memory within the window of its vsock connection, and the guest waits with it.
 * The loop never blocks on a descriptor and the flags of one are never changed: it is shared with other processes.
 */
#ifndef VM_STDIO_H
#define VM_STDIO_H

#include "devices/vsock.h"
#include "vm/loop.h"

#include <stdbool.h>

struct stdio;

/* On the loop. Entries may not be NULL. Calls into stdio are fine from inside, save stdio_free(). */
struct stdio_user {
	/* stdio_drained() became true. May come more than once: a container that starts again has new streams. */
	void (*drained)(void *ctx);
	/*
	 * Writing to fds[1] or fds[2] failed for good (EPIPE: nobody reads; ENOSPC, EIO, ...); once each. From now on
	 * its output is taken from the guest and thrown away. err is positive, fd is 1 or 2.
	 */
	void (*output_lost)(void *ctx, int fd, int err);
};

/*
 * fds: stdin, stdout, stderr of the pod; -1 for none (stdin at its end, output thrown away). They stay the caller's;
 * stdin is not read before container 0 asked for it. SIGPIPE must be ignored. Opens private descriptors of pipes and
 * terminals through /proc/self/fd where it may: call it before the sandbox closes.
 * NULL when the vsock port is taken.
 */
struct stdio *stdio_new(struct vsock *vsock, struct loop *loop, const int fds[3], const struct stdio_user *user,
			void *ctx);
/* What was not written is lost. Before vsock_free(); the guest must not run any more. NULL is fine. */
void stdio_free(struct stdio *stdio);

/* The guest is no more: its streams end where they stand. What came is still written; drained() may come from inside. */
void stdio_guest_gone(struct stdio *stdio);

/*
 * True when every stream from the guest that was opened has ended and all its bytes were written (or lost and told).
 * init ends its streams before it sends WIRE_DONE: once done() came, wait for this before leaving.
 */
bool stdio_drained(const struct stdio *stdio);

#endif
