/* This file tests the stored form of a spec: it comes back as it was, or not at all. */
#include "provider/spec_store.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct spec spec, back;

static void usual(void)
{
    spec_init(&spec);
    snprintf(spec.workspace_id, sizeof spec.workspace_id, "w");
    snprintf(spec.session_id, sizeof spec.session_id, "s");
    spec.image.kind = SPEC_IMAGE_HOST;
    spec.workspace.kind = SPEC_WORKSPACE_VOLUME;
    snprintf(spec.workspace.volume, sizeof spec.workspace.volume, "v");
    snprintf(spec.workspace.mount_path, sizeof spec.workspace.mount_path, "/workspace");
    spec.network.egress = SPEC_EGRESS_DENY;
    spec.process.uid = spec.process.gid = 1000;
    spec.process.seccomp = SPEC_SECCOMP_DEFAULT;
    spec.limits.memory_bytes = UINT64_C(4) << 30;
}

/* Every field has something that no other has. */
static void full(void)
{
    usual();
    spec.image.kind = SPEC_IMAGE_DIR;
    snprintf(spec.image.path, sizeof spec.image.path, "/image");
    spec.workspace.kind = SPEC_WORKSPACE_DIRECTORY;
    snprintf(spec.workspace.path, sizeof spec.workspace.path, "/host/path");
    spec.workspace.read_only = 1;
    spec.workspace.exclusive = 1;
    spec.workspace.allow_root_owned = 1;
    spec.workspace.size_bytes = UINT64_MAX;
    for (spec.mount_count = 0; spec.mount_count < SPEC_MOUNTS_MAX; spec.mount_count++) {
        struct spec_mount *m = &spec.mounts[spec.mount_count];
        snprintf(m->source, sizeof m->source, "/from/%u", spec.mount_count);
        snprintf(m->target, sizeof m->target, "/to/%u", spec.mount_count);
        m->read_only = spec.mount_count % 2;
    }
    for (spec.protect_count = 0; spec.protect_count < SPEC_PROTECT_MAX; spec.protect_count++) {
        struct spec_protect *p = &spec.protect[spec.protect_count];
        snprintf(p->path, sizeof p->path, "path/%u", spec.protect_count);
        p->is_default = spec.protect_count % 2;
        p->home = spec.protect_count % 3 == 0;
        p->home_sign = spec.protect_count % 5 == 0;
    }
    spec.network.egress = SPEC_EGRESS_ALLOW;
    spec.network.sni_match = 1;
    spec.network.allow_private = 1;
    spec.network.allow_count = spec.network.deny_count = SPEC_RULES_MAX;
    for (unsigned i = 0; i < SPEC_RULES_MAX; i++) {
        snprintf(spec.network.allow[i].host, SPEC_HOST_MAX, "host%u.example.com", i);
        spec.network.allow[i].port_count = 2;
        spec.network.allow[i].ports[0] = (uint16_t)(i + 1);
        spec.network.allow[i].ports[1] = 65535;
        spec.network.deny[i].family = 6;
        spec.network.deny[i].prefix = (uint8_t)i;
        memset(spec.network.deny[i].address, (int)i, 16);
    }
    spec.network.publish_count = SPEC_PUBLISH_MAX;
    for (unsigned i = 0; i < SPEC_PUBLISH_MAX; i++)
        spec.network.publish[i] =
            (struct spec_publish){.host_port = (uint16_t)i, .port = (uint16_t)(60000 + i)};
    spec.process.seccomp_allow_count = SPEC_SECCOMP_ALLOW_MAX;
    for (unsigned i = 0; i < SPEC_SECCOMP_ALLOW_MAX; i++)
        spec.process.seccomp_allow[i] = i * 3;
    spec.process.explain_syscalls = 1;
    memset(spec.process.env, 'x', SPEC_ENV_MAX - 1);
    spec.process.env[1] = '=';
    spec.process.env_bytes = SPEC_ENV_MAX;
    spec.process.env_count = 1;
    spec.limits = (struct spec_limits){1, 2, 3, 4, 5, 6, 7, UINT64_MAX, 0x7f, 0};
    spec.requires_mask[0] = UINT64_MAX;
    spec.requires_mask[1] = 1;
}

static void comes_back(struct buf *stored)
{
    char before[65], after[65];
    struct err err = {0};
    cr_assert_eq(spec_check(&spec, &err), 0, "%s %s", err.subject, err.detail);
    spec_store_write(&spec, stored);
    cr_assert_eq(spec_store_read(buf_text(stored), stored->length, &back, &err), 0, "%s",
                 err.detail);
    cr_assert_eq(memcmp(&spec, &back, sizeof spec), 0);
    spec_hash(&spec, before);
    spec_hash(&back, after);
    cr_assert_str_eq(before, after);
}

Test(provider_spec_store, a_usual_spec_is_small_and_comes_back_as_it_was)
{
    _cleanup_buf_ struct buf stored = {0};
    usual();
    comes_back(&stored);
    cr_assert_lt(stored.length, 4096);
}

Test(provider_spec_store, every_field_comes_back_as_it_was)
{
    _cleanup_buf_ struct buf stored = {0};
    full();
    comes_back(&stored);
}

/* The length of a text is a number of one byte, or of two. */
Test(provider_spec_store, a_text_of_any_length_comes_back_as_it_was)
{
    for (size_t n = 2; n < sizeof spec.workspace.path; n++) {
        struct buf out = {0};
        struct err err;
        usual();
        spec.workspace.kind = SPEC_WORKSPACE_DIRECTORY;
        memset(spec.workspace.path, 0, sizeof spec.workspace.path);
        memset(spec.workspace.path, 'd', n);
        spec.workspace.path[0] = '/';
        spec_store_write(&spec, &out);
        cr_assert_eq(spec_store_read(buf_text(&out), out.length, &back, &err), 0, "%zu bytes", n);
        cr_assert_str_eq(back.workspace.path, spec.workspace.path);
        buf_fini(&out);
    }
}

Test(provider_spec_store, what_is_torn_longer_or_of_another_version_is_refused)
{
    _cleanup_buf_ struct buf stored = {0};
    struct err err;
    full();
    comes_back(&stored);
    for (size_t n = 0; n < stored.length; n += n < 200 ? 1 : 97)
        cr_assert_lt(spec_store_read(stored.data, n, &back, &err), 0, "cut at %zu", n);
    buf_putc(&stored, 0);
    cr_assert_lt(spec_store_read(stored.data, stored.length, &back, &err), 0);
    stored.data[4]++;
    cr_assert_lt(spec_store_read(stored.data, stored.length - 1, &back, &err), 0);
}

/* Whatever stands there: what is read passes spec_check(), or nothing is read. */
Test(provider_spec_store, damage_is_refused_or_is_another_valid_spec)
{
    _cleanup_buf_ struct buf stored = {0};
    struct err err;
    unsigned refused = 0;
    usual();
    comes_back(&stored);
    for (size_t i = 0; i < stored.length; i++)
        for (int bit = 0; bit < 8; bit++) {
            stored.data[i] = (char)(stored.data[i] ^ (1 << bit));
            if (spec_store_read(stored.data, stored.length, &back, &err) < 0)
                refused++;
            else
                cr_assert_eq(spec_check(&back, &err), 0);
            stored.data[i] = (char)(stored.data[i] ^ (1 << bit));
        }
    cr_assert_gt(refused, 100);
}
