/* This file tests what is said of a session whose end cannot be proven, with a launcher of its own
 * that refuses it for a while.
 */
#include "provider_fixture.h"

TestSuite(provider_ending, .init = fixture_init, .fini = fixture_fini, .timeout = 100);

#define HAS(c, wanted)   cr_assert(strstr((c).answer.text, (wanted)), "%s", (c).answer.text)
#define LACKS(c, wanted) cr_assert_null(strstr((c).answer.text, (wanted)), "%s", (c).answer.text)

static void must_create(const char *session_id)
{
    static struct client c;
    cr_assert_eq(client_create(&c, "w", session_id, NULL)->status, 201, "%s", c.answer.text);
    HAS(c, "\"ending\":null");
}

static void refuse(unsigned times)
{
    err_set(&fake.fail_with, ERR_UNAVAILABLE, EBUSY, "remove a session's cgroup", "/sys/fs/s",
            "/sys/fs/s/run is still there.");
    fake.fail[LAUNCHER_END] = times;
}

static const char *list(void)
{
    static struct client c;
    provider_session_list(fixture_provider, client_call(&c, "w", NULL, NULL, ""),
                          &(struct provider_page){0});
    fixture_until(&c.answer.came);
    return c.answer.text;
}

Test(provider_ending, a_verb_whose_end_is_refused_is_shown_with_the_reason_until_it_is_proven)
{
    static const enum session_event verbs[] = {SESSION_EVENT_PARK_STOP, SESSION_EVENT_ARCHIVE,
                                               SESSION_EVENT_DESTROY};
    static const char *const names[] = {"park", "archive", "destroy"};
    static const char *const states[] = {"running", "parked", "archived"};
    static struct client c, other;
    must_create("other");
    must_create("s");
    for (unsigned i = 0; i < ARRAY_LENGTH(verbs); i++) {
        char wanted[64];
        refuse(7);
        client_verb_begin(&c, "w", "s", verbs[i], NULL);
        fixture_for_ms(200);
        cr_assert_not(c.answer.came);
        client_get(&other, "w", "s");
        snprintf(wanted, sizeof wanted, "\"state\":\"%s\"", i == 2 ? "destroying" : states[i]);
        HAS(other, wanted);
        snprintf(wanted, sizeof wanted, "\"verb\":\"%s\",\"error\":{\"code\":\"unavailable\"",
                 names[i]);
        HAS(other, wanted);
        HAS(other, "\"ending\":{\"since\":\"20");
        HAS(other, "berth could not remove a session's cgroup: ");
        LACKS(other, "/sys/fs");
        cr_assert(strstr(list(), wanted), "%s", list());
        client_get(&other, "w", "other");
        HAS(other, "\"ending\":null");
        fixture_until(&c.answer.came);
        cr_assert_eq(c.answer.status, 200, "%s", c.answer.text);
        HAS(c, "\"ending\":null");
        client_get(&other, "w", "s");
        HAS(other, "\"ending\":null");
    }
}

Test(provider_ending, one_that_died_and_cannot_be_ended_is_shown_too)
{
    static struct client c;
    must_create("s");
    refuse(7);
    for (unsigned i = 0; i < FAKE_BOXES; i++)
        if (fake.boxes[i])
            fake_box_ends(fake.boxes[i]);
    fixture_for_ms(200);
    client_get(&c, "w", "s");
    HAS(c, "\"state\":\"running\"");
    HAS(c, "\"verb\":null,\"error\":{");
    fixture_stop(); /* while it is refused */
    fake.fail[LAUNCHER_END] = 0;
    fixture_open();
    fixture_for_ms(100);
    client_get(&c, "w", "s");
    HAS(c, "\"state\":\"parked\"");
    HAS(c, "\"ending\":null");
}
