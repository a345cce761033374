/* This file says which fields the JSON body of each route has, and checks a body against that; it
 * never changes a value.
 */
#include "api/http/fields.h"

#include "runtime/base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define OF(kind)    (1u << JSON_##kind)
#define DECADE_MS   (UINT64_C(3660) * 24 * 3600 * 1000)
#define YEAR_MS     (UINT64_C(366) * 24 * 3600 * 1000) /* the longest that init counts */
#define PATH_BYTES  4096
#define SHELL_BYTES (1024 * 1024)

/* Each of these is the beginning of a row; more may follow, as in ROW(FLAG("x"), .required = 1). */
#define ROW(...)    \
    {               \
        __VA_ARGS__ \
    }
#define TEXT(name_, min_, max_)   .name = name_, .kinds = OF(STRING), .min = min_, .max = max_
#define ID(name_)                 .name = name_, .kinds = OF(STRING), .max = 64, .id = true
#define NUMBER(name_, min_, max_) .name = name_, .kinds = OF(NUMBER), .min = min_, .max = max_
#define FLAG(name_)               .name = name_, .kinds = OF(BOOLEAN)
#define OBJECT(name_)             .name = name_, .kinds = OF(OBJECT), .max = UINT32_MAX
#define ARRAY(name_, min_)        .name = name_, .kinds = OF(ARRAY), .min = min_, .max = UINT32_MAX
#define CHOICE(name_, list_)      .name = name_, .kinds = OF(STRING), .max = 64, .choices = list_
#define SIZE(name_)               .name = name_, .kinds = OF(STRING) | OF(NUMBER), .min = 1, .max = INT64_MAX
/* What the policy layer reads; its own schema says what is in it. */
#define POLICY_PART(name_) "{\"$ref\":\"#/components/schemas/Policy/properties/" name_ "\"}"
#define TEXTS(most_)                                \
    "{\"type\":\"object\",\"maxProperties\":" most_ \
    ",\"additionalProperties\":{\"type\":\"string\"}}"

static const char *const park_modes[] = {"stop", "freeze", NULL};
static const char *const stdin_kinds[] = {"none", "pipe", NULL};
static const char *const limit_actions[] = {"truncate", "kill", NULL};
static const char *const idle_actions[] = {"park", "destroy", NULL};
static const char *const persistence_kinds[] = {"volume", "directory", "tmpfs",
                                                "disk",   "snapshot",  NULL};
const char *const body_deliveries[] = {"env-plaintext", "env-placeholder", "header-proxy",
                                       "query-proxy", NULL};
static const char *const sni_kinds[] = {"match", "off", NULL};
static const char *const egress_kinds[] = {"deny", "public-only", "allow", NULL};

const struct body_field fields_of_none[] = {{.name = NULL}};

/* ---- parts of a session ---------------------------------------------------------------------- */

#define KIND CHOICE("kind", persistence_kinds), .required = true

const struct body_field fields_of_persistence[] = {
    ROW(KIND),
    ROW(ID("name")),
    ROW(TEXT("path", 1, BODY_SESSION_PATH_MAX)),
    ROW(FLAG("exclusive")),
    ROW(FLAG("allow_root_owned")),
    ROW(SIZE("size")),
    ROW(TEXT("base", 1, BODY_SESSION_PATH_MAX)),
    {.name = NULL},
};

static const struct body_field fields_of_volume_kind[] = {
    ROW(KIND),
    ROW(ID("name")),
    {.name = NULL},
};
static const struct body_field fields_of_directory_kind[] = {
    ROW(KIND),
    ROW(TEXT("path", 1, BODY_SESSION_PATH_MAX), .required = true),
    ROW(FLAG("exclusive")),
    ROW(FLAG("allow_root_owned")),
    {.name = NULL},
};
static const struct body_field fields_of_tmpfs_kind[] = {
    ROW(KIND),
    ROW(SIZE("size"), .required = true),
    {.name = NULL},
};
/* Not built: their members are known, so that the refusal is the right one. */
static const struct body_field fields_of_disk_kind[] = {
    ROW(KIND),
    ROW(ID("name")),
    ROW(SIZE("size"), .required = true),
    {.name = NULL},
};
static const struct body_field fields_of_snapshot_kind[] = {
    ROW(KIND),
    ROW(TEXT("base", 1, BODY_SESSION_PATH_MAX), .required = true),
    {.name = NULL},
};

