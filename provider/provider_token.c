/* This file keeps tokens (docs/adr/0015): made, listed, revoked, and told whose a text is. All of
 * them are in memory; the ledger has their hashes. It never keeps, writes or tells a token's text
 * but in the one answer that makes it.
 */
#include "provider/provider_internal.h"
#include "runtime/base/sha256.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
    LIVE_MAX = 1000,
    ALL_MAX = 4000,
    PAGE = 32,
    SECRET_BYTES = 32,
    LOOK_MOST_MS = 60 * 60 * 1000, /* a clock that is set forward is noticed by then */
};
static const int64_t kept_ms = 30 * 24 * 60 * 60 * 1000LL, used_every_ms = 10 * 60 * 1000LL;

/* What a token looks like. A client whose keys have a form of their own gets a row here. */
static const struct form {
    const char *prefix;
    size_t digits; /* hexadecimal, lower case */
} forms[] = {{"berth_", 2 * (size_t)SECRET_BYTES}};

enum { TEXT_SIZE = 8 + 2 * SECRET_BYTES + 1 };

struct token {
    struct token_row row; /* row.policy: its own memory, or NULL */
    char policy_hash[65];
    int64_t used_written_ms;
    bool over;      /* it was told that nobody may use it any more */
    bool unwritten; /* that it is revoked stands here alone */
};

struct tokens {
    struct provider *p;
    struct token **list;
    size_t count, capacity;
    struct loop_timer *timer; /* the next that expires */
};

/* ---- texts ----------------------------------------------------------------------------------- */

static bool has_form(const char *text, size_t length)
{
    for (size_t i = 0; i < ARRAY_LENGTH(forms); i++) {
        size_t n = strlen(forms[i].prefix);
        if (length != n + forms[i].digits || memcmp(text, forms[i].prefix, n) != 0)
            continue;
        size_t at = n;
        while (at < length &&
               ((text[at] >= '0' && text[at] <= '9') || (text[at] >= 'a' && text[at] <= 'f')))
            at++;
        if (at == length)
            return true;
    }
    return false;
}

/* In one time, wherever they differ. */
static bool same_hash(const char a[65], const char b[65])
{
    unsigned differ = 0;
    for (size_t i = 0; i < 64; i++)
        differ |= (unsigned)(unsigned char)a[i] ^ (unsigned char)b[i];
    return differ == 0;
}

static int make_text(char ret_text[TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char secret[SECRET_BYTES];
    ssize_t n = getrandom(secret, sizeof secret, 0);
    if (n != (ssize_t)sizeof secret)
        return n < 0 ? -errno : -EIO;
    char *at = ret_text + snprintf(ret_text, TEXT_SIZE, "%s", forms[0].prefix);
    for (size_t i = 0; i < sizeof secret; i++) {
        *at++ = digits[secret[i] >> 4];
        *at++ = digits[secret[i] & 15];
    }
    *at = 0;
    explicit_bzero(secret, sizeof secret);
    return 0;
}

bool provider_token_lists(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = words; *at;) {
        size_t m = strcspn(at, " ");
        if (m == n && memcmp(at, word, n) == 0)
            return true;
        at += m + (at[m] == ' ');
    }
    return false;
}

/* ---- who may ----------------------------------------------------------------------------------
 */

static bool is_over(const struct token *token, int64_t now)
{
    const struct token_row *row = &token->row;
    return token->over || row->revoked_ms > 0 || (row->expires_ms > 0 && row->expires_ms <= now);
}

/* For the next that was not ended yet, also when its time has come since it was looked at. */
static void set_timer(struct tokens *t)
{
    int64_t now = now_ms(), next = INT64_MAX;
    for (size_t i = 0; i < t->count; i++) {
        const struct token_row *row = &t->list[i]->row;
        if (row->expires_ms > 0 && row->revoked_ms == 0 && !t->list[i]->over &&
            row->expires_ms < next)
            next = row->expires_ms;
    }
    loop_timer_clear(t->timer);
    if (next < INT64_MAX)
        loop_timer_set(t->timer, next <= now                 ? 0
                                 : next - now < LOOK_MOST_MS ? (uint64_t)(next - now)
                                                             : (uint64_t)LOOK_MOST_MS);
}

