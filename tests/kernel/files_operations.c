/* This file tests the file worker's core as an ordinary user on a real disk: what each operation
 * does and what it refuses. Parked sessions are in files_parked.c, real sessions in
 * files_session.c. Needs root.
 *
 * This file is long because every operation is asked in the same small words.
 */
#include "tests/kernel/files_fixture.h"
#include "tests/slower.h"

#include <sys/file.h>
#include <sys/random.h>
#include <sys/xattr.h>

#define WORKSPACE_SUITE files_operations

static void run(enum files_operation operation, const char *name)
{
    ask(operation, name[0] == '/' ? name : path(name));
    in_view(whole_view(), NULL, 0);
}

static void run_write(const char *name, const char *text)
{
    ask(FILES_WRITE, path(name));
    in_view(whole_view(), text, strlen(text));
}

/* ---- read --------------------------------------------------------------------------------------
 */

static void reads(const struct place *p)
{
    begin_as_user(p, 022);
    put_text(path("f"), "0123456789");
    static const struct {
        uint64_t offset, length;
        const char *text;
    } ranges[] = {
        {0, UINT64_MAX, "0123456789"},
        {3, 4, "3456"},
        {9, 100, "9"},
        {0, 0, ""},
        {FILES_FROM_END, 3, "789"},
        {10, 0, ""},
        {0, 10, "0123456789"},
        {FILES_FROM_END, 100, "0123456789"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ranges); i++) {
        ask(FILES_READ, path("f"));
        asked.offset = ranges[i].offset;
        asked.length = ranges[i].length;
        in_view(whole_view(), NULL, 0);
        must_do(ranges[i].text);
        CHECK(strcmp(got.out, ranges[i].text) == 0, "range %zu: %s", i, got.out);
        CHECK(got.begun && got.begin.stat.size == 10 && got.begin.bytes == got.length &&
                  got.result.bytes == got.length,
              "range %zu is told", i);
    }
    ask(FILES_READ, path("f"));
    asked.offset = 10;
    in_view(whole_view(), NULL, 0);
    must_fail(ERR_RANGE_NOT_SATISFIABLE, "from the end on");
    CHECK(!got.begun && got.result.stat.size == 10, "with the size");
    put_text(path("empty"), "");
    run(FILES_READ, "empty");
    must_do("nothing is read from nothing");
}
IN_A_PLACE(a_read_gives_the_range_and_says_before_what_comes, reads)

static void tag_of(const char *name, char ret[FILES_ETAG_MAX])
{
    run(FILES_STAT, name);
    must_do("stat");
    files_etag(&got.result.stat, ret);
}

static void write_if(const char *name, const char *match, const char *sha256, const char *text)
{
    ask(FILES_WRITE, path(name));
    snprintf(asked.match, sizeof asked.match, "%s", match);
    snprintf(asked.sha256, sizeof asked.sha256, "%s", sha256);
    in_view(whole_view(), text, strlen(text));
}

