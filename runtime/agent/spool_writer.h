/* This file writes the spool of one exec (runtime/agent/spool.h). Used by init only.
 *
 * Nothing of it waits for a reader, and a disk that is full costs output, never the command: what
 * cannot be written is counted as dropped, and so is what the tail has no place for any more.
 * Memory: one page while the exec has something open.
 */
#pragma once

#include "runtime/agent/spool.h"

struct spool;

/* `fd` is taken over, also on failure: an empty regular file, open for writing and not for
 * appending. 0, or -errno with *ret_step. */
int spool_writer_open(struct spool **ret, int fd, uint64_t exec,
                      const struct agent_spool_limits *limits, const char **ret_step);

/* Captured bytes, as one or more records. */
void spool_writer_write(struct spool *spool, enum agent_stream stream, const void *data,
                        size_t length);

/* The one exit. `last`: nothing of the exec lives, so that the file is complete as well. Fills
 * exit->output_truncated. */
void spool_writer_exit(struct spool *spool, struct agent_exit *exit, bool last);

/* Sequence number of the last record or of the exit. */
uint64_t spool_writer_seq(const struct spool *spool);

/* Complete the file and free. NULL allowed. */
void spool_writer_close(struct spool *spool);
