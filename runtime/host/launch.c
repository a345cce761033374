/* This file starts init: it prepares in the launcher what needs the launcher's rights, clones the
 * session's first process into it, and waits until init says that it is ready.
 *
 * PRIVILEGED. Everything that allocates or parses happens before clone3(); after it the child runs
 * runtime/stage only. The order is docs/ARCHITECTURE.md, "Building a session"; each step is undone
 * by session_destroy(), whichever was the last to succeed.
 *
 * This file is long because the order of these steps is the design: what is made before the clone,
 * what beside the stage and what after it must be readable in one place.
 */
#include "runtime/host/runtime_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/lasting.h"
#include "runtime/host/prepared.h"
#include "runtime/host/root_begin.h"
#include "runtime/host/uid_slot.h"
#include "runtime/plan/landlock.h"
#include "runtime/plan/network.h"
#include "runtime/plan/seccomp.h"
#include "runtime/stage/stage.h"
#include "runtime/stage/sys.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

enum { READY_TIMEOUT_MS = 5000 };

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void phase_end(struct session *s, enum session_phase phase, uint64_t *started)
{
    uint64_t now = now_us();
    s->effective.phase_us[phase] = now - *started;
    *started = now;
}

/* What the launcher makes for the session and hands over; its own copies end with launch(). */
struct launch_parts {
    struct userns_helper map_helper, session_helper; /* begun early, asked when they are needed */
    int userns, cgroupns;
    int agent_fds[AGENT_FD_END]; /* CONFIG, CGROUP, OOM, PIDS owned; V1 borrowed from the session */
    uint32_t v1_count;
    struct stage_late *late; /* shared with the stage */
    struct rootfs_plan plan;
};

static void launch_parts_init(struct launch_parts *parts)
{
    parts->userns = parts->cgroupns = -1;
    parts->v1_count = 0;
    parts->late = NULL;
    userns_helper_init(&parts->map_helper);
    userns_helper_init(&parts->session_helper);
    for (int i = 0; i < AGENT_FD_END; i++)
        parts->agent_fds[i] = -1;
}

static void launch_parts_fini(struct launch_parts *parts)
{
    userns_helper_end(&parts->map_helper);
    userns_helper_end(&parts->session_helper);
    fd_close(parts->userns);
    fd_close(parts->cgroupns);
    for (int i = 0; i < AGENT_FD_V1; i++)
        fd_close(parts->agent_fds[i]);
    if (parts->late)
        munmap(parts->late, sizeof *parts->late);
}

/* ---- ids ---------------------------------------------------------------------------------------
 */

/* The ids of a session as the launcher's own user namespace has them. Root: a range per session.
 * Rootless: the default user *is* the caller (the launcher's 0), the others are subordinate ids. */
uint32_t session_host_id(const struct session *s, uint32_t inside)
{
    const struct runtime_facts *facts = &s->runtime->facts;
    if (!facts->rootless)
        return s->effective.uid_base + inside;
    if (inside == SPEC_UID_USER || facts->single_uid)
        return 0;
    return inside < SPEC_UID_USER ? inside + 1 : inside;
}

static int make_user_namespace(struct session *s, struct launch_parts *parts, struct err *err)
{
    const struct runtime_facts *facts = &s->runtime->facts;
    uint32_t base = s->effective.uid_base;
    const struct userns_extent range[] = {{0, base, SPEC_UID_SPAN}};
    const struct userns_extent rootless[] = {
        {0, 1, SPEC_UID_USER},
        {SPEC_UID_USER, 0, 1},
        {SPEC_UID_USER + 1, SPEC_UID_USER + 1, SPEC_UID_SPAN - SPEC_UID_USER - 1},
    };
    const struct userns_extent single[] = {{SPEC_UID_USER, 0, 1}};
    const struct userns_extent *map = !facts->rootless    ? range
                                      : facts->single_uid ? single
                                                          : rootless;
    unsigned count = facts->rootless && !facts->single_uid ? ARRAY_LENGTH(rootless) : 1;
    return userns_make_with(&parts->session_helper, map, count, map, count, &parts->userns,
                            &parts->cgroupns, err);
}

/* The process in which the workspace's id map is made. It and the next one do their work while the
 * launcher does its own: begun where they are needed, they are often put behind the stage on its
 * processor, and the launcher waits for both. */
