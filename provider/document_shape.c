/* This file is the members of the documents that the provider makes, as tables; it never makes one.
 */
#include "provider/document_shape.h"

#include "provider/capability.h"
#include "provider/session_state.h"
#include "runtime/agent/protocol.h"
#include "runtime/base/fd.h"

#include <stddef.h>
#include <string.h>

#define SHAPE(symbol_, name_, help_)                         \
    const struct document_shape document_shape_##symbol_ = { \
        .name = name_, .help = help_, .members = symbol_##_members}
#define END          \
    {                \
        .name = NULL \
    }
#define NULLABLE DOCUMENT_NULL
/* .may, .of, .choice, .help may follow; the last is often nothing. */
#define MEMBER(name_, kind_, ...)                            \
    {                                                        \
        .name = name_, .kind = DOCUMENT_##kind_, __VA_ARGS__ \
    }

/* ---- closed sets ----------------------------------------------------------------------------- */

/* `frozen` is shown as `parked`: it stands once. */
static const char *session_state_choice(unsigned index)
{
    static const char *const names[] = {
#define X(symbol, name, wire) [SESSION_##symbol] = wire,
        SESSION_STATES(X)
#undef X
    };
    unsigned state = index + 1; /* SESSION_NONE is none */
    state += state >= SESSION_FROZEN;
    return state < ARRAY_LENGTH(names) ? names[state] : NULL;
}

static const char *exec_reason_choice(unsigned index)
{
    static const char *const names[] = {
#define X(symbol, name) name,
        AGENT_REASONS(X)
#undef X
    };
    return index < ARRAY_LENGTH(names) ? names[index] : NULL;
}

static const char *err_code_choice(unsigned index)
{
    enum err_code code = (enum err_code)(index + 1);
    /* The words of the command line are no request. */
    return code < ERR_CODE_COUNT && code != ERR_USAGE ? err_code_name(code) : NULL;
}
_Static_assert(ERR_USAGE == ERR_CODE_COUNT - 1, "the choice of codes ends before it");

static const char *capability_choice(unsigned index)
{
    return index < CAPABILITY_COUNT ? capability_name((enum capability)index) : NULL;
}

#define CHOICES(name_, ...)                                       \
    static const char *name_##_choice(unsigned index)             \
    {                                                             \
        static const char *const names[] = {__VA_ARGS__};         \
        return index < ARRAY_LENGTH(names) ? names[index] : NULL; \
    }
CHOICES(park_mode, "stop", "freeze")
CHOICES(idle_action, "park", "destroy")
CHOICES(exec_state, "running", "ended")
CHOICES(persistence, "volume", "directory", "tmpfs", "disk", "snapshot", "none")
CHOICES(cgroup_layout, "none", "unified", "hybrid")
CHOICES(namespace, "user", "mount", "pid", "net", "ipc", "uts", "cgroup")
CHOICES(outcome, "destroyed", "would_destroy", "failed")
CHOICES(health, "ok", "degraded")
CHOICES(ledger_health, "ok", "read_only", "broken")
CHOICES(launcher_health, "ok", "away")

/* ---- sessions -------------------------------------------------------------------------------- */

static const struct document_member persistence_members[] = {
    MEMBER("kind", TEXT, .choice = persistence_choice),
    MEMBER("name", TEXT, .may = DOCUMENT_ABSENT, .help = "Of a volume."),
    MEMBER("path", TEXT, .may = DOCUMENT_ABSENT, .help = "Of a directory."),
    MEMBER("size", COUNT, .may = DOCUMENT_ABSENT, .help = "Of a tmpfs, in bytes."),
    END,
};
static SHAPE(persistence, "SessionPersistence", "What keeps the workspace.");

static const struct document_member workspace_members[] = {
    MEMBER("mount_path", TEXT),
    MEMBER("persistence", OBJECT, .of = &document_shape_persistence),
    END,
};
static SHAPE(workspace, "SessionWorkspace", "Where the workspace is, and what keeps it.");

