/* This file speaks HTTP/1.1 to a `berth serve` over a unix socket, for the verbs of the command
 * line; it never knows what a document means.
 *
 *     client_new(&c, NULL, &err);                  // where: --host, BERTH_HOST, or what is there
 *     client_call(c, &request, &answer, &err);     // a whole document
 *     client_stream_open(c, &request, &s, &err);   // or its body piece by piece
 *     client_free(c);
 *
 * The service may be ended and started again at any instant; sessions and commands go on. So a
 * request that may be repeated is repeated until there is an answer, for CLIENT_PATIENCE_MS at
 * most: what only reads, what is done by being done twice (PUT of a whole file, DELETE), and each
 * POST, because it carries an Idempotency-Key (IDEM-1).
 *
 * A service that hangs is not waited for for ever: who sends nothing and takes nothing for
 * CLIENT_SILENCE_MS, or what BERTH_TIMEOUT says, is told as such, and is not asked again.
 *
 * Where nobody is asked for by name and nobody answers, the user's own service is started
 * (client_start.c). Blocking; one thread. Runs with the caller's rights.
 */
#pragma once

#include "api/cli/client_head.h"
#include "runtime/base/buf.h"
#include "runtime/base/err.h"

enum { CLIENT_PATIENCE_MS = 30000, CLIENT_KEY_SIZE = 40, CLIENT_DOCUMENT_MAX = 32 << 20 };

/* A verb that removes much is silent for long; a stream of events has a sign of life every 15 s. */
enum { CLIENT_SILENCE_MS = 300000, CLIENT_STREAM_SILENCE_MS = 60000 };

struct client;

/* `host`: what --host says, NULL for BERTH_HOST and then the default. Looks at names only: nothing
 * is connected yet. ERR_USAGE: no such kind of host. */
int client_new(struct client **ret, const char *host, struct err *err);
void client_free(struct client *c); /* NULL allowed */
/* How long a stream of events may be silent. */
uint64_t client_stream_silence_ms(const struct client *c);

struct client_request {
    const char *method, *path; /* path with its query, encoded */
    const char *body;          /* a JSON document; NULL: none */
    const char *accept;        /* NULL: anything */
    const char *key;           /* Idempotency-Key; NULL: none */
    uint64_t last_event;       /* Last-Event-ID; 0: none */
    int upload;                /* a body from this descriptor; only when has_upload */
    bool has_upload, once;     /* once: one try, no waiting */
    /* A body that is made while it is sent, instead of `upload`; one try. 0 with *ret_length bytes,
     * none at its end; negative: the request is given up, and the connection with it. */
    int (*more)(void *data, char *to, size_t size, size_t *ret_length, struct err *err);
    void *more_data;
    bool repeats; /* a POST that comes to the same when it is done twice, and takes no key */
};

/* A new key for a POST. */
int client_key(char ret_key[CLIENT_KEY_SIZE], struct err *err);

/* A status of 400 or more is an error: `err` says what the problem document says, and
 * client_problem() has the document until the next call. `answer` may be NULL; its buffer is the
 * caller's to free. */
struct client_answer {
    struct client_head head;
    struct buf document;
};
int client_call(struct client *c, const struct client_request *request,
                struct client_answer *answer, struct err *err);
const char *client_problem(const struct client *c); /* "" when there is none */

/* ---- piece by piece -------------------------------------------------------------------------- */

struct client_stream;

enum client_stream_outcome {
    CLIENT_STREAM_WAIT = 1,  /* poll its descriptor */
    CLIENT_STREAM_END = 2,   /* the body is whole */
    CLIENT_STREAM_AGAIN = 3, /* `once`: not now, and nothing was lost by trying; `err` is filled */
};

int client_stream_open(struct client *c, const struct client_request *request,
                       struct client_stream **ret, struct err *err);
void client_stream_free(struct client_stream *s); /* NULL allowed */
int client_stream_fd(const struct client_stream *s);
const struct client_head *client_stream_head(const struct client_stream *s);

/* 0 with a piece that is not empty, valid until the next call; CLIENT_STREAM_WAIT; _END. Negative:
 * the connection ended before the body did. */
int client_stream_next(struct client_stream *s, const char **ret_piece, size_t *ret_length,
                       struct err *err);
/* The same, waiting. */
int client_stream_wait(struct client_stream *s, const char **ret_piece, size_t *ret_length,
                       struct err *err);

/* What the server says that an archive does not have; when the body is whole. */
const struct client_left_out *client_stream_left_out(const struct client_stream *s);

/* A POST whose body is written, in chunks, while something else goes on (standard input of a
 * command): its head is sent on a connection of its own, which is the caller's. One try. */
int client_upload_open(struct client *c, const char *path, int *ret_fd, struct err *err);

/* The answer that comes on an upload's descriptor, when it is readable or the body is ended. 0, or
 * negative with `err` as client_call(). */
int client_upload_answer(struct client *c, int fd, struct err *err);

/* ---- parts ----------------------------------------------------------------------------------- */

/* "?name=value" or "&name=value", percent-encoded. */
void client_query(struct buf *path, const char *name, const char *value);

/* The step of a refusal without a document, as the answer to HEAD is. */
#define CLIENT_REFUSED "berth serve refused"

/* What a problem document says, or what a status says that comes without one. Returns negative. */
int client_problem_err(const char *document, size_t length, int status, struct err *err);

/* Milliseconds of a clock that does not jump. */
uint64_t client_now_ms(void);
void client_pause(uint64_t ms);

/* ---- where (client_start.c) ------------------------------------------------------------------ */

enum { CLIENT_PATH_SIZE = 108, CLIENT_PLACES = 2 };

struct client_where {
    struct {
        char path[CLIENT_PATH_SIZE];
        bool own; /* the directory is the user's: its service may be started */
    } place[CLIENT_PLACES];
    unsigned count;
    bool named;          /* by --host or BERTH_HOST: nobody is started, and any owner is right */
    uint64_t silence_ms; /* how long one who listens there may be silent */
};

/* From the words and the environment alone. */
int client_where(const char *host, struct client_where *ret, struct err *err);

/* A connected socket. 0; CLIENT_NOBODY: nobody listens there (`err` is filled); negative: there is
 * somebody whom we do not talk to. */
enum client_connect_outcome { CLIENT_NOBODY = 1 };
int client_connect(const struct client_where *where, int *ret_fd, struct err *err);
/* A blocking send() or recv() of it ends after so long, with EAGAIN; 0: never. */
void client_bound(int fd, uint64_t silence_ms);

/* Start the user's own service and wait until it answers. One of several that try at once does it.
 */
int client_start(const struct client_where *where, struct err *err);
