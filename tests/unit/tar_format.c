/* This file tests what tar.c makes of headers and what it writes; it touches no file. */
#include "runtime/agent/tar.h"
#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static unsigned char block[TAR_BLOCK];
static struct tar_reader reader;
static struct tar_entry entry;
static const char *wrong;

static void seal(void)
{
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (unsigned i = 0; i < TAR_BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
}

static void header(const char *name, char type, const char *size, const char *link)
{
    memset(block, 0, sizeof block);
    snprintf((char *)block, 100, "%s", name);
    memcpy(block + 100, "0006755", 8);
    snprintf((char *)block + 124, 12, "%s", size);
    snprintf((char *)block + 136, 12, "14524046600");
    block[156] = (unsigned char)type;
    snprintf((char *)block + 157, 100, "%s", link);
    memcpy(block + 257,
           "ustar\0"
           "00",
           8);
    seal();
}

static int take(void)
{
    wrong = NULL;
    return tar_read(&reader, block, &entry, &wrong);
}

static int extend(char kind, const char *text, size_t length)
{
    static char data[TAR_EXTENSION_MAX + 1];
    char size[32];
    snprintf(size, sizeof size, "%zo", length);
    header("x", kind, size, "");
    cr_assert_eq(take(), TAR_MORE);
    cr_assert_eq(entry.size, length);
    memcpy(data, text, length);
    return tar_extend(&reader, data, length, &wrong);
}

Test(tar_format, an_entry_has_a_clean_path_and_no_bit_of_07000)
{
    header("./a//b/./c/", '5', "", "");
    cr_assert_eq(take(), TAR_ENTRY);
    cr_expect(entry.type == TAR_DIRECTORY && strcmp(entry.path, "a/b/c") == 0 &&
                  entry.mode == 0755 && entry.modified == 1699761536,
              "%s %o %lld", entry.path, entry.mode, (long long)entry.modified);
    header("./", '5', "", "");
    cr_assert_eq(take(), TAR_ENTRY);
    cr_expect_str_eq(entry.path, "");
    memcpy(block + 345, "before", 6);
    header("f", '0', "17", "");
    memcpy(block + 345, "before/it", 9);
    seal();
    cr_assert_eq(take(), TAR_ENTRY);
    cr_expect(entry.size == 15 && strcmp(entry.path, "before/it/f") == 0, "%s", entry.path);
    memset(block, 0, sizeof block);
    cr_expect_eq(take(), TAR_ZERO);
}

Test(tar_format, FS_1_what_would_lead_out_or_is_no_file_is_refused)
{
    static const struct {
        const char *name;
        char type;
        const char *size, *link;
    } bad[] = {
        {"/a", '0', "", ""},    {"..", '5', "", ""},       {"a/../../b", '0', "", ""},
        {"a/..", '5', "", ""},  {"", '0', "", ""},         {".", '0', "", ""},
        {"./", '2', "", "x"},   {"l", '2', "", ""},        {"h", '1', "", "/etc/passwd"},
        {"h", '1', "", "../x"}, {"h", '1', "", ""},        {"h", '1', "1", "x"},
        {"d", '5', "1", ""},    {"c", '3', "", ""},        {"b", '4', "", ""},
        {"p", '6', "", ""},     {"s", 'S', "", ""},        {"m", 'M', "", ""},
        {"d", 'D', "", ""},     {"f", '0', "8", ""},       {"f", '0', "-1", ""},
        {"f", '0', "1x", ""},   {"x", 'x', "2000000", ""},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(bad); i++) {
        memset(&reader, 0, sizeof reader);
        header(bad[i].name, bad[i].type, bad[i].size, bad[i].link);
        cr_expect(take() < 0 && wrong, "\"%s\" of kind %c", bad[i].name, bad[i].type);
    }
    header("f", '0', "1", "");
    block[0] = 'g';
    cr_expect_lt(take(), 0, "another sum");
    memset(block, 0, sizeof block);
    memcpy(block, "\x1f\x8b\x08", 3);
    cr_expect(take() < 0 && strstr(wrong, "compressed"), "%s", wrong);
}

Test(tar_format, numbers_in_base_256_are_read_and_those_that_fit_nothing_refused)
{
    header("f", '0', "", "");
    memcpy(block + 124, "\x80\0\0\0\0\0\0\3\0\0\0\1", 12);
    seal();
    cr_assert_eq(take(), TAR_ENTRY);
    cr_expect_eq(entry.size, (UINT64_C(3) << 32) + 1);
    memset(block + 124, 0xff, 12);
    seal();
    cr_expect_lt(take(), 0, "less than nothing");
    memcpy(block + 124, "\x80\0\1\0\0\0\0\0\0\0\0\0", 12);
    seal();
    cr_expect_lt(take(), 0, "more than 64 bits");
}

Test(tar_format, what_stands_before_an_entry_goes_before_its_header)
{
    static const char records[] = "15 path=p/q/rs\n30 mtime=1700000000.000000005\n9 size=7\n"
                                  "11 uname=x\n";
    cr_assert_eq(extend('x', records, sizeof records - 1), 0, "%s", wrong);
    header("short", '0', "1", "");
    cr_assert_eq(take(), TAR_ENTRY);
    cr_expect(strcmp(entry.path, "p/q/rs") == 0 && entry.size == 7 &&
                  entry.modified == 1700000000 && entry.modified_nsec == 5,
              "%s %u", entry.path, entry.modified_nsec);
    header("short", '0', "1", "");
    cr_assert_eq(take(), TAR_ENTRY);
    cr_expect(strcmp(entry.path, "short") == 0 && entry.size == 1, "for one entry only");
    cr_assert_eq(extend('L', "long/name\0", 10), 0);
    cr_assert_eq(extend('K', "what it says\0", 13), 0);
    header("short", '2', "", "short");
    cr_assert_eq(take(), TAR_ENTRY);
    cr_expect(strcmp(entry.path, "long/name") == 0 && strcmp(entry.link, "what it says") == 0);
    cr_assert_eq(extend('g', "13 comment=x\n", 13), 0, "%s", wrong);
    memset(block, 0, sizeof block);
    cr_expect_eq(take(), TAR_ZERO, "a comment announces nothing");
}

Test(tar_format, FS_1_what_stands_before_an_entry_is_no_way_out)
{
    static const char *const bad[] = {
        "9 path=\n",
        "9999 path=x\n",
        "11 path=x\n",
        "path=x\n",
        "10 pathxx\n",
        "10 path=/a",
        "22 GNU.sparse.map=0,1\n",
        "9 size=x\n",
        "0 path=x\n",
        "99999999999999999999999 path=x\n",
        "5 =x\n",
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(bad); i++) {
        memset(&reader, 0, sizeof reader);
        cr_expect_lt(extend('x', bad[i], strlen(bad[i])), 0, "%s", bad[i]);
    }
    memset(&reader, 0, sizeof reader);
    cr_expect_lt(extend('g', "10 path=x\n", 10), 0, "a path for all");
    memset(&reader, 0, sizeof reader);
    cr_assert_eq(extend('x', "14 path=../up\n", 14), 0, "%s", wrong);
    header("f", '0', "1", "");
    cr_expect_lt(take(), 0);
    memset(&reader, 0, sizeof reader);
    cr_assert_eq(extend('x', "10 path=x\n", 10), 0);
    memset(block, 0, sizeof block);
    cr_expect_lt(take(), 0, "an end in the place of what was announced");
}

Test(tar_format, what_is_written_is_read_as_the_same)
{
    static char out[TAR_HEADER_MAX], long_path[FILES_PATH_MAX], long_link[FILES_PATH_MAX];
    for (unsigned i = 0; i < sizeof long_path - 1; i++) {
        long_path[i] = (i + 1) % 200 ? '\xe4' : '/';
        long_link[i] = 'l';
    }
    const struct {
        struct files_stat stat;
        const char *path, *link;
    } rows[] = {
        {{.type = FILES_FILE, .mode = 0640, .size = 9, .modified_ns = UINT64_C(1700000000) << 30},
         "f",
         ""},
        {{.type = FILES_FILE,
          .mode = 0777,
          .size = UINT64_C(1) << 40,
          .uid = UINT32_MAX,
          .gid = UINT32_MAX},
         "big",
         ""},
        {{.type = FILES_DIRECTORY, .mode = 0700, .modified_ns = UINT64_MAX}, "d/e", ""},
        {{.type = FILES_SYMLINK, .mode = 0777, .size = 3}, "l", "abc"},
        {{.type = FILES_SYMLINK,
          .size = FILES_PATH_MAX - 1,
          .uid = UINT32_MAX,
          .gid = UINT32_MAX,
          .modified_ns = UINT64_MAX},
         long_path,
         long_link},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        static char data[TAR_HEADER_MAX];
        size_t length = tar_write(&rows[i].stat, rows[i].path, rows[i].link, out);
        cr_assert(length % TAR_BLOCK == 0 && length <= sizeof out, "%zu", length);
        memset(&reader, 0, sizeof reader);
        memcpy(block, out, sizeof block);
        int r = take();
        if (r == TAR_MORE) {
            size_t n = (size_t)entry.size;
            memcpy(data, out + TAR_BLOCK, n);
            cr_assert_eq(tar_extend(&reader, data, n, &wrong), 0, "%s", wrong);
            memcpy(block, out + length - TAR_BLOCK, sizeof block);
            r = take();
        }
        cr_assert_eq(r, TAR_ENTRY, "%u: %s", i, wrong ? wrong : "");
        cr_expect(strcmp(entry.path, rows[i].path) == 0 && strcmp(entry.link, rows[i].link) == 0 &&
                      entry.mode == rows[i].stat.mode &&
                      entry.size == (rows[i].stat.type == FILES_FILE ? rows[i].stat.size : 0) &&
                      entry.modified == (int64_t)(rows[i].stat.modified_ns / 1000000000),
                  "%u", i);
    }
}
