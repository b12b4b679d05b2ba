/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reset: the one thing of a PC keyboard controller a guest needs, the reset pulse: writing 0xfe to port 0x64
 * (Linux: reboot=k). Status reads as "ready", so that nobody waits. It remembers nothing, so there is no state to save.
 */
#ifndef DEVICES_RESET_H
#define DEVICES_RESET_H

#include "devices/bus.h"

enum { RESET_PORT = 0x64, RESET_PORT_COUNT = 1 };

struct reset {
	void (*request)(void *ctx);
	void *ctx;
};

extern const struct bus_ops reset_ops; /* ctx: a struct reset of the caller's */

#endif
