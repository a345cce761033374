/* This file turns options of `berth run` into a spec: policy, flags over it, ids and the workspace.
 * It looks at directories that the caller named, and changes nothing.
 */
#pragma once

#include "api/cli/run_options.h"
#include "runtime/spec.h"

struct policy;

/* The policy alone, with the flags over it; the caller frees it. */
int run_plan_policy(const struct run_options *options, struct policy **ret, struct err *err);

/* `ret_spec` is zero when it comes, and complete and has passed spec_check() when it is given back.
 */
int run_plan_spec(const struct run_options *options, struct spec *ret_spec, struct err *err);

/* The environment of the command, "K=V" strings, NULL-terminated: `--env K` is looked up in
 * berth's own environment here, because it was asked for by name. One allocation: free() it. */
int run_plan_environment(const struct run_options *options, const struct spec *spec, bool tty,
                         char ***ret_env, struct err *err);
