/* SPDX-License-Identifier: Apache-2.0 */
/* test_steps: file system set-up as text, without root, and the steps that need none. */
#define _GNU_SOURCE

#include "init/disks.h"
#include "init/rootfs.h"
#include "init/steps.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static char *print(const struct steps *steps)
{
	char *text;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	steps_print(steps->at, steps->count, out);
	fclose(out);
	return text;
}

static bool has_line(const char *text, const char *line)
{
	const char *at = strstr(text, line);

	return at && (at == text || at[-1] == '\n') && at[strlen(line)] == '\n';
}

static unsigned line_of(const char *text, const char *line)
{
	const char *at = strstr(text, line);
	unsigned number = 1;

	for (; text < at; text++)
		number += *text == '\n';
	return at ? number : 0;
}

/* A pod of two containers, three volumes and a file, as the parser would give it. */
static struct spec_mount mounts[] = {
	{.path = (char *)"/data", .volume_index = 0},
	{.path = (char *)"/conf/app.conf", .volume_index = 1, .read_only = true},
	{.path = (char *)"/etc/hosts", .volume_index = 2},
	{.path = (char *)"/disk", .volume_index = 3},
};
static struct spec_place places[] = {{.path = (char *)"/etc/", .filename = (char *)"resolv.conf", .perm = 0644}};
static struct spec_container containers[] = {
	{.name = (char *)"a", .workdir = (char *)"/work", .mounts = mounts, .mount_count = 4, .read_only = true},
	{.name = (char *)"b", .workdir = (char *)"/", .tty = true, .files = places, .file_count = 1},
};
static struct spec_volume volumes[] = {
	{.name = (char *)"p", .source = (char *)"", .kind = SPEC_VOLUME_PRIVATE},
	{.name = (char *)"f", .source = (char *)"/host/app.conf", .kind = SPEC_VOLUME_PATH},
	{.name = (char *)"h", .source = (char *)"/host/hosts", .kind = SPEC_VOLUME_PATH},
	{.name = (char *)"d", .source = (char *)"/host/d.img", .kind = SPEC_VOLUME_RAW, .fstype = (char *)"ext4"},
};
static struct spec_file files[] = {{.name = (char *)"resolv.conf", .content = (char *)"x", .uri = (char *)""}};
static const struct spec_pod pod = {.containers = containers, .container_count = 2,
				    .volumes = volumes, .volume_count = 4, .files = files, .file_count = 1};
static const struct wire_pod wire = {.volume_is_file = {1u << 1 | 1u << 2}};

TEST(pod_steps)
{
	struct steps steps = {0};
	char *text;

	rootfs_pod_steps(&steps, &pod, &wire);
	text = print(&steps);
	CHECK_STR(text,
		  "mkdir /run/podvm/fs mode 0755\n"
		  "mount /run/podvm/fs from podvm type virtiofs flags nodev\n"
		  "mkdir /run/podvm/shm mode 0755\n"
		  "mount /run/podvm/shm from shm type tmpfs data mode=1777 flags nosuid,nodev,noexec\n"
		  "mkdir /run/podvm/private mode 0755\n"
		  "mount /run/podvm/private from tmpfs type tmpfs data mode=755 flags nodev\n"
		  "mkdir /run/podvm/private/vol0 mode 0777\n"
		  "mkdir /run/podvm/c0/rw mode 0700\n"
		  "mkdir /run/podvm/c0/root mode 0755\n"
		  "mount /run/podvm/c0/rw from tmpfs type tmpfs data mode=700\n"
		  "mkdir /run/podvm/c0/rw/upper mode 0755\n"
		  "mkdir /run/podvm/c0/rw/work mode 0700\n"
		  "mount /run/podvm/c0/root from overlay type overlay data lowerdir=/run/podvm/fs/root0,"
		  "upperdir=/run/podvm/c0/rw/upper,workdir=/run/podvm/c0/rw/work\n"
		  "mkdir /run/podvm/c0/pts mode 0755\n"
		  "mount /run/podvm/c0/pts from devpts type devpts "
		  "data mode=620,gid=5,ptmxmode=666 flags nosuid,noexec\n"
		  "mkdir /run/podvm/c1/rw mode 0700\n"
		  "mkdir /run/podvm/c1/root mode 0755\n"
		  "mount /run/podvm/c1/rw from tmpfs type tmpfs data mode=700\n"
		  "mkdir /run/podvm/c1/rw/upper mode 0755\n"
		  "mkdir /run/podvm/c1/rw/work mode 0700\n"
		  "mount /run/podvm/c1/root from overlay type overlay data lowerdir=/run/podvm/fs/root1,"
		  "upperdir=/run/podvm/c1/rw/upper,workdir=/run/podvm/c1/rw/work\n"
		  "mkdir /run/podvm/c1/pts mode 0755\n"
		  "mount /run/podvm/c1/pts from devpts type devpts "
		  "data mode=620,gid=5,ptmxmode=666 flags nosuid,noexec\n");
	free(text);
	steps_free(&steps);
}

