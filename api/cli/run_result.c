/* This file makes the result record of `berth run` (contract §4), its exit status (§12), and writes
 * the record; it never decides how the command ended.
 *
 * The record goes where the caller said, by rename, so that a reader sees a whole one or none. The
 * directory is pinned before the session starts and the temporary file is made with O_EXCL: the
 * place may be the workspace itself, where a hostile command may plant links.
 */
#include "api/cli/run.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

/* ---- exit status -------------------------------------------------------------------------------
 */

int run_result_status(const struct run_outcome *outcome)
{
    switch (outcome->reason) {
    case AGENT_REASON_EXIT:
        return outcome->exit.exit_code & 0xff;
    case AGENT_REASON_SIGNAL:
        return CLI_EXIT_SIGNAL + outcome->exit.signal;
    case AGENT_REASON_TIMEOUT:
    case AGENT_REASON_IDLE_TIMEOUT:
        return CLI_EXIT_TIMEOUT;
    case AGENT_REASON_INTERRUPTED:
    case AGENT_REASON_CANCELLED:
        return CLI_EXIT_CANCELLED;
    case AGENT_REASON_OOM:
    case AGENT_REASON_OUTPUT_LIMIT:
        return CLI_EXIT_KILLED;
    case AGENT_REASON_START_FAILED:
        return outcome->fault == AGENT_START_NOT_FOUND        ? CLI_EXIT_NOT_FOUND
               : outcome->fault == AGENT_START_NOT_EXECUTABLE ? CLI_EXIT_NOT_EXECUTABLE
                                                              : CLI_EXIT_BERTH;
    case AGENT_REASON_NONE:
    case AGENT_REASON_NOT_STARTED:
    case AGENT_REASON_LOST:
    case AGENT_REASON_END:
        break;
    }
    return CLI_EXIT_BERTH;
}

/* ---- where it goes -----------------------------------------------------------------------------
 */

static int cannot(const struct run_result_file *file, const char *path, int sys, struct err *err)
{
    return err_set(err, ERR_INVALID_REQUEST, sys, file->flag, path,
                   "Name a file in a directory that you may write.");
}

/* A new file beside the one that it will replace: its descriptor, or -errno. */
static int make_temporary(const struct run_result_file *file, char *ret_name, size_t size)
{
    char tail[24];
    int r = id_random(".tmp-", tail, sizeof tail);
    if (r < 0)
        return r;
    snprintf(ret_name, size, ".%s%s", file->name, tail);
    /* Whom the file that is replaced was hidden from, the new one is too. */
    struct stat st;
    bool there = fstatat(file->directory, file->name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    mode_t mode = there && S_ISREG(st.st_mode) ? st.st_mode & 0644 : 0644;
    int fd = openat(file->directory, ret_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    mode);
    return fd < 0 ? -errno : fd;
}

/* A session writes its workspace, and the next run is told to leave its record there: a link on the
 * way that root did not make may be that session's, whoever owns it. */
static int check_links(const struct run_result_file *file, const char *path, struct err *err)
{
    char prefix[PATH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof prefix)
        return cannot(file, path, ENAMETOOLONG, err);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(prefix, path, i);
        prefix[i] = 0;
        struct stat st;
        if (lstat(prefix, &st) == 0 && S_ISLNK(st.st_mode) && st.st_uid != 0)
            return err_set(err, ERR_FORBIDDEN, 0, file->flag, prefix,
                           "It is a link, which a session may have made. Name the real directory.");
    }
    return 0;
}

static int open_directory(const struct run_result_file *file, const char *path, const char *shown,
                          struct err *err)
{
    char real[SPEC_PATH_MAX];
    int r = check_links(file, path, err);
    if (r == 0)
        r = runtime_resolve_path(path, file->flag, real, sizeof real, err);
    if (r < 0)
        return r;
    /* What is resolved has no link left; one that has come since is not followed. */
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, real, &how, sizeof how);
    return fd < 0 ? cannot(file, shown, errno, err) : fd;
}

