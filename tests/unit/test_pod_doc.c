/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pod_doc: docs/pod.json.md and docs/pod.schema.json have the keys that the parser has, and what they say of each is
 * so: kind, words, bounds, defaults (those by printing small pods). What the schema refuses is held against podvm in
 * tests/cli/schema.py.
 *
 * Runs in the top directory of the source.
 */
#include "tests/unit/test.h"

#include <stdlib.h>

#include "lib/util.h"
#include "pod/spec_walk.h"

#define DOC "docs/pod.json.md"
#define SCHEMA "docs/pod.schema.json"
enum { KEYS_MAX = 256, TEXT_BYTES_MAX = 1 << 20, CELLS = 5, DEPTH_MAX = 40, DEFAULTS_MIN = 40 };

/* What one of the three says of a key. */
struct entry {
	char *path;
	const struct key *key;	    /* of the parser */
	const char *cells[CELLS];   /* of the document: key, type, default, meaning, example */
	const cJSON *schemas[4];    /* of the schema: every place that speaks of the key */
	unsigned schema_count;
};
struct entries {
	struct entry list[KEYS_MAX];
	unsigned count;
};

static struct entries parser, document, schema;
static char *doc_text;
static cJSON *schema_root;

static struct entry *entry_find(struct entries *entries, const char *path)
{
	for (unsigned i = 0; i < entries->count; i++)
		if (!strcmp(entries->list[i].path, path))
			return &entries->list[i];
	return NULL;
}

static struct entry *entry_add(struct entries *entries, const char *path)
{
	struct entry *entry = &entries->list[entries->count];

	if (entries->count == KEYS_MAX) {
		printf("Bail out! more than %d keys\n", KEYS_MAX);
		exit(1);
	}
	entries->count++;
	entry->path = xstrdup(path);
	return entry;
}

/* Every failure names the key. */
static void check_key(bool held, const char *path, const char *what)
{
	char *text = xasprintf("%s: %s", path, what);

	CHECK_MSG(held, text);
	free(text);
}

static void parser_key(void *ctx, const char *path, const struct key *key)
{
	(void)ctx;
	entry_add(&parser, path)->key = key;
}

/* "| a | b |..." cut into its cells, trimmed; false when it has another number of them. " | " inside code is not used. */
static bool row_cut(char *line, const char **cells)
{
	unsigned count = 0;

	for (char *at = line; (at = strchr(at, '|')) && count < CELLS;) {
		char *end = strchr(++at, '|');

		if (!end)
			return false;
		*end = '\0';
		at += strspn(at, " ");
		for (char *last = end; last > at && last[-1] == ' ';)
			*--last = '\0';
		cells[count++] = at;
		at = end;
		*end = '|';
		if (count < CELLS)
			continue;
		*end = '\0';
	}
	return count == CELLS;
}

/* A row says the same of every key its first cell has in code font. */
static void document_row(char *line)
{
	const char *cells[CELLS];
	char *at, *end;

	for (at = strchr(line, '`'), end = at; at && at < strchr(line + 1, '|'); at = strchr(end + 1, '`')) {
		char path[128];
		struct entry *entry;

		end = strchr(at + 1, '`');
		if (!CHECK_MSG(end, line))
			return;
		snprintf(path, sizeof(path), "%.*s", (int)(end - at - 1), at + 1);
		check_key(!entry_find(&document, path), path, "is in the document twice");
		entry = entry_add(&document, path);
		entry->cells[0] = line;
	}
	if (!CHECK_MSG(row_cut(line, cells), line))
		return;
	for (unsigned i = 0; i < document.count; i++)
		if (document.list[i].cells[0] == line)
			memcpy(document.list[i].cells, cells, sizeof(cells));
}

static void document_read(void)
{
	for (char *line = doc_text, *end; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		if (!strncmp(line, "| `", 3))
			document_row(line);
	}
}

static const cJSON *resolve(const cJSON *node)
{
	const cJSON *ref = cJSON_GetObjectItemCaseSensitive(node, "$ref");

	if (!ref || strncmp(ref->valuestring, "#/$defs/", 8))
		return NULL;
	return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(schema_root, "$defs"), ref->valuestring + 8);
}

