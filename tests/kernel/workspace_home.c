/* This file tests protected paths that matter in home directories only (WS-3, docs/adr/0006): held
 * in a home, by whatever sign it is one, and told at the end elsewhere. Attack row 37. */
#define WORKSPACE_SUITE workspace_home
#include "workspace_fixture.h"

/* From here on /etc/passwd has this text; NULL: there is a directory in its place. */
static void have_passwd(const struct place *p, const char *text)
{
    char *path = at(p->top, "passwd");
    if (!text) {
        CHECK(mount("tmpfs", "/etc", "tmpfs", 0, NULL) == 0, "an empty /etc");
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "passwd");
    close(fd);
    CHECK(mount(path, "/etc/passwd", NULL, MS_BIND, NULL) == 0, "bind");
}

static const char nobodys[] =
    "root:x:0:0::/root:/bin/sh\nalice:x:7001:7001::/nonexistent:/bin/sh\n";

static void nobodys_home(const struct place *p)
{
    have_passwd(p, nobodys);
    CHECK(setenv("HOME", "/root", 1) == 0, "HOME");
}

static void spec_homes(struct spec *s, const struct place *p)
{
    static const char *const names[] = {".bashrc", ".zshrc", ".ssh"};
    spec_directory(s, p->work);
    for (unsigned i = 0; i < 3; i++) {
        spec_add_protect(s, names[i], true);
        s->protect[i].home = s->protect[i].home_sign = 1;
    }
    spec_add_protect(s, ".envrc", true);
}

/* How many of the three missing names are held; .envrc is always. */
static unsigned held_in(const struct place *p, const struct spec *s)
{
    struct workspace ws;
    struct workspace_options o = options_of(p);
    unsigned held = 0;
    must_open(&ws, s, &o);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(ws.protect[i].held == exists(at(p->work, ws.protect[i].path)), "%s",
              ws.protect[i].path);
        held += ws.protect[i].held;
    }
    CHECK(ws.protect[3].placeholder, ".envrc");
    must_close(&ws);
    CHECK(told[0] == 0, "nothing is worth telling: %s", told);
    CHECK(entries(p->share) == 3 && !exists(at(p->work, ".envrc")), "nothing is left");
    return held;
}

static void elsewhere(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    nobodys_home(p);
    spec_homes(&s, p);
    CHECK(held_in(p, &s) == 0, "nobody's home");
    CHECK(entries(p->work) == 0, "nothing was put there");
    must_open(&ws, &s, &o);
    CHECK(told[0] == 0, "told: %s", told);
    write_file(at(p->work, ".bashrc"), ALICE);
    make_directory(at(p->work, ".ssh"), ALICE);
    must_close(&ws);
    CHECK(strstr(told, "protect.appeared: .bashrc appeared: nothing reads it unless this directory "
                       "becomes a home directory; look at it\n"),
          "told: %s", told);
    CHECK(strstr(told, "protect.appeared: .ssh appeared") && !strstr(told, ".zshrc"), "told: %s",
          told);
}
IN_A_PLACE(a_missing_one_is_not_held_elsewhere_and_told_when_it_appears_ws_3, elsewhere)

static void existing(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    nobodys_home(p);
    spec_homes(&s, p);
    write_file(at(p->work, ".zshrc"), ALICE); /* a repository of dotfiles */
    must_open(&ws, &s, &o);
    CHECK(ws.protect[1].held && !ws.protect[1].placeholder, "what exists is bound read-only");
    CHECK(ws.protect[0].placeholder && ws.protect[2].placeholder,
          "and its being there says that the others would be read");
    must_close(&ws);
    CHECK(told[0] == 0 && exists(at(p->work, ".zshrc")) && !exists(at(p->work, ".bashrc")),
          "told: %s", told);
}
IN_A_PLACE(an_existing_one_is_protected_anywhere_and_makes_it_a_home, existing)

/* The list of what is at the top says "not there" only where it is short and plain. */
static void existing_in_company(const struct place *p)
{
    static const char *const company[] = {"\xc5\xbfome", ".ZSHRC", NULL};
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    char name[64];
    nobodys_home(p);
    spec_homes(&s, p);
    write_file(at(p->work, ".zshrc"), ALICE);
    for (unsigned i = 0; i < 3 + 200; i++) {
        if (i < 3 && company[i])
            write_file(at(p->work, company[i]), ALICE);
        snprintf(name, sizeof name, "one-of-more-than-are-listed-%u", i);
        if (i >= 3)
            write_file(at(p->work, name), ALICE);
        if (i >= 3 && i < 202)
            continue;
        must_open(&ws, &s, &o);
        CHECK(ws.protect[1].held && !ws.protect[1].placeholder, "%u: what exists is held", i);
        CHECK(ws.protect[0].placeholder && ws.protect[2].placeholder && ws.protect[3].placeholder,
              "%u: and what is missing", i);
        must_close(&ws);
    }
    CHECK(entries(p->work) == 1 + 2 + 200, "nothing is left");
}
IN_A_PLACE(an_existing_one_is_found_whatever_is_beside_it, existing_in_company)

