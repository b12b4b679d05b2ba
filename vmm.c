// SPDX-License-Identifier: Apache-2.0
/*
 * THE HOST STORY, top to bottom: main() -> (PID 1 of a guest? init) -> command -> spec -> memory -> vm -> devices ->
 * kernel -> loop -> exit code. The only file that makes devices, and the only one nobody includes.
 */
#include "cli/cli.h"
#include "devices/balloon.h"
#include "devices/blk.h"
#include "devices/bus.h"
#include "devices/disk.h"
#include "devices/fs.h"
#include "devices/mem.h"
#include "devices/net.h"
#include "devices/reset.h"
#include "devices/rng.h"
#include "devices/serial.h"
#include "devices/vsock.h"
#include "init/init.h"
#include "lib/log.h"
#include "lib/util.h"
#include "live/dir.h"
#include "pod/abi.h"
#include "pod/spec.h"
#include "pod/wire.h"
#include "vm/boot.h"
#include "vm/kvm.h"
#include "vm/loop.h"
#include "vm/mmio.h"
#include "vm/payload.h"
#include "vm/pod_file.h"
#include "vm/pod_network.h"
#include "vm/server.h"
#include "vm/session.h"
#include "vm/sockets.h"
#include "vm/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Which slot a device sits in: part of the machine's shape, so never reordered. */
enum slot {
	SLOT_VSOCK,
	SLOT_FS,
	SLOT_NET,
	SLOT_RNG,
	SLOT_BALLOON,
	/* Disks come last, as many as the pod has. */
	SLOT_DISKS,
	SLOT_MAX = SLOT_DISKS + SPEC_DISKS_MAX,
};
_Static_assert((int)SLOT_MAX <= MMIO_SLOTS_MAX, "a pod with all its disks has a slot for each");

/* For the file system call under way to end, when the pod has ended. */
enum { FS_STOP_LIMIT_MS = 1000 };

/*
 * No console while all is well: only the panic of a dying kernel, and that without a probe of the UART. loglevel comes
 * before earlycon: else what the kernel said up to there is written, a thousand exits for a banner nobody sees. reboot=k
 * is devices/reset; PODVM_INIT becomes init's environment and tells it where it runs.
 */
#define CMDLINE_BASE "reboot=k panic=-1 random.trust_cpu=on tsc=reliable no_timer_check 8250.nr_uarts=1 PODVM_INIT=1"
#define CMDLINE_QUIET "loglevel=1 earlycon=uart8250,io,0x3f8 keep_bootcon "
#define CMDLINE_CONSOLE "loglevel=7 earlycon=uart8250,io,0x3f8 console=ttyS0 "

struct vmm {
	const struct run_options *options;
	struct spec_pod *spec;
	struct payload payload;
	struct boot_image kernel;
	struct mem mem;
	struct loop *loop;
	struct loop *fs_loop; /* files may be slow: virtio-fs has a loop and a thread of its own */
	struct loop_thread *fs_thread;
	struct bus mmio, pio;
	struct kvm *kvm;
	struct serial *serial;
	struct reset reset;
	struct vsock *vsock;
	struct fs *fs;
	struct net *net;
	struct pod_network *network;
	struct rng *rng;
	struct balloon *balloon;
	struct disk *disks[SPEC_DISKS_MAX];
	struct blk *blks[SPEC_DISKS_MAX];
	unsigned disk_count;
	struct virtio_dev *devs[SLOT_MAX]; /* what is in a slot: SLOT_DISKS + disk_count of them */
	struct wire_pod wire;
	struct session *session;
	struct sockets *sockets;
	struct server *server;
};

/* Where other commands find this pod. Not in struct vmm: it has to go with the process, wherever that ends. */
static struct dir_pod *pod_dir;

/* ---- the machine ---- */

static void machine_ended(void *ctx, enum kvm_end why, const char *detail)
{
	struct vmm *vmm = ctx;

	(void)why;
	/* What the guest sent before it went may still lie in its ring. */
	virtio_kick(vsock_dev(vmm->vsock), VSOCK_QUEUE_TX);
	session_machine_ended(vmm->session, detail);
}

