/* This file tests that the schema table, the reader, flags, `show`, the ceiling, the JSON Schema
 * and the reference page agree, row by row.
 */
#include "policy/model.h"
#include "policy/policy.h"

#include "runtime/base/io.h"
#include "tests/unit/policy_text.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct buf schema_text, reference_text;

static void make_texts(void)
{
    cr_assert(policy_schema_json(&schema_text) == 0);
    cr_assert(policy_reference_markdown(&reference_text) == 0);
}

static void drop_texts(void)
{
    buf_fini(&schema_text);
    buf_fini(&reference_text);
}

TestSuite(schema, .init = make_texts, .fini = drop_texts);

/* A file that says this one key. */
static char *file_with(const struct schema_row *row, const char *json)
{
    char *text = NULL;
    const char *dot = strchr(row->key, '.');
    const char *version = row->type == TYPE_VERSION ? "" : "\"version\": 1, ";
    int n = dot ? asprintf(&text, "{%s\"%.*s\": {\"%s\": %s}}", version, (int)(dot - row->key),
                           row->key, dot + 1, json)
                : asprintf(&text, "{%s\"%s\": %s}", version, row->key, json);
    cr_assert(n > 0);
    return text;
}

Test(schema, every_row_is_complete)
{
    for (int i = 0; i < ROW_COUNT; i++) {
        const struct schema_row *row = &schema_rows[i];
        cr_assert(row->key && row->help && row->example && row->unit && row->field, "row %d", i);
        cr_expect(row->type > 0 && row->type < TYPE_COUNT, "%s", row->key);
        cr_expect(row->within > 0 && row->within < WITHIN_COUNT, "%s", row->key);
        cr_expect(row->merge >= MERGE_NONE && row->merge <= MERGE_BY_NAME, "%s", row->key);
        cr_expect((row->type == TYPE_ENUM) == (row->choices != NULL), "%s", row->key);
        cr_expect(schema_is_list(row) == (row->standard == NULL), "%s", row->key);
        cr_expect(row->min <= row->max, "%s", row->key);
        cr_expect(!row->unlimited || row->min > 0, "%s: 0 stands for unlimited", row->key);
        cr_expect(row->offset + row->width <= sizeof(struct spec), "%s", row->key);
        cr_expect(strlen(row->help) > 20 && row->help[strlen(row->help) - 1] == '.', "%s",
                  row->key);
        cr_expect(schema_find(row->key) == i, "%s is there twice", row->key);
        const char *dot = strchr(row->key, '.');
        bool known = !dot;
        for (const struct schema_section *s = schema_sections; s->name; s++)
            known |= schema_in_section(row, s->name);
        cr_expect(known, "%s is in no section", row->key);
    }
}

Test(schema, every_example_and_standard_is_read_and_shown_again)
{
    for (int i = 0; i < ROW_COUNT; i++) {
        const struct schema_row *row = &schema_rows[i];
        char *text = file_with(row, row->example);
        struct policy *policy = load(text);
        struct buf shown = {0};
        cr_assert(policy_show(policy, true, true, &shown) == 0);
        if (row->within != WITHIN_META) {
            struct buf value = {0};
            value_print_json(row, &policy->values[i], &value);
            cr_expect(policy->values[i].origin.kind == ORIGIN_FILE, "%s", row->key);
            cr_expect(strstr(shown.data, buf_text(&value)), "%s", row->key);
            buf_fini(&value);
        }
        struct policy *again = load("{\"version\": 1}");
        cr_expect(row->standard == NULL || row->within == WITHIN_META ||
                      again->values[i].number == policy->values[i].number || row->example[0],
                  "%s", row->key);
        policy_free(again);
        policy_free(policy);
        buf_fini(&shown);
        free(text);
    }
}

/* What a flag would say for the row's example. */
static const char *const flag_values[ROW_COUNT] = {
    [ROW_IMAGE] = "dir:/srv/debian12",
    [ROW_READ_ONLY] = "/opt/toolchain",
    [ROW_READ_WRITE] = "/srv/cache",
    [ROW_PROTECT] = "deploy.sh",
    [ROW_SCRATCH] = "3GiB",
    [ROW_SCRATCH_INODES] = "1000",
    [ROW_EGRESS] = "allow",
    [ROW_SNI] = "off",
    [ROW_ALLOW] = "a.example.org:8080",
    [ROW_DENY] = "10.0.0.0/8",
    [ROW_ALLOW_PRIVATE] = "true",
    [ROW_PUBLISH] = "8080",
    [ROW_USER] = "root",
    [ROW_ENV] = "A=b=c",
    [ROW_SECCOMP] = "debug",
    [ROW_SECCOMP_ALLOW] = "userfaultfd",
    [ROW_EXPLAIN_SYSCALLS] = "true",
    [ROW_MEMORY] = "5GiB",
    [ROW_CPUS] = "1.25",
    [ROW_PIDS] = "99",
    [ROW_OPEN_FILES] = "99",
    [ROW_EXEC_TIMEOUT] = "9s",
    [ROW_OUTPUT] = "9MiB",
    [ROW_REQUIRES] = "gpu",
};

