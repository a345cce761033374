/* This file tests trees of files as streams, as an ordinary user on a real disk: out, in, and what
 * a hostile stream or directory tries. Needs root.
 */
#include "tests/kernel/files_fixture.h"

#define WORKSPACE_SUITE files_tree

static char stream[65536];
static size_t stream_length;

static void add(uint32_t type, const char *name, uint32_t mode, const char *content)
{
    struct files_entry e = {.magic = FILES_MAGIC, .path_length = (uint32_t)strlen(name)};
    e.stat.type = type;
    e.stat.mode = mode;
    e.stat.size = content ? strlen(content) : 0;
    memcpy(stream + stream_length, &e, sizeof e);
    stream_length += sizeof e;
    memcpy(stream + stream_length, name, e.path_length);
    stream_length += e.path_length;
    memcpy(stream + stream_length, content ? content : "", (size_t)e.stat.size);
    stream_length += (size_t)e.stat.size;
}

static void send_stream(const char *to)
{
    ask(FILES_TREE_WRITE, path(to));
    in_view(whole_view(), stream, stream_length);
    stream_length = 0;
}

static void there_and_back(const struct place *p)
{
    begin_as_user(p, 0);
    CHECK(mkdir(path("from"), 0755) == 0 && mkdir(path("from/empty"), 0700) == 0 &&
              mkdir(path("from/d"), 0555 | 0200) == 0 && mkfifo(path("from/fifo"), 0600) == 0 &&
              mknod(path("from/held"), S_IFSOCK | 0444, 0) == 0 &&
              symlink("/etc/passwd", path("from/d/link")) == 0 &&
              symlink("nowhere", path("from/dangling")) == 0,
          "a tree");
    put_text(path("from/d/c\n"), "with a newline");
    put_text(path("from/none"), "");
    put_text(path("from/run"), "#!");
    CHECK(chmod(path("from/run"), 0755) == 0, "chmod");
    ask(FILES_TREE_READ, path("from"));
    in_view(whole_view(), NULL, 0);
    must_do("out");
    CHECK(got.begun && got.result.skipped == 1,
          "the FIFO is left out, and no word of a held name: %lu",
          (unsigned long)got.result.skipped);
    memcpy(stream, got.out, got.length);
    stream_length = got.length;
    send_stream("to/x");
    must_do("in");
    CHECK(text_is(path("to/x/d/c\n"), "with a newline") && text_is(path("to/x/none"), "") &&
              mode_of(path("to/x/run")) == 0755 && mode_of(path("to/x/empty")) == 0700 &&
              mode_of(path("to/x/d")) == 0755 && !exists(path("to/x/fifo")) &&
              entries(path("to/x")) == 5,
          "the same");
    char text[64];
    ssize_t n = readlink(path("to/x/d/link"), text, sizeof text);
    CHECK(n == 11 && memcmp(text, "/etc/passwd", 11) == 0, "a link is a link");
}
IN_A_PLACE(a_tree_goes_out_and_comes_in_the_same, there_and_back)

static void hostile_streams(const struct place *p)
{
    begin_as_user(p, 0);
    CHECK(mkdir(path("outside"), 0755) == 0, "outside");
    put_text(path("outside/f"), "outside");

    add(FILES_SYMLINK, "l", 0777, "../outside");
    add(FILES_FILE, "l/f", 0644, "evil");
    add(FILES_END, "", 0, NULL);
    send_stream("t");
    must_fail(ERR_INVALID_REQUEST, "a file through a link of the stream");
    add(FILES_SYMLINK, "m", 0777, path("outside/f"));
    add(FILES_FILE, "m", 0644, "in its place");
    add(FILES_END, "", 0, NULL);
    send_stream("t");
    must_do("a file in the place of a link");
    CHECK(text_is(path("t/m"), "in its place"), "not what it led to");
    add(FILES_DIRECTORY, "l", 0755, NULL);
    send_stream("t");
    must_fail(ERR_INVALID_REQUEST, "a directory where a link is");

    static const char *const names[] = {"../outside/f", "/etc/x", "a/../../outside/f",
                                        "..",           "a//b",   "./f"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        add(FILES_FILE, names[i], 0644, "evil");
        add(FILES_END, "", 0, NULL);
        send_stream("t");
        must_fail(ERR_INVALID_REQUEST, names[i]);
    }
    add(FILES_OTHER, "device", 0644, NULL);
    send_stream("t");
    must_fail(ERR_INVALID_REQUEST, "neither file, directory nor link");
    add(FILES_FILE, "set", 04755, "x");
    send_stream("t");
    must_fail(ERR_INVALID_REQUEST, "setuid");
    CHECK(!exists(path("t/set")), "not made");
    add(FILES_DIRECTORY, "l/d", 0755, NULL);
    send_stream("t");
    must_fail(ERR_INVALID_REQUEST, "a directory through a link");
    CHECK(text_is(path("outside/f"), "outside") && entries(path("outside")) == 1, "untouched");
}
IN_A_PLACE(a_hostile_stream_stays_beneath_and_follows_nothing, hostile_streams)

static void torn_streams(const struct place *p)
{
    begin_as_user(p, 0);
    add(FILES_FILE, "whole", 0644, "whole");
    add(FILES_FILE, "torn", 0644, "torn and torn");
    size_t whole = stream_length;
    static char keep[sizeof stream];
    memcpy(keep, stream, whole);
    for (size_t n = 0; n < whole; n += 5) {
        stream_length = n;
        memcpy(stream, keep, n);
        send_stream("t");
        must_fail(ERR_INVALID_REQUEST, "a stream that ends early");
        CHECK(!exists(path("t/torn")), "a file in part, at %zu", n);
    }
    CHECK(text_is(path("t/whole"), "whole") && entries(path("t")) == 1, "what came whole is there");

    add(FILES_FILE, "a", 0644, "12345");
    add(FILES_FILE, "b", 0644, "67890");
    add(FILES_END, "", 0, NULL);
    ask(FILES_TREE_WRITE, path("u"));
    asked.size_max = 9;
    in_view(whole_view(), stream, stream_length);
    stream_length = 0;
    must_fail(ERR_TOO_LARGE, "more in all than allowed");
    CHECK(exists(path("u/a")) && !exists(path("u/b")), "up to there");

    add(FILES_FILE, "a", 0644, "x");
    add(FILES_END, "", 0, NULL);
    put_text(path("f"), "x");
    send_stream("f");
    must_fail(ERR_INVALID_REQUEST, "onto a file");
    ask(FILES_TREE_READ, path("f"));
    in_view(whole_view(), NULL, 0);
    must_fail(ERR_INVALID_REQUEST, "a file is no tree");
}
IN_A_PLACE(a_torn_stream_leaves_whole_files_only, torn_streams)

static void many(const struct place *p)
{
    begin_as_user(p, 0);
    add(FILES_DIRECTORY, "d", 0755, NULL);
    for (int i = 0; i < 300; i++) {
        char name[32];
        snprintf(name, sizeof name, "d/%d/%d", i % 7, i % 50);
        add(FILES_FILE, name, 0644, name);
    }
    add(FILES_END, "", 0, NULL);
    send_stream("t");
    must_do("two members of one name");
    CHECK(text_is(path("t/d/6/20"), "d/6/20"), "the last one counts");
}
IN_A_PLACE(members_of_one_name_replace_each_other, many)
