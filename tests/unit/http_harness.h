/* This file serves HTTP with fake operations in a thread of the test, and speaks to it in raw
 * bytes; it never checks anything by itself.
 *
 * The operations: every route answers {"route": NAME, …}, but
 * Over TCP, where a test asks for it, the tokens "good" and "other" are callers 7 and 8.
 *
 *     SESSION_EVENTS   a stream that stays open; harness_publish() sends to all of them
 *     EXEC_OUTPUT      events from Last-Event-ID + 1 to `last_event`, data_bytes each
 *     EXEC_STDIN, FILE_WRITE   the body is counted by a pipe's reader; answers {"bytes", "how"}
 *     FILE_READ        path "file": a memfd; "pipe": a pipe with a length; "endless": a pipe
 * without SESSION_GET of the session "late": answered by harness_answer_late()
 */
#pragma once

#include "api/http/server.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { HARNESS_STREAMS = 4096, HARNESS_FILE_BYTES = 1000 };

struct harness {
    struct loop *loop;
    struct server *server;
    struct loop_wake *wake;
    struct loop_timer *worker; /* reads the sink's pipe, or writes the answer's */
    pthread_t thread;
    char directory[64];
    char path[96];
    struct http_limits limits;
    bool tcp; /* set by tests before they start */
    uint16_t tcp_port;
    int64_t cut; /* whom COMMAND_CUT cuts */

    struct exchange *streams[HARNESS_STREAMS];
    unsigned stream_count;
    struct exchange *late;
    struct exchange *puller;
    uint64_t pulled;

    struct exchange *upload;
    int upload_pipe; /* the reader's end */
    int download_pipe;
    uint64_t download_left;

    /* Set by tests before they start. */
    uint64_t last_event;
    size_t data_bytes;
    bool reader_sleeps;  /* nobody reads the sink */
    uint64_t sink_max;   /* 0: unbounded */
    bool refuse_uploads; /* 507 at the head */

    /* Commands of the test's thread; done when `command` is 0 again. */
    atomic_int command;
    uint64_t publish_id;
    size_t publish_bytes;

    atomic_uint handled, gone, rooms, body_ends, served, refused_callers;
    atomic_uint published, unpublished;
    atomic_uint_fast64_t uploaded;
    atomic_int last_how, last_status;
    atomic_bool stopped;
};

enum {
    COMMAND_STOP = 1,
    COMMAND_PUBLISH,
    COMMAND_LATE,
    COMMAND_DRAIN,
    COMMAND_CLOSE_READER,
    COMMAND_CUT
};

static struct harness harness;

static inline void harness_forget(struct exchange *x)
{
    for (unsigned i = 0; i < harness.stream_count; i++)
        if (harness.streams[i] == x)
            harness.streams[i--] = harness.streams[--harness.stream_count];
    if (harness.late == x)
        harness.late = NULL;
    if (harness.puller == x)
        harness.puller = NULL;
    if (harness.upload == x) {
        harness.upload = NULL;
        fd_replace(&harness.upload_pipe, -1);
    }
}

/* ---- operations ------------------------------------------------------------------------------ */

static inline int harness_authorize(void *context, const struct exchange_request *request,
                                    struct err *err)
{
    (void)context;
    if (request->names.workspace_id && strcmp(request->names.workspace_id, "foreign") == 0) {
        harness.refused_callers++;
        return err_set(err, ERR_NOT_FOUND, 0, "find the workspace", "foreign", "No such one.");
    }
    return 0;
}

static inline int64_t harness_identify(void *context, const char *token, size_t length)
{
    (void)context;
    return length == 4 && memcmp(token, "good", 4) == 0    ? 7
           : length == 5 && memcmp(token, "other", 5) == 0 ? 8
                                                           : 0;
}

static inline bool harness_host_known(void *context, const char *host, size_t length)
{
    (void)context;
    return length == 13 && memcmp(host, "berth.example", 13) == 0;
}

static inline void harness_pull(struct exchange *x)
{
    char data[70000];
    memset(data, 'x', sizeof data);
    while (harness.pulled < harness.last_event) {
        int n = snprintf(data, 32, "%" PRIu64 " ", harness.pulled + 1);
        data[n] = 'x';
        int r = exchange_send_event(x, harness.pulled + 1, "data", data, harness.data_bytes);
        if (r != 0)
            return;
        harness.pulled++;
    }
    harness_forget(x);
    exchange_stream_end(x);
}

