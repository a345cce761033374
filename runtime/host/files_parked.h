/* This file does a file operation on the workspace of a session that does not run; it needs nothing
 * of that session but its spec. PRIVILEGED: the launcher's worker, one request per process.
 *
 * What is outside the workspace is not there: the root directory of a session is disposable, and so
 * is a workspace in memory. Berth's own directories and what the spec mounts into the workspace are
 * closed, protected paths (WS-3) and read-only workspaces are read-only, as they are in sessions.
 * While it writes, it is a user of the workspace as a session is (WS-2).
 */
#pragma once

#include "runtime/files.h"
#include "runtime/runtime.h"

/* `asker_*`: who asks; UINT32_MAX: who this process was started by. A directory is opened with his
 * rights, and what is done in it has the rights that the session's user has there. `result_fd`: the
 * pipe for the answer, on which a files_result comes in every case; `data_fd`: the operation's pipe
 * of data, or -1; both are borrowed. `read_only`: the session is archived; `name`: of it. 0, or
 * -errno with `err` filled; ERR_WORKSPACE_IN_USE: another session lives in the way of a write
 * (WS-2). The process's umask and SIGPIPE are changed, and from now on it dies with its parent. */
int files_parked(struct runtime *rt, const struct spec *spec, uint32_t asker_uid,
                 uint32_t asker_gid, const uint32_t *asker_groups, uint32_t asker_group_count,
                 const struct files_request *request, int result_fd, int data_fd, bool read_only,
                 const struct session_name *name, struct err *err);
