/* This file is the registry of what berth can guarantee on this host: names, what a spec needs, and
 * the refusal that lists everything that is missing (CAP-1, CAP-2). It never probes by itself: the
 * results of runtime/host/probe.h are put in at composition and are checked at creation.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/base/err.h"
#include "runtime/capability_names.h"
#include "runtime/spec.h"

#include <stdbool.h>
#include <stdint.h>

_Static_assert(CAPABILITY_COUNT <= 128, "struct spec.requires_mask has 128 bits");

struct capability_status {
    bool available;
    bool doubtful; /* not available because something was tried and failed: worth trying again */
    char
        evidence[192]; /* what was done to know: "killed a tree of 3 by one write to cgroup.kill" */
    char reason[256];  /* when not available: why */
    char
        remedy[384]; /* when not available: the exact command or file that would change it; or "" */
};

struct capability_set {
    struct capability_status status[CAPABILITY_COUNT];
};

struct capability_mask {
    uint64_t bits[2];
};

const char *capability_name(enum capability c);
int capability_version(enum capability c); /* 0: not built in this release */
int capability_by_name(const char *name);  /* -1 when unknown */

/* Every capability that `spec` needs: those that it implies and those that it names. */
void capability_required(const struct spec *spec, struct capability_mask *ret);

/* A spec of which nothing is there yet, for who has a part of one checked: it needs what every
 * session needs. */
void capability_part(struct spec *ret);

/* Add one to what `spec` names in `requires`: for what the caller needs and no field says. */
void capability_name_required(struct spec *spec, enum capability c);

/* CAP-2: 0, or ERR_CAPABILITY_UNAVAILABLE whose detail lists *every* missing one with its reason
 * and remedy; `ret_missing` (may be NULL) gets the mask. */
int capability_check(const struct spec *spec, const struct capability_set *set,
                     struct capability_mask *ret_missing, struct err *err);

/* CAP-2, second half: limits that come from a preset and cannot be had are taken out of `spec`, one
 * sentence each appended to `notes` (lines). Limits that were asked for stay. */
void capability_drop_defaults(struct spec *spec, const struct capability_set *set,
                              struct buf *notes);

/* The document of `berth capabilities --json` and GET /v1/capabilities. */
int capability_document(const struct capability_set *set, struct buf *out);
