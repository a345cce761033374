/* This file tests placeholders between any two system calls: the process that makes or removes them
 * is stopped at each one in turn, and there it is killed, or a program of the host does something
 * to a name. It also tests filesystems that lack what links need. WS-3.
 */
#define WORKSPACE_SUITE workspace_placeholder_steps
#include "workspace_fixture.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

enum act { KILL, REPLACE, ADD, REMOVE };

struct step {
    unsigned at; /* the number of the stop, from 1; each system call has two */
    enum act act;
};

struct outcome {
    bool reached; /* every step was */
    bool killed;
    bool file[2]; /* the file that step 0 or 1 put there must still be somewhere */
};

static const char *const name = ".bashrc";

static void spec_small(struct spec *s, const struct place *p)
{
    spec_directory(s, p->work);
    spec_add_protect(s, name, true);
    spec_add_protect(s, "sub/.envrc", true);
    spec_add_protect(s, ".profile", true);
}

static void furnish(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    make_directory(at(p->work, "sub"), ALICE);
    spec_small(&s, p);
    must_open(&ws, &s, &o); /* makes the shared directory whole */
    must_close(&ws);
}

/* The files that the host puts there have one byte, '0' or '1'. */
static void put(const struct place *p, unsigned i, bool replace, struct outcome *out)
{
    char file[128], target[128];
    snprintf(file, sizeof file, "%s/new", p->top);
    snprintf(target, sizeof target, "%s/%s", p->work, name);
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    char content = (char)('0' + i);
    CHECK(fd >= 0 && write(fd, &content, 1) == 1, "%s", file);
    close(fd);
    if (replace) {
        struct stat st;
        /* A replaced file is the host's own doing. */
        if (lstat(target, &st) == 0 && S_ISREG(st.st_mode))
            out->file[0] = false;
        CHECK(rename(file, target) == 0, "rename");
        out->file[i] = true;
        return;
    }
    if (link(file, target) == 0)
        out->file[i] = true;
    else
        CHECK(errno == EEXIST, "link");
    CHECK(unlink(file) == 0, "unlink");
}

static void act(const struct place *p, const struct step *step, unsigned i, pid_t pid,
                struct outcome *out)
{
    switch (step->act) {
    case KILL:
        CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid, "kill");
        out->killed = true;
        return;
    case REPLACE:
    case ADD:
        put(p, i, step->act == REPLACE, out);
        return;
    case REMOVE:
        unlink(at(p->work, name));
        return;
    }
}

static void victim(const struct place *p, bool stop_in_close)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    spec_small(&s, p);
    CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0, "traceme");
    if (!stop_in_close)
        raise(SIGSTOP);
    must_open(&ws, &s, &o);
    if (stop_in_close)
        raise(SIGSTOP);
    must_close(&ws);
    _exit(0);
}

/* One life of a session with the steps taken on the way. */
static struct outcome drive(const struct place *p, bool in_close, const struct step *steps,
                            unsigned count)
{
    struct outcome out = {0};
    pid_t pid = fork();
    int status;
    CHECK(pid >= 0, "fork");
    if (pid == 0)
        victim(p, in_close);
    CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP,
          "status %x", status);
    CHECK(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) == 0,
          "options");
    for (unsigned stop = 0, next = 0; !out.killed;) {
        CHECK(ptrace(next < count ? PTRACE_SYSCALL : PTRACE_CONT, pid, NULL, NULL) == 0, "go on");
        CHECK(waitpid(pid, &status, 0) == pid, "wait");
        if (WIFEXITED(status)) {
            CHECK(WEXITSTATUS(status) == 0, "it failed: %d", WEXITSTATUS(status));
            break;
        }
        CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80), "status %x", status);
        stop++;
        if (next < count && stop == steps[next].at) {
            act(p, &steps[next], next, pid, &out);
            out.reached = ++next == count;
        }
    }
    return out;
}

