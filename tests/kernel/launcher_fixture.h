/* This file runs a launcher in a child process for the launcher_*.c tests, with this test as its
 * front, and with calls that do what the row's number says instead of making sessions; it never
 * decides what a test means.
 */
#pragma once

#include "runtime/launcher_main.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/runtime_internal.h"
#include "tests/slower.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define UNUSED __attribute__((unused))

/* What a row does. */
enum {
    ROW_PLAIN = 1,       /* below ROW_SLOW: made at once */
    ROW_SLOW = 1000,     /* made when `go` is set */
    ROW_FOREVER = 2000,  /* never made */
    ROW_DIES = 3000,     /* its worker kills itself */
    ROW_REFUSED = 4000,  /* refused with an error */
    ROW_HAS_INIT = 5000, /* a process stands for init */
    NOTE_FILES = 777,    /* no row: a file operation; one that writes is done when `go` is set */
};

static struct shared {
    volatile unsigned creates, ends, looks;
    volatile int64_t ended_row;
    volatile uint64_t last_cpu_ns; /* what an end tells; 0: nothing */
    volatile bool end_dies;        /* the next one is killed when it has ended it */
    volatile bool go;
    volatile unsigned log_length;
    volatile int64_t log[64]; /* rows as they were begun (row) and done (-row) */
    volatile pid_t init;
    volatile uint32_t asker_uid, groups;
    volatile pid_t worker;
    volatile ino_t network; /* that the last one was given; 0: none */
    volatile bool mixed;    /* one was given the runtime of another */
} * shared;

/* Stands for a runtime. Each worker has a copy: what it is given are numbers of its own process. */
static struct runtime fake_runtime;

UNUSED static void note(int64_t what)
{
    unsigned at = __sync_fetch_and_add(&shared->log_length, 1);
    if (at < 64)
        shared->log[at] = what;
}

UNUSED static void nap(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

UNUSED static int64_t start_time_of(pid_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (io_read_at(AT_FDCWD, path, text, sizeof text) < 0)
        return 0;
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    long long start = 0;
    return at && sscanf(at, " %lld", &start) == 1 ? start : 0;
}

static struct session_identity fake_identity;

static ino_t inode_of(int fd)
{
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static int fake_create(struct session **ret, struct runtime *rt, const struct spec *spec,
                       const struct session_lasting *lasting, struct err *err)
{
    (void)spec;
    int64_t row = lasting->name.row;
    __sync_fetch_and_add(&shared->creates, 1);
    shared->asker_uid = lasting->asker_uid;
    shared->groups = lasting->asker_group_count;
    shared->worker = getpid();
    shared->network = inode_of(rt->netns);
    shared->mixed |= rt->reaper[0] != 0;
    rt->reaper[0] = 1; /* the next one does not see it */
    note(row);
    /* A process that lives: the launcher itself stands for init. */
    fake_identity = (struct session_identity){.boot_id = "boot",
                                              .cgroup_inode = row,
                                              .init_pid = getppid(),
                                              .init_start = start_time_of(getppid())};
    while (row >= ROW_SLOW && row < ROW_FOREVER && !shared->go)
        nap(2);
    while (row >= ROW_FOREVER && row < ROW_DIES)
        nap(1000);
    if (row >= ROW_DIES && row < ROW_REFUSED)
        kill(getpid(), SIGKILL);
    if (row >= ROW_REFUSED && row < ROW_HAS_INIT)
        return err_set(err, ERR_WORKSPACE_IN_USE, 0, "lock the volume", "x", "Somebody has it.");
    if (row >= ROW_HAS_INIT) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_NAME, "berth-fake-init");
            fd_keep_only(NULL, 0); /* as init's execve() does */
            for (;;)
                pause();
        }
        shared->init = pid;
        fake_identity.init_pid = pid;
        fake_identity.init_start = start_time_of(pid);
    }
    note(-row);
    *ret = (struct session *)&fake_identity;
    return 0;
}

static const struct session_effective *fake_effective(const struct session *s)
{
    (void)s;
    static const struct session_effective effective = {.spec_hash = "hash", .landlock_abi = 7};
    return &effective;
}

static unsigned fake_notes(const struct session *s, const struct session_note **ret)
{
    (void)s;
    static const struct session_note notes[] = {{"limits.memory", "There is none."}};
    *ret = notes;
    return 1;
}

