/* This file gives up every right that front does not need; it never goes on after a step that
 * failed.
 *
 * Privilege: that of the supervisor on entry (root, or front's uid already), none on return. One
 * thread: credentials and filters are a thread's, and the ledger's is made afterwards.
 */
#include "api/front/rights.h"

#include "runtime/base/fd.h"
#include "runtime/plan/landlock.h"
#include "runtime/plan/seccomp_front.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int failed(struct err *err, const char *step, const char *subject)
{
    return err_set(err, ERR_INTERNAL, errno, step, subject, NULL);
}

/* ---- identity -------------------------------------------------------------------------------- */

/* While there is the right to. Without it the set does not matter: nothing is ever executed, and
 * no_new_privs holds. */
static int empty_bounding_set(struct err *err)
{
    for (int cap = 0; cap < 64; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
            if (errno == EINVAL || errno == EPERM)
                break;
            return failed(err, "empty bounding set", NULL);
        }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return failed(err, "clear ambient capabilities", NULL);
    return 0;
}

/* A service manager names the group of the process once more among the others. */
static bool one_group(void)
{
    gid_t group;
    int count = getgroups(0, NULL);
    return count == 0 || (count == 1 && getgroups(1, &group) == 1 && group == getegid());
}

static int take_own_ids(const struct serve_config *config, struct err *err)
{
    if (config->rootless)
        return 0;
    if (config->front_uid == 0 || config->front_gid == 0)
        return err_set(err, ERR_INTERNAL, EINVAL, "take front's own user", NULL,
                       "The configuration gives it root's id.");
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 ||
                           setresgid(config->front_gid, config->front_gid, config->front_gid) < 0 ||
                           setresuid(config->front_uid, config->front_uid, config->front_uid) < 0))
        return failed(err, "take front's own user", NULL);
    uid_t real, effective, saved;
    if (getresuid(&real, &effective, &saved) < 0 || real != config->front_uid ||
        effective != real || saved != real || getegid() != config->front_gid || !one_group())
        return err_set(err, ERR_INTERNAL, EPERM, "take front's own user", NULL,
                       "It runs as uid %u, or in more groups than one.", (unsigned)geteuid());
    return 0;
}

static int drop_capabilities(struct err *err)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}, {0, 0, 0}};
    if (syscall(SYS_capset, &header, none) < 0)
        return failed(err, "drop capabilities", NULL);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return failed(err, "refuse new privileges", NULL);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return failed(err, "become non-dumpable", NULL);
    return 0;
}

static int set_limits(struct err *err)
{
    struct rlimit files, none = {0, 0};
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return failed(err, "read the limit of open files", NULL);
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
        return failed(err, "set limits", NULL);
    return 0;
}

/* ---- Landlock -------------------------------------------------------------------------------- */

enum { LL_CREATE_VERSION = 1, LL_RULE_PATH_BENEATH = 1, LL_NET_TCP = 3 };

/* As the kernel knows them at ABI 6; Debian 12's header ends at ABI 2. */
struct ll_ruleset {
    uint64_t handled_fs, handled_net, scoped;
};

struct ll_path_beneath {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed));

#define OWN_DIRECTORY                                                                     \
    ((uint64_t)(LANDLOCK_FS_READ_FILE | LANDLOCK_FS_READ_DIR | LANDLOCK_FS_WRITE_FILE |   \
                LANDLOCK_FS_REMOVE_DIR | LANDLOCK_FS_REMOVE_FILE | LANDLOCK_FS_MAKE_DIR | \
                LANDLOCK_FS_MAKE_REG | LANDLOCK_FS_TRUNCATE | LANDLOCK_FS_REFER))

static int allow(int ruleset, uint32_t abi, const char *path, uint64_t rights, struct err *err)
{
    _cleanup_fd_ int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return failed(err, "open path of Landlock rule", path);
    const struct ll_path_beneath rule = {rights & landlock_handled_fs(abi), fd};
    if (syscall(SYS_landlock_add_rule, ruleset, LL_RULE_PATH_BENEATH, &rule, 0) < 0)
        return failed(err, "add Landlock rule", path);
    return 0;
}

static int own_directory(const struct serve_config *config, const char *name, int ruleset,
                         uint32_t abi, struct err *err)
{
    char path[SPEC_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", config->state_dir, name);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return failed(err, "make front's directory", path);
    return ruleset < 0 ? 0 : allow(ruleset, abi, path, OWN_DIRECTORY, err);
}

static int restrict_paths(const struct serve_config *config, struct err *err)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LL_CREATE_VERSION);
    if (version < 0 && errno != ENOSYS && errno != EOPNOTSUPP)
        return failed(err, "ask for Landlock", NULL);
    uint32_t abi = version > 0 ? (uint32_t)version : 0;
    _cleanup_fd_ int ruleset = -1;
    if (landlock_handled_fs(abi)) {
        struct ll_ruleset attr = {landlock_handled_fs(abi), abi >= 4 ? LL_NET_TCP : 0,
                                  landlock_scoped(abi)};
        size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
        ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
        if (ruleset < 0)
            return failed(err, "make Landlock ruleset", NULL);
    }
    int r = own_directory(config, SERVE_LEDGER_DIR, ruleset, abi, err);
    if (r == 0)
        r = own_directory(config, SERVE_SPOOL_DIR, ruleset, abi, err);
    if (r < 0 || ruleset < 0)
        return r < 0 ? r : RIGHTS_NO_LANDLOCK;
    /* SQLite takes the salt of its log from there. */
    r = allow(ruleset, abi, "/dev/urandom", LANDLOCK_FS_READ_FILE, err);
    if (r == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        r = failed(err, "enforce Landlock", NULL);
    return r;
}

/* ---- the filter ------------------------------------------------------------------------------ */

static int load_filter(struct err *err)
{
    struct sock_filter code[SECCOMP_FRONT_MAX];
    uint32_t length = 0;
    int r = seccomp_front(code, &length, err);
    if (r < 0)
        return r;
    const struct sock_fprog program = {(unsigned short)length, code};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return failed(err, "load front's filter", NULL);
    return 0;
}

int front_rights_drop(const struct serve_config *config, struct err *err)
{
    umask(077);
    int r = set_limits(err);
    if (r == 0)
        r = empty_bounding_set(err);
    if (r == 0)
        r = take_own_ids(config, err);
    if (r == 0)
        r = drop_capabilities(err);
    if (r < 0)
        return r;
    int landlock = restrict_paths(config, err);
    if (landlock < 0)
        return landlock;
    r = load_filter(err);
    return r < 0 ? r : landlock;
}
