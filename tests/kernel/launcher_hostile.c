/* This file drives the launcher as a front that was taken over: every frame that is not one ends
 * the connection, nothing of it is done, and no amount of frames makes the launcher grow. */
#include "tests/kernel/launcher_fixture.h"

#include <sys/un.h>

TestSuite(launcher_hostile, .init = fixture, .fini = fixture_end, .timeout = 60);

/* The launcher ends by itself, having done nothing. */
static void expect_refused(const char *what)
{
    struct launcher_reply reply;
    cr_expect_eq(hear(&reply, 3000), 0, "%s: the connection ends", what);
    cr_expect_eq(wait_launcher(3000), EXIT_REFUSED, "%s", what);
    cr_expect_eq(shared->creates + shared->ends + shared->looks, 0, "%s: nothing was done", what);
    fd_replace(&front, -1);
    fd_replace(&life, -1);
}

static void refuse(const char *what, const void *data, size_t length, const int *fds,
                   unsigned count)
{
    start_fake();
    cr_assert_eq(send_raw(data, length, fds, count, 0), 0, "%s", what);
    expect_refused(what);
}

Test(launcher_hostile, frames_of_another_shape_end_the_connection)
{
    struct launcher_request r = request_of(LAUNCHER_END, 1);
    static char large[100000];
    memcpy(large, &r, sizeof r);
    refuse("short", &r, sizeof r - 1, NULL, 0);
    refuse("one byte", &r, 1, NULL, 0);
    refuse("long", large, sizeof r + 1, NULL, 0);
    refuse("huge", large, sizeof large, NULL, 0);
    r.magic = 0;
    refuse("magic", &r, sizeof r, NULL, 0);
    r = request_of(LAUNCHER_END, 1);
    r.version = 99;
    refuse("version", &r, sizeof r, NULL, 0);
    r = request_of(LAUNCHER_REQUEST_END, 1);
    refuse("type", &r, sizeof r, NULL, 0);
    r = request_of(LAUNCHER_END, -1);
    refuse("row", &r, sizeof r, NULL, 0);
    r = request_of(LAUNCHER_END, 1);
    memset(r.instance, 'a', sizeof r.instance);
    refuse("unterminated", &r, sizeof r, NULL, 0);
    r = request_of(LAUNCHER_VOLUME_REMOVE, 0);
    strcpy(r.workspace_id, "local");
    strcpy(r.volume, "../../etc");
    refuse("volume", &r, sizeof r, NULL, 0);
}

Test(launcher_hostile, descriptors_of_another_number_or_kind_end_the_connection)
{
    const struct spec *spec = plain_spec();
    struct launcher_request r = request_of(LAUNCHER_LAUNCH, 1), end = request_of(LAUNCHER_END, 1);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), many[40];
    for (unsigned i = 0; i < 40; i++)
        many[i] = null;
    refuse("descriptor with end", &end, sizeof end, many, 1);
    refuse("launch without", &r, sizeof r, NULL, 0);
    refuse("five", &r, sizeof r, many, 5);
    refuse("forty", &r, sizeof r, many, 40);
    refuse("no memfd", &r, sizeof r, &null, 1);
    int fd = sealed(spec, sizeof *spec, F_SEAL_SHRINK | F_SEAL_GROW);
    refuse("memfd that can be written", &r, sizeof r, &fd, 1);
    close(fd);
    fd = sealed(spec, sizeof *spec, F_SEAL_WRITE | F_SEAL_GROW);
    refuse("memfd that can shrink", &r, sizeof r, &fd, 1);
    close(fd);
    fd = sealed(spec, sizeof *spec - 1, ALL_SEALS);
    refuse("short spec", &r, sizeof r, &fd, 1);
    struct launcher_request rules = request_of(LAUNCHER_NETWORK, 1);
    refuse("rules of another size", &rules, sizeof rules, &fd, 1);
    refuse("rules that are no memfd", &rules, sizeof rules, &null, 1);
    close(fd);
    fd = sealed("", 0, ALL_SEALS);
    refuse("empty spec", &r, sizeof r, &fd, 1);
    close(fd);
    close(null);
}

