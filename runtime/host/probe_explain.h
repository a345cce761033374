/* This file asks whether this kernel can tell of denied calls as docs/adr/0014 needs it: the
 * filters of a session are loaded once in a child, and a call of it is answered. PRIVILEGED as the
 * launcher is, and needs none of it.
 */
#pragma once

#include "runtime/base/err.h"

/* 0, or what this kernel, or a filter that berth itself runs under, does not give. */
int probe_explain(struct err *err);
