/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_walk: see spec_walk.h. Owns the walk, the path, and how a problem reads; must not know the keys of a pod.
 */
#include "pod/spec_walk.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/util.h"
#include "pod/locate.h"

enum {
	QUOTE_BYTES = 40, /* longer values are cut */
	KEYS_MAX = 32, /* of a shape */
	SUGGEST_BYTES = 24, /* longer keys are like none */
};

void walk_push(struct walk *walk, const char *key, size_t index, size_t ordinal)
{
	assert(walk->depth < SPEC_DEPTH_MAX); /* the tables are not that deep */
	walk->path[walk->depth++] = (struct walk_step){.key = key, .index = index, .ordinal = ordinal};
}

void walk_pop(struct walk *walk)
{
	walk->depth--;
}

/* Where the path leads in the text; a key that is not there leads to the object that lacks it. */
static void path_span(const struct walk *walk, struct locate_span *span)
{
	size_t ordinals[SPEC_DEPTH_MAX], steps = 0;

	while (steps < walk->depth && walk->path[steps].ordinal != WALK_ABSENT) {
		ordinals[steps] = walk->path[steps].ordinal;
		steps++;
	}
	locate_find(walk->text, walk->bytes, ordinals, steps, span);
}

/* The first bytes of a text, not cut inside a character. */
static int cut_length(const char *text, size_t length)
{
	size_t keep = QUOTE_BYTES - 3;

	if (length <= QUOTE_BYTES)
		return (int)length;
	while (keep && ((unsigned char)text[keep] & 0xc0) == 0x80)
		keep--;
	return (int)keep;
}

static char *cut(const char *text, size_t length)
{
	return xasprintf("%.*s%s", cut_length(text, length), text, length > QUOTE_BYTES ? "..." : "");
}

char *walk_quote(const struct walk *walk)
{
	struct locate_span span;
	const char *value;
	size_t length;

	path_span(walk, &span);
	value = walk->text + span.value;
	length = span.end - span.value;
	if (length > 2 && *value == '{')
		return xstrdup("{...}");
	if (length > 2 && *value == '[')
		return xstrdup("[...]");
	return cut(value, length);
}

/* A key that could be taken for part of the path, or steer a terminal, is quoted and masked. */
static char *key_text(const char *key)
{
	bool plain = *key != '\0';
	char *text, *quoted;

	for (const char *at = key; *at; at++)
		plain = plain && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", *at);
	text = cut(key, strlen(key));
	if (plain)
		return text;
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
	quoted = xasprintf("\"%s\"", text);
	free(text);
	return quoted;
}

char *walk_path(const struct walk *walk)
{
	char *path = xstrdup("");

	for (size_t i = 0; i < walk->depth; i++) {
		const struct walk_step *step = &walk->path[i];
		char *key = step->key ? key_text(step->key) : NULL, *longer;

		if (key)
			longer = xasprintf("%s%s%s", path, i ? "." : "", key);
		else
			longer = xasprintf("%s[%zu]", path, step->index);
		free(key);
		free(path);
		path = longer;
	}
	return path;
}

static char *message_at(const struct walk *walk, size_t at, const char *path, const char *what)
{
	unsigned line, column;

	locate_line(walk->text, at, &line, &column);
	return xasprintf("%s:%u:%u: %s%s%s", walk->file, line, column, path, *path ? ": " : "", what);
}

static void note_at(struct walk *walk, size_t at, enum spec_level level, const char *what)
{
	struct walk_note *note;
	char *path;

	if (walk->strict)
		level = SPEC_ERROR;
	walk->errors += level == SPEC_ERROR;
	if (walk->note_count == WALK_NOTES_MAX) {
		walk->notes_left_out++;
		return;
	}
	path = walk_path(walk);
	note = &walk->notes[walk->note_count];
	*note = (struct walk_note){.at = at, .order = walk->note_count++, .level = level};
	note->message = message_at(walk, at, path, what);
	free(path);
}

