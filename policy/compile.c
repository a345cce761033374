/* This file turns a policy into the policy's part of a struct spec; it never fills in ids or the
 * workspace, and never looks at the host.
 */
#include "policy/model.h"

#include "runtime/base/fd.h"
#include "runtime/plan/seccomp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number at its place in the spec, as wide as the field is. */
static void put_scalar(const struct schema_row *row, const struct policy_value *value,
                       struct spec *spec)
{
    uint64_t number = row->choices ? row->choices[value->number].value : value->number;
    unsigned char *at = (unsigned char *)spec + row->offset;
    uint32_t four = (uint32_t)number;
    if (row->width == sizeof number)
        memcpy(at, &number, sizeof number);
    else if (row->width == sizeof four)
        memcpy(at, &four, sizeof four);
    else
        at[0] = (unsigned char)number;
}

static void put_image(const struct policy *policy, struct spec *spec)
{
    const char *image = policy->values[ROW_IMAGE].text;
    memset(&spec->image, 0, sizeof spec->image);
    if (strcmp(image, "host") == 0) {
        spec->image.kind = SPEC_IMAGE_HOST;
        return;
    }
    bool dir = strncmp(image, "dir:", 4) == 0;
    spec->image.kind = dir ? SPEC_IMAGE_DIR : SPEC_IMAGE_NAME;
    snprintf(spec->image.path, sizeof spec->image.path, "%s", dir ? image + 4 : image);
}

static bool is_beneath(const char *path, const char *top)
{
    size_t n = strlen(top);
    return strncmp(path, top, n) == 0 && (path[n] == 0 || path[n] == '/');
}

/* A mount that covers a protected path would stand in its place, and one beneath it would make a
 * part of it writable. */
static int check_protected(const struct policy *policy, const struct policy_item *mount,
                           const struct spec *spec, struct err *err)
{
    const char *workspace = spec->workspace.mount_path;
    const char *key = mount->origin.kind == ORIGIN_FLAG ? mount->origin.name : "filesystem";
    if (!workspace[0])
        return 0;
    if (strcmp(mount->other, workspace) == 0)
        return policy_fail(err, &mount->origin, key,
                           "\"%.200s\" is to be mounted where the workspace is. Give it another "
                           "target.",
                           mount->other);
    for (const struct policy_item *p = policy->values[ROW_PROTECT].first; p; p = p->next) {
        char path[SPEC_PATH_MAX + SPEC_PROTECT_PATH_MAX + 1];
        snprintf(path, sizeof path, "%s/%s", strcmp(workspace, "/") == 0 ? "" : workspace,
                 item_protected_path(p));
        bool inside = strlen(mount->other) > strlen(workspace);
        if (!is_beneath(mount->other, path) && !(inside && is_beneath(path, mount->other)))
            continue;
        _cleanup_buf_ struct buf other = {0};
        origin_print(&p->origin, &other);
        return policy_fail(err, &mount->origin, key,
                           "\"%.200s\" would be mounted over or in \"%.200s\", which is protected "
                           "(%s). A protected path is what the workspace has there.",
                           mount->other, path, buf_text(&other));
    }
    return 0;
}

/* What a spec does not use of an array is zero (spec.h), so only the rest is cleared: the whole
 * would be 150 KB of memory that a start never needs. */
static void clear(void *array, uint32_t used, uint32_t most, size_t size)
{
    memset(array, 0, (used < most ? used : most) * size);
}

static int put_mounts(const struct policy *policy, struct spec *spec, struct err *err)
{
    clear(spec->mounts, spec->mount_count, SPEC_MOUNTS_MAX, sizeof spec->mounts[0]);
    spec->mount_count = 0;
    for (int pass = 0; pass < 2; pass++)
        for (const struct policy_item *i =
                 policy->values[pass ? ROW_READ_WRITE : ROW_READ_ONLY].first;
             i; i = i->next) {
            int r = check_protected(policy, i, spec, err);
            if (r < 0)
                return r;
            struct spec_mount *mount = &spec->mounts[spec->mount_count++];
            snprintf(mount->source, sizeof mount->source, "%s", i->text);
            snprintf(mount->target, sizeof mount->target, "%s", i->other);
            mount->read_only = pass == 0;
        }
    return 0;
}

/* "X" and "~/X" are one path with the stronger rule of the two; the second still says that X is
 * found in homes. */
static struct spec_protect *find_protect(struct spec *spec, const char *path)
{
    for (uint32_t i = 0; i < spec->protect_count; i++)
        if (strcmp(spec->protect[i].path, path) == 0)
            return &spec->protect[i];
    struct spec_protect *protect = &spec->protect[spec->protect_count++];
    snprintf(protect->path, sizeof protect->path, "%s", path);
    protect->is_default = protect->home = 1;
    return protect;
}

static void put_protect(const struct policy *policy, struct spec *spec)
{
    clear(spec->protect, spec->protect_count, SPEC_PROTECT_MAX, sizeof spec->protect[0]);
    spec->protect_count = 0;
    for (const struct policy_item *i = policy->values[ROW_PROTECT].first; i; i = i->next) {
        struct spec_protect *protect = find_protect(spec, item_protected_path(i));
        if (i->origin.kind != ORIGIN_PRESET && i->origin.kind != ORIGIN_STANDARD)
            protect->is_default = 0;
        if (i->home)
            protect->home_sign = 1;
        else
            protect->home = 0;
    }
}

