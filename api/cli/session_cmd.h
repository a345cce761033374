/* This file is what the parts of `berth session` share. */
#pragma once

#include "api/cli/verb.h"

/* session_create.c; argv[0] is "create". */
int session_create_cmd(int argc, char **argv);
