/* This file is long because all of it is one fake, which the tests share.
 *
 * It is a launcher, inits and spools that only exist in a test's memory, behind the
 * functions that the engine calls. Nothing here has privilege or waits. What it holds outlives an
 * engine, as the kernel's objects do.
 */
#pragma once

#include "provider/provider_internal.h"
#include "provider/spec_store.h"
#include "runtime/base/fd.h"
#include "runtime/link/agent_client.h"
#include "runtime/link/spool_reader.h"
#include "runtime/plan/network.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

/* ---- what the kernel holds ------------------------------------------------------------------- */

enum { FAKE_BOXES = 4096, FAKE_CALLS = 8192, FAKE_EXECS = 128, FAKE_FRAMES = 256 };

struct fake_exec {
    uint64_t number;
    int state; /* 1 running, 2 ended, 3 ended and keeps children */
    bool has_files, forgotten, keeps;
    uint64_t seq; /* of its spool */
    char argv0[64];
    int out, in, err;
    struct agent_exit exit;
};

struct fake_box {
    int64_t row, incarnation;
    bool lives, frozen, paused;
    uint64_t generation; /* of its network's rules */
    struct spec_network rules;
    uint64_t pinged; /* not answered yet */
    struct session_identity identity;
    struct fake_exec execs[FAKE_EXECS];
    unsigned exec_count;
    struct agent_client *agent; /* who is connected */
    unsigned connects;
};

struct fake_call {
    struct launcher_request request;
    launcher_done *done;
    void *data;
    bool used;
};

static struct {
    struct fake_box *boxes[FAKE_BOXES];
    unsigned box_count;
    struct fake_call calls[FAKE_CALLS];
    unsigned asked[LAUNCHER_REQUEST_END];
    unsigned fail[LAUNCHER_REQUEST_END]; /* so many of these fail */
    struct err fail_with;
    bool hold[LAUNCHER_REQUEST_END]; /* not answered until released */
    bool silent_inits;               /* HELLO is not answered */
    bool slow_inits;                 /* PING is answered by fake_pong() only */
    bool busy_inits;                 /* sockets are full */
    bool dead_inits;                 /* connections are refused */
    bool no_cgroups, one_id;
    int fd;
    bool lost;
    void (*died)(void *data, int64_t row, int64_t incarnation);
    void *died_data;
    char boot_id[40];
    char volume_removed[72];
    char end_note[64];                /* of every session that is ended; "": none */
    struct launcher_last last;        /* of every session that is ended: what it had used */
    struct launcher_last failed_last; /* of an END that is refused */
    struct spec_network rules;        /* of the last NETWORK */
    uint32_t cut;
    int files_answer;     /* the pipe of the last FILES */
    unsigned deadline_ms; /* of the last LAUNCH */
    bool files_read_only;
    struct launcher_published published; /* of every session */
} fake;

static inline void fake_kick(void)
{
    uint64_t one = 1;
    cr_assert_eq(write(fake.fd, &one, sizeof one), (ssize_t)sizeof one);
}

static inline struct fake_box *fake_find(int64_t row, int64_t incarnation)
{
    for (unsigned i = 0; i < fake.box_count; i++)
        if (fake.boxes[i] && fake.boxes[i]->row == row && fake.boxes[i]->incarnation == incarnation)
            return fake.boxes[i];
    return NULL;
}

static inline unsigned fake_living(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < fake.box_count; i++)
        n += fake.boxes[i] != NULL;
    return n;
}

static inline struct fake_box *fake_add(int64_t row, int64_t incarnation)
{
    struct fake_box *box = calloc(1, sizeof *box);
    cr_assert(box && fake.box_count < FAKE_BOXES);
    box->row = row;
    box->incarnation = incarnation;
    box->lives = true;
    snprintf(box->identity.boot_id, sizeof box->identity.boot_id, "%s", fake.boot_id);
    box->identity.init_pid = 1000 + row * 10 + incarnation;
    box->identity.init_start = 77;
    box->identity.cgroup_inode = fake.no_cgroups ? 0 : row;
    box->identity.netns_inode = row;
    box->identity.uid_base = 65536 * (row + 1);
    box->identity.uid_count = fake.one_id ? 1 : 65536;
    for (unsigned i = 0; i < FAKE_BOXES; i++)
        if (!fake.boxes[i]) {
            fake.boxes[i] = box;
            fake.box_count = i >= fake.box_count ? i + 1 : fake.box_count;
            break;
        }
    return box;
}

