/* This file prints a policy as a whole, with the origin of each value; it never changes one. */
#include "policy/model.h"

#include <errno.h>
#include <string.h>

static int done(const struct buf *out)
{
    return buf_failed(out) ? -ENOMEM : 0;
}

static void origin_json(const struct policy_origin *origin, struct buf *out)
{
    _cleanup_buf_ struct buf text = {0};
    origin_print(origin, &text);
    out->failed |= text.failed;
    buf_json_string(out, buf_text(&text));
}

/* "origins": {"limits.memory": "--memory", "network.allow": ["a.jsonc:4:5"]} */
static void origins_json(const struct policy *policy, struct buf *out)
{
    bool first = true;
    buf_puts(out, ",\n  \"origins\": {");
    for (int i = 0; i < ROW_COUNT; i++) {
        const struct schema_row *row = &schema_rows[i];
        const struct policy_value *value = &policy->values[i];
        if (row->within == WITHIN_META)
            continue;
        buf_printf(out, "%s\n    \"%s\": ", first ? "" : ",", row->key);
        first = false;
        if (!schema_is_list(row)) {
            origin_json(&value->origin, out);
            continue;
        }
        buf_putc(out, '[');
        for (const struct policy_item *item = value->first; item; item = item->next) {
            origin_json(&item->origin, out);
            if (item->next)
                buf_puts(out, ", ");
        }
        buf_putc(out, ']');
    }
    buf_puts(out, "\n  }");
}

/* The effective policy as a policy file that stands for itself (its lists add to nothing new). */
static void show_json(const struct policy *policy, bool origins, struct buf *out)
{
    buf_puts(out, "{\n  \"version\": 1");
    for (const struct schema_section *s = schema_sections; s->name; s++) {
        bool first = true;
        buf_printf(out, ",\n  \"%s\": {", s->name);
        for (int i = 0; i < ROW_COUNT; i++) {
            if (!schema_in_section(&schema_rows[i], s->name))
                continue;
            buf_printf(out, "%s\n    \"%s\": ", first ? "" : ",", schema_leaf(&schema_rows[i]));
            value_print_json(&schema_rows[i], &policy->values[i], out);
            first = false;
        }
        buf_puts(out, "\n  }");
    }
    buf_puts(out, ",\n  \"requires\": ");
    value_print_json(&schema_rows[ROW_REQUIRES], &policy->values[ROW_REQUIRES], out);
    if (origins)
        origins_json(policy, out);
    buf_puts(out, "\n}\n");
}

void show_clean(struct buf *out, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;
        if (*p < 0x20 || *p == 0x7f || c1)
            buf_printf(out, "\\x%02x", *p);
        else
            buf_putc(out, (char)*p);
    }
}

static void put_line(struct buf *out, const char *key, const struct buf *value,
                     const struct policy_origin *origin)
{
    _cleanup_buf_ struct buf from = {0};
    size_t begin = out->length;
    buf_printf(out, "%-28s", key);
    show_clean(out, buf_text(value));
    out->failed |= value->failed;
    if (origin) {
        origin_print(origin, &from);
        out->failed |= from.failed;
        while (out->length - begin < 60 && !out->failed)
            buf_putc(out, ' ');
        buf_puts(out, "  # ");
        show_clean(out, buf_text(&from));
    }
    buf_putc(out, '\n');
}

static void show_text(const struct policy *policy, bool origins, struct buf *out)
{
    for (int i = 0; i < ROW_COUNT; i++) {
        const struct schema_row *row = &schema_rows[i];
        const struct policy_value *value = &policy->values[i];
        if (row->within == WITHIN_META)
            continue;
        if (!schema_is_list(row) || !value->first) {
            _cleanup_buf_ struct buf text = {0};
            value_print(row, value, &text);
            put_line(out, row->key, &text, origins ? &value->origin : NULL);
            continue;
        }
        for (const struct policy_item *item = value->first; item; item = item->next) {
            _cleanup_buf_ struct buf text = {0};
            item_print(row, item, &text);
            put_line(out, item == value->first ? row->key : "", &text,
                     origins ? &item->origin : NULL);
        }
    }
}

int policy_show(const struct policy *policy, bool json, bool origins, struct buf *out)
{
    if (json)
        show_json(policy, origins, out);
    else
        show_text(policy, origins, out);
    return done(out);
}
