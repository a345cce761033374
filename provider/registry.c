/* This file fills the capability set, from probes or from the cache of an earlier start; it never
 * decides what a spec needs (capability.c).
 */
#include "provider/registry.h"

#include "runtime/base/buf.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/sha256.h"
#include "runtime/base/units.h"
#include "runtime/host/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

/* ---- probes to capabilities -------------------------------------------------------------------
 */

/* One row for each capability that is built; the rest are version 0. */
static const struct {
    enum capability capability;
    enum probe_id probe;
} map[] = {
    {CAP_ISOLATION_USER_NAMESPACE, PROBE_USER_NAMESPACE},
    {CAP_ISOLATION_ID_RANGE, PROBE_ID_RANGE},
    {CAP_ISOLATION_SECCOMP, PROBE_SECCOMP},
    {CAP_ISOLATION_LANDLOCK, PROBE_LANDLOCK},
    {CAP_ISOLATION_IDMAPPED_WORKSPACE, PROBE_IDMAPPED_MOUNT},
    {CAP_LIMITS_MEMORY, PROBE_MEMORY_LIMIT},
    {CAP_LIMITS_CPU, PROBE_CPU_LIMIT},
    {CAP_LIMITS_PIDS, PROBE_PIDS_LIMIT},
    {CAP_LIMITS_OPEN_FILES, PROBE_OPEN_FILES_LIMIT},
    {CAP_LIMITS_SCRATCH_BYTES, PROBE_SCRATCH_BYTES},
    {CAP_LIMITS_SCRATCH_INODES, PROBE_SCRATCH_INODES},
    {CAP_WORKSPACE_DIRECTORY, PROBE_WORKSPACE_DIRECTORY},
    {CAP_WORKSPACE_VOLUME, PROBE_WORKSPACE_VOLUME},
    {CAP_WORKSPACE_TMPFS, PROBE_WORKSPACE_TMPFS},
    {CAP_ROOTFS_HOST, PROBE_ROOTFS_HOST},
    {CAP_ROOTFS_DIRECTORY, PROBE_ROOTFS_DIRECTORY},
    {CAP_LIFECYCLE_PARK_STOP, PROBE_PARK_STOP},
    {CAP_LIFECYCLE_PARK_FREEZE, PROBE_FREEZE},
    {CAP_LIFECYCLE_RESUME, PROBE_RESUME},
    {CAP_LIFECYCLE_SURVIVE_DAEMON_RESTART, PROBE_LASTS},
    {CAP_EXEC_STREAM, PROBE_STREAM},
    {CAP_EXEC_REATTACH, PROBE_REATTACH},
    {CAP_FILES_READ, PROBE_FILES_READ},
    {CAP_FILES_WRITE, PROBE_FILES_WRITE},
    {CAP_FILES_TAR, PROBE_FILES_WRITE},
    {CAP_FILES_WATCH, PROBE_FILES_WATCH},
    {CAP_USAGE_METERING, PROBE_METERING},
    {CAP_EXEC_STDIN, PROBE_EXEC},
    {CAP_EXEC_SIGNAL, PROBE_EXEC},
    {CAP_EXEC_TTY, PROBE_TTY},
    {CAP_EXEC_TREE_KILL, PROBE_TREE_KILL},
    {CAP_EXEC_TIMEOUT, PROBE_TIMEOUT},
    {CAP_EXEC_IDLE_TIMEOUT, PROBE_TIMEOUT},
    {CAP_NETWORK_DENY, PROBE_NETWORK_DENY},
    {CAP_NETWORK_CIDR_RULES, PROBE_NETWORK_RULES},
    {CAP_NETWORK_HOST_RULES, PROBE_NETWORK_RULES},
    {CAP_NETWORK_PUBLIC_ONLY, PROBE_NETWORK_RULES},
    {CAP_NETWORK_ALLOW, PROBE_NETWORK_RULES},
    {CAP_NETWORK_PUBLISH, PROBE_NETWORK_RULES},
    {CAP_AUDIT_SYSCALL, PROBE_EXPLAIN_SYSCALLS},
};