static void conditions(const struct place *p)
{
    static const char hash[] = "776cb326ab0cd5f0a974c1b9606044d8485201f2db19cf8e3749bdee5f36e200";
    char first[FILES_ETAG_MAX], now[FILES_ETAG_MAX];
    struct stat st;
    begin_as_user(p, 022);
    write_if("f", "*", "", "x");
    must_fail(ERR_PRECONDITION_FAILED, "there is nothing");
    write_if("f", "-", "", "one");
    must_do("nothing is there yet");
    files_etag(&got.result.stat, first);
    tag_of("f", now);
    CHECK(strcmp(first, now) == 0, "a write tells the tag that it has afterwards: %s %s", first,
          now);
    write_if("f", "-", "", "two");
    must_fail(ERR_PRECONDITION_FAILED, "there is something");
    CHECK(text_is(path("f"), "one") && entries(path(".")) == 1, "untouched");
    /* In place, as long as before, with the old time of its modification. */
    CHECK(stat(path("f"), &st) == 0, "stat");
    poll(NULL, 0, 20);
    put_text(path("f"), "ONE");
    const struct timespec times[] = {st.st_atim, st.st_mtim};
    CHECK(utimensat(AT_FDCWD, path("f"), times, 0) == 0, "utimensat");
    tag_of("f", now);
    CHECK(strcmp(first, now) != 0, "it is another");
    write_if("f", first, "", "three");
    must_fail(ERR_PRECONDITION_FAILED, "it was changed in place");
    ask(FILES_READ, path("f"));
    snprintf(asked.match, sizeof asked.match, "%s", first);
    in_view(whole_view(), NULL, 0);
    must_fail(ERR_PRECONDITION_FAILED, "a read of another one");
    CHECK(!got.begun && got.length == 0, "before a byte");
    ask(FILES_REMOVE, path("f"));
    snprintf(asked.match, sizeof asked.match, "%s", first);
    in_view(whole_view(), NULL, 0);
    must_fail(ERR_PRECONDITION_FAILED, "a removal of another one");
    write_if("f", now, hash, "fox!");
    must_fail(ERR_INVALID_REQUEST, "another hash");
    CHECK(text_is(path("f"), "ONE") && entries(path(".")) == 1, "as it was, and nothing beside it");
    write_if("f", now, hash, "fox");
    must_do("as it was, and the hash is right");
    CHECK(text_is(path("f"), "fox"), "written");
}
IN_A_PLACE(FS_3_a_write_holds_to_what_must_stand_there_and_to_its_hash, conditions)

static void refuses_to_read(const struct place *p)
{
    begin_as_user(p, 022);
    put_text(path("f"), "x");
    put_text(path("secret"), "x");
    CHECK(chmod(path("secret"), 0) == 0 && symlink("loop", path("loop")) == 0, "files");
    run(FILES_READ, "none");
    must_fail(ERR_NOT_FOUND, "nothing");
    run(FILES_READ, "f/x");
    must_fail(ERR_NOT_FOUND, "beneath a file");
    run(FILES_READ, "secret");
    must_fail(ERR_FORBIDDEN, "of no mode");
    run(FILES_READ, "loop");
    must_fail(ERR_INVALID_REQUEST, "a loop");
    run(FILES_READ, ".");
    must_fail(ERR_NOT_A_REGULAR_FILE, "a directory");
    run(FILES_READ, "/root/x");
    must_fail(ERR_FORBIDDEN, "a directory of others");
}
IN_A_PLACE(a_read_that_cannot_be_says_why, refuses_to_read)

static void kernel_files(const struct place *p)
{
    begin_as_user(p, 022);
    static const char *const magic[] = {"/proc/self/environ", "/proc/self/root/etc/passwd",
                                        "/proc/self/fd/0",    "/proc/self/exe",
                                        "/proc/1/cwd",        "/sys/kernel/mm",
                                        "/dev/fd/0",          "/dev/stdin"};
    for (size_t i = 0; i < ARRAY_LENGTH(magic); i++) {
        char name[16];
        run(FILES_READ, magic[i]);
        must_fail(ERR_FORBIDDEN, magic[i]);
        snprintf(name, sizeof name, "l%zu", i);
        CHECK(symlink(magic[i], path(name)) == 0, "link");
        run(FILES_READ, name);
        must_fail(ERR_FORBIDDEN, "through a link");
        run_write(name, "x");
        must_fail(ERR_FORBIDDEN, "written through a link");
    }
    run(FILES_LIST, "/proc");
    must_fail(ERR_FORBIDDEN, "a list of processes");
    run(FILES_TREE_READ, "/sys/kernel");
    must_fail(ERR_FORBIDDEN, "a tree of sysfs");
}
IN_A_PLACE(FS_1_no_file_of_the_kernels_own_filesystems_is_reached, kernel_files)