TEST(container_steps)
{
	const struct rootfs root = {.pod = &pod, .wire = &wire, .container = 0, .hostname = "h", .first = true};
	struct steps steps = {0};
	char *text;

	rootfs_container_steps(&steps, &root);
	text = print(&steps);
	CHECK(has_line(text, "replace /etc/resolv.conf mode 0644"));
	CHECK(has_line(text, "replace /etc/hostname mode 0644"));
	CHECK(!strstr(text, "replace /etc/hosts")); /* a volume is there */
	CHECK(has_line(text, "mkdir /data mode 0755"));
	CHECK(has_line(text, "bind /data from run/podvm/private/vol0 flags nodev"));
	CHECK(has_line(text, "file /conf/app.conf mode 0644"));
	CHECK(has_line(text, "bind /conf/app.conf from run/podvm/fs/vol1 flags ro,nodev"));
	CHECK(has_line(text, "mkdir /disk mode 0755"));
	CHECK(has_line(text, "bind /disk from run/podvm/disk/vol3 flags nodev"));
	CHECK(has_line(text, "bind /dev/pts from run/podvm/c0/pts flags nosuid,noexec"));
	CHECK(!strstr(text, "/dev/console"));
	CHECK(has_line(text, "mask /proc/kcore (optional)"));
	CHECK(has_line(text, "bind /proc/sys from /proc/sys flags ro,nosuid,nodev,noexec (optional)"));
	CHECK(has_line(text, "mkdir /work mode 0755"));
	CHECK(!strstr(text, "write /proc/sys"));
	/* Generated files are hidden by volumes, not written into them; read-only comes last of all. */
	CHECK(line_of(text, "replace /etc/resolv.conf") < line_of(text, "bind /data"));
	CHECK(line_of(text, "mount /dev from") < line_of(text, "bind /data"));
	CHECK(line_of(text, "mkdir /work") + 1 == line_of(text, "remount / "));
	CHECK_INT(line_of(text, "remount / "), steps.count);
	free(text);
	steps_free(&steps);
}

TEST(sysctls_before_proc_sys_is_read_only)
{
	struct spec_pair sysctls[] = {{(char *)"net/ipv4/ip_forward", (char *)"1"}};
	struct spec_container container = containers[0];
	const struct spec_pod one = {.containers = &container, .container_count = 1, .volumes = volumes,
				     .volume_count = 4, .files = files, .file_count = 1};
	const struct rootfs root = {.pod = &one, .wire = &wire, .container = 0, .hostname = "h"};
	struct steps steps = {0};
	char *text;

	container.sysctls = sysctls;
	container.sysctl_count = 1;
	rootfs_container_steps(&steps, &root);
	text = print(&steps);
	CHECK(has_line(text, "write /proc/sys/net/ipv4/ip_forward data 1"));
	CHECK(line_of(text, "mount /proc from") < line_of(text, "write /proc/sys"));
	CHECK(line_of(text, "write /proc/sys") < line_of(text, "bind /proc/sys"));
	free(text);
	steps_free(&steps);
}

