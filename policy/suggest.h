/* This file finds the name that somebody probably meant; it never decides anything. Pure. */
#pragma once

#include <stddef.h>

/* The name nearest to `word` by edit distance (a swap of neighbours counts once, case is free), or
 * NULL when none is near enough to be a slip of the hand. `names` may hold NULL entries. */
const char *suggest_nearest(const char *word, const char *const *names, size_t count);
