/* This file hands out ranges of host ids to sessions, one range each. PRIVILEGED: root's launcher.
 *
 * Slot n is the 65,536 ids from 1879048192 + n * 65536 (systemd owns the numbers below, Linux keeps
 * the sign bit free): 4,096 slots. A slot is claimed by a flock on the file slots/n of the
 * directory that every berth of the host shares; the lock belongs to the open file description, so
 * it lasts until the last process that holds it is gone (launcher and reaper; init, of a session
 * that lasts), and no claim can be forgotten. These files are never removed.
 *
 * A claim that goes to init is read-only, and of a file that no other session has: init can give it
 * up and nothing else. For that case the file of a session that lasts names its init, and is not
 * free as long as that very process lives.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdint.h>
#include <sys/types.h>

enum { UID_SLOT_FIRST = 1879048192, UID_SLOT_SPAN = 65536, UID_SLOT_COUNT = 4096 };

/* `share_dir` holds the lock files. *ret_lock keeps the claim; close it to give the slot back.
 * Slots that overlap ranges of /etc/subuid or /etc/subgid are left out. -EAGAIN: every slot is
 * taken. */
int uid_slot_claim(const char *share_dir, int *ret_lock, uint32_t *ret_base, struct err *err);

/* Write into the claim of `base` who is init. */
int uid_slot_set_init(const char *share_dir, uint32_t base, pid_t pid, uint64_t started,
                      struct err *err);
