/* This file tests the launcher with sessions that are real: they outlive it, are found again, and
 * are gone when they were ended. */
#include "tests/kernel/launcher_fixture.h"

#include "runtime/host/netns_pool.h"

static char init_program[4096];

static void setup(void)
{
    fixture();
    ssize_t n = readlink("/proc/self/exe", init_program, sizeof init_program - 32);
    cr_assert_gt(n, 0);
    init_program[n] = 0;
    for (int i = 0; i < 3; i++) /* BUILD/tests/kernel/NAME -> BUILD */
        *strrchr(init_program, '/') = 0;
    strcat(init_program, "/bin/berth-init");
    init_path = init_program;
}

TestSuite(launcher_sessions, .init = setup, .fini = fixture_end, .timeout = 120);

static struct launcher_reply reply;

static void start_real(void)
{
    start_launcher(NULL, NULL);
}

static void kill_launcher(void)
{
    kill(launcher, SIGKILL);
    cr_assert_eq(wait_launcher(5000), 128 + SIGKILL);
    fd_replace(&front, -1);
    fd_replace(&life, -1);
}

static void expect(unsigned type)
{
    cr_assert_eq(hear(&reply, 30000), 1, "%s", launcher_request_name(type));
    cr_assert_eq(reply.type, type);
    cr_assert_eq(reply.result, 0, "%s: %s: %s: %s", launcher_request_name(type), reply.err.step,
                 reply.err.subject, reply.err.detail);
}

static void send_for(unsigned type, int64_t row)
{
    struct launcher_request r = request_of(type, row);
    ask(&r, NULL, 0);
    expect(type);
}

static enum session_found look(int64_t row, const struct session_identity *identity)
{
    struct launcher_request r = request_of(LAUNCHER_LOOK, row);
    r.identity = *identity;
    ask(&r, NULL, 0);
    expect(LAUNCHER_LOOK);
    return reply.found;
}

static struct session_identity launch_row(int64_t row)
{
    struct launcher_request r = request_of(LAUNCHER_LAUNCH, row);
    r.epoch = 1;
    r.deadline_ms = 30000;
    int fd = sealed(plain_spec(), sizeof(struct spec), ALL_SEALS);
    ask(&r, &fd, 1);
    close(fd);
    expect(LAUNCHER_LAUNCH);
    return reply.identity;
}

static unsigned listed(void)
{
    struct launcher_request r = request_of(LAUNCHER_LIST, 0);
    r.incarnation = 0;
    ask(&r, NULL, 0);
    expect(LAUNCHER_LIST);
    return reply.list.count;
}

Test(launcher_sessions, a_session_is_made_sampled_frozen_thawed_found_and_ended)
{
    start_real();
    struct session_identity who = launch_row(1);
    cr_expect(who.init_pid > 0 && kill((pid_t)who.init_pid, 0) == 0);
    cr_expect_eq(strlen(reply.launched.effective.spec_hash), 64);
    cr_expect_eq(look(1, &who), SESSION_FOUND_WHOLE);
    cr_expect_eq(listed(), 1);
    send_for(LAUNCHER_SAMPLE, 1);
    send_for(LAUNCHER_FREEZE, 1);
    send_for(LAUNCHER_THAW, 1);
    send_for(LAUNCHER_END, 1);
    cr_expect(kill((pid_t)who.init_pid, 0) < 0);
    cr_expect_eq(look(1, &who), SESSION_FOUND_ABSENT);
    cr_expect_eq(listed(), 0);
    send_for(LAUNCHER_END, 1);
    stop_launcher();
}

Test(launcher_sessions, SES_2_the_death_of_init_is_told_by_this_launcher_and_by_the_next_one)
{
    start_real();
    struct session_identity one = launch_row(1), two = launch_row(2);
    kill((pid_t)one.init_pid, SIGKILL);
    cr_assert_eq(hear(&reply, 10000), 1);
    cr_expect(reply.type == LAUNCHER_REQUEST_END && reply.row == 1);
    kill_launcher();
    cr_expect_eq(kill((pid_t)two.init_pid, 0), 0, "sessions go on without a launcher");
    start_real();
    cr_expect_neq(look(1, &one), SESSION_FOUND_WHOLE);
    cr_expect_eq(look(2, &two), SESSION_FOUND_WHOLE);
    kill((pid_t)two.init_pid, SIGKILL);
    cr_assert_eq(hear(&reply, 10000), 1);
    cr_expect(reply.type == LAUNCHER_REQUEST_END && reply.row == 2);
    cr_expect_geq(listed(), 1);
    send_for(LAUNCHER_END, 1);
    send_for(LAUNCHER_END, 2);
    cr_expect_eq(listed(), 0);
    stop_launcher();
}

