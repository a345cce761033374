/* This file answers questions about a policy (POL-3): is this system call, path or host allowed,
 * and by which line? It answers from the policy alone and never looks at the host or asks the
 * network.
 */
#include "policy/model.h"
#include "policy/rule.h"

#include "runtime/base/fd.h"
#include "runtime/plan/seccomp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One answer, printed the same way for all three questions. */
struct answer {
    const char *kind;    /* "syscall" */
    const char *subject; /* what was asked about */
    bool allowed;
    const char *decision; /* one or two words */
    char why[512];
    char origin[512]; /* the line that decides; "" when none does */
    char note[256];
};

static int print_answer(const struct answer *a, bool json, struct buf *out)
{
    if (json) {
        buf_printf(out, "{\"%s\": ", a->kind);
        buf_json_string(out, a->subject);
        buf_printf(out, ", \"allowed\": %s, \"decision\": \"%s\", \"why\": ",
                   a->allowed ? "true" : "false", a->decision);
        buf_json_string(out, a->why);
        buf_puts(out, ", \"origin\": ");
        if (a->origin[0])
            buf_json_string(out, a->origin);
        else
            buf_puts(out, "null");
        if (a->note[0]) {
            buf_puts(out, ", \"note\": ");
            buf_json_string(out, a->note);
        }
        buf_puts(out, "}\n");
    } else {
        buf_printf(out, "%s %s: %s\n  %s\n", a->kind, a->subject, a->decision, a->why);
        if (a->origin[0])
            buf_printf(out, "  by: %s\n", a->origin);
        if (a->note[0])
            buf_printf(out, "  note: %s\n", a->note);
    }
    return buf_failed(out) ? -ENOMEM : a->allowed;
}

static void set_origin(struct answer *a, const struct policy_origin *origin, const char *key)
{
    _cleanup_buf_ struct buf text = {0};
    origin_print(origin, &text);
    snprintf(a->origin, sizeof a->origin, "%s (%s)", buf_text(&text), key);
}

static bool is_printable(const char *text)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    return *text != 0;
}

static int fail_question(struct err *err, const char *subject, const char *why)
{
    return err_set(err, ERR_INVALID_REQUEST, 0, "explain", subject, "%s", why);
}

/* ---- system calls -------------------------------------------------------------------------------
 */

int policy_explain_syscall(const struct policy *policy, const char *name, bool json,
                           struct buf *out, struct err *err)
{
    const struct policy_value *profile = &policy->values[ROW_SECCOMP];
    const struct policy_item *added = NULL;
    uint32_t allow[SPEC_SECCOMP_ALLOW_MAX], count = 0;
    for (const struct policy_item *i = policy->values[ROW_SECCOMP_ALLOW].first; i; i = i->next) {
        allow[count++] = i->number;
        if (strcmp(i->text, name) == 0)
            added = i;
    }
    struct answer a = {.kind = "syscall", .subject = name};
    bool addable = false;
    enum seccomp_decision says = seccomp_explain(
        (enum spec_seccomp_profile)schema_rows[ROW_SECCOMP].choices[profile->number].value, allow,
        count, name, a.why, 256, &addable);
    static const char *const words[] = {
        [SECCOMP_SAYS_ALLOW] = "allowed",
        [SECCOMP_SAYS_ALLOW_IF] = "allowed for some arguments",
        [SECCOMP_SAYS_EPERM] = "denied (EPERM)",
        [SECCOMP_SAYS_ENOSYS] = "denied (ENOSYS)",
    };
    if (says == SECCOMP_SAYS_NO_SUCH_CALL)
        return fail_question(err, name, "This is not a system call that berth knows.");
    a.allowed = says == SECCOMP_SAYS_ALLOW || says == SECCOMP_SAYS_ALLOW_IF;
    a.decision = words[says];
    if (added)
        set_origin(&a, &added->origin, "process.seccomp_allow");
    else
        set_origin(&a, &profile->origin, "process.seccomp");
    if (!a.allowed)
        snprintf(a.note, sizeof a.note, "%s",
                 addable ? "process.seccomp_allow may name it."
                         : "No policy may allow it by name.");
    return print_answer(&a, json, out);
}

/* ---- hosts
 * ----------------------------------------------------------------------------------------- */

