/* This file defines how a fallible function of berth says what went wrong; it never prints.
 *
 * Convention (docs/STYLE.md): a fallible function returns 0 when done, a negative -errno when it
 * failed (forwarded unchanged, never matched on above the system call that made it) and a positive
 * value for an outcome of its own, named in its header. It takes `struct err *err` last; the
 * caller owns it. On a negative return `err` is filled; on 0 it is untouched.
 *
 * struct err holds no pointer and fits one atomic pipe write, so that a child between clone() and
 * execve() can hand it to its parent without allocating (err_raw() is async-signal-safe and does
 * not format).
 *
 * Any process may call these functions.
 */
#pragma once

#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

/* The closed table of error codes that a client sees: name on the wire and HTTP status. */
#define ERR_CODES(X)                                         \
    X(INVALID_REQUEST, "invalid_request", 400)               \
    X(NOT_A_REGULAR_FILE, "not_a_regular_file", 400)         \
    X(UNAUTHORIZED, "unauthorized", 401)                     \
    X(FORBIDDEN, "forbidden", 403)                           \
    X(NOT_FOUND, "not_found", 404)                           \
    X(METHOD_NOT_ALLOWED, "method_not_allowed", 405)         \
    X(INVALID_STATE, "invalid_state", 409)                   \
    X(SECRET_REQUIRED, "secret_required", 409)               \
    X(SESSION_EXISTS, "session_exists", 409)                 \
    X(WORKSPACE_IN_USE, "workspace_in_use", 409)             \
    X(IN_PROGRESS, "in_progress", 409)                       \
    X(PRECONDITION_FAILED, "precondition_failed", 412)       \
    X(TOO_LARGE, "too_large", 413)                           \
    X(RANGE_NOT_SATISFIABLE, "range_not_satisfiable", 416)   \
    X(CAPABILITY_UNAVAILABLE, "capability_unavailable", 422) \
    X(POLICY_REJECTED, "policy_rejected", 422)               \
    X(IDEMPOTENCY_MISMATCH, "idempotency_mismatch", 422)     \
    X(RATE_LIMITED, "rate_limited", 429)                     \
    X(INTERNAL, "internal", 500)                             \
    X(UNAVAILABLE, "unavailable", 503)                       \
    X(INSUFFICIENT_STORAGE, "insufficient_storage", 507)     \
    X(PORT_IN_USE, "port_in_use", 409)                       \
    X(USAGE, "usage", 400) /* command line only: the words given to berth make no sense */

enum err_code {
    ERR_NONE = 0,
#define X(sym, name, status) ERR_##sym,
    ERR_CODES(X)
#undef X
        ERR_CODE_COUNT
};

struct err {
    int32_t sys;       /* errno of the system call that failed, 0 when none did */
    uint16_t code;     /* enum err_code */
    char step[64];     /* what berth was doing: "mount procfs", "open workspace" */
    char subject[320]; /* on what: a path, a key, a name; may be empty */
    char detail[1024]; /* what it means and what to do next, one or more sentences; may be empty */
};

_Static_assert(sizeof(struct err) <= PIPE_BUF, "an error must fit one atomic pipe write");

/* Fill `err` (NULL is allowed) and return -sys, or -EINVAL when sys is 0. `subject` may be NULL.
 * When sys says that memory or descriptors were short (ENOMEM, EMFILE, ENFILE), a code that blames
 * the request, the host or berth becomes ERR_UNAVAILABLE: it is right to ask again.
 * `fmt` makes `detail`; NULL for none. Strings that are too long are cut at a character. */
int err_set(struct err *err, enum err_code code, int sys, const char *step, const char *subject,
            const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* The same without formatting: async-signal-safe, for code between clone() and execve(). */
int err_raw(struct err *err, enum err_code code, int sys, const char *step, const char *subject);

/* Add a sentence to `detail` of an error made below. */
void err_add(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *err_code_name(enum err_code code); /* "invalid_request"; never NULL */
int err_code_status(enum err_code code);       /* HTTP status */

/* One line for a person, without the "berth: " and without newline:
 * "capability_unavailable: mount procfs: /proc: Operation not permitted. Detail."
 * Control characters of subject and detail are escaped, so that no name can drive a terminal. */
void err_format(const struct err *err, char *ret_text, unsigned long size);
