/* This file makes events of what a session ran into: system calls that its filter refused
 * (docs/adr/0014), and limits that a command met. It never decides anything by them: all of it is
 * init's word, and names of commands are any bytes.
 *
 * Refused calls come as totals and are gathered for a moment, so that a flood is a few events, each
 * with all that came before it; a front that is new may write a total once more.
 */
#include "policy/policy.h"
#include "provider/provider_exec.h"
#include "provider/spec_store.h"

#include <linux/audit.h>
#include <stdlib.h>

enum {
    GATHER_MS = 200,
    GATHERED_MAX = 320,     /* init tells 256 kinds apart, and one total more of each command */
    EVENTS_AT_FIRST = 4096, /* of a connection, and as many more for each command that was sent */
    EVENTS_OF_A_COMMAND = 256,
};

struct gathered {
    uint64_t number;
    struct agent_denied denied;
};

struct denied {
    struct work work; /* first */
    int64_t session;
    unsigned count;
    struct gathered rows[GATHERED_MAX];
};

static void free_denied(struct work *work)
{
    work_end(work);
    free(work);
}

/* ---- the event ------------------------------------------------------------------------------- */

static void put_event(struct buf *out, const struct spec *spec, const char *exec_id,
                      const struct agent_denied *d)
{
    buf_printf(out, "{\"exec_id\":\"%s\",\"count\":%llu", exec_id, (unsigned long long)d->count);
    if (d->flags & AGENT_DENIED_OTHER) {
        buf_puts(out, ",\"call\":null}");
        return;
    }
    const struct policy_denied_call call = {.number = d->number, .arch = d->arch, .sys = d->sys};
    struct policy_denied_words words;
    policy_denied_call(spec, &call, &words);
    buf_puts(out, ",\"call\":");
    buf_json_string(out, words.call);
    buf_printf(out, ",\"number\":%d,\"arch\":\"%s\",\"error\":\"%s\"", d->number,
               d->arch == AUDIT_ARCH_X86_64 ? "x86_64"
               : d->arch == AUDIT_ARCH_I386 ? "i386"
                                            : "other",
               words.error);
    if (d->flags & AGENT_DENIED_ARGUMENT)
        buf_printf(out, ",\"argument\":%u,\"value\":%u", d->argument, d->value);
    else
        buf_puts(out, ",\"argument\":null,\"value\":null");
    buf_puts(out, ",\"command\":");
    buf_json_string(out, d->command);
    buf_puts(out, ",\"reason\":");
    buf_json_string(out, words.why);
    buf_puts(out, ",\"line_to_add\":");
    if (words.line[0])
        buf_json_string(out, words.line);
    else
        buf_puts(out, "null");
    buf_putc(out, '}');
}

static int add_one(struct ledger_tx *tx, const struct denied *d, const struct gathered *row,
                   const struct spec *spec, struct err *err)
{
    struct exec_row exec;
    size_t count = 0;
    int64_t ord = (int64_t)(row->number >> NUMBER_ORDER_SHIFT);
    int r = ledger_exec_page(tx, d->session, ord - 1, false, &exec, 1, &count, err);
    if (r != 0 || count == 0 || exec.ord != ord)
        return r;
    _cleanup_buf_ struct buf data = {0};
    put_event(&data, spec, exec.exec_id, &row->denied);
    if (buf_failed(&data))
        return err_set(err, ERR_INTERNAL, ENOMEM, "write an event", NULL, NULL);
    return ledger_event_add(tx, d->session, "syscall.denied", buf_text(&data), now_ms(), NULL, err);
}

static int write_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct denied *d = (struct denied *)work;
    struct spec *spec = &work->p->ledger_scratch;
    struct session_row session;
    _cleanup_buf_ struct buf blob = {0};
    int r = ledger_session_get(tx, d->session, &session, err);
    if (r != 0 || session_is_over(session.state))
        return r > 0 ? 0 : r; /* nothing comes after the last event */
    r = ledger_session_spec(tx, d->session, &blob, err);
    if (r == 0)
        r = spec_store_read(buf_text(&blob), blob.length, spec, err);
    for (unsigned i = 0; r == 0 && i < d->count; i++)
        r = add_one(tx, d, &d->rows[i], spec, err);
    return r > 0 ? 0 : r;
}

