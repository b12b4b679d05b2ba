// SPDX-License-Identifier: Apache-2.0
/* test_boot: kernels good and damaged, in files made here; what lies in guest memory afterwards. */
#include "vm/boot.h"
#include "lib/util.h"
#include "tests/unit/test.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	MEMORY = 32 << 20,
	KERNEL_GPA = 0x200000,
	SEGMENT_OFFSET = 4096,
	SEGMENT_BYTES = 3 * 4096 + 100, /* whole pages, which are mapped, and an edge, which is copied */
	PARAMS_GPA = 0x7000,
	MP_GPA = 0xf0000,
	INIT_BYTES = 5001,
};

static struct mem mem;
static struct kvm_entry entry;
static const char *why;
static char init_text[INIT_BYTES];

static int file_of(const void *bytes, size_t count)
{
	int fd = memfd_create("test", 0);

	if (fd < 0 || write_all(fd, bytes, count))
		abort();
	return fd;
}

struct elf_file {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[2];
	char text[SEGMENT_OFFSET + SEGMENT_BYTES];
};

/* A kernel of one segment. */
static struct elf_file *elf_make(void)
{
	struct elf_file *elf = xcalloc(1, sizeof(*elf));

	memcpy(elf->eh.e_ident, ELFMAG, SELFMAG);
	elf->eh.e_ident[EI_CLASS] = ELFCLASS64;
	elf->eh.e_machine = EM_X86_64;
	elf->eh.e_phentsize = sizeof(Elf64_Phdr);
	elf->eh.e_phnum = 1;
	elf->eh.e_phoff = offsetof(struct elf_file, ph);
	elf->eh.e_entry = KERNEL_GPA + 0x123;
	elf->ph[0] = (Elf64_Phdr){.p_type = PT_LOAD, .p_offset = SEGMENT_OFFSET, .p_paddr = KERNEL_GPA,
				  .p_filesz = SEGMENT_BYTES, .p_memsz = SEGMENT_BYTES + 8192};
	for (size_t i = 0; i < SEGMENT_BYTES; i++)
		((char *)elf)[SEGMENT_OFFSET + i] = (char)(i * 7 + i / 4096);
	return elf;
}

static int load_bytes(const void *bytes, size_t count, const char *cmdline, uint64_t memory)
{
	static struct boot_config config;
	int err;

	mem_fini(&mem);
	if (mem_init(&mem, memory))
		abort();
	memset(init_text, 'i', sizeof(init_text));
	config = (struct boot_config){.mem = &mem, .cmdline = cmdline, .vcpus = 3};
	config.kernel = (struct boot_image){.fd = file_of(bytes, count), .bytes = count};
	config.init = (struct boot_image){.fd = file_of(init_text, sizeof(init_text)), .bytes = sizeof(init_text)};
	err = boot_load(&config, &entry, &why);
	close(config.kernel.fd);
	close(config.init.fd);
	return err;
}

static int load_elf(struct elf_file *elf)
{
	int err = load_bytes(elf, sizeof(*elf), "quiet", MEMORY);

	free(elf);
	return err;
}

TEST(elf_is_placed)
{
	struct elf_file *elf = elf_make();

	CHECK_INT(load_bytes(elf, sizeof(*elf), "quiet", MEMORY), 0);
	CHECK_INT(entry.rip, KERNEL_GPA + 0x123);
	CHECK_INT(entry.rsi, PARAMS_GPA);
	CHECK_MEM(mem_ptr(&mem, KERNEL_GPA, SEGMENT_BYTES), (char *)elf + SEGMENT_OFFSET, SEGMENT_BYTES);
	for (unsigned i = 0; i < 8192; i++)
		if (*(char *)mem_ptr(&mem, KERNEL_GPA + SEGMENT_BYTES + i, 1))
			CHECK_MSG(false, "memory behind the file's part is not zero");
	/* a guest's write stays its own */
	memset(mem_ptr(&mem, KERNEL_GPA, 4096), 0x55, 4096);
	free(elf);
}

