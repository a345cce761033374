/* This file makes the requests of `berth cp`; it never opens a path on this side. */
#include "api/cli/cp.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void files_path(const struct cp *cp, const char *what, const char *path, struct buf *out)
{
    buf_printf(out, "%s%s", buf_text(&cp->base), what);
    if (path)
        client_query(out, "path", path);
}

int cp_remote_cwd(struct cp *cp, struct buf *ret, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct client_answer answer = {0};
    struct json_error error;
    const struct json_node *root = NULL;
    int r = verb_try(cp->verb, "GET", buf_text(&cp->base), NULL, &answer, err);
    if (r < 0)
        return r;
    r = json_parse(&arena, buf_text(&answer.document), answer.document.length, CLIENT_DOCUMENT_MAX,
                   false, &root, &error);
    const struct json_node *workspace =
        r == 0 && root->kind == JSON_OBJECT ? json_member(root, "workspace") : NULL;
    const char *path =
        workspace && workspace->kind == JSON_OBJECT ? verb_text(workspace, "mount_path") : "";
    if (path[0] == '/')
        buf_puts(ret, path);
    buf_fini(&answer.document);
    return path[0] == '/' ? 0
                          : err_set(err, ERR_INTERNAL, EPROTO, "find the workspace", NULL,
                                    "The session does not say where its workspace is.");
}

/* What a status alone can tell. */
static const char *why_not(int code)
{
    switch (code) {
    case ERR_INVALID_STATE:
        return "The session's state does not allow it: see `berth session show`.";
    case ERR_FORBIDDEN:
        return "The session's user may not.";
    case ERR_UNAVAILABLE:
        return "berth serve cannot do it now: its log says why.";
    default:
        return "";
    }
}

int cp_remote_stat(struct cp *cp, const char *path, struct client_head *ret, struct err *err)
{
    _cleanup_buf_ struct buf target = {0};
    struct client_answer answer = {0};
    files_path(cp, "/files", path, &target);
    const struct client_request request = {.method = "HEAD", .path = buf_text(&target)};
    int r = client_call(cp->verb->client, &request, &answer, err);
    if (r < 0) {
        /* The answer to HEAD has no document: the subject is ours to say. */
        if (strcmp(err->step, CLIENT_REFUSED) != 0)
            return r;
        if (err->code == ERR_NOT_FOUND)
            return CP_ABSENT;
        return err_set(err, (enum err_code)err->code, 0, "look at", path, "%s", why_not(err->code));
    }
    *ret = answer.head;
    buf_fini(&answer.document);
    return 0;
}

int cp_remote_get(struct cp *cp, const char *path, int fd, struct client_head *ret_head,
                  struct err *err)
{
    _cleanup_buf_ struct buf target = {0};
    struct client_stream *s = NULL;
    files_path(cp, "/files", path, &target);
    const struct client_request request = {.method = "GET", .path = buf_text(&target)};
    int r = client_stream_open(cp->verb->client, &request, &s, err);
    while (r == 0) {
        const char *piece;
        size_t length;
        r = client_stream_wait(s, &piece, &length, err);
        if (r != 0)
            break;
        r = cp_room(cp, path, 0, length, err);
        if (r < 0)
            break;
        cp->bytes += length;
        r = io_write_full(fd, piece, length);
        if (r < 0)
            r = err_set(err, r == -ENOSPC ? ERR_INSUFFICIENT_STORAGE : ERR_INVALID_REQUEST, -r,
                        "write the copy of", path, NULL);
    }
    if (r == CLIENT_STREAM_END && ret_head)
        *ret_head = *client_stream_head(s);
    client_stream_free(s);
    return r == CLIENT_STREAM_END ? 0 : r;
}

int cp_remote_put(struct cp *cp, const char *path, int fd, mode_t mode, bool has_mode,
                  struct err *err)
{
    _cleanup_buf_ struct buf target = {0};
    char text[8];
    files_path(cp, "/files", path, &target);
    snprintf(text, sizeof text, "%04o", (unsigned)mode & 0777);
    if (has_mode)
        client_query(&target, "mode", text);
    const struct client_request request = {
        .method = "PUT", .path = buf_text(&target), .upload = fd, .has_upload = true};
    return client_call(cp->verb->client, &request, NULL, err);
}