/* Split an absolute path into its pinned directory and the name in it. */
static int pin(struct run_result_file *file, char *path, const char *shown, struct err *err)
{
    char *slash = strrchr(path, '/');
    const char *name = slash + 1;
    if (name[0] == 0 || strlen(name) > sizeof file->name - 32)
        return cannot(file, shown, name[0] ? ENAMETOOLONG : EISDIR, err);
    memcpy(file->name, name, strlen(name) + 1);
    *slash = 0;
    int fd = open_directory(file, path[0] ? path : "/", shown, err);
    if (fd < 0)
        return fd;
    file->directory = fd;
    struct stat st;
    if (fstatat(fd, file->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode) &&
        !S_ISLNK(st.st_mode))
        return cannot(file, shown, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, err);
    /* Root may write everywhere, says access(2), also where nothing can be made: try. */
    char temporary[sizeof file->name + 32];
    fd = make_temporary(file, temporary, sizeof temporary);
    if (fd < 0)
        return cannot(file, shown, -fd, err);
    fd_close(fd);
    unlinkat(file->directory, temporary, 0);
    return 0;
}

/* Names that mean a stream of berth's own, as a shell's >(...) makes them. */
static bool is_stream(const char *path)
{
    static const char *const names[] = {"/dev/stdout", "/dev/stderr", "/dev/null", "/dev/tty"};
    static const char fd[] = "/dev/fd/";
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        if (strcmp(path, names[i]) == 0)
            return true;
    size_t length = sizeof fd - 1;
    return strncmp(path, fd, length) == 0 && path[length] &&
           path[length + strspn(path + length, "0123456789")] == 0;
}

/* Of a stream the links are the host's own and are followed; a FIFO may be anywhere. One that
 * nobody reads is refused: waiting for a reader could last for ever. */
static int open_direct(const struct run_result_file *file, const char *path, bool stream,
                       struct err *err)
{
    int flags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (stream ? 0 : O_NOFOLLOW);
    _cleanup_fd_ int fd = open(path, flags);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return cannot(file, path, errno, err);
    if (!S_ISFIFO(st.st_mode) && !(stream && (S_ISCHR(st.st_mode) || S_ISREG(st.st_mode))))
        return cannot(file, path, EINVAL, err);
    if (fcntl(fd, F_SETFL, O_WRONLY) < 0)
        return cannot(file, path, errno, err);
    return take_fd(&fd);
}

int run_result_prepare(struct run_result_file *ret, const char *flag, const char *path,
                       struct err *err)
{
    struct run_result_file file = {.flag = flag, .directory = -1, .direct = -1};
    struct stat st;
    bool stream = is_stream(path);
    if (stream || (lstat(path, &st) == 0 && S_ISFIFO(st.st_mode))) {
        int fd = open_direct(&file, path, stream, err);
        if (fd < 0)
            return fd;
        file.direct = fd;
        *ret = file;
        return 0;
    }
    _cleanup_buf_ struct buf whole = {0};
    _cleanup_free_ char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
    buf_printf(&whole, "%s%s%s", here ? here : "", here ? "/" : "", path);
    _cleanup_free_ char *owned = buf_take(&whole);
    if (!owned || owned[0] != '/')
        return cannot(&file, path, errno, err);
    int r = pin(&file, owned, path, err);
    if (r < 0) {
        run_result_fini(&file);
        return r;
    }
    *ret = file;
    return 0;
}

void run_result_fini(struct run_result_file *file)
{
    fd_replace(&file->directory, -1);
    fd_replace(&file->direct, -1);
}

static int write_renamed(const struct run_result_file *file, const struct buf *record)
{
    char temporary[sizeof file->name + 32];
    _cleanup_fd_ int fd = make_temporary(file, temporary, sizeof temporary);
    if (fd < 0)
        return fd;
    int r = io_write_full(fd, buf_text(record), record->length);
    if (r == 0 && renameat(file->directory, temporary, file->directory, file->name) < 0)
        r = -errno;
    if (r < 0)
        unlinkat(file->directory, temporary, 0);
    return r;
}

