/* This file tests the file worker's watch of a directory, in a process of its own whose pipe is
 * read here: what is told, what bounds it, and when it ends. Needs root.
 */
#include "tests/kernel/files_fixture.h"

#include <signal.h>

#define WORKSPACE_SUITE files_watch

static pid_t worker;
static int changes, answers;

static void begin(const struct place *p)
{
    begin_as_user(p, 0);
    CHECK(mkdir(path("d"), 0755) == 0 && mkdir(path("d/s"), 0755) == 0, "directories");
}

static void watch(const char *name, bool recursive)
{
    int out[2], answer[2];
    CHECK(pipe2(out, O_CLOEXEC) == 0 && pipe2(answer, O_CLOEXEC) == 0, "pipes");
    ask(FILES_WATCH, path(name));
    asked.recursive = recursive;
    worker = fork();
    CHECK(worker >= 0, "fork");
    if (worker == 0) {
        struct err err = {0};
        close(out[0]);
        close(answer[0]);
        _exit(files_run(whole_view(), &asked, -1, out[1], answer[1], &err) < 0);
    }
    close(out[1]);
    close(answer[1]);
    changes = out[0];
    answers = answer[0];
}

/* The next change as "kind path"; "" at the end. */
static const char *next_change(void)
{
    static char text[FILES_PATH_MAX + 32];
    static const char *const names[] = {
#define X(symbol, name) [FILES_##symbol] = (name),
        FILES_CHANGES(X)
#undef X
    };
    struct files_change c;
    struct pollfd waits = {.fd = changes, .events = POLLIN};
    char name[FILES_PATH_MAX] = "";
    CHECK(poll(&waits, 1, 20000) == 1, "a change within 20 s");
    ssize_t n = io_read_full(changes, &c, sizeof c);
    if (n == 0)
        return "";
    CHECK(n == sizeof c && !files_change_check(&c), "a change");
    CHECK(io_read_full(changes, name, c.path_length) == (ssize_t)c.path_length, "its path");
    snprintf(text, sizeof text, "%s %s", names[c.kind], name);
    return text;
}

static void await(const char *wanted)
{
    for (unsigned i = 0; i < 100000; i++) {
        const char *now = next_change();
        if (strcmp(now, wanted) == 0)
            return;
        CHECK(now[0], "it ended before \"%s\"", wanted);
    }
    CHECK(false, "\"%s\" was not told", wanted);
}

static void over(void)
{
    int status;
    memset(&got, 0, offsetof(struct answer, out));
    take_answer(answers);
    close(answers);
    close(changes);
    CHECK(waitpid(worker, &status, 0) == worker && WIFEXITED(status), "it ends");
    CHECK(got.ended, "with a result");
}

static void tells(const struct place *p)
{
    begin(p);
    watch("d", true);
    CHECK(strcmp(next_change(), "ready ") == 0, "ready first");
    put_text(path("d/s/f"), "x");
    await("created s/f");
    await("modified s/f");
    CHECK(rename(path("d/s"), path("d/t")) == 0, "rename");
    await("renamed s");
    await("created t");
    put_text(path("d/t/g"), "x");
    await("created t/g");
    put_text(path("d/.berth-write-1"), "x");
    CHECK(unlink(path("d/t/g")) == 0, "unlink");
    await("removed t/g");
    CHECK(mkdir(path("out"), 0755) == 0 && symlink("../out", path("d/l")) == 0, "a link");
    await("created l");
    put_text(path("out/hidden"), "x");
    CHECK(rename(path("d/t"), path("out/t")) == 0, "away");
    await("renamed t");
    put_text(path("out/t/unseen"), "x");
    CHECK(rename(path("d"), path("e")) == 0, "the directory itself");
    CHECK(strcmp(next_change(), "gone ") == 0, "nothing between");
    CHECK(strcmp(next_change(), "") == 0, "and no more");
    over();
    must_do("an end of itself");
}
IN_A_PLACE(a_watch_tells_what_happens_below_and_nothing_through_a_link, tells)

/* How many events the kernel keeps for one watcher. */
static unsigned queue_length(void)
{
    char text[32];
    unsigned long length = 0;
    if (io_read_at(AT_FDCWD, "/proc/sys/fs/inotify/max_queued_events", text, sizeof text) > 0)
        length = strtoul(text, NULL, 10);
    CHECK(length > 0 && length < 1000000, "a length: %lu", length);
    return (unsigned)length;
}

static void overflows(const struct place *p)
{
    unsigned length = queue_length();
    begin(p);
    watch("d", false);
    await("ready ");
    /* One that waits takes what is there when it is woken by the signal, before it stops. */
    int status;
    CHECK(kill(worker, SIGSTOP) == 0 && waitpid(worker, &status, WUNTRACED) == worker &&
              WIFSTOPPED(status),
          "stop");
    /* Made and removed: two events at least, which are no repetitions. */
    for (unsigned i = 0; i < length / 2 + 10; i++) {
        int fd = open(path("d/f"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        CHECK(fd >= 0 && close(fd) == 0 && unlink(path("d/f")) == 0, "a file");
    }
    CHECK(kill(worker, SIGCONT) == 0, "continue");
    await("overflow ");
    put_text(path("d/after"), "x");
    await("created after");
    close(changes);
    changes = open("/dev/null", O_RDONLY | O_CLOEXEC);
    over();
    CHECK(got.result.result < 0, "a reader that left is its end");
}
IN_A_PLACE(FS_2_what_finds_no_room_is_told_as_lost_and_the_watch_goes_on, overflows)

static void refuses(const struct place *p)
{
    struct files_view parked = {.mount_path = "/workspace", .beneath = true};
    char name[32];
    begin(p);
    put_text(path("f"), "x");
    ask(FILES_WATCH, path("f"));
    in_view(whole_view(), NULL, 0);
    must_fail(ERR_INVALID_REQUEST, "a file");
    ask(FILES_WATCH, "/proc/self");
    in_view(whole_view(), NULL, 0);
    must_fail(ERR_FORBIDDEN, "the kernel's own");
    parked.root = open(here->work, O_PATH | O_DIRECTORY | O_CLOEXEC);
    ask(FILES_WATCH, "/workspace/d");
    in_view(&parked, NULL, 0);
    must_fail(ERR_INVALID_STATE, "of a session that does not run");
    for (unsigned i = 0; i < FILES_WATCH_MAX; i++) {
        snprintf(name, sizeof name, "d/n%u", i);
        CHECK(mkdir(path(name), 0755) == 0, "mkdir");
    }
    ask(FILES_WATCH, path("d"));
    asked.recursive = 1;
    in_view(whole_view(), NULL, 0);
    must_fail(ERR_TOO_LARGE, "too many directories");
    CHECK(!got.begun && got.length == 0, "nothing is told");
}
IN_A_PLACE(what_cannot_be_watched_is_refused_before_it_begins, refuses)
