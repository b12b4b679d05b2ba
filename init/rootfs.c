/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rootfs: owns the layout below /run/podvm and what a container finds in its root. Starts no process.
 *
 * Theory of operation. PID 1 keeps, as long as the pod lives:
 *
 *	/run/podvm/fs		virtio-fs: root0.., vol0..
 *	/run/podvm/shm		the pod's /dev/shm
 *	/run/podvm/private	volumes without a source, one directory each
 *	/run/podvm/disk		volumes that are disks (init/disks.c)
 *	/run/podvm/c0/rw	tmpfs with the upper and work directories of container 0
 *	/run/podvm/c0/root	overlay of both: survives a restart of the container
 *	/run/podvm/c0/pts	its pseudo terminals: PID 1 holds the masters of those it was given
 *
 * Each start of a container clones the mount namespace, so all further mounts are the container's own and vanish with
 * it. The overlay becomes the root by pivot_root("." over "."): possible because PID 1 has moved from rootfs, which can
 * not be pivoted, to a tmpfs before anything else (init.c). Afterwards "/" is the new root, while the working directory
 * is still the old one, which lies over it; so in the steps that follow a relative source is a path of the old root
 * and an absolute target one of the new. That is more than a trick: a link in an image, say /data -> /run/podvm/c1,
 * can lead only to the container itself. (Setting mounts up from outside, as chroot-less tools do, resolves such links
 * in the wrong root.) At last the old root is detached, with everything mounted in it.
 *
 * Every container has pseudo terminals of PID 1's making, with a terminal or without: a further process (init/joined.c) may
 * want one, and PID 1 must not open a path that the container can change. Here the container can not: below pts
 * nothing can be made or renamed by anyone, and mounts over it are seen in the container alone.
 *
 * Order inside: generated files first, so that a volume at /etc hides rather than receives them; then /proc, /dev and
 * /sys; then volumes, which may lie below those; then the pod's files, which may lie in a volume.
 */
#define _GNU_SOURCE

#include "init/rootfs.h"

#include "init/disks.h"
#include "lib/util.h"
#include "pod/abi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BASE "run/podvm"
#define GUARDED (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* The host's files never bring devices; set-user-ID programs of a root image must work, so no MS_NOSUID. */
enum { FS_FLAGS = MS_NODEV };

static bool has_private(const struct spec_pod *pod)
{
	for (size_t i = 0; i < pod->volume_count; i++)
		if (pod->volumes[i].kind == SPEC_VOLUME_PRIVATE)
			return true;
	return false;
}

bool rootfs_needs_fs(const struct spec_pod *pod, const struct wire_pod *wire)
{
	for (size_t i = 0; i < pod->container_count; i++)
		if (wire->root_kinds[i] == WIRE_ROOT_FS)
			return true;
	for (size_t i = 0; i < pod->volume_count; i++)
		if (pod->volumes[i].kind == SPEC_VOLUME_PATH)
			return true;
	return false;
}

char *rootfs_ptmx_path(unsigned container)
{
	return xasprintf("/" BASE "/c%u/pts/ptmx", container);
}

static void add_layers(struct steps *steps, unsigned index)
{
	const char *at = steps_text(steps, "/" BASE "/c%u", index);
	const char *rw = steps_text(steps, "%s/rw", at), *root = steps_text(steps, "%s/root", at);
	const char *lower = steps_text(steps, "/" BASE "/fs/" ABI_SHARE_ROOT_FMT, index);

	steps_add(steps, (struct step){STEP_MKDIR, .target = rw, .mode = 0700});
	steps_add(steps, (struct step){STEP_MKDIR, .target = root, .mode = 0755});
	steps_add(steps, (struct step){STEP_MOUNT, .source = "tmpfs", .target = rw, .type = "tmpfs",
				       .data = "mode=700"});
	/* The root's mode and owner are the upper directory's. */
	steps_add(steps, (struct step){STEP_MKDIR, .target = steps_text(steps, "%s/upper", rw), .mode = 0755});
	steps_add(steps, (struct step){STEP_MKDIR, .target = steps_text(steps, "%s/work", rw), .mode = 0700});
	steps_add(steps, (struct step){STEP_MOUNT, .source = "overlay", .target = root, .type = "overlay",
				       .data = steps_text(steps, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower,
							  rw, rw)});
	at = steps_text(steps, "%s/pts", at);
	steps_add(steps, (struct step){STEP_MKDIR, .target = at, .mode = 0755});
	steps_add(steps, (struct step){STEP_MOUNT, .source = "devpts", .target = at, .type = "devpts",
				       .flags = MS_NOSUID | MS_NOEXEC, .data = "mode=620,gid=5,ptmxmode=666"});
}

