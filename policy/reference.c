/* This file writes the JSON Schema and the reference page from the schema table; it knows no key by
 * itself.
 */
#include "policy/model.h"

#include "runtime/base/units.h"
#include "runtime/capability_names.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ---- JSON Schema, draft 2020-12 -----------------------------------------------------------------
 */

#define LABEL        "[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
#define HOST_PATTERN "\"^(\\\\*\\\\." LABEL "\\\\.)?" LABEL "(\\\\." LABEL ")*\\\\.?$\""

static const char size_pattern[] = "^[0-9]+(\\\\.[0-9]+)?(B|[KMGT]i?B)$|^[0-9]+$";
static const char duration_pattern[] = "^[0-9]+(\\\\.[0-9]+)?(ms|s|m|h|d)$|^[0-9]+$";

static void integer_type(const struct schema_row *row, struct buf *out)
{
    buf_printf(out, "{\"type\": \"integer\", \"minimum\": %" PRIu64 ", \"maximum\": %" PRIu64 "}",
               row->min, row->max);
}

static void number_type(const struct schema_row *row, struct buf *out)
{
    buf_puts(out, "\"anyOf\": [");
    if (row->type == TYPE_CPUS)
        buf_printf(out, "{\"type\": \"number\", \"minimum\": 0.%03u, \"maximum\": %" PRIu64 "}",
                   (unsigned)row->min, row->max / 1000);
    else
        integer_type(row, out);
    if (row->type == TYPE_SIZE || row->type == TYPE_DURATION)
        buf_printf(out, ", {\"type\": \"string\", \"pattern\": \"%s\"}",
                   row->type == TYPE_SIZE ? size_pattern : duration_pattern);
    if (row->type == TYPE_USER)
        buf_puts(out, ", {\"enum\": [\"user\", \"root\"]}");
    if (row->unlimited)
        buf_puts(out, ", {\"const\": \"unlimited\"}");
    buf_putc(out, ']');
}

static void choices_type(const struct schema_row *row, struct buf *out)
{
    buf_puts(out, "\"enum\": [");
    for (const struct schema_choice *c = row->choices; c->name; c++)
        buf_printf(out, "%s\"%s\"", c == row->choices ? "" : ", ", c->name);
    buf_putc(out, ']');
}

static void list_type(const struct schema_row *row, const char *items, struct buf *out)
{
    buf_printf(
        out, "\"type\": \"array\", \"uniqueItems\": true, \"maxItems\": %" PRIu64 ", \"items\": %s",
        row->max, items);
}

static void capabilities_type(const struct schema_row *row, struct buf *out)
{
    static const char *const names[] = {
#define X(symbol, name, version) name,
        CAPABILITIES(X)
#undef X
    };
    _cleanup_buf_ struct buf items = {0};
    buf_puts(&items, "{\"enum\": [");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        buf_printf(&items, "%s\"%s\"", i ? ", " : "", names[i]);
    buf_puts(&items, "]}");
    out->failed |= items.failed;
    list_type(row, buf_text(&items), out);
}

static void type_schema(const struct schema_row *row, struct buf *out)
{
    switch (row->type) {
    case TYPE_VERSION:
        buf_puts(out, "\"const\": 1");
        return;
    case TYPE_BASE:
        buf_puts(out, "\"type\": \"string\", \"minLength\": 1, \"pattern\": \"^[^/~]\"");
        return;
    case TYPE_BOOLEAN:
        buf_puts(out, "\"type\": \"boolean\"");
        return;
    case TYPE_ENUM:
        choices_type(row, out);
        return;
    case TYPE_IMAGE:
        buf_puts(out, "\"type\": \"string\", \"pattern\": "
                      "\"^(dir:/.+|[A-Za-z0-9][A-Za-z0-9_.-]{0,63})$\"");
        return;
    case TYPE_MOUNTS:
        list_type(row, "{\"anyOf\": [{\"$ref\": \"#/$defs/path\"}, {\"$ref\": \"#/$defs/mount\"}]}",
                  out);
        return;
    case TYPE_PROTECT:
        list_type(row, "{\"type\": \"string\", \"pattern\": \"^(~/)?[^/~*?][^*?]*$\"}", out);
        return;
    case TYPE_RULES:
        list_type(row, "{\"$ref\": \"#/$defs/rule\"}", out);
        return;
    case TYPE_PORTS:
        list_type(
            row,
            "{\"anyOf\": [{\"type\": \"integer\", \"minimum\": 54, \"maximum\": 65535}, "
            "{\"type\": \"string\", \"pattern\": \"^(0|[1-9][0-9]{0,4}):[1-9][0-9]{1,4}$\"}]}",
            out);
        return;
    case TYPE_ENV:
        buf_printf(out,
                   "\"type\": \"object\", \"maxProperties\": %" PRIu64
                   ", \"propertyNames\": {\"pattern\": \"^[A-Za-z_][A-Za-z0-9_]*$\"}, "
                   "\"additionalProperties\": {\"type\": \"string\"}",
                   row->max);
        return;
    case TYPE_CALLS:
        list_type(row, "{\"type\": \"string\", \"pattern\": \"^[a-z0-9_]+$\"}", out);
        return;
    case TYPE_CAPABILITIES:
        capabilities_type(row, out);
        return;
    default:
        number_type(row, out);
    }
}

