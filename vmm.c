// SPDX-License-Identifier: Apache-2.0
/*
 * THE HOST STORY, top to bottom: main() -> (PID 1 of a guest? init) -> command -> spec -> memory -> vm -> devices ->
 * kernel -> loop -> exit code. The only file that names concrete devices, and the only one nobody includes.
 */
#include "cli/cli.h"
#include "devices/balloon.h"
#include "devices/blk.h"
#include "devices/bus.h"
#include "devices/disk.h"
#include "devices/egress.h"
#include "devices/fs.h"
#include "devices/mem.h"
#include "devices/net.h"
#include "devices/net_slirp.h"
#include "devices/pcap.h"
#include "devices/reset.h"
#include "devices/rng.h"
#include "devices/serial.h"
#include "devices/vsock.h"
#include "init/init.h"
#include "lib/glib/glib.h"
#include "lib/log.h"
#include "lib/netrule.h"
#include "lib/util.h"
#include "pod/abi.h"
#include "pod/spec.h"
#include "pod/wire.h"
#include "vm/boot.h"
#include "vm/kvm.h"
#include "vm/loop.h"
#include "vm/mmio.h"
#include "vm/payload.h"
#include "vm/session.h"
#include "vm/sockets.h"
#include "vm/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
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
 * No console while all is well: only the panic of a dying kernel, and that without a probe of the UART. reboot=k is
 * devices/reset; PODVM_INIT becomes init's environment and tells it where it runs.
 */
#define CMDLINE_BASE "reboot=k panic=-1 random.trust_cpu=on tsc=reliable no_timer_check 8250.nr_uarts=1 PODVM_INIT=1"
#define CMDLINE_QUIET " earlycon=uart8250,io,0x3f8 keep_bootcon loglevel=1"
#define CMDLINE_CONSOLE " earlycon=uart8250,io,0x3f8 console=ttyS0 loglevel=7"

struct vmm {
	const struct run_options *options;
	struct spec_pod *spec;
	char *pod_directory; /* paths of the pod file begin here */
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
	struct net_slirp *slirp;
	struct egress *egress; /* NULL: open */
	struct pcap *pcap;     /* NULL: none */
	struct rng *rng;
	struct balloon *balloon;
	struct disk *disks[SPEC_DISKS_MAX];
	struct blk *blks[SPEC_DISKS_MAX];
	unsigned disk_count;
	struct wire_pod wire;
	struct session *session;
	struct sockets *sockets;
};

/* ---- the pod file ---- */

static void spec_report(void *ctx, enum spec_level level, const char *message)
{
	(void)ctx;
	log_warn("%s%s", level == SPEC_WARNING ? "warning: " : "", message);
}

static void spec_load(struct vmm *vmm)
{
	const char *path = vmm->options->pod_file;
	char *text, *copy;
	size_t bytes;
	int err = file_read(path, SPEC_TEXT_BYTES_MAX, &text, &bytes);

	if (err == -EFBIG)
		die("%s is longer than %d MB: no pod file", path, SPEC_TEXT_BYTES_MAX >> 20);
	if (err)
		die("%s can not be read: %s", path, strerror(-err));
	vmm->spec = spec_parse(text, bytes, path, vmm->options->strict, spec_report, NULL);
	free(text);
	if (!vmm->spec)
		exit(EXIT_PODVM); /* every fault was told */
	if (vmm->spec->container_count == 0)
		die("%s: containers: a pod needs at least one", path);
	if (vmm->spec->memory_mb < SPEC_MEMORY_MB_MIN)
		die("%s: resource.memory: %llu MB are too small for any pod; the least is %d", path,
		    (unsigned long long)vmm->spec->memory_mb, SPEC_MEMORY_MB_MIN);
	for (size_t i = 0; i < vmm->spec->file_count; i++)
		if (vmm->spec->files[i].uri[0])
			die("%s: files[%zu].uri: podvm does not fetch files yet: put it into content, or use a volume", path, i);
	copy = xstrdup(path);
	vmm->pod_directory = xstrdup(dirname(copy));
	free(copy);
}

/* A path of the pod file: absolute, or relative to the file. Freed by the caller. */
static char *path_resolve(const struct vmm *vmm, const char *path)
{
	return path[0] == '/' ? xstrdup(path) : xasprintf("%s/%s", vmm->pod_directory, path);
}

static bool is_path(const char *image)
{
	return image[0] == '/' || strncmp(image, "./", 2) == 0 || strncmp(image, "../", 3) == 0;
}

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

/* ---- what the pod sees of the host's files ---- */

