/* SPDX-License-Identifier: Apache-2.0 */
/* rng: virtio entropy device (virtio 1.2, section 5.4), filled from the host's getrandom(2). */
#ifndef DEVICES_RNG_H
#define DEVICES_RNG_H

#include "devices/virtio.h"

/* Most bytes given for one request; the rest of the buffer is not touched. */
enum { RNG_REQUEST_BYTES_MAX = 4096 };

struct rng;
struct rng *rng_new(const struct virtio_env *env);
void rng_free(struct rng *rng);
struct virtio_dev *rng_dev(struct rng *rng);

/* See virtio_save() and virtio_load(). It answers at once, so nothing is ever on its way. */
struct rng_state {
	struct virtio_state virtio;
};
void rng_save(const struct rng *rng, struct rng_state *state);
int rng_load(struct rng *rng, const struct rng_state *state);

#endif
