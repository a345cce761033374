/* This file tests what a session is given and gives, as the worker's core does it: uploads beneath
 * a directory that belongs to the worker, and collections of what programs leave. Needs root.
 */
#include "tests/kernel/files_fixture.h"

#include "runtime/base/sha256.h"

#include <sys/socket.h>
#include <sys/un.h>

#define WORKSPACE_SUITE files_handover

static struct files_view inside = {.root = -1};

/* The workspace as the root of a session, with what berth makes there. */
static void begin(const struct place *p)
{
    begin_as_user(p, 0);
    CHECK(mkdir(path("mnt"), 0755) == 0 && mkdir(path("mnt/session"), 0755) == 0 &&
              mkdir(path("mnt/session/uploads"), 0755) == 0,
          "directories");
    inside.root = open(here->work, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(inside.root >= 0, "root");
}

static void give(const char *name, const char *text, uint64_t length)
{
    ask(FILES_UPLOAD, FILES_UPLOADS);
    snprintf(asked.path, sizeof asked.path, FILES_UPLOADS "/%s", name);
    asked.has_length = 1;
    asked.length = length;
    sha256_hex(text, strlen(text), asked.sha256);
    in_view(&inside, text, strlen(text));
}

static void uploads(const struct place *p)
{
    begin(p);
    give("d/e/f", "given", 5);
    must_do("an upload");
    CHECK(text_is(path("mnt/session/uploads/d/e/f"), "given") &&
              mode_of(path("mnt/session/uploads/d/e/f")) == 0644 &&
              mode_of(path("mnt/session/uploads/d")) == 0755 && got.result.bytes == 5,
          "with modes");
    give("d/e/f", "other", 5);
    must_do("again");
    CHECK(text_is(path("mnt/session/uploads/d/e/f"), "other"), "replaced");
    give("d/e/f", "short", 6);
    must_fail(ERR_INVALID_REQUEST, "fewer bytes than said");
    ask(FILES_UPLOAD, FILES_UPLOADS "/d/e/f");
    asked.has_length = 1;
    asked.length = 5;
    memset(asked.sha256, '0', 64);
    in_view(&inside, "wrong", 5);
    must_fail(ERR_INVALID_REQUEST, "another hash");
    CHECK(text_is(path("mnt/session/uploads/d/e/f"), "other") &&
              entries(path("mnt/session/uploads/d/e")) == 1,
          "as it was");
    give("d/e", "x", 1);
    must_fail(ERR_NOT_A_REGULAR_FILE, "a directory is there");
    give("d/e/f/g", "x", 1);
    must_fail(ERR_INVALID_REQUEST, "beneath a file");
}
IN_A_PLACE(an_upload_is_whole_or_the_old_file_stays, uploads)

static void only_there(const struct place *p)
{
    struct files_view parked = {.mount_path = "/workspace", .beneath = true};
    begin(p);
    CHECK(mkdir(path("out"), 0755) == 0 &&
              symlink("../../../out", path("mnt/session/uploads/l")) == 0,
          "a link out");
    give("l/f", "x", 1);
    must_fail(ERR_INVALID_REQUEST, "through a link");
    give("l", "x", 1);
    must_do("in the place of a link");
    CHECK(entries(path("out")) == 0 && text_is(path("mnt/session/uploads/l"), "x"),
          "not beyond it");
    parked.root = inside.root;
    ask(FILES_UPLOAD, FILES_UPLOADS "/f");
    asked.has_length = 1;
    memset(asked.sha256, '0', 64);
    in_view(&parked, NULL, 0);
    must_fail(ERR_INVALID_STATE, "of a session that does not run");
    CHECK(chmod(path("mnt/session/uploads"), 0777) == 0, "chmod");
    give("f", "x", 1);
    must_fail(ERR_INVALID_STATE, "others can write there");
    CHECK(chmod(path("mnt/session/uploads"), 0755) == 0 &&
              rename(path("mnt/session"), path("mnt/away")) == 0 &&
              symlink("away", path("mnt/session")) == 0,
          "a link in its place");
    give("f", "x", 1);
    must_fail(ERR_INVALID_STATE, "behind a link");
    CHECK(unlink(path("mnt/session")) == 0, "unlink");
    give("f", "x", 1);
    must_fail(ERR_INVALID_STATE, "not there");
    CHECK(entries(path("mnt/away/uploads")) == 1, "nothing was written");
}
IN_A_PLACE(FS_1_an_upload_is_written_beneath_its_own_directory_and_nowhere_else, only_there)

static void another_owner(const struct place *p)
{
    here = p;
    umask(0);
    CHECK(mkdir(path("mnt"), 0777) == 0 && mkdir(path("mnt/session"), 0777) == 0 &&
              mkdir(path("mnt/session/uploads"), 0755) == 0,
          "directories of root");
    become(ALICE);
    inside.root = open(here->work, O_PATH | O_DIRECTORY | O_CLOEXEC);
    give("f", "x", 1);
    must_fail(ERR_INVALID_STATE, "it belongs to another");
}
IN_A_PLACE(an_upload_is_not_written_where_another_owner_is, another_owner)

static const char *collection(void)
{
    static char text[65536];
    size_t used = 0;
    text[0] = 0;
    for (size_t at = 0; at < got.length;) {
        struct files_output o;
        CHECK(got.length - at >= sizeof o, "a whole record");
        memcpy(&o, got.out + at, sizeof o);
        at += sizeof o;
        const char *wrong = files_output_check(&o);
        CHECK(!wrong, "%s", wrong);
        used += (size_t)snprintf(text + used, sizeof text - used, "%.*s %u %.8s\n",
                                 (int)o.path_length, got.out + at, o.stat.type, o.sha256);
        at += o.path_length;
    }
    return text;
}

static void collect(const char *name)
{
    ask(FILES_COLLECT, path(name));
    in_view(whole_view(), NULL, 0);
}

static void collects(const struct place *p)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    begin(p);
    CHECK(mkdir(path("o"), 0755) == 0 && mkdir(path("o/b"), 0755) == 0 &&
              mkdir(path("o/b-"), 0755) == 0 && mkfifo(path("o/p"), 0600) == 0 &&
              mknod(path("o/held"), S_IFSOCK | 0444, 0) == 0 && symlink("a", path("o/l")) == 0,
          "a tree");
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path("o/s"));
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(s, (struct sockaddr *)&address, sizeof address) == 0, "a socket");
    put_text(path("o/b/f"), "one");
    put_text(path("o/b-/f"), "");
    put_text(path("o/a"), "two");
    put_text(path("o/.berth-write-3"), "half");
    CHECK(link(path("o/a"), path("o/z")) == 0 && truncate(path("o/b-/f"), 5 << 20) == 0,
          "a second name, and a hole");
    collect("o");
    must_do("a collection");
    CHECK(strcmp(collection(), "a 1 3fc4ccfe\nb-/f 1 c036cbb7\nb/f 1 7692c3ad\nz 1 3fc4ccfe\n"
                               "l 3 \np 4 \ns 4 \n") == 0,
          "%s", collection());
    CHECK(got.result.entries == 4 && got.result.skipped == 3 && got.result.bytes == 9 + (5 << 20) &&
              got.begun,
          "counted");
    close(s);
    CHECK(symlink("o", path("link")) == 0, "a link to it");
    collect("link");
    must_do("through a link that was named");
    collect("o/a");
    must_fail(ERR_INVALID_REQUEST, "a file");
    collect("none");
    must_fail(ERR_NOT_FOUND, "nothing");
}
IN_A_PLACE(a_collection_is_sorted_and_hashed_and_names_what_is_left_out, collects)

