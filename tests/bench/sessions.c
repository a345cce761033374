/* This file measures sessions that last, through the unix socket of a `berth serve` of its own: one
 * line for each number, percentiles, and whether its goal is met; it never touches a session that
 * it did not make.
 *
 *     sessions --berth PROGRAM --directory DIR [--json FILE] [--rounds N] [--live N] [--creates N]
 *              [--parked N] [--only PHASE,...]
 *
 * Phases, in this order: one (a session at a time, beside one that lives), output, many (creates in
 * waves of a hundred, memory, then `one` again beside all of these), recovery, parked. DIR is new
 * and empty, and on the file system whose fsync counts. Exit status 1: a goal was missed.
 *
 * This file is long because the phases share one service and what they have measured: a reader
 * wants to see in one place what each number is of.
 */
#include "tests/bench/client.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define SESSIONS "/v1/workspaces/local/sessions"

enum { CONNECTIONS = 100, TEXT_MAX = 512, SAMPLES_MAX = 100000 };

static struct {
    const char *only;
    unsigned rounds, live, creates, parked;
    FILE *json;
    struct serve serve;
    double fsync_us;
    unsigned missed, made; /* made: sessions "b0" to "b<made - 1>" are there */
} bench = {.rounds = 100, .live = 1000, .creates = 1000, .parked = 10000};

struct series {
    const char *name;
    double *us;
    size_t count;
    unsigned failures;
};

/* ---- what is told -----------------------------------------------------------------------------
 */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const struct series *s, double part)
{
    return s->count ? s->us[(size_t)(part * (double)(s->count - 1) + 0.5)] : 0;
}

static struct series series_new(const char *name)
{
    struct series s = {.name = name, .us = malloc(SAMPLES_MAX * sizeof(double))};
    if (!s.us)
        die("memory");
    return s;
}

static void add(struct series *s, double us, bool good)
{
    if (!good)
        s->failures++;
    else if (s->count < SAMPLES_MAX)
        s->us[s->count++] = us;
}

static void tell(struct series *s, unsigned live)
{
    qsort(s->us, s->count, sizeof *s->us, ascending);
    double p50 = percentile(s, 0.5) / 1e3, p95 = percentile(s, 0.95) / 1e3,
           p99 = percentile(s, 0.99) / 1e3;
    printf("  %-28s live %5u  n %6zu  p50 %8.3f  p95 %8.3f  p99 %8.3f ms  failures %u\n", s->name,
           live, s->count, p50, p95, p99, s->failures);
    fflush(stdout);
    if (bench.json)
        fprintf(bench.json,
                "{\"title\": \"sessions\", \"number\": \"%s\", \"live\": %u, \"runs\": %zu, "
                "\"p50_us\": %.0f, \"p95_us\": %.0f, \"p99_us\": %.0f, \"failures\": %u}\n",
                s->name, live, s->count, p50 * 1e3, p95 * 1e3, p99 * 1e3, s->failures);
}

static void goal(const char *text, double value, double limit, const char *unit, bool at_least)
{
    bool met = at_least ? value >= limit : value <= limit;
    bench.missed += !met;
    printf("%s %s: %.3f %s (at %s %.3f)\n", met ? "met:    " : "MISSED: ", text, value, unit,
           at_least ? "least" : "most", limit);
    fflush(stdout);
    if (bench.json)
        fprintf(bench.json,
                "{\"title\": \"sessions\", \"goal\": \"%s\", \"value\": %.3f, \"limit\": %.3f, "
                "\"unit\": \"%s\", \"met\": %s}\n",
                text, value, limit, unit, met ? "true" : "false");
}

static void goal_of(const char *text, const struct series *s, double part, double limit_ms)
{
    goal(text, percentile(s, part) / 1e3, limit_ms, "ms", false);
    if (s->failures)
        goal("failures of it", s->failures, 0, "failures", false);
}

/* ---- one session at a time --------------------------------------------------------------------
 */

struct lives {
    struct series create, exec, park, resume, destroy_live, destroy;
};

static void step(struct client *c, struct series *s, const char *method, const char *path,
                 const char *body, int status, const char *says)
{
    double begin = now_us();
    int got = client_ask(c, method, path, body);
    double end = now_us();
    bool good = got == status && client_said(c, says);
    if (!good && s->failures == 0)
        printf("  %s failed: %d %.600s\n", s->name, got, got > 0 ? c->text : "no answer");
    if (got < 0)
        die("berth closed the connection");
    add(s, end - begin, good);
}

/* A whole life; every second one is destroyed while it runs. DELETE's answer may still say
 * "destroying": processes are dead then and what is to be removed is durable. */
