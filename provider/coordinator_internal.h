/* This file is what the coordinator's files share; nobody else includes it. */
#pragma once

#include "provider/coordinator.h"

enum { INTENTS_MAX = 64 };

/* IDEM-1 as an outcome of the coordinator. */
int coordinator_look_key(struct ledger_tx *tx, const struct idempotency_request *key,
                         int64_t now_ms, int64_t *ret_status, struct buf *ret_body,
                         struct err *err);

/* The verb under way that stands in the way of `verb`; 0: none. */
int coordinator_in_the_way(struct ledger_tx *tx, int64_t session, enum session_event verb,
                           int64_t *ret_intent, struct err *err);

/* May `verb` begin while other rules wait to be put in force? */
bool coordinator_settles(enum session_event verb);
/* The intent of a network verb; 0: none. */
int coordinator_rules_waiting(struct ledger_tx *tx, int64_t session, int64_t *ret_intent,
                              struct err *err);
/* What the verb's row says is what the session is from now on. */
int coordinator_take_rules(struct ledger_tx *tx, const struct intent_row *intent, struct err *err);

/* SES-6: the idle timer runs while nothing else does. */
int coordinator_idle(struct ledger_tx *tx, const struct session_row *session, bool idle,
                     int64_t now_ms, struct err *err);

int coordinator_usage_state(struct ledger_tx *tx, int64_t session, bool running, int64_t now_ms,
                            struct err *err);

/* Of the ledger; here because sizes of fields are checked here too. */
int ledger_fits(const char *text, size_t size, const char *what, struct err *err);