/* All keys a schema node speaks of, wherever in it. */
static void schema_read(const cJSON *node, const char *path, unsigned depth)
{
	const cJSON *member, *below = resolve(node);
	char *elements = xasprintf("%s[]", path);

	if (!CHECK(depth < DEPTH_MAX))
		return;
	if (below)
		schema_read(below, path, depth + 1);
	cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(node, "properties"))
	{
		char *longer = xasprintf("%s%s%s", path, *path ? "." : "", member->string);
		struct entry *entry = entry_find(&schema, longer);

		if (!entry)
			entry = entry_add(&schema, longer);
		if (CHECK_MSG(entry->schema_count < ARRAY_SIZE(entry->schemas), longer))
			entry->schemas[entry->schema_count++] = member;
		schema_read(member, longer, depth + 1);
		free(longer);
	}
	below = cJSON_GetObjectItemCaseSensitive(node, "items");
	if (below)
		schema_read(below, elements, depth + 1);
	below = cJSON_GetObjectItemCaseSensitive(node, "then");
	if (below)
		schema_read(below, path, depth + 1);
	free(elements);
}

/* Of the first place that speaks of the key: the one with its description. */
static const cJSON *schema_says(const struct entry *entry, const char *word)
{
	return cJSON_GetObjectItemCaseSensitive(entry->schemas[0], word);
}

static void check_same_keys(struct entries *said, const char *where)
{
	for (unsigned i = 0; i < parser.count; i++)
		if (!entry_find(said, parser.list[i].path))
			check_key(false, parser.list[i].path, where);
	for (unsigned i = 0; i < said->count; i++)
		check_key(entry_find(&parser, said->list[i].path), said->list[i].path, "podvm does not know this key");
}

TEST(document_has_the_parsers_keys)
{
	CHECK(parser.count > 80);
	check_same_keys(&document, "is not in " DOC);
}

TEST(schema_has_the_parsers_keys)
{
	check_same_keys(&schema, "is not in " SCHEMA);
}

/* The document's word for what a reader takes; NULL: several, or by other keys. */
static const char *kind_of(const struct key *key)
{
	static const struct {
		value_fn *read;
		const char *word;
	} kinds[] = {
		{value_text, "string"},	   {value_name_or_number, "string"}, {value_bool, "boolean"},
		{value_number, "number"},  {value_choice, "string"},	     {value_address, "string"},
		{value_perm, "string"},	   {value_owner, "number"},	     {value_signal, "string"},
		{value_uri, "string"},	   {value_content, "string"},	     {value_volume_ref, "string"},
		{value_file_ref, "string"}, {value_format, "string"},	     {value_fstype, "string"},
		{value_cache, "string"},   {value_option, "object"},	     {value_type, "ignored"},
		{value_ignored, "ignored"}, {value_refused, "refused"},	     {value_port_range, "number"},
		{value_object, "object"},  {value_list, "list"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].read == key->read)
			return kinds[i].word;
	return NULL;
}

TEST(document_says_what_kind_a_key_is)
{
	for (unsigned i = 0; i < parser.count; i++) {
		const struct entry *key = &parser.list[i], *row = entry_find(&document, key->path);
		const char *kind = kind_of(key->key);

		if (!row)
			continue;
		check_key(!kind || !strcmp(row->cells[1], kind), key->path, "is of another kind");
		check_key(!key->key->required == !!strcmp(row->cells[2], "required"), key->path, "required or not?");
		check_key(*row->cells[3], key->path, "has no meaning");
		check_key(!strcmp(row->cells[1], "ignored") || !strcmp(row->cells[1], "refused") || *row->cells[4],
			  key->path, "has no example");
	}
}

