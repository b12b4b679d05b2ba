/* SPDX-License-Identifier: Apache-2.0 */
/*
 * glib: the few GLib names libslirp uses, so that podvm links without GLib. Our own code, written from GLib's public
 * documentation. For libslirp only; podvm's own files take nothing from here but glib_shim_set_logger().
 *
 * Left out on purpose:
 *  - debug output: g_debug() is checked by the compiler and then dropped, and g_getenv() knows no variable, so the
 *    environment cannot switch libslirp's tracing on;
 *  - child processes: g_spawn_async_with_fds() always refuses, so a slirp_add_exec() rule fails when it is used;
 *  - log domains, locales, UTF-8, allocator hooks, and every name libslirp does not call.
 *
 * Memory comes from malloc() and goes back with free() or g_free(), also the texts libslirp hands out. When there is
 * none the process aborts. The log hook is the only state.
 */
#ifndef LIB_GLIB_GLIB_H
#define LIB_GLIB_GLIB_H

#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Where libslirp's complaints go: level is "warning", "critical" or "error"; message is text without a line end.
 * NULL means stderr, as at the start. Guests can cause these at will: limit their rate. The process aborts when fn
 * returns from an "error". Set it before slirp_new().
 */
void glib_shim_set_logger(void (*fn)(const char *level, const char *message));

/* Types and constants. */
typedef char gchar;
typedef int gint;
typedef int gboolean;
typedef void *gpointer;
typedef char **GStrv;

#ifndef FALSE
#define FALSE 0
#define TRUE 1
#endif
#ifndef MIN
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif

#define G_OS_UNIX 1
#define G_LITTLE_ENDIAN __ORDER_LITTLE_ENDIAN__
#define G_BIG_ENDIAN __ORDER_BIG_ENDIAN__
#define G_BYTE_ORDER __BYTE_ORDER__
#define GLIB_SIZEOF_VOID_P __SIZEOF_POINTER__
/* libslirp asks for 2.58: yes spares it its own copy of the spawn call. */
#define GLIB_CHECK_VERSION(major, minor, micro) ((major) == 2 && (minor) <= 58 && (micro) == 0)

#define G_N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
#define G_UNLIKELY(expr) __builtin_expect(!!(expr), 0)
#define G_STATIC_ASSERT(expr) _Static_assert(expr, #expr)
#define G_GNUC_PRINTF(text, first) __attribute__((format(printf, text, first)))

/* Messages. Use the macros; an "error" does not return. */
void glib_shim_log(const char *level, const char *format, ...) G_GNUC_PRINTF(2, 3);
_Noreturn void glib_shim_fail(const char *file, int line, const char *what);

#define g_warning(...) glib_shim_log("warning", __VA_ARGS__)
#define g_critical(...) glib_shim_log("critical", __VA_ARGS__)
#define g_error(...) \
	do { \
		glib_shim_log("error", __VA_ARGS__); \
		__builtin_unreachable(); \
	} while (0)
#define g_debug(...) \
	do { \
		if (0) \
			glib_shim_log("debug", __VA_ARGS__); \
	} while (0)

/* g_assert is never compiled out: what follows it relies on it. */
#define g_assert(expr) ((expr) ? (void)0 : glib_shim_fail(__FILE__, __LINE__, #expr))
#define g_assert_not_reached() glib_shim_fail(__FILE__, __LINE__, "code that is never reached")
#define g_warn_if_reached() g_warning("%s:%d: code that should not be reached", __FILE__, __LINE__)
#define g_warn_if_fail(expr) \
	do { \
		if (!(expr)) \
			g_warning("%s:%d: not true: %s", __FILE__, __LINE__, #expr); \
	} while (0)
#define g_return_if_fail(expr) \
	do { \
		if (!(expr)) { \
			g_critical("%s: not true: %s", __func__, #expr); \
			return; \
		} \
	} while (0)
#define g_return_val_if_fail(expr, val) \
	do { \
		if (!(expr)) { \
			g_critical("%s: not true: %s", __func__, #expr); \
			return (val); \
		} \
	} while (0)

/* Memory. Zero bytes give NULL. g_new checks its product. */
gpointer g_malloc(size_t bytes) __attribute__((malloc, alloc_size(1)));
gpointer g_malloc0(size_t bytes) __attribute__((malloc, alloc_size(1)));
gpointer g_realloc(gpointer old, size_t bytes) __attribute__((alloc_size(2)));
gpointer g_malloc0_n(size_t count, size_t bytes) __attribute__((malloc, alloc_size(1, 2)));
void g_free(gpointer memory);
#define g_new(type, count) ((type *)g_malloc0_n(count, sizeof(type)))
#define g_new0(type, count) ((type *)g_malloc0_n(count, sizeof(type)))

/* Strings. g_strdup(NULL) is NULL. g_strlcpy returns the length of source. g_strstr_len takes -1 for "to the NUL". */
char *g_strdup(const char *text);
size_t g_strlcpy(char *dest, const char *source, size_t dest_size);
gboolean g_str_has_prefix(const char *text, const char *prefix);
char *g_strstr_len(const char *haystack, ptrdiff_t haystack_len, const char *needle);
const char *g_strerror(int errnum);
unsigned g_strv_length(char **strv);
void g_strfreev(char **strv);
int g_snprintf(char *dest, size_t size, const char *format, ...) G_GNUC_PRINTF(3, 4);
int g_vsnprintf(char *dest, size_t size, const char *format, va_list args) G_GNUC_PRINTF(3, 0);

/* A text that grows. g_string_free(s, FALSE) keeps the text and gives it away; with TRUE it returns NULL. */
typedef struct GString {
	char *str;
	size_t len;
} GString;
GString *g_string_new(const char *init);
void g_string_append_printf(GString *string, const char *format, ...) G_GNUC_PRINTF(2, 3);
char *g_string_free(GString *string, gboolean free_text);

/* Random numbers begin <= n < end, seeded by the kernel; not for secrets. */
typedef struct GRand GRand;
GRand *g_rand_new(void);
int32_t g_rand_int_range(GRand *rand, int32_t begin, int32_t end);
void g_rand_free(GRand *rand);

/* The environment is not consulted: always NULL, and no debug bit is ever set. */
typedef struct GDebugKey {
	const char *key;
	unsigned value;
} GDebugKey;
const char *g_getenv(const char *name);
unsigned g_parse_debug_string(const char *text, const GDebugKey *keys, unsigned count);

/*
 * Child processes: refused with an error in *error. g_shell_parse_argv takes the line as one word, so that libslirp
 * comes as far as the refusal, which closes its descriptors (its own path for a bad line leaks them).
 */
typedef struct GError {
	char *message;
} GError;
typedef int GPid;
typedef enum { G_SPAWN_SEARCH_PATH = 4 } GSpawnFlags;
typedef void (*GSpawnChildSetupFunc)(gpointer ctx);
gboolean g_shell_parse_argv(const char *line, int *argc, char ***argv, GError **error);
gboolean g_spawn_async_with_fds(const char *dir, char **argv, char **envp, GSpawnFlags flags,
				GSpawnChildSetupFunc setup, gpointer ctx, GPid *pid, int in, int out, int err,
				GError **error);
void g_error_free(GError *error);

#endif
