/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot: lays a kernel, its command line and an initramfs into guest memory and says where the first vCPU begins.
 * No firmware: Linux' 64-bit boot protocol (Documentation/arch/x86/boot.rst) from an ELF vmlinux or a bzImage.
 *
 * A kernel file is untrusted input: every offset and size in it is checked against the file and guest memory.
 */
#ifndef VM_BOOT_H
#define VM_BOOT_H

#include "devices/mem.h"
#include "vm/kvm.h"

#include <stddef.h>
#include <stdint.h>

enum { BOOT_CMDLINE_MAX = 2048 };

/* Where a kernel lies: [offset, offset + bytes) of an open file, which may be podvm's own. offset is page aligned. */
struct boot_image {
	int fd;
	uint64_t offset, bytes;
};

struct boot_config {
	const struct mem *mem;
	struct boot_image kernel;
	const char *cmdline;
	unsigned vcpus;
	/* the one file of the initramfs, /init: podvm itself without the kernel */
	struct boot_image init;
};

/* 0 with *entry set, or -errno with a reason in *why (static text): -ENOEXEC is "not a kernel", -ENOMEM "too little memory". */
int boot_load(const struct boot_config *config, struct kvm_entry *entry, const char **why);

#endif
