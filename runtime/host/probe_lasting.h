/* This file is the probe of a session that lasts, as `berth serve` makes them; probe.c calls it
 * where somebody asks for what it finds. PRIVILEGED as the launcher is.
 */
#pragma once

#include "runtime/host/probe.h"
#include "runtime/host/probe_places.h"

/* Fills the results of PROBE_LASTS and what follows it in PROBES; never fails. */
void probe_lasting(struct runtime *rt, const struct probe_places *places,
                   struct probe_result results[PROBE_COUNT]);
