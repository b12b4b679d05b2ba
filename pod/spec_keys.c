/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_keys: what a pod file may say, as tables for pod/spec_walk.h, with defaults and what needs several keys at once.
 * Must not know how JSON is walked or a single value read (pod/spec_value.c).
 *
 * Both dialects of hyper's pod.json are here: they differ in names ("driver" for "format") and in ports, which older
 * files give per container. Keys of hyper that podvm does nothing with are in the tables as well, so that they are not
 * taken for slips of the pen.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "pod/abi.h"
#include "pod/spec_walk.h"

enum {
	VCPUS_DEFAULT = 1,
	LIST_MAX = SPEC_LIST_MAX,
	RESOLVER_MAX = 64, /* elements of the dns lists */
	LABEL_NAME_BYTES_MAX = 255,
	DEFAULT_NAME_BYTES = 63, /* a default container name is a hostname as well */
};

const char *const spec_restart_words[] = {"never", "onFailure", "always", NULL};
_Static_assert(SPEC_RESTART_NEVER == 0 && SPEC_RESTART_ON_FAILURE == 1 && SPEC_RESTART_ALWAYS == 2,
	       "spec_restart_words is indexed by enum spec_restart");
const char *const spec_encoding_words[] = {"raw", "base64", NULL};
_Static_assert(SPEC_FILE_RAW == 0 && SPEC_FILE_BASE64 == 1, "spec_encoding_words is indexed by enum spec_encoding");
const char *const spec_egress_words[] = {"open", "off", "allow", NULL};
_Static_assert(SPEC_EGRESS_OPEN == 0 && SPEC_EGRESS_OFF == 1 && SPEC_EGRESS_ALLOW == 2,
	       "spec_egress_words is indexed by enum spec_egress");
_Static_assert(sizeof(enum spec_egress) == sizeof(unsigned), "value_choice() writes enums as unsigned");
const char *const spec_cache_words[] = {"writeback", "writethrough", "none", "directsync", "unsafe", NULL};
_Static_assert(SPEC_CACHE_WRITEBACK == 0 && SPEC_CACHE_WRITETHROUGH == 1 && SPEC_CACHE_NONE == 2 &&
	       SPEC_CACHE_DIRECTSYNC == 3 && SPEC_CACHE_UNSAFE == 4, "spec_cache_words is indexed by enum spec_cache");
_Static_assert(sizeof(enum spec_cache) == sizeof(unsigned), "value_choice() writes enums as unsigned");
_Static_assert(sizeof(enum spec_restart) == sizeof(unsigned) && sizeof(enum spec_encoding) == sizeof(unsigned),
	       "value_choice() writes enums as unsigned");

const char *const spec_direction_words[] = {"out", "in", NULL};
_Static_assert(SPEC_SOCKET_OUT == 0 && SPEC_SOCKET_IN == 1, "spec_direction_words is indexed by enum spec_direction");

#define A_PATH "an absolute path without \"..\""
#define A_NAME "a name: letters, digits, \"-\", \"_\" and \".\", the first a letter or digit, at most 128"
#define A_FILE_NAME "a name without \"/\", at most 255 bytes"

const struct key spec_argument = ELEMENT(value_text, "a string");
static const struct key user_element =
	ELEMENT(value_name_or_number, "a name or number", .check = check_word, .required = true);
static const struct key word_element =
	ELEMENT(value_text, "a string without blanks", .check = check_word, .required = true);
static const struct key address_element = ELEMENT(value_address, "an IPv4 or IPv6 address", .required = true);

/* Labels, of the pod and of containers */

