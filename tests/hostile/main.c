// SPDX-License-Identifier: Apache-2.0
/* main: of the hostile kernel (hostile.h): serial port, exceptions, the table of modes. Knows no device. */
#include "tests/hostile/hostile.h"

#include <asm/bootparam.h>

enum { SERIAL = 0x3f8, RESET_PORT = 0x64, RESET_PULSE = 0xfe };

volatile uint32_t trap_vector;
volatile uint64_t trap_resume, trap_rip;
uint64_t ram_end_gpa;
static unsigned passed, failed;
extern const uint8_t trap_entries[];

void hostile_main(const struct boot_params *params);

void *memset(void *dst, int byte, size_t bytes)
{
	uint8_t *at = dst;

	while (bytes--)
		*at++ = (uint8_t)byte;
	return dst;
}

void *memcpy(void *dst, const void *src, size_t bytes)
{
	uint8_t *to = dst;
	const uint8_t *from = src;

	while (bytes--)
		*to++ = *from++;
	return dst;
}

int memcmp(const void *a, const void *b, size_t bytes)
{
	const uint8_t *x = a, *y = b;

	for (; bytes; bytes--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

/* ---- what is said ---- */

static void put(const char *text)
{
	for (; *text; text++)
		out8(SERIAL, (uint8_t)*text);
}

static void put_number(uint64_t number)
{
	char digits[24];
	unsigned at = sizeof(digits) - 1;

	digits[at] = '\0';
	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	put(&digits[at]);
}

static void put_hex(uint64_t number)
{
	put("0x");
	for (int shift = 60; shift >= 0; shift -= 4)
		out8(SERIAL, (uint8_t)"0123456789abcdef"[number >> shift & 15]);
}

/* Wild writes to ports may have left the line in loopback or behind the divisor. */
static void serial_ready(void)
{
	out8(SERIAL + 3, 3);
	out8(SERIAL + 4, 0);
}

void say(const char *text, uint64_t number)
{
	serial_ready();
	put("hostile: ");
	put(text);
	put(" ");
	put_number(number);
	put("\n");
}

bool check(bool held, const char *what, const char *of)
{
	serial_ready();
	put(held ? "hostile: ok " : "hostile: NOT OK ");
	put(of);
	put(": ");
	put(what);
	put("\n");
	if (held)
		passed++;
	else
		failed++;
	return held;
}

_Noreturn void machine_reset(void)
{
	for (;;)
		out8(RESET_PORT, RESET_PULSE);
}

void hostile_trapped(uint64_t rip)
{
	serial_ready();
	put("hostile: NOT OK exception ");
	put_number(trap_vector);
	put(" at ");
	put_hex(rip);
	put("\n");
	machine_reset();
}

/* ---- exceptions ---- */

struct gate {
	uint16_t low, selector;
	uint8_t stack, type;
	uint16_t middle;
	uint32_t high, reserved;
} __attribute__((packed));

struct table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static struct gate idt[32];

static void idt_load(void)
{
	struct table table = {sizeof(idt) - 1, (uint64_t)idt};

	for (unsigned i = 0; i < 32; i++) {
		uint64_t at = (uint64_t)trap_entries + 32u * i;

		idt[i] = (struct gate){.low = (uint16_t)at, .selector = 0x10, .type = 0x8e, .middle = (uint16_t)(at >> 16),
				       .high = (uint32_t)(at >> 32)};
	}
	__asm__ volatile("lidt %0" : : "m"(table));
}

/* ---- ways to end ---- */

/* No interrupt will ever come. */
static void end_in_halt(void)
{
	put("hostile: halting with interrupts off\n");
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* Without an exception table the first exception is the last. */
static void end_in_triple_fault(void)
{
	struct table none = {0, 0};

	put("hostile: triple fault\n");
	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}

/* Instructions fetched from registers: KVM can not carry that out and gives up. */
static void end_in_device(void)
{
	put("hostile: running code from a device\n");
	((void (*)(void))(uint64_t)MMIO_FIRST_GPA)();
}

/* Writes to the serial port as fast as it can, control characters and all, and never ends. */
static void end_in_noise(void)
{
	static const char noise[] = "\033[2J\033]0;title\007\xc2\x9b" "2J\r\b\b\b\n";

	for (;;)
		for (unsigned i = 0; i < sizeof(noise); i++)
			out8(SERIAL, (uint8_t)noise[i]);
}

/* ---- modes ---- */

static const struct mode {
	const char *name;
	void (*run)(void);
} modes[] = {
	{"rings", abuse_rings},	    {"registers", abuse_registers}, {"kicks", abuse_kicks},
	{"ports", abuse_ports},	    {"memory", abuse_memory},	    {"cpu", abuse_cpu},
	{"halt", end_in_halt},	    {"triple", end_in_triple_fault}, {"device", end_in_device},
	{"noise", end_in_noise},
};

/* The word after "hostile=" is name. */
static bool mode_is(const char *cmdline, const char *name)
{
	static const char key[] = "hostile=";

	for (; *cmdline; cmdline++) {
		const char *at = cmdline, *want = key;

		while (*want && *at == *want)
			at++, want++;
		if (*want)
			continue;
		for (want = name; *want && *at == *want; at++, want++)
			;
		return !*want && (*at == '\0' || *at == ' ');
	}
	return false;
}

static void ram_find(const struct boot_params *params)
{
	for (unsigned i = 0; i < params->e820_entries; i++) {
		uint64_t end = params->e820_table[i].addr + params->e820_table[i].size;

		if (end <= 0xc0000000 && end > ram_end_gpa)
			ram_end_gpa = end;
	}
}

void hostile_main(const struct boot_params *params)
{
	const char *cmdline = (const char *)(uint64_t)params->hdr.cmd_line_ptr;
	bool ran = false;

	idt_load();
	ram_find(params);
	devices_find();
	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (mode_is(cmdline, modes[i].name)) {
			modes[i].run();
			ran = true;
		}
	check(ran, "the mode exists", "main");
	put("hostile: ");
	put_number(passed);
	put(" checks passed, ");
	put_number(failed);
	put(" failed\n");
	machine_reset();
}
