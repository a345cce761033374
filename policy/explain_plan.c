/* This file prints what is done to make a session of a policy, in the order in which it is done
 * (`berth policy explain --plan`); it never does any of it and never looks at the host.
 *
 * Directories, files, binds, masks, Landlock rules and filters come from the plans that the runtime
 * itself applies (runtime/plan). What the first process does between those is code there
 * (runtime/stage) and is told here in the same order; tests/e2e compares the mounts of a session
 * with this list. What depends on the host has a condition.
 */
#include "policy/explain.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"
#include "runtime/plan/landlock.h"
#include "runtime/plan/network.h"
#include "runtime/plan/rootfs.h"
#include "runtime/plan/seccomp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char if_there[] = "the host has it";
static const char if_controller[] = "the host gives the controller";

struct planning {
    const struct policy *policy;
    const struct spec *spec;
    bool json;
    struct buf *out;
    const char *part; /* of the steps that are printed now */
    bool part_new;
    unsigned count;
    /* The origin of the next step: its key, and who set it. */
    const char *key;
    const struct policy_origin *origin;
};

static void part(struct planning *p, const char *name)
{
    p->part = name;
    p->part_new = true;
}

/* The next step stands for this row of the policy; `item`: for this entry of its list. */
static void by(struct planning *p, enum schema_row_id row, const struct policy_item *item)
{
    p->key = schema_rows[row].key;
    p->origin = item ? &item->origin : &p->policy->values[row].origin;
}

static void print_json(struct planning *p, const char *action, const char *subject,
                       const char *condition, const char *detail, const char *origin)
{
    const struct {
        const char *name, *value;
    } members[] = {
        {"part", p->part}, {"action", action}, {"subject", subject}, {"detail", detail},
        {"if", condition}, {"key", p->key},    {"origin", origin},
    };
    buf_puts(p->out, p->count ? ",\n    {" : "\n    {");
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        buf_printf(p->out, "%s\"%s\": ", i ? ", " : "", members[i].name);
        if (members[i].value)
            buf_json_string(p->out, members[i].value);
        else
            buf_puts(p->out, "null");
    }
    buf_putc(p->out, '}');
}

static void print_text(struct planning *p, const char *action, const char *subject,
                       const char *condition, const char *detail, const char *origin)
{
    if (p->part_new)
        buf_printf(p->out, "%s%s\n", p->count ? "\n" : "", p->part);
    size_t begin = p->out->length;
    buf_printf(p->out, "%4u  %-8s ", p->count + 1, action);
    show_clean(p->out, subject);
    while (p->out->length - begin < 48 && !p->out->failed)
        buf_putc(p->out, ' ');
    buf_putc(p->out, ' ');
    show_clean(p->out, detail);
    if (condition)
        buf_printf(p->out, "%sif %s", detail[0] ? ", " : "", condition);
    if (origin) {
        buf_printf(p->out, "  # %s: ", p->key);
        show_clean(p->out, origin);
    }
    buf_putc(p->out, '\n');
}

