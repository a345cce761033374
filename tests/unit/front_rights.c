/* This file tests, from the inside, what front can still do when it has given up its rights: its
 * own directories, threads and unix sockets, and nothing else. Each body runs in a child, which
 * tells by its exit status the number of the first thing that is not as it should be.
 */
#include "api/front/rights.h"

#include "runtime/base/fd.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FRONT_UID = 64999, NOT_DROPPED = 99 };

static struct serve_config config;
static char place[64];
static int listener = -1;

static void setup(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(place, sizeof place, "/tmp/berth-rights-XXXXXX");
    cr_assert(mkdtemp(place) != NULL);
    config = (struct serve_config){
        .rootless = geteuid() != 0, .front_uid = FRONT_UID, .front_gid = FRONT_UID};
    cr_assert(chmod(place, 0755) == 0);
    snprintf(config.state_dir, sizeof config.state_dir, "%s/state", place);
    snprintf(config.runtime_dir, sizeof config.runtime_dir, "%s", place);
    cr_assert(mkdir(config.state_dir, 0711) == 0);
    if (geteuid() == 0)
        cr_assert(chown(config.state_dir, FRONT_UID, FRONT_UID) == 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/control", place);
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    cr_assert(bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
    cr_assert(listen(listener, 4) == 0 && chmod(address.sun_path, 0666) == 0);
}

static void teardown(void)
{
    static const char *const names[] = {"state/ledger/db", "state/ledger", "state/spool",
                                        "state",           "control",      ""};
    char path[256];
    fd_close(listener);
    for (unsigned i = 0; i < ARRAY_LENGTH(names); i++) {
        snprintf(path, sizeof path, "%s/%s", place, names[i]);
        remove(path);
    }
    cr_expect(access(place, F_OK) < 0, "something was left in %s", place);
}

TestSuite(front_rights, .init = setup, .fini = teardown, .timeout = 30);

/* The number of the first check that did not hold, 0 when all do. */
static int in_child(int (*body)(void))
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        struct err err;
        if (front_rights_drop(&config, &err) < 0) {
            dprintf(2, "%s %s %s %s\n", err.step, err.subject, err.detail, strerror(err.sys));
            _exit(NOT_DROPPED);
        }
        _exit(body());
    }
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid);
    cr_assert(WIFEXITED(status), "it ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

#define DEMAND(n, holds) \
    do {                 \
        if (!(holds))    \
            return n;    \
    } while (0)
#define FAILS(n, call, error) DEMAND(n, (errno = 0, (long)(call)) < 0 && errno == (error))

static int nothing_of_the_host(void)
{
    struct stat st;
    FAILS(1, open("/etc/shadow", O_RDONLY), EACCES);
    FAILS(2, open("/etc/passwd", O_RDONLY), EACCES);
    FAILS(3, open("/", O_RDONLY | O_DIRECTORY), EACCES);
    FAILS(4, open("/proc/self/mem", O_RDWR), EACCES);
    FAILS(5, open("/tmp/berth-rights-new", O_CREAT | O_WRONLY, 0600), EACCES);
    DEMAND(6, mkdir(config.state_dir, 0700) < 0 && errno == EEXIST);
    char path[1200];
    snprintf(path, sizeof path, "%s/volumes", config.state_dir);
    FAILS(7, mkdir(path, 0700), EACCES);
    DEMAND(8, stat("/", &st) == 0);
    FAILS(9, mkfifo("/tmp/berth-rights-new", 0600), ENOSYS);
    FAILS(10, chmod(config.state_dir, 0777), ENOSYS);
    FAILS(11, chdir("/"), ENOSYS);
    FAILS(12, syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", &st, 24), ENOSYS);
    return 0;
}

Test(front_rights, it_can_open_nothing_of_the_host)
{
    cr_expect_eq(in_child(nothing_of_the_host), 0);
}

static int no_other_process(void)
{
    char *argv[] = {(char *)"true", NULL};
    FAILS(1, execve("/bin/true", argv, argv), ENOSYS);
    FAILS(2, syscall(SYS_execveat, 2, "", argv, argv, 0x1000), ENOSYS);
    FAILS(3, fork(), EPERM);
    FAILS(4, syscall(SYS_vfork), ENOSYS);
    FAILS(5, syscall(SYS_clone3, argv, 64), ENOSYS);
    FAILS(6, kill(getppid(), 0), ENOSYS);
    FAILS(7, kill(-1, 0), ENOSYS);
    FAILS(8, syscall(SYS_tgkill, getpid(), gettid(), 0), ENOSYS);
    FAILS(9, syscall(SYS_pidfd_open, 1, 0), ENOSYS);
    FAILS(10, ptrace(PTRACE_ATTACH, 1, 0, 0), ENOSYS);
    FAILS(11, syscall(SYS_process_vm_readv, 1, argv, 1, argv, 1, 0), ENOSYS);
    FAILS(12, fcntl(0, F_SETOWN, 1), EPERM);
    struct rlimit limit = {1, 1};
    FAILS(13, prlimit(1, RLIMIT_NOFILE, &limit, NULL), EPERM);
    FAILS(14, setpriority(PRIO_PROCESS, 1, 19), ENOSYS);
    return 0;
}

Test(front_rights, it_can_start_signal_or_read_no_process)
{
    cr_expect_eq(in_child(no_other_process), 0);
}

static int no_network(void)
{
    static const int families[] = {AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK, AF_ALG};
    for (unsigned i = 0; i < ARRAY_LENGTH(families); i++)
        FAILS((int)i + 1, socket(families[i], SOCK_STREAM, 0), EAFNOSUPPORT);
    FAILS(10, socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){0, 0}), ENOSYS);
    FAILS(11, bind(0, NULL, 0), ENOSYS);
    return 0;
}