static void end_token(struct tokens *t, struct token *token)
{
    const struct provider_options *options = &t->p->options;
    bool told = token->over;
    token->over = true;
    if (!told && options->token_over)
        options->token_over(options->data, token->row.id);
}

static void on_expiry(void *owner)
{
    struct tokens *t = owner;
    int64_t now = now_ms();
    for (size_t i = 0; i < t->count; i++)
        if (is_over(t->list[i], now))
            end_token(t, t->list[i]);
    set_timer(t);
}

static struct token *token_of(const struct provider *p, int64_t id)
{
    for (size_t i = 0; i < p->tokens->count; i++)
        if (p->tokens->list[i]->row.id == id)
            return p->tokens->list[i];
    return NULL;
}

struct used {
    struct work work; /* first */
    int64_t token, at_ms;
};

static void free_used(struct work *work)
{
    work_end(work);
    free(work);
}

static int used_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    const struct used *used = (struct used *)work;
    return ledger_token_used(tx, used->token, used->at_ms, err);
}

static void used_written(struct work *work)
{
    struct used *used = (struct used *)work;
    struct token *token = token_of(work->p, used->token);
    /* Not written: the next use in ten minutes tries again. Who decides nothing by it. */
    if (token && work->job.result == 0)
        token->row.used_ms = used->at_ms;
    free_used(work);
}

static void note_use(struct provider *p, struct token *token, int64_t now)
{
    if (now - token->used_written_ms < used_every_ms || p->closing)
        return;
    token->used_written_ms = now;
    struct used *used = calloc(1, sizeof *used);
    if (!used)
        return;
    used->token = token->row.id;
    used->at_ms = now;
    work_begin(&used->work, p, free_used);
    work_rest(&used->work, true); /* nobody waits for it */
    work_job(&used->work, LEDGER_OP_TOKEN_USED, used_apply, used_written);
}

int64_t provider_token_find(struct provider *p, const char *text, size_t length)
{
    char hash[65];
    struct token *found = NULL;
    if (!has_form(text, length))
        return 0;
    sha256_hex(text, length, hash);
    for (size_t i = 0; i < p->tokens->count; i++)
        if (same_hash(p->tokens->list[i]->row.hash, hash))
            found = p->tokens->list[i];
    int64_t now = now_ms();
    if (!found || is_over(found, now))
        return 0;
    note_use(p, found, now);
    return found->row.id;
}

