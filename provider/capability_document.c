/* This file prints the capability document (CAP-1); it never decides what is available. */
#include "provider/capability.h"

#include "runtime/base/fd.h"

#include <string.h>

/* Numbers that a capability is bounded by, where a client would run into them. */
static void add_limits(struct buf *out, enum capability c)
{
    buf_puts(out, ",\"limits\":{");
    switch (c) {
    case CAP_WORKSPACE_DIRECTORY:
        buf_printf(out, "\"mounts\":%d,\"protect\":%d", SPEC_MOUNTS_MAX, SPEC_PROTECT_MAX);
        break;
    case CAP_ISOLATION_SECCOMP:
        buf_printf(out, "\"seccomp_allow\":%d", SPEC_SECCOMP_ALLOW_MAX);
        break;
    default:
        break;
    }
    buf_putc(out, '}');
}

static void add_text(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, ",\"%s\":", key);
    if (text[0])
        buf_json_string(out, text);
    else
        buf_puts(out, "null");
}

static void add_capability(struct buf *out, enum capability c, const struct capability_status *s)
{
    int version = capability_version(c);
    bool available = version > 0 && s->available;
    buf_json_string(out, capability_name(c));
    buf_printf(out, ":{\"available\":%s,\"version\":%d", available ? "true" : "false", version);
    add_limits(out, c);
    add_text(out, "evidence", s->evidence);
    add_text(out, "reason",
             available      ? ""
             : version == 0 ? "Not built in this release of berth."
                            : s->reason);
    add_text(out, "remedy", available ? "" : s->remedy);
    buf_putc(out, '}');
}

int capability_document(const struct capability_set *set, struct buf *out)
{
    /* SES-4: a provider that offers memory snapshots must answer these four. */
    static const char *const snapshot[] = {"identity", "entropy_and_clock", "version_pinning",
                                           "readiness"};
    buf_puts(out, "{\"name\":\"berth\",\"version\":\"" BERTH_VERSION "\""
                  ",\"kind\":\"namespace-local\""
                  ",\"posture\":{\"isolation\":\"container\",\"self_hosted\":true"
                  ",\"requires_account\":false,\"offline\":true}"
                  ",\"kernel\":\"shared: sessions run on the host's own kernel, behind namespaces, "
                  "cgroups, seccomp and Landlock; a defect of the kernel is a way out\""
                  ",\"process_snapshot\":{");
    for (size_t i = 0; i < ARRAY_LENGTH(snapshot); i++)
        buf_printf(out, "%s\"%s\":\"not supported\"", i ? "," : "", snapshot[i]);
    buf_puts(out, "},\"capabilities\":{");
    for (int c = 0; c < CAPABILITY_COUNT; c++) {
        if (c)
            buf_putc(out, ',');
        add_capability(out, (enum capability)c, &set->status[c]);
    }
    buf_puts(out, "}}");
    return buf_failed(out) ? -ENOMEM : 0;
}
