/* This file is the controller's side of the protocol: how a command becomes a payload and a message
 * goes out. It never reads what init says (frame_reader.c does).
 */
#include "runtime/agent/controller.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

int controller_send(int socket, const struct agent_message *message, const int *fds,
                    unsigned fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * AGENT_FDS_MAX)];
    } control;
    struct iovec part = {(void *)(uintptr_t)message, sizeof *message};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > 0) {
        memset(&control, 0, sizeof control);
        header.msg_control = control.bytes;
        header.msg_controllen = (socklen_t)CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = (socklen_t)CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
    }
    ssize_t n;
    do
        n = sendmsg(socket, &header, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

static uint32_t add_strings(char *to, uint32_t at, const char *const *list, uint32_t *ret_count)
{
    uint32_t count = 0;
    for (; list && list[count]; count++) {
        size_t n = strlen(list[count]) + 1;
        if (to)
            memcpy(to + at, list[count], n);
        at += (uint32_t)n;
    }
    *ret_count = count;
    return at;
}

static int strings_size(const char *const *list, size_t *size)
{
    for (; list && *list; list++)
        *size += strlen(*list) + 1;
    return *size > AGENT_EXEC_PAYLOAD_MAX - sizeof(struct agent_exec) ? -E2BIG : 0;
}

int controller_payload(const struct exec_request *request, uint32_t fds,
                       const struct agent_spool_limits *spool, int *ret_fd, struct err *err)
{
    static const char step[] = "hand the command to init";
    size_t size = strlen(request->cwd) + 1;
    if (strings_size(request->argv, &size) < 0 || strings_size(request->env, &size) < 0)
        return err_set(err, ERR_TOO_LARGE, E2BIG, step, NULL,
                       "Arguments and environment together may have %d bytes.",
                       AGENT_EXEC_PAYLOAD_MAX);
    _cleanup_free_ char *data = calloc(1, sizeof(struct agent_exec) + size);
    if (!data)
        return err_set(err, ERR_INTERNAL, ENOMEM, step, NULL, NULL);
    struct agent_exec exec = {
        .magic = AGENT_MAGIC,
        .version = AGENT_VERSION,
        .size = sizeof exec,
        .flags = (request->tty ? AGENT_EXEC_TTY : 0) |
                 (request->null_stdout ? AGENT_EXEC_NULL_STDOUT : 0) |
                 (request->null_stderr ? AGENT_EXEC_NULL_STDERR : 0) |
                 (request->keep_children ? AGENT_EXEC_KEEP_CHILDREN : 0) |
                 (request->files ? AGENT_EXEC_FILES : 0) |
                 (request->kill_on_limit ? AGENT_EXEC_KILL_ON_LIMIT : 0),
        .fds = fds,
        .string_bytes = (uint32_t)size,
        .uid = request->uid,
        .gid = request->gid,
        .rows = request->rows,
        .cols = request->cols,
        .open_files = request->open_files,
        .timeout_ms = request->timeout_ms,
        .idle_timeout_ms = request->idle_timeout_ms,
        .grace_ms = request->grace_ms,
    };
    if (spool)
        exec.spool = *spool;
    char *strings = data + sizeof exec;
    uint32_t at = add_strings(strings, 0, request->argv, &exec.argc);
    at = add_strings(strings, at, request->env, &exec.envc);
    memcpy(strings + at, request->cwd, strlen(request->cwd) + 1);
    memcpy(data, &exec, sizeof exec);
    const struct agent_exec *checked;
    const char *checked_strings;
    const char *wrong = agent_exec_check(data, sizeof exec + size, &checked, &checked_strings);
    if (wrong)
        return err_set(err, ERR_INVALID_REQUEST, 0, step, NULL, "%s", wrong);
    _cleanup_fd_ int fd = memfd_create("berth-exec", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, NULL, NULL);
    int r = io_write_full(fd, data, sizeof exec + size);
    if (r == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        r = -errno;
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, step, NULL, NULL);
    *ret_fd = take_fd(&fd);
    return 0;
}
