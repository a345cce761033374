/* This file is an attack program: it takes as much of one resource as it can get (rows 25 to 31).
 * What is judged is outside: what the host, other sessions and the session's end make of it. Never
 * run outside a session, except the kinds that only count (`count`).
 *
 *     resources forkbomb | zombies N | stopped | vfork
 *     resources heap|tmpfs|memfd|shm|pipes|sockets|cache MIB DIRECTORY
 *     resources fill|inodes|sparse|deep|names DIRECTORY
 *     resources flood BYTES | line BYTES
 *     resources hold inotify|watches|epoll|timers|signals|pipes|terminals|keys SECONDS
 *     resources count inotify|...
 */
#include "try.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

static volatile unsigned long spawned;

static int fork_bomb(void)
{
    printf("started\n");
    fflush(stdout);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    int64_t end = try_now_ms() + 3000;
    unsigned long refused = 0;
    while (try_now_ms() < end) {
        pid_t pid = fork();
        if (pid == 0) {
            setsid();
            if (fork() != 0)
                _exit(0);
            signal(SIGTERM, SIG_IGN);
            /* Grandchildren go on, each doubling as long as it may. */
            for (;;) {
                pid_t more = fork();
                if (more == 0)
                    setsid();
                else if (more < 0)
                    usleep(1000);
            }
        }
        if (pid < 0) {
            refused++;
            usleep(1000);
        } else {
            spawned++;
        }
    }
    printf("forks %lu refused %lu\n", spawned, refused);
    fflush(stdout);
    return 0;
}

static int zombies(unsigned long count)
{
    unsigned long made = 0;
    for (unsigned long i = 0; i < count; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            /* The grandchild is orphaned at once and ends: PID 1 has to reap it. */
            if (fork() == 0)
                _exit(0);
            _exit(0);
        }
        if (pid < 0) {
            usleep(200);
            i--;
            if (made == 0 && errno != EAGAIN)
                break;
            continue;
        }
        made++;
        waitpid(pid, NULL, 0);
    }
    printf("zombies %lu\n", made);
    return made == count ? 0 : 1;
}

/* Leaves behind: a stopped tree, one that is traced, one that waits in vfork. The command ends. */
static int stopped(void)
{
    for (int i = 0; i < 8; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            setsid();
            if (i % 2 == 0)
                ptrace(PTRACE_TRACEME, 0, NULL, NULL);
            raise(SIGSTOP);
            for (;;)
                pause();
        }
    }
    if (fork() == 0) {
        setsid();
        /* A child by vfork that never executes holds its parent in the kernel. */
        if (syscall(SYS_vfork) == 0)
            for (;;)
                syscall(SYS_pause);
        _exit(0);
    }
    usleep(100000);
    printf("left 10\n");
    return 0;
}

static void touch_memory(char *memory, size_t size)
{
    for (size_t i = 0; i < size; i += 4096)
        memory[i] = (char)i | 1;
}

