/* This file says which exit status a command's end is for whoever called berth (contract, command
 * line), from the document of the exec. Pure.
 */
#pragma once

#include "policy/json.h"
#include "runtime/base/buf.h"
#include "runtime/base/err.h"

/* The status. `note` gets what a person should be told: why berth and not the command has failed,
 * or who ended it; "" when the command has just ended. */
int exec_exit_status(const struct json_node *exec, struct buf *note);

/* Why a command could not be started, in the words of `run` and of `exec`: `status` is 126, 127 or
 * 125, `step` and `sys` what failed for 125, `subject` on what. */
void exec_start_error(int status, int sys, const char *step, const char *subject,
                      const char *command, struct err *err);
