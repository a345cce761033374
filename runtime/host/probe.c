/* This file finds out what this host gives this user, by doing each thing once in a probe sandbox;
 * it never concludes from a version number.
 *
 * PRIVILEGED: as the launcher, through the facade only. Callers: the registry, for `doctor` and for
 * the first `run` after something changed.
 *
 * Three sessions, and those of probe_lasting.c. "slow" has a CPU quota and a directory as
 * workspace; its commands wait for deadlines, so it is started first and judged last. "main" has
 * every small limit. "tree" has a directory as root and a volume as workspace. A probe whose
 * session could not be made says so: it is not available.
 *
 * This file is long because one command answers for several capabilities: what it prints and who
 * judges it stand together.
 */
#include "runtime/host/probe.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/probe_explain.h"
#include "runtime/host/probe_lasting.h"
#include "runtime/host/probe_network.h"
#include "runtime/host/probe_places.h"
#include "runtime/host/probe_session.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
    MEMORY_BYTES = 32 << 20,
    PIDS = 32,
    OPEN_FILES = 64,
    CPU_MILLIS = 200,
    SLOW_MS = 150,
    REPEAT_MS = 900, /* a measurement of time that failed is repeated once, over more of it */
    AGAIN_MS = 100,
};

struct probing {
    struct runtime *rt;
    const struct runtime_facts *facts;
    struct probe_places places;
    struct probe_session main, slow, tree;
    int slow_busy, slow_idle, slow_owner;
    struct probe_result *results;
};

/* ---- answers ------------------------------------------------------------------------------------
 */

