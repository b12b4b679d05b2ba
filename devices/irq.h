/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irq: the interrupt line a device is given. What is behind it (a line of the I/O APIC, a counter in a test) it does not know.
 */
#ifndef DEVICES_IRQ_H
#define DEVICES_IRQ_H

struct irq_line {
	void (*raise)(void *ctx);
	void *ctx;
};

/* Edge: one call, one interrupt. Any thread. */
static inline void irq_raise(const struct irq_line *line)
{
	line->raise(line->ctx);
}

#endif
