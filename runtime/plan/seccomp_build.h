/* This file declares how a layer's filter is built from the table; it never loads or stores one.
 * Used by the generator when berth is built, and by seccomp.c for a policy with `seccomp_allow`.
 * Pure, no allocation.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/plan/seccomp_emit.h"

int seccomp_build_base(bool shared_uid, struct sock_filter *ret_code, uint32_t capacity,
                       uint32_t *ret_length, struct err *err);

/* seccomp_base_explained() in seccomp.h says what is different. */
int seccomp_build_base_explained(bool shared_uid, struct sock_filter *ret_code, uint32_t capacity,
                                 uint32_t *ret_length, struct err *err);

/* -EINVAL with ERR_INVALID_REQUEST when `allow` names a number that is unknown or may not be added;
 * `err->subject` is the call. Order and repetition of `allow` do not change the bytes. */
int seccomp_build_exec(enum spec_seccomp_profile profile, const uint32_t *allow,
                       uint32_t allow_count, struct sock_filter *ret_code, uint32_t capacity,
                       uint32_t *ret_length, struct err *err);
