/* This file sends requests to the launcher and hands its replies to who asked; it never waits, and
 * keeps of a reply nothing but the buffer that the next one overwrites. Unprivileged, one thread.
 *
 * A call is in one list from launcher_client_call() until it is done. It is taken off the list
 * before its function is called: that function may call anything here but launcher_client_free().
 */
#include "runtime/link/launcher_client.h"

#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

struct call {
    struct call *next;
    bool sent;
    struct launcher_request request;
    int fds[LAUNCHER_FDS_MAX];
    unsigned fd_count;
    launcher_done *done; /* NULL: nobody waits */
    const void *data;
};

struct launcher_client {
    int fd;    /* -1: lost */
    int spent; /* the one that was lost, shut down; -1 */
    uint64_t ticket;
    struct call *first, **end; /* in the order of calling */
    struct call *unsent;       /* the first one that was not sent; later ones were not either */
    void (*died)(void *data, int64_t row, int64_t incarnation);
    void *died_data;
    struct launcher_reply reply;
};

static void call_free(struct call *call)
{
    for (unsigned i = 0; i < call->fd_count; i++)
        fd_close(call->fds[i]);
    free(call);
}

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int launcher_client_new(struct launcher_client **ret, int fd, struct err *err)
{
    _cleanup_fd_ int own = fd;
    struct launcher_client *client = calloc(1, sizeof *client);
    if (!client)
        return err_raw(err, ERR_INTERNAL, ENOMEM, "talk to the launcher", NULL);
    int r = set_nonblocking(own);
    if (r < 0) {
        free(client);
        return err_set(err, ERR_INTERNAL, -r, "talk to the launcher", NULL, NULL);
    }
    client->end = &client->first;
    client->spent = -1;
    client->fd = take_fd(&own);
    *ret = client;
    return 0;
}

void launcher_client_free(struct launcher_client *client)
{
    if (!client)
        return;
    for (struct call *call = client->first; call;) {
        struct call *next = call->next;
        call_free(call);
        call = next;
    }
    fd_close(client->fd);
    fd_close(client->spent);
    free(client);
}

static void append(struct launcher_client *client, struct call *call)
{
    *client->end = call;
    client->end = &call->next;
    if (!client->unsent)
        client->unsent = call;
}

/* Take `*at` off the list. */
static struct call *take(struct launcher_client *client, struct call **at)
{
    struct call *call = *at;
    *at = call->next;
    if (client->end == &call->next)
        client->end = at;
    if (client->unsent == call)
        client->unsent = call->next;
    call->next = NULL;
    return call;
}

static void finish(struct call *call, const struct launcher_reply *reply, const struct err *err)
{
    launcher_done *done = call->done;
    void *data = (void *)(uintptr_t)call->data;
    call_free(call);
    if (done)
        done(data, reply, err);
}

int launcher_client_call(struct launcher_client *client, const struct launcher_request *request,
                         const int *fds, unsigned fd_count, launcher_done *done, void *data,
                         struct err *err)
{
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        return err_raw(err, ERR_INTERNAL, ENOMEM, "ask the launcher", NULL);
    call->request = *request;
    call->request.magic = LAUNCHER_MAGIC;
    call->request.version = LAUNCHER_VERSION;
    call->request.ticket = ++client->ticket;
    call->done = done;
    call->data = data;
    const char *wrong = launcher_request_check(&call->request, sizeof call->request, fd_count);
    if (wrong || request->type == LAUNCHER_CANCEL) {
        call_free(call);
        return err_set(err, ERR_INTERNAL, 0, "ask the launcher",
                       launcher_request_name(request->type), "The launcher would refuse it: %s.",
                       wrong ? wrong : "it is made by launcher_client_cancel()");
    }
    for (; call->fd_count < fd_count; call->fd_count++) {
        int fd = fcntl(fds[call->fd_count], F_DUPFD_CLOEXEC, 3);
        if (fd < 0) {
            int sys = errno;
            call_free(call);
            return err_set(err, ERR_UNAVAILABLE, sys, "ask the launcher",
                           launcher_request_name(request->type),
                           "berth has too many files open. Try again.");
        }
        call->fds[call->fd_count] = fd;
    }
    append(client, call);
    return 0;
}

void launcher_client_forget(struct launcher_client *client, const void *data)
{
    for (struct call *call = client->first; call; call = call->next)
        if (call->data == data)
            call->done = NULL;
}

/* Its own ticket is that of the call that it is about; its reply is told apart by the type. Sent
 * calls stand before the first unsent one, so it can't overtake what it is about. */
static void cancel_sent(struct launcher_client *client, const struct call *about)
{
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        return; /* the call then ends by its own deadline */
    call->request = (struct launcher_request){.magic = LAUNCHER_MAGIC,
                                              .version = LAUNCHER_VERSION,
                                              .type = LAUNCHER_CANCEL,
                                              .ticket = about->request.ticket,
                                              .row = about->request.row,
                                              .incarnation = about->request.incarnation};
    memcpy(call->request.instance, about->request.instance, sizeof call->request.instance);
    append(client, call);
}

