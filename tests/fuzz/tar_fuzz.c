/* This file feeds arbitrary bytes to the reader of tar headers as the file worker does it
 * (libFuzzer). What comes out must stay beneath, have no bit of 07000, and be written and read
 * again as the same.
 *
 * Sums are made right where the first byte of the input is odd: else few inputs would get past
 * them.
 */
#include "runtime/agent/tar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static void seal(unsigned char *block)
{
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (unsigned i = 0; i < TAR_BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum & 0777777);
}

static void check(const struct tar_entry *entry)
{
    static char out[TAR_HEADER_MAX];
    size_t n = strlen(entry->path);
    demand(!(entry->mode & ~0777u) && entry->modified_nsec < 1000000000 && entry->modified >= 0);
    demand(n == 0 ? entry->type == TAR_DIRECTORY : !files_entry_path_check(entry->path, n));
    demand(entry->type == TAR_FILE || entry->size == 0);
    demand(entry->type != TAR_HARDLINK ||
           !files_entry_path_check(entry->link, strlen(entry->link)));
    if (n == 0 || entry->type == TAR_HARDLINK)
        return;
    const char *link = entry->type == TAR_SYMLINK ? entry->link : "";
    const struct files_stat stat = {.type = entry->type == TAR_FILE        ? FILES_FILE
                                            : entry->type == TAR_DIRECTORY ? FILES_DIRECTORY
                                                                           : FILES_SYMLINK,
                                    .mode = entry->mode,
                                    .size = entry->size};
    struct tar_reader reader = {0};
    struct tar_entry again;
    const char *wrong;
    size_t length = tar_write(&stat, entry->path, link, out);
    demand(length % TAR_BLOCK == 0 && length <= sizeof out);
    int r = tar_read(&reader, (const unsigned char *)out, &again, &wrong);
    if (r == TAR_MORE) {
        char *copy = malloc((size_t)again.size + 1);
        demand(copy != NULL);
        memcpy(copy, out + TAR_BLOCK, (size_t)again.size);
        demand(tar_extend(&reader, copy, (size_t)again.size, &wrong) == 0);
        free(copy);
        r = tar_read(&reader, (const unsigned char *)out + length - TAR_BLOCK, &again, &wrong);
    }
    demand(r == TAR_ENTRY && strcmp(again.path, entry->path) == 0 &&
           strcmp(again.link, link) == 0 && again.size == entry->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tar_reader reader = {0};
    struct tar_entry entry;
    const char *wrong = NULL;
    unsigned char block[TAR_BLOCK];
    bool sums = size > 0 && (data[0] & 1);
    for (size_t at = size > 0; size - at >= TAR_BLOCK;) {
        memcpy(block, data + at, sizeof block);
        at += sizeof block;
        if (sums)
            seal(block);
        int r = tar_read(&reader, block, &entry, &wrong);
        demand(r >= 0 || wrong);
        if (r < 0)
            return 0;
        if (r == TAR_ZERO)
            continue;
        if (r == TAR_ENTRY)
            check(&entry);
        size_t padding = tar_padding(entry.size);
        if (entry.size > size - at || padding > size - at - entry.size)
            return 0;
        if (r == TAR_MORE) {
            demand(entry.size <= TAR_EXTENSION_MAX);
            char *copy =
                malloc((size_t)entry.size + 1); /* its own, so that a read past it is seen */
            demand(copy != NULL);
            memcpy(copy, data + at, (size_t)entry.size);
            r = tar_extend(&reader, copy, (size_t)entry.size, &wrong);
            free(copy);
            demand(r == 0 || wrong);
            if (r < 0)
                return 0;
        }
        at += (size_t)entry.size + padding;
    }
    return 0;
}
