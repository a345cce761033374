/* This file turns a seccomp profile into filter bytes; it never loads one.
 *
 * Two layers are loaded into every command: a *base* filter that init installs for itself and all
 * that it starts (a short denylist: what neither init nor any command ever needs), and the *exec*
 * filter, an allowlist chosen by profile, that each command gets just before its execve(). The
 * filters of the three profiles are built when berth is built and live in the program's own
 * read-only data; only a policy with `seccomp_allow` builds one at run time, in some ten
 * microseconds.
 *
 * Source of semantics: seccomp(2), Documentation/userspace-api/seccomp_filter.rst.
 * Unprivileged, pure. Launcher and CLI call it; not between clone and execve.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/spec.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

struct seccomp_program {
    struct sock_filter *code; /* owned when `owned`, else static */
    uint32_t length;          /* instructions */
    bool owned;
    char hash[65]; /* SHA-256 of the code, hex */
};

void seccomp_program_fini(struct seccomp_program *program);

/* The layer of init. `shared_uid`: also keeps commands off prlimit64 on another pid and off
 * sched_* and setpriority on another process (a session with one uid shares it with PID 1). */
int seccomp_base(bool shared_uid, struct seccomp_program *ret, struct err *err);

/* The layer of commands. `allow` names calls by number; one that is unknown or may not be added is
 * -EINVAL (ERR_INVALID_REQUEST, the call in `err->subject`). */
int seccomp_exec(enum spec_seccomp_profile profile, const uint32_t *allow, uint32_t allow_count,
                 struct seccomp_program *ret, struct err *err);

/* ---- explained denials (docs/adr/0014-explain-syscalls.md) ------------------------------------
 */

/* Where a program answers with an errno it asks its listener instead; nothing else changes. In
 * place; init does it to a copy of the exec layer. What is pretended (errno 0) stays. */
void seccomp_notify(struct sock_filter *code, uint32_t length);

/* The layer of init in a session that explains: what the exec layer refuses too is a notification
 * that nobody listens to, which the kernel answers with ENOSYS, because an errno of this layer
 * would win over a notification of the other. The rules of a shared uid keep their errno. */
int seccomp_base_explained(bool shared_uid, struct seccomp_program *ret, struct err *err);

/* The errno that the exec layer `code` has for a call that was asked about. A call that it would
 * not refuse is EPERM: whoever asks has been stopped already, and is never let through. */
struct seccomp_data;
int seccomp_denied_errno(const struct sock_filter *code, uint32_t length,
                         const struct seccomp_data *data);

/* Which argument of a call that is judged by its arguments was the reason, and the part of its low
 * half that was looked at. False for other calls and other architectures. */
bool seccomp_denied_argument(const struct seccomp_data *data, unsigned *ret_argument,
                             uint32_t *ret_value);

/* What a profile says of one call, for `policy explain` and for messages. */
enum seccomp_decision {
    SECCOMP_SAYS_ALLOW = 1,
    SECCOMP_SAYS_ALLOW_IF,     /* allowed for some arguments: `ret_why` says which */
    SECCOMP_SAYS_EPERM,        /* known and refused */
    SECCOMP_SAYS_ENOSYS,       /* unknown, or answered as missing on purpose */
    SECCOMP_SAYS_NO_SUCH_CALL, /* the name is not a system call that berth knows */
};

/* `ret_why` (size >= 200) gets one sentence; `ret_addable` says whether `seccomp_allow` may name it
 * (some calls never may: they would break a guarantee; POL-1 refuses those with this sentence). */
enum seccomp_decision seccomp_explain(enum spec_seccomp_profile profile, const uint32_t *allow,
                                      uint32_t allow_count, const char *name, char *ret_why,
                                      unsigned long size, bool *ret_addable);

/* Name to x86-64 number and back; -1 and NULL when unknown. berth's own table: libseccomp's older
 * releases do not know every call. */
int seccomp_call_number(const char *name);
const char *seccomp_call_name(int number);

/* Interpret a filter over one call, as the kernel would (for tests, explain and attack row 21).
 * Returns the SECCOMP_RET_* value. */
uint32_t seccomp_simulate(const struct sock_filter *code, uint32_t length,
                          const struct seccomp_data *data);
