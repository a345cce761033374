/* This file is what the parts of `berth session` share. */
#pragma once

#include "api/cli/verb.h"

/* session_create.c; argv[0] is "create". */
int session_create_cmd(int argc, char **argv);
int session_network_cmd(int argc, char **argv);
/* "a.example:443", "10.0.0.0/8:*" of a rule of a document. */
void network_rule_text(const struct json_node *rule, struct buf *out);
/* A value of a document as JSON again. */
void network_node_text(const struct json_node *node, struct buf *out);