static bool is_there(const char *dir, const char *entry, char content)
{
    char c = 0;
    int fd = open(at(dir, entry), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    bool found = fd >= 0 && read(fd, &c, 1) == 1 && c == content;
    if (fd >= 0)
        close(fd);
    return found;
}

/* Anywhere at the top of the workspace, and there once. Removed, for the next round. */
static unsigned take_file(const struct place *p, char content)
{
    DIR *d = opendir(p->work);
    unsigned found = 0;
    CHECK(d != NULL, "opendir");
    for (const struct dirent *e; (e = readdir(d));)
        if (e->d_type == DT_REG && is_there(p->work, e->d_name, content)) {
            found++;
            CHECK(unlink(at(p->work, e->d_name)) == 0, "unlink");
        }
    closedir(d);
    return found;
}

static void settle(const struct place *p, const struct outcome *out, const char *what, unsigned at1,
                   unsigned at2)
{
    struct err err = {0};
    unsigned count;
    if (out->killed)
        CHECK(workspace_reap(p->share, p->state, &count, &err) == 0, "%s %s", err.step, err.detail);
    for (unsigned i = 0; i < 2; i++)
        CHECK(!out->file[i] || take_file(p, (char)('0' + i)) == 1, "%s, stops %u and %u: file %u",
              what, at1, at2, i);
    take_file(p, '0');
    CHECK(entries(p->work) == 1 && entries(at(p->work, "sub")) == 0,
          "%s, stops %u and %u: %u entries are left", what, at1, at2, entries(p->work));
    CHECK(entries(p->share) == 3 && entries(at(p->share, "shared")) == 0, "%s, stops %u and %u",
          what, at1, at2);
}

/* `first` at every stop; when `second` is given, that at each of the next ones. */
static unsigned everywhere(const struct place *p, const char *what, bool in_close, enum act first,
                           const enum act *second)
{
    unsigned rounds = 0;
    for (unsigned at1 = 1;; at1++) {
        for (unsigned gap = 1; gap <= (second ? 6 : 1); gap++, rounds++) {
            struct step steps[2] = {{at1, first}, {at1 + gap, second ? *second : KILL}};
            struct outcome out = drive(p, in_close, steps, second ? 2 : 1);
            settle(p, &out, what, at1, second ? at1 + gap : 0);
            if (!out.reached && gap == 1)
                return rounds;
        }
    }
}

static void kills(const struct place *p)
{
    furnish(p);
    CHECK(everywhere(p, "killed in open", false, KILL, NULL) > 150, "few stops");
    CHECK(everywhere(p, "killed in close", true, KILL, NULL) > 50, "few stops");
}
IN_A_PLACE(killed_at_any_system_call_a_reap_leaves_nothing, kills)

static void replaced(const struct place *p)
{
    furnish(p);
    CHECK(everywhere(p, "replaced in open", false, REPLACE, NULL) > 150, "few stops");
    CHECK(everywhere(p, "replaced in close", true, REPLACE, NULL) > 50, "few stops");
}
IN_A_PLACE(a_file_renamed_over_a_name_at_any_system_call_stays, replaced)

static void added(const struct place *p)
{
    furnish(p);
    CHECK(everywhere(p, "added in open", false, ADD, NULL) > 150, "few stops");
    CHECK(everywhere(p, "removed in open", false, REMOVE, NULL) > 150, "few stops");
    CHECK(everywhere(p, "removed in close", true, REMOVE, NULL) > 50, "few stops");
}
IN_A_PLACE(a_file_made_or_removed_at_any_system_call_is_the_hosts, added)

static void twice(const struct place *p)
{
    static const enum act second[] = {ADD, REPLACE, KILL};
    furnish(p);
    for (unsigned i = 0; i < 3; i++)
        CHECK(everywhere(p, "replaced, then", true, REPLACE, &second[i]) > 100, "few stops");
}
IN_A_PLACE(two_changes_or_a_change_and_a_kill_lose_no_file, twice)

/* ---- filesystems without --------------------------------------------------------------------- */

/* From here on the system call `number` fails with `error`, as it does where the filesystem has no
 * such operation. */
static void without(long number, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "seccomp");
}

static void fall_back(const struct place *p)
{
    static const struct {
        long number;
        int error;
        unsigned directories; /* of three names */
    } cases[] = {{SYS_mknodat, EPERM, 3},
                 {SYS_mknodat, EOPNOTSUPP, 3},
                 {SYS_linkat, EPERM, 2},
                 {SYS_linkat, EMLINK, 2},
                 {SYS_renameat2, EINVAL, 3}};
    furnish(p);
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0, "fork");
        if (pid == 0) {
            struct spec s;
            struct workspace a, b;
            struct workspace_options o = options_of(p);
            spec_small(&s, p);
            without(cases[i].number, cases[i].error);
            must_open(&a, &s, &o);
            must_open(&b, &s, &o);
            unsigned directories = 0;
            for (unsigned k = 0; k < 3; k++) {
                struct stat st;
                CHECK(a.protect[k].held && a.protect[k].placeholder && b.protect[k].placeholder,
                      "%s is held", a.protect[k].path);
                CHECK(lstat(at(p->work, a.protect[k].path), &st) == 0 && st.st_uid == ALICE,
                      "the owner's");
                CHECK(a.protect[k].directory == S_ISDIR(st.st_mode) &&
                          b.protect[k].directory == S_ISDIR(st.st_mode),
                      "its kind is told");
                directories += S_ISDIR(st.st_mode);
            }
            CHECK(directories == cases[i].directories, "case %u: %u directories", i, directories);
            CHECK(entries(p->work) == 3 && entries(at(p->work, "sub")) == 1, "and nothing else");
            must_close(&a);
            CHECK(entries(at(p->work, "sub")) == 1, "held by the other one");
            must_close(&b);
            _exit(0);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && status == 0, "case %u: status %x", i, status);
        CHECK(entries(p->work) == 1 && entries(at(p->work, "sub")) == 0 && entries(p->share) == 3,
              "case %u leaves nothing", i);
    }
}
IN_A_PLACE(where_links_cannot_be_made_directories_hold_the_names, fall_back)

