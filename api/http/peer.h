/* This file says who is at the other end of a socket; it never asks the client. Of a unix socket
 * the kernel recorded it when the client called connect(): a socket that is handed on keeps it. Of
 * any other it knows nobody. Unprivileged.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { PEER_GROUPS_MAX = 64 };

struct peer {
    bool local; /* a unix socket: uid, gid and pid are the kernel's word */
    uid_t uid;
    gid_t gid;
    pid_t pid;
    gid_t groups[PEER_GROUPS_MAX];
    unsigned group_count;
    bool groups_cut; /* the peer has more groups than are kept */
};

enum { PEER_NOBODY = UINT32_MAX }; /* uid of a peer that is not local */

/* 0 or -errno. */
int peer_of(int fd, struct peer *ret, struct err *err);

bool peer_in_group(const struct peer *peer, gid_t group);
