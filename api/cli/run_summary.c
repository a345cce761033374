/* This file tells a person, in one line each, what was denied to the command and which option
 * changes it; it never tells what the command did by itself.
 */
#include "api/cli/run.h"

#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(line, sizeof line - 1, format, ap);
    va_end(ap);
    if (n < 0)
        return;
    size_t length = (size_t)n < sizeof line - 1 ? (size_t)n : sizeof line - 2;
    line[length++] = '\n';
    /* Who closed stderr does not want to know. */
    (void)io_write_full(STDERR_FILENO, line, length);
}

void run_summary_start(const struct run *run)
{
    if (run->options.quiet)
        return;
    const char *line = buf_text(&run->dropped);
    while (*line) {
        size_t length = strcspn(line, "\n");
        say("berth: note: %.*s", (int)length, line);
        line += length + (line[length] == '\n');
    }
    const struct err *kept = runtime_kept(run->runtime);
    char text[1024];
    if (!kept)
        return;
    err_format(kept, text, sizeof text);
    say("berth: note: not all of an earlier session could be cleaned up: %s", text);
}

void run_summary_published(struct run *run, struct session *session)
{
    run_network_published(run, session, say);
}

/* The sum is what the kernel enforces: files in /tmp count too. */
static void say_memory(const struct run *run)
{
    const struct spec_limits *limits = &run->spec->limits;
    uint32_t kills = run->outcome.exit.oom_kills;
    char memory[32], scratch[32];
    units_format_size(limits->memory_bytes, memory, sizeof memory);
    units_format_size(limits->scratch_bytes, scratch, sizeof scratch);
    if (limits->memory_bytes)
        say("berth: note: out of memory: %u process%s killed. The limit is limits.memory %s plus "
            "scratch %s; raise it with --memory or --scratch.",
            kills, kills == 1 ? " was" : "es were", memory, scratch);
    else
        say("berth: note: out of memory: the host killed %u process%s of the session.", kills,
            kills == 1 ? "" : "es");
}

/* The preset's number is the limit as well as one that was asked for. */
static void say_scratch(const struct run *run)
{
    const struct spec_limits *limits = &run->spec->limits;
    uint32_t full = run->outcome.exit.scratch_full;
    char size[32];
    units_format_size(limits->scratch_bytes, size, sizeof size);
    if (full & AGENT_FULL_BYTES)
        say("berth: note: the scratch (everything outside the workspace) is full: "
            "filesystem.scratch %s. Raise it with --scratch.",
            size);
    if (full & AGENT_FULL_INODES)
        say("berth: note: the scratch (everything outside the workspace) holds no more files: "
            "filesystem.scratch_inodes %llu. Raise it in a policy file.",
            (unsigned long long)limits->scratch_inodes);
}

static void say_reason(const struct run *run)
{
    char time[32];
    switch (run->outcome.reason) {
    case AGENT_REASON_TIMEOUT:
        units_format_duration(run->spec->limits.exec_timeout_ms, time, sizeof time);
        say("berth: note: ended after %s: limits.exec_timeout. Change it with --timeout.", time);
        return;
    case AGENT_REASON_IDLE_TIMEOUT:
        units_format_duration(run->options.idle_timeout_ms, time, sizeof time);
        say("berth: note: ended after %s without output. Change it with --idle-timeout.", time);
        return;
    case AGENT_REASON_CANCELLED:
        if (run->outcome.parent_died)
            say("berth: note: ended with the process that started berth. Change it with "
                "--die-with-parent never.");
        return;
    default:
        return;
    }
}

/* What every start would say stays in the record: a default path whose parent is not there. */
static const char *const quiet_notes[] = {"protect.missing_parent"};

bool cli_note_matters(const char *key)
{
    for (size_t i = 0; i < sizeof quiet_notes / sizeof quiet_notes[0]; i++)
        if (strcmp(key, quiet_notes[i]) == 0)
            return false;
    return true;
}

void run_summary_end(const struct run *run)
{
    if (run->options.quiet)
        return;
    if (run->outcome.exit.oom_kills || run->outcome.reason == AGENT_REASON_OOM)
        say_memory(run);
    if (run->outcome.exit.pids_denied)
        say("berth: note: %llu new process%s refused: limits.pids %llu. Raise it with --pids.",
            (unsigned long long)run->outcome.exit.pids_denied,
            run->outcome.exit.pids_denied == 1 ? " was" : "es were",
            (unsigned long long)run->spec->limits.pids);
    say_scratch(run);
    say_reason(run);
    run_network_summary(run, say);
    run_denied_summary(run, say);
    for (unsigned i = 0; i < run->note_count; i++)
        if (cli_note_matters(run->notes[i].key))
            say("berth: note: %s", run->notes[i].text);
}
