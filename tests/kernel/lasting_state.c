/* This file tests how a session that lasts is frozen, thawed and measured by name. */
#include "lasting_fixture.h"

TestSuite(lasting_state, .timeout = 120);

static void freeze_one(void *data)
{
    struct asking *a = data;
    struct runtime *rt = open_launcher();
    a->result = session_freeze(rt, &a->name, a->freeze, 5000, &a->err);
    runtime_close(rt);
}

static int freeze(struct session_name name, bool on)
{
    struct asking *a = asking_of(name);
    a->freeze = on;
    in_child(freeze_one, a);
    return a->result;
}

static long counted(void)
{
    char path[128], text[64];
    snprintf(path, sizeof path, "%s/count", project);
    return io_read_at(AT_FDCWD, path, text, sizeof text) > 0 ? atol(text) : -1;
}

/* Whether the counter of the session moves within `ms`. */
static bool moves(int ms)
{
    long before = counted();
    for (int i = 0; i < ms; i++) {
        usleep(1000);
        if (counted() > before)
            return true;
    }
    return false;
}

static const char counter[] =
    "i=0; while :; do i=$((i+1)); echo $i >count.new; mv count.new count; done";

static void frozen(void)
{
    struct shared *made = make_session_with(lasting_spec(), name_of(1, 1), counter);
    cr_assert(moves(10000), "it counts though its maker is gone");
    cr_assert_eq(freeze(name_of(1, 1), true), 0);
    cr_assert_eq(freeze(name_of(1, 1), true), 0);
    cr_assert_not(moves(300), "it is frozen");
    cr_assert_eq(look(name_of(1, 1), &made->identity), SESSION_FOUND_WHOLE);
    cr_assert_eq(freeze(name_of(1, 1), false), 0);
    cr_assert(moves(10000), "it goes on");
    cr_assert_eq(freeze(name_of(1, 1), true), 0);
    end(name_of(1, 1));
    cr_assert_not(process_is_there(made->identity.init_pid));
    assert_nothing(name_of(1, 1));
}
AS_ROOT_ONLY(lasting_state, a_frozen_session_stands_still_goes_on_when_thawed_and_can_be_ended,
             frozen)

static void sample_one(void *data)
{
    struct asking *a = data;
    struct runtime *rt = open_launcher();
    a->result = session_sample(rt, &a->name, &a->sample, &a->err);
    runtime_close(rt);
}

static void sampled(void)
{
    struct asking *a = asking_of(name_of(1, 1));
    make_session_with(lasting_spec(), name_of(1, 1), counter);
    cr_assert(moves(10000));
    in_child(sample_one, a);
    cr_assert_eq(a->result, 0);
    cr_assert_gt(a->sample.cpu_ns, 0);
    cr_assert_gt(a->sample.memory_bytes, 0);
    cr_assert_geq(a->sample.memory_peak_bytes, a->sample.memory_bytes);
    cr_assert_geq(a->sample.pids, 1);
    cr_assert_eq(a->sample.disk_bytes, UINT64_MAX);
    uint64_t before = a->sample.cpu_ns;
    usleep(100000);
    in_child(sample_one, a);
    cr_assert_gt(a->sample.cpu_ns, before);
    end(name_of(1, 1));
}
AS_ROOT_ONLY(lasting_state, a_sample_counts_what_commands_use, sampled)

static void neither(void)
{
    struct asking *a = asking_of(name_of(1, 1));
    in_child(sample_one, a);
    cr_assert_eq(a->result, -ENOENT);
    cr_assert_eq(freeze(name_of(1, 1), true), -ENOENT);
    struct shared *made = make_session(lasting_spec(), name_of(1, 1));
    if (made->effective.cgroup_layout == RUNTIME_CGROUP_NONE) {
        cr_assert_eq(freeze(name_of(1, 1), true), -EOPNOTSUPP);
        in_child(sample_one, a);
        cr_assert_eq(a->result, -EOPNOTSUPP);
    }
    end(name_of(1, 1));
}
AS_EACH(lasting_state, what_is_not_there_or_has_no_cgroup_is_said_to_be_so, neither)

/* ---- the last reading ------------------------------------------------------------------------ */

static struct asking *end_of(struct session_name name)
{
    struct asking *a = asking_of(name);
    in_child(end_one, a);
    cr_assert_eq(a->result, 0, "%s", a->err.detail);
    return a;
}

static void last_told(void)
{
    struct asking *sample = asking_of(name_of(1, 1));
    make_session_with(lasting_spec(), name_of(1, 1), counter);
    cr_assert(moves(10000));
    in_child(sample_one, sample);
    cr_assert_eq(sample->result, 0);
    usleep(500000);
    struct asking *a = end_of(name_of(1, 1));
    cr_assert(a->last.taken);
    cr_assert_gt(a->last.sample.cpu_ns, sample->sample.cpu_ns + 50000000,
                 "%llu ns, after %llu half a second before",
                 (unsigned long long)a->last.sample.cpu_ns,
                 (unsigned long long)sample->sample.cpu_ns);
    cr_assert_gt(a->last.sample.memory_bytes, 0, "what it held before it was killed");
    cr_assert_geq(a->last.sample.memory_peak_bytes, a->last.sample.memory_bytes);
    cr_assert_geq(a->last.sample.pids, 1);
    cr_assert_not(end_of(name_of(1, 1))->last.taken, "nobody can tell any more");
    assert_nothing(name_of(1, 1));
}
AS_ROOT_ONLY(lasting_state, USE_1_an_end_tells_what_was_used_to_the_last, last_told)

/* The launcher lives; one that starts ends what it finds dead before anybody asks. */
static void end_dead_one(void *data)
{
    struct asking *a = data;
    struct runtime *rt = open_launcher();
    kill((pid_t)a->expected.init_pid, SIGKILL);
    for (int i = 0; i < 10000 && process_is_there(a->expected.init_pid); i++)
        usleep(1000);
    a->result = process_is_there(a->expected.init_pid)
                    ? -EBUSY
                    : session_end(rt, &a->name, 10000, NULL, NULL, &a->last, &a->err);
    runtime_close(rt);
}

static void last_of_the_dead(void)
{
    struct shared *made = make_session_with(lasting_spec(), name_of(1, 1), counter);
    struct asking *a = asking_of(name_of(1, 1));
    cr_assert(moves(10000));
    usleep(200000);
    in_child(sample_one, a);
    a->expected = made->identity;
    in_child(end_dead_one, a);
    cr_assert_eq(a->result, 0, "%s", a->err.detail);
    cr_assert(a->last.taken);
    cr_assert_gt(a->sample.cpu_ns, 0);
    cr_assert_geq(a->last.sample.cpu_ns, a->sample.cpu_ns);
    assert_nothing(name_of(1, 1));
}
AS_ROOT_ONLY(lasting_state, USE_1_of_one_whose_init_died_the_end_tells_it_too, last_of_the_dead)

static void last_where_there_is_one(void)
{
    struct shared *made = make_session(lasting_spec(), name_of(1, 1));
    bool counts = made->effective.cgroup_layout != RUNTIME_CGROUP_NONE;
    struct asking *a = end_of(name_of(1, 1));
    cr_assert_eq(a->last.taken, counts, "layout %u", made->effective.cgroup_layout);
    cr_assert_eq(a->last.sample.cpu_ns > 0, counts);
    assert_nothing(name_of(1, 1));
}
AS_EACH(lasting_state, USE_1_where_nothing_counts_nothing_is_told, last_where_there_is_one)
