/* This file is the table of routes (contract, HTTP surface) and finds the row of a request; it
 * never acts. One row makes dispatch, scope, body limit, query parameters, idempotency and the
 * OpenAPI document (api/openapi).
 *
 * A row whose `later` is set is part of the surface and not built: `later` names the capability
 * that a client is told is missing (422), or is "" where nothing is there yet (404).
 *
 * Pure. Unprivileged.
 */
#pragma once

#include "api/http/target.h"

#include <stdbool.h>
#include <stdint.h>

/* What a caller needs to be allowed; who decides is behind http_operations.authorize. What tokens
 * have to do with it (docs/adr/0015): ANY every token may; VERB a token that has this verb, in its
 * workspaces; ALONE a token that has this verb, and then no other one and no workspace; NONE no
 * token. */
#define HTTP_SCOPES(X)                                                               \
    X(PUBLIC, "public", ANY)        /* nothing: liveness */                          \
    X(HOST, "host", ANY)            /* what this host can do; no workspace's data */ \
    X(READ, "read", VERB)           /* state, lists, events, usage, output */        \
    X(LIFECYCLE, "lifecycle", VERB) /* create, park, resume, archive, destroy */     \
    X(EXEC, "exec", VERB)           /* start, feed and end commands */               \
    X(FILES_READ, "files.read", VERB)                                                \
    X(FILES_WRITE, "files.write", VERB)                                              \
    X(METRICS, "metrics", ALONE)  /* sums over all workspaces */                     \
    X(OPERATOR, "operator", NONE) /* across workspaces */                            \
    X(OWNER, "owner", NONE)       /* root, or whose berth it is: no group either */

enum http_scope_rule { SCOPE_RULE_ANY, SCOPE_RULE_VERB, SCOPE_RULE_ALONE, SCOPE_RULE_NONE };

enum http_scope {
#define X(id, name, rule) SCOPE_##id,
    HTTP_SCOPES(X)
#undef X
        SCOPE_COUNT
};

enum http_body {
    BODY_NONE,   /* a body is refused */
    BODY_OBJECT, /* one JSON object, or nothing, which means {} */
    BODY_STREAM, /* bytes, into a descriptor of the operation's */
};

enum http_answer {
    ANSWER_DOCUMENT, /* one JSON document */
    ANSWER_EVENTS,   /* server-sent events */
    ANSWER_EITHER,   /* events when Accept says text/event-stream, else a document */
    ANSWER_BYTES,
    ANSWER_TEXT, /* plain text */
};

enum http_key { KEY_NONE, KEY_OPTIONAL }; /* Idempotency-Key */

enum { KIB = 1024, MIB = 1024 * KIB };
#define BODY_UNBOUNDED UINT64_MAX /* streams, bounded by whoever gives the descriptor */

