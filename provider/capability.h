/* This file is the registry of what berth can guarantee on this host: names, what a spec needs, and
 * the refusal that lists everything that is missing (CAP-1, CAP-2). It never probes by itself: the
 * results of runtime/host/probe.h are put in at composition and are checked at creation.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/base/err.h"
#include "runtime/spec.h"

#include <stdbool.h>
#include <stdint.h>

/* symbol, name on the wire, version of the capability's contract */
#define CAPABILITIES(X)                                                        \
    X(ISOLATION_USER_NAMESPACE, "isolation.user_namespace", 1)                 \
    X(ISOLATION_SECCOMP, "isolation.seccomp", 1)                               \
    X(ISOLATION_LANDLOCK, "isolation.landlock", 1)                             \
    X(ISOLATION_IDMAPPED_WORKSPACE, "isolation.idmapped_workspace", 1)         \
    X(LIMITS_MEMORY, "limits.memory", 1)                                       \
    X(LIMITS_CPU, "limits.cpu", 1)                                             \
    X(LIMITS_PIDS, "limits.pids", 1)                                           \
    X(LIMITS_IO, "limits.io", 0)                                               \
    X(LIMITS_OPEN_FILES, "limits.open_files", 1)                               \
    X(LIMITS_SCRATCH_BYTES, "limits.scratch_bytes", 1)                         \
    X(LIMITS_SCRATCH_INODES, "limits.scratch_inodes", 1)                       \
    X(LIMITS_WORKSPACE_BYTES, "limits.workspace_bytes", 0)                     \
    X(WORKSPACE_DIRECTORY, "workspace.directory", 1)                           \
    X(WORKSPACE_VOLUME, "workspace.volume", 1)                                 \
    X(WORKSPACE_DISK, "workspace.disk", 0)                                     \
    X(WORKSPACE_TMPFS, "workspace.tmpfs", 1)                                   \
    X(WORKSPACE_SNAPSHOT, "workspace.snapshot", 0)                             \
    X(ROOTFS_HOST, "rootfs.host", 1)                                           \
    X(ROOTFS_DIRECTORY, "rootfs.directory", 1)                                 \
    X(ROOTFS_IMAGE, "rootfs.image", 0)                                         \
    X(LIFECYCLE_PARK_STOP, "lifecycle.park_stop", 0)                           \
    X(LIFECYCLE_PARK_FREEZE, "lifecycle.park_freeze", 0)                       \
    X(LIFECYCLE_RESUME, "lifecycle.resume", 0)                                 \
    X(LIFECYCLE_SURVIVE_DAEMON_RESTART, "lifecycle.survive_daemon_restart", 0) \
    X(LIFECYCLE_PROCESS_SNAPSHOT, "lifecycle.process_snapshot", 0)             \
    X(EXEC_STREAM, "exec.stream", 0)                                           \
    X(EXEC_STDIN, "exec.stdin", 1)                                             \
    X(EXEC_TTY, "exec.tty", 1)                                                 \
    X(EXEC_SIGNAL, "exec.signal", 1)                                           \
    X(EXEC_REATTACH, "exec.reattach", 0)                                       \
    X(EXEC_TREE_KILL, "exec.tree_kill", 1)                                     \
    X(EXEC_TIMEOUT, "exec.timeout", 1)                                         \
    X(EXEC_IDLE_TIMEOUT, "exec.idle_timeout", 1)                               \
    X(FILES_READ, "files.read", 0)                                             \
    X(FILES_WRITE, "files.write", 0)                                           \
    X(FILES_WATCH, "files.watch", 0)                                           \
    X(FILES_TAR, "files.tar", 0)                                               \
    X(NETWORK_DENY, "network.deny", 1)                                         \
    X(NETWORK_CIDR_RULES, "network.cidr_rules", 0)                             \
    X(NETWORK_HOST_RULES, "network.host_rules", 0)                             \
    X(NETWORK_PUBLIC_ONLY, "network.public_only", 0)                           \
    X(NETWORK_ALLOW, "network.allow", 0)                                       \
    X(NETWORK_PUBLISH, "network.publish", 0)                                   \
    X(NETWORK_UDP, "network.udp", 0)                                           \
    X(NETWORK_ICMP, "network.icmp", 0)                                         \
    X(SECRETS_ENV_PLAINTEXT, "secrets.env_plaintext", 0)                       \
    X(SECRETS_ENV_PLACEHOLDER, "secrets.env_placeholder", 0)                   \
    X(SECRETS_HEADER_PROXY, "secrets.header_proxy", 0)                         \
    X(SECRETS_QUERY_PROXY, "secrets.query_proxy", 0)                           \
    X(AUDIT_NETWORK, "audit.network", 0)                                       \
    X(AUDIT_SYSCALL, "audit.syscall", 0)                                       \
    X(USAGE_METERING, "usage.metering", 0)                                     \
    X(GPU, "gpu", 0)

enum capability {
#define X(sym, name, version) CAP_##sym,
    CAPABILITIES(X)
#undef X
        CAPABILITY_COUNT
};

_Static_assert(CAPABILITY_COUNT <= 128, "struct spec.requires_mask has 128 bits");

struct capability_status {
    bool available;
    char
        evidence[192]; /* what was done to know: "killed a tree of 3 by one write to cgroup.kill" */
    char reason[256];  /* when not available: why */
    char
        remedy[384]; /* when not available: the exact command or file that would change it; or "" */
};

struct capability_set {
    struct capability_status status[CAPABILITY_COUNT];
};

struct capability_mask {
    uint64_t bits[2];
};

const char *capability_name(enum capability c);
int capability_version(enum capability c); /* 0: not built in this release */
int capability_by_name(const char *name);  /* -1 when unknown */

/* Every capability that `spec` needs: those that it implies and those that it names. */
void capability_required(const struct spec *spec, struct capability_mask *ret);

/* CAP-2: 0, or ERR_CAPABILITY_UNAVAILABLE whose detail lists *every* missing one with its reason
 * and remedy; `ret_missing` (may be NULL) gets the mask. */
int capability_check(const struct spec *spec, const struct capability_set *set,
                     struct capability_mask *ret_missing, struct err *err);

/* CAP-2, second half: limits that come from a preset and cannot be had are taken out of `spec`, one
 * sentence each appended to `notes` (lines). Limits that were asked for stay. */
void capability_drop_defaults(struct spec *spec, const struct capability_set *set,
                              struct buf *notes);

/* The document of `berth capabilities --json` and GET /v1/capabilities. */
int capability_document(const struct capability_set *set, struct buf *out);
