/* This file tests what is left when the maker of a session that lasts is killed at any instant:
 * only what ending it by name removes (SES-1).
 */
#include "lasting_fixture.h"

TestSuite(lasting_killed, .timeout = 300);

enum { INSTANTS = 200 };

static void make_forever(struct making *m)
{
    struct runtime *rt = open_launcher();
    struct session *s;
    m->shared->count = 1;
    if (session_create_lasting(&s, rt, m->spec, &m->lasting, &m->shared->err) < 0)
        die("create", &m->shared->err);
    session_leave(s, &m->shared->identity);
    m->shared->count = 2;
    for (;;)
        pause();
}

static bool runtime_begun(const struct shared *shared)
{
    return __atomic_load_n(&shared->count, __ATOMIC_RELAXED) > 0;
}

static void any_instant(void)
{
    unsigned finished = 0, span_us = 1000;
    struct spec *spec = lasting_spec();
    spec->workspace.exclusive = true;
    strcpy(spec->protect[0].path, ".bashrc");
    spec->protect_count = 1;
    srand(7);
    for (int i = 0; i < (who == AS_ROOT ? INSTANTS : INSTANTS / 4); i++) {
        struct making m = {spec, lasting_of(name_of(1, 1 + i)), new_shared(), NULL};
        pid_t pid = fork();
        if (pid == 0) {
            become();
            make_forever(&m);
        }
        while (!runtime_begun(m.shared) && waitpid(pid, NULL, WNOHANG) == 0)
            usleep(50);
        usleep((unsigned)rand() % span_us);
        cr_assert_eq(kill(pid, SIGKILL), 0);
        cr_assert_eq(waitpid(pid, NULL, 0), pid);
        finished += m.shared->count == 2;
        /* Until about every fourth was finished: so the instants are spread over the whole. */
        if (finished * 4 < (unsigned)i && span_us < 2000000)
            span_us += span_us / 8;
        end(name_of(1, 1 + i));
        cr_assert_eq(look(name_of(1, 1 + i), NULL), SESSION_FOUND_ABSENT);
        assert_nothing(name_of(1, 1 + i));
        cr_assert_eq(entries("%s/.bashrc %s/.berth-*", project, project), 0, "a placeholder");
        munmap(m.shared, sizeof *m.shared);
    }
    cr_assert_gt(finished, 0, "none was finished: the instants were too early");
}
AS_EACH(lasting_killed, SES_1_what_a_killed_maker_left_goes_by_its_name, any_instant)
