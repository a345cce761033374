/* This file tests file operations on the workspace of a session that does not run: nothing outside
 * of it is reached, whatever its owner and others do to it meanwhile. Needs root; the rootless test
 * is an ordinary user in a user namespace of his own.
 *
 * This file is long because paths, rights and uses of one workspace are tested with one scene.
 */
#include "tests/kernel/files_fixture.h"
#include "tests/slower.h"

#include "runtime/host/files_parked.h"
#include "runtime/host/lasting.h"
#include "runtime/host/record.h"
#include "runtime/host/runtime_internal.h"

#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define WORKSPACE_SUITE files_parked

static struct runtime rt;
static struct spec spec;
static uint32_t asker = ALICE;
static bool archived;
static struct session_name own_name = {.instance = "f", .row = 1, .incarnation = 1};

static char *work(const char *name)
{
    return at(here->work, name);
}

static void begin(const struct place *p)
{
    here = p;
    rt.facts.caller_uid = rt.facts.caller_gid = 0;
    snprintf(rt.state_dir, sizeof rt.state_dir, "%s", p->state);
    snprintf(rt.share_dir, sizeof rt.share_dir, "%s", p->share);
    snprintf(rt.runtime_dir, sizeof rt.runtime_dir, "%s/run", p->top);
    spec_directory(&spec, p->work);
}

static const uint32_t *groups;
static uint32_t group_count;

static int ask_parked(void *data, int in, int out, int answer, struct err *err)
{
    (void)data;
    int pipe = files_operation_has_in(asked.operation)    ? in
               : files_operation_has_out(asked.operation) ? out
                                                          : -1;
    return files_parked(&rt, &spec, asker, asker, groups, group_count, &asked, answer, pipe,
                        archived, &own_name, err);
}

static void run_asked(const char *bytes)
{
    through_pipes(ask_parked, NULL, bytes, bytes ? strlen(bytes) : 0);
}

static void run(enum files_operation operation, const char *path)
{
    ask(operation, path);
    run_asked(NULL);
}

static void run_write(const char *path, const char *text)
{
    ask(FILES_WRITE, path);
    run_asked(text);
}

static uid_t owner_of(const char *path)
{
    struct stat st;
    CHECK(lstat(path, &st) == 0, "%s", path);
    return st.st_uid;
}

static void directory(const struct place *p)
{
    begin(p);
    run_write("/workspace/a/b", "text");
    must_do("write");
    CHECK(text_is(work("a/b"), "text") && owner_of(work("a/b")) == ALICE &&
              owner_of(work("a")) == ALICE && mode_of(work("a")) == 0755,
          "it is the owner's");
    CHECK(got.result.stat.uid == 1000 && got.result.stat.gid == 1000, "the session's user inside");
    run(FILES_READ, "/workspace/a/../a/./b");
    must_do("read");
    CHECK(strcmp(got.out, "text") == 0, "%s", got.out);
    run(FILES_LIST, "/workspace");
    must_do("list");
    CHECK(strcmp(entries_text(false), "a 2\n") == 0, "%s", entries_text(false));
    write_file(work("roots"), 0);
    run(FILES_STAT, "/workspace/roots");
    must_do("stat");
    CHECK(got.result.stat.uid == 65534, "another's is nobody's: %u", got.result.stat.uid);
    run_write("/workspace/roots", "x");
    must_fail(ERR_FORBIDDEN, "another's file");
    ask(FILES_REMOVE, "/workspace/a");
    asked.recursive = 1;
    run_asked(NULL);
    must_do("remove");
    CHECK(!exists(work("a")), "gone");
    CHECK(geteuid() == 0 && access("/root", R_OK) == 0, "and root is root again");
}
IN_A_PLACE(a_directory_is_worked_on_with_the_owners_rights, directory)

