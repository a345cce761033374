/* This file is the entry point of `berth policy`; it never opens a session. */
#pragma once

/* check, explain, show, schema. argv[0] is "policy". Returns the exit status: 0 done, 1 a question
 * was answered with "denied", 125 berth could not (one line on stderr). */
int cli_policy(int argc, char **argv);
