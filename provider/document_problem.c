/* This file makes the document of a refusal (RFC 9457), as it is answered and as it is stored under
 * an idempotency key; it never decides a status. It says the same as the HTTP layer does of
 * requests that never come here.
 */
#include "provider/document.h"

#include "runtime/base/err_title.h"
#include "runtime/base/fd.h"

#include <string.h>

static enum err_code code_of(const struct err *err)
{
    return err->code == ERR_NONE || err->code >= ERR_CODE_COUNT ? ERR_INTERNAL
                                                                : (enum err_code)err->code;
}

static void add_detail(struct buf *out, const struct err *err)
{
    _cleanup_buf_ struct buf text = {0};
    if (code_of(err) == ERR_INTERNAL) {
        /* Subject and detail may name what is the host's business. */
        buf_printf(&text, "berth could not %s. Its log has the cause.",
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

static void add_names(struct buf *out, const struct document_problem *more)
{
    const char *comma = ",\"missing\":[";
    for (unsigned c = 0; more->missing && c < CAPABILITY_COUNT; c++)
        if (more->missing->bits[c / 64] >> (c % 64) & 1) {
            buf_printf(out, "%s\"%s\"", comma, capability_name((enum capability)c));
            comma = ",";
        }
    if (comma[1] == 0)
        buf_putc(out, ']');
    comma = ",\"allowed\":[";
    for (unsigned e = 0; e < SESSION_EVENT_COUNT; e++)
        if (more->allowed >> e & 1) {
            buf_printf(out, "%s\"%s\"", comma, session_event_name((enum session_event)e));
            comma = ",";
        }
    if (comma[1] == 0)
        buf_putc(out, ']');
}

void document_problem(struct buf *out, const struct err *err, const struct document_problem *more)
{
    enum err_code code = code_of(err);
    buf_printf(out, "{\"type\":\"urn:berth:problem:%s\",\"title\":", err_code_name(code));
    buf_json_string(out, err_code_title(code));
    buf_printf(out, ",\"status\":%d,\"code\":\"%s\",\"detail\":", err_code_status(code),
               err_code_name(code));
    add_detail(out, err);
    if (more && more->pointer) {
        buf_puts(out, ",\"pointer\":");
        buf_json_string(out, more->pointer);
    }
    if (more)
        add_names(out, more);
    if (more && more->retry_after_s)
        buf_printf(out, ",\"retry_after\":%u", more->retry_after_s);
    buf_puts(out, "}\n");
}
