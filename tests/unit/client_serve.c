/* This file tests the verbs against a server that follows a script: what is repeated and with which
 * key, streams that go on after their connection ended, and what a hostile listing or archive may
 * not do.
 *
 * This file is long because the scripts of all verbs are read by one server. */
#include "api/cli/cp.h"
#include "api/cli/exec.h"

#include "runtime/agent/tar.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* ---- the server ------------------------------------------------------------------------------ */

/* What is sent to a request: the first line that is not used and fits. */
struct line {
    const char *fits;          /* a part of the request; NULL: any */
    const char *raw;           /* bytes as they are; or one of the next two */
    size_t raw_length;         /* 0: to its NUL */
    const char *json, *events; /* in one chunk, with a head; none at all: the connection ends */
    int status;                /* 0: 200 */
    bool stay;                 /* the connection is kept */
    bool cut;                  /* the last chunk is not sent */
    bool again;                /* never used up */
    unsigned behind;           /* only when the line of this number (from 1) is used; 0: always */
};

struct scene {
    char directory[64], socket[96];
    pid_t server;
    int log; /* read end: the requests as they came, each behind "== " */
};

enum { CONNECTIONS = 8, REQUEST_MAX = 64 * 1024 };
struct client_end {
    int fd;
    size_t have;
    char text[REQUEST_MAX];
};

static size_t request_length(const char *text, size_t have)
{
    const char *end = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
    size_t body = length && end && length < end ? strtoul(length + 16, NULL, 10) : 0;
    const char *chunked = strstr(text, "Transfer-Encoding: chunked");
    if (end && chunked && chunked < end) {
        static const char close[] = "\r\n0\r\n\r\n";
        const char *last = memmem(end, have - (size_t)(end - text), close, sizeof close - 1);
        return last ? (size_t)(last + 7 - text) : 0;
    }
    return end ? (size_t)(end + 4 - text) + body : 0;
}

static void send_line(int fd, const struct line *line)
{
    const char *body = line->json ? line->json : line->events;
    _cleanup_buf_ struct buf out = {0};
    if (line->raw)
        buf_add(&out, line->raw, line->raw_length ? line->raw_length : strlen(line->raw));
    else if (body)
        buf_printf(&out,
                   "HTTP/1.1 %d X\r\nContent-Type: %s\r\nTransfer-Encoding: "
                   "chunked\r\n\r\n%zx\r\n%s\r\n%s",
                   line->status ? line->status : 200,
                   line->json ? "application/json" : "text/event-stream", strlen(body), body,
                   line->cut ? "" : "0\r\n\r\n");
    (void)io_write_full(fd, buf_text(&out), out.length);
}

/* False: the connection ends. */
static bool answer(struct client_end *end, int log, const struct line *lines, size_t count,
                   bool *used)
{
    _cleanup_buf_ struct buf asked = {0};
    for (size_t i = 0; i < end->have; i++)
        if (end->text[i])
            buf_putc(&asked, end->text[i]);
    dprintf(log, "== %s\n", buf_text(&asked));
    end->have = 0;
    for (size_t i = 0; i < count; i++) {
        if (used[i] || (lines[i].fits && !strstr(end->text, lines[i].fits)) ||
            (lines[i].behind && !used[lines[i].behind - 1]))
            continue;
        used[i] = !lines[i].again;
        send_line(end->fd, &lines[i]);
        return lines[i].stay;
    }
    return false;
}

static void serve(int listener, int log, const struct line *lines, size_t count)
{
    static struct client_end ends[CONNECTIONS];
    bool used[16] = {false};
    for (unsigned i = 0; i < CONNECTIONS; i++)
        ends[i].fd = -1;
    for (;;) {
        struct pollfd fds[CONNECTIONS + 1] = {{.fd = listener, .events = POLLIN}};
        for (unsigned i = 0; i < CONNECTIONS; i++)
            fds[i + 1] = (struct pollfd){.fd = ends[i].fd, .events = POLLIN};
        poll(fds, CONNECTIONS + 1, -1);
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            struct client_end *end = &ends[i];
            if (!fds[i + 1].revents)
                continue;
            ssize_t n = read(end->fd, end->text + end->have, REQUEST_MAX - 1 - end->have);
            end->have += n > 0 ? (size_t)n : 0;
            end->text[end->have] = 0;
            size_t length = request_length(end->text, end->have);
            bool whole = length && end->have >= length;
            if (n <= 0 || (whole && !answer(end, log, lines, count, used))) {
                close(end->fd);
                end->fd = -1;
            }
        }
        for (unsigned i = 0; fds[0].revents && i < CONNECTIONS; i++)
            if (ends[i].fd < 0) {
                ends[i].fd = accept(listener, NULL, NULL);
                ends[i].have = 0;
                break;
            }
    }
}

static void begin(struct scene *scene, const struct line *lines, size_t count)
{
    snprintf(scene->directory, sizeof scene->directory, "/tmp/berth-client-test-XXXXXX");
    cr_assert(mkdtemp(scene->directory));
    snprintf(scene->socket, sizeof scene->socket, "%s/s", scene->directory);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", scene->socket);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ends[2];
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(listener, 8), 0);
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    scene->server = fork();
    if (scene->server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        serve(listener, ends[1], lines, count);
        _exit(0);
    }
    close(listener);
    close(ends[1]);
    scene->log = ends[0];
    char host[128];
    snprintf(host, sizeof host, "unix:%s", scene->socket);
    setenv("BERTH_HOST", host, 1);
}

