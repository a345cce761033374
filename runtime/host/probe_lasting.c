/* This file makes one session that lasts, and does with it what `berth serve` does with sessions:
 * leaves it, connects, streams, reattaches, freezes, measures, reads and writes a file, ends it and
 * makes it again. It never asks a version number.
 *
 * PRIVILEGED: as the launcher. Should: leave nothing; what a killed probe left, the next one ends
 * (its name is that of its places, whose lock tells whether the maker lives). Mustn't: wait without
 * a deadline. Caller: probe.c.
 */
#include "runtime/host/probe_lasting.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/files.h"
#include "runtime/host/lasting.h"
#include "runtime/host/probe_session.h"
#include "runtime/link/agent_client.h"
#include "runtime/link/spool_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

/* No ledger has this instance: theirs are longer. */
#define PROBE_INSTANCE "70726f6265"

enum { STILL_MS = 40, STEP_MS = 5, EXECS = 5, ORPHANS = 16, OUTPUT = 64 << 10 };

struct trial {
    struct runtime *rt;
    const struct runtime_facts *facts;
    struct probe_result *results;
    struct spec spec;
    struct session_name name;
    struct session_identity identity;
    struct agent_client *agent;
    struct agent_exit exit[EXECS];
    bool ended[EXECS], runs[EXECS];
    int spool, input;
    char text[512];
    struct err err;
};

/* ---- answers -----------------------------------------------------------------------------------
 */

static void yes(struct trial *t, enum probe_id id, const char *evidence)
{
    snprintf(t->results[id].evidence, sizeof t->results[id].evidence, "%s", evidence);
    t->results[id].works = true;
}

static void no(struct trial *t, enum probe_id id, bool certain, const char *reason,
               const char *remedy)
{
    struct probe_result *to = &t->results[id];
    struct err plain = t->err;
    *to = (struct probe_result){.certain = certain};
    if (reason)
        snprintf(to->reason, sizeof to->reason, "%s", reason);
    else
        err_format(&plain, to->reason, sizeof to->reason);
    snprintf(to->remedy, sizeof to->remedy, "%s", remedy);
}

static void answer(struct trial *t, enum probe_id id, bool works, const char *evidence,
                   const char *expected)
{
    if (works)
        yes(t, id, evidence);
    else
        no(t, id, false, t->err.code == ERR_NONE ? expected : NULL, "");
    t->err = (struct err){0}; /* the next is another matter */
}

/* ---- the session -------------------------------------------------------------------------------
 */

struct made {
    struct session_identity identity;
    struct err err;
    int result;
};

static int make_here(struct trial *t, struct session_identity *ret, struct err *err)
{
    struct session *s;
    const struct session_lasting lasting = {
        .name = t->name,
        .epoch = 1,
        .connect_uid = t->facts->caller_uid,
        .connect_gid = t->facts->caller_gid,
        .deadline_ms = PROBE_DEADLINE_MS,
        .asker_uid = UINT32_MAX,
        .asker_gid = UINT32_MAX,
    };
    int r = session_create_lasting(&s, t->rt, &t->spec, &lasting, err);
    if (r == 0)
        session_leave(s, ret);
    return r;
}

/* By a process that is gone when this returns: what is seen afterwards has outlived its maker. */
static bool make(struct trial *t)
{
    struct made *made =
        mmap(NULL, sizeof *made, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) {
        err_set(&t->err, ERR_INTERNAL, errno, "probe", NULL, NULL);
        return false;
    }
    made->result = -ECHILD;
    int status;
    pid_t maker = fork();
    if (maker == 0) {
        made->result = make_here(t, &made->identity, &made->err);
        _exit(0);
    }
    while (maker > 0 && waitpid(maker, &status, 0) < 0 && errno == EINTR)
        continue;
    bool done = made->result == 0;
    if (done)
        t->identity = made->identity;
    else if (made->err.code != ERR_NONE)
        t->err = made->err;
    else
        err_set(&t->err, ERR_UNAVAILABLE, -made->result, "probe", NULL,
                "The maker of a session that lasts has ended by itself.");
    munmap(made, sizeof *made);
    return done;
}

