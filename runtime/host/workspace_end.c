/* This file ends what sessions that are dead had of workspaces, by the records of share_dir; it
 * never looks at one that lives.
 *
 * PRIVILEGED: the launcher's, and every berth command's reaping. Should: remove a record last, so
 * that whoever is asked again finds what is still to be done. Mustn't: say that it is done when
 * something could not be looked at. Callers: lasting_end.c, reaper.c, runtime.c.
 */
#include "runtime/host/workspace.h"

#include "runtime/base/fd.h"
#include "runtime/host/placeholder.h"
#include "runtime/host/volume.h"
#include "runtime/host/workspace_internal.h"

#include <errno.h>
#include <unistd.h>

struct ending {
    int share;
    const struct notes *notes;
    struct err *err;
};

/* The use goes last: it says where the placeholders are, to whoever does this again. `except`: as
 * in placeholder_end(). */
static int end_use(const struct ending *e, const struct use_found *use, const char *except)
{
    int r = placeholder_end(e->share, use->root.dev, use->root.ino, except, e->notes, e->err);
    return r < 0 ? r : use_end_found(e->share, use, e->err);
}

/* No name is excepted: the dead one counts for nothing, and who has its name now may live. */
static int end_dead(void *data, const struct use_found *use)
{
    return end_use(data, use, NULL);
}

int workspace_end_lasting(const char *share_dir, const char *record_id,
                          void (*note)(void *data, const char *key, const char *text), void *data,
                          struct err *err)
{
    struct notes notes = {note, data};
    struct use_found use;
    _cleanup_fd_ int share = -1;
    if (access(share_dir, F_OK) < 0 && errno == ENOENT)
        return 0;
    int r = share_open(share_dir, &share, err);
    if (r == 0)
        r = use_find_lasting(share, record_id, &use, err);
    if (r != 0)
        return r < 0 ? r : 0;
    struct ending e = {share, &notes, err};
    r = end_use(&e, &use, use.name);
    return r < 0 ? r : 0;
}

static int reap_share(const char *share_dir, struct reaped *reaped, struct err *err)
{
    if (access(share_dir, F_OK) < 0 && errno == ENOENT)
        return 0;
    _cleanup_fd_ int share = -1;
    int r = share_open(share_dir, &share, err);
    struct ending e = {share, NULL, NULL};
    const struct use_dead dead = {end_dead, &e};
    if (r == 0)
        r = use_reap(share, &dead, reaped, err);
    return r == 0 ? placeholder_reap(share, reaped, err) : r;
}

int workspace_reap(const char *share_dir, const char *state_dir, unsigned *ret_count,
                   struct err *err)
{
    struct reaped reaped = {0};
    int r = reap_share(share_dir, &reaped, err);
    if (r == 0 && state_dir)
        r = volume_reap(state_dir, &reaped.count, err);
    if (r == 0 && ret_count)
        *ret_count = reaped.count;
    return r < 0 ? r : reaped.left > 0;
}

int workspace_reap_volumes(const char *state_dir, struct err *err)
{
    unsigned count = 0;
    return volume_reap(state_dir, &count, err);
}
