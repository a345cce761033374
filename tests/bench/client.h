/* This file is what tests/bench/sessions.c asks berth with: HTTP/1.1 over its unix socket on
 * connections that stay open, and the processes of `berth serve` started and killed; it never
 * measures or judges.
 *
 * Whatever goes wrong in the bench itself (no memory, no connection) ends it; an answer that is not
 * what was wanted is a number in the result.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { ANSWER_MAX = 1 << 22 };

struct client {
    int fd;
    char *text; /* what came: head and body, NUL-terminated */
    size_t size;
};

struct serve {
    const char *berth;     /* the program */
    const char *directory; /* state, run and the configuration lie in it */
    pid_t supervisor;      /* 0: not running */
    int output;
};

double now_us(void);
void die(const char *what);

void client_open(struct client *client, const struct serve *serve);
void client_close(struct client *client);

/* Writes one request. `body` may be NULL. */
void client_send(struct client *client, const char *method, const char *path, const char *body);

/* Takes what is there. The status of the answer; 0: not yet whole; -1: the connection ended. */
int client_receive(struct client *client);

/* Both, and waits. */
int client_ask(struct client *client, const char *method, const char *path, const char *body);

/* Whether the last answer holds this text. */
bool client_said(const struct client *client, const char *text);

/* Reads and drops a chunked body to its end; its bytes, or -1. */
long long client_drain(struct client *client, const char *path);

/* Starts berth and waits for its first "ok" of /v1/health; the time from fork to it. */
double serve_start(struct serve *serve);

/* SIGTERM, and its end. Sessions go on. */
void serve_stop(struct serve *serve);

/* SIGKILL of supervisor, launcher, front and workers: of everything but the inits. */
void serve_kill(struct serve *serve);

/* Kibibytes of the whole machine, as /proc/meminfo tells. */
enum memory_part {
    MEMORY_AVAILABLE,
    MEMORY_ANONYMOUS,
    MEMORY_SHMEM,
    MEMORY_SLAB,
    MEMORY_STACKS,
    MEMORY_TABLES,
    MEMORY_PERCPU,
    MEMORY_END
};
void memory_read(long ret_kib[MEMORY_END]);
const char *memory_name(enum memory_part part);
