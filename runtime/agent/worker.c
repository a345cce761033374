/* This file watches file workers of sessions that run; it never kills one itself. */
#include "runtime/agent/worker.h"

/* What it does goes through pipes that are not ours. But whoever moves a byte uses the processor,
 * and whoever was stopped, or waits for a disk or a client, does not. False: it is still. */
bool worker_moved(struct row *row, uint64_t now)
{
    clockid_t clock;
    uint64_t used = 0;
    if (now < row->cpu_look_ns)
        return true;
    if (row->main_alive && clock_getcpuclockid(row->pid, &clock) == 0)
        used = init_now_ns(clock);
    if (used != row->cpu_ns)
        row->activity_ns = now;
    row->cpu_ns = used;
    row->cpu_look_ns = now + row->idle_ns / 4;
    return now < row->activity_ns + row->idle_ns;
}

/* Its asker waits no longer than this, whatever holds it: a disk that does not answer holds what
 * was killed, too. */
void worker_abandon(struct init *init, struct row *row)
{
    struct agent_exit exit = row->exit;
    exit.reason = row->reason_asked ? row->reason_asked : AGENT_REASON_SIGNAL;
    exit.exit_code = -1;
    struct agent_frame frame = {
        .type = AGENT_FRAME_EXIT, .length = sizeof exit, .exec = row->number, .seq = ++row->seq};
    if (row->owes_started || !output_has_room(&init->output, sizeof exit))
        return;
    output_push(&init->output, &frame, &exit);
    row->abandoned = true;
}