static int take_memory(const char *kind, size_t mebibytes, const char *directory)
{
    enum { MIB = 1 << 20 };
    static char block[MIB];
    memset(block, 'x', sizeof block);
    printf("started %s\n", kind);
    fflush(stdout);
    char path[512];
    snprintf(path, sizeof path, "%s/memory", directory);
    int fd = -1;
    bool cache = strcmp(kind, "cache") == 0;
    if (strcmp(kind, "tmpfs") == 0 || cache)
        fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    else if (strcmp(kind, "memfd") == 0)
        fd = memfd_create("attack", MFD_CLOEXEC);
    size_t taken = 0, bytes = 0;
    for (; taken < mebibytes; taken++) {
        if (strcmp(kind, "heap") == 0) {
            char *memory =
                mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED)
                break;
            touch_memory(memory, MIB);
        } else if (strcmp(kind, "shm") == 0) {
            int id = shmget(IPC_PRIVATE, MIB, IPC_CREAT | 0600);
            char *memory = id < 0 ? (char *)-1 : shmat(id, NULL, 0);
            if (memory == (char *)-1)
                break;
            touch_memory(memory, MIB);
        } else if (strcmp(kind, "pipes") == 0) {
            int pipes[2];
            if (pipe2(pipes, O_NONBLOCK) < 0)
                break;
            fcntl(pipes[1], F_SETPIPE_SZ, MIB);
            ssize_t n = write(pipes[1], block, MIB);
            if (n < 0)
                break;
            /* Past a soft limit of the kernel a pipe takes a page or two. */
            bytes += (size_t)n;
            taken = bytes / MIB;
        } else if (strcmp(kind, "sockets") == 0) {
            int pair[2], size = MIB;
            if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0)
                break;
            setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
            ssize_t n = 0;
            for (int i = 0; i < 16 && n >= 0; i++) {
                n = write(pair[0], block, sizeof block);
                bytes += n > 0 ? (size_t)n : 0;
            }
            taken = bytes / MIB;
        } else if (fd >= 0) {
            if (write(fd, block, MIB) != MIB)
                break;
        } else {
            return 2;
        }
    }
    int sys = errno;
    printf("taken %zu of %zu%s%s\n", taken, mebibytes, taken < mebibytes ? " then " : "",
           taken < mebibytes ? strerrorname_np(sys) : "");
    fflush(stdout);
    if (cache)
        unlink(path);
    return taken < mebibytes ? 3 : 0;
}

