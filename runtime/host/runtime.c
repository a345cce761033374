/* This file opens the runtime for one process: who the caller is, which directories are berth's,
 * what this host gives; it never starts a sandbox.
 *
 * PRIVILEGED: root, or an ordinary user who becomes root of a user namespace of his own here.
 * The order matters: directories and cgroups are found with the caller's own identity, then the
 * user namespace is entered, then leftovers of earlier runs are removed.
 */
#include "runtime/host/runtime_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/lasting.h"
#include "runtime/host/prepared.h"
#include "runtime/plan/landlock.h"
#include "runtime/stage/sys.h"

#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#ifndef BERTH_PREFIX
#define BERTH_PREFIX "/usr/local"
#endif

/* ---- directories ----------------------------------------------------------------------------- */

static int dir_fail(struct err *err, int sys, const char *step, const char *path,
                    const char *variable)
{
    return err_set(err, ERR_UNAVAILABLE, sys, step, path,
                   "berth keeps its records there; it must be a directory that you own and can "
                   "write. Set %s to use another one.",
                   variable);
}

/* mkdir -p, private to the caller, and proof that it is the caller's: in a shared /tmp somebody
 * else could have made it first. */
static int own_directory(const char *path, mode_t mode, const char *variable, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) < 0) {
        char part[DIR_SIZE];
        snprintf(part, sizeof part, "%s", path);
        for (char *p = part + 1; *p; p++) {
            if (*p != '/')
                continue;
            *p = 0;
            if (mkdir(part, 0755) < 0 && errno != EEXIST)
                return dir_fail(err, errno, "make the directory", part, variable);
            *p = '/';
        }
        if (mkdir(path, mode) < 0 && errno != EEXIST)
            return dir_fail(err, errno, "make the directory", path, variable);
        if (lstat(path, &st) < 0)
            return dir_fail(err, errno, "look at the directory", path, variable);
    }
    if (!S_ISDIR(st.st_mode))
        return dir_fail(err, ENOTDIR, "use the directory", path, variable);
    if (st.st_uid != geteuid())
        return dir_fail(err, EPERM, "use the directory of another user", path, variable);
    if (st.st_mode & 022)
        return dir_fail(err, EPERM, "use a directory that others can write", path, variable);
    return 0;
}

static int choose(char *ret_path, const char *given, const char *variable, const char *for_root,
                  const char *base_variable, const char *fallback, const char *leaf,
                  struct err *err)
{
    const char *env = given ? given : getenv(variable);
    int n;
    if (env && *env) {
        if (env[0] != '/')
            return err_set(err, ERR_INVALID_REQUEST, 0, "choose a directory", variable,
                           "It must be an absolute path.");
        n = snprintf(ret_path, DIR_SIZE, "%s", env);
    } else if (geteuid() == 0) {
        n = snprintf(ret_path, DIR_SIZE, "%s", for_root);
    } else {
        const char *base = getenv(base_variable);
        if (base && base[0] == '/')
            n = snprintf(ret_path, DIR_SIZE, "%s/%s", base, leaf);
        else {
            /* XDG's own default is his alone; in /tmp everybody has one. */
            bool shared = strcmp(fallback, "/tmp") == 0;
            n = shared ? snprintf(ret_path, DIR_SIZE, "%s/%s-%u", fallback, leaf, geteuid())
                       : snprintf(ret_path, DIR_SIZE, "%s/%s", fallback, leaf);
        }
    }
    if (n < 0 || n >= DIR_SIZE)
        return err_set(err, ERR_INVALID_REQUEST, ENAMETOOLONG, "choose a directory", variable,
                       NULL);
    return 0;
}

static bool is_own_private(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           (st.st_mode & 022) == 0;
}

/* What every berth of this user on this host must agree on, whatever directories it was given:
 * ranges of ids, holders of a directory, placeholders. So it goes by the user and never by a
 * variable. The user's own runtime directory where the system makes one; /tmp only where it does
 * not, because there anybody could take the name first. */
