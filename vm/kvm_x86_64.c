// SPDX-License-Identifier: Apache-2.0
/*
 * kvm_x86_64: what of the machine is x86-64: interrupt chips, CPUID, the first registers. No legacy timer: time comes
 * from kvmclock and the TSC deadline timer.
 */
#include "lib/util.h"
#include "vm/kvm_arch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
	CPUID_ENTRIES_MAX = 256,
	/* KVM wants three pages for itself on Intel without unrestricted guest; in the hole below 4 GiB. */
	TSS_GPA = 0xfffbd000,
	CR0_PE = 1 << 0,
	CR0_ET = 1 << 4,
	CR4_PAE = 1 << 5,
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,
	MSR_IA32_MISC_ENABLE = 0x1a0,
	MISC_ENABLE_FAST_STRING = 1,
	MSR_MTRR_DEF_TYPE = 0x2ff,
	MTRR_ENABLED_WRITE_BACK = 1 << 11 | 6,
	APIC_LVT_LINT0 = 0x350,
	APIC_LVT_LINT1 = 0x360,
	APIC_MODE_EXTINT = 7,
	APIC_MODE_NMI = 4,
};

#define CR0_PG (UINT64_C(1) << 31)

int kvm_arch_vm_init(int vm_fd)
{
	if (ioctl(vm_fd, KVM_SET_TSS_ADDR, (unsigned long)TSS_GPA) < 0)
		return -errno;
	if (ioctl(vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return -errno;
	return 0;
}

/* Bits that hold APIC ids for count CPUs. */
static unsigned apic_id_bits(unsigned count)
{
	unsigned bits = 0;

	while (1u << bits < count)
		bits++;
	return bits;
}

/* Extended topology (leaves 0xb and 0x1f): one thread per core, all cores in one package. */
static void cpuid_topology(struct kvm_cpuid_entry2 *e, unsigned index, unsigned count)
{
	static const uint32_t level_types[] = {1, 2}; /* SMT, core */

	e->edx = index;
	e->eax = e->ebx = 0;
	e->ecx = e->index;
	if (e->index >= ARRAY_SIZE(level_types))
		return;
	e->ecx |= level_types[e->index] << 8;
	e->eax = e->index == 0 ? 0 : apic_id_bits(count);
	e->ebx = e->index == 0 ? 1 : count;
}

static void cpuid_leaf_1(struct kvm_cpuid_entry2 *e, unsigned index, unsigned count)
{
	e->ebx = (e->ebx & 0xffff) | index << 24 | count << 16;
	e->ecx |= UINT32_C(1) << 31; /* a hypervisor is there */
	e->ecx |= UINT32_C(1) << 24; /* TSC deadline timer: KVM's local APIC has it, whatever the silicon */
	if (count > 1)
		e->edx |= UINT32_C(1) << 28; /* HTT: the count above holds */
	else
		e->edx &= ~(UINT32_C(1) << 28);
}

static void cpuid_adjust(struct kvm_cpuid_entry2 *e, unsigned index, unsigned count)
{
	switch (e->function) {
	case 0x1:
		cpuid_leaf_1(e, index, count);
		break;
	case 0x4: /* Intel caches: private to a core below level 3 */
	case 0x8000001d: /* AMD caches */
		e->eax &= 0x3fff;
		if (e->function == 0x4)
			e->eax |= (count - 1) << 26;
		if ((e->eax >> 5 & 7) == 3)
			e->eax |= (count - 1) << 14;
		break;
	case 0xb:
	case 0x1f:
		cpuid_topology(e, index, count);
		break;
	case 0xa: /* no performance counters for pods */
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0x80000008:
		e->ecx = (e->ecx & ~UINT32_C(0xf0ff)) | apic_id_bits(count) << 12 | (count - 1);
		break;
	case 0x8000001e: /* AMD: APIC id, one thread per core, one node */
		e->eax = index;
		e->ebx = index;
		e->ecx = 0;
		break;
	}
}

/* All that KVM supports here, told for one thread per core. */
static int cpuid_set(int kvm_fd, int vcpu_fd, unsigned index, unsigned count)
{
	struct kvm_cpuid2 *cpuid = xcalloc(1, sizeof(*cpuid) + CPUID_ENTRIES_MAX * sizeof(cpuid->entries[0]));
	int err = 0;

	cpuid->nent = CPUID_ENTRIES_MAX;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0) {
		err = -errno;
		goto done;
	}
	for (uint32_t i = 0; i < cpuid->nent; i++)
		cpuid_adjust(&cpuid->entries[i], index, count);
	if (ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid) < 0)
		err = -errno;
done:
	free(cpuid);
	return err;
}

