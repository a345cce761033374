/* This file writes the schemas of the document: of bodies from the table that reads them, of
 * answers from the tables beside their writers, of policies from the policy's own; it knows no
 * member by itself.
 */
#include "api/openapi/openapi.h"

#include "api/http/fields.h"
#include "policy/policy.h"
#include "runtime/base/fd.h"

#include <inttypes.h>
#include <string.h>

/* A number of JSON that every reader has whole. */
#define SAFE_MAX (UINT64_C(1) << 53)

/* ---- bodies ---------------------------------------------------------------------------------- */

/* One level of objects within objects: a body has no more, tests/unit/openapi.c counts. */
static void write_object(const struct body_field *fields, const char *kind, bool nested,
                         struct buf *out);

static void write_bounds(const struct body_field *field, struct buf *out)
{
    if (field->kinds & 1u << JSON_STRING && !field->choices && !field->id) {
        if (field->min && !(field->kinds & 1u << JSON_NUMBER))
            buf_printf(out, ",\"minLength\":%" PRIu64, field->min);
        if (field->max < UINT32_MAX && !(field->kinds & 1u << JSON_NUMBER))
            buf_printf(out, ",\"maxLength\":%" PRIu64, field->max);
    }
    if (field->kinds & 1u << JSON_NUMBER) {
        buf_printf(out, ",\"minimum\":%" PRIu64, field->min);
        if (field->max < SAFE_MAX)
            buf_printf(out, ",\"maximum\":%" PRIu64, field->max);
    }
    if (field->kinds & 1u << JSON_ARRAY && field->min)
        buf_printf(out, ",\"minItems\":%" PRIu64, field->min);
    for (const char *const *c = field->choices; c && *c; c++)
        buf_printf(out, "%s\"%s\"%s", c == field->choices ? ",\"enum\":[" : ",", *c,
                   c[1] ? "" : "]");
}

static void write_kinds(unsigned kinds, struct buf *out)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",     [JSON_BOOLEAN] = "boolean", [JSON_NUMBER] = "integer",
        [JSON_STRING] = "string", [JSON_ARRAY] = "array",     [JSON_OBJECT] = "object"};
    bool several = (kinds & (kinds - 1)) != 0;
    const char *comma = several ? "[" : "";
    buf_puts(out, "\"type\":");
    for (int kind = JSON_NULL; kind <= JSON_OBJECT; kind++)
        if (kinds & 1u << kind) {
            buf_printf(out, "%s\"%s\"", comma, names[kind]);
            comma = ",";
        }
    buf_puts(out, several ? "]" : "");
}

static void write_field(const struct body_field *field, const char *kind, struct buf *out)
{
    if (kind && strcmp(field->name, "kind") == 0)
        buf_printf(out, "{\"const\":\"%s\"}", kind);
    else if (field->schema)
        buf_puts(out, field->schema);
    else if (field->id)
        buf_puts(out, "{\"$ref\":\"#/components/schemas/Id\"}");
    else if (field->fields && field->kinds & 1u << JSON_ARRAY) {
        buf_puts(out, "{\"type\":\"array\",\"items\":");
        write_object(field->fields, NULL, true, out);
        buf_putc(out, '}');
    } else if (field->fields && field->kinds & 1u << JSON_NULL) {
        buf_puts(out, "{\"anyOf\":[{\"type\":\"null\"},");
        write_object(field->fields, NULL, true, out);
        buf_puts(out, "]}");
    } else if (field->fields)
        write_object(field->fields, NULL, true, out);
    else {
        buf_putc(out, '{');
        write_kinds(field->kinds, out);
        write_bounds(field, out);
        buf_putc(out, '}');
    }
}

static void write_required(const struct body_field *fields, struct buf *out)
{
    const char *comma = ",\"required\":[";
    for (; fields->name; fields++)
        if (fields->required) {
            buf_printf(out, "%s\"%s\"", comma, fields->name);
            comma = ",";
        }
    if (comma[1] == 0)
        buf_putc(out, ']');
}

