/* This file proves on the real kernel that a session with rules joins the network that was made for
 * it, and that its creation hands a gateway what it needs, or fails. It leaves nothing behind. */
#include "tests/kernel/network_fixture.h"
#include "tests/kernel/session_fixture.h"

TestSuite(network_session, .init = setup, .fini = teardown, .timeout = 120);

/* What a gateway is asked for, once; its descriptors. */
static unsigned take_request(int control, struct gateway_request *request, int fds[GATEWAY_FDS_MAX])
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int) * GATEWAY_FDS_MAX)];
    } room;
    struct iovec part = {request, sizeof *request};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = room.bytes,
                             .msg_controllen = sizeof room.bytes};
    ssize_t n = recvmsg(control, &message, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return 0;
    const struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    unsigned count = head ? (unsigned)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;
    memcpy(fds, CMSG_DATA(head), count * sizeof(int));
    const char *wrong = gateway_request_check(request, (size_t)n, count);
    if (wrong)
        say("%s", wrong);
    return count;
}

static void judge_record(int fd)
{
    struct network_record record;
    if (pread(fd, &record, sizeof record, 0) != sizeof record || record.generation != 1 ||
        memcmp(&record.network, &net, sizeof net) != 0)
        say("another record than the rules");
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size != sizeof record)
        say("the length of no record");
    /* One rule: the rest of it is holes. */
    if (st.st_blocks * 512 > 16 << 10)
        say("a record of one rule takes %lld bytes", (long long)st.st_blocks * 512);
}

/* Takes one session, answers `result`, and serves it until the control socket ends. */
static pid_t be_gateway(int control, int other, int result)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(other);
    struct gateway_request request;
    int fds[GATEWAY_FDS_MAX];
    unsigned count = take_request(control, &request, fds);
    if (count != GATEWAY_ADD_DIAG + 2 || request.type != GATEWAY_ADD || request.answer != 1 ||
        request.row != 1 || request.incarnation != 1)
        say("no ADD with an answer's socket: %u descriptors", count);
    struct network_namespace ns;
    network_namespace_init(&ns);
    for (int i = 0; i <= GATEWAY_ADD_DIAG; i++)
        ns.fds[i] = fds[i];
    judge_record(fds[GATEWAY_ADD_RECORD]);
    pid_t serving = result == 0 ? start_gateway(&ns) : 0;
    struct gateway_reply reply = {.magic = GATEWAY_MAGIC,
                                  .version = GATEWAY_VERSION,
                                  .type = GATEWAY_ADD,
                                  .ticket = request.ticket,
                                  .result = result};
    if (result < 0)
        err_set(&reply.err, ERR_UNAVAILABLE, -result, "no room", NULL, "Not today.");
    if (send(fds[GATEWAY_ADD_DIAG + 1], &reply, sizeof reply, MSG_NOSIGNAL) != sizeof reply)
        say("nobody waits for the answer");
    char end;
    while (recv(control, &end, 1, 0) > 0)
        continue;
    if (serving)
        stop(serving);
    _exit(0);
}

static void with_rules(void)
{
    struct err err = {0};
    static struct outcome outcome;
    int pair[2];
    MUST(1, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    pid_t gateway = be_gateway(pair[1], pair[0], 0);
    close(pair[1]);
    struct runtime *rt = open_runtime_with(pair[0]);
    struct spec *spec = new_spec();
    spec->network = net;
    struct session *s = create(rt, spec);
    exec_shell(s, spec, 1,
               "exec 2>/dev/null\n"
               "bash -c 'exec 3<>/dev/tcp/93.184.216.34/443; cat <&3' && echo\n"
               "bash -c 'exec 3<>/dev/tcp/8.8.8.8/443' || echo refused\n",
               0);
    follow(s, 1, &outcome);
    outcome.out[outcome.out_length] = 0;
    if (strcmp(outcome.out, "93.184.216.34 443\nrefused\n") != 0)
        say("printed %s", outcome.out);
    MUST(2, session_destroy(s, &err) == 0);
    runtime_close(rt);
    free(spec);
    close(pair[0]);
    MUST(3, waitpid(gateway, NULL, 0) == gateway);
}

/* A creation that the gateway refuses, one whose gateway has died, and one without any. */
static void without_a_gateway(void)
{
    struct err err = {0};
    struct session *s;
    int pair[2];
    struct spec *spec = new_spec();
    spec->network = net;
    MUST(1, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    pid_t gateway = be_gateway(pair[1], pair[0], -ENOSPC);
    close(pair[1]);
    struct runtime *rt = open_runtime_with(pair[0]);
    MUST(2, session_create(&s, rt, spec, &err) == -ENOSPC);
    MUST(3, strcmp(err.step, "ask the gateway") == 0 && strcmp(err.detail, "Not today.") == 0);
    kill(gateway, SIGKILL);
    MUST(4, waitpid(gateway, NULL, 0) == gateway);
    MUST(5, session_create(&s, rt, spec, &err) < 0 && err.code == ERR_UNAVAILABLE);
    runtime_close(rt);
    close(pair[0]);
    rt = open_runtime();
    MUST(6, session_create(&s, rt, spec, &err) < 0 && err.code == ERR_CAPABILITY_UNAVAILABLE);
    runtime_close(rt);
    free(spec);
}

Test(network_session, a_session_with_rules_reaches_what_they_name_through_its_gateway)
{
    share_memory();
    no_rules(SPEC_EGRESS_DENY);
    ALLOW("93.184.216.0/24", 443);
    cr_assert_eq(in_child(with_rules), 0, "step %d", last);
    cr_assert_str_empty(shared->said, "%s", shared->said);
}

Test(network_session, without_a_gateway_that_takes_it_there_is_no_session)
{
    share_memory();
    no_rules(SPEC_EGRESS_DENY);
    ALLOW("93.184.216.0/24", 443);
    cr_assert_eq(in_child(without_a_gateway), 0, "step %d", last);
    cr_assert_str_empty(shared->said, "%s", shared->said);
    cr_expect_eq(entries("%s/runs/*", runtime_dir), 0, "a run record is left");
}
