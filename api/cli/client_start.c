/* This file finds the socket of a `berth serve` and starts the user's own when there is none; it
 * never speaks to it beyond asking whether it lives.
 *
 * Whose service is talked to: one that was named, whoever's it is; else only one of root's or of
 * the caller's own, because what is sent there (environment, files) is the caller's, and in a
 * directory like /tmp anybody could stand at the name. Who listens is asked of the kernel.
 */
#include "api/cli/client.h"
#include "api/cli/serve.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

/* START_MS: how long one that was started, and has not ended, may take. A machine that does much
 * else needed more than five seconds for the four processes (seen on an emulated one). AGAIN_MS:
 * until the next of ours looks whether another one has let go of the directories. */
enum {
    ANSWER_MS = 5000,
    START_MS = 30000,
    AGAIN_MS = 1000,
    LOCK_MS = 60000,
    STEP_MS = 5,
    DAY_MS = 24 * 3600 * 1000
};

_Static_assert(sizeof((struct sockaddr_un){0}.sun_path) == CLIENT_PATH_SIZE, "a socket's path");

/* ---- where ----------------------------------------------------------------------------------- */

static int add_place(struct client_where *where, const char *directory, const char *leaf, bool own,
                     struct err *err)
{
    char *path = where->place[where->count].path;
    int n = snprintf(path, CLIENT_PATH_SIZE, "%s%s", directory, leaf);
    if (n < 0 || n >= CLIENT_PATH_SIZE)
        return err_set(err, ERR_INVALID_REQUEST, ENAMETOOLONG, "find berth serve", directory,
                       "The path of a socket has at most %d bytes.", CLIENT_PATH_SIZE - 1);
    where->place[where->count++].own = own;
    return 0;
}

static int named_place(const char *by, const char *host, struct client_where *where,
                       struct err *err)
{
    where->named = true;
    if (strncmp(host, "unix:", 5) == 0 && host[5] == '/')
        return add_place(where, host + 5, "", false, err);
    if (strncmp(host, "http://", 7) == 0 || strncmp(host, "https://", 8) == 0)
        return err_set(err, ERR_USAGE, 0, by, host,
                       "This release speaks to sockets on this machine only: unix:/PATH.");
    return err_set(err, ERR_USAGE, 0, by, host, "Write unix: and an absolute path.");
}

static int read_silence(uint64_t *ret_ms, struct err *err)
{
    const char *text = getenv("BERTH_TIMEOUT");
    *ret_ms = CLIENT_SILENCE_MS;
    if (!text || !text[0])
        return 0;
    if (units_parse_duration(text, ret_ms) < 0 || *ret_ms < 100 || *ret_ms > DAY_MS)
        return err_set(err, ERR_USAGE, 0, "read BERTH_TIMEOUT", text,
                       "It is how long berth serve may be silent, as 90s or 30m: 100ms to 24h.");
    return 0;
}

int client_where(const char *host, struct client_where *ret, struct err *err)
{
    struct client_where where = {0};
    const char *runtime = getenv("BERTH_RUNTIME_DIR"), *base = getenv("XDG_RUNTIME_DIR");
    char own[CLIENT_PATH_SIZE];
    const char *by = host && host[0] ? "--host" : "BERTH_HOST";
    if (!host || !host[0])
        host = getenv("BERTH_HOST");
    int r = 0;
    if (host && host[0])
        r = named_place(by, host, &where, err);
    else if (runtime && runtime[0] == '/')
        r = add_place(&where, runtime, "/berth.sock", true, err);
    else if (geteuid() == 0)
        r = add_place(&where, "/run/berth", "/berth.sock", true, err);
    else {
        /* As runtime_open() chooses them. */
        if (base && base[0] == '/' && strlen(base) < sizeof own - 16)
            snprintf(own, sizeof own, "%s/berth", base);
        else
            snprintf(own, sizeof own, "/tmp/berth-%u", geteuid());
        r = add_place(&where, "/run/berth", "/berth.sock", false, err);
        if (r == 0)
            r = add_place(&where, own, "/berth.sock", true, err);
    }
    if (r == 0)
        r = read_silence(&where.silence_ms, err);
    if (r == 0)
        *ret = where;
    return r;
}

