/* This file puts the document together: a path for each template of the table of routes, with its
 * parameters, body and answers; it never invents a route.
 */
#include "api/openapi/openapi.h"

#include "api/http/fields.h"
#include "runtime/base/err.h"
#include "runtime/base/err_title.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The names of a path's parts: the letters of the table of routes. */
static const struct {
    char letter;
    const char *name, *help;
} parts[] = {
    {'w', "workspace_id", "Whose sessions and volumes: a name of the caller's choice."},
    {'s', "session_id", "The session."},
    {'e', "exec_id", "The command."},
    {'n', "volume_name", "The volume."},
    {'t', "token_id", "The token: its id, not its text."},
};
enum { PART_COUNT = sizeof parts / sizeof parts[0] };

static const char *part_name(char letter)
{
    for (unsigned i = 0; i < PART_COUNT; i++)
        if (parts[i].letter == letter)
            return parts[i].name;
    return NULL;
}

static void write_path(const char *path, struct buf *out)
{
    for (; *path; path++) {
        buf_putc(out, *path);
        const char *name = *path == '{' ? part_name(path[1]) : NULL;
        if (*path == '{' && !name)
            out->failed = true;
        if (name) {
            buf_puts(out, name);
            path++;
        }
    }
}

/* "SESSION_CREATE" -> "sessionCreate", or "SessionCreate". */
void openapi_name(const char *name, bool upper, struct buf *out)
{
    for (; *name; name++) {
        if (*name != '_')
            buf_putc(out, upper || *name < 'A' || *name > 'Z' ? *name : (char)(*name - 'A' + 'a'));
        upper = *name == '_';
    }
}

/* ---- parameters ------------------------------------------------------------------------------ */

static void write_query(const struct route *route, const char **comma, struct buf *out)
{
    for (const char *name = route->query; *name;) {
        size_t length = strcspn(name, " ");
        const struct openapi_parameter *p = openapi_parameter(route, name, length);
        if (!p) {
            out->failed = true;
            return;
        }
        buf_printf(out,
                   "%s{\"name\":\"%s\",\"in\":\"query\",\"required\":%s,\"description\":", *comma,
                   p->name, p->required ? "true" : "false");
        buf_json_string(out, p->help);
        buf_printf(out, ",\"schema\":%s}", p->schema);
        *comma = ",";
        name += length + (name[length] == ' ');
    }
}

static void write_conditions(const struct route *route, const char *comma, struct buf *out)
{
    static const struct {
        unsigned bit;
        const char *name;
    } rows[] = {{CONDITION_MATCH, "IfMatch"},
                {CONDITION_NONE_MATCH, "IfNoneMatch"},
                {CONDITION_RANGE, "Range"},
                {CONDITION_RANGE, "IfRange"},
                {CONDITION_HASH, "ContentDigest"}};
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++)
        if (conditions_of(route) & rows[i].bit) {
            buf_printf(out, "%s{\"$ref\":\"#/components/parameters/%s\"}", comma, rows[i].name);
            comma = ",";
        }
}

static void write_parameters(const struct route *route, struct buf *out)
{
    const char *comma = "";
    buf_puts(out, ",\"parameters\":[");
    for (unsigned i = 0; i < PART_COUNT; i++) {
        const char mark[] = {'{', parts[i].letter, '}', 0};
        if (!strstr(route->path, mark))
            continue;
        buf_printf(out, "%s{\"$ref\":\"#/components/parameters/%s\"}", comma, parts[i].name);
        comma = ",";
    }
    write_query(route, &comma, out);
    if (route->key == KEY_OPTIONAL && !openapi_operation_at(route->id)->refuses_key) {
        buf_printf(out, "%s{\"$ref\":\"#/components/parameters/IdempotencyKey\"}", comma);
        comma = ",";
    }
    if (route->answer == ANSWER_EVENTS && route->id != ROUTE_FILES_WATCH) {
        buf_printf(out, "%s{\"$ref\":\"#/components/parameters/LastEventId\"}", comma);
        comma = ",";
    }
    write_conditions(route, comma, out);
    buf_putc(out, ']');
}

