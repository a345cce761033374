/* This file is linked into programs of the test's own, between them and the C library: each call
 * that changes something, or that can be refused, is a fail point, and none can be forgotten. It
 * never is part of a shipped program.
 *
 * A point is a program, what the process is doing (role), the place of the call in the program and
 * whether it is before or after it. While the test says so, the first process that meets a point
 * where nobody was stopped before is killed there, or the call is refused with an errno; then
 * nobody is until the test says so again. All of it is in one file that every process has mapped:
 * by path beside the program, and as a descriptor that goes through every close_range() and exec,
 * because a session sees no path of the host.
 *
 * Not met: raw system calls without the library (runtime/host/userns_helper.c), and what only
 * reads.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#if CALLS_PROGRAM == 0
#include "runtime/host/launcher_internal.h"
#include "runtime/stage/stage.h"
#elif CALLS_PROGRAM == 1
#include "runtime/agent/child.h"
#endif

enum { CALLS_FD = 900, POINTS_MAX = 16384 };

/* The whole file `calls`; tests/crash/serve_calls.py knows it too. */
struct calls {
    _Atomic int armed;                  /* 0; 1: kill; an errno + 1000: refuse with it */
    _Atomic unsigned one_in;            /* of this many points only one counts; 0 and 1: all */
    _Atomic unsigned seed;              /* which one */
    _Atomic unsigned count;             /* how many points are in `order` */
    _Atomic uint64_t order[POINTS_MAX]; /* where somebody was stopped, in that order */
    _Atomic uint64_t table[POINTS_MAX]; /* the same, to be found */
};

/* What a process is doing; the numbers from ROLE_WORKER on: + type of the request, + 32 when it is
 * cleaning up after another worker. */
enum role { ROLE_MAIN, ROLE_PROBE, ROLE_LAUNCHER, ROLE_STAGE, ROLE_CHILD, ROLE_WORKER = 8 };

enum phase { BEFORE, AFTER, NO_SPACE, NO_FILES, NO_MEMORY };

/* What may happen at a call. */
enum {
    KILL = 1,
    SPACE = 2, /* ENOSPC */
    FILES = 4, /* EMFILE */
    MEMORY = 8 /* ENOMEM */
};

static struct calls *calls;
static unsigned role = ROLE_MAIN;
extern const char __executable_start[];

/* ---- the shared file ------------------------------------------------------------------------- */

long __real_syscall(long number, ...);
int __real_open(const char *path, int flags, ...);
int __real_fcntl(int fd, int command, ...);
void *__real_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);

static int open_beside(void)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 8);
    char *slash = n > 0 ? memrchr(path, '/', (size_t)n) : NULL;
    if (!slash)
        return -1;
    memcpy(slash, "/calls", sizeof "/calls");
    int fd = __real_open(path, O_RDWR);
    if (fd < 0)
        return -1;
    int high = __real_fcntl(fd, F_DUPFD, CALLS_FD);
    close(fd);
    return high;
}

__attribute__((constructor)) static void begin(void)
{
    struct stat st;
    int fd = fstat(CALLS_FD, &st) == 0 && S_ISREG(st.st_mode) ? CALLS_FD : open_beside();
    void *map = fd != CALLS_FD
                    ? MAP_FAILED
                    : __real_mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        abort(); /* points that cannot be armed must not look like a pass */
    calls = map;
}

/* ---- a point --------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t key, uint64_t seed)
{
    key = (key ^ (seed << 32)) * 0x9e3779b97f4a7c15u;
    return key ^ (key >> 29);
}

/* True: it was not there, and now it is. */
static bool insert(uint64_t key)
{
    for (uint64_t i = mix(key, 0) % POINTS_MAX, n = 0; n < POINTS_MAX;
         n++, i = (i + 1) % POINTS_MAX) {
        uint64_t found = 0;
        if (atomic_compare_exchange_strong(&calls->table[i], &found, key))
            return true;
        if (found == key)
            return false;
    }
    return false;
}

