/* This file is the generator that runs while berth is built: `seccomp_gen filters` prints the
 * filters as C, `seccomp_gen table` the tables of docs/seccomp.md; it is not part of berth.
 * Unprivileged; writes to its standard output only.
 */
#include "runtime/base/buf.h"
#include "runtime/base/sha256.h"
#include "runtime/plan/seccomp_build.h"
#include "runtime/plan/seccomp_generated.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const names[GENERATED_COUNT] = {
    [GENERATED_BASE] = "base",
    [GENERATED_BASE_SHARED_UID] = "base_shared_uid",
    [GENERATED_DEFAULT] = "exec_default",
    [GENERATED_STRICT] = "exec_strict",
    [GENERATED_DEBUG] = "exec_debug",
};

static int build(int index, struct sock_filter *code, uint32_t *ret_length)
{
    struct err err = {0};
    int r;
    switch (index) {
    case GENERATED_DEFAULT:
        r = seccomp_build_exec(SPEC_SECCOMP_DEFAULT, NULL, 0, code, BPF_MAXINSNS, ret_length, &err);
        break;
    case GENERATED_STRICT:
        r = seccomp_build_exec(SPEC_SECCOMP_STRICT, NULL, 0, code, BPF_MAXINSNS, ret_length, &err);
        break;
    case GENERATED_DEBUG:
        r = seccomp_build_exec(SPEC_SECCOMP_DEBUG, NULL, 0, code, BPF_MAXINSNS, ret_length, &err);
        break;
    default:
        r = seccomp_build_base(index == GENERATED_BASE_SHARED_UID, code, BPF_MAXINSNS, ret_length,
                               &err);
    }
    if (r < 0) {
        char text[512];
        err_format(&err, text, sizeof(text));
        fprintf(stderr, "seccomp_gen: %s: %s\n", names[index], text);
    }
    return r;
}

static int print_filters(void)
{
    static struct sock_filter code[BPF_MAXINSNS];
    uint32_t lengths[GENERATED_COUNT];
    char hashes[GENERATED_COUNT][65];

    printf("/* This file was written by runtime/plan/gen/seccomp_gen.c; it is never edited. */\n"
           "#include \"runtime/plan/seccomp_generated.h\"\n");
    for (int i = 0; i < GENERATED_COUNT; i++) {
        if (build(i, code, &lengths[i]) < 0)
            return 1;
        sha256_hex(code, lengths[i] * sizeof(code[0]), hashes[i]);
        printf("\nstatic const struct sock_filter %s[%u] = {\n", names[i], lengths[i]);
        for (uint32_t n = 0; n < lengths[i]; n++)
            printf("    {0x%02x, %u, %u, 0x%08x},\n", code[n].code, code[n].jt, code[n].jf,
                   code[n].k);
        printf("};\n");
    }
    printf("\nconst struct seccomp_generated seccomp_generated[GENERATED_COUNT] = {\n");
    for (int i = 0; i < GENERATED_COUNT; i++)
        printf("    {%s, %u, \"%s\"},\n", names[i], lengths[i], hashes[i]);
    printf("};\n");
    return 0;
}

static int print_table(void)
{
    _cleanup_buf_ struct buf table = {0};
    seccomp_describe(&table);
    if (buf_failed(&table))
        return 1;
    printf("%s", buf_text(&table));
    return 0;
}

int main(int argc, char **argv)
{
    int r = 2;
    if (argc == 2 && strcmp(argv[1], "filters") == 0)
        r = print_filters();
    else if (argc == 2 && strcmp(argv[1], "table") == 0)
        r = print_table();
    else
        fprintf(stderr, "usage: seccomp_gen filters|table\n");
    if (fflush(stdout) != 0 || ferror(stdout))
        return 1;
    return r;
}
