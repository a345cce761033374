/* This file is the table of every statement that the ledger makes, with its scope (L-5); it is for
 * the ledger's own files. Each is prepared once and kept.
 *
 * Scope: WORKSPACE names the workspace as ?1; OWNER names the owner as ?1; ROW names a row id as
 * ?1, which a scoped statement gave; ALL says why it may see every workspace. A test holds the
 * texts to that.
 */
#pragma once

#define SESSION_COLUMNS                                                                          \
    "s.id, s.workspace_id, s.session_id, s.owner, s.state, s.reason, s.incarnation, s.last_seq," \
    " s.exec_order, s.interrupt_floor, s.created_ms, s.changed_ms, s.spec_hash, s.ttl_ms,"       \
    " s.idle_after_ms, s.idle_action, s.network_revision, s.policy,"                             \
    " (SELECT count(*) FROM execs e WHERE e.session = s.id AND e.state <> 3)"
#define EXEC_COLUMNS                                                                              \
    "e.id, e.session, e.incarnation, e.exec_id, e.ord, e.state, e.reason, e.exit_code, e.signal," \
    " e.accepted_ms, e.started_ms, e.ended_ms, e.cpu_ms, e.max_rss_bytes, e.output_bytes,"        \
    " e.oom_kills, e.output_truncated, e.keep_children, e.idempotency, e.failed_step, "           \
    "e.failed_errno, e.network_denied, e.events_after"
#define VOLUME_COLUMNS                                     \
    "v.id, v.workspace_id, v.name, v.owner, v.created_ms," \
    " ifnull((SELECT u.session FROM volume_uses u WHERE u.volume = v.id ORDER BY 1 LIMIT 1), 0)"

