// SPDX-License-Identifier: Apache-2.0
/*
 * gate: see gate.h. Owns who is inside; must not know what that means.
 *
 * Theory of operation
 * -------------------
 * A thread says that it is inside, then looks whether the gate is held; who closes it says that it is held, then looks who
 * is inside. All four are sequentially consistent, so at least one sees the other: either the thread turns back, or the
 * closer kicks it and waits. The same on the way out: a thread says that it is outside, then looks whether somebody may
 * wait for that; the lock is taken only then, and around the closer's look, so that no wake-up is lost.
 *
 * A thread resets its kick before it says that it is inside, and it is kicked only by who saw it inside (or by gate_end(),
 * which says so first). So a reset never undoes a kick that is meant for what comes.
 */
#include "vm/gate.h"

#include <string.h>

enum { HELD_CLOSED = 1 << 0, HELD_ENDED = 1 << 1 };

static unsigned held(const struct gate *gate)
{
	return __atomic_load_n(&gate->held, __ATOMIC_SEQ_CST);
}

static bool is_inside(const struct gate *gate, unsigned index)
{
	return __atomic_load_n(&gate->guests[index].inside, __ATOMIC_SEQ_CST);
}

void gate_init(struct gate *gate, const struct gate_ops *ops, void *ctx, struct gate_guest *guests, unsigned count)
{
	*gate = (struct gate){.ops = ops, .ctx = ctx, .guests = guests, .count = count};
	memset(guests, 0, count * sizeof(guests[0]));
	pthread_mutex_init(&gate->lock, NULL);
	pthread_cond_init(&gate->changed, NULL);
}

void gate_fini(struct gate *gate)
{
	pthread_cond_destroy(&gate->changed);
	pthread_mutex_destroy(&gate->lock);
}

static void changed_tell(struct gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->lock);
}

void gate_leave(struct gate *gate, unsigned index)
{
	__atomic_store_n(&gate->guests[index].inside, false, __ATOMIC_SEQ_CST);
	if (held(gate))
		changed_tell(gate);
}

bool gate_enter(struct gate *gate, unsigned index)
{
	while (!(held(gate) & HELD_ENDED)) {
		gate->ops->reset(gate->ctx, index);
		__atomic_store_n(&gate->guests[index].inside, true, __ATOMIC_SEQ_CST);
		if (!held(gate))
			return true;
		gate_leave(gate, index);
		pthread_mutex_lock(&gate->lock);
		while (held(gate) == HELD_CLOSED)
			pthread_cond_wait(&gate->changed, &gate->lock);
		pthread_mutex_unlock(&gate->lock);
	}
	return false;
}

void gate_close(struct gate *gate)
{
	__atomic_fetch_or(&gate->held, HELD_CLOSED, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < gate->count; i++)
		if (is_inside(gate, i))
			gate->ops->kick(gate->ctx, i);
	pthread_mutex_lock(&gate->lock);
	for (unsigned i = 0; i < gate->count; i++)
		while (is_inside(gate, i))
			pthread_cond_wait(&gate->changed, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
}

void gate_open(struct gate *gate)
{
	__atomic_fetch_and(&gate->held, ~(unsigned)HELD_CLOSED, __ATOMIC_SEQ_CST);
	changed_tell(gate);
}

bool gate_closed(const struct gate *gate)
{
	return held(gate) & HELD_CLOSED;
}

void gate_end(struct gate *gate)
{
	__atomic_fetch_or(&gate->held, HELD_ENDED, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < gate->count; i++)
		if (is_inside(gate, i))
			gate->ops->kick(gate->ctx, i);
	changed_tell(gate);
}