#define S_ "/v1/workspaces/{w}/sessions/{s}"
/* id, method, template, scope, body, its limit, key, answer, later, query parameters, fields */
#define HTTP_ROUTES(X)                                                                             \
    X(HEALTH, GET, "/v1/health", PUBLIC, NONE, 0, NONE, DOCUMENT, NULL, "", none)                  \
    X(CAPABILITIES, GET, "/v1/capabilities", HOST, NONE, 0, NONE, DOCUMENT, NULL, "", none)        \
    X(METRICS, GET, "/metrics", METRICS, NONE, 0, NONE, TEXT, NULL, "", none)                      \
    X(OPENAPI, GET, "/v1/openapi.json", PUBLIC, NONE, 0, NONE, DOCUMENT, NULL, "", none)           \
    X(SESSION_CREATE, POST, "/v1/workspaces/{w}/sessions", LIFECYCLE, OBJECT, MIB, OPTIONAL,       \
      DOCUMENT, NULL, "", session)                                                                 \
    X(SESSION_LIST, GET, "/v1/workspaces/{w}/sessions", READ, NONE, 0, NONE, DOCUMENT, NULL,       \
      "state owner label after limit", none)                                                       \
    X(SESSION_GET, GET, S_, READ, NONE, 0, NONE, DOCUMENT, NULL, "", none)                         \
    X(SESSION_DESTROY, DELETE, S_, LIFECYCLE, NONE, 0, NONE, DOCUMENT, NULL, "delete_volume",      \
      none)                                                                                        \
    X(SESSION_PARK, POST, S_ "/park", LIFECYCLE, OBJECT, 4 * KIB, OPTIONAL, DOCUMENT, NULL, "",    \
      park)                                                                                        \
    X(SESSION_RESUME, POST, S_ "/resume", LIFECYCLE, OBJECT, 64 * KIB, OPTIONAL, DOCUMENT, NULL,   \
      "", resume)                                                                                  \
    X(SESSION_INTERRUPT, POST, S_ "/interrupt", EXEC, OBJECT, 4 * KIB, OPTIONAL, DOCUMENT, NULL,   \
      "", interrupt)                                                                               \
    X(SESSION_ARCHIVE, POST, S_ "/archive", LIFECYCLE, OBJECT, 4 * KIB, OPTIONAL, DOCUMENT, NULL,  \
      "", archive)                                                                                 \
    X(SESSION_EVENTS, GET, S_ "/events", READ, NONE, 0, NONE, EVENTS, NULL, "from follow", none)   \
    X(SESSION_USAGE, GET, S_ "/usage", READ, NONE, 0, NONE, DOCUMENT, NULL, "", none)              \
    X(EXEC_START, POST, S_ "/execs", EXEC, OBJECT, MIB, OPTIONAL, EITHER, NULL, "wait_ms", exec)   \
    X(EXEC_LIST, GET, S_ "/execs", READ, NONE, 0, NONE, DOCUMENT, NULL, "state after limit", none) \
    X(EXEC_GET, GET, S_ "/execs/{e}", READ, NONE, 0, NONE, DOCUMENT, NULL, "wait_ms", none)        \
    X(EXEC_OUTPUT, GET, S_ "/execs/{e}/output", READ, NONE, 0, NONE, EVENTS, NULL,                 \
      "from follow stream", none)                                                                  \
    X(EXEC_STDIN, POST, S_ "/execs/{e}/stdin", EXEC, STREAM, BODY_UNBOUNDED, OPTIONAL, DOCUMENT,   \
      NULL, "offset", none)                                                                        \
    X(EXEC_CLOSE_STDIN, POST, S_ "/execs/{e}/close-stdin", EXEC, OBJECT, 4 * KIB, OPTIONAL,        \
      DOCUMENT, NULL, "", none)                                                                    \
    X(EXEC_SIGNAL, POST, S_ "/execs/{e}/signal", EXEC, OBJECT, 4 * KIB, OPTIONAL, DOCUMENT, NULL,  \
      "", signal)                                                                                  \
    X(EXEC_RESIZE, POST, S_ "/execs/{e}/resize", EXEC, OBJECT, 4 * KIB, OPTIONAL, DOCUMENT, NULL,  \
      "", resize)                                                                                  \
    X(EXEC_CANCEL, POST, S_ "/execs/{e}/cancel", EXEC, OBJECT, 4 * KIB, OPTIONAL, DOCUMENT, NULL,  \
      "", none)                                                                                    \
    X(FILE_READ, GET, S_ "/files", FILES_READ, NONE, 0, NONE, BYTES, NULL, "path", none)           \
    X(FILE_STAT, HEAD, S_ "/files", FILES_READ, NONE, 0, NONE, BYTES, NULL, "path", none)          \
    X(FILE_WRITE, PUT, S_ "/files", FILES_WRITE, STREAM, BODY_UNBOUNDED, NONE, DOCUMENT, NULL,     \
      "path mode", none)                                                                           \
    X(FILE_REMOVE, DELETE, S_ "/files", FILES_WRITE, NONE, 0, NONE, DOCUMENT, NULL,                \
      "path recursive", none)                                                                      \
    X(FILES_MKDIR, POST, S_ "/files/mkdir", FILES_WRITE, OBJECT, 16 * KIB, OPTIONAL, DOCUMENT,     \
      NULL, "", mkdir)                                                                             \
    X(FILES_MOVE, POST, S_ "/files/move", FILES_WRITE, OBJECT, 32 * KIB, OPTIONAL, DOCUMENT, NULL, \
      "", move)                                                                                    \
    X(FILES_CHMOD, POST, S_ "/files/chmod", FILES_WRITE, OBJECT, 16 * KIB, OPTIONAL, DOCUMENT,     \
      NULL, "", chmod)                                                                             \
    X(FILES_LIST, GET, S_ "/files/list", FILES_READ, NONE, 0, NONE, DOCUMENT, NULL,                \
      "path depth after limit", none)                                                              \
    X(FILES_WATCH, GET, S_ "/files/watch", FILES_READ, NONE, 0, NONE, EVENTS, NULL,                \
      "path recursive", none)                                                                      \
    X(TAR_WRITE, PUT, S_ "/tar", FILES_WRITE, STREAM, BODY_UNBOUNDED, NONE, DOCUMENT, NULL,        \
      "path", none)                                                                                \
    X(TAR_READ, GET, S_ "/tar", FILES_READ, NONE, 0, NONE, BYTES, NULL, "path", none)              \
    X(UPLOADS, POST, S_ "/uploads", FILES_WRITE, STREAM, BODY_UNBOUNDED, OPTIONAL, DOCUMENT, NULL, \
      "name size sha256", none)                                                                    \
    X(COLLECT, POST, S_ "/outputs/collect", FILES_READ, OBJECT, 16 * KIB, OPTIONAL, DOCUMENT,      \
      NULL, "", collect)                                                                           \
    X(SESSION_NETWORK, PUT, S_ "/network", LIFECYCLE, OBJECT, MIB, OPTIONAL, DOCUMENT, NULL, "",   \
      network)                                                                                     \
    X(PORTS_LIST, GET, S_ "/ports", READ, NONE, 0, NONE, DOCUMENT, NULL, "", none)                 \
    X(PORTS, POST, S_ "/ports", LIFECYCLE, OBJECT, 4 * KIB, OPTIONAL, DOCUMENT, NULL, "", ports)   \
    X(VOLUME_LIST, GET, "/v1/workspaces/{w}/volumes", READ, NONE, 0, NONE, DOCUMENT, NULL,         \
      "after limit", none)                                                                         \
    X(VOLUME_CREATE, POST, "/v1/workspaces/{w}/volumes", LIFECYCLE, OBJECT, 4 * KIB, OPTIONAL,     \
      DOCUMENT, NULL, "", volume)                                                                  \
    X(VOLUME_GET, GET, "/v1/workspaces/{w}/volumes/{n}", READ, NONE, 0, NONE, DOCUMENT, NULL, "",  \
      none)                                                                                        \
    X(VOLUME_REMOVE, DELETE, "/v1/workspaces/{w}/volumes/{n}", LIFECYCLE, NONE, 0, NONE, DOCUMENT, \
      NULL, "", none)                                                                              \
    X(LEDGER_BACKUP, GET, "/v1/ledger", OWNER, NONE, 0, NONE, BYTES, NULL, "", none)               \
    X(TOKEN_CREATE, POST, "/v1/tokens", OWNER, OBJECT, 16 * KIB, NONE, DOCUMENT, NULL, "", token)  \
    X(TOKEN_LIST, GET, "/v1/tokens", OWNER, NONE, 0, NONE, DOCUMENT, NULL, "after limit", none)    \
    X(TOKEN_REVOKE, DELETE, "/v1/tokens/{t}", OWNER, NONE, 0, NONE, DOCUMENT, NULL, "", none)      \
    X(RESOURCES, GET, "/v1/resources", OPERATOR, NONE, 0, NONE, DOCUMENT, NULL, "owner", none)     \
    X(REAP, POST, "/v1/reap", OPERATOR, OBJECT, 4 * KIB, OPTIONAL, DOCUMENT, NULL, "", reap)

