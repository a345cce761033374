/* This file knows the names of sessions that last, their directories and who their init is; it
 * never starts or ends one. PRIVILEGED: the launcher's.
 *
 * Should: believe a pid only together with its start time and boot. Mustn't: follow a link, take a
 * name that is not of serve_name()'s making. Callers: runtime/host/lasting_*.c, runtime.c.
 */
#include "runtime/host/lasting.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/stage/stage.h"
#include "runtime/stage/sys.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ---- names ------------------------------------------------------------------------------------
 */

static bool is_instance(const char *text, size_t length)
{
    return length > 0 && length < sizeof((struct session_name *)0)->instance &&
           strspn(text, "0123456789abcdef") >= length;
}

int lasting_names_make(const struct session_name *name, struct lasting_names *ret, struct err *err)
{
    size_t length = strnlen(name->instance, sizeof name->instance);
    if (!is_instance(name->instance, length) || name->row <= 0 || name->incarnation <= 0)
        return err_set(err, ERR_INVALID_REQUEST, 0, "name a session", NULL,
                       "An instance is hexadecimal; row and incarnation are positive.");
    char of_instance[SERVE_NAME_SIZE];
    serve_name(of_instance, name->row, name->incarnation);
    snprintf(ret->id, sizeof ret->id, "%s-%s", name->instance, of_instance);
    snprintf(ret->cgroup, sizeof ret->cgroup, "run-%s", ret->id);
    return 0;
}

bool lasting_name_parse(const char *id, struct session_name *ret)
{
    const char *dash = strchr(id, '-');
    unsigned long long row;
    long long incarnation;
    if (!dash || !is_instance(id, (size_t)(dash - id)) ||
        sscanf(dash, "-%16llx-%19lld", &row, &incarnation) != 2)
        return false;
    struct session_name name = {.row = (int64_t)row, .incarnation = incarnation};
    memcpy(name.instance, id, (size_t)(dash - id));
    struct lasting_names names;
    /* Written back it must be the same: one name has one spelling. */
    if (lasting_names_make(&name, &names, NULL) < 0 || strcmp(names.id, id) != 0)
        return false;
    *ret = name;
    return true;
}

/* ---- places ------------------------------------------------------------------------------------
 */

static int fail(struct err *err, const char *step, const char *subject)
{
    return err_set(err, ERR_UNAVAILABLE, errno, step, subject,
                   errno == ENOSPC ? "The file system of the runtime directory is full: free some "
                                     "space, or name another with BERTH_RUNTIME_DIR."
                                   : NULL);
}

