/* This file is the table of what workers of the launcher really call; it never calls any of it. */
#include "runtime/host/launcher_internal.h"

#include "runtime/host/files_parked.h"
#include "runtime/host/prepared.h"

const struct launcher_calls *launcher_real_calls(void)
{
    static const struct launcher_calls calls = {
        .prepare = session_prepare,
        .unprepare = session_unprepare,
        .create = session_create_lasting,
        .effective = session_effective,
        .notes = session_notes,
        .keep_netns = session_keep_netns,
        .leave = session_leave,
        .look = session_look,
        .end = session_end,
        .freeze = session_freeze,
        .sample = session_sample,
        .list = session_list,
        .network = session_network_replace,
        .restore = session_network_restore,
        .connect = session_network_connect,
        .published = session_network_published,
        .forget = session_network_forget,
        .files = files_parked,
    };
    return &calls;
}