void registry_map(const struct probe_result *results, struct capability_set *ret)
{
    memset(ret, 0, sizeof *ret);
    for (int c = 0; c < CAPABILITY_COUNT; c++)
        snprintf(ret->status[c].reason, sizeof ret->status[c].reason, "%s",
                 "Not built in this release of berth.");
    for (size_t i = 0; i < ARRAY_LENGTH(map); i++) {
        const struct probe_result *from = &results[map[i].probe];
        struct capability_status *to = &ret->status[map[i].capability];
        to->available = from->works;
        to->doubtful = !from->works && !from->certain;
        memcpy(to->evidence, from->evidence, sizeof to->evidence);
        memcpy(to->reason, from->reason, sizeof to->reason);
        memcpy(to->remedy, from->remedy, sizeof to->remedy);
        if (to->available)
            to->reason[0] = to->remedy[0] = 0;
        else if (!to->reason[0])
            snprintf(to->reason, sizeof to->reason, "The probe failed and gave no reason.");
    }
}

_Static_assert(
    sizeof((struct probe_result *)0)->evidence == sizeof((struct capability_status *)0)->evidence &&
        sizeof((struct probe_result *)0)->reason == sizeof((struct capability_status *)0)->reason &&
        sizeof((struct probe_result *)0)->remedy == sizeof((struct capability_status *)0)->remedy,
    "texts are copied whole");

/* ---- the key: everything that a cached answer depends on ---------------------------------------
 */

static void add_file(struct buf *text, const char *path)
{
    char line[1024];
    ssize_t n = io_read_at(AT_FDCWD, path, line, sizeof line);
    buf_printf(text, "%s=%s\n", path, n < 0 ? "-" : line);
}

