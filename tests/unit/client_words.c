/* This file tests what the verbs over a `berth serve` do without one: words and options, where a
 * service is looked for, problem documents, exit statuses, tables, names and paths of copies, and
 * the body that a policy becomes. */
#include "api/cli/cp.h"
#include "api/cli/exec.h"
#include "api/cli/exec_exit.h"

#include "policy/policy.h"
#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- words ----------------------------------------------------------------------------------- */

static const struct cli_option own[] = {
    {"flag", NULL, "A flag.", 1, 'f'},
    {"value", "X", "A value.", 2, 0},
};

static int take(void *data, const struct cli_option *option, const char *value, struct err *err)
{
    struct buf *out = data;
    (void)err;
    buf_printf(out, "%s=%s;", option->name, value ? value : "");
    return 0;
}

static const struct verb_spec one_word = {.name = "t",
                                          .example = "E\n",
                                          .usage = "U",
                                          .text = "T",
                                          .options = own,
                                          .option_count = 2,
                                          .words_min = 1,
                                          .words_max = 1,
                                          .ids = 1};

/* `words` separated by blanks, as "taken|words|command|code". */
static void parse(const struct verb_spec *spec, const char *words, struct buf *out)
{
    char text[256], *argv[32] = {(char *)(uintptr_t) "t"};
    int argc = 1;
    snprintf(text, sizeof text, "%s", words);
    for (char *at = text; *at;) {
        argv[argc++] = at;
        at += strcspn(at, " ");
        if (*at)
            *at++ = 0;
    }
    argv[argc] = NULL;
    struct verb verb;
    struct err err = {0};
    int r = verb_parse(&verb, spec, argc, argv, take, out, &err);
    if (r != 0) {
        buf_printf(out, "%s", r == VERB_HELP ? "help" : err_code_name((enum err_code)err.code));
        return;
    }
    buf_printf(out, "|%s%s", verb.workspace_id, verb.json ? ",json" : "");
    for (unsigned i = 0; i < verb.word_count; i++)
        buf_printf(out, "|%s", verb.word[i]);
    for (char **c = verb.command; *c; c++)
        buf_printf(out, "|cmd:%s", *c);
}

