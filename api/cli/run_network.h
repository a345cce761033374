/* This file is the network of `berth run`: the gateway that lives and dies with it, and what that
 * tells about who was reached and who was not. It decides nothing: the gateway does.
 */
#pragma once

#include "api/cli/gateway_child.h"
#include "runtime/base/buf.h"
#include "runtime/runtime.h"

enum { RUN_REACHED_MAX = 256 };

/* One row for each (kind, who, port, reason), with how often. */
struct run_reached {
    struct gateway_event event; /* the last one */
    uint64_t count, sent, received;
};

struct run_network {
    struct gateway_child gateway;
    struct run_reached reached[RUN_REACHED_MAX];
    unsigned count;
    uint64_t more; /* events about others, for which there was no row */
    bool lost;     /* the gateway has ended before its session */
    struct session_published published[SPEC_PUBLISH_MAX];
    unsigned published_count;
    bool mute;       /* the gateway asks for nothing any more */
    bool looked_out; /* without a network: something in it looked for one */
};

struct run;

/* Before runtime_open(): rootless, that leaves the host's namespaces. Nothing when the spec needs
 * no gateway. */
int run_network_open(struct run *run, struct err *err);
/* Readable when the gateway has told something; -1: never. */
int run_network_fd(const struct run *run);
/* Takes what the gateway has sent; its end is noted. */
void run_network_take(struct run *run);
/* Readable when the gateway wants something for a published port; -1: never. */
int run_network_asks(const struct run *run);
void run_network_serve(struct run *run);
/* A port that was published, for people or as a line of JSON (`--json`): before the command starts,
 * because it may be the only way to learn which port it is. */
void run_network_published(struct run *run, struct session *session,
                           void (*say)(const char *format, ...));
/* When the command has ended: everything that the gateway still has to tell, then its end. */
void run_network_close(struct run *run);

/* What a person is told: one line for each thing that was refused, with what allows it. */
void run_network_summary(const struct run *run, void (*say)(const char *format, ...));
/* ,"network":{…} of the result record; null without a gateway. */
void run_network_record(const struct run *run, struct buf *out);
/* --learn: the smallest policy that lets through what was reached, with how often; and what is not
 * learned, and why. */
int run_network_learn(const struct run *run, struct buf *out, struct err *err);