static void property(const struct schema_row *row, const char *indent, struct buf *out)
{
    buf_printf(out, "%s\"%s\": {\"description\": ", indent, schema_leaf(row));
    buf_json_string(out, row->help);
    buf_puts(out, ", ");
    type_schema(row, out);
    if (schema_is_list(row)) {
        /* What a list has by itself is what the preset says. */
    } else if (row->type == TYPE_BOOLEAN || row->type == TYPE_INTEGER ||
               row->type == TYPE_VERSION) {
        buf_printf(out, ", \"default\": %s%s%s",
                   strcmp(row->standard, "unlimited") == 0 ? "\"" : "", row->standard,
                   strcmp(row->standard, "unlimited") == 0 ? "\"" : "");
    } else {
        buf_printf(out, ", \"default\": \"%s\"", row->standard);
    }
    buf_printf(out, ", \"examples\": [%s]}", row->example);
}

static void properties(const char *section, const char *indent, struct buf *out)
{
    bool first = true;
    for (int i = 0; i < ROW_COUNT; i++) {
        if (!schema_in_section(&schema_rows[i], section))
            continue;
        buf_puts(out, first ? "\n" : ",\n");
        property(&schema_rows[i], indent, out);
        first = false;
    }
}

int policy_schema_json(struct buf *out)
{
    buf_puts(out, "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
                  "  \"title\": \"berth policy\",\n"
                  "  \"description\": \"For editors. The reader checks more than a schema can "
                  "say: berth policy check is the judge.\",\n"
                  "  \"type\": \"object\",\n  \"required\": [\"version\"],\n"
                  "  \"additionalProperties\": false,\n  \"properties\": {");
    properties("", "    ", out);
    for (const struct schema_section *s = schema_sections; s->name; s++) {
        buf_printf(out,
                   ",\n    \"%s\": {\n      \"description\": \"%s\",\n"
                   "      \"type\": \"object\",\n      \"additionalProperties\": false,\n"
                   "      \"properties\": {",
                   s->name, s->help);
        properties(s->name, "        ", out);
        buf_puts(out, "\n      }\n    }");
    }
    buf_puts(out, "\n  },\n  \"$defs\": {\n"
                  "    \"path\": {\"type\": \"string\", \"pattern\": \"^/[^/]\"},\n"
                  "    \"mount\": {\"type\": \"object\", \"required\": [\"source\"], "
                  "\"additionalProperties\": false, \"properties\": {\"source\": {\"$ref\": "
                  "\"#/$defs/path\"}, \"target\": {\"$ref\": \"#/$defs/path\"}}},\n"
                  "    \"port\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 65535},\n"
                  "    \"rule\": {\"type\": \"object\", \"additionalProperties\": false, "
                  "\"properties\": {\"host\": {\"type\": \"string\", \"maxLength\": 254, "
                  "\"pattern\": " HOST_PATTERN "}, \"cidr\": "
                  "{\"type\": \"string\", \"pattern\": \"/[0-9]+$\"}, \"ports\": {\"anyOf\": "
                  "[{\"const\": \"*\"}, {\"type\": \"array\", \"minItems\": 1, \"maxItems\": 16, "
                  "\"uniqueItems\": true, \"items\": {\"$ref\": \"#/$defs/port\"}}]}}, \"oneOf\": "
                  "[{\"required\": [\"host\"]}, {\"required\": [\"cidr\"]}]}\n  }\n}\n");
    return buf_failed(out) ? -ENOMEM : 0;
}

/* References begin at the whole document's top, and "$schema" stands there only. */
int policy_schema_part(const char *place, struct buf *out)
{
    static const char mark[] = "\"#/$defs/";
    _cleanup_buf_ struct buf whole = {0};
    int r = policy_schema_json(&whole);
    if (r < 0)
        return r;
    const char *at = strstr(buf_text(&whole), "  \"title\"");
    if (!at)
        return -EINVAL;
    buf_puts(out, "{\n");
    for (const char *next; (next = strstr(at, mark)); at = next + sizeof mark - 1) {
        buf_add(out, at, (size_t)(next - at));
        buf_printf(out, "\"%s/$defs/", place);
    }
    size_t rest = strlen(at);
    while (rest > 0 && at[rest - 1] == '\n')
        rest--;
    buf_add(out, at, rest);
    return buf_failed(out) ? -ENOMEM : 0;
}

/* ---- reference page ---- */

