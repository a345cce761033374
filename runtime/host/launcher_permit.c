/* This file is what the launcher allows: which descriptors come with a request, whose instance it
 * is, who asks, and what a spec may hold under the operator's configuration; it never believes
 * front about any of it (P-7).
 *
 * PRIVILEGED: the launcher's. A descriptor of another kind is a frame of another shape and ends the
 * connection; a spec that is not allowed is answered with the reason.
 *
 * A host path is looked at here and opened again when the session is made, each time with the
 * asker's rights and through no symbolic link. Between the two he may put another directory of his
 * at that name: what he can reach that way he could reach without berth.
 */
#include "runtime/host/launcher_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/workspace_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* ---- descriptors
 * ---------------------------------------------------------------------------------- */

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static const char *check_memfd(int fd, size_t size)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS); /* EINVAL for what is no memfd */
    if (seals < 0 || (seals & SEALS) != SEALS)
        return "its data is not in a sealed memfd";
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != (off_t)size)
        return "its data has another size";
    return NULL;
}

static const char *check_pipe(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) ? NULL : "a descriptor is not a pipe";
}

static bool is_socket(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int option_of(int fd, int option)
{
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &length) < 0 ? -1 : value;
}

/* A connected unix stream: anything else has no peer whose rights could be taken. */
static const char *check_client(int fd)
{
    struct sockaddr_un peer;
    socklen_t length = sizeof peer;
    if (!is_socket(fd) || option_of(fd, SO_DOMAIN) != AF_UNIX ||
        option_of(fd, SO_TYPE) != SOCK_STREAM || option_of(fd, SO_ACCEPTCONN) != 0)
        return "the client's socket is not a unix stream";
    /* ENOTCONN also when the client has gone: then who he was still stands. */
    if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0 && errno != ENOTCONN)
        return "the client's socket has no peer";
    return NULL;
}

const char *launcher_permit_fds(const struct launcher_request *request, const int *fds,
                                unsigned fd_count)
{
    const char *wrong = NULL;
    if (request->type == LAUNCHER_LAUNCH) {
        wrong = check_memfd(fds[0], sizeof(struct spec));
        return wrong || fd_count < 2 ? wrong : check_client(fds[1]);
    }
    if (request->type == LAUNCHER_NETWORK)
        return check_memfd(fds[0], sizeof(struct spec_network));
    if (request->type != LAUNCHER_FILES)
        return NULL;
    wrong = check_memfd(fds[0], sizeof(struct launcher_files));
    if (!wrong)
        wrong = check_pipe(fds[1]);
    for (unsigned i = 2; i < fd_count && !wrong; i++)
        wrong = i + 1 == fd_count && is_socket(fds[i]) ? check_client(fds[i]) : check_pipe(fds[i]);
    if (!wrong && fd_count == LAUNCHER_FDS_MAX && !is_socket(fds[fd_count - 1]))
        wrong = "it has two pipes of data";
    return wrong;
}

/* ---- instance
 * ------------------------------------------------------------------------------------- */

static const char instance_step[] = "read the instance of";

static ssize_t read_instance(int dir, char ret[24])
{
    return io_read_at(dir, "instance", ret, 24);
}

int launcher_permit_known(const struct launcher *l, char ret[24], struct err *err)
{
    const char *place = l->config->state_dir;
    _cleanup_fd_ int dir = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ssize_t n = dir < 0 ? -errno : read_instance(dir, ret);
    if (n == -ENOENT)
        return 1;
    return n < 0 ? err_set(err, ERR_UNAVAILABLE, (int)-n, instance_step, place, NULL) : 0;
}

/* The file is root's, in a directory that front can't write: a front that is taken over cannot name
 * the sessions of another berth, not even to a launcher that is new. */
int launcher_permit_instance(struct launcher *l, const char *instance, struct err *err)
{
    const char *place = l->config->state_dir;
    if (!l->instance[0]) {
        _cleanup_fd_ int dir = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
            return err_set(err, ERR_UNAVAILABLE, errno, instance_step, place, NULL);
        char text[sizeof l->instance];
        ssize_t n = read_instance(dir, text);
        if (n == -ENOENT) {
            snprintf(text, sizeof text, "%s", instance);
            _cleanup_fd_ int fd = openat(
                dir, "instance.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
            n = fd < 0 ? -errno : io_write_full(fd, text, strlen(text));
            if (n == 0 && (fsync(fd) < 0 || renameat(dir, "instance.new", dir, "instance") < 0))
                n = -errno;
        }
        if (n < 0)
            return err_set(err, ERR_UNAVAILABLE, (int)-n, instance_step, place, NULL);
        memcpy(l->instance, text, sizeof text);
    }
    if (strcmp(l->instance, instance) == 0)
        return 0;
    return err_set(err, ERR_FORBIDDEN, 0, "work for another instance", place,
                   "The state directory's sessions are those of instance %s, and the ledger is one "
                   "of another. If the ledger was replaced on purpose, end the old sessions and "
                   "remove the file `instance` there.",
                   l->instance);
}

/* ---- who asks
 * ------------------------------------------------------------------------------------- */

int launcher_permit_socket(const int *fds, unsigned fd_count)
{
    return fd_count > 1 && is_socket(fds[fd_count - 1]) ? fds[fd_count - 1] : -1;
}

/* Was it accepted where berth listens? A socket that front has connected itself has another one's
 * credentials at its far end, root's for many services of a host: it must not pass for a client. An
 * accepted socket has its listener's address, and front can bind nothing there. */
static bool is_accepted(const struct serve_config *config, int fd)
{
    uint8_t address[SERVE_ADDRESS_MAX] = {0};
    socklen_t length = sizeof address;
    return config->listen_length > 0 && getsockname(fd, (struct sockaddr *)address, &length) == 0 &&
           length == config->listen_length && memcmp(address, config->listen_address, length) == 0;
}

int launcher_permit_asker(const struct serve_config *config, const int *fds, unsigned fd_count,
                          struct launcher_asker *ret, struct err *err)
{
    ret->uid = ret->gid = UINT32_MAX;
    ret->group_count = 0;
    int fd = launcher_permit_socket(fds, fd_count);
    if (fd < 0)
        return 0;
    if (!is_accepted(config, fd))
        return err_set(err, ERR_FORBIDDEN, 0, "ask who the client is", NULL,
                       "Its socket was not accepted where berth listens.");
    struct ucred peer;
    socklen_t length = sizeof peer, groups = sizeof ret->groups;
    /* A peer outside of this user namespace has the overflow id: nobody's rights. */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 || peer.uid == UINT32_MAX)
        return err_set(err, ERR_FORBIDDEN, errno, "ask who the client is", NULL, NULL);
    /* Linux 4.13. Who is in more groups than there is room for gets none of them. */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, ret->groups, &groups) == 0)
        ret->group_count = groups / sizeof ret->groups[0];
    ret->uid = peer.uid;
    ret->gid = peer.gid;
    return 0;
}