static const struct document_member idle_members[] = {
    MEMBER("after_ms", COUNT),
    MEMBER("action", TEXT, .choice = idle_action_choice),
    END,
};
static SHAPE(idle, "SessionIdle", "What happens to a session in which nothing runs.");

static const struct document_member ending_error_members[] = {
    MEMBER("code", TEXT, .choice = err_code_choice),
    MEMBER("detail", TEXT),
    END,
};
static SHAPE(ending_error, "SessionEndingError", "What the last attempt to end a session met.");

static const struct document_member ending_members[] = {
    MEMBER("since", TIME, .help = "When it was asked for first."),
    MEMBER("verb", TEXT, .may = NULLABLE,
           .help = "What ends it; null: nobody asked, its processes are gone or not its own."),
    MEMBER("error", OBJECT, .of = &document_shape_ending_error),
    END,
};
static SHAPE(ending, "SessionEnding",
             "The end of a session that could not be proven yet, and is tried again.");

static const struct document_member limits_members[] = {
    MEMBER("memory", COUNT, .may = NULLABLE),
    MEMBER("scratch", COUNT, .may = NULLABLE),
    MEMBER("kernel_memory", COUNT, .may = NULLABLE),
    MEMBER("scratch_inodes", COUNT, .may = NULLABLE),
    MEMBER("cpus", NUMBER, .may = NULLABLE),
    MEMBER("pids", COUNT, .may = NULLABLE),
    MEMBER("open_files", COUNT, .may = NULLABLE),
    END,
};
static SHAPE(limits, "EffectiveLimits",
             "Limits as they were read back from the kernel; null: none.");

static const struct document_member effective_members[] = {
    MEMBER("uid_base", COUNT),
    MEMBER("uid_count", COUNT),
    MEMBER("default_uid_host", COUNT),
    MEMBER("seccomp_hash", TEXT),
    MEMBER("landlock_abi", COUNT),
    MEMBER("cgroup_layout", TEXT, .choice = cgroup_layout_choice),
    MEMBER("namespaces", LIST, .choice = namespace_choice),
    MEMBER("ruleset_hash", TEXT, .may = NULLABLE),
    MEMBER("limits", OBJECT, .of = &document_shape_limits),
    END,
};
static SHAPE(effective, "Effective", "The isolation that this life of the session has.");

static const struct document_member note_members[] = {
    MEMBER("key", TEXT),
    MEMBER("text", TEXT),
    END,
};
static SHAPE(note, "Note", "What is not as it was asked for, or worth knowing.");

static const struct document_member session_members[] = {
    MEMBER("workspace_id", ID),
    MEMBER("session_id", ID),
    MEMBER("owner", ID, .may = NULLABLE),
    MEMBER("state", TEXT, .choice = session_state_choice),
    MEMBER("mode", TEXT, .may = NULLABLE, .choice = park_mode_choice,
           .help = "Of a parked session."),
    MEMBER("reason", TEXT, .may = NULLABLE,
           .help = "Why it is in this state, where nobody asked for it."),
    MEMBER("ending", OBJECT, .may = NULLABLE, .of = &document_shape_ending,
           .help = "Its sandbox is to end and has not, `state` is that of before; else null."),
    MEMBER("incarnation", COUNT),
    MEMBER("created_at", TIME),
    MEMBER("changed_at", TIME),
    MEMBER("expires_at", TIME, .may = NULLABLE),
    MEMBER("ttl_ms", COUNT, .may = NULLABLE),
    MEMBER("idle", OBJECT, .may = NULLABLE, .of = &document_shape_idle),
    MEMBER("labels", MAP),
    MEMBER("workspace", OBJECT, .of = &document_shape_workspace),
    MEMBER("image", TEXT),
    MEMBER("running_execs", COUNT),
    MEMBER("spec_hash", TEXT),
    MEMBER("requires", LIST, .choice = capability_choice),
    MEMBER("network_revision", COUNT, .help = "Of the rules of its network, from 1."),
    MEMBER("network", OBJECT, .may = DOCUMENT_ABSENT, .help = "As a policy's; not in lists."),
    MEMBER("effective", OBJECT, .may = DOCUMENT_NULL | DOCUMENT_ABSENT,
           .of = &document_shape_effective, .help = "null where nothing lives; not in lists."),
    MEMBER("notes", LIST, .may = DOCUMENT_ABSENT, .of = &document_shape_note,
           .help = "Not in lists."),
    END,
};
SHAPE(session, "Session", "A session.");