Test(launcher_hostile, what_is_no_connected_unix_stream_is_no_client)
{
    const struct spec *spec = plain_spec();
    struct launcher_request r = request_of(LAUNCHER_LAUNCH, 1);
    int memfd = sealed(spec, sizeof *spec, ALL_SEALS), pair[2], pipes[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
    cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
    const int inet = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(listening, &(struct sockaddr){.sa_family = AF_UNIX}, sizeof(sa_family_t)), 0);
    cr_assert_eq(listen(listening, 1), 0);
    refuse("datagram", &r, sizeof r, (int[]){memfd, pair[0]}, 2);
    refuse("inet", &r, sizeof r, (int[]){memfd, inet}, 2);
    refuse("listening", &r, sizeof r, (int[]){memfd, listening}, 2);
    refuse("pipe", &r, sizeof r, (int[]){memfd, pipes[0]}, 2);
    refuse("memfd", &r, sizeof r, (int[]){memfd, memfd}, 2);
    struct launcher_request files = request_of(LAUNCHER_FILES, 1);
    static struct launcher_files content;
    int data = sealed(&content, sizeof content, ALL_SEALS);
    refuse("files without pipe", &files, sizeof files, (int[]){data, data}, 2);
    refuse("two pipes of data", &files, sizeof files, (int[]){data, pipes[1], pipes[0], pipes[0]},
           4);
    int close_these[] = {memfd, pair[0], pair[1], pipes[0], pipes[1], inet, listening, data};
    for (unsigned i = 0; i < ARRAY_LENGTH(close_these); i++)
        close(close_these[i]);
}

Test(launcher_hostile, another_berths_instance_is_refused_by_every_later_launcher)
{
    struct launcher_reply reply;
    struct launcher_request r = request_of(LAUNCHER_LOOK, 1);
    start_fake();
    ask(&r, NULL, 0);
    cr_assert_eq(hear(&reply, 3000), 1);
    stop_launcher();
    shared->looks = 0;
    r = request_of(LAUNCHER_END, 1);
    strcpy(r.instance, "fedcba9876543210");
    refuse("instance", &r, sizeof r, NULL, 0);
}

static long pages_of(pid_t pid)
{
    char path[64], text[128];
    long all = 0, resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    if (io_read_at(AT_FDCWD, path, text, sizeof text) > 0)
        sscanf(text, "%ld %ld", &all, &resident);
    return resident;
}

Test(launcher_hostile, a_flood_of_requests_whose_answers_are_not_read_costs_bounded_memory)
{
    workers_max = 4;
    start_fake();
    struct launcher_reply reply;
    struct launcher_request r = request_of(LAUNCHER_LOOK, 1);
    ask(&r, NULL, 0);
    cr_assert_eq(hear(&reply, 5000), 1);
    long before = pages_of(launcher);
    unsigned sent = 0;
    for (unsigned still = 0; still < 40; still++) {
        r = request_of(LAUNCHER_LOOK, 1 + sent % 7);
        while (send_raw(&r, sizeof r, NULL, 0, MSG_DONTWAIT) == 0) {
            sent++;
            still = 0;
            r = request_of(LAUNCHER_LOOK, 1 + sent % 7);
        }
        nap(25);
    }
    cr_expect_gt(sent, 100);
    cr_expect_lt(sent, 3000, "the socket is not read without end: %u", sent);
    cr_expect_lt(pages_of(launcher) - before, (16 << 20) / 4096);
    unsigned answers = 0;
    while (answers < sent && hear(&reply, 5000) == 1)
        answers++;
    cr_expect_eq(answers, sent, "every one is answered once");
    stop_launcher();
}

static int refused_spec(const struct spec *spec, int client)
{
    struct launcher_reply reply;
    unsigned before = shared->creates;
    ask_launch(1, spec, client);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(shared->creates - before, reply.result == 0, "%d %s %s %s", reply.result,
                 reply.err.step, reply.err.subject, reply.err.detail);
    return reply.result == 0 ? 0 : reply.err.code;
}

