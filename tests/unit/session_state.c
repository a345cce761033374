/* This file tests the table of session states as data. */
#include "provider/session_state.h"

#include "document.h"
#include "provider/coordinator.h"

Test(session_state, the_document_is_the_table)
{
    compare_document("docs/session-states.md", session_state_document);
}

Test(session_state, every_absent_cell_answers_409_with_what_is_allowed)
{
    unsigned absent = 0;
    for (int s = 0; s < SESSION_STATE_COUNT; s++)
        for (int e = 0; e < SESSION_EVENT_COUNT; e++) {
            if (session_transition((enum session_state)s, (enum session_event)e)->allowed)
                continue;
            struct err err = {0};
            absent++;
            cr_assert_lt(session_refuse((enum session_state)s, (enum session_event)e, "s1", &err),
                         0);
            cr_assert_eq(err.code, ERR_INVALID_STATE);
            cr_assert_eq(err_code_status(ERR_INVALID_STATE), 409);
            cr_assert(strstr(err.detail, session_state_wire((enum session_state)s)));
            for (int a = 0; a < SESSION_EVENT_COUNT; a++) {
                bool named = session_allowed((enum session_state)s) & 1u << a;
                cr_assert_eq(
                    named,
                    session_transition((enum session_state)s, (enum session_event)a)->allowed &&
                        session_event_kind((enum session_event)a) != SESSION_OUTCOME);
                if (named)
                    cr_assert(strstr(err.detail, session_event_name((enum session_event)a)));
            }
        }
    cr_assert_gt(absent, 100);
}

Test(session_state, SES_2_every_state_has_a_verb_that_leaves_it_and_destroy_works_in_all)
{
    for (int s = SESSION_CREATING; s < SESSION_STATE_COUNT; s++) {
        const struct session_transition *t =
            session_transition((enum session_state)s, SESSION_EVENT_DESTROY);
        cr_assert(t->allowed, "%s", session_state_name((enum session_state)s));
        cr_assert(t->next == SESSION_DESTROYING || t->next == SESSION_DESTROYED);
    }
}

Test(session_state, what_is_accepted_is_cheap_and_what_is_promised_is_durable)
{
    for (int s = 0; s < SESSION_STATE_COUNT; s++)
        for (int e = 0; e < SESSION_EVENT_COUNT; e++) {
            const struct session_transition *t =
                session_transition((enum session_state)s, (enum session_event)e);
            if (!t->allowed)
                continue;
            /* One that is its own outcome is as durable as that. */
            if (session_event_kind((enum session_event)e) != SESSION_OUTCOME &&
                !(e == SESSION_EVENT_NETWORK && t->effect == SESSION_EFFECT_NONE))
                cr_assert_eq(t->durability, LEDGER_NORMAL, "verbs are opened without a sync");
            else
                cr_assert_geq(ledger_op_durability(coordinator_close_op((enum session_event)e)),
                              t->durability, "%s on %s", session_event_name((enum session_event)e),
                              session_state_name((enum session_state)s));
        }
    cr_assert_eq(session_transition(SESSION_CREATING, SESSION_EVENT_STARTED)->durability,
                 LEDGER_FULL);
    cr_assert_eq(session_transition(SESSION_DESTROYING, SESSION_EVENT_DEAD)->durability,
                 LEDGER_FULL);
    cr_assert_eq(session_transition(SESSION_RUNNING, SESSION_EVENT_ARCHIVED_NOW)->durability,
                 LEDGER_FULL);
}

Test(session_state, every_state_is_reached_and_every_verb_with_an_effect_has_an_outcome)
{
    bool reached[SESSION_STATE_COUNT] = {[SESSION_NONE] = true};
    for (int round = 0; round < SESSION_STATE_COUNT; round++)
        for (int s = 0; s < SESSION_STATE_COUNT; s++)
            for (int e = 0; e < SESSION_EVENT_COUNT; e++) {
                const struct session_transition *t =
                    session_transition((enum session_state)s, (enum session_event)e);
                if (!reached[s] || !t->allowed)
                    continue;
                reached[t->next] = true;
                bool waits = session_event_kind((enum session_event)e) == SESSION_VERB &&
                             t->effect != SESSION_EFFECT_NONE;
                bool ends = !waits;
                for (int o = 0; o < SESSION_EVENT_COUNT; o++)
                    ends |= session_event_kind((enum session_event)o) == SESSION_OUTCOME &&
                            session_transition(t->next, (enum session_event)o)->allowed;
                cr_assert(ends, "%s in %s never ends", session_event_name((enum session_event)e),
                          session_state_name((enum session_state)s));
            }
    for (int s = 0; s < SESSION_STATE_COUNT; s++)
        cr_assert(reached[s], "%s", session_state_name((enum session_state)s));
}

Test(session_state, names_are_unique)
{
    for (int a = 0; a < SESSION_STATE_COUNT; a++)
        for (int b = a + 1; b < SESSION_STATE_COUNT; b++)
            cr_assert_str_neq(session_state_name((enum session_state)a),
                              session_state_name((enum session_state)b));
    for (int a = 0; a < SESSION_EVENT_COUNT; a++)
        for (int b = a + 1; b < SESSION_EVENT_COUNT; b++)
            if (session_event_kind((enum session_event)a) ==
                session_event_kind((enum session_event)b))
                cr_assert_str_neq(session_event_name((enum session_event)a),
                                  session_event_name((enum session_event)b));
}
