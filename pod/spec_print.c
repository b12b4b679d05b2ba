/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_print: a pod as JSON, which is how it travels to the guest. Owns the printed form: every key of spec.h, always, in
 * hyper's current dialect; must not know how it is read back, only that nothing of it is refused.
 *
 * On one line: indented, lists could be longer than the file they came from, and the limit on that holds for both.
 * Memory is there or the process ends (spec_parse() and this set cJSON's allocator), so no call's result is checked.
 */
#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/util.h"
#include "pod/spec.h"
#include "pod/spec_walk.h"

void spec_print_texts(cJSON *object, const char *key, char *const *texts, size_t count)
{
	cJSON *list = cJSON_AddArrayToObject(object, key);

	for (size_t i = 0; i < count; i++)
		cJSON_AddItemToArray(list, cJSON_CreateString(texts[i]));
}

static cJSON *put_object(cJSON *list)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddItemToArray(list, object);
	return object;
}

static void put_files(cJSON *root, const struct spec_pod *pod)
{
	cJSON *list = cJSON_AddArrayToObject(root, "files");

	for (size_t i = 0; i < pod->file_count; i++) {
		const struct spec_file *file = &pod->files[i];
		cJSON *object = put_object(list);

		cJSON_AddStringToObject(object, "name", file->name);
		cJSON_AddStringToObject(object, "encoding", spec_encoding_words[file->encoding]);
		cJSON_AddStringToObject(object, "uri", file->uri);
		cJSON_AddStringToObject(object, "content", file->content);
	}
}

static const char *volume_format(const struct spec_volume *volume)
{
	switch (volume->kind) {
	case SPEC_VOLUME_PRIVATE:
		break;
	case SPEC_VOLUME_PATH:
		return "vfs";
	case SPEC_VOLUME_RAW:
		return "raw";
	}
	return "";
}

static void put_disk(cJSON *object, const struct spec_volume *volume)
{
	cJSON *option;

	cJSON_AddStringToObject(object, "fstype", volume->fstype);
	cJSON_AddStringToObject(object, "cache", spec_cache_words[volume->cache]);
	option = cJSON_AddObjectToObject(object, "option");
	cJSON_AddNumberToObject(option, "bytespersec", (double)volume->bytes_per_s);
	cJSON_AddNumberToObject(option, "iops", (double)volume->ops_per_s);
}

static void put_volumes(cJSON *root, const struct spec_pod *pod)
{
	cJSON *list = cJSON_AddArrayToObject(root, "volumes");

	for (size_t i = 0; i < pod->volume_count; i++) {
		const struct spec_volume *volume = &pod->volumes[i];
		cJSON *object = put_object(list);

		cJSON_AddStringToObject(object, "name", volume->name);
		cJSON_AddStringToObject(object, "source", volume->source);
		cJSON_AddStringToObject(object, "format", volume_format(volume));
		if (volume->kind == SPEC_VOLUME_RAW)
			put_disk(object, volume);
	}
}

static void put_ports(cJSON *root, const struct spec_pod *pod)
{
	cJSON *list = cJSON_AddArrayToObject(root, "portmappings");

	for (size_t i = 0; i < pod->port_count; i++) {
		const struct spec_port *port = &pod->ports[i];
		cJSON *object = put_object(list);

		cJSON_AddStringToObject(object, "hostIP", port->host_ip);
		cJSON_AddNumberToObject(object, "hostPort", port->host_port);
		cJSON_AddNumberToObject(object, "containerPort", port->container_port);
		cJSON_AddStringToObject(object, "protocol", port->udp ? "udp" : "tcp");
	}
}

static void put_address(cJSON *object, const char *key, uint32_t address, const char *behind)
{
	char *text = xasprintf("%u.%u.%u.%u%s", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255, behind);

	cJSON_AddStringToObject(object, key, text);
	free(text);
}

static void put_interface(cJSON *root, const struct spec_interface *interface)
{
	cJSON *object = put_object(cJSON_AddArrayToObject(root, "interfaces"));
	const uint8_t *m = interface->mac;
	char prefix[16], mac[18];

	snprintf(prefix, sizeof(prefix), "/%u", interface->prefix);
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
	put_address(object, "ip", interface->ip, prefix);
	put_address(object, "gateway", interface->gateway, "");
	cJSON_AddStringToObject(object, "mac", mac);
	cJSON_AddNumberToObject(object, "mtu", interface->mtu);
	cJSON_AddStringToObject(object, "ifname", interface->ifname);
}

