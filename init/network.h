/* SPDX-License-Identifier: Apache-2.0 */
/* network: the pod's two interfaces. */
#ifndef INIT_NETWORK_H
#define INIT_NETWORK_H

#include "pod/spec.h"

/*
 * lo up; the virtio interface, when there is one, gets the address and the default route of pod/abi.h.
 * 0 or -errno, and then *what says what was refused. IPv6 comes by router advertisement, by the kernel itself.
 */
int network_up(const char **what);

/* Makes of that what a pod wants, when it is something else. As network_up(). */
int network_adapt(const struct spec_interface *interface, const char **what);

#endif
