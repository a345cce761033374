/* This file takes what the supervisor gave: descriptors at fixed numbers and two sealed memfds. It
 * believes the supervisor, and still refuses what a mistake would look like: another kind of
 * descriptor, a struct of another version, a memfd that can still change. Before rights.h.
 */
#pragma once

#include "policy/policy.h"
#include "provider/capability.h"
#include "runtime/serve.h"

struct front_start {
    struct serve_config config;
    struct capability_set capabilities;
    struct policy *ceiling; /* owned; NULL: none */
    bool has_events;        /* SERVE_FD_EVENTS is there */
};

/* The struct is large: not on a stack. 0 or -errno. Descriptors become close-on-exec. */
int front_start(struct front_start *ret, struct err *err);
void front_start_fini(struct front_start *start);

/* ---- for tests ------------------------------------------------------------------------------- */
int front_start_config(int fd, struct front_start *ret, struct err *err);
int front_start_capabilities(int fd, struct front_start *ret, struct err *err);
