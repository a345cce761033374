/* This file hands sessions over to the gateway. */
#include "runtime/host/network_link.h"

#include "runtime/base/fd.h"
#include "runtime/host/network_ask.h"
#include "runtime/host/runtime_internal.h"

#include <errno.h>

static struct gateway_request request_of(enum gateway_request_type type, int64_t row,
                                         int64_t incarnation)
{
    return (struct gateway_request){.type = (uint16_t)type, .row = row, .incarnation = incarnation};
}

int network_link_add_begin(int gateway, int64_t row, int64_t incarnation,
                           const struct network_namespace *ns, int *ret_answer, struct err *err)
{
    struct gateway_request request = request_of(GATEWAY_ADD, row, incarnation);
    unsigned count = ns->fds[GATEWAY_ADD_DIAG] < 0 ? GATEWAY_ADD_END : GATEWAY_ADD_END + 1;
    return network_ask_begin(gateway, &request, ns->fds, count, ret_answer, err);
}

int network_link_add_end(int answer, struct err *err)
{
    const struct gateway_request request = {.type = GATEWAY_ADD};
    return network_ask_end(answer, &request, NULL, err);
}

int network_link_add(int gateway, int64_t row, int64_t incarnation,
                     const struct network_namespace *ns, struct err *err)
{
    _cleanup_fd_ int answer = -1;
    int r = network_link_add_begin(gateway, row, incarnation, ns, &answer, err);
    return r == 0 ? network_link_add_end(answer, err) : r;
}

int network_link_remove(int gateway, int64_t row, int64_t incarnation, struct err *err)
{
    struct gateway_request request = request_of(GATEWAY_REMOVE, row, incarnation);
    return network_deliver(gateway, &request, err);
}

int network_link_hold(int gateway, int64_t row, int64_t incarnation, bool hold, struct err *err)
{
    struct gateway_request request =
        request_of(hold ? GATEWAY_HOLD : GATEWAY_RELEASE, row, incarnation);
    int r = network_deliver(gateway, &request, err);
    return r == -ETIMEDOUT ? 0 : r;
}

int network_link_sweep(int gateway, struct err *err)
{
    struct gateway_request request = request_of(GATEWAY_SWEEP, 1, 1);
    return network_deliver(gateway, &request, err);
}

bool network_link_stands_still(int gateway)
{
    /* Of nobody's ports: that it serves no such session is an answer. */
    struct gateway_request request = request_of(GATEWAY_PUBLISHED, INT64_MAX, INT64_MAX);
    struct err unseen;
    _cleanup_fd_ int answer = -1;
    request.port_count = 1;
    request.ports[0] = UINT16_MAX;
    /* EAGAIN: for as long as is waited its socket was full. What this process is short of is no
     * sign of what the gateway does. */
    int r = network_ask_begin(gateway, &request, NULL, 0, &answer, &unseen);
    return r < 0 ? r == -EAGAIN : network_ask_end(answer, &request, NULL, &unseen) == -ETIMEDOUT;
}

int network_link_replace(int gateway, int64_t row, int64_t incarnation, int record,
                         uint32_t *ret_cut, struct err *err)
{
    struct gateway_request request = request_of(GATEWAY_REPLACE, row, incarnation);
    struct gateway_reply reply;
    int r = network_ask(gateway, &request, &record, 1, &reply, err);
    if (r == 0)
        *ret_cut = reply.count;
    return r;
}

int runtime_network_flush(struct runtime *rt, struct err *err)
{
    struct gateway_request request = request_of(GATEWAY_FLUSH, 1, 1);
    return rt->gateway > 0 ? network_ask(rt->gateway, &request, NULL, 0, NULL, err) : 0;
}
