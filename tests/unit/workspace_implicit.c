/* This file tests which directories are refused as a workspace that nobody named. */
#include "runtime/host/workspace.h"

#include <criterion/criterion.h>
#include <string.h>

static int check(const char *path, const char *home, struct err *err)
{
    memset(err, 0, sizeof *err);
    return workspace_check_implicit(path, home, err);
}

Test(workspace_implicit, homes_and_system_directories_are_refused_with_the_way_to_insist)
{
    static const char *const refused[] = {
        "/",        "/home/alice",  "/home/alice/", "/home",    "/usr",
        "/usr/bin", "/usr/lib/gcc", "/etc",         "/etc/ssl", "/var",
        "/var/lib", "/var/log/apt", "/boot",        "/dev",     "/dev/shm",
        "/proc/1",  "/sys",         "/run",         "/tmp",     "/var/tmp",
        "/root",    "/opt",         "/lib",         "/lib64",   "/home/alice//",
        "/srv",
    };
    struct err err;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        cr_assert_lt(check(refused[i], "/home/alice", &err), 0, "%s", refused[i]);
        cr_assert(strstr(err.detail, "--workspace "), "%s: %s", refused[i], err.detail);
        cr_expect_eq(!strstr(err.detail, "if you mean it"), strcmp(refused[i], "/") == 0, "%s: %s",
                     refused[i], err.detail);
    }
}

Test(workspace_implicit, where_people_work_is_not_refused)
{
    static const char *const allowed[] = {
        "/home/alice/project", "/home/alicex",  "/tmp/x",
        "/usr/src/app",        "/opt/app",      "/var/www/site",
        "/srv/git/repo",       "/root/project", "/var/lib/ci/ws",
        "/run/media/a/disk",   "/etcetera",     "/work",
    };
    struct err err;
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        cr_assert_eq(check(allowed[i], "/home/alice", &err), 0, "%s: %s", allowed[i], err.detail);
    cr_assert_eq(check("/srv/x", NULL, &err), 0);
    cr_assert_eq(check("/srv/x", "", &err), 0);
    cr_assert_eq(check("/srv/x", "/", &err), 0, "a service whose home is / can work");
}

Test(workspace_implicit, what_is_above_a_home_is_refused_wherever_homes_are)
{
    struct err err;
    cr_assert_lt(check("/data/people", "/data/people/alice", &err), 0);
    cr_assert_lt(check("/data", "/data/people/alice/", &err), 0);
    cr_assert_eq(check("/data/people/alic", "/data/people/alice", &err), 0);
    cr_assert_lt(check("relative", NULL, &err), 0);
}
