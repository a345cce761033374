/* This file is an attack program: it calls every system call that only serves whoever administers a
 * kernel, or that has been the way into many kernels (rows 18 and 19). Arguments are wrong on
 * purpose, in a way that the kernel's own code answers with EFAULT, EINVAL or EBADF, so that
 * nothing happens where a call gets through and a refusal can be told from that.
 *
 * The table is long because each row is one call.
 */
#include "try.h"

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>

/* Numbers that the C library of the oldest supported distribution does not know. */
enum {
    NR_LISTMOUNT = 458,
    NR_STATMOUNT = 457,
    NR_OPEN_TREE_ATTR = 467,
    NR_MAP_SHADOW_STACK = 453,
    NR_LSM_SET_SELF_ATTR = 460,
    NR_FILE_SETATTR = 469,
};

#define BAD ((long)(uintptr_t)1) /* an address that no process has */

struct row {
    const char *name;
    long number;
    long a, b, c, d, e, f;
};

static const struct row rows[] = {
    /* row 18: namespaces and mounts */
    {"unshare_bad_flags", SYS_unshare, 0x1, 0, 0, 0, 0, 0},
    {"setns", SYS_setns, -1, 0, 0, 0, 0, 0},
    {"mount", SYS_mount, BAD, BAD, BAD, 0, BAD, 0},
    {"umount2", SYS_umount2, BAD, 0, 0, 0, 0, 0},
    {"pivot_root", SYS_pivot_root, BAD, BAD, 0, 0, 0, 0},
    {"chroot", SYS_chroot, BAD, 0, 0, 0, 0, 0},
    {"fsopen", SYS_fsopen, BAD, 0, 0, 0, 0, 0},
    {"fspick", SYS_fspick, -1, BAD, 0, 0, 0, 0},
    {"fsconfig", SYS_fsconfig, -1, 0, 0, 0, 0, 0},
    {"fsmount", SYS_fsmount, -1, 0, 0, 0, 0, 0},
    {"open_tree", SYS_open_tree, -1, BAD, 0, 0, 0, 0},
    {"open_tree_clone", SYS_open_tree, -1, BAD, 1, 0, 0, 0},
    {"open_tree_attr", NR_OPEN_TREE_ATTR, -1, BAD, 0, 0, 0, 0},
    {"move_mount", SYS_move_mount, -1, BAD, -1, BAD, 0, 0},
    {"mount_setattr", SYS_mount_setattr, -1, BAD, 0, BAD, 0, 0},
    {"statmount", NR_STATMOUNT, BAD, BAD, 8, 0, 0, 0},
    {"listmount", NR_LISTMOUNT, BAD, BAD, 8, 0, 0, 0},
    /* row 19: what changes, watches or extends the kernel */
    {"bpf", SYS_bpf, 0x7fff, BAD, 8, 0, 0, 0},
    {"perf_event_open", SYS_perf_event_open, BAD, 0, 0, -1, 0, 0},
    {"userfaultfd", SYS_userfaultfd, 1, 0, 0, 0, 0, 0},
    {"io_uring_setup", SYS_io_uring_setup, 1, BAD, 0, 0, 0, 0},
    {"io_uring_enter", SYS_io_uring_enter, -1, 0, 0, 0, 0, 0},
    {"io_uring_register", SYS_io_uring_register, -1, 0, 0, 0, 0, 0},
    {"kexec_load", SYS_kexec_load, 0, 0x7fffffff, BAD, 0, 0, 0},
    {"kexec_file_load", SYS_kexec_file_load, -1, -1, 0, BAD, 0xffff, 0},
    {"init_module", SYS_init_module, BAD, 0, BAD, 0, 0, 0},
    {"finit_module", SYS_finit_module, -1, BAD, 0, 0, 0, 0},
    {"delete_module", SYS_delete_module, BAD, 0, 0, 0, 0, 0},
    {"swapon", SYS_swapon, BAD, 0x70000000, 0, 0, 0, 0},
    {"swapoff", SYS_swapoff, BAD, 0, 0, 0, 0, 0},
    {"quotactl", SYS_quotactl, 0x7fffffff, BAD, 0, BAD, 0, 0},
    {"quotactl_fd", SYS_quotactl_fd, -1, 0x7fffffff, 0, BAD, 0, 0},
    {"open_by_handle_at", SYS_open_by_handle_at, -1, BAD, 0, 0, 0, 0},
    {"name_to_handle_at", SYS_name_to_handle_at, -1, BAD, BAD, BAD, 0x70000000, 0},
    {"fanotify_init", SYS_fanotify_init, 0x70000000, 0x70000000, 0, 0, 0, 0},
    {"fanotify_mark", SYS_fanotify_mark, -1, 0x70000000, 0, -1, BAD, 0},
    {"syslog_size", SYS_syslog, 10, 0, 0, 0, 0, 0},
    {"syslog_read_all", SYS_syslog, 3, 0, 0, 0, 0, 0},
    {"reboot", SYS_reboot, 0, 0, 0, 0, 0, 0},
    {"settimeofday", SYS_settimeofday, BAD, 0, 0, 0, 0, 0},
    {"clock_settime", SYS_clock_settime, 0, BAD, 0, 0, 0, 0},
    {"clock_adjtime_set", SYS_clock_adjtime, 99, BAD, 0, 0, 0, 0},
    {"acct", SYS_acct, BAD, 0, 0, 0, 0, 0},
    {"iopl", SYS_iopl, 4, 0, 0, 0, 0, 0},
    {"ioperm", SYS_ioperm, 0, 0, 0, 0, 0, 0},
    {"sethostname", SYS_sethostname, BAD, -1, 0, 0, 0, 0},
    {"setdomainname", SYS_setdomainname, BAD, -1, 0, 0, 0, 0},
    {"kcmp", SYS_kcmp, 0x7fffffff, 0x7fffffff, 99, 0, 0, 0},
    {"lookup_dcookie", SYS_lookup_dcookie, 0, 0, 0, 0, 0, 0},
    {"ptrace_traceme_bad", SYS_ptrace, 0x7fff, 0, 0, 0, 0, 0},
    {"process_vm_readv_self", SYS_process_vm_readv, 0, BAD, 1, BAD, 1, 0x7fff},
    {"pidfd_getfd", SYS_pidfd_getfd, -1, -1, 0, 0, 0, 0},
    {"mbind", SYS_mbind, BAD, 0, 99, 0, 0, 0x7fff},
    {"move_pages", SYS_move_pages, 0x7fffffff, 0, 0, 0, 0, 0},
    {"migrate_pages", SYS_migrate_pages, 0x7fffffff, 0, 0, 0, 0, 0},
    {"lsm_set_self_attr", NR_LSM_SET_SELF_ATTR, 0, BAD, 0, 0x70000000, 0, 0},
};

