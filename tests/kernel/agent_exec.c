/* This file tests how init starts commands and says how they ended (contract §4, EXEC-2, EXEC-6).
 */
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

TestSuite(agent_exec, .init = start, .fini = stop);

Test(agent_exec, an_exit_code_is_the_command_s_own)
{
    for (uint64_t code = 0; code < 256; code += 51) {
        char text[32];
        snprintf(text, sizeof text, "exit %lu", code);
        struct harness_result *r = harness_run(&h, code + 1, &(struct harness_exec){.shell = text});
        cr_assert(r->started, "%s %s %d", r->failed.step, r->failed.subject, r->failed.sys);
        cr_assert_eq(r->exit.reason, AGENT_REASON_EXIT);
        cr_assert_eq(r->exit.exit_code, (int)code);
        cr_assert_eq(r->exit.signal, 0);
        free(r);
    }
}

Test(agent_exec, a_real_exit_137_is_not_a_death_by_signal_9)
{
    struct harness_result *r = harness_run(&h, 1, &(struct harness_exec){.shell = "exit 137"});
    cr_assert_eq(r->exit.reason, AGENT_REASON_EXIT);
    cr_assert_eq(r->exit.exit_code, 137);
    r = harness_run(&h, 2, &(struct harness_exec){.shell = "kill -9 $$"});
    cr_assert_eq(r->exit.reason, AGENT_REASON_SIGNAL);
    cr_assert_eq(r->exit.signal, 9);
    cr_assert_eq(r->exit.exit_code, -1);
}

Test(agent_exec, every_signal_s_number_is_told)
{
    const int signals[] = {SIGTERM, SIGSEGV, SIGABRT, SIGHUP, SIGPIPE, SIGINT};
    for (size_t i = 0; i < ARRAY_LENGTH(signals); i++) {
        char text[32];
        snprintf(text, sizeof text, "kill -%d $$; sleep 5", signals[i]);
        struct harness_result *r = harness_run(&h, i + 1, &(struct harness_exec){.shell = text});
        cr_assert_eq(r->exit.reason, AGENT_REASON_SIGNAL);
        cr_assert_eq(r->exit.signal, signals[i]);
        free(r);
    }
}

static void start_fails(uint64_t number, const char *const *argv, enum agent_start_fault fault,
                        const char *subject)
{
    struct harness_result *r = harness_run(&h, number, &(struct harness_exec){.argv = argv});
    cr_assert(r->start_failed, "%s started", argv[0]);
    cr_assert_not(r->started);
    cr_expect_eq(r->failed.fault, fault, "%s: fault %u errno %d step %s", argv[0], r->failed.fault,
                 r->failed.sys, r->failed.step);
    cr_expect_str_eq(r->failed.subject, subject);
    free(r);
}

static void make_file(const char *path, const char *text, size_t length, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    io_write_full(fd, text, length);
    fchmod(fd, mode);
    close(fd);
}

Test(agent_exec, not_found_and_not_executable_are_told_apart)
{
    char dir[] = "/tmp/berth-agent-XXXXXX", script[64], plain[64], arch[64], empty[64];
    cr_assert(mkdtemp(dir));
    chmod(dir, 0755);
    snprintf(script, sizeof script, "%s/script", dir);
    snprintf(plain, sizeof plain, "%s/plain", dir);
    snprintf(arch, sizeof arch, "%s/arch", dir);
    snprintf(empty, sizeof empty, "%s/empty", dir);
    make_file(script, "#!/no/such/interpreter -x\n", 26, 0755);
    make_file(plain, "echo", 4, 0644);
    make_file(arch,
              "\x7f"
              "ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\xb7\0\1\0\0\0",
              24, 0755);
    make_file(empty, "", 0, 0755);

    start_fails(1, (const char *[]){"/no/such/program", NULL}, AGENT_START_NOT_FOUND,
                "/no/such/program");
    start_fails(2, (const char *[]){"no-such-program", NULL}, AGENT_START_NOT_FOUND,
                "no-such-program");
    start_fails(3, (const char *[]){dir, NULL}, AGENT_START_NOT_EXECUTABLE, dir);
    start_fails(4, (const char *[]){plain, NULL}, AGENT_START_NOT_EXECUTABLE, plain);
    start_fails(5, (const char *[]){arch, NULL}, AGENT_START_NOT_EXECUTABLE, arch);
    start_fails(6, (const char *[]){empty, NULL}, AGENT_START_NOT_EXECUTABLE, empty);
    start_fails(7, (const char *[]){script, NULL}, AGENT_START_NOT_FOUND, "/no/such/interpreter");
    start_fails(8, (const char *[]){"/etc/passwd/x", NULL}, AGENT_START_NOT_FOUND, "/etc/passwd/x");

    /* Like in a shell: a file of that name that may not be run wins over none. */
    char path[96];
    snprintf(path, sizeof path, "PATH=%s:/no/such", dir);
    const char *const env[] = {path, NULL};
    struct harness_result *r = harness_run(
        &h, 9, &(struct harness_exec){.argv = (const char *[]){"plain", NULL}, .env = env});
    cr_expect_eq(r->failed.fault, AGENT_START_NOT_EXECUTABLE);
    cr_expect_eq(r->failed.sys, EACCES);

    unlink(script), unlink(plain), unlink(arch), unlink(empty), rmdir(dir);
}

