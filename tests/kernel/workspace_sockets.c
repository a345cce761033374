/* This file tests that unix sockets beneath a workspace are found (attack row 38a). */
#define WORKSPACE_SUITE workspace_sockets
#include "workspace_fixture.h"

static int bind_at(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 1) == 0, "%s",
          path);
    return fd;
}

static bool found_in(const struct workspace *ws, int32_t mount, const char *path)
{
    for (uint32_t i = 0; i < ws->socket_count; i++)
        if (ws->sockets[i].mount == mount && strcmp(ws->sockets[i].path, path) == 0)
            return true;
    return false;
}

static bool found(const struct workspace *ws, const char *path)
{
    return found_in(ws, WORKSPACE_SOCKET_HERE, path);
}

/* `top` and directories one in the other beneath it. */
static void deep(const char *top, const char *name, int depth, char path[2048])
{
    snprintf(path, 2048, "%s", top);
    for (int i = 0; i < depth; i++) {
        strcat(path, "/");
        strcat(path, name);
        make_directory(path, ALICE);
    }
}

/* More directories than a walk reads in its short time. */
static void widen(const char *top)
{
    for (int i = 0; i < 300; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/dir%d", top, i);
        make_directory(path, ALICE);
        strcat(path, "/sub");
        make_directory(path, ALICE);
    }
}

static void by_any_name(const struct place *p)
{
    char path[2048];
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    make_directory(at(p->work, ".git"), ALICE);
    widen(p->work);
    deep(p->work, "d", 26, path);
    strcat(path, "/agent.sock"); /* the walk does not come so far */
    close(bind_at(at(p->work, "stale.sock")));
    int a = bind_at(path);
    CHECK(chdir(p->work) == 0, "chdir");
    int b = bind_at(".git/fsmonitor--daemon.ipc");
    CHECK(symlink(path, at(p->work, "link.sock")) == 0, "symlink");
    spec_directory(&s, p->work);
    must_open(&ws, &s, &o);
    CHECK(found(&ws, path + strlen(p->work) + 1), "by an absolute path, however deep");
    CHECK(found(&ws, ".git/fsmonitor--daemon.ipc"), "by a relative path");
    CHECK(found(&ws, "stale.sock"), "one that nobody serves now");
    CHECK(ws.socket_count == 3, "each once, and no link: %u", ws.socket_count);
    CHECK(strstr(told, "workspace.socket: "), "told: %s", told);
    must_close(&ws);
    close(a);
    close(b);
}
IN_A_PLACE(a_socket_is_found_by_absolute_and_relative_name_row_38a, by_any_name)

static void add_mount(struct spec *s, const char *source, bool read_only)
{
    struct spec_mount *m = &s->mounts[s->mount_count];
    strcpy(m->source, source);
    snprintf(m->target, sizeof m->target, "/mnt/%u", s->mount_count++);
    m->read_only = read_only;
}

static void in_mounts(const struct place *p)
{
    char path[2048], key[2200];
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    char *a = at(p->top, "a"), *b = at(p->top, "b");
    make_directory(a, ALICE);
    make_directory(b, ALICE);
    widen(b);
    deep(b, "d", 26, path);
    strcat(path, "/agent.sock");
    close(bind_at(at(p->work, "same.sock")));
    close(bind_at(at(a, "same.sock")));
    int fd = bind_at(path);
    spec_directory(&s, p->work);
    add_mount(&s, a, false);
    add_mount(&s, b, true);
    must_open(&ws, &s, &o);
    CHECK(found(&ws, "same.sock") && found_in(&ws, 0, "same.sock"), "one in each");
    CHECK(found_in(&ws, 1, path + strlen(b) + 1), "in a read-only mount, however deep");
    CHECK(ws.socket_count == 3, "each once: %u", ws.socket_count);
    snprintf(key, sizeof key, "mounts.socket: %s is a unix socket", path);
    CHECK(strstr(told, key), "told: %s", told);
    must_close(&ws);
    strcpy(s.mounts[0].source, at(a, "same.sock"));
    must_refuse(&s, &o, ERR_INVALID_REQUEST, "It is a unix socket");
    close(fd);
}
IN_A_PLACE(sockets_in_extra_mounts_are_found_and_a_socket_is_no_mount_row_38a, in_mounts)

static void other_namespace(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    make_directory(at(p->work, "run"), ALICE);
    CHECK(unshare(CLONE_NEWNET) == 0, "unshare");
    int fd = bind_at(at(p->work, "run/docker.sock"));
    CHECK(unshare(CLONE_NEWNET) == 0, "unshare");
    spec_directory(&s, p->work);
    must_open(&ws, &s, &o);
    CHECK(found(&ws, "run/docker.sock"), "the walk finds what the kernel's list has not");
    must_close(&ws);
    close(fd);
}
IN_A_PLACE(a_socket_of_another_network_namespace_is_found_by_the_walk, other_namespace)

static void budget(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    char path[2048], name[201];
    /* What other programs of the host listen on must not decide the test. */
    CHECK(unshare(CLONE_NEWNET) == 0, "unshare");
    spec_directory(&s, p->work);
    must_open(&ws, &s, &o);
    CHECK(!told[0], "an empty directory: %s", told);
    must_close(&ws);
    widen(p->work);
    memset(name, 'n', 200);
    name[200] = 0;
    deep(p->work, name, 6, path); /* the last has a path that is too long for a mask */
    must_open(&ws, &s, &o);
    CHECK(!told[0], "nothing could be there that is not in the kernel's list: %s", told);
    must_close(&ws);
    CHECK(chdir(p->top) == 0, "chdir");
    int fd = bind_at("relative.sock");
    must_open(&ws, &s, &o);
    CHECK(strstr(told, "workspace.socket_unseen: "), "it says that it stopped: %s", told);
    must_close(&ws);
    close(fd);
}
IN_A_PLACE(a_search_that_stopped_is_told_only_when_it_may_have_missed_something, budget)

static void others_placeholders(const struct place *p)
{
    struct spec s;
    struct workspace one, two;
    struct workspace_options o = options_of(p);
    spec_directory(&s, p->work);
    spec_add_protect(&s, ".bashrc", true);
    must_open(&one, &s, &o);
    CHECK(exists(at(p->work, ".bashrc")), "a placeholder");
    must_open(&two, &s, &o);
    CHECK(two.socket_count == 0 && !strstr(told, "socket"), "%u, told: %s", two.socket_count, told);
    must_close(&two);
    s.protect_count = 0;
    must_open(&two, &s, &o);
    CHECK(!strstr(told, "socket"), "told: %s", told);
    must_close(&two);
    must_close(&one);
}
IN_A_PLACE(placeholders_of_another_session_are_not_told_as_sockets, others_placeholders)

static void too_many(const struct place *p)
{
    struct spec s;
    struct workspace_options o = options_of(p);
    char path[256];
    for (int i = 0; i < 257; i++) {
        snprintf(path, sizeof path, "%s/s%d", p->work, i);
        close(bind_at(path));
    }
    spec_directory(&s, p->work);
    spec_add_protect(&s, ".bashrc", true);
    must_refuse(&s, &o, ERR_INVALID_REQUEST, "more than 256");
    CHECK(!exists(at(p->work, ".bashrc")) && entries(p->share) == 3, "nothing is left");
}
IN_A_PLACE(more_sockets_than_can_be_masked_are_refused, too_many)
