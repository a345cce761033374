/* This file is what the answers of explain have in common, for the files of policy/ only. */
#pragma once

#include "policy/model.h"

/* One answer, printed the same way for all three questions. */
struct explain_answer {
    const char *kind;    /* "syscall" */
    const char *subject; /* what was asked about */
    bool allowed;
    const char *decision; /* one or two words */
    char why[512];
    char origin[512]; /* the line that decides; "" when none does */
    char note[768];
};

/* Prints it; returns what the facade returns: 1 allowed, 0 denied, -ENOMEM. */
int explain_print(const struct explain_answer *a, bool json, struct buf *out);

void explain_origin(struct explain_answer *a, const struct policy_origin *origin, const char *key);
bool explain_is_normalised(const char *path); /* absolute, printable, fits struct spec */
bool explain_printable(const char *text);     /* not empty, no control character */
int explain_fail(struct err *err, const char *subject, const char *why);
