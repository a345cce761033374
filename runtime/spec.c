/* This file proves the shape of a spec, and copies what is used of one; it never looks at the host.
 */
#include "runtime/spec.h"

#include "runtime/base/sha256.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void spec_init(struct spec *spec)
{
    memset(spec, 0, sizeof *spec);
    spec_init_zeroed(spec);
}

void spec_init_zeroed(struct spec *spec)
{
    spec->version = SPEC_VERSION;
    spec->size = sizeof *spec;
}

/* A count is believed as far as its array goes: a spec need not have passed spec_check(). */
static size_t used(uint32_t count, uint32_t most, size_t each)
{
    return (count < most ? count : most) * each;
}

#define PART(from, to)                                                                       \
    {                                                                                        \
        offsetof(struct spec, from), offsetof(struct spec, to) - offsetof(struct spec, from) \
    }
#define ARRAY_PART(array, count, most)                                               \
    {                                                                                \
        offsetof(struct spec, array), used(spec->count, most, sizeof spec->array[0]) \
    }

/* The used part of every array and everything between the arrays. Counts stand before what they
 * count, so two specs with one stream of bytes are one spec. */
void spec_parts(const struct spec *spec, struct spec_part ret[SPEC_PARTS])
{
    const struct spec_part parts[] = {
        {0, offsetof(struct spec, mounts)},
        ARRAY_PART(mounts, mount_count, SPEC_MOUNTS_MAX),
        ARRAY_PART(protect, protect_count, SPEC_PROTECT_MAX),
        PART(network, network.allow),
        ARRAY_PART(network.allow, network.allow_count, SPEC_RULES_MAX),
        ARRAY_PART(network.deny, network.deny_count, SPEC_RULES_MAX),
        PART(process, process.env),
        ARRAY_PART(process.env, process.env_bytes, SPEC_ENV_MAX),
        {offsetof(struct spec, limits), sizeof *spec - offsetof(struct spec, limits)},
    };
    _Static_assert(sizeof parts / sizeof parts[0] == SPEC_PARTS, "each part is told");
    memcpy(ret, parts, sizeof parts);
}

void spec_clear(struct spec *spec)
{
    struct spec_part parts[SPEC_PARTS];
    spec_parts(spec, parts);
    for (unsigned i = 0; i < SPEC_PARTS; i++)
        memset((char *)spec + parts[i].at, 0, parts[i].length);
    spec_init_zeroed(spec);
}

void spec_copy(struct spec *to, const struct spec *from)
{
    struct spec_part parts[SPEC_PARTS];
    spec_clear(to);
    spec_parts(from, parts);
    for (unsigned i = 0; i < SPEC_PARTS; i++)
        memcpy((char *)to + parts[i].at, (const char *)from + parts[i].at, parts[i].length);
}

int spec_write(int fd, uint64_t at, const struct spec *spec)
{
    struct spec_part parts[SPEC_PARTS];
    spec_parts(spec, parts);
    if (ftruncate(fd, (off_t)(at + sizeof *spec)) < 0)
        return -errno;
    for (unsigned i = 0; i < SPEC_PARTS; i++)
        for (size_t done = 0; done < parts[i].length;) {
            ssize_t n = pwrite(fd, (const char *)spec + parts[i].at + done, parts[i].length - done,
                               (off_t)(at + parts[i].at + done));
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return n < 0 ? -errno : -EIO;
            done += (size_t)n;
        }
    return 0;
}

void spec_hash(const struct spec *spec, char ret_hex[65])
{
    struct spec_part parts[SPEC_PARTS];
    struct sha256_part hashed[SPEC_PARTS];
    spec_parts(spec, parts);
    for (unsigned i = 0; i < SPEC_PARTS; i++)
        hashed[i] = (struct sha256_part){(const char *)spec + parts[i].at, parts[i].length};
    sha256_parts_hex(hashed, SPEC_PARTS, ret_hex);
}

