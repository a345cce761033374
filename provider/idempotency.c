/* This file decides what a repeated request gets; storage is ledger_key.c's. */
#include "provider/idempotency.h"

#include "runtime/base/buf.h"
#include "runtime/base/sha256.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 64 };

/* HMAC (RFC 2104) over "method path body-hash", each ended by a NUL so that no two of them meet. */
void idempotency_fingerprint(const char *secret_hex, const struct idempotency_request *request,
                             char ret_hex[65])
{
    unsigned char inner_pad[BLOCK], outer_pad[BLOCK];
    char inner[65];
    for (size_t i = 0; i < BLOCK; i++) {
        inner_pad[i] = (unsigned char)secret_hex[i] ^ 0x36;
        outer_pad[i] = (unsigned char)secret_hex[i] ^ 0x5c;
    }
    const struct sha256_part parts[] = {
        {inner_pad, BLOCK},
        {request->method, strlen(request->method) + 1},
        {request->path, strlen(request->path) + 1},
        {request->body_sha256, strlen(request->body_sha256) + 1},
    };
    sha256_parts_hex(parts, sizeof parts / sizeof parts[0], inner);
    const struct sha256_part outer[] = {{outer_pad, BLOCK}, {inner, 64}};
    sha256_parts_hex(outer, 2, ret_hex);
}

bool idempotency_is_stored(int64_t status, enum err_code code)
{
    if (code == ERR_IN_PROGRESS || code == ERR_IDEMPOTENCY_MISMATCH || status == 429)
        return false;
    return status >= 200 && status < 500 && status / 100 != 3;
}

static int fingerprint(struct ledger_tx *tx, const struct idempotency_request *request,
                       char ret_hex[65], struct err *err)
{
    char secret[65];
    int r = ledger_key_secret(tx, secret, err);
    if (r == LEDGER_NOT_FOUND || (r == 0 && strlen(secret) != BLOCK))
        return err_set(err, ERR_INTERNAL, 0, "read the ledger", "secret",
                       "The ledger has lost its secret. It is damaged.");
    if (r == 0)
        idempotency_fingerprint(secret, request, ret_hex);
    return r;
}

static int fill(const struct idempotency_request *request, struct key_row *ret, struct err *err)
{
    const struct {
        const char *from, *what;
        char *to;
        size_t size;
    } fields[] = {
        {request->workspace_id, "workspace_id", ret->workspace_id, sizeof ret->workspace_id},
        {request->method, "method", ret->method, sizeof ret->method},
        {request->path, "path", ret->path, sizeof ret->path},
        {request->key, "Idempotency-Key", ret->key, sizeof ret->key},
    };
    memset(ret, 0, sizeof *ret);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (snprintf(fields[i].to, fields[i].size, "%s", fields[i].from) >= (int)fields[i].size ||
            !fields[i].from[0])
            return err_set(err, ERR_INVALID_REQUEST, 0, "idempotency", fields[i].what,
                           "It must have 1 to %zu bytes.", fields[i].size - 1);
    return 0;
}

int idempotency_look(struct ledger_tx *tx, const struct idempotency_request *request,
                     int64_t now_ms, int64_t *ret_status, struct buf *ret_body, struct err *err)
{
    struct key_row name, row = {0};
    _cleanup_buf_ struct buf body = {0};
    char expected[65];
    int r = fill(request, &name, err);
    if (r == 0)
        r = fingerprint(tx, request, expected, err);
    if (r == 0)
        r = ledger_key_find(tx, &name, &row, &body, err);
    if (r == LEDGER_NOT_FOUND)
        return 0;
    if (r < 0)
        return r;
    /* One in progress never expires: only an outcome or recovery ends it. */
    if (row.status != 0 && row.expires_ms <= now_ms)
        return ledger_key_release(tx, row.id, err);
    if (strcmp(row.fingerprint, expected) != 0)
        return IDEMPOTENCY_MISMATCH;
    if (row.status == 0)
        return IDEMPOTENCY_IN_PROGRESS;
    buf_add(ret_body, buf_text(&body), body.length);
    if (buf_failed(ret_body))
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "read the ledger", NULL, NULL);
    *ret_status = row.status;
    return IDEMPOTENCY_REPLAY;
}

int idempotency_take(struct ledger_tx *tx, const struct idempotency_request *request,
                     int64_t now_ms, int64_t *ret_key, struct err *err)
{
    struct key_row row;
    int r = fill(request, &row, err);
    if (r == 0)
        r = fingerprint(tx, request, row.fingerprint, err);
    row.created_ms = now_ms;
    row.expires_ms = now_ms + IDEMPOTENCY_KEPT_HOURS * 3600 * 1000LL;
    if (r == 0)
        r = ledger_key_insert(tx, &row, err);
    if (r == 0)
        *ret_key = row.id;
    return r;
}

int idempotency_answer(struct ledger_tx *tx, int64_t key, int64_t status, enum err_code code,
                       struct ledger_blob body, struct err *err)
{
    if (key == 0)
        return 0;
    if (!idempotency_is_stored(status, code))
        return ledger_key_release(tx, key, err);
    return ledger_key_finish(tx, key, status, body, err);
}