Test(cli_verb, options_stand_before_and_behind_words)
{
    const struct verb_spec command = {.name = "t",
                                      .example = "E\n",
                                      .usage = "U",
                                      .text = "T",
                                      .options = own,
                                      .option_count = 2,
                                      .words_min = 1,
                                      .words_max = 1,
                                      .ids = 1,
                                      .command = true};
    const struct verb_spec none = {
        .name = "t", .example = "", .usage = "U", .text = "", .words_max = 1};
    const struct {
        const struct verb_spec *spec;
        const char *words, *result;
    } rows[] = {
        {&one_word, "s1", "|local|s1"},
        {&one_word, "--flag s1", "flag=;|local|s1"},
        {&one_word, "s1 --value x -w other --json", "value=x;|other,json|s1"},
        {&one_word, "-f -- s1", "flag=;|local|s1"},
        {&one_word, "", "usage"},
        {&one_word, "s1 s2", "usage"},
        {&one_word, "--flagg s1", "usage"},
        {&one_word, "s1 --value", "usage"},
        {&one_word, "-fh s1", "usage"},
        {&one_word, "s1 --help", "help"},
        {&one_word, "../etc", "invalid_request"},
        {&one_word, "a/b", "invalid_request"},
        {&one_word, "-w ../x s1", "invalid_request"},
        {&command, "s1 ls -l", "|local|s1|cmd:ls|cmd:-l"},
        {&command, "s1 --flag -- --json", "flag=;|local|s1|cmd:--json"},
        {&command, "s1 --flag ls --help", "flag=;|local|s1|cmd:ls|cmd:--help"},
        {&command, "s1", "usage"},
        {&command, "s1 --", "usage"},
        {&command, "-- s1 ls", "usage"},
        {&none, "", "|local"},
        {&none, "any/thing", "|local|any/thing"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        _cleanup_buf_ struct buf out = {0};
        parse(rows[i].spec, rows[i].words, &out);
        cr_expect_str_eq(buf_text(&out), rows[i].result, "row %zu: %s", i, buf_text(&out));
    }
}

Test(cli_verb, every_verb_has_help_that_begins_with_an_example)
{
    static const struct {
        int (*run)(int argc, char **argv);
        const char *words[3];
    } rows[] = {
        {cli_session, {"session", "create"}},
        {cli_session, {"session", "list"}},
        {cli_session, {"session", "show"}},
        {cli_session, {"session", "park"}},
        {cli_session, {"session", "resume"}},
        {cli_session, {"session", "interrupt"}},
        {cli_session, {"session", "archive"}},
        {cli_session, {"session", "destroy"}},
        {cli_session, {"session"}},
        {cli_exec, {"exec"}},
        {cli_shell, {"shell"}},
        {cli_ps, {"ps"}},
        {cli_logs, {"logs"}},
        {cli_cp, {"cp"}},
        {cli_events, {"events"}},
        {cli_usage, {"usage"}},
        {cli_port, {"port"}},
        {cli_port, {"port", "add"}},
        {cli_port, {"port", "list"}},
        {cli_port, {"port", "remove"}},
        {cli_volume, {"volume"}},
        {cli_volume, {"volume", "create"}},
        {cli_volume, {"volume", "list"}},
        {cli_volume, {"volume", "show"}},
        {cli_volume, {"volume", "remove"}},
        {cli_token, {"token"}},
        {cli_token, {"token", "create"}},
        {cli_token, {"token", "list"}},
        {cli_token, {"token", "revoke"}},
        {cli_ledger, {"ledger"}},
        {cli_ledger, {"ledger", "backup"}},
        {cli_ledger, {"ledger", "restore"}},
        {cli_reap, {"reap"}},
    };
    int keep = dup(STDOUT_FILENO), ends[2];
    cr_assert(keep >= 0);
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        char *argv[5] = {NULL}, text[4096];
        int argc = 0;
        for (unsigned k = 0; rows[i].words[k]; k++)
            argv[argc++] = (char *)(uintptr_t)rows[i].words[k];
        argv[argc++] = (char *)(uintptr_t) "--help";
        cr_assert_eq(pipe(ends), 0);
        dup2(ends[1], STDOUT_FILENO);
        int status = rows[i].run(argc, argv);
        dup2(keep, STDOUT_FILENO);
        close(ends[1]);
        ssize_t n = read(ends[0], text, sizeof text - 1);
        close(ends[0]);
        text[n > 0 ? n : 0] = 0;
        cr_expect_eq(status, 0, "row %zu", i);
        cr_expect_eq(strncmp(text, "Example", 7), 0, "row %zu: %s", i, text);
        cr_expect(strstr(text, "Usage:    berth "), "row %zu", i);
    }
    close(keep);
}

/* ---- where ----------------------------------------------------------------------------------- */

Test(client_where, names_win_and_only_an_own_place_may_be_started)
{
    struct client_where where;
    struct err err;
    setenv("BERTH_RUNTIME_DIR", "/x", 1);
    setenv("BERTH_HOST", "unix:/a/b.sock", 1);
    cr_assert_eq(client_where(NULL, &where, &err), 0);
    cr_expect(where.named && where.count == 1 && !where.place[0].own);
    cr_expect_str_eq(where.place[0].path, "/a/b.sock");
    cr_assert_eq(client_where("unix:/c.sock", &where, &err), 0);
    cr_expect_str_eq(where.place[0].path, "/c.sock");
    unsetenv("BERTH_HOST");
    cr_assert_eq(client_where(NULL, &where, &err), 0);
    cr_expect(!where.named && where.count == 1 && where.place[0].own);
    cr_expect_str_eq(where.place[0].path, "/x/berth.sock");
}

