/* This file compares a page that is made from a table with the one under docs/; with
 * BERTH_WRITE_DOCUMENTS=1 in the environment it writes the page instead (`make state-docs`).
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/base/io.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void compare_document(const char *path, void (*make)(struct buf *))
{
    struct buf made = {0};
    make(&made);
    cr_assert_not(buf_failed(&made));
    if (getenv("BERTH_WRITE_DOCUMENTS")) {
        FILE *file = fopen(path, "w");
        cr_assert(file);
        cr_assert_eq(fwrite(made.data, 1, made.length, file), made.length);
        cr_assert_eq(fclose(file), 0);
    }
    char *have = NULL;
    size_t length = 0;
    cr_assert_eq(io_read_file(AT_FDCWD, path, 1 << 20, &have, &length), 0, "%s is not there", path);
    cr_assert_str_eq(have, buf_text(&made), "%s differs from the table: run `make state-docs`",
                     path);
    free(have);
    buf_fini(&made);
}