TEST(unaligned_segment_is_copied)
{
	struct elf_file *elf = elf_make();

	elf->ph[0].p_offset += 8;
	elf->ph[0].p_filesz -= 8;
	CHECK_INT(load_bytes(elf, sizeof(*elf), "quiet", MEMORY), 0);
	CHECK_MEM(mem_ptr(&mem, KERNEL_GPA, SEGMENT_BYTES - 8), (char *)elf + SEGMENT_OFFSET + 8, SEGMENT_BYTES - 8);
	free(elf);
}

#define DAMAGED(change, expected_err, expected_why)                                                                    \
	do {                                                                                                           \
		struct elf_file *elf = elf_make();                                                                     \
		change;                                                                                                \
		CHECK_INT(load_elf(elf), expected_err);                                                                \
		CHECK(strstr(why, expected_why) != NULL);                                                              \
	} while (0)

TEST(damaged_elf)
{
	DAMAGED(elf->eh.e_ident[0] = 'x', -ENOEXEC, "neither");
	DAMAGED(elf->eh.e_ident[EI_CLASS] = ELFCLASS32, -ENOEXEC, "no 64-bit kernel");
	DAMAGED(elf->eh.e_machine = EM_AARCH64, -ENOEXEC, "no 64-bit kernel");
	DAMAGED(elf->eh.e_phnum = 65535, -ENOEXEC, "no 64-bit kernel");
	DAMAGED(elf->eh.e_phentsize = 1, -ENOEXEC, "no 64-bit kernel");
	DAMAGED(elf->eh.e_phnum = 0, -ENOEXEC, "nothing to load");
	DAMAGED(elf->eh.e_phoff = UINT64_MAX - 3, -ENOEXEC, "program headers");
	DAMAGED(elf->eh.e_phoff = sizeof(struct elf_file), -ENOEXEC, "program headers");
	DAMAGED(elf->ph[0].p_type = PT_INTERP, -ENOEXEC, "ordinary program");
	DAMAGED(elf->ph[0].p_offset = UINT64_MAX - 5, -ENOEXEC, "outside the file");
	DAMAGED(elf->ph[0].p_offset = sizeof(struct elf_file) - 10, -ENOEXEC, "outside the file");
	DAMAGED(elf->ph[0].p_filesz = elf->ph[0].p_memsz + 1, -ENOEXEC, "outside the file");
	DAMAGED(elf->ph[0].p_memsz = 0, -ENOEXEC, "outside the file");
	DAMAGED(elf->ph[0].p_memsz = UINT64_MAX, -ENOEXEC, "outside the file");
	DAMAGED(elf->ph[0].p_paddr = UINT64_MAX - 4096, -ENOEXEC, "outside the file");
	DAMAGED(elf->ph[0].p_paddr = MEMORY - 4096, -ENOMEM, "pod's memory");
	DAMAGED(elf->ph[0].p_memsz = MEMORY, -ENOMEM, "pod's memory");
}

TEST(cut_file)
{
	struct elf_file *elf = elf_make();

	for (size_t bytes = 0; bytes < sizeof(*elf) - 8192; bytes += 509)
		CHECK_INT(load_bytes(elf, bytes, "quiet", MEMORY), -ENOEXEC);
	free(elf);
}

