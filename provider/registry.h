/* This file keeps what was found out about this host between starts of berth: the capability set,
 * probed once and then read from <runtime_dir>/capabilities-<uid>.
 *
 * A cached set is used only when everything that it depends on is the same: boot, kernel, berth's
 * own program, the caller, its cgroup, its subordinate ids, and what runtime_open() found. Any
 * doubt, and it is probed again. Nothing is decided by the cache alone: a guarantee that has gone
 * meanwhile fails at session_create(), which takes no step back.
 */
#pragma once

#include "provider/capability.h"
#include "runtime/runtime.h"

/* The set of this host and user, cached or probed. Fails only when probing itself does.
 *
 * A cached "no" that comes from a probe that failed is believed only by who does not need it: when
 * `spec` (NULL: somebody who wants to know everything) would be refused, or would lose a limit, by
 * it, the host is probed again. So no single failure sticks. */
int registry_open(struct runtime *rt, const struct spec *spec, struct capability_set *ret,
                  struct err *err);

/* Always probe, and rewrite the cache. `rt` NULL: runtime_open() failed with `open_err`; then
 * nothing is cached, and every capability says why it is not there. */
int registry_refresh(struct runtime *rt, const struct err *open_err, struct capability_set *ret,
                     struct err *err);

/* ---- for tests ----------------------------------------------------------------------------------
 */

struct buf;
struct probe_result;

/* Probe results as capabilities; those that are not built say so. Pure. */
void registry_map(const struct probe_result *results, struct capability_set *ret);

/* Does `set` refuse something to `spec` (NULL: to anybody) that trying again may give? Pure. */
bool registry_doubtful(const struct capability_set *set, const struct spec *spec);

/* The cache's text for `set` under `key`, and back: 0, or REGISTRY_STALE when `text` is not exactly
 * what registry_encode() makes under this key. Pure. */
enum registry_outcome { REGISTRY_STALE = 1 };
void registry_encode(const struct capability_set *set, const char *key, struct buf *out);
int registry_decode(char *text, size_t length, const char *key, struct capability_set *ret);
