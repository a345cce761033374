/* This file tests what files.c says of requests, answers, entries and argv; it touches no file. */
#include "runtime/base/fd.h"
#include "runtime/files.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct files_request request;

static void begin(enum files_operation operation, const char *path)
{
    files_request_init(&request, operation);
    strcpy(request.path, path);
}

static struct files_request through_argv(void)
{
    static struct files_argv text;
    struct files_request back;
    cr_assert_eq(files_request_to_argv(&request, &text), 0);
    int count = 0;
    while (text.argv[count])
        count++;
    memset(&back, 0xa5, sizeof back);
    const char *wrong = files_request_from_argv(count, (char **)text.argv, &back);
    cr_assert_null(wrong, "%s", wrong);
    return back;
}

Test(files_codec, every_operation_goes_through_argv_and_back)
{
    for (unsigned operation = FILES_NONE + 1; operation < FILES_OPERATION_END; operation++) {
        begin((enum files_operation)operation, operation == FILES_PROBE ? "" : "/a");
        if (operation == FILES_MOVE)
            strcpy(request.path2, "/b");
        if (operation == FILES_UPLOAD) {
            strcpy(request.path, FILES_UPLOADS "/a");
            request.has_length = 1;
            memset(request.sha256, 'a', 64);
        }
        struct files_request back = through_argv();
        cr_assert_arr_eq(&back, &request, sizeof back, "%s", files_operation_name(operation));
    }
}

Test(files_codec, paths_of_any_bytes_go_through_argv)
{
    begin(FILES_MOVE, "/");
    for (int i = 1; i < 255; i++)
        request.path[i] = (char)(i == '/' ? 1 : i);
    memset(request.path2, 'x', FILES_PATH_MAX - 1);
    request.path2[0] = '/';
    struct files_request back = through_argv();
    cr_assert_arr_eq(&back, &request, sizeof back);
}

Test(files_codec, the_greatest_numbers_go_through_argv)
{
    begin(FILES_READ, "/a");
    request.offset = request.length = UINT64_MAX;
    struct files_request back = through_argv();
    cr_assert_arr_eq(&back, &request, sizeof back);
    begin(FILES_WRITE, "/a");
    request.mode = 0777;
    request.length = request.size_max = UINT64_MAX;
    request.has_length = 1;
    back = through_argv();
    cr_assert_arr_eq(&back, &request, sizeof back);
}

Test(files_codec, what_is_no_request_is_refused)
{
    static const struct {
        const char *numbers, *path;
    } bad[] = {
        {"", "/a"},
        {"0:0:0:0:0:0:0", "/a"},
        {"0:0:0:0:0:0:0:0:0", "/a"},
        {"0:0:0:0:0:0:0:0 ", "/a"},
        {" 0:0:0:0:0:0:0:0", "/a"},
        {"+0:0:0:0:0:0:0:0", "/a"},
        {"-1:0:0:0:0:0:0:0", "/a"},
        {"00:0:0:0:0:0:0:0", "/a"},
        {"0x1:0:0:0:0:0:0:0", "/a"},
        {"0:18446744073709551616:0:0:0:0:0:0", "/a"},
        {"4294967296:0:0:0:0:0:0:0", "/a"},
        {"0:0:0:0:0:0:2:0", "/a"},
        {"0:0:0:0:0:0:0:0", "a"},
        {"0:0:0:0:0:0:0:0", ""},
        {"1:0:0:0:0:0:0:0", "/a"}, /* stat has no mode */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *argv[] = {"berth-files", "stat", bad[i].numbers, bad[i].path, "", "", "", NULL};
        cr_assert_not_null(files_request_from_argv(7, (char **)argv, &request), "%s %s",
                           bad[i].numbers, bad[i].path);
    }
    const char *good[] = {"berth-files", "stat", "0:0:0:0:0:0:0:0", "/a", "", "", "", NULL};
    cr_assert_null(files_request_from_argv(7, (char **)good, &request));
    cr_assert_not_null(files_request_from_argv(6, (char **)good, &request));
    good[1] = "format";
    cr_assert_not_null(files_request_from_argv(7, (char **)good, &request));
}

Test(files_codec, conditions_go_through_argv_and_others_are_refused)
{
    static const char *const bad[] = {"no", "ABC", "\"1-2\"", "1 2"};
    char etag[FILES_ETAG_MAX], most[FILES_ETAG_MAX];
    struct files_stat st = {.type = FILES_FILE, .size = 1, .modified_ns = 2, .changed_ns = 3};
    begin(FILES_WRITE, "/a");
    files_etag(&st, etag);
    snprintf(request.match, sizeof request.match, "%s", etag);
    memset(request.sha256, 'a', 64);
    struct files_request back = through_argv();
    cr_expect_str_eq(back.match, etag);
    cr_expect_str_eq(back.sha256, request.sha256);
    st.changed_ns = 4;
    files_etag(&st, most);
    cr_expect_str_neq(most, etag, "a change in place that sets the other time back is seen");
    memset(&st, 0xff, sizeof st);
    files_etag(&st, most);
    cr_expect_lt(strlen(most), FILES_ETAG_MAX - 1, "the longest fits");
    for (unsigned i = 0; i < ARRAY_LENGTH(bad); i++) {
        snprintf(request.match, sizeof request.match, "%s", bad[i]);
        cr_expect_not_null(files_request_check(&request), "%s", bad[i]);
    }
    begin(FILES_WRITE, "/a");
    snprintf(request.sha256, sizeof request.sha256, "abc");
    cr_expect_not_null(files_request_check(&request));
    begin(FILES_CHMOD, "/a");
    snprintf(request.match, sizeof request.match, "*");
    cr_expect_not_null(files_request_check(&request));
}

