/* This file tests protected paths (WS-3) and the life of placeholders: made, shared, removed by the
 * last, left alone when touched, reaped after SIGKILL. Attack row 37. */
#define WORKSPACE_SUITE workspace_placeholder
#include "workspace_fixture.h"

static void spec_protected(struct spec *s, const struct place *p)
{
    spec_directory(s, p->work);
    spec_add_protect(s, ".bashrc", true);
    spec_add_protect(s, ".git/hooks", true);
    spec_add_protect(s, ".git/info", true);
    spec_add_protect(s, "file", true);
    spec_add_protect(s, "link/x", true);
    spec_add_protect(s, "none/x", true);
}

static void furnish(const struct place *p)
{
    make_directory(at(p->work, ".git"), ALICE);
    make_directory(at(p->work, ".git/info"), ALICE);
    write_file(at(p->work, "file"), ALICE);
    CHECK(symlink("/etc", at(p->work, "link")) == 0, "symlink");
}

static void each_kind(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    furnish(p);
    spec_protected(&s, p);
    mode_t mask = umask(077);
    must_open(&ws, &s, &o);
    CHECK(umask(mask) == 077, "the umask is back");
    static const struct {
        bool held, placeholder, directory;
    } want[] = {{1, 1, 0}, {1, 1, 0}, {1, 0, 1}, {1, 0, 0}, {0, 0, 0}, {0, 0, 0}};
    for (unsigned i = 0; i < ws.protect_count; i++)
        CHECK(ws.protect[i].held == want[i].held &&
                  ws.protect[i].placeholder == want[i].placeholder &&
                  ws.protect[i].directory == want[i].directory,
              "%s", ws.protect[i].path);
    struct stat st;
    CHECK(lstat(at(p->work, ".bashrc"), &st) == 0 && S_ISSOCK(st.st_mode) &&
              (st.st_mode & 07777) == 0444 && st.st_uid == ALICE && st.st_gid == ALICE,
          "a socket of the owner's: mode %o", st.st_mode);
    CHECK(st.st_nlink == 2, "and its two names are one inode");
    CHECK(open(at(p->work, ".bashrc"), O_RDONLY | O_CLOEXEC) < 0 && errno == ENXIO, "open fails");
    CHECK(strstr(told, "protect.not_held: link/x"), "told: %s", told);
    CHECK(strstr(told, "protect.missing_parent: none/x"), "told: %s", told);
    CHECK(!exists("/etc/x"), "the link was not followed");
    make_directory(at(p->work, "none"), ALICE);
    write_file(at(p->work, "none/x"), ALICE);
    must_close(&ws);
    CHECK(strstr(told, "protect.appeared: none/x"), "told: %s", told);
    CHECK(!exists(at(p->work, ".bashrc")) && !exists(at(p->work, ".git/hooks")), "gone");
    CHECK(exists(at(p->work, ".git/info")) && exists(at(p->work, "file")), "the user's own stay");
    CHECK(entries(p->share) == 3, "only the guard and two empty folders are left");
    CHECK(workspace_close(&ws, NULL, NULL, NULL) == 0, "closing twice");
}
IN_A_PLACE(each_protected_path_is_held_or_told_ws_3, each_kind)

static void explicit_link(const struct place *p)
{
    struct spec s;
    struct workspace_options o = options_of(p);
    furnish(p);
    spec_directory(&s, p->work);
    spec_add_protect(&s, ".bashrc", true);
    spec_add_protect(&s, "link", false);
    must_refuse(&s, &o, ERR_INVALID_REQUEST, "symbolic link");
    CHECK(!exists(at(p->work, ".bashrc")) && entries(p->share) == 3 &&
              entries(at(p->share, "shared")) == 0,
          "nothing is left");
}
IN_A_PLACE(a_symlink_asked_to_be_protected_is_refused_and_leaves_nothing, explicit_link)

static void shared(const struct place *p)
{
    struct spec s;
    struct workspace a, b;
    struct workspace_options o = options_of(p);
    furnish(p);
    spec_protected(&s, p);
    must_open(&a, &s, &o);
    must_open(&b, &s, &o);
    CHECK(b.protect[0].placeholder && b.protect[1].placeholder, "known as a placeholder");
    must_close(&a);
    CHECK(exists(at(p->work, ".bashrc")), "the second still needs it");
    must_close(&b);
    CHECK(!exists(at(p->work, ".bashrc")) && !exists(at(p->work, ".git/hooks")),
          "the last one out");
}
IN_A_PLACE(a_placeholder_goes_with_the_last_session_that_uses_it, shared)

