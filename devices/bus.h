/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus: which device answers a guest's access to an address. One bus for memory-mapped registers, one for ports.
 */
#ifndef DEVICES_BUS_H
#define DEVICES_BUS_H

#include <stdbool.h>
#include <stdint.h>

enum { BUS_RANGES_MAX = 48 };

/*
 * Register access at an offset into the device's range; width is 1, 2, 4 or 8 bytes, and offset + width lies within
 * the range. Called under loop_lock(). NULL entries read as all ones and ignore writes.
 */
struct bus_ops {
	uint64_t (*read)(void *ctx, uint64_t offset, unsigned width);
	void (*write)(void *ctx, uint64_t offset, unsigned width, uint64_t value);
	/*
	 * Without the lock, on any vCPU's thread at any time: carries the access out and returns true where that is
	 * safe, and false, having done nothing, elsewhere. For what a guest does with every interrupt. May be NULL.
	 */
	bool (*unlocked)(void *ctx, uint64_t offset, unsigned width, bool write, uint64_t *value);
};

struct bus_range {
	uint64_t base, bytes;
	const struct bus_ops *ops;
	void *ctx;
};

struct bus {
	struct bus_range ranges[BUS_RANGES_MAX];
	unsigned count;
};

/* 0; -EEXIST when it overlaps a range; -ENOSPC when the table is full. */
int bus_add(struct bus *bus, uint64_t base, uint64_t bytes, const struct bus_ops *ops, void *ctx);

/* An access nobody answers reads as all ones of its width. */
uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned width);
void bus_write(struct bus *bus, uint64_t addr, unsigned width, uint64_t value);
/* False when the access needs the lock; nothing was done then. Ranges are not added meanwhile. */
bool bus_access_unlocked(struct bus *bus, uint64_t addr, unsigned width, bool write, uint64_t *value);

#endif
