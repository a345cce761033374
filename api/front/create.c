/* This file reads the body of a create; the policy layer reads the policy's parts of it, the table
 * of fields has refused what is unknown at the top. It never looks at the host.
 */
#include "api/front/create.h"

#include "api/http/fields.h"
#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LABELS_MAX = 64, LABEL_NAME_MAX = 64, LABEL_VALUE_MAX = 256 };

static const enum spec_workspace_kind persistence_kinds[] = {
    SPEC_WORKSPACE_VOLUME, SPEC_WORKSPACE_DIRECTORY, SPEC_WORKSPACE_TMPFS,
    SPEC_WORKSPACE_DISK,   SPEC_WORKSPACE_SNAPSHOT,
};
_Static_assert(ARRAY_LENGTH(persistence_kinds) == BODY_PERSISTENCE_KINDS, "one for each");
_Static_assert(BODY_SESSION_PATH_MAX == SPEC_PATH_MAX - 1, "what is accepted has room");

/* ---- parts ----------------------------------------------------------------------------------- */

static int bad(struct err *err, const char *subject, const char *what)
{
    return err_set(err, ERR_INVALID_REQUEST, 0, "read the request's body", subject, "%s", what);
}

/* fields_check() of a member: its pointer goes on from `at`. */
static int check_part(const struct body_field *fields, const struct json_node *node, const char *at,
                      char ret_pointer[CREATE_POINTER_MAX], struct err *err)
{
    char pointer[FIELD_POINTER_MAX];
    int r = fields_check(fields, node, pointer, err);
    if (r < 0)
        snprintf(ret_pointer, CREATE_POINTER_MAX, "%s%s", at, pointer);
    return r;
}

static const char *text_of(const struct json_node *object, const char *name)
{
    const struct json_node *node = json_member(object, name);
    return node ? node->text : NULL;
}

static bool flag_of(const struct json_node *object, const char *name)
{
    const struct json_node *node = json_member(object, name);
    return node && node->boolean;
}

static int read_size(const struct json_node *node, uint64_t *ret_bytes,
                     char ret_pointer[CREATE_POINTER_MAX], struct err *err)
{
    uint64_t bytes = node->magnitude;
    if (node->kind == JSON_STRING && units_parse_size(node->text, &bytes) < 0)
        bytes = 0;
    snprintf(ret_pointer, CREATE_POINTER_MAX, "/workspace/persistence/size");
    if (bytes == 0 || bytes > INT64_MAX)
        return bad(err, "size", "Must be a size like \"512MiB\", or a number of bytes.");
    *ret_bytes = bytes;
    return 0;
}

/* P-1, ceiling of the operator: the launcher judges it again, with the directory opened. Without
 * roots it alone can judge: whose the directory is, is not front's to look at. */
static int check_root(const struct serve_config *config, const char *path, struct err *err)
{
    if (config->root_count == 0)
        return 0;
    for (uint32_t i = 0; i < config->root_count && i < SERVE_ROOTS_MAX; i++) {
        const char *root = config->roots[i];
        size_t n = strlen(root);
        if (strncmp(path, root, n) == 0 &&
            (path[n] == 0 || path[n] == '/' || (n > 0 && root[n - 1] == '/')))
            return 0;
    }
    return err_set(err, ERR_FORBIDDEN, 0, "choose the workspace", path,
                   "The operator allows no workspace there. Use a volume, or have the directory "
                   "added to `roots` of berth's configuration.");
}

static int read_persistence(struct spec *spec, const struct serve_config *config,
                            const struct json_node *node, char ret_pointer[CREATE_POINTER_MAX],
                            struct err *err)
{
    static const char at[] = "/workspace/persistence";
    unsigned kind = 0;
    int r = check_part(fields_of_persistence, node, at, ret_pointer, err);
    if (r < 0)
        return r;
    while (strcmp(body_persistence[kind].name, text_of(node, "kind")) != 0)
        kind++;
    r = check_part(body_persistence[kind].fields, node, at, ret_pointer, err);
    if (r < 0)
        return r;
    const char *name = text_of(node, "name"), *path = text_of(node, "path");
    const struct json_node *size = json_member(node, "size");
    spec->workspace.kind = persistence_kinds[kind];
    spec->workspace.exclusive = flag_of(node, "exclusive");
    spec->workspace.allow_root_owned = flag_of(node, "allow_root_owned");
    snprintf(spec->workspace.volume, sizeof spec->workspace.volume, "%s", name ? name : "");
    snprintf(spec->workspace.path, sizeof spec->workspace.path, "%s", path ? path : "");
    r = size ? read_size(size, &spec->workspace.size_bytes, ret_pointer, err) : 0;
    if (r < 0 || !path)
        return r;
    snprintf(ret_pointer, CREATE_POINTER_MAX, "%s/path", at);
    return check_root(config, path, err);
}