static void works(struct probing *p, enum probe_id id, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void fails(struct probing *p, enum probe_id id, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void lacks(struct probing *p, enum probe_id id, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void works(struct probing *p, enum probe_id id, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(p->results[id].evidence, sizeof p->results[id].evidence, format, ap);
    va_end(ap);
    p->results[id].works = true;
}

__attribute__((format(printf, 4, 0))) static void answer_no(struct probe_result *result,
                                                            bool certain, const char *remedy,
                                                            const char *format, va_list ap)
{
    vsnprintf(result->reason, sizeof result->reason, format, ap);
    snprintf(result->remedy, sizeof result->remedy, "%s", remedy);
    result->works = false;
    result->certain = certain;
}

/* Tried, and it did not do. */
static void fails(struct probing *p, enum probe_id id, const char *remedy, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    answer_no(&p->results[id], false, remedy, format, ap);
    va_end(ap);
}

/* A fact of this host: trying again would find the same. */
static void lacks(struct probing *p, enum probe_id id, const char *remedy, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    answer_no(&p->results[id], true, remedy, format, ap);
    va_end(ap);
}

/* The command did not end as it should: by an error of berth's, or otherwise than expected. */
static void fails_so(struct probing *p, enum probe_id id, const struct probe_exec *e,
                     const char *expected)
{
    if (e->err.code != ERR_NONE) {
        char text[sizeof p->results[id].reason];
        err_format(&e->err, text, sizeof text);
        fails(p, id, "", "%s", text);
        return;
    }
    fails(p, id, "", "Expected %s; it ended by %s with %d and printed \"%.60s\".", expected,
          agent_reason_name((enum agent_reason)e->exit.reason), e->exit.exit_code, e->text);
}

static bool exited(const struct probe_exec *e, int code)
{
    return e->err.code == ERR_NONE && e->ended && e->exit.reason == AGENT_REASON_EXIT &&
           e->exit.exit_code == code;
}

/* ---- limits of cgroups --------------------------------------------------------------------------
 */

/* False, with the answer given, when the layout has no such limit. */
static bool limit_there(struct probing *p, enum probe_id id, uint32_t limit)
{
    if (p->facts->limits_available & limit)
        return true;
    /* The reason names what would change it. */
    lacks(p, id, "", "%s",
          p->facts->cgroup_reason[0] ? p->facts->cgroup_reason : "No cgroup controller.");
    return false;
}

static void probe_memory(struct probing *p)
{
    if (!limit_there(p, PROBE_MEMORY_LIMIT, SPEC_LIMIT_MEMORY))
        return;
    const struct probe_exec *e = probe_do(
        &p->main, &(struct probe_command){.shell = "x=0123456789abcdef; while :; do x=$x$x; done"});
    if (e->ended && e->exit.reason == AGENT_REASON_OOM)
        works(p, PROBE_MEMORY_LIMIT,
              "a program that took more than %d MiB was killed, its session "
              "was not",
              MEMORY_BYTES >> 20);
    else
        fails_so(p, PROBE_MEMORY_LIMIT, e, "an end by oom");
}

static void probe_pids(struct probing *p)
{
    if (!limit_there(p, PROBE_PIDS_LIMIT, SPEC_LIMIT_PIDS))
        return;
    const struct probe_exec *e = probe_do(
        &p->main, &(struct probe_command){.input = true,
                                          .shell = "exec 3<&0; i=0; while [ $i -lt 100 ]; do read "
                                                   "x <&3 & i=$((i+1)); done; echo all of them"});
    if (e->ended && e->err.code == ERR_NONE && !strstr(e->text, "all of them"))
        works(p, PROBE_PIDS_LIMIT, "of 100 processes at once, no more than %d came to be", PIDS);
    else
        fails_so(p, PROBE_PIDS_LIMIT, e, "a refused fork");
}

static uint64_t wall_ms(const struct probe_exec *e)
{
    uint64_t ns = e->exit.ended_ns > e->exit.started_ns ? e->exit.ended_ns - e->exit.started_ns : 0;
    return ns / 1000000;
}

/* Without a quota a busy loop has about as much of a CPU as of time. How long it really ran is what
 * counts: a slow host ends it late. */
static bool was_held_back(const struct probe_exec *e)
{
    return e->ended && e->exit.cpu_us / 100 < wall_ms(e) * 7;
}

static void judge_cpu(struct probing *p)
{
    if (!limit_there(p, PROBE_CPU_LIMIT, SPEC_LIMIT_CPU))
        return;
    const struct probe_exec *e = probe_wait(&p->slow, p->slow_busy, NULL);
    if (e->ended && !was_held_back(e))
        e = probe_do(&p->slow, &(struct probe_command){.shell = "while :; do :; done",
                                                       .timeout_ms = REPEAT_MS});
    if (!e->ended) {
        fails_so(p, PROBE_CPU_LIMIT, e, "an end by timeout");
        return;
    }
    bool read_back =
        p->slow.session && session_effective(p->slow.session)->limits.cpu_millis == CPU_MILLIS;
    unsigned long long cpu_ms = e->exit.cpu_us / 1000, ran_ms = wall_ms(e);
    if (read_back && was_held_back(e))
        works(p, PROBE_CPU_LIMIT,
              "a busy loop of %llu ms got %llu ms of a CPU under a limit of 0.2", ran_ms, cpu_ms);
    else
        fails(p, PROBE_CPU_LIMIT, "",
              "A busy loop of %llu ms got %llu ms of a CPU under a limit of 0.2, %s.", ran_ms,
              cpu_ms, read_back ? "which the kernel has" : "which the kernel does not have");
}

/* ---- what every process has
 * ---------------------------------------------------------------------- */

/* Status, map, limit and interfaces as one command sees them; no program but the shell's own. */
static const char look[] =
    "while read -r l; do echo \"$l\"; done < /proc/self/status\n"
    "while read -r l; do echo \"map $l\"; done < /proc/self/uid_map\n"
    "echo files $(ulimit -n); ulimit -n 65 2>/dev/null && echo files were raised\n"
    "while read -r l; do echo \"net $l\"; done < /proc/net/dev\n"
    "while read -r l; do echo \"route $l\"; done < /proc/net/route\n"
    "[ -d /usr ] && ! true 2>/dev/null > /usr/berth-probe && echo usr is read-only";

static unsigned count_lines(const char *text, const char *start)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, start)) != NULL; at++)
        n += at == text || at[-1] == '\n';
    return n;
}

