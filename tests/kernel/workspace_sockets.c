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

static bool found(const struct workspace *ws, const char *path)
{
    for (uint32_t i = 0; i < ws->socket_count; i++)
        if (strcmp(ws->sockets[i], path) == 0)
            return true;
    return false;
}

static void deep(const struct place *p, char *path, size_t size)
{
    snprintf(path, size, "%s", p->work);
    for (int i = 0; i < 12; i++) {
        strcat(path, "/d");
        make_directory(path, ALICE);
    }
}

static void by_any_name(const struct place *p)
{
    char path[256];
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    make_directory(at(p->work, ".git"), ALICE);
    deep(p, path, sizeof path);
    strcat(path, "/agent.sock"); /* too deep for any walk */
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
    for (int i = 0; i < 300; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/dir%d", p->work, i);
        make_directory(path, ALICE);
        strcat(path, "/sub");
        make_directory(path, ALICE);
    }
    spec_directory(&s, p->work);
    must_open(&ws, &s, &o);
    CHECK(strstr(told, "workspace.socket_scan: "), "it says that it stopped: %s", told);
    must_close(&ws);
}
IN_A_PLACE(a_large_tree_is_not_walked_whole_and_that_is_said, budget)

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
