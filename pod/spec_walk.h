/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_walk: reads a JSON tree into structs along tables. Private to pod/spec*.c.
 *
 * Theory of operation. A struct has a shape, a table of keys; a key says where its value goes and which function reads
 * it. The keys of an object are read in the order of the table, not of the file: so a table puts what others refer to
 * first (volumes before the containers that name them), and one pass does. The walk keeps the path to where it is;
 * problems are noted with it and told at the end in the order of the file.
 *
 * Rule for all readers: on a bad value note the problem and leave the field at its default, so that the walk can go on
 * and find the others. The result of a walk with errors is thrown away.
 */
#ifndef POD_SPEC_WALK_H
#define POD_SPEC_WALK_H

#include <cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/util.h"
#include "pod/spec.h"

struct walk;
struct key;

typedef void value_fn(struct walk *walk, const struct key *key, const cJSON *item, void *target);

struct shape {
	const struct key *keys;
	size_t key_count;
	void (*init)(struct walk *walk, void *target); /* defaults, so that all pointers are set or NULL; may be NULL */
	void (*finish)(struct walk *walk, void *target); /* after all keys: what needs several of them; may be NULL */
};

struct key {
	const char *name; /* as printed; matched without regard to case */
	const char *expected; /* "a string": completes "5 is not ..." */
	value_fn *read;
	size_t at; /* offset of the field in the target */
	bool required;
	bool unique; /* value_text: no other element of the list may have it */
	bool (*check)(const char *text); /* value_text */
	uint64_t min, max; /* value_number; value_list: max elements, counts in size_t at count_at */
	const char *const *words; /* value_choice: ends in NULL, the index is the enum's value */
	size_t size; /* value_number: bytes of the field, 4 or 8; value_list: of an element */
	size_t count_at; /* value_list */
	/* Also where another reader does the work: walk_keys() goes by these two. */
	const struct key *element; /* value_list: how an element is read, its own at being 0 */
	const struct shape *shape; /* value_object */
};

/* For tables: a key of a struct's field, a list of a struct, a shape, how an element of a list is read. */
#define AT(type, field) .at = offsetof(struct type, field)
#define KEY(text, reader, what, ...)                                                                                   \
	{                                                                                                              \
		.name = text, .read = reader, .expected = what, ##__VA_ARGS__                                          \
	}
