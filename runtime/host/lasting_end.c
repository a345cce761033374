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
#include <string.h>
#include <sys/wait.h>

enum { TIMEOUT_MS = 10000, LOOK_MS = 50 };

static int kill_init(int pidfd, struct err *err)
{
    int r = process_kill(pidfd);
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
static int find_init(struct runtime *rt, const char *directory, struct lasting_file *ret_file,
                     int *ret_pidfd, struct err *err)
{
    _cleanup_fd_ int place = -1;
    int r = lasting_place_open(rt, directory, &place, err);
    if (r == 0)
        r = lasting_file_read(place, ret_file, err);
    if (r == -EBADMSG)
        return 1; /* another version's */
    if (r == 0)
        r = lasting_open_init(&ret_file->identity, ret_pidfd, err);
    return r;
}

/* Where the session's cgroups are: an ordinary user's next berth may have another base, or none. */
static struct cgroup_host host_of(const struct runtime *rt, const struct lasting_file *file)
{
    struct cgroup_host host = rt->cgroup;
    const char *end = strrchr(file->cgroup, '/');
    size_t length = end ? (size_t)(end - file->cgroup) : 0;
    if (length == 0 || length >= sizeof host.v2)
        return host;
    memcpy(host.v2, file->cgroup, length);
    host.v2[length] = 0;
    if (host.layout == RUNTIME_CGROUP_NONE)
        host.layout = RUNTIME_CGROUP_UNIFIED;
    return host;
}

/* Everything that lives, and its cgroups. *ret_proven: it has been a whole session once. `last`
 * (may be NULL) is told what these counted. */
static int kill_all(struct runtime *rt, const struct lasting_names *names, unsigned timeout_ms,
                    struct lasting_last *last, bool *ret_proven, struct err *err)
{
    _cleanup_fd_ int pidfd = -1;
    static struct lasting_file file;
    memset(&file, 0, sizeof file);
    int r = find_init(rt, names->id, &file, &pidfd, err);
    if (r < 0)
        return r;
    *ret_proven = file.identity.netns_inode != 0;
    /* The cgroup first: it needs only to be written to, whatever ids init has. */
    struct cgroup_host host = host_of(rt, &file);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    if (last)
        lasting_last_begin(last, &host, pidfd >= 0);
    /* init's end is told, a cgroup's is only seen. What init is not the last of is looked for. */
    if (pidfd >= 0 && cgroup_leftover_kill(&host, names->cgroup))
        poll(&p, 1, LOOK_MS);
    r = cgroup_leftover_end(&host, names->cgroup, timeout_ms, last ? lasting_last_empty : NULL,
                            last, err);
    if (r == 0 && last)
        lasting_last_finish(last);
    if (r == 0 && pidfd >= 0 && poll(&p, 1, 0) == 0)
        r = kill_init(pidfd, err);
    return r == 0 && pidfd >= 0 ? wait_init(pidfd, timeout_ms, err) : r;
}

/* Nobody is left who could make more. What cannot be looked at is not told: it must end all the
 * same. */
static void tell_what_appeared(struct runtime *rt, const char *directory,
                               void (*note)(void *data, const char *key, const char *text),
                               void *data)
{
    _cleanup_fd_ int place = -1;
    if (note && lasting_place_open(rt, directory, &place, NULL) == 0)
        workspace_report_lasting(place, note, data);
}

/* `served`: the name by which the launcher's gateway may know it; NULL: another's. */
static int clean(struct runtime *rt, const struct lasting_names *names,
                 const struct session_name *served, unsigned timeout_ms, struct lasting_last *last,
                 void (*note)(void *data, const char *key, const char *text), void *data,
                 struct err *err)
{
    bool proven = false;
    int r = kill_all(rt, names, timeout_ms, last, &proven, err);
    if (r == 0 && served)
        r = session_network_forget(rt, served, err);
    if (r == 0)
        tell_what_appeared(rt, names->id, note, data);
    if (r == 0)
        r = workspace_end_lasting(rt->share_dir, names->id, note, data, err);
    if (r == 0 && !proven) /* its maker may have been killed in the middle of a new volume */
        r = workspace_reap_volumes(rt->state_dir, err);
    return r == 0 ? lasting_place_remove(rt, names->id, err) : r;
}

int lasting_clean(struct runtime *rt, const char *id, unsigned timeout_ms, struct err *err)
{
    struct session_name name;
    struct lasting_names names;
    if (!lasting_name_parse(id, &name))
        return err_set(err, ERR_INTERNAL, EINVAL, "clean up after a session", id, NULL);
    int r = lasting_names_make(&name, &names, err);
    return r == 0 ? clean(rt, &names, NULL, timeout_ms, NULL, NULL, NULL, err) : r;
}

/* The lock of the record, or the certainty that there is no record. Its maker, if he lives, finds
 * his session dead, and gives up. */
static int take_record(struct runtime *rt, const struct lasting_names *names, unsigned timeout_ms,
                       struct lasting_last *last, struct record *ret, struct err *err)
{
    bool proven;
    for (unsigned waited_ms = 0;; waited_ms++) {
        int r = record_take(ret, rt->records, names->id, err);
        if (r != 2)
            return r < 0 ? r : 0;
        if (waited_ms >= timeout_ms)
            return err_set(err, ERR_IN_PROGRESS, EBUSY, "end a session", names->id,
                           "Another process of berth is at work on it. Ask again.");
        if (waited_ms % 20 == 0)
            r = kill_all(rt, names, timeout_ms, last, &proven, err);
        if (r < 0)
            return r;
        if (waited_ms > 0)
            poll(NULL, 0, 1); /* nothing tells that a lock is free */
    }
}

int session_end(struct runtime *rt, const struct session_name *name, unsigned timeout_ms,
                void (*note)(void *data, const char *key, const char *text), void *data,
                struct launcher_last *ret_last, struct err *err)
{
    struct lasting_names names;
    struct record record = {.fd = -1};
    struct lasting_last reading = {.rt = rt,
                                   .name = name,
                                   .id = names.id,
                                   .cgroup = names.cgroup,
                                   .ret = ret_last,
                                   .netns = -1};
    struct lasting_last *last = ret_last ? &reading : NULL;
    unsigned patience = timeout_ms ? timeout_ms : TIMEOUT_MS;
    if (ret_last)
        *ret_last = (struct launcher_last){0};
    int r = lasting_names_make(name, &names, err);
    if (r == 0)
        r = take_record(rt, &names, patience, last, &record, err);
    if (r == 0)
        r = clean(rt, &names, name, patience, last, note, data, err);
    fd_close(reading.netns);
    if (r == 0)
        r = record_remove(&record, err);
    record_fini(&record);
    return r;
}
