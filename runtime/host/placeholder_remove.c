/* This file removes placeholders; it never removes anything that berth did not make.
 *
 * PRIVILEGED: the launcher's. Namespace: the host's. Should: leave what the host put at a name
 * where it is. Mustn't: unlink a name that anybody else may write to, remove recursively. Callers:
 * placeholder.c.
 *
 * Linux has no "unlink this name if it is that inode", and a program of the host may rename its own
 * file to a name at any time (every editor saves like that). So a name that is ours by a look is
 * moved to a private name first, which nobody else knows, looked at again there, and only then
 * unlinked:
 *
 *     look: not ours                         left alone, never moved
 *     move, look again: ours                 unlinked at the private name
 *     move, look again: somebody's           moved back. It was away until the others were moved
 *        ... and the name is taken again     it stays at the private name, and is told: both
 *                                            are the host's, and the newer one has the name
 *     killed after the move                  the phase in the record says so, and the next one who
 *                                            opens it finds the private name and does the same
 *
 * An empty directory needs none of that: rmdir(2) fails for everything that holds something.
 */
#include "runtime/host/placeholder_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int put_back(const struct placeholder_book *b, const struct entry *e, int parent,
                    const char *private_name, const char *name)
{
    int r = placeholder_move(parent, private_name, name);
    if (r != -EEXIST)
        return r == -ENOENT ? 0 : r;
    notes_add(
        b->notes, "protect.kept",
        "%s was replaced on the host twice while berth removed its placeholder: the older one "
        "is kept beside it as %s",
        e->path, private_name);
    return 0;
}

static bool is_ours(const struct entry *e, const struct stat *st)
{
    return placeholder_is(e, st) || (e->state == ENTRY_INTENT && S_ISSOCK(st->st_mode));
}

/* What stands at the private name goes: ours for ever, the host's back to where it was. */
static int clear_private(const struct placeholder_book *b, const struct entry *e, int parent,
                         const char *private_name, const char *name)
{
    struct stat st;
    if (fstatat(parent, private_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!is_ours(e, &st))
        return put_back(b, e, parent, private_name, name);
    return unlinkat(parent, private_name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int remove_directory(int parent, const char *name)
{
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT || errno == ENOTEMPTY ||
        errno == EEXIST || errno == ENOTDIR)
        return 0;
    return -errno;
}

/* The parent of an entry that is still ours by a look, with its name; -ENOENT: there is nothing to
 * do; other -errno: it is not known. */
static int find_ours(struct placeholder_book *b, const struct entry *e, const char **ret_name,
                     struct stat *ret_st)
{
    if (e->state == ENTRY_INTENT || e->state == ENTRY_NOTHING)
        return -ENOENT;
    int parent = placeholder_parent(b, e->path, ret_name);
    int r = parent < 0                                                    ? parent
            : fstatat(parent, *ret_name, ret_st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno
                                                                          : 0;
    if (r < 0)
        return placeholder_is_away(r) ? -ENOENT : r;
    return placeholder_is(e, ret_st) ? parent : -ENOENT;
}

int placeholder_move_all(struct placeholder_book *b, const char **ret_path)
{
    if (b->head.count == 0)
        return 0;
    b->head.phase = PHASE_REMOVING;
    int r = placeholder_save(b, b->head.count);
    for (uint32_t i = 0; r == 0 && i < b->head.count; i++) {
        const struct entry *e = &b->entries[i];
        const char *name;
        struct stat st;
        char private_name[PLACEHOLDER_PRIVATE_MAX];
        *ret_path = e->path;
        int parent = find_ours(b, e, &name, &st);
        if (parent >= 0 && S_ISDIR(st.st_mode))
            continue;
        placeholder_private_name(b, e, private_name);
        r = parent < 0 ? parent : placeholder_move(parent, name, private_name);
        r = r == -ENOENT ? 0 : r;
    }
    return r;
}

int placeholder_clear_all(struct placeholder_book *b, const char **ret_path)
{
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < b->head.count; i++) {
        const struct entry *e = &b->entries[i];
        const char *name;
        struct stat st;
        if (e->state != ENTRY_DIRECTORY && e->state != ENTRY_DIRECTORY_INTENT)
            continue;
        *ret_path = e->path;
        int parent = find_ours(b, e, &name, &st);
        r = parent < 0 ? parent : remove_directory(parent, name);
        r = r == -ENOENT ? 0 : r;
    }
    return r < 0 ? r : placeholder_sweep(b, ret_path);
}

int placeholder_sweep(struct placeholder_book *b, const char **ret_path)
{
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < b->head.count; i++) {
        const struct entry *e = &b->entries[i];
        char private_name[PLACEHOLDER_PRIVATE_MAX];
        const char *name;
        int parent = placeholder_parent(b, e->path, &name);
        if (placeholder_is_away(parent)) /* gone with its parent, or the directory itself is */
            continue;
        *ret_path = e->path;
        placeholder_private_name(b, e, private_name);
        r = parent < 0 ? parent : clear_private(b, e, parent, private_name, name);
    }
    return r;
}
