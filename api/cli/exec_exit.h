/* This file says which exit status a command's end is for whoever called berth (contract, command
 * line), from the document of the exec. Pure.
 */
#pragma once

#include "policy/json.h"
#include "runtime/base/buf.h"

/* The status. `note` gets what a person should be told: why berth and not the command has failed,
 * or who ended it; "" when the command has just ended. */
int exec_exit_status(const struct json_node *exec, struct buf *note);
