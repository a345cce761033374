/* This file is the table of titles of error codes; it never formats one. */
#include "runtime/base/err_title.h"

static const char *const titles[ERR_CODE_COUNT] = {
    [ERR_NONE] = "No error",
    [ERR_INVALID_REQUEST] = "The request is not valid",
    [ERR_NOT_A_REGULAR_FILE] = "The path is not a regular file",
    [ERR_UNAUTHORIZED] = "The caller is not known",
    [ERR_FORBIDDEN] = "The caller may not do this",
    [ERR_NOT_FOUND] = "There is no such thing",
    [ERR_METHOD_NOT_ALLOWED] = "The path does not have this method",
    [ERR_INVALID_STATE] = "The state does not allow this",
    [ERR_SECRET_REQUIRED] = "A secret must be given again",
    [ERR_SESSION_EXISTS] = "The session exists",
    [ERR_WORKSPACE_IN_USE] = "The workspace is in use",
    [ERR_IN_PROGRESS] = "The same request is being served",
    [ERR_PRECONDITION_FAILED] = "A precondition does not hold",
    [ERR_TOO_LARGE] = "The request is too large",
    [ERR_RANGE_NOT_SATISFIABLE] = "The range cannot be had",
    [ERR_CAPABILITY_UNAVAILABLE] = "This host cannot give what was asked for",
    [ERR_POLICY_REJECTED] = "The operator's policy does not allow this",
    [ERR_IDEMPOTENCY_MISMATCH] = "The idempotency key belongs to another request",
    [ERR_RATE_LIMITED] = "Too many requests",
    [ERR_INTERNAL] = "berth failed",
    [ERR_UNAVAILABLE] = "berth cannot serve this now",
    [ERR_INSUFFICIENT_STORAGE] = "There is no room",
    [ERR_PORT_IN_USE] = "A port of the host is in use",
    [ERR_USAGE] = "The words make no sense",
};

const char *err_code_title(enum err_code code)
{
    return titles[(unsigned)code < ERR_CODE_COUNT ? code : ERR_INTERNAL];
}
