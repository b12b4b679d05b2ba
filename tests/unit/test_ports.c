// SPDX-License-Identifier: Apache-2.0
/* test_ports: devices behind I/O ports as a guest may use them: widths and bounds of the serial port, and the reset port. */
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

static void serial_make(void)
{
	bus = (struct bus){.count = 0};
	serial = serial_new(-1);
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

/* More than it keeps: the newest stay, in order. */
TEST(serial_forgets_the_oldest)
{
	static char tail[SERIAL_TAIL_BYTES + 1];

	serial_make();
	for (unsigned i = 0; i < 3 * SERIAL_TAIL_BYTES + 7; i++)
		out(DATA, i % 251);
	CHECK_INT(serial_tail(serial, tail, sizeof(tail)), SERIAL_TAIL_BYTES);
	for (unsigned i = 0; i < SERIAL_TAIL_BYTES; i++)
		if ((unsigned char)tail[i] != (2 * SERIAL_TAIL_BYTES + 7 + i) % 251)
			CHECK_MSG(false, "the tail is out of order");
	serial_free(serial);
}

/* A wider access counts as its low byte; one over the end belongs to nobody. */
TEST(serial_of_any_width)
{
	char tail[4] = "";

	serial_make();
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
	RUN(serial_forgets_the_oldest);
	RUN(serial_of_any_width);
	RUN(reset_by_its_pulse_alone);
	return test_done();
}
