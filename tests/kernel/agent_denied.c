/* This file runs init in sessions that explain denied calls: each call gets the errno that it gets
 * without, each is counted once, and nobody is held up by a question (docs/adr/0014). The programs
 * inside are python: what they call is written here. */
#include "runtime/base/buf.h"
#include "runtime/plan/seccomp.h"
#include "tests/kernel/agent_harness.h"
#include "tests/unit/seccomp_samples.h"

#include <linux/audit.h>
#include <linux/seccomp.h>

enum { MOUNT = 165, PRCTL = 157, TOTALS_MAX = 128 };

static struct harness h;

static void stop(void)
{
    harness_stop(&h);
}

TestSuite(agent_denied, .fini = stop, .timeout = 120);

/* Totals as the last frames of an exec say them. */
struct told {
    struct harness_result *result;
    struct agent_denied totals[TOTALS_MAX];
    unsigned count, frames;
    uint64_t sum;
    struct harness_result *beside; /* of another command, whose frames come between */
};

static void start(enum spec_seccomp_profile profile, uint32_t flags, bool explain)
{
    struct seccomp_program base = {0}, exec = {0};
    struct err err = {0};
    bool shared = flags & AGENT_SHARED_UID;
    cr_assert_eq(explain ? seccomp_base_explained(shared, &base, &err)
                         : seccomp_base(shared, &base, &err),
                 0, "%s", err.detail);
    cr_assert_eq(seccomp_exec(profile, NULL, 0, &exec, &err), 0, "%s", err.detail);
    struct harness_options o = {.flags = AGENT_END_WITH_CONTROLLER | flags |
                                         (explain ? AGENT_EXPLAIN : 0u),
                                .no_cgroup = shared,
                                .base = base.code,
                                .base_length = base.length,
                                .exec = exec.code,
                                .exec_length = exec.length};
    harness_start(&h, &o);
    cr_assert(h.ready_seen, "%s %s %d", h.failed.step, h.failed.subject, h.failed.sys);
    seccomp_program_fini(&base);
    seccomp_program_fini(&exec);
}

static bool same(const struct agent_denied *a, const struct agent_denied *b)
{
    return a->number == b->number && a->arch == b->arch && a->sys == b->sys &&
           a->flags == b->flags && a->argument == b->argument && a->value == b->value &&
           strcmp(a->command, b->command) == 0;
}

static void take_denied(struct told *t, const struct agent_denied *denied)
{
    unsigned i = 0;
    t->frames++;
    while (i < t->count && !same(&t->totals[i], denied))
        i++;
    cr_assert_lt(i, TOTALS_MAX);
    cr_assert(i == t->count || denied->count > t->totals[i].count, "a total that does not grow");
    t->count += i == t->count;
    t->totals[i] = *denied;
    t->sum = 0;
    for (i = 0; i < t->count; i++)
        t->sum += t->totals[i].count;
}

static void take_one(struct told *t)
{
    struct agent_frame frame;
    const void *payload;
    cr_assert(harness_frame(&h, &frame, &payload, 3 * HARNESS_TIMEOUT_MS), "no frame in time");
    if (frame.type == AGENT_FRAME_DENIED && frame.exec == t->result->number) {
        struct agent_denied denied;
        cr_assert_not(t->result->ended, "told after EXIT");
        memcpy(&denied, payload, sizeof denied);
        take_denied(t, &denied);
    }
    harness_take(t->result, &frame, payload);
    if (t->beside)
        harness_take(t->beside, &frame, payload);
}

static struct told *begin(uint64_t number, const struct harness_exec *e)
{
    struct told *t = calloc(1, sizeof *t);
    t->result = harness_result_new(number);
    harness_exec(&h, number, e);
    return t;
}

static struct told *finish(struct told *t)
{
    while (!t->result->ended) {
        take_one(t);
        cr_assert_not(t->result->start_failed, "%s: %s (%d)", t->result->failed.step,
                      t->result->failed.subject, t->result->failed.sys);
    }
    return t;
}

static void until(struct told *t, const char *text)
{
    while (!strstr(t->result->out, text)) {
        take_one(t);
        cr_assert_not(t->result->ended, "ended before '%s': %s", text, t->result->err);
    }
}

