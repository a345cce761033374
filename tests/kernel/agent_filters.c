/* This file runs init under the filters that berth really loads: init must still start commands,
 * make cgroups and terminals, and end trees, and commands must not get past them. */
#include "runtime/plan/seccomp.h"
#include "tests/kernel/agent_harness.h"

static struct harness h;

static void stop(void)
{
    harness_stop(&h);
}

TestSuite(agent_filters, .fini = stop);

static void start(enum spec_seccomp_profile profile, bool shared_uid)
{
    struct seccomp_program base = {0}, exec = {0};
    struct err err = {0};
    cr_assert_eq(seccomp_base(shared_uid, &base, &err), 0, "%s", err.detail);
    cr_assert_eq(seccomp_exec(profile, NULL, 0, &exec, &err), 0, "%s", err.detail);
    struct harness_options o = {.flags = AGENT_END_WITH_CONTROLLER |
                                         (shared_uid ? AGENT_SHARED_UID : 0u),
                                .no_cgroup = shared_uid,
                                .base = base.code,
                                .base_length = base.length,
                                .exec = exec.code,
                                .exec_length = exec.length};
    harness_start(&h, &o);
    cr_assert(h.ready_seen, "%s %s %d", h.failed.step, h.failed.subject, h.failed.sys);
    cr_assert_eq(h.ready.seccomp_mode, 2);
    seccomp_program_fini(&base);
    seccomp_program_fini(&exec);
}

static void whole_life(bool root)
{
    struct harness_result *r =
        harness_run(&h, 1,
                    &(struct harness_exec){
                        .shell = "grep -E '^Seccomp_f' /proc/self/status; (setsid sleep 1000 "
                                 "&) >/dev/null 2>&1; exit 3",
                        .root = root});
    cr_assert_eq(r->exit.exit_code, 3, "%s %s %d", r->failed.step, r->failed.subject,
                 r->failed.sys);
    cr_assert_str_eq(r->out, "Seccomp_filters:\t2\n");
    r = harness_run(&h, 2,
                    &(struct harness_exec){.shell = "tty; stty size",
                                           .flags = AGENT_EXEC_TTY,
                                           .rows = 10,
                                           .cols = 20,
                                           .root = root});
    cr_assert_str_eq(r->out, "/dev/pts/0\r\n10 20\r\n");
    r = harness_run(
        &h, 3,
        &(struct harness_exec){
            .shell = "trap '' TERM; sleep 1000", .timeout_ms = 100, .grace_ms = 50, .root = root});
    cr_assert_eq(r->exit.reason, AGENT_REASON_TIMEOUT);
    r = harness_run(&h, 4,
                    &(struct harness_exec){.shell = "unshare -U true; python3 -c 'import "
                                                    "os;print(os.getpid() > 1)'",
                                           .root = root});
    cr_assert_str_eq(r->out, "True\n");
    cr_assert(strstr(r->err, "unshare"), "%s", r->err);
    r = harness_run(
        &h, 5,
        &(struct harness_exec){.argv = (const char *[]){"no-such-program", NULL}, .root = root});
    cr_assert_eq(r->failed.fault, AGENT_START_NOT_FOUND);
}

Test(agent_filters, default_profile)
{
    start(SPEC_SECCOMP_DEFAULT, false);
    whole_life(false);
}

Test(agent_filters, strict_profile)
{
    start(SPEC_SECCOMP_STRICT, false);
    whole_life(false);
}

Test(agent_filters, debug_profile_as_root_inside)
{
    start(SPEC_SECCOMP_DEBUG, false);
    whole_life(true);
}

Test(agent_filters, shared_uid_keeps_commands_off_init_s_limits)
{
    start(SPEC_SECCOMP_DEFAULT, true);
    whole_life(true);
    struct harness_result *r =
        harness_run(&h, 6,
                    &(struct harness_exec){
                        .shell = "prlimit --pid 1 --cpu=0:0; renice -n 19 -p 1; taskset -p 1 "
                                 "1; chrt -i -p 0 1; kill -9 1; kill -40 1; exit 0",
                        .root = true});
    cr_assert_eq(r->exit.exit_code, 0);
    r = harness_run(&h, 7,
                    &(struct harness_exec){.shell = "i=0; while [ $i -lt 100000 ]; do "
                                                    "i=$((i+1)); done; echo fine",
                                           .root = true});
    cr_assert_str_eq(r->out, "fine\n");
}
