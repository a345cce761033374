/* This file asks the gateway; it never serves a connection. */
#include "runtime/host/network_ask.h"

#include "runtime/base/fd.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int told_of_still = -1;

void network_ask_tell_still(int eventfd)
{
    told_of_still = eventfd;
}

static void tell_still(void)
{
    const uint64_t one = 1;
    if (told_of_still >= 0)
        (void)!write(told_of_still, &one, sizeof one); /* full: it is known */
}

static int gone(int sys, const struct gateway_request *request, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, sys, "ask the gateway",
                   gateway_request_name(request->type),
                   "The gateway does not answer; the session gets no network without it.");
}

static int send_request(int control, const struct gateway_request *request, const int *fds,
                        unsigned count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * GATEWAY_FDS_MAX)];
    } room = {0};
    struct iovec part = {(void *)(uintptr_t)request, sizeof *request};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = room.bytes,
                             .msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof fds[0])};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = (socklen_t)CMSG_LEN(count * sizeof fds[0]);
    memcpy(CMSG_DATA(header), fds, count * sizeof fds[0]);
    return sendmsg(control, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int receive(int socket, struct gateway_reply *ret)
{
    struct pollfd p = {.fd = socket, .events = POLLIN};
    int r;
    while ((r = poll(&p, 1, NETWORK_ASK_MS)) < 0 && errno == EINTR)
        continue;
    if (r <= 0)
        return r < 0 ? -errno : -ETIMEDOUT;
    ssize_t n = recv(socket, ret, sizeof *ret, MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0)
        return -errno;
    if (n == 0)
        return -ECONNRESET;
    return gateway_reply_check(ret, (size_t)n) ? -EPROTO : 0;
}

enum asked { ASKED_NOT, ASKED_SENT, ASKED_ANSWERED };

int network_ask_begin(int control, struct gateway_request *request, const int *fds, unsigned count,
                      int *ret_answer, struct err *err)
{
    int pair[2], all[GATEWAY_FDS_MAX];
    if (count >= GATEWAY_FDS_MAX)
        return gone(EINVAL, request, err);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return gone(errno, request, err);
    _cleanup_fd_ int mine = pair[0], theirs = pair[1];
    for (unsigned i = 0; i < count; i++)
        all[i] = fds[i];
    all[count] = theirs;
    request->magic = GATEWAY_MAGIC;
    request->version = GATEWAY_VERSION;
    request->ticket = 1;
    request->answer = 1;
    int r = send_request(control, request, all, count + 1);
    if (r == -EAGAIN)
        tell_still();
    if (r < 0)
        return gone(-r, request, err);
    /* The gateway's end is the only one left: its death is the end of the answer. */
    *ret_answer = take_fd(&mine);
    return 0;
}

static int finish(int answer, const struct gateway_request *request, struct gateway_reply *ret,
                  enum asked *ret_asked, struct err *err)
{
    struct gateway_reply reply = {0};
    int r = receive(answer, &reply);
    if (r == -ETIMEDOUT)
        tell_still();
    if (r < 0)
        return gone(-r, request, err);
    *ret_asked = ASKED_ANSWERED;
    if (reply.result < 0) {
        /* Its words, in the places that are escaped when they are shown. */
        return err_set(err, (enum err_code)reply.err.code, -reply.result, "ask the gateway",
                       reply.err.step, "%s", reply.err.detail);
    }
    if (ret)
        *ret = reply;
    return 0;
}

static int ask(int control, struct gateway_request *request, const int *fds, unsigned count,
               struct gateway_reply *ret, enum asked *ret_asked, struct err *err)
{
    _cleanup_fd_ int answer = -1;
    int r = network_ask_begin(control, request, fds, count, &answer, err);
    if (r < 0)
        return r;
    *ret_asked = ASKED_SENT;
    return finish(answer, request, ret, ret_asked, err);
}

int network_ask_end(int answer, const struct gateway_request *request, struct gateway_reply *ret,
                    struct err *err)
{
    enum asked asked = ASKED_SENT;
    return finish(answer, request, ret, &asked, err);
}

int network_ask(int control, struct gateway_request *request, const int *fds, unsigned count,
                struct gateway_reply *ret, struct err *err)
{
    enum asked asked = ASKED_NOT;
    return ask(control, request, fds, count, ret, &asked, err);
}

/* Of a send: not that nobody is there. EAGAIN: its socket is full, for as long as is waited. */
static bool is_short(int sys)
{
    return sys == EAGAIN || sys == EMFILE || sys == ENFILE || sys == ETOOMANYREFS ||
           sys == ENOBUFS || sys == ENOMEM;
}

int network_deliver(int control, struct gateway_request *request, struct err *err)
{
    enum asked asked = ASKED_NOT;
    int r = ask(control, request, NULL, 0, NULL, &asked, err);
    if (asked == ASKED_ANSWERED)
        return 0;
    if (r == -ETIMEDOUT && asked == ASKED_SENT)
        return r;
    if (asked == ASKED_NOT && is_short(-r))
        return err_set(err, ERR_UNAVAILABLE, EXFULL, "tell the gateway",
                       gateway_request_name(request->type),
                       "Nothing could be sent (%s): it does not read, or this host is short of "
                       "descriptors or memory. Try again.",
                       strerror(-r));
    return err_set(err, ERR_UNAVAILABLE, ENOLINK, "tell the gateway",
                   gateway_request_name(request->type),
                   "It has ended, or uses another socket by now.");
}