/* What was asked; the server is gone then. */
static void finish(struct scene *scene, struct buf *ret_log)
{
    char text[4096];
    ssize_t n;
    kill(scene->server, SIGTERM);
    waitpid(scene->server, NULL, 0);
    while ((n = read(scene->log, text, sizeof text)) > 0)
        buf_add(ret_log, text, (size_t)n);
    close(scene->log);
    unlink(scene->socket);
    cr_expect_eq(rmdir(scene->directory), 0, "%s is not empty", scene->directory);
}

static unsigned times(const char *text, const char *what)
{
    unsigned n = 0;
    for (; (text = strstr(text, what)) != NULL; text += strlen(what))
        n++;
    return n;
}

/* A verb with its standard output in `out`. */
static int run(int (*verb)(int argc, char **argv), const char *words, struct buf *out)
{
    char text[512], *argv[32];
    int argc = 0, ends[2], keep = dup(STDOUT_FILENO);
    snprintf(text, sizeof text, "%s", words);
    for (char *at = text; *at;) {
        argv[argc++] = at;
        at += strcspn(at, " ");
        if (*at)
            *at++ = 0;
    }
    argv[argc] = NULL;
    cr_assert_eq(pipe(ends), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    dup2(ends[1], STDOUT_FILENO);
    close(ends[1]);
    int status = verb(argc, argv);
    dup2(keep, STDOUT_FILENO);
    close(keep);
    char data[4096];
    ssize_t n;
    while ((n = read(ends[0], data, sizeof data)) > 0)
        buf_add(out, data, (size_t)n);
    close(ends[0]);
    return status;
}

#define EXIT(number, code) \
    "id: " number "\nevent: exit\ndata: {\"reason\":\"exit\",\"exit_code\":" code "}\n\n"
#define STARTED .fits = "/execs HTTP", .status = 201, .json = "{\"exec_id\": \"e1\"}", .stay = true

/* ---- calls ----------------------------------------------------------------------------------- */

Test(client_serve, IDEM_1_what_is_asked_again_has_the_same_key)
{
    struct scene scene;
    const struct line lines[] = {
        {.stay = false},
        {.status = 503, .json = "{\"code\":\"unavailable\"}", .stay = true},
        {.json = "{\"half\"", .cut = true},
        {.json = "{\"session_id\":\"s1\",\"state\":\"good\"}", .stay = true},
    };
    _cleanup_buf_ struct buf log = {0}, out = {0};
    begin(&scene, lines, ARRAY_LENGTH(lines));
    int status = run(cli_session, "session park s1", &out);
    finish(&scene, &log);
    cr_expect_eq(status, 0);
    cr_expect_str_eq(buf_text(&out), "s1: good\n");
    cr_expect_eq(times(buf_text(&log), "== POST "), 4u);
    const char *key = strstr(buf_text(&log), "Idempotency-Key: ");
    cr_assert(key);
    char line[80];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(key, "\r"), key);
    cr_expect_eq(times(buf_text(&log), line), 4u, "another key: %s", buf_text(&log));
}

Test(client_serve, a_refusal_is_told_once_and_not_asked_again)
{
    struct scene scene;
    const struct line lines[] = {
        {.status = 409, .json = "{\"code\":\"invalid_state\",\"detail\":\"No.\"}", .stay = true},
    };
    _cleanup_buf_ struct buf log = {0}, out = {0};
    begin(&scene, lines, ARRAY_LENGTH(lines));
    int status = run(cli_session, "session resume s1", &out);
    finish(&scene, &log);
    cr_expect_eq(status, CLI_EXIT_BERTH);
    cr_expect_eq(times(buf_text(&log), "== "), 1u);
    cr_expect_eq(out.length, 0u);
}

