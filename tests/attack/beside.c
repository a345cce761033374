/* This file is an attack program: it runs in a session that lasts and reaches for what berth
 * brings there: init's listening socket, the spool, and the workers of file operations, which have
 * the uid of any command. It never knows whether it succeeded on the host: the runner looks.
 *
 *     beside reach                    the socket of init, its descriptors, the spool
 *     beside born SECONDS             every process that is seen: its program, what it has open, a
 *                                     trace; those above all that init has just forked
 *     beside workers HOW SECONDS      each worker that is found: kill, stop, limit, trace, open
 *     beside steps SECONDS            each worker is stopped when it is born, and reached for while
 *                                     it goes on bit by bit
 *     beside swap DIRECTORY TARGET SECONDS   renames DIRECTORY and a link to TARGET to and fro
 *     beside kinds PATH SECONDS       PATH is a file, FIFO, socket, directory, link in turn
 *     beside tiny COUNT               COUNT writes of one byte, on both streams in turn
 */
#include "try.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- init and its socket ------------------------------------------------------------------------
 */

static void dial(const char *name, const char *path, size_t length, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        try_denied(name, errno);
        return;
    }
    memcpy(address.sun_path, path, length < sizeof address.sun_path ? length : 0);
    try_result(name,
               connect(fd, (struct sockaddr *)&address, (socklen_t)(sizeof(sa_family_t) + length)));
    close(fd);
}

/* Everything that this network namespace has bound, and the names that the host gives them. */
static void reach_sockets(void)
{
    char line[512];
    FILE *file = fopen("/proc/net/unix", "re");
    while (file && fgets(line, sizeof line, file)) {
        char *path = strpbrk(line, "/@");
        if (!path)
            continue;
        path[strcspn(path, "\n")] = 0;
        size_t length = strlen(path);
        if (*path == '@')
            *path = 0;
        char label[640];
        snprintf(label, sizeof label, "listed_%s", *path ? path : path + 1);
        dial(label, path, length + (*path ? 1 : 0), SOCK_SEQPACKET);
    }
    if (file)
        fclose(file);
    static const char *const paths[] = {"/run/berth/berth.sock", "/run/berth/sessions/1-1/control",
                                        "/proc/1/root/run/berth/berth.sock", "control", "/control"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        dial(paths[i], paths[i], strlen(paths[i]) + 1, SOCK_SEQPACKET);
        dial(paths[i], paths[i], strlen(paths[i]) + 1, SOCK_STREAM);
    }
}

static void reach_descriptors(void)
{
    long pidfd = syscall(SYS_pidfd_open, 1, 0);
    for (int fd = 0; fd < 64; fd++) {
        char path[64], name[64], text[256];
        snprintf(path, sizeof path, "/proc/1/fd/%d", fd);
        snprintf(name, sizeof name, "readlink_%d", fd);
        try_result(name, readlink(path, text, sizeof text));
        snprintf(name, sizeof name, "open_%d", fd);
        try_result(name, open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK));
        snprintf(path, sizeof path, "/proc/1/fdinfo/%d", fd);
        snprintf(name, sizeof name, "fdinfo_%d", fd);
        try_result(name, open(path, O_RDONLY | O_CLOEXEC));
        snprintf(name, sizeof name, "getfd_%d", fd);
        try_result(name, syscall(SYS_pidfd_getfd, pidfd, fd, 0));
        /* kcmp tells which file a descriptor is. */
        snprintf(name, sizeof name, "kcmp_%d", fd);
        try_result(name, syscall(SYS_kcmp, 1, getpid(), 0, fd, 1));
    }
    if (pidfd >= 0)
        close((int)pidfd);
    try_result("ptrace_attach", ptrace(PTRACE_ATTACH, 1, NULL, NULL));
    try_result("ptrace_seize", ptrace(PTRACE_SEIZE, 1, NULL, NULL));
    try_result("map_files", open("/proc/1/map_files", O_RDONLY | O_CLOEXEC));
    try_result("maps", open("/proc/1/maps", O_RDONLY | O_CLOEXEC));
    try_result("environ", open("/proc/1/environ", O_RDONLY | O_CLOEXEC));
    try_result("cwd", open("/proc/1/cwd", O_PATH | O_CLOEXEC));
    try_result("root", open("/proc/1/root", O_PATH | O_CLOEXEC));
    try_result("exe", open("/proc/1/exe", O_RDONLY | O_CLOEXEC));
}

