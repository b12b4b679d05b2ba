/* SPDX-License-Identifier: Apache-2.0 */
/* askers: who waits for statistics of the pod (vm/session.h): a queue, the oldest is answered first. Knows no frames. */
#ifndef VM_ASKERS_H
#define VM_ASKERS_H

#include "pod/wire.h"

struct asker;
typedef void askers_fn(void *ctx, const struct wire_stats *pod, const struct wire_use *uses);

/* Zeroed it is ready. */
struct askers {
	struct asker *first, *last;
};

void askers_add(struct askers *askers, askers_fn *fn, void *ctx);
/* The oldest gets its one call, unless it was cancelled; none is fine. Calls into askers are fine from inside. */
void askers_answer(struct askers *askers, const struct wire_stats *pod, const struct wire_use *uses);
/* All get theirs, with NULLs. */
void askers_end(struct askers *askers);
/* No call comes for ctx any more; its place in the queue stays, for the answer that is under way. */
void askers_cancel(struct askers *askers, const void *ctx);
/* Without a call. */
void askers_free(struct askers *askers);

#endif