void rootfs_pod_steps(struct steps *steps, const struct spec_pod *pod, const struct wire_pod *wire)
{
	if (rootfs_needs_fs(pod, wire)) {
		steps_add(steps, (struct step){STEP_MKDIR, .target = "/" BASE "/fs", .mode = 0755});
		steps_add(steps, (struct step){STEP_MOUNT, .source = ABI_FS_TAG, .target = "/" BASE "/fs",
					       .type = "virtiofs", .flags = FS_FLAGS});
	}
	steps_add(steps, (struct step){STEP_MKDIR, .target = "/" BASE "/shm", .mode = 0755});
	steps_add(steps, (struct step){STEP_MOUNT, .source = "shm", .target = "/" BASE "/shm", .type = "tmpfs",
				       .flags = GUARDED, .data = "mode=1777"});
	if (has_private(pod)) {
		steps_add(steps, (struct step){STEP_MKDIR, .target = "/" BASE "/private", .mode = 0755});
		steps_add(steps, (struct step){STEP_MOUNT, .source = "tmpfs", .target = "/" BASE "/private",
					       .type = "tmpfs", .flags = MS_NODEV, .data = "mode=755"});
	}
	for (size_t i = 0; i < pod->volume_count; i++)
		/* Whatever user the containers run as may write to it. umask is 0. */
		if (pod->volumes[i].kind == SPEC_VOLUME_PRIVATE)
			steps_add(steps, (struct step){STEP_MKDIR, .mode = 0777,
						       .target = steps_text(steps, "/" BASE "/private/vol%zu", i)});
	for (size_t i = 0; i < pod->container_count; i++)
		add_layers(steps, (unsigned)i);
}

/* Where a file definition goes: a path ending in '/' takes the file's name. */
static char *place_path(const struct spec_place *place)
{
	size_t bytes = strlen(place->path);

	return bytes && place->path[bytes - 1] == '/' ? xasprintf("%s%s", place->path, place->filename) :
							xstrdup(place->path);
}

static bool is_targeted(const struct spec_container *container, const char *path)
{
	for (size_t i = 0; i < container->mount_count; i++)
		if (!strcmp(container->mounts[i].path, path))
			return true;
	for (size_t i = 0; i < container->file_count; i++) {
		char *placed = place_path(&container->files[i]);
		bool same = !strcmp(placed, path);

		free(placed);
		if (same)
			return true;
	}
	return false;
}

/* A definition with this uri, placed or not: hyper's word for "leave the image's resolv.conf". */
static bool keeps_resolv_conf(const struct spec_pod *pod)
{
	for (size_t i = 0; i < pod->file_count; i++)
		if (!strcmp(pod->files[i].uri, "file:///etc/resolv.conf"))
			return true;
	return false;
}

static char *address_text(uint32_t address)
{
	return xasprintf("%u.%u.%u.%u", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
}

char *rootfs_hosts(const struct spec_pod *pod, const char *hostname)
{
	char *address = address_text(pod->interface.ip), *text = xasprintf("127.0.0.1\tlocalhost\n"
			 "::1\tlocalhost ip6-localhost ip6-loopback\n"
			 "fe00::0\tip6-localnet\n"
			 "ff02::1\tip6-allnodes\n"
			 "ff02::2\tip6-allrouters\n%s\t%s\n",
			 address, hostname);

	free(address);
	return text;
}

/* "word a b\n" behind text, nothing without values. */
static char *add_words(char *text, const char *word, char **values, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char *more = xasprintf("%s%s%s%s%s", text, i ? "" : word, " ", values[i], i + 1 == count ? "\n" : "");

		free(text);
		text = more;
	}
	return text;
}

char *rootfs_resolv_conf(const struct spec_pod *pod)
{
	char *text = xstrdup(""), *server = address_text(spec_interface_dns(&pod->interface));

	if (!pod->dns_count)
		text = add_words(text, "nameserver", &server, 1);
	free(server);
	for (size_t i = 0; i < pod->dns_count; i++)
		text = add_words(text, "nameserver", &pod->dns[i], 1);
	text = add_words(text, "search", pod->dns_search, pod->dns_search_count);
	return add_words(text, "options", pod->dns_options, pod->dns_option_count);
}