static const struct document_member session_list_members[] = {
    MEMBER("sessions", LIST, .of = &document_shape_session),
    MEMBER("next", ID, .may = NULLABLE,
           .help = "What `after` is for the rest; null: there is none."),
    END,
};
SHAPE(session_list, "SessionList", "Sessions in the order of their ids.");

/* ---- execs ----------------------------------------------------------------------------------- */

static const struct document_member exec_error_members[] = {
    MEMBER("step", TEXT),
    MEMBER("errno", COUNT),
    MEMBER("message", TEXT),
    END,
};
static SHAPE(exec_error, "ExecError", "What failed when a command could not be started.");

static const struct document_member exec_members[] = {
    MEMBER("exec_id", ID),
    MEMBER("session_id", ID),
    MEMBER("workspace_id", ID),
    MEMBER("incarnation", COUNT),
    MEMBER("state", TEXT, .choice = exec_state_choice),
    MEMBER("reason", TEXT, .may = NULLABLE, .choice = exec_reason_choice),
    MEMBER("exit_code", COUNT, .may = NULLABLE, .help = "Of a command that ended by itself."),
    MEMBER("signal", COUNT, .may = NULLABLE, .help = "The signal that ended it."),
    MEMBER("command", TEXT, .help = "For people; cut when it is long."),
    MEMBER("accepted_at", TIME),
    MEMBER("started_at", TIME, .may = NULLABLE),
    MEMBER("ended_at", TIME, .may = NULLABLE),
    MEMBER("cpu_ms", COUNT),
    MEMBER("max_rss_bytes", COUNT),
    MEMBER("oom_kills", COUNT),
    MEMBER("output_bytes", COUNT),
    MEMBER("output_truncated", FLAG),
    MEMBER("last_seq", COUNT),
    MEMBER("keep_children", FLAG),
    MEMBER("network_denied", COUNT, .may = NULLABLE,
           .help = "Refusals of the session's network while it ran; null while it runs."),
    MEMBER("events_after", COUNT, .may = NULLABLE,
           .help = "The session's last event when it was accepted."),
    MEMBER("error", OBJECT, .may = DOCUMENT_ABSENT, .of = &document_shape_exec_error),
    END,
};
SHAPE(exec, "Exec", "A command of a session.");

static const struct document_member exec_list_members[] = {
    MEMBER("execs", LIST, .of = &document_shape_exec),
    MEMBER("next", ID, .may = NULLABLE,
           .help = "What `after` is for the rest; null: there is none."),
    END,
};
SHAPE(exec_list, "ExecList", "Commands of a session, running ones and ended ones that are kept.");

/* ---- volumes, usage, events ------------------------------------------------------------------ */

static const struct document_member volume_members[] = {
    MEMBER("name", ID),
    MEMBER("owner", ID, .may = NULLABLE),
    MEMBER("created_at", TIME),
    MEMBER("disk_bytes", COUNT, .may = NULLABLE,
           .help = "null in lists: it is counted when asked for."),
    MEMBER("used_by", ID, .may = NULLABLE, .help = "The session whose workspace it is."),
    END,
};
SHAPE(volume, "Volume", "A workspace that berth keeps by name.");

static const struct document_member volume_list_members[] = {
    MEMBER("volumes", LIST, .of = &document_shape_volume),
    MEMBER("next", ID, .may = NULLABLE,
           .help = "What `after` is for the rest; null: there is none."),
    END,
};
SHAPE(volume_list, "VolumeList", "Volumes in the order of their names.");

/* ---- tokens ---------------------------------------------------------------------------------- */