static void outside(const struct place *p)
{
    begin(p);
    static const char *const outside[] = {
        "/",
        "/etc/passwd",
        "/work",
        "/workspac",
        "/workspaces",
        "/workspace/..",
        "/workspace/../etc",
        "/proc/self",
        "/workspace/../../etc/passwd",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(outside); i++) {
        run(FILES_STAT, outside[i]);
        must_fail(ERR_NOT_FOUND, outside[i]);
    }
    run(FILES_STAT, "/workspace/../workspace/../../workspace");
    must_do("up and back");
    strcpy(spec.workspace.mount_path, "/a/b");
    run(FILES_STAT, "/a/../a/b/../b");
    must_do("up and back, two deep");
    run(FILES_STAT, "/a");
    must_fail(ERR_NOT_FOUND, "half the way");
    run_write("/a/x", "x");
    must_fail(ERR_NOT_FOUND, "beside the workspace");
    run(FILES_MKDIR, "/x/y");
    must_fail(ERR_NOT_FOUND, "beside the workspace");
    strcpy(spec.workspace.mount_path, "/");
    run(FILES_MKDIR, "/x/../../y");
    must_do("the workspace is the root");
    CHECK(exists(work("y")) && exists(work("x")), "beneath it");
}
IN_A_PLACE(FS_1_what_is_outside_the_workspace_is_not_there, outside)

static void links(const struct place *p)
{
    begin(p);
    char *secret = strdup(at(p->top, "secret"));
    put_text(secret, "HOST");
    chmod(secret, 0666);
    CHECK(mkdir(work("d"), 0755) == 0 && chown(work("d"), ALICE, ALICE) == 0, "d");
    put_text(work("d/f"), "inside");
    static const struct {
        const char *name, *to;
        bool inside;
    } all[] = {
        {"absolute", "/workspace/d/f", true},
        {"up", "../workspace/d/f", true},
        {"chain", "absolute", true},
        {"dir", "/workspace/d/", true},
        {"etc", "/etc/passwd", false},
        {"climb", "../secret", false},
        {"far", "../../../../../../../../etc/passwd", false},
        {"proc", "/proc/self/root/etc/passwd", false},
        {"loop", "loop", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        CHECK(symlink(all[i].to, work(all[i].name)) == 0, "%s", all[i].name);
        run(FILES_STAT, at("/workspace", all[i].name));
        if (all[i].inside) {
            must_do(all[i].name);
            continue;
        }
        CHECK(got.result.result < 0, "%s was found", all[i].name);
        run(FILES_READ, at("/workspace", all[i].name));
        CHECK(got.result.result < 0 && got.length == 0, "%s was read", all[i].name);
        run_write(at("/workspace", all[i].name), "evil");
        CHECK(got.result.result < 0, "%s was written", all[i].name);
        ask(FILES_CHMOD, at("/workspace", all[i].name));
        asked.mode = 0;
        run_asked(NULL);
        CHECK(got.result.result < 0, "%s was changed", all[i].name);
    }
    run(FILES_READ, "/workspace/dir/f");
    must_do("through a link to a directory");
    CHECK(text_is(secret, "HOST") && mode_of(secret) == 0666, "untouched");
    ask(FILES_MOVE, "/workspace/d/f");
    strcpy(asked.path2, "/secret");
    run_asked(NULL);
    must_fail(ERR_NOT_FOUND, "a move out");
    CHECK(text_is(work("d/f"), "inside"), "untouched");
}
IN_A_PLACE(FS_1_links_lead_where_they_would_lead_inside, links)

/* ---- the storm ---------------------------------------------------------------------------------
 */

/* The owner changes what the workers walk on as fast as he can: directories become links and come
 * back, and are moved out of the workspace and in again. */
static void storm(void)
{
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "end with the test");
    become(ALICE);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of ids clears it */
    char *d = strdup(work("d")), *l = strdup(work("l")), *e = strdup(work("d/e")),
         *moved = strdup(at(here->top, "open/e")), *fifo = strdup(work("d/g")),
         *other = strdup(work("d/f"));
    for (;;) {
        syscall(SYS_renameat2, AT_FDCWD, d, AT_FDCWD, l, RENAME_EXCHANGE);
        syscall(SYS_renameat2, AT_FDCWD, d, AT_FDCWD, l, RENAME_EXCHANGE);
        rename(e, moved);
        rename(moved, e);
        syscall(SYS_renameat2, AT_FDCWD, fifo, AT_FDCWD, other, RENAME_EXCHANGE);
    }
}