/* NOLINTNEXTLINE(misc-no-recursion): one level, see above. */
static void write_object(const struct body_field *fields, const char *kind, bool nested,
                         struct buf *out)
{
    buf_puts(out, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    for (const struct body_field *f = fields; f->name; f++) {
        buf_printf(out, "%s\"%s\":", f == fields ? "" : ",", f->name);
        if (nested && f->fields)
            out->failed = true; /* the table has grown deeper than this writer */
        else
            write_field(f, kind, out);
    }
    buf_putc(out, '}');
    write_required(fields, out);
    buf_putc(out, '}');
}

static void write_bodies(struct buf *out)
{
    for (unsigned i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at((enum route_id)i);
        if (route->body != BODY_OBJECT)
            continue;
        buf_puts(out, ",\n\"");
        openapi_name(route->name, true, out);
        buf_puts(out, "Body\":");
        write_object(route->fields, NULL, false, out);
    }
    buf_puts(out, ",\n\"Persistence\":{\"oneOf\":[");
    for (unsigned i = 0; i < BODY_PERSISTENCE_KINDS; i++) {
        buf_puts(out, i ? "," : "");
        write_object(body_persistence[i].fields, body_persistence[i].name, true, out);
    }
    buf_puts(out, "]}");
}

/* ---- documents ------------------------------------------------------------------------------- */

static void write_choices(const char *(*choice)(unsigned index), bool null, struct buf *out)
{
    for (unsigned i = 0; choice && choice(i); i++)
        buf_printf(out, "%s\"%s\"", i ? "," : ",\"enum\":[", choice(i));
    if (choice)
        buf_puts(out, null ? ",null]" : "]");
}

static void write_ref(const struct document_shape *shape, struct buf *out)
{
    buf_printf(out, "{\"$ref\":\"#/components/schemas/%s\"}", shape->name);
}

static const struct {
    const char *type, *more;
} kind_schemas[] = {
    [DOCUMENT_TEXT] = {"string", ""},
    [DOCUMENT_ID] = {"string", ",\"pattern\":\"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$\""},
    [DOCUMENT_TIME] = {"string", ",\"format\":\"date-time\""},
    [DOCUMENT_COUNT] = {"integer", ",\"minimum\":0"},
    [DOCUMENT_INTEGER] = {"integer", ""},
    [DOCUMENT_NUMBER] = {"number", ",\"minimum\":0"},
    [DOCUMENT_FLAG] = {"boolean", ""},
    [DOCUMENT_BASE64] = {"string", ",\"contentEncoding\":\"base64\""},
    [DOCUMENT_OBJECT] = {"object", ""},
    [DOCUMENT_LIST] = {"array", ""},
    [DOCUMENT_MAP] = {"object", ""},
    [DOCUMENT_COUNTS] = {"object",
                         ",\"additionalProperties\":{\"type\":\"integer\",\"minimum\":0}"},
};

static void write_member(const struct document_member *m, struct buf *out)
{
    bool null = m->may & DOCUMENT_NULL;
    bool reference = m->kind == DOCUMENT_OBJECT && m->of;
    buf_printf(out, "\"%s\":{", m->name);
    if (reference && null) {
        buf_puts(out, "\"oneOf\":[");
        write_ref(m->of, out);
        buf_puts(out, ",{\"type\":\"null\"}]");
    } else if (reference) {
        buf_printf(out, "\"$ref\":\"#/components/schemas/%s\"", m->of->name);
    } else {
        buf_printf(out, null ? "\"type\":[\"%s\",\"null\"]%s" : "\"type\":\"%s\"%s",
                   kind_schemas[m->kind].type, kind_schemas[m->kind].more);
        if (m->kind == DOCUMENT_LIST || m->kind == DOCUMENT_MAP) {
            buf_puts(out, m->kind == DOCUMENT_LIST ? ",\"items\":" : ",\"additionalProperties\":");
            if (m->of)
                write_ref(m->of, out);
            else {
                buf_puts(out, "{\"type\":\"string\"");
                write_choices(m->choice, false, out);
                buf_putc(out, '}');
            }
        } else
            write_choices(m->choice, null, out);
    }
    if (m->help) {
        buf_puts(out, ",\"description\":");
        buf_json_string(out, m->help);
    }
    buf_putc(out, '}');
}

static void write_shape(const struct document_shape *shape, struct buf *out)
{
    const char *comma = ",\"required\":[";
    buf_printf(out, ",\n\"%s\":{\"type\":\"object\",\"description\":", shape->name);
    buf_json_string(out, shape->help);
    for (const struct document_member *m = shape->members; m->name; m++)
        if (!(m->may & DOCUMENT_ABSENT)) {
            buf_printf(out, "%s\"%s\"", comma, m->name);
            comma = ",";
        }
    buf_puts(out, comma[1] == 0 ? "],\"properties\":{" : ",\"properties\":{");
    for (const struct document_member *m = shape->members; m->name; m++) {
        buf_puts(out, m == shape->members ? "" : ",");
        write_member(m, out);
    }
    buf_puts(out, "}}");
}

void openapi_schemas(struct buf *out)
{
    buf_puts(out,
             "\"Id\":{\"type\":\"string\",\"description\":\"1 to 64 letters, digits, _, . or -, "
             "beginning with a letter or digit, without two dots in a row.\",\"pattern\":"
             "\"^(?!.*\\\\.\\\\.)[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$\"},\n\"Policy\":");
    if (policy_schema_part("#/components/schemas/Policy", out) < 0)
        out->failed = true;
    for (const struct document_shape *const *s = document_shapes; *s; s++)
        write_shape(*s, out);
    for (const struct document_shape *const *s = openapi_shapes; *s; s++)
        write_shape(*s, out);
    write_bodies(out);
}