Test(client_serve, what_is_no_answer_of_berth_ends_it)
{
    static const char *const answers[] = {
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{a",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(answers); i++) {
        struct scene scene;
        const struct line lines[] = {{.raw = answers[i]}};
        _cleanup_buf_ struct buf log = {0}, out = {0};
        begin(&scene, lines, 1);
        cr_expect_eq(run(cli_session, "session show s1", &out), CLI_EXIT_BERTH, "row %zu", i);
        finish(&scene, &log);
        cr_expect_eq(out.length, 0u);
    }
}

Test(client_serve, a_list_is_read_page_by_page_and_a_page_that_leads_to_itself_ends_it)
{
    struct scene scene;
    const struct line lines[] = {
        {.json = "{\"sessions\": [{\"session_id\": \"a\"}], \"next\": \"a\"}", .stay = true},
        {.json = "{\"sessions\": [{\"session_id\": \"b\"}], \"next\": \"a\"}", .stay = true},
    };
    _cleanup_buf_ struct buf log = {0}, out = {0};
    begin(&scene, lines, ARRAY_LENGTH(lines));
    int status = run(cli_session, "session list --state running", &out);
    finish(&scene, &log);
    cr_expect_eq(status, 0);
    cr_expect_eq(times(buf_text(&log), "== GET "), 2u);
    cr_expect(strstr(buf_text(&log), "sessions?state=running&after=a "), "%s", buf_text(&log));
    cr_expect_eq(times(buf_text(&out), "\n"), 3u, "%s", buf_text(&out));
}

/* What a stopped front is: its kernel connects and takes what fits. */
Test(client_serve, a_service_that_hangs_is_told_after_a_time_and_not_asked_again, .timeout = 60)
{
    static const struct line lines[] = {
        {.fits = "GET /v1/health",
         .raw = "HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n{",
         .stay = true},
        {.fits = "GET /v1/follow", .events = "id: 1\ndata: {}\n\n", .cut = true, .stay = true},
        {.fits = NULL, .stay = true, .again = true},
    };
    struct scene scene;
    _cleanup_buf_ struct buf log = {0};
    begin(&scene, lines, ARRAY_LENGTH(lines));
    setenv("BERTH_TIMEOUT", "200ms", 1);
    static const char *const paths[] = {"/v1/health", "/v1/resources", "/v1/volumes"};
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        struct client *c;
        struct err err = {0};
        const struct client_request get = {.method = "GET", .path = paths[i]};
        const struct client_request post = {.method = "POST", .path = paths[i], .key = "k"};
        cr_assert_eq(client_new(&c, NULL, &err), 0);
        cr_expect_lt(client_call(c, i == 2 ? &post : &get, NULL, &err), 0);
        cr_expect(err.code == ERR_UNAVAILABLE && strstr(err.detail, "silent for 0.2 s") &&
                      strstr(err.detail, "BERTH_TIMEOUT"),
                  "%s", err.detail);
        client_free(c);
    }
    /* A stream that has begun, too: it is asked for anew, and then that is silent. */
    struct client *c;
    struct err err = {0};
    struct follow f;
    struct client_event event;
    cr_assert_eq(client_new(&c, NULL, &err), 0);
    follow_init(&f, c, "/v1/follow", 0, true);
    int r;
    while ((r = follow_next(&f, &event, &err)) == FOLLOW_WAIT || r == 0) {
        struct pollfd p = {.fd = follow_fd(&f), .events = POLLIN};
        poll(&p, 1, r == 0 ? 0 : follow_timeout(&f));
    }
    cr_expect(r < 0 && strstr(err.detail, "silent"), "%d %s", r, err.detail);
    follow_fini(&f);
    client_free(c);
    setenv("BERTH_TIMEOUT", "soon", 1);
    cr_expect(client_new(&c, NULL, &err) < 0 && err.code == ERR_USAGE);
    unsetenv("BERTH_TIMEOUT");
    finish(&scene, &log);
    cr_expect_eq(times(buf_text(&log), "== GET /v1/resources"), 1, "%s", buf_text(&log));
    cr_expect_eq(times(buf_text(&log), "== POST /v1/volumes"), 1, "%s", buf_text(&log));
    cr_expect_eq(times(buf_text(&log), "Last-Event-ID: 1"), 1, "%s", buf_text(&log));
}

Test(client_serve, what_is_not_there_is_said_once)
{
    static const char document[] =
        "{\"title\": \"There is no such thing\", \"status\": 404, \"code\": \"not_found\","
        " \"detail\": \"s9: There is no such session in this workspace.\"}";
    struct err err;
    char text[512];
    cr_assert_lt(client_problem_err(document, strlen(document), 404, &err), 0);
    err_format(&err, text, sizeof text);
    cr_expect_str_eq(text, "not_found: s9: There is no such session in this workspace.");
}

Test(client_serve, a_list_hides_what_was_destroyed_unless_it_is_asked_for)
{
    static const char two[] = "{\"sessions\": [{\"session_id\": \"live\", \"state\": \"running\"},"
                              "{\"session_id\": \"gone\", \"state\": \"destroyed\"}],"
                              " \"next\": null}";
    static const char *const words[] = {"session list", "session list --all",
                                        "session list --state destroyed"};
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        struct scene scene;
        const struct line lines[] = {{.json = two}};
        _cleanup_buf_ struct buf log = {0}, out = {0};
        begin(&scene, lines, 1);
        cr_expect_eq(run(cli_session, words[i], &out), 0);
        finish(&scene, &log);
        cr_expect(strstr(buf_text(&out), "live"));
        cr_expect_eq(strstr(buf_text(&out), "gone") != NULL, i > 0, "%s: %s", words[i],
                     buf_text(&out));
    }
}

/* ---- streams --------------------------------------------------------------------------------- */