static void one_of_the_storm(unsigned i)
{
    static const char *const paths[] = {
        "/workspace/d/f",
        "/workspace/d/e/../f",
        "/workspace/l/f",
        "/workspace/d/e/e2/../../f",
        "/workspace/d/e/e2/../../../outsider",
        "/workspace/d/../d/f",
    };
    const char *path = paths[i / 8 % ARRAY_LENGTH(paths)];
    switch (i % 8) {
    case 0:
    case 1:
    case 2:
        run(FILES_READ, path);
        break;
    case 3:
        run_write(i / 8 % ARRAY_LENGTH(paths) == 4 ? paths[0] : path, "inside");
        break;
    case 4:
        run_write("/workspace/d/e/e2/new", "inside");
        break;
    case 5:
        ask(FILES_LIST, "/workspace");
        asked.depth = 4;
        run_asked(NULL);
        CHECK(!strstr(entries_text(false), "outsider"), "%s", entries_text(false));
        break;
    case 6:
        ask(FILES_REMOVE, "/workspace/d/e/e2");
        asked.recursive = 1;
        run_asked(NULL);
        break;
    default:
        ask(FILES_TREE_READ, "/workspace/d");
        run_asked(NULL);
        break;
    }
    CHECK(got.ended, "an answer");
    CHECK(!memmem(got.out, got.length, "HOST", 4), "host's bytes, by %s of %s",
          files_operation_name(asked.operation), path);
}

static void in_the_storm(const struct place *p)
{
    enum { OPERATIONS = 10000 };
    begin(p);
    char *outside = strdup(at(p->top, "outside")), *open = strdup(at(p->top, "open"));
    make_directory(outside, ALICE);
    make_directory(open, ALICE);
    put_text(at(outside, "f"), "HOST");
    put_text(at(outside, "outsider"), "HOST");
    put_text(at(p->top, "outsider"), "HOST");
    put_text(at(open, "outsider"), "HOST");
    CHECK(chown(at(outside, "f"), ALICE, ALICE) == 0 &&
              chown(at(p->top, "outsider"), ALICE, ALICE) == 0,
          "chown");
    make_directory(work("d"), ALICE);
    make_directory(work("d/e"), ALICE);
    write_file(work("d/f"), ALICE);
    CHECK(mkfifo(work("d/g"), 0666) == 0 && chown(work("d/g"), ALICE, ALICE) == 0 &&
              symlink("../outside", work("l")) == 0 && lchown(work("l"), ALICE, ALICE) == 0,
          "a link out");
    pid_t stormy = fork();
    if (stormy == 0)
        storm();
    int64_t slowest = 0;
    unsigned done = 0;
    for (unsigned i = 0; i < OPERATIONS; i++) {
        int64_t start = now_ms();
        one_of_the_storm(i);
        done += got.result.result == 0;
        slowest = now_ms() - start > slowest ? now_ms() - start : slowest;
        if (i % 8 == 6)
            run(FILES_MKDIR, "/workspace/d/e/e2");
    }
    int status;
    CHECK(waitpid(stormy, &status, WNOHANG) == 0, "the storm ended: %x", status);
    kill(stormy, SIGKILL);
    waitpid(stormy, &status, 0);
    CHECK(text_is(at(outside, "f"), "HOST") && text_is(at(outside, "outsider"), "HOST") &&
              entries(outside) == 2 && text_is(at(p->top, "outsider"), "HOST") &&
              text_is(at(open, "outsider"), "HOST"),
          "what is outside was changed");
    CHECK(exists(p->share) && entries(p->top) == 5 && !exists(at(open, "f")), "made outside: %u",
          entries(p->top));
    CHECK(done > OPERATIONS / 20, "%u operations of %d were done", done, OPERATIONS);
    CHECK(slowest < 10000 * (int64_t)test_slower(), "one took %ld ms", (long)slowest);
}
IN_A_PLACE(FS_1_ten_thousand_operations_in_a_storm_of_renames_stay_inside, in_the_storm)

/* ---- what a session would not show or change ----------------------------------------------------
 */