static void add_stat(struct buf *text, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        buf_printf(text, "%s=-\n", path);
        return;
    }
    buf_printf(text, "%s=%llx.%llx.%llx.%lld.%ld\n", path, (unsigned long long)st.st_dev,
               (unsigned long long)st.st_ino, (unsigned long long)st.st_size,
               (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

/* 64 hex characters, or -errno. */
static int make_key(const struct runtime_facts *facts, char ret_key[65])
{
    _cleanup_buf_ struct buf text = {0};
    add_file(&text, "/proc/sys/kernel/random/boot_id");
    /* An ordinary user's berth may have moved itself to a cgroup whose name is new in each start.
     */
    if (facts->cgroup_place[0])
        buf_printf(&text, "place=%s\n", facts->cgroup_place);
    else
        add_file(&text, "/proc/self/cgroup");
    add_file(&text, "/proc/sys/user/max_user_namespaces");
    add_stat(&text, "/proc/self/exe");
    add_stat(&text, "/etc/subuid");
    add_stat(&text, "/etc/subgid");
    buf_printf(&text, "%s %d %d %u %u %d %u %u %s\n", facts->kernel, facts->rootless,
               facts->single_uid, facts->caller_uid, facts->caller_gid, facts->cgroup_layout,
               facts->limits_available, facts->landlock_abi, facts->state_dir);
    if (buf_failed(&text))
        return -ENOMEM;
    sha256_hex(buf_text(&text), text.length, ret_key);
    return 0;
}

/* ---- the file ----------------------------------------------------------------------------------
 */

static int open_directory(const struct runtime_facts *facts)
{
    return open(facts->runtime_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void file_name(const struct runtime_facts *facts, char *ret_name, size_t size)
{
    snprintf(ret_name, size, "capabilities-%u", facts->caller_uid);
}

static int load(const struct runtime_facts *facts, const char *key, struct capability_set *ret)
{
    enum { MAX = 128 << 10 };
    char name[32];
    file_name(facts, name, sizeof name);
    _cleanup_fd_ int directory = open_directory(facts);
    _cleanup_fd_ int fd =
        directory < 0 ? -1
                      : openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 07777) != 0600 || st.st_size <= 0 || st.st_size > MAX)
        return REGISTRY_STALE;
    size_t length = (size_t)st.st_size;
    char few[6 << 10]; /* what it usually is */
    _cleanup_free_ char *many = length < sizeof few ? NULL : malloc(length + 1);
    char *text = length < sizeof few ? few : many;
    if (!text || io_read_full(fd, text, length) != (ssize_t)length)
        return REGISTRY_STALE;
    text[length] = 0;
    return registry_decode(text, length, key, ret);
}

/* Best effort: without the file the next start probes again, which costs time and nothing else. */
static void store(const struct runtime_facts *facts, const char *key,
                  const struct capability_set *set)
{
    char name[32], temporary[64], tail[24];
    file_name(facts, name, sizeof name);
    _cleanup_buf_ struct buf text = {0};
    registry_encode(set, key, &text);
    _cleanup_fd_ int directory = open_directory(facts);
    if (buf_failed(&text) || directory < 0 || id_random("t", tail, sizeof tail) < 0)
        return;
    snprintf(temporary, sizeof temporary, ".%s.%s", name, tail);
    _cleanup_fd_ int fd =
        openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (fchmod(fd, 0600) < 0 || io_write_full(fd, buf_text(&text), text.length) < 0 ||
        renameat(directory, temporary, directory, name) < 0)
        unlinkat(directory, temporary, 0);
}

/* Who has a spec that needs nothing of a session that lasts does not wait for its probe. */
static bool needs_lasting(const struct spec *spec)
{
    if (!spec)
        return true;
    struct capability_mask needed;
    capability_required(spec, &needed);
    for (size_t i = 0; i < ARRAY_LENGTH(map); i++) {
        unsigned c = map[i].capability;
        if (map[i].probe >= PROBE_LASTING_FIRST && needed.bits[c / 64] >> (c % 64) & 1)
            return true;
    }
    return false;
}

static int refresh(struct runtime *rt, const struct err *open_err, bool lasting,
                   struct capability_set *ret, struct err *err)
{
    /* The key is taken before the probes: what changes meanwhile makes the answer stale, not wrong.
     */
    char key[65] = "";
    if (rt && make_key(runtime_facts(rt), key) < 0)
        key[0] = 0;
    _cleanup_free_ struct probe_result *results = calloc(PROBE_COUNT, sizeof *results);
    if (!results)
        return err_set(err, ERR_INTERNAL, 0, "probe this host", NULL, "Out of memory.");
    int r = probe_run(rt, open_err, lasting, results, err);
    if (r < 0)
        return r;
    registry_map(results, ret);
    if (rt && key[0])
        store(runtime_facts(rt), key, ret);
    return 0;
}

int registry_refresh(struct runtime *rt, const struct err *open_err, struct capability_set *ret,
                     struct err *err)
{
    return refresh(rt, open_err, true, ret, err);
}

bool registry_doubtful(const struct capability_set *set, const struct spec *spec)
{
    struct capability_mask needed = {{UINT64_MAX, UINT64_MAX}};
    if (spec)
        capability_required(spec, &needed);
    for (unsigned c = 0; c < CAPABILITY_COUNT; c++)
        if (needed.bits[c / 64] >> (c % 64) & 1 && set->status[c].doubtful)
            return true;
    return false;
}

static bool is_known(const struct runtime *rt, const struct spec *spec, struct capability_set *ret)
{
    char key[65];
    return make_key(runtime_facts(rt), key) == 0 && load(runtime_facts(rt), key, ret) == 0 &&
           !registry_doubtful(ret, spec);
}

/* Of a hundred that start at once one probes, and the others read what it found. Whoever has waited
 * long enough probes by himself: the lock saves work and guards nothing. -1: without it. */
static int await_turn(const struct runtime_facts *facts)
{
    enum { NAP_MS = 10, WAIT_MS = 15000 };
    const struct timespec nap = {0, NAP_MS * 1000000L};
    int fd = open_directory(facts);
    for (int waited_ms = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0; waited_ms += NAP_MS) {
        if ((errno != EWOULDBLOCK && errno != EINTR) || waited_ms >= WAIT_MS) {
            fd_close(fd);
            return -1;
        }
        nanosleep(&nap, NULL);
    }
    return fd;
}

int registry_open(struct runtime *rt, const struct spec *spec, struct capability_set *ret,
                  struct err *err)
{
    if (is_known(rt, spec, ret))
        return 0;
    _cleanup_fd_ int turn = await_turn(runtime_facts(rt));
    if (turn >= 0 && is_known(rt, spec, ret))
        return 0;
    return refresh(rt, NULL, needs_lasting(spec), ret, err);
}