/* As every editor saves: a new file, renamed over the name. */
static void replace_by_file(const struct place *p, const char *name)
{
    write_file(at(p->work, "new"), ALICE);
    CHECK(rename(at(p->work, "new"), at(p->work, name)) == 0, "rename");
}

static void touched(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    spec_directory(&s, p->work);
    static const char *const names[] = {"file", "directory", "filled", "socket",
                                        "gone", "chmoded",   "kept"};
    for (unsigned i = 0; i < 7; i++)
        spec_add_protect(&s, names[i], true);
    must_open(&ws, &s, &o);
    replace_by_file(p, "file");
    CHECK(unlink(at(p->work, "directory")) == 0 && unlink(at(p->work, "filled")) == 0, "unlink");
    make_directory(at(p->work, "directory"), ALICE);
    make_directory(at(p->work, "filled"), ALICE);
    write_file(at(p->work, "filled/x"), ALICE);
    CHECK(unlink(at(p->work, "socket")) == 0 &&
              mknod(at(p->work, "socket"), S_IFSOCK | 0444, 0) == 0 &&
              chown(at(p->work, "socket"), ALICE, ALICE) == 0,
          "a socket like ours");
    CHECK(unlink(at(p->work, "gone")) == 0, "unlink");
    CHECK(chmod(at(p->work, "chmoded"), 0600) == 0, "chmod");
    CHECK(link(at(p->work, "kept"), at(p->work, "mine")) == 0, "link");
    must_close(&ws);
    CHECK(told[0] == 0, "nothing is worth telling: %s", told);
    CHECK(exists(at(p->work, "file")) && exists(at(p->work, "directory")) &&
              exists(at(p->work, "filled/x")) && exists(at(p->work, "socket")) &&
              exists(at(p->work, "mine")),
          "what somebody else made is his");
    CHECK(!exists(at(p->work, "chmoded")) && !exists(at(p->work, "kept")),
          "ours is known by its inode, and gone");
    CHECK(entries(p->work) == 5 && entries(p->share) == 3, "nothing else is left");
}
IN_A_PLACE(what_the_host_put_at_a_name_is_left_alone, touched)

static void unwritable(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    make_directory(at(p->work, "mine"), ALICE);
    make_directory(at(p->work, "roots"), 0);
    CHECK(chmod(at(p->work, "mine"), 0555) == 0, "chmod");
    spec_directory(&s, p->work);
    spec_add_protect(&s, "mine/x", true);
    spec_add_protect(&s, "roots/x", true);
    must_open(&ws, &s, &o);
    struct stat st;
    CHECK(ws.protect[0].held && stat(at(p->work, "mine/x"), &st) == 0 && st.st_uid == ALICE,
          "the owner could make it writable, so it is held");
    CHECK(!ws.protect[1].held && !exists(at(p->work, "roots/x")), "nobody inside can make it");
    must_close(&ws);
    CHECK(!exists(at(p->work, "mine/x")), "gone");
}
IN_A_PLACE(a_directory_that_its_owner_made_unwritable_is_held_too, unwritable)

/* A process that opens and then waits to be killed. */
static pid_t holder(const struct place *p, const struct spec *s)
{
    int ready[2];
    CHECK(pipe2(ready, O_CLOEXEC) == 0, "pipe");
    pid_t pid = fork();
    CHECK(pid >= 0, "fork");
    if (pid == 0) {
        struct workspace ws;
        struct workspace_options o = options_of(p);
        must_open(&ws, s, &o);
        CHECK(write(ready[1], "x", 1) == 1, "write");
        for (;;)
            pause();
    }
    char c;
    close(ready[1]);
    CHECK(read(ready[0], &c, 1) == 1, "the holder opened it");
    close(ready[0]);
    return pid;
}

static unsigned reap(const struct place *p)
{
    unsigned count = 0;
    struct err err = {0};
    CHECK(workspace_reap(p->share, p->state, &count, &err) == 0, "%s %s", err.step, err.detail);
    return count;
}

