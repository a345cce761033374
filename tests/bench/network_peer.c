/* This file is both ends of what tests/bench/network measures: a server to talk to, a client that
 * does what it is told line by line and tells how long that took, and a crowd that asks DNS; it
 * never judges a number.
 *
 *     network_peer serve          says "netns", waits for a line, serves, says "ready"
 *     network_peer agent          one line of words in, one line out:
 *         connect ADDRESS PORT COUNT     each: connect, a byte there and back; microseconds or "x"
 *         named SERVER NAME PORT COUNT   each: first asks SERVER for the address
 *         pull ADDRESS PORT MS, push     bytes and microseconds of one stream
 *         hold ADDRESS PORT COUNT        connections that stay, a byte through each: how many
 *         drop                           closes them
 *     network_peer flood MS SOCKETS NAMES PID…   questions for h0.example … by SOCKETS in the
 * network of each process: answers, others, microseconds
 *
 * What goes wrong in the bench itself ends it; a connection that fails is told.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PORT_ECHO = 7000,
    PORT_SOURCE,
    PORT_SINK,
    PORT_DNS = 53,
    CHUNK = 256 * 1024,
    HELD_MAX = 32768,
    PATIENCE_S = 10,
};

#define SERVED "93.184.215.14"

static void die(const char *what)
{
    fprintf(stderr, "network_peer: %s: %s\n", what, strerror(errno));
    exit(2);
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static struct sockaddr_in place(const char *address, unsigned port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, address, &in.sin_addr) != 1) {
        errno = EINVAL;
        die(address);
    }
    return in;
}

/* ---- questions --------------------------------------------------------------------------------
 */

/* One question for the A record of a name; its length. */
static size_t question(uint8_t out[300], uint16_t id, const char *name)
{
    static const uint8_t rest[] = {1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
    size_t at = 12;
    out[0] = (uint8_t)(id >> 8);
    out[1] = (uint8_t)id;
    memcpy(out + 2, rest, sizeof rest);
    while (*name && at < 200) {
        size_t n = strcspn(name, ".");
        if (n > 63)
            n = 63;
        out[at++] = (uint8_t)n;
        memcpy(out + at, name, n);
        at += n;
        name += n + (name[n] == '.');
    }
    memcpy(out + at, (const uint8_t[]){0, 0, 1, 0, 1}, 5);
    return at + 5;
}

/* NOERROR with one record of four bytes at its end, as both who answer here write it. */
static bool is_answer(const uint8_t *bytes, size_t length)
{
    return length >= 33 && (bytes[2] & 0x80) && (bytes[3] & 0x0f) == 0 && bytes[7] == 1;
}

/* Every A question has the same answer; every other question an empty one. */
static void answer_question(int fd)
{
    uint8_t bytes[600];
    struct sockaddr_in from;
    socklen_t from_length = sizeof from;
    ssize_t n = recvfrom(fd, bytes, 512, 0, (struct sockaddr *)&from, &from_length);
    size_t at = 12;
    while (n > 0 && at < (size_t)n && bytes[at])
        at += 1u + bytes[at];
    if (n < 0 || at + 5 > (size_t)n)
        return;
    bool wanted = bytes[at + 2] == 1;
    at += 5;
    memcpy(bytes + 2, (const uint8_t[]){0x81, 0x80, 0, 1, 0, wanted, 0, 0, 0, 0}, 10);
    if (wanted) {
        struct in_addr served = place(SERVED, 0).sin_addr;
        memcpy(bytes + at, (const uint8_t[]){0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4}, 12);
        memcpy(bytes + at + 12, &served, 4);
        at += 16;
    }
    (void)sendto(fd, bytes, at, MSG_DONTWAIT, (const struct sockaddr *)&from, from_length);
}

/* ---- the server -------------------------------------------------------------------------------
 */

static int listen_on(unsigned port, int type)
{
    struct sockaddr_in in = place(SERVED, port); /* answers of UDP come from there */
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (const struct sockaddr *)&in, sizeof in) < 0 ||
        (type == SOCK_STREAM && listen(fd, 4096) < 0))
        die("listen");
    return fd;
}

static void *give(void *argument)
{
    static const char bytes[CHUNK];
    int fd = (int)(intptr_t)argument;
    while (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0)
        ;
    close(fd);
    return NULL;
}

/* Until the other end says that it was all; then how much. */
static void *take(void *argument)
{
    int fd = (int)(intptr_t)argument;
    uint64_t total = 0;
    char *bytes = malloc(CHUNK);
    if (!bytes)
        die("memory");
    ssize_t n;
    while ((n = recv(fd, bytes, CHUNK, 0)) > 0)
        total += (uint64_t)n;
    (void)!send(fd, &total, sizeof total, MSG_NOSIGNAL);
    free(bytes);
    close(fd);
    return NULL;
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("watch");
}

static void start_stream(int listener, void *(*work)(void *))
{
    pthread_t thread;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if ((errno = pthread_create(&thread, NULL, work, (void *)(intptr_t)fd)) != 0)
        die("a thread");
    pthread_detach(thread);
}

