/* This file answers what a session sees at a path, and by which line of a policy (POL-3); it never
 * looks at the host. It walks the mounts that the policy makes; where none of them is, the rootfs,
 * as the table below has it.
 */
#include "policy/explain.h"

#include "runtime/base/fd.h"

#include <stdio.h>
#include <string.h>

/* What a session of image `host` has where nothing else is mounted. Longest path wins. */
#define PROGRAMS "The host's programs and libraries, if it has this directory."
#define MADE     "berth makes it for the session: nothing of the host's own is in it."
#define PUBLIC   "Public configuration of the host, if it has this file."
#define SCRATCH  "Scratch, gone with the session. Nothing of the host's is there."
#define ABSENT                                                                                 \
    "Nothing of the host is there: of its files, a session sees only programs, libraries and " \
    "public configuration."

/* runtime/plan/rootfs.c makes this; a test compares the two. */
static const struct {
    const char *path;
    const char *decision; /* NULL: absent, though the directory itself is there */
    const char *why;
} places[] = {
    {"/", NULL, ABSENT},
    {"/usr", "read-only", PROGRAMS},
    {"/bin", "read-only", PROGRAMS},
    {"/sbin", "read-only", PROGRAMS},
    {"/lib", "read-only", PROGRAMS},
    {"/lib32", "read-only", PROGRAMS},
    {"/lib64", "read-only", PROGRAMS},
    {"/libx32", "read-only", PROGRAMS},
    {"/etc", NULL,
     "berth makes /etc for the session; of the host's it has only public "
     "configuration, and no accounts or secrets."},
    {"/etc/passwd", "read-only", MADE},
    {"/etc/group", "read-only", MADE},
    {"/etc/hosts", "read-only", MADE},
    {"/etc/hostname", "read-only", MADE},
    {"/etc/resolv.conf", "read-only", MADE},
    {"/etc/nsswitch.conf", "read-only", MADE},
    {"/etc/shells", "read-only", MADE},
    {"/etc/mtab", "read-only", MADE},
    {"/etc/ld.so.cache", "read-only", PUBLIC},
    {"/etc/alternatives", "read-only", PUBLIC},
    {"/etc/ssl", NULL,
     "Of the host's /etc/ssl only certificates of authorities are seen, no keys."},
    {"/etc/ssl/certs", "read-only", PUBLIC},
    {"/etc/ssl/openssl.cnf", "read-only", PUBLIC},
    {"/etc/pki", "read-only", PUBLIC},
    {"/etc/crypto-policies", "read-only", PUBLIC},
    {"/etc/protocols", "read-only", PUBLIC},
    {"/etc/services", "read-only", PUBLIC},
    {"/etc/mime.types", "read-only", PUBLIC},
    {"/etc/localtime", "read-only", PUBLIC},
    {"/etc/terminfo", "read-only", PUBLIC},
    {"/etc/os-release", "read-only", PUBLIC},
    {"/etc/fonts", "read-only", PUBLIC},
    {"/etc/java", "read-only", PUBLIC},
    {"/etc/java-8-openjdk", "read-only", PUBLIC},
    {"/etc/java-11-openjdk", "read-only", PUBLIC},
    {"/etc/java-17-openjdk", "read-only", PUBLIC},
    {"/etc/java-21-openjdk", "read-only", PUBLIC},
    {"/etc/maven", "read-only", PUBLIC},
    {"/tmp", "read-write", SCRATCH},
    {"/home", NULL, ABSENT},
    {"/home/user", "read-write", SCRATCH},
    {"/root", NULL, ABSENT},
    {"/opt", NULL, ABSENT},
    {"/srv", NULL, ABSENT},
    {"/mnt", NULL, ABSENT},
    {"/mnt/session", NULL, ABSENT},
    {"/mnt/session/uploads", "read-only", "What the session was given (uploads)."},
    {"/mnt/session/outputs", "read-write", SCRATCH},
    {"/var", NULL, ABSENT},
    {"/var/tmp", "read-write", SCRATCH},
    {"/var/run", NULL, ABSENT},
    {"/var/lock", "read-write", SCRATCH},
    {"/var/cache", NULL, ABSENT},
    {"/var/lib", NULL, ABSENT},
    {"/var/log", NULL, ABSENT},
    {"/run", NULL, ABSENT},
    {"/run/shm", "read-write", SCRATCH},
    {"/run/lock", "read-write", SCRATCH},
    {"/proc", "read-only", "The session's own processes; what belongs to the host is masked."},
    {"/dev", "read-write",
     "A few safe devices (null, zero, random, tty) and the session's own "
     "terminals."},
    {"/sys", NULL, "There is no sysfs, only what tools are known to read."},
    {"/sys/devices", NULL, "There is no sysfs, only what tools are known to read."},
    {"/sys/devices/system", NULL, "There is no sysfs, only what tools are known to read."},
    {"/sys/devices/system/cpu", "read-only", "What tools read about processors, read-only."},
};