static void add_generated(struct steps *steps, const struct rootfs *root)
{
	const struct spec_container *container = &root->pod->containers[root->container];
	static const char resolv_conf[] = "/etc/resolv.conf";
	char *hosts = rootfs_hosts(root->pod, root->hostname), *resolv = rootfs_resolv_conf(root->pod);
	const char *const files[][2] = {
		{"/etc/hosts", steps_text(steps, "%s", hosts)},
		{resolv_conf, steps_text(steps, "%s", resolv)},
		{"/etc/hostname", steps_text(steps, "%s\n", root->hostname)},
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (!is_targeted(container, files[i][0]) && !(files[i][0] == resolv_conf && keeps_resolv_conf(root->pod)))
			steps_add(steps, (struct step){STEP_REPLACE, .target = files[i][0], .data = files[i][1],
						       .mode = 0644});
	free(hosts);
	free(resolv);
}

static const char *volume_path_fmt(const struct spec_volume *volume)
{
	switch (volume->kind) {
	case SPEC_VOLUME_PRIVATE:
		break;
	case SPEC_VOLUME_PATH:
		return BASE "/fs/" ABI_SHARE_VOLUME_FMT;
	case SPEC_VOLUME_RAW:
		return DISKS_PATH_FMT;
	}
	return BASE "/private/vol%u";
}

static void add_volumes(struct steps *steps, const struct rootfs *root)
{
	const struct spec_container *container = &root->pod->containers[root->container];

	for (size_t i = 0; i < container->mount_count; i++) {
		const struct spec_mount *mount = &container->mounts[i];
		unsigned index = mount->volume_index;
		bool is_path = root->pod->volumes[index].kind == SPEC_VOLUME_PATH;
		bool is_file = is_path && root->wire->volume_is_file[index / 32] & 1u << index % 32;

		steps_add(steps, (struct step){is_file ? STEP_FILE : STEP_MKDIR, .target = mount->path,
					       .mode = is_file ? 0644 : 0755});
		steps_add(steps, (struct step){STEP_BIND, .target = mount->path,
					       .source = steps_text(steps, volume_path_fmt(&root->pod->volumes[index]), index),
					       .flags = MS_NODEV | (mount->read_only ? MS_RDONLY : 0)});
	}
}

static void add_devices(struct steps *steps, bool tty, unsigned index)
{
	static const struct {
		const char *path;
		unsigned major, minor;
	} nodes[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
		     {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};
	static const char *const links[][2] = {{"/dev/ptmx", "pts/ptmx"},	{"/dev/fd", "/proc/self/fd"},
					       {"/dev/stdin", "/proc/self/fd/0"}, {"/dev/stdout", "/proc/self/fd/1"},
					       {"/dev/stderr", "/proc/self/fd/2"}, {"/dev/core", "/proc/kcore"}};

	steps_add(steps, (struct step){STEP_MOUNT, .source = "tmpfs", .target = "/dev", .type = "tmpfs",
				       .flags = MS_NOSUID, .data = "mode=755,size=64k"});
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
		steps_add(steps, (struct step){STEP_NODE, .target = nodes[i].path, .mode = 0666,
					       .dev = makedev(nodes[i].major, nodes[i].minor)});
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		steps_add(steps, (struct step){STEP_SYMLINK, .target = links[i][0], .source = links[i][1]});
	steps_add(steps, (struct step){STEP_MKDIR, .target = "/dev/pts", .mode = 0755});
	steps_add(steps, (struct step){STEP_MKDIR, .target = "/dev/shm", .mode = 01777});
	steps_add(steps, (struct step){STEP_MKDIR, .target = "/dev/mqueue", .mode = 01777});
	steps_add(steps, (struct step){STEP_BIND, .source = BASE "/shm", .target = "/dev/shm", .flags = GUARDED});
	steps_add(steps, (struct step){STEP_MOUNT, .optional = true, .source = "mqueue", .target = "/dev/mqueue",
				       .type = "mqueue", .flags = GUARDED});
	steps_add(steps, (struct step){STEP_BIND, .source = steps_text(steps, BASE "/c%u/pts", index),
				       .target = "/dev/pts", .flags = MS_NOSUID | MS_NOEXEC});
	if (!tty)
		return;
	steps_add(steps, (struct step){STEP_FILE, .target = "/dev/console", .mode = 0600});
	steps_add(steps, (struct step){STEP_BIND, .source = "/dev/pts/0", .target = "/dev/console"});
}

/* Of the container's namespaces where they have their own, else of the pod. Before /proc/sys is made read-only. */
static void add_sysctls(struct steps *steps, const struct spec_container *container)
{
	for (size_t i = 0; i < container->sysctl_count; i++)
		steps_add(steps, (struct step){STEP_WRITE, .data = container->sysctls[i].value,
					       .target = steps_text(steps, "/proc/sys/%s", container->sysctls[i].name)});
}

/* What a container has no business with: as Docker has it. */
static void add_kernel(struct steps *steps)
{
	static const char *const masked[] = {
		"/proc/asound",	       "/proc/acpi",	   "/proc/interrupts",	"/proc/kcore",	     "/proc/keys",
		"/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
		"/sys/firmware",
	};
	static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
						 "/proc/sysrq-trigger"};

	steps_add(steps, (struct step){STEP_MKDIR, .target = "/sys", .mode = 0755});
	steps_add(steps, (struct step){STEP_MOUNT, .source = "sysfs", .target = "/sys", .type = "sysfs",
				       .flags = GUARDED | MS_RDONLY});
	steps_add(steps, (struct step){STEP_MOUNT, .optional = true, .source = "cgroup", .target = "/sys/fs/cgroup",
				       .type = "cgroup2", .flags = GUARDED | MS_RDONLY});
	for (size_t i = 0; i < ARRAY_SIZE(read_only); i++)
		steps_add(steps, (struct step){STEP_BIND, .optional = true, .source = read_only[i],
					       .target = read_only[i], .flags = GUARDED | MS_RDONLY});
	for (size_t i = 0; i < ARRAY_SIZE(masked); i++)
		steps_add(steps, (struct step){STEP_MASK, .optional = true, .target = masked[i]});
}

/* Up to the files, then the rest: two tables because the files lie between. */
static void add_before_files(struct steps *steps, const struct rootfs *root)
{
	if (root->first)
		add_generated(steps, root);
	/* Before the volumes, so that one may lie below /dev or /proc. */
	steps_add(steps, (struct step){STEP_MKDIR, .target = "/proc", .mode = 0555});
	steps_add(steps, (struct step){STEP_MOUNT, .source = "proc", .target = "/proc", .type = "proc",
				       .flags = GUARDED});
	add_sysctls(steps, &root->pod->containers[root->container]);
	steps_add(steps, (struct step){STEP_MKDIR, .target = "/dev", .mode = 0755});
	add_devices(steps, root->pod->containers[root->container].tty, root->container);
	add_kernel(steps);
	add_volumes(steps, root);
}

static void add_after_files(struct steps *steps, const struct rootfs *root)
{
	const struct spec_container *container = &root->pod->containers[root->container];

	steps_add(steps, (struct step){STEP_MKDIR, .target = container->workdir, .mode = 0755});
	if (container->read_only)
		steps_add(steps, (struct step){STEP_REMOUNT, .target = "/", .flags = MS_RDONLY});
}

void rootfs_container_steps(struct steps *steps, const struct rootfs *root)
{
	add_before_files(steps, root);
	add_after_files(steps, root);
}

static int place_files(const struct rootfs *root, char *text, size_t room)
{
	const struct spec_container *container = &root->pod->containers[root->container];

	for (size_t i = 0; i < container->file_count; i++) {
		const struct spec_place *place = &container->files[i];
		char *path = place_path(place);
		size_t bytes;
		uint8_t *data = spec_file_bytes(&root->pod->files[place->file_index], &bytes);
		int err = data ? steps_replace(path, data, bytes, place->perm, place->uid, place->gid) : -EINVAL;

		free(data);
		if (err)
			snprintf(text, room, "file %s at %s", place->filename, path);
		free(path);
		if (err)
			return err;
	}
	return 0;
}

static int run(void (*add)(struct steps *, const struct rootfs *), const struct rootfs *root, char *text, size_t room)
{
	struct steps steps = {0};
	const struct step *failed;
	int err;

	add(&steps, root);
	err = steps_run(steps.at, steps.count, &failed);
	if (err)
		step_print(failed, text, room);
	steps_free(&steps);
	return err;
}

static int pivot(const struct rootfs *root)
{
	char *path = xasprintf("/" BASE "/c%u/root", root->container);
	int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), err = 0;

	if (old < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || chdir(path) < 0 ||
	    syscall(SYS_pivot_root, ".", ".") < 0 || fchdir(old) < 0)
		err = -errno;
	if (old >= 0)
		close(old);
	free(path);
	return err;
}

int rootfs_enter(const struct rootfs *root, char *text, size_t room)
{
	int err;

	/* Files of the pod get the modes they ask for. */
	umask(0);
	snprintf(text, room, "pivot_root");
	err = pivot(root);
	if (!err)
		err = run(add_before_files, root, text, room);
	if (!err && root->first)
		err = place_files(root, text, room);
	if (err)
		return err;
	snprintf(text, room, "leaving the old root");
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	umask(022);
	return run(add_after_files, root, text, room);
}
