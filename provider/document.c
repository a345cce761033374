/* This file makes the documents of sessions, execs, volumes, usage and events; it never looks
 * anything up. Problems are in document_problem.c.
 */
#include "provider/document.h"

#include "policy/json.h"
#include "policy/policy.h"
#include "runtime/agent/protocol.h"
#include "runtime/base/fd.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { COMMAND_MAX = 512 };

void document_time(struct buf *out, int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char text[40];
    if (ms <= 0 || !gmtime_r(&seconds, &tm) ||
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        buf_puts(out, "null");
        return;
    }
    buf_printf(out, "\"%s.%03dZ\"", text, (int)(ms % 1000));
}

void document_text(struct buf *out, const char *text)
{
    if (text && text[0])
        buf_json_string(out, text);
    else
        buf_puts(out, "null");
}

static void number_or_null(struct buf *out, const char *key, uint64_t value)
{
    if (value)
        buf_printf(out, "\"%s\":%llu", key, (unsigned long long)value);
    else
        buf_printf(out, "\"%s\":null", key);
}

/* ---- sessions -------------------------------------------------------------------------------- */

static void add_persistence(struct buf *out, const struct spec *spec)
{
    buf_puts(out, "{\"kind\":");
    switch ((enum spec_workspace_kind)spec->workspace.kind) {
    case SPEC_WORKSPACE_VOLUME:
        buf_puts(out, "\"volume\",\"name\":");
        buf_json_string(out, spec->workspace.volume);
        break;
    case SPEC_WORKSPACE_DIRECTORY:
        buf_puts(out, "\"directory\",\"path\":");
        buf_json_string(out, spec->workspace.path);
        break;
    case SPEC_WORKSPACE_TMPFS:
        buf_printf(out, "\"tmpfs\",\"size\":%llu", (unsigned long long)spec->workspace.size_bytes);
        break;
    case SPEC_WORKSPACE_DISK:
        buf_puts(out, "\"disk\"");
        break;
    case SPEC_WORKSPACE_SNAPSHOT:
        buf_puts(out, "\"snapshot\"");
        break;
    case SPEC_WORKSPACE_NONE:
        buf_puts(out, "\"none\"");
        break;
    }
    buf_putc(out, '}');
}

static void add_image(struct buf *out, const struct spec *spec)
{
    _cleanup_buf_ struct buf text = {0};
    if (spec->image.kind == SPEC_IMAGE_HOST)
        buf_puts(&text, "host");
    else
        buf_printf(&text, "%s%s", spec->image.kind == SPEC_IMAGE_DIR ? "dir:" : "",
                   spec->image.path);
    buf_json_string(out, buf_text(&text));
    out->failed |= text.failed;
}

static void add_requires(struct buf *out, const struct spec *spec)
{
    const char *comma = "";
    buf_putc(out, '[');
    for (unsigned c = 0; c < CAPABILITY_COUNT; c++)
        if (spec->requires_mask[c / 64] >> (c % 64) & 1) {
            buf_printf(out, "%s\"%s\"", comma, capability_name((enum capability)c));
            comma = ",";
        }
    buf_putc(out, ']');
}

static const char *mode_of(enum session_state state)
{
    return state == SESSION_PARKED ? "stop" : state == SESSION_FROZEN ? "freeze" : NULL;
}

static void add_idle(struct buf *out, const struct session_row *row)
{
    if (row->idle_action == 0)
        buf_puts(out, "null");
    else
        buf_printf(out, "{\"after_ms\":%lld,\"action\":\"%s\"}", (long long)row->idle_after_ms,
                   row->idle_action == TIMER_IDLE_DESTROY ? "destroy" : "park");
}

/* What the launcher could not do, in words that name nothing of the host's. */
static void add_ending(struct buf *out, const struct document_ending *ending)
{
    if (!ending) {
        buf_puts(out, "null");
        return;
    }
    _cleanup_buf_ struct buf detail = {0};
    enum err_code code = ending->why.code == ERR_NONE || ending->why.code >= ERR_USAGE
                             ? ERR_INTERNAL
                             : (enum err_code)ending->why.code;
    buf_printf(&detail, "berth could not %s", ending->why.step[0] ? ending->why.step : "end it");
    if (ending->why.sys)
        buf_printf(&detail, ": %s", strerror(ending->why.sys));
    buf_puts(&detail, ". It is tried again.");
    buf_puts(out, "{\"since\":");
    document_time(out, ending->since_ms);
    buf_puts(out, ",\"verb\":");
    document_text(out, ending->verb);
    buf_printf(out, ",\"error\":{\"code\":\"%s\",\"detail\":", err_code_name(code));
    buf_json_string(out, buf_text(&detail));
    buf_puts(out, "}}");
    out->failed |= detail.failed;
}

