// SPDX-License-Identifier: Apache-2.0
/*
 * bus: finds the device behind an address. Knows ranges and ops, never what is behind them.
 */
#include "devices/bus.h"

#include "lib/util.h"

#include <errno.h>
#include <stddef.h>

int bus_add(struct bus *bus, uint64_t base, uint64_t bytes, const struct bus_ops *ops, void *ctx)
{
	if (bytes == 0 || add_overflows(base, bytes - 1))
		return -EINVAL;
	for (unsigned i = 0; i < bus->count; i++) {
		const struct bus_range *range = &bus->ranges[i];

		if (base <= range->base + (range->bytes - 1) && range->base <= base + (bytes - 1))
			return -EEXIST;
	}
	if (bus->count == BUS_RANGES_MAX)
		return -ENOSPC;
	bus->ranges[bus->count++] = (struct bus_range){.base = base, .bytes = bytes, .ops = ops, .ctx = ctx};
	return 0;
}

/* The range that holds all of the access; one that straddles an edge belongs to nobody. */
static struct bus_range *range_find(struct bus *bus, uint64_t addr, unsigned width)
{
	for (unsigned i = 0; i < bus->count; i++) {
		struct bus_range *range = &bus->ranges[i];

		if (addr >= range->base && addr - range->base < range->bytes &&
		    width <= range->bytes - (addr - range->base))
			return range;
	}
	return NULL;
}

static uint64_t all_ones(unsigned width)
{
	return width >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * width)) - 1;
}

uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned width)
{
	struct bus_range *range = range_find(bus, addr, width);

	if (!range || !range->ops->read)
		return all_ones(width);
	return range->ops->read(range->ctx, addr - range->base, width) & all_ones(width);
}

void bus_write(struct bus *bus, uint64_t addr, unsigned width, uint64_t value)
{
	struct bus_range *range = range_find(bus, addr, width);

	if (range && range->ops->write)
		range->ops->write(range->ctx, addr - range->base, width, value & all_ones(width));
}

bool bus_access_unlocked(struct bus *bus, uint64_t addr, unsigned width, bool write, uint64_t *value)
{
	struct bus_range *range = range_find(bus, addr, width);

	return range && range->ops->unlocked &&
	       range->ops->unlocked(range->ctx, addr - range->base, width, write, value);
}
