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
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

bool cp_name_ok(const char *name, size_t length)
{
    return length > 0 && length <= CP_NAME_MAX && !memchr(name, 0, length) &&
           !memchr(name, '/', length) && !(length == 1 && name[0] == '.') &&
           !(length == 2 && name[0] == '.' && name[1] == '.');
}

void cp_left_out(struct cp *cp, const char *path, const char *why)
{
    _cleanup_buf_ struct buf line = {0};
    cp->left_out++;
    buf_puts(&line, "berth: not copied: ");
    table_clean(&line, path, strlen(path));
    buf_printf(&line, ": %s\n", why);
    (void)io_write_full(STDERR_FILENO, buf_text(&line), line.length);
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

static int fill_and_rename(struct cp *cp, const char *path, int directory, const char *temporary,
                           int fd, const char *name, bool has_mode, mode_t mode, struct err *err)
{
    struct client_head head = {0};
    struct stat st;
    int r = cp_remote_get(cp, path, fd, &head, err);
    if (r < 0)
        return r;
    if (!has_mode)
        mode = head.has_mode ? head.mode : 0666;
    if (fchmod(fd, mode & 0777 & ~cp->mask) < 0)
        return local_fail(err, errno, name, "");
    if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return local_fail(err, EISDIR, name, "A directory is not replaced by a file.");
    return renameat(directory, temporary, directory, name) < 0 ? local_fail(err, errno, name, "")
                                                               : 0;
}

int cp_down_file(struct cp *cp, const char *path, int directory, const char *name, bool has_mode,
                 mode_t mode, struct err *err)
{
    _cleanup_fd_ int fd = -1;
    char temporary[64];
    if (!cp_name_ok(name, strlen(name)))
        return local_fail(err, 0, name, "That is no name of a file.");
    int r = open_temporary(directory, temporary, &fd, err);
    if (r < 0)
        return r;
    r = fill_and_rename(cp, path, directory, temporary, fd, name, has_mode, mode, err);
    if (r < 0)
        unlinkat(directory, temporary, 0);
    else
        cp->files++;
    return r;
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
                      struct err *err)
{
    const char *name = buf_text(&entry->name);
    bool made = mkdirat(directory, name, 0700) == 0;
    if (!made && errno != EEXIST)
        return local_fail(err, errno, name, "");
    _cleanup_fd_ int child =
        openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (child < 0)
        return local_fail(err, errno, name,
                          "There is something else of this name, and a link is not followed.");
    int r = down_directory(cp, buf_text(&entry->path), child, depth + 1, err);
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
        return cp_down_file(cp, buf_text(&whole), directory, buf_text(&name), true, entry.mode,
                            err);
    if (strcmp(entry.type, "directory") == 0)
        return down_child(cp, &entry, directory, depth, err);
    cp_left_out(cp, buf_text(&whole),
                strcmp(entry.type, "symlink") == 0 ? "a link" : "no regular file");
    return 0;
}

/* One page; *ret_next gets what the next one begins behind, "" at the end. */
static int down_page(struct cp *cp, const char *path, int directory, unsigned depth,
                     const char *after, struct buf *ret_next, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf document = {0};
    struct json_error error;
    const struct json_node *root = NULL;
    int r = cp_remote_list(cp, path, after, &document, err);
    if (r < 0)
        return r;
    r = json_parse(&arena, buf_text(&document), document.length, CLIENT_DOCUMENT_MAX, false, &root,
                   &error);
    if (r < 0 || root->kind != JSON_OBJECT)
        return err_set(err, ERR_INTERNAL, EPROTO, "list", path, "That is no listing.");
    const struct json_node *list = json_member(root, "entries");
    for (const struct json_node *e = list && list->kind == JSON_ARRAY ? list->first : NULL; e;
         e = e->next) {
        r = down_entry(cp, path, e, directory, depth, err);
        if (r < 0)
            return r;
    }
    (void)verb_bytes(ret_next, root, "next"); /* absent: the end */
    return 0;
}

static int down_directory(struct cp *cp, const char *path, int directory, unsigned depth,
                          struct err *err)
{
    _cleanup_buf_ struct buf next = {0};
    int r;
    if (depth > CP_DEPTH_MAX)
        return err_set(err, ERR_TOO_LARGE, 0, "copy", path, "At most %d directories deep.",
                       CP_DEPTH_MAX);
    cp->directories++;
    do {
        _cleanup_buf_ struct buf after = next;
        next = (struct buf){0};
        r = down_page(cp, path, directory, depth, buf_text(&after), &next, err);
        /* Pages go forward: what a session says must not keep us here for ever. */
        if (r == 0 && next.length && strcmp(buf_text(&next), buf_text(&after)) <= 0 && after.length)
            return err_set(err, ERR_INTERNAL, EPROTO, "list", path, "Its pages do not go forward.");
    } while (r == 0 && next.length);
    return r;
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
        return cp_down_file(cp, path, inside, name, head->has_mode, head->mode, err);
    int r = open_parent(word, &parent, &name, err);
    if (r < 0)
        return r;
    if (name[0] == 0)
        return local_fail(err, ENOENT, word, "There is no such directory.");
    return cp_down_file(cp, path, parent, name, head->has_mode, head->mode, err);
}

static int down_tree(struct cp *cp, const char *path, const struct client_head *head,
                     const char *word, int inside, struct err *err)
{
    _cleanup_fd_ int parent = -1;
    _cleanup_buf_ struct buf name = {0}, plain = {0};
    const char *leaf = cp_leaf(path);
    if (inside >= 0 && leaf[0] == 0)
        return down_directory(cp, path, inside, 0, err);
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
    int r = down_child(cp, &entry, inside >= 0 ? inside : parent, 0, err);
    buf_fini(&entry.path);
    return r;
}

int cp_down(struct cp *cp, const char *path, const char *word, struct err *err)
{
    struct client_head head;
    if (strcmp(word, "-") == 0)
        return cp_remote_get(cp, path, STDOUT_FILENO, NULL, err);
    int r = cp_remote_stat(cp, path, &head, err);
    if (r == CP_ABSENT)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "copy", path,
                       "There is no such file in the session.");
    if (r < 0)
        return r;
    _cleanup_fd_ int inside = open(word, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (strcmp(head.type, "directory") == 0)
        return down_tree(cp, path, &head, word, inside, err);
    return down_one(cp, path, &head, word, inside, err);
}
