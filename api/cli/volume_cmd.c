/* This file is `berth volume`: directories that outlive their sessions; it never looks into one. */
#include "api/cli/verb.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <string.h>

#define NAME_WORD .words_min = 1, .words_max = 1, .ids = 1

static const struct verb_spec create_spec = {
    .name = "volume create",
    .example = "Example:  berth volume create cache\n",
    .usage = "berth volume create NAME [options]",
    .text = "Makes an empty volume. A session that names one which does not exist makes it too.\n"
            "One that `berth run` has made is listed from then on, with what is in it.",
    NAME_WORD,
};
static const struct verb_spec list_spec = {
    .name = "volume list",
    .example = "Example:  berth volume list\n",
    .usage = "berth volume list [options]",
    .text = "Lists the volumes of a workspace id, with who uses them.",
};
static const struct verb_spec show_spec = {
    .name = "volume show",
    .example = "Example:  berth volume show cache\n",
    .usage = "berth volume show NAME [options]",
    .text = "Says what a volume is.",
    NAME_WORD,
};
static const struct verb_spec remove_spec = {
    .name = "volume remove",
    .example = "Example:  berth volume remove cache\n",
    .usage = "berth volume remove NAME [options]",
    .text = "Removes a volume with all that is in it. Refused while a session has it.",
    NAME_WORD,
};

static void named_path(const struct verb *verb, struct buf *out)
{
    verb_path(verb, "volumes/", out);
    buf_puts(out, verb->word[0]);
}

static void add_volume(struct table *table, const struct json_node *volume)
{
    _cleanup_buf_ struct buf time = {0};
    uint64_t bytes;
    char size[32] = "-";
    table_time(&time, verb_text(volume, "created_at"));
    if (verb_number(volume, "disk_bytes", &bytes))
        units_format_size(bytes, size, sizeof size);
    const char *user = verb_text(volume, "used_by");
    table_text(table, verb_text(volume, "name"));
    table_text(table, verb_text(volume, "owner"));
    table_text(table, size);
    table_text(table, user[0] ? user : "-");
    table_text(table, buf_text(&time));
}

static int print_volume(const struct verb *verb, const struct buf *document, bool whole)
{
    static const char *const lines[] = {"name", "owner", "created_at", "disk_bytes", "used_by"};
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf out = {0};
    const struct json_node *root;
    if (verb->json)
        return verb_print_document(document);
    int status = verb_read(&arena, document, &root);
    if (status)
        return status;
    if (!whole && !verb->quiet) {
        verb_value(&out, root, "name");
        buf_putc(&out, '\n');
    }
    for (size_t i = 0; whole && i < ARRAY_LENGTH(lines); i++) {
        buf_printf(&out, "%-12s ", lines[i]);
        verb_value(&out, root, lines[i]);
        buf_putc(&out, '\n');
    }
    return cli_print(STDOUT_FILENO, &out);
}

static int create(int argc, char **argv)
{
    _cleanup_verb_ struct verb verb;
    _cleanup_buf_ struct buf path = {0}, body = {0};
    struct client_answer answer = {0};
    int status;
    if (!verb_begin(&verb, &create_spec, argc, argv, NULL, NULL, &status))
        return status;
    verb_path(&verb, "volumes", &path);
    buf_printf(&body, "{\"name\": \"%s\"}", verb.word[0]);
    status = verb_call(&verb, "POST", buf_text(&path), buf_text(&body), &answer);
    if (status == 0)
        status = print_volume(&verb, &answer.document, false);
    buf_fini(&answer.document);
    return status;
}

static int list_one(struct verb *verb, void *data, const struct json_node *volume)
{
    (void)verb;
    add_volume(data, volume);
    return 0;
}

static int list(int argc, char **argv)
{
    static const char *const heads[] = {"VOLUME", "OWNER", ">DISK", "USED BY", "MADE (UTC)", NULL};
    _cleanup_verb_ struct verb verb;
    _cleanup_table_ struct table table;
    _cleanup_buf_ struct buf out = {0}, path = {0};
    int status;
    table_init(&table, heads);
    if (!verb_begin(&verb, &list_spec, argc, argv, NULL, NULL, &status))
        return status;
    verb_path(&verb, "volumes", &path);
    const struct verb_pages pages = {
        .member = "volumes", .as_it_is = verb.json, .each = list_one, .data = &table};
    status = verb_pages(&verb, buf_text(&path), &pages);
    if (status || verb.json)
        return status;
    table_print(&table, &out);
    return cli_print(STDOUT_FILENO, &out);
}

static int show(int argc, char **argv)
{
    _cleanup_verb_ struct verb verb;
    _cleanup_buf_ struct buf path = {0};
    struct client_answer answer = {0};
    int status;
    if (!verb_begin(&verb, &show_spec, argc, argv, NULL, NULL, &status))
        return status;
    named_path(&verb, &path);
    status = verb_call(&verb, "GET", buf_text(&path), NULL, &answer);
    if (status == 0)
        status = print_volume(&verb, &answer.document, true);
    buf_fini(&answer.document);
    return status;
}

static int remove_volume(int argc, char **argv)
{
    _cleanup_verb_ struct verb verb;
    _cleanup_buf_ struct buf path = {0};
    struct client_answer answer = {0};
    int status;
    if (!verb_begin(&verb, &remove_spec, argc, argv, NULL, NULL, &status))
        return status;
    named_path(&verb, &path);
    status = verb_call(&verb, "DELETE", buf_text(&path), NULL, &answer);
    if (status == 0 && verb.json)
        status = verb_print_document(&answer.document);
    buf_fini(&answer.document);
    return status;
}

static const struct verb_group group = {
    .name = "volume",
    .example = "Examples: berth volume create cache\n"
               "          berth session create build --workspace volume:cache\n",
    .text = "A volume is a directory that berth keeps; it outlives the sessions that use it.",
    .verbs =
        {
            {"create", create, "Make a volume."},
            {"list", list, "List volumes."},
            {"show", show, "Say what one is."},
            {"remove", remove_volume, "Remove one, with all that is in it."},
        },
};

int cli_volume(int argc, char **argv)
{
    return verb_group_run(&group, argc, argv);
}
