/* This file makes root directories before there is a session for them, in a child that is gone when
 * they stand; it never enters one, and never writes into one (prepared.h).
 */
#include "runtime/host/prepared.h"

#include "runtime/agent/protocol.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/root_begin.h"
#include "runtime/host/uid_slot.h"
#include "runtime/stage/stage.h"
#include "runtime/stage/sys.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char step[] = "prepare a root directory";

static int fail(struct err *err, const char *subject)
{
    return err_set(err, ERR_UNAVAILABLE, errno, step, subject, NULL);
}

/* ---- what it depends on --------------------------------------------------------------------- */

static void look(struct prepared *p, const char *path, int flags)
{
    struct prepared_look *at = &p->looks[p->look_count++];
    struct stat st;
    *at = (struct prepared_look){0};
    if (fstatat(AT_FDCWD, path, &st, flags) < 0)
        return;
    at->device = st.st_dev;
    at->inode = st.st_ino;
    /* A directory is the same whatever is in it. */
    if (!S_ISDIR(st.st_mode)) {
        at->seconds = st.st_ctim.tv_sec;
        at->nanoseconds = st.st_ctim.tv_nsec;
    }
}

/* What is bound or copied: the path and what it leads to; and who else may have ids of the range.
 */
static void look_at_host(struct prepared *p)
{
    p->look_count = 0;
    for (uint32_t i = 0; i < p->plan.count; i++) {
        const struct rootfs_step *s = &p->plan.steps[i];
        if (s->kind != ROOTFS_BIND && s->kind != ROOTFS_BIND_NOEXEC)
            continue;
        look(p, s->text, AT_SYMLINK_NOFOLLOW);
        look(p, s->text, 0);
    }
    look(p, "/etc/subuid", 0);
    look(p, "/etc/subgid", 0);
}

static bool is_as_it_was(const struct prepared *p)
{
    static struct prepared now; /* one at a time */
    memcpy(&now.plan, &p->plan, sizeof now.plan);
    look_at_host(&now);
    return now.look_count == p->look_count &&
           memcmp(now.looks, p->looks, p->look_count * sizeof p->looks[0]) == 0;
}

/* ---- the child -------------------------------------------------------------------------------
 */

static int open_channels(int control[2], int frames[2], struct err *err)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) < 0)
        return fail(err, "control");
    if (pipe2(frames, O_CLOEXEC) < 0)
        return fail(err, "frames");
    return 0;
}

/* The child's own word. */
static int hear(int frames, struct err *err)
{
    struct {
        struct agent_frame frame;
        struct err err;
    } said;
    memset(&said, 0, sizeof said);
    ssize_t n;
    do
        n = read(frames, &said, sizeof said);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof said.frame && said.frame.type == AGENT_FRAME_READY)
        return 0;
    if (n == (ssize_t)sizeof said && said.frame.type == AGENT_FRAME_FAILED) {
        *err = said.err;
        return said.err.sys ? -said.err.sys : -EIO;
    }
    errno = n < 0 ? errno : ECHILD;
    return fail(err, "its maker ended without a word");
}

static int take_namespace(struct prepared *p, pid_t child, int frames, struct err *err)
{
    char path[40];
    int r = hear(frames, err);
    if (r < 0)
        return r;
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", child);
    p->mounts = open(path, O_RDONLY | O_CLOEXEC);
    return p->mounts < 0 ? fail(err, path) : 0;
}

