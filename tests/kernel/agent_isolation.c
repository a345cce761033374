/* This file tests what a command may do to init and what it inherits: nothing (attack rows 3, 6, 8
 * and 17). Attackers are small programs of ours that run as the session's user and as its root. */
#include "tests/kernel/agent_harness.h"

static struct harness h;

static void start(void)
{
    harness_start_ready(&h);
}

static void stop(void)
{
    harness_stop(&h);
}

TestSuite(agent_isolation, .init = start, .fini = stop);

/* Row 6, for both users: real root inside has nothing either. */
Test(agent_isolation, no_command_has_a_capability)
{
    for (uint64_t i = 1; i <= 2; i++) {
        struct harness_result *r = harness_run(
            &h, i,
            &(struct harness_exec){
                .shell = "id -u; id -G; grep -E '^(Cap|NoNew)' /proc/self/status", .root = i == 2});
        char expected[512];
        snprintf(expected, sizeof expected,
                 "%d\n%d\nCapInh:\t%016d\nCapPrm:\t%016d\nCapEff:\t%016d\nCapBnd:\t%016d\n"
                 "CapAmb:\t%016d\nNoNewPrivs:\t1\n",
                 i == 2 ? 0 : 1000, i == 2 ? 0 : 1000, 0, 0, 0, 0, 0);
        cr_assert_str_eq(r->out, expected);
    }
}

/* Row 8. */
Test(agent_isolation, only_three_descriptors_are_open)
{
    int in = open("/etc/hostname", O_RDONLY | O_CLOEXEC);
    const char *const argv[] = {"/usr/bin/python3", "-c",
                                "import os\n"
                                "print([f for f in range(1024) if os.path.lexists("
                                "'/proc/self/fd/%d' % f)])\n",
                                NULL};
    struct harness_result *r =
        harness_run(&h, 1, &(struct harness_exec){.argv = argv, .stdin_fd = in});
    cr_assert_str_eq(r->out, "[0, 1, 2]\n", "%s", r->out);
    int input[2];
    cr_assert_eq(pipe2(input, O_CLOEXEC), 0);
    r = harness_run(
        &h, 2, &(struct harness_exec){.argv = argv, .flags = AGENT_EXEC_TTY, .stdin_fd = input[0]});
    cr_assert_str_eq(r->out, "[0, 1, 2]\r\n", "%s", r->out);
    close(in), close(input[0]), close(input[1]);
}