static const struct document_member token_members[] = {
    MEMBER("token_id", ID),
    MEMBER("name", ID, .may = NULLABLE),
    MEMBER("workspaces", LIST),
    MEMBER("verbs", LIST),
    MEMBER("policy", OBJECT, .may = NULLABLE, .help = "What it is bound to, whole."),
    MEMBER("created_at", TIME),
    MEMBER("expires_at", TIME, .may = NULLABLE),
    MEMBER("revoked_at", TIME, .may = NULLABLE),
    MEMBER("used_at", TIME, .may = NULLABLE, .help = "Written every ten minutes at most."),
    MEMBER("token", TEXT, .may = DOCUMENT_ABSENT, .help = "Once, in the answer that makes it."),
    END,
};
SHAPE(token, "Token", "What lets a caller over TCP into some workspaces.");

static const struct document_member token_list_members[] = {
    MEMBER("tokens", LIST, .of = &document_shape_token),
    MEMBER("next", ID, .may = NULLABLE,
           .help = "What `after` is for the rest; null: there is none."),
    END,
};
SHAPE(token_list, "TokenList", "Tokens in the order of their making.");

static const struct document_member usage_members[] = {
    MEMBER("cpu_ns", COUNT),
    MEMBER("memory_byte_seconds", COUNT),
    MEMBER("memory_peak_bytes", COUNT),
    MEMBER("disk_bytes", COUNT, .may = NULLABLE,
           .help = "null: it is not measured. GET of a volume counts that one."),
    MEMBER("net_tx_bytes", COUNT),
    MEMBER("net_rx_bytes", COUNT),
    MEMBER("exec_count", COUNT),
    MEMBER("running_ms", COUNT),
    MEMBER("parked_ms", COUNT),
    MEMBER("network_passed", COUNT, .help = "Connections that the rules of its network let pass."),
    MEMBER("network_denied_tcp", COUNT),
    MEMBER("network_denied_udp", COUNT),
    MEMBER("network_denied_other", COUNT),
    END,
};
SHAPE(usage, "Usage", "What a session has used since it was made; no number ever decreases.");

static const struct document_member event_members[] = {
    MEMBER("seq", COUNT),
    MEMBER("type", TEXT, .help = "\"session.created\": a thing and what happened to it."),
    MEMBER("time", TIME),
    MEMBER("data", OBJECT),
    END,
};
SHAPE(event, "Event", "What happened to a session.");

/* ---- the host -------------------------------------------------------------------------------- */

static const struct document_member configuration_members[] = {
    MEMBER("read_at", TIME, .may = NULLABLE, .help = "null: there is no file."),
    MEMBER("failed", FLAG, .help = "It was read again and is wrong."),
    MEMBER("waits_for_restart", LIST, .help = "Keys that are in force at the next start."),
    END,
};
static SHAPE(configuration, "HealthConfiguration", "What became of the configuration.");

static const struct document_member health_members[] = {
    MEMBER("status", TEXT, .choice = health_choice),
    MEMBER("version", TEXT),
    MEMBER("ledger", TEXT, .choice = ledger_health_choice, .may = DOCUMENT_ABSENT),
    MEMBER("launcher", TEXT, .choice = launcher_health_choice, .may = DOCUMENT_ABSENT),
    MEMBER("recovering", FLAG, .may = DOCUMENT_ABSENT),
    MEMBER("sessions_live", COUNT, .may = DOCUMENT_ABSENT),
    MEMBER("orphans_ended", COUNT, .may = DOCUMENT_ABSENT),
    MEMBER("config", OBJECT, .of = &document_shape_configuration, .may = DOCUMENT_ABSENT),
    END,
};
SHAPE(health, "Health", "How the service is; to a token its status and version alone.");

static const struct document_member posture_members[] = {
    MEMBER("isolation", TEXT),
    MEMBER("self_hosted", FLAG),
    MEMBER("requires_account", FLAG),
    MEMBER("offline", FLAG),
    END,
};
static SHAPE(posture, "Posture", "What kind of sandbox this is.");

