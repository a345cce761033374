/* This file reads words and options of the verbs over a `berth serve`, and makes their calls; it
 * never knows a verb. */
#include "api/cli/verb.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct cli_option shared[] = {
    {"workspace-id", "ID", "Whose sessions. Default: local.", VERB_OPT_WORKSPACE_ID, 'w'},
    {"host", "unix:PATH", "Which berth serve. Default: BERTH_HOST, the system's, your own.",
     VERB_OPT_HOST, 0},
    {"json", NULL, "Print the document of the API.", VERB_OPT_JSON, 0},
    {"quiet", NULL, "Say nothing but errors.", VERB_OPT_QUIET, 'q'},
    {"help", NULL, "Show this help.", VERB_OPT_HELP, 'h'},
};

static size_t all_options(const struct verb_spec *spec, struct cli_option all[VERB_OPTIONS_MAX])
{
    size_t count = spec->option_count;
    if (count > 0)
        memcpy(all, spec->options, count * sizeof *all);
    memcpy(all + count, shared, sizeof shared);
    return count + ARRAY_LENGTH(shared);
}

void verb_help(const struct verb_spec *spec, struct buf *out)
{
    struct cli_option all[VERB_OPTIONS_MAX];
    size_t count = all_options(spec, all);
    cli_option_help(out, spec->example, spec->usage, spec->text, all, count);
}

static int usage(const struct verb_spec *spec, const char *word, struct err *err)
{
    return err_set(err, ERR_USAGE, 0, spec->name, word, "Write: %s. `berth %s --help` shows more.",
                   spec->usage, spec->name);
}

int verb_check_id(const char *what, const char *id, struct err *err)
{
    if (id_valid(id))
        return 0;
    return err_set(err, ERR_INVALID_REQUEST, 0, what, id,
                   "An id is 1 to 64 letters, digits, \"_\", \".\" or \"-\", begins with a letter "
                   "or digit and has no \"..\".");
}

static int take_shared(struct verb *verb, const struct cli_option *option, const char *value)
{
    switch (option->id) {
    case VERB_OPT_WORKSPACE_ID:
        verb->workspace_id = value;
        return 0;
    case VERB_OPT_HOST:
        verb->host = value;
        return 0;
    case VERB_OPT_JSON:
        verb->json = true;
        return 0;
    case VERB_OPT_QUIET:
        verb->quiet = true;
        return 0;
    default:
        return VERB_HELP;
    }
}

static int check_words(const struct verb *verb, struct err *err)
{
    const struct verb_spec *spec = verb->spec;
    if (verb->word_count < spec->words_min)
        return usage(spec, "something is missing", err);
    if (spec->command && !verb->command[0])
        return usage(spec, "no command", err);
    int r = verb_check_id("--workspace-id", verb->workspace_id, err);
    for (unsigned i = 0; r == 0 && i < verb->word_count; i++)
        if (spec->ids >> i & 1)
            r = verb_check_id(spec->name, verb->word[i], err);
    return r;
}

enum { WORD_OPTION = 10, WORD_DASHES };

/* 0: a word is next. WORD_OPTION: an option was read. WORD_DASHES: "--". VERB_HELP. */
static int next_option(struct verb *verb, struct cli_cursor *cursor, const struct cli_option *all,
                       size_t count, verb_take *take, void *own, struct err *err)
{
    const struct cli_option *option;
    const char *value;
    int before = cursor->at;
    int r = cli_option_next(cursor, all, count, &option, &value, err);
    if (r < 0)
        return r;
    if (r == CLI_OPTION_WORDS)
        return cursor->at == before ? 0 : WORD_DASHES;
    r = option->id >= VERB_OPT_WORKSPACE_ID ? take_shared(verb, option, value)
                                            : take(own, option, value, err);
    return r == 0 ? WORD_OPTION : r;
}

int verb_parse(struct verb *verb, const struct verb_spec *spec, int argc, char **argv,
               verb_take *take, void *own, struct err *err)
{
    struct cli_option all[VERB_OPTIONS_MAX];
    size_t count = all_options(spec, all);
    struct cli_cursor cursor = {.argc = argc, .at = 1, .argv = argv};
    bool only_words = false;
    *verb = (struct verb){.spec = spec, .workspace_id = "local", .command = argv + argc};
    while (cursor.at < argc) {
        int r = only_words ? 0 : next_option(verb, &cursor, all, count, take, own, err);
        if (r < 0 || r == VERB_HELP)
            return r;
        if (r == WORD_OPTION)
            continue;
        only_words |= r == WORD_DASHES;
        if (spec->command && (r == WORD_DASHES || verb->word_count == spec->words_max)) {
            verb->command = argv + cursor.at;
            break;
        }
        if (r == WORD_DASHES)
            continue;
        if (verb->word_count == spec->words_max)
            return usage(spec, argv[cursor.at], err);
        verb->word[verb->word_count++] = argv[cursor.at++];
    }
    return check_words(verb, err);
}

