/* This file measures what clients of a `berth serve` of its own get over its socket: a session to
 * the result of its first command, one and many at once; answers a second; a large file in and out;
 * followers and what each costs; front's memory. One line for each number, with its goal; it never
 * touches a session that it did not make.
 *
 *     wire --berth PROGRAM --directory DIR [--only PHASE,...] [--rounds N]
 *
 * Phases, in this order: followers (in memory that was not used before), first, gets, transfer. DIR
 * is new and empty. Exit status 1: a goal was missed.
 */
#include "tests/bench/client.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SESSIONS "/v1/workspaces/local/sessions"

enum { AT_ONCE_MAX = 100, FOLLOWERS = 2000, GETTERS = 8, GET_SECONDS = 3, PIECE = 1 << 20 };

static const unsigned long long transfer_bytes = 1ull << 30;

static struct {
    const char *only;
    unsigned rounds, missed;
    struct serve serve;
} bench = {.rounds = 20};

static bool wanted(const char *phase)
{
    return !bench.only || strstr(bench.only, phase);
}

/* `most`: the goal is an upper bound. 0: there is none. */
static void tell(const char *what, double value, const char *unit, double goal, bool most)
{
    bool met = goal <= 0 || (most ? value <= goal : value >= goal);
    bench.missed += !met;
    if (goal > 0)
        printf("%-52s %10.1f %s (goal %s%.1f) %s\n", what, value, unit, most ? "<= " : ">= ", goal,
               met ? "met" : "MISSED");
    else
        printf("%-52s %10.1f %s\n", what, value, unit);
    fflush(stdout);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of front, in KiB: what is its own and in memory. */
static double front_kib(void)
{
    char path[64], text[4096], *at;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", bench.serve.supervisor,
             bench.serve.supervisor);
    FILE *children = fopen(path, "re");
    double kib = 0;
    for (int pid; children && fscanf(children, "%d", &pid) == 1;) { /* NOLINT: the kernel's */
        snprintf(path, sizeof path, "/proc/%d/status", pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        close(fd);
        if (n <= 0)
            continue;
        text[n] = 0;
        at = strstr(text, "RssAnon:");
        if (strncmp(text, "Name:\tberth: front\n", 19) == 0 && at)
            kib = strtod(at + 8, NULL);
    }
    if (children)
        fclose(children);
    if (kib <= 0)
        die("front's memory");
    return kib;
}

/* ---- a session to the result of its first command
 * ------------------------------------------------- */

struct starter {
    struct client client;
    unsigned number;
    int step; /* 0: it is created; 1: the command runs; 2: done */
    double begun_us, took_us;
    bool good;
};

static void send_create(struct starter *s)
{
    char body[64];
    snprintf(body, sizeof body, "{\"session_id\": \"w%u\"}", s->number);
    s->begun_us = now_us();
    s->step = 0;
    s->good = true;
    client_send(&s->client, "POST", SESSIONS, body);
}

static void go_on(struct starter *s)
{
    char path[128];
    int status = client_receive(&s->client);
    if (status == 0)
        return;
    if (status != 201 || (s->step == 1 && !client_said(&s->client, "\"exit_code\":0"))) {
        s->good = false;
        s->step = 2;
    } else if (++s->step == 1) {
        snprintf(path, sizeof path, SESSIONS "/w%u/execs?wait_ms=30000", s->number);
        client_send(&s->client, "POST", path, "{\"argv\": [\"/bin/echo\", \"one\"]}");
    } else {
        s->took_us = now_us() - s->begun_us;
    }
}

static void start_at_once(unsigned at_once, unsigned rounds)
{
    static struct starter starters[AT_ONCE_MAX];
    static double took[AT_ONCE_MAX * 64];
    struct pollfd fds[AT_ONCE_MAX];
    size_t count = 0;
    unsigned failed = 0;
    char name[96], path[128];
    for (unsigned i = 0; i < at_once; i++)
        client_open(&starters[i].client, &bench.serve);
    for (unsigned round = 0; round < rounds; round++) {
        unsigned open = at_once;
        for (unsigned i = 0; i < at_once; i++) {
            starters[i].number = i;
            send_create(&starters[i]);
        }
        while (open > 0) {
            for (unsigned i = 0; i < at_once; i++)
                fds[i] =
                    (struct pollfd){starters[i].step < 2 ? starters[i].client.fd : -1, POLLIN, 0};
            if (poll(fds, at_once, 60000) <= 0)
                die("no answer in a minute");
            for (unsigned i = 0; i < at_once; i++) {
                if (!fds[i].revents)
                    continue;
                go_on(&starters[i]);
                open -= starters[i].step == 2;
            }
        }
        for (unsigned i = 0; i < at_once; i++) {
            if (starters[i].good && count < sizeof took / sizeof took[0])
                took[count++] = starters[i].took_us;
            failed += !starters[i].good;
            snprintf(path, sizeof path, SESSIONS "/w%u?delete_volume=true", i);
            client_ask(&starters[i].client, "DELETE", path, NULL);
        }
    }
    for (unsigned i = 0; i < at_once; i++)
        client_close(&starters[i].client);
    if (count == 0)
        die("no session was made");
    qsort(took, count, sizeof took[0], ascending);
    snprintf(name, sizeof name, "create to the first result, %u at once, p50", at_once);
    tell(name, took[count / 2] / 1000, "ms", 0, true);
    snprintf(name, sizeof name, "create to the first result, %u at once, p99", at_once);
    tell(name, took[(count * 99 - 1) / 100] / 1000, "ms", 0, true);
    snprintf(name, sizeof name, "failures, %u at once", at_once);
    tell(name, failed, "", 0.5, true);
}

static void phase_first(void)
{
    start_at_once(1, bench.rounds);
    start_at_once(10, 4);
    start_at_once(50, 2);
    start_at_once(100, 2);
}

/* ---- answers a second ---------------------------------------------------------------------------
 */

static double gets_per_second(void)
{
    struct client clients[GETTERS] = {{.fd = -1}};
    struct pollfd fds[GETTERS];
    unsigned long long answers = 0;
    for (unsigned i = 0; i < GETTERS; i++) {
        client_open(&clients[i], &bench.serve);
        client_send(&clients[i], "GET", SESSIONS "/stay", NULL);
    }
    double begun = now_us(), end = begun + GET_SECONDS * 1e6, now = begun;
    while (now < end) {
        for (unsigned i = 0; i < GETTERS; i++)
            fds[i] = (struct pollfd){clients[i].fd, POLLIN, 0};
        if (poll(fds, GETTERS, 10000) <= 0)
            die("no answer in ten seconds");
        for (unsigned i = 0; i < GETTERS; i++) {
            int status = fds[i].revents ? client_receive(&clients[i]) : 0;
            if (status == 0)
                continue;
            if (status != 200)
                die("a GET was refused");
            answers++;
            client_send(&clients[i], "GET", SESSIONS "/stay", NULL);
        }
        now = now_us();
    }
    for (unsigned i = 0; i < GETTERS; i++)
        client_close(&clients[i]);
    return (double)answers * 1e6 / (now - begun);
}

static void phase_gets(void)
{
    (void)gets_per_second(); /* what is made once is made */
    double before = front_kib();
    tell("GET of a session, 8 connections", gets_per_second(), "a second", 10000, false);
    (void)gets_per_second();
    tell("front's memory after three times as many", front_kib() - before, "KiB more", 256, true);
}

/* ---- a large file -------------------------------------------------------------------------------
 */

static void write_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            die("write");
        data += n;
        length -= (size_t)n;
    }
}

