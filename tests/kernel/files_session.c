/* This file tests the file worker as a command of real sessions, with their filters, Landlock rules
 * and mounts, beside hostile programs of the same user; it is placed in the workspace here. Needs
 * root.
 */
#include "tests/kernel/session_fixture.h"

#include "runtime/files.h"

static void place_worker(void)
{
    char program[4096], command[9000];
    snprintf(program, sizeof program, "%s", init_path);
    snprintf(strrchr(program, '/') + 1, 32, "berth-files");
    snprintf(command, sizeof command, "install -m 0755 %s %s/worker", program, project);
    cr_assert_eq(system(command), 0); /* NOLINT: a path of the build and a mkdtemp name */
}

struct inside {
    struct runtime *rt;
    struct session *s;
    const struct spec *spec;
    uint64_t exec;
    char out[8192];
    ssize_t length;
    struct files_begin begin;
    struct files_result result;
};

static void demand(bool holds, struct inside *w, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "not so: %s (%d, %s: %s; %.80s)\n", what, w->result.result, w->result.err.step,
            w->result.err.detail, w->out);
    _exit(98);
}

static void ask(struct inside *w, const struct files_request *request, const char *in)
{
    static struct files_argv argv;
    int fds[3][2];
    struct err err = {0};
    struct outcome *o = calloc(1, sizeof *o);
    char **env = exec_environment(w->spec, NULL, NULL);
    demand(files_request_to_argv(request, &argv) == 0, w, "a request");
    argv.argv[0] = "/workspace/worker";
    for (int i = 0; i < 3; i++)
        demand(pipe2(fds[i], O_CLOEXEC) == 0, w, "pipe");
    struct exec_request exec = {
        .argv = argv.argv,
        .env = (const char *const *)env,
        .cwd = "/",
        .uid = w->spec->process.uid,
        .gid = w->spec->process.gid,
        .stdin_fd = fds[0][0],
        .stdout_fd = fds[1][1],
        .stderr_fd = fds[2][1],
        .own_pipes = 7,
        .timeout_ms = 10000,
        .open_files = 64,
    };
    if (session_exec(w->s, ++w->exec, &exec, &err) < 0)
        die("exec", &err);
    free(env);
    close(fds[0][0]), close(fds[1][1]), close(fds[2][1]);
    /* A worker that refuses ends without reading. */
    demand(!in || write(fds[0][1], in, strlen(in)) == (ssize_t)strlen(in) || errno == EPIPE, w,
           "write");
    close(fds[0][1]);
    memset(&w->result, 0, sizeof w->result);
    w->length = io_read_full(fds[1][0], w->out, sizeof w->out - 1);
    w->out[w->length > 0 ? w->length : 0] = 0;
    uint32_t magic;
    while (io_read_full(fds[2][0], &magic, 4) == 4) {
        void *to = magic == FILES_MAGIC ? (void *)&w->result : (void *)&w->begin;
        memcpy(to, &magic, 4);
        demand(files_message_size(magic) > 0, w, "magic");
        io_read_full(fds[2][0], (char *)to + 4, files_message_size(magic) - 4);
    }
    close(fds[1][0]), close(fds[2][0]);
    follow(w->s, w->exec, o);
    free(o);
    demand(!files_result_check(&w->result, sizeof w->result), w, "a result");
}

static void ask_path(struct inside *w, enum files_operation operation, const char *path,
                     const char *in)
{
    struct files_request request;
    files_request_init(&request, operation);
    snprintf(request.path, sizeof request.path, "%s", path);
    if (operation == FILES_READ)
        request.length = UINT64_MAX;
    if (operation == FILES_CHMOD)
        request.mode = 0640;
    request.recursive = operation == FILES_REMOVE;
    if (operation == FILES_MOVE)
        snprintf(request.path2, sizeof request.path2, "%s.moved", path);
    ask(w, &request, in);
}

static void shell(struct inside *w, const char *command)
{
    struct outcome *o = calloc(1, sizeof *o);
    exec_shell(w->s, w->spec, ++w->exec, command, 20000);
    follow(w->s, w->exec, o);
    free(o);
}

