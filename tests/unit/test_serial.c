// SPDX-License-Identifier: Apache-2.0
/* test_serial: devices/serial.c as a driver that probes it sees it, and what is shown of a guest's output. */
#include "devices/serial.h"

#include "lib/util.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static uint8_t in(struct serial *serial, unsigned reg)
{
	return (uint8_t)serial_ops.read(serial, reg, 1);
}

static void out(struct serial *serial, unsigned reg, uint8_t value)
{
	serial_ops.write(serial, reg, 1, value);
}

static void print(struct serial *serial, const char *text)
{
	for (; *text; text++)
		out(serial, DATA, (uint8_t)*text);
}

TEST(serial_keeps_its_tail)
{
	struct serial *serial = serial_new(-1);
	char tail[SERIAL_TAIL_BYTES];

	CHECK_INT(serial_tail(serial, tail, sizeof(tail)), 0);
	for (unsigned i = 0; i < SERIAL_TAIL_BYTES + 10; i++)
		serial_ops.write(serial, 0, 1, 'a' + i % 26);
	CHECK_INT(serial_tail(serial, tail, sizeof(tail)), SERIAL_TAIL_BYTES);
	CHECK_INT(tail[0], 'a' + 10);
	CHECK_INT(serial_tail(serial, tail, 3), 3);
	CHECK_INT(tail[2], 'a' + (SERIAL_TAIL_BYTES + 9) % 26);
	serial_free(serial);
}

TEST(serial_divisor_is_no_output)
{
	struct serial *serial = serial_new(-1);
	char tail[8];

	serial_ops.write(serial, 3, 1, 0x80);
	serial_ops.write(serial, 0, 1, 'x');
	CHECK_INT(serial_ops.read(serial, 0, 1), 'x');
	serial_ops.write(serial, 3, 1, 3);
	CHECK_INT(serial_tail(serial, tail, sizeof(tail)), 0);
	CHECK_INT(serial_ops.read(serial, 5, 1) & 0x20, 0x20);
	serial_ops.write(serial, 0, 1, 'y');
	CHECK_INT(serial_tail(serial, tail, sizeof(tail)), 1);
	serial_free(serial);
}

/* The steps of Linux' autoconfig(), in its order. */
TEST(linux_finds_a_16550a)
{
	struct serial *serial = serial_new(-1);

	out(serial, IER, 0);
	CHECK_INT(in(serial, IER), 0);
	out(serial, IER, 0xff);
	CHECK_INT(in(serial, IER), 0x0f);
	out(serial, IER, 0);
	out(serial, MCR, 0x1a); /* loop, OUT2, RTS */
	CHECK_INT(in(serial, MSR) & 0xf0, 0x90);
	out(serial, MCR, 0);
	CHECK_INT(in(serial, MSR), 0xb0);
	CHECK_INT(in(serial, IIR), 0x01);
	out(serial, IIR, 0x01);
	CHECK_INT(in(serial, IIR), 0xc1);
	out(serial, LCR, 0x80);
	out(serial, IIR, 0x21); /* no 64-byte FIFO: no 16750 */
	CHECK_INT(in(serial, IIR) & 0x20, 0);
	out(serial, IIR, 0);
	out(serial, LCR, 0);
	CHECK_INT(in(serial, IIR), 0x01);
	out(serial, SCR, 0xa5);
	CHECK_INT(in(serial, SCR), 0xa5);
	serial_free(serial);
}

TEST(what_is_written_reads_back)
{
	struct serial *serial = serial_new(-1);
	char tail[4];

	out(serial, LCR, 0x83);
	serial_ops.write(serial, DATA, 2, 0x1234); /* both bytes of the divisor at once */
	CHECK_INT(in(serial, DATA), 0x34);
	CHECK_INT(in(serial, IER), 0x12);
	CHECK_INT(serial_ops.read(serial, DATA, 2), 0x1234);
	CHECK_INT(in(serial, LCR), 0x83);
	out(serial, LCR, 3);
	CHECK_INT(in(serial, IER), 0);
	out(serial, MCR, 0xff);
	CHECK_INT(in(serial, MCR), 0x1f);
	out(serial, MCR, 0x0b);
	CHECK_INT(in(serial, LSR), 0x60);
	out(serial, LSR, 0xff);
	CHECK_INT(in(serial, LSR), 0x60);
	out(serial, MSR, 0x0f);
	CHECK_INT(in(serial, MSR), 0xb0);
	out(serial, IER, 2);
	CHECK_INT(in(serial, IIR), 0x01);
	CHECK_INT(serial_tail(serial, tail, sizeof(tail)), 0);
	serial_free(serial);
}

TEST(loopback_gives_back)
{
	struct serial *serial = serial_new(-1);
	char tail[4];

	CHECK_INT(in(serial, DATA), 0);
	out(serial, MCR, 0x10);
	CHECK_INT(in(serial, MSR), 0);
	out(serial, MCR, 0x15); /* DTR, OUT1 */
	CHECK_INT(in(serial, MSR), 0x60);
	out(serial, DATA, 0xae);
	CHECK_INT(in(serial, LSR), 0x61);
	CHECK_INT(in(serial, DATA), 0xae);
	CHECK_INT(in(serial, LSR), 0x60);
	out(serial, DATA, 1);
	out(serial, IIR, 0x03); /* empties the receiver */
	CHECK_INT(in(serial, LSR), 0x60);
	CHECK_INT(serial_tail(serial, tail, sizeof(tail)), 0);
	serial_free(serial);
}

/* Reads all there is. */
static size_t drain(int fd, char *text, size_t room)
{
	size_t have = 0;
	ssize_t got;

	while (have < room && (got = read(fd, text + have, room - have)) > 0)
		have += (size_t)got;
	return have;
}

