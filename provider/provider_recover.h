/* This file is what the two halves of recovery share: one session (provider_recover.c), and the
 * start, which looks at all of them (provider_start.c). Nobody else includes it.
 */
#pragma once

#include "provider/provider_internal.h"
#include "provider/recovery.h"

enum { INTENTS_MAX = 64 };

struct adopted {
    struct exec_row row;
    uint64_t cgroup;
    bool kill;
};

struct rescue {
    struct work work; /* first */
    struct seat *seat;
    int64_t row_id;
    bool surely_absent; /* LIST named nothing of this row */
    void (*done)(struct provider *p);

    struct session_row row;
    struct incarnation_row incarnation;
    struct intent_row *intents;
    size_t intent_count;
    enum recovery_finding finding;
    enum recovery_action action;
    struct intent_row intent; /* the one that `action` is about; id 0: none */
    struct coordinator_ticket ticket;
    struct volume_row volume;
    bool has_volume;

    struct agent_table_row *table;
    size_t table_count, table_size;
    struct adopted *adopted;
    size_t adopted_count;
};

/* `row` NULL: only its id is known. -ENOMEM, or `done` is called when it agrees. */
int rescue_start(struct provider *p, int64_t row_id, const struct session_row *row,
                 bool surely_absent, void (*done)(struct provider *p));
