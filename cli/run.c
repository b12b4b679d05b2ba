// SPDX-License-Identifier: Apache-2.0
/* podvm run: the words of its command line. What they start is told in vmm.c. */
#include "cli/cli.h"

#include "lib/log.h"
#include "live/dir.h"

#include <getopt.h>
#include <stddef.h>
#include <string.h>

enum { OPT_NAME = 256, OPT_KERNEL, OPT_TRACE_BOOT, OPT_CONSOLE, OPT_APPEND, OPT_PCAP, OPT_STRICT, OPT_VERBOSE };

static const struct option long_options[] = {
	{"name", required_argument, NULL, OPT_NAME},
	{"kernel", required_argument, NULL, OPT_KERNEL},
	{"trace-boot", no_argument, NULL, OPT_TRACE_BOOT},
	{"console", no_argument, NULL, OPT_CONSOLE},
	{"append", required_argument, NULL, OPT_APPEND},
	{"pcap", required_argument, NULL, OPT_PCAP},
	{"strict", no_argument, NULL, OPT_STRICT},
	{"verbose", no_argument, NULL, OPT_VERBOSE},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

/* Fills options; false, with the exit code in *code, when there is nothing to run. */
static bool options_parse(const struct cli_command *command, int argc, char **argv, struct run_options *options, int *code)
{
	int opt;

	opterr = 0;
	optind = 1;
	*code = EXIT_USAGE;
	while ((opt = getopt_long(argc, argv, "+:h", long_options, NULL)) != -1) {
		switch (opt) {
		case OPT_NAME:
			if (!dir_name_good(optarg)) {
				cli_usage_error(command, "--name %s: expected letters, digits, \"-\", \"_\" and \".\", the first a "
							 "letter or digit, at most %d", optarg, DIR_NAME_BYTES_MAX);
				return false;
			}
			options->name = optarg;
			break;
		case OPT_KERNEL:
			options->kernel = optarg;
			break;
		case OPT_TRACE_BOOT:
			options->trace_boot = true;
			break;
		case OPT_CONSOLE:
			options->console = true;
			break;
		case OPT_APPEND:
			options->append = optarg;
			break;
		case OPT_PCAP:
			options->pcap = optarg;
			break;
		case OPT_STRICT:
			options->strict = true;
			break;
		case OPT_VERBOSE:
			log_verbose = true;
			break;
		case 'h':
			cli_help_print(command);
			*code = 0;
			return false;
		case ':':
			cli_usage_error(command, "%s needs a value", argv[optind - 1]);
			return false;
		default:
			cli_option_unknown(command, argv, long_options);
			return false;
		}
	}
	return true;
}

static int run_main(const struct cli_command *command, int argc, char **argv)
{
	struct run_options options = {.pod_file = NULL};
	int code;

	if (!options_parse(command, argc, argv, &options, &code))
		return code;
	if (optind == argc)
		return cli_usage_error(command, "which pod? give its file");
	if (optind + 1 < argc)
		return cli_usage_error(command, "one pod file, please; %s is one too many", argv[optind + 1]);
	options.pod_file = argv[optind];
	return cli_run_fn()(&options);
}

const struct cli_command cmd_run = {
	.name = "run",
	.summary = "Run the pod that FILE describes and return its exit code",
	.usage = "[options] FILE",
	.help = "Options:\n"
		"  --name NAME     by which other commands find the pod; else the file's id, with letters behind it when\n"
		"                  another pod has it\n"
		"  --kernel FILE   boot this vmlinux or bzImage instead of the built-in kernel\n"
		"  --append TEXT   add TEXT to the guest's kernel command line\n"
		"  --console       show the guest's kernel messages on stderr\n"
		"  --pcap FILE     write all frames of the pod's network to FILE, for tcpdump or wireshark\n"
		"  --strict        treat warnings about FILE as errors\n"
		"  --trace-boot    print a time line of the start to stderr\n"
		"  --verbose       say more about what podvm does\n"
		"  -h, --help      this text\n\n"
		"Examples:\n"
		"  podvm pod.json                the same as podvm run pod.json\n"
		"  podvm run --trace-boot pod.json\n"
		"  echo hello | podvm pod.json   stdin goes to the first container\n\n"
		"Exit code: the first container's, in the file's order, that did not end with 0, else 0; 128+n when it\n"
		"died of signal n; 125 podvm failed; 126 command not executable; 127 command not found.\n"
		"Ctrl-C or SIGTERM stops the pod: 5 seconds to end, then kill. A second Ctrl-C kills at once.\n",
	.main = run_main,
};