int run_result_write(const struct run_result_file *file, const struct buf *record, struct err *err)
{
    int r = file->direct >= 0 ? io_write_full(file->direct, buf_text(record), record->length)
                              : write_renamed(file, record);
    if (r < 0)
        return err_set(err, ERR_INTERNAL, -r, "write the result record", file->name, NULL);
    return 0;
}

/* ---- the record --------------------------------------------------------------------------------
 */

static void add_time(struct buf *out, const char *key, uint64_t ns)
{
    if (ns == 0) {
        buf_printf(out, ",\"%s\":null", key);
        return;
    }
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm tm;
    char text[40];
    if (!gmtime_r(&seconds, &tm) || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        text[0] = 0;
    buf_printf(out, ",\"%s\":\"%s.%03uZ\"", key, text, (unsigned)(ns / 1000000 % 1000));
}

static void add_number_or_null(struct buf *out, const char *key, bool known, uint64_t value)
{
    if (known)
        buf_printf(out, ",\"%s\":%llu", key, (unsigned long long)value);
    else
        buf_printf(out, ",\"%s\":null", key);
}

/* Limits as keys of §13, only those that are there. */
static void add_limits(struct buf *out, const struct spec_limits *limits)
{
    const struct {
        const char *key;
        uint64_t value;
    } rows[] = {
        {"memory_bytes", limits->memory_bytes},
        {"scratch_bytes", limits->scratch_bytes},
        {"scratch_inodes", limits->scratch_inodes},
        {"cpu_millis", limits->cpu_millis},
        {"pids", limits->pids},
        {"open_files", limits->open_files},
    };
    buf_putc(out, '{');
    const char *comma = "";
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        if (rows[i].value == 0)
            continue;
        buf_printf(out, "%s\"%s\":%llu", comma, rows[i].key, (unsigned long long)rows[i].value);
        comma = ",";
    }
    buf_putc(out, '}');
}

static void add_namespaces(struct buf *out, uint32_t bits)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } rows[] = {{CLONE_NEWUSER, "user"},    {CLONE_NEWNS, "mount"}, {CLONE_NEWPID, "pid"},
                {CLONE_NEWNET, "net"},      {CLONE_NEWIPC, "ipc"},  {CLONE_NEWUTS, "uts"},
                {CLONE_NEWCGROUP, "cgroup"}};
    buf_putc(out, '[');
    const char *comma = "";
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++)
        if (bits & rows[i].bit) {
            buf_printf(out, "%s\"%s\"", comma, rows[i].name);
            comma = ",";
        }
    buf_putc(out, ']');
}

static void add_effective(struct buf *out, const struct session_effective *e)
{
    static const char *const layouts[] = {[RUNTIME_CGROUP_NONE] = "none",
                                          [RUNTIME_CGROUP_UNIFIED] = "unified",
                                          [RUNTIME_CGROUP_HYBRID] = "hybrid"};
    static const char *const phases[] = {
        [PHASE_RECORD] = "record",       [PHASE_CGROUP] = "cgroup", [PHASE_USERNS] = "userns",
        [PHASE_WORKSPACE] = "workspace", [PHASE_CLONE] = "clone",   [PHASE_STAGE] = "stage",
        [PHASE_TEARDOWN] = "teardown"};
    buf_puts(out, ",\"effective\":{\"namespaces\":");
    add_namespaces(out, e->namespaces);
    buf_printf(out,
               ",\"uid_base\":%u,\"uid_count\":%u,\"default_uid_host\":%u,\"landlock_abi\":%u"
               ",\"seccomp_hash\":\"%s\",\"spec_hash\":\"%s\",\"cgroup_layout\":\"%s\"",
               e->uid_base, e->uid_count, e->default_uid_host, e->landlock_abi, e->seccomp_hash,
               e->spec_hash, layouts[e->cgroup_layout]);
    buf_puts(out, ",\"limits\":");
    add_limits(out, &e->limits);
    add_number_or_null(out, "kernel_memory_bytes", e->kernel_memory_bytes > 0,
                       e->kernel_memory_bytes);
    buf_puts(out, ",\"phase_us\":{");
    for (size_t i = 0; i < ARRAY_LENGTH(phases); i++)
        buf_printf(out, "%s\"%s\":%llu", i ? "," : "", phases[i],
                   (unsigned long long)e->phase_us[i]);
    buf_puts(out, "}}");
}

