/* This file is the map between names and addresses of one session's pool: in memory, and in a file
 * that outlives the gateway (struct network_name, docs/adr/0013); it never decides about a name and
 * never gives a number twice.
 *
 * A record that is not whole (its writer was killed) keeps its number and names nothing.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/plan/address.h"

#include <stdint.h>

struct names {
    int fd;          /* owned; -1: none */
    unsigned count;  /* numbers that are given out */
    char **hosts;    /* of each; NULL: names nothing */
    uint16_t *slots; /* number + 1 by the name's hash; 0: free */
    unsigned slot_count;
};

/* Takes `fd` in any case. */
int names_open(struct names *names, int fd, struct err *err);
void names_fini(struct names *names);

/* The number of a canonical name: what it has, or a new one, which is in the file before this
 * returns. -ENOSPC: all are given out. Another -errno: the file cannot be written. */
int names_number(struct names *names, const char *host);

/* NULL: names nothing. */
const char *names_host(const struct names *names, unsigned number);
