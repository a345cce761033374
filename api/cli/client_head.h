/* This file reads what a server of HTTP/1.1 answers: the head, and the framing of the body. It
 * never guesses: what a server may send and berth's never does (bare line feeds, a length beside
 * chunks, a body that ends with its connection) is refused, because the other end of a socket is
 * not trusted to be what it should be.
 *
 *     client_head_read() after each read, until the head is whole;
 *     client_body_init(), then client_body_next() until CLIENT_BODY_END.
 *
 * Pure; nothing is allocated. Unprivileged.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CLIENT_HEAD_MAX = 16 * 1024, CLIENT_MEDIA_MAX = 64 };

struct client_head {
    int status;
    bool has_length, chunked;
    bool close;             /* the connection ends with this answer */
    char type[16];          /* X-Berth-Type: "file", "directory"; "" when it was not said */
    bool has_mode;          /* X-Berth-Mode: the permission bits of a file */
    uint32_t mode;          /* without anything above 0777 */
    uint64_t length;        /* of Content-Length */
    unsigned retry_after_s; /* 0: not said */
    char media_type[CLIENT_MEDIA_MAX];
};

enum client_head_outcome { CLIENT_HEAD_MORE = 1 };

/* 0: the head is whole, *ret_used bytes of `data` with its empty line. CLIENT_HEAD_MORE: read on.
 * -EPROTO: no head that berth sends. */
int client_head_read(const char *data, size_t length, struct client_head *ret, size_t *ret_used,
                     struct err *err);

enum client_body_state {
    CLIENT_BODY_LENGTH, /* `left` bytes */
    CLIENT_BODY_SIZE,
    CLIENT_BODY_SIZE_LF,
    CLIENT_BODY_DATA,
    CLIENT_BODY_DATA_CR,
    CLIENT_BODY_DATA_LF,
    CLIENT_BODY_FIELD, /* behind the last chunk: a field's line, or the empty one */
    CLIENT_BODY_FIELD_LF,
    CLIENT_BODY_DONE,
};

/* What stands behind the chunks of an archive (X-Berth-Left-Out, X-Berth-Left-Out-Names). */
struct client_left_out {
    uint64_t count;
    char names[3200]; /* as they were sent, "%XX" and ", " */
};

struct client_body {
    enum client_body_state state;
    uint64_t left;
    unsigned digits, fields;
    size_t field_length;
    char field[3328];
    struct client_left_out left_out;
};

/* `none`: the answer to HEAD, which has a length and no body. -EPROTO: no framing at all. */
int client_body_init(struct client_body *body, const struct client_head *head, bool none,
                     struct err *err);

enum client_body_outcome { CLIENT_BODY_MORE = 1, CLIENT_BODY_END = 2 };

/* The next piece: *ret_used bytes of `data` were consumed, *ret_piece (maybe empty) is a part of
 * them. 0: call again with the rest. CLIENT_BODY_MORE: all was used. CLIENT_BODY_END: it is whole.
 * -EPROTO: no chunks. */
int client_body_next(struct client_body *body, const char *data, size_t length, size_t *ret_used,
                     const char **ret_piece, size_t *ret_piece_length, struct err *err);