static void bounds(const struct place *p)
{
    char name[300];
    begin(p);
    CHECK(mkdir(path("n"), 0755) == 0, "mkdir");
    for (unsigned i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "n/f%u", i);
        put_text(path(name), "");
    }
    for (unsigned i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "n/l%u", i);
        CHECK(symlink("x", path(name)) == 0, "link");
    }
    collect("n");
    must_do("a hundred");
    CHECK(got.result.entries == 100 && got.result.skipped == 30,
          "counted beyond those that are named");
    put_text(path("n/more"), "");
    collect("n");
    must_fail(ERR_TOO_LARGE, "a hundred and one");
    CHECK(got.length == 0, "nothing is told");
    CHECK(mkdir(path("big"), 0755) == 0, "mkdir");
    put_text(path("big/f"), "");
    CHECK(truncate(path("big/f"), FILES_OUTPUT_BYTES_MAX + 1) == 0, "truncate");
    collect("big");
    must_fail(ERR_TOO_LARGE, "a large file");
    static const char *const unsafe[] = {"a\nb", "a\\b", "\xff", "\x7f", "\x1b[31m"};
    for (unsigned i = 0; i < ARRAY_LENGTH(unsafe); i++) {
        CHECK(mkdir(path("u"), 0755) == 0, "mkdir");
        snprintf(name, sizeof name, "u/%s", unsafe[i]);
        put_text(path(name), "");
        collect("u");
        must_fail(ERR_INVALID_REQUEST, unsafe[i]);
        CHECK(unlink(path(name)) == 0 && rmdir(path("u")) == 0, "clean");
    }
    CHECK(mkdir(path("c"), 0755) == 0 && mkdir(path("c/closed"), 0) == 0, "mkdir");
    collect("c");
    must_fail(ERR_FORBIDDEN, "what may not be read");
}
IN_A_PLACE(a_collection_beyond_a_bound_is_refused_whole, bounds)

static void changing(const struct place *p)
{
    begin(p);
    CHECK(mkdir(path("o"), 0755) == 0 && mkdir(path("secret"), 0755) == 0, "mkdir");
    put_text(path("secret/f"), "secret");
    CHECK(mkdir(path("o/d"), 0755) == 0, "mkdir");
    put_text(path("o/d/f"), "plain");
    pid_t storm = fork();
    if (storm == 0)
        for (;;) {
            if (rename(path("o/d"), path("o/e")) < 0 || symlink("../secret", path("o/d")) < 0 ||
                unlink(path("o/d")) < 0 || rename(path("o/e"), path("o/d")) < 0)
                _exit(1);
        }
    unsigned whole = 0;
    for (unsigned i = 0; i < 2000; i++) {
        collect("o");
        if (got.result.result < 0) {
            CHECK(got.result.err.code == ERR_UNAVAILABLE || got.result.err.code == ERR_NOT_FOUND,
                  "%s", got.result.err.detail);
            continue;
        }
        whole++;
        CHECK(!strstr(collection(), "2bb80d53"), "never what a link leads to: %s", collection());
    }
    kill(storm, SIGKILL);
    waitpid(storm, NULL, 0);
    CHECK(whole > 0, "some were whole");
}
IN_A_PLACE(FS_1_a_collection_in_a_storm_of_renames_follows_nothing, changing)