/* Of the key rather than its value. */
static void note_key(struct walk *walk, enum spec_level level, const char *what)
{
	struct locate_span span = {0};

	if (walk->note_count < WALK_NOTES_MAX) /* else its place is not told, and a hostile file would cost long */
		path_span(walk, &span);
	note_at(walk, span.key, level, what);
}

void walk_note(struct walk *walk, enum spec_level level, const char *fmt, ...)
{
	struct locate_span span = {0};
	char what[512];
	va_list args;

	if (walk->note_count < WALK_NOTES_MAX)
		path_span(walk, &span);
	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	note_at(walk, span.value, level, what);
}

void walk_bad(struct walk *walk, const struct key *key)
{
	char *value = walk->note_count < WALK_NOTES_MAX ? walk_quote(walk) : xstrdup("");

	walk_note(walk, SPEC_ERROR, "%s is not %s", value, key->expected);
	free(value);
}

void walk_tell_at(const struct walk *walk, size_t at, const char *what, spec_report_fn *report, void *ctx)
{
	char *message = message_at(walk, at, "", what);

	report(ctx, SPEC_ERROR, message);
	free(message);
}

static int note_order(const void *left, const void *right)
{
	const struct walk_note *a = left, *b = right;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

void walk_tell(struct walk *walk, spec_report_fn *report, void *ctx)
{
	qsort(walk->notes, walk->note_count, sizeof(walk->notes[0]), note_order);
	for (unsigned i = 0; i < walk->note_count; i++) {
		report(ctx, walk->notes[i].level, walk->notes[i].message);
		free(walk->notes[i].message);
	}
	if (walk->notes_left_out) {
		char *rest = xasprintf("%s: %u more problems are not shown", walk->file, walk->notes_left_out);

		report(ctx, walk->errors ? SPEC_ERROR : SPEC_WARNING, rest);
		free(rest);
	}
	walk->note_count = 0;
}

/* How many letters must be changed, added, left out or swapped to make one of the other, case aside. */
static size_t key_distance(const char *left, const char *right)
{
	size_t rows = strlen(left), columns = strlen(right);
	size_t cost[SUGGEST_BYTES + 1][SUGGEST_BYTES + 1];

	if (rows > SUGGEST_BYTES || columns > SUGGEST_BYTES)
		return SIZE_MAX;
	for (size_t i = 0; i <= rows; i++) {
		for (size_t j = 0; j <= columns; j++) {
			bool same = i && j && !strncasecmp(left + i - 1, right + j - 1, 1);

			cost[i][j] = i && j ? cost[i - 1][j - 1] + !same : i + j;
			if (i && j)
				cost[i][j] = MIN(cost[i][j], MIN(cost[i - 1][j], cost[i][j - 1]) + 1);
			if (i > 1 && j > 1 && !strncasecmp(left + i - 1, right + j - 2, 1) &&
			    !strncasecmp(left + i - 2, right + j - 1, 1))
				cost[i][j] = MIN(cost[i][j], cost[i - 2][j - 2] + 1);
		}
	}
	return cost[rows][columns];
}

/* One letter or two amiss, or a beginning, as "mem" of "memory". */
static const char *nearest_key(const struct shape *shape, const char *name)
{
	size_t length = strlen(name), best = length < 6 ? 2 : 3;
	const char *nearest = NULL;

	for (size_t i = 0; i < shape->key_count; i++) {
		size_t distance = key_distance(name, shape->keys[i].name);

		if (distance < best) {
			best = distance;
			nearest = shape->keys[i].name;
		}
	}
	for (size_t i = 0; i < shape->key_count && !nearest && length >= 3; i++)
		if (shape->keys[i].name && !strncasecmp(shape->keys[i].name, name, length))
			nearest = shape->keys[i].name;
	return nearest;
}

static void note_unknown_key(struct walk *walk, const struct shape *shape, const cJSON *item, size_t ordinal)
{
	const char *nearest = walk->note_count < WALK_NOTES_MAX ? nearest_key(shape, item->string) : NULL;
	char *what;

	if (nearest)
		what = xasprintf("unknown key, ignored; did you mean \"%s\"?", nearest);
	else
		what = xstrdup("unknown key, ignored");
	walk_push(walk, item->string, 0, ordinal);
	note_key(walk, SPEC_WARNING, what);
	walk_pop(walk);
	free(what);
}

static size_t key_find(const struct shape *shape, const char *name)
{
	for (size_t i = 0; i < shape->key_count; i++)
		if (!strcasecmp(shape->keys[i].name, name))
			return i;
	return shape->key_count;
}

struct member {
	const cJSON *item;
	size_t ordinal;
};

/* Members by key; of several with the same key the last counts, as in Go. */
static void members_sort(struct walk *walk, const struct shape *shape, const cJSON *object, struct member *members)
{
	const cJSON *item;
	size_t ordinal = 0;

	cJSON_ArrayForEach(item, object)
	{
		size_t i = key_find(shape, item->string);

		if (i == shape->key_count) {
			note_unknown_key(walk, shape, item, ordinal);
		} else {
			if (members[i].item) {
				walk_push(walk, members[i].item->string, 0, members[i].ordinal);
				note_key(walk, SPEC_WARNING, "the key appears again below; the last one counts");
				walk_pop(walk);
			}
			members[i] = (struct member){item, ordinal};
		}
		ordinal++;
	}
}

/* A null is as good as no key, as in Go. */
void value_object(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	const struct shape *shape = key->shape;
	struct member members[KEYS_MAX] = {0};
	char *field = (char *)target + key->at;

	assert(shape->key_count <= KEYS_MAX);
	if (shape->init)
		shape->init(walk, field);
	if (!cJSON_IsObject(item)) {
		walk_bad(walk, key);
		return;
	}
	members_sort(walk, shape, item, members);
	for (size_t i = 0; i < shape->key_count; i++) {
		const struct key *member = &shape->keys[i];
		bool there = members[i].item && !cJSON_IsNull(members[i].item);

		if (!there && !member->required)
			continue;
		walk_push(walk, member->name, 0, there ? members[i].ordinal : WALK_ABSENT);
		if (there)
			member->read(walk, member, members[i].item, field);
		else
			walk_note(walk, SPEC_ERROR, "missing; expected %s", member->expected);
		walk_pop(walk);
	}
	if (shape->finish)
		shape->finish(walk, field);
}

/* The count grows with the elements read, so that an element sees those before it, and a spec is always freeable. */
void value_list(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	size_t length = cJSON_IsArray(item) ? (size_t)cJSON_GetArraySize(item) : 0;
	size_t *count = (size_t *)((char *)target + key->count_at);
	struct walk_list outer = walk->list;
	const cJSON *child;
	char *base;

	if (!cJSON_IsArray(item)) {
		walk_bad(walk, key);
		return;
	}
	if (length > key->max || length < key->min) {
		walk_note(walk, SPEC_ERROR, "%zu elements; expected %zu to %zu", length, (size_t)key->min,
			  (size_t)key->max);
		return;
	}
	if (!length)
		return;
	base = xcalloc(length, key->size);
	*(void **)((char *)target + key->at) = base;
	cJSON_ArrayForEach(child, item)
	{
		size_t i = *count;

		walk_push(walk, NULL, i, i);
		walk->list = (struct walk_list){.base = base, .size = key->size, .index = i, .depth = walk->depth};
		++*count;
		key->element->read(walk, key->element, child, base + i * key->size);
		walk_pop(walk);
	}
	walk->list = outer;
}

static void pair_read(struct walk *walk, const struct pairs *pairs, const cJSON *item, struct spec_pair *list,
		      size_t *count)
{
	char *name = pairs->name(item->string);
	bool is_good = cJSON_IsString(item) && pairs->value(item->valuestring);
	char *value = is_good ? NULL : walk_quote(walk);

	if (!name)
		walk_note(walk, SPEC_ERROR, "its key is not %s", pairs->a_name);
	if (!is_good)
		walk_note(walk, SPEC_ERROR, "%s is not %s", value, pairs->a_value);
	for (size_t i = 0; i < *count && name && is_good; i++) {
		if (!strcmp(list[i].name, name)) {
			walk_note(walk, SPEC_ERROR, "\"%s\" is set twice; expected once", name);
			is_good = false;
		}
	}
	if (name && is_good)
		list[(*count)++] = (struct spec_pair){.name = name, .value = xstrdup(item->valuestring)};
	else
		free(name);
	free(value);
}

void walk_pairs(struct walk *walk, const struct key *key, const struct pairs *pairs, const cJSON *item, void *target)
{
	size_t length = cJSON_IsObject(item) ? (size_t)cJSON_GetArraySize(item) : 0, ordinal = 0;
	size_t *count = (size_t *)((char *)target + key->count_at);
	struct spec_pair *list;
	const cJSON *child;

	if (!cJSON_IsObject(item))
		walk_bad(walk, key);
	else if (length > key->max)
		walk_note(walk, SPEC_ERROR, "%zu members; expected at most %zu", length, (size_t)key->max);
	if (!length || length > key->max)
		return;
	list = xcalloc(length, sizeof(*list));
	*(struct spec_pair **)((char *)target + key->at) = list;
	cJSON_ArrayForEach(child, item)
	{
		walk_push(walk, child->string, 0, ordinal++);
		pair_read(walk, pairs, child, list, count);
		walk_pop(walk);
	}
}

static void keys_below(const struct key *key, const char *path, walk_key_fn *fn, void *ctx)
{
	for (size_t i = 0; key->shape && i < key->shape->key_count; i++) {
		const struct key *member = &key->shape->keys[i];
		char *longer = xasprintf("%s%s%s", path, *path ? "." : "", member->name);

		fn(ctx, longer, member);
		if (member->element) {
			char *elements = xasprintf("%s[]", longer);

			keys_below(member->element, elements, fn, ctx);
			free(elements);
		}
		keys_below(member, longer, fn, ctx);
		free(longer);
	}
}

void walk_keys(walk_key_fn *fn, void *ctx)
{
	keys_below(&spec_root, "", fn, ctx);
}

bool walk_text(struct walk *walk, const struct key *root, void *target, void (*check)(struct walk *walk),
	       spec_report_fn *report, void *ctx)
{
	cJSON_Hooks memory = {.malloc_fn = xmalloc, .free_fn = free};
	struct locate_fault fault;
	cJSON *tree;

	cJSON_InitHooks(&memory); /* so that no memory is never taken for bad JSON */
	if (walk->bytes > SPEC_TEXT_BYTES_MAX) {
		snprintf(fault.what, sizeof(fault.what), "%zu bytes; expected at most %d", walk->bytes, SPEC_TEXT_BYTES_MAX);
		walk_tell_at(walk, 0, fault.what, report, ctx);
		return false;
	}
	if (!locate_syntax(walk->text, walk->bytes, SPEC_DEPTH_MAX, &fault)) {
		walk_tell_at(walk, fault.at, fault.what, report, ctx);
		return false;
	}
	tree = cJSON_ParseWithLength(walk->text, walk->bytes);
	if (tree)
		value_object(walk, root, tree, target);
	else /* not reached as long as locate_syntax() is stricter than cJSON */
		walk_note(walk, SPEC_ERROR, "this JSON can not be read");
	if (tree && check)
		check(walk);
	cJSON_Delete(tree);
	walk_tell(walk, report, ctx);
	return !walk->errors;
}
