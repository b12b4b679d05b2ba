/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec: a pod file as plain data. Parsing reads nothing but the text, resolves nothing and starts nothing;
 * what a file leaves out has its default filled in and has_* false. All strings and arrays belong to the spec.
 *
 * Keys are matched without regard to case; unknown keys are warnings. Every problem names file, line:column, JSON
 * path, the value and what was expected, and all of a file's problems are reported.
 */
#ifndef POD_SPEC_H
#define POD_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SPEC_TEXT_BYTES_MAX = 4 << 20,
	SPEC_DEPTH_MAX = 32,
	SPEC_CONTAINERS_MAX = 64,
	SPEC_VOLUMES_MAX = 64,
	SPEC_DISKS_MAX = 8, /* of the volumes, those of SPEC_VOLUME_RAW */
	SPEC_PORTS_MAX = 1024, /* after ranges are spread out */
	SPEC_SOCKETS_MAX = 16,
	SPEC_SOCKET_PORT_MIN = 1024, /* below are the ports of pod/abi.h */
	SPEC_ARGS_MAX = 4096,
	SPEC_CONTAINER_MEMORY_MB_MIN = 4, /* a shell starts in less, nothing useful does */
	SPEC_PIDS_MAX = 1 << 22, /* the kernel's own bound */
	SPEC_CPU_MILLI_MIN = 10, /* a millisecond in a tenth of a second: the kernel's own bound */
	SPEC_SYSCTLS_MAX = 256,
	SPEC_LABELS_MAX = 256,
	SPEC_ULIMITS_MAX = 16, /* as many as there are, and each may be set once */
	SPEC_VCPUS_MAX = 32,
	SPEC_MEMORY_MB_DEFAULT = 128,
	SPEC_MEMORY_MB_MIN = 24, /* below it no pod boots, see docs/performance.md */
	SPEC_MEMORY_MB_MAX = 1 << 20,
};

enum spec_restart { SPEC_RESTART_NEVER, SPEC_RESTART_ON_FAILURE, SPEC_RESTART_ALWAYS };

struct spec_env {
	char *name, *value;
};

struct spec_pair {
	char *name, *value;
};

struct spec_user {
	char *name;  /* "" when unset: root */
	char *group; /* "" when unset */
	char **additional_groups;
	size_t additional_group_count;
};

struct spec_mount {
	char *path;   /* in the container, absolute */
	char *volume; /* name of a volume of the pod */
	unsigned volume_index;
	bool read_only;
};

/* containers[].files: a definition of the pod placed into the container */
struct spec_place {
	char *path;	/* absolute; ending in '/': the file's name is appended */
	char *filename; /* name of a file of the pod */
	unsigned file_index;
	uint32_t perm; /* default 0755 */
	uint32_t uid, gid;
};

#define SPEC_UNLIMITED UINT64_MAX
#define SPEC_CAPABILITIES_ALL UINT64_MAX

/* A resource limit of the container's main process and what it starts. */
struct spec_ulimit {
	unsigned resource; /* RLIMIT_* of Linux */
	uint64_t soft, hard; /* soft <= hard; SPEC_UNLIMITED */
};

struct spec_container {
	char *name; /* unique; default "<id or pod>-<last part of image>-<index>", a valid hostname */
	char *image; /* begins with "/", "./" or "../": a path, from the pod file's directory; else a reference */
	char **command;
	size_t command_count;
	char **entrypoint;
	size_t entrypoint_count;
	char *workdir; /* default "/" */
	struct spec_user user;
	struct spec_env *envs;
	size_t env_count;
	bool tty;
	bool read_only;
	enum spec_restart restart; /* default: the pod's */
	struct spec_mount *mounts; /* key "volumes" */
	size_t mount_count;
	struct spec_place *files;
	size_t file_count;
	char *stop_signal; /* without "SIG"; default "TERM" */
	struct spec_ulimit *ulimits;
	size_t ulimit_count;
	struct spec_pair *sysctls; /* name: a path below /proc/sys, "net/ipv4/ip_forward" */
	size_t sysctl_count;
	struct spec_pair *labels; /* data that nothing depends on */
	size_t label_count;
	/* key "podvm" of a container */
	uint64_t cap_add, cap_drop; /* bit per capability of Linux, or SPEC_CAPABILITIES_ALL */
	bool no_new_privileges;
	uint64_t pids; /* processes and threads; 0: init's default, SPEC_UNLIMITED */
	uint64_t memory_mb; /* 0: no limit but the pod's */
	unsigned cpu_milli; /* thousandths of a CPU; 0: no limit */
};

enum spec_volume_kind {
	SPEC_VOLUME_PRIVATE, /* no source: made for this pod, gone with it */
	SPEC_VOLUME_PATH,    /* "vfs": a host directory or file */
	SPEC_VOLUME_RAW,     /* "raw": a disk image or block device with a file system on it */
};

enum spec_cache {
	SPEC_CACHE_WRITEBACK,
	SPEC_CACHE_WRITETHROUGH,
	SPEC_CACHE_NONE, /* also "off" */
	SPEC_CACHE_DIRECTSYNC,
	SPEC_CACHE_UNSAFE,
};

