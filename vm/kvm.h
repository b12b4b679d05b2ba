/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm: the virtual machine itself: memory slots, vCPU threads, interrupt routing. Sole user of <linux/kvm.h>,
 * together with vm/kvm_x86_64.c, which holds what belongs to that architecture.
 */
#ifndef VM_KVM_H
#define VM_KVM_H

#include "devices/bus.h"
#include "devices/irq.h"
#include "devices/mem.h"
#include "vm/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KVM_VCPUS_MAX = 32 };

/* Why a machine stopped by itself. */
enum kvm_end {
	KVM_END_RESET,	     /* the guest asked for a reset */
	KVM_END_TRIPLE_FAULT, /* it crashed hard */
	KVM_END_ERROR,	     /* KVM could not go on; detail says why */
};

/* Told once, on the loop thread. detail is valid during the call. */
typedef void kvm_end_fn(void *ctx, enum kvm_end why, const char *detail);

struct kvm_config {
	const struct mem *mem;
	struct bus *mmio, *pio; /* filled in before kvm_start() */
	struct loop *loop;
	unsigned vcpus;
	kvm_end_fn *end;
	void *end_ctx;
};

/* Registers a vCPU begins with (64-bit mode, paging on); see vm/boot.h. */
struct kvm_entry {
	uint64_t rip, rsi, rsp, cr3_gpa, gdt_gpa;
	uint16_t gdt_bytes;
};

struct kvm;

/* Opens /dev/kvm and makes the machine with its memory. Host set-up: dies with one clear line. */
struct kvm *kvm_new(const struct kvm_config *config);

/* An interrupt line to the guest's I/O APIC, edge triggered, good until kvm_free(). Dies when KVM refuses. */
struct irq_line kvm_irq_line(struct kvm *kvm, unsigned gsi);

/* An eventfd that becomes readable when the guest writes value (32 bits) to gpa; the write does not leave the kernel. */
int kvm_kick_fd(struct kvm *kvm, uint64_t gpa, uint32_t value);

/* Makes the vCPUs and starts their threads, the first one at entry, the others waiting for it. */
void kvm_start(struct kvm *kvm, const struct kvm_entry *entry);

/*
 * Holds all vCPUs outside the guest and lets them go on; what is under way in devices goes on. Again is fine. The guest's
 * clock does not stand still meanwhile. Under loop_lock(); returns when no vCPU runs guest code any more.
 */
void kvm_pause(struct kvm *kvm);
void kvm_resume(struct kvm *kvm);

/* As if the guest had asked for a reset: end() is called in the next turn of the loop. Under loop_lock(). */
void kvm_request_reset(struct kvm *kvm);

/* Stops and joins the vCPU threads and frees everything. Not under loop_lock(). */
void kvm_free(struct kvm *kvm);

/* What this machine's KVM is worth. */
enum kvm_health {
	KVM_OK,
	KVM_MISSING,	    /* no /dev/kvm */
	KVM_NO_PERMISSION,
	KVM_BROKEN,	    /* there, but it refuses work; errno in err */
	KVM_EMULATED,	    /* works, but interprets instructions in software: no pod will ever start */
};

struct kvm_report {
	enum kvm_health health;
	int err;
	uint64_t instructions_per_s; /* measured in a tiny guest; 0 when not measured */
};

/* Runs a small loop in a tiny guest and times it. Takes under a second even where KVM only emulates. */
struct kvm_report kvm_check(void);
/* Dies where KVM only emulates: a pod would sit there for ever, without an error. */
void kvm_refuse_emulated(void);

#endif
