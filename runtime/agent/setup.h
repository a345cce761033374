/* This file makes init out of what the launcher's staged child executed: it takes its descriptors
 * and configuration, gives up every right but three, and closes itself in. The order is fixed;
 * each step that fails ends the start. Used by init only.
 */
#pragma once

#include "runtime/agent/init.h"
#include "runtime/base/err.h"

/* 0 when init is ready to send READY; else the caller sends FAILED and exits. */
int setup_run(struct init *init, struct err *err);
