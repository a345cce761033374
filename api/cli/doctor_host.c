/* This file looks at the host's configuration for `berth doctor`; it changes nothing.
 *
 * Each check reads a file or two and answers in one finding. What is read may be missing (another
 * distribution, a masked procfs): then the check has nothing to say, and the probes decide.
 */
#include "api/cli/doctor_host.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

typedef void (*check)(const struct runtime_facts *facts, struct host_finding *f);

static long read_number(const char *path, long otherwise)
{
    char text[32];
    return io_read_at(AT_FDCWD, path, text, sizeof text) > 0 ? strtol(text, NULL, 10) : otherwise;
}

static bool privileged(const struct runtime_facts *facts)
{
    return facts ? !facts->rootless : geteuid() == 0;
}

/* ---- kernel ------------------------------------------------------------------------------------
 */

static void check_kernel(const struct runtime_facts *facts, struct host_finding *f)
{
    (void)facts;
    static const struct {
        int major, minor;
        bool needed;
        const char *what;
    } rows[] = {
        {5, 6, true, "openat2"},
        {5, 7, false, "CLONE_INTO_CGROUP"},
        {5, 9, true, "close_range"},
        {5, 12, true, "mount_setattr and idmapped mounts"},
        {5, 13, false, "Landlock"},
        {5, 14, false, "cgroup.kill"},
        {5, 19, false, "Landlock over renames"},
    };
    struct utsname u;
    int major = 0, minor = 0;
    if (uname(&u) < 0 || sscanf(u.release, "%d.%d", &major, &minor) != 2)
        return;
    buf_printf(&f->text, "Linux %s", u.release);
    const char *before = ", older than what brought: ";
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        if (major > rows[i].major || (major == rows[i].major && minor >= rows[i].minor))
            continue;
        buf_printf(&f->text, "%s%s (%d.%d)", before, rows[i].what, rows[i].major, rows[i].minor);
        before = ", ";
        if (rows[i].needed)
            f->state = HOST_BAD;
        else if (f->state == HOST_FINE)
            f->state = HOST_LESS;
    }
    if (f->state != HOST_FINE)
        buf_puts(&f->remedy, "Use a kernel of 6.1 or later, which is what berth is tested on.\n");
}

/* ---- user namespaces ---------------------------------------------------------------------------
 */

static void check_sysctls(const struct runtime_facts *facts, struct host_finding *f)
{
    long most = read_number("/proc/sys/user/max_user_namespaces", -1);
    if (most == 0) {
        f->state = HOST_BAD;
        buf_puts(&f->text, "user.max_user_namespaces is 0: nobody may make a user namespace");
        buf_puts(&f->remedy,
                 "echo user.max_user_namespaces=15000 | sudo tee /etc/sysctl.d/90-berth.conf\n"
                 "sudo sysctl --system\n");
        return;
    }
    if (!privileged(facts) && read_number("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0) {
        f->state = HOST_BAD;
        buf_puts(&f->text, "kernel.unprivileged_userns_clone is 0: only root may make a user "
                           "namespace");
        buf_puts(&f->remedy, "echo kernel.unprivileged_userns_clone=1 | sudo tee "
                             "/etc/sysctl.d/90-berth.conf\nsudo sysctl --system\n");
        return;
    }
    buf_puts(&f->text, "user namespaces are allowed by sysctl");
}

static void check_apparmor(const struct runtime_facts *facts, struct host_finding *f)
{
    static const char knob[] = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    if (privileged(facts) || read_number(knob, 0) == 0) {
        buf_puts(&f->text, "AppArmor does not restrict user namespaces for you");
        return;
    }
    char program[SPEC_PATH_MAX] = "/usr/local/bin/berth";
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n > 0)
        program[n] = 0;
    char confined[128] = "";
    io_read_at(AT_FDCWD, "/proc/self/attr/current", confined, sizeof confined);
    if (strncmp(confined, "berth", 5) == 0) {
        buf_puts(&f->text, "AppArmor restricts user namespaces, and berth has its profile");
        return;
    }
    f->state = facts ? HOST_LESS : HOST_BAD;
    buf_puts(&f->text, "AppArmor lets programs without a profile have no rights in a user "
                       "namespace (Ubuntu 23.10 and later)");
    buf_printf(&f->remedy,
               "sudo tee /etc/apparmor.d/berth <<'END'\n"
               "abi <abi/4.0>,\n"
               "include <tunables/global>\n"
               "profile berth %s flags=(unconfined) {\n"
               "  userns,\n"
               "  include if exists <local/berth>\n"
               "}\n"
               "END\n"
               "sudo apparmor_parser -r /etc/apparmor.d/berth\n",
               program);
}

/* ---- subordinate ids ---------------------------------------------------------------------------
 */