static void special(const struct place *p)
{
    begin_as_user(p, 022);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path("socket"));
    CHECK(mkfifo(path("fifo"), 0666) == 0 && bind(s, (void *)&a, sizeof a) == 0 &&
              listen(s, 1) == 0 && symlink("fifo", path("link")) == 0,
          "things");
    /* Somebody waits on the other side: an open would let him go on. */
    pid_t waiting = fork();
    if (waiting == 0) {
        int fd = open(path("fifo"), O_WRONLY | O_CLOEXEC);
        _exit(fd >= 0 ? 7 : 8);
    }
    const char *const all[] = {path("fifo"), path("link"), path("socket"),
                               "/dev/null",  "/dev/tty",   "/dev/zero"};
    static const enum files_operation operations[] = {FILES_READ, FILES_WRITE, FILES_CHMOD};
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++)
        for (size_t k = 0; k < ARRAY_LENGTH(operations); k++) {
            int64_t took = INT64_MAX;
            /* What waits for the other side does so each time; who is not scheduled does not. */
            for (unsigned tries = 0; tries < 5 && took >= 100 * (int64_t)test_slower(); tries++) {
                int64_t start = now_ms();
                ask(operations[k], all[i]);
                in_view(whole_view(), "x", 1);
                must_fail(ERR_NOT_A_REGULAR_FILE, all[i]);
                took = now_ms() - start;
            }
            CHECK(took < 100 * (int64_t)test_slower(), "%s took %ld ms", all[i], (long)took);
        }
    int status;
    CHECK(waitpid(waiting, &status, WNOHANG) == 0, "the FIFO was opened");
    kill(waiting, SIGKILL);
    waitpid(waiting, &status, 0);
    run(FILES_STAT, "fifo");
    must_do("a look does not open");
    CHECK(got.result.stat.type == FILES_OTHER, "type");
}
IN_A_PLACE(FS_2_fifos_sockets_and_devices_are_refused_at_once_and_never_opened, special)

/* ---- write -------------------------------------------------------------------------------------
 */

static void writes(const struct place *p)
{
    begin_as_user(p, 022);
    run_write("a/b/c", "one");
    must_do("a new one");
    CHECK(text_is(path("a/b/c"), "one") && mode_of(path("a/b/c")) == 0644 &&
              mode_of(path("a/b")) == 0755,
          "made with its parents");
    CHECK(chmod(path("a/b/c"), 0750) == 0, "chmod");
    run_write("a/b/c", "two");
    must_do("again");
    CHECK(text_is(path("a/b/c"), "two") && mode_of(path("a/b/c")) == 0750, "the mode is kept");
    CHECK(chmod(path("a/b/c"), 06755) == 0, "chmod");
    run_write("a/b/c", "three");
    CHECK(mode_of(path("a/b/c")) == 0755, "but no bit of 07000: %o", mode_of(path("a/b/c")));
    ask(FILES_WRITE, path("private"));
    asked.mode = 0600;
    in_view(whole_view(), "x", 1);
    CHECK(mode_of(path("private")) == 0600 && got.result.stat.mode == 0600, "the mode asked for");
    CHECK(symlink("a/b/new", path("dangling")) == 0, "link");
    run_write("dangling", "through");
    must_do("through a link to nothing");
    CHECK(text_is(path("a/b/new"), "through"), "where the link leads");
    CHECK(entries(path("a/b")) == 2 && entries(here->work) == 3, "nothing else is left");
}
IN_A_PLACE(FS_3_a_write_makes_parents_and_keeps_the_mode, writes)

static void short_writes(const struct place *p)
{
    begin_as_user(p, 022);
    put_text(path("f"), "old");
    ask(FILES_WRITE, path("f"));
    asked.has_length = 1;
    asked.length = 10;
    in_view(whole_view(), "short", 5);
    must_fail(ERR_INVALID_REQUEST, "fewer than said");
    ask(FILES_WRITE, path("f"));
    asked.size_max = 4;
    in_view(whole_view(), "12345", 5);
    must_fail(ERR_TOO_LARGE, "more than allowed");
    ask(FILES_WRITE, path("f"));
    asked.size_max = 4;
    asked.has_length = 1;
    asked.length = 5;
    in_view(whole_view(), "12345", 5);
    must_fail(ERR_TOO_LARGE, "more than allowed is announced");
    CHECK(text_is(path("f"), "old") && entries(here->work) == 1, "untouched, and nothing is left");
    ask(FILES_WRITE, path("f"));
    asked.has_length = 1;
    asked.length = 3;
    asked.size_max = 3;
    in_view(whole_view(), "12345", 5);
    must_do("what was said");
    CHECK(text_is(path("f"), "123"), "no more than was said");
}
IN_A_PLACE(FS_3_a_write_that_ends_early_or_is_too_large_leaves_the_old_file, short_writes)

