/* This file is `berth capabilities` and `berth doctor`: what berth can guarantee here, why not, and
 * what to do. `capabilities` answers from the cache of an earlier start, `doctor` tries everything
 * anew. They change nothing on the host.
 *
 * runtime_open() changes this process for life (user namespace), and a failed one may leave it half
 * way: so the host's findings are taken after it only through its facts.
 */
#include "api/cli/cli.h"

#include "api/cli/doctor_host.h"
#include "policy/policy.h"
#include "provider/registry.h"
#include "runtime/base/fd.h"
#include "runtime/runtime.h"

#include <string.h>
#include <unistd.h>

enum { OPT_JSON, OPT_QUIET, OPT_HELP };
static const struct cli_option table[] = {
    {"json", NULL, "Print one JSON document.", OPT_JSON, 0},
    {"quiet", NULL, "Print nothing; the exit status is the answer.", OPT_QUIET, 'q'},
    {"help", NULL, "Show this help.", OPT_HELP, 'h'},
};
enum { TABLE_COUNT = sizeof table / sizeof table[0] };

struct view {
    bool json, quiet, help;
};

static struct capability_set the_set;
static struct spec default_spec;

static int parse(int argc, char **argv, struct view *ret, struct err *err)
{
    struct view view = {0};
    struct cli_cursor cursor = {.argc = argc, .at = 1, .argv = argv};
    for (;;) {
        const struct cli_option *option;
        const char *value;
        int r = cli_option_next(&cursor, table, TABLE_COUNT, &option, &value, err);
        if (r < 0)
            return r;
        if (r == CLI_OPTION_WORDS)
            break;
        view.json |= option->id == OPT_JSON;
        view.quiet |= option->id == OPT_QUIET;
        view.help |= option->id == OPT_HELP;
    }
    if (cursor.at < argc)
        return err_set(err, ERR_USAGE, 0, "unexpected word", argv[cursor.at],
                       "`berth %s` takes options only; --help lists them.", argv[0]);
    *ret = view;
    return 0;
}

static int help(const char *example, const char *usage, const char *text)
{
    _cleanup_buf_ struct buf out = {0};
    cli_option_help(&out, example, usage, text, table, TABLE_COUNT);
    return cli_print(STDOUT_FILENO, &out);
}

static void runtime_closep(struct runtime **rt)
{
    runtime_close(*rt);
}

/* `text` behind what is on the line already, in lines of 100 columns that begin at `column`. */
static void add_wrapped(struct buf *out, unsigned column, const char *text)
{
    enum { COLUMNS = 100 };
    unsigned at = column;
    while (*text) {
        unsigned length = (unsigned)strcspn(text, " ");
        if (at > column && at + 1 + length > COLUMNS) {
            buf_printf(out, "\n%*s", (int)column, "");
            at = column;
        } else if (at > column) {
            buf_putc(out, ' ');
            at++;
        }
        buf_add(out, text, length);
        at += length;
        text += length;
        text += strspn(text, " ");
    }
    buf_putc(out, '\n');
}

/* ---- capabilities ------------------------------------------------------------------------------
 */

static void list(struct buf *out, const struct capability_set *set)
{
    buf_puts(out, "Sessions share the host's kernel: isolation is a container's, not a virtual "
                  "machine's.\n\n");
    for (int c = 0; c < CAPABILITY_COUNT; c++) {
        const struct capability_status *s = &set->status[c];
        bool built = capability_version((enum capability)c) > 0;
        buf_printf(out, "%-5s  %-32s ", built && s->available ? "yes" : "no",
                   capability_name((enum capability)c));
        add_wrapped(out, 40,
                    !built         ? "not built in this release"
                    : s->available ? s->evidence
                                   : s->reason);
    }
}

int cli_capabilities(int argc, char **argv)
{
    struct view view;
    struct err err;
    if (parse(argc, argv, &view, &err) < 0)
        return cli_fail(&err);
    if (view.help)
        return help("Example:  berth capabilities --json", "berth capabilities [options]",
                    "Says what berth can guarantee on this host to you. Each answer comes from\n"
                    "doing it once (`berth doctor` does it again, and says what to do).");
    __attribute__((cleanup(runtime_closep))) struct runtime *rt = NULL;
    const struct runtime_options options = {0};
    struct err open_err;
    int r = runtime_open(&rt, &options, &open_err);
    r = r < 0 ? registry_refresh(NULL, &open_err, &the_set, &err)
              : registry_open(rt, NULL, &the_set, &err);
    if (r < 0)
        return cli_fail_json(&err, view.json);
    _cleanup_buf_ struct buf out = {0};
    if (view.json) {
        capability_document(&the_set, &out);
        buf_putc(&out, '\n');
    } else
        list(&out, &the_set);
    return view.quiet ? CLI_EXIT_OK : cli_print(STDOUT_FILENO, &out);
}

/* ---- doctor ------------------------------------------------------------------------------------
 */

static void policy_freep(struct policy **policy)
{
    policy_free(*policy);
}

/* Can a plain `berth run -- CMD` be served? 0 yes, 1 no with `ret_why` filled, <0 failed. `notes`
 * gets the defaults that it would run without. */
static int default_served(const struct capability_set *set, struct buf *notes, struct err *ret_why,
                          struct err *err)
{
    __attribute__((cleanup(policy_freep))) struct policy *policy = NULL;
    int r = policy_new(&policy, "balanced", err);
    if (r < 0)
        return r;
    spec_init(&default_spec);
    r = policy_compile(policy, &default_spec, err);
    if (r < 0)
        return r;
    default_spec.workspace.kind = SPEC_WORKSPACE_DIRECTORY;
    capability_drop_defaults(&default_spec, set, notes);
    return capability_check(&default_spec, set, NULL, ret_why) < 0;
}

