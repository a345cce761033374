/* This file lends the process somebody else's rights on files for a few system calls; it never
 * opens anything.
 *
 * PRIVILEGED: the launcher's. Namespace: the host's. Should: change only the thread's filesystem
 * ids, supplementary groups and effective file capabilities, and prove each change. Mustn't: run
 * with a second thread that opens files, return to a caller half changed. Callers: workspace*.c,
 * placeholder.c.
 *
 * The raw system calls are used because glibc's setgroups() would change every thread. setfsuid()
 * reports no error: asking again with -1, which never succeeds, tells what is in force. The kernel
 * itself clears CAP_DAC_* from the effective set when fsuid leaves 0, but not under
 * SECBIT_NO_SETUID_FIXUP, with which the launcher may run: so they are cleared by capset() too.
 */
#include "runtime/host/workspace_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Every capability that bypasses a check on a file (CAP_FS_MASK of the kernel). */
static const unsigned file_capabilities[] = {
    CAP_CHOWN,  CAP_DAC_OVERRIDE,    CAP_DAC_READ_SEARCH, CAP_FOWNER,
    CAP_FSETID, CAP_LINUX_IMMUTABLE, CAP_MKNOD,           CAP_MAC_OVERRIDE,
};

static int capabilities(bool set, struct __user_cap_data_struct data[2])
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    return (int)syscall(set ? SYS_capset : SYS_capget, &header, data);
}

static bool filesystem_ids_are(uint32_t uid, uint32_t gid)
{
    return (uint32_t)setfsuid((uid_t)-1) == uid && (uint32_t)setfsgid((gid_t)-1) == gid;
}

static void set_filesystem_ids(uint32_t uid, uint32_t gid)
{
    setfsgid(gid);
    setfsuid(uid);
}

static int failed(struct err *err, const char *what)
{
    int sys = errno ? errno : EPERM;
    return err_set(err, ERR_INTERNAL, sys, "take the asker's rights", what,
                   "berth opens directories only with the rights of who asked. It must run as root "
                   "with CAP_SETUID and CAP_SETGID, or as the user himself.");
}

static int replace_groups(const struct asker *as, struct asker_saved *saved, struct err *err)
{
    int n = (int)syscall(SYS_getgroups, 0, NULL);
    if (n < 0)
        return failed(err, "getgroups");
    saved->groups = calloc((size_t)n + 1, sizeof *saved->groups);
    if (!saved->groups)
        return err_raw(err, ERR_INTERNAL, ENOMEM, "take the asker's rights", NULL);
    saved->group_count = (int)syscall(SYS_getgroups, n, saved->groups);
    if (saved->group_count < 0 || syscall(SYS_setgroups, (long)as->group_count, as->groups) < 0)
        return failed(err, "setgroups");
    saved->groups_changed = true;
    return 0;
}

int asker_become(const struct asker *as, struct asker_saved *ret_saved, struct err *err)
{
    struct asker_saved saved = {.fsuid = (uint32_t)setfsuid((uid_t)-1),
                                .fsgid = (uint32_t)setfsgid((gid_t)-1)};
    *ret_saved = saved;
    if (!as || (as->uid == 0 && filesystem_ids_are(0, as->gid)))
        return 0;
    errno = 0;
    if (capabilities(false, saved.capabilities) < 0)
        return failed(err, "capget");
    saved.changed = true;
    int r = as->uid == 0 ? 0 : replace_groups(as, &saved, err);
    if (r == 0) {
        set_filesystem_ids(as->uid, as->gid);
        if (!filesystem_ids_are(as->uid, as->gid))
            r = failed(err, "setfsuid");
    }
    if (r == 0 && as->uid != 0) {
        struct __user_cap_data_struct less[2] = {saved.capabilities[0], saved.capabilities[1]};
        for (unsigned i = 0; i < sizeof file_capabilities / sizeof file_capabilities[0]; i++)
            less[file_capabilities[i] / 32].effective &= ~(1u << (file_capabilities[i] % 32));
        if (capabilities(true, less) < 0)
            r = failed(err, "capset");
    }
    *ret_saved = saved;
    if (r < 0)
        asker_restore(ret_saved, NULL);
    return r;
}

int asker_restore(struct asker_saved *saved, struct err *err)
{
    if (!saved->changed)
        return 0;
    int r = 0;
    errno = 0;
    set_filesystem_ids(saved->fsuid, saved->fsgid);
    if (!filesystem_ids_are(saved->fsuid, saved->fsgid))
        r = failed(err, "setfsuid back");
    if (saved->groups_changed &&
        syscall(SYS_setgroups, (long)saved->group_count, saved->groups) < 0 && r == 0)
        r = failed(err, "setgroups back");
    if (capabilities(true, saved->capabilities) < 0 && r == 0)
        r = failed(err, "capset back");
    free(saved->groups);
    memset(saved, 0, sizeof *saved);
    return r;
}

int asker_override(const struct asker_saved *saved, struct err *err)
{
    const unsigned word = CAP_DAC_OVERRIDE / 32, bit = 1u << (CAP_DAC_OVERRIDE % 32);
    struct __user_cap_data_struct more[2];
    if (!saved->changed || !(saved->capabilities[word].effective & bit))
        return 0;
    errno = 0;
    if (capabilities(false, more) < 0)
        return failed(err, "capget");
    more[word].effective |= bit;
    return capabilities(true, more) < 0 ? failed(err, "capset") : 0;
}

bool asker_has_group(const struct asker *as, uint32_t gid)
{
    if (!as || as->uid == 0 || as->gid == gid)
        return true;
    for (uint32_t i = 0; i < as->group_count; i++)
        if (as->groups[i] == gid)
            return true;
    return false;
}