static void echo(int fd)
{
    char bytes[512];
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || send(fd, bytes, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
        close(fd);
}

static int serve(void)
{
    char line[8];
    puts("netns");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 2;
    int epoll = epoll_create1(EPOLL_CLOEXEC), accepting = listen_on(PORT_ECHO, SOCK_STREAM),
        giving = listen_on(PORT_SOURCE, SOCK_STREAM), taking = listen_on(PORT_SINK, SOCK_STREAM),
        names = listen_on(PORT_DNS, SOCK_DGRAM);
    for (int i = 0, fds[] = {accepting, giving, taking, names, 0}; i < 5; i++)
        watch(epoll, fds[i]);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == 0)
                return 0; /* who started it has gone */
            if (fd == names) {
                answer_question(fd);
            } else if (fd == giving || fd == taking) {
                start_stream(fd, fd == giving ? give : take);
            } else if (fd == accepting) {
                int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
                if (accepted >= 0)
                    watch(epoll, accepted);
            } else {
                echo(fd);
            }
        }
    }
}

/* ---- the agent --------------------------------------------------------------------------------
 */

static int open_to(const struct sockaddr_in *to, int type)
{
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0 &&
        connect(fd, (const struct sockaddr *)to, sizeof *to) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool echoes(int fd)
{
    char byte = 'b';
    return fd >= 0 && send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1;
}

/* The address that `server` has for a name. */
static bool look_up(const struct sockaddr_in *server, const char *name, struct in_addr *ret)
{
    uint8_t bytes[600];
    static uint16_t id;
    int fd = open_to(server, SOCK_DGRAM);
    size_t length = question(bytes, ++id, name);
    ssize_t n = -1;
    if (fd >= 0 && send(fd, bytes, length, 0) == (ssize_t)length)
        n = recv(fd, bytes, sizeof bytes, 0);
    if (fd >= 0)
        close(fd);
    if (n < 0 || !is_answer(bytes, (size_t)n))
        return false;
    memcpy(ret, bytes + length + 12, sizeof *ret);
    return true;
}

static void connect_often(struct sockaddr_in to, const char *server, const char *name, long count)
{
    struct sockaddr_in asked = server ? place(server, PORT_DNS) : to;
    for (long i = 0; i < count; i++) {
        double begin = now_us();
        bool good = !name || look_up(&asked, name, &to.sin_addr);
        int fd = good ? open_to(&to, SOCK_STREAM) : -1;
        good = echoes(fd);
        double end = now_us();
        if (fd >= 0)
            close(fd);
        if (good)
            printf("%.1f ", end - begin);
        else
            printf("x ");
    }
    printf("\n");
}

static void pull(int fd, char *bytes, double us)
{
    double begin = 0, end = 0;
    uint64_t total = 0;
    ssize_t n;
    /* What lay ready when the first came is of before. */
    while ((n = recv(fd, bytes, CHUNK, 0)) > 0) {
        end = now_us();
        if (begin > 0)
            total += (uint64_t)n;
        else
            begin = end;
        if (end - begin >= us)
            break;
    }
    printf("%llu %.0f\n", (unsigned long long)total, end - begin);
}

static void push(int fd, char *bytes, double us)
{
    double begin = now_us();
    uint64_t total = 0;
    while (now_us() - begin < us && send(fd, bytes, CHUNK, MSG_NOSIGNAL) > 0)
        ;
    /* What the other end has had, when it has had it all. */
    if (shutdown(fd, SHUT_WR) < 0 || recv(fd, &total, sizeof total, MSG_WAITALL) != sizeof total)
        total = 0;
    printf("%llu %.0f\n", (unsigned long long)total, now_us() - begin);
}

static void stream(struct sockaddr_in to, void (*work)(int, char *, double), double us)
{
    int fd = open_to(&to, SOCK_STREAM);
    char *bytes = calloc(1, CHUNK);
    if (!bytes)
        die("memory");
    if (fd >= 0)
        work(fd, bytes, us);
    else
        printf("0 1\n");
    if (fd >= 0)
        close(fd);
    free(bytes);
}

static int held[HELD_MAX];
static long held_count;

static void hold(struct sockaddr_in to, long count)
{
    int failed = 0;
    for (long i = 0; i < count && held_count < HELD_MAX && failed == 0; i++) {
        int fd = open_to(&to, SOCK_STREAM);
        if (echoes(fd))
            held[held_count++] = fd;
        else
            failed = errno ? errno : ECONNRESET;
    }
    printf("%ld %s\n", held_count, failed ? strerror(failed) : "");
}

static void drop(void)
{
    while (held_count > 0)
        close(held[--held_count]);
    printf("0\n");
}

static int obey(char *line)
{
    char *words[6] = {NULL}, *rest = NULL;
    int count = 0;
    for (char *w = strtok_r(line, " \n", &rest); w && count < 6; w = strtok_r(NULL, " \n", &rest))
        words[count++] = w;
    if (count == 1 && strcmp(words[0], "drop") == 0) {
        drop();
        return 0;
    }
    if (count == 5 && strcmp(words[0], "named") == 0) {
        connect_often(place("0.0.0.0", (unsigned)atoi(words[3])), words[1], words[2],
                      atol(words[4]));
        return 0;
    }
    if (count != 4)
        return -1;
    struct sockaddr_in to = place(words[1], (unsigned)atoi(words[2]));
    long number = atol(words[3]);
    if (strcmp(words[0], "connect") == 0)
        connect_often(to, NULL, NULL, number);
    else if (strcmp(words[0], "hold") == 0)
        hold(to, number);
    else if (strcmp(words[0], "pull") == 0)
        stream(to, pull, (double)number * 1e3);
    else if (strcmp(words[0], "push") == 0)
        stream(to, push, (double)number * 1e3);
    else
        return -1;
    return 0;
}

static int agent(void)
{
    char line[256];
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        errno = EINVAL;
        if (obey(line) < 0)
            die("a line");
        fflush(stdout);
    }
    return 0;
}

