// SPDX-License-Identifier: Apache-2.0
/*
 * boot_x86_64: what an x86-64 kernel finds when it starts: boot_params, page tables, GDT, MP table.
 *
 * Theory of operation
 * -------------------
 * Guest memory below 1 MiB, all of it listed as usable RAM up to the EBDA:
 *
 *	0x00500  GDT
 *	0x07000  boot_params ("zero page")
 *	0x09000  page tables: PML4, PDPT, four page directories mapping the first 4 GiB by 2 MiB pages
 *	0x20000  command line
 *	0x9fc00  top of low RAM
 *	0xf0000  MP table: the BIOS area, where the kernel looks last and finds it at the first step
 *
 * The kernel enters in 64-bit mode with paging on and rsi at boot_params (boot.rst, "64-bit Boot Protocol"). The MP
 * table (MultiProcessor Specification 1.4) tells it of the CPUs and of the I/O APIC's interrupt lines; there is no ACPI.
 * The alternative, PVH entry, starts in 32-bit mode and makes the kernel do the page tables again.
 */
#include "lib/util.h"
#include "vm/boot_image.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <string.h>

enum {
	GDT_GPA = 0x500,
	PARAMS_GPA = 0x7000,
	STACK_GPA = 0x8ff0,
	PAGE_TABLES_GPA = 0x9000,
	CMDLINE_GPA = 0x20000,
	EBDA_GPA = 0x9fc00,
	MP_GPA = 0xf0000,
	HIGH_RAM_GPA = 0x100000,
	PAGE_DIRECTORIES = 4,
	PTE_PRESENT_WRITE = 3,
	PTE_LARGE = 0x80,
	BZIMAGE_SETUP_OFFSET = 0x1f1,
	BZIMAGE_ENTRY64_OFFSET = 0x200,
	BZIMAGE_VERSION_MIN = 0x020c, /* first with xloadflags */
	E820_USABLE = 1,
	LOADER_UNDEFINED = 0xff,
	IOAPIC_LINES = 24,
	IOAPIC_GPA = 0xfec00000,
	LAPIC_GPA = 0xfee00000,
	LAPIC_VERSION = 0x14,
	IOAPIC_VERSION = 0x11,
};

#define BZIMAGE_MAGIC 0x53726448u /* "HdrS" */

/* ---- tables the CPU wants ---- */

static void gdt_write(const struct mem *mem)
{
	static const uint64_t gdt[] = {
		0,
		0,
		0x00af9b000000ffff, /* 0x10: 64-bit code */
		0x00cf93000000ffff, /* 0x18: data */
		0x008f8b000000ffff, /* 0x20: task state */
		0,
	};

	mem_write(mem, GDT_GPA, gdt, sizeof(gdt));
}

static void page_tables_write(const struct mem *mem)
{
	uint64_t *pml4 = mem_ptr(mem, PAGE_TABLES_GPA, (2 + PAGE_DIRECTORIES) * 4096);
	uint64_t *pdpt = pml4 + 512, *pd = pdpt + 512;

	pml4[0] = (PAGE_TABLES_GPA + 0x1000) | PTE_PRESENT_WRITE;
	for (unsigned i = 0; i < PAGE_DIRECTORIES; i++)
		pdpt[i] = (PAGE_TABLES_GPA + 0x2000 + 0x1000 * (uint64_t)i) | PTE_PRESENT_WRITE;
	for (uint64_t i = 0; i < PAGE_DIRECTORIES * 512; i++)
		pd[i] = i << 21 | PTE_PRESENT_WRITE | PTE_LARGE;
}

/* ---- MP table (MultiProcessor Specification 1.4, chapter 4) ---- */

struct mp_floating {
	char signature[4];
	uint32_t table_gpa;
	uint8_t length, version, checksum, features[5];
} __attribute__((packed));

struct mp_table {
	char signature[4];
	uint16_t length;
	uint8_t version, checksum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_bytes, entries;
	uint32_t lapic_gpa;
	uint32_t reserved;
} __attribute__((packed));

struct mp_cpu {
	uint8_t type, apic_id, version, flags;
	uint32_t signature, features, reserved[2];
} __attribute__((packed));

struct mp_bus {
	uint8_t type, id;
	char name[6];
} __attribute__((packed));

struct mp_ioapic {
	uint8_t type, id, version, flags;
	uint32_t gpa;
} __attribute__((packed));

struct mp_interrupt {
	uint8_t type, kind;
	uint16_t flags;
	uint8_t source_bus, source_irq, target_apic, target_line;
} __attribute__((packed));

