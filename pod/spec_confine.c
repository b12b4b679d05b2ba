/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_confine: what a pod file may say of a container's limits and rights: values and tables. How they take effect is
 * init's; must not know the other keys (pod/spec_keys.c).
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/util.h"
#include "pod/spec_walk.h"

/* Largest whole number that JSON, whose numbers are doubles, carries exactly. */
static const uint64_t exact_max = (UINT64_C(1) << 53) - 1;

/* A whole number up to exact_max, in digits or as JSON number; "unlimited", -1, or what a 64-bit -1 becomes in JSON. */
static bool limit_of(const cJSON *item, uint64_t *limit)
{
	enum { DIGITS_MAX = 16 };
	const char *text = cJSON_IsString(item) ? item->valuestring : "";
	size_t digits = strspn(text, "0123456789");
	double value = cJSON_IsNumber(item) ? item->valuedouble : 0.5;

	if (!strcasecmp(text, "unlimited") || !strcmp(text, "-1") || value == -1 || value >= (double)UINT64_MAX) {
		*limit = SPEC_UNLIMITED;
		return true;
	}
	if (digits && digits <= DIGITS_MAX && !text[digits]) {
		*limit = strtoull(text, NULL, 10);
		return *limit <= exact_max;
	}
	if (!(value >= 0 && value <= (double)exact_max) || value != (double)(uint64_t)value)
		return false;
	*limit = (uint64_t)value;
	return true;
}

/* The field is 64 bits wide. */
static void value_limit(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	uint64_t limit;

	if (!limit_of(item, &limit) || limit < key->min || (limit > key->max && limit != SPEC_UNLIMITED))
		walk_bad(walk, key);
	else
		memcpy((char *)target + key->at, &limit, sizeof(limit));
}

/* ---- ulimits ---- */

/* By number of the resource, which is the same on all architectures that podvm may come to. */
const char *const spec_ulimit_words[] = {"cpu",     "fsize",   "data",  "stack", "core",       "rss",
					 "nproc",   "nofile",  "memlock", "as",    "locks",    "sigpending",
					 "msgqueue", "nice",   "rtprio", "rttime", NULL};
_Static_assert(ARRAY_SIZE(spec_ulimit_words) == SPEC_ULIMITS_MAX + 1, "a pod may set each of them");

const char *spec_ulimit_name(unsigned resource)
{
	return spec_ulimit_words[resource];
}

/* Soft and hard start as "not said", which no file can say. */
static const uint64_t unsaid = UINT64_MAX - 1;

static void ulimit_init(struct walk *walk, void *target)
{
	struct spec_ulimit *ulimit = target;

	(void)walk;
	ulimit->resource = SPEC_ULIMITS_MAX;
	ulimit->soft = ulimit->hard = unsaid;
}

static void ulimit_finish(struct walk *walk, void *target)
{
	const struct spec_ulimit *ulimits = (const void *)walk->list.base;
	struct spec_ulimit *ulimit = target;

	if (ulimit->hard == unsaid)
		ulimit->hard = ulimit->soft;
	/* UINT64_MAX is both unlimited and the largest. */
	if (ulimit->soft != unsaid && ulimit->soft > ulimit->hard)
		walk_note(walk, SPEC_ERROR, "its soft limit is above its hard limit; expected at most as much");
	for (size_t i = 0; i < walk->list.index && ulimit->resource < SPEC_ULIMITS_MAX; i++)
		if (ulimits[i].resource == ulimit->resource)
			walk_note(walk, SPEC_ERROR, "\"%s\" is set twice; expected once",
				  spec_ulimit_name(ulimit->resource));
}

#define A_ULIMIT "a whole number from 0, or \"unlimited\" or -1"
static const struct key ulimit_keys[] = {
	KEY("name", value_choice,
	    "one of \"as\", \"core\", \"cpu\", \"data\", \"fsize\", \"locks\", \"memlock\", \"msgqueue\", \"nice\", "
	    "\"nofile\", \"nproc\", \"rss\", \"rtprio\", \"rttime\", \"sigpending\", \"stack\"",
	    AT(spec_ulimit, resource), .words = spec_ulimit_words, .required = true),
	KEY("soft", value_limit, A_ULIMIT, AT(spec_ulimit, soft), .max = UINT64_MAX, .required = true),
	KEY("hard", value_limit, A_ULIMIT, AT(spec_ulimit, hard), .max = UINT64_MAX),
};
static const struct shape ulimit_shape = SHAPE(ulimit_keys, .init = ulimit_init, .finish = ulimit_finish);
const struct key spec_ulimit =
	ELEMENT(value_object, "an object: {\"name\": ..., \"soft\": ..., \"hard\": ...}", .shape = &ulimit_shape);

