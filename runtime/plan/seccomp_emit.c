/* This file writes classic BPF for seccomp: a binary search over ranges of call numbers whose
 * leaves are answers or checks of arguments; it never loads it.
 *
 * Jumps of classic BPF go forward only, and conditional ones at most 255 instructions. So the
 * program is written from its end: what a jump goes to is then always there already, its distance
 * known, and an answer that is too far is simply written again, nearer. At the end the array is
 * turned round. A label is the number of instructions from the end.
 */
#include "runtime/plan/seccomp_emit.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>

enum {
    NEAR = 250, /* a conditional jump reaches 255; two trampolines may still come between */
    ANSWERS_MAX = 8,
    EXCEPTIONS_MAX = 2,
    RANGES_MAX = SECCOMP_NUMBER_END + 2,
};

struct emitter {
    struct sock_filter *code; /* reversed */
    uint32_t count, capacity;
    uint32_t profile;
    bool overflow;
    struct {
        uint32_t action, label;
    } answers[ANSWERS_MAX]; /* the nearest RET of each action */
    uint32_t answer_count;
};

struct range {
    uint32_t first;
    struct seccomp_verdict verdict;
};

struct leaf {
    struct seccomp_verdict verdict;
    struct range exceptions[EXCEPTIONS_MAX];
    uint32_t first, exception_count;
};

static uint32_t put(struct emitter *e, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
    if (e->count >= e->capacity) {
        e->overflow = true;
        return e->count;
    }
    e->code[e->count] = (struct sock_filter){.code = code, .jt = jt, .jf = jf, .k = k};
    return e->count++;
}

/* How many instructions lie between one written now and `label`. */
static uint32_t distance(const struct emitter *e, uint32_t label)
{
    return e->count - 1 - label;
}

static uint32_t near(struct emitter *e, uint32_t label)
{
    if (distance(e, label) <= NEAR)
        return label;
    return put(e, BPF_JMP | BPF_JA, distance(e, label), 0, 0);
}

static uint32_t jump(struct emitter *e, uint16_t test, uint32_t k, uint32_t yes, uint32_t no)
{
    yes = near(e, yes);
    no = near(e, no);
    return put(e, (uint16_t)(BPF_JMP | BPF_K | test), k, (uint8_t)distance(e, yes),
               (uint8_t)distance(e, no));
}