static int build(struct prepared *p, const struct runtime *rt, const struct stage_late *late,
                 struct err *err)
{
    int control[2] = {-1, -1}, frames[2] = {-1, -1};
    int r = open_channels(control, frames, err);
    struct stage_args args = {
        .plan = &p->plan,
        .attach_dir = rt->runtime_dir,
        .root_uid = p->uid_base,
        .root_gid = p->uid_base,
        .user_uid = p->uid_base + SPEC_UID_USER,
        .user_gid = p->uid_base + SPEC_UID_USER,
        .nobody = p->uid_base + SPEC_UID_NOBODY,
        .make_nodes = true,
        .image_tree = -1,
        .init = -1,
        .netns = -1,
        .mounts = -1,
        .listen_dir = -1,
        .late = (struct stage_late *)(uintptr_t)late, /* of the child it is a copy */
        .scratch = p->scratch,
        .userns = -1,
        .cgroupns = -1,
        .workspace_tree = -1,
    };
    for (int i = 0; i < AGENT_FD_END; i++)
        args.agent_fds[i] = -1;
    args.agent_fds[AGENT_FD_CONTROL] = control[1];
    args.agent_fds[AGENT_FD_FRAMES] = frames[1];
    pid_t child = r == 0 ? fork() : 0;
    if (r == 0 && child == 0)
        stage_root_main(&args);
    fd_close(control[1]);
    fd_close(frames[1]);
    if (r == 0)
        r = child < 0 ? fail(err, "fork") : take_namespace(p, child, frames[0], err);
    fd_close(control[0]);
    fd_close(frames[0]);
    if (child > 0)
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    return r;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int make(struct prepared *p, const struct runtime *rt, struct err *err)
{
    static struct spec spec; /* its image alone is looked at */
    static struct stage_late late;
    /* Before anything is looked at: what is mounted from here on is told. */
    p->changes = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    if (p->changes < 0)
        return fail(err, "/proc/self/mountinfo");
    spec.image.kind = SPEC_IMAGE_HOST;
    rootfs_plan_make(&spec, &rt->rootfs, &p->plan);
    look_at_host(p);
    int r = uid_slot_claim(rt->share_dir, &p->uid_lock, &p->uid_base, err);
    if (r < 0)
        return r;
    const struct root_begin what = {
        .plan = &p->plan,
        .scratch_size = "16777216",
        .scratch_inodes = "1024",
        .root_uid = p->uid_base,
        .root_gid = p->uid_base,
        .user_uid = p->uid_base + SPEC_UID_USER,
        .user_gid = p->uid_base + SPEC_UID_USER,
        .nobody = p->uid_base + SPEC_UID_NOBODY,
        .make_nodes = true,
    };
    memset(late.bind, 0, sizeof late.bind);
    r = root_begin(&what, &p->scratch, late.bind, err);
    return r < 0 ? r : build(p, rt, &late, err);
}

int prepared_make(struct prepared **ret, const struct runtime *rt, struct err *err)
{
    if (rt->facts.rootless)
        return err_set(err, ERR_CAPABILITY_UNAVAILABLE, EOPNOTSUPP, step, NULL, NULL);
    struct prepared *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(err, ERR_INTERNAL, ENOMEM, step, NULL, NULL);
    p->mounts = p->scratch = p->uid_lock = p->changes = -1;
    int r = make(p, rt, err);
    if (r < 0)
        prepared_free(p);
    else
        *ret = p;
    return r;
}

bool prepared_fits(struct prepared *p, const struct spec *spec)
{
    char size[24], inodes[24];
    struct pollfd changes = {.fd = p->changes, .events = POLLPRI};
    if (spec->image.kind != SPEC_IMAGE_HOST || poll(&changes, 1, 0) != 0 || !is_as_it_was(p))
        return false;
    snprintf(size, sizeof size, "%" PRIu64, spec->limits.scratch_bytes);
    snprintf(inodes, sizeof inodes, "%" PRIu64, spec->limits.scratch_inodes);
    return root_resize(p->scratch, size, inodes) == 0;
}

void prepared_free(struct prepared *p)
{
    if (!p)
        return;
    fd_close(p->mounts);
    fd_close(p->scratch);
    fd_close(p->uid_lock);
    fd_close(p->changes);
    free(p);
}

int session_prepare(struct runtime *rt, int *ret_changes, struct err *err)
{
    int r = prepared_make(&rt->prepared, rt, err);
    if (r == 0)
        *ret_changes = rt->prepared->changes;
    return r;
}

void session_unprepare(struct runtime *rt)
{
    prepared_free(rt->prepared);
    rt->prepared = NULL;
}