static void write_body(const struct route *route, struct buf *out)
{
    bool required = false;
    if (route->body == BODY_NONE)
        return;
    if (route->body == BODY_STREAM) {
        buf_puts(out,
                 ",\"requestBody\":{\"required\":false,\"content\":{\"application/octet-stream\":"
                 "{\"schema\":{\"type\":\"string\",\"contentMediaType\":"
                 "\"application/octet-stream\"}}}}");
        return;
    }
    for (const struct body_field *f = route->fields; f->name; f++)
        required |= f->required;
    buf_printf(out,
               ",\"requestBody\":{\"required\":%s,\"content\":{\"application/json\":{\"schema\":",
               required ? "true" : "false");
    buf_puts(out, "{\"$ref\":\"#/components/schemas/");
    openapi_name(route->name, true, out);
    buf_puts(out, "Body\"}}}}");
}

/* ---- answers --------------------------------------------------------------------------------- */

static void write_events(const struct openapi_event *events, struct buf *out)
{
    buf_puts(out, "\"text/event-stream\":{\"schema\":{\"type\":\"string\"},\"x-berth-events\":{");
    for (const struct openapi_event *e = events; e->name; e++)
        buf_printf(out, "%s\"%s\":{\"$ref\":\"#/components/schemas/%s\"}", e == events ? "" : ",",
                   e->name, e->data->name);
    buf_puts(out, "}}");
}

static const char bytes_type[] = "application/octet-stream";

static void write_bytes(const char *comma, const char *type, struct buf *out)
{
    buf_printf(out, "%s\"%s\":{\"schema\":{\"type\":\"string\",\"contentMediaType\":\"%s\"}}",
               comma, type, type);
}

static void write_content(const struct route *route, struct buf *out)
{
    const struct openapi_operation *operation = openapi_operation_at(route->id);
    const char *comma = "";
    if (route->method == METHOD_HEAD)
        return;
    buf_puts(out, ",\"content\":{");
    if (operation->answer) {
        buf_printf(out, "\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/%s\"}}",
                   operation->answer->name);
        comma = ",";
    } else if (route->answer == ANSWER_DOCUMENT)
        buf_puts(out, "\"application/json\":{\"schema\":{\"type\":\"object\"}}");
    if (route->answer == ANSWER_TEXT)
        buf_puts(out, "\"text/plain\":{\"schema\":{\"type\":\"string\"}}");
    if (operation->events) {
        buf_puts(out, comma);
        write_events(operation->events, out);
        comma = ",";
    }
    if (route->answer == ANSWER_BYTES || strstr(route->query, "stream"))
        write_bytes(comma, route->id == ROUTE_TAR_READ ? "application/x-tar" : bytes_type, out);
    buf_putc(out, '}');
}

static void write_success(const struct route *route, unsigned status, struct buf *out)
{
    if (status == 0 || status >= 400)
        return;
    buf_printf(out,
               "\"%u\":{\"description\":\"%s\",\"headers\":{\"X-Request-Id\":{\"$ref\":"
               "\"#/components/headers/RequestId\"}",
               status,
               status == 201   ? "It is made."
               : status == 206 ? "The range that was asked for."
                               : "It is done.");
    if (route->key == KEY_OPTIONAL && !openapi_operation_at(route->id)->refuses_key)
        buf_puts(out, ",\"Idempotent-Replayed\":{\"$ref\":\"#/components/headers/Replayed\"}");
    if (conditions_of(route) & CONDITION_HASH)
        buf_puts(out, ",\"ETag\":{\"$ref\":\"#/components/headers/ETag\"}");
    if (conditions_of(route) & CONDITION_RANGE)
        buf_puts(out,
                 ",\"ETag\":{\"$ref\":\"#/components/headers/ETag\"},\"X-Berth-Type\":{\"$ref\":"
                 "\"#/components/headers/FileType\"},\"X-Berth-Mode\":{\"$ref\":"
                 "\"#/components/headers/FileMode\"},\"X-Berth-Owner\":{\"$ref\":"
                 "\"#/components/headers/FileOwner\"}");
    buf_putc(out, '}');
    write_content(route, out);
    buf_puts(out, "},");
}