Test(client_serve, EXEC_5_output_has_no_gap_and_nothing_twice_when_connections_end)
{
    struct scene scene;
    const struct line lines[] = {
        {STARTED},
        /* an event, and half of the next */
        {.events = "id: 1\nevent: stdout\ndata: {\"data\":\"one \"}\n\nid: 2\nevent: std",
         .cut = true},
        {.stay = false},
        /* one that was given already comes again; the last one is half */
        {.events =
             "id: 1\nevent: stdout\ndata: {\"data\":\"one \"}\n\n"
             "id: 2\nevent: stdout\ndata: {\"data\":\"two \"}\n\nid: 3\ndata: {\"data\":\"x\"}\n",
         .cut = true},
        {.status = 503, .json = "{}"},
        /* it ends in order, and the command has not: a service that goes */
        {.events = ":\n\n"},
        {.events = "id: 3\nevent: stdout\ndata: {\"data_base64\":\"/wAK\"}\n\n" EXIT("4", "7"),
         .stay = true},
    };
    _cleanup_buf_ struct buf log = {0}, out = {0};
    begin(&scene, lines, ARRAY_LENGTH(lines));
    int status = run(cli_exec, "exec --tty never s1 -- x", &out);
    finish(&scene, &log);
    cr_expect_eq(status, 7, "%d", status);
    cr_expect_eq(out.length, 11u, "%s", buf_text(&out));
    cr_expect_eq(memcmp(buf_text(&out), "one two \xff\0\n", 11), 0);
    cr_expect_eq(times(buf_text(&log), "== POST "), 1u, "the command was started twice");
    cr_expect_eq(times(buf_text(&log), "Last-Event-ID: 1\r\n"), 2u, "%s", buf_text(&log));
    cr_expect_eq(times(buf_text(&log), "Last-Event-ID: 2\r\n"), 3u, "%s", buf_text(&log));
}

Test(client_serve, what_did_not_start_has_its_end_without_output)
{
    struct scene scene;
    const struct line lines[] = {
        {STARTED},
        {.fits = "/output?", .events = ":\n\n", .stay = true, .again = true},
        {.fits = "GET /v1/workspaces/local/sessions/s1/execs/e1 HTTP",
         .json = "{\"state\":\"ended\",\"reason\":\"start_failed\",\"exit_code\":127}"},
    };
    _cleanup_buf_ struct buf log = {0}, out = {0};
    begin(&scene, lines, ARRAY_LENGTH(lines));
    int status = run(cli_exec, "exec --tty never s1 -- x", &out);
    finish(&scene, &log);
    cr_expect_eq(status, CLI_EXIT_NOT_FOUND);
}

Test(client_serve, EV_1_events_go_on_where_they_were_until_the_session_is_gone)
{
    struct scene scene;
    const struct line lines[] = {
        {.events = "id: 5\nevent: session.parked\ndata: {\"seq\": 5}\n\n", .cut = true},
        {.events = "id: 6\nevent: session.deleted\ndata: {\"seq\": 6}\n\n", .stay = true},
    };
    _cleanup_buf_ struct buf log = {0}, out = {0};
    begin(&scene, lines, ARRAY_LENGTH(lines));
    int status = run(cli_events, "events s1 --follow --json --from 5", &out);
    finish(&scene, &log);
    cr_expect_eq(status, 0);
    cr_expect_str_eq(buf_text(&out), "{\"seq\": 5}\n{\"seq\": 6}\n");
    cr_expect(strstr(buf_text(&log), "Last-Event-ID: 4\r\n"));
    cr_expect(strstr(buf_text(&log), "Last-Event-ID: 5\r\n"));
}

#define DELETED(ID) "id: " ID "\nevent: session.deleted\ndata: {\"seq\": " ID "}\n\n"
#define CREATED(ID) "id: " ID "\nevent: session.created\ndata: {\"seq\": " ID "}\n\n"

/* The end of an earlier life is in the middle, also where the connection ends just there. */
Test(client_serve, EV_1_events_of_a_name_that_was_used_again_go_on_behind_the_first_end)
{
    struct scene scene;
    const struct line lines[] = {
        {.fits = "follow=false", .events = CREATED("1") DELETED("2") CREATED("3"), .stay = true},
        {.fits = "follow=true", .events = CREATED("1") DELETED("2"), .cut = true},
        {.fits = "follow=true", .events = CREATED("3"), .cut = true},
        {.fits = "follow=true", .events = DELETED("4"), .stay = true},
    };
    static const char past[] = "{\"seq\": 1}\n{\"seq\": 2}\n{\"seq\": 3}\n";
    _cleanup_buf_ struct buf log = {0}, now = {0}, all = {0};
    begin(&scene, lines, ARRAY_LENGTH(lines));
    int status = run(cli_events, "events s1 --json", &now);
    int followed = run(cli_events, "events s1 --json --follow", &all);
    finish(&scene, &log);
    cr_expect_eq(status, 0);
    cr_expect_str_eq(buf_text(&now), past);
    cr_expect_eq(followed, 0);
    cr_expect_eq(strncmp(buf_text(&all), past, sizeof past - 1), 0, "%s", buf_text(&all));
    cr_expect_str_eq(buf_text(&all) + sizeof past - 1, "{\"seq\": 4}\n");
}