static void killed(const struct place *p)
{
    struct spec s;
    furnish(p);
    spec_protected(&s, p);
    pid_t a = holder(p, &s), b = holder(p, &s);
    CHECK(kill(a, SIGKILL) == 0 && waitpid(a, NULL, 0) == a, "kill");
    CHECK(reap(p) == 1 && exists(at(p->work, ".bashrc")), "one lives and needs it");
    CHECK(kill(b, SIGKILL) == 0 && waitpid(b, NULL, 0) == b, "kill");
    CHECK(exists(at(p->work, ".bashrc")), "nobody cleaned up yet");
    CHECK(reap(p) == 2, "its use and the placeholders");
    CHECK(!exists(at(p->work, ".bashrc")) && !exists(at(p->work, ".git/hooks")), "gone");
    CHECK(entries(p->share) == 3 && entries(at(p->share, "shared")) == 0, "no record is left");
    CHECK(reap(p) == 0, "nothing to do");
}
IN_A_PLACE(after_sigkill_of_the_last_holder_the_reaper_removes_them, killed)

static void next_one(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    furnish(p);
    spec_protected(&s, p);
    pid_t a = holder(p, &s);
    CHECK(kill(a, SIGKILL) == 0 && waitpid(a, NULL, 0) == a, "kill");
    must_open(&ws, &s, &o);
    CHECK(ws.protect[0].placeholder, "taken over from the dead");
    must_close(&ws);
    CHECK(!exists(at(p->work, ".bashrc")) && reap(p) == 1,
          "gone; only the dead one's use was left");
}
IN_A_PLACE(the_next_session_takes_over_what_a_killed_one_left, next_one)

/* Killed anywhere in the middle: whatever instant it was, a reap leaves nothing. */
static void killed_anywhere(const struct place *p)
{
    struct spec s;
    furnish(p);
    spec_protected(&s, p);
    struct workspace first;
    struct workspace_options options = options_of(p);
    must_open(&first, &s, &options); /* makes the shared directory whole */
    must_close(&first);
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0, "fork");
        if (pid == 0) {
            for (;;) {
                struct workspace ws;
                struct workspace_options o = options_of(p);
                must_open(&ws, &s, &o);
                must_close(&ws);
            }
        }
        usleep((useconds_t)(1500 + i * 137));
        CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid, "kill");
        reap(p);
        CHECK(!exists(at(p->work, ".bashrc")) && !exists(at(p->work, ".git/hooks")), "round %d", i);
        CHECK(entries(p->share) == 3 && entries(at(p->share, "shared")) == 0, "round %d", i);
    }
}
IN_A_PLACE(sigkill_at_any_instant_leaves_what_a_reap_removes, killed_anywhere)

/* What stands in the record of the workspace's placeholders: another version's magic, or nothing
 * that makes sense. */
