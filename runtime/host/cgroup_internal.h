/* This file is shared by the files that implement cgroup.h, and by their tests; nobody else
 * includes it. PRIVILEGED: the launcher's. */
#pragma once

#include "runtime/host/cgroup.h"

#include <stddef.h>
#include <stdint.h>

enum {
    CGROUP_PATH_MAX = SPEC_PATH_MAX + 160, /* a base, a session's name and a file's name */
    CGROUP_PERIOD_US = 100000,             /* over which a cpu quota is counted */
    CGROUP_QUOTA_MIN_US = 1000,            /* sched-bwc.rst: the kernel refuses less */
};

/* A controller is called the same in v1 and in v2. Indexed by CGROUP_V1_*. */
struct cgroup_controller {
    const char *name;
    uint32_t limit; /* SPEC_LIMIT_* */
};
extern const struct cgroup_controller cgroup_controllers[CGROUP_V1_COUNT];

/* The cgroup mounts of this process's mount namespace; "" where there is none. */
struct cgroup_mounts {
    char v2[SPEC_PATH_MAX];
    char v2_root[SPEC_PATH_MAX]; /* the cgroup that is mounted there: "/" but in some containers */
    bool v2_read_only;
    char v1[CGROUP_V1_COUNT][SPEC_PATH_MAX];
    bool v1_read_only[CGROUP_V1_COUNT];
};

/* Reads mountinfo(5) from `fd`. Of several mounts of one kind the first that is writable counts. */
int cgroup_mounts_scan(int fd, struct cgroup_mounts *ret);

/* The same without that table, when the mounts are where nearly every host has them, below `base`
 * (/sys/fs/cgroup), writable, and berth has been here before; else false. Not v2_root. */
bool cgroup_mounts_usual(const char *base, struct cgroup_mounts *ret);

/* The v2 directory of a process, from its /proc/PID/cgroup text: <mount>/<path below its root>.
 * -ENOENT when it has none below this mount. */
int cgroup_own_path(const char *text, const struct cgroup_mounts *mounts, char *ret, size_t size);

/* SPEC_LIMIT_* of the controllers named in a cgroup.controllers or cgroup.subtree_control text. */
uint32_t cgroup_limits_named(const char *text);
/* The names of `limits`, as "memory, cpu". */
void cgroup_limits_print(uint32_t limits, char *ret_text, size_t size);

/* Enables the controllers of `want` in `dir`/cgroup.subtree_control, one by one when all together
 * is refused, retrying EBUSY for at most `patience_ms` (a process that has just been reaped may
 * still be counted). *ret_have: what is enabled now, read back. 0, or -errno of the last refusal
 * when something of `want` is missing. */
int cgroup_enable(int dir, uint32_t want, unsigned patience_ms, uint32_t *ret_have);

/* The directory `parent`/berth with controllers enabled in both, as unified needs it. */
int cgroup_base_unified(struct cgroup_host *host, const char *parent, uint32_t available,
                        struct err *err);

/* The root's and the user's way to a layout. Nothing here is a fault: a host that gives nothing is
 * layout none with the reason. */
void cgroup_open_root(struct cgroup_host *host, const struct cgroup_mounts *mounts);
void cgroup_open_rootless(struct cgroup_host *host, const struct cgroup_mounts *mounts);

/* Layout none, for this reason. */
void cgroup_host_none(struct cgroup_host *host, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Scopes of berth's own asking are berth-PID-TIME.scope. */
#define CGROUP_SCOPE_PREFIX "berth-"
#define CGROUP_SCOPE_SUFFIX ".scope"
/* A berth process's own cgroup, beside the base, is PREFIX + PID. */
#define CGROUP_LEAF_PREFIX "berth-launch-"

/* Asks the user's service manager for a delegated scope that holds this process. `program` is
 * busctl, `runtime_dir` the user's. 0 when this process has been moved, `wait_ms` bounds it all.
 * On failure ret_why says in one sentence why not. */
int cgroup_scope_ask(const char *program, const char *runtime_dir, unsigned wait_ms, char *ret_why,
                     size_t size);

/* Leaves below `dir` of processes that are gone; how many. */
unsigned cgroup_sweep_leaves(int dir);

/* What is left of scopes in host->place in which nothing lives and no session's cgroup is. */
void cgroup_sweep_scopes(const struct cgroup_host *host);

/* v1, cgroup_v1.c */
int cgroup_v1_create(struct cgroup_session *cg, struct err *err);
int cgroup_v1_limit(struct cgroup_session *cg, const struct spec_limits *limits,
                    uint64_t kernel_memory, struct err *err);
int cgroup_v1_read(const struct cgroup_session *cg, struct spec_limits *ret,
                   uint64_t *ret_kernel_memory, struct err *err);

/* Writes `value` in decimal to dir/file; `step` is for the error. */
int cgroup_write_number(int dir, const char *file, uint64_t value, const char *step,
                        struct err *err);
/* A number, or 0 for "max" and for a v1 number that stands for no limit. */
int cgroup_read_number(int dir, const char *file, uint64_t *ret, struct err *err);

/* cpu_millis as a quota over CGROUP_PERIOD_US, and back. */
uint64_t cgroup_quota_us(uint64_t cpu_millis);

/* memory + scratch. -ERANGE. */
int cgroup_kernel_memory(const struct spec_limits *limits, uint64_t *ret, struct err *err);

/* Removes the directory `name` below `parent` and all below it, children first, until
 * `deadline_us` of cgroup_now_us(). 0 also when it is not there. */
int cgroup_remove_tree(int parent, const char *name, uint64_t deadline_us);
uint64_t cgroup_now_us(void);
void cgroup_sleep_us(unsigned us);

/* A session's name is one path component. */
bool cgroup_name_valid(const char *name);