TEST(container_steps_of_a_restart_with_tty)
{
	const struct rootfs again = {.pod = &pod, .wire = &wire, .container = 1, .hostname = "h"};
	const struct rootfs first = {.pod = &pod, .wire = &wire, .container = 1, .hostname = "h", .first = true};
	struct steps steps = {0};
	char *text;

	rootfs_container_steps(&steps, &again);
	text = print(&steps);
	CHECK(!strstr(text, "replace "));
	CHECK(has_line(text, "bind /dev/pts from run/podvm/c1/pts flags nosuid,noexec"));
	CHECK(has_line(text, "bind /dev/console from /dev/pts/0"));
	CHECK(!strstr(text, "remount"));
	free(text);
	steps_free(&steps);
	rootfs_container_steps(&steps, &first);
	text = print(&steps);
	CHECK(!strstr(text, "replace /etc/resolv.conf")); /* a file of the pod goes there */
	CHECK(strstr(text, "replace /etc/hosts") != NULL);
	free(text);
	steps_free(&steps);
}

TEST(fs_is_needed_only_for_what_comes_from_the_host)
{
	struct spec_pod none = {.volumes = volumes, .volume_count = 1};

	CHECK(rootfs_needs_fs(&pod, &wire));
	CHECK(!rootfs_needs_fs(&none, &wire));
	none.volume_count = 2;
	CHECK(rootfs_needs_fs(&none, &wire));
}

TEST(resolv_conf_and_hosts)
{
	char *servers[] = {(char *)"1.1.1.1", (char *)"8.8.8.8"}, *search[] = {(char *)"a.example", (char *)"b"};
	char *options[] = {(char *)"ndots:2"};
	const struct spec_interface interface = {.ip = 0x0a00020f, .gateway = 0x0a000202, .prefix = 24};
	struct spec_pod named = {.interface = interface};
	char *text = rootfs_resolv_conf(&named);

	CHECK_STR(text, "nameserver 10.0.2.3\n");
	free(text);
	named = (struct spec_pod){.dns = servers, .dns_count = 2, .dns_search = search, .dns_search_count = 2,
				  .dns_options = options, .dns_option_count = 1,
				  .interface = interface};
	text = rootfs_resolv_conf(&named);
	CHECK_STR(text, "nameserver 1.1.1.1\nnameserver 8.8.8.8\nsearch a.example b\noptions ndots:2\n");
	free(text);
	text = rootfs_hosts(&named, "mypod");
	CHECK(has_line(text, "127.0.0.1\tlocalhost"));
	CHECK(has_line(text, "10.0.2.15\tmypod"));
	free(text);
}

/* Steps for real, in a directory of our own. */
static char place[] = "/tmp/test_steps.XXXXXX";

static const char *in_place(struct steps *steps, const char *name)
{
	return steps_text(steps, "%s/%s", place, name);
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? 0 : st.st_mode & 07777;
}