void document_session(struct buf *out, const struct document_session *session)
{
    const struct session_row *row = session->row;
    const struct spec *spec = session->spec;
    buf_printf(out, "{\"workspace_id\":\"%s\",\"session_id\":\"%s\",\"owner\":", row->workspace_id,
               row->session_id);
    document_text(out, row->owner);
    buf_printf(out, ",\"state\":\"%s\",\"mode\":", session_state_wire(row->state));
    document_text(out, mode_of(row->state));
    buf_puts(out, ",\"reason\":");
    document_text(out, row->reason);
    buf_puts(out, ",\"ending\":");
    add_ending(out, session->ending);
    buf_printf(out, ",\"incarnation\":%lld,\"created_at\":", (long long)row->incarnation);
    document_time(out, row->created_ms);
    buf_puts(out, ",\"changed_at\":");
    document_time(out, row->changed_ms);
    buf_puts(out, ",\"expires_at\":");
    document_time(out, row->ttl_ms ? row->created_ms + row->ttl_ms : 0);
    buf_putc(out, ',');
    number_or_null(out, "ttl_ms", (uint64_t)row->ttl_ms);
    buf_puts(out, ",\"idle\":");
    add_idle(out, row);
    buf_printf(out, ",\"labels\":%s,\"workspace\":{\"mount_path\":",
               session->labels_json[0] ? session->labels_json : "{}");
    buf_json_string(out, spec->workspace.mount_path);
    buf_puts(out, ",\"persistence\":");
    add_persistence(out, spec);
    buf_puts(out, "},\"image\":");
    add_image(out, spec);
    buf_printf(out, ",\"running_execs\":%lld,\"spec_hash\":\"%s\",\"requires\":",
               (long long)row->running_execs, row->spec_hash);
    add_requires(out, spec);
    buf_printf(out, ",\"network_revision\":%lld", (long long)row->network_revision);
    if (!session->brief) {
        buf_puts(out, ",\"network\":");
        policy_print_network(&spec->network, out);
        buf_printf(out, ",%s",
                   session->effective[0] ? session->effective : "\"effective\":null,\"notes\":[]");
    }
    buf_putc(out, '}');
}

/* ---- what was built -------------------------------------------------------------------------- */

static void add_namespaces(struct buf *out, uint32_t bits)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {{CLONE_NEWUSER, "user"},    {CLONE_NEWNS, "mount"}, {CLONE_NEWPID, "pid"},
                 {CLONE_NEWNET, "net"},      {CLONE_NEWIPC, "ipc"},  {CLONE_NEWUTS, "uts"},
                 {CLONE_NEWCGROUP, "cgroup"}};
    const char *comma = "";
    buf_putc(out, '[');
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        if (bits & names[i].bit) {
            buf_printf(out, "%s\"%s\"", comma, names[i].name);
            comma = ",";
        }
    buf_putc(out, ']');
}

static void add_limits(struct buf *out, const struct launcher_effective *e)
{
    const struct {
        const char *key;
        uint64_t value;
    } rows[] = {{"memory", e->limits.memory_bytes},
                {"scratch", e->limits.scratch_bytes},
                {"kernel_memory", e->kernel_memory_bytes},
                {"scratch_inodes", e->limits.scratch_inodes},
                {"pids", e->limits.pids},
                {"open_files", e->limits.open_files}};
    buf_puts(out, ",\"limits\":{");
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        number_or_null(out, rows[i].key, rows[i].value);
        buf_putc(out, ',');
    }
    if (e->limits.cpu_millis)
        buf_printf(out, "\"cpus\":%llu.%03u}", (unsigned long long)(e->limits.cpu_millis / 1000),
                   (unsigned)(e->limits.cpu_millis % 1000));
    else
        buf_puts(out, "\"cpus\":null}");
}

