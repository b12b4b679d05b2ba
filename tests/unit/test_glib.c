/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_glib: the GLib names libslirp leans on behave as GLib documents them. TAP on stdout, 1 when any check failed.
 */
#include "glib.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int number, failed;

static void check(bool good, const char *what)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++number, what);
	failed |= !good;
}

static char logged[1024];
static int log_calls;

static void log_keep(const char *level, const char *message)
{
	snprintf(logged, sizeof(logged), "%s: %s", level, message);
	log_calls++;
}

static void test_memory(void)
{
	unsigned *numbers = g_new0(unsigned, 4);
	char *bytes;

	check(numbers[0] == 0 && numbers[3] == 0, "g_new0 clears");
	g_free(numbers);
	check(g_malloc(0) == NULL && g_malloc0(0) == NULL && g_new(int, 0) == NULL, "zero bytes are NULL");
	bytes = g_realloc(NULL, 3);
	memcpy(bytes, "ab", 3);
	bytes = g_realloc(bytes, 4000);
	check(strcmp(bytes, "ab") == 0, "g_realloc keeps what is there");
	check(g_realloc(bytes, 0) == NULL, "g_realloc to zero frees");
	g_free(NULL);
	check(g_strdup(NULL) == NULL, "g_strdup of NULL");
}

static void test_strings(void)
{
	char small[4] = "zzz";
	char *words[] = { "one", "two", NULL };
	char **copy = g_new0(char *, 3);

	check(g_strlcpy(small, "abcdef", sizeof(small)) == 6 && strcmp(small, "abc") == 0, "g_strlcpy cuts");
	check(g_strlcpy(small, "ab", sizeof(small)) == 2 && strcmp(small, "ab") == 0, "g_strlcpy fits");
	check(g_strlcpy(small, "xyz", 0) == 3 && strcmp(small, "ab") == 0, "g_strlcpy into nothing");
	check(g_str_has_prefix("http://a", "http://") && !g_str_has_prefix("http", "http://"), "g_str_has_prefix");
	check(g_strv_length(words) == 2 && g_strv_length(words + 2) == 0, "g_strv_length");
	copy[0] = g_strdup("one");
	copy[1] = g_strdup("two");
	g_strfreev(copy);
	g_strfreev(NULL);
	check(g_snprintf(NULL, 0, "%d,%d\r\n", 10, 200) == 8, "g_snprintf measures");
	check(g_snprintf(small, sizeof(small), "%s", "long") == 4 && strcmp(small, "lon") == 0, "g_snprintf cuts");
	check(strlen(g_strerror(2)) > 0, "g_strerror");
}

/* The caller hands over guest memory without a NUL: a byte past the length must not be read (ASan sees it). */
static void test_search(void)
{
	char *data = g_malloc(4);

	memcpy(data, "ab\r\n", 4);
	check(g_strstr_len(data, 4, "\r\n") == data + 2, "g_strstr_len finds at the end");
	check(g_strstr_len(data, 3, "\r\n") == NULL, "g_strstr_len keeps to the length");
	check(g_strstr_len(data, 4, "\r\nx") == NULL, "g_strstr_len: no match cut by the end");
	check(g_strstr_len(data, 0, "a") == NULL && g_strstr_len(data, 0, "") == data, "g_strstr_len of nothing");
	data[1] = '\0';
	check(g_strstr_len(data, 4, "\r\n") == NULL, "g_strstr_len stops at a NUL");
	check(g_strstr_len("find me", -1, "me") != NULL, "g_strstr_len to the NUL");
	g_free(data);
}

static void test_text(void)
{
	GString *text = g_string_new(NULL);
	char *given;

	for (int i = 0; i < 1000; i++)
		g_string_append_printf(text, "%03d,", i);
	check(text->len == 4000 && strncmp(text->str + 3996, "999,", 5) == 0, "GString grows");
	given = g_string_free(text, FALSE);
	check(strlen(given) == 4000, "g_string_free gives the text away");
	g_free(given);
	check(g_string_free(g_string_new("x"), TRUE) == NULL, "g_string_free frees the text");
}

static void test_random(void)
{
	GRand *first = g_rand_new(), *second = g_rand_new();
	bool inside = true, low = false, high = false;
	int same = 0;

	for (int i = 0; i < 10000; i++) {
		int32_t n = g_rand_int_range(first, -2, 3);

		inside &= n >= -2 && n < 3;
		low |= n == -2;
		high |= n == 2;
	}
	check(inside && low && high, "g_rand_int_range reaches both ends and no further");
	check(g_rand_int_range(first, 7, 8) == 7, "g_rand_int_range of one");
	for (int i = 0; i < 32; i++)
		same += g_rand_int_range(first, 0, INT32_MAX) == g_rand_int_range(second, 0, INT32_MAX);
	check(same < 3, "two generators differ");
	g_rand_free(first);
	g_rand_free(second);
}

static int return_early(int value)
{
	g_return_val_if_fail(value > 0, -1);
	return value;
}

static void test_messages(void)
{
	char *long_text = g_malloc0(4001);

	glib_shim_set_logger(log_keep);
	g_warning("port %d", 80);
	check(strcmp(logged, "warning: port 80") == 0, "g_warning reaches the hook");
	check(return_early(1) == 1 && log_calls == 1, "g_return_val_if_fail lets pass");
	check(return_early(0) == -1 && log_calls == 2 && strncmp(logged, "critical: ", 10) == 0,
	      "g_return_val_if_fail returns and complains");
	g_warn_if_fail(1 + 1 == 2);
	check(log_calls == 2, "g_warn_if_fail lets pass");
	g_debug("%d", log_calls++);
	check(log_calls == 2, "g_debug is dropped, arguments too");
	memset(long_text, 'x', 4000);
	g_critical("%s", long_text);
	check(log_calls == 3 && strlen(logged) < 600, "long messages are cut");
	g_free(long_text);
	glib_shim_set_logger(NULL);
}

static void fail_assert(void)
{
	g_assert(number < 0);
}

static void fail_error(void)
{
	g_error("%s", "end");
}

static void fail_memory(void)
{
	volatile size_t count = SIZE_MAX / 2;

	g_free(g_malloc0_n(count, 16));
}

/* Runs fn in a child, silent. Did it abort? */
static bool aborts(void (*fn)(void))
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		close(STDERR_FILENO);
		fn();
		_exit(0);
	}
	return waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void test_refusals(void)
{
	GError *error = NULL;
	char **argv = NULL;
	int argc = 0;

	check(aborts(fail_assert), "g_assert aborts");
	check(aborts(fail_error), "g_error aborts");
	check(aborts(fail_memory), "a product that wraps is out of memory");

	setenv("SLIRP_DEBUG", "call", 1);
	check(g_getenv("SLIRP_DEBUG") == NULL, "the environment is not consulted");
	check(g_shell_parse_argv("ls -l", &argc, &argv, &error) && argc == 1 && !error, "g_shell_parse_argv");
	check(!g_spawn_async_with_fds(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, 0, 1, 2, &error) &&
		      error && error->message,
	      "no child processes");
	g_error_free(error);
	g_strfreev(argv);
}

int main(void)
{
	test_memory();
	test_strings();
	test_search();
	test_text();
	test_random();
	test_messages();
	test_refusals();
	printf("1..%d\n", number);
	return failed;
}
