/* This file sends requests and receives answers over a unix socket; it never knows what a document
 * means. */
#include "api/cli/client.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

enum { READ_BYTES = 64 * 1024 };

struct client {
    struct client_where where;
    int idle;     /* a connection that may be used again; -1 */
    bool reached; /* there was somebody once */
    struct buf problem;
};

struct client_stream {
    struct client *client;
    int fd;
    struct client_head head;
    struct client_body body;
    char *in; /* READ_BYTES */
    size_t at, length;
    uint64_t silence_ms;
    bool ended;
};

uint64_t client_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void client_pause(uint64_t ms)
{
    poll(NULL, 0, (int)(ms < 60000 ? ms : 60000));
}

int client_new(struct client **ret, const char *host, struct err *err)
{
    _cleanup_free_ struct client *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, ERR_INTERNAL, ENOMEM, "connect", NULL, NULL);
    c->idle = -1;
    int r = client_where(host, &c->where, err);
    if (r < 0)
        return r;
    *ret = take_ptr(&c);
    return 0;
}

uint64_t client_stream_silence_ms(const struct client *c)
{
    return c->where.silence_ms < CLIENT_STREAM_SILENCE_MS ? c->where.silence_ms
                                                          : CLIENT_STREAM_SILENCE_MS;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    fd_close(c->idle);
    buf_fini(&c->problem);
    free(c);
}

const char *client_problem(const struct client *c)
{
    return c ? buf_text(&c->problem) : "";
}

int client_key(char ret_key[CLIENT_KEY_SIZE], struct err *err)
{
    char second[CLIENT_KEY_SIZE];
    int r = id_random("cli-", ret_key, CLIENT_KEY_SIZE);
    if (r == 0)
        r = id_random("", second, sizeof second);
    if (r < 0)
        return err_set(err, ERR_INTERNAL, -r, "make a key", NULL, NULL);
    memcpy(ret_key + strlen(ret_key), second, strlen(second) + 1);
    return 0;
}

void client_query(struct buf *path, const char *name, const char *value)
{
    static const char hex[] = "0123456789ABCDEF";
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
    buf_putc(path, strchr(buf_text(path), '?') ? '&' : '?');
    buf_printf(path, "%s=", name);
    for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
        if (strchr(plain, (char)*p)) {
            buf_putc(path, (char)*p);
            continue;
        }
        buf_putc(path, '%');
        buf_putc(path, hex[*p >> 4]);
        buf_putc(path, hex[*p & 15]);
    }
}

/* ---- one connection -------------------------------------------------------------------------- */

static int lost(struct err *err, int sys)
{
    return err_set(err, ERR_UNAVAILABLE, sys, "talk to berth serve", NULL,
                   "The connection ended before there was a whole answer.");
}

static int silent(struct err *err, uint64_t ms)
{
    return err_set(err, ERR_UNAVAILABLE, ETIMEDOUT, "talk to berth serve", NULL,
                   "It has been silent for %" PRIu64 ".%" PRIu64
                   " s. What was asked for may have been done, or still be: look before you ask "
                   "again. If it only takes long, say how long with BERTH_TIMEOUT, as in 30m.",
                   ms / 1000, ms % 1000 / 100);
}