/* A worker beside us, whose bytes we have in hand. */
struct slow_write {
    pid_t pid;
    int in;
};

/* `private_name`: the one that it writes under. */
static struct slow_write begin_slowly(const char *name, const char *private_name)
{
    int in[2];
    CHECK(pipe2(in, O_CLOEXEC) == 0, "a pipe");
    struct slow_write w = {.pid = fork(), .in = in[1]};
    if (w.pid == 0) {
        struct err err = {0};
        int answer = open("/dev/null", O_WRONLY | O_CLOEXEC);
        close(in[1]);
        ask(FILES_WRITE, path(name));
        asked.has_length = 1;
        asked.length = 4;
        _exit(files_run(whole_view(), &asked, in[0], -1, answer, &err) < 0);
    }
    close(in[0]);
    /* It waits for bytes when it has its private name. */
    const struct timespec pause = {.tv_nsec = 2000000};
    for (unsigned k = 0; k < 5000 * test_slower() && access(path(private_name), F_OK); k++)
        nanosleep(&pause, NULL);
    CHECK(access(path(private_name), F_OK) == 0, "it has begun");
    return w;
}

static int end_slowly(struct slow_write *w, const char *bytes)
{
    int status = 0;
    CHECK(write(w->in, bytes, strlen(bytes)) == (ssize_t)strlen(bytes), "bytes");
    close(w->in);
    CHECK(waitpid(w->pid, &status, 0) == w->pid && WIFEXITED(status), "its end");
    return WEXITSTATUS(status);
}

static void makes_parents_late(const struct place *p)
{
    begin_as_user(p, 022);
    ask(FILES_WRITE, path("a/b/f"));
    asked.has_length = 1;
    asked.length = 10;
    in_view(whole_view(), "short", 5);
    must_fail(ERR_INVALID_REQUEST, "fewer than said");
    ask(FILES_WRITE, path("a/b/f"));
    snprintf(asked.match, sizeof asked.match, "*");
    in_view(whole_view(), "x", 1);
    must_fail(ERR_PRECONDITION_FAILED, "what must be there is not");
    run_write("a/" FILES_TEMPORARY "x", "x");
    must_fail(ERR_INVALID_REQUEST, "a name of ours");
    static const struct {
        const char *name;
        enum err_code code;
    } ways[] = {
        {"a/b/..", ERR_NOT_FOUND},
        {"a/../../f", ERR_NOT_FOUND},
        {"a/b/.", ERR_NOT_A_REGULAR_FILE},
        {"a/b/./", ERR_NOT_A_REGULAR_FILE},
        {"a/./" FILES_TEMPORARY "x/.", ERR_NOT_A_REGULAR_FILE},
        {"a/" FILES_TEMPORARY "x/", ERR_INVALID_REQUEST},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ways); i++) {
        run_write(ways[i].name, "x");
        must_fail(ways[i].code, ways[i].name);
    }
    char name[300], whole[400];
    memset(name, 'n', sizeof name);
    name[256] = 0;
    for (unsigned i = 0; i < 3; i++) {
        snprintf(whole, sizeof whole, "a/%s%s%s", i == 1 ? "b/" : "", name, i == 0 ? "/f" : "");
        run_write(whole, "x");
        must_fail(ERR_INVALID_REQUEST, "a name that is too long");
    }
    CHECK(entries(here->work) == 0, "what is refused makes nothing");
    CHECK(symlink("to/new/d", path("l")) == 0 && mkdir(path("to"), 0755) == 0, "a link to nothing");
    run_write("l/./e//f", "x");
    must_do("what a link says is part of the way");
    CHECK(text_is(path("to/new/d/e/f"), "x"), "behind it");
    CHECK(unlink(path("to/new/d/e/f")) == 0 && rmdir(path("to/new/d/e")) == 0 &&
              rmdir(path("to/new/d")) == 0 && rmdir(path("to/new")) == 0 &&
              rmdir(path("to")) == 0 && unlink(path("l")) == 0,
          "away");
    /* Another request makes it meanwhile, and is told that it is there: it stays. */
    struct slow_write w = begin_slowly("a/b/f", FILES_TEMPORARY "0");
    CHECK(access(path("a"), F_OK) < 0, "made before the bytes have come");
    run(FILES_MKDIR, "a/b");
    must_do("another request");
    CHECK(end_slowly(&w, "abc") == 1, "fewer than said");
    CHECK(access(path("a/b"), F_OK) == 0 && entries(path("a/b")) == 0 && entries(here->work) == 1,
          "what another request was told to be there is gone");
    w = begin_slowly("a/c/f", "a/" FILES_TEMPORARY "0");
    run_write("a/c/g", "beside");
    must_do("a write into the same");
    CHECK(end_slowly(&w, "abcd") == 0, "all has come");
    CHECK(text_is(path("a/c/f"), "abcd") && text_is(path("a/c/g"), "beside"), "both are there");
    /* What has come to stand at the name is looked at when it is written. */
    w = begin_slowly("d/f", FILES_TEMPORARY "0");
    CHECK(mkdir(path("d"), 0755) == 0 && mkdir(path("d/f"), 0755) == 0, "a directory");
    CHECK(end_slowly(&w, "abcd") == 1, "a directory is not replaced");
    CHECK(entries(here->work) == 2, "nothing of it is left");
}
IN_A_PLACE(FS_3_parents_are_made_when_all_has_come_and_never_taken_away, makes_parents_late)

