// SPDX-License-Identifier: Apache-2.0
/* machine: the hostile kernel's abuse of ports, of addresses where nothing is, of MSRs, CPUID and hypercalls. */
#include "tests/hostile/hostile.h"

enum {
	RESET_PORT = 0x64,
	SERIAL_FIRST = 0x3f8,
	SERIAL_LAST = 0x3ff,
	TRACE_PORT = 0x3f0,
	HOLE_STEP = 0x100000 + 0x1000, /* about each MiB, a page further each time */
	SCRATCH_BYTES = 8192,
	PORTS_OF_A_PC = 0x400,
};

static uint8_t scratch[SCRATCH_BYTES] __attribute__((aligned(4096)));

static void check_all(const char *after)
{
	for (unsigned i = 0; i < device_count; i++)
		check_world(&devices[i], after);
}

/* ---- ports ---- */

/* The serial port is our voice. */
static bool is_ours(unsigned port)
{
	return port + 3 >= SERIAL_FIRST && port <= SERIAL_LAST;
}

static void strings_try(uint16_t port)
{
	void *at = scratch;
	uint64_t count = SCRATCH_BYTES;

	__asm__ volatile("rep insb" : "+D"(at), "+c"(count) : "d"(port) : "memory");
	at = scratch;
	count = SCRATCH_BYTES / 4;
	__asm__ volatile("rep insl" : "+D"(at), "+c"(count) : "d"(port) : "memory");
	memset(scratch, 0, sizeof(scratch)); /* no reset among what goes out */
	at = scratch;
	count = SCRATCH_BYTES;
	__asm__ volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(port) : "memory");
	at = scratch;
	count = SCRATCH_BYTES / 2;
	__asm__ volatile("rep outsw" : "+S"(at), "+c"(count) : "d"(port) : "memory");
}

/* The serial port's other registers: any value, then as it was. */
static void serial_try(void)
{
	for (unsigned value = 0; value < 256; value++)
		for (uint16_t port = SERIAL_FIRST + 1; port <= SERIAL_LAST; port++) {
			out8(port, (uint8_t)value);
			in8(port);
		}
	out8(SERIAL_FIRST + 3, 0x80);
	out8(SERIAL_FIRST, 1);
	out8(SERIAL_FIRST + 1, 0);
	out8(SERIAL_FIRST + 3, 3);
	check(in8(SERIAL_FIRST + 5) & 0x20, "the serial port still sends", "ports");
}

void abuse_ports(void)
{
	for (unsigned port = 0; port < 65536; port++) {
		if (is_ours(port))
			continue;
		in8((uint16_t)port);
		if (port % 7 == 0 || port < PORTS_OF_A_PC) {
			out8((uint16_t)port, 0);
			in16((uint16_t)port);
			in32((uint16_t)port);
			out16((uint16_t)port, 0);
			out32((uint16_t)port, 0xffffffff);
		}
	}
	check_all("every port");
	strings_try(0x80);
	strings_try(TRACE_PORT);
	strings_try(RESET_PORT);
	check_all("string instructions");
	serial_try();
}

/* ---- addresses ---- */

/*
 * Above 4 GiB nothing is mapped by podvm's page tables: a page directory of our own maps, at 4 GiB, 1 GiB of physical
 * addresses from anywhere.
 */
static uint64_t directory[512] __attribute__((aligned(4096)));

static uint64_t far_map(uint64_t gpa)
{
	volatile uint64_t *pml4, *pdpt;
	uint64_t cr3;

	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	pml4 = (volatile uint64_t *)(cr3 & ~UINT64_C(0xfff));
	pdpt = (volatile uint64_t *)(pml4[0] & ~UINT64_C(0xfff));
	for (unsigned i = 0; i < 512; i++)
		directory[i] = (gpa + ((uint64_t)i << 21)) | 0x83;
	pdpt[4] = (uint64_t)directory | 3;
	__asm__ volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
	return UINT64_C(1) << 32;
}

static void poke(uint64_t address)
{
	for (unsigned width = 1; width <= 8; width *= 2) {
		probe_read(address, width);
		probe_read(address + 4096 - width / 2, width); /* over the edge of a page */
		probe_write(address, width, UINT64_MAX);
	}
}

