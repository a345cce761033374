/* This file gives a repeated request the answer of the first (IDEM-1..4). It runs inside apply() of
 * a ledger job; it never makes an answer.
 *
 * A key is taken in the transaction that writes the intent and completed in the one that writes the
 * outcome (IDEM-2). So a key that is found in progress after a crash proves that no outcome was
 * committed: recovery finishes or undoes the verb, and completes or releases the key with it.
 */
#pragma once

#include "provider/ledger_rows.h"

enum { IDEMPOTENCY_KEPT_HOURS = 24 };

struct idempotency_request {
    const char *workspace_id, *method, *path, *key; /* scope: all four */
    const char *body_sha256;                        /* hex, of the raw body as it passed */
};

enum idempotency_outcome {
    IDEMPOTENCY_REPLAY = 1,      /* the stored answer is in ret_status and ret_body */
    IDEMPOTENCY_MISMATCH = 2,    /* ERR_IDEMPOTENCY_MISMATCH: used before with another body */
    IDEMPOTENCY_IN_PROGRESS = 3, /* ERR_IN_PROGRESS: the first is not answered yet */
};

/* Keyed hash of method, path and body: HMAC-SHA256 under the ledger's secret, hex. Pure. */
void idempotency_fingerprint(const char *secret_hex, const struct idempotency_request *request,
                             char ret_hex[65]);

/* IDEM-3: 2xx and 4xx are stored, but 429, in_progress and idempotency_mismatch are not. */
bool idempotency_is_stored(int64_t status, enum err_code code);

/* What is known of this key. 0: nothing (an expired one is removed). */
int idempotency_look(struct ledger_tx *tx, const struct idempotency_request *request,
                     int64_t now_ms, int64_t *ret_status, struct buf *ret_body, struct err *err);

/* Takes it: in progress from now on. Only after idempotency_look() answered 0 in this transaction.
 */
int idempotency_take(struct ledger_tx *tx, const struct idempotency_request *request,
                     int64_t now_ms, int64_t *ret_key, struct err *err);

/* Complete it with the answer, or release it when such an answer is not stored. Key 0: nothing. */
int idempotency_answer(struct ledger_tx *tx, int64_t key, int64_t status, enum err_code code,
                       struct ledger_blob body, struct err *err);