bool verb_begin(struct verb *verb, const struct verb_spec *spec, int argc, char **argv,
                verb_take *take, void *own, int *ret_status)
{
    struct err err;
    int r = verb_parse(verb, spec, argc, argv, take, own, &err);
    if (r == VERB_HELP) {
        _cleanup_buf_ struct buf out = {0};
        verb_help(spec, &out);
        *ret_status = cli_print(STDOUT_FILENO, &out);
        return false;
    }
    if (r == 0)
        r = client_new(&verb->client, verb->host, &err);
    if (r < 0)
        *ret_status = cli_fail_json(&err, verb->json);
    return r == 0;
}

void verb_end(struct verb *verb)
{
    client_free(verb->client);
    verb->client = NULL;
}

/* ---- groups ---------------------------------------------------------------------------------- */

static int group_help(const struct verb_group *group, int fd)
{
    _cleanup_buf_ struct buf out = {0};
    buf_printf(&out, "%s\nUsage:    berth %s VERB [options] [words]\n\n%s\n\nVerbs:\n",
               group->example, group->name, group->text);
    for (size_t i = 0; i < ARRAY_LENGTH(group->verbs) && group->verbs[i].name; i++)
        buf_printf(&out, "  %-12s %s\n", group->verbs[i].name, group->verbs[i].help);
    buf_printf(&out, "\n`berth %s VERB --help` shows the options of a verb.\n", group->name);
    return cli_print(fd, &out);
}

static int group_unknown(const struct verb_group *group, size_t count, const char *word)
{
    struct err err;
    const char *near = word ? cli_suggest(word, group->verbs, count, sizeof group->verbs[0]) : NULL;
    err_set(&err, ERR_USAGE, 0, word ? "there is no such verb" : "which verb?", word,
            "%s%s%s`berth %s --help` lists the verbs.", near ? "Did you mean \"" : "",
            near ? near : "", near ? "\"? " : "", group->name);
    return cli_fail(&err);
}

int verb_group_run(const struct verb_group *group, int argc, char **argv)
{
    struct cli_cursor cursor = {.argc = argc, .at = 1, .argv = argv};
    size_t count = 0;
    while (count < ARRAY_LENGTH(group->verbs) && group->verbs[count].name)
        count++;
    for (;;) {
        const struct cli_option *option;
        const char *value;
        struct err err;
        int r = cli_option_next(&cursor, shared, ARRAY_LENGTH(shared), &option, &value, &err);
        if (r < 0)
            return cli_fail(&err);
        if (r == CLI_OPTION_WORDS)
            break;
        if (option->id == VERB_OPT_HELP && cursor.at >= argc)
            return group_help(group, STDOUT_FILENO);
    }
    if (cursor.at >= argc)
        return group_unknown(group, count, NULL);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(group->verbs[i].name, argv[cursor.at]) != 0)
            continue;
        /* The verb's name changes places with the options before it. */
        char *name = argv[cursor.at];
        memmove(argv + 2, argv + 1, (size_t)(cursor.at - 1) * sizeof *argv);
        argv[1] = name;
        return group->verbs[i].run(argc - 1, argv + 1);
    }
    return group_unknown(group, count, argv[cursor.at]);
}

/* ---- calls ----------------------------------------------------------------------------------- */

void verb_path(const struct verb *verb, const char *what, struct buf *out)
{
    buf_printf(out, "/v1/workspaces/%s/%s", verb->workspace_id, what);
}

void verb_session_path(const struct verb *verb, const char *what, struct buf *out)
{
    buf_printf(out, "/v1/workspaces/%s/sessions/%s%s", verb->workspace_id, verb->word[0], what);
}

