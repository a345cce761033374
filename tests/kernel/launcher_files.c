/* This file tests what the launcher does with files of sessions that do not run: for whom they are
 * opened, what goes on side by side, and what waits. */
#include "tests/kernel/launcher_fixture.h"

TestSuite(launcher_files, .init = fixture, .fini = fixture_end, .timeout = 60);

static struct launcher_reply reply;

Test(launcher_files, a_file_operation_is_told_who_asks_and_answers_through_its_pipe)
{
    static struct launcher_files content;
    content.spec = *plain_spec();
    content.request = (struct files_request){
        .magic = FILES_MAGIC, .version = FILES_VERSION, .operation = FILES_STAT};
    strcpy(content.request.path, "/workspace");
    int data = sealed(&content, sizeof content, ALL_SEALS), pipes[2], pair[2];
    cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    start_fake();
    struct launcher_request r = request_of(LAUNCHER_FILES, 9);
    ask(&r, (int[]){data, pipes[1], pair[0]}, 3);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.result, 0, "%s", reply.err.detail);
    uint32_t operation = 0;
    cr_expect_eq(read(pipes[0], &operation, sizeof operation), (ssize_t)sizeof operation);
    cr_expect_eq(operation, FILES_STAT);
    cr_expect_eq(shared->asker_uid, 0);
    for (unsigned i = 0; i < 2; i++) {
        close(pipes[i]);
        close(pair[i]);
    }
    close(data);
    stop_launcher();
}

Test(launcher_files, files_of_one_session_are_worked_on_side_by_side_and_what_changes_it_waits)
{
    static struct launcher_files content[2];
    int data[2], pipes[2][2], pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    start_fake();
    for (unsigned i = 0; i < 2; i++) {
        content[i].spec = *plain_spec();
        content[i].request = (struct files_request){.magic = FILES_MAGIC,
                                                    .version = FILES_VERSION,
                                                    .operation = i == 0 ? FILES_WRITE : FILES_STAT};
        strcpy(content[i].request.path, "/workspace/f");
        data[i] = sealed(&content[i], sizeof content[i], ALL_SEALS);
        cr_assert_eq(pipe2(pipes[i], O_CLOEXEC), 0);
    }
    struct launcher_request r = request_of(LAUNCHER_FILES, 9);
    ask(&r, (int[]){data[0], pipes[0][1], pipes[0][0], pair[0]}, 4);
    for (unsigned i = 0; i < 1000 * test_slower() && !shared->log_length; i++)
        nap(5);
    cr_assert_eq(shared->log[0], NOTE_FILES, "it writes, and does not come to its end");
    struct launcher_request second = request_of(LAUNCHER_FILES, 9);
    ask(&second, (int[]){data[1], pipes[1][1], pair[0]}, 3);
    cr_assert_eq(hear(&reply, 8000), 1);
    cr_expect(reply.ticket == second.ticket && reply.result == 0, "%s", reply.err.detail);
    struct launcher_request end = request_of(LAUNCHER_END, 9);
    ask(&end, NULL, 0);
    cr_expect_eq(hear(&reply, 300), -1, "the end waits for both");
    shared->go = true;
    cr_assert_eq(hear(&reply, 8000), 1);
    cr_expect_eq(reply.ticket, r.ticket);
    cr_assert_eq(hear(&reply, 8000), 1);
    cr_expect_eq(reply.ticket, end.ticket);
    for (unsigned i = 0; i < 2; i++) {
        close(data[i]);
        close(pair[i]);
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
    stop_launcher();
}

Test(launcher_files, FS_3_what_a_lost_launcher_writes_is_written_before_anything_becomes_of_its_row)
{
    static struct launcher_files content;
    content.spec = *plain_spec();
    content.request = (struct files_request){
        .magic = FILES_MAGIC, .version = FILES_VERSION, .operation = FILES_WRITE};
    strcpy(content.request.path, "/workspace/f");
    int data = sealed(&content, sizeof content, ALL_SEALS), pipes[2], pair[2];
    cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    start_fake();
    struct launcher_request r = request_of(LAUNCHER_FILES, 9);
    ask(&r, (int[]){data, pipes[1], pipes[0], pair[0]}, 4);
    for (unsigned i = 0; i < 1000 * test_slower() && !shared->log_length; i++)
        nap(5);
    cr_assert_eq(shared->log[0], NOTE_FILES);
    kill(launcher, SIGKILL);
    cr_assert_eq(wait_launcher(5000), 128 + SIGKILL);
    fd_replace(&front, -1);
    fd_replace(&life, -1);
    start_fake();
    r = request_of(LAUNCHER_END, 9);
    r.incarnation = 2; /* of whatever life of the session */
    ask(&r, NULL, 0);
    cr_expect_eq(hear(&reply, 300), -1, "it waits for the lock of the row");
    cr_expect_eq(shared->ends, 0);
    shared->go = true;
    cr_assert_eq(hear(&reply, 8000), 1);
    cr_expect_eq(reply.result, 0, "%s", reply.err.detail);
    const int64_t log[] = {NOTE_FILES, -NOTE_FILES, 9000};
    for (unsigned i = 0; i < ARRAY_LENGTH(log); i++)
        cr_expect_eq(shared->log[i], log[i]);
    for (unsigned i = 0; i < 2; i++) {
        close(pipes[i]);
        close(pair[i]);
    }
    close(data);
    stop_launcher();
}
