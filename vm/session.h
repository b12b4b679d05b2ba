/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session: from a guest that is ready to the pod's exit code. Sends the pod, passes on signals, the terminal and the
 * streams, stops the pod when asked, and decides what podvm returns. Knows the control connection, not devices or KVM.
 */
#ifndef VM_SESSION_H
#define VM_SESSION_H

#include "devices/vsock.h"
#include "pod/spec.h"
#include "pod/wire.h"
#include "vm/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SESSION_GRACE_MS = 5000,	/* between stop signal and kill */
	SESSION_FORCE_MS = 3000,	/* then for the guest to end, before the machine is switched off */
	SESSION_EXECS_MS = 1000,	/* once the pod has ended, for clients of execs to take what came */
	SESSION_BOOT_LIMIT_MS = 120000, /* for the guest to say that it is ready */
	SESSION_OUTPUT_CLOSED = 141,	/* exit code when nobody reads stdout: 128 + SIGPIPE */
};

struct session_config {
	struct loop *loop;
	struct vsock *vsock;
	const struct spec_pod *spec;
	const struct wire_pod *wire; /* time and entropy are filled in when it is sent */
	/* Copies the newest console output, for a guest that died. */
	size_t (*console_tail)(void *ctx, char *dst, size_t bytes);
	/* Holds the machine's vCPUs, or lets them go on. Only when that is a change. */
	void (*pause)(void *ctx, bool paused);
	void *machine_ctx;
};

struct session;

/*
 * Blocks the signals it handles in the calling thread (before vCPU threads are made) and listens for the guest. Host
 * set-up: dies on failure.
 */
struct session *session_new(const struct session_config *config);
void session_free(struct session *session);

/* The machine stopped by itself; detail as text. Ends the loop. Once the pod is done that is how it should be. */
void session_machine_ended(struct session *session, const char *detail);

/* After loop_run(): what podvm returns. */
int session_code(const struct session *session);

/*
 * For who speaks for the user while the pod runs (vm/server.h). All on the loop.
 */
/* ENDED: all containers ended, or the guest is gone; soon podvm returns. */
enum session_phase { SESSION_STARTING, SESSION_RUNNING, SESSION_PAUSED, SESSION_STOPPING, SESSION_ENDED };
enum session_phase session_phase(const struct session *session);

struct session_container {
	enum { SESSION_CONTAINER_PENDING, SESSION_CONTAINER_RUNNING, SESSION_CONTAINER_ENDED } state;
	uint8_t code; /* when ended */
	bool oom_killed;
};
/* As many as the spec has. A container that waits to start again is RUNNING here; session_stats() knows more. */
const struct session_container *session_containers(const struct session *session);

/* NULL before the pod was sent. */
struct execs *session_execs(struct session *session);

/* Stop signal, grace_ms, then SIGKILL; as when podvm itself is signalled. Ends a pause. 0 or -ENOTCONN when it has ended. */
int session_stop(struct session *session, unsigned grace_ms);
/* A signal to a container or WIRE_ALL. 0 or -errno of control_signal(). */
int session_signal(struct session *session, uint32_t target, unsigned signo);
/* 0; -ENOTCONN but while RUNNING or PAUSED; -EALREADY. Continuing, the guest is told the time. */
int session_pause(struct session *session, bool paused);

/*
 * uses has pod->containers entries. Once per call of session_stats() that gave 0, in their order, NULLs when the pod ended;
 * never from inside session_stats(). A guest that is paused answers when it goes on. 0 or -errno of control_stats().
 */
typedef void session_stats_fn(void *ctx, const struct wire_stats *pod, const struct wire_use *uses);
int session_stats(struct session *session, session_stats_fn *fn, void *ctx);
/* fn will not be called for ctx any more. */
void session_stats_cancel(struct session *session, void *ctx);

#endif
