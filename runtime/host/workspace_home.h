/* This file is how a workspace is told to be somebody's home directory, where shells and their like
 * read files that mean nothing elsewhere; docs/adr/0006 says why that matters. It holds no state.
 * PRIVILEGED: the launcher's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* An account as /etc/passwd has it. */
struct home_account {
    uint32_t uid;
    const char *home; /* within the text, not terminated; absolute, not "/" */
    size_t length;    /* without slashes at the end */
};

/* The next account that somebody logs in to: uid 0 or from 1000 on, and a shell that is one. *text
 * moves on towards `end`; what is no line of passwd(5) is passed over. False: there is no more.
 * Pure. */
bool home_next_account(const char **text, const char *end, struct home_account *ret);

/* Is `st`, a directory that was found at `path` without a link, the home of an account or $HOME?
 * Also true when that cannot be found out. An account's home is looked at only when its path is the
 * same, or its last part, or the directory is the account's own. */
bool home_is_known(const char *path, const struct stat *st);