static bool connect_as(struct trial *t, uint64_t epoch)
{
    char path[RUNTIME_DIR_SIZE + 128];
    struct lasting_names names;
    agent_client_free(t->agent);
    t->agent = NULL;
    memset(t->ended, 0, sizeof t->ended);
    memset(t->runs, 0, sizeof t->runs);
    if (lasting_names_make(&t->name, &names, &t->err) < 0)
        return false;
    snprintf(path, sizeof path, "%s/sessions/%s/control", t->facts->runtime_dir, names.id);
    return agent_client_open(&t->agent, path, t->identity.init_pid, epoch, &t->err) == 0;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void take(struct trial *t, const struct agent_frame *frame, const void *payload)
{
    if (frame->exec >= EXECS)
        return;
    if (frame->type == AGENT_FRAME_TABLE) {
        struct agent_table_row row;
        memcpy(&row, payload, sizeof row);
        t->runs[frame->exec] = row.state == AGENT_ROW_RUNNING;
    } else if (frame->type == AGENT_FRAME_EXIT) {
        memcpy(&t->exit[frame->exec], payload, sizeof t->exit[0]);
        t->ended[frame->exec] = true;
    } else if (frame->type == AGENT_FRAME_START_FAILED)
        err_set(&t->err, ERR_UNAVAILABLE, 0, "probe", NULL, "A command did not start.");
}

/* Frames of at most `ms`; false when there will be no more. */
static bool pump(struct trial *t, unsigned ms)
{
    struct agent_frame frame;
    const void *payload;
    struct pollfd p = {.fd = agent_client_fd(t->agent), .events = POLLIN};
    (void)poll(&p, 1, (int)ms); /* its end is found below */
    int r;
    while ((r = agent_client_next(t->agent, &frame, &payload, &t->err)) == 0)
        take(t, &frame, payload);
    if (r == SESSION_FRAME_END)
        err_set(&t->err, ERR_UNAVAILABLE, 0, "probe", NULL, "The session ended by itself.");
    return t->err.code == ERR_NONE;
}

static bool waited(struct trial *t, const bool *until)
{
    uint64_t deadline = now_ms() + PROBE_DEADLINE_MS;
    while (!*until && now_ms() < deadline)
        if (!pump(t, STEP_MS))
            return false;
    return *until;
}

static bool printed(struct trial *t, const char *word)
{
    struct spool_reader *reader;
    struct spool_frame frame;
    char text[512] = "";
    size_t length = 0;
    struct err err;
    if (spool_reader_new(&reader, t->spool, 0, &err) < 0)
        return false;
    while (spool_reader_next(reader, &frame, &err) == 0)
        if (frame.kind == SPOOL_STDOUT && frame.data && frame.bytes < sizeof text - length) {
            memcpy(text + length, frame.data, (size_t)frame.bytes);
            length += (size_t)frame.bytes;
            text[length] = 0;
        }
    spool_reader_free(reader);
    return strstr(text, word) != NULL;
}

static bool prints(struct trial *t, const char *word, unsigned ms)
{
    uint64_t deadline = now_ms() + ms;
    while (!printed(t, word))
        if (now_ms() >= deadline || !pump(t, STEP_MS))
            return false;
    return true;
}

static bool says(struct trial *t, const char *line)
{
    return io_write_full(t->input, line, strlen(line)) == 0;
}

static bool start(struct trial *t, uint64_t exec, const char *shell)
{
    const char *const argv[] = {"/bin/sh", "-c", shell, NULL};
    const char *const none[] = {NULL};
    const struct agent_spool_limits limits = {.head = OUTPUT, .tail = OUTPUT};
    _cleanup_free_ char **env = exec_environment(&t->spec, NULL, none);
    int ends[2];
    if (!env || pipe2(ends, O_CLOEXEC) < 0)
        return err_set(&t->err, ERR_INTERNAL, errno, "probe", NULL, NULL) == 0;
    _cleanup_fd_ int inside = ends[0];
    fd_replace(&t->input, ends[1]);
    fd_replace(&t->spool, memfd_create("berth-probe", MFD_CLOEXEC));
    const struct exec_request request = {
        .argv = argv,
        .env = (const char *const *)env,
        .cwd = "/",
        .uid = t->spec.process.uid,
        .gid = t->spec.process.gid,
        .stdin_fd = inside,
        .own_pipes = 1,
        .stdout_fd = -1,
        .stderr_fd = -1,
    };
    return agent_client_exec(t->agent, exec, &request, t->spool, &limits, &t->err) == 0;
}

/* ---- files ------------------------------------------------------------------------------------
 */

static bool make_pipe(int *inside, int *mine, bool in)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return false;
    *inside = ends[in ? 0 : 1];
    *mine = ends[in ? 1 : 0];
    /* It is read when the worker has ended: what is not there then does not come. */
    return fcntl(*mine, F_SETFL, O_NONBLOCK) == 0;
}

