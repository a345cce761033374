/* This file counts what a session without a network tried to send, by the kernel's own counters of
 * its namespace; it never enters that.
 *
 * PRIVILEGED: `berth run`'s. Should: say nothing where it could not count. Mustn't: open what may
 * be the caller's own. Callers: launch.c, session.c.
 */
#include "runtime/host/runtime_internal.h"

#include "runtime/base/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool has_own_network(pid_t init)
{
    struct stat own, its;
    char path[48];
    snprintf(path, sizeof path, "/proc/%d/ns/net", (int)init);
    return stat(path, &its) == 0 && stat("/proc/self/ns/net", &own) == 0 &&
           its.st_ino != own.st_ino;
}

/* They keep its network until they are closed, so that what they count is there after its end. A
 * command may have ended, and init with it, before who started it comes to run again: so they are
 * opened before it has the command, if the session's first process has its own network by then. */
void session_unrouted_open(struct session *s, const struct spec_network *net, bool ready)
{
    static const char *const files[] = {"snmp", "snmp6"};
    char path[48];
    if (s->lasting || network_wanted(net) || s->unrouted[0] >= 0 ||
        (!ready && !has_own_network(s->init)))
        return;
    for (unsigned i = 0; i < ARRAY_LENGTH(files); i++) {
        snprintf(path, sizeof path, "/proc/%d/net/%s", (int)s->init, files[i]);
        s->unrouted[i] = open(path, O_RDONLY | O_CLOEXEC);
    }
}

/* Two lines: names, and numbers in their order. */
static uint64_t count_four(const char *text)
{
    static const char wanted[] = "OutNoRoutes";
    const char *numbers = strstr(text, "\nIp: ");
    if (strncmp(text, "Ip: ", 4) != 0 || !numbers)
        return 0;
    numbers += 4;
    for (const char *at = text + 4; *at && *at != '\n'; at += *at == ' ') {
        size_t length = strcspn(at, " \n");
        numbers += strspn(numbers, " ");
        if (length == sizeof wanted - 1 && memcmp(at, wanted, length) == 0)
            return strtoull(numbers, NULL, 10);
        numbers += strcspn(numbers, " \n");
        at += length;
    }
    return 0;
}

static uint64_t count_six(const char *text)
{
    static const char wanted[] = "Ip6OutNoRoutes";
    const char *at = strstr(text, wanted);
    return at ? strtoull(at + sizeof wanted - 1, NULL, 10) : 0;
}

void session_unrouted_count(struct session *s)
{
    s->unrouted_count = 0;
    for (unsigned i = 0; i < ARRAY_LENGTH(s->unrouted); i++) {
        char text[8192];
        ssize_t n = s->unrouted[i] < 0 ? -1 : pread(s->unrouted[i], text, sizeof text - 1, 0);
        if (n <= 0)
            continue;
        text[n] = 0;
        s->unrouted_count += i == 0 ? count_four(text) : count_six(text);
    }
    s->unrouted_counted = true;
}

uint64_t session_unrouted(struct session *s)
{
    if (!s->unrouted_counted)
        session_unrouted_count(s);
    return s->unrouted_count;
}
