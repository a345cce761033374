/* This file proves that every field of a spec is known to the capability registry, that a refusal
 * names everything that is missing, and that only defaults are dropped (CAP-2). */
#include "provider/capability.h"
#include "provider/registry.h"
#include "runtime/base/fd.h"
#include "runtime/host/probe.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct spec spec;
static struct capability_set set;

static void plain(void)
{
    spec_init(&spec);
    spec.image.kind = SPEC_IMAGE_HOST;
    spec.network.egress = SPEC_EGRESS_DENY;
    spec.process.seccomp = SPEC_SECCOMP_DEFAULT;
    spec.process.uid = spec.process.gid = SPEC_UID_USER;
}

static void everything_built_works(void)
{
    for (int c = 0; c < CAPABILITY_COUNT; c++) {
        memset(&set.status[c], 0, sizeof set.status[c]);
        set.status[c].available = capability_version((enum capability)c) > 0;
    }
}

static bool needs(enum capability c)
{
    struct capability_mask mask;
    capability_required(&spec, &mask);
    return mask.bits[c / 64] >> (c % 64) & 1;
}

TestSuite(capability, .init = plain);

/* One row per field of struct spec: set it to something, and say what that needs. A field that
 * needs nothing has CAPABILITY_COUNT and the reason. */
enum { NOTHING = CAPABILITY_COUNT };
#define FIELD(member, size_of_value, value, capability, why)                          \
    {                                                                                 \
#member, offsetof(struct spec, member), size_of_value, value, capability, why \
    }