static bool succeeded(int answers)
{
    char bytes[2 * sizeof(struct files_begin) + 2 * sizeof(struct files_result)];
    ssize_t length = io_read_full(answers, bytes, sizeof bytes);
    for (ssize_t at = 0; at + (ssize_t)sizeof(uint32_t) <= length;) {
        uint32_t magic;
        struct files_result result;
        memcpy(&magic, bytes + at, sizeof magic);
        size_t size = files_message_size(magic);
        if (size == 0 || at + (ssize_t)size > length)
            return false;
        if (magic == FILES_MAGIC) {
            memcpy(&result, bytes + at, sizeof result);
            return !files_result_check(&result, size) && result.result == 0;
        }
        at += (ssize_t)size;
    }
    return false;
}

/* The first word of a watch. */
static bool is_ready(int changes)
{
    struct files_change change;
    struct pollfd waits = {.fd = changes, .events = POLLIN};
    return poll(&waits, 1, PROBE_DEADLINE_MS) == 1 &&
           read(changes, &change, sizeof change) == (ssize_t)sizeof change &&
           !files_change_check(&change) && change.kind == FILES_READY;
}

static bool file(struct trial *t, uint64_t exec, enum files_operation operation, const char *in,
                 char *out, size_t out_size)
{
    _cleanup_free_ struct files_request *asked = calloc(1, sizeof *asked);
    _cleanup_free_ struct files_argv *argv = calloc(1, sizeof *argv);
    _cleanup_fd_ int in_there = -1, in_here = -1, out_there = -1, out_here = -1;
    _cleanup_fd_ int answer_there = -1, answer_here = -1;
    const char *const none[] = {NULL};
    if (!asked || !argv)
        return false;
    files_request_init(asked, operation);
    snprintf(asked->path, sizeof asked->path,
             operation == FILES_WATCH ? "/workspace" : "/workspace/kept");
    asked->length = operation == FILES_READ ? UINT64_MAX : 0;
    if (files_request_to_argv(asked, argv) < 0 || !make_pipe(&in_there, &in_here, true) ||
        !make_pipe(&out_there, &out_here, false) || !make_pipe(&answer_there, &answer_here, false))
        return false;
    const struct exec_request request = {
        .argv = argv->argv,
        .env = none,
        .cwd = "/",
        .uid = t->spec.process.uid,
        .gid = t->spec.process.gid,
        .stdin_fd = in_there,
        .stdout_fd = out_there,
        .stderr_fd = answer_there,
        .own_pipes = 7,
        .files = true,
    };
    if (agent_client_exec(t->agent, exec, &request, -1, NULL, &t->err) < 0 ||
        io_write_full(in_here, in, strlen(in)) < 0)
        return false;
    fd_replace(&in_there, -1);
    fd_replace(&in_here, -1);
    fd_replace(&out_there, -1);
    fd_replace(&answer_there, -1);
    if (operation == FILES_WATCH) { /* it ends when nobody reads */
        bool ready = is_ready(out_here);
        fd_replace(&out_here, -1);
        return waited(t, &t->ended[exec]) && ready;
    }
    if (!waited(t, &t->ended[exec]) || !succeeded(answer_here))
        return false;
    ssize_t n = io_read_full(out_here, out, out_size - 1);
    out[n > 0 ? n : 0] = 0;
    return true;
}