static int choose_share(char *ret_path, struct err *err)
{
    if (geteuid() == 0) {
        snprintf(ret_path, DIR_SIZE, "/run/berth-share");
        int of_root = own_directory(ret_path, 0700, "BERTH_RUNTIME_DIR", err);
        if (of_root < 0 && err)
            err_set(err, ERR_UNAVAILABLE, err->sys, err->step, ret_path,
                    "The locks of all of root's sessions on this host live there; it must be "
                    "root's and writable by nobody else. Root of a user namespace does not own "
                    "the host's /run: run berth as the ordinary user outside of that namespace.");
        return of_root;
    }
    snprintf(ret_path, DIR_SIZE, "/run/user/%u", geteuid());
    bool own = is_own_private(ret_path);
    snprintf(ret_path, DIR_SIZE, own ? "/run/user/%u/berth-share" : "/tmp/.berth-share-%u",
             geteuid());
    int r = own_directory(ret_path, 0700, "BERTH_RUNTIME_DIR", err);
    if (r < 0 && !own && err)
        err_set(err, ERR_UNAVAILABLE, err->sys, err->step, ret_path,
                "The locks of all your sessions on this host live there, because this system has "
                "made no /run/user/%u for you. It must be yours and writable by nobody else: have "
                "whoever owns it remove it, or log in through a session that gets a runtime "
                "directory.",
                geteuid());
    return r;
}

int runtime_directories(const struct runtime_options *options, char ret_state[RUNTIME_DIR_SIZE],
                        char ret_runtime[RUNTIME_DIR_SIZE], struct err *err)
{
    char home_state[DIR_SIZE] = "/tmp";
    const char *home = getenv("HOME");
    if (home && home[0] == '/' &&
        snprintf(home_state, sizeof home_state, "%s/.local/state", home) >= DIR_SIZE)
        return err_set(err, ERR_INVALID_REQUEST, ENAMETOOLONG, "choose a directory", "HOME", NULL);
    int r = choose(ret_state, options->state_dir, "BERTH_STATE_DIR", "/var/lib/berth",
                   "XDG_STATE_HOME", home_state, "berth", err);
    return r < 0 ? r
                 : choose(ret_runtime, options->runtime_dir, "BERTH_RUNTIME_DIR", "/run/berth",
                          "XDG_RUNTIME_DIR", "/tmp", "berth", err);
}

static int choose_directories(struct runtime *rt, const struct runtime_options *options,
                              struct err *err)
{
    int r = runtime_directories(options, rt->state_dir, rt->runtime_dir, err);
    if (r == 0)
        r = own_directory(rt->runtime_dir, 0700, "BERTH_RUNTIME_DIR", err);
    if (r < 0)
        return r;
    /* Made before a session can make something else in its place; what is there is used as it is.
     */
    struct stat st;
    if (stat(rt->state_dir, &st) < 0)
        r = errno == ENOENT
                ? own_directory(rt->state_dir, 0700, "BERTH_STATE_DIR", err)
                : dir_fail(err, errno, "look at the directory", rt->state_dir, "BERTH_STATE_DIR");
    if (r < 0)
        return r;
    r = choose_share(rt->share_dir, err);
    rt->facts.state_dir = rt->state_dir;
    rt->facts.runtime_dir = rt->runtime_dir;
    return r;
}

/* ---- the host ----------------------------------------------------------------------------------
 */

/* PID 1's program: beside this one in the build tree, else where it is installed. */
static int open_init(struct runtime *rt, const char *given, struct err *err)
{
    char path[PATH_MAX] = "";
    int proc = 0;
    if (given) {
        snprintf(path, sizeof path, "%s", given);
    } else {
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - sizeof "-init");
        proc = n < 0 ? errno : 0;
        char *slash = n > 0 ? strrchr(path, '/') : NULL;
        if (slash)
            snprintf(slash, sizeof path - (size_t)(slash - path), "/berth-init");
    }
    rt->init = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (rt->init < 0 && !given) {
        snprintf(path, sizeof path, "%s", BERTH_PREFIX "/libexec/berth/berth-init");
        rt->init = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    }
    if (rt->init < 0 && proc)
        return err_set(err, ERR_UNAVAILABLE, proc, "find berth's own program", "/proc/self/exe",
                       "A /proc of this process's own pid namespace must be mounted: `mount -t "
                       "proc proc /proc`.");
    if (rt->init < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "find the program of PID 1", path,
                       "It is built and installed together with berth: run `make` or `make "
                       "install` again.");
    struct stat st;
    if (fstat(rt->init, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & 022) ||
        (st.st_uid != 0 && st.st_uid != geteuid()))
        return err_set(err, ERR_UNAVAILABLE, 0, "use the program of PID 1", path,
                       "It must be a file that belongs to root or to you and that nobody else can "
                       "write.");
    return 0;
}

