/* This file moves the process of an ordinary user into a user namespace of its own, with as many
 * ids as the host grants; it never runs a program by PATH and never fails for lack of ids. Runs as
 * the user, single-threaded.
 *
 * newuidmap and newgidmap must be run from outside the new namespace (inside, their setuid bit
 * means nothing), so a child that is forked before and stays outside runs them, both at once.
 * What they refuse costs the range, not the start: then the user's own id is mapped, alone. What
 * fails on berth's own side stops the start: a range that is lost once would be missed in silence.
 */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/userns_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TOOL_UID, TOOL_GID, TOOL_COUNT, TEXT_FILE_MAX = 4 << 20, SAID_MAX = 160 };

static const struct {
    const char *program, *alternative, *ranges, *map;
} tools[TOOL_COUNT] = {
    [TOOL_UID] = {"/usr/bin/newuidmap", "/bin/newuidmap", "/etc/subuid", "uid_map"},
    [TOOL_GID] = {"/usr/bin/newgidmap", "/bin/newgidmap", "/etc/subgid", "gid_map"},
};

struct plan {
    pid_t target;
    uint32_t own[TOOL_COUNT]; /* the caller's ids: 0 inside */
    const char *program[TOOL_COUNT];
    struct userns_extent extents[TOOL_COUNT][USERNS_EXTENTS_MAX - 1];
    unsigned counts[TOOL_COUNT];
    char name[256];
};

enum { NOT_PREPARED = 126, NOT_EXECUTED = 127 };

/* What the outside child answers. */
struct answer {
    int sys;               /* errno of a step of its own that failed, 0 */
    int ended[TOOL_COUNT]; /* 0: that map is written */
    char said[SAID_MAX];   /* stderr of the first that failed */
};

/* One outcome beside 0 and -errno: this host gives this user no full range, and the reason is set.
 */
enum { PLAN_SINGLE = 1 };

static bool is_not_there(int sys)
{
    return sys == ENOENT || sys == ENOTDIR || sys == EACCES;
}

static int find_program(int tool, const char **ret)
{
    const char *const places[] = {tools[tool].program, tools[tool].alternative};
    for (unsigned i = 0; i < 2; i++) {
        if (access(places[i], X_OK) == 0) {
            *ret = places[i];
            return 0;
        }
        if (!is_not_there(errno))
            return -errno;
    }
    return PLAN_SINGLE;
}

/* An empty text for a file that is not there. */
static int read_text(const char *path, char **ret)
{
    size_t length;
    int r = io_read_file(AT_FDCWD, path, TEXT_FILE_MAX, ret, &length);
    if (r < 0 && is_not_there(-r))
        r = (*ret = strdup("")) ? 0 : -ENOMEM;
    return r;
}

static int read_ranges(struct plan *plan, int tool)
{
    _cleanup_free_ char *text = NULL;
    int r = read_text(tools[tool].ranges, &text);
    if (r == 0)
        plan->counts[tool] = userns_subid_parse(text, plan->name, plan->own[TOOL_UID],
                                                plan->extents[tool], USERNS_EXTENTS_MAX - 1);
    return r;
}

static int plan_tool(struct plan *plan, int tool, char *ret_reason, size_t size, struct err *err)
{
    int r = find_program(tool, &plan->program[tool]);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "look for", tools[tool].program, NULL);
    if (r == PLAN_SINGLE) {
        snprintf(ret_reason, size, "%s is not installed: apt-get install uidmap",
                 tools[tool].program);
        return r;
    }
    r = read_ranges(plan, tool);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "read subordinate ids", tools[tool].ranges, NULL);
    uint32_t sum = userns_extents_sum(plan->extents[tool], plan->counts[tool]);
    if (sum == USERNS_OUTER_COUNT - 1)
        return 0;
    char who[96];
    snprintf(who, sizeof who, plan->name[0] ? "%.80s" : "%.0s%u", plan->name, plan->own[TOOL_UID]);
    snprintf(ret_reason, size,
             "%s grants %u of the %d ids needed: usermod --add-sub%s 100000-165535 %s (a range "
             "that nobody has)",
             tools[tool].ranges, sum, USERNS_OUTER_COUNT - 1, tool == TOOL_UID ? "uids" : "gids",
             who);
    return PLAN_SINGLE;
}