/* ---- sysctl ---- */

enum { SYSCTL_NAME_BYTES_MAX = 255, SYSCTL_VALUE_BYTES_MAX = 4095 };

/* At least two parts, none of them "." or ".." or empty: the path stays below /proc/sys. */
static bool is_sysctl_path(const char *path)
{
	unsigned parts = 0;

	for (;; path++) {
		size_t bytes = strcspn(path, "/");

		if (!bytes || (bytes == 1 && *path == '.') || (bytes == 2 && !strncmp(path, "..", 2)))
			return false;
		parts++;
		path += bytes;
		if (!*path)
			return parts >= 2;
	}
}

/*
 * As sysctl(8) reads them: what comes first, "/" or ".", parts the name, and the other one is part of it, swapped. An
 * interface may have a "." in its name: "net/ipv4/conf/eth0.1/forwarding" is "net.ipv4.conf.eth0/1.forwarding".
 */
static char *sysctl_name(const char *key)
{
	size_t first = strcspn(key, "/.");
	char *name = xstrdup(key);

	for (char *at = name; *at && key[first] == '.'; at++)
		*at = (char)(*at == '.' ? '/' : *at == '/' ? '.' : *at);
	for (const char *at = name; *at; at++)
		if ((unsigned char)*at <= 0x20 || *at == 0x7f)
			name[0] = '\0';
	if (strlen(name) <= SYSCTL_NAME_BYTES_MAX && is_sysctl_path(name))
		return name;
	free(name);
	return NULL;
}

/* One line; numbers in it may be parted by tabs. */
static bool is_sysctl_value(const char *text)
{
	size_t bytes = strlen(text);

	if (!bytes || bytes > SYSCTL_VALUE_BYTES_MAX)
		return false;
	for (; *text; text++)
		if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f)
			return false;
	return true;
}

void value_sysctls(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	static const struct pairs pairs = {
		.name = sysctl_name, .a_name = "a path below /proc/sys such as \"net/ipv4/ip_forward\"",
		.value = is_sysctl_value, .a_value = "a text such as \"1\", of one line, not empty",
	};

	walk_pairs(walk, key, &pairs, item, target);
}

/* ---- the container's key "podvm" ---- */

/* By number: include/uapi/linux/capability.h, without "CAP_". */
const char *const spec_capability_words[] = {
	"CHOWN",	   "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER",		 "FSETID",
	"KILL",		   "SETGID",	   "SETUID",	      "SETPCAP",	 "LINUX_IMMUTABLE",
	"NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN",     "NET_RAW",	 "IPC_LOCK",
	"IPC_OWNER",	   "SYS_MODULE",   "SYS_RAWIO",	      "SYS_CHROOT",	 "SYS_PTRACE",
	"SYS_PACCT",	   "SYS_ADMIN",	   "SYS_BOOT",	      "SYS_NICE",	 "SYS_RESOURCE",
	"SYS_TIME",	   "SYS_TTY_CONFIG", "MKNOD",	      "LEASE",		 "AUDIT_WRITE",
	"AUDIT_CONTROL",   "SETFCAP",	   "MAC_OVERRIDE",    "MAC_ADMIN",	 "SYSLOG",
	"WAKE_ALARM",	   "BLOCK_SUSPEND", "AUDIT_READ",     "PERFMON",	 "BPF",
	"CHECKPOINT_RESTORE", NULL,
};
enum { CAPABILITY_LIST_MAX = 128 };

/* 0 when there is none of that name. */
static uint64_t capability_of(const char *name)
{
	if (!strcasecmp(name, "ALL"))
		return SPEC_CAPABILITIES_ALL;
	if (!strncasecmp(name, "CAP_", 4))
		name += 4;
	for (unsigned i = 0; spec_capability_words[i]; i++)
		if (!strcasecmp(spec_capability_words[i], name))
			return UINT64_C(1) << i;
	return 0;
}