/* Null when nobody looked: there was no command that ended. */
static void add_scratch_full(struct buf *out, bool measured, uint32_t full)
{
    static const char *const words[] = {"[]", "[\"bytes\"]", "[\"inodes\"]",
                                        "[\"bytes\",\"inodes\"]"};
    _Static_assert((AGENT_FULL_BYTES | AGENT_FULL_INODES) == 3, "one word for each combination");
    buf_printf(out, ",\"scratch_full\":%s", measured ? words[full & 3] : "null");
}

static void add_notes(struct buf *out, const struct run *run)
{
    buf_puts(out, ",\"notes\":[");
    for (unsigned i = 0; i < run->note_count; i++) {
        buf_puts(out, i ? ",{\"key\":" : "{\"key\":");
        buf_json_string(out, run->notes[i].key);
        buf_puts(out, ",\"text\":");
        buf_json_string(out, run->notes[i].text);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

/* The refusal as data: every capability that is missing. Nothing when that was not the reason. */
static void add_missing(struct buf *out, const struct capability_mask *missing)
{
    const char *before = "\"missing\":[";
    for (unsigned c = 0; c < CAPABILITY_COUNT; c++)
        if (missing->bits[c / 64] >> (c % 64) & 1) {
            buf_printf(out, "%s\"%s\"", before, capability_name((enum capability)c));
            before = ",";
        }
    if (out->length)
        buf_putc(out, ']');
}

/* One field order, whatever happened: what is not known is null. */
void run_result_record(const struct run *run, struct buf *out)
{
    const struct run_outcome *o = &run->outcome;
    enum agent_reason reason = o->reason ? o->reason : AGENT_REASON_NOT_STARTED;
    bool by_exit = reason == AGENT_REASON_EXIT || (o->exit.exit_code >= 0 && o->exit.ended_ns);
    bool measured = o->exit.ended_ns != 0;
    buf_printf(out, "{\"exec_id\":\"%d\",\"session_id\":", RUN_EXEC);
    if (run->spec->session_id[0])
        buf_json_string(out, run->spec->session_id);
    else
        buf_puts(out, "null");
    buf_printf(out, ",\"state\":\"ended\",\"reason\":\"%s\"", agent_reason_name(reason));
    add_number_or_null(out, "exit_code", by_exit, (uint64_t)(uint32_t)o->exit.exit_code);
    add_number_or_null(out, "signal", o->exit.signal > 0, (uint64_t)(uint32_t)o->exit.signal);
    add_time(out, "started_at", o->exit.started_ns);
    add_time(out, "ended_at", o->exit.ended_ns);
    add_number_or_null(out, "cpu_ms", measured, o->exit.cpu_us / 1000);
    add_number_or_null(out, "max_rss_bytes", measured, o->exit.max_rss_bytes);
    add_number_or_null(out, "output_bytes", o->output_seen, o->tty_bytes);
    buf_puts(out, ",\"output_truncated\":false");
    buf_printf(out, ",\"oom_kills\":%u,\"pids_denied\":%llu", o->exit.oom_kills,
               (unsigned long long)o->exit.pids_denied);
    add_scratch_full(out, measured, o->exit.scratch_full);
    buf_printf(out, ",\"exit_status\":%d", run_result_status(o));
    if (run->has_effective)
        add_effective(out, &run->effective);
    else
        buf_puts(out, ",\"effective\":null");
    add_notes(out, run);
    run_network_record(run, out);
    run_denied_record(run, out);
    if (o->failed) {
        _cleanup_buf_ struct buf missing = {0};
        add_missing(&missing, &run->missing);
        buf_puts(out, ",\"error\":");
        cli_problem(out, &o->err, buf_text(&missing));
    }
    buf_puts(out, "}\n");
}