static void reset_requested(void *ctx)
{
	kvm_request_reset(((struct vmm *)ctx)->kvm);
}

static void machine_make(struct vmm *vmm)
{
	struct kvm_config config = {
		.mem = &vmm->mem,
		.mmio = &vmm->mmio,
		.pio = &vmm->pio,
		.vcpus = vmm->spec->vcpus,
		.end = machine_ended,
		.end_ctx = vmm,
	};
	int err = mem_init(&vmm->mem, vmm->spec->memory_mb << 20);

	if (err)
		die_errno(-err, "no %llu MB of memory for the pod; give it less (resource.memory)",
			  (unsigned long long)vmm->spec->memory_mb);
	vmm->loop = config.loop = loop_new();
	vmm->fs_loop = loop_new();
	vmm->kvm = kvm_new(&config);
	vmm->serial = serial_new(vmm->options->console ? STDERR_FILENO : -1);
	vmm->reset = (struct reset){.request = reset_requested, .ctx = vmm};
	bus_add(&vmm->pio, SERIAL_PORT, SERIAL_PORT_COUNT, &serial_ops, vmm->serial);
	bus_add(&vmm->pio, RESET_PORT, RESET_PORT_COUNT, &reset_ops, &vmm->reset);
	if (vmm->options->trace_boot)
		bus_add(&vmm->pio, ABI_TRACE_PORT, TRACE_PORT_COUNT, &trace_port_ops, NULL);
}

/* ---- its devices ---- */

/* What the device in a slot is given. virtio-fs has a loop of its own: a file system of the host may be slow. */
static struct virtio_env slot_env(struct vmm *vmm, unsigned slot)
{
	bool own_loop = slot == SLOT_FS;

	return (struct virtio_env){
		.mem = &vmm->mem,
		.loop = own_loop ? vmm->fs_loop : vmm->loop,
		.irq = mmio_irq(vmm->kvm, slot),
		.own_loop = own_loop,
	};
}

static void disk_make(struct vmm *vmm, unsigned volume_index)
{
	const struct spec_volume *volume = &vmm->spec->volumes[volume_index];
	unsigned i = vmm->disk_count++, slot = SLOT_DISKS + i;
	struct virtio_env env = slot_env(vmm, slot);
	char serial[BLK_SERIAL_BYTES];
	struct blk_config config = {.serial = serial, .bytes_per_s = volume->bytes_per_s, .ops_per_s = volume->ops_per_s};

	snprintf(serial, sizeof(serial), ABI_DISK_SERIAL_FMT, volume_index);
	config.disk = vmm->disks[i] = pod_file_disk_open(vmm->options->pod_file, vmm->spec, volume_index, vmm->loop);
	vmm->blks[i] = blk_new(&env, &config);
	vmm->devs[slot] = blk_dev(vmm->blks[i]);
}

static void network_make(struct vmm *vmm)
{
	struct pod_network_config config = {
		.loop = vmm->loop,
		.net = vmm->net,
		.spec = vmm->spec,
		.pod_file = vmm->options->pod_file,
		.pcap = vmm->options->pcap,
	};

	vmm->network = pod_network_new(&config);
}

static void devices_make(struct vmm *vmm)
{
	struct virtio_env envs[SLOT_DISKS];

	for (unsigned slot = 0; slot < SLOT_DISKS; slot++)
		envs[slot] = slot_env(vmm, slot);
	vmm->vsock = vsock_new(&envs[SLOT_VSOCK]);
	vmm->fs = fs_new(&envs[SLOT_FS], ABI_FS_TAG);
	vmm->net = net_new(&envs[SLOT_NET], vmm->spec->interface.mac, (uint16_t)vmm->spec->interface.mtu);
	vmm->rng = rng_new(&envs[SLOT_RNG]);
	vmm->balloon = balloon_new(&envs[SLOT_BALLOON]);
	vmm->devs[SLOT_VSOCK] = vsock_dev(vmm->vsock);
	vmm->devs[SLOT_FS] = fs_dev(vmm->fs);
	vmm->devs[SLOT_NET] = net_dev(vmm->net);
	vmm->devs[SLOT_RNG] = rng_dev(vmm->rng);
	vmm->devs[SLOT_BALLOON] = balloon_dev(vmm->balloon);
	for (unsigned i = 0; i < vmm->spec->volume_count; i++)
		if (vmm->spec->volumes[i].kind == SPEC_VOLUME_RAW)
			disk_make(vmm, i);
	for (unsigned slot = 0; slot < SLOT_DISKS + vmm->disk_count; slot++)
		mmio_attach(vmm->kvm, &vmm->mmio, vmm->devs[slot]->env.loop, vmm->devs[slot], slot);
	pod_file_share(vmm->options->pod_file, vmm->spec, vmm->fs, &vmm->wire);
	network_make(vmm);
}

