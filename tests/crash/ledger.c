/* This file crashes the ledger and looks what is left: `ledger CAMPAIGN ROUNDS SEED`, in a
 * directory of its own under /tmp. It prints `ok NAME` or `not ok NAME: why`; it never judges what
 * it did not see: a campaign in which nothing died has failed.
 *
 *   kill     SIGKILL at random instants while eight lanes work, and again during recovery
 *   points   SIGKILL at every fail point of every operation and side effect
 *   power    what was not synced is lost, in part and torn
 *   faults   ENOSPC, EIO, EMFILE and ENOMEM at each call, once and for long
 *   rate     commits per second with 1, 16 and 100 writers, and what a sync costs here
 */
#include "tests/crash/model.h"
#include "tests/crash/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static char directory[64], directory_after[80];
static unsigned long read_only_seen;
static unsigned checkpoint_pages = 50; /* often, so that something dies there too */

/* ---- opening and checking
 * ------------------------------------------------------------------------*/

static void open_ledger(const char *where, const char *vfs)
{
    struct ledger_options options = {
        .directory = where, .vfs = vfs, .checkpoint_pages = checkpoint_pages};
    struct err err = {0};
    if (ledger_open(&ledger, &options, &err) < 0) {
        char text[2048];
        err_format(&err, text, sizeof text);
        snprintf(world->violation, sizeof world->violation, "cannot be opened: %.400s", text);
        _exit(3);
    }
}

static void recover(void)
{
    for (int i = 0; i < LANES; i++)
        recover_lane(&world->lanes[i]);
}

/* Every row of the audit that was ever added is there, or is counted as trimmed. */
static void check_audit(const char *path)
{
    for (int i = 0; i < LANES; i++) {
        char sql[256];
        const struct lane *lane = &world->lanes[i];
        snprintf(sql, sizeof sql,
                 "SELECT ifnull(sum(kept + trimmed), 0) + 1000000 * ifnull(sum(kept <> (SELECT "
                 "count(*) FROM audit WHERE workspace_id = 'w%d')), 0) FROM audit_counts WHERE "
                 "workspace_id = 'w%d'",
                 i, i);
        int64_t counted = vfs_number(path, sql);
        if (counted != lane->marker_acked)
            violated(lane, "rows of the audit", lane->marker_acked, counted);
    }
    world->audit_trimmed += vfs_number(path, "SELECT ifnull(sum(trimmed), 0) FROM audit_counts");
}

static void check(const char *where)
{
    for (int i = 0; i < LANES; i++) {
        check_rows(&world->lanes[i]);
        check_answers(&world->lanes[i]);
    }
    ledger_close(ledger);
    ledger = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s/ledger", where);
    const char *integrity = vfs_integrity(path);
    if (strcmp(integrity, "ok") != 0) {
        snprintf(world->violation, sizeof world->violation, "integrity: %s", integrity);
        _exit(3);
    }
    check_audit(path);
}

/* ---- processes
 * ----------------------------------------------------------------------------------------*/

static void *lane_main(void *data)
{
    struct lane *lane = data;
    while (lane->acked < STEPS_MAX - 1 && lane_step(lane) == LANE_GOES_ON)
        ;
    return NULL;
}

static void work(const char *where, const char *vfs)
{
    pthread_t threads[LANES];
    open_ledger(where, vfs);
    recover();
    world->ready = 1;
    for (int i = 0; i < LANES; i++)
        if (pthread_create(&threads[i], NULL, lane_main, &world->lanes[i]) != 0)
            _exit(4);
    for (int i = 0; i < LANES; i++)
        pthread_join(threads[i], NULL);
    ledger_close(ledger);
}

static void wait_us(long us)
{
    struct timespec span = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&span, NULL);
}

static int failed(const char *name, const char *why)
{
    printf("not ok %s: %s%s%s\n", name, why, world->violation[0] ? ": " : "", world->violation);
    return 1;
}

static void remove_directory(const char *where)
{
    DIR *dir = opendir(where);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(where);
}

static void fresh(unsigned seed)
{
    remove_directory(directory);
    mkdir(directory, 0700);
    memset(world, 0, sizeof *world);
    for (int i = 0; i < LANES; i++)
        world->lanes[i].seed = seed * 100 + (unsigned)i;
}

/* In a process of its own: what a start after the crash sees. NULL, or what is wrong. */
static const char *restart_and_check(const char *where)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        open_ledger(where, NULL);
        recover();
        check(where);
        _exit(0);
    }
    if (waitpid(child, &status, 0) != child)
        return "no process";
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : "after the restart";
}