static int begin_map_helper(struct session *s, const struct spec *spec, struct launch_parts *parts,
                            struct err *err)
{
    if (s->runtime->facts.rootless || (spec->workspace.kind != SPEC_WORKSPACE_DIRECTORY &&
                                       spec->workspace.kind != SPEC_WORKSPACE_VOLUME))
        return 0;
    return userns_helper_begin(&parts->map_helper, USERNS_HELPER_ALONE, UINT32_MAX, -1, false, err);
}

static int begin_session_helper(struct session *s, struct launch_parts *parts, struct err *err)
{
    /* Made with the range's first id as effective user: budgets such as inotify instances are
     * counted for the owner of a user namespace, and must be the session's own, not one for all. */
    uint32_t owner = s->runtime->facts.rootless ? UINT32_MAX : s->effective.uid_base;
    bool cgroup = s->runtime->cgroup.layout != RUNTIME_CGROUP_NONE;
    return userns_helper_begin(&parts->session_helper,
                               cgroup ? USERNS_HELPER_CGROUP : USERNS_HELPER_ALONE, owner,
                               cgroup ? s->cgroup.s_fd : -1, !s->runtime->cgroup.clone_into, err);
}

/* ---- what init is given -----------------------------------------------------------------------
 */

static int write_config(int fd, const struct agent_config *config,
                        const struct seccomp_program *base, const struct seccomp_program *exec,
                        const struct agent_landlock_path *paths)
{
    int r = io_write_full(fd, config, sizeof *config);
    if (r == 0)
        r = io_write_full(fd, base->code, base->length * sizeof *base->code);
    if (r == 0)
        r = io_write_full(fd, exec->code, exec->length * sizeof *exec->code);
    if (r == 0)
        r = io_write_full(fd, paths, config->landlock_path_count * sizeof *paths);
    if (r == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        r = -errno;
    return r;
}

static int make_config(struct session *s, const struct spec *spec, bool one_command,
                       struct launch_parts *parts, struct err *err)
{
    const struct runtime_facts *facts = &s->runtime->facts;
    __attribute__((cleanup(seccomp_program_fini))) struct seccomp_program base = {0}, exec = {0};
    bool explain = spec->process.explain_syscalls;
    int r = explain ? seccomp_base_explained(facts->single_uid, &base, err)
                    : seccomp_base(facts->single_uid, &base, err);
    if (r == 0)
        r = seccomp_exec((enum spec_seccomp_profile)spec->process.seccomp,
                         spec->process.seccomp_allow, spec->process.seccomp_allow_count, &exec,
                         err);
    if (r < 0)
        return r;
    static struct agent_landlock_path paths[LANDLOCK_PATHS_MAX];
    uint32_t path_count = 0;
    if (facts->landlock_abi > 0) {
        r = landlock_plan(spec, facts->landlock_abi, paths, &path_count, err);
        if (r < 0)
            return r;
    }
    struct agent_config config = {
        .magic = AGENT_MAGIC,
        .version = AGENT_VERSION,
        .size = sizeof config,
        .flags = (s->lasting ? 0 : AGENT_END_WITH_CONTROLLER) |
                 (one_command ? AGENT_END_WITH_COMMAND : 0) |
                 (facts->single_uid ? AGENT_SHARED_UID : 0) | (explain ? AGENT_EXPLAIN : 0) |
                 (s->runtime->cgroup.clone_into ? 0 : AGENT_NO_CLONE_INTO),
        .have = (s->cgroup_made ? AGENT_HAVE_CGROUP : 0) |
                (parts->agent_fds[AGENT_FD_OOM] >= 0 ? AGENT_HAVE_OOM : 0) |
                (parts->agent_fds[AGENT_FD_PIDS] >= 0 ? AGENT_HAVE_PIDS : 0) |
                (s->lasting ? AGENT_HAVE_LISTEN : 0) |
                (parts->agent_fds[AGENT_FD_FILES] >= 0 ? AGENT_HAVE_FILES : 0),
        .v1_count = parts->v1_count,
        .uid = facts->single_uid ? SPEC_UID_USER : SPEC_UID_INIT,
        .gid = facts->single_uid ? SPEC_UID_USER : SPEC_UID_INIT,
        .base_filter_length = base.length,
        .exec_filter_length = exec.length,
        .landlock_abi = facts->landlock_abi,
        .landlock_path_count = path_count,
        .epoch = s->epoch,
    };
    _cleanup_fd_ int fd = memfd_create("berth-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make init's configuration", NULL, NULL);
    r = write_config(fd, &config, &base, &exec, paths);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "write init's configuration", NULL, NULL);
    memcpy(s->effective.seccomp_hash, exec.hash, sizeof s->effective.seccomp_hash);
    s->effective.landlock_abi = facts->landlock_abi;
    parts->agent_fds[AGENT_FD_CONFIG] = take_fd(&fd);
    return 0;
}

