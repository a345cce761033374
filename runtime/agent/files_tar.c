/* This file unpacks a tar into a directory; it never follows a link, whether it was there or came
 * with the archive, and never makes a device, a FIFO or a bit of 07000.
 *
 * It runs inside the session that the archive is for, with the rights of the session's user
 * (docs/adr/0016). The headers are read by tar.c, and what is made is made by files_tree_in.c: each
 * file whole or not at all. An error names the entry; what came before it stays.
 */
#include "runtime/agent/files_internal.h"
#include "runtime/agent/tar.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Headers of any kind. A file costs its sender 512 bytes, and the session several times as much. */
enum { HEADERS_MAX = 500000 };

struct unpacking {
    struct files_tree_writer tree;
    struct tar_reader reader;
    struct tar_entry entry;
    char extension[TAR_EXTENSION_MAX + TAR_BLOCK];
    unsigned headers, zeros;
};

static const char step_name[] = "unpack the archive";

static int malformed(struct unpacking *u, const char *wrong, struct err *err)
{
    const char *path = u->entry.path[0] ? u->entry.path : NULL;
    return err_set(err, ERR_INVALID_REQUEST, EPROTO, step_name, path,
                   "It was refused at its header %u: %s. What came before it was written.",
                   u->headers, wrong);
}

/* `length` bytes of the archive. 0; negative with `err`. */
static int take(struct unpacking *u, void *to, size_t length, struct err *err)
{
    ssize_t n = io_read_full(u->tree.job->in, to, length);
    if (n < 0)
        return files_failed(err, (int)-n, "read the archive", u->entry.path);
    return (size_t)n == length ? 0 : malformed(u, "the archive ends before its end", err);
}

/* The bytes of an extended header. */
static int extend(struct unpacking *u, struct err *err)
{
    const char *wrong = NULL;
    size_t size = (size_t)u->entry.size;
    int r = take(u, u->extension, size + tar_padding(size), err);
    if (r < 0)
        return r;
    return tar_extend(&u->reader, u->extension, size, &wrong) < 0 ? malformed(u, wrong, err) : 0;
}

/* Another name of a file that is in the tree already; reached through no link. */
static int hard_link(struct unpacking *u, struct err *err)
{
    struct files_tree_writer *t = &u->tree;
    const char *name, *target;
    struct stat st;
    memcpy(t->path, u->entry.link, sizeof t->path);
    int r = files_tree_parent(t, &target);
    if (r < 0)
        return files_tree_failed(err, -r, step_name, u->entry.path);
    target = strrchr(u->entry.link, '/');
    target = target ? target + 1 : u->entry.link;
    _cleanup_fd_ int dir = fcntl(t->parent.dir, F_DUPFD_CLOEXEC, 3);
    if (dir < 0)
        return files_failed(err, errno, step_name, u->entry.path);
    if (fstatat(dir, target, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? malformed(u, "it is a hard link to what is not in the tree", err)
                               : files_failed(err, errno, step_name, u->entry.path);
    if (!S_ISREG(st.st_mode))
        return malformed(u, "it is a hard link to what is no file", err);
    memcpy(t->path, u->entry.path, sizeof t->path);
    r = files_tree_parent(t, &name);
    if (r == 0)
        r = files_tree_name(t->parent.dir, name,
                            &(struct files_tree_new){.link_dir = dir, .link_name = target});
    if (r < 0)
        return files_tree_failed(err, -r, step_name, u->entry.path);
    t->job->result->entries++;
    return 0;
}

static int unpack(struct unpacking *u, struct err *err)
{
    static const uint32_t types[] = {[TAR_FILE] = FILES_FILE,
                                     [TAR_DIRECTORY] = FILES_DIRECTORY,
                                     [TAR_SYMLINK] = FILES_SYMLINK,
                                     [TAR_HARDLINK] = FILES_FILE};
    const struct tar_entry *entry = &u->entry;
    char padding[TAR_BLOCK];
    if (entry->path[0] == 0)
        return 0; /* the top is there */
    const struct files_stat stat = {
        .type = types[entry->type], .mode = entry->mode, .size = entry->size};
    const struct timespec modified = {.tv_sec = entry->modified,
                                      .tv_nsec = (long)entry->modified_nsec};
    memcpy(u->tree.path, entry->path, sizeof u->tree.path);
    int r = entry->type == TAR_HARDLINK
                ? hard_link(u, err)
                : files_tree_put(&u->tree, &stat, entry->link, &modified, err);
    if (r < 0 && !strstr(err->detail, "What came before it"))
        err_add(err, "What came before it was written.");
    if (r < 0)
        return r;
    return take(u, padding, tar_padding(entry->size), err);
}

/* What writers add to fill a record: zeros and nothing else. */
static int end(struct unpacking *u, struct err *err)
{
    enum { ZEROS_MAX = 16 << 20 }; /* records of any writer are shorter */
    ssize_t n;
    size_t sum = 0;
    do {
        n = io_read_full(u->tree.job->in, u->extension, sizeof u->extension);
        if (n < 0)
            return files_failed(err, (int)-n, "read the archive", NULL);
        for (ssize_t i = 0; i < n; i++)
            if (u->extension[i])
                return malformed(u, "there is more behind its end", err);
        sum += (size_t)n;
        if (sum > ZEROS_MAX)
            return malformed(u, "its end has no end", err);
    } while ((size_t)n == sizeof u->extension);
    return 0;
}

enum { ARCHIVE_ENDS = 1 };

/* One header and what belongs to it. */
static int next(struct unpacking *u, struct err *err)
{
    unsigned char block[TAR_BLOCK];
    const char *wrong = NULL;
    int r = take(u, block, sizeof block, err);
    if (r < 0)
        return r;
    if (++u->headers > HEADERS_MAX)
        return err_set(err, ERR_TOO_LARGE, E2BIG, step_name, u->entry.path,
                       "An archive has at most %d headers. What came before this one was written: "
                       "send the rest as another archive.",
                       HEADERS_MAX);
    r = tar_read(&u->reader, block, &u->entry, &wrong);
    if (r < 0)
        return malformed(u, wrong, err);
    if (r == TAR_ZERO)
        return ++u->zeros == 2 ? ARCHIVE_ENDS : 0;
    if (u->zeros > 0)
        return malformed(u, "there is more behind its end", err);
    return r == TAR_MORE ? extend(u, err) : unpack(u, err);
}

int files_tar_write(struct files_job *job, struct err *err)
{
    static struct unpacking u; /* one request per process; too large for a stack */
    _cleanup_place_ struct files_place base = FILES_NOWHERE;
    /* Where it runs beneath a view it runs with rights that no archive may meet. */
    if (job->view->beneath)
        return err_set(err, ERR_INVALID_STATE, 0, step_name, job->request->path,
                       "An archive is unpacked inside the session: resume it first.");
    int r = files_tree_base(job, &base, err);
    if (r < 0)
        return r;
    memset(&u, 0, sizeof u);
    u.tree = (struct files_tree_writer){.job = job,
                                        .base = &base,
                                        .most = job->request->size_max ? job->request->size_max
                                                                       : UINT64_MAX,
                                        .parent = FILES_NOWHERE};
    while (r == 0)
        r = next(&u, err);
    files_place_fini(&u.tree.parent);
    return r < 0 ? r : end(&u, err);
}