static void step(struct planning *p, const char *action, const char *subject, const char *condition,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

static void step(struct planning *p, const char *action, const char *subject, const char *condition,
                 const char *format, ...)
{
    _cleanup_buf_ struct buf detail = {0}, origin = {0};
    va_list ap;
    va_start(ap, format);
    buf_vprintf(&detail, format, ap);
    va_end(ap);
    if (p->origin)
        origin_print(p->origin, &origin);
    (p->json ? print_json : print_text)(p, action, subject, condition, buf_text(&detail),
                                        p->origin ? buf_text(&origin) : NULL);
    p->out->failed |= detail.failed || origin.failed;
    p->part_new = false;
    p->key = NULL;
    p->origin = NULL;
    p->count++;
}

/* ---- the launcher ---------------------------------------------------------------------------- */

static void plan_limits(struct planning *p)
{
    const struct spec_limits *limits = &p->spec->limits;
    char memory[32], scratch[32];
    units_format_size(limits->memory_bytes, memory, sizeof memory);
    units_format_size(limits->scratch_bytes, scratch, sizeof scratch);
    part(p, "limits (cgroup of the session)");
    for (const struct policy_item *i = p->policy->values[ROW_REQUIRES].first; i; i = i->next) {
        by(p, ROW_REQUIRES, i);
        step(p, "require", i->text, NULL, "refused before anything is made where it cannot be had");
    }
    by(p, ROW_MEMORY, NULL);
    if (limits->memory_bytes)
        step(p, "limit", "memory", if_controller, "%s and the scratch of %s, no swap", memory,
             scratch);
    else
        step(p, "limit", "memory", NULL, "none");
    by(p, ROW_PIDS, NULL);
    if (limits->pids)
        step(p, "limit", "pids", if_controller, "%llu processes and threads",
             (unsigned long long)limits->pids);
    else
        step(p, "limit", "pids", NULL, "none");
    by(p, ROW_CPUS, NULL);
    if (limits->cpu_millis)
        step(p, "limit", "cpus", if_controller, "%llu.%03u of a processor",
             (unsigned long long)limits->cpu_millis / 1000, (unsigned)(limits->cpu_millis % 1000));
    else
        step(p, "limit", "cpus", NULL, "none");
}

static void plan_namespaces(struct planning *p)
{
    bool deny = p->spec->network.egress == SPEC_EGRESS_DENY && !network_wanted(&p->spec->network);
    part(p, "namespaces");
    step(p, "make", "user", NULL, "65536 ids of the session's own, or one id for a user without");
    step(p, "make", "pid", NULL, "the session's first process is PID 1");
    step(p, "make", "mount", NULL, "nothing made in it is seen outside");
    by(p, ROW_EGRESS, NULL);
    step(p, "make", "net", NULL, "%s",
         deny ? "lo and no other interface"
              : "lo, and rules by which the gateway carries what the policy allows");
    step(p, "make", "cgroup", NULL, "rooted at the session's own");
}

/* ---- the first process: the root directory --------------------------------------------------- */

static void plan_scratch(struct planning *p)
{
    bool host = p->spec->image.kind == SPEC_IMAGE_HOST;
    char size[32];
    units_format_size(p->spec->limits.scratch_bytes, size, sizeof size);
    part(p, "root directory");
    by(p, ROW_SCRATCH, NULL);
    step(p, "mount", host ? "/" : "scratch", NULL, "tmpfs of %s and %llu files, nosuid, nodev%s",
         size, (unsigned long long)p->spec->limits.scratch_inodes,
         host ? "" : ", not seen by the session");
    if (host)
        return;
    by(p, ROW_IMAGE, NULL);
    if (p->spec->image.kind == SPEC_IMAGE_DIR)
        step(p, "mount", "/", NULL, "overlay of %s, whose changes go to the scratch; nosuid, nodev",
             p->spec->image.path);
    else
        step(p, "mount", "/", NULL, "a named image: such a session is refused in this release");
}

static void plan_files(struct planning *p, const struct rootfs_plan *plan)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct rootfs_step *s = &plan->steps[i];
        char path[SPEC_PATH_MAX];
        snprintf(path, sizeof path, "/%s", s->path);
        switch (s->kind) {
        case ROOTFS_DIRECTORY:
            step(p, "mkdir", path, NULL, "mode %04o of %s", s->mode, s->owner ? "user" : "root");
            break;
        case ROOTFS_SYMLINK:
            step(p, "link", path, NULL, "to %s", s->text);
            break;
        case ROOTFS_FILE:
        case ROOTFS_FILE_DEFAULT:
            step(p, "write", path, NULL, "mode %04o of root, made by berth%s", s->mode,
                 s->kind == ROOTFS_FILE_DEFAULT ? " unless the image has one" : "");
            break;
        default: /* binds: below */
            break;
        }
    }
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct rootfs_step *s = &plan->steps[i];
        char path[SPEC_PATH_MAX];
        if (s->kind != ROOTFS_BIND && s->kind != ROOTFS_BIND_NOEXEC)
            continue;
        bool top = strcmp(s->path, "usr") != 0 && !s->optional;
        snprintf(path, sizeof path, "/%s", s->path);
        step(p, "bind", path, s->optional || top ? if_there : NULL,
             "the host's, read-only, nosuid, nodev%s%s",
             s->kind == ROOTFS_BIND_NOEXEC ? ", noexec" : "",
             top ? "; a link where the host's is one" : "");
    }
}

