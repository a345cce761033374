/* This file tests the probe of a session that lasts: what it finds is so for each kind of user, and
 * of its sessions nothing stays, of one whose maker was killed neither.
 */
#include "lasting_fixture.h"

#include "runtime/host/probe.h"

TestSuite(probe_lasting, .timeout = 120);

struct probed {
    struct probe_result results[PROBE_COUNT];
    struct err err;
    int result;
};

static void probe_one(void *data)
{
    struct probed *p = data;
    struct runtime *rt = open_launcher();
    p->result = probe_run(rt, NULL, true, p->results, &p->err);
    runtime_close(rt);
}

/* As `berth serve` and `berth doctor` probe: by a runtime that is no launcher's. */
static void probe_as_command(void *data)
{
    struct probed *p = data;
    const struct runtime_options how = {
        .state_dir = state_dir, .runtime_dir = runtime_dir, .init_path = init_path};
    struct runtime *rt;
    p->result = runtime_open(&rt, &how, &p->err);
    if (p->result < 0)
        return;
    p->result = probe_run(rt, NULL, true, p->results, &p->err);
    runtime_close(rt);
}

static struct probed *probe(void)
{
    struct probed *p =
        mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    in_child(probe_one, p);
    cr_assert_eq(p->result, 0, "%s", p->err.detail);
    return p;
}

static void assert_no_session(void)
{
    cr_assert_eq(entries("%s/runs/*", runtime_dir), 0, "a record is left");
    cr_assert_eq(entries("%s/sessions/*", runtime_dir), 0, "a directory is left");
    cr_assert_eq(entries("%s/volumes/*", state_dir), 0, "a volume is left");
}

static void all(void)
{
    struct probed *p = probe();
    for (int id = PROBE_LASTING_FIRST; id < PROBE_COUNT; id++) {
        const struct probe_result *r = &p->results[id];
        bool of_cgroups = id == PROBE_FREEZE || id == PROBE_METERING;
        if (of_cgroups && who != AS_ROOT && !r->works)
            cr_expect(r->certain && r->reason[0] && r->remedy[0], "probe %d: %s", id, r->reason);
        else
            cr_expect(r->works && r->evidence[0], "probe %d: %s", id, r->reason);
    }
    assert_no_session();
}
AS_EACH(probe_lasting, CAP_1_a_session_that_lasts_was_made_left_used_ended_and_made_again, all)

static void orphan(void)
{
    snprintf(instance, sizeof instance, "70726f6265");
    struct session_name name = name_of(0x7e570000 + getpid(), 1);
    struct shared *made = make_session(lasting_spec(), name);
    cr_assert(process_is_there(made->identity.init_pid));
    probe();
    cr_assert_not(process_is_there(made->identity.init_pid));
    assert_nothing(name);
    assert_no_session();
}
AS_ROOT_ONLY(probe_lasting, what_a_killed_probe_left_is_ended_by_the_next, orphan)

static void as_command(void)
{
    struct probed *p =
        mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    in_child(probe_as_command, p);
    cr_assert_eq(p->result, 0, "%s", p->err.detail);
    for (int id = PROBE_FILES_READ; id <= PROBE_FILES_WRITE; id++)
        cr_expect(p->results[id].works, "probe %d: %s", id, p->results[id].reason);
    assert_no_session();
}
AS_EACH(probe_lasting, CAP_1_a_command_that_probes_has_the_file_worker_too, as_command)