/* The file worker's program lies beside init's; only sessions that last have it. */
int runtime_open_files(struct runtime *rt, struct err *err)
{
    if (rt->files >= 0)
        return 0;
    char descriptor[40], program[PATH_MAX] = "";
    snprintf(descriptor, sizeof descriptor, "/proc/self/fd/%d", rt->init);
    ssize_t n = readlink(descriptor, program, sizeof program - sizeof "-files");
    char *slash = n > 0 ? strrchr(program, '/') : NULL;
    if (!slash)
        return 0;
    snprintf(slash, sizeof program - (size_t)(slash - program), "/berth-files");
    _cleanup_fd_ int fd = open(program, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return errno == ENOENT ? 0
                               : err_set(err, ERR_UNAVAILABLE, errno,
                                         "open the file worker's program", program, NULL);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & 022) ||
        (st.st_uid != 0 && st.st_uid != geteuid()))
        return err_set(err, ERR_UNAVAILABLE, 0, "use the file worker's program", program,
                       "It must be a file that belongs to root or to you and that nobody else can "
                       "write.");
    rt->files = take_fd(&fd);
    return 0;
}

static int look_at_rootfs(struct rootfs_host *host, struct err *err)
{
    for (size_t i = 0; i < ROOTFS_TOP_COUNT; i++) {
        char path[16];
        snprintf(path, sizeof path, "/%s", rootfs_top_names[i]);
        ssize_t n = readlink(path, host->tops[i].link, sizeof host->tops[i].link - 1);
        if (n < 0 && errno != EINVAL && errno != ENOENT)
            return err_set(err, ERR_UNAVAILABLE, errno, "look at the host's root", path, NULL);
        host->tops[i].exists = n > 0 || errno == EINVAL; /* EINVAL: it is not a link */
        host->tops[i].link[n > 0 ? n : 0] = 0;
    }
    host->has_bash = access("/bin/bash", X_OK) == 0;
    return 0;
}

/* 0: this kernel has no Landlock, or an ABI without REFER, which would make every rename between
 * directories fail: the plan says nothing for it, and no second layer is better than an unusable
 * session. Any other failure to ask is a failure: the layer is not left out by accident. */
static int landlock_ask(uint32_t *ret_abi, struct err *err)
{
    long r = syscall(SYS_landlock_create_ruleset, NULL, 0, 1u /* CREATE_RULESET_VERSION */);
    if (r < 0 && errno != ENOSYS && errno != EOPNOTSUPP)
        return err_set(
            err, ERR_UNAVAILABLE, errno, "ask for the version of Landlock", NULL,
            "A filter around berth refuses it: allow landlock_create_ruleset, or make it "
            "answer ENOSYS.");
    *ret_abi = r > 0 && landlock_handled_fs((uint32_t)r) != 0 ? (uint32_t)r : 0;
    return 0;
}

/* An ordinary user becomes root of a user namespace and mount namespace of his own. */
static int enter_rootless(struct runtime *rt, int before, struct err *err)
{
    struct userns_outer outer = {0};
    struct err unseen; /* without it, one that is new does */
    int r = before > 0 ? userns_join_outer(before, &outer, &unseen) : -ENOENT;
    if (r < 0)
        r = userns_enter_outer(&outer, err);
    if (r < 0)
        return r;
    rt->facts.single_uid = outer.single_uid;
    snprintf(rt->facts.single_uid_reason, sizeof rt->facts.single_uid_reason, "%s", outer.reason);
    if (unshare(CLONE_NEWNS) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make the launcher's mount namespace", NULL,
                       NULL);
    /* Namespaces of this process may be entered by its own user's next command (same uid). */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        return err_set(err, ERR_INTERNAL, errno, "become dumpable again", NULL, NULL);
    return 0;
}

enum { CLEAN_MS = 10000 };

static int clean_one(void *data, const struct record *record, struct err *err)
{
    struct runtime *rt = data;
    struct session_name name;
    return lasting_name_parse(record->id, &name)
               ? lasting_clean(rt, record->id, CLEAN_MS, err)
               : run_clean(&rt->cgroup, rt->share_dir, rt->state_dir, record, err);
}

int runtime_reap(struct runtime *rt, unsigned *ret_count, struct err *err)
{
    return record_reap(rt->records, clean_one, rt, ret_count, err);
}

