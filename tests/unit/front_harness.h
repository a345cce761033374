/* This file serves front's operations over a fake provider, in a thread of the test; it never
 * checks anything by itself. The client's side is http_harness.h's. This file is long because it
 * stands for the whole of provider.h.
 *
 * The fake writes down what it was asked (fake_asked()) and answers a round of the loop later, as
 * the real one does:
 *     session "none"    404, the document left to front; "locked": 409 with what is allowed;
 *             "stored"  a stored answer; "busy": 503 with Retry-After; "never": no answer
 *     exec    "e3"      three frames on stdout (the second no UTF-8), one on stderr, a gap, the end
 *             "flood"   frames of 32 KiB without end
 *     tokens  over TCP: "ta" of workspace a and "tb" of b may everything, "tr" may read a, "tm"
 *             metrics; "tp" is as "ta" and bound to FAKE_POLICY
 *     files   below "/": see fake_files()
 */
#pragma once

#include "http_harness.h"

#include "api/front/create.h"
#include "api/front/front.h"
#include "runtime/link/spool_reader.h"

enum { FAKE_PENDING = 64, FAKE_TEXT = 16384 };

struct fake_pending {
    struct provider_call call;
    int status;
    char document[512];
    bool used, replayed;
    unsigned retry_after_s;
    uint32_t allowed;
    struct err err;
};

struct provider_follower {
    struct provider_follow follow;
    bool flood, events, blocked, ended, used;
    uint64_t next;
};

struct fake_file {
    bool used;
    void (*done)(void *data, const struct provider_files_reply *reply);
    void *data;
    void (*begun)(void *data, const struct files_begin *begin);
    struct files_request request;
    int in, out;
    uint64_t read;
    char content[256];
};

static struct fake {
    struct loop_timer *timer;
    struct fake_pending pending[FAKE_PENDING];
    struct provider_follower followers[16];
    struct fake_file files[16];
    pthread_mutex_t lock;
    char asked[FAKE_TEXT];
    struct spec spec;
    int client_socket;
    char policy[65]; /* that who asked last is bound to; "-": to none */
    atomic_uint forgotten, stopped, frames_given, asked_count;
    int collected_status; /* of provider_collected(); 0: 200 */
    int stdin_reader;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .stdin_reader = -1};

static struct serve_config fake_config = {
    .version = SERVE_CONFIG_VERSION,
    .size = sizeof(struct serve_config),
    .socket_gid = UINT32_MAX,
    .root_count = 1,
    .roots = {"/srv/projects"},
};
static struct capability_set fake_capabilities;
static struct policy *fake_ceiling;
static struct front fake_front;

/* What was asked last, as a line. */
static inline const char *fake_asked(void)
{
    static char copy[FAKE_TEXT];
    pthread_mutex_lock(&fake.lock);
    memcpy(copy, fake.asked, sizeof copy);
    pthread_mutex_unlock(&fake.lock);
    return copy;
}

static inline void fake_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void fake_note(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&fake.lock);
    vsnprintf(fake.asked, sizeof fake.asked, fmt, ap);
    pthread_mutex_unlock(&fake.lock);
    va_end(ap);
    fake.asked_count++;
}

#define TEXT(s) ((s) ? (s) : "-")

static inline void fake_bound(const struct provider_call *call)
{
    snprintf(fake.policy, sizeof fake.policy, "%s", TEXT(call->policy));
}

/* ---- answers --------------------------------------------------------------------------------- */

static inline void fake_reply(const struct provider_call *call, int status, const char *document)
{
    struct fake_pending *p = fake.pending;
    fake_bound(call);
    while (p->used)
        cr_assert(++p < fake.pending + FAKE_PENDING);
    *p = (struct fake_pending){.used = true, .call = *call, .status = status};
    snprintf(p->document, sizeof p->document, "%s", document);
    const char *s = TEXT(call->session_id);
    if (strcmp(s, "none") == 0) {
        p->status = 404;
        p->document[0] = 0;
        err_set(&p->err, ERR_NOT_FOUND, 0, "find the session", s, "There is no such session.");
    } else if (strcmp(s, "locked") == 0) {
        p->status = 409;
        p->document[0] = 0;
        p->allowed = 1u << SESSION_EVENT_RESUME | 1u << SESSION_EVENT_DESTROY;
        err_set(&p->err, ERR_INVALID_STATE, 0, "ask", s, "It is parked.");
    } else if (strcmp(s, "stored") == 0) {
        p->replayed = true;
    } else if (strcmp(s, "busy") == 0) {
        p->status = 503;
        p->retry_after_s = 7;
        err_set(&p->err, ERR_UNAVAILABLE, 0, "ask", s, "Too much to do.");
    } else if (strcmp(s, "broken") == 0) {
        p->status = 500;
        p->document[0] = 0;
        err_set(&p->err, ERR_INTERNAL, EIO, "do it", "/secret/place", "Secret detail.");
    }
    loop_timer_set(fake.timer, 0);
}

