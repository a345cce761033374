/* This file looks at what spools take of the disk: init writes them itself, and one that was taken
 * over could fill the disk of all sessions. Its session is ended. It never reads a spool.
 *
 * Every second the free space of the disk is asked for, and only when it has shrunk are sessions
 * looked at. What may be written between two looks is what a disk writes in a second or two.
 *
 * How much a command may leave is written down here, not believed of the spool's own header: in the
 * file `limits` beside the spools, for those that may have more than the usual. A front that is new
 * finds it there.
 */
#include "provider/provider_exec.h"
#include "runtime/base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { LOOK_MS = 1000, ROUND_MS = 60000, NEXT_MS = 5, SEATS_AT_ONCE = 32, LIMITS_AT_ONCE = 256 };
#define SHRUNK (UINT64_C(32) << 20)

struct spool_limit {
    int64_t exec;
    uint64_t bytes;
};

struct spool_watch {
    struct loop_timer *timer;
    uint64_t free_bytes; /* the most since the last round */
    int64_t round_ms;
    unsigned bucket; /* to be looked at next; SEAT_HASH: no round is under way */
};

/* ---- limits ---------------------------------------------------------------------------------- */

/* Room in the file for a limit of payload: runtime/agent/spool_format.c sets twice of it aside, and
 * an eighth for the segment that is being written. */
static uint64_t room_of(uint64_t limit)
{
    return 3 * limit + (UINT64_C(1) << 20);
}

int spool_allow(const struct provider *p, int64_t session, int64_t exec, uint64_t bytes,
                struct err *err)
{
    char path[SPEC_PATH_MAX + 96];
    const struct spool_limit limit = {exec, bytes};
    if (bytes <= SPOOL_USUAL)
        return 0;
    provider_spool_path(p, path, sizeof path, session, 0);
    size_t n = strlen(path);
    snprintf(path + n, sizeof path - n, "/limits");
    _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : io_write_full(fd, &limit, sizeof limit);
    return r < 0 ? err_set(err, ERR_UNAVAILABLE, -r, "keep the output", NULL,
                           "Its limit could not be written down.")
                 : 0;
}

static uint64_t limit_of(int dir, int64_t exec)
{
    struct spool_limit limits[LIMITS_AT_ONCE];
    _cleanup_fd_ int fd = openat(dir, "limits", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n;
    while (fd >= 0 && (n = read(fd, limits, sizeof limits)) > 0)
        for (size_t i = 0; i < (size_t)n / sizeof *limits; i++)
            if (limits[i].exec == exec)
                return limits[i].bytes;
    return SPOOL_USUAL;
}

/* ---- one session ----------------------------------------------------------------------------- */

static bool is_within(struct seat *seat, DIR *dir)
{
    uint64_t kept = 0, hidden = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat st;
        char *end = NULL;
        int64_t exec = (int64_t)strtoull(entry->d_name, &end, 16);
        if (end == entry->d_name || fstatat(dirfd(dir), entry->d_name, &st, 0) < 0)
            continue;
        uint64_t bytes = (uint64_t)st.st_blocks * 512;
        if (bytes > room_of(SPOOL_USUAL) && bytes > room_of(limit_of(dirfd(dir), exec)))
            return false;
        if (strcmp(end, SPOOL_HIDDEN) == 0)
            hidden += bytes;
        else
            kept += bytes;
    }
    /* What ended says how much it wrote, and may lie. */
    if (kept > SESSION_SPOOL_MAX) {
        seat->spool_bytes = -1;
        spool_trim(seat);
    }
    return hidden <= SESSION_SPOOL_MAX;
}

static void look_at(struct seat *seat)
{
    char path[SPEC_PATH_MAX + 64];
    if (!seat->agent || seat->ending || seat->distrusted)
        return;
    provider_spool_path(seat->p, path, sizeof path, seat->row, 0);
    DIR *dir = opendir(path);
    if (!dir)
        return;
    bool within = is_within(seat, dir);
    closedir(dir);
    if (!within)
        seat_distrust(seat);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static bool look_at_some(struct provider *p, struct spool_watch *watch, unsigned most)
{
    for (unsigned seen = 0; watch->bucket < SEAT_HASH && seen < most; watch->bucket++)
        for (struct seat *seat = p->seats[watch->bucket], *next; seat; seat = next) {
            next = seat->next;
            look_at(seat);
            seen++;
        }
    return watch->bucket < SEAT_HASH;
}

void spool_watch_now(struct provider *p)
{
    p->spools->bucket = 0;
    look_at_some(p, p->spools, UINT32_MAX);
}

/* A disk that does not tell is looked at as one that shrinks. */
static bool has_shrunk(struct provider *p, struct spool_watch *watch)
{
    struct statvfs st;
    char path[SPEC_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/" SERVE_SPOOL_DIR, p->options.config->state_dir);
    uint64_t now_free = statvfs(path, &st) < 0 ? 0 : (uint64_t)st.f_bfree * st.f_frsize;
    bool shrunk = now_free + SHRUNK < watch->free_bytes || now_free == 0 ||
                  now_boot_ms() - watch->round_ms >= ROUND_MS;
    if (shrunk || now_free > watch->free_bytes)
        watch->free_bytes = now_free;
    return shrunk;
}

static void on_timer(void *owner)
{
    struct provider *p = owner;
    struct spool_watch *watch = p->spools;
    if (p->closing)
        return;
    if (watch->bucket == SEAT_HASH && has_shrunk(p, watch)) {
        watch->bucket = 0;
        watch->round_ms = now_boot_ms();
    }
    loop_timer_set(watch->timer, look_at_some(p, watch, SEATS_AT_ONCE) ? NEXT_MS : LOOK_MS);
}

int spool_watch_open(struct provider *p, struct err *err)
{
    p->spools = calloc(1, sizeof *p->spools);
    if (!p->spools)
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "watch the disk", NULL, NULL);
    p->spools->bucket = SEAT_HASH;
    p->spools->round_ms = now_boot_ms();
    int r = loop_timer_new(p->loop, on_timer, p, &p->spools->timer, err);
    if (r == 0)
        loop_timer_set(p->spools->timer, LOOK_MS);
    return r;
}

void spool_watch_free(struct provider *p)
{
    if (p->spools)
        loop_timer_free(p->spools->timer);
    free(take_ptr(&p->spools));
}
