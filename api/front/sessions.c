/* This file serves the routes of sessions: it reads a request into what the provider takes, and
 * refuses what cannot be had before anything was touched. Order of refusals: syntax 400,
 * capability 422, ceiling 422; the state is the provider's to refuse.
 */
#include "api/front/create.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* CAP-2. The provider takes out of the spec what is only a preset's default and cannot be had, and
 * says so to the client; here it decides whether the rest can be had. 0; refused: negative. */
static int check_capabilities(struct front_call *call, const struct spec *spec)
{
    _cleanup_buf_ struct buf notes = {0};
    struct capability_mask missing = {{0}};
    struct err err;
    struct spec *copy = front_call_memory(call, sizeof *copy);
    if (!copy)
        return -ENOMEM;
    spec_copy(copy, spec);
    capability_drop_defaults(copy, call->front->capabilities, &notes);
    int r = capability_check(copy, call->front->capabilities, &missing, &err);
    if (r < 0)
        front_call_refuse_missing(call, &err, &missing);
    return r;
}

/* POL-2: the body is authorship; the ceiling and a token's policy are authority. */
static int check_authority(struct front_call *call, const struct policy *policy)
{
    struct err err;
    char pointer[POLICY_POINTER_MAX];
    int r = front_within(call, policy, &err);
    if (r >= 0)
        return 0;
    policy_body_pointer(exchange_request(call->x)->body, &err, pointer);
    front_call_refuse(call, &err, pointer);
    return r;
}

/* W-6: nobody knows as which user to open it. The launcher, which gets no socket, says so too. */
static int check_host_paths(struct front_call *call, const struct spec *spec)
{
    const char *pointer = spec->workspace.kind == SPEC_WORKSPACE_DIRECTORY
                              ? "/workspace/persistence/path"
                          : spec->image.kind == SPEC_IMAGE_DIR ? "/image"
                          : spec->mount_count > 0              ? "/filesystem"
                                                               : NULL;
    struct err err;
    if (!pointer || exchange_request(call->x)->peer->local)
        return 0;
    int r =
        err_set(&err, ERR_FORBIDDEN, 0, "use a directory of the host", NULL,
                "A directory of the host can be named on the unix socket only, where it is known "
                "who asks. Over the network use a volume or tmpfs.");
    front_call_refuse(call, &err, pointer);
    return r;
}

/* An answer that is given again is about the session that was made then: the name that was made for
 * this request is nobody's, and the log must not have it. */
static void name_as_answered(struct front_call *call, const struct buf *document)
{
    const struct json_node *root = NULL, *id;
    struct json_error error;
    if (json_member(exchange_request(call->x)->body, "session_id"))
        return;
    exchange_named(call->x, "");
    if (json_parse(exchange_arena(call->x), buf_text(document), document->length, MIB, false, &root,
                   &error) < 0 ||
        root->kind != JSON_OBJECT)
        return;
    id = json_member(root, "session_id");
    if (id && id->kind == JSON_STRING)
        exchange_named(call->x, id->text);
}

static void created_reply(void *data, struct provider_reply *reply)
{
    struct front_call *call = data;
    if (reply->replayed)
        name_as_answered(call, &reply->document);
    front_call_reply(call, reply);
}

void session_create_handle(struct front_call *call)
{
    char owner[SPEC_ID_MAX + 8];
    __attribute__((cleanup(front_create_fini))) struct create create = {0};
    char pointer[CREATE_POINTER_MAX];
    struct err err;
    const struct exchange_request *request = exchange_request(call->x);
    pointer[0] = 0;
    if (front_token_policy_check(call, &err) < 0 ||
        front_create_read(&create, call->front->config, front_token_policy(call->front, request),
                          request, pointer, &err) < 0) {
        front_call_refuse(call, &err, pointer);
        return;
    }
    front_owner(call->front, exchange_request(call->x), owner, sizeof owner);
    if (check_host_paths(call, create.spec) < 0 || check_capabilities(call, create.spec) < 0 ||
        check_authority(call, create.policy) < 0 ||
        front_check_door(call, &create.spec->network, "/network/allow", "/network/publish") < 0)
        return;
    const struct provider_create asked = {
        .spec = create.spec,
        .owner = create.owner ? create.owner : owner,
        .labels_json = buf_text(&create.labels),
        .ttl_ms = create.ttl_ms,
        .idle_after_ms = create.idle_after_ms,
        .idle_destroys = create.idle_destroys,
        .accept_loss = create.accept_loss,
        .client_socket = front_call_asker(call),
    };
    if (buf_failed(&create.labels)) {
        err_set(&err, ERR_INTERNAL, ENOMEM, "read the request's body", NULL, NULL);
        front_call_refuse(call, &err, NULL);
        return;
    }
    call->provider.session_id = call->session_id;
    snprintf(call->session_id, sizeof call->session_id, "%s", create.spec->session_id);
    exchange_named(call->x, call->session_id);
    provider_session_create(call->front->provider, front_call_ask(call, created_reply), &asked);
}

void session_list_handle(struct front_call *call)
{
    struct provider_page page;
    if (front_call_page(call, &page) == 0)
        provider_session_list(call->front->provider, front_call_ask(call, NULL), &page);
}

static void ask(struct front_call *call, const struct provider_verb *verb)
{
    provider_session_verb(call->front->provider, front_call_ask(call, NULL), verb);
}

void session_destroy_handle(struct front_call *call)
{
    struct provider_verb verb = {.verb = SESSION_EVENT_DESTROY, .client_socket = -1};
    if (front_call_query_flag(call, "delete_volume", &verb.delete_volume) == 0)
        ask(call, &verb);
}

void session_park_handle(struct front_call *call)
{
    const char *mode = front_call_text(call, "mode");
    bool freeze = mode && strcmp(mode, "freeze") == 0;
    ask(call, &(struct provider_verb){
                  .verb = freeze ? SESSION_EVENT_PARK_FREEZE : SESSION_EVENT_PARK_STOP,
                  .accept_loss = front_call_flag(call, "accept_loss"),
                  .client_socket = -1,
              });
}

void session_resume_handle(struct front_call *call)
{
    const struct json_node *secrets = json_member(exchange_request(call->x)->body, "secrets");
    char pointer[CREATE_POINTER_MAX] = "";
    struct err err;
    struct spec *spec = secrets && secrets->count ? front_call_memory(call, sizeof *spec) : NULL;
    if (secrets && secrets->count && !spec)
        return;
    if (spec)
        capability_part(spec);
    if (spec && front_create_read_secrets(secrets, spec, pointer, &err) < 0) {
        front_call_refuse(call, &err, pointer);
        return;
    }
    /* What the secrets alone need. */
    struct capability_mask missing = {{0}};
    if (spec && capability_check(spec, call->front->capabilities, &missing, &err) < 0) {
        front_call_refuse_missing(call, &err, &missing);
        return;
    }
    ask(call, &(struct provider_verb){.verb = SESSION_EVENT_RESUME,
                                      .client_socket = front_call_asker(call)});
}

void session_interrupt_handle(struct front_call *call)
{
    ask(call, &(struct provider_verb){.verb = SESSION_EVENT_INTERRUPT,
                                      .reason = front_call_text(call, "reason"),
                                      .client_socket = -1});
}

void session_archive_handle(struct front_call *call)
{
    ask(call, &(struct provider_verb){.verb = SESSION_EVENT_ARCHIVE,
                                      .accept_loss = front_call_flag(call, "accept_loss"),
                                      .client_socket = -1});
}