static const struct policy_item *find_rule(const struct policy_value *rules,
                                           const struct spec_rule *target, uint16_t port)
{
    for (const struct policy_item *i = rules->first; i; i = i->next)
        if (rule_has_port(i->rule, port) && rule_names_cover(i->rule, target))
            return i;
    return NULL;
}

/* What NET-3 says of a literal address that no cidr rule names. NULL: nothing against it. */
static const char *refuse_address(const struct policy *policy, const struct spec_rule *target)
{
    switch (rule_classify(target)) {
    case RULE_ADDRESS_NEVER:
        return "Loopback, multicast and reserved addresses are never reached outside; loopback "
               "inside is the session's own.";
    case RULE_ADDRESS_METADATA:
        return "A metadata address is reached only when a cidr rule names it.";
    case RULE_ADDRESS_PRIVATE:
        return policy->values[ROW_ALLOW_PRIVATE].number
                   ? NULL
                   : "A private address is reached only with network.allow_private or a cidr rule.";
    case RULE_ADDRESS_PUBLIC:
        break;
    }
    return NULL;
}

static void decide_host(const struct policy *policy, const struct spec_rule *target,
                        struct answer *a)
{
    uint16_t port = target->ports[0];
    const struct policy_value *egress = &policy->values[ROW_EGRESS];
    const struct policy_item *deny = find_rule(&policy->values[ROW_DENY], target, port);
    const struct policy_item *allow = find_rule(&policy->values[ROW_ALLOW], target, port);
    const char *mode = schema_rows[ROW_EGRESS].choices[egress->number].name;
    const char *against = target->family ? refuse_address(policy, target) : NULL;
    bool never = target->family && rule_classify(target) == RULE_ADDRESS_NEVER;
    if (never) {
        snprintf(a->why, sizeof a->why, "%s", against);
    } else if (deny) {
        snprintf(a->why, sizeof a->why, "The rule %s denies it, and deny beats allow.", deny->text);
        set_origin(a, &deny->origin, "network.deny");
    } else if (allow) {
        a->allowed = true;
        snprintf(a->why, sizeof a->why, "The rule %s allows it.%s", allow->text,
                 target->family ? ""
                                : " The address that the name resolves to is checked when it "
                                  "is dialled.");
        set_origin(a, &allow->origin, "network.allow");
    } else if (against) {
        snprintf(a->why, sizeof a->why, "%s", against);
        set_origin(a, &policy->values[ROW_ALLOW_PRIVATE].origin, "network.allow_private");
    } else {
        a->allowed = egress->number > 0;
        snprintf(a->why, sizeof a->why, "No rule names it, and egress is \"%s\".", mode);
        set_origin(a, &egress->origin, "network.egress");
    }
    a->decision = a->allowed ? "allowed" : "denied";
}

int policy_explain_host(const struct policy *policy, const char *host_port, bool json,
                        struct buf *out, struct err *err)
{
    struct spec_rule target;
    char why[HOST_WHY_MAX];
    _cleanup_buf_ struct buf name = {0};
    if (rule_parse_target(host_port, &target, why) < 0)
        return fail_question(err, host_port, why);
    rule_print(&target, &name);
    struct answer a = {.kind = "host", .subject = buf_text(&name)};
    if (target.family) {
        /* A literal address without its /32: as it was asked. */
        a.subject = is_printable(host_port) ? host_port : "";
    }
    decide_host(policy, &target, &a);
    bool asks = policy->values[ROW_EGRESS].number > 0 || policy->values[ROW_ALLOW].first;
    if (asks)
        snprintf(a.note, sizeof a.note,
                 "Network rules are not available in this release: a session that needs them is "
                 "refused when it is made, and this is what the rules will say.");
    return print_answer(&a, json, out);
}

