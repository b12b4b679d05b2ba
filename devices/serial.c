// SPDX-License-Identifier: Apache-2.0
/*
 * serial: the transmitter of a 16550 (PC16550D data sheet, section 8). Owns the tail of the guest's console.
 *
 * Always "transmitter empty", so the guest never waits. Nothing is received and no interrupt is raised.
 */
#include "devices/serial.h"

#include "lib/util.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
	REG_DATA = 0, /* with DLAB: divisor, low byte */
	REG_IER = 1,
	REG_IIR = 2,
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5,
	REG_MSR = 6,
	REG_SCR = 7,
	LCR_DLAB = 0x80,
	LSR_TX_EMPTY = 0x60,  /* THR and shift register empty */
	IIR_NO_INTERRUPT = 0x01,
	MSR_READY = 0xb0, /* DCD, DSR, CTS */
};

struct serial {
	int echo_fd;
	uint8_t regs[SERIAL_PORT_COUNT];
	uint8_t divisor[2];
	char tail[SERIAL_TAIL_BYTES];
	size_t total; /* bytes ever written */
};

struct serial *serial_new(int echo_fd)
{
	struct serial *serial = xcalloc(1, sizeof(*serial));

	serial->echo_fd = echo_fd;
	return serial;
}

void serial_free(struct serial *serial)
{
	free(serial);
}

static void byte_out(struct serial *serial, char byte)
{
	serial->tail[serial->total++ % SERIAL_TAIL_BYTES] = byte;
	if (serial->echo_fd >= 0)
		(void)write_all(serial->echo_fd, &byte, 1);
}

static uint64_t serial_read(void *ctx, uint64_t offset, unsigned width)
{
	struct serial *serial = ctx;
	bool dlab = serial->regs[REG_LCR] & LCR_DLAB;

	(void)width;
	switch (offset) {
	case REG_DATA:
		return dlab ? serial->divisor[0] : 0;
	case REG_IER:
		return dlab ? serial->divisor[1] : serial->regs[REG_IER];
	case REG_IIR:
		return IIR_NO_INTERRUPT;
	case REG_LSR:
		return LSR_TX_EMPTY;
	case REG_MSR:
		return MSR_READY;
	default:
		return serial->regs[offset];
	}
}

static void serial_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct serial *serial = ctx;

	(void)width;
	if (offset <= REG_IER && (serial->regs[REG_LCR] & LCR_DLAB))
		serial->divisor[offset] = (uint8_t)value;
	else if (offset == REG_DATA)
		byte_out(serial, (char)value);
	else
		serial->regs[offset] = (uint8_t)value;
}

const struct bus_ops serial_ops = {
	.read = serial_read,
	.write = serial_write,
};

size_t serial_tail(const struct serial *serial, char *dst, size_t bytes)
{
	size_t have = MIN(MIN(serial->total, (size_t)SERIAL_TAIL_BYTES), bytes);

	for (size_t i = 0; i < have; i++)
		dst[i] = serial->tail[(serial->total - have + i) % SERIAL_TAIL_BYTES];
	return have;
}
