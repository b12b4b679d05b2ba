/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start: the 64-bit entry of the hostile kernel (docs in hostile.h), exception entries, and instructions that may fault.
 *
 * At the entry (vm/boot_x86_64.c): 64-bit mode, the first 4 GiB mapped one to one, interrupts off, rsi at boot_params, GDT with
 * code at 0x10 and data at 0x18.
 */
	.section .text.start, "ax"
	.globl _start
_start:
	cld
	lea	stack_top(%rip), %rsp
	mov	%rsi, %rdi
	call	hostile_main
stop:	cli
	hlt
	jmp	stop

	.text
/*
 * Exceptions. Those that a probe expects go on at trap_resume with the vector in trap_vector; any other is told and ends
 * the run. An error code, where the CPU pushes one, is dropped.
 */
	.macro	entry number
	.balign	32
	.if (\number == 8) || (\number >= 10 && \number <= 14) || (\number == 17) || (\number == 21) || (\number == 29) || (\number == 30)
	add	$8, %rsp
	.endif
	push	%rax
	movl	$\number, trap_vector(%rip)
	jmp	trapped
	.endm

	.balign	32
	.globl	trap_entries
trap_entries:
	.irp	number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	entry	\number
	.endr

trapped:
	mov	trap_resume(%rip), %rax
	test	%rax, %rax
	jz	unexpected
	xchg	%rax, 8(%rsp)		/* the address to return to */
	mov	%rax, trap_rip(%rip)
	movq	$0, trap_resume(%rip)
	pop	%rax
	iretq
unexpected:
	mov	8(%rsp), %rdi
	call	hostile_trapped
	jmp	stop

/* bool probe_...(): false when the instruction trapped. Registers a callee must keep are kept. */
	.macro	probe name
	.globl	\name
\name:
	lea	9f(%rip), %rax
	mov	%rax, trap_resume(%rip)
	.endm
	.macro	probed
	movq	$0, trap_resume(%rip)
	mov	$1, %eax
	ret
9:	xor	%eax, %eax
	ret
	.endm

	probe	probe_rdmsr		/* (msr, value *) */
	mov	%edi, %ecx
	rdmsr
	mov	%eax, (%rsi)
	mov	%edx, 4(%rsi)
	probed

	probe	probe_wrmsr		/* (msr, value) */
	mov	%edi, %ecx
	mov	%esi, %eax
	mov	%rsi, %rdx
	shr	$32, %rdx
	wrmsr
	probed

	.macro	hypercall name, instruction
	probe	\name			/* (number, argument) */
	push	%rbx
	mov	%rdi, %rax
	mov	%rsi, %rbx
	mov	%rsi, %rcx
	mov	%rsi, %rdx
	\instruction
	pop	%rbx
	movq	$0, trap_resume(%rip)
	mov	$1, %eax
	ret
9:	pop	%rbx
	xor	%eax, %eax
	ret
	.endm

	hypercall probe_vmcall, vmcall
	hypercall probe_vmmcall, vmmcall

	probe	probe_read		/* (address, width): like any access, for addresses that may fault */
	cmp	$1, %esi
	je	1f
	cmp	$2, %esi
	je	2f
	cmp	$4, %esi
	je	4f
	mov	(%rdi), %rdx
	jmp	5f
1:	movb	(%rdi), %dl
	jmp	5f
2:	movw	(%rdi), %dx
	jmp	5f
4:	movl	(%rdi), %edx
5:	probed

	probe	probe_write		/* (address, width, value) */
	cmp	$1, %esi
	je	1f
	cmp	$2, %esi
	je	2f
	cmp	$4, %esi
	je	4f
	mov	%rdx, (%rdi)
	jmp	5f
1:	movb	%dl, (%rdi)
	jmp	5f
2:	movw	%dx, (%rdi)
	jmp	5f
4:	movl	%edx, (%rdi)
5:	probed

	probe	probe_odd_instructions	/* (address): what KVM's emulator has to carry out */
	lock addl $1, (%rdi)
	xchg	%edx, (%rdi)
	btsl	$3, (%rdi)
	movzwl	2(%rdi), %edx
	mov	%rdi, %r8
	mov	%rdi, %rsi
	mov	$8, %ecx
	rep movsl
	mov	%r8, %rdi
	xor	%eax, %eax
	mov	$64, %ecx
	rep stosb
	probed

	.bss
	.balign	16
	.space	65536
stack_top:
	.section .note.GNU-stack, "", @progbits
