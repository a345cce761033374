/* This file tests a `directory` as workspace: owners (WS-1), whose rights open it, what is refused,
 * submounts and propagation. Row 36, 39 of the attack list: the pinned inode, hard links. */
#define WORKSPACE_SUITE workspace_directory
#include "workspace_fixture.h"

#include "runtime/runtime.h"

static void make_and_try(void)
{
    struct stat st;
    CHECK(stat("mine", &st) == 0 && st.st_uid == SLOT_USER, "the owner's file is mine: %u",
          st.st_uid);
    CHECK(stat("bobs", &st) == 0 && st.st_uid == 65534, "another's file has no owner here");
    int fd = open("made", O_WRONLY | O_CREAT | O_EXCL, 0644);
    CHECK(fd >= 0, "make a file");
    close(fd);
    fd = open("mine", O_WRONLY);
    CHECK(fd >= 0, "write the owner's file");
    close(fd);
    CHECK(open("bobs", O_WRONLY) < 0 && errno == EACCES, "another's file is read-only");
    CHECK(open("roots", O_WRONLY) < 0 && errno == EACCES, "root's file is read-only");
    /* EOVERFLOW: the file's owner has no id in the mount's map, so the inode can't be changed. */
    CHECK(chmod("bobs", 0666) < 0 && (errno == EPERM || errno == EOVERFLOW),
          "chmod of another's file");
    fd = open("bobs", O_RDONLY);
    CHECK(fd >= 0, "another's readable file is readable");
    CHECK(mkdir("dir", 0755) == 0, "mkdir");
}

static void both_directions(const struct place *p)
{
    for (uint32_t base = BASE; base <= BASE + 65536; base += 65536) {
        write_file(at(p->work, "mine"), ALICE);
        write_file(at(p->work, "bobs"), BOB);
        write_file(at(p->work, "roots"), 0);
        struct spec s;
        spec_directory(&s, p->work);
        struct workspace_options o = options_of(p);
        o.uid_base = base;
        struct workspace ws;
        must_open(&ws, &s, &o);
        CHECK(strstr(told, "workspace.other_owners: "), "told: %s", told);
        CHECK(ws.owner_uid == ALICE && ws.owner_gid == ALICE, "owner");
        if (base == BASE)
            inside_as(&ws, p, SLOT_USER, make_and_try);
        must_close(&ws);
        struct stat st;
        if (base == BASE)
            CHECK(stat(at(p->work, "made"), &st) == 0 && st.st_uid == ALICE && st.st_gid == ALICE,
                  "on the host it is the directory's owner's: %u", st.st_uid);
        for (const char *const *n = (const char *const[]){"mine", "bobs", "roots", NULL}; *n; n++)
            unlink(at(p->work, *n));
    }
}
IN_A_PLACE(what_the_session_makes_belongs_to_the_directorys_owner_ws_1, both_directions)

static void root_owned(const struct place *p)
{
    struct spec s;
    spec_directory(&s, p->work);
    struct workspace_options o = options_of(p);
    CHECK(chown(p->work, 0, 0) == 0, "chown");
    must_refuse(&s, &o, ERR_FORBIDDEN, "allow-root-owned");
    s.workspace.allow_root_owned = 1;
    struct workspace ws;
    must_open(&ws, &s, &o);
    must_close(&ws);
}
IN_A_PLACE(roots_directory_needs_to_be_allowed_ws_1, root_owned)

static void askers_rights(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    char *closed = at(p->top, "closed"), inner[128];
    make_directory(closed, ALICE);
    snprintf(inner, sizeof inner, "%s/inner", closed);
    make_directory(inner, ALICE);
    CHECK(chmod(closed, 0700) == 0, "chmod");
    spec_directory(&s, inner);
    struct workspace_options o = options_of(p);
    o.asker_uid = o.asker_gid = BOB;
    must_refuse(&s, &o, ERR_FORBIDDEN, "may not go there himself");
    CHECK(open(closed, O_RDONLY) >= 0, "root's own rights are back");
    CHECK(chown(closed, ALICE, STAFF) == 0 && chmod(closed, 0710) == 0, "chmod");
    must_refuse(&s, &o, ERR_FORBIDDEN, "may not go there himself");
    static const uint32_t groups[] = {STAFF};
    o.asker_groups = groups;
    o.asker_group_count = 1;
    must_open(&ws, &s, &o);
    /* Bob may open Alice's directory, and still is Bob in it. */
    CHECK(ws.owner_uid == BOB && strstr(told, "workspace.other_owner: "), "told: %s", told);
    must_close(&ws);
    CHECK(geteuid() == 0 && chown(closed, ALICE, ALICE) == 0, "capabilities are back");
}
IN_A_PLACE(nobody_gets_more_through_berth_than_by_himself, askers_rights)

