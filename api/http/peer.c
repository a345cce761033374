/* This file says who is at the other end of a socket; it never asks the client. */
#include "api/http/peer.h"

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

int peer_of(int fd, struct peer *ret, struct err *err)
{
    struct ucred who;
    int domain = 0;
    socklen_t length = sizeof domain;
    /* Elsewhere SO_PEERCRED succeeds and says nobody. */
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0)
        return err_set(err, ERR_INTERNAL, errno, "look at a client's socket", NULL, NULL);
    if (domain != AF_UNIX) {
        *ret = (struct peer){.uid = PEER_NOBODY, .gid = PEER_NOBODY};
        return 0;
    }
    length = sizeof who;
    *ret = (struct peer){.local = true};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) < 0)
        return err_set(err, ERR_INTERNAL, errno, "read a client's credentials", NULL, NULL);
    ret->uid = who.uid;
    ret->gid = who.gid;
    ret->pid = who.pid;
    length = sizeof ret->groups;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, ret->groups, &length) == 0)
        ret->group_count = (unsigned)(length / sizeof ret->groups[0]);
    else if (errno == ERANGE)
        ret->groups_cut = true; /* the primary one is known; membership in another is not granted */
    else
        return err_set(err, ERR_INTERNAL, errno, "read a client's groups", NULL, NULL);
    return 0;
}

bool peer_in_group(const struct peer *peer, gid_t group)
{
    if (peer->gid == group)
        return true;
    for (unsigned i = 0; i < peer->group_count; i++)
        if (peer->groups[i] == group)
            return true;
    return false;
}