static void plan_devices(struct planning *p)
{
    static const char *const nodes[] = {"/dev/null",   "/dev/zero",    "/dev/full",
                                        "/dev/random", "/dev/urandom", "/dev/tty"};
    step(p, "mount", "/dev", NULL, "tmpfs of 64KiB, nosuid, noexec, read-only when it is filled");
    for (size_t i = 0; i < ARRAY_LENGTH(nodes); i++)
        step(p, "device", nodes[i], NULL, "made by root; for a user, the host's is bound");
    step(p, "mount", "/dev/pts", NULL, "devpts of the session's own, 64 terminals");
    step(p, "mount", "/proc", NULL, "procfs of the session's own, other users' processes hidden");
    for (const char *const *name = rootfs_proc_masked; *name; name++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%.*s", (int)strcspn(*name, "/"), *name);
        step(p, "mask", path, if_there, "empty, read-only");
    }
    step(p, "bind", "/proc/sys", NULL, "on itself, read-only");
}

/* ---- the first process: the workspace -------------------------------------------------------- */

static int compare_items(const void *a, const void *b)
{
    const struct policy_item *const *left = a, *const *right = b;
    int order = strcmp(item_protected_path(*left), item_protected_path(*right));
    return order ? order : (*left)->home - (*right)->home;
}

/* Sorted, as the launcher does it, so that what lies beneath another stands after it; a directory
 * above a protected path is a mount point too, and so cannot be renamed away. */
static void plan_protect(struct planning *p, const char *workspace)
{
    const struct policy_item *items[SPEC_PROTECT_MAX] = {0};
    char held[SPEC_PROTECT_PATH_MAX] = "", path[SPEC_PATH_MAX + SPEC_PROTECT_PATH_MAX + 1];
    size_t count = 0;
    for (const struct policy_item *i = p->policy->values[ROW_PROTECT].first; i; i = i->next)
        if (count < SPEC_PROTECT_MAX)
            items[count++] = i;
    qsort(items, count, sizeof items[0], compare_items);
    const char *top = strcmp(workspace, "/") == 0 ? "" : workspace;
    for (size_t k = 0; k < count; k++) {
        const char *text = item_protected_path(items[k]);
        if (k > 0 && strcmp(text, item_protected_path(items[k - 1])) == 0)
            continue; /* "~/X" beside "X" */
        for (size_t n = 1; text[n]; n++) {
            if (text[n] != '/' || (strncmp(held, text, n) == 0 && (!held[n] || held[n] == '/')))
                continue;
            snprintf(held, sizeof held, "%.*s", (int)n, text);
            snprintf(path, sizeof path, "%s/%s", top, held);
            by(p, ROW_PROTECT, items[k]);
            step(p, "hold", path, "it is there", "on itself, so that it cannot be renamed");
        }
        snprintf(path, sizeof path, "%s/%s", top, text);
        by(p, ROW_PROTECT, items[k]);
        step(p, "protect", path,
             items[k]->home ? "it is there, or its parent is and the workspace is a home"
                            : "its parent is there",
             "on itself, read-only; a placeholder where nothing is");
    }
}