static int fake_keep_netns(const struct session *s)
{
    (void)s;
    return -1;
}

static void fake_leave(struct session *s, struct session_identity *ret)
{
    (void)s;
    *ret = fake_identity;
}

static int fake_look(struct runtime *rt, const struct session_name *name,
                     const struct session_identity *expected, enum session_found *found,
                     struct session_identity *identity, int *pidfd, struct err *err)
{
    (void)rt;
    (void)name;
    (void)expected;
    (void)err;
    __sync_fetch_and_add(&shared->looks, 1);
    memset(identity, 0, sizeof *identity);
    *found = shared->init ? SESSION_FOUND_WHOLE : SESSION_FOUND_ABSENT;
    *pidfd = shared->init ? (int)syscall(SYS_pidfd_open, shared->init, 0) : -1;
    return 0;
}

static int fake_end(struct runtime *rt, const struct session_name *name, unsigned timeout_ms,
                    void (*tell)(void *, const char *, const char *), void *data,
                    struct launcher_last *last, struct err *err)
{
    *last = (struct launcher_last){.taken = shared->last_cpu_ns > 0,
                                   .sample = {.cpu_ns = shared->last_cpu_ns}};
    (void)rt;
    (void)timeout_ms;
    (void)err;
    shared->ended_row = name->row;
    __sync_fetch_and_add(&shared->ends, 1);
    note(name->row * 1000);
    tell(data, "protect.appeared", "Something appeared.");
    if (shared->init)
        kill(shared->init, SIGKILL);
    shared->init = 0;
    if (shared->end_dies) {
        shared->end_dies = false;
        raise(SIGKILL);
    }
    return 0;
}

static int fake_freeze(struct runtime *rt, const struct session_name *name, bool freeze,
                       unsigned timeout_ms, struct err *err)
{
    (void)rt;
    (void)freeze;
    (void)timeout_ms;
    (void)err;
    if (name->row >= ROW_DIES && name->row < ROW_REFUSED)
        kill(getpid(), SIGKILL);
    return 0;
}

static int fake_sample(struct runtime *rt, const struct session_name *name,
                       struct launcher_sample *ret, struct err *err)
{
    (void)rt;
    (void)name;
    (void)err;
    ret->pids = 3;
    return 0;
}

static unsigned fake_list_count;
static int fake_list(struct runtime *rt, const char *instance,
                     int (*each)(void *, const struct session_name *), void *data, struct err *err)
{
    (void)rt;
    (void)err;
    for (unsigned i = fake_list_count; i > 0; i--) {
        struct session_name name = {.row = 100 + i, .incarnation = 1};
        snprintf(name.instance, sizeof name.instance, "%s", instance);
        int r = each(data, &name);
        if (r < 0)
            return r;
    }
    return 0;
}

static int fake_files(struct runtime *rt, const struct spec *spec, uint32_t uid, uint32_t gid,
                      const uint32_t *groups, uint32_t group_count,
                      const struct files_request *request, int result_fd, int data_fd,
                      bool read_only, const struct session_name *name, struct err *err)
{
    (void)groups, (void)group_count, (void)name;
    (void)rt;
    (void)spec;
    (void)gid;
    (void)data_fd;
    (void)read_only;
    (void)err;
    shared->asker_uid = uid;
    note(NOTE_FILES);
    while (request->operation == FILES_WRITE && !shared->go)
        nap(2);
    note(-NOTE_FILES);
    return io_write_full(result_fd, &request->operation, sizeof request->operation);
}

static int fake_network(struct runtime *rt, const struct session_name *name,
                        const struct spec_network *given, uint64_t revision, uint32_t *ret_cut,
                        struct err *err)
{
    (void)rt;
    (void)given;
    if (name->row >= ROW_REFUSED && name->row < ROW_HAS_INIT)
        return err_set(err, ERR_INVALID_STATE, ESTALE, "replace the rules", NULL, NULL);
    *ret_cut = (uint32_t)revision;
    return 0;
}

static int fake_restore(struct runtime *rt, const struct session_name *name, struct err *err)
{
    (void)rt;
    (void)err;
    note(name->row * 100);
    return name->row >= ROW_REFUSED && name->row < ROW_HAS_INIT ? -EIO : 0;
}

static int fake_forget(struct runtime *rt, const struct session_name *name, struct err *err)
{
    (void)rt;
    (void)err;
    (void)name;
    return 0;
}

