/* This file joins the two halves of init's setup: configuration and descriptors (setup.c), rights
 * (setup_rights.c). It is included by nothing else.
 */
#pragma once

#include "runtime/agent/init.h"
#include "runtime/base/err.h"

/* As root of the session: ruleset with its paths opened, bounding set, securebits, keyring. */
int setup_rights_prepare(struct init *init, struct err *err);

/* Own uid, three capabilities, non-dumpable, no_new_privs, Landlock. */
int setup_rights_drop(struct init *init, struct err *err);

/* Last of all. */
int setup_rights_filter(struct init *init, struct err *err);
