/* This file decides who may use a `directory` at the same time (WS-2); it never opens what a path
 * names, only descriptors that are pinned.
 *
 * A directory is shared unless a session asks for it exclusively. A session at root x has a chain:
 * x, then every ancestor of x up to "/". Two sessions overlap when the root of one is in the chain
 * of the other (the same directory, an ancestor or a descendant), and they conflict when they
 * overlap and at least one of them is exclusive. Siblings never conflict, whatever they asked for.
 *
 * That relation can't be had from shared and exclusive flocks on the nodes alone: "non-exclusive
 * user at a" must be compatible with "non-exclusive user beneath a" and not with "exclusive user
 * beneath a", while two exclusive users beneath a are compatible with each other. So each session
 * writes one record, locks it for its life, and the relation is evaluated pair by pair under the
 * guard.
 *
 * `berth run` records in shared/ or exclusive/; there are few, and who is not exclusive compares
 * himself with the latter alone. Sessions that last may be thousands. They record in lasting/, and
 * are compared with by place: a record there has a link in roots/<node>/ of its root, and in
 * beneath/<node>/ of each ancestor. In the way can be only who has his root in my chain, or my root
 * in his. A volume's chain is its root alone.
 *
 * The record is whole before it has a link, and loses its links before its name: whoever ends a
 * session whose maker or ender was killed finds what is to be removed by the record.
 *
 * A record is created, locked and written under the guard, so nobody sees one that is unlocked but
 * alive. A record whose lock can be taken belongs to a dead session: removed by whoever finds it.
 * An ancestor is found by ".." from the pinned descriptor; a directory that is bind-mounted at two
 * places has the ancestors of the place that was named.
 */
#include "runtime/host/workspace_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/names.h"
#include "runtime/base/units.h"
#include "runtime/host/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

static const char use_magic[8] = "berthU1";

/* What begins like this is of a session that lasts, and is held by its init; every other name
 * begins with the pid of its writer. */
#define LASTING_PREFIX "s-"

enum use_folder_at { FOLDER_SHARED, FOLDER_EXCLUSIVE, FOLDER_LASTING, FOLDERS };
static const char *const use_folder[FOLDERS] = {"shared", "exclusive", "lasting"};

#define ROOTS   "roots"
#define BENEATH "beneath"
enum { NODE_SIZE = 48, LINK_SIZE = NODE_SIZE + USE_NAME_SIZE };

static size_t record_size(const struct use_record *r)
{
    return offsetof(struct use_record, chain) + r->count * sizeof r->chain[0];
}

static bool in_chain(const struct use_node *root, const struct use_record *r)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (r->chain[i].dev == root->dev && r->chain[i].ino == root->ino)
            return true;
    return false;
}

bool use_conflicts(const struct use_record *a, const struct use_record *b)
{
    if (a->exclusive == USE_SHARED && b->exclusive == USE_SHARED)
        return false;
    if (a->exclusive == USE_FILES && b->exclusive == USE_FILES)
        return false;
    return in_chain(&a->chain[0], b) || in_chain(&b->chain[0], a);
}

static int fill_chain(int dir, const char *path, struct use_record *ret, struct err *err)
{
    _cleanup_fd_ int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);
    while (at >= 0) {
        struct stat st;
        if (fstat(at, &st) < 0)
            break;
        struct use_node node = {st.st_dev, st.st_ino};
        /* ".." of "/" is "/" itself. */
        if (ret->count && ret->chain[ret->count - 1].dev == node.dev &&
            ret->chain[ret->count - 1].ino == node.ino)
            return 0;
        if (ret->count == USE_CHAIN_MAX)
            return err_set(err, ERR_INVALID_REQUEST, ELOOP, "find the ancestors of", path,
                           "It lies deeper than %d directories.", USE_CHAIN_MAX);
        ret->chain[ret->count++] = node;
        fd_replace(&at, openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
    }
    return err_set(err, ERR_FORBIDDEN, errno, "find the ancestors of", path,
                   "Every directory above it must be searchable.");
}

static bool is_record(const struct use_record *r, ssize_t size)
{
    return size >= (ssize_t)offsetof(struct use_record, chain) && r->count >= 1 &&
           r->count <= USE_CHAIN_MAX && (size_t)size == record_size(r) &&
           memcmp(r->magic, use_magic, sizeof use_magic) == 0;
}

/* That of a session that lasts says where its placeholders are, so it stays for whoever ends it. */
static bool is_lasting(const char *name)
{
    return strncmp(name, LASTING_PREFIX, sizeof LASTING_PREFIX - 1) == 0;
}

