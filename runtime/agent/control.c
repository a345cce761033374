/* This file obeys the controller; it never blocks, and closes every descriptor that it was sent and
 * did not give to a command.
 */
#include "runtime/agent/control.h"

#include "runtime/agent/denied.h"
#include "runtime/agent/exec.h"
#include "runtime/agent/input.h"
#include "runtime/agent/life.h"
#include "runtime/agent/pty.h"
#include "runtime/agent/tree.h"
#include "runtime/base/fd.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Answers to one round of messages: the reserve of the queue holds a few rounds. */
enum { MESSAGES_A_ROUND = 8, ANSWER_MOST = 1024 };

void control_hello(struct init *init)
{
    struct agent_frame frame = {.type = AGENT_FRAME_HELLO, .seq = table_count(&init->table)};
    output_push(&init->output, &frame, NULL);
    denied_tell_again(init);
    init->table_sent = 0;
    init->table_end = init->table.used;
    init->table.frozen = init->table_end > 0;
}

void control_send_table(struct init *init)
{
    if (!init->table.frozen)
        return;
    for (; init->table_sent < init->table_end; init->table_sent++) {
        struct row *row = &init->table.rows[init->table_sent];
        if (row->state == ROW_FREE)
            continue;
        if (!life_push_told(init, row))
            return;
    }
    table_thaw(&init->table);
}

static void send_foreground(struct row *row, int signo)
{
    /* Of the terminal, by its master: the group in our PID namespace's numbers. */
    pid_t group = 0;
    if (row->stream[0] >= 0 && ioctl(row->stream[0], TIOCGPGRP, &group) == 0 && group > 1)
        kill(-group, signo);
}

static void send_signal(struct init *init, struct row *row, const struct agent_message *message)
{
    if (message->arg[0] < 1 || message->arg[0] >= (uint64_t)NSIG)
        return;
    int signo = (int)message->arg[0];
    switch (message->arg[1]) {
    case AGENT_SCOPE_MAIN:
        if (!row->main_alive || row->state == ROW_FAILING)
            return;
        if (kill(row->pid, signo) == 0 && signo == SIGKILL)
            row->main_killed = true;
        return;
    case AGENT_SCOPE_TREE:
        if (signo == SIGKILL)
            tree_kill(init, row);
        else
            tree_signal(init, row, signo);
        return;
    case AGENT_SCOPE_FOREGROUND:
        if (row->pty)
            send_foreground(row, signo);
        return;
    default:
        return;
    }
}

static enum agent_reason reason_from(uint64_t arg)
{
    return arg > AGENT_REASON_NONE && arg < AGENT_REASON_END ? (enum agent_reason)arg
                                                             : AGENT_REASON_CANCELLED;
}

/* Each that init was told of before this: with or without a number that tells so. */
static void end_workers(struct init *init, enum agent_reason reason)
{
    for (unsigned i = 0; i < init->table.live_count; i++)
        if (init->table.rows[init->table.live[i]].files)
            life_ask_end(init, &init->table.rows[init->table.live[i]], reason);
}

static void pause_times(struct init *init, bool pause)
{
    uint64_t now = init_now_ns(CLOCK_MONOTONIC);
    if (pause) {
        end_workers(init, AGENT_REASON_CANCELLED);
        if (init->paused_ns == 0)
            init->paused_ns = now;
        return;
    }
    for (unsigned i = 0; init->paused_ns > 0 && i < init->table.live_count; i++)
        life_shift(&init->table.rows[init->table.live[i]], init->paused_ns, now);
    init->paused_ns = 0;
}

/* Too many to remember: one answer for the highest stands for all below it. */
static void ask_interrupted(struct init *init, uint64_t floor)
{
    uint64_t *place = &init->interrupts[0];
    for (unsigned i = 0; i < INTERRUPTS_MAX; i++) {
        if (init->interrupts[i] == 0) {
            place = &init->interrupts[i];
            break;
        }
        if (init->interrupts[i] > *place)
            place = &init->interrupts[i];
    }
    if (floor > *place)
        *place = floor;
}

static void interrupt(struct init *init, uint64_t floor)
{
    if (floor == 0)
        return; /* no exec has this number, and no frame can answer it */
    if (floor > init->interrupt_floor)
        init->interrupt_floor = floor;
    for (unsigned i = 0; i < init->table.live_count; i++) {
        struct row *row = &init->table.rows[init->table.live[i]];
        if (row->number <= floor)
            life_ask_end(init, row, AGENT_REASON_INTERRUPTED);
    }
    end_workers(init, AGENT_REASON_INTERRUPTED);
    ask_interrupted(init, floor);
}

static bool lives_up_to(const struct init *init, uint64_t floor)
{
    for (unsigned i = 0; i < init->table.live_count; i++) {
        const struct row *row = &init->table.rows[init->table.live[i]];
        bool ends = row->files && row->reason_asked == AGENT_REASON_INTERRUPTED;
        if ((row->number <= floor || ends) && !row->abandoned)
            return true;
    }
    return false;
}

void control_answer_interrupts(struct init *init)
{
    for (unsigned i = 0; i < INTERRUPTS_MAX; i++) {
        uint64_t floor = init->interrupts[i];
        if (floor == 0 || lives_up_to(init, floor) || !output_has_room(&init->output, 0))
            continue;
        struct agent_frame frame = {.type = AGENT_FRAME_INTERRUPTED, .exec = floor};
        output_push(&init->output, &frame, NULL);
        init->interrupts[i] = 0;
    }
}

