// SPDX-License-Identifier: Apache-2.0
/*
 * payload: finds the kernel inside podvm's own file by its section name. The file is our own, but may be cut short
 * or changed: what does not add up is an error, never a crash.
 */
#include "vm/payload.h"

#include "lib/util.h"
#include "vm/boot_image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTIONS_MAX = 256, NAMES_BYTES_MAX = 4096, PAGE_BYTES = 4096 };

static const char kernel_section[] = ".podvm.kernel";
static const char version_section[] = ".podvm.kernel_version";

/* Finds a section by name. -ENOENT when the file has none, -ENOEXEC when its headers are damaged. */
static int section_find(const struct boot_image *file, const char *name, Elf64_Shdr *found)
{
	char names[NAMES_BYTES_MAX];
	Elf64_Ehdr eh;
	Elf64_Shdr strings;

	if (!boot_image_read(file, 0, &eh, sizeof(eh)) || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0)
		return -ENOEXEC;
	if (eh.e_shnum > SECTIONS_MAX || eh.e_shstrndx >= eh.e_shnum || eh.e_shoff > file->bytes ||
	    !boot_image_read(file, eh.e_shoff + eh.e_shstrndx * sizeof(strings), &strings, sizeof(strings)) ||
	    strings.sh_size == 0 || strings.sh_size > sizeof(names) ||
	    !boot_image_read(file, strings.sh_offset, names, strings.sh_size))
		return -ENOEXEC;
	names[strings.sh_size - 1] = '\0';
	for (unsigned i = 0; i < eh.e_shnum; i++) {
		if (!boot_image_read(file, eh.e_shoff + i * sizeof(*found), found, sizeof(*found)))
			return -ENOEXEC;
		if (found->sh_name < strings.sh_size && strcmp(names + found->sh_name, name) == 0)
			return 0;
	}
	return -ENOENT;
}

int payload_open(struct payload *payload)
{
	struct boot_image file = {.offset = 0};
	Elf64_Shdr section;
	struct stat st;
	int err;

	file.fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (file.fd < 0)
		return -errno;
	if (fstat(file.fd, &st) < 0) {
		err = -errno;
		goto failed;
	}
	file.bytes = (uint64_t)st.st_size;
	*payload = (struct payload){.init = file, .kernel = {.fd = file.fd}};
	err = section_find(&file, kernel_section, &section);
	if (err == -ENOENT)
		return 0;
	if (err)
		goto failed;
	err = -ENOEXEC;
	if (section.sh_offset % PAGE_BYTES || section.sh_offset > file.bytes ||
	    section.sh_size > file.bytes - section.sh_offset)
		goto failed;
	/* The program is all that stands before the kernel; section headers behind it are not needed to run. */
	payload->init.bytes = section.sh_offset;
	payload->kernel.offset = section.sh_offset;
	payload->kernel.bytes = section.sh_size;
	return 0;

failed:
	close(file.fd);
	return err;
}

void payload_close(struct payload *payload)
{
	close(payload->init.fd);
}

bool payload_kernel_version(const struct payload *payload, char *dst, size_t bytes)
{
	struct boot_image file = {.fd = payload->init.fd};
	Elf64_Shdr section;
	struct stat st;
	size_t have;

	if (payload->kernel.bytes == 0 || fstat(file.fd, &st) < 0)
		return false;
	file.bytes = (uint64_t)st.st_size;
	if (section_find(&file, version_section, &section))
		return false;
	have = MIN(section.sh_size, bytes - 1);
	if (!boot_image_read(&file, section.sh_offset, dst, have))
		return false;
	dst[have] = '\0';
	dst[strcspn(dst, "\n")] = '\0';
	return true;
}
