/* This file copies into a session; it never follows a link below the place that was named, because
 * what lies behind one was not asked for. */
#include "api/cli/cp.h"

#include "runtime/base/fd.h"
#include "runtime/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static int local_fail(struct err *err, int sys, const char *name, const char *what)
{
    return err_set(err, sys == ENOENT ? ERR_NOT_FOUND : ERR_INVALID_REQUEST, sys, "copy", name,
                   "%s", what);
}

static void directory_close(DIR **directory)
{
    if (*directory)
        closedir(*directory);
}

static int up_directory(struct cp *cp, int fd, const char *path, unsigned depth, struct err *err);

/* Names of one directory in the session that are links, each with its NUL. */
static int note_link(void *data, const struct json_node *entry, struct err *err)
{
    struct buf *links = data;
    if (strcmp(verb_text(entry, "type"), "symlink") != 0)
        return 0;
    if (verb_bytes(links, entry, "name") < 0)
        return err_set(err, ERR_INTERNAL, EPROTO, "list", NULL, "That is no listing.");
    buf_putc(links, 0);
    return 0;
}

static bool is_noted(const struct buf *links, const char *name)
{
    for (size_t at = 0; at < links->length; at += strlen(buf_text(links) + at) + 1)
        if (strcmp(buf_text(links) + at, name) == 0)
            return true;
    return false;
}

/* Never waits: what became a FIFO since it was looked at is opened without blocking, and seen. */
static int up_entry(struct cp *cp, int directory, const char *name, const char *path,
                    const struct buf *links, unsigned depth, struct err *err)
{
    _cleanup_buf_ struct buf whole = {0};
    struct stat st;
    buf_printf(&whole, "%s/%s", strcmp(path, "/") == 0 ? "" : path, name);
    if (buf_failed(&whole))
        return err_set(err, ERR_INTERNAL, ENOMEM, "copy", name, NULL);
    if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return local_fail(err, errno, name, "");
    if (files_holds_a_name(st.st_mode))
        return 0;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        cp_left_out(cp, buf_text(&whole), S_ISLNK(st.st_mode) ? "a link" : "no regular file");
        return 0;
    }
    _cleanup_fd_ int fd =
        openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return local_fail(err, errno, name, "");
    /* In words of an archive, which is refused for the same. */
    if (is_noted(links, name) && S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID_REQUEST, ENOTDIR, "copy to", buf_text(&whole),
                       "What stands on its way is no directory: links are not followed there. "
                       "What came before it was written.");
    if (S_ISDIR(st.st_mode)) {
        int r = cp_remote_mkdir(cp, buf_text(&whole), st.st_mode & 0777, err);
        return r < 0 ? r : up_directory(cp, fd, buf_text(&whole), depth + 1, err);
    }
    if (!S_ISREG(st.st_mode)) {
        cp_left_out(cp, buf_text(&whole), "no regular file");
        return 0;
    }
    /* A file takes the place of the link itself there too, and not of what is behind it. */
    int r = is_noted(links, name) ? cp_remote_remove(cp, buf_text(&whole), err) : 0;
    if (r == 0)
        r = cp_remote_put(cp, buf_text(&whole), fd, st.st_mode & 0777, true, err);
    if (r == 0) {
        cp->files++;
        cp->bytes += (uint64_t)st.st_size;
    }
    return r;
}

static int up_directory(struct cp *cp, int fd, const char *path, unsigned depth, struct err *err)
{
    if (depth > CP_DEPTH_MAX)
        return err_set(err, ERR_TOO_LARGE, 0, "copy", path, "At most %d directories deep.",
                       CP_DEPTH_MAX);
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    __attribute__((cleanup(directory_close))) DIR *directory = own < 0 ? NULL : fdopendir(own);
    if (!directory) {
        int r = local_fail(err, errno, path, "");
        fd_close(own);
        return r;
    }
    cp->directories++;
    /* What is behind a link there was not named. The session does not run, or what its programs
     * change meanwhile is theirs anyway. */
    _cleanup_buf_ struct buf links = {0};
    int r = cp_remote_each(cp, path, note_link, &links, err);
    if (r < 0)
        return r;
    if (buf_failed(&links))
        return err_set(err, ERR_INTERNAL, ENOMEM, "copy", path, NULL);
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry)
            return errno ? local_fail(err, errno, path, "") : 0;
        if (!cp_name_ok(entry->d_name, strlen(entry->d_name)))
            continue;
        r = up_entry(cp, fd, entry->d_name, path, &links, depth, err);
        if (r < 0)
            return r;
    }
}