static void live_once(struct client *c, struct lives *lives, const char *id, bool parked)
{
    char path[TEXT_MAX], body[TEXT_MAX];
    snprintf(body, sizeof body, "{\"session_id\": \"%s\"}", id);
    step(c, &lives->create, "POST", SESSIONS, body, 201, "\"running\"");
    snprintf(path, sizeof path, SESSIONS "/%s/execs?wait_ms=10000", id);
    for (int i = 0; i < 4; i++)
        step(c, &lives->exec, "POST", path, "{\"argv\": [\"/bin/true\"]}", 201, "\"exit_code\":0");
    snprintf(path, sizeof path, SESSIONS "/%s/park", id);
    step(c, &lives->park, "POST", path, "{}", 200, "\"parked\"");
    snprintf(path, sizeof path, SESSIONS "/%s/resume", id);
    step(c, &lives->resume, "POST", path, "{}", 200, "\"running\"");
    if (parked) {
        snprintf(path, sizeof path, SESSIONS "/%s/park", id);
        step(c, &lives->park, "POST", path, "{}", 200, "\"parked\"");
    }
    snprintf(path, sizeof path, SESSIONS "/%s?delete_volume=true", id);
    step(c, parked ? &lives->destroy : &lives->destroy_live, "DELETE", path, NULL, 200,
         "\"destroy");
}

static struct lives measure_lives(const char *prefix, unsigned live)
{
    struct lives lives = {
        series_new("create"), series_new("exec true"),        series_new("park"),
        series_new("resume"), series_new("destroy, running"), series_new("destroy, parked")};
    struct client c;
    char id[64];
    client_open(&c, &bench.serve);
    struct lives warm = {series_new(""), series_new(""), series_new(""),
                         series_new(""), series_new(""), series_new("")};
    for (unsigned i = 0; i < 4; i++) {
        snprintf(id, sizeof id, "%sw%u", prefix, i);
        live_once(&c, &warm, id, i % 2);
    }
    for (unsigned i = 0; i < bench.rounds; i++) {
        snprintf(id, sizeof id, "%s%u", prefix, i);
        live_once(&c, &lives, id, i % 2);
    }
    client_close(&c);
    tell(&lives.create, live);
    tell(&lives.exec, live);
    tell(&lives.park, live);
    tell(&lives.resume, live);
    tell(&lives.destroy_live, live);
    tell(&lives.destroy, live);
    return lives;
}

static void judge_lives(const struct lives *lives)
{
    goal_of("create to ready, p50 (2.5 ms and a sync)", &lives->create, 0.5,
            2.5 + bench.fsync_us / 1e3);
    goal_of("resume after park, p50", &lives->resume, 0.5, 2.5);
    goal_of("park, p50", &lives->park, 0.5, 3);
    goal_of("park, p99", &lives->park, 0.99, 8);
    goal_of("destroy of a running session, p50", &lives->destroy_live, 0.5, 3);
    goal_of("destroy of a running session, p99", &lives->destroy_live, 0.99, 8);
    goal_of("destroy of a parked session, p50", &lives->destroy, 0.5, 3);
    goal_of("exec true, p50", &lives->exec, 0.5, 1.5);
}

static void compare(const struct series *one, const struct series *many)
{
    char text[TEXT_MAX];
    snprintf(text, sizeof text, "%s beside %u against beside 1, ratio of p50", one->name,
             bench.live);
    double base = percentile(one, 0.5);
    goal(text, base > 0 ? percentile(many, 0.5) / base : 0, 1.5, "x", false);
}

/* ---- many at once -----------------------------------------------------------------------------
 */

struct many {
    const char *method, *path, *body; /* formats of the session's number */
    int status;
    const char *says;
    bool waves; /* the next hundred only when all of one have been answered */
};

struct asking {
    struct client client;
    double since; /* 0: idle */
};

static void ask_one(struct asking *a, const struct many *what, unsigned number)
{
    char path[TEXT_MAX], body[TEXT_MAX];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(path, sizeof path, what->path, number);
    snprintf(body, sizeof body, what->body ? what->body : "", number);
#pragma GCC diagnostic pop
    a->since = now_us();
    client_send(&a->client, what->method, path, what->body ? body : NULL);
}

static void take_one(struct asking *a, const struct many *what, struct series *s)
{
    int status = client_receive(&a->client);
    if (status == 0)
        return;
    bool good = status == what->status && client_said(&a->client, what->says);
    if (!good && s->failures == 0)
        printf("  %s failed: %d %.600s\n", s->name, status, a->client.text);
    if (status < 0)
        die("berth closed a connection");
    add(s, now_us() - a->since, good);
    a->since = 0;
}