const struct body_kind body_persistence[] = {
    {"volume", fields_of_volume_kind},     {"directory", fields_of_directory_kind},
    {"tmpfs", fields_of_tmpfs_kind},       {"disk", fields_of_disk_kind},
    {"snapshot", fields_of_snapshot_kind},
};

const struct body_field fields_of_workspace[] = {
    ROW(TEXT("mount_path", 1, BODY_SESSION_PATH_MAX)),
    ROW(FLAG("read_only")),
    ROW(OBJECT("persistence"), .schema = "{\"$ref\":\"#/components/schemas/Persistence\"}"),
    {.name = NULL},
};

const struct body_field fields_of_idle[] = {
    ROW(NUMBER("after_ms", 1, DECADE_MS), .required = true),
    ROW(CHOICE("action", idle_actions)),
    ROW(FLAG("accept_loss")),
    {.name = NULL},
};

const struct body_field fields_of_grant[] = {
    ROW(ID("name"), .required = true),
    ROW(CHOICE("delivery", body_deliveries), .required = true),
    ROW(ARRAY("hosts", 0), .schema = "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"),
    ROW(FLAG("enters_guest")),
    ROW(TEXT("value", 0, UINT32_MAX)),
    {.name = NULL},
};

/* ---- bodies ---------------------------------------------------------------------------------- */

const struct body_field fields_of_session[] = {
    ROW(ID("session_id")),
    ROW(OBJECT("workspace"), .fields = fields_of_workspace),
    ROW(TEXT("image", 1, PATH_BYTES)),
    ROW(OBJECT("limits"), .schema = POLICY_PART("limits")),
    ROW(OBJECT("filesystem"), .schema = POLICY_PART("filesystem")),
    ROW(OBJECT("process"), .schema = POLICY_PART("process")),
    ROW(OBJECT("network"), .schema = POLICY_PART("network")),
    ROW(ARRAY("secrets", 0), .fields = fields_of_grant),
    ROW(ARRAY("requires", 0), .schema = POLICY_PART("requires")),
    ROW(.name = "policy", .kinds = OF(STRING) | OF(OBJECT), .max = UINT32_MAX,
        .schema = "{\"anyOf\":[{\"type\":\"string\"},{\"$ref\":\"#/components/schemas/Policy\"}]}"),
    ROW(ID("owner")),
    ROW(OBJECT("labels"), .schema = TEXTS("64")),
    ROW(NUMBER("ttl_ms", 1, DECADE_MS)),
    ROW(OBJECT("idle"), .fields = fields_of_idle),
    {.name = NULL},
};

const struct body_field fields_of_park[] = {
    ROW(CHOICE("mode", park_modes)),
    ROW(FLAG("accept_loss")),
    {.name = NULL},
};

const struct body_field fields_of_resume[] = {
    ROW(ARRAY("secrets", 0), .fields = fields_of_grant),
    {.name = NULL},
};
const struct body_field fields_of_interrupt[] = {ROW(TEXT("reason", 0, 1024)), {.name = NULL}};
const struct body_field fields_of_archive[] = {ROW(FLAG("accept_loss")), {.name = NULL}};

/* Exactly one of argv and shell: said by whoever starts it. */
const struct body_field fields_of_exec[] = {
    ROW(ARRAY("argv", 1),
        .schema = "{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\"}}"),
    ROW(TEXT("shell", 1, SHELL_BYTES)),
    ROW(TEXT("cwd", 1, PATH_BYTES)),
    ROW(OBJECT("env"), .schema = TEXTS("1024")),
    ROW(TEXT("user", 1, 64)),
    ROW(CHOICE("stdin", stdin_kinds)),
    ROW(.name = "tty", .kinds = OF(OBJECT) | OF(NULL), .max = UINT32_MAX,
        .fields = fields_of_resize),
    ROW(NUMBER("timeout_ms", 1, YEAR_MS)),
    ROW(NUMBER("idle_timeout_ms", 1, YEAR_MS)),
    ROW(NUMBER("output_limit_bytes", 1, INT64_MAX)),
    ROW(NUMBER("grace_ms", 0, YEAR_MS)),
    ROW(ID("exec_id")),
    ROW(CHOICE("on_limit", limit_actions)),
    ROW(FLAG("keep_children")),
    {.name = NULL},
};