Test(launcher_hostile, a_spec_that_is_none_or_is_not_built_is_refused_and_the_connection_stays)
{
    start_fake();
    struct spec *spec = plain_spec();
    cr_expect_eq(refused_spec(spec, -1), 0);
    spec->process.uid = SPEC_UID_INIT;
    cr_expect_eq(refused_spec(spec, -1), ERR_INVALID_REQUEST);
    spec = plain_spec();
    spec->mount_count = 0xffffffff;
    cr_expect_eq(refused_spec(spec, -1), ERR_INVALID_REQUEST);
    spec = plain_spec();
    memset(spec->session_id, 'a', sizeof spec->session_id);
    cr_expect_eq(refused_spec(spec, -1), ERR_INVALID_REQUEST);
    spec = plain_spec();
    spec->image.kind = SPEC_IMAGE_NAME;
    cr_expect_eq(refused_spec(spec, -1), ERR_CAPABILITY_UNAVAILABLE);
    spec = plain_spec();
    spec->workspace.kind = SPEC_WORKSPACE_DISK;
    cr_expect_eq(refused_spec(spec, -1), ERR_CAPABILITY_UNAVAILABLE);
    spec = plain_spec();
    spec->network.egress = SPEC_EGRESS_ALLOW;
    cr_expect_eq(refused_spec(spec, -1), 0);
    spec->network.publish_count = 1;
    spec->network.publish[0] = (struct spec_publish){8080, 8080};
    cr_expect_eq(refused_spec(spec, -1), 0);
    spec->network.publish_count = 2;
    spec->network.publish[1] = (struct spec_publish){8080, 8081};
    cr_expect_eq(refused_spec(spec, -1), ERR_INVALID_REQUEST);
    spec = plain_spec();
    spec->network.allow_count = 1;
    memset(spec->network.allow[0].host, 'a', sizeof spec->network.allow[0].host);
    cr_expect_neq(refused_spec(spec, -1), 0);
    stop_launcher();
}

/* A stream whose other end was connected by a process of this user: its two ends. */
static int client_of(uid_t uid, int *ret_keep)
{
    int pair[2];
    if (uid == 0) {
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        *ret_keep = pair[1];
        return pair[0];
    }
    int pass[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pass), 0);
    pid_t pid = fork();
    if (pid == 0) {
        syscall(SYS_setgroups, 1, (gid_t[]){4242});
        if (syscall(SYS_setresgid, uid, uid, uid) || syscall(SYS_setresuid, uid, uid, uid) ||
            socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
            _exit(1);
        front = pass[1];
        _exit(send_raw("x", 1, pair, 2, 0) < 0);
    }
    char byte, room[CMSG_SPACE(2 * sizeof(int))] __attribute__((aligned(8)));
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    cr_assert_eq(recvmsg(pass[0], &message, MSG_CMSG_CLOEXEC), 1);
    memcpy(pair, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof pair);
    waitpid(pid, NULL, 0);
    close(pass[0]);
    close(pass[1]);
    *ret_keep = pair[1];
    return pair[0];
}

static struct spec *directory_spec(const char *path)
{
    struct spec *spec = plain_spec();
    spec->workspace.kind = SPEC_WORKSPACE_DIRECTORY;
    snprintf(spec->workspace.path, sizeof spec->workspace.path, "%s", path);
    return spec;
}

/* A listener at NAME of the place, whose own address is `ret`. */
static int listener_at(const char *name, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret->sun_path, sizeof ret->sun_path, "%s/%s", place, name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)ret, sizeof *ret), 0);
    cr_assert_eq(listen(fd, 4), 0);
    return fd;
}

static int connected_to(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)address, sizeof *address), 0);
    return fd;
}

/* A service of root's that anybody may connect to has root at its end: front must not become him.
 */
Test(launcher_hostile, P_7_a_socket_that_front_connected_itself_is_no_client)
{
    char roots[96];
    snprintf(roots, sizeof roots, "%s/roots", place);
    cr_assert(mkdir(roots, 0700) == 0);
    struct sockaddr_un ours, another;
    int here = listener_at("berth.sock", &ours), there = listener_at("bus", &another);
    socklen_t length = sizeof config.listen_address;
    cr_assert_eq(getsockname(here, (struct sockaddr *)config.listen_address, &length), 0);
    config.listen_length = length;
    int client = connected_to(&ours), accepted = accept4(here, NULL, NULL, SOCK_CLOEXEC);
    int stolen = connected_to(&another), pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    start_fake();
    struct spec *spec = directory_spec(roots);
    spec->workspace.allow_root_owned = 1;
    cr_expect_eq(refused_spec(spec, accepted), 0, "who connected to berth is root here");
    cr_expect_eq(refused_spec(spec, stolen), ERR_FORBIDDEN, "root's other service");
    cr_expect_eq(refused_spec(spec, client), ERR_FORBIDDEN, "a client's end of our own");
    cr_expect_eq(refused_spec(spec, pair[0]), ERR_FORBIDDEN, "a pair");
    stop_launcher();
    int close_these[] = {here, there, client, accepted, stolen, pair[0], pair[1]};
    for (unsigned i = 0; i < ARRAY_LENGTH(close_these); i++)
        close(close_these[i]);
}

