/* This file is `berth policy check|explain|show|schema`: it reads words, calls policy/policy.h and
 * prints; it never decides anything about a policy, and never opens a session.
 */
#include "api/cli/policy_cmd.h"

#include "policy/policy.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_DENIED = 1, EXIT_BERTH = 125, FILES_MAX = 64 };

struct words {
    const char *verb;
    const char *files[FILES_MAX];
    unsigned file_count;
    const char *syscall, *path, *host, *workspace, *within;
    bool json, plan, source, reference, help;
};

static const char help_all[] =
    "Example:  berth policy check berth.jsonc\n"
    "          berth policy explain balanced --path /etc/shadow\n"
    "\n"
    "usage: berth policy check FILE|NAME... [--within FILE|NAME] [--json]\n"
    "       berth policy explain [FILE|NAME] [--syscall NAME] [--path PATH] [--host HOST[:PORT]]\n"
    "                            [--plan] [--json]\n"
    "       berth policy show [FILE|NAME] [--source] [--json]\n"
    "       berth policy schema [--reference]\n"
    "\n"
    "FILE is JSON with comments; NAME is a preset: locked-down, balanced, open. Without one,\n"
    "balanced. `berth policy VERB --help` says more.\n";

static const char help_check[] =
    "Example:  berth policy check berth.jsonc team.jsonc --within /etc/berth/ceiling.jsonc\n"
    "\n"
    "Reads each policy strictly and says what is wrong with the first that is, by line and "
    "column.\n"
    "\n"
    "  --within FILE|NAME  also compare with this ceiling\n"
    "  --json              print one document\n"
    "\n"
    "Exit status: 0 all are valid (and within), 125 one is not.\n";

static const char help_explain[] =
    "Example:  berth policy explain berth.jsonc\n"
    "          berth policy explain berth.jsonc --syscall ptrace\n"
    "          berth policy explain berth.jsonc --host api.example.com:443\n"
    "\n"
    "Without a question: the effective policy, with the line that each value comes from.\n"
    "\n"
    "  --syscall NAME       may commands make this system call?\n"
    "  --path PATH          what does a session see at this path?\n"
    "  --host HOST[:PORT]   may this be reached? (port 443 unless named)\n"
    "  --plan               everything that is done to make a session, in order\n"
    "  --workspace DIR      where the workspace is, for --path and --plan (default: this "
    "directory)\n"
    "  --json               print one document\n"
    "\n"
    "Exit status: 0 allowed, or no question; 1 denied; 125 error.\n";

static const char help_show[] =
    "Example:  berth policy show locked-down\n"
    "\n"
    "Prints the effective policy: everything that the file extends, merged.\n"
    "\n"
    "  --source   print the text of a preset, with the reason of each line\n"
    "  --json     print one document\n";

static const char help_schema[] = "Example:  berth policy schema > policy.schema.json\n"
                                  "\n"
                                  "Prints the JSON Schema of policy files, for editors.\n"
                                  "\n"
                                  "  --reference   print the reference page (Markdown) instead\n";

static int say(const struct err *err)
{
    char text[2048];
    err_format(err, text, sizeof text);
    fprintf(stderr, "berth: %s\n", text);
    return EXIT_BERTH;
}

static int usage(const char *what, const char *subject)
{
    struct err err = {0};
    err_set(&err, ERR_USAGE, 0, "policy", subject, "%s Try `berth policy --help`.", what);
    return say(&err);
}

static int print(const struct buf *out)
{
    if (buf_failed(out)) {
        struct err err = {0};
        err_set(&err, ERR_INTERNAL, ENOMEM, "policy", NULL, NULL);
        return say(&err);
    }
    int r = io_write_full(STDOUT_FILENO, buf_text(out), out->length);
    if (r == 0)
        return 0;
    struct err err = {0};
    err_set(&err, ERR_INTERNAL, -r, "write to standard output", NULL, NULL);
    return say(&err);
}