static void refuses_to_write(const struct place *p)
{
    begin_as_user(p, 022);
    CHECK(mkdir(path("d"), 0755) == 0 && mkdir(path("closed"), 0555) == 0, "directories");
    put_text(path("fixed"), "fixed");
    CHECK(chmod(path("fixed"), 0444) == 0, "chmod");
    run_write("d", "x");
    must_fail(ERR_NOT_A_REGULAR_FILE, "a directory");
    run_write("closed/x", "x");
    must_fail(ERR_FORBIDDEN, "a closed directory");
    run_write("fixed", "x");
    must_fail(ERR_FORBIDDEN, "a file that may not be written");
    CHECK(text_is(path("fixed"), "fixed"), "untouched");
    run_write("fixed/x", "x");
    must_fail(ERR_NOT_FOUND, "beneath a file");
    char name[300];
    memset(name, 'n', sizeof name);
    name[256] = 0;
    run_write(name, "x");
    must_fail(ERR_INVALID_REQUEST, "a name that is too long");
    CHECK(entries(here->work) == 3, "nothing is left");
}
IN_A_PLACE(a_write_that_cannot_be_says_why_and_leaves_nothing, refuses_to_write)

/* One writer after the other puts a whole block of one byte; a reader never sees two in one. */
static void atomic(const struct place *p)
{
    enum { ROUNDS = 400, SIZE = 8192 };
    begin_as_user(p, 022);
    char block[SIZE];
    memset(block, 'a', sizeof block);
    ask(FILES_WRITE, path("f"));
    in_view(whole_view(), block, sizeof block);
    pid_t writers[2];
    for (int i = 0; i < 2; i++) {
        writers[i] = fork();
        if (writers[i] == 0) {
            for (int k = 0;; k++) {
                memset(block, 'a' + (k + 13 * i) % 26, sizeof block);
                ask(FILES_WRITE, path("f"));
                in_view(whole_view(), block, sizeof block);
                must_do("a write beside another");
            }
        }
    }
    unsigned seen = 0;
    char last = 0;
    for (int k = 0; k < ROUNDS; k++) {
        run(FILES_READ, "f");
        must_do("a read beside writes");
        CHECK(got.length == SIZE, "%zu bytes", got.length);
        for (size_t i = 1; i < SIZE; i++)
            CHECK(got.out[i] == got.out[0], "two writes in one read, at %zu", i);
        seen += got.out[0] != last;
        last = got.out[0];
    }
    for (int i = 0; i < 2; i++) {
        int status;
        CHECK(waitpid(writers[i], &status, WNOHANG) == 0, "a writer failed: %x", status);
        kill(writers[i], SIGKILL);
        waitpid(writers[i], &status, 0);
    }
    CHECK(seen > 1, "nobody wrote meanwhile");
    /* What the killed ones have left is taken away by the next. */
    run_write("f", "end");
    run_write("f", "end");
    CHECK(entries(here->work) <= 2, "%u entries", entries(here->work));
}
IN_A_PLACE(FS_3_a_reader_sees_the_old_or_the_new_beside_two_writers, atomic)

