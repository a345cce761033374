/* This file keeps the few places on the host that probes write to: an image of one program in the
 * runtime directory, a directory and a volume in the state directory. They are gone when the probes
 * are; what a killed process left is removed by the next one. PRIVILEGED as the launcher is.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/runtime.h"

struct probe_places {
    char id[32];                   /* "probe-…": the name of all three */
    char tree[SPEC_PATH_MAX];      /* the image: /probe is berth's own program */
    char workspace[SPEC_PATH_MAX]; /* made when `err` is ERR_NONE */
    char volume[SPEC_PATH_MAX];    /* the runtime makes it */
    int lock;                      /* on `tree`, while its maker lives; -1 */
    uint32_t owner;                /* of `workspace` */
    struct err err;                /* why there is no workspace: a finding, not a failure */
};

int probe_places_make(struct probe_places *places, const struct runtime_facts *facts,
                      struct err *err);
void probe_places_remove(struct probe_places *places);
