/* This file makes the directories of `berth serve`, takes its locks and its listening socket; it
 * never removes what it cannot prove to be its own.
 *
 * Order: both locks come before anything is changed, so whoever holds them may replace a socket
 * that a killed berth left.
 */
#include "api/cli/serve.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"
#include "runtime/runtime.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int failed(struct err *err, int sys, const char *step, const char *path)
{
    return err_set(err, sys == ENOSPC || sys == EDQUOT ? ERR_INSUFFICIENT_STORAGE : ERR_UNAVAILABLE,
                   sys, step, path, NULL);
}

/* ---- directories -------------------------------------------------------------------------------
 */

/* Of root's parents front and the socket's group search each: a UMask of the unit is for files. */
static int make_parent(const char *path)
{
    if (mkdir(path, 0755) < 0)
        return errno == EEXIST ? 0 : -errno;
    if (geteuid() != 0)
        return 0;
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 || fchmod(fd, 0755) < 0 ? -errno : 0;
}

int serve_make_parents(const char *path, struct err *err)
{
    char part[SPEC_PATH_MAX];
    snprintf(part, sizeof part, "%s", path);
    for (char *p = part + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        int r = make_parent(part);
        if (r < 0)
            return failed(err, -r, "make the directory", part);
        *p = '/';
    }
    return 0;
}

/* A directory of this user's that nobody else can write, with this mode. Front and the socket's
 * group go through those of root, so they may be searched and not read. */
static int open_own(const char *path, mode_t mode, int *ret_fd, struct err *err)
{
    int r = serve_make_parents(path, err);
    if (r < 0)
        return r;
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return failed(err, errno, "make the directory", path);
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return failed(err, errno, "open the directory", path);
    if (st.st_uid != geteuid() || (st.st_mode & 022))
        return err_set(err, ERR_FORBIDDEN, 0, "use the directory", path,
                       "It must be yours and writable by nobody else. Restore that, or choose "
                       "others with BERTH_STATE_DIR and BERTH_RUNTIME_DIR.");
    if (fchmod(fd, mode) < 0)
        return failed(err, errno, "set the mode of the directory", path);
    *ret_fd = take_fd(&fd);
    return 0;
}

/* `uid` UINT32_MAX: this user's. */
static int make_beneath(int parent, const char *name, uint32_t uid, uint32_t gid, mode_t mode,
                        struct err *err)
{
    bool made = mkdirat(parent, name, 0700) == 0;
    if (!made && errno != EEXIST)
        return failed(err, errno, "make the directory", name);
    _cleanup_fd_ int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return failed(err, errno, "open the directory", name);
    uint32_t owner = uid == SERVE_NOBODY ? geteuid() : uid;
    /* Still this user's: made just now, or by a berth that was killed before it gave it away. */
    if (st.st_uid == geteuid() && st.st_uid != owner) {
        if (fchown(fd, uid, gid) < 0)
            return failed(err, errno, "give the directory to front", name);
        st.st_uid = owner;
    }
    if (st.st_uid != owner)
        return err_set(err, ERR_FORBIDDEN, 0, "use the directory", name,
                       "It belongs to uid %u, front is uid %u. If the id of front was changed on "
                       "purpose, give it to the new one: `chown -R %u:%u` on it.",
                       (unsigned)st.st_uid, owner, owner, gid == SERVE_NOBODY ? owner : gid);
    return fchmod(fd, mode) < 0 ? failed(err, errno, "set the mode of the directory", name) : 0;
}

/* ---- locks --------------------------------------------------------------------------------------
 */

enum { WAIT_FOR_THE_DEAD_MS = 5000, LOOK_AGAIN_MS = 10 };

/* A zombie is dead as well: its parent may take long to ask for it. */
static bool is_dead(pid_t pid)
{
    if (pid <= 0)
        return false;
    _cleanup_fd_ int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return errno == ESRCH;
    struct pollfd end = {.fd = fd, .events = POLLIN};
    return poll(&end, 1, 0) == 1 && (end.revents & POLLIN);
}

/* Killed; a child that it had just made has a copy of the lock until it has closed what is not its
 * own, a moment later. */
static bool holder_is_dead(const char *pid)
{
    uint64_t number;
    return units_parse_u64(pid, &number) == 0 && number <= INT_MAX && is_dead((pid_t)number);
}

