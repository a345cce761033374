/* This file tests what `berth serve` does to names that others may have made: directories above its
 * own, and the socket whose group changes. */
#include "api/cli/serve.h"

#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char top[64];

static void init(void)
{
    snprintf(top, sizeof top, "/tmp/berth-place-XXXXXX");
    cr_assert(mkdtemp(top));
}

static void fini(void)
{
    static const char *const left[] = {"a/b", "a", "socket", "link", "file"};
    for (unsigned i = 0; i < ARRAY_LENGTH(left); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", top, left[i]);
        remove(path);
    }
    cr_expect_eq(rmdir(top), 0);
}

TestSuite(serve_place, .init = init, .fini = fini, .timeout = 60);

static mode_t mode_of(const char *name)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", top, name);
    cr_assert_eq(stat(path, &st), 0, "%s", path);
    return st.st_mode & 07777;
}

Test(serve_place, directories_above_those_of_root_can_be_searched_whatever_the_umask_is)
{
    char path[128];
    struct err err;
    snprintf(path, sizeof path, "%s/a/b/c", top);
    mode_t mask = umask(0077);
    cr_expect_eq(serve_make_parents(path, &err), 0, "%s", err.detail);
    umask(mask);
    mode_t wanted = geteuid() == 0 ? 0755 : 0700;
    cr_expect_eq(mode_of("a"), wanted);
    cr_expect_eq(mode_of("a/b"), wanted);
    /* One that is there is somebody's decision. */
    snprintf(path, sizeof path, "%s/a", top);
    cr_assert_eq(chmod(path, 0710), 0);
    snprintf(path, sizeof path, "%s/a/b/c", top);
    cr_expect_eq(serve_make_parents(path, &err), 0);
    cr_expect_eq(mode_of("a"), 0710);
}

static struct serve_place place_at(const char *name)
{
    struct serve_place place = {.state_lock = -1, .runtime_lock = -1, .listen = -1};
    snprintf(place.socket, sizeof place.socket, "%s/%s", top, name);
    return place;
}

static void make_socket(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s/socket", top);
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof at) == 0);
    cr_assert_eq(chmod(at.sun_path, 0640), 0);
}

Test(serve_place, the_socket_gets_its_group_and_mode)
{
    make_socket();
    struct serve_place place = place_at("socket");
    struct err err;
    cr_expect_eq(serve_regroup(&place, getegid(), &err), 0, "%s", err.detail);
    cr_expect_eq(mode_of("socket"), 0660);
    cr_expect_eq(serve_regroup(&place, SERVE_NOBODY, &err), 0, "%s", err.detail);
    cr_expect_eq(mode_of("socket"), 0600);
}

Test(serve_place, what_a_link_leads_to_gets_no_group_and_no_mode)
{
    make_socket();
    char path[128], target[128];
    struct serve_place place = place_at("link");
    struct err err;
    snprintf(path, sizeof path, "%s/link", top);
    snprintf(target, sizeof target, "%s/socket", top);
    cr_assert_eq(symlink(target, path), 0);
    cr_expect_lt(serve_regroup(&place, getegid(), &err), 0);
    cr_expect_eq(mode_of("socket"), 0640);
    snprintf(path, sizeof path, "%s/file", top);
    fd_close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    place = place_at("file");
    cr_expect_lt(serve_regroup(&place, getegid(), &err), 0);
    cr_expect_eq(mode_of("file"), 0644);
}