struct spec_volume {
	char *name;
	char *source; /* "" for private */
	enum spec_volume_kind kind;
	/* of SPEC_VOLUME_RAW; else at their defaults */
	char *fstype; /* as mount(2) takes it; default "ext4" */
	enum spec_cache cache;
	uint64_t bytes_per_s, ops_per_s; /* option.bytespersec, option.iops; 0: no limit */
};

enum spec_encoding { SPEC_FILE_RAW, SPEC_FILE_BASE64 };

struct spec_file {
	char *name;
	enum spec_encoding encoding;
	char *uri; /* "": none. Else where the content comes from: vm/pod_uri puts it here when the pod starts */
	char *content;
};

struct spec_port {
	char *host_ip;	    /* default "127.0.0.1" */
	uint16_t host_port; /* 0: any free one */
	uint16_t container_port;
	bool udp;
};

/* interfaces: the pod's one network card. IPv4 addresses in the host's byte order. */
struct spec_interface {
	char *ifname;
	uint8_t mac[6];
	uint32_t ip, gateway; /* of one network, and different */
	unsigned prefix;      /* bits, 8 to 29 */
	uint32_t mtu;
};

enum spec_direction { SPEC_SOCKET_OUT, SPEC_SOCKET_IN };

/* podvm.sockets: a Unix socket of the host and a vsock port, see vm/sockets.h */
struct spec_socket {
	uint32_t port;
	char *path; /* begins with "/", "./" or "../": from the pod file's directory */
	enum spec_direction direction;
};

/* "podvm": {"network": ...}: podvm's own */
enum spec_egress { SPEC_EGRESS_OPEN, SPEC_EGRESS_OFF, SPEC_EGRESS_ALLOW };

struct spec_rate {
	uint64_t receive_bytes, receive_packets; /* per second; 0: no limit. Receive is to the pod. */
	uint64_t transmit_bytes, transmit_packets;
};

struct spec_network {
	enum spec_egress egress;
	char **allow; /* destinations as lib/netrule.h has them; only with SPEC_EGRESS_ALLOW */
	size_t allow_count;
	struct spec_rate rate;
};

struct spec_pod {
	char *id;	/* "" when the file has none: the starter makes one up */
	char *hostname; /* "" when unset: id, cut to 63 */
	unsigned vcpus;
	uint64_t memory_mb;
	bool tty; /* already OR-ed into every container's tty */
	enum spec_restart restart;
	char **dns, **dns_search, **dns_options;
	size_t dns_count, dns_search_count, dns_option_count;
	struct spec_container *containers;
	size_t container_count;
	struct spec_volume *volumes;
	size_t volume_count;
	struct spec_file *files;
	size_t file_count;
	struct spec_interface interface;
	struct spec_port *ports; /* portmappings and containers[].ports together */
	size_t port_count;
	/* key "portmappingWhiteLists": networks as lib/netrule.h has them; both empty: everyone may reach the ports */
	char **internal_networks, **external_networks;
	size_t internal_count, external_count;
	struct spec_pair *labels;
	size_t label_count;
	/* key "podvm": what hyper's format has no word for */
	struct spec_network network;
	struct spec_socket *sockets;
	size_t socket_count;
};

enum spec_level { SPEC_WARNING, SPEC_ERROR };

/* Told each problem, one line without newline: "pod.json:3:12: containers[0].image: 5 is not a string". */
typedef void spec_report_fn(void *ctx, enum spec_level level, const char *message);

/*
 * Parses text (need not end in NUL; file is its name for messages). Returns a fresh spec, or NULL when there was
 * any error, all of them reported. strict turns warnings into errors.
 */
struct spec_pod *spec_parse(const char *text, size_t bytes, const char *file, bool strict, spec_report_fn *report, void *ctx);
void spec_free(struct spec_pod *pod); /* NULL is fine */

/* The pod as JSON with every default filled in; parses back to an equal spec. Freed by the caller. */
char *spec_print(const struct spec_pod *pod);

/* Where the pod's resolver is: the third address of its network, or the next below that nobody else has. */
uint32_t spec_interface_dns(const struct spec_interface *interface);

/* True when no container mounts the volume writable: then it is not writable, whatever the guest tries. */
bool spec_volume_read_only(const struct spec_pod *pod, unsigned volume);

/*
 * argv of a container: entrypoint then command; count in *count, and a NULL behind the last. Pointers belong to the
 * spec, the array to the caller.
 */
char **spec_argv(const struct spec_container *container, size_t *count);

/* What ulimits calls a resource: "nofile". */
const char *spec_ulimit_name(unsigned resource);

/* Number of a signal named as in stop_signal: "TERM", "15", "RTMIN+3"; 0 when there is none. */
int spec_signal_number(const char *name);

/*
 * A file's content, decoded and fresh, a NUL behind it that is not counted in *bytes. NULL when it is no base64: that of
 * a file with a uri is not checked.
 */
uint8_t *spec_file_bytes(const struct spec_file *file, size_t *bytes);

#endif
