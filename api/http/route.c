/* This file holds the table of routes and finds the row of a request; it never acts. */
#include "api/http/route.h"

#include "api/http/fields.h"
#include "runtime/base/units.h"

#include <stdio.h>
#include <string.h>

static const struct route routes[ROUTE_COUNT] = {
#define X(id_, method_, path_, scope_, body_, limit_, key_, answer_, later_, query_, fields_) \
    [ROUTE_##id_] = {.id = ROUTE_##id_,                                                       \
                     .name = #id_,                                                            \
                     .method = METHOD_##method_,                                              \
                     .path = path_,                                                           \
                     .scope = SCOPE_##scope_,                                                 \
                     .body = BODY_##body_,                                                    \
                     .body_bytes_max = limit_,                                                \
                     .key = KEY_##key_,                                                       \
                     .answer = ANSWER_##answer_,                                              \
                     .later = later_,                                                         \
                     .query = query_,                                                         \
                     .fields = fields_of_##fields_},
    HTTP_ROUTES(X)
#undef X
};

const struct route *route_at(enum route_id id)
{
    return &routes[id];
}

const char *http_scope_name(enum http_scope scope)
{
    static const char *const names[] = {
#define X(id, name, rule) [SCOPE_##id] = name,
        HTTP_SCOPES(X)
#undef X
    };
    return names[scope];
}

enum http_scope_rule http_scope_rule(enum http_scope scope)
{
    static const enum http_scope_rule rules[] = {
#define X(id, name, rule) [SCOPE_##id] = SCOPE_RULE_##rule,
        HTTP_SCOPES(X)
#undef X
    };
    return rules[scope];
}

unsigned conditions_of(const struct route *route)
{
    switch (route->id) {
    case ROUTE_FILE_READ:
    case ROUTE_FILE_STAT:
        return CONDITION_MATCH | CONDITION_NONE_MATCH | CONDITION_RANGE;
    case ROUTE_FILE_WRITE:
        return CONDITION_MATCH | CONDITION_NONE_MATCH | CONDITION_HASH;
    case ROUTE_FILE_REMOVE:
        return CONDITION_MATCH;
    default:
        return 0;
    }
}

/* The part of `names` that "{w}" and its like stand for. */
static const char **name_of(char letter, struct route_names *names)
{
    switch (letter) {
    case 'w':
        return &names->workspace_id;
    case 's':
        return &names->session_id;
    case 'e':
        return &names->exec_id;
    case 't':
        return &names->token_id;
    default:
        return &names->volume_name;
    }
}

static bool fits(const char *path, const struct target *target, struct route_names *names)
{
    unsigned i = 0;
    while (*path == '/') {
        path++;
        size_t n = strcspn(path, "/");
        if (i == target->segment_count)
            return false;
        const char *segment = target->segments[i++];
        if (path[0] == '{')
            *name_of(path[1], names) = segment;
        else if (strlen(segment) != n || memcmp(segment, path, n) != 0)
            return false;
        path += n;
    }
    return i == target->segment_count;
}

static int check_id(const char *what, const char *id, struct err *err)
{
    if (!id || id_valid(id))
        return 0;
    return err_set(err, ERR_INVALID_REQUEST, 0, "read the request's path", what,
                   "An id is 1 to 64 letters, digits, \"_\", \".\" or \"-\", begins with a letter "
                   "or digit and has no \"..\".");
}

static int check_names(const struct route_names *names, struct err *err)
{
    int r = check_id("workspace_id", names->workspace_id, err);
    if (r == 0)
        r = check_id("session_id", names->session_id, err);
    if (r == 0)
        r = check_id("exec_id", names->exec_id, err);
    if (r == 0)
        r = check_id("volume", names->volume_name, err);
    if (r == 0)
        r = check_id("token_id", names->token_id, err);
    return r;
}

static bool lists(const char *names, const char *name)
{
    size_t n = strlen(name);
    while (*names) {
        size_t m = strcspn(names, " ");
        if (m == n && memcmp(names, name, n) == 0)
            return true;
        names += m + (names[m] == ' ');
    }
    return false;
}

/* CAP-3: nothing that was asked for is ignored. */
static int check_query(const struct route *route, const struct target *target, struct err *err)
{
    for (unsigned i = 0; i < target->query_count; i++)
        if (!lists(route->query, target->query[i].name))
            return err_set(err, ERR_INVALID_REQUEST, 0, "read the request's query",
                           target->query[i].name,
                           "This route has no such query parameter. It has: %s.",
                           route->query[0] ? route->query : "none");
    return 0;
}

int route_find(enum http_method method, const struct target *target, const struct route **ret_route,
               struct route_names *ret_names, char ret_allow[ROUTE_ALLOW_MAX], struct err *err)
{
    size_t n = 0;
    ret_allow[0] = 0;
    for (unsigned i = 0; i < ROUTE_COUNT; i++) {
        struct route_names names = {0};
        const struct route *route = &routes[i];
        if (!fits(route->path, target, &names))
            continue;
        if (route->method != method) {
            n += (size_t)snprintf(ret_allow + n, ROUTE_ALLOW_MAX - n, "%s%s", n ? ", " : "",
                                  http_method_name(route->method));
            continue;
        }
        int r = check_names(&names, err);
        if (r == 0)
            r = check_query(route, target, err);
        if (r < 0)
            return r;
        *ret_route = route;
        *ret_names = names;
        return 0;
    }
    return n > 0 ? ROUTE_METHOD : ROUTE_UNKNOWN;
}
