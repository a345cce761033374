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

/* For a session that begins. All or none; ERR_PORT_IN_USE also where another session that lives has
 * one of them: its listener may be about to be brought back. What is to be any is one that none
 * has, and no door of the host's. */
int session_publish_bind(struct runtime *rt, const struct session_name *name,
                         const struct spec_network *net, struct publish *ret, struct err *err);

/* For other rules: listeners for what the gateway has none for, bound before anything is changed.
 * A port that was any and is published still is kept. `old` may be NULL. */
int session_publish_prepare(struct runtime *rt, const struct session_name *name,
                            const struct spec_network *old, const struct spec_network *net,
                            struct publish *ret, struct err *err);

/* What the record says and the gateway has not, in the namespace `netns`. -EADDRINUSE: some of them
 * could not be had, and `err` names each; the others are published. */
int session_publish_restore(struct runtime *rt, const struct session_name *name,
                            const struct spec_network *net, int netns, struct err *err);

/* It is frozen, or no more: nobody inside answers, and its clients are reset instead of left to
 * wait. Its ports stay its own. */
int session_publish_hold(struct runtime *rt, const struct session_name *name, bool hold,
                         struct err *err);
/* The same by what the kernel says, for a gateway that may not know. */
int session_publish_hold_again(struct runtime *rt, const struct session_name *name, int place,
                               struct err *err);

/* Are all of them listened on? */
bool session_publish_is_whole(struct runtime *rt, const struct session_name *name,
                              const struct spec_network *net);

/* Which, as the record `net` has them. */
void session_publish_tell(struct runtime *rt, const struct session_name *name,
                          const struct spec_network *net, struct launcher_published *ret);
