/* This file knows what every field of a spec needs, and refuses what this host cannot give; it
 * never probes and never changes a field that somebody asked for.
 */
#include "provider/capability.h"

#include "runtime/base/fd.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int version;
} rows[CAPABILITY_COUNT] = {
#define X(sym, text, number) [CAP_##sym] = {text, number},
    CAPABILITIES(X)
#undef X
};

const char *capability_name(enum capability c)
{
    return (unsigned)c < CAPABILITY_COUNT ? rows[c].name : "";
}

int capability_version(enum capability c)
{
    return (unsigned)c < CAPABILITY_COUNT ? rows[c].version : 0;
}

int capability_by_name(const char *name)
{
    for (int c = 0; c < CAPABILITY_COUNT; c++)
        if (strcmp(rows[c].name, name) == 0)
            return c;
    return -1;
}

static void need(struct capability_mask *mask, enum capability c)
{
    mask->bits[(unsigned)c / 64] |= UINT64_C(1) << ((unsigned)c % 64);
}

static bool has(const struct capability_mask *mask, unsigned c)
{
    return mask->bits[c / 64] >> (c % 64) & 1;
}

void capability_part(struct spec *ret)
{
    spec_init(ret);
    ret->process.uid = ret->process.gid = SPEC_UID_USER;
}

void capability_name_required(struct spec *spec, enum capability c)
{
    spec->requires_mask[(unsigned)c / 64] |= UINT64_C(1) << ((unsigned)c % 64);
}

/* ---- what a spec needs ------------------------------------------------------------------------
 */

/* Of every session, whatever it asks: its own ids, the filter, and an end that leaves nothing.
 * Landlock is not here: it is a second layer behind the mounts, named in `requires` by who counts
 * on it. Nor is the idmapped workspace: a rootless session keeps WS-1 without it. */
static void need_always(struct capability_mask *mask)
{
    need(mask, CAP_ISOLATION_USER_NAMESPACE);
    need(mask, CAP_ISOLATION_SECCOMP);
    need(mask, CAP_EXEC_TREE_KILL);
}

static void need_filesystem(const struct spec *spec, struct capability_mask *mask)
{
    static const enum capability images[] = {[SPEC_IMAGE_HOST] = CAP_ROOTFS_HOST,
                                             [SPEC_IMAGE_DIR] = CAP_ROOTFS_DIRECTORY,
                                             [SPEC_IMAGE_NAME] = CAP_ROOTFS_IMAGE};
    static const enum capability workspaces[] = {
        [SPEC_WORKSPACE_DIRECTORY] = CAP_WORKSPACE_DIRECTORY,
        [SPEC_WORKSPACE_VOLUME] = CAP_WORKSPACE_VOLUME,
        [SPEC_WORKSPACE_TMPFS] = CAP_WORKSPACE_TMPFS,
        [SPEC_WORKSPACE_DISK] = CAP_WORKSPACE_DISK,
        [SPEC_WORKSPACE_SNAPSHOT] = CAP_WORKSPACE_SNAPSHOT};
    uint32_t image = spec->image.kind, kind = spec->workspace.kind;
    if (image >= SPEC_IMAGE_HOST && image < ARRAY_LENGTH(images))
        need(mask, images[image]);
    if (kind != SPEC_WORKSPACE_NONE && kind < ARRAY_LENGTH(workspaces))
        need(mask, workspaces[kind]);
    /* A size is part of what tmpfs and disk are; on a directory or volume it is a quota. */
    if (spec->workspace.size_bytes &&
        (kind == SPEC_WORKSPACE_DIRECTORY || kind == SPEC_WORKSPACE_VOLUME))
        need(mask, CAP_LIMITS_WORKSPACE_BYTES);
}

static void need_rules(const struct spec_rule *rules, uint32_t count, struct capability_mask *mask)
{
    for (uint32_t i = 0; i < count && i < SPEC_RULES_MAX; i++)
        need(mask, rules[i].family ? CAP_NETWORK_CIDR_RULES : CAP_NETWORK_HOST_RULES);
}