Test(launcher_hostile, host_directories_are_those_of_who_really_asks)
{
    char mine[96], other[96], link[96];
    snprintf(mine, sizeof mine, "%s/mine", place);
    snprintf(other, sizeof other, "%s/other", place);
    snprintf(link, sizeof link, "%s/link", place);
    cr_assert(mkdir(mine, 0755) == 0 && chown(mine, 2000, 2000) == 0);
    cr_assert(mkdir(other, 0755) == 0 && chown(other, 2001, 2001) == 0);
    cr_assert_eq(symlink(mine, link), 0);
    int keep[3], user = client_of(2000, &keep[0]), itself = client_of(config.front_uid, &keep[1]),
                 root = client_of(0, &keep[2]);
    start_fake();
    cr_expect_eq(refused_spec(directory_spec(mine), user), 0);
    cr_expect_eq(shared->asker_uid, 2000);
    cr_expect_eq(shared->groups, 1);
    cr_expect_eq(refused_spec(directory_spec(other), user), ERR_FORBIDDEN, "another's");
    cr_expect_eq(refused_spec(directory_spec("/root"), user), ERR_FORBIDDEN);
    cr_expect_neq(refused_spec(directory_spec(link), user), 0, "through a link");
    cr_expect_eq(refused_spec(directory_spec(mine), itself), ERR_FORBIDDEN, "front's own pair");
    cr_expect_eq(refused_spec(directory_spec(mine), -1), ERR_FORBIDDEN, "nobody");
    cr_expect_eq(refused_spec(directory_spec(mine), root), ERR_FORBIDDEN, "root, another's");
    struct spec *spec = plain_spec();
    spec->mount_count = 1;
    strcpy(spec->mounts[0].source, "/etc");
    strcpy(spec->mounts[0].target, "/mnt/etc");
    cr_expect_eq(refused_spec(spec, user), ERR_FORBIDDEN, "writable mount of another's");
    spec->mounts[0].read_only = 1;
    cr_expect_eq(refused_spec(spec, user), 0, "read-only, with the user's own rights");
    cr_expect_eq(refused_spec(spec, itself), ERR_FORBIDDEN);
    stop_launcher();

    config.root_count = 1;
    snprintf(config.roots[0], sizeof config.roots[0], "%s/m", place);
    start_fake();
    cr_expect_eq(refused_spec(directory_spec(mine), user), ERR_FORBIDDEN, "\"m\" is not \"mine\"");
    stop_launcher();
    snprintf(config.roots[0], sizeof config.roots[0], "%s", mine);
    start_fake();
    cr_expect_eq(refused_spec(directory_spec(mine), user), 0);
    cr_expect_eq(refused_spec(directory_spec(other), user), ERR_FORBIDDEN);
    cr_expect_eq(refused_spec(spec, user), ERR_FORBIDDEN, "roots hold for mounts too");
    stop_launcher();
    for (unsigned i = 0; i < 3; i++)
        close(keep[i]);
    close(user);
    close(itself);
    close(root);
}

/* ---- every frame, every field, every value ----------------------------------------------------
 */

/* Where fields begin; texts also at their last byte, so that they have no end. */
static const size_t fields[] = {
    offsetof(struct launcher_request, magic),
    offsetof(struct launcher_request, version),
    offsetof(struct launcher_request, ticket),
    offsetof(struct launcher_request, row),
    offsetof(struct launcher_request, incarnation),
    offsetof(struct launcher_request, instance),
    offsetof(struct launcher_request, instance) + 16,
    offsetof(struct launcher_request, epoch),
    offsetof(struct launcher_request, generation),
    offsetof(struct launcher_request, deadline_ms),
    offsetof(struct launcher_request, workspace_id),
    offsetof(struct launcher_request, workspace_id) + SPEC_ID_MAX,
    offsetof(struct launcher_request, volume),
    offsetof(struct launcher_request, volume) + SPEC_ID_MAX,
    offsetof(struct launcher_request, identity.boot_id),
    offsetof(struct launcher_request, identity.boot_id) + 32,
    offsetof(struct launcher_request, identity.init_pid),
    offsetof(struct launcher_request, identity.init_start),
    offsetof(struct launcher_request, identity.uid_base),
    offsetof(struct launcher_request, identity.uid_count),
};

