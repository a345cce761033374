/* This file interprets classic BPF over one system call as the kernel does for seccomp; it never
 * loads a filter. Whatever the kernel's checker would refuse (a jump out of the program, an unknown
 * instruction, a load that is unaligned or outside struct seccomp_data) answers
 * SECCOMP_RET_KILL_PROCESS, so that a broken filter never looks permissive.
 *
 * Source: kernel/seccomp.c, seccomp_check_filter(); net/core/filter.c, bpf_check_classic(). Pure.
 */
#include "runtime/plan/seccomp.h"

#include "runtime/base/fd.h"

#include <linux/seccomp.h>
#include <string.h>

struct machine {
    uint32_t a, x;
    uint32_t memory[BPF_MEMWORDS];
    uint32_t pc;
    bool broken;
};

static uint32_t load_data(struct machine *m, const struct seccomp_data *data, uint32_t offset)
{
    uint32_t word = 0;
    if (offset % sizeof(word) != 0 || offset > sizeof(*data) - sizeof(word)) {
        m->broken = true;
        return 0;
    }
    memcpy(&word, (const char *)data + offset, sizeof(word));
    return word;
}

static uint32_t load_memory(struct machine *m, uint32_t index)
{
    if (index >= BPF_MEMWORDS) {
        m->broken = true;
        return 0;
    }
    return m->memory[index];
}

static void store_memory(struct machine *m, uint32_t index, uint32_t value)
{
    if (index >= BPF_MEMWORDS)
        m->broken = true;
    else
        m->memory[index] = value;
}

static void run_arithmetic(struct machine *m, const struct sock_filter *f)
{
    uint32_t operand = BPF_SRC(f->code) == BPF_X ? m->x : f->k;
    switch (BPF_OP(f->code)) {
    case BPF_ADD:
        m->a += operand;
        break;
    case BPF_SUB:
        m->a -= operand;
        break;
    case BPF_MUL:
        m->a *= operand;
        break;
    case BPF_DIV:
        m->broken = operand == 0;
        m->a = operand ? m->a / operand : 0;
        break;
    case BPF_AND:
        m->a &= operand;
        break;
    case BPF_OR:
        m->a |= operand;
        break;
    case BPF_XOR:
        m->a ^= operand;
        break;
    case BPF_LSH:
        m->a = operand < 32 ? m->a << operand : 0;
        break;
    case BPF_RSH:
        m->a = operand < 32 ? m->a >> operand : 0;
        break;
    case BPF_NEG:
        m->a = 0 - m->a;
        break;
    default:
        m->broken = true;
    }
}

static void run_jump(struct machine *m, const struct sock_filter *f)
{
    uint32_t operand = BPF_SRC(f->code) == BPF_X ? m->x : f->k;
    bool taken = false;
    switch (BPF_OP(f->code)) {
    case BPF_JA:
        m->broken = f->k > BPF_MAXINSNS;
        m->pc += f->k;
        return;
    case BPF_JEQ:
        taken = m->a == operand;
        break;
    case BPF_JGT:
        taken = m->a > operand;
        break;
    case BPF_JGE:
        taken = m->a >= operand;
        break;
    case BPF_JSET:
        taken = (m->a & operand) != 0;
        break;
    default:
        m->broken = true;
    }
    m->pc += taken ? f->jt : f->jf;
}

/* Loads, stores and moves. */
static void run_move(struct machine *m, const struct sock_filter *f,
                     const struct seccomp_data *data)
{
    switch (f->code) {
    case BPF_LD | BPF_W | BPF_ABS:
        m->a = load_data(m, data, f->k);
        break;
    case BPF_LD | BPF_W | BPF_LEN:
        m->a = sizeof(*data);
        break;
    case BPF_LDX | BPF_W | BPF_LEN:
        m->x = sizeof(*data);
        break;
    case BPF_LD | BPF_IMM:
        m->a = f->k;
        break;
    case BPF_LDX | BPF_IMM:
        m->x = f->k;
        break;
    case BPF_LD | BPF_MEM:
        m->a = load_memory(m, f->k);
        break;
    case BPF_LDX | BPF_MEM:
        m->x = load_memory(m, f->k);
        break;
    case BPF_ST:
        store_memory(m, f->k, m->a);
        break;
    case BPF_STX:
        store_memory(m, f->k, m->x);
        break;
    case BPF_MISC | BPF_TAX:
        m->x = m->a;
        break;
    case BPF_MISC | BPF_TXA:
        m->a = m->x;
        break;
    default:
        m->broken = true;
    }
}

uint32_t seccomp_simulate(const struct sock_filter *code, uint32_t length,
                          const struct seccomp_data *data)
{
    struct machine m = {0};
    while (!m.broken && m.pc < length && length <= BPF_MAXINSNS) {
        const struct sock_filter *f = &code[m.pc++];
        if (f->code == (BPF_RET | BPF_K))
            return f->k;
        if (f->code == (BPF_RET | BPF_A))
            return m.a;
        if (BPF_CLASS(f->code) == BPF_ALU)
            run_arithmetic(&m, f);
        else if (BPF_CLASS(f->code) == BPF_JMP)
            run_jump(&m, f);
        else
            run_move(&m, f, data);
    }
    return SECCOMP_RET_KILL_PROCESS;
}
