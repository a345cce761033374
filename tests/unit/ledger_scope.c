/* This file tests that two workspaces never meet in the ledger (ID-1), by its statements and by
 * doing. */
#include "ledger_fixture.h"

#include <errno.h>

TestSuite(ledger_scope, .init = fixture_init, .fini = fixture_fini);

static const char *const client_tables[] = {"sessions", "execs",  "events",     "idempotency",
                                            "volume",   "audit",  "intents",    "incarnations",
                                            "usage",    "timers", "uid_ranges", "tokens"};

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

Test(ledger_scope, every_statement_says_its_scope_and_keeps_to_it)
{
    const char *name, *sql, *scope;
    unsigned n = 0, scoped = 0;
    for (; ledger_statement_describe(n, &name, &sql, &scope); n++) {
        bool table = false;
        for (size_t i = 0; i < ARRAY_LENGTH(client_tables); i++)
            table |= strstr(sql, client_tables[i]) != NULL;
        bool insert = strncmp(sql, "INSERT INTO ", 12) == 0;
        if (strcmp(scope, "workspace") == 0)
            cr_assert(insert ? has(sql, "(workspace_id,") && has(sql, "VALUES (?1,")
                             : has(sql, "workspace_id = ?1"),
                      "%s: %s", name, sql);
        else if (strcmp(scope, "owner") == 0)
            cr_assert(has(sql, "owner = ?1"), "%s", name);
        else if (strcmp(scope, "row") == 0)
            cr_assert(insert ? has(sql, "VALUES (?1,") &&
                                   (has(sql, "(session,") || has(sql, "INTO usage VALUES"))
                             : has(sql, "id = ?1") || has(sql, "session = ?1") ||
                                   has(sql, "exec = ?1") || has(sql, "volume = ?1"),
                      "%s: %s", name, sql);
        else
            cr_assert(strncmp(scope, "all: ", 5) == 0 && strlen(scope) > 15,
                      "%s says no reason: %s", name, scope);
        cr_assert(table || strstr(sql, "meta"), "%s: a table that this test does not know", name);
        scoped += strncmp(scope, "all", 3) != 0;
    }
    cr_assert_gt(n, 60);
    cr_assert_gt(scoped, 50);
}

struct page {
    const char *workspace_id, *owner, *after;
    enum session_state state;
    struct session_row rows[64];
    size_t count;
};

static int apply_page(struct ledger_tx *tx, void *data, struct err *err)
{
    struct page *p = data;
    return ledger_session_page(tx, p->workspace_id, p->owner, p->state, p->after, p->rows, 64,
                               &p->count, err);
}

static int apply_page_owner(struct ledger_tx *tx, void *data, struct err *err)
{
    struct page *p = data;
    return ledger_session_page_owner(tx, p->owner, INT64_MAX, 0, p->rows, 64, &p->count, err);
}

Test(ledger_scope, ID_1_every_verb_on_one_of_two_sessions_with_one_name_leaves_the_other_alone)
{
    static const struct {
        enum session_event verb, outcome;
        enum session_state state;
    } steps[] = {
        {SESSION_EVENT_INTERRUPT, SESSION_EVENT_INTERRUPTED, SESSION_RUNNING},
        {SESSION_EVENT_PARK_FREEZE, SESSION_EVENT_FROZEN_NOW, SESSION_FROZEN},
        {SESSION_EVENT_RESUME, SESSION_EVENT_RESUMED, SESSION_RUNNING},
        {SESSION_EVENT_PARK_STOP, SESSION_EVENT_PARKED_NOW, SESSION_PARKED},
        {SESSION_EVENT_RESUME, SESSION_EVENT_RESUMED, SESSION_RUNNING},
        {SESSION_EVENT_ARCHIVE, SESSION_EVENT_ARCHIVED_NOW, SESSION_ARCHIVED},
        {SESSION_EVENT_DESTROY, SESSION_EVENT_DEAD, SESSION_DESTROYING},
    };
    verb_do("a", "same", SESSION_EVENT_CREATE, SESSION_EVENT_STARTED);
    verb_do("b", "same", SESSION_EVENT_CREATE, SESSION_EVENT_STARTED);
    struct session_row b = session_now("b", "same");
    for (size_t i = 0; i < ARRAY_LENGTH(steps); i++) {
        verb_do("a", "same", steps[i].verb, steps[i].outcome);
        struct session_row a = session_now("a", "same"), now = session_now("b", "same");
        cr_assert_eq(a.state, steps[i].state);
        cr_assert_neq(a.id, b.id);
        cr_assert_eq(memcmp(&now, &b, sizeof b), 0, "step %zu changed the other", i);
    }
}

