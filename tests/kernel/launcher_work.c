/* This file tests what the launcher promises a front that is honest: each request is answered once,
 * nothing about one session waits for another, and what a worker that died has left is ended. */
#include "tests/kernel/launcher_fixture.h"

#include "runtime/host/volume_remove.h"
#include "runtime/link/launcher_client.h"

TestSuite(launcher_work, .init = fixture, .fini = fixture_end, .timeout = 60);

static struct launcher_reply reply;

static void launch_row(int64_t row)
{
    ask_launch(row, plain_spec(), -1);
}

static void send_for(unsigned type, int64_t row)
{
    struct launcher_request r = request_of(type, row);
    ask(&r, NULL, 0);
}

/* Until so many workers have begun: they are at work now, and not before. */
static void wait_creates(unsigned many)
{
    for (unsigned i = 0; i < 2000 * test_slower() && shared->creates < many; i++)
        nap(5);
    cr_assert_geq(shared->creates, many);
}

Test(launcher_work, an_answer_has_what_was_read_back)
{
    start_fake();
    launch_row(7);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect(reply.type == LAUNCHER_LAUNCH && reply.row == 7 && reply.result == 0);
    cr_expect_str_eq(reply.launched.effective.spec_hash, "hash");
    cr_expect_eq(reply.launched.effective.landlock_abi, 7);
    cr_expect_eq(reply.launched.note_count, 1);
    cr_expect_str_eq(reply.launched.notes[0].key, "limits.memory");
    cr_expect_eq(reply.identity.cgroup_inode, 7);
    send_for(LAUNCHER_SAMPLE, 7);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect(reply.sample.pids == 3 && reply.sample.disk_bytes == UINT64_MAX);
    send_for(LAUNCHER_END, 7);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect(reply.result == 0 && reply.launched.note_count == 1);
    launch_row(ROW_REFUSED);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect(reply.result < 0 && reply.err.code == ERR_WORKSPACE_IN_USE);
    cr_expect_str_eq(reply.err.detail, "Somebody has it.");
    stop_launcher();
}

Test(launcher_work, one_session_waits_for_no_other_and_its_own_requests_keep_their_order)
{
    start_fake();
    launch_row(ROW_SLOW);
    send_for(LAUNCHER_END, ROW_SLOW);
    launch_row(ROW_SLOW);
    launch_row(1);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.row, 1, "P-4");
    cr_expect_eq(shared->ends, 0);
    shared->go = true;
    static const uint16_t order[] = {LAUNCHER_LAUNCH, LAUNCHER_END, LAUNCHER_LAUNCH};
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(hear(&reply, 5000), 1);
        cr_expect(reply.row == ROW_SLOW && reply.type == order[i]);
    }
    const int64_t log[] = {ROW_SLOW, 1, -1, -ROW_SLOW, ROW_SLOW * 1000, ROW_SLOW, -ROW_SLOW};
    cr_assert_eq(shared->log_length, ARRAY_LENGTH(log));
    for (unsigned i = 3; i < ARRAY_LENGTH(log); i++)
        cr_expect_eq(shared->log[i], log[i], "%u", i);
    stop_launcher();
}

Test(launcher_work, a_worker_that_dies_is_answered_for_and_what_it_left_is_ended_by_name)
{
    start_fake();
    launch_row(ROW_DIES);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect(reply.type == LAUNCHER_LAUNCH && reply.err.code == ERR_UNAVAILABLE);
    cr_expect_not_null(strstr(reply.err.detail, "signal 9"));
    cr_expect_not_null(strstr(reply.err.detail, "was ended"));
    cr_expect(shared->ends == 1 && shared->ended_row == ROW_DIES);
    send_for(LAUNCHER_FREEZE, ROW_DIES);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.err.code, ERR_UNAVAILABLE);
    cr_expect_eq(shared->ends, 1, "a session that may hold work is not ended for a freeze");
    stop_launcher();
}

Test(launcher_work, USE_1_what_is_known_of_an_end_whose_worker_died_is_told)
{
    start_fake();
    shared->last_cpu_ns = 70000;
    launch_row(1);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_not(reply.launched.last.taken);
    shared->end_dies = true;
    send_for(LAUNCHER_END, 1);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect(reply.result < 0 && strstr(reply.err.detail, "was ended"), "%s", reply.err.detail);
    cr_expect(reply.launched.last.taken && reply.launched.last.sample.cpu_ns == 70000);
    send_for(LAUNCHER_END, 1);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect(reply.result == 0 && reply.launched.last.sample.cpu_ns == 70000);
    stop_launcher();
}

