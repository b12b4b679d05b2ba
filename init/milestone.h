/* SPDX-License-Identifier: Apache-2.0 */
/* milestone: tells the host how far the start has come, when it wants to know (pod/abi.h, boot trace). */
#ifndef INIT_MILESTONE_H
#define INIT_MILESTONE_H

#include "pod/abi.h"

/* Before it, and where the kernel does not allow port I/O, milestone() does nothing. */
void milestone_enable(void);
void milestone(enum abi_trace reached);

#endif