/* ---- an init, as the engine sees it ---------------------------------------------------------- */

struct agent_client {
    struct fake_box *box; /* NULL: its init is gone */
    int fd, control;      /* control is always writable */
    struct {
        struct agent_frame frame;
        unsigned char payload[1024];
    } frames[FAKE_FRAMES];
    unsigned first, count;
    bool ended;
};

static inline void fake_frame(struct fake_box *box, enum agent_frame_type type, uint64_t exec,
                              uint64_t seq, const void *payload, size_t length)
{
    struct agent_client *agent = box->agent;
    uint64_t one = 1;
    if (!agent)
        return;
    cr_assert_lt(agent->count, FAKE_FRAMES);
    unsigned i = (agent->first + agent->count++) % FAKE_FRAMES;
    agent->frames[i].frame = (struct agent_frame){.magic = AGENT_MAGIC,
                                                  .version = AGENT_VERSION,
                                                  .type = (uint16_t)type,
                                                  .length = (uint32_t)length,
                                                  .exec = exec,
                                                  .seq = seq};
    if (length)
        memcpy(agent->frames[i].payload, payload, length);
    cr_assert_eq(write(agent->fd, &one, sizeof one), (ssize_t)sizeof one);
}

static inline struct fake_exec *fake_exec_find(struct fake_box *box, uint64_t number)
{
    for (unsigned i = 0; i < box->exec_count; i++)
        if (box->execs[i].number == number)
            return &box->execs[i];
    return NULL;
}

/* A spool of the fake's own: a head and bytes, one after another. */
#define FAKE_NO_SPOOL 0xa5a5a5a5u

struct fake_spool_head {
    uint64_t seq, time_ms;
    uint32_t kind, length;
};

/* No frame: the file is complete. With an exit it is so by itself. */
#define FAKE_SPOOL_CLOSED UINT32_MAX

static inline void fake_spool_add(struct fake_exec *exec, uint32_t kind, const void *data,
                                  uint32_t length)
{
    struct fake_spool_head head = {
        .seq = ++exec->seq, .time_ms = 1000 + exec->seq, .kind = kind, .length = length};
    if (exec->out < 0 || exec->has_files)
        return;
    cr_assert_eq(write(exec->out, &head, sizeof head), (ssize_t)sizeof head);
    cr_assert_eq(write(exec->out, data, length), (ssize_t)length);
}

static inline void fake_print(struct fake_box *box, uint64_t number, const char *text)
{
    struct fake_exec *exec = fake_exec_find(box, number);
    cr_assert(exec && exec->state == 1);
    fake_spool_add(exec, SPOOL_STDOUT, text, (uint32_t)strlen(text));
    fake_frame(box, AGENT_FRAME_SPOOL, number, exec->seq, NULL, 0);
}

/* Of a command: told with its start, and in the table. */
static inline uint64_t fake_cgroup(uint64_t number)
{
    return 1000000 + number;
}

static inline void fake_table_row(struct fake_box *box, const struct fake_exec *exec)
{
    struct agent_table_row line = {.exec = exec->number,
                                   .state = (uint32_t)exec->state,
                                   .exit = exec->exit,
                                   .cgroup = exec->state == 1 ? fake_cgroup(exec->number) : 0};
    fake_frame(box, AGENT_FRAME_TABLE, line.exec, 0, &line, sizeof line);
}

static inline void fake_exec_end(struct fake_box *box, uint64_t number, enum agent_reason reason,
                                 int code)
{
    struct fake_exec *exec = fake_exec_find(box, number);
    cr_assert(exec && exec->state == 1);
    exec->state = 2;
    exec->exit = (struct agent_exit){.reason = reason,
                                     .exit_code = code,
                                     .cpu_us = 5000,
                                     .output_bytes = 3,
                                     .max_rss_bytes = 4096,
                                     .started_ns = 1,
                                     .ended_ns = 2};
    fake_spool_add(exec, SPOOL_EXIT, &exec->exit, sizeof exec->exit);
    fd_close(exec->out);
    fd_close(exec->in);
    fd_close(exec->err);
    exec->out = exec->in = exec->err = -1;
    fake_frame(box, AGENT_FRAME_EXIT, number, 2, &exec->exit, sizeof exec->exit);
    if (exec->keeps) {
        exec->state = AGENT_ROW_BACKGROUND;
        fake_table_row(box, exec);
    }
}

