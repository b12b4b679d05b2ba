/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serial: the transmitter of a 16550 on port 0x3f8, enough for earlycon and a debug console. No input, no interrupts.
 * The last SERIAL_TAIL_BYTES are kept, to be shown when a guest dies.
 */
#ifndef DEVICES_SERIAL_H
#define DEVICES_SERIAL_H

#include "devices/bus.h"

#include <stddef.h>

enum {
	SERIAL_PORT = 0x3f8,
	SERIAL_PORT_COUNT = 8,
	SERIAL_TAIL_BYTES = 8192,
};

struct serial;
/* Bytes also go to echo_fd as they come, unless it is -1. */
struct serial *serial_new(int echo_fd);
void serial_free(struct serial *serial);
extern const struct bus_ops serial_ops; /* ctx: the struct serial */

/* Copies the newest output (at most bytes) to dst, oldest byte first; returns how many. */
size_t serial_tail(const struct serial *serial, char *dst, size_t bytes);

#endif
