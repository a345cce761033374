/* This file is the timing driver of `make bench`: it runs two or more commands alternately, round
 * by round, so that what else the machine does falls on all of them alike, and prints percentiles
 * and the ratios of pairs. It never judges; tests/bench/run does.
 *
 *     paired [--rounds N] [--warmup N] [--parallel N] [--json FILE] [--title TEXT]
 *            NAME=COMMAND-LINE...
 *
 * A command line is split at spaces, no shell between. Time is the wall clock from before fork()
 * to the child's end. With --parallel N each round starts N of a command at once, and a sample is
 * the time until the last of them has ended; `each` in the JSON lines has the single ones.
 * A command that does not exit with 0 is a failure: it is counted, and its time is not used.
 *
 * The ratio of two commands is taken per round (a/b of the same round) and its median printed with
 * the quartiles: drift of the machine during a run falls out. The first command is the one
 * compared.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COMMANDS_MAX = 8, WORDS_MAX = 64, PARALLEL_MAX = 1024, ROUNDS_MAX = 100000 };

struct command {
    const char *name;
    char *words[WORDS_MAX + 1];
    double *sample_us; /* per round; negative when a run of the round failed */
    double *each_us;   /* rounds x parallel, only successes; `each_count` of them */
    size_t each_count;
    unsigned failures;
};

struct options {
    unsigned rounds, warmup, parallel;
    const char *json, *title;
};

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void die(const char *what)
{
    fprintf(stderr, "paired: %s: %s\n", what, strerror(errno));
    exit(2);
}

static pid_t start(const struct command *command)
{
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid > 0)
        return pid;
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
        _exit(126);
    /* Errors stay visible when asked for: a peer that cannot run here says why. */
    if (!getenv("PAIRED_STDERR") && dup2(null, 2) < 0)
        _exit(126);
    execvp(command->words[0], command->words);
    _exit(127);
}

/* One round of one command: its sample, or -1 when one of its runs failed. */
static double run_round(struct command *command, unsigned parallel, bool record)
{
    pid_t pids[PARALLEL_MAX];
    double begins[PARALLEL_MAX], begin = now_us(), end = begin;
    bool good = true;
    for (unsigned i = 0; i < parallel; i++) {
        begins[i] = now_us();
        pids[i] = start(command);
    }
    for (unsigned left = parallel; left > 0; left--) {
        int status;
        pid_t ended = waitpid(-1, &status, 0);
        if (ended < 0)
            die("waitpid");
        end = now_us();
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            command->failures += record;
            good = false;
            continue;
        }
        for (unsigned i = 0; record && i < parallel; i++)
            if (pids[i] == ended)
                command->each_us[command->each_count++] = end - begins[i];
    }
    return good ? end - begin : -1;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const double *sorted, size_t count, double part)
{
    if (count == 0)
        return 0;
    double at = part * (double)(count - 1);
    size_t below = (size_t)at;
    size_t above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}

static size_t successes(const struct command *command, unsigned rounds, double *ret)
{
    size_t count = 0;
    for (unsigned i = 0; i < rounds; i++)
        if (command->sample_us[i] >= 0)
            ret[count++] = command->sample_us[i];
    qsort(ret, count, sizeof *ret, ascending);
    return count;
}

static void report_command(const struct command *command, const struct options *options, FILE *json)
{
    double *sorted = calloc(options->rounds, sizeof *sorted);
    if (!sorted)
        die("memory");
    size_t count = successes(command, options->rounds, sorted);
    double p50 = percentile(sorted, count, 0.5), p95 = percentile(sorted, count, 0.95),
           p99 = percentile(sorted, count, 0.99);
    printf("  %-24s %10.0f %10.0f %10.0f %10.0f  %8u\n", command->name, count ? sorted[0] : 0, p50,
           p95, p99, command->failures);
    if (json) {
        fprintf(json,
                "{\"title\": \"%s\", \"command\": \"%s\", \"rounds\": %u, \"parallel\": %u, "
                "\"min_us\": %.0f, \"p50_us\": %.0f, \"p95_us\": %.0f, \"p99_us\": %.0f, "
                "\"failures\": %u",
                options->title, command->name, options->rounds, options->parallel,
                count ? sorted[0] : 0, p50, p95, p99, command->failures);
        if (options->parallel > 1) {
            qsort(command->each_us, command->each_count, sizeof(double), ascending);
            fprintf(json, ", \"each\": {\"p50_us\": %.0f, \"p95_us\": %.0f, \"p99_us\": %.0f}",
                    percentile(command->each_us, command->each_count, 0.5),
                    percentile(command->each_us, command->each_count, 0.95),
                    percentile(command->each_us, command->each_count, 0.99));
        }
        fprintf(json, "}\n");
    }
    free(sorted);
}

