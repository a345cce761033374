/* This file is an attack program: a client of berth's socket that means harm, and the plain client
 * of the test around it. It never runs inside a session and knows nothing of the ledger.
 *
 *     client SOCKET ask METHOD TARGET [BODY]         prints the body; its status on standard error
 *     client SOCKET framing TARGET                   what two readers could take differently
 *     client SOCKET targets PREFIX                   paths and ids that are none
 *     client SOCKET crowd COUNT TARGET               COUNT that say half a request, then it asks
 *     client SOCKET sleep TARGET SECONDS             begins to follow and reads nothing
 *     client SOCKET race COUNT SESSION SEED          verbs in an order of their own
 *     client SOCKET storm COUNT PREFIX PATH WORD     operations on files; WORD must never come
 *     client SOCKET leave COUNT METHOD TARGET        asks, and goes away without an answer
 */
#include "try.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

enum { ANSWER_MAX = 1 << 20, WAIT_S = 30 };

static const char *socket_path;
static char answer[ANSWER_MAX + 1];

static int dial(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int sys = errno;
        if (fd >= 0)
            close(fd);
        errno = sys;
        return -1;
    }
    struct timeval wait = {.tv_sec = WAIT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    return fd;
}

static int send_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = send(fd, data, length, MSG_NOSIGNAL);
        if (n <= 0)
            return -1;
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

/* Everything until the other side closes. Its length, or -1 when it took too long. */
static ssize_t read_all(int fd)
{
    size_t length = 0;
    for (;;) {
        ssize_t n = recv(fd, answer + length, ANSWER_MAX - length, 0);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return -1;
        if (n <= 0 || length + (size_t)n == ANSWER_MAX)
            break;
        length += (size_t)n;
    }
    answer[length] = 0;
    return (ssize_t)length;
}

static int status_of(void)
{
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? (int)strtol(answer + 9, NULL, 10) : 0;
}

/* One request on a connection of its own: the status, 0 for no answer, -1 for none in time. */
static int ask(const char *method, const char *target, const char *body, size_t length)
{
    char head[16384];
    int fd = dial();
    if (fd < 0)
        return 0;
    int n =
        snprintf(head, sizeof head,
                 "%s %s HTTP/1.1\r\nHost: b\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                 method, target, length);
    int sent = send_all(fd, head, (size_t)n) == 0 ? send_all(fd, body, length) : -1;
    (void)sent; /* a refusal may come before all is sent */
    ssize_t got = read_all(fd);
    close(fd);
    return got < 0 ? -1 : status_of();
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- framing ------------------------------------------------------------------------------------
 */

/* It closes, so that who takes it for a request of its own is seen at once. */
#define SECOND "GET /v1/health HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"

static void framing(const char *target)
{
    static const struct {
        const char *name, *head, *rest;
    } rows[] = {
        {"two_lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", "helloX"},
        {"list_of_lengths", "Content-Length: 5, 5\r\n", "hello"},
        {"length_and_chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
         "0\r\n\r\n" SECOND},
        {"chunked_and_length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
         "0\r\n\r\n" SECOND},
        {"chunked_twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
         "0\r\n\r\n" SECOND},
        {"chunked_not_last", "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n" SECOND},
        {"chunked_tab", "Transfer-Encoding:\tchunked\x0b\r\n", "0\r\n\r\n" SECOND},
        {"space_before_colon", "Content-Length : 5\r\n", "hello" SECOND},
        {"sign", "Content-Length: +5\r\n", "hello"},
        {"negative", "Content-Length: -1\r\n", ""},
        {"hexadecimal", "Content-Length: 0x5\r\n", "hello"},
        {"overflow", "Content-Length: 18446744073709551621\r\n", "hello"},
        {"huge", "Content-Length: 9223372036854775807\r\n", "hello"},
        {"folded", "X: a\r\n Content-Length: 5\r\n", SECOND},
        {"bare_lf", "X: a\nContent-Length: 5\r\n", "hello"},
        {"bare_cr", "X: a\rContent-Length: 5\r\n", "hello"},
        {"nul", "X: a\\0b\r\n", ""},
        {"chunk_sign", "Transfer-Encoding: chunked\r\n", "-1\r\nx\r\n0\r\n\r\n"},
        {"chunk_huge", "Transfer-Encoding: chunked\r\n", "ffffffffffffffff1\r\nx\r\n0\r\n\r\n"},
        {"chunk_lf", "Transfer-Encoding: chunked\r\n", "1\nx\n0\n\n"},
        {"chunk_extension_flood", "Transfer-Encoding: chunked\r\n", NULL},
        {"head_flood", NULL, ""},
    };
    static char flood[300000];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char line[512];
        /* A body of that kind is what the target takes: it is refused for its framing alone. */
        int fd = dial(), n = snprintf(line, sizeof line,
                                      "POST %s HTTP/1.1\r\nHost: b\r\n"
                                      "Content-Type: application/json\r\n",
                                      target);
        send_all(fd, line, (size_t)n);
        memset(flood, 'a', sizeof flood);
        if (rows[i].head && strcmp(rows[i].name, "nul") == 0)
            send_all(fd, "X: a\0b\r\n", 8);
        else if (rows[i].head)
            send_all(fd, rows[i].head, strlen(rows[i].head));
        else
            send_all(fd, flood, sizeof flood);
        send_all(fd, "\r\n", 2);
        if (rows[i].rest)
            send_all(fd, rows[i].rest, strlen(rows[i].rest));
        else if (send_all(fd, "1;", 2) == 0)
            send_all(fd, flood, sizeof flood);
        ssize_t got = read_all(fd);
        close(fd);
        /* One refusal and the end: what came behind is never taken for a second request. */
        int status = status_of();
        bool again = got > 0 && strstr(answer + 1, "HTTP/1.1 ");
        if (got < 0)
            try_succeeded(rows[i].name, "the connection stays open, without an answer");
        else if (again || status < 400 || status >= 500)
            try_succeeded(rows[i].name, "answered %d%s", status, again ? ", and again" : "");
        else
            try_refused(rows[i].name, "REFUSED");
    }
}

/* ---- targets ------------------------------------------------------------------------------------
 */

static void targets(const char *prefix)
{
    static const char *const ends[] = {
        "/../../../v1/health",
        "/%2e%2e/%2e%2e/health",
        "/..%2f..",
        "/%00",
        "/s%00x",
        "/s%0ax",
        "/s%1b[31m",
        "/s%ff",
        "/s%zz",
        "/s%",
        "/-s",
        "/.s",
        "/a..b",
        "//s",
        "/s/",
        "/s//execs",
        "/s/execs/../../t",
        "/s/files?path=relative",
        "/s/files?path=",
        "/s/files",
        "/s/files?path=/a&path=/b",
        "/s/files?path=/a%00b",
        "/s/files?path=/a;path=/b",
        "/s/files?pa%74h=/a&path=/b",
        "/s/execs?limit=99999999999999999999",
        "/s/execs?limit=-1",
        "/s/execs/e/output?from=-1",
        "/s/execs/e/output?from=99999999999999999999999",
        "/s/execs?wait_ms=1e9",
        "?limit=0",
        "?limit=1001",
        "?after=../..",
        "?label=",
        "?state=running%00",
        "#fragment",
    };
    char target[9000];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(target, sizeof target, "%s%s", prefix, ends[i]);
        int status = ask("GET", target, "", 0);
        if (status >= 400 && status < 500)
            try_refused(ends[i], "REFUSED");
        else
            try_succeeded(ends[i], "answered %d", status);
    }
    for (size_t n = 65; n < 8000; n = n * 3) {
        int at = snprintf(target, sizeof target, "%s/", prefix);
        memset(target + at, 'a', n);
        target[(size_t)at + n] = 0;
        int status = ask("GET", target, "", 0);
        if (status >= 400 && status < 500)
            try_refused("long_id", "REFUSED");
        else
            try_succeeded("long_id", "of %zu: answered %d", n, status);
    }
}