Test(ledger_scope, ID_4_listing_is_by_workspace_owner_and_state_and_pages_without_gap)
{
    for (int i = 0; i < 100; i++) {
        char name[16];
        struct err err = {0};
        snprintf(name, sizeof name, "s%03d", i);
        struct verb v = verb_of_session(i % 2 ? "odd" : "even", name, SESSION_EVENT_CREATE);
        v.request.owner = i % 5 ? "x" : "y";
        fixture_must(verb_open(&v, &err), &err);
    }
    struct page p = {.workspace_id = "odd", .owner = "", .after = ""};
    struct err err = {0};
    fixture_must(fixture_run(LEDGER_OP_READ, apply_page, &p, &err), &err);
    cr_assert_eq(p.count, 50);
    for (size_t i = 0; i < p.count; i++) {
        char name[32];
        snprintf(name, sizeof name, "s%03zu", 2 * i + 1);
        cr_assert_str_eq(p.rows[i].session_id, name);
        cr_assert_str_eq(p.rows[i].workspace_id, "odd");
    }
    p = (struct page){.workspace_id = "even", .owner = "y", .after = "s050"};
    fixture_must(fixture_run(LEDGER_OP_READ, apply_page, &p, &err), &err);
    cr_assert_eq(p.count, 4);
    cr_assert_str_eq(p.rows[0].session_id, "s060");
    p = (struct page){.workspace_id = "even", .owner = "", .after = "", .state = SESSION_RUNNING};
    fixture_must(fixture_run(LEDGER_OP_READ, apply_page, &p, &err), &err);
    cr_assert_eq(p.count, 0);
    p = (struct page){.owner = "y"};
    fixture_must(fixture_run(LEDGER_OP_READ, apply_page_owner, &p, &err), &err);
    cr_assert_eq(p.count, 20);
    for (size_t i = 0; i < p.count; i++)
        cr_assert_str_eq(p.rows[i].owner, "y");
}

Test(ledger_scope, ID_2_names_that_no_client_may_choose_touch_nothing)
{
    char too_long[66] = {0};
    memset(too_long, 'a', 65);
    const char *const bad[] = {"", "-x", ".x", "a..b", "a/b", "a b", "a\nb", "a'b", "ü", too_long};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        for (int which = 0; which < 3; which++) {
            struct err err = {0};
            struct verb v = verb_of_session(which == 0 ? bad[i] : "w", which == 1 ? bad[i] : "s",
                                            SESSION_EVENT_CREATE);
            v.request.volume = which == 2 ? bad[i] : NULL;
            cr_assert_lt(verb_open(&v, &err), 0);
            cr_assert_eq(err.code, ERR_INVALID_REQUEST);
            cr_assert_eq(session_now("w", "s").state, SESSION_NONE);
        }
}

struct events {
    const char *workspace_id, *session_id;
    int64_t after;
    struct event_row rows[64];
    size_t count;
};

static int apply_events(struct ledger_tx *tx, void *data, struct err *err)
{
    struct events *e = data;
    return ledger_event_page(tx, e->workspace_id, e->session_id, e->after, e->rows, 64, &e->count,
                             err);
}

Test(ledger_scope, EV_1_events_are_numbered_per_session_without_gap_across_lives)
{
    static struct events e;
    struct err err = {0};
    for (int life = 0; life < 3; life++) {
        verb_do("a", "s", SESSION_EVENT_CREATE, SESSION_EVENT_STARTED);
        verb_do("b", "s", SESSION_EVENT_CREATE, SESSION_EVENT_STARTED);
        verb_do("a", "s", SESSION_EVENT_PARK_STOP, SESSION_EVENT_PARKED_NOW);
        struct verb v = verb_do("a", "s", SESSION_EVENT_DESTROY, SESSION_EVENT_DEAD);
        fixture_must(verb_close(&v, SESSION_EVENT_GONE, &err), &err);
        v = verb_do("b", "s", SESSION_EVENT_DESTROY, SESSION_EVENT_DEAD);
        fixture_must(verb_close(&v, SESSION_EVENT_GONE, &err), &err);
    }
    e = (struct events){.workspace_id = "a", .session_id = "s"};
    fixture_must(fixture_run(LEDGER_OP_READ, apply_events, &e, &err), &err);
    cr_assert_eq(e.count, 12);
    for (size_t i = 0; i < e.count; i++)
        cr_assert_eq(e.rows[i].seq, (int64_t)i + 1);
    cr_assert_str_eq(e.rows[0].type, "session.created");
    cr_assert_str_eq(e.rows[2].type, "session.parked");
    cr_assert_str_eq(e.rows[3].type, "session.deleted");
    e.after = 10;
    fixture_must(fixture_run(LEDGER_OP_READ, apply_events, &e, &err), &err);
    cr_assert_eq(e.count, 2);
    cr_assert_eq(e.rows[0].seq, 11);
    cr_assert_eq(session_now("a", "s").incarnation, 3, "SES-7: the number goes on");
}