/* ---- what the stage is given -------------------------------------------------------------------
 */

/* Of `berth run`: the caller's own rights, which this process has. */
static struct workspace_options workspace_options_of(const struct session *s,
                                                     const struct spec *spec)
{
    const struct runtime *rt = s->runtime;
    struct workspace_options options = {
        .rootless = rt->facts.rootless,
        .asker_uid = rt->facts.rootless ? 0 : rt->facts.caller_uid,
        .asker_gid = rt->facts.rootless ? 0 : rt->facts.caller_gid,
        .uid_base = s->effective.uid_base,
        .default_uid = spec->process.uid,
        .state_dir = rt->state_dir,
        .share_dir = rt->share_dir,
        .runtime_dir = rt->runtime_dir,
        .run_id = s->record.id,
    };
    if (!s->lasting)
        return options;
    options.lasting = true;
    options.init_pid = (pid_t)s->identity.init_pid;
    options.init_start = (uint64_t)s->identity.init_start;
    if (!rt->facts.rootless && s->lasting->asker_uid != UINT32_MAX) {
        options.asker_uid = s->lasting->asker_uid;
        options.asker_gid = s->lasting->asker_gid;
        options.asker_groups = s->lasting->asker_groups;
        options.asker_group_count = s->lasting->asker_group_count;
    }
    return options;
}

static int open_image(struct session *s, const struct spec *spec, int userns, int *ret_tree,
                      struct err *err)
{
    static const char step[] = "open the image";
    if (spec->image.kind == SPEC_IMAGE_HOST)
        return 0;
    if (spec->image.kind != SPEC_IMAGE_DIR)
        return err_set(err, ERR_CAPABILITY_UNAVAILABLE, 0, step, spec->image.path,
                       "rootfs.image: named images are not built in this release. Use \"host\" or "
                       "\"dir:PATH\".");
    struct workspace_options options = workspace_options_of(s, spec);
    if (options.asker_uid != 0)
        return workspace_open_image(spec->image.path, &options, ret_tree, err);
    _cleanup_fd_ int dir = sys_openat2(AT_FDCWD, spec->image.path, O_PATH | O_DIRECTORY,
                                       RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
    if (dir < 0)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INVALID_REQUEST, errno, step,
                       spec->image.path,
                       errno == ELOOP
                           ? "A part of the path is a symbolic link: name the real directory."
                           : "An image is a directory that holds a root file system.");
    _cleanup_fd_ int tree = sys_open_tree_clone(dir, "", AT_EMPTY_PATH);
    if (tree < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, spec->image.path, NULL);
    struct sys_mount_attr attr = {.set = SYS_ATTR_RDONLY | SYS_ATTR_NOSUID | SYS_ATTR_NODEV};
    if (!s->runtime->facts.rootless) {
        attr.set |= SYS_ATTR_IDMAP;
        attr.userns_fd = (uint64_t)userns;
    }
    if (sys_mount_setattr(tree, 0, &attr) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, spec->image.path,
                       "Its file system cannot be mounted with an id map: copy the image to ext4, "
                       "xfs, btrfs or tmpfs.");
    *ret_tree = take_fd(&tree);
    return 0;
}

static int compare_paths(const void *a, const void *b)
{
    const struct workspace_protect *const *x = a, *const *y = b;
    return strcmp((*x)->path, (*y)->path);
}

