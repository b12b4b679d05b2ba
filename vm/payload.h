/* SPDX-License-Identifier: Apache-2.0 */
/*
 * payload: what podvm carries in its own file: the guest kernel (section .podvm.kernel, page aligned) and, before it,
 * the program itself, which becomes the guest's init.
 */
#ifndef VM_PAYLOAD_H
#define VM_PAYLOAD_H

#include "vm/boot.h"

#include <stdbool.h>

struct payload {
	struct boot_image init;
	struct boot_image kernel; /* bytes 0: this podvm was built without one */
};

/* Opens podvm's own executable. 0 or -errno. */
int payload_open(struct payload *payload);
void payload_close(struct payload *payload);

/* What the kernel section says of itself: its version as text into dst; false without a kernel. */
bool payload_kernel_version(const struct payload *payload, char *dst, size_t bytes);

#endif
