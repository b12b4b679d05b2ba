// SPDX-License-Identifier: Apache-2.0
/*
 * rng: virtio entropy device (virtio 1.2, 5.4). One queue; every chain is answered with fresh random bytes.
 */
#include "devices/rng.h"

#include "lib/util.h"

#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

struct rng {
	struct virtio_dev dev;
	struct virtq_chain chain; /* too large for the stack */
};

static void request_answer(struct rng *rng)
{
	struct virtq_chain *chain = &rng->chain;
	uint8_t bytes[RNG_REQUEST_BYTES_MAX];
	size_t want = MIN(chain->in_bytes, sizeof(bytes)), have = 0;

	while (have < want) {
		/* At most 256 bytes at a time never fail and are never short once the host's pool is seeded. */
		ssize_t got = getrandom(bytes + have, MIN(want - have, 256u), 0);

		if (got <= 0)
			break;
		have += (size_t)got;
	}
	chain_write(chain, bytes, have);
	virtq_push(&rng->dev.queues[0], chain->head, (uint32_t)have);
}

static void rng_kick(struct virtio_dev *dev, unsigned queue)
{
	struct rng *rng = CONTAINER_OF(dev, struct rng, dev);
	unsigned budget = dev->queues[queue].num;

	do {
		while (budget && virtio_pop(dev, queue, &rng->chain)) {
			request_answer(rng);
			budget--;
		}
		if (!budget) {
			virtio_kick_again(dev, queue);
			break;
		}
	} while (virtq_kick_enable(&dev->queues[queue]));
	virtio_interrupt(dev, queue);
}

static const struct virtio_ops rng_ops = {
	.kick = rng_kick,
};

struct rng *rng_new(const struct virtio_env *env)
{
	struct rng *rng = xcalloc(1, sizeof(*rng));

	rng->dev.ops = &rng_ops;
	rng->dev.name = "rng";
	rng->dev.device_id = VIRTIO_ID_RNG;
	rng->dev.queue_count = 1;
	virtio_init(&rng->dev, env);
	return rng;
}

void rng_free(struct rng *rng)
{
	if (!rng)
		return;
	virtio_fini(&rng->dev);
	free(rng);
}

struct virtio_dev *rng_dev(struct rng *rng)
{
	return &rng->dev;
}

void rng_save(const struct rng *rng, struct rng_state *state)
{
	virtio_save(&rng->dev, &state->virtio);
}

int rng_load(struct rng *rng, const struct rng_state *state)
{
	return virtio_load(&rng->dev, &state->virtio);
}
