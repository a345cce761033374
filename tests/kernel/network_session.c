/* This file proves on the real kernel that a session with rules joins the network that was made for
 * it, and hands over what a gateway needs. It leaves nothing behind. */
#include "tests/kernel/network_fixture.h"
#include "tests/kernel/session_fixture.h"

TestSuite(network_session, .init = setup, .fini = teardown, .timeout = 120);

static void with_rules(void)
{
    struct err err = {0};
    static struct outcome outcome;
    struct network_namespace ns;
    struct runtime *rt = open_runtime();
    struct spec *spec = new_spec();
    spec->network = net;
    struct session *s = create(rt, spec);
    network_namespace_init(&ns);
    MUST(1, session_network(s, ns.fds) == 0);
    for (int i = 0; i < GATEWAY_ADD_END; i++)
        MUST(2, fcntl(ns.fds[i], F_GETFD) == FD_CLOEXEC);
    MUST(3, session_network(s, ns.fds) == 1);
    struct network_record record;
    MUST(4, pread(ns.fds[GATEWAY_ADD_RECORD], &record, sizeof record, 0) == sizeof record);
    MUST(5, record.generation == 1 && memcmp(&record.network, &net, sizeof net) == 0);
    pid_t gateway = start_gateway(&ns);
    exec_shell(s, spec, 1,
               "exec 2>/dev/null\n"
               "bash -c 'exec 3<>/dev/tcp/93.184.216.34/443; cat <&3' && echo\n"
               "bash -c 'exec 3<>/dev/tcp/8.8.8.8/443' || echo refused\n",
               0);
    follow(s, 1, &outcome);
    outcome.out[outcome.out_length] = 0;
    if (strcmp(outcome.out, "93.184.216.34 443\nrefused\n") != 0)
        say("printed %s", outcome.out);
    stop(gateway);
    network_namespace_fini(&ns);
    MUST(6, session_destroy(s, &err) == 0);
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