static inline void fake_children_end(struct fake_box *box, struct fake_exec *exec)
{
    exec->state = AGENT_ROW_ENDED;
    fake_table_row(box, exec);
}

static inline void fake_box_ends(struct fake_box *box)
{
    uint64_t one = 1;
    box->lives = false;
    if (box->agent) {
        box->agent->ended = true;
        box->agent->box = NULL;
        cr_assert_eq(write(box->agent->fd, &one, sizeof one), (ssize_t)sizeof one);
        box->agent = NULL;
    }
}

static inline void fake_remove(struct fake_box *box)
{
    fake_box_ends(box);
    for (unsigned i = 0; i < fake.box_count; i++)
        if (fake.boxes[i] == box)
            fake.boxes[i] = NULL;
    free(box);
}

int agent_client_open(struct agent_client **ret, const char *path, int64_t init_pid, uint64_t epoch,
                      struct err *err)
{
    unsigned long long row = 0;
    long long incarnation = 0;
    const char *name = strstr(path, "/sessions/");
    name = name ? strchr(name + strlen("/sessions/"), '-') : NULL; /* behind the instance */
    cr_assert(name && sscanf(name, "-%llx-%lld/control", &row, &incarnation) == 2);
    cr_assert_gt(epoch, 0);
    struct fake_box *box = fake_find((int64_t)row, incarnation);
    if (!box || !box->lives || fake.dead_inits)
        return err_set(err, ERR_UNAVAILABLE, ECONNREFUSED, "connect to init", NULL, NULL);
    cr_assert_eq(init_pid, box->identity.init_pid);
    struct agent_client *agent = calloc(1, sizeof *agent);
    cr_assert(agent);
    agent->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    agent->control = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    agent->box = box;
    if (box->agent)
        box->agent->box = NULL;
    box->agent = agent;
    box->connects++;
    if (!fake.silent_inits) {
        fake_frame(box, AGENT_FRAME_HELLO, 0, box->exec_count, NULL, 0);
        for (unsigned i = 0; i < box->exec_count; i++)
            fake_table_row(box, &box->execs[i]);
    }
    *ret = agent;
    return 0;
}

void agent_client_free(struct agent_client *agent)
{
    if (!agent)
        return;
    if (agent->box && agent->box->agent == agent)
        agent->box->agent = NULL;
    close(agent->fd);
    close(agent->control);
    free(agent);
}

int agent_client_fd(const struct agent_client *agent)
{
    return agent->fd;
}

int agent_client_control_fd(const struct agent_client *agent)
{
    return agent->control;
}

int agent_client_next(struct agent_client *agent, struct agent_frame *ret_frame,
                      const void **ret_payload, struct err *err)
{
    uint64_t count;
    (void)err;
    if (agent->count == 0 && agent->ended)
        return SESSION_FRAME_END;
    if (agent->count == 0) {
        (void)!read(agent->fd, &count, sizeof count);
        return SESSION_FRAME_NONE;
    }
    *ret_frame = agent->frames[agent->first].frame;
    *ret_payload = agent->frames[agent->first].payload;
    agent->first = (agent->first + 1) % FAKE_FRAMES;
    agent->count--;
    return 0;
}

static inline int fake_sends(const struct agent_client *agent)
{
    return !agent->box ? -EPIPE : fake.busy_inits ? -EAGAIN : 0;
}