Test(files_codec, a_field_that_an_operation_does_not_have_is_refused)
{
    begin(FILES_STAT, "/a");
    cr_assert_null(files_request_check(&request));
#define REFUSED(field, value)                              \
    do {                                                   \
        begin(FILES_STAT, "/a");                           \
        request.field = (value);                           \
        cr_assert_not_null(files_request_check(&request)); \
    } while (0)
    REFUSED(mode, 0644);
    REFUSED(offset, 1);
    REFUSED(length, 1);
    REFUSED(size_max, 1);
    REFUSED(depth, 1);
    REFUSED(limit, 1);
    REFUSED(recursive, 1);
    REFUSED(has_length, 1);
    REFUSED(reserved[5], 1);
    REFUSED(path2[0], 'x');
    REFUSED(magic, 1);
    REFUSED(version, FILES_VERSION + 1);
    REFUSED(operation, 0);
    REFUSED(operation, FILES_OPERATION_END);
}

Test(files_codec, no_mode_has_a_bit_of_07000)
{
    for (uint32_t mode = 01000; mode != 0; mode <<= 1) {
        begin(FILES_CHMOD, "/a");
        request.mode = mode;
        cr_assert_not_null(files_request_check(&request), "%o", mode);
    }
}

Test(files_codec, paths_are_absolute_terminated_and_those_that_are_needed)
{
    begin(FILES_MOVE, "/a");
    cr_assert_not_null(files_request_check(&request), "no target");
    strcpy(request.path2, "b");
    cr_assert_not_null(files_request_check(&request), "relative target");
    begin(FILES_STAT, "/a");
    memset(request.path, '/', sizeof request.path);
    cr_assert_not_null(files_request_check(&request), "no end");
    begin(FILES_PROBE, "/a");
    cr_assert_not_null(files_request_check(&request), "a path of no use");
    begin(FILES_LIST, "/a");
    strcpy(request.path2, "../b");
    cr_assert_not_null(files_request_check(&request), "a page after what no page can hold");
    strcpy(request.path2, "x/y");
    cr_assert_null(files_request_check(&request));
}