Test(launcher_work, SES_5_a_start_that_overruns_its_deadline_is_killed_and_ended)
{
    start_fake();
    struct launcher_request r = request_of(LAUNCHER_LAUNCH, ROW_FOREVER);
    r.deadline_ms = 1;
    int fd = sealed(plain_spec(), sizeof(struct spec), ALL_SEALS);
    ask(&r, &fd, 1);
    close(fd);
    launch_row(3);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.row, 3);
    cr_assert_eq(hear(&reply, 15000), 1);
    cr_expect(reply.row == ROW_FOREVER && reply.err.code == ERR_UNAVAILABLE);
    cr_expect_not_null(strstr(reply.err.detail, "longer"));
    cr_expect(shared->ends == 1 && shared->ended_row == ROW_FOREVER);
    cr_expect(kill(shared->worker, 0) < 0 && errno == ESRCH);
    stop_launcher();
}

Test(launcher_work, a_cancel_ends_the_worker_or_the_wait_and_both_are_answered)
{
    workers_max = 1;
    start_fake();
    struct launcher_request r = request_of(LAUNCHER_LAUNCH, ROW_FOREVER);
    int fd = sealed(plain_spec(), sizeof(struct spec), ALL_SEALS);
    ask(&r, &fd, 1);
    struct launcher_request waiting = request_of(LAUNCHER_LAUNCH, 2);
    ask(&waiting, &fd, 1);
    close(fd);
    wait_creates(1);
    struct launcher_request cancel = request_of(LAUNCHER_CANCEL, 0);
    cancel.ticket = waiting.ticket;
    ask(&cancel, NULL, 0);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(hear(&reply, 5000), 1);
        cr_expect_eq(reply.ticket, waiting.ticket);
        cr_expect_eq(reply.result < 0, reply.type == LAUNCHER_LAUNCH);
    }
    cancel.ticket = r.ticket;
    ask(&cancel, NULL, 0);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(hear(&reply, 5000), 1);
        cr_expect_eq(reply.ticket, r.ticket);
        cr_expect_eq(reply.result < 0, reply.type == LAUNCHER_LAUNCH);
    }
    cr_expect(shared->creates == 1 && shared->ended_row == ROW_FOREVER);
    cancel.ticket = 999999; /* nobody's: success */
    ask(&cancel, NULL, 0);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.result, 0);
    stop_launcher();
}

Test(launcher_work, the_end_of_an_init_is_told_once_and_after_the_answer)
{
    start_fake();
    launch_row(ROW_HAS_INIT);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.type, LAUNCHER_LAUNCH);
    cr_expect_eq(hear(&reply, 200), -1);
    pid_t init = shared->init;
    shared->init = 0;
    kill(init, SIGKILL);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect(reply.type == LAUNCHER_REQUEST_END && reply.row == ROW_HAS_INIT &&
              reply.incarnation == 1);
    cr_expect_eq(hear(&reply, 200), -1);
    for (unsigned i = 0; i < 400 * test_slower() && kill(init, 0) == 0; i++)
        nap(5);
    cr_expect(kill(init, 0) < 0, "the launcher has waited for it: no zombie");
    stop_launcher();
}

/* Numbers that the launcher's epoll still watches and the launcher itself has closed. */
static unsigned watched_but_closed(void)
{
    unsigned count = 0;
    for (int fd = 3; fd < 64; fd++) {
        char path[64], text[4096] = "";
        snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", launcher, fd);
        if (io_read_at(AT_FDCWD, path, text, sizeof text) < 0)
            continue;
        for (const char *at = strstr(text, "tfd:"); at; at = strstr(at + 1, "tfd:")) {
            snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", launcher, atoi(at + 4));
            count += access(path, F_OK) < 0;
        }
    }
    return count;
}