static void protected(const struct place *p)
{
    begin(p);
    make_directory(work(".git"), ALICE);
    make_directory(work(".git/hooks"), ALICE);
    CHECK(symlink(".git", work("alias")) == 0, "alias");
    spec_add_protect(&spec, ".git/hooks", true);
    spec_add_protect(&spec, "home-only", true);
    spec.protect[1].home = 1;
    static const char *const paths[] = {"/workspace/.git/hooks/x", "/workspace/alias/hooks/x",
                                        "/workspace/.git/x/../hooks/x",
                                        "/workspace/.git/hooks/a/b"};
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        run_write(paths[i], "evil");
        CHECK(got.result.result < 0, "%s", paths[i]);
    }
    CHECK(entries(work(".git/hooks")) == 0, "nothing was made");
    run(FILES_MKDIR, "/workspace/.git/hooks/x/y");
    CHECK(got.result.result < 0 && entries(work(".git/hooks")) == 0, "a directory");
    static const char *const away[] = {"/workspace/.git", "/workspace/.git/hooks"};
    for (size_t i = 0; i < ARRAY_LENGTH(away); i++) {
        ask(FILES_REMOVE, away[i]);
        asked.recursive = 1;
        run_asked(NULL);
        must_fail(ERR_FORBIDDEN, away[i]);
        ask(FILES_MOVE, away[i]);
        strcpy(asked.path2, "/workspace/moved");
        run_asked(NULL);
        must_fail(ERR_FORBIDDEN, away[i]);
    }
    run_write("/workspace/.git/config", "x");
    must_do("beside it");
    /* What is above it is not made either, and not a byte is waited for. */
    spec_add_protect(&spec, "vcs/hooks", true);
    static const char *const absent[] = {"/workspace/vcs/hooks/x", "/workspace/vcs/hooks",
                                         "/workspace/vcs/./hooks//x/y"};
    for (size_t i = 0; i < ARRAY_LENGTH(absent); i++) {
        ask(FILES_WRITE, absent[i]);
        asked.has_length = 1;
        asked.length = 4;
        run_asked("");
        must_fail(ERR_FORBIDDEN, absent[i]);
    }
    CHECK(access(work("vcs"), F_OK) < 0, "nothing was made");
    run_write("/workspace/vcs/config", "x");
    must_do("beside what is protected");
    run_write("/workspace/home-only", "x");
    must_do("what is protected in homes only");
    run(FILES_STAT, "/workspace/.git/hooks");
    must_do("it can be looked at");
}
IN_A_PLACE(WS_3_protected_paths_are_protected_while_a_session_is_parked, protected)

static void git_elsewhere(const struct place *p)
{
    begin(p);
    run_write("/workspace/.git", "gitdir: mine");
    must_do("nothing of git is protected");
    CHECK(unlink(work(".git")) == 0, "%s", strerror(errno));
    spec_add_protect(&spec, ".git/hooks", true);
    run_write("/workspace/.git", "gitdir: evil");
    must_fail(ERR_FORBIDDEN, "a file that leads git elsewhere");
    make_directory(work(".git"), ALICE);
    run_write("/workspace/.git/HEAD", "ref: refs/heads/master\n");
    must_do("what git writes");
    run_write("/workspace/.git/commondir", "../evil");
    must_fail(ERR_FORBIDDEN, "a file in it that does");
}
IN_A_PLACE(WS_3_git_is_led_nowhere_else_while_a_session_is_parked, git_elsewhere)

static void hidden(const struct place *p)
{
    begin(p);
    make_directory(work("state"), ALICE);
    make_directory(work("state/berth"), ALICE);
    write_file(work("state/berth/ledger"), ALICE);
    snprintf(rt.state_dir, sizeof rt.state_dir, "%s", work("state/berth"));
    make_directory(work("target"), ALICE);
    write_file(work("target/under"), ALICE);
    spec.mount_count = 1;
    strcpy(spec.mounts[0].source, "/usr");
    strcpy(spec.mounts[0].target, "/workspace/target");
    static const char *const paths[] = {"/workspace/state/berth/ledger", "/workspace/state/berth",
                                        "/workspace/target/under"};
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        run(FILES_STAT, paths[i]);
        must_fail(ERR_FORBIDDEN, paths[i]);
        run_write(paths[i], "evil");
        CHECK(got.result.result < 0, "%s", paths[i]);
    }
    ask(FILES_LIST, "/workspace");
    asked.depth = 9;
    run_asked(NULL);
    must_do("list");
    CHECK(!strstr(entries_text(false), "ledger") && !strstr(entries_text(false), "under"), "%s",
          entries_text(false));
    run(FILES_TREE_READ, "/workspace");
    must_do("tree");
    CHECK(got.result.skipped == 2 && !memmem(got.out, got.length, "ledger", 6), "left out");
    ask(FILES_REMOVE, "/workspace/state");
    asked.recursive = 1;
    run_asked(NULL);
    must_fail(ERR_FORBIDDEN, "what holds it");
    ask(FILES_MOVE, "/workspace/state");
    strcpy(asked.path2, "/workspace/gone");
    run_asked(NULL);
    must_fail(ERR_FORBIDDEN, "what holds it");
    CHECK(exists(work("state/berth/ledger")) && exists(work("target/under")), "still there");
}
IN_A_PLACE(berths_own_directories_and_covered_ones_are_closed, hidden)

