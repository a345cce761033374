/* This file is PID 1 of a session: a small static program that starts what the controller asks for,
 * reaps everything, and tells how it ended. It never parses a client's bytes, never opens a path of
 * the host, and holds no right but to start commands as other users of its own session and to end
 * them. runtime/agent/protocol.h says how it is started and spoken to.
 */
#include "runtime/agent/loop.h"
#include "runtime/agent/setup.h"

#include <unistd.h>

static struct init init;

int main(void)
{
    struct err err;
    if (setup_run(&init, &err) < 0) {
        loop_send_failed(AGENT_FD_FRAMES, &err);
        return 1;
    }
    loop_send_ready(&init);
    loop_run(&init);
    return 0;
}