static void put_white_lists(cJSON *root, const struct spec_pod *pod)
{
	cJSON *lists = cJSON_AddObjectToObject(root, "portmappingWhiteLists");

	spec_print_texts(lists, "internalNetworks", pod->internal_networks, pod->internal_count);
	spec_print_texts(lists, "externalNetworks", pod->external_networks, pod->external_count);
}

/* What hyper's format has no word for. */
static void put_sockets(cJSON *podvm, const struct spec_pod *pod)
{
	cJSON *list = cJSON_AddArrayToObject(podvm, "sockets");

	for (size_t i = 0; i < pod->socket_count; i++) {
		const struct spec_socket *socket = &pod->sockets[i];
		cJSON *object = put_object(list);

		cJSON_AddNumberToObject(object, "port", socket->port);
		cJSON_AddStringToObject(object, "path", socket->path);
		cJSON_AddStringToObject(object, "direction", spec_direction_words[socket->direction]);
	}
}

void spec_print_user(cJSON *root, const struct spec_user *user)
{
	cJSON *object = cJSON_AddObjectToObject(root, "user");

	cJSON_AddStringToObject(object, "name", user->name);
	cJSON_AddStringToObject(object, "group", user->group);
	spec_print_texts(object, "additionalGroups", user->additional_groups, user->additional_group_count);
}

void spec_print_envs(cJSON *root, const struct spec_env *envs, size_t count)
{
	cJSON *list = cJSON_AddArrayToObject(root, "envs");

	for (size_t i = 0; i < count; i++) {
		cJSON *object = put_object(list);

		cJSON_AddStringToObject(object, "env", envs[i].name);
		cJSON_AddStringToObject(object, "value", envs[i].value);
	}
}

static void put_mounts(cJSON *root, const struct spec_container *container)
{
	cJSON *list = cJSON_AddArrayToObject(root, "volumes");

	for (size_t i = 0; i < container->mount_count; i++) {
		const struct spec_mount *mount = &container->mounts[i];
		cJSON *object = put_object(list);

		cJSON_AddStringToObject(object, "path", mount->path);
		cJSON_AddStringToObject(object, "volume", mount->volume);
		cJSON_AddBoolToObject(object, "readOnly", mount->read_only);
	}
}

static void put_places(cJSON *root, const struct spec_container *container)
{
	cJSON *list = cJSON_AddArrayToObject(root, "files");

	for (size_t i = 0; i < container->file_count; i++) {
		const struct spec_place *place = &container->files[i];
		cJSON *object = put_object(list);
		char perm[16];

		snprintf(perm, sizeof(perm), "%04o", (unsigned)place->perm);
		cJSON_AddStringToObject(object, "path", place->path);
		cJSON_AddStringToObject(object, "filename", place->filename);
		cJSON_AddStringToObject(object, "perm", perm);
		cJSON_AddNumberToObject(object, "user", place->uid);
		cJSON_AddNumberToObject(object, "group", place->gid);
	}
}

/* cJSON would print 15 digits; these may have one more. */
static void put_limit(cJSON *object, const char *key, uint64_t limit)
{
	char *digits = xasprintf("%llu", (unsigned long long)limit);

	if (limit == SPEC_UNLIMITED)
		cJSON_AddStringToObject(object, key, "unlimited");
	else
		cJSON_AddRawToObject(object, key, digits);
	free(digits);
}

static void put_ulimits(cJSON *root, const struct spec_container *container)
{
	cJSON *list = cJSON_AddArrayToObject(root, "ulimits");

	for (size_t i = 0; i < container->ulimit_count; i++) {
		cJSON *object = put_object(list);

		cJSON_AddStringToObject(object, "name", spec_ulimit_name(container->ulimits[i].resource));
		put_limit(object, "soft", container->ulimits[i].soft);
		put_limit(object, "hard", container->ulimits[i].hard);
	}
}

static void put_pairs(cJSON *root, const char *key, const struct spec_pair *pairs, size_t count)
{
	cJSON *object = cJSON_AddObjectToObject(root, key);

	for (size_t i = 0; i < count; i++)
		cJSON_AddStringToObject(object, pairs[i].name, pairs[i].value);
}

static void put_capabilities(cJSON *object, const char *key, uint64_t capabilities)
{
	cJSON *list = cJSON_AddArrayToObject(object, key);

	if (capabilities == SPEC_CAPABILITIES_ALL) {
		cJSON_AddItemToArray(list, cJSON_CreateString("ALL"));
		return;
	}
	for (unsigned i = 0; spec_capability_words[i]; i++)
		if (capabilities & UINT64_C(1) << i)
			cJSON_AddItemToArray(list, cJSON_CreateString(spec_capability_words[i]));
}