static inline void fake_tell(struct fake_pending *p)
{
    struct provider_reply reply = {.status = p->status,
                                   .err = p->err,
                                   .replayed = p->replayed,
                                   .allowed = p->allowed,
                                   .retry_after_s = p->retry_after_s,
                                   .media_type = p->status < 400 ? "application/json"
                                                                 : "application/problem+json"};
    struct provider_call call = p->call;
    buf_puts(&reply.document, p->document);
    p->used = false;
    if (strcmp(TEXT(call.session_id), "never") != 0)
        call.reply(call.data, &reply);
    else
        p->used = true;
    buf_fini(&reply.document);
}

void provider_forget(struct provider *p, const void *data)
{
    (void)p;
    for (unsigned i = 0; i < FAKE_PENDING; i++)
        if (fake.pending[i].used && fake.pending[i].call.data == data) {
            fake.pending[i].used = false;
            fake.forgotten++;
        }
    for (unsigned i = 0; i < ARRAY_LENGTH(fake.files); i++)
        if (fake.files[i].used && fake.files[i].data == data) {
            fake.files[i].done = NULL;
            fake.forgotten++;
        }
}

#define KEY(call) ((call)->key ? (call)->key->key : "-")

void provider_session_create(struct provider *p, const struct provider_call *call,
                             const struct provider_create *c)
{
    (void)p;
    fake.spec = *c->spec;
    fake.client_socket = c->client_socket;
    fake_note("session_create %s/%s key=%s owner=%s labels=%s ttl=%" PRIu64 " idle=%" PRIu64
              "%s%s who=%s",
              call->workspace_id, call->session_id, KEY(call), c->owner, c->labels_json, c->ttl_ms,
              c->idle_after_ms, c->idle_destroys ? " destroys" : "",
              c->accept_loss ? " accept_loss" : "", call->who);
    fake_reply(call, 201, "{\"session_id\":\"made\"}\n");
}

