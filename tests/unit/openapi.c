/* This file tests the document of the HTTP interface: that it is JSON, that every route and every
 * problem is in it, that its references lead somewhere, and that the tables of documents say what
 * their writers write.
 */
#include "api/openapi/openapi.h"

#include "api/http/fields.h"
#include "policy/json.h"
#include "provider/document.h"
#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(openapi, .timeout = 60);

static struct arena arena;
static struct buf text;

static const struct json_node *parse(struct buf *of)
{
    const struct json_node *root = NULL;
    struct json_error error;
    cr_assert_not(buf_failed(of));
    cr_assert_eq(json_parse(&arena, buf_text(of), of->length, 8 << 20, false, &root, &error), 0,
                 "line %u, column %u: %s", error.at.line, error.at.column, error.message);
    return root;
}

static const struct json_node *document(void)
{
    cr_assert_eq(openapi_document(&text), 0);
    return parse(&text);
}

/* "paths", "/v1/health", "get": one level each. */
static const struct json_node *at(const struct json_node *node, const char *key)
{
    const struct json_node *member = node ? json_member(node, key) : NULL;
    cr_assert(member, "there is no \"%s\"", key);
    return member;
}

static const struct json_node *operation_of(const struct json_node *root, const char *id)
{
    for (const struct json_node *path = at(root, "paths")->first; path; path = path->next)
        for (const struct json_node *o = path->first; o; o = o->next)
            if (strcmp(at(o, "operationId")->text, id) == 0)
                return o;
    return NULL;
}

Test(openapi, every_route_is_in_it_once_with_its_method_and_its_query)
{
    const struct json_node *root = document();
    unsigned count = 0;
    for (const struct json_node *path = at(root, "paths")->first; path; path = path->next) {
        cr_expect_null(strstr(path->key, "{w}"), "%s", path->key);
        count += path->count;
    }
    cr_assert_eq(count, (unsigned)ROUTE_COUNT);
    for (unsigned i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at((enum route_id)i);
        _cleanup_buf_ struct buf id = {0};
        openapi_name(route->name, false, &id);
        const struct json_node *o = operation_of(root, buf_text(&id));
        cr_assert(o, "%s", route->name);
        cr_expect_str_neq(at(o, "summary")->text, "", "%s", route->name);
        unsigned queries = route->query[0] != 0, got = 0;
        for (const char *p = route->query; *p; p++)
            queries += *p == ' ';
        for (const struct json_node *p = at(o, "parameters")->first; p; p = p->next) {
            const struct json_node *in = json_member(p, "in");
            got += in && strcmp(in->text, "query") == 0;
        }
        cr_expect_eq(got, queries, "%s has %u of %u query parameters", route->name, got, queries);
        cr_expect_eq(json_member(o, "requestBody") != NULL, route->body != BODY_NONE, "%s",
                     route->name);
        bool success = false;
        for (const struct json_node *r = at(o, "responses")->first; r; r = r->next)
            success |= r->key[0] == '2';
        cr_expect_eq(success, !route->later, "%s: built, and how it answers", route->name);
    }
}

Test(openapi, every_problem_is_in_it_and_some_route_answers_with_it)
{
    const struct json_node *root = document();
    const struct json_node *codes = at(
        at(at(at(at(at(root, "components"), "schemas"), "Problem"), "properties"), "code"), "enum");
    uint32_t all = UINT32_C(1) << ERR_METHOD_NOT_ALLOWED; /* of no operation, by its nature */
    for (unsigned i = 0; i < ROUTE_COUNT; i++)
        all |= openapi_problems(route_at((enum route_id)i));
    for (unsigned code = 1; code < ERR_CODE_COUNT; code++) {
        bool listed = false;
        for (const struct json_node *c = codes->first; c; c = c->next)
            listed |= strcmp(c->text, err_code_name((enum err_code)code)) == 0;
        cr_expect_eq(listed, code != ERR_USAGE, "%s", err_code_name((enum err_code)code));
        cr_expect_eq(all >> code & 1, code != ERR_USAGE, "%s", err_code_name((enum err_code)code));
    }
}

/* RFC 6901 without escapes but "~1": none of our names has others. */
static bool leads_somewhere(const struct json_node *root, const char *reference)
{
    const struct json_node *node = root;
    cr_assert_eq(strncmp(reference, "#/", 2), 0, "%s", reference);
    for (const char *p = reference + 1; node && *p == '/';) {
        char name[128];
        size_t n = strcspn(++p, "/");
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        node = json_member(node, name);
        p += n;
    }
    return node != NULL;
}

static unsigned follow(const struct json_node *root, const struct json_node *node)
{
    unsigned count = 0;
    for (const struct json_node *m = node->first; m; m = m->next) {
        if (m->key && strcmp(m->key, "$ref") == 0 && m->kind == JSON_STRING) {
            cr_expect(leads_somewhere(root, m->text), "%s", m->text);
            count++;
        }
        if (m->kind == JSON_OBJECT || m->kind == JSON_ARRAY)
            count += follow(root, m);
    }
    return count;
}

Test(openapi, every_reference_leads_somewhere)
{
    const struct json_node *root = document();
    cr_assert_gt(follow(root, root), 200u);
}