static double upload(struct client *client)
{
    static char piece[PIECE];
    char head[256];
    int status;
    double begun = now_us();
    int n = snprintf(head, sizeof head,
                     "PUT " SESSIONS "/stay/files?path=/tmp/large HTTP/1.1\r\nHost: b\r\n"
                     "Content-Length: %llu\r\n\r\n",
                     transfer_bytes);
    write_all(client->fd, head, (size_t)n);
    for (unsigned long long at = 0; at < transfer_bytes; at += PIECE)
        write_all(client->fd, piece, PIECE);
    while ((status = client_receive(client)) == 0)
        continue;
    if (status != 200 && status != 201)
        die("the upload was refused");
    return now_us() - begun;
}

static double download(void)
{
    static char piece[PIECE];
    static const char request[] =
        "GET " SESSIONS "/stay/files?path=/tmp/large HTTP/1.1\r\nHost: b\r\n"
        "Connection: close\r\n\r\n";
    struct client client;
    unsigned long long came = 0;
    ssize_t n;
    client_open(&client, &bench.serve);
    double begun = now_us();
    write_all(client.fd, request, sizeof request - 1);
    while ((n = read(client.fd, piece, PIECE)) > 0)
        came += (unsigned long long)n;
    double took = now_us() - begun;
    client_close(&client);
    if (came < transfer_bytes)
        die("the download was cut");
    return took;
}

