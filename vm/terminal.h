/* SPDX-License-Identifier: Apache-2.0 */
/*
 * terminal: the user's terminal while a pod has it: raw mode and back, window size. One terminal per process.
 * Knows nothing of pods.
 */
#ifndef VM_TERMINAL_H
#define VM_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Raw mode: every key goes to the reader, nothing is echoed or turned into a signal. Undone by terminal_restore(), at
 * exit(), and when a signal ends the process whose action is the default one at this moment (a crash, or SIGTERM where
 * nobody handles it). 0; -ENOTTY; -EAGAIN when this process is in the background and so must leave the terminal alone;
 * -errno. Again after terminal_restore() is fine (before and after a stop).
 */
int terminal_raw(int fd);
/* Back to how terminal_raw() found it; does nothing when nothing is to undo. Safe in a signal handler. */
void terminal_restore(void);

/* Window size in characters: 0, or -ENOTTY. rows and cols may be 0 when the terminal does not know. */
int terminal_size(int fd, uint16_t *rows, uint16_t *cols);

/* True when this process may read from and draw on the terminal now (it is in the foreground). */
bool terminal_foreground(int fd);

#endif
