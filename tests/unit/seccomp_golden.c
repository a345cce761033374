/* This file holds the seccomp filters against golden tables by simulation (attack row 21): every
 * number from 0 to 600, the x32 numbers, other architectures, and classes of arguments; and shows
 * by mutation that dropping any row, clause or condition would change a table. It loads no filter.
 *
 * A changed table is written with BERTH_GOLDEN_WRITE=1 (the test fails all the same), and then
 * read by a person, line by line.
 */
#include "runtime/base/buf.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/plan/seccomp.h"
#include "runtime/plan/seccomp_build.h"
#include "tests/unit/seccomp_samples.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS = 601, HIGH_PROFILE = SPEC_SECCOMP_DEBUG, LAYERS = 5 };

struct program {
    struct sock_filter code[BPF_MAXINSNS];
    uint32_t length;
};

/* Layers by the number of their profile; the base layers are beyond. */
static const struct {
    const char *name;
    uint32_t profile; /* 0: base */
    bool shared_uid;
} layers[LAYERS] = {
    {"default", SPEC_SECCOMP_DEFAULT, false},
    {"strict", SPEC_SECCOMP_STRICT, false},
    {"debug", SPEC_SECCOMP_DEBUG, false},
    {"base", 0, false},
    {"base-shared-uid", 0, true},
};

static uint32_t run(const struct program *p, uint32_t arch, uint32_t number, const uint64_t *args)
{
    struct seccomp_data data = {.nr = (int)number, .arch = arch, .instruction_pointer = 0x1234};
    if (args)
        memcpy(data.args, args, sizeof(data.args));
    return seccomp_simulate(p->code, p->length, &data);
}

