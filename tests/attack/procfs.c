/* This file is an attack program: it opens for writing what in /proc and /sys steers the kernel,
 * reads what in them tells of the host, and tries to get around the masks (row 23). It never writes
 * a byte. Its other half lists /dev.
 */
#include "try.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

static void named(char *name, size_t size, const char *verb, const char *path)
{
    snprintf(name, size, "%s%s", verb, path);
    for (char *c = name; *c; c++)
        if (*c == ' ')
            *c = '_';
}

static void open_for_write(const char *path)
{
    char name[160];
    named(name, sizeof name, "write:", path);
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    /* A masked file is the session's /dev/null: it opens, and nothing can be reached by it. */
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
        try_refused(name, "MASKED");
    else
        try_result(name, fd);
    if (fd >= 0)
        close(fd);
}

static void read_some(const char *path)
{
    char name[160], bytes[64];
    named(name, sizeof name, "read:", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        try_denied(name, errno);
        return;
    }
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n > 0)
        try_succeeded(name, "%zd bytes", n);
    else if (n == 0)
        try_refused(name, "EMPTY");
    else
        try_denied(name, errno);
    close(fd);
}

/* A list of addresses that are all zero tells nothing. */
static void read_addresses(const char *path)
{
    static char text[1 << 16];
    char name[160];
    named(name, sizeof name, "addresses:", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        try_denied(name, errno);
        return;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    bool line_start = true, digits = true;
    for (ssize_t i = 0; i < n; i++) {
        char c = text[i];
        if (line_start)
            digits = true;
        line_start = c == '\n';
        if (digits && ((c >= '1' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            try_succeeded(name, "%.40s", text + (i > 16 ? i - 16 : 0));
            return;
        }
        if (c != '0' && c != '-' && c != ' ')
            digits = false;
    }
    try_refused(name, n > 0 ? "ZEROES" : "EMPTY");
}

static void list_some(const char *path)
{
    char name[160];
    named(name, sizeof name, "list:", path);
    DIR *dir = opendir(path);
    if (!dir) {
        try_denied(name, errno);
        return;
    }
    unsigned seen = 0;
    char first[64] = "";
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && seen++ == 0)
            snprintf(first, sizeof first, "%.60s", entry->d_name);
    closedir(dir);
    if (seen > 0)
        try_succeeded(name, "%u entries, first %s", seen, first);
    else
        try_refused(name, "EMPTY");
}

/* Bind tricks: in a namespace of the program's own, where one can be had, take the mask off. */
static int step_unmask(void *argument)
{
    (void)argument;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return errno;
    if (umount2("/proc/kcore", MNT_DETACH) < 0 && umount2("/proc/sys", MNT_DETACH) < 0)
        return errno;
    return 0;
}

static int step_remount(void *argument)
{
    (void)argument;
    return mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL) < 0 ? errno : 0;
}

static int step_bind(void *argument)
{
    (void)argument;
    if (mount("/proc", "/tmp", NULL, MS_BIND, NULL) < 0)
        return errno;
    umount2("/tmp", MNT_DETACH);
    return 0;
}

static int step_new_proc(void *argument)
{
    (void)argument;
    if (mount("proc", "/tmp", "proc", 0, NULL) < 0)
        return errno;
    umount2("/tmp", MNT_DETACH);
    return 0;
}

static void devices(void)
{
    static const char *const expected[] = {
        "null", "zero", "full",  "random", "urandom", "tty",    "ptmx",    "pts",
        "shm",  "fd",   "stdin", "stdout", "stderr",  "mqueue", "console", "core"};
    DIR *dir = opendir("/dev");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        bool known = entry->d_name[0] == '.';
        for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
            known |= strcmp(entry->d_name, expected[i]) == 0;
        if (!known)
            try_succeeded("device", "%s", entry->d_name);
    }
    if (dir)
        closedir(dir);
    static const char *const nodes[] = {
        "/dev/mem",    "/dev/kmem",  "/dev/kmsg",  "/dev/port",         "/dev/sda",
        "/dev/vda",    "/dev/fuse",  "/dev/kvm",   "/dev/loop-control", "/dev/net/tun",
        "/dev/uinput", "/dev/nvram", "/dev/hpet",  "/dev/snapshot",     "/dev/vsock",
        "/dev/tty1",   "/dev/tty0",  "/dev/ttyS0", "/dev/vcs"};
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
        read_some(nodes[i]);
}

int main(void)
{
    static const char *const writes[] = {
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hotplug",
        "/proc/sys/kernel/randomize_va_space",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/domainname",
        "/proc/sys/kernel/shmmax",
        "/proc/sys/kernel/msgmax",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/vm/panic_on_oom",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sys/fs/protected_symlinks",
        "/proc/sys/fs/mqueue/msg_max",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/ipv4/ping_group_range",
        "/proc/sys/net/ipv4/ip_unprivileged_port_start",
        "/proc/sys/user/max_user_namespaces",
        "/proc/sys/user/max_inotify_instances",
        "/proc/sys/net/core/bpf_jit_enable",
        "/proc/sysrq-trigger",
        "/proc/pressure/memory",
        "/proc/irq/default_smp_affinity",
        "/proc/latency_stats",
        "/proc/scsi/scsi",
        "/proc/acpi/wakeup",
        "/proc/mtrr",
        "/proc/timer_stats",
        "/proc/self/uid_map",
        "/proc/self/gid_map",
        "/proc/self/setgroups",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/power/state",
        "/sys/module",
        "/sys/kernel/profiling",
        "/sys/fs/cgroup/release_agent",
    };
    static const char *const reads[] = {
        "/proc/kcore",
        "/proc/kmsg",
        "/proc/keys",
        "/proc/key-users",
        "/proc/timer_list",
        "/proc/sched_debug",
        "/proc/slabinfo",
        "/proc/vmallocinfo",
        "/proc/pagetypeinfo",
        "/proc/kpagecount",
        "/proc/kpageflags",
        "/proc/kpagecgroup",
        "/proc/config.gz",
        "/proc/interrupts",
        "/proc/cmdline",
        "/proc/diskstats",
        "/proc/locks",
        "/proc/partitions",
        "/proc/pressure/cpu",
        "/proc/latency_stats",
        "/proc/allocinfo",
        "/proc/self/pagemap_of_host",
        "/sys/kernel/debug",
        "/sys/kernel/notes",
        "/sys/class/dmi/id/product_serial",
        "/sys/kernel/vmcoreinfo",
        "/sys/firmware/acpi/tables/DSDT",
        "/sys/kernel/security/lockdown",
    };
    static const char *const lists[] = {
        "/proc/acpi",  "/proc/pressure",  "/proc/scsi",  "/proc/asound",  "/proc/fs",
        "/proc/irq",   "/proc/bus",       "/sys/kernel", "/sys/firmware", "/sys/fs",
        "/sys/module", "/sys/class",      "/sys/block",  "/sys/bus",      "/sys/power",
        "/sys/dev",    "/sys/hypervisor",
    };
    try_begin();
    for (size_t i = 0; i < sizeof writes / sizeof *writes; i++)
        open_for_write(writes[i]);
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++)
        read_some(reads[i]);
    read_addresses("/proc/kallsyms");
    read_addresses("/proc/iomem");
    read_addresses("/proc/ioports");
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        list_some(lists[i]);
    devices();
    try_in_child("unmask_in_own_namespace", step_unmask, NULL);
    try_in_child("remount_proc_sys", step_remount, NULL);
    try_in_child("bind_proc_elsewhere", step_bind, NULL);
    try_in_child("mount_new_proc", step_new_proc, NULL);
    return try_end("procfs");
}