static void killed(const struct place *p)
{
    begin_as_user(p, 022);
    put_text(path("f"), "old");
    for (int round = 0; round < 12; round++) {
        int in[2], answer[2];
        CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(answer, O_CLOEXEC) == 0, "pipes");
        pid_t worker = fork();
        if (worker == 0) {
            close(in[1]);
            ask(FILES_WRITE, path("f"));
            files_run(whole_view(), &asked, in[0], -1, answer[1], NULL);
            _exit(0);
        }
        CHECK(write(in[1], "half", 4) == 4, "write");
        for (int64_t start = now_ms();
             entries(here->work) < 2 && now_ms() - start < 5000 * (int64_t)test_slower();)
            poll(NULL, 0, 1);
        CHECK(entries(here->work) == 2, "round %d: it writes: %u", round, entries(here->work));
        kill(worker, SIGKILL);
        CHECK(waitpid(worker, NULL, 0) == worker, "wait");
        CHECK(text_is(path("f"), "old"), "untouched");
        close(in[0]), close(in[1]), close(answer[0]), close(answer[1]);
    }
    run_write("g", "new");
    must_do("the next");
    CHECK(entries(here->work) == 2, "what was left is gone: %u", entries(here->work));
}
IN_A_PLACE(FS_3_what_a_killed_writer_leaves_is_taken_away_by_the_next, killed)

static void squatted(const struct place *p)
{
    begin_as_user(p, 022);
    put_text(path("keep"), "keep");
    CHECK(mkdir(path(".berth-write-0"), 0755) == 0 && mkfifo(path(".berth-write-1"), 0600) == 0 &&
              symlink("keep", path(".berth-write-2")) == 0 &&
              link(path("keep"), path(".berth-write-3")) == 0,
          "things at private names");
    put_text(path(".berth-write-4"), "locked");
    int lock = open(path(".berth-write-4"), O_RDONLY | O_CLOEXEC);
    CHECK(flock(lock, LOCK_EX) == 0, "lock");
    for (int i = 5; i < 8; i++) {
        char name[32];
        snprintf(name, sizeof name, ".berth-write-%d", i);
        CHECK(mkdir(path(name), 0755) == 0, "%s", name);
    }
    run_write("f", "new");
    must_do("beside them");
    CHECK(text_is(path("f"), "new") && text_is(path("keep"), "keep") &&
              text_is(path(".berth-write-4"), "locked") && entries(here->work) == 10,
          "all are still there: %u", entries(here->work));
}
IN_A_PLACE(what_stands_at_the_private_names_is_neither_removed_nor_in_the_way, squatted)

/* ---- the others --------------------------------------------------------------------------------
 */

static void stats(const struct place *p)
{
    begin_as_user(p, 022);
    put_text(path("f"), "12345");
    CHECK(symlink("f", path("l")) == 0 && symlink("none", path("d")) == 0, "links");
    run(FILES_STAT, "l");
    must_do("stat");
    CHECK(got.result.stat.type == FILES_FILE && got.result.stat.size == 5 &&
              got.result.stat.mode == 0644 && got.result.stat.uid == ALICE,
          "of what the link leads to");
    run(FILES_STAT, "d");
    must_fail(ERR_NOT_FOUND, "a link to nothing");
    run(FILES_STAT, "/");
    must_do("the root");
    run(FILES_STAT, "/../..");
    must_do("the root is its own parent");
    ask(FILES_PROBE, "");
    in_view(whole_view(), NULL, 0);
    must_do("probe");
}
IN_A_PLACE(stat_tells_of_what_a_link_leads_to, stats)

