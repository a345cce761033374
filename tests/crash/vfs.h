/* This file is a file system below SQLite that loses what was not synced, or refuses what is asked.
 * For the crash programs only.
 *
 * It passes everything on to the real one, so a process that goes on sees what it wrote. What a
 * disk would hold after power loss is kept beside: the bytes of the last sync, and the writes
 * since.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum vfs_fault { VFS_NONE, VFS_ENOSPC, VFS_EIO, VFS_EMFILE, VFS_ENOMEM };

/* Before anything else of SQLite: registers "crash", counts allocations. */
void vfs_init(void);

/* At the `nth` write, sync or truncation from now on the power goes: what the disk would hold, with
 * a random part of what was not synced, is written to `directory`, and this process ends with
 * status 99. */
void vfs_cut_power(unsigned long nth, unsigned seed, const char *directory);

/* From the nth call from now on that can fail so, `times` calls do. 0 times: all until vfs_heal().
 */
void vfs_fail(enum vfs_fault fault, unsigned long nth, unsigned long times);
void vfs_heal(void);
unsigned long vfs_failed(void); /* how many calls have been refused since vfs_fail() */

/* "ok", or what SQLite's own check says of the database at `path`. */
const char *vfs_integrity(const char *path);
/* The number that `sql` answers of the database at `path`; -1: none. */
int64_t vfs_number(const char *path, const char *sql);
