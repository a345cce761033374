/* This file is the network of a session: its namespace while it is built, and afterwards, of one
 * that lasts, found by name (docs/adr/0013); it never relays or resolves.
 *
 * PRIVILEGED: the launcher's workers, and `berth run`. Should: enter a namespace only by way of an
 * init that is proven to be the one that was recorded. Mustn't: keep a descriptor of a namespace
 * that it found; the sockets in one keep it alive. Callers: launch.c, the launcher's workers.
 *
 * A session that lasts has two files beside its socket: `network`, the rules in force with their
 * generation, and `names`, which the gateway fills. One for a command has them in memory.
 */
#include "runtime/host/lasting.h"
#include "runtime/host/network_link.h"
#include "runtime/host/session_publish.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int fail(struct err *err, const char *what)
{
    return err_set(err, ERR_UNAVAILABLE, errno, "keep the rules of a session's network", what,
                   errno == ENOSPC ? "The file system of the runtime directory is full." : NULL);
}

/* ---- what is kept ------------------------------------------------------------------------------
 */

static int write_at(int fd, const void *data, size_t length, size_t at)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = pwrite(fd, (const char *)data + done, length - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return 0;
}

/* It was checked, and lies on a tmpfs: what is not used of it is a hole, and takes no memory.
 * `publish` (NULL: as the rules have it): the ports of the host that were had. */
static int write_record(int fd, const struct spec_network *net, const struct publish *publish,
                        uint64_t generation)
{
    const struct network_record head = {
        .magic = GATEWAY_MAGIC, .version = GATEWAY_VERSION, .generation = generation};
    const size_t network = offsetof(struct network_record, network);
    const size_t allow = offsetof(struct spec_network, allow),
                 deny = offsetof(struct spec_network, deny);
    int r = ftruncate(fd, sizeof head) < 0 ? -errno : 0;
    if (r == 0)
        r = write_at(fd, &head, network, 0);
    if (r == 0)
        r = write_at(fd, net, allow, network);
    if (r == 0 && publish && publish->count > 0) {
        struct spec_publish had[SPEC_PUBLISH_MAX] = {{0}};
        publish_had(publish, had);
        r = write_at(fd, had, sizeof had, network + offsetof(struct spec_network, publish));
    }
    if (r == 0)
        r = write_at(fd, net->allow, net->allow_count * sizeof net->allow[0], network + allow);
    if (r == 0)
        r = write_at(fd, net->deny, net->deny_count * sizeof net->deny[0], network + deny);
    return r;
}