bool provider_token_get(const struct provider *p, int64_t id, struct provider_token *ret)
{
    const struct token *token = token_of(p, id);
    if (!token)
        return false;
    *ret = (struct provider_token){.token_id = token->row.token_id,
                                   .workspaces = token->row.workspaces,
                                   .verbs = token->row.verbs,
                                   .policy = token->row.policy,
                                   .policy_hash = token->row.policy ? token->policy_hash : NULL,
                                   .over = is_over(token, now_ms())};
    return true;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int reserve(struct tokens *t)
{
    if (t->count < t->capacity)
        return 0;
    size_t capacity = t->capacity ? t->capacity * 2 : 16;
    struct token **list = reallocarray(t->list, capacity, sizeof *list);
    if (!list)
        return -ENOMEM;
    t->list = list;
    t->capacity = capacity;
    return 0;
}

static void token_free(struct token *token)
{
    if (token)
        free((char *)token->row.policy);
    free(token);
}

/* Of its own memory; "" is none. */
static int set_policy(struct token *token, const char *text)
{
    token->row.policy = text && *text ? strdup(text) : NULL;
    if (text && *text && !token->row.policy)
        return -ENOMEM;
    if (token->row.policy)
        sha256_hex(text, strlen(text), token->policy_hash);
    return 0;
}

struct page {
    int64_t after;
    size_t count;
    struct token_row rows[PAGE];
    struct buf policies[PAGE];
};

static void page_fini(struct page **page)
{
    for (size_t i = 0; *page && i < PAGE; i++)
        buf_fini(&(*page)->policies[i]);
    free(*page);
}

static int page_apply(struct ledger_tx *tx, void *data, struct err *err)
{
    struct page *page = data;
    int r = ledger_token_page_all(tx, page->after, page->rows, PAGE, &page->count, err);
    for (size_t i = 0; r == 0 && i < page->count; i++) {
        buf_fini(&page->policies[i]);
        r = ledger_token_policy(tx, page->rows[i].id, &page->policies[i], err);
    }
    return r;
}

static int add_rows(struct tokens *t, const struct page *page, struct err *err)
{
    for (size_t i = 0; i < page->count; i++) {
        struct token *token = reserve(t) == 0 ? calloc(1, sizeof *token) : NULL;
        if (token)
            token->row = page->rows[i];
        if (!token || set_policy(token, buf_text(&page->policies[i])) < 0) {
            token_free(token);
            return err_set(err, ERR_UNAVAILABLE, ENOMEM, "read the tokens", NULL, NULL);
        }
        token->used_written_ms = token->row.used_ms;
        t->list[t->count++] = token;
    }
    return 0;
}

int tokens_open(struct provider *p, struct err *err)
{
    struct tokens *t = p->tokens = calloc(1, sizeof *t);
    __attribute__((cleanup(page_fini))) struct page *page = calloc(1, sizeof *page);
    if (!t || !page)
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "read the tokens", NULL, NULL);
    t->p = p;
    int r = loop_timer_new(p->loop, on_expiry, t, &t->timer, err);
    for (page->count = PAGE; r == 0 && page->count == PAGE;) {
        struct ledger_job job = {.op = LEDGER_OP_READ, .apply = page_apply, .data = page};
        r = ledger_run(p->ledger, &job, err);
        if (r == 0)
            r = add_rows(t, page, err);
        if (r == 0 && page->count > 0)
            page->after = page->rows[page->count - 1].id;
    }
    if (r == 0)
        set_timer(t);
    return r;
}

void tokens_free(struct provider *p)
{
    struct tokens *t = p->tokens;
    if (!t)
        return;
    for (size_t i = 0; i < t->count; i++)
        token_free(t->list[i]);
    free(t->list);
    loop_timer_free(t->timer);
    free(t);
    p->tokens = NULL;
}

static void drop_older(struct tokens *t, int64_t before_ms)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->count; i++) {
        struct token *token = t->list[i];
        const struct token_row *row = &token->row;
        if (!token->unwritten && ((row->revoked_ms > 0 && row->revoked_ms <= before_ms) ||
                                  (row->expires_ms > 0 && row->expires_ms <= before_ms))) {
            end_token(t, token);
            token_free(token);
        } else {
            t->list[kept++] = token;
        }
    }
    t->count = kept;
}

/* ---- create ---------------------------------------------------------------------------------- */

struct token_call {
    struct call call; /* first */
    struct token *token;
    char text[TEXT_SIZE], token_id[LEDGER_ID_SIZE];
    int64_t before_ms, after, limit;
};

static void fini(struct call *call)
{
    struct token_call *own = (struct token_call *)call;
    explicit_bzero(own->text, sizeof own->text);
    token_free(own->token);
}

static void failed(struct token_call *own)
{
    call_fail(&own->call, &own->call.work.job.err, &(struct document_problem){.retry_after_s = 1});
    call_free(&own->call);
}

static int create_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct token_call *own = (struct token_call *)work;
    int r = ledger_token_purge(tx, own->before_ms, err);
    if (r == 0)
        r = ledger_token_insert(tx, &own->token->row, err);
    if (r == 0)
        r = ledger_audit_add(tx, own->call.workspace_id, own->call.who, "token_create",
                             own->token->row.token_id, "made", own->token->row.created_ms, err);
    return r;
}

