/* This file asks who sends a request over TCP, where the kernel does not know: a token, always, and
 * before anything else of the request is looked at. It never knows a token (operations.h).
 *
 * A page in a browser can make its user's browser send requests here. It cannot send a token; that
 * is not left the only line: a browser says Origin where a page of another site asks, and a name
 * that its owner has pointed at this host is not ours.
 */
#include "api/http/connection.h"

#include <string.h>

static const char no_token[] =
    "Send `Authorization: Bearer TOKEN` with a token that `berth token create` has made, and that "
    "has neither expired nor been revoked.";

bool caller_host_is_plain(const char *host, size_t length)
{
    static const char localhost[] = "localhost";
    const char *end = length > 0 && host[0] == '[' ? memchr(host, ']', length) : NULL;
    size_t n = 0;
    if (length > 0 && host[0] == '[') {
        if (!end)
            return false;
        for (const char *at = host + 1; at < end; at++)
            if (!strchr("0123456789abcdefABCDEF:.", *at))
                return false;
        n = (size_t)(end - host) + 1;
        if (n < 4)
            return false;
    } else {
        const char *colon = memchr(host, ':', length);
        n = colon ? (size_t)(colon - host) : length;
        unsigned dots = 0, digits = 0;
        for (size_t i = 0; i < n; i++) {
            dots += host[i] == '.';
            digits += host[i] >= '0' && host[i] <= '9';
        }
        bool address = n > 0 && dots == 3 && digits >= 4 && dots + digits == n;
        if (!address && !slice_is((struct slice){host, n}, localhost))
            return false;
    }
    if (n == length)
        return true;
    if (host[n] != ':' || length - n > 6)
        return false;
    for (size_t i = n + 1; i < length; i++)
        if (host[i] < '0' || host[i] > '9')
            return false;
    return true;
}

bool caller_token(struct slice value, struct slice *ret_token)
{
    static const char scheme[] = "bearer";
    size_t n = sizeof scheme - 1;
    if (value.length <= n || !slice_is((struct slice){value.at, n}, scheme) || value.at[n] != ' ')
        return false;
    while (n < value.length && value.at[n] == ' ')
        n++;
    *ret_token = (struct slice){value.at + n, value.length - n};
    return ret_token->length > 0;
}

static int check_browser(const struct connection *c, const struct head *head, struct err *err)
{
    const struct http_operations *operations = &c->server->operations;
    struct slice value;
    if (head_value(head, "origin", &value) != HEAD_ABSENT)
        return err_set(err, ERR_FORBIDDEN, 0, "know the caller", "Origin",
                       "Pages in browsers are not served.");
    int r = head_value(head, "host", &value); /* it is there once: head_parse() */
    const char *colon = r == 0 ? memchr(value.at, ':', value.length) : NULL;
    size_t n = colon ? (size_t)(colon - value.at) : value.length;
    if (r != 0 ||
        (!caller_host_is_plain(value.at, value.length) &&
         !(operations->host_known && operations->host_known(operations->context, value.at, n))))
        return err_set(err, ERR_FORBIDDEN, 0, "know the caller", "Host",
                       "Name this host by its address, or have its operator add the name to "
                       "\"hosts\" of the configuration.");
    return 0;
}

/* One token does not take the room of all. */
static int check_count(const struct connection *c, int64_t caller, struct err *err)
{
    const struct server *server = c->server;
    unsigned count = 0;
    for (const struct connection *other = server->connections; other; other = other->next)
        count += other != c && !other->peer.local && other->caller == caller;
    if (count < server->limits.connections_per_token_max)
        return 0;
    return err_set(err, ERR_RATE_LIMITED, 0, "serve the request", NULL,
                   "This token has %u connections open. Close some.", count);
}

int caller_check(struct connection *c, struct exchange *x, const struct head *head, struct err *err)
{
    const struct http_operations *operations = &c->server->operations;
    struct slice value, token;
    if (c->peer.local)
        return 0;
    int64_t before = c->caller;
    c->caller = 0;
    int r = check_browser(c, head, err);
    if (r < 0)
        return r;
    int64_t caller = 0;
    if (head_value(head, "authorization", &value) == 0 && caller_token(value, &token))
        caller = operations->identify(operations->context, token.at, token.length);
    if (caller == 0)
        return err_set(err, ERR_UNAUTHORIZED, 0, "know the caller", NULL, "%s", no_token);
    if (caller != before)
        r = check_count(c, caller, err);
    if (r < 0)
        return r;
    c->caller = x->request.caller = caller;
    return 0;
}