static uint32_t load(struct emitter *e, size_t offset)
{
    return put(e, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static uint32_t answer(struct emitter *e, uint16_t error)
{
    uint32_t action = error == SECCOMP_PRETEND ? SECCOMP_RET_ERRNO
                      : error                  ? SECCOMP_RET_ERRNO | error
                                               : SECCOMP_RET_ALLOW;
    uint32_t i = 0;
    while (i < e->answer_count && e->answers[i].action != action)
        i++;
    if (i < e->answer_count && distance(e, e->answers[i].label) < NEAR)
        return e->answers[i].label;
    if (i == ANSWERS_MAX) { /* more kinds of answers than the table of labels: just write it */
        return put(e, BPF_RET | BPF_K, action, 0, 0);
    }
    e->answers[i].action = action;
    e->answers[i].label = put(e, BPF_RET | BPF_K, action, 0, 0);
    if (i == e->answer_count)
        e->answer_count++;
    return e->answers[i].label;
}

/* ---- arguments ------------------------------------------------------------------------------- */

static bool applies(const struct emitter *e, const struct seccomp_clause *clause)
{
    return clause->profiles == IN_ALL || (clause->profiles & (1u << e->profile)) != 0;
}

/* The low half of argument n, or the high one: x86-64 is little-endian. */
static size_t argument_offset(uint8_t n)
{
    size_t high = n & SECCOMP_HIGH ? sizeof(uint32_t) : 0;
    return offsetof(struct seccomp_data, args) + (n & (SECCOMP_HIGH - 1u)) * sizeof(uint64_t) +
           high;
}

static bool masks(const struct seccomp_condition *c)
{
    return c->test == TEST_IS && c->mask != 0xffffffffu;
}

/* One condition, without the load of its argument. */
static uint32_t test_condition(struct emitter *e, const struct seccomp_condition *c, uint32_t yes,
                               uint32_t no)
{
    switch (c->test) {
    case TEST_HAS:
        return jump(e, BPF_JSET, c->mask, yes, no);
    case TEST_WITHIN:
        if (c->value != 0xffffffffu)
            yes = jump(e, BPF_JGT, c->value, no, yes);
        return c->mask ? jump(e, BPF_JGE, c->mask, yes, no) : yes;
    default:
        yes = jump(e, BPF_JEQ, c->value, yes, no);
        return masks(c) ? put(e, BPF_ALU | BPF_AND | BPF_K, c->mask, 0, 0) : yes;
    }
}

/* Which argument the accumulator holds unchanged wherever `clause` fails; -1 when that depends. */
static int held_after(const struct seccomp_clause *clause)
{
    int held = -1;
    for (int i = 0; i < SECCOMP_CONDITIONS_MAX && clause->when[i].test != TEST_NONE; i++) {
        if (masks(&clause->when[i]) || (i > 0 && clause->when[i].argument != held))
            return -1;
        held = clause->when[i].argument;
    }
    return held;
}

static uint32_t emit_clause(struct emitter *e, const struct seccomp_clause *clause, int held,
                            uint32_t otherwise)
{
    int count = 0;
    while (count < SECCOMP_CONDITIONS_MAX && clause->when[count].test != TEST_NONE)
        count++;
    uint32_t label = answer(e, clause->answer);
    for (int i = count - 1; i >= 0; i--) {
        const struct seccomp_condition *c = &clause->when[i];
        const struct seccomp_condition *before = i > 0 ? &clause->when[i - 1] : NULL;
        bool loaded =
            before ? before->argument == c->argument && !masks(before) : held == (int)c->argument;
        label = test_condition(e, c, label, otherwise);
        if (!loaded)
            label = load(e, argument_offset(c->argument));
    }
    return label;
}

static uint32_t emit_rule(struct emitter *e, const struct seccomp_rule *rule)
{
    uint32_t label = answer(e, rule->otherwise);
    for (int i = rule->clause_count - 1; i >= 0; i--) {
        if (!applies(e, &rule->clauses[i]))
            continue;
        int held = -1;
        for (int b = i - 1; b >= 0; b--)
            if (applies(e, &rule->clauses[b])) {
                held = held_after(&rule->clauses[b]);
                break;
            }
        label = emit_clause(e, &rule->clauses[i], held, label);
    }
    return label;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static bool same(struct seccomp_verdict a, struct seccomp_verdict b)
{
    return a.rule == b.rule && (a.rule || a.answer == b.answer);
}

static uint32_t emit_verdict(struct emitter *e, struct seccomp_verdict verdict)
{
    return verdict.rule ? emit_rule(e, verdict.rule) : answer(e, verdict.answer);
}

/* A leaf of the search: one range, but for a few single numbers in it that have their own. */
static uint32_t emit_leaf(struct emitter *e, const struct leaf *leaf)
{
    uint32_t label = emit_verdict(e, leaf->verdict);
    for (uint32_t i = leaf->exception_count; i > 0; i--) {
        uint32_t inside = emit_verdict(e, leaf->exceptions[i - 1].verdict);
        label = jump(e, BPF_JEQ, leaf->exceptions[i - 1].first, inside, label);
    }
    return label;
}

/* leaves[low..high], with the number in the accumulator. */
static uint32_t emit_search(struct emitter *e, const struct leaf *leaves, uint32_t low,
                            uint32_t high)
{
    if (low == high)
        return emit_leaf(e, &leaves[low]);
    uint32_t middle = low + (high - low + 1) / 2;
    uint32_t right = emit_search(e, leaves, middle, high);
    uint32_t left = emit_search(e, leaves, low, middle - 1);
    return jump(e, BPF_JGE, leaves[middle].first, right, left);
}

/* An exception costs one comparison where a range of its own costs two. */
static uint32_t make_leaves(const struct range *ranges, uint32_t count, struct leaf *ret_leaves)
{
    uint32_t leaves = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct leaf leaf = {.first = ranges[i].first, .verdict = ranges[i].verdict};
        while (leaf.exception_count < EXCEPTIONS_MAX && i + 2 < count &&
               ranges[i + 2].first == ranges[i + 1].first + 1 &&
               same(ranges[i + 2].verdict, leaf.verdict)) {
            leaf.exceptions[leaf.exception_count++] = ranges[i + 1];
            i += 2;
        }
        ret_leaves[leaves++] = leaf;
    }
    return leaves;
}

static uint32_t make_ranges(const struct seccomp_verdict *verdicts, uint16_t beyond,
                            struct range *ret_ranges)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n <= SECCOMP_NUMBER_END + 1; n++) {
        struct range r = {.first = n};
        if (n < SECCOMP_NUMBER_END)
            r.verdict = verdicts[n];
        else if (n == SECCOMP_NUMBER_END)
            r.verdict.answer = beyond;
        else
            r = (struct range){.first = SECCOMP_X32_BIT, .verdict = {.answer = ENOSYS}};
        if (count == 0 || !same(ret_ranges[count - 1].verdict, r.verdict))
            ret_ranges[count++] = r;
    }
    return count;
}

int seccomp_emit(const struct seccomp_verdict verdicts[SECCOMP_NUMBER_END], uint16_t beyond,
                 uint32_t profile, struct sock_filter *ret_code, uint32_t capacity,
                 uint32_t *ret_length)
{
    struct range ranges[RANGES_MAX] = {0};
    struct leaf leaves[RANGES_MAX] = {0};
    struct emitter e = {.code = ret_code, .capacity = capacity, .profile = profile};
    uint32_t range_count = make_ranges(verdicts, beyond, ranges);
    uint32_t count = make_leaves(ranges, range_count, leaves);

    uint32_t search = emit_search(&e, leaves, 0, count - 1);
    /* What stands directly before must fall through into the search. */
    if (!e.overflow && search != e.count - 1)
        put(&e, BPF_JMP | BPF_JA, distance(&e, search), 0, 0);
    uint32_t number = load(&e, offsetof(struct seccomp_data, nr));
    uint32_t foreign = answer(&e, ENOSYS);
    jump(&e, BPF_JEQ, AUDIT_ARCH_X86_64, number, foreign);
    load(&e, offsetof(struct seccomp_data, arch));
    if (e.overflow)
        return -E2BIG;

    for (uint32_t i = 0; i < e.count / 2; i++) {
        struct sock_filter swap = ret_code[i];
        ret_code[i] = ret_code[e.count - 1 - i];
        ret_code[e.count - 1 - i] = swap;
    }
    *ret_length = e.count;
    return 0;
}