/* A message to the stage, which waits for it: the part in shared memory is written. */
static int send_part(const struct session *s, const int *fds, unsigned count, struct err *err)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * STAGE_LATE_FDS_MAX)];
    } control = {0};
    char byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof fds[0]);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = (socklen_t)CMSG_LEN(count * sizeof fds[0]);
        memcpy(CMSG_DATA(c), fds, count * sizeof fds[0]);
    }
    /* EPIPE: the stage failed and has said why on the pipe of frames. */
    if (sendmsg(s->control, &message, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
        return err_set(err, ERR_UNAVAILABLE, errno, "hand over to the session's first process",
                       NULL, NULL);
    return 0;
}

static int start_failed(const struct err *from_child, struct err *err)
{
    *err = *from_child;
    if (err->sys == ELOOP || err->sys == ENOTDIR || err->sys == EEXIST) {
        err->code = ERR_INVALID_REQUEST;
        err_add(err,
                "A link or a file is where the session needs a directory: choose another place "
                "inside, or mend the image.");
    } else if (err->sys == ENOENT && strcmp(err->step, "find the place for a mount") == 0) {
        err->code = ERR_INVALID_REQUEST;
        err_add(err, "In the workspace and in other mounts a place for a mount must exist before: "
                     "make it there, or choose one outside.");
    } else if (err->code == ERR_INTERNAL) {
        err->code = ERR_UNAVAILABLE;
        err_add(err, "The session was not started and nothing is left of it; `berth doctor` tells "
                     "what this host lacks.");
    }
    return err->sys ? -err->sys : -EIO;
}

/* File systems of the root, made while the session's first process makes its namespaces. What fails
 * is told as what fails in that process is. */
static int send_roots(const struct session *s, const struct spec *spec,
                      const struct launch_parts *parts, struct err *err)
{
    char size[24], inodes[24];
    snprintf(size, sizeof size, "%" PRIu64, spec->limits.scratch_bytes);
    snprintf(inodes, sizeof inodes, "%" PRIu64, spec->limits.scratch_inodes);
    const struct root_begin what = {
        .plan = &parts->plan,
        .scratch_size = size,
        .scratch_inodes = inodes,
        .root_uid = session_host_id(s, SPEC_UID_ROOT),
        .root_gid = session_host_id(s, SPEC_UID_ROOT),
        .user_uid = session_host_id(s, SPEC_UID_USER),
        .user_gid = session_host_id(s, SPEC_UID_USER),
        .nobody = session_host_id(s, SPEC_UID_NOBODY),
        .make_nodes = !s->runtime->facts.rootless,
    };
    _cleanup_fd_ int scratch = -1;
    struct err failed = {0};
    if (root_begin(&what, &scratch, parts->late->bind, &failed) < 0)
        return start_failed(&failed, err);
    return send_part(s, &scratch, 1, err);
}

static int send_workspace(const struct session *s, const struct spec *spec, struct stage_late *late,
                          struct err *err)
{
    const struct workspace *ws = &s->workspace;
    int fds[STAGE_LATE_FDS_MAX];
    unsigned count = 0;
    late->has_workspace = ws->tree >= 0;
    if (late->has_workspace)
        fds[count++] = ws->tree;
    for (uint32_t i = 0; i < spec->mount_count; i++) {
        late->mount_is_directory[late->mount_count++] = ws->mounts[i].is_directory;
        fds[count++] = ws->mounts[i].tree;
    }
    /* A workspace that is read-only as a whole has nothing to hold. */
    const struct workspace_protect *held[SPEC_PROTECT_MAX] = {0};
    size_t held_count = 0;
    for (uint32_t i = 0; i < ws->protect_count && !spec->workspace.read_only; i++)
        if (ws->protect[i].held)
            held[held_count++] = &ws->protect[i];
    qsort(held, held_count, sizeof held[0], compare_paths);
    for (; late->protect_count < held_count; late->protect_count++) {
        const struct workspace_protect *from = held[late->protect_count];
        late->placeholder[late->protect_count] = from->placeholder;
        memcpy(late->protect[late->protect_count], from->path, strlen(from->path) + 1);
    }
    _Static_assert((int)WORKSPACE_SOCKETS_MAX == (int)STAGE_MASKED_MAX, "all of them fit");
    for (; late->masked_count < ws->socket_count; late->masked_count++) {
        const struct workspace_socket *from = &ws->sockets[late->masked_count];
        late->masked[late->masked_count].mount = from->mount;
        late->masked[late->masked_count].directory = from->directory;
        memcpy(late->masked[late->masked_count].path, from->path, strlen(from->path) + 1);
    }
    return send_part(s, fds, count, err);
}

static int send_identity(const struct session *s, const struct launch_parts *parts, struct err *err)
{
    struct stage_late *late = parts->late;
    int fds[2] = {parts->userns, parts->cgroupns};
    late->has_cgroupns = parts->cgroupns >= 0;
    return send_part(s, fds, late->has_cgroupns ? 2 : 1, err);
}

static int send_descriptors(const struct session *s, const struct launch_parts *parts,
                            struct err *err)
{
    struct stage_late *late = parts->late;
    int fds[STAGE_LATE_FDS_MAX];
    unsigned count = 0;
    for (int i = 0; i < AGENT_FD_END; i++) {
        late->has_agent_fd[i] = parts->agent_fds[i] >= 0;
        if (late->has_agent_fd[i])
            fds[count++] = parts->agent_fds[i];
    }
    return send_part(s, fds, count, err);
}

static int clone_init(struct session *s, const struct stage_args *args, struct err *err)
{
    /* The PID namespace alone: the others take longer than all the rest of clone3(), and the child
     * makes them itself while the launcher goes on. */
    __u64 flags = CLONE_NEWPID | CLONE_PIDFD;
    struct clone_args clone = {
        .pidfd = (uint64_t)(uintptr_t)&s->pidfd,
        .exit_signal = SIGCHLD,
    };
    bool cgroup = s->runtime->cgroup.layout != RUNTIME_CGROUP_NONE;
    if (cgroup && s->runtime->cgroup.clone_into) {
        flags |= CLONE_INTO_CGROUP;
        clone.cgroup = (__u64)s->cgroup.init_fd;
    }
    clone.flags = flags;
    long pid = sys_clone3(&clone);
    if (pid < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "clone the session's first process", NULL,
                       errno == EPERM
                           ? "This process may not make namespaces: `berth doctor` says why."
                       : errno == EAGAIN || errno == ENOSPC
                           ? "A limit on processes or namespaces was reached: see RLIMIT_NPROC and "
                             "/proc/sys/user."
                           : NULL);
    if (pid == 0) {
        if (cgroup && !s->runtime->cgroup.clone_into &&
            io_write_at(s->cgroup.init_fd, "cgroup.procs", "0") < 0)
            _exit(3); /* READY never comes, and the launcher says which step it waited for */
        stage_main(args);
    }
    s->init = (pid_t)pid;
    s->effective.init_pid = s->init;
    return 0;
}

/* ---- ready --------------------------------------------------------------------------------------
 */

/* Gated on readiness (SES-5): init answered, or the start failed. */
static int wait_ready(struct session *s, uint64_t deadline, struct err *err)
{
    for (;;) {
        struct agent_frame frame;
        const void *payload;
        int r = frame_reader_next(&s->reader, &frame, &payload, err);
        if (r < 0)
            return r;
        if (r == 0 && frame.type == AGENT_FRAME_READY) {
            struct agent_ready ready;
            memcpy(&ready, payload, sizeof ready);
            if (ready.seccomp_mode != 2 || (s->effective.landlock_abi && !ready.landlock_abi))
                return err_set(err, ERR_INTERNAL, EPROTO, "check init's protections", NULL,
                               "init did not load its filters; the session was not started.");
            s->effective.landlock_abi = ready.landlock_abi;
            return 0;
        }
        if (r == 0 && frame.type == AGENT_FRAME_FAILED) {
            struct err from_child;
            memcpy(&from_child, payload, sizeof from_child);
            return start_failed(&from_child, err);
        }
        if (r == 0)
            return err_set(err, ERR_INTERNAL, EPROTO, "wait for init", NULL,
                           "init sent something before it was ready.");
        if (r == FRAME_READER_END)
            return err_set(err, ERR_UNAVAILABLE, ECHILD, "wait for init", NULL,
                           "The session's first process ended without a word (killed, or out of "
                           "memory).");
        uint64_t now = now_us();
        struct pollfd p = {.fd = s->frames, .events = POLLIN};
        int left = now < deadline ? (int)((deadline - now) / 1000) + 1 : 0;
        if (left == 0 || (r = poll(&p, 1, left)) == 0)
            return err_set(err, ERR_UNAVAILABLE, ETIMEDOUT, "wait for init", NULL,
                           "It was not ready in time: the host is overloaded, or a file system of "
                           "the session hangs.");
        if (r < 0 && errno != EINTR)
            return err_set(err, ERR_INTERNAL, errno, "wait for init", NULL, NULL);
    }
}

/* ---- the whole ----------------------------------------------------------------------------------
 */

static int open_channels(struct session *s, int *ret_control, int *ret_frames, struct err *err)
{
    int pair[2], ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make the control socket", NULL, NULL);
    /* Nothing comes this way, and what could come would be closed here (P-5). */
    s->control = pair[0];
    *ret_control = pair[1];
    if (shutdown(s->control, SHUT_RD) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "close a direction of the control socket", NULL,
                       NULL);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make the pipe of frames", NULL, NULL);
    s->frames = ends[0];
    *ret_frames = ends[1];
    if (fcntl(s->frames, F_SETFL, O_NONBLOCK) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make the pipe of frames", NULL, NULL);
    frame_reader_init(&s->reader, s->frames);
    return 0;
}

static int open_workspace(struct session *s, const struct spec *spec, struct launch_parts *parts,
                          struct err *err)
{
    struct workspace_options options = workspace_options_of(s, spec);
    options.helper = &parts->map_helper;
    int r = workspace_open(&s->workspace, spec, &options, session_note_add, s, err);
    if (r == 0)
        s->workspace_open = true;
    return r;
}

static int make_cgroups(struct session *s, struct err *err)
{
    if (s->runtime->cgroup.layout == RUNTIME_CGROUP_NONE)
        return 0;
    int r = cgroup_session_create(&s->cgroup, &s->runtime->cgroup, s->record.cgroup_name, err);
    if (r == 0)
        s->cgroup_made = true;
    return r;
}

static int complete_cgroups(struct session *s, struct err *err)
{
    return s->cgroup_made ? cgroup_session_complete(&s->cgroup, err) : 0;
}

/* Limits, as asked and as the kernel then has them. Commands join them at their birth; init lives
 * outside of them, so they need to be there before a command is and not before init is. */
static int limit_cgroups(struct session *s, const struct spec *spec, struct err *err)
{
    if (!s->cgroup_made)
        return 0;
    int r = cgroup_session_limit(&s->cgroup, &spec->limits, err);
    if (r == 0) {
        s->effective.limits = s->cgroup.proven;
        s->effective.kernel_memory_bytes = s->cgroup.proven_kernel_memory;
    }
    return r;
}

/* For init, in a mount of S alone, in which ".." ends: the rest of the host's tree is out of its
 * reach. The stage does it otherwise where the host's root is there (hold_cgroup()). */
static int open_commands_cgroup(struct session *s, struct launch_parts *parts, struct err *err)
{
    static const char step[] = "hold the session's cgroup";
    s->cgroup_mount = sys_open_tree_clone(s->cgroup.s_fd, "", AT_EMPTY_PATH);
    if (s->cgroup_mount < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, s->cgroup.name, NULL);
    int run = openat(s->cgroup_mount, "run", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (run < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, "run", NULL);
    parts->agent_fds[AGENT_FD_CGROUP] = run;
    return 0;
}

/* What init may do with its cgroups, and the descriptors for it; limit files stay the launcher's.
 */
static int hand_over_cgroups(struct session *s, struct launch_parts *parts, struct err *err)
{
    if (!s->cgroup_made)
        return 0;
    uint32_t init_id = session_host_id(s, SPEC_UID_INIT);
    int r = cgroup_session_delegate(&s->cgroup, init_id, init_id, err);
    if (r == 0 && s->prepared)
        r = open_commands_cgroup(s, parts, err);
    if (r == 0)
        r = cgroup_session_agent_fds(&s->cgroup, &parts->agent_fds[AGENT_FD_OOM],
                                     &parts->agent_fds[AGENT_FD_PIDS], err);
    if (r < 0)
        return r;
    for (int i = 0; i < CGROUP_V1_COUNT; i++)
        if (s->cgroup.v1_tasks[i] >= 0)
            parts->agent_fds[AGENT_FD_V1 + (int)parts->v1_count++] = s->cgroup.v1_tasks[i];
    return 0;
}

/* What init of a session that lasts holds beside its record, which it has from birth. */
static void hand_over_holds(const struct session *s, struct launch_parts *parts)
{
    if (!s->lasting)
        return;
    parts->agent_fds[AGENT_FD_FILES] = s->runtime->files;
    parts->agent_fds[AGENT_FD_HOLD + 1] = s->uid_lock;
    parts->agent_fds[AGENT_FD_HOLD + 2] = s->workspace.hold;
}

static int claim(struct session *s, struct err *err)
{
    struct runtime *rt = s->runtime;
    int r = 0;
    if (s->prepared) {
        s->uid_lock = take_fd(&s->prepared->uid_lock);
        s->effective.uid_base = s->prepared->uid_base;
    } else if (!rt->facts.rootless) {
        r = uid_slot_claim(rt->share_dir, &s->uid_lock, &s->effective.uid_base, err);
    }
    s->effective.uid_count = rt->facts.single_uid ? 1 : SPEC_UID_SPAN;
    if (r == 0)
        r = s->lasting ? lasting_begin(s, err) : record_create(&s->record, rt->records, err);
    if (r == 0 && !rt->no_reaper && !s->lasting)
        r = reaper_start(s, err);
    return r;
}

/* The session's user and cgroup namespaces. */
static int make_identity(struct session *s, struct launch_parts *parts, struct err *err)
{
    uint64_t started = now_us();
    int r = make_user_namespace(s, parts, err);
    s->effective.phase_us[PHASE_USERNS] = now_us() - started;
    return r;
}

/* One that the stage makes is found by its init alone, which to an ordinary user may be closed: he
 * could give the session no rules while it runs (NET-6). */
static bool must_be_kept(const struct session *s, const struct spec *spec, int netns)
{
    return netns < 0 && s->lasting && s->runtime->facts.rootless && !network_wanted(&spec->network);
}

/* Clone the first process; it assembles the root directory from here on, while the launcher goes on
 * with the rest. */
static int start_stage(struct session *s, const struct spec *spec, struct launch_parts *parts,
                       struct err *err)
{
    struct runtime *rt = s->runtime;
    struct stage_args args = {.mounts = s->prepared ? s->prepared->mounts : -1,
                              .image_tree = -1,
                              .scratch = -1,
                              .userns = -1,
                              .cgroupns = -1,
                              .listen_dir = -1};
    /* Taken, whatever comes of it: one that a session may have been in is no other's. */
    _cleanup_fd_ int netns = take_fd(&rt->netns);
    for (int i = 0; i < AGENT_FD_END; i++)
        args.agent_fds[i] = -1;
    _cleanup_fd_ int image = -1, control = -1, frames = -1;
    int r = open_image(s, spec, parts->userns, &image, err);
    if (r == 0)
        r = open_channels(s, &control, &frames, err);
    if (r == 0 && must_be_kept(s, spec, netns))
        r = network_plain_make(&netns, err);
    if (r < 0)
        return r;
    args.netns = netns;
    _cleanup_fd_ int made = -1;
    r = session_network_begin(s, &spec->network, netns, &made, err);
    if (r < 0)
        return r;
    if (made >= 0)
        args.netns = made;
    /* What init's memory belongs to depends on who owns its program: to root of this user namespace
     * it may be closed, and with it the way to the namespace. */
    if (s->lasting && rt->facts.rootless && args.netns >= 0)
        s->netns = fcntl(args.netns, F_DUPFD_CLOEXEC, 3);
    void *shared =
        mmap(NULL, sizeof *parts->late, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return err_set(err, ERR_UNAVAILABLE, errno, "share memory with the session's first process",
                       NULL, NULL);
    parts->late = shared;
    rootfs_plan_make(spec, &rt->rootfs, &parts->plan);
    args.spec = spec;
    args.plan = &parts->plan;
    args.attach_dir = rt->runtime_dir;
    char cgroup[SPEC_PATH_MAX + sizeof s->cgroup.name];
    if (s->cgroup_made) {
        snprintf(cgroup, sizeof cgroup, "%s/%s", rt->cgroup.v2, s->cgroup.name);
        args.cgroup_dir = cgroup;
    }
    args.hostname = "berth";
    args.root_uid = args.root_gid = session_host_id(s, SPEC_UID_ROOT);
    args.user_uid = args.user_gid = session_host_id(s, SPEC_UID_USER);
    args.nobody = session_host_id(s, SPEC_UID_NOBODY);
    args.make_nodes = !rt->facts.rootless;
    args.single_uid = rt->facts.single_uid;
    args.overlay_userxattr = rt->overlay_userxattr;
    args.init = rt->init;
    args.image_tree = image;
    args.late = parts->late;
    args.agent_fds[AGENT_FD_CONTROL] = control;
    args.agent_fds[AGENT_FD_FRAMES] = frames;
    if (s->lasting) {
        args.listen_dir = s->place;
        args.listen_uid = rt->facts.rootless ? UINT32_MAX : s->lasting->connect_uid;
        args.listen_gid = s->lasting->connect_gid;
        args.agent_fds[AGENT_FD_HOLD] =
            s->record.fd; /* from birth: it ends with the last process */
    }
    r = clone_init(s, &args, err);
    /* The launcher's copies of init's ends go here, or the end of init would not be seen. */
    if (r == 0 && s->lasting)
        r = lasting_born(s, err);
    else if (r == 0 && rt->cgroup.layout == RUNTIME_CGROUP_NONE)
        r = record_set_init(&s->record, s->init, err);
    return r;
}

/* The namespace that the stage leaves when it has built everything (ADR 2). Whoever lets go of it
 * last waits for a grace period of RCU: that shall be the launcher, when it has nothing else to do
 * (launch_let_go(), session_leave()), and not the stage. Only for speed: without it the stage
 * waits.
 */
static int hold_stage_mounts(const struct session *s)
{
    char path[40];
    if (s->prepared)
        return take_fd(&s->prepared->mounts);
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", s->init);
    return open(path, O_RDONLY | O_CLOEXEC);
}

void launch_let_go(struct session *s)
{
    fd_closep(&s->stage_mounts);
    fd_closep(&s->cgroup_mount);
}

static uint64_t deadline_of(const struct session *s, uint64_t begun)
{
    return s->lasting ? begun + s->lasting->deadline_ms * 1000ull
                      : now_us() + READY_TIMEOUT_MS * 1000;
}

static int assemble(struct session *s, const struct spec *spec, const struct session_first *first,
                    struct err *err)
{
    uint64_t started = now_us(), begun = started;
    int r = claim(s, err);
    if (r < 0)
        return r;
    phase_end(s, PHASE_RECORD, &started);

    __attribute__((cleanup(launch_parts_fini))) struct launch_parts parts;
    launch_parts_init(&parts);
    r = make_cgroups(s, err);
    if (r < 0)
        return r;
    phase_end(s, PHASE_CGROUP, &started);

    /* What the stage does not need at once is made while it works. Two things cannot wait: in the
     * unified layout controllers must be on before a process is in a cgroup below S (enabling them
     * would migrate it, milliseconds), and only after the helper that was born in S; and an image
     * is id-mapped by the session's user namespace. */
    bool unified = s->runtime->cgroup.layout == RUNTIME_CGROUP_UNIFIED;
    bool identity_first = unified || spec->image.kind != SPEC_IMAGE_HOST;
    if (identity_first)
        r = begin_session_helper(s, &parts, err);
    if (r == 0 && identity_first)
        r = make_identity(s, &parts, err);
    userns_helper_end(&parts.session_helper); /* it would be a process in S */
    if (r == 0 && unified && (r = complete_cgroups(s, err)) == 0)
        r = limit_cgroups(s, spec, err);
    started = now_us();
    if (r == 0)
        r = start_stage(s, spec, &parts, err);
    if (r < 0)
        return r;
    phase_end(s, PHASE_CLONE, &started);

    r = begin_map_helper(s, spec, &parts, err);
    if (r == 0 && !identity_first)
        r = begin_session_helper(s, &parts, err);
    if (r == 0 && !s->prepared)
        r = send_roots(s, spec, &parts, err);
    if (r == 0)
        r = open_workspace(s, spec, &parts, err);
    if (r == 0)
        r = send_workspace(s, spec, parts.late, err);
    if (r < 0)
        return r;
    phase_end(s, PHASE_WORKSPACE, &started);

    if (!identity_first)
        r = make_identity(s, &parts, err);
    if (r == 0)
        s->stage_mounts = hold_stage_mounts(s);
    if (r == 0)
        r = send_identity(s, &parts, err);
    if (r == 0 && !unified)
        r = complete_cgroups(s, err);
    if (r == 0)
        r = hand_over_cgroups(s, &parts, err);
    hand_over_holds(s, &parts);
    if (r == 0)
        r = make_config(s, spec, first && first->only, &parts, err);
    if (r == 0)
        r = send_descriptors(s, &parts, err);
    /* They have ended meanwhile. */
    userns_helper_end(&parts.map_helper);
    userns_helper_end(&parts.session_helper);
    if (r == 0 && !unified)
        r = limit_cgroups(s, spec, err);
    /* From here on the first process needs nothing but the processor until it is init and ready. */
    if (r == 0)
        r = session_network_serve(s, &spec->network, err);
    if (r < 0)
        return r;
    uint64_t deadline = deadline_of(s, begun);
    session_unrouted_open(s, &spec->network, false);
    /* Who cannot send because the session's first process is gone: its own word says why. */
    struct err unsent = {0};
    int sent = first        ? first->call(first->data, s, &unsent)
               : s->lasting ? lasting_probe(s, spec, deadline, &unsent)
                            : 0;
    if (sent < 0 && unsent.sys != EPIPE && unsent.sys != ECONNRESET) {
        *err = unsent;
        return sent;
    }
    started = now_us();
    spec_hash(spec, s->effective.spec_hash);
    workspace_tell(&s->workspace, session_note_add, s);
    r = wait_ready(s, deadline, err);
    if (r == 0 && sent == 0 && s->lasting)
        r = lasting_prove(s, parts.late->netns_inode, deadline, err);
    if (r == 0)
        r = workspace_settle(&s->workspace, err);
    phase_end(s, PHASE_STAGE, &started);
    if (r == 0 && sent < 0) {
        *err = unsent;
        r = sent;
    }
    return r;
}

int launch(struct session *s, const struct spec *spec, const struct session_first *first,
           struct err *err)
{
    int r = assemble(s, spec, first, err);
    prepared_free(s->prepared);
    s->prepared = NULL;
    if (r < 0 || !s->lasting)
        launch_let_go(s);
    return r;
}