/* What leads git away from what is protected beneath .git is held with it. */
static void plan_git(struct planning *p, const char *workspace)
{
    char path[SPEC_PATH_MAX + sizeof "/.git/commondir"];
    const char *top = strcmp(workspace, "/") == 0 ? "" : workspace;
    for (const struct policy_item *i = p->policy->values[ROW_PROTECT].first; i; i = i->next) {
        if (strncmp(item_protected_path(i), ".git/", 5) != 0)
            continue;
        snprintf(path, sizeof path, "%s/.git/commondir", top);
        by(p, ROW_PROTECT, i);
        step(p, "protect", path, "it is there",
             "on itself, read-only: it says where git's config and hooks are; as .git does where "
             "that is a file");
        return;
    }
}

static void plan_workspace(struct planning *p)
{
    const char *workspace = p->spec->workspace.mount_path;
    part(p, "workspace");
    step(p, "bind", workspace, NULL,
         "the workspace, read-write, nosuid, nodev, id-mapped for root");
    plan_protect(p, workspace);
    plan_git(p, workspace);
    step(p, "mask", "sockets", "there are any", "unix sockets in the workspace, and in each mount");
    for (int pass = 0; pass < 2; pass++) {
        enum schema_row_id row = pass ? ROW_READ_WRITE : ROW_READ_ONLY;
        for (const struct policy_item *i = p->policy->values[row].first; i; i = i->next) {
            by(p, row, i);
            step(p, "bind", i->other, NULL, "%s of the host, read-%s, nosuid, nodev", i->text,
                 pass ? "write" : "only");
        }
    }
}

static void plan_enter(struct planning *p)
{
    part(p, "entering");
    step(p, "pivot", "/", NULL, "the host's root is detached");
    step(p, "enter", "user, cgroup", NULL, "the session's namespaces");
    step(p, "make", "mount, ipc, uts", NULL, "a copy that locks every mount; host name berth");
    step(p, "limit", "namespaces", NULL,
         "no further one of any kind; 64 inotify instances for sessions of root");
    step(p, "execute", "berth-init", NULL,
         "PID 1, unreadable, with the descriptors of its protocol");
}

/* ---- init and the command -------------------------------------------------------------------- */

static const char *access_words(uint64_t access)
{
    return access & LANDLOCK_FS_MAKE_REG     ? "read and write"
           : access & LANDLOCK_FS_WRITE_FILE ? "read, and write to what is there"
                                             : "read and execute";
}

static int plan_init(struct planning *p, struct err *err)
{
    static const char if_landlock[] = "the kernel has Landlock (5.19)";
    struct agent_landlock_path paths[LANDLOCK_PATHS_MAX];
    struct seccomp_program base = {0};
    uint32_t count = 0;
    int r = landlock_plan(p->spec, UINT32_MAX, paths, &count, err);
    if (r == 0)
        r = p->spec->process.explain_syscalls ? seccomp_base_explained(false, &base, err)
                                              : seccomp_base(false, &base, err);
    if (r < 0)
        return r;
    part(p, "init (PID 1)");
    step(p, "limit", "core, stack, memlock, msgqueue, nice, rtprio", NULL,
         "for all that it starts");
    step(p, "drop", "capabilities", NULL,
         "all but SETUID, SETGID and KILL; the bounding set empty");
    step(p, "take", "uid 65533", NULL,
         "no command's, where the session has more than one id; no_new_privs, locked securebits");
    for (uint32_t i = 0; i < count; i++)
        step(p, "landlock", paths[i].path, if_landlock, "%s", access_words(paths[i].access));
    step(p, "filter", "base", NULL,
         "seccomp, %u instructions, sha256 %.16s; a narrower one where the session has one id",
         base.length, base.hash);
    seccomp_program_fini(&base);
    return 0;
}

