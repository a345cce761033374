/* This file reads directories by getdents64(2); it never allocates. */
#include "runtime/base/names.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

struct name_entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

static bool is_passed_over(const struct names *names, const char *name)
{
    if (name[0] != '.')
        return false;
    return names->which == NAMES_WITHOUT_DOT || name[1] == 0 || (name[1] == '.' && name[2] == 0);
}

int names_next(struct names *names, const char **ret_name)
{
    for (;;) {
        if (names->at == names->length) {
            long n = syscall(SYS_getdents64, names->fd, names->buffer, sizeof names->buffer);
            if (n <= 0)
                return n < 0 ? -errno : 0;
            names->at = 0;
            names->length = (size_t)n;
        }
        const struct name_entry *entry = (const void *)(names->buffer + names->at);
        names->at += entry->length;
        if (is_passed_over(names, entry->name))
            continue;
        *ret_name = entry->name;
        return 1;
    }
}