static unsigned answers_of(unsigned type, const struct launcher_request *r, bool *ret_ended)
{
    static struct launcher_files content;
    int fds[LAUNCHER_FDS_MAX] = {-1, -1, -1, -1}, count = 0, pipes[2] = {-1, -1};
    struct launcher_reply reply;
    if (type == LAUNCHER_LAUNCH)
        fds[count++] = sealed(plain_spec(), sizeof(struct spec), ALL_SEALS);
    if (type == LAUNCHER_NETWORK)
        fds[count++] = sealed(&plain_spec()->network, sizeof(struct spec_network), ALL_SEALS);
    if (type == LAUNCHER_FILES) {
        cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
        fds[count++] = sealed(&content, sizeof content, ALL_SEALS);
        fds[count++] = pipes[1];
    }
    unsigned answers = 0;
    cr_assert_eq(send_raw(r, sizeof *r, fds, (unsigned)count, 0), 0);
    int got = hear(&reply, 5000);
    while (got == 1) {
        answers += reply.type == type;
        cr_expect_eq(reply.ticket, r->ticket);
        got = hear(&reply, 0);
    }
    *ret_ended = answers == 0 && wait_launcher(5000) == EXIT_REFUSED;
    for (int i = 0; i < count; i++)
        close(fds[i]);
    fd_close(pipes[0]);
    return answers;
}

/* A launcher for each: one that answered goes on to the next. */
Test(launcher_hostile, every_field_of_every_frame_is_refused_or_answered_once, .timeout = 60)
{
    static const uint64_t values[] = {0,
                                      1,
                                      UINT64_MAX,
                                      INT64_MAX,
                                      UINT64_C(1) << 63,
                                      0x2f2e2e2f2e2e2f2e, /* "./../../" */
                                      0x4141414141414141};
    bool runs = false;
    for (unsigned type = 1; type < LAUNCHER_REQUEST_END; type++)
        for (size_t f = 0; f < ARRAY_LENGTH(fields); f++)
            for (size_t v = 0; v < ARRAY_LENGTH(values); v++) {
                struct launcher_request r = request_of(type, 1);
                bool ended = false;
                if (type == LAUNCHER_VOLUME_REMOVE || type == LAUNCHER_VOLUME_MEASURE) {
                    r.row = r.incarnation = 0;
                    strcpy(r.workspace_id, "local");
                    strcpy(r.volume, "v");
                }
                size_t room = sizeof r - fields[f];
                memcpy((char *)&r + fields[f], &values[v], room < 8 ? room : 8);
                r.type = (uint16_t)type;
                if (!runs)
                    start_fake();
                unsigned answers = answers_of(type, &r, &ended);
                runs = !ended;
                cr_expect_eq(answers, !ended, "%s, field at %zu, value %zu: %u answers, %s",
                             launcher_request_name(type), fields[f], v, answers,
                             ended ? "ended" : "goes on");
                if (ended) {
                    fd_replace(&front, -1);
                    fd_replace(&life, -1);
                }
            }
    if (runs)
        stop_launcher();
}

/* The same ticket and the same frame again and again: each is answered, and nothing is mixed up. */
Test(launcher_hostile, replayed_frames_and_tickets_that_are_none_harm_nothing)
{
    struct launcher_reply reply;
    struct launcher_request r = request_of(LAUNCHER_LOOK, 1),
                            cancel = request_of(LAUNCHER_CANCEL, 1);
    start_fake();
    r.ticket = 7;
    for (int i = 0; i < 50; i++)
        ask(&r, NULL, 0);
    cancel.ticket = UINT64_MAX;
    ask(&cancel, NULL, 0);
    unsigned looks = 0, cancels = 0;
    while (looks + cancels < 51 && hear(&reply, 5000) == 1) {
        looks += reply.type == LAUNCHER_LOOK && reply.ticket == 7;
        cancels += reply.type == LAUNCHER_CANCEL;
    }
    cr_expect_eq(looks, 50);
    cr_expect_eq(cancels, 1);
    stop_launcher();
}