Test(agent_exec, the_program_is_searched_in_the_command_s_own_path)
{
    const char *const none[] = {"PATH=/no/such:/proc", NULL};
    struct harness_result *r = harness_run(
        &h, 1, &(struct harness_exec){.argv = (const char *[]){"true", NULL}, .env = none});
    cr_assert(r->start_failed);
    cr_assert_eq(r->failed.fault, AGENT_START_NOT_FOUND);
    const char *const usual[] = {"A=b", "PATH=/no/such:/usr/bin", NULL};
    r = harness_run(&h, 2,
                    &(struct harness_exec){.argv = (const char *[]){"env", NULL}, .env = usual});
    cr_assert(r->ended);
    cr_assert_str_eq(r->out, "A=b\nPATH=/no/such:/usr/bin\n");
}

Test(agent_exec, a_working_directory_that_is_missing_or_forbidden_fails_the_start)
{
    struct harness_result *r =
        harness_run(&h, 1, &(struct harness_exec){.shell = "pwd", .cwd = "/no/such"});
    cr_assert(r->start_failed);
    cr_assert_eq(r->failed.fault, AGENT_START_BERTH);
    cr_assert_str_eq(r->failed.step, "enter working directory");
    cr_assert_str_eq(r->failed.subject, "/no/such");
    cr_assert_eq(r->failed.sys, ENOENT);
    /* Entered as the user, not as init. */
    char dir[] = "/tmp/berth-agent-XXXXXX";
    cr_assert(mkdtemp(dir));
    r = harness_run(&h, 2, &(struct harness_exec){.shell = "pwd", .cwd = dir});
    rmdir(dir);
    cr_assert(r->start_failed);
    cr_assert_eq(r->failed.sys, EACCES);
    r = harness_run(&h, 3, &(struct harness_exec){.shell = "pwd", .cwd = "/usr/bin"});
    cr_assert_str_eq(r->out, "/usr/bin\n");
}

/* Attack row 2: no descriptor of init's becomes a working directory. */
Test(agent_exec, a_working_directory_by_descriptor_number_is_refused)
{
    for (int fd = 3; fd < 32; fd++) {
        char cwd[64];
        snprintf(cwd, sizeof cwd, "/proc/self/fd/%d", fd);
        struct harness_result *r =
            harness_run(&h, (uint64_t)fd, &(struct harness_exec){.shell = "pwd", .cwd = cwd});
        cr_assert(r->start_failed, "%s: %s", cwd, r->out);
        free(r);
    }
}

Test(agent_exec, what_the_tree_used_is_counted)
{
    struct harness_result *r =
        harness_run(&h, 1,
                    &(struct harness_exec){
                        .shell = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done & wait"});
    cr_assert_eq(r->exit.exit_code, 0);
    cr_assert_gt(r->exit.cpu_us, 20000, "%lu us", r->exit.cpu_us);
    cr_assert_gt(r->exit.max_rss_bytes, 100000);
    cr_assert_leq(r->exit.started_ns, r->exit.ended_ns);
    cr_assert_gt(r->exit.started_ns, 1500000000ull * 1000000000ull);
}

Test(agent_exec, open_files_are_limited_and_core_is_off)
{
    struct harness_result *r =
        harness_run(&h, 1,
                    &(struct harness_exec){.shell = "ulimit -n; ulimit -Hn; ulimit -c; umask",
                                           .open_files = 123});
    cr_assert_str_eq(r->out, "123\n123\n0\n0022\n");
}

Test(agent_exec, a_thousand_commands_leave_nothing_behind)
{
    double start_us = harness_now_us();
    const uint64_t count = 1000 / test_slower();
    struct harness_result *r = calloc(1, sizeof *r);
    for (uint64_t i = 1; i <= count; i++) {
        harness_exec(&h, i, &(struct harness_exec){.argv = (const char *[]){"/bin/true", NULL}});
        memset(r, 0, offsetof(struct harness_result, out));
        r->number = i;
        harness_wait_from(&h, r);
        cr_assert_eq(r->exit.exit_code, 0);
    }
    printf("exec, run and end of /bin/true: %.0f us each\n",
           (harness_now_us() - start_us) / (double)count);
    DIR *dir;
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/run", h.cgroup);
    cr_assert(dir = opendir(path));
    for (struct dirent *e; (e = readdir(dir));)
        cr_assert(e->d_type != DT_DIR || e->d_name[0] == '.', "%s is left", e->d_name);
    closedir(dir);
    snprintf(path, sizeof path, "/proc/%d/fd", h.pid);
    cr_assert(dir = opendir(path));
    int open_files = 0;
    while (readdir(dir))
        open_files++;
    closedir(dir);
    cr_assert_lt(open_files, 20, "init has %d descriptors open", open_files);
}
