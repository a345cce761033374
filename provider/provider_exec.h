/* This file is what the files of commands share (provider_exec*.c, provider_output.c); nobody else
 * includes it.
 *
 * A command in memory is one that has not ended by its row:
 *
 *   accepted ── sent to init ── STARTED ── EXIT, START_FAILED ── row ended ── told, forgotten
 *
 * Numbers. Of the 64 bits that init knows a command by, the upper 24 are its order of acceptance
 * in the session (`ord`), so that the floor of an interrupt, which is such an order too (EXEC-7),
 * parts them as it is. File operations are commands that are no rows: they have the order of the
 * last command that was sent, then 16 bits of the epoch and 24 bits that count, and so are above
 * that command, below the next, and never used twice by two fronts. An interrupt ends those that
 * began before the last command was sent.
 */
#pragma once

#include "provider/provider_internal.h"
#include "runtime/link/agent_client.h"

enum { NUMBER_ORDER_SHIFT = 40, NUMBER_EPOCH_BITS = 16, NUMBER_COUNT_BITS = 24 };

/* What a command needs until it was sent. */
struct exec_start {
    char **argv, **env;
    char *cwd;
    uint32_t uid, gid;
    bool tty, keep_children, kill_on_limit;
    uint16_t rows, cols;
    uint64_t timeout_ms, idle_timeout_ms, grace_ms, open_files;
    struct agent_spool_limits limits;
    int stdin_read, spool;
};
void exec_start_free(struct exec_start *start);

struct exec {
    struct exec *next; /* of the seat, in order of acceptance */
    struct seat *seat;
    int64_t row, ord;
    uint64_t number;
    uint64_t cgroup; /* as init says; 0: none */
    char exec_id[LEDGER_ID_SIZE];
    struct exec_start *start; /* not sent yet */
    struct exec_call *asker;  /* whom its being sent is to be told */
    int stdin_write;          /* -1: none */
    uint64_t stdin_bytes;     /* that went into it, by all fronts */
    bool stdin_busy;          /* somebody writes */
    enum exec_attach { ATTACH_NONE = 0, ATTACH_WANTED, ATTACH_ASKED, ATTACH_BUSY } attach;
    bool kill;              /* adopted below an interrupt's floor */
    uint64_t asked_us;      /* when a client asked for it; 0: another front, or it has started */
    bool told_started;      /* init has told so on this connection */
    bool ending;            /* its end is being written */
    struct record *started; /* that it started, which is not being written yet */
    struct exec_call *waiters;
    struct provider_follower *followers; /* that wait for more of its output */
};

struct record; /* of what init told of it (provider_exec.c) */

/* A call about one command. */
struct exec_call {
    struct call call; /* first */
    uint64_t wait_ms;
    struct exec *waits; /* whose end; NULL: it does not wait */
    struct exec_call *next_waiter;
    bool waited;
    bool replayed; /* the command is another call's, under the same key */
    struct exec_row row;
    int64_t status; /* of the answer */

    /* start */
    char *shell, *user, *cwd;
    char **argv, **env;
    bool stdin_pipe, tty, keep_children, kill_on_limit;
    uint16_t rows, cols;
    uint64_t timeout_ms, idle_timeout_ms, grace_ms, output_limit;
    struct buf command, spec, accepted;
    enum session_state state;
    struct err unable; /* why this incarnation cannot do it, and what it lacks */
    struct capability_mask lacking;
    int64_t replay_status;
    struct buf replay;

    /* signal, resize, cancel, close_stdin */
    enum exec_control { EXEC_SIGNAL = 1, EXEC_RESIZE, EXEC_CANCEL, EXEC_CLOSE_STDIN } control;
    int signo;
    bool tree;
};

struct exec *exec_find(struct seat *seat, int64_t ord);
struct exec *exec_new(struct seat *seat, const struct exec_row *row);
void exec_free(struct exec *exec);
/* Its row has ended, or will be ended by nobody here: who waits is told. */
void exec_over(struct exec *exec);
/* Write its end; exec_over() follows. `exit`: what init told of it, NULL when it did not. */
void exec_record(struct exec *exec, const struct exec_row *end, const struct agent_exit *exit);
/* Before it was sent. */
void exec_not_sent(struct exec *exec, const char *reason, const struct err *err);
/* Answer `call` with the row as it is; or first wait for its end. */
void exec_answer(struct exec_call *call);
/* The same with a row that was just read. */
void exec_answer_with(struct exec_call *call, const struct exec_row *row, const char *command);
void exec_wait(struct exec_call *call, struct exec *exec);
void exec_send_pending(struct seat *seat);

void free_strings(char **strings);

/* Those who follow its output look again (provider_output.c). */
void output_wake(struct exec *exec);

/* Spool files (provider_spool.c). A command has SPOOL_USUAL of output when nobody says otherwise;
 * the ended ones of a session have SESSION_SPOOL_MAX of disk. One that is dropped while its session
 * lives stays, empty, as `<exec>SPOOL_HIDDEN`: init may have it open and write on. */
#define SPOOL_USUAL       (UINT64_C(16) << 20)
#define SESSION_SPOOL_MAX (INT64_C(256) << 20)
#define SPOOL_HIDDEN      "~"
int spool_create(const struct provider *p, int64_t session, int64_t exec, int *ret_fd,
                 struct err *err);
int spool_open(const struct provider *p, int64_t session, int64_t exec);
/* Output without a row is removed, in the background; counted in p->swept. */
void spool_sweep_start(struct provider *p);
void spool_trim(struct seat *seat);
void spool_let_go(struct seat *seat); /* its init is dead: what was hidden goes */
/* It may have `bytes` of output (provider_spool_watch.c). */
int spool_allow(const struct provider *p, int64_t session, int64_t exec, uint64_t bytes,
                struct err *err);
