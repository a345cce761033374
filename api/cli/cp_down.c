/* This file copies out of a session; it never trusts what the session says: a name is one part of a
 * path or refused, links are not followed, set-id bits are dropped, and what is written stands
 * under a name of its own until it is whole.
 */
#include "api/cli/cp.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool cp_name_ok(const char *name, size_t length)
{
    return length > 0 && length <= CP_NAME_MAX && !memchr(name, 0, length) &&
           !memchr(name, '/', length) && !(length == 1 && name[0] == '.') &&
           !(length == 2 && name[0] == '.' && name[1] == '.');
}

void cp_left_out(struct cp *cp, const char *path, const char *why)
{
    cp->left_out++;
    if (cp->lines_count == CP_LINES_MAX) {
        cp->lines_left++;
        return;
    }
    cp->lines_count++;
    buf_puts(&cp->lines, "berth: not copied: ");
    table_clean(&cp->lines, path, strlen(path));
    buf_printf(&cp->lines, ": %s\n", why);
}

void cp_left_out_end(struct cp *cp)
{
    if (cp->lines_left)
        buf_printf(&cp->lines, "berth: not copied: %" PRIu64 " more that are not named\n",
                   cp->lines_left);
}

void cp_left_out_in(struct cp *cp, const char *top, const char *path, const char *why)
{
    _cleanup_buf_ struct buf whole = {0};
    buf_printf(&whole, "%s/%s", strcmp(top, "/") == 0 ? "" : top, path);
    cp_left_out(cp, buf_text(&whole), why);
}

void cp_begin_again(struct cp *cp)
{
    cp->files = cp->directories = cp->bytes = cp->left_out = 0;
    cp->lines_count = cp->lines_left = 0;
    buf_fini(&cp->lines);
}

static int local_fail(struct err *err, int sys, const char *name, const char *what)
{
    return err_set(err,
                   sys == ENOSPC || sys == EDQUOT ? ERR_INSUFFICIENT_STORAGE : ERR_INVALID_REQUEST,
                   sys, "copy to", name, "%s", what);
}

/* ---- one file -------------------------------------------------------------------------------- */

static int open_temporary(int directory, char ret_name[64], int *ret_fd, struct err *err)
{
    char random[32];
    int r = id_random("", random, sizeof random);
    if (r < 0)
        return err_set(err, ERR_INTERNAL, -r, "make a name", NULL, NULL);
    snprintf(ret_name, 64, ".berth-cp-%s", random);
    *ret_fd =
        openat(directory, ret_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return *ret_fd < 0 ? local_fail(err, errno, "a new file beside it", "") : 0;
}

static int fill_and_rename(struct cp *cp, int directory, const char *temporary, int fd,
                           const char *name,
                           int (*fill)(void *data, int fd, struct cp_file *ret, struct err *err),
                           void *data, struct err *err)
{
    struct cp_file file = {0};
    struct stat st;
    int r = fill(data, fd, &file, err);
    if (r < 0)
        return r;
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, file.modified};
    if (fchmod(fd, file.mode & 0777 & ~cp->mask) < 0 || (file.has_time && futimens(fd, times) < 0))
        return local_fail(err, errno, name, "");
    if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return local_fail(err, EISDIR, name, "A directory is not replaced by a file.");
    return renameat(directory, temporary, directory, name) < 0 ? local_fail(err, errno, name, "")
                                                               : 0;
}

int cp_room(const struct cp *cp, const char *path, uint64_t entries, uint64_t bytes,
            struct err *err)
{
    uint64_t made = cp->files + cp->directories;
    if (made > cp->entries_max || entries > cp->entries_max - made)
        return err_set(err, ERR_TOO_LARGE, 0, "copy", path,
                       "It would be more than %" PRIu64 " files and directories. What came before "
                       "it was copied. Copy a part, or allow more with --max-entries.",
                       cp->entries_max);
    if (cp->bytes > cp->bytes_max || bytes > cp->bytes_max - cp->bytes)
        return err_set(err, ERR_TOO_LARGE, 0, "copy", path,
                       "With it there would be more than %" PRIu64 " bytes. What came before it "
                       "was copied. Copy a part, or allow more with --max-bytes.",
                       cp->bytes_max);
    return 0;
}

int cp_down_new(struct cp *cp, int directory, const char *name,
                int (*fill)(void *data, int fd, struct cp_file *ret, struct err *err), void *data,
                struct err *err)
{
    _cleanup_fd_ int fd = -1;
    char temporary[64];
    if (!cp_name_ok(name, strlen(name)))
        return local_fail(err, 0, name, "That is no name of a file.");
    int r = cp_room(cp, name, 1, 0, err);
    if (r == 0)
        r = open_temporary(directory, temporary, &fd, err);
    if (r < 0)
        return r;
    r = fill_and_rename(cp, directory, temporary, fd, name, fill, data, err);
    if (r < 0)
        unlinkat(directory, temporary, 0);
    else
        cp->files++;
    return r;
}