/* Sessions from..to-1, on a hundred connections. */
static void ask_many(const struct many *what, unsigned from, unsigned to, struct series *s)
{
    static struct asking all[CONNECTIONS];
    for (unsigned i = 0; i < CONNECTIONS; i++)
        client_open(&all[i].client, &bench.serve);
    for (unsigned next = from, busy = 0; next < to || busy > 0;) {
        for (unsigned i = 0; i < CONNECTIONS && next < to && !(what->waves && busy == CONNECTIONS);
             i++)
            if (all[i].since == 0 && (!what->waves || busy == i)) {
                ask_one(&all[i], what, next++);
                busy++;
            }
        do {
            struct pollfd fds[CONNECTIONS];
            for (unsigned i = 0; i < CONNECTIONS; i++)
                fds[i] = (struct pollfd){.fd = all[i].since > 0 ? all[i].client.fd : -1,
                                         .events = POLLIN};
            if (poll(fds, CONNECTIONS, 60000) <= 0)
                die("wait for answers");
            for (unsigned i = 0; i < CONNECTIONS; i++) {
                if (fds[i].revents == 0)
                    continue;
                take_one(&all[i], what, s);
                busy -= all[i].since == 0;
            }
        } while (what->waves && busy > 0);
    }
    for (unsigned i = 0; i < CONNECTIONS; i++)
        client_close(&all[i].client);
}

static const struct many creates = {"POST", SESSIONS,      "{\"session_id\": \"b%u\"}",
                                    201,    "\"running\"", true},
                         destroys = {"DELETE",    SESSIONS "/b%u?delete_volume=true",
                                     NULL,        200,
                                     "\"destroy", false},
                         parks = {"POST", SESSIONS "/b%u/park", "{}", 200, "\"parked\"", false};

/* ---- phases -----------------------------------------------------------------------------------
 */

static bool wanted(const char *phase)
{
    const char *at = bench.only ? strstr(bench.only, phase) : phase;
    return at != NULL;
}

static void measure_fsync(void)
{
    struct series s = series_new("fdatasync of 4 KiB");
    static const char block[4096] = "x";
    char path[TEXT_MAX];
    snprintf(path, sizeof path, "%s/fsync", bench.serve.directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path);
    for (int i = 0; i < 100; i++) {
        double begin = now_us();
        bool good = write(fd, block, sizeof block) == (ssize_t)sizeof block && fdatasync(fd) == 0;
        add(&s, now_us() - begin, good);
    }
    close(fd);
    unlink(path);
    tell(&s, 0);
    bench.fsync_us = percentile(&s, 0.5);
}

static void measure_many(const struct lives *one)
{
    struct series create = series_new("create, 100 at once");
    long before[MEMORY_END] = {0}, after[MEMORY_END] = {0};
    memory_read(before);
    ask_many(&creates, bench.made, bench.live, &create);
    bench.made = bench.live;
    poll(NULL, 0, 1000);
    memory_read(after);
    struct lives many = measure_lives("m", bench.live);
    judge_lives(&many);
    if (one) {
        compare(&one->create, &many.create);
        compare(&one->exec, &many.exec);
        compare(&one->park, &many.park);
        compare(&one->resume, &many.resume);
        compare(&one->destroy_live, &many.destroy_live);
    }
    char text[TEXT_MAX];
    snprintf(text, sizeof text, "memory for each of %u live sessions, %d processors", bench.live,
             get_nprocs());
    double made = (double)create.count;
    for (int i = 1; i < MEMORY_END; i++)
        printf("  %-14s %8.1f KiB a session\n", memory_name(i),
               (double)(after[i] - before[i]) / made);
    goal(text, (double)(before[MEMORY_AVAILABLE] - after[MEMORY_AVAILABLE]) / made, 512, "KiB",
         false);
    for (unsigned done = bench.live; done < bench.creates;) {
        unsigned more = bench.creates - done < 500 ? bench.creates - done : 500;
        struct series destroy = series_new("destroy, 100 at once");
        if (more > bench.made)
            more = bench.made;
        ask_many(&destroys, bench.made - more, bench.made, &destroy);
        ask_many(&creates, bench.made - more, bench.made, &create);
        done += more;
    }
    tell(&create, bench.live);
    goal("100 creates at once, p99", percentile(&create, 0.99) / 1e3, 200, "ms", false);
    snprintf(text, sizeof text, "failures of %zu creates", create.count + create.failures);
    goal(text, create.failures, 0, "failures", false);
}

