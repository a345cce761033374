/* This file changes init's file-system ids and back; it never leaves them changed, nor init
 * traceable after it.
 */
#include "runtime/agent/borrow.h"

#include <errno.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

void borrow_ids(const struct init *init, const struct agent_exec *exec)
{
    if (init->config.flags & AGENT_SHARED_UID)
        return;
    setfsgid(exec->gid);
    setfsuid(exec->uid);
}

void borrow_end(const struct init *init)
{
    if (init->config.flags & AGENT_SHARED_UID)
        return;
    int keep = errno;
    setfsuid(init->config.uid);
    setfsgid(init->config.gid);
    /* Each change made us as dumpable as fs.suid_dumpable says, and cleared the death signal. The
     * controller's end in between is still seen at its socket. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (init->config.flags & AGENT_END_WITH_CONTROLLER)
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    errno = keep;
}