static int make_plan(struct plan *plan, char *ret_reason, size_t size, struct err *err)
{
    _cleanup_free_ char *passwd = NULL;
    int r = read_text("/etc/passwd", &passwd);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "look for your login name", "/etc/passwd", NULL);
    if (!userns_name_of(passwd, plan->own[TOOL_UID], plan->name, sizeof plan->name))
        plan->name[0] = 0;
    for (int tool = 0; r == 0 && tool < TOOL_COUNT; tool++)
        r = plan_tool(plan, tool, ret_reason, size, err);
    return r;
}

/* "newuidmap PID  0 own 1  1 start count ..." */
static void exec_tool(const struct plan *plan, int tool, int said)
{
    char numbers[1 + 3 * USERNS_EXTENTS_MAX][16];
    const char *argv[2 + 3 * USERNS_EXTENTS_MAX + 1];
    const char *envp[] = {"LC_ALL=C", "PATH=/usr/bin:/bin", NULL};
    unsigned n = 0;
    snprintf(numbers[n++], sizeof numbers[0], "%d", plan->target);
    struct userns_extent self = {0, plan->own[tool], 1};
    for (unsigned i = 0; i <= plan->counts[tool]; i++) {
        const struct userns_extent *e = i == 0 ? &self : &plan->extents[tool][i - 1];
        snprintf(numbers[n++], sizeof numbers[0], "%u", e->inside);
        snprintf(numbers[n++], sizeof numbers[0], "%u", e->outside);
        snprintf(numbers[n++], sizeof numbers[0], "%u", e->count);
    }
    argv[0] = plan->program[tool];
    for (unsigned i = 0; i < n; i++)
        argv[i + 1] = numbers[i];
    argv[n + 1] = NULL;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(said, 2) < 0)
        _exit(NOT_PREPARED);
    execve(plan->program[tool], (char **)argv, (char **)envp);
    _exit(NOT_EXECUTED);
}

