/* This file says of each route what the table of routes does not: its sentence, its answer and the
 * codes that its own work refuses with; it never repeats what that table has.
 */
#include "api/openapi/openapi.h"

#include "runtime/base/err.h"

#include <string.h>

#define P(code) (UINT32_C(1) << ERR_##code)
_Static_assert(ERR_CODE_COUNT <= 32, "a bit for each code");

/* What a command of a session, or a file of it, may be refused with. */
#define STATE      P(INVALID_STATE)
#define FILE_TO_DO (STATE | P(NOT_A_REGULAR_FILE))
#define FILE_MADE  (FILE_TO_DO | P(INSUFFICIENT_STORAGE) | P(TOO_LARGE))
/* Written by berth itself while the session does not run. */
#define FILE_PUT (FILE_MADE | P(WORKSPACE_IN_USE))
#define NEEDS_HOST                                                                  \
    (STATE | P(CAPABILITY_UNAVAILABLE) | P(SECRET_REQUIRED) | P(WORKSPACE_IN_USE) | \
     P(INSUFFICIENT_STORAGE) | P(PORT_IN_USE))

#define OUTPUT_EVENTS                                                          \
    {"stdout", &openapi_shape_output}, {"stderr", &openapi_shape_output},      \
        {"tty", &openapi_shape_output}, {"background", &openapi_shape_output}, \
        {"gap", &openapi_shape_gap}, {"exit", &document_shape_exec},           \
    {                                                                          \
        NULL, NULL                                                             \
    }

static const struct openapi_event output_events[] = {OUTPUT_EVENTS};
static const struct openapi_event start_events[] = {{"exec", &document_shape_exec}, OUTPUT_EVENTS};
static const struct openapi_event session_events[] = {{"*", &document_shape_event}, {NULL, NULL}};

static const struct openapi_event watch_events[] = {
    {"ready", &openapi_shape_change},    {"created", &openapi_shape_change},
    {"modified", &openapi_shape_change}, {"attributes", &openapi_shape_change},
    {"removed", &openapi_shape_change},  {"renamed", &openapi_shape_change},
    {"overflow", &openapi_shape_change}, {"gone", &openapi_shape_change},
    {"end", &openapi_shape_watch_end},   {NULL, NULL},
};

/* id, tag, summary, status, answer; then what else. */
#define ROW(id_, tag_, summary_, status_, answer_, ...) \
    [ROUTE_##id_] = {                                   \
        .tag = tag_, .summary = summary_, .status = status_, .answer = answer_, __VA_ARGS__}
#define D(shape_) &document_shape_##shape_
#define F(shape_) &openapi_shape_##shape_

