/* This file tests the listeners of published ports: on loopback alone, nobody's beside berth's, all
 * of them or none. Needs root.
 */
#include "runtime/host/publish.h"

#include "runtime/base/fd.h"
#include "tests/kernel/child_harness.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <net/if.h>

enum { PORT = 23000 };

static struct shared {
    char said[8192];
} * shared;

#define EXPECT(condition, ...)                                        \
    do {                                                              \
        if (!(condition) && !shared->said[0])                         \
            snprintf(shared->said, sizeof shared->said, __VA_ARGS__); \
    } while (0)

/* A host of the test's own: lo, and nothing else. */
static void make_host(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    _cleanup_fd_ int fd = -1;
    MUST(1, unshare(CLONE_NEWNET) == 0);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    MUST(2, fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0);
}

static void run(void (*work)(void))
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(shared, MAP_FAILED);
    int step = in_child(work);
    cr_assert_str_empty(shared->said, "%s", shared->said);
    cr_assert_eq(step, 0, "step %d", step);
}

static struct spec_network rules(unsigned count, const struct spec_publish *publish)
{
    struct spec_network net = {.egress = SPEC_EGRESS_DENY, .publish_count = count};
    memcpy(net.publish, publish, count * sizeof *publish);
    return net;
}

static const struct spec_publish one_port[] = {{PORT, 3000}};

/* Somebody else's socket. `listens`: also listens; <0: bound alone. */
static int somebody(const char *address, uint16_t port, int option, bool listens)
{
    struct sockaddr_in six_or_four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool is6 = strchr(address, ':') != NULL;
    int on = 1, fd = socket(is6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(10, fd >= 0);
    MUST(11, inet_pton(is6 ? AF_INET6 : AF_INET, address,
                       is6 ? (void *)&six.sin6_addr : (void *)&six_or_four.sin_addr) == 1);
    if (option)
        MUST(12, setsockopt(fd, SOL_SOCKET, option, &on, sizeof on) == 0);
    int r = is6 ? bind(fd, (void *)&six, sizeof six)
                : bind(fd, (void *)&six_or_four, sizeof six_or_four);
    if (r == 0 && listens)
        r = listen(fd, 8);
    if (r == 0)
        return fd;
    r = -errno;
    fd_close(fd);
    return r;
}

static const struct {
    const char *address;
    int option;
} places[] = {
    {"127.0.0.1", 0},      {"127.0.0.1", SO_REUSEADDR}, {"127.0.0.1", SO_REUSEPORT},
    {"0.0.0.0", 0},        {"0.0.0.0", SO_REUSEADDR},   {"0.0.0.0", SO_REUSEPORT},
    {"::", SO_REUSEADDR},  {"::", SO_REUSEPORT},        {"::1", SO_REUSEADDR},
    {"::1", SO_REUSEPORT},
};

/* ---- a port that somebody has -------------------------------------------------------------------
 */

static void busy(void)
{
    struct spec_network net = rules(1, one_port);
    make_host();
    for (unsigned i = 0; i < ARRAY_LENGTH(places); i++) {
        struct publish publish;
        struct err err = {0};
        int other = somebody(places[i].address, PORT, places[i].option, true);
        MUST(3, other >= 0);
        int r = publish_bind(&net, true, &publish, &err);
        EXPECT(r == -EADDRINUSE && err.code == ERR_PORT_IN_USE && strstr(err.subject, ":23000") &&
                   strstr(err.detail, "0:3000"),
               "%s, option %d: %d %s: %s", places[i].address, places[i].option, r, err.subject,
               err.detail);
        fd_close(other);
    }
}

Test(publish, a_port_that_somebody_listens_on_is_refused_and_another_is_named)
{
    run(busy);
}

static void by_another_user(void)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(places); i++) {
        int r = somebody(places[i].address, PORT, places[i].option, true);
        EXPECT(r == -EADDRINUSE, "%s, option %d, uid %d: %d", places[i].address, places[i].option,
               (int)getuid(), r);
    }
}

static void beside(void)
{
    struct spec_network net = rules(1, one_port);
    struct publish publish;
    struct err err = {0};
    make_host();
    MUST(3, publish_bind(&net, true, &publish, &err) == 0);
    MUST(4, publish.ports[0].fds[0] >= 0 && publish.ports[0].fds[1] >= 0);
    by_another_user(); /* the same one, root */
    pid_t pid = fork();
    if (pid == 0) {
        become_user();
        by_another_user();
        _exit(0);
    }
    int status;
    MUST(5, waitpid(pid, &status, 0) == pid && status == 0);
}

