/* This file is what a worker of the launcher does: one request, one answer, then it is gone; it
 * never touches what the launcher remembers.
 *
 * PRIVILEGED: root in the host's namespaces; rootless: root of the caller's own. Should: hold the
 * lock of its row before it looks at anything of a session. Mustn't: outlive its time (an alarm
 * ends it, also when the launcher is gone). Callers: launcher_jobs.c.
 *
 * The lock makes workers of two launchers take turns: one that lost its launcher finishes, and what
 * was asked of the next launcher about the same row waits for it. It is on a byte of one file, so
 * no name is left behind, and ends with the worker (F_OFD_SETLK, fcntl(2)).
 */
#include "runtime/host/launcher_internal.h"

#include "runtime/base/fd.h"
#include "runtime/host/lasting.h"
#include "runtime/host/lock_wait.h"
#include "runtime/host/volume_remove.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* TELL_MS: what is left to say who holds its lock before it is killed. */
enum {
    TELL_MS = 2000,
    DEADLINE_MS = 5000,
    DEADLINE_MOST_MS = 120000,
    END_MS = 20000,
    FREEZE_MS = 10000
};

/* Beyond every row id. */
#define VOLUME_LOCKS (INT64_C(1) << 61)

/* How long until it is killed, whether it may take long, whether it changes what another launcher's
 * worker may be at too. */
static const struct {
    unsigned ms;
    bool slow, locks;
} rules[LAUNCHER_REQUEST_END] = {
    [LAUNCHER_LAUNCH] = {5000, false, true}, /* beside its own deadline */
    [LAUNCHER_END] = {END_MS + 10000, false, true},
    [LAUNCHER_FREEZE] = {FREEZE_MS + 5000, false, true},
    [LAUNCHER_THAW] = {FREEZE_MS + 5000, false, true},
    [LAUNCHER_LOOK] = {10000, false, true},
    [LAUNCHER_LIST] = {10000, false, false},
    [LAUNCHER_SAMPLE] = {10000, false, false},
    [LAUNCHER_FILES] = {3600000, true, true},
    [LAUNCHER_VOLUME_REMOVE] = {3600000, true, true},
    [LAUNCHER_VOLUME_MEASURE] = {600000, true, false},
    [LAUNCHER_NETWORK] = {15000, false, true},
    [LAUNCHER_PORTS] = {10000, false, false},
};

static unsigned deadline_of(const struct launcher_request *request)
{
    unsigned ms = request->deadline_ms ? request->deadline_ms : DEADLINE_MS;
    return ms > DEADLINE_MOST_MS ? DEADLINE_MOST_MS : ms;
}

unsigned launcher_time_of(const struct launcher_request *request)
{
    return rules[request->type].ms + (request->type == LAUNCHER_LAUNCH ? deadline_of(request) : 0);
}

bool launcher_is_slow(unsigned type)
{
    return rules[type].slow;
}

struct work {
    const struct launcher *l;
    const struct job *job;
    struct launcher_reply reply;
    int given; /* a descriptor that goes with the answer; -1 */
};

/* A worker does one request: this is its whole memory for it. */
static struct work the_work;
static struct launcher_files the_files;
static struct spec the_spec;
static struct spec_network the_network;
static struct launcher_asker the_asker;

/* ---- what comes with a request
 * ---------------------------------------------------------------------- */

/* wait_ms 0: 1 when another has it. */
static int lock_byte(const struct serve_config *config, const struct flock *range, unsigned wait_ms,
                     int *ret_lock, struct err *err)
{
    char path[SPEC_PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/workers", config->runtime_dir);
    _cleanup_fd_ int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "lock the session", NULL, NULL);
    int r = wait_ms ? lock_take(fd, range, wait_ms, "lock the session", NULL, err)
                    : lock_wait(fd, range, 0);
    if (r == -ETIMEDOUT && !wait_ms)
        return 1;
    if (r < 0 && !wait_ms)
        return err_set(err, ERR_UNAVAILABLE, -r, "lock the session", NULL, NULL);
    if (r == 0)
        *ret_lock = take_fd(&fd);
    return r;
}

