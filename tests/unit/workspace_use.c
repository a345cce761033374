/* This file tests WS-2's relation between two uses of directories as a pure function. */
#include "runtime/host/workspace_internal.h"

#include <criterion/criterion.h>
#include <string.h>

/* "1/2/3": the root is 3, its ancestors are 2 and 1. */
static struct use_record *use(const char *chain, unsigned exclusive)
{
    static struct use_record records[2];
    static unsigned next;
    struct use_record *r = &records[next++ % 2];
    memset(r, 0, sizeof *r);
    r->exclusive = exclusive;
    for (const char *p = chain + strlen(chain); p > chain; p--)
        if (p[-1] != '/')
            r->chain[r->count++] = (struct use_node){8, (uint64_t)p[-1]};
    return r;
}

Test(workspace_use, it_is_symmetric_and_follows_the_table)
{
    static const struct {
        const char *a, *b;
        bool overlap;
    } rows[] = {
        {"1", "1", true},          {"1/2", "1", true},      {"1", "1/2/3", true},
        {"1/2", "1/3", false},     {"1/2/4", "1/3", false}, {"1/2/3", "1/2/3", true},
        {"1/2/4", "1/2/5", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (unsigned modes = 0; modes < 9; modes++) {
            unsigned x = modes % 3, y = modes / 3;
            struct use_record *a = use(rows[i].a, x), *b = use(rows[i].b, y);
            /* Who shares shares; who writes files is in the way of all but his like. */
            bool together =
                (x == USE_SHARED && y == USE_SHARED) || (x == USE_FILES && y == USE_FILES);
            bool want = rows[i].overlap && !together;
            cr_assert_eq(use_conflicts(a, b), want, "%s and %s, modes %u", rows[i].a, rows[i].b,
                         modes);
            cr_assert_eq(use_conflicts(b, a), want);
        }
}

Test(workspace_use, the_same_inode_number_on_another_device_is_another_directory)
{
    struct use_record *a = use("1/2", true), *b = use("1/2", true);
    for (uint32_t i = 0; i < b->count; i++)
        b->chain[i].dev = 9;
    cr_assert_not(use_conflicts(a, b));
}