/* ---- campaigns
 * ------------------------------------------------------------------------------------------*/

static int campaign_kill(unsigned long rounds, unsigned seed)
{
    static const char name[] = "ledger_kill_at_random_instants";
    unsigned long killed = 0, recovering = 0;
    int64_t acked = 0, trimmed = 0;
    fresh(seed);
    for (unsigned long round = 0; round < rounds; round++) {
        int status;
        /* The ledger grows with rounds; a young one is as good. */
        if (round % 40 == 39) {
            acked += world->acked_total;
            trimmed += world->audit_trimmed;
            fresh(seed + (unsigned)round);
        }
        world->ready = 0;
        bool early = round % 5 == 4; /* while it opens and recovers */
        pid_t child = fork();
        if (child == 0) {
            work(directory, NULL);
            _exit(0);
        }
        for (int i = 0; !early && !world->ready && i < 5000; i++)
            wait_us(1000);
        wait_us(rand_r(&seed) % (early ? 5000 : 30000));
        if (rand_r(&seed) % 10 == 0) /* an init dies with the rest */
            world->lanes[rand_r(&seed) % LANES].alive = 0;
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        recovering += early && !world->ready;
        const char *why = restart_and_check(directory);
        if (why) {
            printf("round %lu\n", round);
            return failed(name, why);
        }
    }
    acked += world->acked_total;
    trimmed += world->audit_trimmed;
    if (killed < rounds * 9 / 10 || acked < (int64_t)rounds * 5 || trimmed == 0)
        return failed(name, "too little happened");
    printf("# %lu kills, %lu of them before it was ready, %lld steps acknowledged\n", killed,
           recovering, (long long)acked);
    printf("ok %s\n", name);
    return 0;
}

static int kill_at_point(const char *family, const char *point, const char *step, unsigned seed)
{
    char setting[128], why[200];
    int status;
    snprintf(setting, sizeof setting, "%s.%s.%s:%d", family, point, step, 1 + rand_r(&seed) % 3);
    fresh(seed);
    pid_t child = fork();
    if (child == 0) {
        if (failpoint_arm(setting) < 0)
            _exit(5);
        work(directory, NULL);
        _exit(0);
    }
    /* Each point is passed within some hundred steps; a lane ends after STEPS_MAX. */
    for (int i = 0; waitpid(child, &status, WNOHANG) == 0; i++) {
        if (i > 60000) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            snprintf(why, sizeof why, "%s was never passed", setting);
            return failed("ledger_kill_at_every_fail_point", why);
        }
        wait_us(1000);
    }
    if (!WIFSIGNALED(status)) {
        snprintf(why, sizeof why, "%s was never passed, status %d", setting, status);
        return failed("ledger_kill_at_every_fail_point", why);
    }
    const char *wrong = restart_and_check(directory);
    if (!wrong)
        return 0;
    snprintf(why, sizeof why, "%s: %s", setting, wrong);
    return failed("ledger_kill_at_every_fail_point", why);
}

static int campaign_points(unsigned seed)
{
    static const char *const steps[] = {
#define X(name) name,
        FAILPOINT_LEDGER_STEPS(X)
#undef X
    };
    static const char *const sides[] = {"before", "after"};
    unsigned count = 0;
    for (int op = 0; op < LEDGER_OP_COUNT; op++)
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++, count++)
            if (kill_at_point("ledger", ledger_op_name((enum ledger_op)op), steps[i],
                              seed + count) != 0)
                return 1;
    for (int effect = SESSION_EFFECT_NONE + 1; effect < SESSION_EFFECT_COUNT; effect++)
        for (size_t i = 0; i < 2; i++, count++)
            if (kill_at_point("effect", session_effect_name((enum session_effect)effect), sides[i],
                              seed + count) != 0)
                return 1;
    printf("# %u fail points, each killed once\nok ledger_kill_at_every_fail_point\n", count);
    return 0;
}

