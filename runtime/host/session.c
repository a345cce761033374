/* This file is the facade's session: create, commands, frames, destroy; it never builds a mount or
 * a namespace itself (launch.c does) and keeps nothing that the kernel or a record does not know.
 */
#include "runtime/host/runtime_internal.h"

#include "runtime/agent/controller.h"
#include "runtime/base/fd.h"
#include "runtime/host/lasting.h"
#include "runtime/host/prepared.h"
#include "runtime/host/session_publish.h"
#include "runtime/stage/sys.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>

enum { DESTROY_TIMEOUT_MS = 10000 };

void session_note_add(void *session, const char *key, const char *text)
{
    struct session *s = session;
    if (s->note_count == SESSION_NOTES_MAX)
        return;
    if (s->note_count == SESSION_NOTES_MAX - 1) {
        key = "notes.more";
        text = "There is more to tell than is kept here.";
    }
    struct session_note *note = &s->notes[s->note_count++];
    snprintf(note->key, sizeof note->key, "%s", key);
    snprintf(note->text, sizeof note->text, "%s", text);
}

static int check_against_host(const struct runtime *rt, const struct spec *spec, struct err *err)
{
    static const char step[] = "create a session";
    uint32_t missing = spec->limits.asked & ~rt->facts.limits_available;
    if (!spec->limits.memory_bytes)
        missing &= ~(uint32_t)SPEC_LIMIT_MEMORY;
    if (!spec->limits.cpu_millis)
        missing &= ~(uint32_t)SPEC_LIMIT_CPU;
    if (!spec->limits.pids)
        missing &= ~(uint32_t)SPEC_LIMIT_PIDS;
    if (missing)
        return err_set(err, ERR_CAPABILITY_UNAVAILABLE, 0, step,
                       missing & SPEC_LIMIT_MEMORY ? "limits.memory"
                       : missing & SPEC_LIMIT_CPU  ? "limits.cpu"
                       : missing & SPEC_LIMIT_PIDS ? "limits.pids"
                                                   : "limits.io",
                       "%s", rt->facts.cgroup_reason);
    /* The caller's registry has refused these with every reason; nothing may pass that forgot to.
     */
    if (spec->workspace.kind == SPEC_WORKSPACE_DISK ||
        spec->workspace.kind == SPEC_WORKSPACE_SNAPSHOT)
        return err_set(err, ERR_CAPABILITY_UNAVAILABLE, 0, step, "workspace",
                       "This kind is not built in this release.");
    if (rt->facts.single_uid &&
        (spec->process.uid != SPEC_UID_USER || spec->process.gid != SPEC_UID_USER))
        return err_set(err, ERR_CAPABILITY_UNAVAILABLE, 0, step, "process.user",
                       "A session has one id only here, that of \"user\". %s",
                       rt->facts.single_uid_reason);
    return 0;
}

