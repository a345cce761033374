/* This file tests `berth serve` as its operator sees it, with this program in the place of
 * berth-front: what is started with what, restarts, locks, and the two ways of ending.
 */
#include "runtime/serve.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "tests/slower.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- front
 * ------------------------------------------------------------------------------------------ */

/* Before Criterion: serves nothing, says 'R', keeps every socket of the launcher's and of the
 * gateway's that it is given. */
__attribute__((constructor)) static void act_as_front(int argc, char **argv)
{
    if (argc != 1 || strcmp(argv[0], "berth: front") != 0)
        return;
    char byte = 'R';
    if (send(SERVE_FD_SUPERVISOR, &byte, 1, 0) != 1)
        _exit(1);
    for (;;) {
        char room[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
        struct iovec part = {&byte, 1};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
        ssize_t n = recvmsg(SERVE_FD_SUPERVISOR, &message, 0);
        if (n <= 0)
            _exit(0);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if ((byte != 'L' && byte != 'V') || !header)
            _exit(2);
        int given;
        memcpy(&given, CMSG_DATA(header), sizeof given);
        dup2(given, byte == 'L' ? SERVE_FD_LAUNCHER : SERVE_FD_EVENTS);
        close(given);
    }
}

/* ---- berth
 * ------------------------------------------------------------------------------------------ */

static char place[64], out_path[96], err_path[96], socket_path[96];
static pid_t berth;

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *format, ...)
{
    char command[8192];
    va_list ap;
    va_start(ap, format);
    vsnprintf(command, sizeof command, format, ap);
    va_end(ap);
    cr_assert_eq(system(command), 0, "%s", command); /* NOLINT: paths of this test's own */
}

static void nap(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static void setup(void)
{
    char bin[4096];
    snprintf(place, sizeof place, "/tmp/berth-test-XXXXXX");
    cr_assert_not_null(mkdtemp(place));
    chmod(place, 0755);
    ssize_t n = readlink("/proc/self/exe", bin, sizeof bin - 32);
    cr_assert_gt(n, 0);
    bin[n] = 0;
    for (int i = 0; i < 3; i++) /* BUILD/tests/kernel/serve -> BUILD */
        *strrchr(bin, '/') = 0;
    run("mkdir %s/bin && cp %s/bin/berth %s/bin/berth-init %s/bin/berth-gateway %s/bin && chmod "
        "0111 %s/bin/berth-init "
        "&& cp /proc/%d/exe %s/bin/berth-front",
        place, bin, bin, bin, place, place, getpid(), place);
    snprintf(out_path, sizeof out_path, "%s/out", place);
    snprintf(err_path, sizeof err_path, "%s/err", place);
    snprintf(socket_path, sizeof socket_path, "%s/run/berth.sock", place);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

static pid_t start(const char *option, const char *value)
{
    pid_t pid = fork();
    if (pid == 0) {
        char program[96], state[96], runtime[96], notify[96];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(program, sizeof program, "%s/bin/berth", place);
        snprintf(state, sizeof state, "BERTH_STATE_DIR=%s/state", place);
        snprintf(runtime, sizeof runtime, "BERTH_RUNTIME_DIR=%s/run", place);
        snprintf(notify, sizeof notify, "NOTIFY_SOCKET=%s/notify", place);
        char *argv[] = {program, (char[]){"serve"}, (char *)(uintptr_t)option,
                        (char *)(uintptr_t)value, NULL};
        char *env[] = {state, runtime, notify, (char[]){"SECRET=1"}, NULL};
        int out = open(out_path, O_WRONLY | O_CREAT | O_APPEND, 0644);
        int err = open(err_path, O_WRONLY | O_CREAT | O_APPEND, 0644);
        dup2(out, 1);
        dup2(err, 2);
        execve(program, argv, env);
        _exit(99);
    }
    return pid;
}

static void read_text(const char *path, char *ret, size_t size)
{
    ret[0] = 0;
    if (io_read_at(AT_FDCWD, path, ret, size) < 0)
        ret[0] = 0;
}

/* The child of `parent` whose command line begins with `title`; 0: none. */
static pid_t child_of(pid_t parent, const char *title)
{
    char path[64], children[4096] = "", *at = children;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent, parent);
    read_text(path, children, sizeof children);
    for (long pid; (pid = strtol(at, &at, 10)) > 0;) {
        char line[256];
        snprintf(path, sizeof path, "/proc/%ld/cmdline", pid);
        read_text(path, line, sizeof line);
        if (strcmp(line, title) == 0)
            return (pid_t)pid;
    }
    return 0;
}

static pid_t wait_child(const char *title, pid_t other_than, unsigned ms)
{
    for (unsigned at = 0; at < ms * test_slower(); at += 5) {
        pid_t pid = child_of(berth, title);
        if (pid && pid != other_than)
            return pid;
        nap(5);
    }
    return 0;
}

static bool wait_text(const char *path, const char *text, unsigned ms)
{
    for (unsigned at = 0; at < ms * test_slower(); at += 10) {
        char all[8192];
        read_text(path, all, sizeof all);
        if (strstr(all, text))
            return true;
        nap(10);
    }
    return false;
}

static int wait_end(pid_t pid, unsigned ms)
{
    int status = 0;
    for (unsigned at = 0; at < ms * test_slower(); at += 5) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        nap(5);
    }
    return -1;
}