static void existing_last(const struct place *p)
{
    struct spec s;
    nobodys_home(p);
    spec_homes(&s, p);
    make_directory(at(p->work, ".ssh"), ALICE);
    CHECK(held_in(p, &s) == 3, "also when the last of them is the one that exists");
    CHECK(rmdir(at(p->work, ".ssh")) == 0 && symlink("/etc", at(p->work, ".ssh")) == 0, "link");
    struct workspace ws;
    struct workspace_options o = options_of(p);
    must_open(&ws, &s, &o);
    CHECK(ws.protect[0].placeholder && ws.protect[1].placeholder && !ws.protect[2].held,
          "a link is a sign too");
    CHECK(strstr(told, "protect.not_held: .ssh"), "told: %s", told);
    must_close(&ws);
}
IN_A_PLACE(any_of_them_makes_it_a_home_wherever_it_stands_in_the_list, existing_last)

static void both_forms(const struct place *p)
{
    struct spec s;
    nobodys_home(p);
    spec_homes(&s, p);
    s.protect[0].home = 0; /* ".bashrc" beside "~/.bashrc" */
    struct workspace ws;
    struct workspace_options o = options_of(p);
    must_open(&ws, &s, &o);
    CHECK(ws.protect[0].placeholder && !ws.protect[1].held && !ws.protect[2].held,
          "one is held everywhere, and its placeholder is no sign of a home");
    struct workspace second;
    must_open(&second, &s, &o);
    CHECK(second.protect[0].placeholder && !second.protect[1].held,
          "nor is the placeholder of another session");
    must_close(&second);
    must_close(&ws);
    write_file(at(p->work, ".bashrc"), ALICE);
    CHECK(held_in(p, &s) == 3, "but the name itself is");
}
IN_A_PLACE(a_path_in_both_forms_is_held_everywhere_and_is_still_a_sign, both_forms)

static void another_session(const struct place *p)
{
    struct spec always, s;
    struct workspace a, b;
    struct workspace_options o = options_of(p);
    nobodys_home(p);
    spec_homes(&s, p);
    spec_directory(&always, p->work);
    spec_add_protect(&always, ".bashrc", true);
    must_open(&a, &s, &o);
    must_open(&b, &always, &o);
    CHECK(b.protect[0].placeholder && exists(at(p->work, ".bashrc")), "a placeholder");
    must_close(&a);
    CHECK(told[0] == 0, "another session's placeholder did not appear: %s", told);
    must_close(&b);
}
IN_A_PLACE(what_another_session_holds_is_not_told_as_appeared, another_session)

/* An account with the home `home`, whose text is a format with one %s: the workspace's parent. */
static unsigned held_with_account(const struct place *p, unsigned uid, const char *home,
                                  const char *shell)
{
    char text[512], path[256];
    struct spec s;
    snprintf(path, sizeof path, "%s%s", home[0] == '/' ? "" : p->top,
             home[0] == '/' ? home : home + 1);
    snprintf(text, sizeof text, "%sx:x:%u:%u::%s:%s\n", nobodys, uid, uid, path, shell);
    have_passwd(p, text);
    spec_homes(&s, p);
    unsigned held = held_in(p, &s);
    CHECK(umount("/etc/passwd") == 0, "umount");
    return held;
}

static void by_account(const struct place *p)
{
    CHECK(setenv("HOME", "/root", 1) == 0, "HOME");
    CHECK(held_with_account(p, 1000, "./work", "/bin/sh") == 3, "the same path");
    CHECK(held_with_account(p, 1000, "./work/", "/bin/sh") == 3, "with a slash");
    CHECK(held_with_account(p, 0, "./work", "/bin/sh") == 3, "root's");
    CHECK(held_with_account(p, 999, "./work", "/bin/sh") == 0, "a service's");
    CHECK(held_with_account(p, 1000, "./work", "/usr/sbin/nologin") == 0, "nobody logs in");
    CHECK(held_with_account(p, 1000, "./work/below", "/bin/sh") == 0, "above a home is none");
    CHECK(held_with_account(p, 1000, ".", "/bin/sh") == 0, "nor beneath one");
    CHECK(held_with_account(p, 1000, "/", "/bin/sh") == 0, "nor is everything");
    make_directory(at(p->top, "people"), 0);
    CHECK(symlink("../work", at(p->top, "people/work")) == 0 &&
              symlink("work", at(p->top, "another")) == 0,
          "symlink");
    CHECK(held_with_account(p, 1000, "./people/work", "/bin/sh") == 3, "the same directory");
    CHECK(held_with_account(p, 1000, "./another", "/bin/sh") == 0,
          "a home under another name, of somebody else, is not looked at");
    CHECK(held_with_account(p, ALICE, "./another", "/bin/sh") == 3, "the owner's is");
}
IN_A_PLACE(the_home_of_an_account_is_a_home, by_account)

