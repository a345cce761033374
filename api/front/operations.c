/* This file is the table from routes to handlers, and who may call them; it never serves a request
 * itself but for those that need no more than one line.
 */
#include "api/front/front.h"

#include "api/front/log.h"
#include "api/openapi/openapi.h"
#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <string.h>
#include <unistd.h>

/* ---- who ------------------------------------------------------------------------------------- */

/* The socket's own permissions let in root, the owner and one group; that is not taken for granted.
 */
static int authorize(void *context, const struct exchange_request *request, struct err *err)
{
    const struct front *front = context;
    const struct peer *peer = request->peer;
    const struct serve_config *config = front->config;
    if (!peer->local)
        return front_token_authorize(front, request, err);
    if (peer->uid == 0 || (config->rootless && peer->uid == geteuid()))
        return 0;
    if (request->route->scope == SCOPE_OWNER || request->route->scope == SCOPE_METRICS)
        return err_set(err, ERR_FORBIDDEN, 0, "know the caller", NULL,
                       "Only root, or whose berth this is, may do that.");
    if (config->socket_gid != UINT32_MAX && peer_in_group(peer, config->socket_gid))
        return 0;
    return err_set(err, ERR_FORBIDDEN, 0, "know the caller", NULL,
                   "This user may not use this berth. Ask its operator to be taken into the group "
                   "of its socket.");
}

/* ---- routes of one line ---------------------------------------------------------------------- */

static int64_t identify(void *context, const char *token, size_t length)
{
    const struct front *front = context;
    return front->provider ? provider_token_find(front->provider, token, length) : 0;
}

static bool host_known(void *context, const char *host, size_t length)
{
    const struct front *front = context;
    for (uint32_t i = 0; i < front->config->host_count; i++)
        if (slice_is((struct slice){host, length}, front->config->hosts[i]))
            return true;
    return false;
}

/* What berth is doing for others is nobody's who has a token (W-4). */
static void health_for_token(void *data, struct provider_reply *reply)
{
    bool well = strstr(buf_text(&reply->document), "\"status\":\"ok\"") != NULL;
    buf_fini(&reply->document);
    if (reply->status == 200)
        buf_printf(&reply->document, "{\"status\":\"%s\",\"version\":\"" BERTH_VERSION "\"}\n",
                   well ? "ok" : "degraded");
    else
        err_set(&reply->err, ERR_UNAVAILABLE, 0, "serve", NULL,
                "berth is not ready. Ask again in a moment.");
    front_call_reply(data, reply);
}

static void health(struct front_call *call)
{
    bool local = exchange_request(call->x)->peer->local;
    provider_health(call->front->provider, front_call_ask(call, local ? NULL : health_for_token));
}

static void capabilities(struct front_call *call)
{
    _cleanup_buf_ struct buf out = {0};
    int r = capability_document(call->front->capabilities, &out);
    out.failed |= r < 0;
    front_call_answer(call, 200, &out);
}

static void openapi(struct front_call *call)
{
    _cleanup_buf_ struct buf out = {0};
    out.failed |= openapi_document(&out) < 0;
    front_call_answer(call, 200, &out);
}

static void session_get(struct front_call *call)
{
    provider_session_get(call->front->provider, front_call_ask(call, NULL));
}

static void session_usage(struct front_call *call)
{
    provider_session_usage(call->front->provider, front_call_ask(call, NULL));
}

static void session_ports(struct front_call *call)
{
    provider_session_ports(call->front->provider, front_call_ask(call, NULL));
}

static void exec_cancel(struct front_call *call)
{
    provider_exec_cancel(call->front->provider, front_call_ask(call, NULL));
}

static void exec_close_stdin(struct front_call *call)
{
    provider_exec_close_stdin(call->front->provider, front_call_ask(call, NULL));
}

static void volume_list(struct front_call *call)
{
    struct provider_page page;
    if (front_call_page(call, &page) == 0)
        provider_volume_list(call->front->provider, front_call_ask(call, NULL), &page);
}

static void volume_create(struct front_call *call)
{
    const char *owner = front_call_text(call, "owner");
    char own[SPEC_ID_MAX + 8];
    front_owner(call->front, exchange_request(call->x), own, sizeof own);
    provider_volume_create(call->front->provider, front_call_ask(call, NULL),
                           front_call_text(call, "name"), owner ? owner : own);
}

static void volume_get(struct front_call *call)
{
    provider_volume_get(call->front->provider, front_call_ask(call, NULL),
                        exchange_request(call->x)->names.volume_name);
}

static void volume_remove(struct front_call *call)
{
    provider_volume_remove(call->front->provider, front_call_ask(call, NULL),
                           exchange_request(call->x)->names.volume_name);
}

static void resources(struct front_call *call)
{
    const char *owner = exchange_query(call->x, "owner");
    if (owner && !id_valid(owner)) {
        struct err err;
        err_set(&err, ERR_INVALID_REQUEST, 0, "read the query", "owner", "This is no owner's id.");
        front_call_refuse(call, &err, NULL);
        return;
    }
    provider_resources(call->front->provider, front_call_ask(call, NULL), owner);
}

