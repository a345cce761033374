/* This file proves that the man page, the completions, the reference page and the README name
 * exactly the options that `berth run --help` names, and completions every verb. */
#include "api/cli/run_options.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { NAMES_MAX = 64, NAME_MAX_LENGTH = 40 };

struct names {
    char name[NAMES_MAX][NAME_MAX_LENGTH];
    size_t count;
};

static void add(struct names *names, const char *start, size_t length)
{
    cr_assert_lt(length, (size_t)NAME_MAX_LENGTH);
    for (size_t i = 0; i < names->count; i++)
        if (strlen(names->name[i]) == length && memcmp(names->name[i], start, length) == 0)
            return;
    cr_assert_lt(names->count, (size_t)NAMES_MAX);
    memcpy(names->name[names->count], start, length);
    names->name[names->count++][length] = 0;
}

/* What follows `mark` in `text`, up to `end` (NULL: all), as long as it is a name. */
static void collect(struct names *ret, const char *text, const char *mark, const char *end)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz-";
    for (const char *at = text; (at = strstr(at, mark)) != NULL && (!end || at < end);) {
        at += strlen(mark);
        size_t length = strspn(at, letters);
        if (length > 1 && at[0] != '-')
            add(ret, at, length);
    }
}

static const char *file(const char *path)
{
    static char text[128 << 10];
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : io_read_full(fd, text, sizeof text - 1);
    cr_assert_gt(n, 0, "%s cannot be read: run this from the tree's top", path);
    text[n] = 0;
    return text;
}

static bool has(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->name[i], name) == 0)
            return true;
    return false;
}

static void expect_same(const struct names *help, const struct names *page, const char *path)
{
    for (size_t i = 0; i < help->count; i++)
        cr_expect(has(page, help->name[i]), "%s does not have --%s", path, help->name[i]);
    for (size_t i = 0; i < page->count; i++)
        cr_expect(has(help, page->name[i]), "%s has --%s, and berth does not", path, page->name[i]);
}

/* Where options of `berth run` are in each file: between two texts, each behind a mark. */
static const struct {
    const char *path, *from, *to, *mark;
} pages[] = {
    {"docs/man/berth-run.1", ".Sh OPTIONS", ".El", ".It Fl \\-"},
    {"docs/man/berth-run.1", ".Sh OPTIONS", ".El", "Fl \\-"},
    {"docs/cli-reference.md", "## `berth run`", "### Decisions", "  --"},
    {"README.md", "## Options of `berth run`", "## Exit status", "`--"},
    {"api/cli/completion/_berth", "run_options=(", "\n    )\n", "--"},
    {"api/cli/completion/berth.bash", "    run) echo", ";;", "--"},
};

static void collect_help(struct names *ret)
{
    _cleanup_buf_ struct buf help = {0};
    run_options_help(&help);
    const char *options = strstr(buf_text(&help), "\nOptions:\n");
    cr_assert(options);
    collect(ret, options, "  --", NULL);
    collect(ret, options, ", --", NULL);
    cr_assert_gt(ret->count, 20u);
}

Test(cli_docs, every_page_and_completion_names_the_options_of_the_help_and_no_other)
{
    static struct names help;
    collect_help(&help);
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        /* A name with a letter before it stands behind another mark: both rows of a page count. */
        struct names page = {0};
        const char *start = strstr(file(pages[i].path), pages[i].from);
        cr_assert(start, "%s has no \"%s\"", pages[i].path, pages[i].from);
        const char *end = strstr(start, pages[i].to);
        cr_assert(end, "%s has no \"%s\"", pages[i].path, pages[i].to);
        collect(&page, start, pages[i].mark, end);
        if (strcmp(pages[i].mark, "  --") == 0)
            collect(&page, start, ", --", end);
        if (strcmp(pages[i].mark, ".It Fl \\-") == 0)
            collect(&page, start, " , Fl \\-", end);
        expect_same(&help, &page, pages[i].path);
    }
}

Test(cli_docs, the_reference_has_the_help_word_for_word)
{
    _cleanup_buf_ struct buf help = {0};
    run_options_help(&help);
    cr_expect(strstr(file("docs/cli-reference.md"), buf_text(&help)),
              "docs/cli-reference.md differs from `berth run --help`");
}

Test(cli_docs, every_list_of_verbs_in_a_completion_is_that_of_the_program)
{
    static const char *const paths[] = {"api/cli/completion/_berth",
                                        "api/cli/completion/berth.bash"};
    static struct names verbs;
    const char *table = strstr(file("api/cli/dispatch.c"), "verbs[] = {");
    cr_assert(table);
    collect(&verbs, table, "\n    {\"", strstr(table, "};"));
    cr_assert_gt(verbs.count, 10u);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        unsigned lists = 0;
        for (const char *at = file(paths[i]); (at = strstr(at, "run session exec")) != NULL;
             at++, lists++) {
            struct names list = {0};
            for (const char *word = at; *word >= 'a' && *word <= 'z';) {
                size_t length = strspn(word, "abcdefghijklmnopqrstuvwxyz-");
                add(&list, word, length);
                word += length + (word[length] == ' ');
            }
            expect_same(&verbs, &list, paths[i]);
        }
        cr_expect_gt(lists, 0u, "%s has no list of verbs", paths[i]);
    }
}
