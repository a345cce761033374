/* This file hands out ranges of host ids by file locks; it never remembers one in memory. */
#include "runtime/host/uid_slot.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/record.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

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

/* What an init is written in: as wide for each. */
enum { SLOT_TEXT = 64 };

static const char step[] = "claim a range of user ids";

static int fail(struct err *err, int sys, const char *subject)
{
    return err_set(err, ERR_UNAVAILABLE, sys, step, subject,
                   "berth keeps locks there that every berth of this host shares.");
}

static int open_slots(const char *share_dir, int *ret_dir, struct err *err)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/slots", share_dir) >= sizeof path)
        return fail(err, ENAMETOOLONG, share_dir);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 && errno == ENOENT) {
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
            return fail(err, errno, path);
        dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (dir < 0)
        return fail(err, errno, path);
    *ret_dir = dir;
    return 0;
}

/* The lock is ours, so nobody writes. 1: init of the last session lives on and has given its claim
 * up; 0: free; -errno. What names a process that is gone stays: it is as free as an empty file, and
 * to empty a file waits for the journal of its file system. The next init is written over it, in
 * the same width. */
static int is_haunted(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size == 0)
        return 0;
    char text[80] = "";
    int pid;
    uint64_t started;
    if (pread(fd, text, sizeof text - 1, 0) < 0)
        return -errno;
    return sscanf(text, "init %d %" SCNu64, &pid, &started) == 2 && process_lives(pid, started);
}

/* 0 with the lock; 1: taken; -errno. */
static int try_slot(int slots, unsigned slot, int *ret_lock)
{
    char name[16];
    snprintf(name, sizeof name, "%u", slot);
    _cleanup_fd_ int fd = openat(slots, name, O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? 1 : -errno;
    int r = is_haunted(fd);
    if (r == 0)
        *ret_lock = take_fd(&fd);
    return r;
}

/* 0 with the lock; 1: taken, or not berth's to give; -errno. */
static int try_slot_of(const struct foreign *foreign, int slots, unsigned slot, int *ret_lock,
                       uint32_t *ret_base)
{
    uint32_t base = UID_SLOT_FIRST + slot * UID_SLOT_SPAN;
    if (overlaps(foreign, base))
        return 1;
    int r = try_slot(slots, slot, ret_lock);
    if (r == 0)
        *ret_base = base;
    return r;
}

/* One of few slots first: their files have been made and are in memory, while one of all of them
 * is read from the disk, hundreds of microseconds, or is to be made. Which of the few is random, so
 * that many starts at once seldom meet; where a host has more sessions than these, the first two
 * looks cost some ten microseconds each. */
int uid_slot_claim(const char *share_dir, int *ret_lock, uint32_t *ret_base, struct err *err)
{
    static const unsigned few[] = {64, 1024};
    _cleanup_fd_ int slots = -1;
    int r = open_slots(share_dir, &slots, err);
    if (r < 0)
        return r;
    static struct foreign foreign;
    foreign.count = 0;
    r = add_foreign("/etc/subuid", &foreign);
    if (r == 0)
        r = add_foreign("/etc/subgid", &foreign);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, step, "/etc/subuid", NULL);

    unsigned first = 0;
    if (getrandom(&first, sizeof first, 0) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, NULL, NULL);
    r = 1;
    for (unsigned i = 0; r == 1 && i < ARRAY_LENGTH(few); i++)
        r = try_slot_of(&foreign, slots, first % few[i], ret_lock, ret_base);
    for (unsigned i = 0; r == 1 && i < UID_SLOT_COUNT; i++)
        r = try_slot_of(&foreign, slots, (first + i) % UID_SLOT_COUNT, ret_lock, ret_base);
    if (r < 0)
        return fail(err, -r, share_dir);
    return r == 0 ? 0
                  : err_set(err, ERR_UNAVAILABLE, EAGAIN, step, NULL,
                            "All %d ranges of user ids are in use by live sessions: end some.",
                            UID_SLOT_COUNT);
}

int uid_slot_set_init(const char *share_dir, uint32_t base, pid_t pid, uint64_t started,
                      struct err *err)
{
    char path[4096], text[SLOT_TEXT + 1];
    unsigned slot = (base - UID_SLOT_FIRST) / UID_SLOT_SPAN;
    if ((size_t)snprintf(path, sizeof path, "%s/slots/%u", share_dir, slot) >= sizeof path)
        return fail(err, ENAMETOOLONG, share_dir);
    _cleanup_fd_ int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    int n = snprintf(text, sizeof text, "init %d %" PRIu64, pid, started);
    memset(text + n, ' ', sizeof text - (size_t)n);
    text[SLOT_TEXT - 1] = '\n';
    if (fd < 0 || write(fd, text, SLOT_TEXT) != SLOT_TEXT)
        return fail(err, errno, path);
    return 0;
}