Test(schema, every_row_has_a_flag_that_sets_it_and_is_told_as_its_origin)
{
    for (int i = 0; i < ROW_COUNT; i++) {
        const struct schema_row *row = &schema_rows[i];
        struct policy *policy = load("{\"version\": 1}");
        struct err err = {0};
        if (row->within == WITHIN_META) {
            cr_expect(policy_set(policy, row->key, "1", "--x", &err) < 0);
            policy_free(policy);
            continue;
        }
        cr_assert(flag_values[i], "%s", row->key);
        cr_assert(policy_set(policy, row->key, flag_values[i], "--x", &err) == 0, "%s: %s",
                  row->key, err.detail);
        struct buf value = {0};
        value_print(row, &policy->values[i], &value);
        cr_expect(strstr(value.data, flag_values[i]), "%s is %s", row->key, value.data);
        const struct policy_origin *origin =
            schema_is_list(row) ? &policy->values[i].last->origin : &policy->values[i].origin;
        cr_expect(origin->kind == ORIGIN_FLAG && strcmp(origin->name, "--x") == 0);
        buf_fini(&value);
        policy_free(policy);
    }
}

/* Each set value changes the spec: no key is read and then forgotten. */
Test(schema, every_row_reaches_the_spec)
{
    static struct spec plain, changed;
    for (int i = 0; i < ROW_COUNT; i++) {
        if (schema_rows[i].within == WITHIN_META)
            continue;
        /* With nothing that may be reached, how it is reached would mean nothing. */
        struct policy *policy = load(i == ROW_SNI || i == ROW_ALLOW_PRIVATE
                                         ? "{\"version\": 1, \"network\": {\"egress\": \"allow\"}}"
                                         : "{\"version\": 1}");
        struct err err = {0};
        spec_init(&plain);
        spec_init(&changed);
        cr_assert(policy_compile(policy, &plain, &err) == 0);
        cr_assert(policy_set(policy, schema_rows[i].key, flag_values[i], "--x", &err) == 0);
        cr_assert(policy_compile(policy, &changed, &err) == 0);
        cr_expect(memcmp(&plain, &changed, sizeof plain) != 0, "%s", schema_rows[i].key);
        cr_expect((changed.limits.asked & schema_rows[i].asked) == schema_rows[i].asked, "%s",
                  schema_rows[i].key);
        cr_expect(plain.limits.asked == 0);
        policy_free(policy);
    }
}

Test(schema, every_numeric_row_keeps_its_bounds)
{
    for (int i = 0; i < ROW_COUNT; i++) {
        const struct schema_row *row = &schema_rows[i];
        bool number = row->type == TYPE_SIZE || row->type == TYPE_DURATION ||
                      row->type == TYPE_INTEGER || row->type == TYPE_USER;
        if (!number)
            continue;
        const uint64_t tries[] = {row->min - 1, row->min, row->max, row->max + 1};
        for (int k = 0; k < 4; k++) {
            char json[32];
            struct policy *policy = NULL;
            struct err err = {0};
            if (k == 0 && row->min == 0)
                continue;
            snprintf(json, sizeof json, "%llu", (unsigned long long)tries[k]);
            char *text = file_with(row, json);
            int r = policy_load_text(&policy, "t", text, strlen(text), &err);
            cr_expect((r == 0) == (k == 1 || k == 2), "%s = %s", row->key, json);
            cr_expect(r == 0 || strstr(err.detail, "Allowed: "), "%s", err.detail);
            policy_free(policy);
            free(text);
        }
    }
}

Test(schema, every_row_is_in_the_json_schema_and_on_the_reference_page)
{
    for (int i = 0; i < ROW_COUNT; i++) {
        char wanted[128];
        snprintf(wanted, sizeof wanted, "\"%s\": {\"description\": ", schema_leaf(&schema_rows[i]));
        cr_expect(strstr(schema_text.data, wanted), "%s", schema_rows[i].key);
        snprintf(wanted, sizeof wanted, "### `%s`\n", schema_rows[i].key);
        cr_expect(strstr(reference_text.data, wanted), "%s", schema_rows[i].key);
        for (const struct schema_choice *c = schema_rows[i].choices; c && c->name; c++) {
            snprintf(wanted, sizeof wanted, "\"%s\"", c->name);
            cr_expect(strstr(schema_text.data, wanted), "%s", c->name);
        }
    }
}

