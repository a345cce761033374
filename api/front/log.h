/* This file writes front's log: one line on standard error, JSON unless the configuration says
 * text; it never writes what a client's body, environment or arguments hold, and never waits for
 * who reads the log.
 */
#pragma once

#include "api/http/operations.h"
#include "runtime/serve.h"

/* Until then: JSON, and every request. */
void front_log_configure(const struct serve_config *config);
/* A request's end; of one that changes something also who did what to what (`audit`). `token`: the
 * id of the one that was shown; NULL: none. */
void front_log_served(const struct http_served *served, const char *token);
/* An error that its client was told only the code of; `id`: of the request, or NULL. */
void front_log_failure(const char *id, const struct err *err);
/* Rows of the ledger's audit went before their time. */
void front_log_audit_trimmed(uint64_t rows);
void front_log_event(const char *event, const char *detail); /* `detail` may be NULL */
