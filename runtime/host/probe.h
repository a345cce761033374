/* This file finds out, by doing each thing once for real in a probe sandbox, what this host gives
 * this user (CAP-1); it knows nothing of capability names. PRIVILEGED as the launcher is.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/runtime.h"

#include <stdbool.h>

#define PROBES(X)                                 \
    X(USER_NAMESPACE, "user_namespace")           \
    X(ID_RANGE, "id_range")                       \
    X(SECCOMP, "seccomp")                         \
    X(LANDLOCK, "landlock")                       \
    X(IDMAPPED_MOUNT, "idmapped_mount")           \
    X(MEMORY_LIMIT, "memory_limit")               \
    X(CPU_LIMIT, "cpu_limit")                     \
    X(PIDS_LIMIT, "pids_limit")                   \
    X(OPEN_FILES_LIMIT, "open_files_limit")       \
    X(SCRATCH_BYTES, "scratch_bytes")             \
    X(SCRATCH_INODES, "scratch_inodes")           \
    X(WORKSPACE_DIRECTORY, "workspace_directory") \
    X(WORKSPACE_VOLUME, "workspace_volume")       \
    X(WORKSPACE_TMPFS, "workspace_tmpfs")         \
    X(ROOTFS_HOST, "rootfs_host")                 \
    X(ROOTFS_DIRECTORY, "rootfs_directory")       \
    X(EXEC, "exec")                               \
    X(TTY, "tty")                                 \
    X(TREE_KILL, "tree_kill")                     \
    X(TIMEOUT, "timeout")                         \
    X(NETWORK_DENY, "network_deny")               \
    X(NETWORK_RULES, "network_rules")             \
    X(EXPLAIN_SYSCALLS, "explain_syscalls")       \
    X(LASTS, "lasts")                             \
    X(STREAM, "stream")                           \
    X(REATTACH, "reattach")                       \
    X(FREEZE, "freeze")                           \
    X(METERING, "metering")                       \
    X(FILES_READ, "files_read")                   \
    X(FILES_WATCH, "files_watch")                 \
    X(FILES_WRITE, "files_write")                 \
    X(PARK_STOP, "park_stop")                     \
    X(RESUME, "resume")

enum probe_id {
#define X(sym, name) PROBE_##sym,
    PROBES(X)
#undef X
        PROBE_COUNT
};

struct probe_result {
    bool works;
    /* When it does not work: a fact of this host says so. False: something was tried and failed,
     * which trying again may not. */
    bool certain;
    char evidence[192];
    char reason[256];
    char remedy[384];
};

/* From here on: what a session that lasts gives. It takes sessions of its own to know, so they are
 * probed only for who asks. */
#define PROBE_LASTING_FIRST PROBE_LASTS

/* Runs all; without `lasting` those from PROBE_LASTING_FIRST on stay doubtful. A probe that cannot
 * run is `works = false` with the reason; the function itself fails only when it could not do its
 * own work (no memory, no runtime directory). `rt` may be NULL when runtime_open() failed with
 * `open_err`: then the causes are looked for (AppArmor, sysctls, chroot, container, kernel). */
int probe_run(struct runtime *rt, const struct err *open_err, bool lasting,
              struct probe_result ret_results[PROBE_COUNT], struct err *err);
