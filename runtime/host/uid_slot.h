/* This file hands out ranges of host ids to sessions, one range each. PRIVILEGED: root's launcher.
 *
 * Slot n is the 65,536 ids from 1879048192 + n * 65536 (systemd owns the numbers below, Linux keeps
 * the sign bit free): 4,096 slots. A slot is claimed by a lock on byte n of one file that every
 * berth of the host shares; the lock belongs to the open file description (F_OFD_SETLK, fcntl(2)),
 * so it lasts until the launcher *and* its reaper are gone, and no claim can be forgotten.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdint.h>

enum { UID_SLOT_FIRST = 1879048192, UID_SLOT_SPAN = 65536, UID_SLOT_COUNT = 4096 };

/* `share_dir` holds the lock file. *ret_lock keeps the claim; close it to give the slot back. Slots
 * that overlap ranges of /etc/subuid or /etc/subgid are left out. -EAGAIN: every slot is taken. */
int uid_slot_claim(const char *share_dir, int *ret_lock, uint32_t *ret_base, struct err *err);
