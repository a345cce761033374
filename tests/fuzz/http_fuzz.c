/* This file feeds arbitrary bytes, in arbitrary pieces, to a connection of the HTTP server over a
 * socket pair (libFuzzer), with operations that answer in every way there is. It stops the process
 * when an exchange is lost or ended twice, when a request is understood that the reader of heads
 * alone would refuse, or when a connection outlives its client.
 *
 * Input: a byte of flags, then pieces: a byte of length (0: 4096), and as many bytes.
 */
#include "api/http/server.h"
#include "runtime/base/fd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LATE = 1, HALF_CLOSE = 2, CUT_EARLY = 4, NO_READ = 8, EXCHANGES = 256 };

static struct loop *loop;
static struct server *server;
static unsigned flags;
static struct exchange *open_ones[EXCHANGES];
static unsigned open_count, waiting_count;
static struct exchange *waiting[EXCHANGES];
static int reader = -1; /* of the last upload */

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static void forget(struct exchange *x)
{
    unsigned found = 0;
    for (unsigned i = 0; i < open_count; i++)
        if (open_ones[i] == x) {
            open_ones[i--] = open_ones[--open_count];
            found++;
        }
    demand(found == 1);
    for (unsigned i = 0; i < waiting_count; i++)
        if (waiting[i] == x)
            waiting[i--] = waiting[--waiting_count];
}

static int authorize(void *context, const struct exchange_request *request, struct err *err)
{
    (void)context;
    demand(request->route != NULL);
    if (request->names.workspace_id && strcmp(request->names.workspace_id, "x") == 0)
        return err_set(err, ERR_FORBIDDEN, 0, "look", "x", "No.");
    return 0;
}

static void answer(struct exchange *x)
{
    struct buf out = {0};
    const struct exchange_request *request = exchange_request(x);
    forget(x);
    demand(!request->route->later);
    buf_json_string(&out, request->path);
    demand(request->body == NULL || request->body->kind == JSON_OBJECT);
    demand((request->route->body == BODY_OBJECT) == (request->body != NULL));
    exchange_answer(x, 200, &out, NULL);
}

static void send_file(struct exchange *x)
{
    const struct exchange_request *request = exchange_request(x);
    struct exchange_file file = {.fd = -1, .has_length = true, .size = 4};
    struct err err;
    forget(x);
    if (byte_range_resolve(&request->range, file.size, &file.first, &file.length, &err) < 0) {
        exchange_refuse(x, &err, NULL);
        return;
    }
    file.partial = request->range.present;
    file.offset = file.first;
    file.fd = memfd_create("fuzz", MFD_CLOEXEC);
    demand(write(file.fd, "abcd", 4) == 4);
    exchange_answer_file(x, &file);
}

static void take_body(struct exchange *x)
{
    int ends[2];
    struct err err;
    demand(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    fd_replace(&reader, ends[0]);
    struct exchange_sink sink = {.fd = ends[1], .bytes_max = flags & LATE ? 1000 : BODY_UNBOUNDED};
    demand(exchange_body_to(x, &sink, &err) == 0);
}

static void handle(void *context, struct exchange *x)
{
    const struct exchange_request *request = exchange_request(x);
    (void)context;
    demand(open_count < EXCHANGES);
    open_ones[open_count++] = x;
    demand(!request->idempotency_key || request->route->key == KEY_OPTIONAL);
    if (request->route->body == BODY_STREAM) {
        take_body(x);
    } else if (request->route->answer == ANSWER_BYTES) {
        send_file(x);
    } else if (request->wants_events) {
        exchange_events_begin(x);
        exchange_send_event(x, request->last_event + 1, "e", "a\nb", 3);
        if (flags & LATE) {
            waiting[waiting_count++] = x;
        } else {
            forget(x);
            exchange_stream_end(x);
        }
    } else if (flags & LATE) {
        waiting[waiting_count++] = x;
    } else {
        answer(x);
    }
}

static void room(void *context, struct exchange *x)
{
    (void)context;
    (void)x;
    demand(false); /* nothing here fills a queue */
}

static void body_end(void *context, struct exchange *x, enum exchange_body how, uint64_t bytes)
{
    struct err err;
    (void)context;
    (void)bytes;
    if (how == EXCHANGE_BODY_CUT)
        return;
    if (how == EXCHANGE_BODY_WHOLE) {
        answer(x);
        return;
    }
    forget(x);
    err_set(&err, ERR_TOO_LARGE, 0, "write", NULL, "Too long.");
    exchange_refuse(x, &err, NULL);
}

static void gone(void *context, struct exchange *x)
{
    (void)context;
    forget(x);
    exchange_end(x);
}

/* Rounds until nothing happens any more. */
static void turn(int client)
{
    static char text[65536];
    for (int i = 0; i < 6; i++) {
        loop_step(loop, false);
        if (reader >= 0)
            while (read(reader, text, sizeof text) > 0)
                ;
        if (!(flags & NO_READ))
            while (recv(client, text, sizeof text, MSG_DONTWAIT) > 0)
                ;
    }
}

static int start(struct sockaddr_un *address, socklen_t *length)
{
    struct err err;
    struct http_operations operations = {
        .authorize = authorize, .room = room, .body_end = body_end, .gone = gone};
    for (int i = 0; i < ROUTE_COUNT; i++)
        operations.handle[i] = handle;
    demand(loop_new(&loop, &err) == 0);
    demand(server_new(&server, loop, &operations, &http_limits_default, &err) == 0);
    /* An address of the kernel's choice in its own name space: no file. */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address->sun_family = AF_UNIX;
    demand(bind(fd, (struct sockaddr *)address, sizeof(sa_family_t)) == 0 && listen(fd, 16) == 0);
    *length = sizeof *address;
    demand(getsockname(fd, (struct sockaddr *)address, length) == 0);
    demand(server_listen(server, fd, &err) == 0);
    return 0;
}

static void feed(int client, const uint8_t *data, size_t size)
{
    size_t at = 0;
    while (at < size) {
        size_t n = data[at] ? data[at] : 4096;
        at++;
        n = n < size - at ? n : size - at;
        if (n > 0 && send(client, data + at, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
        at += n;
        turn(client);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sockaddr_un address;
    static socklen_t length;
    if (!server)
        start(&address, &length);
    if (size < 2)
        return 0;
    flags = data[0];
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    demand(client >= 0 && connect(client, (struct sockaddr *)&address, length) == 0);
    turn(client);
    feed(client, data + 1, size - 1);
    if (flags & HALF_CLOSE)
        shutdown(client, SHUT_WR);
    turn(client);
    if (!(flags & CUT_EARLY))
        while (waiting_count > 0)
            answer(waiting[0]);
    turn(client);
    close(client);
    for (int i = 0; i < 100 && server_connections(server) > 0; i++)
        turn(-1);
    demand(server_connections(server) == 0 && open_count == 0);
    fd_replace(&reader, -1);
    return 0;
}