/* Into /tmp of the session, which is memory: no disk is measured. */
static void phase_transfer(void)
{
    struct client client;
    double best_up = 1e12, best_down = 1e12;
    client_open(&client, &bench.serve);
    for (unsigned i = 0; i < 3; i++) {
        double up = upload(&client), down = download();
        best_up = up < best_up ? up : best_up;
        best_down = down < best_down ? down : best_down;
    }
    client_close(&client);
    tell("1 GiB out of a session, best of three", (double)transfer_bytes / best_down / 1e3, "GB/s",
         0.8, false);
    tell("1 GiB into a session, best of three", (double)transfer_bytes / best_up / 1e3, "GB/s", 0.6,
         false);
}

/* ---- followers ----------------------------------------------------------------------------------
 */

static void phase_followers(void)
{
    static struct client clients[FOLLOWERS];
    struct client other;
    char text[512];
    double before = front_kib();
    for (unsigned i = 0; i < FOLLOWERS; i++) {
        client_open(&clients[i], &bench.serve);
        client_send(&clients[i], "GET", SESSIONS "/stay/events?follow=true", NULL);
        struct pollfd p = {clients[i].fd, POLLIN, 0};
        if (poll(&p, 1, 10000) <= 0 || read(clients[i].fd, text, sizeof text) < 12 ||
            strncmp(text, "HTTP/1.1 200", 12) != 0)
            die("a follower was refused");
    }
    tell("front's memory for each of 2,000 followers", (front_kib() - before) / FOLLOWERS, "KiB",
         64, true);
    client_open(&other, &bench.serve);
    double begun = now_us();
    if (client_ask(&other, "POST", SESSIONS "/stay/execs?wait_ms=30000",
                   "{\"argv\": [\"/bin/true\"]}") != 201)
        die("no command beside the followers");
    tell("a command whose events 2,000 follow", (now_us() - begun) / 1000, "ms", 0, true);
    client_close(&other);
    for (unsigned i = 0; i < FOLLOWERS; i++)
        client_close(&clients[i]);
}

/* ---- the whole ----------------------------------------------------------------------------------
 */

static void options(int argc, char **argv)
{
    static const struct option list[] = {{"berth", required_argument, NULL, 'b'},
                                         {"directory", required_argument, NULL, 'd'},
                                         {"only", required_argument, NULL, 'o'},
                                         {"rounds", required_argument, NULL, 'r'},
                                         {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", list, NULL)) >= 0;) {
        if (c == 'b')
            bench.serve.berth = optarg;
        else if (c == 'd')
            bench.serve.directory = optarg;
        else if (c == 'o')
            bench.only = optarg;
        else if (c == 'r')
            bench.rounds = (unsigned)strtoul(optarg, NULL, 10);
        else
            exit(2);
    }
    if (!bench.serve.berth || !bench.serve.directory || bench.rounds == 0 || bench.rounds > 64) {
        fprintf(stderr, "usage: wire --berth PROGRAM --directory DIR [--only PHASE,...] "
                        "[--rounds 1…64]\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct client client;
    struct rlimit files;
    options(argc, argv);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    char path[512];
    snprintf(path, sizeof path, "%s/serve.jsonc", bench.serve.directory);
    FILE *config = fopen(path, "we");
    if (!config || fputs("{\"sessions_max\": 400}\n", config) < 0 || fclose(config) != 0)
        die(path);
    serve_start(&bench.serve);
    client_open(&client, &bench.serve);
    if (client_ask(&client, "POST", SESSIONS, "{\"session_id\": \"stay\"}") != 201)
        die("no session was made");
    if (wanted("followers"))
        phase_followers();
    if (wanted("first"))
        phase_first();
    if (wanted("gets"))
        phase_gets();
    if (wanted("transfer"))
        phase_transfer();
    client_ask(&client, "DELETE", SESSIONS "/stay?delete_volume=true", NULL);
    client_close(&client);
    serve_stop(&bench.serve);
    return bench.missed > 0;
}