static int read_workspace(struct spec *spec, const struct serve_config *config,
                          const struct json_node *node, char ret_pointer[CREATE_POINTER_MAX],
                          struct err *err)
{
    spec->workspace.kind = SPEC_WORKSPACE_VOLUME;
    snprintf(spec->workspace.mount_path, sizeof spec->workspace.mount_path, "/workspace");
    int r = node ? check_part(fields_of_workspace, node, "/workspace", ret_pointer, err) : 0;
    if (r == 0 && node) {
        const char *mount_path = text_of(node, "mount_path");
        const struct json_node *persistence = json_member(node, "persistence");
        if (mount_path)
            snprintf(spec->workspace.mount_path, sizeof spec->workspace.mount_path, "%s",
                     mount_path);
        spec->workspace.read_only = flag_of(node, "read_only");
        if (persistence)
            r = read_persistence(spec, config, persistence, ret_pointer, err);
    }
    if (r == 0 && spec->workspace.kind == SPEC_WORKSPACE_VOLUME && !spec->workspace.volume[0])
        memcpy(spec->workspace.volume, spec->session_id, sizeof spec->workspace.volume);
    return r;
}

static int read_labels(struct create *ret, const struct json_node *node,
                       char ret_pointer[CREATE_POINTER_MAX], struct err *err)
{
    buf_putc(&ret->labels, '{');
    snprintf(ret_pointer, CREATE_POINTER_MAX, "/labels");
    if (node && node->count > LABELS_MAX)
        return bad(err, "labels", "There are at most 64 labels.");
    for (const struct json_node *m = node ? node->first : NULL; m; m = m->next) {
        if (m->kind != JSON_STRING || m->length > LABEL_VALUE_MAX || !m->key[0] ||
            strlen(m->key) > LABEL_NAME_MAX || strchr(m->key, '='))
            return bad(err, "labels",
                       "A label has a name of 1 to 64 bytes without \"=\", and a text of at most "
                       "256 bytes.");
        buf_puts(&ret->labels, m == node->first ? "" : ",");
        buf_json_string(&ret->labels, m->key);
        buf_putc(&ret->labels, ':');
        buf_json_string(&ret->labels, m->text);
    }
    buf_putc(&ret->labels, '}');
    return 0;
}

static int read_idle(struct create *ret, const struct json_node *node,
                     char ret_pointer[CREATE_POINTER_MAX], struct err *err)
{
    int r = check_part(fields_of_idle, node, "/idle", ret_pointer, err);
    if (r < 0)
        return r;
    const char *action = text_of(node, "action");
    ret->idle_after_ms = json_member(node, "after_ms")->magnitude;
    ret->idle_destroys = action && strcmp(action, "destroy") == 0;
    ret->accept_loss = flag_of(node, "accept_loss");
    snprintf(ret_pointer, CREATE_POINTER_MAX, "/idle/accept_loss");
    if (ret->accept_loss &&
        (ret->idle_destroys || ret->spec->workspace.kind != SPEC_WORKSPACE_TMPFS))
        return bad(err, "accept_loss", "Only parking a tmpfs loses something.");
    snprintf(ret_pointer, CREATE_POINTER_MAX, "/idle");
    if (!ret->accept_loss && !ret->idle_destroys &&
        ret->spec->workspace.kind == SPEC_WORKSPACE_TMPFS)
        return bad(err, "idle",
                   "Parking loses a workspace of kind tmpfs. Say \"accept_loss\": true, or choose "
                   "\"action\": \"destroy\".");
    return 0;
}

