/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_boot: arbitrary bytes as a kernel file, in the middle of a larger file as it lies in podvm's own: ELF and bzImage.
 *
 * An input: one byte: bit 0: 8 MB of memory, else 3; bit 1: 64 KiB of zeros follow the bytes, so that a bzImage
 * has a body; then the file.
 *
 * Oracles: boot_load() says 0 or one of the documented errors with a reason; nothing of what surrounds the image in its
 * file reaches guest memory; all that was placed can be read (a mapping past the end of a file could not); initramfs and
 * kernel lie inside memory and apart.
 */
#include "lib/util.h"
#include "tests/fuzz/input.h"
#include "vm/boot.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	AROUND_BYTES = 8192, /* before and behind the image */
	BODY_BYTES = 64 << 10,
	INPUT_BYTES_MAX = 32 << 10,
	PARAMS_GPA = 0x7000,
	INIT_BYTES = 5001,
};

static int kernel_fd = -1, init_fd = -1;
static uint8_t around[AROUND_BYTES];
/* Long and odd enough to come from nowhere else. */
static const char secret[] = "what surrounds the image must never be seen by a guest";

static void files_make(void)
{
	static char init[INIT_BYTES];

	for (size_t at = 0; at + sizeof(secret) <= sizeof(around); at += sizeof(secret))
		memcpy(around + at, secret, sizeof(secret));
	memset(init, 'i', sizeof(init));
	kernel_fd = memfd_create("kernel", MFD_CLOEXEC);
	init_fd = memfd_create("init", MFD_CLOEXEC);
	must(kernel_fd >= 0 && init_fd >= 0 && !write_all(init_fd, init, sizeof(init)), "no files to be had");
}

/* The image of zeros and data between the secrets; returns its size. */
static size_t image_write(size_t zeros, const uint8_t *data, size_t bytes)
{
	must(!ftruncate(kernel_fd, 0), "ftruncate");
	must(pwrite(kernel_fd, around, sizeof(around), 0) == sizeof(around), "pwrite");
	if (bytes)
		must(pwrite(kernel_fd, data, bytes, AROUND_BYTES) == (ssize_t)bytes, "pwrite");
	must(!ftruncate(kernel_fd, (off_t)(AROUND_BYTES + bytes + zeros)), "ftruncate");
	must(pwrite(kernel_fd, around, sizeof(around), (off_t)(AROUND_BYTES + bytes + zeros)) == sizeof(around), "pwrite");
	return bytes + zeros;
}

static void check_loaded(const struct mem *mem)
{
	const struct boot_params *params = mem_ptr(mem, PARAMS_GPA, sizeof(*params));
	const uint8_t *ram = mem_ptr(mem, 0, mem->total_bytes);
	uint64_t initrd = params->hdr.ramdisk_image, bytes = params->hdr.ramdisk_size;

	must(!memmem(ram, mem->total_bytes, secret, sizeof(secret) - 1), "a guest sees what surrounds its kernel");
	must(bytes > INIT_BYTES && mem_ptr(mem, initrd, bytes), "the initramfs lies outside memory");
	must(!memcmp(ram + initrd, "070701", 6), "something was laid over the initramfs");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct boot_config config = {.cmdline = "quiet", .vcpus = 2};
	struct kvm_entry entry;
	const char *why = NULL;
	struct mem mem;
	uint8_t how;
	int err;

	if (kernel_fd < 0)
		files_make();
	if (bytes < 1 || bytes > INPUT_BYTES_MAX || memmem(data, bytes, secret, 8))
		return 0;
	how = data[0];
	must(!mem_init(&mem, how & 1 ? 8 << 20 : 3 << 20), "no memory");
	config.mem = &mem;
	config.kernel = (struct boot_image){.fd = kernel_fd, .offset = AROUND_BYTES};
	config.kernel.bytes = image_write(how & 2 ? BODY_BYTES : 0, data + 1, bytes - 1);
	config.init = (struct boot_image){.fd = init_fd, .bytes = INIT_BYTES};
	err = boot_load(&config, &entry, &why);
	must(err == 0 || err == -ENOEXEC || err == -ENOMEM, "an error that is not documented");
	must(!err || (why && *why), "an error without a reason");
	if (!err)
		check_loaded(&mem);
	mem_fini(&mem);
	return 0;
}
