// SPDX-License-Identifier: Apache-2.0
/*
 * boot_image: ELF kernels and the initramfs. Owns no memory of its own; everything lands in the guest's.
 *
 * Theory of operation. The kernel's segments are copied, not mapped from the file. A mapping looks cheaper and is not:
 * the kernel touches nearly all of its image while it boots, and patches itself, so that of 9 MB less than 1.5 MB stay
 * shared between pods; and what is mapped from a file comes to the guest page by page, 2700 exits that take longer than
 * all the rest of the boot. Copied, it lies in anonymous memory, where the host has huge pages: seven exits.
 * (kvm/pf_fixed and smaps_rollup in the bed; docs/performance.md.)
 */
#include "vm/boot_image.h"

#include "lib/util.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	PAGE_BYTES = 4096,
	HUGE_PAGE_BYTES = 2 << 20,
	ELF_SEGMENTS_MAX = 64,
};

static bool image_holds(const struct boot_image *image, uint64_t offset, uint64_t bytes)
{
	return offset <= image->bytes && bytes <= image->bytes - offset;
}

static int pread_all(int fd, uint64_t at, void *dst, uint64_t bytes)
{
	uint64_t done = 0;

	while (done < bytes) {
		ssize_t got = pread(fd, (char *)dst + done, bytes - done, (off_t)(at + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		done += (uint64_t)got;
	}
	return 0;
}

bool boot_image_read(const struct boot_image *image, uint64_t offset, void *dst, size_t bytes)
{
	return image_holds(image, offset, bytes) && pread_all(image->fd, image->offset + offset, dst, bytes) == 0;
}

int boot_image_place(const struct boot_image *image, uint64_t offset, uint64_t bytes, const struct mem *mem, uint64_t gpa)
{
	uint8_t *host;

	if (bytes == 0)
		return 0;
	host = mem_ptr(mem, gpa, bytes);
	if (!host)
		return -ENOMEM;
	if (!image_holds(image, offset, bytes))
		return -ENOEXEC;
	/* Where the host gives huge pages to who asks, ask: see the theory of operation. Refused is no fault. */
	if (bytes >= HUGE_PAGE_BYTES)
		(void)madvise(host - (uintptr_t)host % PAGE_BYTES, bytes, MADV_HUGEPAGE);
	return pread_all(image->fd, image->offset + offset, host, bytes);
}

static int elf_segment_load(const struct boot_image *image, const struct mem *mem, const Elf64_Phdr *ph, uint64_t *end_gpa)
{
	if (ph->p_filesz > ph->p_memsz || add_overflows(ph->p_paddr, ph->p_memsz) || ph->p_memsz == 0)
		return -ENOEXEC;
	/* Memory behind the file's part is zero already: guest memory is fresh. */
	if (!mem_ptr(mem, ph->p_paddr, ph->p_memsz))
		return -ENOMEM;
	*end_gpa = MAX(*end_gpa, ph->p_paddr + ph->p_memsz);
	return boot_image_place(image, ph->p_offset, ph->p_filesz, mem, ph->p_paddr);
}

int boot_elf_load(const struct boot_image *image, const struct mem *mem, uint16_t machine, uint64_t *entry_gpa,
		  uint64_t *end_gpa, const char **why)
{
	Elf64_Ehdr eh;
	unsigned loaded = 0;

	*why = "it is neither an ELF vmlinux nor a bzImage";
	if (!boot_image_read(image, 0, &eh, sizeof(eh)) || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0)
		return -ENOEXEC;
	*why = "it is an ELF file, but no 64-bit kernel for this CPU";
	if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_machine != machine || eh.e_phentsize != sizeof(Elf64_Phdr) ||
	    eh.e_phnum > ELF_SEGMENTS_MAX)
		return -ENOEXEC;
	*end_gpa = 0;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;
		int err;

		*why = "its program headers are damaged";
		if (add_overflows(eh.e_phoff, i * sizeof(ph)) ||
		    !boot_image_read(image, eh.e_phoff + i * sizeof(ph), &ph, sizeof(ph)))
			return -ENOEXEC;
		*why = "it is an ordinary program, not a kernel";
		if (ph.p_type == PT_INTERP || ph.p_type == PT_DYNAMIC || ph.p_type == PT_TLS)
			return -ENOEXEC;
		if (ph.p_type != PT_LOAD)
			continue;
		err = elf_segment_load(image, mem, &ph, end_gpa);
		*why = err == -ENOMEM ? "it does not fit into the pod's memory" : "a segment lies outside the file";
		if (err)
			return err;
		loaded++;
	}
	*why = "it has nothing to load";
	*entry_gpa = eh.e_entry;
	return loaded ? 0 : -ENOEXEC;
}

/* One newc header (Linux, Documentation/driver-api/early-userspace/buffer-format.rst) with its name, padded to 4. */
static size_t cpio_header(char *dst, const char *name, uint32_t mode, uint64_t bytes)
{
	size_t name_bytes = strlen(name) + 1, used;

	used = (size_t)sprintf(dst, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", 0u, mode, 0u, 0u, 1u, 0u,
			       (unsigned)bytes, 0u, 0u, 0u, 0u, (unsigned)name_bytes, 0u);
	memcpy(dst + used, name, name_bytes);
	used += name_bytes;
	while (used % 4)
		dst[used++] = 0;
	return used;
}

int boot_initramfs_load(const struct boot_image *init, const struct mem *mem, uint64_t lowest_gpa, uint64_t *gpa,
			uint64_t *bytes)
{
	/* Directories first: the kernel makes none by itself. */
	char head[512], tail[256];
	uint64_t top = mem->regions[0].gpa + mem->regions[0].bytes, file_room = (init->bytes + 3) & ~UINT64_C(3);
	size_t head_bytes, tail_bytes;
	uint8_t *host;

	if (init->bytes > UINT32_MAX)
		return -EFBIG;
	head_bytes = cpio_header(head, "dev", 0040755, 0);
	head_bytes += cpio_header(head + head_bytes, "init", 0100755, init->bytes);
	tail_bytes = cpio_header(tail, "TRAILER!!!", 0, 0);
	*bytes = head_bytes + file_room + tail_bytes;
	if (add_overflows(lowest_gpa, *bytes + PAGE_BYTES) || lowest_gpa + *bytes + PAGE_BYTES > top)
		return -ENOMEM;
	*gpa = (top - *bytes) & ~(uint64_t)(PAGE_BYTES - 1);
	host = mem_ptr(mem, *gpa, *bytes);
	if (!host)
		return -ENOMEM;
	memcpy(host, head, head_bytes);
	if (!boot_image_read(init, 0, host + head_bytes, init->bytes))
		return -EIO;
	memcpy(host + head_bytes + file_room, tail, tail_bytes);
	return 0;
}
