/* This file turns an error into the document that a client gets; it never sends it. */
#include "api/http/problem.h"

#include "runtime/base/err_title.h"
#include "runtime/base/fd.h"

#include <string.h>

static enum err_code code_of(const struct err *err)
{
    return err->code == ERR_NONE || err->code >= ERR_CODE_COUNT ? ERR_INTERNAL
                                                                : (enum err_code)err->code;
}

int problem_status(const struct err *err, const struct problem_more *more)
{
    return more && more->status ? more->status : err_code_status(code_of(err));
}

static void add_detail(const struct err *err, struct buf *out)
{
    _cleanup_buf_ struct buf text = {0};
    if (code_of(err) == ERR_INTERNAL) {
        buf_printf(&text, "berth could not %s. Its log has the cause, under the request's id.",
                   err->step[0] ? err->step : "serve the request");
    } else {
        if (err->subject[0])
            buf_printf(&text, "%s: ", err->subject);
        if (err->detail[0])
            buf_puts(&text, err->detail);
        else
            buf_printf(&text, "berth could not %s.", err->step);
    }
    buf_json_string(out, buf_text(&text));
    out->failed |= text.failed;
}

static void add_list(struct buf *out, const char *key, const char *const *items, size_t count)
{
    if (count == 0)
        return;
    buf_printf(out, ",\"%s\":", key);
    for (size_t i = 0; i < count; i++) {
        buf_putc(out, i ? ',' : '[');
        buf_json_string(out, items[i]);
    }
    buf_putc(out, ']');
}

void problem_document(const struct err *err, const struct problem_more *more, struct buf *out)
{
    enum err_code code = code_of(err);
    buf_printf(out, "{\"type\":\"urn:berth:problem:%s\",\"title\":", err_code_name(code));
    buf_json_string(out, err_code_title(code));
    buf_printf(out, ",\"status\":%d,\"code\":\"%s\",\"detail\":", problem_status(err, more),
               err_code_name(code));
    add_detail(err, out);
    if (more && more->pointer) {
        buf_puts(out, ",\"pointer\":");
        buf_json_string(out, more->pointer);
    }
    if (more) {
        add_list(out, "missing", more->missing, more->missing_count);
        add_list(out, "allowed", more->allowed, more->allowed_count);
    }
    if (more && more->retry_after_s)
        buf_printf(out, ",\"retry_after\":%u", more->retry_after_s);
    buf_puts(out, "}\n");
}