static void judge_namespace(struct probing *p, const struct probe_exec *e)
{
    const char *map = strstr(e->text, "map ");
    unsigned long inside = 0, outside = 0, count = 0;
    if (map && sscanf(map, "map %lu %lu %lu", &inside, &outside, &count) == 3 &&
        !(inside == 0 && outside == 0 && count == 4294967295))
        works(p, PROBE_USER_NAMESPACE,
              "a command ran with ids of its own: %lu there is %lu outside", inside, outside);
    else
        fails_so(p, PROBE_USER_NAMESPACE, e, "a map of ids of its own");
}

/* All lines of the map: an ordinary user's has two. */
static void judge_ids(struct probing *p, const struct probe_exec *e)
{
    unsigned long inside, outside, count, sum = 0;
    for (const char *at = strstr(e->text, "map "); at; at = strstr(at + 1, "\nmap "))
        if (sscanf(at, " map %lu %lu %lu", &inside, &outside, &count) == 3)
            sum += count;
    if (p->facts->single_uid)
        lacks(p, PROBE_ID_RANGE, p->facts->single_uid_reason,
              "A session has one id only here, that of \"user\".");
    else if (sum > 1)
        works(p, PROBE_ID_RANGE, "a command's session has %lu ids", sum);
    else
        fails_so(p, PROBE_ID_RANGE, e, "a map of more than one id");
}

static void judge_network(struct probing *p, const struct probe_exec *e)
{
    /* Two lines of heading, then interfaces. */
    unsigned interfaces = count_lines(e->text, "net ");
    unsigned routes = count_lines(e->text, "route ");
    if (interfaces == 3 && strstr(e->text, "net lo:") && routes <= 1)
        works(p, PROBE_NETWORK_DENY, "a session has one interface, lo, and no route");
    else
        fails_so(p, PROBE_NETWORK_DENY, e, "lo and nothing else");
}

static void probe_rules(struct probing *p)
{
    struct err err = {0};
    if (probe_network(&err) == 0) {
        works(p, PROBE_NETWORK_RULES,
              "a namespace with rules, a transparent listener and a resolver's sockets was made");
        return;
    }
    struct probe_result *result = &p->results[PROBE_NETWORK_RULES];
    /* What would change it is the error's own last part. */
    fails(p, PROBE_NETWORK_RULES, err.detail, "%s: %s", err.step,
          err.sys ? strerror(err.sys) : err.subject);
    result->certain = err.code == ERR_CAPABILITY_UNAVAILABLE;
}

static void probe_denied_calls(struct probing *p)
{
    struct err err = {0};
    if (probe_explain(&err) == 0) {
        works(p, PROBE_EXPLAIN_SYSCALLS,
              "a refused call of a child was asked about and got the filter's own errno");
        return;
    }
    fails(p, PROBE_EXPLAIN_SYSCALLS, "", "%s", err.detail);
    p->results[PROBE_EXPLAIN_SYSCALLS].certain = err.code == ERR_CAPABILITY_UNAVAILABLE;
}

