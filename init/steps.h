/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steps: setting up file systems as a table: written down first, then carried out, or printed for a test.
 */
#ifndef INIT_STEPS_H
#define INIT_STEPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

enum step_kind {
	STEP_MKDIR,	/* directory target with mode, and its parents; an existing one stays as it is */
	STEP_FILE,	/* empty file target with mode, and its parents, unless something is there */
	STEP_NODE,	/* character device target, mode and dev */
	STEP_SYMLINK,	/* link target saying source */
	STEP_WRITE,	/* data into the existing file target (proc, sys) */
	STEP_REPLACE,	/* file target anew with mode and data, never through a link that was there */
	STEP_MOUNT,	/* source on target, type, flags, data */
	STEP_BIND,	/* source on target; flags are those of the new mount (MS_RDONLY...) */
	STEP_REMOUNT,	/* flags of the mount at target */
	STEP_MASK,	/* target can not be seen into: /dev/null or an empty directory over it */
	STEP_MOVE_ROOT, /* the mount at target becomes the root */
};

struct step {
	enum step_kind kind;
	bool optional; /* what it needs may be missing: the file, or the file system type in the kernel */
	const char *target, *source, *type, *data;
	unsigned long flags; /* MS_* */
	mode_t mode;
	dev_t dev;
};

/* A table that grows. Zeroed it is empty. */
struct steps {
	struct step *at;
	size_t count, room;
	char **texts;
	size_t text_count;
};

/* The strings of step must live as long as the table: constants, or made by steps_text(). */
void steps_add(struct steps *steps, struct step step);
/* Formatted text that belongs to the table. */
const char *steps_text(struct steps *steps, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void steps_free(struct steps *steps);

/* Carries them out in order. 0, or -errno with the step at fault in *failed. */
int steps_run(const struct step *at, size_t count, const struct step **failed);

/* One line a step. */
void steps_print(const struct step *at, size_t count, FILE *out);
/* The line of one step into text, for messages. */
void step_print(const struct step *step, char *text, size_t room);

/* mkdir -p. 0 or -errno; an existing directory is fine. */
int steps_mkdirs(const char *path, mode_t mode);
/* Writes a fresh file, parents made, an old file or link of that name removed. 0 or -errno. */
int steps_replace(const char *path, const void *data, size_t bytes, mode_t mode, uid_t uid, gid_t gid);

#endif