/* 0 and a live record, 1 when it is dead or not a record (and is gone now, unless it is of a
 * session that lasts), or -errno. */
static int read_record(int folder, const char *name, struct use_record *ret)
{
    _cleanup_fd_ int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 1 : -errno;
    bool unheld = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (!unheld && errno != EWOULDBLOCK)
        return -errno; /* whether anybody holds it is not known */
    memset(ret, 0, offsetof(struct use_record, chain));
    ssize_t n = io_read_full(fd, ret, sizeof *ret);
    /* init can give up what it holds while it lives. */
    if (unheld && !(n > 0 && is_record(ret, n) && ret->init_pid &&
                    process_lives((pid_t)ret->init_pid, ret->init_start))) {
        if (!is_lasting(name))
            unlinkat(folder, name, 0);
        return 1;
    }
    if (n < 0)
        return (int)n;
    if (!is_record(ret, n))
        return -EBADMSG;
    ret->holder[sizeof ret->holder - 1] = 0;
    return 0;
}

/* ---- links ------------------------------------------------------------------------------------
 */

static void node_of(const struct use_node *node, const char *kind, char ret[NODE_SIZE])
{
    snprintf(ret, NODE_SIZE, "%s/%llx-%llx", kind, (unsigned long long)node->dev,
             (unsigned long long)node->ino);
}

