// SPDX-License-Identifier: Apache-2.0
/* pod_file: the file becomes a spec; then each entry that names something of the host is checked and handed over. */
#include "vm/pod_file.h"

#include "lib/log.h"
#include "lib/util.h"
#include "pod/abi.h"
#include "pod/spec_read.h"
#include "vm/pod_uri.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct spec_pod *pod_file_read(const char *pod_file, bool strict)
{
	struct spec_pod *spec = spec_read(pod_file, strict, spec_read_log, NULL);

	if (!spec)
		exit(EXIT_PODVM); /* every fault was told */
	pod_uri_fetch(pod_file, spec);
	return spec;
}

/* A path of the pod file: absolute, or relative to the file. Freed by the caller. */
static char *path_resolve(const char *pod_file, const char *path)
{
	char *copy, *resolved;

	if (path[0] == '/')
		return xstrdup(path);
	copy = xstrdup(pod_file);
	resolved = xasprintf("%s/%s", dirname(copy), path);
	free(copy);
	return resolved;
}

static bool is_path(const char *image)
{
	return image[0] == '/' || strncmp(image, "./", 2) == 0 || strncmp(image, "../", 3) == 0;
}

/* ---- shares ---- */

static void root_share(const char *pod_file, const struct spec_pod *spec, unsigned index, struct fs *fs)
{
	const char *image = spec->containers[index].image;
	char name[FS_SHARE_NAME_MAX], *path;
	struct stat st;
	int err;

	if (!is_path(image))
		die("%s: containers[%u].image: \"%s\" names an image; podvm runs directories so far: give a path that begins "
		    "with /, ./ or ../",
		    pod_file, index, image);
	path = path_resolve(pod_file, image);
	if (stat(path, &st) < 0)
		die("%s: containers[%u].image: %s: %s", pod_file, index, path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		die("%s: containers[%u].image: %s is not a directory", pod_file, index, path);
	snprintf(name, sizeof(name), ABI_SHARE_ROOT_FMT, index);
	err = fs_share_add(fs, name, path, true);
	if (err)
		die("%s: containers[%u].image: %s: %s", pod_file, index, path, strerror(-err));
	free(path);
}

/* True when it is a single file. */
static bool volume_share(const char *pod_file, const struct spec_pod *spec, unsigned index, struct fs *fs)
{
	char *path = path_resolve(pod_file, spec->volumes[index].source), name[FS_SHARE_NAME_MAX];
	struct stat st;
	int err;

	if (stat(path, &st) < 0)
		die("%s: volumes[%u].source: %s: %s; make it first", pod_file, index, path, strerror(errno));
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		die("%s: volumes[%u].source: %s is neither a directory nor a regular file", pod_file, index, path);
	snprintf(name, sizeof(name), ABI_SHARE_VOLUME_FMT, index);
	err = fs_share_add(fs, name, path, spec_volume_read_only(spec, index));
	if (err)
		die("%s: volumes[%u].source: %s: %s", pod_file, index, path, strerror(-err));
	free(path);
	return S_ISREG(st.st_mode);
}

void pod_file_share(const char *pod_file, const struct spec_pod *spec, struct fs *fs, struct wire_pod *wire)
{
	for (unsigned i = 0; i < spec->container_count; i++) {
		root_share(pod_file, spec, i, fs);
		wire->root_kinds[i] = WIRE_ROOT_FS;
	}
	for (unsigned i = 0; i < spec->volume_count; i++)
		if (spec->volumes[i].kind == SPEC_VOLUME_PATH && volume_share(pod_file, spec, i, fs))
			wire->volume_is_file[i / 32] |= UINT32_C(1) << i % 32;
}

/* ---- disks ---- */

static const enum disk_cache disk_caches[] = {
	[SPEC_CACHE_WRITEBACK] = DISK_WRITEBACK,   [SPEC_CACHE_WRITETHROUGH] = DISK_WRITETHROUGH,
	[SPEC_CACHE_NONE] = DISK_NONE,		   [SPEC_CACHE_DIRECTSYNC] = DISK_DIRECTSYNC,
	[SPEC_CACHE_UNSAFE] = DISK_UNSAFE,
};

struct disk *pod_file_disk_open(const char *pod_file, const struct spec_pod *spec, unsigned index, struct loop *loop)
{
	const struct spec_volume *volume = &spec->volumes[index];
	char *path = path_resolve(pod_file, volume->source), why[512];
	const struct disk_config config = {.path = path, .read_only = spec_volume_read_only(spec, index),
					   .cache = disk_caches[volume->cache]};
	struct disk *disk = disk_open(loop, &config, why, sizeof(why));

	if (!disk)
		die("%s: volumes[%u].source: %s", pod_file, index, why);
	free(path);
	return disk;
}

/* ---- Unix sockets ---- */

static void socket_join(const char *pod_file, const struct spec_socket *socket, unsigned index, struct sockets *sockets)
{
	bool in = socket->direction == SPEC_SOCKET_IN;
	char *path = path_resolve(pod_file, socket->path);
	int err = (in ? sockets_in : sockets_out)(sockets, socket->port, path);

	if (err == -ENAMETOOLONG)
		die("%s: podvm.sockets[%u].path: %s is too long for a socket: 107 bytes with the pod file's directory", pod_file,
		    index, path);
	if (err == -EADDRINUSE)
		die("%s: podvm.sockets[%u].path: another program listens at %s; stop it or choose another path", pod_file, index,
		    path);
	if (err == -EEXIST && in)
		die("%s: podvm.sockets[%u].path: %s is there and no socket; remove it or choose another path", pod_file, index,
		    path);
	if (err)
		die("%s: podvm.sockets[%u].path: %s: %s", pod_file, index, path, strerror(-err));
	free(path);
}

void pod_file_sockets(const char *pod_file, const struct spec_pod *spec, struct sockets *sockets)
{
	for (unsigned i = 0; i < spec->socket_count; i++)
		socket_join(pod_file, &spec->sockets[i], i, sockets);
}