void document_note(struct buf *out, const char *key, const char *text)
{
    buf_puts(out, "{\"key\":");
    buf_json_string(out, key);
    buf_puts(out, ",\"text\":");
    buf_json_string(out, text);
    buf_putc(out, '}');
}

static void add_note(struct buf *out, const char *key, const char *text)
{
    if (out->length && out->data[out->length - 1] != '[')
        buf_putc(out, ',');
    document_note(out, key, text);
}

void document_effective(struct buf *out, const struct launcher_effective *effective,
                        const struct session_identity *identity, const struct launcher_note *notes,
                        unsigned note_count, const char *dropped)
{
    static const char *const layouts[] = {"none", "unified", "hybrid"};
    buf_printf(out,
               "\"effective\":{\"uid_base\":%lld,\"uid_count\":%lld,\"default_uid_host\":%u,"
               "\"seccomp_hash\":",
               (long long)identity->uid_base, (long long)identity->uid_count,
               effective->default_uid_host);
    buf_json_string(out, effective->seccomp_hash);
    buf_printf(out, ",\"landlock_abi\":%u,\"cgroup_layout\":\"%s\",\"namespaces\":",
               effective->landlock_abi,
               effective->cgroup_layout < ARRAY_LENGTH(layouts) ? layouts[effective->cgroup_layout]
                                                                : "none");
    add_namespaces(out, effective->namespaces);
    buf_puts(out, ",\"ruleset_hash\":null");
    add_limits(out, effective);
    buf_puts(out, "},\"notes\":[");
    while (*dropped) {
        size_t length = strcspn(dropped, "\n");
        char line[1024];
        snprintf(line, sizeof line, "%.*s", (int)(length < sizeof line ? length : sizeof line - 1),
                 dropped);
        add_note(out, "limits.default", line);
        dropped += length + (dropped[length] == '\n');
    }
    for (unsigned i = 0; i < note_count && i < LAUNCHER_NOTES_MAX; i++)
        add_note(out, notes[i].key, notes[i].text);
    buf_putc(out, ']');
}

/* Why a port is closed; NULL: it is not. */
static const char *why_closed(const struct launcher_published *published, unsigned i)
{
    const uint32_t bit = UINT32_C(1) << i;
    return published->open & bit     ? NULL
           : published->taken & bit  ? "port_in_use"
           : published->barred & bit ? "forbidden"
                                     : "unavailable";
}

static void put_port(struct buf *out, const struct launcher_published *published, unsigned i)
{
    buf_printf(out, "\"host_port\":%u,\"port\":%u,\"addresses\":[\"127.0.0.1\"%s]",
               published->ports[i].host_port, published->ports[i].port,
               published->six ? ",\"::1\"" : "");
}

void document_port_event(struct buf *out, const struct launcher_published *published, unsigned i,
                         bool lost)
{
    const struct spec_publish *port = &published->ports[i];
    const char *why = lost ? why_closed(published, i) : NULL;
    buf_putc(out, '{');
    put_port(out, published, i);
    if (!why) {
        buf_printf(out, ",\"message\":\"127.0.0.1:%u leads to port %u of the session again.\"}",
                   port->host_port, port->port);
        return;
    }
    buf_printf(out, ",\"reason\":\"%s\",\"message\":\"127.0.0.1:%u leads to port %u of the ", why,
               port->host_port, port->port);
    buf_printf(out, "session no more: %s. It is tried again.\"}",
               strcmp(why, "port_in_use") == 0 ? "somebody has it"
               : strcmp(why, "forbidden") == 0 ? "the host gives ports below "
                                                 "net.ipv4.ip_unprivileged_port_start to nobody"
                                               : "it could not be opened yet");
}

void document_ports(struct buf *out, const struct launcher_published *published)
{
    buf_puts(out, "{\"ports\":[");
    for (unsigned i = 0; i < published->count && i < SPEC_PUBLISH_MAX; i++) {
        const char *why = why_closed(published, i);
        buf_puts(out, i ? ",{" : "{");
        put_port(out, published, i);
        buf_printf(out, ",\"open\":%s,\"reason\":", why ? "false" : "true");
        document_text(out, why);
        buf_putc(out, '}');
    }
    buf_puts(out, "]}");
}

