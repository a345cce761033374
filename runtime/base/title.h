/* This file names the running process, as ps(1) shows it; it never allocates.
 *
 * The name goes over the area of the arguments and, where it is longer, of the environment that the
 * process was born with: read both before. Any single-threaded process may call.
 */
#pragma once

/* Finds the area. Once, before anything is forked. Without a /proc only the short name is set. */
void title_init(void);

/* "berth: launcher". In the list of threads 15 bytes of it are seen. */
void title_set(const char *title);
