/* This file lists a directory, sorted and in pages, to a depth; it never holds more of a directory
 * in memory than one page, however many entries there are.
 *
 * Names are compared as bytes and paths part by part, so a directory is followed by what is in it.
 * A page begins after a path that need not be there any more. Each page reads each of its
 * directories once: of the names, a heap keeps the first ones that are to come.
 */
#include "runtime/agent/files_internal.h"

#include "runtime/base/buf.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OUT_SIZE = 64 * 1024 };

typedef char entry_name[FILES_NAME_MAX];

struct list {
    struct files_job *job;
    uint32_t left; /* entries of this page that may still come */
    struct buf out;
    char path[FILES_PATH_MAX]; /* of the directory that is listed, with a slash at its end, or "" */
    size_t length;
};

/* The first `room` names of those that were put in. */
struct heap {
    entry_name *names;
    uint16_t *order; /* a heap, its greatest first; sorted in the end */
    uint32_t count, room;
};

static const char *name_at(const struct heap *h, uint32_t i)
{
    return h->names[h->order[i]];
}

static void heap_swap(struct heap *h, uint32_t a, uint32_t b)
{
    uint16_t keep = h->order[a];
    h->order[a] = h->order[b];
    h->order[b] = keep;
}

static void heap_sink(struct heap *h, uint32_t at, uint32_t count)
{
    for (;;) {
        uint32_t greatest = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++)
            if (strcmp(name_at(h, child), name_at(h, greatest)) > 0)
                greatest = child;
        if (greatest == at)
            return;
        heap_swap(h, at, greatest);
        at = greatest;
    }
}

static void heap_put(struct heap *h, const char *name)
{
    uint32_t at = 0;
    if (h->count < h->room) {
        at = h->count++;
        h->order[at] = (uint16_t)at;
    } else if (strcmp(name, name_at(h, 0)) >= 0) {
        return;
    }
    snprintf(h->names[h->order[at]], sizeof h->names[0], "%s", name);
    for (; at > 0 && strcmp(name_at(h, at), name_at(h, (at - 1) / 2)) > 0; at = (at - 1) / 2)
        heap_swap(h, at, (at - 1) / 2);
    heap_sink(h, at, h->count);
}

static void heap_sort(struct heap *h)
{
    for (uint32_t n = h->count; n > 1; n--) {
        heap_swap(h, 0, n - 1);
        heap_sink(h, 0, n - 1);
    }
}

static void heap_fini(struct heap *h)
{
    free(h->names);
    free(h->order);
}

static int heap_fill(struct heap *h, int dir, const char *from)
{
    int copy = fcntl(dir, F_DUPFD_CLOEXEC, 3);
    DIR *stream = copy < 0 ? NULL : fdopendir(copy);
    if (!stream) {
        fd_close(copy);
        return -errno;
    }
    const struct dirent *e;
    errno = 0;
    while ((e = readdir(stream))) { /* NOLINT(concurrency-mt-unsafe): one thread, own stream */
        bool own = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
        if (!own && strcmp(e->d_name, from) >= 0)
            heap_put(h, e->d_name);
        errno = 0;
    }
    int r = -errno;
    closedir(stream);
    return r;
}

static int flush(struct list *l, struct err *err)
{
    int r = buf_failed(&l->out) ? -ENOMEM : io_write_full(l->job->out, l->out.data, l->out.length);
    l->out.length = 0;
    return r < 0 ? files_failed(err, -r, "write the list", NULL) : 0;
}

static int emit(struct list *l, const char *name, const struct stat *st, struct err *err)
{
    size_t n = strlen(name);
    struct files_entry entry = {.magic = FILES_MAGIC, .path_length = (uint32_t)(l->length + n)};
    files_tell(l->job->view, st, &entry.stat);
    buf_add(&l->out, &entry, sizeof entry);
    buf_add(&l->out, l->path, l->length);
    buf_add(&l->out, name, n);
    l->left--;
    l->job->result->bytes++;
    return l->out.length >= OUT_SIZE || buf_failed(&l->out) ? flush(l, err) : 0;
}

