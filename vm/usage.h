/* SPDX-License-Identifier: Apache-2.0 */
/* usage: what a pod uses, as the answer to "stats" (live/talk.h). docs/architecture.md lists the members. */
#ifndef VM_USAGE_H
#define VM_USAGE_H

#include "live/talk.h"
#include "pod/spec.h"
#include "pod/wire.h"

/* uses has as many entries as spec has containers. What has no limit or is not known is null. Fresh. */
struct message *usage_message(const struct spec_pod *spec, const struct wire_stats *stats, const struct wire_use *uses);

#endif