TEST(steps_run_and_say_which_failed)
{
	struct steps steps = {0};
	const struct step *failed = NULL;

	umask(022);
	steps_add(&steps, (struct step){STEP_MKDIR, .target = in_place(&steps, "a/b/c"), .mode = 0755});
	steps_add(&steps, (struct step){STEP_MKDIR, .target = in_place(&steps, "a/b"), .mode = 0700});
	steps_add(&steps, (struct step){STEP_FILE, .target = in_place(&steps, "d/file"), .mode = 0644});
	steps_add(&steps, (struct step){STEP_SYMLINK, .target = in_place(&steps, "link"), .source = "d/file"});
	steps_add(&steps, (struct step){STEP_WRITE, .target = in_place(&steps, "link"), .data = "through"});
	steps_add(&steps, (struct step){STEP_REPLACE, .target = in_place(&steps, "link"), .data = "own", .mode = 0640});
	steps_add(&steps, (struct step){STEP_WRITE, .target = in_place(&steps, "none"), .data = "x", .optional = true});
	CHECK_INT(steps_run(steps.at, steps.count, &failed), 0);
	CHECK_INT(mode_of(in_place(&steps, "a/b/c")), 0755);
	CHECK_INT(mode_of(in_place(&steps, "a/b")), 0755); /* as it was */
	CHECK_INT(mode_of(in_place(&steps, "link")), 0640); /* a file now */
	CHECK_INT(mode_of(in_place(&steps, "d/file")), 0644);
	steps_add(&steps, (struct step){STEP_WRITE, .target = in_place(&steps, "none"), .data = "x"});
	CHECK_INT(steps_run(steps.at, steps.count - 1, &failed), -EEXIST); /* the link's place is taken */
	CHECK_STR(failed ? failed->source : "", "d/file");
	CHECK_INT(steps_run(steps.at + steps.count - 1, 1, &failed), -ENOENT);
	CHECK_INT(steps_mkdirs(in_place(&steps, "d/file/x"), 0755), -ENOTDIR);
	steps_free(&steps);
}

TEST(replace_sets_mode_whatever_the_umask)
{
	struct steps steps = {0};

	umask(077);
	CHECK_INT(steps_replace(in_place(&steps, "e/f"), "text", 4, 0755, 0, 0), 0);
	CHECK_INT(mode_of(in_place(&steps, "e/f")), 0755);
	CHECK_INT(steps_replace(in_place(&steps, "e/f"), "", 0, 04711, 0, 0), 0);
	CHECK_INT(mode_of(in_place(&steps, "e/f")), 04711);
	umask(022);
	steps_free(&steps);
}

static void serial_write(const char *dir, const char *name, const char *serial)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (mkdir(path, 0700) < 0)
		abort();
	snprintf(path, sizeof(path), "%s/%s/serial", dir, name);
	file = fopen(path, "w");
	if (!file)
		abort();
	fputs(serial, file);
	fclose(file);
}

/* By serial, whatever order the names have. */
TEST(disks_are_found)
{
	char dir[] = "/tmp/test_steps.XXXXXX", name[16] = "", command[64];

	if (!mkdtemp(dir))
		abort();
	serial_write(dir, "vda", "vol12");
	serial_write(dir, "vdb", "vol1\n");
	serial_write(dir, "loop0", "vol2");
	serial_write(dir, "vdc", "vol1 and a serial that is far too long");
	CHECK_INT(disks_find(dir, 1, name, sizeof(name)), 0);
	CHECK_STR(name, "vdb");
	CHECK_INT(disks_find(dir, 12, name, sizeof(name)), 0);
	CHECK_STR(name, "vda");
	CHECK_INT(disks_find(dir, 2, name, sizeof(name)), -ENOENT);
	CHECK_INT(disks_find("/nonexistent", 2, name, sizeof(name)), -ENOENT);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	CHECK_INT(system(command), 0);
}

int main(void)
{
	RUN(disks_are_found);
	char *remove_it;

	if (!mkdtemp(place))
		return 1;
	RUN(pod_steps);
	RUN(container_steps);
	RUN(sysctls_before_proc_sys_is_read_only);
	RUN(container_steps_of_a_restart_with_tty);
	RUN(fs_is_needed_only_for_what_comes_from_the_host);
	RUN(resolv_conf_and_hosts);
	RUN(steps_run_and_say_which_failed);
	RUN(replace_sets_mode_whatever_the_umask);
	if (asprintf(&remove_it, "rm -rf %s", place) < 0 || system(remove_it))
		printf("# %s stays\n", place);
	free(remove_it);
	return test_done();
}