int launcher_number(const struct serve_config *config, uint64_t *ret, struct err *err)
{
    _cleanup_fd_ int fd = -1;
    const struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    int r = lock_byte(config, &range, LOCK_WAIT_MS, &fd, err); /* no row is 0 */
    if (r < 0)
        return r;
    uint64_t number = 0;
    ssize_t n = pread(fd, &number, sizeof number, 0);
    number = n == (ssize_t)sizeof number ? number + 1 : 1;
    if (n < 0 || pwrite(fd, &number, sizeof number, 0) != (ssize_t)sizeof number)
        return err_set(err, ERR_UNAVAILABLE, errno, "number the launcher", config->runtime_dir,
                       NULL);
    *ret = number;
    return 0;
}

/* What a worker has to itself: its row, or the volume that it removes, which may have the name of
 * another life by the time that a worker goes on whose launcher is gone. Two names may share a
 * byte: then one waits for the other. */
static int64_t lock_of(const struct launcher_request *request)
{
    if (request->type != LAUNCHER_VOLUME_REMOVE)
        return request->row;
    uint64_t mixed = 0xcbf29ce484222325u; /* FNV-1a */
    const char *const parts[] = {request->workspace_id, "/", request->volume};
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++)
        for (const char *p = parts[i]; *p; p++)
            mixed = (mixed ^ (unsigned char)*p) * 0x100000001b3u;
    return VOLUME_LOCKS | (int64_t)(mixed >> 4);
}