static const struct openapi_operation operations[ROUTE_COUNT] = {
    ROW(HEALTH, "Host", "How the service is", 200, D(health), .other_status = 503),
    ROW(CAPABILITIES, "Host", "What this host can give", 200, D(capabilities)),
    ROW(METRICS, "Host", "Numbers for a monitoring system", 200, NULL),
    ROW(OPENAPI, "Host", "This document", 200, NULL),
    ROW(SESSION_CREATE, "Sessions", "Make a session", 201, D(session),
        .problems = NEEDS_HOST | P(POLICY_REJECTED) | P(SESSION_EXISTS)),
    ROW(SESSION_LIST, "Sessions", "List sessions", 200, D(session_list)),
    ROW(SESSION_GET, "Sessions", "Show a session", 200, D(session)),
    ROW(SESSION_DESTROY, "Sessions", "Destroy a session", 200, D(session),
        .problems = STATE | P(WORKSPACE_IN_USE)),
    ROW(SESSION_PARK, "Sessions", "Park a session", 200, D(session),
        .problems = STATE | P(CAPABILITY_UNAVAILABLE)),
    ROW(SESSION_RESUME, "Sessions", "Resume a parked session", 200, D(session),
        .problems = NEEDS_HOST),
    ROW(SESSION_INTERRUPT, "Sessions", "End every command that runs", 200, D(session),
        .problems = STATE),
    ROW(SESSION_ARCHIVE, "Sessions", "Make a session read-only for good", 200, D(session),
        .problems = STATE),
    ROW(SESSION_EVENTS, "Sessions", "Follow what happens to a session", 200, NULL,
        .events = session_events),
    ROW(SESSION_USAGE, "Sessions", "What a session has used", 200, D(usage)),
    ROW(EXEC_START, "Commands", "Start a command", 201, D(exec), .events = start_events,
        .problems =
            STATE | P(INSUFFICIENT_STORAGE) | P(CAPABILITY_UNAVAILABLE) | P(POLICY_REJECTED)),
    ROW(EXEC_LIST, "Commands", "List the commands of a session", 200, D(exec_list)),
    ROW(EXEC_GET, "Commands", "Show a command, or wait for its end", 200, D(exec)),
    ROW(EXEC_OUTPUT, "Commands", "Follow what a command prints", 200, NULL,
        .events = output_events),
    ROW(EXEC_STDIN, "Commands", "Write to a command's standard input", 200, F(stdin),
        .problems = STATE | P(PRECONDITION_FAILED) | P(IN_PROGRESS), .refuses_key = true),
    ROW(EXEC_CLOSE_STDIN, "Commands", "End a command's standard input", 200, D(exec),
        .problems = STATE),
    ROW(EXEC_SIGNAL, "Commands", "Send a signal to a command", 200, D(exec), .problems = STATE),
    ROW(EXEC_RESIZE, "Commands", "Say how large a command's terminal is", 200, D(exec),
        .problems = STATE),
    ROW(EXEC_CANCEL, "Commands", "End a command and all it started", 200, D(exec),
        .problems = STATE),
    ROW(FILE_READ, "Files", "Read a file, or a range of it", 200, NULL, .other_status = 206,
        .problems = FILE_TO_DO | P(RANGE_NOT_SATISFIABLE) | P(PRECONDITION_FAILED)),
    ROW(FILE_STAT, "Files", "What is known of a file or directory", 200, NULL, .other_status = 206,
        .problems = FILE_TO_DO | P(RANGE_NOT_SATISFIABLE) | P(PRECONDITION_FAILED)),
    ROW(FILE_WRITE, "Files", "Replace a file, whole or not at all", 200, F(file),
        .problems = FILE_PUT | P(PRECONDITION_FAILED)),
    ROW(FILE_REMOVE, "Files", "Remove a name, or a tree", 200, F(removed),
        .problems = FILE_TO_DO | P(PRECONDITION_FAILED) | P(WORKSPACE_IN_USE)),
    ROW(FILES_MKDIR, "Files", "Make a directory and those above it", 200, F(file),
        .problems = FILE_PUT, .refuses_key = true),
    ROW(FILES_MOVE, "Files", "Rename, replacing a file", 200, F(file), .problems = FILE_PUT,
        .refuses_key = true),
    ROW(FILES_CHMOD, "Files", "Change permission bits", 200, F(file),
        .problems = FILE_TO_DO | P(WORKSPACE_IN_USE), .refuses_key = true),
    ROW(FILES_LIST, "Files", "List a directory", 200, F(file_list), .problems = FILE_TO_DO),
    ROW(FILES_WATCH, "Files", "Follow what changes in a directory", 200, NULL,
        .events = watch_events, .problems = FILE_TO_DO | P(TOO_LARGE)),
    ROW(TAR_WRITE, "Files", "Unpack a tar archive into a directory", 200, F(unpacked),
        .problems = FILE_MADE),
    ROW(TAR_READ, "Files", "Read a directory as a tar archive", 200, NULL, .problems = FILE_TO_DO),
    ROW(UPLOADS, "Files", "Give a session a file that it only reads", 200, F(uploaded),
        .problems = FILE_MADE, .refuses_key = true),
    ROW(COLLECT, "Files", "Tell what a session leaves in its outputs, with hashes", 200,
        F(collection), .problems = FILE_TO_DO | P(TOO_LARGE), .refuses_key = true),
    ROW(SESSION_NETWORK, "Sessions", "Replace what a session may reach", 200, F(network),
        .problems = STATE | P(CAPABILITY_UNAVAILABLE) | P(POLICY_REJECTED) |
                    P(PRECONDITION_FAILED) | P(PORT_IN_USE)),
    ROW(PORTS_LIST, "Sessions", "List the ports of the host that lead into a session", 200,
        F(port_list)),
    ROW(PORTS, "Sessions", "Publish one more port of a session", 200, F(network),
        .problems = STATE | P(CAPABILITY_UNAVAILABLE) | P(POLICY_REJECTED) | P(PORT_IN_USE)),
    ROW(VOLUME_LIST, "Volumes", "List volumes", 200, D(volume_list)),
    ROW(VOLUME_CREATE, "Volumes", "Make a volume", 201, D(volume), .other_status = 200,
        .problems = STATE | P(INSUFFICIENT_STORAGE)),
    ROW(VOLUME_GET, "Volumes", "Show a volume", 200, D(volume)),
    ROW(VOLUME_REMOVE, "Volumes", "Remove a volume", 200, D(volume),
        .problems = P(WORKSPACE_IN_USE) | STATE),
    ROW(LEDGER_BACKUP, "Operator", "A copy of the ledger, made while it is written", 200, NULL,
        .problems = P(INSUFFICIENT_STORAGE)),
    ROW(TOKEN_CREATE, "Operator", "Make a token, and tell it once", 201, D(token),
        .problems = STATE | P(INSUFFICIENT_STORAGE)),
    ROW(TOKEN_LIST, "Operator", "List tokens, without what they are", 200, D(token_list)),
    ROW(TOKEN_REVOKE, "Operator", "Make a token worthless, at once", 200, D(token)),
    ROW(RESOURCES, "Operator", "Everything that an owner has", 200, D(resources)),
    ROW(REAP, "Operator", "Destroy the sessions of an owner", 200, D(reap)),
};

const struct openapi_operation *openapi_operation_at(enum route_id id)
{
    return &operations[id];
}