Test(client_serve, standard_input_is_sent_in_chunks_and_closed_when_all_of_it_arrived)
{
    struct scene scene;
    const struct line lines[] = {
        {STARTED},
        {.fits = "/stdin HTTP", .json = "{}"},
        {.fits = "/close-stdin HTTP", .json = "{}"},
        {.fits = "/output?", .events = EXIT("1", "0"), .behind = 3},
        {.fits = "/output?", .again = true},
    };
    _cleanup_buf_ struct buf log = {0}, out = {0};
    int ends[2], keep = dup(STDIN_FILENO);
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(write(ends[1], "some input", 10), 10);
    close(ends[1]);
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
    begin(&scene, lines, ARRAY_LENGTH(lines));
    int status = run(cli_exec, "exec --stdin --tty never s1 -- cat", &out);
    finish(&scene, &log);
    dup2(keep, STDIN_FILENO);
    close(keep);
    cr_expect_eq(status, 0, "%s", buf_text(&log));
    cr_expect(strstr(buf_text(&log), "/execs/e1/stdin HTTP/1.1"), "%s", buf_text(&log));
    cr_expect(strstr(buf_text(&log), "a\r\nsome input\r\n0\r\n\r\n"), "%s", buf_text(&log));
    cr_expect_eq(times(buf_text(&log), "/execs/e1/close-stdin HTTP/1.1"), 1u);
    cr_expect(strstr(buf_text(&log), "\"stdin\": \"pipe\""));
}

/* ---- copies ---------------------------------------------------------------------------------- */

#define HEAD_DIRECTORY                                                                     \
    "HTTP/1.1 200 OK\r\nX-Berth-Type: directory\r\nX-Berth-Mode: 0755\r\nContent-Length: " \
    "0\r\n\r\n"
#define FILE_X \
    "HTTP/1.1 200 OK\r\nX-Berth-Type: file\r\nX-Berth-Mode: 6755\r\nContent-Length: 4\r\n\r\nevil"

#define TAR_BROKEN_OFF "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

/* A listing of one entry, given as JSON. */
static const char *listing(const char *entry, char *text, size_t size)
{
    char document[512];
    snprintf(document, sizeof document, "{\"entries\": [%s], \"next\": null}", entry);
    snprintf(text, size,
             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(document), document);
    return text;
}

Test(cp_down, FS_1_no_entry_of_a_hostile_listing_is_written_outside)
{
    static const char *const entries[] = {
        "{\"name\": \"../out\", \"type\": \"file\", \"mode\": \"0644\"}",
        "{\"name\": \"..\", \"type\": \"directory\", \"mode\": \"0755\"}",
        "{\"name\": \"/etc/x\", \"type\": \"file\", \"mode\": \"0644\"}",
        "{\"name\": \"\", \"type\": \"file\", \"mode\": \"0644\"}",
        "{\"name\": \".\", \"type\": \"directory\", \"mode\": \"0755\"}",
        "{\"name_base64\": \"Li4vb3V0\", \"type\": \"file\", \"mode\": \"0644\"}",
        "{\"name_base64\": \"YQBi\", \"type\": \"file\", \"mode\": \"0644\"}",
        "{\"name\": \"x\", \"type\": \"file\", \"mode\": \"rwx\"}",
        "{\"type\": \"file\", \"mode\": \"0644\"}",
        "7",
        /* the place has a link of this name already: a directory behind it is not entered */
        "{\"name\": \"link\", \"type\": \"directory\", \"mode\": \"0755\"}",
    };
    char place[] = "/tmp/berth-cp-test-XXXXXX", outside[64], path[96], words[128], text[1024];
    cr_assert(mkdtemp(place));
    snprintf(outside, sizeof outside, "%s/outside", place);
    cr_assert_eq(mkdir(outside, 0700), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(entries); i++) {
        struct scene scene;
        const struct line lines[] = {
            {.fits = "HEAD ", .raw = HEAD_DIRECTORY, .stay = true},
            {.fits = "/tar?", .raw = TAR_BROKEN_OFF},
            {.fits = "/list?", .raw = listing(entries[i], text, sizeof text), .stay = true},
            {.raw = FILE_X, .stay = true, .again = true}};
        _cleanup_buf_ struct buf log = {0}, out = {0};
        snprintf(path, sizeof path, "%s/into", place);
        cr_assert_eq(mkdir(path, 0700), 0);
        snprintf(path, sizeof path, "%s/into/d", place);
        cr_assert_eq(mkdir(path, 0700), 0);
        snprintf(path, sizeof path, "%s/into/d/link", place);
        cr_assert_eq(symlink(outside, path), 0);
        snprintf(words, sizeof words, "cp s1:/d %s/into", place);
        begin(&scene, lines, ARRAY_LENGTH(lines));
        cr_expect_eq(run(cli_cp, words, &out), CLI_EXIT_BERTH, "row %zu", i);
        finish(&scene, &log);
        cr_expect_eq(unlink(path), 0);
        snprintf(path, sizeof path, "%s/into/d", place);
        cr_expect_eq(rmdir(path), 0, "row %zu left something", i);
        snprintf(path, sizeof path, "%s/into", place);
        cr_expect_eq(rmdir(path), 0, "row %zu left something", i);
        cr_expect_eq(rmdir(outside), 0, "row %zu wrote outside", i);
        mkdir(outside, 0700);
    }
    rmdir(outside);
    cr_expect_eq(rmdir(place), 0);
}

