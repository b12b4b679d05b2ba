/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pack: turns the kernel's vmlinux into the smallest ELF file that loads the same.
 *
 *   pack VMLINUX OUT
 *
 * The linker aligns the kernel's sections to 2 MB, in the file as well as in memory,
 * so a stripped vmlinux carries megabytes of padding. This tool keeps only what a
 * loader reads: a program header per run of pages with contents, and the PVH entry note.
 *
 * What a loader may rely on:
 *   - e_entry is the physical address of the 64-bit entry point (startup_64).
 *   - Each PT_LOAD has p_offset, p_paddr and p_memsz divisible by 4096: its pages can
 *     be mapped from a page-aligned copy of the file, or read in one piece.
 *   - PT_LOADs are sorted and touch: each one's p_memsz reaches up to the next one's
 *     p_paddr, the last one's to the end of bss and brk. What lies between p_filesz and
 *     p_memsz is zero; new guest memory already is.
 *   - p_filesz is divisible by 4096 too, and the file is padded up to it.
 */
#include <elf.h>
#include <err.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PAGE = 4096,
	MAX_LOADS = 64,
	/* A run of empty pages shorter than this stays in the file: a hole would cost
	 * the loader another copy or mapping. */
	MIN_HOLE_PAGES = 16,
};

static void *file_read(const char *path, size_t *size)
{
	FILE *f = fopen(path, "rb");
	char *data = NULL;

	if (!f || fseek(f, 0, SEEK_END) || (*size = (size_t)ftell(f)) == 0)
		err(1, "%s", path);
	rewind(f);
	data = malloc(*size);
	if (!data || fread(data, 1, *size, f) != *size)
		err(1, "%s", path);
	fclose(f);
	return data;
}

/* Nothing but zeroes, or nothing but int3, with which the linker fills gaps in text. */
static bool page_is_empty(const uint8_t *page)
{
	return (page[0] == 0 || page[0] == 0xcc) && memcmp(page, page + 1, PAGE - 1) == 0;
}

static uint64_t page_up(uint64_t n)
{
	return (n + PAGE - 1) / PAGE * PAGE;
}

/* Lays out all segments as they are in memory, from address *base; returns the image. */
static uint8_t *image_build(const uint8_t *elf, size_t size, uint64_t *base, uint64_t *pages)
{
	const Elf64_Ehdr *eh = (const void *)elf;
	const Elf64_Phdr *ph = (const void *)(elf + eh->e_phoff);
	uint64_t low = UINT64_MAX, high = 0;
	uint8_t *image;

	for (int i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type != PT_LOAD)
			continue;
		if (ph[i].p_offset > size || ph[i].p_filesz > size - ph[i].p_offset ||
		    ph[i].p_filesz > ph[i].p_memsz)
			errx(1, "segment %d lies outside the file", i);
		if (ph[i].p_paddr < low)
			low = ph[i].p_paddr;
		if (ph[i].p_paddr + ph[i].p_memsz > high)
			high = ph[i].p_paddr + ph[i].p_memsz;
	}
	if (low >= high || low % PAGE)
		errx(1, "no segments, or the first one is not page-aligned");

	*base = low;
	*pages = page_up(high - low) / PAGE;
	image = calloc(*pages, PAGE);
	if (!image)
		err(1, "memory for the image");
	for (int i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD)
			memcpy(image + (ph[i].p_paddr - low), elf + ph[i].p_offset, ph[i].p_filesz);
	return image;
}

/* Finds the runs of pages worth storing; fills in p_paddr, p_filesz and p_memsz. */
static int runs_find(const uint8_t *image, uint64_t base, uint64_t pages, Elf64_Phdr *load)
{
	uint64_t page = 0;
	int n = 0;

	while (page < pages) {
		uint64_t start = page, end = page, empty = 0;

		for (; page < pages && empty < MIN_HOLE_PAGES; page++) {
			if (page_is_empty(image + page * PAGE)) {
				empty++;
			} else {
				empty = 0;
				end = page + 1;
			}
		}
		while (page < pages && page_is_empty(image + page * PAGE))
			page++;
		if (n == MAX_LOADS)
			errx(1, "more than %d runs of pages", MAX_LOADS);
		load[n++] = (Elf64_Phdr){
			.p_type = PT_LOAD,
			.p_flags = PF_R | PF_W | PF_X,
			.p_paddr = base + start * PAGE,
			.p_vaddr = base + start * PAGE,
			.p_filesz = (end - start) * PAGE,
			.p_memsz = (page - start) * PAGE,
			.p_align = PAGE,
		};
	}
	return n;
}

