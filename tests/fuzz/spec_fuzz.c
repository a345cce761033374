/* This file damages specs as a front that was taken over would, and checks that what passes
 * spec_check() is safe to use (libFuzzer): texts end in their arrays, counts fit them, paths are
 * absolute and normalised, and what is stored comes back.
 *
 * Input: changes to a valid spec, one after another: three bytes where (the field by its offset in
 * words of four bytes, wrapping), one byte how many of the following bytes go there.
 */
#include "provider/spec_store.h"
#include "runtime/base/units.h"
#include "runtime/spec.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static void valid(struct spec *spec)
{
    spec_init(spec);
    strcpy(spec->workspace_id, "local");
    strcpy(spec->session_id, "s");
    spec->image.kind = SPEC_IMAGE_HOST;
    spec->workspace.kind = SPEC_WORKSPACE_DIRECTORY;
    strcpy(spec->workspace.path, "/home/somebody");
    strcpy(spec->workspace.mount_path, "/workspace");
    spec->mount_count = 1;
    strcpy(spec->mounts[0].source, "/srv/data");
    strcpy(spec->mounts[0].target, "/mnt/data");
    spec->protect_count = 1;
    strcpy(spec->protect[0].path, ".git/hooks");
    spec->network.egress = SPEC_EGRESS_DENY;
    spec->process.uid = spec->process.gid = SPEC_UID_USER;
    spec->process.seccomp = SPEC_SECCOMP_DEFAULT;
    spec->process.env_count = 1;
    spec->process.env_bytes = 4;
    memcpy(spec->process.env, "A=b", 4);
    spec->limits.memory_bytes = 1 << 30;
}

/* Absolute, and no way to anywhere else than it says. */
static void demand_path(const char *path, size_t size)
{
    demand(memchr(path, 0, size) != NULL);
    demand(path[0] == '/' && !strstr(path, "//") && !strstr(path, "/../") && !strstr(path, "/./"));
    size_t n = strlen(path);
    demand(n < 3 || strcmp(path + n - 3, "/..") != 0);
}

static bool climbs(const char *path)
{
    for (const char *at = path; (at = strstr(at, "..")); at++)
        if ((at == path || at[-1] == '/') && (at[2] == 0 || at[2] == '/'))
            return true;
    return false;
}

static void use(const struct spec *spec, struct spec *again)
{
    struct err err;
    demand(memchr(spec->session_id, 0, sizeof spec->session_id) && id_valid(spec->session_id));
    demand(memchr(spec->workspace_id, 0, sizeof spec->workspace_id) &&
           id_valid(spec->workspace_id));
    demand_path(spec->workspace.mount_path, sizeof spec->workspace.mount_path);
    if (spec->workspace.kind == SPEC_WORKSPACE_DIRECTORY)
        demand_path(spec->workspace.path, sizeof spec->workspace.path);
    if (spec->workspace.kind == SPEC_WORKSPACE_VOLUME)
        demand(id_valid(spec->workspace.volume));
    if (spec->image.kind == SPEC_IMAGE_DIR)
        demand_path(spec->image.path, sizeof spec->image.path);
    demand(spec->mount_count <= SPEC_MOUNTS_MAX && spec->protect_count <= SPEC_PROTECT_MAX);
    for (uint32_t i = 0; i < spec->mount_count; i++) {
        demand_path(spec->mounts[i].source, sizeof spec->mounts[i].source);
        demand_path(spec->mounts[i].target, sizeof spec->mounts[i].target);
    }
    for (uint32_t i = 0; i < spec->protect_count; i++)
        demand(memchr(spec->protect[i].path, 0, sizeof spec->protect[i].path) &&
               spec->protect[i].path[0] != '/' && !climbs(spec->protect[i].path));
    demand(spec->network.allow_count <= SPEC_RULES_MAX &&
           spec->network.deny_count <= SPEC_RULES_MAX);
    demand(spec->process.uid < SPEC_UID_INIT && spec->process.gid < SPEC_UID_INIT);
    demand(spec->process.seccomp_allow_count <= SPEC_SECCOMP_ALLOW_MAX);
    demand(spec->process.env_bytes <= sizeof spec->process.env);
    _cleanup_buf_ struct buf stored = {0};
    spec_store_write(spec, &stored);
    demand(spec_store_read(buf_text(&stored), stored.length, again, &err) == 0);
    demand(strcmp(again->session_id, spec->session_id) == 0 &&
           again->mount_count == spec->mount_count &&
           again->process.env_bytes == spec->process.env_bytes);
    char hash[65];
    spec_hash(spec, hash);
    demand(strlen(hash) == 64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Their own allocations, so that a read past the end is seen. */
    struct spec *spec = malloc(sizeof *spec), *again = malloc(sizeof *again);
    struct err err;
    demand(spec && again);
    valid(spec);
    while (size >= 4) {
        size_t at = ((size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) * 4;
        size_t n = data[3] < size - 4 ? data[3] : size - 4;
        at %= sizeof *spec;
        n = n < sizeof *spec - at ? n : sizeof *spec - at;
        memcpy((char *)spec + at, data + 4, n);
        data += 4 + n;
        size -= 4 + n;
    }
    if (spec_check(spec, &err) == 0)
        use(spec, again);
    free(spec);
    free(again);
    return 0;
}
