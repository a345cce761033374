/* This file says which directories nobody means when he does not name a workspace; it opens
 * nothing. Any process may call.
 *
 * `berth run` shares the current directory when none is named. In a system directory or a home that
 * is an accident: it would give a session everything a person has. Naming it is not an accident.
 */
#include "runtime/host/workspace.h"

#include "runtime/base/fd.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* `whole`: everything beneath it too. The others have directories beneath them where people work.
 */
static const struct {
    const char *path;
    bool whole;
    const char *what;
} system_directories[] = {
    {"/usr", false, "a system directory"},       {"/usr/bin", true, "a system directory"},
    {"/usr/sbin", true, "a system directory"},   {"/usr/lib", true, "a system directory"},
    {"/usr/lib32", true, "a system directory"},  {"/usr/lib64", true, "a system directory"},
    {"/usr/libx32", true, "a system directory"}, {"/usr/libexec", true, "a system directory"},
    {"/usr/share", true, "a system directory"},  {"/usr/include", true, "a system directory"},
    {"/usr/local", false, "a system directory"}, {"/usr/local/bin", true, "a system directory"},
    {"/usr/src", false, "a system directory"},   {"/etc", true, "a system directory"},
    {"/bin", true, "a system directory"},        {"/sbin", true, "a system directory"},
    {"/lib", true, "a system directory"},        {"/lib32", true, "a system directory"},
    {"/lib64", true, "a system directory"},      {"/libx32", true, "a system directory"},
    {"/boot", true, "a system directory"},       {"/dev", true, "a system directory"},
    {"/proc", true, "a system directory"},       {"/sys", true, "a system directory"},
    {"/run", false, "a system directory"},       {"/run/user", false, "a system directory"},
    {"/var", false, "a system directory"},       {"/var/lib", false, "a system directory"},
    {"/var/log", true, "a system directory"},    {"/var/cache", true, "a system directory"},
    {"/var/spool", true, "a system directory"},  {"/var/tmp", false, "everybody's directory"},
    {"/tmp", false, "everybody's directory"},    {"/opt", false, "a system directory"},
    {"/srv", false, "a system directory"},       {"/mnt", false, "a system directory"},
    {"/media", false, "a system directory"},     {"/home", false, "where all homes are"},
    {"/root", false, "the home of root"},        {"/lost+found", true, "a system directory"},
};

static int refuse(const char *path, const char *what, struct err *err)
{
    bool never = strcmp(path, "/") == 0; /* not even when it is named: workspace_pin.c */
    return err_set(err, ERR_USAGE, 0, "choose the workspace", path,
                   "berth run shares the current directory with the session when none is named, "
                   "and this is %s. Change to a project's directory, or name %s --workspace %s%s.",
                   what, never ? "one with" : "this one with", never ? "DIR" : path,
                   never ? "" : " if you mean it");
}

/* `a` is `b` or above it. Both without trailing slashes. */
static bool is_at_or_above(const char *a, const char *b)
{
    size_t n = strlen(a);
    if (n == 1)
        return true;
    return strncmp(a, b, n) == 0 && (b[n] == 0 || b[n] == '/');
}

static bool same_file(const struct stat *a, const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && st.st_dev == a->st_dev && st.st_ino == a->st_ino;
}

static void trim(const char *path, char ret[SPEC_PATH_MAX])
{
    snprintf(ret, SPEC_PATH_MAX, "%s", path);
    for (size_t n = strlen(ret); n > 1 && ret[n - 1] == '/'; n--)
        ret[n - 1] = 0;
}

int workspace_check_implicit(const char *path, const char *home, struct err *err)
{
    char at[SPEC_PATH_MAX], own[SPEC_PATH_MAX] = "";
    struct stat st;
    if (path[0] != '/' || strlen(path) >= sizeof at)
        return err_set(err, ERR_USAGE, 0, "choose the workspace", path,
                       "The path of a workspace is absolute and shorter than %d bytes.",
                       SPEC_PATH_MAX);
    trim(path, at);
    if (home && home[0] == '/')
        trim(home, own);
    bool exists = stat(at, &st) == 0;
    if (strcmp(at, "/") == 0 || (exists && same_file(&st, "/")))
        return refuse(at, "the root of the host", err);
    if (own[0] && own[1] && (strcmp(at, own) == 0 || (exists && same_file(&st, own))))
        return refuse(at, "your home directory", err);
    for (size_t i = 0; i < ARRAY_LENGTH(system_directories); i++) {
        const char *p = system_directories[i].path;
        if (strcmp(at, p) == 0 || (system_directories[i].whole && is_at_or_above(p, at)))
            return refuse(at, system_directories[i].what, err);
    }
    if (own[0] && own[1] && is_at_or_above(at, own))
        return refuse(at, "above your home directory", err);
    return 0;
}