TEST(document_has_all_words_and_bounds)
{
	for (unsigned i = 0; i < parser.count; i++) {
		const struct key *key = parser.list[i].key;
		const struct entry *row = entry_find(&document, parser.list[i].path);
		char text[64];

		for (unsigned w = 0; row && key->words && key->words[w]; w++) {
			snprintf(text, sizeof(text), "`\"%s\"`", key->words[w]);
			check_key(strstr(row->cells[3], text), row->path, text);
		}
		if (row && key->max && (key->read == value_number || key->read == value_list)) {
			snprintf(text, sizeof(text), "%llu", (unsigned long long)key->max);
			check_key(strstr(row->cells[3], text), row->path, text);
		}
		if (row && key->read == value_number) {
			snprintf(text, sizeof(text), "%llu", (unsigned long long)key->min);
			check_key(strstr(row->cells[3], text), row->path, text);
		}
	}
}

/* True when anything in the node has this number under this word. */
static bool has_bound(const cJSON *node, const char *word, uint64_t number, unsigned depth)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(node, word), *below = resolve(node), *child;

	if (value && value->valuedouble == (double)number)
		return true;
	if (below && depth < DEPTH_MAX && has_bound(below, word, number, depth + 1))
		return true;
	cJSON_ArrayForEach(child, cJSON_GetObjectItemCaseSensitive(node, "anyOf"))
		if (has_bound(child, word, number, depth + 1))
			return true;
	return false;
}

TEST(schema_has_all_bounds)
{
	for (unsigned i = 0; i < parser.count; i++) {
		const struct key *key = parser.list[i].key;
		const struct entry *said = entry_find(&schema, parser.list[i].path);

		if (!said)
			continue;
		if (key->read == value_number) {
			check_key(has_bound(said->schemas[0], "minimum", key->min, 0), said->path, "minimum differs");
			check_key(has_bound(said->schemas[0], "maximum", key->max, 0), said->path, "maximum differs");
		}
		if (key->element && key->max)
			check_key(has_bound(said->schemas[0], "maxItems", key->max, 0), said->path, "maxItems differs");
		if (key->element && key->min)
			check_key(has_bound(said->schemas[0], "minItems", key->min, 0), said->path, "minItems differs");
	}
}

/* The description's first word, "Ignored" or "Refused", where the document has that kind; nowhere else. */
TEST(schema_says_what_is_ignored)
{
	for (unsigned i = 0; i < schema.count; i++) {
		const struct entry *row = entry_find(&document, schema.list[i].path);
		const cJSON *text = schema_says(&schema.list[i], "description");

		if (!row)
			continue;
		check_key(text != NULL, row->path, "has no description in the schema");
		if (!text)
			continue;
		check_key(!strncmp(text->valuestring, "Ignored", 7) == !strcmp(row->cells[1], "ignored"), row->path,
			  "ignored or not?");
		check_key(!strncmp(text->valuestring, "Refused", 7) == !strcmp(row->cells[1], "refused"), row->path,
			  "refused or not?");
	}
}

/* A default in code font, as JSON; NULL when the cell has none. */
static cJSON *default_of(const struct entry *row)
{
	const char *cell = row->cells[2];
	size_t bytes = strlen(cell);

	if (bytes < 3 || cell[0] != '`' || cell[bytes - 1] != '`')
		return NULL;
	return cJSON_ParseWithLength(cell + 1, bytes - 2);
}

TEST(document_and_schema_have_the_same_defaults)
{
	for (unsigned i = 0; i < document.count; i++) {
		const struct entry *row = &document.list[i], *said = entry_find(&schema, row->path);
		cJSON *value = default_of(row);
		const cJSON *other = said ? schema_says(said, "default") : NULL;

		if (said && strcmp(row->path, "volumes[].driver")) /* printed as the format */
			check_key(value && other ? cJSON_Compare(value, other, true) : !value && !other, row->path,
				  "another default in the schema");
		cJSON_Delete(value);
	}
}

/* The value at the path in a printed pod, of lists the first element; NULL when it is not there. */
static const cJSON *printed_at(const cJSON *pod, const char *path)
{
	while (*path && pod) {
		size_t bytes = strcspn(path, ".[");
		char *name = xasprintf("%.*s", (int)bytes, path);

		pod = cJSON_GetObjectItemCaseSensitive(pod, name);
		free(name);
		path += bytes;
		if (*path == '[') {
			pod = cJSON_GetArrayItem(pod, 0);
			path += 2;
		}
		path += *path == '.';
	}
	return pod;
}

