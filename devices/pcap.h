/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pcap: a file of frames as tcpdump and wireshark read it (libpcap's classic format, nanoseconds, link type Ethernet).
 *
 * Written by way of a buffer, which goes out when it is full, once a second and at the end. When the disk is full
 * frames are lost from the file, with one warning; whoever sends them notices nothing.
 */
#ifndef DEVICES_PCAP_H
#define DEVICES_PCAP_H

#include "devices/frame.h"
#include "vm/loop.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum { PCAP_FRAME_BYTES_MAX = 262144 };

struct pcap;

/* Makes the file anew, readable by its owner alone. 0, or -errno when it can not be made. */
int pcap_new(struct loop *loop, const char *path, struct pcap **pcap);
/* Writes what is left. NULL is fine. */
void pcap_free(struct pcap *pcap);

/*
 * One frame. Its content may change meanwhile (guest memory): it is read once. sum: a checksum to be completed, so that
 * the file has the frame as a wire would; NULL: none.
 */
void pcap_frame(struct pcap *pcap, const struct iovec *frame, unsigned count, size_t bytes,
		const struct frame_sum *sum);

#endif