enum {
	MP_CPU = 0,
	MP_BUS = 1,
	MP_IOAPIC = 2,
	MP_IO_INTERRUPT = 3,
	MP_LOCAL_INTERRUPT = 4,
	MP_KIND_INT = 0,
	MP_KIND_NMI = 1,
	MP_KIND_EXTINT = 3,
	MP_ACTIVE_HIGH_EDGE = 5,
	MP_CPU_ENABLED = 1,
	MP_CPU_BOOT = 2,
	MP_ALL_LAPICS = 0xff,
};

static uint8_t checksum(const void *data, size_t bytes)
{
	const uint8_t *at = data;
	uint8_t sum = 0;

	while (bytes--)
		sum = (uint8_t)(sum + *at++);
	return (uint8_t)-sum;
}

/* Appends one entry to the table that grows at *end. */
static void mp_add(struct mp_table *table, uint8_t **end, const void *entry, size_t bytes)
{
	memcpy(*end, entry, bytes);
	*end += bytes;
	table->entries++;
}

static void mp_cpus_add(struct mp_table *table, uint8_t **end, unsigned vcpus)
{
	for (unsigned i = 0; i < vcpus; i++) {
		struct mp_cpu cpu = {
			.type = MP_CPU,
			.apic_id = (uint8_t)i,
			.version = LAPIC_VERSION,
			.flags = MP_CPU_ENABLED | (i == 0 ? MP_CPU_BOOT : 0),
			.signature = 0x600,
			.features = 0x201, /* FPU, APIC */
		};

		mp_add(table, end, &cpu, sizeof(cpu));
	}
}

static void mp_interrupts_add(struct mp_table *table, uint8_t **end, uint8_t ioapic_id)
{
	struct mp_interrupt local = {.type = MP_LOCAL_INTERRUPT, .target_apic = MP_ALL_LAPICS};

	for (unsigned line = 0; line < IOAPIC_LINES; line++) {
		struct mp_interrupt entry = {
			.type = MP_IO_INTERRUPT,
			.kind = MP_KIND_INT,
			.flags = MP_ACTIVE_HIGH_EDGE,
			.source_irq = (uint8_t)line,
			.target_apic = ioapic_id,
			.target_line = (uint8_t)line,
		};

		mp_add(table, end, &entry, sizeof(entry));
	}
	local.kind = MP_KIND_EXTINT;
	mp_add(table, end, &local, sizeof(local));
	local.kind = MP_KIND_NMI;
	local.target_line = 1;
	mp_add(table, end, &local, sizeof(local));
}

static void mp_write(const struct mem *mem, unsigned vcpus)
{
	uint8_t *area = mem_ptr(mem, MP_GPA, 4096), *end;
	struct mp_floating *floating = (void *)area;
	struct mp_table *table = (void *)(area + sizeof(*floating));
	struct mp_bus bus = {.type = MP_BUS, .name = "ISA   "};
	struct mp_ioapic ioapic = {
		.type = MP_IOAPIC, .id = (uint8_t)vcpus, .version = IOAPIC_VERSION, .flags = 1, .gpa = IOAPIC_GPA};

	*floating = (struct mp_floating){
		.signature = "_MP_", .table_gpa = MP_GPA + sizeof(*floating), .length = 1, .version = 4};
	floating->checksum = checksum(floating, sizeof(*floating));
	*table = (struct mp_table){
		.signature = "PCMP", .version = 4, .oem = "PODVM   ", .product = "PODVM       ", .lapic_gpa = LAPIC_GPA};
	end = (uint8_t *)(table + 1);
	mp_cpus_add(table, &end, vcpus);
	mp_add(table, &end, &bus, sizeof(bus));
	mp_add(table, &end, &ioapic, sizeof(ioapic));
	mp_interrupts_add(table, &end, ioapic.id);
	table->length = (uint16_t)(end - (uint8_t *)table);
	table->checksum = checksum(table, table->length);
}

/* ---- what the kernel wants ---- */

static void e820_add(struct boot_params *params, uint64_t gpa, uint64_t bytes)
{
	params->e820_table[params->e820_entries++] =
		(struct boot_e820_entry){.addr = gpa, .size = bytes, .type = E820_USABLE};
}

static void memory_map_fill(struct boot_params *params, const struct mem *mem)
{
	e820_add(params, 0, EBDA_GPA);
	e820_add(params, HIGH_RAM_GPA, mem->regions[0].bytes - HIGH_RAM_GPA);
	for (unsigned i = 1; i < mem->count; i++)
		e820_add(params, mem->regions[i].gpa, mem->regions[i].bytes);
}