/* ---- crowds -------------------------------------------------------------------------------------
 */

static int crowd(unsigned count, const char *target)
{
    static const char *const halves[] = {"", "G", "GET /v1/health HTTP/1.1\r\nHost: b\r\n",
                                         "POST /v1/reap HTTP/1.1\r\nHost: b\r\nContent-Length: "
                                         "100\r\n\r\n{",
                                         "POST /v1/reap HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: "
                                         "chunked\r\n\r\n5\r\n{"};
    struct rlimit files = {65536, 65536};
    setrlimit(RLIMIT_NOFILE, &files);
    unsigned open = 0;
    for (unsigned i = 0; i < count; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            break;
        if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
            close(fd);
            usleep(1000);
            continue;
        }
        const char *half = halves[i % (sizeof halves / sizeof *halves)];
        if (send(fd, half, strlen(half), MSG_NOSIGNAL) >= 0)
            open++;
    }
    double begin = now();
    int status = ask("GET", target, "", 0);
    printf("crowd of %u connections: answered %d in %.0f ms\n", open, status,
           (now() - begin) * 1000);
    sleep(3); /* for who else asks meanwhile */
    return status == 200 ? 0 : 1;
}

static int sleep_on(const char *target, unsigned seconds)
{
    char head[4096];
    int fd = dial(), small = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    int n = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: b\r\n\r\n", target);
    if (fd < 0 || send_all(fd, head, (size_t)n) < 0)
        return 1;
    printf("following\n");
    sleep(seconds);
    return 0;
}

static int leave(unsigned count, const char *method, const char *target)
{
    char head[4096];
    int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
                     method, target);
    for (unsigned i = 0; i < count; i++) {
        int fd = dial();
        if (fd < 0 || send_all(fd, head, (size_t)n) < 0)
            return 1;
        poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 20);
        usleep(10000); /* its worker waits for room, and is seen by who would stop it */
        close(fd);
    }
    return 0;
}

/* ---- files in a storm ---------------------------------------------------------------------------
 */

