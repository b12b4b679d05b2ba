// SPDX-License-Identifier: Apache-2.0
/* mmio: slots for virtio devices. Knows addresses and interrupt lines, not what a device does. */
#include "vm/mmio.h"

#include "lib/log.h"
#include "lib/util.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a kick descriptor leads to. One per queue of every slot, alive as long as the machine. */
struct kick {
	struct virtio_dev *dev;
	unsigned queue;
	int fd;
};
static struct kick kicks[MMIO_SLOTS_MAX * VIRTIO_QUEUES_MAX];
static unsigned kick_count;

static uint64_t slot_gpa(unsigned slot)
{
	return MMIO_FIRST_GPA + (uint64_t)slot * VIRTIO_MMIO_BYTES;
}

static void kick_arrived(void *ctx, int fd, short revents)
{
	struct kick *kick = ctx;
	uint64_t count;

	(void)revents;
	/* Reading resets the count; several kicks are one. */
	if (read(fd, &count, sizeof(count)) == sizeof(count))
		virtio_kick(kick->dev, kick->queue);
}

struct irq_line mmio_irq(struct kvm *kvm, unsigned slot)
{
	return kvm_irq_line(kvm, MMIO_FIRST_GSI + slot);
}

void mmio_attach(struct kvm *kvm, struct bus *bus, struct loop *loop, struct virtio_dev *dev, unsigned slot)
{
	int err;

	assert(slot < MMIO_SLOTS_MAX);
	err = bus_add(bus, slot_gpa(slot), VIRTIO_MMIO_BYTES, &virtio_mmio_ops, dev);
	if (err)
		die_errno(-err, "no room for device %s", dev->name);
	for (unsigned queue = 0; queue < dev->queue_count; queue++) {
		struct kick *kick = &kicks[kick_count++];

		*kick = (struct kick){.dev = dev, .queue = queue};
		kick->fd = kvm_kick_fd(kvm, slot_gpa(slot) + VIRTIO_MMIO_NOTIFY, queue);
		loop_fd_add(loop, kick->fd, POLLIN, kick_arrived, kick);
	}
}

void mmio_detach(struct loop *loop, struct virtio_dev *dev)
{
	for (unsigned i = 0; i < kick_count; i++) {
		if (kicks[i].dev != dev)
			continue;
		loop_fd_del(loop, kicks[i].fd);
		kicks[i].dev = NULL;
	}
}

void mmio_cmdline(char *dst, unsigned slot)
{
	snprintf(dst, MMIO_CMDLINE_BYTES, " virtio_mmio.device=4K@0x%llx:%u", (unsigned long long)slot_gpa(slot),
		 MMIO_FIRST_GSI + slot);
}
