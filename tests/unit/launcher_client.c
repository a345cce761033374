/* This file tests front's end of the launcher socket against a launcher that is this test: queues,
 * descriptors, loss, and what comes in that is no reply. */
#include "runtime/link/launcher_client.h"

#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static int far; /* the launcher's end */
static struct launcher_client *client;

struct seen {
    unsigned done, lost;
    int result;
    struct launcher_client *again; /* call once more from inside */
};

static void done(void *data, const struct launcher_reply *r, const struct err *err);

static struct launcher_request ask(unsigned type, int64_t row)
{
    struct launcher_request r = {.type = (uint16_t)type, .row = row, .incarnation = 1};
    strcpy(r.instance, "ab");
    return r;
}

static int call(struct seen *seen, int64_t row)
{
    struct launcher_request r = ask(LAUNCHER_END, row);
    struct err err;
    return launcher_client_call(client, &r, NULL, 0, done, seen, &err);
}

static void done(void *data, const struct launcher_reply *r, const struct err *err)
{
    struct seen *seen = data;
    seen->done++;
    seen->lost += r == NULL;
    seen->result = r ? r->result : -err->sys;
    if (seen->again) {
        seen->again = NULL;
        call(seen, 77);
    }
}

static void setup(void)
{
    int pair[2];
    struct err err;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    far = pair[1];
    cr_assert_eq(launcher_client_new(&client, pair[0], &err), 0);
}

static void teardown(void)
{
    launcher_client_free(client);
    fd_close(far);
}

TestSuite(launcher_client, .init = setup, .fini = teardown);

static struct launcher_request next(void)
{
    struct launcher_request r;
    cr_assert_eq(recv(far, &r, sizeof r, MSG_DONTWAIT), (ssize_t)sizeof r);
    cr_assert_null(launcher_request_check(&r, sizeof r, 0));
    return r;
}

static void give(const struct launcher_request *to, int result)
{
    struct launcher_reply r = {.magic = LAUNCHER_MAGIC,
                               .version = LAUNCHER_VERSION,
                               .type = to->type,
                               .ticket = to->ticket,
                               .row = to->row,
                               .incarnation = to->incarnation,
                               .result = result};
    r.err.code = result ? ERR_UNAVAILABLE : ERR_NONE;
    cr_assert_eq(send(far, &r, sizeof r, 0), (ssize_t)sizeof r);
}

static int work(void)
{
    struct err err;
    return launcher_client_work(client, &err);
}

Test(launcher_client, answers_find_who_asked_in_any_order)
{
    struct seen a = {0}, b = {0};
    cr_assert_eq(call(&a, 1), 0);
    cr_assert_eq(call(&b, 2), 0);
    cr_assert(launcher_client_wants_write(client));
    cr_assert_eq(work(), 0);
    cr_assert_not(launcher_client_wants_write(client));
    struct launcher_request first = next(), second = next();
    give(&second, -5);
    cr_assert_eq(work(), 0);
    cr_expect(a.done == 0 && b.done == 1 && b.result == -5);
    give(&first, 0);
    give(&first, 0); /* twice: nobody is there for the second */
    cr_assert_eq(work(), 0);
    cr_expect(a.done == 1 && a.result == 0 && b.done == 1);
}

Test(launcher_client, what_was_sent_is_lost_with_the_connection_and_what_was_not_waits)
{
    struct seen a = {.again = client}, b = {0};
    call(&a, 1);
    work();
    next();
    call(&b, 2); /* not sent */
    fd_replace(&far, -1);
    cr_assert_eq(work(), LAUNCHER_CLIENT_LOST);
    cr_expect_eq(launcher_client_fd(client), -1);
    cr_expect(a.done == 1 && a.lost == 1 && a.result == -ECONNRESET);
    cr_expect_eq(b.done, 0);
    cr_assert_eq(work(), LAUNCHER_CLIENT_LOST);
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    far = pair[1];
    launcher_client_replace(client, pair[0]);
    cr_assert_eq(work(), 0);
    struct launcher_request r = next();
    cr_expect_eq(r.row, 2);
    give(&r, 0);
    r = next();
    cr_expect_eq(r.row, 77, "asked again from inside the loss");
    give(&r, 0);
    work();
    cr_expect(a.done == 2 && a.lost == 1 && b.done == 1 && b.lost == 0);
}

static int opened = -1;