static void reap(struct front_call *call)
{
    provider_reap(call->front->provider, front_call_ask(call, NULL), front_call_text(call, "owner"),
                  front_call_number(call, "older_than_ms", 0), front_call_flag(call, "dry_run"));
}

/* ---- the table ------------------------------------------------------------------------------- */

static void (*const handlers[ROUTE_COUNT])(struct front_call *call) = {
    [ROUTE_HEALTH] = health,
    [ROUTE_CAPABILITIES] = capabilities,
    [ROUTE_METRICS] = metrics_handle,
    [ROUTE_OPENAPI] = openapi,
    [ROUTE_SESSION_CREATE] = session_create_handle,
    [ROUTE_SESSION_LIST] = session_list_handle,
    [ROUTE_SESSION_GET] = session_get,
    [ROUTE_SESSION_DESTROY] = session_destroy_handle,
    [ROUTE_SESSION_PARK] = session_park_handle,
    [ROUTE_SESSION_RESUME] = session_resume_handle,
    [ROUTE_SESSION_INTERRUPT] = session_interrupt_handle,
    [ROUTE_SESSION_ARCHIVE] = session_archive_handle,
    [ROUTE_SESSION_NETWORK] = session_network_handle,
    [ROUTE_SESSION_EVENTS] = stream_events_handle,
    [ROUTE_SESSION_USAGE] = session_usage,
    [ROUTE_PORTS_LIST] = session_ports,
    [ROUTE_PORTS] = session_publish_handle,
    [ROUTE_EXEC_START] = exec_start_handle,
    [ROUTE_EXEC_LIST] = exec_list_handle,
    [ROUTE_EXEC_GET] = exec_get_handle,
    [ROUTE_EXEC_OUTPUT] = stream_output_handle,
    [ROUTE_EXEC_STDIN] = exec_stdin_handle,
    [ROUTE_EXEC_CLOSE_STDIN] = exec_close_stdin,
    [ROUTE_EXEC_SIGNAL] = exec_signal_handle,
    [ROUTE_EXEC_RESIZE] = exec_resize_handle,
    [ROUTE_EXEC_CANCEL] = exec_cancel,
    [ROUTE_FILE_READ] = file_read_handle,
    [ROUTE_FILE_STAT] = file_stat_handle,
    [ROUTE_FILE_WRITE] = file_write_handle,
    [ROUTE_FILE_REMOVE] = file_remove_handle,
    [ROUTE_FILES_MKDIR] = files_mkdir_handle,
    [ROUTE_FILES_MOVE] = files_move_handle,
    [ROUTE_FILES_CHMOD] = files_chmod_handle,
    [ROUTE_FILES_LIST] = files_list_handle,
    [ROUTE_TAR_READ] = tar_read_handle,
    [ROUTE_TAR_WRITE] = tar_write_handle,
    [ROUTE_UPLOADS] = upload_handle,
    [ROUTE_COLLECT] = collect_handle,
    [ROUTE_FILES_WATCH] = files_watch_handle,
    [ROUTE_VOLUME_LIST] = volume_list,
    [ROUTE_VOLUME_CREATE] = volume_create,
    [ROUTE_VOLUME_GET] = volume_get,
    [ROUTE_VOLUME_REMOVE] = volume_remove,
    [ROUTE_LEDGER_BACKUP] = ledger_backup_handle,
    [ROUTE_TOKEN_CREATE] = token_create_handle,
    [ROUTE_TOKEN_LIST] = token_list_handle,
    [ROUTE_TOKEN_REVOKE] = token_revoke_handle,
    [ROUTE_RESOURCES] = resources,
    [ROUTE_REAP] = reap,
};

static void handle(void *context, struct exchange *x)
{
    struct front_call *call = front_call_new(context, x);
    if (call)
        handlers[exchange_request(x)->route->id](call);
}

static void on_room(void *context, struct exchange *x)
{
    struct front_call *call = exchange_data(x);
    (void)context;
    if (call->room)
        call->room(call);
}

static void on_body_end(void *context, struct exchange *x, enum exchange_body how, uint64_t bytes)
{
    struct front_call *call = exchange_data(x);
    (void)context;
    call->body_end(call, how, bytes);
}

static void on_gone(void *context, struct exchange *x)
{
    (void)context;
    front_call_gone(exchange_data(x));
}

static void on_served(void *context, const struct http_served *served)
{
    struct front *front = context;
    struct provider_token token = {0};
    front_metrics_served(front, served);
    if (served->caller && front->provider)
        provider_token_get(front->provider, served->caller, &token);
    front_log_served(served, token.token_id);
}

void front_operations(struct front *front, struct http_operations *ret)
{
    /* The key of the fingerprints stays the same across restarts, so it is no secret: what the
     * ledger keeps is keyed once more, with a secret of its own (idempotency_fingerprint()). */
    *ret = (struct http_operations){
        .context = front,
        .authorize = authorize,
        .identify = identify,
        .host_known = host_known,
        .room = on_room,
        .body_end = on_body_end,
        .gone = on_gone,
        .served = on_served,
    };
    for (unsigned i = 0; i < ROUTE_COUNT; i++)
        if (handlers[i])
            ret->handle[i] = handle;
}
