/* This file writes front's log: one JSON object a line on standard error; it never writes what a
 * client's body, environment or arguments hold, and never waits for who reads the log.
 */
#pragma once

#include "api/http/operations.h"

/* `token`: the id of the one that was shown; NULL: none. */
void front_log_served(const struct http_served *served, const char *token);
/* Requests have no line any more, but those that failed because of berth. */
void front_log_only_failures(bool only);
/* An error that its client was told only the code of; `id`: of the request, or NULL. */
void front_log_failure(const char *id, const struct err *err);
void front_log_event(const char *event, const char *detail); /* `detail` may be NULL */