/* Output goes to a pipe whose other end init has: nothing else may be behind 1 and 2. */
static void reach_streams(void)
{
    for (int fd = 0; fd < 3; fd++) {
        struct stat st;
        char name[32], path[64];
        snprintf(name, sizeof name, "stream_%d", fd);
        if (fstat(fd, &st) < 0 || S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
            try_refused(name, "PIPE");
        else
            try_succeeded(name, "type 0%o", st.st_mode & S_IFMT);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        snprintf(name, sizeof name, "seek_%d", fd);
        try_result(name, fd == 0 ? (errno = ESPIPE, -1) : lseek(fd, 0, SEEK_SET));
        snprintf(name, sizeof name, "truncate_%d", fd);
        try_result(name, ftruncate(fd, 0));
    }
    for (int fd = 3; fd < 4096; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            try_succeeded("inherited", "descriptor %d", fd);
}

/* ---- workers ------------------------------------------------------------------------------------
 */

/* Nobody sees one in /proc, which hides what is not dumpable; signals reach it. What is just being
 * born is no different.
 */
static bool is_worker(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d", pid);
    return kill(pid, 0) == 0 && access(path, F_OK) < 0;
}

static void harm(const char *how, pid_t pid)
{
    char path[64];
    if (strcmp(how, "kill") == 0)
        kill(pid, SIGKILL);
    if (strcmp(how, "stop") == 0)
        kill(pid, SIGSTOP);
    if (strcmp(how, "limit") == 0) {
        struct rlimit none = {0, 0};
        int all[] = {RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_AS, RLIMIT_DATA, RLIMIT_CPU};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            prlimit(pid, (enum __rlimit_resource)all[i], &none, NULL);
    }
    if (strcmp(how, "trace") == 0 && ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0)
        ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
    if (strcmp(how, "open") == 0) {
        snprintf(path, sizeof path, "/proc/%d/exe", pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        for (int i = 0; fd >= 0 && i < 50; i++) {
            char own[64];
            snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
            int writable = open(own, O_WRONLY | O_CLOEXEC);
            if (writable >= 0)
                try_succeeded("write_exe", "%d", pid);
        }
        if (fd >= 0)
            close(fd);
        for (int i = 0; i < 16; i++) {
            snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, i);
            struct stat st;
            int got = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
            if (got >= 0 && fstat(got, &st) == 0 && !S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
                try_succeeded("descriptor_of_worker", "%d: type 0%o", i, st.st_mode & S_IFMT);
            if (got >= 0)
                close(got);
        }
    }
}

/* Numbers are given in turn: the next ones are a little above the newest. */
enum { AHEAD = 16 };

static pid_t newest(pid_t otherwise)
{
    char line[128] = "";
    int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, line, sizeof line - 1) : 0;
    if (fd >= 0)
        close(fd);
    const char *last = n > 0 ? strrchr(line, ' ') : NULL;
    return last ? (pid_t)strtol(last, NULL, 10) : otherwise;
}

static void workers(const char *how, unsigned seconds)
{
    unsigned seen = 0;
    pid_t last = getpid();
    for (double end = now() + seconds; now() < end; last = newest(last))
        for (pid_t pid = 2; pid < last + AHEAD; pid++) {
            if (pid == getpid() || !is_worker(pid))
                continue;
            seen++;
            harm(how, pid);
        }
    printf("saw %u\n", seen);
}

/* False: it has gone. */
static bool is_stopped_soon(pid_t pid)
{
    for (int i = 0; i < 50; i++) {
        if (kill(pid, 0) < 0)
            return false;
        sched_yield();
    }
    return true;
}

/* What the worker says of itself comes after its first instructions: who holds it there has its
 * program, which is a file of the host's, and the pipes that it answers through.
 */
static bool reach_between_steps(pid_t pid)
{
    char path[64], link[4096];
    bool reached = false;
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    ssize_t n = readlink(path, link, sizeof link - 1);
    int fd = n > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        link[n] = 0;
        try_succeeded("program_of_worker", "%s", link);
        close(fd);
        reached = true;
    }
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, i);
        n = readlink(path, link, sizeof link - 1);
        if (n <= 0)
            continue;
        link[n] = 0;
        try_succeeded("descriptor_of_worker", "%d: %s", i, link);
        reached = true;
    }
    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0) {
        try_succeeded("trace_of_worker", "%d", pid);
        ptrace(PTRACE_DETACH, pid, NULL, NULL);
        reached = true;
    }
    return reached;
}

enum { STEPS_MAX = 5000 };

static void keep_on(pid_t pid, int cpu)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((unsigned)cpu, &one);
    sched_setaffinity(pid, sizeof one, &one);
}

/* On two processors, where there are two: who is stopped stops at once then. */
static void choose_processors(int ret[2])
{
    cpu_set_t all;
    ret[0] = ret[1] = -1;
    if (sched_getaffinity(0, sizeof all, &all) == 0)
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &all))
                ret[ret[0] >= 0] = (int)cpu;
}

static void steps(unsigned seconds)
{
    unsigned seen = 0, made = 0;
    int processors[2];
    pid_t last = getpid();
    choose_processors(processors);
    if (processors[1] >= 0)
        keep_on(0, processors[1]);
    for (double end = now() + seconds; now() < end;) {
        pid_t pid = last + 1;
        while (pid < last + AHEAD && (pid == getpid() || kill(pid, SIGSTOP) < 0))
            pid++;
        if (pid == last + AHEAD) {
            pid_t before = newest(last) - 1; /* the newest itself may be one */
            last = before > last ? before : last;
            continue;
        }
        last = pid;
        seen++;
        setpriority(PRIO_PROCESS, (id_t)pid, 19);
        if (processors[1] >= 0)
            keep_on(pid, processors[0]);
        for (unsigned i = 0; i < STEPS_MAX && now() < end; i++, made++) {
            if (kill(pid, SIGCONT) < 0 || kill(pid, SIGSTOP) < 0 || !is_stopped_soon(pid) ||
                reach_between_steps(pid))
                break;
        }
        kill(pid, SIGCONT);
    }
    printf("saw %u in %u steps\n", seen, made);
}