/* The protected-mode part of a bzImage goes where the file wishes; its 64-bit entry is at a fixed offset. */
static int bzimage_load(const struct boot_config *config, struct setup_header *hdr, uint64_t *entry_gpa, uint64_t *end_gpa,
			const char **why)
{
	uint64_t setup_bytes = ((hdr->setup_sects ? hdr->setup_sects : 4u) + 1) * 512u;
	uint64_t gpa = hdr->pref_address;

	*why = "it is a bzImage, but too old or without 64-bit entry";
	if (hdr->version < BZIMAGE_VERSION_MIN || !(hdr->xloadflags & XLF_KERNEL_64))
		return -ENOEXEC;
	*why = "the bzImage is cut short";
	if (setup_bytes >= config->kernel.bytes)
		return -ENOEXEC;
	*why = "it does not fit into the pod's memory";
	if (gpa < HIGH_RAM_GPA || !mem_ptr(config->mem, gpa, MAX(hdr->init_size, 1u)))
		return -ENOMEM;
	*entry_gpa = gpa + BZIMAGE_ENTRY64_OFFSET;
	*end_gpa = gpa + MAX((uint64_t)hdr->init_size, config->kernel.bytes - setup_bytes);
	return boot_image_place(&config->kernel, setup_bytes, config->kernel.bytes - setup_bytes, config->mem, gpa);
}

/* Loads either kind; hdr gets the bzImage's own header, as its entry code reads it back. */
static int kernel_load(const struct boot_config *config, struct setup_header *hdr, uint64_t *entry_gpa, uint64_t *end_gpa,
		       const char **why)
{
	if (boot_image_read(&config->kernel, BZIMAGE_SETUP_OFFSET, hdr, sizeof(*hdr)) && hdr->header == BZIMAGE_MAGIC)
		return bzimage_load(config, hdr, entry_gpa, end_gpa, why);
	memset(hdr, 0, sizeof(*hdr));
	hdr->boot_flag = 0xaa55;
	hdr->header = BZIMAGE_MAGIC;
	hdr->kernel_alignment = 0x200000;
	return boot_elf_load(&config->kernel, config->mem, EM_X86_64, entry_gpa, end_gpa, why);
}

static void params_write(const struct boot_config *config, const struct setup_header *hdr, uint64_t initrd_gpa,
			 uint64_t initrd_bytes)
{
	struct boot_params *params = mem_ptr(config->mem, PARAMS_GPA, sizeof(*params));
	size_t cmdline_bytes = strlen(config->cmdline) + 1;

	memset(params, 0, sizeof(*params));
	params->hdr = *hdr;
	params->hdr.type_of_loader = LOADER_UNDEFINED;
	params->hdr.cmd_line_ptr = CMDLINE_GPA;
	params->hdr.cmdline_size = (uint32_t)cmdline_bytes;
	params->hdr.ramdisk_image = (uint32_t)initrd_gpa;
	params->hdr.ramdisk_size = (uint32_t)initrd_bytes;
	memory_map_fill(params, config->mem);
	mem_write(config->mem, CMDLINE_GPA, config->cmdline, cmdline_bytes);
}

int boot_load(const struct boot_config *config, struct kvm_entry *entry, const char **why)
{
	struct setup_header hdr;
	uint64_t entry_gpa, end_gpa, initrd_gpa, initrd_bytes;
	int err;

	*why = "the pod's memory is too small";
	if (config->mem->regions[0].bytes <= HIGH_RAM_GPA)
		return -ENOMEM;
	*why = "the kernel command line is too long";
	if (strlen(config->cmdline) >= BOOT_CMDLINE_MAX)
		return -E2BIG;
	err = kernel_load(config, &hdr, &entry_gpa, &end_gpa, why);
	if (err)
		return err;
	*why = "kernel and init do not fit into the pod's memory";
	err = boot_initramfs_load(&config->init, config->mem, end_gpa, &initrd_gpa, &initrd_bytes);
	if (err)
		return err;
	gdt_write(config->mem);
	page_tables_write(config->mem);
	mp_write(config->mem, config->vcpus);
	params_write(config, &hdr, initrd_gpa, initrd_bytes);
	*entry = (struct kvm_entry){
		.rip = entry_gpa,
		.rsi = PARAMS_GPA,
		.rsp = STACK_GPA,
		.cr3_gpa = PAGE_TABLES_GPA,
		.gdt_gpa = GDT_GPA,
		.gdt_bytes = 6 * sizeof(uint64_t),
	};
	return 0;
}
