/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user: owns the reading of passwd(5) and group(5). The C library's functions would do, if they did not also ask a
 * name service daemon whose socket the container may have. Opens no file.
 */
#define _GNU_SOURCE

#include "init/user.h"

#include "lib/util.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = 7 };

/* One line cut at its colons; the pieces point into the file's text. */
struct line {
	const char *at[FIELDS_MAX];
	size_t bytes[FIELDS_MAX];
	unsigned count;
};

/* Cuts the line at *text and moves *text behind it. False at the end. */
static bool next_line(const char **text, struct line *line)
{
	const char *end = strchrnul(*text, '\n'), *at = *text;

	if (!*at)
		return false;
	line->count = 0;
	while (line->count < FIELDS_MAX) {
		size_t bytes = strcspn(at, ":\n");

		line->at[line->count] = at;
		line->bytes[line->count++] = bytes;
		if (at[bytes] != ':')
			break;
		at += bytes + 1;
	}
	*text = *end ? end + 1 : end;
	return true;
}

static bool is_field(const struct line *line, unsigned index, const char *word, size_t bytes)
{
	return index < line->count && line->bytes[index] == bytes && !memcmp(line->at[index], word, bytes);
}

/* A number of digits only, below 2^32-1 (which means "no user" to the kernel). */
static bool parse_number(const char *text, size_t bytes, uint32_t *value)
{
	uint64_t sum = 0;

	if (!bytes || bytes > 10)
		return false;
	for (size_t i = 0; i < bytes; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		sum = sum * 10 + (uint64_t)(text[i] - '0');
	}
	*value = (uint32_t)sum;
	return sum < UINT32_MAX;
}

/* The first line whose name (field 0), or else whose number (field 2) is word. */
static bool find_line(const char *text, const char *word, size_t bytes, struct line *line)
{
	uint32_t wanted, number;
	const char *at = text;

	while (next_line(&at, line))
		if (is_field(line, 0, word, bytes) && line->count > 2)
			return true;
	if (!parse_number(word, bytes, &wanted))
		return false;
	for (at = text; next_line(&at, line);)
		if (line->count > 2 && parse_number(line->at[2], line->bytes[2], &number) && number == wanted)
			return true;
	return false;
}

static void add_group(struct user *user, gid_t gid)
{
	for (size_t i = 0; i < user->group_count; i++)
		if (user->groups[i] == gid)
			return;
	user->groups = xrealloc(user->groups, (user->group_count + 1) * sizeof(*user->groups));
	user->groups[user->group_count++] = gid;
}

static bool is_member(const struct line *line, const char *name)
{
	const char *at = line->count > 3 ? line->at[3] : "", *end = at + (line->count > 3 ? line->bytes[3] : 0);
	size_t bytes = strlen(name);

	while (at < end) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		size_t part = (size_t)((comma ? comma : end) - at);

		if (part == bytes && !memcmp(at, name, bytes))
			return true;
		at += part + 1;
	}
	return false;
}

/* The groups the file says the user is in. */
static void add_memberships(struct user *user, const char *group)
{
	struct line line;
	uint32_t gid;

	while (*user->name && next_line(&group, &line))
		if (is_member(&line, user->name) && parse_number(line.at[2], line.bytes[2], &gid))
			add_group(user, gid);
}

static int find_user(const char *passwd, const char *word, size_t bytes, struct user *user)
{
	struct line line;

	if (find_line(passwd, word, bytes, &line)) {
		if (!parse_number(line.at[2], line.bytes[2], &user->uid))
			return -ENOENT;
		if (line.count > 3)
			parse_number(line.at[3], line.bytes[3], &user->gid);
		user->name = strndup(line.at[0], line.bytes[0]);
		if (line.count > 5 && line.bytes[5])
			user->home = strndup(line.at[5], line.bytes[5]);
		return 0;
	}
	return parse_number(word, bytes, &user->uid) ? 0 : -ENOENT;
}

static int find_group(const char *group, const char *word, gid_t *gid)
{
	struct line line;

	if (find_line(group, word, strlen(word), &line))
		return parse_number(line.at[2], line.bytes[2], gid) ? 0 : -ENOENT;
	return parse_number(word, strlen(word), gid) ? 0 : -ENOENT;
}

int user_lookup(const char *passwd, const char *group, const struct spec_user *wanted, struct user *user,
		const char **unknown)
{
	const char *word = *wanted->name ? wanted->name : "0", *colon = strchr(word, ':'), *main_group = wanted->group;
	size_t bytes = colon ? (size_t)(colon - word) : strlen(word);

	*user = (struct user){0};
	*unknown = word;
	if (find_user(passwd, word, bytes, user) < 0)
		return -ENOENT;
	if (!user->name)
		user->name = xstrdup("");
	if (!user->home)
		user->home = xstrdup("/");
	/* "user:group", as image configurations have it. */
	if (!*main_group && colon)
		main_group = colon + 1;
	if (*main_group) {
		*unknown = main_group;
		if (find_group(group, main_group, &user->gid) < 0)
			return -ENOENT;
	} else {
		add_memberships(user, group);
	}
	for (size_t i = 0; i < wanted->additional_group_count; i++) {
		gid_t gid;

		*unknown = wanted->additional_groups[i];
		if (find_group(group, *unknown, &gid) < 0)
			return -ENOENT;
		add_group(user, gid);
	}
	return 0;
}

void user_free(struct user *user)
{
	free(user->groups);
	free(user->name);
	free(user->home);
	*user = (struct user){0};
}