/* ---- execs ----------------------------------------------------------------------------------- */

void document_exec(struct buf *out, const struct document_exec *exec)
{
    const struct exec_row *row = exec->row;
    bool ended = row->state == EXEC_ENDED;
    bool signalled = ended && row->signal != 0;
    buf_printf(out,
               "{\"exec_id\":\"%s\",\"session_id\":\"%s\",\"workspace_id\":\"%s\","
               "\"incarnation\":%lld,\"state\":\"%s\",\"reason\":",
               row->exec_id, exec->session_id, exec->workspace_id, (long long)row->incarnation,
               ended ? "ended" : "running");
    document_text(out, row->reason);
    if (ended && !signalled && row->exit_code >= 0)
        buf_printf(out, ",\"exit_code\":%lld", (long long)row->exit_code);
    else
        buf_puts(out, ",\"exit_code\":null");
    buf_puts(out, ",");
    number_or_null(out, "signal", signalled ? (uint64_t)row->signal : 0);
    buf_puts(out, ",\"command\":");
    buf_json_string(out, exec->command);
    buf_puts(out, ",\"accepted_at\":");
    document_time(out, row->accepted_ms);
    buf_puts(out, ",\"started_at\":");
    document_time(out, row->started_ms);
    buf_puts(out, ",\"ended_at\":");
    document_time(out, row->ended_ms);
    buf_printf(out,
               ",\"cpu_ms\":%lld,\"max_rss_bytes\":%lld,\"oom_kills\":%lld,\"output_bytes\":%llu,"
               "\"output_truncated\":%s,\"last_seq\":%llu,\"keep_children\":%s",
               (long long)row->cpu_ms, (long long)row->max_rss_bytes, (long long)row->oom_kills,
               (unsigned long long)(ended ? (uint64_t)row->output_bytes : exec->output_bytes),
               row->output_truncated ? "true" : "false", (unsigned long long)exec->last_seq,
               row->keep_children ? "true" : "false");
    if (ended)
        buf_printf(out, ",\"network_denied\":%lld,", (long long)row->network_denied);
    else
        buf_puts(out, ",\"network_denied\":null,");
    number_or_null(out, "events_after", (uint64_t)row->events_after);
    if (row->failed_step[0]) {
        buf_puts(out, ",\"error\":{\"step\":");
        buf_json_string(out, row->failed_step);
        buf_printf(out, ",\"errno\":%lld,\"message\":", (long long)row->failed_errno);
        buf_json_string(out, strerror((int)row->failed_errno));
        buf_putc(out, '}');
    }
    buf_putc(out, '}');
}

static void add_word(struct buf *out, const char *word)
{
    bool plain = word[0] && strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                         "0123456789_@%+=:,./-") == strlen(word);
    buf_puts(out, out->length ? " " : "");
    if (plain) {
        buf_puts(out, word);
        return;
    }
    buf_putc(out, '\'');
    for (; *word; word++)
        if (*word == '\'')
            buf_puts(out, "'\\''");
        else
            buf_putc(out, *word);
    buf_putc(out, '\'');
}

void document_command(struct buf *out, const char *const *argv, const char *shell)
{
    static const char ellipsis[] = "...";
    if (shell)
        buf_puts(out, shell);
    for (size_t i = 0; !shell && argv[i] && out->length <= COMMAND_MAX; i++)
        add_word(out, argv[i]);
    if (buf_failed(out) || out->length <= COMMAND_MAX)
        return;
    size_t length = COMMAND_MAX - (sizeof ellipsis - 1);
    while (length > 0 && ((unsigned char)out->data[length] & 0xc0) == 0x80)
        length--;
    memcpy(out->data + length, ellipsis, sizeof ellipsis);
    out->length = length + sizeof ellipsis - 1;
}

/* ---- the rest -------------------------------------------------------------------------------- */