/* Without control characters: it is named in messages. */
static char *label_name(const char *key)
{
	for (const char *at = key; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			return NULL;
	return *key && strlen(key) <= LABEL_NAME_BYTES_MAX ? xstrdup(key) : NULL;
}

static bool is_label(const char *text)
{
	(void)text;
	return true;
}

static void value_labels(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	static const struct pairs pairs = {.name = label_name, .a_name = "a name of 1 to 255 bytes, no control characters",
					   .value = is_label, .a_value = "a string"};

	walk_pairs(walk, key, &pairs, item, target);
}

#define LABELS(type)                                                                                                   \
	KEY("labels", value_labels, "an object: {\"NAME\": \"VALUE\"}", AT(type, labels),                              \
	    .count_at = offsetof(struct type, label_count), .max = SPEC_LABELS_MAX)

/* Pods: files and volumes */

static void file_init(struct walk *walk, void *target)
{
	struct spec_file *file = target;

	(void)walk;
	text_set(&file->name, "");
	text_set(&file->uri, "");
	text_set(&file->content, "");
}

static const struct key file_keys[] = {
	KEY("name", value_text, A_FILE_NAME, AT(spec_file, name), .check = check_file_name, .required = true,
	    .unique = true),
	KEY("encoding", value_choice, "\"raw\" or \"base64\"", AT(spec_file, encoding), .words = spec_encoding_words),
	KEY("uri", value_uri, "a URI: \"file:///PATH\", \"http://...\" or \"https://...\"", AT(spec_file, uri)),
	KEY("content", value_content, "a string", AT(spec_file, content)),
};
static const struct shape file_shape = SHAPE(file_keys, .init = file_init);
static const struct key file_element =
	ELEMENT(value_object, "an object: {\"name\": ..., \"content\": ...}", .shape = &file_shape);

static void volume_init(struct walk *walk, void *target)
{
	struct spec_volume *volume = target;

	(void)walk;
	text_set(&volume->name, "");
	text_set(&volume->source, "");
	text_set(&volume->fstype, "");
}

static unsigned disk_count(const struct spec_pod *pod)
{
	unsigned count = 0;

	for (size_t i = 0; i < pod->volume_count; i++)
		count += pod->volumes[i].kind == SPEC_VOLUME_RAW;
	return count;
}

static void volume_finish(struct walk *walk, void *target)
{
	struct spec_volume *volume = target;

	if (volume->kind != SPEC_VOLUME_RAW) {
		volume->kind = *volume->source ? SPEC_VOLUME_PATH : SPEC_VOLUME_PRIVATE;
		return;
	}
	if (!*volume->source)
		walk_note(walk, SPEC_ERROR, "a \"raw\" volume without a source; expected the path of its disk image");
	if (!*volume->fstype)
		text_set(&volume->fstype, "ext4");
	if (disk_count(walk->pod) == SPEC_DISKS_MAX + 1)
		walk_note(walk, SPEC_ERROR, "more than %d \"raw\" volumes; expected fewer", SPEC_DISKS_MAX);
}

#define A_LIMIT "a whole number from 0 (no limit) to 4294967295"
static const struct key option_keys[] = {
	KEY("bytespersec", value_number, A_LIMIT, AT(spec_volume, bytes_per_s), .size = 8, .max = UINT32_MAX),
	KEY("iops", value_number, A_LIMIT, AT(spec_volume, ops_per_s), .size = 8, .max = UINT32_MAX),
	KEY("monitors", value_ignored, NULL),
	KEY("user", value_ignored, NULL),
	KEY("keyring", value_ignored, NULL),
};
static const struct shape option_shape = SHAPE(option_keys);
const struct key spec_option =
	ELEMENT(value_object, "an object: {\"bytespersec\": ..., \"iops\": ...}", .shape = &option_shape);

#define A_FORMAT "\"raw\", \"vfs\" or none"
static const struct key volume_keys[] = {
	KEY("name", value_text, A_FILE_NAME, AT(spec_volume, name), .check = check_file_name, .required = true,
	    .unique = true),
	KEY("format", value_format, A_FORMAT),
	KEY("driver", value_format, A_FORMAT),
	KEY("source", value_text, "a path that begins with \"/\", \"./\" or \"../\"", AT(spec_volume, source),
	    .check = check_source),
	KEY("fstype", value_fstype, "the name of a file system such as \"ext4\"", AT(spec_volume, fstype),
	    .check = check_fstype),
	KEY("cache", value_cache, "\"writeback\", \"writethrough\", \"none\", \"directsync\" or \"unsafe\"",
	    AT(spec_volume, cache), .words = spec_cache_words),
	KEY("option", value_option, NULL, .shape = &option_shape),
};
static const struct shape volume_shape = SHAPE(volume_keys, .init = volume_init, .finish = volume_finish);
static const struct key volume_element =
	ELEMENT(value_object, "an object: {\"name\": ..., \"source\": ...}", .shape = &volume_shape);

/* Ports, of the pod and of containers */

struct port_rule {
	char *host_ip;
	struct port_range host, container;
	unsigned udp; /* index in protocol_words */
};

static const char *const protocol_words[] = {"tcp", "udp", NULL};

static bool is_any_address(const char *address)
{
	return !strcmp(address, "0.0.0.0") || !strcmp(address, "::");
}

/* Two that would listen at the same place, or are the same thing said twice. */
static bool ports_clash(const struct spec_port *a, const struct spec_port *b)
{
	bool same_address = !strcmp(a->host_ip, b->host_ip);

	if (a->udp != b->udp || a->host_port != b->host_port)
		return false;
	if (!a->host_port)
		return same_address && a->container_port == b->container_port;
	return same_address || is_any_address(a->host_ip) || is_any_address(b->host_ip);
}

/* False when it is refused. */
static bool port_add(struct walk *walk, const struct spec_port *port)
{
	struct spec_pod *pod = walk->pod;
	const char *protocol = protocol_words[port->udp];

	for (size_t i = 0; i < pod->port_count; i++) {
		if (!ports_clash(port, &pod->ports[i]))
			continue;
		if (port->host_port)
			walk_note(walk, SPEC_ERROR, "host port %u/%s on %s is published twice; expected once",
				  port->host_port, protocol, port->host_ip);
		else
			walk_note(walk, SPEC_ERROR,
				  "container port %u/%s is published on any port of %s twice; expected once",
				  port->container_port, protocol, port->host_ip);
		return false;
	}
	if (pod->port_count == SPEC_PORTS_MAX) {
		walk_note(walk, SPEC_ERROR, "more than %d ports in all; expected fewer", SPEC_PORTS_MAX);
		return false;
	}
	pod->ports = xrealloc(pod->ports, (pod->port_count + 1) * sizeof(*pod->ports));
	pod->ports[pod->port_count] = *port;
	pod->ports[pod->port_count++].host_ip = xstrdup(port->host_ip);
	return true;
}

static void port_init(struct walk *walk, void *target)
{
	struct port_rule *rule = target;

	(void)walk;
	text_set(&rule->host_ip, "127.0.0.1");
}

static void port_finish(struct walk *walk, void *target)
{
	const struct port_rule *rule = target;

	if (rule->host.count && rule->container.count && rule->host.count != rule->container.count) {
		walk_note(walk, SPEC_ERROR, "%u host ports for %u container ports; expected as many", rule->host.count,
			  rule->container.count);
		return;
	}
	for (unsigned i = 0; i < rule->container.count; i++) {
		struct spec_port port = {
			.host_ip = rule->host_ip,
			.host_port = (uint16_t)(rule->host.count ? rule->host.first + i : 0),
			.container_port = (uint16_t)(rule->container.first + i),
			.udp = rule->udp,
		};

		if (!port_add(walk, &port))
			return;
	}
}

static const struct key port_keys[] = {
	KEY("containerPort", value_port_range, "a port from 1 to 65535 or a range such as \"8000-8080\"",
	    AT(port_rule, container), .min = 1, .required = true),
	KEY("hostPort", value_port_range,
	    "a port from 1 to 65535, a range such as \"8000-8080\", or \"\" for a free one", AT(port_rule, host)),
	KEY("protocol", value_choice, "\"tcp\" or \"udp\"", AT(port_rule, udp), .words = protocol_words),
	KEY("hostIP", value_address, "an IPv4 or IPv6 address", AT(port_rule, host_ip)),
	KEY("servicePort", value_ignored, NULL),
};
static const struct shape port_shape = SHAPE(port_keys, .init = port_init, .finish = port_finish);

/* Rules are spread out into the pod's ports, wherever they stand. */
static void value_port(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	struct port_rule rule = {0};

	(void)target;
	value_object(walk, key, item, &rule);
	free(rule.host_ip);
}

static const struct key port_element =
	ELEMENT(value_port, "an object: {\"hostPort\": ..., \"containerPort\": ...}", .shape = &port_shape);

#define A_PORTS "an array of {\"hostPort\": ..., \"containerPort\": ...}"
/* value_list() wants a list; this one is of nothing, one byte a rule, and thrown away. */
struct port_list {
	char *rules;
	size_t count;
};
static const struct key ports_key = LIST(NULL, A_PORTS, port_list, rules, count, LIST_MAX, port_element);

static void value_ports(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	struct port_list list = {0};

	(void)key;
	(void)target;
	value_list(walk, &ports_key, item, &list);
	free(list.rules);
}

/* Containers: what they may and may use is in pod/spec_confine.c. */

static void env_init(struct walk *walk, void *target)
{
	struct spec_env *env = target;

	(void)walk;
	text_set(&env->name, "");
	text_set(&env->value, "");
}

static const struct key env_keys[] = {
	KEY("env", value_text, "a name without \"=\"", AT(spec_env, name), .check = check_env_name, .required = true,
	    .unique = true),
	KEY("value", value_text, "a string", AT(spec_env, value)),
};
static const struct shape env_shape = SHAPE(env_keys, .init = env_init);
const struct key spec_env =
	ELEMENT(value_object, "an object: {\"env\": ..., \"value\": ...}", .shape = &env_shape);

static void mount_init(struct walk *walk, void *target)
{
	struct spec_mount *mount = target;

	(void)walk;
	text_set(&mount->path, "");
	text_set(&mount->volume, "");
}

static bool check_mount_path(const char *text)
{
	return check_path(text) && text[strspn(text, "/.")]; /* "/" would hide the image, "/./" as well */
}

#define NO_DETAIL "none: name an element of the pod's list instead"
static const struct key mount_keys[] = {
	KEY("path", value_text, "an absolute path other than \"/\", without \"..\"", AT(spec_mount, path),
	    .check = check_mount_path, .required = true, .unique = true),
	KEY("detail", value_refused, NO_DETAIL),
	KEY("volume", value_volume_ref, "the name of a volume of the pod", AT(spec_mount, volume),
	    .check = check_file_name, .required = true, .unique = true),
	KEY("readOnly", value_bool, "true or false", AT(spec_mount, read_only)),
};
static const struct shape mount_shape = SHAPE(mount_keys, .init = mount_init);
static const struct key mount_element =
	ELEMENT(value_object, "an object: {\"path\": ..., \"volume\": ...}", .shape = &mount_shape);

static void place_init(struct walk *walk, void *target)
{
	struct spec_place *place = target;

	(void)walk;
	text_set(&place->path, "");
	text_set(&place->filename, "");
	place->perm = 0755;
}

#define AN_OWNER "a number from 0 to 4294967295"
static const struct key place_keys[] = {
	KEY("path", value_text, A_PATH, AT(spec_place, path), .check = check_path, .required = true),
	KEY("detail", value_refused, NO_DETAIL),
	KEY("filename", value_file_ref, "the name of a file of the pod", AT(spec_place, filename),
	    .check = check_file_name, .required = true),
	KEY("perm", value_perm, "octal text such as \"0644\"", AT(spec_place, perm)),
	KEY("user", value_owner, AN_OWNER, AT(spec_place, uid), .size = 4, .max = UINT32_MAX),
	KEY("group", value_owner, AN_OWNER, AT(spec_place, gid), .size = 4, .max = UINT32_MAX),
};
static const struct shape place_shape = SHAPE(place_keys, .init = place_init);
static const struct key place_element =
	ELEMENT(value_object, "an object: {\"path\": ..., \"filename\": ...}", .shape = &place_shape);

static const struct key user_keys[] = {
	KEY("name", value_name_or_number, "a name or number", AT(spec_user, name)),
	KEY("group", value_name_or_number, "a name or number", AT(spec_user, group)),
	LIST("additionalGroups", "an array of names or numbers", spec_user, additional_groups, additional_group_count,
	     LIST_MAX, user_element),
};
const struct shape spec_user = SHAPE(user_keys);

static void container_init(struct walk *walk, void *target)
{
	struct spec_container *container = target;

	text_set(&container->name, "");
	text_set(&container->image, "");
	text_set(&container->workdir, "/");
	text_set(&container->user.name, "");
	text_set(&container->user.group, "");
	text_set(&container->stop_signal, "TERM");
	container->restart = walk->pod->restart;
}

/* Lower-case letters, digits and inner hyphens of what text has up to its end or bytes, in a fresh text. */
static char *hostname_part(const char *text, size_t bytes)
{
	char *part = xcalloc(1, bytes + 1);
	size_t length = 0;

	for (size_t i = 0; i < bytes && text[i]; i++) {
		char c = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);

		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
			part[length++] = c;
		else if (length && part[length - 1] != '-')
			part[length++] = '-';
	}
	while (length && part[length - 1] == '-')
		length--;
	part[length] = '\0';
	return part;
}

