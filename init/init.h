/* SPDX-License-Identifier: Apache-2.0 */
/* init: PID 1 of the guest. The host half includes nothing else of init/. */
#ifndef INIT_INIT_H
#define INIT_INIT_H

/* Sets the guest up, runs the pod the host sends, and resets the machine. Never returns. */
_Noreturn void init_main(void);

#endif
