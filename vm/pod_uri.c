// SPDX-License-Identifier: Apache-2.0
/*
 * pod_uri: see pod_uri.h. Owns the fetching; must not know where files go.
 *
 * A pod travels to its guest as one text of at most SPEC_TEXT_BYTES_MAX, so all files together have the room that the
 * rest of the pod leaves, and base64 makes 4 characters of 3 bytes. Each file is read up to what is left and no further,
 * be its server as generous as it likes.
 */
#include "vm/pod_uri.h"

#include "lib/base64.h"
#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CURL_MISSING = 127, CURL_TOO_LARGE = 63 /* curl(1), EXIT CODES */, COMPLAINT_BYTES = 512, BLOCK_BYTES = 65536 };

/* One file to be fetched. */
struct want {
	const char *pod_file, *uri;
	size_t index; /* in the pod's files, for messages */
	size_t bytes_max;
};

static _Noreturn void fail(const struct want *want, const char *why)
{
	die("%s: files[%zu].uri: %s: %s", want->pod_file, want->index, want->uri, why);
}

static _Noreturn void fail_size(const struct want *want, uint64_t bytes)
{
	char *size = bytes ? xasprintf("has %llu bytes", (unsigned long long)bytes) : xstrdup("is larger than that");
	char *why = xasprintf("%s; at most %zu fit into the pod: use a volume", size, want->bytes_max);

	fail(want, why);
}

/* ---- file:// ---- */

static unsigned hex_value(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
}

/* Fresh; the parser has checked that the encoding is whole. */
static char *percent_decode(const char *text)
{
	char *decoded = xmalloc(strlen(text) + 1), *end = decoded;

	for (; *text; text++) {
		bool encoded = *text == '%' && text[1] && text[2];

		*end++ = encoded ? (char)(hex_value(text[1]) << 4 | hex_value(text[2])) : *text;
		text += encoded ? 2 : 0;
	}
	*end = '\0';
	return decoded;
}

static char *file_fetch(const struct want *want, size_t *bytes)
{
	char *path = percent_decode(want->uri + strlen("file://")), *data = NULL, *why;
	struct stat st;
	int err = stat(path, &st) < 0 ? -errno : 0;

	if (!err && !S_ISREG(st.st_mode))
		fail(want, "not a regular file");
	if (!err && (uint64_t)st.st_size > want->bytes_max)
		fail_size(want, (uint64_t)st.st_size);
	if (!err)
		err = file_read(path, want->bytes_max, &data, bytes);
	if (err == -EFBIG)
		fail_size(want, 0); /* those of /proc do not know their size */
	if (err) {
		why = xasprintf("%s; make it, or put what is in it into content", strerror(-err));
		fail(want, why);
	}
	free(path);
	return data;
}

/* ---- http:// and https:// ---- */

/* In the child. Output goes to out, complaints to err; curl ends with us. */
static _Noreturn void curl_exec(const struct want *want, int out, int err, pid_t parent)
{
	char limit[24], seconds[24];
	char *const argv[] = {"curl", "--disable", "--silent", "--show-error", "--fail", "--location", "--globoff",
			      "--proto", "=http,https", "--proto-redir", "=http,https", "--max-redirs", "10",
			      "--connect-timeout", "20", "--max-time", seconds, "--max-filesize", limit,
			      "--output", "-", "--url", (char *)want->uri, NULL};
	int null = open("/dev/null", O_RDONLY);
	sigset_t none;

	snprintf(limit, sizeof(limit), "%zu", want->bytes_max);
	snprintf(seconds, sizeof(seconds), "%d", POD_URI_LIMIT_S);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent || null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(CURL_MISSING - 1);
	execvp(argv[0], argv);
	_exit(errno == ENOENT ? CURL_MISSING : CURL_MISSING - 1);
}