static int create_once(struct session **ret, struct runtime *rt, const struct spec *spec,
                       const struct session_first *first, const struct session_lasting *lasting,
                       struct err *err)
{
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, ERR_INTERNAL, ENOMEM, "create a session", NULL, NULL);
    s->runtime = rt;
    s->record.fd = s->uid_lock = s->reaper_pipe = s->pidfd = s->control = s->frames = -1;
    s->place = s->netns = s->publish_netns = s->stage_mounts = s->cgroup_mount = -1;
    s->unrouted[0] = s->unrouted[1] = -1;
    network_namespace_init(&s->network);
    network_ready_init(&s->filled);
    publish_init(&s->publish);
    s->lasting = lasting;
    s->epoch = lasting ? lasting->epoch : 1;
    cgroup_session_init(&s->cgroup);
    workspace_init(&s->workspace);
    s->effective.cgroup_layout = rt->cgroup.layout;
    s->effective.namespaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET |
                              CLONE_NEWIPC | CLONE_NEWUTS |
                              (rt->cgroup.layout ? CLONE_NEWCGROUP : 0);

    /* Before anything is made. A port below 1024 is had where the kernel gives it to the caller;
     * of a session that lasts the launcher binds for who asks. */
    int r = lasting ? session_publish_bind(rt, &lasting->name, &spec->network, &s->publish, err)
                    : publish_bind(&spec->network, true, &s->publish, err);
    if (r == 0 && lasting && rt->prepared && prepared_fits(rt->prepared, spec))
        s->prepared = take_ptr(&rt->prepared); /* whatever comes of it: it is no other's */
    if (r == 0)
        r = launch(s, spec, first, err);
    if (r < 0) {
        struct err second = {0};
        if (session_destroy(s, &second) < 0)
            err_add(err, "Cleaning up failed too: %s: %s; the next berth command tries again.",
                    second.step, second.subject);
        return r;
    }
    session_unrouted_open(s, &spec->network, true);
    s->effective.limits.scratch_bytes = spec->limits.scratch_bytes;
    s->effective.limits.scratch_inodes = spec->limits.scratch_inodes;
    s->effective.limits.open_files = spec->limits.open_files;
    s->effective.default_uid_host = s->workspace.tree >= 0 && !rt->facts.rootless
                                        ? s->workspace.owner_uid
                                    : rt->facts.rootless ? rt->facts.caller_uid
                                                         : session_host_id(s, SPEC_UID_USER);
    *ret = s;
    return 0;
}

int session_create(struct session **ret, struct runtime *rt, const struct spec *spec,
                   struct err *err)
{
    return session_create_with(ret, rt, spec, NULL, err);
}

int session_create_with(struct session **ret, struct runtime *rt, const struct spec *spec,
                        const struct session_first *first, struct err *err)
{
    return session_make(ret, rt, spec, first, NULL, err);
}

int session_make(struct session **ret, struct runtime *rt, const struct spec *spec,
                 const struct session_first *first, const struct session_lasting *lasting,
                 struct err *err)
{
    int r = spec_check(spec, err);
    if (r == 0)
        r = check_against_host(rt, spec, err);
    if (r == 0)
        r = create_once(ret, rt, spec, first, lasting, err);
    /* A process that died at its birth without a word, or before its namespaces: where a cgroup
     * above was once killed, the kernel (6.18) kills whatever is born into one below. Then, and
     * only when a test shows that this is the cause, sessions are joined by writing instead. */
    if ((r != -ECHILD && r != -EOWNERDEAD) || !rt->cgroup.clone_into ||
        rt->cgroup.layout == RUNTIME_CGROUP_NONE)
        return r;
    struct err test = {0};
    if (cgroup_host_selftest(&rt->cgroup, &test) < 0 || rt->cgroup.clone_into)
        return r;
    return create_once(ret, rt, spec, first, lasting, err);
}

const struct session_effective *session_effective(const struct session *s)
{
    return &s->effective;
}

unsigned session_notes(const struct session *s, const struct session_note **ret_notes)
{
    *ret_notes = s->notes;
    return s->note_count;
}

/* ---- messages to init ---------------------------------------------------------------------------
 */

static int tell(const struct session *s, enum agent_message_type type, uint64_t exec,
                uint64_t first, uint64_t second)
{
    struct agent_message message = {
        .magic = AGENT_MAGIC,
        .version = AGENT_VERSION,
        .type = (uint16_t)type,
        .epoch = s->epoch,
        .exec = exec,
        .arg = {first, second},
    };
    return controller_send(s->control, &message, NULL, 0);
}

int session_signal(struct session *s, uint64_t exec, int signo, enum agent_scope scope)
{
    return tell(s, AGENT_SIGNAL, exec, (uint64_t)signo, scope);
}

int session_resize(struct session *s, uint64_t exec, uint16_t rows, uint16_t cols)
{
    return tell(s, AGENT_RESIZE, exec, rows, cols);
}