/* A name or a number of Linux: 1 to 64 is right for both. */
const struct body_field fields_of_signal[] = {
    ROW(.name = "signal", .kinds = OF(STRING) | OF(NUMBER), .min = 1, .max = 64, .required = true),
    ROW(FLAG("tree")),
    {.name = NULL},
};

const struct body_field fields_of_resize[] = {
    ROW(NUMBER("rows", 1, UINT16_MAX), .required = true),
    ROW(NUMBER("cols", 1, UINT16_MAX), .required = true),
    {.name = NULL},
};

const struct body_field fields_of_mkdir[] = {
    ROW(TEXT("path", 1, PATH_BYTES), .required = true),
    ROW(TEXT("mode", 3, 4)),
    {.name = NULL},
};

const struct body_field fields_of_collect[] = {
    ROW(TEXT("path", 1, PATH_BYTES)),
    {.name = NULL},
};

const struct body_field fields_of_move[] = {
    ROW(TEXT("from", 1, PATH_BYTES), .required = true),
    ROW(TEXT("to", 1, PATH_BYTES), .required = true),
    {.name = NULL},
};

const struct body_field fields_of_chmod[] = {
    ROW(TEXT("path", 1, PATH_BYTES), .required = true),
    ROW(TEXT("mode", 3, 4), .required = true),
    {.name = NULL},
};

const struct body_field fields_of_network[] = {
    ROW(CHOICE("egress", egress_kinds)),
    ROW(CHOICE("sni", sni_kinds)),
    ROW(ARRAY("allow", 0), .schema = POLICY_PART("network/properties/allow")),
    ROW(ARRAY("deny", 0), .schema = POLICY_PART("network/properties/deny")),
    ROW(FLAG("allow_private")),
    ROW(ARRAY("publish", 0), .schema = POLICY_PART("network/properties/publish")),
    ROW(NUMBER("revision", 1, INT64_MAX)),
    {.name = NULL},
};

const struct body_field fields_of_ports[] = {
    ROW(NUMBER("port", 1, UINT16_MAX), .required = true),
    ROW(NUMBER("host_port", 0, UINT16_MAX)),
    {.name = NULL},
};

const struct body_field fields_of_volume[] = {
    ROW(ID("name"), .required = true),
    ROW(ID("owner")),
    {.name = NULL},
};

/* Which verbs there are, who serves it says. */
const struct body_field fields_of_token[] = {
    ROW(.name = "workspaces", .kinds = OF(ARRAY), .min = 1, .max = 16,
        .schema = "{\"type\":\"array\",\"minItems\":1,\"maxItems\":16,\"items\":"
                  "{\"$ref\":\"#/components/schemas/Id\"}}"),
    ROW(.name = "verbs", .kinds = OF(ARRAY), .min = 1, .max = 16,
        .schema = "{\"type\":\"array\",\"minItems\":1,\"maxItems\":16,\"items\":{\"enum\":["
                  "\"read\",\"lifecycle\",\"exec\",\"files\",\"files.read\",\"files.write\","
                  "\"metrics\"]}}"),
    ROW(NUMBER("lives_ms", 1000, DECADE_MS)),
    ROW(ID("name")),
    ROW(.name = "policy", .kinds = OF(STRING) | OF(OBJECT), .max = UINT32_MAX,
        .schema = "{\"anyOf\":[{\"type\":\"string\"},{\"$ref\":\"#/components/schemas/Policy\"}]}"),
    {.name = NULL},
};

const struct body_field fields_of_reap[] = {
    ROW(ID("owner"), .required = true),
    ROW(NUMBER("older_than_ms", 0, DECADE_MS)),
    ROW(FLAG("dry_run")),
    {.name = NULL},
};

/* ---- checking -------------------------------------------------------------------------------- */

/* "a string or an object" */
static void name_kinds(unsigned kinds, char *ret_text, size_t size)
{
    size_t n = 0;
    ret_text[0] = 0;
    for (int kind = JSON_NULL; kind <= JSON_OBJECT && n < size; kind++)
        if (kinds & 1u << kind)
            n += (size_t)snprintf(ret_text + n, size - n, "%s%s", n ? " or " : "",
                                  json_kind_name((enum json_kind)kind));
}