/* To the end of the pipe, or a byte more than wanted: then the rest is not waited for. */
static char *pipe_read(int fd, size_t bytes_max, size_t *bytes)
{
	char *data = NULL;
	ssize_t got;

	*bytes = 0;
	do {
		data = xrealloc(data, *bytes + BLOCK_BYTES);
		do
			got = read(fd, data + *bytes, BLOCK_BYTES);
		while (got < 0 && errno == EINTR);
		*bytes += got > 0 ? (size_t)got : 0;
	} while (got > 0 && *bytes <= bytes_max);
	return data;
}

/* The first line of what curl said, without control characters. */
static void complaint_read(int fd, char text[COMPLAINT_BYTES])
{
	ssize_t got = pread(fd, text, COMPLAINT_BYTES - 1, 0);

	text[got > 0 ? got : 0] = '\0';
	text[strcspn(text, "\r\n")] = '\0';
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
}

static void curl_check(const struct want *want, int status, int complaints, size_t bytes)
{
	char text[COMPLAINT_BYTES];

	if (bytes > want->bytes_max || (WIFEXITED(status) && WEXITSTATUS(status) == CURL_TOO_LARGE))
		fail_size(want, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == CURL_MISSING)
		fail(want, "curl(1) fetches it, and is not installed: install it, or name a file:///");
	complaint_read(complaints, text);
	fail(want, *text ? text : "curl(1) failed and did not say why");
}

static char *web_fetch(const struct want *want, size_t *bytes)
{
	int complaints = memfd_create("curl", MFD_CLOEXEC), ends[2], status = 0;
	pid_t parent = getpid(), child;
	char *data;

	if (complaints < 0 || pipe2(ends, O_CLOEXEC) < 0)
		die_errno(errno, "no descriptor left to fetch %s", want->uri);
	child = fork();
	if (child < 0)
		die_errno(errno, "no process can be started to fetch %s", want->uri);
	if (!child)
		curl_exec(want, ends[1], complaints, parent);
	close(ends[1]);
	data = pipe_read(ends[0], want->bytes_max, bytes);
	close(ends[0]);
	if (*bytes > want->bytes_max)
		kill(child, SIGKILL);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	curl_check(want, status, complaints, *bytes);
	close(complaints);
	return data;
}

/* ---- all of them ---- */

static bool is_placed(const struct spec_pod *spec, size_t index)
{
	for (size_t i = 0; i < spec->container_count; i++)
		for (size_t j = 0; j < spec->containers[i].file_count; j++)
			if (spec->containers[i].files[j].file_index == index)
				return true;
	return false;
}

static bool is_wanted(const struct spec_pod *spec, size_t index)
{
	return *spec->files[index].uri && is_placed(spec, index);
}

/* Characters that are left for content when nothing is fetched yet. */
static size_t room_left(struct spec_pod *spec)
{
	size_t used;
	char *printed;

	for (size_t i = 0; i < spec->file_count; i++) {
		if (!is_wanted(spec, i))
			continue;
		spec->files[i].content[0] = '\0'; /* the uri wins */
		spec->files[i].encoding = SPEC_FILE_BASE64;
	}
	printed = spec_print(spec);
	used = strlen(printed);
	free(printed);
	return used < SPEC_TEXT_BYTES_MAX ? SPEC_TEXT_BYTES_MAX - used : 0;
}

static bool has_wanted(const struct spec_pod *spec)
{
	for (size_t i = 0; i < spec->file_count; i++)
		if (is_wanted(spec, i))
			return true;
	return false;
}

void pod_uri_fetch(const char *pod_file, struct spec_pod *spec)
{
	size_t room = has_wanted(spec) ? room_left(spec) : 0;

	for (size_t i = 0; i < spec->file_count; i++) {
		struct spec_file *file = &spec->files[i];
		struct want want = {.pod_file = pod_file, .uri = file->uri, .index = i, .bytes_max = room / 4 * 3};
		bool local = !strncmp(file->uri, "file:", 5);
		size_t bytes;
		char *data;

		if (!is_wanted(spec, i))
			continue;
		data = local ? file_fetch(&want, &bytes) : web_fetch(&want, &bytes);
		free(file->content);
		file->content = base64_encode(data, bytes);
		room -= BASE64_CHARACTERS(bytes);
		free(data);
	}
}