static void need_network(const struct spec *spec, struct capability_mask *mask)
{
    switch ((enum spec_egress)spec->network.egress) {
    case SPEC_EGRESS_DENY:
        need(mask, CAP_NETWORK_DENY);
        break;
    case SPEC_EGRESS_PUBLIC_ONLY:
        need(mask, CAP_NETWORK_PUBLIC_ONLY);
        break;
    case SPEC_EGRESS_ALLOW:
        need(mask, CAP_NETWORK_ALLOW);
        break;
    }
    need_rules(spec->network.allow, spec->network.allow_count, mask);
    need_rules(spec->network.deny, spec->network.deny_count, mask);
    if (spec->network.publish_count)
        need(mask, CAP_NETWORK_PUBLISH);
}

/* A limit: the capability, whether the spec has a value for it, and its bit in `asked`. */
static const struct limit {
    enum capability capability;
    uint32_t asked;
    size_t offset; /* of the uint64_t in struct spec_limits; SIZE_MAX: there is no value */
} limits[] = {
    {CAP_LIMITS_MEMORY, SPEC_LIMIT_MEMORY, offsetof(struct spec_limits, memory_bytes)},
    {CAP_LIMITS_CPU, SPEC_LIMIT_CPU, offsetof(struct spec_limits, cpu_millis)},
    {CAP_LIMITS_PIDS, SPEC_LIMIT_PIDS, offsetof(struct spec_limits, pids)},
    {CAP_LIMITS_OPEN_FILES, SPEC_LIMIT_OPEN_FILES, offsetof(struct spec_limits, open_files)},
    {CAP_LIMITS_SCRATCH_BYTES, SPEC_LIMIT_SCRATCH_BYTES,
     offsetof(struct spec_limits, scratch_bytes)},
    {CAP_LIMITS_SCRATCH_INODES, SPEC_LIMIT_SCRATCH_INODES,
     offsetof(struct spec_limits, scratch_inodes)},
    {CAP_LIMITS_IO, SPEC_LIMIT_IO, SIZE_MAX},
};

static uint64_t *limit_value(const struct limit *limit, struct spec_limits *of)
{
    return limit->offset == SIZE_MAX ? NULL : (uint64_t *)(void *)((char *)of + limit->offset);
}

/* "No limit" (0) needs nothing, even when somebody asked for it by name; a limit without a value
 * (io) is there when it was asked for. */
static bool limit_wanted(const struct limit *limit, const struct spec_limits *of)
{
    struct spec_limits copy = *of;
    const uint64_t *value = limit_value(limit, &copy);
    return value ? *value != 0 : (of->asked & limit->asked) != 0;
}

void capability_required(const struct spec *spec, struct capability_mask *ret)
{
    struct capability_mask mask = {{spec->requires_mask[0], spec->requires_mask[1]}};
    need_always(&mask);
    need_filesystem(spec, &mask);
    need_network(spec, &mask);
    for (size_t i = 0; i < ARRAY_LENGTH(limits); i++)
        if (limit_wanted(&limits[i], &spec->limits))
            need(&mask, limits[i].capability);
    if (spec->limits.exec_timeout_ms)
        need(&mask, CAP_EXEC_TIMEOUT);
    if (spec->process.explain_syscalls)
        need(&mask, CAP_AUDIT_SYSCALL);
    /* Where a session has one id, it is that of "user". */
    if (spec->process.uid != SPEC_UID_USER || spec->process.gid != SPEC_UID_USER)
        need(&mask, CAP_ISOLATION_ID_RANGE);
    *ret = mask;
}

/* ---- refusing ----------------------------------------------------------------------------------
 */

static bool available(const struct capability_set *set, unsigned c)
{
    return capability_version((enum capability)c) > 0 && set->status[c].available;
}

static const char *reason_of(const struct capability_set *set, unsigned c)
{
    if (capability_version((enum capability)c) == 0)
        return "Not built in this release of berth.";
    return set->status[c].reason[0] ? set->status[c].reason : "Its probe failed.";
}

