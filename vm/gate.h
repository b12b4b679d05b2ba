/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate: holds threads outside of something that they enter and leave without end (vCPU threads and the guest), and lets
 * them go on. Passing an open gate costs no lock. Knows no KVM.
 */
#ifndef VM_GATE_H
#define VM_GATE_H

#include <pthread.h>
#include <stdbool.h>

/* One of the threads. Zeroed it is ready; read by others, so the gate's alone. */
struct gate_guest {
	bool inside;
};

/*
 * Makes the thread that is inside leave. What it does must last until reset(), which that thread calls outside, before
 * it enters again: so a kick that comes between entering and what is entered is not lost.
 */
struct gate_ops {
	void (*kick)(void *ctx, unsigned index);
	void (*reset)(void *ctx, unsigned index);
};

struct gate {
	const struct gate_ops *ops;
	void *ctx;
	struct gate_guest *guests;
	unsigned count;
	unsigned held; /* atomic: why the gate is closed */
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

void gate_init(struct gate *gate, const struct gate_ops *ops, void *ctx, struct gate_guest *guests, unsigned count);
/* No thread uses it any more. */
void gate_fini(struct gate *gate);

/* On the thread with that index. False: the end has come, it is not inside. Waits while the gate is closed. */
bool gate_enter(struct gate *gate, unsigned index);
void gate_leave(struct gate *gate, unsigned index);

/* Any other thread, one at a time: closes the gate and returns when nobody is inside; opens it. Again is fine. */
void gate_close(struct gate *gate);
void gate_open(struct gate *gate);
bool gate_closed(const struct gate *gate);
/* For good: all who wait or come are turned away. Does not wait for those inside, who are kicked. */
void gate_end(struct gate *gate);

#endif
