/* This file tells which system calls the filter refused, and what would allow them; it never asks
 * init: what init said last is what is told, and it is a hostile peer's word. Commands' names are
 * escaped.
 */
#include "api/cli/run.h"
#include "api/cli/verb.h"
#include "policy/policy.h"

#include <linux/audit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_MOST = 24 };

static bool same(const struct agent_denied *a, const struct agent_denied *b)
{
    return a->number == b->number && a->arch == b->arch && a->sys == b->sys &&
           a->flags == b->flags && a->argument == b->argument && a->value == b->value &&
           strcmp(a->command, b->command) == 0;
}

void run_denied_take(struct run *run, const struct agent_denied *denied)
{
    struct run_denied *all = run->denied;
    unsigned at = 0;
    if (!all)
        return;
    if (denied->flags & AGENT_DENIED_OTHER) {
        all->more = denied->count;
        return;
    }
    while (at < all->count && !same(&all->rows[at], denied))
        at++;
    if (at == RUN_DENIED_MAX)
        return; /* init has fewer rows: one that says more is not believed */
    all->count += at == all->count;
    all->rows[at] = *denied;
}

static struct policy_denied_words words_of(const struct run *run, const struct agent_denied *row)
{
    const struct policy_denied_call call = {
        .number = row->number, .arch = row->arch, .sys = row->sys};
    struct policy_denied_words words;
    policy_denied_call(run->spec, &call, &words);
    return words;
}

static void say_row(const struct run *run, const struct agent_denied *row,
                    void (*say)(const char *format, ...))
{
    struct policy_denied_words words = words_of(run, row);
    _cleanup_buf_ struct buf who = {0};
    char argument[48] = "", times[40] = "once";
    table_clean(&who, row->command, strlen(row->command));
    if (row->flags & AGENT_DENIED_ARGUMENT)
        snprintf(argument, sizeof argument, " with %#x as argument %u", row->value,
                 row->argument + 1);
    if (row->count > 1)
        snprintf(times, sizeof times, "%llu times", (unsigned long long)row->count);
    say("berth: note: denied: %s%s, %s by \"%s\" (%s). %s%s", words.call, argument, times,
        buf_text(&who), words.error, words.line[0] ? "Allow it with: " : "No policy allows it: ",
        words.line[0] ? words.line : words.why);
}

/* What was refused most first: the order of calls says little. */
static int by_count(const void *a, const void *b)
{
    const struct agent_denied *left = a, *right = b;
    return left->count < right->count ? 1 : left->count > right->count ? -1 : 0;
}

void run_denied_summary(const struct run *run, void (*say)(const char *format, ...))
{
    struct run_denied *all = run->denied;
    uint64_t rest = all ? all->more : 0;
    if (!all)
        return;
    qsort(all->rows, all->count, sizeof all->rows[0], by_count);
    for (unsigned i = 0; i < all->count; i++)
        if (i < LINES_MOST)
            say_row(run, &all->rows[i], say);
        else
            rest += all->rows[i].count;
    if (rest)
        say("berth: note: denied: %llu more calls of other kinds; --json lists up to 63 kinds.",
            (unsigned long long)rest);
}

static void record_row(const struct run *run, const struct agent_denied *row, struct buf *out)
{
    struct policy_denied_words words = words_of(run, row);
    buf_puts(out, "{\"event\":\"syscall.denied\",\"call\":");
    buf_json_string(out, words.call);
    buf_printf(out, ",\"number\":%d,\"arch\":\"%s\",\"error\":\"%s\"", row->number,
               row->arch == AUDIT_ARCH_X86_64 ? "x86_64"
               : row->arch == AUDIT_ARCH_I386 ? "i386"
                                              : "other",
               words.error);
    if (row->flags & AGENT_DENIED_ARGUMENT)
        buf_printf(out, ",\"argument\":%u,\"value\":%u", row->argument, row->value);
    else
        buf_puts(out, ",\"argument\":null,\"value\":null");
    buf_puts(out, ",\"command\":");
    buf_json_string(out, row->command);
    buf_printf(out,
               ",\"count\":%llu,\"exec_id\":\"%d\",\"reason\":", (unsigned long long)row->count,
               RUN_EXEC);
    buf_json_string(out, words.why);
    buf_puts(out, ",\"line_to_add\":");
    if (words.line[0])
        buf_json_string(out, words.line);
    else
        buf_puts(out, "null");
    buf_putc(out, '}');
}

void run_denied_record(const struct run *run, struct buf *out)
{
    if (!run->denied) {
        buf_puts(out, ",\"syscalls\":null");
        return;
    }
    buf_puts(out, ",\"syscalls\":{\"events\":[");
    for (unsigned i = 0; i < run->denied->count; i++) {
        if (i)
            buf_putc(out, ',');
        record_row(run, &run->denied->rows[i], out);
    }
    buf_printf(out, "],\"more\":%llu}", (unsigned long long)run->denied->more);
}