Test(openapi, a_body_has_the_fields_that_the_reader_knows)
{
    const struct json_node *schemas = at(at(document(), "components"), "schemas");
    for (unsigned i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at((enum route_id)i);
        _cleanup_buf_ struct buf name = {0};
        unsigned count = 0;
        if (route->body != BODY_OBJECT)
            continue;
        openapi_name(route->name, true, &name);
        buf_puts(&name, "Body");
        const struct json_node *body = at(schemas, buf_text(&name));
        cr_expect(!at(body, "additionalProperties")->boolean);
        for (const struct body_field *f = route->fields; f->name; f++, count++)
            at(at(body, "properties"), f->name);
        cr_expect_eq(at(body, "properties")->count, count, "%s", route->name);
    }
}

Test(openapi, each_row_of_parameters_is_of_some_route)
{
    for (const struct openapi_parameter *p = openapi_parameters; p->name; p++) {
        bool used = false;
        for (unsigned i = 0; i < ROUTE_COUNT; i++) {
            const struct route *route = route_at((enum route_id)i);
            const char *found = strstr(route->query, p->name);
            used |= found && openapi_parameter(route, p->name, strlen(p->name)) == p;
        }
        cr_expect(used, "%s", p->name);
    }
}

/* ---- the tables are what the writers write --------------------------------------------------- */

static void compare(const struct document_shape *shape, struct buf *made)
{
    const struct json_node *root = parse(made);
    for (const struct json_node *m = root->first; m; m = m->next) {
        const struct document_member *row = shape->members;
        while (row->name && strcmp(row->name, m->key) != 0)
            row++;
        cr_expect(row->name, "%s has no \"%s\"", shape->name, m->key);
        if (!row->name)
            continue;
        cr_expect(m->kind != JSON_NULL || row->may & DOCUMENT_NULL, "%s.%s is null", shape->name,
                  m->key);
        cr_expect(m->kind == JSON_NULL || (row->kind >= DOCUMENT_OBJECT) ==
                                              (m->kind == JSON_OBJECT || m->kind == JSON_ARRAY),
                  "%s.%s is %s", shape->name, m->key, json_kind_name(m->kind));
    }
    for (const struct document_member *row = shape->members; row->name; row++)
        cr_expect(row->may & DOCUMENT_ABSENT || json_member(root, row->name), "%s.%s is missing",
                  shape->name, row->name);
    buf_fini(made);
}

Test(openapi, documents_have_the_members_that_their_tables_say)
{
    struct buf out = {0};
    struct spec spec = {0};
    struct session_row session = {.state = SESSION_RUNNING, .created_ms = 1, .changed_ms = 1};
    struct launcher_effective effective = {0};
    struct session_identity identity = {0};
    _cleanup_buf_ struct buf lived = {0};
    spec.workspace.kind = SPEC_WORKSPACE_VOLUME;
    document_effective(&lived, &effective, &identity, NULL, 0, "");
    struct document_session whole = {
        .row = &session, .labels_json = "{}", .spec = &spec, .effective = buf_text(&lived)};
    document_session(&out, &whole);
    compare(&document_shape_session, &out);
    buf_printf(&out, "{%s}", buf_text(&lived));
    const struct json_node *root = parse(&out);
    for (const struct json_node *m = at(root, "effective")->first; m; m = m->next) {
        bool known = false;
        const struct document_shape *shape = NULL;
        for (const struct document_member *s = document_shape_session.members; s->name; s++)
            if (strcmp(s->name, "effective") == 0)
                shape = s->of;
        for (const struct document_member *e = shape->members; e->name; e++)
            known |= strcmp(e->name, m->key) == 0;
        cr_expect(known, "effective.%s", m->key);
    }
    buf_fini(&out);

    struct exec_row exec = {.state = EXEC_ENDED, .accepted_ms = 1, .failed_step = "execute"};
    document_exec(&out, &(struct document_exec){
                            .row = &exec, .workspace_id = "w", .session_id = "s", .command = "c"});
    compare(&document_shape_exec, &out);
    document_volume(&out, &(struct volume_row){.created_ms = 1}, 1, NULL);
    compare(&document_shape_volume, &out);
    document_usage(&out, &(struct usage_row){0});
    compare(&document_shape_usage, &out);
    document_event(&out, &(struct event_row){.type = "t", .data = "", .time_ms = 1});
    compare(&document_shape_event, &out);

    struct err err;
    struct capability_mask missing = {{~UINT64_C(0), ~UINT64_C(0)}};
    err_set(&err, ERR_INVALID_STATE, 0, "step", "subject", "Detail.");
    document_problem(
        &out, &err,
        &(struct document_problem){
            .pointer = "/x", .allowed = ~UINT32_C(0), .missing = &missing, .retry_after_s = 1});
    compare(&document_shape_problem, &out);
    static struct capability_set set;
    cr_assert_eq(capability_document(&set, &out), 0);
    compare(&document_shape_capabilities, &out);
}

Test(openapi, names_that_ledger_and_kernel_know_are_those_of_the_tables)
{
    const struct document_member *state = document_shape_session.members;
    while (strcmp(state->name, "state") != 0)
        state++;
    unsigned count = 0;
    for (unsigned s = SESSION_NONE + 1; s < SESSION_STATE_COUNT; s++) {
        bool found = false;
        for (unsigned i = 0; state->choice(i); i++)
            found |= strcmp(state->choice(i), session_state_wire((enum session_state)s)) == 0;
        cr_expect(found, "%s", session_state_wire((enum session_state)s));
    }
    while (state->choice(count))
        count++;
    cr_expect_eq(count, SESSION_STATE_COUNT - 2u, "%u", count);
}
