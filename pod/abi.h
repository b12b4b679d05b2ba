/* SPDX-License-Identifier: Apache-2.0 */
/*
 * abi: what podvm on the host and podvm as init in the guest must agree on. Both are the same file, so a
 * mismatch means a template or --init of another build; ABI_VERSION then says so. Bump it when anything here or in
 * pod/wire.h changes meaning.
 */
#ifndef POD_ABI_H
#define POD_ABI_H

#define ABI_VERSION 2u

/* vsock ports on the host (CID 2). The guest connects, the host listens. */
#define ABI_PORT_CONTROL 1u /* one connection, frames of pod/wire.h both ways */
#define ABI_PORT_STREAM 2u  /* one connection per stream, begins with struct wire_stream_hello */

/* virtio-fs: its tag, where init mounts it, and how shares are named: root0.. for containers, vol0.. for volumes. */
#define ABI_FS_TAG "podvm"
#define ABI_SHARE_ROOT_FMT "root%u" /* container index */
#define ABI_SHARE_VOLUME_FMT "vol%u" /* volume index in the spec */

/* Disks (volumes of format "raw") are found by their serial, so that their order means nothing. */
#define ABI_DISK_SERIAL_FMT "vol%u" /* volume index in the spec */

/* The network libslirp gives where a pod file ("interfaces") says nothing else. */
#define ABI_NET_GUEST "10.0.2.15"
#define ABI_NET_PREFIX 24
#define ABI_NET_GATEWAY "10.0.2.2"
#define ABI_NET_DNS "10.0.2.3"
#define ABI_NET_IFNAME "eth0"
#define ABI_NET_MTU 65520
#define ABI_NET_MAC {0x52, 0x54, 0x00, 0x70, 0x6f, 0x64} /* locally administered; each pod's network is its own */

/*
 * Boot trace: init writes one of these bytes to this I/O port at each milestone (ioperm); the host notes the time.
 * Harmless when nobody listens. Only used when the kernel command line holds podvm.trace.
 */
#define ABI_TRACE_PORT 0x3f0
enum abi_trace {
	ABI_TRACE_INIT_START = 1,  /* first instruction of init's main */
	ABI_TRACE_MOUNTED = 2,	   /* pseudo file systems are there */
	ABI_TRACE_NETWORK = 3,	   /* address and route set */
	ABI_TRACE_CONNECTED = 4,   /* control connection is up */
	ABI_TRACE_POD_RECEIVED = 5, /* the pod has arrived */
	ABI_TRACE_SPAWNED = 6,	   /* all containers were started */
};

#endif