static void lists(const struct place *p)
{
    begin_as_user(p, 022);
    static const char *const names[] = {"b.txt", "b",       "a",    "c\nd", "\x1b[2J", "-rf",
                                        "\xff",  ".hidden", "zz z", "b/x",  "b/y",     "b/x/1"};
    static const char *const wanted = "\x1b[2J 1\n-rf 1\n.hidden 1\na 1\nb 2\nb/x 2\nb/x/1 1\n"
                                      "b/y 1\nb.txt 1\nc\nd 1\nzz z 1\n\xff 1\n";
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        if (strcmp(names[i], "b") == 0 || strcmp(names[i], "b/x") == 0)
            CHECK(mkdir(path(names[i]), 0755) == 0, "%s", names[i]);
        else
            put_text(path(names[i]), "x");
    ask(FILES_LIST, here->work);
    asked.depth = 3;
    in_view(whole_view(), NULL, 0);
    must_do("list");
    CHECK(strcmp(entries_text(false), wanted) == 0, "%s", entries_text(false));
    CHECK(!got.result.more && got.result.bytes == 12, "whole");
    for (uint32_t limit = 1; limit < 13; limit++) {
        char all[4096] = "", after[FILES_PATH_MAX] = "";
        do {
            ask(FILES_LIST, here->work);
            asked.depth = 3;
            asked.limit = limit;
            snprintf(asked.path2, sizeof asked.path2, "%s", after);
            in_view(whole_view(), NULL, 0);
            must_do("page");
            CHECK(got.result.bytes <= limit, "page of %lu", (unsigned long)got.result.bytes);
            size_t used = strlen(all);
            snprintf(all + used, sizeof all - used, "%s", entries_text(false));
            for (size_t at_entry = 0; at_entry < got.length;) {
                struct files_entry e;
                memcpy(&e, got.out + at_entry, sizeof e);
                snprintf(after, sizeof after, "%.*s", (int)e.path_length,
                         got.out + at_entry + sizeof e);
                at_entry += sizeof e + e.path_length;
            }
        } while (got.result.more);
        CHECK(strcmp(all, wanted) == 0, "pages of %u: %s", limit, all);
    }
    run(FILES_LIST, "a");
    must_fail(ERR_INVALID_REQUEST, "a file");
    run(FILES_READ, "c\nd");
    must_do("a listed name is fetched");
    run(FILES_READ, "\xff");
    must_do("a listed name is fetched");
}
IN_A_PLACE(lists_are_sorted_by_part_paged_and_exact_whatever_the_names, lists)

static void long_list(const struct place *p)
{
    enum { COUNT = 5000 };
    begin_as_user(p, 022);
    for (int i = 0; i < COUNT; i++) {
        char name[32];
        snprintf(name, sizeof name, "%05d", (i * 7919) % COUNT);
        CHECK(mkdir(path(name), 0755) == 0, "%s", name);
    }
    char after[16] = "";
    int next = 0;
    do {
        ask(FILES_LIST, here->work);
        snprintf(asked.path2, sizeof asked.path2, "%s", after);
        asked.limit = 700;
        in_view(whole_view(), NULL, 0);
        must_do("page");
        const char *line = entries_text(false);
        for (; *line; line = strchr(line, '\n') + 1, next++)
            CHECK(atoi(line) == next, "%d is missing: %.5s", next, line);
        snprintf(after, sizeof after, "%05d", next - 1);
    } while (got.result.more);
    CHECK(next == COUNT, "%d", next);
}
IN_A_PLACE(pages_of_a_large_directory_miss_nothing, long_list)

