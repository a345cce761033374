/* This file is `berth-front`, the process that speaks to clients (docs/adr/0012); it never holds a
 * right of the host's when it reads their first byte.
 *
 * What it holds: the ledger and the spools, the listening socket, the launcher's socket, pipes and
 * sockets to inits. Whom it talks to: clients, the launcher, inits, and with single bytes the
 * supervisor, which starts it, or which a service manager starts it for; there is nothing to type
 * here.
 */
#include "api/front/life.h"
#include "api/front/log.h"
#include "api/front/rights.h"
#include "runtime/base/handover.h"

#include <errno.h>
#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>

/* Stands where SQLite and libuv would call dlopen(3): no code gets into this process (Makefile). */
void *front_loads_nothing(const char *name, int flags);
void *front_loads_nothing(const char *name, int flags)
{
    (void)name, (void)flags;
    return NULL;
}

/* Stands where libuv would call getpwuid_r(3), which in a static program loads what the host has
 * for it. Nothing here asks for a home directory. */
int front_knows_nobody(uid_t uid, struct passwd *user, char *text, size_t size,
                       struct passwd **ret);
int front_knows_nobody(uid_t uid, struct passwd *user, char *text, size_t size, struct passwd **ret)
{
    (void)uid, (void)user;
    if (size > 0)
        text[0] = 0;
    *ret = NULL;
    return ENOENT;
}

/* Holds a spec's worth of configuration: not on a stack. */
static struct front_start start;

/* What this user may not do, a new process of his may not either. */
static int fail(const struct err *err)
{
    front_log_failure(NULL, err);
    bool hopeless =
        err->code == ERR_FORBIDDEN || err->sys == EACCES || err->sys == EPERM || err->sys == EROFS;
    /* Who is not this process's parent sees no status of it. */
    if (hopeless)
        (void)send(SERVE_FD_SUPERVISOR, "H", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    return hopeless ? SERVE_FRONT_HOPELESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct err err;
    (void)argv;
    if (argc > 1) {
        err_set(&err, ERR_USAGE, 0, "start front", NULL,
                "It takes no arguments: `berth serve` starts it.");
        return fail(&err);
    }
    prctl(PR_SET_NAME, "berth: front");
    if (handover_asked() &&
        handover_take(HANDOVER_FRONT, SERVE_FD_SUPERVISOR, SERVE_FD_END, &err) < 0)
        return fail(&err);
    if (front_start(&start, &err) < 0)
        return fail(&err);
    int r = front_rights_drop(&start.config, &err);
    if (r < 0)
        return fail(&err);
    if (r == RIGHTS_NO_LANDLOCK)
        front_log_event("rights", "This kernel has no Landlock; the other layers hold.");
    r = front_live(&start, SERVE_FD_SUPERVISOR, SERVE_FD_LAUNCHER, SERVE_FD_LISTEN, &err);
    front_start_fini(&start);
    return r < 0 ? fail(&err) : EXIT_SUCCESS;
}