static void write_events(struct work *work);

static void written(struct work *work)
{
    struct denied *d = (struct denied *)work;
    if (work->job.result != 0 && !work->p->closing) {
        work_again(work, write_events);
        return;
    }
    struct seat *seat = seat_find(work->p, d->session);
    if (seat)
        provider_committed(work->p, seat->workspace_id, seat->session_id);
    free_denied(work);
}

static void write_events(struct work *work)
{
    struct denied *d = (struct denied *)work;
    struct seat *seat = seat_find(work->p, d->session);
    if (seat && seat->denied == d)
        seat->denied = NULL;
    work_job(work, LEDGER_OP_EVENT_ADD, write_apply, written);
}

/* ---- what init says -------------------------------------------------------------------------- */

void denied_begin(struct seat *seat)
{
    seat->denied_left = EVENTS_AT_FIRST;
}

void denied_more(struct seat *seat)
{
    seat->denied_left += EVENTS_OF_A_COMMAND;
}

static struct denied *denied_of(struct seat *seat)
{
    if (seat->denied)
        return seat->denied;
    struct denied *d = calloc(1, sizeof *d);
    if (!d)
        return NULL; /* a total: the next one says it again */
    d->session = seat->row;
    work_begin(&d->work, seat->p, free_denied);
    work_later(&d->work, GATHER_MS, write_events);
    seat->denied = d;
    return d;
}

static bool same(const struct gathered *a, uint64_t number, const struct agent_denied *b)
{
    return a->number == number && a->denied.number == b->number && a->denied.arch == b->arch &&
           a->denied.sys == b->sys && a->denied.flags == b->flags &&
           a->denied.argument == b->argument && a->denied.value == b->value &&
           strcmp(a->denied.command, b->command) == 0;
}

void denied_frame(struct seat *seat, uint64_t number, const struct agent_denied *denied)
{
    struct denied *d = denied_of(seat);
    unsigned i = 0;
    while (d && i < d->count && !same(&d->rows[i], number, denied))
        i++;
    if (!d || i == GATHERED_MAX || (i == d->count && seat->denied_left == 0))
        return; /* more than an init of ours tells */
    if (i == d->count) {
        d->count++;
        seat->denied_left--;
    }
    d->rows[i] = (struct gathered){.number = number, .denied = *denied};
}

void denied_flush(struct seat *seat)
{
    struct denied *d = seat->denied;
    if (!d)
        return;
    loop_timer_free(take_ptr(&d->work.timer));
    write_events(&d->work);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static int add_limit(struct ledger_tx *tx, const struct exec_row *row, const char *type,
                     const char *key, uint64_t count, struct err *err)
{
    char data[192 + LEDGER_ID_SIZE];
    snprintf(data, sizeof data, "{\"exec_id\":\"%s\",\"limit\":\"%s\",\"count\":%llu}",
             row->exec_id, key, (unsigned long long)count);
    return ledger_event_add(tx, row->session, type, data, row->ended_ms, NULL, err);
}

int exec_limits_met(struct ledger_tx *tx, const struct exec_row *row, const struct agent_exit *exit,
                    struct err *err)
{
    const struct {
        const char *type, *key;
        uint64_t count;
    } limits[] = {
        {"limit.oom", "limits.memory", exit->oom_kills},
        {"limit.pids", "limits.pids", exit->pids_denied},
        {"limit.scratch", "filesystem.scratch", exit->scratch_full & AGENT_FULL_BYTES ? 1 : 0},
        {"limit.scratch", "filesystem.scratch_inodes",
         exit->scratch_full & AGENT_FULL_INODES ? 1 : 0},
        {"limit.output", "limits.output", exit->output_truncated},
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LENGTH(limits); i++)
        if (limits[i].count > 0)
            r = add_limit(tx, row, limits[i].type, limits[i].key, limits[i].count, err);
    return r;
}