static void groups_of_root_do_not_help(const struct place *p)
{
    static const gid_t mine[] = {STAFF};
    CHECK(setgroups(1, mine) == 0, "setgroups");
    char *closed = at(p->top, "staffonly"), inner[128];
    make_directory(closed, 0);
    CHECK(chown(closed, 0, STAFF) == 0 && chmod(closed, 0750) == 0, "chmod");
    snprintf(inner, sizeof inner, "%s/inner", closed);
    make_directory(inner, BOB);
    struct spec s;
    spec_directory(&s, inner);
    struct workspace_options o = options_of(p);
    o.asker_uid = o.asker_gid = BOB;
    must_refuse(&s, &o, ERR_FORBIDDEN, "may not go there himself");
    gid_t now[4];
    CHECK(getgroups(4, now) == 1 && now[0] == STAFF, "groups are back");
}
IN_A_PLACE(the_launchers_own_groups_open_nothing_for_the_asker, groups_of_root_do_not_help)

static void refusals(const struct place *p)
{
    struct spec s;
    struct workspace_options o = options_of(p);
    spec_directory(&s, at(p->top, "nothing"));
    must_refuse(&s, &o, ERR_NOT_FOUND, "no such path");
    write_file(at(p->top, "file"), ALICE);
    spec_directory(&s, at(p->top, "file"));
    must_refuse(&s, &o, ERR_INVALID_REQUEST, "not a directory");
    CHECK(symlink(p->work, at(p->top, "link")) == 0, "symlink");
    spec_directory(&s, at(p->top, "link"));
    must_refuse(&s, &o, ERR_INVALID_REQUEST, p->work);
    make_directory(at(p->work, "sub"), ALICE);
    spec_directory(&s, at(p->top, "link/sub"));
    must_refuse(&s, &o, ERR_INVALID_REQUEST, at(p->work, "sub"));
    spec_directory(&s, "/");
    must_refuse(&s, &o, ERR_FORBIDDEN, "root of the host");
    spec_directory(&s, "/proc/self/root");
    must_refuse(&s, &o, ERR_INVALID_REQUEST, "symbolic link");
    spec_directory(&s, "/proc/sys");
    s.workspace.allow_root_owned = 1;
    must_refuse(&s, &o, ERR_FORBIDDEN, "type proc");
    CHECK(entries(at(p->share, "shared")) == 0, "nothing is left");
}
IN_A_PLACE(what_cannot_be_a_workspace_is_refused_with_the_way_out, refusals)

static void must_resolve(const char *path, const char *want)
{
    char real[SPEC_PATH_MAX], line[2048] = "";
    struct err err = {0};
    int r = runtime_resolve_path(path, "--workspace", real, sizeof real, &err);
    if (r < 0)
        err_format(&err, line, sizeof line);
    CHECK(r == 0, "%s: %s", path, line);
    CHECK(strcmp(real, want) == 0, "%s: %s", path, real);
}

static void must_not_resolve(const char *path, enum err_code code, const char *words)
{
    char real[SPEC_PATH_MAX] = "untouched", line[2048] = "";
    struct err err = {0};
    CHECK(runtime_resolve_path(path, "--workspace", real, sizeof real, &err) < 0, "%s", real);
    err_format(&err, line, sizeof line);
    CHECK(err.code == code && strstr(line, words), "%s: %s", path, line);
    CHECK(strcmp(real, "untouched") == 0, "written only on success");
}

static void make_link(const char *to, const char *path, uid_t owner)
{
    CHECK(symlink(to, path) == 0 && lchown(path, owner, owner) == 0, "%s", path);
}

