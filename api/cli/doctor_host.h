/* This file looks for what in the host's configuration stands in berth's way, and names the exact
 * command or file that changes it; it proves nothing (the probes do) and changes nothing.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/runtime.h"

enum host_state { HOST_FINE, HOST_LESS, HOST_BAD }; /* BAD: berth cannot work with it */

struct host_finding {
    const char *name;
    enum host_state state;
    struct buf text, remedy; /* remedy: whole lines, ready to be typed; empty when none */
};

enum { HOST_FINDINGS = 11 };

/* `facts` is NULL when the runtime could not be opened. */
void doctor_host(const struct runtime_facts *facts, struct host_finding ret[HOST_FINDINGS]);
void doctor_host_fini(struct host_finding findings[HOST_FINDINGS]);