static int campaign_power(unsigned long rounds, unsigned seed)
{
    static const char name[] = "ledger_loses_power";
    unsigned long cuts = 0;
    int64_t acked = 0;
    snprintf(directory_after, sizeof directory_after, "%s-after", directory);
    after_power_loss = true;
    for (unsigned long round = 0; round < rounds; round++) {
        int status;
        unsigned cut_seed = (unsigned)rand_r(&seed);
        fresh(cut_seed);
        remove_directory(directory_after);
        mkdir(directory_after, 0700);
        pid_t child = fork();
        if (child == 0) {
            vfs_init();
            vfs_cut_power(1 + (unsigned long)rand_r(&seed) % (round % 3 ? 2000 : 60), cut_seed,
                          directory_after);
            work(directory, "crash");
            _exit(0);
        }
        waitpid(child, &status, 0);
        cuts += WIFEXITED(status) && WEXITSTATUS(status) == 99;
        acked += world->acked_total;
        for (int i = 0; i < LANES; i++) { /* no kernel outlives it */
            world->lanes[i].alive = 0;
            world->lanes[i].frozen = false;
        }
        const char *why = restart_and_check(directory_after);
        if (why) {
            printf("round %lu seed %u\n", round, cut_seed);
            return failed(name, why);
        }
        rand_r(&seed);
    }
    remove_directory(directory_after);
    if (cuts < rounds * 9 / 10)
        return failed(name, "the power did not go");
    printf("# %lu times, %lld steps acknowledged\nok %s\n", cuts, (long long)acked, name);
    return 0;
}

/* While the disk is full for long: reads are served, writes are refused and certainly absent. */
static void check_read_only(struct lane *lane, enum vfs_fault fault)
{
    struct ledger_status status;
    struct step s;
    ledger_status(ledger, &status);
    if (status.health != LEDGER_READ_ONLY || fault != VFS_ENOSPC)
        return;
    prepare_step(&s, lane, lane->step, lane->kind);
    if (run_job(&s, LEDGER_OP_READ, apply_look) != 0)
        violated(lane, "no reads while the disk is full", s.err.sys, 0);
    s.number = -1;
    if (run_job(&s, LEDGER_OP_AUDIT_ADD, apply_marker) >= 0 || !s.certain ||
        s.err.code != ERR_INSUFFICIENT_STORAGE)
        violated(lane, "a write while the disk is full", s.certain, s.err.code);
    buf_fini(&s.body);
    read_only_seen++;
}

/* One lane, one process; the fault comes and goes, the process stays. Was anything refused? */
static bool one_fault(enum vfs_fault fault, unsigned long nth, unsigned long times)
{
    struct lane *lane = &world->lanes[0];
    struct ledger_status status;
    vfs_fail(fault, nth, times);
    for (int i = 0; i < 12 && lane_step(lane) == LANE_GOES_ON; i++)
        ;
    bool hit = vfs_failed() > 0;
    ledger_status(ledger, &status);
    if (fault == VFS_ENOSPC && status.health != LEDGER_OK &&
        status.reason.code != ERR_INSUFFICIENT_STORAGE)
        violated(lane, "a full disk was told as another failure", status.reason.sys,
                 status.reason.code);
    if (times == 0)
        check_read_only(lane, fault);
    vfs_heal();
    /* It comes back by itself: at the first write after its pause. */
    for (int i = 0; i < 4000; i++) {
        struct step s;
        ledger_status(ledger, &status);
        if (status.health == LEDGER_OK)
            break;
        prepare_step(&s, lane, lane->step, lane->kind);
        (void)run_job(&s, LEDGER_OP_AUDIT_ADD, apply_look);
        buf_fini(&s.body);
        wait_us(500);
    }
    if (status.health != LEDGER_OK)
        violated(lane, "it did not come back", (int64_t)fault, (int64_t)nth);
    recover_lane(lane);
    check_rows(lane);
    check_answers(lane);
    return hit;
}

static int campaign_faults(unsigned seed)
{
    static const struct {
        enum vfs_fault fault;
        const char *name;
    } faults[] = {
        {VFS_ENOSPC, "ENOSPC"}, {VFS_EIO, "EIO"}, {VFS_EMFILE, "EMFILE"}, {VFS_ENOMEM, "ENOMEM"}};
    int bad = 0;
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        int status;
        char name[64];
        snprintf(name, sizeof name, "ledger_%s_at_each_call", faults[f].name);
        fresh(seed);
        pid_t child = fork();
        if (child == 0) {
            unsigned long nth = 1, hits = 0, misses = 0;
            vfs_init();
            struct ledger_options options = {
                .directory = directory, .vfs = "crash", .checkpoint_pages = 20, .retry_ms = 1};
            struct err err;
            if (ledger_open(&ledger, &options, &err) < 0)
                _exit(6);
            for (; nth < 4000 && misses < 20; nth += 1 + nth / 40) {
                for (unsigned long times = 0; times < 2; times++) {
                    bool hit = one_fault(faults[f].fault, nth, times);
                    hits += hit;
                    misses = hit ? 0 : misses + 1;
                }
            }
            check(directory);
            world->acked_total = (int64_t)hits;
            if (faults[f].fault == VFS_ENOSPC && read_only_seen < 8)
                _exit(8);
            _exit(hits < 8 ? 7 : 0);
        }
        waitpid(child, &status, 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            char why[64];
            snprintf(why, sizeof why, "status %d", status);
            bad |= failed(name, why);
            continue;
        }
        printf("# refused in %lld rounds\nok %s\n", (long long)world->acked_total, name);
    }
    return bad;
}

