/* SPDX-License-Identifier: Apache-2.0 */
/* boot_image: placing kernel and initramfs into guest memory; the part of vm/boot that is no architecture's. */
#ifndef VM_BOOT_IMAGE_H
#define VM_BOOT_IMAGE_H

#include "vm/boot.h"

#include <stdbool.h>

/* Reads from the image; false when any byte lies outside it. */
bool boot_image_read(const struct boot_image *image, uint64_t offset, void *dst, size_t bytes);

/*
 * Copies image[offset, offset + bytes) to gpa. 0; -ENOMEM: it does not fit there; -ENOEXEC: not all of it is in the image;
 * other -errno of reading.
 */
int boot_image_place(const struct boot_image *image, uint64_t offset, uint64_t bytes, const struct mem *mem, uint64_t gpa);

/*
 * Loads an ELF executable for machine (EM_...): its entry in *entry_gpa, the end of what it occupies in *end_gpa.
 * -ENOEXEC with *why when it is none.
 */
int boot_elf_load(const struct boot_image *image, const struct mem *mem, uint16_t machine, uint64_t *entry_gpa,
		  uint64_t *end_gpa, const char **why);

/* Writes a newc archive with /dev/console-less root: one executable, /init. Its place and size come back. */
int boot_initramfs_load(const struct boot_image *init, const struct mem *mem, uint64_t lowest_gpa, uint64_t *gpa,
			uint64_t *bytes);

#endif