Test(client_where, what_is_no_socket_here_is_refused_with_a_sentence)
{
    static const char *const rows[] = {
        "http://127.0.0.1:8080", "https://x", "unix:relative", "/a", "tcp:1", "unix:"};
    struct client_where where;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct err err = {0};
        cr_expect_lt(client_where(rows[i], &where, &err), 0, "%s", rows[i]);
        cr_expect_eq(err.code, ERR_USAGE, "%s", rows[i]);
        cr_expect(strstr(err.detail, "unix:"), "%s: %s", rows[i], err.detail);
    }
    char longest[200] = "unix:/";
    memset(longest + 6, 'a', sizeof longest - 7);
    struct err err = {0};
    cr_expect_lt(client_where(longest, &where, &err), 0);
    cr_expect_eq(err.code, ERR_INVALID_REQUEST);
}

/* ---- problems -------------------------------------------------------------------------------- */

static void problem(const char *document, int status, char ret[2048])
{
    struct err err = {0};
    cr_assert_lt(client_problem_err(document, strlen(document), status, &err), 0);
    err_format(&err, ret, 2048);
}

Test(client_problem, a_document_is_an_error_with_its_code_and_what_would_help)
{
    char text[2048];
    problem(
        "{\"title\":\"The state does not allow this\",\"status\":409,\"code\":\"invalid_state\","
        "\"detail\":\"s1 is parked.\",\"allowed\":[\"resume\",\"destroy\"]}",
        409, text);
    cr_expect_str_eq(text, "invalid_state: The state does not allow this: s1 is parked. Allowed: "
                           "resume, destroy.");
    problem("{\"title\":\"T\",\"code\":\"capability_unavailable\",\"detail\":\"No.\",\"missing\":"
            "[\"limits.pids\"]}",
            422, text);
    cr_expect_str_eq(text, "capability_unavailable: T: No. Missing: limits.pids.");
    problem(
        "{\"title\":\"T\",\"code\":\"invalid_request\",\"detail\":\"No.\",\"pointer\":\"/limits\"}",
        400, text);
    cr_expect_str_eq(text, "invalid_request: T: /limits: No.");
    problem("{\"title\":\"T\",\"code\":\"invalid_request\",\"detail\":\"/verbs/0: No.\","
            "\"pointer\":\"/verbs/0\"}",
            400, text);
    cr_expect_str_eq(text, "invalid_request: T: /verbs/0: No.");
    problem("{\"code\":\"new_in_a_later_berth\",\"title\":\"T\",\"detail\":\"x\\u001b[31m\"}", 404,
            text);
    cr_expect_str_eq(text, "not_found: T: x\\x1b[31m");
    problem("<html>", 502, text);
    cr_expect(strncmp(text, "internal: ", 10) == 0, "%s", text);
    problem("", 404, text);
    cr_expect(strncmp(text, "not_found: ", 11) == 0, "%s", text);
}

/* ---- exit statuses --------------------------------------------------------------------------- */

