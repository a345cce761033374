/* This file is an init that was taken over: from the host's side, with a real init's own
 * descriptors, it says to front what no init of ours says. It needs the rights to look into that
 * process, never runs inside a session and never decides whether front came to harm.
 *
 *     possess PID garbage         bytes that are no frame
 *     possess PID huge            a frame that says to be four thousand million bytes long
 *     possess PID half            half a frame, and no more
 *     possess PID order           an end of a command that it does not have
 *     possess PID started         a start of the command that it has, again and again
 *     possess PID endless         frames that are right, without end
 *     possess PID linger SECONDS  a socket that stalls who closes it for so long, and then garbage
 *     possess PID spool BYTES     so many more of them in each spool that it has
 *     possess PID ruin            what stands in its spools is overwritten
 *     possess PID table ROWS      waits for the next front and tells it of so many commands
 *
 * init itself is stopped meanwhile, and goes on when this ends. `linger` and `table` hold what they
 * have until they are told to end: front sees the end of init's pipe with theirs.
 */
#include "try.h"

#include "runtime/agent/protocol.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

enum { WAIT_S = 20, FDS_MAX = 64 };

static pid_t init_pid;
static int frames = -1, control = -1, listening = -1, spools[FDS_MAX], spool_count;
static uint64_t exec_number;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "possess: %s: %s\n", what, strerrorname_np(errno));
    kill(init_pid, SIGCONT);
    exit(2);
}

static void let_go(int signo)
{
    kill(init_pid, SIGCONT);
    _exit(signo != SIGTERM);
}

static _Noreturn void hold(void)
{
    for (;;)
        pause();
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- what it holds ------------------------------------------------------------------------------
 */

static void take_socket(int pidfd, int fd)
{
    int got = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0), listens = 0;
    socklen_t size = sizeof listens;
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    if (got < 0)
        fail("take a socket");
    getsockopt(got, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
    if (listens)
        listening = got;
    else if (getpeername(got, (struct sockaddr *)&peer, &length) == 0)
        control = got;
}

static void take_descriptors(void)
{
    char path[64], link[4096];
    snprintf(path, sizeof path, "/proc/%d/fd", init_pid);
    DIR *dir = opendir(path);
    int pidfd = (int)syscall(SYS_pidfd_open, init_pid, 0);
    if (!dir || pidfd < 0)
        fail("look at its descriptors");
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat own;
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof link - 1);
        if (n < 0)
            continue;
        link[n] = 0;
        if (strncmp(link, "socket:", 7) == 0)
            take_socket(pidfd, atoi(entry->d_name));
        if (strstr(link, "/spool/") && spool_count < FDS_MAX)
            spools[spool_count++] = openat(dirfd(dir), entry->d_name, O_RDWR | O_CLOEXEC);
        /* The link's own mode tells how it is open. */
        if (strncmp(link, "pipe:", 5) == 0 &&
            fstatat(dirfd(dir), entry->d_name, &own, AT_SYMLINK_NOFOLLOW) == 0 &&
            (own.st_mode & 0600) == 0200)
            frames = openat(dirfd(dir), entry->d_name, O_WRONLY | O_CLOEXEC);
    }
    closedir(dir);
    close(pidfd);
    if (frames < 0 || control < 0 || listening < 0) {
        errno = ENOENT;
        fail("find what it speaks through");
    }
    if (spool_count > 0)
        /* struct spool_header: magic, version, size, segments, then the number. */
        (void)!pread(spools[0], &exec_number, sizeof exec_number, 16);
}

/* ---- what it says -------------------------------------------------------------------------------
 */

static int say_all(const void *data, size_t length)
{
    const char *at = data;
    for (double end = now() + WAIT_S; length > 0 && now() < end;) {
        ssize_t n = write(frames, at, length);
        if (n < 0 && errno == EAGAIN) {
            poll(&(struct pollfd){.fd = frames, .events = POLLOUT}, 1, 100);
            continue;
        }
        if (n < 0)
            return -1;
        at += n;
        length -= (size_t)n;
    }
    return length > 0 ? -1 : 0;
}

static int say(enum agent_frame_type type, uint64_t exec, uint64_t seq, const void *payload,
               uint32_t length)
{
    unsigned char bytes[sizeof(struct agent_frame) + 512];
    const struct agent_frame frame = {.magic = AGENT_MAGIC,
                                      .version = AGENT_VERSION,
                                      .type = (uint16_t)type,
                                      .length = length,
                                      .exec = exec,
                                      .seq = seq};
    memcpy(bytes, &frame, sizeof frame);
    memcpy(bytes + sizeof frame, payload, length);
    return say_all(bytes, sizeof frame + length);
}

static void garbage(void)
{
    char bytes[4096];
    memset(bytes, 'x', sizeof bytes);
    say_all(bytes, sizeof bytes);
}

static void huge(void)
{
    const struct agent_frame frame = {.magic = AGENT_MAGIC,
                                      .version = AGENT_VERSION,
                                      .type = AGENT_FRAME_DATA,
                                      .length = UINT32_MAX,
                                      .stream = AGENT_STDOUT,
                                      .exec = exec_number,
                                      .seq = 1};
    say_all(&frame, sizeof frame);
}

