/* This file reads the body of a create into what the provider builds; it never looks at the host.
 * Nothing that a body asks for is left out: each of its members is in `spec` or in another member
 * of struct create, or the body is refused (CAP-3). Unprivileged.
 */
#pragma once

#include "api/front/front.h"

struct create {
    struct spec *spec;     /* owned */
    struct policy *policy; /* owned; what `spec` was compiled from, for who has authority */
    const char *owner;
    struct buf labels; /* a JSON object */
    uint64_t ttl_ms, idle_after_ms;
    bool idle_destroys, accept_loss;
    char own_id[SPEC_ID_MAX + 8];
};

enum { CREATE_POINTER_MAX = POLICY_POINTER_MAX };

/* 0; negative with `err`, and in ret_pointer the place in the body ("" when it has none). Fill of
 * what the body does not say: an id is made, the workspace is a volume of that name at /workspace,
 * the owner is "uid-N", the policy is `standard` (a policy's text; NULL: balanced). */
int front_create_read(struct create *ret, const struct serve_config *config, const char *standard,
                      const struct exchange_request *request, char ret_pointer[CREATE_POINTER_MAX],
                      struct err *err);
void front_create_fini(struct create *create);

/* Refused with all that is missing, as long as no kind of secret is built (SEC-1). */
int front_create_read_secrets(const struct json_node *list, struct spec *spec,
                              char ret_pointer[CREATE_POINTER_MAX], struct err *err);
