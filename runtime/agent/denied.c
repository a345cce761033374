/* This file answers and counts denied calls; it never lets one through, never waits, and never
 * takes a command's name for anything but bytes.
 *
 * An answer is the errno that the unchanged filter has for that call, and no other kind of answer
 * is ever sent: SECCOMP_USER_NOTIF_FLAG_CONTINUE does not occur here.
 */
#include "runtime/agent/denied.h"

#include "runtime/agent/borrow.h"
#include "runtime/agent/child.h"
#include "runtime/base/fd.h"
#include "runtime/plan/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

enum { ANSWERS_A_ROUND = 64 };

/* Between two tellings of an exec's totals, and between two looks for rows that nobody needs. */
static const uint64_t tell_again_ns = 100 * 1000000;
static const uint64_t reclaim_again_ns = 100 * 1000000;

/* A kernel whose structures have grown writes more than we know of, never more than this. */
union question {
    struct seccomp_notif notif;
    unsigned char room[512];
};
union answer {
    struct seccomp_notif_resp response;
    unsigned char room[512];
};

int denied_setup(struct init *init, struct err *err)
{
    static const char step[] = "explain denied calls";
    if (!(init->config.flags & AGENT_EXPLAIN))
        return 0;
    struct seccomp_notif_sizes sizes;
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
        return err_raw(err, ERR_INTERNAL, errno, step, NULL);
    if (sizes.seccomp_notif > sizeof(union question) ||
        sizes.seccomp_notif_resp > sizeof(union answer) ||
        sizes.seccomp_data != sizeof(struct seccomp_data))
        return err_raw(err, ERR_INTERNAL, E2BIG, step, "sizes of the kernel's structures");
    size_t size = init->config.exec_filter_length * sizeof(struct sock_filter);
    void *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        return err_raw(err, ERR_INTERNAL, errno, step, NULL);
    memcpy(copy, init->exec_filter, size);
    seccomp_notify(copy, init->config.exec_filter_length);
    init->asking_filter = copy;
    return 0;
}

/* ---- the listener ---------------------------------------------------------------------------- */

static int received(struct msghdr *header)
{
    int fd = -1;
    const struct cmsghdr *c = CMSG_FIRSTHDR(header); /* there is room for one */
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd;
}

static int keep_listener(struct init *init, struct row *row, int *fd)
{
    struct epoll_event event = {
        .events = EPOLLIN,
        .data.u64 = init_wait_data(WAIT_DENIED, table_index(&init->table, row)),
    };
    if (*fd < 0)
        errno = EMFILE; /* there was no place for it */
    if (*fd < 0 || epoll_ctl(init->wait, EPOLL_CTL_ADD, *fd, &event) < 0)
        return -1;
    row->listener = take_fd(fd);
    return 0;
}

ssize_t denied_read_start(struct init *init, struct row *row, char *ret_kind)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    char kind = 0;
    struct iovec part = {&kind, 1};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(row->error, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n != 1)
        return n;
    *ret_kind = kind;
    _cleanup_fd_ int fd = received(&header);
    if (kind != CHILD_LISTENER || row->listener >= 0)
        return n;
    return keep_listener(init, row, &fd) < 0 ? -1 : n;
}

void denied_close(struct init *init, struct row *row)
{
    if (row->listener < 0)
        return;
    epoll_ctl(init->wait, EPOLL_CTL_DEL, row->listener, NULL);
    fd_replace(&row->listener, -1);
}

/* ---- counting -------------------------------------------------------------------------------- */

/* The name that a process gave itself. /proc hides it from init (hidepid), not from its own user;
 * one that is not dumpable has none for anybody. */