/* The PVH note ("Xen", type 18) alone: the others are for debuggers. */
static size_t pvh_note_copy(const uint8_t *elf, size_t size, uint8_t *out, size_t room)
{
	const Elf64_Ehdr *eh = (const void *)elf;
	const Elf64_Phdr *ph = (const void *)(elf + eh->e_phoff);

	for (int i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type != PT_NOTE || ph[i].p_offset > size ||
		    ph[i].p_filesz > size - ph[i].p_offset)
			continue;
		for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= ph[i].p_filesz;) {
			const Elf64_Nhdr *nh = (const void *)(elf + ph[i].p_offset + at);
			size_t length = sizeof(*nh) + (nh->n_namesz + 3) / 4 * 4 + (nh->n_descsz + 3) / 4 * 4;

			if (length > ph[i].p_filesz - at)
				break;
			if (nh->n_type == 18 && nh->n_namesz == 4 && !memcmp(nh + 1, "Xen", 4) && length <= room) {
				memcpy(out, nh, length);
				return length;
			}
			at += length;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	static Elf64_Phdr phdr[MAX_LOADS + 1];
	uint8_t head[PAGE] = {0};
	Elf64_Ehdr *eh = (Elf64_Ehdr *)head;
	uint64_t base, pages, offset = PAGE;
	size_t size, note_at, note_length;
	uint8_t *elf, *image;
	FILE *out;
	int n;

	if (argc != 3)
		errx(2, "usage: pack VMLINUX OUT");
	elf = file_read(argv[1], &size);
	if (size < sizeof(*eh) || memcmp(elf, ELFMAG, SELFMAG) != 0 || elf[EI_CLASS] != ELFCLASS64)
		errx(1, "%s: not a 64-bit ELF file", argv[1]);
	memcpy(eh, elf, sizeof(*eh));
	if (eh->e_phentsize != sizeof(Elf64_Phdr) || eh->e_phoff > size ||
	    (uint64_t)eh->e_phnum * sizeof(Elf64_Phdr) > size - eh->e_phoff)
		errx(1, "%s: bad program headers", argv[1]);

	image = image_build(elf, size, &base, &pages);
	n = runs_find(image, base, pages, phdr);
	for (int i = 0; i < n; i++) {
		phdr[i].p_offset = offset;
		offset += phdr[i].p_filesz;
	}

	note_at = sizeof(*eh) + (size_t)(n + 1) * sizeof(Elf64_Phdr);
	if (note_at + 64 > PAGE)
		errx(1, "too many runs of pages for one page of headers");
	note_length = pvh_note_copy(elf, size, head + note_at, PAGE - note_at);
	if (note_length)
		phdr[n++] = (Elf64_Phdr){
			.p_type = PT_NOTE, .p_flags = PF_R, .p_offset = note_at,
			.p_filesz = note_length, .p_memsz = note_length, .p_align = 4,
		};
	eh->e_phoff = sizeof(*eh);
	eh->e_phnum = (Elf64_Half)n;
	eh->e_shoff = 0;
	eh->e_shnum = 0;
	eh->e_shstrndx = 0;
	memcpy(head + eh->e_phoff, phdr, (size_t)n * sizeof(Elf64_Phdr));

	out = fopen(argv[2], "wb");
	if (!out || fwrite(head, PAGE, 1, out) != 1)
		err(1, "%s", argv[2]);
	for (int i = 0; i < n; i++)
		if (phdr[i].p_type == PT_LOAD && phdr[i].p_filesz &&
		    fwrite(image + (phdr[i].p_paddr - base), phdr[i].p_filesz, 1, out) != 1)
			err(1, "%s", argv[2]);
	if (fclose(out))
		err(1, "%s", argv[2]);
	free(image);
	free(elf);
	return 0;
}