Test(publish, nobody_of_any_user_listens_beside_it)
{
    run(beside);
}

/* Bound before us, with the option that lets us bind too, and listening after us. */
static void late(void)
{
    struct spec_network net = rules(1, one_port);
    make_host();
    for (unsigned i = 0; i < 2; i++) {
        struct publish publish;
        struct err err = {0};
        int other = somebody(i ? "0.0.0.0" : "127.0.0.1", PORT, SO_REUSEADDR, false);
        MUST(3, other >= 0);
        int r = publish_bind(&net, true, &publish, &err);
        /* Either is fine: refused, or the other cannot listen any more. */
        if (r == 0) {
            EXPECT(listen(other, 8) < 0 && errno == EADDRINUSE, "two listen on one port");
            publish_fini(&publish);
        }
        fd_close(other);
    }
}

Test(publish, who_bound_the_port_before_cannot_listen_after)
{
    run(late);
}

/* ---- what is had ------------------------------------------------------------------------------
 */

static void all_or_none(void)
{
    static const struct spec_publish three[] = {{PORT, 3000}, {0, 3001}, {PORT + 1, 3002}};
    struct spec_network net = rules(3, three);
    struct publish publish;
    struct err err = {0};
    make_host();
    int other = somebody("::1", PORT + 1, 0, true);
    MUST(3, other >= 0);
    EXPECT(publish_bind(&net, true, &publish, &err) == -EADDRINUSE &&
               strcmp(err.subject, "[::1]:23001") == 0,
           "%s: %s", err.subject, err.detail);
    int was = somebody("127.0.0.1", PORT, 0, true);
    EXPECT(was >= 0, "a listener was left: %d", was);
    fd_close(was);
    fd_close(other);
    MUST(4, publish_bind(&net, true, &publish, &err) == 0 && publish.count == 3);
    EXPECT(publish.ports[0].host_port == PORT && publish.ports[2].host_port == PORT + 1 &&
               publish.ports[1].host_port >= 1024 && publish.ports[1].port == 3001,
           "ports %u, %u and %u", publish.ports[0].host_port, publish.ports[1].host_port,
           publish.ports[2].host_port);
    for (unsigned i = 0; i < 3; i++) {
        int four = somebody("127.0.0.1", publish.ports[i].host_port, 0, true);
        int six = somebody("::1", publish.ports[i].host_port, 0, true);
        EXPECT(four == -EADDRINUSE && six == -EADDRINUSE && publish.ports[i].six, "%u: %d and %d",
               i, four, six);
    }
    publish_fini(&publish);
}

Test(publish, all_are_had_or_none_and_any_that_is_free_is_told)
{
    run(all_or_none);
}

static void privileged(void)
{
    static const struct spec_publish low[] = {{80, 3000}};
    struct spec_network net = rules(1, low);
    struct publish publish;
    struct err err = {0};
    make_host();
    EXPECT(publish_bind(&net, false, &publish, &err) == -EACCES && err.code == ERR_FORBIDDEN &&
               strstr(err.detail, "1024"),
           "%s: %s", err.subject, err.detail);
    EXPECT(publish_bind(&net, true, &publish, &err) == 0, "%s: %s", err.subject, err.detail);
    publish_fini(&publish);
    become_user();
    EXPECT(publish_bind(&net, true, &publish, &err) == -EACCES, "an ordinary user had port 80");
}

Test(publish, a_privileged_port_is_roots_also_when_root_binds_for_somebody)
{
    run(privileged);
}

static void without_six(void)
{
    struct spec_network net = rules(1, one_port);
    struct publish publish;
    struct err err = {0};
    make_host();
    int fd = open("/proc/sys/net/ipv6/conf/lo/disable_ipv6", O_WRONLY | O_CLOEXEC);
    MUST(3, fd >= 0 && write(fd, "1", 1) == 1);
    MUST(4, publish_bind(&net, true, &publish, &err) == 0);
    EXPECT(!publish.ports[0].six && publish.ports[0].fds[0] >= 0 && publish.ports[0].fds[1] < 0,
           "a host without ::1");
    publish_fini(&publish);
}

Test(publish, a_host_without_ipv6_has_127_0_0_1_alone)
{
    run(without_six);
}
