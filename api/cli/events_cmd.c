/* This file is `berth events` and `berth usage`: what happened to a session and what it used; it
 * never changes anything. */
#include "api/cli/follow.h"
#include "api/cli/verb.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- events ---------------------------------------------------------------------------------- */

enum { OPT_FOLLOW, OPT_FROM };

static const struct cli_option events_options[] = {
    {"follow", NULL, "Go on until the session is gone.", OPT_FOLLOW, 'f'},
    {"from", "SEQ", "Begin with this event.", OPT_FROM, 0},
};

static const struct verb_spec events_spec = {
    .name = "events",
    .example = "Examples: berth events build\n"
               "          berth events build --follow --json\n",
    .usage = "berth events SESSION [options]",
    .text = "What happened to a session, in order, numbered without gaps. --json prints one\n"
            "object a line. Of a name that was used before, its earlier sessions come first.",
    .options = events_options,
    .option_count = ARRAY_LENGTH(events_options),
    .words_min = 1,
    .words_max = 1,
    .ids = 1,
};

struct events {
    bool follow;
    uint64_t from;
};

static int take_events(void *own, const struct cli_option *option, const char *value,
                       struct err *err)
{
    struct events *events = own;
    if (option->id == OPT_FOLLOW) {
        events->follow = true;
        return 0;
    }
    return units_parse_u64(value, &events->from) < 0 || events->from > INT64_MAX
               ? err_set(err, ERR_USAGE, 0, "--from", value, "Allowed: a number of an event.")
               : 0;
}

/* A refusal says itself what it was and what allows it. */
static bool add_message(struct buf *out, const struct json_node *data)
{
    const char *message = verb_text(data, "message"), *flag = verb_text(data, "flag");
    if (!message[0])
        return false;
    buf_puts(out, "  ");
    table_clean(out, message, strlen(message));
    if (flag[0]) {
        buf_puts(out, " Allow it: ");
        table_clean(out, flag, strlen(flag));
    }
    return true;
}

/* "reason=timeout exit_code=1": the scalars of an event's data. */
static void add_data(struct buf *out, const struct json_node *data)
{
    if (data && data->kind == JSON_OBJECT && add_message(out, data))
        return;
    for (const struct json_node *m = data && data->kind == JSON_OBJECT ? data->first : NULL; m;
         m = m->next) {
        if (m->kind == JSON_NULL)
            continue;
        buf_puts(out, "  ");
        table_clean(out, m->key, strlen(m->key));
        buf_putc(out, '=');
        verb_value(out, data, m->key);
    }
}

static int print_event(const struct verb *verb, const struct client_event *event)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf line = {0}, time = {0};
    struct json_error error;
    const struct json_node *root;
    if (verb->json) {
        buf_add(&line, event->data, event->length);
    } else if (json_parse(&arena, event->data, event->length, CLIENT_SSE_MAX, false, &root,
                          &error) < 0 ||
               root->kind != JSON_OBJECT) {
        buf_printf(&line, "%6" PRIu64 "  ", event->id);
        table_clean(&line, event->type, strlen(event->type));
    } else {
        _cleanup_buf_ struct buf type = {0};
        table_time(&time, verb_text(root, "time"));
        verb_value(&type, root, "type");
        buf_printf(&line, "%6" PRIu64 "  ", event->id);
        table_clean(&line, buf_text(&time), time.length);
        buf_printf(&line, "  %-20s", buf_text(&type));
        add_data(&line, json_member(root, "data"));
        while (line.length && line.data[line.length - 1] == ' ')
            line.data[--line.length] = 0;
    }
    buf_putc(&line, '\n');
    return io_write_full(STDOUT_FILENO, buf_text(&line), line.length);
}

/* A name may have been used before: session.deleted is the end where nothing comes behind it. */
static int show_events(const struct verb *verb, struct follow *follow)
{
    bool deleted = false;
    for (;;) {
        struct client_event event;
        struct err err;
        int r = follow_next(follow, &event, &err);
        if (r == FOLLOW_END || (r == FOLLOW_WAIT && deleted && follow->empty > 0))
            return CLI_EXIT_OK;
        if (r < 0)
            return verb_fail(verb, &err);
        if (r == FOLLOW_WAIT) {
            struct pollfd p = {.fd = follow_fd(follow), .events = POLLIN};
            (void)poll(&p, 1, follow_timeout(follow));
            continue;
        }
        if (print_event(verb, &event) < 0)
            return CLI_EXIT_SIGNAL + SIGPIPE;
        deleted = strcmp(event.type, "session.deleted") == 0;
    }
}

int cli_events(int argc, char **argv)
{
    struct events events = {0};
    _cleanup_verb_ struct verb verb;
    _cleanup_follow_ struct follow follow = {0};
    _cleanup_buf_ struct buf path = {0};
    int status;
    if (!verb_begin(&verb, &events_spec, argc, argv, take_events, &events, &status))
        return status;
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    verb_session_path(&verb, "/events?follow=", &path);
    buf_puts(&path, events.follow ? "true" : "false");
    follow_init(&follow, verb.client, buf_text(&path), events.from ? events.from - 1 : 0,
                events.follow);
    return show_events(&verb, &follow);
}

/* ---- usage ----------------------------------------------------------------------------------- */

static const struct verb_spec usage_spec = {
    .name = "usage",
    .example = "Examples: berth usage\n"
               "          berth usage build --json\n",
    .usage = "berth usage [SESSION] [options]",
    .text = "What a session has used since it was made, or each one. It never decreases and\n"
            "survives parking. - is what was not measured.",
    .words_max = 1,
    .ids = 1,
};