#define FAKE_SIMPLE(name)                                                                     \
    void provider_##name(struct provider *p, const struct provider_call *call)                \
    {                                                                                         \
        (void)p;                                                                              \
        fake_note(#name " %s/%s/%s key=%s", TEXT(call->workspace_id), TEXT(call->session_id), \
                  TEXT(call->exec_id), KEY(call));                                            \
        fake_reply(call, 200, "{\"asked\":\"" #name "\"}\n");                                 \
    }
FAKE_SIMPLE(session_get)
FAKE_SIMPLE(session_usage)
FAKE_SIMPLE(session_ports)
FAKE_SIMPLE(exec_cancel)
FAKE_SIMPLE(exec_close_stdin)
FAKE_SIMPLE(health)
FAKE_SIMPLE(metrics)
FAKE_SIMPLE(ledger_backup)

#define FAKE_PAGE(name)                                                                            \
    void provider_##name(struct provider *p, const struct provider_call *call,                     \
                         const struct provider_page *page)                                         \
    {                                                                                              \
        (void)p;                                                                                   \
        fake_note(#name " %s/%s after=%s state=%s owner=%s label=%s limit=%u", call->workspace_id, \
                  TEXT(call->session_id), TEXT(page->after), TEXT(page->state), TEXT(page->owner), \
                  TEXT(page->label), page->limit);                                                 \
        fake_reply(call, 200, "{\"asked\":\"" #name "\"}\n");                                      \
    }
FAKE_PAGE(session_list)
FAKE_PAGE(exec_list)
FAKE_PAGE(volume_list)

void provider_session_verb(struct provider *p, const struct provider_call *call,
                           const struct provider_verb *v)
{
    (void)p;
    fake_note("verb %s %s/%s key=%s reason=%s%s%s socket=%d", session_event_name(v->verb),
              call->workspace_id, call->session_id, KEY(call), TEXT(v->reason),
              v->accept_loss ? " accept_loss" : "", v->delete_volume ? " delete_volume" : "",
              v->client_socket >= 0);
    fake_reply(call, 200, "{\"asked\":\"verb\"}\n");
}

void provider_session_network(struct provider *p, const struct provider_call *call,
                              const struct provider_network *n)
{
    (void)p;
    fake.spec.network = *n->network;
    fake_note("network %s/%s key=%s revision=%" PRIu64 " egress=%u allow=%u deny=%u sni=%u",
              call->workspace_id, call->session_id, KEY(call), n->revision, n->network->egress,
              n->network->allow_count, n->network->deny_count, n->network->sni_match);
    fake_reply(call, 200, "{\"asked\":\"network\"}\n");
}

void provider_session_publish(struct provider *p, const struct provider_call *call,
                              const struct spec_publish *port)
{
    (void)p;
    fake_note("publish %s/%s key=%s %u:%u", call->workspace_id, call->session_id, KEY(call),
              port->host_port, port->port);
    fake_reply(call, 200, "{\"asked\":\"publish\"}\n");
}

void provider_exec_start(struct provider *p, const struct provider_call *call,
                         const struct provider_exec *e)
{
    char argv[256] = "", env[256] = "";
    (void)p;
    for (unsigned i = 0; e->argv && e->argv[i]; i++)
        snprintf(argv + strlen(argv), sizeof argv - strlen(argv), "[%s]", e->argv[i]);
    for (unsigned i = 0; e->env && e->env[i]; i++)
        snprintf(env + strlen(env), sizeof env - strlen(env), "[%s]", e->env[i]);
    fake_note("exec_start %s/%s id=%s key=%s argv=%s shell=%s env=%s cwd=%s user=%s stdin=%d "
              "tty=%d %ux%u keep=%d kill=%d timeout=%" PRIu64 " idle=%" PRIu64 " grace=%" PRIu64
              " limit=%" PRIu64 " wait=%" PRIu64,
              call->workspace_id, call->session_id, TEXT(e->exec_id), KEY(call), argv,
              TEXT(e->shell), env, TEXT(e->cwd), TEXT(e->user), e->stdin_pipe, e->tty, e->rows,
              e->cols, e->keep_children, e->kill_on_limit, e->timeout_ms, e->idle_timeout_ms,
              e->grace_ms, e->output_limit_bytes, e->wait_ms);
    fake_reply(call, 201, "{\"exec_id\":\"e3\",\"state\":\"running\"}\n");
}

void provider_exec_get(struct provider *p, const struct provider_call *call, uint64_t wait_ms)
{
    (void)p;
    fake_note("exec_get %s/%s/%s wait=%" PRIu64, call->workspace_id, call->session_id,
              call->exec_id, wait_ms);
    fake_reply(call, 200, "{\"exec_id\":\"e3\",\"state\":\"ended\",\"exit_code\":0}\n");
}

void provider_exec_signal(struct provider *p, const struct provider_call *call, int signo,
                          bool tree)
{
    (void)p;
    fake_note("exec_signal %s/%s/%s %d tree=%d", call->workspace_id, call->session_id,
              call->exec_id, signo, tree);
    fake_reply(call, 200, "{}\n");
}

void provider_exec_resize(struct provider *p, const struct provider_call *call, uint16_t rows,
                          uint16_t cols)
{
    (void)p;
    fake_note("exec_resize %s %ux%u", call->exec_id, rows, cols);
    fake_reply(call, 200, "{}\n");
}

void provider_exec_stdin_end(struct provider *p, const struct provider_call *call, uint64_t bytes)
{
    (void)p;
    fake_note("exec_stdin_end %s %llu", call->exec_id, (unsigned long long)bytes);
}

int provider_exec_stdin(struct provider *p, const struct provider_call *call, uint64_t offset,
                        int *ret_pipe, uint64_t *ret_offset, struct err *err)
{
    *ret_offset = offset == UINT64_MAX ? 0 : offset;
    fake_bound(call);
    int ends[2];
    (void)p;
    if (strcmp(call->exec_id, "deaf") == 0)
        return err_set(err, ERR_INVALID_STATE, 0, "find its input", "deaf", "It has none.");
    cr_assert(pipe2(ends, O_CLOEXEC) == 0);
    fd_replace(&fake.stdin_reader, ends[0]);
    if (strcmp(call->exec_id, "ended") == 0)
        fd_replace(&fake.stdin_reader, -1);
    *ret_pipe = ends[1];
    return 0;
}

void provider_volume_create(struct provider *p, const struct provider_call *call, const char *name,
                            const char *owner)
{
    (void)p;
    fake_note("volume_create %s/%s owner=%s", call->workspace_id, name, owner);
    fake_reply(call, 201, "{}\n");
}

void provider_volume_get(struct provider *p, const struct provider_call *call, const char *name)
{
    (void)p;
    fake_note("volume_get %s/%s", call->workspace_id, name);
    fake_reply(call, 200, "{}\n");
}

void provider_volume_remove(struct provider *p, const struct provider_call *call, const char *name)
{
    (void)p;
    fake_note("volume_remove %s/%s", call->workspace_id, name);
    fake_reply(call, 200, "{}\n");
}

void provider_resources(struct provider *p, const struct provider_call *call, const char *owner)
{
    (void)p;
    fake_note("resources owner=%s", TEXT(owner));
    fake_reply(call, 200, "{}\n");
}

void provider_reap(struct provider *p, const struct provider_call *call, const char *owner,
                   uint64_t older_than_ms, bool dry_run)
{
    (void)p;
    fake_note("reap %s older=%" PRIu64 " dry=%d key=%s scope=\"%s\"", owner, older_than_ms, dry_run,
              KEY(call), call->key ? call->key->workspace_id : "-");
    fake_reply(call, 200, "{}\n");
}

/* ---- tokens ---------------------------------------------------------------------------------- */

#define FAKE_POLICY                                                                \
    "{\"version\": 1, \"network\": {\"egress\": \"deny\", \"allow\": [{\"host\": " \
    "\"*.example.org\"}]}, "                                                       \
    "\"limits\": {\"pids\": 77, \"exec_timeout\": \"60s\", \"output\": \"1MiB\"}}"
#define FAKE_ALL "read lifecycle exec files.read files.write"

static const struct fake_token {
    const char *text;
    struct provider_token token;
} fake_tokens[] = {
    {"ta", {.token_id = "t-a", .workspaces = "a", .verbs = FAKE_ALL}},
    {"tb", {.token_id = "t-b", .workspaces = "other b", .verbs = FAKE_ALL}},
    {"tr", {.token_id = "t-r", .workspaces = "a", .verbs = "read"}},
    {"tm", {.token_id = "t-m", .workspaces = "", .verbs = "metrics"}},
    {"tp",
     {.token_id = "t-p",
      .workspaces = "a",
      .verbs = FAKE_ALL,
      .policy = FAKE_POLICY,
      .policy_hash = "hash"}},
    {"tx",
     {.token_id = "t-x",
      .workspaces = "a",
      .verbs = FAKE_ALL,
      .policy = "{\"from\": \"another berth\"}",
      .policy_hash = "other"}},
};

int64_t provider_token_find(struct provider *p, const char *text, size_t length)
{
    (void)p;
    for (unsigned i = 0; i < ARRAY_LENGTH(fake_tokens); i++)
        if (strlen(fake_tokens[i].text) == length && memcmp(fake_tokens[i].text, text, length) == 0)
            return (int64_t)i + 1;
    return 0;
}

bool provider_token_get(const struct provider *p, int64_t token, struct provider_token *ret)
{
    (void)p;
    if (token < 1 || token > (int64_t)ARRAY_LENGTH(fake_tokens))
        return false;
    *ret = fake_tokens[token - 1].token;
    return true;
}

bool provider_token_lists(const char *words, const char *word)
{
    const char *at = strstr(words, word);
    size_t n = strlen(word);
    return at && (at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == 0);
}

void provider_token_create(struct provider *p, const struct provider_call *call,
                           const struct provider_token_new *asked)
{
    (void)p;
    fake_note("token_create name=%s workspaces=%s verbs=%s lives=%" PRIu64 " who=%s policy=%s",
              TEXT(asked->name), asked->workspaces, asked->verbs, asked->lives_ms, call->who,
              TEXT(asked->policy));
    fake_reply(call, 201, "{}\n");
}

void provider_token_list(struct provider *p, const struct provider_call *call,
                         const struct provider_page *page)
{
    (void)p;
    fake_note("token_list after=%s limit=%u", TEXT(page->after), page->limit);
    fake_reply(call, 200, "{}\n");
}

void provider_token_revoke(struct provider *p, const struct provider_call *call,
                           const char *token_id)
{
    (void)p;
    fake_note("token_revoke %s", token_id);
    fake_reply(call, 200, "{}\n");
}

/* ---- streams --------------------------------------------------------------------------------- */

static inline struct provider_follower *
fake_follow(const struct provider_call *call, const struct provider_follow *follow, bool events)
{
    fake_bound(call);
    struct provider_follower *f = fake.followers;
    while (f->used)
        cr_assert(++f < fake.followers + ARRAY_LENGTH(fake.followers));
    *f = (struct provider_follower){.follow = *follow, .events = events, .used = true};
    f->flood = call->exec_id && strcmp(call->exec_id, "flood") == 0;
    f->next = follow->after + 1;
    fake_note("follow %s after=%" PRIu64 " follow=%d", events ? "events" : call->exec_id,
              follow->after, follow->follow);
    loop_timer_set(fake.timer, 0);
    return f;
}

struct provider_follower *provider_output_follow(struct provider *p,
                                                 const struct provider_call *call,
                                                 const struct provider_follow *follow,
                                                 struct err *err)
{
    (void)p, (void)err;
    return fake_follow(call, follow, false);
}

struct provider_follower *provider_events_follow(struct provider *p,
                                                 const struct provider_call *call,
                                                 const struct provider_follow *follow,
                                                 struct err *err)
{
    (void)p, (void)err;
    return fake_follow(call, follow, true);
}

void provider_follow_more(struct provider_follower *follower)
{
    follower->blocked = false;
    loop_timer_set(fake.timer, 0);
}

void provider_follow_stop(struct provider_follower *follower)
{
    follower->used = false;
    fake.stopped++;
}

static const struct spool_frame fake_frames[] = {
    {1, 1, 1767323045678, 6, SPOOL_STDOUT, "line\n\""},
    {2, 2, 1767323045679, 3, SPOOL_STDOUT,
     "\xff\xfe"
     "a"},
    {3, 3, 1767323045680, 4, SPOOL_STDERR, "oops"},
    {4, 9, 1767323045681, 1000, SPOOL_GAP, NULL},
    {10, 10, 1767323045682, 4, SPOOL_STDOUT, "tail"},
    {11, 11, 1767323045683, 0, SPOOL_EXIT, ""},
};

/* One thing; false when there is nothing to give now. */
static inline bool fake_give(struct provider_follower *f)
{
    static char much[32768];
    struct spool_frame frame;
    unsigned i = 0;
    if (!f->used || f->blocked || f->ended)
        return false;
    if (f->events) {
        char json[64];
        int n = snprintf(json, sizeof json, "{\"seq\":%" PRIu64 "}", f->next);
        if (f->next <= 3) {
            f->blocked =
                !f->follow.event(f->follow.data, f->next, "session.created", json, (size_t)n);
            f->next += !f->blocked;
            return f->used && !f->blocked;
        }
        if (f->follow.follow)
            return false; /* open until it is stopped */
    } else if (f->flood) {
        memset(much, 'x', sizeof much);
        frame = (struct spool_frame){f->next, f->next, 1, sizeof much, SPOOL_STDOUT, much};
        f->blocked = !f->follow.frame(f->follow.data, &frame);
        f->next += !f->blocked;
        fake.frames_given += !f->blocked;
        return f->used && !f->blocked;
    } else {
        while (i < ARRAY_LENGTH(fake_frames) && fake_frames[i].to_seq < f->next)
            i++;
        if (i < ARRAY_LENGTH(fake_frames)) {
            frame = fake_frames[i];
            f->blocked = !f->follow.frame(f->follow.data, &frame);
            if (!f->blocked)
                f->next = frame.to_seq + 1;
            return f->used && !f->blocked;
        }
    }
    f->ended = true;
    f->used = false;
    f->follow.end(f->follow.data, NULL);
    return false;
}

/* ---- files: "/f" ten bytes, "/empty", "/dir", "/denied" (stat only), "/absent", "/full" --------
 */

void provider_files(struct provider *p, const struct provider_call *call,
                    const struct provider_files *files,
                    void (*done)(void *data, const struct provider_files_reply *reply), void *data)
{
    struct fake_file *f = fake.files;
    (void)p;
    fake.client_socket = files->client_socket;
    fake_bound(call);
    while (f->used)
        cr_assert(++f < fake.files + ARRAY_LENGTH(fake.files));
    *f = (struct fake_file){.used = true,
                            .done = done,
                            .data = data,
                            .request = *files->request,
                            .begun = files->begun,
                            .in = files->data_in,
                            .out = files->data_out};
    const struct files_request *r = files->request;
    cr_expect(r->magic == FILES_MAGIC && r->version == FILES_VERSION);
    fake_note("files %s %s/%s path=%s path2=%s mode=%o offset=%" PRIu64 " length=%" PRIu64
              " depth=%u limit=%u recursive=%d match=%s sha256=%s",
              files_operation_name(r->operation), call->workspace_id, call->session_id, r->path,
              r->path2, r->mode, r->offset, r->length, r->depth, r->limit, r->recursive, r->match,
              r->sha256);
    if (f->in >= 0)
        fcntl(f->in, F_SETFL, O_NONBLOCK);
    loop_timer_set(fake.timer, 0);
}

void provider_collected(struct provider *p, const struct provider_call *call,
                        const struct provider_collected *collected)
{
    struct provider_reply reply = {.status = fake.collected_status ? fake.collected_status : 200};
    (void)p;
    fake_note("collected %s/%s session=%" PRId64 " path=%s entries=%" PRIu64 " bytes=%" PRIu64
              " left_out=%" PRIu64 "%s",
              call->workspace_id, call->session_id, collected->session, collected->path,
              collected->entries, collected->bytes, collected->left_out,
              collected->code == ERR_NONE ? "" : " refused");
    call->reply(call->data, &reply);
}

static inline void fake_entry(int fd, const char *path, uint32_t type)
{
    struct files_entry entry = {.magic = FILES_MAGIC, .path_length = (uint32_t)strlen(path)};
    entry.stat = (struct files_stat){.type = type,
                                     .mode = 0644,
                                     .uid = 1000,
                                     .gid = 1000,
                                     .size = 5,
                                     .modified_ns = 1767323045678000000};
    cr_expect(write(fd, &entry, sizeof entry) == (ssize_t)sizeof entry);
    cr_expect(write(fd, path, entry.path_length) == (ssize_t)entry.path_length);
}

/* What hostile workers say is at paths of their own. */
static inline void fake_output(int fd, const char *name, uint32_t type, uint64_t size)
{
    struct files_output output = {.magic = FILES_MAGIC,
                                  .path_length = (uint32_t)strlen(name),
                                  .stat = {.type = type, .mode = 0644, .size = size}};
    memset(output.sha256, 'a', type == FILES_FILE ? 64 : 0);
    cr_expect(write(fd, &output, sizeof output) == (ssize_t)sizeof output);
    cr_expect(write(fd, name, output.path_length) == (ssize_t)output.path_length);
}

static inline void fake_outputs(int fd, const char *path)
{
    bool wrong = strcmp(path, FILES_OUTPUTS) != 0;
    if (strcmp(path, "/many") == 0)
        for (char name[8] = "a00"; name[1] <= '9';
             name[2] == '9' ? (name[2] = '0', name[1]++) : name[2]++)
            fake_output(fd, name, FILES_FILE, 1);
    if (strcmp(path, "/many") == 0 || strcmp(path, "/up") == 0)
        fake_output(fd, path[1] == 'm' ? "b" : "../b", FILES_FILE, 1);
    if (strcmp(path, "/heavy") == 0)
        for (char name[2] = "a"; name[0] < 'f'; name[0]++)
            fake_output(fd, name, FILES_FILE, FILES_OUTPUT_BYTES_MAX);
    if (strcmp(path, "/twice") == 0)
        fake_output(fd, "a", FILES_FILE, 1), fake_output(fd, "a", FILES_FILE, 1);
    if (strcmp(path, "/torn") == 0)
        cr_expect(write(fd, path, 5) == 5);
    if (wrong)
        return;
    fake_output(fd, "a/b", FILES_FILE, 3);
    fake_output(fd, "c \"d", FILES_FILE, 4);
    fake_output(fd, "l", FILES_SYMLINK, 0);
}

static inline void fake_change(int fd, enum files_change_kind kind, const char *name)
{
    struct files_change change = {
        .magic = FILES_MAGIC, .path_length = (uint32_t)strlen(name), .kind = kind};
    cr_expect(write(fd, &change, sizeof change) == (ssize_t)sizeof change);
    cr_expect(write(fd, name, change.path_length) == (ssize_t)change.path_length);
}

static inline void fake_changes(int fd, const char *path)
{
    if (strcmp(path, "/absent") == 0)
        return;
    fake_change(fd, FILES_READY, "");
    fake_change(fd, FILES_ALIVE, "");
    fake_change(fd, FILES_CREATED, strcmp(path, "/climbs") == 0 ? "../x" : "s/\xff");
    if (strcmp(path, "/garbage") == 0)
        cr_expect(write(fd, "this is no change, or is it", 27) == 27);
    if (strcmp(path, "/torn") == 0)
        cr_expect(write(fd, path, 5) == 5);
    fake_change(fd, FILES_GONE, "");
}

static inline struct files_stat fake_stat(const struct fake_file *f)
{
    return (struct files_stat){.type = strcmp(f->request.path, "/dir") == 0 ? FILES_DIRECTORY
                                                                            : FILES_FILE,
                               .mode = 0644,
                               .size = strcmp(f->request.path, "/empty") == 0 ? 0 : 10,
                               .modified_ns = 1767323045678000000,
                               .inode = 7};
}

static inline void fake_file_end(struct fake_file *f, int code, const char *why)
{
    struct files_result result = {.magic = FILES_MAGIC, .version = FILES_VERSION};
    struct err err;
    result.stat = fake_stat(f);
    result.skipped = f->request.operation == FILES_COLLECT;
    if (f->request.operation == FILES_WRITE || f->request.operation == FILES_UPLOAD)
        result.stat.size = f->read;
    result.more = strcmp(f->request.path, "/more") == 0;
    if (code)
        err_set(&err, (enum err_code)code, 0, "work on files", f->request.path, "%s", why);
    const struct provider_files_reply reply = {
        .err = code ? &err : NULL, .result = &result, .session = 7};
    fd_replace(&f->in, -1);
    fd_replace(&f->out, -1);
    f->used = false;
    if (f->done)
        f->done(f->data, &reply);
}

static inline void fake_read(struct fake_file *f)
{
    struct files_stat stat = fake_stat(f);
    struct files_begin begin = {.magic = FILES_BEGIN_MAGIC,
                                .version = FILES_VERSION,
                                .stat = stat,
                                .offset = f->request.offset};
    uint64_t left = stat.size - f->request.offset;
    begin.bytes = f->request.length < left ? f->request.length : left;
    /* "/mute": what stands before the bytes is never told. */
    if (f->begun && strcmp(f->request.path, "/mute") != 0)
        f->begun(f->data, &begin);
    cr_expect(write(f->out, &"0123456789"[begin.offset], (size_t)begin.bytes) ==
              (ssize_t)begin.bytes);
}

/* False: it waits for bytes. */
static inline bool fake_file_step(struct fake_file *f)
{
    const char *path = f->request.path;
    ssize_t n;
    switch (f->request.operation) {
    case FILES_READ:
        if (strcmp(path, "/denied") == 0) {
            fake_file_end(f, ERR_FORBIDDEN, "Its mode does not allow it.");
            return true;
        }
        fake_read(f);
        break;
    case FILES_LIST:
        if (strcmp(path, "/garbage") == 0) {
            cr_expect(write(f->out,
                            "this is no listing, whatever its length may be; it goes on and "
                            "on, so that there is a whole record of it",
                            100) == 100);
            break;
        }
        if (strcmp(path, "/endless") == 0) { /* what would be read is written for ever */
            static const char zeros[4096];
            fcntl(f->out, F_SETFL, O_NONBLOCK);
            n = write(f->out, zeros, sizeof zeros);
            if (n > 0 || errno == EAGAIN)
                return false;
            fake_note("the reader has gone");
            break;
        }
        fake_entry(f->out, "a.txt", FILES_FILE);
        fake_entry(f->out, "sub", FILES_DIRECTORY);
        fake_entry(f->out, "sub/\xff", FILES_OTHER);
        break;
    case FILES_WATCH:
        fake_changes(f->out, path);
        break;
    case FILES_COLLECT:
        fake_outputs(f->out, path);
        break;
    case FILES_UPLOAD:
    case FILES_WRITE:
        if (strcmp(path, "/full") == 0) {
            fake_file_end(f, ERR_INSUFFICIENT_STORAGE, "The disk is full.");
            return true;
        }
        while (f->read < f->request.length) {
            n = read(f->in, f->content + f->read % 128, 128);
            if (n < 0 && errno == EAGAIN)
                return false;
            if (n <= 0)
                break;
            f->read += (uint64_t)n;
        }
        if (f->read < f->request.length) {
            fake_note("cut at %" PRIu64, f->read);
            fake_file_end(f, ERR_INVALID_REQUEST, "It was cut.");
            return true;
        }
        break;
    default:
        break;
    }
    bool absent = strcmp(path, "/absent") == 0;
    fake_file_end(f, absent ? ERR_NOT_FOUND : 0, "There is no such file.");
    return true;
}

static inline void fake_work(void *owner)
{
    (void)owner;
    bool wait = false;
    for (unsigned i = 0; i < FAKE_PENDING; i++)
        if (fake.pending[i].used && strcmp(TEXT(fake.pending[i].call.session_id), "never") != 0)
            fake_tell(&fake.pending[i]);
    for (unsigned i = 0; i < ARRAY_LENGTH(fake.followers); i++)
        for (unsigned k = 0; k < 100 && fake_give(&fake.followers[i]); k++)
            wait = true;
    for (unsigned i = 0; i < ARRAY_LENGTH(fake.files); i++)
        if (fake.files[i].used)
            wait |= !fake_file_step(&fake.files[i]);
    for (unsigned i = 0; i < FAKE_PENDING; i++)
        wait |= fake.pending[i].used;
    if (wait)
        loop_timer_set(fake.timer, 1);
}

/* ---- front ----------------------------------------------------------------------------------- */

static inline void front_harness_start(void)
{
    struct err err;
    struct http_operations operations;
    for (unsigned c = 0; c < CAPABILITY_COUNT; c++)
        fake_capabilities.status[c].available = capability_version((enum capability)c) > 0;
    harness.upload_pipe = harness.download_pipe = -1;
    if (harness.limits.connections_max == 0)
        harness.limits = http_limits_default;
    fake_config.rootless = 1; /* whoever runs the test may */
    snprintf(fake_config.state_dir, sizeof fake_config.state_dir, "/tmp/berth-front-XXXXXX");
    cr_assert(mkdtemp(fake_config.state_dir) != NULL);
    char spool[SPEC_PATH_MAX + 32];
    snprintf(spool, sizeof spool, "%s/" SERVE_SPOOL_DIR, fake_config.state_dir);
    cr_assert(mkdir(spool, 0700) == 0);
    cr_assert(loop_new(&harness.loop, &err) == 0);
    fake_front = (struct front){.loop = harness.loop,
                                .provider = (struct provider *)&fake,
                                .config = &fake_config,
                                .capabilities = &fake_capabilities,
                                .ceiling = fake_ceiling};
    front_operations(&fake_front, &operations);
    cr_assert(server_new(&harness.server, harness.loop, &operations, &harness.limits, &err) == 0);
    cr_assert(server_listen(harness.server, harness_listener(), &err) == 0);
    cr_assert(server_listen(harness.server, harness_tcp_listener(), &err) == 0);
    cr_assert(loop_wake_new(harness.loop, harness_on_wake, NULL, &harness.wake, &err) == 0);
    cr_assert(loop_timer_new(harness.loop, harness_work, NULL, &harness.worker, &err) == 0);
    cr_assert(loop_timer_new(harness.loop, fake_work, NULL, &fake.timer, &err) == 0);
    cr_assert(pthread_create(&harness.thread, NULL, harness_main, NULL) == 0);
}

static inline void front_harness_stop(void)
{
    harness_command(COMMAND_STOP);
    pthread_join(harness.thread, NULL);
    loop_wake_free(harness.wake);
    loop_timer_free(harness.worker);
    server_free(harness.server);
    loop_timer_free(fake.timer);
    loop_free(harness.loop);
    fd_replace(&fake.stdin_reader, -1);
    unlink(harness.path);
    rmdir(harness.directory);
    char spool[SPEC_PATH_MAX + 32];
    snprintf(spool, sizeof spool, "%s/" SERVE_SPOOL_DIR, fake_config.state_dir);
    cr_expect(rmdir(spool) == 0 && rmdir(fake_config.state_dir) == 0, "something was left");
    policy_free(fake_ceiling);
    fake_ceiling = NULL;
    memset(&harness, 0, sizeof harness);
}

/* One request on its own connection; the whole answer. `body` NULL: none. */
static inline const char *front_ask(const char *method, const char *path, const char *headers,
                                    const char *body)
{
    static char answer[1 << 20];
    _cleanup_buf_ struct buf request = {0};
    buf_printf(&request, "%s %s HTTP/1.1\r\nHost: b\r\nConnection: close\r\n%s", method, path,
               headers);
    if (body)
        buf_printf(&request, "Content-Length: %zu\r\n", strlen(body));
    buf_printf(&request, "\r\n%s", body ? body : "");
    _cleanup_fd_ int fd = client_connect();
    client_send(fd, request.data, request.length);
    client_read(fd, answer, sizeof answer, NULL, CLIENT_WAIT_MS);
    return answer;
}

/* The same over TCP, with this token (NULL: none), until the head is there, or all of it. */
static inline const char *front_ask_tcp(const char *token, const char *method, const char *path,
                                        const char *body, bool whole)
{
    static char answer[1 << 20];
    _cleanup_buf_ struct buf request = {0};
    buf_printf(&request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n", method,
               path);
    if (token)
        buf_printf(&request, "Authorization: Bearer %s\r\n", token);
    if (body)
        buf_printf(&request, "Content-Length: %zu\r\n", strlen(body));
    buf_printf(&request, "\r\n%s", body ? body : "");
    _cleanup_fd_ int fd = client_connect_tcp();
    client_send(fd, request.data, request.length);
    client_read(fd, answer, sizeof answer, whole ? NULL : "\r\n\r\n", CLIENT_WAIT_MS);
    return answer;
}
