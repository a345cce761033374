/* This file is the document that describes the HTTP interface to programs (OpenAPI 3.1), made from
 * the tables that the interface is served by: routes (api/http/route.h), bodies (api/http/fields.h,
 * the policy's schema), documents (provider/document_shape.h) and error codes. It never serves
 * a request; it adds what none of these tables has: sentences, and which codes a route answers
 * with.
 *
 * Pure. Unprivileged. `berth openapi` and GET /v1/openapi.json print the same bytes.
 */
#pragma once

#include "api/http/route.h"
#include "provider/document_shape.h"
#include "runtime/base/buf.h"

/* 0; -ENOMEM: the buffer failed. */
int openapi_document(struct buf *out);

/* ---- between the files of this folder -------------------------------------------------------- */

/* An event of a stream: its name and what its data is. The name "*" stands for any. */
struct openapi_event {
    const char *name;
    const struct document_shape *data;
};

struct openapi_operation {
    const char *tag, *summary;
    unsigned status, other_status; /* of success; 0: none */
    const struct document_shape *answer;
    const struct openapi_event *events; /* ends with a row without name */
    uint32_t problems; /* bits of enum err_code, besides those that follow from the route */
    bool refuses_key;  /* a route that reads Idempotency-Key only to refuse it */
};

const struct openapi_operation *openapi_operation_at(enum route_id id);

/* Every code that the route may answer with. */
uint32_t openapi_problems(const struct route *route);

struct openapi_parameter {
    const char *name;
    long route; /* enum route_id, or OPENAPI_ANY */
    const char *schema, *help;
    bool required;
};
enum { OPENAPI_ANY = -1 };

/* The row of a query parameter of the route; NULL when there is none. */
const struct openapi_parameter *openapi_parameter(const struct route *route, const char *name,
                                                  size_t length);
extern const struct openapi_parameter openapi_parameters[]; /* ends with a row without name */

/* A route's name as others write it: "SESSION_CREATE" becomes "sessionCreate", with `upper`
 * "SessionCreate", which is what the schema of its body begins with. */
void openapi_name(const char *name, bool upper, struct buf *out);

/* `"Session":{…},…` for each schema of the document. */
void openapi_schemas(struct buf *out);

/* What front makes by itself; NULL ends it. */
extern const struct document_shape openapi_shape_stdin, openapi_shape_file, openapi_shape_removed,
    openapi_shape_file_list, openapi_shape_output, openapi_shape_gap, openapi_shape_network,
    openapi_shape_port_list, openapi_shape_unpacked, openapi_shape_uploaded,
    openapi_shape_collection, openapi_shape_change, openapi_shape_watch_end;
extern const struct document_shape *const openapi_shapes[];