/* A worker is a fork: it has every descriptor that the launcher had, and epoll goes by the file. */
Test(launcher_work, what_has_ended_is_not_heard_of_while_a_worker_still_has_its_descriptor)
{
    start_fake();
    for (unsigned i = 0; i < 2; i++) {
        launch_row(ROW_HAS_INIT + i);
        cr_assert_eq(hear(&reply, 5000), 1);
    }
    cr_expect_eq(hear(&reply, 200), -1);
    launch_row(ROW_SLOW);
    wait_creates(3);
    cr_expect_eq(watched_but_closed(), 0);
    send_for(LAUNCHER_END, ROW_HAS_INIT); /* ends the second one's init */
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(hear(&reply, 5000), 1, "its end is told");
    cr_expect_eq(watched_but_closed(), 0);
    shared->go = true;
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect(reply.type == LAUNCHER_LAUNCH && reply.row == ROW_SLOW);
    stop_launcher();
}

Test(launcher_work, an_init_of_an_earlier_launcher_is_watched_again_after_a_look)
{
    start_fake();
    launch_row(ROW_HAS_INIT);
    cr_assert_eq(hear(&reply, 5000), 1);
    kill(launcher, SIGKILL);
    cr_assert_eq(wait_launcher(5000), 128 + SIGKILL);
    fd_replace(&front, -1);
    fd_replace(&life, -1);
    start_fake();
    send_for(LAUNCHER_LOOK, ROW_HAS_INIT);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.found, SESSION_FOUND_WHOLE);
    pid_t init = shared->init;
    shared->init = 0;
    kill(init, SIGKILL);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect(reply.type == LAUNCHER_REQUEST_END && reply.row == ROW_HAS_INIT);
    stop_launcher();
}

Test(launcher_work, no_more_sessions_than_the_operator_allows_those_of_before_included)
{
    config.sessions_max = 4;
    fake_list_count = 2; /* rows 101 and 102 are there already */
    start_fake();
    for (int64_t row = 1; row <= 3; row++) {
        launch_row(row);
        cr_assert_eq(hear(&reply, 5000), 1);
        cr_expect_eq(reply.result == 0, row < 3);
    }
    cr_expect_not_null(strstr(reply.err.detail, "sessions_max"));
    launch_row(2); /* again, the same */
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.result, 0);
    send_for(LAUNCHER_END, 101);
    cr_assert_eq(hear(&reply, 5000), 1);
    launch_row(3);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.result, 0);
    stop_launcher();
}

Test(launcher_work, a_list_comes_in_pages_in_order)
{
    fake_list_count = 150;
    start_fake();
    struct launcher_request r = request_of(LAUNCHER_LIST, 0);
    r.incarnation = 0;
    int64_t expected = 101;
    do {
        ask(&r, NULL, 0);
        cr_assert_eq(hear(&reply, 5000), 1);
        cr_assert_eq(strlen(reply.identity.boot_id), 36, "which boot this is");
        for (uint32_t i = 0; i < reply.list.count; i++)
            cr_assert_eq(reply.list.names[i].row, expected++);
        r.ticket++;
        r.row = reply.list.names[reply.list.count - 1].row;
        r.incarnation = reply.list.names[reply.list.count - 1].incarnation;
    } while (reply.list.more);
    cr_expect_eq(expected, 251);
    stop_launcher();
}

Test(launcher_work, when_front_or_the_supervisor_ends_workers_finish_and_the_launcher_ends)
{
    start_fake();
    launch_row(ROW_SLOW);
    wait_creates(1);
    fd_replace(&life, -1);
    cr_expect_eq(wait_launcher(300), -1, "a worker is under way");
    shared->go = true;
    cr_expect_eq(wait_launcher(5000), 0);
    cr_expect_eq(shared->log[1], -ROW_SLOW, "it has finished");
    start_fake();
    fd_replace(&front, -1);
    cr_expect_eq(wait_launcher(5000), 0);
}

Test(launcher_work, a_worker_that_lost_its_launcher_finishes_before_the_next_one_begins)
{
    start_fake();
    launch_row(ROW_SLOW);
    wait_creates(1);
    kill(launcher, SIGKILL);
    cr_assert_eq(wait_launcher(5000), 128 + SIGKILL);
    fd_replace(&front, -1);
    fd_replace(&life, -1);
    start_fake();
    send_for(LAUNCHER_END, ROW_SLOW);
    cr_expect_eq(hear(&reply, 300), -1, "it waits for the lock of the row");
    cr_expect_eq(shared->ends, 0);
    shared->go = true;
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect(reply.type == LAUNCHER_END && reply.result == 0);
    const int64_t log[] = {ROW_SLOW, -ROW_SLOW, ROW_SLOW * 1000};
    for (unsigned i = 0; i < ARRAY_LENGTH(log); i++)
        cr_expect_eq(shared->log[i], log[i]);
    stop_launcher();
}