/* symbol, scope, text */
#define LEDGER_STATEMENTS(X)                                                                       \
    X(SESSION_FIND, "workspace",                                                                   \
      "SELECT " SESSION_COLUMNS " FROM sessions s WHERE s.workspace_id = ?1 AND s.session_id = ?2" \
      " ORDER BY s.id DESC LIMIT 1")                                                               \
    X(SESSION_GET, "row", "SELECT " SESSION_COLUMNS " FROM sessions s WHERE s.id = ?1")            \
    X(SESSION_INSERT, "workspace",                                                                 \
      "INSERT INTO sessions (workspace_id, session_id, owner, state, reason, incarnation, "        \
      "last_seq,"                                                                                  \
      " created_ms, changed_ms, spec, spec_hash, labels, ttl_ms, idle_after_ms, idle_action, "     \
      "policy)"                                                                                    \
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)")            \
    X(SESSION_MOVE, "row",                                                                         \
      "UPDATE sessions SET state = ?2, reason = ?3, changed_ms = ?4 WHERE id = ?1")                \
    X(SESSION_SPEC, "row", "SELECT spec FROM sessions WHERE id = ?1")                              \
    X(SESSION_NETWORK, "row",                                                                      \
      "UPDATE sessions SET spec = ?2, spec_hash = ?3, network_revision = ?4 WHERE id = ?1")        \
    X(SESSION_DENIED, "row",                                                                       \
      "UPDATE sessions SET network_denied = network_denied + ?2 WHERE id = ?1")                    \
    X(SESSION_REVISION, "row", "UPDATE sessions SET network_revision = ?2 WHERE id = ?1")          \
    X(SESSION_PAGE, "workspace",                                                                   \
      "SELECT " SESSION_COLUMNS " FROM sessions s WHERE s.workspace_id = ?1 AND s.session_id > ?2" \
      " AND (?3 = '' OR s.owner = ?3) AND (?4 = '' OR s.state = ?4)"                               \
      " AND (?6 = '' OR s.policy = ?6)"                                                            \
      " AND s.id = (SELECT max(n.id) FROM sessions n WHERE n.workspace_id = s.workspace_id"        \
      "  AND n.session_id = s.session_id)"                                                         \
      " ORDER BY s.session_id LIMIT ?5")                                                           \
    X(SESSION_PAGE_OWNER, "owner",                                                                 \
      "SELECT " SESSION_COLUMNS " FROM sessions s WHERE s.owner = ?1 AND s.id > ?2"                \
      " AND s.created_ms < ?3 AND s.state NOT IN ('failed', 'destroyed') ORDER BY s.id LIMIT ?4")  \
    X(SESSION_PAGE_ALL, "all: recovery looks at every row once",                                   \
      "SELECT " SESSION_COLUMNS " FROM sessions s WHERE s.id > ?1"                                 \
      " AND s.state NOT IN ('failed', 'destroyed') ORDER BY s.id LIMIT ?2")                        \
    X(SESSION_COUNT_ALL, "all: how many there are in each state",                                  \
      "SELECT s.state, count(*) FROM sessions s WHERE s.state NOT IN ('failed', 'destroyed')"      \
      " GROUP BY s.state")                                                                         \
    X(SESSION_EXEC_ORDER, "row",                                                                   \
      "UPDATE sessions SET exec_order = exec_order + 1 WHERE id = ?1 RETURNING exec_order")        \
    X(SESSION_FLOOR, "row",                                                                        \
      "UPDATE sessions SET interrupt_floor = exec_order WHERE id = ?1 RETURNING interrupt_floor")  \
    X(SESSION_SEQ, "row",                                                                          \
      "UPDATE sessions SET last_seq = last_seq + 1 WHERE id = ?1 RETURNING last_seq")              \
    X(SESSION_INCARNATION, "row",                                                                  \
      "UPDATE sessions SET incarnation = incarnation + 1 WHERE id = ?1 RETURNING incarnation")     \
    X(INCARNATION_INSERT, "row",                                                                   \
      "INSERT INTO incarnations (session, incarnation, started_ms)"                                \
      " VALUES (?1, ?2, ?3)")                                                                      \
    X(INCARNATION_SET, "row",                                                                      \
      "UPDATE incarnations SET boot_id = ?3, init_pid = ?4, init_start = ?5, cgroup_inode = ?6,"   \
      " netns_inode = ?7, uid_base = ?8, uid_count = ?9, effective = ?10"                          \
      " WHERE session = ?1 AND incarnation = ?2 AND ended_ms = 0")                                 \
    X(INCARNATION_END, "row",                                                                      \
      "UPDATE incarnations SET ended_ms = ?4, end_reason = ?3"                                     \
      " WHERE session = ?1 AND incarnation = ?2 AND ended_ms = 0")                                 \
    X(INCARNATION_GET, "row",                                                                      \
      "SELECT session, incarnation, boot_id, init_pid, init_start, cgroup_inode, netns_inode,"     \
      " uid_base, uid_count, started_ms, ended_ms, end_reason FROM incarnations"                   \
      " WHERE session = ?1 AND incarnation = ?2")                                                  \
    X(INTENT_INSERT, "row",                                                                        \
      "INSERT INTO intents (session, incarnation, verb, phase, idempotency, floor, created_ms,"    \
      " reason, spec, spec_hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")                \
    X(INTENT_SPEC, "row", "SELECT spec, spec_hash FROM intents WHERE id = ?1")                     \
    X(INTENT_GET, "row",                                                                           \
      "SELECT id, session, incarnation, verb, phase, idempotency, floor, created_ms, reason"       \
      " FROM intents WHERE id = ?1")                                                               \
    X(INTENT_LIST, "row",                                                                          \
      "SELECT id, session, incarnation, verb, phase, idempotency, floor, created_ms, reason"       \
      " FROM intents WHERE session = ?1 ORDER BY id LIMIT ?2")                                     \
    X(INTENT_PREPARE, "row", "UPDATE intents SET phase = 2 WHERE id = ?1 AND phase = 1")           \
    X(INTENT_DELETE, "row", "DELETE FROM intents WHERE id = ?1")                                   \
    X(EXEC_INSERT, "row",                                                                          \
      "INSERT INTO execs (session, incarnation, exec_id, ord, state, command, accepted_ms,"        \
      " keep_children, idempotency, network_denied, events_after)"                                 \
      " VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8,"                                                \
      " (SELECT s.network_denied FROM sessions s WHERE s.id = ?1),"                                \
      " (SELECT s.last_seq FROM sessions s WHERE s.id = ?1))")                                     \
    X(EXEC_FIND, "workspace",                                                                      \
      "SELECT " EXEC_COLUMNS " FROM execs e WHERE e.session ="                                     \
      " (SELECT max(s.id) FROM sessions s WHERE s.workspace_id = ?1 AND s.session_id = ?2)"        \
      " AND e.exec_id = ?3")                                                                       \
    X(EXEC_GET, "row", "SELECT " EXEC_COLUMNS " FROM execs e WHERE e.id = ?1")                     \
    X(EXEC_PAGE, "row",                                                                            \
      "SELECT " EXEC_COLUMNS " FROM execs e WHERE e.session = ?1 AND e.ord > ?2"                   \
      " AND (?3 = 0 OR (?3 = 1) = (e.state <> 3)) ORDER BY e.ord LIMIT ?4")                        \
    X(EXEC_STARTED, "row",                                                                         \
      "UPDATE execs SET state = 2, started_ms = ?2 WHERE id = ?1 AND state = 1")                   \
    X(EXEC_ENDED, "row",                                                                           \
      "UPDATE execs SET state = 3, reason = ?2, exit_code = ?3, signal = ?4, ended_ms = ?5,"       \
      " cpu_ms = ?6, max_rss_bytes = ?7, output_bytes = ?8, oom_kills = ?9, output_truncated = "   \
      "?10,"                                                                                       \
      " started_ms = iif(started_ms = 0, ?11, started_ms), failed_step = ?12, failed_errno = ?13," \
      " network_denied = (SELECT s.network_denied FROM sessions s WHERE s.id = execs.session)"     \
      " - network_denied "                                                                         \
      "WHERE id = ?1 AND state <> 3")                                                              \
    X(EVENT_INSERT, "row",                                                                         \
      "INSERT INTO events (session, seq, time_ms, type, data) VALUES (?1, ?2, ?3, ?4, ?5)")        \
    X(EVENT_PAGE, "workspace",                                                                     \
      "SELECT v.session, v.seq, v.time_ms, v.type, v.data FROM events v"                           \
      " WHERE v.session IN (SELECT s.id FROM sessions s"                                           \
      "  WHERE s.workspace_id = ?1 AND s.session_id = ?2 AND (?5 = '' OR s.policy = ?5))"          \
      " AND v.seq > ?3 ORDER BY v.seq LIMIT ?4")                                                   \
    X(KEY_FIND, "workspace",                                                                       \
      "SELECT id, workspace_id, method, path, key, fingerprint, status, created_ms, expires_ms,"   \
      " body FROM idempotency i"                                                                   \
      " WHERE i.workspace_id = ?1 AND i.key = ?2 AND i.path = ?3 AND i.method = ?4")               \
    X(KEY_INSERT, "workspace",                                                                     \
      "INSERT INTO idempotency (workspace_id, key, path, method, fingerprint, status, body,"       \
      " created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5, 0, x'', ?6, ?7)")                      \
    X(KEY_FINISH, "row",                                                                           \
      "UPDATE idempotency SET status = ?2, body = ?3 WHERE id = ?1 AND status = 0")                \
    X(KEY_RELEASE, "row", "DELETE FROM idempotency WHERE id = ?1")                                 \
    X(KEY_SECRET, "all: one secret for the ledger", "SELECT value FROM meta WHERE key = 'secret'") \
    X(VOLUME_INSERT, "workspace",                                                                  \
      "INSERT INTO volumes (workspace_id, name, owner, created_ms) VALUES (?1, ?2, ?3, ?4)")       \
    X(VOLUME_FIND, "workspace",                                                                    \
      "SELECT " VOLUME_COLUMNS " FROM volumes v WHERE v.workspace_id = ?1 AND v.name = ?2")        \
    X(VOLUME_PAGE, "workspace",                                                                    \
      "SELECT " VOLUME_COLUMNS " FROM volumes v WHERE v.workspace_id = ?1 AND v.name > ?2"         \
      " ORDER BY v.name LIMIT ?3")                                                                 \
    X(VOLUME_DELETE, "row", "DELETE FROM volumes WHERE id = ?1")                                   \
    X(VOLUME_HOLDER, "row",                                                                        \
      "SELECT u.session FROM volume_uses u WHERE u.volume = ?1 AND u.session <> ?2 AND u.live = 1" \
      " AND NOT (u.read_only = 1 AND ?3 = 1) ORDER BY u.session LIMIT 1")                          \
    X(VOLUME_USE, "row",                                                                           \
      "INSERT INTO volume_uses (session, volume, read_only, live) VALUES (?1, ?2, ?3, 1)"          \
      " ON CONFLICT (volume, session) DO UPDATE SET read_only = ?3, live = 1")                     \
    X(VOLUME_REJOIN_HOLDER, "row",                                                                 \
      "SELECT o.session FROM volume_uses u JOIN volume_uses o ON o.volume = u.volume"              \
      " WHERE u.session = ?1 AND o.session <> ?1 AND o.live = 1"                                   \
      " AND NOT (u.read_only = 1 AND o.read_only = 1) ORDER BY o.session LIMIT 1")                 \
    X(VOLUME_REJOIN, "row", "UPDATE volume_uses SET live = 1 WHERE session = ?1")                  \
    X(VOLUME_CLAIM, "row", "UPDATE volume_uses SET live = 1, read_only = 0 WHERE session = ?1")    \
    X(VOLUME_LEAVE, "row", "UPDATE volume_uses SET live = 0 WHERE session = ?1")                   \
    X(VOLUME_DROP, "row", "DELETE FROM volume_uses WHERE session = ?1")                            \
    X(UID_GAP, "all: ranges of one host are one space",                                            \
      "SELECT min(c.base) FROM (SELECT ?1 AS base UNION ALL"                                       \
      "  SELECT ?1 + ((base + count - ?1 + ?3 - 1) / ?3) * ?3 FROM uid_ranges WHERE base + count " \
      "> ?1) c"                                                                                    \
      " WHERE c.base + ?3 - 1 <= ?2 AND NOT EXISTS (SELECT 1 FROM uid_ranges u"                    \
      "  WHERE u.base < c.base + ?3 AND u.base > c.base - 65536 AND u.base + u.count > c.base)")   \
    X(UID_INSERT, "row",                                                                           \
      "INSERT INTO uid_ranges (session, incarnation, base, count) VALUES (?1, ?2, ?3, ?4)")        \
    X(UID_RELEASE, "row", "DELETE FROM uid_ranges WHERE session = ?1")                             \
    X(USAGE_GET, "row",                                                                            \
      "SELECT session, cpu_ns, memory_byte_seconds, memory_byte_ms_rest, memory_peak_bytes,"       \
      " disk_bytes, net_tx_bytes, net_rx_bytes, exec_count, running_ms, parked_ms, "               \
      "raw_incarnation,"                                                                           \
      " raw_cpu_ns, raw_net_tx_bytes, raw_net_rx_bytes, raw_time_ms, raw_running,"                 \
      " network_passed, network_denied_tcp, network_denied_udp, network_denied_other,"             \
      " raw_network_passed, raw_network_denied_tcp, raw_network_denied_udp,"                       \
      " raw_network_denied_other"                                                                  \
      " FROM usage WHERE session = ?1")                                                            \
    X(USAGE_PUT, "row",                                                                            \
      "INSERT INTO usage VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, "    \
      "?15,"                                                                                       \
      " ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25) ON CONFLICT (session) DO UPDATE SET "    \
      "cpu_ns = max(cpu_ns, ?2),"                                                                  \
      " memory_byte_ms_rest = iif(?3 >= memory_byte_seconds, ?4, memory_byte_ms_rest),"            \
      " memory_byte_seconds = max(memory_byte_seconds, ?3),"                                       \
      " memory_peak_bytes = max(memory_peak_bytes, ?5), disk_bytes = max(disk_bytes, ?6),"         \
      " net_tx_bytes = max(net_tx_bytes, ?7), net_rx_bytes = max(net_rx_bytes, ?8),"               \
      " exec_count = max(exec_count, ?9), running_ms = max(running_ms, ?10),"                      \
      " parked_ms = max(parked_ms, ?11), raw_incarnation = ?12, raw_cpu_ns = ?13,"                 \
      " raw_net_tx_bytes = ?14, raw_net_rx_bytes = ?15, raw_time_ms = ?16, raw_running = ?17,"     \
      " network_passed = max(network_passed, ?18),"                                                \
      " network_denied_tcp = max(network_denied_tcp, ?19),"                                        \
      " network_denied_udp = max(network_denied_udp, ?20),"                                        \
      " network_denied_other = max(network_denied_other, ?21), raw_network_passed = ?22,"          \
      " raw_network_denied_tcp = ?23, raw_network_denied_udp = ?24,"                               \
      " raw_network_denied_other = ?25")                                                           \
    X(TIMER_SET, "row",                                                                            \
      "INSERT INTO timers (session, exec, kind, clock, due_ms, remaining_ms)"                      \
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (session, exec, kind) DO UPDATE"               \
      " SET clock = ?4, due_ms = ?5, remaining_ms = ?6")                                           \
    X(TIMER_CLEAR, "row", "DELETE FROM timers WHERE session = ?1 AND exec = ?2 AND kind = ?3")     \
    X(TIMER_CLEAR_EXEC, "row", "DELETE FROM timers WHERE exec = ?1 AND exec <> 0")                 \
    X(TIMER_CLEAR_SESSION, "row",                                                                  \
      "DELETE FROM timers WHERE session = ?1 AND (?2 = 0 OR exec <> 0)")                           \
    X(TIMER_STOP, "row",                                                                           \
      "UPDATE timers SET remaining_ms = max(due_ms - ?2, 0), due_ms = -1"                          \
      " WHERE session = ?1 AND exec <> 0 AND due_ms >= 0")                                         \
    X(TIMER_GO_ON, "row",                                                                          \
      "UPDATE timers SET due_ms = ?2 + remaining_ms, remaining_ms = 0"                             \
      " WHERE session = ?1 AND exec <> 0 AND due_ms < 0")                                          \
    X(TIMER_DUE, "all: one clock for every session",                                               \
      "SELECT id, session, exec, kind, clock, due_ms, remaining_ms FROM timers"                    \
      " WHERE due_ms >= 0 AND ((clock = 1 AND due_ms <= ?1) OR (clock = 2 AND due_ms <= ?2))"      \
      " ORDER BY id LIMIT ?3")                                                                     \
    X(TIMER_NEXT, "all: one clock for every session",                                              \
      "SELECT min(due_ms - iif(clock = 1, ?1, ?2)) FROM timers WHERE due_ms >= 0")                 \
    X(AUDIT_INSERT, "workspace",                                                                   \
      "INSERT INTO audit (workspace_id, time_ms, who, what, target, outcome)"                      \
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6)")                                                          \
    X(SESSION_LABELS, "row", "SELECT labels FROM sessions WHERE id = ?1")                          \
    X(INCARNATION_EFFECTIVE, "row",                                                                \
      "SELECT effective FROM incarnations WHERE session = ?1 AND incarnation = ?2")                \
    X(EXEC_COMMAND, "row", "SELECT command FROM execs WHERE id = ?1")                              \
    X(VOLUME_OF_SESSION, "row",                                                                    \
      "SELECT " VOLUME_COLUMNS " FROM volume_uses w JOIN volumes v ON v.id = w.volume"             \
      " WHERE w.session = ?1 ORDER BY v.id LIMIT 1")                                               \
    X(VOLUME_OTHER, "row",                                                                         \
      "SELECT u.session FROM volume_uses u WHERE u.volume = ?1 AND u.session <> ?2"                \
      " ORDER BY u.session LIMIT 1")                                                               \
    X(VOLUME_PAGE_OWNER, "owner",                                                                  \
      "SELECT " VOLUME_COLUMNS " FROM volumes v WHERE v.owner = ?1 AND v.id > ?2"                  \
      " ORDER BY v.id LIMIT ?3")                                                                   \
    X(TOKEN_INSERT, "all: tokens are the owner's, across workspaces",                              \
      "INSERT INTO tokens (token_id, hash, name, workspaces, verbs, created_ms, expires_ms,"       \
      " policy) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")                                          \
    X(TOKEN_PAGE_ALL, "all: front reads each of them once, at its start",                          \
      "SELECT id, token_id, hash, name, workspaces, verbs, created_ms, expires_ms, revoked_ms,"    \
      " used_ms FROM tokens WHERE id > ?1 ORDER BY id LIMIT ?2")                                   \
    X(TOKEN_POLICY, "row", "SELECT policy FROM tokens WHERE id = ?1")                              \
    X(TOKEN_REVOKE, "row", "UPDATE tokens SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms = 0")   \
    X(TOKEN_USED, "row", "UPDATE tokens SET used_ms = max(used_ms, ?2) WHERE id = ?1")             \
    X(TOKEN_PURGE, "all: age is what decides",                                                     \
      "DELETE FROM tokens WHERE (revoked_ms > 0 AND revoked_ms <= ?1)"                             \
      " OR (expires_ms > 0 AND expires_ms <= ?1)")                                                 \
    X(PURGE_KEYS, "all: age is what decides",                                                      \
      "DELETE FROM idempotency WHERE id IN (SELECT id FROM idempotency"                            \
      " WHERE status <> 0 AND expires_ms <= ?1 LIMIT ?2)")                                         \
    X(PURGE_EXECS, "all: age is what decides",                                                     \
      "DELETE FROM execs WHERE id IN (SELECT id FROM execs WHERE state = 3 AND ended_ms <= ?1"     \
      " LIMIT ?2)")                                                                                \
    X(PURGE_EVENTS, "all: age is what decides",                                                    \
      "DELETE FROM events WHERE (session, seq) IN (SELECT session, seq FROM events"                \
      " WHERE time_ms <= ?1 LIMIT ?2)")                                                            \
    X(PURGE_SESSIONS, "all: age is what decides",                                                  \
      "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions"                                  \
      " WHERE state IN ('failed', 'destroyed') AND changed_ms <= ?1 LIMIT ?2)")                    \
    X(PURGE_AUDIT, "all: age is what decides",                                                     \
      "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE time_ms <= ?1 LIMIT ?2)")         \
    X(PURGE_AUDIT_COUNTS, "all: age is what decides",                                              \
      "DELETE FROM audit_counts WHERE workspace_id IN (SELECT workspace_id FROM audit_counts"      \
      " WHERE kept = 0 AND trimmed_until_ms <= ?1 LIMIT ?2)")                                      \
    X(AUDIT_COUNT_ALL, "all: how many rows there are of all workspaces together",                  \
      "SELECT ifnull(sum(kept), 0) FROM audit_counts")                                             \
    X(AUDIT_LARGEST, "all: whoever has most is who is trimmed",                                    \
      "SELECT workspace_id, kept, kept_files FROM audit_counts ORDER BY kept DESC LIMIT 1")        \
    X(AUDIT_COUNT_TRIMMED, "workspace",                                                            \
      "UPDATE audit_counts SET trimmed = trimmed + ?3, trimmed_until_ms = max(trimmed_until_ms,"   \
      " (SELECT max(time_ms) FROM (SELECT time_ms FROM audit WHERE workspace_id = ?1"              \
      "  AND of_files = ?2 ORDER BY id LIMIT ?3))) WHERE workspace_id = ?1")                       \
    X(AUDIT_TRIM, "workspace",                                                                     \
      "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE workspace_id = ?1"                \
      " AND of_files = ?2 ORDER BY id LIMIT ?3)")

enum ledger_statement {
#define X(symbol, scope, text) SQL_##symbol,
    LEDGER_STATEMENTS(X)
#undef X
        LEDGER_STATEMENT_COUNT
};
