/* This file runs short commands in probe sandboxes; it judges nothing.
 *
 * PRIVILEGED: as the launcher, through the facade only. Should: end every session that it made,
 * whatever its commands do. Mustn't: wait without a deadline. Caller: probe.c.
 */
#include "runtime/host/probe_session.h"

#include "runtime/base/fd.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void probe_spec(struct spec *spec, const char *name)
{
    spec_init(spec);
    snprintf(spec->workspace_id, sizeof spec->workspace_id, "berth-probe");
    snprintf(spec->session_id, sizeof spec->session_id, "%s", name);
    spec->image.kind = SPEC_IMAGE_HOST;
    spec->workspace.kind = SPEC_WORKSPACE_TMPFS;
    spec->workspace.size_bytes = 1 << 20;
    snprintf(spec->workspace.mount_path, sizeof spec->workspace.mount_path, "/workspace");
    spec->network.egress = SPEC_EGRESS_DENY;
    spec->process.uid = spec->process.gid = SPEC_UID_USER;
    spec->process.seccomp = SPEC_SECCOMP_DEFAULT;
    spec->limits.scratch_bytes = 4 << 20;
    spec->limits.scratch_inodes = 1024;
    spec->limits.output_bytes = 1 << 20;
}

void probe_open(struct probe_session *p, struct runtime *rt)
{
    p->session = NULL;
    p->count = 0;
    memset(&p->err, 0, sizeof p->err);
    if (session_create(&p->session, rt, &p->spec, &p->err) < 0)
        p->session = NULL;
}

void probe_close(struct probe_session *p)
{
    struct err err;
    for (unsigned i = 0; i < p->count; i++)
        fd_replace(&p->exec[i].input, -1);
    /* What a failed destroy leaves is in its record, and the next runtime_open() removes it. */
    if (p->session)
        (void)session_destroy(p->session, &err);
    p->session = NULL;
}

static int start(struct probe_session *p, const struct probe_command *command, unsigned number,
                 struct err *err)
{
    const char *const shell[] = {"/bin/sh", "-c", command->shell, NULL};
    const char *const program[] = {command->program, command->argument, NULL};
    const char *const none[] = {NULL};
    _cleanup_free_ char **env = exec_environment(&p->spec, command->tty ? "dumb" : NULL, none);
    if (!env)
        return err_set(err, ERR_INTERNAL, 0, "probe", NULL, "Out of memory.");
    int ends[2] = {-1, -1};
    if (command->input && pipe2(ends, O_CLOEXEC) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "probe: make a pipe", NULL, NULL);
    _cleanup_fd_ int inside = ends[0];
    p->exec[number].input = ends[1];
    struct exec_request request = {
        .argv = command->shell ? shell : program,
        .env = (const char *const *)env,
        .cwd = "/",
        .uid = p->spec.process.uid,
        .gid = p->spec.process.gid,
        .tty = command->tty,
        .rows = 33,
        .cols = 77,
        .stdin_fd = inside,
        .own_pipes = inside >= 0 ? 1u << 0 : 0,
        .stdout_fd = -1,
        .stderr_fd = -1,
        .timeout_ms = command->timeout_ms,
        .idle_timeout_ms = command->idle_timeout_ms,
        .grace_ms = 50,
        .open_files = p->spec.limits.open_files,
    };
    return session_exec(p->session, number + 1, &request, err);
}

int probe_start(struct probe_session *p, const struct probe_command *command)
{
    if (p->count == PROBE_EXECS_MAX)
        return -1;
    unsigned number = p->count++;
    struct probe_exec *e = &p->exec[number];
    memset(e, 0, sizeof *e);
    e->input = -1;
    if (p->err.code != ERR_NONE)
        e->err = p->err;
    else
        (void)start(p, command, number, &e->err); /* its error is kept, and ends the wait */
    return (int)number;
}

static void append(struct probe_exec *e, const void *data, size_t length)
{
    size_t room = PROBE_TEXT_MAX - e->length;
    if (length > room)
        length = room;
    memcpy(e->text + e->length, data, length);
    e->length += length;
    e->text[e->length] = 0;
}

static void start_failed(struct probe_exec *e, const struct agent_start_failed *failed)
{
    char step[sizeof failed->step + 1] = "", subject[sizeof failed->subject + 1] = "";
    memcpy(step, failed->step, sizeof failed->step);
    memcpy(subject, failed->subject, sizeof failed->subject);
    err_set(&e->err, ERR_INTERNAL, failed->sys, step, subject,
            "The probe's program did not start.");
}

static void take_frame(struct probe_session *p, const struct agent_frame *frame,
                       const void *payload)
{
    if (frame->exec < 1 || frame->exec > p->count)
        return;
    struct probe_exec *e = &p->exec[frame->exec - 1];
    if (frame->type == AGENT_FRAME_DATA)
        append(e, payload, frame->length);
    else if (frame->type == AGENT_FRAME_START_FAILED)
        start_failed(e, payload);
    else if (frame->type == AGENT_FRAME_EXIT) {
        memcpy(&e->exit, payload, sizeof e->exit);
        e->ended = true;
    }
}

enum collect_outcome { COLLECT_LATE = 1 };

/* One wait for frames, then those that are there; -1 with `err` when there will be no more. */
static int collect(struct probe_session *p, uint64_t until_ms, struct err *err)
{
    uint64_t now = now_ms();
    struct pollfd fd = {.fd = session_frames_fd(p->session), .events = POLLIN};
    if (poll(&fd, 1, now < until_ms ? (int)(until_ms - now) : 0) == 0)
        return COLLECT_LATE;
    for (;;) {
        struct agent_frame frame;
        const void *payload;
        int r = session_next_frame(p->session, &frame, &payload, err);
        if (r == SESSION_FRAME_NONE)
            return 0;
        if (r == SESSION_FRAME_END)
            err_set(err, ERR_UNAVAILABLE, 0, "probe", NULL, "The session ended by itself.");
        if (r != 0)
            return -1;
        take_frame(p, &frame, payload);
    }
}

static bool goes_on(const struct probe_exec *e, const char *until)
{
    return e->err.code == ERR_NONE && !e->ended && !(until && strstr(e->text, until));
}

static int wait_until(struct probe_session *p, struct probe_exec *e, const char *until, unsigned ms)
{
    uint64_t until_ms = now_ms() + ms;
    while (goes_on(e, until)) {
        int r = collect(p, until_ms, &e->err);
        if (r == COLLECT_LATE)
            return COLLECT_LATE;
        if (r < 0)
            p->err = e->err;
    }
    return 0;
}

int probe_wait_ms(struct probe_session *p, int number, unsigned ms)
{
    return number < 0 ? 0 : wait_until(p, &p->exec[number], NULL, ms);
}

const struct probe_exec *probe_wait(struct probe_session *p, int number, const char *until)
{
    static const struct probe_exec none = {.err = {.code = ERR_INTERNAL, .step = "probe"}};
    if (number < 0)
        return &none;
    struct probe_exec *e = &p->exec[number];
    if (wait_until(p, e, until, PROBE_DEADLINE_MS) == COLLECT_LATE) {
        /* The command goes on in there, and would be in the way of the next. */
        err_set(&e->err, ERR_UNAVAILABLE, 0, "probe", NULL, "No answer from the session in %d s.",
                PROBE_DEADLINE_MS / 1000);
        p->err = e->err;
    }
    return e;
}

const struct probe_exec *probe_do(struct probe_session *p, const struct probe_command *command)
{
    return probe_wait(p, probe_start(p, command), NULL);
}