void launcher_client_cancel(struct launcher_client *client, const void *data)
{
    static const struct err cancelled = {
        .sys = ECANCELED, .code = ERR_UNAVAILABLE, .step = "ask the launcher", .detail = ""};
    uint64_t last = client->ticket;
    for (struct call **at = &client->first; *at;) {
        struct call *call = *at;
        if (call->data != data || !call->done || call->request.type == LAUNCHER_CANCEL ||
            call->request.ticket > last) {
            at = &call->next;
        } else if (call->sent) {
            cancel_sent(client, call);
            at = &call->next;
        } else {
            finish(take(client, at), NULL, &cancelled);
            at = &client->first; /* the list may be another one now; `data` is asked again */
        }
    }
}

void launcher_client_on_died(struct launcher_client *client,
                             void (*died)(void *data, int64_t row, int64_t incarnation), void *data)
{
    client->died = died;
    client->died_data = data;
}

int launcher_client_fd(const struct launcher_client *client)
{
    return client->fd;
}

bool launcher_client_wants_write(const struct launcher_client *client)
{
    return client->fd >= 0 && client->unsent;
}

/* Every call that was sent is done. New ones that this makes are not sent yet, and stay. */
static int lost(struct launcher_client *client, int sys, const char *detail, struct err *err)
{
    struct err why;
    err_set(&why, ERR_UNAVAILABLE, sys, "talk to the launcher", NULL,
            "%s What was asked of it may have happened or not.", detail);
    why.sys = ECONNRESET;
    /* Its number stays taken: the caller still watches it, and what is called below may open. */
    shutdown(client->fd, SHUT_RDWR);
    fd_replace(&client->spent, take_fd(&client->fd));
    for (struct call **at = &client->first; *at;) {
        if (!(*at)->sent) {
            at = &(*at)->next;
            continue;
        }
        struct call *call = take(client, at);
        if (call->request.type == LAUNCHER_CANCEL)
            call->done = NULL;
        finish(call, NULL, &why);
        at = &client->first;
    }
    if (err)
        *err = why;
    return LAUNCHER_CLIENT_LOST;
}

/* 0 sent, -EAGAIN, other: lost. */
static int send_one(int fd, const struct call *call)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * LAUNCHER_FDS_MAX)];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {(void *)(uintptr_t)&call->request, sizeof call->request};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (call->fd_count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * call->fd_count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * call->fd_count);
        memcpy(CMSG_DATA(header), call->fds, sizeof(int) * call->fd_count);
    }
    ssize_t n;
    do
        n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* -EAGAIN when the socket is full, or when its descriptors in flight are too many for the kernel's
 * limit per user: they get fewer as the launcher reads. */
static int flush(struct launcher_client *client)
{
    while (client->unsent) {
        struct call *call = client->unsent;
        int r = send_one(client->fd, call);
        if (r == -ETOOMANYREFS)
            r = -EAGAIN;
        if (r < 0)
            return r;
        call->sent = true;
        client->unsent = call->next;
        for (unsigned i = 0; i < call->fd_count; i++)
            fd_close(call->fds[i]);
        call->fd_count = 0;
    }
    return 0;
}

static void deliver(struct launcher_client *client)
{
    const struct launcher_reply *reply = &client->reply;
    if (reply->type == LAUNCHER_REQUEST_END) {
        if (client->died)
            client->died(client->died_data, reply->row, reply->incarnation);
        return;
    }
    for (struct call **at = &client->first; *at; at = &(*at)->next) {
        if (!(*at)->sent || (*at)->request.ticket != reply->ticket ||
            (*at)->request.type != reply->type)
            continue;
        struct call *call = take(client, at);
        finish(call, reply, reply->result < 0 ? &reply->err : NULL);
        return;
    }
}

int launcher_client_work(struct launcher_client *client, struct err *err)
{
    while (client->fd >= 0) {
        /* Where sending fails, replies from before may still be there to be read. */
        int sending = flush(client);
        /* MSG_TRUNC: the length is the message's, so a longer one is seen to be one. Descriptors
         * that would come with it are closed by the kernel: there is no room for them. */
        ssize_t n;
        do
            n = recv(client->fd, &client->reply, sizeof client->reply, MSG_DONTWAIT | MSG_TRUNC);
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno == EAGAIN && (sending == 0 || sending == -EAGAIN))
            return 0;
        if (n <= 0)
            return lost(client, n < 0 ? errno : ECONNRESET, "The launcher has ended.", err);
        const char *wrong = launcher_reply_check(&client->reply, (size_t)n);
        if (wrong)
            return lost(client, EPROTO, "The launcher sent what is no reply.", err);
        deliver(client);
    }
    return LAUNCHER_CLIENT_LOST;
}

void launcher_client_replace(struct launcher_client *client, int fd)
{
    if (client->fd >= 0)
        lost(client, ECONNRESET, "There is another launcher.", NULL);
    /* A descriptor that cannot be made non-blocking can't be used either way: recv() and sendmsg()
     * are asked not to wait each time. */
    (void)set_nonblocking(fd);
    fd_replace(&client->spent, -1);
    client->fd = fd;
}