static uint32_t put_rules(const struct policy_value *value, struct spec_rule rules[SPEC_RULES_MAX],
                          uint32_t used)
{
    uint32_t count = 0;
    clear(rules, used, SPEC_RULES_MAX, sizeof *rules);
    for (const struct policy_item *i = value->first; i; i = i->next)
        rules[count++] = *i->rule;
    return count;
}

/* The numbers of the rows that are one field each. */
static uint64_t number_of(const struct policy *policy, enum schema_row_id id)
{
    const struct schema_row *row = &schema_rows[id];
    uint64_t number = policy->values[id].number;
    return row->choices ? row->choices[number].value : number;
}

void policy_network(const struct policy *policy, struct spec_network *net)
{
    net->egress = (uint32_t)number_of(policy, ROW_EGRESS);
    net->sni_match = (uint8_t)number_of(policy, ROW_SNI);
    net->allow_private = (uint8_t)number_of(policy, ROW_ALLOW_PRIVATE);
    net->allow_count = put_rules(&policy->values[ROW_ALLOW], net->allow, net->allow_count);
    net->deny_count = put_rules(&policy->values[ROW_DENY], net->deny, net->deny_count);
    memset(net->publish, 0, sizeof net->publish);
    net->publish_count = 0;
    for (const struct policy_item *i = policy->values[ROW_PUBLISH].first; i; i = i->next)
        net->publish[net->publish_count++] =
            (struct spec_publish){.host_port = item_host_port(i), .port = item_port(i)};
}

void policy_compile_network(const struct policy *policy, struct spec_network *ret)
{
    memset(ret, 0, sizeof *ret);
    policy_network(policy, ret);
}

static int compare_numbers(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static void put_process(const struct policy *policy, struct spec *spec)
{
    spec->process.uid = (uint32_t)policy->values[ROW_USER].number;
    spec->process.gid = spec->process.uid;
    memset(spec->process.seccomp_allow, 0, sizeof spec->process.seccomp_allow);
    spec->process.seccomp_allow_count = 0;
    for (const struct policy_item *i = policy->values[ROW_SECCOMP_ALLOW].first; i; i = i->next)
        spec->process.seccomp_allow[spec->process.seccomp_allow_count++] = i->number;
    qsort(spec->process.seccomp_allow, spec->process.seccomp_allow_count,
          sizeof spec->process.seccomp_allow[0], compare_numbers);

    clear(spec->process.env, spec->process.env_bytes, SPEC_ENV_MAX, 1);
    spec->process.env_bytes = spec->process.env_count = 0;
    for (const struct policy_item *i = policy->values[ROW_ENV].first; i; i = i->next) {
        /* policy_check() has counted: it fits. */
        int n = snprintf(spec->process.env + spec->process.env_bytes,
                         SPEC_ENV_MAX - spec->process.env_bytes, "%s=%s", i->text, i->other);
        spec->process.env_bytes += (uint32_t)n + 1;
        spec->process.env_count++;
    }
}

static void put_requires(const struct policy *policy, struct spec *spec)
{
    memset(spec->requires_mask, 0, sizeof spec->requires_mask);
    for (const struct policy_item *i = policy->values[ROW_REQUIRES].first; i; i = i->next)
        spec->requires_mask[i->number / 64] |= 1ull << (i->number % 64);
}

/* What only says how that is reached which may be reached. Not while a policy is put together: a
 * later author may add what gives it a meaning. What a preset or nobody said is none's mistake. */
int policy_check_meaning(const struct policy *policy, struct err *err)
{
    static const struct {
        enum schema_row_id id;
        uint64_t number; /* that asks for something */
        const char *what;
    } rows[] = {{ROW_SNI, 0, "\"off\" lets a TLS connection ask for another name"},
                {ROW_ALLOW_PRIVATE, 1, "true opens private addresses"}};
    if (number_of(policy, ROW_EGRESS) != SPEC_EGRESS_DENY || policy->values[ROW_ALLOW].first)
        return 0;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        const struct policy_value *value = &policy->values[rows[i].id];
        bool said = value->origin.kind == ORIGIN_FILE || value->origin.kind == ORIGIN_FLAG;
        if (said && number_of(policy, rows[i].id) == rows[i].number)
            return policy_fail(
                err, &value->origin, schema_rows[rows[i].id].key,
                "It means nothing here: %s where something may be reached, and with "
                "\"egress\": \"deny\" and nothing in \"allow\" nothing may. Add what "
                "may be reached to \"allow\", or take this out.",
                rows[i].what);
    }
    return 0;
}

int policy_compile(const struct policy *policy, struct spec *spec, struct err *err)
{
    int r = policy_check_meaning(policy, err);
    if (r == 0)
        r = put_mounts(policy, spec, err);
    if (r < 0)
        return r;
    put_image(policy, spec);
    put_protect(policy, spec);
    policy_network(policy, &spec->network);
    put_process(policy, spec);
    put_requires(policy, spec);
    spec->limits.asked = 0;
    for (int i = 0; i < ROW_COUNT; i++) {
        const struct schema_row *row = &schema_rows[i];
        const struct policy_value *value = &policy->values[i];
        if (row->width)
            put_scalar(row, value, spec);
        bool asked = value->origin.kind == ORIGIN_FILE || value->origin.kind == ORIGIN_FLAG;
        /* "unlimited" asks for nothing. */
        if (asked && !(row->unlimited && value->number == 0))
            spec->limits.asked |= row->asked;
    }
    return 0;
}
