/* This file is the closed list of capability names, and their numbers; it never says whether one
 * is available (provider/capability.h does). It stands below the layers that use it: policy files
 * name capabilities in `requires`, the registry of the provider knows what they mean.
 * Any process may include it.
 */
#pragma once

/* symbol, name on the wire, version of the capability's contract. A number is a bit in what a
 * session's row keeps of its spec: new ones come last. */
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
    X(LIFECYCLE_PARK_STOP, "lifecycle.park_stop", 1)                           \
    X(LIFECYCLE_PARK_FREEZE, "lifecycle.park_freeze", 1)                       \
    X(LIFECYCLE_RESUME, "lifecycle.resume", 1)                                 \
    X(LIFECYCLE_SURVIVE_DAEMON_RESTART, "lifecycle.survive_daemon_restart", 1) \
    X(LIFECYCLE_PROCESS_SNAPSHOT, "lifecycle.process_snapshot", 0)             \
    X(EXEC_STREAM, "exec.stream", 1)                                           \
    X(EXEC_STDIN, "exec.stdin", 1)                                             \
    X(EXEC_TTY, "exec.tty", 1)                                                 \
    X(EXEC_SIGNAL, "exec.signal", 1)                                           \
    X(EXEC_REATTACH, "exec.reattach", 1)                                       \
    X(EXEC_TREE_KILL, "exec.tree_kill", 1)                                     \
    X(EXEC_TIMEOUT, "exec.timeout", 1)                                         \
    X(EXEC_IDLE_TIMEOUT, "exec.idle_timeout", 1)                               \
    X(FILES_READ, "files.read", 1)                                             \
    X(FILES_WRITE, "files.write", 1)                                           \
    X(FILES_WATCH, "files.watch", 1)                                           \
    X(FILES_TAR, "files.tar", 1)                                               \
    X(NETWORK_DENY, "network.deny", 1)                                         \
    X(NETWORK_CIDR_RULES, "network.cidr_rules", 1)                             \
    X(NETWORK_HOST_RULES, "network.host_rules", 1)                             \
    X(NETWORK_PUBLIC_ONLY, "network.public_only", 1)                           \
    X(NETWORK_ALLOW, "network.allow", 1)                                       \
    X(NETWORK_PUBLISH, "network.publish", 1)                                   \
    X(NETWORK_UDP, "network.udp", 0)                                           \
    X(NETWORK_ICMP, "network.icmp", 0)                                         \
    X(SECRETS_ENV_PLAINTEXT, "secrets.env_plaintext", 0)                       \
    X(SECRETS_ENV_PLACEHOLDER, "secrets.env_placeholder", 0)                   \
    X(SECRETS_HEADER_PROXY, "secrets.header_proxy", 0)                         \
    X(SECRETS_QUERY_PROXY, "secrets.query_proxy", 0)                           \
    X(AUDIT_NETWORK, "audit.network", 0)                                       \
    X(AUDIT_SYSCALL, "audit.syscall", 1)                                       \
    X(USAGE_METERING, "usage.metering", 1)                                     \
    X(GPU, "gpu", 0)                                                           \
    X(ISOLATION_ID_RANGE, "isolation.id_range", 1)

enum capability {
#define X(sym, name, version) CAP_##sym,
    CAPABILITIES(X)
#undef X
        CAPABILITY_COUNT
};
