/* This file is a spec as the ledger keeps it: the used parts only, in a layout of its own that says
 * its version. It never reads a host and never changes a value: what comes back has the same
 * spec_hash() and is byte for byte what went in, or is refused.
 *
 * Pure. Any process may call.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/spec.h"

#include <stddef.h>

/* Appends the stored form of a spec that passed spec_check(). */
void spec_store_write(const struct spec *spec, struct buf *out);

/* -EPROTO with `err`: not a stored spec, one of another version, torn, or not what spec_check()
 * accepts. `ret` is then not to be used; before, it was zero or a spec (spec_clear()). */
int spec_store_read(const void *data, size_t length, struct spec *ret, struct err *err);