static unsigned started_again(void)
{
    const struct agent_started started = {.pid = 2};
    unsigned told = 0;
    for (double end = now() + WAIT_S; now() < end; told++)
        if (say(AGENT_FRAME_STARTED, exec_number, 0, &started, sizeof started) < 0)
            break;
    return told;
}

static unsigned endless(void)
{
    unsigned told = 0;
    for (double end = now() + WAIT_S; now() < end; told++)
        if (say(AGENT_FRAME_PONG, 1, 0, NULL, 0) < 0)
            break;
    return told;
}

/* A connection whose data nobody takes: its last close() waits for `seconds`. The other end stays
 * open and unread, for as long as this program lives. */
static int lingering(int seconds)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const struct linger linger = {.l_onoff = 1, .l_linger = seconds};
    static char block[1 << 16];
    int at = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(at, (struct sockaddr *)&address, sizeof address) < 0 || listen(at, 1) < 0 ||
        getsockname(at, (struct sockaddr *)&address, &length) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("make a socket that lingers");
    if (accept4(at, NULL, NULL, SOCK_CLOEXEC) < 0)
        fail("accept a socket that lingers");
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    while (send(fd, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
    close(at);
    return fd;
}

static void hand_out(int seconds)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } space = {0};
    char byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &space,
                             .msg_controllen = sizeof space.room};
    int fd = lingering(seconds);
    space.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&space.header), &fd, sizeof fd);
    if (sendmsg(control, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        const struct linger none = {.l_onoff = 1, .l_linger = 0};
        try_denied("hand_out", errno);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    } else {
        try_succeeded("hand_out", "a socket that lingers for %d s", seconds);
    }
    close(fd); /* its last descriptor is the one under way now */
}

/* ---- what it writes -----------------------------------------------------------------------------
 */

static void grow(uint64_t bytes)
{
    static char block[1 << 20];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < spool_count; i++)
        for (uint64_t at = 0; at < bytes; at += sizeof block)
            if (pwrite(spools[i], block, sizeof block, (off_t)((1u << 30) + at)) < 0)
                fail("write to its spool");
    printf("wrote %llu bytes to each of %d\n", (unsigned long long)bytes, spool_count);
}

static void ruin(void)
{
    char bytes[65536];
    memset(bytes, 0xa5, sizeof bytes);
    for (int i = 0; i < spool_count; i++)
        if (pwrite(spools[i], bytes, sizeof bytes, 0) < 0)
            fail("write to its spool");
}

/* ---- what it tells a front that is new ----------------------------------------------------------
 */

static void table(unsigned rows)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } space = {0};
    struct agent_message message;
    struct iovec part = {&message, sizeof message};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = &space,
                            .msg_controllen = sizeof space.room};
    printf("waiting\n");
    if (poll(&(struct pollfd){.fd = listening, .events = POLLIN}, 1, WAIT_S * 1000) != 1)
        fail("wait for a front");
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || recvmsg(fd, &header, MSG_CMSG_CLOEXEC) != sizeof message ||
        space.header.cmsg_type != SCM_RIGHTS)
        fail("hear a front");
    memcpy(&frames, CMSG_DATA(&space.header), sizeof frames);
    say(AGENT_FRAME_HELLO, 0, rows, NULL, 0);
    for (uint64_t i = 1; i <= rows; i++) {
        struct agent_table_row row = {.exec = i << 40, .state = AGENT_ROW_RUNNING, .pid = 1};
        if (say(AGENT_FRAME_TABLE, row.exec, 0, &row, sizeof row) < 0)
            break;
    }
    hold();
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    try_begin();
    init_pid = (pid_t)strtol(argv[1], NULL, 10);
    if (init_pid <= 1) /* kill() takes these for groups */
        return 2;
    signal(SIGTERM, let_go);
    const char *how = argv[2];
    kill(init_pid, SIGSTOP);
    take_descriptors();
    if (strcmp(how, "garbage") == 0)
        garbage();
    else if (strcmp(how, "huge") == 0)
        huge();
    else if (strcmp(how, "half") == 0)
        say_all("htrb", 4);
    else if (strcmp(how, "order") == 0)
        say(AGENT_FRAME_EXIT, exec_number + (UINT64_C(9) << 40), 1,
            &(struct agent_exit){.reason = AGENT_REASON_EXIT}, sizeof(struct agent_exit));
    else if (strcmp(how, "started") == 0)
        printf("told %u times\n", started_again());
    else if (strcmp(how, "endless") == 0)
        printf("told %u times\n", endless());
    else if (strcmp(how, "linger") == 0 && argc == 4) {
        hand_out(atoi(argv[3]));
        garbage();
        hold();
    } else if (strcmp(how, "spool") == 0 && argc == 4)
        grow(strtoull(argv[3], NULL, 10));
    else if (strcmp(how, "ruin") == 0)
        ruin();
    else if (strcmp(how, "table") == 0 && argc == 4)
        table((unsigned)strtoul(argv[3], NULL, 10));
    else
        return 2;
    kill(init_pid, SIGCONT);
    return try_end("possess");
}