int agent_client_exec(struct agent_client *agent, uint64_t number,
                      const struct exec_request *request, int spool,
                      const struct agent_spool_limits *limits, struct err *err)
{
    int r = fake_sends(agent);
    (void)err, (void)limits;
    if (r < 0)
        return r;
    struct fake_box *box = agent->box;
    cr_assert_lt(box->exec_count, FAKE_EXECS);
    cr_assert_null(fake_exec_find(box, number), "a number was used twice");
    for (unsigned i = 0; i < box->exec_count; i++)
        cr_assert_lt(box->execs[i].number, number, "numbers go up");
    struct fake_exec *exec = &box->execs[box->exec_count++];
    *exec = (struct fake_exec){
        .number = number, .state = 1, .has_files = request->files, .keeps = request->keep_children};
    snprintf(exec->argv0, sizeof exec->argv0, "%s", request->argv[0]);
    exec->in = request->stdin_fd < 0 ? -1 : fcntl(request->stdin_fd, F_DUPFD_CLOEXEC, 3);
    exec->out = spool >= 0               ? fcntl(spool, F_DUPFD_CLOEXEC, 3)
                : request->stdout_fd < 0 ? -1
                                         : fcntl(request->stdout_fd, F_DUPFD_CLOEXEC, 3);
    exec->err = request->stderr_fd < 0 ? -1 : fcntl(request->stderr_fd, F_DUPFD_CLOEXEC, 3);
    struct agent_start_failed failed = {
        .fault = AGENT_START_NOT_FOUND, .sys = ENOENT, .step = "find the program"};
    struct agent_started started = {.pid = 2, .cgroup = fake_cgroup(number)};
    if (strcmp(request->argv[0], "missing") == 0) {
        exec->state = 2;
        fake_spool_add(exec, FAKE_SPOOL_CLOSED, "", 0);
        fake_frame(box, AGENT_FRAME_START_FAILED, number, 0, &failed, sizeof failed);
    } else {
        fake_frame(box, AGENT_FRAME_STARTED, number, 0, &started, sizeof started);
    }
    if (strcmp(request->argv[0], "echo") == 0)
        fake_print(box, number, "hello\n");
    if (strcmp(request->argv[0], "true") == 0 || strcmp(request->argv[0], "echo") == 0)
        fake_exec_end(box, number, AGENT_REASON_EXIT, 0);
    return 0;
}

int agent_client_signal(struct agent_client *agent, uint64_t exec, int signo,
                        enum agent_scope scope)
{
    int r = fake_sends(agent);
    (void)signo, (void)scope;
    struct fake_exec *found = r == 0 ? fake_exec_find(agent->box, exec) : NULL;
    if (found && found->state == 1)
        fake_exec_end(agent->box, exec, AGENT_REASON_SIGNAL, -1);
    return r;
}

int agent_client_resize(struct agent_client *agent, uint64_t exec, uint16_t rows, uint16_t cols)
{
    (void)exec, (void)rows, (void)cols;
    return fake_sends(agent);
}

int agent_client_kill(struct agent_client *agent, uint64_t exec, enum agent_reason reason)
{
    int r = fake_sends(agent);
    struct fake_exec *found = r == 0 ? fake_exec_find(agent->box, exec) : NULL;
    if (found && found->state == 1)
        fake_exec_end(agent->box, exec, reason, -1);
    else if (found && found->state == AGENT_ROW_BACKGROUND)
        fake_children_end(agent->box, found);
    return r;
}

int agent_client_close_stdin(struct agent_client *agent, uint64_t exec)
{
    (void)exec;
    return fake_sends(agent);
}

int agent_client_stdin(struct agent_client *agent, uint64_t exec, int pipe)
{
    int r = fake_sends(agent);
    struct fake_exec *found = r == 0 ? fake_exec_find(agent->box, exec) : NULL;
    if (!found)
        return r;
    bool has = found->in >= 0;
    if (has) {
        fd_close(found->in);
        found->in = fcntl(pipe, F_DUPFD_CLOEXEC, 3);
    }
    fake_frame(agent->box, AGENT_FRAME_STDIN, exec, (has ? 41 : AGENT_STDIN_NONE) + 1, NULL, 0);
    return r;
}

int agent_client_interrupt(struct agent_client *agent, uint64_t floor)
{
    int r = fake_sends(agent);
    if (r < 0)
        return r;
    struct fake_box *box = agent->box;
    for (unsigned i = 0; i < box->exec_count; i++)
        if (box->execs[i].state == 1 && (box->execs[i].number <= floor || box->execs[i].has_files))
            fake_exec_end(box, box->execs[i].number, AGENT_REASON_INTERRUPTED, -1);
    fake_frame(box, AGENT_FRAME_INTERRUPTED, floor, 0, NULL, 0);
    return 0;
}

int agent_client_forget(struct agent_client *agent, uint64_t exec)
{
    int r = fake_sends(agent);
    struct fake_exec *found = r == 0 ? fake_exec_find(agent->box, exec) : NULL;
    cr_assert(!found || found->state != 1, "forgotten while it runs");
    if (found)
        found->forgotten = true;
    return r;
}

int agent_client_pause(struct agent_client *agent, bool pause)
{
    int r = fake_sends(agent);
    if (r == 0)
        agent->box->paused = pause;
    return r;
}

