/* This file finds the host that a TLS ClientHello names; it knows nothing else of TLS. Pure. */
#include "runtime/gateway/client_hello.h"

#include <stdbool.h>
#include <string.h>

enum {
    RECORD_HEADER = 5,
    RECORD_HANDSHAKE = 22,
    RECORD_MAX = 16384 + 256,
    MESSAGE_HEADER = 4,
    MESSAGE_CLIENT_HELLO = 1,
    EXTENSION_SERVER_NAME = 0,
    NAME_OF_HOST = 0,
    HEAD_BYTES = 2 + 32, /* version and random */
};

/* What is left of something, consumed from the front; `bad` once more was wanted than there is. */
struct cursor {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static const uint8_t *take(struct cursor *c, size_t length)
{
    if (c->bad || length > c->left) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *at = c->at;
    c->at += length;
    c->left -= length;
    return at;
}

static size_t number(struct cursor *c, unsigned bytes)
{
    size_t value = 0;
    const uint8_t *at = take(c, bytes);
    for (unsigned i = 0; at && i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

/* A vector with a length of `bytes` bytes before it. */
static struct cursor vector(struct cursor *c, unsigned bytes)
{
    size_t length = number(c, bytes);
    const uint8_t *at = take(c, length);
    return (struct cursor){at, at ? length : 0, at == NULL};
}

static enum client_hello read_server_name(struct cursor extension, char *ret_name)
{
    struct cursor list = vector(&extension, 2);
    size_t type = number(&list, 1);
    struct cursor name = vector(&list, 2);
    /* One name of the one type that there is (RFC 6066, 3). */
    if (list.bad || name.bad || extension.left > 0 || list.left > 0 || type != NAME_OF_HOST ||
        name.left == 0 || name.left > SPEC_HOST_MAX || memchr(name.at, 0, name.left))
        return CLIENT_HELLO_BROKEN;
    memcpy(ret_name, name.at, name.left);
    ret_name[name.left] = 0;
    return CLIENT_HELLO_NAME;
}

static enum client_hello read_body(struct cursor body, char *ret_name)
{
    take(&body, HEAD_BYTES);
    vector(&body, 1); /* session id */
    vector(&body, 2); /* cipher suites */
    vector(&body, 1); /* compression methods */
    if (!body.bad && body.left == 0)
        return CLIENT_HELLO_NO_NAME; /* before there were extensions */
    struct cursor extensions = vector(&body, 2);
    if (body.bad || body.left > 0)
        return CLIENT_HELLO_BROKEN;
    enum client_hello found = CLIENT_HELLO_NO_NAME;
    while (extensions.left > 0) {
        size_t type = number(&extensions, 2);
        struct cursor extension = vector(&extensions, 2);
        if (extensions.bad)
            return CLIENT_HELLO_BROKEN;
        if (type != EXTENSION_SERVER_NAME)
            continue;
        /* Twice: which one a server would take is not known. */
        if (found != CLIENT_HELLO_NO_NAME)
            return CLIENT_HELLO_BROKEN;
        found = read_server_name(extension, ret_name);
        if (found == CLIENT_HELLO_BROKEN)
            return found;
    }
    return found;
}

/* A handshake message may be spread over records: they are put together as far as they came. */
enum client_hello client_hello_read(const void *data, size_t length,
                                    char ret_name[SPEC_HOST_MAX + 2])
{
    uint8_t message[CLIENT_HELLO_MAX];
    char name[SPEC_HOST_MAX + 2] = "";
    size_t have = 0, wanted = MESSAGE_HEADER;
    struct cursor stream = {data, length, false};
    const uint8_t *first = data;
    if (length == 0)
        return CLIENT_HELLO_MORE;
    if (first[0] != RECORD_HANDSHAKE || (length > 1 && first[1] != 3))
        return CLIENT_HELLO_OTHER;
    while (have < wanted) {
        if (stream.left < RECORD_HEADER)
            return CLIENT_HELLO_MORE;
        size_t type = number(&stream, 1), major = number(&stream, 1);
        number(&stream, 1);
        size_t size = number(&stream, 2);
        if (type != RECORD_HANDSHAKE || major != 3 || size == 0 || size > RECORD_MAX)
            return CLIENT_HELLO_BROKEN;
        size_t here = size < stream.left ? size : stream.left;
        const uint8_t *at = take(&stream, here);
        if (have + here > sizeof message)
            here = sizeof message - have;
        memcpy(message + have, at, here);
        have += here;
        if (have > 0 && message[0] != MESSAGE_CLIENT_HELLO)
            return CLIENT_HELLO_BROKEN;
        if (have >= MESSAGE_HEADER)
            wanted =
                MESSAGE_HEADER + ((size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3]);
        if (wanted > sizeof message)
            return CLIENT_HELLO_BROKEN;
        if (have < wanted && stream.left == 0)
            return CLIENT_HELLO_MORE;
    }
    struct cursor body = {message + MESSAGE_HEADER, wanted - MESSAGE_HEADER, false};
    enum client_hello found = read_body(body, name);
    if (found == CLIENT_HELLO_NAME)
        memcpy(ret_name, name, sizeof name);
    return found;
}
