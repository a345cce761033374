/* This file finds the name that somebody probably meant; it never decides anything. */
#include "policy/suggest.h"

#include <stdbool.h>
#include <string.h>

enum { WORD_MAX = 48 };

static char fold(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c == '-' ? '_' : c;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment over two short words; three rows are enough. */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][WORD_MAX + 1];
    for (size_t j = 0; j <= b_length; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            bool same = fold(a[i - 1]) == fold(b[j - 1]);
            now[j] = least(least(before[j] + 1, now[j - 1] + 1), before[j - 1] + (same ? 0 : 1));
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1]))
                now[j] = least(now[j], earlier[j - 2] + 1);
        }
    }
    return rows[a_length % 3][b_length];
}

const char *suggest_nearest(const char *word, const char *const *names, size_t count)
{
    size_t length = strnlen(word, WORD_MAX + 1), best = 4;
    const char *found = NULL;
    if (length == 0 || length > WORD_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t n = names[i] ? strnlen(names[i], WORD_MAX + 1) : WORD_MAX + 1;
        if (n > WORD_MAX)
            continue;
        size_t d = distance(word, length, names[i], n);
        /* A third of the letters may be wrong; more is another word. */
        if (d < best && d * 3 <= (length > n ? length : n)) {
            best = d;
            found = names[i];
        }
    }
    return found;
}
