/* This file removes output of sessions of which the ledger knows nothing: those that were made
 * after a copy that was brought back. Once at each start, after the rows were compared with the
 * kernel; it never touches what has a row, and holds nobody up.
 *
 * A row is in the ledger before its directory is made, and no number is given twice: what is found
 * here without a row has none for ever. A crash leaves the rest to the next start.
 */
#include "provider/provider_exec.h"
#include "provider/provider_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS_AT_ONCE = 64, UNLINK_AT_ONCE = 256 };

struct spool_sweep {
    struct work work; /* first */
    DIR *dir;
    int64_t rows[ROWS_AT_ONCE];
    bool known[ROWS_AT_ONCE];
    size_t count, at;
};

static void look(struct work *work);

static void free_sweep(struct work *work)
{
    struct spool_sweep *sweep = (struct spool_sweep *)work;
    work_end(work);
    if (sweep->dir)
        closedir(sweep->dir);
    free(sweep);
}

/* As provider_spool_path() writes it; what else stands there (uploads) is not ours. */
static bool is_row(const char *name, int64_t *ret)
{
    char again[24], *end = NULL;
    unsigned long long row = strtoull(name, &end, 16);
    if (!*name || *end || row == 0 || row > INT64_MAX)
        return false;
    snprintf(again, sizeof again, "%llx", row);
    *ret = (int64_t)row;
    return strcmp(again, name) == 0;
}

/* A bounded number at a time: others have their turn. */
static void remove_unknown(struct work *work)
{
    struct spool_sweep *sweep = (struct spool_sweep *)work;
    char path[SPEC_PATH_MAX + 64];
    int removed = 0;
    while (sweep->at < sweep->count && sweep->known[sweep->at])
        sweep->at++;
    if (sweep->at == sweep->count) {
        work_soon(work, look);
        return;
    }
    provider_spool_path(work->p, path, sizeof path, sweep->rows[sweep->at], 0);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && removed < UNLINK_AT_ONCE && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            removed += unlinkat(dirfd(dir), entry->d_name, 0) == 0;
    if (dir)
        closedir(dir);
    if (removed < UNLINK_AT_ONCE) { /* what cannot be removed is tried again at the next start */
        if (rmdir(path) == 0)
            work->p->swept++;
        sweep->at++;
    }
    work_soon(work, remove_unknown);
}

static int known_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct spool_sweep *sweep = (struct spool_sweep *)work;
    for (size_t i = 0; i < sweep->count; i++) {
        struct session_row row;
        int r = ledger_session_get(tx, sweep->rows[i], &row, err);
        if (r < 0)
            return r;
        sweep->known[i] = r == 0;
    }
    return 0;
}

static void looked(struct work *work)
{
    struct spool_sweep *sweep = (struct spool_sweep *)work;
    if (work->job.result != 0) {
        free_sweep(work);
        return;
    }
    sweep->at = 0;
    remove_unknown(work);
}

static void look(struct work *work)
{
    struct spool_sweep *sweep = (struct spool_sweep *)work;
    sweep->count = 0;
    for (struct dirent *entry; sweep->count < ROWS_AT_ONCE && (entry = readdir(sweep->dir));)
        if (is_row(entry->d_name, &sweep->rows[sweep->count]))
            sweep->count++;
    if (sweep->count == 0)
        free_sweep(work);
    else
        work_job(work, LEDGER_OP_READ, known_apply, looked);
}

void spool_sweep_start(struct provider *p)
{
    char path[SPEC_PATH_MAX + 16];
    struct spool_sweep *sweep = calloc(1, sizeof *sweep);
    if (!sweep) /* no memory: the next start does it */
        return;
    snprintf(path, sizeof path, "%s/" SERVE_SPOOL_DIR, p->options.config->state_dir);
    work_begin(&sweep->work, p, free_sweep);
    work_rest(&sweep->work, true);
    sweep->dir = opendir(path);
    if (sweep->dir)
        work_soon(&sweep->work, look);
    else
        free_sweep(&sweep->work);
}