Test(launcher_work, one_that_opens_late_does_not_displace_the_one_that_came_after_it)
{
    uint64_t early, late;
    struct err err;
    cr_assert_eq(launcher_number(&config, &early, &err), 0);
    cr_assert_eq(launcher_number(&config, &late, &err), 0);
    cr_assert(late > early);
    generation = late;
    start_fake();
    send_for(LAUNCHER_END, 5);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.result, 0);
    int kept_front = front, kept_life = life;
    pid_t kept = launcher;
    generation = early;
    start_fake();
    send_for(LAUNCHER_END, 5);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.result, -ESTALE, "its follower is at work already");
    stop_launcher();
    front = kept_front, life = kept_life, launcher = kept;
    send_for(LAUNCHER_END, 6);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.result, 0, "%d", reply.result);
    stop_launcher();
}

/* ---- killed under load
 * ------------------------------------------------------------------------------ */

struct asked {
    struct launcher_client *client;
    int64_t row;
    unsigned *open, *lost;
};

static void repeat(void *data, const struct launcher_reply *r, const struct err *err);

static void ask_again(struct asked *asked)
{
    struct launcher_request r = request_of(LAUNCHER_END, asked->row);
    struct err err;
    cr_assert_eq(launcher_client_call(asked->client, &r, NULL, 0, repeat, asked, &err), 0);
}

static void repeat(void *data, const struct launcher_reply *r, const struct err *err)
{
    struct asked *asked = data;
    (void)err;
    if (r && r->result == 0) {
        --*asked->open;
        return;
    }
    ++*asked->lost;
    ask_again(asked);
}

Test(launcher_work, a_launcher_killed_at_random_instants_loses_no_request_that_is_repeated)
{
    enum { ROUNDS = 40, EACH = 40 };
    struct err err;
    struct launcher_client *client;
    static struct asked asked[EACH];
    unsigned open = 0, lost = 0, seed = 12345;
    start_fake();
    cr_assert_eq(launcher_client_new(&client, front, &err), 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < EACH; i++) {
            asked[i] = (struct asked){client, round * EACH + i + 1, &open, &lost};
            open++;
            ask_again(&asked[i]);
        }
        seed = seed * 1103515245 + 12345;
        unsigned after = seed >> 16 & 31;
        unsigned turn = 0;
        while (open > 0) {
            if (turn++ == after)
                kill(launcher, SIGKILL);
            struct pollfd p = {.fd = launcher_client_fd(client), .events = POLLIN};
            if (launcher_client_wants_write(client))
                p.events |= POLLOUT;
            cr_assert_geq(poll(&p, 1, 5000), 0);
            if (launcher_client_work(client, &err) == LAUNCHER_CLIENT_LOST) {
                wait_launcher(5000);
                fd_replace(&life, -1);
                start_fake();
                launcher_client_replace(client, front);
            }
        }
    }
    cr_expect_eq(open, 0);
    cr_expect_geq(shared->ends, ROUNDS * EACH);
    cr_log_info("%u were lost and repeated", lost);
    cr_expect_gt(lost, 0, "the kills hit something");
    launcher_client_free(client);
    front = -1;
    stop_launcher();
}

