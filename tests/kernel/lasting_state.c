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
