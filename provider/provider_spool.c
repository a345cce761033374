/* This file makes, opens and trims the files into which init writes output; it never reads what
 * stands in them.
 */
#include "provider/provider_exec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Blocks on disk of one session's ended commands; the oldest go first (EXEC-8). */
enum { TRIM_AT_ONCE = 256 };

void provider_spool_path(const struct provider *p, char *ret, size_t size, int64_t row,
                         int64_t exec)
{
    const char *state = p->options.config->state_dir;
    if (exec)
        snprintf(ret, size, "%s/" SERVE_SPOOL_DIR "/%llx/%llx", state, (unsigned long long)row,
                 (unsigned long long)exec);
    else
        snprintf(ret, size, "%s/" SERVE_SPOOL_DIR "/%llx", state, (unsigned long long)row);
}

int spool_create(const struct provider *p, int64_t session, int64_t exec, int *ret_fd,
                 struct err *err)
{
    char path[SPEC_PATH_MAX + 96];
    provider_spool_path(p, path, sizeof path, session, 0);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_set(
            err, errno == ENOSPC || errno == EDQUOT ? ERR_INSUFFICIENT_STORAGE : ERR_UNAVAILABLE,
            errno, "keep the output", NULL, "No directory for it could be made.");
    provider_spool_path(p, path, sizeof path, session, exec);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(
            err, errno == ENOSPC || errno == EDQUOT ? ERR_INSUFFICIENT_STORAGE : ERR_UNAVAILABLE,
            errno, "keep the output", NULL, "No file for it could be made.");
    *ret_fd = fd;
    return 0;
}

int spool_open(const struct provider *p, int64_t session, int64_t exec)
{
    char path[SPEC_PATH_MAX + 96];
    provider_spool_path(p, path, sizeof path, session, exec);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

struct spool_file {
    int64_t exec, bytes;
};

static int by_exec(const void *a, const void *b)
{
    const struct spool_file *x = a, *y = b;
    return x->exec < y->exec ? -1 : x->exec > y->exec;
}

static bool lives(const struct seat *seat, int64_t exec)
{
    for (const struct exec *e = seat->execs; e; e = e->next)
        if (e->row == exec)
            return true;
    return false;
}

/* Its name is another one from here on, and whoever follows it is told a gap. */
static int drop(struct seat *seat, int dir, int64_t exec)
{
    char name[24], hidden[32];
    snprintf(name, sizeof name, "%llx", (unsigned long long)exec);
    snprintf(hidden, sizeof hidden, "%s" SPOOL_HIDDEN, name);
    if (!seat->agent)
        return unlinkat(dir, name, 0);
    seat->spool_hidden = true;
    _cleanup_fd_ int fd = openat(dir, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 || renameat(dir, name, dir, hidden) < 0 || ftruncate(fd, 0) < 0 ? -1 : 0;
}

void spool_let_go(struct seat *seat)
{
    char path[SPEC_PATH_MAX + 64];
    if (!seat->spool_hidden)
        return;
    provider_spool_path(seat->p, path, sizeof path, seat->row, 0);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        size_t n = strlen(entry->d_name);
        if (strcmp(entry->d_name + n - strlen(SPOOL_HIDDEN), SPOOL_HIDDEN) == 0)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
    seat->spool_hidden = false;
}

/* Row ids go up, so the lowest is the oldest. Files of commands that live are never touched. */
static void trim(struct seat *seat, DIR *dir)
{
    struct spool_file *files = calloc(TRIM_AT_ONCE, sizeof *files);
    size_t count = 0;
    int64_t total = 0;
    for (struct dirent *entry; files && (entry = readdir(dir));) {
        struct stat st;
        char *end = NULL;
        int64_t exec = (int64_t)strtoull(entry->d_name, &end, 16);
        if (entry->d_name[0] == '.' || *end || fstatat(dirfd(dir), entry->d_name, &st, 0) < 0)
            continue;
        total += (int64_t)st.st_blocks * 512;
        if (count < TRIM_AT_ONCE && !lives(seat, exec))
            files[count++] = (struct spool_file){exec, (int64_t)st.st_blocks * 512};
    }
    if (count > 0)
        qsort(files, count, sizeof *files, by_exec);
    for (size_t i = 0; i < count && total > SESSION_SPOOL_MAX; i++)
        if (drop(seat, dirfd(dir), files[i].exec) == 0)
            total -= files[i].bytes;
    seat->spool_bytes = total;
    free(files);
}

void spool_trim(struct seat *seat)
{
    char path[SPEC_PATH_MAX + 64];
    /* Looked at when as much as the limit may have been added since, by what ended. */
    if (seat->spool_bytes >= 0 && seat->spool_added <= SESSION_SPOOL_MAX &&
        seat->spool_bytes + seat->spool_added <= SESSION_SPOOL_MAX)
        return;
    provider_spool_path(seat->p, path, sizeof path, seat->row, 0);
    DIR *dir = opendir(path);
    seat->spool_added = 0;
    if (!dir)
        return;
    trim(seat, dir);
    closedir(dir);
}