static void start_serving(void)
{
    berth = start(NULL, NULL);
    cr_assert(wait_text(out_path, "berth: serving on unix:", 20000));
}

static void stop_serving(void)
{
    kill(berth, SIGTERM);
    cr_expect_eq(wait_end(berth, 10000), 0);
    berth = 0;
}

static void teardown(void)
{
    if (berth > 0)
        kill(berth, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        continue;
    run("rm -rf --one-file-system %s", place);
}

TestSuite(serve, .init = setup, .fini = teardown, .timeout = 60);

static unsigned count_files(pid_t pid, unsigned *ret_highest)
{
    char path[64];
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *list = opendir(path);
    const struct dirent *e;
    while (list && (e = readdir(list)))
        if (e->d_name[0] != '.') {
            unsigned number = (unsigned)strtoul(e->d_name, NULL, 10);
            count++;
            if (number > *ret_highest)
                *ret_highest = number;
        }
    closedir(list);
    return count;
}

Test(serve, front_is_born_without_rights_and_with_its_descriptors_alone)
{
    start_serving();
    pid_t front = wait_child("berth: front", 0, 5000);
    cr_assert_gt(front, 0);
    cr_expect_gt(wait_child("berth: launcher", 0, 5000), 0);
    char path[96], text[8192], line[64];
    snprintf(path, sizeof path, "/proc/%d/status", front);
    read_text(path, text, sizeof text);
    snprintf(line, sizeof line, "Uid:\t%u\t%u\t%u\t%u", 0x6fffffff, 0x6fffffff, 0x6fffffff,
             0x6fffffff);
    cr_expect_not_null(strstr(text, line));
    cr_expect_not_null(strstr(text, "Groups:\t \n"));
    cr_expect_not_null(strstr(text, "NoNewPrivs:\t1"));
    cr_expect_not_null(strstr(text, "CapPrm:\t0000000000000000"));
    cr_expect_not_null(strstr(text, "CapEff:\t0000000000000000"));
    snprintf(path, sizeof path, "/proc/%d/environ", front);
    read_text(path, text, sizeof text);
    cr_expect_str_empty(text);
    unsigned highest = 0;
    cr_expect_eq(count_files(front, &highest), SERVE_FD_STATUS + 1);
    cr_expect_eq(highest, SERVE_FD_STATUS);
    snprintf(path, sizeof path, "/proc/%d/cmdline", berth);
    read_text(path, text, sizeof text);
    cr_expect_str_eq(text, "berth: supervisor");
    /* What is said of the configuration is what front can read and nobody can change. */
    struct serve_config config;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", front, SERVE_FD_CONFIG);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    cr_assert_eq(pread(fd, &config, sizeof config, 0), (ssize_t)sizeof config);
    cr_expect(config.version == SERVE_CONFIG_VERSION && config.size == sizeof config);
    cr_expect_eq(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    close(fd);
    struct stat st;
    snprintf(path, sizeof path, "%s/state/ledger", place);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect(st.st_uid == 0x6fffffff && (st.st_mode & 07777) == 0700);
    cr_assert_eq(stat(socket_path, &st), 0);
    cr_expect((st.st_mode & 07777) == (st.st_gid ? 0660 : 0600));
    stop_serving();
    cr_expect_lt(stat(socket_path, &st), 0, "the socket goes with an orderly end");
    cr_expect(kill(front, 0) < 0);
}

Test(serve, whichever_child_is_killed_is_there_again_within_two_seconds)
{
    start_serving();
    pid_t launcher = wait_child("berth: launcher", 0, 5000);
    pid_t front = wait_child("berth: front", 0, 5000);
    for (unsigned round = 0; round < 5; round++) {
        kill(launcher, SIGKILL);
        pid_t next = wait_child("berth: launcher", launcher, 2000);
        cr_assert_gt(next, 0, "a launcher again");
        launcher = next;
        cr_expect_eq(child_of(berth, "berth: front"), front, "front stays");
        nap(100);
        cr_expect_eq(child_of(berth, "berth: launcher"), launcher, "and front has it");
    }
    for (unsigned round = 0; round < 3; round++) {
        kill(front, SIGKILL);
        pid_t next = wait_child("berth: front", front, 2000);
        cr_assert_gt(next, 0, "a front again");
        front = next;
        launcher = wait_child("berth: launcher", launcher, 2000);
        cr_assert_gt(launcher, 0, "with a launcher of its own");
    }
    char text[8192];
    read_text(out_path, text, sizeof text);
    const char *first = strstr(text, "serving on");
    cr_expect(first && !strstr(first + 1, "serving on"), "told once");
    stop_serving();
}

Test(serve, the_gateway_has_a_user_of_its_own_no_right_and_its_descriptors_alone)
{
    start_serving();
    pid_t gateway = wait_child("berth: gateway", 0, 5000);
    cr_assert_gt(gateway, 0);
    char path[96], text[8192], line[64];
    /* Its own are there when it has given its rights up. */
    for (unsigned at = 0; at < 5000; at += 5) {
        snprintf(path, sizeof path, "/proc/%d/status", gateway);
        read_text(path, text, sizeof text);
        if (strstr(text, "Seccomp:\t2"))
            break;
        nap(5);
    }
    cr_expect_not_null(strstr(text, "Seccomp:\t2"));
    snprintf(line, sizeof line, "Uid:\t%u\t%u\t%u\t%u", 0x6ffffffe, 0x6ffffffe, 0x6ffffffe,
             0x6ffffffe);
    cr_expect_not_null(strstr(text, line));
    cr_expect_not_null(strstr(text, "Groups:\t \n"));
    cr_expect_not_null(strstr(text, "NoNewPrivs:\t1"));
    cr_expect_not_null(strstr(text, "CapPrm:\t0000000000000000"));
    snprintf(path, sizeof path, "/proc/%d/environ", gateway);
    read_text(path, text, sizeof text);
    cr_expect_str_empty(text);
    unsigned highest = 0;
    cr_expect_leq(count_files(gateway, &highest), 10);
    cr_expect_leq(highest, 10, "and nothing of the supervisor's");
    stop_serving();
    cr_expect(kill(gateway, 0) < 0, "it ends with berth");
}

/* Both ends of the pairs that join the gateway to the others are in two processes each. */
static bool is_socket(pid_t pid, int fd)
{
    char path[64], target[64] = "";
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
    return readlink(path, target, sizeof target - 1) > 0 && strncmp(target, "socket:", 7) == 0;
}

static bool wait_inode(pid_t pid, int fd, const char *other_than, char ret[64])
{
    char path[64];
    for (unsigned at = 0; at < 5000; at += 5) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
        ssize_t n = readlink(path, ret, 63);
        ret[n > 0 ? n : 0] = 0;
        if (n > 0 && strcmp(ret, other_than) != 0)
            return true;
        nap(5);
    }
    return false;
}

Test(serve, a_killed_gateway_is_there_again_and_front_and_launcher_have_sockets_of_the_new_one)
{
    char events[64], before[64];
    start_serving();
    pid_t gateway = wait_child("berth: gateway", 0, 5000);
    pid_t launcher = wait_child("berth: launcher", 0, 5000);
    pid_t front = wait_child("berth: front", 0, 5000);
    cr_assert(gateway > 0 && launcher > 0 && front > 0);
    cr_expect(is_socket(front, SERVE_FD_EVENTS));
    cr_assert(wait_inode(front, SERVE_FD_EVENTS, "", before));
    for (unsigned round = 0; round < 3; round++) {
        kill(gateway, SIGKILL);
        pid_t next = wait_child("berth: gateway", gateway, 5000);
        cr_assert_gt(next, 0, "a gateway again");
        gateway = next;
        cr_expect(wait_inode(front, SERVE_FD_EVENTS, before, events), "front has its events");
        strcpy(before, events);
        cr_expect_eq(child_of(berth, "berth: front"), front, "front stays");
        cr_expect_eq(child_of(berth, "berth: launcher"), launcher, "the launcher stays");
    }
    kill(launcher, SIGKILL);
    cr_expect_gt(wait_child("berth: launcher", launcher, 2000), 0);
    kill(front, SIGKILL);
    cr_expect_gt(wait_child("berth: front", front, 2000), 0);
    nap(100);
    cr_expect_eq(child_of(berth, "berth: gateway"), gateway, "the gateway stays");
    stop_serving();
}

Test(serve, CAP_1_without_a_gateway_berth_serves_and_says_why_there_is_no_network)
{
    char text[16384], path[96];
    run("rm %s/bin/berth-gateway", place);
    start_serving();
    cr_expect(wait_text(err_path, "find the gateway's program", 1000));
    pid_t front = wait_child("berth: front", 0, 5000);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", front, SERVE_FD_CAPABILITIES);
    read_text(path, text, sizeof text);
    cr_expect_not_null(strstr(text, "No gateway serves: find the gateway's program"));
    cr_expect_eq(child_of(berth, "berth: gateway"), 0);
    cr_expect_not(is_socket(front, SERVE_FD_EVENTS));
    stop_serving();
    /* One that is there and is none. */
    run("printf '#!/bin/false\n' > %s/bin/berth-gateway && chmod 0755 %s/bin/berth-gateway", place,
        place);
    unlink(out_path);
    start_serving();
    cr_expect(wait_text(err_path, "It ended before it served", 1000));
    stop_serving();
}

Test(serve, a_second_berth_is_told_who_has_the_directory)
{
    start_serving();
    pid_t second = start(NULL, NULL);
    cr_expect_eq(wait_end(second, 5000), 125);
    char text[32];
    snprintf(text, sizeof text, "(process %d)", berth);
    cr_expect(wait_text(err_path, text, 1000));
    struct stat st;
    cr_expect_eq(stat(socket_path, &st), 0, "the first one's socket stays");
    stop_serving();
}

Test(serve, what_a_killed_supervisor_had_just_made_is_waited_for)
{
    char path[96], text[64];
    start_serving();
    kill(berth, SIGKILL);
    cr_expect_eq(wait_end(berth, 2000), 128 + SIGKILL);
    unlink(out_path);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s/lock", place, i ? "run" : "state");
        int fd = open(path, O_RDWR | O_CLOEXEC);
        cr_assert_geq(fd, 0);
        while (flock(fd, LOCK_EX | LOCK_NB) < 0)
            nap(1);
        read_text(path, text, sizeof text);
        cr_assert_eq(strtol(text, NULL, 10), berth, "the lock names the one that was killed");
        if (i == 0) { /* a child of it that has not closed its copy yet */
            pid_t child = fork();
            if (child == 0) {
                nap(300);
                _exit(0);
            }
        }
        close(fd);
    }
    start_serving();
    stop_serving();
}

