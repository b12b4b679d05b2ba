// SPDX-License-Identifier: Apache-2.0
/*
 * podvm validate and podvm spec: what a pod file says, without running it. Neither looks at anything but the file, so
 * both work where there is no KVM, image or volume.
 */
#include "cli/cli.h"

#include "lib/log.h"
#include "pod/spec_read.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const struct option long_options[] = {
	{"strict", no_argument, NULL, 's'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

/* The options both take. False, with the exit code in *code, when there is nothing to do. */
static bool options_parse(const struct cli_command *command, int argc, char **argv, bool *strict, int *code)
{
	int opt;

	opterr = 0;
	optind = 1;
	*code = EXIT_USAGE;
	while ((opt = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		switch (opt) {
		case 's':
			*strict = true;
			break;
		case 'h':
			cli_help_print(command);
			*code = 0;
			return false;
		default:
			cli_option_unknown(command, argv, long_options);
			return false;
		}
	}
	if (optind == argc)
		cli_usage_error(command, "which pod? give its file");
	return optind < argc;
}

static int validate_main(const struct cli_command *command, int argc, char **argv)
{
	bool strict = false;
	int code;

	if (!options_parse(command, argc, argv, &strict, &code))
		return code;
	code = 0;
	for (int i = optind; i < argc; i++) {
		struct spec_pod *pod = spec_read(argv[i], strict, spec_read_log, NULL);

		if (!pod)
			code = EXIT_PODVM;
		spec_free(pod);
	}
	return code;
}

static int spec_main(const struct cli_command *command, int argc, char **argv)
{
	struct spec_pod *pod;
	bool strict = false;
	char *text;
	int code;

	if (!options_parse(command, argc, argv, &strict, &code))
		return code;
	if (optind + 1 < argc)
		return cli_usage_error(command, "one pod file, please; %s is one too many", argv[optind + 1]);
	pod = spec_read(argv[optind], strict, spec_read_log, NULL);
	if (!pod)
		return EXIT_PODVM; /* every fault was told */
	text = spec_print(pod);
	if (puts(text) < 0 || fflush(stdout))
		die_errno(errno, "stdout");
	free(text);
	spec_free(pod);
	return 0;
}

const struct cli_command cmd_validate = {
	.name = "validate",
	.summary = "Check pod files without running them",
	.usage = "[--strict] FILE...",
	.help = "Says nothing when all is well. Otherwise every problem of every file is one line on stderr, with file, line,\n"
		"column and key. Looks at the files alone: whether images and volumes are there is known when the pod starts.\n\n"
		"Options:\n"
		"  --strict        treat warnings as errors\n"
		"  -h, --help      this text\n\n"
		"Examples:\n"
		"  podvm validate pod.json\n"
		"  podvm validate --strict pods/*.json\n\n"
		"Exit code: 0 when every file can be run, warnings or not; else 125.\n",
	.main = validate_main,
};

const struct cli_command cmd_spec = {
	.name = "spec",
	.summary = "Print the pod that FILE describes, every default filled in",
	.usage = "[--strict] FILE",
	.help = "The pod is one line of JSON: current key names, ranges of ports spread out, defaults in place. It is a pod\n"
		"file again, and what the guest is given. Problems of FILE go to stderr.\n\n"
		"Options:\n"
		"  --strict        treat warnings as errors\n"
		"  -h, --help      this text\n\n"
		"Examples:\n"
		"  podvm spec pod.json\n"
		"  podvm spec pod.json | python3 -m json.tool\n\n"
		"Exit code: 0, or 125 when FILE can not be run.\n",
	.main = spec_main,
};