static const char *word(uint32_t action)
{
    if (action == SECCOMP_RET_ALLOW)
        return "allow";
    if (action == SECCOMP_RET_ERRNO)
        return "pretended";
    if ((action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO)
        return strerrorname_np((int)(action & SECCOMP_RET_DATA));
    return "WRONG";
}

/* The kernel drops the high half of these arguments, so a filter must not see it; but of a pointer,
 * which is the new limit of prlimit64 and nothing else that is judged. */
static uint32_t judge(const struct program *p, uint32_t number, const uint64_t *args)
{
    uint64_t high[6];
    uint32_t action = run(p, AUDIT_ARCH_X86_64, number, args);
    for (size_t i = 0; i < ARRAY_LENGTH(high); i++)
        high[i] = number == 302 && i == 2 ? args[i] : args[i] | 0xffffffff00000000u;
    cr_assert_eq(run(p, AUDIT_ARCH_X86_64, number, high), action,
                 "call %u is judged by the high half of an argument", number);
    return action;
}

static void dump_sockets(const struct program *p, struct buf *out)
{
    static const uint16_t types[] = {1, 2, 3, 4, 5, 6, 10, 15};
    static const uint16_t protocols[] = {0, 1, 2, 4, 6, 9, 15, 16, 17, 33, 58, 132, 136, 255, 262};
    for (uint32_t domain = 0; domain < 48; domain++)
        for (size_t t = 0; t < ARRAY_LENGTH(types); t++) {
            uint32_t before = 0;
            buf_printf(out, "    socket domain %u type %u:", domain, types[t]);
            for (size_t i = 0; i < ARRAY_LENGTH(protocols); i++) {
                uint64_t args[6] = {domain, types[t] | 02004000u, protocols[i]};
                uint32_t action = judge(p, 41, args);
                args[1] = types[t]; /* SOCK_NONBLOCK|SOCK_CLOEXEC change nothing */
                cr_assert_eq(judge(p, 41, args), action);
                if (i == 0 || action != before)
                    buf_printf(out, "%s %s for protocol", i ? ";" : "", word(action));
                buf_printf(out, " %u", protocols[i]);
                before = action;
            }
            buf_putc(out, '\n');
        }
}

static void dump_prctl(const struct program *p, struct buf *out)
{
    static const uint32_t large[] = {0x53564d41, 0x59616d61, 0x41555856, 0x41555857, 0xffffffff};
    for (uint32_t i = 0; i < 90 + ARRAY_LENGTH(large); i++) {
        uint64_t args[6] = {i < 90 ? i : large[i - 90]};
        buf_printf(out, "    prctl %#x: %s\n", (uint32_t)args[0], word(judge(p, 157, args)));
    }
}

/* Does the answer depend on arguments at all? One bit set at a time, in each argument. */
static bool constant(const struct program *p, uint32_t number)
{
    uint64_t args[6] = {0};
    uint32_t action = run(p, AUDIT_ARCH_X86_64, number, args);
    for (size_t i = 0; i < ARRAY_LENGTH(args); i++)
        for (unsigned bit = 0; bit < 64; bit++) {
            memset(args, 0, sizeof(args));
            args[i] = (uint64_t)1 << bit;
            if (run(p, AUDIT_ARCH_X86_64, number, args) != action)
                return false;
        }
    memset(args, 0xff, sizeof(args));
    return run(p, AUDIT_ARCH_X86_64, number, args) == action;
}

static bool has_samples(uint32_t number)
{
    for (size_t i = 0; i < ARRAY_LENGTH(samples); i++)
        if (samples[i].number == number)
            return true;
    return number == 41 || number == 157;
}

static void dump_call(const struct program *p, uint32_t number, struct buf *out)
{
    const char *name = seccomp_call_name((int)number);
    bool sampled = has_samples(number);
    bool fixed = !sampled && constant(p, number);
    uint32_t action = run(p, AUDIT_ARCH_X86_64, number, NULL);
    buf_printf(out, "%u %s: %s\n", number, name ? name : "-",
               fixed     ? word(action)
               : sampled ? "by its arguments"
                         : "DEPENDS ON ARGUMENTS");
    for (size_t i = 0; sampled && i < ARRAY_LENGTH(samples); i++)
        if (samples[i].number == number)
            buf_printf(out, "    %s: %s\n", samples[i].label,
                       word(judge(p, number, samples[i].args)));
    if (number == 41)
        dump_sockets(p, out);
    if (number == 157)
        dump_prctl(p, out);
}

/* One line for 0..600 under an architecture with some bits added, when the answer is one. */
static void dump_foreign(const struct program *p, const char *label, uint32_t arch, uint32_t bits,
                         struct buf *out)
{
    uint32_t action = run(p, arch, bits, NULL);
    bool one = true;
    for (uint32_t n = 0; n < NUMBERS; n++)
        one = one && run(p, arch, n | bits, NULL) == action;
    buf_printf(out, "%s, 0 to 600: %s\n", label, one ? word(action) : "NOT ONE ANSWER");
}

static void dump(const struct program *p, struct buf *out)
{
    for (uint32_t n = 0; n < NUMBERS; n++)
        dump_call(p, n, out);
    dump_foreign(p, "x32", AUDIT_ARCH_X86_64, 0x40000000u, out);
    dump_foreign(p, "negative", AUDIT_ARCH_X86_64, 0xfffffc00u, out);
    dump_foreign(p, "i386", AUDIT_ARCH_I386, 0, out);
    dump_foreign(p, "arm", AUDIT_ARCH_ARM, 0, out);
    dump_foreign(p, "aarch64", AUDIT_ARCH_AARCH64, 0, out);
    dump_foreign(p, "architecture 0", 0, 0, out);
}

/* ---- golden ---------------------------------------------------------------------------------- */

static void load_layer(int layer, struct program *ret)
{
    struct seccomp_program p;
    struct err err = {0};
    int r = layers[layer].profile ? seccomp_exec(layers[layer].profile, NULL, 0, &p, &err)
                                  : seccomp_base(layers[layer].shared_uid, &p, &err);
    cr_assert_eq(r, 0, "%s", err.detail);
    memcpy(ret->code, p.code, p.length * sizeof(p.code[0]));
    ret->length = p.length;
    seccomp_program_fini(&p);
}

static void report_difference(const char *layer, const char *want, const char *have)
{
    for (unsigned line = 1; *want || *have; line++) {
        int want_length = (int)strcspn(want, "\n"), have_length = (int)strcspn(have, "\n");
        if (want_length != have_length || memcmp(want, have, (size_t)want_length) != 0) {
            cr_assert(false, "seccomp-%s.txt:%u: golden \"%.*s\", filter \"%.*s\"", layer, line,
                      want_length, want, have_length, have);
        }
        want += want_length + (want[want_length] == '\n');
        have += have_length + (have[have_length] == '\n');
    }
}

static void compare(int layer)
{
    static struct program p;
    _cleanup_buf_ struct buf out = {0};
    _cleanup_free_ char *golden = NULL;
    char path[128];
    size_t length = 0;

    load_layer(layer, &p);
    dump(&p, &out);
    cr_assert_not(buf_failed(&out));
    snprintf(path, sizeof(path), "tests/unit/golden/seccomp-%s.txt", layers[layer].name);
    if (getenv("BERTH_GOLDEN_WRITE")) {
        _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        cr_assert_eq(io_write_full(fd, buf_text(&out), out.length), 0);
        cr_assert(false, "%s is written anew: read it", path);
    }
    cr_assert_eq(io_read_file(AT_FDCWD, path, 1 << 20, &golden, &length), 0, "read %s", path);
    report_difference(layers[layer].name, golden, buf_text(&out));
}

Test(seccomp_golden, the_default_profile_answers_as_its_table_says)
{
    compare(0);
}

Test(seccomp_golden, the_strict_profile_answers_as_its_table_says)
{
    compare(1);
}

Test(seccomp_golden, the_debug_profile_answers_as_its_table_says)
{
    compare(2);
}

Test(seccomp_golden, the_base_layer_answers_as_its_table_says)
{
    compare(3);
}

Test(seccomp_golden, the_base_layer_of_a_shared_uid_answers_as_its_table_says)
{
    compare(4);
}

/* ---- mutation -------------------------------------------------------------------------------- */

/* The layer's verdicts as the builder makes them; proven equal below. */
static void collect(int layer, struct seccomp_verdict *verdicts)
{
    size_t count;
    memset(verdicts, 0, SECCOMP_NUMBER_END * sizeof(*verdicts));
    if (layers[layer].profile == 0) {
        const struct seccomp_base_range *ranges = seccomp_base_ranges(&count);
        for (size_t i = 0; i < count; i++)
            for (uint32_t n = ranges[i].first; n <= ranges[i].last; n++)
                verdicts[n].answer = ranges[i].answer;
        const struct seccomp_rule *rules = seccomp_shared_uid_rules(&count);
        for (size_t i = 0; layers[layer].shared_uid && i < count; i++)
            verdicts[rules[i].number].rule = &rules[i];
        return;
    }
    for (uint32_t n = 0; n < SECCOMP_NUMBER_END; n++)
        verdicts[n].answer = ENOSYS;
    const struct seccomp_call *calls = seccomp_table(&count);
    for (size_t i = 0; i < count; i++)
        verdicts[calls[i].number] = (struct seccomp_verdict){
            .answer = (uint16_t)seccomp_class_answer(
                calls[i].class, (enum spec_seccomp_profile)layers[layer].profile),
            .rule = calls[i].class == CALL_CHECK ? seccomp_rule_by_number(calls[i].number) : NULL};
}

static void emit(int layer, const struct seccomp_verdict *verdicts, struct program *ret)
{
    cr_assert_eq(seccomp_emit(verdicts, layers[layer].profile ? ENOSYS : 0, layers[layer].profile,
                              ret->code, BPF_MAXINSNS, &ret->length),
                 0);
}

/* Only the mutated call is printed: a whole table for each mutant would take minutes. */
static bool changes(int layer, const struct seccomp_verdict *verdicts, uint32_t number,
                    const char *original)
{
    static struct program p;
    _cleanup_buf_ struct buf out = {0};
    emit(layer, verdicts, &p);
    dump_call(&p, number, &out);
    return strcmp(buf_text(&out), original) != 0;
}

static void mutate_rule(int layer, struct seccomp_verdict *verdicts, uint32_t number,
                        const char *original)
{
    const struct seccomp_rule *rule = verdicts[number].rule;
    uint8_t profile_bit = (uint8_t)(1u << layers[layer].profile);
    struct seccomp_rule mutant = *rule;
    for (size_t i = 0; i < rule->clause_count; i++) {
        struct seccomp_clause clauses[40];
        cr_assert_leq(rule->clause_count, ARRAY_LENGTH(clauses));
        if (rule->clauses[i].profiles != IN_ALL && !(rule->clauses[i].profiles & profile_bit))
            continue;
        mutant.clauses = clauses;
        verdicts[number].rule = &mutant;

        memcpy(clauses, rule->clauses, rule->clause_count * sizeof(clauses[0]));
        clauses[i].profiles = 1u << 7; /* in no profile: the clause is dropped */
        cr_expect(changes(layer, verdicts, number, original), "%s: clause %zu of call %u is idle",
                  layers[layer].name, i, number);

        for (size_t c = 0; c < SECCOMP_CONDITIONS_MAX && rule->clauses[i].when[c].test; c++) {
            clauses[i] = rule->clauses[i];
            for (size_t k = c; k < SECCOMP_CONDITIONS_MAX; k++)
                clauses[i].when[k] = k + 1 < SECCOMP_CONDITIONS_MAX ? rule->clauses[i].when[k + 1]
                                                                    : (struct seccomp_condition){0};
            cr_expect(changes(layer, verdicts, number, original),
                      "%s: condition %zu of clause %zu of call %u is idle", layers[layer].name, c,
                      i, number);
        }
    }
    verdicts[number].rule = rule;
}

static void mutate(int layer)
{
    static struct seccomp_verdict verdicts[SECCOMP_NUMBER_END];
    static struct program real, built;
    load_layer(layer, &real);
    collect(layer, verdicts);
    emit(layer, verdicts, &built);
    cr_assert_eq(real.length, built.length);
    cr_assert_arr_eq(real.code, built.code, real.length * sizeof(real.code[0]));

    for (uint32_t n = 0; n < SECCOMP_NUMBER_END; n++) {
        struct seccomp_verdict keep = verdicts[n];
        _cleanup_buf_ struct buf original = {0};
        dump_call(&real, n, &original);
        verdicts[n] = (struct seccomp_verdict){.answer = keep.rule || keep.answer ? 0 : EPERM};
        cr_expect(changes(layer, verdicts, n, buf_text(&original)), "%s: call %u is not seen",
                  layers[layer].name, n);
        verdicts[n] = keep;
        if (keep.rule)
            mutate_rule(layer, verdicts, n, buf_text(&original));
    }
}

Test(seccomp_mutation, every_row_clause_and_condition_of_default_is_seen_by_its_table)
{
    mutate(0);
}

Test(seccomp_mutation, every_row_clause_and_condition_of_strict_is_seen_by_its_table)
{
    mutate(1);
}

Test(seccomp_mutation, every_row_clause_and_condition_of_debug_is_seen_by_its_table)
{
    mutate(2);
}

Test(seccomp_mutation, every_range_and_clause_of_the_base_layers_is_seen_by_its_table)
{
    mutate(3);
    mutate(4);
}
