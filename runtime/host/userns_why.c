/* This file finds out why the kernel refused a user namespace, and what would change it; it only
 * reads. Runs as whoever was refused. The tests of the table are in order: the first that holds is
 * the answer, because each alone is enough for a refusal. */
#include "runtime/base/io.h"
#include "runtime/base/units.h"
#include "runtime/host/userns_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A sysctl's number; -1 when this kernel has none of that name. */
static int64_t sysctl_value(const char *path)
{
    char text[32];
    uint64_t value;
    if (io_read_at(AT_FDCWD, path, text, sizeof text) <= 0 || units_parse_u64(text, &value) < 0)
        return -1;
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

static bool is_forbidden_by_sysctl(void)
{
    return sysctl_value("/proc/sys/kernel/unprivileged_userns_clone") == 0;
}

static bool is_limit_zero(void)
{
    return sysctl_value("/proc/sys/user/max_user_namespaces") == 0;
}

static bool is_restricted_by_apparmor(void)
{
    return sysctl_value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1;
}

/* Within a chroot mountinfo lists no mount at "/", unless the new root is itself a mount: then the
 * root of the first process tells, where it may be looked at. */
static bool is_chroot(void)
{
    struct stat own, first;
    if (stat("/", &own) == 0 && stat("/proc/1/root/.", &first) == 0 &&
        (own.st_ino != first.st_ino || own.st_dev != first.st_dev))
        return true;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    if (!f)
        return false;
    char line[4096], point[1024];
    bool has_root = false;
    while (!has_root && fgets(line, sizeof line, f))
        has_root = sscanf(line, "%*s %*s %*s %*s %1023s", point) == 1 && strcmp(point, "/") == 0;
    fclose(f);
    return !has_root;
}

static bool is_filtered(void)
{
    char text[8192];
    if (io_read_at(AT_FDCWD, "/proc/self/status", text, sizeof text) <= 0)
        return false;
    return strstr(text, "\nSeccomp:\t2\n");
}

static bool is_container(void)
{
    return access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0;
}

static bool is_unmapped(void)
{
    char text[4096];
    if (io_read_at(AT_FDCWD, "/proc/self/uid_map", text, sizeof text) < 0)
        return false;
    for (const char *line = text; *line;) {
        unsigned inside, outside, count;
        if (sscanf(line, "%u %u %u", &inside, &outside, &count) == 3 && geteuid() >= inside &&
            geteuid() - inside < count)
            return false;
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return true;
}

static bool always(void)
{
    return true;
}

enum { DENIED = 1, FULL = 2, ABSENT = 4, OTHER = 8 };

static unsigned kind_of(int sys)
{
    switch (sys) {
    case EPERM:
    case EACCES:
        return DENIED;
    case ENOSPC:
    case EUSERS:
        return FULL;
    case ENOSYS:
    case EINVAL:
        return ABSENT;
    default:
        return OTHER;
    }
}

static const struct {
    unsigned kinds;
    bool (*holds)(void);
    const char *reason, *remedy;
} causes[] = {
    {DENIED, is_forbidden_by_sysctl,
     "kernel.unprivileged_userns_clone is 0: this host forbids user namespaces to ordinary users.",
     "As root: sysctl -w kernel.unprivileged_userns_clone=1, and to keep it: echo "
     "kernel.unprivileged_userns_clone=1 > /etc/sysctl.d/60-berth.conf. Or run berth as root."},
    {DENIED | FULL, is_limit_zero,
     "user.max_user_namespaces is 0: this host allows no user namespace to anybody.",
     "As root: sysctl -w user.max_user_namespaces=15000, and to keep it: echo "
     "user.max_user_namespaces=15000 > /etc/sysctl.d/60-berth.conf."},
    {DENIED, is_restricted_by_apparmor,
     "AppArmor lets only programs with a profile use user namespaces "
     "(kernel.apparmor_restrict_unprivileged_userns is 1, as on Ubuntu 24.04).",
     "As root, put into /etc/apparmor.d/berth: abi <abi/4.0>, profile berth " BERTH_PREFIX
     "/bin/berth flags=(unconfined) { userns, } and load it: apparmor_parser -r "
     "/etc/apparmor.d/berth. Or for all programs: sysctl -w "
     "kernel.apparmor_restrict_unprivileged_userns=0."},
    {DENIED, is_chroot,
     "This process is in a chroot, and the kernel makes no user namespace in one.",
     "Enter the tree by pivot_root instead (for example: unshare --mount with pivot_root, "
     "systemd-nspawn, or a virtual machine)."},
    {DENIED, is_unmapped, "This process's own id is not mapped in the user namespace it is in.",
     "Start berth as a user that /proc/self/uid_map covers."},
    {DENIED | ABSENT, is_filtered,
     "A seccomp filter is on this process, as container engines install one, and refuses it.",
     "Start the container with: --security-opt seccomp=unconfined (or a profile that allows clone, "
     "clone3, unshare and setns), and --security-opt apparmor=unconfined where AppArmor is used."},
    {DENIED, is_container, "This is a container, and its engine refuses user namespaces.",
     "Run berth on the host, or start the container with: --security-opt seccomp=unconfined "
     "--security-opt apparmor=unconfined."},
    {DENIED, always, "The kernel refused it, by a security module or a setting unknown to berth.",
     "Look at the kernel's log (dmesg, journalctl -k) for a denial at this moment."},
    {FULL, always,
     "The number of user namespaces is used up (user.max_user_namespaces), or they are nested more "
     "than 32 deep.",
     "As root: sysctl -w user.max_user_namespaces=15000; see which live: lsns -t user."},
    {ABSENT, always, "This kernel is built without user namespaces.",
     "Use a kernel with CONFIG_USER_NS=y, as every current distribution's is."},
    {OTHER, always, "The kernel could not make it now.",
     "Look for a shortage of memory or processes (dmesg, ulimit -u), then try again."},
};

void userns_why(int sys, char *ret_reason, size_t reason_size, char *ret_remedy, size_t remedy_size)
{
    unsigned kind = kind_of(sys);
    size_t i = 0;
    while (!(causes[i].kinds & kind) || !causes[i].holds())
        i++; /* each kind has a cause that always holds */
    snprintf(ret_reason, reason_size, "%s", causes[i].reason);
    snprintf(ret_remedy, remedy_size, "%s", causes[i].remedy);
}
