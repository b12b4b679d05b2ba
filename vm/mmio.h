/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmio: gives a virtio device its place in the machine: registers on the bus, an interrupt line, kick descriptors.
 * The guest learns of it on the kernel command line.
 */
#ifndef VM_MMIO_H
#define VM_MMIO_H

#include "devices/virtio.h"
#include "vm/kvm.h"

enum {
	MMIO_SLOTS_MAX = 19,  /* one I/O APIC line each, from MMIO_FIRST_GSI to 23 */
	MMIO_FIRST_GSI = 5,
	MMIO_CMDLINE_BYTES = 48, /* room for one slot's words */
};
#define MMIO_FIRST_GPA UINT64_C(0xd0000000)

/* The interrupt line of a slot, for the device's struct virtio_env. */
struct irq_line mmio_irq(struct kvm *kvm, unsigned slot);

/* Puts the device into its slot. Host set-up: dies when the machine has no room. */
void mmio_attach(struct kvm *kvm, struct bus *bus, struct loop *loop, struct virtio_dev *dev, unsigned slot);
/* Stops watching its kick descriptors. Before the device is freed. */
void mmio_detach(struct loop *loop, struct virtio_dev *dev);

/* " virtio_mmio.device=..." for a slot, MMIO_CMDLINE_BYTES of room. */
void mmio_cmdline(char *dst, unsigned slot);

#endif