/* <pod>-<image>-<index>, of the image the last part without tag and digest, cut so that the index is never lost. */
static char *default_name(const struct spec_pod *pod, const struct spec_container *container, size_t index)
{
	enum { ID_BYTES = 24, BASE_BYTES = DEFAULT_NAME_BYTES - ID_BYTES - 4 /* two hyphens, two digits */ };
	const char *base = container->image;
	size_t length = strlen(base);
	char *id, *image, *name;

	while (length && base[length - 1] == '/')
		length--;
	for (size_t i = length; i; i--) {
		if (base[i - 1] == '/') {
			base += i;
			length -= i;
			break;
		}
	}
	length = MIN(length, strcspn(base, ":@"));
	id = hostname_part(pod->id, ID_BYTES);
	image = hostname_part(base, MIN(length, (size_t)BASE_BYTES));
	name = xasprintf("%s-%s-%zu", *id ? id : "pod", *image ? image : "root", index);
	free(id);
	free(image);
	return name;
}
_Static_assert(SPEC_CONTAINERS_MAX <= 100, "default_name() keeps room for two digits");

static void container_finish(struct walk *walk, void *target)
{
	struct spec_container *container = target;
	size_t index = (size_t)(container - walk->pod->containers);

	container->tty = container->tty || walk->pod->tty;
	if (*container->name)
		return;
	free(container->name);
	container->name = default_name(walk->pod, container, index);
	for (size_t i = 0; i < index; i++)
		if (!strcmp(walk->pod->containers[i].name, container->name))
			walk_note(walk, SPEC_ERROR,
				  "its default name \"%s\" is taken by containers[%zu]; expected a name",
				  container->name, i);
}

