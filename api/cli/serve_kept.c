/* This file keeps what an ordinary user's launcher has kept for the next one: the user namespace of
 * its sessions and their networks (docs/adr/0013); it never enters one. Of root's berth nothing is
 * kept: its launcher finds everything by name.
 */
#include "api/cli/serve.h"

#include "runtime/base/fd.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

void serve_kept_init(struct serve_kept *kept)
{
    struct rlimit files;
    *kept = (struct serve_kept){.outer = -1};
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > SERVE_KEPT_RESERVE)
        kept->end = files.rlim_cur > INT_MAX ? INT_MAX : (int)files.rlim_cur - SERVE_KEPT_RESERVE;
    /* The next launcher, which has the same limit, has a second one for each session. */
    kept->end /= 2;
}

void serve_kept_fini(struct serve_kept *kept)
{
    fd_closep(&kept->outer);
    while (kept->count > 0)
        fd_close(kept->items[--kept->count].netns);
    free(kept->items);
    kept->items = NULL;
    kept->room = 0;
}

static struct launcher_kept *find(struct serve_kept *kept, const struct launcher_keep *what)
{
    for (unsigned i = 0; i < kept->count; i++)
        if (kept->items[i].row == what->row && kept->items[i].incarnation == what->incarnation)
            return &kept->items[i];
    return NULL;
}

/* One for which there is no memory, or no number (the lowest that is free is had, so those below
 * are used; -1: none was), is not kept, as if its launcher had been killed before it. */
static void put(struct serve_kept *kept, const struct launcher_keep *what, int *fd)
{
    struct launcher_kept *item = find(kept, what);
    if (*fd < 0 || *fd >= kept->end) {
        kept->untold = !kept->told;
        return;
    }
    if (!item && kept->count == kept->room) {
        unsigned room = kept->room ? kept->room * 2 : 16;
        struct launcher_kept *items = realloc(kept->items, room * sizeof *items);
        if (!items)
            return;
        kept->items = items;
        kept->room = room;
    }
    if (!item) {
        item = &kept->items[kept->count++];
        *item = (struct launcher_kept){what->row, what->incarnation, -1};
    }
    fd_replace(&item->netns, take_fd(fd));
}

static void drop(struct serve_kept *kept, const struct launcher_keep *what)
{
    struct launcher_kept *item = find(kept, what);
    if (!item)
        return;
    fd_close(item->netns);
    *item = kept->items[--kept->count];
}

void serve_kept_take(struct serve_kept *kept, const struct launcher_keep *what, int *fd)
{
    if (what->kind == LAUNCHER_KEEP_OUTER && *fd >= 0)
        fd_replace(&kept->outer, take_fd(fd));
    else if (what->kind == LAUNCHER_KEEP_NETNS)
        put(kept, what, fd);
    else if (what->kind == LAUNCHER_KEEP_NO_MORE)
        drop(kept, what);
}