/* `remedy` may have several lines: each is indented under its finding. */
static void add_remedy(struct buf *out, const char *remedy)
{
    for (const char *line = remedy; *line;) {
        size_t n = strcspn(line, "\n");
        buf_printf(out, "           %s%.*s\n", line == remedy ? "do: " : "    ", (int)n, line);
        line += n + (line[n] == '\n');
    }
}

static void print_table(struct buf *out, const struct capability_set *set,
                        const struct host_finding *findings)
{
    static const char *const states[] = {
        [HOST_FINE] = "fine", [HOST_LESS] = "less", [HOST_BAD] = "BAD"};
    buf_puts(out, "This host:\n");
    for (int i = 0; i < HOST_FINDINGS; i++) {
        if (!findings[i].text.length)
            continue;
        buf_printf(out, "  %-7s  %-18s ", states[findings[i].state], findings[i].name);
        add_wrapped(out, 30, buf_text(&findings[i].text));
        add_remedy(out, buf_text(&findings[i].remedy));
    }
    buf_puts(out, "\nEach thing, done once in a sandbox:\n");
    for (int c = 0; c < CAPABILITY_COUNT; c++) {
        const struct capability_status *s = &set->status[c];
        if (capability_version((enum capability)c) == 0)
            continue;
        buf_printf(out, "  %-7s  %-32s ", s->available ? "works" : "NOT",
                   capability_name((enum capability)c));
        add_wrapped(out, 44, s->available ? s->evidence : s->reason);
        if (!s->available)
            add_remedy(out, s->remedy);
    }
    _cleanup_buf_ struct buf missing = {0};
    for (int c = 0; c < CAPABILITY_COUNT; c++)
        if (capability_version((enum capability)c) == 0)
            buf_printf(&missing, "%s%s", missing.length ? " " : "",
                       capability_name((enum capability)c));
    buf_puts(out, "\nNot built in this release:\n  ");
    add_wrapped(out, 2, buf_text(&missing));
}

static void print_verdict(struct buf *out, bool served, const struct buf *notes,
                          const struct err *why)
{
    buf_puts(out, "\n");
    if (served) {
        buf_printf(out, "%s%sThe default policy (balanced) can be served.\n", buf_text(notes), "");
        return;
    }
    char text[2048];
    err_format(why, text, sizeof text);
    buf_printf(out, "The default policy (balanced) can NOT be served: %s\n", text);
}

static void add_json_text(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, ",\"%s\":", key);
    if (text[0])
        buf_json_string(out, text);
    else
        buf_puts(out, "null");
}

static void print_json(struct buf *out, const struct capability_set *set,
                       const struct host_finding *findings, bool served, const struct buf *notes,
                       const struct err *why)
{
    static const char *const states[] = {
        [HOST_FINE] = "fine", [HOST_LESS] = "less", [HOST_BAD] = "bad"};
    buf_printf(out, "{\"default_policy_served\":%s", served ? "true" : "false");
    char text[2048] = "";
    if (!served)
        err_format(why, text, sizeof text);
    add_json_text(out, "reason", text);
    add_json_text(out, "notes", buf_text(notes));
    buf_puts(out, ",\"host\":{");
    const char *comma = "";
    for (int i = 0; i < HOST_FINDINGS; i++) {
        if (!findings[i].text.length)
            continue;
        buf_puts(out, comma);
        buf_json_string(out, findings[i].name);
        buf_printf(out, ":{\"state\":\"%s\"", states[findings[i].state]);
        add_json_text(out, "text", buf_text(&findings[i].text));
        add_json_text(out, "remedy", buf_text(&findings[i].remedy));
        buf_putc(out, '}');
        comma = ",";
    }
    buf_puts(out, "},\"registry\":");
    capability_document(set, out);
    buf_puts(out, "}\n");
}

int cli_doctor(int argc, char **argv)
{
    struct view view;
    struct err err, open_err, why;
    if (parse(argc, argv, &view, &err) < 0)
        return cli_fail(&err);
    if (view.help)
        return help("Example:  berth doctor", "berth doctor [options]",
                    "Does each thing that berth offers once, for real, in a probe sandbox, and\n"
                    "says what works, what does not, why, and what to do about it.\n\n"
                    "Exit status: 0 the default policy can be served; 1 it cannot; 125 berth\n"
                    "could not find out.");
    __attribute__((cleanup(runtime_closep))) struct runtime *rt = NULL;
    const struct runtime_options options = {0};
    bool opened = runtime_open(&rt, &options, &open_err) == 0;
    if (registry_refresh(opened ? rt : NULL, opened ? NULL : &open_err, &the_set, &err) < 0)
        return cli_fail_json(&err, view.json);
    _cleanup_buf_ struct buf out = {0}, notes = {0};
    int r = default_served(&the_set, &notes, &why, &err);
    if (r < 0)
        return cli_fail_json(&err, view.json);
    struct host_finding findings[HOST_FINDINGS];
    doctor_host(opened ? runtime_facts(rt) : NULL, findings);
    if (view.json)
        print_json(&out, &the_set, findings, r == 0, &notes, &why);
    else {
        print_table(&out, &the_set, findings);
        print_verdict(&out, r == 0, &notes, &why);
    }
    doctor_host_fini(findings);
    int printed = view.quiet ? CLI_EXIT_OK : cli_print(STDOUT_FILENO, &out);
    return printed ? printed : r == 0 ? CLI_EXIT_OK : CLI_EXIT_NO;
}
