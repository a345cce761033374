/* This file hands out seccomp filters: those made when berth was built, and one made now for a
 * policy with `seccomp_allow`; it never loads one. Pure.
 */
#include "runtime/plan/seccomp.h"

#include "runtime/base/fd.h"
#include "runtime/base/sha256.h"
#include "runtime/plan/seccomp_build.h"
#include "runtime/plan/seccomp_generated.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void seccomp_program_fini(struct seccomp_program *program)
{
    if (!program)
        return;
    if (program->owned)
        free(program->code);
    *program = (struct seccomp_program){0};
}

static void hand_out(enum seccomp_generated_index index, struct seccomp_program *ret)
{
    const struct seccomp_generated *g = &seccomp_generated[index];
    /* `code` is not const because an owned program must be freed; nobody writes through it. */
    *ret = (struct seccomp_program){.code = (struct sock_filter *)g->code, .length = g->length};
    memcpy(ret->hash, g->hash, sizeof(ret->hash));
}

int seccomp_base(bool shared_uid, struct seccomp_program *ret, struct err *err)
{
    (void)err; /* what was generated can't fail */
    hand_out(shared_uid ? GENERATED_BASE_SHARED_UID : GENERATED_BASE, ret);
    return 0;
}

int seccomp_base_explained(bool shared_uid, struct seccomp_program *ret, struct err *err)
{
    _cleanup_free_ struct sock_filter *code = calloc(BPF_MAXINSNS, sizeof(*code));
    uint32_t length = 0;
    if (!code)
        return err_set(err, ERR_INTERNAL, ENOMEM, "build the seccomp filter", NULL, NULL);
    int r = seccomp_build_base_explained(shared_uid, code, BPF_MAXINSNS, &length, err);
    if (r < 0)
        return r;
    *ret = (struct seccomp_program){.length = length, .owned = true};
    sha256_hex(code, length * sizeof(*code), ret->hash);
    ret->code = take_ptr(&code);
    return 0;
}

static int build_now(enum spec_seccomp_profile profile, const uint32_t *allow, uint32_t allow_count,
                     struct seccomp_program *ret, struct err *err)
{
    _cleanup_free_ struct sock_filter *code = calloc(BPF_MAXINSNS, sizeof(*code));
    uint32_t length = 0;
    if (!code)
        return err_set(err, ERR_INTERNAL, ENOMEM, "build the seccomp filter", NULL, NULL);
    int r = seccomp_build_exec(profile, allow, allow_count, code, BPF_MAXINSNS, &length, err);
    if (r < 0)
        return r;
    *ret = (struct seccomp_program){.length = length, .owned = true};
    sha256_hex(code, length * sizeof(*code), ret->hash);
    ret->code = take_ptr(&code);
    return 0;
}

int seccomp_exec(enum spec_seccomp_profile profile, const uint32_t *allow, uint32_t allow_count,
                 struct seccomp_program *ret, struct err *err)
{
    static const enum seccomp_generated_index index[] = {
        [SPEC_SECCOMP_DEFAULT] = GENERATED_DEFAULT,
        [SPEC_SECCOMP_STRICT] = GENERATED_STRICT,
        [SPEC_SECCOMP_DEBUG] = GENERATED_DEBUG,
    };
    if (allow_count > 0)
        return build_now(profile, allow, allow_count, ret, err);
    if (profile < SPEC_SECCOMP_DEFAULT || profile > SPEC_SECCOMP_DEBUG)
        return err_set(err, ERR_INTERNAL, EINVAL, "choose the seccomp filter", NULL,
                       "There is no profile number %d.", (int)profile);
    hand_out(index[profile], ret);
    return 0;
}
