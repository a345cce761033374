/* This file is the tar format (POSIX.1-2001 pax, ustar, and what GNU tar writes): headers out of
 * blocks of 512 bytes and into them; it never reads or writes a descriptor and never decides what
 * may be made of an entry.
 *
 *     for (;;) {
 *         ... read TAR_BLOCK bytes ...
 *         tar_read(&reader, block, &entry, &wrong)
 *             TAR_ENTRY     entry.size bytes of content follow, then its padding
 *             TAR_MORE      entry.size bytes (at most TAR_EXTENSION_MAX) follow that say more about
 *                           the next entry: give them to tar_extend()
 *             TAR_ZERO      a block of zeros; two of them are the end
 *             negative      `wrong` says what
 *     }
 *
 * What comes is hostile. A path comes out relative, without empty and "." parts and without a slash
 * at its end, or is refused: absolute, with a part "..", with a part that no name can be.
 * Pure.
 */
#pragma once

#include "runtime/files.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TAR_BLOCK = 512, TAR_EXTENSION_MAX = 64 * 1024 };

enum tar_type { TAR_FILE = 1, TAR_DIRECTORY, TAR_SYMLINK, TAR_HARDLINK };

struct tar_entry {
    enum tar_type type;
    char path[FILES_PATH_MAX]; /* "": the top itself, a directory */
    char link[FILES_PATH_MAX]; /* a symbolic link: what it says; a hard link: a path as above */
    uint32_t mode;             /* permission bits; those of 07000 are taken off */
    uint64_t size;
    int64_t modified; /* seconds since 1970 */
    uint32_t modified_nsec;
};

struct tar_reader {
    char kind; /* of the extension that is being read */
    bool has_path, has_link, has_size, has_modified;
    char path[FILES_PATH_MAX], link[FILES_PATH_MAX];
    uint64_t size;
    int64_t modified;
    uint32_t modified_nsec;
};

enum tar_outcome { TAR_ENTRY = 1, TAR_MORE = 2, TAR_ZERO = 3 };
/* `wrong` is a constant text; `ret` may be partly filled then: its path, as it was sent, is for a
 * message. */
int tar_read(struct tar_reader *reader, const unsigned char block[TAR_BLOCK], struct tar_entry *ret,
             const char **wrong);
/* `data` has one byte of room behind it. 0, or negative with `wrong`. */
int tar_extend(struct tar_reader *reader, char *data, size_t length, const char **wrong);

/* How many bytes of padding follow `size` bytes. */
static inline size_t tar_padding(uint64_t size)
{
    return (size_t)(-size & (TAR_BLOCK - 1));
}

/* The header of an entry, and before it what does not fit one. The number of bytes, a multiple of
 * TAR_BLOCK. `path` as in an entry; `link` of a symbolic link, else "". */
enum { TAR_HEADER_MAX = 3 * TAR_BLOCK + 2 * (FILES_PATH_MAX + 32) + 256 };
size_t tar_write(const struct files_stat *stat, const char *path, const char *link,
                 char ret[TAR_HEADER_MAX]);