static inline void fake_pong(struct fake_box *box)
{
    fake_frame(box, AGENT_FRAME_PONG, box->pinged, 0, NULL, 0);
}

int agent_client_ping(struct agent_client *agent, uint64_t number)
{
    int r = fake_sends(agent);
    if (r == 0)
        agent->box->pinged = number;
    if (r == 0 && !fake.slow_inits && !agent->box->frozen)
        fake_pong(agent->box);
    return r;
}

/* ---- the spool's other side -------------------------------------------------------------------
 */

struct spool_reader {
    int fd;
    uint64_t from;
    off_t at;
    bool exited;
    char data[65536];
};

int spool_reader_new(struct spool_reader **ret, int fd, uint64_t from, struct err *err)
{
    (void)err;
    *ret = calloc(1, sizeof **ret);
    cr_assert(*ret);
    (*ret)->fd = fd;
    (*ret)->from = from;
    return 0;
}

void spool_reader_free(struct spool_reader *reader)
{
    free(reader);
}

bool spool_reader_has_exit(const struct spool_reader *reader)
{
    return reader->exited;
}

int spool_reader_next(struct spool_reader *reader, struct spool_frame *ret, struct err *err)
{
    struct fake_spool_head head;
    (void)err;
    if (reader->exited)
        return SPOOL_END;
    for (;;) {
        if (pread(reader->fd, &head, sizeof head, reader->at) != (ssize_t)sizeof head)
            return SPOOL_NONE;
        if (head.kind == FAKE_NO_SPOOL)
            return -EPROTO;
        cr_assert_eq(pread(reader->fd, reader->data, head.length, reader->at + (off_t)sizeof head),
                     (ssize_t)head.length);
        reader->at += (off_t)sizeof head + head.length;
        if (head.kind == FAKE_SPOOL_CLOSED) {
            reader->at -= (off_t)sizeof head;
            return SPOOL_END;
        }
        if (head.seq >= reader->from)
            break;
    }
    reader->exited = head.kind == SPOOL_EXIT;
    *ret = (struct spool_frame){.seq = head.seq,
                                .to_seq = head.seq,
                                .time_ms = head.time_ms,
                                .bytes = head.length,
                                .kind = head.kind,
                                .data = reader->data};
    return 0;
}

int spool_status(int fd, struct spool_status *ret, struct err *err)
{
    struct spool_reader *reader = NULL;
    struct spool_frame frame;
    memset(ret, 0, sizeof *ret);
    spool_reader_new(&reader, fd, 0, err);
    while (spool_reader_next(reader, &frame, err) == 0) {
        ret->last_seq = frame.seq;
        ret->ended = frame.kind == SPOOL_EXIT;
        ret->output_bytes += ret->ended ? 0 : frame.bytes;
    }
    free(reader);
    return 0;
}

/* ---- a launcher ------------------------------------------------------------------------------ */

struct launcher_client {
    int unused;
};

static struct launcher_client fake_client;

int launcher_client_new(struct launcher_client **ret, int fd, struct err *err)
{
    (void)err;
    fake.fd = fd;
    fake.lost = false;
    *ret = &fake_client;
    return 0;
}

void launcher_client_free(struct launcher_client *client)
{
    if (client)
        fd_replace(&fake.fd, -1);
    memset(fake.calls, 0, sizeof fake.calls);
}