Test(agent_isolation, nothing_of_init_s_signals_is_inherited)
{
    /* Ignored by who starts the launcher, as posix_spawn() leaves libc's own signals. */
    harness_stop(&h);
    const struct {
        unsigned long handler, flags, restorer;
        uint64_t mask;
    } ignored = {.handler = 1 /* SIG_IGN */};
    for (int signo = 32; signo < 34; signo++)
        cr_assert_eq(syscall(SYS_rt_sigaction, signo, &ignored, NULL, sizeof ignored.mask), 0);
    start();
    struct harness_result *r = harness_run(
        &h, 1, &(struct harness_exec){.shell = "grep -E '^Sig(Blk|Ign)' /proc/self/status"});
    cr_assert_str_eq(r->out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

/* Row 10: the environment is the one that was sent. */
Test(agent_isolation, the_environment_is_exactly_what_was_sent)
{
    const char *const env[] = {"ONE=1", "TWO=", NULL};
    const char *const argv[] = {"/usr/bin/env", NULL};
    struct harness_result *r = harness_run(&h, 1, &(struct harness_exec){.argv = argv, .env = env});
    cr_assert_str_eq(r->out, "ONE=1\nTWO=\n");
    r = harness_run(&h, 2,
                    &(struct harness_exec){.shell = "tr '\\0' ' ' </proc/1/cmdline; cat "
                                                    "/proc/1/environ 2>&1 | tr '\\0' ' '"});
    cr_assert(strstr(r->out, "berth: init "));
    cr_assert(strstr(r->out, "ermission denied"), "%s", r->out);
}

/* Rows 3 and 17. Prints the name of everything that was allowed. */
static const char *const attack_on_init =
    "import ctypes, os, signal, resource, errno\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "def sc(name, nr, *a):\n"
    "    r = libc.syscall(nr, *a)\n"
    "    if r >= 0: print('ALLOWED', name, r)\n"
    "def py(name, f):\n"
    "    try:\n"
    "        f(); print('ALLOWED', name)\n"
    "    except OSError: pass\n"
    "buf = ctypes.create_string_buffer(4096)\n"
    "class iov(ctypes.Structure): _fields_ = [('b', ctypes.c_void_p), ('l', ctypes.c_size_t)]\n"
    "l = iov(ctypes.cast(buf, ctypes.c_void_p), 64); m = iov(0x400000, 64)\n"
    "sc('ptrace seize', 101, 0x4206, 1, 0, 0)\n"
    "sc('ptrace attach', 101, 16, 1, 0, 0)\n"
    "sc('process_vm_readv', 310, 1, ctypes.byref(l), 1, ctypes.byref(m), 1, 0)\n"
    "sc('process_vm_writev', 311, 1, ctypes.byref(l), 1, ctypes.byref(m), 1, 0)\n"
    "fd = libc.syscall(434, 1, 0)\n"
    "for target in range(0, 13): sc('pidfd_getfd', 438, fd, target, 0)\n"
    "sc('pidfd kill', 424, fd, 9, None, 0)\n"
    "sc('sched_setaffinity', 203, 1, 8, ctypes.byref(ctypes.c_long(1)))\n"
    "sc('sched_setscheduler', 144, 1, 5, ctypes.byref(ctypes.c_int(0)))\n"
    "sc('setpriority', 141, 0, 1, 19)\n"
    "sc('ioprio_set', 251, 1, 1, 3 << 13)\n"
    "sc('kcmp', 312, 1, os.getpid(), 0, 0, 0)\n"
    "sc('prlimit cpu', 302, 1, 0, ctypes.byref((ctypes.c_ulong * 2)(0, 0)), None)\n"
    "sc('prlimit nofile', 302, 1, 7, ctypes.byref((ctypes.c_ulong * 2)(3, 3)), None)\n"
    "for s in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, "
    "40):\n"
    "    py('kill %d' % s, lambda: os.kill(1, s))\n"
    "for f in ('mem', 'maps', 'environ', 'auxv', 'syscall', 'stack', 'pagemap', 'io', 'exe',\n"
    "          'root', 'cwd', 'fd', 'fdinfo', 'map_files', 'mountinfo_'):\n"
    "    py('open ' + f, lambda: os.open('/proc/1/' + f, os.O_RDONLY))\n"
    "for f in ('fd', 'fdinfo', 'map_files'): py('list ' + f, lambda: os.listdir('/proc/1/' + f))\n"
    "for f in ('exe', 'cwd', 'root', 'ns/mnt'): py('link ' + f, lambda: os.readlink('/proc/1/' + "
    "f))\n"
    "def put(f, t):\n"
    "    d = os.open('/proc/1/' + f, os.O_WRONLY); os.write(d, t)\n"
    "for f, t in (('mem', b'x'), ('oom_score_adj', b'1000'), ('comm', b'x'), ('sched', b'0'),\n"
    "             ('autogroup', b'1'), ('timerslack_ns', b'4000000000'), ('clear_refs', b'1'),\n"
    "             ('coredump_filter', b'1'), ('uid_map', b'0 0 1'), ('setgroups', b'deny')):\n"
    "    py('write ' + f, lambda: put(f, t))\n"
    "print('done')\n";

Test(agent_isolation, init_is_out_of_reach_of_user_and_root)
{
    const char *const argv[] = {"/usr/bin/python3", "-c", attack_on_init, NULL};
    for (uint64_t i = 1; i <= 2; i++) {
        struct harness_result *r =
            harness_run(&h, i, &(struct harness_exec){.argv = argv, .root = i == 2});
        cr_expect_str_eq(r->out, "done\n", "as %s:\n%s%s", i == 1 ? "user" : "root", r->out,
                         r->err);
    }
    struct harness_result *r = harness_run(&h, 3, &(struct harness_exec){.shell = "echo fine"});
    cr_assert_str_eq(r->out, "fine\n");
}

/* Row 3: other commands watch every new process while init starts commands as the same user. */
Test(agent_isolation, a_command_that_is_being_started_cannot_be_looked_into)
{
    const char *const argv[] = {
        "/usr/bin/python3", "-c",
        "import os, ctypes, time\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "init = open('/proc/1/comm').read(); seen = 0; begin = time.time(); last = os.getpid()\n"
        "print('ready', flush=True)\n"
        /* Three seconds, and more where the watcher got no chance to see a start. */
        "while time.time() < begin + (3 if seen > 0 else 40):\n"
        /* The next pid follows the last, or far behind it if the watcher slept meanwhile. */
        "    last = max(last, max(int(p) for p in os.listdir('/proc') if p.isdigit()) - 1)\n"
        "    for p in range(last + 1, last + 4):\n"
        "        try: exe = open('/proc/%d/comm' % p).read()\n"
        "        except OSError: continue\n"
        "        last = p\n"
        "        for i in range(200):\n"
        "            try:\n"
        "                if not open('/proc/%d/comm' % p).read() == init: break\n"
        "                seen += 1\n"
        "                for f in os.listdir('/proc/%d/fd' % p):\n"
        "                    if int(f) > 2 and "
        "open('/proc/%d/comm' % p).read() == init:\n"
        "                        print('SAW', p, f, os.readlink('/proc/%d/fd/%s' % (p, f)))\n"
        "            except OSError: pass\n"
        "print('tries', 'seen' if seen > 0 else 'none')\n",
        NULL};
    struct harness_result *r = harness_result_new(1);
    harness_exec(&h, 1, &(struct harness_exec){.argv = argv});
    harness_until(&h, r, "ready");
    struct agent_frame frame;
    const void *payload;
    for (uint64_t i = 2; !r->ended; i++) {
        harness_exec(&h, i, &(struct harness_exec){.argv = (const char *[]){"/bin/true", NULL}});
        do {
            cr_assert(harness_frame(&h, &frame, &payload, HARNESS_TIMEOUT_MS));
            harness_take(r, &frame, payload);
        } while (frame.type != AGENT_FRAME_EXIT);
    }
    cr_assert(strstr(r->out, "tries seen"), "no start was watched: %s%s", r->out, r->err);
    cr_assert_not(strstr(r->out, "SAW"), "%s", r->out);
}

Test(agent_isolation, the_keyring_of_the_starter_is_not_the_command_s)
{
    /* The harness's session keyring, made here, would be possessed by every command. */
    struct harness other;
    cr_assert_geq(syscall(SYS_keyctl, 1 /* JOIN_SESSION_KEYRING */, "berth-test-ring", 0, 0, 0), 0);
    struct harness_options o = {.flags = AGENT_END_WITH_CONTROLLER};
    harness_start(&other, &o);
    cr_assert(other.ready_seen);
    const char *const argv[] = {"/usr/bin/python3", "-c",
                                "import ctypes\n"
                                "libc = ctypes.CDLL(None)\n"
                                "b = ctypes.create_string_buffer(200)\n"
                                "libc.syscall(250, 6, -3, b, 200, 0)\n"
                                "print(b.value.decode())\n",
                                NULL};
    struct harness_result *r = harness_run(&other, 1, &(struct harness_exec){.argv = argv});
    cr_assert(r->ended);
    cr_assert_not(strstr(r->out, "berth-test-ring"), "%s", r->out);
    harness_stop(&other);
}