static int print_text(const char *text)
{
    _cleanup_buf_ struct buf out = {0};
    buf_puts(&out, text);
    return print(&out);
}

/* ---- words ---- */

static int read_options(struct words *words, int argc, char **argv)
{
    const struct {
        const char *name;
        const char **value;
        bool *flag;
    } options[] = {
        {"--syscall", &words->syscall, NULL}, {"--path", &words->path, NULL},
        {"--host", &words->host, NULL},       {"--workspace", &words->workspace, NULL},
        {"--within", &words->within, NULL},   {"--json", NULL, &words->json},
        {"--source", NULL, &words->source},   {"--reference", NULL, &words->reference},
        {"--plan", NULL, &words->plan},       {"--help", NULL, &words->help},
        {"-h", NULL, &words->help},
    };
    bool only_files = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (!only_files && strcmp(word, "--") == 0) {
            only_files = true;
            continue;
        }
        if (only_files || word[0] != '-') {
            if (!words->verb && !only_files)
                words->verb = word;
            else if (words->file_count < FILES_MAX)
                words->files[words->file_count++] = word;
            else
                return usage("Too many files.", word);
            continue;
        }
        size_t k = 0, n = strcspn(word, "=");
        while (k < ARRAY_LENGTH(options) &&
               (strlen(options[k].name) != n || memcmp(options[k].name, word, n) != 0))
            k++;
        if (k == ARRAY_LENGTH(options))
            return usage("There is no such option.", word);
        if (options[k].flag) {
            if (word[n])
                return usage("This option has no value.", word);
            *options[k].flag = true;
            continue;
        }
        if (!word[n] && i + 1 == argc)
            return usage("This option needs a value.", word);
        *options[k].value = word[n] ? word + n + 1 : argv[++i];
    }
    return 0;
}

static void free_policy(struct policy **policy)
{
    policy_free(*policy);
}
#define _cleanup_policy_ __attribute__((cleanup(free_policy)))

static const char *one_file(const struct words *words)
{
    return words->file_count ? words->files[0] : "balanced";
}

/* ---- verbs ---- */

static int check_one(const struct words *words, const char *file, struct buf *out)
{
    _cleanup_policy_ struct policy *policy = NULL;
    _cleanup_policy_ struct policy *ceiling = NULL;
    struct err err = {0};
    int r = policy_load_file(&policy, file, &err);
    if (r == 0)
        r = policy_check_meaning(policy, &err);
    if (r == 0 && words->within)
        r = policy_load_file(&ceiling, words->within, &err);
    if (r == 0 && ceiling)
        r = policy_within(policy, ceiling, &err);
    if (!words->json) {
        if (r < 0)
            return say(&err);
        buf_printf(out, "%s: valid%s%s\n", file, words->within ? ", and within " : "",
                   words->within ? words->within : "");
        return 0;
    }
    buf_puts(out, out->length ? ", {\"file\": " : "{\"policies\": [{\"file\": ");
    buf_json_string(out, file);
    buf_printf(out, ", \"valid\": %s", r == 0 ? "true" : "false");
    if (r < 0) {
        buf_printf(out,
                   ", \"code\": \"%s\", \"subject\": ", err_code_name((enum err_code)err.code));
        buf_json_string(out, err.subject);
        buf_puts(out, ", \"detail\": ");
        buf_json_string(out, err.detail[0] || !err.sys ? err.detail : strerror(err.sys));
        say(&err);
    }
    buf_putc(out, '}');
    return r < 0 ? EXIT_BERTH : 0;
}

static int verb_check(const struct words *words)
{
    _cleanup_buf_ struct buf out = {0};
    int status = 0;
    if (words->file_count == 0)
        return usage("Which policy? Name a file or a preset.", "check");
    for (unsigned i = 0; i < words->file_count && (words->json || status == 0); i++) {
        int r = check_one(words, words->files[i], &out);
        status = r ? r : status;
    }
    if (words->json)
        buf_puts(&out, "]}\n");
    int printed = print(&out);
    return status ? status : printed;
}

