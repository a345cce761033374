/* This file looks at sessions that last, freezes and measures them; it never removes anything.
 *
 * PRIVILEGED: a worker of the launcher's. Should: find each by name and prove that it is the one
 * that was meant. Mustn't: take a lock, which could be taken for a holder's.
 */
#include "runtime/host/lasting.h"
#include "runtime/host/session_publish.h"

#include "runtime/base/fd.h"
#include "runtime/stage/stage.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* What of a name is there. */
struct parts {
    bool record, place, socket, cgroup, run;
    bool identified;
    struct lasting_file file;
    int cgroup_fd, pidfd;
};

static void parts_fini(struct parts *p)
{
    fd_close(p->cgroup_fd);
    fd_close(p->pidfd);
}

/* -1: it can't be looked at, because init's user namespace is no descendant of this process's (an
 * ordinary user's berth that was started anew). */
static int64_t netns_of(const struct session_identity *id)
{
    char path[48];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%lld/ns/net", (long long)id->init_pid);
    return stat(path, &st) < 0 ? -1 : (int64_t)st.st_ino;
}

static int look_at_cgroup(struct runtime *rt, const struct lasting_names *names, struct parts *p,
                          struct err *err)
{
    struct stat st;
    int r = lasting_open_cgroup(rt, names->cgroup, p->file.cgroup, &p->cgroup_fd, err);
    if (r != 0)
        return r < 0 ? r : 0;
    p->cgroup = true;
    p->run = fstatat(p->cgroup_fd, "run", &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (fstat(p->cgroup_fd, &st) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "look at a session's cgroup", names->cgroup,
                       NULL);
    p->file.identity.cgroup_inode = (int64_t)st.st_ino;
    return 0;
}

static int find_parts(struct runtime *rt, const struct lasting_names *names, struct parts *p,
                      struct err *err)
{
    struct stat st;
    _cleanup_fd_ int place = -1;
    p->record = fstatat(rt->records, names->id, &st, AT_SYMLINK_NOFOLLOW) == 0;
    int r = lasting_place_open(rt, names->id, &place, err);
    if (r < 0)
        return r;
    p->place = r == 0;
    if (p->place) {
        p->socket = fstatat(place, STAGE_SOCKET_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0;
        r = lasting_file_read(place, &p->file, err);
        p->identified = r == 0;
        if (r < 0 && r != -EBADMSG)
            return r;
    }
    r = p->identified ? lasting_open_init(&p->file.identity, &p->pidfd, err) : 0;
    return r < 0 ? r : look_at_cgroup(rt, names, p, err);
}

static bool is_expected(const struct session_identity *is, const struct session_identity *expected)
{
    return strncmp(is->boot_id, expected->boot_id, sizeof is->boot_id) == 0 &&
           is->init_pid == expected->init_pid && is->init_start == expected->init_start &&
           is->cgroup_inode == expected->cgroup_inode && is->netns_inode == expected->netns_inode;
}

int session_look(struct runtime *rt, const struct session_name *name,
                 const struct session_identity *expected, enum session_found *ret_found,
                 struct session_identity *ret_identity, int *ret_pidfd, struct err *err)
{
    __attribute__((cleanup(parts_fini))) struct parts p = {.cgroup_fd = -1, .pidfd = -1};
    struct lasting_names names;
    int r = lasting_names_make(name, &names, err);
    if (r == 0)
        r = find_parts(rt, &names, &p, err);
    if (r < 0)
        return r;
    int64_t netns = p.pidfd >= 0 ? netns_of(&p.file.identity) : -1;
    if (netns >= 0)
        p.file.identity.netns_inode = netns;
    enum session_found found = SESSION_FOUND_BROKEN;
    if (!p.record && !p.place && !p.cgroup)
        found = SESSION_FOUND_ABSENT;
    else if (p.pidfd >= 0 && expected && !is_expected(&p.file.identity, expected))
        found = SESSION_FOUND_OTHER;
    else if (p.pidfd >= 0 && p.record && p.socket && (p.run || !p.file.cgroup[0]))
        found = SESSION_FOUND_WHOLE;
    *ret_found = found;
    if (ret_identity)
        *ret_identity = p.file.identity;
    if (ret_pidfd)
        *ret_pidfd = take_fd(&p.pidfd);
    return 0;
}

/* ---- freeze, sample
 * ------------------------------------------------------------------------------
 */

static int open_by_name(struct runtime *rt, const struct session_name *name,
                        struct lasting_names *ret_names, int *ret_cgroup, struct err *err)
{
    __attribute__((cleanup(parts_fini))) struct parts p = {.cgroup_fd = -1, .pidfd = -1};
    int r = lasting_names_make(name, ret_names, err);
    if (r == 0)
        r = find_parts(rt, ret_names, &p, err);
    if (r < 0)
        return r;
    if (p.pidfd < 0)
        return err_set(err, ERR_INVALID_STATE, ENOENT, "find a session that lives", ret_names->id,
                       NULL);
    if (!p.cgroup)
        return err_set(err, ERR_CAPABILITY_UNAVAILABLE, EOPNOTSUPP, "use the cgroup of a session",
                       ret_names->id, "%s",
                       rt->facts.cgroup_reason[0] ? rt->facts.cgroup_reason
                                                  : "It was made where there was none.");
    *ret_cgroup = take_fd(&p.cgroup_fd);
    return 0;
}

enum { FREEZE_MS = 5000 };

int session_freeze(struct runtime *rt, const struct session_name *name, bool freeze,
                   unsigned timeout_ms, struct err *err)
{
    struct lasting_names names;
    _cleanup_fd_ int cgroup = -1;
    int r = open_by_name(rt, name, &names, &cgroup, err);
    /* Its published ports refuse from after it stands still until before it moves. */
    if (r == 0 && !freeze)
        r = session_publish_hold(rt, name, false, err);
    if (r == 0)
        r = cgroup_freeze(cgroup, freeze, timeout_ms ? timeout_ms : FREEZE_MS, err);
    struct err unseen;
    if (r == 0 && freeze)
        r = session_publish_hold(rt, name, true, err);
    else if (r < 0 && !freeze && cgroup >= 0)
        (void)session_publish_hold(rt, name, true, &unseen);
    return r;
}

int session_sample(struct runtime *rt, const struct session_name *name, struct launcher_sample *ret,
                   struct err *err)
{
    struct lasting_names names;
    _cleanup_fd_ int cgroup = -1;
    int r = open_by_name(rt, name, &names, &cgroup, err);
    if (r == 0)
        r = cgroup_sample(&rt->cgroup, cgroup, names.cgroup, ret, err);
    if (r < 0)
        return r;
    /* What it used is told also where its network cannot be looked at any more. */
    struct err unseen;
    (void)session_network_counters(rt, name, ret->network, &unseen);
    return 0;
}

/* ---- list
 * ----------------------------------------------------------------------------------------
 */

struct list {
    const char *instance;
    size_t count, room;
    struct session_name *names; /* owned */
};

static int compare_names(const void *a, const void *b)
{
    const struct session_name *x = a, *y = b;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->incarnation < y->incarnation ? -1 : x->incarnation > y->incarnation;
}

/* Collected first: `each` may end what it is told. */
static int list_add(void *data, const char *id)
{
    struct list *list = data;
    struct session_name name;
    if (strncmp(id, "run-", 4) == 0)
        id += 4;
    if (!lasting_name_parse(id, &name) || strcmp(name.instance, list->instance) != 0)
        return 0;
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 64;
        struct session_name *more = realloc(list->names, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        list->names = more;
        list->room = room;
    }
    list->names[list->count++] = name;
    return 0;
}

static int list_records(struct runtime *rt, struct list *list, struct err *err)
{
    int own = openat(rt->records, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = own < 0 ? NULL : fdopendir(own);
    if (!stream) {
        int keep = errno;
        fd_close(own);
        return err_set(err, ERR_UNAVAILABLE, keep, "list run records", NULL, NULL);
    }
    int r = 0;
    for (const struct dirent *e; r == 0 && (e = readdir(stream));)
        r = list_add(list, e->d_name);
    closedir(stream);
    return r;
}

int session_list(struct runtime *rt, const char *instance,
                 int (*each)(void *data, const struct session_name *name), void *data,
                 struct err *err)
{
    struct list list = {.instance = instance};
    char prefix[40];
    snprintf(prefix, sizeof prefix, "run-%.23s-", instance);
    int r = list_records(rt, &list, err);
    if (r == 0)
        r = cgroup_each(&rt->cgroup, prefix, list_add, &list, err);
    if (r == -ENOMEM)
        err_set(err, ERR_INTERNAL, ENOMEM, "list sessions", NULL, NULL);
    if (list.count > 1)
        qsort(list.names, list.count, sizeof list.names[0], compare_names);
    for (size_t i = 0; r == 0 && i < list.count; i++)
        if (i == 0 || compare_names(&list.names[i - 1], &list.names[i]) != 0)
            r = each(data, &list.names[i]);
    free(list.names);
    return r;
}
