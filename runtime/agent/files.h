/* This file is the core of the file operations: one request, done in one view of files. The program
 * berth-files does it inside a session, where the view is everything; the launcher's worker beneath
 * the workspace of a session that does not run. It never waits for anything but the two pipes and
 * the disk, and never follows a link out of its view.
 *
 * Whoever calls has taken the rights already with which files are opened. One request per process:
 * the umask and what is done with SIGPIPE are changed. What is read is a hostile program's.
 */
#pragma once

#include "runtime/files.h"

#include <stdbool.h>
#include <stdint.h>

enum { FILES_HIDDEN_MAX = 4 + SPEC_MOUNTS_MAX };

/* Why nothing can be changed. */
enum files_access { FILES_WRITABLE = 0, FILES_ARCHIVED, FILES_READ_ONLY };

/* How ids of files are told. */
enum files_ids {
    FILES_IDS_SAME = 0,
    FILES_IDS_OWNER,   /* `owner` is `inside`; all others are nobody (65534) */
    FILES_IDS_ROTATED, /* 0 is `inside`; 1..inside are one less; the rest as it is */
};

struct files_view {
    int root; /* O_PATH directory, borrowed: "/" inside, or the workspace with `beneath` */
    /* The workspace of a session that does not run: `root` is at this path, of which nothing else
     * is there. Normalised, absolute. Resolution needs openat2(2) and stays beneath root. */
    bool beneath;
    const char *mount_path;
    bool submounts; /* what is mounted beneath root is part of the view (rootless) */
    enum files_access access;

    /* beneath: directories of the host that something covers in sessions. */
    unsigned hidden_count;
    struct {
        uint64_t device, inode;
    } hidden[FILES_HIDDEN_MAX];
    /* beneath: paths relative to root that nobody in a session may change (WS-3). */
    unsigned protect_count;
    const char *const *protect;

    enum files_ids uids, gids;
    uint32_t owner_uid, owner_gid, inside_uid, inside_gid;
};

/* Does what `request` (checked) says. `in`, `out`: pipes, -1 where the operation has none;
 * `answer`: where files_begin and the result are written. 0, or -errno with `err` filled; the
 * result has been written in both cases if it could be. */
int files_run(const struct files_view *view, const struct files_request *request, int in, int out,
              int answer, struct err *err);

/* The answer of a request that was not begun: `err` says why. */
void files_refuse(int answer, const struct err *err);
