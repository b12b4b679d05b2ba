/* SPDX-License-Identifier: Apache-2.0 */
/*
 * THE GUEST STORY, top to bottom: file systems -> limits -> network -> host -> the pod (serve.c) -> reset. Nothing
 * here belongs to one pod, so all of it is done once per template and not at all when a clone starts.
 *
 * Theory of operation of the root. The kernel starts /init in rootfs, which can be neither unmounted nor pivoted:
 * containers, which leave their old root behind by pivot_root, could not be made from it. So the very first step is to
 * move to a tmpfs, mounted over rootfs and moved to "/". Nothing is copied: /init stays below, mapped by this process.
 */
#define _GNU_SOURCE

#include "init/init.h"

#include "init/milestone.h"
#include "init/network.h"
#include "init/serve.h"
#include "init/steps.h"
#include "lib/log.h"
#include "lib/util.h"
#include "pod/abi.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define GUARDED (MS_NOSUID | MS_NODEV | MS_NOEXEC)

enum { SMALL_FILE_MAX = 8192 };

static const struct step file_systems[] = {
	{STEP_MKDIR, .target = "/root", .mode = 0755},
	{STEP_MOUNT, .source = "root", .target = "/root", .type = "tmpfs",
	 .flags = MS_NOSUID | MS_NODEV, .data = "mode=755"},
	{STEP_MOVE_ROOT, .target = "/root"},
	{STEP_MKDIR, .target = "/proc", .mode = 0555},
	{STEP_MOUNT, .source = "proc", .target = "/proc", .type = "proc", .flags = GUARDED},
	{STEP_MKDIR, .target = "/dev", .mode = 0755},
	{STEP_MOUNT, .source = "dev", .target = "/dev", .type = "devtmpfs", .flags = MS_NOSUID},
	{STEP_MKDIR, .target = "/sys", .mode = 0555},
	{STEP_MOUNT, .source = "sysfs", .target = "/sys", .type = "sysfs", .flags = GUARDED},
	{STEP_MOUNT, .source = "cgroup", .target = "/sys/fs/cgroup", .type = "cgroup2", .flags = GUARDED},
	/* PID 1 goes last when memory runs out; containers take this back for themselves. */
	{STEP_WRITE, .target = "/proc/self/oom_score_adj", .data = "-1000"},
	{STEP_WRITE, .target = "/proc/sys/fs/file-max", .data = "9223372036854775807"},
	/* A pod's network is its own: port 80 and ping need no privilege in it (as Docker has it). */
	{STEP_WRITE, .optional = true, .target = "/proc/sys/net/ipv4/ip_unprivileged_port_start", .data = "0"},
	{STEP_WRITE, .optional = true, .target = "/proc/sys/net/ipv4/ping_group_range", .data = "0 2147483647"},
};

/* Set-up faults: said where a console, if any, shows them; then the kernel resets, as PID 1 is gone (panic=-1). */

static void mount_file_systems(void)
{
	const struct step *failed;
	char text[256];
	int err = steps_run(file_systems, ARRAY_SIZE(file_systems), &failed);

	if (err) {
		step_print(failed, text, sizeof(text));
		die_errno(-err, "%s", text);
	}
}

/* The kernel may have had no console to give. Messages go to its log, input and output nowhere. */
static void open_standard_streams(void)
{
	int null = open("/dev/null", O_RDWR), log;

	if (null < 0)
		return;
	log = open("/dev/kmsg", O_WRONLY);
	dup2(null, 0);
	dup2(null, 1);
	dup2(log >= 0 ? log : null, 2);
	if (log > 2)
		close(log);
	if (null > 2)
		close(null);
}

/* The kernel lets through ten messages in five seconds unless told otherwise. */
static void show_all_messages(void)
{
	static const struct step step = {STEP_WRITE, .target = "/proc/sys/kernel/printk_devkmsg", .data = "on"};
	const struct step *failed;

	log_verbose = true;
	steps_run(&step, 1, &failed);
}

static void read_command_line(void)
{
	char *text, *at, *word;
	size_t bytes;

	if (file_read("/proc/cmdline", SMALL_FILE_MAX, &text, &bytes) < 0)
		return;
	for (word = strtok_r(text, " \n", &at); word; word = strtok_r(NULL, " \n", &at)) {
		if (!strcmp(word, "podvm.trace"))
			milestone_enable();
		if (!strcmp(word, "podvm.debug"))
			show_all_messages();
	}
	free(text);
}

/* Every controller there is, for the containers' cgroups. */
static void enable_controllers(void)
{
	char *text, *at, *word, *list = xstrdup("");
	size_t bytes;
	int fd;

	if (file_read("/sys/fs/cgroup/cgroup.controllers", SMALL_FILE_MAX, &text, &bytes) < 0)
		text = xstrdup("");
	for (word = strtok_r(text, " \n", &at); word; word = strtok_r(NULL, " \n", &at)) {
		char *more = xasprintf("%s+%s ", list, word);

		free(list);
		list = more;
	}
	fd = open("/sys/fs/cgroup/cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write_all(fd, list, strlen(list)) < 0)
		log_warn("cgroup controllers %s: errno %d", list, errno);
	if (fd >= 0)
		close(fd);
	free(text);
	free(list);
}

static void raise_limits(void)
{
	static const struct rlimit files = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};

	umask(0);
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		log_warn("limit of open files: errno %d", errno);
}

static void set_network_up(void)
{
	const char *what;
	int err = network_up(&what);

	/* A pod without network is still a pod. */
	if (err)
		log_warn("network: %s: errno %d", what, -err);
}

/* To a port of the host. Without waiting, the connection may still be on its way. */
static int connect_host(uint32_t port, int flags)
{
	const struct sockaddr_vm host = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), err;

	if (fd < 0)
		return -errno;
	if (!connect(fd, (const struct sockaddr *)&host, sizeof(host)) || errno == EINPROGRESS)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static int connect_stream(void *ctx)
{
	(void)ctx;
	return connect_host(ABI_PORT_STREAM, SOCK_NONBLOCK);
}

static void reset_machine(void)
{
	reboot(RB_AUTOBOOT);
	_exit(EXIT_PODVM); /* can not be reached; would be a panic, and so a reset as well */
}

static void block_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
}

_Noreturn void init_main(void)
{
	struct serve_link link = {.connect = connect_stream, .leave = reset_machine};

	block_signals();
	log_set_name("podvm-init");
	mount_file_systems();
	open_standard_streams();
	read_command_line();
	milestone(ABI_TRACE_INIT_START); /* as early as the command line, which has to ask for it, can be read */
	raise_limits();
	enable_controllers();
	milestone(ABI_TRACE_MOUNTED);
	set_network_up();
	milestone(ABI_TRACE_NETWORK);
	link.control = connect_host(ABI_PORT_CONTROL, 0);
	if (link.control < 0)
		die_errno(-link.control, "no connection to the host");
	milestone(ABI_TRACE_CONNECTED);
	serve(&link);
}