static void put_confinement(cJSON *root, const struct spec_container *container)
{
	cJSON *object = cJSON_AddObjectToObject(root, "podvm");

	put_capabilities(object, "capAdd", container->cap_add);
	put_capabilities(object, "capDrop", container->cap_drop);
	cJSON_AddBoolToObject(object, "noNewPrivileges", container->no_new_privileges);
	if (container->pids) /* no number stands for init's default */
		put_limit(object, "pids", container->pids);
	cJSON_AddNumberToObject(object, "memory", (double)container->memory_mb);
	cJSON_AddNumberToObject(object, "cpus", container->cpu_milli / 1000.0);
}

static void put_containers(cJSON *root, const struct spec_pod *pod)
{
	cJSON *list = cJSON_AddArrayToObject(root, "containers");

	for (size_t i = 0; i < pod->container_count; i++) {
		const struct spec_container *container = &pod->containers[i];
		cJSON *object = put_object(list);

		cJSON_AddStringToObject(object, "name", container->name);
		cJSON_AddStringToObject(object, "image", container->image);
		spec_print_texts(object, "command", container->command, container->command_count);
		spec_print_texts(object, "entrypoint", container->entrypoint, container->entrypoint_count);
		cJSON_AddStringToObject(object, "workdir", container->workdir);
		spec_print_user(object, &container->user);
		spec_print_envs(object, container->envs, container->env_count);
		cJSON_AddBoolToObject(object, "tty", container->tty);
		cJSON_AddBoolToObject(object, "readOnly", container->read_only);
		cJSON_AddStringToObject(object, "restartPolicy", spec_restart_words[container->restart]);
		put_mounts(object, container);
		put_places(object, container);
		cJSON_AddStringToObject(object, "stopSignal", container->stop_signal);
		put_ulimits(object, container);
		put_pairs(object, "sysctl", container->sysctls, container->sysctl_count);
		put_pairs(object, "labels", container->labels, container->label_count);
		put_confinement(object, container);
	}
}

static void put_resource(cJSON *root, const struct spec_pod *pod)
{
	cJSON *object = cJSON_AddObjectToObject(root, "resource");

	cJSON_AddNumberToObject(object, "vcpu", pod->vcpus);
	cJSON_AddNumberToObject(object, "memory", (double)pod->memory_mb);
}

static void put_network(cJSON *podvm, const struct spec_pod *pod)
{
	cJSON *network = cJSON_AddObjectToObject(podvm, "network"), *rate;

	cJSON_AddStringToObject(network, "egress", spec_egress_words[pod->network.egress]);
	spec_print_texts(network, "allow", pod->network.allow, pod->network.allow_count);
	rate = cJSON_AddObjectToObject(network, "rate");
	cJSON_AddNumberToObject(rate, "rxBytes", (double)pod->network.rate.receive_bytes);
	cJSON_AddNumberToObject(rate, "txBytes", (double)pod->network.rate.transmit_bytes);
	cJSON_AddNumberToObject(rate, "rxPackets", (double)pod->network.rate.receive_packets);
	cJSON_AddNumberToObject(rate, "txPackets", (double)pod->network.rate.transmit_packets);
}

static void put_podvm(cJSON *root, const struct spec_pod *pod)
{
	cJSON *podvm = cJSON_AddObjectToObject(root, "podvm");

	put_network(podvm, pod);
	put_sockets(podvm, pod);
}

cJSON *spec_print_begin(void)
{
	cJSON_Hooks memory = {.malloc_fn = xmalloc, .free_fn = free};

	cJSON_InitHooks(&memory);
	return cJSON_CreateObject();
}

char *spec_print(const struct spec_pod *pod)
{
	cJSON *root = spec_print_begin();
	char *text;

	cJSON_AddStringToObject(root, "id", pod->id);
	cJSON_AddStringToObject(root, "hostname", pod->hostname);
	put_resource(root, pod);
	cJSON_AddBoolToObject(root, "tty", pod->tty);
	cJSON_AddStringToObject(root, "restartPolicy", spec_restart_words[pod->restart]);
	spec_print_texts(root, "dns", pod->dns, pod->dns_count);
	spec_print_texts(root, "dnsSearch", pod->dns_search, pod->dns_search_count);
	spec_print_texts(root, "dnsOptions", pod->dns_options, pod->dns_option_count);
	put_files(root, pod);
	put_volumes(root, pod);
	put_interface(root, &pod->interface);
	put_ports(root, pod);
	put_white_lists(root, pod);
	put_containers(root, pod);
	put_pairs(root, "labels", pod->labels, pod->label_count);
	put_podvm(root, pod);
	text = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return text;
}
