/* This file lists the names in a directory without memory of its own: opendir(3) would allocate,
 * which costs more than the whole listing of an empty directory. Any process may call. */
#pragma once

#include <stddef.h>

enum names_which { NAMES_WITHOUT_DOT, NAMES_ALL };

struct names {
    int fd; /* of the directory; its offset moves */
    enum names_which which;
    size_t at, length;
    _Alignas(8) char buffer[2048];
};

static inline void names_begin(struct names *names, int fd, enum names_which which)
{
    names->fd = fd;
    names->which = which;
    names->at = names->length = 0;
}

/* 1 with the next name, valid until the next call; 0 at the end; -errno. Without those that begin
 * with a dot, or with all but "." and "..". */
int names_next(struct names *names, const char **ret_name);