static unsigned count_sessions(const char *state)
{
    struct client c;
    unsigned count = 0;
    char path[TEXT_MAX], after[80] = "";
    client_open(&c, &bench.serve);
    do {
        snprintf(path, sizeof path, SESSIONS "?state=%s&limit=500%s%s", state,
                 after[0] ? "&after=" : "", after);
        if (client_ask(&c, "GET", path, NULL) != 200)
            die("the list of sessions");
        for (const char *at = c.text; (at = strstr(at, "\"incarnation\"")); at++)
            count++;
        const char *next = strstr(c.text, "\"next\":\"");
        after[0] = 0;
        if (next)
            sscanf(next + 8, "%70[^\"]", after);
    } while (after[0]);
    client_close(&c);
    return count;
}

static void measure_recovery(void)
{
    if (bench.made < bench.live) {
        struct series create = series_new("create, 100 at once");
        ask_many(&creates, bench.made, bench.live, &create);
        bench.made = bench.live;
    }
    unsigned before = count_sessions("running");
    double begin = now_us();
    serve_kill(&bench.serve);
    double dead = now_us();
    double served = serve_start(&bench.serve);
    printf("  recovery of %u: killed in %.1f ms, served again after %.1f ms\n", before,
           (dead - begin) / 1e3, served / 1e3);
    char text[TEXT_MAX];
    snprintf(text, sizeof text, "recovery of %u live sessions", before);
    goal(text, served / 1e3, 1000, "ms", false);
    unsigned after = count_sessions("running");
    goal("live sessions that were not there again", (double)before - (double)after, 0, "sessions",
         false);
}

/* ---- output -----------------------------------------------------------------------------------
 */

static void *follow(void *data)
{
    struct client c;
    client_open(&c, &bench.serve);
    long long *bytes = data;
    *bytes = client_drain(&c, SESSIONS "/out/execs/followed/output?follow=true&stream=stdout");
    client_close(&c);
    return NULL;
}

static double write_output(struct client *c, const char *id, bool followed, long long *ret_bytes)
{
    char body[TEXT_MAX], path[TEXT_MAX];
    pthread_t thread;
    double begin = now_us();
    snprintf(body, sizeof body,
             "{\"exec_id\": \"%s\", \"argv\": [\"/bin/dd\", \"if=/dev/zero\", \"bs=1M\", "
             "\"count=1024\", \"status=none\"]}",
             id);
    if (client_ask(c, "POST", SESSIONS "/out/execs", body) != 201)
        die("start a command that writes");
    if (followed && (errno = pthread_create(&thread, NULL, follow, ret_bytes)) != 0)
        die("a thread");
    snprintf(path, sizeof path, SESSIONS "/out/execs/%s?wait_ms=60000", id);
    if (client_ask(c, "GET", path, NULL) != 200 || !client_said(c, "\"exit_code\":0"))
        die("wait for a command that writes");
    double us = now_us() - begin;
    if (followed)
        pthread_join(thread, NULL);
    return us;
}

static void measure_output(void)
{
    struct client c;
    char id[32];
    client_open(&c, &bench.serve);
    if (client_ask(&c, "POST", SESSIONS, "{\"session_id\": \"out\"}") != 201)
        die("a session for output");
    struct series alone = series_new("1 GiB of output"), beside = series_new("the same, followed");
    long long bytes = 0;
    for (unsigned i = 0; i < 5; i++) {
        snprintf(id, sizeof id, "alone%u", i);
        add(&alone, write_output(&c, id, false, NULL), true);
        /* The route of the follower is fixed, so each time it is a session of its own name. */
        bytes = 0;
        double followed_us = write_output(&c, "followed", true, &bytes);
        add(&beside, followed_us, bytes > 0);
        if (client_ask(&c, "DELETE", SESSIONS "/out?delete_volume=true", NULL) != 200 ||
            client_ask(&c, "POST", SESSIONS, "{\"session_id\": \"out\"}") != 201)
            die("the session for output again");
    }
    tell(&alone, 1);
    tell(&beside, 1);
    printf("  the follower got %.1f MB of 1074\n", (double)bytes / 1e6);
    goal("output through init to the spool", 1073.741824 / (percentile(&alone, 0.5) / 1e6), 500,
         "MB/s", true);
    goal("what a follower adds", (percentile(&beside, 0.5) / percentile(&alone, 0.5) - 1) * 100, 5,
         "%", false);
    client_ask(&c, "DELETE", SESSIONS "/out?delete_volume=true", NULL);
    client_close(&c);
}

/* ---- parked -----------------------------------------------------------------------------------
 */