/* A message about one exec that lives; about another it is late, and means nothing. */
static void about_exec(struct init *init, const struct agent_message *message)
{
    struct row *row = table_find(&init->table, message->exec);
    if (!row || row->state == ROW_ENDED)
        return;
    switch ((enum agent_message_type)message->type) {
    case AGENT_SIGNAL:
        send_signal(init, row, message);
        return;
    case AGENT_RESIZE:
        pty_resize(row, (uint16_t)message->arg[0], (uint16_t)message->arg[1]);
        return;
    case AGENT_KILL:
        life_ask_end(init, row, reason_from(message->arg[0]));
        return;
    case AGENT_CLOSE_STDIN:
        input_end(init, row);
        pty_work(init, row);
        return;
    default:
        return;
    }
}

static void obey(struct init *init, const struct agent_message *message, int *fds, unsigned count,
                 bool truncated)
{
    switch ((enum agent_message_type)message->type) {
    case AGENT_HELLO:
        control_hello(init);
        return;
    case AGENT_EXEC:
        if (message->exec == 0)
            return; /* no frame can answer it */
        if (truncated)
            exec_refuse(init, message->exec, EMFILE, "receive descriptors", NULL);
        else
            exec_request(init, message, fds, count);
        return;
    case AGENT_INTERRUPT:
        interrupt(init, message->exec);
        return;
    case AGENT_PING: {
        struct agent_frame frame = {.type = AGENT_FRAME_PONG, .exec = message->exec};
        output_push(&init->output, &frame, NULL);
        return;
    }
    case AGENT_SHUTDOWN:
        init->shutdown = true;
        return;
    case AGENT_PAUSE:
        pause_times(init, message->arg[0] != 0);
        return;
    case AGENT_STDIN: {
        struct row *row = table_find(&init->table, message->exec);
        if (row && row->state != ROW_ENDED && count == 1 && !truncated)
            input_attach(init, row, take_fd(&fds[0]));
        return;
    }
    case AGENT_FORGET: {
        struct row *row = table_find(&init->table, message->exec);
        if (row)
            table_record(&init->table, row);
        return;
    }
    default:
        about_exec(init, message);
        return;
    }
}

void control_message(struct init *init, const struct agent_message *message, size_t length,
                     int *fds, unsigned count, bool truncated)
{
    /* An older epoch is a controller that was replaced: its last words must start nothing. */
    if (!agent_message_check(message, length) && message->epoch >= init->epoch) {
        init->epoch = message->epoch;
        obey(init, message, fds, count, truncated);
    }
    for (unsigned i = 0; i < count; i++)
        fd_replace(&fds[i], -1);
}

/* The descriptors of a message; 0 of them unless all are there. The kernel hands over at most one
 * SCM_RIGHTS a message, and no other kind of control data was asked for (unix(7)). */
static unsigned received_fds(struct msghdr *header, int fds[AGENT_FDS_MAX])
{
    unsigned count = 0;
    struct cmsghdr *part = CMSG_FIRSTHDR(header);
    if (!part || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
        return 0;
    size_t bytes = part->cmsg_len - CMSG_LEN(0);
    for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
        int fd;
        memcpy(&fd, CMSG_DATA(part) + at, sizeof fd);
        if (count < AGENT_FDS_MAX)
            fds[count++] = fd;
        else
            close(fd);
    }
    if (header->msg_flags & MSG_CTRUNC)
        while (count > 0)
            close(fds[--count]);
    return count;
}

/* recvmsg() says 0 for an empty message too. */
static bool hung_up(int fd)
{
    struct pollfd socket = {.fd = fd, .events = POLLRDHUP};
    return poll(&socket, 1, 0) == 1 && socket.revents & (POLLHUP | POLLRDHUP | POLLERR);
}

int control_receive(int socket, struct control_received *ret)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * AGENT_FDS_MAX)];
    } control;
    struct iovec part = {&ret->message, sizeof ret->message};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return CONTROL_NONE;
    ret->count = n < 0 ? 0 : received_fds(&header, ret->fds);
    if (n < 0 || (n == 0 && hung_up(socket))) {
        control_drop_fds(ret);
        return CONTROL_ENDED;
    }
    ret->length = (size_t)n;
    ret->truncated = header.msg_flags & MSG_CTRUNC;
    return 0;
}

void control_drop_fds(struct control_received *received)
{
    while (received->count > 0)
        fd_close(received->fds[--received->count]);
}

bool control_ready(const struct init *init)
{
    return init->control >= 0 && !init->control_ended && !init->table.frozen &&
           output_has_room(&init->output, MESSAGES_A_ROUND * (size_t)ANSWER_MOST);
}

void control_read(struct init *init)
{
    for (int i = 0; i < MESSAGES_A_ROUND && control_ready(init) && !init->shutdown; i++) {
        struct control_received received;
        int r = control_receive(init->control, &received);
        init->control_ended |= r == CONTROL_ENDED;
        if (r > 0)
            return;
        control_message(init, &received.message, received.length, received.fds, received.count,
                        received.truncated);
    }
}
