/* This file is published ports (docs/adr/0013): listeners of the host, handed to the gateway that
 * joins each of their clients to a session; it never accepts one.
 *
 * PRIVILEGED: `berth run`'s and the launcher's, in the host's network namespace. Listeners are of
 * loopback alone. A port has one listener at a time, whoever asks for another: no port is shared,
 * and none is taken from who listens already.
 */
#pragma once

#include "runtime/gateway/gateway.h"

struct publish_port {
    uint16_t host_port, port; /* host_port: the one that was had */
    bool six;                 /* at ::1 too */
    int fds[2];               /* 127.0.0.1, ::1; -1: this host has no such address */
};

struct publish {
    struct publish_port ports[SPEC_PUBLISH_MAX];
    unsigned count;
};

/* The ports of the host that were had, in the order of the spec. */
void publish_had(const struct publish *publish, struct spec_publish ret[SPEC_PUBLISH_MAX]);
void publish_init(struct publish *publish);
void publish_fini(struct publish *publish);

/* All of them or none. `privileged`: who asks may have ports below
 * net.ipv4.ip_unprivileged_port_start. What is busy is refused (ERR_PORT_IN_USE) with the port's
 * name. */
int publish_bind(const struct spec_network *net, bool privileged, struct publish *ret,
                 struct err *err);
/* Of `wanted` those whose bit is not in `mask`; the others have no listener in *ret. */
int publish_bind_missing(const struct spec_publish *wanted, unsigned count, uint32_t mask,
                         bool privileged, struct publish *ret, struct err *err);
/* Bit i: the gateway listens on wanted[i] for the session. Also 0 when it does not serve it. */
int publish_ask(int gateway, int64_t row, int64_t incarnation, const struct spec_publish *wanted,
                unsigned count, uint32_t *ret_mask, struct err *err);
/* Can the host's ::1 be had at all? */
bool publish_has_six(void);
/* Could it be had now? 0, -EADDRINUSE, -EACCES or another failure. It is not listened on meanwhile:
 * who has it back at this moment does. */
int publish_try(uint16_t host_port);
/* The gateway serves them, too, from here on: the session (row, incarnation), whose rules name
 * their ports, in the namespace `netns`. The listeners stay the caller's, who closes his: a port is
 * open as long as the gateway has it. */
int publish_give(int gateway, int64_t row, int64_t incarnation, int netns,
                 const struct publish *publish, struct err *err);
/* The gateway's NEED_SOCKETS for that session, `count` of each family. */
int publish_serve(int gateway, int64_t row, int64_t incarnation, int netns, unsigned count,
                  struct err *err);
