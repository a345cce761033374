/* This file makes sessions that last: what launch() does for them beside the steps that it has for
 * every session, and how their maker leaves; it never ends one that lives.
 *
 * PRIVILEGED: a worker of the launcher's. Order against SIGKILL at any instant: the record first;
 * then the directory; then cgroups; who init is is written before it can have what it needs to go
 * on without its maker. Whatever is there is found by name (lasting_end.c).
 */
#include "runtime/host/lasting.h"

#include "runtime/agent/controller.h"
#include "runtime/base/fd.h"
#include "runtime/files.h"
#include "runtime/host/uid_slot.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { DEADLINE_MS = 5000 };

int lasting_begin(struct session *s, struct err *err)
{
    struct runtime *rt = s->runtime;
    struct lasting_names names;
    int r = lasting_names_make(&s->lasting->name, &names, err);
    if (r == 0)
        r = record_create_named(&s->record, rt->records, names.id, err);
    if (r < 0)
        return r;
    bool other = !rt->facts.rootless && s->lasting->connect_uid != rt->facts.caller_uid;
    return lasting_place_make(rt, names.id, other, &s->place, err);
}

static int write_identity(const struct session *s, struct err *err)
{
    struct lasting_file file = {.identity = s->identity};
    if (s->cgroup_made)
        snprintf(file.cgroup, sizeof file.cgroup, "%s/%s", s->runtime->cgroup.v2, s->cgroup.name);
    return lasting_file_write(s->place, &file, err);
}

int lasting_born(struct session *s, struct err *err)
{
    struct session_identity *id = &s->identity;
    uint64_t started;
    struct stat st = {0};
    int r = lasting_boot_id(id->boot_id, err);
    if (r < 0)
        return r;
    r = process_start_time(s->init, &started);
    if (r == 0 && s->cgroup_made && fstat(s->cgroup.s_fd, &st) < 0)
        r = -errno;
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "look at the session's first process", NULL, NULL);
    id->init_pid = s->init;
    id->init_start = (int64_t)started;
    id->cgroup_inode = (int64_t)st.st_ino;
    id->uid_base = s->effective.uid_base;
    id->uid_count = s->effective.uid_count;
    r = write_identity(s, err);
    if (r == 0 && s->uid_lock >= 0)
        r = uid_slot_set_init(s->runtime->share_dir, s->effective.uid_base, s->init, started, err);
    return r;
}

/* ---- ready
 * ---------------------------------------------------------------------------------------
 */

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static const char probe_step[] = "run the first command in the session";

int lasting_probe(struct session *s, const struct spec *spec, uint64_t deadline_us, struct err *err)
{
    int64_t left = (int64_t)deadline_us - now_us();
    static struct files_argv files; /* one session is made at a time */
    struct files_request probe;
    files_request_init(&probe, FILES_PROBE);
    int r = files_request_to_argv(&probe, &files);
    if (r < 0)
        return err_raw(err, ERR_INTERNAL, -r, probe_step, NULL);
    static const char *const program[] = {"/bin/true", NULL};
    static const char *const nothing[] = {NULL};
    bool worker = s->runtime->files >= 0;
    const struct exec_request request = {
        .argv = worker ? files.argv : program,
        .env = nothing,
        .cwd = spec->workspace.mount_path,
        .uid = spec->process.uid,
        .gid = spec->process.gid,
        .stdin_fd = -1,
        .stdout_fd = -1,
        .stderr_fd = -1,
        .null_stdout = true,
        .null_stderr = true,
        .files = worker,
        .timeout_ms = left > 1000 ? (unsigned)(left / 1000) : 1,
        .open_files = spec->limits.open_files,
    };
    return session_exec(s, AGENT_EXEC_PROBE, &request, err);
}

