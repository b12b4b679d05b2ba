/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stdio: connects the guest's streams of one or more targets (vm/streams.h) with three descriptors of the host, byte for
 * byte. The pod has one for all its containers, each exec one of its own.
 *
 * What all targets write to stdout goes to fds[1], stderr to fds[2]; what one with a tty shows goes to fds[1].
 * fds[0] feeds the first target alone, its stdin or its tty; the others read an end of file. What a descriptor
 * does not take yet waits in memory within the window of its vsock connection, and the guest waits with it.
 * The loop never blocks on a descriptor and the flags of one are never changed: it is shared with other processes.
 */
#ifndef VM_STDIO_H
#define VM_STDIO_H

#include "vm/loop.h"
#include "vm/streams.h"

#include <stdbool.h>

enum { STDIO_STREAMS_PER_TARGET = 4 };

struct stdio;

/* On the loop. Entries may not be NULL. Calls into stdio are fine from inside, save stdio_free(). */
struct stdio_user {
	/* stdio_drained() became true. May come more than once: a container that starts again has new streams. */
	void (*drained)(void *ctx);
	/*
	 * Writing to fds[1] or fds[2] failed for good (EPIPE: nobody reads; ENOSPC, EIO, ...); once each. From now on
	 * its output is taken from the guest and thrown away; with hang_up, its streams are reset instead, so that the
	 * writer in the guest meets EPIPE as on any pipe. err is positive, fd is 1 or 2.
	 */
	void (*output_lost)(void *ctx, int fd, int err);
};

struct stdio_config {
	struct streams *streams;
	struct loop *loop;
	uint32_t first, count; /* its targets; each may have STDIO_STREAMS_PER_TARGET streams on average */
	/*
	 * stdin, stdout, stderr; -1 for none (stdin at its end, output thrown away). They stay the caller's; stdin is
	 * not read before the first target asked for it. SIGPIPE must be ignored.
	 */
	int fds[3];
	bool hang_up; /* see output_lost */
};

/*
 * Opens private descriptors of pipes and terminals through /proc/self/fd where it may, of others it makes a duplicate: for
 * those of podvm itself call it before the sandbox closes. NULL when another has one of the targets.
 */
struct stdio *stdio_new(const struct stdio_config *config, const struct stdio_user *user, void *ctx);
/*
 * What was not written is lost, streams that are open are reset. Before streams_free() and vsock_free(); the guest may
 * run, but finds its targets without an owner. NULL is fine.
 */
void stdio_free(struct stdio *stdio);

/* The guest is no more: its streams end where they stand. What came is still written; drained() may come from inside. */
void stdio_guest_gone(struct stdio *stdio);

/*
 * True when every stream from the guest that was opened has ended and all its bytes were written (or lost and told).
 * init ends its streams before it sends WIRE_DONE: once done() came, wait for this before leaving.
 */
bool stdio_drained(const struct stdio *stdio);

#endif
