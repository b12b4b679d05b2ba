/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir: the state directory, where commands find the pods that run: $XDG_RUNTIME_DIR/podvm, root: /run/podvm, else
 * /tmp/podvm-UID; mode 0700, of this user alone. Each pod has a directory there, named as the pod:
 *
 *	lock		held (F_OFD_SETLK) by the pod's process for its life: so who is alive is known without asking a pid
 *	pod.json	the pod as spec_print() has it, when it runs
 *	pid		of the process that holds the lock, as text
 *	control		the Unix socket it listens on, see live/talk.h
 *
 * What a process that was killed left behind is taken over by the next pod of that name, and shown as crashed until then.
 */
#ifndef LIVE_DIR_H
#define LIVE_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { DIR_NAME_BYTES_MAX = 128 };

/* A name a pod may have: as pod ids (letters, digits, "-", "_", ".", the first a letter or digit). */
bool dir_name_good(const char *name);

struct dir_pod; /* a pod's own directory, its lock held */

/*
 * Makes the directory for a pod and takes its lock. exact: name as it is, -EEXIST when a live pod has it. Else name, if
 * it is free, or with "-" and a few random letters; "" becomes "pod-" and letters. 0, or -errno with what in *why, one line,
 * to be freed: the directory can not be made, is another user's, ....
 */
int dir_pod_make(const char *name, bool exact, struct dir_pod **pod, char **why);
const char *dir_pod_name(const struct dir_pod *pod);
/* Writes a small file of it, in one step. 0 or -errno. */
int dir_pod_write(struct dir_pod *pod, const char *file, const void *bytes, size_t count);
/* A listening Unix socket (stream, close-on-exec, non-blocking) named control, whatever the length of the path; or -errno. */
int dir_pod_listen(struct dir_pod *pod);
/* Removes it and lets go of the lock. NULL is fine. */
void dir_pod_free(struct dir_pod *pod);

/* A pod as commands see it. */
struct dir_entry {
	char name[DIR_NAME_BYTES_MAX + 1];
	bool alive; /* else crashed */
	pid_t pid;  /* 0: not known */
};
/* Why the state directory can not be used: 0, or -errno with what in *why, one line with its remedy, to be freed. */
int dir_check(char **why);
/* All, by name; *entries is freed by the caller. 0, also when there is no state directory; or -errno. */
int dir_list(struct dir_entry **entries, size_t *count);
/* One: 0, or -ENOENT. */
int dir_find(const char *name, struct dir_entry *entry);
/* Connected to its control socket (blocking, close-on-exec); -ENOENT: no such pod; -ECONNREFUSED: crashed, or just ending. */
int dir_connect(const char *name);
/* A file of a pod, as file_read() in lib/util.h. */
int dir_read(const char *name, const char *file, size_t max, char **text, size_t *bytes);
/* Waits until the pod's process is gone. timeout_ms -1: for ever. 0, -ETIMEDOUT, or -errno. */
int dir_wait_gone(const char *name, int timeout_ms);

#endif