static bool is_known(uint64_t key)
{
    for (uint64_t i = mix(key, 0) % POINTS_MAX, n = 0; n < POINTS_MAX;
         n++, i = (i + 1) % POINTS_MAX) {
        uint64_t found = calls->table[i];
        if (found == key || found == 0)
            return found == key;
    }
    return true;
}

/* Is somebody to be stopped here? Then nobody else is, until the test says so again. */
static bool take(const char *place, enum phase phase, int armed)
{
    uint64_t key = (uint64_t)CALLS_PROGRAM + 1;
    key = key << 8 | role;
    key = key << 4 | (unsigned)phase;
    key = key << 32 | (uint32_t)(place - __executable_start);
    unsigned one_in = calls->one_in;
    if (is_known(key) || (one_in > 1 && mix(key, calls->seed) % one_in != 0) ||
        !atomic_compare_exchange_strong(&calls->armed, &armed, 0) || !insert(key))
        return false;
    calls->order[calls->count] = key;
    calls->count++;
    return true;
}

static void die(void)
{
    /* init is immune to signals of its own namespace. */
    if (__real_syscall(SYS_getpid) == 1)
        __real_syscall(SYS_exit_group, 137);
    __real_syscall(SYS_kill, __real_syscall(SYS_getpid), SIGKILL);
}

static void kill_at(const char *place, enum phase phase, unsigned may)
{
    if (!calls || calls->armed != 1 || !(may & KILL))
        return;
    int keep = errno;
    if (take(place, phase, 1))
        die();
    errno = keep;
}

/* A full disk refuses files, not pipes, sockets and what the kernel makes of a write. */
static unsigned of_write(int fd)
{
    struct statfs fs;
    struct stat st;
    int keep = errno;
    bool disk = calls && calls->armed == 1000 + ENOSPC && fstat(fd, &st) == 0 &&
                S_ISREG(st.st_mode) && fstatfs(fd, &fs) == 0 && fs.f_type != 0x9fa0 &&
                fs.f_type != 0x27e0eb && fs.f_type != 0x63677270 && fs.f_type != 0x62656572;
    errno = keep;
    return KILL | (disk ? SPACE : 0u);
}

static bool refuse_at(const char *place, unsigned may)
{
    int armed = calls ? calls->armed : 0;
    if (armed < 1000)
        return false;
    enum phase phase = armed - 1000 == ENOSPC   ? NO_SPACE
                       : armed - 1000 == EMFILE ? NO_FILES
                                                : NO_MEMORY;
    static const unsigned needs[] = {[NO_SPACE] = SPACE, [NO_FILES] = FILES, [NO_MEMORY] = MEMORY};
    if (!(may & needs[phase]) || !take(place, phase, armed))
        return false;
    errno = armed - 1000;
    return true;
}

#define PLACE ((const char *)__builtin_return_address(0))

/* ---- calls that are passed on as they are ---------------------------------------------------- */

