/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_read: a pod file on disk as a spec. What pod/spec.h leaves out: the file is opened and read. Nothing else of the
 * host is looked at, nothing is fetched: whether an image, a volume or what a uri names is there is only known when the
 * pod starts (vm/pod_file.h, vm/pod_uri.h).
 */
#ifndef POD_SPEC_READ_H
#define POD_SPEC_READ_H

#include <stdbool.h>

#include "pod/spec.h"

/*
 * A fresh spec for spec_free(), or NULL when the file can not be read or is not in order, every reason told as spec_parse() tells it.
 * strict turns warnings into errors.
 */
struct spec_pod *spec_read(const char *path, bool strict, spec_report_fn *report, void *ctx);

/* A report function for people: one line on stderr, which says "warning: " where it is one. ctx is not used. */
spec_report_fn spec_read_log;

#endif