/* ---- paths
 * -------------------------------------------------------------------------------------------- */

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
    {"/etc/ld.so.conf", "read-only", PUBLIC},
    {"/etc/ld.so.conf.d", "read-only", PUBLIC},
    {"/etc/alternatives", "read-only", PUBLIC},
    {"/etc/ssl", NULL,
     "Of the host's /etc/ssl only certificates of authorities are seen, no keys."},
    {"/etc/ssl/certs", "read-only", PUBLIC},
    {"/etc/ssl/openssl.cnf", "read-only", PUBLIC},
    {"/etc/ca-certificates", "read-only", PUBLIC},
    {"/etc/pki", "read-only", PUBLIC},
    {"/etc/crypto-policies", "read-only", PUBLIC},
    {"/etc/protocols", "read-only", PUBLIC},
    {"/etc/services", "read-only", PUBLIC},
    {"/etc/mime.types", "read-only", PUBLIC},
    {"/etc/magic", "read-only", PUBLIC},
    {"/etc/localtime", "read-only", PUBLIC},
    {"/etc/timezone", "read-only", PUBLIC},
    {"/etc/terminfo", "read-only", PUBLIC},
    {"/etc/inputrc", "read-only", PUBLIC},
    {"/etc/os-release", "read-only", PUBLIC},
    {"/etc/debian_version", "read-only", PUBLIC},
    {"/etc/fonts", "read-only", PUBLIC},
    {"/etc/python3", "read-only", PUBLIC},
    {"/etc/python3.11", "read-only", PUBLIC},
    {"/etc/perl", "read-only", PUBLIC},
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
    {"/media", NULL, ABSENT},
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
    {"/sys", NULL, "There is no sysfs, only copies of what tools are known to read."},
    {"/sys/devices", NULL, "There is no sysfs, only copies of what tools are known to read."},
    {"/sys/devices/system", NULL,
     "There is no sysfs, only copies of what tools are known to read."},
    {"/sys/devices/system/cpu", "read-only", "A copy of what tools read about processors."},
    {"/sys/devices/system/node", "read-only", "A copy of what tools read about processors."},
};

static bool is_beneath(const char *path, const char *top)
{
    size_t n = strlen(top);
    if (n == 1 && top[0] == '/')
        return true;
    return strncmp(path, top, n) == 0 && (path[n] == 0 || path[n] == '/');
}

/* The session's view as a list of mounts is walked for the one with the longest path. */
static void decide_rootfs(const struct policy *policy, const char *path, struct answer *a)
{
    const struct policy_value *image = &policy->values[ROW_IMAGE];
    set_origin(a, &image->origin, "filesystem.image");
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

static void decide_mount(const struct policy_item *mount, bool writable, struct answer *a)
{
    a->allowed = true;
    a->decision = writable ? "read-write" : "read-only";
    snprintf(a->why, sizeof a->why, "The host's %.400s is mounted there.", mount->text);
    set_origin(a, &mount->origin, writable ? "filesystem.read_write" : "filesystem.read_only");
}

static void decide_workspace(const struct policy *policy, const char *path, const char *workspace,
                             struct answer *a)
{
    size_t n = strcmp(workspace, "/") == 0 ? 0 : strlen(workspace);
    a->allowed = true;
    a->decision = "read-write";
    snprintf(a->why, sizeof a->why, "It is in the workspace.");
    for (const struct policy_item *p = policy->values[ROW_PROTECT].first; p && path[n]; p = p->next)
        if (is_beneath(path + n + 1, p->text)) {
            a->decision = "protected";
            snprintf(a->why, sizeof a->why,
                     "It is in the workspace and protected: it can be read, and not changed or "
                     "renamed away, when its parent directory exists.");
            set_origin(a, &p->origin, "filesystem.protect");
            return;
        }
}

static bool is_normalised(const char *path)
{
    if (path[0] != '/' || !is_printable(path) || strlen(path) >= SPEC_PATH_MAX)
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
    if (!is_normalised(path))
        return fail_question(err, path,
                             "Ask for an absolute path inside the session, without empty, \".\" or "
                             "\"..\" parts and without a slash at its end.");
    struct answer a = {.kind = "path", .subject = path};
    bool writable = false;
    const struct policy_item *mount = find_mount(policy, path, &writable);
    bool inside = workspace && *workspace && is_beneath(path, workspace);
    if (inside && (!mount || strlen(workspace) >= strlen(mount->other)))
        decide_workspace(policy, path, workspace, &a);
    else if (mount)
        decide_mount(mount, writable, &a);
    else
        decide_rootfs(policy, path, &a);
    return print_answer(&a, json, out);
}