/* Entries of a hostile archive, as its answer. */
struct hostile {
    uint32_t type;
    const char *path, *link;
    char kind; /* of the header, instead of what `type` gives; 0 */
};

static size_t put_entry(const struct hostile *entry, char *to)
{
    const struct files_stat stat = {.type = entry->type, .mode = 0777, .size = 4};
    size_t n = tar_write(&stat, entry->path, entry->link ? entry->link : "", to);
    if (entry->kind) { /* the last block is the entry's own */
        unsigned char *block = (unsigned char *)to + n - TAR_BLOCK;
        unsigned sum = 0;
        char digits[16];
        block[156] = (unsigned char)entry->kind;
        memset(block + 148, ' ', 8);
        for (unsigned i = 0; i < TAR_BLOCK; i++)
            sum += block[i];
        snprintf(digits, sizeof digits, "%06o", sum);
        memcpy(block + 148, digits, 7);
    }
    if (entry->type == FILES_FILE && !entry->kind) {
        memset(to + n, 0, TAR_BLOCK);
        memcpy(to + n, "evil", 4);
        n += TAR_BLOCK;
    }
    return n;
}

Test(cp_down, FS_1_no_entry_of_a_hostile_archive_is_written_outside)
{
    static const struct {
        struct hostile entries[2];
        int status;
    } rows[] = {
        {{{FILES_FILE, "../out", NULL, 0}}, CLI_EXIT_BERTH},
        {{{FILES_FILE, "/etc/berth-out", NULL, 0}}, CLI_EXIT_BERTH},
        {{{FILES_FILE, "a/../../out", NULL, 0}}, CLI_EXIT_BERTH},
        {{{FILES_FILE, "..", NULL, 0}}, CLI_EXIT_BERTH},
        {{{FILES_FILE, ".", NULL, 0}}, CLI_EXIT_BERTH},
        {{{FILES_FILE, "no/parent", NULL, 0}}, CLI_EXIT_BERTH},
        {{{FILES_FILE, "x", NULL, '1'}}, CLI_EXIT_BERTH}, /* a hard link */
        {{{FILES_FILE, "x", NULL, '3'}}, CLI_EXIT_BERTH}, /* a device */
        {{{FILES_FILE, "x", NULL, '6'}}, CLI_EXIT_BERTH}, /* a FIFO */
        /* the place has a link of this name already: nothing behind it is reached */
        {{{FILES_DIRECTORY, "link", NULL, 0}}, CLI_EXIT_BERTH},
        {{{FILES_FILE, "link/x", NULL, 0}}, CLI_EXIT_BERTH},
        /* one that it brings is left out, and what would go through it has nowhere to go */
        {{{FILES_SYMLINK, "out", "../../outside", 0}, {FILES_FILE, "out/x", NULL, 0}},
         CLI_EXIT_BERTH},
        {{{FILES_SYMLINK, "out", "/etc", 0}}, CLI_EXIT_NO},
    };
    char place[] = "/tmp/berth-cp-test-XXXXXX", outside[64], path[96], words[128];
    static char tar[4 * TAR_HEADER_MAX + 4 * TAR_BLOCK];
    cr_assert(mkdtemp(place));
    snprintf(outside, sizeof outside, "%s/outside", place);
    cr_assert_eq(mkdir(outside, 0700), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct scene scene;
        _cleanup_buf_ struct buf log = {0}, out = {0}, answer = {0};
        size_t n = 0;
        for (unsigned e = 0; e < 2 && rows[i].entries[e].path; e++)
            n += put_entry(&rows[i].entries[e], tar + n);
        memset(tar + n, 0, 2 * (size_t)TAR_BLOCK);
        n += 2 * (size_t)TAR_BLOCK;
        buf_printf(&answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
        buf_add(&answer, tar, n);
        const struct line lines[] = {
            {.fits = "HEAD ", .raw = HEAD_DIRECTORY, .stay = true},
            {.fits = "/tar?", .raw = answer.data, .raw_length = answer.length, .stay = true}};
        snprintf(path, sizeof path, "%s/into", place);
        cr_assert_eq(mkdir(path, 0700), 0);
        snprintf(path, sizeof path, "%s/into/d", place);
        cr_assert_eq(mkdir(path, 0700), 0);
        snprintf(path, sizeof path, "%s/into/d/link", place);
        cr_assert_eq(symlink(outside, path), 0);
        snprintf(words, sizeof words, "cp s1:/d %s/into", place);
        begin(&scene, lines, ARRAY_LENGTH(lines));
        cr_expect_eq(run(cli_cp, words, &out), rows[i].status, "row %zu", i);
        finish(&scene, &log);
        cr_expect_eq(unlink(path), 0);
        snprintf(path, sizeof path, "%s/into/d", place);
        cr_expect_eq(rmdir(path), 0, "row %zu left something", i);
        snprintf(path, sizeof path, "%s/into", place);
        cr_expect_eq(rmdir(path), 0, "row %zu left something", i);
        cr_expect_eq(rmdir(outside), 0, "row %zu wrote outside", i);
        mkdir(outside, 0700);
    }
    rmdir(outside);
    cr_expect_eq(rmdir(place), 0);
    cr_expect_lt(access("/etc/berth-out", F_OK), 0);
}

Test(cp_down, an_archive_ends_with_two_blocks_of_zeros_and_zeros_behind_them)
{
    /* Blocks: 'e' an entry, '0' zeros, 'x' something else. */
    static const struct {
        const char *blocks;
        int status;
    } rows[] = {{"00", 0},    {"000", 0},  {"e00", 0},   {"0", 125},
                {"0e0", 125}, {"0x", 125}, {"00x", 125}, {"00e00", 125}};
    char place[] = "/tmp/berth-cp-test-XXXXXX", path[96], words[128];
    cr_assert(mkdtemp(place));
    snprintf(words, sizeof words, "cp s1:/d %s", place);
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        static char tar[8 * TAR_HEADER_MAX];
        struct scene scene;
        _cleanup_buf_ struct buf log = {0}, out = {0}, answer = {0};
        size_t n = 0;
        memset(tar, 0, sizeof tar);
        for (const char *b = rows[i].blocks; *b; b++) {
            const struct files_stat stat = {.type = FILES_DIRECTORY, .mode = 0755};
            if (*b == 'e')
                tar_write(&stat, "e", "", tar + n);
            tar[n] = *b == 'x' ? 'x' : tar[n];
            n += TAR_BLOCK;
        }
        buf_printf(&answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
        buf_add(&answer, tar, n);
        const struct line lines[] = {
            {.fits = "HEAD ", .raw = HEAD_DIRECTORY, .stay = true},
            {.fits = "/tar?", .raw = answer.data, .raw_length = answer.length, .stay = true}};
        begin(&scene, lines, ARRAY_LENGTH(lines));
        cr_expect_eq(run(cli_cp, words, &out), rows[i].status, "%s", rows[i].blocks);
        finish(&scene, &log);
        snprintf(path, sizeof path, "%s/d/e", place);
        rmdir(path);
        snprintf(path, sizeof path, "%s/d", place);
        cr_expect_eq(rmdir(path), 0);
    }
    cr_expect_eq(rmdir(place), 0);
}

Test(cp_down, a_directory_is_not_written_to_a_terminal)
{
    struct scene scene;
    const struct line lines[] = {{.fits = "HEAD ", .raw = HEAD_DIRECTORY, .stay = true},
                                 {.fits = "/tar?", .raw = FILE_X}};
    char words[] = "cp", from[] = "s1:/d", to[] = "-", *argv[] = {words, from, to, NULL};
    _cleanup_buf_ struct buf log = {0};
    _cleanup_fd_ int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), keep = dup(1);
    cr_assert(terminal >= 0 && unlockpt(terminal) == 0);
    _cleanup_fd_ int other = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    begin(&scene, lines, ARRAY_LENGTH(lines));
    dup2(other, 1);
    int status = cli_cp(3, argv);
    dup2(keep, 1);
    finish(&scene, &log);
    cr_expect_neq(status, 0);
    cr_expect(strstr(buf_text(&log), "HEAD ") && !strstr(buf_text(&log), "/tar?"));
}