/* As one archive; file by file into a session that takes none now, and where it broke off. */
static int up_content(struct cp *cp, int fd, const char *path, struct err *err)
{
    int r = cp_tar_up(cp, fd, path, err);
    if (r >= 0 || (err->code != ERR_UNAVAILABLE && err->code != ERR_INVALID_STATE))
        return r;
    cp_begin_again(cp);
    return up_directory(cp, fd, path, 0, err);
}

/* Standard input: a file, or where the target is a directory, an archive. */
static int up_stream(struct cp *cp, const char *path, bool into, struct err *err)
{
    struct client_head head;
    int r = cp_remote_stat(cp, path, &head, err);
    if (r < 0)
        return r;
    bool directory = r == 0 && strcmp(head.type, "directory") == 0;
    if (directory || into)
        return cp_remote_unpack(cp, path, STDIN_FILENO, NULL, NULL, err);
    return cp_remote_put(cp, path, STDIN_FILENO, 0, false, err);
}

/* Where it goes: into what is a directory there, else to that name. */
static int choose_target(struct cp *cp, const char *word, const char *path, bool into,
                         bool is_directory, struct buf *out, struct err *err)
{
    struct client_head head;
    _cleanup_buf_ struct buf plain = {0};
    cp_path("/", word, &plain);
    const char *leaf = cp_leaf(buf_text(&plain));
    int r = cp_remote_stat(cp, path, &head, err);
    if (r < 0)
        return r;
    bool there = r == 0 && strcmp(head.type, "directory") == 0;
    if (r == 0 && is_directory && !there)
        return err_set(err, ERR_INVALID_REQUEST, ENOTDIR, "copy to", path,
                       "A file is not replaced by a directory.");
    /* The content of "." and of "/" has no name of its own. */
    bool named = leaf[0] && strcmp(leaf, "..") != 0 && strcmp(cp_leaf(word), ".") != 0;
    if (!is_directory && (there || into) && !named)
        return err_set(err, ERR_INVALID_REQUEST, EISDIR, "copy to", path, "Say the file's name.");
    buf_puts(out, path);
    if (named && (there || (into && !is_directory)))
        buf_printf(out, "%s%s", strcmp(path, "/") == 0 ? "" : "/", leaf);
    return 0;
}

int cp_up(struct cp *cp, const char *word, const char *path, bool into, struct err *err)
{
    _cleanup_buf_ struct buf target = {0};
    struct stat st;
    if (strcmp(word, "-") == 0)
        return up_stream(cp, path, into, err);
    _cleanup_fd_ int fd = open(word, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return local_fail(err, errno, word, "");
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return local_fail(err, 0, word,
                          "This is neither a file nor a directory. For a pipe, write - and give it "
                          "as standard input.");
    int r = choose_target(cp, word, path, into, S_ISDIR(st.st_mode), &target, err);
    if (r < 0)
        return r;
    if (S_ISDIR(st.st_mode)) {
        r = cp_remote_mkdir(cp, buf_text(&target), st.st_mode & 0777, err);
        return r < 0 ? r : up_content(cp, fd, buf_text(&target), err);
    }
    r = cp_remote_put(cp, buf_text(&target), fd, st.st_mode & 0777, true, err);
    if (r == 0) {
        cp->files++;
        cp->bytes += (uint64_t)st.st_size;
    }
    return r;
}
