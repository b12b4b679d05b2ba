/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serial: a 16550A UART on port 0x3f8 with nobody at the other end of its line, enough for earlycon and a debug console.
 * A driver that probes it finds what the chip does, loopback included. There is no interrupt line: none is ever pending.
 * The last SERIAL_TAIL_BYTES are kept, to be shown when a guest dies.
 */
#ifndef DEVICES_SERIAL_H
#define DEVICES_SERIAL_H

#include "devices/bus.h"

#include <stddef.h>
#include <stdint.h>

enum {
	SERIAL_PORT = 0x3f8,
	SERIAL_PORT_COUNT = 8,
	SERIAL_TAIL_BYTES = 8192,
	/* Of what a guest writes so much is shown; beyond it lines are left out and counted. */
	SERIAL_ECHO_BYTES_PER_S = 64 * 1024,
	SERIAL_ECHO_BURST_BYTES = 512 * 1024,
	SERIAL_LINE_BYTES = 512, /* shown when it ends, or is this long */
};

struct serial;
/*
 * Output also goes to echo_fd line by line, unless it is -1: as fast as above, and what a full pipe or terminal does not
 * take is left out, so that the guest never waits for a reader. serial_free() shows the line that has not ended.
 */
struct serial *serial_new(int echo_fd);
void serial_free(struct serial *serial);
extern const struct bus_ops serial_ops; /* ctx: the struct serial */

/* Copies the newest output (at most bytes) to dst, oldest byte first; returns how many. */
size_t serial_tail(const struct serial *serial, char *dst, size_t bytes);

/* Registers and tail. Loading trusts nothing: 0 or -EINVAL, and then nothing has changed. */
enum { SERIAL_STATE_VERSION = 1 };
struct serial_state {
	uint32_t version, tail_bytes;
	uint8_t ier, fcr, lcr, mcr, scr, received, has_received, reserved;
	uint8_t divisor[2], padding[2];
	char tail[SERIAL_TAIL_BYTES]; /* tail_bytes of it, oldest first */
};
void serial_save(const struct serial *serial, struct serial_state *state);
int serial_load(struct serial *serial, const struct serial_state *state);

#endif