#define RESTART_WORDS "\"never\", \"onFailure\" or \"always\""
static const struct key container_keys[] = {
	KEY("name", value_text, A_NAME, AT(spec_container, name), .check = check_name, .unique = true),
	KEY("image", value_text, "an image reference, or a path that begins with \"/\", \"./\" or \"../\"",
	    AT(spec_container, image), .check = check_image, .required = true),
	LIST("command", "an array of strings", spec_container, command, command_count, SPEC_ARGS_MAX, spec_argument),
	LIST("entrypoint", "an array of strings", spec_container, entrypoint, entrypoint_count, SPEC_ARGS_MAX,
	     spec_argument),
	KEY("workdir", value_text, A_PATH, AT(spec_container, workdir), .check = check_path),
	KEY("user", value_object, "an object: {\"name\": ..., \"group\": ...}", AT(spec_container, user),
	    .shape = &spec_user),
	LIST("envs", "an array of {\"env\": ..., \"value\": ...}", spec_container, envs, env_count, LIST_MAX,
	     spec_env),
	KEY("tty", value_bool, "true or false", AT(spec_container, tty)),
	KEY("readOnly", value_bool, "true or false", AT(spec_container, read_only)),
	KEY("restartPolicy", value_choice, RESTART_WORDS, AT(spec_container, restart), .words = spec_restart_words),
	LIST("volumes", "an array of {\"path\": ..., \"volume\": ...}", spec_container, mounts, mount_count,
	     SPEC_VOLUMES_MAX, mount_element),
	LIST("files", "an array of {\"path\": ..., \"filename\": ...}", spec_container, files, file_count, LIST_MAX,
	     place_element),
	KEY("ports", value_ports, A_PORTS, .element = &port_element),
	KEY("stopSignal", value_signal, "a signal such as \"TERM\", \"SIGRTMIN+3\" or 15",
	    AT(spec_container, stop_signal)),
	KEY("podvm", value_object, "an object: {\"capAdd\": [...], \"noNewPrivileges\": ...}", .shape = &spec_confine),
	KEY("id", value_ignored, NULL),
	LABELS(spec_container),
	KEY("logPath", value_ignored, NULL),
	KEY("cache", value_ignored, NULL),
	KEY("sysctl", value_sysctls, "an object: {\"net/ipv4/ip_forward\": \"1\"}", AT(spec_container, sysctls),
	    .count_at = offsetof(struct spec_container, sysctl_count), .max = SPEC_SYSCTLS_MAX),
	LIST("ulimits", "an array of {\"name\": ..., \"soft\": ..., \"hard\": ...}", spec_container, ulimits,
	     ulimit_count, SPEC_ULIMITS_MAX, spec_ulimit),
};
static const struct shape container_shape = SHAPE(container_keys, .init = container_init, .finish = container_finish);
static const struct key container_element =
	ELEMENT(value_object, "an object: {\"image\": ..., \"command\": [...]}", .shape = &container_shape);

