/* This file keeps what a session reached and what it was refused, and tells it. */
#include "api/cli/run_network.h"

#include "api/cli/run.h"
#include "runtime/base/fd.h"
#include "runtime/plan/network_tell.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* ---- the gateway --------------------------------------------------------------------------------
 */

int run_network_open(struct run *run, struct err *err)
{
    struct run_network *network = run->network;
    network->gateway = (struct gateway_child){.life = -1, .control = -1, .events = -1};
    if (!network_wanted(&run->spec->network))
        return 0;
    struct gateway_config config;
    _cleanup_fd_ int program = -1;
    int r = gateway_config_fill(&config, run->options.resolvers, run->options.resolver_count,
                                "--resolver", err);
    if (r == 0)
        r = gateway_find(&program, err);
    if (r == 0)
        r = gateway_start(program, &config, geteuid() != 0, GATEWAY_UID, &network->gateway, err);
    return r;
}

static bool same(const struct gateway_event *a, const struct gateway_event *b)
{
    return a->kind == b->kind && a->port == b->port && a->protocol == b->protocol &&
           a->reason == b->reason && strcmp(a->host, b->host) == 0 &&
           (a->host[0] || address_equal(&a->address, &b->address));
}

static void keep(struct run_network *network, const struct gateway_event *event)
{
    unsigned at = 0;
    while (at < network->count && !same(&network->reached[at].event, event))
        at++;
    if (event->kind == GATEWAY_DROPPED || at == RUN_REACHED_MAX) {
        network->more += event->count;
        return;
    }
    struct run_reached *row = &network->reached[at];
    if (at == network->count) {
        *row = (struct run_reached){0};
        network->count++;
    }
    row->event = *event;
    row->count += event->count;
    row->sent += event->sent;
    row->received += event->received;
}

int run_network_fd(const struct run *run)
{
    return run->network->gateway.pid ? run->network->gateway.events : -1;
}

void run_network_take(struct run *run)
{
    struct run_network *network = run->network;
    struct gateway_event event;
    for (;;) {
        ssize_t n = recv(network->gateway.events, &event, sizeof event, MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0 || gateway_event_check(&event, (size_t)n)) {
            network->lost = true;
            fd_replace(&network->gateway.events, -1);
            return;
        }
        keep(network, &event);
    }
}

/* ---- published ports ----------------------------------------------------------------------------
 */

int run_network_asks(const struct run *run)
{
    const struct run_network *network = run->network;
    return network->published_count > 0 && !network->mute ? network->gateway.control : -1;
}

/* A client that cannot be served is reset by the gateway, when it has waited long enough; whoever
 * comes next is asked for again. */
void run_network_serve(struct run *run)
{
    struct err err;
    if (session_publish_serve(run->session, &err) > 0)
        run->network->mute = true;
}

static void print_published(const struct session_published *port, struct buf *out)
{
    buf_printf(out, "{\"addresses\":[\"127.0.0.1\"%s],\"host_port\":%u,\"port\":%u}",
               port->six ? ",\"::1\"" : "", port->host_port, port->port);
}

void run_network_published(struct run *run, struct session *session,
                           void (*say)(const char *format, ...))
{
    struct run_network *network = run->network;
    network->published_count = session_published(session, network->published, SPEC_PUBLISH_MAX);
    for (unsigned i = 0; i < network->published_count; i++) {
        const struct session_published *port = &network->published[i];
        _cleanup_buf_ struct buf text = {0};
        print_published(port, &text);
        if (run->options.json)
            say("{\"event\":\"network.published\",%s", buf_text(&text) + 1);
        else if (!run->options.quiet)
            say("berth: note: published 127.0.0.1:%u → %u", port->host_port, port->port);
    }
}

void run_network_close(struct run *run)
{
    struct run_network *network = run->network;
    if (network->gateway.pid == 0)
        return;
    /* Answered behind the last event; a gateway that has ended is told as such. */
    struct err err;
    if (!network->lost && run->runtime && runtime_network_flush(run->runtime, &err) < 0)
        network->lost = true;
    if (network->gateway.events >= 0)
        run_network_take(run);
    gateway_stop(&network->gateway);
}

/* ---- telling ------------------------------------------------------------------------------------
 */

/* A name that was refused and a connection to it are one thing for a person: the connection, which
 * has a port, is told. */
static bool told_by_another(const struct run_network *network, const struct gateway_event *event)
{
    if (event->protocol != GATEWAY_DNS)
        return false;
    for (unsigned i = 0; i < network->count; i++)
        if (network->reached[i].event.kind == GATEWAY_DENIED &&
            network->reached[i].event.protocol == GATEWAY_TCP &&
            strcmp(network->reached[i].event.host, event->host) == 0)
            return true;
    return false;
}

void run_network_summary(const struct run *run, void (*say)(const char *format, ...))
{
    const struct run_network *network = run->network;
    for (unsigned i = 0; i < network->count; i++) {
        const struct run_reached *row = &network->reached[i];
        if (row->event.kind != GATEWAY_DENIED || told_by_another(network, &row->event))
            continue;
        _cleanup_buf_ struct buf sentence = {0}, line = {0}, flag = {0};
        network_tell(&row->event, row->count, &sentence);
        network_tell_rule(&run->spec->network, &row->event, &line, &flag);
        say("berth: note: network: %s%s%s", buf_text(&sentence), flag.length ? " Allow it: " : "",
            buf_text(&flag));
    }
    if (network->looked_out)
        say("berth: note: network: nothing outside is reached, and the command tried to. Allow it: "
            "--allow HOST[:PORT], or --net public-only.");
    if (network->more)
        say("berth: note: network: %llu more events are not listed.",
            (unsigned long long)network->more);
    if (network->lost)
        say("berth: note: network: the gateway ended before the command did; from then on nothing "
            "was reached.");
}