void abuse_memory(void)
{
	static const uint64_t far[] = {UINT64_C(1) << 32, UINT64_C(1) << 36, UINT64_C(1) << 39, UINT64_C(1) << 46,
				       UINT64_C(1) << 51};

	for (uint64_t gpa = ram_end_gpa; gpa < 0xfec00000 - 0x2000; gpa += HOLE_STEP)
		if (gpa < MMIO_FIRST_GPA - 0x2000 || gpa >= MMIO_FIRST_GPA + MMIO_SLOTS * MMIO_SLOT_BYTES)
			poke(gpa);
	for (unsigned slot = device_count; slot < 64; slot++)
		poke(MMIO_FIRST_GPA + (uint64_t)slot * MMIO_SLOT_BYTES);
	check_all("holes below 4 GiB");
	for (unsigned i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
		uint64_t at = far_map(far[i]);

		for (uint64_t offset = 0; offset < 1 << 30; offset += UINT64_C(64) << 20)
			poke(at + offset);
	}
	check_all("addresses above 4 GiB");
	for (unsigned i = 0; i < device_count; i++) {
		probe_odd_instructions(devices[i].gpa);
		probe_odd_instructions(devices[i].gpa + REG_CONFIG);
	}
	check_all("odd instructions on registers");
}

/* ---- the CPU ---- */

static void cpuid_all(uint32_t first, uint32_t count)
{
	for (uint32_t leaf = first; leaf != first + count; leaf++)
		for (uint32_t sub = 0; sub < 4; sub++) {
			uint32_t eax = leaf, ebx, ecx = sub, edx;

			__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
		}
}

/* Those we live by: the local APIC's base, EFER, segment bases. */
static bool msr_is_vital(uint32_t msr)
{
	return msr == 0x1b || msr == 0x10 || (msr >= 0xc0000080 && msr <= 0xc0000084) ||
	       (msr >= 0xc0000100 && msr <= 0xc0000103);
}

/* Reads, and writes what was read, everything and nothing. */
static unsigned msrs_try(uint32_t first, uint32_t count)
{
	unsigned there = 0;

	for (uint32_t msr = first; msr != first + count; msr++) {
		uint64_t value = 0;

		if (!probe_rdmsr(msr, &value)) {
			if (msr % 16 == 0)
				probe_wrmsr(msr, 1);
			continue;
		}
		there++;
		if (msr_is_vital(msr))
			continue;
		probe_wrmsr(msr, UINT64_MAX);
		probe_wrmsr(msr, UINT64_C(1) << 40 | 1);
		probe_wrmsr(msr, value);
	}
	return there;
}

/* KVM's own: addresses in guest memory that the host writes to. None of these is memory. */
static void paravirtual_try(void)
{
	static const uint32_t msrs[] = {0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04, 0x4b564d05,
					0x4b564d06, 0x4b564d07, 0x4b564d08};
	const uint64_t values[] = {1, MMIO_FIRST_GPA | 1, ram_end_gpa | 1, ram_end_gpa - 8 + 1, UINT64_MAX, 0xfffffffffffff001,
				   UINT64_C(1) << 51 | 1, 0};

	for (unsigned m = 0; m < sizeof(msrs) / sizeof(msrs[0]); m++)
		for (unsigned v = 0; v < sizeof(values) / sizeof(values[0]); v++)
			if (values[v] != 1) /* page 0 is memory: the GDT lies there */
				probe_wrmsr(msrs[m], values[v]);
}

static void hypercalls_try(void)
{
	static const uint64_t arguments[] = {0, 1, UINT64_MAX, 0xd0000000, 0x4b564d00};

	for (uint64_t number = 0; number < 64; number++)
		for (unsigned i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++) {
			probe_vmcall(number, arguments[i]);
			probe_vmmcall(number, arguments[i]);
		}
	probe_vmcall(UINT64_MAX, 0);
	probe_vmmcall(UINT64_MAX, 0);
}

void abuse_cpu(void)
{
	cpuid_all(0, 0x40);
	cpuid_all(0x40000000, 0x110);
	cpuid_all(0x80000000, 0x40);
	cpuid_all(0xfffffff0, 0x10);
	check_all("CPUID");
	say("MSRs that are there:", msrs_try(0, 0x1000) + msrs_try(0x4b564d00, 0x10) + msrs_try(0xc0000000, 0x400) +
					    msrs_try(0xc0010000, 0x200) + msrs_try(0x40000000, 0x100));
	check_all("MSRs");
	paravirtual_try();
	check_all("paravirtual MSRs");
	hypercalls_try();
	check_all("hypercalls");
}
