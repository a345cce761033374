/* This file feeds arbitrary bodies to what front makes of a create (libFuzzer): the strict reader,
 * the table of fields, the policy layer and the members that front reads itself. It stops the
 * process when a body is accepted whose spec the runtime would refuse, when an error has no words,
 * or when its pointer leads to nothing.
 */
#include "api/front/create.h"

#include "api/http/fields.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
    if (!holds)
        abort();
}

/* The node that a pointer names. Names are escaped; arrays have numbers. */
static const struct json_node *follow(const struct json_node *node, const char *pointer)
{
    while (node && *pointer == '/') {
        char name[512];
        size_t n = 0;
        for (pointer++; *pointer && *pointer != '/' && n + 1 < sizeof name; pointer++) {
            char c = *pointer;
            if (c == '~') {
                c = pointer[1] == '0' ? '~' : '/';
                pointer++;
            }
            name[n++] = c;
        }
        name[n] = 0;
        if (node->kind == JSON_OBJECT) {
            const struct json_node *member = json_member(node, name);
            /* A member that is missing is named where it should be. */
            if (!member && !*pointer)
                return node;
            node = member;
            continue;
        }
        if (node->kind != JSON_ARRAY)
            return NULL;
        unsigned long index = strtoul(name, NULL, 10);
        node = node->first;
        while (node && index-- > 0)
            node = node->next;
    }
    return node;
}

static void check_error(const struct json_node *body, const struct err *err, const char *pointer)
{
    demand(err->code > ERR_NONE && err->code < ERR_CODE_COUNT);
    demand(err->detail[0] || err->code == ERR_INTERNAL);
    demand(pointer[0] == 0 || follow(body, pointer));
}

static void check_create(const struct json_node *body)
{
    static const struct serve_config config = {.root_count = 1, .roots = {"/srv"}};
    static const struct peer peer = {.local = true, .uid = 1000};
    const struct exchange_request request = {
        .names = {.workspace_id = "w"}, .peer = &peer, .body = body};
    __attribute__((cleanup(front_create_fini))) struct create create = {0};
    char pointer[CREATE_POINTER_MAX];
    struct err err = {0};
    int r = front_create_read(&create, &config, NULL, &request, pointer, &err);
    if (r < 0) {
        check_error(body, &err, pointer);
        return;
    }
    uint32_t kind = create.spec->workspace.kind;
    if (kind != SPEC_WORKSPACE_DISK && kind != SPEC_WORKSPACE_SNAPSHOT)
        demand(spec_check(create.spec, &err) == 0);
    demand(!buf_failed(&create.labels) && create.labels.length >= 2);
    demand(policy_within(create.policy, create.policy, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena arena = {0};
    const struct json_node *body = NULL;
    struct json_error error;
    char pointer[FIELD_POINTER_MAX];
    struct err err = {0};
    if (json_parse(&arena, (const char *)data, size, MIB, false, &body, &error) < 0)
        return 0;
    if (fields_check(fields_of_session, body, pointer, &err) < 0) {
        demand(err.code == ERR_INVALID_REQUEST && err.detail[0]);
        return 0;
    }
    check_create(body);
    return 0;
}
