/* This file is the code of a session's first process between clone3() and the execve() of init: it
 * assembles the root directory, enters the session's namespaces and becomes init.
 *
 * Privilege: that of the launcher until enter_namespaces(), then full capabilities in the session's
 * own user namespace only. Namespaces: the PID, mount and network namespaces of the session belong
 * to the launcher's user namespace, so that nothing inside the session is ever privileged over
 * them.
 *
 * Should: make only system calls on what the launcher prepared; report the first failure as an
 * AGENT_FRAME_FAILED frame and exit. Mustn't: allocate, lock, log, read anything a session wrote,
 * or go on after a step that failed. Caller: runtime/host/launch.c only.
 *
 * The tree is assembled in a mount namespace of the launcher's user namespace and is then copied
 * into one of the session's: crossing that border locks every mount (mount_namespaces(7)), so that
 * nobody inside can unmount one or make a read-only one writable, whatever capabilities he gets.
 */
#pragma once

#include "runtime/agent/protocol.h"
#include "runtime/plan/rootfs.h"

#include <stdbool.h>
#include <stdint.h>

#define STAGE_SOCKET_NAME "control" /* in listen_dir */

enum { STAGE_MASKED_MAX = 256, STAGE_MASKED_WORKSPACE = -1 };

/* Devices of every session. */
enum { STAGE_NODES = 6 };
struct stage_node {
    const char *name, *host; /* in /dev; the host's, where no node can be made */
    unsigned major, minor;
};
extern const struct stage_node stage_nodes[STAGE_NODES];

/* What the launcher finds out while this process assembles the root directory already: the two run
 * at the same time and meet at four messages on the control socket, whose descriptors are what was
 * made: first file systems of the root, then the workspace, then the session's identity, then what
 * init is given. In memory that both share; each part is written before its message is sent and
 * read after it was received.
 */
struct stage_late {
    bool bind[ROOTFS_STEPS_MAX]; /* steps of the plan whose place in a fresh root is there */
    bool has_workspace;          /* else the workspace is an empty directory of the scratch */
    bool has_cgroupns;
    bool has_agent_fd[AGENT_FD_END]; /* which of init's descriptors come with the message */
    uint32_t mount_count;
    bool mount_is_directory[SPEC_MOUNTS_MAX];
    uint32_t protect_count; /* relative to the workspace, sorted, existing */
    char protect[SPEC_PROTECT_MAX][SPEC_PROTECT_PATH_MAX];
    bool placeholder[SPEC_PROTECT_MAX]; /* made by berth: a socket with no content */
    uint32_t masked_count;              /* sockets, and berth's own directories before them */
    struct stage_masked {
        int32_t mount; /* index of the mount, or STAGE_MASKED_WORKSPACE */
        bool directory;
        char path[SPEC_PATH_MAX]; /* relative to it */
    } masked[STAGE_MASKED_MAX];
    /* Written by the stage, before it takes the workspace. */
    uint64_t netns_inode;
};

/* What is to be /dev, in the scratch: a fresh root's own place for it. A file system less, which is
 * 40 KiB of a session where a thousand live (docs/evidence/sessions.md). */
#define STAGE_DEV "dev"

/* Descriptors of the messages, in this order. Root: a detached mount of the scratch, a fresh root
 * and /dev's content in it. Workspace: the workspace (when has_workspace), then mount_count
 * mounts. Identity: the user namespace, the cgroup namespace (when has_cgroupns). Init's
 * descriptors: ascending, those of has_agent_fd. */
enum { STAGE_LATE_FDS_MAX = 2 + AGENT_FD_END + SPEC_MOUNTS_MAX };

struct stage_args {
    const struct spec *spec;
    const struct rootfs_plan *plan;
    const char *attach_dir; /* an existing directory of the host; only its name is used, in the
                             * child's own mount namespace */
    const char *cgroup_dir; /* the session's cgroup on the host, with `run` in it; NULL: none */
    const char *hostname;

    uint32_t root_uid, root_gid; /* ids, as the launcher's namespace has them, of the session's 0 */
    uint32_t user_uid, user_gid; /* of the session's default user */
    uint32_t nobody;             /* SPEC_UID_NOBODY, and its group */
    bool make_nodes;             /* mknod device nodes; else bind the host's */
    bool single_uid;             /* only the default user's id is mapped inside */
    bool overlay_userxattr;

    int image_tree; /* `dir:` image: detached lower, else -1 */
    int init;       /* O_PATH of PID 1's program */
    int netns;      /* one that nobody has used, its loopback up; -1: made here */
    int mounts;     /* of stage_root_main(), and nobody has been in it; -1: all is made here */
    int agent_fds[AGENT_FD_END]; /* what becomes descriptor n; -1: nothing. CONFIG comes late */

    /* A session that lasts: where its socket is bound and whose it is; -1: it ends with its
     * launcher. Bound here because a socket can reach what is abstract in the network namespace in
     * which it was made, and init is given this one unconnected. */
    int listen_dir;
    uint32_t listen_uid, listen_gid; /* UINT32_MAX: who made it */

    struct stage_late *late; /* MAP_SHARED */
    /* Filled by the stage from the message; -1: none. For stage_root_main() it is there. */
    int scratch, userns, cgroupns, workspace_tree;
    int mount_trees[SPEC_MOUNTS_MAX];
};

/* Never returns. */
_Noreturn void stage_main(const struct stage_args *prepared);

/* In a process of its own, before there is a session: makes a mount namespace, in it the root
 * directory of a fresh image with all that is the same for every session (`scratch`
 * and late->bind are there already), and lets the host's go. Then it sends an AGENT_FRAME_READY
 * without payload, waits until its control socket ends, and exits. Never returns. */
_Noreturn void stage_root_main(const struct stage_args *prepared);
