/* This file reads policy files and presets and lays them over what they extend; it never judges a
 * value (value.c) nor a ceiling (within.c).
 *
 * A chain of `extends` is read from the top down into layers, then laid from the bottom up:
 * standards of the schema, presets, files. An error anywhere leaves nothing: an invalid file never
 * falls back to a default (POL-1).
 */
#include "policy/model.h"
#include "policy/suggest.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct layer {
    struct policy_origin origin; /* kind and name */
    dev_t device;                /* of a file, to find a cycle */
    ino_t inode;
    struct policy_value values[ROW_COUNT];
};

/* What is to be read next. */
struct source {
    const char *name; /* preset, or path as it is shown */
    const char *text; /* owned when `data` */
    size_t length;
    char *data;
    const struct json_node *node; /* read already, by who has the whole body; else NULL */
    struct stat status;
    enum origin_kind kind;
};

static void source_fini(struct source *source)
{
    free(source->data);
}
#define _cleanup_source_ __attribute__((cleanup(source_fini)))

static int fail_memory(struct err *err)
{
    return err_set(err, ERR_INTERNAL, ENOMEM, "policy", NULL, NULL);
}

/* ---- one document ------------------------------------------------------------------------------
 */

/* The name that was probably meant, among the keys of one section; else a key of that name in
 * another section. */
static const char *nearest_key(const char *section, const char *key)
{
    const char *names[ROW_COUNT + 8];
    size_t count = 0;
    for (int i = 0; i < ROW_COUNT; i++)
        if (schema_in_section(&schema_rows[i], section))
            names[count++] = schema_leaf(&schema_rows[i]);
    for (const struct schema_section *s = schema_sections; !*section && s->name; s++)
        names[count++] = s->name;
    const char *near = suggest_nearest(key, names, count);
    if (near)
        return near;
    for (int i = 0; i < ROW_COUNT; i++)
        names[i] = schema_leaf(&schema_rows[i]);
    near = suggest_nearest(key, names, ROW_COUNT);
    for (int i = 0; i < ROW_COUNT && near; i++)
        if (names[i] == near)
            return schema_rows[i].key;
    return NULL;
}

static int fail_unknown(struct policy_origin origin, const struct json_node *member,
                        const char *section, struct err *err)
{
    char path[JSON_PATH_MAX];
    snprintf(path, sizeof path, "%s%s%.100s", section, *section ? "." : "", member->key);
    origin.at = member->key_at;
    if (!*section && strcmp(member->key, "workspace") == 0)
        return policy_fail(err, &origin, path,
                           "The workspace is not part of a policy: it is chosen when a session is "
                           "made (--workspace).");
    _cleanup_buf_ struct buf allowed = {0};
    for (int i = 0; i < ROW_COUNT; i++)
        if (schema_in_section(&schema_rows[i], section))
            buf_printf(&allowed, "%s%s", allowed.length ? ", " : "", schema_leaf(&schema_rows[i]));
    for (const struct schema_section *s = schema_sections; !*section && s->name; s++)
        buf_printf(&allowed, ", %s", s->name);
    const char *near = nearest_key(section, member->key);
    return policy_fail(err, &origin, path, "There is no such key.%s%s%s The keys %s%s are: %s.",
                       near ? " Did you mean \"" : "", near ? near : "", near ? "\"?" : "",
                       *section ? "of " : "here", section, buf_text(&allowed));
}

static int read_member(struct arena *arena, struct layer *layer, const char *section,
                       const struct json_node *member, struct err *err)
{
    char key[128];
    if ((size_t)snprintf(key, sizeof key, "%s%s%s", section, *section ? "." : "", member->key) >=
        sizeof key)
        return fail_unknown(layer->origin, member, section, err);
    int id = strchr(member->key, '.') ? -1 : schema_find(key);
    if (id < 0)
        return fail_unknown(layer->origin, member, section, err);
    struct value_error error = {0};
    int r = value_from_json(arena, &schema_rows[id], member, &layer->origin, &layer->values[id],
                            &error);
    if (r == -ENOMEM)
        return fail_memory(err);
    if (r < 0) {
        struct policy_origin at = layer->origin;
        at.at = error.at;
        return policy_fail(err, &at, error.path, "%s", error.why);
    }
    return 0;
}

