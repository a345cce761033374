/* This file gives up every right that the gateway does not need; it never goes on after a step that
 * failed.
 *
 * Who starts the gateway gives it its user; whatever rights came with it end here: no capability,
 * no new privileges, no path (Landlock), and the system calls of seccomp_gateway.h.
 */
#include "runtime/gateway/internal.h"
#include "runtime/plan/landlock.h"
#include "runtime/plan/seccomp_gateway.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LL_CREATE_VERSION = 1 };

/* As the kernel knows it at ABI 6; Debian 12's header ends at ABI 2. */
struct ll_ruleset {
    uint64_t handled_fs, handled_net, scoped;
};

static int failed(struct err *err, const char *step)
{
    return err_set(err, ERR_INTERNAL, errno, step, NULL, NULL);
}

int gateway_rights_identity(struct err *err)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}, {0, 0, 0}};
    struct rlimit files, no_core = {0, 0};
    umask(077);
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return failed(err, "read the limit of open files");
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0)
        return failed(err, "set limits");
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return failed(err, "clear ambient capabilities");
    if (syscall(SYS_capset, &header, none) < 0)
        return failed(err, "drop capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return failed(err, "refuse new privileges");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return failed(err, "become non-dumpable");
    return 0;
}

/* No path at all. TCP is what it is for, so that nothing of the network is handled. */
static int restrict_paths(struct err *err)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LL_CREATE_VERSION);
    if (version < 0)
        return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : failed(err, "ask for Landlock");
    uint32_t abi = (uint32_t)version;
    struct ll_ruleset attr = {landlock_handled_fs(abi), 0, landlock_scoped(abi)};
    _cleanup_fd_ int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr,
                                            abi >= 6   ? 24
                                            : abi >= 4 ? 16
                                                       : 8,
                                            0);
    if (ruleset < 0)
        return failed(err, "make Landlock ruleset");
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return failed(err, "enforce Landlock");
    return 0;
}

int gateway_rights_drop(struct err *err)
{
    struct sock_filter code[SECCOMP_GATEWAY_MAX];
    uint32_t length = 0;
    int r = restrict_paths(err);
    if (r == 0)
        r = seccomp_gateway(code, &length, err);
    if (r < 0)
        return r;
    const struct sock_fprog program = {(unsigned short)length, code};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return failed(err, "load the gateway's filter");
    return 0;
}