static int unlink_at(int share, const char *path)
{
    return unlinkat(share, path, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int drop_links(int share, const struct use_record *r, const char *name)
{
    char node[NODE_SIZE], path[LINK_SIZE];
    for (uint32_t i = 0; i < r->count; i++) {
        node_of(&r->chain[i], i == 0 ? ROOTS : BENEATH, node);
        snprintf(path, sizeof path, "%s/%s", node, name);
        int done = unlink_at(share, path);
        if (done < 0)
            return done;
        unlinkat(share, node, AT_REMOVEDIR); /* unless somebody else is there */
    }
    return 0;
}

static int make_node(int share, const char *node, const char *kind)
{
    if (mkdirat(share, node, 0700) == 0 || errno == EEXIST)
        return 0;
    if (errno != ENOENT || (mkdirat(share, kind, 0700) < 0 && errno != EEXIST))
        return -errno;
    return mkdirat(share, node, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int make_links(int share, const struct use_record *r, const char *first, const char *name)
{
    char node[NODE_SIZE], path[LINK_SIZE];
    for (uint32_t i = 0; i < r->count; i++) {
        const char *kind = i == 0 ? ROOTS : BENEATH;
        node_of(&r->chain[i], kind, node);
        int done = make_node(share, node, kind);
        if (done < 0)
            return done;
        snprintf(path, sizeof path, "%s/%s", node, name);
        if (linkat(share, first, share, path, 0) < 0)
            return -errno;
    }
    return 0;
}

/* ---- comparing --------------------------------------------------------------------------------
 */

static int refuse(const struct use_record *mine, const struct use_record *other,
                  const struct use_wish *wish, struct err *err)
{
    bool same =
        mine->chain[0].dev == other->chain[0].dev && mine->chain[0].ino == other->chain[0].ino;
    const char *where = same                               ? "it"
                        : in_chain(&other->chain[0], mine) ? "a directory above it"
                                                           : "a directory beneath it";
    const char *how = other->exclusive != USE_SHARED
                          ? (other->exclusive == USE_FILES ? "" : " exclusively")
                      : mine->exclusive == USE_FILES ? ""
                                                     : ", and exclusive use was asked for";
    bool files = strncmp(other->holder, USE_HOLDER_FILES, sizeof USE_HOLDER_FILES - 1) == 0;
    return err_set(err, ERR_WORKSPACE_IN_USE, 0,
                   wish->alone ? "use the volume" : "use the directory", wish->path,
                   "%s uses %s%s. %s, or use another one.", other->holder, where, how,
                   files ? "Try again when that has ended" : "Park or end that session");
}

/* One record of `folder` against `mine`. */
static int compare_one(int folder, const char *name, const struct use_record *mine,
                       const char *folder_name, const struct use_wish *wish, struct err *err)
{
    static struct use_record other; /* 8 KiB; one thread only */
    if (wish->own && strcmp(name, wish->own) == 0)
        return 0;
    int found = read_record(folder, name, &other);
    if (found < 0)
        return err_set(err, ERR_UNAVAILABLE, -found, "read the record of a session", name,
                       "Exclusive use cannot be proven. Remove that file from %s of berth's "
                       "shared directory when no session lives.",
                       folder_name);
    return found == 0 && use_conflicts(mine, &other) ? refuse(mine, &other, wish, err) : 0;
}

static int compare_all(int share, const struct use_record *mine, const char *folder_name,
                       const struct use_wish *wish, struct err *err)
{
    _cleanup_fd_ int folder = openat(share, folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 && errno == ENOENT)
        return 0; /* nobody is at that place */
    if (folder < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "open", folder_name, NULL);
    struct names names;
    const char *name;
    int r = 0, more = 0;
    names_begin(&names, folder, NAMES_WITHOUT_DOT);
    while (r == 0 && (more = names_next(&names, &name)) > 0)
        r = compare_one(folder, name, mine, folder_name, wish, err);
    if (r == 0 && more < 0)
        r = err_set(err, ERR_UNAVAILABLE, -more, "list", folder_name,
                    "Exclusive use cannot be proven.");
    return r;
}

static int name_record(const struct use_record *mine, const struct use_wish *wish,
                       char ret[USE_NAME_SIZE], struct err *err)
{
    char id[16];
    if (wish->lasting) {
        use_lasting_name(wish->lasting, ret);
        return 0;
    }
    int r = id_random("", id, sizeof id);
    if (r < 0)
        return err_raw(err, ERR_INTERNAL, -r, "name the record of a session", NULL);
    snprintf(ret, USE_NAME_SIZE, "%lld-%s", (long long)mine->pid, id);
    return 0;
}

/* The lock of a session that lasts goes to init, so it is that of a read-only descriptor. Under the
 * guard, so nobody looks in between. */
static int hand_lock(int share, const char *path, int *fd)
{
    int readable = openat(share, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (readable < 0)
        return -errno;
    fd_replace(fd, readable);
    return flock(*fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

static int create_record(int share, const char *path, enum use_folder_at folder, int *ret_fd)
{
    static const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(share, path, flags, 0600);
    if (fd < 0 && errno == ENOENT && mkdirat(share, use_folder[folder], 0700) == 0)
        fd = openat(share, path, flags, 0600);
    *ret_fd = fd;
    return fd < 0 ? -errno : 0;
}

static int write_record(int share, const struct use_record *mine, const struct use_wish *wish,
                        char ret_name[USE_NAME_SIZE], int *ret_lock, struct err *err)
{
    char name[USE_NAME_SIZE], path[96];
    enum use_folder_at folder = wish->lasting     ? FOLDER_LASTING
                                : mine->exclusive ? FOLDER_EXCLUSIVE
                                                  : FOLDER_SHARED;
    _cleanup_fd_ int fd = -1;
    int r = name_record(mine, wish, name, err);
    if (r < 0)
        return r;
    snprintf(path, sizeof path, "%s/%s", use_folder[folder], name);
    r = create_record(share, path, folder, &fd);
    if (r < 0)
        return err_set(err, workspace_code(-r), -r, "make the record of a session", path, NULL);
    r = flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : io_write_full(fd, mine, record_size(mine));
    if (r == 0 && wish->lasting)
        r = hand_lock(share, path, &fd);
    if (r == 0 && wish->lasting)
        r = make_links(share, mine, path, name);
    if (r < 0) {
        if (wish->lasting)
            drop_links(share, mine, name);
        unlinkat(share, path, 0);
        return err_set(err, workspace_code(-r), -r, "write the record of a session", path, NULL);
    }
    memcpy(ret_name, name, sizeof name);
    *ret_lock = take_fd(&fd);
    return 0;
}

static int fill_record(int dir, const struct use_wish *wish, struct use_record *ret,
                       struct err *err)
{
    memset(ret, 0, sizeof *ret);
    memcpy(ret->magic, use_magic, sizeof use_magic);
    ret->exclusive = wish->exclusive;
    ret->pid = getpid();
    ret->init_pid = wish->lasting ? wish->init_pid : 0;
    ret->init_start = wish->lasting ? wish->init_start : 0;
    snprintf(ret->holder, sizeof ret->holder, "%s", wish->holder);
    int r = fill_chain(dir, wish->path, ret, err);
    if (wish->alone)
        ret->count = 1;
    return r;
}

static int compare(int share, const struct use_record *mine, const struct use_wish *wish,
                   struct err *err)
{
    char node[NODE_SIZE];
    int r = compare_all(share, mine, use_folder[FOLDER_EXCLUSIVE], wish, err);
    if (r == 0 && wish->exclusive)
        r = compare_all(share, mine, use_folder[FOLDER_SHARED], wish, err);
    for (uint32_t i = 0; r == 0 && i < mine->count; i++) {
        node_of(&mine->chain[i], ROOTS, node);
        r = compare_all(share, mine, node, wish, err);
    }
    node_of(&mine->chain[0], BENEATH, node);
    return r == 0 ? compare_all(share, mine, node, wish, err) : r;
}

int use_begin(int share, int dir, const struct use_wish *wish, char ret_name[USE_NAME_SIZE],
              int *ret_lock, struct err *err)
{
    static struct use_record mine; /* 8 KiB; one thread only */
    int r = fill_record(dir, wish, &mine, err);
    if (r < 0)
        return r;
    _cleanup_fd_ int guard = -1;
    r = share_guard(share, SHARE_GUARD_USES, true, &guard, err);
    if (r == 0)
        r = compare(share, &mine, wish, err);
    if (r == 0)
        r = write_record(share, &mine, wish, ret_name, ret_lock, err);
    return r;
}

/* 0 and the record; `count` is 0 when it was cut short; 1: there is none; -errno. */
static int load_lasting(int at, const char *path, struct use_record *ret, struct err *err)
{
    _cleanup_fd_ int fd = openat(at, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 1;
    ssize_t n = fd < 0 ? -errno : io_read_full(fd, ret, sizeof *ret);
    if (n < 0)
        return err_set(err, ERR_UNAVAILABLE, (int)-n, "read the record of a session", path, NULL);
    /* Cut short: its writer was killed before he made anything on the strength of it. */
    if (!is_record(ret, n))
        ret->count = 0;
    return 0;
}

/* The same, wherever it is. */
static int find_lasting(int share, const char *name, enum use_folder_at *ret_folder,
                        struct use_record *ret, struct err *err)
{
    char path[96];
    /* An older berth of this host recorded them in the other two. */
    for (int i = FOLDERS - 1; i >= 0; i--) {
        snprintf(path, sizeof path, "%s/%s", use_folder[i], name);
        int r = load_lasting(share, path, ret, err);
        if (r == 1)
            continue;
        *ret_folder = (enum use_folder_at)i;
        return r;
    }
    return 1;
}

void use_lasting_name(const char *record_id, char ret[USE_NAME_SIZE])
{
    snprintf(ret, USE_NAME_SIZE, LASTING_PREFIX "%s", record_id);
}

static struct use_found found_of(const char *name, const struct use_record *r)
{
    struct use_found found = {0};
    snprintf(found.name, sizeof found.name, "%s", name);
    if (r->count > 0) {
        found.root = r->chain[0];
        found.init_pid = r->init_pid;
        found.init_start = r->init_start;
    }
    return found;
}

int use_find_lasting(int share, const char *record_id, struct use_found *ret, struct err *err)
{
    static struct use_record record;
    char name[USE_NAME_SIZE];
    enum use_folder_at folder;
    _cleanup_fd_ int guard = -1;
    use_lasting_name(record_id, name);
    int r = share_guard(share, SHARE_GUARD_USES, true, &guard, err);
    if (r == 0)
        r = find_lasting(share, name, &folder, &record, err);
    if (r == 0)
        *ret = found_of(name, &record);
    return r;
}

/* 1: one that lives is there, and is not `except`. The guard is held. */
static int find_living(int folder, const char *except)
{
    static struct use_record other;
    struct names names;
    const char *name;
    int more;
    names_begin(&names, folder, NAMES_WITHOUT_DOT);
    while ((more = names_next(&names, &name)) > 0) {
        if (!is_lasting(name) || (except && strcmp(name, except) == 0))
            continue;
        int found = read_record(folder, name, &other);
        /* Held, by a berth that writes others: it lives. */
        if (found == 0 || found == -EBADMSG)
            return 1;
        if (found < 0)
            return found;
    }
    return more;
}

int use_lasts(int share, uint64_t dev, uint64_t ino, const char *except, struct err *err)
{
    const struct use_node root = {dev, ino};
    char node[NODE_SIZE];
    _cleanup_fd_ int guard = -1;
    int r = share_guard(share, SHARE_GUARD_USES, true, &guard, err);
    if (r < 0)
        return r;
    node_of(&root, ROOTS, node);
    _cleanup_fd_ int folder = openat(share, node, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 && errno == ENOENT)
        return 0;
    r = folder < 0 ? -errno : find_living(folder, except);
    return r < 0 ? err_set(err, workspace_code(-r), -r, "look for other sessions at", node, NULL)
                 : r;
}

/* Looked at and removed under one guard. `only`: the one that was found; NULL: whichever has the
 * name. 1: that one has gone. */
static int end_lasting(int share, const char *name, const struct use_found *only, struct err *err)
{
    static struct use_record r;
    enum use_folder_at folder;
    char path[96];
    _cleanup_fd_ int guard = -1;
    int done = share_guard(share, SHARE_GUARD_USES, true, &guard, err);
    if (done == 0)
        done = find_lasting(share, name, &folder, &r, err);
    if (done != 0)
        return done;
    struct use_found now = found_of(name, &r);
    if (only && (now.init_pid != only->init_pid || now.init_start != only->init_start))
        return 1;
    snprintf(path, sizeof path, "%s/%s", use_folder[folder], name);
    done = drop_links(share, &r, name);
    if (done == 0)
        done = unlink_at(share, path);
    return done < 0 ? err_set(err, workspace_code(-done), -done, "remove the record of a session",
                              path, NULL)
                    : 0;
}

int use_end_found(int share, const struct use_found *use, struct err *err)
{
    return end_lasting(share, use->name, use, err);
}

int use_end(int share, const char *name, bool exclusive, struct err *err)
{
    char path[96];
    if (is_lasting(name)) {
        int r = end_lasting(share, name, NULL, err);
        return r < 0 ? r : 0;
    }
    snprintf(path, sizeof path, "%s/%s", use_folder[exclusive ? FOLDER_EXCLUSIVE : FOLDER_SHARED],
             name);
    unlinkat(share, path, 0);
    return 0;
}

/* The process that wrote it is there: not worth opening. A pid that was given out again only
 * postpones: the lock decides, here or when somebody compares. */
static bool writer_lives(const char *name)
{
    int pid = 0;
    return sscanf(name, "%d-", &pid) == 1 && pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

static int list_at(int at, const char *name, DIR **ret)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    int r = dir ? 0 : -errno;
    if (dir)
        *ret = dir;
    else
        fd_close(fd);
    return r < 0 || dir ? r : -EIO;
}

/* 1: it lives, or has gone; 0: it is dead; -errno: that is not known. *ret: one that lasted and is
 * dead; it has no name when it could not be read. Nobody is held up after that, so a session of the
 * same name may begin: what is found here says of which one the end is (use_end_found()). Its
 * record goes last, as its end may have to be asked for again. */
static int is_alive(int share, int folder, const char *name, struct use_found *ret, struct err *err)
{
    static struct use_record record;
    /* The guard: a record just made may not be locked yet. */
    _cleanup_fd_ int guard = -1;
    int r = share_guard(share, SHARE_GUARD_USES, true, &guard, err);
    if (r < 0)
        return r;
    if (read_record(folder, name, &record) != 1)
        return 1;
    if (!is_lasting(name)) {
        unlinkat(folder, name, 0); /* placeholders of the dead are looked for next */
        return 0;
    }
    r = load_lasting(folder, name, &record, NULL);
    *ret = r == 0 ? found_of(name, &record) : (struct use_found){0};
    return r == 1;
}

static int reap_folder(int share, DIR *dir, const struct use_dead *dead, struct reaped *reaped,
                       struct err *err)
{
    const struct dirent *e;
    while ((e = readdir(dir))) {
        if (e->d_name[0] == '.' || writer_lives(e->d_name))
            continue;
        struct use_found use = {0};
        int r = is_alive(share, dirfd(dir), e->d_name, &use, err);
        if (r < 0)
            return r;
        if (r > 0)
            continue;
        if (is_lasting(e->d_name))
            r = use.name[0] ? dead->end(dead->data, &use) : -EIO;
        reaped->left += r < 0;
        reaped->count += r == 0;
    }
    return 0;
}

int use_reap(int share, const struct use_dead *dead, struct reaped *reaped, struct err *err)
{
    for (unsigned i = 0; i < FOLDERS; i++) {
        DIR *dir = NULL;
        int r = list_at(share, use_folder[i], &dir);
        if (r == -ENOENT && i == FOLDER_LASTING)
            continue;
        if (r < 0)
            return err_set(err, ERR_UNAVAILABLE, -r, "list", use_folder[i], NULL);
        r = reap_folder(share, dir, dead, reaped, err);
        closedir(dir);
        if (r < 0)
            return r;
    }
    return 0;
}