static void root_share(struct vmm *vmm, unsigned index)
{
	const char *image = vmm->spec->containers[index].image, *file = vmm->options->pod_file;
	char name[FS_SHARE_NAME_MAX], *path;
	struct stat st;
	int err;

	if (!is_path(image))
		die("%s: containers[%u].image: \"%s\" names an image; podvm runs directories so far: give a path that begins "
		    "with /, ./ or ../",
		    file, index, image);
	path = path_resolve(vmm, image);
	if (stat(path, &st) < 0)
		die("%s: containers[%u].image: %s: %s", file, index, path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		die("%s: containers[%u].image: %s is not a directory", file, index, path);
	snprintf(name, sizeof(name), ABI_SHARE_ROOT_FMT, index);
	err = fs_share_add(vmm->fs, name, path, true);
	if (err)
		die("%s: containers[%u].image: %s: %s", file, index, path, strerror(-err));
	vmm->wire.root_kinds[index] = WIRE_ROOT_FS;
	free(path);
}

static void volume_share(struct vmm *vmm, unsigned index)
{
	const struct spec_volume *volume = &vmm->spec->volumes[index];
	const char *file = vmm->options->pod_file;
	char name[FS_SHARE_NAME_MAX], *path;
	struct stat st;
	int err;

	if (volume->kind != SPEC_VOLUME_PATH)
		return;
	path = path_resolve(vmm, volume->source);
	if (stat(path, &st) < 0)
		die("%s: volumes[%u].source: %s: %s; make it first", file, index, path, strerror(errno));
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		die("%s: volumes[%u].source: %s is neither a directory nor a regular file", file, index, path);
	if (S_ISREG(st.st_mode))
		vmm->wire.volume_is_file[index / 32] |= UINT32_C(1) << index % 32;
	snprintf(name, sizeof(name), ABI_SHARE_VOLUME_FMT, index);
	err = fs_share_add(vmm->fs, name, path, spec_volume_read_only(vmm->spec, index));
	if (err)
		die("%s: volumes[%u].source: %s: %s", file, index, path, strerror(-err));
	free(path);
}

/* ---- its disks ---- */

static const enum disk_cache disk_caches[] = {
	[SPEC_CACHE_WRITEBACK] = DISK_WRITEBACK,   [SPEC_CACHE_WRITETHROUGH] = DISK_WRITETHROUGH,
	[SPEC_CACHE_NONE] = DISK_NONE,		   [SPEC_CACHE_DIRECTSYNC] = DISK_DIRECTSYNC,
	[SPEC_CACHE_UNSAFE] = DISK_UNSAFE,
};

static struct disk *volume_disk_open(struct vmm *vmm, unsigned index)
{
	const struct spec_volume *volume = &vmm->spec->volumes[index];
	char *path = path_resolve(vmm, volume->source), why[512];
	const struct disk_config config = {.path = path, .read_only = spec_volume_read_only(vmm->spec, index),
					   .cache = disk_caches[volume->cache]};
	struct disk *disk = disk_open(vmm->loop, &config, why, sizeof(why));

	if (!disk)
		die("%s: volumes[%u].source: %s", vmm->options->pod_file, index, why);
	free(path);
	return disk;
}

static void disk_make(struct vmm *vmm, unsigned index)
{
	const struct spec_volume *volume = &vmm->spec->volumes[index];
	char serial[BLK_SERIAL_BYTES];
	struct blk_config config = {.serial = serial, .bytes_per_s = volume->bytes_per_s, .ops_per_s = volume->ops_per_s};
	struct virtio_env env = slot_env(vmm, SLOT_DISKS + vmm->disk_count);

	snprintf(serial, sizeof(serial), ABI_DISK_SERIAL_FMT, index);
	config.disk = vmm->disks[vmm->disk_count] = volume_disk_open(vmm, index);
	vmm->blks[vmm->disk_count++] = blk_new(&env, &config);
}

/* ---- the network ---- */

static void port_publish(struct vmm *vmm, const struct spec_port *port)
{
	const char *protocol = port->udp ? "udp" : "tcp";
	struct netaddr addr;
	int host_port;

	if (!netaddr_parse(port->host_ip, &addr))
		die("%s: %s is no address to publish a port at", vmm->options->pod_file, port->host_ip);
	host_port = net_slirp_publish(vmm->slirp, port->udp, &addr, port->host_port, port->container_port);
	if (host_port == -EADDRINUSE)
		die("port %s:%u/%s is taken by another program; choose another hostPort or stop that program", port->host_ip,
		    port->host_port, protocol);
	if (host_port < 0)
		die("port %s:%u/%s can not be published: %s", port->host_ip, port->host_port, protocol, strerror(-host_port));
	if (port->host_port == 0)
		log_warn("port %u/%s of the pod is published at %s:%d", port->container_port, protocol, port->host_ip,
			 host_port);
}

/* A locally administered address; the pod's network is its own, so all pods may have the same. */
static const uint8_t guest_mac[6] = {0x52, 0x54, 0x00, 0x70, 0x6f, 0x64};

/* What libslirp complains of is the guest's doing. */
static void network_log(const char *level, const char *message)
{
	static struct log_limit limit;

	(void)level;
	log_guest(&limit, "network: %s", message);
}

static struct egress *egress_make(const struct spec_pod *spec)
{
	static const enum egress_mode modes[] = {
		[SPEC_EGRESS_OPEN] = EGRESS_OPEN, [SPEC_EGRESS_OFF] = EGRESS_OFF, [SPEC_EGRESS_ALLOW] = EGRESS_ALLOW};
	const struct spec_network *network = &spec->network;
	struct egress *egress;
	struct netrule *rules;
	struct netaddr resolver;

	if (network->egress == SPEC_EGRESS_OPEN)
		return NULL; /* nobody has to be asked */
	rules = xcalloc(network->allow_count + 1, sizeof(*rules));
	for (size_t i = 0; i < network->allow_count; i++)
		if (!netrule_parse(network->allow[i], &rules[i]))
			die("podvm.network.allow[%zu]: %s is no destination", i, network->allow[i]);
	egress = egress_new(modes[network->egress], rules, network->allow_count);
	for (size_t i = 0; i < spec->dns_count; i++)
		if (netaddr_parse(spec->dns[i], &resolver))
			egress_resolver_add(egress, &resolver);
	free(rules);
	return egress;
}

static void limits_set(struct vmm *vmm)
{
	const struct spec_rate *rate = &vmm->spec->network.rate;

	net_rate_set(vmm->net, &(struct net_rate){.receive_bytes = rate->receive_bytes,
						  .receive_frames = rate->receive_packets,
						  .transmit_bytes = rate->transmit_bytes,
						  .transmit_frames = rate->transmit_packets});
}

static void capture_start(struct vmm *vmm)
{
	const char *path = vmm->options->pcap;
	int err;

	if (!path)
		return;
	err = pcap_new(vmm->loop, path, &vmm->pcap);
	if (err == -EINVAL)
		die("--pcap %s: not a regular file; name one, or none that is there yet", path);
	if (err)
		die("--pcap %s: %s", path, strerror(-err));
	net_capture(vmm->net, vmm->pcap);
}

static void network_make(struct vmm *vmm)
{
	struct net_slirp_config config = {
		.hostname = vmm->spec->hostname[0] ? vmm->spec->hostname : NULL,
		.mac = guest_mac,
		.egress = vmm->egress = egress_make(vmm->spec),
		.mtu = ABI_NET_MTU,
		.host_loopback = false,
	};

	glib_shim_set_logger(network_log);
	vmm->slirp = net_slirp_new(vmm->loop, vmm->net, &config);
	if (!vmm->slirp)
		die("the user-mode network can not be set up");
	limits_set(vmm);
	capture_start(vmm);
	for (size_t i = 0; i < vmm->spec->port_count; i++)
		port_publish(vmm, &vmm->spec->ports[i]);
}

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

static void devices_make(struct vmm *vmm)
{
	struct virtio_env envs[SLOT_DISKS];
	struct virtio_dev *devs[SLOT_MAX];

	for (unsigned slot = 0; slot < SLOT_DISKS; slot++)
		envs[slot] = slot_env(vmm, slot);
	vmm->vsock = vsock_new(&envs[SLOT_VSOCK]);
	vmm->fs = fs_new(&envs[SLOT_FS], ABI_FS_TAG);
	vmm->net = net_new(&envs[SLOT_NET], guest_mac, ABI_NET_MTU);
	vmm->rng = rng_new(&envs[SLOT_RNG]);
	vmm->balloon = balloon_new(&envs[SLOT_BALLOON]);
	devs[SLOT_VSOCK] = vsock_dev(vmm->vsock);
	devs[SLOT_FS] = fs_dev(vmm->fs);
	devs[SLOT_NET] = net_dev(vmm->net);
	devs[SLOT_RNG] = rng_dev(vmm->rng);
	devs[SLOT_BALLOON] = balloon_dev(vmm->balloon);
	for (unsigned i = 0; i < vmm->spec->volume_count; i++)
		if (vmm->spec->volumes[i].kind == SPEC_VOLUME_RAW)
			disk_make(vmm, i);
	for (unsigned i = 0; i < vmm->disk_count; i++)
		devs[SLOT_DISKS + i] = blk_dev(vmm->blks[i]);
	for (unsigned slot = 0; slot < SLOT_DISKS + vmm->disk_count; slot++)
		mmio_attach(vmm->kvm, &vmm->mmio, devs[slot]->env.loop, devs[slot], slot);
	for (unsigned i = 0; i < vmm->spec->container_count; i++)
		root_share(vmm, i);
	for (unsigned i = 0; i < vmm->spec->volume_count; i++)
		volume_share(vmm, i);
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
	size_t used = (size_t)snprintf(dst, bytes, "%s%s%s", CMDLINE_BASE,
				       vmm->options->console ? CMDLINE_CONSOLE : CMDLINE_QUIET,
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
	return serial_tail(ctx, dst, bytes);
}

static void session_make(struct vmm *vmm)
{
	struct session_config config = {
		.loop = vmm->loop,
		.vsock = vmm->vsock,
		.spec = vmm->spec,
		.wire = &vmm->wire,
		.console_tail = console_tail,
		.console_ctx = vmm->serial,
	};

	vmm->session = session_new(&config);
}

static void socket_make(struct vmm *vmm, unsigned index)
{
	const struct spec_socket *socket = &vmm->spec->sockets[index];
	const char *file = vmm->options->pod_file;
	bool in = socket->direction == SPEC_SOCKET_IN;
	char *path = path_resolve(vmm, socket->path);
	int err = (in ? sockets_in : sockets_out)(vmm->sockets, socket->port, path);

	if (err == -ENAMETOOLONG)
		die("%s: podvm.sockets[%u].path: %s is too long for a socket: 107 bytes with the pod file's directory", file,
		    index, path);
	if (err == -EADDRINUSE)
		die("%s: podvm.sockets[%u].path: another program listens at %s; stop it or choose another path", file, index,
		    path);
	if (err == -EEXIST && in)
		die("%s: podvm.sockets[%u].path: %s is there and no socket; remove it or choose another path", file, index,
		    path);
	if (err)
		die("%s: podvm.sockets[%u].path: %s: %s", file, index, path, strerror(-err));
	free(path);
}

static void sockets_make(struct vmm *vmm)
{
	vmm->sockets = sockets_new(vmm->vsock, vmm->loop);
	for (unsigned i = 0; i < vmm->spec->socket_count; i++)
		socket_make(vmm, i);
}

/*
 * Threads first: vCPUs and virtio-fs use what the rest frees. A file system of the host that does not answer must not keep
 * podvm: then what others would miss is put in order and the rest left to the end of the process. The lock is kept, so that no
 * vCPU sees what was freed.
 */
static void vmm_free(struct vmm *vmm)
{
	struct virtio_dev *devs[] = {vsock_dev(vmm->vsock), fs_dev(vmm->fs), net_dev(vmm->net), rng_dev(vmm->rng),
				     balloon_dev(vmm->balloon)};

	if (!loop_thread_stop_within(vmm->fs_thread, FS_STOP_LIMIT_MS)) {
		log_warn("a file system of this host does not answer; podvm ends without waiting for it");
		if (loop_lock_within(vmm->loop, FS_STOP_LIMIT_MS)) {
			sockets_free(vmm->sockets);
			pcap_free(vmm->pcap);
		}
		return;
	}
	kvm_free(vmm->kvm);
	for (unsigned i = 0; i < ARRAY_SIZE(devs); i++)
		mmio_detach(devs[i]->env.loop, devs[i]);
	for (unsigned i = 0; i < vmm->disk_count; i++) {
		mmio_detach(vmm->loop, blk_dev(vmm->blks[i]));
		blk_free(vmm->blks[i]);
		disk_close(vmm->disks[i]);
	}
	session_free(vmm->session);
	sockets_free(vmm->sockets);
	net_slirp_free(vmm->slirp);
	vsock_free(vmm->vsock);
	fs_free(vmm->fs);
	net_free(vmm->net);
	pcap_free(vmm->pcap);
	egress_free(vmm->egress);
	rng_free(vmm->rng);
	balloon_free(vmm->balloon);
	serial_free(vmm->serial);
	loop_free(vmm->fs_loop);
	loop_free(vmm->loop);
	mem_fini(&vmm->mem);
	payload_close(&vmm->payload);
	spec_free(vmm->spec);
	free(vmm->pod_directory);
}

static int vmm_run(const struct run_options *options)
{
	struct vmm vmm = {.options = options};
	int code;

	if (options->trace_boot)
		trace_start(clock_mono_ns());
	spec_load(&vmm);
	kernel_find(&vmm);
	trace_mark("pod file read");
	kvm_refuse_emulated();
	machine_make(&vmm);
	devices_make(&vmm);
	session_make(&vmm);
	sockets_make(&vmm);
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