/* ---- births -------------------------------------------------------------------------------------
 */

/* What none of a session's processes may have open: init's, berth's or the host's. */
static bool is_foreign(const char *link)
{
    static const char *const words[] = {"memfd:",  "anon_inode", "/spool/",   "/sys/fs/cgroup",
                                        "socket:", "control",    "/run/berth"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(link, words[i]))
            return true;
    return false;
}

static void look_at_born(const char *pid)
{
    char path[300], link[4096];
    snprintf(path, sizeof path, "/proc/%s/exe", pid);
    ssize_t n = readlink(path, link, sizeof link - 1);
    if (n > 0) {
        link[n] = 0;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (strstr(link, "berth-init"))
            try_succeeded("program_of_init", "%s", link);
        for (int i = 0; fd >= 0 && i < 20; i++) {
            char own[64];
            snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
            int writable = open(own, O_WRONLY | O_CLOEXEC);
            if (writable >= 0 && (strstr(link, "berth") || strstr(link, "/usr/")))
                try_succeeded("write_to_program", "%s", link);
            if (writable >= 0)
                close(writable);
        }
        if (fd >= 0)
            close(fd);
    }
    for (int i = 0; i < 24; i++) {
        snprintf(path, sizeof path, "/proc/%s/fd/%d", pid, i);
        n = readlink(path, link, sizeof link - 1);
        if (n <= 0)
            continue;
        link[n] = 0;
        if (is_foreign(link))
            try_succeeded("descriptor", "%d of %s: %s", i, pid, link);
    }
    if (n <= 0 && ptrace(PTRACE_SEIZE, (pid_t)strtol(pid, NULL, 10), NULL, NULL) == 0)
        ptrace(PTRACE_DETACH, (pid_t)strtol(pid, NULL, 10), NULL, NULL);
}

static void born(unsigned seconds)
{
    unsigned seen = 0;
    for (double end = now() + seconds; now() < end;) {
        DIR *proc = opendir("/proc");
        struct dirent *entry;
        while (proc && (entry = readdir(proc))) {
            pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
            if (pid > 1 && pid != getpid()) {
                seen++;
                look_at_born(entry->d_name);
            }
        }
        if (proc)
            closedir(proc);
    }
    printf("saw %u\n", seen);
}

/* ---- files --------------------------------------------------------------------------------------
 */

static void swap(const char *directory, const char *target, unsigned seconds)
{
    char real[4096], link[4096];
    unsigned turns = 0;
    snprintf(real, sizeof real, "%s.real", directory);
    snprintf(link, sizeof link, "%s.link", directory);
    unlink(link);
    if (symlink(target, link) < 0)
        return;
    for (double end = now() + seconds; now() < end; turns++) {
        rename(directory, real);
        rename(link, directory);
        rename(directory, link);
        rename(real, directory);
    }
    printf("turned %u times\n", turns);
}

static void kinds(const char *path, unsigned seconds)
{
    unsigned turns = 0;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    for (double end = now() + seconds; now() < end; turns++) {
        if (unlink(path) < 0)
            rmdir(path);
        int fd = -1;
        switch (turns % 6) {
        case 0:
            fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
            break;
        case 1:
            if (mkfifo(path, 0666) < 0)
                continue;
            break;
        case 2:
            fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
                try_refused("bind", "FAILED");
            break;
        case 3:
            mkdir(path, 0777);
            break;
        default:
            if (symlink(turns % 6 == 4 ? "/proc/1/root/etc/shadow" : "/etc/shadow", path) < 0)
                continue;
        }
        if (fd >= 0)
            close(fd);
    }
    printf("turned %u times\n", turns);
}

static void tiny(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (write(1 + (int)(i & 1), i & 1 ? "e" : "o", 1) != 1)
            _exit(3);
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    try_begin();
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(verb, "tiny") == 0 && argc == 3) {
        tiny((unsigned)strtoul(argv[2], NULL, 10));
        return 0;
    }
    if (strcmp(verb, "reach") == 0) {
        reach_sockets();
        reach_descriptors();
        reach_streams();
    } else if (strcmp(verb, "born") == 0 && argc == 3) {
        born((unsigned)strtoul(argv[2], NULL, 10));
    } else if (strcmp(verb, "workers") == 0 && argc == 4) {
        workers(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
    } else if (strcmp(verb, "steps") == 0 && argc == 3) {
        steps((unsigned)strtoul(argv[2], NULL, 10));
    } else if (strcmp(verb, "swap") == 0 && argc == 5) {
        swap(argv[2], argv[3], (unsigned)strtoul(argv[4], NULL, 10));
    } else if (strcmp(verb, "kinds") == 0 && argc == 4) {
        kinds(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
    } else {
        return 2;
    }
    return try_end("beside");
}