static int storm(unsigned count, const char *prefix, const char *path, const char *word)
{
    static const struct {
        const char *method, *route, *body;
    } kinds[] = {
        {"GET", "files", ""},          {"PUT", "files?mode=0600", "written by the client"},
        {"HEAD", "files", ""},         {"GET", "files/list", ""},
        {"DELETE", "files", ""},       {"PUT", "files", "again"},
        {"GET", "files", ""},          {"POST", "files/chmod", NULL},
        {"POST", "files/mkdir", NULL}, {"POST", "files/move", NULL},
    };
    unsigned classes[6] = {0}, silent = 0, leaked = 0;
    double slowest = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t kind = i % (sizeof kinds / sizeof *kinds);
        char target[4096], body[1024] = "";
        if (kinds[kind].body) {
            snprintf(target, sizeof target, "%s/%s%cpath=%s", prefix, kinds[kind].route,
                     strchr(kinds[kind].route, '?') ? '&' : '?', path);
            snprintf(body, sizeof body, "%s", kinds[kind].body);
        } else {
            snprintf(target, sizeof target, "%s/%s", prefix, kinds[kind].route);
            if (strstr(target, "move"))
                snprintf(body, sizeof body, "{\"from\":\"%s\",\"to\":\"%s.moved\"}", path, path);
            else
                snprintf(body, sizeof body, "{\"path\":\"%s%s\",\"mode\":\"0755\"}", path,
                         strstr(target, "mkdir") ? "/made" : "");
        }
        double begin = now();
        int status = ask(kinds[kind].method, target, body, strlen(body));
        double took = now() - begin;
        slowest = took > slowest ? took : slowest;
        silent += status <= 0;
        classes[status > 0 && status < 600 ? status / 100 : 0]++;
        if (status > 0 && strstr(answer, word)) {
            leaked++;
            printf("LEAKED %s %s\n", kinds[kind].method, target);
        }
    }
    printf("storm %u: 2xx %u, 4xx %u, 5xx %u, silent %u, leaked %u, slowest %.0f ms\n", count,
           classes[2], classes[4], classes[5], silent, leaked, slowest * 1000);
    return leaked || silent ? 1 : 0;
}

/* ---- verbs in a race ----------------------------------------------------------------------------
 */

static int race(unsigned count, const char *session, unsigned seed)
{
    static const struct {
        const char *verb, *body;
    } verbs[] = {
        {"park", "{\"mode\":\"freeze\"}"},
        {"resume", "{}"},
        {"execs", "{\"argv\":[\"true\"]}"},
        {"interrupt", "{}"},
        {"resume", "{}"},
        {"park", "{\"mode\":\"stop\"}"},
        {"resume", "{}"},
        {"execs", "{\"shell\":\"sleep 9 & sleep 9\"}"},
    };
    unsigned classes[6] = {0}, silent = 0;
    double slowest = 0;
    for (unsigned i = 0; i < count; i++) {
        char target[1024];
        seed = seed * 1103515245u + 12345u;
        size_t which = (seed >> 16) % (sizeof verbs / sizeof *verbs);
        snprintf(target, sizeof target, "%s/%s", session, verbs[which].verb);
        double begin = now();
        int status = ask("POST", target, verbs[which].body, strlen(verbs[which].body));
        slowest = now() - begin > slowest ? now() - begin : slowest;
        silent += status <= 0;
        classes[status > 0 && status < 600 ? status / 100 : 0]++;
        if (status / 100 == 5 && status != 503)
            printf("%s: %d: %.200s\n", target, status, answer);
    }
    printf("race %u: 2xx %u, 4xx %u, 5xx %u, silent %u, slowest %.0f ms\n", count, classes[2],
           classes[4], classes[5], silent, slowest * 1000);
    return silent ? 1 : 0;
}

static unsigned number(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc < 4)
        return 2;
    socket_path = argv[1];
    const char *verb = argv[2];
    try_begin();
    if (strcmp(verb, "ask") == 0 && argc >= 5) {
        const char *body = argc > 5 ? argv[5] : "";
        int status = ask(argv[3], argv[4], body, strlen(body));
        const char *at = status > 0 ? strstr(answer, "\r\n\r\n") : NULL;
        fputs(at ? at + 4 : "", stdout);
        fprintf(stderr, "%d\n", status == 0 ? -errno : status);
        return status >= 200 && status < 300 ? 0 : 1;
    }
    if (strcmp(verb, "crowd") == 0 && argc == 5)
        return crowd(number(argv[3]), argv[4]);
    if (strcmp(verb, "sleep") == 0 && argc == 5)
        return sleep_on(argv[3], number(argv[4]));
    if (strcmp(verb, "leave") == 0 && argc == 6)
        return leave(number(argv[3]), argv[4], argv[5]);
    if (strcmp(verb, "race") == 0 && argc == 6)
        return race(number(argv[3]), argv[4], number(argv[5]));
    if (strcmp(verb, "storm") == 0 && argc == 7)
        return storm(number(argv[3]), argv[4], argv[5], argv[6]);
    if (strcmp(verb, "framing") == 0)
        framing(argv[3]);
    else if (strcmp(verb, "targets") == 0)
        targets(argv[3]);
    else
        return 2;
    return try_end("client");
}
