/* This file tests trees as tar archives, as an ordinary user on a real disk: out, in, what a
 * hostile archive tries, and what bounds one. Needs root.
 */
#include "runtime/agent/tar.h"
#include "tests/kernel/files_fixture.h"

#define WORKSPACE_SUITE files_tar

static char archive[60000];
static size_t length;

static void seal(char *block)
{
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (unsigned i = 0; i < TAR_BLOCK; i++)
        sum += (unsigned char)block[i];
    snprintf(block + 148, 8, "%06o", sum);
}

/* `type` 0: as `stat` says. */
static void add(uint32_t stat_type, char type, const char *name, const char *link,
                const char *content)
{
    static char header[TAR_HEADER_MAX];
    struct files_stat stat = {.type = stat_type, .mode = 0644, .modified_ns = 1000000000};
    stat.size = content ? strlen(content) : 0;
    size_t n = tar_write(&stat, name, link, header);
    if (type) {
        header[156] = type;
        memcpy(header + 100, "0006777", 8);
        seal(header);
    }
    memcpy(archive + length, header, n);
    length += n;
    memset(archive + length, 0, (size_t)stat.size + tar_padding(stat.size));
    memcpy(archive + length, content ? content : "", (size_t)stat.size);
    length += (size_t)stat.size + tar_padding(stat.size);
}

static void send_archive(const char *to)
{
    memset(archive + length, 0, 2 * TAR_BLOCK);
    ask(FILES_TAR_WRITE, path(to));
    in_view(whole_view(), archive, length + 2 * TAR_BLOCK);
    length = 0;
}

static void there_and_back(const struct place *p)
{
    begin_as_user(p, 0);
    CHECK(mkdir(path("from"), 0755) == 0 && mkdir(path("from/d"), 0700) == 0 &&
              mkfifo(path("from/fifo"), 0600) == 0 &&
              mknod(path("from/held"), S_IFSOCK | 0444, 0) == 0 &&
              symlink("/etc/passwd", path("from/d/link")) == 0,
          "a tree");
    put_text(path("from/d/c\n"), "with a newline");
    put_text(path("from/none"), "");
    ask(FILES_TAR_READ, path("from"));
    in_view(whole_view(), NULL, 0);
    must_do("out");
    CHECK(got.result.left_out_length == 5 && strcmp(got.result.left_out, "fifo") == 0, "named");
    CHECK(got.begun && got.result.skipped == 1 && got.result.entries == 4 &&
              got.length % TAR_BLOCK == 0,
          "the FIFO is left out");
    memcpy(archive, got.out, got.length);
    length = got.length - 2 * TAR_BLOCK;
    send_archive("to/x");
    must_do("in");
    char text[64];
    CHECK(text_is(path("to/x/d/c\n"), "with a newline") && text_is(path("to/x/none"), "") &&
              mode_of(path("to/x/d")) == 0700 && entries(path("to/x")) == 2 &&
              readlink(path("to/x/d/link"), text, sizeof text) == 11 && got.result.entries == 4,
          "the same");
}
IN_A_PLACE(an_archive_goes_out_and_comes_in_the_same, there_and_back)

static void hostile(const struct place *p)
{
    begin_as_user(p, 0);
    CHECK(mkdir(path("outside"), 0755) == 0, "outside");
    put_text(path("outside/f"), "outside");

    add(FILES_FILE, 0, "before", "", "before");
    add(FILES_SYMLINK, 0, "l", "../outside", NULL);
    add(FILES_FILE, 0, "l/f", "", "evil");
    send_archive("t");
    must_fail(ERR_INVALID_REQUEST, "a file through a link of the archive");
    CHECK(text_is(path("t/before"), "before") && strstr(got.result.err.subject, "l/f"),
          "what came before stays, and the entry is named: %s", got.result.err.subject);
    add(FILES_FILE, '1', "h", "l/f", NULL);
    send_archive("t");
    must_fail(ERR_INVALID_REQUEST, "a hard link through a link");
    add(FILES_FILE, 0, ".berth-write-0", "", "mine");
    add(FILES_FILE, 0, "b", "", "b");
    send_archive("t");
    must_fail(ERR_INVALID_REQUEST, "the name of a file that is being written");
    add(FILES_SYMLINK, 0, "m", path("outside/f"), NULL);
    add(FILES_FILE, '1', "h", "m", NULL);
    send_archive("t");
    must_fail(ERR_INVALID_REQUEST, "a hard link to a link");
    add(FILES_SYMLINK, 0, "m", path("outside/f"), NULL);
    add(FILES_FILE, 0, "m", "", "in its place");
    send_archive("t");
    must_do("a file in the place of a link");
    CHECK(text_is(path("t/m"), "in its place"), "not what it led to");
    add(FILES_DIRECTORY, 0, "dir", "", NULL);
    add(FILES_FILE, 0, "dir", "", "a file in the place of a directory");
    send_archive("t");
    must_fail(ERR_NOT_A_REGULAR_FILE, "a directory is not replaced");
    add(FILES_FILE, '0', "set", "", "x");
    send_archive("t");
    must_do("set-id bits");
    CHECK(mode_of(path("t/set")) == 0777, "are taken off");
    add(FILES_FILE, 0, "one", "", "1");
    add(FILES_FILE, '1', "two", "one", NULL);
    add(FILES_FILE, '1', "one", "two", NULL);
    send_archive("t");
    must_do("names of one file");
    struct stat st;
    CHECK(stat(path("t/two"), &st) == 0 && st.st_nlink == 2 && st.st_mtime == 1, "with its time");
    for (const char *kind = "346SMD"; *kind; kind++) {
        add(FILES_FILE, *kind, "special", "", NULL);
        send_archive("t");
        must_fail(ERR_INVALID_REQUEST, "no file");
        CHECK(!exists(path("t/special")), "kind %c", *kind);
    }
    CHECK(text_is(path("outside/f"), "outside") && entries(path("outside")) == 1, "untouched");
}
IN_A_PLACE(FS_1_a_hostile_archive_stays_beneath_and_follows_nothing, hostile)

