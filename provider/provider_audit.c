/* This file keeps the audit within its bound: what is too much goes in small pieces, with a pause
 * between, so that no request waits behind more than one of them. It never removes a row without
 * counting it, in the same transaction (ledger_audit_trim()), and never tells whose they were.
 *
 * Between two looks a client can make more rows than the bound allows: as many as berth serves
 * changes in LOOK_MS.
 */
#include "provider/provider_internal.h"

#include <errno.h>
#include <stdlib.h>

enum {
#ifdef BERTH_FAILPOINTS
    LOOK_MS = 300, /* no process of a crash campaign lives for long */
#else
    LOOK_MS = 10000,
#endif
    PIECE_ROWS = 500,
    PIECE_MS = 50,
    TELL_ROWS = 50000, /* while more go */
};

struct audit_trim {
    struct work work; /* first */
    int64_t piece;    /* rows of the last one */
    uint64_t untold;  /* rows that went since it was told the last time */
};

static int64_t or_standard(uint32_t configured, uint32_t standard)
{
    return configured ? configured : standard;
}

static int trim_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    const struct serve_config *config = work->p->options.config;
    const struct ledger_audit_bound bound = {
        .workspace_rows = or_standard(config->audit_workspace_rows_max, SERVE_AUDIT_WORKSPACE_ROWS),
        .rows = or_standard(config->audit_rows_max, SERVE_AUDIT_ROWS),
    };
    return ledger_audit_trim(tx, &bound, PIECE_ROWS, &((struct audit_trim *)work)->piece, err);
}

static void trim(struct work *work);

static void trimmed(struct work *work)
{
    struct audit_trim *own = (struct audit_trim *)work;
    struct provider *p = work->p;
    bool more = work->job.result == 0 && own->piece > 0;
    if (more) {
        own->untold += (uint64_t)own->piece;
        p->metrics.audit_trimmed += (uint64_t)own->piece;
    }
    if (own->untold > 0 && (!more || p->closing || own->untold >= TELL_ROWS)) {
        if (p->options.audit_trimmed)
            p->options.audit_trimmed(p->options.data, own->untold);
        own->untold = 0;
    }
    if (!p->closing)
        work_later(work, more ? PIECE_MS : LOOK_MS, trim);
}

static void trim(struct work *work)
{
    work_job(work, LEDGER_OP_AUDIT_TRIM, trim_apply, trimmed);
}

static void free_trim(struct work *work)
{
    work->p->audit = NULL;
    work_end(work);
    free(work);
}

int audit_open(struct provider *p, struct err *err)
{
    p->audit = calloc(1, sizeof *p->audit);
    if (!p->audit)
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "keep the audit", NULL, NULL);
    work_begin(&p->audit->work, p, free_trim);
    work_rest(&p->audit->work, true); /* it holds up no end */
    return 0;
}

void audit_start(struct provider *p)
{
    /* At once: the bound may be another one than before, and the ledger an older one. */
    work_later(&p->audit->work, 0, trim);
}