static int bad(struct err *err, const char *field, const char *why)
{
    return err_set(err, ERR_INVALID_REQUEST, 0, "check the spec", field, "%s", why);
}

static bool terminated(const char *text, size_t size)
{
    return memchr(text, 0, size) != NULL;
}

/* Absolute, no empty, "." or ".." component, no trailing slash except "/" itself. */
static bool path_normalised(const char *path, bool absolute)
{
    if (absolute) {
        if (path[0] != '/')
            return false;
        if (path[1] == 0)
            return true;
        path++;
    }
    for (;;) {
        size_t n = strcspn(path, "/");
        if (n == 0 || (n == 1 && path[0] == '.') || (n == 2 && path[0] == '.' && path[1] == '.'))
            return false;
        if (path[n] == 0)
            return true;
        path += n + 1;
    }
}

static int check_path(const char *path, size_t size, bool absolute, const char *field,
                      struct err *err)
{
    if (!terminated(path, size))
        return bad(err, field, "Not terminated: the path is too long.");
    if (!path_normalised(path, absolute))
        return bad(err, field,
                   absolute ? "Must be an absolute path without empty, \".\" or \"..\" parts."
                            : "Must be a relative path without empty, \".\" or \"..\" parts.");
    return 0;
}

static int check_workspace(const struct spec *spec, struct err *err)
{
    const char *field = "workspace.path";
    switch (spec->workspace.kind) {
    case SPEC_WORKSPACE_NONE:
    case SPEC_WORKSPACE_TMPFS:
    case SPEC_WORKSPACE_DISK:
    case SPEC_WORKSPACE_SNAPSHOT:
        break;
    case SPEC_WORKSPACE_DIRECTORY: {
        int r = check_path(spec->workspace.path, sizeof spec->workspace.path, true, field, err);
        if (r < 0)
            return r;
        break;
    }
    case SPEC_WORKSPACE_VOLUME:
        if (!terminated(spec->workspace.volume, sizeof spec->workspace.volume) ||
            !id_valid(spec->workspace.volume))
            return bad(err, "workspace.volume",
                       "A volume's name has 1 to 64 letters, digits, \"_\", \".\" or \"-\", begins "
                       "with a letter or digit, and has no \"..\".");
        break;
    default:
        return bad(err, "workspace.kind", "Unknown kind.");
    }
    return check_path(spec->workspace.mount_path, sizeof spec->workspace.mount_path, true,
                      "workspace.mount_path", err);
}