Test(exec_exit, each_reason_is_its_status)
{
    static const struct {
        const char *members;
        int status;
        bool told;
    } rows[] = {
        {"\"reason\": \"exit\", \"exit_code\": 0", 0, false},
        {"\"reason\": \"exit\", \"exit_code\": 42", 42, false},
        {"\"reason\": \"exit\", \"exit_code\": 137", 137, false},
        {"\"reason\": \"signal\", \"signal\": 9", 137, false},
        {"\"reason\": \"signal\", \"signal\": 15", 143, false},
        {"\"reason\": \"timeout\"", 124, true},
        {"\"reason\": \"idle_timeout\"", 124, true},
        {"\"reason\": \"oom\", \"signal\": 9", 137, true},
        {"\"reason\": \"output_limit\"", 137, true},
        {"\"reason\": \"interrupted\"", 130, true},
        {"\"reason\": \"cancelled\"", 130, true},
        {"\"reason\": \"lost\"", 125, true},
        {"\"reason\": \"not_started\"", 125, true},
        {"\"reason\": \"start_failed\", \"exit_code\": 127", 127, true},
        {"\"reason\": \"start_failed\", \"exit_code\": 126", 126, true},
        {"\"reason\": \"start_failed\", \"exit_code\": null", 125, true},
        {"\"reason\": \"start_failed\", \"exit_code\": 0", 125, true},
        {"\"reason\": \"exit\", \"exit_code\": 99999", 125, false},
        {"\"reason\": \"exit\", \"exit_code\": -1", 125, false},
        {"\"reason\": \"of a later berth\"", 125, true},
        {"\"reason\": null", 125, true},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        _cleanup_arena_ struct arena arena = {0};
        _cleanup_buf_ struct buf note = {0}, text = {0};
        struct json_error error;
        const struct json_node *root;
        buf_printf(&text, "{%s}", rows[i].members);
        cr_assert_eq(json_parse(&arena, buf_text(&text), text.length, 4096, false, &root, &error),
                     0);
        cr_expect_eq(exec_exit_status(root, &note), rows[i].status, "row %zu", i);
        cr_expect_eq(note.length > 0, rows[i].told, "row %zu", i);
    }
}