/* All codes of one status are one answer. */
static void write_problems(const struct route *route, struct buf *out)
{
    const struct openapi_operation *operation = openapi_operation_at(route->id);
    uint32_t bits = openapi_problems(route);
    for (unsigned first = 1; first < ERR_CODE_COUNT; first++) {
        int status = err_code_status((enum err_code)first);
        const char *comma = "";
        if (!(bits >> first & 1))
            continue;
        buf_printf(out, "\"%d\":{\"description\":", status);
        buf_json_string(out, err_code_title((enum err_code)first));
        if (status == 429 || status == 503 || status == 409)
            buf_puts(
                out,
                ",\"headers\":{\"Retry-After\":{\"$ref\":\"#/components/headers/RetryAfter\"}}");
        buf_puts(out, ",\"content\":{");
        if ((int)operation->other_status == status)
            buf_printf(out,
                       "\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/%s\"}},",
                       operation->answer->name);
        buf_puts(out, "\"application/problem+json\":{\"schema\":{\"allOf\":[{\"$ref\":"
                      "\"#/components/schemas/Problem\"},{\"properties\":{\"code\":{\"enum\":[");
        for (unsigned code = first; code < ERR_CODE_COUNT; code++)
            if (bits >> code & 1 && err_code_status((enum err_code)code) == status) {
                buf_printf(out, "%s\"%s\"", comma, err_code_name((enum err_code)code));
                comma = ",";
                bits &= ~(UINT32_C(1) << code);
            }
        buf_puts(out, "]}}}]}}}},");
    }
    buf_puts(out, "\"default\":{\"$ref\":\"#/components/responses/Problem\"}");
}

