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

#endif