static const char *const within_words[WITHIN_COUNT] = {
    [WITHIN_META] = "not compared",
    [WITHIN_FREE] = "any value is within a ceiling",
    [WITHIN_AT_MOST] = "at most the ceiling's; `unlimited` is the most",
    [WITHIN_RANK] = "the ceiling's or one that stands before it",
    [WITHIN_FALSE] = "`true` only where the ceiling says `true`",
    [WITHIN_SAME] = "the same as the ceiling's",
    [WITHIN_USER] = "`root` only where the ceiling says `root`",
    [WITHIN_READS] = "each source lies at or beneath one of the ceiling's `read_only` or "
                     "`read_write`",
    [WITHIN_WRITES] = "each source lies at or beneath one of the ceiling's `read_write`",
    [WITHIN_KEEPS] = "has every entry of the ceiling's, or one that contains it",
    [WITHIN_RULES] = "each rule is covered by one of the ceiling's, port by port; a name also by "
                     "the ceiling's `egress`",
    [WITHIN_DENIES] = "denies what the ceiling denies, as far as `egress` and `allow` could reach "
                      "it",
    [WITHIN_SUBSET] = "only entries that the ceiling has",
};

static const char *const merge_words[] = {
    [MERGE_NONE] = "belongs to one file",
    [MERGE_REPLACE] = "a later value replaces",
    [MERGE_ADD] = "entries of a file and of flags add",
    [MERGE_BY_NAME] = "a later value of the same name replaces, others add",
};

static void reference_row(const struct schema_row *row, struct buf *out)
{
    char allowed[320];
    schema_allowed(row, allowed, sizeof allowed);
    buf_printf(out, "### `%s`\n\n%s\n\n", row->key, row->help);
    buf_printf(out, "- Allowed: %s.\n", allowed);
    for (const struct schema_choice *c = row->choices; c && c->name; c++)
        buf_printf(out, "  - `%s`: %s.\n", c->name, c->help);
    if (schema_is_list(row))
        buf_printf(out, "- At most %" PRIu64 " %s.\n", row->max, row->unit);
    else
        buf_printf(out, "- Standard: `%s`.\n", row->standard);
    if (schema_is_list(row) && row->merge == MERGE_REPLACE)
        buf_puts(out, "- Merging: a file's list replaces; flags add.\n");
    else
        buf_printf(out, "- Merging: %s.\n", merge_words[row->merge]);
    buf_printf(out, "- Ceiling: %s.\n", within_words[row->within]);
    buf_printf(out, "- Example: `%s`\n\n", row->example);
}

static void reference_presets(struct buf *out)
{
    const char *const *names;
    policy_presets(&names);
    buf_puts(out, "## Presets\n\nEach line says why it is there.\n\n");
    for (; *names; names++)
        buf_printf(out, "### %s\n\n```jsonc\n%s```\n\n", *names, policy_preset_text(*names));
}

int policy_reference_markdown(struct buf *out)
{
    buf_puts(
        out,
        "# Policy files: reference\n\n"
        "<!-- Made from the schema table (policy/schema.c) and policy/presets. Don't edit. -->\n\n"
        "A policy is JSON with comments, in a `.json` or `.jsonc` file of at most 1 MiB. It is "
        "read "
        "strictly: an unknown or repeated key, a wrong type or unit, text after the end are errors "
        "with a place, and an invalid file never falls back to a default. The workspace is not "
        "part "
        "of it: it is chosen when a session is made.\n\n"
        "**Authorship.** What `extends` names comes first, then the file, then flags; the later "
        "overrides, and lists follow the merging line of their key. **Authority.** A ceiling is a "
        "policy too: what goes beyond it is refused with both places named, and nothing is cut "
        "down. `berth policy explain FILE` shows each value with the line that it comes from.\n\n"
        "Sizes: a whole number of bytes, or a number with B, KiB, MiB, GiB, TiB, KB, MB, GB, TB. "
        "Durations: a whole number of milliseconds, or a number with ms, s, m, h, d.\n\n"
        "**What protection does not do.** A protected path needs its parent to exist: "
        "`.git/hooks/` "
        "in a directory without `.git` is reported as not protected, because `git init` must work. "
        "In `balanced`, `.git/config` can be written, because `git config` and `git remote add` "
        "must work; a value there can name a program that git on the host runs. Look at it before "
        "using git on the host after running hostile code, or use `locked-down`. Where `.git` is a "
        "file, and `.git/commondir`, tell git to look for config and hooks elsewhere: with "
        "anything beneath `.git/` they are protected where they exist; missing, they cannot be "
        "held, because git reads whatever has these names, and you are told at the end if one "
        "appeared. A repository in a directory below, which the session can make, has config and "
        "hooks of its own making. What "
        "holds a missing path is a socket that nobody listens on (an empty directory where the "
        "filesystem has no sockets or hard links): git neither lists, adds nor cleans it.\n\n");
    buf_puts(out, "## Keys\n\n");
    for (int i = 0; i < ROW_COUNT; i++)
        if (schema_in_section(&schema_rows[i], "") && i != ROW_REQUIRES)
            reference_row(&schema_rows[i], out);
    for (const struct schema_section *s = schema_sections; s->name; s++) {
        buf_printf(out, "## %s\n\n%s\n\n", s->name, s->help);
        for (int i = 0; i < ROW_COUNT; i++)
            if (schema_in_section(&schema_rows[i], s->name))
                reference_row(&schema_rows[i], out);
    }
    buf_puts(out, "## requires\n\n");
    reference_row(&schema_rows[ROW_REQUIRES], out);
    reference_presets(out);
    return buf_failed(out) ? -ENOMEM : 0;
}
