// SPDX-License-Identifier: Apache-2.0
/* podvm version: what this file was built from. */
#include "cli/cli.h"

#include "versions.h"
#include "vm/payload.h"

#include <stdio.h>
#include <string.h>

static int version_main(const struct cli_command *command, int argc, char **argv)
{
	struct payload payload;
	char kernel[64] = "none (built without; use --kernel)";

	if (argc > 1) {
		if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
			cli_help_print(command);
			return 0;
		}
		return cli_usage_error(command, "%s: nothing more to say", argv[1]);
	}
	if (payload_open(&payload) == 0) {
		payload_kernel_version(&payload, kernel, sizeof(kernel));
		payload_close(&payload);
	}
	printf("podvm %s\nkernel %s\nmusl %s\nlibslirp %s\ncJSON %s\nliburing %s\n", PODVM_VERSION, kernel,
	       PODVM_MUSL_VERSION, PODVM_LIBSLIRP_VERSION, PODVM_CJSON_VERSION, PODVM_LIBURING_VERSION);
	return 0;
}

const struct cli_command cmd_version = {
	.name = "version",
	.summary = "Print the versions of podvm and of what is inside",
	.usage = "",
	.help = "Example:\n  podvm version\n",
	.main = version_main,
};
