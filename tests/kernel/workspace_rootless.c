/* This file tests the workspace of an ordinary user, in a user namespace of his own: no map, his
 * own rights, his own volumes. */
#define WORKSPACE_SUITE workspace_rootless
#include "workspace_fixture.h"

#include <sys/prctl.h>

static void write_map(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s", path);
    close(fd);
}

/* From root to ALICE, who is 0 in a user namespace of hers. */
static void become_alice(const struct place *p)
{
    char map[32];
    snprintf(map, sizeof map, "0 %d 1", ALICE);
    CHECK(chown(p->top, ALICE, ALICE) == 0, "chown");
    CHECK(setgroups(0, NULL) == 0 && setresgid(ALICE, ALICE, ALICE) == 0 &&
              setresuid(ALICE, ALICE, ALICE) == 0,
          "become alice");
    CHECK(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0 && unshare(CLONE_NEWUSER) == 0, "unshare");
    write_map("/proc/self/setgroups", "deny");
    write_map("/proc/self/uid_map", map);
    write_map("/proc/self/gid_map", map);
    CHECK(unshare(CLONE_NEWNS) == 0, "unshare");
}

static struct workspace_options options_rootless(const struct place *p)
{
    struct workspace_options o = options_of(p);
    o.rootless = true;
    o.uid_base = 0;
    return o;
}

static void directory(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_rootless(p);
    write_file(at(p->work, "bobs"), BOB);
    make_directory(at(p->work, "sub"), ALICE);
    CHECK(mount("t", at(p->work, "sub"), "tmpfs", 0, "mode=755") == 0, "tmpfs");
    write_file(at(p->work, "sub/x"), BOB);
    become_alice(p);
    spec_directory(&s, p->work);
    spec_add_protect(&s, ".bashrc", true);
    must_open(&ws, &s, &o);
    struct stat st;
    CHECK(fstat(ws.tree, &st) == 0 && st.st_uid == 0, "the caller is the owner: %u", st.st_uid);
    CHECK(faccessat(ws.tree, "sub/x", F_OK, 0) == 0, "what is locked together comes along");
    CHECK(strstr(told, "workspace.submount: ") && strstr(told, "workspace.other_owners: "),
          "told: %s", told);
    CHECK(ws.protect[0].placeholder && exists(at(p->work, ".bashrc")), "held");
    must_close(&ws);
    CHECK(!exists(at(p->work, ".bashrc")), "gone");
}

static void directory_in_namespace(const struct place *p)
{
    pid_t pid = fork();
    if (pid == 0) {
        directory(p);
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0, "status %x", status);
    CHECK(umount(at(p->work, "sub")) == 0, "umount");
}
IN_A_PLACE(a_directory_is_used_with_the_callers_own_rights, directory_in_namespace)

static void others(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_rootless(p);
    char bobs[128];
    strcpy(bobs, at(p->top, "bobs"));
    make_directory(bobs, BOB);
    become_alice(p);
    spec_directory(&s, bobs);
    spec_add_protect(&s, ".bashrc", true);
    must_open(&ws, &s, &o);
    CHECK(strstr(told, "workspace.other_owner: "), "told: %s", told);
    CHECK(!ws.protect[0].held && !exists(at(bobs, ".bashrc")), "nobody inside can make it");
    must_close(&ws);
}
IN_A_PLACE(anothers_directory_is_allowed_and_told, others)

static void kinds(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_rootless(p);
    become_alice(p);
    spec_directory(&s, "");
    s.workspace.kind = SPEC_WORKSPACE_VOLUME;
    strcpy(s.workspace.volume, "v");
    must_open(&ws, &s, &o);
    struct stat st;
    CHECK(fstat(ws.tree, &st) == 0 && st.st_uid == 0, "the volume is the caller's");
    must_refuse(&s, &o, ERR_WORKSPACE_IN_USE, "session one");
    must_close(&ws);
    s.workspace.kind = SPEC_WORKSPACE_TMPFS;
    s.workspace.size_bytes = 1 << 20;
    must_open(&ws, &s, &o);
    CHECK(fstat(ws.tree, &st) == 0 && st.st_uid == 0, "the tmpfs is the caller's");
    must_close(&ws);
}
IN_A_PLACE(volumes_and_memory_belong_to_the_caller, kinds)
