// SPDX-License-Identifier: Apache-2.0
/*
 * serial: the registers of a 16550A (PC16550D data sheet, section 8). Owns the tail of the guest's console.
 *
 * Always "transmitter empty", so the guest never waits. Nothing comes from the line; only in loopback, where drivers look
 * whether there is a chip at all, does a byte written come back, and the modem's inputs follow the outputs. Without an
 * interrupt line IIR says "none pending" even where the transmitter's would be due: Linux notices and polls.
 */
#include "devices/serial.h"

#include "devices/bucket.h"
#include "lib/util.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	REG_DATA = 0, /* with DLAB: divisor, low byte */
	REG_IER = 1,  /* with DLAB: divisor, high byte */
	REG_IIR = 2,  /* written: FCR */
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5,
	REG_MSR = 6,
	REG_SCR = 7,
	IER_ALL = 0x0f,
	FCR_ENABLE = 0x01,
	FCR_CLEAR_RECEIVER = 0x02,
	FCR_KEPT = 0xc1, /* enable and trigger level; the others act at once */
	IIR_NO_INTERRUPT = 0x01,
	IIR_FIFOS = 0xc0,
	LCR_DLAB = 0x80,
	MCR_DTR = 0x01,
	MCR_RTS = 0x02,
	MCR_OUT1 = 0x04,
	MCR_OUT2 = 0x08,
	MCR_LOOP = 0x10,
	MCR_ALL = 0x1f,
	LSR_DATA_READY = 0x01,
	LSR_TX_EMPTY = 0x60, /* THR and shift register empty */
	MSR_CTS = 0x10,
	MSR_DSR = 0x20,
	MSR_RI = 0x40,
	MSR_DCD = 0x80,
};

struct serial {
	int echo_fd;
	uint8_t ier, fcr, lcr, mcr, scr, divisor[2];
	uint8_t received; /* in loopback */
	bool has_received;
	char tail[SERIAL_TAIL_BYTES];
	size_t total; /* bytes ever written */
	/* what is shown */
	char line[SERIAL_LINE_BYTES];
	size_t line_bytes;
	struct bucket bucket;
	uint64_t left_out;
};

struct serial *serial_new(int echo_fd)
{
	struct serial *serial = xcalloc(1, sizeof(*serial));

	serial->echo_fd = echo_fd;
	bucket_init(&serial->bucket, SERIAL_ECHO_BYTES_PER_S, SERIAL_ECHO_BURST_BYTES, clock_mono_ns());
	return serial;
}

/* A write of a line does not block then: a pipe that is ready has a page of room. */
static bool echo_is_ready(const struct serial *serial)
{
	struct pollfd pollfd = {.fd = serial->echo_fd, .events = POLLOUT};

	return poll(&pollfd, 1, 0) == 1 && pollfd.revents & POLLOUT;
}

static void left_out_tell(struct serial *serial)
{
	char text[80];
	int bytes = snprintf(text, sizeof(text), "[%llu bytes of the console were left out]\n",
			     (unsigned long long)serial->left_out);

	serial->left_out = 0;
	(void)write_all(serial->echo_fd, text, (size_t)bytes);
}

static void line_show(struct serial *serial)
{
	size_t bytes = serial->line_bytes;

	serial->line_bytes = 0;
	if (!bytes)
		return;
	if (!echo_is_ready(serial) || bucket_take(&serial->bucket, bytes, clock_mono_ns())) {
		serial->left_out += bytes;
		return;
	}
	if (serial->left_out)
		left_out_tell(serial);
	(void)write_all(serial->echo_fd, serial->line, bytes);
}

void serial_free(struct serial *serial)
{
	if (!serial)
		return;
	line_show(serial);
	if (serial->left_out && echo_is_ready(serial))
		left_out_tell(serial);
	free(serial);
}

static void byte_out(struct serial *serial, char byte)
{
	serial->tail[serial->total++ % SERIAL_TAIL_BYTES] = byte;
	if (serial->echo_fd < 0)
		return;
	serial->line[serial->line_bytes++] = byte;
	if (byte == '\n' || serial->line_bytes == sizeof(serial->line))
		line_show(serial);
}

static void data_write(struct serial *serial, uint8_t byte)
{
	if (!(serial->mcr & MCR_LOOP)) {
		byte_out(serial, (char)byte);
		return;
	}
	serial->received = byte;
	serial->has_received = true;
}

