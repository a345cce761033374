/* This file makes an error of the command line out of a problem document (contract, errors); it
 * never prints one. */
#include "api/cli/client.h"

#include "policy/json.h"

#include <string.h>

static int code_of(const char *name, int status)
{
    for (int code = ERR_NONE + 1; name && code < ERR_USAGE; code++)
        if (strcmp(err_code_name((enum err_code)code), name) == 0)
            return code;
    for (int code = ERR_NONE + 1; code < ERR_USAGE; code++)
        if (err_code_status((enum err_code)code) == status)
            return code;
    return status < 500 ? ERR_INVALID_REQUEST : ERR_INTERNAL;
}

static const char *text_of(const struct json_node *root, const char *key)
{
    const struct json_node *node = json_member(root, key);
    return node && node->kind == JSON_STRING ? node->text : NULL;
}

static void add_list(struct err *err, const struct json_node *root, const char *key,
                     const char *word)
{
    const struct json_node *list = json_member(root, key);
    _cleanup_buf_ struct buf text = {0};
    if (!list || list->kind != JSON_ARRAY)
        return;
    for (const struct json_node *n = list->first; n; n = n->next)
        if (n->kind == JSON_STRING && !strstr(err->detail, n->text))
            buf_printf(&text, "%s%s", text.length ? ", " : "", n->text);
    if (text.length)
        err_add(err, "%s: %s.", word, buf_text(&text));
}

int client_problem_err(const char *document, size_t length, int status, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    const struct json_node *root = NULL;
    struct json_error error;
    bool read =
        json_parse(&arena, document, length, CLIENT_DOCUMENT_MAX, false, &root, &error) == 0 &&
        root->kind == JSON_OBJECT;
    const char *code = read ? text_of(root, "code") : NULL;
    const char *title = read ? text_of(root, "title") : NULL;
    const char *detail = read ? text_of(root, "detail") : NULL;
    const char *pointer = read ? text_of(root, "pointer") : NULL;
    /* The place once. */
    if (detail && pointer && strncmp(detail, pointer, strlen(pointer)) == 0 &&
        strncmp(detail + strlen(pointer), ": ", 2) == 0)
        detail += strlen(pointer) + 2;
    /* Its title would say the same as its detail. */
    if (detail && !pointer && code && strcmp(code, err_code_name(ERR_NOT_FOUND)) == 0)
        return err_set(err, ERR_NOT_FOUND, 0, "", detail, NULL);
    int r = err_set(err, (enum err_code)code_of(code, status), 0, title ? title : CLIENT_REFUSED,
                    pointer, "%s",
                    detail ? detail
                    : read ? ""
                           : "There is no problem document in its answer.");
    if (read && err) {
        add_list(err, root, "missing", "Missing");
        add_list(err, root, "allowed", "Allowed");
    }
    return r;
}
