/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_equal: see spec_equal.h. One function per struct of pod/spec.h, each naming every field.
 */
#include "tests/unit/spec_equal.h"

#include <string.h>

#define SAME_TEXT(field) (!strcmp(a->field, b->field))
#define SAME(field) (a->field == b->field)

static bool texts_equal(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (strcmp(a[i], b[i]))
			return false;
	return true;
}
#define SAME_TEXTS(field, count) texts_equal(a->field, a->count, b->field, b->count)

static bool pairs_equal(const struct spec_pair *a, size_t a_count, const struct spec_pair *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (strcmp(a[i].name, b[i].name) || strcmp(a[i].value, b[i].value))
			return false;
	return true;
}
#define SAME_PAIRS(field, count) pairs_equal(a->field, a->count, b->field, b->count)

static bool env_equal(const struct spec_env *a, const struct spec_env *b)
{
	return SAME_TEXT(name) && SAME_TEXT(value);
}

static bool mount_equal(const struct spec_mount *a, const struct spec_mount *b)
{
	return SAME_TEXT(path) && SAME_TEXT(volume) && SAME(volume_index) && SAME(read_only);
}

static bool place_equal(const struct spec_place *a, const struct spec_place *b)
{
	return SAME_TEXT(path) && SAME_TEXT(filename) && SAME(file_index) && SAME(perm) && SAME(uid) && SAME(gid);
}

static bool volume_equal(const struct spec_volume *a, const struct spec_volume *b)
{
	return SAME_TEXT(name) && SAME_TEXT(source) && SAME(kind) && SAME_TEXT(fstype) && SAME(cache) &&
	       SAME(bytes_per_s) && SAME(ops_per_s);
}

static bool file_equal(const struct spec_file *a, const struct spec_file *b)
{
	return SAME_TEXT(name) && SAME(encoding) && SAME_TEXT(uri) && SAME_TEXT(content);
}

static bool port_equal(const struct spec_port *a, const struct spec_port *b)
{
	return SAME_TEXT(host_ip) && SAME(host_port) && SAME(container_port) && SAME(udp);
}

static bool socket_equal(const struct spec_socket *a, const struct spec_socket *b)
{
	return SAME(port) && SAME_TEXT(path) && SAME(direction);
}

static bool user_equal(const struct spec_user *a, const struct spec_user *b)
{
	return SAME_TEXT(name) && SAME_TEXT(group) && SAME_TEXTS(additional_groups, additional_group_count);
}

static bool ulimit_equal(const struct spec_ulimit *a, const struct spec_ulimit *b)
{
	return SAME(resource) && SAME(soft) && SAME(hard);
}

static bool container_equal(const struct spec_container *a, const struct spec_container *b)
{
	bool same = SAME_TEXT(name) && SAME_TEXT(image) && SAME_TEXT(workdir) && SAME_TEXT(stop_signal) &&
		    SAME_TEXTS(command, command_count) && SAME_TEXTS(entrypoint, entrypoint_count) && SAME(tty) &&
		    SAME(read_only) && SAME(restart) && SAME(env_count) && SAME(mount_count) && SAME(file_count) &&
		    SAME(ulimit_count) && SAME_PAIRS(sysctls, sysctl_count) &&
		    SAME_PAIRS(labels, label_count) && SAME(cap_add) && SAME(cap_drop) && SAME(no_new_privileges) &&
		    SAME(pids) && SAME(memory_mb) && SAME(cpu_milli) && user_equal(&a->user, &b->user);

	for (size_t i = 0; same && i < a->env_count; i++)
		same = env_equal(&a->envs[i], &b->envs[i]);
	for (size_t i = 0; same && i < a->mount_count; i++)
		same = mount_equal(&a->mounts[i], &b->mounts[i]);
	for (size_t i = 0; same && i < a->file_count; i++)
		same = place_equal(&a->files[i], &b->files[i]);
	for (size_t i = 0; same && i < a->ulimit_count; i++)
		same = ulimit_equal(&a->ulimits[i], &b->ulimits[i]);
	return same;
}

static bool rate_equal(const struct spec_rate *a, const struct spec_rate *b)
{
	return SAME(receive_bytes) && SAME(receive_packets) && SAME(transmit_bytes) && SAME(transmit_packets);
}

static bool network_equal(const struct spec_network *a, const struct spec_network *b)
{
	return SAME(egress) && SAME_TEXTS(allow, allow_count) && rate_equal(&a->rate, &b->rate);
}

static bool interface_equal(const struct spec_interface *a, const struct spec_interface *b)
{
	return SAME_TEXT(ifname) && !memcmp(a->mac, b->mac, sizeof(a->mac)) && SAME(ip) && SAME(gateway) && SAME(prefix) &&
	       SAME(mtu);
}

bool spec_equal(const struct spec_pod *a, const struct spec_pod *b)
{
	bool same = SAME_TEXT(id) && SAME_TEXT(hostname) && SAME(vcpus) && SAME(memory_mb) && SAME(tty) &&
		    SAME(restart) && SAME_TEXTS(dns, dns_count) && SAME_TEXTS(dns_search, dns_search_count) &&
		    SAME_TEXTS(dns_options, dns_option_count) && SAME(container_count) && SAME(volume_count) &&
		    SAME(file_count) && SAME(port_count) && SAME(socket_count) &&
		    SAME_TEXTS(internal_networks, internal_count) && SAME_TEXTS(external_networks, external_count) &&
		    SAME_PAIRS(labels, label_count) && network_equal(&a->network, &b->network) &&
		    interface_equal(&a->interface, &b->interface);

	for (size_t i = 0; same && i < a->container_count; i++)
		same = container_equal(&a->containers[i], &b->containers[i]);
	for (size_t i = 0; same && i < a->volume_count; i++)
		same = volume_equal(&a->volumes[i], &b->volumes[i]);
	for (size_t i = 0; same && i < a->file_count; i++)
		same = file_equal(&a->files[i], &b->files[i]);
	for (size_t i = 0; same && i < a->port_count; i++)
		same = port_equal(&a->ports[i], &b->ports[i]);
	for (size_t i = 0; same && i < a->socket_count; i++)
		same = socket_equal(&a->sockets[i], &b->sockets[i]);
	return same;
}

bool spec_exec_equal(const struct spec_exec *a, const struct spec_exec *b)
{
	bool same = SAME_TEXTS(command, command_count) && SAME_TEXT(workdir) && user_equal(&a->user, &b->user) &&
		    SAME(env_count) && SAME(tty);

	for (size_t i = 0; same && i < a->env_count; i++)
		same = env_equal(&a->envs[i], &b->envs[i]);
	return same;
}