/* The pod */

static const struct key resource_keys[] = {
	KEY("vcpu", value_number, "a whole number from 1 to 32", AT(spec_pod, vcpus), .size = 4, .min = 1,
	    .max = SPEC_VCPUS_MAX),
	KEY("memory", value_number, "a whole number of megabytes from 24 to 1048576", AT(spec_pod, memory_mb),
	    .size = 8, .min = SPEC_MEMORY_MB_MIN, .max = SPEC_MEMORY_MB_MAX),
};
_Static_assert(SPEC_VCPUS_MAX == 32 && SPEC_MEMORY_MB_MIN == 24 && SPEC_MEMORY_MB_MAX == 1048576,
	       "resource_keys says these numbers in words");
static const struct shape resource_shape = SHAPE(resource_keys);

/* podvm.sockets */

static void socket_init(struct walk *walk, void *target)
{
	(void)walk;
	text_set(&((struct spec_socket *)target)->path, "");
}

/* Two that would listen at the same place. */
static void socket_finish(struct walk *walk, void *target)
{
	const struct spec_socket *socket = target, *sockets = (const void *)walk->list.base;

	for (size_t i = 0; i < walk->list.index; i++) {
		if (sockets[i].direction != socket->direction)
			continue;
		if (socket->direction == SPEC_SOCKET_OUT && socket->port && sockets[i].port == socket->port)
			walk_note(walk, SPEC_ERROR, "port %u leads out twice, see podvm.sockets[%zu]; expected once",
				  (unsigned)socket->port, i);
		if (socket->direction == SPEC_SOCKET_IN && *socket->path && !strcmp(sockets[i].path, socket->path))
			walk_note(walk, SPEC_ERROR, "path \"%s\" leads in twice, see podvm.sockets[%zu]; expected once",
				  socket->path, i);
	}
}

