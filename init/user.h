/* SPDX-License-Identifier: Apache-2.0 */
/* user: from the user a container asks for to numbers, by the container's own passwd and group files. */
#ifndef INIT_USER_H
#define INIT_USER_H

#include "pod/spec.h"

#include <stdint.h>
#include <sys/types.h>

struct user {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary */
	size_t group_count;
	char *name; /* "" when the passwd file does not have it */
	char *home; /* "/" when it does not say */
};

/*
 * passwd and group are the texts of the two files, "" when there is none. Names come first, then numbers, so that a
 * user called "1000" wins; a number need not be in the file. 0, or -ENOENT with the unknown name in *unknown.
 */
int user_lookup(const char *passwd, const char *group, const struct spec_user *wanted, struct user *user,
		const char **unknown);
void user_free(struct user *user);

#endif
