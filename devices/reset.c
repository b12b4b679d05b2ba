// SPDX-License-Identifier: Apache-2.0
/* reset: port 0x64 of a PC, nothing but its reset pulse. Knows not what a reset means. */
#include "devices/reset.h"

enum { COMMAND_PULSE_RESET = 0xfe };

static uint64_t reset_read(void *ctx, uint64_t offset, unsigned width)
{
	(void)ctx;
	(void)offset;
	(void)width;
	return 0; /* both buffers empty: ready for a command */
}

static void reset_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct reset *reset = ctx;

	(void)offset;
	(void)width;
	if ((value & 0xff) == COMMAND_PULSE_RESET)
		reset->request(reset->ctx);
}

const struct bus_ops reset_ops = {
	.read = reset_read,
	.write = reset_write,
};
