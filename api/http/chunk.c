/* This file reads a body in chunks; it never keeps a byte of it. */
#include "api/http/chunk.h"

static int bad(struct err *err, const char *what)
{
    return err_set(err, ERR_INVALID_REQUEST, 0, "read the request's body", NULL, "%s", what);
}

static int hex_value(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A byte that is exactly `wanted`, then `next`. */
static int exactly(struct chunk_reader *r, unsigned char c, char wanted, enum chunk_state next,
                   struct err *err)
{
    if (c != (unsigned char)wanted)
        return bad(err, r->state == CHUNK_LAST_CR
                            ? "There are trailer fields after the last chunk; none is understood."
                            : "A chunk does not end with CR and LF.");
    r->state = next;
    return 0;
}

static int read_size(struct chunk_reader *r, unsigned char c, struct err *err)
{
    int digit = hex_value(c);
    if (++r->line > CHUNK_LINE_MAX)
        return bad(err, "The line of a chunk's size is too long.");
    if (r->state == CHUNK_SIZE && digit >= 0) {
        if (++r->digits > 15)
            return bad(err, "A chunk's size is too large.");
        r->left = r->left << 4 | (unsigned)digit;
        return 0;
    }
    if (r->digits == 0)
        return bad(err, "A chunk's size is not a hexadecimal number.");
    if (c == '\r') {
        r->state = CHUNK_SIZE_END;
        return 0;
    }
    if (r->state == CHUNK_SIZE && c != ';')
        return bad(err, "A chunk's size is not a hexadecimal number.");
    if ((c < 0x20 && c != '\t') || c == 0x7f)
        return bad(err, "There is a control character in a chunk's extension.");
    r->state = CHUNK_EXTENSION;
    return 0;
}

static int read_frame(struct chunk_reader *r, unsigned char c, struct err *err)
{
    switch (r->state) {
    case CHUNK_SIZE:
    case CHUNK_EXTENSION:
        return read_size(r, c, err);
    case CHUNK_SIZE_END: {
        enum chunk_state next = r->left > 0 ? CHUNK_DATA : CHUNK_LAST_CR;
        r->line = r->digits = 0;
        return exactly(r, c, '\n', next, err);
    }
    case CHUNK_DATA_CR:
        return exactly(r, c, '\r', CHUNK_DATA_LF, err);
    case CHUNK_DATA_LF:
        return exactly(r, c, '\n', CHUNK_SIZE, err);
    case CHUNK_LAST_CR:
        return exactly(r, c, '\r', CHUNK_LAST_LF, err);
    case CHUNK_LAST_LF:
        return exactly(r, c, '\n', CHUNK_ENDED, err);
    case CHUNK_DATA:
    case CHUNK_ENDED:
        return 0;
    }
    return 0;
}

int chunk_next(struct chunk_reader *r, const char *data, size_t length, size_t *ret_used,
               struct slice *ret_piece, struct err *err)
{
    size_t at = 0;
    *ret_piece = (struct slice){data, 0};
    while (r->state != CHUNK_ENDED && at < length) {
        if (r->state == CHUNK_DATA) {
            size_t n = length - at < r->left ? length - at : (size_t)r->left;
            *ret_piece = (struct slice){data + at, n};
            *ret_used = at + n;
            r->left -= n;
            if (r->left == 0)
                r->state = CHUNK_DATA_CR;
            return 0;
        }
        int e = read_frame(r, (unsigned char)data[at++], err);
        if (e < 0)
            return e;
    }
    *ret_used = at;
    return r->state == CHUNK_ENDED ? CHUNK_END : CHUNK_MORE;
}