static void ignore(void *ctx, enum spec_level level, const char *message)
{
	(void)ctx;
	(void)level;
	CHECK_MSG(false, message);
}

static cJSON *print_back(const char *text)
{
	struct spec_pod *pod = spec_parse(text, strlen(text), "pod", true, ignore, NULL);
	char *printed = pod ? spec_print(pod) : xstrdup("{}");
	cJSON *tree = cJSON_Parse(printed);

	free(printed);
	spec_free(pod);
	return tree;
}

/* Pods of required keys alone; what the printed pod has besides are defaults. A disk's are in the second. */
static const char *const small_pods[] = {
	"{\"containers\":[{\"image\":\"a\"}]}",
	"{\"containers\":[{\"image\":\"a\",\"volumes\":[{\"path\":\"/v\",\"volume\":\"v\"}],\"files\":[{\"path\":\"/f\","
	"\"filename\":\"f\"}],\"envs\":[{\"env\":\"E\"}]}],\"volumes\":[{\"name\":\"v\"}],\"files\":[{\"name\":\"f\"}],"
	"\"portmappings\":[{\"containerPort\":80}]}",
	"{\"containers\":[{\"image\":\"a\"}],\"volumes\":[{\"name\":\"v\",\"format\":\"raw\",\"source\":\"/i\"}]}",
};

/* True when the first of the small pods that prints the key without having it prints value. */
static bool is_printed(const char *path, const cJSON *value)
{
	bool found = false, same = false;

	for (unsigned i = 0; i < ARRAY_SIZE(small_pods) && !found; i++) {
		cJSON *given = cJSON_Parse(small_pods[i]), *printed = print_back(small_pods[i]);
		const cJSON *at = printed_at(printed, path);

		found = at && !printed_at(given, path);
		same = found && cJSON_Compare(at, value, true);
		cJSON_Delete(printed);
		cJSON_Delete(given);
	}
	return same;
}

TEST(defaults_are_what_podvm_prints)
{
	unsigned count = 0;

	for (unsigned i = 0; i < document.count; i++) {
		const struct entry *row = &document.list[i];
		cJSON *value = default_of(row);

		/* a container's ports are printed as the pod's */
		if (value && strncmp(row->path, "containers[].ports", 18)) {
			check_key(is_printed(row->path, value), row->path, "podvm has another default");
			count++;
		}
		cJSON_Delete(value);
	}
	CHECK(count >= DEFAULTS_MIN);
}

static char *text_of(const char *path)
{
	size_t bytes;
	char *text;

	return file_read(path, TEXT_BYTES_MAX, &text, &bytes) ? NULL : text;
}

static void forget(struct entries *entries)
{
	for (unsigned i = 0; i < entries->count; i++)
		free(entries->list[i].path);
}

/* Not a test by itself: a fault in the files' form shows in the first that looks. */
static void files_read(void)
{
	char *text = text_of(SCHEMA);

	doc_text = text_of(DOC);
	schema_root = text ? cJSON_Parse(text) : NULL;
	free(text);
	if (!doc_text || !schema_root) {
		printf("Bail out! " DOC " or " SCHEMA " can not be read\n");
		exit(1);
	}
	walk_keys(parser_key, NULL);
}

TEST(files_are_well_formed)
{
	document_read();
	schema_read(schema_root, "", 0);
}

int main(void)
{
	files_read();
	RUN(files_are_well_formed);
	RUN(document_has_the_parsers_keys);
	RUN(schema_has_the_parsers_keys);
	RUN(document_says_what_kind_a_key_is);
	RUN(document_has_all_words_and_bounds);
	RUN(schema_has_all_bounds);
	RUN(schema_says_what_is_ignored);
	RUN(document_and_schema_have_the_same_defaults);
	RUN(defaults_are_what_podvm_prints);
	forget(&parser);
	forget(&document);
	forget(&schema);
	cJSON_Delete(schema_root);
	free(doc_text);
	return test_done();
}