int launcher_client_call(struct launcher_client *client, const struct launcher_request *request,
                         const int *fds, unsigned fd_count, launcher_done *done, void *data,
                         struct err *err)
{
    struct launcher_request filled = *request;
    (void)client, (void)err;
    filled.magic = LAUNCHER_MAGIC;
    filled.version = LAUNCHER_VERSION;
    filled.ticket = 1;
    const char *wrong = launcher_request_check(&filled, sizeof filled, fd_count);
    cr_assert_null(wrong, "%s: %s", launcher_request_name(request->type), wrong);
    fake.asked[request->type]++;
    if (request->type == LAUNCHER_FILES)
        fake.files_answer = fcntl(fds[1], F_DUPFD_CLOEXEC, 3);
    if (request->type == LAUNCHER_LAUNCH) {
        struct spec *spec = mmap(NULL, sizeof *spec, PROT_READ, MAP_PRIVATE, fds[0], 0);
        struct err bad;
        cr_assert_neq(spec, MAP_FAILED);
        cr_assert_geq(fd_count, 1);
        fake.deadline_ms = request->deadline_ms;
        cr_assert_eq(spec_check(spec, &bad), 0);
        cr_assert(fcntl(fds[0], F_GET_SEALS) & F_SEAL_WRITE);
        munmap(spec, sizeof *spec);
    }
    if (request->type == LAUNCHER_NETWORK) {
        struct err bad;
        cr_assert_eq(pread(fds[0], &fake.rules, sizeof fake.rules, 0), (ssize_t)sizeof fake.rules);
        cr_assert_eq(network_check(&fake.rules, &bad), 0, "%s", bad.detail);
        cr_assert(fcntl(fds[0], F_GET_SEALS) & F_SEAL_WRITE);
    }
    for (unsigned i = 0; i < FAKE_CALLS; i++)
        if (!fake.calls[i].used) {
            fake.calls[i] =
                (struct fake_call){.request = *request, .done = done, .data = data, .used = true};
            if (fake.fd >= 0)
                fake_kick();
            return 0;
        }
    cr_assert_fail("too many calls");
    return -1;
}

void launcher_client_forget(struct launcher_client *client, const void *data)
{
    (void)client;
    for (unsigned i = 0; i < FAKE_CALLS; i++)
        if (fake.calls[i].data == data)
            fake.calls[i].done = NULL;
}

void launcher_client_cancel(struct launcher_client *client, const void *data)
{
    static const struct err cancelled = {
        .sys = ECANCELED, .code = ERR_UNAVAILABLE, .step = "work on the session", .detail = ""};
    (void)client;
    for (unsigned i = 0; i < FAKE_CALLS; i++) {
        struct fake_call call = fake.calls[i];
        if (!call.used || call.data != data)
            continue;
        fake.calls[i].used = false;
        if (call.done)
            call.done(call.data, NULL, &cancelled);
    }
}

void launcher_client_on_died(struct launcher_client *client,
                             void (*died)(void *data, int64_t row, int64_t incarnation), void *data)
{
    (void)client;
    fake.died = died;
    fake.died_data = data;
}

int launcher_client_fd(const struct launcher_client *client)
{
    (void)client;
    return fake.fd;
}

bool launcher_client_wants_write(const struct launcher_client *client)
{
    (void)client;
    return false;
}

static inline void fake_list(const struct launcher_request *request, struct launcher_reply *reply)
{
    snprintf(reply->identity.boot_id, sizeof reply->identity.boot_id, "%s", fake.boot_id);
    for (;;) {
        struct fake_box *least = NULL;
        struct launcher_name after = {request->row, request->incarnation};
        if (reply->list.count > 0)
            after = reply->list.names[reply->list.count - 1];
        for (unsigned i = 0; i < fake.box_count; i++) {
            struct fake_box *box = fake.boxes[i];
            if (!box || box->row < after.row ||
                (box->row == after.row && box->incarnation <= after.incarnation))
                continue;
            if (!least || box->row < least->row ||
                (box->row == least->row && box->incarnation < least->incarnation))
                least = box;
        }
        if (!least)
            return;
        if (reply->list.count == LAUNCHER_LIST_MAX) {
            reply->list.more = 1;
            return;
        }
        reply->list.names[reply->list.count++] =
            (struct launcher_name){least->row, least->incarnation};
    }
}

static inline void fake_look(const struct launcher_request *request, const struct fake_box *box,
                             struct launcher_reply *reply)
{
    snprintf(reply->identity.boot_id, sizeof reply->identity.boot_id, "%s", fake.boot_id);
    if (!box)
        reply->found = SESSION_FOUND_ABSENT;
    else if (!box->lives)
        reply->found = SESSION_FOUND_BROKEN;
    else if (box->identity.init_pid != request->identity.init_pid ||
             box->identity.init_start != request->identity.init_start)
        reply->found = SESSION_FOUND_OTHER;
    else
        reply->found = SESSION_FOUND_WHOLE;
}

static inline void fake_files_answer(int fd)
{
    struct files_result result = {.magic = FILES_MAGIC, .version = FILES_VERSION, .bytes = 5};
    cr_assert_eq(write(fd, &result, sizeof result), (ssize_t)sizeof result);
    close(fd);
}