static int take_disk(const char *kind, const char *directory)
{
    static char block[1 << 20];
    char path[600];
    if (chdir(directory) < 0)
        return 2;
    if (strcmp(kind, "fill") == 0) {
        int fd = open("fill", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        unsigned long written = 0;
        ssize_t n;
        while (fd >= 0 && (n = write(fd, block, sizeof block)) > 0 && written < 64ul << 30)
            written += (unsigned long)n;
        printf("fill %lu MiB then %s\n", written >> 20, strerrorname_np(errno));
        return errno == ENOSPC || errno == EDQUOT ? 0 : 1;
    }
    if (strcmp(kind, "inodes") == 0) {
        for (unsigned i = 0; i < 1000000; i++) {
            snprintf(path, sizeof path, "i%u", i);
            int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
            if (fd < 0) {
                printf("inodes %u then %s\n", i, strerrorname_np(errno));
                return errno == ENOSPC || errno == EDQUOT ? 0 : 1;
            }
            close(fd);
        }
        printf("inodes 1000000 without an error\n");
        return 1;
    }
    if (strcmp(kind, "sparse") == 0) {
        int fd = open("sparse", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        int r = ftruncate(fd, 1l << 40);
        printf("sparse 1 TiB: %s\n", r < 0 ? strerrorname_np(errno) : "made");
        r = fallocate(fd, 0, 0, 1l << 40);
        printf("fallocate 1 TiB: %s\n", r < 0 ? strerrorname_np(errno) : "made");
        return r < 0 ? 0 : 1;
    }
    if (strcmp(kind, "deep") == 0) {
        unsigned depth = 0;
        for (; depth < 10000; depth++)
            if (mkdir("d", 0700) < 0 || chdir("d") < 0)
                break;
        printf("deep %u\n", depth);
        return 0;
    }
    if (strcmp(kind, "names") == 0) {
        char name[256];
        memset(name, 'n', 255);
        name[255] = 0;
        unsigned made = 0;
        for (unsigned i = 0; i < 256; i++) {
            name[0] = (char)(i == 0 || i == '/' ? 1 : i);
            name[1] = (char)(i % 7 == 0 ? '\n' : i % 5 == 0 ? '\x1b' : 'x');
            int fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
            made += fd >= 0;
            if (fd >= 0)
                close(fd);
        }
        printf("names %u\n", made);
        return 0;
    }
    return 2;
}

static int flood(const char *kind, unsigned long bytes)
{
    static char block[65536];
    memset(block, 'y', sizeof block);
    if (strcmp(kind, "flood") == 0)
        for (size_t i = 79; i < sizeof block; i += 80)
            block[i] = '\n';
    unsigned long written = 0;
    while (written < bytes) {
        ssize_t n = write(1, block, sizeof block);
        if (n < 0 && errno != EINTR)
            return 3;
        if (n > 0)
            written += (unsigned long)n;
    }
    return 0;
}

/* One more of a kind of object; false when none is to be had. Objects stay open. */
static bool take_one(const char *kind)
{
    static char path[64];
    static int instance = -1;
    static unsigned number;
    if (strcmp(kind, "inotify") == 0)
        return inotify_init1(IN_CLOEXEC) >= 0;
    if (strcmp(kind, "watches") == 0) {
        if (instance < 0)
            instance = inotify_init1(IN_CLOEXEC);
        snprintf(path, sizeof path, "/tmp/w%u", number++);
        return mkdir(path, 0700) == 0 && inotify_add_watch(instance, path, IN_CREATE) >= 0;
    }
    if (strcmp(kind, "epoll") == 0) {
        static int pair[2] = {-1, -1};
        if (instance < 0 && ((instance = epoll_create1(EPOLL_CLOEXEC)) < 0 || pipe(pair) < 0))
            return false;
        int fd = dup(pair[0]);
        struct epoll_event event = {.events = EPOLLIN};
        return fd >= 0 && epoll_ctl(instance, EPOLL_CTL_ADD, fd, &event) == 0;
    }
    if (strcmp(kind, "timers") == 0) {
        timer_t timer;
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
        return timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
    }
    if (strcmp(kind, "signals") == 0) {
        if (number == 0) {
            sigset_t set;
            sigemptyset(&set);
            sigaddset(&set, SIGRTMIN);
            sigprocmask(SIG_BLOCK, &set, NULL);
        }
        number++;
        return sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 1}) == 0;
    }
    if (strcmp(kind, "pipes") == 0) {
        int pipes[2];
        if (pipe(pipes) < 0)
            return false;
        return fcntl(pipes[1], F_SETPIPE_SZ, 65536) >= 65536;
    }
    if (strcmp(kind, "descriptors") == 0)
        return open("/dev/null", O_RDONLY) >= 0;
    if (strcmp(kind, "terminals") == 0)
        return open("/dev/ptmx", O_RDWR | O_NOCTTY) >= 0;
    if (strcmp(kind, "keys") == 0) {
        snprintf(path, sizeof path, "k%u", number++);
        return syscall(SYS_add_key, "user", path, "x", 1, -2) >= 0;
    }
    return false;
}

static int hold(const char *kind, unsigned seconds, unsigned long most)
{
    unsigned long taken = 0;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    while (taken < most && take_one(kind))
        taken++;
    int sys = taken < most ? errno : 0;
    printf("took %s %lu then %s\n", kind, taken, sys ? strerrorname_np(sys) : "stopped");
    fflush(stdout);
    sleep(seconds);
    return 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *kind = argc > 1 ? argv[1] : "";
    unsigned long number = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (strcmp(kind, "forkbomb") == 0)
        return fork_bomb();
    if (strcmp(kind, "zombies") == 0)
        return zombies(number);
    if (strcmp(kind, "stopped") == 0)
        return stopped();
    if (strcmp(kind, "flood") == 0 || strcmp(kind, "line") == 0)
        return flood(kind, number);
    if (strcmp(kind, "hold") == 0 && argc == 4)
        return hold(argv[2], (unsigned)strtoul(argv[3], NULL, 10), 1000000);
    if (strcmp(kind, "count") == 0 && argc == 4)
        return hold(argv[2], 0, strtoul(argv[3], NULL, 10));
    if (argc == 3)
        return take_disk(kind, argv[2]);
    if (argc == 4)
        return take_memory(kind, number, argv[3]);
    fprintf(stderr, "resources: no such kind\n");
    return 2;
}
