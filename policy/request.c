/* This file prints a policy as the members of a request's body that ask for the same; it never
 * prints what a preset says: whoever reads the body has the same presets, and knows then that it is
 * a default and was not asked for by name (CAP-2).
 */
#include "policy/model.h"

#include "runtime/base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_asked(const struct policy_origin *origin)
{
    return origin->kind == ORIGIN_FILE || origin->kind == ORIGIN_FLAG;
}

/* The preset at the end of the chain of `extends`. All but balanced extend balanced, so that the
 * name of another one anywhere says it. */
static const char *preset_of(const struct policy *policy)
{
    const char *name = "balanced";
    for (int i = 0; i < ROW_COUNT; i++) {
        const struct policy_value *value = &policy->values[i];
        if (!schema_is_list(&schema_rows[i])) {
            if (value->origin.kind == ORIGIN_PRESET && strcmp(value->origin.name, "balanced") != 0)
                name = value->origin.name;
            continue;
        }
        for (const struct policy_item *item = value->first; item; item = item->next)
            if (item->origin.kind == ORIGIN_PRESET && strcmp(item->origin.name, "balanced") != 0)
                name = item->origin.name;
    }
    return name;
}

static void put_mounts(const struct spec *spec, bool read_only, struct buf *out)
{
    const char *before = "[";
    for (uint32_t i = 0; i < spec->mount_count; i++) {
        const struct spec_mount *mount = &spec->mounts[i];
        if ((mount->read_only != 0) != read_only)
            continue;
        buf_printf(out, "%s{\"source\": ", before);
        buf_json_string(out, mount->source);
        buf_puts(out, ", \"target\": ");
        buf_json_string(out, mount->target);
        buf_putc(out, '}');
        before = ", ";
    }
    if (strcmp(before, "[") != 0)
        buf_putc(out, ']');
}

static void put_list(const struct schema_row *row, const struct policy_value *value,
                     struct buf *out)
{
    bool object = row->type == TYPE_ENV, any = false;
    for (const struct policy_item *i = value->first; i; i = i->next) {
        if (!is_asked(&i->origin))
            continue;
        buf_puts(out, any ? ", " : object ? "{" : "[");
        item_print_json(row, i, out);
        any = true;
    }
    /* Who wrote an empty list over one that is not has asked for it. */
    if (!any && row->merge == MERGE_REPLACE && is_asked(&value->origin) && value->set) {
        buf_puts(out, object ? "{" : "[");
        any = true;
    }
    if (any)
        buf_putc(out, object ? '}' : ']');
}

/* Nothing when nobody asked for it. */
static void put_value(const struct policy *policy, int id, const struct spec *spec, struct buf *out)
{
    const struct schema_row *row = &schema_rows[id];
    const struct policy_value *value = &policy->values[id];
    if (row->type == TYPE_MOUNTS)
        put_mounts(spec, id == ROW_READ_ONLY, out);
    else if (schema_is_list(row))
        put_list(row, value, out);
    else if (is_asked(&value->origin))
        value_print_json(row, value, out);
}

int policy_request(const struct policy *policy, const struct spec *spec, struct buf *out)
{
    buf_printf(out, "\"policy\": \"%s\"", preset_of(policy));
    const char *section = "";
    for (int i = 0; i < ROW_COUNT; i++) {
        const struct schema_row *row = &schema_rows[i];
        _cleanup_buf_ struct buf value = {0};
        if (row->within != WITHIN_META)
            put_value(policy, i, spec, &value);
        out->failed |= value.failed;
        if (value.length == 0)
            continue;
        const char *of = "";
        for (const struct schema_section *s = schema_sections; s->name; s++)
            if (schema_in_section(row, s->name))
                of = s->name;
        if (strcmp(of, section) == 0 && *of)
            buf_puts(out, ", ");
        else {
            buf_puts(out, *section ? "}, " : ", ");
            if (*of)
                buf_printf(out, "\"%s\": {", of);
            section = of;
        }
        buf_printf(out, "\"%s\": %s", schema_leaf(row), buf_text(&value));
    }
    if (*section)
        buf_putc(out, '}');
    return buf_failed(out) ? -ENOMEM : 0;
}

int policy_keep(const struct policy *policy, struct buf *out, struct err *err)
{
    _cleanup_buf_ struct buf members = {0};
    _cleanup_free_ struct spec *spec = calloc(1, sizeof *spec);
    static const char named[] = "\"policy\": ";
    if (!spec)
        return err_set(err, ERR_INTERNAL, ENOMEM, "keep the policy", NULL, NULL);
    spec_init_zeroed(spec);
    int r = policy_compile(policy, spec, err);
    if (r < 0)
        return r;
    if (policy_request(policy, spec, &members) == 0)
        buf_printf(out, "{\"version\": 1, \"extends\": %s}", buf_text(&members) + sizeof named - 1);
    else
        out->failed = true;
    return buf_failed(out) ? err_set(err, ERR_INTERNAL, ENOMEM, "keep the policy", NULL, NULL) : 0;
}