static const struct field {
    const char *name;
    size_t offset, size;
    uint64_t value;
    int capability;
    const char *why_not;
} fields[] = {
    FIELD(version, 4, SPEC_VERSION, NOTHING, "shape"),
    FIELD(size, 4, sizeof(struct spec), NOTHING, "shape"),
    FIELD(workspace_id, 1, 'a', NOTHING, "a name"),
    FIELD(session_id, 1, 'a', NOTHING, "a name"),
    FIELD(image.kind, 4, SPEC_IMAGE_HOST, CAP_ROOTFS_HOST, ""),
    FIELD(image.kind, 4, SPEC_IMAGE_DIR, CAP_ROOTFS_DIRECTORY, ""),
    FIELD(image.kind, 4, SPEC_IMAGE_NAME, CAP_ROOTFS_IMAGE, ""),
    FIELD(image.path, 1, '/', NOTHING, "belongs to the kind"),
    FIELD(workspace.kind, 4, SPEC_WORKSPACE_NONE, NOTHING, "part of the scratch"),
    FIELD(workspace.kind, 4, SPEC_WORKSPACE_DIRECTORY, CAP_WORKSPACE_DIRECTORY, ""),
    FIELD(workspace.kind, 4, SPEC_WORKSPACE_VOLUME, CAP_WORKSPACE_VOLUME, ""),
    FIELD(workspace.kind, 4, SPEC_WORKSPACE_TMPFS, CAP_WORKSPACE_TMPFS, ""),
    FIELD(workspace.kind, 4, SPEC_WORKSPACE_DISK, CAP_WORKSPACE_DISK, ""),
    FIELD(workspace.kind, 4, SPEC_WORKSPACE_SNAPSHOT, CAP_WORKSPACE_SNAPSHOT, ""),
    FIELD(workspace.read_only, 1, 1, NOTHING, "a mount flag, always there"),
    FIELD(workspace.exclusive, 1, 1, NOTHING, "a lock, always there"),
    FIELD(workspace.allow_root_owned, 1, 1, NOTHING, "a permission"),
    FIELD(workspace.reserved, 1, 0, NOTHING, "shape"),
    FIELD(workspace.size_bytes, 8, 4096, NOTHING, "alone; with a directory see the next test"),
    FIELD(workspace.path, 1, '/', NOTHING, "belongs to the kind"),
    FIELD(workspace.volume, 1, 'v', NOTHING, "belongs to the kind"),
    FIELD(workspace.mount_path, 1, '/', NOTHING, "a path inside"),
    FIELD(mount_count, 4, 1, NOTHING, "binds, always there"),
    FIELD(mounts, 1, '/', NOTHING, "binds, always there"),
    FIELD(protect_count, 4, 1, NOTHING, "binds, always there"),
    FIELD(protect, 1, 'p', NOTHING, "binds, always there"),
    FIELD(network.egress, 4, SPEC_EGRESS_DENY, CAP_NETWORK_DENY, ""),
    FIELD(network.egress, 4, SPEC_EGRESS_PUBLIC_ONLY, CAP_NETWORK_PUBLIC_ONLY, ""),
    FIELD(network.egress, 4, SPEC_EGRESS_ALLOW, CAP_NETWORK_ALLOW, ""),
    FIELD(network.sni_match, 1, 1, NOTHING, "a property of host rules, which are needed then"),
    FIELD(network.allow_private, 1, 1, NOTHING, "a property of rules, which are needed then"),
    FIELD(network.reserved, 2, 0, NOTHING, "shape"),
    FIELD(network.allow_count, 4, 1, CAP_NETWORK_HOST_RULES, ""),
    FIELD(network.deny_count, 4, 1, CAP_NETWORK_HOST_RULES, ""),
    FIELD(network.publish_count, 4, 1, CAP_NETWORK_PUBLISH, ""),
    FIELD(network.publish, 2, 80, NOTHING, "counted"),
    FIELD(network.allow, 1, 'h', NOTHING, "counted"),
    FIELD(network.deny, 1, 'h', NOTHING, "counted"),
    FIELD(process.uid, 4, SPEC_UID_USER, NOTHING, "every session has that id"),
    FIELD(process.uid, 4, 0, CAP_ISOLATION_ID_RANGE, ""),
    FIELD(process.uid, 4, 1001, CAP_ISOLATION_ID_RANGE, ""),
    FIELD(process.gid, 4, SPEC_UID_USER, NOTHING, "every session has that id"),
    FIELD(process.gid, 4, 0, CAP_ISOLATION_ID_RANGE, ""),
    FIELD(process.seccomp, 4, SPEC_SECCOMP_STRICT, CAP_ISOLATION_SECCOMP, ""),
    FIELD(process.seccomp_allow_count, 4, 1, CAP_ISOLATION_SECCOMP, ""),
    FIELD(process.seccomp_allow, 4, 1, NOTHING, "counted"),
    FIELD(process.explain_syscalls, 1, 1, CAP_AUDIT_SYSCALL, ""),
    FIELD(process.reserved, 1, 0, NOTHING, "shape"),
    FIELD(process.env_bytes, 4, 4, NOTHING, "data"),
    FIELD(process.env_count, 4, 1, NOTHING, "data"),
    FIELD(process.env, 1, 'A', NOTHING, "data"),
    FIELD(limits.memory_bytes, 8, 1, CAP_LIMITS_MEMORY, ""),
    FIELD(limits.scratch_bytes, 8, 1, CAP_LIMITS_SCRATCH_BYTES, ""),
    FIELD(limits.scratch_inodes, 8, 1, CAP_LIMITS_SCRATCH_INODES, ""),
    FIELD(limits.cpu_millis, 8, 1, CAP_LIMITS_CPU, ""),
    FIELD(limits.pids, 8, 1, CAP_LIMITS_PIDS, ""),
    FIELD(limits.open_files, 8, 1, CAP_LIMITS_OPEN_FILES, ""),
    FIELD(limits.output_bytes, 8, 1, NOTHING, "kept by the controller itself"),
    FIELD(limits.exec_timeout_ms, 8, 1, CAP_EXEC_TIMEOUT, ""),
    FIELD(limits.asked, 4, SPEC_LIMIT_IO, CAP_LIMITS_IO, ""),
    FIELD(limits.reserved, 4, 0, NOTHING, "shape"),
    FIELD(requires_mask, 8, UINT64_C(1) << CAP_LIMITS_IO, CAP_LIMITS_IO, ""),
};

static uint64_t bit(const struct capability_mask *mask, int c)
{
    return mask->bits[c / 64] >> (c % 64) & 1;
}