static void changes(const struct place *p)
{
    begin_as_user(p, 022);
    ask(FILES_MKDIR, path("a/b/c"));
    asked.mode = 0700;
    in_view(whole_view(), NULL, 0);
    must_do("mkdir");
    CHECK(mode_of(path("a/b/c")) == 0700 && mode_of(path("a/b")) == 0755, "modes");
    run(FILES_MKDIR, "a/b/c");
    must_do("is there already");
    put_text(path("f"), "f");
    put_text(path("g"), "g");
    run(FILES_MKDIR, "f");
    must_fail(ERR_INVALID_REQUEST, "a file is there");

    ask(FILES_MOVE, path("f"));
    strcpy(asked.path2, path("g"));
    in_view(whole_view(), NULL, 0);
    must_do("move replaces a file");
    CHECK(!exists(path("f")) && text_is(path("g"), "f"), "moved");
    static const struct {
        const char *from, *to;
        enum err_code code;
    } moves[] = {
        {"g", "a", ERR_INVALID_REQUEST},     {"a", "g", ERR_INVALID_REQUEST},
        {"a", "a/b/x", ERR_INVALID_REQUEST}, {"none", "x", ERR_NOT_FOUND},
        {"g", "none/x", ERR_NOT_FOUND},      {".", "x", ERR_FORBIDDEN},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(moves); i++) {
        ask(FILES_MOVE, path(moves[i].from));
        strcpy(asked.path2, path(moves[i].to));
        in_view(whole_view(), NULL, 0);
        must_fail(moves[i].code, moves[i].from);
    }
    ask(FILES_MOVE, path("g"));
    strcpy(asked.path2, "/dev/shm/berth-test-never");
    in_view(whole_view(), NULL, 0);
    must_fail(ERR_INVALID_REQUEST, "to another file system");

    CHECK(symlink("g", path("l")) == 0 && symlink("/etc/passwd", path("host")) == 0, "links");
    ask(FILES_CHMOD, path("l"));
    asked.mode = 0600;
    in_view(whole_view(), NULL, 0);
    must_do("chmod");
    CHECK(mode_of(path("g")) == 0600 && got.result.stat.mode == 0600, "of what the link leads to");
    ask(FILES_CHMOD, path("host"));
    asked.mode = 0666;
    in_view(whole_view(), NULL, 0);
    must_fail(ERR_FORBIDDEN, "another's file");
}
IN_A_PLACE(mkdir_move_and_chmod_do_what_they_say_and_no_more, changes)

static void removes(const struct place *p)
{
    begin_as_user(p, 022);
    CHECK(mkdir(path("keep"), 0755) == 0 && mkdir(path("d"), 0755) == 0 &&
              mkdir(path("d/e"), 0755) == 0 && mkfifo(path("d/fifo"), 0600) == 0 &&
              symlink(path("keep"), path("d/link")) == 0 &&
              symlink("../../keep", path("d/e/link")) == 0,
          "a tree");
    put_text(path("keep/f"), "kept");
    put_text(path("d/e/f"), "gone");
    run(FILES_REMOVE, "d");
    must_fail(ERR_INVALID_REQUEST, "not empty");
    CHECK(exists(path("d/e/f")), "and whole");
    run(FILES_REMOVE, "d/link");
    must_do("a link itself");
    CHECK(exists(path("keep/f")), "not what it leads to");
    ask(FILES_REMOVE, path("d"));
    asked.recursive = 1;
    in_view(whole_view(), NULL, 0);
    must_do("recursively");
    CHECK(!exists(path("d")) && text_is(path("keep/f"), "kept"), "the tree and nothing else");
    run(FILES_REMOVE, "d");
    must_fail(ERR_NOT_FOUND, "gone");
    run(FILES_REMOVE, "/");
    must_fail(ERR_FORBIDDEN, "the root");

    /* Deeper than a path or a process's descriptors can be. */
    CHECK(chdir(here->work) == 0, "chdir");
    for (int i = 0; i < 6000; i++)
        CHECK(mkdir("d", 0755) == 0 && chdir("d") == 0, "level %d", i);
    CHECK(chdir("/") == 0, "chdir");
    ask(FILES_REMOVE, path("d"));
    asked.recursive = 1;
    in_view(whole_view(), NULL, 0);
    must_do("6,000 levels");
    CHECK(!exists(path("d")), "gone");
}
IN_A_PLACE(remove_takes_a_tree_of_any_depth_and_follows_no_link, removes)