static inline void harness_sink(struct exchange *x)
{
    int ends[2];
    struct err err;
    if (harness.refuse_uploads) {
        err_set(&err, ERR_INSUFFICIENT_STORAGE, 0, "write a file", NULL, "It is full.");
        exchange_refuse(x, &err, NULL);
        return;
    }
    cr_assert(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    harness.upload = x;
    fd_replace(&harness.upload_pipe, ends[0]);
    struct exchange_sink sink = {.fd = ends[1],
                                 .bytes_max = harness.sink_max ? harness.sink_max : BODY_UNBOUNDED,
                                 .idle_ms = harness.limits.stall_ms};
    cr_assert(exchange_body_to(x, &sink, &err) == 0);
    cr_assert(sink.fd == -1);
}

static inline void harness_source(struct exchange *x)
{
    const char *path = exchange_query(x, "path");
    const struct exchange_request *request = exchange_request(x);
    struct exchange_file file = {.fd = -1, .has_length = true, .size = HARNESS_FILE_BYTES};
    struct err err;
    if (byte_range_resolve(&request->range, file.size, &file.first, &file.length, &err) < 0) {
        exchange_refuse(x, &err, NULL);
        return;
    }
    file.partial = request->range.present;
    if (request->route->method == METHOD_HEAD) {
        exchange_answer_file(x, &file);
        return;
    }
    if (path && strcmp(path, "file") == 0) {
        file.fd = memfd_create("file", MFD_CLOEXEC);
        for (int i = 0; i < HARNESS_FILE_BYTES; i++)
            cr_assert(write(file.fd, &"0123456789"[i % 10], 1) == 1);
        file.offset = file.first;
        exchange_answer_file(x, &file);
        return;
    }
    int ends[2];
    cr_assert(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    fd_replace(&harness.download_pipe, ends[1]);
    file.fd = ends[0];
    file.partial = false;
    file.has_length = path && strcmp(path, "endless") != 0;
    file.length = file.has_length ? strtoull(path, NULL, 10) : 0;
    harness.download_left = file.has_length ? file.length : UINT64_MAX;
    if (path && strstr(path, "short"))
        harness.download_left /= 2;
    exchange_answer_file(x, &file);
}

static inline void harness_handle(void *context, struct exchange *x)
{
    (void)context;
    const struct exchange_request *request = exchange_request(x);
    _cleanup_buf_ struct buf out = {0};
    harness.handled++;
    switch (request->route->id) {
    case ROUTE_SESSION_EVENTS:
        exchange_events_begin(x);
        cr_assert(harness.stream_count < HARNESS_STREAMS);
        harness.streams[harness.stream_count++] = x;
        return;
    case ROUTE_EXEC_OUTPUT:
        exchange_events_begin(x);
        harness.puller = x;
        harness.pulled = request->has_last_event ? request->last_event : 0;
        harness_pull(x);
        return;
    case ROUTE_EXEC_STDIN:
    case ROUTE_FILE_WRITE:
        harness_sink(x);
        return;
    case ROUTE_FILE_READ:
    case ROUTE_FILE_STAT:
        harness_source(x);
        return;
    default:
        break;
    }
    if (request->names.session_id && strcmp(request->names.session_id, "late") == 0) {
        harness.late = x;
        return;
    }
    buf_printf(&out, "{\"route\":\"%s\",\"workspace\":\"%s\",\"key\":\"%s\",\"fingerprint\":\"%s\"",
               request->route->name, request->names.workspace_id ? request->names.workspace_id : "",
               request->idempotency_key ? request->idempotency_key : "", request->fingerprint);
    buf_printf(&out, ",\"uid\":%u,\"pid\":%d,\"events\":%d,\"members\":%u}", request->peer->uid,
               request->peer->pid, request->wants_events, request->body ? request->body->count : 0);
    exchange_answer(x, request->route->id == ROUTE_SESSION_CREATE ? 201 : 200, &out, NULL);
}

static inline void harness_room(void *context, struct exchange *x)
{
    (void)context;
    harness.rooms++;
    if (x == harness.puller)
        harness_pull(x);
}

static inline void harness_body_end(void *context, struct exchange *x, enum exchange_body how,
                                    uint64_t bytes)
{
    (void)context;
    _cleanup_buf_ struct buf out = {0};
    struct err err;
    harness.body_ends++;
    harness.last_how = (int)how;
    buf_printf(&out, "{\"bytes\":%" PRIu64 ",\"how\":%d,\"fingerprint\":\"%s\"}", bytes, how,
               exchange_request(x)->fingerprint);
    if (how == EXCHANGE_BODY_CUT)
        return; /* `gone` follows */
    harness_forget(x);
    if (how == EXCHANGE_BODY_TOO_LONG) {
        err_set(&err, ERR_TOO_LARGE, 0, "write a file", NULL, "It is too long.");
        exchange_refuse(x, &err, NULL);
        return;
    }
    exchange_answer(x, 200, &out, NULL);
}

static inline void harness_gone(void *context, struct exchange *x)
{
    (void)context;
    harness.gone++;
    harness_forget(x);
    exchange_end(x);
}

static inline void harness_served(void *context, const struct http_served *served)
{
    (void)context;
    harness.served++;
    harness.last_status = served->status;
}

/* ---- its thread ------------------------------------------------------------------------------ */

static inline void harness_work(void *owner)
{
    (void)owner;
    static char data[65536];
    ssize_t n = 1;
    for (int i = 0; i < 64 && n > 0 && harness.upload_pipe >= 0 && !harness.reader_sleeps; i++) {
        n = read(harness.upload_pipe, data, sizeof data);
        if (n > 0)
            harness.uploaded += (uint64_t)n;
    }
    n = 1;
    for (int i = 0; i < 64 && n > 0 && harness.download_pipe >= 0; i++) {
        size_t length = sizeof data < harness.download_left ? sizeof data : harness.download_left;
        n = length ? write(harness.download_pipe, data, length) : 0;
        if (n > 0)
            harness.download_left -= (uint64_t)n;
        if (n == 0 || (n < 0 && errno == EPIPE))
            fd_replace(&harness.download_pipe, -1);
    }
    loop_timer_set(harness.worker, 1);
}

static inline void harness_on_stopped(void *owner)
{
    (void)owner;
    harness.stopped = true;
}

static inline void harness_publish_all(void)
{
    static char data[65536];
    memset(data, 'p', sizeof data);
    for (unsigned i = 0; i < harness.stream_count; i++) {
        int r = exchange_send_event(harness.streams[i], harness.publish_id, "note", data,
                                    harness.publish_bytes);
        if (r == 0)
            harness.published++;
        else
            harness.unpublished++;
    }
}

static inline void harness_on_wake(void *owner)
{
    (void)owner;
    _cleanup_buf_ struct buf out = {0};
    switch ((int)harness.command) {
    case COMMAND_STOP:
        loop_stop(harness.loop);
        break;
    case COMMAND_PUBLISH:
        harness_publish_all();
        break;
    case COMMAND_LATE:
        buf_puts(&out, "{\"late\":true}");
        if (harness.late)
            exchange_answer(harness.late, 200, &out, NULL);
        harness.late = NULL;
        break;
    case COMMAND_DRAIN:
        server_drain(harness.server, 1000, harness_on_stopped, NULL);
        break;
    case COMMAND_CLOSE_READER:
        fd_replace(&harness.upload_pipe, -1);
        break;
    case COMMAND_CUT:
        server_cut(harness.server, harness.cut);
        break;
    }
    harness.command = 0;
}

static inline void *harness_main(void *argument)
{
    struct err err;
    (void)argument;
    loop_run(harness.loop, &err);
    return NULL;
}

static inline void harness_command(int command)
{
    harness.command = command;
    loop_wake_send(harness.wake);
    for (int i = 0; i < 5000 && harness.command != 0; i++)
        poll(NULL, 0, 1);
    cr_assert(harness.command == 0, "the server's thread is stuck");
}

static inline int harness_listener(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(harness.directory, sizeof harness.directory, "/tmp/berth-http-XXXXXX");
    cr_assert(mkdtemp(harness.directory) != NULL);
    snprintf(harness.path, sizeof harness.path, "%s/socket", harness.directory);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", harness.path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    cr_assert(listen(fd, 4096) == 0);
    return fd;
}

static inline int harness_tcp_listener(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    cr_assert(listen(fd, 4096) == 0);
    cr_assert(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    harness.tcp_port = ntohs(address.sin_port);
    return fd;
}

/* Before: what a test wants set in `harness`. */
static inline void harness_start(void)
{
    struct err err;
    struct http_operations operations = {
        .fingerprint_key = {1, 2, 3},
        .authorize = harness_authorize,
        .identify = harness_identify,
        .host_known = harness_host_known,
        .room = harness_room,
        .body_end = harness_body_end,
        .gone = harness_gone,
        .served = harness_served,
    };
    for (int i = 0; i < ROUTE_COUNT; i++)
        operations.handle[i] = harness_handle;
    harness.upload_pipe = harness.download_pipe = -1;
    if (harness.limits.connections_max == 0)
        harness.limits = http_limits_default;
    cr_assert(loop_new(&harness.loop, &err) == 0);
    cr_assert(server_new(&harness.server, harness.loop, &operations, &harness.limits, &err) == 0);
    cr_assert(server_listen(harness.server, harness_listener(), &err) == 0);
    if (harness.tcp)
        cr_assert(server_listen(harness.server, harness_tcp_listener(), &err) == 0);
    cr_assert(loop_wake_new(harness.loop, harness_on_wake, NULL, &harness.wake, &err) == 0);
    cr_assert(loop_timer_new(harness.loop, harness_work, NULL, &harness.worker, &err) == 0);
    loop_timer_set(harness.worker, 1);
    cr_assert(pthread_create(&harness.thread, NULL, harness_main, NULL) == 0);
}

static inline void harness_stop(void)
{
    harness_command(COMMAND_STOP);
    pthread_join(harness.thread, NULL);
    loop_wake_free(harness.wake);
    loop_timer_free(harness.worker);
    server_free(harness.server);
    loop_free(harness.loop);
    fd_close(harness.upload_pipe);
    fd_close(harness.download_pipe);
    unlink(harness.path);
    rmdir(harness.directory);
    memset(&harness, 0, sizeof harness);
}

/* ---- the client's side ----------------------------------------------------------------------- */

enum { CLIENT_WAIT_MS = 5000 };

static inline int client_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", harness.path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "%s",
              strerror(errno));
    struct timeval wait = {.tv_sec = CLIENT_WAIT_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    return fd;
}

static inline int client_connect_tcp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(harness.tcp_port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "%s",
              strerror(errno));
    struct timeval wait = {.tv_sec = CLIENT_WAIT_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    return fd;
}

/* Less than all when the server has closed. */
static inline size_t client_send(int fd, const char *data, size_t length)
{
    size_t sent = 0;
    while (sent < length) {
        ssize_t n = send(fd, data + sent, length - sent, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    return sent;
}

static inline void client_puts(int fd, const char *text)
{
    client_send(fd, text, strlen(text));
}

/* Until `until` was seen (NULL: until the end) or `wait_ms` passed without a byte. The text is
 * NUL-terminated. */
static inline size_t client_read(int fd, char *text, size_t size, const char *until, int wait_ms)
{
    size_t length = 0;
    text[0] = 0;
    while (length + 1 < size) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, wait_ms) <= 0)
            break;
        ssize_t n = recv(fd, text + length, size - 1 - length, 0);
        if (n <= 0)
            break;
        length += (size_t)n;
        text[length] = 0;
        if (until && memmem(text, length, until, strlen(until)))
            break;
    }
    return length;
}

/* Has the server closed its side? */
static inline bool client_at_end(int fd, int wait_ms)
{
    char byte;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, wait_ms) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) <= 0;
}

/* One connection, one text, everything that comes back until the end or silence. */
static inline size_t client_ask(const char *request, size_t length, char *text, size_t size)
{
    _cleanup_fd_ int fd = client_connect();
    client_send(fd, request, length);
    shutdown(fd, SHUT_WR);
    return client_read(fd, text, size, NULL, CLIENT_WAIT_MS);
}

/* Waits for `counter` to reach `value`. */
static inline bool harness_wait(atomic_uint *counter, unsigned value)
{
    for (int i = 0; i < CLIENT_WAIT_MS && *counter < value; i++)
        poll(NULL, 0, 1);
    return *counter >= value;
}

static inline unsigned count_of(const char *text, const char *part)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}