Test(serve, when_the_supervisor_is_killed_its_children_end_and_the_next_berth_serves)
{
    start_serving();
    pid_t launcher = wait_child("berth: launcher", 0, 5000);
    pid_t front = wait_child("berth: front", 0, 5000);
    kill(berth, SIGKILL);
    cr_expect_eq(wait_end(berth, 2000), 128 + SIGKILL);
    cr_expect_neq(wait_end(launcher, 2000), -1, "this test is a subreaper: they are its children");
    cr_expect_neq(wait_end(front, 2000), -1);
    struct stat st;
    cr_expect_eq(stat(socket_path, &st), 0, "a stale socket");
    unlink(out_path);
    start_serving();
    stop_serving();
}

Test(serve, a_service_manager_is_told_when_berth_serves)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s/notify", place);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    start_serving();
    char text[64] = "";
    struct pollfd p = {.fd = fd, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, 5000 * (int)test_slower()), 1);
    cr_expect_gt(recv(fd, text, sizeof text - 1, 0), 0);
    cr_expect_str_eq(text, "READY=1");
    stop_serving();
    memset(text, 0, sizeof text);
    cr_expect_gt(recv(fd, text, sizeof text - 1, MSG_DONTWAIT), 0);
    cr_expect_str_eq(text, "STOPPING=1");
    close(fd);
}