static int take_lock(const struct launcher *l, int64_t at, bool shared, unsigned wait_ms,
                     int *ret_lock, struct err *err)
{
    const struct flock range = {
        .l_type = shared ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    _cleanup_fd_ int fd = -1;
    uint64_t number = 0;
    int r = lock_byte(l->config, &range, wait_ms, &fd, err);
    if (r != 0)
        return r;
    if (pread(fd, &number, sizeof number, 0) != (ssize_t)sizeof number || number != l->generation)
        return err_set(err, ERR_UNAVAILABLE, ESTALE, "work on the session", NULL,
                       "Another launcher has taken over.");
    *ret_lock = take_fd(&fd);
    return 0;
}

/* Files of one session are worked on side by side. What waits for a client must not be waited for:
 * it gives up soon. */
static int lock_own(const struct launcher *l, const struct launcher_request *request, int *ret_lock,
                    struct err *err)
{
    bool files = request->type == LAUNCHER_FILES;
    unsigned wait_ms = files ? LOCK_WAIT_MS : launcher_time_of(request) - TELL_MS;
    return take_lock(l, lock_of(request), files, wait_ms, ret_lock, err);
}

int launcher_lock(const struct launcher *l, int64_t row, int *ret_lock, struct err *err)
{
    return take_lock(l, row, false, 0, ret_lock, err);
}

/* The memfd is sealed: it was copied whole or not at all, and what is checked is what is used. */
/* Its size was proven. A hole is zero, and so is this process's memory, which had no request
 * before: what is not used of a spec is not read. */
static int read_sealed(int fd, void *data, size_t size, struct err *err)
{
    for (off_t at = 0, end; at < (off_t)size; at = end) {
        at = lseek(fd, at, SEEK_DATA);
        if (at < 0 && errno == ENXIO)
            return 0;
        end = at < 0 ? -1 : lseek(fd, at, SEEK_HOLE);
        if (end > (off_t)size)
            end = (off_t)size;
        ssize_t n = end < 0 ? -1 : pread(fd, (char *)data + at, (size_t)(end - at), at);
        if (n < 0 || n != end - at)
            return err_set(err, ERR_INTERNAL, n < 0 ? errno : EIO, "read the request", NULL, NULL);
    }
    return 0;
}

static int check_spec(const struct work *w, const struct spec *spec, struct err *err)
{
    int r = spec_check(spec, err);
    if (r == 0)
        r = launcher_permit_asker(w->l->config, w->job->fds, w->job->fd_count, &the_asker, err);
    return r < 0 ? r : launcher_permit_spec(w->l->config, spec, &the_asker, err);
}

/* ---- requests
 * ---------------------------------------------------------------------------------------- */

static void add_note(void *data, const char *key, const char *text)
{
    struct launcher_reply *reply = data;
    if (reply->launched.note_count == LAUNCHER_NOTES_MAX)
        return;
    struct launcher_note *note = &reply->launched.notes[reply->launched.note_count++];
    snprintf(note->key, sizeof note->key, "%s", key);
    snprintf(note->text, sizeof note->text, "%s", text);
}

static void tell_effective(const struct session_effective *from, struct launcher_effective *to)
{
    *to = (struct launcher_effective){.landlock_abi = from->landlock_abi,
                                      .cgroup_layout = from->cgroup_layout,
                                      .namespaces = from->namespaces,
                                      .default_uid_host = from->default_uid_host,
                                      .limits = from->limits,
                                      .kernel_memory_bytes = from->kernel_memory_bytes};
    snprintf(to->seccomp_hash, sizeof to->seccomp_hash, "%s", from->seccomp_hash);
    snprintf(to->spec_hash, sizeof to->spec_hash, "%s", from->spec_hash);
    memcpy(to->phase_us, from->phase_us, sizeof to->phase_us);
}

static int do_launch(struct work *w, struct err *err)
{
    const struct launcher_request *request = &w->job->request;
    const struct launcher_calls *calls = w->l->calls;
    int r = read_sealed(w->job->fds[0], &the_spec, sizeof the_spec, err);
    if (r == 0)
        r = check_spec(w, &the_spec, err);
    if (r < 0)
        return r;
    bool own = w->l->config->rootless || the_asker.uid == UINT32_MAX;
    const struct session_lasting lasting = {
        .name = launcher_name_of(request),
        .epoch = request->epoch,
        .generation = request->generation,
        .connect_uid = w->l->config->rootless ? 0 : w->l->config->front_uid,
        .connect_gid = w->l->config->rootless ? 0 : w->l->config->front_gid,
        .deadline_ms = deadline_of(request),
        .asker_uid = own ? UINT32_MAX : the_asker.uid,
        .asker_gid = own ? UINT32_MAX : the_asker.gid,
        .asker_groups = the_asker.groups,
        .asker_group_count = own ? 0 : the_asker.group_count,
    };
    struct session *s;
    r = calls->create(&s, w->l->runtime, &the_spec, &lasting, err);
    if (r < 0)
        return r;
    tell_effective(calls->effective(s), &w->reply.launched.effective);
    const struct session_note *notes;
    unsigned count = calls->notes(s, &notes);
    for (unsigned i = 0; i < count; i++)
        add_note(&w->reply, notes[i].key, notes[i].text);
    w->given = calls->keep_netns(s);
    calls->leave(s, &w->reply.identity);
    return 0;
}

static int do_end(struct work *w, struct err *err)
{
    const struct session_name name = launcher_name_of(&w->job->request);
    return w->l->calls->end(w->l->runtime, &name, END_MS, add_note, &w->reply,
                            &w->reply.launched.last, err);
}

static int do_freeze(struct work *w, struct err *err)
{
    const struct session_name name = launcher_name_of(&w->job->request);
    return w->l->calls->freeze(w->l->runtime, &name, w->job->request.type == LAUNCHER_FREEZE,
                               FREEZE_MS, err);
}

static int do_look(struct work *w, struct err *err)
{
    const struct session_name name = launcher_name_of(&w->job->request);
    enum session_found found = SESSION_FOUND_ABSENT;
    int r = w->l->calls->look(w->l->runtime, &name, &w->job->request.identity, &found,
                              &w->reply.identity, &w->given, err);
    w->reply.found = r < 0 ? 0 : found;
    /* Whoever found it dead, and removed it, had perhaps no gateway to tell. */
    if (r == 0 && found != SESSION_FOUND_WHOLE && found != SESSION_FOUND_OTHER)
        r = w->l->calls->forget(w->l->runtime, &name, err);
    /* It was sent: a gateway that goes on finds it, and one that does not is ended. */
    if (r == -ETIMEDOUT)
        r = 0;
    /* Front cannot open it, and must know whether what is gone died or the host was restarted. */
    if (r == 0 && found != SESSION_FOUND_WHOLE)
        r = lasting_boot_id(w->reply.identity.boot_id, err);
    return r;
}

static bool is_after(const struct session_name *name, const struct launcher_name *than)
{
    return name->row != than->row ? name->row > than->row : name->incarnation > than->incarnation;
}

/* The smallest ones after the request's, in order: the next page begins after the last of them. */
static int list_one(void *data, const struct session_name *name)
{
    struct work *w = data;
    const struct launcher_name from = {w->job->request.row, w->job->request.incarnation};
    struct launcher_name *names = w->reply.list.names;
    uint32_t *count = &w->reply.list.count, at = *count;
    if (!is_after(name, &from))
        return 0;
    while (at > 0 && !is_after(name, &names[at - 1]))
        at--;
    if (at > 0 && names[at - 1].row == name->row && names[at - 1].incarnation == name->incarnation)
        return 0;
    w->reply.list.more |= *count == LAUNCHER_LIST_MAX;
    if (at == LAUNCHER_LIST_MAX)
        return 0;
    uint32_t last = *count < LAUNCHER_LIST_MAX ? *count : LAUNCHER_LIST_MAX - 1;
    memmove(&names[at + 1], &names[at], (last - at) * sizeof *names);
    names[at] = (struct launcher_name){name->row, name->incarnation};
    *count = last + 1;
    return 0;
}

static int do_list(struct work *w, struct err *err)
{
    /* After a restart of the host nothing is named, and so nothing is looked at by name. */
    int r = lasting_boot_id(w->reply.identity.boot_id, err);
    return r < 0 ? r : w->l->calls->list(w->l->runtime, w->job->request.instance, list_one, w, err);
}

static int do_sample(struct work *w, struct err *err)
{
    const struct session_name name = launcher_name_of(&w->job->request);
    w->reply.sample.disk_bytes = UINT64_MAX;
    return w->l->calls->sample(w->l->runtime, &name, &w->reply.sample, err);
}

static int do_files(struct work *w, struct err *err)
{
    const struct job *job = w->job;
    const struct session_name name = launcher_name_of(&job->request);
    int r = read_sealed(job->fds[0], &the_files, sizeof the_files, err);
    const char *wrong = r == 0 ? files_request_check(&the_files.request) : NULL;
    if (wrong)
        return err_set(err, ERR_INVALID_REQUEST, 0, "check the file operation", NULL, "%s.", wrong);
    if (r == 0)
        r = check_spec(w, &the_files.spec, err);
    if (r < 0)
        return r;
    bool data = job->fd_count > 2 && launcher_permit_socket(job->fds, job->fd_count) != job->fds[2];
    bool own = w->l->config->rootless;
    return w->l->calls->files(w->l->runtime, &the_files.spec, own ? UINT32_MAX : the_asker.uid,
                              own ? UINT32_MAX : the_asker.gid, the_asker.groups,
                              the_asker.group_count, &the_files.request, job->fds[1],
                              data ? job->fds[2] : -1, job->request.read_only != 0, &name, err);
}

static int do_network(struct work *w, struct err *err)
{
    const struct session_name name = launcher_name_of(&w->job->request);
    int r = read_sealed(w->job->fds[0], &the_network, sizeof the_network, err);
    if (r == 0)
        r = launcher_permit_network(&the_network, err);
    if (r == 0)
        r = w->l->calls->network(w->l->runtime, &name, &the_network, w->job->request.generation,
                                 &w->reply.network.cut, err);
    /* What is in force is not unmade because it cannot be told. */
    struct err untold;
    if (r == 0 && the_network.publish_count > 0)
        (void)w->l->calls->published(w->l->runtime, &name, &w->reply.network.published, &untold);
    return r;
}

static int do_ports(struct work *w, struct err *err)
{
    const struct session_name name = launcher_name_of(&w->job->request);
    return w->l->calls->published(w->l->runtime, &name, &w->reply.network.published, err);
}

static int do_volume_remove(struct work *w, struct err *err)
{
    return volume_remove(w->l->config->state_dir, w->job->request.workspace_id,
                         w->job->request.volume, err);
}

static int do_volume_measure(struct work *w, struct err *err)
{
    return volume_measure(w->l->config->state_dir, w->job->request.workspace_id,
                          w->job->request.volume, &w->reply.sample.disk_bytes, err);
}

static int (*const works[LAUNCHER_REQUEST_END])(struct work *w, struct err *err) = {
    [LAUNCHER_LAUNCH] = do_launch,
    [LAUNCHER_END] = do_end,
    [LAUNCHER_FREEZE] = do_freeze,
    [LAUNCHER_THAW] = do_freeze,
    [LAUNCHER_LOOK] = do_look,
    [LAUNCHER_LIST] = do_list,
    [LAUNCHER_SAMPLE] = do_sample,
    [LAUNCHER_FILES] = do_files,
    [LAUNCHER_VOLUME_REMOVE] = do_volume_remove,
    [LAUNCHER_VOLUME_MEASURE] = do_volume_measure,
    [LAUNCHER_NETWORK] = do_network,
    [LAUNCHER_PORTS] = do_ports,
};

/* ---- the worker
 * ---------------------------------------------------------------------------------------- */

static int answer(const struct work *w, int result)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {(void *)(uintptr_t)&w->reply, sizeof w->reply};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (w->given >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control.room;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &w->given, sizeof w->given);
    }
    ssize_t n;
    do
        n = sendmsg(result, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0;
}