TEST(bzimage)
{
	static unsigned char file[64 * 1024];
	struct setup_header *hdr = (struct setup_header *)(file + 0x1f1);

	memset(file, 0, sizeof(file));
	hdr->header = 0x53726448;
	hdr->version = 0x020f;
	hdr->xloadflags = XLF_KERNEL_64;
	hdr->setup_sects = 3;
	hdr->pref_address = 0x1000000;
	hdr->init_size = 0x100000;
	memset(file + 2048, 0x77, sizeof(file) - 2048);
	CHECK_INT(load_bytes(file, sizeof(file), "quiet", MEMORY), 0);
	CHECK_INT(entry.rip, 0x1000200);
	CHECK_INT(*(unsigned char *)mem_ptr(&mem, 0x1000000, 1), 0x77);
	hdr->xloadflags = 0;
	CHECK_INT(load_bytes(file, sizeof(file), "quiet", MEMORY), -ENOEXEC);
	hdr->xloadflags = XLF_KERNEL_64;
	hdr->setup_sects = 255;
	CHECK_INT(load_bytes(file, sizeof(file), "quiet", MEMORY), -ENOEXEC);
	hdr->setup_sects = 3;
	hdr->init_size = UINT32_MAX;
	CHECK_INT(load_bytes(file, sizeof(file), "quiet", MEMORY), -ENOMEM);
	hdr->init_size = 0x100000;
	hdr->pref_address = UINT64_MAX - 100;
	CHECK_INT(load_bytes(file, sizeof(file), "quiet", MEMORY), -ENOMEM);
	hdr->pref_address = 0x1000; /* over our own tables */
	CHECK_INT(load_bytes(file, sizeof(file), "quiet", MEMORY), -ENOMEM);
}

TEST(what_the_kernel_reads)
{
	struct boot_params *params;
	char *cmdline;

	CHECK_INT(load_elf(elf_make()), 0);
	params = mem_ptr(&mem, PARAMS_GPA, sizeof(*params));
	CHECK_INT(params->e820_entries, 2);
	CHECK_INT(params->e820_table[1].addr, 0x100000);
	CHECK_INT(params->e820_table[1].addr + params->e820_table[1].size, MEMORY);
	cmdline = mem_ptr(&mem, params->hdr.cmd_line_ptr, 6);
	CHECK_STR(cmdline, "quiet");
	CHECK(params->hdr.ramdisk_size >= INIT_BYTES);
	CHECK_INT(params->hdr.ramdisk_image % 4096, 0);
	CHECK(params->hdr.ramdisk_image + params->hdr.ramdisk_size <= MEMORY);
	CHECK_MEM(mem_ptr(&mem, params->hdr.ramdisk_image, 6), "070701", 6);
}

static unsigned char byte_sum(const unsigned char *at, size_t bytes)
{
	unsigned char sum = 0;

	while (bytes--)
		sum = (unsigned char)(sum + *at++);
	return sum;
}

TEST(mp_table_adds_up)
{
	const unsigned char *mp;
	uint16_t bytes, entries;

	CHECK_INT(load_elf(elf_make()), 0);
	mp = mem_ptr(&mem, MP_GPA, 4096);
	CHECK_MEM(mp, "_MP_", 4);
	CHECK_INT(byte_sum(mp, 16), 0);
	CHECK_MEM(mp + 16, "PCMP", 4);
	memcpy(&bytes, mp + 20, 2);
	memcpy(&entries, mp + 16 + 34, 2);
	CHECK_INT(byte_sum(mp + 16, bytes), 0);
	CHECK_INT(entries, 3 + 1 + 1 + 24 + 2); /* CPUs, bus, I/O APIC, its lines, two local ones */
	CHECK_INT(bytes, 44 + 3 * 20 + 28 * 8);
}

TEST(too_little_memory)
{
	struct elf_file *elf = elf_make();
	static char long_words[BOOT_CMDLINE_MAX + 1];

	CHECK_INT(load_bytes(elf, sizeof(*elf), "quiet", 1 << 20), -ENOMEM);
	CHECK_INT(load_bytes(elf, sizeof(*elf), "quiet", 2 << 20), -ENOMEM);
	memset(long_words, 'x', BOOT_CMDLINE_MAX);
	CHECK_INT(load_bytes(elf, sizeof(*elf), long_words, MEMORY), -E2BIG);
	free(elf);
}

int main(void)
{
	RUN(elf_is_placed);
	RUN(unaligned_segment_is_copied);
	RUN(damaged_elf);
	RUN(cut_file);
	RUN(bzimage);
	RUN(what_the_kernel_reads);
	RUN(mp_table_adds_up);
	RUN(too_little_memory);
	mem_fini(&mem);
	return test_done();
}
