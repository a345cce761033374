/* This file starts and ends a gateway, and finds the host's resolvers. */
#include "api/cli/gateway_child.h"

#include "api/cli/child.h"
#include "api/cli/cli.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { RESOLV_CONF_MAX = 64 << 10, STOP_MS = 1000, DNS_PORT = 53 };

/* ---- resolvers ----------------------------------------------------------------------------------
 */

static bool add_resolver(struct gateway_config *config, const struct network_address *address,
                         uint16_t port)
{
    if (config->resolver_count == GATEWAY_RESOLVERS_MAX)
        return false;
    config->resolvers[config->resolver_count].address = *address;
    config->resolvers[config->resolver_count++].port = port;
    return true;
}

/* "192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353" */
int gateway_resolver_parse(const char *text, struct network_address *ret, uint16_t *ret_port)
{
    char address[ADDRESS_TEXT_SIZE + 2];
    const char *from = text, *port = NULL, *end;
    if (text[0] == '[') {
        end = strchr(text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return -EINVAL;
        from = text + 1;
        port = end[1] ? end + 2 : NULL;
    } else {
        end = strchr(text, ':');
        if (end && strchr(end + 1, ':'))
            end = NULL; /* IPv6 without a port */
        port = end ? end + 1 : NULL;
        end = end ? end : text + strlen(text);
    }
    size_t length = (size_t)(end - from);
    if (length >= sizeof address)
        return -EINVAL;
    memcpy(address, from, length);
    address[length] = 0;
    uint64_t number = DNS_PORT;
    if (port && (units_parse_u64(port, &number) < 0 || number == 0 || number > UINT16_MAX))
        return -EINVAL;
    *ret_port = (uint16_t)number;
    return address_parse(address, ret);
}

void gateway_resolv_conf(const char *text, struct gateway_config *ret)
{
    static const char key[] = "nameserver";
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *at = line + strspn(line, " \t");
        if (strncmp(at, key, sizeof key - 1) != 0)
            continue;
        at += sizeof key - 1;
        size_t blank = strspn(at, " \t");
        at += blank;
        size_t length = strcspn(at, " \t\r\n#;%"); /* %: a zone, which has no place here */
        char word[ADDRESS_TEXT_SIZE];
        struct network_address address;
        if (blank == 0 || length >= sizeof word)
            continue;
        memcpy(word, at, length);
        word[length] = 0;
        if (address_parse(word, &address) == 0 && !add_resolver(ret, &address, DNS_PORT))
            return;
    }
}

/* A host without the file has a resolver of its own on loopback, says resolv.conf(5). */
static int read_resolv_conf(struct gateway_config *config, struct err *err)
{
    static const char path[] = "/etc/resolv.conf";
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r = io_read_file(AT_FDCWD, path, RESOLV_CONF_MAX, &text, &length);
    if (r < 0 && r != -ENOENT)
        return err_set(err, ERR_UNAVAILABLE, -r, "find the host's resolvers", path,
                       "Name one: --resolver ADDRESS.");
    if (r == 0)
        gateway_resolv_conf(text, config);
    if (config->resolver_count > 0)
        return 0;
    struct network_address loopback;
    r = address_parse("127.0.0.1", &loopback);
    if (r == 0)
        add_resolver(config, &loopback, DNS_PORT);
    return r;
}

int gateway_config_fill(struct gateway_config *ret, const char *const *resolvers, size_t count,
                        const char *step, struct err *err)
{
    *ret = (struct gateway_config){
        .version = GATEWAY_VERSION,
        .size = sizeof *ret,
        .sessions_max = 4096,
        .connections_per_session = 4096,
        .connections_max = 16384,
        .queries_per_second = 1000,
        .connect_timeout_ms = 10000,
        .idle_timeout_ms = 2 * 3600 * 1000,
    };
    for (size_t i = 0; i < count; i++) {
        struct network_address address;
        uint16_t port;
        if (gateway_resolver_parse(resolvers[i], &address, &port) < 0)
            return err_set(err, ERR_USAGE, 0, step, resolvers[i],
                           "It is no address. Write 192.0.2.1, 192.0.2.1:5353, 2001:db8::1 or "
                           "[2001:db8::1]:5353.");
        if (!add_resolver(ret, &address, port))
            return err_set(err, ERR_USAGE, 0, step, resolvers[i], "At most %d of them.",
                           GATEWAY_RESOLVERS_MAX);
    }
    return count > 0 ? 0 : read_resolv_conf(ret, err);
}

/* ---- the process --------------------------------------------------------------------------------
 */

int gateway_find(int *ret_program, struct err *err)
{
    return child_find_program("berth-gateway", "find the gateway's program", ret_program, err);
}

static int pair(int *ret_mine, int *ret_theirs)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    *ret_mine = ends[0];
    *ret_theirs = ends[1];
    return 0;
}

static int become_gateway(int program, int from[GATEWAY_FD_END], bool rootless, uint32_t uid)
{
    const struct child_rights rights = {.keep = rootless, .uid = uid, .gid = uid};
    struct err err;
    child_begin();
    /* It speaks on stderr: stdout is the command's, and its reader waits for the last writer. */
    int r = dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ? -errno : 0;
    if (r == 0)
        r = child_exec(program, from, GATEWAY_FD_LIFE, GATEWAY_FD_END, &rights, "berth: gateway");
    err_set(&err, ERR_UNAVAILABLE, -r, "start the gateway", NULL, NULL);
    return cli_fail(&err);
}

int gateway_start(int program, const struct gateway_config *config, bool rootless, uint32_t uid,
                  struct gateway_child *ret, struct err *err)
{
    static const char step[] = "start the gateway";
    _cleanup_fd_ int life = -1, control = -1, events = -1, their_life = -1, their_control = -1,
                     their_events = -1;
    _cleanup_fd_ int memfd = child_sealed("berth-gateway-config", config, sizeof *config, NULL, 0);
    int r = memfd < 0 ? memfd : pair(&life, &their_life);
    if (r == 0)
        r = pair(&control, &their_control);
    if (r == 0)
        r = pair(&events, &their_events);
    pid_t pid = r == 0 ? fork() : -1;
    if (pid < 0)
        return err_set(err, ERR_UNAVAILABLE, r < 0 ? -r : errno, step, NULL, NULL);
    if (pid == 0) {
        int from[GATEWAY_FD_END] = {[GATEWAY_FD_LIFE] = their_life,
                                    [GATEWAY_FD_CONTROL] = their_control,
                                    [GATEWAY_FD_EVENTS] = their_events,
                                    [GATEWAY_FD_CONFIG] = memfd};
        _exit(become_gateway(program, from, rootless, uid));
    }
    ret->pid = pid;
    ret->life = take_fd(&life);
    ret->control = take_fd(&control);
    ret->events = take_fd(&events);
    return 0;
}

void gateway_stop(struct gateway_child *gateway)
{
    if (gateway->pid == 0)
        return;
    fd_replace(&gateway->life, -1);
    fd_replace(&gateway->control, -1);
    fd_replace(&gateway->events, -1);
    _cleanup_fd_ int pidfd = (int)syscall(SYS_pidfd_open, gateway->pid, 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    if (pidfd < 0 || poll(&p, 1, STOP_MS) <= 0)
        kill(gateway->pid, SIGKILL);
    while (waitpid(gateway->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    gateway->pid = 0;
}