static int lock(int directory, const char *whole, int *ret_lock, struct err *err)
{
    _cleanup_fd_ int fd =
        openat(directory, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed(err, errno, "open the lock in", whole);
    char text[64] = "";
    for (unsigned waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited_ms += LOOK_AGAIN_MS) {
        int sys = errno;
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        text[n > 0 ? strspn(text, "0123456789") : 0] = 0;
        if (sys != EWOULDBLOCK)
            return failed(err, sys, "lock", whole);
        if (!holder_is_dead(text) || waited_ms >= WAIT_FOR_THE_DEAD_MS) {
            err_set(err, ERR_UNAVAILABLE, 0, "lock the directory", whole,
                    "Another berth serves it%s%s%s. Use that one, stop it, or choose other "
                    "directories with BERTH_STATE_DIR and BERTH_RUNTIME_DIR.",
                    text[0] ? " (process " : "", text, text[0] ? ")" : "");
            return -EALREADY;
        }
        poll(NULL, 0, LOOK_AGAIN_MS);
    }
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return failed(err, errno, "write the lock in", whole);
    *ret_lock = take_fd(&fd);
    return 0;
}

/* ---- the socket ---------------------------------------------------------------------------------
 */

static int address(const char *path, struct sockaddr_un *ret, struct err *err)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof ret->sun_path)
        return err_set(err, ERR_INVALID_REQUEST, ENAMETOOLONG, "listen on", path,
                       "A socket's path may have %zu bytes. Choose a shorter one with --socket.",
                       sizeof ret->sun_path - 1);
    memcpy(ret->sun_path, path, strlen(path) + 1);
    return 0;
}

enum listening { NOBODY, DYING, SOMEBODY };

/* DYING: the supervisor that made the listener was killed, and its front, which has a copy, is not
 * yet gone (it goes with its parent). Who called listen() is what the kernel names as the peer:
 * unix(7), SO_PEERCRED. A full queue, of which it names nobody, is looked at again as well. */
static int who_listens(const struct sockaddr_un *at, enum listening *ret)
{
    _cleanup_fd_ int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return -errno;
    *ret = SOMEBODY;
    if (connect(probe, (const struct sockaddr *)at, sizeof *at) < 0) {
        *ret = errno == ECONNREFUSED || errno == ENOENT ? NOBODY
               : errno == EAGAIN                        ? DYING
                                                        : SOMEBODY;
        return 0;
    }
    struct ucred maker;
    socklen_t size = sizeof maker;
    if (getsockopt(probe, SOL_SOCKET, SO_PEERCRED, &maker, &size) == 0 && is_dead(maker.pid))
        *ret = DYING;
    return 0;
}

/* 0: nothing is there, or a socket on which nobody listens. */
static int check_stale(const char *path, const struct sockaddr_un *at, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : failed(err, errno, "look at", path);
    if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid())
        return err_set(err, ERR_UNAVAILABLE, 0, "listen on", path,
                       "Something that is not a socket of yours is there. Remove it, or choose "
                       "another path with --socket.");
    enum listening there = DYING;
    for (unsigned waited_ms = 0; there == DYING && waited_ms < WAIT_FOR_THE_DEAD_MS;
         waited_ms += LOOK_AGAIN_MS) {
        if (waited_ms > 0)
            poll(NULL, 0, LOOK_AGAIN_MS);
        int r = who_listens(at, &there);
        if (r < 0)
            return failed(err, -r, "make a socket for", path);
    }
    if (there != NOBODY)
        return err_set(err, ERR_UNAVAILABLE, 0, "listen on", path,
                       "Somebody serves there. Stop it, or choose another path with --socket.");
    return 0;
}

/* Bound under another name and moved over: at its own name it has its mode and group from the first
 * instant, and replaces a stale one without a gap. */
