/* This file sends standard input to a command over a connection of its own, chunk by chunk; it
 * never reads more than it can send, and never closes the command's input unless all of it has
 * arrived.
 *
 * The service may be ended and started again in between. How many bytes went into the command's
 * input it knows exactly, so what follows them is sent again: nothing is lost, and nothing comes
 * twice.
 */
#include "api/cli/exec.h"

#include "api/cli/verb.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* KEPT_BYTES: more than sockets and the service's buffers hold. */
enum { CHUNK_BYTES = 32 * 1024, CHUNK_ROOM = CHUNK_BYTES + 32, KEPT_BYTES = 1 << 20 };

void exec_stdin_init(struct exec_stdin *in)
{
    *in = (struct exec_stdin){.from = -1, .fd = -1, .done = true};
}

void exec_stdin_fini(struct exec_stdin *in)
{
    fd_close(in->fd);
    free(in->pending);
    free(in->kept);
    exec_stdin_init(in);
}

void exec_stdin_begin(struct exec_stdin *in, struct client *client, const char *exec_path, int from,
                      struct terminal *terminal)
{
    exec_stdin_init(in);
    in->client = client;
    in->path = exec_path;
    in->from = from;
    in->terminal = terminal;
    in->done = false;
}

void exec_stdin_poll(const struct exec_stdin *in, struct pollfd fds[EXEC_STDIN_POLL])
{
    bool sending = in->at < in->length;
    sending |= in->fd >= 0 && (in->again_at < in->read || (in->ended && !in->end_sent));
    bool reading = !in->done && !in->ended && !sending;
    fds[0] = (struct pollfd){.fd = reading ? in->from : -1, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = in->done ? -1 : in->fd,
                             .events = (short)(POLLIN | (sending ? POLLOUT : 0))};
}

/* All has arrived: the command sees the end of its input. */
static int close_input(struct exec_stdin *in, struct err *err)
{
    _cleanup_buf_ struct buf path = {0};
    char key[CLIENT_KEY_SIZE];
    int r = client_key(key, err);
    if (r < 0)
        return r;
    buf_printf(&path, "%s/close-stdin", in->path);
    const struct client_request request = {
        .method = "POST", .path = buf_text(&path), .body = "{}", .key = key};
    r = client_call(in->client, &request, NULL, err);
    /* A command that has ended has no input to be closed. */
    return r < 0 && err->code != ERR_INVALID_STATE && err->code != ERR_NOT_FOUND ? r : 0;
}

static int broken(struct exec_stdin *in, const char *why, struct err *err)
{
    in->done = in->broken = true;
    return err_set(err, ERR_UNAVAILABLE, 0, "send standard input", NULL, "%s", why);
}

/* How many bytes went in, by a request with none: it waits as all requests do. */
static int ask_offset(struct exec_stdin *in, uint64_t *ret, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf path = {0};
    struct client_answer answer = {0};
    const struct json_node *root;
    buf_printf(&path, "%s/stdin", in->path);
    const struct client_request request = {
        .method = "POST", .path = buf_text(&path), .body = "", .repeats = true};
    int r = client_call(in->client, &request, &answer, err);
    if (r == 0 &&
        (verb_read(&arena, &answer.document, &root) < 0 || !verb_number(root, "offset", ret)))
        r = err_set(err, ERR_UNAVAILABLE, EPROTO, "send standard input", NULL,
                    "berth serve does not say how much of it has arrived.");
    buf_fini(&answer.document);
    return r;
}

/* The connection ended. The older request may not have ended in the service: `in_progress`. */
static int lost(struct exec_stdin *in, struct err *err)
{
    uint64_t until = client_now_ms() + CLIENT_PATIENCE_MS, offset = 0;
    fd_replace(&in->fd, -1);
    in->at = in->length = 0;
    while (ask_offset(in, &offset, err) < 0) {
        bool later = err->code == ERR_IN_PROGRESS || err->code == ERR_UNAVAILABLE;
        if (err->code == ERR_INVALID_STATE || err->code == ERR_NOT_FOUND) {
            in->done = true; /* the command has ended, or reads no more */
            return 0;
        }
        if (!later || client_now_ms() > until)
            return broken(in,
                          "The connection to berth serve ended, and a part of the input may be "
                          "missing.",
                          err);
        client_pause(20);
    }
    if (offset > in->read || in->read - offset > KEPT_BYTES)
        return broken(in, "Somebody else writes to the command's input as well.", err);
    in->again_at = offset;
    in->end_sent = false;
    _cleanup_buf_ struct buf path = {0};
    buf_printf(&path, "%s/stdin?offset=%" PRIu64, in->path, offset);
    int r = client_upload_open(in->client, buf_text(&path), &in->fd, err);
    return r < 0 ? broken(in, "The connection to berth serve ended.", err) : 0;
}