/* ---- figures
 * --------------------------------------------------------------------------------------------*/

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static enum ledger_op rate_op;
static bool rate_stop;

static void *rate_main(void *data)
{
    struct step s;
    int64_t n = 0;
    prepare_step(&s, &world->lanes[0], 1, 0);
    snprintf(s.workspace, sizeof s.workspace, "r%d", (int)(intptr_t)data);
    while (!__atomic_load_n(&rate_stop, __ATOMIC_RELAXED)) {
        s.number = ++n;
        if (run_job(&s, rate_op, apply_marker) != 0)
            break;
    }
    return (void *)(intptr_t)n;
}

static int campaign_rate(void)
{
    static const int writers[] = {1, 16, 100};
    checkpoint_pages = 0;
    fresh(1);
    int fd = open(directory, O_TMPFILE | O_WRONLY, 0600);
    char page[4096] = {0};
    double start = now_s();
    for (int i = 0; i < 200; i++)
        if (write(fd, page, sizeof page) < 0 || fdatasync(fd) < 0)
            return failed("rate", "fdatasync");
    printf("# one write of 4 KiB and fdatasync here: %.3f ms\n", (now_s() - start) * 1000 / 200);
    close(fd);
    open_ledger(directory, NULL);
    for (int full = 0; full < 2; full++)
        for (size_t w = 0; w < sizeof writers / sizeof writers[0]; w++) {
            pthread_t threads[100];
            struct ledger_status before, after;
            int64_t total = 0;
            rate_op = full ? LEDGER_OP_VOLUME_CREATE : LEDGER_OP_EVENT_ADD;
            __atomic_store_n(&rate_stop, false, __ATOMIC_RELAXED);
            ledger_status(ledger, &before);
            start = now_s();
            for (int i = 0; i < writers[w]; i++)
                pthread_create(&threads[i], NULL, rate_main, (void *)(intptr_t)(full * 1000 + i));
            wait_us(2000000);
            __atomic_store_n(&rate_stop, true, __ATOMIC_RELAXED);
            for (int i = 0; i < writers[w]; i++) {
                void *n;
                pthread_join(threads[i], &n);
                total += (int64_t)(intptr_t)n;
            }
            double took = now_s() - start;
            ledger_status(ledger, &after);
            printf(
                "# %s, %3d writers: %8.0f jobs/s in %7.0f commits/s, %5.1f jobs a commit, %.3f ms "
                "a job for its writer\n",
                full ? "FULL  " : "NORMAL", writers[w], (double)total / took,
                (double)(after.commits - before.commits) / took,
                (double)(after.jobs - before.jobs) / (double)(after.commits - before.commits),
                took * 1000 * writers[w] / (double)total);
        }
    ledger_close(ledger);
    return 0;
}

int main(int argc, char **argv)
{
    const char *campaign = argc > 1 ? argv[1] : "";
    unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 50;
    unsigned seed = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 1;
    int r = 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    /* In memory, except to measure: a process that dies loses nothing there either, and a sync that
     * costs nothing leaves more instants to die at. */
    bool memory = strcmp(campaign, "rate") != 0 && access("/dev/shm", W_OK) == 0;
    snprintf(directory, sizeof directory, "%s/berth-crash-XXXXXX", memory ? "/dev/shm" : "/tmp");
    if (world == MAP_FAILED || !mkdtemp(directory))
        return 2;
    if (strcmp(campaign, "kill") == 0)
        r = campaign_kill(rounds, seed);
    else if (strcmp(campaign, "points") == 0)
        r = campaign_points(seed);
    else if (strcmp(campaign, "power") == 0)
        r = campaign_power(rounds, seed);
    else if (strcmp(campaign, "faults") == 0)
        r = campaign_faults(seed);
    else if (strcmp(campaign, "rate") == 0)
        r = campaign_rate();
    else
        printf("not ok ledger: kill, points, power, faults or rate\n");
    remove_directory(directory);
    if (directory_after[0])
        remove_directory(directory_after);
    return r;
}
