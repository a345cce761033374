/* This file gives up init's rights; it never goes on after a step that failed.
 *
 * Privilege: root of the session's user namespace with every capability there on entry; on return
 * the uid of the configuration with SETUID, SETGID and KILL (none when the uid is shared), an empty
 * bounding set, locked securebits, no_new_privs, Landlock and the base filter, and non-dumpable.
 */
#include "runtime/agent/setup_internal.h"

#include "runtime/base/fd.h"
#include "runtime/plan/landlock.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int failed(struct err *err, const char *step, const char *subject)
{
    return err_raw(err, ERR_INTERNAL, errno, step, subject);
}

/* ---- Landlock --------------------------------------------------------------------------------
 */

enum { LL_RULE_PATH_BENEATH = 1 };

/* As the kernel knows them at ABI 6; Debian 12's header ends at ABI 2. */
struct ll_ruleset {
    uint64_t handled_fs, handled_net, scoped;
};

struct ll_path_beneath {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed));

static int add_rule(int ruleset, int fd, uint64_t allowed)
{
    struct ll_path_beneath rule = {allowed, fd};
    return (int)syscall(SYS_landlock_add_rule, ruleset, LL_RULE_PATH_BENEATH, &rule, 0);
}

static int add_path(const struct init *init, const struct agent_landlock_path *path, int ruleset,
                    struct err *err)
{
    if (path->path[sizeof path->path - 1] != 0 || path->path[0] != '/') {
        errno = EINVAL;
        return failed(err, "check path of Landlock rule", NULL);
    }
    _cleanup_fd_ int fd = open(path->path, O_PATH | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0; /* nothing there that could be allowed */
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return failed(err, "open path of Landlock rule", path->path);
    uint64_t allowed = path->access & landlock_handled_fs(init->config.landlock_abi);
    if (!S_ISDIR(st.st_mode))
        allowed &= (uint64_t)LANDLOCK_FS_OF_FILE;
    if (allowed != 0 && add_rule(ruleset, fd, allowed) < 0)
        return failed(err, "add Landlock rule", path->path);
    return 0;
}

/* Made while we still may open every path; enforced after no_new_privs. */
static int make_ruleset(struct init *init, struct err *err)
{
    uint32_t abi = init->config.landlock_abi;
    if (landlock_handled_fs(abi) == 0) {
        init->config.landlock_abi = 0; /* READY says what is enforced */
        return 0;
    }
    struct ll_ruleset attr = {landlock_handled_fs(abi), 0, landlock_scoped(abi)};
    size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    _cleanup_fd_ int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (ruleset < 0)
        return failed(err, "make Landlock ruleset", NULL);
    for (uint32_t i = 0; i < init->config.landlock_path_count; i++) {
        int r = add_path(init, &init->landlock_paths[i], ruleset, err);
        if (r < 0)
            return r;
    }
    /* Our own work on exec cgroups goes through this descriptor, which no command has and no path
     * leads to. */
    if (init->config.have & AGENT_HAVE_CGROUP &&
        add_rule(ruleset, AGENT_FD_CGROUP, LANDLOCK_FS_OF_CGROUP) < 0)
        return failed(err, "add Landlock rule", "cgroup of session");
    /* The file worker's program is a file of the host. The kernel takes no rule for one without a
     * name (a memfd), and restricts none. */
    if (init->config.have & AGENT_HAVE_FILES &&
        add_rule(ruleset, AGENT_FD_FILES, LANDLOCK_FS_EXECUTE | LANDLOCK_FS_READ_FILE) < 0 &&
        errno != EBADFD)
        return failed(err, "add Landlock rule", "program of file worker");
    init->landlock = take_fd(&ruleset);
    return 0;
}

/* ---- prepare -------------------------------------------------------------------------------- */

/* The session keyring came from whoever started the launcher, and would come with every command.
 * Where keyctl is missing or filtered from outside, the session inherits just that. */
static int leave_keyring(struct err *err)
{
    long r = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL, 0, 0, 0);
    if (r < 0 && errno != ENOSYS && errno != EPERM)
        return failed(err, "leave keyring", NULL);
    return 0;
}

static int empty_bounding_set(struct err *err)
{
    for (int cap = 0; cap < 64; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
            if (errno == EINVAL && cap > CAP_LAST_CAP - 4)
                break; /* past the kernel's last one */
            return failed(err, "empty bounding set", NULL);
        }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return failed(err, "clear ambient capabilities", NULL);
    return 0;
}

/* NOROOT: execve() as inner uid 0 gives nothing. NO_SETUID_FIXUP: a change of uid neither gives
 * nor takes, so that only capset() does; it also keeps ours over the change to our own uid. */
static int lock_securebits(struct err *err)
{
    unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                         SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                         SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0)
        return failed(err, "lock securebits", NULL);
    return 0;
}

int setup_rights_prepare(struct init *init, struct err *err)
{
    int r = make_ruleset(init, err);
    if (r == 0)
        r = leave_keyring(err);
    if (r == 0)
        r = empty_bounding_set(err);
    if (r == 0)
        r = lock_securebits(err);
    return r;
}

/* ---- drop ----------------------------------------------------------------------------------- */

static int take_own_ids(const struct init *init, struct err *err)
{
    if (init->config.flags & AGENT_SHARED_UID)
        return 0;
    if (setgroups(0, NULL) < 0)
        return failed(err, "drop groups of init", NULL);
    if (setresgid(init->config.gid, init->config.gid, init->config.gid) < 0)
        return failed(err, "take group of init", NULL);
    if (setresuid(init->config.uid, init->config.uid, init->config.uid) < 0)
        return failed(err, "take user of init", NULL);
    return 0;
}

static int keep_capabilities(const struct init *init, struct err *err)
{
    uint32_t keep = 1u << CAP_SETUID | 1u << CAP_SETGID | 1u << CAP_KILL;
    if (init->config.flags & AGENT_SHARED_UID)
        keep = 0;
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{keep, keep, 0}, {0, 0, 0}};
    if (syscall(SYS_capset, &header, data) < 0)
        return failed(err, "drop capabilities of init", NULL);
    return 0;
}

/* After every change of credentials: each of them resets both. */
static int close_process(const struct init *init, struct err *err)
{
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return failed(err, "become non-dumpable", NULL);
    if (init->config.flags & AGENT_END_WITH_CONTROLLER &&
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return failed(err, "end with controller", NULL);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return failed(err, "refuse new privileges", NULL);
    return 0;
}

int setup_rights_drop(struct init *init, struct err *err)
{
    int r = take_own_ids(init, err);
    if (r == 0)
        r = keep_capabilities(init, err);
    if (r == 0)
        r = close_process(init, err);
    if (r < 0)
        return r;
    if (init->landlock >= 0) {
        if (syscall(SYS_landlock_restrict_self, init->landlock, 0) < 0)
            return failed(err, "enforce Landlock", NULL);
        fd_replace(&init->landlock, -1);
    }
    return 0;
}

int setup_rights_filter(struct init *init, struct err *err)
{
    if (init->config.base_filter_length == 0)
        return 0;
    struct sock_fprog program = {(unsigned short)init->config.base_filter_length,
                                 (struct sock_filter *)init->base_filter};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return failed(err, "load seccomp filter of init", NULL);
    return 0;
}