/* A file that is asked for by itself. */
struct asked {
    struct cp *cp;
    const char *path;
    bool has_mode;
    mode_t mode;
};

static int fill_asked(void *data, int fd, struct cp_file *ret, struct err *err)
{
    const struct asked *asked = data;
    struct client_head head = {0};
    int r = cp_remote_get(asked->cp, asked->path, fd, &head, err);
    ret->mode = asked->has_mode ? asked->mode : head.has_mode ? head.mode : 0666;
    return r;
}

static int down_file(struct cp *cp, const char *path, int directory, const char *name,
                     bool has_mode, mode_t mode, struct err *err)
{
    struct asked asked = {cp, path, has_mode, mode};
    return cp_down_new(cp, directory, name, fill_asked, &asked, err);
}

/* ---- a directory ----------------------------------------------------------------------------- */

struct entry {
    struct buf name, path;
    const char *type;
    mode_t mode;
};

static int read_mode(const char *text, mode_t *ret)
{
    mode_t mode = 0;
    size_t n = strlen(text);
    if (n < 3 || n > 6 || strspn(text, "01234567") != n)
        return -EPROTO;
    for (; *text; text++)
        mode = mode * 8 + (mode_t)(*text - '0');
    *ret = mode & 0777;
    return 0;
}

/* 0; negative: what the session says is not what may be here. */
static int read_entry(const char *directory, const struct json_node *node, struct entry *ret,
                      struct err *err)
{
    static const char what[] =
        "The session says that there is an entry whose name or mode cannot be. "
        "Nothing of that name was touched.";
    if (node->kind != JSON_OBJECT || verb_bytes(&ret->name, node, "name") < 0 ||
        read_mode(verb_text(node, "mode"), &ret->mode) < 0 ||
        !cp_name_ok(buf_text(&ret->name), ret->name.length))
        return err_set(err, ERR_INVALID_REQUEST, EBADMSG, "copy", directory, "%s", what);
    buf_printf(&ret->path, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory,
               buf_text(&ret->name));
    ret->type = verb_text(node, "type");
    return 0;
}

static int down_directory(struct cp *cp, const char *path, int directory, unsigned depth,
                          struct err *err);

/* A directory that is there is used, when it is one and no link to one. */
static int down_child(struct cp *cp, const struct entry *entry, int directory, unsigned depth,
                      int (*content)(struct cp *cp, const char *path, int directory, unsigned depth,
                                     struct err *err),
                      struct err *err)
{
    const char *name = buf_text(&entry->name);
    int r = cp_room(cp, buf_text(&entry->path), 1, 0, err);
    if (r < 0)
        return r;
    bool made = mkdirat(directory, name, 0700) == 0;
    if (!made && errno != EEXIST)
        return local_fail(err, errno, name, "");
    _cleanup_fd_ int child =
        openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (child < 0)
        return local_fail(err, errno, name,
                          "There is something else of this name, and a link is not followed.");
    r = content(cp, buf_text(&entry->path), child, depth, err);
    /* Its owner must be able to remove what came into it. */
    if (r == 0 && made && fchmod(child, (entry->mode & ~cp->mask) | 0700) < 0)
        r = local_fail(err, errno, name, "");
    return r;
}

static int down_entry(struct cp *cp, const char *path, const struct json_node *node, int directory,
                      unsigned depth, struct err *err)
{
    _cleanup_buf_ struct buf name = {0}, whole = {0};
    struct entry entry = {0};
    int r = read_entry(path, node, &entry, err);
    name = entry.name;
    whole = entry.path;
    if (r < 0)
        return r;
    if (buf_failed(&name) || buf_failed(&whole))
        return err_set(err, ERR_INTERNAL, ENOMEM, "copy", path, NULL);
    if (strcmp(entry.type, "file") == 0)
        return down_file(cp, buf_text(&whole), directory, buf_text(&name), true, entry.mode, err);
    if (strcmp(entry.type, "directory") == 0)
        return down_child(cp, &entry, directory, depth + 1, down_directory, err);
    cp_left_out(cp, buf_text(&whole),
                strcmp(entry.type, "symlink") == 0 ? "a link" : "no regular file");
    return 0;
}

/* Where entries of a directory go. */
struct down {
    struct cp *cp;
    const char *path;
    int directory;
    unsigned depth;
};

static int down_each(void *data, const struct json_node *entry, struct err *err)
{
    const struct down *down = data;
    return down_entry(down->cp, down->path, entry, down->directory, down->depth, err);
}

static int down_directory(struct cp *cp, const char *path, int directory, unsigned depth,
                          struct err *err)
{
    struct down down = {cp, path, directory, depth};
    if (depth > CP_DEPTH_MAX)
        return err_set(err, ERR_TOO_LARGE, 0, "copy", path, "At most %d directories deep.",
                       CP_DEPTH_MAX);
    cp->directories++;
    return cp_remote_each(cp, path, down_each, &down, err);
}