static void by_variable(const struct place *p)
{
    struct spec s;
    have_passwd(p, nobodys);
    spec_homes(&s, p);
    CHECK(symlink("work", at(p->top, "me")) == 0, "symlink");
    static const struct {
        const char *home; /* "./…" is beneath the place */
        unsigned held;
    } rows[] = {{"./work", 3}, {"./work/", 3}, {"./me", 3}, {".", 0}, {"/", 0}, {"", 0}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[256];
        bool beneath = rows[i].home[0] == '.';
        snprintf(path, sizeof path, "%s%s", beneath ? p->top : "",
                 beneath ? rows[i].home + 1 : rows[i].home);
        CHECK(setenv("HOME", path, 1) == 0, "HOME");
        CHECK(held_in(p, &s) == rows[i].held, "HOME=%s", path);
    }
    CHECK(chdir(p->top) == 0 && setenv("HOME", "work", 1) == 0, "HOME");
    CHECK(held_in(p, &s) == 0, "a relative HOME is none");
    CHECK(unsetenv("HOME") == 0 && held_in(p, &s) == 0, "no HOME");
}
IN_A_PLACE(the_callers_home_is_a_home, by_variable)

static void no_passwd(const struct place *p)
{
    struct spec s;
    CHECK(unsetenv("HOME") == 0, "HOME");
    have_passwd(p, NULL);
    spec_homes(&s, p);
    CHECK(held_in(p, &s) == 3, "what is not known is held");
}
IN_A_PLACE(without_a_passwd_that_can_be_read_everything_is_held, no_passwd)

static void volume(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    have_passwd(p, nobodys);
    CHECK(setenv("HOME", at(p->state, "volumes/local/v/data"), 1) == 0, "HOME");
    spec_homes(&s, p);
    s.workspace.kind = SPEC_WORKSPACE_VOLUME;
    s.workspace.path[0] = 0;
    strcpy(s.workspace.volume, "v");
    must_open(&ws, &s, &o);
    CHECK(!ws.protect[0].held && !ws.protect[2].held && ws.protect[3].placeholder,
          "a volume is nobody's home");
    write_file(at(p->state, "volumes/local/v/data/.bashrc"), 1000);
    must_close(&ws);
    CHECK(strstr(told, "protect.appeared: .bashrc appeared"), "told: %s", told);
    must_open(&ws, &s, &o);
    CHECK(ws.protect[0].held && !ws.protect[1].held, "what exists is protected, and no more");
    must_close(&ws);
}
IN_A_PLACE(a_volume_is_never_a_home, volume)

static void memory(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    nobodys_home(p);
    spec_homes(&s, p);
    s.workspace.kind = SPEC_WORKSPACE_TMPFS;
    s.workspace.path[0] = 0;
    s.workspace.size_bytes = 1 << 20;
    for (uint32_t i = 0; i < s.protect_count; i++)
        s.protect[i].is_default = 0;
    must_open(&ws, &s, &o);
    CHECK(!ws.protect[0].held && ws.protect[3].held, "memory is nobody's home");
    must_close(&ws);
}
IN_A_PLACE(memory_is_never_a_home, memory)

static void unparented(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    nobodys_home(p);
    for (unsigned home = 0; home < 2; home++) {
        spec_homes(&s, p);
        strcpy(s.protect[2].path, ".config/fish/config.fish");
        if (home)
            CHECK(setenv("HOME", p->work, 1) == 0, "HOME");
        must_open(&ws, &s, &o);
        CHECK(!ws.protect[2].held && ws.protect[0].held == home, "no parent");
        CHECK(!strstr(told, "protect.missing_parent: .config") == !home, "told: %s", told);
        make_directory(at(p->work, ".config"), ALICE);
        make_directory(at(p->work, ".config/fish"), ALICE);
        write_file(at(p->work, ".config/fish/config.fish"), ALICE);
        must_close(&ws);
        CHECK(strstr(told, home ? "config.fish could not be protected" : "config.fish appeared"),
              "told: %s", told);
        CHECK(unlink(at(p->work, ".config/fish/config.fish")) == 0 &&
                  rmdir(at(p->work, ".config/fish")) == 0 && rmdir(at(p->work, ".config")) == 0,
              "clean");
    }
}
IN_A_PLACE(one_without_a_parent_is_told_as_what_the_directory_is, unparented)
