/* This file tests which lines of /etc/passwd name a home directory that somebody's shell starts in.
 */
#include "runtime/host/workspace_home.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All homes of a text as "uid=home;". */
static const char *homes_of(const char *text, size_t length)
{
    static char found[1024];
    struct home_account a;
    const char *at = text;
    found[0] = 0;
    while (home_next_account(&at, text + length, &a)) {
        size_t n = strlen(found);
        snprintf(found + n, sizeof found - n, "%u=%.*s;", a.uid, (int)a.length, a.home);
    }
    cr_expect(at == text + length, "it was read to its end");
    return found;
}

static void expect_homes(const char *text, const char *wanted)
{
    /* A copy of exactly this size: who reads beyond it is found by the sanitizers. */
    size_t n = strlen(text);
    char *copy = malloc(n ? n : 1);
    memcpy(copy, text, n);
    const char *found = homes_of(copy, n);
    cr_expect(strcmp(found, wanted) == 0, "%s\nis: %s\nnot: %s", text, found, wanted);
    free(copy);
}

Test(workspace_home, people_and_root_have_homes_and_services_do_not)
{
    expect_homes("root:x:0:0:root:/root:/bin/bash\n"
                 "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
                 "www:x:33:33::/var/www:/bin/sh\n"
                 "alice:x:1000:1000:Alice,,,:/home/alice:/bin/zsh\n"
                 "bob:x:4000000000:1:B:/srv/people/bob/:/bin/sh\n"
                 "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
                 "away:x:1001:1001::/home/away:/bin/false\n",
                 "0=/root;1000=/home/alice;4000000000=/srv/people/bob;");
}

Test(workspace_home, a_line_without_a_shell_has_the_standard_one)
{
    expect_homes("a:x:1000:1000::/home/a:\nb:x:1001:1001::/home/b", "1000=/home/a;1001=/home/b;");
}

Test(workspace_home, the_root_directory_and_what_is_no_path_are_nobodys_home)
{
    expect_homes("a:x:1000:1::/:/bin/sh\nb:x:1000:1::///:/bin/sh\nc:x:1000:1:::/bin/sh\n"
                 "d:x:1000:1::home/d:/bin/sh\nroot:x:0:0::/:/bin/sh\n",
                 "");
}

Test(workspace_home, what_is_no_line_of_passwd_is_passed_over)
{
    expect_homes("", "");
    expect_homes(
        "\n\n# note:x:1000:1::/home/note:/bin/sh\n+:::::/home/nis:\n-x:x:1000:1::/home/y:\n"
        "short\nshort:x\na:x:1x:1::/home/a:/bin/sh\nb:x::1::/home/b:/bin/sh\n"
        "c:x:4294967296:1::/home/c:/bin/sh\nd:x:99999999999999999999999:1::/home/d:\n"
        "e:x:-1:1::/home/e:/bin/sh\n:x:1000:1::/home/f:/bin/sh",
        "1000=/home/f;");
    static const char with_nul[] = "a:x:1000:1::/home/a\0b:/bin/sh\nc:x:1001:1::/home/c:/bin/sh";
    const char *found = homes_of(with_nul, sizeof with_nul - 1);
    cr_expect(strstr(found, "1001=/home/c;"), "%s", found);
}
