/* SPDX-License-Identifier: Apache-2.0 */
/*
 * glib: see glib.h. Owns nothing but the log hook; must not know podvm, so that it builds into libslirp.a.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* getentropy() */
#endif
#include "glib.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOG_LINE_BYTES = 512 };

static void log_stderr(const char *level, const char *message)
{
	fprintf(stderr, "libslirp: %s: %s\n", level, message);
}

static void (*logger)(const char *level, const char *message) = log_stderr;

void glib_shim_set_logger(void (*fn)(const char *level, const char *message))
{
	logger = fn ? fn : log_stderr;
}

/* Longer messages are cut: they may quote what a guest sent. */
void glib_shim_log(const char *level, const char *format, ...)
{
	char line[LOG_LINE_BYTES];
	va_list args;

	va_start(args, format);
	if (vsnprintf(line, sizeof(line), format, args) < 0)
		snprintf(line, sizeof(line), "message that cannot be formatted");
	va_end(args);
	logger(level, line);
	if (strcmp(level, "error") == 0)
		abort();
}

void glib_shim_fail(const char *file, int line, const char *what)
{
	glib_shim_log("error", "%s:%d: assertion failed: %s", file, line, what);
	abort();
}

/* Not through the hook: what it does may need memory. */
static _Noreturn void out_of_memory(void)
{
	static const char text[] = "libslirp: error: out of memory\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		abort();
	abort();
}

gpointer g_malloc(size_t bytes)
{
	void *memory = bytes ? malloc(bytes) : NULL;

	if (bytes && !memory)
		out_of_memory();
	return memory;
}

gpointer g_malloc0(size_t bytes)
{
	return g_malloc0_n(1, bytes);
}

gpointer g_malloc0_n(size_t count, size_t bytes)
{
	size_t product;
	void *memory;

	if (__builtin_mul_overflow(count, bytes, &product))
		out_of_memory();
	memory = product ? calloc(1, product) : NULL;
	if (product && !memory)
		out_of_memory();
	return memory;
}

gpointer g_realloc(gpointer old, size_t bytes)
{
	void *memory;

	if (!bytes) {
		free(old);
		return NULL;
	}
	memory = realloc(old, bytes);
	if (!memory)
		out_of_memory();
	return memory;
}

void g_free(gpointer memory)
{
	free(memory);
}

char *g_strdup(const char *text)
{
	size_t bytes;

	if (!text)
		return NULL;
	bytes = strlen(text) + 1;
	return memcpy(g_malloc(bytes), text, bytes);
}

size_t g_strlcpy(char *dest, const char *source, size_t dest_size)
{
	size_t length = strlen(source);
	size_t copied = length;

	if (dest_size == 0)
		return length;
	if (copied > dest_size - 1)
		copied = dest_size - 1;
	memcpy(dest, source, copied);
	dest[copied] = '\0';
	return length;
}

gboolean g_str_has_prefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Ends at the first NUL as well as at haystack_len. */
char *g_strstr_len(const char *haystack, ptrdiff_t haystack_len, const char *needle)
{
	size_t left = haystack_len < 0 ? strlen(haystack) : strnlen(haystack, (size_t)haystack_len);
	size_t wanted = strlen(needle);

	for (; left >= wanted; haystack++, left--) {
		if (memcmp(haystack, needle, wanted) == 0)
			return (char *)haystack;
		if (left == 0)
			break;
	}
	return NULL;
}

const char *g_strerror(int errnum)
{
	return strerror(errnum);
}

unsigned g_strv_length(char **strv)
{
	unsigned count = 0;

	while (strv[count])
		count++;
	return count;
}

void g_strfreev(char **strv)
{
	if (!strv)
		return;
	for (char **word = strv; *word; word++)
		free(*word);
	free(strv);
}

int g_snprintf(char *dest, size_t size, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(dest, size, format, args);
	va_end(args);
	return length;
}

int g_vsnprintf(char *dest, size_t size, const char *format, va_list args)
{
	return vsnprintf(dest, size, format, args);
}

GString *g_string_new(const char *init)
{
	GString *string = g_malloc(sizeof(*string));

	string->str = g_strdup(init ? init : "");
	string->len = strlen(string->str);
	return string;
}

void g_string_append_printf(GString *string, const char *format, ...)
{
	va_list args;
	int added;

	va_start(args, format);
	added = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (added < 0)
		return;

	string->str = g_realloc(string->str, string->len + (size_t)added + 1);
	va_start(args, format);
	vsnprintf(string->str + string->len, (size_t)added + 1, format, args);
	va_end(args);
	string->len += (size_t)added;
}

char *g_string_free(GString *string, gboolean free_text)
{
	char *text = string->str;

	free(string);
	if (!free_text)
		return text;
	free(text);
	return NULL;
}

/* splitmix64: one word of state, every seed is good. */
struct GRand {
	uint64_t state;
};

GRand *g_rand_new(void)
{
	GRand *rand = g_malloc(sizeof(*rand));

	if (getentropy(&rand->state, sizeof(rand->state)) != 0)
		g_error("no random numbers from the kernel: %s", g_strerror(errno));
	return rand;
}

static uint32_t rand_next(GRand *rand)
{
	uint64_t z = rand->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)((z ^ (z >> 31)) >> 32);
}

/* Scaled by multiplication: the bias is range / 2^32, nothing for ports and seconds. */
int32_t g_rand_int_range(GRand *rand, int32_t begin, int32_t end)
{
	uint32_t range;

	g_return_val_if_fail(begin < end, begin);
	range = (uint32_t)end - (uint32_t)begin;
	return (int32_t)((uint32_t)begin + (uint32_t)(((uint64_t)rand_next(rand) * range) >> 32));
}

void g_rand_free(GRand *rand)
{
	free(rand);
}

const char *g_getenv(const char *name)
{
	(void)name;
	return NULL;
}

unsigned g_parse_debug_string(const char *text, const GDebugKey *keys, unsigned count)
{
	(void)text, (void)keys, (void)count;
	return 0;
}

gboolean g_shell_parse_argv(const char *line, int *argc, char ***argv, GError **error)
{
	(void)error;
	*argv = g_malloc0_n(2, sizeof(**argv));
	(*argv)[0] = g_strdup(line);
	*argc = 1;
	return TRUE;
}

gboolean g_spawn_async_with_fds(const char *dir, char **argv, char **envp, GSpawnFlags flags,
				GSpawnChildSetupFunc setup, gpointer ctx, GPid *pid, int in, int out, int err,
				GError **error)
{
	(void)dir, (void)argv, (void)envp, (void)flags, (void)setup, (void)ctx;
	(void)pid, (void)in, (void)out, (void)err;
	if (error) {
		*error = g_malloc(sizeof(**error));
		(*error)->message = g_strdup("podvm starts no processes for the network");
	}
	return FALSE;
}

void g_error_free(GError *error)
{
	free(error->message);
	free(error);
}