static void links(const struct place *p)
{
    char sub[128];
    snprintf(sub, sizeof sub, "%s/sub", p->work);
    make_directory(sub, ALICE);
    make_link(p->work, at(p->top, "roots"), 0);
    make_link("../work/alices", at(p->work, "roots-to-alices"), 0);
    make_link("sub", at(p->work, "alices"), ALICE);
    make_link("loop", at(p->top, "loop"), 0);
    make_link("nowhere", at(p->top, "dangling"), 0);
    must_resolve("/", "/");
    must_resolve(at(p->top, "roots/sub"), sub);
    must_resolve(at(p->top, "./work//sub/../sub/"), sub);
    must_not_resolve(at(p->top, "roots/alices"), ERR_FORBIDDEN,
                     at(p->work, "alices is a symbolic"));
    must_not_resolve(at(p->work, "alices/.."), ERR_FORBIDDEN, "uid 7001");
    must_not_resolve(at(p->work, "roots-to-alices"), ERR_FORBIDDEN, sub);
    must_not_resolve(at(p->top, "loop"), ERR_INVALID_REQUEST, "loop");
    must_not_resolve(at(p->top, "dangling"), ERR_INVALID_REQUEST, "Make it first");
    must_not_resolve("", ERR_INVALID_REQUEST, "Make it first");
    CHECK(chdir(p->work) == 0, "chdir");
    must_resolve("sub", sub);
    must_resolve("..", p->top);
    CHECK(chdir("/") == 0, "chdir");
    must_resolve(p->work + 1, p->work);
    /* Alice follows her own, and not Bob's. */
    make_link("sub", at(p->work, "bobs"), BOB);
    CHECK(setresuid(ALICE, ALICE, ALICE) == 0, "setresuid");
    must_resolve(at(p->top, "roots/alices"), sub);
    must_not_resolve(at(p->work, "bobs"), ERR_FORBIDDEN, "uid 7002");
}
IN_A_PLACE(a_link_of_another_user_chooses_nothing_row_36, links)

static void overlay(const struct place *p)
{
    char *o = at(p->top, "overlay"), data[512];
    for (const char *const *n = (const char *const[]){"overlay", "lower", "t", NULL}; *n; n++)
        make_directory(at(p->top, *n), ALICE);
    CHECK(mount("t", at(p->top, "t"), "tmpfs", 0, NULL) == 0, "tmpfs");
    make_directory(at(p->top, "t/up"), ALICE);
    make_directory(at(p->top, "t/w"), ALICE);
    snprintf(data, sizeof data, "lowerdir=%s/lower,upperdir=%s/t/up,workdir=%s/t/w", p->top, p->top,
             p->top);
    CHECK(mount("o", o, "overlay", 0, data) == 0, "overlay");
    struct spec s;
    spec_directory(&s, o);
    struct workspace_options options = options_of(p);
    must_refuse(&s, &options, ERR_CAPABILITY_UNAVAILABLE, "(overlay)");
    CHECK(umount(o) == 0 && umount(at(p->top, "t")) == 0, "umount");
}
IN_A_PLACE(a_filesystem_without_mapped_owners_is_refused_by_name, overlay)

static void pinned(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    spec_directory(&s, p->work);
    must_open(&ws, &s, &o);
    CHECK(rename(p->work, at(p->top, "moved")) == 0 && symlink("/etc", p->work) == 0, "swap");
    CHECK(faccessat(ws.tree, "passwd", F_OK, 0) < 0, "the link is not followed");
    write_file(at(p->top, "moved/there"), ALICE);
    CHECK(faccessat(ws.tree, "there", F_OK, 0) == 0, "the inode is pinned");
    must_close(&ws);
    CHECK(unlink(p->work) == 0 && rename(at(p->top, "moved"), p->work) == 0, "back");
}
IN_A_PLACE(a_root_swapped_for_a_symlink_is_not_followed, pinned)

static bool visible(const struct workspace *ws, const char *name)
{
    return faccessat(ws->tree, name, F_OK, 0) == 0;
}

static void submounts(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    make_directory(at(p->work, "sub dir"), ALICE);
    CHECK(mount("t", at(p->work, "sub dir"), "tmpfs", 0, NULL) == 0, "tmpfs");
    write_file(at(p->work, "sub dir/hidden"), ALICE);
    spec_directory(&s, p->work);
    must_open(&ws, &s, &o);
    CHECK(strstr(told, "not in the session: sub dir; name"), "told: %s", told);
    CHECK(visible(&ws, "sub dir") && !visible(&ws, "sub dir/hidden"), "not carried in");
    must_close(&ws);
    CHECK(umount(at(p->work, "sub dir")) == 0, "umount");
}
IN_A_PLACE(mounts_beneath_are_not_carried_in_and_are_told, submounts)

