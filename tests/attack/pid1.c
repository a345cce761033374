/* This file is an attack program: it tries to end, stop, slow, read or steer PID 1 (row 17). The
 * runner starts a second command or looks at the result to see that the session still answers.
 *
 *     pid1 TARGET      1 in a session; a sacrificial process when checked outside
 */
#include "try.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/uio.h>

static pid_t target;

/* A signal may be accepted and have no effect: that is denied as well. Alive is judged by /proc's
 * state letter, which must be neither T (stopped) nor Z nor gone. */
static char target_state(void)
{
    char path[64], line[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", target);
    FILE *file = fopen(path, "re");
    if (!file)
        return kill(target, 0) == 0 || errno == EPERM ? 'S' : 'X'; /* hidden is not gone */
    if (!fgets(line, sizeof line, file))
        line[0] = 0;
    fclose(file);
    const char *state = strrchr(line, ')');
    return state && state[1] ? state[2] : 'X';
}

static void send_signal(const char *name, int signo)
{
    if (kill(target, signo) < 0) {
        try_denied(name, errno);
        return;
    }
    /* Also on a loaded machine: he has to run once to stop. */
    char state = target_state();
    for (int i = 0; i < 50 && state != 'T' && state != 't' && state != 'Z' && state != 'X'; i++) {
        usleep(10000);
        state = target_state();
    }
    if (state == 'T' || state == 't' || state == 'Z' || state == 'X')
        try_succeeded(name, "state %c", state);
    else
        try_refused(name, "IGNORED");
}

static void write_leaf(const char *name, const char *leaf, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", target, leaf);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        try_denied(name, errno);
        return;
    }
    try_result(name, write(fd, text, strlen(text)));
    close(fd);
}

int main(int argc, char **argv)
{
    target = argc > 1 ? (pid_t)strtol(argv[1], NULL, 10) : 1;
    try_begin();
    struct rlimit old;
    try_result("prlimit_read", prlimit(target, RLIMIT_NOFILE, NULL, &old));
    struct rlimit low = {1, 1};
    try_result("prlimit_nofile", prlimit(target, RLIMIT_NOFILE, &low, NULL));
    struct rlimit stack = {4096, 4096};
    try_result("prlimit_stack", prlimit(target, RLIMIT_STACK, &stack, NULL));
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    try_result("sched_setaffinity", sched_setaffinity(target, sizeof set, &set));
    struct sched_param idle = {0};
    try_result("sched_setscheduler_idle", sched_setscheduler(target, SCHED_IDLE, &idle));
    uint32_t attr[12] = {48, SCHED_IDLE};
    try_result("sched_setattr", syscall(SYS_sched_setattr, target, attr, 0));
    try_result("setpriority", setpriority(PRIO_PROCESS, (id_t)target, 19));
    try_result("ioprio_set", syscall(SYS_ioprio_set, 1, target, 3 << 13));
    try_result("setpgid", setpgid(target, getpgrp()));
    write_leaf("oom_score_adj", "oom_score_adj", "1000");
    write_leaf("oom_adj", "oom_adj", "15");
    write_leaf("comm", "comm", "owned");
    write_leaf("clear_refs", "clear_refs", "1");
    write_leaf("coredump_filter", "coredump_filter", "0xff");
    write_leaf("timerslack", "timerslack_ns", "4000000000");
    write_leaf("attr_current", "attr/current", "x");
    write_leaf("mem", "mem", "x");
    write_leaf("uid_map", "uid_map", "0 0 1");
    write_leaf("setgroups", "setgroups", "deny");
    char byte;
    struct iovec mine = {&byte, 1}, theirs = {(void *)0x400000, 1};
    /* EFAULT would mean that access to the memory was granted. */
    try_reach("process_vm_readv", process_vm_readv(target, &mine, 1, &theirs, 1, 0));
    try_reach("process_vm_writev", process_vm_writev(target, &mine, 1, &theirs, 1, 0));
    long pidfd = syscall(SYS_pidfd_open, target, 0);
    if (pidfd < 0) {
        try_denied("pidfd_getfd", errno);
        try_denied("process_madvise", errno);
    } else {
        long fd = syscall(SYS_pidfd_getfd, pidfd, 0, 0);
        try_result("pidfd_getfd", fd);
        try_result("process_madvise", syscall(SYS_process_madvise, pidfd, &theirs, 1, 20, 0));
        try_result("setns_pidfd", syscall(SYS_setns, pidfd, 0x00020000));
        close((int)pidfd);
    }
    try_result("migrate_pages", syscall(SYS_migrate_pages, target, 8, &(long){1}, &(long){1}));
    try_result("move_pages", syscall(SYS_move_pages, target, 0, NULL, NULL, NULL, 0));
    int signals[] = {SIGSTOP, SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGKILL};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        char name[32];
        snprintf(name, sizeof name, "signal_%s", sigabbrev_np(signals[i]));
        send_signal(name, signals[i]);
    }
    return try_end("pid1");
}