static int check_mounts(const struct spec *spec, struct err *err)
{
    if (spec->mount_count > SPEC_MOUNTS_MAX)
        return bad(err, "mounts", "Too many.");
    for (uint32_t i = 0; i < spec->mount_count; i++) {
        const struct spec_mount *m = &spec->mounts[i];
        int r = check_path(m->source, sizeof m->source, true, "mounts.source", err);
        if (r == 0)
            r = check_path(m->target, sizeof m->target, true, "mounts.target", err);
        if (r < 0)
            return r;
        if (strcmp(m->target, spec->workspace.mount_path) == 0)
            return bad(err, m->target, "Both the workspace and an extra mount are to be here.");
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(spec->mounts[k].target, m->target) == 0)
                return bad(err, m->target, "Two mounts are to be at this path.");
    }
    if (spec->protect_count > SPEC_PROTECT_MAX)
        return bad(err, "protect", "Too many.");
    for (uint32_t i = 0; i < spec->protect_count; i++) {
        int r =
            check_path(spec->protect[i].path, sizeof spec->protect[i].path, false, "protect", err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_process(const struct spec *spec, struct err *err)
{
    if (spec->process.uid >= SPEC_UID_INIT || spec->process.gid >= SPEC_UID_INIT)
        return bad(err, "process.user", "Ids inside a session are 0 to 65532.");
    if (spec->process.seccomp < SPEC_SECCOMP_DEFAULT || spec->process.seccomp > SPEC_SECCOMP_DEBUG)
        return bad(err, "process.seccomp", "Unknown profile.");
    if (spec->process.seccomp_allow_count > SPEC_SECCOMP_ALLOW_MAX)
        return bad(err, "process.seccomp_allow", "Too many.");
    if (spec->process.env_bytes > SPEC_ENV_MAX)
        return bad(err, "process.env", "Too long.");
    uint32_t at = 0;
    for (uint32_t i = 0; i < spec->process.env_count; i++) {
        const char *p = spec->process.env + at;
        size_t n = strnlen(p, spec->process.env_bytes - at);
        if (at + n >= spec->process.env_bytes || n == 0 || p[0] == '=' || !memchr(p, '=', n))
            return bad(err, "process.env", "Every entry must be NAME=VALUE.");
        at += (uint32_t)n + 1;
    }
    if (at != spec->process.env_bytes)
        return bad(err, "process.env", "Its count and its length disagree.");
    return 0;
}

int spec_check_publish(const struct spec_network *net, struct err *err)
{
    static const char field[] = "network.publish";
    if (net->publish_count > SPEC_PUBLISH_MAX)
        return bad(err, field, "Too many ports.");
    for (uint32_t i = 0; i < net->publish_count; i++) {
        if (net->publish[i].port < SPEC_PORT_FIRST)
            return bad(err, field, "No program of a session may listen on a port below 54.");
        for (uint32_t k = 0; net->publish[i].host_port && k < i; k++)
            if (net->publish[k].host_port == net->publish[i].host_port)
                return bad(err, field, "One port of the host is to lead to two places.");
    }
    return 0;
}

static int check_network(const struct spec *spec, struct err *err)
{
    if (spec->network.egress < SPEC_EGRESS_DENY || spec->network.egress > SPEC_EGRESS_ALLOW)
        return bad(err, "network.egress", "Unknown mode.");
    if (spec->network.allow_count > SPEC_RULES_MAX || spec->network.deny_count > SPEC_RULES_MAX)
        return bad(err, "network", "More than 256 rules of a kind.");
    return spec_check_publish(&spec->network, err);
}

/* Also those that this kind of image and workspace does not look at: they are stored and read. */
static bool texts_end(const struct spec *spec)
{
    bool end = terminated(spec->image.path, sizeof spec->image.path) &&
               terminated(spec->workspace.path, sizeof spec->workspace.path) &&
               terminated(spec->workspace.volume, sizeof spec->workspace.volume);
    for (uint32_t i = 0; i < spec->network.allow_count && end; i++)
        end = terminated(spec->network.allow[i].host, sizeof spec->network.allow[i].host);
    for (uint32_t i = 0; i < spec->network.deny_count && end; i++)
        end = terminated(spec->network.deny[i].host, sizeof spec->network.deny[i].host);
    return end;
}

int spec_check(const struct spec *spec, struct err *err)
{
    if (spec->version != SPEC_VERSION || spec->size != sizeof *spec)
        return bad(err, "version", "Made by another version of berth.");
    if (!terminated(spec->workspace_id, sizeof spec->workspace_id) || !id_valid(spec->workspace_id))
        return bad(err, "workspace_id", "Not a valid id.");
    if (!terminated(spec->session_id, sizeof spec->session_id) || !id_valid(spec->session_id))
        return bad(err, "session_id", "Not a valid id.");
    if (spec->image.kind < SPEC_IMAGE_HOST || spec->image.kind > SPEC_IMAGE_NAME)
        return bad(err, "image", "Unknown kind.");
    if (spec->image.kind == SPEC_IMAGE_DIR) {
        int r = check_path(spec->image.path, sizeof spec->image.path, true, "image", err);
        if (r < 0)
            return r;
    }
    int r = check_workspace(spec, err);
    if (r == 0)
        r = check_mounts(spec, err);
    if (r == 0)
        r = check_process(spec, err);
    if (r == 0)
        r = check_network(spec, err);
    if (r == 0 && !texts_end(spec))
        return bad(err, "spec", "A text in it is not terminated.");
    return r;
}