/* `place` -1: in memory. Read only for whoever gets it. */
static int make_record(int place, const struct spec_network *net, const struct publish *publish,
                       uint64_t generation, int *ret, struct err *err)
{
    _cleanup_fd_ int fd = place < 0
                              ? memfd_create("berth-network", MFD_CLOEXEC | MFD_ALLOW_SEALING)
                              : openat(place, "network.new",
                                       O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : write_record(fd, net, publish, generation);
    if (r == 0 && place < 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        r = -errno;
    if (r == 0 && place >= 0) {
        if (renameat(place, "network.new", place, "network") < 0)
            r = -errno;
        fd_replace(&fd, r == 0 ? openat(place, "network", O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1);
        if (r == 0 && fd < 0)
            r = -errno;
    }
    errno = -r;
    if (r < 0)
        return fail(err, "network");
    *ret = take_fd(&fd);
    return 0;
}

static int open_names(int place, int *ret, struct err *err)
{
    int fd = place < 0 ? memfd_create("berth-names", MFD_CLOEXEC)
                       : openat(place, "names", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(err, "names");
    *ret = fd;
    return 0;
}

/* 0 with what is in force; 1: it has no network. */
static int read_record(int place, struct network_record *ret, int *ret_fd, struct err *err)
{
    _cleanup_fd_ int fd = openat(place, "network", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 1 : fail(err, "network");
    ssize_t n = pread(fd, ret, sizeof *ret, 0);
    const char *wrong = n < 0 ? strerror(errno) : gateway_record_check(ret, (size_t)n);
    if (wrong)
        return err_set(err, ERR_INTERNAL, EBADMSG, "read the rules of a session's network",
                       "network", "They are not of this version of berth, or damaged: %s.", wrong);
    *ret_fd = take_fd(&fd);
    return 0;
}

/* ---- while it is built -------------------------------------------------------------------------
 */

int session_network_begin(struct session *s, const struct spec_network *net, int ready,
                          int *ret_netns, struct err *err)
{
    struct network_namespace *ns = &s->network;
    if (!network_wanted(net))
        return 1;
    int r = network_check(net, err);
    if (r < 0)
        return r;
    if (s->runtime->filled.rules >= 0) {
        s->filled = s->runtime->filled;
        network_ready_init(&s->runtime->filled);
        *ret_netns = fcntl(s->filled.netns, F_DUPFD_CLOEXEC, 0);
        if (*ret_netns < 0)
            return fail(err, "network");
    } else {
        r = ready >= 0 ? network_namespace_fill(ready, net, ns, err)
                       : network_namespace_make(net, ns, err);
        *ret_netns = take_fd(&ns->netns);
    }
    if (r == 0 && s->publish.count > 0) {
        s->publish_netns = fcntl(*ret_netns >= 0 ? *ret_netns : ready, F_DUPFD_CLOEXEC, 0);
        if (s->publish_netns < 0)
            return fail(err, "network");
    }
    return r;
}

/* What the gateway is given: its own files, and sockets that stay whose they are. */
static int ask_gateway(struct session *s, int *ret_answer, struct err *err)
{
    int gateway = s->runtime->gateway;
    int64_t row = s->lasting ? s->lasting->name.row : 1;
    int64_t incarnation = s->lasting ? s->lasting->name.incarnation : 1;
    struct network_namespace all = s->network;
    for (unsigned i = GATEWAY_ADD_TCP4; s->filled.rules >= 0 && i < ARRAY_LENGTH(all.fds); i++)
        all.fds[i] = s->filled.fds[i];
    int r = network_link_add_begin(gateway, row, incarnation, &all, ret_answer, err);
    /* Nothing was sent, so nobody is to be told of its end. */
    if (r < 0 && s->lasting)
        unlinkat(s->place, "network", 0);
    return r;
}

static int has_gateway(const struct session *s, struct err *err)
{
    if (s->runtime->gateway < 0)
        return err_set(err, ERR_UNAVAILABLE, EAGAIN, "create a session", "network",
                       "No gateway serves now: one is being started. Try again.");
    if (s->runtime->gateway == 0)
        return err_set(err, ERR_CAPABILITY_UNAVAILABLE, 0, "create a session", "network",
                       "No gateway serves here: nothing can be reached.");
    return 0;
}

static int give_rules(struct session *s, const struct spec_network *net, struct err *err)
{
    struct network_namespace whole;
    if (s->filled.rules < 0)
        return 0; /* it has them */
    network_namespace_init(&whole);
    int r = network_ready_use(&s->filled, net, &whole, err);
    network_namespace_fini(&whole);
    return r;
}

static int publish_ports(struct session *s, struct err *err)
{
    int64_t row = s->lasting ? s->lasting->name.row : 1;
    int64_t incarnation = s->lasting ? s->lasting->name.incarnation : 1;
    return s->publish_netns < 0 ? 0
                                : publish_give(s->runtime->gateway, row, incarnation,
                                               s->publish_netns, &s->publish, err);
}

/* The kernel is given the rules while the gateway works, where it has none yet: until both have
 * theirs, nothing passes. The sockets are the gateway's own afterwards: the namespace ends when the
 * session and they do. */
int session_network_serve(struct session *s, const struct spec_network *net, struct err *err)
{
    int place = s->lasting ? s->place : -1;
    uint64_t generation = s->lasting && s->lasting->generation ? s->lasting->generation : 1;
    int *files = s->network.fds;
    _cleanup_fd_ int answer = -1;
    if (!network_wanted(net))
        return 0;
    int r = has_gateway(s, err);
    if (r == 0)
        r = make_record(place, net, &s->publish, generation, &files[GATEWAY_ADD_RECORD], err);
    if (r == 0)
        r = open_names(place, &files[GATEWAY_ADD_NAMES], err);
    if (r == 0)
        r = ask_gateway(s, &answer, err);
    if (r == 0)
        r = give_rules(s, net, err);
    network_namespace_fini(&s->network);
    network_namespace_init(&s->network);
    if (r == 0)
        r = network_link_add_end(answer, err);
    if (r == 0)
        r = publish_ports(s, err);
    /* A port that is published is open as long as the gateway has it. */
    publish_fini(&s->publish);
    return r;
}

/* ---- published ports ---------------------------------------------------------------------------
 */

unsigned session_published(const struct session *s, struct session_published *ret, unsigned room)
{
    unsigned count = s->publish.count < room ? s->publish.count : room;
    for (unsigned i = 0; i < count; i++)
        ret[i] = (struct session_published){.host_port = s->publish.ports[i].host_port,
                                            .port = s->publish.ports[i].port,
                                            .six = s->publish.ports[i].six};
    return s->publish.count;
}

int session_publish_serve(struct session *s, struct err *err)
{
    struct gateway_reply need;
    ssize_t n = recv(s->runtime->gateway, &need, sizeof need, MSG_DONTWAIT | MSG_TRUNC);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : 1;
    /* An answer that came too late for who asked is nobody's. */
    if (gateway_reply_check(&need, (size_t)n) || need.type != GATEWAY_NEED_SOCKETS ||
        s->publish_netns < 0)
        return 0;
    return publish_serve(s->runtime->gateway, 1, 1, s->publish_netns, need.count, err);
}

/* ---- by name -----------------------------------------------------------------------------------
 */

static int open_netns(const struct session_identity *identity, int pidfd, int *ret, struct err *err)
{
    static const char step[] = "find the network of a session";
    char path[48];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%lld/ns/net", (long long)identity->init_pid);
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, NULL,
                       errno == EACCES || errno == EPERM
                           ? "The berth that made it has ended, and to an ordinary user's next "
                             "one it is closed. Its rules stay as they are, and without the "
                             "gateway that serves it, it reaches nothing, until it is parked and "
                             "resumed."
                           : NULL);
    /* What was opened by number is init's as long as init lived afterwards. */
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    if (poll(&p, 1, 0) != 0 || fstat(fd, &st) < 0 ||
        (identity->netns_inode && (int64_t)st.st_ino != identity->netns_inode))
        return err_set(err, ERR_INVALID_STATE, ENOENT, step, NULL, "It has ended.");
    *ret = take_fd(&fd);
    return 0;
}

/* To an ordinary user's launcher that did not make it. */
static bool is_closed(int r)
{
    return r == -EACCES || r == -EPERM;
}

struct found {
    int place, netns;
};

static void found_fini(struct found *found)
{
    fd_close(found->place);
    fd_close(found->netns);
}

static int find_place(struct runtime *rt, const struct session_name *name, int *ret_place,
                      struct err *err)
{
    struct lasting_names names;
    int r = lasting_names_make(name, &names, err);
    return r == 0 ? lasting_place_open(rt, names.id, ret_place, err) : r;
}

/* Of those that were given, for this one. */
static bool is_netns(int fd, const struct session_identity *identity)
{
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && identity->netns_inode &&
           (int64_t)st.st_ino == identity->netns_inode;
}

/* Its network, when it lives; 1: it does not. */
static int find_netns(const struct runtime *rt, int place, int *ret_netns, struct err *err)
{
    static struct lasting_file file; /* one session at a time */
    _cleanup_fd_ int pidfd = -1;
    int r = lasting_file_read(place, &file, err);
    if (r == 0)
        r = lasting_open_init(&file.identity, &pidfd, err);
    if (r != 0)
        return r;
    if (!is_netns(rt->session_netns, &file.identity))
        return open_netns(&file.identity, pidfd, ret_netns, err);
    *ret_netns = fcntl(rt->session_netns, F_DUPFD_CLOEXEC, 3);
    return *ret_netns < 0 ? fail(err, "network") : 0;
}

static int find(struct runtime *rt, const struct session_name *name, struct found *ret,
                struct err *err)
{
    int r = find_place(rt, name, &ret->place, err);
    if (r == 0)
        r = find_netns(rt, ret->place, &ret->netns, err);
    return r > 0 ? err_set(err, ERR_INVALID_STATE, ENOENT, "find a session that lives", NULL, NULL)
                 : r;
}

/* -EACCES and -EPERM are this file's word for a network that is closed: never the gateway's. */
static int tell_gateway(struct runtime *rt, const struct session_name *name, int record,
                        uint32_t *ret_cut, struct err *err)
{
    int r = network_link_replace(rt->gateway, name->row, name->incarnation, record, ret_cut, err);
    if (is_closed(r))
        return err_set(err, ERR_UNAVAILABLE, EPROTO, "serve a session's network", NULL,
                       "The gateway refuses.");
    return r;
}

/* Serving by these rules: told so where the gateway has the session, else given all of it. */
static int serve(struct runtime *rt, const struct session_name *name, const struct found *found,
                 int *record, uint32_t *ret_cut, struct err *err)
{
    __attribute__((cleanup(network_namespace_fini))) struct network_namespace ns;
    network_namespace_init(&ns);
    /* None serves now: nothing is reached, and the next one is given the record. */
    if (rt->gateway <= 0)
        return 0;
    int r = tell_gateway(rt, name, *record, ret_cut, err);
    if (r != -ENOENT)
        return r == 0 ? session_publish_hold_again(rt, name, found->place, err) : r;
    r = network_namespace_sockets(found->netns, &ns, err);
    if (r == 0)
        r = open_names(found->place, &ns.fds[GATEWAY_ADD_NAMES], err);
    ns.fds[GATEWAY_ADD_RECORD] = take_fd(record);
    if (r == 0)
        r = network_link_add(rt->gateway, name->row, name->incarnation, &ns, err);
    return r == 0 ? session_publish_hold_again(rt, name, found->place, err) : r;
}

static struct network_record the_record; /* tens of KiB; one session at a time */

int session_network_restore(struct runtime *rt, const struct session_name *name, struct err *err)
{
    __attribute__((cleanup(found_fini))) struct found found = {-1, -1};
    _cleanup_fd_ int record = -1;
    uint32_t cut;
    int r = find_place(rt, name, &found.place, err);
    if (r == 0)
        r = read_record(found.place, &the_record, &record, err);
    if (r == 0)
        r = find_netns(rt, found.place, &found.netns, err);
    /* Closed to this launcher: the gateway may serve it still. */
    if (is_closed(r) && rt->gateway > 0) {
        struct err unserved;
        if (tell_gateway(rt, name, record, &cut, &unserved) < 0)
            return r;
        /* It may have been thawed while it could not be told. */
        return session_publish_hold_again(rt, name, found.place, err);
    }
    /* The record is the truth, for the kernel too: somebody may have been killed between the two.
     */
    if (r == 0)
        r = network_namespace_replace(found.netns, &the_record.network, err);
    if (r == 0)
        r = serve(rt, name, &found, &record, &cut, err);
    return r == 0 ? session_publish_restore(rt, name, &the_record.network, found.netns, err) : r;
}

/* Rules that the kernel does not take are not the session's. */
static void put_back(int place, bool had)
{
    struct err err;
    _cleanup_fd_ int record = -1;
    if (had)
        (void)make_record(place, &the_record.network, NULL, the_record.generation, &record, &err);
    else
        (void)unlinkat(place, "network", 0);
}

/* `b` was checked. `a` has the ports of the host that were had. */
static bool same_rules(const struct spec_network *a, const struct spec_network *b)
{
    if (memcmp(a, b, offsetof(struct spec_network, publish)) != 0)
        return false;
    for (unsigned i = 0; i < b->publish_count; i++)
        if (a->publish[i].port != b->publish[i].port ||
            (b->publish[i].host_port && a->publish[i].host_port != b->publish[i].host_port))
            return false;
    return memcmp(a->allow, b->allow, b->allow_count * sizeof b->allow[0]) == 0 &&
           memcmp(a->deny, b->deny, b->deny_count * sizeof b->deny[0]) == 0;
}

/* A launcher that is gone may have begun it: the record then says so, and what the kernel and the
 * gateway both let pass is never more than it. -EACCES: nothing was done. */
static int finish_closed(struct runtime *rt, const struct session_name *name,
                         const struct spec_network *net, uint64_t generation, int place,
                         uint32_t *ret_cut, struct err *err)
{
    _cleanup_fd_ int record = -1;
    struct err unread;
    *ret_cut = 0;
    if (read_record(place, &the_record, &record, &unread) != 0 ||
        the_record.generation != generation || !same_rules(&the_record.network, net))
        return -EACCES;
    int r = rt->gateway <= 0 ? 0 : tell_gateway(rt, name, record, ret_cut, err);
    return r == 0 && !session_publish_is_whole(rt, name, &the_record.network) ? -EACCES : r;
}

/* What the kernel's ruleset was before does not matter; that it refuses what the new rules refuse
 * before the gateway is told does (narrowing). Who is killed in between repeats. */
int session_network_replace(struct runtime *rt, const struct session_name *name,
                            const struct spec_network *net, uint64_t generation, uint32_t *ret_cut,
                            struct err *err)
{
    __attribute__((cleanup(found_fini))) struct found found = {-1, -1};
    _cleanup_fd_ int record = -1;
    int r = network_check(net, err);
    if (r == 0)
        r = find(rt, name, &found, err);
    if (is_closed(r))
        return finish_closed(rt, name, net, generation, found.place, ret_cut, err);
    if (r == 0)
        r = read_record(found.place, &the_record, &record, err);
    if (r == 0 && generation < the_record.generation)
        return err_set(err, ERR_INVALID_STATE, ESTALE, "replace the rules of a session's network",
                       NULL, "Revision %llu is in force, which is newer than %llu.",
                       (unsigned long long)the_record.generation, (unsigned long long)generation);
    if (r < 0)
        return r;
    bool had = r == 0;
    /* What is refused here is refused with nothing changed. */
    __attribute__((cleanup(publish_fini))) struct publish publish;
    publish_init(&publish);
    r = session_publish_prepare(rt, name, had ? &the_record.network : NULL, net, &publish, err);
    if (r < 0)
        return r;
    fd_replace(&record, -1);
    r = make_record(found.place, net, &publish, generation, &record, err);
    if (r < 0)
        return r;
    r = network_namespace_replace(found.netns, net, err);
    if (r < 0)
        put_back(found.place, had);
    *ret_cut = 0;
    if (r == 0)
        r = serve(rt, name, &found, &record, ret_cut, err);
    return r == 0 && rt->gateway > 0
               ? publish_give(rt->gateway, name->row, name->incarnation, found.netns, &publish, err)
               : r;
}

/* Nobody lives in it any more: what the gateway makes of this is no reason to keep its session.
 * That nobody knows whether it has heard it is, or a published port would stay open for nobody. */
int session_network_forget(struct runtime *rt, const struct session_name *name, struct err *err)
{
    _cleanup_fd_ int place = -1;
    if (rt->gateway == 0 || rt->gateway_ended)
        return 0;
    int r = find_place(rt, name, &place, err);
    if (r < 0)
        return r;
    /* Its record is the first of its network and goes with its directory, which is the last. */
    if (r == 0 && faccessat(place, "network", F_OK, 0) < 0 && errno == ENOENT)
        return 0;
    return network_link_remove(rt->gateway, name->row, name->incarnation, err);
}

int session_network_hold(struct runtime *rt, const struct session_name *name, int *ret_netns,
                         struct err *err)
{
    _cleanup_fd_ int place = -1;
    int r = find_place(rt, name, &place, err);
    if (r == 0 && faccessat(place, "network", F_OK, 0) < 0 && errno == ENOENT)
        return 1;
    return r == 0 ? find_netns(rt, place, ret_netns, err) : r;
}

int session_network_counters(struct runtime *rt, const struct session_name *name,
                             uint64_t ret[NETWORK_COUNTER_COUNT], struct err *err)
{
    _cleanup_fd_ int netns = -1;
    memset(ret, 0, NETWORK_COUNTER_COUNT * sizeof *ret);
    int r = session_network_hold(rt, name, &netns, err);
    return r == 0 ? network_namespace_counters(netns, ret, err) : r < 0 ? r : 0;
}

/* What the gateway asks for is had for what is published, and for nothing else. */
int session_network_connect(struct runtime *rt, const struct session_name *name, unsigned count,
                            struct err *err)
{
    __attribute__((cleanup(found_fini))) struct found found = {-1, -1};
    _cleanup_fd_ int record = -1;
    int r = find(rt, name, &found, err);
    if (r == 0)
        r = read_record(found.place, &the_record, &record, err);
    if (r < 0)
        return r;
    if (r > 0 || the_record.network.publish_count == 0)
        return err_set(err, ERR_INTERNAL, EACCES, "serve a published port", NULL,
                       "The session publishes none.");
    return publish_serve(rt->gateway, name->row, name->incarnation, found.netns, count, err);
}

int session_network_published(struct runtime *rt, const struct session_name *name,
                              struct launcher_published *ret, struct err *err)
{
    _cleanup_fd_ int place = -1, record = -1;
    *ret = (struct launcher_published){0};
    int r = find_place(rt, name, &place, err);
    if (r == 0)
        r = read_record(place, &the_record, &record, err);
    if (r == 0)
        session_publish_tell(rt, name, &the_record.network, ret);
    return r < 0 ? r : 0;
}