Test(serve, what_is_wrong_in_the_configuration_is_told_at_its_place)
{
    char path[96];
    snprintf(path, sizeof path, "%s/c.jsonc", place);
    run("printf '{\\n  // more\\n  \"sesions_max\": 3\\n}\\n' > %s && chmod 0600 %s", path, path);
    pid_t pid = start("--config", path);
    cr_expect_eq(wait_end(pid, 5000), 125);
    cr_expect(wait_text(err_path, "c.jsonc:3:3: sesions_max", 1000));
    cr_expect(wait_text(err_path, "Did you mean \"sessions_max\"?", 1000));
    run("echo '{}' > %s && chmod 0666 %s", path, path);
    pid = start("--config", path);
    cr_expect_eq(wait_end(pid, 5000), 125);
    cr_expect(wait_text(err_path, "nobody else can write", 1000));
}

/* As a killed berth does: who listened is dead, a child that has the socket too goes `ms` later. */
static void leave_a_listener_behind(const struct sockaddr_un *at, int ms)
{
    unlink(at->sun_path);
    pid_t maker = fork();
    if (maker == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (const struct sockaddr *)at, sizeof *at) < 0 || listen(fd, 1) < 0)
            _exit(1);
        if (fork() == 0)
            poll(NULL, 0, ms);
        _exit(0);
    }
    int status;
    cr_assert(maker > 0 && waitpid(maker, &status, 0) == maker && status == 0);
}

Test(serve, a_socket_of_ones_own_choice_is_replaced_only_when_it_is_stale)
{
    char other[96];
    snprintf(other, sizeof other, "%s/s", place);
    run("echo x > %s", other);
    pid_t pid = start("--socket", other);
    cr_expect_eq(wait_end(pid, 20000), 125);
    cr_expect(wait_text(err_path, "not a socket of yours", 1000));
    run("rm %s", other);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", other);
    cr_assert(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 1) == 0);
    pid = start("--socket", other);
    cr_expect_eq(wait_end(pid, 20000), 125);
    cr_expect(wait_text(err_path, "Somebody serves there", 1000));
    close(fd);
    leave_a_listener_behind(&at, 300);
    berth = start("--socket", other);
    cr_expect(wait_text(out_path, other, 20000));
    stop_serving();
}