/* ---- volumes
 * ---------------------------------------------------------------------------------------- */

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *format, ...)
{
    char command[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(command, sizeof command, format, ap);
    va_end(ap);
    cr_assert_eq(system(command), 0, "%s", command); /* NOLINT: literals and a mkdtemp name */
}

static void make_volume(const char *name)
{
    run("mkdir -p -m 0700 %s/volumes/local/%s && mkdir %s/volumes/local/%s/data && "
        "head -c 256 /dev/zero > %s/volumes/local/%s/lock",
        config.state_dir, name, config.state_dir, name, config.state_dir, name);
}

static int volume(unsigned type, const char *name)
{
    struct launcher_request r = request_of(type, 0);
    r.incarnation = 0;
    strcpy(r.workspace_id, "local");
    strcpy(r.volume, name);
    ask(&r, NULL, 0);
    cr_assert_eq(hear(&reply, 30000), 1);
    return reply.result;
}

/* Deeper than PATH_MAX, and than there may be open files. */
static void make_deep(void)
{
    char path[SPEC_PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/volumes/local/evil/data", config.state_dir);
    int at = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned i = 0; i < 3000; i++) {
        cr_assert_eq(mkdirat(at, "dddd", 0700), 0);
        int below = openat(at, "dddd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(at);
        at = below;
    }
    close(at);
}

Test(launcher_work, a_hostile_volume_is_measured_and_removed_and_nothing_else_is)
{
    make_volume("evil");
    make_volume("good");
    run("cd %s/volumes/local/evil/data && head -c 1048576 /dev/zero > big && ln big again && "
        "ln -s ../../good good && ln -s / root && mkfifo pipe && mkdir -p a/b/c 'x\n y' && "
        "chmod 0 a/b && chattr +i big 2>/dev/null; true",
        config.state_dir);
    make_deep();
    run("chattr -i %s/volumes/local/evil/data/big 2>/dev/null; touch %s/volumes/local/good/data/f",
        config.state_dir, config.state_dir);
    start_fake();
    cr_expect_eq(volume(LAUNCHER_VOLUME_MEASURE, "evil"), 0);
    cr_expect_geq(reply.sample.disk_bytes, 1048576);
    cr_expect_lt(reply.sample.disk_bytes, 20 << 20);
    cr_expect_eq(volume(LAUNCHER_VOLUME_REMOVE, "evil"), 0, "%s", reply.err.detail);
    run("test \"$(ls -A %s/volumes/local)\" = good && test -e %s/volumes/local/good/data/f",
        config.state_dir, config.state_dir);
    cr_expect_eq(volume(LAUNCHER_VOLUME_REMOVE, "evil"), 0, "again");
    cr_expect_eq(volume(LAUNCHER_VOLUME_MEASURE, "evil"), 0);
    cr_expect_eq(reply.sample.disk_bytes, 0);
    stop_launcher();
}

Test(launcher_work, a_removal_that_was_killed_is_finished_by_the_next_one)
{
    make_volume("v");
    make_volume("w");
    run("mv %s/volumes/local/v %s/volumes/local/.old-abcdefghijkl && "
        "mkdir -p %s/volumes/local/.old-abcdefghijkl/data/x/y %s/volumes/local/.old-zz/q",
        config.state_dir, config.state_dir, config.state_dir, config.state_dir);
    start_fake();
    cr_expect_eq(volume(LAUNCHER_VOLUME_REMOVE, "v"), 0, "%s", reply.err.detail);
    run("test \"$(ls -A %s/volumes/local)\" = w", config.state_dir);
    stop_launcher();
}

Test(launcher_work, a_removal_of_a_launcher_before_leaves_the_next_volume_of_that_name)
{
    uint64_t early, late;
    struct err err;
    make_volume("v");
    cr_assert_eq(launcher_number(&config, &early, &err), 0);
    cr_assert_eq(launcher_number(&config, &late, &err), 0);
    generation = early;
    start_fake();
    cr_expect_eq(volume(LAUNCHER_VOLUME_REMOVE, "v"), -ESTALE, "its follower is at work already");
    run("test -d %s/volumes/local/v/data", config.state_dir);
    stop_launcher();
    generation = late;
    start_fake();
    cr_expect_eq(volume(LAUNCHER_VOLUME_REMOVE, "v"), 0, "%s", reply.err.detail);
    run("test ! -e %s/volumes/local/v", config.state_dir);
    stop_launcher();
    generation = 0;
}

Test(launcher_work, WS_2_a_volume_that_is_in_use_is_not_removed)
{
    make_volume("held");
    char path[SPEC_PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/volumes/local/held/lock", config.state_dir);
    start_fake();
    int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert_eq(syscall(SYS_flock, fd, 2 /* LOCK_EX */), 0);
    cr_expect_lt(volume(LAUNCHER_VOLUME_REMOVE, "held"), 0);
    cr_expect_eq(reply.err.code, ERR_WORKSPACE_IN_USE);
    cr_expect_eq(access(path, F_OK), 0);
    close(fd);
    cr_expect_eq(volume(LAUNCHER_VOLUME_REMOVE, "held"), 0);
    stop_launcher();
}
