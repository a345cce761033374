/* This file finds out whether a directory is somebody's home: by /etc/passwd, which it reads itself
 * (berth is static and has no NSS), and by the caller's $HOME. It never changes anything, and what
 * it cannot find out it answers with yes, because then more is protected.
 *
 * PRIVILEGED: the launcher's. Namespace: the host's mount namespace. Should: read one file, and
 * look at very few directories, for a host may have thousands of accounts whose homes are on a
 * server. Mustn't: write. Callers: workspace_protect.c, when a path for homes is missing.
 */
#include "runtime/host/workspace_home.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { PASSWD_MAX = 64 << 20, FIRST_PERSON = 1000 };

enum { FIELD_NAME, FIELD_PASSWORD, FIELD_UID, FIELD_GID, FIELD_GECOS, FIELD_HOME, FIELD_SHELL };

struct field {
    const char *at;
    size_t length;
};

/* Field `index` of a line; a missing one is empty. */
static struct field field_of(struct field line, unsigned index)
{
    const char *end = line.at + line.length, *at = line.at;
    for (; index > 0; index--) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        if (!colon)
            return (struct field){end, 0};
        at = colon + 1;
    }
    const char *colon = memchr(at, ':', (size_t)(end - at));
    return (struct field){at, (size_t)((colon ? colon : end) - at)};
}

static bool read_uid(struct field f, uint32_t *ret)
{
    uint64_t uid = 0;
    for (size_t i = 0; i < f.length; i++) {
        if (f.at[i] < '0' || f.at[i] > '9' || uid > UINT32_MAX)
            return false;
        uid = uid * 10 + (uint64_t)(f.at[i] - '0');
    }
    *ret = (uint32_t)uid;
    return f.length > 0 && uid <= UINT32_MAX;
}

static bool ends_in(struct field f, const char *word)
{
    size_t n = strlen(word);
    return f.length >= n && memcmp(f.at + f.length - n, word, n) == 0;
}

static size_t without_slashes(const char *path, size_t length)
{
    while (length > 0 && path[length - 1] == '/')
        length--;
    return length;
}

static bool read_account(struct field line, struct home_account *ret)
{
    struct field home = field_of(line, FIELD_HOME), shell = field_of(line, FIELD_SHELL);
    uint32_t uid;
    if (line.length == 0 || strchr("#+-", line.at[0]) || !read_uid(field_of(line, FIELD_UID), &uid))
        return false;
    size_t length = without_slashes(home.at, home.length);
    if ((uid != 0 && uid < FIRST_PERSON) || length == 0 || home.at[0] != '/' ||
        ends_in(shell, "nologin") || ends_in(shell, "false"))
        return false;
    *ret = (struct home_account){uid, home.at, length};
    return true;
}

bool home_next_account(const char **text, const char *end, struct home_account *ret)
{
    while (*text < end) {
        const char *newline = memchr(*text, '\n', (size_t)(end - *text));
        struct field line = {*text, (size_t)((newline ? newline : end) - *text)};
        *text = newline ? newline + 1 : end;
        if (read_account(line, ret))
            return true;
    }
    return false;
}

/* Only what says that nothing is there is a no. */
static bool is_directory_of(const char *home, size_t length, const struct stat *st)
{
    char path[PATH_MAX];
    struct stat other;
    if (length >= sizeof path)
        return false; /* a path that cannot be */
    memcpy(path, home, length);
    path[length] = 0;
    if (stat(path, &other) < 0)
        return errno != ENOENT && errno != ENOTDIR;
    return other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

static struct field last_part(const char *path, size_t length)
{
    const char *slash = memrchr(path, '/', length);
    const char *name = slash ? slash + 1 : path;
    return (struct field){name, (size_t)(path + length - name)};
}

static bool is_home_of(const struct home_account *a, const char *path, size_t length,
                       const struct stat *st)
{
    if (a->length == length && memcmp(a->home, path, length) == 0)
        return true;
    struct field name = last_part(path, length), other = last_part(a->home, a->length);
    bool alike = name.length == other.length && memcmp(name.at, other.at, name.length) == 0;
    /* A home that is a link to elsewhere has another last part there. */
    return (alike || a->uid == st->st_uid) && is_directory_of(a->home, a->length, st);
}

bool home_is_known(const char *path, const struct stat *st)
{
    const char *own = getenv("HOME");
    size_t length = own && own[0] == '/' ? without_slashes(own, strlen(own)) : 0;
    if (length > 0 && is_directory_of(own, length, st))
        return true;

    _cleanup_free_ char *data = NULL;
    size_t size;
    struct home_account account;
    if (io_read_file(AT_FDCWD, "/etc/passwd", PASSWD_MAX, &data, &size) < 0)
        return true;
    length = without_slashes(path, strlen(path));
    for (const char *text = data; home_next_account(&text, data + size, &account);)
        if (is_home_of(&account, path, length, st))
            return true;
    return false;
}
