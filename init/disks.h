/* SPDX-License-Identifier: Apache-2.0 */
/* disks: the pod's volumes that are disks: found, mounted once each, and left clean at the end. */
#ifndef INIT_DISKS_H
#define INIT_DISKS_H

#include "pod/spec.h"

#include <stddef.h>

/* Where volume number %u is mounted, for whoever binds it; no "/" in front. */
#define DISKS_PATH_FMT "run/podvm/disk/vol%u"

/* PID 1, once. 0, or -errno and why in text, with the volume's name. */
int disks_mount(const struct spec_pod *pod, char *text, size_t room);

/*
 * Writes everything back and leaves the file systems marked clean. Processes that still write are waited for, and reaped,
 * at most two seconds: they were killed before. Calling it again does nothing.
 */
void disks_leave(void);

/* The block device below directory (/sys/block) that belongs to volume number index: 0 with its name, or -ENOENT. */
int disks_find(const char *directory, unsigned index, char *name, size_t room);

#endif
