/* This file is the facade of the policy layer: files and presets in, a struct spec out. It reads
 * JSON with comments strictly (POL-1), merges by authorship (POL-2), compares with a ceiling, and
 * explains (POL-3). Unprivileged; never talks to the kernel except to read the named file.
 *
 *     policy_new(&p, "balanced");
 *     policy_load_file(p, "berth.jsonc", &err);        // its `extends` replaces what p started
 * from policy_set(p, "limits.memory", "1GiB", "--memory", &err); policy_compile(p, &spec, &err);
 *     policy_free(p);
 *
 * Every value remembers its origin (preset, file:line:column, flag), for explain and for messages.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/base/err.h"
#include "runtime/spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct policy;
struct json_node;

/* A policy that is the preset, or empty when `preset` is NULL. */
int policy_new(struct policy **ret, const char *preset, struct err *err);
void policy_free(struct policy *policy);

/* Read a file or a preset's name and lay it over `extends`. An error names file:line:column, the
 * key's path, what is allowed, and a near miss. Files over 1 MiB are refused before parsing. */
int policy_load_file(struct policy **ret, const char *path_or_preset, struct err *err);
int policy_load_text(struct policy **ret, const char *name, const char *text, size_t length,
                     struct err *err);

/* What the body of a request asks for: its `policy` (a preset's name, or a whole policy; absent:
 * balanced), and over it its members image, filesystem, process, network, limits and requires.
 * Other members are not looked at. A value's origin is "body:LINE:COLUMN". */
int policy_load_body(struct policy **ret, const struct json_node *body, struct err *err);
/* The same, where `text` (NULL: balanced) stands in for a `policy` that is absent; `name` is its
 * origin. */
int policy_load_body_on(struct policy **ret, const struct json_node *body, const char *name,
                        const char *text, struct err *err);

/* Where in `body` the value is that an error of any function here is about, as a JSON pointer
 * (RFC 6901); "" when it is not of the body. */
enum { POLICY_POINTER_MAX = 256 };
void policy_body_pointer(const struct json_node *body, const struct err *err,
                         char ret_pointer[POLICY_POINTER_MAX]);

/* One value by dotted key from a flag: scalars replace, lists add. `origin` is kept, e.g.
 * "--memory". */
int policy_set(struct policy *policy, const char *key, const char *value, const char *origin,
               struct err *err);

/* POL-2: is `policy` within `ceiling`, over every row of the schema? 0, or ERR_POLICY_REJECTED
 * naming both places. */
int policy_within(const struct policy *policy, const struct policy *ceiling, struct err *err);
/* The same over the rows of `network` alone: for rules that replace those of a session (NET-6). */
int policy_network_within(const struct policy *policy, const struct policy *ceiling,
                          struct err *err);
/* Is what a command asks for by itself (the body of POST …/execs, whose fields were checked: user,
 * timeout_ms, output_limit_bytes, grace_ms, keep_children) within `ceiling`? 0, or
 * ERR_POLICY_REJECTED naming all that is not, each with both places. */
int policy_command_within(const struct json_node *body, const struct policy *ceiling,
                          struct err *err);

/* The part that policy_compile() fills of a spec's network. */
void policy_compile_network(const struct policy *policy, struct spec_network *ret);
/* As a policy has it: {"egress": …, "publish": […]}. */
void policy_print_network(const struct spec_network *network, struct buf *out);

/* Refuses what its author asked for and what means nothing in this policy as it is, when nobody
 * adds to it any more. policy_compile() asks this first. */
int policy_check_meaning(const struct policy *policy, struct err *err);

/* Fill the policy's part of `spec` (image, mounts, protect, network, process, limits, requires). A
 * limit is "asked" when its origin is not a preset. */
int policy_compile(const struct policy *policy, struct spec *spec, struct err *err);

/* Printing. `json` makes one document. */
int policy_show(const struct policy *policy, bool json, bool origins, struct buf *out);
/* The members of a create request's body that ask for the same, `"policy": "balanced", "limits":
 * {…}`, without braces around: what a preset says is left to the preset. Mounts are those of
 * `spec`, whose sources are resolved. */
int policy_request(const struct policy *policy, const struct spec *spec, struct buf *out);
/* The same as a policy file on one line, to be kept: it stands for itself but for the preset that
 * it extends, so that what was asked for can still be told from what is a default (CAP-2). */
int policy_keep(const struct policy *policy, struct buf *out, struct err *err);
int policy_schema_json(struct buf *out); /* JSON Schema draft 2020-12 */
/* The same as a part of another document, where it stands at `place` ("#/components/schemas/X"). */
int policy_schema_part(const char *place, struct buf *out);
int policy_reference_markdown(struct buf *out);    /* docs/policy-reference.md */
int policy_presets(const char *const **ret_names); /* NULL-terminated */
const char *policy_preset_text(const char *name);  /* its JSONC source; NULL */

/* Questions. Each appends lines for a person or an object (`json`) and returns 1 when allowed, 0
 * when denied, < 0 on error. */
int policy_explain_syscall(const struct policy *policy, const char *name, bool json,
                           struct buf *out, struct err *err);
/* A call that a session's filter refused (docs/adr/0014), in words. `line` is what a policy has to
 * say to allow it, "" when none can; then `why` says so. */
struct policy_denied_call {
    int32_t number;
    uint32_t arch; /* AUDIT_ARCH_* */
    uint32_t sys;  /* the errno that it got */
};
struct policy_denied_words {
    char call[40];  /* "mount", "32-bit call 20", "call 999" */
    char error[24]; /* "EPERM" */
    char why[256];
    char line[512];
};
void policy_denied_call(const struct spec *spec, const struct policy_denied_call *call,
                        struct policy_denied_words *ret);
int policy_explain_path(const struct policy *policy, const char *path, const char *workspace,
                        bool json, struct buf *out, struct err *err);
/* What is done to make a session of it, in order; its workspace is at `workspace`. Returns 1. */
int policy_explain_plan(const struct policy *policy, const char *workspace, bool json,
                        struct buf *out, struct err *err);
int policy_explain_host(const struct policy *policy, const char *host_port, bool json,
                        struct buf *out, struct err *err);
