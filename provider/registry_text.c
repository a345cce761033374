/* This file is the text that a capability set is kept as, and handed to another process as; it
 * never probes, and needs nothing of the host to be linked.
 *
 * One line of header (format, key, checksum of the rest), then one line per capability in order:
 * name, "yes", "no" or "failed", evidence, reason, remedy, separated by tabs; texts have neither
 * tab nor newline. The checksum finds torn writes. It is no seal: who could forge the file is the
 * user who runs berth.
 */
#include "provider/registry.h"

#include "runtime/base/buf.h"

#include <stdio.h>
#include <string.h>

static const char format_name[] = "berth-capabilities-2";

static uint64_t checksum(const char *text, size_t length)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)text[i]) * 1099511628211u;
    return h;
}

static void add_field(struct buf *out, const char *text)
{
    buf_putc(out, '\t');
    for (; *text; text++)
        buf_putc(out, (unsigned char)*text < 0x20 ? ' ' : *text);
}

void registry_encode(const struct capability_set *set, const char *key, struct buf *out)
{
    _cleanup_buf_ struct buf body = {0};
    for (int c = 0; c < CAPABILITY_COUNT; c++) {
        const struct capability_status *s = &set->status[c];
        buf_puts(&body, capability_name((enum capability)c));
        add_field(&body, s->available ? "yes" : s->doubtful ? "failed" : "no");
        add_field(&body, s->evidence);
        add_field(&body, s->reason);
        add_field(&body, s->remedy);
        buf_putc(&body, '\n');
    }
    buf_printf(out, "%s %s %016llx\n", format_name, key,
               (unsigned long long)checksum(buf_text(&body), body.length));
    buf_add(out, buf_text(&body), body.length);
    out->failed |= buf_failed(&body);
}

/* The text up to `end`, cut out of the line; NULL when there is no such end. */
static char *take_field(char **at, char end)
{
    char *start = *at, *stop = strchr(start, end);
    if (!stop)
        return NULL;
    *stop = 0;
    *at = stop + 1;
    return start;
}

static bool copy_field(char *to, size_t size, const char *from)
{
    size_t n = from ? strlen(from) : size;
    if (n >= size)
        return false;
    memcpy(to, from, n + 1);
    return true;
}

static bool decode_line(char **at, enum capability c, struct capability_status *ret)
{
    char *name = take_field(at, '\t'), *available = name ? take_field(at, '\t') : NULL;
    char *evidence = available ? take_field(at, '\t') : NULL;
    char *reason = evidence ? take_field(at, '\t') : NULL;
    char *remedy = reason ? take_field(at, '\n') : NULL;
    if (!remedy || strcmp(name, capability_name(c)) != 0 || strchr(remedy, '\t') ||
        (strcmp(available, "yes") != 0 && strcmp(available, "no") != 0 &&
         strcmp(available, "failed") != 0))
        return false;
    ret->available = available[0] == 'y';
    ret->doubtful = available[0] == 'f';
    return (!ret->available || capability_version(c) > 0) &&
           copy_field(ret->evidence, sizeof ret->evidence, evidence) &&
           copy_field(ret->reason, sizeof ret->reason, reason) &&
           copy_field(ret->remedy, sizeof ret->remedy, remedy);
}

int registry_decode(char *text, size_t length, const char *key, struct capability_set *ret)
{
    char header[128];
    if (strlen(text) != length)
        return REGISTRY_STALE;
    char *body = strchr(text, '\n');
    if (!body)
        return REGISTRY_STALE;
    body++;
    int n = snprintf(header, sizeof header, "%s %s %016llx\n", format_name, key,
                     (unsigned long long)checksum(body, length - (size_t)(body - text)));
    if (n <= 0 || n != body - text || memcmp(header, text, (size_t)n) != 0)
        return REGISTRY_STALE;
    for (int c = 0; c < CAPABILITY_COUNT; c++)
        if (!decode_line(&body, (enum capability)c, &ret->status[c]))
            return REGISTRY_STALE;
    return *body ? REGISTRY_STALE : 0;
}