/* Something came back, before or after the end. */
static int take_answer(struct exec_stdin *in, struct err *err)
{
    int r = client_upload_answer(in->client, in->fd, err);
    if (r == -ECONNRESET)
        return lost(in, err);
    fd_replace(&in->fd, -1);
    in->at = in->length = 0;
    in->done = true;
    /* The command has ended, or has closed its input: its end says how that went. */
    if (r < 0)
        return err->code == ERR_INVALID_STATE || err->code == ERR_NOT_FOUND ? 0 : r;
    return in->ended ? close_input(in, err) : 0;
}

static int send_pending(struct exec_stdin *in, struct err *err)
{
    while (in->at < in->length) {
        ssize_t n =
            send(in->fd, in->pending + in->at, in->length - in->at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0)
            return take_answer(in, err);
        in->at += (size_t)n;
    }
    return 0;
}

/* The kernel keeps an end-of-file key that was typed before the terminal was raw as a NUL. */
static void mend_typed(struct exec_stdin *in, char *data, size_t length)
{
    for (size_t i = 0; in->terminal && i < length && in->terminal->ahead > 0; i++) {
        if (data[i] == 0)
            data[i] = 4;
        in->terminal->ahead--;
    }
}

/* A piece of what was sent before, or new. -1, or what read(2) says. */
static ssize_t next_piece(struct exec_stdin *in, char *data)
{
    if (in->again_at == in->read && in->ended)
        return 0;
    if (in->again_at == in->read) {
        ssize_t n = read(in->from, data, CHUNK_BYTES);
        if (n > 0)
            mend_typed(in, data, (size_t)n);
        for (ssize_t i = 0; i < n; i++)
            in->kept[(in->read + (uint64_t)i) % KEPT_BYTES] = data[i];
        in->read += n > 0 ? (uint64_t)n : 0;
        in->again_at = in->read;
        return n;
    }
    size_t n = 0;
    for (; n < CHUNK_BYTES && in->again_at < in->read; n++)
        data[n] = in->kept[in->again_at++ % KEPT_BYTES];
    return (ssize_t)n;
}

static int read_chunk(struct exec_stdin *in, struct err *err)
{
    char head[16];
    if ((!in->pending && !(in->pending = malloc(CHUNK_ROOM))) ||
        (!in->kept && !(in->kept = malloc(KEPT_BYTES))))
        return err_set(err, ERR_INTERNAL, ENOMEM, "send standard input", NULL, NULL);
    if (in->fd < 0) {
        _cleanup_buf_ struct buf path = {0};
        buf_printf(&path, "%s/stdin", in->path);
        int r = client_upload_open(in->client, buf_text(&path), &in->fd, err);
        if (r < 0)
            return lost(in, err);
    }
    char *data = in->pending + sizeof head;
    ssize_t n = next_piece(in, data);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0) { /* a terminal that is gone is an end as well */
        in->ended = in->end_sent = true;
        memcpy(in->pending, "0\r\n\r\n", 5);
        in->at = 0;
        in->length = 5;
        return send_pending(in, err);
    }
    int digits = snprintf(head, sizeof head, "%zx\r\n", (size_t)n);
    memcpy(data - digits, head, (size_t)digits);
    data[n] = '\r';
    data[n + 1] = '\n';
    in->at = sizeof head - (size_t)digits;
    in->length = sizeof head + (size_t)n + 2;
    return send_pending(in, err);
}

int exec_stdin_step(struct exec_stdin *in, const struct pollfd fds[EXEC_STDIN_POLL],
                    struct err *err)
{
    if (in->done)
        return 0;
    if (fds[1].fd >= 0 && (fds[1].revents & (POLLIN | POLLHUP | POLLERR)))
        return take_answer(in, err);
    bool again = in->again_at < in->read || (in->ended && !in->end_sent);
    if (fds[1].fd >= 0 && (fds[1].revents & POLLOUT))
        return in->at == in->length && again ? read_chunk(in, err) : send_pending(in, err);
    return fds[0].fd >= 0 && fds[0].revents ? read_chunk(in, err) : 0;
}
