/* SPDX-License-Identifier: Apache-2.0 */
/* network: the pod's two interfaces. */
#ifndef INIT_NETWORK_H
#define INIT_NETWORK_H

/*
 * lo up; the virtio interface, when there is one, gets the address and the default route of pod/abi.h.
 * 0 or -errno, and then *what says what was refused. IPv6 comes by router advertisement, by the kernel itself.
 */
int network_up(const char **what);

#endif