static const struct key socket_keys[] = {
	KEY("port", value_number, "a vsock port from 1024 to 4294967294", AT(spec_socket, port), .size = 4,
	    .min = SPEC_SOCKET_PORT_MIN, .max = UINT32_MAX - 1, .required = true),
	KEY("path", value_text, "a path that begins with \"/\", \"./\" or \"../\"", AT(spec_socket, path),
	    .check = check_source, .required = true),
	KEY("direction", value_choice, "\"out\" or \"in\"", AT(spec_socket, direction), .words = spec_direction_words,
	    .required = true),
};
_Static_assert(SPEC_SOCKET_PORT_MIN == 1024 && ABI_PORT_CONTROL < 1024 && ABI_PORT_STREAM < 1024,
	       "socket_keys says this number in words, and podvm's own ports are below it");
static const struct shape socket_shape = SHAPE(socket_keys, .init = socket_init, .finish = socket_finish);
static const struct key socket_element =
	ELEMENT(value_object, "an object: {\"port\": ..., \"path\": ..., \"direction\": ...}", .shape = &socket_shape);

/* podvm.network */

static const struct key rate_keys[] = {
#define RATE(text, field)                                                                                              \
	KEY(text, value_number, "a whole number per second from 0 to 4294967295, 0 being no limit",                    \
	    AT(spec_pod, network.rate.field), .size = 8, .max = UINT32_MAX)
	RATE("rxBytes", receive_bytes),
	RATE("txBytes", transmit_bytes),
	RATE("rxPackets", receive_packets),
	RATE("txPackets", transmit_packets),
#undef RATE
};
static const struct shape rate_shape = SHAPE(rate_keys);

static const struct key destination_element =
	ELEMENT(value_text,
		"an address, a network, a name or \"*.\" and a name, with \":port\" behind it or not: \"192.0.2.7\", "
		"\"10.1.0.0/16\", \"[2001:db8::/32]:443\", \"*.example.org\"",
		.check = check_destination, .required = true);
static const struct key allow_key =
	LIST("allow", "an array of destinations", spec_pod, network.allow, network.allow_count, LIST_MAX, destination_element);

/* Read after "egress": a list that nothing enforces would be taken for protection. */
static void value_allow(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	const struct spec_pod *pod = target;

	(void)key;
	value_list(walk, &allow_key, item, target);
	if (pod->network.allow_count && pod->network.egress != SPEC_EGRESS_ALLOW)
		walk_note(walk, SPEC_ERROR, "a list without \"egress\": \"allow\"; expected both");
}