/* The caller's name, from /etc/passwd alone: a static program has no name service. */
static void user_name(uint32_t uid, char *ret_name, size_t size)
{
    snprintf(ret_name, size, "%u", uid);
    _cleanup_free_ char *text = NULL;
    size_t length;
    if (io_read_file(AT_FDCWD, "/etc/passwd", 1 << 20, &text, &length) < 0)
        return;
    for (char *line = text; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        char name[64];
        unsigned id;
        if (sscanf(line, "%63[^:\n]:%*[^:\n]:%u:", name, &id) == 2 && id == uid)
            snprintf(ret_name, size, "%s", name);
    }
}

static void check_subordinate(const struct runtime_facts *facts, struct host_finding *f)
{
    if (privileged(facts)) {
        buf_puts(&f->text, "not needed: root has ranges of its own");
        return;
    }
    if (facts && !facts->single_uid) {
        buf_puts(&f->text, "a range of subordinate ids is yours");
        return;
    }
    f->state = HOST_LESS;
    buf_printf(&f->text, "sessions have one user id only: %s",
               facts ? facts->single_uid_reason : "not looked at");
    char name[64];
    user_name(facts ? facts->caller_uid : geteuid(), name, sizeof name);
    if (access("/usr/bin/newuidmap", X_OK) < 0)
        buf_puts(&f->remedy, "sudo apt-get install uidmap\n");
    buf_printf(&f->remedy,
               "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "
               "%s\n",
               name);
}

/* ---- cgroups -----------------------------------------------------------------------------------
 */

static void check_cgroups(const struct runtime_facts *facts, struct host_finding *f)
{
    static const char *const layouts[] = {[RUNTIME_CGROUP_NONE] = "no cgroup that you may write",
                                          [RUNTIME_CGROUP_UNIFIED] = "version 2",
                                          [RUNTIME_CGROUP_HYBRID] =
                                              "version 2 for processes, version 1 for limits"};
    const uint32_t all = SPEC_LIMIT_MEMORY | SPEC_LIMIT_CPU | SPEC_LIMIT_PIDS;
    if (!facts)
        return;
    buf_printf(&f->text, "%s", layouts[facts->cgroup_layout]);
    if ((facts->limits_available & all) == all)
        return;
    f->state = HOST_LESS;
    buf_printf(&f->text, "; without %s%s%s: %s",
               facts->limits_available & SPEC_LIMIT_MEMORY ? "" : "memory ",
               facts->limits_available & SPEC_LIMIT_CPU ? "" : "cpu ",
               facts->limits_available & SPEC_LIMIT_PIDS ? "" : "pids ", facts->cgroup_reason);
    /* Only where version 2 is there to be given. */
    if (facts->rootless && access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0)
        buf_puts(&f->remedy, "sudo systemctl edit user@.service   # and write these two lines:\n"
                             "  [Service]\n"
                             "  Delegate=cpu memory pids\n"
                             "then log out and in again; without a login session:\n"
                             "sudo loginctl enable-linger \"$USER\"\n");
}

/* ---- where berth stands ------------------------------------------------------------------------
 */

/* Mount points of this process, one per line: the fifth field of mountinfo. NULL: unreadable. */
static char *mount_points(void)
{
    _cleanup_free_ char *text = NULL;
    size_t length;
    _cleanup_buf_ struct buf out = {0};
    if (io_read_file(AT_FDCWD, "/proc/self/mountinfo", 4 << 20, &text, &length) < 0)
        return NULL;
    for (char *save, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char point[512];
        if (sscanf(line, "%*s %*s %*s %*s %511s", point) == 1)
            buf_printf(&out, "\n%s", point);
    }
    buf_putc(&out, '\n');
    return buf_take(&out);
}

static void check_chroot(const struct runtime_facts *facts, struct host_finding *f)
{
    (void)facts;
    _cleanup_free_ char *points = mount_points();
    struct stat mine, first;
    bool other_root = stat("/", &mine) == 0 && stat("/proc/1/root/.", &first) == 0 &&
                      (mine.st_dev != first.st_dev || mine.st_ino != first.st_ino);
    if (points && !strstr(points, "\n/\n"))
        other_root = true;
    if (!other_root) {
        buf_puts(&f->text, "not in a chroot");
        return;
    }
    f->state = HOST_BAD;
    buf_puts(&f->text, "in a chroot: the kernel lets nobody make a user namespace there");
    buf_puts(&f->remedy, "Enter the tree by pivot_root instead:\n"
                         "sudo unshare --mount sh -c 'mount --bind TREE TREE; cd TREE; mkdir -p "
                         "old; pivot_root . old; umount -l old; exec sh'\n"
                         "or: sudo systemd-nspawn -D TREE\n");
}

static void check_container(const struct runtime_facts *facts, struct host_finding *f)
{
    const char *variable = getenv("container");
    const char *kind = access("/.dockerenv", F_OK) == 0          ? "docker"
                       : access("/run/.containerenv", F_OK) == 0 ? "podman"
                       : variable && variable[0]                 ? "a container"
                                                                 : NULL;
    if (!kind) {
        buf_puts(&f->text, "not in a container");
        return;
    }
    if (facts) {
        buf_printf(&f->text, "in a container (%s), which lets berth make namespaces", kind);
        return;
    }
    f->state = HOST_BAD;
    buf_printf(&f->text,
               "in a container (%s), which keeps namespaces and mounts from berth unless "
               "it is told not to",
               kind);
    buf_puts(&f->remedy, "docker run --privileged --cgroupns=private ...\n"
                         "or narrower: --security-opt seccomp=unconfined --security-opt "
                         "apparmor=unconfined --security-opt systempaths=unconfined --cap-add "
                         "SYS_ADMIN\n");
}