Test(cli_exec, what_could_not_be_started_is_told_by_whose_mistake_it_is)
{
    static const struct {
        int status, sys;
        const char *step, *subject;
        enum err_code code;
        const char *told;
    } rows[] = {
        {127, ENOENT, "execute", "", ERR_NOT_FOUND, "not_found: command not found: cmd: "},
        {126, EACCES, "execute", "", ERR_INVALID_REQUEST, "cmd: Permission denied. Check"},
        {125, ENOENT, "enter working directory", "/x", ERR_INVALID_REQUEST, "/x: No such file"},
        {125, ENOTDIR, "enter working directory", "/x", ERR_INVALID_REQUEST, "--cwd"},
        {125, EIO, "enter working directory", "/x", ERR_INTERNAL, "/x: "},
        {125, EPERM, "load seccomp filter of command", "", ERR_INTERNAL, "could not start"},
        {125, 0, "start the command", "", ERR_INTERNAL, "start the command"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct err err = {0};
        char text[2048];
        exec_start_error(rows[i].status, rows[i].sys, rows[i].step, rows[i].subject, "cmd", &err);
        err_format(&err, text, sizeof text);
        cr_expect_eq(err.code, rows[i].code, "row %zu", i);
        cr_expect(strstr(text, rows[i].told), "row %zu: %s", i, text);
    }
}

/* ---- tables ---------------------------------------------------------------------------------- */

Test(cli_table, columns_are_as_wide_as_what_is_in_them)
{
    static const char *const heads[] = {"NAME", ">N", "LAST", NULL};
    _cleanup_table_ struct table table;
    _cleanup_buf_ struct buf out = {0};
    table_init(&table, heads);
    static const char *const cells[] = {"h\xc3\xa9llo", "1", "x", "b", "1000", ""};
    for (size_t i = 0; i < ARRAY_LENGTH(cells); i++)
        table_text(&table, cells[i]);
    table_print(&table, &out);
    cr_expect_str_eq(buf_text(&out),
                     "NAME      N  LAST\n"
                     "h\xc3\xa9llo     1  x\n"
                     "b      1000  -\n",
                     "%s", buf_text(&out));
}

Test(cli_table, no_name_drives_a_terminal)
{
    static const struct {
        const char *text;
        size_t length;
        const char *shown;
    } rows[] = {
        {"plain", 5, "plain"},
        {"\x1b]0;x\a", 6, "\\x1b]0;x\\x07"},
        {"a\nb\tc\r", 6, "a\\x0ab\\x09c\\x0d"},
        {"\xc2\x9b"
         "31m",
         5, "\\xc2\\x9b31m"},
        {"\xff\xfe", 2, "\\xff\\xfe"},
        {"\xe2\x80\xae"
         "gpj",
         6, "\\xe2\\x80\\xaegpj"},
        {"\xe2\x81\xa6", 3, "\\xe2\\x81\\xa6"},
        {"\x7f", 1, "\\x7f"},
        {"a\0b", 3, "a\\x00b"},
        {"\xe2\x82\xac", 3, "\xe2\x82\xac"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        _cleanup_buf_ struct buf out = {0};
        table_clean(&out, rows[i].text, rows[i].length);
        cr_expect_str_eq(buf_text(&out), rows[i].shown, "row %zu: %s", i, buf_text(&out));
    }
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static int bytes_of(const char *document, struct buf *out)
{
    _cleanup_arena_ struct arena arena = {0};
    struct json_error error;
    const struct json_node *root;
    cr_assert_eq(json_parse(&arena, document, strlen(document), 4096, false, &root, &error), 0);
    return verb_bytes(out, root, "data");
}

Test(cli_bytes, text_and_base64_are_bytes_and_nothing_else_is)
{
    static const struct {
        const char *document, *bytes;
        size_t length;
    } good[] = {
        {"{\"data\": \"h\\u00e9\"}", "h\xc3\xa9", 3},
        {"{\"data\": \"\"}", "", 0},
        {"{\"data_base64\": \"AAEC\"}", "\0\1\2", 3},
        {"{\"data_base64\": \"/+8=\"}", "\xff\xef", 2},
        {"{\"data_base64\": \"/w==\"}", "\xff", 1},
        {"{\"data_base64\": \"\"}", "", 0},
    };
    static const char *const bad[] = {
        "{}",
        "{\"data\": 1}",
        "{\"data_base64\": \"AAE\"}",
        "{\"data_base64\": \"A===\"}",
        "{\"data_base64\": \"AA==AAAA\"}",
        "{\"data_base64\": \"AA=A\"}",
        "{\"data_base64\": \"AA-_\"}",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        _cleanup_buf_ struct buf out = {0};
        cr_expect_eq(bytes_of(good[i].document, &out), 0, "row %zu", i);
        cr_expect_eq(out.length, good[i].length, "row %zu", i);
        cr_expect_eq(memcmp(buf_text(&out), good[i].bytes, good[i].length), 0, "row %zu", i);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        _cleanup_buf_ struct buf out = {0};
        cr_expect_lt(bytes_of(bad[i], &out), 0, "bad row %zu", i);
    }
}

/* ---- copies ---------------------------------------------------------------------------------- */

Test(cp_words, a_session_is_what_stands_before_the_first_colon)
{
    static const struct {
        const char *word;
        int result;
        const char *session, *path;
    } rows[] = {
        {"s1:/a", CP_REMOTE, "s1", "/a"},
        {"s1:", CP_REMOTE, "s1", ""},
        {"s1:a:b", CP_REMOTE, "s1", "a:b"},
        {"-", 0, "", "-"},
        {"./a:b", 0, "", "./a:b"},
        {"/a:b", 0, "", "/a:b"},
        {"plain", 0, "", "plain"},
        {":x", -1, "", ""},
        {"a b:x", -1, "", ""},
        {"..:x", -1, "", ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        _cleanup_buf_ struct buf session = {0};
        const char *path = NULL;
        struct err err;
        int r = cp_word(rows[i].word, &session, &path, &err);
        cr_expect_eq(r < 0 ? -1 : r, rows[i].result, "%s", rows[i].word);
        if (r < 0)
            continue;
        cr_expect_str_eq(buf_text(&session), rows[i].session, "%s", rows[i].word);
        cr_expect_str_eq(path, rows[i].path, "%s", rows[i].word);
    }
}

Test(cp_words, a_path_that_is_not_absolute_begins_in_the_workspace)
{
    static const char *const rows[][2] = {
        {"a", "/w/a"}, {"/a//b/./c/", "/a/b/c"}, {".", "/w"}, {"", "/w"},
        {"/", "/"},    {"a/", "/w/a"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        _cleanup_buf_ struct buf out = {0};
        cp_path("/w", rows[i][0], &out);
        cr_expect_str_eq(buf_text(&out), rows[i][1], "%s", rows[i][0]);
    }
}

Test(cp_words, FS_1_a_name_is_one_part_of_a_path)
{
    static const char *const bad[] = {"", ".", "..", "a/b", "/", "../x", "/etc/passwd"};
    static const char *const good[] = {"a", "...", "..a", " ", "-rf", "\x1b[31m"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        cr_expect_not(cp_name_ok(bad[i], strlen(bad[i])), "%s", bad[i]);
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++)
        cr_expect(cp_name_ok(good[i], strlen(good[i])), "%s", good[i]);
    cr_expect_not(cp_name_ok("a\0b", 3));
    char longest[300];
    memset(longest, 'a', sizeof longest);
    cr_expect(cp_name_ok(longest, 255) && !cp_name_ok(longest, 256));
}

Test(client_query, every_byte_arrives_as_it_is)
{
    _cleanup_buf_ struct buf out = {0};
    buf_puts(&out, "/x");
    client_query(&out, "path", "/a b&c=d?e%f+\xff\n");
    client_query(&out, "mode", "0644");
    cr_expect_str_eq(buf_text(&out), "/x?path=/a%20b%26c%3Dd%3Fe%25f%2B%FF%0A&mode=0644");
}

/* ---- bodies ---------------------------------------------------------------------------------- */

Test(policy_request, CAP_2_only_what_was_asked_for_is_in_the_body)
{
    static const char file[] =
        "{\"version\": 1, \"extends\": \"locked-down\", \"filesystem\": {\"protect\": [\"x/\"]},"
        " \"limits\": {\"memory\": \"512MiB\", \"cpus\": 1.5}, \"requires\": [\"limits.memory\"]}";
    static struct spec spec;
    _cleanup_buf_ struct buf out = {0}, plain = {0};
    struct policy *policy = NULL, *preset = NULL;
    struct err err;
    cr_assert_eq(policy_load_text(&policy, "t.jsonc", file, sizeof file - 1, &err), 0);
    cr_assert_eq(policy_set(policy, "process.env", "A=\"b\"", "--env", &err), 0, "%s", err.detail);
    spec_init_zeroed(&spec);
    cr_assert_eq(policy_compile(policy, &spec, &err), 0);
    cr_assert_eq(policy_request(policy, &spec, &out), 0);
    cr_expect_str_eq(buf_text(&out),
                     "\"policy\": \"locked-down\", \"filesystem\": {\"protect\": [\"x/\"]}, "
                     "\"process\": {\"env\": {\"A\": \"\\\"b\\\"\"}}, "
                     "\"limits\": {\"memory\": \"512MiB\", \"cpus\": 1.5}, "
                     "\"requires\": [\"limits.memory\"]",
                     "%s", buf_text(&out));
    cr_assert_eq(policy_new(&preset, "balanced", &err), 0);
    cr_assert_eq(policy_request(preset, &spec, &plain), 0);
    cr_expect_str_eq(buf_text(&plain), "\"policy\": \"balanced\"");
    policy_free(policy);
    policy_free(preset);
}

Test(policy_request, a_body_asks_for_the_same_as_the_presets_it_names)
{
    static const char *const names[] = {"locked-down", "balanced", "open"};
    static struct spec spec;
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        _cleanup_buf_ struct buf out = {0}, want = {0};
        struct policy *policy = NULL;
        struct err err;
        cr_assert_eq(policy_new(&policy, names[i], &err), 0);
        memset(&spec, 0, sizeof spec);
        spec_init_zeroed(&spec);
        cr_assert_eq(policy_compile(policy, &spec, &err), 0);
        cr_expect_eq(spec.mount_count, 0u, "a preset's mounts would be sent as asked for");
        cr_assert_eq(policy_request(policy, &spec, &out), 0);
        buf_printf(&want, "\"policy\": \"%s\"", names[i]);
        cr_expect_str_eq(buf_text(&out), buf_text(&want));
        policy_free(policy);
    }
}
