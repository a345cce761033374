/* This file writes front's log: one JSON object a line on standard error; it never waits for who
 * reads the log: a line that finds no room is counted, and the next one says how many there were.
 */
#include "api/front/log.h"

#include "api/front/print.h"

#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned long lost;
static bool only_failures;

void front_log_only_failures(bool only)
{
    only_failures = only;
}

static void begin(struct buf *line, const char *level, const char *event)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    buf_puts(line, "{\"time\":");
    front_print_time((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, line);
    buf_printf(line, ",\"level\":\"%s\",\"role\":\"front\",\"event\":\"%s\"", level, event);
    if (lost > 0)
        buf_printf(line, ",\"lost_lines\":%lu", lost);
}

static void put(struct buf *line)
{
    /* A pipe that is ready takes PIPE_BUF bytes in one piece, or it is not ready. */
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    buf_puts(line, "}\n");
    if (buf_failed(line) || line->length > PIPE_BUF || poll(&p, 1, 0) != 1 ||
        !(p.revents & POLLOUT) || write(STDERR_FILENO, line->data, line->length) < 0)
        lost++;
    else
        lost = 0;
}

void front_log_served(const struct http_served *served, const char *token)
{
    _cleanup_buf_ struct buf line = {0};
    if (only_failures && served->status < 500)
        return;
    begin(&line, served->status >= 500 ? "error" : "info", "request");
    buf_printf(&line, ",\"id\":\"%s\",\"route\":\"%s\",\"status\":%d,\"duration_ms\":%" PRIu64,
               served->id, served->route, served->status, served->duration_ms);
    if (served->peer->local)
        buf_printf(&line, ",\"uid\":%u", (unsigned)served->peer->uid);
    else if (token)
        buf_printf(&line, ",\"token\":\"%s\"", token);
    else
        buf_puts(&line, ",\"token\":null");
    put(&line);
}

void front_log_failure(const char *id, const struct err *err)
{
    _cleanup_buf_ struct buf line = {0};
    begin(&line, "error", "failure");
    if (id)
        buf_printf(&line, ",\"id\":\"%s\"", id);
    buf_printf(&line,
               ",\"code\":\"%s\",\"errno\":%d,\"step\":", err_code_name((enum err_code)err->code),
               err->sys);
    buf_json_string(&line, err->step);
    buf_puts(&line, ",\"subject\":");
    buf_json_string(&line, err->subject);
    buf_puts(&line, ",\"detail\":");
    buf_json_string(&line, err->detail);
    put(&line);
}

void front_log_event(const char *event, const char *detail)
{
    _cleanup_buf_ struct buf line = {0};
    begin(&line, "info", event);
    if (detail) {
        buf_puts(&line, ",\"detail\":");
        buf_json_string(&line, detail);
    }
    put(&line);
}