static int listen_at(struct serve_config *config, const char *path, int *ret_fd, struct err *err)
{
    struct sockaddr_un at, hidden;
    char name[SPEC_PATH_MAX + 8];
    int r = address(path, &at, err);
    snprintf(name, sizeof name, "%s.new", path);
    if (r == 0)
        r = address(name, &hidden, err);
    if (r == 0)
        r = check_stale(path, &at, err);
    if (r < 0)
        return r;
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return failed(err, errno, "make a socket", path);
    struct stat st;
    if (lstat(name, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_uid == geteuid())
        unlink(name);
    mode_t mask = umask(0177);
    r = bind(fd, (const struct sockaddr *)&hidden, sizeof hidden) < 0 ? -errno : 0;
    umask(mask);
    if (r < 0)
        return failed(err, -r, "listen on", path);
    /* The launcher knows clients' sockets by it: an accepted socket has its listener's address. */
    socklen_t length = sizeof config->listen_address;
    if (getsockname(fd, (struct sockaddr *)config->listen_address, &length) < 0 ||
        length > sizeof config->listen_address)
        return failed(err, errno, "ask for the address of", path);
    config->listen_length = length;
    bool group = config->socket_gid != SERVE_NOBODY;
    if ((group && (lchown(name, (uid_t)-1, config->socket_gid) < 0 || chmod(name, 0660) < 0)) ||
        listen(fd, 4096) < 0 || rename(name, path) < 0) {
        r = failed(err, errno, "listen on", path);
        unlink(name);
        return r;
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

/* ---- all of it ----------------------------------------------------------------------------------
 */

static int open_directories(struct serve_place *place, const struct serve_config *config,
                            struct err *err)
{
    const mode_t mode = config->rootless ? 0700 : 0711;
    const uint32_t uid = config->rootless ? SERVE_NOBODY : config->front_uid;
    const uint32_t gid = config->rootless ? SERVE_NOBODY : config->front_gid;
    _cleanup_fd_ int state = -1, runtime = -1;
    int r = open_own(config->state_dir, mode, &state, err);
    if (r == 0)
        r = lock(state, config->state_dir, &place->state_lock, err);
    if (r == 0)
        r = open_own(config->runtime_dir, mode, &runtime, err);
    if (r == 0)
        r = lock(runtime, config->runtime_dir, &place->runtime_lock, err);
    if (r == 0)
        r = make_beneath(state, SERVE_LEDGER_DIR, uid, gid, 0700, err);
    if (r == 0)
        r = make_beneath(state, SERVE_SPOOL_DIR, uid, gid, 0700, err);
    if (r == 0)
        r = make_beneath(runtime, SERVE_SESSIONS_DIR, SERVE_NOBODY, SERVE_NOBODY, mode, err);
    return r;
}

static int find_directories(struct serve_config *config, char runtime[RUNTIME_DIR_SIZE],
                            struct err *err)
{
    char state[RUNTIME_DIR_SIZE];
    const struct runtime_options options = {0};
    int r = runtime_directories(&options, state, runtime, err);
    if (r < 0)
        return r;
    snprintf(config->state_dir, sizeof config->state_dir, "%s", state);
    snprintf(config->runtime_dir, sizeof config->runtime_dir, "%s", runtime);
    return 0;
}

int serve_place_ledger(struct serve_place *ret, struct serve_plan *plan, int *ret_directory,
                       struct err *err)
{
    struct serve_config *config = &plan->config;
    const uint32_t uid = config->rootless ? SERVE_NOBODY : config->front_uid;
    const uint32_t gid = config->rootless ? SERVE_NOBODY : config->front_gid;
    _cleanup_fd_ int state = -1;
    char runtime[RUNTIME_DIR_SIZE];
    int r = find_directories(config, runtime, err);
    if (r == 0)
        r = open_own(config->state_dir, config->rootless ? 0700 : 0711, &state, err);
    if (r == 0)
        r = lock(state, config->state_dir, &ret->state_lock, err);
    if (r == 0)
        r = make_beneath(state, SERVE_LEDGER_DIR, uid, gid, 0700, err);
    if (r < 0)
        return r;
    *ret_directory =
        openat(state, SERVE_LEDGER_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *ret_directory < 0 ? failed(err, errno, "open the directory", SERVE_LEDGER_DIR) : 0;
}

int serve_place_open(struct serve_place *ret, struct serve_plan *plan, struct err *err)
{
    struct serve_config *config = &plan->config;
    struct serve_place place = {.state_lock = -1, .runtime_lock = -1, .listen = -1};
    char runtime[RUNTIME_DIR_SIZE];
    int r = find_directories(config, runtime, err);
    if (r < 0)
        return r;
    r = open_directories(&place, config, err);
    if (r == 0)
        r = serve_listen_tcp(plan, &place, err);
    if (r == 0)
        r = serve_given(plan, &place, err);
    if (!place.given && plan->socket[0])
        snprintf(place.socket, sizeof place.socket, "%s", plan->socket);
    else if (!place.given)
        snprintf(place.socket, sizeof place.socket, "%s/%s", runtime, SERVE_SOCKET);
    if (r == 0 && !place.given)
        r = listen_at(config, place.socket, &place.listen, err);
    *ret = place;
    if (r < 0)
        serve_place_close(ret);
    return r;
}

void serve_place_close(struct serve_place *place)
{
    /* While the locks are held the name can only be ours. */
    if (place->listen >= 0 && !place->given)
        unlink(place->socket);
    fd_replace(&place->listen, -1);
    for (; place->tcp_count > 0; place->tcp_count--)
        fd_close(place->tcp[place->tcp_count - 1]);
    fd_replace(&place->runtime_lock, -1);
    fd_replace(&place->state_lock, -1);
}
