/* This file tests the part of base/io that has edges: reading a whole file. */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[32];

static void make(size_t length)
{
    strcpy(path, "/tmp/berth-io-XXXXXX");
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)(i * 31 >> 3);
        cr_assert_eq(write(fd, &byte, 1), 1);
    }
    close(fd);
}

Test(base_io, a_file_of_every_size_is_read_whole)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 16383, 16384, 16385, 40000};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        make(sizes[k]);
        char *data = NULL;
        size_t length = 77;
        int r = io_read_file(AT_FDCWD, path, 1 << 20, &data, &length);
        unlink(path);
        cr_assert_eq(r, 0, "%zu", sizes[k]);
        cr_assert_eq(length, sizes[k]);
        cr_assert_eq(data[length], 0);
        for (size_t i = 0; i < length; i++)
            cr_assert_eq((unsigned char)data[i], (unsigned char)(i * 31 >> 3), "%zu", i);
        free(data);
    }
}

Test(base_io, a_file_that_is_too_long_is_refused)
{
    static const size_t sizes[] = {101, 4096, 5000, 40000};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        make(sizes[k]);
        char *data = NULL;
        size_t length = 77;
        int r = io_read_file(AT_FDCWD, path, sizes[k] - 1, &data, &length);
        unlink(path);
        cr_assert_eq(r, -EFBIG, "%zu", sizes[k]);
        cr_assert_null(data);
        cr_assert_eq(length, 77u);
    }
}

Test(base_io, a_file_that_is_not_there_is_told)
{
    char *data = NULL;
    size_t length;
    cr_assert_eq(io_read_file(AT_FDCWD, "/nonexistent", 1, &data, &length), -ENOENT);
}