#define LIST(text, what, type, field, count, limit, each, ...)                                                         \
	KEY(text, value_list, what, AT(type, field), .count_at = offsetof(struct type, count),                         \
	    .size = sizeof(*((struct type *)0)->field), .max = limit, .element = &each, ##__VA_ARGS__)
#define SHAPE(table, ...)                                                                                              \
	{                                                                                                              \
		.keys = table, .key_count = ARRAY_SIZE(table), ##__VA_ARGS__                                           \
	}
#define ELEMENT(reader, what, ...)                                                                                     \
	{                                                                                                              \
		.read = reader, .expected = what, ##__VA_ARGS__                                                        \
	}

struct walk_step {
	const char *key; /* NULL: an element */
	size_t index; /* element's */
	size_t ordinal; /* place in the parent; WALK_ABSENT: a key that is not there */
};
#define WALK_ABSENT SIZE_MAX

/* The innermost list, whose elements before index are complete. */
struct walk_list {
	const char *base;
	size_t size, index, depth;
};

enum { WALK_NOTES_MAX = 100 };
struct walk_note {
	char *message;
	size_t at;
	unsigned order;
	enum spec_level level;
};

struct walk {
	const char *text;
	size_t bytes;
	const char *file;
	bool strict;
	struct spec_pod *pod;
	struct walk_step path[SPEC_DEPTH_MAX];
	size_t depth;
	struct walk_list list;
	struct walk_note notes[WALK_NOTES_MAX];
	unsigned note_count, notes_left_out, errors;
};

/* Notes a problem at the walk's path. */
void walk_note(struct walk *walk, enum spec_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* "VALUE is not what key expected" */
void walk_bad(struct walk *walk, const struct key *key);
/* The value at the path as the file has it, shortened and fresh. */
char *walk_quote(const struct walk *walk);
void walk_push(struct walk *walk, const char *key, size_t index, size_t ordinal);
void walk_pop(struct walk *walk);
/* The path as text, fresh. */
char *walk_path(const struct walk *walk);
/* Tells what was noted, in the order of the file. */
void walk_tell(struct walk *walk, spec_report_fn *report, void *ctx);
/* A syntax fault, told at once. */
void walk_tell_at(const struct walk *walk, size_t at, const char *what, spec_report_fn *report, void *ctx);

value_fn value_object, value_list; /* spec_walk.c */

/*
 * Members of an object whose keys are the file's own, as struct spec_pair: at and count_at as in a list, max. name makes a
 * fresh name of a member's key, or NULL for a bad one; value says if its text is good. Names are then different.
 */
struct pairs {
	char *(*name)(const char *key);
	bool (*value)(const char *text);
	const char *a_name, *a_value; /* complete "is not ..." */
};
void walk_pairs(struct walk *walk, const struct key *key, const struct pairs *pairs, const cJSON *item, void *target);

/* spec_value.c. A text that is empty and not required leaves the default. */
value_fn value_text, value_name_or_number, value_bool, value_number, value_choice, value_address, value_perm,
	value_owner, value_signal, value_uri, value_content, value_volume_ref, value_file_ref, value_format,
	value_fstype, value_cache, value_option, value_type, value_ignored, value_refused, value_port_range;

bool check_id(const char *text);
bool check_name(const char *text);
bool check_hostname(const char *text);
bool check_file_name(const char *text);
bool check_image(const char *text);
bool check_source(const char *text);
bool check_path(const char *text);
bool check_env_name(const char *text);
bool check_word(const char *text);
bool check_destination(const char *text);
bool check_network(const char *text);
bool check_fstype(const char *text);

/* Ports as a file gives them; count 0: any free ones. */
struct port_range {
	unsigned first, count;
};

/* Sets a text field, freeing what it held. */
void text_set(char **field, const char *text);

extern const struct key spec_root; /* spec_keys.c: how a pod is read */

/* Calls fn for every key below spec_root, in the order of the tables; path is as in "containers[].volumes[].readOnly". */
typedef void walk_key_fn(void *ctx, const char *path, const struct key *key);
void walk_keys(walk_key_fn *fn, void *ctx);

/* The tables' words and the printer's: index is the enum's value. */
extern const char *const spec_restart_words[], *const spec_encoding_words[], *const spec_direction_words[],
	*const spec_egress_words[], *const spec_cache_words[], *const spec_ulimit_words[],
	*const spec_capability_words[];
extern const struct key spec_option; /* spec_keys.c: option of a volume that is a disk */
value_fn value_interfaces; /* spec_interface.c */
extern const struct key spec_interface_element;
void spec_interface_default(struct spec_interface *interface);
#define SPEC_INTERFACES "an array of {\"ip\": ..., \"gateway\": ...}"
value_fn value_sysctls; /* spec_confine.c */
extern const struct key spec_ulimit; /* spec_confine.c: an element of ulimits */
extern const struct shape spec_confine; /* spec_confine.c: key "podvm" of a container */
enum { SPEC_LIST_MAX = 1024 }; /* elements of lists without a limit of their own; they are searched one by one */
extern const struct key spec_argument, spec_env; /* spec_keys.c: an element of command, of envs */
extern const struct shape spec_user; /* spec_keys.c: user of a container */

/*
 * Reads walk->text into target by root, runs check, unless NULL, and tells the problems. True when there was no error.
 * The caller has set text, bytes, file, strict and, where the keys need it, pod.
 */
bool walk_text(struct walk *walk, const struct key *root, void *target, void (*check)(struct walk *walk),
	       spec_report_fn *report, void *ctx);

/* spec.c: frees what they point to. */
void texts_free(char **texts, size_t count);
void spec_user_free(struct spec_user *user);
void spec_envs_free(struct spec_env *envs, size_t count);

/* spec_print.c: an empty object, the first of a text, and parts that are printed alike everywhere. */
cJSON *spec_print_begin(void);
void spec_print_texts(cJSON *object, const char *key, char *const *texts, size_t count);
void spec_print_user(cJSON *object, const struct spec_user *user);
void spec_print_envs(cJSON *object, const struct spec_env *envs, size_t count);

#endif
