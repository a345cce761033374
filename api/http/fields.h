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

enum { FIELD_POINTER_MAX = 128 };

struct body_field {
    const char *name;
    unsigned kinds; /* 1u << enum json_kind, or-ed */
    bool required;
    bool id;           /* STRING: follows ID-2 */
    uint64_t min, max; /* NUMBER: whole and within; STRING: bytes; ARRAY, OBJECT: members */
    const char *const *choices; /* STRING: one of these; NULL */
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
extern const struct body_field fields_of_move[];
extern const struct body_field fields_of_chmod[];
extern const struct body_field fields_of_network[];
extern const struct body_field fields_of_ports[];
extern const struct body_field fields_of_volume[];
extern const struct body_field fields_of_reap[];

/* Is `root` an object with these fields, each of them right? 0; -EINVAL: `err` says which is not
 * and what is allowed, *ret_pointer (RFC 6901) where. */
int fields_check(const struct body_field *fields, const struct json_node *root,
                 char ret_pointer[FIELD_POINTER_MAX], struct err *err);