static int send_all(int fd, const void *data, size_t length)
{
    for (const char *at = data; length > 0;) {
        ssize_t n = send(fd, at, length, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

static void make_head(const struct client_request *request, const struct stat *upload,
                      struct buf *out)
{
    buf_printf(out, "%s %s HTTP/1.1\r\nHost: berth\r\nUser-Agent: berth/" BERTH_VERSION "\r\n",
               request->method, request->path);
    if (request->accept)
        buf_printf(out, "Accept: %s\r\n", request->accept);
    if (request->key)
        buf_printf(out, "Idempotency-Key: %s\r\n", request->key);
    if (request->last_event)
        buf_printf(out, "Last-Event-ID: %" PRIu64 "\r\n", request->last_event);
    if (request->body)
        buf_printf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                   strlen(request->body));
    else if (request->has_upload && S_ISREG(upload->st_mode))
        buf_printf(out, "Content-Type: application/octet-stream\r\nContent-Length: %lld\r\n",
                   (long long)upload->st_size);
    else if (request->has_upload)
        buf_puts(out, "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n");
    buf_puts(out, "\r\n");
    if (request->body)
        buf_puts(out, request->body);
}

static bool answered(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

/* A regular file by its length at the beginning, so that one that grows is cut at what was said and
 * one that shrinks breaks the connection and changes nothing. Anything else in chunks. An answer
 * that comes before the end is a refusal: no more is sent. */
static int send_upload(int fd, const struct client_request *request, const struct stat *st,
                       struct err *err)
{
    _cleanup_free_ char *data = malloc(READ_BYTES);
    if (!data)
        return err_set(err, ERR_INTERNAL, ENOMEM, "send a file", NULL, NULL);
    bool sized = S_ISREG(st->st_mode);
    for (off_t at = 0; !answered(fd);) {
        size_t want = READ_BYTES;
        if (sized && st->st_size - at < (off_t)want)
            want = (size_t)(st->st_size - at);
        if (sized && want == 0)
            return 0;
        size_t made = 0;
        int failed = request->more ? request->more(request->more_data, data, want, &made, err) : 0;
        if (failed < 0)
            return failed;
        ssize_t n = request->more ? (ssize_t)made
                    : sized       ? pread(request->upload, data, want, at)
                                  : read(request->upload, data, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || (n == 0 && sized))
            return err_set(err, ERR_INVALID_REQUEST, n < 0 ? errno : 0, "read what is copied", NULL,
                           n < 0 ? NULL : "The file became shorter. Nothing was changed.");
        at += n;
        char line[24];
        int digits = snprintf(line, sizeof line, "%zx\r\n", (size_t)n);
        int r = sized ? 0 : send_all(fd, line, (size_t)digits);
        if (r == 0)
            r = send_all(fd, data, (size_t)n);
        if (r == 0 && !sized)
            r = send_all(fd, "\r\n", 2);
        if (r < 0)
            return answered(fd) ? 0 : lost(err, -r);
        if (n == 0)
            return 0;
    }
    return 0;
}

/* More bytes behind those that are there: 0; CLIENT_STREAM_WAIT: none now, or when waiting, none
 * for too long; negative: the end. */
static int fill(struct client_stream *s, bool wait, struct err *err)
{
    if (s->at == s->length)
        s->at = s->length = 0;
    else if (s->at > 0) {
        memmove(s->in, s->in + s->at, s->length - s->at);
        s->length -= s->at;
        s->at = 0;
    }
    ssize_t n;
    do
        n = recv(s->fd, s->in + s->length, READ_BYTES - s->length, wait ? 0 : MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return CLIENT_STREAM_WAIT;
    if (n <= 0)
        return lost(err, n < 0 ? errno : 0);
    s->length += (size_t)n;
    return 0;
}

static int read_head(struct client_stream *s, bool head_only, struct err *err)
{
    for (;;) {
        size_t used;
        int r = client_head_read(s->in + s->at, s->length - s->at, &s->head, &used, err);
        if (r == CLIENT_HEAD_MORE) {
            r = fill(s, true, err);
            if (r < 0)
                return CLIENT_STREAM_AGAIN;
            if (r == CLIENT_STREAM_WAIT)
                return silent(err, s->silence_ms);
            continue;
        }
        if (r < 0)
            return r;
        s->at += used;
        if (s->head.status >= 200)
            return client_body_init(&s->body, &s->head, head_only, err);
    }
}

int client_stream_next(struct client_stream *s, const char **ret_piece, size_t *ret_length,
                       struct err *err)
{
    for (;;) {
        size_t used;
        int r = client_body_next(&s->body, s->in + s->at, s->length - s->at, &used, ret_piece,
                                 ret_length, err);
        if (r < 0)
            return r;
        s->at += used;
        if (r == CLIENT_BODY_END) {
            s->ended = true;
            return CLIENT_STREAM_END;
        }
        if (r == 0 && *ret_length > 0)
            return 0;
        if (r == CLIENT_BODY_MORE) {
            r = fill(s, false, err);
            if (r != 0)
                return r;
        }
    }
}

int client_stream_wait(struct client_stream *s, const char **ret_piece, size_t *ret_length,
                       struct err *err)
{
    for (;;) {
        int r = client_stream_next(s, ret_piece, ret_length, err);
        if (r != CLIENT_STREAM_WAIT)
            return r;
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        int n = poll(&p, 1, s->silence_ms < INT_MAX ? (int)s->silence_ms : INT_MAX);
        if (n == 0)
            return silent(err, s->silence_ms);
        if (n < 0 && errno != EINTR)
            return err_set(err, ERR_INTERNAL, errno, "wait for berth serve", NULL, NULL);
    }
}

int client_stream_fd(const struct client_stream *s)
{
    return s->fd;
}

const struct client_head *client_stream_head(const struct client_stream *s)
{
    return &s->head;
}

const struct client_left_out *client_stream_left_out(const struct client_stream *s)
{
    return &s->body.left_out;
}

void client_stream_free(struct client_stream *s)
{
    if (!s)
        return;
    struct client *c = s->client;
    /* Used again only when nothing of the answer is left in it. */
    if (s->ended && s->at == s->length && !s->head.close && c && c->idle < 0)
        c->idle = take_fd(&s->fd);
    fd_close(s->fd);
    free(s->in);
    free(s);
}

static struct client_stream *stream_new(void)
{
    struct client_stream *s = calloc(1, sizeof *s);
    char *in = malloc(READ_BYTES);
    if (!s || !in) {
        free(s);
        free(in);
        return NULL;
    }
    s->fd = -1;
    s->in = in;
    return s;
}

static void stream_freep(struct client_stream **s)
{
    client_stream_free(*s);
}
#define _cleanup_stream_ __attribute__((cleanup(stream_freep)))

/* ---- documents ------------------------------------------------------------------------------- */

static int collect(struct client_stream *s, struct buf *out, struct err *err)
{
    for (;;) {
        const char *piece;
        size_t length;
        int r = client_stream_wait(s, &piece, &length, err);
        if (r == CLIENT_STREAM_END)
            return buf_failed(out)
                       ? err_set(err, ERR_INTERNAL, ENOMEM, "read the answer", NULL, NULL)
                       : 0;
        if (r < 0)
            return r;
        if (out->length + length > CLIENT_DOCUMENT_MAX)
            return err_set(err, ERR_TOO_LARGE, 0, "read the answer", NULL, "It is too large.");
        buf_add(out, piece, length);
    }
}

/* ---- again and again ------------------------------------------------------------------------- */

/* What "Retry-After: 1" asks for, which comes up to it by and by: most of what is busy is not for
 * long. */
enum { PAUSE_MOST_MS = 1000 };

struct patience {
    uint64_t until_ms;
    unsigned pause_ms;
    bool started; /* somebody was started once; not again */
};

/* 0: try again now. Negative: it is enough; `err` stays. */
static int wait_again(struct patience *p, unsigned at_least_ms, bool may)
{
    unsigned pause = p->pause_ms > at_least_ms ? p->pause_ms : at_least_ms;
    if (!may || client_now_ms() + pause > p->until_ms)
        return -ETIMEDOUT;
    client_pause(pause);
    p->pause_ms = p->pause_ms < PAUSE_MOST_MS / 2 ? p->pause_ms * 2 : PAUSE_MOST_MS;
    return 0;
}

/* 0; CLIENT_STREAM_AGAIN: nobody there. */
static int get_connection(struct client *c, struct patience *p, bool *ret_used, int *ret_fd,
                          struct err *err)
{
    *ret_used = c->idle >= 0;
    if (c->idle >= 0) {
        *ret_fd = take_fd(&c->idle);
        return 0;
    }
    int r = client_connect(&c->where, ret_fd, err);
    c->reached |= r == 0;
    if (r != CLIENT_NOBODY)
        return r;
    if (c->where.named || p->started)
        return CLIENT_STREAM_AGAIN;
    p->started = true;
    r = client_start(&c->where, err);
    if (r < 0)
        return r;
    r = client_connect(&c->where, ret_fd, err);
    c->reached |= r == 0;
    return r == CLIENT_NOBODY ? CLIENT_STREAM_AGAIN : r;
}

/* One try. CLIENT_STREAM_AGAIN: there was no answer. */
static int attempt(struct client *c, const struct client_request *request, struct patience *p,
                   bool *ret_stale, struct client_stream **ret, struct err *err)
{
    _cleanup_stream_ struct client_stream *s = NULL;
    _cleanup_buf_ struct buf head = {0};
    struct stat st = {0};
    *ret_stale = false;
    if (request->more) {
        st.st_mode = S_IFIFO;     /* its length is not known */
        fd_replace(&c->idle, -1); /* nor can it be made twice, if nobody reads there any more */
    } else if (request->has_upload && fstat(request->upload, &st) < 0)
        return err_set(err, ERR_INVALID_REQUEST, errno, "read what is copied", NULL, NULL);
    s = stream_new();
    if (!s)
        return err_set(err, ERR_INTERNAL, ENOMEM, "talk to berth serve", NULL, NULL);
    int r = get_connection(c, p, ret_stale, &s->fd, err);
    if (r != 0)
        return r;
    s->silence_ms = request->once ? client_stream_silence_ms(c) : c->where.silence_ms;
    client_bound(s->fd, s->silence_ms);
    make_head(request, &st, &head);
    if (buf_failed(&head))
        return err_set(err, ERR_INTERNAL, ENOMEM, "talk to berth serve", NULL, NULL);
    r = send_all(s->fd, buf_text(&head), head.length);
    if (r == -ETIMEDOUT)
        return silent(err, s->silence_ms);
    if (r < 0 && !answered(s->fd)) {
        lost(err, -r);
        return CLIENT_STREAM_AGAIN;
    }
    if (r == 0 && request->has_upload) {
        r = send_upload(s->fd, request, &st, err);
        if (r == -ETIMEDOUT)
            return silent(err, s->silence_ms);
        if (r < 0)
            return err && err->code == ERR_UNAVAILABLE ? CLIENT_STREAM_AGAIN : r;
    }
    r = read_head(s, strcmp(request->method, "HEAD") == 0, err);
    if (r != 0)
        return r;
    s->client = c;
    *ret = take_ptr(&s);
    return 0;
}

static bool may_repeat(const struct client_request *request)
{
    struct stat st;
    if (request->more)
        return false;
    if (request->has_upload)
        return fstat(request->upload, &st) == 0 && S_ISREG(st.st_mode);
    return strcmp(request->method, "POST") != 0 || request->key || request->repeats;
}

/* The refusal on a stream as an error. 0: it is one that goes away by waiting; *ret_wait_ms. */
static int refusal(struct client *c, struct client_stream *s, unsigned *ret_wait_ms,
                   struct err *err)
{
    buf_fini(&c->problem);
    int r = collect(s, &c->problem, err);
    if (r < 0)
        return r;
    r = client_problem_err(buf_text(&c->problem), c->problem.length, s->head.status, err);
    bool busy = s->head.status == 503 || (err && err->code == ERR_IN_PROGRESS);
    /* "A second" is what a header can say at least; an own key's first run is mostly done sooner.
     */
    *ret_wait_ms = s->head.retry_after_s > 1 ? s->head.retry_after_s * 1000 : 50;
    return busy ? 0 : r;
}

static int open_patiently(struct client *c, const struct client_request *request,
                          struct patience *p, struct client_stream **ret, struct err *err)
{
    struct err own;
    if (!err)
        err = &own;
    buf_fini(&c->problem);
    for (;;) {
        _cleanup_stream_ struct client_stream *s = NULL;
        unsigned wait_ms = 0;
        bool stale;
        int r = attempt(c, request, p, &stale, &s, err);
        if (r == 0 && s->head.status < 400) {
            *ret = take_ptr(&s);
            return 0;
        }
        /* An answer: its connection was not stale, and whoever is busy is given time. */
        stale = stale && r != 0;
        if (r == 0)
            r = refusal(c, s, &wait_ms, err);
        if (r < 0)
            return r;
        if (request->once && c->reached)
            return CLIENT_STREAM_AGAIN;
        /* A connection that was kept may have been closed meanwhile: that says nothing yet. */
        if (stale && may_repeat(request))
            continue;
        /* A service that was named and is not there is a mistake, and no matter of time. */
        if (wait_again(p, wait_ms, c->reached && may_repeat(request)) < 0)
            return err->sys ? -err->sys : -EAGAIN;
    }
}

static struct patience patience(void)
{
    return (struct patience){.until_ms = client_now_ms() + CLIENT_PATIENCE_MS, .pause_ms = 20};
}

int client_stream_open(struct client *c, const struct client_request *request,
                       struct client_stream **ret, struct err *err)
{
    struct patience p = patience();
    return open_patiently(c, request, &p, ret, err);
}

int client_call(struct client *c, const struct client_request *request,
                struct client_answer *answer, struct err *err)
{
    struct patience p = patience();
    for (;;) {
        _cleanup_stream_ struct client_stream *s = NULL;
        _cleanup_buf_ struct buf document = {0};
        int r = open_patiently(c, request, &p, &s, err);
        if (r < 0)
            return r;
        if (r > 0 || !s)
            return -EAGAIN;
        r = collect(s, &document, err);
        if (r == 0) {
            if (answer) {
                *answer = (struct client_answer){.head = s->head, .document = document};
                document = (struct buf){0};
            }
            return 0;
        }
        if (r == -EPROTO || r == -ETIMEDOUT || request->once ||
            wait_again(&p, 0, may_repeat(request)) < 0)
            return r;
    }
}

/* ---- uploads beside something else ----------------------------------------------------------- */

int client_upload_open(struct client *c, const char *path, int *ret_fd, struct err *err)
{
    _cleanup_fd_ int fd = -1;
    _cleanup_buf_ struct buf head = {0};
    int r = client_connect(&c->where, &fd, err);
    if (r != 0)
        return r < 0 ? r : -ECONNREFUSED;
    const struct client_request request = {.method = "POST", .path = path, .has_upload = true};
    const struct stat stream = {.st_mode = S_IFIFO};
    make_head(&request, &stream, &head);
    if (buf_failed(&head))
        return err_set(err, ERR_INTERNAL, ENOMEM, "talk to berth serve", NULL, NULL);
    r = send_all(fd, buf_text(&head), head.length);
    if (r < 0)
        return lost(err, -r);
    client_bound(fd, 0); /* who takes it is a command, when it likes */
    *ret_fd = take_fd(&fd);
    return 0;
}

int client_upload_answer(struct client *c, int fd, struct err *err)
{
    _cleanup_stream_ struct client_stream *s = stream_new();
    unsigned wait_ms;
    if (!s)
        return err_set(err, ERR_INTERNAL, ENOMEM, "read the answer", NULL, NULL);
    s->fd = dup(fd);
    s->silence_ms = c->where.silence_ms;
    int r = read_head(s, false, err);
    if (r == CLIENT_STREAM_AGAIN)
        return -ECONNRESET;
    if (r < 0 || s->head.status < 400)
        return r;
    r = refusal(c, s, &wait_ms, err);
    return r == 0 ? -EAGAIN : r;
}