static void report_ratio(const struct command *a, const struct command *b,
                         const struct options *options, FILE *json)
{
    double *ratios = calloc(options->rounds, sizeof *ratios);
    if (!ratios)
        die("memory");
    size_t count = 0;
    for (unsigned i = 0; i < options->rounds; i++)
        if (a->sample_us[i] >= 0 && b->sample_us[i] > 0)
            ratios[count++] = a->sample_us[i] / b->sample_us[i];
    qsort(ratios, count, sizeof *ratios, ascending);
    if (count == 0) {
        printf("  %s / %s: no round in which both succeeded\n", a->name, b->name);
    } else {
        double p50 = percentile(ratios, count, 0.5), p25 = percentile(ratios, count, 0.25),
               p75 = percentile(ratios, count, 0.75);
        printf("  %s / %s: median of paired ratios %.3f (quartiles %.3f to %.3f, %zu pairs)\n",
               a->name, b->name, p50, p25, p75, count);
        if (json)
            fprintf(json,
                    "{\"title\": \"%s\", \"ratio\": \"%s/%s\", \"p50\": %.4f, \"p25\": %.4f, "
                    "\"p75\": %.4f, \"pairs\": %zu}\n",
                    options->title, a->name, b->name, p50, p25, p75, count);
    }
    free(ratios);
}

static void parse_command(char *text, const struct options *options, struct command *ret)
{
    char *equals = strchr(text, '='), *rest = NULL;
    if (!equals) {
        fprintf(stderr, "paired: '%s' is not NAME=COMMAND\n", text);
        exit(2);
    }
    *equals = 0;
    size_t count = 0;
    for (char *word = strtok_r(equals + 1, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        if (count == WORDS_MAX) {
            fprintf(stderr, "paired: %s has more than %d words\n", text, WORDS_MAX);
            exit(2);
        }
        ret->words[count++] = word;
    }
    ret->name = text;
    ret->sample_us = calloc(options->rounds, sizeof(double));
    ret->each_us = calloc((size_t)options->rounds * options->parallel, sizeof(double));
    if (!ret->sample_us || !ret->each_us)
        die("memory");
}

static unsigned parse_number(const char *text, unsigned min, unsigned max)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno || *end || end == text || value < min || value > max) {
        fprintf(stderr, "paired: '%s' is not a number from %u to %u\n", text, min, max);
        exit(2);
    }
    return (unsigned)value;
}

/* The kernel takes namespaces and cgroups of a command down while the next one runs. So the order
 * is another in each round: with a fixed one, also a rotated one, the same command would always pay
 * for the same other one. The sequence is the same in every run of this program. */
static void shuffle(struct command **order, size_t count)
{
    static uint32_t state = 2463534242u; /* xorshift32 */
    for (size_t i = count; i > 1; i--) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        size_t k = state % i;
        struct command *moved = order[i - 1];
        order[i - 1] = order[k];
        order[k] = moved;
    }
}

int main(int argc, char **argv)
{
    struct options options = {.rounds = 50, .warmup = 3, .parallel = 1, .title = "bench"};
    struct command commands[COMMANDS_MAX] = {0};
    size_t count = 0;
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--rounds") == 0)
            options.rounds = parse_number(argv[at + 1], 1, ROUNDS_MAX);
        else if (strcmp(argv[at], "--warmup") == 0)
            options.warmup = parse_number(argv[at + 1], 0, ROUNDS_MAX);
        else if (strcmp(argv[at], "--parallel") == 0)
            options.parallel = parse_number(argv[at + 1], 1, PARALLEL_MAX);
        else if (strcmp(argv[at], "--json") == 0)
            options.json = argv[at + 1];
        else if (strcmp(argv[at], "--title") == 0)
            options.title = argv[at + 1];
        else
            break;
    }
    for (; at < argc && count < COMMANDS_MAX; at++)
        parse_command(argv[at], &options, &commands[count++]);
    if (count == 0 || at < argc) {
        fprintf(stderr,
                "usage: paired [--rounds N] [--warmup N] [--parallel N] [--json FILE] "
                "[--title TEXT] NAME=COMMAND... (at most %d)\n",
                COMMANDS_MAX);
        return 2;
    }

    struct command *order[COMMANDS_MAX];
    for (size_t i = 0; i < count; i++)
        order[i] = &commands[i];
    for (unsigned round = 0; round < options.warmup; round++)
        for (size_t i = 0; i < count; i++)
            (void)run_round(&commands[i], options.parallel, false);
    for (unsigned round = 0; round < options.rounds; round++) {
        shuffle(order, count);
        for (size_t i = 0; i < count; i++)
            order[i]->sample_us[round] = run_round(order[i], options.parallel, true);
    }

    FILE *json = options.json ? fopen(options.json, "ae") : NULL;
    if (options.json && !json)
        die(options.json);
    printf("%s: %u rounds of %u, microseconds\n", options.title, options.rounds, options.parallel);
    printf("  %-24s %10s %10s %10s %10s  %8s\n", "", "min", "p50", "p95", "p99", "failures");
    unsigned failures = 0;
    for (size_t i = 0; i < count; i++) {
        report_command(&commands[i], &options, json);
        failures += commands[i].failures;
    }
    for (size_t i = 1; i < count; i++)
        report_ratio(&commands[0], &commands[i], &options, json);
    if (json && fclose(json) != 0)
        die(options.json);
    return failures ? 1 : 0;
}