static void judge_filter(struct probing *p, const struct probe_exec *e)
{
    if (strstr(e->text, "\nSeccomp:\t2") && strstr(e->text, "\nNoNewPrivs:\t1") &&
        strstr(e->text, "\nCapBnd:\t0000000000000000"))
        works(p, PROBE_SECCOMP,
              "a command runs under a filter, without capabilities, and cannot "
              "gain privileges");
    else
        fails_so(p, PROBE_SECCOMP, e, "\"Seccomp: 2\"");
    uint32_t abi = p->main.session ? session_effective(p->main.session)->landlock_abi : 0;
    if (abi && exited(e, 0))
        works(p, PROBE_LANDLOCK, "PID 1 enforced a ruleset of ABI %u on itself and its commands",
              abi);
    else if (p->main.session)
        lacks(p, PROBE_LANDLOCK, "Boot with lsm=landlock,... in the kernel's command line.",
              "This kernel has no Landlock, or it is not enabled.");
    else
        fails_so(p, PROBE_LANDLOCK, e, "a ruleset");
}

static void probe_look(struct probing *p)
{
    const struct probe_exec *e = probe_do(&p->main, &(struct probe_command){.shell = look});
    judge_namespace(p, e);
    judge_ids(p, e);
    judge_filter(p, e);
    judge_network(p, e);
    if (strstr(e->text, "\nfiles 64\n") && !strstr(e->text, "files were raised"))
        works(p, PROBE_OPEN_FILES_LIMIT, "a limit of %d was there and could not be raised",
              OPEN_FILES);
    else
        fails_so(p, PROBE_OPEN_FILES_LIMIT, e, "a limit of 64");
    if (strstr(e->text, "usr is read-only"))
        works(p, PROBE_ROOTFS_HOST, "a shell of the host's /usr ran, and could not write there");
    else
        fails_so(p, PROBE_ROOTFS_HOST, e, "a read-only /usr");
}

/* ---- scratch ------------------------------------------------------------------------------------
 */

static void probe_scratch(struct probing *p)
{
    const struct probe_exec *e = probe_do(
        &p->main,
        &(struct probe_command){
            .shell = "x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do x=$x$x; done\n"
                     "n=0; while [ $n -lt 200 ] && printf %s \"$x\" 2>/dev/null >> /tmp/fill; do "
                     "n=$((n+1)); done\n"
                     "rm -f /tmp/fill; [ $n -gt 0 ] && [ $n -le 64 ] && exit 7; echo wrote $n"});
    if (exited(e, 7))
        works(p, PROBE_SCRATCH_BYTES, "4 MiB were full before 4.1 MiB were written");
    else
        fails_so(p, PROBE_SCRATCH_BYTES, e, "a full scratch");
    e = probe_do(&p->main,
                 &(struct probe_command){
                     .shell = "n=0; while [ $n -lt 2000 ] && true 2>/dev/null > /tmp/f$n; do "
                              "n=$((n+1)); done; rm -f /tmp/f*\n"
                              "[ $n -gt 0 ] && [ $n -le 1024 ] && exit 7; echo made $n"});
    if (exited(e, 7))
        works(p, PROBE_SCRATCH_INODES, "no more than 1,024 files could be made");
    else
        fails_so(p, PROBE_SCRATCH_INODES, e, "no more inodes");
    e = probe_do(&p->main, &(struct probe_command){
                               .shell = "true > /workspace/f && [ -f /workspace/f ] && exit 7"});
    if (exited(e, 7))
        works(p, PROBE_WORKSPACE_TMPFS, "a file was made in a workspace in memory");
    else
        fails_so(p, PROBE_WORKSPACE_TMPFS, e, "a file");
}

/* ---- commands -----------------------------------------------------------------------------------
 */

