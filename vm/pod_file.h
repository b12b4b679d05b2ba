/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_file: the pod file, and what it names of this host: root directories and volumes become shares, raw volumes disks,
 * podvm.sockets listeners and ways out. Devices and sockets are handed in; nothing is made here but an open disk.
 *
 * pod_file is the path the spec was read from: relative paths begin in its directory, and messages name it. Host set-up:
 * what is missing or of the wrong kind ends podvm with one line that has the key and the path. Before the guest runs.
 */
#ifndef VM_POD_FILE_H
#define VM_POD_FILE_H

#include "devices/disk.h"
#include "devices/fs.h"
#include "pod/spec.h"
#include "pod/wire.h"
#include "vm/loop.h"
#include "vm/sockets.h"

#include <stdbool.h>

/* The spec, what its uris name fetched (vm/pod_uri.h), or the end: every fault of the file is told. */
struct spec_pod *pod_file_read(const char *pod_file, bool strict);

/* Every container's root and every volume that is a directory or a file; wire is told which is what. */
void pod_file_share(const char *pod_file, const struct spec_pod *spec, struct fs *fs, struct wire_pod *wire);

/* The disk of a volume of SPEC_VOLUME_RAW; disk_close() is the caller's. */
struct disk *pod_file_disk_open(const char *pod_file, const struct spec_pod *spec, unsigned volume, struct loop *loop);

/* All of podvm.sockets. */
void pod_file_sockets(const char *pod_file, const struct spec_pod *spec, struct sockets *sockets);

#endif