static const struct document_member capability_members[] = {
    MEMBER("available", FLAG),
    MEMBER("version", COUNT, .help = "0: not built in this release."),
    MEMBER("limits", COUNTS),
    MEMBER("evidence", TEXT, .may = NULLABLE, .help = "What was done to know."),
    MEMBER("reason", TEXT, .may = NULLABLE, .help = "Why it is not available."),
    MEMBER("remedy", TEXT, .may = NULLABLE, .help = "What would make it available."),
    END,
};
static SHAPE(capability, "Capability", "One thing that a session may need.");

static const struct document_member capabilities_members[] = {
    MEMBER("name", TEXT),
    MEMBER("version", TEXT),
    MEMBER("kind", TEXT),
    MEMBER("posture", OBJECT, .of = &document_shape_posture),
    MEMBER("kernel", TEXT),
    MEMBER("process_snapshot", MAP),
    MEMBER("capabilities", MAP, .of = &document_shape_capability),
    END,
};
SHAPE(capabilities, "Capabilities", "What this host can give, each found out by doing it once.");

static const struct document_member kernel_resource_members[] = {
    MEMBER("name", TEXT),
    MEMBER("row", INTEGER),
    MEMBER("incarnation", COUNT),
    MEMBER("what", LIST, .may = NULLABLE),
    END,
};
static SHAPE(kernel_resource, "KernelResource", "What the kernel holds of a session's life.");

static const struct document_member resources_members[] = {
    MEMBER("sessions", LIST, .of = &document_shape_session),
    MEMBER("volumes", LIST, .of = &document_shape_volume),
    MEMBER("kernel", LIST, .of = &document_shape_kernel_resource),
    END,
};
SHAPE(resources, "Resources", "Everything that an owner has, in all workspaces.");

static const struct document_member reaped_members[] = {
    MEMBER("workspace_id", ID),
    MEMBER("session_id", ID),
    MEMBER("state", TEXT, .choice = session_state_choice),
    MEMBER("outcome", TEXT, .choice = outcome_choice),
    MEMBER("error", TEXT, .may = NULLABLE),
    END,
};
static SHAPE(reaped, "ReapedSession", "What became of one session.");

static const struct document_member reap_members[] = {
    MEMBER("sessions", LIST, .of = &document_shape_reaped),
    END,
};
SHAPE(reap, "Reaped", "The sessions that were destroyed, or would be.");

/* ---- problems -------------------------------------------------------------------------------- */

static const struct document_member problem_members[] = {
    MEMBER("type", TEXT, .help = "\"urn:berth:problem:\" and the code."),
    MEMBER("title", TEXT, .help = "The same sentence for every problem with this code."),
    MEMBER("status", COUNT),
    MEMBER("code", TEXT, .choice = err_code_choice),
    MEMBER("detail", TEXT, .help = "What failed, on what, and what to do next."),
    MEMBER("pointer", TEXT, .may = DOCUMENT_ABSENT, .help = "Where in the body (RFC 6901)."),
    MEMBER("missing", LIST, .may = DOCUMENT_ABSENT, .choice = capability_choice,
           .help = "Every capability that is not available."),
    MEMBER("allowed", LIST, .may = DOCUMENT_ABSENT,
           .help = "What the session's state allows, or the methods of the path."),
    MEMBER("retry_after", COUNT, .may = DOCUMENT_ABSENT, .help = "Seconds."),
    END,
};
SHAPE(problem, "Problem", "Why something was not done (RFC 9457).");

const struct document_shape *const document_shapes[] = {
    &document_shape_session,      &document_shape_session_list,
    &document_shape_workspace,    &document_shape_persistence,
    &document_shape_idle,         &document_shape_ending,
    &document_shape_ending_error, &document_shape_effective,
    &document_shape_limits,       &document_shape_note,
    &document_shape_exec,         &document_shape_exec_list,
    &document_shape_exec_error,   &document_shape_volume,
    &document_shape_volume_list,  &document_shape_token,
    &document_shape_token_list,   &document_shape_configuration,
    &document_shape_usage,        &document_shape_event,
    &document_shape_health,       &document_shape_capabilities,
    &document_shape_posture,      &document_shape_capability,
    &document_shape_resources,    &document_shape_kernel_resource,
    &document_shape_reap,         &document_shape_reaped,
    &document_shape_problem,      NULL,
};
