/* This file is what the kernel tests of the workspace share: a scratch directory on a real disk, a
 * spec, and a session's view of a tree. Checks work in forked children, where Criterion's do not.
 * Each test forks first: its process has two threads, and rights are changed per thread.
 */
#pragma once

#include "runtime/host/workspace.h"
#include "runtime/host/workspace_internal.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition, ...)                                                                 \
    do {                                                                                      \
        if (!(condition)) {                                                                   \
            fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition, \
                    errno);                                                                   \
            fprintf(stderr, "  " __VA_ARGS__);                                                \
            fputc('\n', stderr);                                                              \
            _exit(1);                                                                         \
        }                                                                                     \
    } while (0)

enum { BASE = 1879048192, SLOT_USER = BASE + 1000, ALICE = 7001, BOB = 7002, STAFF = 7100 };

struct place {
    char top[64], work[96], share[96], state[96];
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void place_make(struct place *p)
{
    strcpy(p->top, "/var/tmp/berth-test-XXXXXX");
    cr_assert_neq(mkdtemp(p->top), NULL);
    chmod(p->top, 0755);
    snprintf(p->work, sizeof p->work, "%s/work", p->top);
    snprintf(p->share, sizeof p->share, "%s/share", p->top);
    snprintf(p->state, sizeof p->state, "%s/state", p->top);
    cr_assert_eq(mkdir(p->work, 0755), 0);
    cr_assert_eq(chown(p->work, ALICE, ALICE), 0);
}

static inline void place_remove(struct place *p)
{
    cr_assert_eq(nftw(p->top, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static inline char *at(const char *dir, const char *name)
{
    static char text[8][512];
    static unsigned i;
    char whole[512]; /* `dir` may be a text of an earlier call */
    snprintf(whole, sizeof whole, "%s/%s", dir, name);
    return strcpy(text[i++ % 8], whole);
}

static inline void write_file(const char *path, uid_t owner)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    CHECK(fd >= 0 && fchown(fd, owner, owner) == 0, "%s", path);
    close(fd);
}

static inline void make_directory(const char *path, uid_t owner)
{
    CHECK(mkdir(path, 0755) == 0 && chown(path, owner, owner) == 0, "%s", path);
}

static inline bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static inline unsigned entries(const char *path)
{
    DIR *d = opendir(path);
    unsigned n = 0;
    for (const struct dirent *e; d && (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (d)
        closedir(d);
    return n;
}

static inline void spec_directory(struct spec *s, const char *path)
{
    spec_init(s);
    strcpy(s->workspace_id, "local");
    strcpy(s->session_id, "one");
    s->workspace.kind = SPEC_WORKSPACE_DIRECTORY;
    strcpy(s->workspace.path, path);
    strcpy(s->workspace.mount_path, "/workspace");
    s->process.uid = s->process.gid = 1000;
}

static inline void spec_add_protect(struct spec *s, const char *path, bool is_default)
{
    struct spec_protect *p = &s->protect[s->protect_count++];
    strcpy(p->path, path);
    p->is_default = is_default;
}

static inline struct workspace_options options_of(const struct place *p)
{
    return (struct workspace_options){.uid_base = BASE,
                                      .default_uid = 1000,
                                      .state_dir = p->state,
                                      .share_dir = p->share,
                                      .run_id = "test"};
}

/* What was told, as "key: text" lines. */
static char told[16384];

static inline void tell(void *data, const char *key, const char *text)
{
    (void)data;
    size_t n = strlen(told);
    snprintf(told + n, sizeof told - n, "%s: %s\n", key, text);
}

static inline void must_open(struct workspace *ws, const struct spec *s,
                             const struct workspace_options *o)
{
    struct err err = {0};
    char line[2048] = "";
    told[0] = 0;
    int r = workspace_open(ws, s, o, tell, NULL, &err);
    if (r < 0)
        err_format(&err, line, sizeof line);
    CHECK(r == 0, "%s", line);
    workspace_tell(ws, tell, NULL);
}

static inline void must_close(struct workspace *ws)
{
    struct err err = {0};
    told[0] = 0;
    CHECK(workspace_close(ws, tell, NULL, &err) == 0, "%s: %s", err.step, err.detail);
}

static inline void must_refuse(const struct spec *s, const struct workspace_options *o,
                               enum err_code code, const char *words)
{
    struct workspace ws;
    struct err err = {0};
    char line[2048] = "";
    int r = workspace_open(&ws, s, o, tell, NULL, &err);
    err_format(&err, line, sizeof line);
    CHECK(r < 0, "it was opened");
    CHECK(err.code == code, "%s", line);
    CHECK(strstr(line, words), "no \"%s\" in: %s", words, line);
}

/* Run `body` in a child, alone with one thread and mounts of its own. */
static inline int alone(void (*body)(const struct place *), const struct place *p)
{
    fflush(NULL);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0,
              "a mount namespace");
        body(p);
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

/* Run `body` as the session's user `uid` with the tree at "." of that process. */
static inline void inside_as(const struct workspace *ws, const struct place *p, uid_t uid,
                             void (*body)(void))
{
    pid_t pid = fork();
    CHECK(pid >= 0, "fork");
    if (pid == 0) {
        char *view = at(p->top, "view");
        CHECK(unshare(CLONE_NEWNS) == 0, "unshare");
        CHECK(mkdir(view, 0755) == 0 || errno == EEXIST, "view");
        CHECK(move_mount(ws->tree, "", AT_FDCWD, view, MOVE_MOUNT_F_EMPTY_PATH) == 0, "attach");
        CHECK(chdir(view) == 0 && setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 &&
                  setresuid(uid, uid, uid) == 0,
              "become %u", uid);
        body();
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0, "inside: status %x", status);
}

#define IN_A_PLACE(name, body)                \
    Test(WORKSPACE_SUITE, name)               \
    {                                         \
        struct place p;                       \
        place_make(&p);                       \
        int status = alone(body, &p);         \
        place_remove(&p);                     \
        cr_assert_eq(status, 0, "see above"); \
    }