/* 0; 1: not yet; -errno. */
static int read_probe(struct session *s, struct err *err)
{
    struct agent_frame frame;
    const void *payload;
    int r = frame_reader_next(&s->reader, &frame, &payload, err);
    if (r == FRAME_READER_END)
        return err_set(err, ERR_UNAVAILABLE, ECHILD, probe_step, NULL,
                       "init ended without a word (killed, or out of memory).");
    if (r != 0)
        return r < 0 ? r : 2;
    if (frame.exec != AGENT_EXEC_PROBE)
        return 1;
    if (frame.type == AGENT_FRAME_START_FAILED) {
        struct agent_start_failed failed;
        memcpy(&failed, payload, sizeof failed);
        return err_set(err, ERR_UNAVAILABLE, failed.sys, probe_step, failed.subject,
                       "It could not be started: %s.", failed.step);
    }
    if (frame.type != AGENT_FRAME_EXIT)
        return 1;
    struct agent_exit exit;
    memcpy(&exit, payload, sizeof exit);
    if (exit.reason == AGENT_REASON_EXIT && exit.exit_code == 0)
        return 0;
    return err_set(err, ERR_UNAVAILABLE, EPROTO, probe_step, NULL, "It ended by %s (exit code %d).",
                   agent_reason_name((enum agent_reason)exit.reason), exit.exit_code);
}

int lasting_prove(struct session *s, uint64_t netns_inode, uint64_t deadline_us, struct err *err)
{
    s->identity.netns_inode = (int64_t)netns_inode;
    /* While it runs. */
    int r = workspace_watch_lasting(&s->workspace, s->place, err);
    while (r == 0 && (r = read_probe(s, err)) > 0) {
        int64_t left = (int64_t)deadline_us - now_us();
        struct pollfd p = {.fd = s->frames, .events = POLLIN};
        if (left <= 0)
            return err_set(err, ERR_UNAVAILABLE, ETIMEDOUT, probe_step, NULL,
                           "It had not ended in time: the host is overloaded or slow "
                           "(\"start_timeout_s\" of \"berth serve\"), or a file system of "
                           "the session hangs.");
        if (r == 2 && poll(&p, 1, (int)(left / 1000) + 1) < 0 && errno != EINTR)
            return err_set(err, ERR_INTERNAL, errno, probe_step, NULL, NULL);
        r = 0;
    }
    if (r < 0)
        return r;
    /* init's table begins empty for front. */
    const struct agent_message forget = {
        .magic = AGENT_MAGIC,
        .version = AGENT_VERSION,
        .type = AGENT_FORGET,
        .epoch = s->epoch,
        .exec = AGENT_EXEC_PROBE,
    };
    r = controller_send(s->control, &forget, NULL, 0);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, probe_step, NULL, "init is gone.");
    return write_identity(s, err);
}

/* ---- the facade
 * -----------------------------------------------------------------------------------
 */

int session_create_lasting(struct session **ret, struct runtime *rt, const struct spec *spec,
                           const struct session_lasting *lasting, struct err *err)
{
    struct session_lasting own = *lasting;
    if (own.deadline_ms == 0)
        own.deadline_ms = DEADLINE_MS;
    struct session *s;
    int r = session_make(&s, rt, spec, NULL, &own, err);
    if (r < 0)
        return r;
    s->lasting = NULL; /* it is the caller's */
    *ret = s;
    return 0;
}

int lasting_unmake(struct session *s, struct err *err)
{
    struct lasting_names names;
    int r = lasting_names_make(&s->lasting->name, &names, err);
    /* What it did not make itself is another's. */
    if (r < 0 || s->place < 0)
        return r;
    r = session_network_forget(s->runtime, &s->lasting->name, err);
    return r == 0 ? lasting_place_remove(s->runtime, names.id, err) : r;
}

int session_keep_netns(const struct session *s)
{
    return s->netns < 0 ? -1 : fcntl(s->netns, F_DUPFD_CLOEXEC, 3);
}

void session_leave(struct session *s, struct session_identity *ret)
{
    *ret = s->identity;
    fd_replace(&s->runtime->left[0], take_fd(&s->stage_mounts));
    fd_replace(&s->runtime->left[1], take_fd(&s->cgroup_mount));
    workspace_leave(&s->workspace);
    cgroup_session_fini(&s->cgroup);
    record_fini(&s->record);
    fd_close(s->control);
    fd_close(s->frames);
    fd_close(s->pidfd);
    fd_close(s->uid_lock);
    fd_close(s->place);
    fd_close(s->netns);
    publish_fini(&s->publish);
    fd_close(s->publish_netns);
    free(s);
}
