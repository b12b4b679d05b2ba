// SPDX-License-Identifier: Apache-2.0
/* test_ports: devices behind I/O ports: the serial port's transmitter and the reset port, as a guest may use them. */
#include "devices/bus.h"
#include "devices/reset.h"
#include "devices/serial.h"
#include "lib/util.h"
#include "tests/unit/test.h"

#include <stdlib.h>
#include <unistd.h>

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, DLAB = 0x80 };

static struct bus bus;
static struct serial *serial;

static void serial_make(int echo_fd)
{
	bus = (struct bus){.count = 0};
	serial = serial_new(echo_fd);
	CHECK_INT(bus_add(&bus, SERIAL_PORT, SERIAL_PORT_COUNT, &serial_ops, serial), 0);
}

static void out(unsigned reg, unsigned value)
{
	bus_write(&bus, SERIAL_PORT + reg, 1, value);
}

static unsigned in(unsigned reg)
{
	return (unsigned)bus_read(&bus, SERIAL_PORT + reg, 1);
}

static void put(const char *text)
{
	while (*text)
		out(DATA, (unsigned char)*text++);
}

TEST(serial_keeps_what_was_sent)
{
	char tail[16] = "";

	serial_make(-1);
	CHECK_INT(serial_tail(serial, tail, sizeof(tail)), 0);
	put("hello");
	CHECK_INT(serial_tail(serial, tail, sizeof(tail)), 5);
	CHECK_MEM(tail, "hello", 5);
	CHECK_INT(serial_tail(serial, tail, 2), 2);
	CHECK_MEM(tail, "lo", 2);
	serial_free(serial);
}

/* More than it keeps: the newest stay, in order. */
TEST(serial_forgets_the_oldest)
{
	static char tail[SERIAL_TAIL_BYTES + 1];

	serial_make(-1);
	for (unsigned i = 0; i < 3 * SERIAL_TAIL_BYTES + 7; i++)
		out(DATA, i % 251);
	CHECK_INT(serial_tail(serial, tail, sizeof(tail)), SERIAL_TAIL_BYTES);
	for (unsigned i = 0; i < SERIAL_TAIL_BYTES; i++)
		if ((unsigned char)tail[i] != (2 * SERIAL_TAIL_BYTES + 7 + i) % 251)
			CHECK_MSG(false, "the tail is out of order");
	serial_free(serial);
}

TEST(serial_echoes)
{
	int ends[2];
	char got[8] = "";

	CHECK_INT(pipe(ends), 0);
	serial_make(ends[1]);
	put("abc");
	CHECK_INT(read(ends[0], got, sizeof(got)), 3);
	CHECK_STR(got, "abc");
	serial_free(serial);
	close(ends[0]);
	close(ends[1]);
}

TEST(serial_registers)
{
	char byte;

	serial_make(-1);
	CHECK_INT(in(LSR), 0x60); /* a driver never waits */
	CHECK_INT(in(IIR), 1);	  /* nor is it interrupted */
	CHECK_INT(in(MSR), 0xb0);
	CHECK_INT(in(DATA), 0); /* nothing is received */
	out(SCR, 0x5a);
	out(IER, 0x0f);
	out(MCR, 0x0b);
	CHECK_INT(in(SCR), 0x5a);
	CHECK_INT(in(IER), 0x0f);
	CHECK_INT(in(MCR), 0x0b);
	/* the divisor lies behind DLAB, and setting it sends nothing */
	out(LCR, DLAB | 3);
	out(DATA, 0x34);
	out(IER, 0x12);
	CHECK_INT(in(DATA), 0x34);
	CHECK_INT(in(IER), 0x12);
	out(LCR, 3);
	CHECK_INT(in(IER), 0x0f);
	CHECK_INT(serial_tail(serial, &byte, 1), 0);
	/* status can not be written */
	out(LSR, 0);
	out(IIR, 0xff);
	CHECK_INT(in(LSR), 0x60);
	CHECK_INT(in(IIR), 1);
	serial_free(serial);
}

/* A wider access counts as its low byte; one over the end belongs to nobody. */
TEST(serial_of_any_width)
{
	char tail[4] = "";

	serial_make(-1);
	bus_write(&bus, SERIAL_PORT, 4, 0x64636261);
	CHECK_INT(serial_tail(serial, tail, sizeof(tail)), 1);
	CHECK_STR(tail, "a");
	bus_write(&bus, SERIAL_PORT + SCR, 2, 0x1234);
	CHECK_INT(in(SCR), 0);
	CHECK_INT(bus_read(&bus, SERIAL_PORT + SCR, 2), 0xffff);
	CHECK_INT(bus_read(&bus, SERIAL_PORT - 1, 2), 0xffff);
	serial_free(serial);
}

static void count(void *ctx)
{
	++*(unsigned *)ctx;
}

TEST(reset_by_its_pulse_alone)
{
	unsigned requests = 0;
	struct reset reset = {.request = count, .ctx = &requests};

	bus = (struct bus){.count = 0};
	CHECK_INT(bus_add(&bus, RESET_PORT, RESET_PORT_COUNT, &reset_ops, &reset), 0);
	CHECK_INT(bus_read(&bus, RESET_PORT, 1), 0); /* ready for a command */
	for (unsigned value = 0; value < 256; value++)
		if (value != 0xfe)
			bus_write(&bus, RESET_PORT, 1, value);
	CHECK_INT(requests, 0);
	bus_write(&bus, RESET_PORT, 1, 0xfe);
	CHECK_INT(requests, 1);
}

int main(void)
{
	RUN(serial_keeps_what_was_sent);
	RUN(serial_forgets_the_oldest);
	RUN(serial_echoes);
	RUN(serial_registers);
	RUN(serial_of_any_width);
	RUN(reset_by_its_pulse_alone);
	return test_done();
}
