/* This file tests which directories cannot be shared because they are berth's own, and which are
 * marked to be hidden. What a session then sees is in workspace_own_inside.c.
 */
#define WORKSPACE_SUITE workspace_own
#include "workspace_fixture.h"

static char run_dir[96];

static struct workspace_options own_options(const struct place *p)
{
    struct workspace_options o = options_of(p);
    snprintf(run_dir, sizeof run_dir, "%s/run", p->top);
    o.runtime_dir = run_dir;
    return o;
}

static void furnish(const struct place *p)
{
    static const char *const made[] = {
        "run",        "run/runs", "state",  "state/volumes", "state/volumes/one",
        "state/else", "share",    "inside", "inside/ws"};
    for (unsigned i = 0; i < sizeof made / sizeof made[0]; i++)
        make_directory(at(p->top, made[i]), strncmp(made[i], "share", 5) == 0 ? 0 : ALICE);
    CHECK(chmod(p->share, 0700) == 0, "chmod");
    write_file(at(p->top, "run/capabilities"), ALICE);
}

static void refused(const struct place *p)
{
    static const struct {
        const char *name, *words;
    } cases[] = {{"run", "is berth's runtime directory"},
                 {"run/runs", "inside berth's runtime directory"},
                 {"share", "directory of berth's locks"},
                 {"state", "is berth's state directory"},
                 {"state/volumes", "inside berth's state directory"},
                 {"state/volumes/one", "inside berth's state directory"},
                 {"bound", "is berth's runtime directory"}};
    struct workspace_options o = own_options(p);
    furnish(p);
    make_directory(at(p->top, "bound"), ALICE);
    CHECK(mount(run_dir, at(p->top, "bound"), NULL, MS_BIND, NULL) == 0, "bind");
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spec s;
        spec_directory(&s, at(p->top, cases[i].name));
        s.workspace.allow_root_owned = true;
        must_refuse(&s, &o, ERR_FORBIDDEN, cases[i].words);
        for (uint8_t read_only = 0; read_only < 2; read_only++) {
            spec_directory(&s, p->work);
            s.workspace.allow_root_owned = true;
            strcpy(s.mounts[0].source, at(p->top, cases[i].name));
            strcpy(s.mounts[0].target, "/data");
            s.mounts[0].read_only = read_only;
            s.mount_count = 1;
            must_refuse(&s, &o, ERR_FORBIDDEN, cases[i].words);
        }
    }
    struct spec s;
    spec_directory(&s, p->work);
    strcpy(s.mounts[0].source, at(p->top, "run/capabilities"));
    strcpy(s.mounts[0].target, "/data");
    s.mount_count = 1;
    must_refuse(&s, &o, ERR_FORBIDDEN, "inside berth's runtime directory");
}
IN_A_PLACE(berths_own_directories_and_what_is_in_them_are_refused, refused)

static void shared(const struct place *p)
{
    static const char *const names[] = {"work", "state/else", "inside/ws"};
    struct workspace_options o = own_options(p);
    furnish(p);
    for (unsigned i = 0; i < 3; i++) {
        struct spec s;
        struct workspace ws;
        spec_directory(&s, at(p->top, names[i]));
        must_open(&ws, &s, &o);
        CHECK(ws.socket_count == 0, "%s: nothing is hidden", names[i]);
        must_close(&ws);
    }
}
IN_A_PLACE(what_lies_beside_them_is_shared, shared)

static bool hides(const struct workspace *ws, int mount, const char *path)
{
    for (uint32_t i = 0; i < ws->socket_count; i++)
        if (ws->sockets[i].mount == mount && strcmp(ws->sockets[i].path, path) == 0)
            return ws->sockets[i].directory;
    return false;
}

static void hidden(const struct place *p)
{
    struct workspace_options o = own_options(p);
    struct spec s;
    struct workspace ws;
    char nested[128];
    furnish(p);
    CHECK(chown(p->top, ALICE, ALICE) == 0, "chown");
    CHECK(mknod(at(run_dir, "control"), S_IFSOCK | 0600, 0) == 0, "a socket of berth's own");
    make_directory(at(p->top, "bound"), ALICE);
    CHECK(mount(p->top, at(p->top, "bound"), NULL, MS_BIND, NULL) == 0, "bind");
    spec_directory(&s, p->top);
    strcpy(s.mounts[0].source, at(p->top, "bound"));
    strcpy(s.mounts[0].target, "/data");
    s.mount_count = 1;
    must_open(&ws, &s, &o);
    for (int i = -1; i < 1; i++)
        CHECK(hides(&ws, i, "run") && hides(&ws, i, "state") && hides(&ws, i, "share"), "mount %d",
              i);
    CHECK(ws.socket_count == 6, "and nothing else: %u", ws.socket_count);
    CHECK(strstr(told, "run is berth's runtime directory and is hidden"), "told: %s", told);
    must_close(&ws);

    /* One inside another goes with it; one that is not there yet is made, so that no session can.
     */
    snprintf(nested, sizeof nested, "%s/inside/new/state", run_dir);
    o.state_dir = nested;
    s.mount_count = 0;
    must_open(&ws, &s, &o);
    CHECK(hides(&ws, -1, "run") && hides(&ws, -1, "share") && ws.socket_count == 2, "%u",
          ws.socket_count);
    must_close(&ws);
    struct stat st;
    CHECK(stat(nested, &st) == 0 && (st.st_mode & 07777) == 0700, "made");
    CHECK(umount(at(p->top, "bound")) == 0, "umount");
}
IN_A_PLACE(those_that_lie_in_what_is_shared_are_hidden, hidden)

/* On a mount of its own it is not in the session, and there is nothing to hide. */
static void elsewhere(const struct place *p)
{
    struct workspace_options o = own_options(p);
    struct spec s;
    struct workspace ws;
    furnish(p);
    CHECK(mount("berth", run_dir, "tmpfs", 0, "size=64k") == 0, "tmpfs");
    CHECK(chown(p->top, ALICE, ALICE) == 0, "chown");
    spec_directory(&s, p->top);
    must_open(&ws, &s, &o);
    CHECK(!hides(&ws, -1, "run") && hides(&ws, -1, "state"), "only what is in the tree");
    must_close(&ws);
    CHECK(umount(run_dir) == 0, "umount");
}
IN_A_PLACE(one_on_a_mount_of_its_own_is_not_in_the_session_anyway, elsewhere)