TEST(lines_are_shown)
{
	struct serial *serial;
	int fds[2];
	char text[2000];

	CHECK_INT(pipe2(fds, O_NONBLOCK), 0);
	serial = serial_new(fds[1]);
	print(serial, "one\ntw");
	CHECK_INT(drain(fds[0], text, sizeof(text)), 4);
	CHECK_MEM(text, "one\n", 4);
	print(serial, "o\n");
	CHECK_INT(drain(fds[0], text, sizeof(text)), 4);
	for (unsigned i = 0; i < SERIAL_LINE_BYTES + 1; i++)
		out(serial, DATA, 'x');
	CHECK_INT(drain(fds[0], text, sizeof(text)), SERIAL_LINE_BYTES);
	serial_free(serial);
	CHECK_INT(drain(fds[0], text, sizeof(text)), 1);
	close(fds[0]);
	close(fds[1]);
}

/* A pipe that nobody reads: the guest does not wait, and the reader is told what is missing. */
TEST(a_reader_that_is_slow_misses_lines)
{
	static char text[1 << 20];
	struct serial *serial;
	size_t have, shown = 0, left_out = 0;
	int fds[2];

	CHECK_INT(pipe2(fds, O_CLOEXEC), 0); /* it would block */
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	serial = serial_new(fds[1]);
	for (unsigned i = 0; i < 2000; i++)
		print(serial, "0123456789012345678901234567890123456789012345678901234567890123456789012345678\n");
	have = drain(fds[0], text, sizeof(text));
	CHECK(have < 100000);
	print(serial, "after\n");
	have += drain(fds[0], text + have, sizeof(text) - have - 1);
	text[have] = '\0';
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (sscanf(line, "[%zu bytes", &left_out) != 1 && line[0] == '0')
			shown += 80;
	CHECK(left_out > 0);
	CHECK_INT(shown + left_out, 2000 * 80);
	serial_free(serial);
	close(fds[0]);
	close(fds[1]);
}

TEST(a_flood_is_cut)
{
	struct serial *serial;
	off_t shown;
	char path[] = "/tmp/test_serial.XXXXXX";
	int fd = mkstemp(path);

	if (!CHECK(fd >= 0))
		return;
	unlink(path);
	serial = serial_new(fd);
	for (unsigned i = 0; i < 2 * SERIAL_ECHO_BURST_BYTES / 64; i++)
		print(serial, "a line of 64 bytes of the flood that a guest may send to stderr\n");
	shown = lseek(fd, 0, SEEK_END);
	CHECK(shown >= SERIAL_ECHO_BURST_BYTES);
	/* however slow this test ran */
	CHECK(shown < 2 * SERIAL_ECHO_BURST_BYTES);
	serial_free(serial);
	CHECK(lseek(fd, 0, SEEK_END) > shown); /* what is missing was told */
	close(fd);
}

TEST(state_moves)
{
	struct serial *serial = serial_new(-1), *other = serial_new(-1);
	struct serial_state *state = xcalloc(1, sizeof(*state)), *bad = xcalloc(1, sizeof(*bad));
	char tail[SERIAL_TAIL_BYTES];

	for (unsigned i = 0; i < SERIAL_TAIL_BYTES; i++)
		out(serial, DATA, 'a');
	print(serial, "the end");
	out(serial, LCR, 0x80);
	out(serial, DATA, 12);
	out(serial, IER, 1);
	out(serial, LCR, 3);
	out(serial, IER, 5);
	out(serial, IIR, 0x81);
	out(serial, SCR, 77);
	out(serial, MCR, 0x13);
	out(serial, DATA, 'L');
	serial_save(serial, state);
#define REFUSED(change)                                    \
	do {                                               \
		*bad = *state;                             \
		change;                                    \
		CHECK_INT(serial_load(other, bad), -EINVAL); \
	} while (0)
	REFUSED(bad->version++);
	REFUSED(bad->tail_bytes = SERIAL_TAIL_BYTES + 1);
	REFUSED(bad->ier = 0x10);
	REFUSED(bad->mcr = 0x20);
	REFUSED(bad->fcr = 2);
	REFUSED(bad->has_received = 2);
#undef REFUSED
	CHECK_INT(in(other, SCR), 0);
	CHECK_INT(serial_load(other, state), 0);
	CHECK_INT(in(other, IER), 5);
	CHECK_INT(in(other, IIR), 0xc1);
	CHECK_INT(in(other, LCR), 3);
	CHECK_INT(in(other, MCR), 0x13);
	CHECK_INT(in(other, SCR), 77);
	CHECK_INT(in(other, LSR), 0x61);
	CHECK_INT(in(other, DATA), 'L');
	out(other, LCR, 0x80);
	CHECK_INT(in(other, DATA), 12);
	CHECK_INT(in(other, IER), 1);
	out(other, LCR, 3);
	out(other, MCR, 3);
	print(other, "!");
	CHECK_INT(serial_tail(other, tail, sizeof(tail)), SERIAL_TAIL_BYTES);
	CHECK_MEM(tail + SERIAL_TAIL_BYTES - 9, "athe end!", 9);
	free(state);
	free(bad);
	serial_free(serial);
	serial_free(other);
}

int main(void)
{
	RUN(serial_keeps_its_tail);
	RUN(serial_divisor_is_no_output);
	RUN(linux_finds_a_16550a);
	RUN(what_is_written_reads_back);
	RUN(loopback_gives_back);
	RUN(lines_are_shown);
	RUN(a_reader_that_is_slow_misses_lines);
	RUN(a_flood_is_cut);
	RUN(state_moves);
	return test_done();
}
