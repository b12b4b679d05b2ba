/* SPDX-License-Identifier: Apache-2.0 */
/*
 * count_dev: a virtio device for tests that does what a device may do and counts it: every chain of every queue is read,
 * answered with as many bytes as it has room for (at most COUNT_ANSWER_MAX) and pushed; config space is memory.
 * It aborts when the base calls it out of season (devices/virtio.h, struct virtio_ops).
 */
#ifndef TESTS_UNIT_COUNT_DEV_H
#define TESTS_UNIT_COUNT_DEV_H

#include "devices/virtio.h"

enum {
	COUNT_DEVICE_ID = 63,
	COUNT_CONFIG_BYTES = 21,
	COUNT_ANSWER_MAX = 300,
};
/* A feature of its own, beside those of the base. */
#define COUNT_F_OWN (UINT64_C(1) << 3)

struct count_dev {
	struct virtio_dev dev;
	unsigned kicks, starts, resets, config_writes;
	unsigned answered;	/* in the last kick */
	uint64_t answered_total;
	uint8_t config[COUNT_CONFIG_BYTES];
	struct virtq_chain chain;
};

/* queues: at most VIRTIO_QUEUES_MAX. */
void count_dev_init(struct count_dev *count, const struct virtio_env *env, unsigned queues);
void count_dev_fini(struct count_dev *count);

#endif