static int fake_connect(struct runtime *rt, const struct session_name *name, unsigned count,
                        struct err *err)
{
    (void)rt;
    (void)name;
    (void)count;
    (void)err;
    return 0;
}

static int fake_published(struct runtime *rt, const struct session_name *name,
                          struct launcher_published *ret, struct err *err)
{
    (void)rt;
    (void)name;
    (void)err;
    *ret = (struct launcher_published){.count = 1, .ports = {{8080, 3000}}};
    return 0;
}

UNUSED static const struct launcher_calls fakes = {
    .create = fake_create,
    .effective = fake_effective,
    .notes = fake_notes,
    .keep_netns = fake_keep_netns,
    .leave = fake_leave,
    .look = fake_look,
    .end = fake_end,
    .freeze = fake_freeze,
    .sample = fake_sample,
    .list = fake_list,
    .network = fake_network,
    .restore = fake_restore,
    .connect = fake_connect,
    .published = fake_published,
    .forget = fake_forget,
    .files = fake_files,
};

/* ---- a launcher
 * ------------------------------------------------------------------------------------ */

static char place[64];
static char instance[17]; /* names in the kernel are made of it: each test has its own */
static struct serve_config config;
static int front, life; /* this test's ends */
static pid_t launcher;
enum { EXIT_REFUSED = 3, EXIT_FAILED = 4, EXIT_CLOSED = 5 };
static unsigned workers_max;
static uint64_t generation;   /* 0: it takes its own */
static const char *init_path; /* real sessions */

UNUSED static void start_launcher(const struct launcher_calls *calls, struct runtime *rt)
{
    int pair[2], pipes[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
    launcher = fork();
    if (launcher == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pair[0]);
        close(pipes[1]);
        struct err err = {0};
        const struct launcher_options options = {.front = pair[1],
                                                 .supervisor = pipes[0],
                                                 .config = &config,
                                                 .calls = calls,
                                                 .runtime = rt,
                                                 .init_path = init_path,
                                                 .workers_max = workers_max,
                                                 .generation = generation};
        int r = launcher_main(&options, &err);
        char text[2048];
        err_format(&err, text, sizeof text);
        if (r < 0)
            fprintf(stderr, "launcher: %s\n", text);
        /* Nobody gave it this one to close. */
        if (fcntl(STDOUT_FILENO, F_GETFD) < 0)
            _exit(EXIT_CLOSED);
        _exit(r == 0                                           ? 0
              : err.sys == EPROTO || err.code == ERR_FORBIDDEN ? EXIT_REFUSED
                                                               : EXIT_FAILED);
    }
    close(pair[1]);
    close(pipes[0]);
    front = pair[0];
    life = pipes[1];
}

UNUSED static void start_fake(void)
{
    fake_runtime.netns = fake_runtime.session_netns = -1;
    network_ready_init(&fake_runtime.filled);
    start_launcher(&fakes, &fake_runtime);
}

