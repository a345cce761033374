/* This file tests the list of names in a directory, which is read in pieces. */
#include "runtime/base/names.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MANY = 500 };

static char place[64];

static void setup(void)
{
    snprintf(place, sizeof place, "/tmp/berth-test-XXXXXX");
    cr_assert_not_null(mkdtemp(place));
}

static void teardown(void)
{
    char path[128];
    for (int i = 0; i < MANY; i++) {
        snprintf(path, sizeof path, "%s/a-name-of-some-length-%d", place, i);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/.hidden", place);
    unlink(path);
    cr_assert_eq(rmdir(place), 0);
}

TestSuite(names, .init = setup, .fini = teardown);

static void make(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", place, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    close(fd);
}

static unsigned count(enum names_which which, bool seen[MANY], unsigned *ret_hidden)
{
    struct names names;
    const char *name;
    unsigned all = 0;
    int r, fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    names_begin(&names, fd, which);
    *ret_hidden = 0;
    while ((r = names_next(&names, &name)) > 0) {
        int i = -1;
        all++;
        if (sscanf(name, "a-name-of-some-length-%d", &i) == 1 && i >= 0 && i < MANY)
            seen[i] = true;
        else if (strcmp(name, ".hidden") == 0)
            ++*ret_hidden;
        else
            cr_assert_fail("%s", name);
    }
    cr_assert_eq(r, 0);
    close(fd);
    return all;
}

Test(names, each_is_told_once_whatever_their_number)
{
    bool seen[MANY] = {false};
    unsigned hidden;
    cr_assert_eq(count(NAMES_ALL, seen, &hidden), 0);
    char name[64];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "a-name-of-some-length-%d", i);
        make(name);
    }
    make(".hidden");
    cr_assert_eq(count(NAMES_WITHOUT_DOT, seen, &hidden), MANY);
    cr_assert_eq(hidden, 0);
    for (int i = 0; i < MANY; i++)
        cr_assert(seen[i]);
    cr_assert_eq(count(NAMES_ALL, seen, &hidden), MANY + 1);
    cr_assert_eq(hidden, 1);
}

Test(names, what_is_no_directory_is_an_error)
{
    struct names names;
    const char *name;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    names_begin(&names, fd, NAMES_ALL);
    cr_assert_eq(names_next(&names, &name), -ENOTDIR);
    close(fd);
}
