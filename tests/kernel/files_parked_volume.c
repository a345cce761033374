/* This file tests who may change a volume beneath a session that does not run (WS-2), with real
 * volumes; the operations themselves are files_parked.c's.
 */
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define WORKSPACE_SUITE files_parked_volume
#include "tests/kernel/files_parked_fixture.h"

static struct workspace held;
static struct workspace_options how;

static int open_held(const char *session, bool read_only, struct err *err)
{
    struct spec wish = spec;
    snprintf(wish.session_id, sizeof wish.session_id, "%s", session);
    wish.workspace.read_only = read_only;
    return workspace_open(&held, &wish, &how, tell, NULL, err);
}

/* What is changed beneath a parked session has the volume for itself. */
static void one_user_of_a_volume(const struct place *p)
{
    struct err err = {0};
    begin(p);
    how = options_of(p);
    spec.workspace.kind = SPEC_WORKSPACE_VOLUME;
    strcpy(spec.workspace.volume, "v");
    strcpy(spec.session_id, "parked");
    CHECK(open_held("lives", false, &err) == 0, "%s", err.detail);
    run_write("/workspace/f", "text");
    must_fail(ERR_WORKSPACE_IN_USE, "another session lives on it");
    CHECK(strstr(got.result.err.detail, "session lives of workspace"), "%s", got.result.err.detail);
    run(FILES_REMOVE, "/workspace/f");
    must_fail(ERR_WORKSPACE_IN_USE, "every change");
    run(FILES_LIST, "/workspace");
    must_do("to read changes nothing");
    must_close(&held);
    CHECK(open_held("reads", true, &err) == 0, "%s", err.detail);
    run_write("/workspace/f", "text");
    must_fail(ERR_WORKSPACE_IN_USE, "who reads would see it change");
    must_close(&held);
    /* A frozen one. */
    CHECK(open_held("parked", false, &err) == 0, "%s", err.detail);
    run_write("/workspace/f", "text");
    must_do("its own");
    must_close(&held);
    run_write("/workspace/f", "more");
    must_do("nobody lives on it");
}
IN_A_PLACE(WS_2_a_volume_is_changed_beneath_a_parked_session_when_nobody_lives_on_it,
           one_user_of_a_volume)

/* And nobody comes to live on it while that goes on. */
static void nobody_comes(const struct place *p)
{
    int in[2], answer[2];
    struct err err = {0};
    begin(p);
    how = options_of(p);
    spec.workspace.kind = SPEC_WORKSPACE_VOLUME;
    strcpy(spec.workspace.volume, "v");
    strcpy(spec.session_id, "parked");
    CHECK(open_held("makes", false, &err) == 0, "%s", err.detail);
    must_close(&held);
    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(answer, O_CLOEXEC) == 0, "pipes");
    pid_t worker = fork();
    if (worker == 0) {
        close(in[1]);
        ask(FILES_WRITE, "/workspace/f");
        _exit(ask_parked(NULL, in[0], -1, answer[1], &err) < 0);
    }
    CHECK(write(in[1], "new", 3) == 3, "the beginning");
    for (int left = 1; left > 0;) {
        CHECK(ioctl(in[1], FIONREAD, &left) == 0, "ioctl");
        poll(NULL, 0, 1);
    }
    CHECK(open_held("comes", false, &err) < 0 && err.code == ERR_WORKSPACE_IN_USE, "it has come");
    CHECK(strstr(err.detail, "session parked of workspace"), "%s", err.detail);
    int status;
    close(in[1]);
    CHECK(waitpid(worker, &status, 0) == worker && status == 0, "the write");
    CHECK(open_held("comes", false, &err) == 0, "%s", err.detail);
    must_close(&held);
}
IN_A_PLACE(WS_2_nobody_comes_to_live_on_a_volume_that_is_being_changed, nobody_comes)