Test(capability, each_field_needs_exactly_what_its_row_says)
{
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        const struct field *f = &fields[i];
        plain();
        struct capability_mask before, after;
        capability_required(&spec, &before);
        memcpy((char *)&spec + f->offset, &f->value, f->size);
        capability_required(&spec, &after);
        if (f->capability != NOTHING) {
            cr_expect(bit(&after, f->capability), "%s: needs nothing", f->name);
            continue;
        }
        cr_expect(f->why_not[0], "%s: say why it needs nothing", f->name);
        cr_expect((after.bits[0] & ~before.bits[0]) == 0 && (after.bits[1] & ~before.bits[1]) == 0,
                  "%s: needs something new, and its row says nothing", f->name);
    }
}

/* The rows cover the struct: between two neighbouring fields there is no byte that no row names,
 * but for arrays, whose first byte is named, and padding below the next field's alignment. */
Test(capability, the_rows_name_every_member_of_the_spec)
{
    static const struct {
        size_t offset, size;
    } members[] = {
#define M(m) {offsetof(struct spec, m), sizeof spec.m}
        M(version),
        M(size),
        M(workspace_id),
        M(session_id),
        M(image.kind),
        M(image.path),
        M(workspace.kind),
        M(workspace.read_only),
        M(workspace.exclusive),
        M(workspace.allow_root_owned),
        M(workspace.reserved),
        M(workspace.size_bytes),
        M(workspace.path),
        M(workspace.volume),
        M(workspace.mount_path),
        M(mount_count),
        M(protect_count),
        M(mounts),
        M(protect),
        M(network.egress),
        M(network.sni_match),
        M(network.allow_private),
        M(network.reserved),
        M(network.allow_count),
        M(network.deny_count),
        M(network.publish_count),
        M(network.publish),
        M(network.allow),
        M(network.deny),
        M(process.uid),
        M(process.gid),
        M(process.seccomp),
        M(process.seccomp_allow_count),
        M(process.seccomp_allow),
        M(process.explain_syscalls),
        M(process.reserved),
        M(process.env_bytes),
        M(process.env_count),
        M(process.env),
        M(limits.memory_bytes),
        M(limits.scratch_bytes),
        M(limits.scratch_inodes),
        M(limits.cpu_millis),
        M(limits.pids),
        M(limits.open_files),
        M(limits.output_bytes),
        M(limits.exec_timeout_ms),
        M(limits.asked),
        M(limits.reserved),
        M(requires_mask),
#undef M
    };
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        cr_assert_geq(members[i].offset, at, "member %zu overlaps", i);
        cr_assert_lt(members[i].offset - at, 8, "a member before offset %zu is not listed",
                     members[i].offset);
        at = members[i].offset + members[i].size;
        bool named = false;
        for (size_t k = 0; k < ARRAY_LENGTH(fields); k++)
            named |= fields[k].offset == members[i].offset;
        cr_assert(named, "no row for the member at offset %zu", members[i].offset);
    }
    cr_assert_lt(sizeof spec - at, 8, "the end of the spec is not listed");
}

Test(capability, a_size_on_a_directory_or_volume_is_a_quota)
{
    spec.workspace.size_bytes = 1 << 20;
    spec.workspace.kind = SPEC_WORKSPACE_TMPFS;
    cr_assert_not(needs(CAP_LIMITS_WORKSPACE_BYTES));
    spec.workspace.kind = SPEC_WORKSPACE_VOLUME;
    cr_assert(needs(CAP_LIMITS_WORKSPACE_BYTES));
    spec.workspace.kind = SPEC_WORKSPACE_DIRECTORY;
    cr_assert(needs(CAP_LIMITS_WORKSPACE_BYTES));
}

Test(capability, a_cidr_rule_and_a_host_rule_are_two_things)
{
    spec.network.allow_count = 1;
    spec.network.allow[0].family = 4;
    cr_assert(needs(CAP_NETWORK_CIDR_RULES));
    cr_assert_not(needs(CAP_NETWORK_HOST_RULES));
    spec.network.deny_count = 1;
    cr_assert(needs(CAP_NETWORK_HOST_RULES));
}

