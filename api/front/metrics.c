/* This file answers GET /metrics: the engine's numbers, and what only the process that speaks HTTP
 * and its supervisor know; it never has a label whose values a client could choose.
 */
#include "api/front/front.h"

#include "provider/metrics.h"
#include "runtime/base/fd.h"

#include <string.h>
#include <unistd.h>

static const char *const outcomes[FRONT_OUTCOMES] = {"2xx", "4xx", "5xx", "left"};

static unsigned outcome_of(int status)
{
    return status == 0 ? 3 : status >= 500 ? 2 : status >= 400 ? 1 : 0;
}

void front_metrics_served(struct front *front, const struct http_served *served)
{
    unsigned route = 0;
    while (route < ROUTE_COUNT && strcmp(route_at((enum route_id)route)->name, served->route) != 0)
        route++;
    front->metrics.requests[route][outcome_of(served->status)]++;
    if (served->code != ERR_NONE)
        front->metrics.problems[served->code]++;
}

static void put_requests(const struct front_metrics *metrics, struct buf *out)
{
    static const char requests[] = "http_requests_total", problems[] = "http_problems_total";
    metrics_family(out, requests, METRICS_COUNTER,
                   "Requests, by route and how they ended; left: the client did, before.");
    for (unsigned r = 0; r <= ROUTE_COUNT; r++)
        for (unsigned o = 0; o < FRONT_OUTCOMES; o++)
            metrics_value(
                out, requests,
                METRICS_LABELS(
                    {"route", r < ROUTE_COUNT ? route_at((enum route_id)r)->name : "NONE"},
                    {"status", outcomes[o]}),
                metrics->requests[r][o]);
    metrics_family(out, problems, METRICS_COUNTER,
                   "Requests that were refused or failed, by error code.");
    for (unsigned code = ERR_NONE + 1; code < ERR_USAGE; code++)
        metrics_value(out, problems, METRICS_LABELS({"code", err_code_name((enum err_code)code)}),
                      metrics->problems[code]);
}

static void put_open(const struct server *server, struct buf *out)
{
    struct server_counts counts = {0};
    if (server)
        server_count(server, &counts);
    metrics_family(out, "http_connections", METRICS_GAUGE, "Connections of clients.");
    metrics_value(out, "http_connections", METRICS_LABELS({"transport", "unix"}), counts.local);
    metrics_value(out, "http_connections", METRICS_LABELS({"transport", "tcp"}), counts.tcp);
    metrics_family(out, "http_streams", METRICS_GAUGE, "Streams that are open, of these.");
    metrics_value(out, "http_streams", METRICS_LABELS({"kind", "events"}), counts.events);
    metrics_value(out, "http_streams", METRICS_LABELS({"kind", "bytes"}), counts.bytes);
    metrics_value(out, "http_streams", METRICS_LABELS({"kind", "upload"}), counts.uploads);
}

static void put_processes(int fd, struct buf *out)
{
    static const char *const names[SERVE_PROCESS_COUNT] = {
        [SERVE_FRONT] = "front", [SERVE_LAUNCHER] = "launcher", [SERVE_GATEWAY] = "gateway"};
    struct serve_status status;
    if (fd <= 0 || pread(fd, &status, sizeof status, 0) != (ssize_t)sizeof status)
        return;
    metrics_family(out, "process_restarts_total", METRICS_COUNTER,
                   "Times that a process died and was started again.");
    for (unsigned i = 0; i < SERVE_PROCESS_COUNT; i++)
        metrics_value(out, "process_restarts_total", METRICS_LABELS({"process", names[i]}),
                      status.restarts[i]);
    metrics_family(out, "start_time_seconds", METRICS_GAUGE,
                   "When this berth was started, in seconds since 1970.");
    metrics_seconds(out, "start_time_seconds", NULL, status.started_ms);
}

static void on_engine(void *data, struct provider_reply *reply)
{
    struct front_call *call = data;
    if (reply->status != 200) {
        front_call_reply(call, reply);
        return;
    }
    struct buf document = reply->document;
    reply->document = (struct buf){0};
    call->waiting = false;
    put_requests(&call->front->metrics, &document);
    put_open(call->front->server, &document);
    put_processes(call->front->status, &document);
    exchange_answer_as(front_call_finish(call), 200, METRICS_TYPE, &document, NULL);
}

void metrics_handle(struct front_call *call)
{
    provider_metrics(call->front->provider, front_call_ask(call, on_engine));
}