static int explain_place(const struct policy *policy, const struct words *words, struct buf *out,
                         struct err *err)
{
    char here[PATH_MAX];
    const char *workspace = words->workspace;
    if (!workspace && getcwd(here, sizeof here))
        workspace = here;
    if (words->plan)
        return policy_explain_plan(policy, workspace, words->json, out, err);
    return policy_explain_path(policy, words->path, workspace, words->json, out, err);
}

static int verb_explain(const struct words *words)
{
    _cleanup_policy_ struct policy *policy = NULL;
    _cleanup_buf_ struct buf out = {0};
    struct err err = {0};
    int questions = !!words->syscall + !!words->path + !!words->host + words->plan;
    if (questions > 1)
        return usage("One question at a time.", "explain");
    int r = policy_load_file(&policy, one_file(words), &err);
    if (r < 0)
        return say(&err);
    if (words->syscall)
        r = policy_explain_syscall(policy, words->syscall, words->json, &out, &err);
    else if (words->path || words->plan)
        r = explain_place(policy, words, &out, &err);
    else if (words->host)
        r = policy_explain_host(policy, words->host, words->json, &out, &err);
    else
        r = policy_show(policy, words->json, true, &out);
    if (r < 0 && !buf_failed(&out))
        return say(&err);
    int printed = print(&out);
    return printed ? printed : (questions && r == 0 ? EXIT_DENIED : 0);
}

static int verb_show(const struct words *words)
{
    _cleanup_policy_ struct policy *policy = NULL;
    _cleanup_buf_ struct buf out = {0};
    struct err err = {0};
    const char *source = words->source ? policy_preset_text(one_file(words)) : NULL;
    if (words->source && !source)
        return usage("--source prints presets only: locked-down, balanced, open.", one_file(words));
    if (source)
        return print_text(source);
    if (policy_load_file(&policy, one_file(words), &err) < 0)
        return say(&err);
    policy_show(policy, words->json, false, &out);
    return print(&out);
}

static int verb_schema(const struct words *words)
{
    _cleanup_buf_ struct buf out = {0};
    if (words->reference)
        policy_reference_markdown(&out);
    else
        policy_schema_json(&out);
    return print(&out);
}

static const struct {
    const char *name, *help;
    int (*run)(const struct words *words);
    unsigned files; /* most */
    const char *options;
} verbs[] = {
    {"check", help_check, verb_check, FILES_MAX, "within json"},
    {"explain", help_explain, verb_explain, 1, "syscall path host plan workspace json"},
    {"show", help_show, verb_show, 1, "source json"},
    {"schema", help_schema, verb_schema, 0, "reference json"},
};

/* An option that the verb does not have is refused, not ignored. */
static const char *stray_option(const struct words *words, const char *allowed)
{
    const struct {
        const char *name;
        bool given;
    } given[] = {
        {"syscall", words->syscall}, {"path", words->path},
        {"host", words->host},       {"within", words->within},
        {"json", words->json},       {"workspace", words->workspace},
        {"source", words->source},   {"reference", words->reference},
        {"plan", words->plan},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(given); i++)
        if (given[i].given && !strstr(allowed, given[i].name))
            return given[i].name;
    return NULL;
}

int cli_policy(int argc, char **argv)
{
    struct words words = {0};
    int r = read_options(&words, argc, argv);
    if (r)
        return r;
    if (!words.verb)
        return words.help ? print_text(help_all)
                          : usage("Which verb? check, explain, show or schema.", NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(verbs); i++) {
        if (strcmp(verbs[i].name, words.verb) != 0)
            continue;
        if (words.help)
            return print_text(verbs[i].help);
        const char *stray = stray_option(&words, verbs[i].options);
        if (stray)
            return usage("This verb does not have that option.", stray);
        if (words.file_count > verbs[i].files)
            return usage("Too many files for this verb.", words.files[verbs[i].files]);
        return verbs[i].run(&words);
    }
    return usage("There is no such verb. The verbs are check, explain, show and schema.",
                 words.verb);
}