static void created(struct work *work)
{
    struct token_call *own = (struct token_call *)work;
    struct tokens *t = work->p->tokens;
    struct buf document = {0};
    if (work->job.result > 0)
        err_set(&work->job.err, ERR_UNAVAILABLE, EEXIST, "make a token", NULL,
                "Its id was taken already. Try again.");
    if (work->job.result == 0 && reserve(t) < 0) {
        work->job.result = -ENOMEM;
        err_set(&work->job.err, ERR_UNAVAILABLE, ENOMEM, "make a token", own->token->row.token_id,
                "It is in the ledger, but its text is lost. Revoke it.");
    }
    if (work->job.result != 0) {
        failed(own);
        return;
    }
    drop_older(t, own->before_ms);
    document_token(&document, &own->token->row, own->text);
    buf_putc(&document, '\n');
    t->list[t->count++] = take_ptr(&own->token);
    set_timer(t);
    call_answer(&own->call, 201, &document);
    call_free(&own->call);
}

static void begin_create(struct call *call)
{
    struct token_call *own = (struct token_call *)call;
    const struct tokens *t = call->work.p->tokens;
    int64_t now = now_ms();
    size_t live = 0;
    for (size_t i = 0; i < t->count; i++)
        live += !is_over(t->list[i], now);
    if (live >= LIVE_MAX && call->refusal.code == ERR_NONE)
        err_set(&call->refusal, ERR_INVALID_STATE, 0, "make a token", NULL,
                "There are %d already. Revoke those that nobody needs.", LIVE_MAX);
    own->before_ms = t->count >= ALL_MAX ? now : now - kept_ms;
    if (call->refusal.code != ERR_NONE)
        call_refuse(call, &call->refusal, NULL);
    else
        work_job(&call->work, LEDGER_OP_TOKEN_CREATE, create_apply, created);
}

static int fill(struct token_call *own, const struct provider_token_new *asked, struct err *err)
{
    struct token_row *row = &own->token->row;
    int r = id_random("t-", row->token_id, sizeof row->token_id);
    if (r == 0)
        r = make_text(own->text);
    if (r < 0)
        return err_set(err, ERR_INTERNAL, -r, "make a token", NULL, NULL);
    if (set_policy(own->token, asked->policy) < 0)
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "make a token", NULL, NULL);
    sha256_hex(own->text, strlen(own->text), row->hash);
    row->created_ms = now_ms();
    row->expires_ms = asked->lives_ms ? row->created_ms + (int64_t)asked->lives_ms : 0;
    if (snprintf(row->name, sizeof row->name, "%s", asked->name ? asked->name : "") >=
            (int)sizeof row->name ||
        snprintf(row->workspaces, sizeof row->workspaces, "%s", asked->workspaces) >=
            (int)sizeof row->workspaces ||
        snprintf(row->verbs, sizeof row->verbs, "%s", asked->verbs) >= (int)sizeof row->verbs)
        return err_set(err, ERR_INVALID_REQUEST, E2BIG, "make a token", NULL,
                       "Its name, workspaces or verbs are too long.");
    return 0;
}

/* Audited under a workspace's id that is none: tokens are across workspaces. */
static struct token_call *new_call(struct provider *p, const struct provider_call *from,
                                   const char *what, void (*begin)(struct call *call))
{
    struct provider_call here = *from;
    here.workspace_id = "-";
    return call_new(p, &here, sizeof(struct token_call), what, begin, fini);
}

void provider_token_create(struct provider *p, const struct provider_call *from,
                           const struct provider_token_new *asked)
{
    struct token_call *own = new_call(p, from, "token_create", begin_create);
    if (!own)
        return;
    own->token = calloc(1, sizeof *own->token);
    if (!own->token)
        err_set(&own->call.refusal, ERR_UNAVAILABLE, ENOMEM, "make a token", NULL, NULL);
    else
        fill(own, asked, &own->call.refusal);
}