int launcher_work(const struct launcher *l, const struct job *job, bool clean,
                  struct network_ready *netns, int result)
{
    if (netns->rules >= 0)
        l->runtime->filled = *netns;
    else if (netns->netns >= 0)
        fd_replace(job->request.type == LAUNCHER_LAUNCH ? &l->runtime->netns
                                                        : &l->runtime->session_netns,
                   netns->netns);
    network_ready_init(netns);
    if (l->gateway >= 0 || l->gateway_lost)
        l->runtime->gateway = l->gateway;
    l->runtime->gateway_ended = l->gateway_ended;
    l->runtime->door_ports = l->config->door_ports;
    l->runtime->door_count = l->config->door_count;
    const struct launcher_request *request = &job->request;
    struct work *w = &the_work;
    *w = (struct work){.l = l, .job = job, .given = -1};
    w->reply = (struct launcher_reply){.magic = LAUNCHER_MAGIC,
                                       .version = LAUNCHER_VERSION,
                                       .type = request->type,
                                       .ticket = request->ticket,
                                       .row = request->row,
                                       .incarnation = request->incarnation};
    unsigned ms = launcher_time_of(request) + 2000;
    const struct itimerval alarm = {
        .it_value = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000}};
    setitimer(ITIMER_REAL, &alarm, NULL);
    _cleanup_fd_ int lock = -1;
    struct err err = {0};
    int r = rules[request->type].locks ? lock_own(l, request, &lock, &err) : 0;
    if (r == 0)
        r = clean ? do_end(w, &err) : works[request->type](w, &err);
    if (r < 0) {
        if (err.code == ERR_NONE)
            err_raw(&err, ERR_INTERNAL, -r, launcher_request_name(request->type), NULL);
        w->reply.result = r;
        w->reply.err = err;
    }
    return answer(w, result);
}