Test(front_rights, it_has_no_network)
{
    cr_expect_eq(in_child(no_network), 0);
}

static int no_rights_come_back(void)
{
    uid_t r, e, s;
    unsigned caps[2][3] = {{1, 1, 1}, {1, 1, 1}};
    (void)caps;
    FAILS(1, setuid(0), ENOSYS);
    FAILS(2, syscall(SYS_capset, NULL, NULL), ENOSYS);
    FAILS(3, unshare(CLONE_NEWUSER), ENOSYS);
    FAILS(4, prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), EPERM);
    FAILS(5, prctl(PR_SET_SECCOMP, 0, 0, 0, 0), EPERM);
    FAILS(6, syscall(SYS_bpf, 0, NULL, 0), ENOSYS);
    FAILS(7, syscall(SYS_io_uring_setup, 1, NULL), ENOSYS);
    FAILS(8, syscall(SYS_userfaultfd, 0), ENOSYS);
    FAILS(9, syscall(SYS_keyctl, 0, -3, 0, 0, 0), ENOSYS);
    DEMAND(10, getresuid(&r, &e, &s) == 0 && r == e && e == s);
    DEMAND(11, config.rootless || r == FRONT_UID);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    DEMAND(12, page != MAP_FAILED);
    FAILS(13, mprotect(page, 4096, PROT_READ | PROT_EXEC), EACCES);
    DEMAND(14, mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                       MAP_FAILED &&
                   errno == EACCES);
    FAILS(15, ioctl(0, 0x5412 /* TIOCSTI */, "x"), ENOTTY);
    struct rlimit core, files;
    DEMAND(16, getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0);
    DEMAND(17, getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur == files.rlim_max);
    return 0;
}

Test(front_rights, no_right_comes_back)
{
    cr_expect_eq(in_child(no_rights_come_back), 0);
}

static void *thread(void *argument)
{
    return argument;
}

static int its_own_work(void)
{
    char path[1200], data[8];
    pthread_t id;
    void *result = NULL;
    snprintf(path, sizeof path, "%s/%s/db", config.state_dir, SERVE_LEDGER_DIR);
    _cleanup_fd_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    DEMAND(1, fd >= 0 && write(fd, "x", 1) == 1 && fdatasync(fd) == 0 && ftruncate(fd, 0) == 0);
    struct flock lock = {.l_type = F_WRLCK};
    DEMAND(2, fcntl(fd, F_SETLK, &lock) == 0);
    snprintf(path, sizeof path, "%s/%s/1", config.state_dir, SERVE_SPOOL_DIR);
    DEMAND(3, mkdir(path, 0700) == 0);
    DIR *directory = opendir(path);
    DEMAND(4, directory && readdir(directory));
    closedir(directory);
    DEMAND(5, rmdir(path) == 0);
    DEMAND(6, pthread_create(&id, NULL, thread, data) == 0);
    DEMAND(7, pthread_join(id, &result) == 0 && result == data);
    _cleanup_fd_ int random = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    DEMAND(8, random >= 0 && read(random, data, sizeof data) == (ssize_t)sizeof data);
    /* A session's socket: Landlock up to ABI 7 has no say in it, its directory's mode has. */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/control", place);
    _cleanup_fd_ int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    DEMAND(9, s >= 0 && connect(s, (struct sockaddr *)&address, sizeof address) == 0);
    _cleanup_fd_ int memory = memfd_create("spec", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    DEMAND(10, memory >= 0 && fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE) == 0);
    int ends[2];
    DEMAND(11, pipe2(ends, O_CLOEXEC) == 0);
    return 0;
}

Test(front_rights, its_own_work_goes_on)
{
    cr_expect_eq(in_child(its_own_work), 0);
}

Test(front_rights, it_is_nobody_that_others_of_its_user_could_trace)
{
    char path[64], text[2048] = "";
    int ends[2];
    cr_assert(pipe2(ends, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err;
        char byte = front_rights_drop(&config, &err) < 0;
        if (write(ends[1], &byte, 1) == 1)
            pause();
        for (;;)
            poll(NULL, 0, -1);
    }
    char byte = 1;
    cr_assert(read(ends[0], &byte, 1) == 1 && byte == 0);
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    cr_assert(read(fd, text, sizeof text - 1) > 0);
    cr_expect(strstr(text, "NoNewPrivs:\t1\n") && strstr(text, "Seccomp:\t2\n"), "%s", text);
    cr_expect(strstr(text, "CapPrm:\t0000000000000000\n") &&
                  strstr(text, "CapEff:\t0000000000000000\n"),
              "%s", text);
    if (geteuid() == 0) {
        struct stat st;
        cr_expect(strstr(text, "CapBnd:\t0000000000000000\n") && strstr(text, "Groups:\t \n"), "%s",
                  text);
        cr_expect(strstr(text, "Uid:\t64999\t64999\t64999\t64999\n"), "%s", text);
        snprintf(path, sizeof path, "/proc/%d/fd", pid);
        cr_expect(stat(path, &st) == 0 && st.st_uid == 0, "it is dumpable");
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    fd_close(ends[0]);
    fd_close(ends[1]);
}

Test(front_rights, a_configuration_that_would_leave_root_is_refused)
{
    struct err err;
    if (geteuid() != 0)
        return;
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        config.front_uid = 0;
        _exit(front_rights_drop(&config, &err) < 0 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