/* The directory placeholders' own life, at every system call. */
static void kills_without_links(const struct place *p)
{
    furnish(p);
    without(SYS_mknodat, EPERM);
    CHECK(everywhere(p, "killed in open", false, KILL, NULL) > 150, "few stops");
    CHECK(everywhere(p, "killed in close", true, KILL, NULL) > 50, "few stops");
    CHECK(everywhere(p, "replaced in close", true, ADD, NULL) > 50, "few stops");
}
IN_A_PLACE(directories_are_removed_after_a_kill_at_any_system_call, kills_without_links)

/* ---- one inode --------------------------------------------------------------------------------
 */

static ino_t inode_of(const struct place *p, const char *path)
{
    struct stat st;
    CHECK(lstat(at(p->work, path), &st) == 0, "%s", path);
    return st.st_ino;
}

static void second_session(const struct place *p)
{
    struct spec s, more;
    struct workspace a, b, c;
    struct workspace_options o = options_of(p);
    furnish(p);
    spec_small(&s, p);
    spec_small(&more, p);
    spec_add_protect(&more, ".zshrc", true);
    must_open(&a, &s, &o);
    must_open(&b, &more, &o);
    CHECK(inode_of(p, ".zshrc") == inode_of(p, ".profile"), "one inode for both sessions");
    must_close(&a);
    CHECK(exists(at(p->work, ".profile")) && exists(at(p->work, "sub/.envrc")), "still held");
    /* The host takes every name away; the next session makes another inode. */
    CHECK(unlink(at(p->work, ".profile")) == 0 && unlink(at(p->work, ".zshrc")) == 0 &&
              unlink(at(p->work, name)) == 0 && unlink(at(p->work, "sub/.envrc")) == 0,
          "unlink");
    must_open(&c, &more, &o);
    CHECK(c.protect[0].placeholder && inode_of(p, ".zshrc") == inode_of(p, name), "made again");
    must_close(&b);
    CHECK(exists(at(p->work, name)), "the third one needs it");
    must_close(&c);
    CHECK(entries(p->work) == 1 && entries(at(p->work, "sub")) == 0 && entries(p->share) == 3,
          "nothing is left");
}
IN_A_PLACE(a_second_session_links_to_the_firsts_inode, second_session)

/* ---- not a host's socket ----------------------------------------------------------------------
 */

static void not_masked(const struct place *p)
{
    struct spec s, above;
    struct workspace a, b, c;
    struct workspace_options o = options_of(p);
    furnish(p);
    spec_small(&s, p);
    spec_directory(&above, p->work); /* protects nothing itself */
    must_open(&a, &s, &o);
    CHECK(mknod(at(p->work, "sub/like"), S_IFSOCK | 0444, 0) == 0, "a stale socket of somebody");
    must_open(&b, &s, &o);
    CHECK(b.socket_count == 1 && strcmp(b.sockets[0].path, "sub/like") == 0, "%u masked",
          b.socket_count);
    must_open(&c, &above, &o);
    CHECK(c.socket_count == 1 && !strstr(told, name), "told: %s", told);
    must_close(&c);
    must_close(&b);
    must_close(&a);
    CHECK(unlink(at(p->work, "sub/like")) == 0 && entries(p->work) == 1 && entries(p->share) == 3,
          "nothing is left");
}
IN_A_PLACE(another_sessions_placeholders_are_not_masked_as_sockets, not_masked)

/* The range for uses, which every session takes for a moment. */
static bool guard_is_held(const struct place *p)
{
    int guard = open(at(p->share, "guard"), O_RDWR | O_CLOEXEC);
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    CHECK(guard >= 0 && fcntl(guard, F_OFD_GETLK, &range) == 0, "guard");
    close(guard);
    return range.l_type != F_UNLCK;
}

/* A session that starts at any instant of another's life: never a socket to mask, which would be
 * gone when the stage looks for it. */
static void looks_all_the_time(const struct place *p)
{
    furnish(p);
    for (unsigned at1 = 1;; at1++) {
        for (unsigned in_close = 0; in_close < 2; in_close++) {
            pid_t pid = fork();
            int status;
            CHECK(pid >= 0, "fork");
            if (pid == 0)
                victim(p, in_close);
            CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), "status %x", status);
            CHECK(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) ==
                      0,
                  "options");
            for (unsigned stop = 0; stop < at1 && WIFSTOPPED(status); stop++)
                CHECK(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0 &&
                          waitpid(pid, &status, 0) == pid,
                      "go on");
            if (WIFEXITED(status) && !in_close) {
                CHECK(at1 > 150, "few stops");
                return;
            }
            if (WIFEXITED(status))
                continue;
            struct spec s;
            struct workspace ws;
            struct workspace_options o = options_of(p);
            spec_directory(&s, p->work); /* waits for no guard that the stopped one has */
            if (!guard_is_held(p)) {
                must_open(&ws, &s, &o);
                CHECK(ws.socket_count == 0, "stop %u: %s is masked", at1, ws.sockets[0].path);
                must_close(&ws);
            }
            CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid &&
                      status == 0,
                  "status %x", status);
        }
    }
}
IN_A_PLACE(a_session_that_starts_at_any_system_call_of_another_masks_nothing, looks_all_the_time)