static int end_of(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* In the outside child: both tools at once, then their answers. */
static void run_tools(const struct plan *plan, struct answer *answer)
{
    pid_t child[TOOL_COUNT];
    int said[TOOL_COUNT][2];
    for (int tool = 0; tool < TOOL_COUNT; tool++) {
        child[tool] = pipe2(said[tool], O_CLOEXEC) < 0 ? -1 : fork();
        if (child[tool] == 0)
            exec_tool(plan, tool, said[tool][1]);
        if (child[tool] < 0)
            answer->sys = errno;
        answer->ended[tool] = -1;
        if (child[tool] > 0)
            fd_replace(&said[tool][1], -1);
    }
    for (int tool = 0; tool < TOOL_COUNT; tool++) {
        if (child[tool] <= 0)
            continue;
        char text[SAID_MAX];
        ssize_t n = io_read_full(said[tool][0], text, sizeof text - 1);
        text[n > 0 ? n : 0] = 0;
        answer->ended[tool] = end_of(child[tool]);
        if (answer->ended[tool] < 0 || answer->ended[tool] == NOT_PREPARED)
            answer->sys = ECHILD;
        if (answer->ended[tool] == 0 || answer->said[0])
            continue;
        text[strcspn(text, "\n")] = 0;
        snprintf(answer->said, sizeof answer->said, "%s", text);
    }
}

static void outside_child(const struct plan *plan, int sock)
{
    struct answer answer = {0};
    char byte;
    /* Where the caller ignores it, children could not be waited for. */
    struct sigaction usual = {.sa_handler = SIG_DFL};
    sigaction(SIGCHLD, &usual, NULL);
    if (io_read_full(sock, &byte, 1) != 1)
        _exit(0); /* the caller could not enter its namespace, or is dead */
    run_tools(plan, &answer);
    _exit(io_write_full(sock, &answer, sizeof answer) < 0);
}

/* 0, with what the tools did; -errno when the child could not be asked. */
static int ask_outside(int sock, struct answer *ret)
{
    if (send(sock, "g", 1, MSG_NOSIGNAL) != 1)
        return -errno;
    ssize_t n = io_read_full(sock, ret, sizeof *ret);
    if (n < 0)
        return (int)n;
    if (n != (ssize_t)sizeof *ret)
        return -EPIPE;
    return -ret->sys;
}

/* A map of one line, one's own id, needs nobody's help: but setgroups must be given up first. */
static int map_own_id(int tool, uint32_t id, struct err *err)
{
    char text[48];
    if (tool == TOOL_GID) {
        int r = io_write_at(AT_FDCWD, "/proc/self/setgroups", "deny");
        if (r < 0)
            return err_set(err, ERR_CAPABILITY_UNAVAILABLE, -r, "give up setgroups",
                           "/proc/self/setgroups", NULL);
    }
    snprintf(text, sizeof text, "0 %u 1\n", id);
    char path[48];
    snprintf(path, sizeof path, "/proc/self/%s", tools[tool].map);
    int r = io_write_at(AT_FDCWD, path, text);
    if (r == 0)
        return 0;
    char reason[256], remedy[384];
    userns_why(-r, reason, sizeof reason, remedy, sizeof remedy);
    return err_set(err, ERR_CAPABILITY_UNAVAILABLE, -r, "map your own id", path, "%s %s", reason,
                   remedy);
}

static int enter(struct plan *plan, bool full, int sock, struct userns_outer *outer,
                 struct err *err)
{
    if (unshare(CLONE_NEWUSER) < 0) {
        int keep = errno;
        char reason[256], remedy[384];
        userns_why(keep, reason, sizeof reason, remedy, sizeof remedy);
        return err_set(err, ERR_CAPABILITY_UNAVAILABLE, keep, "make a user namespace", NULL,
                       "%s %s", reason, remedy);
    }
    struct answer answer = {.ended = {-1, -1}};
    int asked = full ? ask_outside(sock, &answer) : 0;
    if (asked < 0)
        return err_set(err, ERR_UNAVAILABLE, -asked, "run newuidmap and newgidmap", NULL,
                       "berth could not start them. Try again; look for a shortage of memory or "
                       "processes (ulimit -u).");
    if (full && answer.ended[TOOL_UID] == 0 && answer.ended[TOOL_GID] == 0) {
        outer->count = USERNS_OUTER_COUNT;
        return 0;
    }
    if (full)
        snprintf(outer->reason, sizeof outer->reason, "%s failed: %s. Is it still setuid root?",
                 plan->program[answer.ended[TOOL_UID] ? TOOL_UID : TOOL_GID],
                 answer.said[0] ? answer.said : "it said nothing");
    outer->single_uid = true;
    outer->count = 1;
    int r = 0;
    for (int tool = 0; r == 0 && tool < TOOL_COUNT; tool++)
        if (answer.ended[tool] != 0)
            r = map_own_id(tool, plan->own[tool], err);
    return r;
}

int userns_enter_outer(struct userns_outer *ret, struct err *err)
{
    struct userns_outer outer = {0};
    struct plan plan = {.target = getpid(), .own = {geteuid(), getegid()}};
    int planned = make_plan(&plan, outer.reason, sizeof outer.reason, err);
    if (planned < 0)
        return planned;
    bool full = planned == 0;

    int pair[2] = {-1, -1};
    pid_t child = -1;
    if (full && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make a socket pair", NULL, NULL);
    _cleanup_fd_ int near = pair[0], far = pair[1];
    if (full) {
        child = fork();
        if (child < 0)
            return err_set(err, ERR_UNAVAILABLE, errno, "fork", NULL, NULL);
        if (child == 0) {
            fd_replace(&near, -1);
            outside_child(&plan, far);
        }
        fd_replace(&far, -1);
    }
    int r = enter(&plan, full, near, &outer, err);
    fd_replace(&near, -1);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    if (r < 0)
        return r;
    *ret = outer;
    return 0;
}

/* Ids that are mapped in the namespace that this process is in; 0: it cannot be read. */
static uint32_t count_own(void)
{
    _cleanup_free_ char *text = NULL;
    size_t length;
    uint32_t count = 0;
    if (io_read_file(AT_FDCWD, "/proc/self/uid_map", TEXT_FILE_MAX, &text, &length) < 0)
        return 0;
    unsigned inside, outside, ids;
    int used;
    for (const char *at = text; sscanf(at, " %u %u %u%n", &inside, &outside, &ids, &used) == 3;
         at += used)
        count += ids;
    return count;
}

int userns_join_outer(int userns, struct userns_outer *ret, struct err *err)
{
    struct userns_outer outer = {0};
    struct plan plan = {.target = getpid(), .own = {geteuid(), getegid()}};
    /* Why there are none, where there are none still. */
    int planned = make_plan(&plan, outer.reason, sizeof outer.reason, err);
    if (planned < 0)
        return planned;
    if (setns(userns, CLONE_NEWUSER) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "enter the user namespace of before", NULL,
                       NULL);
    outer.count = count_own();
    outer.single_uid = outer.count != USERNS_OUTER_COUNT;
    if (outer.single_uid && planned == 0)
        snprintf(outer.reason, sizeof outer.reason,
                 "Subordinate ids were not there when berth was started: start it again");
    *ret = outer;
    return 0;
}