static const struct key network_keys[] = {
	KEY("egress", value_choice, "\"open\", \"off\" or \"allow\"", AT(spec_pod, network.egress),
	    .words = spec_egress_words),
	KEY("allow", value_allow, "an array of destinations"),
	KEY("rate", value_object, "an object: {\"rxBytes\": ..., \"txBytes\": ...}", .shape = &rate_shape),
};
static const struct shape network_shape = SHAPE(network_keys);

/* portmappingWhiteLists */

static const struct key white_element =
	ELEMENT(value_text, "a network such as \"192.0.2.0/24\" or \"2001:db8::/32\", the bits behind its prefix 0",
		.check = check_network, .required = true);
static const struct key white_keys[] = {
	LIST("internalNetworks", "an array of networks", spec_pod, internal_networks, internal_count, LIST_MAX, white_element),
	LIST("externalNetworks", "an array of networks", spec_pod, external_networks, external_count, LIST_MAX, white_element),
};
static const struct shape white_shape = SHAPE(white_keys);

/* The key "podvm": what hyper's file has no word for. */
static const struct key podvm_keys[] = {
	KEY("network", value_object, "an object: {\"egress\": ...}", .shape = &network_shape),
	LIST("sockets", "an array of {\"port\": ..., \"path\": ..., \"direction\": ...}", spec_pod, sockets,
	     socket_count, SPEC_SOCKETS_MAX, socket_element),
};
static const struct shape podvm_shape = SHAPE(podvm_keys);

static void pod_init(struct walk *walk, void *target)
{
	struct spec_pod *pod = target;

	(void)walk;
	text_set(&pod->id, "");
	text_set(&pod->hostname, "");
	spec_interface_default(&pod->interface);
	pod->vcpus = VCPUS_DEFAULT;
	pod->memory_mb = SPEC_MEMORY_MB_DEFAULT;
}

/* What containers refer to or take as default stands before them. */
static const struct key pod_keys[] = {
	KEY("apiVersion", value_refused, "hyper's pod.json, not a Kubernetes file"),
	KEY("id", value_text,
	    "a name: letters, digits, \"-\", \"_\" and \".\", the first a letter or digit, at most 64",
	    AT(spec_pod, id), .check = check_id),
	KEY("hostname", value_text, "a hostname: labels of letters, digits and \"-\" (RFC 1123), at most 63",
	    AT(spec_pod, hostname), .check = check_hostname),
	KEY("resource", value_object, "an object: {\"vcpu\": ..., \"memory\": ...}", .shape = &resource_shape),
	KEY("tty", value_bool, "true or false", AT(spec_pod, tty)),
	KEY("restartPolicy", value_choice, RESTART_WORDS, AT(spec_pod, restart), .words = spec_restart_words),
	LIST("dns", "an array of addresses", spec_pod, dns, dns_count, RESOLVER_MAX, address_element),
	LIST("dnsSearch", "an array of strings", spec_pod, dns_search, dns_search_count, RESOLVER_MAX, word_element),
	LIST("dnsOptions", "an array of strings", spec_pod, dns_options, dns_option_count, RESOLVER_MAX, word_element),
	LIST("files", "an array of {\"name\": ..., \"content\": ...}", spec_pod, files, file_count, LIST_MAX,
	     file_element),
	LIST("volumes", "an array of {\"name\": ..., \"source\": ...}", spec_pod, volumes, volume_count,
	     SPEC_VOLUMES_MAX, volume_element),
	KEY("portmappings", value_ports, A_PORTS, .element = &port_element),
	LIST("containers", "an array of {\"image\": ..., \"command\": [...]}", spec_pod, containers, container_count,
	     SPEC_CONTAINERS_MAX, container_element, .min = 1, .required = true),
	KEY("podvm", value_object, "an object: {\"network\": ..., \"sockets\": [...]}", .shape = &podvm_shape),
	KEY("type", value_type, NULL),
	LABELS(spec_pod),
	KEY("log", value_ignored, NULL),
	KEY("interfaces", value_interfaces, SPEC_INTERFACES, .element = &spec_interface_element),
	KEY("services", value_ignored, NULL),
	KEY("portmappingWhiteLists", value_object, "an object: {\"externalNetworks\": [...]}", .shape = &white_shape),
};
static const struct shape pod_shape = SHAPE(pod_keys, .init = pod_init);
const struct key spec_root = ELEMENT(value_object, "an object: {\"containers\": [...]}", .shape = &pod_shape);