static void value_capability(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	uint64_t bits = cJSON_IsString(item) ? capability_of(item->valuestring) : 0;

	if (!bits)
		walk_bad(walk, key);
	*(uint64_t *)target = bits;
}

static const struct key capability_element =
	ELEMENT(value_capability, "a capability of Linux such as \"NET_ADMIN\", or \"ALL\"");
struct capability_list {
	uint64_t *bits;
	size_t count;
};
static const struct key capability_list = LIST(NULL, "an array of capabilities such as \"NET_ADMIN\"", capability_list,
					       bits, count, CAPABILITY_LIST_MAX, capability_element);

/* A list in the file, a set in the spec. */
static void value_capabilities(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	uint64_t *set = (uint64_t *)((char *)target + key->at);
	struct capability_list list = {0};

	value_list(walk, &capability_list, item, &list);
	for (size_t i = 0; i < list.count; i++)
		*set |= list.bits[i];
	free(list.bits);
}

/* A container's memory in megabytes: 0 is no limit, and what is less than the minimum no memory. */
static void value_memory(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	uint64_t limit;

	if (limit_of(item, &limit) && !limit)
		*(uint64_t *)((char *)target + key->at) = 0;
	else
		value_number(walk, key, item, target);
}

/* CPUs with up to three digits behind the point; more are rounded. */
static void value_cpus(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	const char *text = cJSON_IsString(item) ? item->valuestring : "";
	double cpus = cJSON_IsNumber(item) ? item->valuedouble : -1;
	char *end;

	if (*text && !text[strspn(text, "0123456789.")]) {
		cpus = strtod(text, &end);
		if (*end)
			cpus = -1;
	}
	if (cpus == 0 || (cpus >= SPEC_CPU_MILLI_MIN / 1000.0 && cpus <= SPEC_VCPUS_MAX))
		*(unsigned *)((char *)target + key->at) = (unsigned)(cpus * 1000 + 0.5);
	else
		walk_bad(walk, key);
}

static void confine_finish(struct walk *walk, void *target)
{
	const struct spec_container *container = target;
	uint64_t both = container->cap_add & container->cap_drop;

	/* "ALL" but some is what the lists are for. */
	if ((container->cap_add == SPEC_CAPABILITIES_ALL) != (container->cap_drop == SPEC_CAPABILITIES_ALL))
		return;
	for (unsigned i = 0; both && spec_capability_words[i]; i++) {
		if (both & UINT64_C(1) << i) {
			walk_note(walk, SPEC_ERROR, "\"%s\" is in both capAdd and capDrop; expected one",
				  both == SPEC_CAPABILITIES_ALL ? "ALL" : spec_capability_words[i]);
			return;
		}
	}
}

static const struct key confine_keys[] = {
	KEY("capAdd", value_capabilities, NULL, AT(spec_container, cap_add)),
	KEY("capDrop", value_capabilities, NULL, AT(spec_container, cap_drop)),
	KEY("noNewPrivileges", value_bool, "true or false", AT(spec_container, no_new_privileges)),
	KEY("pids", value_limit, "a whole number from 1 to 4194304, or \"unlimited\" or -1", AT(spec_container, pids),
	    .min = 1, .max = SPEC_PIDS_MAX),
	KEY("memory", value_memory, "a whole number of megabytes from 4 to 1048576, or 0 for no limit",
	    AT(spec_container, memory_mb), .size = 8, .min = SPEC_CONTAINER_MEMORY_MB_MIN, .max = SPEC_MEMORY_MB_MAX),
	KEY("cpus", value_cpus, "a number of CPUs from 0.01 to 32, or 0 for no limit", AT(spec_container, cpu_milli)),
};
_Static_assert(SPEC_PIDS_MAX == 4194304 && SPEC_CONTAINER_MEMORY_MB_MIN == 4 && SPEC_MEMORY_MB_MAX == 1048576 &&
	       SPEC_CPU_MILLI_MIN == 10 && SPEC_VCPUS_MAX == 32, "confine_keys says these numbers in words");
const struct shape spec_confine = SHAPE(confine_keys, .finish = confine_finish);
