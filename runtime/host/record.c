/* This file keeps the record of one run; it never removes what it does not hold the lock of. */
#include "runtime/host/record.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/names.h"
#include "runtime/spec.h"
#include "runtime/stage/sys.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { RECORD_RANDOM_SIZE = 24, NAMED_TRIES = 20 };

static int fail(struct err *err, int sys, const char *step, const char *subject)
{
    return err_set(err, ERR_UNAVAILABLE, sys, step, subject,
                   sys == ENOSPC ? "The file system of the runtime directory is full: free some "
                                   "space, or name another with BERTH_RUNTIME_DIR."
                   : sys == EROFS || sys == EACCES
                       ? "The runtime directory cannot be written: name another with "
                         "BERTH_RUNTIME_DIR."
                       : NULL);
}

int record_dir_open(const char *runtime_dir, int *ret_dir, struct err *err)
{
    _cleanup_fd_ int base = open(runtime_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (base < 0)
        return fail(err, errno, "open the runtime directory", runtime_dir);
    _cleanup_fd_ int dir = openat(base, "runs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 && errno == ENOENT) {
        if (mkdirat(base, "runs", 0700) < 0 && errno != EEXIST)
            return fail(err, errno, "make the directory of run records in", runtime_dir);
        dir = openat(base, "runs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (dir < 0)
        return fail(err, errno, "open the directory of run records in", runtime_dir);
    *ret_dir = take_fd(&dir);
    return 0;
}

/* 1: `fd` still has its name; 0: a reaper has locked and removed it meanwhile; -errno. */
static int still_linked(int fd)
{
    struct stat st;
    return fstat(fd, &st) < 0 ? -errno : st.st_nlink > 0;
}

static void set_names(struct record *record)
{
    snprintf(record->cgroup_name, sizeof record->cgroup_name, "run-%.*s", RECORD_ID_SIZE - 1,
             record->id);
}

/* A millisecond between two tries. */
static int lock_soon(int fd, unsigned tries)
{
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK || tries == 0)
            return -errno;
        tries--;
        poll(NULL, 0, 1);
    }
    return 0;
}

/* 0; 1: something of that name is or was there; 2: the name is this process's own, but a reaper was
 * quicker than its lock, and may remove it or leave it; -errno. */
static int create(struct record *record, int flags, unsigned tries, struct err *err)
{
    _cleanup_fd_ int fd =
        openat(record->dir, record->id, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? 1 : fail(err, errno, "make a run record", record->id);
    int r = lock_soon(fd, tries);
    if (r == -EWOULDBLOCK)
        return 2;
    if (r < 0) {
        r = fail(err, -r, "lock a run record", record->id);
        unlinkat(record->dir, record->id, 0); /* best effort: one that nobody holds is reaped */
        return r;
    }
    r = still_linked(fd);
    if (r < 0) {
        r = fail(err, -r, "look at a run record", record->id);
        unlinkat(record->dir, record->id, 0);
        return r;
    }
    if (r == 0)
        return 1;
    record->fd = take_fd(&fd);
    return 0;
}

int record_create(struct record *ret, int dir, struct err *err)
{
    for (int attempt = 0; attempt < 16; attempt++) {
        struct record record = {.dir = dir, .fd = -1};
        int r = id_random("", record.id, RECORD_RANDOM_SIZE);
        if (r < 0)
            return fail(err, -r, "make a random id", NULL);
        set_names(&record);
        r = create(&record, O_RDWR, 0, err);
        if (r < 0)
            return r;
        if (r == 0) {
            *ret = record;
            return 0;
        }
        /* Nothing was made under this name. It goes, and is not left to the reaper, which leaves
         * what it finds when there is something that it cannot do. */
        if (r == 2 && unlinkat(dir, record.id, 0) < 0 && errno != ENOENT)
            return fail(err, errno, "remove a run record", record.id);
    }
    return fail(err, EAGAIN, "make a run record", NULL);
}

static int set_id(struct record *record, int dir, const char *id, struct err *err)
{
    size_t length = strlen(id);
    *record = (struct record){.dir = dir, .fd = -1};
    if (!id_valid(id) || length >= sizeof record->id)
        return err_set(err, ERR_INTERNAL, EINVAL, "name a run record", id,
                       "This is no name of berth's own making.");
    memcpy(record->id, id, length + 1);
    set_names(record);
    return 0;
}

int record_create_named(struct record *ret, int dir, const char *id, struct err *err)
{
    struct record record;
    int r = set_id(&record, dir, id, err);
    if (r < 0)
        return r;
    /* A reaper that has found it unlocked removes it or leaves it, and its lock tells which. */
    for (int attempt = 0; attempt < NAMED_TRIES; attempt++) {
        r = create(&record, O_RDONLY, NAMED_TRIES, err);
        if (r <= 0) {
            if (r == 0)
                *ret = record;
            return r;
        }
        poll(NULL, 0, 1);
    }
    return err_set(err, ERR_SESSION_EXISTS, EEXIST, "make a run record", id,
                   "Something of that name is there: end it first.");
}

int record_take(struct record *ret, int dir, const char *id, struct err *err)
{
    struct record record;
    int r = set_id(&record, dir, id, err);
    if (r < 0)
        return r;
    _cleanup_fd_ int fd = openat(dir, id, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        return fail(err, errno, "open a run record", id);
    int held = fd < 0 ? 0 : flock(fd, LOCK_EX | LOCK_NB);
    if (held < 0 && errno != EWOULDBLOCK)
        return fail(err, errno, "lock a run record", id);
    bool linked = fd >= 0 && still_linked(fd) > 0;
    if (linked && held == 0)
        record.fd = take_fd(&fd);
    *ret = record;
    return !linked ? 1 : held < 0 ? 2 : 0;
}

int process_start_time(pid_t pid, uint64_t *ret)
{
    char path[40], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    ssize_t n = io_read_at(AT_FDCWD, path, text, sizeof text);
    if (n < 0)
        return (int)n;
    const char *p = strrchr(text, ')'); /* the name may hold anything, but ends with the last ')' */
    if (!p || sscanf(p + 1,
                     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                     "%*d %*d %" SCNu64,
                     ret) != 1)
        return -EINVAL;
    return 0;
}

bool process_lives(pid_t pid, uint64_t started)
{
    uint64_t now;
    if (pid <= 1)
        return false;
    _cleanup_fd_ int pidfd = sys_pidfd_open(pid);
    if (pidfd < 0)
        return errno != ESRCH; /* who cannot be looked at is not taken for dead */
    /* The descriptor pins the process; only now is its start time sure to be its own. */
    int r = process_start_time(pid, &now);
    if (r < 0)
        return r != -ENOENT && r != -ESRCH;
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    return now == started && poll(&p, 1, 0) <= 0;
}

static int send_kill(int pidfd)
{
    return syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH ? -errno
                                                                                         : 0;
}

/* Who has the same id may kill. */
static int kill_as(uint32_t id, int pidfd)
{
    int status;
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        _exit(syscall(SYS_setresuid, id, id, id) == 0 && send_kill(pidfd) == 0 ? 0 : 1);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

int process_kill(int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int r = send_kill(pidfd);
    if (r != -EPERM || geteuid() != 0)
        return r;
    /* An ordinary user's next berth is in another user namespace than the one that made the
     * session, and so has no rights over it, not even over a zombie; but it can take the same ids.
     */
    /* init's own, and before it has taken that, what the session's root is out here. It goes from
     * one to the other while this looks. */
    static const uint32_t ids[] = {SPEC_UID_INIT, SPEC_UID_ROOT + 1, SPEC_UID_INIT};
    for (size_t i = 0; i < ARRAY_LENGTH(ids) && r == -EPERM; i++)
        r = poll(&p, 1, 0) == 1 ? 0 : kill_as(ids[i], pidfd);
    return r;
}

int record_set_init(struct record *record, pid_t pid, struct err *err)
{
    uint64_t started;
    int r = process_start_time(pid, &started);
    if (r < 0)
        return fail(err, -r, "read the start time of init", NULL);
    char text[80];
    int n = snprintf(text, sizeof text, "init %d %" PRIu64 "\n", pid, started);
    if (pwrite(record->fd, text, (size_t)n, 0) != n)
        return fail(err, errno, "write the run record", NULL);
    return 0;
}

void record_fini(struct record *record)
{
    fd_closep(&record->fd);
}

int record_remove(struct record *record, struct err *err)
{
    if (record->fd < 0)
        return 0;
    int r = 0;
    if (unlinkat(record->dir, record->id, 0) < 0 && errno != ENOENT)
        r = fail(err, errno, "remove a run record", record->id);
    record_fini(record);
    return r;
}

int record_kill_init(const struct record *record, unsigned timeout_ms, struct err *err)
{
    char text[80] = "";
    if (pread(record->fd, text, sizeof text - 1, 0) < 0)
        return fail(err, errno, "read a run record", record->id);
    int pid;
    uint64_t recorded, now;
    if (sscanf(text, "init %d %" SCNu64, &pid, &recorded) != 2 || pid <= 1)
        return 0;
    _cleanup_fd_ int pidfd = sys_pidfd_open(pid);
    if (pidfd < 0)
        return errno == ESRCH ? 0 : fail(err, errno, "open init of a run", record->id);
    /* The descriptor pins the process; only now is its start time sure to be its own. */
    int r = process_start_time(pid, &now);
    if (r == -ENOENT || r == -ESRCH || (r == 0 && now != recorded))
        return 0;
    if (r < 0)
        return fail(err, -r, "read the start time of init", record->id);
    r = process_kill(pidfd);
    if (r < 0)
        return fail(err, -r, "kill init of a run", record->id);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    r = poll(&p, 1, (int)timeout_ms);
    if (r == 0)
        return fail(err, ETIMEDOUT, "wait for the end of init of a run", record->id);
    return r < 0 ? fail(err, errno, "wait for the end of init of a run", record->id) : 0;
}

static int reap_one(int dir, const char *name,
                    int (*clean)(void *, const struct record *, struct err *), void *data,
                    unsigned *count, struct err *err)
{
    struct record record = {.dir = dir, .fd = -1};
    size_t length = strlen(name);
    if (!id_valid(name) || length >= sizeof record.id)
        return 0; /* not berth's */
    memcpy(record.id, name, length + 1);
    set_names(&record);
    _cleanup_fd_ int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : fail(err, errno, "open a run record", name);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? 0 : fail(err, errno, "lock a run record", name);
    int r = still_linked(fd);
    if (r <= 0)
        return r < 0 ? fail(err, -r, "look at a run record", name) : 0;
    record.fd = fd;
    r = clean(data, &record, err);
    if (r != 0)
        return r < 0 ? r : 0;
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
        return fail(err, errno, "remove a run record", name);
    ++*count;
    return 0;
}

int record_reap(int dir, int (*clean)(void *data, const struct record *record, struct err *err),
                void *data, unsigned *ret_count, struct err *err)
{
    unsigned count = 0;
    /* A descriptor of its own: reading a directory moves its offset. */
    _cleanup_fd_ int own = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (own < 0)
        return fail(err, errno, "list run records", NULL);
    struct names names;
    const char *name;
    names_begin(&names, own, NAMES_WITHOUT_DOT);
    int more, kept = 0;
    while ((more = names_next(&names, &name)) > 0) {
        struct err later;
        if (reap_one(dir, name, clean, data, &count, kept ? &later : err) < 0)
            kept = 1;
    }
    if (ret_count)
        *ret_count = count;
    return more < 0 ? fail(err, -more, "list run records", NULL) : kept;
}
