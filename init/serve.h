/* SPDX-License-Identifier: Apache-2.0 */
/* serve: PID 1's life from the control connection on: one pod, then the end. */
#ifndef INIT_SERVE_H
#define INIT_SERVE_H

/* What a test puts in the machine's place. */
struct serve_link {
	int control; /* connected to the host */
	/* A connection to the host's stream port, non-blocking and perhaps still on its way; or -errno. */
	int (*connect)(void *ctx);
	void *ctx;
	void (*leave)(void); /* resets the machine; does not return */
};

/* All signals must be blocked. */
_Noreturn void serve(const struct serve_link *link);

#endif