/* ---- the crowd --------------------------------------------------------------------------------
 */

enum { WINDOW = 48, ASKED_MS = 300, SOCKETS_MAX = 8192 };

static struct asker {
    int fd;
    double heard_us;
} askers[SOCKETS_MAX];
static unsigned asker_count, names_count;

static void ask(const struct asker *asker, unsigned count)
{
    static uint8_t bytes[WINDOW][300];
    static struct iovec parts[WINDOW];
    static struct mmsghdr messages[WINDOW];
    static uint16_t id;
    char name[32];
    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof name, "h%u.example", ++id % names_count);
        parts[i] = (struct iovec){bytes[i], question(bytes[i], id, name)};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    (void)sendmmsg(asker->fd, messages, count, MSG_DONTWAIT);
}

/* How many there were, and of these the ones that are no answer. */
static unsigned hear(struct asker *asker, unsigned *ret_others)
{
    static uint8_t bytes[WINDOW][600];
    static struct iovec parts[WINDOW];
    static struct mmsghdr messages[WINDOW];
    for (unsigned i = 0; i < WINDOW; i++) {
        parts[i] = (struct iovec){bytes[i], sizeof bytes[i]};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    int n = recvmmsg(asker->fd, messages, WINDOW, MSG_DONTWAIT, NULL);
    *ret_others = 0;
    for (int i = 0; i < n; i++)
        *ret_others += !is_answer(bytes[i], messages[i].msg_len);
    asker->heard_us = now_us();
    return n > 0 ? (unsigned)n : 0;
}

static void open_askers(int epoll, const char *pid, unsigned sockets)
{
    char path[64];
    struct sockaddr_in to = place("198.51.100.53", PORT_DNS);
    snprintf(path, sizeof path, "/proc/%s/ns/net", pid);
    int netns = open(path, O_RDONLY | O_CLOEXEC);
    if (netns < 0 || setns(netns, CLONE_NEWNET) < 0)
        die("enter a session's network");
    close(netns);
    for (unsigned i = 0; i < sockets && asker_count < SOCKETS_MAX; i++) {
        struct asker *asker = &askers[asker_count++];
        asker->fd = open_to(&to, SOCK_DGRAM);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = asker};
        if (asker->fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, asker->fd, &event) < 0)
            die("ask inside");
    }
}

static int flood(double us, unsigned sockets, char **pids)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (; *pids; pids++)
        open_askers(epoll, *pids, sockets);
    double begin = now_us(), looked = begin, counted = 0, now = begin;
    uint64_t answers = 0, others = 0;
    for (unsigned i = 0; i < asker_count; i++)
        ask(&askers[i], WINDOW);
    while (now - begin < us + ASKED_MS * 1e3) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, 50);
        now = now_us();
        /* The first moments count for nobody. */
        if (counted == 0 && now - begin >= ASKED_MS * 1e3) {
            counted = now;
            answers = others = 0;
        }
        for (int i = 0; i < n; i++) {
            unsigned other, heard = hear(events[i].data.ptr, &other);
            answers += heard - other;
            others += other;
            ask(events[i].data.ptr, heard);
        }
        if (now - looked < ASKED_MS * 1e3)
            continue;
        looked = now;
        for (unsigned i = 0; i < asker_count; i++) /* what was dropped is asked again */
            if (now - askers[i].heard_us > ASKED_MS * 1e3)
                ask(&askers[i], WINDOW);
    }
    printf("%llu %llu %.0f\n", (unsigned long long)answers, (unsigned long long)others,
           now - counted);
    return 0;
}

int main(int argc, char **argv)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (argc == 2 && strcmp(argv[1], "serve") == 0)
        return serve();
    if (argc == 2 && strcmp(argv[1], "agent") == 0)
        return agent();
    if (argc > 5 && strcmp(argv[1], "flood") == 0) {
        names_count = (unsigned)atoi(argv[4]);
        return flood(atof(argv[2]) * 1e3, (unsigned)atoi(argv[3]), argv + 5);
    }
    fputs("network_peer: serve, agent, or flood MS SOCKETS NAMES PID...\n", stderr);
    return 2;
}