int verb_fail(const struct verb *verb, const struct err *err)
{
    const char *problem = client_problem(verb->client);
    if (!verb->json || problem[0] != '{')
        return cli_fail_json(err, verb->json);
    cli_fail(err);
    _cleanup_buf_ struct buf out = {0};
    buf_puts(&out, problem);
    if (problem[strlen(problem) - 1] != '\n')
        buf_putc(&out, '\n');
    (void)io_write_full(STDERR_FILENO, buf_text(&out), out.length);
    return CLI_EXIT_BERTH;
}

int verb_try(struct verb *verb, const char *method, const char *path, const char *body,
             struct client_answer *ret, struct err *err)
{
    char key[CLIENT_KEY_SIZE];
    struct client_request request = {.method = method, .path = path, .body = body};
    bool keyed = strcmp(method, "POST") == 0 || (strcmp(method, "PUT") == 0 && body);
    if (keyed && !verb->keyless) {
        int r = client_key(key, err);
        if (r < 0)
            return r;
        request.key = key;
    }
    return client_call(verb->client, &request, ret, err);
}

int verb_call(struct verb *verb, const char *method, const char *path, const char *body,
              struct client_answer *ret)
{
    struct err err;
    int r = verb_try(verb, method, path, body, ret, &err);
    return r < 0 ? verb_fail(verb, &err) : 0;
}

int verb_print_document(const struct buf *document)
{
    _cleanup_buf_ struct buf out = {0};
    buf_add(&out, buf_text(document), document->length);
    if (out.length == 0 || out.data[out.length - 1] != '\n')
        buf_putc(&out, '\n');
    return cli_print(STDOUT_FILENO, &out);
}

/* ---- documents ------------------------------------------------------------------------------- */

int verb_read(struct arena *arena, const struct buf *document, const struct json_node **ret)
{
    struct json_error error;
    const struct json_node *root = NULL;
    struct err err;
    int r = json_parse(arena, buf_text(document), document->length, CLIENT_DOCUMENT_MAX, false,
                       &root, &error);
    if (r == 0 && root->kind == JSON_OBJECT) {
        *ret = root;
        return 0;
    }
    err_set(&err, ERR_INTERNAL, 0, "read the answer", NULL,
            "It is not the document that it should "
            "be: %s",
            r < 0 ? error.message : "no object.");
    return cli_fail(&err);
}

const char *verb_text(const struct json_node *object, const char *key)
{
    const struct json_node *node = json_member(object, key);
    return node && node->kind == JSON_STRING ? node->text : "";
}

bool verb_number(const struct json_node *object, const char *key, uint64_t *ret)
{
    const struct json_node *node = json_member(object, key);
    if (!node || node->kind != JSON_NUMBER || !node->integer || (node->negative && node->magnitude))
        return false;
    *ret = node->magnitude;
    return true;
}

void verb_value(struct buf *out, const struct json_node *object, const char *key)
{
    const struct json_node *node = json_member(object, key);
    if (!node || node->kind == JSON_NULL)
        buf_putc(out, '-');
    else if (node->kind == JSON_BOOLEAN)
        buf_puts(out, node->boolean ? "yes" : "no");
    else if (node->kind == JSON_STRING || node->kind == JSON_NUMBER)
        table_clean(out, node->text, node->length);
    else
        buf_printf(out, "(%u)", node->count);
}

static int sextet(char c)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(letters, c) : NULL;
    return at ? (int)(at - letters) : -1;
}

static int decode(struct buf *out, const char *text, size_t length)
{
    if (length % 4)
        return -EPROTO;
    for (size_t i = 0; i < length; i += 4) {
        bool last = i + 4 == length;
        unsigned pad = !last || text[i + 3] != '=' ? 0 : text[i + 2] == '=' ? 2 : 1;
        uint32_t bits = 0;
        for (unsigned k = 0; k < 4; k++) {
            int value = k >= 4 - pad ? 0 : sextet(text[i + k]);
            if (value < 0)
                return -EPROTO;
            bits = bits << 6 | (uint32_t)value;
        }
        const char bytes[3] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
        buf_add(out, bytes, 3 - pad);
    }
    return 0;
}

int verb_bytes(struct buf *out, const struct json_node *object, const char *key)
{
    char encoded[64];
    const struct json_node *node = json_member(object, key);
    if (node && node->kind == JSON_STRING) {
        buf_add(out, node->text, node->length);
        return 0;
    }
    snprintf(encoded, sizeof encoded, "%s_base64", key);
    node = json_member(object, encoded);
    return node && node->kind == JSON_STRING ? decode(out, node->text, node->length) : -EPROTO;
}