Test(launcher_sessions,
     SES_1_a_launcher_killed_while_it_makes_sessions_leaves_nothing_that_end_does_not)
{
    unsigned seed = 777;
    for (int64_t row = 10; row < 22; row++) {
        start_real();
        struct launcher_request r = request_of(LAUNCHER_LAUNCH, row);
        r.deadline_ms = 30000;
        int fd = sealed(plain_spec(), sizeof(struct spec), ALL_SEALS);
        ask(&r, &fd, 1);
        close(fd);
        seed = seed * 1103515245 + 12345;
        nap(seed >> 16 & 31);
        kill_launcher();
        start_real();
        send_for(LAUNCHER_END, row);
        cr_assert_eq(listed(), 0);
        stop_launcher();
    }
}

/* The network namespaces that the launcher holds. */
static unsigned pooled(int64_t *ret, unsigned max)
{
    char path[64], target[64];
    unsigned count = 0;
    for (int fd = 0; fd < 256 && count < max; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", launcher, fd);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = 0;
        long long inode;
        if (sscanf(target, "net:[%lld]", &inode) == 1)
            ret[count++] = inode;
    }
    return count;
}

static bool among(int64_t what, const int64_t *all, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (all[i] == what)
            return true;
    return false;
}

Test(launcher_sessions, each_session_has_a_ready_network_that_no_other_has_or_gets)
{
    enum { SESSIONS = 6 };
    int64_t before[NETNS_POOL_SIZE], after[NETNS_POOL_SIZE], inside[SESSIONS];
    start_real();
    for (unsigned i = 0; i < 4000 && pooled(before, NETNS_POOL_SIZE) < NETNS_POOL_SIZE; i++)
        nap(5);
    cr_assert_eq(pooled(before, NETNS_POOL_SIZE), NETNS_POOL_SIZE, "it was not filled");
    for (int64_t row = 1; row <= SESSIONS; row++) {
        struct session_identity who = launch_row(row);
        int64_t *mine = &inside[row - 1];
        char path[64], target[64] = "", wanted[64];
        *mine = who.netns_inode;
        snprintf(path, sizeof path, "/proc/%d/ns/net", (int)who.init_pid);
        cr_assert_gt(readlink(path, target, sizeof target - 1), 0);
        snprintf(wanted, sizeof wanted, "net:[%lld]", (long long)*mine);
        cr_expect_str_eq(target, wanted);
        cr_expect_not(among(*mine, inside, (unsigned)row - 1), "two sessions share a network");
        cr_expect_not(among(*mine, after, pooled(after, NETNS_POOL_SIZE)), "it may be given again");
    }
    cr_expect(among(inside[0], before, NETNS_POOL_SIZE), "the pool was not used");
    kill_launcher();
    start_real();
    for (int64_t row = 1; row <= SESSIONS; row++)
        send_for(LAUNCHER_END, row);
    cr_expect_eq(listed(), 0);
    stop_launcher();
}

Test(launcher_sessions, berths_on_two_state_directories_do_not_see_each_other)
{
    start_real();
    struct session_identity mine = launch_row(1);
    int mine_front = front, mine_life = life;
    pid_t mine_pid = launcher;
    struct serve_config keep = config;
    char other[64];
    snprintf(other, sizeof other, "/tmp/berth-test-XXXXXX");
    cr_assert_not_null(mkdtemp(other));
    snprintf(config.state_dir, sizeof config.state_dir, "%s/s", other);
    snprintf(config.runtime_dir, sizeof config.runtime_dir, "%s/r", other);
    cr_assert(mkdir(config.state_dir, 0711) == 0 && mkdir(config.runtime_dir, 0711) == 0);
    start_real();
    struct launcher_request r = request_of(LAUNCHER_LIST, 0);
    r.incarnation = 0;
    strcpy(r.instance, "aaaaaaaaaaaaaaaa");
    ask(&r, NULL, 0);
    expect(LAUNCHER_LIST);
    cr_expect_eq(reply.list.count, 0);
    r = request_of(LAUNCHER_END, 1);
    strcpy(r.instance, "aaaaaaaaaaaaaaaa");
    ask(&r, NULL, 0);
    expect(LAUNCHER_END);
    stop_launcher();
    front = mine_front;
    life = mine_life;
    launcher = mine_pid;
    config = keep;
    cr_expect_eq(kill((pid_t)mine.init_pid, 0), 0);
    cr_expect_eq(look(1, &mine), SESSION_FOUND_WHOLE);
    send_for(LAUNCHER_END, 1);
    stop_launcher();
    char command[128];
    snprintf(command, sizeof command, "rm -rf --one-file-system %s", other);
    cr_expect_eq(system(command), 0); /* NOLINT: a literal and a mkdtemp name */
}