static inline void fake_serve(const struct launcher_request *request, struct launcher_reply *reply)
{
    struct fake_box *box = fake_find(request->row, request->incarnation);
    switch ((enum launcher_request_type)request->type) {
    case LAUNCHER_LAUNCH:
        cr_assert_null(box, "launched twice");
        box = fake_add(request->row, request->incarnation);
        box->generation = request->generation;
        reply->identity = box->identity;
        reply->launched.effective.landlock_abi = 7;
        reply->launched.note_count = 1;
        snprintf(reply->launched.notes[0].key, sizeof reply->launched.notes[0].key, "a.note");
        break;
    case LAUNCHER_END:
        if (box) {
            fake_remove(box);
            reply->launched.last = fake.last;
        }
        if (box && fake.end_note[0]) {
            struct launcher_note *note = &reply->launched.notes[reply->launched.note_count++];
            snprintf(note->key, sizeof note->key, "protect.appeared");
            snprintf(note->text, sizeof note->text, "%s", fake.end_note);
        }
        break;
    case LAUNCHER_FREEZE:
    case LAUNCHER_THAW:
        cr_assert(box);
        cr_assert(box->paused, "SES-7: time-outs stand still while it is frozen");
        box->frozen = request->type == LAUNCHER_FREEZE;
        break;
    case LAUNCHER_NETWORK:
        cr_assert(box);
        cr_assert_geq(request->generation, box->generation, "an older revision");
        box->generation = request->generation;
        box->rules = fake.rules;
        reply->network.cut = fake.cut;
        break;
    case LAUNCHER_PORTS:
        cr_assert(box);
        reply->network.published = fake.published;
        break;
    case LAUNCHER_LOOK:
        fake_look(request, box, reply);
        break;
    case LAUNCHER_LIST:
        fake_list(request, reply);
        break;
    case LAUNCHER_SAMPLE:
        reply->sample = (struct launcher_sample){
            .cpu_ns = 1000,
            .memory_bytes = 4096,
            .disk_bytes = UINT64_MAX,
            .network = {[NETWORK_COUNT_PASSED] = 5, [NETWORK_COUNT_DENIED_OTHER] = 2}};
        break;
    case LAUNCHER_FILES:
        fake.files_read_only = request->read_only;
        fake_files_answer(fake.files_answer);
        break;
    case LAUNCHER_VOLUME_REMOVE:
        snprintf(fake.volume_removed, sizeof fake.volume_removed, "%s", request->volume);
        break;
    case LAUNCHER_VOLUME_MEASURE:
        reply->sample.disk_bytes = 8192;
        break;
    default:
        break;
    }
}

int launcher_client_work(struct launcher_client *client, struct err *err)
{
    uint64_t count;
    (void)client, (void)err;
    (void)!read(fake.fd, &count, sizeof count);
    for (unsigned i = 0; i < FAKE_CALLS; i++) {
        struct fake_call call = fake.calls[i];
        struct launcher_reply reply = {.type = call.request.type};
        if (!call.used || fake.hold[call.request.type])
            continue;
        fake.calls[i].used = false;
        if (fake.fail[call.request.type] > 0) {
            fake.fail[call.request.type]--;
            reply.result = fake.fail_with.sys ? -fake.fail_with.sys : -EINVAL;
            reply.err = fake.fail_with;
            if (call.request.type == LAUNCHER_END)
                reply.launched.last = fake.failed_last;
        } else {
            fake_serve(&call.request, &reply);
        }
        if (call.done)
            call.done(call.data, &reply, NULL);
    }
    return 0;
}

void launcher_client_replace(struct launcher_client *client, int fd)
{
    (void)client;
    fd_replace(&fake.fd, fd);
    fake_kick();
}

/* Every call that was sent: its outcome is not known. With `happened` the launcher had done it. */
static inline void fake_lose(bool happened)
{
    struct err err = {.code = ERR_UNAVAILABLE, .sys = ECONNRESET};
    for (unsigned i = 0; i < FAKE_CALLS; i++) {
        struct fake_call call = fake.calls[i];
        struct launcher_reply reply = {.type = call.request.type};
        if (!call.used)
            continue;
        fake.calls[i].used = false;
        if (happened)
            fake_serve(&call.request, &reply);
        if (call.done)
            call.done(call.data, NULL, &err);
    }
}

static inline void fake_release(enum launcher_request_type type)
{
    fake.hold[type] = false;
    fake_kick();
}