void document_volume(struct buf *out, const struct volume_row *row, uint64_t disk_bytes,
                     const char *used_by)
{
    buf_printf(out, "{\"name\":\"%s\",\"owner\":", row->name);
    document_text(out, row->owner);
    buf_puts(out, ",\"created_at\":");
    document_time(out, row->created_ms);
    if (disk_bytes == UINT64_MAX)
        buf_puts(out, ",\"disk_bytes\":null,\"used_by\":");
    else
        buf_printf(out, ",\"disk_bytes\":%llu,\"used_by\":", (unsigned long long)disk_bytes);
    document_text(out, used_by);
    buf_putc(out, '}');
}

void document_words(struct buf *out, const char *words)
{
    buf_putc(out, '[');
    for (const char *at = words; *at;) {
        size_t n = strcspn(at, " ");
        buf_printf(out, "%s\"%.*s\"", at == words ? "" : ",", (int)n, at);
        at += n + (at[n] == ' ');
    }
    buf_putc(out, ']');
}

void document_token(struct buf *out, const struct token_row *row, const char *text)
{
    const struct {
        const char *key;
        int64_t ms;
    } times[] = {{"created_at", row->created_ms},
                 {"expires_at", row->expires_ms},
                 {"revoked_at", row->revoked_ms},
                 {"used_at", row->used_ms}};
    buf_printf(out, "{\"token_id\":\"%s\",\"name\":", row->token_id);
    document_text(out, row->name);
    buf_puts(out, ",\"workspaces\":");
    document_words(out, row->workspaces);
    buf_puts(out, ",\"verbs\":");
    document_words(out, row->verbs);
    buf_printf(out, ",\"policy\":%s", row->policy ? row->policy : "null");
    for (size_t i = 0; i < ARRAY_LENGTH(times); i++) {
        buf_printf(out, ",\"%s\":", times[i].key);
        document_time(out, times[i].ms);
    }
    if (text)
        buf_printf(out, ",\"token\":\"%s\"", text);
    buf_putc(out, '}');
}

void document_usage(struct buf *out, const struct usage_row *usage)
{
    const struct {
        const char *key;
        int64_t value;
    } rows[] = {{"cpu_ns", usage->cpu_ns},
                {"memory_byte_seconds", usage->memory_byte_seconds},
                {"memory_peak_bytes", usage->memory_peak_bytes},
                {"disk_bytes", usage->disk_bytes},
                {"net_tx_bytes", usage->net_tx_bytes},
                {"net_rx_bytes", usage->net_rx_bytes},
                {"exec_count", usage->exec_count},
                {"running_ms", usage->running_ms},
                {"parked_ms", usage->parked_ms},
                {"network_passed", usage->network[NETWORK_COUNT_PASSED]},
                {"network_denied_tcp", usage->network[NETWORK_COUNT_DENIED_TCP]},
                {"network_denied_udp", usage->network[NETWORK_COUNT_DENIED_UDP]},
                {"network_denied_other", usage->network[NETWORK_COUNT_DENIED_OTHER]}};
    /* Nobody has looked at what it has on the disk: that is not to be read as nothing. */
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++)
        if (rows[i].value == 0 && strcmp(rows[i].key, "disk_bytes") == 0)
            buf_puts(out, ",\"disk_bytes\":null");
        else
            buf_printf(out, "%c\"%s\":%lld", i ? ',' : '{', rows[i].key, (long long)rows[i].value);
    buf_putc(out, '}');
}

void document_event(struct buf *out, const struct event_row *event)
{
    buf_printf(out, "{\"seq\":%lld,\"type\":\"%s\",\"time\":", (long long)event->seq, event->type);
    document_time(out, event->time_ms);
    buf_printf(out, ",\"data\":%s}", event->data[0] ? event->data : "{}");
}

bool document_has_label(const char *labels_json, const char *wanted)
{
    struct arena arena = {0};
    struct json_error error;
    const struct json_node *root = NULL, *member = NULL;
    size_t key_length = strcspn(wanted, "=");
    bool found = false;
    if (json_parse(&arena, labels_json, strlen(labels_json), 64 * 1024, false, &root, &error) == 0)
        for (member = root->first; member && !found; member = member->next)
            found = strlen(member->key) == key_length &&
                    memcmp(member->key, wanted, key_length) == 0 &&
                    (!wanted[key_length] || (member->kind == JSON_STRING &&
                                             strcmp(member->text, wanted + key_length + 1) == 0));
    arena_fini(&arena);
    return found;
}