static void write_operation(const struct route *route, struct buf *out)
{
    static const char *const methods[] = {[METHOD_GET] = "get",
                                          [METHOD_HEAD] = "head",
                                          [METHOD_POST] = "post",
                                          [METHOD_PUT] = "put",
                                          [METHOD_DELETE] = "delete"};
    const struct openapi_operation *operation = openapi_operation_at(route->id);
    buf_printf(out, "\"%s\":{\"operationId\":\"", methods[route->method]);
    openapi_name(route->name, false, out);
    buf_puts(out, "\",\"summary\":");
    buf_json_string(out, operation->summary);
    buf_printf(out, ",\"tags\":[\"%s\"],\"x-berth-scope\":\"%s\"", operation->tag,
               http_scope_name(route->scope));
    if (route->later && route->later[0])
        buf_printf(out,
                   ",\"description\":\"Not built in this release: answered with "
                   "`capability_unavailable`.\",\"x-berth-needs\":\"%s\"",
                   route->later);
    else if (route->later)
        buf_puts(out, ",\"description\":\"Not built in this release: answered with `not_found`.\"");
    write_parameters(route, out);
    write_body(route, out);
    buf_puts(out, ",\"responses\":{");
    write_success(route, operation->status, out);
    write_success(route, operation->other_status, out);
    if ((conditions_of(route) & CONDITION_NONE_MATCH) && route->body == BODY_NONE)
        buf_puts(out, "\"304\":{\"description\":\"The client has it.\",\"headers\":{\"ETag\":"
                      "{\"$ref\":\"#/components/headers/ETag\"}}},");
    write_problems(route, out);
    buf_puts(out, "}}");
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* JSON with ' for each ", so that it can be read here too. */
static void put(const char *text, struct buf *out)
{
    for (; *text; text++)
        buf_putc(out, *text == '\'' ? '"' : *text);
}

static const char head[] =
    "{'openapi':'3.1.0',\n"
    "'info':{'title':'berth','version':'" BERTH_VERSION "',"
    "'summary':'Sessions that last, in sandboxes of Linux namespaces.',"
    "'license':{'name':'Apache-2.0','identifier':'Apache-2.0'}},\n"
    "'servers':[{'url':'http://berth',"
    "'description':'The unix socket of `berth serve`; the name is not looked up.'}],\n"
    "'security':[{},{'token':[]}],\n"
    "'tags':["
    "{'name':'Host','description':'The service and what it can give.'},"
    "{'name':'Sessions','description':'From their making to their end.'},"
    "{'name':'Commands','description':'What runs in a session, and what it prints.'},"
    "{'name':'Files','description':'What a session sees as its own.'},"
    "{'name':'Volumes','description':'Workspaces that berth keeps by name.'},"
    "{'name':'Operator','description':'Across workspaces.'}],\n"
    "'paths':{";

static const char security[] =
    "'components':{\n"
    "'securitySchemes':{'token':{'type':'http','scheme':'bearer','description':"
    "'Over TCP. On the unix socket the kernel says who the caller is.'}},\n"
    "'parameters':{";

static const char parameters[] =
    "'IdempotencyKey':{'name':'Idempotency-Key','in':'header','description':"
    "'The same key with the same body gets the first answer again. Kept 24 hours.',"
    "'schema':{'type':'string','minLength':1,'maxLength':130}},\n"
    "'LastEventId':{'name':'Last-Event-ID','in':'header','description':"
    "'The number of the last event that the client has: the stream goes on behind it.',"
    "'schema':{'type':'integer','minimum':0}},\n"
    "'Range':{'name':'Range','in':'header','description':'One range of bytes.',"
    "'schema':{'type':'string','pattern':'^bytes='}},\n"
    "'IfMatch':{'name':'If-Match','in':'header','description':"
    "'The ETag of what must be there, or *: else 412, and nothing is changed.',"
    "'schema':{'type':'string','maxLength':1024}},\n"
    "'IfNoneMatch':{'name':'If-None-Match','in':'header','description':"
    "'Reading: ETags that the client has, answered with 304. Writing: *, nothing may be there "
    "yet.',"
    "'schema':{'type':'string','maxLength':1024}},\n"
    "'IfRange':{'name':'If-Range','in':'header','description':"
    "'The ETag of what the range is a part of: of another file all is sent.',"
    "'schema':{'type':'string','maxLength':1024}},\n"
    "'ContentDigest':{'name':'Content-Digest','in':'header','description':"
    "'sha-256=:BASE64: of the body. With another one nothing is changed.',"
    "'schema':{'type':'string','pattern':'sha-256=:'}}},\n";

static const char headers[] =
    "'headers':{"
    "'RequestId':{'description':'Under which the log of berth knows the request.',"
    "'schema':{'type':'string'}},\n"
    "'Replayed':{'description':'true: the answer to an earlier request with this key.',"
    "'schema':{'const':'true'}},\n"
    "'RetryAfter':{'description':'Seconds.','schema':{'type':'integer','minimum':0}},\n"
    "'ETag':{'description':'Changes with the file.','schema':{'type':'string'}},\n"
    "'FileType':{'description':'What it is.',"
    "'schema':{'enum':['file','directory','other']}},\n"
    "'FileMode':{'description':'Permission bits, four octal digits.',"
    "'schema':{'type':'string'}},\n"
    "'FileOwner':{'description':'uid:gid, as the session sees them.',"
    "'schema':{'type':'string'}}},\n"
    "'responses':{'Problem':{'description':"
    "'Any other problem: of the head of the request, of the connection.',"
    "'content':{'application/problem+json':"
    "{'schema':{'$ref':'#/components/schemas/Problem'}}}}},\n"
    "'schemas':{";

static void write_components(struct buf *out)
{
    put(security, out);
    for (unsigned i = 0; i < PART_COUNT; i++) {
        buf_printf(out, "\"%s\":{\"name\":\"%s\"", parts[i].name, parts[i].name);
        put(",'in':'path','required':true,'description':", out);
        buf_json_string(out, parts[i].help);
        put(",'schema':{'$ref':'#/components/schemas/Id'}},\n", out);
    }
    put(parameters, out);
    put(headers, out);
    openapi_schemas(out);
    buf_puts(out, "}}");
}

int openapi_document(struct buf *out)
{
    put(head, out);
    for (unsigned i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at((enum route_id)i);
        bool before = false;
        for (unsigned k = 0; k < i; k++)
            before |= strcmp(route_at((enum route_id)k)->path, route->path) == 0;
        if (before)
            continue;
        buf_puts(out, i ? ",\n\"" : "\n\"");
        write_path(route->path, out);
        buf_puts(out, "\":{");
        for (unsigned k = i; k < ROUTE_COUNT; k++)
            if (strcmp(route_at((enum route_id)k)->path, route->path) == 0) {
                buf_puts(out, k == i ? "" : ",\n ");
                write_operation(route_at((enum route_id)k), out);
            }
        buf_putc(out, '}');
    }
    buf_puts(out, "},\n");
    write_components(out);
    buf_puts(out, "}\n");
    return buf_failed(out) ? -ENOMEM : 0;
}