static void open_when_lost(void *data, const struct launcher_reply *reply, const struct err *err)
{
    (void)data, (void)reply, (void)err;
    opened = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

Test(launcher_client, the_number_of_a_lost_connection_is_not_given_to_what_its_callers_open)
{
    struct launcher_request request = {.type = LAUNCHER_END, .row = 1, .incarnation = 1};
    snprintf(request.instance, sizeof request.instance, "0123456789abcdef");
    struct err err;
    int fd = launcher_client_fd(client);
    cr_assert_eq(launcher_client_call(client, &request, NULL, 0, open_when_lost, NULL, &err), 0);
    work();
    next();
    fd_replace(&far, -1);
    cr_assert_eq(work(), LAUNCHER_CLIENT_LOST);
    cr_expect(opened >= 0 && opened != fd, "an event loop still watches it");
    fd_close(opened);
}

Test(launcher_client, replies_that_came_before_the_end_are_delivered)
{
    struct seen a = {0};
    call(&a, 1);
    work();
    struct launcher_request r = next();
    give(&r, 0);
    fd_replace(&far, -1);
    struct seen b = {0};
    call(&b, 2);
    cr_assert_eq(work(), LAUNCHER_CLIENT_LOST);
    cr_expect(a.done == 1 && a.lost == 0);
    cr_expect_eq(b.done, 0, "it could not be sent: it waits");
}

Test(launcher_client, who_is_forgotten_is_not_called)
{
    struct seen a = {0};
    call(&a, 1);
    work();
    struct launcher_request r = next();
    launcher_client_forget(client, &a);
    give(&r, 0);
    cr_assert_eq(work(), 0);
    cr_expect_eq(a.done, 0);
}

Test(launcher_client, what_is_no_reply_ends_the_connection)
{
    struct seen a = {0};
    call(&a, 1);
    work();
    static char garbage[sizeof(struct launcher_reply)];
    cr_assert_eq(send(far, garbage, sizeof garbage, 0), (ssize_t)sizeof garbage);
    cr_assert_eq(work(), LAUNCHER_CLIENT_LOST);
    cr_expect(a.lost == 1);
}

Test(launcher_client, a_flood_of_calls_waits_its_turn_and_none_is_missed)
{
    enum { COUNT = 3000 };
    struct seen all = {0};
    for (unsigned i = 0; i < COUNT; i++)
        cr_assert_eq(call(&all, i + 1), 0);
    int64_t row = 1;
    for (unsigned rounds = 0; all.done < COUNT && rounds < COUNT; rounds++) {
        cr_assert_eq(work(), 0);
        struct launcher_request r;
        /* As many as there is room for answers to. */
        for (unsigned i = 0; i < 8 && recv(far, &r, sizeof r, MSG_DONTWAIT) > 0; i++) {
            cr_assert_eq(r.row, row++, "in the order of calling");
            give(&r, 0);
        }
    }
    cr_expect_eq(all.done, COUNT);
}

Test(launcher_client, descriptors_are_copies_and_are_closed_when_sent_or_given_up)
{
    int pipes[2];
    cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
    struct launcher_request r = ask(LAUNCHER_FILES, 1);
    struct err err;
    int before = dup(0), fds[2] = {pipes[1], pipes[1]};
    close(before);
    cr_assert_eq(launcher_client_call(client, &r, fds, 2, NULL, NULL, &err), 0);
    fd_close(pipes[1]);
    work();
    char buffer[sizeof r];
    cr_assert_eq(recv(far, buffer, sizeof buffer, 0), (ssize_t)sizeof r); /* drops them */
    char byte;
    cr_expect_eq(read(pipes[0], &byte, 1), 0, "nobody holds the write end any more");
    fd_close(pipes[0]);
    int after = dup(0);
    cr_expect_leq(after, before);
    close(after);
}

Test(launcher_client, a_call_that_the_launcher_would_refuse_is_not_sent)
{
    struct launcher_request r = ask(LAUNCHER_END, 0);
    struct err err;
    cr_expect_lt(launcher_client_call(client, &r, NULL, 0, NULL, NULL, &err), 0);
    r = ask(LAUNCHER_LAUNCH, 1);
    r.generation = 1; /* and no spec */
    cr_expect_lt(launcher_client_call(client, &r, NULL, 0, NULL, NULL, &err), 0);
    cr_expect_not(launcher_client_wants_write(client));
}

Test(launcher_client, a_cancel_goes_after_what_it_is_about_and_what_was_not_sent_ends_at_once)
{
    struct seen a = {0}, b = {0};
    call(&a, 1);
    work();
    struct launcher_request r = next();
    launcher_client_cancel(client, &a);
    cr_assert_eq(work(), 0);
    struct launcher_request c = next();
    cr_expect(c.type == LAUNCHER_CANCEL && c.ticket == r.ticket);
    give(&c, 0);
    cr_assert_eq(work(), 0);
    cr_expect_eq(a.done, 0, "the answer to CANCEL is not the call's");
    give(&r, -5);
    work();
    cr_expect(a.done == 1 && a.result == -5);
    call(&b, 2);
    launcher_client_cancel(client, &b);
    cr_expect(b.done == 1 && b.lost == 1 && b.result == -ECANCELED);
}

static int64_t dead_row;
static void on_died(void *data, int64_t row, int64_t incarnation)
{
    cr_assert_eq(data, &dead_row);
    dead_row = row * 10 + incarnation;
}

Test(launcher_client, an_end_that_nobody_asked_about_is_told)
{
    launcher_client_on_died(client, on_died, &dead_row);
    struct launcher_reply r = {.magic = LAUNCHER_MAGIC,
                               .version = LAUNCHER_VERSION,
                               .type = LAUNCHER_REQUEST_END,
                               .row = 4,
                               .incarnation = 2};
    send(far, &r, sizeof r, 0);
    cr_assert_eq(work(), 0);
    cr_expect_eq(dead_row, 42);
}