#define PYTHON                                                             \
    "import ctypes,os,sys,threading,signal,time\n"                         \
    "libc=ctypes.CDLL(None,use_errno=True)\n"                              \
    "def call(n,*a):\n"                                                    \
    "  ctypes.set_errno(0)\n"                                              \
    "  r=libc.syscall(ctypes.c_long(n),*[ctypes.c_ulong(x) for x in a])\n" \
    "  return ctypes.get_errno() if r==-1 else 0\n"

static struct told *python(uint64_t number, const char *program, const char *argument, bool root)
{
    static char text[1 << 16];
    snprintf(text, sizeof text, "%s%s", PYTHON, program);
    const char *const argv[] = {"/usr/bin/python3", "-Ec", text, argument, NULL};
    return begin(number, &(struct harness_exec){.argv = argv, .root = root});
}

/* ---- the same errno -------------------------------------------------------------------------- */

/* Every call that the exec layer refuses with an errno, in python's words, and what each gets. */
static void list_calls(enum spec_seccomp_profile profile, struct buf *calls, struct buf *want)
{
    struct seccomp_program exec = {0};
    cr_assert_eq(seccomp_exec(profile, NULL, 0, &exec, NULL), 0);
    for (uint32_t i = 0; i < 2 * 601 + ARRAY_LENGTH(samples); i++) {
        struct seccomp_data data = {.arch = AUDIT_ARCH_X86_64};
        bool sample = i >= 2 * 601;
        data.nr = (int)(sample    ? samples[i - 2 * 601].number
                        : i < 601 ? i
                                  : (i - 601) | 0x40000000);
        for (int k = 0; k < 6 && sample; k++)
            data.args[k] = samples[i - 2 * 601].args[k];
        uint32_t action = seccomp_simulate(exec.code, exec.length, &data);
        int error = (int)(action & SECCOMP_RET_DATA);
        if ((action & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_ERRNO || error == 0)
            continue;
        buf_printf(calls, "%d", data.nr);
        for (int k = 0; k < 6; k++)
            buf_printf(calls, ",%llu", (unsigned long long)data.args[k]);
        buf_puts(calls, " ");
        buf_printf(want, "%d %d\n", data.nr, error);
    }
    seccomp_program_fini(&exec);
}

static unsigned lines(const char *text)
{
    unsigned n = 0;
    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

static void same_errnos(enum spec_seccomp_profile profile, uint32_t flags)
{
    _cleanup_buf_ struct buf calls = {0}, want = {0};
    list_calls(profile, &calls, &want);
    cr_assert_gt(lines(buf_text(&want)), 700);
    static const char program[] = "for c in sys.argv[1].split():\n"
                                  "  a=[int(x) for x in c.split(',')]\n"
                                  "  print(a[0],call(*a))\n";
    for (int explain = 0; explain < 2; explain++) {
        start(profile, flags, explain);
        struct told *t = finish(python(1, program, buf_text(&calls), flags & AGENT_SHARED_UID));
        cr_assert_eq(t->result->exit.exit_code, 0, "%s", t->result->err);
        cr_assert_str_eq(t->result->out, buf_text(&want));
        if (explain)
            cr_assert_geq(t->sum, lines(buf_text(&want)));
        else
            cr_assert_eq(t->frames, 0);
        if (!explain)
            harness_stop(&h);
    }
}

Test(agent_denied, every_refused_call_has_the_errno_that_it_has_without)
{
    same_errnos(SPEC_SECCOMP_DEFAULT, 0);
}

Test(agent_denied, so_it_has_in_the_strict_profile)
{
    same_errnos(SPEC_SECCOMP_STRICT, 0);
}

Test(agent_denied, so_it_has_in_the_debug_profile)
{
    same_errnos(SPEC_SECCOMP_DEBUG, 0);
}

Test(agent_denied, so_it_has_where_there_is_one_uid_and_no_cgroup)
{
    same_errnos(SPEC_SECCOMP_DEFAULT, AGENT_SHARED_UID);
}

/* getpid of 32-bit programs by int 0x80. */
Test(agent_denied, a_32_bit_call_is_missing_and_told_as_one)
{
    start(SPEC_SECCOMP_DEFAULT, 0, true);
    struct told *t = finish(python(1,
                                   "import mmap\n"
                                   "m=mmap.mmap(-1,4096,prot=7)\n"
                                   "m.write(bytes([0xb8,20,0,0,0,0xcd,0x80,0xc3]))\n"
                                   "p=ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
                                   "print(ctypes.CFUNCTYPE(ctypes.c_int)(p)())\n",
                                   NULL, false));
    cr_assert_str_eq(t->result->out, "-38\n", "%s%s", t->result->out, t->result->err);
    bool seen = false;
    for (unsigned i = 0; i < t->count; i++)
        seen |= t->totals[i].arch == AUDIT_ARCH_I386 && t->totals[i].number == 20;
    cr_assert(seen);
}

/* ---- counting -------------------------------------------------------------------------------- */

/* An emulated processor makes as many calls as it can in the same time. */
static unsigned long fewer(unsigned long calls, char ret_text[static 32])
{
    unsigned long n = calls / test_slower();
    snprintf(ret_text, 32, "%lu", n);
    return n;
}

Test(agent_denied, a_hundred_thousand_calls_are_counted_to_the_last_in_few_frames)
{
    char text[32];
    unsigned long calls = fewer(100000, text);
    start(SPEC_SECCOMP_DEFAULT, 0, true);
    struct told *t = finish(python(1,
                                   "import sys\n"
                                   "open('/proc/self/comm','w').write('a\\x1b[31m')\n"
                                   "print(all(call(165,0)==1 for i in range(int(sys.argv[1]))))\n",
                                   text, false));
    cr_assert_str_eq(t->result->out, "True\n", "%s", t->result->err);
    const struct agent_denied *mounts = NULL;
    for (unsigned i = 0; i < t->count; i++)
        if (t->totals[i].number == MOUNT)
            mounts = &t->totals[i];
    cr_assert(mounts);
    cr_assert_eq(mounts->count, calls, "%lu", mounts->count);
    cr_assert_eq(mounts->sys, EPERM);
    cr_assert_eq(mounts->arch, AUDIT_ARCH_X86_64);
    cr_assert_eq(mounts->flags, 0);
    cr_assert_str_eq(mounts->command, "a\x1b[31m");
    cr_assert_lt(t->frames, 40, "%u", t->frames);
}

Test(agent_denied, many_threads_at_once_are_counted_to_the_last)
{
    start(SPEC_SECCOMP_DEFAULT, 0, true);
    struct told *t = finish(python(1,
                                   "bad=[]\n"
                                   "def go():\n"
                                   "  for i in range(1000):\n"
                                   "    if call(165,0)!=1: bad.append(1)\n"
                                   "ts=[threading.Thread(target=go) for i in range(50)]\n"
                                   "[x.start() for x in ts];[x.join() for x in ts]\n"
                                   "print(len(bad))\n",
                                   NULL, false));
    cr_assert_str_eq(t->result->out, "0\n", "%s", t->result->err);
    uint64_t mounts = 0;
    for (unsigned i = 0; i < t->count; i++)
        if (t->totals[i].number == MOUNT)
            mounts += t->totals[i].count;
    cr_assert_eq(mounts, 50000, "%lu", mounts);
}

/* 63 rows of an exec and one total: no call is lost, and memory has a bound. */
Test(agent_denied, what_has_no_row_is_one_exact_total)
{
    start(SPEC_SECCOMP_DEFAULT, 0, true);
    struct told *t =
        finish(python(1, "print(sum(call(157,100000+i)==22 for i in range(3000)))\n", NULL, false));
    cr_assert_str_eq(t->result->out, "3000\n", "%s", t->result->err);
    cr_assert_leq(t->count, 64);
    uint64_t other = 0, named = 0, elsewhere = 0;
    for (unsigned i = 0; i < t->count; i++)
        if (t->totals[i].flags & AGENT_DENIED_OTHER)
            other = t->totals[i].count;
        else if (t->totals[i].number == PRCTL && t->totals[i].value >= 100000)
            named += t->totals[i].count;
        else
            elsewhere += t->totals[i].count;
    cr_assert_gt(other, 2900);
    cr_assert_eq(other + named, 3000, "%lu + %lu (and %lu)", other, named, elsewhere);
}

Test(agent_denied, rows_of_execs_that_ended_are_used_again)
{
    start(SPEC_SECCOMP_DEFAULT, 0, true);
    for (uint64_t number = 1; number <= 8; number++) {
        struct told *t = finish(
            python(number, "print(sum(call(157,100000+i)==22 for i in range(60)))\n", NULL, false));
        cr_assert_str_eq(t->result->out, "60\n", "%s", t->result->err);
        cr_assert_geq(t->sum, 60, "exec %lu: %lu", number, t->sum);
        /* Rows are looked for ten times a second. */
        usleep(150000);
        free(t->result);
        free(t);
    }
}

/* ---- nobody is held up ----------------------------------------------------------------------- */

/* With SA_RESTART: what was interrupted before init had read it is asked again. */
Test(agent_denied, signals_change_no_answer_of_a_program_that_restarts_calls)
{
    char text[32];
    unsigned long calls = fewer(50000, text);
    start(SPEC_SECCOMP_DEFAULT, 0, true);
    struct told *t = finish(python(1,
                                   "import sys\n"
                                   "n=[0]\n"
                                   "def on(*a): n[0]+=1\n"
                                   "signal.signal(signal.SIGALRM,on)\n"
                                   "signal.siginterrupt(signal.SIGALRM,False)\n"
                                   "signal.setitimer(signal.ITIMER_REAL,.0002,.0002)\n"
                                   "r=[call(165,0) for i in range(int(sys.argv[1]))]\n"
                                   "signal.setitimer(signal.ITIMER_REAL,0)\n"
                                   "print(set(r),n[0]>10)\n",
                                   text, false));
    cr_assert_str_eq(t->result->out, "{1} True\n", "%s", t->result->err);
    cr_assert_geq(t->sum, calls);
}

static void cgroup_write(uint64_t number, const char *file, const char *text)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/run/e%lu/%s", h.cgroup, (unsigned long)number, file);
    cr_assert_eq(harness_write_text(path, text), 0, "%s", path);
}

static bool frozen(uint64_t number)
{
    char path[PATH_MAX + 64];
    for (unsigned i = 0; i < 5000 * test_slower(); i++) {
        _cleanup_free_ char *text = NULL;
        size_t length;
        snprintf(path, sizeof path, "%s/run/e%lu/cgroup.events", h.cgroup, (unsigned long)number);
        if (io_read_file(AT_FDCWD, path, 4096, &text, &length) == 0 && strstr(text, "frozen 1"))
            return true;
        usleep(1000);
    }
    return false;
}

static const char flood[] = "def go():\n"
                            "  while True:\n"
                            "    if call(165,0)!=1: print('WRONG',flush=True)\n"
                            "for i in range(8): threading.Thread(target=go).start()\n"
                            "for i in range(1000000):\n"
                            "  time.sleep(.02);print('t%d.'%i,flush=True)\n";

Test(agent_denied, a_flood_is_frozen_thawed_and_killed)
{
    start(SPEC_SECCOMP_DEFAULT, 0, true);
    struct told *t = python(1, flood, NULL, false);
    until(t, "t3.");
    for (int i = 0; i < 20; i++) {
        cgroup_write(1, "cgroup.freeze", "1");
        cr_assert(frozen(1), "round %d", i);
        cgroup_write(1, "cgroup.freeze", "0");
        usleep(2000);
    }
    until(t, "t9.");
    cgroup_write(1, "cgroup.freeze", "1");
    cr_assert(frozen(1));
    harness_send(&h, AGENT_KILL, 1, AGENT_REASON_CANCELLED, 0);
    cr_assert_eq(finish(t)->result->exit.reason, AGENT_REASON_CANCELLED);
    cr_assert_not(strstr(t->result->out, "WRONG"));
}

Test(agent_denied, other_commands_and_init_go_on_beside_a_flood)
{
    start(SPEC_SECCOMP_DEFAULT, 0, true);
    struct told *t = python(1, flood, NULL, false);
    until(t, "t3.");
    t->beside = harness_result_new(2);
    harness_exec(&h, 2, &(struct harness_exec){.shell = "echo beside; exit 3"});
    while (!t->beside->ended)
        take_one(t);
    cr_assert_str_eq(t->beside->out, "beside\n");
    cr_assert_eq(t->beside->exit.exit_code, 3);
    harness_send(&h, AGENT_KILL, 1, AGENT_REASON_CANCELLED, 0);
    cr_assert_eq(finish(t)->result->exit.reason, AGENT_REASON_CANCELLED);
}

static bool gone(pid_t pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    return poll(&p, 1, 10000 * (int)test_slower()) == 1;
}

/* In the host's numbers, by its cgroup. */
static int open_command(uint64_t number)
{
    char path[PATH_MAX + 64];
    _cleanup_free_ char *text = NULL;
    size_t length;
    snprintf(path, sizeof path, "%s/run/e%lu/cgroup.procs", h.cgroup, (unsigned long)number);
    cr_assert_eq(io_read_file(AT_FDCWD, path, 4096, &text, &length), 0);
    int fd = (int)syscall(SYS_pidfd_open, atoi(text), 0);
    cr_assert_geq(fd, 0);
    return fd;
}

/* An init that is stopped by the host answers nobody: what waits can be killed all the same. */
Test(agent_denied, who_waits_for_an_answer_that_does_not_come_can_be_killed)
{
    start(SPEC_SECCOMP_DEFAULT, 0, true);
    struct told *t = python(1, flood, NULL, false);
    until(t, "t3.");
    int command = open_command(1);
    cr_assert_eq(kill(h.pid, SIGSTOP), 0);
    usleep(50000);
    cr_assert_eq((int)syscall(SYS_pidfd_send_signal, command, SIGKILL, NULL, 0), 0);
    cr_assert(gone(command));
    cr_assert_eq(kill(h.pid, SIGCONT), 0);
    cr_assert_eq(finish(t)->result->exit.signal, SIGKILL);
    close(command);
}

Test(agent_denied, nobody_outlives_an_init_that_is_killed_with_questions_open)
{
    start(SPEC_SECCOMP_DEFAULT, 0, true);
    struct told *t = python(1, flood, NULL, false);
    until(t, "t3.");
    int command = open_command(1);
    cr_assert_eq(kill(h.pid, SIGKILL), 0);
    cr_assert(gone(command));
    int status;
    cr_assert_eq(waitpid(h.pid, &status, 0), h.pid);
    h.pid = 0;
    unsigned execs = 0;
    cr_assert_eq(harness_remove_cgroup(h.cgroup, &execs), 0);
    h.cgroup[0] = 0;
    close(command);
}

/* ---- from the hostile side ------------------------------------------------------------------- */

/* debug: there pidfd_getfd, ptrace and process_vm_readv are allowed. */
Test(agent_denied, no_command_gets_hold_of_a_listener)
{
    start(SPEC_SECCOMP_DEBUG, 0, true);
    struct told *t =
        finish(python(1,
                      "print(sorted(os.listdir('/proc/self/fd'))[:4])\n"
                      "for p in (1,os.getppid()):\n"
                      "  try: print(os.listdir('/proc/%d/fd'%p))\n"
                      "  except OSError as e: print('closed')\n"
                      "p=os.pidfd_open(1)\n"
                      "print([call(438,p,i,0) for i in range(3,40) if call(438,p,i,0)!=1])\n"
                      "print(call(101,16,1,0,0),call(165,0))\n",
                      NULL, false));
    cr_assert_str_eq(t->result->out, "['0', '1', '2', '3']\nclosed\nclosed\n[]\n1 1\n", "%s%s",
                     t->result->out, t->result->err);
}

/* struct sock_filter by hand: an own filter that asks (nobody listens: ENOSYS), one that asks for a
 * listener (EPERM as always), one that refuses with 77, one that would allow. */
static const char own_filters[] =
    "import struct\n"
    "def load(flags,action):\n"
    "  f=struct.pack('HBBI',0x20,0,0,0)+struct.pack('HBBI',0x15,0,1,166)+"
    "struct.pack('HBBI',6,0,0,action)+struct.pack('HBBI',6,0,0,0x7fff0000)\n"
    "  b=ctypes.create_string_buffer(f)\n"
    "  g=ctypes.create_string_buffer(struct.pack('HxxxxxxQ',4,ctypes.addressof(b)))\n"
    "  return call(317,1,flags,ctypes.addressof(g))\n"
    "print(load(8,0x7fc00000),load(40,0x7fff0000))\n"
    "print(load(0,0x7fff0000),call(166,0,0))\n"
    "print(load(0,0x7ff00000),call(166,0,0))\n"
    "print(load(1,0x0005004d),call(166,0,0),call(165,0))\n"
    "print(load(0,0x7fc00000),call(166,0,0),call(165,0))\n";

Test(agent_denied, own_filters_work_as_without_and_widen_nothing)
{
    for (int explain = 0; explain < 2; explain++) {
        start(SPEC_SECCOMP_DEFAULT, 0, explain);
        struct told *t = finish(python(1, own_filters, NULL, false));
        cr_assert_str_eq(t->result->out, "1 1\n0 1\n0 1\n0 77 1\n0 77 1\n", "%d: %s%s", explain,
                         t->result->out, t->result->err);
        if (!explain)
            harness_stop(&h);
    }
}