static void torn(const struct place *p)
{
    static char keep[sizeof archive];
    begin_as_user(p, 0);
    add(FILES_FILE, 0, "whole", "", "whole");
    add(FILES_FILE, 0, "torn", "", "torn and torn");
    size_t whole = length;
    memcpy(keep, archive, whole);
    for (size_t n = 0; n < whole; n += 97) {
        memcpy(archive, keep, n);
        ask(FILES_TAR_WRITE, path("t"));
        in_view(whole_view(), archive, n);
        must_fail(ERR_INVALID_REQUEST, "an archive that ends early");
        CHECK(n >= 3 * TAR_BLOCK + 13 || !exists(path("t/torn")), "a file in part, at %zu", n);
        bool first = n >= TAR_BLOCK + 5, second = n >= 3 * TAR_BLOCK + 13;
        CHECK(got.result.entries == (unsigned)first + second &&
                  got.result.bytes == (first ? 5u : 0u) + (second ? 13u : 0u),
              "what is not there is counted, at %zu: %u", n, (unsigned)got.result.entries);
    }
    length = 0;
    add(FILES_DIRECTORY, 0, "d", "", NULL);
    add(FILES_FILE, 0, "f", "", "x");
    add(FILES_FILE, '1', "d", "f", NULL);
    send_archive("links");
    CHECK(got.result.result < 0 && got.result.entries == 2 && got.result.bytes == 1,
          "a hard link that was not made is counted");
    add(FILES_FILE, 0, "a", "", "12345");
    add(FILES_FILE, 0, "b", "", "67890");
    ask(FILES_TAR_WRITE, path("u"));
    asked.size_max = 9;
    in_view(whole_view(), archive, length);
    must_fail(ERR_TOO_LARGE, "more bytes than allowed");
    CHECK(exists(path("u/a")) && !exists(path("u/b")), "what came before stays");
    struct files_view parked = *whole_view();
    parked.beneath = true;
    parked.mount_path = "/";
    ask(FILES_TAR_WRITE, "/");
    in_view(&parked, archive, length);
    must_fail(ERR_INVALID_STATE, "where it would be read with other rights");
}
IN_A_PLACE(an_archive_that_is_torn_or_too_large_leaves_whole_files, torn)

static pid_t endless(const int ends[2])
{
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        signal(SIGPIPE, SIG_DFL);
        while (write(ends[1], archive, length) > 0)
            continue;
        _exit(0);
    }
    return pid;
}

static int ask_endless(void *data, int in, int out, int answer, struct err *err)
{
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0, "pipe");
    pid_t pid = endless(ends);
    close(ends[1]);
    int r = files_run(data, &asked, ends[0], out, answer, err);
    (void)in;
    close(ends[0]);
    CHECK(waitpid(pid, NULL, 0) == pid, "its writer ends with it");
    return r;
}

static void many(const struct place *p)
{
    begin_as_user(p, 0);
    for (unsigned i = 0; i < 100; i++)
        add(FILES_DIRECTORY, 0, ".", "", NULL);
    ask(FILES_TAR_WRITE, path("t"));
    through_pipes(ask_endless, whole_view(), NULL, 0);
    must_fail(ERR_TOO_LARGE, "a million headers");
    length = 0;
}
IN_A_PLACE(an_archive_without_end_is_ended, many)