static int list_directory(struct list *l, int dir, unsigned depth, const char *after,
                          struct err *err);

static int list_beneath(struct list *l, int dir, dev_t device, const char *name, unsigned depth,
                        const char *after, struct err *err)
{
    size_t length = l->length;
    _cleanup_fd_ int fd = files_open(l->job->view, dir, name, O_RDONLY | O_DIRECTORY, 0, device);
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
        return files_failed(err, -fd, "list", name);
    if (fd < 0) {
        l->job->result->skipped += fd != -ENOENT;
        return 0;
    }
    l->length += (size_t)snprintf(l->path + length, sizeof l->path - length, "%s/", name);
    int r = list_directory(l, fd, depth, after, err);
    l->length = length;
    l->path[length] = 0;
    return r;
}

/* One of the names, and what is beneath it. `after`: what of the page's beginning is beneath it;
 * NULL: the name itself is still to come. */
static int list_name(struct list *l, int dir, dev_t device, const char *name, unsigned depth,
                     const char *after, struct err *err)
{
    struct stat st;
    int r = 0;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
        return 0; /* it was removed meanwhile */
    if (l->length + strlen(name) + 1 >= sizeof l->path) {
        l->job->result->skipped++;
        return 0;
    }
    if (!after && l->left == 0) {
        l->job->result->more = 1;
        return 0;
    }
    if (!after)
        r = emit(l, name, &st, err);
    if (r == 0 && depth > 1 && S_ISDIR(st.st_mode))
        r = list_beneath(l, dir, device, name, depth - 1, after ? after : "", err);
    return r;
}

static int list_directory(struct list *l, int dir, unsigned depth, const char *after,
                          struct err *err)
{
    char first[FILES_NAME_MAX] = "";
    size_t n = strcspn(after, "/");
    if (n < sizeof first) {
        memcpy(first, after, n);
        first[n] = 0;
    }
    const char *rest = after[n] ? after + n + 1 : "";
    struct stat st;
    /* One more for the page's beginning, and one to know whether there are more. */
    struct heap h = {.room = l->left + 2};
    h.names = calloc(h.room, sizeof *h.names);
    h.order = calloc(h.room, sizeof *h.order);
    int r = !h.names || !h.order  ? -ENOMEM
            : fstat(dir, &st) < 0 ? -errno
                                  : heap_fill(&h, dir, first);
    if (r < 0)
        files_failed(err, -r, "list", l->path);
    heap_sort(&h);
    for (uint32_t i = 0; r == 0 && i < h.count && !l->job->result->more; i++) {
        bool begun = first[0] && strcmp(name_at(&h, i), first) == 0;
        r = list_name(l, dir, st.st_dev, name_at(&h, i), depth, begun ? rest : NULL, err);
    }
    heap_fini(&h);
    return r;
}

int files_list(struct files_job *job, struct err *err)
{
    const struct files_request *request = job->request;
    _cleanup_place_ struct files_place place = FILES_NOWHERE;
    int r = files_resolve(job->view, request->path, FILES_FOLLOW, &place, err);
    if (r < 0)
        return r;
    if (!S_ISDIR(place.stat.st_mode))
        return err_set(err, ERR_INVALID_REQUEST, ENOTDIR, "list", request->path,
                       "It is not a directory.");
    _cleanup_fd_ int dir =
        files_open(job->view, place.name[0] ? place.dir : place.fd,
                   place.name[0] ? place.name : ".", O_RDONLY | O_DIRECTORY, 0, place.stat.st_dev);
    if (dir < 0)
        return files_failed(err, -dir, "list", request->path);
    r = files_begin(job, &place.stat, 0, UINT64_MAX, err);
    if (r < 0)
        return r;
    struct list l = {.job = job, .left = request->limit ? request->limit : FILES_LIST_MAX};
    r = list_directory(&l, dir, request->depth ? request->depth : 1, request->path2, err);
    if (r == 0)
        r = flush(&l, err);
    buf_fini(&l.out);
    return r;
}