/* Kibibytes of disk beneath DIR/state, without volumes. */
static double disk_kib(void)
{
    char command[TEXT_MAX];
    long kib = -1;
    snprintf(command, sizeof command, "du -sk --exclude=volumes '%s/state'", bench.serve.directory);
    FILE *du = popen(command, "re");
    if (!du || fscanf(du, "%ld", &kib) != 1 || pclose(du) != 0)
        die("du");
    return (double)kib;
}

static void measure_parked(void)
{
    struct series create = series_new("create"), park = series_new("park, 100 at once"),
                  list = series_new("list, a page of 100");
    ask_many(&parks, 0, bench.made, &park);
    while (bench.made < bench.parked) {
        unsigned to = bench.made + 500 < bench.parked ? bench.made + 500 : bench.parked;
        ask_many(&creates, bench.made, to, &create);
        ask_many(&parks, bench.made, to, &park);
        bench.made = to;
    }
    tell(&park, bench.made);
    unsigned parked = count_sessions("parked");
    struct client c;
    client_open(&c, &bench.serve);
    if (client_ask(&c, "GET", "/v1/resources?owner=uid-0", NULL) != 200)
        die("/v1/resources");
    goal("kernel objects of parked sessions", client_said(&c, "\"kernel\":[]") ? 0 : 1, 0,
         "objects", false);
    char path[TEXT_MAX];
    for (unsigned i = 0; i < 200; i++) {
        snprintf(path, sizeof path, SESSIONS "?limit=100&after=b%u", i * bench.made / 200);
        step(&c, &list, "GET", path, NULL, 200, "\"sessions\":[");
    }
    client_close(&c);
    tell(&list, parked);
    goal_of("a page of the list, p50", &list, 0.5, 5);
    serve_stop(&bench.serve);
    char text[TEXT_MAX];
    snprintf(text, sizeof text, "disk for each of %u parked sessions", parked);
    goal(text, disk_kib() / parked, 4, "KiB", false);
    snprintf(text, sizeof text, "start with %u parked sessions", parked);
    goal(text, serve_start(&bench.serve) / 1e3, 500, "ms", false);
}

/* ---- beginning and end ------------------------------------------------------------------------
 */

static void finish(void)
{
    if (bench.serve.supervisor <= 0)
        return;
    struct series destroy = series_new("destroy");
    if (!wanted("parked"))
        ask_many(&destroys, 0, bench.made, &destroy);
    serve_stop(&bench.serve);
}

static void prepare(void)
{
    char path[TEXT_MAX];
    snprintf(path, sizeof path, "%s/serve.jsonc", bench.serve.directory);
    FILE *file = fopen(path, "we");
    if (!file || fprintf(file, "{\"sessions_max\": 4000}\n") < 0 || fclose(file) != 0)
        die(path);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", bench.serve.directory, i ? "state" : "run");
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            die(path);
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option options[] = {{"berth", required_argument, NULL, 'b'},
                                            {"directory", required_argument, NULL, 'd'},
                                            {"json", required_argument, NULL, 'j'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {"live", required_argument, NULL, 'l'},
                                            {"creates", required_argument, NULL, 'c'},
                                            {"parked", required_argument, NULL, 'p'},
                                            {"only", required_argument, NULL, 'o'},
                                            {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        unsigned number = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;
        switch (o) {
        case 'b':
            bench.serve.berth = optarg;
            break;
        case 'd':
            bench.serve.directory = optarg;
            break;
        case 'j':
            bench.json = fopen(optarg, "ae");
            break;
        case 'r':
            bench.rounds = number;
            break;
        case 'l':
            bench.live = number;
            break;
        case 'c':
            bench.creates = number;
            break;
        case 'p':
            bench.parked = number;
            break;
        case 'o':
            bench.only = optarg;
            break;
        default:
            exit(2);
        }
    }
    if (!bench.serve.berth || !bench.serve.directory) {
        fputs("sessions: --berth and --directory are needed\n", stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    prepare();
    printf("sessions through the unix socket, %d processors; milliseconds\n", get_nprocs());
    measure_fsync();
    printf("  start of an empty berth: %.1f ms\n", serve_start(&bench.serve) / 1e3);
    atexit(finish);
    struct series first = series_new("create");
    ask_many(&creates, 0, 1, &first);
    bench.made = 1;
    struct lives one;
    if (wanted("one")) {
        one = measure_lives("o", 1);
        judge_lives(&one);
    }
    if (wanted("output"))
        measure_output();
    if (wanted("many"))
        measure_many(wanted("one") ? &one : NULL);
    if (wanted("recovery"))
        measure_recovery();
    if (wanted("parked"))
        measure_parked();
    if (bench.json)
        fclose(bench.json);
    bench.json = NULL;
    return bench.missed > 0;
}
