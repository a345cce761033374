/* This file is what the HTTP layer asks of whoever does the work; it never knows who that is. A
 * front puts the provider behind it, tests put a fake. exchange.h says how an operation answers.
 *
 * All functions are called in the loop's thread and must not block.
 */
#pragma once

#include "api/http/exchange.h"

enum { FINGERPRINT_KEY_BYTES = 32 };

struct http_served {
    const char *route;        /* a closed set of names; "" when there was no route */
    bool changes;             /* the route changes something */
    struct route_names names; /* in the route; of a create the id that was chosen; "": none */
    const char *id;
    int status;           /* 0: the client left before there was one */
    enum err_code code;   /* of a problem that is told for the first time; ERR_NONE */
    uint64_t duration_ms; /* from the head to the last byte of the answer */
    const struct peer *peer;
    int64_t caller; /* 0: a peer that the kernel knows, or nobody */
};

struct http_operations {
    void *context;

    /* Keys the hash of requests, so that who reads the ledger cannot guess at bodies. */
    unsigned char fingerprint_key[FINGERPRINT_KEY_BYTES];

    /* May this caller use this route on this workspace? 0, or negative with `err` (UNAUTHORIZED,
     * FORBIDDEN, NOT_FOUND for what he must not know of). Called before a byte of the body is
     * read; `body`, `idempotency_key` and `fingerprint` are not there yet. Required. */
    int (*authorize)(void *context, const struct exchange_request *request, struct err *err);

    /* Whose token is this, on a connection whose peer the kernel does not know? A number that is
     * not 0, which is exchange_request.caller then; 0: nobody's. Called before the path is looked
     * at. Required where a TCP socket is listened on. */
    int64_t (*identify)(void *context, const char *token, size_t length);
    /* Is this a name of ours, besides addresses and "localhost"? For TCP; may be NULL. */
    bool (*host_known)(void *context, const char *host, size_t length);

    /* One per route that is built; required for each of them. */
    void (*handle[ROUTE_COUNT])(void *context, struct exchange *x);

    /* Required where a handler uses what they belong to; `gone` always. */
    void (*room)(void *context, struct exchange *x);
    void (*body_end)(void *context, struct exchange *x, enum exchange_body how, uint64_t bytes);
    void (*gone)(void *context, struct exchange *x);

    void (*served)(void *context, const struct http_served *served); /* optional: logs, metrics */
};
