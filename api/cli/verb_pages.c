/* This file goes through a list of the API, which comes page by page; it never knows what an entry
 * means.
 */
#include "api/cli/verb.h"

#include <string.h>

/* *ret_next gets what the next page begins behind, "" at the end. */
static int one_page(struct verb *verb, const char *path, const struct verb_pages *pages,
                    const char *after, struct buf *ret_next)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf whole = {0};
    struct client_answer answer = {0};
    const struct json_node *root;
    buf_puts(&whole, path);
    if (after[0])
        client_query(&whole, "after", after);
    int status = verb_call(verb, "GET", buf_text(&whole), NULL, &answer);
    if (status == 0 && pages->as_it_is)
        status = verb_print_document(&answer.document);
    else if (status == 0 && (status = verb_read(&arena, &answer.document, &root)) == 0) {
        const struct json_node *list = json_member(root, pages->member);
        for (const struct json_node *e = list ? list->first : NULL; e && status == 0; e = e->next)
            status = pages->each(verb, pages->data, e);
        buf_puts(ret_next, verb_text(root, "next"));
    }
    buf_fini(&answer.document);
    return status;
}

int verb_pages(struct verb *verb, const char *path, const struct verb_pages *pages)
{
    _cleanup_buf_ struct buf next = {0};
    int status;
    buf_puts(&next, pages->after ? pages->after : "");
    do {
        _cleanup_buf_ struct buf after = next;
        next = (struct buf){0};
        status = one_page(verb, path, pages, buf_text(&after), &next);
        /* A page that leads to itself would never end. */
        if (strcmp(buf_text(&next), buf_text(&after)) == 0)
            buf_fini(&next);
    } while (status == 0 && next.length && !pages->one);
    return status;
}