/* ---- list ------------------------------------------------------------------------------------ */

static void begin_list(struct call *call)
{
    const struct token_call *own = (struct token_call *)call;
    const struct tokens *t = call->work.p->tokens;
    struct buf document = {0};
    const struct token *last = NULL;
    int64_t left = own->limit;
    bool more = false, found = own->token_id[0] == 0;
    buf_puts(&document, "{\"tokens\":[");
    for (size_t i = 0; i < t->count && !more; i++) {
        const struct token *token = t->list[i];
        if (!found) {
            found = strcmp(token->row.token_id, own->token_id) == 0;
            continue;
        }
        more = left-- == 0;
        if (more)
            break;
        if (last)
            buf_putc(&document, ',');
        document_token(&document, &token->row, NULL);
        last = token;
    }
    buf_puts(&document, "],\"next\":");
    document_text(&document, more && last ? last->row.token_id : NULL);
    buf_puts(&document, "}\n");
    call_answer(call, 200, &document);
    call_free(call);
}

void provider_token_list(struct provider *p, const struct provider_call *from,
                         const struct provider_page *page)
{
    struct token_call *own = new_call(p, from, "", begin_list);
    if (!own)
        return;
    own->limit = page_limit(page->limit);
    snprintf(own->token_id, sizeof own->token_id, "%s", page->after ? page->after : "");
}

/* ---- revoke ---------------------------------------------------------------------------------- */

static struct token *token_named(const struct tokens *t, const char *token_id)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->list[i]->row.token_id, token_id) == 0)
            return t->list[i];
    return NULL;
}

static int revoke_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct token_call *own = (struct token_call *)work;
    int r = ledger_token_revoke(tx, own->after, own->before_ms, err);
    if (r == 0)
        r = ledger_audit_add(tx, own->call.workspace_id, own->call.who, "token_revoke",
                             own->token_id, "revoked", own->before_ms, err);
    return r;
}

static void revoked(struct work *work)
{
    struct token_call *own = (struct token_call *)work;
    struct token *token = token_of(work->p, own->after);
    struct buf document = {0};
    if (work->job.result < 0 || !token) {
        char why[sizeof work->job.err.detail];
        snprintf(why, sizeof why, "%s", work->job.err.detail);
        snprintf(work->job.err.detail, sizeof work->job.err.detail,
                 "The token is refused from now on, but that could not be written, and would not "
                 "outlive this process. Do it again. %.300s",
                 why);
        failed(own);
        return;
    }
    token->unwritten = false;
    document_token(&document, &token->row, NULL);
    buf_putc(&document, '\n');
    call_answer(&own->call, 200, &document);
    call_free(&own->call);
}

/* In memory first: what cannot be written holds all the same. */
static void begin_revoke(struct call *call)
{
    struct token_call *own = (struct token_call *)call;
    struct tokens *t = call->work.p->tokens;
    struct token *token = token_named(t, own->token_id);
    struct err err;
    if (!token) {
        err_set(&err, ERR_NOT_FOUND, ENOENT, "find the token", own->token_id,
                "There is no such token. `berth token list` shows their ids.");
        call_refuse(call, &err, NULL);
        return;
    }
    own->before_ms = now_ms();
    own->after = token->row.id;
    if (token->row.revoked_ms == 0) {
        token->row.revoked_ms = own->before_ms;
        token->unwritten = true;
    }
    end_token(t, token);
    set_timer(t);
    work_job(&call->work, LEDGER_OP_TOKEN_REVOKE, revoke_apply, revoked);
}

void provider_token_revoke(struct provider *p, const struct provider_call *from,
                           const char *token_id)
{
    /* Not after a recovery: whose token it is may be at work already. */
    struct token_call *own = new_call(p, from, NULL, begin_revoke);
    if (own)
        snprintf(own->token_id, sizeof own->token_id, "%s", token_id);
}