static int sessions_open(struct runtime *rt, bool make, bool searchable, int *ret_dir,
                         struct err *err)
{
    static const char step[] = "open the directory of sessions in";
    _cleanup_fd_ int base = open(rt->runtime_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (base < 0 || fstat(base, &st) < 0)
        return fail(err, step, rt->runtime_dir);
    /* Who connects to a session is another user than this one: he must get there, and may list
     * nothing on the way. */
    if (searchable && (st.st_mode & 0111) != 0111 && fchmod(base, (st.st_mode & 07777) | 0111) < 0)
        return fail(err, "make searchable", rt->runtime_dir);
    if (make && mkdirat(base, "sessions", 0711) < 0 && errno != EEXIST)
        return fail(err, "make the directory of sessions in", rt->runtime_dir);
    int dir = openat(base, "sessions", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return !make && errno == ENOENT ? 1 : fail(err, step, rt->runtime_dir);
    *ret_dir = dir;
    return 0;
}

/* 1: there is none. */
static int place_open_at(int sessions, const char *directory, int *ret_place, struct err *err)
{
    int fd = openat(sessions, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 1 : fail(err, "open the directory of session", directory);
    *ret_place = fd;
    return 0;
}

static int place_remove_at(int sessions, const char *directory, struct err *err)
{
    static const char *const files[] = {STAGE_SOCKET_NAME, "identity", "identity.new", "network",
                                        "network.new",     "names",    "watched",      "used"};
    _cleanup_fd_ int place = -1;
    int r = place_open_at(sessions, directory, &place, err);
    if (r != 0)
        return r < 0 ? r : 0;
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++)
        if (unlinkat(place, files[i], 0) < 0 && errno != ENOENT)
            return fail(err, "remove a file of session", directory);
    if (unlinkat(sessions, directory, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return fail(err, "remove the directory of session", directory);
    return 0;
}

/* What is there is this berth's own: of a start that was cut off. An init that lives in it has its
 * record, and did not let us come here. */
static int make_way(int sessions, const char *directory, struct err *err)
{
    struct lasting_file file;
    _cleanup_fd_ int place = -1, pidfd = -1;
    int r = place_open_at(sessions, directory, &place, err);
    if (r == 0)
        r = lasting_file_read(place, &file, err);
    if (r == 0)
        r = lasting_open_init(&file.identity, &pidfd, err);
    if (r < 0)
        return r;
    if (r == 0)
        return err_set(err, ERR_SESSION_EXISTS, EEXIST, "make the directory of session", directory,
                       "The session of that name lives.");
    return place_remove_at(sessions, directory, err);
}

int lasting_place_make(struct runtime *rt, const char *directory, bool searchable, int *ret_place,
                       struct err *err)
{
    _cleanup_fd_ int sessions = -1;
    int r = sessions_open(rt, true, searchable, &sessions, err);
    if (r < 0)
        return r;
    if (mkdirat(sessions, directory, 0711) < 0) {
        if (errno != EEXIST)
            return fail(err, "make the directory of session", directory);
        r = make_way(sessions, directory, err);
        if (r < 0)
            return r;
        if (mkdirat(sessions, directory, 0711) < 0)
            return fail(err, "make the directory of session", directory);
    }
    r = place_open_at(sessions, directory, ret_place, err);
    if (r == 0 && fchmod(*ret_place, 0711) == 0) /* whatever the umask is */
        return 0;
    r = r < 0 ? r : fail(err, "open the directory of session", directory);
    unlinkat(sessions, directory, AT_REMOVEDIR);
    return r;
}

int lasting_place_open(struct runtime *rt, const char *directory, int *ret_place, struct err *err)
{
    _cleanup_fd_ int sessions = -1;
    int r = sessions_open(rt, false, false, &sessions, err);
    return r == 0 ? place_open_at(sessions, directory, ret_place, err) : r;
}

int lasting_place_remove(struct runtime *rt, const char *directory, struct err *err)
{
    _cleanup_fd_ int sessions = -1;
    int r = sessions_open(rt, false, false, &sessions, err);
    return r != 0 ? (r < 0 ? r : 0) : place_remove_at(sessions, directory, err);
}

/* ---- identity ----------------------------------------------------------------------------------
 */

int lasting_file_write(int place, const struct lasting_file *file, struct err *err)
{
    const struct session_identity *id = &file->identity;
    char text[SPEC_PATH_MAX + 640];
    int n = snprintf(text, sizeof text,
                     "boot %s\ninit %" PRId64 " %" PRId64 "\ninodes %" PRId64 " %" PRId64
                     "\nids %" PRId64 " %" PRId64 "\ncgroup %s\n",
                     id->boot_id, id->init_pid, id->init_start, id->cgroup_inode, id->netns_inode,
                     id->uid_base, id->uid_count, file->cgroup);
    /* Renamed into its place: who reads it finds a whole one. It need not outlive a crash of the
     * host, after which no session does. */
    _cleanup_fd_ int fd =
        openat(place, "identity.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(err, "write who init is", "identity.new");
    int r = io_write_full(fd, text, (size_t)n);
    if (r == 0 && renameat(place, "identity.new", place, "identity") < 0)
        r = -errno;
    errno = -r;
    return r < 0 ? fail(err, "write who init is", "identity") : 0;
}

int lasting_file_read(int place, struct lasting_file *ret, struct err *err)
{
    struct lasting_file file = {0};
    struct session_identity *id = &file.identity;
    char text[SPEC_PATH_MAX + 640];
    ssize_t n = io_read_at(place, "identity", text, sizeof text);
    if (n == -ENOENT)
        return 1;
    errno = n < 0 ? (int)-n : 0;
    if (n < 0)
        return fail(err, "read who init is", "identity");
    int at = 0;
    if (sscanf(text,
               "boot %39s init %" SCNd64 " %" SCNd64 " inodes %" SCNd64 " %" SCNd64 " ids %" SCNd64
               " %" SCNd64 " cgroup%n",
               id->boot_id, &id->init_pid, &id->init_start, &id->cgroup_inode, &id->netns_inode,
               &id->uid_base, &id->uid_count, &at) != 7 ||
        at == 0 || id->init_pid <= 1)
        return err_set(err, ERR_INTERNAL, EBADMSG, "read who init is", "identity",
                       "It is no file of this version of berth.");
    if (text[at] == ' ')
        snprintf(file.cgroup, sizeof file.cgroup, "%s", text + at + 1);
    *ret = file;
    return 0;
}

int lasting_boot_id(char ret[40], struct err *err)
{
    ssize_t n = io_read_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", ret, 40);
    errno = n < 0 ? (int)-n : EIO;
    return n > 0 ? 0 : fail(err, "read which boot this is", "/proc/sys/kernel/random/boot_id");
}

int lasting_open_init(const struct session_identity *identity, int *ret_pidfd, struct err *err)
{
    char boot[40];
    int r = lasting_boot_id(boot, err);
    if (r < 0)
        return r;
    if (strcmp(boot, identity->boot_id) != 0 || identity->init_pid <= 1)
        return 1;
    _cleanup_fd_ int pidfd = sys_pidfd_open((pid_t)identity->init_pid);
    if (pidfd < 0)
        return errno == ESRCH ? 1 : fail(err, "open init of a session", NULL);
    uint64_t started;
    r = process_start_time((pid_t)identity->init_pid, &started);
    if (r == -ENOENT || r == -ESRCH || (r == 0 && started != (uint64_t)identity->init_start))
        return 1;
    errno = -r;
    if (r < 0)
        return fail(err, "read the start time of init", NULL);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    if (poll(&p, 1, 0) != 0)
        return 1;
    *ret_pidfd = take_fd(&pidfd);
    return 0;
}

int lasting_open_cgroup(const struct runtime *rt, const char *cgroup, const char *recorded,
                        int *ret, struct err *err)
{
    char path[SPEC_PATH_MAX + 128];
    if (rt->cgroup.layout == RUNTIME_CGROUP_NONE && !recorded[0])
        return 1;
    if (recorded[0])
        snprintf(path, sizeof path, "%s", recorded);
    else
        snprintf(path, sizeof path, "%s/%s", rt->cgroup.v2, cgroup);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 1 : fail(err, "open the cgroup of a session", path);
    *ret = fd;
    return 0;
}