static void try_files(struct trial *t)
{
    char text[32] = "";
    if (t->rt->files < 0) {
        char why[256] = "There is no program berth-files beside berth's init.";
        if (t->rt->files_err.code != ERR_NONE)
            err_format(&t->rt->files_err, why, sizeof why);
        /* Not certain: the cache's key does not know of this file. */
        for (enum probe_id id = PROBE_FILES_READ; id <= PROBE_FILES_WRITE; id++)
            no(t, id, false, why,
               "Install berth whole: `make install` puts berth-files beside berth-init.");
        return;
    }
    bool wrote = file(t, 2, FILES_WRITE, "of the probe", text, sizeof text);
    answer(t, PROBE_FILES_WRITE, wrote, "the file worker wrote a file as the session's user",
           "The file worker wrote no file.");
    bool got = wrote && file(t, 3, FILES_READ, "", text, sizeof text);
    answer(t, PROBE_FILES_READ, got && strcmp(text, "of the probe") == 0,
           "the file worker read it back, whole", "The file worker did not read it back.");
    answer(t, PROBE_FILES_WATCH, file(t, 4, FILES_WATCH, "", text, sizeof text),
           "the file worker watched the workspace", "The file worker could watch no directory.");
}

/* ---- what is tried ----------------------------------------------------------------------------
 */

static void try_freeze(struct trial *t)
{
    int r = session_freeze(t->rt, &t->name, true, PROBE_DEADLINE_MS, &t->err);
    if (r == -EOPNOTSUPP) {
        t->err = (struct err){0};
        no(t, PROBE_FREEZE, true, "A session has no cgroup here that could be frozen.",
           t->facts->cgroup_reason);
        return;
    }
    bool still = r == 0 && says(t, "frozen\n") && !prints(t, "got frozen", STILL_MS);
    bool on = r == 0 && session_freeze(t->rt, &t->name, false, PROBE_DEADLINE_MS, &t->err) == 0 &&
              prints(t, "got frozen", PROBE_DEADLINE_MS);
    answer(t, PROBE_FREEZE, still && on,
           "a frozen session answered nothing, and answered when it was thawed",
           still ? "It did not go on." : "It was frozen, and answered.");
}

static void try_sample(struct trial *t)
{
    struct launcher_sample sample;
    int r = session_sample(t->rt, &t->name, &sample, &t->err);
    if (r == -EOPNOTSUPP) {
        t->err = (struct err){0};
        no(t, PROBE_METERING, true, "A session has no cgroup here whose counters could be read.",
           t->facts->cgroup_reason);
        return;
    }
    answer(t, PROBE_METERING, r == 0 && sample.cpu_ns > 0 && sample.pids > 0,
           "the counters of a session were read, and had counted", "Its counters stand at zero.");
}

static const char talk[] = "echo kept > /workspace/made-inside\n"
                           "while read -r l; do echo \"got $l\"; done; exit 7";

static void first_life(struct trial *t)
{
    if (!connect_as(t, 2))
        return;
    yes(t, PROBE_LASTS, "a session answered a second process when its maker was gone");
    bool streamed =
        start(t, 1, talk) && says(t, "one\n") && prints(t, "got one", PROBE_DEADLINE_MS);
    answer(t, PROBE_STREAM, streamed, "what a command printed was in its spool while it ran",
           "Nothing came into its spool.");
    if (!streamed)
        return;
    try_freeze(t);
    try_sample(t);
    bool again = connect_as(t, 3) && waited(t, &t->runs[1]) && says(t, "two\n") &&
                 prints(t, "got two", PROBE_DEADLINE_MS);
    fd_replace(&t->input, -1);
    again = again && agent_client_close_stdin(t->agent, 1) == 0 && waited(t, &t->ended[1]) &&
            t->exit[1].exit_code == 7;
    answer(t, PROBE_REATTACH, again,
           "a newer connection found the command running, and had the rest of it",
           "A newer connection did not find the command.");
    if (again)
        try_files(t);
}

static bool gone(struct trial *t)
{
    enum session_found found = SESSION_FOUND_OTHER;
    agent_client_free(t->agent);
    t->agent = NULL;
    return session_end(t->rt, &t->name, PROBE_DEADLINE_MS, NULL, NULL, NULL, &t->err) == 0 &&
           session_look(t->rt, &t->name, NULL, &found, NULL, NULL, &t->err) == 0 &&
           found == SESSION_FOUND_ABSENT;
}

