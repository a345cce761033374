/* This file makes the JSON documents of docs/api.md from rows; it never reads a row, a clock or the
 * kernel. Pure; runs in the loop's thread and inside apply() of ledger jobs.
 */
#pragma once

#include "provider/capability.h"
#include "provider/ledger_rows.h"
#include "runtime/base/buf.h"
#include "runtime/launcher.h"
#include "runtime/spec.h"

/* RFC 3339 in UTC with milliseconds, quoted; 0: null. */
void document_time(struct buf *out, int64_t ms);
/* Quoted, or null when NULL or empty. */
void document_text(struct buf *out, const char *text);

/* `effective` is what document_effective() made, "" where nothing lives; `brief`: in a list. */
/* Of a session whose end was refused by the launcher, and is asked for again. */
struct document_ending {
    int64_t row, since_ms;
    const char *verb; /* constant; NULL: nobody asked, its sandbox is to go all the same */
    struct err why;   /* of the last time */
};

struct document_session {
    const struct document_ending *ending; /* NULL: none is */
    const struct session_row *row;
    const char *labels_json;
    const struct spec *spec;
    const char *effective;
    bool brief;
};
void document_session(struct buf *out, const struct document_session *session);

/* Of the list below, and the data of an event `session.note`. */
void document_note(struct buf *out, const char *key, const char *text);

/* `"effective": {…}, "notes": […]`: what the ledger keeps of an incarnation (CAP-4). `dropped` are
 * the lines of capability_drop_defaults(). */
void document_effective(struct buf *out, const struct launcher_effective *effective,
                        const struct session_identity *identity, const struct launcher_note *notes,
                        unsigned note_count, const char *dropped);

struct document_exec {
    const struct exec_row *row;
    const char *workspace_id, *session_id, *command;
    uint64_t last_seq, output_bytes; /* of the spool, while it runs */
};
void document_exec(struct buf *out, const struct document_exec *exec);

void document_volume(struct buf *out, const struct volume_row *row, uint64_t disk_bytes,
                     const char *used_by);
/* Words with one space between, as a list of texts. */
void document_words(struct buf *out, const char *words);
/* `text` NULL: but in the answer that makes it. */
void document_token(struct buf *out, const struct token_row *row, const char *text);
void document_usage(struct buf *out, const struct usage_row *usage);
void document_event(struct buf *out, const struct event_row *event);
void document_ports(struct buf *out, const struct launcher_published *published);
/* The data of the event that tells of one of them: `lost`, or had again. */
void document_port_event(struct buf *out, const struct launcher_published *published, unsigned i,
                         bool lost);

/* What stands beside an error (RFC 9457). */
struct document_problem {
    const char *pointer;
    uint32_t allowed; /* bits of enum session_event */
    const struct capability_mask *missing;
    unsigned retry_after_s;
};
void document_problem(struct buf *out, const struct err *err, const struct document_problem *more);

/* The one line of a command that lists show: of `shell`, or of argv; cut at a character. */
void document_command(struct buf *out, const char *const *argv, const char *shell);

/* Does a session with these labels have `wanted`, "key" or "key=value"? */
bool document_has_label(const char *labels_json, const char *wanted);
