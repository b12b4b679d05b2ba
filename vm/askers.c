// SPDX-License-Identifier: Apache-2.0
/* askers: see askers.h. Owns the queue; must not know what was asked. */
#include "vm/askers.h"

#include "lib/util.h"

#include <stdlib.h>

struct asker {
	struct asker *next;
	askers_fn *fn; /* NULL: cancelled */
	void *ctx;
};

void askers_add(struct askers *askers, askers_fn *fn, void *ctx)
{
	struct asker *asker = xcalloc(1, sizeof(*asker));

	asker->fn = fn;
	asker->ctx = ctx;
	*(askers->last ? &askers->last->next : &askers->first) = asker;
	askers->last = asker;
}

/* Out of the queue: the caller frees it. NULL when there is none. */
static struct asker *asker_take(struct askers *askers)
{
	struct asker *asker = askers->first;

	if (!asker)
		return NULL;
	askers->first = asker->next;
	if (!askers->first)
		askers->last = NULL;
	return asker;
}

void askers_answer(struct askers *askers, const struct wire_stats *pod, const struct wire_use *uses)
{
	struct asker *asker = asker_take(askers);

	if (asker && asker->fn)
		asker->fn(asker->ctx, pod, uses);
	free(asker);
}

void askers_end(struct askers *askers)
{
	while (askers->first)
		askers_answer(askers, NULL, NULL);
}

void askers_cancel(struct askers *askers, const void *ctx)
{
	for (struct asker *asker = askers->first; asker; asker = asker->next)
		if (asker->ctx == ctx)
			asker->fn = NULL;
}

void askers_free(struct askers *askers)
{
	while (askers->first)
		free(asker_take(askers));
}
