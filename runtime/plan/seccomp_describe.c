/* This file writes the table of system calls as Markdown, for docs/seccomp.md (a test holds the two
 * together); it never builds a filter. Pure.
 */
#include "runtime/base/buf.h"
#include "runtime/plan/seccomp_table.h"

#include <errno.h>

static const char *word(int answer)
{
    return answer == 0 ? "yes" : answer == ENOSYS ? "ENOSYS" : "EPERM";
}

/* Every call that is not simply allowed everywhere, then the rest as one list. */
void seccomp_describe(struct buf *out)
{
    size_t count;
    const struct seccomp_call *calls = seccomp_table(&count);

    buf_printf(out, "| call | default | strict | debug | `seccomp_allow` | why |\n"
                    "|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < count; i++) {
        uint8_t class = calls[i].class;
        if (class == CALL_ALLOW || class == CALL_GONE)
            continue;
        if (class == CALL_CHECK)
            buf_printf(out, "| %s | checked | checked | checked | never | %s |\n", calls[i].name,
                       calls[i].why);
        else
            buf_printf(out, "| %s | %s | %s | %s | %s | %s |\n", calls[i].name,
                       word(seccomp_class_answer(class, SPEC_SECCOMP_DEFAULT)),
                       word(seccomp_class_answer(class, SPEC_SECCOMP_STRICT)),
                       word(seccomp_class_answer(class, SPEC_SECCOMP_DEBUG)),
                       seccomp_class_addable(class) ? "may" : "never", calls[i].why);
    }
    buf_printf(out, "\nAllowed in every profile, whatever the arguments:");
    for (size_t i = 0; i < count; i++)
        if (calls[i].class == CALL_ALLOW)
            buf_printf(out, " %s", calls[i].name);
    buf_printf(out, ".\n\nRetired by Linux, always ENOSYS:");
    for (size_t i = 0; i < count; i++)
        if (calls[i].class == CALL_GONE)
            buf_printf(out, " %s", calls[i].name);
    buf_printf(out, ".\n");
}