int session_kill(struct session *s, uint64_t exec, enum agent_reason reason)
{
    return tell(s, AGENT_KILL, exec, reason, 0);
}

int session_close_stdin(struct session *s, uint64_t exec)
{
    return tell(s, AGENT_CLOSE_STDIN, exec, 0, 0);
}

/* A directory, a device or a path-only descriptor would be a way to the host's files; a socket
 * could stall who receives from it. What may go in is a pipe or a regular file. */
static int check_stream(int fd, const char *name, struct err *err)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0)
        return err_set(err, ERR_INVALID_REQUEST, errno, "pass in", name, NULL);
    if ((flags & O_PATH) || !(S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode)))
        return err_set(err, ERR_INVALID_REQUEST, 0, "pass in", name,
                       "Only a pipe or a regular file may go into a session.");
    return 0;
}

/* A pipe of another owner cannot be opened again by name, and scripts do that all the time ("echo
 * >/dev/stderr"): a pipe that was made for the command is lent to its user. Never one of the
 * caller's: its other end would be the command's too. Rootless needs none of it: the default user
 * is the caller. */
static int lend_pipe(const struct session *s, int fd, uint32_t uid, struct err *err)
{
    struct statfs fs;
    if (s->runtime->facts.rootless)
        return 0;
    if (fstatfs(fd, &fs) < 0)
        return err_set(err, ERR_INVALID_REQUEST, errno, "look at a stream of the command", NULL,
                       NULL);
    if (fs.f_type == PIPEFS_MAGIC && fchown(fd, session_host_id(s, uid), (gid_t)-1) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "lend a pipe to the command", NULL, NULL);
    return 0;
}

/* What the caller did not make for the command must not be the command's to open again. */
static int check_foreign(const struct session *s, int fd, const char *name, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_set(err, ERR_INVALID_REQUEST, errno, "pass in", name, NULL);
    uint32_t base = s->effective.uid_base;
    bool inside =
        s->runtime->facts.rootless ? st.st_uid == geteuid() : st.st_uid - base < SPEC_UID_SPAN;
    if (S_ISFIFO(st.st_mode) && inside)
        return err_set(err, ERR_INVALID_REQUEST, 0, "pass in", name,
                       "A pipe of the session's user would be open to the session in both "
                       "directions: copy through a pipe of its own.");
    return 0;
}

int session_exec(struct session *s, uint64_t exec, const struct exec_request *request,
                 struct err *err)
{
    static const char *const names[] = {"standard input", "standard output", "standard error"};
    const int streams[] = {request->stdin_fd, request->stdout_fd, request->stderr_fd};
    int fds[1 + ARRAY_LENGTH(streams)];
    unsigned count = 1;
    uint32_t bits = 0;
    for (unsigned i = 0; i < ARRAY_LENGTH(streams); i++) {
        if (streams[i] < 0)
            continue;
        int r = check_stream(streams[i], names[i], err);
        if (r == 0)
            r = request->own_pipes & 1u << i ? lend_pipe(s, streams[i], request->uid, err)
                                             : check_foreign(s, streams[i], names[i], err);
        if (r < 0)
            return r;
        bits |= 1u << i;
        fds[count++] = streams[i];
    }
    _cleanup_fd_ int payload = -1;
    int r = controller_payload(request, bits, NULL, &payload, err);
    if (r < 0)
        return r;
    fds[0] = payload;
    struct agent_message message = {
        .magic = AGENT_MAGIC,
        .version = AGENT_VERSION,
        .type = AGENT_EXEC,
        .epoch = s->epoch,
        .exec = exec,
    };
    r = controller_send(s->control, &message, fds, count);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "send the command to init", NULL,
                       "The session's init is gone.");
    return 0;
}

/* ---- frames
 * ---------------------------------------------------------------------------------------- */

int session_frames_fd(const struct session *s)
{
    return s->frames;
}