static int msrs_set(int vcpu_fd)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[2];
	} msrs = {
		.head.nmsrs = 2,
		.entries = {
			{.index = MSR_IA32_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING},
			{.index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLED_WRITE_BACK},
		},
	};
	int done = ioctl(vcpu_fd, KVM_SET_MSRS, &msrs);

	if (done < 0)
		return -errno;
	/* Neither is vital: a host that refuses one leaves its reset value. */
	return 0;
}

/* LINT0 takes the old interrupt controller's line, LINT1 NMIs, as the MP table says. */
static int lapic_set(int vcpu_fd)
{
	struct kvm_lapic_state lapic;
	uint32_t lint0 = APIC_MODE_EXTINT << 8, lint1 = APIC_MODE_NMI << 8;

	if (ioctl(vcpu_fd, KVM_GET_LAPIC, &lapic) < 0)
		return -errno;
	memcpy(&lapic.regs[APIC_LVT_LINT0], &lint0, sizeof(lint0));
	memcpy(&lapic.regs[APIC_LVT_LINT1], &lint1, sizeof(lint1));
	return ioctl(vcpu_fd, KVM_SET_LAPIC, &lapic) < 0 ? -errno : 0;
}

/* Flat segments; selector and type match the GDT that vm/boot_x86_64.c lays down. */
static struct kvm_segment segment_flat(uint16_t selector, uint8_t type, bool code)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.l = code,
		.db = !code,
		.g = 1,
	};
}

/* 64-bit mode, paging on, interrupts off: the 64-bit entry of Linux (Documentation/arch/x86/boot.rst). */
static int sregs_set(int vcpu_fd, const struct kvm_entry *entry)
{
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs = segment_flat(0x10, 0xb, true);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment_flat(0x18, 0x3, false);
	sregs.tr = (struct kvm_segment){.limit = 0x67, .selector = 0x20, .type = 0xb, .present = 1};
	sregs.gdt.base = entry->gdt_gpa;
	sregs.gdt.limit = (uint16_t)(entry->gdt_bytes - 1);
	sregs.idt.base = 0;
	sregs.idt.limit = 0;
	sregs.cr3 = entry->cr3_gpa;
	sregs.cr4 = CR4_PAE;
	sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
	sregs.efer = EFER_LME | EFER_LMA;
	return ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ? -errno : 0;
}

static int regs_set(int vcpu_fd, const struct kvm_entry *entry)
{
	struct kvm_regs regs = {
		.rflags = 2, /* the bit that is always one */
		.rip = entry->rip,
		.rsi = entry->rsi,
		.rsp = entry->rsp,
		.rbp = entry->rsp,
	};

	return ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0 ? -errno : 0;
}

int kvm_arch_vcpu_init(int kvm_fd, int vcpu_fd, unsigned index, unsigned count, const struct kvm_entry *entry)
{
	int err = cpuid_set(kvm_fd, vcpu_fd, index, count);

	if (!err)
		err = msrs_set(vcpu_fd);
	if (!err)
		err = lapic_set(vcpu_fd);
	/* The others wait for the first one's INIT and SIPI. */
	if (err || index > 0)
		return err;
	err = sregs_set(vcpu_fd, entry);
	return err ? err : regs_set(vcpu_fd, entry);
}

/* 16-bit code at 0: mov ecx, 50000; 1: dec ecx; jnz 1b; hlt */
size_t kvm_arch_check_code(uint8_t *code, size_t bytes, uint64_t *instructions)
{
	enum { rounds = 50000 };
	static const uint8_t text[] = {0x66, 0xb9, rounds & 0xff, rounds >> 8 & 0xff, rounds >> 16 & 0xff, 0,
				       0x66, 0x49, 0x75, 0xfc, 0xf4};

	memcpy(code, text, MIN(bytes, sizeof(text)));
	*instructions = 2 * (uint64_t)rounds + 2;
	return sizeof(text);
}

int kvm_arch_check_init(int vcpu_fd)
{
	struct kvm_regs regs = {.rflags = 2, .rip = 0};
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}
