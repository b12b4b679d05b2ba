/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec: see spec.h. Owns the life of a spec: parsed, checked as a whole, freed. With pod/spec_*.c the only user of cJSON.
 * Must not know the keys (pod/spec_keys.c) or what becomes of a pod: nothing is opened, looked up or started.
 */
#include "pod/spec.h"

#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "pod/spec_walk.h"

enum { PRINT_FACTOR = 4 }; /* a printed pod is at most this much longer than its file, plus defaults */

/* Defaults make a pod longer than its file; the guest reads what was printed, so that must fit as well. */
static void check_printed_size(struct walk *walk)
{
	char *printed;

	if (walk->errors || walk->bytes < SPEC_TEXT_BYTES_MAX / PRINT_FACTOR)
		return;
	printed = spec_print(walk->pod);
	if (strlen(printed) > SPEC_TEXT_BYTES_MAX)
		walk_note(walk, SPEC_ERROR, "with all defaults longer than %d bytes; expected less",
			  SPEC_TEXT_BYTES_MAX);
	free(printed);
}

struct spec_pod *spec_parse(const char *text, size_t bytes, const char *file, bool strict, spec_report_fn *report,
			    void *ctx)
{
	struct walk walk = {.text = text, .bytes = bytes, .file = file, .strict = strict};

	walk.pod = xcalloc(1, sizeof(*walk.pod));
	if (walk_text(&walk, &spec_root, walk.pod, check_printed_size, report, ctx))
		return walk.pod;
	spec_free(walk.pod);
	return NULL;
}

void texts_free(char **texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(texts[i]);
	free(texts);
}

static void pairs_free(struct spec_pair *pairs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(pairs[i].name);
		free(pairs[i].value);
	}
	free(pairs);
}

void spec_user_free(struct spec_user *user)
{
	free(user->name);
	free(user->group);
	texts_free(user->additional_groups, user->additional_group_count);
}

void spec_envs_free(struct spec_env *envs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(envs[i].name);
		free(envs[i].value);
	}
	free(envs);
}

static void container_free(struct spec_container *container)
{
	free(container->name);
	free(container->image);
	free(container->workdir);
	free(container->stop_signal);
	spec_user_free(&container->user);
	texts_free(container->command, container->command_count);
	texts_free(container->entrypoint, container->entrypoint_count);
	spec_envs_free(container->envs, container->env_count);
	for (size_t i = 0; i < container->mount_count; i++) {
		free(container->mounts[i].path);
		free(container->mounts[i].volume);
	}
	free(container->mounts);
	for (size_t i = 0; i < container->file_count; i++) {
		free(container->files[i].path);
		free(container->files[i].filename);
	}
	free(container->files);
	free(container->ulimits);
	pairs_free(container->sysctls, container->sysctl_count);
	pairs_free(container->labels, container->label_count);
}

static void volumes_free(struct spec_volume *volumes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(volumes[i].name);
		free(volumes[i].source);
		free(volumes[i].fstype);
	}
	free(volumes);
}

static void files_free(struct spec_file *files, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(files[i].name);
		free(files[i].uri);
		free(files[i].content);
	}
	free(files);
}

static void sockets_free(struct spec_socket *sockets, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(sockets[i].path);
	free(sockets);
}

void spec_free(struct spec_pod *pod)
{
	if (!pod)
		return;
	free(pod->id);
	free(pod->hostname);
	texts_free(pod->dns, pod->dns_count);
	texts_free(pod->dns_search, pod->dns_search_count);
	texts_free(pod->dns_options, pod->dns_option_count);
	for (size_t i = 0; i < pod->container_count; i++)
		container_free(&pod->containers[i]);
	free(pod->containers);
	volumes_free(pod->volumes, pod->volume_count);
	files_free(pod->files, pod->file_count);
	for (size_t i = 0; i < pod->port_count; i++)
		free(pod->ports[i].host_ip);
	free(pod->ports);
	pairs_free(pod->labels, pod->label_count);
	sockets_free(pod->sockets, pod->socket_count);
	free(pod->interface.ifname);
	texts_free(pod->internal_networks, pod->internal_count);
	texts_free(pod->external_networks, pod->external_count);
	texts_free(pod->network.allow, pod->network.allow_count);
	free(pod);
}

bool spec_volume_read_only(const struct spec_pod *pod, unsigned volume)
{
	for (size_t c = 0; c < pod->container_count; c++)
		for (size_t m = 0; m < pod->containers[c].mount_count; m++)
			if (pod->containers[c].mounts[m].volume_index == volume && !pod->containers[c].mounts[m].read_only)
				return false;
	return true;
}

char **spec_argv(const struct spec_container *container, size_t *count)
{
	char **argv;

	*count = container->entrypoint_count + container->command_count;
	argv = xcalloc(*count + 1, sizeof(*argv));
	if (container->entrypoint_count)
		memcpy(argv, container->entrypoint, container->entrypoint_count * sizeof(*argv));
	if (container->command_count)
		memcpy(argv + container->entrypoint_count, container->command,
		       container->command_count * sizeof(*argv));
	return argv;
}