static int plan_command(struct planning *p, struct err *err)
{
    const struct spec *spec = p->spec;
    __attribute__((cleanup(seccomp_program_fini))) struct seccomp_program exec = {0};
    int r =
        seccomp_exec((enum spec_seccomp_profile)spec->process.seccomp, spec->process.seccomp_allow,
                     spec->process.seccomp_allow_count, &exec, err);
    if (r < 0)
        return r;
    char text[32];
    part(p, "each command");
    step(p, "make", "cgroup", "the host gives one", "of its own: its whole tree ends with it");
    by(p, ROW_OPEN_FILES, NULL);
    step(p, "limit", "open files", NULL, "%llu", (unsigned long long)spec->limits.open_files);
    by(p, ROW_USER, NULL);
    snprintf(text, sizeof text, "uid %u", spec->process.uid);
    step(p, "take", text, NULL, "and gid, no other group, no capability");
    for (const struct policy_item *i = p->policy->values[ROW_SECCOMP_ALLOW].first; i; i = i->next) {
        by(p, ROW_SECCOMP_ALLOW, i);
        step(p, "add", i->text, NULL, "to the filter");
    }
    by(p, ROW_SECCOMP, NULL);
    step(p, "filter", schema_rows[ROW_SECCOMP].choices[p->policy->values[ROW_SECCOMP].number].name,
         NULL, "seccomp, %u instructions, sha256 %.16s", exec.length, exec.hash);
    if (spec->process.explain_syscalls) {
        by(p, ROW_EXPLAIN_SYSCALLS, NULL);
        step(p, "explain", "denied calls", NULL,
             "init answers them as the filter would, and counts");
    }
    for (const struct policy_item *i = p->policy->values[ROW_ENV].first; i; i = i->next) {
        by(p, ROW_ENV, i);
        step(p, "set", i->text, NULL, "in the environment");
    }
    by(p, ROW_EXEC_TIMEOUT, NULL);
    units_format_duration(spec->limits.exec_timeout_ms, text, sizeof text);
    step(p, "limit", "time", NULL, "%s", spec->limits.exec_timeout_ms ? text : "none");
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int plan_all(struct planning *p, struct err *err)
{
    _cleanup_free_ struct rootfs_plan *rootfs = calloc(1, sizeof *rootfs);
    struct rootfs_host host = {.has_bash = true};
    if (!rootfs)
        return -ENOMEM;
    for (int i = 0; i < ROOTFS_TOP_COUNT; i++)
        host.tops[i].exists = true;
    rootfs_plan_make(p->spec, &host, rootfs);
    plan_limits(p);
    plan_namespaces(p);
    plan_scratch(p);
    plan_files(p, rootfs);
    plan_devices(p);
    plan_workspace(p);
    plan_enter(p);
    int r = plan_init(p, err);
    return r < 0 ? r : plan_command(p, err);
}

int policy_explain_plan(const struct policy *policy, const char *workspace, bool json,
                        struct buf *out, struct err *err)
{
    if (!workspace || !explain_is_normalised(workspace))
        return explain_fail(err, workspace ? workspace : "--workspace",
                            "Name the workspace by an absolute path, without empty, \".\" or "
                            "\"..\" parts and without a slash at its end.");
    _cleanup_free_ struct spec *spec = calloc(1, sizeof *spec);
    if (!spec)
        return err_set(err, ERR_INTERNAL, ENOMEM, "explain", NULL, NULL);
    spec_init_zeroed(spec);
    spec->workspace.kind = SPEC_WORKSPACE_DIRECTORY;
    memcpy(spec->workspace.mount_path, workspace, strlen(workspace) + 1);
    int r = policy_compile(policy, spec, err);
    if (r < 0)
        return r;
    struct planning p = {.policy = policy, .spec = spec, .json = json, .out = out};
    if (json) {
        buf_puts(out, "{\"workspace\": ");
        buf_json_string(out, workspace);
        buf_puts(out, ", \"plan\": [");
    }
    r = plan_all(&p, err);
    if (r < 0)
        return r;
    if (json)
        buf_puts(out, "\n]}\n");
    return buf_failed(out) ? -ENOMEM : 1;
}