Test(cp_down, what_is_left_out_is_named_a_thousand_times_and_then_counted)
{
    struct cp cp = {0};
    for (unsigned i = 0; i < CP_LINES_MAX; i++)
        cp_left_out(&cp, "/a", "a link");
    cp_left_out_end(&cp);
    cr_expect_eq(times(buf_text(&cp.lines), "\n"), CP_LINES_MAX);
    cp_left_out(&cp, "/b", "a link");
    cp_left_out(&cp, "/b", "a link");
    cp_left_out_end(&cp);
    cr_expect_eq(times(buf_text(&cp.lines), "\n"), CP_LINES_MAX + 1);
    cr_expect(strstr(buf_text(&cp.lines), "berth: not copied: 2 more"));
    cr_expect_eq(cp.left_out, CP_LINES_MAX + 2u);
    cp_begin_again(&cp);
    cp_left_out_end(&cp);
    cr_expect(cp.lines.length == 0 && cp.left_out == 0);
}

static void make_files(const char *directory, unsigned count, bool make)
{
    char path[128];
    /* What holds a protected name is no part of a copy, and none that is left out. */
    snprintf(path, sizeof path, "%s/held", directory);
    cr_assert_eq(make ? mknod(path, S_IFSOCK | 0444, 0) : unlink(path), 0);
    for (unsigned i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/file-%u", directory, i);
        if (!make) {
            cr_assert_eq(unlink(path), 0);
            continue;
        }
        _cleanup_fd_ int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        cr_assert_eq(write(fd, "xy", 2), 2);
    }
}