static void namespaces(void)
{
    static const struct {
        const char *name;
        unsigned long flag;
    } kinds[] = {
        {"user", CLONE_NEWUSER},
        {"mnt", CLONE_NEWNS},
        {"pid", CLONE_NEWPID},
        {"net", CLONE_NEWNET},
        {"ipc", CLONE_NEWIPC},
        {"uts", CLONE_NEWUTS},
        {"cgroup", CLONE_NEWCGROUP},
        {"time", CLONE_NEWTIME},
        {"user_bit32", CLONE_NEWUSER | 1ul << 32},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char name[48];
        snprintf(name, sizeof name, "unshare_%s", kinds[i].name);
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0)
            _exit(syscall(SYS_unshare, kinds[i].flag) < 0 ? errno : 0);
        int status = 0;
        waitpid(pid, &status, 0);
        errno = WEXITSTATUS(status);
        try_reach(name, WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1);

        /* CLONE_NEWTIME cannot be given to clone(): its bit is part of the exit signal. */
        if (kinds[i].flag != CLONE_NEWTIME) {
            snprintf(name, sizeof name, "clone_%s", kinds[i].name);
            fflush(stdout);
            long r = syscall(SYS_clone, kinds[i].flag | SIGCHLD, 0, 0, 0, 0);
            if (r == 0)
                _exit(0);
            try_reach(name, r);
            if (r > 0)
                waitpid((pid_t)r, NULL, 0);
        }
        snprintf(name, sizeof name, "clone3_%s", kinds[i].name);
        struct clone_args args = {.flags = kinds[i].flag & 0xffffffff, .exit_signal = SIGCHLD};
        fflush(stdout);
        long r = syscall(SYS_clone3, &args, sizeof args);
        if (r == 0)
            _exit(0);
        try_reach(name, r);
        if (r > 0)
            waitpid((pid_t)r, NULL, 0);
    }
    /* Into another's cgroup: never from a session. */
    struct clone_args into = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = 0xffff};
    long r = syscall(SYS_clone3, &into, sizeof into);
    if (r == 0)
        _exit(0);
    try_reach("clone3_into_cgroup", r);
}

static int step_personality(void *argument)
{
    unsigned long persona = *(unsigned long *)argument;
    return syscall(SYS_personality, persona) < 0 ? errno : 0;
}

/* What would be done with the call, had it not been refused: real arguments in a child. */
static int step_tmpfs(void *argument)
{
    (void)argument;
    if (syscall(SYS_unshare, CLONE_NEWNS) < 0)
        return errno;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return errno;
    return mount("tmpfs", "/tmp", "tmpfs", 0, NULL) < 0 ? errno : 0;
}

static int step_chroot(void *argument)
{
    (void)argument;
    return chroot("/") < 0 ? errno : 0;
}

int main(void)
{
    try_begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        errno = 0;
        try_reach(row->name, syscall(row->number, row->a, row->b, row->c, row->d, row->e, row->f));
    }
    namespaces();
    unsigned long no_randomize = 0x0040000, read_implies_exec = 0x0400000;
    try_in_child("personality_no_randomize", step_personality, &no_randomize);
    try_in_child("personality_read_implies_exec", step_personality, &read_implies_exec);
    try_in_child("mount_tmpfs_for_real", step_tmpfs, NULL);
    try_in_child("chroot_for_real", step_chroot, NULL);
    return try_end("kernel");
}