static void submounts(const struct place *p)
{
    begin(p);
    make_directory(work("m"), ALICE);
    CHECK(mount("/usr", work("m"), NULL, MS_BIND, NULL) == 0, "mount");
    run(FILES_LIST, "/workspace/m");
    must_fail(ERR_FORBIDDEN, "what is mounted beneath");
    ask(FILES_REMOVE, "/workspace/m");
    asked.recursive = 1;
    run_asked(NULL);
    CHECK(got.result.result < 0, "removed");
    run(FILES_TREE_READ, "/workspace");
    must_do("tree");
    CHECK(got.result.skipped == 1, "left out");
}
IN_A_PLACE(what_the_host_mounts_beneath_is_not_in_the_view, submounts)

static void read_only(const struct place *p)
{
    begin(p);
    write_file(work("f"), ALICE);
    archived = true;
    run(FILES_READ, "/workspace/f");
    must_do("read");
    static const enum files_operation changing[] = {FILES_WRITE,  FILES_MKDIR, FILES_MOVE,
                                                    FILES_REMOVE, FILES_CHMOD, FILES_TREE_WRITE};
    for (size_t i = 0; i < 2 * ARRAY_LENGTH(changing); i++) {
        ask(changing[i % ARRAY_LENGTH(changing)], "/workspace/f");
        if (asked.operation == FILES_MOVE)
            strcpy(asked.path2, "/workspace/g");
        run_asked("x");
        must_fail(archived ? ERR_INVALID_STATE : ERR_FORBIDDEN,
                  files_operation_name(asked.operation));
        if (i + 1 == ARRAY_LENGTH(changing)) {
            archived = false;
            spec.workspace.read_only = 1;
        }
    }
    CHECK(entries(here->work) == 1 && mode_of(work("f")) == 0644, "untouched");
}
IN_A_PLACE(an_archived_session_and_a_read_only_workspace_are_read_only, read_only)

static void kinds(const struct place *p)
{
    begin(p);
    spec.workspace.kind = SPEC_WORKSPACE_TMPFS;
    run(FILES_STAT, "/workspace");
    must_fail(ERR_NOT_FOUND, "memory");
    CHECK(strstr(got.result.err.detail, "Resume"), "%s", got.result.err.detail);
    spec.workspace.kind = SPEC_WORKSPACE_VOLUME;
    strcpy(spec.workspace.volume, "v");
    run(FILES_STAT, "/workspace");
    must_fail(ERR_NOT_FOUND, "a volume that is not there");
    CHECK(!exists(p->state), "nothing was made");

    struct workspace ws;
    struct workspace_options options = options_of(p);
    must_open(&ws, &spec, &options);
    must_close(&ws);
    run_write("/workspace/d/f", "text");
    must_do("a volume");
    CHECK(owner_of(at(p->state, "volumes/local/v/data/d/f")) == 1000 && got.result.stat.uid == 1000,
          "its user's");
    run(FILES_LIST, "/workspace/d");
    must_do("list");
    CHECK(strcmp(entries_text(false), "f 1\n") == 0, "%s", entries_text(false));
    strcpy(spec.workspace_id, "other");
    run(FILES_STAT, "/workspace");
    must_fail(ERR_NOT_FOUND, "the same name in another workspace");
    strcpy(spec.workspace.volume, "../local/v");
    run(FILES_STAT, "/workspace");
    must_fail(ERR_INVALID_REQUEST, "a name that is none");
}
IN_A_PLACE(volumes_are_found_and_not_made_and_memory_is_gone, kinds)

