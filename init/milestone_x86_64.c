/* SPDX-License-Identifier: Apache-2.0 */
/*
 * milestone: one write to an I/O port, as it needs no driver and costs one exit. Owns the permission for that port.
 */
#include "init/milestone.h"

#include "lib/log.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/io.h>

static bool is_enabled;

void milestone_enable(void)
{
	is_enabled = ioperm(ABI_TRACE_PORT, 1, 1) == 0;
	if (!is_enabled)
		log_warn("no boot trace: ioperm: errno %d", errno);
}

void milestone(enum abi_trace reached)
{
	log_debug("milestone %d", reached);
	if (is_enabled)
		outb((unsigned char)reached, ABI_TRACE_PORT);
}