uint32_t openapi_problems(const struct route *route)
{
    const struct openapi_operation *operation = &operations[route->id];
    uint32_t bits =
        operation->problems | P(INVALID_REQUEST) | P(RATE_LIMITED) | P(INTERNAL) | P(UNAVAILABLE);
    if (route->scope != SCOPE_PUBLIC)
        bits |= P(UNAUTHORIZED) | P(FORBIDDEN);
    if (strchr(route->path, '{'))
        bits |= P(NOT_FOUND);
    if (route->body != BODY_NONE)
        bits |= P(TOO_LARGE);
    if (route->key == KEY_OPTIONAL && !operation->refuses_key)
        bits |= P(IN_PROGRESS) | P(IDEMPOTENCY_MISMATCH);
    if (route->later)
        bits |= route->later[0] ? P(CAPABILITY_UNAVAILABLE) : P(NOT_FOUND);
    return bits;
}

/* ---- what stands behind the question mark ---------------------------------------------------- */

#define REF(name_)          "{\"$ref\":\"#/components/schemas/" name_ "\"}"
#define FLAG_SCHEMA         "{\"type\":\"boolean\"}"
#define TEXT_SCHEMA         "{\"type\":\"string\"}"
#define PATH_SCHEMA         "{\"type\":\"string\",\"pattern\":\"^/\",\"maxLength\":4095}"
#define FROM_TO(from_, to_) "{\"type\":\"integer\",\"minimum\":" #from_ ",\"maximum\":" #to_ "}"

const struct openapi_parameter openapi_parameters[] = {
    {"state", ROUTE_SESSION_LIST, REF("Session/properties/state"), "Only those in this state.",
     false},
    {"state", ROUTE_EXEC_LIST, REF("Exec/properties/state"), "Only those in this state.", false},
    {"owner", OPENAPI_ANY, REF("Id"), "Only this owner's.", false},
    {"label", OPENAPI_ANY, "{\"type\":\"string\",\"pattern\":\"^[^=]+=\"}",
     "NAME=VALUE: only those that have this label.", false},
    {"after", ROUTE_FILES_LIST, TEXT_SCHEMA, "What `next` of the page before said.", false},
    {"after", OPENAPI_ANY, REF("Id"), "What `next` of the page before said.", false},
    {"limit", OPENAPI_ANY, FROM_TO(1, 1000), "How many at most; without it, 100.", false},
    {"depth", OPENAPI_ANY, FROM_TO(1, 64), "How many levels; without it, one.", false},
    {"delete_volume", OPENAPI_ANY, FLAG_SCHEMA, "Also remove the volume of its workspace.", false},
    {"from", OPENAPI_ANY, "{\"type\":\"integer\",\"minimum\":0}",
     "The number to begin at. The header field Last-Event-ID goes before it.", false},
    {"follow", ROUTE_SESSION_EVENTS, FLAG_SCHEMA,
     "false: end with what is there now. Without it, the stream ends with the session.", false},
    {"follow", OPENAPI_ANY, FLAG_SCHEMA,
     "true: go on until the command has ended. Without it, end with what is there now.", false},
    {"stream", OPENAPI_ANY, REF("OutputFrame/properties/stream"),
     "Only this one, as bytes instead of events.", false},
    {"wait_ms", OPENAPI_ANY, FROM_TO(0, 3600000),
     "Answer when the command has ended, or after so many milliseconds.", false},
    {"offset", OPENAPI_ANY, "{\"type\":\"integer\",\"minimum\":0}",
     "How many bytes have gone in before these; 412 when that is not so.", false},
    {"path", OPENAPI_ANY, PATH_SCHEMA, "Absolute, as the session sees it.", true},
    {"name", ROUTE_UPLOADS, "{\"type\":\"string\",\"minLength\":1,\"maxLength\":4000}",
     "The name that the file is to have beneath /mnt/session/uploads, of one or more parts.", true},
    {"size", ROUTE_UPLOADS, FROM_TO(0, 4294967296), "How many bytes it has.", true},
    {"sha256", ROUTE_UPLOADS, "{\"type\":\"string\",\"pattern\":\"^[0-9a-f]{64}$\"}",
     "Their SHA-256.", true},
    {"mode", OPENAPI_ANY, "{\"type\":\"string\",\"pattern\":\"^0?[0-7]{3}$\"}",
     "Of a new file, in octal; without it, 0644.", false},
    {"recursive", ROUTE_FILES_WATCH, FLAG_SCHEMA, "Also what is below, 1024 directories at most.",
     false},
    {"recursive", OPENAPI_ANY, FLAG_SCHEMA, "Also what is in a directory.", false},
    {NULL, 0, NULL, NULL, false},
};

const struct openapi_parameter *openapi_parameter(const struct route *route, const char *name,
                                                  size_t length)
{
    for (const struct openapi_parameter *p = openapi_parameters; p->name; p++)
        if (strlen(p->name) == length && memcmp(p->name, name, length) == 0 &&
            (p->route == OPENAPI_ANY || p->route == (int)route->id))
            return p;
    return NULL;
}