Test(files_codec, names_of_entries_stay_beneath)
{
    static const char *const bad[] = {"",   "/",   "/a",   "a/",    "a//b", ".",
                                      "..", "./a", "a/..", "a/./b", "../a", "a/../b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not_null(files_entry_path_check(bad[i], strlen(bad[i])), "%s", bad[i]);
    static const char *const good[] = {"a", "...", "..a", ".a/b", "a\nb", "\x1b[2J", "-rf", "\xff"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        cr_assert_null(files_entry_path_check(good[i], strlen(good[i])), "%s", good[i]);
    cr_assert_not_null(files_entry_path_check("a\0b", 3));
    char name[300];
    memset(name, 'n', sizeof name);
    cr_assert_null(files_entry_path_check(name, 255));
    cr_assert_not_null(files_entry_path_check(name, 256));
}

Test(files_codec, a_hostile_result_is_refused)
{
    struct files_result good = {.magic = FILES_MAGIC, .version = FILES_VERSION}, bad;
    cr_assert_null(files_result_check(&good, sizeof good));
    cr_assert_not_null(files_result_check(&good, sizeof good - 1));
#define BAD_RESULT(change)                                                 \
    do {                                                                   \
        bad = good;                                                        \
        change;                                                            \
        cr_assert_not_null(files_result_check(&bad, sizeof bad), #change); \
    } while (0)
    BAD_RESULT(bad.magic = FILES_BEGIN_MAGIC);
    BAD_RESULT(bad.version = 9);
    BAD_RESULT(bad.result = 1);
    BAD_RESULT(bad.result = INT32_MIN);
    BAD_RESULT(bad.result = -2); /* without a code */
    BAD_RESULT(bad.err.code = ERR_INTERNAL);
    BAD_RESULT((bad.result = -2, bad.err.code = ERR_CODE_COUNT));
    BAD_RESULT(bad.more = 2);
    BAD_RESULT(bad.stat.type = FILES_END);
    BAD_RESULT(bad.stat.mode = 04755);
    BAD_RESULT(memset(bad.err.step, 'x', sizeof bad.err.step));
    BAD_RESULT(memset(bad.err.subject, 'x', sizeof bad.err.subject));
    BAD_RESULT(memset(bad.err.detail, 'x', sizeof bad.err.detail));
}

Test(files_codec, a_hostile_beginning_is_refused)
{
    struct files_begin good = {.magic = FILES_BEGIN_MAGIC,
                               .version = FILES_VERSION,
                               .stat = {.type = FILES_FILE, .size = 10},
                               .offset = 4,
                               .bytes = 6},
                       bad;
    cr_assert_null(files_begin_check(&good, sizeof good));
    cr_assert_not_null(files_begin_check(&good, sizeof good + 1));
    bad = good, bad.bytes = 7;
    cr_assert_not_null(files_begin_check(&bad, sizeof bad));
    bad = good, bad.offset = UINT64_MAX;
    cr_assert_not_null(files_begin_check(&bad, sizeof bad));
    bad = good, bad.bytes = UINT64_MAX;
    cr_assert_null(files_begin_check(&bad, sizeof bad), "a list does not know");
    bad = good, bad.stat.type = 0;
    cr_assert_not_null(files_begin_check(&bad, sizeof bad));
    cr_assert_eq(files_message_size(FILES_MAGIC), sizeof(struct files_result));
    cr_assert_eq(files_message_size(FILES_BEGIN_MAGIC), sizeof(struct files_begin));
    cr_assert_eq(files_message_size(0), 0);
}

Test(files_codec, a_hostile_entry_is_refused)
{
    struct files_entry good = {.magic = FILES_MAGIC,
                               .path_length = 1,
                               .stat = {.type = FILES_FILE}},
                       bad;
    cr_assert_null(files_entry_check(&good));
#define BAD_ENTRY(change)                                     \
    do {                                                      \
        bad = good;                                           \
        change;                                               \
        cr_assert_not_null(files_entry_check(&bad), #change); \
    } while (0)
    BAD_ENTRY(bad.magic = 0);
    BAD_ENTRY(bad.path_length = 0);
    BAD_ENTRY(bad.path_length = FILES_PATH_MAX);
    BAD_ENTRY(bad.stat.type = 0);
    BAD_ENTRY(bad.stat.type = FILES_END); /* with a path */
    BAD_ENTRY(bad.stat.type = FILES_END + 1);
    BAD_ENTRY(bad.stat.mode = 02000);
    BAD_ENTRY((bad.stat.type = FILES_SYMLINK, bad.stat.size = FILES_PATH_MAX));
    struct files_entry end = {.magic = FILES_MAGIC, .stat = {.type = FILES_END}};
    cr_assert_null(files_entry_check(&end));
}

Test(files_codec, an_upload_has_a_safe_name_a_length_and_a_hash)
{
    static const struct {
        const char *path, *sha256;
        int has_length;
    } bad[] = {
        {FILES_UPLOADS, "a", 1},
        {FILES_UPLOADS "/", "a", 1},
        {FILES_UPLOADS "/../x", "a", 1},
        {FILES_UPLOADS "/a/./x", "a", 1},
        {FILES_UPLOADS "/a//x", "a", 1},
        {FILES_UPLOADS "/a\n", "a", 1},
        {FILES_UPLOADS "/a\\", "a", 1},
        {FILES_UPLOADS "/\xff", "a", 1},
        {FILES_UPLOADS "/\xc0\xaf", "a", 1},
        {FILES_UPLOADS "/\xed\xa0\x80", "a", 1},
        {FILES_UPLOADS "/d/" FILES_TEMPORARY "0", "a", 1},
        {FILES_UPLOADS "x/a", "a", 1},
        {"/workspace/a", "a", 1},
        {FILES_UPLOADS "/a", "", 1},
        {FILES_UPLOADS "/a", "a", 0},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(bad); i++) {
        begin(FILES_UPLOAD, bad[i].path);
        memset(request.sha256, 'a', bad[i].sha256[0] ? 64 : 0);
        request.has_length = (uint8_t)bad[i].has_length;
        cr_expect(files_request_check(&request) != NULL, "%s", bad[i].path);
    }
    begin(FILES_UPLOAD, FILES_UPLOADS "/d/\xc3\xa9 x.berth-write-");
    memset(request.sha256, 'a', 64);
    request.has_length = 1;
    cr_expect_null(files_request_check(&request));
}

Test(files_codec, a_record_of_a_collection_is_what_a_worker_of_berth_writes)
{
    struct files_output good = {.magic = FILES_MAGIC, .path_length = 1, .stat.type = FILES_FILE};
    memset(good.sha256, '0', 64);
    cr_expect_null(files_output_check(&good));
    struct files_output bad[7];
    for (unsigned i = 0; i < ARRAY_LENGTH(bad); i++)
        bad[i] = good;
    bad[0].magic++;
    bad[1].path_length = 0;
    bad[2].path_length = FILES_PATH_MAX;
    bad[3].sha256[63] = 0;
    bad[4].stat.type = FILES_SYMLINK;
    bad[5].stat.size = FILES_OUTPUT_BYTES_MAX + 1;
    memset(bad[6].sha256, '0', sizeof bad[6].sha256);
    for (unsigned i = 0; i < ARRAY_LENGTH(bad); i++)
        cr_expect(files_output_check(&bad[i]) != NULL, "%u", i);
}
