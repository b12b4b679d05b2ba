/* SPDX-License-Identifier: Apache-2.0 */
/* fuse_slots: owns the numbering; must not know what is numbered. */
#include "devices/fuse_slots.h"

#include "lib/util.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_MASK ((UINT64_C(1) << FUSE_SLOT_BITS) - 1)

void slots_init(struct fuse_slots *slots, uint32_t limit)
{
	assert(limit && limit <= 1u << FUSE_SLOT_BITS);
	memset(slots, 0, sizeof(*slots));
	slots->limit = limit;
}

void slots_fini(struct fuse_slots *slots)
{
	free(slots->items);
	free(slots->free_slots);
	memset(slots, 0, sizeof(*slots));
}

static void grow(struct fuse_slots *slots)
{
	uint32_t capacity = slots->capacity ? slots->capacity * 2 : 64;

	slots->items = xrealloc(slots->items, capacity * sizeof(slots->items[0]));
	slots->free_slots = xrealloc(slots->free_slots, capacity * sizeof(slots->free_slots[0]));
	slots->capacity = capacity;
}

bool slots_add(struct fuse_slots *slots, struct fuse_slot *item)
{
	uint32_t slot;

	if (slots->count >= slots->limit)
		return false;
	if (slots->free_count) {
		slot = slots->free_slots[--slots->free_count];
	} else {
		if (slots->seen == slots->capacity)
			grow(slots);
		slot = slots->seen++;
	}
	slots->items[slot] = item;
	slots->count++;
	item->id = ++slots->serial << FUSE_SLOT_BITS | slot;
	return true;
}

void slots_remove(struct fuse_slots *slots, struct fuse_slot *item)
{
	uint32_t slot = (uint32_t)(item->id & SLOT_MASK);

	assert(slot < slots->seen && slots->items[slot] == item);
	slots->items[slot] = NULL;
	slots->free_slots[slots->free_count++] = slot;
	slots->count--;
}

struct fuse_slot *slots_get(const struct fuse_slots *slots, uint64_t id)
{
	uint64_t slot = id & SLOT_MASK;

	if (slot >= slots->seen || !slots->items[slot] || slots->items[slot]->id != id)
		return NULL;
	return slots->items[slot];
}

struct fuse_slot *slots_any(const struct fuse_slots *slots, uint32_t *from)
{
	for (; *from < slots->seen; (*from)++) {
		if (slots->items[*from])
			return slots->items[*from];
	}
	return NULL;
}
