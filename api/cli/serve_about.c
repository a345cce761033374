/* This file says what the configuration is: in force, as a JSON Schema and as a reference page, all
 * from the table of keys; it never reads one.
 */
#include "api/cli/serve_keys.h"

void serve_config_show(const struct serve_plan *plan, struct buf *out)
{
    for (unsigned i = 0; i < SERVE_KEY_COUNT; i++) {
        buf_printf(out, "  %-24s ", serve_keys[i].name);
        serve_keys[i].show(plan, out);
        buf_putc(out, '\n');
    }
}

void serve_config_schema(struct buf *out)
{
    buf_puts(out, "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
                  "  \"title\": \"berth configuration\",\n  \"type\": \"object\",\n"
                  "  \"additionalProperties\": false,\n  \"properties\": {\n");
    for (unsigned i = 0; i < SERVE_KEY_COUNT; i++) {
        const struct serve_key *key = &serve_keys[i];
        buf_printf(out, "    \"%s\": {\n      \"description\": ", key->name);
        buf_json_string(out, key->help);
        /* The members of its own schema stand beside. */
        buf_printf(out, ",\n      %.*s\n    }%s\n", (int)__builtin_strlen(key->schema) - 2,
                   key->schema + 1, i + 1 < SERVE_KEY_COUNT ? "," : "");
    }
    buf_puts(out, "  }\n}\n");
}

void serve_config_reference(struct buf *out)
{
    buf_puts(
        out,
        "# Configuration: reference\n\n"
        "<!-- Made from the table of keys (api/cli/serve_keys.c). Don't edit. -->\n\n"
        "`berth serve` reads `--config FILE`; else, as root, `/etc/berth/berth.jsonc`, and as "
        "anybody else `$XDG_CONFIG_HOME/berth/berth.jsonc` (`~/.config/berth/berth.jsonc`), "
        "where it is there. It is JSON with comments of at most 1 MiB, read strictly: an "
        "unknown or repeated key, a wrong type or a value out of range stops the start, with "
        "file, line and column. It must belong to root or to who starts berth, and be writable "
        "by nobody else.\n\n"
        "`berth serve --check-config` says what it comes to and starts nothing. SIGHUP reads it "
        "again. A file that is wrong then changes nothing, and the log says why; what is right "
        "is in force at once, but for the keys that say *at the next start* below. The log, "
        "and `config` of `GET /v1/health`, name those that wait.\n\n"
        "## Keys\n");
    for (unsigned i = 0; i < SERVE_KEY_COUNT; i++) {
        const struct serve_key *key = &serve_keys[i];
        buf_printf(out,
                   "\n### `%s`\n\n%s\n\n- Allowed: %s.\n- Standard: `%s`.\n- In force: %s.\n"
                   "- Example: `\"%s\": %s`\n",
                   key->name, key->help, key->allowed, key->standard,
                   key->keep ? "at the next start" : "at once, when it is read again", key->name,
                   key->example);
    }
}
