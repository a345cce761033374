/* This file is the host's side of attacks: it listens where a session must not come, and gives a
 * command a terminal or a socket. It never runs inside a session.
 *
 *     hostside loopback                 brings lo up in this network namespace
 *     hostside listen SPEC…             abstract:NAME path:PATH tcp:PORT udp:PORT; prints READY,
 * then one line `reached SPEC` per peer; ends on SIGTERM hostside pty SECONDS COMMAND…     runs it
 * with a terminal of its own, standard input typed into it; at the end prints `typed: TEXT` for
 * what waits unread in the terminal's input queue hostside socket COMMAND…          runs it with
 * one end of a stream socket as 0, 1 and 2 hostside datagram COMMAND…        the same with a
 * datagram socket hostside opath PATH COMMAND…      runs it with an O_PATH descriptor as standard
 * input
 */
#include "try.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

enum { SPECS_MAX = 32 };

static int fail(const char *what)
{
    fprintf(stderr, "hostside: %s: %s\n", what, strerrorname_np(errno));
    return 2;
}

static int loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        return fail("lo");
    close(fd);
    return 0;
}

static int open_listener(const char *spec)
{
    const char *rest = strchr(spec, ':');
    if (!rest)
        return -1;
    rest++;
    int fd = -1;
    if (strncmp(spec, "tcp:", 4) == 0 || strncmp(spec, "udp:", 4) == 0) {
        bool tcp = spec[0] == 't';
        struct sockaddr_in6 any = {.sin6_family = AF_INET6,
                                   .sin6_port = htons((uint16_t)strtoul(rest, NULL, 10))};
        fd = socket(AF_INET6, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) < 0)
            return -1;
        return tcp && listen(fd, 16) < 0 ? -1 : fd;
    }
    bool abstract = strncmp(spec, "abstract:", 9) == 0;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t n = strnlen(rest, sizeof address.sun_path - 2);
    memcpy(address.sun_path + (abstract ? 1 : 0), rest, n);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    if (!abstract)
        unlink(rest);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 16) < 0)
        return -1;
    return fd;
}

static int listen_all(int count, char **specs)
{
    struct pollfd polls[SPECS_MAX];
    if (count > SPECS_MAX)
        return 2;
    for (int i = 0; i < count; i++) {
        polls[i] = (struct pollfd){.fd = open_listener(specs[i]), .events = POLLIN};
        if (polls[i].fd < 0)
            return fail(specs[i]);
    }
    printf("READY\n");
    for (;;) {
        if (poll(polls, (nfds_t)count, -1) < 0)
            return fail("poll");
        for (int i = 0; i < count; i++)
            if (polls[i].revents) {
                char byte;
                int peer = accept4(polls[i].fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (peer >= 0)
                    close(peer);
                else if (recv(polls[i].fd, &byte, 1, MSG_DONTWAIT) < 0)
                    continue;
                printf("reached %s\n", specs[i]);
            }
    }
}

static int exit_status(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Copy what is there; false at the end of the source. */
static bool relay(int from, int to)
{
    char block[4096];
    ssize_t n = read(from, block, sizeof block);
    return n > 0 && write(to, block, (size_t)n) == n;
}

static int run_on_pty(long seconds, char **command)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        return fail("pty");
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct winsize size = {.ws_row = 33, .ws_col = 77};
    if (slave < 0 || ioctl(slave, TIOCSWINSZ, &size) < 0)
        return fail("pty slave");
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        if (ioctl(slave, TIOCSCTTY, 0) < 0)
            _exit(2);
        for (int fd = 0; fd < 3; fd++)
            dup2(slave, fd);
        execvp(command[0], command);
        _exit(127);
    }
    int64_t end = try_now_ms() + seconds * 1000;
    int status = 0;
    bool input = true, done = false;
    while (!done && try_now_ms() < end) {
        struct pollfd polls[2] = {{.fd = master, .events = POLLIN},
                                  {.fd = input ? 0 : -1, .events = POLLIN}};
        poll(polls, 2, 50);
        if (polls[0].revents & POLLIN)
            relay(master, 1);
        if (polls[1].revents)
            input = relay(0, master);
        done = waitpid(pid, &status, WNOHANG) == pid;
    }
    if (!done) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    fcntl(master, F_SETFL, O_NONBLOCK);
    while (relay(master, 1))
        ;
    char typed[256];
    fcntl(slave, F_SETFL, O_NONBLOCK);
    ssize_t n = read(slave, typed, sizeof typed - 1);
    printf("\ntyped: %.*s\n", n > 0 ? (int)n : 0, typed);
    return done ? exit_status(status) : 124;
}

static int run_on_socket(int type, char **command)
{
    int pair[2];
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
        return fail("socketpair");
    pid_t pid = fork();
    if (pid == 0) {
        for (int fd = 0; fd < 3; fd++)
            dup2(pair[1], fd);
        execvp(command[0], command);
        _exit(127);
    }
    close(pair[1]);
    shutdown(pair[0], SHUT_WR);
    int status = 0;
    if (type == SOCK_STREAM) {
        while (relay(pair[0], 1))
            ;
        waitpid(pid, &status, 0);
    } else {
        waitpid(pid, &status, 0);
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
        while (relay(pair[0], 1))
            ;
    }
    return exit_status(status);
}

static int run_with_opath(const char *path, char **command)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 || dup2(fd, 0) < 0)
        return fail(path);
    execvp(command[0], command);
    return 127;
}

/* A shell that looks at each process is slower than a fork bomb. */
static int count_foreign(void)
{
    char own[64] = "", path[64], other[64];
    unsigned count = 0;
    if (readlink("/proc/self/ns/pid", own, sizeof own - 1) < 0)
        return fail("/proc/self/ns/pid");
    DIR *dir = opendir("/proc");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        snprintf(path, sizeof path, "/proc/%.20s/ns/pid", entry->d_name);
        ssize_t n = readlink(path, other, sizeof other - 1);
        if (n <= 0)
            continue;
        other[n] = 0;
        count += strcmp(own, other) != 0;
    }
    if (dir)
        closedir(dir);
    printf("%u\n", count);
    return 0;
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(kind, "loopback") == 0)
        return loopback_up();
    if (strcmp(kind, "count") == 0)
        return count_foreign();
    if (strcmp(kind, "listen") == 0)
        return listen_all(argc - 2, argv + 2);
    if (strcmp(kind, "pty") == 0 && argc > 3)
        return run_on_pty(strtol(argv[2], NULL, 10), argv + 3);
    if (strcmp(kind, "socket") == 0 && argc > 2)
        return run_on_socket(SOCK_STREAM, argv + 2);
    if (strcmp(kind, "datagram") == 0 && argc > 2)
        return run_on_socket(SOCK_DGRAM, argv + 2);
    if (strcmp(kind, "opath") == 0 && argc > 3)
        return run_with_opath(argv[2], argv + 3);
    fprintf(stderr, "hostside: no such kind\n");
    return 2;
}
