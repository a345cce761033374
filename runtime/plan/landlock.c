/* This file plans the Landlock rules of a session; it never makes a system call.
 *
 * Rights add up along a path and no rule takes any away, so the plan goes from little to much: "/"
 * can be read and executed; beneath the places that are the session's to write, everything but
 * device nodes. What is read-only beneath a writable place (protected paths, read-only mounts)
 * is held by its mount, here as everywhere: Landlock is the second layer, for the day when a mount
 * is not what it should be.
 */
#include "runtime/plan/landlock.h"

#include "runtime/base/fd.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define READ (LANDLOCK_FS_EXECUTE | LANDLOCK_FS_READ_FILE | LANDLOCK_FS_READ_DIR)

/* Every right but those to make device nodes and to drive devices. */
#define WRITE                                                                                      \
    (READ | LANDLOCK_FS_WRITE_FILE | LANDLOCK_FS_REMOVE_DIR | LANDLOCK_FS_REMOVE_FILE |            \
     LANDLOCK_FS_MAKE_DIR | LANDLOCK_FS_MAKE_REG | LANDLOCK_FS_MAKE_SOCK | LANDLOCK_FS_MAKE_FIFO | \
     LANDLOCK_FS_MAKE_SYM | LANDLOCK_FS_REFER | LANDLOCK_FS_TRUNCATE)

/* Whom a row is for. */
enum {
    FOR_ALL = 0,
    FOR_HOST_IMAGE = 1, /* a root that is not writable as a whole */
    FOR_INNER_ROOT = 2, /* the same, when commands run as the session's root */
};

static const struct {
    const char *path;
    uint64_t access;
    int who;
} places[] = {
    {"/", READ, FOR_ALL},
    /* `> /dev/null` truncates; terminals are driven by ioctl; shm and pts are made here. */
    {"/dev", WRITE | LANDLOCK_FS_IOCTL_DEV, FOR_ALL},
    /* /proc/self/{comm,oom_score_adj,…}; what must not be written there is masked by mounts. */
    {"/proc", READ | LANDLOCK_FS_WRITE_FILE | LANDLOCK_FS_TRUNCATE, FOR_ALL},
    {"/tmp", WRITE, FOR_HOST_IMAGE},
    {"/home", WRITE, FOR_HOST_IMAGE},
    {"/var", WRITE, FOR_HOST_IMAGE},
    {"/run", WRITE, FOR_HOST_IMAGE},
    {"/mnt", WRITE, FOR_HOST_IMAGE},
    {"/etc", WRITE, FOR_INNER_ROOT},
    {"/root", WRITE, FOR_INNER_ROOT},
    {"/opt", WRITE, FOR_INNER_ROOT},
    {"/srv", WRITE, FOR_INNER_ROOT},
};

_Static_assert(ARRAY_LENGTH(places) + 2 + SPEC_MOUNTS_MAX <= LANDLOCK_PATHS_MAX,
               "the plan must hold every place, the whole root, the workspace and every mount");

struct plan {
    struct agent_landlock_path *paths;
    uint32_t count;
    uint64_t handled;
};

/* `path`, or its longest ancestor that fits. */
static size_t fitting_length(const char *path, size_t size)
{
    size_t length = strlen(path);
    while (length >= size) {
        while (length > 1 && path[length - 1] != '/')
            length--;
        if (length > 1)
            length--;
    }
    return length;
}

static int add(struct plan *plan, const char *path, uint64_t access, struct err *err)
{
    if (path[0] != '/')
        return err_set(err, ERR_INTERNAL, EINVAL, "plan Landlock rules", path,
                       "The path is not absolute.");
    if (plan->count == LANDLOCK_PATHS_MAX)
        return err_set(err, ERR_INTERNAL, E2BIG, "plan Landlock rules", path, "More than %d paths.",
                       (int)LANDLOCK_PATHS_MAX);
    struct agent_landlock_path *p = &plan->paths[plan->count++];
    *p = (struct agent_landlock_path){.access = access & plan->handled};
    memcpy(p->path, path, fitting_length(path, sizeof(p->path)));
    return 0;
}

static bool place_applies(const struct spec *spec, int who)
{
    bool host = spec->image.kind == SPEC_IMAGE_HOST;
    if (who == FOR_HOST_IMAGE)
        return host;
    if (who == FOR_INNER_ROOT)
        return host && spec->process.uid == SPEC_UID_ROOT;
    return true;
}

int landlock_plan(const struct spec *spec, uint32_t abi, struct agent_landlock_path *ret_paths,
                  uint32_t *ret_count, struct err *err)
{
    struct plan plan = {.paths = ret_paths, .handled = landlock_handled_fs(abi)};
    int r = 0;

    for (size_t i = 0; plan.handled && r == 0 && i < ARRAY_LENGTH(places); i++)
        if (place_applies(spec, places[i].who))
            r = add(&plan, places[i].path, places[i].access, err);

    /* An image's root is an overlay of the session's own: what is written goes to the disposable
     * upper, the image beneath is not reached by any write. Programs of an image may expect to
     * write anywhere in it, so Landlock has no line to draw there. */
    if (plan.handled && r == 0 && spec->image.kind != SPEC_IMAGE_HOST)
        r = add(&plan, "/", WRITE, err);

    if (plan.handled && r == 0)
        r = add(&plan, spec->workspace.mount_path, spec->workspace.read_only ? READ : WRITE, err);
    for (uint32_t i = 0; plan.handled && r == 0 && i < spec->mount_count; i++)
        if (!spec->mounts[i].read_only)
            r = add(&plan, spec->mounts[i].target, WRITE, err);
    if (r < 0)
        return r;
    *ret_count = plan.count;
    return 0;
}