#define INT_CALLS(X)                                                                              \
    X(mkdir, (const char *a, mode_t b), (a, b), KILL | SPACE | MEMORY)                            \
    X(mkdirat, (int a, const char *b, mode_t c), (a, b, c), KILL | SPACE | MEMORY)                \
    X(rmdir, (const char *a), (a), KILL)                                                          \
    X(unlink, (const char *a), (a), KILL)                                                         \
    X(unlinkat, (int a, const char *b, int c), (a, b, c), KILL)                                   \
    X(rename, (const char *a, const char *b), (a, b), KILL | SPACE)                               \
    X(renameat, (int a, const char *b, int c, const char *d), (a, b, c, d), KILL | SPACE)         \
    X(linkat, (int a, const char *b, int c, const char *d, int e), (a, b, c, d, e), KILL | SPACE) \
    X(symlinkat, (const char *a, int b, const char *c), (a, b, c), KILL | SPACE)                  \
    X(mknodat, (int a, const char *b, mode_t c, dev_t d), (a, b, c, d), KILL | SPACE)             \
    X(ftruncate, (int a, off_t b), (a, b), KILL | SPACE)                                          \
    X(fsync, (int a), (a), KILL | SPACE)                                                          \
    X(flock, (int a, int b), (a, b), KILL | MEMORY)                                               \
    X(chmod, (const char *a, mode_t b), (a, b), KILL)                                             \
    X(fchmod, (int a, mode_t b), (a, b), KILL)                                                    \
    X(fchown, (int a, uid_t b, gid_t c), (a, b, c), KILL)                                         \
    X(fchownat, (int a, const char *b, uid_t c, gid_t d, int e), (a, b, c, d, e), KILL)           \
    X(lchown, (const char *a, uid_t b, gid_t c), (a, b, c), KILL)                                 \
    X(mount, (const char *a, const char *b, const char *c, unsigned long d, const void *e),       \
      (a, b, c, d, e), KILL | MEMORY)                                                             \
    X(umount2, (const char *a, int b), (a, b), KILL)                                              \
    X(unshare, (int a), (a), KILL | MEMORY)                                                       \
    X(setns, (int a, int b), (a, b), KILL | MEMORY)                                               \
    X(fork, (void), (), KILL | MEMORY)                                                            \
    X(kill, (pid_t a, int b), (a, b), KILL)                                                       \
    X(bind, (int a, const struct sockaddr *b, socklen_t c), (a, b, c), KILL | SPACE | MEMORY)     \
    X(listen, (int a, int b), (a, b), KILL)                                                       \
    X(connect, (int a, const struct sockaddr *b, socklen_t c), (a, b, c), KILL | MEMORY)          \
    X(socket, (int a, int b, int c), (a, b, c), FILES | MEMORY)                                   \
    X(socketpair, (int a, int b, int c, int d[2]), (a, b, c, d), FILES | MEMORY)                  \
    X(accept4, (int a, struct sockaddr *b, socklen_t *c, int d), (a, b, c, d),                    \
      KILL | FILES | MEMORY)                                                                      \
    X(pipe2, (int a[2], int b), (a, b), FILES | MEMORY)                                           \
    X(dup, (int a), (a), FILES)                                                                   \
    X(memfd_create, (const char *a, unsigned b), (a, b), FILES | MEMORY)                          \
    X(epoll_create1, (int a), (a), FILES | MEMORY)                                                \
    X(epoll_ctl, (int a, int b, int c, struct epoll_event *d), (a, b, c, d), MEMORY)              \
    X(signalfd, (int a, const sigset_t *b, int c), (a, b, c), FILES | MEMORY)                     \
    X(setgroups, (size_t a, const gid_t *b), (a, b), KILL)                                        \
    X(setresuid, (uid_t a, uid_t b, uid_t c), (a, b, c), KILL)                                    \
    X(setresgid, (gid_t a, gid_t b, gid_t c), (a, b, c), KILL)                                    \
    X(sethostname, (const char *a, size_t b), (a, b), KILL)                                       \
    X(execve, (const char *a, char *const b[], char *const c[]), (a, b, c), KILL)

#define SIZE_CALLS(X)                                                                         \
    X(write, (int a, const void *b, size_t c), (a, b, c), of_write(a))                        \
    X(pwrite, (int a, const void *b, size_t c, off_t d), (a, b, c, d), of_write(a))           \
    X(writev, (int a, const struct iovec *b, int c), (a, b, c), of_write(a))                  \
    X(pwritev, (int a, const struct iovec *b, int c, off_t d), (a, b, c, d), of_write(a))     \
    X(splice, (int a, off_t *b, int c, off_t *d, size_t e, unsigned f), (a, b, c, d, e, f),   \
      KILL | MEMORY)                                                                          \
    X(copy_file_range, (int a, off_t *b, int c, off_t *d, size_t e, unsigned f),              \
      (a, b, c, d, e, f), KILL | SPACE)                                                       \
    X(send, (int a, const void *b, size_t c, int d), (a, b, c, d), KILL | MEMORY)             \
    X(sendto, (int a, const void *b, size_t c, int d, const struct sockaddr *e, socklen_t f), \
      (a, b, c, d, e, f), KILL | MEMORY)                                                      \
    X(sendmsg, (int a, const struct msghdr *b, int c), (a, b, c), KILL | MEMORY)