/* "1h02m03s" of milliseconds */
static void add_time(struct table *table, const struct json_node *usage, const char *key,
                     uint64_t per_ms)
{
    uint64_t number;
    _cleanup_buf_ struct buf text = {0};
    if (!verb_number(usage, key, &number)) {
        table_text(table, "-");
        return;
    }
    uint64_t ms = number / per_ms, seconds = ms / 1000;
    if (seconds >= 3600)
        buf_printf(&text, "%" PRIu64 "h%02um%02us", seconds / 3600, (unsigned)(seconds / 60 % 60),
                   (unsigned)(seconds % 60));
    else if (seconds >= 60)
        buf_printf(&text, "%um%02us", (unsigned)(seconds / 60), (unsigned)(seconds % 60));
    else
        buf_printf(&text, "%u.%03us", (unsigned)seconds, (unsigned)(ms % 1000));
    table_text(table, buf_text(&text));
}

/* null, and 0 bytes, are those that nobody has looked at: what lives has some of each. */
static void add_bytes(struct table *table, const struct json_node *usage, const char *key)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    uint64_t bytes, whole;
    char text[32];
    if (!verb_number(usage, key, &bytes) || bytes == 0) {
        table_text(table, "-");
        return;
    }
    unsigned unit = 0;
    for (whole = bytes; whole >= 10240 && unit + 1 < ARRAY_LENGTH(units); unit++)
        whole = (whole + 512) / 1024;
    snprintf(text, sizeof text, "%" PRIu64 " %s", whole, units[unit]);
    table_text(table, text);
}

/* Connections that passed the rules, and what these refused. */
static void add_network(struct table *table, const struct json_node *usage)
{
    static const char *const denied[] = {"network_denied_tcp", "network_denied_udp",
                                         "network_denied_other"};
    _cleanup_buf_ struct buf passed = {0}, refused = {0};
    uint64_t sum = 0, number;
    for (size_t i = 0; i < ARRAY_LENGTH(denied); i++)
        sum += verb_number(usage, denied[i], &number) ? number : 0;
    verb_value(&passed, usage, "network_passed");
    buf_printf(&refused, "%" PRIu64, sum);
    table_text(table, buf_text(&passed));
    table_text(table, buf_text(&refused));
}

static void add_usage(struct table *table, const char *session_id, const struct json_node *usage)
{
    _cleanup_buf_ struct buf execs = {0};
    verb_value(&execs, usage, "exec_count");
    table_text(table, session_id);
    add_time(table, usage, "cpu_ns", 1000000);
    add_bytes(table, usage, "memory_peak_bytes");
    add_bytes(table, usage, "disk_bytes");
    add_network(table, usage);
    table_text(table, buf_text(&execs));
    add_time(table, usage, "running_ms", 1);
    add_time(table, usage, "parked_ms", 1);
}

/* One session into the table, or its document among others. A session that has gone meanwhile is
 * none: 0. */
static int one_usage(struct verb *verb, const char *session_id, bool alone, struct table *table,
                     struct buf *json)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf path = {0};
    struct client_answer answer = {0};
    const struct json_node *root;
    struct err err;
    verb->word[0] = session_id;
    verb_session_path(verb, "/usage", &path);
    int r = verb_try(verb, "GET", buf_text(&path), NULL, &answer, &err);
    if (r < 0)
        return !alone && err.code == ERR_NOT_FOUND ? 0 : verb_fail(verb, &err);
    int status = 0;
    if (verb->json && alone)
        status = verb_print_document(&answer.document);
    else if (verb->json) {
        buf_puts(json, json->length ? ", {\"session_id\": " : "{\"usage\": [{\"session_id\": ");
        buf_json_string(json, session_id);
        buf_puts(json, ", \"usage\": ");
        size_t n = answer.document.length;
        while (n > 0 && buf_text(&answer.document)[n - 1] == '\n')
            n--;
        buf_add(json, buf_text(&answer.document), n);
        buf_putc(json, '}');
    } else if ((status = verb_read(&arena, &answer.document, &root)) == 0)
        add_usage(table, session_id, root);
    buf_fini(&answer.document);
    return status;
}

struct usages {
    struct table *table;
    struct buf *json;
};

static int usage_of(struct verb *verb, void *data, const struct json_node *session)
{
    const struct usages *to = data;
    const char *session_id = verb_text(session, "session_id");
    return id_valid(session_id) ? one_usage(verb, session_id, false, to->table, to->json) : 0;
}

static int all_usage(struct verb *verb, struct table *table, struct buf *json)
{
    _cleanup_buf_ struct buf path = {0};
    struct usages to = {table, json};
    const struct verb_pages pages = {.member = "sessions", .each = usage_of, .data = &to};
    verb_path(verb, "sessions", &path);
    return verb_pages(verb, buf_text(&path), &pages);
}

int cli_usage(int argc, char **argv)
{
    static const char *const heads[] = {"SESSION",      ">CPU",     ">PEAK MEMORY", ">DISK",
                                        ">CONNECTIONS", ">REFUSED", ">EXECS",       ">RUNNING",
                                        ">PARKED",      NULL};
    _cleanup_verb_ struct verb verb;
    _cleanup_table_ struct table table;
    _cleanup_buf_ struct buf out = {0}, json = {0};
    int status;
    table_init(&table, heads);
    if (!verb_begin(&verb, &usage_spec, argc, argv, NULL, NULL, &status))
        return status;
    bool alone = verb.word_count == 1;
    status = alone ? one_usage(&verb, verb.word[0], true, &table, &json)
                   : all_usage(&verb, &table, &json);
    if (status || (verb.json && alone))
        return status;
    if (verb.json)
        buf_printf(&out, "%s]}\n", json.length ? buf_text(&json) : "{\"usage\": [");
    else
        table_print(&table, &out);
    return cli_print(STDOUT_FILENO, &out);
}