static void read_command(const struct init *init, const struct row *row, uint32_t pid,
                         char ret_name[AGENT_COMMAND_MAX])
{
    char path[32] = "/proc/", digits[12], text[64];
    unsigned count = 0;
    size_t at = strlen(path);
    do
        digits[count++] = (char)('0' + pid % 10);
    while ((pid /= 10) > 0);
    while (count > 0)
        path[at++] = digits[--count];
    memcpy(path + at, "/comm", sizeof "/comm");

    const struct agent_exec user = {.uid = row->uid, .gid = row->gid};
    memset(ret_name, 0, AGENT_COMMAND_MAX);
    borrow_ids(init, &user);
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    borrow_end(init);
    for (ssize_t i = 0; i < n && i < AGENT_COMMAND_MAX - 1 && text[i]; i++)
        ret_name[i] = text[i];
    size_t length = strlen(ret_name);
    if (length > 0 && ret_name[length - 1] == '\n')
        ret_name[length - 1] = 0;
}

static bool same_call(const struct agent_denied *a, const struct agent_denied *b)
{
    return a->number == b->number && a->arch == b->arch && a->sys == b->sys &&
           a->flags == b->flags && a->argument == b->argument && a->value == b->value &&
           memcmp(a->command, b->command, sizeof a->command) == 0;
}

/* Whoever reads them has recorded the exec, or is told nothing more of it. */
static void reclaim(struct init *init)
{
    uint64_t now = init_now_ns(CLOCK_MONOTONIC);
    if (now < init->reclaimed_ns + reclaim_again_ns)
        return;
    init->reclaimed_ns = now;
    for (unsigned i = 0; i < init->denials_used; i++) {
        struct denial *d = &init->denials[i];
        const struct row *row = d->exec ? table_find(&init->table, d->exec) : NULL;
        if (!row || (row->state == ROW_ENDED && !init->table.keeps))
            *d = (struct denial){0};
    }
}

static struct denial *find_or_add(struct init *init, uint64_t exec, const struct agent_denied *call)
{
    struct denial *free_one = NULL;
    unsigned of_exec = 0;
    for (unsigned i = 0; i < init->denials_used; i++) {
        struct denial *d = &init->denials[i];
        if (d->exec == exec && same_call(&d->denied, call))
            return d;
        of_exec += d->exec == exec;
        if (d->exec == 0 && !free_one)
            free_one = d;
    }
    if (of_exec >= DENIALS_OF_EXEC_MAX)
        return NULL;
    if (!free_one && init->denials_used < DENIALS_MAX)
        free_one = &init->denials[init->denials_used++];
    if (!free_one) {
        reclaim(init);
        for (unsigned i = 0; i < DENIALS_MAX && !free_one; i++)
            if (init->denials[i].exec == 0)
                free_one = &init->denials[i];
    }
    if (free_one)
        *free_one = (struct denial){.exec = exec, .denied = *call};
    return free_one;
}

static void count_call(struct init *init, struct row *row, const struct agent_denied *call)
{
    struct denial *d = find_or_add(init, row->number, call);
    if (d)
        d->denied.count++;
    else
        row->denied_other++;
    row->denied_news = true;
}

/* ---- answering ------------------------------------------------------------------------------- */

/* RECV has no O_NONBLOCK: it sleeps when nobody asks. init is its only reader, and the kernel's
 * count of questions is never less than there are, so that it does not sleep after this. */
static bool somebody_asks(int listener)
{
    struct pollfd fd = {.fd = listener, .events = POLLIN};
    return poll(&fd, 1, 0) == 1 && fd.revents & POLLIN;
}

/* The type of a request is another one in each C library. */
static long listener_call(const struct row *row, unsigned long request, void *argument)
{
    return syscall(SYS_ioctl, row->listener, request, argument);
}