static const struct schema_section *find_section(const char *name)
{
    for (const struct schema_section *s = schema_sections; s->name; s++)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

static int read_section(struct arena *arena, struct layer *layer, const struct json_node *node,
                        struct err *err)
{
    if (node->kind != JSON_OBJECT) {
        struct policy_origin at = layer->origin;
        at.at = node->at;
        return policy_fail(err, &at, node->key, "This is %s. Allowed: an object with keys.",
                           json_kind_name(node->kind));
    }
    for (const struct json_node *m = node->first; m; m = m->next) {
        int r = read_member(arena, layer, node->key, m, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_document(struct arena *arena, struct layer *layer, const struct json_node *root,
                         struct err *err)
{
    struct policy_origin at = layer->origin;
    at.at = root->at;
    if (root->kind != JSON_OBJECT)
        return policy_fail(err, &at, NULL, "A policy is an object { … }, and this is %s.",
                           json_kind_name(root->kind));
    for (const struct json_node *m = root->first; m; m = m->next) {
        int r = find_section(m->key) ? read_section(arena, layer, m, err)
                                     : read_member(arena, layer, "", m, err);
        if (r < 0)
            return r;
    }
    if (!layer->values[ROW_VERSION].set)
        return policy_fail(err, &at, "version",
                           "The version is missing. Add \"version\": 1 as the first key.");
    return 0;
}

static int read_layer(struct arena *arena, struct layer *layer, const struct source *source,
                      struct err *err)
{
    _cleanup_arena_ struct arena tree = {0};
    struct json_error error = {0};
    const struct json_node *root;
    char *name = source->name ? arena_copy(arena, source->name, strlen(source->name)) : NULL;
    if (!name)
        return fail_memory(err);
    layer->origin = (struct policy_origin){.kind = source->kind, .name = name};
    layer->device = source->status.st_dev;
    layer->inode = source->status.st_ino;
    if (source->node)
        return read_document(arena, layer, source->node, err);
    int r = json_parse(&tree, source->text, source->length, POLICY_FILE_MAX, true, &root, &error);
    if (r == -ENOMEM)
        return fail_memory(err);
    if (r < 0) {
        struct policy_origin at = layer->origin;
        at.at = error.at;
        return policy_fail(err, &at, error.path, "%s", error.message);
    }
    return read_document(arena, layer, root, err);
}

/* ---- where it comes from ------------------------------------------------------------------------
 */

static int fail_file(struct err *err, const char *path, int sys, const char *why)
{
    return err_set(err, sys == ENOENT ? ERR_NOT_FOUND : ERR_INVALID_REQUEST, sys, "policy", path,
                   "%s", why);
}

static int read_regular_file(const char *path, struct source *source, struct err *err)
{
    /* O_NONBLOCK: a FIFO must not stop us before it is refused. */
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &source->status) < 0)
        return fail_file(err, path, errno, "The policy file can't be read.");
    if (!S_ISREG(source->status.st_mode))
        return fail_file(err, path, 0,
                         "This is not a regular file. A policy is read from a file "
                         "only.");
    if (source->status.st_size > POLICY_FILE_MAX)
        return err_set(err, ERR_TOO_LARGE, 0, "policy", path,
                       "The file has %lld bytes; a policy has at most %d.",
                       (long long)source->status.st_size, POLICY_FILE_MAX);
    /* One more than allowed: a file that grows is refused by the reader, not cut. */
    source->data = malloc(POLICY_FILE_MAX + 1);
    if (!source->data)
        return fail_memory(err);
    ssize_t n = io_read_full(fd, source->data, POLICY_FILE_MAX + 1);
    if (n < 0)
        return fail_file(err, path, (int)-n, "The policy file can't be read.");
    source->text = source->data;
    source->length = (size_t)n;
    source->kind = ORIGIN_FILE;
    source->name = path;
    return 0;
}

static bool is_path(const char *text)
{
    size_t n = strlen(text);
    return strchr(text, '/') || (n > 5 && strcmp(text + n - 5, ".json") == 0) ||
           (n > 6 && strcmp(text + n - 6, ".jsonc") == 0);
}

static bool find_preset(const char *name, struct source *source)
{
    const char *text = policy_preset_text(name);
    if (!text)
        return false;
    *source =
        (struct source){.name = name, .text = text, .length = strlen(text), .kind = ORIGIN_PRESET};
    return true;
}

static const char *nearest_preset(const char *name)
{
    const char *const *names;
    size_t count = 0;
    policy_presets(&names);
    while (names[count])
        count++;
    return suggest_nearest(name, names, count);
}

/* What the layer says it extends: NULL when it stands alone. */
static const char *base_of(const struct layer *layer)
{
    if (layer->values[ROW_EXTENDS].set)
        return layer->values[ROW_EXTENDS].text;
    return layer->origin.kind == ORIGIN_PRESET ? NULL : schema_rows[ROW_EXTENDS].standard;
}

static int open_base(struct arena *arena, const struct layer *layer, bool files,
                     struct source *source, struct err *err)
{
    const char *base = base_of(layer);
    const struct policy_origin *at = &layer->values[ROW_EXTENDS].origin;
    if (find_preset(base, source))
        return 0;
    if (!is_path(base) || layer->origin.kind == ORIGIN_PRESET) {
        const char *near = nearest_preset(base);
        return policy_fail(err, at, "extends",
                           "\"%.100s\" is not a preset (locked-down, balanced, open).%s%s%s The "
                           "path of a file has a \"/\" or ends in \".jsonc\".",
                           base, near ? " Did you mean \"" : "", near ? near : "",
                           near ? "\"?" : "");
    }
    if (!files)
        return policy_fail(
            err, at, "extends",
            "Only a preset can be extended here (locked-down, balanced, open), not a "
            "file.");
    const char *slash = strrchr(layer->origin.name, '/');
    char *path = arena_printf(arena, "%.*s%s", slash ? (int)(slash + 1 - layer->origin.name) : 0,
                              layer->origin.name, base);
    if (!path)
        return fail_memory(err);
    int r = read_regular_file(path, source, err);
    if (r < 0) {
        _cleanup_buf_ struct buf where = {0};
        origin_print(at, &where);
        err_add(err, "It is extended at %s.", buf_text(&where));
    }
    return r;
}

static int check_cycle(const struct layer *layers, unsigned count, const struct source *source,
                       struct err *err)
{
    for (unsigned i = 0; i < count && source->kind == ORIGIN_FILE; i++)
        if (layers[i].origin.kind == ORIGIN_FILE && layers[i].inode == source->status.st_ino &&
            layers[i].device == source->status.st_dev && layers[i].inode != 0)
            return policy_fail(err, &layers[count - 1].values[ROW_EXTENDS].origin, "extends",
                               "\"%.200s\" extends itself, by way of %u files.", source->name,
                               count - i);
    if (count == POLICY_EXTENDS_MAX)
        return policy_fail(err, &layers[count - 1].values[ROW_EXTENDS].origin, "extends",
                           "More than %d policies extend each other.", POLICY_EXTENDS_MAX);
    return 0;
}

static int set_standards(struct policy *policy, struct err *err)
{
    const struct policy_origin standard = {.kind = ORIGIN_STANDARD, .name = ""};
    for (int i = 0; i < ROW_COUNT; i++) {
        struct value_error error = {0};
        policy->values[i].origin = standard;
        if (!schema_rows[i].standard)
            continue;
        int r = value_from_text(&policy->arena, &schema_rows[i], schema_rows[i].standard, &standard,
                                &policy->values[i], &error);
        if (r < 0)
            return err_set(err, ERR_INTERNAL, -r, "policy", schema_rows[i].key, "%s", error.why);
    }
    return 0;
}

/* Reads the chain that begins with `source`, which is taken over. */
static int load_chain(struct policy *policy, struct source *first, bool files, struct err *err)
{
    _cleanup_free_ struct layer *layers = calloc(POLICY_EXTENDS_MAX, sizeof *layers);
    if (!layers)
        return fail_memory(err);
    unsigned count = 0;
    int r = read_layer(&policy->arena, &layers[count++], first, err);
    while (r == 0 && base_of(&layers[count - 1])) {
        _cleanup_source_ struct source base = {0};
        r = open_base(&policy->arena, &layers[count - 1], files, &base, err);
        if (r == 0)
            r = check_cycle(layers, count, &base, err);
        if (r == 0)
            r = read_layer(&policy->arena, &layers[count++], &base, err);
    }
    while (r == 0 && count-- > 0)
        for (int i = 0; i < ROW_COUNT && r == 0; i++)
            if (layers[count].values[i].set)
                r = policy_merge(policy, (enum schema_row_id)i, &layers[count].values[i], false,
                                 err);
    return r < 0 ? r : policy_check(policy, err);
}

static void policy_freep(struct policy **policy)
{
    policy_free(*policy);
}

static int new_from(struct policy **ret, struct source *source, bool files, struct err *err)
{
    __attribute__((cleanup(policy_freep))) struct policy *policy = calloc(1, sizeof *policy);
    if (!policy)
        return fail_memory(err);
    int r = set_standards(policy, err);
    if (r == 0 && source)
        r = load_chain(policy, source, files, err);
    if (r < 0)
        return r;
    *ret = take_ptr(&policy);
    return 0;
}

void policy_free(struct policy *policy)
{
    if (!policy)
        return;
    arena_fini(&policy->arena);
    free(policy);
}

static int fail_preset(struct err *err, const char *name)
{
    const char *near = nearest_preset(name);
    return err_set(err, ERR_NOT_FOUND, 0, "policy", name,
                   "There is no preset and no file of this name.%s%s%s The presets are "
                   "locked-down, balanced and open.",
                   near ? " Did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

int policy_new(struct policy **ret, const char *preset, struct err *err)
{
    struct source source = {0};
    if (preset && !find_preset(preset, &source))
        return fail_preset(err, preset);
    return new_from(ret, preset ? &source : NULL, false, err);
}

int policy_load_file(struct policy **ret, const char *path_or_preset, struct err *err)
{
    _cleanup_source_ struct source source = {0};
    if (!*path_or_preset)
        return err_set(err, ERR_INVALID_REQUEST, 0, "policy", NULL, "The name is empty.");
    if (!find_preset(path_or_preset, &source)) {
        int r = read_regular_file(path_or_preset, &source, err);
        if (r == -ENOENT && !is_path(path_or_preset))
            return fail_preset(err, path_or_preset);
        if (r < 0)
            return r;
    }
    return new_from(ret, &source, true, err);
}

int policy_load_text(struct policy **ret, const char *name, const char *text, size_t length,
                     struct err *err)
{
    struct source source = {.name = name, .text = text, .length = length, .kind = ORIGIN_FILE};
    return new_from(ret, &source, false, err);
}

/* ---- a request's body --------------------------------------------------------------------------
 */

/* The policy that a body names, or holds. */
static int find_named(const struct json_node *named, struct source *source, struct err *err)
{
    const struct policy_origin at = {
        .kind = ORIGIN_FILE, .name = POLICY_BODY_NAME, .at = named->at};
    *source = (struct source){.name = POLICY_BODY_NAME, .node = named, .kind = ORIGIN_FILE};
    if (named->kind == JSON_OBJECT ||
        (named->kind == JSON_STRING && find_preset(named->text, source)))
        return 0;
    const char *near = named->kind == JSON_STRING ? nearest_preset(named->text) : NULL;
    return policy_fail(err, &at, "policy",
                       "A body names a preset (locked-down, balanced, open) or holds a policy; a "
                       "file's name means nothing here.%s%s%s",
                       near ? " Did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static int read_body(struct arena *arena, struct layer *layer, const struct json_node *body,
                     struct err *err)
{
    int r = 0;
    for (const struct json_node *m = body->first; m && r == 0; m = m->next) {
        struct value_error error = {0};
        int row = strcmp(m->key, "image") == 0      ? ROW_IMAGE
                  : strcmp(m->key, "requires") == 0 ? ROW_REQUIRES
                                                    : -1;
        if (row < 0) {
            r = find_section(m->key) ? read_section(arena, layer, m, err) : 0;
            continue;
        }
        struct policy_origin at = layer->origin;
        at.at = m->at;
        r = value_from_json(arena, &schema_rows[row], m, &layer->origin, &layer->values[row],
                            &error);
        at.at = error.at;
        if (r == -ENOMEM)
            return fail_memory(err);
        if (r < 0)
            return policy_fail(err, &at, error.path, "%s", error.why);
        const struct json_node *section = json_member(body, "filesystem");
        if (row == ROW_IMAGE && section && json_member(section, "image"))
            return policy_fail(err, &at, m->key, "The image is in `filesystem` too. Say it once.");
    }
    return r;
}

int policy_load_body(struct policy **ret, const struct json_node *body, struct err *err)
{
    return policy_load_body_on(ret, body, NULL, NULL, err);
}

int policy_load_body_on(struct policy **ret, const struct json_node *body, const char *name,
                        const char *text, struct err *err)
{
    __attribute__((cleanup(policy_freep))) struct policy *policy = NULL;
    _cleanup_free_ struct layer *own = calloc(1, sizeof *own);
    struct source source = {0};
    const struct json_node *named = json_member(body, "policy");
    if (!own)
        return fail_memory(err);
    own->origin = (struct policy_origin){.kind = ORIGIN_FILE, .name = POLICY_BODY_NAME};
    int r = 0;
    if (named)
        r = find_named(named, &source, err);
    else if (text)
        source = (struct source){
            .name = name, .text = text, .length = strlen(text), .kind = ORIGIN_FILE};
    else
        find_preset(schema_rows[ROW_EXTENDS].standard, &source);
    if (r == 0)
        r = new_from(&policy, &source, false, err);
    if (r == 0)
        r = read_body(&policy->arena, own, body, err);
    for (int i = 0; i < ROW_COUNT && r == 0; i++)
        if (own->values[i].set)
            r = policy_merge(policy, (enum schema_row_id)i, &own->values[i], false, err);
    if (r == 0)
        r = policy_check(policy, err);
    if (r < 0)
        return r;
    *ret = take_ptr(&policy);
    return 0;
}

int policy_set(struct policy *policy, const char *key, const char *value, const char *origin,
               struct err *err)
{
    int id = schema_find(key);
    if (id < 0 || schema_rows[id].within == WITHIN_META)
        return err_set(err, ERR_INVALID_REQUEST, 0, "policy", key,
                       "No flag sets this key: it is not one of the schema's.");
    char *name = arena_copy(&policy->arena, origin, strlen(origin));
    if (!name)
        return fail_memory(err);
    const struct policy_origin from = {.kind = ORIGIN_FLAG, .name = name};
    struct policy_value layer, before = policy->values[id];
    struct value_error error = {0};
    int r = value_from_text(&policy->arena, &schema_rows[id], value, &from, &layer, &error);
    if (r == -ENOMEM)
        return fail_memory(err);
    if (r < 0)
        return policy_fail(err, &from, key, "%s", error.why);
    r = policy_merge(policy, (enum schema_row_id)id, &layer, true, err);
    if (r == 0)
        r = policy_check(policy, err);
    if (r < 0)
        policy->values[id] = before;
    return r;
}
