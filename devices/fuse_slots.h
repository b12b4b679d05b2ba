/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_slots: numbers for things a guest refers to (inodes, open files). A number is a slot and a serial: looking it
 * up is an index and a comparison, and a number once given back is never valid again, whatever the guest sends.
 */
#ifndef DEVICES_FUSE_SLOTS_H
#define DEVICES_FUSE_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

enum { FUSE_SLOT_BITS = 20 };

/* First member of every item: its number, written by slots_add(), always >= 1 << FUSE_SLOT_BITS. */
struct fuse_slot {
	uint64_t id;
};

struct fuse_slots {
	struct fuse_slot **items; /* NULL: free */
	uint32_t *free_slots;	  /* stack of the free ones among the first `seen` */
	uint32_t capacity, seen, free_count;
	uint32_t count, limit;
	uint64_t serial;
};

void slots_init(struct fuse_slots *slots, uint32_t limit); /* 0 < limit <= 1 << FUSE_SLOT_BITS */
void slots_fini(struct fuse_slots *slots);		    /* frees the table, not the items */

/* False when the limit is reached. */
bool slots_add(struct fuse_slots *slots, struct fuse_slot *item);
void slots_remove(struct fuse_slots *slots, struct fuse_slot *item);
/* Any number; NULL when it names nothing now. */
struct fuse_slot *slots_get(const struct fuse_slots *slots, uint64_t id);
/* Any item, NULL when none is left: for tearing down. */
struct fuse_slot *slots_any(const struct fuse_slots *slots, uint32_t *from);

#endif