/* A procfs with something mounted over parts of it: the kernel then refuses a new procfs to whoever
 * is not root of the machine (mount_too_revealing). */
static void check_procfs(const struct runtime_facts *facts, struct host_finding *f)
{
    _cleanup_free_ char *points = mount_points();
    const char *over = points ? strstr(points, "\n/proc/") : NULL;
    while (over && strncmp(over, "\n/proc/sys/fs/binfmt_misc\n", 26) == 0)
        over = strstr(over + 1, "\n/proc/");
    if (!over) {
        buf_puts(&f->text, "nothing is mounted over it");
        return;
    }
    int length = (int)strcspn(over + 1, "\n");
    f->state = privileged(facts) ? HOST_LESS : HOST_BAD;
    buf_printf(&f->text, "%.*s is mounted over: a user namespace gets no procfs of its own", length,
               over + 1);
    buf_puts(&f->remedy, "In a systemd unit: ProtectKernelTunables=no, ProtectKernelLogs=no, "
                         "ProtectProc=default, ProcSubset=all\n"
                         "In docker: --security-opt systempaths=unconfined\n");
}

static void check_filter(const struct runtime_facts *facts, struct host_finding *f)
{
    (void)facts;
    char status[4096];
    const char *line = io_read_at(AT_FDCWD, "/proc/self/status", status, sizeof status) > 0
                           ? strstr(status, "\nSeccomp:")
                           : NULL;
    if (!line || strtol(line + 9, NULL, 10) == 0) {
        buf_puts(&f->text, "berth itself runs under no seccomp filter");
        return;
    }
    f->state = HOST_LESS;
    buf_puts(&f->text, "berth itself runs under a seccomp filter (a container's, or "
                       "SystemCallFilter= of a unit), which may refuse clone3 and mount calls");
    buf_puts(&f->remedy, "In a systemd unit: SystemCallFilter=\nIn docker: --security-opt "
                         "seccomp=unconfined\n");
}

static void check_landlock(const struct runtime_facts *facts, struct host_finding *f)
{
    char enabled[256] = "";
    io_read_at(AT_FDCWD, "/sys/kernel/security/lsm", enabled, sizeof enabled);
    if (facts && facts->landlock_abi) {
        buf_printf(&f->text, "Landlock ABI %u", facts->landlock_abi);
        return;
    }
    f->state = HOST_LESS;
    buf_printf(&f->text, "no Landlock: the second layer behind the mounts is missing%s%s",
               enabled[0] ? "; enabled are " : "", enabled);
    buf_puts(&f->remedy, "Add landlock to the kernel's command line: lsm=landlock,...\n");
}

/* A limit of 1 keeps a session's crashes from a program that is named there, not from a socket
 * (Linux 6.16, coredump_socket() in fs/coredump.c looks at no limit). */
static void check_crash(const struct runtime_facts *facts, struct host_finding *f)
{
    (void)facts;
    char pattern[256] = "";
    io_read_at(AT_FDCWD, "/proc/sys/kernel/core_pattern", pattern, sizeof pattern);
    if (pattern[0] != '@') {
        buf_puts(&f->text, "kernel.core_pattern names no socket");
        return;
    }
    f->state = HOST_LESS;
    buf_printf(
        &f->text,
        "kernel.core_pattern names a socket (%s): what crashes in a session is handed to who "
        "listens there, outside, and no limit of a session's keeps it in",
        pattern);
    buf_puts(&f->remedy, "sudo sysctl kernel.core_pattern=core\n");
}

/* In the order in which causes hide each other. */
static const struct {
    const char *name;
    check run;
} checks[HOST_FINDINGS] = {
    {"kernel", check_kernel},       {"chroot", check_chroot},
    {"container", check_container}, {"seccomp filter", check_filter},
    {"procfs", check_procfs},       {"sysctls", check_sysctls},
    {"AppArmor", check_apparmor},   {"subordinate ids", check_subordinate},
    {"cgroups", check_cgroups},     {"Landlock", check_landlock},
    {"crashes", check_crash},
};

void doctor_host(const struct runtime_facts *facts, struct host_finding ret[HOST_FINDINGS])
{
    for (size_t i = 0; i < HOST_FINDINGS; i++) {
        ret[i] = (struct host_finding){.name = checks[i].name};
        checks[i].run(facts, &ret[i]);
    }
}

void doctor_host_fini(struct host_finding findings[HOST_FINDINGS])
{
    for (size_t i = 0; i < HOST_FINDINGS; i++) {
        buf_fini(&findings[i].text);
        buf_fini(&findings[i].remedy);
    }
}
