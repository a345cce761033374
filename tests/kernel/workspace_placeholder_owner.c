/* This file tests placeholders in a directory whose owner works against them while root makes them:
 * at every system call he puts a file of root's that lies in his directory at each name that he
 * can see. It must not become his, nor get
 * another name. WS-1, WS-3.
 */
#define WORKSPACE_SUITE workspace_placeholder_owner
#include "workspace_fixture.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

static const char *const names[] = {".bashrc", ".envrc", ".profile"};

static void spec_small(struct spec *s, const struct place *p)
{
    spec_directory(s, p->work);
    for (unsigned i = 0; i < 3; i++)
        spec_add_protect(s, names[i], true);
}

/* As the owner, whose directory it is: whatever berth has just made is replaced by root's. */
static void swap(const struct place *p, const char *roots, unsigned *swapped)
{
    char private_name[256] = "";
    DIR *d = opendir(p->work);
    CHECK(d != NULL, "opendir");
    for (const struct dirent *e; (e = readdir(d));)
        if (strncmp(e->d_name, ".berth-", 7) == 0)
            snprintf(private_name, sizeof private_name, "%s", e->d_name);
    closedir(d);
    const char *victims[] = {private_name, names[0], names[1], names[2]};
    bool done = false;
    CHECK(chmod(p->work, 0755) == 0, "chmod");
    for (unsigned i = 0; i < 4 && !done; i++)
        done = victims[i][0] && exists(at(p->work, victims[i])) &&
               rename(at(p->work, roots), at(p->work, victims[i])) == 0;
    CHECK(chmod(p->work, 0555) == 0, "chmod");
    *swapped += done;
}

static void as_owner(const struct place *p, const char *roots, unsigned *swapped)
{
    int result[2];
    CHECK(pipe2(result, O_CLOEXEC) == 0, "pipe");
    pid_t pid = fork();
    CHECK(pid >= 0, "fork");
    if (pid == 0) {
        unsigned done = 0;
        CHECK(setgroups(0, NULL) == 0 && setresgid(ALICE, ALICE, ALICE) == 0 &&
                  setresuid(ALICE, ALICE, ALICE) == 0,
              "become the owner");
        swap(p, roots, &done);
        CHECK(write(result[1], &done, sizeof done) == (ssize_t)sizeof done, "write");
        _exit(0);
    }
    unsigned done = 0;
    int status;
    CHECK(read(result[0], &done, sizeof done) == (ssize_t)sizeof done, "the owner failed");
    CHECK(waitpid(pid, &status, 0) == pid && status == 0, "the owner: %x", status);
    close(result[0]);
    close(result[1]);
    *swapped += done;
}

/* The path of the file or directory with that inode, at the top of the workspace. */
static void check_roots(const struct place *p, ino_t inode, bool directory, unsigned stop)
{
    unsigned found = 0;
    DIR *d = opendir(p->work);
    CHECK(d != NULL, "opendir");
    for (const struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (e->d_ino != inode || lstat(at(p->work, e->d_name), &st) < 0 || e->d_name[1] == 0)
            continue;
        found++;
        CHECK(st.st_uid == 0 && st.st_gid == 0, "stop %u: %s is uid %u's now", stop, e->d_name,
              st.st_uid);
        CHECK(directory || st.st_nlink == 1, "stop %u: it has %lu names", stop,
              (unsigned long)st.st_nlink);
    }
    closedir(d);
    /* 0: it stood at a name that was just removed. Who has the directory may remove it himself. */
    CHECK(found <= 1, "stop %u: found %u times", stop, found);
}

static void clean(const struct place *p)
{
    DIR *d = opendir(p->work);
    CHECK(d != NULL, "opendir");
    for (const struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            CHECK(nftw(at(p->work, e->d_name), remove_one, 4, FTW_DEPTH | FTW_PHYS) == 0, "%s",
                  e->d_name);
    closedir(d);
}

static void victim(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct err err = {0};
    struct workspace_options o = options_of(p);
    spec_small(&s, p);
    CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0, "traceme");
    raise(SIGSTOP);
    if (workspace_open(&ws, &s, &o, tell, NULL, &err) == 0)
        workspace_close(&ws, NULL, NULL, NULL);
    _exit(0); /* opened or refused: either is right when the owner interferes */
}

/* False when it was over before that stop. */
static bool round_at(const struct place *p, unsigned at1, bool directory, unsigned *swapped)
{
    struct stat st;
    int status;
    char *roots = at(p->work, "roots");
    if (directory) {
        make_directory(roots, 0);
        write_file(at(roots, "content"), 0); /* so that it is not removed as a placeholder */
    } else
        write_file(roots, 0);
    CHECK(lstat(roots, &st) == 0 && chmod(p->work, 0555) == 0, "furnish");
    pid_t pid = fork();
    CHECK(pid >= 0, "fork");
    if (pid == 0)
        victim(p);
    CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), "status %x", status);
    CHECK(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) == 0,
          "options");
    for (unsigned stop = 0; stop < at1 && WIFSTOPPED(status); stop++)
        CHECK(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid,
              "go on");
    bool reached = WIFSTOPPED(status);
    if (reached) {
        as_owner(p, "roots", swapped);
        CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid,
              "go on");
    }
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
    check_roots(p, st.st_ino, directory, at1);
    struct err err = {0};
    unsigned count;
    CHECK(workspace_reap(p->share, p->state, &count, &err) == 0, "%s %s", err.step, err.detail);
    clean(p);
    return reached;
}

static void everywhere(const struct place *p, bool directory)
{
    unsigned swapped = 0, stop = 1;
    while (round_at(p, stop, directory, &swapped))
        stop++;
    CHECK(stop > 150, "only %u stops", stop);
    CHECK(swapped > 10, "the owner got in only %u times", swapped);
}

static void file(const struct place *p)
{
    everywhere(p, false);
}
IN_A_PLACE(a_root_file_that_the_owner_swaps_in_at_any_system_call_stays_roots, file)

static void directory(const struct place *p)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mknodat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "seccomp");
    everywhere(p, true);
}
IN_A_PLACE(a_root_directory_that_the_owner_swaps_in_stays_roots, directory)

/* The socket of a live session is the source of the next one's links: the owner may have put
 * anything at its name. */
static void not_a_source(const struct place *p)
{
    struct spec s, more;
    struct workspace a, b;
    struct workspace_options o = options_of(p);
    spec_small(&s, p);
    spec_small(&more, p);
    spec_add_protect(&more, ".zshrc", true);
    must_open(&a, &s, &o);
    write_file(at(p->work, "roots"), 0);
    CHECK(rename(at(p->work, "roots"), at(p->work, names[0])) == 0, "rename");
    must_open(&b, &more, &o);
    struct stat st;
    CHECK(lstat(at(p->work, ".zshrc"), &st) == 0 && S_ISSOCK(st.st_mode), "a socket");
    CHECK(lstat(at(p->work, names[0]), &st) == 0 && st.st_nlink == 1 && st.st_uid == 0, "root's");
    must_close(&b);
    must_close(&a);
}
IN_A_PLACE(what_replaced_a_placeholder_is_never_linked, not_a_source)
