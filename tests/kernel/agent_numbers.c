/* This file tests that the number of a command is used once, also when there were more numbers than
 * the table holds; it takes thousands of starts, so it is a program of its own.
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

TestSuite(agent_numbers, .init = start, .fini = stop);

Test(agent_numbers, five_thousand_numbers_are_more_than_the_table_holds_and_none_runs_twice)
{
    /* A number is used up whether its program was found or not; not finding one is faster. */
    struct harness_result *r = calloc(1, sizeof *r);
    for (uint64_t i = 1; i <= 4300; i++) {
        bool found = i % 64 == 5;
        harness_exec(&h, i,
                     &(struct harness_exec){
                         .argv = (const char *[]){found ? "/bin/true" : "/no/such", NULL}});
        memset(r, 0, offsetof(struct harness_result, out));
        r->number = i;
        harness_wait_from(&h, r);
        cr_assert_eq(found, r->ended && r->exit.exit_code == 0);
    }
    harness_exec(&h, 5, &(struct harness_exec){.argv = (const char *[]){"/bin/true", NULL}});
    struct harness_result *again = harness_wait(&h, 5);
    cr_assert(again->start_failed);
    cr_assert_eq(again->failed.sys, EEXIST);
}
