/* This file prints values, entries and origins of a policy; it never changes one. */
#include "policy/model.h"
#include "policy/rule.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void origin_print(const struct policy_origin *origin, struct buf *out)
{
    switch (origin->kind) {
    case ORIGIN_STANDARD:
        buf_puts(out, "standard");
        return;
    case ORIGIN_PRESET:
        buf_printf(out, "preset %s:%u:%u", origin->name, origin->at.line, origin->at.column);
        return;
    case ORIGIN_FILE:
        buf_printf(out, "%s:%u:%u", origin->name, origin->at.line, origin->at.column);
        return;
    case ORIGIN_FLAG:
        buf_puts(out, origin->name);
        return;
    }
}

int policy_fail(struct err *err, const struct policy_origin *origin, const char *path,
                const char *fmt, ...)
{
    char why[POLICY_WHY_MAX + 128];
    _cleanup_buf_ struct buf subject = {0};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    if (origin) {
        origin_print(origin, &subject);
        if (path && *path)
            buf_puts(&subject, ": ");
    }
    buf_puts(&subject, path ? path : "");
    return err_set(err, ERR_INVALID_REQUEST, 0, "policy", buf_text(&subject), "%s", why);
}

static void print_number(const struct schema_row *row, uint64_t number, bool json, struct buf *out)
{
    char text[48];
    if (row->unlimited && number == 0) {
        buf_puts(out, json ? "\"unlimited\"" : "unlimited");
        return;
    }
    if (row->type == TYPE_CPUS) {
        snprintf(text, sizeof text, "%" PRIu64 ".%03u", number / 1000, (unsigned)(number % 1000));
        size_t n = strlen(text);
        while (text[n - 1] == '0')
            text[--n] = 0;
        if (text[n - 1] == '.')
            text[--n] = 0;
        buf_puts(out, text);
        return;
    }
    if (row->type != TYPE_SIZE && row->type != TYPE_DURATION) {
        buf_printf(out, "%" PRIu64, number);
        return;
    }
    if (row->type == TYPE_SIZE)
        units_format_size(number, text, sizeof text);
    else
        units_format_duration(number, text, sizeof text);
    buf_printf(out, json ? "\"%s\"" : "%s", text);
}

static void print_scalar(const struct schema_row *row, const struct policy_value *value, bool json,
                         struct buf *out)
{
    const char *quote = json ? "\"" : "";
    switch (row->type) {
    case TYPE_BOOLEAN:
        buf_puts(out, value->number ? "true" : "false");
        return;
    case TYPE_ENUM:
        buf_printf(out, "%s%s%s", quote, row->choices[value->number].name, quote);
        return;
    case TYPE_USER:
        if (value->number == SPEC_UID_USER || value->number == SPEC_UID_ROOT)
            buf_printf(out, "%s%s%s", quote, value->number ? "user" : "root", quote);
        else
            buf_printf(out, "%" PRIu64, value->number);
        return;
    case TYPE_IMAGE:
    case TYPE_BASE:
        if (json)
            buf_json_string(out, value->text ? value->text : "");
        else
            buf_puts(out, value->text ? value->text : "");
        return;
    default:
        print_number(row, value->number, json, out);
    }
}

void item_print(const struct schema_row *row, const struct policy_item *item, struct buf *out)
{
    buf_puts(out, item->text);
    if (row->type == TYPE_PROTECT && item->directory)
        buf_putc(out, '/');
    if (row->type == TYPE_MOUNTS && strcmp(item->text, item->other) != 0)
        buf_printf(out, " at %s", item->other);
    if (row->type == TYPE_ENV)
        buf_printf(out, "=%s", item->other);
}

void item_print_json(const struct schema_row *row, const struct policy_item *item, struct buf *out)
{
    _cleanup_buf_ struct buf text = {0};
    switch (row->type) {
    case TYPE_RULES:
        rule_print_json(item->rule, out);
        return;
    case TYPE_PORTS:
        if (strchr(item->text, ':'))
            buf_json_string(out, item->text);
        else
            buf_puts(out, item->text);
        return;
    case TYPE_ENV:
        buf_json_string(out, item->text);
        buf_puts(out, ": ");
        buf_json_string(out, item->other);
        return;
    case TYPE_MOUNTS:
        if (strcmp(item->text, item->other) != 0) {
            buf_puts(out, "{\"source\": ");
            buf_json_string(out, item->text);
            buf_puts(out, ", \"target\": ");
            buf_json_string(out, item->other);
            buf_putc(out, '}');
            return;
        }
        buf_json_string(out, item->text);
        return;
    default:
        item_print(row, item, &text);
        out->failed |= text.failed;
        buf_json_string(out, buf_text(&text));
    }
}

void value_print(const struct schema_row *row, const struct policy_value *value, struct buf *out)
{
    if (!schema_is_list(row)) {
        print_scalar(row, value, false, out);
        return;
    }
    if (!value->first)
        buf_puts(out, "none");
    for (const struct policy_item *i = value->first; i; i = i->next) {
        item_print(row, i, out);
        if (i->next)
            buf_puts(out, ", ");
    }
}

void value_print_json(const struct schema_row *row, const struct policy_value *value,
                      struct buf *out)
{
    if (!schema_is_list(row)) {
        print_scalar(row, value, true, out);
        return;
    }
    bool object = row->type == TYPE_ENV;
    buf_putc(out, object ? '{' : '[');
    for (const struct policy_item *i = value->first; i; i = i->next) {
        item_print_json(row, i, out);
        if (i->next)
            buf_puts(out, ", ");
    }
    buf_putc(out, object ? '}' : ']');
}

/* ---- the rules of a network -------------------------------------------------------------------
 */

static void add_rules(struct buf *out, const struct spec_rule *rules, uint32_t count)
{
    buf_putc(out, '[');
    for (uint32_t i = 0; i < count && i < SPEC_RULES_MAX; i++) {
        buf_puts(out, i ? "," : "");
        rule_print_json(&rules[i], out);
    }
    buf_putc(out, ']');
}

void policy_print_network(const struct spec_network *network, struct buf *out)
{
    static const char *const modes[] = {[SPEC_EGRESS_DENY] = "deny",
                                        [SPEC_EGRESS_PUBLIC_ONLY] = "public-only",
                                        [SPEC_EGRESS_ALLOW] = "allow"};
    uint32_t egress = network->egress < ARRAY_LENGTH(modes) && modes[network->egress]
                          ? network->egress
                          : SPEC_EGRESS_DENY;
    buf_printf(out, "{\"egress\":\"%s\",\"sni\":\"%s\",\"allow\":", modes[egress],
               network->sni_match ? "match" : "off");
    add_rules(out, network->allow, network->allow_count);
    buf_puts(out, ",\"deny\":");
    add_rules(out, network->deny, network->deny_count);
    buf_printf(out, ",\"allow_private\":%s,\"publish\":[",
               network->allow_private ? "true" : "false");
    for (uint32_t i = 0; i < network->publish_count && i < SPEC_PUBLISH_MAX; i++) {
        const struct spec_publish *port = &network->publish[i];
        buf_puts(out, i ? "," : "");
        if (port->host_port == port->port)
            buf_printf(out, "%u", port->port);
        else
            buf_printf(out, "\"%u:%u\"", port->host_port, port->port);
    }
    buf_puts(out, "]}");
}