static void propagation(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    char view[128];
    make_directory(at(p->work, "sub"), ALICE);
    make_directory(at(p->work, "other"), ALICE);
    make_directory(at(p->top, "view"), ALICE);
    CHECK(mount(p->top, p->top, NULL, MS_BIND, NULL) == 0 &&
              mount(NULL, p->top, NULL, MS_SHARED, NULL) == 0,
          "a shared mount");
    spec_directory(&s, p->work);
    must_open(&ws, &s, &o);
    /* Only an attached mount takes part in propagation: as a session, attach it in private. */
    CHECK(mount("t", at(p->top, "view"), "tmpfs", 0, NULL) == 0 &&
              mount(NULL, at(p->top, "view"), NULL, MS_PRIVATE, NULL) == 0,
          "tmpfs");
    strcpy(view, at(p->top, "view/session"));
    CHECK(mkdir(view, 0755) == 0 &&
              move_mount(ws.tree, "", AT_FDCWD, view, MOVE_MOUNT_F_EMPTY_PATH) == 0,
          "attach");
    CHECK(mount("t", at(p->work, "sub"), "tmpfs", 0, NULL) == 0, "tmpfs");
    write_file(at(p->work, "sub/later"), ALICE);
    CHECK(!exists(at(view, "sub/later")), "what the host mounts later stays out");
    CHECK(mount("t", at(view, "other"), "tmpfs", 0, NULL) == 0, "tmpfs");
    write_file(at(view, "other/inside"), ALICE);
    CHECK(!exists(at(p->work, "other/inside")), "what the session mounts stays in");
    must_close(&ws);
    CHECK(umount(at(p->work, "sub")) == 0 && umount2(at(p->top, "view"), MNT_DETACH) == 0 &&
              umount2(p->top, MNT_DETACH) == 0,
          "umount");
}
IN_A_PLACE(mounts_made_later_stay_on_their_side, propagation)

static void read_only_inside(void)
{
    CHECK(open("x", O_WRONLY | O_CREAT, 0644) < 0 && errno == EROFS, "read-only");
}

static void read_only(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    spec_directory(&s, p->work);
    spec_add_protect(&s, ".bashrc", true);
    s.workspace.read_only = 1;
    must_open(&ws, &s, &o);
    CHECK(!exists(at(p->work, ".bashrc")) && !ws.protect[0].held, "no placeholder is needed");
    inside_as(&ws, p, SLOT_USER, read_only_inside);
    must_close(&ws);
}
IN_A_PLACE(read_only_is_honoured_and_makes_nothing_on_the_host, read_only)

static void mounts(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    spec_directory(&s, p->work);
    make_directory(at(p->top, "tools"), 0);
    write_file(at(p->top, "tools/secret"), 0);
    CHECK(chmod(at(p->top, "tools/secret"), 0600) == 0, "chmod");
    write_file(at(p->top, "conf"), ALICE);
    CHECK(symlink("tools", at(p->top, "tools-link")) == 0, "symlink");
    s.mount_count = 2;
    strcpy(s.mounts[0].source, at(p->top, "tools-link"));
    s.mounts[0].read_only = 1;
    must_refuse(&s, &o, ERR_INVALID_REQUEST, at(p->top, "tools"));
    strcpy(s.mounts[0].source, at(p->top, "tools"));
    strcpy(s.mounts[0].target, "/opt/tools");
    strcpy(s.mounts[1].source, at(p->top, "conf"));
    strcpy(s.mounts[1].target, "/opt/conf");
    must_open(&ws, &s, &o);
    struct stat st;
    CHECK(ws.mounts[0].is_directory && !ws.mounts[1].is_directory, "kinds");
    CHECK(fstatat(ws.mounts[0].tree, "secret", &st, 0) == 0 && st.st_uid == 0,
          "root's stays root's");
    CHECK(fstat(ws.mounts[1].tree, &st) == 0 && st.st_uid == SLOT_USER, "a person's is mapped");
    must_close(&ws);
    s.mounts[0].read_only = 0;
    must_refuse(&s, &o, ERR_FORBIDDEN, "belongs to root");
    CHECK(mkfifo(at(p->top, "fifo"), 0644) == 0, "fifo");
    s.mounts[0].read_only = 1;
    strcpy(s.mounts[0].source, at(p->top, "fifo"));
    must_refuse(&s, &o, ERR_INVALID_REQUEST, "regular file");
}
IN_A_PLACE(extra_mounts_map_a_persons_files_and_leave_roots_alone, mounts)

static void in_memory(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    spec_directory(&s, p->work);
    s.workspace.kind = SPEC_WORKSPACE_TMPFS;
    must_refuse(&s, &o, ERR_INVALID_REQUEST, "needs a size");
    s.workspace.size_bytes = 1 << 20;
    spec_add_protect(&s, "kept", false);
    must_open(&ws, &s, &o);
    struct stat st;
    CHECK(fstat(ws.tree, &st) == 0 && st.st_uid == SLOT_USER && (st.st_mode & 07777) == 0755,
          "the session's own");
    CHECK(ws.protect[0].held && visible(&ws, "kept"), "an explicit path is held");
    must_close(&ws);
}
IN_A_PLACE(a_workspace_in_memory_belongs_to_the_sessions_user, in_memory)