#define POINTER_CALLS(X)                    \
    X(malloc, (size_t a), (a))              \
    X(calloc, (size_t a, size_t b), (a, b)) \
    X(realloc, (void *a, size_t b), (a, b)) \
    X(opendir, (const char *a), (a))        \
    X(fdopendir, (int a), (a))

#define INT(name, parameters, arguments, may) \
    int __real_##name parameters;             \
    int __wrap_##name parameters;             \
    int __wrap_##name parameters              \
    {                                         \
        kill_at(PLACE, BEFORE, (may));        \
        if (refuse_at(PLACE, (may)))          \
            return -1;                        \
        int r = __real_##name arguments;      \
        kill_at(PLACE, AFTER, (may));         \
        return r;                             \
    }
INT_CALLS(INT)

#define SIZE(name, parameters, arguments, may) \
    ssize_t __real_##name parameters;          \
    ssize_t __wrap_##name parameters;          \
    ssize_t __wrap_##name parameters           \
    {                                          \
        kill_at(PLACE, BEFORE, (may));         \
        if (refuse_at(PLACE, (may)))           \
            return -1;                         \
        ssize_t r = __real_##name arguments;   \
        kill_at(PLACE, AFTER, (may));          \
        return r;                              \
    }
SIZE_CALLS(SIZE)

#define POINTER(name, parameters, arguments) \
    void *__real_##name parameters;          \
    void *__wrap_##name parameters;          \
    void *__wrap_##name parameters           \
    {                                        \
        if (refuse_at(PLACE, MEMORY))        \
            return NULL;                     \
        return __real_##name arguments;      \
    }
POINTER_CALLS(POINTER)

/* ---- calls whose arguments say what they do -------------------------------------------------- */

static unsigned of_open(int flags)
{
    return FILES | (flags & O_CREAT ? KILL | SPACE : 0u);
}

int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    unsigned mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, unsigned) : 0;
    va_end(list);
    kill_at(PLACE, BEFORE, of_open(flags));
    if (refuse_at(PLACE, of_open(flags)))
        return -1;
    int r = __real_open(path, flags, mode);
    kill_at(PLACE, AFTER, of_open(flags));
    return r;
}

int __real_openat(int at, const char *path, int flags, ...);
int __wrap_openat(int at, const char *path, int flags, ...);
int __wrap_openat(int at, const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    unsigned mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, unsigned) : 0;
    va_end(list);
    kill_at(PLACE, BEFORE, of_open(flags));
    if (refuse_at(PLACE, of_open(flags)))
        return -1;
    int r = __real_openat(at, path, flags, mode);
    kill_at(PLACE, AFTER, of_open(flags));
    return r;
}

int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list list;
    va_start(list, command);
    unsigned long argument = va_arg(list, unsigned long);
    va_end(list);
    unsigned may = command == F_DUPFD || command == F_DUPFD_CLOEXEC    ? FILES
                   : command == F_OFD_SETLK || command == F_OFD_SETLKW ? KILL
                                                                       : 0u;
    kill_at(PLACE, BEFORE, may);
    if (refuse_at(PLACE, may))
        return -1;
    int r = __real_fcntl(fd, command, argument);
    kill_at(PLACE, AFTER, may);
    return r;
}