static void by_group(const struct place *p)
{
    static const uint32_t staff[] = {4242};
    char team[512], shared[600];
    begin(p);
    snprintf(team, sizeof team, "%s/team", p->top);
    snprintf(shared, sizeof shared, "%s/shared", team);
    CHECK(mkdir(team, 0750) == 0 && chown(team, 0, 4242) == 0, "team");
    CHECK(mkdir(shared, 0755) == 0 && chown(shared, ALICE, ALICE) == 0, "shared");
    snprintf(spec.workspace.path, sizeof spec.workspace.path, "%s", shared);
    run(FILES_STAT, "/workspace");
    must_fail(ERR_FORBIDDEN, "without the group");
    groups = staff;
    group_count = 1;
    run(FILES_STAT, "/workspace");
    must_do("with the group");
}
IN_A_PLACE(P_7_the_askers_groups_count, by_group)

static void askers(const struct place *p)
{
    begin(p);
    CHECK(chmod(here->work, 0700) == 0, "chmod");
    asker = BOB;
    run(FILES_LIST, "/workspace");
    must_fail(ERR_FORBIDDEN, "another's directory");
    asker = ALICE;
    run(FILES_LIST, "/workspace");
    must_do("one's own");
    asker = UINT32_MAX;
    run_write("/workspace/f", "x");
    must_do("root for the owner");
    CHECK(owner_of(work("f")) == ALICE, "as the owner");
    /* attacks 36: the directory itself is a link by now. */
    CHECK(rename(here->work, at(p->top, "old")) == 0 && symlink("/etc", here->work) == 0, "swap");
    run(FILES_READ, "/workspace/passwd");
    must_fail(ERR_INVALID_REQUEST, "a workspace that became a link");
    CHECK(unlink(here->work) == 0 && rename(at(p->top, "old"), here->work) == 0, "swap back");
    CHECK(chown(here->work, 0, 0) == 0, "chown");
    run(FILES_LIST, "/workspace");
    must_fail(ERR_FORBIDDEN, "root's directory");
}
IN_A_PLACE(a_directory_is_opened_with_the_askers_rights_and_no_link, askers)

static void rootless(const struct place *p)
{
    begin(p);
    CHECK(mkdir(p->share, 0700) == 0 && chown(p->share, ALICE, ALICE) == 0, "his own records");
    become(ALICE);
    CHECK(unshare(CLONE_NEWUSER) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0, "a user namespace");
    char map[64];
    snprintf(map, sizeof map, "0 %d 1", ALICE);
    CHECK(io_write_at(AT_FDCWD, "/proc/self/setgroups", "deny") == 0 &&
              io_write_at(AT_FDCWD, "/proc/self/uid_map", map) == 0 &&
              io_write_at(AT_FDCWD, "/proc/self/gid_map", map) == 0,
          "maps");
    rt.facts.rootless = true;
    CHECK(symlink("/etc/passwd", work("out")) == 0, "link");
    run_write("/workspace/a/b", "text");
    must_do("write");
    CHECK(got.result.stat.uid == 1000, "the session's user: %u", got.result.stat.uid);
    run(FILES_READ, "/workspace/a/b");
    must_do("read");
    run(FILES_READ, "/workspace/out");
    must_fail(ERR_NOT_FOUND, "a link out");
    run(FILES_READ, "/etc/passwd");
    must_fail(ERR_NOT_FOUND, "outside");
}
IN_A_PLACE(FS_1_rootless_the_same, rootless)