static bool is_beneath(const char *path, const char *top)
{
    size_t n = strlen(top);
    if (n == 1 && top[0] == '/')
        return true;
    return strncmp(path, top, n) == 0 && (path[n] == 0 || path[n] == '/');
}

/* The session's view as a list of mounts is walked for the one with the longest path. */
static void decide_rootfs(const struct policy *policy, const char *path, struct explain_answer *a)
{
    const struct policy_value *image = &policy->values[ROW_IMAGE];
    explain_origin(a, &image->origin, "filesystem.image");
    size_t best = 0;
    for (size_t i = 1; i < ARRAY_LENGTH(places); i++)
        if (is_beneath(path, places[i].path) && strlen(places[i].path) >= strlen(places[best].path))
            best = i;
    bool host = strcmp(image->text, "host") == 0;
    bool kernel =
        best && (strcmp(places[best].path, "/proc") == 0 ||
                 strcmp(places[best].path, "/dev") == 0 || strcmp(places[best].path, "/sys") == 0);
    if (!host && !kernel) {
        a->allowed = true;
        a->decision = "read-write";
        snprintf(a->why, sizeof a->why,
                 "Whatever %.200s has there. What is written is gone with the session.",
                 image->text);
        return;
    }
    /* A directory itself is seen even where what it holds is not. */
    bool directory = strcmp(path, places[best].path) == 0 && !places[best].decision;
    a->decision = directory ? "read-only" : places[best].decision;
    a->allowed = a->decision != NULL;
    if (!a->decision)
        a->decision = "absent";
    snprintf(a->why, sizeof a->why, "%s", places[best].why);
}

static const struct policy_item *find_mount(const struct policy *policy, const char *path,
                                            bool *ret_writable)
{
    const struct policy_item *best = NULL;
    for (int pass = 0; pass < 2; pass++)
        for (const struct policy_item *i =
                 policy->values[pass ? ROW_READ_WRITE : ROW_READ_ONLY].first;
             i; i = i->next)
            if (is_beneath(path, i->other) && (!best || strlen(i->other) > strlen(best->other))) {
                best = i;
                *ret_writable = pass == 1;
            }
    return best;
}

static void decide_mount(const struct policy_item *mount, bool writable, struct explain_answer *a)
{
    a->allowed = true;
    a->decision = writable ? "read-write" : "read-only";
    snprintf(a->why, sizeof a->why, "The host's %.400s is mounted there.", mount->text);
    explain_origin(a, &mount->origin, writable ? "filesystem.read_write" : "filesystem.read_only");
}

static void decide_workspace(const struct policy *policy, const char *path, const char *workspace,
                             struct explain_answer *a)
{
    size_t n = strcmp(workspace, "/") == 0 ? 0 : strlen(workspace);
    a->allowed = true;
    a->decision = "read-write";
    snprintf(a->why, sizeof a->why, "It is in the workspace.");
    const struct policy_item *found = NULL;
    for (const struct policy_item *p = policy->values[ROW_PROTECT].first; p && path[n]; p = p->next)
        if (is_beneath(path + n + 1, item_protected_path(p)) &&
            (!found || (found->home && !p->home)))
            found = p;
    if (!found)
        return;
    a->decision = "protected";
    snprintf(a->why, sizeof a->why, "%s",
             found->home
                 ? "It is in the workspace and protected where it exists: it can be read, and not "
                   "changed or renamed away. Missing, it is protected only if the workspace is a "
                   "home directory (of an account, of who runs berth, or by a \"~/\" path of the "
                   "policy that is there); elsewhere it can be made, and that is told at the end."
                 : "It is in the workspace and protected: it can be read, and not changed or "
                   "renamed away, when its parent directory exists.");
    explain_origin(a, &found->origin, "filesystem.protect");
}

bool explain_is_normalised(const char *path)
{
    if (path[0] != '/' || !explain_printable(path) || strlen(path) >= SPEC_PATH_MAX)
        return false;
    for (const char *p = path + 1; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.') ||
            (p[n] == '/' && p[n + 1] == 0))
            return false;
        p += n + (p[n] == '/');
    }
    return true;
}

int policy_explain_path(const struct policy *policy, const char *path, const char *workspace,
                        bool json, struct buf *out, struct err *err)
{
    if (!explain_is_normalised(path))
        return explain_fail(err, path,
                            "Ask for an absolute path inside the session, without empty, \".\" or "
                            "\"..\" parts and without a slash at its end.");
    struct explain_answer a = {.kind = "path", .subject = path};
    bool writable = false;
    const struct policy_item *mount = find_mount(policy, path, &writable);
    bool inside = workspace && *workspace && is_beneath(path, workspace);
    if (inside && (!mount || strlen(workspace) >= strlen(mount->other)))
        decide_workspace(policy, path, workspace, &a);
    else if (mount)
        decide_mount(mount, writable, &a);
    else
        decide_rootfs(policy, path, &a);
    return explain_print(&a, json, out);
}
