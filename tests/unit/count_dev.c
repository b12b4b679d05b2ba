// SPDX-License-Identifier: Apache-2.0
/* count_dev: see count_dev.h. Must not know which test it serves. */
#include "tests/unit/count_dev.h"

#include "lib/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool held, const char *what)
{
	if (held)
		return;
	fprintf(stderr, "count_dev: %s\n", what);
	abort();
}

static void answer(struct count_dev *count, unsigned queue)
{
	struct virtq_chain *chain = &count->chain;
	uint8_t bytes[COUNT_ANSWER_MAX];
	size_t got = chain_read(chain, bytes, sizeof(bytes));

	memset(bytes + got, (int)chain->head, sizeof(bytes) - got);
	got = chain_write(chain, bytes, MIN(sizeof(bytes), chain->in_bytes));
	virtq_push(&count->dev.queues[queue], chain->head, (uint32_t)got);
	count->answered++;
	count->answered_total++;
}

static void count_kick(struct virtio_dev *dev, unsigned queue)
{
	struct count_dev *count = CONTAINER_OF(dev, struct count_dev, dev);
	unsigned budget = dev->queues[queue].num;

	must(virtio_running(dev) && queue < dev->queue_count && dev->queues[queue].ready && budget, "kick out of season");
	count->kicks++;
	count->answered = 0;
	virtq_kick_disable(&dev->queues[queue]);
	do {
		while (budget && virtio_pop(dev, queue, &count->chain)) {
			answer(count, queue);
			budget--;
		}
		if (!budget) {
			virtio_kick_again(dev, queue);
			break;
		}
	} while (virtq_kick_enable(&dev->queues[queue]));
	virtio_interrupt(dev, queue);
}

static void count_start(struct virtio_dev *dev)
{
	must(virtio_running(dev), "start out of season");
	CONTAINER_OF(dev, struct count_dev, dev)->starts++;
}

static void count_reset(struct virtio_dev *dev)
{
	must(!virtio_running(dev), "reset of a running device");
	CONTAINER_OF(dev, struct count_dev, dev)->resets++;
}

static void count_config_write(struct virtio_dev *dev, unsigned offset, const void *data, unsigned bytes)
{
	struct count_dev *count = CONTAINER_OF(dev, struct count_dev, dev);

	must(bytes && bytes <= 8 && offset < COUNT_CONFIG_BYTES && bytes <= COUNT_CONFIG_BYTES - offset,
	     "a write past config space");
	memcpy(count->config + offset, data, bytes);
	count->config_writes++;
}

static const struct virtio_ops count_ops = {
	.kick = count_kick, .start = count_start, .reset = count_reset, .config_write = count_config_write};

void count_dev_init(struct count_dev *count, const struct virtio_env *env, unsigned queues)
{
	*count = (struct count_dev){.dev = {.ops = &count_ops, .name = "count", .device_id = COUNT_DEVICE_ID,
					    .device_features = COUNT_F_OWN, .queue_count = queues}};
	count->dev.config = count->config;
	count->dev.config_bytes = COUNT_CONFIG_BYTES;
	virtio_init(&count->dev, env);
}

void count_dev_fini(struct count_dev *count)
{
	virtio_fini(&count->dev);
}