static void probe_exec_and_signal(struct probing *p)
{
    int n = probe_start(&p->main, &(struct probe_command){
                                      .input = true,
                                      .shell = "read x; [ \"$x\" = hello ] || exit 8\n"
                                               "trap 'exit 7' USR1; echo ready; read x; exit 9"});
    static const char hello[] = "hello\n";
    const struct probe_exec *e = n < 0 ? NULL : &p->main.exec[n];
    if (e && e->input >= 0)
        (void)io_write_full(e->input, hello, sizeof hello - 1);
    e = probe_wait(&p->main, n, "ready");
    /* A shell that is between its check for signals and its read(2) sleeps over one: it gets
     * another until it has ended. */
    for (int i = 0; e->err.code == ERR_NONE && !e->ended && i < PROBE_DEADLINE_MS / AGAIN_MS; i++) {
        (void)session_signal(p->main.session, (uint64_t)n + 1, SIGUSR1, AGENT_SCOPE_MAIN);
        (void)probe_wait_ms(&p->main, n, AGAIN_MS); /* it is asked again, or waited for below */
    }
    e = probe_wait(&p->main, n, NULL);
    if (exited(e, 7))
        works(p, PROBE_EXEC,
              "a command read its input, printed, took a signal, and its status came "
              "back");
    else
        fails_so(p, PROBE_EXEC, e, "exit 7 after SIGUSR1");
}