/* Its exit status, or -1 when it does not end in time. */
UNUSED static int wait_launcher(unsigned ms)
{
    for (unsigned at = 0; at <= ms * test_slower(); at += 5) {
        int status;
        if (waitpid(launcher, &status, WNOHANG) == launcher) {
            launcher = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        nap(5);
    }
    return -1;
}

UNUSED static void stop_launcher(void)
{
    fd_replace(&front, -1);
    fd_replace(&life, -1);
    if (launcher)
        cr_expect_eq(wait_launcher(5000), 0);
    cr_expect_not(shared->mixed, "numbers of another worker's descriptors were closed");
}

UNUSED static void fixture(void)
{
    front = life = -1;
    snprintf(instance, sizeof instance, "%08x%08x", (unsigned)getpid(), (unsigned)time(NULL));
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(shared, MAP_FAILED);
    /* What outlives its launcher is ours to wait for. */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    snprintf(place, sizeof place, "/tmp/berth-test-XXXXXX");
    cr_assert_not_null(mkdtemp(place));
    chmod(place, 0755);
    config = (struct serve_config){.version = SERVE_CONFIG_VERSION,
                                   .size = sizeof config,
                                   .front_uid = 64001,
                                   .front_gid = 64001,
                                   .socket_gid = UINT32_MAX,
                                   .sessions_max = 1000};
    /* The ends of socket pairs stand for sockets that were accepted: all have no name. */
    config.listen_length = sizeof(sa_family_t);
    const sa_family_t family = AF_UNIX;
    memcpy(config.listen_address, &family, sizeof family);
    snprintf(config.state_dir, sizeof config.state_dir, "%s/state", place);
    snprintf(config.runtime_dir, sizeof config.runtime_dir, "%s/run", place);
    cr_assert_eq(mkdir(config.state_dir, 0711), 0);
    cr_assert_eq(mkdir(config.runtime_dir, 0711), 0);
}

UNUSED static void fixture_end(void)
{
    char command[128];
    fd_close(front);
    fd_close(life);
    /* Whatever is this process's child was started by this test. */
    do {
        char children[4096] = "", *at = children;
        snprintf(command, sizeof command, "/proc/self/task/%ld/children", syscall(SYS_gettid));
        io_read_at(AT_FDCWD, command, children, sizeof children);
        for (long pid; (pid = strtol(at, &at, 10)) > 0;)
            kill((pid_t)pid, SIGKILL);
        nap(5);
    } while (waitpid(-1, NULL, WNOHANG) >= 0 || errno == EINTR);
    snprintf(command, sizeof command, "rm -rf --one-file-system %s", place);
    cr_expect_eq(system(command), 0); /* NOLINT: a literal and a mkdtemp name */
}

/* ---- frames
 * ---------------------------------------------------------------------------------------- */

UNUSED static struct launcher_request request_of(unsigned type, int64_t row)
{
    static uint64_t ticket;
    struct launcher_request r = {.magic = LAUNCHER_MAGIC,
                                 .version = LAUNCHER_VERSION,
                                 .type = (uint16_t)type,
                                 .ticket = ++ticket,
                                 .row = row,
                                 .incarnation = 1,
                                 .generation = type == LAUNCHER_LAUNCH || type == LAUNCHER_NETWORK};
    strcpy(r.instance, instance);
    return r;
}

UNUSED static int send_raw(const void *data, size_t length, const int *fds, unsigned count,
                           int flags)
{
    char room[CMSG_SPACE(sizeof(int) * 64)] __attribute__((aligned(8))) = {0};
    struct iovec part = {(void *)(uintptr_t)data, length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count) {
        message.msg_control = room;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
    }
    return sendmsg(front, &message, MSG_NOSIGNAL | flags) < 0 ? -errno : 0;
}

UNUSED static void ask(const struct launcher_request *r, const int *fds, unsigned count)
{
    cr_assert_eq(send_raw(r, sizeof *r, fds, count, 0), 0);
}

/* 1 a reply, 0 the connection has ended, -1 nothing in time: in less than a second where nothing is
 * what is expected. */
UNUSED static int hear(struct launcher_reply *ret, int ms)
{
    struct pollfd p = {.fd = front, .events = POLLIN};
    if (poll(&p, 1, ms < 1000 ? ms : ms * (int)test_slower()) != 1)
        return -1;
    ssize_t n = recv(front, ret, sizeof *ret, 0);
    if (n <= 0)
        return 0;
    const char *wrong = launcher_reply_check(ret, (size_t)n);
    cr_assert_null(wrong, "%s", wrong);
    return 1;
}

UNUSED static int sealed(const void *data, size_t length, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert_eq(io_write_full(fd, data, length), 0);
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

UNUSED static struct spec *plain_spec(void)
{
    static struct spec spec;
    spec_init(&spec);
    strcpy(spec.workspace_id, "local");
    strcpy(spec.session_id, "s");
    strcpy(spec.workspace.mount_path, "/workspace");
    spec.image.kind = SPEC_IMAGE_HOST;
    spec.network.egress = SPEC_EGRESS_DENY;
    spec.process.seccomp = SPEC_SECCOMP_DEFAULT;
    spec.process.uid = spec.process.gid = SPEC_UID_USER;
    spec.limits.scratch_bytes = 64 << 20;
    spec.limits.scratch_inodes = 10000;
    spec.limits.open_files = 1024;
    return &spec;
}

UNUSED static void ask_launch(int64_t row, const struct spec *spec, int client)
{
    struct launcher_request r = request_of(LAUNCHER_LAUNCH, row);
    int fds[2] = {sealed(spec, sizeof *spec, ALL_SEALS), client};
    ask(&r, fds, client >= 0 ? 2 : 1);
    close(fds[0]);
}
