/* This file says what the gateway has to tell of a connection; it never keeps it (events.c). */
#include "runtime/gateway/internal.h"

#include <string.h>
#include <time.h>

void tell(struct gateway *g, const struct session *session, enum gateway_event_kind kind,
          const struct gateway_event *event)
{
    struct gateway_event whole = *event;
    whole.kind = (uint16_t)kind;
    whole.row = session->row;
    whole.incarnation = session->incarnation;
    whole.generation = session->generation;
    events_add(g->events, &whole, g->now_ms, clock_ms(CLOCK_REALTIME));
}

void tell_connection(struct gateway *g, const struct connection *c, enum gateway_event_kind kind,
                     const struct network_decision *decision, int sys)
{
    struct gateway_event event = {.protocol = GATEWAY_TCP,
                                  .port = c->port,
                                  .reason = c->reason,
                                  .rule = c->rule,
                                  .sys = sys,
                                  .address = c->address,
                                  .address_class = address_classify(&c->address),
                                  .cgroup = c->cgroup};
    if (c->published)
        return;
    if (decision) {
        event.reason = (uint16_t)decision->reason;
        event.rule = (int16_t)decision->rule;
        event.address_class = decision->address_class;
    }
    if (kind != GATEWAY_DENIED)
        event.connection = c->number;
    if (kind == GATEWAY_CLOSED) {
        event.sent = c->out.bytes;
        event.received = c->in.bytes;
    }
    size_t length = strlen(connection_host(c));
    memcpy(event.host, connection_host(c), length < sizeof event.host ? length : 0);
    tell(g, c->session, kind, &event);
}
