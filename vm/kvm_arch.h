/* SPDX-License-Identifier: Apache-2.0 */
/* kvm_arch: the seam between vm/kvm.c and its one architecture file. Nobody else includes it. */
#ifndef VM_KVM_ARCH_H
#define VM_KVM_ARCH_H

#include "vm/kvm.h"

#include <linux/kvm.h>

/* Interrupt controllers and other parts of the machine that exist before the first vCPU. 0 or -errno. */
int kvm_arch_vm_init(int vm_fd);

/* Brings vCPU index of count to its first instruction. kvm_fd is /dev/kvm. 0 or -errno. */
int kvm_arch_vcpu_init(int kvm_fd, int vcpu_fd, unsigned index, unsigned count, const struct kvm_entry *entry);

/* Code for kvm_check(): counts down *instructions* and halts; returns its size, at most bytes. It runs at GPA 0. */
size_t kvm_arch_check_code(uint8_t *code, size_t bytes, uint64_t *instructions);
/* Sets a vCPU to run that code. */
int kvm_arch_check_init(int vcpu_fd);

#endif
