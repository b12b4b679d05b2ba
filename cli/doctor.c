// SPDX-License-Identifier: Apache-2.0
/* podvm doctor: can this machine run pods, and if not, what to do. */
#include "cli/cli.h"

#include "vm/kvm.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void missing_print(void)
{
	printf("This machine can not run pods: /dev/kvm is missing.\n"
	       "What to do: on a physical machine switch on virtualization (Intel VT-x or AMD SVM) in the firmware and\n"
	       "load the module (modprobe kvm-intel or kvm-amd); in a virtual machine ask for nested virtualization.\n");
}

static void permission_print(void)
{
	printf("This machine can run pods, but you may not: no permission for /dev/kvm.\n"
	       "What to do: sudo usermod -aG kvm %s, then log in again.\n",
	       getlogin() ? getlogin() : "$USER");
}

static void emulated_print(uint64_t rate)
{
	printf("This machine can not run pods: its KVM only emulates, %.1f million instructions a second.\n"
	       "There is a /dev/kvm, but no virtualization hardware behind it; a kernel would never finish booting.\n"
	       "What to do: use a machine with VT-x or SVM, or nested virtualization; for trying podvm out, its source\n"
	       "has scripts/bed, which emulates a whole KVM host.\n",
	       (double)rate / 1e6);
}

static int report_print(const struct kvm_report *report)
{
	switch (report->health) {
	case KVM_OK:
		printf("This machine can run pods: KVM works, %.0f million instructions a second in a small test.\n",
		       (double)report->instructions_per_s / 1e6);
		return 0;
	case KVM_MISSING:
		missing_print();
		break;
	case KVM_NO_PERMISSION:
		permission_print();
		break;
	case KVM_EMULATED:
		emulated_print(report->instructions_per_s);
		break;
	case KVM_BROKEN:
		printf("This machine can not run pods: /dev/kvm is there, but refuses work: %s.\n"
		       "What to do: look for kvm in the kernel log (dmesg); another hypervisor may hold the hardware.\n",
		       strerror(report->err));
		break;
	}
	return 1;
}

static int doctor_main(const struct cli_command *command, int argc, char **argv)
{
	struct kvm_report report;

	if (argc > 1) {
		if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
			cli_help_print(command);
			return 0;
		}
		return cli_usage_error(command, "%s: it takes no words", argv[1]);
	}
	report = kvm_check();
	return report_print(&report);
}

const struct cli_command cmd_doctor = {
	.name = "doctor",
	.summary = "Say whether this machine can run pods, and what to do if not",
	.usage = "",
	.help = "Exit code: 0 when it can, 1 when not.\n\nExample:\n  podvm doctor\n",
	.main = doctor_main,
};