Test(schema, the_json_schema_is_json_that_our_own_reader_takes)
{
    _cleanup_arena_ struct arena arena = {0};
    const struct json_node *root;
    struct json_error error = {0};
    int r = json_parse(&arena, schema_text.data, schema_text.length, 1 << 20, false, &root, &error);
    cr_assert(r == 0, "%u:%u %s", error.at.line, error.at.column, error.message);
    const struct json_node *properties = json_member(root, "properties");
    /* Top-level rows and sections, and nothing else. */
    unsigned wanted = 0;
    for (int i = 0; i < ROW_COUNT; i++)
        wanted += schema_in_section(&schema_rows[i], "");
    for (const struct schema_section *s = schema_sections; s->name; s++) {
        const struct json_node *section = json_member(properties, s->name);
        cr_assert(section);
        wanted++;
        unsigned keys = 0;
        for (int i = 0; i < ROW_COUNT; i++)
            keys += schema_in_section(&schema_rows[i], s->name);
        cr_expect(json_member(section, "properties")->count == keys, "%s", s->name);
        cr_expect(!json_member(section, "additionalProperties")->boolean);
    }
    cr_expect(properties->count == wanted);
}

static void expect_file(const char *path, const char *text)
{
    char *data = NULL;
    size_t length;
    int r = io_read_file(AT_FDCWD, path, 1 << 20, &data, &length);
    cr_assert(r == 0, "%s: %s", path, strerror(-r));
    cr_expect(strcmp(data, text) == 0, "%s is not up to date: make policy-docs", path);
    free(data);
}

Test(schema, the_generated_documents_in_the_tree_are_up_to_date)
{
    expect_file("docs/policy.schema.json", schema_text.data);
    expect_file("docs/policy-reference.md", reference_text.data);
}

Test(schema, the_presets_in_the_program_are_those_of_the_tree)
{
    const char *const *names;
    policy_presets(&names);
    for (; *names; names++) {
        char path[128];
        snprintf(path, sizeof path, "policy/presets/%s.jsonc", *names);
        expect_file(path, policy_preset_text(*names));
    }
}

Test(schema, every_entry_of_a_preset_has_a_reason_above_it)
{
    const char *const *names;
    policy_presets(&names);
    for (; *names; names++) {
        bool reason = false;
        char *text = strdup(policy_preset_text(*names)), *rest = text, *line;
        while ((line = strsep(&rest, "\n"))) {
            line += strspn(line, " ");
            bool section = strstr(line, "\": {") && !strstr(line, "\": {}");
            /* Entries of one group share a reason; a blank line ends the group. */
            if (line[0] == '/')
                reason = true;
            else if (!*line)
                reason = false;
            else if (line[0] == '"' && !section && !strstr(line, "\"version\""))
                cr_expect(reason, "%s: %s", *names, line);
        }
        free(text);
    }
}

Test(schema, the_standards_are_those_of_balanced)
{
    struct policy *balanced = NULL, *standard = NULL;
    struct err err = {0};
    cr_assert(policy_new(&balanced, "balanced", &err) == 0 &&
              policy_new(&standard, NULL, &err) == 0);
    for (int i = 0; i < ROW_COUNT; i++) {
        struct buf one = {0}, other = {0};
        if (schema_rows[i].within == WITHIN_META || i == ROW_PROTECT)
            continue;
        cr_expect(balanced->values[i].origin.kind == ORIGIN_PRESET, "balanced leaves %s out",
                  schema_rows[i].key);
        value_print(&schema_rows[i], &balanced->values[i], &one);
        value_print(&schema_rows[i], &standard->values[i], &other);
        cr_expect_str_eq(one.data, other.data, "%s", schema_rows[i].key);
        buf_fini(&one);
        buf_fini(&other);
    }
    policy_free(balanced);
    policy_free(standard);
}

Test(schema, locked_down_is_within_balanced_and_open_is_not)
{
    struct policy *locked = NULL, *balanced = NULL, *open = NULL;
    struct err err = {0};
    cr_assert(policy_new(&locked, "locked-down", &err) == 0 &&
              policy_new(&balanced, "balanced", &err) == 0 && policy_new(&open, "open", &err) == 0);
    cr_expect(policy_within(locked, balanced, &err) == 0, "%s %s", err.subject, err.detail);
    cr_expect(policy_within(balanced, open, &err) == 0, "%s %s", err.subject, err.detail);
    cr_expect(policy_within(open, balanced, &err) < 0);
    cr_expect(err.code == ERR_POLICY_REJECTED);
    policy_free(locked);
    policy_free(balanced);
    policy_free(open);
}
