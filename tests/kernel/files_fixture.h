/* This file asks the file worker's core in this process, or the program, for the files_*.c tests;
 * it never decides what a test means. What goes through pipes here is small enough to fit them.
 */
#pragma once

#include "runtime/agent/files.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "tests/kernel/workspace_fixture.h"

#include <poll.h>
#include <sys/wait.h>
#include <time.h>

struct answer {
    int r; /* what the call or the program returned */
    bool begun, ended;
    struct files_begin begin;
    struct files_result result;
    char out[65536];
    size_t length; /* of out */
};

/* Where the test is. */
static const struct place *here;

static inline char *path(const char *name)
{
    return at(here->work, name);
}

/* One at a time. */
static struct answer got;
static struct files_request asked;

static inline void ask(enum files_operation operation, const char *path)
{
    files_request_init(&asked, operation);
    snprintf(asked.path, sizeof asked.path, "%s", path);
    if (operation == FILES_READ)
        asked.length = UINT64_MAX;
}

static inline void take_answer(int pipe)
{
    uint32_t magic;
    while (io_read_full(pipe, &magic, sizeof magic) == sizeof magic) {
        char *to = magic == FILES_MAGIC ? (char *)&got.result : (char *)&got.begin;
        size_t size = files_message_size(magic);
        CHECK(size > 0, "magic %x", magic);
        memcpy(to, &magic, sizeof magic);
        CHECK(io_read_full(pipe, to + sizeof magic, size - sizeof magic) ==
                  (ssize_t)(size - sizeof magic),
              "a whole message");
        if (magic == FILES_MAGIC)
            got.ended = true;
        else
            got.begun = true;
        const char *wrong = magic == FILES_MAGIC ? files_result_check(&got.result, size)
                                                 : files_begin_check(&got.begin, size);
        CHECK(!wrong, "%s", wrong);
    }
}

typedef int (*ask_fn)(void *data, int in, int out, int answer, struct err *err);

static inline void through_pipes(ask_fn call, void *data, const void *bytes, size_t length)
{
    int in[2], out[2], answer[2];
    struct err err = {0};
    memset(&got, 0, offsetof(struct answer, out));
    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(answer, O_CLOEXEC) == 0,
          "pipes");
    CHECK(length == 0 || write(in[1], bytes, length) == (ssize_t)length, "fits the pipe");
    close(in[1]);
    got.r = call(data, in[0], out[1], answer[1], &err);
    close(in[0]);
    close(out[1]);
    close(answer[1]);
    ssize_t n = io_read_full(out[0], got.out, sizeof got.out - 1);
    CHECK(n >= 0, "read");
    got.length = (size_t)n;
    got.out[n] = 0;
    take_answer(answer[0]);
    close(out[0]);
    close(answer[0]);
}

static inline int ask_core(void *data, int in, int out, int answer, struct err *err)
{
    int r = files_run(data, &asked, in, out, answer, err);
    CHECK((r < 0) == (err->code != ERR_NONE), "an error is told");
    return r;
}

/* `bytes` NULL: nothing goes in. */
static inline void in_view(const struct files_view *view, const void *bytes, size_t length)
{
    through_pipes(ask_core, (void *)(uintptr_t)view, bytes, length);
}

/* Everything that this process sees. */
static inline struct files_view *whole_view(void)
{
    static struct files_view view = {.root = -1};
    if (view.root < 0)
        view.root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return &view;
}

static inline void must_do(const char *what)
{
    CHECK(got.ended && got.r == 0 && got.result.result == 0, "%s: %d %s: %s", what, got.r,
          got.result.err.step, got.result.err.detail);
}

static inline void must_fail(enum err_code code, const char *what)
{
    CHECK(got.ended && got.result.result < 0 && got.result.err.code == code,
          "%s: %d is %s (%s: %s), not %s", what, got.result.result,
          err_code_name((enum err_code)got.result.err.code), got.result.err.step,
          got.result.err.detail, err_code_name(code));
}

static inline void put_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s", path);
    close(fd);
}

static inline bool text_is(const char *path, const char *text)
{
    char now[4096];
    ssize_t n = io_read_at(AT_FDCWD, path, now, sizeof now);
    return n >= 0 && strcmp(now, text) == 0;
}

static inline unsigned mode_of(const char *path)
{
    struct stat st;
    CHECK(lstat(path, &st) == 0, "%s", path);
    return st.st_mode & 07777u;
}

static inline int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The entries of a list or tree, as "name type\n" lines; bytes of a tree are passed over. */
static inline const char *entries_text(bool tree)
{
    static char text[65536];
    size_t used = 0;
    text[0] = 0;
    for (size_t at = 0; at < got.length;) {
        struct files_entry e;
        CHECK(got.length - at >= sizeof e, "a whole entry");
        memcpy(&e, got.out + at, sizeof e);
        at += sizeof e;
        const char *wrong = files_entry_check(&e);
        CHECK(!wrong, "%s", wrong);
        used += (size_t)snprintf(text + used, sizeof text - used, "%.*s %u\n", (int)e.path_length,
                                 got.out + at, e.stat.type);
        at += e.path_length + (tree ? (size_t)e.stat.size : 0);
    }
    return text;
}

static inline void become(uid_t uid)
{
    CHECK(setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0,
          "become %u", uid);
}

/* As an ordinary user from here on. */
static inline void begin_as_user(const struct place *p, mode_t mask)
{
    here = p;
    become(ALICE);
    umask(mask);
}