enum route_id {
#define X(id, ...) ROUTE_##id,
    HTTP_ROUTES(X)
#undef X
        ROUTE_COUNT
};

struct body_field;

struct route {
    enum route_id id;
    enum http_method method;
    const char *name; /* "SESSION_CREATE": for logs and metrics, a closed set */
    const char *path;
    enum http_scope scope;
    enum http_body body;
    uint64_t body_bytes_max;
    enum http_key key;
    enum http_answer answer;
    const char *later;               /* NULL: built */
    const char *query;               /* names, separated by one space */
    const struct body_field *fields; /* of its JSON body; ends with a row without name */
};

enum { ROUTE_ID_SIZE = 64 + 1 };

/* The named parts of a path: checked by ID-2, never "". NULL where the template has none. */
struct route_names {
    const char *workspace_id, *session_id, *exec_id, *volume_name, *token_id;
};

const struct route *route_at(enum route_id id);
const char *http_scope_name(enum http_scope scope);
enum http_scope_rule http_scope_rule(enum http_scope scope);

/* Fields by which a request depends on what is there; which a route takes, a bit each. */
enum {
    CONDITION_MATCH = 1 << 0,      /* If-Match */
    CONDITION_NONE_MATCH = 1 << 1, /* If-None-Match */
    CONDITION_RANGE = 1 << 2,      /* Range, If-Range */
    CONDITION_HASH = 1 << 3,       /* Content-Digest, Repr-Digest */
};
unsigned conditions_of(const struct route *route);

/* The row for a method and path. 0; ROUTE_UNKNOWN: no such path; ROUTE_METHOD: the path is there
 * with other methods, *ret_allow gets "GET, POST"; -EINVAL: an id that is none, or a query
 * parameter that the route does not have. */
enum route_outcome { ROUTE_UNKNOWN = 1, ROUTE_METHOD = 2 };
enum { ROUTE_ALLOW_MAX = 64 };
int route_find(enum http_method method, const struct target *target, const struct route **ret_route,
               struct route_names *ret_names, char ret_allow[ROUTE_ALLOW_MAX], struct err *err);
