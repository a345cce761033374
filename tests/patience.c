/* This file multiplies the time limits that tests name for themselves by TEST_SLOWER, in every
 * Criterion program; it never gives one to a test that names none. --timeout is a bound above
 * these limits and no limit by itself (seen in Criterion 2.4.1). */
#include "tests/slower.h"

#include <criterion/criterion.h>
#include <criterion/hooks.h>

static void lengthen(struct criterion_suite_set *suite, unsigned factor)
{
    if (suite->suite.data)
        suite->suite.data->timeout *= factor;
    if (!suite->tests)
        return;
    FOREACH_SET(struct criterion_test * test, suite->tests)
    {
        test->data->timeout *= factor;
    }
}

ReportHook(PRE_ALL)(struct criterion_test_set *set)
{
    FOREACH_SET(struct criterion_suite_set * suite, set->suites)
    {
        lengthen(suite, test_slower());
    }
}