static uint8_t data_read(struct serial *serial)
{
	uint8_t byte = serial->has_received ? serial->received : 0;

	serial->has_received = false;
	return byte;
}

/* The line's other end is always there and ready; in loopback the inputs are the outputs. */
static uint8_t modem_status(const struct serial *serial)
{
	uint8_t mcr = serial->mcr;

	if (!(mcr & MCR_LOOP))
		return MSR_DCD | MSR_DSR | MSR_CTS;
	return (uint8_t)((mcr & MCR_RTS ? MSR_CTS : 0) | (mcr & MCR_DTR ? MSR_DSR : 0) | (mcr & MCR_OUT1 ? MSR_RI : 0) |
			 (mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static uint8_t register_read(struct serial *serial, uint64_t offset)
{
	bool dlab = serial->lcr & LCR_DLAB;

	switch (offset) {
	case REG_DATA:
		return dlab ? serial->divisor[0] : data_read(serial);
	case REG_IER:
		return dlab ? serial->divisor[1] : serial->ier;
	case REG_IIR:
		return serial->fcr & FCR_ENABLE ? IIR_NO_INTERRUPT | IIR_FIFOS : IIR_NO_INTERRUPT;
	case REG_LCR:
		return serial->lcr;
	case REG_MCR:
		return serial->mcr;
	case REG_LSR:
		return serial->has_received ? LSR_TX_EMPTY | LSR_DATA_READY : LSR_TX_EMPTY;
	case REG_MSR:
		return modem_status(serial);
	default:
		return serial->scr;
	}
}

static void fcr_write(struct serial *serial, uint8_t value)
{
	/* Switching the FIFOs on or off empties them. */
	if ((value ^ serial->fcr) & FCR_ENABLE || value & FCR_CLEAR_RECEIVER)
		serial->has_received = false;
	serial->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

static void register_write(struct serial *serial, uint64_t offset, uint8_t value)
{
	if (offset <= REG_IER && serial->lcr & LCR_DLAB) {
		serial->divisor[offset] = value;
		return;
	}
	switch (offset) {
	case REG_DATA:
		data_write(serial, value);
		break;
	case REG_IER:
		serial->ier = value & IER_ALL;
		break;
	case REG_IIR:
		fcr_write(serial, value);
		break;
	case REG_LCR:
		serial->lcr = value;
		break;
	case REG_MCR:
		serial->mcr = value & MCR_ALL;
		break;
	case REG_SCR:
		serial->scr = value;
		break;
	default: /* LSR and MSR tell, they are not told */
		break;
	}
}

/* A wide access is as many narrow ones: the chip has 8 data lines. */
static uint64_t serial_read(void *ctx, uint64_t offset, unsigned width)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < width; i++)
		value |= (uint64_t)register_read(ctx, offset + i) << (8 * i);
	return value;
}

static void serial_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	for (unsigned i = 0; i < width; i++)
		register_write(ctx, offset + i, (uint8_t)(value >> (8 * i)));
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

void serial_save(const struct serial *serial, struct serial_state *state)
{
	*state = (struct serial_state){
		.version = SERIAL_STATE_VERSION,
		.ier = serial->ier,
		.fcr = serial->fcr,
		.lcr = serial->lcr,
		.mcr = serial->mcr,
		.scr = serial->scr,
		.received = serial->received,
		.has_received = serial->has_received,
		.divisor = {serial->divisor[0], serial->divisor[1]},
	};
	state->tail_bytes = (uint32_t)serial_tail(serial, state->tail, sizeof(state->tail));
}

int serial_load(struct serial *serial, const struct serial_state *state)
{
	if (state->version != SERIAL_STATE_VERSION || state->tail_bytes > sizeof(state->tail) || state->has_received > 1 ||
	    state->ier & ~IER_ALL || state->mcr & ~MCR_ALL || state->fcr & ~FCR_KEPT)
		return -EINVAL;
	serial->ier = state->ier;
	serial->fcr = state->fcr;
	serial->lcr = state->lcr;
	serial->mcr = state->mcr;
	serial->scr = state->scr;
	serial->received = state->received;
	serial->has_received = state->has_received;
	memcpy(serial->divisor, state->divisor, sizeof(serial->divisor));
	memcpy(serial->tail, state->tail, state->tail_bytes);
	serial->total = state->tail_bytes;
	return 0;
}