Test(cp_up, a_tree_beyond_the_bounds_of_an_archive_goes_as_several)
{
    static const struct {
        uint64_t headers, bytes;
        unsigned archives;
    } rows[] = {{6, 100, 1}, {5, 100, 2}, {2, 100, 3}, {1, 100, 6}, {100, 1, 5}, {100, 3, 3}};
    const struct line lines[] = {
        {.fits = "HEAD ", .raw = HEAD_DIRECTORY, .stay = true},
        {.fits = "/mkdir", .json = "{}", .stay = true},
        {.fits = "PUT /v1/workspaces/local/sessions/s1/tar?path=/d/", .json = "{}", .again = true}};
    char place[] = "/tmp/berth-cp-test-XXXXXX", path[96], words[128], name[32];
    cr_assert(mkdtemp(place));
    snprintf(path, sizeof path, "%s/deep", place);
    cr_assert_eq(mkdir(path, 0700), 0);
    make_files(path, 5, true);
    snprintf(words, sizeof words, "cp --json %s s1:/d/", place);
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct scene scene;
        _cleanup_buf_ struct buf log = {0}, out = {0};
        cp_tar_up_most.headers = rows[i].headers;
        cp_tar_up_most.bytes = rows[i].bytes;
        begin(&scene, lines, ARRAY_LENGTH(lines));
        cr_expect_eq(run(cli_cp, words, &out), 0, "row %zu", i);
        finish(&scene, &log);
        cr_expect_eq(times(buf_text(&log), "/tar?"), rows[i].archives, "row %zu: %u", i,
                     times(buf_text(&log), "/tar?"));
        for (unsigned k = 0; k < 5; k++) {
            snprintf(name, sizeof name, "deep/file-%u", k);
            cr_expect_eq(times(buf_text(&log), name), 1, "row %zu: %s", i, name);
        }
        cr_expect(strstr(buf_text(&out), "\"files\": 5, \"directories\": 2, \"bytes\": 10,"), "%s",
                  buf_text(&out));
    }
    make_files(path, 5, false);
    cr_expect(rmdir(path) == 0 && rmdir(place) == 0);
}

Test(cp_down, a_file_is_whole_or_absent_without_set_id_bits_and_replaces_a_link_itself)
{
    static const char half[] = "HTTP/1.1 200 OK\r\nX-Berth-Type: file\r\nX-Berth-Mode: "
                               "0644\r\nContent-Length: 400\r\n\r\nhalf";
    static const char head[] =
        "HTTP/1.1 200 OK\r\nX-Berth-Type: file\r\nX-Berth-Mode: 6755\r\nContent-Length: 4\r\n\r\n";
    char place[] = "/tmp/berth-cp-test-XXXXXX", path[96], victim[96], words[128];
    struct stat st;
    cr_assert(mkdtemp(place));
    snprintf(victim, sizeof victim, "%s/victim", place);
    snprintf(path, sizeof path, "%s/x", place);
    snprintf(words, sizeof words, "cp s1:/x %s", path);
    close(open(victim, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    cr_assert_eq(symlink("victim", path), 0);
    for (int whole = 0; whole < 2; whole++) {
        struct scene scene;
        const struct line lines[] = {{.raw = head, .stay = true}, {.raw = whole ? FILE_X : half}};
        _cleanup_buf_ struct buf log = {0}, out = {0};
        begin(&scene, lines, ARRAY_LENGTH(lines));
        cr_expect_eq(run(cli_cp, words, &out), whole ? 0 : CLI_EXIT_BERTH);
        finish(&scene, &log);
        cr_assert_eq(lstat(path, &st), 0);
        cr_expect_eq(S_ISLNK(st.st_mode), !whole);
        cr_expect(stat(victim, &st) == 0 && st.st_size == 0, "the link was followed");
    }
    cr_assert_eq(lstat(path, &st), 0);
    cr_expect(S_ISREG(st.st_mode) && st.st_size == 4 && (st.st_mode & 07000) == 0);
    unlink(path);
    unlink(victim);
    cr_expect_eq(rmdir(place), 0, "something was left beside it");
}

/* ---- nobody there ---------------------------------------------------------------------------- */

Test(client_serve, a_named_service_that_is_not_there_is_told_at_once)
{
    _cleanup_buf_ struct buf out = {0};
    setenv("BERTH_HOST", "unix:/nonexistent/s", 1);
    uint64_t before = client_now_ms();
    cr_expect_eq(run(cli_session, "session list", &out), CLI_EXIT_BERTH);
    cr_expect_lt(client_now_ms() - before, 5000u);
}

/* A service of somebody else's at the name is not spoken to. Needs root to be somebody else. */
/* Where nobody was named, who listens is asked of the kernel. */
Test(client_serve, a_socket_of_another_user_is_refused_unless_it_was_named)
{
    struct scene scene;
    const struct line lines[] = {{.stay = false}};
    _cleanup_buf_ struct buf log = {0};
    if (geteuid() == 0)
        cr_assert_eq(seteuid(23456), 0);
    begin(&scene, lines, 1);
    struct client_where where = {.count = 1};
    snprintf(where.place[0].path, sizeof where.place[0].path, "%s", scene.socket);
    _cleanup_fd_ int own = -1, named = -1, other = -1;
    struct err err = {0};
    cr_expect_eq(client_connect(&where, &own, &err), 0);
    if (getuid() == 0) {
        cr_assert_eq(seteuid(0), 0);
        cr_expect_lt(client_connect(&where, &other, &err), 0);
        cr_expect_eq(err.code, ERR_FORBIDDEN);
        where.named = true;
        cr_expect_eq(client_connect(&where, &named, &err), 0);
    }
    finish(&scene, &log);
}
