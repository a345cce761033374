/* This file lays one author's values over another's (POL-2, authorship) and looks for entries that
 * contradict each other; it never compares with a ceiling (within.c does).
 */
#include "policy/model.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int fail_memory(struct err *err)
{
    return err_set(err, ERR_INTERNAL, ENOMEM, "policy", NULL, NULL);
}

static struct policy_item *copy_item(struct arena *arena, const struct policy_item *item)
{
    struct policy_item *copy = arena_alloc(arena, sizeof *copy);
    if (copy)
        *copy = *item;
    return copy;
}

static struct policy_item *find_same(const struct schema_row *row, struct policy_value *value,
                                     const struct policy_item *item)
{
    for (struct policy_item *i = value->first; i; i = i->next)
        if (item_same(row, i, item))
            return i;
    return NULL;
}

/* One entry into a list that is being made. A later author's words replace an earlier one's of the
 * same meaning, so that the origin says who asked last; two mounts at one place are an error. */
static int merge_item(struct arena *arena, const struct schema_row *row, struct policy_value *value,
                      const struct policy_item *item, struct err *err)
{
    struct policy_item *same = find_same(row, value, item);
    if (same && row->type == TYPE_MOUNTS && strcmp(same->text, item->text) != 0) {
        _cleanup_buf_ struct buf other = {0};
        origin_print(&same->origin, &other);
        return policy_fail(err, &item->origin, row->key,
                           "\"%.200s\" is to be mounted at \"%.200s\", where \"%.200s\" is mounted "
                           "already (%s). Give one of them another target.",
                           item->text, item->other, same->text, buf_text(&other));
    }
    if (same) {
        struct policy_item *next = same->next;
        *same = *item;
        same->next = next;
        return 0;
    }
    if (value->count >= row->max)
        return policy_fail(err, &item->origin, row->key,
                           "With this entry there are more than %" PRIu64 " %s.", row->max,
                           row->unit);
    struct policy_item *copy = copy_item(arena, item);
    if (!copy)
        return fail_memory(err);
    value_append(value, copy);
    return 0;
}

int policy_merge(struct policy *policy, enum schema_row_id id, const struct policy_value *layer,
                 bool flag, struct err *err)
{
    const struct schema_row *row = &schema_rows[id];
    if (!schema_is_list(row)) {
        policy->values[id] = *layer;
        return 0;
    }
    /* A fresh list each time: a failure leaves the policy as it was. */
    struct policy_value merged = {.origin = layer->origin, .set = true};
    bool keep = flag || row->merge == MERGE_ADD || row->merge == MERGE_BY_NAME;
    const struct policy_item *sources[] = {keep ? policy->values[id].first : NULL, layer->first};
    for (unsigned s = 0; s < 2; s++)
        for (const struct policy_item *i = sources[s]; i; i = i->next) {
            int r = merge_item(&policy->arena, row, &merged, i, err);
            if (r < 0)
                return r;
        }
    policy->values[id] = merged;
    return 0;
}

/* ---- contradictions ---------------------------------------------------------------------------
 */

static int check_mounts(const struct policy *policy, struct err *err)
{
    const struct policy_value *reads = &policy->values[ROW_READ_ONLY];
    const struct policy_value *writes = &policy->values[ROW_READ_WRITE];
    if (writes->first && reads->count + writes->count > SPEC_MOUNTS_MAX)
        return policy_fail(err, &writes->last->origin, "filesystem.read_write",
                           "read_only and read_write together have %u entries; %d are the most.",
                           reads->count + writes->count, SPEC_MOUNTS_MAX);
    for (const struct policy_item *w = writes->first; w; w = w->next)
        for (const struct policy_item *r = reads->first; r; r = r->next) {
            if (strcmp(w->other, r->other) != 0)
                continue;
            _cleanup_buf_ struct buf other = {0};
            origin_print(&r->origin, &other);
            return policy_fail(err, &w->origin, "filesystem.read_write",
                               "\"%.200s\" is in read_only too (%s). A path is one or the other: "
                               "take it out of one list.",
                               w->other, buf_text(&other));
        }
    return 0;
}

static int check_environment(const struct policy *policy, struct err *err)
{
    size_t used = 0;
    for (const struct policy_item *i = policy->values[ROW_ENV].first; i; i = i->next) {
        used += strlen(i->text) + strlen(i->other) + 2;
        if (used > SPEC_ENV_MAX)
            return policy_fail(err, &i->origin, "process.env",
                               "With this variable the environment has more than %d bytes.",
                               SPEC_ENV_MAX);
    }
    return 0;
}

static int check_publish(const struct policy *policy, struct err *err)
{
    for (const struct policy_item *i = policy->values[ROW_PUBLISH].first; i; i = i->next)
        for (const struct policy_item *k = policy->values[ROW_PUBLISH].first; k != i; k = k->next) {
            if (item_host_port(i) == 0 || item_host_port(i) != item_host_port(k))
                continue;
            _cleanup_buf_ struct buf other = {0};
            origin_print(&k->origin, &other);
            return policy_fail(err, &i->origin, "network.publish",
                               "Port %u of the host leads to %u already (%s), and cannot lead to "
                               "%u too. Write \"0:%u\" for any port that is free.",
                               item_host_port(i), item_port(k), buf_text(&other), item_port(i),
                               item_port(i));
        }
    return 0;
}

int policy_check(const struct policy *policy, struct err *err)
{
    int r = check_mounts(policy, err);
    if (r == 0)
        r = check_publish(policy, err);
    return r < 0 ? r : check_environment(policy, err);
}
