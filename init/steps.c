/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steps: owns the carrying out of one file system step. Knows no pod and no container; logs nothing, as it also runs
 * in processes whose standard error is a container's.
 */
#define _GNU_SOURCE

#include "init/steps.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

void steps_add(struct steps *steps, struct step step)
{
	if (steps->count == steps->room) {
		steps->room = steps->room ? steps->room * 2 : 32;
		steps->at = xrealloc(steps->at, steps->room * sizeof(*steps->at));
	}
	steps->at[steps->count++] = step;
}

const char *steps_text(struct steps *steps, const char *fmt, ...)
{
	char *text;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		abort(); /* no memory: as xmalloc() */
	va_end(args);
	steps->texts = xrealloc(steps->texts, (steps->text_count + 1) * sizeof(*steps->texts));
	steps->texts[steps->text_count++] = text;
	return text;
}

void steps_free(struct steps *steps)
{
	for (size_t i = 0; i < steps->text_count; i++)
		free(steps->texts[i]);
	free(steps->texts);
	free(steps->at);
	*steps = (struct steps){0};
}

static int errno_of(int result)
{
	return result < 0 ? -errno : 0;
}

/* Makes what is above path. */
static int make_parents(const char *path)
{
	char *copy = xstrdup(path), *slash = strrchr(copy, '/');
	int err = 0;

	if (slash && slash != copy) {
		*slash = 0;
		err = steps_mkdirs(copy, 0755);
	}
	free(copy);
	return err;
}

int steps_mkdirs(const char *path, mode_t mode)
{
	struct stat st;
	int err;

	if (!mkdir(path, mode))
		return 0;
	if (errno == ENOENT) {
		err = make_parents(path);
		return err ? err : errno_of(mkdir(path, mode));
	}
	if (errno != EEXIST && errno != EROFS)
		return -errno;
	err = errno;
	if (stat(path, &st) < 0) /* a dangling link, or a read-only place */
		return -err;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int steps_replace(const char *path, const void *data, size_t bytes, mode_t mode, uid_t uid, gid_t gid)
{
	int err = make_parents(path), fd;

	if (err)
		return err;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & 0777);
	if (fd < 0)
		return -errno;
	err = write_all(fd, data, bytes);
	if (!err && (uid || gid))
		err = errno_of(fchown(fd, uid, gid));
	if (!err)
		err = errno_of(fchmod(fd, mode));
	close(fd);
	return err;
}

static int do_mkdir(const struct step *step)
{
	return steps_mkdirs(step->target, step->mode);
}

static int do_file(const struct step *step)
{
	int err = make_parents(step->target), fd;

	if (err || !access(step->target, F_OK))
		return err;
	fd = open(step->target, O_WRONLY | O_CREAT | O_CLOEXEC, step->mode);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int do_node(const struct step *step)
{
	return errno_of(mknod(step->target, S_IFCHR | step->mode, step->dev));
}

static int do_symlink(const struct step *step)
{
	return errno_of(symlink(step->source, step->target));
}

static int do_write(const struct step *step)
{
	int fd = open(step->target, O_WRONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = write_all(fd, step->data, strlen(step->data));
	close(fd);
	return err;
}

static int do_replace(const struct step *step)
{
	return steps_replace(step->target, step->data, strlen(step->data), step->mode, 0, 0);
}

static int do_mount(const struct step *step)
{
	return errno_of(mount(step->source, step->target, step->type, step->flags, step->data));
}

static int do_remount(const struct step *step)
{
	return errno_of(mount(NULL, step->target, NULL, MS_REMOUNT | MS_BIND | step->flags, NULL));
}

static int do_bind(const struct step *step)
{
	if (mount(step->source, step->target, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -errno;
	/* The kernel ignores other flags at the first call. */
	return step->flags ? do_remount(step) : 0;
}

static int do_mask(const struct step *step)
{
	struct stat st;

	if (stat(step->target, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return errno_of(mount("tmpfs", step->target, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
				      "size=0k"));
	return errno_of(mount("/dev/null", step->target, NULL, MS_BIND, NULL));
}

static int do_move_root(const struct step *step)
{
	if (chdir(step->target) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
		return -errno;
	return errno_of(chdir("/"));
}

static const struct {
	const char *word;
	int (*run)(const struct step *step);
} kinds[] = {
	[STEP_MKDIR] = {"mkdir", do_mkdir},
	[STEP_FILE] = {"file", do_file},
	[STEP_NODE] = {"node", do_node},
	[STEP_SYMLINK] = {"symlink", do_symlink},
	[STEP_WRITE] = {"write", do_write},
	[STEP_REPLACE] = {"replace", do_replace},
	[STEP_MOUNT] = {"mount", do_mount},
	[STEP_BIND] = {"bind", do_bind},
	[STEP_REMOUNT] = {"remount", do_remount},
	[STEP_MASK] = {"mask", do_mask},
	[STEP_MOVE_ROOT] = {"move-root", do_move_root},
};

static bool is_missing(int err)
{
	return err == -ENOENT || err == -ENODEV || err == -ENOTDIR;
}

int steps_run(const struct step *at, size_t count, const struct step **failed)
{
	for (size_t i = 0; i < count; i++) {
		int err = kinds[at[i].kind].run(&at[i]);

		if (err && !(at[i].optional && is_missing(err))) {
			*failed = &at[i];
			return err;
		}
	}
	return 0;
}

static const char *flag_text(unsigned long flags, char *text, size_t room)
{
	static const struct {
		unsigned long flag;
		const char *word;
	} words[] = {{MS_RDONLY, ",ro"}, {MS_NOSUID, ",nosuid"}, {MS_NODEV, ",nodev"}, {MS_NOEXEC, ",noexec"}};
	size_t used = 0;

	text[0] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (flags & words[i].flag)
			used += (size_t)snprintf(text + used, room - used, "%s", words[i].word);
	return used ? text + 1 : "rw";
}

void step_print(const struct step *step, char *text, size_t room)
{
	char flags[64];
	int used = snprintf(text, room, "%s %s", kinds[step->kind].word, step->target);

	for (int part = 0; part < 4 && used >= 0 && (size_t)used < room; part++) {
		const char *value = part == 0 ? step->source : part == 1 ? step->type : part == 2 ? step->data : "";
		static const char *const names[] = {"from", "type", "data", "flags"};
		bool is_file = step->kind == STEP_REPLACE; /* contents are nobody's business in a message */

		if (part == 3 && step->flags)
			value = flag_text(step->flags, flags, sizeof(flags));
		if (value && *value && !(is_file && part == 2))
			used += snprintf(text + used, room - (size_t)used, " %s %s", names[part], value);
	}
	if (step->mode && used >= 0 && (size_t)used < room)
		snprintf(text + used, room - (size_t)used, " mode %04o", (unsigned)step->mode);
}

void steps_print(const struct step *at, size_t count, FILE *out)
{
	char text[1024];

	for (size_t i = 0; i < count; i++) {
		step_print(&at[i], text, sizeof(text));
		fprintf(out, "%s%s\n", text, at[i].optional ? " (optional)" : "");
	}
}
