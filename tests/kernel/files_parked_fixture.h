/* This file is how tests ask for operations beneath a session that does not run. Include it once,
 * after WORKSPACE_SUITE is defined.
 */
#pragma once

#include "tests/kernel/files_fixture.h"
#include "tests/kernel/workspace_fixture.h"

#include "runtime/host/files_parked.h"
#include "runtime/host/runtime_internal.h"

#include <stdio.h>
#include <string.h>

static struct runtime rt;
static struct spec spec;
static uint32_t asker = ALICE;
static bool archived;

static inline char *work(const char *name)
{
    return at(here->work, name);
}

static inline void begin(const struct place *p)
{
    here = p;
    rt.facts.caller_uid = rt.facts.caller_gid = 0;
    snprintf(rt.state_dir, sizeof rt.state_dir, "%s", p->state);
    snprintf(rt.share_dir, sizeof rt.share_dir, "%s", p->share);
    snprintf(rt.runtime_dir, sizeof rt.runtime_dir, "%s/run", p->top);
    spec_directory(&spec, p->work);
}

static const uint32_t *groups;
static uint32_t group_count;

static inline int ask_parked(void *data, int in, int out, int answer, struct err *err)
{
    (void)data;
    int pipe = files_operation_has_in(asked.operation)    ? in
               : files_operation_has_out(asked.operation) ? out
                                                          : -1;
    return files_parked(&rt, &spec, asker, asker, groups, group_count, &asked, answer, pipe,
                        archived, err);
}

static inline void run_asked(const char *bytes)
{
    through_pipes(ask_parked, NULL, bytes, bytes ? strlen(bytes) : 0);
}

static inline void run(enum files_operation operation, const char *path)
{
    ask(operation, path);
    run_asked(NULL);
}

static inline void run_write(const char *path, const char *text)
{
    ask(FILES_WRITE, path);
    run_asked(text);
}
