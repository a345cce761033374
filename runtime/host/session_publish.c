/* This file keeps the published ports of sessions that last: it binds what is missing, and never
 * accepts (docs/adr/0013).
 *
 * PRIVILEGED: see session_publish.h. Should: bind before anything else is changed, so that a port
 * that is taken is a refusal that left nothing. Mustn't: give a port below
 * net.ipv4.ip_unprivileged_port_start to anybody: who asks is not who binds.
 */
#include "runtime/host/session_publish.h"

#include "runtime/base/fd.h"
#include "runtime/host/lasting.h"
#include "runtime/host/network_link.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static const char step[] = "publish a port";

enum { ANY_TRIES = 64 };

/* ---- other sessions -------------------------------------------------------------------------- */

struct claim {
    struct runtime *rt;
    const struct session_name *name;
    const struct publish *publish;
    uint16_t taken;
};

/* The head of its record; false: it publishes nothing. */
static bool read_ports(int place, struct spec_publish ret[SPEC_PUBLISH_MAX], uint32_t *ret_count)
{
    static const size_t at = offsetof(struct network_record, network.publish),
                        count_at = offsetof(struct network_record, network.publish_count);
    uint32_t head[2];
    _cleanup_fd_ int fd = openat(place, "network", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head &&
           head[0] == GATEWAY_MAGIC && head[1] == GATEWAY_VERSION &&
           pread(fd, ret_count, sizeof *ret_count, (off_t)count_at) == (ssize_t)sizeof *ret_count &&
           *ret_count > 0 && *ret_count <= SPEC_PUBLISH_MAX &&
           pread(fd, ret, SPEC_PUBLISH_MAX * sizeof *ret, (off_t)at) ==
               (ssize_t)(SPEC_PUBLISH_MAX * sizeof *ret);
}

static bool lives(int place)
{
    static struct lasting_file file; /* one session at a time */
    struct err unseen;
    _cleanup_fd_ int pidfd = -1;
    return lasting_file_read(place, &file, &unseen) == 0 &&
           lasting_open_init(&file.identity, &pidfd, &unseen) == 0;
}

static int compare(void *data, const struct session_name *name)
{
    struct claim *claim = data;
    struct lasting_names names;
    struct spec_publish theirs[SPEC_PUBLISH_MAX];
    struct err unseen;
    uint32_t count = 0;
    _cleanup_fd_ int place = -1;
    if (claim->taken || name->row == claim->name->row ||
        lasting_names_make(name, &names, &unseen) < 0 ||
        lasting_place_open(claim->rt, names.id, &place, &unseen) != 0 ||
        !read_ports(place, theirs, &count))
        return 0;
    for (unsigned i = 0; i < claim->publish->count; i++)
        for (unsigned k = 0; k < count; k++)
            if (claim->publish->ports[i].host_port == theirs[k].host_port && lives(place))
                claim->taken = theirs[k].host_port;
    return 0;
}

/* Those that were another's: kept until all are had, or the kernel would choose them again. */
struct moved {
    int fds[2 * ANY_TRIES];
    unsigned count;
};

static void moved_fini(struct moved *moved)
{
    while (moved->count > 0)
        fd_close(moved->fds[--moved->count]);
}

/* A port that was to be any, and is one by which sessions reach the host; 0: none. */
static uint16_t at_a_door(const struct runtime *rt, const struct spec_publish *wanted,
                          const struct publish *publish)
{
    for (unsigned i = 0; i < publish->count; i++)
        for (unsigned k = 0; wanted[i].host_port == 0 && k < rt->door_count; k++)
            if (publish->ports[i].host_port == rt->door_ports[k])
                return rt->door_ports[k];
    return 0;
}

/* The kernel's choice of what is to be any is moved, where it is another session's that has lost
 * it, or a door's. 0; 1: it was, look again. */
static int move_any(const struct spec_publish *wanted, struct publish *publish, uint16_t taken,
                    struct moved *moved, struct err *err)
{
    for (unsigned i = 0; i < publish->count; i++) {
        struct publish one;
        if (publish->ports[i].host_port != taken || wanted[i].host_port != 0)
            continue;
        int r = publish_bind_missing(&wanted[i], 1, 0, false, &one, err);
        if (r < 0)
            return r;
        for (unsigned k = 0; k < 2; k++)
            moved->fds[moved->count++] = publish->ports[i].fds[k];
        publish->ports[i] = one.ports[0];
        return 1;
    }
    return 0;
}

static int claim_all(struct runtime *rt, const struct session_name *name,
                     const struct spec_publish *wanted, struct publish *publish, struct err *err)
{
    __attribute__((cleanup(moved_fini))) struct moved moved = {.count = 0};
    char subject[24];
    uint16_t taken = 0;
    int r = publish->count > 0 ? 1 : 0;
    for (int tries = ANY_TRIES; r > 0 && tries > 0; tries--) {
        struct claim claim = {
            .rt = rt, .name = name, .publish = publish, .taken = at_a_door(rt, wanted, publish)};
        r = claim.taken ? 0 : session_list(rt, name->instance, compare, &claim, err);
        taken = claim.taken;
        if (r < 0 || !taken)
            return r < 0 ? r : 0;
        r = move_any(wanted, publish, taken, &moved, err);
    }
    if (r < 0 || !taken)
        return r < 0 ? r : 0;
    snprintf(subject, sizeof subject, "127.0.0.1:%u", taken);
    return err_set(err, ERR_PORT_IN_USE, EADDRINUSE, step, subject,
                   "Another session has published it. Publish at another port of the host; 0 is "
                   "any that is free.");
}

int session_publish_bind(struct runtime *rt, const struct session_name *name,
                         const struct spec_network *net, struct publish *ret, struct err *err)
{
    struct publish made;
    int r = publish_bind(net, false, &made, err);
    if (r < 0)
        return r;
    r = claim_all(rt, name, net->publish, &made, err);
    if (r < 0)
        publish_fini(&made);
    else
        *ret = made;
    return r;
}

/* ---- other rules ----------------------------------------------------------------------------- */

static bool has(const struct spec_publish *ports, unsigned count, uint16_t host_port)
{
    for (unsigned i = 0; i < count; i++)
        if (ports[i].host_port == host_port)
            return true;
    return false;
}

static void keep_ports(const struct spec_network *old, const struct spec_network *net,
                       struct spec_publish ret[SPEC_PUBLISH_MAX])
{
    unsigned count = net->publish_count;
    memcpy(ret, net->publish, count * sizeof *ret);
    for (unsigned i = 0; i < count; i++)
        for (unsigned k = 0; old && ret[i].host_port == 0 && k < old->publish_count; k++)
            if (old->publish[k].port == ret[i].port && !has(ret, count, old->publish[k].host_port))
                ret[i].host_port = old->publish[k].host_port;
}

/* A port that the record has already, but that somebody of the host took meanwhile, refuses no
 * rules: narrower ones would not come, nor those of before come back. It stays closed, and is tried
 * again like any that was lost (session_publish_restore()). */
static void pass_over_lost(const struct spec_network *old, const struct spec_publish *wanted,
                           unsigned count, uint32_t *mask)
{
    for (unsigned i = 0; old && i < count; i++) {
        struct publish one;
        struct err unseen;
        if (*mask & UINT32_C(1) << i || !has(old->publish, old->publish_count, wanted[i].host_port))
            continue;
        publish_init(&one);
        if (publish_bind_missing(&wanted[i], 1, 0, false, &one, &unseen) == -EADDRINUSE)
            *mask |= UINT32_C(1) << i;
        else
            publish_fini(&one);
    }
}

int session_publish_prepare(struct runtime *rt, const struct session_name *name,
                            const struct spec_network *old, const struct spec_network *net,
                            struct publish *ret, struct err *err)
{
    struct spec_publish wanted[SPEC_PUBLISH_MAX] = {{0}};
    uint32_t mask = 0;
    keep_ports(old, net, wanted);
    int r = rt->gateway > 0 ? publish_ask(rt->gateway, name->row, name->incarnation, wanted,
                                          net->publish_count, &mask, err)
                            : 0;
    struct publish made;
    publish_init(&made);
    if (r == 0)
        pass_over_lost(old, wanted, net->publish_count, &mask);
    if (r == 0)
        r = publish_bind_missing(wanted, net->publish_count, mask, false, &made, err);
    if (r < 0)
        return r;
    r = claim_all(rt, name, wanted, &made, err);
    if (r < 0)
        publish_fini(&made);
    else
        *ret = made;
    return r;
}

/* ---- by the record --------------------------------------------------------------------------- */

bool session_publish_is_whole(struct runtime *rt, const struct session_name *name,
                              const struct spec_network *net)
{
    struct err unseen;
    uint32_t mask = 0;
    return net->publish_count == 0 ||
           (rt->gateway > 0 &&
            publish_ask(rt->gateway, name->row, name->incarnation, net->publish, net->publish_count,
                        &mask, &unseen) == 0 &&
            mask == (UINT32_C(1) << net->publish_count) - 1);
}

int session_publish_restore(struct runtime *rt, const struct session_name *name,
                            const struct spec_network *net, int netns, struct err *err)
{
    uint32_t mask = 0;
    if (net->publish_count == 0 || rt->gateway <= 0)
        return 0;
    int r = publish_ask(rt->gateway, name->row, name->incarnation, net->publish, net->publish_count,
                        &mask, err);
    if (r < 0)
        return r;
    unsigned lost = 0;
    /* One that cannot be had keeps none of the others back. */
    for (unsigned i = 0; i < net->publish_count; i++) {
        struct publish one;
        struct err why;
        if (mask & UINT32_C(1) << i)
            continue;
        int bound = publish_bind_missing(&net->publish[i], 1, 0, false, &one, &why);
        if (bound == 0) {
            bound = publish_give(rt->gateway, name->row, name->incarnation, netns, &one, &why);
            publish_fini(&one);
        }
        if (bound < 0 && lost++ == 0)
            *err = why;
        else if (bound < 0)
            err_add(err, "Port %u too: %s.", net->publish[i].host_port, strerror(why.sys));
    }
    return lost ? -EADDRINUSE : 0;
}

/* ---- frozen ---------------------------------------------------------------------------------- */

int session_publish_hold(struct runtime *rt, const struct session_name *name, bool hold,
                         struct err *err)
{
    struct lasting_names names;
    _cleanup_fd_ int place = -1;
    if (rt->gateway == 0 || rt->gateway_ended)
        return 0;
    int r = lasting_names_make(name, &names, err);
    if (r == 0)
        r = lasting_place_open(rt, names.id, &place, err);
    /* One without ports may be given some while it is frozen. */
    if (r != 0 || (faccessat(place, "network", F_OK, 0) < 0 && errno == ENOENT))
        return r < 0 ? r : 0;
    return network_link_hold(rt->gateway, name->row, name->incarnation, hold, err);
}

int session_publish_hold_again(struct runtime *rt, const struct session_name *name, int place,
                               struct err *err)
{
    static struct lasting_file file; /* one session at a time */
    struct lasting_names names;
    _cleanup_fd_ int cgroup = -1;
    int r = lasting_names_make(name, &names, err);
    if (r == 0)
        r = lasting_file_read(place, &file, err);
    if (r == 0)
        r = lasting_open_cgroup(rt, names.cgroup, file.cgroup, &cgroup, err);
    if (r != 0)
        return r < 0 ? r : 0;
    return session_publish_hold(rt, name, cgroup_is_frozen(cgroup), err);
}

/* ---- by the record, told --------------------------------------------------------------------- */

static uint32_t ask_open(struct runtime *rt, const struct session_name *name,
                         const struct spec_network *net)
{
    struct err unseen;
    uint32_t mask = 0;
    if (rt->gateway > 0)
        (void)publish_ask(rt->gateway, name->row, name->incarnation, net->publish,
                          net->publish_count, &mask, &unseen);
    return mask;
}

void session_publish_tell(struct runtime *rt, const struct session_name *name,
                          const struct spec_network *net, struct launcher_published *ret)
{
    *ret = (struct launcher_published){.count = net->publish_count};
    if (net->publish_count == 0)
        return;
    uint32_t mask = ask_open(rt, name, net);
    for (unsigned i = 0; i < net->publish_count; i++) {
        int r = mask & UINT32_C(1) << i ? 0 : publish_try(net->publish[i].host_port);
        if (r == -EADDRINUSE)
            ret->taken |= UINT32_C(1) << i;
        else if (r == -EACCES)
            ret->barred |= UINT32_C(1) << i;
    }
    /* Who has one may be our own gateway by now. */
    if (ret->taken)
        mask |= ask_open(rt, name, net);
    ret->open = mask;
    ret->taken &= ~mask;
    ret->six = publish_has_six();
    memcpy(ret->ports, net->publish, net->publish_count * sizeof net->publish[0]);
}