/* What is in it, as one archive; file by file where that broke off. */
static int down_content(struct cp *cp, const char *path, int directory, unsigned depth,
                        struct err *err)
{
    int r = cp_tar_down(cp, path, directory, err);
    if (r >= 0 || err->code != ERR_UNAVAILABLE)
        return r;
    cp_begin_again(cp);
    return down_directory(cp, path, directory, depth, err);
}

/* ---- from here ------------------------------------------------------------------------------- */

/* The directory that `word` stands in, which the user named: links on the way there are his. */
static int open_parent(const char *word, int *ret_fd, const char **ret_name, struct err *err)
{
    const char *slash = strrchr(word, '/');
    _cleanup_buf_ struct buf parent = {0};
    buf_add(&parent, word, slash ? (size_t)(slash - word) : 0);
    if (!slash)
        buf_puts(&parent, ".");
    else if (parent.length == 0)
        buf_puts(&parent, "/");
    *ret_fd = open(buf_text(&parent), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_fd < 0)
        return local_fail(err, errno, buf_text(&parent), "");
    *ret_name = slash ? slash + 1 : word;
    return 0;
}

static int down_one(struct cp *cp, const char *path, const struct client_head *head,
                    const char *word, int inside, struct err *err)
{
    _cleanup_fd_ int parent = -1;
    const char *name = cp_leaf(path);
    if (inside >= 0)
        return down_file(cp, path, inside, name, head->has_mode, head->mode, err);
    int r = open_parent(word, &parent, &name, err);
    if (r < 0)
        return r;
    if (name[0] == 0)
        return local_fail(err, ENOENT, word, "There is no such directory.");
    return down_file(cp, path, parent, name, head->has_mode, head->mode, err);
}

static int down_tree(struct cp *cp, const char *path, const struct client_head *head,
                     const char *word, int inside, struct err *err)
{
    _cleanup_fd_ int parent = -1;
    _cleanup_buf_ struct buf name = {0}, plain = {0};
    const char *leaf = cp_leaf(path);
    if (inside >= 0 && leaf[0] == 0)
        return down_content(cp, path, inside, 0, err);
    if (inside < 0) {
        buf_puts(&plain, word);
        while (plain.length > 1 && plain.data[plain.length - 1] == '/')
            plain.data[--plain.length] = 0;
        int r = open_parent(buf_text(&plain), &parent, &leaf, err);
        if (r < 0)
            return r;
    }
    struct entry entry = {.type = "directory", .mode = head->has_mode ? head->mode : 0777};
    if (!cp_name_ok(leaf, strlen(leaf)))
        return local_fail(err, 0, word, "That is no name of a directory.");
    buf_puts(&name, leaf);
    entry.name = name;
    buf_puts(&entry.path, path);
    int r = down_child(cp, &entry, inside >= 0 ? inside : parent, 0, down_content, err);
    buf_fini(&entry.path);
    return r;
}

/* The archive as it comes. What was left out of it is known behind its end. */
static int down_archive(struct cp *cp, const char *path, struct err *err)
{
    struct client_stream *stream = NULL;
    /* What it says may be anything, to a terminal too. */
    if (isatty(STDOUT_FILENO))
        return err_set(err, ERR_USAGE, 0, "copy", path,
                       "A directory comes as an archive, which is nothing for a terminal: send "
                       "standard output to a file or a program.");
    int r = cp_remote_pack(cp, path, &stream, err);
    while (r == 0) {
        const char *piece;
        size_t length;
        r = client_stream_wait(stream, &piece, &length, err);
        if (r != 0)
            break;
        cp->bytes += length;
        r = io_write_full(STDOUT_FILENO, piece, length);
        if (r < 0)
            r = local_fail(err, -r, "standard output", "");
    }
    if (r == CLIENT_STREAM_END)
        cp_tar_left_out(cp, path, client_stream_left_out(stream));
    client_stream_free(stream);
    return r < 0 ? r : 0;
}

int cp_down(struct cp *cp, const char *path, const char *word, struct err *err)
{
    struct client_head head;
    int r = cp_remote_stat(cp, path, &head, err);
    if (r == CP_ABSENT)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "copy", path,
                       "There is no such file in the session.");
    if (r < 0)
        return r;
    const bool directory = strcmp(head.type, "directory") == 0;
    if (strcmp(word, "-") == 0) { /* whoever reads it sees how much it is */
        cp->bytes_max = UINT64_MAX;
        return directory ? down_archive(cp, path, err)
                         : cp_remote_get(cp, path, STDOUT_FILENO, NULL, err);
    }
    _cleanup_fd_ int inside = open(word, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory)
        return down_tree(cp, path, &head, word, inside, err);
    return down_one(cp, path, &head, word, inside, err);
}