static int runtime_setup(struct runtime *rt, const struct runtime_options *options, struct err *err)
{
    if (getuid() != geteuid() || getgid() != getegid() || getauxval(AT_SECURE))
        return err_set(
            err, ERR_FORBIDDEN, 0, "start", "berth",
            "It was installed with a setuid, setgid or capability bit, and would act with "
            "rights that its caller does not have. Remove the bit: berth needs none.");
    rt->facts.rootless = geteuid() != 0;
    rt->facts.caller_uid = geteuid();
    rt->facts.caller_gid = getegid();
    rt->no_reaper = options->no_reaper;
    rt->gateway = options->gateway > 0 ? options->gateway : 0;
    if (options->reaper_path && (size_t)snprintf(rt->reaper, sizeof rt->reaper, "%s",
                                                 options->reaper_path) >= sizeof rt->reaper)
        return err_set(err, ERR_INVALID_REQUEST, ENAMETOOLONG, "start", options->reaper_path, NULL);
    struct utsname name;
    if (uname(&name) == 0)
        snprintf(rt->facts.kernel, sizeof rt->facts.kernel, "%s", name.release);
    int r = landlock_ask(&rt->facts.landlock_abi, err);
    if (r == 0)
        r = choose_directories(rt, options, err);
    if (r == 0)
        r = record_dir_open(rt->runtime_dir, &rt->records, err);
    if (r == 0)
        r = open_init(rt, options->init_path, err);
    /* Now, while root is root: a launcher must have it right, to others a probe tells what is
     * wrong, which opens it itself where nothing changes in between.
     */
    int files = r == 0 && (rt->no_reaper || rt->facts.rootless)
                    ? runtime_open_files(rt, &rt->files_err)
                    : 0;
    if (files < 0 && rt->no_reaper) {
        *err = rt->files_err;
        r = files;
    }
    if (r < 0)
        return r;
    r = look_at_rootfs(&rt->rootfs, err);
    if (r < 0)
        return r;
    r = cgroup_host_open(&rt->cgroup, rt->facts.rootless, err);
    if (r < 0)
        return r;
    rt->facts.cgroup_layout = rt->cgroup.layout;
    rt->facts.limits_available = rt->cgroup.limits | SPEC_LIMIT_OPEN_FILES |
                                 SPEC_LIMIT_SCRATCH_BYTES | SPEC_LIMIT_SCRATCH_INODES;
    snprintf(rt->facts.cgroup_reason, sizeof rt->facts.cgroup_reason, "%s", rt->cgroup.reason);
    snprintf(rt->facts.cgroup_place, sizeof rt->facts.cgroup_place, "%s", rt->cgroup.place);
    if (rt->facts.rootless) {
        r = enter_rootless(rt, options->outer, err);
        if (r < 0)
            return r;
        rt->overlay_userxattr = true;
    }
    /* What one dead session has left on a disk that does not answer must stop no other one. */
    r = runtime_reap(rt, NULL, &rt->kept_err);
    if (r < 0)
        *err = rt->kept_err;
    rt->kept = r > 0;
    return r < 0 ? r : 0;
}

const struct err *runtime_kept(const struct runtime *rt)
{
    return rt->kept ? &rt->kept_err : NULL;
}

int runtime_open(struct runtime **ret, const struct runtime_options *options, struct err *err)
{
    struct runtime *rt = calloc(1, sizeof *rt);
    if (!rt)
        return err_set(err, ERR_INTERNAL, ENOMEM, "open the runtime", NULL, NULL);
    rt->records = rt->init = rt->files = rt->netns = rt->session_netns = -1;
    rt->left[0] = rt->left[1] = -1;
    network_ready_init(&rt->filled);
    int r = runtime_setup(rt, options, err);
    if (r < 0) {
        runtime_close(rt);
        return r;
    }
    *ret = rt;
    return 0;
}

void runtime_close(struct runtime *rt)
{
    if (!rt)
        return;
    fd_close(rt->records);
    fd_close(rt->init);
    fd_close(rt->files);
    fd_close(rt->netns);
    network_ready_fini(&rt->filled);
    fd_close(rt->left[0]);
    fd_close(rt->left[1]);
    prepared_free(rt->prepared);
    free(rt);
}

const struct runtime_facts *runtime_facts(const struct runtime *rt)
{
    return &rt->facts;
}

int runtime_check_implicit_workspace(const char *path, const char *home, struct err *err)
{
    return workspace_check_implicit(path, home, err);
}