/* ---- connecting ------------------------------------------------------------------------------ */

static bool is_nobody(int sys)
{
    return sys == ENOENT || sys == ECONNREFUSED || sys == EACCES || sys == ENOTDIR;
}

void client_bound(int fd, uint64_t silence_ms)
{
    const struct timeval bound = {.tv_sec = (time_t)(silence_ms / 1000),
                                  .tv_usec = (suseconds_t)(silence_ms % 1000 * 1000)};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
}

static int connect_at(const char *path, bool any_owner, uint64_t silence_ms, int *ret_fd,
                      struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, ERR_INTERNAL, errno, "connect", path, NULL);
    memcpy(address.sun_path, path, strlen(path) + 1);
    client_bound(fd, silence_ms); /* the queue of one that accepts nobody is full at some time */
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int r = err_set(err, ERR_UNAVAILABLE, errno, "connect", path,
                        "Is `berth serve` running there, and may you talk to it?");
        return is_nobody(-r) ? CLIENT_NOBODY : r;
    }
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return err_set(err, ERR_INTERNAL, errno, "connect", path, NULL);
    if (!any_owner && peer.uid != 0 && peer.uid != geteuid())
        return err_set(err, ERR_FORBIDDEN, 0, "connect", path,
                       "User %u listens there, who is neither you nor root. If that is right, name "
                       "it: --host unix:%s.",
                       peer.uid, path);
    *ret_fd = take_fd(&fd);
    return 0;
}

int client_connect(const struct client_where *where, int *ret_fd, struct err *err)
{
    int r = CLIENT_NOBODY;
    for (unsigned i = 0; i < where->count && r == CLIENT_NOBODY; i++)
        r = connect_at(where->place[i].path, where->named, where->silence_ms, ret_fd, err);
    return r;
}

/* ---- starting -------------------------------------------------------------------------------- */

static int start_fail(struct err *err, int sys, const char *path, const char *what)
{
    return err_set(err, ERR_UNAVAILABLE, sys, "start berth serve", path, "%s", what ? what : "");
}

/* The directory of the own socket, made when it is missing, and the caller's alone. */
static int open_directory(const struct client_where *where, char ret_path[CLIENT_PATH_SIZE],
                          int *ret_fd, struct err *err)
{
    const char *path = NULL;
    for (unsigned i = 0; i < where->count; i++)
        if (where->place[i].own)
            path = where->place[i].path;
    if (!path)
        return start_fail(err, 0, NULL, "There is no place of your own.");
    snprintf(ret_path, CLIENT_PATH_SIZE, "%.*s", (int)(strrchr(path, '/') - path), path);
    int r = serve_make_parents(ret_path, NULL);
    if (r == 0 && mkdir(ret_path, 0700) < 0 && errno != EEXIST)
        r = -errno;
    if (r < 0)
        return start_fail(err, -r, ret_path,
                          "Its directory cannot be made. Name another one by "
                          "BERTH_RUNTIME_DIR.");
    struct stat st;
    _cleanup_fd_ int fd = open(ret_path, O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return start_fail(err, errno, ret_path, NULL);
    if (st.st_uid != geteuid() || (st.st_mode & 022))
        return start_fail(err, 0, ret_path,
                          "The directory must be yours and writable by nobody else. Name another "
                          "one by BERTH_RUNTIME_DIR.");
    *ret_fd = take_fd(&fd);
    return 0;
}

/* One starter at a time; the lock ends with the process that has it. */
static int take_lock(int directory, int *ret_fd, struct err *err)
{
    _cleanup_fd_ int fd =
        openat(directory, "start.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return start_fail(err, errno, "start.lock", NULL);
    uint64_t until = client_now_ms() + LOCK_MS;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return start_fail(err, errno, "start.lock", NULL);
        if (client_now_ms() > until)
            return start_fail(err, ETIMEDOUT, "start.lock",
                              "Another berth has been starting it for very long.");
        client_pause(STEP_MS);
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

/* In the child: nothing of the terminal, of the caller's session of processes or of his
 * descriptors. */
static void become_service(int log, const char *program)
{
    char *const words[] = {(char *)(uintptr_t) "berth", (char *)(uintptr_t) "serve",
                           (char *)(uintptr_t) "--on-demand", NULL};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (setsid() < 0 || null < 0 || chdir("/") < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 ||
        dup2(log, 2) < 0 || fd_keep_only(NULL, 0) < 0)
        _exit(125);
    execv(program, words);
    _exit(125);
}

/* `how`: O_TRUNC, or O_APPEND where another one may write its log. */
static int spawn(int directory, int how, pid_t *ret_pid, int *ret_log, struct err *err)
{
    char program[4096];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0)
        return start_fail(err, errno, "/proc/self/exe", NULL);
    program[n] = 0;
    _cleanup_fd_ int log = openat(directory, "serve.log",
                                  O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | how, 0600);
    if (log < 0)
        return start_fail(err, errno, "serve.log", NULL);
    pid_t pid = fork();
    if (pid < 0)
        return start_fail(err, errno, NULL, NULL);
    if (pid == 0)
        become_service(log, access(program, X_OK) == 0 ? program : "/proc/self/exe");
    *ret_pid = pid;
    *ret_log = take_fd(&log);
    return 0;
}

/* Does somebody answer? The supervisor listens before front serves, so a connection says nothing.
 */
static bool lives(const struct client_where *where, unsigned in_ms)
{
    static const char ask[] = "GET /v1/health HTTP/1.1\r\nHost: berth\r\nConnection: close\r\n\r\n";
    static const char ok[] = "HTTP/1.1 "; /* 503, while it recovers, is an answer too */
    _cleanup_fd_ int fd = -1;
    char head[sizeof ok];
    if (client_connect(where, &fd, NULL) != 0 ||
        send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) != sizeof ask - 1)
        return false;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, (int)in_ms) == 1 && recv(fd, head, sizeof ok - 1, MSG_WAITALL) > 0 &&
           memcmp(head, ok, sizeof ok - 1) == 0;
}