/* Counted when the answer was taken: whoever was killed or interrupted before asks again or not. */
static void answer_one(struct init *init, struct row *row)
{
    union question question;
    union answer answer;
    memset(&question, 0, sizeof question);
    memset(&answer, 0, sizeof answer);
    if (listener_call(row, SECCOMP_IOCTL_NOTIF_RECV, &question) < 0)
        return;
    const struct seccomp_data *data = &question.notif.data;
    struct agent_denied call = {
        .number = data->nr,
        .arch = data->arch,
        .sys = (uint32_t)seccomp_denied_errno(init->exec_filter, init->config.exec_filter_length,
                                              data),
    };
    if (!row->files) {
        unsigned argument = 0;
        if (seccomp_denied_argument(data, &argument, &call.value)) {
            call.flags = AGENT_DENIED_ARGUMENT;
            call.argument = argument;
        }
        read_command(init, row, question.notif.pid, call.command);
    }
    answer.response.id = question.notif.id;
    answer.response.error = -(int)call.sys;
    if (listener_call(row, SECCOMP_IOCTL_NOTIF_SEND, &answer) == 0 && !row->files)
        count_call(init, row, &call);
}

void denied_take(struct init *init, struct row *row, uint32_t events)
{
    if (row->listener < 0)
        return;
    for (int i = 0; i < ANSWERS_A_ROUND && somebody_asks(row->listener); i++)
        answer_one(init, row);
    /* Nobody has the filter any more, and nobody can get it. EPOLLERR is a look that a signal has
     * interrupted. */
    if (!(events & EPOLLIN) && events & EPOLLHUP)
        denied_close(init, row);
}

/* ---- telling --------------------------------------------------------------------------------- */

static void push_denied(struct init *init, uint64_t exec, const struct agent_denied *denied)
{
    struct agent_frame frame = {.type = AGENT_FRAME_DENIED, .length = sizeof *denied, .exec = exec};
    output_push(&init->output, &frame, denied);
}

static void push_other(struct init *init, struct row *row)
{
    struct agent_denied other = {
        .count = row->denied_other, .number = -1, .flags = AGENT_DENIED_OTHER};
    push_denied(init, row->number, &other);
    row->denied_told = row->denied_other;
}

static bool doubled(uint64_t count, uint64_t told)
{
    return count > told && count / 2 >= told;
}

/* Off the reserve of the queue: a reader that sleeps is told before the EXIT. */
void denied_tell(struct init *init, struct row *row, uint64_t now)
{
    if (!row->denied_news || row->owes_started || init->output.broken ||
        now < row->denied_told_ns + tell_again_ns)
        return;
    for (unsigned i = 0; i < init->denials_used; i++) {
        struct denial *d = &init->denials[i];
        if (d->exec != row->number || !doubled(d->denied.count, d->told))
            continue;
        if (output_data_room(&init->output) == 0)
            return;
        push_denied(init, d->exec, &d->denied);
        d->told = d->denied.count;
    }
    if (doubled(row->denied_other, row->denied_told)) {
        if (output_data_room(&init->output) == 0)
            return;
        push_other(init, row);
    }
    row->denied_news = false;
    row->denied_told_ns = now;
}

uint64_t denied_next_ns(const struct init *init, const struct row *row)
{
    if (!row->denied_news || row->owes_started || init->output.broken ||
        output_data_room(&init->output) == 0)
        return 0;
    return row->denied_told_ns + tell_again_ns;
}

bool denied_tell_all(struct init *init, struct row *row)
{
    if (!init->asking_filter)
        return true;
    for (unsigned i = 0; i < init->denials_used; i++) {
        struct denial *d = &init->denials[i];
        if (d->exec != row->number || d->denied.count == d->told)
            continue;
        if (!output_has_room(&init->output, sizeof d->denied))
            return false;
        push_denied(init, d->exec, &d->denied);
        d->told = d->denied.count;
    }
    if (row->denied_other > row->denied_told) {
        if (!output_has_room(&init->output, sizeof(struct agent_denied)))
            return false;
        push_other(init, row);
    }
    return true;
}

void denied_tell_again(struct init *init)
{
    for (unsigned i = 0; i < init->denials_used; i++)
        init->denials[i].told = 0;
    for (unsigned i = 0; init->asking_filter && i < init->table.used; i++)
        init->table.rows[i].denied_told = 0;
}