static void each_operation(struct inside *w)
{
    ask_path(w, FILES_PROBE, "", NULL);
    demand(w->result.result == 0, w, "probe");
    ask_path(w, FILES_WRITE, "/workspace/a/b", "text");
    demand(w->result.result == 0 && w->result.stat.uid == w->spec->process.uid, w, "write");
    ask_path(w, FILES_WRITE, "/workspace/a/b", "other");
    demand(w->result.result == 0, w, "write again");
    ask_path(w, FILES_READ, "/workspace/a/b", NULL);
    demand(w->result.result == 0 && strcmp(w->out, "other") == 0 && w->begin.bytes == 5, w, "read");
    ask_path(w, FILES_CHMOD, "/workspace/a/b", NULL);
    demand(w->result.result == 0 && w->result.stat.mode == 0640, w, "chmod");
    ask_path(w, FILES_STAT, "/workspace/a", NULL);
    demand(w->result.result == 0 && w->result.stat.type == FILES_DIRECTORY, w, "stat");
    ask_path(w, FILES_MOVE, "/workspace/a/b", NULL);
    demand(w->result.result == 0, w, "move");
    ask_path(w, FILES_LIST, "/workspace/a", NULL);
    demand(w->result.result == 0 && memmem(w->out, (size_t)w->length, "b.moved", 7), w, "list");
    ask_path(w, FILES_MKDIR, "/tmp/x/y", NULL);
    demand(w->result.result == 0, w, "mkdir on the scratch");
    ask_path(w, FILES_TREE_READ, "/workspace/a", NULL);
    demand(w->result.result == 0 && memmem(w->out, (size_t)w->length, "other", 5), w, "tree_read");
    ask_path(w, FILES_TREE_WRITE, "/workspace/t", "");
    demand(w->result.result < 0 && w->result.err.code == ERR_INVALID_REQUEST, w, "tree_write");
    ask_path(w, FILES_REMOVE, "/workspace/a", NULL);
    demand(w->result.result == 0, w, "remove");
}

static void hostile_tree(struct inside *w)
{
    shell(
        w,
        "ln -s /proc/self/environ e; ln -s /proc/1/root r; mkfifo f; ln -s /dev/null n; ln -s /sys "
        "s; ln -s /etc/passwd p; ln -s l l");
    static const char *const refused[] = {"e", "r/etc/passwd", "f", "n", "s/kernel", "l"};
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++) {
        char path[64];
        snprintf(path, sizeof path, "/workspace/%s", refused[i]);
        ask_path(w, FILES_READ, path, NULL);
        demand(w->result.result < 0 && w->length == 0, w, refused[i]);
        ask_path(w, FILES_WRITE, path, "x");
        demand(w->result.result < 0, w, refused[i]);
    }
    ask_path(w, FILES_READ, "/workspace/p", NULL);
    demand(w->result.result == 0 && strstr(w->out, "user:"), w, "the session's own passwd");
    ask_path(w, FILES_WRITE, "/workspace/p", "evil");
    demand(w->result.result < 0, w, "read-only");
    ask_path(w, FILES_WRITE, "/usr/bin/evil", "evil");
    demand(w->result.result < 0, w, "the host's programs");
    ask_path(w, FILES_WRITE, "/workspace/kept/x", "evil");
    demand(w->result.result < 0 && w->result.err.code == ERR_FORBIDDEN, w, "a protected path");
    ask_path(w, FILES_REMOVE, "/workspace/kept", NULL);
    demand(w->result.result < 0, w, "a protected path");
}

/* Programs of the same user beside it: whatever they do, each request ends, and with an answer or
 * with the worker's death. */
static void beside_hostile(struct inside *w)
{
    exec_shell(
        w->s, w->spec, ++w->exec,
        "mkdir -p d o; echo x >d/f; while :; do mv d e; ln -s o d; for p in /proc/[0-9]*; do "
        "cat $p/mem $p/environ; ls -l $p/fd; done; rm d; mv e d; done >/dev/null 2>&1",
        60000);
    uint64_t storm = w->exec;
    for (int i = 0; i < 100; i++) {
        ask_path(w, i % 2 ? FILES_READ : FILES_WRITE, "/workspace/d/f", i % 2 ? NULL : "x");
        demand(w->result.result <= 0, w, "an answer");
        demand(w->length <= 2, w, "at most what is there");
    }
    session_signal(w->s, storm, SIGKILL, AGENT_SCOPE_TREE);
}

static void in_session(enum spec_seccomp_profile profile, uint32_t uid)
{
    char kept[128];
    place_worker();
    snprintf(kept, sizeof kept, "%s/kept", project);
    cr_assert(mkdir(kept, 0755) == 0 && chown(kept, 2000, 2000) == 0);
    struct spec *spec = new_spec();
    spec->process.seccomp = profile;
    spec->process.uid = spec->process.gid = uid;
    spec->protect_count = 1;
    strcpy(spec->protect[0].path, "kept");
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err = {0};
        struct inside *w = calloc(1, sizeof *w);
        signal(SIGPIPE, SIG_IGN);
        w->rt = open_runtime();
        w->spec = spec;
        w->s = create(w->rt, spec);
        each_operation(w);
        hostile_tree(w);
        beside_hostile(w);
        if (session_destroy(w->s, &err) < 0)
            die("destroy", &err);
        runtime_close(w->rt);
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "see above: %x", status);
    free(spec);
}

Test(files_session, FS_1_the_worker_works_under_the_default_filter, .init = setup, .fini = teardown,
     .timeout = 120)
{
    in_session(SPEC_SECCOMP_DEFAULT, SPEC_UID_USER);
}

Test(files_session, FS_1_the_worker_works_under_the_strict_filter, .init = setup, .fini = teardown,
     .timeout = 120)
{
    in_session(SPEC_SECCOMP_STRICT, SPEC_UID_USER);
}