static void record_row(const struct run *run, const struct run_reached *row, struct buf *out)
{
    struct gateway_event event = row->event;
    event.count = row->count;
    event.sent = row->sent;
    event.received = row->received;
    buf_printf(out, "{\"event\":\"network.%s\",", network_tell_kind(event.kind));
    network_tell_members(&run->spec->network, &event, out);
    buf_putc(out, '}');
}

void run_network_record(const struct run *run, struct buf *out)
{
    const struct run_network *network = run->network;
    if (!network_wanted(&run->spec->network)) {
        buf_puts(out, ",\"network\":null");
        return;
    }
    buf_puts(out, ",\"network\":{\"events\":[");
    for (unsigned i = 0; i < network->count; i++) {
        if (i)
            buf_putc(out, ',');
        record_row(run, &network->reached[i], out);
    }
    buf_puts(out, "],\"published\":[");
    for (unsigned i = 0; i < network->published_count; i++) {
        buf_puts(out, i ? "," : "");
        print_published(&network->published[i], out);
    }
    buf_printf(out, "],\"more\":%llu,\"gateway_lost\":%s}", (unsigned long long)network->more,
               network->lost ? "true" : "false");
}

/* ---- learning -----------------------------------------------------------------------------------
 */

/* Rows of one host are one rule, with its ports in order. */
static bool first_of_host(const struct run_network *network, unsigned at)
{
    const struct gateway_event *event = &network->reached[at].event;
    for (unsigned i = 0; i < at; i++) {
        const struct gateway_event *other = &network->reached[i].event;
        if (other->kind == GATEWAY_ALLOWED && strcmp(other->host, event->host) == 0 &&
            (event->host[0] || address_equal(&other->address, &event->address)))
            return false;
    }
    return true;
}

static void learn_rule(const struct run_network *network, unsigned at, const char *comma,
                       struct buf *out)
{
    const struct gateway_event *event = &network->reached[at].event;
    uint64_t count = 0;
    _cleanup_buf_ struct buf ports = {0};
    for (unsigned i = at; i < network->count; i++) {
        const struct gateway_event *other = &network->reached[i].event;
        if (other->kind != GATEWAY_ALLOWED || other->port == 0 ||
            strcmp(other->host, event->host) != 0 ||
            (!event->host[0] && !address_equal(&other->address, &event->address)))
            continue;
        char port[8];
        snprintf(port, sizeof port, "%u", other->port);
        count += network->reached[i].count;
        buf_printf(&ports, "%s%s", ports.length ? ", " : "", port);
    }
    buf_printf(out, "%s      // %llu connection%s\n      ", comma, (unsigned long long)count,
               count == 1 ? "" : "s");
    if (event->host[0]) {
        buf_printf(out, "{\"host\": \"%s\"", event->host);
    } else {
        char address[ADDRESS_TEXT_SIZE];
        address_print(&event->address, address);
        buf_printf(out, "{\"cidr\": \"%s/%d\"", address, event->address.family == 4 ? 32 : 128);
    }
    buf_printf(out, ", \"ports\": [%s]}", buf_text(&ports));
}

int run_network_learn(const struct run *run, struct buf *out, struct err *err)
{
    const struct run_network *network = run->network;
    buf_puts(out, "// What one run of this command reached, and nothing else:\n//  ");
    for (char **word = run->options.command; *word; word++) {
        buf_putc(out, ' ');
        for (const char *c = *word; *c; c++)
            buf_putc(out, *c == '\n' || *c == '\r' ? ' ' : *c);
    }
    buf_puts(out, "\n{\n  \"version\": 1,\n  \"extends\": ");
    buf_json_string(out, run->options.policy ? run->options.policy : "balanced");
    buf_puts(out, ",\n  \"network\": {\n    \"egress\": \"deny\",\n    \"allow\": [");
    const char *comma = "\n";
    for (unsigned i = 0; i < network->count; i++) {
        const struct gateway_event *event = &network->reached[i].event;
        if (event->kind != GATEWAY_ALLOWED || event->port == 0 || !first_of_host(network, i))
            continue;
        learn_rule(network, i, comma, out);
        comma = ",\n";
    }
    buf_puts(out, comma[0] == ',' ? "\n    ]\n  }\n}\n" : "]\n  }\n}\n");
    for (unsigned i = 0; i < network->count; i++) {
        const struct run_reached *row = &network->reached[i];
        if (row->event.kind != GATEWAY_DENIED || told_by_another(network, &row->event))
            continue;
        _cleanup_buf_ struct buf name = {0}, reason = {0};
        network_tell_name(&row->event, &name);
        network_tell_why(&row->event, &reason);
        buf_printf(out, "// Not learned: %s (%llu times): %s.\n", buf_text(&name),
                   (unsigned long long)row->count, buf_text(&reason));
    }
    return buf_failed(out)
               ? err_set(err, ERR_INTERNAL, ENOMEM, "write what was learned", NULL, NULL)
               : 0;
}
