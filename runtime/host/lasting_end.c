/* This file ends sessions that last, by name: whoever made them, whatever of them is there; it
 * never says that one is gone before that is proven.
 *
 * PRIVILEGED: a worker of the launcher's, and every berth command's reaping. The proof: its cgroup
 * is empty and removed, the process that was its init has ended (and with it, by the kernel's rule
 * for PID 1, all of its PID namespace), and the lock of its record could be taken, which every
 * process of the session has held from its birth to init's exec. init can give the lock up earlier;
 * then the other two tell. The record goes last, so that who is killed here leaves a name that is
 * found.
 */
#include "runtime/host/lasting.h"

#include "runtime/base/fd.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { TIMEOUT_MS = 10000, NAP_US = 500 };

static int send_kill(int pidfd)
{
    return syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH ? -errno
                                                                                         : 0;
}

/* An ordinary user's next berth is in another user namespace than the one that made the session,
 * and so has no rights over it; but it can take the same ids, and who has the same id may kill. */
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

static int kill_init(const struct runtime *rt, int pidfd, struct err *err)
{
    int r = send_kill(pidfd);
    if (r == -EPERM && rt->facts.rootless && !rt->facts.single_uid)
        r = kill_as(SPEC_UID_INIT + 1, pidfd);
    return r < 0 ? err_set(err, ERR_INTERNAL, -r, "kill init of a session", NULL, NULL) : 0;
}

/* Of a child of this process, so that no zombie is left; of another's its parent does it. */
static void reap_child(int pidfd)
{
    siginfo_t info;
    while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) < 0 && errno == EINTR)
        ;
}

static int wait_init(int pidfd, unsigned timeout_ms, struct err *err)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int r;
    while ((r = poll(&p, 1, (int)timeout_ms)) < 0 && errno == EINTR)
        ;
    if (r <= 0)
        return err_set(err, ERR_UNAVAILABLE, r < 0 ? errno : ETIMEDOUT,
                       "wait for the end of a session", NULL,
                       "A killed process of it is in a system call that can't be interrupted. Ask "
                       "again; it ends when the device answers.");
    reap_child(pidfd);
    return 0;
}

/* A pidfd of what the identity file names; -1 where that does not tell (then the cgroup does). */
static int find_init(struct runtime *rt, const char *directory, int *ret_pidfd, struct err *err)
{
    struct lasting_file file;
    _cleanup_fd_ int place = -1;
    int r = lasting_place_open(rt, directory, &place, err);
    if (r == 0)
        r = lasting_file_read(place, &file, err);
    if (r == -EBADMSG)
        return 1; /* another version's */
    if (r == 0)
        r = lasting_open_init(&file.identity, ret_pidfd, err);
    return r;
}

/* Everything that lives, and its cgroups. */
static int kill_all(struct runtime *rt, const struct lasting_names *names, unsigned timeout_ms,
                    struct err *err)
{
    _cleanup_fd_ int pidfd = -1;
    int r = find_init(rt, names->directory, &pidfd, err);
    if (r < 0)
        return r;
    if (pidfd >= 0 && rt->cgroup.layout == RUNTIME_CGROUP_NONE)
        r = kill_init(rt, pidfd, err);
    if (r >= 0 && rt->cgroup.layout != RUNTIME_CGROUP_NONE)
        r = cgroup_leftover_destroy(&rt->cgroup, names->cgroup, timeout_ms, err);
    /* A session whose cgroup this process can't see: made when there was another. */
    if (r >= 0 && pidfd >= 0 && rt->cgroup.layout != RUNTIME_CGROUP_NONE &&
        poll(&(struct pollfd){.fd = pidfd, .events = POLLIN}, 1, 0) == 0)
        r = kill_init(rt, pidfd, err);
    return r >= 0 && pidfd >= 0 ? wait_init(pidfd, timeout_ms, err) : r < 0 ? r : 0;
}

static int remove_rest(struct runtime *rt, const struct lasting_names *names, struct err *err)
{
    int r = workspace_end_lasting(rt->share_dir, rt->state_dir, names->id, err);
    return r == 0 ? lasting_place_remove(rt, names->directory, err) : r;
}

int lasting_clean(struct runtime *rt, const char *id, unsigned timeout_ms, struct err *err)
{
    struct session_name name;
    struct lasting_names names;
    if (!lasting_name_parse(id, &name))
        return err_set(err, ERR_INTERNAL, EINVAL, "clean up after a session", id, NULL);
    int r = lasting_names_make(&name, &names, err);
    if (r == 0)
        r = kill_all(rt, &names, timeout_ms, err);
    return r == 0 ? remove_rest(rt, &names, err) : r;
}

/* The lock of the record, or the certainty that there is no record. Its maker, if he lives, finds
 * his session dead, and gives up. */
static int take_record(struct runtime *rt, const struct lasting_names *names, unsigned timeout_ms,
                       struct record *ret, struct err *err)
{
    for (unsigned waited_us = 0;; waited_us += NAP_US) {
        int r = record_take(ret, rt->records, names->id, err);
        if (r != 2)
            return r < 0 ? r : 0;
        if (waited_us >= timeout_ms * 1000ull)
            return err_set(err, ERR_IN_PROGRESS, EBUSY, "end a session", names->id,
                           "Another process of berth is at work on it. Ask again.");
        if (waited_us % (20 * NAP_US) == 0)
            r = kill_all(rt, names, timeout_ms, err);
        if (r < 0)
            return r;
        if (waited_us > 0)
            usleep(NAP_US);
    }
}

int session_end(struct runtime *rt, const struct session_name *name, unsigned timeout_ms,
                void (*note)(void *data, const char *key, const char *text), void *data,
                struct err *err)
{
    struct lasting_names names;
    struct record record = {.fd = -1};
    unsigned patience = timeout_ms ? timeout_ms : TIMEOUT_MS;
    (void)note;
    (void)data;
    int r = lasting_names_make(name, &names, err);
    if (r == 0)
        r = take_record(rt, &names, patience, &record, err);
    if (r < 0)
        return r;
    r = lasting_clean(rt, names.id, patience, err);
    if (r == 0)
        r = record_remove(&record, err);
    record_fini(&record);
    return r;
}
