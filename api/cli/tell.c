/* This file tells errors and answers to the person or program that called berth; it never decides
 * what is one. */
#include "api/cli/cli.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/log_line.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static const char *log_role; /* NULL: this is no log */
static enum log_line_format log_format;

void cli_log_begin(const char *role, bool text)
{
    log_role = role;
    log_format = text ? LOG_LINE_TEXT : LOG_LINE_JSON;
}

static void put(struct log_line *line)
{
    log_line_end(line);
    (void)io_write_full(STDERR_FILENO, buf_text(&line->text), line->text.length);
    buf_fini(&line->text);
}

void cli_log(const char *level, const char *event, const char *detail)
{
    struct log_line line;
    if (!log_role) {
        line = (struct log_line){.format = LOG_LINE_TEXT};
        buf_printf(&line.text, "berth: %s", detail);
    } else {
        log_line_begin(&line, log_format, level, log_role, event);
        log_line_detail(&line, detail);
    }
    put(&line);
}

static int log_failure(const struct err *err)
{
    struct log_line line;
    log_line_begin(&line, log_format, "error", log_role, "failure");
    log_line_err(&line, err);
    put(&line);
    return CLI_EXIT_BERTH;
}

int cli_fail(const struct err *err)
{
    if (log_role)
        return log_failure(err);
    /* One write, so that a line is never torn by another process's on the same terminal. */
    static const char prefix[] = "berth: ";
    char line[2048];
    memcpy(line, prefix, sizeof prefix);
    err_format(err, line + sizeof prefix - 1, sizeof line - sizeof prefix - 1);
    size_t n = strlen(line);
    line[n++] = '\n';
    /* Nobody is left to be told when stderr itself fails; the exit status still says it. */
    (void)io_write_full(STDERR_FILENO, line, n);
    return CLI_EXIT_BERTH;
}

void cli_problem(struct buf *out, const struct err *err, const char *members)
{
    enum err_code code = (enum err_code)err->code;
    buf_puts(out, "{\"type\":\"about:blank\",\"title\":");
    buf_json_string(out, err->step);
    buf_printf(out, ",\"status\":%d,\"code\":", err_code_status(code));
    buf_json_string(out, err_code_name(code));
    char detail[2048];
    err_format(err, detail, sizeof detail);
    buf_puts(out, ",\"detail\":");
    buf_json_string(out, detail);
    if (members && members[0])
        buf_printf(out, ",%s", members);
    buf_puts(out, "}");
}

int cli_fail_json(const struct err *err, bool json)
{
    cli_fail(err);
    if (json) {
        _cleanup_buf_ struct buf out = {0};
        cli_problem(&out, err, NULL);
        buf_putc(&out, '\n');
        (void)io_write_full(STDERR_FILENO, buf_text(&out), out.length);
    }
    return CLI_EXIT_BERTH;
}

int cli_print(int fd, const struct buf *text)
{
    struct err err;
    if (buf_failed(text)) {
        err_set(&err, ERR_INTERNAL, 0, "print", NULL, "Out of memory.");
        return cli_fail(&err);
    }
    int r = io_write_full(fd, buf_text(text), text->length);
    if (r < 0) {
        err_set(&err, ERR_INTERNAL, -r, "print", fd == STDOUT_FILENO ? "stdout" : "stderr", NULL);
        return cli_fail(&err);
    }
    return CLI_EXIT_OK;
}

void cli_stdio_guard(void)
{
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        /* The lowest free number is `fd`, because those below it are open. */
        int null = open("/dev/null", O_RDWR);
        if (null >= 0 && null != fd)
            close(null);
    }
}
