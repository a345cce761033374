/* This file is the published ports of a session that lasts (docs/adr/0013): which ports of the host
 * it has, whoever of berth's is started again.
 *
 * PRIVILEGED: the launcher's workers, and the process that brings sessions back. What was had is in
 * the session's record (`network`), where no port of the host is 0 any more. A listener is the
 * gateway's alone, and ends with it; its port is had again by the record. In between a process of
 * the host may take it, and another session may not.
 */
#pragma once

#include "runtime/host/publish.h"
#include "runtime/runtime.h"

/* ERR_PORT_IN_USE where another session that lives has one of them: its listener may be about to be
 * brought back. */
int session_publish_claim(struct runtime *rt, const struct session_name *name,
                          const struct publish *publish, struct err *err);

/* For other rules: listeners for what the gateway has none for, bound before anything is changed.
 * A port that was any and is published still is kept. `old` may be NULL. */
int session_publish_prepare(struct runtime *rt, const struct session_name *name,
                            const struct spec_network *old, const struct spec_network *net,
                            struct publish *ret, struct err *err);

/* What the record says and the gateway has not, in the namespace `netns`. ERR_PORT_IN_USE: somebody
 * has taken one meanwhile; the others are published. */
int session_publish_restore(struct runtime *rt, const struct session_name *name,
                            const struct spec_network *net, int netns, struct err *err);

/* Are all of them listened on? */
bool session_publish_is_whole(struct runtime *rt, const struct session_name *name,
                              const struct spec_network *net);

/* Which, as the record `net` has them. */
void session_publish_tell(struct runtime *rt, const struct session_name *name,
                          const struct spec_network *net, struct launcher_published *ret);
