/* This file tests that a session which shares a directory above berth's own finds an empty one in
 * their place, and can neither write there nor move the cover away.
 */
#include "session_fixture.h"

static const char tries[] =
    "ls -A a/run; ls -A a/b/state; "
    "touch a/run/x && echo wrote; mkdir a/b/state/volumes && echo made; "
    "mv a c && echo moved; mv a/b a/c && echo moved; mv a/run a/c && echo moved; "
    "rmdir a/run && echo removed; chmod 0777 a/run && echo changed; "
    "touch a/b/mine project/mine && echo shared";

static void deep_places(void)
{
    snprintf(runtime_dir, sizeof runtime_dir, "%s/a/run", place);
    snprintf(state_dir, sizeof state_dir, "%s/a/b/state", place);
    char command[640];
    /* The session's user is the owner of all of it, as in a user's own session, but of what root's
     * berth insists on to be root's: what is tested is the cover. */
    snprintf(command, sizeof command,
             "mkdir -p %s/runs %s/volumes/local/secret && chown 2000:2000 %s %s/a && "
             "chown -R 2000:2000 %s/a/b",
             runtime_dir, state_dir, place, place, place);
    cr_assert_eq(system(command), 0); /* NOLINT: a literal and a mkdtemp name */
}

static struct outcome *session_in_place(bool as_mount, bool protect)
{
    struct spec *spec = new_spec();
    char command[sizeof tries + 64];
    if (as_mount) {
        strcpy(spec->mounts[0].source, place);
        strcpy(spec->mounts[0].target, "/data");
        spec->mount_count = 1;
    } else {
        strcpy(spec->workspace.path, place);
    }
    if (protect) {
        strcpy(spec->protect[0].path, "a/b/.bashrc");
        strcpy(spec->protect[1].path, "a/b/state/volumes");
        spec->protect_count = 2;
    }
    snprintf(command, sizeof command, "cd %s || exit 9; %s", as_mount ? "/data" : "/workspace",
             tries);
    return run(spec, command, 20000);
}

static void check_hidden(const struct outcome *o)
{
    cr_assert_eq(o->exit.exit_code, 0, "exit %d: %s", o->exit.exit_code, o->out);
    cr_assert_null(strstr(o->out, "wrote"), "%s", o->out);
    cr_assert_null(strstr(o->out, "made"), "%s", o->out);
    cr_assert_null(strstr(o->out, "moved"), "%s", o->out);
    cr_assert_null(strstr(o->out, "removed"), "%s", o->out);
    cr_assert_null(strstr(o->out, "changed"), "%s", o->out);
    cr_assert_null(strstr(o->out, "volumes\n"), "%s", o->out);
    cr_assert_null(strstr(o->out, "runs\n"), "%s", o->out);
    cr_assert_not_null(strstr(o->out, "shared\n"), "the rest is shared: %s", o->out);
    cr_assert_eq(entries("%s/a/b/mine", place), 1u);
}

Test(workspace_own_inside, in_the_workspace_they_are_empty_and_stay_in_their_place, .init = setup,
     .fini = teardown)
{
    deep_places();
    check_hidden(session_in_place(false, false));
}

Test(workspace_own_inside, protected_paths_beside_and_in_them_do_not_uncover_them, .init = setup,
     .fini = teardown)
{
    deep_places();
    struct outcome *o = session_in_place(false, true);
    check_hidden(o);
    cr_assert_eq(entries("%s/a/b/.bashrc", place), 0u);
}

Test(workspace_own_inside, in_an_extra_mount_they_are_empty_too, .init = setup, .fini = teardown)
{
    deep_places();
    check_hidden(session_in_place(true, false));
}
