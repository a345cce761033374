/* This file makes init out of what the launcher's staged child executed: it takes its descriptors
 * and configuration, gives up every right but three, and closes itself in. The order is fixed;
 * each step that fails ends the start. Used by init only.
 */
#pragma once

#include "runtime/agent/init.h"
#include "runtime/base/err.h"

/* 0 when init is ready to send READY; else the caller sends FAILED and exits. */
int setup_run(struct init *init, struct err *err);

/* The Landlock rights that this init handles by ABI; the same numbers as runtime/plan/landlock.h
 * (init does not link the planner; a test compares them). Pure. */
uint64_t setup_landlock_fs(uint32_t abi);
uint64_t setup_landlock_scoped(uint32_t abi);
