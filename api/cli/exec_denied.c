/* This file tells a person what a command of a session was refused while it ran, and what allows
 * it: from the session's events between the command's start and its end. It never changes anything,
 * and what it cannot learn it leaves out: the command has ended, and its status is what counts.
 */
#include "api/cli/exec.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { REFUSED_MAX = 16, TEXT_MAX = 400, WAIT_MS = 2000 };

struct refused {
    char host[256], flag[320], message[TEXT_MAX];
    bool dns;
    uint64_t count, last;
};

struct denied {
    const char *exec_id;
    struct refused list[REFUSED_MAX];
    unsigned count;
    uint64_t more;
    bool over;
};

static bool same(const struct refused *a, const struct refused *b)
{
    return a->dns == b->dns && strcmp(a->host, b->host) == 0 && strcmp(a->flag, b->flag) == 0 &&
           (a->flag[0] || strcmp(a->message, b->message) == 0);
}

static void keep(struct denied *denied, const struct json_node *data)
{
    struct refused row = {.dns = strcmp(verb_text(data, "protocol"), "dns") == 0, .count = 1};
    verb_number(data, "count", &row.count);
    row.last = row.count;
    snprintf(row.host, sizeof row.host, "%s", verb_text(data, "host"));
    snprintf(row.flag, sizeof row.flag, "%s", verb_text(data, "flag"));
    snprintf(row.message, sizeof row.message, "%s", verb_text(data, "message"));
    for (unsigned i = 0; i < denied->count; i++)
        if (same(&denied->list[i], &row)) {
            row.count += denied->list[i].count;
            denied->list[i] = row;
            return;
        }
    if (denied->count < REFUSED_MAX)
        denied->list[denied->count++] = row;
    else
        denied->more += row.count;
}

static void take(struct denied *denied, const struct client_event *event)
{
    _cleanup_arena_ struct arena arena = {0};
    struct json_error error;
    const struct json_node *root;
    bool is_end = strcmp(event->type, "exec.ended") == 0;
    if ((!is_end && strcmp(event->type, "network.denied") != 0) ||
        json_parse(&arena, event->data, event->length, CLIENT_SSE_MAX, false, &root, &error) < 0 ||
        root->kind != JSON_OBJECT)
        return;
    const struct json_node *data = json_member(root, "data");
    if (!data || data->kind != JSON_OBJECT)
        return;
    if (is_end)
        denied->over = strcmp(verb_text(data, "exec_id"), denied->exec_id) == 0;
    else
        keep(denied, data);
}

/* What is there now; a service that is away at this moment is not waited for. */
static void collect(const struct verb *verb, struct denied *denied, uint64_t after)
{
    _cleanup_follow_ struct follow follow = {0};
    _cleanup_buf_ struct buf path = {0};
    struct client_event event;
    struct err err;
    verb_session_path(verb, "/events?follow=false", &path);
    follow_init(&follow, verb->client, buf_text(&path), after, false);
    while (!denied->over) {
        int r = follow_next(&follow, &event, &err);
        if (r == FOLLOW_WAIT) {
            struct pollfd p = {.fd = follow_fd(&follow), .events = POLLIN};
            if (poll(&p, 1, WAIT_MS) <= 0)
                return;
        } else if (r != 0) {
            return;
        } else {
            take(denied, &event);
        }
    }
}

/* A name that was refused and a connection to it are one thing for a person. */
static bool told_by_another(const struct denied *denied, const struct refused *row)
{
    for (unsigned i = 0; row->dns && i < denied->count; i++)
        if (!denied->list[i].dns && strcmp(denied->list[i].host, row->host) == 0)
            return true;
    return false;
}

static void put_row(const struct verb *verb, const struct refused *row, struct buf *out)
{
    buf_puts(out, "berth: note: network: ");
    table_clean(out, row->message, strlen(row->message));
    if (row->count > row->last)
        buf_printf(out, " In all %" PRIu64 " times.", row->count);
    if (row->flag[0]) {
        buf_printf(out, " Allow it: berth session network %s --add ", verb->word[0]);
        table_clean(out, row->flag, strlen(row->flag));
    }
    buf_putc(out, '\n');
}

void exec_denied_tell(const struct verb *verb, const struct json_node *exec)
{
    static struct denied denied;
    _cleanup_buf_ struct buf out = {0};
    uint64_t count, after;
    if (verb->quiet || !verb_number(exec, "network_denied", &count) || count == 0 ||
        !verb_number(exec, "events_after", &after))
        return;
    denied = (struct denied){.exec_id = verb_text(exec, "exec_id")};
    collect(verb, &denied, after);
    for (unsigned i = 0; i < denied.count; i++)
        if (!told_by_another(&denied, &denied.list[i]))
            put_row(verb, &denied.list[i], &out);
    if (denied.more)
        buf_printf(&out,
                   "berth: note: network: %" PRIu64 " more: berth events %s --from %" PRIu64 "\n",
                   denied.more, verb->word[0], after + 1);
    (void)io_write_full(STDERR_FILENO, buf_text(&out), out.length);
}
