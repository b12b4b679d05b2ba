/* SPDX-License-Identifier: Apache-2.0 */
/* timekeeping: the guest's clock after the host's: by a step when it is far off, by running a little faster or slower when not. */
#ifndef INIT_TIMEKEEPING_H
#define INIT_TIMEKEEPING_H

#include <stdint.h>

/* From this on a difference is stepped over: slewing, at half a thousandth, would take a quarter of an hour. */
enum { TIMEKEEPING_STEP_MS = 500 };

enum timekeeping { TIMEKEEPING_NOTHING, TIMEKEEPING_SLEW, TIMEKEEPING_STEP };
/* What to do when the clock says now_ns and the host host_ns. */
enum timekeeping timekeeping_decide(uint64_t now_ns, uint64_t host_ns);

/* Does it. 0 or -errno. */
int timekeeping_follow(uint64_t host_ns);

#endif
