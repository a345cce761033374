/* This file gives the gateway what it asks for unasked: TCP sockets made in the network of a
 * session that publishes ports (docs/adr/0013); it never makes one in the launcher's own process.
 *
 * PRIVILEGED: the launcher's. One process at a time gives them, and is gone. Should: give no socket
 * of a session that publishes nothing, whatever the gateway says. Mustn't: wait in the launcher's
 * loop. Who is killed, or could not, is asked again: the gateway repeats it while clients wait.
 */
#include "runtime/host/launcher_internal.h"

#include "runtime/base/fd.h"
#include "runtime/host/runtime_internal.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

enum { CONNECT_SECONDS = 10 };

void launcher_connect_need(struct launcher *l, const struct gateway_reply *need)
{
    if (need->type != GATEWAY_NEED_SOCKETS || need->row <= 0 || need->incarnation <= 0 ||
        l->need_count == LAUNCHER_NEEDS)
        return;
    for (unsigned i = 0; i < l->need_count; i++)
        if (l->needs[i].row == need->row && l->needs[i].incarnation == need->incarnation)
            return;
    l->needs[l->need_count++] = (struct launcher_need){
        .row = need->row, .incarnation = need->incarnation, .count = need->count};
}

static _Noreturn void be_connector(struct launcher *l, pid_t launcher)
{
    char instance[sizeof l->instance];
    struct err err;
    launcher_network_child(l, launcher, CONNECT_SECONDS);
    if (launcher_permit_known(l, instance, &err) != 0)
        _exit(0); /* nobody has made a session here yet */
    for (unsigned i = 0; i < l->need_count; i++) {
        const struct launcher_need *need = &l->needs[i];
        struct session_name name = {.row = need->row, .incarnation = need->incarnation};
        memcpy(name.instance, instance, sizeof name.instance);
        _cleanup_fd_ int netns = launcher_live_netns(l, need->row, need->incarnation);
        l->runtime->session_netns = netns;
        /* What has ended meanwhile is no failure, and whoever waits is told by a reset. */
        (void)l->calls->connect(l->runtime, &name, need->count, &err);
    }
    _exit(0);
}

void launcher_connect_tend(struct launcher *l)
{
    if (l->need_count == 0 || l->connector > 0 || l->gateway < 0 || l->gateway_lost ||
        l->front < 0 || !l->runtime || !l->calls->connect)
        return;
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        be_connector(l, self);
    l->need_count = 0;
    l->connector = pid > 0 ? pid : 0;
}

void launcher_connect_died(struct launcher *l, pid_t pid)
{
    if (pid == l->connector)
        l->connector = 0;
}

/* What it has not given is asked of whoever comes next. */
void launcher_connect_stop(struct launcher *l)
{
    l->need_count = 0;
    if (l->connector <= 0)
        return;
    kill(l->connector, SIGKILL);
    while (waitpid(l->connector, NULL, 0) < 0 && errno == EINTR)
        ;
    l->connector = 0;
}