/* ---- what a spec may hold
 * --------------------------------------------------------------------------- */

static int refuse(struct err *err, enum err_code code, const char *field, const char *why)
{
    return err_set(err, code, 0, "allow the spec", field, "%s", why);
}

static bool is_beneath(const char *path, const char *root)
{
    size_t length = strlen(root);
    return strcmp(root, "/") == 0 ||
           (strncmp(path, root, length) == 0 && (path[length] == 0 || path[length] == '/'));
}

static int check_owner(const struct serve_config *config, const char *path, const char *field,
                       const struct launcher_asker *asker, struct err *err)
{
    const struct asker as = {.uid = asker->uid,
                             .gid = asker->gid,
                             .groups = asker->groups,
                             .group_count = asker->group_count};
    struct pinned pin;
    int r = pin_path(path, config->rootless ? NULL : &as, PIN_FILE_ALLOWED, field, &pin, err);
    if (r < 0)
        return r;
    fd_close(pin.fd);
    if (pin.stat.st_uid == (config->rootless ? geteuid() : asker->uid))
        return 0;
    return err_set(err, ERR_FORBIDDEN, 0, "allow the host directory", path,
                   "It does not belong to you. Use one of your own, or have the operator name it "
                   "in \"roots\".");
}

/* `own`: it must be the asker's where no root allows it; else his right to open it is enough. */
static int check_path(const struct serve_config *config, const char *path, const char *field,
                      bool own, const struct launcher_asker *asker, struct err *err)
{
    if (!config->rootless && asker->uid == UINT32_MAX)
        return refuse(err, ERR_FORBIDDEN, field,
                      "A directory of the host needs a client whose user is known: one on the unix "
                      "socket.");
    /* Front's own socket pair would have front at its other end. */
    if (!config->rootless && asker->uid == config->front_uid)
        return refuse(err, ERR_FORBIDDEN, field, "The user of berth itself has no directories.");
    for (uint32_t i = 0; i < config->root_count; i++)
        if (is_beneath(path, config->roots[i]))
            return 0;
    if (config->root_count > 0)
        return err_set(err, ERR_FORBIDDEN, 0, "allow the host directory", path,
                       "It is not beneath a directory that the operator allows (\"roots\").");
    return own ? check_owner(config, path, field, asker, err) : 0;
}

/* What front compiled from a policy within the operator's ceiling; that it is whole is all that can
 * be seen here. The namespace is the session's own: the widest rules reach what the gateway's own
 * user may reach. */
int launcher_permit_network(const struct spec_network *net, struct err *err)
{
    int r = network_check(net, err);
    return r == 0 ? spec_check_publish(net, err) : r;
}

int launcher_permit_spec(const struct serve_config *config, const struct spec *spec,
                         const struct launcher_asker *asker, struct err *err)
{
    int r = 0;
    if (spec->image.kind == SPEC_IMAGE_NAME)
        return refuse(err, ERR_CAPABILITY_UNAVAILABLE, "image", "Named images are not built yet.");
    if (spec->workspace.kind == SPEC_WORKSPACE_DISK ||
        spec->workspace.kind == SPEC_WORKSPACE_SNAPSHOT)
        return refuse(err, ERR_CAPABILITY_UNAVAILABLE, "workspace",
                      "Disks and snapshots are not built yet.");
    r = launcher_permit_network(&spec->network, err);
    if (r == 0 && spec->image.kind == SPEC_IMAGE_DIR)
        r = check_path(config, spec->image.path, "image", false, asker, err);
    if (r == 0 && spec->workspace.kind == SPEC_WORKSPACE_DIRECTORY)
        r = check_path(config, spec->workspace.path, "workspace.path", true, asker, err);
    for (uint32_t i = 0; i < spec->mount_count && r == 0; i++)
        r = check_path(config, spec->mounts[i].source, "mounts.source", !spec->mounts[i].read_only,
                       asker, err);
    return r;
}