static void probe_tty(struct probing *p)
{
    const struct probe_exec *e = probe_do(
        &p->main,
        &(struct probe_command){
            .tty = true, .shell = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo terminal && exit 7"});
    if (exited(e, 7) && strstr(e->text, "terminal\r\n"))
        works(p, PROBE_TTY, "a command had a terminal of its own");
    else
        fails_so(p, PROBE_TTY, e, "a terminal");
}

/* Counts, in n, the processes that have the name which only those left behind have: neither a
 * helper of the shell nor one that waits to be reaped. */
#define COUNT_LEFT                                                                                \
    "count() { n=0; for d in /proc/[0-9]*; do { read -r l < $d/stat; } 2>/dev/null || continue\n" \
    "case $l in *'(berth-left) '[!ZX]*) n=$((n+1));; esac; done; }\n"
#define BE_LEFT "printf berth-left > /proc/self/comm; read x <&3"

/* One in the background of a subshell, one in a session of its own. The command ends when it has
 * seen both with the eyes that look for them afterwards. */
static const char leave_two[] = COUNT_LEFT
    "exec 3<&0\nmade=1; ( ( " BE_LEFT " ) & )\n"
    "command -v setsid >/dev/null && { made=2; setsid sh -c '" BE_LEFT "' & }\n"
    "i=0; while count; [ $n -lt $made ] && [ $i -lt 1500 ]; do i=$((i+1)); sleep 0.02; done\n"
    "[ $n = $made ] && exit 7; echo saw $n of $made";

/* A process that was killed may for a moment look as if it ran: one that was not waits for ever. */
static const char look_for_two[] =
    COUNT_LEFT "i=0; while count; [ $n -gt 0 ] && [ $i -lt 50 ]; do i=$((i+1)); sleep 0.1; done\n"
               "[ $n = 0 ] && exit 7; echo left $n";

static void probe_tree_kill(struct probing *p)
{
    const struct probe_exec *e =
        probe_do(&p->main, &(struct probe_command){.input = true, .shell = leave_two});
    if (!exited(e, 7)) {
        fails_so(p, PROBE_TREE_KILL, e, "exit 7");
        return;
    }
    e = probe_do(&p->main, &(struct probe_command){.shell = look_for_two});
    if (exited(e, 7))
        works(p, PROBE_TREE_KILL,
              "what a command had left in the background, in a session of its "
              "own too, was gone with it");
    else
        fails_so(p, PROBE_TREE_KILL, e, "no process left");
}

/* ---- the host's directories
 * ---------------------------------------------------------------------- */

static void probe_tree(struct probing *p)
{
    const struct probe_exec *e =
        probe_do(&p->tree, &(struct probe_command){.program = "/probe", .argument = "--version"});
    if (exited(e, 0))
        works(p, PROBE_ROOTFS_DIRECTORY, "a program ran in a root directory of its own");
    else
        fails_so(p, PROBE_ROOTFS_DIRECTORY, e, "exit 0");
    struct stat st;
    if (p->tree.session && stat(p->places.volume, &st) == 0 && S_ISDIR(st.st_mode))
        works(p, PROBE_WORKSPACE_VOLUME, "a volume was made and mounted");
    else
        fails_so(p, PROBE_WORKSPACE_VOLUME, e, "a volume");
}

static void judge_directory(struct probing *p)
{
    const struct probe_exec *e = probe_wait(&p->slow, p->slow_owner, NULL);
    struct stat st = {0};
    char path[SPEC_PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/made-inside", p->places.workspace);
    bool made = exited(e, 7) && stat(path, &st) == 0;
    if (made && st.st_uid == p->places.owner)
        works(p, PROBE_WORKSPACE_DIRECTORY,
              "a file made inside belongs to the directory's owner outside");
    else if (made)
        fails(p, PROBE_WORKSPACE_DIRECTORY, "", "A file made inside belongs to %u, not to %u.",
              st.st_uid, p->places.owner);
    else
        fails_so(p, PROBE_WORKSPACE_DIRECTORY, e, "a file in the directory");
    if (p->facts->rootless)
        lacks(p, PROBE_IDMAPPED_MOUNT, "Run berth as root where sessions must not share your id.",
              "Only root may map a mount's ids; without it the session's user is you.");
    else if (p->results[PROBE_WORKSPACE_DIRECTORY].works)
        works(p, PROBE_IDMAPPED_MOUNT,
              "id %u on the host and an id of the session's range were the "
              "same owner",
              p->places.owner);
    else
        fails(p, PROBE_IDMAPPED_MOUNT,
              "Keep workspaces on ext4, xfs, btrfs or, from Linux 6.3 on, tmpfs.", "%s",
              p->results[PROBE_WORKSPACE_DIRECTORY].reason);
}

static void judge_timeout(struct probing *p)
{
    const struct probe_exec *busy = probe_wait(&p->slow, p->slow_busy, NULL);
    const struct probe_exec *idle = probe_wait(&p->slow, p->slow_idle, NULL);
    if (busy->ended && busy->exit.reason == AGENT_REASON_TIMEOUT && idle->ended &&
        idle->exit.reason == AGENT_REASON_IDLE_TIMEOUT)
        works(p, PROBE_TIMEOUT, "a busy loop ended after %d ms, a silent program too", SLOW_MS);
    else if (!(busy->ended && busy->exit.reason == AGENT_REASON_TIMEOUT))
        fails_so(p, PROBE_TIMEOUT, busy, "an end by timeout");
    else
        fails_so(p, PROBE_TIMEOUT, idle, "an end by idle_timeout");
}

/* ---- sessions -----------------------------------------------------------------------------------
 */

static void start_slow(struct probing *p)
{
    struct spec *spec = &p->slow.spec;
    probe_spec(spec, "probe-slow");
    spec->limits.cpu_millis = p->facts->limits_available & SPEC_LIMIT_CPU ? CPU_MILLIS : 0;
    bool directory = p->places.err.code == ERR_NONE;
    if (directory) {
        spec->workspace.kind = SPEC_WORKSPACE_DIRECTORY;
        spec->workspace.size_bytes = 0;
        spec->workspace.allow_root_owned = 1;
        snprintf(spec->workspace.path, sizeof spec->workspace.path, "%s", p->places.workspace);
    }
    probe_open(&p->slow, p->rt);
    if (!p->slow.session && directory) {
        /* The directory may be what cannot be had (a filesystem without mapped ids): the deadlines
         * and the quota are another matter. */
        p->places.err = p->slow.err;
        start_slow(p);
        return;
    }
    /* Without cgroups a session runs one command at a time: then each is waited for. */
    bool together = p->facts->cgroup_layout != RUNTIME_CGROUP_NONE;
    const struct probe_command owner = {.shell = "true > /workspace/made-inside && exit 7"};
    const struct probe_command busy = {.shell = "while :; do :; done", .timeout_ms = SLOW_MS};
    const struct probe_command idle = {
        .shell = "read x", .input = true, .idle_timeout_ms = SLOW_MS};
    p->slow_owner = probe_start(&p->slow, &owner);
    if (!together)
        probe_wait(&p->slow, p->slow_owner, NULL);
    if (!directory && p->slow_owner >= 0)
        p->slow.exec[p->slow_owner].err = p->places.err;
    p->slow_busy = probe_start(&p->slow, &busy);
    if (!together)
        probe_wait(&p->slow, p->slow_busy, NULL);
    p->slow_idle = probe_start(&p->slow, &idle);
}

static void do_main(struct probing *p)
{
    struct spec *spec = &p->main.spec;
    uint32_t there = p->facts->limits_available;
    probe_spec(spec, "probe-main");
    spec->limits.memory_bytes = there & SPEC_LIMIT_MEMORY ? MEMORY_BYTES : 0;
    spec->limits.pids = there & SPEC_LIMIT_PIDS ? PIDS : 0;
    spec->limits.open_files = OPEN_FILES;
    probe_open(&p->main, p->rt);
    probe_look(p);
    probe_rules(p);
    probe_denied_calls(p);
    probe_exec_and_signal(p);
    probe_tty(p);
    probe_scratch(p);
    probe_tree_kill(p);
    probe_pids(p);
    probe_memory(p);
    probe_close(&p->main);
}

static void do_tree(struct probing *p)
{
    struct spec *spec = &p->tree.spec;
    probe_spec(spec, "probe-tree");
    spec->image.kind = SPEC_IMAGE_DIR;
    snprintf(spec->image.path, sizeof spec->image.path, "%s", p->places.tree);
    spec->workspace.kind = SPEC_WORKSPACE_VOLUME;
    spec->workspace.size_bytes = 0;
    snprintf(spec->workspace_id, sizeof spec->workspace_id, "%s", p->places.id);
    snprintf(spec->workspace.volume, sizeof spec->workspace.volume, "%s", p->places.id);
    probe_open(&p->tree, p->rt);
    probe_tree(p);
    probe_close(&p->tree);
}

/* The runtime could not be opened: one cause for everything. */
static void fail_all(struct probing *p, const struct err *open_err)
{
    char text[256];
    struct err short_err = *open_err;
    short_err.detail[0] = 0;
    err_format(&short_err, text, sizeof text);
    for (int id = 0; id < PROBE_COUNT; id++)
        fails(p, (enum probe_id)id, open_err->detail, "%s", text);
}

int probe_run(struct runtime *rt, const struct err *open_err, bool lasting,
              struct probe_result ret_results[PROBE_COUNT], struct err *err)
{
    _cleanup_free_ struct probing *p = calloc(1, sizeof *p);
    _cleanup_free_ struct probe_result *results = calloc(PROBE_COUNT, sizeof *results);
    if (!p || !results)
        return err_set(err, ERR_INTERNAL, 0, "probe this host", NULL, "Out of memory.");
    p->results = results;
    if (!rt) {
        fail_all(p, open_err);
        memcpy(ret_results, results, PROBE_COUNT * sizeof *results);
        return 0;
    }
    p->rt = rt;
    p->facts = runtime_facts(rt);
    int r = probe_places_make(&p->places, p->facts, err);
    if (r == 0) {
        start_slow(p);
        do_main(p);
        do_tree(p);
        judge_cpu(p);
        judge_directory(p);
        judge_timeout(p);
        probe_close(&p->slow);
        if (lasting)
            probe_lasting(rt, &p->places, results);
        for (int id = PROBE_LASTING_FIRST; id < PROBE_COUNT && !lasting; id++)
            fails(p, (enum probe_id)id, "Ask `berth capabilities`.", "It was not probed yet.");
    }
    probe_places_remove(&p->places);
    if (r < 0)
        return r;
    memcpy(ret_results, results, PROBE_COUNT * sizeof *results);
    return 0;
}