/* The last line of its log is why. */
static int tell_log(int log, const char *what, struct err *err)
{
    char text[2048];
    off_t end = lseek(log, 0, SEEK_END);
    off_t from = end > (off_t)sizeof text - 1 ? end - (off_t)sizeof text + 1 : 0;
    ssize_t n = pread(log, text, sizeof text - 1, from);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        n--;
    text[n > 0 ? n : 0] = 0;
    const char *last = strrchr(text, '\n');
    const char *line = last ? last + 1 : text;
    return err_set(err, ERR_UNAVAILABLE, 0, "start berth serve", NULL, "%s%s%s", what,
                   line[0] ? " It said: " : "", line);
}

int client_start(const struct client_where *where, struct err *err)
{
    char path[CLIENT_PATH_SIZE];
    _cleanup_fd_ int directory = -1, lock = -1, log = -1;
    int r = open_directory(where, path, &directory, err);
    if (r == 0)
        r = take_lock(directory, &lock, err);
    if (r < 0)
        return r;
    if (lives(where, ANSWER_MS))
        return 0;
    pid_t pid;
    r = spawn(directory, O_TRUNC, &pid, &log, err);
    if (r < 0)
        return r;
    uint64_t again_ms = 0; /* 0: one that we started runs */
    for (uint64_t until = client_now_ms() + START_MS;;) {
        if (lives(where, ANSWER_MS))
            return 0;
        int status = 0;
        uint64_t now = client_now_ms();
        if (again_ms == 0 && waitpid(pid, &status, WNOHANG) == pid) {
            if (status != 0)
                return tell_log(log, "It ended at once.", err);
            /* Another one has the directories. It is about to answer, or waits for the end of one
             * that was killed; should it go instead, the next of ours comes up. */
            again_ms = now + AGAIN_MS;
        }
        if (now > until)
            return tell_log(log, "It did not answer within 30 s; it is left running.", err);
        if (again_ms != 0 && now >= again_ms) {
            fd_replace(&log, -1);
            r = spawn(directory, O_APPEND, &pid, &log, err);
            if (r < 0)
                return r;
            again_ms = 0;
        }
        client_pause(STEP_MS);
    }
}