int cp_remote_remove(struct cp *cp, const char *path, struct err *err)
{
    _cleanup_buf_ struct buf target = {0};
    files_path(cp, "/files", path, &target);
    const struct client_request request = {.method = "DELETE", .path = buf_text(&target)};
    return client_call(cp->verb->client, &request, NULL, err);
}

int cp_remote_mkdir(struct cp *cp, const char *path, mode_t mode, struct err *err)
{
    _cleanup_buf_ struct buf target = {0}, body = {0};
    const unsigned char *p = (const unsigned char *)path;
    for (size_t i = 0, length = strlen(path); i < length;) {
        size_t n = json_utf8_length(p + i, length - i);
        if (n == 0)
            return err_set(err, ERR_INVALID_REQUEST, 0, "make the directory", path,
                           "A directory's name must be UTF-8 to be sent to berth serve.");
        i += n;
    }
    files_path(cp, "/files/mkdir", NULL, &target);
    buf_puts(&body, "{\"path\": ");
    buf_json_string(&body, path);
    buf_printf(&body, ", \"mode\": \"%04o\"}", (unsigned)mode & 0777);
    const struct client_request request = {
        .method = "POST", .path = buf_text(&target), .body = buf_text(&body), .repeats = true};
    return client_call(cp->verb->client, &request, NULL, err);
}

int cp_remote_list(struct cp *cp, const char *path, const char *after, struct buf *ret_document,
                   struct err *err)
{
    _cleanup_buf_ struct buf target = {0};
    struct client_answer answer = {0};
    files_path(cp, "/files/list", path, &target);
    if (after[0])
        client_query(&target, "after", after);
    int r = verb_try(cp->verb, "GET", buf_text(&target), NULL, &answer, err);
    if (r == 0)
        *ret_document = answer.document;
    return r;
}

/* One page; *ret_next gets what the next one begins behind, "" at the end. */
static int each_of_page(struct cp *cp, const char *path, const char *after,
                        int (*each)(void *data, const struct json_node *entry, struct err *err),
                        void *data, struct buf *ret_next, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf document = {0};
    struct json_error error;
    const struct json_node *root = NULL;
    int r = cp_remote_list(cp, path, after, &document, err);
    if (r < 0)
        return r;
    r = json_parse(&arena, buf_text(&document), document.length, CLIENT_DOCUMENT_MAX, false, &root,
                   &error);
    if (r < 0 || root->kind != JSON_OBJECT)
        return err_set(err, ERR_INTERNAL, EPROTO, "list", path, "That is no listing.");
    const struct json_node *list = json_member(root, "entries");
    for (const struct json_node *e = list && list->kind == JSON_ARRAY ? list->first : NULL; e;
         e = e->next) {
        r = each(data, e, err);
        if (r < 0)
            return r;
    }
    (void)verb_bytes(ret_next, root, "next"); /* absent: the end */
    return 0;
}

int cp_remote_each(struct cp *cp, const char *path,
                   int (*each)(void *data, const struct json_node *entry, struct err *err),
                   void *data, struct err *err)
{
    _cleanup_buf_ struct buf next = {0};
    int r;
    do {
        _cleanup_buf_ struct buf after = next;
        next = (struct buf){0};
        r = each_of_page(cp, path, buf_text(&after), each, data, &next, err);
        /* Pages go forward: what a session says must not keep us here for ever. */
        if (r == 0 && next.length && strcmp(buf_text(&next), buf_text(&after)) <= 0 && after.length)
            return err_set(err, ERR_INTERNAL, EPROTO, "list", path, "Its pages do not go forward.");
    } while (r == 0 && next.length);
    return r;
}

int cp_remote_unpack(struct cp *cp, const char *path, int fd,
                     int (*more)(void *data, char *to, size_t size, size_t *ret_length,
                                 struct err *err),
                     void *data, struct err *err)
{
    _cleanup_buf_ struct buf target = {0};
    files_path(cp, "/tar", path, &target);
    const struct client_request request = {.method = "PUT",
                                           .path = buf_text(&target),
                                           .upload = fd,
                                           .has_upload = true,
                                           .more = fd < 0 ? more : NULL,
                                           .more_data = data};
    return client_call(cp->verb->client, &request, NULL, err);
}

int cp_remote_pack(struct cp *cp, const char *path, struct client_stream **ret, struct err *err)
{
    _cleanup_buf_ struct buf target = {0};
    files_path(cp, "/tar", path, &target);
    const struct client_request request = {.method = "GET", .path = buf_text(&target)};
    return client_stream_open(cp->verb->client, &request, ret, err);
}
