/* This file reads options by a table and makes help from the same table; it never knows what an
 * option means. */
#include "api/cli/cli.h"

#include <string.h>

static const struct cli_option *by_name(const struct cli_option *table, size_t count,
                                        const char *name, size_t length)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
            return &table[i];
    return NULL;
}

static const struct cli_option *by_letter(const struct cli_option *table, size_t count, char letter)
{
    for (size_t i = 0; i < count; i++)
        if (table[i].letter && table[i].letter == letter)
            return &table[i];
    return NULL;
}

static int unknown(const char *word, size_t name_length, const struct cli_option *table,
                   size_t count, struct err *err)
{
    char name[64] = "";
    if (word[1] == '-' && name_length < sizeof name) {
        memcpy(name, word + 2, name_length);
        name[name_length] = 0;
    }
    const char *near = name[0] ? cli_suggest(name, table, count, sizeof *table) : NULL;
    return err_set(err, ERR_USAGE, 0, "unknown option", word, "%s%s%s--help lists the options.",
                   near ? "Did you mean \"--" : "", near ? near : "", near ? "\"? " : "");
}

int cli_option_next(struct cli_cursor *cursor, const struct cli_option *table, size_t count,
                    const struct cli_option **ret_option, const char **ret_value, struct err *err)
{
    const char *word = cursor->at < cursor->argc ? cursor->argv[cursor->at] : "";
    if (word[0] != '-' || word[1] == 0)
        return CLI_OPTION_WORDS;
    cursor->at++;
    if (strcmp(word, "--") == 0)
        return CLI_OPTION_WORDS;

    bool is_long = word[1] == '-';
    size_t length = is_long ? strcspn(word + 2, "=") : 1;
    const char *attached = is_long && word[2 + length] == '=' ? word + 3 + length : NULL;
    if (!is_long && word[2])
        attached = word + 2;
    const struct cli_option *option =
        is_long ? by_name(table, count, word + 2, length) : by_letter(table, count, word[1]);
    if (!option)
        return unknown(word, length, table, count, err);
    if (!option->argument && attached && !is_long)
        return err_set(err, ERR_USAGE, 0, "short options do not join", word,
                       "Write -%c, and what follows it as a word of its own.", word[1]);
    if (!option->argument && attached)
        return err_set(err, ERR_USAGE, 0, "option takes no value", word, "Write --%s alone.",
                       option->name);
    const char *value = attached;
    if (option->argument && !value) {
        if (cursor->at >= cursor->argc)
            return err_set(err, ERR_USAGE, 0, "option needs a value", word, "Write --%s %s.",
                           option->name, option->argument);
        value = cursor->argv[cursor->at++];
    }
    *ret_option = option;
    *ret_value = value;
    return 0;
}

void cli_option_help(struct buf *out, const char *example, const char *usage, const char *text,
                     const struct cli_option *table, size_t count)
{
    buf_printf(out, "%s\nUsage:    %s\n\n%s\n\nOptions:\n", example, usage, text);
    for (size_t i = 0; i < count; i++) {
        char left[64] = "";
        _cleanup_buf_ struct buf b = {0};
        if (table[i].letter)
            buf_printf(&b, "-%c, ", table[i].letter);
        buf_printf(&b, "--%s%s%s", table[i].name, table[i].argument ? " " : "",
                   table[i].argument ? table[i].argument : "");
        size_t n = strlen(buf_text(&b));
        if (n < sizeof left)
            memcpy(left, buf_text(&b), n + 1);
        if (n <= 28)
            buf_printf(out, "  %-28s %s\n", left, table[i].help);
        else
            buf_printf(out, "  %s\n  %-28s %s\n", left, "", table[i].help);
    }
}

/* Edits between two words, where swapping neighbours is one; more than `sizeof row` is far. */
static size_t distance(const char *a, const char *b)
{
    enum { MAX = 32 };
    size_t n = strlen(a), m = strlen(b);
    if (n >= MAX || m >= MAX)
        return MAX;
    size_t row[3][MAX] = {{0}};
    for (size_t j = 0; j <= m; j++)
        row[1][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = row[(i + 1) % 3], *above = row[i % 3], *two = row[(i + 2) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                two[j - 2] + 1 < best)
                best = two[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[(n + 1) % 3][m];
}

const char *cli_suggest(const char *word, const void *names, size_t count, size_t stride)
{
    const char *best = NULL;
    size_t best_distance = strlen(word) < 5 ? 2 : 3; /* must be below */
    for (size_t i = 0; i < count; i++) {
        const char *name;
        memcpy(&name, (const char *)names + i * stride, sizeof name);
        size_t d = distance(word, name);
        if (strlen(word) > 2 && strncmp(name, word, strlen(word)) == 0)
            d = 1;
        if (d < best_distance) {
            best = name;
            best_distance = d;
        }
    }
    return best;
}