/* ---- the kernel ---- */

static void kernel_find(struct vmm *vmm)
{
	const char *path = vmm->options->kernel;
	struct stat st;
	int err = payload_open(&vmm->payload);

	if (err)
		die_errno(-err, "podvm can not read its own file");
	vmm->kernel = vmm->payload.kernel;
	if (!path) {
		if (vmm->kernel.bytes == 0)
			die("this podvm was built without a kernel; name one with --kernel FILE");
		return;
	}
	vmm->kernel.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (vmm->kernel.fd < 0 || fstat(vmm->kernel.fd, &st) < 0)
		die("kernel %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		die("kernel %s is not a regular file", path);
	vmm->kernel.offset = 0;
	vmm->kernel.bytes = (uint64_t)st.st_size;
}

static void cmdline_write(const struct vmm *vmm, char *dst, size_t bytes)
{
	size_t used = (size_t)snprintf(dst, bytes, "%s%s%s", vmm->options->console ? CMDLINE_CONSOLE : CMDLINE_QUIET,
				       CMDLINE_BASE,
				       vmm->options->trace_boot ? " podvm.trace" : "");

	for (unsigned slot = 0; slot < SLOT_DISKS + vmm->disk_count; slot++) {
		char words[MMIO_CMDLINE_BYTES];

		mmio_cmdline(words, slot);
		used += (size_t)snprintf(dst + used, bytes - used, "%s", words);
	}
	if (vmm->options->append)
		used += (size_t)snprintf(dst + used, bytes - used, " %s", vmm->options->append);
	if (used >= bytes)
		die("--append is too long: the kernel command line holds %zu bytes", bytes - 1);
}

static void kernel_start(struct vmm *vmm)
{
	char cmdline[BOOT_CMDLINE_MAX];
	struct boot_config config = {
		.mem = &vmm->mem,
		.kernel = vmm->kernel,
		.cmdline = cmdline,
		.vcpus = vmm->spec->vcpus,
		.init = vmm->payload.init,
	};
	struct kvm_entry entry;
	const char *why;
	int err;

	cmdline_write(vmm, cmdline, sizeof(cmdline));
	err = boot_load(&config, &entry, &why);
	if (err == -ENOMEM)
		die("%llu MB (resource.memory) are too little: %s", (unsigned long long)vmm->spec->memory_mb, why);
	if (err)
		die("kernel %s can not be used: %s", vmm->options->kernel ? vmm->options->kernel : "inside podvm", why);
	trace_mark("kernel and init in place");
	kvm_start(vmm->kvm, &entry);
}

/* ---- the story ---- */

static size_t console_tail(void *ctx, char *dst, size_t bytes)
{
	return serial_tail(((struct vmm *)ctx)->serial, dst, bytes);
}

static void machine_pause(void *ctx, bool paused)
{
	struct vmm *vmm = ctx;

	if (paused)
		kvm_pause(vmm->kvm);
	else
		kvm_resume(vmm->kvm);
}

static void session_make(struct vmm *vmm)
{
	struct session_config config = {
		.loop = vmm->loop,
		.vsock = vmm->vsock,
		.spec = vmm->spec,
		.wire = &vmm->wire,
		.console_tail = console_tail,
		.pause = machine_pause,
		.machine_ctx = vmm,
	};

	vmm->session = session_new(&config);
}

static void sockets_make(struct vmm *vmm)
{
	vmm->sockets = sockets_new(vmm->vsock, vmm->loop);
	pod_file_sockets(vmm->options->pod_file, vmm->spec, vmm->sockets);
}

static void pod_dir_remove(void)
{
	dir_pod_free(pod_dir);
	pod_dir = NULL;
}

/* A pod that nobody finds is still a pod, unless it was to have a name. */
static void pod_dir_make(const struct vmm *vmm)
{
	const char *name = vmm->options->name;
	char *why, *json;
	int err = dir_pod_make(name ? name : vmm->spec->id, name != NULL, &pod_dir, &why);

	if (err && name)
		die("%s", why);
	if (err) {
		log_warn("%s; other commands will not find this pod", why);
		free(why);
		return;
	}
	atexit(pod_dir_remove);
	json = spec_print(vmm->spec);
	err = dir_pod_write(pod_dir, "pod.json", json, strlen(json));
	if (err)
		log_warn("pod.json of %s can not be kept: %s", dir_pod_name(pod_dir), strerror(-err));
	free(json);
}

static void server_make(struct vmm *vmm)
{
	struct server_config config = {.loop = vmm->loop, .session = vmm->session, .spec = vmm->spec, .dir = pod_dir};

	if (pod_dir)
		vmm->server = server_new(&config);
}

/*
 * Threads first: vCPUs and virtio-fs use what the rest frees. A file system of the host that does not answer must not keep
 * podvm: then what others would miss is put in order and the rest left to the end of the process. The lock is kept, so that no
 * vCPU sees what was freed.
 */
static void vmm_free(struct vmm *vmm)
{
	if (!loop_thread_stop_within(vmm->fs_thread, FS_STOP_LIMIT_MS)) {
		log_warn("a file system of this host does not answer; podvm ends without waiting for it");
		if (loop_lock_within(vmm->loop, FS_STOP_LIMIT_MS)) {
			sockets_free(vmm->sockets);
			pod_network_capture_end(vmm->network);
		}
		return;
	}
	kvm_free(vmm->kvm);
	for (unsigned slot = 0; slot < SLOT_DISKS + vmm->disk_count; slot++)
		mmio_detach(vmm->devs[slot]->env.loop, vmm->devs[slot]);
	for (unsigned i = 0; i < vmm->disk_count; i++) {
		blk_free(vmm->blks[i]);
		disk_close(vmm->disks[i]);
	}
	server_free(vmm->server);
	session_free(vmm->session);
	sockets_free(vmm->sockets);
	pod_network_free(vmm->network);
	vsock_free(vmm->vsock);
	fs_free(vmm->fs);
	net_free(vmm->net);
	rng_free(vmm->rng);
	balloon_free(vmm->balloon);
	serial_free(vmm->serial);
	loop_free(vmm->fs_loop);
	loop_free(vmm->loop);
	mem_fini(&vmm->mem);
	payload_close(&vmm->payload);
	spec_free(vmm->spec);
}

static int vmm_run(const struct run_options *options)
{
	struct vmm vmm = {.options = options};
	int code;

	if (options->trace_boot)
		trace_start(clock_mono_ns());
	vmm.spec = pod_file_read(options->pod_file, options->strict);
	pod_dir_make(&vmm);
	kernel_find(&vmm);
	trace_mark("pod file read");
	kvm_refuse_emulated();
	machine_make(&vmm);
	devices_make(&vmm);
	session_make(&vmm);
	sockets_make(&vmm);
	server_make(&vmm);
	vmm.fs_thread = loop_thread_start(vmm.fs_loop, "podvm-fs");
	trace_mark("machine and devices made");
	kernel_start(&vmm);
	trace_mark("vCPUs started");
	loop_run(vmm.loop);
	trace_mark("pod ended");
	code = session_code(vmm.session);
	vmm_free(&vmm);
	trace_print();
	return code;
}

/*
 * A caller may have closed one of the three. The next file opened would take its number and be written to as output.
 * Read-only is meant for all: stdin is at its end, and writing to a closed stdout fails as it should.
 */
static void standard_streams_hold(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	if (getpid() == 1 && getenv("PODVM_INIT"))
		init_main();
	standard_streams_hold();
	return cli_main(argc, argv, vmm_run);
}