/* "a, b" for the members of `mask` that have the reason of `first`, which leave it. */
static void add_group(struct buf *out, struct capability_mask *mask,
                      const struct capability_set *set, unsigned first)
{
    const char *reason = reason_of(set, first), *comma = "";
    for (unsigned c = first; c < CAPABILITY_COUNT; c++) {
        if (!has(mask, c) || strcmp(reason_of(set, c), reason) != 0)
            continue;
        mask->bits[c / 64] &= ~(UINT64_C(1) << (c % 64));
        buf_printf(out, "%s%s", comma, rows[c].name);
        comma = ", ";
    }
}

/* Every name first, because a long list of reasons may be cut; then each reason once. */
static void describe(const struct capability_mask *missing, const struct capability_set *set,
                     struct buf *names, struct buf *reasons)
{
    const char *comma = "";
    for (unsigned c = 0; c < CAPABILITY_COUNT; c++)
        if (has(missing, c)) {
            buf_printf(names, "%s%s", comma, rows[c].name);
            comma = ", ";
        }
    struct capability_mask left = *missing;
    bool one = __builtin_popcountll(missing->bits[0]) + __builtin_popcountll(missing->bits[1]) == 1;
    for (unsigned c = 0; c < CAPABILITY_COUNT; c++) {
        if (!has(&left, c))
            continue;
        _cleanup_buf_ struct buf group = {0};
        add_group(&group, &left, set, c);
        buf_printf(reasons, "%s%s%s%s", reasons->length ? " " : "", one ? "" : buf_text(&group),
                   one ? "" : ": ", reason_of(set, c));
        const char *reason = reason_of(set, c);
        size_t length = strlen(reason);
        buf_puts(reasons, length && reason[length - 1] != '.' ? "." : "");
        if (capability_version((enum capability)c) > 0 && set->status[c].remedy[0])
            buf_printf(reasons, " To do: %s", set->status[c].remedy);
    }
}

int capability_check(const struct spec *spec, const struct capability_set *set,
                     struct capability_mask *ret_missing, struct err *err)
{
    struct capability_mask mask, missing = {{0}};
    capability_required(spec, &mask);
    for (unsigned c = 0; c < CAPABILITY_COUNT; c++)
        if (has(&mask, c) && !available(set, c))
            need(&missing, (enum capability)c);
    /* A bit beyond the table is a capability that this berth does not know: never ignored. */
    bool unknown = false;
    for (unsigned c = CAPABILITY_COUNT; c < 128; c++)
        unknown |= has(&mask, c);
    if (!unknown && !missing.bits[0] && !missing.bits[1])
        return 0;
    if (ret_missing)
        *ret_missing = missing;
    _cleanup_buf_ struct buf names = {0}, reasons = {0};
    describe(&missing, set, &names, &reasons);
    if (unknown)
        buf_puts(&names, names.length ? ", and one that this berth does not know"
                                      : "one that this berth does not know");
    return err_set(err, ERR_CAPABILITY_UNAVAILABLE, 0, "missing", buf_text(&names), "%s",
                   buf_text(&reasons));
}

void capability_drop_defaults(struct spec *spec, const struct capability_set *set,
                              struct buf *notes)
{
    struct capability_mask dropped = {{0}};
    const struct capability_mask named = {{spec->requires_mask[0], spec->requires_mask[1]}};
    for (size_t i = 0; i < ARRAY_LENGTH(limits); i++) {
        enum capability c = limits[i].capability;
        uint64_t *value = limit_value(&limits[i], &spec->limits);
        if (!value || *value == 0 || available(set, c) || (spec->limits.asked & limits[i].asked) ||
            has(&named, c))
            continue;
        *value = 0;
        need(&dropped, c);
    }
    for (unsigned c = 0; c < CAPABILITY_COUNT; c++) {
        if (!has(&dropped, c))
            continue;
        buf_puts(notes, "runs without ");
        const char *reason = reason_of(set, c);
        add_group(notes, &dropped, set, c);
        buf_printf(notes, ": %s\n", reason);
    }
}
