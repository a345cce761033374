/* This file lists the names in a directory without memory of its own: opendir(3) would allocate,
 * which costs more than the whole listing of an empty directory. Any process may call. */
#pragma once

#include <stddef.h>

struct names {
    int fd; /* of the directory; its offset moves */
    size_t at, length;
    _Alignas(8) char buffer[2048];
};

static inline void names_begin(struct names *names, int fd)
{
    names->fd = fd;
    names->at = names->length = 0;
}

/* 1 with the next name that does not begin with a dot, valid until the next call; 0 at the end;
 * -errno. */
int names_next(struct names *names, const char **ret_name);