int front_create_read_secrets(const struct json_node *list, struct spec *spec,
                              char ret_pointer[CREATE_POINTER_MAX], struct err *err)
{
    static const enum capability capabilities[] = {
        CAP_SECRETS_ENV_PLAINTEXT, CAP_SECRETS_ENV_PLACEHOLDER, CAP_SECRETS_HEADER_PROXY,
        CAP_SECRETS_QUERY_PROXY};
    _Static_assert(ARRAY_LENGTH(capabilities) == BODY_DELIVERIES, "one for each");
    unsigned index = 0;
    for (const struct json_node *m = list ? list->first : NULL; m; m = m->next, index++) {
        char at[32];
        snprintf(at, sizeof at, "/secrets/%u", index);
        int r = check_part(fields_of_grant, m, at, ret_pointer, err);
        if (r < 0)
            return r;
        for (unsigned i = 0; i < ARRAY_LENGTH(capabilities); i++)
            if (strcmp(body_deliveries[i], text_of(m, "delivery")) == 0)
                capability_name_required(spec, capabilities[i]);
    }
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int read_names(struct create *ret, const struct exchange_request *request, struct err *err)
{
    struct spec *spec = ret->spec;
    const char *id = text_of(request->body, "session_id");
    const char *owner = text_of(request->body, "owner");
    if (!id) {
        int r = id_random("s-", ret->own_id, sizeof ret->own_id);
        if (r < 0)
            return err_set(err, ERR_INTERNAL, -r, "make a session's id", NULL, NULL);
        id = ret->own_id;
    }
    snprintf(spec->workspace_id, sizeof spec->workspace_id, "%s", request->names.workspace_id);
    snprintf(spec->session_id, sizeof spec->session_id, "%s", id);
    ret->owner = owner; /* NULL: whose he is who asks */
    return 0;
}

static int read_policy(struct create *ret, const char *standard, const struct json_node *body,
                       char ret_pointer[CREATE_POINTER_MAX], struct err *err)
{
    int r = policy_load_body_on(&ret->policy, body, FRONT_TOKEN_POLICY, standard, err);
    if (r == 0)
        r = policy_compile(ret->policy, ret->spec, err);
    if (r < 0)
        policy_body_pointer(body, err, ret_pointer);
    return r;
}

int front_create_read(struct create *ret, const struct serve_config *config, const char *standard,
                      const struct exchange_request *request, char ret_pointer[CREATE_POINTER_MAX],
                      struct err *err)
{
    const struct json_node *body = request->body, *idle = json_member(body, "idle"),
                           *ttl = json_member(body, "ttl_ms");
    ret_pointer[0] = 0;
    ret->spec = calloc(1, sizeof *ret->spec);
    if (!ret->spec)
        return err_set(err, ERR_INTERNAL, ENOMEM, "read the request's body", NULL, NULL);
    spec_init_zeroed(ret->spec);
    int r = read_names(ret, request, err);
    if (r == 0)
        r = read_workspace(ret->spec, config, json_member(body, "workspace"), ret_pointer, err);
    if (r == 0)
        r = read_policy(ret, standard, body, ret_pointer, err);
    if (r == 0)
        r = read_labels(ret, json_member(body, "labels"), ret_pointer, err);
    if (r == 0 && idle)
        r = read_idle(ret, idle, ret_pointer, err);
    if (r == 0)
        r = front_create_read_secrets(json_member(body, "secrets"), ret->spec, ret_pointer, err);
    if (r < 0)
        return r;
    ret_pointer[0] = 0;
    ret->ttl_ms = ttl ? ttl->magnitude : 0;
    /* What no part can see: a mount over the workspace, a path that is not normalised. Kinds that
     * are not built have no shape to check yet; capabilities refuse them. */
    bool built = ret->spec->workspace.kind != SPEC_WORKSPACE_DISK &&
                 ret->spec->workspace.kind != SPEC_WORKSPACE_SNAPSHOT;
    r = built ? spec_check(ret->spec, err) : 0;
    if (r < 0 && strncmp(err->subject, "workspace.", 10) == 0)
        snprintf(ret_pointer, CREATE_POINTER_MAX, "/workspace");
    if (r < 0)
        err->code = ERR_INVALID_REQUEST;
    return r;
}

void front_create_fini(struct create *create)
{
    free(create->spec);
    policy_free(create->policy);
    buf_fini(&create->labels);
    *create = (struct create){0};
}