int session_next_frame(struct session *s, struct agent_frame *ret_frame, const void **ret_payload,
                       struct err *err)
{
    int r = frame_reader_next(&s->reader, ret_frame, ret_payload, err);
    _Static_assert((int)SESSION_FRAME_NONE == (int)FRAME_READER_NONE &&
                       (int)SESSION_FRAME_END == (int)FRAME_READER_END,
                   "the facade's outcomes are the reader's");
    return r;
}

/* ---- destroy
 * --------------------------------------------------------------------------------------- */

/* Ends init, and with it, by the kernel's rule for PID 1, every process of the session. */
static int kill_init(struct session *s, struct err *err)
{
    if (s->init == 0)
        return 0;
    if (syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
        return err_set(err, ERR_INTERNAL, errno, "kill init", NULL, NULL);
    return 0;
}

static int wait_init(struct session *s, struct err *err)
{
    if (s->init == 0)
        return 0;
    /* The descriptor says the end only when all processes of the PID namespace are gone. */
    struct pollfd p = {.fd = s->pidfd, .events = POLLIN};
    int r;
    while ((r = poll(&p, 1, DESTROY_TIMEOUT_MS)) < 0 && errno == EINTR)
        ;
    if (r <= 0)
        return err_set(err, ERR_INTERNAL, r < 0 ? errno : ETIMEDOUT, "wait for the end of init",
                       NULL, NULL);
    /* ECHILD: a caller that ignores SIGCHLD has the kernel reap for it. */
    siginfo_t info;
    while (waitid(P_PIDFD, (id_t)s->pidfd, &info, WEXITED) < 0)
        if (errno == ECHILD)
            break;
        else if (errno != EINTR)
            return err_set(err, ERR_INTERNAL, errno, "reap init", NULL, NULL);
    s->init = 0;
    return 0;
}

int session_stop(struct session *s, struct err *err)
{
    fd_closep(&s->control);
    int r = kill_init(s, err);
    /* The kernel takes half a millisecond to take init and its mounts down. Where its own word says
     * that init was the last process, a part of the rest is done meanwhile. */
    if (r == 0 && s->init > 0 && s->cgroup_made && cgroup_session_vacate(&s->cgroup, s->init)) {
        session_unrouted_count(s);
        if (s->workspace_open)
            workspace_let_go(&s->workspace, session_note_add, s);
    }
    if (r == 0)
        r = wait_init(s, err);
    if (r == 0 && s->cgroup_made) {
        r = cgroup_session_destroy(&s->cgroup, DESTROY_TIMEOUT_MS, err);
        s->cgroup_made = r < 0;
    }
    if (r == 0 && (s->workspace_open || s->workspace.private)) {
        r = workspace_close(&s->workspace, session_note_add, s, err);
        s->workspace_open = r < 0;
    }
    return r;
}

int session_destroy(struct session *s, struct err *err)
{
    int r = session_stop(s, err);
    if (r == 0 && s->lasting)
        r = lasting_unmake(s, err);
    /* When something is left, the reaper finds the end of its pipe and tries on, and the record
     * stays. Else the record is all that there is: the reaper ends while it is removed, and who is
     * killed in between leaves a record of nothing to the next command. */
    if (r == 0) {
        reaper_dismiss(s);
        r = record_remove(&s->record, err);
    } else {
        fd_closep(&s->reaper_pipe);
        s->reaper = 0;
    }
    record_fini(&s->record);
    cgroup_session_fini(&s->cgroup);
    fd_close(s->control);
    fd_close(s->frames);
    fd_close(s->pidfd);
    reaper_wait(s);
    fd_close(s->uid_lock);
    fd_close(s->place);
    fd_close(s->netns);
    network_namespace_fini(&s->network);
    network_ready_fini(&s->filled);
    publish_fini(&s->publish);
    fd_close(s->publish_netns);
    launch_let_go(s);
    fd_close(s->unrouted[0]);
    fd_close(s->unrouted[1]);
    free(s);
    return r;
}