/* Its launcher is killed while it waits for the rest of what it writes. */
static void orphan(const struct place *p)
{
    int in[2], answer[2], alive[2];
    char byte;
    begin(p);
    put_text(work("f"), "old");
    CHECK(chown(work("f"), ALICE, ALICE) == 0, "chown");
    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(answer, O_CLOEXEC) == 0 &&
              pipe2(alive, O_CLOEXEC) == 0,
          "pipes");
    pid_t launcher = fork();
    if (launcher == 0) {
        struct err err;
        if (fork() != 0)
            for (;;)
                pause();
        close(alive[0]);
        close(in[1]);
        ask(FILES_WRITE, "/workspace/f");
        ask_parked(NULL, in[0], -1, answer[1], &err);
        _exit(0);
    }
    close(alive[1]);
    CHECK(write(in[1], "new", 3) == 3, "the beginning");
    /* It has taken that: it writes. */
    for (int left = 1; left > 0;) {
        CHECK(ioctl(in[1], FIONREAD, &left) == 0, "ioctl");
        poll(NULL, 0, 1);
    }
    CHECK(kill(launcher, SIGKILL) == 0 && waitpid(launcher, NULL, 0) == launcher, "kill");
    struct pollfd gone = {.fd = alive[0], .events = POLLIN};
    CHECK(poll(&gone, 1, 30000) == 1 && read(alive[0], &byte, 1) == 0,
          "a worker outlives its launcher");
    close(in[1]); /* the end of the data, which would have been the whole of it */
    CHECK(text_is(work("f"), "old"), "nothing was written");
}
IN_A_PLACE(FS_3_who_writes_beneath_a_parked_session_dies_with_its_launcher, orphan)

/* ---- WS-2 --------------------------------------------------------------------------------------
 */

/* A session that lives in a process of its own, beside the files of the parked one. */
struct neighbour {
    pid_t pid;
    int out; /* closed: it ends */
};

