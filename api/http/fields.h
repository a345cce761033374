/* This file says which fields the JSON body of each route has, and checks a body against that
 * (CAP-3); it never looks inside what has a schema of its own (the policy's parts of a session,
 * which the policy layer reads).
 *
 * Pure. Unprivileged.
 */
#pragma once

#include "policy/json.h"
#include "runtime/base/err.h"

#include <stdint.h>

/* BODY_SESSION_PATH_MAX: bytes of a path that a session is made with. */
enum { FIELD_POINTER_MAX = 128, BODY_SESSION_PATH_MAX = 1023 };

struct body_field {
    const char *name;
    unsigned kinds; /* 1u << enum json_kind, or-ed */
    bool required;
    bool id;           /* STRING: follows ID-2 */
    uint64_t min, max; /* NUMBER: whole and within; STRING: bytes; ARRAY, OBJECT: members */
    const char *const *choices;      /* STRING: one of these; NULL */
    const struct body_field *fields; /* of an OBJECT, or of each member of an ARRAY; NULL. Whoever
                                        reads the field checks them. */
    const char *schema; /* JSON Schema of what this table cannot say of it, for api/openapi; NULL */
};

extern const struct body_field fields_of_none[];
extern const struct body_field fields_of_session[];
extern const struct body_field fields_of_park[];
extern const struct body_field fields_of_resume[];
extern const struct body_field fields_of_interrupt[];
extern const struct body_field fields_of_archive[];
extern const struct body_field fields_of_exec[];
extern const struct body_field fields_of_signal[];
extern const struct body_field fields_of_resize[];
extern const struct body_field fields_of_mkdir[];
extern const struct body_field fields_of_collect[];
extern const struct body_field fields_of_move[];
extern const struct body_field fields_of_chmod[];
extern const struct body_field fields_of_network[];
extern const struct body_field fields_of_ports[];
extern const struct body_field fields_of_volume[];
extern const struct body_field fields_of_reap[];
extern const struct body_field fields_of_token[];
extern const struct body_field fields_of_workspace[];
extern const struct body_field fields_of_persistence[]; /* of every kind; then those of the kind */
extern const struct body_field fields_of_idle[];
extern const struct body_field fields_of_grant[];

/* In the order of enum spec_workspace_kind, from its first real one on. */
struct body_kind {
    const char *name;
    const struct body_field *fields;
};
enum { BODY_PERSISTENCE_KINDS = 5, BODY_DELIVERIES = 4 };
extern const struct body_kind body_persistence[BODY_PERSISTENCE_KINDS];
extern const char *const body_deliveries[BODY_DELIVERIES + 1];

/* Is `root` an object with these fields, each of them right? 0; -EINVAL: `err` says which is not
 * and what is allowed, *ret_pointer (RFC 6901) where. */
int fields_check(const struct body_field *fields, const struct json_node *root,
                 char ret_pointer[FIELD_POINTER_MAX], struct err *err);
