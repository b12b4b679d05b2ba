/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_network: the network a pod file asks for, behind the card it is given: libslirp, what may leave (podvm.network), the
 * limits, published ports and the capture of --pcap.
 *
 * Host set-up: what can not be had ends podvm with one line. Everything on the loop.
 */
#ifndef VM_POD_NETWORK_H
#define VM_POD_NETWORK_H

#include "devices/net.h"
#include "pod/spec.h"
#include "vm/loop.h"

struct pod_network_config {
	struct loop *loop;
	struct net *net; /* made with mac and mtu of spec->interface */
	const struct spec_pod *spec;
	const char *pod_file; /* for messages */
	const char *pcap;     /* file for all frames; NULL: none */
};

struct pod_network;
/* Before the guest runs. */
struct pod_network *pod_network_new(const struct pod_network_config *config);
/* Before net_free(). */
void pod_network_free(struct pod_network *network);
/* Writes what the capture still holds and ends it: all that others would miss where the rest is not freed. */
void pod_network_capture_end(struct pod_network *network);

#endif
