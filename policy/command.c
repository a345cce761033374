/* This file compares what one command asks for by itself, as whom, how long and how much it may
 * say, with a policy that is authority (POL-2); it never changes a number, and a member that is not
 * there is the session's, which was judged when that was made.
 *
 * What policies have a row for is judged by the row's own rule (within.c). Two members have none
 * and would lead around `limits.exec_timeout`: time to end in, and children that stay.
 */
#include "policy/model.h"

#include "runtime/base/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Where time is bound, a command that does not end may take so much more. */
enum { GRACE_MAX_MS = 10000 };

/* "root", "0", "0:0", "1000:0": as whoever starts it reads it, who refuses what is none. */
static bool is_root(const char *user)
{
    char first[24];
    uint64_t id;
    size_t n = strcspn(user, ":");
    if (strcmp(user, "root") == 0)
        return true;
    snprintf(first, sizeof first, "%.*s", (int)(n < sizeof first ? n : 0), user);
    if (units_parse_u64(first, &id) == 0 && id == SPEC_UID_ROOT)
        return true;
    return user[n] == ':' && units_parse_u64(user + n + 1, &id) == 0 && id == SPEC_UID_ROOT;
}

static uint64_t read_user(const struct json_node *node)
{
    return is_root(node->text) ? SPEC_UID_ROOT : SPEC_UID_USER;
}

static uint64_t read_number(const struct json_node *node)
{
    return node->magnitude;
}

static const struct {
    const char *name;
    enum schema_row_id row;
    uint64_t (*read)(const struct json_node *node);
} members[] = {
    {"user", ROW_USER, read_user},
    {"timeout_ms", ROW_EXEC_TIMEOUT, read_number},
    {"output_limit_bytes", ROW_OUTPUT, read_number},
};

static struct policy_origin origin_of(const struct json_node *node)
{
    return (struct policy_origin){ORIGIN_FILE, POLICY_BODY_NAME, node->at};
}

static void add_breach(struct buf *out, const char *name, const struct json_node *node,
                       const char *asked, const char *allowed, const struct policy_origin *by)
{
    _cleanup_buf_ struct buf mine_at = {0}, its_at = {0};
    const struct policy_origin mine = origin_of(node);
    origin_print(&mine, &mine_at);
    origin_print(by, &its_at);
    buf_printf(out, "%s%s: %s (%.64s), where %s is allowed (%.100s).", out->length > 0 ? " " : "",
               name, asked, buf_text(&mine_at), allowed, buf_text(&its_at));
}

/* What has a row of the schema. */
static void compare_members(const struct json_node *body, const struct policy *ceiling,
                            struct buf *out)
{
    for (unsigned i = 0; i < sizeof members / sizeof members[0]; i++) {
        const struct json_node *node = json_member(body, members[i].name);
        const struct schema_row *row = &schema_rows[members[i].row];
        const struct policy_value *its = &ceiling->values[members[i].row];
        _cleanup_buf_ struct buf asked = {0}, allowed = {0};
        if (!node || node->kind == JSON_NULL)
            continue;
        const struct policy_value mine = {.number = members[i].read(node)};
        if (policy_scalar_within(members[i].row, &mine, ceiling))
            continue;
        value_print(row, &mine, &asked);
        value_print(row, its, &allowed);
        add_breach(out, members[i].name, node, buf_text(&asked), buf_text(&allowed), &its->origin);
    }
}

/* What would lead around a bound of time. */
static void compare_time(const struct json_node *body, const struct policy *ceiling,
                         struct buf *out)
{
    const struct policy_value *bound = &ceiling->values[ROW_EXEC_TIMEOUT];
    const struct json_node *grace = json_member(body, "grace_ms"),
                           *keep = json_member(body, "keep_children");
    if (bound->number == 0)
        return;
    if (grace && grace->kind == JSON_NUMBER && grace->magnitude > GRACE_MAX_MS) {
        char asked[32], allowed[32];
        units_format_duration(grace->magnitude, asked, sizeof asked);
        units_format_duration(GRACE_MAX_MS, allowed, sizeof allowed);
        add_breach(out, "grace_ms", grace, asked, allowed, &bound->origin);
    }
    if (keep && keep->kind == JSON_BOOLEAN && keep->boolean)
        add_breach(out, "keep_children", keep, "true", "false", &bound->origin);
}

int policy_command_within(const struct json_node *body, const struct policy *ceiling,
                          struct err *err)
{
    _cleanup_buf_ struct buf beyond = {0};
    compare_members(body, ceiling, &beyond);
    compare_time(body, ceiling, &beyond);
    if (buf_failed(&beyond))
        return err_set(err, ERR_INTERNAL, ENOMEM, "compare with the policy", NULL, NULL);
    if (beyond.length == 0)
        return 0;
    return err_set(err, ERR_POLICY_REJECTED, 0, "start the command", NULL, "%s", buf_text(&beyond));
}
