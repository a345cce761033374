/* This file writes front's log: a line on standard error for each thing; it never waits for who
 * reads the log: a line that finds no room is counted, and the next one says how many there were.
 */
#include "api/front/log.h"

#include "runtime/base/log_line.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static unsigned long lost;
static bool only_failures;
static enum log_line_format format = LOG_LINE_JSON;

void front_log_configure(const struct serve_config *config)
{
    only_failures = config->log_failures_only;
    format = config->log_text ? LOG_LINE_TEXT : LOG_LINE_JSON;
}

static void begin(struct log_line *line, const char *level, const char *event)
{
    log_line_begin(line, format, level, "front", event);
    if (lost > 0)
        log_line_number(line, "lost_lines", lost);
}

static void put(struct log_line *line)
{
    /* A pipe that is ready takes PIPE_BUF bytes in one piece, or it is not ready. */
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    log_line_end(line);
    const struct buf *text = &line->text;
    if (buf_failed(text) || text->length > PIPE_BUF || poll(&p, 1, 0) != 1 ||
        !(p.revents & POLLOUT) || write(STDERR_FILENO, text->data, text->length) < 0)
        lost++;
    else
        lost = 0;
    buf_fini(&line->text);
}

static void put_caller(struct log_line *line, const struct http_served *served, const char *token)
{
    if (served->peer->local)
        log_line_number(line, "uid", served->peer->uid);
    else
        log_line_text(line, "token", token);
}

/* The ledger's audit has what was done; this has who asked for it, in the one place that operators
 * collect, and also what was refused. Names are ids by their grammar, or not there. */
static void put_audit(const struct http_served *served, const char *token)
{
    const struct {
        const char *name, *value;
    } names[] = {{"workspace", served->names.workspace_id},
                 {"session", served->names.session_id},
                 {"exec", served->names.exec_id},
                 {"volume", served->names.volume_name},
                 {"token_id", served->names.token_id}};
    struct log_line line;
    begin(&line, "info", "audit");
    log_line_text(&line, "id", served->id);
    put_caller(&line, served, token);
    log_line_text(&line, "what", served->route);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].value && names[i].value[0])
            log_line_text(&line, names[i].name, names[i].value);
    log_line_number(&line, "status", (uint64_t)served->status);
    put(&line);
}

void front_log_served(const struct http_served *served, const char *token)
{
    struct log_line line;
    if (served->changes)
        put_audit(served, token);
    if (only_failures && served->status < 500)
        return;
    begin(&line, served->status >= 500 ? "error" : "info", "request");
    log_line_text(&line, "id", served->id);
    log_line_text(&line, "route", served->route);
    log_line_number(&line, "status", (uint64_t)served->status);
    log_line_number(&line, "duration_ms", served->duration_ms);
    put_caller(&line, served, token);
    put(&line);
}

void front_log_failure(const char *id, const struct err *err)
{
    struct log_line line;
    begin(&line, "error", "failure");
    if (id)
        log_line_text(&line, "id", id);
    log_line_err(&line, err);
    put(&line);
}

void front_log_event(const char *event, const char *detail)
{
    struct log_line line;
    begin(&line, "info", event);
    if (detail)
        log_line_detail(&line, detail);
    put(&line);
}

void front_log_audit_trimmed(uint64_t rows)
{
    struct log_line line;
    begin(&line, "warning", "audit_trimmed");
    log_line_number(&line, "rows", rows);
    log_line_detail(&line, "The ledger's audit had more rows than audit_rows_max or "
                           "audit_workspace_rows_max: the oldest went.");
    put(&line);
}
