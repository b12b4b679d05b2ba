/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_uri: files[].uri of a pod file: what it names is read on the host, and becomes the file's content; the pod fetches
 * nothing itself.
 *
 * file:///PATH is a regular file, its path percent-encoded (RFC 8089). http:// and https:// are curl's to fetch: a
 * program that is kept up to date knows proxies, certificates and servers better than we ever should. It is looked for
 * in PATH, run without a shell, and its configuration file is not read.
 *
 * Host set-up: what can not be had ends podvm with one line that names key and URI.
 */
#ifndef VM_POD_URI_H
#define VM_POD_URI_H

#include "pod/spec.h"

enum { POD_URI_LIMIT_S = 60 }; /* that one transfer may take */

/*
 * Fetches what containers place, in the order of the file. The content is base64 then, whatever the encoding was, and
 * the uri stays, as a name. Before any thread is started. pod_file is for messages.
 */
void pod_uri_fetch(const char *pod_file, struct spec_pod *spec);

#endif