static struct neighbour neighbour_begin(const struct spec *its, bool lasting, const char *id)
{
    int ready[2], out[2];
    char c;
    CHECK(pipe2(ready, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0, "pipes");
    struct neighbour n = {fork(), out[1]};
    CHECK(n.pid >= 0, "fork");
    if (n.pid == 0) {
        struct workspace ws;
        struct workspace_options o = options_of(here);
        close(out[1]);
        o.lasting = lasting;
        o.run_id = id;
        o.init_pid = getpid();
        CHECK(process_start_time(getpid(), &o.init_start) == 0, "start time");
        must_open(&ws, its, &o);
        int hold = lasting ? ws.hold : -1; /* that of its init, which goes on */
        if (lasting) {
            ws.hold = -1;
            workspace_leave(&ws);
        }
        CHECK(write(ready[1], "x", 1) == 1, "write");
        CHECK(read(out[0], &c, 1) == 0, "the end");
        if (lasting)
            CHECK(close(hold) == 0 && workspace_end_lasting(here->share, id, NULL, NULL, NULL) == 0,
                  "its end");
        else
            must_close(&ws);
        _exit(0);
    }
    close(out[0]);
    close(ready[1]);
    CHECK(read(ready[0], &c, 1) == 1, "it did not begin");
    close(ready[0]);
    return n;
}

static void neighbour_end(struct neighbour *n)
{
    int status;
    close(n->out);
    CHECK(waitpid(n->pid, &status, 0) == n->pid && status == 0, "status %x", status);
}

static void writes_are_refused(const char *what)
{
    run_write("/workspace/f", "changed");
    must_fail(ERR_WORKSPACE_IN_USE, what);
    CHECK(strstr(got.result.err.detail, "session neighbour"), "%s: %s", what,
          got.result.err.detail);
    run(FILES_MKDIR, "/workspace/d");
    must_fail(ERR_WORKSPACE_IN_USE, what);
    run(FILES_REMOVE, "/workspace/f");
    must_fail(ERR_WORKSPACE_IN_USE, what);
    run(FILES_READ, "/workspace/f");
    must_do(what);
    CHECK(strcmp(got.out, "first") == 0, "%s: %s", what, got.out);
}

static void writes_are_done(const char *what)
{
    run_write("/workspace/f", "first");
    must_do(what);
    CHECK(entries(at(here->share, "shared")) + entries(at(here->share, "exclusive")) <= 1,
          "%s: its use is left", what);
}

static void spec_of_neighbour(struct spec *s, const char *path, bool exclusive)
{
    spec_directory(s, path);
    strcpy(s->session_id, "neighbour");
    s->workspace.exclusive = exclusive;
}

static void beside_an_exclusive_one(const struct place *p)
{
    struct spec its;
    begin(p);
    writes_are_done("alone");
    make_directory(work("beneath"), ALICE);
    const char *const places[] = {p->work, work("beneath"), p->top};
    CHECK(chown(p->top, ALICE, ALICE) == 0, "chown");
    for (unsigned i = 0; i < 6; i++) {
        bool lasting = i % 2;
        spec_of_neighbour(&its, places[i / 2], true);
        struct neighbour n = neighbour_begin(&its, lasting, "f-2-1");
        writes_are_refused(places[i / 2]);
        neighbour_end(&n);
        writes_are_done("it has ended");
    }
    spec_of_neighbour(&its, p->work, false);
    struct neighbour n = neighbour_begin(&its, true, "f-2-1");
    writes_are_done("who shares shares with files too");
    neighbour_end(&n);
}
IN_A_PLACE(WS_2_nothing_is_written_beneath_an_exclusive_session, beside_an_exclusive_one)

static void of_volume(struct spec *s, bool read_only)
{
    spec_init(s);
    strcpy(s->workspace_id, "local");
    strcpy(s->session_id, "one");
    s->workspace.kind = SPEC_WORKSPACE_VOLUME;
    strcpy(s->workspace.volume, "v");
    strcpy(s->workspace.mount_path, "/workspace");
    s->process.uid = s->process.gid = 1000;
    s->workspace.read_only = read_only;
}

static void beside_a_user_of_the_volume(const struct place *p)
{
    struct spec its;
    begin(p);
    CHECK(mkdir(p->state, 0700) == 0, "state");
    of_volume(&spec, false);
    of_volume(&its, false);
    strcpy(its.session_id, "neighbour");
    struct neighbour n = neighbour_begin(&its, true, "f-2-1");
    neighbour_end(&n); /* the volume is there */
    writes_are_done("alone");
    for (unsigned i = 0; i < 4; i++) {
        of_volume(&its, i / 2);
        strcpy(its.session_id, "neighbour");
        n = neighbour_begin(&its, i % 2, "f-2-1");
        writes_are_refused(i / 2 ? "of a reader" : "of a writer");
        neighbour_end(&n);
        writes_are_done("it has ended");
    }
    /* Its own session is frozen: it lives, and is in nobody's way. */
    struct lasting_names names;
    CHECK(lasting_names_make(&own_name, &names, NULL) == 0, "names");
    of_volume(&its, false);
    n = neighbour_begin(&its, true, names.id);
    writes_are_done("its own");
    neighbour_end(&n);
}
IN_A_PLACE(WS_2_nothing_is_written_to_a_volume_that_another_session_uses,
           beside_a_user_of_the_volume)

/* While a write is under way, who shares with nobody cannot begin; another write can; and whoever
 * was killed in one is in nobody's way. */
static void while_it_is_written(const struct place *p)
{
    struct spec its;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    struct err err = {0};
    int in[2], answer[2], status;
    begin(p);
    CHECK(mkdir(p->state, 0700) == 0, "state");
    for (unsigned i = 0; i < 2; i++) {
        bool volume = i == 1;
        if (volume) {
            of_volume(&spec, false);
            of_volume(&its, false);
            must_open(&ws, &its, &o);
            must_close(&ws);
        }
        CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(answer, O_CLOEXEC) == 0, "pipes");
        pid_t pid = fork();
        CHECK(pid >= 0, "fork");
        if (pid == 0) {
            close(in[1]);
            ask(FILES_WRITE, "/workspace/slow");
            _exit(ask_parked(NULL, in[0], -1, answer[1], &err) == 0 ? 0 : 1);
        }
        char *folder = at(p->share, volume ? "exclusive" : "shared");
        for (unsigned waited = 0; entries(folder) == 0 && waited < 5000; waited++)
            poll(NULL, 0, 1);
        CHECK(entries(folder) == 1, "it uses nothing");
        if (!volume)
            spec_of_neighbour(&its, p->work, true);
        must_refuse(&its, &o, ERR_WORKSPACE_IN_USE, "a file operation of session one");
        must_refuse(&its, &o, ERR_WORKSPACE_IN_USE,
                    volume ? "Try again when it has ended" : "Try again when that has ended");
        run_write("/workspace/f", "beside");
        must_do("another write");
        CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid, "kill");
        must_open(&ws, &its, &o);
        must_close(&ws);
        close(in[0]), close(in[1]), close(answer[0]), close(answer[1]);
    }
}
IN_A_PLACE(WS_2_a_write_that_is_under_way_is_a_use_and_a_dead_one_is_none, while_it_is_written)