static void list_names(const struct body_field *fields, char *ret_text, size_t size)
{
    size_t n = 0;
    snprintf(ret_text, size, "none");
    for (; fields->name && n < size; fields++)
        n += (size_t)snprintf(ret_text + n, size - n, "%s%s", n ? ", " : "", fields->name);
}

static int bad(struct err *err, const char *subject, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int bad(struct err *err, const char *subject, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(err, ERR_INVALID_REQUEST, 0, "read the request's body", subject, "%s", text);
}

static int check_choice(const struct body_field *field, const char *text, struct err *err)
{
    char allowed[128];
    size_t n = 0;
    for (const char *const *choice = field->choices; *choice && n < sizeof allowed; choice++) {
        if (strcmp(*choice, text) == 0)
            return 0;
        n += (size_t)snprintf(allowed + n, sizeof allowed - n, "%s\"%s\"", n ? ", " : "", *choice);
    }
    return bad(err, field->name, "Must be one of %s.", allowed);
}

static int check_text(const struct body_field *field, const struct json_node *node, struct err *err)
{
    if (node->length < field->min || node->length > field->max)
        return bad(err, field->name, "Must have %" PRIu64 " to %" PRIu64 " bytes; it has %zu.",
                   field->min, field->max, node->length);
    if (field->id && !id_valid(node->text))
        return bad(err, field->name,
                   "An id is 1 to 64 letters, digits, \"_\", \".\" or \"-\", begins with a letter "
                   "or digit and has no \"..\".");
    return field->choices ? check_choice(field, node->text, err) : 0;
}

static int check_value(const struct body_field *field, const struct json_node *node,
                       struct err *err)
{
    if (!(field->kinds & 1u << node->kind)) {
        char kinds[96];
        name_kinds(field->kinds, kinds, sizeof kinds);
        return bad(err, field->name, "Must be %s; it is %s.", kinds, json_kind_name(node->kind));
    }
    switch (node->kind) {
    case JSON_STRING:
        return check_text(field, node, err);
    case JSON_NUMBER:
        if (!node->integer || (node->negative && node->magnitude) || node->magnitude < field->min ||
            node->magnitude > field->max)
            return bad(err, field->name, "Must be a whole number from %" PRIu64 " to %" PRIu64 ".",
                       field->min, field->max);
        return 0;
    case JSON_ARRAY:
    case JSON_OBJECT:
        if (node->count < field->min || node->count > field->max)
            return bad(err, field->name, "Must have at least %" PRIu64 " members.", field->min);
        return 0;
    case JSON_NULL:
    case JSON_BOOLEAN:
        return 0;
    }
    return 0;
}

static const struct body_field *field_named(const struct body_field *fields, const char *name)
{
    for (; fields->name; fields++)
        if (strcmp(fields->name, name) == 0)
            return fields;
    return NULL;
}

/* "/name", with RFC 6901's escapes; "" when it would not fit. */
static void point_at(const char *name, char *ret_pointer)
{
    size_t n = 0;
    ret_pointer[n++] = '/';
    for (; *name && n + 3 < FIELD_POINTER_MAX; name++) {
        bool escape = *name == '~' || *name == '/';
        ret_pointer[n++] = escape ? '~' : *name;
        if (escape)
            ret_pointer[n++] = *name == '~' ? '0' : '1';
    }
    ret_pointer[*name ? 0 : n] = 0;
}

int fields_check(const struct body_field *fields, const struct json_node *root,
                 char ret_pointer[FIELD_POINTER_MAX], struct err *err)
{
    char names[384];
    ret_pointer[0] = 0;
    if (root->kind != JSON_OBJECT)
        return bad(err, NULL, "The body must be an object; it is %s.", json_kind_name(root->kind));
    for (const struct json_node *node = root->first; node; node = node->next) {
        const struct body_field *field = field_named(fields, node->key);
        point_at(node->key, ret_pointer);
        if (!field) {
            list_names(fields, names, sizeof names);
            return bad(err, node->key, "There is no such field here. There are: %s.", names);
        }
        int r = check_value(field, node, err);
        if (r < 0)
            return r;
    }
    ret_pointer[0] = 0;
    for (; fields->name; fields++)
        if (fields->required && !json_member(root, fields->name)) {
            point_at(fields->name, ret_pointer);
            return bad(err, fields->name, "This field is required and missing.");
        }
    return 0;
}
