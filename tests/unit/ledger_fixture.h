/* This file gives a test a ledger in a directory of its own, removed afterwards, and short ways to
 * run one job or one verb in it.
 */
#pragma once

#include "provider/coordinator.h"
#include "runtime/base/buf.h"
#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char fixture_directory[64];
static struct ledger *fixture_ledger;
static struct ledger_options fixture_options;

static inline void fixture_make_directory(void)
{
    snprintf(fixture_directory, sizeof fixture_directory, "/tmp/berth-ledger-XXXXXX");
    cr_assert(mkdtemp(fixture_directory));
    fixture_options = (struct ledger_options){.directory = fixture_directory};
}

static inline void fixture_open(void)
{
    struct err err = {0};
    char text[2048];
    int r = ledger_open(&fixture_ledger, &fixture_options, &err);
    err_format(&err, text, sizeof text);
    cr_assert_eq(r, 0, "%s", text);
}

static inline void fixture_init(void)
{
    fixture_make_directory();
    fixture_open();
}

static inline void fixture_reopen(void)
{
    ledger_close(fixture_ledger);
    fixture_ledger = NULL;
    fixture_open();
}

static inline void fixture_fini(void)
{
    ledger_close(fixture_ledger);
    fixture_ledger = NULL;
    DIR *dir = opendir(fixture_directory);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(fixture_directory);
}

/* Runs one job and answers its result; a failure is told when the test did not expect one. */
static inline int fixture_run(enum ledger_op op,
                              int (*apply)(struct ledger_tx *, void *, struct err *), void *data,
                              struct err *err)
{
    struct ledger_job job = {.op = op, .apply = apply, .data = data};
    return ledger_run(fixture_ledger, &job, err);
}

static inline void fixture_must(int r, const struct err *err)
{
    char text[2048] = "";
    if (r < 0)
        err_format(err, text, sizeof text);
    cr_assert_eq(r, 0, "%d: %s", r, text);
}

/* ---- verbs
 * ----------------------------------------------------------------------------------------*/

struct verb {
    struct coordinator_request request;
    struct coordinator_ticket ticket;
    struct coordinator_end end;
    int64_t status;
    struct buf body;
};

static inline int verb_apply_open(struct ledger_tx *tx, void *data, struct err *err)
{
    struct verb *v = data;
    return coordinator_open(tx, &v->request, &v->ticket, &v->status, &v->body, err);
}

static inline int verb_apply_close(struct ledger_tx *tx, void *data, struct err *err)
{
    struct verb *v = data;
    return coordinator_close(tx, &v->ticket, &v->end, err);
}

static inline struct verb verb_of_session(const char *workspace_id, const char *session_id,
                                          enum session_event event)
{
    static const char spec[] = "spec";
    return (struct verb){
        .request = {.workspace_id = workspace_id,
                    .session_id = session_id,
                    .verb = event,
                    .reason = "",
                    .now_ms = 1000,
                    .owner = "owner",
                    .labels_json = "{}",
                    .spec_hash = "hash",
                    .spec = {spec, sizeof spec - 1},
                    .answer_if_done = {.status = 200, .body = {"done", 4}}},
        .end = {.reason = "",
                .event_json = "{}",
                .answer = {.status = 200, .body = {"answer", 6}},
                .now_ms = 2000,
                .now_boot_ms = 2000},
    };
}

static inline int verb_open(struct verb *v, struct err *err)
{
    return fixture_run(LEDGER_OP_VERB_OPEN, verb_apply_open, v, err);
}

static inline int verb_close(struct verb *v, enum session_event outcome, struct err *err)
{
    v->end.outcome = outcome;
    return fixture_run(coordinator_close_op(outcome), verb_apply_close, v, err);
}

/* The whole verb, which must work. */
static inline struct verb verb_do(const char *workspace_id, const char *session_id,
                                  enum session_event event, enum session_event outcome)
{
    struct err err = {0};
    struct verb v = verb_of_session(workspace_id, session_id, event);
    fixture_must(verb_open(&v, &err), &err);
    fixture_must(verb_close(&v, outcome, &err), &err);
    buf_fini(&v.body);
    return v;
}

struct find {
    const char *workspace_id, *session_id;
    struct session_row row;
};

static inline int find_apply(struct ledger_tx *tx, void *data, struct err *err)
{
    struct find *f = data;
    return ledger_session_find(tx, f->workspace_id, f->session_id, &f->row, err);
}

/* The session as its row says; state NONE when there is none. */
static inline struct session_row session_now(const char *workspace_id, const char *session_id)
{
    struct find f = {.workspace_id = workspace_id, .session_id = session_id};
    struct err err = {0};
    int r = fixture_run(LEDGER_OP_READ, find_apply, &f, &err);
    if (r != LEDGER_NOT_FOUND)
        fixture_must(r, &err);
    return f.row;
}

struct exec_verb {
    struct coordinator_exec request;
    struct exec_row row;
    enum session_state state;
    int64_t status;
    struct buf body;
};

static inline int exec_apply_accept(struct ledger_tx *tx, void *data, struct err *err)
{
    struct exec_verb *e = data;
    return coordinator_exec_accept(tx, &e->request, &e->row, &e->state, &e->status, &e->body, err);
}

static inline struct exec_verb exec_of_session(const char *workspace_id, const char *session_id,
                                               const char *exec_id)
{
    return (struct exec_verb){
        .request = {.workspace_id = workspace_id,
                    .session_id = session_id,
                    .exec_id = exec_id,
                    .command = "true",
                    .answer = {.status = 201, .body = {exec_id, strlen(exec_id)}},
                    .now_ms = 3000}};
}

static inline int exec_accept(struct exec_verb *e, struct err *err)
{
    return fixture_run(LEDGER_OP_EXEC_ACCEPT, exec_apply_accept, e, err);
}

struct exec_end {
    struct exec_row row;
};

static inline int exec_apply_end(struct ledger_tx *tx, void *data, struct err *err)
{
    return coordinator_exec_end(tx, &((struct exec_end *)data)->row, "{}", err);
}

static inline int exec_ends(const struct exec_row *row, const char *reason, struct err *err)
{
    struct exec_end end = {.row = *row};
    snprintf(end.row.reason, sizeof end.row.reason, "%s", reason);
    end.row.ended_ms = 4000;
    return fixture_run(LEDGER_OP_EXEC_END, exec_apply_end, &end, err);
}
