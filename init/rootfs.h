/* SPDX-License-Identifier: Apache-2.0 */
/* rootfs: the file systems a pod's containers see, as steps, and the way into them. */
#ifndef INIT_ROOTFS_H
#define INIT_ROOTFS_H

#include "init/steps.h"
#include "pod/spec.h"
#include "pod/wire.h"

/* What a root is made from. Everything stays the caller's. */
struct rootfs {
	const struct spec_pod *pod;
	const struct wire_pod *wire;
	unsigned container;
	const char *hostname;
	bool first; /* first start of this container: place the files that later belong to it */
};

/* True when the pod takes anything from the host: then virtio-fs is mounted. */
bool rootfs_needs_fs(const struct spec_pod *pod, const struct wire_pod *wire);

/* PID 1, once: what containers share, and per container its layers, that live as long as the pod. */
void rootfs_pod_steps(struct steps *steps, const struct spec_pod *pod, const struct wire_pod *wire);

/* A container's process, at each start: what it sees. Sources are relative to the old root, targets to the new one. */
void rootfs_container_steps(struct steps *steps, const struct rootfs *root);

/* A container's own process, in fresh mount, PID and cgroup namespaces. 0, or -errno and why in text. */
int rootfs_enter(const struct rootfs *root, char *text, size_t room);

/* Path of the multiplexer of a container's pseudo terminals, mounted by rootfs_pod_steps(). Freed by the caller. */
char *rootfs_ptmx_path(unsigned container);

/* Generated files. Freed by the caller. */
char *rootfs_hosts(const struct spec_pod *pod, const char *hostname);
char *rootfs_resolv_conf(const struct spec_pod *pod);

#endif
