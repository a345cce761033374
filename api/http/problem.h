/* This file turns an error into the document that a client gets (RFC 9457, contract: Errors); it
 * never sends it. The document has no request id and no time in it: a stored answer is replayed
 * byte for byte (IDEM-1).
 *
 * Pure. Unprivileged.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/base/err.h"

#include <stddef.h>

/* What a document may say beyond the error. Zero: nothing. */
struct problem_more {
    const char *pointer;        /* RFC 6901, into the request's body; NULL */
    const char *const *missing; /* capability_unavailable: every one */
    size_t missing_count;
    const char *const *allowed; /* invalid_state: verbs; method_not_allowed: methods */
    size_t allowed_count;
    unsigned retry_after_s; /* 0: not said; also the header field Retry-After */
    int status;             /* 0: the code's own */
};

/* The HTTP status of `err`. */
int problem_status(const struct err *err, const struct problem_more *more);

/* Append the document. Of an internal error only the step is told: subject and detail may name
 * what is the host's business. */
void problem_document(const struct err *err, const struct problem_more *more, struct buf *out);
