/* This file starts a gateway (docs/adr/0013) beside `berth run` or `berth serve`, and knows which
 * resolvers it is told to ask; it never asks one.
 */
#pragma once

#include "runtime/gateway/gateway.h"

#include <sys/types.h>

/* Whose the gateway is where berth is root's: the id below front's (serve.h), for the same reason.
 */
enum { GATEWAY_UID = 0x6ffffffe };

/* Our ends; all close-on-exec. */
struct gateway_child {
    pid_t pid;   /* 0: none */
    int life;    /* its end is the gateway's end */
    int control; /* SOCK_SEQPACKET: requests and replies */
    int events;  /* SOCK_SEQPACKET: struct gateway_event */
};

/* The defaults, and these resolvers: each "ADDRESS[:PORT]" or "[ADDRESS]:PORT". `count` 0: those of
 * the host's resolv.conf(5). ERR_USAGE names the one that is no address; `step` is for messages. */
int gateway_config_fill(struct gateway_config *ret, const char *const *resolvers, size_t count,
                        const char *step, struct err *err);
/* "ADDRESS[:PORT]" or "[ADDRESS]:PORT", port 53 without one. 0 or -EINVAL. Pure. */
int gateway_resolver_parse(const char *text, struct network_address *ret, uint16_t *ret_port);
/* The lines `nameserver` of this text; the first GATEWAY_RESOLVERS_MAX. Pure. */
void gateway_resolv_conf(const char *text, struct gateway_config *ret);

/* berth-gateway beside this program, else the installed one. */
int gateway_find(int *ret_program, struct err *err);
/* It ends by itself when our end of `life` is closed, also by our death. */
int gateway_start(int program, const struct gateway_config *config, bool rootless, uint32_t uid,
                  struct gateway_child *ret, struct err *err);
/* Closes our ends and waits for its end; kills it when it takes longer than a second. */
void gateway_stop(struct gateway_child *gateway);
