/* This file is an attack program: it lists what descriptors it was started with and tries to send
 * one out through each (rows 8 and 31a). It never reads what they hold.
 */
#include "try.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

static void send_descriptor(int fd)
{
    char name[32];
    snprintf(name, sizeof name, "scm_rights_%d", fd);
    int gift = open("/dev/null", O_RDWR | O_CLOEXEC);
    char byte = 'x', control[CMSG_SPACE(sizeof gift)];
    struct iovec io = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &io,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof control,
    };
    memset(control, 0, sizeof control);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof gift);
    memcpy(CMSG_DATA(header), &gift, sizeof gift);
    try_result(name, sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT));
    if (gift >= 0)
        close(gift);
}

int main(void)
{
    try_begin();
    for (int fd = 0; fd < 3; fd++) {
        struct stat st;
        char name[32];
        snprintf(name, sizeof name, "dangerous_type_%d", fd);
        if (fstat(fd, &st) < 0) {
            try_denied(name, errno);
            continue;
        }
        unsigned type = st.st_mode & S_IFMT;
        if (type == S_IFDIR || type == S_IFBLK || type == S_IFSOCK)
            try_succeeded(name, "file type 0%o", type);
        else
            try_refused(name, "HARMLESS");
        if (fcntl(fd, F_GETFL) & O_PATH)
            try_succeeded("o_path", "descriptor %d", fd);
        send_descriptor(fd);
    }
    unsigned found = 0;
    for (int fd = 3; fd < 1 << 16; fd++)
        if (fcntl(fd, F_GETFD) >= 0) {
            char link[64], target[128] = "";
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            if (readlink(link, target, sizeof target - 1) < 0)
                target[0] = 0;
            try_succeeded("inherited", "%d -> %s", fd, target);
            found++;
        }
    if (found == 0)
        try_refused("inherited", "NONE");
    return try_end("fds");
}
