/* This file makes lines of a log; it never writes one. */
#include "runtime/base/log_line.h"

#include "runtime/base/err.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

/* Not by gmtime_r(): glibc's reads the host's time zone file, which a process without rights
 * cannot. Counted in periods of 400 years that begin with March. */
void log_line_time(uint64_t ms, struct buf *out)
{
    uint64_t seconds = ms / 1000, days = seconds / 86400, second = seconds % 86400;
    uint64_t from_march = days + 719468, period = from_march / 146097;
    uint64_t day = from_march % 146097;
    uint64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    uint64_t of_year = day - (365 * year + year / 4 - year / 100);
    uint64_t month = (5 * of_year + 2) / 153;
    uint64_t date = of_year - (153 * month + 2) / 5 + 1;
    month = month < 10 ? month + 3 : month - 9;
    year += period * 400 + (month <= 2);
    buf_printf(out,
               "\"%04" PRIu64 "-%02" PRIu64 "-%02" PRIu64 "T%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64
               ".%03" PRIu64 "Z\"",
               year, month, date, second / 3600, second / 60 % 60, second % 60, ms % 1000);
}

void log_line_begin(struct log_line *line, enum log_line_format format, const char *level,
                    const char *role, const char *event)
{
    struct timespec now;
    *line = (struct log_line){.format = format};
    if (format == LOG_LINE_TEXT) { /* who keeps such a log has the time */
        buf_printf(&line->text, "berth: %s: %s", role, event);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    buf_puts(&line->text, "{\"time\":");
    log_line_time((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, &line->text);
    buf_printf(&line->text, ",\"level\":\"%s\",\"role\":\"%s\",\"event\":\"%s\"", level, role,
               event);
}

static void name(struct log_line *line, const char *member)
{
    if (line->format == LOG_LINE_TEXT)
        buf_printf(&line->text, " %s=", member);
    else
        buf_printf(&line->text, ",\"%s\":", member);
}

static bool is_word(const char *text)
{
    return *text &&
           text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             "-._:/")] == 0;
}

void log_line_text(struct log_line *line, const char *member, const char *value)
{
    name(line, member);
    if (line->format == LOG_LINE_TEXT && (!value || is_word(value)))
        buf_puts(&line->text, value ? value : "-");
    else if (value)
        buf_json_string(&line->text, value);
    else
        buf_puts(&line->text, "null");
}

void log_line_number(struct log_line *line, const char *member, uint64_t value)
{
    name(line, member);
    buf_printf(&line->text, "%" PRIu64, value);
}

void log_line_detail(struct log_line *line, const char *detail)
{
    if (line->format == LOG_LINE_TEXT) {
        buf_puts(&line->text, ": ");
        for (const char *at = detail; *at; at++)
            buf_putc(&line->text, (unsigned char)*at < ' ' || *at == 0x7f ? ' ' : *at);
        return;
    }
    name(line, "detail");
    buf_json_string(&line->text, detail);
}

void log_line_err(struct log_line *line, const struct err *err)
{
    char text[sizeof *err + 256];
    err_format(err, text, sizeof text);
    if (line->format == LOG_LINE_JSON) {
        log_line_text(line, "code", err_code_name((enum err_code)err->code));
        name(line, "errno");
        buf_printf(&line->text, "%d", err->sys);
    }
    log_line_detail(line, text);
}

void log_line_end(struct log_line *line)
{
    buf_puts(&line->text, line->format == LOG_LINE_TEXT ? "\n" : "}\n");
}