static void second_life(struct trial *t)
{
    t->name.incarnation = 2;
    bool back = make(t) && connect_as(t, 2) &&
                start(t, 1, "read -r l < /workspace/made-inside && [ \"$l\" = kept ] && exit 7") &&
                waited(t, &t->ended[1]) && t->exit[1].exit_code == 7;
    answer(t, PROBE_RESUME, back,
           "a session was made again, and had the workspace of the one before",
           "It had not what the one before left in its workspace.");
}

/* ---- what a killed probe left -----------------------------------------------------------------
 */

static int64_t row_of(const char *id)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * 0x100000001b3;
    return (int64_t)(hash >> 2) + 1;
}

/* A session is made when the lock is held. */
static bool maker_lives(const struct runtime_facts *facts, int64_t row)
{
    bool lives = false;
    DIR *directory = opendir(facts->runtime_dir);
    if (!directory)
        return true;
    for (const struct dirent *e; !lives && (e = readdir(directory)) != NULL;) {
        if (row_of(e->d_name) != row)
            continue;
        _cleanup_fd_ int fd =
            openat(dirfd(directory), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        lives = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0;
    }
    closedir(directory);
    return lives;
}

struct orphans {
    const struct runtime_facts *facts;
    struct session_name names[ORPHANS];
    unsigned count;
};

static int each(void *data, const struct session_name *name)
{
    struct orphans *o = data;
    if (o->count < ORPHANS && !maker_lives(o->facts, name->row))
        o->names[o->count++] = *name;
    return 0;
}

/* Best effort: what cannot be ended now is found again by the next probe. */
static void end_orphans(struct runtime *rt)
{
    struct orphans orphans = {.facts = runtime_facts(rt)};
    struct err err;
    (void)session_list(rt, PROBE_INSTANCE, each, &orphans, &err);
    for (unsigned i = 0; i < orphans.count; i++)
        (void)session_end(rt, &orphans.names[i], PROBE_DEADLINE_MS, NULL, NULL, NULL, &err);
}

void probe_lasting(struct runtime *rt, const struct probe_places *places,
                   struct probe_result results[PROBE_COUNT])
{
    struct trial *t = calloc(1, sizeof *t);
    if (!t)
        return;
    t->rt = rt;
    t->facts = runtime_facts(rt);
    t->results = results;
    t->spool = t->input = -1;
    t->name = (struct session_name){.instance = PROBE_INSTANCE, .incarnation = 1};
    t->name.row = row_of(places->id);
    probe_spec(&t->spec, "probe-lasting");
    t->spec.workspace.kind = SPEC_WORKSPACE_VOLUME;
    t->spec.workspace.size_bytes = 0;
    snprintf(t->spec.workspace_id, sizeof t->spec.workspace_id, "%s", places->id);
    snprintf(t->spec.workspace.volume, sizeof t->spec.workspace.volume, "%s", places->id);
    end_orphans(rt);
    /* Before its session is made, which is given the program or has no file worker. */
    if (!rt->facts.rootless && rt->files < 0)
        (void)runtime_open_files(rt, &rt->files_err); /* told by try_files() */
    if (make(t))
        first_life(t);
    struct err why = t->err;
    bool had = t->results[PROBE_LASTS].works;
    if (had)
        t->err = (struct err){0};
    bool stopped = gone(t);
    answer(t, PROBE_PARK_STOP, had && stopped, "a session was ended, and nothing of it was left",
           "Something of it was left.");
    if (had && stopped) {
        second_life(t);
        (void)gone(t); /* what is left the next probe ends */
    }
    t->err = why;
    for (enum probe_id id = PROBE_LASTS; id < PROBE_COUNT; id++)
        if (!results[id].works && !results[id].reason[0])
            no(t, id, false, why.code == ERR_NONE ? "What comes before it failed." : NULL, "");
    fd_replace(&t->spool, -1);
    fd_replace(&t->input, -1);
    free(t);
}