static void spoil(const struct place *p, bool other_version)
{
    struct stat st;
    char record[128];
    CHECK(stat(p->work, &st) == 0, "stat");
    snprintf(record, sizeof record, "%s/place-%lx-%lx", p->share, st.st_dev, st.st_ino);
    int fd = open(record, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const char *text = other_version ? "berthP1" : "x";
    CHECK(fd >= 0 && pwrite(fd, text, strlen(text) + 1, 0) > 0, "spoil");
    close(fd);
}

static void damaged(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    furnish(p);
    spec_protected(&s, p);
    for (unsigned other = 0; other < 2; other++) {
        pid_t a = holder(p, &s);
        spoil(p, other);
        must_refuse(&s, &o, ERR_UNAVAILABLE, "End it, or use another directory");
        CHECK(kill(a, SIGKILL) == 0 && waitpid(a, NULL, 0) == a, "kill");
        must_open(&ws, &s, &o); /* nobody holds it any more */
        CHECK(strstr(told, "protect.record_removed: "), "told: %s", told);
        CHECK(ws.protect[0].held, "held, as what it is: a socket that somebody left");
        must_close(&ws);
        CHECK(unlink(at(p->work, ".bashrc")) == 0 && unlink(at(p->work, ".git/hooks")) == 0,
              "left");
        reap(p);
        spoil(p, other);
        reap(p);
        CHECK(entries(p->share) == 3, "a reap removes one that nobody holds");
        must_open(&ws, &s, &o);
        CHECK(ws.protect[0].placeholder && told[0], "and the next session has its own");
        must_close(&ws);
        CHECK(!exists(at(p->work, ".bashrc")) && entries(p->share) == 3, "nothing is left");
    }
}
IN_A_PLACE(a_damaged_record_or_another_versions_blocks_only_while_it_is_held, damaged)

static void fifty(const struct place *p)
{
    struct spec s;
    furnish(p);
    spec_protected(&s, p);
    pid_t pids[50];
    for (int i = 0; i < 50; i++) {
        pids[i] = fork();
        CHECK(pids[i] >= 0, "fork");
        if (pids[i] != 0)
            continue;
        for (int k = 0; k < 10; k++) {
            struct workspace ws;
            struct workspace_options o = options_of(p);
            must_open(&ws, &s, &o);
            CHECK(ws.protect[0].held && ws.protect[1].held, "held");
            usleep((useconds_t)(rand() % 2000));
            CHECK(exists(at(p->work, ".bashrc")) && exists(at(p->work, ".git/hooks")),
                  "there while anybody holds it");
            must_close(&ws);
        }
        _exit(0);
    }
    for (int i = 0; i < 50; i++) {
        int status;
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0, "process %d: %x", i, status);
    }
    CHECK(!exists(at(p->work, ".bashrc")) && entries(p->share) == 3 &&
              entries(at(p->share, "shared")) == 0,
          "nothing is left");
}
IN_A_PLACE(fifty_processes_at_once_hold_it_always_and_leave_nothing, fifty)

static void forked_reaper(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    furnish(p);
    spec_protected(&s, p);
    int go[2];
    CHECK(pipe2(go, O_CLOEXEC) == 0, "pipe");
    pid_t run = fork();
    CHECK(run >= 0, "fork");
    if (run == 0) {
        must_open(&ws, &s, &o);
        pid_t opener = getpid(), reaper = fork();
        if (reaper == 0) { /* waits for the other to be gone, then closes its copy */
            while (getppid() == opener)
                usleep(1000);
            _exit(workspace_close(&ws, NULL, NULL, NULL) == 0 ? 0 : 1);
        }
        CHECK(write(go[1], &reaper, sizeof reaper) == (ssize_t)sizeof reaper, "write");
        raise(SIGKILL);
    }
    run = waitpid(run, NULL, 0);
    pid_t reaper;
    CHECK(read(go[0], &reaper, sizeof reaper) == (ssize_t)sizeof reaper, "read");
    for (int i = 0; i < 2000 && exists(at(p->work, ".bashrc")); i++)
        usleep(1000);
    CHECK(!exists(at(p->work, ".bashrc")), "the forked copy cleaned up");
    for (int i = 0; i < 2000 && entries(at(p->share, "shared")); i++)
        usleep(1000);
    CHECK(entries(at(p->share, "shared")) == 0, "its use is gone too");
}
IN_A_PLACE(a_reaper_forked_after_open_can_close_for_its_dead_parent, forked_reaper)

static void git_says(const struct place *p, const char *command)
{
    char line[512];
    snprintf(line, sizeof line, "cd %s && test -z \"$(git -c safe.directory='*' %s)\"", p->work,
             command);
    int status = system(line); /* NOLINT(cert-env33-c): a fixed command of the test's own */
    CHECK(status == 0, "%s: status %x", line, status);
}

static void git(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    git_says(p, "init -q");
    spec_directory(&s, p->work);
    spec_add_protect(&s, ".envrc", true);
    spec_add_protect(&s, ".vscode", true);
    must_open(&ws, &s, &o);
    CHECK(ws.protect[0].placeholder && ws.protect[1].placeholder, "held");
    git_says(p, "status --porcelain --ignored");
    git_says(p, "add -A --verbose");
    git_says(p, "clean -fdx");
    CHECK(exists(at(p->work, ".envrc")) && exists(at(p->work, ".vscode")), "git left them alone");
    must_close(&ws);
}
IN_A_PLACE(git_neither_lists_nor_adds_nor_cleans_a_placeholder, git)