Test(capability, CAP_2_a_refusal_names_every_missing_one)
{
    everything_built_works();
    set.status[CAP_LIMITS_MEMORY] =
        (struct capability_status){.reason = "No memory controller.", .remedy = "Turn it on."};
    spec.limits.memory_bytes = 1;
    set.status[CAP_NETWORK_ALLOW] = (struct capability_status){.reason = "No tproxy."};
    spec.network.egress = SPEC_EGRESS_ALLOW;
    capability_name_required(&spec, CAP_GPU);
    struct capability_mask missing;
    struct err err;
    cr_assert_lt(capability_check(&spec, &set, &missing, &err), 0);
    cr_assert_eq(err.code, ERR_CAPABILITY_UNAVAILABLE);
    cr_assert(bit(&missing, CAP_LIMITS_MEMORY) && bit(&missing, CAP_NETWORK_ALLOW) &&
              bit(&missing, CAP_GPU));
    cr_assert_eq(__builtin_popcountll(missing.bits[0]) + __builtin_popcountll(missing.bits[1]), 3);
    cr_assert(strstr(err.subject, "limits.memory") && strstr(err.subject, "network.allow") &&
              strstr(err.subject, "gpu"));
    cr_assert(strstr(err.detail, "No memory controller. To do: Turn it on."), "%s", err.detail);
}

Test(capability, what_is_not_built_is_missing_whatever_the_set_says)
{
    everything_built_works();
    set.status[CAP_GPU].available = true;
    capability_name_required(&spec, CAP_GPU);
    struct err err;
    cr_assert_lt(capability_check(&spec, &set, NULL, &err), 0);
}

Test(capability, an_unknown_bit_is_refused_not_ignored)
{
    everything_built_works();
    struct err err;
    cr_assert_eq(capability_check(&spec, &set, NULL, &err), 0);
    spec.requires_mask[CAPABILITY_COUNT / 64] |= UINT64_C(1) << (CAPABILITY_COUNT % 64);
    cr_assert_lt(capability_check(&spec, &set, NULL, &err), 0);
}

Test(capability, CAP_2_a_default_is_dropped_and_a_request_is_not)
{
    everything_built_works();
    static const enum capability gone[] = {CAP_LIMITS_MEMORY, CAP_LIMITS_PIDS, CAP_LIMITS_CPU};
    for (size_t i = 0; i < ARRAY_LENGTH(gone); i++) {
        set.status[gone[i]].available = false;
        snprintf(set.status[gone[i]].reason, sizeof set.status[gone[i]].reason, "No delegation.");
    }
    spec.limits.memory_bytes = spec.limits.pids = spec.limits.cpu_millis = 5;
    spec.limits.asked = SPEC_LIMIT_PIDS;
    capability_name_required(&spec, CAP_LIMITS_CPU);
    _cleanup_buf_ struct buf notes = {0};
    capability_drop_defaults(&spec, &set, &notes);
    cr_assert_eq(spec.limits.memory_bytes, 0);
    cr_assert_eq(spec.limits.pids, 5);
    cr_assert_eq(spec.limits.cpu_millis, 5);
    cr_assert_str_eq(buf_text(&notes), "runs without limits.memory: No delegation.\n");
    struct err err;
    cr_assert_lt(capability_check(&spec, &set, NULL, &err), 0);
    cr_assert(strstr(err.subject, "limits.cpu") && strstr(err.subject, "limits.pids") &&
              !strstr(err.subject, "limits.memory"));
}

Test(capability, every_built_capability_comes_from_a_probe)
{
    static struct probe_result results[PROBE_COUNT];
    for (int i = 0; i < PROBE_COUNT; i++)
        results[i].works = true;
    registry_map(results, &set);
    for (int c = 0; c < CAPABILITY_COUNT; c++)
        cr_assert_eq(set.status[c].available, capability_version((enum capability)c) > 0, "%s",
                     capability_name((enum capability)c));
    memset(results, 0, sizeof results);
    registry_map(results, &set);
    for (int c = 0; c < CAPABILITY_COUNT; c++)
        cr_assert(!set.status[c].available && set.status[c].reason[0], "%s",
                  capability_name((enum capability)c));
}

/* ---- the cache's text ---------------------------------------------------------------------------
 */