int __real_prctl(int option, ...);
int __wrap_prctl(int option, ...);
int __wrap_prctl(int option, ...)
{
    va_list list;
    va_start(list, option);
    unsigned long a[4];
    for (int i = 0; i < 4; i++)
        a[i] = va_arg(list, unsigned long);
    va_end(list);
    unsigned may =
        option == PR_SET_SECCOMP || option == PR_SET_PDEATHSIG || option == PR_SET_CHILD_SUBREAPER
            ? KILL
            : 0u;
    kill_at(PLACE, BEFORE, may);
    int r = __real_prctl(option, a[0], a[1], a[2], a[3]);
    kill_at(PLACE, AFTER, may);
    return r;
}

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (refuse_at(PLACE, MEMORY))
        return MAP_FAILED;
    return __real_mmap(address, length, protection, flags, fd, offset);
}

static unsigned of_syscall(long number, const long *a)
{
    switch (number) {
    case SYS_clone3:
    case SYS_clone:
    case SYS_fsmount:
    case SYS_move_mount:
    case SYS_mount_setattr:
        return KILL | MEMORY;
    case SYS_fsconfig:
    case SYS_pivot_root:
    case SYS_pidfd_send_signal:
    case SYS_execveat:
    case SYS_setresuid:
    case SYS_setresgid:
    case SYS_renameat2:
    case SYS_landlock_restrict_self:
    case SYS_seccomp:
        return KILL;
    case SYS_fsopen:
    case SYS_open_tree:
    case SYS_pidfd_open:
    case SYS_landlock_create_ruleset:
        return FILES | MEMORY;
    case SYS_openat2:
        return of_open((int)((const struct open_how *)(uintptr_t)a[2])->flags);
    default:
        return 0;
    }
}

long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list list;
    va_start(list, number);
    long a[6];
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    unsigned may = of_syscall(number, a);
    kill_at(PLACE, BEFORE, may);
    if (refuse_at(PLACE, may))
        return -1;
    unsigned first = (unsigned)a[0], last = (unsigned)a[1];
    if (number == SYS_close_range && first <= CALLS_FD && last >= CALLS_FD) {
        long r = first < CALLS_FD ? __real_syscall(number, first, CALLS_FD - 1, a[2]) : 0;
        return r < 0 || last == CALLS_FD ? r : __real_syscall(number, CALLS_FD + 1, last, a[2]);
    }
    long r = __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    kill_at(PLACE, AFTER, may);
    return r;
}

/* ---- who a process is ------------------------------------------------------------------------ */

#if CALLS_PROGRAM == 0
void __real_title_set(const char *title);
void __wrap_title_set(const char *title);
void __wrap_title_set(const char *title)
{
    role = strcmp(title, "berth: probe") == 0      ? ROLE_PROBE
           : strcmp(title, "berth: launcher") == 0 ? ROLE_LAUNCHER
                                                   : role;
    __real_title_set(title);
}

/* By the type of what is wrapped: another one does not compile. The Makefile reads the names of the
 * wrappers from lines like these. */
__typeof__(launcher_work) __real_launcher_work;
__typeof__(launcher_work) __wrap_launcher_work;
int __wrap_launcher_work(const struct launcher *l, const struct job *job, bool clean,
                         struct network_ready *netns, int result)
{
    role = (unsigned)ROLE_WORKER + job->request.type + (clean ? 32u : 0u);
    return __real_launcher_work(l, job, clean, netns, result);
}

_Noreturn __typeof__(stage_main) __real_stage_main;
_Noreturn __typeof__(stage_main) __wrap_stage_main;
_Noreturn void __wrap_stage_main(const struct stage_args *args)
{
    /* Of a session of the probe or of a worker. */
    role = role == ROLE_PROBE ? ROLE_PROBE : ROLE_STAGE;
    __real_stage_main(args);
}
#elif CALLS_PROGRAM == 1
_Noreturn __typeof__(child_run) __real_child_run;
_Noreturn __typeof__(child_run) __wrap_child_run;
_Noreturn void __wrap_child_run(const struct child_plan *plan)
{
    role = ROLE_CHILD;
    __real_child_run(plan);
}
#endif
