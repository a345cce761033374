/* This file hands out ranges of host ids by file locks; it never remembers one in memory. */
#include "runtime/host/uid_slot.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

struct range {
    uint64_t start, count;
};

enum { RANGES_MAX = 256, FILE_MAX = 1 << 20 };

struct foreign {
    unsigned count;
    struct range ranges[RANGES_MAX];
};

/* Ranges of subuid(5) that reach into the slots; any other line is somebody else's business. */
static int add_foreign(const char *path, struct foreign *foreign)
{
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r = io_read_file(AT_FDCWD, path, FILE_MAX, &text, &length);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        struct range range;
        if (sscanf(line, "%*[^:]:%" SCNu64 ":%" SCNu64, &range.start, &range.count) != 2)
            continue;
        if (range.start + range.count <= UID_SLOT_FIRST)
            continue;
        if (foreign->count == RANGES_MAX)
            return -E2BIG;
        foreign->ranges[foreign->count++] = range;
    }
    return 0;
}

static bool overlaps(const struct foreign *foreign, uint64_t base)
{
    for (unsigned i = 0; i < foreign->count; i++)
        if (foreign->ranges[i].start < base + UID_SLOT_SPAN &&
            base < foreign->ranges[i].start + foreign->ranges[i].count)
            return true;
    return false;
}

int uid_slot_claim(const char *share_dir, int *ret_lock, uint32_t *ret_base, struct err *err)
{
    static const char step[] = "claim a range of user ids";
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/uid-slots", share_dir) >= sizeof path)
        return err_set(err, ERR_UNAVAILABLE, ENAMETOOLONG, step, share_dir, NULL);
    _cleanup_fd_ int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, path,
                       "berth keeps locks there that every berth of this host shares.");
    static struct foreign foreign;
    foreign.count = 0;
    int r = add_foreign("/etc/subuid", &foreign);
    if (r == 0)
        r = add_foreign("/etc/subgid", &foreign);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, step, "/etc/subuid", NULL);

    /* From a random slot on, so that many starts at once seldom meet. */
    unsigned first = 0;
    if (getrandom(&first, sizeof first, 0) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, NULL, NULL);
    for (unsigned i = 0; i < UID_SLOT_COUNT; i++) {
        unsigned slot = (first + i) % UID_SLOT_COUNT;
        uint32_t base = UID_SLOT_FIRST + slot * UID_SLOT_SPAN;
        if (overlaps(&foreign, base))
            continue;
        struct flock lock = {
            .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)slot, .l_len = 1};
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
            *ret_lock = take_fd(&fd);
            *ret_base = base;
            return 0;
        }
        if (errno != EAGAIN && errno != EACCES)
            return err_set(err, ERR_UNAVAILABLE, errno, step, path, NULL);
    }
    return err_set(err, ERR_UNAVAILABLE, EAGAIN, step, NULL,
                   "All %d ranges of user ids are in use by live sessions: end some.",
                   UID_SLOT_COUNT);
}