static const char key[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static void encode(struct buf *out)
{
    everything_built_works();
    snprintf(set.status[3].evidence, sizeof set.status[3].evidence, "a\tb\nc");
    registry_encode(&set, key, out);
}

Test(registry, a_cached_set_reads_back_as_it_was)
{
    static struct capability_set back;
    _cleanup_buf_ struct buf text = {0};
    encode(&text);
    cr_assert_eq(registry_decode(text.data, text.length, key, &back), 0);
    cr_assert_str_eq(back.status[3].evidence, "a b c");
    for (int c = 0; c < CAPABILITY_COUNT; c++)
        cr_assert_eq(back.status[c].available, set.status[c].available);
}

/* A probe that failed once must not refuse every run until somebody removes the cache. */
Test(registry, a_failed_probe_is_doubted_by_who_needs_it_and_a_fact_is_not)
{
    static struct probe_result results[PROBE_COUNT];
    static struct capability_set back;
    for (int i = 0; i < PROBE_COUNT; i++)
        results[i].works = i != PROBE_TIMEOUT && i != PROBE_LANDLOCK;
    results[PROBE_LANDLOCK].certain = true;
    registry_map(results, &set);
    _cleanup_buf_ struct buf text = {0};
    registry_encode(&set, key, &text);
    cr_assert_eq(registry_decode(text.data, text.length, key, &back), 0);
    for (int c = 0; c < CAPABILITY_COUNT; c++)
        cr_assert_eq(back.status[c].doubtful, c == CAP_EXEC_TIMEOUT || c == CAP_EXEC_IDLE_TIMEOUT,
                     "%s", capability_name((enum capability)c));

    plain();
    capability_name_required(&spec, CAP_ISOLATION_LANDLOCK);
    cr_assert(!registry_doubtful(&back, &spec), "nothing that it needs is in doubt");
    spec.limits.exec_timeout_ms = 1000;
    cr_assert(registry_doubtful(&back, &spec), "it needs the timeout");
    cr_assert(registry_doubtful(&back, NULL), "who asks for everything");
}

/* What a run leaves unprobed is neither given nor refused by a cache. */
Test(registry, what_was_not_probed_is_doubted_by_who_needs_a_session_that_lasts)
{
    static struct probe_result results[PROBE_COUNT];
    for (int i = 0; i < PROBE_LASTING_FIRST; i++)
        results[i].works = true;
    registry_map(results, &set);
    static const enum capability lasting[] = {
        CAP_LIFECYCLE_PARK_STOP, CAP_LIFECYCLE_PARK_FREEZE,
        CAP_LIFECYCLE_RESUME,    CAP_LIFECYCLE_SURVIVE_DAEMON_RESTART,
        CAP_EXEC_STREAM,         CAP_EXEC_REATTACH,
        CAP_FILES_READ,          CAP_FILES_WRITE,
        CAP_USAGE_METERING};
    cr_assert(!registry_doubtful(&set, &spec), "a plain run needs none of them");
    cr_assert(registry_doubtful(&set, NULL), "a service needs to know");
    for (size_t i = 0; i < ARRAY_LENGTH(lasting); i++) {
        plain();
        cr_assert(!set.status[lasting[i]].available);
        capability_name_required(&spec, lasting[i]);
        cr_assert(registry_doubtful(&set, &spec), "%s", capability_name(lasting[i]));
    }
}

Test(registry, any_changed_byte_or_length_or_key_makes_it_stale)
{
    static struct capability_set back;
    _cleanup_buf_ struct buf text = {0};
    encode(&text);
    for (size_t i = 0; i < text.length; i++) {
        _cleanup_free_ char *copy = malloc(text.length + 1);
        memcpy(copy, text.data, text.length + 1);
        copy[i] ^= 1;
        cr_assert_eq(registry_decode(copy, text.length, key, &back), REGISTRY_STALE, "byte %zu", i);
    }
    for (size_t n = 0; n < text.length; n++) {
        _cleanup_free_ char *copy = strndup(text.data, n);
        cr_assert_eq(registry_decode(copy, n, key, &back), REGISTRY_STALE, "length %zu", n);
    }
    char other[sizeof key];
    memcpy(other, key, sizeof key);
    other[5] = 'x';
    cr_assert_eq(registry_decode(text.data, text.length, other, &back), REGISTRY_STALE);
}
