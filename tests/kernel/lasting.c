/* This file tests sessions that last as their own makers, lookers and enders see them
 * (docs/adr/0012): made by one process, found and ended by others; it tests nothing of init's
 * protocol.
 */
#include "lasting_fixture.h"

TestSuite(lasting, .init = setup, .fini = teardown, .timeout = 120);

Test(lasting, a_session_outlives_its_maker_and_another_process_finds_it_whole)
{
    struct shared *made = make_session(new_spec(), name_of(0x2a, 1));
    cr_assert(process_is_there(made->identity.init_pid));
    cr_assert_eq(look(name_of(0x2a, 1), &made->identity), SESSION_FOUND_WHOLE);
    end(name_of(0x2a, 1));
    cr_assert_eq(look(name_of(0x2a, 1), &made->identity), SESSION_FOUND_ABSENT);
    assert_nothing(name_of(0x2a, 1));
}

Test(lasting, ending_is_repeatable_and_of_nothing_too)
{
    end(name_of(1, 1));
    make_session(new_spec(), name_of(1, 1));
    end(name_of(1, 1));
    end(name_of(1, 1));
    assert_nothing(name_of(1, 1));
}
